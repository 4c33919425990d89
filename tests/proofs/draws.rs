//! The logged probabilities are the drawing frequencies.
//!
//! Everything goes through `engine::decide`, on posteriors that have learned something, with floors in force and with
//! a `none` arm that ends slates. Where the probabilities are the same for every seed they are compared with counts by
//! Pearson's chi-square, slot 2 and 3 apart for everything that can stand above them; where they vary from decision to
//! decision, 1{drawn} - p is summed for every arm and slot. The same statistics must reject propensities that are
//! wrong in the ways that are easy to get wrong, or they would prove nothing.
//!
//! 100,000 decisions each by default, 1,000,000 where everything is asked for.

use crate::{
    scale,
    scene::{self, NOW},
};
use offer_ranker::engine::{
    decide::{Decision, ENGINE_VERSION, RankRequest, SlotDraw, decide},
    group::Group as Measured,
    learn::PartitionStatistics,
    slate,
    snapshot::PlacementSnapshot,
    user::UserState,
};
use rand::{RngExt as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};
use statrs::distribution::{ChiSquared, ContinuousCDF as _, Normal};
use std::{collections::BTreeMap, sync::Arc};

/// The probability that anything in this file fails although every propensity is exact. The seeds are fixed, so this
/// was a chance taken once, when they were chosen.
const FALSE_ALARM: f64 = 1e-6;
/// At least as many comparisons as all tests of this file make together (Bonferroni).
const COMPARISONS: f64 = 200.0;
/// Smallest expected count of a cell of Pearson's statistic (Cochran, 1954); rarer arms are counted together.
const EXPECTED_MIN: f64 = 5.0;

const BETA: &str = "thompson: {}";
const LINEAR: &str = "thompson: {}\n      linear: { precision: 1, a: 2, b: 0.2 }";
const VALUE: &str = "thompson: {}\n      objective: VALUE";
const EPSILON_GREEDY: &str = "epsilon_greedy: { epsilon: 0.3 }";
const UNIFORM: &str = "uniform: {}";
const FIXED: &str = "fixed: { order: [monthly, none, trial] }";

const OFFERS: [(&str, u32); 6] =
    [("annual", 89_900), ("family", 19_900), ("monthly", 11_900), ("none", 0), ("student", 5_900), ("trial", 100)];

pub(crate) const FLOORS: &str = "{ floor: 0.03, floors: { none: 0.08 } }";
/// Every kind of bound: floors, a cap, sets that overlap, in the lead and in each slot, and a band.
pub(crate) const EVERY_BOUND: &str = "
      floor: 0.02
      floors: { none: 0.08 }
      caps: { trial: 0.4 }
      sets:
        - { id: cheap, offers: [student, trial], min: 0.35, slots: EACH }
        - { id: monthly-paid, offers: [monthly, family, student], max: 0.45, slots: EACH }
        - { id: shown, offers: [annual, family, monthly, student, trial], max: 0.9 }
      bands:
        - { id: large, offers: [annual, family], rate: 0.3, delta: 0.03 }
    groups: { uniform: 0.2, holdout: 0.1, holdout_order: [family, annual] }";

/// A placement of three slots and six arms, `none` among them, which has a floor of its own.
fn catalog(policy: &str, order: &[usize]) -> String {
    catalog_with_bounds(policy, order, FLOORS)
}

fn catalog_with_bounds(policy: &str, order: &[usize], bounds: &str) -> String {
    let ids = order.iter().map(|&index| OFFERS[index].0).collect::<Vec<_>>().join(", ");
    let offers: String = order.iter().map(|&index| offer(OFFERS[index].0, OFFERS[index].1)).collect();
    format!(
        "
reward_currency: SEK
markets: [{{ id: SE, currency_code: SEK }}]
default_market: SE
metrics: [{{ id: conversion, kind: COUNT }}]
offers:
{offers}
placements:
  - id: paywall
    slots: 3
    offers: [{ids}]
    context:
      attributes:
        - name: tenure_days
          number: {{ min: 0, max: 1000, scaling: LOG }}
        - name: channel
          category: {{ values: [organic, email, paid] }}
        - name: is_weekend
          boolean: {{}}
    policy:
      {policy}
    reward: {{ terms: [{{ metric: conversion, indicator: true }}] }}
    bounds: {bounds}
"
    )
}

