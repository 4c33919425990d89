//! Which bounds bind in a slot that was drawn, and what it would have been drawn from without one of them: told by what a
//! decision holds, so that logs tell it as well.

use super::{
    bounds::{Band, BandEffect, BandInForce, Bound, Bounds, SlotBounds, TotalBound, projection::Polytope},
    decide::{Decision, SlotArm, SlotDraw},
    group::Group,
};

/// How near to its end a total or probability counts as held there: what rounding and the projection's residual leave.
const HELD_WITHIN: f64 = 1e-11;
/// How far a probability or total must be moved to count: further than two projections of the same are apart.
pub const MOVED_MIN: f64 = 1e-9;

/// A slot of a decision, and the bounds on sets that it was made under.
#[derive(Clone, Copy, Debug)]
pub struct BoundedSlot<'a> {
    /// The decision.
    pub decision: &'a Decision,
    /// Its measurement group.
    pub group: Group,
    /// Its bounds on sets, by bit.
    pub totals: &'a [TotalBound],
    /// Which slot, from 1.
    pub slot: u32,
    /// What the slot was drawn from.
    pub draw: &'a SlotDraw,
}

impl BoundedSlot<'_> {
    /// Whether bounds act here at all: not on the holdout, and not on a repeat, which draws nothing.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.group != Group::Holdout && self.decision.root.is_none()
    }

    /// The bounds on sets that were kept here, by bit.
    pub fn kept(&self) -> impl Iterator<Item = (usize, &TotalBound)> {
        let acts = |&(set, total): &(usize, &TotalBound)| {
            (self.slot == 1 || total.every_slot) && !self.draw.relaxed.includes(Bound::Set(set))
        };
        self.totals.iter().enumerate().filter(|_| self.is_bounded()).filter(acts)
    }

    /// The sets and bands that are at one of their ends, and not by chance, by bit, with their ids.
    #[must_use]
    pub fn held(&self) -> Vec<(usize, &str)> {
        let is_at = |total: f64, (min, max): (f64, f64)| {
            (min > 0.0 && total - min < HELD_WITHIN) || (max < 1.0 && max - total < HELD_WITHIN)
        };
        let total = |set| self.decision.total(self.draw, set, |arm| arm.probability);
        let sets = self.kept().filter(|(set, bound)| is_at(total(*set), (bound.min, bound.max)));
        // Of bounds that want the same, each alone changes nothing, and all of them hold.
        let is_broken = |set, bound: &TotalBound| {
            let by_policy = self.decision.total(self.draw, set, |arm| arm.policy_probability);
            by_policy < bound.min - MOVED_MIN || by_policy > bound.max + MOVED_MIN
        };
        let sets = sets.filter(|(set, bound)| is_broken(*set, bound) || self.changes(Bound::Set(*set)));
        let bands = self.decision.bands.iter().filter(|_| self.slot == 1);
        let acts = |effect: &&BandEffect| {
            effect.before != effect.after && !self.draw.relaxed.includes(Bound::Set(self.band_bit(effect)))
        };
        let held = bands.filter(acts).filter(|effect| is_at(effect.after, effect.in_force.ends()));
        let of_bands = held.map(|effect| (self.band_bit(effect), &*effect.id));
        sets.map(|(set, bound)| (set, &*bound.id)).chain(of_bands).collect()
    }

    /// Whether the slot would have been drawn from another distribution without a bound.
    fn changes(&self, bound: Bound) -> bool {
        let moved = |(without, arm): (&f64, &SlotArm)| (without - arm.probability).abs() > MOVED_MIN;
        self.without(bound).iter().zip(&self.draw.arms).any(moved)
    }

    /// Whether an arm's own floor holds it.
    #[must_use]
    pub fn is_at_floor(&self, arm: &SlotArm) -> bool {
        let floor = self.decision.arms[arm.arm].floor;
        self.is_bounded() && floor > 0.0 && arm.probability - floor < HELD_WITHIN
    }

    /// Whether an arm's own cap holds it.
    #[must_use]
    pub fn is_at_cap(&self, arm: &SlotArm) -> bool {
        let cap = self.decision.arms[arm.arm].cap;
        self.is_bounded() && cap < 1.0 && cap - arm.probability < HELD_WITHIN && !self.draw.relaxed.caps
    }

    /// What the slot would have been drawn from without one of its bounds, by the slot's arms.
    #[must_use]
    pub fn without(&self, bound: Bound) -> Vec<f64> {
        let bounds = self.bounds();
        let arms = || self.draw.arms.iter().map(|arm| &self.decision.arms[arm.arm]);
        // A band that the user could not be held to is not named in the decision, and its bit stands for nothing.
        let known = (1_u64 << (bounds.totals.len() + bounds.bands.len())) - 1;
        let mut polytope = Polytope {
            floors: arms().map(|arm| arm.floor).collect(),
            caps: arms().map(|arm| arm.cap).collect(),
            members: arms().map(|arm| arm.sets & known).collect(),
            totals: bounds.totals_in(self.slot),
        };
        polytope.leave_out(bound);
        let policy: Vec<f64> = self.draw.arms.iter().map(|arm| arm.policy_probability).collect();
        let slot_bounds = SlotBounds { polytope, bounds: &bounds };
        if self.slot > 1 || self.decision.bands.is_empty() {
            return slot_bounds.keep(&policy).pmf;
        }
        let in_force = |index: usize| {
            let effect = self.decision.bands.iter().find(|effect| effect.index == index);
            let acting = effect.filter(|effect| bound != Bound::Set(self.band_bit(effect)));
            acting.map_or(BandInForce::FREE, |effect| effect.in_force)
        };
        slot_bounds.keep_with_bands(&policy, in_force).0.pmf
    }

    fn band_bit(&self, effect: &BandEffect) -> usize {
        self.totals.len() + effect.index
    }

    /// The placement's bounds as far as the decision names them.
    fn bounds(&self) -> Bounds {
        let count = self.decision.bands.iter().map(|effect| effect.index + 1).max().unwrap_or(0);
        let band = |index: usize| {
            let named = self.decision.bands.iter().find(|effect| effect.index == index);
            Band {
                id: named.map_or_else(|| "".into(), |effect| effect.id.clone()),
                rate: None,
                delta: 1.0,
                max_gap: None,
            }
        };
        Bounds { totals: self.totals.to_vec(), bands: (0..count).map(band).collect() }
    }
}
