//! The records of the log, as the program sees them.

use super::{
    DecodeError, RECORD_VERSION,
    codec::{decode_decision, write_decision},
    decision_id::DecisionId,
    identity::{Identity, Salt, Seals},
    ledger_codec::{decode_ledger_entry, encode_ledger_entry},
};
use crate::{
    engine::{
        binding::BoundedSlot,
        bounds::{TotalBound, parity::Cohort},
        decide::{Decision, SlotDraw},
        group::Group,
        instant::Instant,
        ledger::{Ledger, LedgerState, Outcome, Windows},
        snapshot::PosteriorVersion,
    },
    proto::{self, fields::Fields},
};
use prost::Message as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Most records have at most this many bytes.
const RECORD_BYTES_USUAL: usize = 3 << 10;

/// One record of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum LogRecord {
    /// A Rank was answered.
    Decision(Arc<DecisionRecord>),
    /// Something was reported on a decision, or its windows closed.
    Ledger(Box<LedgerRecord>),
}

/// Everything needed to decide the same request again.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRecord {
    /// Its id.
    pub id: DecisionId,
    /// Placement id.
    pub placement: Arc<str>,
    /// The catalog revision that decided.
    pub catalog_revision: u64,
    /// Version of the engine that decided.
    pub engine_version: u32,
    /// When.
    pub decided_at: Instant,
    /// Seed of its random streams.
    pub seed: u64,
    /// Whom it was made for; `None`: not opened, or nobody can any more.
    pub identity: Option<Identity>,
    /// The same, sealed, as it is logged.
    pub sealed_identity: Vec<u8>,
    /// The measurement group.
    pub group: Group,
    /// Market id.
    pub market: Option<Arc<str>>,
    /// Platform as requested.
    pub platform: String,
    /// Attributes as models see them, in the order of the context schema: [`ContextSchema::codes`].
    ///
    /// [`ContextSchema::codes`]: crate::engine::context::ContextSchema::codes
    pub attribute_codes: Vec<f64>,
    /// Which schema that is: equal numbers, equal codes.
    pub schema: u64,
    /// Offers asked for; empty: all of the placement's.
    pub candidates: Vec<Arc<str>>,
    /// Slots asked for.
    pub slots_requested: u32,
    /// Whether the tail was asked for.
    pub include_tail: bool,
    /// Whether slots count as shown before any report.
    pub shown_assumed: bool,
    /// The learned state that decided.
    pub version: PosteriorVersion,
    /// What was decided.
    pub decision: Decision,
    /// The bounds on sets of arms, as they acted.
    pub totals: Vec<TotalBound>,
    /// The user's cohorts.
    pub cohorts: Vec<Cohort>,
    /// Circumstances of the answer.
    pub flags: Vec<Flag>,
    /// Age of the snapshot that decided, in milliseconds.
    pub snapshot_age_ms: u64,
}

/// Circumstances of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// The snapshot is older than the server's limit.
    Stale,
    /// A number attribute was clipped to its bounds.
    AttributeClipped,
    /// The store was away; the decision was kept by the instance that answered, to be logged later.
    Degraded,
    /// The store was away and nothing else took the decision: it is not logged, and the order is the fallback order.
    NotLogged,
    /// The decision stands for an earlier one.
    Leased,
    /// What is kept of unit or user could not be read.
    StateUnknown,
    /// What is known of the user had a say in prices, and the market's law wants the user to be told.
    PersonalisedPrices,
    /// Scores are those of nobody in particular, because the market's law forbids to look at this user.
    NeutralContext,
    /// What the user may be shown left no way to keep all bounds.
    BoundsRelaxed,
}

/// A change of a decision's ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerRecord {
    /// The decision it belongs to.
    pub decision: DecisionId,
    /// Where that decision stands in the same log.
    pub decision_offset: u64,
    /// Number of this change of the decision's ledger, from 1.
    pub sequence: u32,
    /// When the decision was made.
    pub decided_at: Instant,
    /// When the service took this change.
    pub arrived_at: Instant,
    /// State before.
    pub before: LedgerState,
    /// State after.
    pub after: LedgerState,
    /// What changed it.
    pub cause: Cause,
    /// Whether the decision is of the holdout, which teaches nothing.
    pub holdout: bool,
}

