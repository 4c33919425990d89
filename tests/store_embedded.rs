//! What only the embedded store promises: it survives a kill, is read while it is written, and knows its own file.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "common/store.rs"]
mod fixtures;

use fixtures::{
    Embedded, advance, append, assert_refuses_to_write, at, catalog, commit, document, key, log, mark, offset, record,
    unit, whole_log,
};
use offer_ranker::store::{
    AdvanceOutcome::Advanced, CommitOutcome::Committed, DocumentChange, LogId, Store, StoreError,
    embedded::EmbeddedStore,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};
use tokio::task::JoinSet;

/// Callers at once in the child that is killed.
const CALLERS: u64 = 8;

fn open_error(result: Result<EmbeddedStore, StoreError>) -> String {
    match result {
        Err(StoreError::Open { location, reason }) => format!("{location}: {reason}"),
        Err(other) => panic!("an Open error, not {other:?}"),
        Ok(_) => panic!("an Open error, not a store"),
    }
}

fn files_beside(path: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// This test binary, started again to run only `name`, told on its standard input which file to use.
fn child(name: &str, path: &Path, first: u64) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "{}\t{first}", path.display()).unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// Appends for ever, and writes down what was acknowledged: the child of the tests below, nothing by itself.
#[test]
#[ignore = "runs only as a child process"]
fn appends_until_killed() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let Some((path, first)) = line.trim_end().split_once('\t') else { return };
    let first: u64 = first.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let store = Arc::new(EmbeddedStore::open(path, [7; 48]).unwrap());
    runtime.block_on(async {
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let store = Arc::clone(&store);
            callers.spawn(async move {
                for n in (first + caller..).step_by(usize::try_from(CALLERS).unwrap()) {
                    let log = log(1, u16::try_from(n % 2).unwrap());
                    let offset = offset(store.append_decision(append(log, n)).await.unwrap());
                    let change = advance(log, n, 0, &[&format!("outcome {n}")]);
                    assert_eq!(store.advance_ledgers(vec![change]).await.unwrap(), [Advanced]);
                    // One write call a line: a line that arrived whole was acknowledged whole.
                    std::io::stdout().write_all(format!("acknowledged {n} {offset}\n").as_bytes()).unwrap();
                }
            });
        }
        callers.join_all().await;
    });
}

