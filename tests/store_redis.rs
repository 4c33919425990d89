//! What only the Redis store promises: it comes back when Redis does, trusts no server that forgets, needs few rights,
//! shows no password, and may be told everything twice.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "common/store.rs"]
mod fixtures;

use fixtures::{
    Redis, advance, append, assert_refuses_to_write, at, catalog, commit, document, key, log, mark, offset, record,
    redis::{Cluster, DEADLINE, Server, cluster_url, standalone_url},
    salt, unit, whole_log,
};
use offer_ranker::store::{
    AdvanceOutcome::{Advanced, Conflict},
    AppendOutcome,
    ChangeOutcome::Changed,
    CommitOutcome::Committed,
    DecisionAppend, DocumentChange, DocumentKey, Leadership, OwnedSalt, Store, StoreError,
    redis::{RedisStore, RedisUrl},
};
use redis::Commands as _;
use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// With `everysec` a write may still wait in the process while an earlier one is synced, and be lost with it.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

async fn open(url: &RedisUrl) -> RedisStore {
    RedisStore::open(url, [7; 48]).await.unwrap()
}

async fn refusal(url: &RedisUrl) -> String {
    match RedisStore::open(url, [7; 48]).await {
        Err(error @ StoreError::Open { .. }) => error.to_string(),
        Err(other) => panic!("an Open error, not {other:?}"),
        Ok(_) => panic!("{url} was opened"),
    }
}

fn parse(url: &str) -> RedisUrl {
    url.parse().unwrap()
}

