//! Bounds act on probabilities, before the draw: the nearest distribution that keeps every arm's floor.
//!
//! Nearest in the Kullback-Leibler divergence KL(q || p); with floors alone the solution is
//! q = max(floor, lambda p) with lambda such that q sums to 1 (Csiszár, 1975, on I-projections).

/// What an underflown probability counts as, so that a projection always has mass to scale.
const PROBABILITY_MIN: f64 = 1e-12;

/// The distribution nearest to `policy` in which no arm has less than its floor.
///
/// `policy` sums to 1; floors are from 0 to 1 and sum to at most 1. Without any floor above 0 the policy itself is
/// returned, zeros included.
#[must_use]
pub fn project(policy: &[f64], floors: &[f64]) -> Vec<f64> {
    debug_assert_eq!(policy.len(), floors.len());
    if floors.iter().all(|&floor| floor <= 0.0) {
        return policy.to_vec();
    }
    let p: Vec<f64> = policy.iter().map(|&p| p.max(PROBABILITY_MIN)).collect();
    let mut at_floor = vec![false; p.len()];
    // Each round sets at least one more arm to its floor, which can only lower lambda for the others.
    loop {
        let lambda = scale(&p, floors, &at_floor);
        let mut changed = false;
        for arm in 0..p.len() {
            if !at_floor[arm] && lambda * p[arm] < floors[arm] {
                at_floor[arm] = true;
                changed = true;
            }
        }
        if !changed {
            let bounded = (0..p.len()).map(|arm| if at_floor[arm] { floors[arm] } else { lambda * p[arm] });
            return normalised(bounded.collect());
        }
    }
}

fn scale(p: &[f64], floors: &[f64], at_floor: &[bool]) -> f64 {
    let mut free = 0.0;
    let mut taken = 0.0;
    for arm in 0..p.len() {
        if at_floor[arm] { taken += floors[arm] } else { free += p[arm] }
    }
    if free > 0.0 { (1.0 - taken).max(0.0) / free } else { 0.0 }
}

/// Takes out what rounding left of the sum's distance to 1.
fn normalised(mut q: Vec<f64>) -> Vec<f64> {
    let sum: f64 = q.iter().sum();
    q.iter_mut().for_each(|q| *q /= sum);
    q
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        let q = project(&[0.9, 0.09, 0.009, 0.001], &[0.02; 4]);
        let expected = [0.96 * 0.9 / 0.99, 0.96 * 0.09 / 0.99, 0.02, 0.02];
        // Four additions and one division of numbers below 1: a few units of 2^-53.
        q.iter().zip(expected).for_each(|(q, expected)| assert!((q - expected).abs() < 1e-15, "{q} {expected}"));
    }

    #[test]
    fn no_floor_leaves_a_deterministic_policy_alone() {
        assert_eq!(project(&[0.0, 1.0], &[0.0, 0.0]), [0.0, 1.0]);
    }

    #[test]
    fn floors_that_sum_to_one_leave_nothing_to_the_policy() {
        assert_eq!(project(&[0.0, 1.0], &[0.5, 0.5]), [0.5, 0.5]);
    }

    #[test]
    fn an_all_underflown_policy_becomes_uniform_above_its_floors() {
        let q = project(&[0.0, 0.0, 0.0, 0.0], &[0.1, 0.0, 0.0, 0.0]);
        q.iter().for_each(|q| assert!((q - 0.25).abs() < 1e-15, "{q}"));
    }

    proptest! {
        #[test]
        fn projection_keeps_every_floor_and_sums_to_one((p, floors) in policies()) {
            let q = project(&p, &floors);
            // At most 12 additions of numbers below 1 and one division.
            prop_assert!((q.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            for (q, floor) in q.iter().zip(&floors) {
                prop_assert!(*q >= floor - 1e-12);
            }
        }

        #[test]
        fn arms_above_their_floors_keep_their_ratios((p, floors) in policies()) {
            let q = project(&p, &floors);
            let free: Vec<usize> = (0..p.len()).filter(|&arm| q[arm] > floors[arm] * (1.0 + 1e-9)).collect();
            for pair in free.windows(2) {
                let (a, b) = (pair[0], pair[1]);
                let ratio = (q[a] / q[b]) / (p[a].max(PROBABILITY_MIN) / p[b].max(PROBABILITY_MIN));
                prop_assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
            }
        }

        #[test]
        fn no_feasible_neighbour_is_nearer((p, floors) in policies(), arm in 0_usize..12, other in 0_usize..12) {
            let q = project(&p, &floors);
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
