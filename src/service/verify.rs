//! Verifying logs: every decision is made again and compared with what was logged, bit for bit.
//!
//! First from its record, which holds the scores; then from the log itself: what was learned up to the decision's
//! posterior version is folded again, and what was asked is scored by that. The second finds what the first cannot: scores
//! that were not those of the log. Both decide by the engine that serves.

use super::{
    Result, ServiceError,
    log_source::{LogSource, record_at},
    past_catalogs::PastCatalogs,
    served::Served,
};
use crate::{
    engine::{
        catalog::{Catalog, Placement},
        decide::{Decision, ENGINE_VERSION},
        snapshot::PosteriorVersion,
    },
    log::record::{DecisionRecord, LogRecord},
    replay::{
        differences::{Difference, between},
        redecide::{Curves, Logged, by_record, by_snapshot},
    },
    store::LogId,
};
use std::{collections::BTreeMap, sync::Arc};

/// Mismatches that are listed; all are counted.
const LISTED_MAX: usize = 1000;

/// Decisions that are read again at a time.
const TOGETHER: usize = 500;

/// Records between two decisions that are read along rather than asked past.
const NEAR: u64 = 20;

/// What a verification found.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct VerifyReport {
    /// Whether decisions could be made again, and none came out otherwise than it was logged.
    pub equal: bool,
    /// Decisions in the logs.
    pub decisions: u64,
    /// Those that were made again from their record.
    pub from_record: u64,
    /// Those that were made again from the log itself as well.
    pub from_log: u64,
    /// Those made again that stand for another decision, because its lease stood.
    pub repeats: u64,
    /// Those made again of which it cannot be told any more whom they were made for: only their draws were.
    pub erased: u64,
    /// Those that were not made again from their record, by reason.
    pub not_from_record: BTreeMap<String, u64>,
    /// Those that were made again from their record alone, by reason.
    pub not_from_log: BTreeMap<&'static str, u64>,
    /// Fields that came out otherwise.
    pub mismatches: u64,
    /// The first of them.
    pub listed: Vec<Mismatch>,
}

/// A field of a decision that came out otherwise than it was logged.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Mismatch {
    /// The decision.
    pub decision_id: String,
    /// What it was made again from: `record` or `log`.
    pub made_from: &'static str,
    /// What differs.
    #[serde(flatten)]
    pub difference: Difference,
}

/// What decisions were scored by: model, sum of offsets, offsets, catalog revision. In this order folding goes forward.
type Version = (Arc<str>, u64, Vec<u64>, u64);

/// A verification under way.
struct Verification<'a, Source: ?Sized> {
    source: &'a Source,
    catalogs: PastCatalogs<'a, Source>,
    curves: Curves,
    report: VerifyReport,
}

/// Verifies every log of a source; `progress` is told of records read, and of decisions when they are made again from the
/// log.
///
/// # Errors
/// Where the source cannot be read, or holds what does not decode.
pub async fn verify<Source: LogSource + ?Sized>(
    source: &Source,
    mut progress: impl FnMut(u64),
) -> Result<VerifyReport> {
    let catalogs = PastCatalogs::of(source);
    let mut verification =
        Verification { source, catalogs, curves: Curves::default(), report: VerifyReport::default() };
    let mut placements: BTreeMap<u16, Vec<(LogId, u64)>> = BTreeMap::new();
    for (log, end) in source.log_ends().await? {
        placements.entry(log.placement).or_default().push((log, end));
    }
    for logs in placements.values() {
        let mut versions = BTreeMap::new();
        for &(log, end) in logs {
            verification.make_from_records((log, end), &mut versions, &mut progress).await?;
        }
        verification.make_from_logs(logs, versions, &mut progress).await?;
    }
    let mut report = verification.report;
    report.equal = report.mismatches == 0 && (report.from_record > 0 || report.decisions == 0);
    Ok(report)
}