/// Calls a verb until the store is there again.
async fn until_available<T, F: Future<Output = Result<T, StoreError>>>(verb: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        match verb().await {
            Err(error) if error.is_transient() && begun.elapsed() < DEADLINE => {}
            answer => return answer.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_of_redis_and_the_store_reconnects() {
    let mut server = Server::start(&DURABLE);
    let store = Arc::new(open(&server.url("")).await);
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let mut callers = JoinSet::new();
        for caller in 0..8 {
            let store = Arc::clone(&store);
            callers.spawn(async move {
                let (first, mut mine) = (round * 1_000_000 + caller, Vec::new());
                for n in (first..).step_by(8) {
                    let log = log(1, u16::try_from(n % 2).unwrap());
                    let Ok(outcome) = store.append_decision(append(log, n)).await else { return mine };
                    mine.push((n, offset(outcome)));
                    let change = advance(log, n, 0, &[&format!("outcome {n}")]);
                    if store.advance_ledgers(vec![change]).await.is_err() {
                        return mine;
                    }
                }
                mine
            });
        }
        while store.log_ends().await.unwrap().iter().map(|(_, end)| end).sum::<u64>() < 100 * (round + 1) {}
        server.kill();
        acknowledged.extend(callers.join_all().await.into_iter().flatten());
        assert!(store.log_ends().await.unwrap_err().is_transient());
        server.start_again();
        // The same store, and one that has nothing to do with it, find everything.
        until_available(|| store.log_ends()).await;
        for store in [&store, &Arc::new(open(&server.url("")).await)] {
            for partition in 0..2 {
                let records = whole_log(&**store, log(1, partition)).await;
                for (n, offset) in acknowledged.iter().filter(|(n, _)| n % 2 == u64::from(partition)) {
                    assert_eq!(records[usize::try_from(*offset).unwrap()], record(*n));
                }
            }
        }
    }
    assert!(acknowledged.len() >= 100);
}

#[tokio::test]
async fn a_node_that_is_silent_holds_up_nobody_but_its_own_logs() {
    let cluster = Cluster::start_with(&["--cluster-require-full-coverage", "no"]);
    let store = Arc::new(open(&cluster.url("p")).await);
    // Every log is known before, so that none has to be made known while a node is away.
    for partition in 0..12 {
        store.append_decision(append(log(1, partition), partition.into())).await.unwrap();
    }
    cluster.nodes()[1].signal("-STOP");
    let mut silent = Vec::new();
    for partition in 0..12 {
        let call = store.append_decision(append(log(1, partition), 100 + u64::from(partition)));
        if tokio::time::timeout(Duration::from_secs(1), call).await.is_err() {
            silent.push(partition);
        }
    }
    assert!(!silent.is_empty() && silent.len() < 12, "each node has logs: {silent:?}");
    let answering = (0..12).find(|partition| !silent.contains(partition)).unwrap();
    // More than wait anywhere.
    let mut calls = JoinSet::new();
    for number in 0..10_000 {
        let (store, silent) = (store.clone(), log(1, silent[0]));
        calls.spawn(async move { store.append_decision(append(silent, 1000 + number)).await });
    }
    while store.append_decision(append(log(1, answering), 500)).await.is_err() {}
    for number in 0..100 {
        let begun = Instant::now();
        store.append_decision(append(log(1, answering), 600 + number)).await.unwrap();
        // Who waits for the silent node waits for 4 s.
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        tokio::task::yield_now().await;
    }
    calls.abort_all();
    cluster.nodes()[1].signal("-CONT");
}

#[tokio::test]
async fn a_cluster_whose_node_was_away_serves_again() {
    let mut cluster = Cluster::start_with(&DURABLE);
    let store = open(&cluster.url("p")).await;
    let logs: Vec<_> = (0..16).map(|partition| log(1, partition)).collect();
    for log in &logs {
        store.append_decision(append(*log, 0)).await.unwrap();
    }
    cluster.nodes_mut()[1].kill();
    cluster.nodes_mut()[1].start_again();
    for log in &logs {
        until_available(|| store.append_decision(append(*log, 1))).await;
        assert_eq!(whole_log(&store, *log).await, [record(0), record(1)]);
    }
}

#[tokio::test]
async fn scripts_that_a_server_has_forgotten_are_sent_again() {
    let server = Server::start(&[]);
    let store = open(&server.url("")).await;
    for n in 0..3 {
        assert!(server.command("SCRIPT FLUSH").starts_with("+OK"));
        let changes = vec![advance(log(1, 0), n, 0, &["a"]), advance(log(1, 0), n, 1, &["b"])];
        assert_eq!(offset(store.append_decision(append(log(1, 0), n)).await.unwrap()), n * 3);
        assert!(server.command("SCRIPT FLUSH").starts_with("+OK"));
        assert_eq!(store.advance_ledgers(changes).await.unwrap(), [Advanced, Advanced]);
    }
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_left() {
    let (primary, server) = (Server::start(&[]), Server::start(&[]));
    let store = open(&server.url("")).await;
    store.append_decision(append(log(1, 0), 0)).await.unwrap();
    assert!(server.command(&format!("REPLICAOF 127.0.0.1 {}", primary.port)).starts_with("+OK"));
    let error = store.append_decision(append(log(1, 0), 1)).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("replica"), "{error}");
    let connections = |server: &Server| {
        let stats = server.command("INFO stats");
        let count = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
        count.parse::<u64>().unwrap()
    };
    // Whatever the name leads to by now is connected to anew.
    let before = connections(&server);
    store.append_decision(append(log(1, 0), 1)).await.unwrap_err();
    assert!(connections(&server) >= before + 2, "the look itself, and the store");
    assert!(server.command("REPLICAOF NO ONE").starts_with("+OK"));
    until_available(|| store.append_decision(append(log(1, 0), 1))).await;
}

#[tokio::test]
async fn full_memory_refuses_writes_and_loses_nothing() {
    let server = Server::start(&["--maxmemory", "30mb", "--maxmemory-policy", "noeviction"]);
    let store = open(&server.url("")).await;
    let mut appended = 0;
    let error = loop {
        let mut large = append(log(1, 0), appended);
        large.record = vec![1; 1 << 20];
        match store.append_decision(large).await {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_transient() && error.to_string().contains("raise maxmemory"), "{error}");
    assert_eq!(store.log_ends().await.unwrap(), [(log(1, 0), appended)]);
    assert_eq!(whole_log(&store, log(1, 0)).await.len() as u64, appended);
}

#[tokio::test]
async fn servers_that_evict_are_refused_with_what_to_change() {
    let server = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let refused = refusal(&server.url("")).await;
    assert!(refused.contains("CONFIG SET maxmemory-policy noeviction"), "{refused}");
    assert!(server.command("CONFIG SET maxmemory-policy noeviction").starts_with("+OK"));
    open(&server.url("")).await;
    // Of a Cluster every primary is asked.
    let cluster = Cluster::start_with(&[]);
    open(&cluster.url("p")).await;
    for setting in ["maxmemory 100mb", "maxmemory-policy volatile-ttl"] {
        assert!(cluster.nodes()[2].command(&format!("CONFIG SET {setting}")).starts_with("+OK"));
    }
    let refused = refusal(&cluster.url("p")).await;
    assert!(refused.contains("noeviction") && refused.contains(&cluster.nodes()[2].port.to_string()), "{refused}");
}

#[tokio::test]
async fn where_nobody_answers_opening_says_where_and_what_to_look_at() {
    let server = Server::start(&[]);
    let url = server.url("");
    drop(server);
    let refused = refusal(&url).await;
    assert!(refused.contains(&url.to_string()) && refused.contains("is Redis running there"), "{refused}");
}

/// The rule of docs/redis.md for the service's user, as words of one command.
fn documented_rule() -> Vec<String> {
    let page = include_str!("../docs/redis.md");
    let rule =
        page.lines().skip_while(|line| !line.starts_with("ACL SETUSER offer-ranker")).take_while(|line| *line != "```");
    let rule: String = rule.map(|line| line.trim_end_matches('\\')).collect();
    rule.split_whitespace().map(str::to_owned).collect()
}

/// Sets the documented rule, with `s3cret` for its password.
fn set_documented_rule(server: &Server) {
    let mut command = redis::Cmd::new();
    for word in documented_rule() {
        command.arg(if word.starts_with('>') { ">s3cret".to_owned() } else { word });
    }
    command.exec(&mut server.connect()).unwrap();
    let default_off =
        redis::cmd("ACL").arg(&["SETUSER", "default", "nopass", "nocommands", "+acl"]).exec(&mut server.connect());
    default_off.unwrap();
}

/// Every verb there is, each of them twice with the same arguments.
async fn every_verb_twice(store: &dyn Store) {
    let here = log(1, 0);
    let mut marked = append(here, 0);
    marked.request = Some(mark(1, 1, 0));
    marked.document = Some(document(unit(here, 2), None, 1));
    marked.salt = Some(salt(1, 0));
    for _ in 0..2 {
        assert!(store.append_catalog(catalog(1, "first")).await.unwrap());
        assert_eq!(offset(store.append_decision(marked.clone()).await.unwrap()), 0);
        assert_eq!(store.claim_request(here, &mark(2, 1, 0)).await.unwrap(), [1; 32]);
        assert_eq!(store.lead(here, [1; 16], at(0), 100).await.unwrap(), Leadership::Leads { token: 1 });
    }
    let change = advance(here, 0, 0, &["a", "b"]);
    let mut closing = advance(here, 0, 2, &["closed"]);
    closing.closed = true;
    for outcome in [Advanced, Conflict] {
        assert_eq!(store.advance_ledgers(vec![change.clone()]).await.unwrap(), [outcome]);
    }
    assert_eq!(store.due(here, at(1_000), 10).await.unwrap(), [key(here, 0)]);
    for outcome in [Advanced, Conflict] {
        assert_eq!(store.advance_ledgers(vec![closing.clone()]).await.unwrap(), [outcome]);
    }
    for _ in 0..2 {
        let commit = commit(here, 1, (0, 4), &[("a", "x"), ("b", "y")]);
        assert_eq!(store.commit_statistics(commit).await.unwrap(), Committed);
    }
    let (kept, removed) = (document(unit(here, 1), None, 1), document(DocumentKey::User([1; 16]), None, 1));
    let removal = DocumentChange { content: None, from_version: Some(1), ..removed.clone() };
    for changes in [[kept.clone(), removed], [kept, removal]] {
        for _ in 0..2 {
            assert_eq!(store.change_documents(changes.to_vec()).await.unwrap(), [Changed, Changed]);
        }
    }
    for destroyed in [1, 0] {
        assert_eq!(store.destroy_salts(&[here], [1; 16], at(0)).await.unwrap(), destroyed);
    }
    for _ in 0..2 {
        store.resign(here, [1; 16]).await.unwrap();
        store.forget_expired(at(0)).await.unwrap();
    }
    // Everything was written once.
    assert_eq!(store.catalog(None).await.unwrap(), Some(catalog(1, "first")));
    assert_eq!(whole_log(store, here).await, [record(0), b"a".to_vec(), b"b".to_vec(), b"closed".to_vec()]);
    assert_eq!(store.log_ends().await.unwrap(), [(here, 4)]);
    assert_eq!(store.decisions(&[key(here, 0)]).await.unwrap()[0].as_ref().unwrap().sequence, 3);
    assert!(store.due(here, at(1_000), 10).await.unwrap().is_empty());
    assert_eq!(store.statistics("m", here).await.unwrap().arms.len(), 2);
    let found = store.documents(&[unit(here, 1), DocumentKey::User([1; 16])]).await.unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    let told = AppendOutcome::Repeated { decision: key(here, 0), fingerprint: [1; 32] };
    assert_eq!(store.answered(&[here], [1; 32], at(0)).await.unwrap(), Some(told));
}

#[tokio::test]
async fn every_verb_may_arrive_twice() {
    for backend in [Redis::standalone(), Redis::cluster()] {
        every_verb_twice(&backend.open_redis().await).await;
    }
}

#[tokio::test]
async fn the_documented_rights_are_enough_and_no_more_than_the_prefix() {
    let server = Server::start(&[]);
    set_documented_rule(&server);
    let address =
        |password: &str, rest: &str| parse(&format!("redis://offer-ranker:{password}@127.0.0.1:{}{rest}", server.port));
    every_verb_twice(&open(&address("s3cret", "")).await).await;
    RedisStore::open_read_only(&address("s3cret", "")).await.unwrap();
    let elsewhere = refusal(&address("s3cret", "?prefix=other")).await;
    assert!(elsewhere.contains("ACL"), "{elsewhere}");
    let wrong = refusal(&address("wr0ng", "")).await;
    assert!(wrong.contains("user or password are wrong"), "{wrong}");
    for said in [elsewhere, wrong] {
        assert!(!said.contains("s3cret") && !said.contains("wr0ng"), "{said}");
    }
}

#[tokio::test]
async fn the_documented_rights_are_enough_for_a_cluster() {
    let cluster = Cluster::start_with(&[]);
    cluster.nodes().iter().for_each(set_documented_rule);
    let url = parse(&format!("redis://offer-ranker:s3cret@127.0.0.1:{}", cluster.nodes()[0].port));
    every_verb_twice(&open(&url).await).await;
}

/// A certificate authority and a server's certificate signed by it, as files in a directory.
fn make_certificates(directory: &std::path::Path) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::write(directory.join("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca"));
    openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=redis"));
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names");
}

#[tokio::test]
async fn tls_is_spoken_where_the_address_says_so_and_only_to_who_can_prove_itself() {
    let directory = tempfile::tempdir().unwrap().keep();
    make_certificates(&directory);
    let tls = ["--tls-cert-file", "server.pem", "--tls-key-file", "server.key", "--tls-ca-cert-file", "ca.pem"];
    let more = ["--tls-auth-clients", "no", "--requirepass", "s3cret", "--tls-port", "PORT"];
    let server = Server::start_in(directory, &[&tls[..], &more].concat());
    let authority = server.directory().join("ca.pem");
    let address = |rest: &str| parse(&format!("rediss://:s3cret@127.0.0.1:{}/?{rest}", server.port));
    every_verb_twice(&open(&address(&format!("tls_ca={}", authority.display()))).await).await;

    let unknown = refusal(&address("prefix=p")).await;
    assert!(unknown.to_lowercase().contains("certificate"), "{unknown}");
    let missing = refusal(&address("tls_ca=/nowhere.pem")).await;
    assert!(missing.contains("/nowhere.pem cannot be read"), "{missing}");
    let plain = refusal(&parse(&format!("redis://:s3cret@127.0.0.1:{}", server.port))).await;
    assert!([unknown, missing, plain].iter().all(|said| !said.contains("s3cret")));
}

#[tokio::test]
async fn a_key_of_another_type_is_told_before_anything_is_written() {
    let server = Server::start(&[]);
    let store = open(&server.url("?prefix=p")).await;
    store.append_decision(append(log(1, 0), 0)).await.unwrap();
    let mut connection = server.connect();
    let of = |name: &[u8]| [b"p:{1:0}:", name].concat();
    let request = of(&[b"req:", &[1; 32][..]].concat());
    let decision = of(&[b"d:", &key(log(1, 0), 1)[..]].concat());
    let foreign = [of(b"open"), request, decision];
    for name in &foreign {
        let stood: Vec<u8> =
            redis::cmd("DUMP").arg(name).query::<Option<Vec<u8>>>(&mut connection).unwrap().unwrap_or_default();
        let _: () = connection.del(name).unwrap();
        let _: () = connection.lpush(name, "a list").unwrap();
        let keys: i64 = redis::cmd("DBSIZE").query(&mut connection).unwrap();
        let mut marked = append(log(1, 0), 1);
        marked.request = Some(mark(1, 1, 0));
        let error = store.append_decision(marked).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        if name.ends_with(b"open") {
            let error = store.advance_ledgers(vec![advance(log(1, 0), 0, 0, &["a"])]).await.unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        }
        assert_eq!(store.log_ends().await.unwrap(), [(log(1, 0), 1)]);
        assert_eq!(redis::cmd("DBSIZE").query::<i64>(&mut connection).unwrap(), keys);
        let _: () = connection.del(name).unwrap();
        if !stood.is_empty() {
            redis::cmd("RESTORE").arg(name).arg(0).arg(stood).exec(&mut connection).unwrap();
        }
    }
    let _: () = connection.set(of(b"learner"), "a string").unwrap();
    let error = store.commit_statistics(commit(log(1, 0), 1, (0, 1), &[("a", "x")])).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(store.statistics("m", log(1, 0)).await.unwrap().offset, 0);
}

#[tokio::test]
async fn of_many_appends_all_but_those_with_a_key_of_another_type_stand() {
    let server = Server::start(&[]);
    let store = open(&server.url("?prefix=p")).await;
    let mut connection = server.connect();
    let of = |name: &[u8], rest: &[u8]| [b"p:{1:0}:", name, rest].concat();
    let many = || store.append_decisions((1..=4).map(salted).collect::<Vec<_>>().into());
    for name in [of(b"own:", &[3; 16]), of(b"d:", &key(log(1, 0), 3))] {
        let _: () = connection.hset(&name, "a", "hash").unwrap();
        let keys: Option<i64> = (name == of(b"d:", &key(log(1, 0), 3))).then(|| size_of_database(&mut connection));
        let answers = many().await;
        let offsets = [0, 1, 2].map(|offset| AppendOutcome::Appended { offset });
        assert!(matches!(&answers[2], Err(StoreError::Corrupt { .. })), "{answers:?}");
        let stand: Vec<_> = answers.into_iter().filter_map(Result::ok).collect();
        assert_eq!(stand, offsets);
        assert_eq!(store.log_ends().await.unwrap(), [(log(1, 0), 3)]);
        assert_eq!(connection.zcard::<_, i64>(of(b"open", b"")).unwrap(), 3);
        // The second time they stand already, and of what fails nothing stays.
        assert!(keys.is_none_or(|keys| keys == size_of_database(&mut connection)));
        let _: () = connection.del(name).unwrap();
        assert!(!connection.exists::<_, bool>(of(b"d:", &key(log(1, 0), 3))).unwrap());
    }
    let offsets: Vec<_> = many().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(offsets, [0, 1, 3, 2].map(|offset| AppendOutcome::Appended { offset }));
    assert_eq!(connection.zcard::<_, i64>(of(b"open", b"")).unwrap(), 4);
    for n in 1..=4 {
        assert_eq!(connection.llen::<_, i64>(of(b"own:", &[n; 16])).unwrap(), 1);
    }
}

/// A decision whose number is its owner's, too.
fn salted(number: u8) -> DecisionAppend {
    DecisionAppend { salt: Some(salt(number, number.into())), ..append(log(1, 0), number.into()) }
}

fn size_of_database(connection: &mut redis::Connection) -> i64 {
    redis::cmd("DBSIZE").query(connection).unwrap()
}

#[tokio::test]
async fn what_a_user_may_not_append_leaves_nothing_behind() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    let rule = |rights: &str| {
        let all = ["ACL", "SETUSER", "shy", "on", ">s3cret", "allkeys", "allchannels", "+@all"];
        let mut command = redis::cmd(all[0]);
        all[1..].iter().copied().chain(rights.split_whitespace()).for_each(|word| {
            command.arg(word);
        });
        command
    };
    rule("").exec(&mut connection).unwrap();
    let store = open(&parse(&format!("redis://shy:s3cret@127.0.0.1:{}/?prefix=p", server.port))).await;
    store.append_decision(append(log(1, 0), 0)).await.unwrap();
    let many = || store.append_decisions((1..=2).map(salted).collect::<Vec<_>>().into());
    let keys = size_of_database(&mut connection);
    for forbidden in ["-xadd", "-hset", "-pexpire", "-rpush"] {
        rule(forbidden).exec(&mut connection).unwrap();
        let answers = many().await;
        let is_told =
            |answer: &_| matches!(answer, Err(StoreError::Unavailable { reason }) if reason.contains("can't run"));
        assert!(answers.iter().all(is_told), "{answers:?}");
        assert_eq!(size_of_database(&mut connection), keys, "{forbidden}");
    }
    rule("").exec(&mut connection).unwrap();
    let offsets: Vec<_> = many().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(offsets, [1, 2].map(|offset| AppendOutcome::Appended { offset }));
    assert_eq!(connection.zcard::<_, i64>("p:{1:0}:open").unwrap(), 3);
}

