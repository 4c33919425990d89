//! What the use cases measure: decisions and reports as they happen, the state of learning every few seconds.

use super::{
    Service,
    feedback::{FeedbackCode, FeedbackResult, Report, Subject},
    leads::LeadMeters,
    serving::Serving,
};
use crate::{
    engine::{bounds::BandInForce, catalog::Placement, eligibility::ExclusionReason, snapshot::PlacementSnapshot},
    log::{
        decision_id::DecisionId,
        record::{DecisionRecord, Flag},
    },
    meters,
    store::LogId,
};
use metrics::Counter;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often the store is asked how much has not been learned yet.
const OBSERVE_EVERY: Duration = Duration::from_secs(5);

const REASONS: [ExclusionReason; 20] = [
    ExclusionReason::UnknownOffer,
    ExclusionReason::Paused,
    ExclusionReason::NotStarted,
    ExclusionReason::Ended,
    ExclusionReason::Platform,
    ExclusionReason::NoPriceInMarket,
    ExclusionReason::TrialUsed,
    ExclusionReason::CurrentPlan,
    ExclusionReason::Capped,
    ExclusionReason::CoolingDown,
    ExclusionReason::LimitUnchecked,
    ExclusionReason::PriceHeld,
    ExclusionReason::DiscountTooDeep,
    ExclusionReason::BelowFloor,
    ExclusionReason::NotLapsed,
    ExclusionReason::LapseTooShort,
    ExclusionReason::LapseTooLong,
    ExclusionReason::Rule,
    ExclusionReason::LegalRule,
    ExclusionReason::RuleError,
];
const FLAGS: [Flag; 9] = [
    Flag::Stale,
    Flag::AttributeClipped,
    Flag::Degraded,
    Flag::NotLogged,
    Flag::Leased,
    Flag::StateUnknown,
    Flag::PersonalisedPrices,
    Flag::NeutralContext,
    Flag::BoundsRelaxed,
];
const CODES: [FeedbackCode; 9] = [
    FeedbackCode::Recorded,
    FeedbackCode::Revised,
    FeedbackCode::Duplicate,
    FeedbackCode::Conflict,
    FeedbackCode::Late,
    FeedbackCode::NotYet,
    FeedbackCode::UnknownDecision,
    FeedbackCode::Invalid,
    FeedbackCode::NotLogged,
];

/// A variant that has a label here stands in the list above as well.
fn reason_label(reason: ExclusionReason) -> &'static str {
    match reason {
        ExclusionReason::UnknownOffer => "unknown_offer",
        ExclusionReason::Paused => "paused",
        ExclusionReason::NotStarted => "not_started",
        ExclusionReason::Ended => "ended",
        ExclusionReason::Platform => "platform",
        ExclusionReason::NoPriceInMarket => "no_price_in_market",
        ExclusionReason::TrialUsed => "trial_used",
        ExclusionReason::CurrentPlan => "current_plan",
        ExclusionReason::Capped => "capped",
        ExclusionReason::CoolingDown => "cooling_down",
        ExclusionReason::LimitUnchecked => "limit_unchecked",
        ExclusionReason::PriceHeld => "price_held",
        ExclusionReason::DiscountTooDeep => "discount_too_deep",
        ExclusionReason::BelowFloor => "below_floor",
        ExclusionReason::NotLapsed => "not_lapsed",
        ExclusionReason::LapseTooShort => "lapse_too_short",
        ExclusionReason::LapseTooLong => "lapse_too_long",
        ExclusionReason::Rule => "rule",
        ExclusionReason::LegalRule => "legal_rule",
        ExclusionReason::RuleError => "rule_error",
    }
}

fn flag_label(flag: Flag) -> &'static str {
    match flag {
        Flag::Stale => "stale",
        Flag::AttributeClipped => "attribute_clipped",
        Flag::Degraded => "degraded",
        Flag::NotLogged => "not_logged",
        Flag::Leased => "leased",
        Flag::StateUnknown => "state_unknown",
        Flag::PersonalisedPrices => "personalised_prices",
        Flag::NeutralContext => "neutral_context",
        Flag::BoundsRelaxed => "bounds_relaxed",
    }
}

