//! Logged decisions are made again to the last bit, and what was tampered with is found.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use crate::{
    common::TestServer,
    log::{export_some, files, lived},
};
use async_trait::async_trait;
use offer_ranker::{
    engine::{eligibility::ExclusionReason, pmf::distribution::ScoreDistribution},
    log::{
        archive::{Archive, ArchiveWriter, Format},
        record::{DecisionRecord, LogRecord},
    },
    service::{
        Result,
        export::forget,
        log_source::LogSource,
        verify::{VerifyReport, verify},
    },
    store::{LogId, StoredCatalog},
};
use std::{fs, process::Command, sync::Arc};

/// A log in which one decision is not what it was.
struct Tampered<'a> {
    log: &'a dyn LogSource,
    /// Changes a decision; `false` where this is not one that it can change.
    change: fn(&mut DecisionRecord) -> bool,
}

#[async_trait]
impl LogSource for Tampered<'_> {
    async fn log_ends(&self) -> Result<Vec<(LogId, u64)>> {
        self.log.log_ends().await
    }

    async fn read_log(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        let mut records = self.log.read_log(log, offset, limit).await?;
        // Always the same one: the first of the log that can be changed.
        let all = self.log.read_log(log, 0, 1000).await?;
        let changed =
            (0_usize..).zip(&all).find_map(|(place, bytes)| tamper(bytes, self.change).map(|bytes| (place, bytes)));
        if let Some((place, bytes)) = changed
            && let Some(record) = place.checked_sub(offset as usize).and_then(|place| records.get_mut(place))
        {
            *record = bytes;
        }
        Ok(records)
    }

    async fn catalog(&self, revision: Option<u64>) -> Result<Option<StoredCatalog>> {
        self.log.catalog(revision).await
    }

    async fn open(&self, log: LogId, decisions: &mut [(u64, Arc<DecisionRecord>)]) -> Result<()> {
        self.log.open(log, decisions).await
    }
}

/// A record after a change; `None` where it is not one that can be changed.
fn tamper(bytes: &[u8], change: fn(&mut DecisionRecord) -> bool) -> Option<Arc<[u8]>> {
    let LogRecord::Decision(decision) = LogRecord::decode(bytes).unwrap() else { return None };
    let mut decision = Arc::unwrap_or_clone(decision);
    change(&mut decision).then(|| LogRecord::Decision(Arc::new(decision)).encode().into())
}

async fn stored(server: &TestServer) -> impl LogSource + use<> {
    server.place.address.open_read_only().await.unwrap()
}

async fn verified(log: &dyn LogSource) -> VerifyReport {
    verify(log, |_| {}).await.unwrap()
}

#[tokio::test]
async fn every_decision_of_a_server_that_has_lived_comes_out_again() {
    let server = lived().await;
    let report = verified(&stored(&server).await).await;
    assert!(report.equal, "{:#?}", report.listed);
    assert!(report.decisions > 60 && report.repeats > 10, "{report:#?}");
    assert_eq!((report.from_record, report.from_log), (report.decisions, report.decisions), "{report:#?}");
}

#[tokio::test]
async fn an_exported_log_comes_out_again_as_the_store_does() {
    let server = lived().await;
    for format in [Format::Parquet, Format::Jsonl] {
        let folder = tempfile::tempdir().unwrap();
        export_some(&server, folder.path(), None, format).await;
        let report = verified(&Archive::open(folder.path()).unwrap()).await;
        assert!(report.equal, "{:#?}", report.listed);
        assert_eq!((report.from_record, report.from_log), (report.decisions, report.decisions), "{report:#?}");
    }
}

#[tokio::test]
async fn where_nothing_can_be_made_again_nothing_is_verified() {
    let server = lived().await;
    let folder = tempfile::tempdir().unwrap();
    export_some(&server, folder.path(), None, Format::Jsonl).await;
    for catalog in std::fs::read_dir(folder.path().join("_catalogs")).unwrap() {
        std::fs::remove_file(catalog.unwrap().path()).unwrap();
    }
    let report = verified(&Archive::open(folder.path()).unwrap()).await;
    assert_eq!((report.equal, report.mismatches, report.from_record), (false, 0, 0), "{report:#?}");
    assert_eq!(report.not_from_record.values().sum::<u64>(), report.decisions);
}

