//! Learning: statistics are a fold of the log, one record at a time, in log order.
//!
//! Every change of a decision carries the state before and after it, so folding is taking back what the state
//! before had contributed and adding what the state after contributes. Batches of any size give the same bits,
//! because each record is folded by itself.
//!
//! With a half-life, a decision weighs 2^((decided_at - landmark) / half_life). Landmarks stand at whole
//! half-lives of event time; an arm moves to a new one by halving its sums, which is exact, so that moving late,
//! early or in several steps changes nothing. Fading is toward the prior, never below it.

use super::{
    bounds::{
        BandTotals,
        parity::{BandStatistics, Cohort},
    },
    catalog::{LearningMode, Placement, PosteriorKind, Reward},
    instant::Instant,
    ledger::{LedgerState, SlotState},
    math::double_double::Dd,
    posterior::moments::Moments,
};
use std::{collections::BTreeMap, sync::Arc};

/// What one model has learned from one partition of a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionStatistics {
    /// By offer id.
    pub arms: BTreeMap<Arc<str>, ArmStatistics>,
    /// The latest decision time among the records folded.
    pub latest_decided_at: Option<Instant>,
    /// What bands found, by band id.
    pub bands: BTreeMap<Arc<str>, BandStatistics>,
}

/// What one model has learned of one arm from one partition of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmStatistics {
    /// Slots learned from that showed it, whatever their age.
    pub shown: u64,
    /// Outcome totals of those slots by metric, whatever their age.
    pub totals: BTreeMap<String, Dd>,
    /// Faded sums over features and rewards, in units of the reward's `unit`.
    pub moments: Moments,
    /// The half-life count of event time that `moments` are relative to; 0 where nothing fades.
    pub landmark: i64,
}

/// One change of a decision's state.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// When the decision was made.
    pub decided_at: Instant,
    /// Its state before; `None`: the decision itself is this change.
    pub before: Option<&'a LedgerState>,
    /// Its state after.
    pub after: &'a LedgerState,
    /// The decision's encoded context, without slot features: only the intercept for context-free posteriors, anything
    /// for changes that teach nothing.
    pub context: &'a [f64],
    /// Whether the decision is of the holdout, which teaches nothing.
    pub holdout: bool,
}

impl<'a> Change<'a> {
    /// Whether the change teaches a model of this placement anything: if not, its context is not looked at.
    #[must_use]
    pub fn teaches(&self, placement: &Placement) -> bool {
        self.contributions(placement).next().is_some()
    }

    /// Learned slots, from 0, whose contribution changes, with the contributions before and after.
    fn contributions(
        &self,
        placement: &'a Placement,
    ) -> impl Iterator<Item = (usize, Option<Contribution<'a>>, Option<Contribution<'a>>)> + use<'a> {
        let (before, after) = match placement.learning.mode {
            LearningMode::Immediate => (self.before, Some(self.after)),
            LearningMode::AtMaturity => {
                (self.before.filter(|before| before.closed), Some(self.after).filter(|after| after.closed))
            }
        };
        let learned = if self.holdout { 0 } else { learned_slots(placement).min(self.after.slots.len()) };
        (0..learned).filter_map(move |slot| {
            let contribution = |state| Contribution::of(placement, state, slot);
            let (before, after) = (before.and_then(contribution), after.and_then(contribution));
            (before != after).then_some((slot, before, after))
        })
    }
}

impl PartitionStatistics {
    /// Folds one change in; returns the offers whose statistics changed.
    pub fn fold(&mut self, placement: &Placement, change: &Change<'_>) -> Vec<Arc<str>> {
        self.latest_decided_at = self.latest_decided_at.max(Some(change.decided_at));
        let mut changed = Vec::new();
        for (slot, before, after) in change.contributions(placement) {
            self.fold_slot(placement, change, slot, (before, after));
            changed.push(change.after.slots[slot].offer_id.clone());
        }
        changed
    }

    /// Counts what a band found in a decision that the policy made, unless it was given up there: what no band can hold
    /// tells nothing about how it should act.
    pub fn observe_band(&mut self, found: &BandTotals, cohorts: &[Cohort]) {
        if found.before.is_finite() && found.is_kept() {
            self.bands.entry(found.id.clone()).or_default().observe(found, cohorts);
        }
    }

    fn fold_slot(
        &mut self,
        placement: &Placement,
        change: &Change<'_>,
        slot: usize,
        contributions: (Option<Contribution<'_>>, Option<Contribution<'_>>),
    ) {
        let offer_id = &change.after.slots[slot].offer_id;
        let features = || {
            let mut features = change.context.to_vec();
            features.extend((1..=placement.slot_feature_count()).map(|other| f64::from(u8::from(slot == other))));
            features
        };
        let arm = self.arms.entry(offer_id.clone()).or_insert_with(|| ArmStatistics::new(placement.feature_count()));
        let weight = arm.weigh(change.decided_at, placement.learning.half_life_ms);
        match contributions {
            (None, None) => {}
            (None, Some(after)) => {
                arm.moments.observe(&features(), after.reward, weight);
                arm.shown += 1;
            }
            (Some(before), None) => {
                arm.moments.forget(&features(), before.reward, weight);
                arm.shown = arm.shown.saturating_sub(1);
            }
            (Some(before), Some(after)) => arm.moments.correct(&features(), before.reward, after.reward, weight),
        }
        arm.replace_totals(contributions.0, contributions.1);
    }

    /// Whether every number is finite, as every stored number must be.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.arms
            .values()
            .all(|arm| arm.moments.is_finite() && arm.totals.values().all(|total| total.to_f64().is_finite()))
            && self.bands.values().all(BandStatistics::is_valid)
    }
}

