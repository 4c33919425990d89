//! A store in a few maps, and random verbs on which a real one must agree with it.
//!
//! Domains are small so that ids, marks, offsets and tokens meet often. One caller at a time: races are the business
//! of the contract's other tests.

use super::fixtures::{Backend, append, at, catalog, key, log, salt, unit};
use offer_ranker::store::{
    AdvanceOutcome, AppendOutcome, ChangeOutcome, CommitOutcome, DecisionAppend, DecisionKey, DocumentChange,
    DocumentKey, Leadership, LedgerAdvance, LogId, OwnedSalt, RequestMark, StatisticsCommit, Store, StoredCatalog,
    StoredDocument, StoredStatistics,
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
    AppendDecision(Box<DecisionAppend>),
    AppendDecisions(Vec<DecisionAppend>),
    AdvanceLedgers(Vec<LedgerAdvance>),
    CommitStatistics(StatisticsCommit),
    ClaimRequest(LogId, RequestMark),
    Answered(Vec<LogId>, [u8; 32], i64),
    Lead(LogId, [u8; 16], i64, u64),
    Resign(LogId, [u8; 16]),
    AppendCatalog(StoredCatalog),
    ChangeDocuments(Vec<DocumentChange>),
    DestroySalts(Vec<LogId>, [u8; 16], i64),
    ForgetExpired(i64),
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
    salt: Option<OwnedSalt>,
}

/// What stands for a request in a log: a decision's mark, or a claim.
#[derive(Clone)]
struct Standing {
    decision: Option<DecisionKey>,
    fingerprint: [u8; 32],
    expires_at: i64,
}

/// The newest token of a log, and who holds its lease until when.
#[derive(Clone, Default)]
struct Lease {
    token: u64,
    holder: Option<([u8; 16], i64)>,
}

/// What a store is, were it not for disks and callers.
#[derive(Default)]
struct Model {
    logs: BTreeMap<LogId, Vec<Vec<u8>>>,
    decisions: BTreeMap<DecisionKey, ModelDecision>,
    requests: BTreeMap<(LogId, [u8; 32]), Standing>,
    statistics: BTreeMap<(String, LogId), StoredStatistics>,
    leases: BTreeMap<LogId, Lease>,
    documents: BTreeMap<DocumentKey, StoredDocument>,
    catalogs: Vec<StoredCatalog>,
    forgotten: BTreeMap<(LogId, [u8; 16]), i64>,
}

impl Model {
    fn append_decision(&mut self, append: &DecisionAppend) -> AppendOutcome {
        if let Some(found) = self.decisions.get(&append.decision) {
            return AppendOutcome::Appended { offset: found.offset };
        }
        if let Some(mark) = &append.request {
            match self.standing(append.log, mark.key, mark.marked_at.as_ms()) {
                Some(Standing { decision: Some(decision), fingerprint, .. }) => {
                    return AppendOutcome::Repeated { decision, fingerprint };
                }
                Some(claim) if claim.fingerprint != mark.fingerprint => {
                    return AppendOutcome::Claimed { fingerprint: claim.fingerprint };
                }
                _ => {}
            }
        }
        let moved = |change| self.change_document(change) == ChangeOutcome::Moved;
        if append.document.as_ref().is_some_and(moved) {
            return AppendOutcome::DocumentMoved;
        }
        if let Some(mark) = &append.request {
            self.mark(append.log, mark, Some(append.decision));
        }
        let records = self.logs.entry(append.log).or_default();
        let offset = records.len() as u64;
        records.push(append.record.clone());
        let decision = ModelDecision {
            log: Some(append.log),
            offset,
            ledger: append.ledger.clone(),
            closes_at: append.closes_at.as_ms(),
            salt: append.salt.clone().filter(|salt| {
                let forgotten = self.forgotten.get(&(append.log, salt.owner));
                forgotten.is_none_or(|&at| at < salt.made_at.as_ms())
            }),
            ..ModelDecision::default()
        };
        self.decisions.insert(append.decision, decision);
        AppendOutcome::Appended { offset }
    }

    fn standing(&self, log: LogId, key: [u8; 32], now: i64) -> Option<Standing> {
        self.requests.get(&(log, key)).filter(|standing| standing.expires_at > now).cloned()
    }

    fn mark(&mut self, log: LogId, mark: &RequestMark, decision: Option<DecisionKey>) {
        let standing = Standing { decision, fingerprint: mark.fingerprint, expires_at: mark.expires_at.as_ms() };
        self.requests.insert((log, mark.key), standing);
    }

    fn claim_request(&mut self, log: LogId, mark: &RequestMark) -> [u8; 32] {
        if let Some(standing) = self.standing(log, mark.key, mark.marked_at.as_ms()) {
            return standing.fingerprint;
        }
        self.mark(log, mark, None);
        mark.fingerprint
    }

