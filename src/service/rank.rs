//! Ranking: one snapshot read, one pure decision, one append.

use super::{
    Result, Service, ServiceError, Violation,
    pseudonym::partition_of,
    serving::ServedPlacement,
    validate::{self, RankCommand, ValidRank},
};
use crate::{
    engine::{
        catalog::{Catalog, Placement},
        decide::{ENGINE_VERSION, decide},
        instant::Instant,
        ledger::{LedgerState, Windows},
    },
    log::{
        decision_id::DecisionId,
        ledger_codec::{decode_ledger, encode_ledger},
        record::{DecisionRecord, Flag, LogRecord},
    },
    store::{AppendOutcome, DecisionAppend, DecisionKey, LogId, RequestMark, StoredDecision},
};
use std::{collections::BTreeMap, sync::Arc};

/// How long a request id is remembered: 24 hours.
pub const REQUEST_MEMORY_S: u64 = 24 * 60 * 60;

/// A decision and the catalog it was made from.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was decided and logged.
    pub record: DecisionRecord,
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
                let answer = Answer { record, catalog: serving.catalog.clone() };
                self.append(answer, served, mark).await
            }
            // What was answered once stays answered, even where the catalog of today would refuse it.
            Err(refusal) => match mark {
                Some(mark) => self.earlier_answer(mark).await?.ok_or(refusal),
                None => Err(refusal),
            },
        }
    }

    /// The answer that the same request got before.
    async fn earlier_answer(&self, mark: RequestMark) -> Result<Option<Answer>> {
        match self.store.answered(mark.key, mark.marked_at).await? {
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
        let decision = decide(snapshot, &valid.request, now, seed);
        let names = snapshot.placement.context.attributes.iter().map(|attribute| attribute.name.to_string());
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
            attributes: names.zip(valid.request.attributes).collect::<BTreeMap<_, _>>(),
            market: valid.request.market,
            platform: valid.request.platform,
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
        let id = answer.record.id;
        let windows = windows(&served.snapshot.placement, answer.record.decided_at);
        let fingerprint = mark.as_ref().map(|mark| mark.fingerprint);
        let append = DecisionAppend {
            log: id.log(),
            decision: *id.as_bytes(),
            // The store knows the offset; a stored ledger is told it when it is read.
            ledger: encode_ledger(&answer.record.first_ledger(0, windows)),
            record: LogRecord::Decision(Box::new(answer.record.clone())).encode(),
            closes_at: windows.closes_at,
            request: mark,
        };
        match self.store.append_decision(append).await? {
            AppendOutcome::Appended { .. } => {
                served.meters.decided(&answer.record);
                Ok(answer)
            }
            AppendOutcome::Repeated { decision, fingerprint: earlier } if Some(earlier) == fingerprint => {
                self.repeated_answer(&decision).await
            }
            AppendOutcome::Repeated { .. } => Err(ServiceError::RequestIdReused),
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
pub(super) fn decode_decision(stored: &StoredDecision, log: LogId) -> Result<DecisionRecord> {
    match LogRecord::decode(&stored.record)? {
        LogRecord::Decision(record) => Ok(*record),
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
