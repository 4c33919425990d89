//! Logs go out to files and come back: the same records, the same ledgers, the same statistics.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use crate::common::{
    DAY_S, HOUR_S, TestServer, attributes, conversion, number, offer_mut, placement_mut, request, revenue, shop, text,
    upsell,
};
use crate::fairness::{fair, of_gender};
use offer_ranker::{
    log::{
        archive::{Archive, ArchiveWriter, Format},
        record::{Cause, LogRecord},
        tables::day_of,
    },
    proto::RankRequest,
    service::{
        audit::audit,
        export::{ExportReport, Exporting, ForgetReport, export, forget},
        import::import,
    },
    store::{LogId, Store, embedded::EmbeddedStore},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};
use tempfile::TempDir;

/// Chunks that a test's log has many of.
const CHUNK: usize = 7;

/// How long decisions at `banner` stand.
const LEASE_S: u32 = 600;

/// A server that has lived for some days: decisions of most placements, repeats of leases, outcomes early and late,
/// exposures, a revision, windows that closed, and changes of the catalog between.
pub(crate) async fn lived() -> TestServer {
    let leasing = || {
        let mut catalog = shop();
        placement_mut(&mut catalog, "banner").lease_s = Some(LEASE_S.into());
        catalog
    };
    let server = TestServer::start_with(leasing()).await;
    for day in 0..3 {
        for user in 0..6 {
            let name = format!("user-{day}-{user}");
            let known = attributes([("tenure_days", number(f64::from(user) * 0.1)), ("channel", text("email"))]);
            let paywall = server.rank(RankRequest { attributes: known, ..request("paywall", &name) }).await;
            let banner = server.rank(request("banner", &name)).await;
            let upsell = server.rank(upsell(&name)).await;
            server.clock.advance_s(60);
            server.report(conversion("o1", &paywall)).await;
            // A repeat, because its lease stands.
            server.rank(RankRequest { include_tail: true, slots: Some(2), ..request("banner", &name) }).await;
            server.report(revenue("o2", &banner, 0.1 + f64::from(user), "SEK")).await;
            let mut revised = revenue("o3", &banner, 0.7, "EUR");
            revised.revises_outcome_id = "o2".to_owned();
            server.report(revised).await;
            server.expose(&upsell.decision_id, &[1]).await;
            server.report(revenue("o4", &upsell, 3.3, "USD")).await;
            server.refresh().await;
        }
        server.clock.advance_s(DAY_S + HOUR_S);
        server.refresh().await;
        let mut catalog = leasing();
        offer_mut(&mut catalog, "monthly").tags = vec![format!("day-{day}")];
        server.apply(catalog).await;
    }
    server
}

pub(crate) async fn export_some(
    server: &TestServer,
    folder: &Path,
    placement: Option<&str>,
    format: Format,
) -> ExportReport {
    let store = server.place.address.open_read_only().await.expect("the store can be read while it serves");
    let mut writer = ArchiveWriter::open(folder, Some(format), store.identity().epoch).expect("the folder takes it");
    let exporting = Exporting { placement, chunk_records: CHUNK };
    export(&*store, &mut writer, exporting, |_| {}).await.expect("the log can be exported")
}

/// Every record of a store's logs, as it is encoded.
async fn stored(store: &dyn Store) -> BTreeMap<LogId, Vec<Arc<[u8]>>> {
    let mut logs = BTreeMap::new();
    for (log, end) in store.log_ends().await.unwrap() {
        let mut records = Vec::new();
        while (records.len() as u64) < end {
            records.extend(store.read_log(log, records.len() as u64, 1000).await.unwrap());
        }
        logs.insert(log, records);
    }
    logs
}

/// Every record of an archive.
fn archived(folder: &Path) -> BTreeMap<LogId, Vec<Arc<[u8]>>> {
    let archive = Archive::open(folder).unwrap();
    let mut logs = BTreeMap::new();
    for (_, log, end) in archive.logs() {
        let mut records = Vec::new();
        while (records.len() as u64) < end {
            records.extend(archive.read(log, records.len() as u64, 1000).unwrap());
        }
        logs.insert(log, records);
    }
    logs
}

