//! The projection onto bounds, against a slow optimiser and against what defines it.

use crate::scale;
use offer_ranker::engine::bounds::projection::{Infeasible, PROBABILITY_MIN, Polytope};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A policy, bounds, and a distribution that keeps them with some room.
struct Case {
    policy: Vec<f64>,
    polytope: Polytope,
    inside: Vec<f64>,
}

/// Floors, caps and sets around a random distribution; with `slack` 0 some of them leave no other. Probabilities of the
/// policy are apart by factors up to e^`spread`.
fn case(rng: &mut ChaCha8Rng, spread: f64, slack: f64) -> Case {
    let arms = rng.random_range(1..=12_usize);
    let share = |spread: f64, rng: &mut ChaCha8Rng| {
        let shares: Vec<f64> = (0..arms).map(|_| libm::exp(-spread * rng.random::<f64>())).collect();
        let sum: f64 = shares.iter().sum();
        shares.into_iter().map(|share| share / sum).collect::<Vec<f64>>()
    };
    let (policy, mut inside) = (share(spread, rng), share(4.0, rng));
    // Some arms may not be drawn at all.
    let never: Vec<bool> = (0..arms).map(|arm| arm > 0 && rng.random_bool(0.1)).collect();
    inside.iter_mut().zip(&never).for_each(|(q, never)| *q = if *never { 0.0 } else { *q });
    let left: f64 = inside.iter().sum();
    inside.iter_mut().for_each(|q| *q /= left);
    let away = |rng: &mut ChaCha8Rng| slack + if rng.random_bool(0.3) { 0.0 } else { 0.3 * rng.random::<f64>() };
    let floor = |&q: &f64, rng: &mut ChaCha8Rng| if rng.random_bool(0.5) { (q - away(rng)).max(0.0) } else { 0.0 };
    let cap = |&q: &f64, rng: &mut ChaCha8Rng| if rng.random_bool(0.3) { (q + away(rng)).min(1.0) } else { 1.0 };
    let floors = inside.iter().map(|q| floor(q, rng)).collect();
    let caps = inside.iter().zip(&never).map(|(q, never)| if *never { 0.0 } else { cap(q, rng) }).collect();
    let sets = rng.random_range(0..=6_usize);
    let members: Vec<u64> = (0..arms).map(|_| rng.random::<u64>() & ((1 << sets) - 1)).collect();
    let mut polytope = Polytope { floors, caps, members, totals: vec![(0.0, 1.0); sets] };
    for set in 0..sets {
        let total = polytope.total_of(set, &inside);
        let min = if rng.random_bool(0.6) { (total - away(rng)).max(0.0) } else { 0.0 };
        let max = if rng.random_bool(0.6) { (total + away(rng)).min(1.0) } else { 1.0 };
        polytope.totals[set] = (min, max);
    }
    Case { policy, polytope, inside }
}

fn divergence(q: &[f64], p: &[f64]) -> f64 {
    q.iter().zip(p).map(|(&q, &p)| if q > 0.0 { q * libm::log(q / p.max(PROBABILITY_MIN)) } else { 0.0 }).sum()
}

/// How far `q` is from keeping the bounds.
fn violation(polytope: &Polytope, q: &[f64]) -> f64 {
    let of_arms = q.iter().zip(polytope.floors.iter().zip(&polytope.caps)).map(|(q, (lo, hi))| (lo - q).max(q - hi));
    let of_sets = polytope.totals.iter().enumerate().map(|(set, &(min, max))| {
        let total = polytope.total_of(set, q);
        (min - total).max(total - max)
    });
    of_arms.chain(of_sets).chain([(q.iter().sum::<f64>() - 1.0).abs()]).fold(0.0, f64::max)
}

