//! Through the service, on a real store: however often it refreshes and restarts, the same log leaves the same
//! statistics, byte for byte; the audit says so, and says what differs where somebody tampered with the file.

use crate::house::{self, Habit, House, LOG, Posterior};
use offer_ranker::{
    log::{
        decision_id::DecisionId,
        ledger_codec::{decode_ledger, encode_ledger},
        record::LogRecord,
    },
    service::audit::{AuditReport, audit},
    store::{Store as _, embedded::EmbeddedStore},
};
use rstest::rstest;
use rusqlite::Connection;
use std::path::Path;

async fn audited(path: &Path) -> AuditReport {
    let store = EmbeddedStore::open_read_only(path).unwrap();
    let report = audit(&store, |_| {}).await.unwrap();
    store.close().await.unwrap();
    report
}

/// Everything that an audit finds in the only log.
async fn differences(path: &Path) -> Vec<String> {
    let mut report = audited(path).await;
    assert_eq!(report.partitions.len(), 1);
    let differences = report.partitions.remove(0).differences;
    assert_eq!(report.equal, differences.is_empty());
    differences
}

#[rstest]
#[case::beta_at_once(Posterior::Beta, "IMMEDIATE", "LEAD")]
#[case::beta_at_maturity_from_all_slots(Posterior::Beta, "AT_MATURITY", "ALL")]
#[case::linear_at_once_from_all_slots(Posterior::Linear, "IMMEDIATE", "ALL")]
#[case::linear_at_maturity(Posterior::Linear, "AT_MATURITY", "LEAD")]
#[tokio::test]
async fn refreshing_often_or_once_or_after_restarts_gives_the_same_bytes(
    #[case] posterior: Posterior,
    #[case] mode: &str,
    #[case] slots: &str,
) {
    let learning = format!("{{ mode: {mode}, slots: {slots}, half_life_s: 600 }}");
    let catalog = house::catalog("uniform: {}", posterior, &learning);
    let mut found = Vec::new();
    for habit in [Habit::RefreshAlways, Habit::RefreshAtTheEnd, Habit::RestartOften] {
        let mut house = House::open(&catalog).await;
        house.live(habit, 120).await;
        let statistics = house.statistics().await;
        assert!(statistics.offset > 120, "{habit:?}: windows have closed and closed events are folded");
        house.close().await;
        let report = audited(&house.path()).await;
        assert!(report.equal, "{habit:?}: {report:?}");
        assert_eq!(report.partitions[0].records, report.partitions[0].folded);
        found.push((statistics.offset, statistics.shared, statistics.arms));
    }
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0], found[2]);
}

#[tokio::test]
async fn statistics_lost_are_folded_again_to_the_same_bytes() {
    let catalog = house::catalog("thompson: {}", Posterior::Linear, "{ half_life_s: 600 }");
    let mut house = House::open(&catalog).await;
    house.live(Habit::RefreshAlways, 120).await;
    let before = house.statistics().await;
    house.close().await;
    execute(&house.path(), "DELETE FROM statistics; DELETE FROM statistics_arms;");
    house.reopen().await;
    let after = house.statistics().await;
    assert_eq!((after.offset, after.shared, after.arms), (before.offset, before.shared, before.arms));
}

#[tokio::test]
async fn records_not_learned_yet_are_no_difference() {
    let mut house = House::open(&house::catalog("thompson: {}", Posterior::Beta, "{}")).await;
    house.live(Habit::RefreshAlways, 40).await;
    house.rank(1000).await;
    let report = audited(&house.path()).await;
    assert!(report.equal);
    assert_eq!(report.partitions[0].folded + 1, report.partitions[0].records);
}

/// A closed store with a history, and the statistics of everything in it.
async fn lived() -> House {
    let mut house = House::open(&house::catalog("thompson: {}", Posterior::Linear, "{ slots: ALL }")).await;
    house.live(Habit::RefreshAlways, 60).await;
    house.close().await;
    assert_eq!(differences(&house.path()).await, Vec::<String>::new());
    house
}

