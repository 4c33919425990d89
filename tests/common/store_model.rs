//! A store in a few maps, and random verbs on which a real one must agree with it.
//!
//! Domains are small so that ids, marks, offsets and tokens meet often. One caller at a time: races are the business
//! of the contract's other tests.

use super::fixtures::{Backend, append, at, catalog, key, log};
use offer_ranker::store::{
    AdvanceOutcome, AppendOutcome, CommitOutcome, DecisionAppend, DecisionKey, LedgerAdvance, LogId, RequestMark,
    StatisticsCommit, Store, StoredCatalog, StoredStatistics,
};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::{collections::BTreeMap, sync::Arc};

/// One call, or closing the store and opening it again.
#[derive(Clone, Debug)]
enum Op {
    AppendDecision(DecisionAppend),
    AdvanceLedgers(Vec<LedgerAdvance>),
    CommitStatistics(StatisticsCommit),
    TakeOver(LogId),
    AppendCatalog(StoredCatalog),
    ForgetRequests(i64),
    Due(LogId, i64, usize),
    ReadLog(LogId, u64, usize),
    Reopen,
}

#[derive(Default)]
struct ModelDecision {
    log: Option<LogId>,
    offset: u64,
    sequence: u32,
    ledger: Vec<u8>,
    closes_at: i64,
    closed: bool,
}

/// What a store is, were it not for disks and callers.
#[derive(Default)]
struct Model {
    logs: BTreeMap<LogId, Vec<Vec<u8>>>,
    decisions: BTreeMap<DecisionKey, ModelDecision>,
    requests: BTreeMap<[u8; 32], (DecisionKey, [u8; 32], i64)>,
    statistics: BTreeMap<(String, LogId), StoredStatistics>,
    learners: BTreeMap<LogId, u64>,
    catalogs: Vec<StoredCatalog>,
}

impl Model {
    fn append_decision(&mut self, append: &DecisionAppend) -> AppendOutcome {
        if let Some(found) = self.decisions.get(&append.decision) {
            return AppendOutcome::Appended { offset: found.offset };
        }
        if let Some(mark) = &append.request {
            if let Some((decision, fingerprint, expires_at)) = self.requests.get(&mark.key)
                && *expires_at > mark.marked_at.as_ms()
            {
                return AppendOutcome::Repeated { decision: *decision, fingerprint: *fingerprint };
            }
            self.requests.insert(mark.key, (append.decision, mark.fingerprint, mark.expires_at.as_ms()));
        }
        let records = self.logs.entry(append.log).or_default();
        let offset = records.len() as u64;
        records.push(append.record.clone());
        let decision = ModelDecision {
            log: Some(append.log),
            offset,
            ledger: append.ledger.clone(),
            closes_at: append.closes_at.as_ms(),
            ..ModelDecision::default()
        };
        self.decisions.insert(append.decision, decision);
        AppendOutcome::Appended { offset }
    }

    fn advance_ledger(&mut self, change: &LedgerAdvance) -> AdvanceOutcome {
        match self.decisions.get_mut(&change.decision) {
            Some(found) if found.log == Some(change.log) && found.sequence == change.from_sequence => {
                found.sequence += u32::try_from(change.records.len()).unwrap();
                found.ledger.clone_from(&change.ledger);
                found.closed = change.closed;
                self.logs.entry(change.log).or_default().extend(change.records.iter().cloned());
                AdvanceOutcome::Advanced
            }
            _ => AdvanceOutcome::Conflict,
        }
    }

    fn commit_statistics(&mut self, commit: &StatisticsCommit) -> CommitOutcome {
        let newest = self.learners.get(&commit.log).copied().unwrap_or(0);
        let mut stored = self.statistics(&commit.model_id, commit.log);
        if commit.token < newest || stored.offset != commit.from_offset {
            return CommitOutcome::Fenced;
        }
        self.learners.insert(commit.log, commit.token);
        let mut arms: BTreeMap<_, _> = stored.arms.into_iter().collect();
        arms.extend(commit.arms.iter().cloned());
        stored = StoredStatistics {
            offset: commit.offset,
            token: commit.token,
            shared: commit.shared.clone(),
            arms: arms.into_iter().collect(),
        };
        self.statistics.insert((commit.model_id.clone(), commit.log), stored);
        CommitOutcome::Committed
    }

