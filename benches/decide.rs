//! What one decision costs: three slots from 5, 20 and 100 candidates, context-free and with 32 features.
//!
//! And what rules add to it (8 of the user and 2 of each offer), and bounds (two sets and a band), at 20 candidates, as
//! ratios of medians of one run.
//!
//! `cargo bench --bench decide`

#![expect(clippy::unwrap_used, reason = "a benchmark may fail where it stands")]

#[path = "../tests/proofs/scene.rs"]
mod scene;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use offer_ranker::engine::{
    decide::{Decision, RankRequest, decide},
    snapshot::PlacementSnapshot,
    user::UserState,
};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use scene::NOW;
use std::{fmt::Write as _, hint::black_box, ops::Range};

/// The server's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BETA: &str = "beta: {}";
/// With the intercept and 31 numbers: 32 features.
const LINEAR: &str = "linear: { precision: 1, a: 2, b: 0.2 }";
const NUMBERS: usize = 31;

/// What rules may add, as a factor.
const RULES_RATIO_MAX: f64 = 1.5;
/// What bounds may add, as a factor.
const BOUNDS_RATIO_MAX: f64 = 1.3;
/// None of them excludes anything, so that both decide among the same.
const RULES: [&str; 10] = [
    "user.number_0 >= -1.0",
    "user.number_1 < 0.5 || user.number_2 >= -1.0",
    "user.number_3 + user.number_4 > -3.0",
    "!subscription.trial_used && subscription.current_plan != \"basic\"",
    "platform in [\"web\", \"ios\", \"android\"]",
    "now.hour < 24 && now.weekday <= 7",
    "user.number_5 * 2.0 <= 2.0 || subscription.has_lapsed",
    "market == \"SE\" && user.number_6 < 2.0",
    "offer.price > 50.0 + user.number_7",
    "\"calm\" in offer.tags ? offer.price * 0.01 < 3.0 + user.number_9 : user.number_8 > 2.0",
];

fn with_rules(yaml: &str) -> String {
    let mut rules = String::from("rules:\n");
    for (index, rule) in RULES.iter().enumerate() {
        writeln!(rules, "  - {{ id: rule-{index}, expression: '{rule}' }}").unwrap();
    }
    // Prices that differ, so that what is left of a rule about them is another one for each offer.
    let mut price = 9900;
    let mut varied = String::new();
    for line in yaml.lines() {
        price += 10;
        let line = line.replace("amount_minor: 9900", &format!("amount_minor: {price}"));
        writeln!(varied, "{}", line.replace("plan: standard", "plan: standard, tags: [calm]")).unwrap();
    }
    varied + &rules
}

fn catalog(candidates: usize, posterior: &str) -> String {
    let mut yaml = String::from(
        "
reward_currency: SEK
markets: [{ id: SE, currency_code: SEK }]
metrics: [{ id: conversion, kind: COUNT }]
offers:
",
    );
    let price = "{ SE: { price: { currency_code: SEK, amount_minor: 9900 } } }";
    for index in 0..candidates {
        writeln!(yaml, "  - {{ id: offer-{index:03}, kind: STANDARD, plan: standard, prices: {price} }}").unwrap();
    }
    let ids = (0..candidates).map(|index| format!("offer-{index:03}")).collect::<Vec<_>>().join(", ");
    writeln!(yaml, "placements:\n  - id: paywall\n    slots: 3\n    offers: [{ids}]\n    context:\n      attributes:")
        .unwrap();
    for index in 0..NUMBERS {
        writeln!(yaml, "        - {{ name: number_{index}, number: {{ min: -1, max: 1 }} }}").unwrap();
    }
    writeln!(
        yaml,
        "    policy: {{ thompson: {{}}, {posterior} }}
    reward: {{ terms: [{{ metric: conversion, indicator: true }}] }}
    bounds: {{ floor: 0.001 }}"
    )
    .unwrap();
    yaml
}

fn benchmark(criterion: &mut Criterion) {
    for (name, posterior) in [("beta", BETA), ("linear", LINEAR)] {
        let mut group = criterion.benchmark_group(format!("decide three slots, {name}"));
        for candidates in [5, 20, 100] {
            let (snapshot, request) = scene_of(&catalog(candidates, posterior));
            let mut seed = 0;
            group.bench_function(BenchmarkId::from_parameter(candidates), |bencher| {
                bencher.iter(|| {
                    seed += 1;
                    decide(black_box(&snapshot), black_box(&request), &UserState::default(), NOW, seed)
                });
            });
        }
        group.finish();
    }
}

/// Deciding with rules, as a factor of deciding without.
fn rules_ratio(_: &mut Criterion) {
    for (name, posterior) in [("beta", BETA), ("linear", LINEAR)] {
        let plain = catalog(20, posterior);
        let scenes = [scene_of(&plain), scene_of(&with_rules(&plain))];
        assert_ratio(&format!("{name}, with 10 rules"), &scenes, RULES_RATIO_MAX, |decision| {
            assert!(decision.exclusions.is_empty(), "rules exclude nothing here");
        });
    }
}