#[tokio::test]
async fn every_key_is_known_and_what_may_go_has_a_ttl() {
    let server = Server::start(&[]);
    let store = open(&server.url("?prefix=p")).await;
    every_verb_twice(&store).await;
    store.append_decision(DecisionAppend { salt: Some(salt(2, 9)), ..append(log(1, 0), 9) }).await.unwrap();
    let mut connection = server.connect();
    let keys: Vec<Vec<u8>> = connection.keys("*").unwrap();
    let mut known: Vec<_> = keys
        .iter()
        .map(|name| {
            let ttl: i64 = connection.pttl(name).unwrap();
            (String::from_utf8_lossy(&name[..name.len().min(12)]).into_owned(), ttl > 0)
        })
        .collect();
    known.sort();
    let expected = [
        ("p:{1:0}:d:\u{1}\0", false),
        ("p:{1:0}:d:\u{1}\0", false),
        ("p:{1:0}:gone", true),
        ("p:{1:0}:lear", false),
        ("p:{1:0}:log", false),
        ("p:{1:0}:open", false),
        ("p:{1:0}:own:", true),
        ("p:{1:0}:req:", true),
        ("p:{1:0}:req:", true),
        ("p:{1:0}:salt", true),
        ("p:{1:0}:stat", false),
        ("p:{1:0}:unit", true),
        ("p:{1:0}:unit", true),
        ("p:{catalog}:", false),
        ("p:{catalog}:", false),
        ("p:{meta}:ide", false),
        ("p:{meta}:log", false),
    ];
    assert_eq!(known, expected.map(|(name, goes)| (name.to_owned(), goes)));
}