    fn answered(&self, logs: &[LogId], key: [u8; 32], now: i64) -> Option<AppendOutcome> {
        logs.iter().filter_map(|log| self.standing(*log, key, now)).find_map(|standing| {
            let decision = standing.decision?;
            Some(AppendOutcome::Repeated { decision, fingerprint: standing.fingerprint })
        })
    }

    fn change_document(&mut self, change: &DocumentChange) -> ChangeOutcome {
        let stands = self.documents.get(&change.key).map(|document| document.version);
        match &change.content {
            _ if stands != change.from_version && stands != change.content.as_ref().map(|_| change.version) => {
                return ChangeOutcome::Moved;
            }
            Some(content) => {
                let document = StoredDocument { version: change.version, content: content.clone() };
                self.documents.insert(change.key, document);
            }
            None => drop(self.documents.remove(&change.key)),
        }
        ChangeOutcome::Changed
    }

    fn destroy_salts(&mut self, logs: &[LogId], owner: [u8; 16], now: i64) -> u64 {
        let mut destroyed = 0;
        for log in logs {
            let at = self.forgotten.entry((*log, owner)).or_insert(now);
            *at = now.max(*at);
            for decision in self.decisions.values_mut().filter(|decision| decision.log == Some(*log)) {
                destroyed += u64::from(decision.salt.take_if(|salt| salt.owner == owner).is_some());
            }
        }
        destroyed
    }

    fn lead(&mut self, log: LogId, holder: [u8; 16], now: i64, lease_ms: u64) -> Leadership {
        let lease = self.leases.entry(log).or_default();
        match lease.holder {
            Some((other, until)) if other != holder && until > now => {
                return Leadership::Follows { until: at(until) };
            }
            Some((same, _)) if same == holder => {}
            _ => lease.token += 1,
        }
        lease.holder = Some((holder, now + i64::try_from(lease_ms).unwrap()));
        Leadership::Leads { token: lease.token }
    }

    fn end_leases(&mut self) {
        for lease in self.leases.values_mut() {
            lease.holder = lease.holder.map(|(holder, _)| (holder, i64::MIN));
        }
    }

