//! What bounds did to the leads of the policy.

use super::report::{Access, BoundName, BoundReport, Cost, FairnessReport};
use crate::{
    engine::{
        binding::{BoundedSlot, MOVED_MIN},
        bounds::Bound,
        catalog::Placement,
    },
    log::record::DecisionRecord,
};
use std::sync::Arc;

impl FairnessReport {
    /// Takes in what bounds did to the lead of a decision, made by the placement as it was then, where that is known.
    pub(super) fn take_bounds(
        &mut self,
        record: &DecisionRecord,
        lead: &BoundedSlot<'_>,
        cohorts: &[super::report::CohortName],
        placement: Option<&Placement>,
    ) {
        self.relaxed += u64::from(!lead.draw.relaxed.is_nothing());
        let (sums, lead_sums) = (&mut self.bounds, Lead::of(lead));
        for (name, bound) in named(record, lead) {
            lead_sums.take(sums.entry(name).or_default(), bound);
        }
        self.value.add(lead_sums.by_policy.value, lead_sums.after.value);
        self.reward.add(lead_sums.by_policy.reward, lead_sums.after.reward);
        for (set, id, effect) in benefits(record, placement) {
            self.take_benefit(lead, (set, id, effect), cohorts);
        }
    }

    fn take_benefit(
        &mut self,
        lead: &BoundedSlot<'_>,
        (set, id, found): (usize, Arc<str>, Found),
        cohorts: &[super::report::CohortName],
    ) {
        let decision = lead.decision;
        let after = decision.total(lead.draw, set, |arm| arm.probability);
        let before = match found {
            Found::Band(Some(before)) => before,
            Found::Set | Found::Band(None) => decision.total(lead.draw, set, |arm| arm.policy_probability),
        };
        let eligible = decision.arms.iter().any(|arm| arm.sets >> set & 1 == 1);
        let counts = match found {
            Found::Set => eligible,
            Found::Band(before) => before.is_some(),
        };
        let drawn = decision.drawn(lead.draw).sets >> set & 1 == 1;
        let benefit = self.benefits.entry(id).or_default();
        benefit.relaxed += u64::from(lead.draw.relaxed.includes(Bound::Set(set)));
        benefit.moved += u64::from(counts && (before - after).abs() > MOVED_MIN);
        benefit.everybody.take(eligible, counts.then_some((before, after, drawn)));
        for cohort in cohorts {
            benefit.cohorts.entry(cohort.clone()).or_default().take(eligible, counts.then_some((before, after, drawn)));
        }
    }
}

impl Access {
    /// Counts a decision, and where it counts, the totals before and after, and whether one of the offers was drawn.
    fn take(&mut self, eligible: bool, totals: Option<(f64, f64, bool)>) {
        self.decisions += 1;
        self.eligible += u64::from(eligible);
        if let Some((before, after, drawn)) = totals {
            self.totals.add(before, after);
            self.drawn += u64::from(drawn);
        }
    }
}

/// What a set or band found before it acted.
#[derive(Clone, Copy)]
enum Found {
    Set,
    /// The total under all bounds but bands; `None`: the user could not be held to it.
    Band(Option<f64>),
}

/// The sets and bands of a decision, by bit. Bands that the user could not be held to are named by the placement alone.
fn benefits(record: &DecisionRecord, placement: Option<&Placement>) -> Vec<(usize, Arc<str>, Found)> {
    let totals = record.totals.len();
    let sets = record.totals.iter().enumerate().map(|(set, total)| (set, total.id.clone(), Found::Set));
    let effects = &record.decision.bands;
    let held =
        effects.iter().map(|effect| (totals + effect.index, effect.id.clone(), Found::Band(Some(effect.before))));
    let declared = placement.iter().flat_map(|placement| placement.bounds.bands.iter().enumerate());
    let others = declared.filter(|(index, _)| effects.iter().all(|effect| effect.index != *index));
    let others = others.map(|(index, band)| (totals + index, band.id.clone(), Found::Band(None)));
    sets.chain(held).chain(others).collect()
}

/// The bounds that a lead was made under.
fn named(record: &DecisionRecord, lead: &BoundedSlot<'_>) -> Vec<(BoundName, Bound)> {
    let arms = &lead.decision.arms;
    let floors = arms.iter().any(|arm| arm.floor > 0.0).then_some((BoundName::Floors, Bound::Floors));
    let caps = arms.iter().any(|arm| arm.cap < 1.0).then_some((BoundName::Caps, Bound::Caps));
    let totals = record.totals.len();
    let sets = record.totals.iter().enumerate().map(|(set, total)| (BoundName::Set(total.id.clone()), Bound::Set(set)));
    let bands = record.decision.bands.iter();
    let bands = bands.map(|effect| (BoundName::Band(effect.id.clone()), Bound::Set(totals + effect.index)));
    floors.into_iter().chain(caps).chain(sets).chain(bands).collect()
}

/// A lead, with what it was expected to earn.
struct Lead<'a> {
    slot: &'a BoundedSlot<'a>,
    held: Vec<usize>,
    by_policy: Cost,
    after: Cost,
}

impl<'a> Lead<'a> {
    fn of(slot: &'a BoundedSlot<'a>) -> Self {
        let held = slot.held().into_iter().map(|(set, _)| set).collect();
        let by_policy = expected(slot, slot.draw.arms.iter().map(|arm| arm.policy_probability));
        let after = expected(slot, slot.draw.arms.iter().map(|arm| arm.probability));
        Self { slot, held, by_policy, after }
    }

    fn take(&self, report: &mut BoundReport, bound: Bound) {
        report.decisions += 1;
        report.relaxed += u64::from(self.slot.draw.relaxed.includes(bound));
        // What does not hold the solution makes no difference to it, as the projection is onto a convex set; but for what
        // was given up, which without it might have been kept.
        if self.binds(bound) {
            let without = expected(self.slot, self.slot.without(bound));
            report.binding += 1;
            report.cost.value += without.value - self.after.value;
            report.cost.reward += without.reward - self.after.reward;
        }
    }

    fn binds(&self, bound: Bound) -> bool {
        match bound {
            Bound::Floors => self.slot.draw.arms.iter().any(|arm| self.slot.is_at_floor(arm)),
            Bound::Caps => self.slot.draw.arms.iter().any(|arm| self.slot.is_at_cap(arm)),
            Bound::Set(set) => self.held.contains(&set),
        }
    }
}

/// What a lead drawn from these probabilities of the slot's arms is expected to earn.
fn expected(slot: &BoundedSlot<'_>, probabilities: impl IntoIterator<Item = f64>) -> Cost {
    let mut expected = Cost::default();
    for (arm, probability) in slot.draw.arms.iter().zip(probabilities) {
        let arm = &slot.decision.arms[arm.arm];
        expected.value += probability * arm.expected_value();
        expected.reward += probability * arm.expected_reward;
    }
    expected
}