#[tokio::test]
async fn the_list_of_an_owner_who_comes_back_does_not_grow_for_ever() {
    let server = Server::start(&[]);
    let store = open(&server.url("?prefix=p")).await;
    // Ids of these tests are of 1970: salts that go after a second are gone a minute later.
    for n in 0..20_u32 {
        let salt = short(salt(1, 60 * 60_000 * (1 + i64::from(n))));
        let append = DecisionAppend { salt: Some(salt), ..append(log(1, 0), n.into()) };
        if n % 2 == 0 {
            store.append_decision(append).await.unwrap();
        } else {
            store.append_decisions(vec![append].into()).await.remove(0).unwrap();
        }
    }
    let owned: usize = server.connect().llen([b"p:{1:0}:own:".as_slice(), &[1; 16]].concat()).unwrap();
    assert_eq!(owned, 1);
}

/// A salt that goes a second after its decision.
fn short(salt: OwnedSalt) -> OwnedSalt {
    OwnedSalt { expires_at: at(salt.made_at.as_ms() + 1_000), ..salt }
}

#[tokio::test]
async fn a_view_reads_what_is_there_and_refuses_to_write() {
    let url = standalone_url();
    assert!(
        matches!(RedisStore::open_read_only(&url).await, Err(StoreError::Open { reason, .. }) if reason.contains("no store"))
    );
    let store = open(&url).await;
    let view = RedisStore::open_read_only(&url).await.unwrap();
    store.append_decision(append(log(1, 0), 0)).await.unwrap();
    assert_eq!(view.log_ends().await.unwrap(), [(log(1, 0), 1)], "also what came after it was opened");
    assert_eq!(view.identity().hash_key, store.identity().hash_key);
    assert_refuses_to_write(&view).await;
}

