//! Ranking: one snapshot read, one pure decision, one append.

use super::{
    Result, Service, ServiceError, Violation,
    assembly::number_of,
    backlog::Unlogged,
    pseudonym::partition_of,
    serving::{ServedPlacement, Serving},
    validate::{self, RankCommand, ValidRank},
};
use crate::{
    engine::{
        catalog::{Catalog, PARTITIONS_MAX, Placement},
        decide::{ENGINE_VERSION, decide},
        instant::Instant,
        ledger::{LedgerState, Windows},
    },
    log::{
        decision_id::DecisionId,
        ledger_codec::decode_ledger,
        record::{DecisionRecord, Flag, LogRecord},
    },
    store::{AppendOutcome, DecisionKey, LogId, RequestMark, StoredDecision},
};
use std::sync::Arc;

/// How long a request id is remembered: 24 hours.
pub const REQUEST_MEMORY_S: u64 = 24 * 60 * 60;

/// A decision and the catalog it was made from.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was decided and logged, or will be logged.
    pub record: Arc<DecisionRecord>,
    /// The catalog at the record's revision.
    pub catalog: Arc<Catalog>,
}

/// A stored decision and what has been reported on it.
#[derive(Clone, Debug)]
pub struct StoredAnswer {
    /// The decision.
    pub answer: Answer,
    /// What its ledger adds up to.
    pub state: LedgerState,
}

impl Service {
    /// Decides, logs, answers.
    ///
    /// # Errors
    /// For requests that are wrong, an unknown placement, a reused request id, and a store that is away.
    pub async fn rank(&self, command: RankCommand) -> Result<Answer> {
        let serving = self.serving();
        let now = self.clock.now();
        let mark = (!command.request_id.is_empty()).then(|| RequestMark {
            key: self.pseudonyms.request(&command.placement, &command.user_id, &command.request_id),
            fingerprint: self.pseudonyms.body(&command.body),
            marked_at: now,
            expires_at: now.plus_s(REQUEST_MEMORY_S),
        });
        match validate::rank(&command, &serving) {
            Ok((served, valid)) => {
                let record = self.decide(&command, served, valid, now);
                if let Some(mark) = &mark {
                    self.claim(&command, served, &record, mark).await?;
                }
                let answer = Answer { record: Arc::new(record), catalog: serving.catalog.clone() };
                self.append(answer, served, mark).await
            }
            // What was answered once stays answered, even where the catalog of today would refuse it.
            Err(refusal) => match mark {
                Some(mark) => self.earlier_answer(&serving, &command.placement, mark).await?.ok_or(refusal),
                None => Err(refusal),
            },
        }
    }

    /// Claims a request for this body in the log where the user's own requests are marked, if its decision is logged
    /// elsewhere: marks are compared within one log, and another body may name another unit, whose log is another.
    async fn claim(
        &self,
        command: &RankCommand,
        served: &ServedPlacement,
        record: &DecisionRecord,
        mark: &RequestMark,
    ) -> Result<()> {
        if command.unit_id.is_empty() {
            return Ok(());
        }
        let own_unit = self.pseudonyms.unit(&command.user_id);
        let home = served.log(partition_of(&own_unit, served.snapshot.placement.partitions));
        if home == record.id.log() || self.store.claim_request(home, mark).await? == mark.fingerprint {
            return Ok(());
        }
        Err(ServiceError::RequestIdReused)
    }

