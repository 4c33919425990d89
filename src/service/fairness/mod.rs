//! What bounds, bands and groups came to at a placement, as its log tells.
//!
//! A fold: what is kept grows with offers, cohorts and bounds, with units up to a number, and with leads that have a price
//! and a cohort, of one partition at a time, whose payments may follow.

mod bounds;
mod fold;
pub mod report;

use super::{
    Result, Service, ServiceError, Violation,
    assembly::number_of,
    catalog::decode,
    log_source::{LogSource, record_at},
    past_catalogs::PastCatalogs,
    pseudonym::Pseudonyms,
    validate,
};
use crate::{
    engine::{
        bounds::parity::Cohort,
        catalog::{Catalog, Placement},
        instant::Instant,
        offer::Period,
    },
    log::record::{DecisionRecord, LogRecord},
    store::{LogId, Store},
};
use fold::Fold;
use report::{CohortName, FairnessReport};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A log that is read, and what it is read with.
struct Reading<'a, Source: ?Sized> {
    source: &'a Source,
    placement: &'a str,
    /// When decisions must have been made to count.
    period: Period,
    pseudonyms: &'a Pseudonyms,
    catalogs: PastCatalogs<'a, Source>,
    /// Revisions whose values are among the names.
    named: BTreeSet<u64>,
    /// Names of cohorts by what logs call them.
    names: BTreeMap<Cohort, CohortName>,
    fold: Fold,
}

impl Service {
    /// Folds what the log of a placement holds now, of decisions of a period.
    ///
    /// # Errors
    /// Where there is no such placement, where the period ends before it begins, and where the store is away.
    pub async fn fairness(&self, placement: &str, period: Period) -> Result<FairnessReport> {
        check((placement, period))?;
        let served = self.serving().placement(placement)?.clone();
        let snapshot = &served.snapshot;
        fold(&*self.store, (&snapshot.catalog, &snapshot.placement, served.number), period, |_| {}).await
    }
}

/// The same of a store that nobody need serve; `progress` is told of records read.
///
/// # Errors
/// As of [`Service::fairness`], and where there is no catalog, or this release does not accept it.
pub async fn fairness(
    store: &dyn Store,
    placement: &str,
    period: Period,
    progress: impl FnMut(u64),
) -> Result<FairnessReport> {
    check((placement, period))?;
    let newest = Store::catalog(store, None).await?.ok_or(ServiceError::NoCatalog)?;
    let catalog = decode(&newest)?.1;
    let numbered = number_of(&newest, placement).zip(catalog.placements.get(placement));
    let (number, declared) = numbered.ok_or_else(|| ServiceError::PlacementNotFound {
        placement: placement.to_owned(),
        known: catalog.placements.keys().map(|id| &**id).collect::<Vec<_>>().join(", "),
    })?;
    fold(store, (&catalog, declared, number), period, progress).await
}

async fn fold(
    store: &dyn Store,
    (catalog, placement, number): (&Catalog, &Placement, u16),
    period: Period,
    mut progress: impl FnMut(u64),
) -> Result<FairnessReport> {
    let favourable = placement.reward.terms.iter().filter(|term| term.weight > 0.0);
    let favourable = favourable.map(|term| term.metric.clone()).collect();
    let mut reading = Reading {
        source: store,
        placement: &placement.id,
        period,
        pseudonyms: &Pseudonyms::new(&store.identity().hash_key),
        catalogs: PastCatalogs::of(store),
        named: BTreeSet::new(),
        names: BTreeMap::new(),
        fold: Fold::new(FairnessReport::new(catalog.reward_currency), favourable),
    };
    for (log, end) in Store::log_ends(store).await?.into_iter().filter(|(log, _)| log.placement == number) {
        reading.log((log, end), &mut progress).await?;
    }
    Ok(reading.fold.finish())
}

fn check((placement, period): (&str, Period)) -> Result<()> {
    let violations: Vec<Violation> = validate::placement_id(placement).into_iter().chain(backwards(period)).collect();
    if violations.is_empty() { Ok(()) } else { Err(ServiceError::Invalid { violations }) }
}

fn backwards(Period { starts_at, ends_at }: Period) -> Option<Violation> {
    let (since, until) = (starts_at?, ends_at?);
    let description = || format!("is {until}, must be after since, {since}");
    (until <= since).then(|| Violation::new("until", description()))
}

impl<Source: LogSource + ?Sized> Reading<'_, Source> {
    async fn log(&mut self, (log, end): (LogId, u64), progress: &mut impl FnMut(u64)) -> Result<()> {
        self.fold.begin_log();
        let mut offset = 0;
        while offset < end {
            let records = self.source.read_before(log, offset, end).await?;
            let first = offset;
            offset += records.len() as u64;
            self.batch(log, first, &records).await?;
            progress(records.len() as u64);
            // A long log leaves room for others between its batches.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn batch(&mut self, log: LogId, first: u64, records: &[Arc<[u8]>]) -> Result<()> {
        let (mut decisions, mut ledgers) = (Vec::new(), Vec::new());
        for (offset, bytes) in (first..).zip(records) {
            match record_at(log, offset, bytes)? {
                LogRecord::Decision(record) if self.counts(record.decided_at) => decisions.push((offset, record)),
                LogRecord::Ledger(entry) if self.counts(entry.decided_at) => ledgers.push(entry),
                LogRecord::Decision(_) | LogRecord::Ledger(_) => {}
            }
        }
        self.open(log, &mut decisions).await?;
        for (offset, record) in &decisions {
            let catalog = self.catalog(record.catalog_revision).await?;
            let placement = catalog.as_deref().and_then(|catalog| self.placement(catalog));
            self.fold.decision((*offset, record), placement, &self.names);
        }
        // No outcome stands before its decision, and none changes what decisions come to.
        ledgers.iter().for_each(|entry| self.fold.ledger(entry));
        Ok(())
    }

    fn counts(&self, decided_at: Instant) -> bool {
        self.period.starts_at.is_none_or(|since| since <= decided_at)
            && self.period.ends_at.is_none_or(|until| decided_at < until)
    }

    /// Opens whom decisions were made for, where units are divided among groups: nobody else is counted.
    async fn open(&mut self, log: LogId, decisions: &mut [(u64, Arc<DecisionRecord>)]) -> Result<()> {
        let mut revisions: Vec<u64> = decisions.iter().map(|(_, record)| record.catalog_revision).collect();
        revisions.dedup();
        for revision in revisions {
            let catalog = self.catalog(revision).await?;
            let placement = catalog.as_deref().and_then(|catalog| self.placement(catalog));
            if placement.is_some_and(|placement| placement.groups.divide()) {
                return self.source.open(log, decisions).await;
            }
        }
        Ok(())
    }

    /// A catalog, whose protected values have names from now on.
    async fn catalog(&mut self, revision: u64) -> Result<Option<Arc<Catalog>>> {
        let catalog = self.catalogs.at(revision).await?;
        if self.named.insert(revision) {
            let placement = catalog.as_deref().and_then(|catalog| self.placement(catalog));
            for attribute in placement.iter().flat_map(|placement| &placement.protected) {
                for value in &attribute.values {
                    let value_key = self.pseudonyms.cohort(self.placement, &attribute.name, value);
                    let cohort = Cohort { attribute: attribute.name.clone(), value_key };
                    self.names.insert(cohort, (attribute.name.clone(), value.clone()));
                }
            }
        }
        Ok(catalog)
    }

    fn placement<'c>(&self, catalog: &'c Catalog) -> Option<&'c Placement> {
        catalog.placements.get(self.placement).map(|placement| &**placement)
    }
}
