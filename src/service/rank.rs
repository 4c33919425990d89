//! Ranking: one snapshot read, one pure decision, one append (see `keeping`).

use super::{
    Result, Service, ServiceError, Violation,
    assembly::number_of,
    keeping::Keeping,
    serving::{ServedPlacement, Serving},
    units::{Kept, RACES_MAX, Unit},
    validate::{self, RankCommand, ValidRank},
};
use crate::{
    clock::random_bytes,
    engine::{
        bounds::parity::Cohort,
        catalog::{Catalog, PARTITIONS_MAX},
        decide::{ENGINE_VERSION, decide},
        instant::Instant,
        ledger::LedgerState,
        unit::state::{Limits, UnitView},
        user::UserState,
    },
    log::{
        decision_id::DecisionId,
        identity::Identity,
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
                if let Some(mark) = &mark
                    && let Some(answer) = self.answered_from_spool(mark).await?
                {
                    return Ok(answer);
                }
                self.answer(&command, (&serving, served), valid, mark, now).await
            }
            // What was answered once stays answered, even where the catalog of today would refuse it.
            Err(refusal) => match mark {
                Some(mark) => self.earlier_answer(&serving, &command.placement, mark).await?.ok_or(refusal),
                None => Err(refusal),
            },
        }
    }

    /// Decides and keeps the decision. What is kept of the unit is read first, and replaced in the step that logs: where
    /// another request of the unit came in between, all of this is done again.
    async fn answer(
        &self,
        command: &RankCommand,
        (serving, served): (&Serving, &ServedPlacement),
        valid: ValidRank,
        mark: Option<RequestMark>,
        now: Instant,
    ) -> Result<Answer> {
        let unit = self.unit_of(command, served);
        let request = mark.map(|mark| self.request(command, served, unit.log, mark));
        let answer = |record| Answer { record: Arc::new(record), catalog: serving.catalog.clone() };
        if !Self::reads_before_deciding(served) {
            let record = self.decide((served, &unit), valid, &mut Kept::default(), (now, self.clock.random()));
            return match self.keep(answer(record), served, request, None).await? {
                Keeping::Answered(answer) => Ok(answer),
                Keeping::Moved | Keeping::Uncounted => Err(lost_race()),
            };
        }
        for races_lost in 0..=RACES_MAX {
            let mut kept = self.kept(served, &unit, races_lost).await?;
            let made = answer(self.decide((served, &unit), valid.clone(), &mut kept, (now, self.clock.random())));
            let document = self.document_after(served, &unit, &kept, &made.record);
            match self.keep(made.clone(), served, request.clone(), document).await? {
                Keeping::Answered(answer) => {
                    // The last time no document is changed with the decision; what a repeat tells of prices holds nevertheless.
                    if races_lost == RACES_MAX
                        && made.record.root().is_some()
                        && let Err(error) = self.in_time(unit.log, self.take_in(&made.record)).await
                        && !error.is_transient()
                    {
                        return Err(error.into());
                    }
                    return Ok(answer);
                }
                Keeping::Moved => {}
                // Another decision, with an id of its own, of what need not be counted. If the store took the first one
                // after all, it counts although nobody has seen it: a cap is never exceeded.
                Keeping::Uncounted => {
                    let state = made.record.identity.as_ref().map(|of| of.user.unit.state.clone()).unwrap_or_default();
                    kept.view = UnitView { limits: Limits::Uncounted, state };
                    let record = self.decide((served, &unit), valid, &mut kept, (now, made.record.seed));
                    return self.spool(answer(record), served, request).await;
                }
            }
        }
        Err(lost_race())
    }

    /// The answer that the same request got before.
    async fn earlier_answer(&self, serving: &Serving, placement: &str, mark: RequestMark) -> Result<Option<Answer>> {
        if let Ok(Some(answer)) = self.answered_from_spool(&mark).await {
            return Ok(Some(answer));
        }
        // Also of a placement that has left the catalog: its number is for life.
        let Some(placement_number) = number_of(&serving.stored, placement) else { return Ok(None) };
        let logs = match serving.placements.get(placement) {
            Some(served) => served.snapshot.version.offsets.len() as u16,
            None => PARTITIONS_MAX as u16,
        };
        let logs: Vec<_> = (0..logs).map(|partition| LogId { placement: placement_number, partition }).collect();
        match self.limited(self.store.answered(&logs, mark.key, mark.marked_at)).await? {
            Some(AppendOutcome::Repeated { decision, fingerprint }) if fingerprint == mark.fingerprint => {
                self.repeated_answer(&decision).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A decision that answered a request before.
    pub(super) async fn repeated_answer(&self, decision: &DecisionKey) -> Result<Answer> {
        let missing = || ServiceError::Inconsistent {
            reason: "a request is marked as answered, but its decision is not stored".to_owned(),
        };
        let id = DecisionId::from_bytes(decision).map_err(|_| missing())?;
        let stored = self.in_time(id.log(), self.store.decisions(&[*decision])).await?.pop().flatten();
        Ok(self.stored_answer(id, stored.ok_or_else(missing)?).await?.answer)
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
        if !id.is_logged() {
            return Err(ServiceError::DecisionNotLogged { decision_id: id.to_string() });
        }
        if let Some(answer) = self.spooled_answer(id.as_bytes()).await? {
            let state = answer.record.first_state();
            return Ok(StoredAnswer { answer, state });
        }
        let stored = self.store.decisions(&[*id.as_bytes()]).await?.pop().flatten();
        self.stored_answer(id, stored.ok_or_else(not_found)?).await
    }

    fn decide(
        &self,
        (served, unit): (&ServedPlacement, &Unit),
        valid: ValidRank,
        kept: &mut Kept,
        (now, seed): (Instant, u64),
    ) -> DecisionRecord {
        let snapshot = &served.snapshot;
        let unit_view = std::mem::take(&mut kept.view);
        let group = snapshot.placement.groups.of(&kept.group_key(unit.key));
        let user = UserState { unit: unit_view, group, ..kept.history.with_stated(valid.stated, now) };
        let decision = decide(snapshot, &valid.request, &user, now, seed);
        let schema = &snapshot.placement.context;
        let attribute_codes = schema.codes(&valid.request.attributes);
        let names = schema.attributes.iter().map(|attribute| attribute.name.clone());
        let disclosed = snapshot.must_disclose(valid.request.market.as_deref());
        let cohort = |(attribute, value): (Arc<str>, Arc<str>)| Cohort {
            value_key: self.pseudonyms.cohort(&snapshot.placement.id, &attribute, &value),
            attribute,
        };
        let flags = [
            (self.is_stale(now), Flag::Stale),
            (valid.clipped, Flag::AttributeClipped),
            (decision.root.is_some(), Flag::Leased),
            (kept.unknown, Flag::StateUnknown),
            (decision.personalised && disclosed, Flag::PersonalisedPrices),
            (decision.neutral_context, Flag::NeutralContext),
            (decision.slots.first().is_some_and(|lead| !lead.relaxed.is_nothing()), Flag::BoundsRelaxed),
        ];
        let id = DecisionId::new(unit.log, now, self.clock.random());
        let attributes = names.zip(valid.request.attributes).collect();
        let salt = random_bytes(&*self.clock);
        let identity = Identity { salt, user_key: unit.user, unit_key: unit.key, attributes, user };
        DecisionRecord {
            id,
            placement: snapshot.placement.id.clone(),
            catalog_revision: snapshot.catalog_revision,
            engine_version: ENGINE_VERSION,
            decided_at: now,
            seed,
            sealed_identity: self.seals.seal(&id, &identity),
            identity: Some(identity),
            group,
            attribute_codes,
            schema: served.schema,
            market: valid.request.market,
            platform: valid.request.platform,
            candidates: valid.request.candidates,
            slots_requested: valid.request.slots,
            include_tail: valid.request.include_tail,
            shown_assumed: snapshot.placement.exposure_assumed,
            version: snapshot.version.clone(),
            decision,
            totals: snapshot.placement.bounds.totals.clone(),
            cohorts: valid.protected.into_iter().map(cohort).collect(),
            flags: flags.into_iter().filter(|(holds, _)| *holds).map(|(_, flag)| flag).collect(),
            snapshot_age_ms: self.snapshot_age_ms(now),
        }
    }

    async fn stored_answer(&self, id: DecisionId, stored: StoredDecision) -> Result<StoredAnswer> {
        let record = decode_decision(&stored, id.log())?;
        let state = match record.root() {
            None => decode_ledger(&stored.ledger, stored.offset)?.state(),
            Some(root) => self.state_of_root(root, &record).await?,
        };
        let catalog = self.catalog_at(record.catalog_revision).await?;
        Ok(StoredAnswer { answer: Answer { record, catalog }, state })
    }
}

/// No request is decided again for ever: the last time, nothing is written that others may be writing.
fn lost_race() -> ServiceError {
    let reason = "a decision that changes no document lost a race for one".to_owned();
    ServiceError::Inconsistent { reason }
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
