//! Rank while Redis is away, dead or silent: always answered, never with what may not be shown, and all of it logged once.

use crate::{
    instance::{Client, Instance, LOOK, audit, audited, committed, conversion, offsets, request, shown, start},
    redis::{DEADLINE, Server, wait_until},
};
use offer_ranker::{
    proto::{FeedbackCode, Flag, RankRequest, RankResponse},
    store::redis::RedisUrl,
};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Every write is on the disk before it is acknowledged.
pub(crate) const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
/// A catalog in which one offer may never be shown, and one not without a price.
pub(crate) const SHOP: &str = include_str!("away.yaml");
/// What may be shown.
const ELIGIBLE: [&str; 3] = ["family", "monthly", "yearly"];
/// Users at the same time.
const USERS: u64 = 6;

/// An instance that spools into a folder of its own.
fn start_spooling(server: &Server, prefix: &str, folder: &Path, more: &[&str]) -> Instance {
    let spool = folder.to_str().expect("a path that can be written down");
    let arguments = [&["--spool", spool][..], more].concat();
    start(&server.url(&format!("?prefix={prefix}")), SHOP, &arguments)
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Files that hold decisions.
pub(crate) fn spool_files(folder: &Path) -> usize {
    let paths = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "spool")).count()
}

pub(crate) fn flags(answer: &RankResponse) -> Vec<Flag> {
    answer.flags().filter(|&flag| flag != Flag::Stale).collect()
}

/// Users who rank and never take no for an answer.
pub(crate) struct Crowd {
    users: JoinSet<Vec<RankResponse>>,
    leaving: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    slowest_ms: Arc<AtomicU64>,
}