fn offer(id: &str, amount_minor: u32) -> String {
    match id {
        "none" => "  - { id: none, kind: NONE, value: { currency_code: SEK, amount_minor: 4000 } }\n".to_owned(),
        _ => format!(
            "  - {{ id: {id}, kind: STANDARD, plan: standard, \
             prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: {amount_minor} }} }} }} }}\n"
        ),
    }
}

/// A snapshot that has learned from about 30 slots of every arm, and a request.
fn scene(policy: &str, seed: u64) -> (PlacementSnapshot, RankRequest) {
    scene_with_bounds(policy, FLOORS, seed)
}

pub(crate) fn scene_with_bounds(policy: &str, bounds: &str, seed: u64) -> (PlacementSnapshot, RankRequest) {
    let (catalog, placement) = scene::placement(&catalog_with_bounds(policy, &[0, 1, 2, 3, 4, 5], bounds));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let learned = scene::learned(&placement, 30, &mut rng);
    let request = scene::request(&placement, scene::attributes(&placement, &mut rng));
    (scene::snapshot(&catalog, &learned), request)
}

/// Draws of one slot below one prefix of draws.
struct Group {
    slot: SlotDraw,
    counts: Vec<u64>,
}

/// Draws by what was drawn above them, which is nothing for slot 1.
type Tally = BTreeMap<Vec<usize>, Group>;

/// Decides once for every seed, and checks that the same draws above always give the same probabilities.
fn tally(snapshot: &PlacementSnapshot, request: &RankRequest, decisions: u64) -> Tally {
    tally_of_group(Measured::Decisioning, snapshot, request, decisions)
}

fn tally_of_group(group: Measured, snapshot: &PlacementSnapshot, request: &RankRequest, decisions: u64) -> Tally {
    let mut tally = Tally::new();
    let user = UserState { group, ..UserState::default() };
    for seed in 0..decisions {
        let decision = decide(snapshot, request, &user, NOW, seed);
        let mut prefix = Vec::new();
        for slot in &decision.slots {
            let group = tally
                .entry(prefix.clone())
                .or_insert_with(|| Group { slot: slot.clone(), counts: vec![0; slot.arms.len()] });
            assert_eq!(slot.arms, group.slot.arms, "below {prefix:?} with seed {seed}");
            group.counts[slot.drawn] += 1;
            prefix.push(slot.arms[slot.drawn].arm);
        }
        assert_slate_is_whole(&decision, request);
    }
    tally
}

/// A slate ends where showing nothing was drawn, or is as long as asked for.
fn assert_slate_is_whole(decision: &Decision, request: &RankRequest) {
    let ends = |slot: &SlotDraw| decision.drawn(slot).ends_slate;
    let (last, above) = decision.slots.split_last().unwrap();
    assert!(!above.iter().any(ends));
    assert!(ends(last) || decision.slots.len() == request.slots as usize);
}

/// The chance of counts as far from `expectation` as these or further, over all groups of one slot.
fn p_value(tally: &Tally, slot: usize, expectation: impl Fn(&[usize], &SlotDraw) -> Vec<f64>) -> f64 {
    let mut statistic = 0.0;
    let mut freedom = 0_usize;
    for (prefix, group) in tally.iter().filter(|(prefix, _)| prefix.len() + 1 == slot) {
        let total = group.counts.iter().sum::<u64>() as f64;
        let expected = expectation(prefix, &group.slot).into_iter().map(|probability| probability * total);
        let cells = pool(expected.zip(group.counts.iter().map(|&count| count as f64)).collect());
        statistic += cells.iter().map(|(expected, count)| (count - expected).powi(2) / expected).sum::<f64>();
        freedom += cells.len() - 1;
    }
    assert!(freedom > 0, "slot {slot} is never left to chance");
    ChiSquared::new(freedom as f64).unwrap().sf(statistic)
}