/// Number and offset of the next acknowledged append.
fn acknowledged(line: &str) -> Option<(u64, u64)> {
    let mut words = line.strip_suffix('\n')?.strip_prefix("acknowledged ")?.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Everything acknowledged is there, where it was said to be, with its outcome.
async fn check_acknowledged(store: &dyn Store, acknowledged: &BTreeMap<u64, u64>) {
    let mut logs = BTreeMap::new();
    for (log, end) in store.log_ends().await.unwrap() {
        let records = whole_log(store, log).await;
        assert_eq!(records.len() as u64, end, "offsets of {log:?} are contiguous");
        logs.insert(log, records);
    }
    let log_of = |n: u64| log(1, u16::try_from(n % 2).unwrap());
    for (n, offset) in acknowledged {
        let records = &logs[&log_of(*n)];
        assert_eq!(records[usize::try_from(*offset).unwrap()], record(*n));
        assert!(records.contains(&format!("outcome {n}").into_bytes()), "the outcome of {n} was acknowledged");
    }
    let keys: Vec<_> = acknowledged.keys().map(|n| key(log_of(*n), *n)).collect();
    let decisions = store.decisions(&keys).await.unwrap();
    assert!(decisions.iter().flatten().all(|found| found.sequence == 1));
    assert_eq!(decisions.iter().flatten().count(), acknowledged.len());
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let place = Embedded::new();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut all = BTreeMap::new();
    for round in 0..20 {
        let (mut child, mut output) = child("appends_until_killed", &place.path(), round * 1_000_000);
        let mut left = rng.random_range(1..60);
        let mut line = String::new();
        // Killed in the middle of other callers' transactions; then read what had still been acknowledged.
        while output.read_line(&mut line).unwrap() > 0 {
            if let Some((n, offset)) = acknowledged(&line) {
                all.insert(n, offset);
                left -= 1;
            }
            line.clear();
            if left == 0 {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success(), "the child was killed");
        // Also in the state that the kill left behind, by a reader that comes before any server.
        let view = EmbeddedStore::open_read_only(place.path()).unwrap();
        check_acknowledged(&view, &all).await;
    }
    assert!(all.len() >= 20);
    check_acknowledged(&place.open_embedded(), &all).await;
}

#[tokio::test]
async fn file_is_read_while_another_process_writes_it() {
    let place = Embedded::new();
    let (mut child, mut output) = child("appends_until_killed", &place.path(), 0);
    let mut all = BTreeMap::new();
    let mut line = String::new();
    let mut ends = Vec::new();
    for _ in 0..10 {
        // At least ten more are acknowledged while the view before is still open.
        let more = all.len() + 10;
        while all.len() < more {
            assert!(output.read_line(&mut line).unwrap() > 0, "the child goes on writing");
            all.extend(acknowledged(&line));
            line.clear();
        }
        let view = EmbeddedStore::open_read_only(place.path()).unwrap();
        check_acknowledged(&view, &all).await;
        let before = view.log_ends().await.unwrap();
        assert_eq!(view.log_ends().await.unwrap(), before);
        ends.push((view, before));
    }
    for (view, before) in &ends {
        assert_eq!(view.log_ends().await.unwrap(), *before, "a view stays in the state that it was opened in");
    }
    assert!(open_error(EmbeddedStore::open(place.path(), [7; 48])).contains("in use by another process"));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn second_writer_is_refused_until_the_first_is_gone() {
    let place = Embedded::new();
    let first = place.open_embedded();
    let refused = open_error(EmbeddedStore::open(place.path(), [7; 48]));
    assert!(refused.contains("store.db") && refused.contains("in use by another process"), "{refused}");
    drop(first);
    place.open_embedded();
}

#[tokio::test]
async fn view_shows_statistics_and_log_of_one_state_and_refuses_to_write() {
    let place = Embedded::new();
    let store = place.open_embedded();
    store.append_catalog(catalog(1, "first")).await.unwrap();
    store.append_decision(append(log(1, 0), 0)).await.unwrap();
    let first = commit(log(1, 0), 0, (0, 1), &[("a", "one")]);
    assert_eq!(store.commit_statistics(first).await.unwrap(), Committed);

    let view = EmbeddedStore::open_read_only(place.path()).unwrap();
    store.append_decision(append(log(1, 0), 1)).await.unwrap();
    let second = commit(log(1, 0), 0, (1, 2), &[("a", "two")]);
    assert_eq!(store.commit_statistics(second).await.unwrap(), Committed);
    assert_eq!(view.statistics("m", log(1, 0)).await.unwrap().offset, 1);
    assert_eq!(view.log_ends().await.unwrap(), [(log(1, 0), 1)]);
    assert_eq!(view.identity().hash_key, store.identity().hash_key);
    let later = EmbeddedStore::open_read_only(place.path()).unwrap();
    assert_eq!(later.statistics("m", log(1, 0)).await.unwrap().offset, 2);
    assert_eq!(later.log_ends().await.unwrap(), [(log(1, 0), 2)]);

    assert_refuses_to_write(&view).await;
}

#[tokio::test]
async fn what_is_forgotten_takes_no_place_any_more() {
    let place = Embedded::new();
    let store = place.open_embedded();
    for n in 0..10 {
        let mut append = append(log(1, 0), n);
        append.request = Some(mark(u8::try_from(n).unwrap(), 0, i64::try_from(n).unwrap()));
        store.append_decision(append).await.unwrap();
        let expires_at = at(100 + i64::try_from(n).unwrap());
        let key = unit(log(1, 0), u8::try_from(n).unwrap());
        let change = DocumentChange { expires_at, ..document(key, None, n) };
        store.change_documents(vec![change]).await.unwrap();
    }
    store.forget_expired(at(102)).await.unwrap();
    store.close().await.unwrap();
    let file = Connection::open(place.path()).unwrap();
    for table in ["requests", "documents"] {
        let count = format!("SELECT count(*) FROM {table}");
        let left: i64 = file.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 7, "{table}");
    }
}

#[tokio::test]
async fn one_file_is_left_after_a_clean_close() {
    let place = Embedded::new();
    let expected = BTreeSet::from(["store.db".to_owned(), "store.db.lock".to_owned()]);
    let store = place.open_embedded();
    for n in 0..10 {
        store.append_decision(append(log(1, 0), n)).await.unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(files_beside(&place.path()), expected);
    assert_eq!(fs::metadata(place.path().with_extension("db.lock")).unwrap().len(), 0);
    let (read, write) =
        (store.log_ends().await.unwrap_err(), store.append_decision(append(log(1, 0), 99)).await.unwrap_err());
    assert!(read.is_transient() && write.is_transient(), "{read}; {write}");
    store.close().await.unwrap();
    drop(store);

    // Dropping does the same, and so does a reader that is the last to go.
    let store = place.open_embedded();
    store.append_decision(append(log(1, 0), 10)).await.unwrap();
    drop(store);
    assert_eq!(files_beside(&place.path()), expected);
    let view = EmbeddedStore::open_read_only(place.path()).unwrap();
    assert_eq!(view.log_ends().await.unwrap(), [(log(1, 0), 11)]);
    drop(view);
    assert_eq!(files_beside(&place.path()), expected);
}

#[tokio::test]
async fn queued_writes_are_finished_by_dropping_the_store() {
    let place = Embedded::new();
    let store = Arc::new(place.open_embedded());
    let mut calls = JoinSet::new();
    for n in 0..100 {
        let store = Arc::clone(&store);
        calls.spawn(async move { offset(store.append_decision(append(log(1, 0), n)).await.unwrap()) });
    }
    drop(store);
    assert_eq!(calls.join_all().await.into_iter().collect::<BTreeSet<_>>(), (0..100).collect());
    assert_eq!(place.open_embedded().log_ends().await.unwrap(), [(log(1, 0), 100)]);
}

#[test]
fn what_is_not_a_store_is_refused_by_name_and_left_alone() {
    let place = Embedded::new();
    let directory = place.path().parent().unwrap().to_owned();
    let text = directory.join("notes.txt");
    fs::write(&text, "these are notes, long enough to be told from the header of a database: ".repeat(20)).unwrap();
    let foreign = directory.join("browser.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE history (url TEXT)").unwrap();
    let marked = directory.join("marked.db");
    Connection::open(&marked).unwrap().pragma_update(None, "application_id", 0x1234).unwrap();

    for (path, says) in [
        (&directory, "directory"),
        (&text, "not a database"),
        (&foreign, "another program's database"),
        (&marked, "0x1234"),
    ] {
        let before = path.is_file().then(|| fs::read(path).unwrap());
        for error in [open_error(EmbeddedStore::open(path, [7; 48])), open_error(EmbeddedStore::open_read_only(path))] {
            assert!(error.contains(says) && error.starts_with(&path.display().to_string()), "{error}");
        }
        assert_eq!(path.is_file().then(|| fs::read(path).unwrap()), before, "{} was written to", path.display());
    }
}

#[test]
fn view_of_nothing_says_that_there_is_nothing() {
    let place = Embedded::new();
    assert!(open_error(EmbeddedStore::open_read_only(place.path())).contains("no such file"));
    assert_eq!(files_beside(&place.path()), BTreeSet::new());
    fs::write(place.path(), []).unwrap();
    assert!(open_error(EmbeddedStore::open_read_only(place.path())).contains("it is empty"));
}

#[test]
fn newer_schema_is_refused_with_what_to_do() {
    let place = Embedded::new();
    drop(place.open_embedded());
    Connection::open(place.path()).unwrap().pragma_update(None, "user_version", 2).unwrap();
    for error in [
        open_error(EmbeddedStore::open(place.path(), [7; 48])),
        open_error(EmbeddedStore::open_read_only(place.path())),
    ] {
        assert!(error.contains("schema version is 2") && error.contains("run that release"), "{error}");
    }
}

#[test]
fn another_layout_of_the_same_version_is_refused_with_what_to_do() {
    let place = Embedded::new();
    drop(place.open_embedded());
    Connection::open(place.path()).unwrap().execute("DELETE FROM meta WHERE name = 'layout'", []).unwrap();
    for error in [
        open_error(EmbeddedStore::open(place.path(), [7; 48])),
        open_error(EmbeddedStore::open_read_only(place.path())),
    ] {
        assert!(error.contains("made by another build") && error.contains("move the file away"), "{error}");
    }
}

#[tokio::test]
async fn missing_directories_are_created_and_entropy_is_used_once() {
    let place = Embedded::new();
    let path = place.path().with_file_name("a").join("b").join("store.db");
    let entropy = std::array::from_fn(|i| u8::try_from(i).unwrap());
    let store = EmbeddedStore::open(&path, entropy).unwrap();
    assert_eq!((store.identity().epoch[..].to_vec(), store.identity().hash_key[..].to_vec()), {
        let (epoch, hash_key) = entropy.split_at(16);
        (epoch.to_vec(), hash_key.to_vec())
    });
    drop(store);
    assert_eq!(EmbeddedStore::open(&path, [0; 48]).unwrap().identity().epoch[..], entropy[..16]);
}

#[cfg(unix)]
#[test]
fn file_with_the_hash_key_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Embedded::new();
    let _store = place.open_embedded();
    for name in ["store.db", "store.db-wal"] {
        let mode = fs::metadata(place.path().with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// Changes the file behind the store's back.
fn tamper(place: &Embedded, sql: &str) {
    Connection::open(place.path()).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn damage_is_named_by_table_and_key() {
    let place = Embedded::new();
    let store = place.open_embedded();
    for n in 0..3 {
        let mut append = append(log(1, 0), n);
        append.request = Some(mark(u8::try_from(n).unwrap(), 0, 0));
        store.append_decision(append).await.unwrap();
    }
    drop(store);
    let log: LogId = log(1, 0);
    tamper(
        &place,
        "UPDATE requests SET decision = x'0102' WHERE placement = 1 AND partition = 0 AND key = x'0000000000000000000000000000000000000000000000000000000000000000';
         INSERT INTO decisions SELECT x'aabb', placement, partition, offset, 0, -5, 0, ledger, NULL, NULL, NULL FROM decisions LIMIT 1;
         DELETE FROM log WHERE offset = 1;",
    );
    let store = place.open_embedded();
    let mut again = append(log, 10);
    again.request = Some(mark(0, 0, 50));
    let errors = [
        (store.append_decision(again).await.unwrap_err(), "table requests, key 0000", "2 bytes"),
        (store.due(log, at(1_000), 10).await.unwrap_err(), "table decisions, key aabb", "2 bytes"),
        (
            store.read_log(log, 0, 10).await.unwrap_err(),
            "table log, key placement 1 partition 0",
            "offset 1 is missing",
        ),
        (store.decisions(&[key(log, 1)]).await.unwrap_err(), "table decisions, key 01", "offset 1 is missing"),
    ];
    for (error, place, found) in errors {
        assert!(
            matches!(&error, StoreError::Corrupt { reason } if reason.contains(place) && reason.contains(found)),
            "{error}"
        );
    }
    // What is damaged stops nothing else.
    assert_eq!(offset(store.append_decision(append(log, 20)).await.unwrap()), 3);
}

#[tokio::test]
async fn failed_batch_is_not_visible_and_the_next_one_is_fine() {
    let place = Embedded::new();
    let store = Arc::new(place.open_embedded());
    // The third row of a ledger's change cannot be written: the whole change is undone, its neighbours stand.
    tamper(
        &place,
        "CREATE TRIGGER full BEFORE INSERT ON log WHEN NEW.record = x'706f69736f6e' BEGIN SELECT raise(ABORT, 'poison'); END",
    );
    for n in 0..16 {
        store.append_decision(append(log(1, 0), n)).await.unwrap();
    }
    let mut calls = JoinSet::new();
    for n in 0..16 {
        let store = Arc::clone(&store);
        let steps = if n % 4 == 0 { ["good", "poison"] } else { ["good", "better"] };
        calls.spawn(async move { (n, store.advance_ledgers(vec![advance(log(1, 0), n, 0, &steps)]).await.is_ok()) });
    }
    for (n, advanced) in calls.join_all().await {
        assert_eq!(advanced, n % 4 != 0);
        let found = store.decisions(&[key(log(1, 0), n)]).await.unwrap().remove(0).unwrap();
        assert_eq!(found.sequence, if advanced { 2 } else { 0 });
    }
    assert_eq!(whole_log(&*store, log(1, 0)).await.len(), 16 + 2 * 12);
}
