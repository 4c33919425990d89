//! Keeping what was decided: in the log; where the store is away, in the spool until the log can take it; and where
//! nothing can keep it, not at all, which the answer says.
//!
//! A valid Rank is always answered. What is answered with a logged id is in the log, in the spool, or under
//! `--decision-log async` in the backlog. An append whose outcome is unknown is spooled too: its id lets it count once.

use super::{
    Result, Service, ServiceError, pseudonym::partition_of, rank::Answer, serving::ServedPlacement,
    validate::RankCommand,
};
use crate::{
    engine::{catalog::Placement, fallback::fall_back, ledger::Windows, unit::rules::WhenUnknown},
    log::{
        decision_id::DecisionId,
        ledger_codec::encode_ledger,
        record::{DecisionRecord, Flag, LogRecord},
    },
    store::{
        AppendOutcome, DecisionAppend, DecisionKey, DocumentChange, LogId, OwnedSalt, RequestMark,
        spool::{Put, Spooled},
    },
};
use std::sync::Arc;

/// How a request that may be repeated is told.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Its mark.
    pub(super) mark: RequestMark,
    /// The log where it is claimed first, if its decision is logged in another: marks are compared within one log, and
    /// another body may name another unit, whose log is another.
    pub(super) claim_in: Option<LogId>,
}

/// What became of a decision that was to be kept.
pub(super) enum Keeping {
    /// It was, or another answers in its stead: what to answer.
    Answered(Answer),
    /// The document of its unit has moved: it has to be decided again.
    Moved,
    /// Whether the store took it is unknown, and so whether what it offers under a cap is counted.
    Uncounted,
}

impl Service {
    /// A request by its mark, for a decision that is logged here.
    pub(super) fn request(
        &self,
        command: &RankCommand,
        served: &ServedPlacement,
        log: LogId,
        mark: RequestMark,
    ) -> Request {
        let home = || {
            let own_unit = self.pseudonyms.unit(&command.user_id);
            served.log(partition_of(&own_unit, served.snapshot.placement.partitions))
        };
        let claim_in = (!command.unit_id.is_empty()).then(home).filter(|&home| home != log);
        Request { mark, claim_in }
    }

    /// Keeps a decision and returns what to answer: itself, what the same request was answered before, or the fallback
    /// order where nothing can keep it. Where its unit's document has moved, or what it offers may not be counted, it has
    /// to be decided again.
    ///
    /// # Errors
    /// Where the request id was used for another body, and where the store holds what it should not.
    pub(super) async fn keep(
        &self,
        mut answer: Answer,
        served: &ServedPlacement,
        request: Option<Request>,
        document: Option<DocumentChange>,
    ) -> Result<Keeping> {
        let windows = Windows::of(served.snapshot.placement.windows, answer.record.decided_at);
        // A request that may be repeated has to wait for what makes it answerable once, and what is counted for its count.
        if request.is_none() && document.is_none() {
            if self.outages.holds(answer.record.id.log()) {
                answer = flagged(answer, Flag::Degraded);
            }
            // Where there is no room, whoever asks waits until there is, as durable answers always do.
            if self.backlog.is_used() && self.backlog.take(self.append_of(&answer.record, windows, None)) {
                served.meters.decided(&answer.record);
                return Ok(Keeping::Answered(answer));
            }
        }
        let counts = document.is_some() && offers_capped(&answer.record, &served.snapshot.placement);
        match self.log(&answer, windows, served, request.as_ref(), document).await {
            Err(error) if error.is_transient() && counts => Ok(Keeping::Uncounted),
            // Without the change of the document, which is made up for when the spool is logged.
            Err(error) if error.is_transient() => self.spool(answer, served, request).await.map(Keeping::Answered),
            kept => kept,
        }
    }

    async fn log(
        &self,
        answer: &Answer,
        windows: Windows,
        served: &ServedPlacement,
        request: Option<&Request>,
        document: Option<DocumentChange>,
    ) -> Result<Keeping> {
        let log = answer.record.id.log();
        if let Some(Request { mark, claim_in: Some(home) }) = request
            && self.in_time(*home, self.store.claim_request(*home, mark)).await? != mark.fingerprint
        {
            return Err(ServiceError::RequestIdReused);
        }
        let mark = request.map(|request| request.mark.clone());
        let append = DecisionAppend { document, ..self.append_of(&answer.record, windows, mark) };
        let fingerprint = request.map(|request| request.mark.fingerprint);
        match self.in_time(log, self.store.append_decision(append)).await? {
            AppendOutcome::Appended { .. } => {
                served.meters.decided(&answer.record);
                Ok(Keeping::Answered(answer.clone()))
            }
            AppendOutcome::Repeated { decision, fingerprint: earlier } if Some(earlier) == fingerprint => {
                match self.repeated_answer(&decision).await {
                    // It is not decided anew: that would never be logged.
                    Err(error) if error.is_transient() => {
                        Ok(Keeping::Answered(self.not_logged(answer.clone(), served)))
                    }
                    repeated => repeated.map(Keeping::Answered),
                }
            }
            AppendOutcome::Repeated { .. } | AppendOutcome::Claimed { .. } => Err(ServiceError::RequestIdReused),
            AppendOutcome::DocumentMoved => Ok(Keeping::Moved),
        }
    }