/// Adds the smallest cells together until every cell is large enough, or only one is left.
fn pool(mut cells: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    cells.sort_by(|a, b| b.0.total_cmp(&a.0));
    while cells.len() > 1 && cells.last().is_some_and(|last| last.0 < EXPECTED_MIN) {
        let (expected, count) = cells.pop().unwrap();
        let last = cells.last_mut().unwrap();
        *last = (last.0 + expected, last.1 + count);
    }
    cells
}

fn logged(_: &[usize], slot: &SlotDraw) -> Vec<f64> {
    slot.arms.iter().map(|arm| arm.probability).collect()
}

fn assert_frequencies_are_as_logged(policy: &str, seed: u64) {
    let (snapshot, request) = scene(policy, seed);
    let tally = tally(&snapshot, &request, scale::tenth_of(1_000_000));
    for slot in 1..=3 {
        let p = p_value(&tally, slot, logged);
        scale::tell(&format!("{policy:?}: slot {slot}, p = {p:.3}"));
        assert!(p > FALSE_ALARM / COMPARISONS, "slot {slot}: p = {p:e}");
    }
    for group in tally.values() {
        assert_floors_hold(&group.slot, &snapshot);
    }
}

/// Floors bind in every slot: what is drawn above only frees probability.
fn assert_floors_hold(slot: &SlotDraw, snapshot: &PlacementSnapshot) {
    let sum: f64 = slot.arms.iter().map(|arm| arm.probability).sum();
    // At most 6 additions and divisions of numbers below 1: far below 1e-14 of rounding.
    assert!((sum - 1.0).abs() < 1e-14, "{sum}");
    for arm in &slot.arms {
        let floor = snapshot.placement.arms[arm.arm].floor;
        assert!(floor > 0.0 && arm.probability >= floor - 1e-14, "{arm:?}");
    }
}

#[test]
fn frequencies_are_the_logged_probabilities_of_beta_thompson() {
    assert_frequencies_are_as_logged(BETA, 1);
}

#[test]
fn frequencies_are_the_logged_probabilities_of_linear_thompson() {
    assert_frequencies_are_as_logged(LINEAR, 2);
}

#[test]
fn frequencies_are_the_logged_probabilities_of_thompson_by_value() {
    assert_frequencies_are_as_logged(VALUE, 3);
}

#[test]
fn frequencies_are_the_logged_probabilities_of_epsilon_greedy() {
    assert_frequencies_are_as_logged(EPSILON_GREEDY, 4);
}

#[test]
fn frequencies_are_the_logged_probabilities_of_uniform() {
    assert_frequencies_are_as_logged(UNIFORM, 5);
}

#[test]
fn frequencies_are_the_logged_probabilities_of_a_fixed_order_with_floors() {
    assert_frequencies_are_as_logged(FIXED, 6);
}

#[test]
fn frequencies_are_the_logged_probabilities_with_every_bound_on_in_both_groups_that_bounds_bind() {
    // By seeds of which some have policies that break every bound.
    let mut acted: BTreeMap<Measured, [bool; 6]> = BTreeMap::new();
    for (policy, group, seed) in [
        (BETA, Measured::Decisioning, 45),
        (LINEAR, Measured::Decisioning, 79),
        ("merit: { steepness: 5 }", Measured::Decisioning, 14),
        (BETA, Measured::Uniform, 15),
    ] {
        let (snapshot, request) = scene_with_bounds(policy, EVERY_BOUND, seed);
        let tally = tally_of_group(group, &snapshot, &request, scale::tenth_of(1_000_000));
        for slot in 1..=3 {
            let p = p_value(&tally, slot, logged);
            scale::tell(&format!("{policy:?}, {group:?}: slot {slot}, p = {p:.3}"));
            assert!(p > FALSE_ALARM / COMPARISONS, "{policy:?}, {group:?}: slot {slot}: p = {p:e}");
        }
        for (above, seen) in &tally {
            assert_every_bound_holds(&seen.slot, above.is_empty());
            let broken = broken_by_the_policy(&seen.slot, above.is_empty());
            acted.entry(group).or_default().iter_mut().zip(broken).for_each(|(acted, is)| *acted |= is);
        }
        if group == Measured::Uniform {
            let lead = &tally[&Vec::new()].slot;
            assert!(lead.arms.iter().all(|arm| arm.policy_probability == 1.0 / 6.0), "{lead:?}");
        }
    }
    // Floors, the cap, the three sets, the band.
    assert_eq!(acted[&Measured::Decisioning], [true; 6]);
    assert_eq!(acted[&Measured::Uniform], [false, false, true, true, false, true]);
}

