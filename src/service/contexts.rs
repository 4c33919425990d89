//! The contexts that a batch of log records teaches in: those of its decisions, which may stand far back in the log.

use super::{Result, ServiceError};
use crate::{
    engine::{
        catalog::{Placement, PosteriorKind},
        context::{Attribute, AttributeKind, AttributeValue, ContextSchema},
        learn::{Change, PartitionStatistics},
    },
    log::outline::LogOutline,
    store::{LogId, Store},
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
    records: &'a [LogOutline<'a>],
    /// Of the decisions that the batch's ledger changes belong to, by offset; `None`: it teaches this model nothing.
    contexts: BTreeMap<u64, Option<Vec<f64>>>,
}

impl<'a> Lessons<'a> {
    /// Prepares records that stand in `log` from `first` on.
    ///
    /// # Errors
    /// Where the store is away, and where a record points to a decision that the log does not hold.
    pub async fn of(
        store: &dyn Store,
        placement: &'a Placement,
        (log, first): (LogId, u64),
        records: &'a [LogOutline<'a>],
    ) -> Result<Self> {
        let mut contexts = BTreeMap::new();
        let mut far = BTreeSet::new();
        for offset in records.iter().filter_map(|record| decision_needed(placement, record)) {
            let here = offset.checked_sub(first).and_then(|position| records.get(usize::try_from(position).ok()?));
            match here {
                Some(record) => drop(contexts.insert(offset, context_at(placement, log, offset, Some(record))?)),
                None => drop(far.insert(offset)),
            }
        }
        for run in runs(&far) {
            let mut next = run.start;
            while next < run.end {
                let bytes = store.read_log(log, next, (run.end - next) as usize).await?;
                if bytes.is_empty() {
                    contexts.insert(next, context_at(placement, log, next, None)?);
                }
                for bytes in bytes {
                    if far.contains(&next) {
                        let record = LogOutline::decode(&bytes)?;
                        contexts.insert(next, context_at(placement, log, next, Some(&record))?);
                    }
                    next += 1;
                }
            }
        }
        Ok(Self { placement, records, contexts })
    }

    /// Folds the records in, one after the other; returns the offers whose statistics changed.
    pub fn fold(&self, statistics: &mut PartitionStatistics) -> BTreeSet<Arc<str>> {
        self.records.iter().flat_map(|record| self.fold_one(statistics, record)).collect()
    }

    fn fold_one(&self, statistics: &mut PartitionStatistics, record: &LogOutline<'_>) -> Vec<Arc<str>> {
        match record {
            LogOutline::Decision(decision) => {
                let after = decision.first_state();
                let change = Change { decided_at: decision.decided_at, before: None, after: &after, context: &[] };
                // What teaches nothing needs no context, but is still a decision that was seen.
                let teaches = change.teaches(self.placement);
                let context = if teaches { context(self.placement, &decision.attributes) } else { Some(Vec::new()) };
                fold_change(self.placement, statistics, change, context.as_deref())
            }
            LogOutline::Ledger(entry) => {
                let (decided_at, before) = (entry.decided_at, Some(&entry.before));
                let change = Change { decided_at, before, after: &entry.after, context: &[] };
                let context = match decision_needed(self.placement, record) {
                    Some(offset) => self.contexts.get(&offset).cloned().flatten(),
                    // Only the intercept is asked for, or nothing.
                    None => Some(vec![1.0]),
                };
                fold_change(self.placement, statistics, change, context.as_deref())
            }
        }
    }
}

fn fold_change(
    placement: &Placement,
    statistics: &mut PartitionStatistics,
    change: Change<'_>,
    context: Option<&[f64]>,
) -> Vec<Arc<str>> {
    context.map_or_else(Vec::new, |context| statistics.fold(placement, &Change { context, ..change }))
}

/// The offset of the decision whose context is needed to learn from a record, where that is another record.
fn decision_needed(placement: &Placement, record: &LogOutline<'_>) -> Option<u64> {
    let LogOutline::Ledger(entry) = record else { return None };
    let change =
        Change { decided_at: entry.decided_at, before: Some(&entry.before), after: &entry.after, context: &[] };
    let contextual = placement.policy.posterior != PosteriorKind::Beta;
    (contextual && change.teaches(placement)).then_some(entry.decision_offset)
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

fn context_at(
    placement: &Placement,
    log: LogId,
    offset: u64,
    record: Option<&LogOutline<'_>>,
) -> Result<Option<Vec<f64>>> {
    match record {
        Some(LogOutline::Decision(decision)) => Ok(context(placement, &decision.attributes)),
        _ => Err(ServiceError::Inconsistent {
            reason: format!("{log:?} has no decision at offset {offset}, where one of its records points"),
        }),
    }
}

/// A decision's context as the placement's posterior sees it. `None` where the decision was made under another
/// context schema and lacks something that this one requires: it teaches this model nothing.
#[must_use]
pub fn context<Name: AsRef<str>>(placement: &Placement, logged: &[(Name, AttributeValue)]) -> Option<Vec<f64>> {
    match placement.policy.posterior {
        PosteriorKind::Beta => Some(vec![1.0]),
        PosteriorKind::Linear(_) => Some(placement.context.encode(&values(&placement.context, logged)?)),
    }
}

/// A decision's attributes by this schema, with its defaults where they do not fit. Numbers logged under wider bounds
/// are clipped, whatever the schema does with those of requests: whether it clips is no part of a model.
#[must_use]
pub fn values<Name: AsRef<str>>(
    schema: &ContextSchema,
    logged: &[(Name, AttributeValue)],
) -> Option<Vec<AttributeValue>> {
    let value = |(place, attribute): (usize, &Attribute)| {
        let is_named = |(name, _): &&(Name, AttributeValue)| *name.as_ref() == *attribute.name;
        // They stand in the order of the schema that they were logged under, which is mostly this one.
        let logged = logged.get(place).filter(is_named).or_else(|| logged.iter().find(is_named));
        logged.and_then(|(_, value)| fitted(attribute, value.clone())).or_else(|| attribute.default.clone())
    };
    schema.attributes.iter().enumerate().map(value).collect()
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