/// Row-action method for entropy under interval constraints (Censor and Lent, 1981): one constraint after the other,
/// each undone as far as it may be before it is done anew. Slow, simple, and of another kind than what it checks.
fn reference(policy: &[f64], polytope: &Polytope) -> Vec<f64> {
    let arms = policy.len();
    let mut rows: Vec<(Vec<usize>, f64, f64)> = vec![((0..arms).collect(), 1.0, 1.0)];
    rows.extend((0..arms).map(|arm| (vec![arm], polytope.floors[arm], polytope.caps[arm])));
    rows.extend(polytope.totals.iter().enumerate().map(|(set, &(min, max))| {
        ((0..arms).filter(|&arm| polytope.members[arm] >> set & 1 == 1).collect(), min, max)
    }));
    // What may not be drawn is nought from the start, where logarithms end.
    let may = |arm: &usize| polytope.caps[*arm] > 0.0;
    rows.iter_mut().for_each(|(members, ..)| members.retain(may));
    rows.retain(|(members, ..)| !members.is_empty());
    let all = (0..arms).filter(may).count();
    rows.retain(|(members, min, max)| *min > 0.0 || *max < 1.0 || members.len() == all);
    let mut q: Vec<f64> = (0..arms).map(|arm| if may(&arm) { policy[arm].max(PROBABILITY_MIN) } else { 0.0 }).collect();
    let mut multipliers = vec![0.0_f64; rows.len()];
    for _ in 0..100_000 {
        let mut moved = 0.0_f64;
        for ((members, min, max), multiplier) in rows.iter().zip(&mut multipliers) {
            let total: f64 = members.iter().map(|&arm| q[arm]).sum();
            let (up, down) = (libm::log(min / total), libm::log(max / total));
            // The median of the three: back to no multiplier at all, unless a bound stops it on the way.
            let step = (-*multiplier).clamp(up.min(down), up.max(down));
            *multiplier += step;
            members.iter().for_each(|&arm| q[arm] *= libm::exp(step));
            moved = moved.max(step.abs());
        }
        if moved < 1e-12 {
            return q;
        }
    }
    panic!("the reference does not end: {policy:?}\n{polytope:?}")
}

#[test]
fn the_projection_is_where_a_slow_optimiser_ends() {
    let mut rng = ChaCha8Rng::seed_from_u64(51);
    let mut bound = 0;
    for number in 0..scale::tenth_of(20_000) {
        // With room of 0.01 everywhere, and a policy that is not all but certain, the reference converges quickly enough to be one.
        let Case { policy, polytope, .. } = case(&mut rng, 8.0, 0.01);
        let q = polytope.project(&policy).unwrap();
        let expected = reference(&policy, &polytope);
        let apart = q.iter().zip(&expected).map(|(q, expected)| (q - expected).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-6, "case {number}: {apart}\n{policy:?}\n{polytope:?}\n{q:?}\n{expected:?}");
        bound += usize::from(divergence(&q, &policy) > 1e-6);
    }
    assert!(bound > scale::tenth_of(20_000) as usize / 2, "hardly any bound acted: {bound}");
}

#[test]
fn every_bound_is_kept_however_little_room_it_leaves() {
    let mut rng = ChaCha8Rng::seed_from_u64(52);
    for number in 0..scale::tenth_of(200_000) {
        let Case { policy, polytope, inside } = case(&mut rng, 40.0, 0.0);
        let q = polytope.project(&policy).unwrap_or_else(|_| panic!("case {number}: {policy:?}\n{polytope:?}"));
        // The residual that the projection stops at, doubled by the rounding of sums; where a single point is allowed,
        // sums of tenths are off by more, and 1e-9 is what counts as a contradiction.
        let off = violation(&polytope, &q);
        assert!(off < 2e-9, "case {number}: {off}\n{policy:?}\n{polytope:?}");
        if q == policy {
            continue;
        }
        // Nothing that keeps the bounds is nearer: seen from the solution, the divergence rises towards all of it.
        let slope: f64 = (0..q.len())
            .filter(|&arm| q[arm] > 0.0)
            .map(|arm| (inside[arm] - q[arm]) * libm::log(q[arm] / policy[arm].max(PROBABILITY_MIN)))
            .sum();
        assert!(slope > -1e-6, "case {number}: {slope}\n{policy:?}\n{polytope:?}\n{q:?}");
    }
}

