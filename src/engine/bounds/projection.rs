//! The nearest distribution inside a polytope of bounds.
//!
//! Nearest to the policy p in the Kullback-Leibler divergence KL(q || p), among the q that sum to 1, keep every arm's
//! floor and cap, and give every set of arms a total within its bounds (Csiszár, 1975, on I-projections). The solution is
//! q = clip(p exp(z), floor, cap), where z of an arm is the sum of the multipliers of the constraints that it is in. So
//! arms inside the same sets keep their ratios unless a floor or cap of their own holds them.
//!
//! Multipliers come from the dual problem, which is convex and has one variable for each constraint: Newton's method on
//! those that act, with a line search. Where no distribution keeps all bounds the dual is unbounded, and multipliers grow
//! along a proof of that (Farkas' lemma).

use super::{Bound, dual::Near};

/// What an underflown probability counts as, so that a projection always has mass to scale.
pub const PROBABILITY_MIN: f64 = 1e-12;
/// How far a total may stay from its bounds. Bounds that allow nothing but one point are kept to it, too.
pub(super) const RESIDUAL_MAX: f64 = 1e-13;
/// How far totals must contradict each other to be called infeasible: what people write as tenths does not add up in
/// binary.
pub(super) const CONTRADICTION_MIN: f64 = 1e-9;
/// Most sets: they are bits of a number.
pub const SETS_MAX: usize = 64;

/// Bounds on a distribution over some arms.
#[derive(Clone, Debug)]
pub struct Polytope {
    /// Smallest probability of each arm, from 0; together at most 1.
    pub floors: Vec<f64>,
    /// Largest probability of each arm, from its floor to 1.
    pub caps: Vec<f64>,
    /// The sets that each arm is in: bit s for `totals[s]`.
    pub members: Vec<u64>,
    /// Smallest and largest total of each set, at most [`SETS_MAX`] of them.
    pub totals: Vec<(f64, f64)>,
}

/// The nearest distribution.
#[derive(Clone, Debug, PartialEq)]
pub enum Projected {
    /// What floors and caps alone make of the policy keeps all totals.
    Clipped(Vec<f64>),
    /// Multipliers of the sets, from which it is not far to other totals.
    Scaled(Box<Near>),
}

/// No distribution keeps these bounds; [`Polytope::conflict`] says which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no distribution keeps all bounds")]
pub struct Infeasible;

impl Polytope {
    /// Floors alone.
    #[must_use]
    pub fn of_floors(floors: Vec<f64>) -> Self {
        let arms = floors.len();
        Self { floors, caps: vec![1.0; arms], members: vec![0; arms], totals: Vec::new() }
    }

    /// Whether every distribution is inside.
    fn is_everything(&self) -> bool {
        self.totals.iter().all(is_free)
            && self.floors.iter().all(|&floor| floor <= 0.0)
            && self.caps.iter().all(|&cap| cap >= 1.0)
    }

    /// The distribution inside that is nearest to `policy`, which has a probability for each arm and sums to 1.
    ///
    /// Without any bound the policy itself is returned, zeros included; with bounds no probability counts as less than
    /// [`PROBABILITY_MIN`] beforehand.
    ///
    /// # Errors
    /// Where nothing is inside.
    pub fn project(&self, policy: &[f64]) -> Result<Vec<f64>, Infeasible> {
        Ok(self.nearest(policy, None)?.into_pmf())
    }

    /// The same with what else is known of it; from the solution for the same policy, floors, caps and members, but other
    /// totals, where there is one.
    ///
    /// # Errors
    /// Where nothing is inside.
    pub fn nearest(&self, policy: &[f64], near: Option<Projected>) -> Result<Projected, Infeasible> {
        debug_assert_eq!(policy.len(), self.floors.len());
        if self.is_everything() {
            return Ok(Projected::Clipped(policy.to_vec()));
        }
        let caps: f64 = self.caps.iter().sum();
        if caps < 1.0 - CONTRADICTION_MIN {
            return Err(Infeasible);
        }
        if let Some(Projected::Scaled(near)) = near {
            return Ok(Projected::Scaled(near.solve(&self.totals)?));
        }
        let p: Vec<f64> = policy.iter().map(|&p| p.max(PROBABILITY_MIN)).collect();
        let (q, scale) = self.fill(&p);
        // What any total keeps need not be added up.
        let is_kept = |(set, bounds): (usize, &(f64, f64))| {
            is_free(bounds) || {
                let total = self.total_of(set, &q);
                bounds.0 - RESIDUAL_MAX <= total && total <= bounds.1 + RESIDUAL_MAX
            }
        };
        if self.totals.iter().enumerate().all(is_kept) {
            return Ok(Projected::Clipped(normalised(q)));
        }
        Ok(Projected::Scaled(Near::new(self, &p, scale).solve(&self.totals)?))
    }