/// Which of [`EVERY_BOUND`] a slot's policy would not keep: floors, the cap, the sets, the band.
fn broken_by_the_policy(slot: &SlotDraw, is_lead: bool) -> [bool; 6] {
    let of = |offers: &[&str]| -> f64 {
        slot.arms.iter().filter(|arm| offers.contains(&OFFERS[arm.arm].0)).map(|arm| arm.policy_probability).sum()
    };
    [
        slot.arms.iter().any(|arm| arm.policy_probability < 0.02),
        of(&["trial"]) > 0.4,
        of(&["student", "trial"]) < 0.35,
        of(&["monthly", "family", "student"]) > 0.45,
        is_lead && of(&["annual", "family", "monthly", "student", "trial"]) > 0.9,
        is_lead && !(0.27..=0.33).contains(&of(&["annual", "family"])),
    ]
}

/// [`EVERY_BOUND`] in a slot. Of what was drawn above, some bounds may not be left to keep.
fn assert_every_bound_holds(slot: &SlotDraw, is_lead: bool) {
    let of = |offers: &[&str]| -> f64 {
        slot.arms.iter().filter(|arm| offers.contains(&OFFERS[arm.arm].0)).map(|arm| arm.probability).sum()
    };
    // The projection's residual is 1e-13, and sums of six numbers are rounded by less.
    let within =
        |total: f64, min: f64, max: f64| assert!(min - 1e-12 <= total && total <= max + 1e-12, "{total} {slot:?}");
    let kept = |bit: u64| slot.relaxed.sets >> bit & 1 == 0;
    assert!(!is_lead || slot.relaxed.is_nothing(), "{slot:?}");
    for arm in &slot.arms {
        let floor = if OFFERS[arm.arm].0 == "none" { 0.08 } else { 0.02 };
        within(arm.probability, floor, 1.0);
    }
    if !slot.relaxed.caps {
        within(of(&["trial"]), 0.0, 0.4);
    }
    if kept(0) {
        within(of(&["student", "trial"]), 0.35, 1.0);
    }
    if kept(1) {
        within(of(&["monthly", "family", "student"]), 0.0, 0.45);
    }
    if is_lead {
        within(of(&["annual", "family", "monthly", "student", "trial"]), 0.0, 0.9);
        within(of(&["annual", "family"]), 0.27, 0.33);
    }
}

#[test]
fn the_holdout_is_shown_its_order_whatever_bounds_say() {
    let (snapshot, request) = scene_with_bounds(LINEAR, EVERY_BOUND, 16);
    let user = UserState { group: Measured::Holdout, ..UserState::default() };
    for seed in 0..100 {
        let decision = decide(&snapshot, &request, &user, NOW, seed);
        let shown: Vec<&str> = decision.slots.iter().map(|slot| &*decision.drawn(slot).offer_id).collect();
        // The order that is declared, then that of the placement.
        assert_eq!(shown, ["family", "annual", "monthly"]);
        assert!(decision.slots.iter().all(|slot| slot.propensity() == 1.0 && slot.relaxed.is_nothing()));
        assert!(decision.bands.is_empty());
    }
}