#[tokio::test]
async fn what_another_release_or_program_wrote_is_refused() {
    let server = Server::start(&[]);
    for (facts, says) in [("\u{2}and more", "run that release"), ("", "another program"), ("\0", "another program")] {
        let _: () = server.connect().set("or1:{meta}:identity", facts).unwrap();
        let refused = refusal(&server.url("")).await;
        assert!(refused.contains(says), "{refused}");
    }
}

#[tokio::test]
async fn stores_on_one_redis_are_kept_apart_by_their_prefixes() {
    for (first, second) in [(standalone_url(), standalone_url()), (cluster_url(), cluster_url())] {
        let (first, second) = (open(&first).await, open(&second).await);
        first.append_decision(append(log(1, 0), 0)).await.unwrap();
        assert_eq!(second.log_ends().await.unwrap(), []);
        assert_eq!(second.decisions(&[key(log(1, 0), 0)]).await.unwrap(), [None]);
    }
}

#[tokio::test]
async fn a_log_that_the_list_of_logs_has_lost_is_listed_again() {
    let server = Server::start(&[]);
    let store = open(&server.url("")).await;
    store.append_decision(append(log(1, 0), 0)).await.unwrap();
    let _: () = server.connect().del("or1:{meta}:logs").unwrap();
    for store in [&store, &open(&server.url("")).await] {
        assert_eq!(store.log_ends().await.unwrap(), [(log(1, 0), 1)]);
    }
}

