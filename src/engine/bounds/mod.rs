//! Bounds act on probabilities, before the draw: the nearest distribution that keeps them (`projection`).
//! Where nothing keeps all of them, some are given up (`relaxation`).

mod conflict;
mod dual;
mod layout;
pub mod parity;
pub mod projection;
mod relaxation;

use projection::{CONTRADICTION_MIN, Infeasible, Polytope, Projected};
use relaxation::Contested;
use std::sync::Arc;

pub use conflict::Conflict;
pub use relaxation::Relaxed;

/// Most totals of one placement.
pub const TOTALS_MAX: usize = 32;
/// Most bands of one placement.
pub const BANDS_MAX: usize = 8;

/// A bound that can be left out by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The floors of all arms.
    Floors,
    /// The caps of all arms.
    Caps,
    /// A set, or after the sets a band, by its bit.
    Set(usize),
}

/// What the probabilities of a placement keep to, beside the floors and caps of its arms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Totals of sets of arms: total t is of the arms with bit t among their sets.
    pub totals: Vec<TotalBound>,
    /// Bands around a rate: band b is of the arms with bit `totals.len() + b`.
    pub bands: Vec<Band>,
}

/// How probable a set of arms is together.
#[derive(Clone, Debug, PartialEq)]
pub struct TotalBound {
    /// Id such as `any-discount`.
    pub id: Arc<str>,
    /// Smallest total, from 0 to 1.
    pub min: f64,
    /// Largest total, from `min` to 1.
    pub max: f64,
    /// Whether every slot keeps it, given what was drawn above; otherwise the lead only.
    pub every_slot: bool,
}

/// Users differ little in how probable a set of arms is for them in the lead: within `delta` of one rate for all.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// Id such as `discounts-for-all`.
    pub id: Arc<str>,
    /// The rate; `None`: what the policy comes to on average, learned from the log.
    pub rate: Option<f64>,
    /// How far from the rate at most, from 0 to 1.
    pub delta: f64,
    /// How far the averages of declared cohorts may be apart: where they are further, `delta` is narrowed for everybody.
    pub max_gap: Option<f64>,
}

/// A band as it acts in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BandInForce {
    /// The rate, from 0 to 1.
    pub rate: f64,
    /// How far from it at most.
    pub delta: f64,
}

/// What a band found and made of one decision's lead.
#[derive(Clone, Debug, PartialEq)]
pub struct BandEffect {
    /// The band's id.
    pub id: Arc<str>,
    /// Its index in the placement.
    pub index: usize,
    /// As it acted.
    pub in_force: BandInForce,
    /// The total of its arms under all bounds but bands.
    pub before: f64,
    /// The total that acted.
    pub after: f64,
}

/// What a band's arms came to in one lead.
#[derive(Clone, Debug, PartialEq)]
pub struct BandTotals {
    /// The band's id.
    pub id: Arc<str>,
    /// Under all bounds but bands, from 0 to 1.
    pub before: f64,
    /// Under all bounds, from 0 to 1.
    pub after: f64,
    /// The band as it acted.
    pub in_force: BandInForce,
}

/// The arms of one slot and what binds them.
#[derive(Clone, Debug)]
pub struct SlotBounds<'a> {
    /// Floors, caps and sets of the arms that can be drawn; totals stand in for bounds that do not act here.
    pub polytope: Polytope,
    /// The placement's bounds.
    pub bounds: &'a Bounds,
}

/// A distribution that keeps what could be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounded {
    /// Probabilities.
    pub pmf: Vec<f64>,
    /// What was given up.
    pub relaxed: Relaxed,
}

impl Bounds {
    /// The id of a set by its bit.
    #[must_use]
    pub fn id(&self, set: usize) -> &Arc<str> {
        match self.totals.get(set) {
            Some(total) => &total.id,
            None => &self.bands[set - self.totals.len()].id,
        }
    }

    /// Smallest and largest total of every set in a slot, from 1, without bands.
    #[must_use]
    pub fn totals_in(&self, slot: u32) -> Vec<(f64, f64)> {
        let total =
            |total: &TotalBound| if slot == 1 || total.every_slot { (total.min, total.max) } else { (0.0, 1.0) };
        self.totals.iter().map(total).chain(self.bands.iter().map(|_| (0.0, 1.0))).collect()
    }
}

impl SlotBounds<'_> {
    /// The nearest distribution that keeps all bounds but the bands, as far as that can be.
    #[must_use]
    pub fn keep(&self, policy: &[f64]) -> Bounded {
        let (projected, relaxed) = self.project(policy, None);
        Bounded { pmf: projected.into_pmf(), relaxed }
    }

    /// The same with bands, for the lead slot, and what they came to.
    #[must_use]
    pub fn keep_with_bands(
        mut self,
        policy: &[f64],
        in_force: impl Fn(usize) -> BandInForce,
    ) -> (Bounded, Vec<BandEffect>) {
        let (mut projected, mut relaxed) = self.project(policy, None);
        let totals = self.bounds.totals.len();
        let is_feasible = |&band: &usize| {
            let members = &self.polytope.members;
            let is_inside = |members: &u64| members >> (totals + band) & 1 == 1;
            members.iter().any(is_inside) && !members.iter().all(is_inside)
        };
        let effect = |band: usize| {
            let before = projected.total_of(totals + band, &self.polytope);
            let id = self.bounds.bands[band].id.clone();
            BandEffect { id, index: band, in_force: in_force(band), before, after: before }
        };
        let mut effects: Vec<BandEffect> = (0..self.bounds.bands.len()).filter(is_feasible).map(effect).collect();
        if effects.iter().any(|effect| !effect.in_force.holds(effect.before)) {
            for BandEffect { index, in_force, .. } in &effects {
                self.polytope.totals[totals + index] = in_force.ends();
            }
            // Where something was given up, caps may be others.
            let near = relaxed.is_nothing().then_some(projected);
            (projected, relaxed) = self.project(policy, near);
            for effect in &mut effects {
                effect.after = projected.total_of(totals + effect.index, &self.polytope);
            }
        }
        (Bounded { pmf: projected.into_pmf(), relaxed }, effects)
    }

    /// The nearest distribution, from another projection of the same policy, or from the start, and what was given up.
    fn project(&self, policy: &[f64], near: Option<Projected>) -> (Projected, Relaxed) {
        match self.polytope.nearest(policy, near) {
            Ok(projected) => (projected, Relaxed::default()),
            Err(Infeasible) => Contested::of(self).project(policy),
        }
    }
}

impl BandTotals {
    /// Whether the band was kept, and not given up for a bound that contradicts it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let (min, max) = self.in_force.ends();
        // What contradicts itself by less than this was not given up.
        min - CONTRADICTION_MIN <= self.after && self.after <= max + CONTRADICTION_MIN
    }
}

impl BandInForce {
    /// A band that holds nobody to anything.
    pub const FREE: Self = Self { rate: 0.5, delta: 1.0 };

    /// The smallest and largest total that it allows.
    #[must_use]
    pub fn ends(&self) -> (f64, f64) {
        ((self.rate - self.delta).max(0.0), (self.rate + self.delta).min(1.0))
    }

    fn holds(&self, total: f64) -> bool {
        let (min, max) = self.ends();
        min <= total && total <= max
    }
}