fn code_label(code: FeedbackCode) -> &'static str {
    match code {
        FeedbackCode::Recorded => "recorded",
        FeedbackCode::Revised => "revised",
        FeedbackCode::Duplicate => "duplicate",
        FeedbackCode::Conflict => "conflict",
        FeedbackCode::Late => "late",
        FeedbackCode::NotYet => "not_yet",
        FeedbackCode::UnknownDecision => "unknown_decision",
        FeedbackCode::Invalid => "invalid",
        FeedbackCode::NotLogged => "not_logged",
    }
}

/// Counters by variant: few enough that looking through them is as quick as anything.
#[derive(Debug)]
struct Counters<K>(Vec<(K, Counter)>);

impl<K: Copy + PartialEq> Counters<K> {
    fn new(meter: meters::Meter, placement: &str, keys: &[K], label: fn(K) -> &'static str) -> Self {
        Self(keys.iter().map(|&key| (key, meter.counter(&[placement, label(key)]))).collect())
    }

    fn count(&self, key: K) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == key) {
            counter.increment(1);
        }
    }
}

/// What one placement counts.
#[derive(Debug)]
pub struct PlacementMeters {
    decisions: Counter,
    exclusions: Counters<ExclusionReason>,
    rules: BTreeMap<Arc<str>, Counter>,
    flags: Counters<Flag>,
    reports: ReportMeters,
    /// What its leads come to, as its log tells.
    pub leads: LeadMeters,
}

/// What reports come to.
#[derive(Debug)]
pub struct ReportMeters {
    outcomes: Counters<FeedbackCode>,
    exposures: Counters<FeedbackCode>,
}

impl PlacementMeters {
    /// The counters of a placement; the same wherever they are asked for.
    #[must_use]
    pub fn of(placement: &Placement) -> Self {
        let rules = placement.rules.iter().map(|rule| rule.id.clone());
        let leads = LeadMeters::of(placement);
        let placement = &*placement.id;
        let counted = |rule: Arc<str>| (rule.clone(), meters::RULE_EXCLUSIONS.counter(&[placement, &rule]));
        Self {
            rules: rules.map(counted).collect(),
            decisions: meters::DECISIONS.counter(&[placement]),
            exclusions: Counters::new(meters::EXCLUSIONS, placement, &REASONS, reason_label),
            flags: Counters::new(meters::FLAGS, placement, &FLAGS, flag_label),
            reports: ReportMeters::of(placement),
            leads,
        }
    }

    /// Counts a decision that was just made.
    pub(super) fn decided(&self, record: &DecisionRecord) {
        self.decisions.increment(1);
        for exclusion in &record.decision.exclusions {
            self.exclusions.count(exclusion.reason);
            if let Some(counter) = exclusion.rule.as_deref().and_then(|rule| self.rules.get(rule)) {
                counter.increment(1);
            }
        }
        record.flags.iter().for_each(|&flag| self.flags.count(flag));
    }
}

impl ReportMeters {
    /// Of a placement, or of none: of reports whose decision's id names no placement of the catalog.
    #[must_use]
    pub fn of(placement: &str) -> Self {
        Self {
            outcomes: Counters::new(meters::OUTCOMES, placement, &CODES, code_label),
            exposures: Counters::new(meters::EXPOSURES, placement, &CODES, code_label),
        }
    }

    fn count(&self, subject: &Subject, code: FeedbackCode) {
        match subject {
            Subject::Outcome(_) => self.outcomes.count(code),
            Subject::Exposure(_) => self.exposures.count(code),
        }
    }
}

impl Service {
    /// Counts what became of reports.
    pub(super) fn count_reports(&self, reports: &[Report], results: &[FeedbackResult]) {
        let serving = self.serving();
        for (report, result) in reports.iter().zip(results) {
            let id = report.decision_id.parse::<DecisionId>().ok();
            let placement = id.and_then(|id| serving.placement_of(id.log()));
            let meters = placement.map_or(&self.stray_reports, |served| &served.meters.reports);
            meters.count(&report.subject, result.code);
        }
    }

