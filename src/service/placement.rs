//! What a placement has learned, for people.

use super::{Result, Service, ServiceError, contexts::context, serving::ServedPlacement, validate};
use crate::{
    engine::{
        catalog::{Objective, PosteriorKind},
        learn::PartitionStatistics,
        standing::{ArmStanding, Moment, standing},
    },
    log::record::{DecisionRecord, LogRecord},
};
use std::{collections::BTreeMap, sync::Arc};

/// Logged contexts that contextual figures are averaged over, at most.
const CONTEXTS_MAX: usize = 100;
/// Records at the end of each partition's log that are looked through for contexts.
const RECORDS_READ: u64 = 400;

/// What a placement has learned.
#[derive(Clone, Debug)]
pub struct PlacementReport {
    /// As served.
    pub served: Arc<ServedPlacement>,
    /// How far each partition's log reaches.
    pub log_ends: Vec<u64>,
    /// How its arms stand.
    pub standings: Arc<Standings>,
    /// Whether what is served is older than the limit.
    pub stale: bool,
    /// Milliseconds since what is served was known to be current.
    pub snapshot_age_ms: u64,
}

/// How the arms of a placement stand by one snapshot.
#[derive(Clone, Debug)]
pub struct Standings {
    /// By offer id.
    pub arms: Vec<ArmReport>,
    /// How many logged contexts were averaged over; 0: none.
    pub contexts: usize,
}

/// What is known of one arm.
#[derive(Clone, Debug)]
pub struct ArmReport {
    /// Its offer.
    pub offer_id: Arc<str>,
    /// Slots learned from that showed it.
    pub shown: u64,
    /// Outcome totals of those slots by metric.
    pub totals: BTreeMap<String, f64>,
    /// How it stands.
    pub standing: ArmStanding,
}

impl Service {
    /// What a placement has learned.
    ///
    /// # Errors
    /// Where there is no such placement, and where the store is away.
    pub async fn placement(&self, placement: &str) -> Result<PlacementReport> {
        if let Some(violation) = validate::placement_id(placement) {
            return Err(ServiceError::Invalid { violations: vec![violation] });
        }
        let served = self.serving().placement(placement)?.clone();
        let ends: BTreeMap<_, _> = self.store.log_ends().await?.into_iter().collect();
        let partitions = served.snapshot.version.offsets.len() as u16;
        let log_ends: Vec<u64> =
            (0..partitions).map(|index| ends.get(&served.log(index)).copied().unwrap_or(0)).collect();
        // Once for each snapshot, however many ask: it takes as long as hundreds of decisions.
        let standings = served.standings.get_or_try_init(|| self.standings(&served, &log_ends)).await?.clone();
        let now = self.clock.now();
        Ok(PlacementReport {
            standings,
            log_ends,
            stale: self.is_stale(now) || self.serving().failing.contains(placement),
            snapshot_age_ms: self.snapshot_age_ms(now),
            served,
        })
    }

    async fn standings(&self, served: &Arc<ServedPlacement>, log_ends: &[u64]) -> Result<Arc<Standings>> {
        let mut records = Vec::new();
        for (partition, end) in (0..).zip(log_ends) {
            let from = end.saturating_sub(RECORDS_READ);
            records.extend(self.store.read_log(served.log(partition), from, RECORDS_READ as usize).await?);
        }
        let served = served.clone();
        // Not on the threads that answer Rank.
        let reporting = tokio::task::spawn_blocking(move || Arc::new(Standings::of(&served, &records)));
        reporting.await.map_err(|error| ServiceError::Inconsistent { reason: format!("the report failed: {error}") })
    }
}

impl Standings {
    /// How the arms stand in the contexts of the latest decisions among some records of the placement's logs.
    fn of(served: &ServedPlacement, records: &[Arc<[u8]>]) -> Self {
        let mut moments = recent_moments(served, records);
        let policy = &served.snapshot.placement.policy;
        // Context-free posteriors depend on the moment only through prices, where value decides.
        let contextual = policy.posterior != PosteriorKind::Beta || policy.objective == Objective::Value;
        let contexts = if contextual { moments.len() } else { 0 };
        if moments.is_empty() {
            moments.push(default_moment(served));
        }
        let standings = standing(&served.snapshot, &moments);
        let arms = served.snapshot.placement.arms.iter().zip(standings);
        Self {
            arms: arms.map(|(arm, standing)| arm_report(&served.statistics, &arm.offer.id, standing)).collect(),
            contexts,
        }
    }
}

fn recent_moments(served: &ServedPlacement, records: &[Arc<[u8]>]) -> Vec<Moment> {
    let mut decisions: Vec<Arc<DecisionRecord>> = Vec::new();
    for bytes in records {
        // What does not decode is the learner's to report; it is no context to look at.
        if let Ok(LogRecord::Decision(decision)) = LogRecord::decode(bytes) {
            decisions.push(decision);
        }
    }
    decisions.sort_by_key(|decision| (decision.decided_at, decision.id));
    let moment = |decision: &Arc<DecisionRecord>| {
        let context = context(&served.snapshot.placement, served.schema, decision)?;
        Some(Moment { context, market: decision.market.clone() })
    };
    decisions.iter().rev().filter_map(moment).take(CONTEXTS_MAX).collect()
}

/// Where nothing is logged yet: that of nobody in particular.
fn default_moment(served: &ServedPlacement) -> Moment {
    let context = &served.snapshot.placement.context;
    Moment { context: context.encode(&context.neutral()), market: served.snapshot.catalog.default_market.clone() }
}

fn arm_report(statistics: &[PartitionStatistics], offer_id: &Arc<str>, standing: ArmStanding) -> ArmReport {
    let mut shown = 0;
    let mut totals = BTreeMap::new();
    for arm in statistics.iter().filter_map(|partition| partition.arms.get(offer_id)) {
        shown += arm.shown;
        for (metric, total) in &arm.totals {
            *totals.entry(metric.clone()).or_insert(0.0) += total.to_f64();
        }
    }
    ArmReport { offer_id: offer_id.clone(), shown, totals, standing }
}
