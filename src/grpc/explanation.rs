//! How the probabilities of an answer came about, from its record.

use crate::{
    engine::{
        binding::BoundedSlot,
        bounds::{BandEffect, Bound, Relaxed, TotalBound},
        catalog::{Catalog, Placement},
        decide::SlotArm,
        group::Group,
        snapshot::Features,
    },
    log::record::DecisionRecord,
    proto,
};
use std::collections::BTreeMap;

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
        slots: record.bounded_slots().map(|bounded| slot(record, bounded)).collect(),
        bands: record.decision.bands.iter().map(band).collect(),
        rules: placement.map(|placement| rules(placement, record)).unwrap_or_default(),
        seed: record.seed,
        bounds_exempt: record.group == Group::Holdout,
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
fn slot(record: &DecisionRecord, bounded: BoundedSlot<'_>) -> proto::SlotExplanation {
    let held = bounded.held();
    let total = |set, of: fn(&SlotArm) -> f64| record.decision.total(bounded.draw, set, of);
    let arm = |arm: &SlotArm| proto::ArmExplanation {
        offer_id: record.decision.arms[arm.arm].offer_id.to_string(),
        score: Some(arm.score.into()),
        policy_probability: arm.policy_probability,
        probability: arm.probability,
        held_by: held_by(&bounded, arm, &held),
    };
    let set = |(index, bound): (usize, &TotalBound)| proto::SetBoundEffect {
        set: bound.id.to_string(),
        min: bound.min,
        max: bound.max,
        before: total(index, |arm| arm.policy_probability),
        after: total(index, |arm| arm.probability),
    };
    proto::SlotExplanation {
        slot: bounded.slot,
        uniform: bounded.draw.uniform,
        arms: bounded.draw.arms.iter().map(arm).collect(),
        relaxed: relaxed(record, &bounded.draw.relaxed),
        sets: bounded.kept().map(set).collect(),
    }
}

/// The names of the bounds that hold an arm where it is.
fn held_by(slot: &BoundedSlot<'_>, arm: &SlotArm, held: &[(usize, &str)]) -> Vec<String> {
    if !slot.is_bounded() {
        return Vec::new();
    }
    let own = [(slot.is_at_floor(arm), "floor"), (slot.is_at_cap(arm), "cap")];
    let own = own.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name);
    let members = slot.decision.arms[arm.arm].sets;
    let sets = held.iter().filter(|(set, _)| members >> set & 1 == 1).map(|(_, id)| *id);
    own.chain(sets).map(str::to_owned).collect()
}

/// The names of what could not be kept in a slot.
fn relaxed(record: &DecisionRecord, relaxed: &Relaxed) -> Vec<String> {
    let totals = record.totals.len();
    let of_totals = record.totals.iter().enumerate().map(|(set, total)| (set, &total.id));
    let of_bands = record.decision.bands.iter().map(|effect| (totals + effect.index, &effect.id));
    let sets =
        of_totals.chain(of_bands).filter(|(set, _)| relaxed.includes(Bound::Set(*set))).map(|(_, id)| id.to_string());
    sets.chain(relaxed.caps.then(|| "caps".to_owned())).collect()
}