#[tokio::test]
async fn what_is_forgotten_is_drawn_again_and_goes_from_exports_too() {
    let server = lived().await;
    let folder = tempfile::tempdir().unwrap();
    export_some(&server, folder.path(), None, Format::Parquet).await;
    let before = verified(&Archive::open(folder.path()).unwrap()).await;
    assert_eq!(before.erased, 0);

    server.forget("user-1-2").await;
    let store = server.place.address.open_read_only().await.unwrap();
    let here = verified(&store).await;
    assert!(here.equal, "{:#?}", here.listed);
    assert!(here.erased > 0 && here.erased < here.decisions, "{here:#?}");
    assert_eq!((here.from_record, here.from_log), (here.decisions, here.decisions), "{here:#?}");

    let writer = ArchiveWriter::open(folder.path(), None, store.identity().epoch).unwrap();
    let archive = Archive::open(folder.path()).unwrap();
    let forgotten = forget(&*store, (&archive, &writer), |_| {}).await.unwrap();
    assert_eq!(forgotten.erased, here.erased);
    let there = verified(&Archive::open(folder.path()).unwrap()).await;
    assert!(there.equal, "{:#?}", there.listed);
    assert_eq!((there.erased, there.from_log), (here.erased, here.from_log));
}

/// A way to change a decision, the field that tells of it, and what only the log itself can tell.
type Forgery = (&'static str, fn(&mut DecisionRecord) -> bool, &'static str, &'static [&'static str]);

const FORGERIES: [Forgery; 9] = [
    (
        "a probability that acted",
        |of| change_slot(of, |slot| &mut slot.probability),
        "].probability",
        &["record", "log"],
    ),
    (
        "a probability of the policy",
        |of| change_slot(of, |slot| &mut slot.policy_probability),
        "].policy_probability",
        &["record", "log"],
    ),
    ("the arm that was drawn", |of| redraw(of), "].drawn", &["record", "log"]),
    (
        "the seed",
        |of| {
            drew(of) && {
                of.seed ^= 1;
                true
            }
        },
        "].uniform",
        &["record", "log"],
    ),
    (
        "the tail",
        |of| {
            let has = !of.decision.tail.is_empty();
            of.decision.tail.clear();
            has
        },
        "tail",
        &["record", "log"],
    ),
    ("why an offer was left out", forgive, "exclusions", &["record", "log"]),
    ("a floor", |of| change_arm(of, |arm| &mut arm.floor), "].floor", &["record", "log"]),
    ("an expected reward", |of| change_arm(of, |arm| &mut arm.expected_reward), "].expected_reward", &["log"]),
    ("a score of an arm that had no rival", rescore, "].score", &["log"]),
];

fn drew(of: &DecisionRecord) -> bool {
    of.decision.root.is_none() && of.decision.slots.first().is_some_and(|slot| slot.arms.len() > 1)
}

fn change_slot(
    of: &mut DecisionRecord,
    number: impl Fn(&mut offer_ranker::engine::decide::SlotArm) -> &mut f64,
) -> bool {
    let drew = drew(of);
    if let (true, Some(slot)) = (drew, of.decision.slots.last_mut()) {
        let number = number(&mut slot.arms[0]);
        *number = number.next_up();
    }
    drew
}

fn change_arm(
    of: &mut DecisionRecord,
    number: impl Fn(&mut offer_ranker::engine::decide::EligibleArm) -> &mut f64,
) -> bool {
    let number = number(&mut of.decision.arms[0]);
    *number = number.next_up();
    true
}