impl Crowd {
    /// Half of them name their requests and have devices, which may be logged elsewhere than they themselves.
    pub(crate) fn gather(client: &Client) -> Self {
        let mut crowd = Self {
            users: JoinSet::new(),
            leaving: Arc::default(),
            answered: Arc::default(),
            slowest_ms: Arc::default(),
        };
        for user in 0..USERS {
            let (client, leaving) = (client.clone(), crowd.leaving.clone());
            let (answered, slowest_ms) = (crowd.answered.clone(), crowd.slowest_ms.clone());
            crowd.users.spawn(async move {
                let mut answers = Vec::new();
                while !leaving.load(Ordering::SeqCst) {
                    let name = format!("{user}-{}", answers.len());
                    let begun = Instant::now();
                    let asked = if user % 2 == 0 {
                        RankRequest { unit_id: format!("device-{name}"), ..request(&name, &name) }
                    } else {
                        request(&name, "")
                    };
                    let answer = client.rank(asked).await;
                    slowest_ms.fetch_max(begun.elapsed().as_millis() as u64, Ordering::SeqCst);
                    answers.push(answer.expect("a valid Rank is answered, whatever the store does"));
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                answers
            });
        }
        crowd
    }

    pub(crate) async fn go_on_for(&self, answers: u64) {
        let enough = self.answered.load(Ordering::SeqCst) + answers;
        let begun = Instant::now();
        while self.answered.load(Ordering::SeqCst) < enough {
            assert!(begun.elapsed() < DEADLINE, "users are not answered");
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn leave(self) -> Vec<RankResponse> {
        self.leaving.store(true, Ordering::SeqCst);
        let answers: Vec<_> = self.users.join_all().await.into_iter().flatten().collect();
        for answer in &answers {
            let offer_id = answer.offers[0].offer_id.as_str();
            assert!(ELIGIBLE.contains(&offer_id) && answer.offers[0].price.is_some(), "{answer:?}");
        }
        answers
    }
}

/// Waits until every one of these is stored and learned, each once, with nothing else, and the audit finds all equal.
pub(crate) async fn assert_logged_once(store: &RedisUrl, client: &Client, answers: &[RankResponse]) {
    for answer in answers {
        let begun = Instant::now();
        while !client.knows(&answer.decision_id).await || client.report_later(answer).await {
            assert!(begun.elapsed() < DEADLINE, "{} was answered and is not logged", answer.decision_id);
            tokio::time::sleep(LOOK).await;
        }
    }
    let distinct: BTreeSet<_> = answers.iter().map(|answer| &answer.decision_id).collect();
    assert_eq!(distinct.len(), answers.len(), "every decision has an id of its own");
    // The audit counts what some leader has committed; whoever follows one that is dead learns ahead.
    committed(store, client).await;
    let learned = client.learned().await;
    let (reached, ends) = offsets(&learned);
    assert_eq!(reached, ends);
    let report = audit(store);
    assert_eq!(audited(&report, "decisions"), answers.len() as u64);
    assert_eq!(shown(&learned), answers.len() as u64, "{learned:?}");
    assert_eq!(audited(&report, "ledger_changes"), answers.len() as u64, "each was converted once");
    assert_eq!(audited(&report, "folded"), audited(&report, "records"));
}

impl Client {
    /// Reports a conversion; whether it has to be reported again, because the decision is spooled or the store away.
    async fn report_later(&self, answer: &RankResponse) -> bool {
        match self.report(conversion("bought", &answer.decision_id)).await {
            Ok(FeedbackCode::Recorded | FeedbackCode::Duplicate) => false,
            Ok(FeedbackCode::NotYet) => true,
            Ok(code) => panic!("{code:?}"),
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
                true
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rank_is_answered_while_redis_is_dead_and_logged_once_when_it_is_back() {
    let mut server = Server::start(&DURABLE);
    let spool = folder();
    let instance = start_spooling(&server, "dead", spool.path(), &[]);
    let crowd = Crowd::gather(&instance.client);
    // Twice, because the second outage meets a spool that was emptied.
    for _ in 0..2 {
        crowd.go_on_for(100).await;
        server.kill();
        crowd.go_on_for(200).await;
        server.start_again();
    }
    crowd.go_on_for(100).await;
    let answers = crowd.leave().await;
    let degraded = answers.iter().filter(|answer| flags(answer) == [Flag::Degraded]).count();
    assert!(degraded >= 300, "{degraded} of {}", answers.len());
    assert!(answers.iter().all(|answer| !flags(answer).contains(&Flag::NotLogged)));
    assert_logged_once(&server.url("?prefix=dead"), &instance.client, &answers).await;
    wait_until_emptied(spool.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_silent_holds_nobody_up_for_long_and_nothing_counts_twice() {
    let server = Server::start(&DURABLE);
    let spool = folder();
    let instance = start_spooling(&server, "silent", spool.path(), &["--append-timeout-ms", "300"]);
    let crowd = Crowd::gather(&instance.client);
    crowd.go_on_for(100).await;
    // What it was sent before it stopped it does afterwards: appends that were spooled meanwhile.
    crowd.slowest_ms.store(0, Ordering::SeqCst);
    server.signal("-STOP");
    crowd.go_on_for(300).await;
    let slowest_ms = crowd.slowest_ms.load(Ordering::SeqCst);
    server.signal("-CONT");
    crowd.go_on_for(100).await;
    let answers = crowd.leave().await;
    // The limit is 300 ms; what is below Redis' own limit of 4 s did not wait for Redis.
    assert!((300..4000).contains(&slowest_ms), "{slowest_ms}");
    assert_logged_once(&server.url("?prefix=silent"), &instance.client, &answers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_outlives_its_instance_and_is_logged_once_by_the_next() {
    let mut server = Server::start(&DURABLE);
    let spool = folder();
    let mut instance = start_spooling(&server, "outlives", spool.path(), &["--decision-log", "async"]);
    // The second half of the users has no request ids and is answered from the backlog.
    let crowd = Crowd::gather(&instance.client);
    crowd.go_on_for(50).await;
    server.kill();
    crowd.go_on_for(200).await;
    let mut answers = crowd.leave().await;
    let named = || request("late", "late");
    let late = instance.client.rank(named()).await.unwrap();
    answers.push(late.clone());
    // What is flagged was answered after the outage was noticed, and is behind everything else in the backlog.
    for answer in answers.iter().filter(|answer| flags(answer) == [Flag::Degraded]) {
        let begun = Instant::now();
        while !instance.client.knows(&answer.decision_id).await {
            assert!(begun.elapsed() < DEADLINE, "it is in memory alone");
            tokio::time::sleep(LOOK).await;
        }
    }
    assert!(spool_files(spool.path()) > 0);
    instance.kill();
    server.start_again();
    let instance = start_spooling(&server, "outlives", spool.path(), &[]);
    assert_eq!(instance.client.rank(named()).await.unwrap().decision_id, late.decision_id, "one answer to one request");
    assert_logged_once(&server.url("?prefix=outlives"), &instance.client, &answers).await;
    wait_until_emptied(spool.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_spool_or_with_a_full_one_answers_are_eligible_and_say_that_they_are_not_logged() {
    let mut server = Server::start(&DURABLE);
    let spool = folder();
    let small = start_spooling(&server, "full", spool.path(), &["--spool-bytes", "1048576"]);
    let none = start(&server.url("?prefix=full"), SHOP, &[]);
    let first = none.client.rank(request("first", "")).await.unwrap();
    server.kill();

    let mut kept = vec![first];
    let mut lost = Vec::new();
    let begun = Instant::now();
    while lost.len() < 20 {
        let answer = small.client.rank(request(&format!("user-{}", kept.len()), "")).await.unwrap();
        match flags(&answer)[..] {
            [Flag::Degraded] => kept.push(answer),
            [Flag::NotLogged] => lost.push(answer),
            ref other => panic!("{other:?}"),
        }
        assert!(begun.elapsed() < DEADLINE, "the spool does not fill");
    }
    for user in 0..20 {
        let answer = none.client.rank(request(&format!("nobody-{user}"), "")).await.unwrap();
        assert_eq!(flags(&answer), [Flag::NotLogged]);
        lost.push(answer);
    }
    // Nothing is known of the offers: they are worth what they cost.
    assert!(lost.iter().all(|answer| answer.offers[0].offer_id == "yearly"), "{lost:?}");
    for answer in &lost {
        let report = conversion("bought", &answer.decision_id);
        for client in [&small.client, &none.client] {
            assert_eq!(client.report(report.clone()).await.unwrap(), FeedbackCode::NotLogged);
        }
    }
    server.start_again();
    assert_logged_once(&server.url("?prefix=full"), &small.client, &kept).await;
    // Nobody is away any more.
    wait_until_logged(&none.client).await;
}

/// Waits until a spool has no file any more.
pub(crate) fn wait_until_emptied(folder: &Path) {
    wait_until("the spool is emptied", || spool_files(folder) == 0);
}

/// Waits until an instance logs what it answers.
async fn wait_until_logged(client: &Client) {
    let begun = Instant::now();
    for user in 0.. {
        let answer = client.rank(request(&format!("back-{user}"), "")).await.unwrap();
        if flags(&answer).is_empty() {
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "it goes on as if the store were away");
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_instances_that_answered_one_request_meanwhile_the_first_to_log_it_has_it() {
    let mut server = Server::start(&DURABLE);
    let spools = [folder(), folder()];
    let instances = spools.each_ref().map(|spool| start_spooling(&server, "two", spool.path(), &[]));
    server.kill();
    let mut answers = Vec::new();
    for instance in &instances {
        let answer = instance.client.rank(request("anna", "hedged")).await.unwrap();
        assert_eq!(instance.client.rank(request("anna", "hedged")).await.unwrap(), answer);
        answers.push(answer);
    }
    server.start_again();
    for spool in &spools {
        wait_until_emptied(spool.path());
    }
    let mut known = Vec::new();
    for answer in &answers {
        known.push(instances[0].client.knows(&answer.decision_id).await);
    }
    assert_eq!(known.iter().filter(|&&known| known).count(), 1, "one decision for one request");
    let logged = &answers[usize::from(known[1])];
    // Until it has seen that the store is back an instance answers, and spools, what it would have logged.
    for instance in &instances {
        let begun = Instant::now();
        while instance.client.rank(request("anna", "hedged")).await.unwrap().decision_id != logged.decision_id {
            assert!(begun.elapsed() < DEADLINE, "it gives another answer than the one that is logged");
            tokio::time::sleep(LOOK).await;
        }
    }
    for spool in &spools {
        wait_until_emptied(spool.path());
    }
    let report = audit(&server.url("?prefix=two"));
    assert_eq!(audited(&report, "decisions"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_counted_in_time_is_not_offered() {
    let server = Server::start(&DURABLE);
    let folder = folder();
    // A cap on everything but one offer.
    let capped = SHOP.replace(
        "    partitions: 3\n",
        "    partitions: 3\n    lease_s: 600\n    frequency_caps: [{ offers: [monthly, yearly], max: 1, window_s: 600 }]\n",
    );
    let spool = folder.path().to_str().expect("a path that can be written down");
    let instance = start(&server.url("?prefix=uncounted"), &capped, &["--spool", spool]);
    let client = &instance.client;
    client.rank(request("nobody", "")).await.expect("a valid Rank is answered");
    // Reads go on; writes are refused.
    assert!(server.command("CONFIG SET min-replicas-to-write 1").starts_with("+OK"));
    for user in 0..8 {
        let answer = client.rank(request(&format!("user-{user}"), "")).await.expect("a valid Rank is answered");
        let offers: Vec<_> = answer.offers.iter().map(|offer| offer.offer_id.as_str()).collect();
        assert_eq!(offers, ["family"], "{answer:?}");
        assert!(flags(&answer).contains(&Flag::Degraded));
    }
    assert!(server.command("CONFIG SET min-replicas-to-write 0").starts_with("+OK"));
}
