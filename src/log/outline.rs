//! What learning needs of a record, read without the rest: most of a decision is
//! probabilities, which teach nothing; those of its lead are watched.

use super::{
    DecodeError, RECORD_VERSION,
    codec::missing,
    record::{LedgerRecord, LogRecord},
};
use crate::{
    engine::{
        bounds::{BandInForce, BandTotals, parity::Cohort},
        group::Group,
        instant::Instant,
        ledger::LedgerState,
    },
    proto::{
        self,
        reader::{ReadError, read_doubles, read_fields},
    },
};
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
    /// The catalog revision that decided.
    pub catalog_revision: u64,
    /// When.
    pub decided_at: Instant,
    /// Attributes as models see them, in the order of the context schema.
    pub attribute_codes: Vec<f64>,
    /// Which schema that is.
    pub schema: u64,
    /// The offers that were drawn, by slot; none where it repeats another decision, which they belong to.
    pub offers: Vec<Arc<str>>,
    /// What the lead was drawn from; nothing where it repeats another decision.
    pub lead: Lead,
    /// Whether slots count as shown before any report.
    pub shown_assumed: bool,
    /// The measurement group.
    pub group: Group,
    /// What the arms of bands came to in the lead.
    pub bands: Vec<BandTotals>,
    /// The user's cohorts.
    pub cohorts: Vec<Cohort>,
}

/// What the lead of a decision was drawn from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lead {
    /// The eligible offers.
    pub offers: Arc<[Arc<str>]>,
    /// The probability of each that acted.
    pub probabilities: Vec<f64>,
}

impl LogOutline {
    /// Reads a record of any version so far.
    ///
    /// # Errors
    /// As [`LogRecord::decode`], of what is looked at.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut known = Arc::default();
        Self::decode_next(bytes, &mut known)
    }

    /// Reads records that stand one after the other. Decisions that chose among the same offers share the list of them.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_all(records: &[impl AsRef<[u8]>]) -> Result<Vec<Self>, DecodeError> {
        let mut known = Arc::default();
        records.iter().map(|bytes| Self::decode_next(bytes.as_ref(), &mut known)).collect()
    }

    fn decode_next(bytes: &[u8], known: &mut Arc<[Arc<str>]>) -> Result<Self, DecodeError> {
        if let Ok(Some(outline)) = read_record(bytes, known) {
            return Ok(Self::Decision(outline));
        }
        // It is of another kind, or what is wrong with it is told by reading all of it.
        match LogRecord::decode(bytes)? {
            LogRecord::Ledger(entry) => Ok(Self::Ledger(entry)),
            LogRecord::Decision(_) => Err(missing("slots")),
        }
    }
}

/// A `LogRecord`; `None` where it is no decision, or of a version that is not known. `known` are the offers of the decision
/// that was read before, and then those of this one.
fn read_record(bytes: &[u8], known: &mut Arc<[Arc<str>]>) -> Result<Option<DecisionOutline>, ReadError> {
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
    decision.map_or(Ok(None), |bytes| read_decision(bytes, known))
}

/// A `DecisionRecord`; `None` where a slot has no offer.
fn read_decision(bytes: &[u8], known: &mut Arc<[Arc<str>]>) -> Result<Option<DecisionOutline>, ReadError> {
    let (mut catalog_revision, mut decided_at_ms, mut schema) = (0, 0, 0);
    let (mut shown_assumed, mut repeats) = (false, false);
    let (mut attribute_codes, mut offer_ids, mut drawn) = (Vec::new(), Vec::with_capacity(32), Vec::new());
    let (mut group, mut bands, mut cohorts) = (0, Vec::new(), Vec::new());
    let mut probabilities = Vec::new();
    read_fields(bytes, |field| {
        match field.tag {
            3 => catalog_revision = field.number()?,
            5 => decided_at_ms = field.number()?.cast_signed(),
            8 => schema = field.fixed()?,
            11 => read_doubles(field.bytes()?, &mut attribute_codes)?,
            12 => group = field.number()?,
            14 => read_fields(field.bytes()?, |column| {
                if column.tag == 1 {
                    offer_ids.push(column.text()?);
                }
                Ok(())
            })?,
            // The probabilities of a lead are those of all arms, since nothing is drawn above it.
            16 if drawn.is_empty() => drawn.push(read_drawn(field.bytes()?, Some(&mut probabilities))?),
            16 => drawn.push(read_drawn(field.bytes()?, None)?),
            23 => shown_assumed = field.truth()?,
            30 => repeats = !field.bytes()?.is_empty(),
            41 => bands.push(read_band(field.bytes()?)?),
            42 => cohorts.push(read_cohort(field.bytes()?)?),
            _ => {}
        }
        Ok(())
    })?;
    if !known.iter().map(|offer_id| &**offer_id).eq(offer_ids.iter().copied()) {
        *known = offer_ids.into_iter().map(Arc::from).collect();
    }
    let offer = |&arm: &usize| known.get(arm).cloned();
    let own = if repeats { &[] } else { &drawn[..] };
    let offers: Option<Vec<Arc<str>>> = own.iter().map(offer).collect();
    let lead = if repeats || probabilities.len() != known.len() {
        Lead::default()
    } else {
        Lead { offers: known.clone(), probabilities }
    };
    let decided_at = Instant::from_ms(decided_at_ms);
    let group = i32::try_from(group).ok().and_then(|group| proto::Group::try_from(group).ok());
    let Some(group) = group.and_then(|group| Group::try_from(group).ok()) else { return Ok(None) };
    Ok(offers.map(|offers| DecisionOutline {
        catalog_revision,
        decided_at,
        attribute_codes,
        schema,
        offers,
        lead,
        shown_assumed,
        group,
        bands,
        cohorts,
    }))
}

/// What a `BandRecord` says that its arms came to.
fn read_band(bytes: &[u8]) -> Result<BandTotals, ReadError> {
    let (mut id, mut before, mut after) = ("", 0.0, 0.0);
    let mut in_force = BandInForce::FREE;
    read_fields(bytes, |field| {
        match field.tag {
            1 => id = field.text()?,
            3 => in_force.rate = field.double()?,
            4 => in_force.delta = field.double()?,
            5 => before = field.double()?,
            6 => after = field.double()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(BandTotals { id: id.into(), before, after, in_force })
}

/// A `CohortRecord`.
fn read_cohort(bytes: &[u8]) -> Result<Cohort, ReadError> {
    let (mut attribute, mut value_key) = ("", 0);
    read_fields(bytes, |field| {
        match field.tag {
            1 => attribute = field.text()?,
            2 => value_key = field.fixed()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Cohort { attribute: attribute.into(), value_key })
}

/// Which arm a `SlotRecord` says was drawn, and from which probabilities, where these are asked for.
fn read_drawn(bytes: &[u8], mut probabilities: Option<&mut Vec<f64>>) -> Result<usize, ReadError> {
    let mut drawn = 0;
    read_fields(bytes, |field| {
        match (field.tag, &mut probabilities) {
            (4, Some(probabilities)) => read_doubles(field.bytes()?, probabilities)?,
            (5, _) => drawn = field.number()? as usize,
            _ => {}
        }
        Ok(())
    })?;
    Ok(drawn)
}

impl DecisionOutline {
    /// What the decision adds up to before anything is reported on it.
    #[must_use]
    pub fn first_state(&self) -> LedgerState {
        LedgerState::first(self.offers.iter().cloned(), self.shown_assumed)
    }
}