fn redraw(of: &mut DecisionRecord) -> bool {
    let drew = drew(of);
    if drew {
        let last = of.decision.slots.len() - 1;
        let slot = &mut of.decision.slots[last];
        slot.drawn = (slot.drawn + 1) % slot.arms.len();
        return slot.arms.len() > 1;
    }
    false
}

fn forgive(of: &mut DecisionRecord) -> bool {
    let paused = of.decision.exclusions.iter_mut().find(|exclusion| exclusion.reason == ExclusionReason::Paused);
    paused.map(|exclusion| exclusion.reason = ExclusionReason::Ended).is_some()
}

/// Only the log knows the score of a fixed order's arm: it decides nothing.
fn rescore(of: &mut DecisionRecord) -> bool {
    let is_fixed = &*of.placement == "banner" && of.decision.root.is_none();
    let first = of.decision.slots.first().map(|slot| slot.arms[0].arm).filter(|_| is_fixed);
    // In every slot alike, as a forger would who knows that slots are compared.
    for arm in of.decision.slots.iter_mut().flat_map(|slot| &mut slot.arms).filter(|arm| Some(arm.arm) == first) {
        if let ScoreDistribution::Beta { alpha, .. } = &mut arm.score {
            *alpha = alpha.next_up();
        }
    }
    first.is_some()
}

#[tokio::test]
async fn every_forgery_is_found_and_told_by_its_field() {
    let server = lived().await;
    let log = stored(&server).await;
    for (what, change, field, made_from) in FORGERIES {
        let report = verified(&Tampered { log: &log, change }).await;
        assert!(!report.equal, "{what} was not noticed");
        for from in made_from {
            let told =
                report.listed.iter().any(|found| found.made_from == *from && found.difference.field.ends_with(field));
            assert!(told, "{what} was not told from the {from}: {:#?}", report.listed);
        }
        let only_log = made_from == ["log"];
        assert!(
            !only_log || report.listed.iter().all(|found| found.made_from == "log"),
            "{what}: {:#?}",
            report.listed
        );
    }
}

#[tokio::test]
async fn what_another_engine_decided_is_counted_and_not_judged() {
    let server = lived().await;
    let log = stored(&server).await;
    let older = |of: &mut DecisionRecord| {
        of.engine_version = 1;
        true
    };
    let report = verified(&Tampered { log: &log, change: older }).await;
    // The first decision of each log.
    let left_out: u64 = report.not_from_record.values().sum();
    assert!(report.equal && left_out > 1, "{report:#?}");
    assert_eq!(report.from_record, report.decisions - left_out);
}

#[tokio::test]
async fn the_command_exits_with_one_where_anything_differs() {
    let server = lived().await;
    let folder = tempfile::tempdir().unwrap();
    export_some(&server, folder.path(), None, Format::Jsonl).await;
    let run = || {
        let args = ["replay", "verify", "--json", "--log"];
        Command::new(env!("CARGO_BIN_EXE_offer-ranker")).args(args).arg(folder.path()).output().unwrap()
    };
    let honest = run();
    assert!(honest.status.success(), "{}", String::from_utf8_lossy(&honest.stderr));
    for path in files(&folder.path().join("decisions").join("placement=paywall")) {
        let lines: String = fs::read_to_string(&path).unwrap().lines().map(forge).collect();
        fs::write(&path, lines).unwrap();
    }
    let forged = run();
    assert_eq!(forged.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&forged.stdout).unwrap();
    assert_eq!(report["equal"], false);
    assert!(report["mismatches"].as_u64().unwrap() > 0 && report["listed"][0]["decision_id"].is_string(), "{report:#}");
}

/// A line whose record says another probability.
fn forge(line: &str) -> String {
    let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
    let bytes = data_encoding::HEXLOWER.decode(row["record"].as_str().unwrap().as_bytes()).unwrap();
    if let Some(forged) = tamper(&bytes, |of| change_slot(of, |slot| &mut slot.probability)) {
        row["record"] = data_encoding::HEXLOWER.encode(&forged).into();
    }
    format!("{row}\n")
}