/// Deciding with bounds on sets and a band, all of which act, as a factor of deciding without: three slots, of which the
/// lead is bounded; and, as they are, one slot alone, sets that hold in each slot, and sets that contradict each other.
fn bounds_ratio(_: &mut Criterion) {
    for (name, posterior) in [("beta", BETA), ("linear", LINEAR)] {
        let plain = catalog(20, posterior);
        let bounds = acting_bounds(&scene_of(&plain));
        let with = |plain: &str, bounds: &str| plain.replace("bounds: { floor: 0.001 }", bounds);
        let all_act = |decision: &Decision| {
            assert!(decision.slots[0].relaxed.is_nothing() && decision.bands.len() == 1);
            assert!(decision.bands.iter().all(|band| (band.before - band.after).abs() > 1e-9));
        };
        let scenes = [scene_of(&plain), scene_of(&with(&plain, &bounds))];
        assert_ratio(&format!("{name}, with 2 sets and a band"), &scenes, BOUNDS_RATIO_MAX, all_act);
        let one = plain.replace("slots: 3", "slots: 1");
        let scenes = [scene_of(&one), scene_of(&with(&one, &bounds))];
        ratio(&format!("{name}, one slot, with 2 sets and a band"), &scenes, all_act);
        let each = bounds.replace("offers: [offer-000", "slots: EACH, offers: [offer-000");
        let each = each.replace("offers: [offer-004", "slots: EACH, offers: [offer-004");
        let scenes = [scene_of(&plain), scene_of(&with(&plain, &each))];
        assert!(scenes[1].0.placement.bounds.totals.iter().all(|total| total.every_slot));
        ratio(&format!("{name}, with 2 sets in each slot and a band"), &scenes, all_act);
        // Of two offers one in ten at most, and of them and a third, which is no candidate, two in ten at least.
        let contested = "sets:
        - { id: few, offers: [offer-000, offer-001], max: 0.1 }
        - { id: many, offers: [offer-000, offer-001, offer-019], min: 0.2 }";
        let scenes = [&plain, &with(&plain, &bounds.replace("sets:", contested))].map(|yaml| without_the_last(yaml));
        ratio(&format!("{name}, with sets that contradict each other"), &scenes, |decision| {
            assert!(!decision.slots[0].relaxed.is_nothing());
        });
    }
}

/// Bounds that a scene's lead breaks, each of them: they ask for something nearer to an even share, which keeps all.
fn acting_bounds((snapshot, request): &(PlacementSnapshot, RankRequest)) -> String {
    let decision = decide(snapshot, request, &UserState::default(), NOW, 0);
    let arms = &decision.slots[0].arms;
    // The total of some offers as it is, and three tenths of the way to an even share.
    let totals = |range: Range<usize>| {
        let even = range.len() as f64 / arms.len() as f64;
        let total: f64 = arms[range].iter().map(|arm| arm.probability).sum();
        (total, 0.7 * total + 0.3 * even)
    };
    let offers = |range: Range<usize>| range.map(|index| format!("offer-{index:03}")).collect::<Vec<_>>().join(", ");
    let mut bounds = String::from("bounds:\n      floor: 0.001\n      sets:\n");
    for (id, range) in [("some", 0..8), ("others", 4..12)] {
        let (total, wanted) = totals(range.clone());
        let (end, bound) = (if wanted > total { "min" } else { "max" }, 0.2 * total + 0.8 * wanted);
        writeln!(bounds, "        - {{ id: {id}, offers: [{}], {end}: {bound} }}", offers(range)).unwrap();
    }
    let (total, rate) = totals(10..16);
    let delta = 0.2 * (rate - total).abs();
    write!(bounds, "      bands: [{{ id: band, offers: [{}], rate: {rate}, delta: {delta} }}]", offers(10..16))
        .unwrap();
    bounds
}

fn scene_of(yaml: &str) -> (PlacementSnapshot, RankRequest) {
    let (catalog, placement) = scene::placement(yaml);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let learned = scene::learned(&placement, 200, &mut rng);
    let request = scene::request(&placement, scene::attributes(&placement, &mut rng));
    (scene::snapshot(&catalog, &learned), request)
}

/// A scene in which the last offer is no candidate.
fn without_the_last(yaml: &str) -> (PlacementSnapshot, RankRequest) {
    let (snapshot, mut request) = scene_of(yaml);
    let arms = &snapshot.placement.arms;
    request.candidates = arms[..arms.len() - 1].iter().map(|arm| arm.offer.id.clone()).collect();
    (snapshot, request)
}

fn assert_ratio(
    name: &str,
    scenes: &[(PlacementSnapshot, RankRequest); 2],
    ratio_max: f64,
    inspect: impl Fn(&Decision),
) {
    let ratio = ratio(name, scenes, inspect);
    assert!(ratio <= ratio_max, "{name} deciding may take at most {ratio_max} times as long");
}

/// What deciding takes in the second scene, as a factor of the first: medians of rounds that alternate, so that whatever
/// else the machine does slows both.
#[expect(clippy::print_stdout, reason = "the figure is what the benchmark is for")]
fn ratio(name: &str, scenes: &[(PlacementSnapshot, RankRequest); 2], inspect: impl Fn(&Decision)) -> f64 {
    const ROUNDS: usize = 201;
    const DECISIONS: u64 = 50;
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS as u64 {
        for ((snapshot, request), times) in scenes.iter().zip(&mut times) {
            let start = std::time::Instant::now();
            for seed in round * DECISIONS..(round + 1) * DECISIONS {
                black_box(decide(black_box(snapshot), black_box(request), &UserState::default(), NOW, seed));
            }
            times.push(start.elapsed().as_secs_f64() / DECISIONS as f64);
        }
    }
    let (snapshot, request) = &scenes[1];
    inspect(&decide(snapshot, request, &UserState::default(), NOW, 0));
    let [without, with] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2] * 1e6
    });
    let ratio = with / without;
    println!("20 candidates, {name}: {with:.1} us, {without:.1} us without, ratio {ratio:.2}");
    ratio
}

criterion_group!(benches, rules_ratio, benchmark, bounds_ratio);
criterion_main!(benches);