    fn resign(&mut self, log: LogId, holder: [u8; 16]) {
        let lease = self.leases.entry(log).or_default();
        lease.holder = lease.holder.filter(|(other, _)| *other != holder);
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
        let lease = self.leases.entry(commit.log).or_default();
        if commit.token < lease.token {
            return CommitOutcome::Fenced;
        }
        let newest = lease.token;
        let before = self.statistics(&commit.model_id, commit.log);
        let mut arms: BTreeMap<_, _> = before.arms.iter().cloned().collect();
        arms.extend(commit.arms.iter().cloned());
        let stored = StoredStatistics {
            offset: commit.offset,
            token: commit.token,
            shared: commit.shared.clone(),
            arms: arms.into_iter().collect(),
        };
        if before.offset != commit.from_offset {
            return if stored == before { CommitOutcome::Committed } else { CommitOutcome::Fenced };
        }
        if commit.token > newest {
            self.leases.insert(commit.log, Lease { token: commit.token, holder: None });
        }
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
        next || self.catalogs.contains(catalog)
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

/// Of a unit beside this log, or of a user.
fn documents(log: LogId) -> impl Strategy<Value = DocumentChange> {
    let key = prop_oneof![2 => Just(unit(log, 1)), 1 => Just(unit(log, 2)), 1 => Just(DocumentKey::User([1; 16]))];
    (key, option::of(0..3_u64), 0..3_u64, option::weighted(0.8, vec(any::<u8>(), 0..20))).prop_map(
        |(key, from_version, version, content)| DocumentChange {
            key,
            from_version,
            version,
            content,
            changed_at: at(0),
            expires_at: at(1_000),
        },
    )
}

fn appends() -> impl Strategy<Value = DecisionAppend> {
    let fits = |change: &DocumentChange| matches!(change.key, DocumentKey::Unit { .. }) && change.content.is_some();
    let log_and_document = logs().prop_flat_map(move |log| (Just(log), option::weighted(0.4, documents(log))));
    let salts = option::weighted(0.8, (1..3_u8, 0..9_i64).prop_map(|(owner, made_at)| salt(owner, made_at)));
    (log_and_document, 0..8_u64, vec(any::<u8>(), 0..40), -50..50_i64, option::of(marks()), salts).prop_map(
        move |((log, document), n, record, closes_at, request, salt)| DecisionAppend {
            salt,
            record,
            closes_at: at(closes_at),
            request,
            document: document.filter(fits),
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

fn holders() -> impl Strategy<Value = [u8; 16]> {
    (1..4_u8).prop_map(|holder| [holder; 16])
}

/// Of nothing but its log: those of one call then stand in their order.
fn plain(append: DecisionAppend) -> DecisionAppend {
    DecisionAppend { request: None, document: None, ..append }
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => appends().prop_map(|append| Op::AppendDecision(Box::new(append))),
        4 => vec(appends().prop_map(plain), 0..5).prop_map(Op::AppendDecisions),
        8 => vec(changes(), 0..4).prop_map(Op::AdvanceLedgers),
        6 => commits().prop_map(Op::CommitStatistics),
        2 => (logs(), marks()).prop_map(|(log, mark)| Op::ClaimRequest(log, mark)),
        2 => (vec(logs(), 0..3), 0..3_u8, 0..200_i64).prop_map(|(logs, key, now)| Op::Answered(logs, [key; 32], now)),
        2 => (logs(), holders(), 0..100_i64, 0..50_u64)
            .prop_map(|(log, holder, now, lease_ms)| Op::Lead(log, holder, now, lease_ms)),
        2 => logs().prop_flat_map(|log| vec(documents(log), 0..3)).prop_map(Op::ChangeDocuments),
        1 => (logs(), holders()).prop_map(|(log, holder)| Op::Resign(log, holder)),
        1 => (0..5_u64, prop_oneof![3 => Just("for the model"), 1 => Just("another")])
            .prop_map(|(revision, reason)| Op::AppendCatalog(catalog(revision, reason))),
        1 => (vec(logs(), 0..3), 1..3_u8, 0..9_i64)
            .prop_map(|(logs, owner, now)| Op::DestroySalts(logs, [owner; 16], now)),
        // Before every mark: what is forgotten must not be what still stands.
        1 => (-50..=0_i64).prop_map(Op::ForgetExpired),
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
            assert_eq!(open.append_decision(*append).await.unwrap(), expected);
        }
        Op::AppendDecisions(appends) => {
            let expected: Vec<_> = appends.iter().map(|append| model.append_decision(append)).collect();
            let outcomes = open.append_decisions(appends.into()).await;
            assert_eq!(outcomes.into_iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
        }
        Op::AdvanceLedgers(changes) => {
            let expected: Vec<_> = changes.iter().map(|change| model.advance_ledger(change)).collect();
            assert_eq!(open.advance_ledgers(changes).await.unwrap(), expected);
        }
        Op::CommitStatistics(commit) => {
            let expected = model.commit_statistics(&commit);
            assert_eq!(open.commit_statistics(commit).await.unwrap(), expected);
        }
        Op::ClaimRequest(log, mark) => {
            assert_eq!(open.claim_request(log, &mark).await.unwrap(), model.claim_request(log, &mark));
        }
        Op::Answered(logs, key, now) => {
            assert_eq!(open.answered(&logs, key, at(now)).await.unwrap(), model.answered(&logs, key, now));
        }
        Op::Lead(log, holder, now, lease_ms) => {
            let expected = model.lead(log, holder, now, lease_ms);
            assert_eq!(open.lead(log, holder, at(now), lease_ms).await.unwrap(), expected);
        }
        Op::Resign(log, holder) => {
            model.resign(log, holder);
            open.resign(log, holder).await.unwrap();
        }
        Op::ChangeDocuments(changes) => {
            let expected: Vec<_> = changes.iter().map(|change| model.change_document(change)).collect();
            assert_eq!(open.change_documents(changes).await.unwrap(), expected);
        }
        Op::AppendCatalog(catalog) => {
            let expected = model.append_catalog(&catalog);
            assert_eq!(open.append_catalog(catalog).await.unwrap(), expected);
        }
        Op::DestroySalts(logs, owner, now) => {
            let expected = model.destroy_salts(&logs, owner, now);
            assert_eq!(open.destroy_salts(&logs, owner, at(now)).await.unwrap(), expected);
        }
        Op::ForgetExpired(now) => {
            open.forget_expired(at(now)).await.unwrap();
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
            if backend.opening_ends_leases() {
                model.end_leases();
            }
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
        assert_eq!(found.salt, expected.salt.as_ref().map(|salt| salt.salt));
        assert_eq!(*found.record, *model.logs[&expected.log.unwrap()][stands_at]);
    }
    for ((model_id, log), expected) in &model.statistics {
        assert_eq!(store.statistics(model_id, *log).await.unwrap(), *expected);
    }
    let keys: Vec<_> = model.documents.keys().copied().collect();
    let documents: Vec<_> = model.documents.values().cloned().map(Some).collect();
    assert_eq!(store.documents(&keys).await.unwrap(), documents);
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