/// What changed a ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// An outcome was reported under this id.
    Outcome(String, Outcome),
    /// These slots were reported as shown.
    Exposure(BTreeSet<u32>),
    /// Attribution window and grace ended.
    Closed,
}

impl Cause {
    /// Takes it into the ledger that it changed.
    pub fn apply(&self, ledger: &mut Ledger) {
        ledger.sequence += 1;
        match self {
            Self::Outcome(id, outcome) => drop(ledger.outcomes.insert(id.clone(), outcome.clone())),
            Self::Exposure(slots) => ledger.exposed.get_or_insert_default().extend(slots),
            Self::Closed => ledger.closed = true,
        }
    }
}

impl DecisionRecord {
    /// The record with its identity open; as it is where the salt is gone.
    ///
    /// # Errors
    /// Where the salt is not that of this decision, or what is sealed has been changed.
    pub fn opened(mut self: Arc<Self>, seals: &Seals, salt: Option<&Salt>) -> Result<Arc<Self>, DecodeError> {
        if let Some(salt) = salt {
            let identity = seals.open(&self.id, salt, &self.sealed_identity)?;
            Arc::make_mut(&mut self).identity = Some(identity);
        }
        Ok(self)
    }

    /// The ledger that the decision starts with, closing when these windows end. That of a repeat stays empty: what is
    /// reported on it is its root's.
    #[must_use]
    pub fn first_ledger(&self, decision_offset: u64, windows: Windows) -> Ledger {
        Ledger {
            sequence: 0,
            decision_offset,
            windows,
            offers: self.own_slots().iter().map(|slot| self.decision.drawn(slot).offer_id.clone()).collect(),
            shown_assumed: self.shown_assumed,
            exposed: None,
            outcomes: BTreeMap::new(),
            closed: false,
            holdout: self.group == Group::Holdout,
        }
    }

    /// What the decision adds up to before anything is reported on it.
    #[must_use]
    pub fn first_state(&self) -> LedgerState {
        let slots = self.own_slots().iter();
        LedgerState::first(slots.map(|slot| self.decision.drawn(slot).offer_id.clone()), self.shown_assumed)
    }

    /// The decision whose offers this one repeats, and which everything reported on it belongs to.
    #[must_use]
    pub fn root(&self) -> Option<DecisionId> {
        DecisionId::from_bytes(&self.decision.root?).ok()
    }

    /// The slots, with the bounds that they were drawn under.
    pub fn bounded_slots(&self) -> impl Iterator<Item = BoundedSlot<'_>> {
        let Self { decision, group, totals, .. } = self;
        (1..).zip(&decision.slots).map(|(slot, draw)| BoundedSlot { decision, group: *group, totals, slot, draw })
    }

    /// The slots that are reported on and learned from under this decision's own id: those of a repeat are its root's.
    fn own_slots(&self) -> &[SlotDraw] {
        if self.decision.root.is_some() { &[] } else { &self.decision.slots }
    }
}

impl LogRecord {
    /// The bytes to append.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RECORD_BYTES_USUAL);
        let mut fields = Fields::new(&mut bytes);
        fields.number(1, RECORD_VERSION.into());
        match self {
            Self::Decision(decision) => fields.message(2, |fields| write_decision(fields, decision)),
            Self::Ledger(entry) => fields.element(3, &encode_ledger_entry(entry).encode_to_vec()),
        }
        bytes
    }

    /// Reads a record of any version so far.
    ///
    /// # Errors
    /// Where the bytes were not written by [`Self::encode`], or by a newer version of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        use proto::log_record::Event;
        let record =
            proto::LogRecord::decode(bytes).map_err(|source| DecodeError::Encoding { what: "log record", source })?;
        if record.record_version == 0 || record.record_version > RECORD_VERSION {
            return Err(DecodeError::Version { version: record.record_version });
        }
        match record.event {
            Some(Event::Decision(decision)) => Ok(Self::Decision(Arc::new(decode_decision(*decision)?))),
            Some(Event::Ledger(entry)) => Ok(Self::Ledger(Box::new(decode_ledger_entry(*entry)?))),
            None => Err(DecodeError::Field { what: "log record", field: "event" }),
        }
    }
}
