//! What learning needs of a record, read without the rest: most of a decision is probabilities, which teach nothing.

use super::{
    DecodeError, RECORD_VERSION,
    codec::missing,
    record::{LedgerRecord, LogRecord},
};
use crate::{
    engine::{context::AttributeValue, instant::Instant, ledger::LedgerState},
    proto::reader::{Field, ReadError, read_fields},
};
use std::sync::Arc;

/// One record of the log, in outline.
#[derive(Clone, Debug, PartialEq)]
pub enum LogOutline<'a> {
    /// A Rank was answered.
    Decision(DecisionOutline<'a>),
    /// Something was reported on a decision, or its windows closed.
    Ledger(Box<LedgerRecord>),
}

/// A decision without how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionOutline<'a> {
    /// When.
    pub decided_at: Instant,
    /// Attributes as validated, by name, in the order of the context schema.
    pub attributes: Vec<(&'a str, AttributeValue)>,
    /// The offers that were drawn, by slot; none where it repeats another decision, which they belong to.
    pub offers: Vec<Arc<str>>,
    /// Whether slots count as shown before any report.
    pub shown_assumed: bool,
}

impl<'a> LogOutline<'a> {
    /// Reads a record of any version so far.
    ///
    /// # Errors
    /// As [`LogRecord::decode`], of what is looked at.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if let Ok(Some(outline)) = read_record(bytes) {
            return Ok(Self::Decision(outline));
        }
        // It is of another kind, or what is wrong with it is told by reading all of it.
        match LogRecord::decode(bytes)? {
            LogRecord::Ledger(entry) => Ok(Self::Ledger(entry)),
            LogRecord::Decision(_) => Err(missing("attributes")),
        }
    }
}

/// A `LogRecord`; `None` where it is no decision, or of a version that is not known.
fn read_record(bytes: &[u8]) -> Result<Option<DecisionOutline<'_>>, ReadError> {
    let (mut version, mut decision) = (0, None);
    read_fields(bytes, |field| {
        match field.tag {
            1 => version = field.number()?,
            2 => decision = Some(field.bytes()?),
            _ => {}
        }
        Ok(())
    })?;
    let decision = decision.filter(|_| (1..=u64::from(RECORD_VERSION)).contains(&version));
    decision.map_or(Ok(None), read_decision)
}

/// A `DecisionRecord`; `None` where a slot has no offer.
fn read_decision(bytes: &[u8]) -> Result<Option<DecisionOutline<'_>>, ReadError> {
    let (mut decided_at_ms, mut shown_assumed, mut repeats) = (0, false, false);
    let (mut attributes, mut offer_ids, mut drawn) = (Vec::with_capacity(32), Vec::with_capacity(32), Vec::new());
    read_fields(bytes, |field| {
        match field.tag {
            5 => decided_at_ms = field.number()?.cast_signed(),
            11 => attributes.push(read_attribute(field.bytes()?)?),
            14 => read_fields(field.bytes()?, |column| {
                if column.tag == 1 {
                    offer_ids.push(column.text()?);
                }
                Ok(())
            })?,
            16 => drawn.push(read_drawn(field.bytes()?)?),
            23 => shown_assumed = field.truth()?,
            30 => repeats = !field.bytes()?.is_empty(),
            _ => {}
        }
        Ok(())
    })?;
    let offer = |&arm: &usize| offer_ids.get(arm).map(|&offer_id| offer_id.into());
    let own = if repeats { &[] } else { &drawn[..] };
    let offers: Option<Vec<Arc<str>>> = own.iter().map(offer).collect();
    let decided_at = Instant::from_ms(decided_at_ms);
    Ok(offers.map(|offers| DecisionOutline { decided_at, attributes, offers, shown_assumed }))
}

/// An `AttributeRecord`.
fn read_attribute(bytes: &[u8]) -> Result<(&str, AttributeValue), ReadError> {
    let (mut name, mut value) = ("", None);
    read_fields(bytes, |field: Field<'_>| {
        match field.tag {
            1 => value = Some(AttributeValue::Number(field.double()?)),
            2 => value = Some(AttributeValue::Category(field.text()?.into())),
            3 => value = Some(AttributeValue::Boolean(field.truth()?)),
            4 => name = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    value.map(|value| (name, value)).ok_or(ReadError::Malformed)
}

/// Which arm a `SlotRecord` says was drawn.
fn read_drawn(bytes: &[u8]) -> Result<usize, ReadError> {
    let mut drawn = 0;
    read_fields(bytes, |field| {
        if field.tag == 5 {
            drawn = field.number()? as usize;
        }
        Ok(())
    })?;
    Ok(drawn)
}

impl DecisionOutline<'_> {
    /// What the decision adds up to before anything is reported on it.
    #[must_use]
    pub fn first_state(&self) -> LedgerState {
        LedgerState::first(self.offers.iter().cloned(), self.shown_assumed)
    }
}
