//! What is given up where what a user may be shown leaves no distribution that keeps every bound.
//!
//! Floors never contradict each other. What else binds is taken in by importance, and whatever contradicts what was taken
//! in before is given up: bands, as they were declared; then the caps of all arms; then totals of sets, as they were
//! declared. So what is given up depends on which arms there are, and on nothing that is known of a user.

use super::{
    Bound, SlotBounds,
    projection::{Polytope, Projected, is_free},
};

/// Bounds that were given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relaxed {
    /// Bits of totals, and of bands after them.
    pub sets: u64,
    /// The caps of all arms.
    pub caps: bool,
}

/// The bounds of a polytope that binds too much, the most important first.
pub(super) struct Contested<'a> {
    polytope: &'a Polytope,
    bounds: Vec<Bound>,
}

impl Relaxed {
    /// Whether all was kept.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.sets == 0 && !self.caps
    }

    /// Whether a bound was given up.
    #[must_use]
    pub const fn includes(&self, bound: Bound) -> bool {
        match bound {
            Bound::Floors => false,
            Bound::Caps => self.caps,
            Bound::Set(set) => self.sets >> set & 1 == 1,
        }
    }

    const fn give_up(&mut self, bound: Bound) {
        match bound {
            // They never are.
            Bound::Floors => {}
            Bound::Caps => self.caps = true,
            Bound::Set(set) => self.sets |= 1 << set,
        }
    }
}

impl<'a> Contested<'a> {
    pub(super) fn of(slot: &'a SlotBounds<'_>) -> Self {
        let SlotBounds { polytope, bounds } = slot;
        let first_band = bounds.totals.len();
        let binds = |set: &usize| !is_free(&polytope.totals[*set]);
        let sets = |range: std::ops::Range<usize>| range.filter(binds).map(Bound::Set);
        let caps = polytope.caps.iter().any(|cap| *cap < 1.0).then_some(Bound::Caps);
        let bounds = sets(first_band..polytope.totals.len()).chain(caps).chain(sets(0..first_band)).collect();
        Self { polytope, bounds }
    }

    /// The projection of a policy once what contradicts itself is given up.
    pub(super) fn project(&self, policy: &[f64]) -> (Projected, Relaxed) {
        let relaxed = self.relaxed();
        // What is kept together leads from one policy to a distribution as from any other, but where numbers end: then
        // the least important of it goes, too.
        let projected = |count| {
            let relaxed = self.without_rest(count, &relaxed);
            Some((self.loosened(&relaxed).nearest(policy, None).ok()?, relaxed))
        };
        (0..=self.bounds.len()).rev().find_map(projected).expect("floors alone contradict nothing")
    }

    /// What contradicts what is more important.
    fn relaxed(&self) -> Relaxed {
        let mut relaxed = Relaxed::default();
        let mut settled = 0;
        while settled < self.bounds.len() && !self.fits(self.bounds.len(), &relaxed) {
            // The first bound that does not fit: where it is taken in nothing that comes after it helps.
            let (mut fitting, mut beyond) = (settled, self.bounds.len());
            while beyond - fitting > 1 {
                let middle = usize::midpoint(fitting, beyond);
                if self.fits(middle, &relaxed) { fitting = middle } else { beyond = middle }
            }
            relaxed.give_up(self.bounds[fitting]);
            settled = beyond;
        }
        relaxed
    }

    /// Whether the first so many bounds leave something, but for what was given up.
    fn fits(&self, count: usize, relaxed: &Relaxed) -> bool {
        self.loosened(&self.without_rest(count, relaxed)).is_feasible()
    }

    /// What was given up, and all but the first so many bounds.
    fn without_rest(&self, count: usize, relaxed: &Relaxed) -> Relaxed {
        let mut relaxed = relaxed.clone();
        self.bounds[count..].iter().for_each(|bound| relaxed.give_up(*bound));
        relaxed
    }

    /// The polytope without what was given up.
    fn loosened(&self, relaxed: &Relaxed) -> Polytope {
        let mut polytope = self.polytope.clone();
        let given_up = self.bounds.iter().filter(|bound| relaxed.includes(**bound));
        given_up.for_each(|bound| polytope.leave_out(*bound));
        polytope
    }
}