#[tokio::test]
async fn queued_writes_are_finished_by_dropping_or_closing_the_store() {
    let backend = Redis::standalone();
    let store = Arc::new(backend.open_redis().await);
    let mut calls = JoinSet::new();
    for n in 0..100 {
        let store = Arc::clone(&store);
        calls.spawn(async move { store.append_decision(append(log(1, 0), n)).await });
    }
    drop(store);
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    let store = backend.open_redis().await;
    assert_eq!(store.log_ends().await.unwrap(), [(log(1, 0), 100)]);
    for _ in 0..2 {
        store.close().await.unwrap();
    }
    let closed =
        [store.log_ends().await.unwrap_err(), store.append_decision(append(log(1, 0), 200)).await.unwrap_err()];
    assert!(closed.iter().all(StoreError::is_transient), "{closed:?}");
}

#[tokio::test]
async fn a_missing_record_is_told_by_log_and_offset() {
    let server = Server::start(&[]);
    let store = open(&server.url("")).await;
    for n in 0..3 {
        store.append_decision(append(log(1, 0), n)).await.unwrap();
    }
    redis::cmd("XDEL").arg("or1:{1:0}:log").arg("0-2").exec(&mut server.connect()).unwrap();
    let errors =
        [store.read_log(log(1, 0), 0, 10).await.unwrap_err(), store.decisions(&[key(log(1, 0), 1)]).await.unwrap_err()];
    for error in errors {
        assert!(matches!(&error, StoreError::Corrupt { reason } if reason.contains("offset 1")), "{error}");
    }
    assert_eq!(store.log_ends().await.unwrap(), [(log(1, 0), 3)], "its end does not move");
}

