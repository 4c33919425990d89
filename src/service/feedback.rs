//! Feedback: every report is judged against its decision's ledger and written in one step with its log record.
//!
//! Judging is pure; writing compares the ledger's sequence, so of two reports that race, the later is judged again
//! on top of the earlier. A result is returned only after what it says is durable.

use super::{Result, Service, outcome_report::OutcomeReport, rank::decode_decision, repeats, units::Settled, validate};
use crate::{
    engine::{
        history::UserHistory,
        instant::Instant,
        ledger::{Judgement, Ledger, LedgerState},
        unit::rules::UnitRules,
    },
    log::{
        decision_id::DecisionId,
        ledger_codec::{decode_ledger, encode_ledger},
        record::{Cause, DecisionRecord, LedgerRecord, LogRecord},
    },
    store::{AdvanceOutcome, LedgerAdvance, StoreError, StoredDecision},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Most reports of one call.
pub const REPORTS_MAX: usize = 1000;
/// How often a report is judged again after losing a race; every race has a winner, so this many losses mean a fault.
const RACES_MAX: usize = 1000;

/// One report of a client.
#[derive(Clone, Debug)]
pub struct Report {
    /// The decision, as given.
    pub decision_id: String,
    /// What is reported of it.
    pub subject: Subject,
}

/// What a client reports of a decision.
#[derive(Clone, Debug)]
pub enum Subject {
    /// Something happened.
    Outcome(OutcomeReport),
    /// Exactly these slots, from 1, were shown.
    Exposure(BTreeSet<u32>),
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedbackResult {
    /// What happened.
    pub code: FeedbackCode,
    /// What was wrong and what to do; empty when recorded.
    pub message: String,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedbackCode {
    /// Stored for the first time.
    Recorded,
    /// Stored, and replaces another outcome.
    Revised,
    /// Stored before.
    Duplicate,
    /// The id was used for another report.
    Conflict,
    /// After its window.
    Late,
    /// Its decision may still be on its way.
    NotYet,
    /// No such decision.
    UnknownDecision,
    /// Wrong in itself.
    Invalid,
    /// Its decision was answered and never logged.
    NotLogged,
}

impl FeedbackResult {
    fn new(code: FeedbackCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Indices of a decision's reports, in the order of the call.
type Pending = BTreeMap<DecisionId, Vec<usize>>;

/// What one round of judging says of one decision.
#[derive(Default)]
struct Judged {
    results: Vec<FeedbackResult>,
    advance: Option<LedgerAdvance>,
    /// What it means for what is kept of units.
    settled: Option<Settled>,
    /// The decision is a repeat: its reports belong to this root.
    root: Option<(DecisionId, Arc<DecisionRecord>)>,
}

/// The repeats that reports were made on, by their indices, where these belong to a root.
type Repeats = BTreeMap<usize, Arc<DecisionRecord>>;

/// Whether a report may change what is kept of a unit.
fn concerns(rules: &UnitRules, subject: &Subject) -> bool {
    match subject {
        Subject::Exposure(_) => !rules.caps.is_empty(),
        // An outcome implies that its offer was shown, which counts where an exposure was reported before.
        Subject::Outcome(outcome) => !rules.caps.is_empty() || rules.look_at(&outcome.metric),
    }
}

impl Service {
    /// Records reports, each by itself; results are in their order.
    ///
    /// # Errors
    /// Where the store is away: then some may be recorded, and all may be sent again.
    pub async fn record(&self, reports: &[Report]) -> Result<Vec<FeedbackResult>> {
        let now = self.clock.now();
        let mut results = vec![None; reports.len()];
        let mut pending = self.route(reports, &mut results);
        let mut repeats = Repeats::new();
        for _ in 0..RACES_MAX {
            if pending.is_empty() {
                // Every report was answered by routing or by the round that settled its decision.
                let unanswered = || FeedbackResult::new(FeedbackCode::Invalid, "was not judged");
                let results: Vec<_> = results.into_iter().map(|result| result.unwrap_or_else(unanswered)).collect();
                self.count_reports(reports, &results);
                return Ok(results);
            }
            pending = self.settle(reports, pending, &mut repeats, now, &mut results).await?;
        }
        let reason = format!("reports on one decision lost {RACES_MAX} races in a row; send them again");
        Err(StoreError::Unavailable { reason }.into())
    }

    /// Finds each report's decision by the id alone.
    fn route(&self, reports: &[Report], results: &mut [Option<FeedbackResult>]) -> Pending {
        let mut pending = Pending::new();
        for (index, report) in reports.iter().enumerate() {
            match report.decision_id.parse::<DecisionId>() {
                Ok(id) if !id.is_logged() => results[index] = Some(not_logged()),
                // Before the store is asked: what is logged in between is found by whoever asks again, and a store that
                // is away need not be asked at all.
                Ok(id) if self.is_unlogged(&id) => results[index] = Some(not_yet()),
                Ok(id) => pending.entry(id).or_default().push(index),
                Err(_) if report.decision_id.is_empty() => {
                    results[index] = Some(FeedbackResult::new(FeedbackCode::Invalid, "decision_id: is empty"));
                }
                Err(error) => {
                    let start = validate::start_of(&report.decision_id);
                    let message = format!("decision_id: {start:?} {error}");
                    results[index] = Some(FeedbackResult::new(FeedbackCode::UnknownDecision, message));
                }
            }
        }
        pending
    }

    /// Judges and writes once; returns the decisions that somebody else changed in between.
    async fn settle(
        &self,
        reports: &[Report],
        mut pending: Pending,
        repeats: &mut Repeats,
        now: Instant,
        results: &mut [Option<FeedbackResult>],
    ) -> Result<Pending> {
        let keys: Vec<_> = pending.keys().map(|id| *id.as_bytes()).collect();
        let stored = self.store.decisions(&keys).await?;
        let mut judged = Vec::with_capacity(pending.len());
        for ((id, indices), stored) in pending.iter().zip(stored) {
            let of_decision = indices.iter().map(|&index| (&reports[index], repeats.get(&index)));
            judged.push(self.judge(*id, stored, of_decision, now).await?);
        }
        let changes: Vec<_> = judged.iter().filter_map(|judged| judged.advance.clone()).collect();
        let mut outcomes = self.store.advance_ledgers(changes).await?.into_iter();
        let mut settled = Vec::new();
        for ((id, indices), judged) in std::mem::take(&mut pending).into_iter().zip(judged) {
            let outcome = if judged.advance.is_some() { outcomes.next() } else { Some(AdvanceOutcome::Advanced) };
            if let Some((root, repeat)) = judged.root {
                repeats.extend(indices.iter().map(|&index| (index, repeat.clone())));
                pending.entry(root).or_default().extend(indices);
            } else if outcome == Some(AdvanceOutcome::Advanced) {
                settled.extend(judged.settled);
                indices.into_iter().zip(judged.results).for_each(|(index, result)| results[index] = Some(result));
            } else {
                pending.entry(id).or_default().extend(indices);
            }
        }
        self.settle_units(settled, now).await?;
        Ok(pending)
    }

    /// Judges a decision's reports in order, each on top of the ones before.
    async fn judge<'a>(
        &self,
        id: DecisionId,
        stored: Option<StoredDecision>,
        reports: impl Iterator<Item = (&'a Report, Option<&'a Arc<DecisionRecord>>)> + Send,
        now: Instant,
    ) -> Result<Judged> {
        let Some(stored) = stored else {
            let result = self.absent(id, now);
            return Ok(Judged { results: reports.map(|_| result.clone()).collect(), ..Judged::default() });
        };
        let rules = self.unit_rules(id);
        let history = self.serving().catalog.history.clone();
        let mut record = decode_decision(&stored, id.log())?;
        if rules.is_some() || history.is_some() {
            record = record.opened(&self.seals, stored.salt.as_ref())?;
        }
        if let Some(root) = record.root() {
            return Ok(Judged { root: Some((root, record)), ..Judged::default() });
        }
        let catalogs = [self.catalog_at(record.catalog_revision).await?, self.serving().catalog.clone()];
        let mut ledger = decode_ledger(&stored.ledger, stored.offset)?;
        // What one report leads to is what the next one starts from: adding a ledger up is what costs most here.
        let mut state = ledger.state();
        let mut results = Vec::new();
        let mut records = Vec::new();
        let (mut units, mut users) = (BTreeSet::new(), BTreeSet::new());
        // What comes too late to be learned from is true of the user all the same: subscriptions end after any window.
        let mut late = BTreeMap::new();
        for (report, repeat) in reports {
            let translated = repeat.map(|repeat| repeats::on_root(&report.subject, repeat, &ledger)).transpose();
            let subject = match &translated {
                Ok(None) => &report.subject,
                Ok(Some(Some(subject))) => subject,
                Ok(Some(None)) => {
                    results.push(result_of(Judgement::Duplicate));
                    continue;
                }
                Err(message) => {
                    results.push(FeedbackResult::new(FeedbackCode::Invalid, message));
                    continue;
                }
            };
            let mut told = None;
            let (judgement, cause) = match subject {
                Subject::Exposure(slots) => (ledger.report_exposure(slots, now), Cause::Exposure(slots.clone())),
                Subject::Outcome(outcome) => match outcome.counted(&ledger, &catalogs, now) {
                    Err(message) => {
                        results.push(FeedbackResult::new(FeedbackCode::Invalid, message));
                        continue;
                    }
                    Ok(counted) => {
                        told = Some((outcome.outcome_id.clone(), counted.clone()));
                        (
                            ledger.report_outcome(&outcome.outcome_id, counted.clone(), now),
                            Cause::Outcome(outcome.outcome_id.clone(), counted),
                        )
                    }
                },
            };
            if judgement.is_change() {
                let before = std::mem::replace(&mut state, ledger.state());
                let record = change(id, &ledger, (before, state.clone()), cause, now);
                records.push(LogRecord::Ledger(Box::new(record)).encode());
            }
            if judgement.is_kept() && rules.as_ref().is_some_and(|rules| concerns(rules, subject)) {
                // Of whom a decision was made for that is not known any more, nothing is kept.
                let decisions = [Some(&record), repeat].into_iter().flatten();
                let unit = |of: &Arc<DecisionRecord>| Some((of.id.log(), of.identity.as_ref()?.unit_key));
                units.extend(decisions.filter_map(unit));
            }
            let is_late = matches!(judgement, Judgement::Late { .. });
            if let (true, Some(history), Subject::Outcome(outcome)) =
                (judgement.is_kept() || is_late, &history, subject)
                && history.look_at(&outcome.metric)
            {
                users.extend(repeat.unwrap_or(&record).identity.as_ref().map(|identity| identity.user_key));
                late.extend(told.filter(|_| is_late));
            }
            results.push(result_of(judgement));
        }
        let mut facts = BTreeMap::new();
        if let Some(rules) = history.filter(|_| !users.is_empty()) {
            let mut heard = ledger.clone();
            heard.outcomes.extend(late);
            let told = UserHistory::of_ledger(&rules, &catalogs[0], &heard);
            facts.extend(users.into_iter().map(|user| (user, told.clone())));
        }
        let settled = (!units.is_empty() || !facts.is_empty()).then(|| Settled {
            decision: *id.as_bytes(),
            ledger: ledger.clone(),
            units,
            facts,
        });
        let advance = (!records.is_empty()).then(|| advance(id, stored.sequence, &ledger, records));
        Ok(Judged { results, advance, settled, root: None })
    }

    /// What the placement of a decision keeps of units; `None`: nothing.
    fn unit_rules(&self, id: DecisionId) -> Option<UnitRules> {
        let serving = self.serving();
        let served = serving.placement_of(id.log())?;
        Some(served.snapshot.placement.unit_rules.clone()).filter(UnitRules::keep_anything)
    }

    fn absent(&self, id: DecisionId, now: Instant) -> FeedbackResult {
        let age_ms = now.as_ms() - id.decided_at().as_ms();
        // Ids from a clock slightly ahead are as young as those from one slightly behind.
        if age_ms.unsigned_abs() < u64::from(self.settings.not_yet_s) * 1000 {
            not_yet()
        } else {
            FeedbackResult::new(FeedbackCode::UnknownDecision, format!("decision_id: \"{id}\" is not stored here"))
        }
    }

    /// Closes decisions of a log whose windows have ended, at most `limit`; returns how many.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn close_due(&self, log: crate::store::LogId, limit: usize) -> Result<usize> {
        let now = self.clock.now();
        let due = self.store.due(log, now, limit).await?;
        let stored = self.store.decisions(&due).await?;
        let mut changes = Vec::with_capacity(due.len());
        let mut undecodable = None;
        for stored in due.iter().zip(stored).filter_map(|(key, stored)| Some((key, stored?))) {
            let (Ok(id), stored) = (DecisionId::from_bytes(stored.0), stored.1) else { continue };
            // One that does not decode must not keep all others open.
            let ledger = match decode_ledger(&stored.ledger, stored.offset) {
                Ok(ledger) => ledger,
                Err(error) => {
                    undecodable = Some(error);
                    continue;
                }
            };
            if let Some(after) = ledger.close(now) {
                let record = change(id, &after, (ledger.state(), after.state()), Cause::Closed, now);
                let record = LogRecord::Ledger(Box::new(record)).encode();
                changes.push(advance(id, stored.sequence, &after, vec![record]));
            }
        }
        // A change that loses its race leaves the decision due; the next call finds it again.
        let count = changes.len();
        self.store.advance_ledgers(changes).await?;
        undecodable.map_or(Ok(count), |error| Err(error.into()))
    }
}

fn not_yet() -> FeedbackResult {
    FeedbackResult::new(FeedbackCode::NotYet, "decision_id: is not stored yet; send the same report again later")
}

fn not_logged() -> FeedbackResult {
    let message = "decision_id: was answered while the store was away, and is not logged: nothing can be learned from \
                   it; do not send the report again";
    FeedbackResult::new(FeedbackCode::NotLogged, message)
}

fn result_of(judgement: Judgement) -> FeedbackResult {
    match judgement {
        Judgement::Recorded => FeedbackResult::new(FeedbackCode::Recorded, ""),
        Judgement::Revised => FeedbackResult::new(FeedbackCode::Revised, ""),
        Judgement::Duplicate => FeedbackResult::new(FeedbackCode::Duplicate, "the same was reported before"),
        Judgement::Conflict => {
            let message = "outcome_id: was used for another report on this decision; use a new id, or \
                           revises_outcome_id to replace that report";
            FeedbackResult::new(FeedbackCode::Conflict, message)
        }
        Judgement::Late { reason } => FeedbackResult::new(FeedbackCode::Late, reason),
        Judgement::Invalid { reason } => FeedbackResult::new(FeedbackCode::Invalid, reason),
    }
}

/// The record of the last change of a ledger, and of what it added up to before and after.
fn change(
    id: DecisionId,
    ledger: &Ledger,
    (before, after): (LedgerState, LedgerState),
    cause: Cause,
    now: Instant,
) -> LedgerRecord {
    LedgerRecord {
        decision: id,
        decision_offset: ledger.decision_offset,
        sequence: ledger.sequence,
        decided_at: ledger.windows.decided_at,
        arrived_at: now,
        before,
        after,
        cause,
        holdout: ledger.holdout,
    }
}

fn advance(id: DecisionId, from_sequence: u32, after: &Ledger, records: Vec<Vec<u8>>) -> LedgerAdvance {
    LedgerAdvance {
        log: id.log(),
        decision: *id.as_bytes(),
        from_sequence,
        ledger: encode_ledger(after),
        records,
        closed: after.closed,
    }
}