/// Imports an archive into a store in a directory of its own.
async fn imported(server: &TestServer, folder: &Path) -> (TempDir, Arc<dyn Store>) {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path().join("store.db"), [9; 48]).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    import(&Archive::open(folder).unwrap(), &store, server.clock.clone(), |_| {}).await.unwrap();
    (directory, store)
}

/// The files in a folder and below, by their paths in it.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_is_exported_and_imported_is_the_same_log_and_teaches_the_same() {
    let server = lived().await;
    server.refresh().await;
    for format in [Format::Parquet, Format::Jsonl] {
        let folder = tempfile::tempdir().unwrap();
        let report = export_some(&server, folder.path(), None, format).await;
        let records = stored(&*server.store).await;
        assert_eq!(report.records as usize, records.values().map(Vec::len).sum::<usize>());
        assert!(report.records > 10 * CHUNK as u64, "there are many chunks");
        assert!(
            report.logs.iter().any(|log| log.rows.values().all(|&rows| rows > 0)),
            "one log has rows of every table"
        );
        assert_eq!(archived(folder.path()), records, "{format:?}");

        let (_directory, store) = imported(&server, folder.path()).await;
        assert_eq!(stored(&*store).await, records, "{format:?}");
        let report = audit(&*store, |_| {}).await.unwrap();
        assert!(report.equal, "{:#?}", report.partitions);
        for served in server.service.serving().placements.values() {
            let model_id = &served.snapshot.version.model_id;
            for partition in 0..served.snapshot.version.offsets.len() as u16 {
                let log = served.log(partition);
                let (here, there) = (
                    server.store.statistics(model_id, log).await.unwrap(),
                    store.statistics(model_id, log).await.unwrap(),
                );
                assert_eq!((here.offset, here.shared, here.arms), (there.offset, there.shared, there.arms), "{log:?}");
            }
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_export_goes_on_where_the_last_one_ended() {
    let server = lived().await;
    let folder = tempfile::tempdir().unwrap();
    let first = export_some(&server, folder.path(), None, Format::Parquet).await;
    let untouched = files(folder.path());
    let answer = server.rank(request("banner", "later")).await;
    server.report(conversion("o1", &answer)).await;
    let second = export_some(&server, folder.path(), None, Format::Parquet).await;
    assert_eq!((second.records, first.records > 0), (2, true));
    let third = export_some(&server, folder.path(), None, Format::Parquet).await;
    assert_eq!(third.records, 0);
    assert_eq!(archived(folder.path()), stored(&*server.store).await);
    assert!(untouched.iter().all(|path| path.exists()), "what was there stays");
}

#[tokio::test]
async fn what_a_killed_export_left_counts_for_nothing() {
    let server = lived().await;
    let folder = tempfile::tempdir().unwrap();
    export_some(&server, folder.path(), None, Format::Jsonl).await;
    let before = archived(folder.path());
    server.rank(request("banner", "later")).await;
    let description = folder.path().join("_archive.json");
    let described = fs::read(&description).unwrap();
    export_some(&server, folder.path(), None, Format::Jsonl).await;
    // As if it had been killed after its files had their names, and before they counted; and once in the middle of one.
    fs::write(&description, described).unwrap();
    let some_file = files(folder.path()).into_iter().find(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let half = some_file.unwrap().with_file_name(".00000-000000000000099.jsonl.tmp");
    fs::write(&half, "{\"offset\":").unwrap();
    assert_eq!(archived(folder.path()), before);

    server.rank(request("banner", "last")).await;
    export_some(&server, folder.path(), None, Format::Jsonl).await;
    assert_eq!(archived(folder.path()), stored(&*server.store).await);
    assert!(!half.exists());
}

#[tokio::test]
async fn a_placement_is_exported_alone() {
    let server = lived().await;
    let folder = tempfile::tempdir().unwrap();
    let report = export_some(&server, folder.path(), Some("upsell"), Format::Parquet).await;
    assert!(report.logs.iter().all(|log| log.placement == "upsell"));
    let placements =
        |path: &PathBuf| path.components().any(|part| part.as_os_str().to_string_lossy() == "placement=upsell");
    let rows: Vec<_> =
        files(folder.path()).into_iter().filter(|path| path.extension().is_some_and(|end| end == "parquet")).collect();
    assert!(!rows.is_empty() && rows.iter().all(placements), "{rows:?}");
    let (_directory, store) = imported(&server, folder.path()).await;
    assert!(audit(&*store, |_| {}).await.unwrap().equal);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_folder_of_something_else_is_refused_and_left_alone() {
    let server = lived().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letters.txt"), "dear").unwrap();
    let refused = ArchiveWriter::open(folder.path(), None, server.store.identity().epoch).unwrap_err().to_string();
    assert!(refused.contains("not empty"), "{refused}");
    assert_eq!(files(folder.path()).len(), 1);

    let folder = tempfile::tempdir().unwrap();
    export_some(&server, folder.path(), None, Format::Parquet).await;
    let other_store = ArchiveWriter::open(folder.path(), None, [1; 16]).unwrap_err().to_string();
    assert!(other_store.contains("another store"), "{other_store}");
    let epoch = server.store.identity().epoch;
    let other_format = ArchiveWriter::open(folder.path(), Some(Format::Jsonl), epoch).unwrap_err().to_string();
    assert!(other_format.contains("parquet"), "{other_format}");
    let _first = ArchiveWriter::open(folder.path(), None, epoch).unwrap();
    let second = ArchiveWriter::open(folder.path(), None, epoch).unwrap_err().to_string();
    assert!(second.contains("another process"), "{second}");
}

#[tokio::test]
async fn an_archive_that_lost_a_file_says_so() {
    let server = lived().await;
    let folder = tempfile::tempdir().unwrap();
    export_some(&server, folder.path(), None, Format::Jsonl).await;
    let outcomes = files(&folder.path().join("outcomes"));
    fs::remove_file(&outcomes[0]).unwrap();
    let archive = Archive::open(folder.path()).unwrap();
    let read = archive.logs().try_for_each(|(_, log, end)| {
        (0..end).step_by(CHUNK).try_for_each(|offset| archive.read(log, offset, 1).map(drop))
    });
    let error = read.unwrap_err().to_string();
    assert!(error.contains("files are missing"), "{error}");
}

/// Python's own reader of JSON and nothing else: sums what is needed to evaluate a policy.
const STRANGER: &str = r#"
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
rows = lambda table: [json.loads(line) for path in sorted(folder.glob(table + "/placement=*/date=*/*.jsonl")) for line in path.open()]
decisions, outcomes = rows("decisions"), rows("outcomes")
for row in decisions:
    for slot in row["slots"]:
        drawn = [arm for arm in slot["arms"] if arm["offer_id"] == slot["offer_id"]]
        assert len(drawn) == 1 and drawn[0]["probability"] == slot["propensity"], slot
def plain_sum(numbers):
    total = 0.0
    for number in numbers:
        total += number
    return total
print(len(decisions), plain_sum(slot["propensity"] for row in decisions for slot in row["slots"]).hex())
print(len(outcomes), plain_sum(row["value"] for row in outcomes).hex())
print(sum(row["decision_id"] in {decision["decision_id"] for decision in decisions} for row in outcomes))
"#;

/// Runs wherever there is a Python.
#[tokio::test]
async fn a_stranger_reads_exact_numbers_from_json_lines() {
    if Command::new("python3").arg("--version").output().is_err() {
        return;
    }
    let server = lived().await;
    let folder = tempfile::tempdir().unwrap();
    export_some(&server, folder.path(), None, Format::Jsonl).await;
    let script = folder.path().join("_stranger.py");
    fs::write(&script, STRANGER).unwrap();
    let read = Command::new("python3").arg(&script).arg(folder.path()).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let (mut propensities, mut values, mut decisions) = (Vec::new(), Vec::new(), 0);
    // In the order of files and rows: placement, day, then partition and offset.
    let mut days: BTreeMap<(String, i64), Vec<LogRecord>> = BTreeMap::new();
    let numbers = server.store.catalog(None).await.unwrap().unwrap().placement_numbers;
    for (log, record) in server.records().await {
        let placement = numbers.iter().find(|(_, number)| *number == log.placement).unwrap().0.clone();
        days.entry((placement, day_of(&record))).or_default().push(record);
    }
    for record in days.into_values().flatten() {
        match record {
            LogRecord::Decision(decision) => {
                decisions += 1;
                propensities.extend(decision.decision.slots.iter().map(|slot| slot.propensity()));
            }
            LogRecord::Ledger(change) => {
                if let Cause::Outcome(_, outcome) = &change.cause {
                    values.push(outcome.value);
                }
            }
        }
    }
    let said = String::from_utf8(read.stdout).unwrap();
    let words: Vec<&str> = said.split_whitespace().collect();
    let number = |hex: &str| {
        let python =
            Command::new("python3").args(["-c", "import sys; print(float.fromhex(sys.argv[1]))", hex]).output();
        String::from_utf8(python.unwrap().stdout).unwrap().trim().parse::<f64>().unwrap()
    };
    assert_eq!(words[0], decisions.to_string());
    assert_eq!(number(words[1]).to_bits(), propensities.iter().sum::<f64>().to_bits());
    assert_eq!(words[2], values.len().to_string());
    assert_eq!(number(words[3]).to_bits(), values.iter().sum::<f64>().to_bits());
    assert_eq!(words[4], values.len().to_string(), "every outcome finds its decision");
}

/// The rows of a table of JSON lines, by decision and offset.
fn lines(folder: &Path, table: &str) -> Vec<serde_json::Value> {
    let mut pending = vec![folder.join(table)];
    let mut rows = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let text = fs::read_to_string(&path).unwrap();
            rows.extend(text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
        }
    }
    rows
}

/// Whether a cell holds a number, but for how its text was read.
fn assert_number(cell: &serde_json::Value, expected: f64) {
    assert!((cell.as_f64().unwrap() - expected).abs() < 1e-15, "{cell} is not {expected}");
}

#[tokio::test]
async fn exported_decisions_say_groups_cohorts_and_what_bounds_did() {
    let server = TestServer::start_with(fair()).await;
    let all = server.rank(of_gender("anna", "f")).await;
    let candidate_offer_ids = ["none", "trial"].map(str::to_owned).to_vec();
    let few = server.rank(RankRequest { candidate_offer_ids, ..of_gender("bo", "m") }).await;
    let folder = tempfile::tempdir().unwrap();
    export_some(&server, folder.path(), None, Format::Jsonl).await;
    let rows = lines(folder.path(), "decisions");
    let row = |id: &str| rows.iter().find(|row| row["decision_id"] == id).unwrap();

    let (row, few) = (row(&all.decision_id), row(&few.decision_id));
    assert_eq!((&row["group"], &few["group"]), (&"DECISIONING".into(), &"DECISIONING".into()));
    let cohort =
        |row: &serde_json::Value| (row["cohorts"][0]["attribute"].clone(), row["cohorts"][0]["value_key"].clone());
    assert_eq!((cohort(row).0, row["cohorts"].as_array().unwrap().len()), ("gender".into(), 1));
    assert!(cohort(row).1.as_str().is_some_and(|key| key.len() == 16) && cohort(row).1 != cohort(few).1, "{row}");
    let sets = serde_json::json!([
        { "id": "nothing", "min": 0.0, "max": 0.1, "every_slot": false },
        { "id": "plans", "min": 0.7, "max": 1.0, "every_slot": false },
    ]);
    assert_eq!((&row["sets"], &few["sets"]), (&sets, &sets));

    let explanation = all.explanation.unwrap();
    let (band, bands) = (&explanation.bands[0], row["bands"].as_array().unwrap());
    assert_eq!((bands.len(), &bands[0]["id"]), (1, &"discounts".into()));
    let found = [("rate", 0.3), ("delta", 0.05), ("before", band.before), ("after", band.after)];
    found.into_iter().for_each(|(column, expected)| assert_number(&bands[0][column], expected));
    assert_eq!(few["bands"], serde_json::json!([]), "nobody can be shown a discount here");
    for (arm, explained) in row["slots"][0]["arms"].as_array().unwrap().iter().zip(&explanation.slots[0].arms) {
        assert_eq!(arm["offer_id"], explained.offer_id.as_str());
        assert_number(&arm["policy_probability"], explained.policy_probability);
        assert_number(&arm["probability"], explained.probability);
    }
    let yearly = row["arms"].as_array().unwrap().iter().find(|arm| arm["offer_id"] == "yearly").unwrap();
    assert_eq!(yearly["sets"], serde_json::json!(["plans", "discounts"]));
    assert_number(&yearly["floor"], 0.02);
    assert_number(&yearly["cap"], 1.0);
    let given_up = |row: &serde_json::Value| (row["slots"][0]["relaxed"].clone(), row["flags"].clone());
    assert_eq!(given_up(row), (serde_json::json!([]), serde_json::json!([])));
    assert_eq!(given_up(few), (serde_json::json!(["plans"]), serde_json::json!(["BOUNDS_RELAXED"])));
    assert_eq!(few["slots"][0]["relaxed_caps"], false);
}

#[tokio::test]
async fn what_the_store_has_forgotten_is_forgotten_in_files_and_nothing_else() {
    const COLUMNS: [&str; 7] =
        ["user_key", "unit_key", "attributes", "trial_used", "current_plan", "lapsed_at_ms", "identity"];
    let server = lived().await;
    for format in [Format::Jsonl, Format::Parquet] {
        let folder = TempDir::new().unwrap();
        export_some(&server, folder.path(), None, format).await;
        let whole = Archive::open(folder.path()).unwrap();
        let ends: Vec<_> = whole.logs().map(|(_, log, end)| (log, end)).collect();
        let before = if format == Format::Jsonl { lines(folder.path(), "decisions") } else { Vec::new() };
        let forgotten = if format == Format::Jsonl { "user-1-2" } else { "user-2-3" };
        server.forget(forgotten).await;
        let store = server.place.address.open_read_only().await.expect("the store can be read while it serves");
        let mut reports = Vec::new();
        for _ in 0..2 {
            let archive = Archive::open(folder.path()).unwrap();
            let writer = ArchiveWriter::open(folder.path(), None, store.identity().epoch).unwrap();
            reports.push(forget(&*store, (&archive, &writer), |_| {}).await.expect("the archive can be written"));
        }
        let all = if format == Format::Jsonl { 4 } else { 8 };
        for ForgetReport { decisions, erased } in reports {
            assert_eq!((decisions, erased), (72, all), "four decisions of each user of three days");
        }
        // The log in it is the same, record by record.
        let archive = Archive::open(folder.path()).unwrap();
        for (log, end) in ends {
            for offset in 0..end {
                assert_eq!(archive.read(log, offset, 1).unwrap(), whole.read(log, offset, 1).unwrap());
            }
        }
        let by_id = |rows: Vec<serde_json::Value>| -> BTreeMap<String, serde_json::Value> {
            rows.into_iter().map(|row| (row["decision_id"].as_str().unwrap().to_owned(), row)).collect()
        };
        let after = if format == Format::Jsonl { by_id(lines(folder.path(), "decisions")) } else { BTreeMap::new() };
        let mut blank = 0;
        for (id, mut row) in by_id(before) {
            let now = &after[&id];
            if now["user_key"].is_null() {
                blank += 1;
                for column in COLUMNS {
                    row[column] = if column == "attributes" { serde_json::json!([]) } else { serde_json::Value::Null };
                }
            }
            assert_eq!(*now, row);
        }
        assert_eq!(blank, if format == Format::Jsonl { 4 } else { 0 });
    }
}
