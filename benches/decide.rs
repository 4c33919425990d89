//! What one decision costs: three slots from 5, 20 and 100 candidates, context-free and with 32 features.
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

criterion_group!(benches, benchmark);
criterion_main!(benches);