    /// Takes one of its bounds away.
    pub fn leave_out(&mut self, bound: Bound) {
        match bound {
            Bound::Floors => self.floors.fill(0.0),
            Bound::Caps => self.caps.fill(1.0),
            Bound::Set(set) => self.totals[set] = (0.0, 1.0),
        }
    }

    /// Whether anything is inside.
    pub(super) fn is_feasible(&self) -> bool {
        let arms = self.floors.len();
        self.nearest(&vec![1.0 / arms as f64; arms], None).is_ok()
    }

    /// The total of a set under a distribution.
    #[must_use]
    pub fn total_of(&self, set: usize, q: &[f64]) -> f64 {
        let part = |(members, q): (&u64, &f64)| if members >> set & 1 == 1 { *q } else { 0.0 };
        self.members.iter().zip(q).map(part).sum()
    }

    /// The solution with floors and caps alone, clip(scale p, floor, cap), and its scale.
    fn fill(&self, p: &[f64]) -> (Vec<f64>, f64) {
        let arms = || p.iter().zip(self.floors.iter().zip(&self.caps)).map(|(&p, (&floor, &cap))| (p, floor, cap));
        let (mut low, mut high) = (0.0_f64, f64::INFINITY);
        let mut scale = 1.0 / p.iter().sum::<f64>();
        // The total is piecewise linear in the scale and rises: each step solves the piece it is on, and a bracket keeps
        // it from going in circles. As many pieces as arms have ends, and a few halvings in between.
        for _ in 0..4 * p.len() + 64 {
            let (mut free, mut taken, mut capped) = (0.0, 0.0, true);
            for (p, floor, cap) in arms() {
                let q = (scale * p).clamp(floor, cap);
                if q == scale * p {
                    free += p
                } else {
                    taken += q
                }
                capped &= q >= cap;
            }
            let total = taken + scale * free;
            // Caps may sum to 1 less what rounding took.
            if (total - 1.0).abs() <= f64::EPSILON || capped && total < 1.0 {
                break;
            }
            if total < 1.0 {
                low = scale
            } else {
                high = scale
            }
            let next = (1.0 - taken) / free;
            scale = if free > 0.0 && low < next && next < high {
                next
            } else if high.is_finite() {
                let middle = f64::midpoint(low, high);
                if middle <= low || middle >= high {
                    break;
                }
                middle
            } else {
                2.0 * scale
            };
        }
        (arms().map(|(p, floor, cap)| (scale * p).clamp(floor, cap)).collect(), scale)
    }
}

impl Projected {
    /// Its probabilities.
    #[must_use]
    pub fn into_pmf(self) -> Vec<f64> {
        match self {
            Self::Clipped(pmf) => pmf,
            Self::Scaled(near) => near.pmf(),
        }
    }

    /// What a set of its polytope comes to.
    #[must_use]
    pub fn total_of(&self, set: usize, polytope: &Polytope) -> f64 {
        match self {
            Self::Clipped(pmf) => polytope.total_of(set, pmf),
            Self::Scaled(near) => near.total_of(set),
        }
    }
}

/// Whether any total is within these bounds.
pub(super) fn is_free(&(min, max): &(f64, f64)) -> bool {
    min <= 0.0 && max >= 1.0
}

/// Takes out what rounding left of the sum's distance to 1.
pub(super) fn normalised(mut q: Vec<f64>) -> Vec<f64> {
    let sum: f64 = q.iter().sum();
    q.iter_mut().for_each(|q| *q /= sum);
    q
}

#[cfg(test)]
mod tests {
    use super::{super::Conflict, *};
    use proptest::prelude::*;

    fn of_floors(policy: &[f64], floors: &[f64]) -> Vec<f64> {
        Polytope::of_floors(floors.to_vec()).project(policy).unwrap()
    }

    fn divergence(q: &[f64], p: &[f64]) -> f64 {
        q.iter().zip(p).map(|(&q, &p)| if q > 0.0 { q * libm::log(q / p.max(PROBABILITY_MIN)) } else { 0.0 }).sum()
    }

