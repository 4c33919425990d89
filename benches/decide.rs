//! What one decision costs: three slots from 5, 20 and 100 candidates, context-free and with 32 features.
//!
//! And what rules add to it: 8 of the user and 2 of each offer, at 20 candidates, as a ratio of medians of one run.
//!
//! `cargo bench --bench decide`

#![expect(clippy::unwrap_used, reason = "a benchmark may fail where it stands")]

#[path = "../tests/proofs/scene.rs"]
mod scene;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use offer_ranker::engine::{decide::decide, snapshot::PlacementSnapshot, user::UserState};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use scene::NOW;
use std::{fmt::Write as _, hint::black_box};

const BETA: &str = "beta: {}";
/// With the intercept and 31 numbers: 32 features.
const LINEAR: &str = "linear: { precision: 1, a: 2, b: 0.2 }";
const NUMBERS: usize = 31;

/// What rules may add, as a factor.
const RULES_RATIO_MAX: f64 = 1.5;
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
            let (catalog, placement) = scene::placement(&catalog(candidates, posterior));
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let learned = scene::learned(&placement, 200, &mut rng);
            let snapshot: PlacementSnapshot = scene::snapshot(&catalog, &learned);
            let request = scene::request(&placement, scene::attributes(&placement, &mut rng));
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

/// Deciding with rules, as a factor of deciding without: medians of rounds that alternate, so that whatever else the
/// machine does slows both.
#[expect(clippy::print_stdout, reason = "the figure is what the benchmark is for")]
fn rules_ratio(_: &mut Criterion) {
    const ROUNDS: usize = 201;
    const DECISIONS: u64 = 50;
    for (name, posterior) in [("beta", BETA), ("linear", LINEAR)] {
        let plain = catalog(20, posterior);
        let scenes = [plain.clone(), with_rules(&plain)].map(|yaml| {
            let (catalog, placement) = scene::placement(&yaml);
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let learned = scene::learned(&placement, 200, &mut rng);
            let request = scene::request(&placement, scene::attributes(&placement, &mut rng));
            (scene::snapshot(&catalog, &learned), request)
        });
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS as u64 {
            for ((snapshot, request), times) in scenes.iter().zip(&mut times) {
                let start = std::time::Instant::now();
                for seed in round * DECISIONS..(round + 1) * DECISIONS {
                    let decision = decide(black_box(snapshot), black_box(request), &UserState::default(), NOW, seed);
                    assert!(black_box(decision).exclusions.is_empty(), "rules exclude nothing here");
                }
                times.push(start.elapsed().as_secs_f64() / DECISIONS as f64);
            }
        }
        let [without, with] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[ROUNDS / 2] * 1e6
        });
        let ratio = with / without;
        println!("20 candidates, {name}: {without:.1} us, with 10 rules {with:.1} us, ratio {ratio:.2}");
        assert!(ratio <= RULES_RATIO_MAX, "rules may cost at most {RULES_RATIO_MAX} times");
    }
}

criterion_group!(benches, rules_ratio, benchmark);
criterion_main!(benches);