impl<Source: LogSource + ?Sized> Verification<'_, Source> {
    /// Makes the decisions of a log again from their records, and notes what each was scored by.
    async fn make_from_records(
        &mut self,
        (log, end): (LogId, u64),
        versions: &mut BTreeMap<Version, Vec<(LogId, u64)>>,
        progress: &mut impl FnMut(u64),
    ) -> Result<()> {
        let mut offset = 0;
        while offset < end {
            let records = self.source.read_before(log, offset, end).await?;
            let mut decisions = Vec::new();
            for (offset, bytes) in (offset..).zip(&records) {
                if let LogRecord::Decision(record) = record_at(log, offset, bytes)? {
                    decisions.push((offset, record));
                }
            }
            self.source.open(log, &mut decisions).await?;
            self.report.decisions += decisions.len() as u64;
            for (offset, record) in decisions {
                if self.make_from_record(&record).await? {
                    versions.entry(version_of(&record)).or_default().push((log, offset));
                }
            }
            offset += records.len() as u64;
            progress(records.len() as u64);
        }
        Ok(())
    }

    /// Makes a decision again from its record; `false` where that cannot be done.
    async fn make_from_record(&mut self, record: &DecisionRecord) -> Result<bool> {
        let mut leave_out = |reason: String| *self.report.not_from_record.entry(reason).or_default() += 1;
        if record.engine_version != ENGINE_VERSION {
            leave_out(format!("made by engine version {}, and this is {ENGINE_VERSION}", record.engine_version));
            return Ok(false);
        }
        let Some((catalog, placement)) = made_from(&mut self.catalogs, record).await? else {
            leave_out(format!("catalog revision {} is missing, or refused by this release", record.catalog_revision));
            return Ok(false);
        };
        let logged = Logged { record, catalog: &catalog, placement: &placement };
        let again = by_record(logged, &mut self.curves);
        self.report.from_record += 1;
        self.report.repeats += u64::from(record.decision.root.is_some());
        self.report.erased += u64::from(record.identity.is_none());
        self.compare(record, "record", &again);
        Ok(true)
    }

    /// Makes decisions again by what was learned before them.
    async fn make_from_logs(
        &mut self,
        logs: &[(LogId, u64)],
        versions: BTreeMap<Version, Vec<(LogId, u64)>>,
        progress: &mut impl FnMut(u64),
    ) -> Result<()> {
        let mut served = Served::of(self.source, logs);
        for places in versions.into_values() {
            let first = self.decisions_at(&places[..1]).await?;
            let Some((catalog, placement)) = made_from(&mut self.catalogs, &first[0]).await? else {
                return Err(missing(places[0].0, places[0].1));
            };
            match served.at((&catalog, &placement), &first[0]).await? {
                Ok(snapshot) => {
                    for together in places.chunks(TOGETHER) {
                        for record in self.decisions_at(together).await? {
                            self.report.from_log += 1;
                            let again = by_snapshot(&record, snapshot);
                            self.compare(&record, "log", &again);
                        }
                    }
                }
                Err(reason) => *self.report.not_from_log.entry(reason).or_default() += places.len() as u64,
            }
            progress(places.len() as u64);
        }
        Ok(())
    }

    /// The decisions at these places, which are in order. Those of one log that are near each other are read together.
    async fn decisions_at(&self, places: &[(LogId, u64)]) -> Result<Vec<Arc<DecisionRecord>>> {
        let mut found = Vec::with_capacity(places.len());
        for near in places.chunk_by(|(log, offset), (next, after)| log == next && after - offset <= NEAR) {
            let (log, first) = near[0];
            let end = near[near.len() - 1].1 + 1;
            let mut records = Vec::new();
            while first + (records.len() as u64) < end {
                records.extend(self.source.read_before(log, first + records.len() as u64, end).await?);
            }
            let mut decisions = Vec::with_capacity(near.len());
            for &(log, offset) in near {
                match record_at(log, offset, &records[(offset - first) as usize])? {
                    LogRecord::Decision(record) => decisions.push((offset, record)),
                    LogRecord::Ledger(_) => return Err(missing(log, offset)),
                }
            }
            self.source.open(log, &mut decisions).await?;
            found.extend(decisions.into_iter().map(|(_, record)| record));
        }
        Ok(found)
    }

    fn compare(&mut self, record: &DecisionRecord, made_from: &'static str, again: &Decision) {
        for difference in between(&record.decision, again) {
            self.report.mismatches += 1;
            if self.report.listed.len() < LISTED_MAX {
                self.report.listed.push(Mismatch { decision_id: record.id.to_string(), made_from, difference });
            }
        }
    }
}

/// The catalog that a decision was made from, and its placement there.
async fn made_from<Source: LogSource + ?Sized>(
    catalogs: &mut PastCatalogs<'_, Source>,
    record: &DecisionRecord,
) -> Result<Option<(Arc<Catalog>, Arc<Placement>)>> {
    let catalog = catalogs.at(record.catalog_revision).await?;
    Ok(catalog.and_then(|catalog| {
        let placement = catalog.placements.get(&record.placement)?.clone();
        Some((catalog, placement))
    }))
}

fn version_of(record: &DecisionRecord) -> Version {
    let PosteriorVersion { model_id, offsets } = &record.version;
    (model_id.clone(), offsets.iter().sum(), offsets.clone(), record.catalog_revision)
}

fn missing(log: LogId, offset: u64) -> ServiceError {
    ServiceError::Inconsistent { reason: format!("{log:?} has no decision at offset {offset}, where it had one") }
}