    fn policies() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
        (1_usize..12).prop_flat_map(|arms| {
            let exponents = prop::collection::vec(-40.0..0.0_f64, arms);
            let floors = prop::collection::vec(0.0..1.0_f64, arms);
            (exponents, floors, 0.0..=1.0_f64).prop_map(|(exponents, floors, share)| {
                let p = normalised(exponents.into_iter().map(libm::exp).collect());
                let sum: f64 = floors.iter().sum();
                (p, floors.into_iter().map(|floor| floor / sum * share).collect())
            })
        })
    }

    #[test]
    fn known_case_matches_the_value_worked_out_by_hand() {
        // .9 and .09 share what the two floors leave, .96, in proportion.
        let q = of_floors(&[0.9, 0.09, 0.009, 0.001], &[0.02; 4]);
        let expected = [0.96 * 0.9 / 0.99, 0.96 * 0.09 / 0.99, 0.02, 0.02];
        // Four additions and one division of numbers below 1: a few units of 2^-53.
        q.iter().zip(expected).for_each(|(q, expected)| assert!((q - expected).abs() < 1e-15, "{q} {expected}"));
    }

    #[test]
    fn no_floor_leaves_a_deterministic_policy_alone() {
        assert_eq!(of_floors(&[0.0, 1.0], &[0.0, 0.0]), [0.0, 1.0]);
    }

    #[test]
    fn floors_that_sum_to_one_leave_nothing_to_the_policy() {
        assert_eq!(of_floors(&[0.0, 1.0], &[0.5, 0.5]), [0.5, 0.5]);
    }

    #[test]
    fn an_all_underflown_policy_becomes_uniform_above_its_floors() {
        let q = of_floors(&[0.0, 0.0, 0.0, 0.0], &[0.1, 0.0, 0.0, 0.0]);
        q.iter().for_each(|q| assert!((q - 0.25).abs() < 1e-15, "{q}"));
    }

    #[test]
    fn caps_that_sum_to_one_but_for_rounding_leave_one_distribution() {
        // Where they sum to less no scale is large enough, and a set that contradicts them must still be the one to go.
        for arms in 2..=256 {
            let cap = 1.0 / arms as f64;
            let mut polytope = Polytope {
                caps: vec![cap; arms],
                members: (0..arms as u64).map(|arm| u64::from(arm == 0)).collect(),
                totals: vec![(0.0, 1.0)],
                ..Polytope::of_floors(vec![0.0; arms])
            };
            let mut policy = vec![0.0; arms];
            policy[0] = 1.0;
            let q = polytope.project(&policy).unwrap();
            assert!(q.iter().all(|q| (q - cap).abs() < 1e-15), "{arms}");
            polytope.totals[0] = (2.0 * cap, 1.0);
            let conflict = Conflict { floors: false, caps: true, sets: vec![0] };
            assert_eq!((polytope.project(&policy), polytope.conflict()), (Err(Infeasible), Some(conflict)), "{arms}");
        }
    }

    #[test]
    fn what_is_near_leads_to_the_same_distribution() {
        let policy = [0.4, 0.3, 0.2, 0.08, 0.02];
        let mut polytope = Polytope {
            members: vec![1, 1, 2, 3, 0],
            totals: vec![(0.0, 0.5), (0.0, 1.0)],
            ..Polytope::of_floors(vec![0.01; 5])
        };
        let near = polytope.nearest(&policy, None).unwrap();
        assert!(matches!(near, Projected::Scaled(_)));
        polytope.totals[1] = (0.5, 0.6);
        let (from_near, anew) =
            (polytope.nearest(&policy, Some(near)).unwrap().into_pmf(), polytope.project(&policy).unwrap());
        // Both keep the totals to 1e-13, and divergences are at least as steep as one in probabilities.
        from_near.iter().zip(&anew).for_each(|(one, other)| assert!((one - other).abs() < 1e-11, "{one} {other}"));
    }

    proptest! {
        #[test]
        fn projection_keeps_every_floor_and_sums_to_one((p, floors) in policies()) {
            let q = of_floors(&p, &floors);
            // At most 12 additions of numbers below 1 and one division.
            prop_assert!((q.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            for (q, floor) in q.iter().zip(&floors) {
                prop_assert!(*q >= floor - 1e-12);
            }
        }

        #[test]
        fn arms_above_their_floors_keep_their_ratios((p, floors) in policies()) {
            let q = of_floors(&p, &floors);
            let free: Vec<usize> = (0..p.len()).filter(|&arm| q[arm] > floors[arm] * (1.0 + 1e-9)).collect();
            for pair in free.windows(2) {
                let (a, b) = (pair[0], pair[1]);
                let ratio = (q[a] / q[b]) / (p[a].max(PROBABILITY_MIN) / p[b].max(PROBABILITY_MIN));
                prop_assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
            }
        }

        #[test]
        fn no_feasible_neighbour_is_nearer((p, floors) in policies(), arm in 0_usize..12, other in 0_usize..12) {
            let q = of_floors(&p, &floors);
            let (arm, other) = (arm % p.len(), other % p.len());
            let step = 1e-4 * (q[other] - floors[other]).max(0.0);
            let mut moved = q.clone();
            moved[arm] += step;
            moved[other] -= step;
            // KL is computed from terms below 40 in size, 12 of them: rounding stays below 1e-12.
            prop_assert!(divergence(&moved, &p) >= divergence(&q, &p) - 1e-12);
        }
    }
}