    /// The answer that the same request got before.
    async fn earlier_answer(&self, serving: &Serving, placement: &str, mark: RequestMark) -> Result<Option<Answer>> {
        // Also of a placement that has left the catalog: its number is for life.
        let Some(placement_number) = number_of(&serving.stored, placement) else { return Ok(None) };
        let logs = match serving.placements.get(placement) {
            Some(served) => served.snapshot.version.offsets.len() as u16,
            None => PARTITIONS_MAX as u16,
        };
        let logs: Vec<_> = (0..logs).map(|partition| LogId { placement: placement_number, partition }).collect();
        match self.store.answered(&logs, mark.key, mark.marked_at).await? {
            Some(AppendOutcome::Repeated { decision, fingerprint }) if fingerprint == mark.fingerprint => {
                self.repeated_answer(&decision).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn repeated_answer(&self, decision: &DecisionKey) -> Result<Answer> {
        let missing = || ServiceError::Inconsistent {
            reason: "a request is marked as answered, but its decision is not stored".to_owned(),
        };
        let id = DecisionId::from_bytes(decision).map_err(|_| missing())?;
        Ok(self.stored_answer(id).await?.ok_or_else(missing)?.answer)
    }

    /// A stored decision by the id that clients have.
    ///
    /// # Errors
    /// Where it is not stored, and where the store is away.
    pub async fn decision(&self, decision_id: &str) -> Result<StoredAnswer> {
        if decision_id.is_empty() {
            let violations = vec![Violation::new("decision_id", "is empty; send the id that Rank returned")];
            return Err(ServiceError::Invalid { violations });
        }
        let not_found = || ServiceError::DecisionNotFound { decision_id: validate::start_of(decision_id) };
        let id: DecisionId = decision_id.parse().map_err(|_| not_found())?;
        self.stored_answer(id).await?.ok_or_else(not_found)
    }

    fn decide(
        &self,
        command: &RankCommand,
        served: &ServedPlacement,
        valid: ValidRank,
        now: Instant,
    ) -> DecisionRecord {
        let snapshot = &served.snapshot;
        let unit_id = if command.unit_id.is_empty() { &command.user_id } else { &command.unit_id };
        let unit_key = self.pseudonyms.unit(unit_id);
        let log = served.log(partition_of(&unit_key, snapshot.placement.partitions));
        let seed = self.clock.random();
        let user = valid.stated.into_state();
        let decision = decide(snapshot, &valid.request, &user, now, seed);
        let names = snapshot.placement.context.attributes.iter().map(|attribute| attribute.name.clone());
        let flags = [(self.is_stale(now), Flag::Stale), (valid.clipped, Flag::AttributeClipped)];
        DecisionRecord {
            id: DecisionId::new(log, now, self.clock.random()),
            placement: snapshot.placement.id.clone(),
            catalog_revision: snapshot.catalog_revision,
            engine_version: ENGINE_VERSION,
            decided_at: now,
            seed,
            user_key: self.pseudonyms.user(&command.user_id),
            unit_key,
            attributes: names.zip(valid.request.attributes).collect(),
            market: valid.request.market,
            platform: valid.request.platform,
            user,
            candidates: valid.request.candidates,
            slots_requested: valid.request.slots,
            include_tail: valid.request.include_tail,
            shown_assumed: snapshot.placement.exposure_assumed,
            version: snapshot.version.clone(),
            decision,
            flags: flags.into_iter().filter(|(holds, _)| *holds).map(|(_, flag)| flag).collect(),
            snapshot_age_ms: self.snapshot_age_ms(now),
        }
    }

    async fn append(&self, answer: Answer, served: &ServedPlacement, mark: Option<RequestMark>) -> Result<Answer> {
        let windows = windows(&served.snapshot.placement, answer.record.decided_at);
        let mut unlogged = Unlogged { record: answer.record.clone(), windows };
        // A request that may be repeated has to wait for what makes it answerable once.
        if mark.is_none() {
            match self.backlog.take(unlogged) {
                Ok(()) => {
                    served.meters.decided(&answer.record);
                    return Ok(answer);
                }
                // No room: whoever asks waits until there is, as durable answers always do.
                Err(refused) => unlogged = refused,
            }
        }
        let fingerprint = mark.as_ref().map(|mark| mark.fingerprint);
        match self.store.append_decision(unlogged.append(mark)).await? {
            AppendOutcome::Appended { .. } => {
                served.meters.decided(&answer.record);
                Ok(answer)
            }
            AppendOutcome::Repeated { decision, fingerprint: earlier } if Some(earlier) == fingerprint => {
                self.repeated_answer(&decision).await
            }
            AppendOutcome::Repeated { .. } | AppendOutcome::Claimed { .. } => Err(ServiceError::RequestIdReused),
            AppendOutcome::DocumentMoved => Err(ServiceError::Inconsistent {
                reason: "a decision that changes no document lost a race for one".to_owned(),
            }),
        }
    }

    async fn stored_answer(&self, id: DecisionId) -> Result<Option<StoredAnswer>> {
        let stored = self.store.decisions(&[*id.as_bytes()]).await?.into_iter().next().flatten();
        let Some(stored) = stored else { return Ok(None) };
        let record = decode_decision(&stored, id.log())?;
        let state = decode_ledger(&stored.ledger, stored.offset)?.state();
        let catalog = self.catalog_at(record.catalog_revision).await?;
        Ok(Some(StoredAnswer { answer: Answer { record, catalog }, state }))
    }
}

/// The decision in a stored record.
pub(super) fn decode_decision(stored: &StoredDecision, log: LogId) -> Result<Arc<DecisionRecord>> {
    match LogRecord::decode(&stored.record)? {
        LogRecord::Decision(record) => Ok(record),
        LogRecord::Ledger(_) => Err(ServiceError::Inconsistent {
            reason: format!("{log:?} has no decision at offset {}, where its id points", stored.offset),
        }),
    }
}

fn windows(placement: &Placement, decided_at: Instant) -> Windows {
    let lengths = placement.windows;
    Windows {
        decided_at,
        attribution_ends_at: decided_at.plus_s(lengths.attribution_s),
        closes_at: decided_at.plus_s(lengths.attribution_s).plus_s(lengths.grace_s),
        revisions_end_at: decided_at.plus_s(lengths.revision_s),
    }
}