    fn statistics(&self, model_id: &str, log: LogId) -> StoredStatistics {
        self.statistics.get(&(model_id.to_owned(), log)).cloned().unwrap_or_default()
    }

    fn append_catalog(&mut self, catalog: &StoredCatalog) -> bool {
        let next = catalog.revision == self.catalogs.len() as u64 + 1;
        if next {
            self.catalogs.push(catalog.clone());
        }
        next
    }

    fn forget_requests(&mut self, now: i64) -> u64 {
        let before = self.requests.len();
        self.requests.retain(|_, (.., expires_at)| *expires_at > now);
        (before - self.requests.len()) as u64
    }

    fn due(&self, log: LogId, now: i64, limit: usize) -> Vec<DecisionKey> {
        let mine = self.decisions.iter().filter(|(_, of)| of.log == Some(log) && !of.closed && of.closes_at <= now);
        let mut due: Vec<_> = mine.map(|(key, of)| (of.closes_at, *key)).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, key)| key).take(limit).collect()
    }

    fn read_log(&self, log: LogId, offset: u64, limit: usize) -> Vec<Vec<u8>> {
        let records = self.logs.get(&log).into_iter().flatten();
        records.skip(usize::try_from(offset).unwrap()).take(limit).cloned().collect()
    }
}

fn logs() -> impl Strategy<Value = LogId> {
    (1..3_u16, 0..2_u16).prop_map(|(placement, partition)| log(placement, partition))
}

fn marks() -> impl Strategy<Value = RequestMark> {
    (0..3_u8, 0..3_u8, 0..200_i64, 0..100_i64).prop_map(|(request, body, marked_at, life)| RequestMark {
        key: [request; 32],
        fingerprint: [body; 32],
        marked_at: at(marked_at),
        expires_at: at(marked_at + life),
    })
}

fn appends() -> impl Strategy<Value = DecisionAppend> {
    (logs(), 0..8_u64, vec(any::<u8>(), 0..40), -50..50_i64, option::of(marks())).prop_map(
        |(log, n, record, closes_at, request)| DecisionAppend {
            record,
            closes_at: at(closes_at),
            request,
            ..append(log, n)
        },
    )
}

fn changes() -> impl Strategy<Value = LedgerAdvance> {
    // The decision's log and the log it is looked for in are mostly the same.
    let log_twice = prop_oneof![9 => logs().prop_map(|log| (log, log)), 1 => (logs(), logs())];
    (log_twice, 0..8_u64, 0..4_u32, vec(vec(any::<u8>(), 0..20), 1..3), vec(any::<u8>(), 0..20), any::<bool>())
        .prop_map(|((of, log), n, from_sequence, records, ledger, closed)| LedgerAdvance {
            log,
            decision: key(of, n),
            from_sequence,
            ledger,
            records,
            closed,
        })
}

fn commits() -> impl Strategy<Value = StatisticsCommit> {
    let arms = vec(("[a-c]", vec(any::<u8>(), 0..8)), 0..3);
    ("[mn]", logs(), 0..3_u64, 0..3_u64, 0..4_u64, vec(any::<u8>(), 0..8), arms).prop_map(
        |(model_id, log, from_offset, offset, token, shared, arms)| StatisticsCommit {
            model_id,
            log,
            from_offset,
            offset,
            token,
            shared,
            arms,
        },
    )
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => appends().prop_map(Op::AppendDecision),
        8 => vec(changes(), 0..4).prop_map(Op::AdvanceLedgers),
        6 => commits().prop_map(Op::CommitStatistics),
        1 => logs().prop_map(Op::TakeOver),
        1 => (0..5_u64).prop_map(|revision| Op::AppendCatalog(catalog(revision, "for the model"))),
        1 => (0..300_i64).prop_map(Op::ForgetRequests),
        2 => (logs(), -60..60_i64, 0..5_usize).prop_map(|(log, now, limit)| Op::Due(log, now, limit)),
        2 => (logs(), 0..20_u64, 0..10_usize).prop_map(|(log, offset, limit)| Op::ReadLog(log, offset, limit)),
        1 => Just(Op::Reopen),
    ]
}

