//! The projection onto bounds, against a slow optimiser and against what defines it.

use crate::scale;
use offer_ranker::engine::bounds::{
    Band, Bounded, Bounds, Conflict, Relaxed, SlotBounds, TotalBound,
    projection::{Infeasible, PROBABILITY_MIN, Polytope},
};
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

/// A case in which nothing may be left: totals that somebody wrote without a distribution in mind.
fn contested(rng: &mut ChaCha8Rng) -> Case {
    let mut case = case(rng, 40.0, 0.01);
    for total in &mut case.polytope.totals {
        let (one, other) = (rng.random::<f64>(), rng.random::<f64>());
        match rng.random_range(0..4) {
            0 => *total = (one.max(other), 1.0),
            1 => *total = (0.0, one.min(other)),
            2 => *total = (one.min(other), one.max(other)),
            _ => {}
        }
    }
    case
}

/// Without what was given up.
fn loosened(polytope: &Polytope, given_up: impl Fn(usize) -> bool, caps: bool) -> Polytope {
    let mut polytope = polytope.clone();
    let totals = polytope.totals.iter_mut().enumerate();
    totals.filter(|(set, _)| given_up(*set)).for_each(|(_, total)| *total = (0.0, 1.0));
    if caps {
        polytope.caps.fill(1.0);
    }
    polytope
}

#[test]
fn a_conflict_leaves_nothing_and_without_any_one_of_its_bounds_something() {
    let mut rng = ChaCha8Rng::seed_from_u64(55);
    let (mut found, mut largest) = (0, 0);
    for number in 0..scale::tenth_of(20_000) {
        let Case { policy, polytope, .. } = contested(&mut rng);
        let project = |polytope: &Polytope| polytope.project(&policy);
        let Some(Conflict { floors, caps, sets }) = polytope.conflict() else {
            let q = project(&polytope).unwrap();
            assert!(violation(&polytope, &q) < 2e-9, "case {number}: {polytope:?}");
            continue;
        };
        assert_eq!(project(&polytope), Err(Infeasible), "case {number}: {polytope:?}");
        let mut least = loosened(&polytope, |set| !sets.contains(&set), !caps);
        if !floors {
            least.floors.fill(0.0);
        }
        assert_eq!(project(&least), Err(Infeasible), "case {number}: {sets:?} do not contradict each other");
        let mut without: Vec<Polytope> = sets.iter().map(|one| loosened(&least, |set| set == *one, false)).collect();
        without.extend(caps.then(|| loosened(&least, |_| false, true)));
        without.extend(floors.then(|| Polytope { floors: vec![0.0; policy.len()], ..least.clone() }));
        for without in &without {
            let q = project(without).unwrap_or_else(|_| panic!("case {number}: {sets:?} is more than a conflict"));
            assert!(violation(without, &q) < 2e-9, "case {number}: {polytope:?}");
        }
        found += 1;
        largest = largest.max(without.len());
    }
    assert!(found > 1000 && largest > 3, "{found}, of up to {largest} bounds");
}

/// Takes in one bound after the other, by importance, and gives up what does not fit.
fn taken_in_one_by_one(polytope: &Polytope, totals: usize) -> Relaxed {
    let is_feasible = |kept: &[Option<usize>]| {
        let taken = loosened(polytope, |set| !kept.contains(&Some(set)), !kept.contains(&None));
        taken.project(&vec![1.0 / taken.floors.len() as f64; taken.floors.len()]).is_ok()
    };
    let sets = polytope.totals.len();
    let (mut kept, mut relaxed) = (Vec::new(), Relaxed::default());
    // Bands, the caps, sets.
    for bound in (totals..sets).map(Some).chain([None]).chain((0..totals).map(Some)) {
        kept.push(bound);
        if !is_feasible(&kept) {
            kept.pop();
            match bound {
                Some(set) => relaxed.sets |= 1 << set,
                None => relaxed.caps = true,
            }
        }
    }
    relaxed
}

