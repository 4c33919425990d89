//! What stands in a slot whatever is in the others, and two offers in two slots, as often as seeded draws show it.
//!
//! The probabilities are summed up over everything that can stand above, with every kind of bound on and `none` ending
//! slates; the counts are those of `engine::decide`. 20,000 decisions for each scene by default, 200,000 where everything
//! is asked for.

use crate::{
    draws::{EVERY_BOUND, FLOORS, scene_with_bounds},
    scale,
    scene::{self, NOW},
};
use offer_ranker::{
    engine::{
        decide::{RankRequest, decide},
        group::Group,
        odds::Odds,
        snapshot::PlacementSnapshot,
        user::UserState,
    },
    replay::slates::{
        possible::{Possible, SLATES_MAX},
        untold::Untold,
    },
};
use std::collections::BTreeMap;

const SLOTS: usize = 3;
/// The probability that anything in this file fails although every probability is exact. Seeds are fixed.
const FALSE_ALARM: f64 = 1e-6;
/// At least as many comparisons as the scenes make together: 5 scenes of 18 items, 171 pairs, and 3 times nothing.
const COMPARISONS: f64 = 1_000.0;

/// Whether a count of `decisions` trials may come of this probability: by Bernstein's inequality (1946) a count is
/// further off than sqrt(2 v l) + 2 l / 3, v its variance, with a probability of at most 2 exp(-l).
fn may_come_of(count: u64, decisions: u64, probability: f64) -> bool {
    let l = (2.0 * COMPARISONS / FALSE_ALARM).ln();
    let expected = decisions as f64 * probability;
    let variance = expected * (1.0 - probability).max(0.0);
    // Sums of some hundred probabilities are rounded by less than 1e-12.
    (count as f64 - expected).abs()
        <= (2.0 * variance * l).sqrt() + 2.0 / 3.0 * l * f64::from(u8::from(expected > 1e-9))
}

fn odds<'a>(snapshot: &'a PlacementSnapshot, request: &RankRequest, user: &UserState) -> Odds<'a, PlacementSnapshot> {
    Odds::of((&snapshot.catalog, &snapshot.placement, snapshot), request, user, NOW)
}

#[test]
fn what_may_stand_in_slots_stands_there_as_often() {
    for (policy, bounds, group, seed) in [
        ("thompson: {}", FLOORS, Group::Decisioning, 31),
        ("thompson: {}\n      linear: { precision: 1, a: 2, b: 0.2 }", EVERY_BOUND, Group::Decisioning, 32),
        ("merit: { steepness: 5 }", EVERY_BOUND, Group::Decisioning, 33),
        ("fixed: { order: [monthly, none, trial] }", "{}", Group::Decisioning, 34),
        ("thompson: {}", EVERY_BOUND, Group::Uniform, 35),
    ] {
        let (snapshot, request) = scene_with_bounds(policy, bounds, seed);
        let user = UserState { group, ..UserState::default() };
        let odds = odds(&snapshot, &request, &user);
        let possible = Possible::of(&odds, SLOTS).unwrap();
        assert_adds_up(&possible, odds.arms().len());

        let decisions = scale::tenth_of(200_000);
        let mut counts: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        let mut nothing = [0; SLOTS];
        for seed in 0..decisions {
            let decision = decide(&snapshot, &request, &user, NOW, seed);
            let arms = decision.slots.iter().map(|slot| slot.arms[slot.drawn].arm);
            let items: Vec<usize> = arms.enumerate().map(|(slot, arm)| possible.item(slot, arm)).collect();
            for (place, &item) in items.iter().enumerate() {
                items[..=place].iter().for_each(|&other| *counts.entry((item, other)).or_default() += 1);
            }
            nothing[items.len()..].iter_mut().for_each(|count| *count += 1);
        }
        for item in 0..possible.items() {
            for other in 0..=item {
                let (count, p) = (counts.get(&(item, other)).copied().unwrap_or(0), possible.together(item, other));
                assert!(may_come_of(count, decisions, p), "{policy}: items {item} and {other}: {count}, {p}");
            }
        }
        for (slot, &count) in nothing.iter().enumerate() {
            assert!(may_come_of(count, decisions, possible.nothing(slot)), "{policy}: nothing in slot {slot}: {count}");
        }
        if policy.starts_with("thompson") {
            // The lead's probabilities are not the second slot's, and these counts tell.
            let lead = |arm| possible.alone(possible.item(0, arm));
            let count = |arm| counts.get(&(possible.item(1, arm), possible.item(1, arm))).copied().unwrap_or(0);
            assert!((0..odds.arms().len()).any(|arm| !may_come_of(count(arm), decisions, lead(arm))), "{policy}");
        }
    }
}