impl ArmStatistics {
    fn new(features: usize) -> Self {
        Self { shown: 0, totals: BTreeMap::new(), moments: Moments::new(features), landmark: i64::MIN }
    }

    /// Moves to the landmark of a decision's time if it is a later one; returns the decision's weight there.
    fn weigh(&mut self, decided_at: Instant, half_life_ms: Option<u64>) -> f64 {
        let Some(half_life_ms) = half_life_ms.and_then(|ms| i64::try_from(ms).ok()) else {
            self.landmark = 0;
            return 1.0;
        };
        let landmark = decided_at.as_ms().div_euclid(half_life_ms);
        if landmark > self.landmark {
            if self.landmark != i64::MIN {
                self.moments.scale(half_to_the(landmark - self.landmark));
            }
            self.landmark = landmark;
        }
        // The whole half-lives apart, so that the weight at one landmark is exactly a power of two times that at another.
        let rest_ms = decided_at.as_ms().rem_euclid(half_life_ms);
        libm::exp2(rest_ms as f64 / half_life_ms as f64) * half_to_the(self.landmark - landmark)
    }

    fn replace_totals(&mut self, before: Option<Contribution<'_>>, after: Option<Contribution<'_>>) {
        for (metric, total) in after.iter().flat_map(Contribution::totals) {
            let sum = self.totals.entry(metric.clone()).or_default();
            *sum = *sum + Dd::from(total);
        }
        for (metric, total) in before.iter().flat_map(Contribution::totals) {
            let sum = self.totals.entry(metric.clone()).or_default();
            *sum = *sum - Dd::from(total);
        }
    }
}

/// How many slots of a decision are learned from at most.
fn learned_slots(placement: &Placement) -> usize {
    match (placement.learning.all_slots, &placement.policy.posterior) {
        (false, _) => 1,
        // The slot is no feature: a decision with more slots than the placement has by now teaches all of them.
        (true, PosteriorKind::Beta) => usize::MAX,
        // A slot that the placement no longer has would look like the lead, which has no feature of its own.
        (true, PosteriorKind::Linear(_)) => 1 + placement.slot_feature_count(),
    }
}

/// 2^-count for a count from 0, exactly; 0 once that is no normal number.
fn half_to_the(count: i64) -> f64 {
    if count > 1022 { 0.0 } else { libm::exp2(-(count as f64)) }
}

/// What a shown slot contributes to its arm.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Contribution<'a> {
    reward: f64,
    slot: &'a SlotState,
    /// Totals of the decision as a whole, where the slot is the lead.
    whole: Option<&'a BTreeMap<String, f64>>,
}

impl<'a> Contribution<'a> {
    fn of(placement: &Placement, state: &'a LedgerState, slot: usize) -> Option<Self> {
        let whole = (slot == 0).then_some(&state.totals);
        let reward = placement.reward.of_slot(state, slot)? / placement.reward.unit;
        let slot = state.slots.get(slot).filter(|slot| slot.shown)?;
        Some(Self { reward, slot, whole })
    }

    fn totals(&self) -> impl Iterator<Item = (&'a String, f64)> {
        let whole = self.whole.into_iter().flatten();
        self.slot.totals.iter().chain(whole).map(|(metric, &total)| (metric, total))
    }
}

fn total(slot: &SlotState, whole: Option<&BTreeMap<String, f64>>, metric: &str) -> f64 {
    let of = |totals: &BTreeMap<String, f64>| totals.get(metric).copied().unwrap_or(0.0);
    of(&slot.totals) + whole.map_or(0.0, of)
}

impl Reward {
    /// The reward of outcome totals by metric.
    #[must_use]
    pub fn of(&self, total: impl Fn(&str) -> f64) -> f64 {
        let term = |term: &super::catalog::RewardTerm| {
            let total = total(&term.metric);
            term.weight * if term.indicator { f64::from(u8::from(total > 0.0)) } else { total }
        };
        self.terms.iter().map(term).sum::<f64>().clamp(self.min, self.max)
    }

    /// The reward of a decision's slot, from 0, shown or not: what belongs to the decision as a whole counts for the lead.
    /// `None` where there is no such slot.
    #[must_use]
    pub fn of_slot(&self, state: &LedgerState, slot: usize) -> Option<f64> {
        let whole = (slot == 0).then_some(&state.totals);
        state.slots.get(slot).map(|slot| self.of(|metric| total(slot, whole, metric)))
    }

    /// Whether it is in the reward currency.
    #[must_use]
    pub fn is_money(&self) -> bool {
        self.terms.iter().any(|term| term.money)
    }
}

/// An arm's moments over all partitions, in partition order, faded to the latest decision time of them all.
#[must_use]
pub fn pooled_moments(placement: &Placement, partitions: &[PartitionStatistics], offer_id: &str) -> Moments {
    let mut pooled = Moments::new(placement.feature_count());
    let latest = partitions.iter().filter_map(|partition| partition.latest_decided_at).max();
    for arm in partitions.iter().filter_map(|partition| partition.arms.get(offer_id)) {
        match (placement.learning.half_life_ms.and_then(|ms| i64::try_from(ms).ok()), latest) {
            (Some(half_life_ms), Some(latest)) => {
                // Whole half-lives apart here too, so that an arm at an older landmark fades to the same bits.
                let whole = latest.as_ms().div_euclid(half_life_ms) - arm.landmark;
                let rest_ms = latest.as_ms().rem_euclid(half_life_ms);
                let rest = libm::exp2(-(rest_ms as f64 / half_life_ms as f64));
                pooled.merge(&arm.moments.scaled(half_to_the(whole)).scaled(rest));
            }
            _ => pooled.merge(&arm.moments),
        }
    }
    pooled
}