#[test]
fn arms_of_the_same_sets_keep_their_ratios_where_no_bound_of_their_own_holds_them() {
    let mut rng = ChaCha8Rng::seed_from_u64(53);
    let mut compared = 0;
    for _ in 0..scale::tenth_of(20_000) {
        let Case { policy, polytope, .. } = case(&mut rng, 40.0, 0.01);
        let q = polytope.project(&policy).unwrap();
        let is_free = |arm: &usize| q[*arm] > polytope.floors[*arm] + 1e-9 && q[*arm] < polytope.caps[*arm] - 1e-9;
        let free: Vec<usize> = (0..q.len()).filter(is_free).collect();
        for (&one, &other) in free.iter().zip(free.iter().skip(1)) {
            if polytope.members[one] == polytope.members[other] && q[one].min(q[other]) > 1e-9 {
                let before = policy[one].max(PROBABILITY_MIN) / policy[other].max(PROBABILITY_MIN);
                // Products of three factors, each rounded once: far below 1e-9.
                assert!((q[one] / q[other] / before - 1.0).abs() < 1e-9);
                compared += 1;
            }
        }
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn another_bound_never_brings_the_distribution_nearer() {
    let mut rng = ChaCha8Rng::seed_from_u64(54);
    for number in 0..scale::tenth_of(20_000) {
        let Case { policy, polytope, .. } = case(&mut rng, 40.0, 0.01);
        let mut looser = polytope.clone();
        match looser.totals.last_mut() {
            Some(total) => *total = (0.0, 1.0),
            None => looser.floors.iter_mut().for_each(|floor| *floor = 0.0),
        }
        let [with, without] =
            [&polytope, &looser].map(|polytope| divergence(&polytope.project(&policy).unwrap(), &policy));
        // Divergences are below 30, sums of 12 terms: 1e-12; the residual of 1e-13 is weighed by logarithms below 30.
        assert!(with >= without - 1e-11, "case {number}: {with} {without}");
    }
}

#[test]
fn contradictions_are_found_and_what_they_name_does_contradict() {
    let mut rng = ChaCha8Rng::seed_from_u64(55);
    let mut named = 0;
    for number in 0..scale::tenth_of(20_000) {
        let Case { policy, mut polytope, inside } = case(&mut rng, 40.0, 0.01);
        if polytope.totals.len() < 2 || policy.len() < 3 {
            continue;
        }
        // Two sets of which one holds the other, and wants more than that may have.
        let (inner, outer) = (0, 1);
        polytope.members.iter_mut().for_each(|sets| *sets |= (*sets >> inner & 1) << outer);
        let total = polytope.total_of(inner, &inside);
        polytope.totals[inner] = (total, 1.0);
        polytope.totals[outer] = (0.0, total * rng.random_range(0.1..0.99));
        let Err(Infeasible { sets, caps }) = polytope.project(&policy) else {
            assert!(total < 1e-9, "case {number}: nothing contradicts in {polytope:?}");
            continue;
        };
        for set in (0..polytope.totals.len()).filter(|set| !sets.contains(set)) {
            polytope.totals[set] = (0.0, 1.0);
        }
        if !caps {
            polytope.caps.iter_mut().for_each(|cap| *cap = 1.0);
        }
        assert!(polytope.project(&policy).is_err(), "case {number}: {sets:?}, caps {caps} do not contradict");
        named += 1;
    }
    assert!(named > 1000, "{named}");
}

#[test]
fn single_arms_and_policies_that_underflowed_are_projected_too() {
    let single = Polytope { floors: vec![0.2], caps: vec![1.0], members: vec![1], totals: vec![(0.5, 1.0)] };
    assert_eq!(single.project(&[1.0]), Ok(vec![1.0]));
    let capped = Polytope { totals: vec![(0.0, 0.5)], ..single };
    assert_eq!(capped.project(&[1.0]), Err(Infeasible { sets: vec![0], caps: false }));
    let nothing =
        Polytope { floors: vec![0.0; 4], caps: vec![1.0; 4], members: vec![1, 1, 0, 0], totals: vec![(0.0, 0.2)] };
    let q = nothing.project(&[0.0; 4]).unwrap();
    // Alike within and without the set: 0.1 and 0.4, up to the residual.
    q.iter().zip([0.1, 0.1, 0.4, 0.4]).for_each(|(q, expected)| assert!((q - expected).abs() < 1e-12, "{q}"));
}