/// Every slot shows something or nothing, also together with each item above it; no slot shows two arms, no slate an arm
/// twice. Sums of some hundred numbers below 1 are rounded by less than 1e-12.
fn assert_adds_up(possible: &Possible, arms: usize) {
    for slot in 0..SLOTS {
        let items = || (0..arms).map(move |arm| possible.item(slot, arm));
        let sum: f64 = items().map(|item| possible.alone(item)).sum();
        assert!((sum + possible.nothing(slot) - 1.0).abs() < 1e-12, "{sum}");
        for below in (slot + 1..SLOTS).flat_map(|slot| (0..arms).map(move |arm| possible.item(slot, arm))) {
            let sum: f64 = items().map(|item| possible.together(item, below)).sum();
            assert!((sum - possible.alone(below)).abs() < 1e-12, "{sum}");
        }
        for arm in 0..arms {
            let twice = (0..slot).map(|above| possible.together(possible.item(above, arm), possible.item(slot, arm)));
            let beside = (0..arm).map(|other| possible.together(possible.item(slot, other), possible.item(slot, arm)));
            assert_eq!(twice.chain(beside).sum::<f64>(), 0.0);
        }
    }
}

/// A placement of so many offers and slots.
fn large(offers: usize, slots: usize) -> (PlacementSnapshot, RankRequest) {
    let ids: Vec<String> = (0..offers).map(|offer| format!("offer-{offer:02}")).collect();
    let listed: String = ids
        .iter()
        .map(|id| {
            format!(
                "  - {{ id: {id}, kind: STANDARD, plan: p, \
                 prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: 9 }} }} }} }}\n"
            )
        })
        .collect();
    let (catalog, placement) = scene::placement(&format!(
        "
reward_currency: SEK
markets: [{{ id: SE, currency_code: SEK }}]
default_market: SE
metrics: [{{ id: conversion, kind: COUNT }}]
offers:
{listed}placements:
  - id: paywall
    slots: {slots}
    offers: [{}]
    policy: {{ thompson: {{}} }}
    reward: {{ terms: [{{ metric: conversion, indicator: true }}] }}
    bounds: {{ floor: 0.01 }}
",
        ids.join(", ")
    ));
    let learned = scene::learned(&placement, 30, &mut rand::SeedableRng::seed_from_u64(36));
    let request = scene::request(&placement, Vec::new());
    (scene::snapshot(&catalog, &learned), request)
}

#[test]
fn twenty_offers_in_three_slots_are_gone_through_and_in_five_are_refused() {
    let (snapshot, request) = large(20, 3);
    let possible = Possible::of(&odds(&snapshot, &request, &UserState::default()), 3).unwrap();
    assert_adds_up(&possible, 20);
    let (snapshot, request) = large(20, 5);
    let refused = Possible::of(&odds(&snapshot, &request, &UserState::default()), 5).unwrap_err();
    assert_eq!(refused, Untold::TooManySlates { slates: 20 * 19 * 18 * 17 * 16, most: SLATES_MAX });
    assert!(refused.to_string().contains("1860480") && refused.help().contains("cascade_dr"));
}