#[test]
fn what_is_given_up_does_not_fit_beside_what_is_more_important_whatever_the_policy_says() {
    let mut rng = ChaCha8Rng::seed_from_u64(56);
    let mut contested_cases = 0;
    for number in 0..scale::tenth_of(20_000) {
        let Case { policy, polytope, .. } = contested(&mut rng);
        let sets = polytope.totals.len();
        let bands = rng.random_range(0..=sets.min(3));
        let bounds = bounds_of(&polytope.totals[..sets - bands], bands);
        let expected = taken_in_one_by_one(&polytope, sets - bands);
        let flipped: Vec<f64> = policy.iter().rev().copied().collect();
        for policy in [&policy, &flipped] {
            let Bounded { pmf, relaxed } = SlotBounds { polytope: polytope.clone(), bounds: &bounds }.keep(policy);
            assert_eq!(relaxed, expected, "case {number}: {policy:?}\n{polytope:?}");
            let kept = loosened(&polytope, |set| relaxed.sets >> set & 1 == 1, relaxed.caps);
            assert!(violation(&kept, &pmf) < 2e-9, "case {number}: {policy:?}\n{polytope:?}");
        }
        contested_cases += usize::from(!expected.is_nothing());
    }
    assert!(contested_cases > 1000, "{contested_cases}");
}

fn bounds_of(totals: &[(f64, f64)], bands: usize) -> Bounds {
    let total = |&(min, max): &(f64, f64)| TotalBound { id: "total".into(), min, max, every_slot: false };
    let band = Band { id: "band".into(), rate: None, delta: 0.0, max_gap: None };
    Bounds { totals: totals.iter().map(total).collect(), bands: vec![band; bands] }
}

#[test]
fn a_bound_that_contradicts_nothing_is_kept_beside_one_that_does() {
    // Of two offers one in ten at most; the second of them, whose partner is not to be had, one in five; and three bounds
    // on others, which can be kept with the first.
    let members = vec![0b11101, 0b00011, 0b00000, 0b10000, 0b11100];
    let totals = vec![(0.0, 0.1), (0.2, 1.0), (0.5, 1.0), (0.7, 1.0), (0.0, 0.7)];
    let bounds = bounds_of(&totals, 0);
    let polytope = Polytope { members, totals, ..Polytope::of_floors(vec![0.0; 5]) };
    assert_eq!(polytope.conflict(), Some(Conflict { floors: false, caps: false, sets: vec![0, 1] }));
    for favourite in 0..5 {
        let mut policy = vec![0.01; 5];
        policy[favourite] = 0.96;
        let Bounded { relaxed, .. } = SlotBounds { polytope: polytope.clone(), bounds: &bounds }.keep(&policy);
        assert_eq!(relaxed, Relaxed { sets: 1 << 1, caps: false }, "{favourite}");
    }
}

#[test]
fn single_arms_and_policies_that_underflowed_are_projected_too() {
    let single = Polytope { floors: vec![0.2], caps: vec![1.0], members: vec![1], totals: vec![(0.5, 1.0)] };
    assert_eq!(single.project(&[1.0]), Ok(vec![1.0]));
    let capped = Polytope { totals: vec![(0.0, 0.5)], ..single };
    assert_eq!(capped.project(&[1.0]), Err(Infeasible));
    assert_eq!(capped.conflict(), Some(Conflict { floors: false, caps: false, sets: vec![0] }));
    let nothing =
        Polytope { floors: vec![0.0; 4], caps: vec![1.0; 4], members: vec![1, 1, 0, 0], totals: vec![(0.0, 0.2)] };
    let q = nothing.project(&[0.0; 4]).unwrap();
    // Alike within and without the set: 0.1 and 0.4, up to the residual.
    q.iter().zip([0.1, 0.1, 0.4, 0.4]).for_each(|(q, expected)| assert!((q - expected).abs() < 1e-12, "{q}"));
}
