//! The contexts that a batch of log records teaches in: those of its decisions, which may stand far back in the log.

use super::{Result, ServiceError, log_source::LogSource, past_catalogs::PastCatalogs};
use crate::{
    catalog::schema_number,
    engine::{
        catalog::{Placement, PosteriorKind},
        context::{Attribute, AttributeKind, AttributeValue, ContextSchema},
        group::Group,
        learn::{Change, PartitionStatistics},
        ledger::LedgerState,
    },
    log::{
        outline::{DecisionOutline, LogOutline},
        record::{DecisionRecord, LedgerRecord},
    },
    store::LogId,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

/// Records read in vain between two decisions before they are better read in two calls.
const GAP_MAX: u64 = 16;

/// What one batch of a log's records teaches one placement's model, ready to be folded.
#[derive(Debug)]
pub struct Lessons<'a> {
    placement: &'a Placement,
    /// Where the first record stands in the log.
    first: u64,
    records: &'a [LogOutline],
    /// Of the decisions that teach or that the batch's ledger changes belong to, by offset; `None`: it teaches this model
    /// nothing.
    contexts: BTreeMap<u64, Option<Vec<f64>>>,
}

/// Makes contexts of a placement's posterior from what is logged. Only what is not sealed is looked at, so that what was
/// learned can be learned again when those whom it was learned of are forgotten.
struct Reader<'a, Source: ?Sized> {
    placement: &'a Placement,
    /// The schema that the placement has.
    schema: u64,
    /// Where the schemas stand that it had.
    catalogs: PastCatalogs<'a, Source>,
}

impl<'a> Lessons<'a> {
    /// Prepares records that stand in `log` from `first` on.
    ///
    /// # Errors
    /// Where the source cannot be read, and where a record points to a decision that the log does not hold.
    pub async fn of<Source: LogSource + ?Sized>(
        source: &Source,
        placement: &'a Placement,
        (log, first): (LogId, u64),
        records: &'a [LogOutline],
    ) -> Result<Self> {
        let (schema, catalogs) = (schema_number(&placement.context), PastCatalogs::of(source));
        let mut reader = Reader { placement, schema, catalogs };
        let mut contexts = BTreeMap::new();
        let mut far = BTreeSet::new();
        for offset in (first..).zip(records).filter_map(|record| decision_needed(placement, record)) {
            let here = offset.checked_sub(first).and_then(|position| records.get(usize::try_from(position).ok()?));
            match here {
                Some(record) => drop(contexts.insert(offset, reader.context_at(log, offset, Some(record)).await?)),
                None => drop(far.insert(offset)),
            }
        }
        for run in runs(&far) {
            let mut next = run.start;
            while next < run.end {
                let bytes = source.read_log(log, next, (run.end - next) as usize).await?;
                if bytes.is_empty() {
                    contexts.insert(next, reader.context_at(log, next, None).await?);
                }
                for bytes in bytes {
                    if far.contains(&next) {
                        let record = LogOutline::decode(&bytes)?;
                        contexts.insert(next, reader.context_at(log, next, Some(&record)).await?);
                    }
                    next += 1;
                }
            }
        }
        Ok(Self { placement, first, records, contexts })
    }

    /// Folds the records in, one after the other; returns the offers whose statistics changed.
    pub fn fold(&self, statistics: &mut PartitionStatistics) -> BTreeSet<Arc<str>> {
        let records = (self.first..).zip(self.records);
        records.flat_map(|(offset, record)| self.fold_one(statistics, offset, record)).collect()
    }

    fn fold_one(&self, statistics: &mut PartitionStatistics, offset: u64, record: &LogOutline) -> Vec<Arc<str>> {
        if let LogOutline::Decision(decision) = record {
            observe_bands(statistics, decision);
        }
        let context = match decision_needed(self.placement, (offset, record)) {
            Some(offset) => self.contexts.get(&offset).and_then(Option::as_deref),
            // Only the intercept is asked for, or nothing.
            None => Some(&[1.0][..]),
        };
        let Some(context) = context else { return Vec::new() };
        match record {
            LogOutline::Decision(decision) => {
                let after = &decision.first_state();
                statistics.fold(self.placement, &Change { context, ..first_change(decision, after) })
            }
            LogOutline::Ledger(entry) => statistics.fold(self.placement, &Change { context, ..change_of(entry) }),
        }
    }
}