/// Does one verb to both and compares the answers.
async fn step(backend: &dyn Backend, store: &mut Option<Arc<dyn Store>>, model: &mut Model, op: Op) {
    let open = store.as_ref().unwrap();
    match op {
        Op::AppendDecision(append) => {
            let expected = model.append_decision(&append);
            assert_eq!(open.append_decision(append).await.unwrap(), expected);
        }
        Op::AdvanceLedgers(changes) => {
            let expected: Vec<_> = changes.iter().map(|change| model.advance_ledger(change)).collect();
            assert_eq!(open.advance_ledgers(changes).await.unwrap(), expected);
        }
        Op::CommitStatistics(commit) => {
            let expected = model.commit_statistics(&commit);
            assert_eq!(open.commit_statistics(commit).await.unwrap(), expected);
        }
        Op::TakeOver(log) => {
            let token = open.take_over(log).await.unwrap();
            let newest = model.learners.insert(log, token).unwrap_or(0);
            assert!(token > newest, "token {token} after {newest}");
        }
        Op::AppendCatalog(catalog) => {
            let expected = model.append_catalog(&catalog);
            assert_eq!(open.append_catalog(catalog).await.unwrap(), expected);
        }
        Op::ForgetRequests(now) => {
            assert_eq!(open.forget_requests(at(now)).await.unwrap(), model.forget_requests(now));
        }
        Op::Due(log, now, limit) => {
            assert_eq!(open.due(log, at(now), limit).await.unwrap(), model.due(log, now, limit));
        }
        Op::ReadLog(log, offset, limit) => {
            let records = open.read_log(log, offset, limit).await.unwrap();
            assert_eq!(
                records.iter().map(|record| record.to_vec()).collect::<Vec<_>>(),
                model.read_log(log, offset, limit)
            );
        }
        Op::Reopen => {
            *store = None;
            *store = Some(backend.open().await);
        }
    }
}

/// Compares all that is stored.
async fn compare(store: &dyn Store, model: &Model) {
    let ends: Vec<_> = model.logs.iter().map(|(log, records)| (*log, records.len() as u64)).collect();
    assert_eq!(store.log_ends().await.unwrap(), ends);
    let keys: Vec<_> = model.decisions.keys().copied().collect();
    let decisions = store.decisions(&keys).await.unwrap();
    for (found, expected) in decisions.into_iter().zip(model.decisions.values()) {
        let found = found.unwrap();
        let stands_at = usize::try_from(expected.offset).unwrap();
        assert_eq!(found.offset, expected.offset);
        assert_eq!(found.sequence, expected.sequence);
        assert_eq!(found.ledger, expected.ledger);
        assert_eq!(*found.record, *model.logs[&expected.log.unwrap()][stands_at]);
    }
    for ((model_id, log), expected) in &model.statistics {
        assert_eq!(store.statistics(model_id, *log).await.unwrap(), *expected);
    }
    assert_eq!(store.catalog(None).await.unwrap(), model.catalogs.last().cloned());
}

/// Runs random verbs against a fresh store, a few dozen times, with the same seed every time.
pub(crate) fn agrees(backend: impl Fn() -> Box<dyn Backend>) {
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let verdict = runner.run(&vec(ops(), 1..80), |ops| {
        runtime.block_on(async {
            let backend = backend();
            let mut store = Some(backend.open().await);
            let mut model = Model::default();
            for op in ops {
                step(&*backend, &mut store, &mut model, op).await;
            }
            compare(&**store.as_ref().unwrap(), &model).await;
        });
        Ok(())
    });
    if let Err(failure) = verdict {
        panic!("{failure}");
    }
}
