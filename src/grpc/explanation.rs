//! How the probabilities of an answer came about, from its record.

use crate::{
    engine::{
        bounds::{BandEffect, Relaxed, TotalBound},
        catalog::{Catalog, Placement},
        decide::{SlotArm, SlotDraw},
        group::Group,
        snapshot::Features,
    },
    log::record::DecisionRecord,
    proto,
};
use std::collections::BTreeMap;

/// How near to its end a total or probability counts as held there: what rounding and the projection's residual leave.
const HELD_WITHIN: f64 = 1e-11;

/// Explains a decision; `catalog` is the one that it was made from.
pub(super) fn explanation(record: &DecisionRecord, catalog: &Catalog) -> proto::Explanation {
    let placement = catalog.placements.get(&record.placement);
    let band = |effect: &BandEffect| proto::BandEffect {
        band: effect.id.to_string(),
        rate: effect.in_force.rate,
        delta: effect.in_force.delta,
        before: effect.before,
        after: effect.after,
    };
    proto::Explanation {
        features: placement.map(|placement| features(placement, record)).unwrap_or_default(),
        slots: (1..).zip(&record.decision.slots).map(|(slot, draw)| Slot { record, slot, draw }.explain()).collect(),
        bands: record.decision.bands.iter().map(band).collect(),
        rules: placement.map(|placement| rules(placement, record)).unwrap_or_default(),
        seed: record.seed,
    }
}

/// The texts of the rules that excluded anything.
fn rules(placement: &Placement, record: &DecisionRecord) -> BTreeMap<String, String> {
    let named = record.decision.exclusions.iter().filter_map(|exclusion| exclusion.rule.as_ref());
    let text = |id: &_| placement.rules.iter().find(|rule| rule.id == *id).map(|rule| rule.text.clone());
    named.filter_map(|id| Some((id.to_string(), text(id)?))).collect()
}

fn features(placement: &Placement, record: &DecisionRecord) -> Vec<proto::Feature> {
    let context = &placement.context;
    let encoded = Features::new(if record.decision.neutral_context {
        context.encode(&context.neutral())
    } else {
        context.features(&record.attribute_codes)
    });
    let feature = |(name, &value)| proto::Feature { name, value };
    context.feature_names().into_iter().zip(encoded.values()).map(feature).collect()
}

/// One slot of a record.
struct Slot<'a> {
    record: &'a DecisionRecord,
    slot: u32,
    draw: &'a SlotDraw,
}

impl Slot<'_> {
    fn explain(&self) -> proto::SlotExplanation {
        let held = self.held();
        let arm = |arm: &SlotArm| proto::ArmExplanation {
            offer_id: self.record.decision.arms[arm.arm].offer_id.to_string(),
            score: Some(arm.score.into()),
            policy_probability: arm.policy_probability,
            probability: arm.probability,
            held_by: self.held_by(arm, &held),
        };
        let set = |(index, total): (usize, &TotalBound)| proto::SetBoundEffect {
            set: total.id.to_string(),
            min: total.min,
            max: total.max,
            before: self.total(index, |arm| arm.policy_probability),
            after: self.total(index, |arm| arm.probability),
        };
        proto::SlotExplanation {
            slot: self.slot,
            uniform: self.draw.uniform,
            arms: self.draw.arms.iter().map(arm).collect(),
            relaxed: relaxed(self.record, &self.draw.relaxed),
            sets: self.acting().map(set).collect(),
        }
    }

    /// Whether bounds act here at all: not on the holdout, and not on a repeat, which draws nothing.
    fn is_bounded(&self) -> bool {
        self.record.group != Group::Holdout && self.record.decision.root.is_none()
    }

    /// The bounds on sets that acted, with their bits.
    fn acting(&self) -> impl Iterator<Item = (usize, &TotalBound)> {
        let acts = |&(set, total): &(usize, &TotalBound)| {
            (self.slot == 1 || total.every_slot) && self.draw.relaxed.sets >> set & 1 == 0
        };
        self.record.totals.iter().enumerate().filter(|_| self.is_bounded()).filter(acts)
    }

    fn total(&self, set: usize, probability: impl Fn(&SlotArm) -> f64) -> f64 {
        self.record.decision.total(self.draw, set, probability)
    }

    /// The sets and bands that are at one of their ends, by bit, with their ids.
    fn held(&self) -> Vec<(usize, &str)> {
        let is_at = |total: f64, (min, max): (f64, f64)| {
            (min > 0.0 && total - min < HELD_WITHIN) || (max < 1.0 && max - total < HELD_WITHIN)
        };
        let sets =
            self.acting().filter(|(set, total)| is_at(self.total(*set, |arm| arm.probability), (total.min, total.max)));
        let bands = self.record.decision.bands.iter().filter(|_| self.slot == 1);
        let held = bands.filter(|effect| effect.before != effect.after && is_at(effect.after, effect.in_force.ends()));
        let totals = self.record.totals.len();
        let of_bands = held.map(|effect| (totals + effect.index, &*effect.id));
        sets.map(|(set, total)| (set, &*total.id)).chain(of_bands).collect()
    }

    fn held_by(&self, arm: &SlotArm, held: &[(usize, &str)]) -> Vec<String> {
        if !self.is_bounded() {
            return Vec::new();
        }
        let eligible = &self.record.decision.arms[arm.arm];
        let at_floor = eligible.floor > 0.0 && arm.probability - eligible.floor < HELD_WITHIN;
        let at_cap = eligible.cap < 1.0 && eligible.cap - arm.probability < HELD_WITHIN && !self.draw.relaxed.caps;
        let own = [(at_floor, "floor"), (at_cap, "cap")].into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name);
        let sets = held.iter().filter(|(set, _)| eligible.sets >> set & 1 == 1).map(|(_, id)| *id);
        own.chain(sets).map(str::to_owned).collect()
    }
}

/// The names of what could not be kept in a slot.
fn relaxed(record: &DecisionRecord, relaxed: &Relaxed) -> Vec<String> {
    let totals = record.totals.len();
    let of_totals = record.totals.iter().enumerate().map(|(set, total)| (set, &total.id));
    let of_bands = record.decision.bands.iter().map(|effect| (totals + effect.index, &effect.id));
    let sets = of_totals.chain(of_bands).filter(|(set, _)| relaxed.sets >> set & 1 == 1).map(|(_, id)| id.to_string());
    sets.chain(relaxed.caps.then(|| "caps".to_owned())).collect()
}