fn execute(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Changes one blob of the file.
fn tamper(path: &Path, table: &str, column: &str, condition: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let connection = Connection::open(path).unwrap();
    let select = format!("SELECT {column} FROM {table} WHERE {condition}");
    let mut bytes: Vec<u8> = connection.query_row(&select, [], |row| row.get(0)).unwrap();
    change(&mut bytes);
    let update = format!("UPDATE {table} SET {column} = ?1 WHERE {condition}");
    assert_eq!(connection.execute(&update, [&bytes]).unwrap(), 1);
}

/// The offset of the first record that an outcome with slot totals made, and its decision.
async fn outcome_record(house: &House) -> (u64, String) {
    let store = EmbeddedStore::open_read_only(house.path()).unwrap();
    let records = store.read_log(LOG, 0, usize::MAX).await.unwrap();
    for (offset, bytes) in (0..).zip(records) {
        if let LogRecord::Ledger(entry) = LogRecord::decode(&bytes).unwrap()
            && entry.after.slots[0].totals.contains_key("conversion")
        {
            return (offset, entry.decision.to_string());
        }
    }
    panic!("nobody converted");
}

/// Something that was done to a store, and the one difference that an audit must find; DECISION stands for the decision
/// of the first outcome.
struct Tampering {
    what: &'static str,
    with: fn(&Path, DecisionId),
    found: &'static str,
}

const TAMPERINGS: [Tampering; 7] = [
    Tampering {
        what: "one flipped bit of an arm's statistics",
        with: |path, _| {
            tamper(path, "statistics_arms", "statistics", "arm = 'monthly'", |bytes| {
                // The row ends with a sum of products: the lowest byte of its last double.
                let last = bytes.len() - 8;
                bytes[last] ^= 1;
            });
        },
        found: "statistics of monthly are not those of the log",
    },
    Tampering {
        what: "an arm without its statistics",
        with: |path, _| execute(path, "DELETE FROM statistics_arms WHERE arm = 'monthly'"),
        found: "statistics of monthly are not those of the log",
    },
    Tampering {
        what: "another latest decision time",
        // The row is one varint field: the first byte names it, the second is its lowest.
        with: |path, _| tamper(path, "statistics", "shared", "true", |bytes| bytes[1] ^= 1),
        found: "the latest decision time of the statistics is not the log's",
    },
    Tampering {
        what: "statistics of a band that nobody declared",
        with: |path, _| {
            tamper(path, "statistics", "shared", "true", |bytes| {
                // An entry of the map in field 2: its key in field 1, and in field 2 a row with a weight of 1.
                bytes.extend([0x12, 21, 0x0a, 8]);
                bytes.extend(b"invented");
                bytes.extend([0x12, 9, 0x09]);
                bytes.extend(1.0_f64.to_le_bytes());
            });
        },
        found: "statistics of band invented are not those of the log",
    },
    Tampering {
        what: "a ledger that forgot an outcome",
        with: |path, decision| {
            tamper(path, "decisions", "ledger", &is(decision), |bytes| {
                let mut ledger = decode_ledger(bytes, 0).unwrap();
                let original = ledger.outcomes.iter().find(|(_, outcome)| outcome.revises.is_none());
                let original = original.unwrap().0.clone();
                ledger.outcomes.remove(&original);
                *bytes = encode_ledger(&ledger);
            });
        },
        found: "the ledger of decision DECISION is not what the log adds up to",
    },
    Tampering {
        what: "a ledger under another sequence",
        with: |path, decision| {
            let sql = format!("UPDATE decisions SET sequence = sequence + 1 WHERE {}", is(decision));
            execute(path, &sql);
        },
        found: "the ledger of decision DECISION is not what the log adds up to",
    },
    Tampering {
        what: "a decision that its id does not lead to",
        with: |path, decision| execute(path, &format!("DELETE FROM decisions WHERE {}", is(decision))),
        found: "decision DECISION is in the log, but cannot be found by its id",
    },
];

/// The condition that selects a decision's row.
fn is(decision: DecisionId) -> String {
    format!("id = x'{}'", data_encoding::HEXLOWER.encode(decision.as_bytes()))
}

#[tokio::test]
async fn an_audit_names_what_was_tampered_with_and_nothing_else() {
    for Tampering { what, with, found } in TAMPERINGS {
        let house = lived().await;
        let (_, decision) = outcome_record(&house).await;
        with(&house.path(), decision.parse().unwrap());
        assert_eq!(differences(&house.path()).await, [found.replace("DECISION", &decision)], "{what}");
    }
}

#[tokio::test]
async fn an_outcome_changed_in_the_log_is_found_in_chain_ledger_and_statistics() {
    let house = lived().await;
    let (offset, decision) = outcome_record(&house).await;
    tamper(&house.path(), "log", "record", &format!("offset = {offset}"), |bytes| {
        let LogRecord::Ledger(mut entry) = LogRecord::decode(bytes).unwrap() else { panic!("no ledger record") };
        *entry.after.slots[0].totals.get_mut("conversion").unwrap() += 1.0;
        *bytes = LogRecord::Ledger(entry).encode();
    });
    let differences = differences(&house.path()).await;
    assert!(differences.iter().any(|difference| difference.contains(&decision)), "{differences:?}");
    assert!(differences.iter().any(|difference| difference.starts_with("statistics of ")), "{differences:?}");
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_found() {
    let house = lived().await;
    let before = audited(&house.path()).await.partitions[0].records;
    execute(&house.path(), "DELETE FROM log WHERE offset = (SELECT max(offset) FROM log)");
    let differences = differences(&house.path()).await;
    assert_eq!(differences[0], format!("statistics cover {before} records, the log has {}", before - 1));
    assert!(differences.iter().any(|difference| difference.contains("is not what the log adds up to")));
}

#[tokio::test]
async fn a_record_that_stands_in_the_log_twice_is_found() {
    let house = lived().await;
    execute(
        &house.path(),
        "INSERT INTO log SELECT placement, partition, (SELECT max(offset) + 1 FROM log), record FROM log WHERE offset = 0",
    );
    let differences = differences(&house.path()).await;
    assert!(differences[0].contains("stands in the log twice"), "{differences:?}");
}

#[tokio::test]
async fn a_record_that_does_not_decode_fails_the_audit() {
    let house = lived().await;
    tamper(&house.path(), "log", "record", "offset = 3", |bytes| bytes.truncate(bytes.len() / 2));
    let store = EmbeddedStore::open_read_only(house.path()).unwrap();
    assert!(audit(&store, |_| {}).await.is_err());
}

#[rstest]
#[case(Posterior::Beta)]
#[case(Posterior::Linear)]
#[tokio::test]
async fn the_better_arm_comes_to_lead(#[case] posterior: Posterior) {
    let mut house = House::open(&house::catalog("thompson: {}", posterior, "{}")).await;
    let mut leads = Vec::new();
    for user in 0..600 {
        let answer = house.rank(user).await;
        let lead = answer.record.decision.drawn(&answer.record.decision.slots[0]).offer_id.clone();
        let rate = match &*lead {
            "annual" => 0.5,
            "monthly" => 0.25,
            _ => 0.1,
        };
        if house.chance(rate) {
            house.convert(&answer.record.id.to_string(), &lead).await;
        }
        leads.push(lead);
        if user % 20 == 0 {
            house.refresh().await;
        }
    }
    house.refresh().await;
    let report = house.service().placement("paywall").await.unwrap();
    let arm = |id: &str| report.standings.arms.iter().find(|arm| *arm.offer_id == *id).unwrap();
    // The arms lie five standard deviations apart after 600 decisions, most of them for the better one.
    assert!(arm("annual").standing.probability_of_leading > 0.95, "{:?}", report.standings.arms);
    assert!(arm("annual").standing.lower < 0.5 && arm("annual").standing.upper > 0.5, "{:?}", report.standings.arms);
    let shown: u64 = report.standings.arms.iter().map(|arm| arm.shown).sum();
    assert_eq!(shown, 600);
    assert_eq!(report.log_ends, report.served.snapshot.version.offsets);
    let late = leads[400..].iter().filter(|lead| &***lead == "annual").count();
    assert!(late > 150, "{late} of the last 200 users were shown the better offer first");
}
