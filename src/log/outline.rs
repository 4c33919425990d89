//! What learning needs of a record, read without the rest: most of a decision is probabilities, which teach nothing.

use super::{
    DecodeError, RECORD_VERSION,
    codec::{decode_attribute, missing},
    record::{LedgerRecord, LogRecord},
};
use crate::{
    engine::{context::AttributeValue, instant::Instant, ledger::LedgerState},
    proto,
};
use prost::Message;
use std::sync::Arc;

/// One record of the log, in outline.
#[derive(Clone, Debug, PartialEq)]
pub enum LogOutline {
    /// A Rank was answered.
    Decision(DecisionOutline),
    /// Something was reported on a decision, or its windows closed.
    Ledger(Box<LedgerRecord>),
}

/// A decision without how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionOutline {
    /// When.
    pub decided_at: Instant,
    /// Attributes as validated, by name, in the order of the context schema.
    pub attributes: Vec<(String, AttributeValue)>,
    /// The offers that were drawn, by slot; none where it repeats another decision, which they belong to.
    pub offers: Vec<Arc<str>>,
    /// Whether slots count as shown before any report.
    pub shown_assumed: bool,
}

/// A `LogRecord` of `log.proto`, without what is not looked at.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(uint32, tag = "1")]
    record_version: u32,
    #[prost(message, optional, tag = "2")]
    decision: Option<Decision>,
}

/// A `DecisionRecord`, likewise.
#[derive(Clone, PartialEq, Message)]
struct Decision {
    #[prost(int64, tag = "5")]
    decided_at_ms: i64,
    #[prost(message, repeated, tag = "11")]
    attributes: Vec<proto::AttributeRecord>,
    #[prost(message, optional, tag = "14")]
    arms: Option<Arms>,
    #[prost(message, repeated, tag = "16")]
    slots: Vec<Slot>,
    #[prost(bool, tag = "23")]
    shown_assumed: bool,
    #[prost(bytes = "vec", tag = "30")]
    root_decision_id: Vec<u8>,
}

/// An `ArmColumns`, likewise.
#[derive(Clone, PartialEq, Message)]
struct Arms {
    #[prost(string, repeated, tag = "1")]
    offer_ids: Vec<String>,
}

/// A `SlotRecord`, likewise.
#[derive(Clone, PartialEq, Message)]
struct Slot {
    #[prost(uint32, tag = "5")]
    drawn: u32,
}

impl LogOutline {
    /// Reads a record of any version so far.
    ///
    /// # Errors
    /// As [`LogRecord::decode`], of what is looked at.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let record = Record::decode(bytes).map_err(|source| DecodeError::Encoding { what: "log record", source })?;
        if record.record_version == 0 || record.record_version > RECORD_VERSION {
            return Err(DecodeError::Version { version: record.record_version });
        }
        if let Some(decision) = record.decision {
            return decision.outline().map(Self::Decision);
        }
        match LogRecord::decode(bytes)? {
            LogRecord::Ledger(entry) => Ok(Self::Ledger(entry)),
            LogRecord::Decision(_) => Err(missing("event")),
        }
    }
}

impl Decision {
    fn outline(self) -> Result<DecisionOutline, DecodeError> {
        let arms = self.arms.unwrap_or_default().offer_ids;
        let slots = if self.root_decision_id.is_empty() { &self.slots[..] } else { &[] };
        let offer = |slot: &Slot| arms.get(slot.drawn as usize).map(|id| id.as_str().into());
        Ok(DecisionOutline {
            decided_at: Instant::from_ms(self.decided_at_ms),
            attributes: self.attributes.into_iter().map(decode_attribute).collect::<Result<_, _>>()?,
            offers: slots.iter().map(offer).collect::<Option<_>>().ok_or_else(|| missing("slots.drawn"))?,
            shown_assumed: self.shown_assumed,
        })
    }
}

impl DecisionOutline {
    /// What the decision adds up to before anything is reported on it.
    #[must_use]
    pub fn first_state(&self) -> LedgerState {
        LedgerState::first(self.offers.iter().cloned(), self.shown_assumed)
    }
}