#[test]
fn propensities_that_are_wrong_in_likely_ways_are_rejected() {
    let (snapshot, request) = scene(BETA, 1);
    let tally = tally(&snapshot, &request, scale::tenth_of(1_000_000));
    let lead = &tally[&Vec::new()].slot;
    let rejected = |name: &str, p: f64| {
        scale::tell(&format!("{name}: p = {p:e}"));
        assert!(p < FALSE_ALARM / COMPARISONS, "{name} passes with p = {p:e}");
    };

    // The probabilities of the policy, without the floors that acted.
    let unbounded = |_: &[usize], slot: &SlotDraw| slot.arms.iter().map(|arm| arm.policy_probability).collect();
    rejected("the policy before its bounds", p_value(&tally, 1, unbounded));

    // Slot 2 as slot 1 without what was drawn there, which is not the probability of being best of the rest.
    let renormalised =
        |_: &[usize], slot: &SlotDraw| normalised(slot.arms.iter().map(|arm| lead.arms[arm.arm].probability).collect());
    rejected("slot 1 renormalised", p_value(&tally, 2, renormalised));

    // The probability of slot 2 whatever stands above it.
    let mut marginal = [0.0; OFFERS.len()];
    for (above, group) in tally.iter().filter(|(prefix, _)| prefix.len() == 1) {
        group.slot.arms.iter().for_each(|arm| marginal[arm.arm] += lead.arms[above[0]].probability * arm.probability);
    }
    let marginal = |_: &[usize], slot: &SlotDraw| normalised(slot.arms.iter().map(|arm| marginal[arm.arm]).collect());
    rejected("the marginal of slot 2", p_value(&tally, 2, marginal));
}

fn normalised(weights: Vec<f64>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Sums of 1{drawn} - p and of its variance p (1 - p), by slot and arm.
type Pooled = BTreeMap<(usize, Arc<str>), (f64, f64)>;

/// Decides about ever other users, with some of the offers as candidates.
fn pooled(
    (policy, bounds, group): (&str, &str, Measured),
    decisions: u64,
    propensity: impl Fn(&SlotDraw, usize) -> f64,
) -> Pooled {
    let user = UserState { group, ..UserState::default() };
    let (snapshot, mut request) = scene_with_bounds(policy, bounds, 7);
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut pooled = Pooled::new();
    for _ in 0..decisions {
        request.attributes = scene::attributes(&snapshot.placement, &mut rng);
        let mut offers = OFFERS.map(|(id, _)| Arc::from(id));
        offers.shuffle(&mut rng);
        request.candidates = offers[..rng.random_range(2..=offers.len())].to_vec();
        let decision = decide(&snapshot, &request, &user, NOW, rng.random());
        for (slot, draw) in (1..).zip(&decision.slots) {
            for (index, arm) in draw.arms.iter().enumerate() {
                let p = propensity(draw, index);
                let sums = pooled.entry((slot, decision.arms[arm.arm].offer_id.clone())).or_default();
                sums.0 += f64::from(u8::from(index == draw.drawn)) - p;
                sums.1 += p * (1.0 - p);
            }
        }
    }
    pooled
}

/// The largest of all sums, in standard deviations. Given what was drawn before, every term has mean 0, so the sum is
/// a martingale and close to normal at tens of thousands of terms (Brown, 1971).
fn largest_z(pooled: &Pooled) -> f64 {
    pooled.values().map(|(sum, variance)| (sum / variance.sqrt()).abs()).fold(0.0, f64::max)
}

/// What a sum stays below, both sides: 6.4 standard deviations.
fn critical_z() -> f64 {
    Normal::standard().inverse_cdf(1.0 - FALSE_ALARM / COMPARISONS / 2.0)
}

#[test]
fn frequencies_are_the_logged_probabilities_where_every_decision_has_its_own() {
    for (policy, bounds, group) in [
        (BETA, FLOORS, Measured::Decisioning),
        (LINEAR, FLOORS, Measured::Decisioning),
        (LINEAR, EVERY_BOUND, Measured::Decisioning),
        (LINEAR, EVERY_BOUND, Measured::Uniform),
    ] {
        let scene = (policy, bounds, group);
        let pooled = pooled(scene, scale::tenth_of(1_000_000) / 2, |draw, index| draw.arms[index].probability);
        assert_eq!(pooled.len(), 3 * OFFERS.len());
        let z = largest_z(&pooled);
        scale::tell(&format!("{policy:?}: {z:.2} standard deviations"));
        assert!(z < critical_z(), "{z} standard deviations: {pooled:?}");
    }
}

#[test]
fn probabilities_that_did_not_act_are_rejected_where_every_decision_has_its_own() {
    for bounds in [FLOORS, EVERY_BOUND] {
        let scene = (LINEAR, bounds, Measured::Decisioning);
        let pooled = pooled(scene, scale::tenth_of(1_000_000) / 2, |draw, index| draw.arms[index].policy_probability);
        let z = largest_z(&pooled);
        scale::tell(&format!("the policy before its bounds: {z:.0} standard deviations"));
        assert!(z > critical_z(), "the policy before its bounds passes with {z} standard deviations");
    }
}

#[test]
fn same_inputs_give_the_same_decision() {
    for policy in [BETA, LINEAR, VALUE, EPSILON_GREEDY, UNIFORM, FIXED] {
        let (snapshot, mut request) = scene(policy, 9);
        let (again, _) = scene(policy, 9);
        request.include_tail = true;
        for seed in 0..200 {
            let decision = decide(&snapshot, &request, &UserState::default(), NOW, seed);
            assert_eq!(decide(&again, &request, &UserState::default(), NOW, seed), decision);
            let mut longer = request.clone();
            longer.slots = 1;
            assert_eq!(
                decide(&snapshot, &longer, &UserState::default(), NOW, seed).slots[..],
                decision.slots[..1],
                "fewer slots"
            );
        }
    }
}

#[test]
fn the_order_of_offers_in_the_file_changes_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    for policy in [BETA, LINEAR, VALUE, EPSILON_GREEDY, UNIFORM] {
        let (snapshot, request) = scene(policy, 11);
        let mut order = [0, 1, 2, 3, 4, 5];
        order.shuffle(&mut rng);
        let (permuted, placement) = scene::placement(&catalog(policy, &order));
        // The placement lists its arms by offer id again, so the same seed teaches the same arms the same.
        let learned = scene::learned(&placement, 30, &mut ChaCha8Rng::seed_from_u64(11));
        let permuted = scene::snapshot(&permuted, &learned);
        let mut candidates = order.map(|index| Arc::from(OFFERS[index].0));
        for seed in 0..200 {
            let decision = decide(&snapshot, &request, &UserState::default(), NOW, seed);
            assert_eq!(decide(&permuted, &request, &UserState::default(), NOW, seed), decision);
            candidates.shuffle(&mut rng);
            let named = RankRequest { candidates: candidates.to_vec(), ..request.clone() };
            assert_eq!(decide(&permuted, &named, &UserState::default(), NOW, seed), decision);
        }
    }
}

