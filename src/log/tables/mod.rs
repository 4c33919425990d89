//! The log as tables of plain columns, for people and tools that know nothing of this program (docs/log-format.md).
//!
//! A row is made of one record and holds it twice: as it is encoded, which is what programs of ours read back, and as
//! columns for everybody else. Columns alone would have to name everything that a record can hold, for ever, and to be
//! put together again to the last bit; so they need not be complete, and a record of any version is its own backup.

mod decisions;
mod ledgers;
mod schema;

use super::record::{Cause, LogRecord};
use crate::engine::{instant::Instant, ledger::Windows};
use arrow_schema::SchemaRef;
pub use decisions::DecisionRow;
use ledgers::{ClosingColumns, ExposureColumns, LedgerRow, OutcomeColumns};
use serde::{Serialize, Serializer};

/// The tables, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Windows that closed.
    Closings,
    /// Answered Ranks.
    Decisions,
    /// Slots reported as shown.
    Exposures,
    /// Outcomes.
    Outcomes,
}

/// Bytes as hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

/// A record and where it stands in its log.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// How many records stand before it.
    pub offset: u64,
    /// As it is encoded.
    pub bytes: &'a [u8],
    /// As it decodes.
    pub record: &'a LogRecord,
    /// Of a decision, when its windows end; `None` where its catalog is not known.
    pub windows: Option<Windows>,
}

/// One row of the table of its record.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Row<'a> {
    /// Of the decisions.
    Decision(Box<DecisionRow<'a>>),
    /// Of the outcomes.
    Outcome(Box<LedgerRow<'a, OutcomeColumns<'a>>>),
    /// Of the exposures.
    Exposure(Box<LedgerRow<'a, ExposureColumns>>),
    /// Of the closings.
    Closing(Box<LedgerRow<'a, ClosingColumns>>),
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Closings, Self::Decisions, Self::Exposures, Self::Outcomes];

    /// What its folder is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closings => "closings",
            Self::Decisions => "decisions",
            Self::Exposures => "exposures",
            Self::Outcomes => "outcomes",
        }
    }

    /// The table that a record is a row of.
    #[must_use]
    pub fn of(record: &LogRecord) -> Self {
        match record {
            LogRecord::Decision(_) => Self::Decisions,
            LogRecord::Ledger(entry) => match entry.cause {
                Cause::Outcome(..) => Self::Outcomes,
                Cause::Exposure(_) => Self::Exposures,
                Cause::Closed => Self::Closings,
            },
        }
    }

    /// Its columns.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        match self {
            Self::Closings => schema::closings(),
            Self::Decisions => schema::decisions(),
            Self::Exposures => schema::exposures(),
            Self::Outcomes => schema::outcomes(),
        }
    }
}

impl<'a> Row<'a> {
    /// The row of a record.
    #[must_use]
    pub fn of(entry: &Entry<'a>) -> Self {
        match entry.record {
            LogRecord::Decision(decision) => Self::Decision(Box::new(DecisionRow::of(entry, decision))),
            LogRecord::Ledger(change) => match &change.cause {
                Cause::Outcome(id, outcome) => {
                    let offer_id = outcome.slot.and_then(|slot| change.after.slots.get(slot as usize - 1));
                    let columns = OutcomeColumns::of(id, outcome, offer_id.map(|slot| &*slot.offer_id));
                    Self::Outcome(Box::new(LedgerRow::of(entry, change, columns)))
                }
                Cause::Exposure(slots) => {
                    let columns = ExposureColumns { exposed_slots: slots.iter().copied().collect() };
                    Self::Exposure(Box::new(LedgerRow::of(entry, change, columns)))
                }
                Cause::Closed => Self::Closing(Box::new(LedgerRow::of(entry, change, ClosingColumns {}))),
            },
        }
    }
}

/// The day that a record's row stands under, in days since 1970-01-01: that of the decision, or of the arrival of what
/// was reported.
#[must_use]
pub fn day_of(record: &LogRecord) -> i64 {
    const MS_PER_DAY: i64 = 24 * 60 * 60 * 1000;
    let at: Instant = match record {
        LogRecord::Decision(decision) => decision.decided_at,
        LogRecord::Ledger(change) => change.arrived_at,
    };
    at.as_ms().div_euclid(MS_PER_DAY)
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&data_encoding::HEXLOWER.encode(self.0))
    }
}