    /// Tells the gauges what serves and how old it is. Reads memory alone.
    pub fn tell_snapshot(&self) {
        let age_ms = self.snapshot_age_ms(self.clock.now());
        meters::SNAPSHOT_AGE.gauge(&[]).set(age_ms as f64 / 1000.0);
        meters::CATALOG_REVISION.gauge(&[]).set(self.serving().stored.revision as f64);
    }

    /// How much older than its limit what is served is; `None` where it is fresh.
    #[must_use]
    pub fn staleness(&self) -> Option<Staleness> {
        let (age_ms, max_age_ms) = (self.snapshot_age_ms(self.clock.now()), self.settings.snapshot_max_age_ms);
        (age_ms > max_age_ms).then_some(Staleness { age_ms, max_age_ms })
    }

    /// Records of each placement's logs that what serves has not learned from.
    async fn lags(&self) -> super::Result<BTreeMap<Arc<str>, u64>> {
        let ends: BTreeMap<LogId, u64> = self.store.log_ends().await?.into_iter().collect();
        let serving = self.serving();
        let lag = |served: &super::serving::ServedPlacement| {
            let offsets = &served.snapshot.version.offsets;
            let of = |(log, end): (&LogId, &u64)| {
                let offset = offsets.get(usize::from(log.partition)).copied().unwrap_or(0);
                end.saturating_sub(offset)
            };
            ends.iter().filter(|(log, _)| log.placement == served.number).map(of).sum()
        };
        Ok(serving.placements.iter().map(|(id, served)| (id.clone(), lag(served))).collect())
    }
}

/// How old what is served is, where that is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// Its age in milliseconds.
    pub age_ms: u64,
    /// The limit in milliseconds.
    pub max_age_ms: u64,
}

/// Tells the gauges every few seconds until `stop` how learning gets on. While the store is away they keep what they
/// were told last; the age of the snapshot says that they are old.
pub async fn observe(service: Arc<Service>, stop: CancellationToken) {
    stop.run_until_cancelled(observe_for_ever(&service)).await;
}

async fn observe_for_ever(service: &Service) {
    let mut ticks = tokio::time::interval(OBSERVE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut told_bands = BTreeSet::new();
    loop {
        ticks.tick().await;
        told_bands = tell_bands(&service.serving(), &told_bands);
        // The store's failures are counted where they happen.
        let Ok(lags) = service.lags().await else { continue };
        let serving = service.serving();
        for gone in told.iter().filter(|id| !lags.contains_key(&***id)) {
            tell(gone, 0, false);
        }
        for (id, &lag) in &lags {
            tell(id, lag, serving.failing.contains(id));
        }
        told = lags.into_keys().collect();
    }
}

/// Tells how bands act in what serves, and that those are gone which were told of and are not there any more.
fn tell_bands(serving: &Serving, told: &BTreeSet<(Arc<str>, Arc<str>)>) -> BTreeSet<(Arc<str>, Arc<str>)> {
    let mut telling = BTreeSet::new();
    for (placement, served) in &serving.placements {
        let PlacementSnapshot { placement: declared, bands, .. } = &served.snapshot;
        for (band, in_force) in declared.bounds.bands.iter().zip(bands) {
            // What holds nobody to anything has no rate.
            let rate = if *in_force == BandInForce::FREE { f64::NAN } else { in_force.rate };
            meters::BAND_RATE.gauge(&[placement, &band.id]).set(rate);
            meters::BAND_DELTA.gauge(&[placement, &band.id]).set(in_force.delta);
            telling.insert((placement.clone(), band.id.clone()));
        }
    }
    for (placement, band) in told.difference(&telling) {
        meters::BAND_RATE.gauge(&[placement, band]).set(f64::NAN);
        meters::BAND_DELTA.gauge(&[placement, band]).set(f64::NAN);
    }
    telling
}

fn tell(placement: &str, lag: u64, failing: bool) {
    meters::LEARNER_LAG.gauge(&[placement]).set(lag as f64);
    meters::LEARNER_FAILING.gauge(&[placement]).set(f64::from(u8::from(failing)));
}