    /// Keeps a decision on the disk of this machine; where that is not to be had either, answers the fallback order.
    pub(super) async fn spool(
        &self,
        answer: Answer,
        served: &ServedPlacement,
        request: Option<Request>,
    ) -> Result<Answer> {
        let Some(spool) = &self.spool else { return Ok(self.not_logged(answer, served)) };
        let degraded = flagged(answer.clone(), Flag::Degraded);
        let windows = Windows::of(served.snapshot.placement.windows, answer.record.decided_at);
        let (mark, claim_in) = request.map_or((None, None), |request| (Some(request.mark), request.claim_in));
        let fingerprint = mark.as_ref().map(|mark| mark.fingerprint);
        let append = self.append_of(&degraded.record, windows, mark);
        match spool.put(Spooled { append, claim_in }).await {
            Ok(Put::Kept) => {
                served.meters.decided(&degraded.record);
                Ok(degraded)
            }
            Ok(Put::Repeated { decision, fingerprint: earlier }) if Some(earlier) == fingerprint => {
                let earlier = self.spooled_answer(&decision).await?;
                Ok(earlier.unwrap_or_else(|| self.not_logged(answer, served)))
            }
            Ok(Put::Repeated { .. }) => Err(ServiceError::RequestIdReused),
            Ok(Put::Full) | Err(_) => Ok(self.not_logged(answer, served)),
        }
    }

    /// The fallback order instead of a decision that nothing can keep.
    fn not_logged(&self, Answer { record, catalog }: Answer, served: &ServedPlacement) -> Answer {
        let made = Arc::unwrap_or_clone(record);
        let id = DecisionId::not_logged(made.id.log(), made.decided_at, self.clock.random());
        let decision = fall_back(&made.decision, &served.snapshot.placement, made.slots_requested, made.include_tail);
        let mut flags = made.flags;
        flags.retain(|&flag| flag != Flag::Degraded);
        flags.push(Flag::NotLogged);
        let record = DecisionRecord { id, decision, flags, ..made };
        served.meters.decided(&record);
        Answer { record: Arc::new(record), catalog }
    }

    /// What a request was answered by a decision that waits in this instance's spool.
    ///
    /// # Errors
    /// Where it was answered with another body.
    pub(super) async fn answered_from_spool(&self, mark: &RequestMark) -> Result<Option<Answer>> {
        let Some((decision, fingerprint)) = self.spool.as_ref().and_then(|spool| spool.answered(mark)) else {
            return Ok(None);
        };
        if fingerprint != mark.fingerprint {
            return Err(ServiceError::RequestIdReused);
        }
        self.spooled_answer(&decision).await
    }

    /// A decision that waits in this instance's spool; `None` where it does not any more, or not all of it is at hand.
    pub(super) async fn spooled_answer(&self, decision: &DecisionKey) -> Result<Option<Answer>> {
        let Some(spool) = &self.spool else { return Ok(None) };
        let Some(spooled) = spool.read(*decision).await else { return Ok(None) };
        let LogRecord::Decision(record) = LogRecord::decode(&spooled.append.record)? else { return Ok(None) };
        let catalog = tokio::time::timeout(self.settings.append_timeout, self.catalog_at(record.catalog_revision));
        match catalog.await {
            Ok(Ok(catalog)) => Ok(Some(Answer { record, catalog })),
            Ok(Err(error)) if !error.is_transient() => Err(error),
            // A catalog that was replaced long ago is in the store alone.
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// The append that logs a decision.
    fn append_of(
        &self,
        record: &Arc<DecisionRecord>,
        windows: Windows,
        request: Option<RequestMark>,
    ) -> DecisionAppend {
        let made_at = record.decided_at;
        DecisionAppend {
            log: record.id.log(),
            decision: *record.id.as_bytes(),
            // The store knows the offset; a stored ledger is told it when it is read.
            ledger: encode_ledger(&record.first_ledger(0, windows)),
            record: LogRecord::Decision(record.clone()).encode(),
            closes_at: windows.closes_at,
            request,
            document: None,
            salt: record.identity.as_ref().map(|identity| OwnedSalt {
                owner: identity.user_key,
                salt: identity.salt,
                made_at,
                expires_at: made_at.plus_s(self.settings.identities_s),
            }),
        }
    }

    /// Whether this instance answered a decision that is not logged yet.
    pub(super) fn is_unlogged(&self, id: &DecisionId) -> bool {
        // In this order: what leaves the backlog for the spool stands in both for a while.
        self.backlog.holds(id) || self.spool.as_ref().is_some_and(|spool| spool.holds(id.as_bytes()))
    }
}

fn flagged(Answer { record, catalog }: Answer, flag: Flag) -> Answer {
    let mut record = Arc::unwrap_or_clone(record);
    if !record.flags.contains(&flag) {
        record.flags.push(flag);
    }
    Answer { record: Arc::new(record), catalog }
}

/// Whether a decision offers what a cap has to count, where nothing that is not counted may be offered.
fn offers_capped(record: &DecisionRecord, placement: &Placement) -> bool {
    let (decision, rules) = (&record.decision, &placement.unit_rules);
    let is_capped = |slot| rules.is_capped(&decision.drawn(slot).offer_id);
    // A repeat counts for nothing.
    rules.when_unknown == WhenUnknown::Skip && decision.root.is_none() && decision.slots.iter().any(is_capped)
}