impl<Source: LogSource + ?Sized> Reader<'_, Source> {
    /// The context of the decision at an offset.
    async fn context_at(&mut self, log: LogId, offset: u64, record: Option<&LogOutline>) -> Result<Option<Vec<f64>>> {
        match record {
            Some(LogOutline::Decision(decision)) => self.context(decision).await,
            _ => Err(ServiceError::Inconsistent {
                reason: format!("{log:?} has no decision at offset {offset}, where one of its records points"),
            }),
        }
    }

    /// A decision's context. Under another schema the decision's own tells what its codes stand for; `None` where it
    /// lacks something that this schema requires.
    async fn context(&mut self, decision: &DecisionOutline) -> Result<Option<Vec<f64>>> {
        let schema = &self.placement.context;
        if decision.schema == self.schema && decision.attribute_codes.len() == schema.attributes.len() {
            return Ok(Some(schema.features(&decision.attribute_codes)));
        }
        let catalog = self.catalogs.at(decision.catalog_revision).await?;
        let earlier = catalog.as_ref().and_then(|catalog| catalog.placements.get(&self.placement.id));
        let logged = earlier.map(|earlier| earlier.context.values(&decision.attribute_codes));
        Ok(logged.and_then(|logged| values(schema, &logged)).map(|values| schema.encode(&values)))
    }
}

/// The offset of the decision whose context is needed to learn from a record.
fn decision_needed(placement: &Placement, (offset, record): (u64, &LogOutline)) -> Option<u64> {
    if placement.policy.posterior == PosteriorKind::Beta {
        return None;
    }
    let (teaches, offset) = match record {
        LogOutline::Decision(decision) => (first_change(decision, &decision.first_state()).teaches(placement), offset),
        LogOutline::Ledger(entry) => (change_of(entry).teaches(placement), entry.decision_offset),
    };
    teaches.then_some(offset)
}

/// Bands learn from what the policy decided, and not from repeats, which have no offers of their own.
fn observe_bands(statistics: &mut PartitionStatistics, decision: &DecisionOutline) {
    if decision.group == Group::Decisioning && !decision.offers.is_empty() {
        decision.bands.iter().for_each(|found| statistics.observe_band(found, &decision.cohorts));
    }
}

/// A decision's first state as a change, without its context.
fn first_change<'a>(decision: &DecisionOutline, after: &'a LedgerState) -> Change<'a> {
    let (decided_at, holdout) = (decision.decided_at, decision.group == Group::Holdout);
    Change { decided_at, before: None, after, context: &[], holdout }
}

/// A ledger's change without its context.
fn change_of(entry: &LedgerRecord) -> Change<'_> {
    let (decided_at, holdout) = (entry.decided_at, entry.holdout);
    Change { decided_at, before: Some(&entry.before), after: &entry.after, context: &[], holdout }
}

/// Offsets as ranges that are each read in one go.
fn runs(offsets: &BTreeSet<u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for &offset in offsets {
        match runs.last_mut() {
            Some(run) if offset - run.end <= GAP_MAX => run.end = offset + 1,
            _ => runs.push(offset..offset + 1),
        }
    }
    runs
}

/// A decision's context as the placement's posterior sees it, from its codes; `None` where they are of another schema
/// than the placement's, whose number is given.
#[must_use]
pub fn context(placement: &Placement, schema: u64, decision: &DecisionRecord) -> Option<Vec<f64>> {
    let codes = &decision.attribute_codes;
    match placement.policy.posterior {
        PosteriorKind::Beta => Some(vec![1.0]),
        PosteriorKind::Linear(_) => {
            let fits = decision.schema == schema && codes.len() == placement.context.attributes.len();
            fits.then(|| placement.context.features(codes))
        }
    }
}

/// A decision's attributes by this schema, with its defaults where they do not fit. Numbers logged under wider bounds
/// are clipped, whatever the schema does with those of requests: whether it clips is no part of a model.
pub(super) fn values(schema: &ContextSchema, logged: &[(Arc<str>, AttributeValue)]) -> Option<Vec<AttributeValue>> {
    let value = |attribute: &Attribute| {
        let logged = logged.iter().find(|(name, _)| *name == attribute.name);
        logged.and_then(|(_, value)| fitted(attribute, value.clone())).or_else(|| attribute.default.clone())
    };
    schema.attributes.iter().map(value).collect()
}

fn fitted(attribute: &Attribute, logged: AttributeValue) -> Option<AttributeValue> {
    let value = match (&attribute.kind, logged) {
        (&AttributeKind::Number { min, max, .. }, AttributeValue::Number(number)) => {
            AttributeValue::Number(number.clamp(min, max))
        }
        (_, other) => other,
    };
    Some(attribute.check(value).ok()?.0)
}