/// The server's executable on this store; what it says up to the name of the store, and the rest of its output.
fn serve(url: &str) -> (Child, String, BufReader<ChildStdout>) {
    let mut server = Command::new(env!("CARGO_BIN_EXE_offer-ranker"))
        .args(["serve", "--catalog", "examples/paywall.yaml", "--listen", "127.0.0.1:0"])
        .env("OFFER_RANKER_STORE", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(server.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("  store ") {
        assert!(output.read_line(&mut said).unwrap() > 0, "the server starts: {said}");
    }
    (server, said, output)
}

#[test]
fn serve_and_audit_take_the_address_and_never_show_its_password() {
    let redis = Server::start(&["--requirepass", "s3cret"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", redis.port);
    let (server, mut said, mut rest) = serve(&url("s3cret"));
    assert!(said.contains(&format!("store redis://127.0.0.1:{}", redis.port)), "{said}");
    let mut told = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_offer-ranker")).args(arguments).output().unwrap();
        said += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
        output.status.success()
    };
    assert!(told(&["audit", "--store", &url("s3cret")]));
    assert!(!told(&["audit", "--store", &url("s3cret-too")]));
    assert!(!told(&["audit", "--store", &format!("{}/x", url("s3cret"))]));
    assert!(Command::new("kill").arg(server.id().to_string()).status().unwrap().success());
    rest.read_to_string(&mut said).unwrap();
    let output = server.wait_with_output().unwrap();
    assert!(output.status.success());
    said += &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("appendonly is no") && said.contains("stopped"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}