/// Computed with an implementation of ChaCha in Python, written for this test from RFC 8439, that gives the block of
/// its section 2.3.2 with 20 rounds and, with 12 rounds, test case 1 for 256-bit keys of draft-strombergson-chacha-
/// test-vectors. The key is the seed in eight little-endian bytes and "offer-ranker/streams/v1" with its closing
/// nought; words 12 and 13 (the counter) are 0, words 14 and 15 are the slot; the numbers are the first two words of
/// the block as one little-endian number, shifted right by 11 bits.
#[test]
fn golden_uniform_numbers_agree_with_an_independent_chacha() {
    for (seed, slot, bits) in [
        (0, 1, 0x3_26a9_bb6d_7463_u64),
        (0, 2, 0x3_9887_5c02_e85b),
        (0, 3, 0x4_423e_347c_2c3d),
        (0, 10, 0x17_1d9b_469d_4887),
        (1, 1, 0x9_6dcf_6b07_69dc),
        (1, 2, 0x12_3ed1_b247_5f3a),
        (7, 3, 0x1b_50a9_c075_d00d),
        (0x0123_4567_89ab_cdef, 1, 0x8_d59a_236f_0bac),
        (0x0123_4567_89ab_cdef, 2, 0x1d_93b3_8123_8b61),
        (u64::MAX, 1, 0x1d_5b33_b11e_ff3b),
        (u64::MAX, 10, 0x13_b1d5_1609_9181),
    ] {
        let expected = bits as f64 / (1_u64 << 53) as f64;
        assert_eq!(slate::uniform(seed, slot).to_bits(), expected.to_bits(), "seed {seed}, slot {slot}");
    }
}

/// Decisions as an independent implementation makes them: in Python, probabilities of being best by mpmath's adaptive
/// quadrature at 25 digits, floors by the definition of the projection, draws by the ChaCha of the test above.
#[test]
fn golden_decisions_agree_with_an_independent_implementation() {
    let policy = "thompson: {}
      beta:
        arm_priors:
          annual: { alpha: 4, beta: 9 }
          monthly: { alpha: 12, beta: 40 }
          none: { alpha: 1, beta: 7 }
          trial: { alpha: 3, beta: 5 }";
    let (catalog, placement) =
        scene::placement(&catalog_with_bounds(policy, &[0, 2, 3, 5], "{ floor: 0.05, floors: { none: 0.1 } }"));
    let snapshot = scene::snapshot(&catalog, &PartitionStatistics::default());
    let request = scene::request(&placement, scene::attributes(&placement, &mut ChaCha8Rng::seed_from_u64(12)));
    let first: &[f64] = &[0.301_183_866_135, 0.069_734_868_676_6, 0.1, 0.529_081_265_188];
    let without_annual: &[f64] = &[0.178_866_887_954, 0.1, 0.721_133_112_046];
    let without_trial: &[f64] = &[0.640_934_324_763, 0.259_065_675_237, 0.1];
    let monthly_and_none: &[f64] = &[0.821_984_393_946, 0.178_015_606_054];
    let annual_and_none: &[f64] = &[0.872_291_021_672, 0.127_708_978_328];
    for (seed, expected) in [
        (0, vec![("annual", first), ("monthly", without_annual), ("trial", &[0.1, 0.9])]),
        (1, vec![("annual", first), ("trial", without_annual), ("monthly", monthly_and_none)]),
        (2, vec![("none", first)]),
        (3, vec![("trial", first), ("annual", without_trial), ("monthly", monthly_and_none)]),
        (4, vec![("trial", first), ("none", without_trial)]),
        (5, vec![("trial", first), ("monthly", without_trial), ("annual", annual_and_none)]),
    ] {
        let decision = decide(&snapshot, &request, &UserState::default(), NOW, seed);
        let drawn: Vec<&str> = decision.slots.iter().map(|slot| &*decision.drawn(slot).offer_id).collect();
        assert_eq!(drawn, expected.iter().map(|(id, _)| *id).collect::<Vec<_>>(), "seed {seed}");
        for (slot, (_, expected)) in decision.slots.iter().zip(expected) {
            assert_eq!(slot.arms.len(), expected.len());
            for (arm, expected) in slot.arms.iter().zip(expected) {
                // A fifth of what is asked of the probabilities that act.
                assert!((arm.probability - expected).abs() < 2e-4, "seed {seed}: {arm:?} {expected}");
            }
        }
    }
}

/// Logged decisions are made again to the last bit, by later releases too. Where this changes on purpose,
/// `ENGINE_VERSION` must change with it.
#[test]
fn golden_decisions_keep_their_bits() {
    let mut hash = Sha256::new();
    let plain = [BETA, LINEAR, VALUE, EPSILON_GREEDY, UNIFORM, FIXED].map(|policy| (policy, FLOORS));
    for ((policy, bounds), seed) in plain.into_iter().chain([(LINEAR, EVERY_BOUND)]).zip(20..) {
        let (snapshot, request) = scene_with_bounds(policy, bounds, seed);
        for seed in 0..100 {
            for slot in decide(&snapshot, &request, &UserState::default(), NOW, seed).slots {
                hash.update((slot.drawn as u64).to_le_bytes());
                slot.arms.iter().for_each(|arm| hash.update(arm.probability.to_le_bytes()));
            }
        }
    }
    assert_eq!(ENGINE_VERSION, 11);
    let pinned = "bca4e10716eeea6a0cd546a57e84c8ef6c9224f5df31cf54b3feddb232897453";
    assert_eq!(data_encoding::HEXLOWER.encode(&hash.finalize()), pinned);
}
