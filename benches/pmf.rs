//! What a request pays for its probabilities and scores.

use criterion::{Criterion, criterion_group, criterion_main};
use offer_ranker::engine::{
    pmf::{
        curve::ScoreCurve, distribution::ScoreDistribution, reference::thompson_pmf_reference, serving::ThompsonGrid,
    },
    posterior::{
        linear::{FeatureTerms, LinearPosterior, LinearPrior},
        linear_arms::LinearArms,
        moments::Moments,
    },
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;

/// Linear arms after some learning: close locations, scales within a factor of three.
fn linear_arms(count: usize) -> Vec<ScoreDistribution> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let arm = |_| ScoreDistribution::StudentT {
        degrees_of_freedom: rng.random_range(12.0..2000.0),
        location: rng.random_range(-0.2..0.2),
        scale: rng.random_range(0.1..0.3),
    };
    (0..count).map(arm).collect()
}

/// Conversion rates of a few per cent, with scales as if worth different prices.
fn beta_arms(count: usize, priced: bool) -> Vec<ScoreDistribution> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let arm = |_| {
        let shown = rng.random_range(100.0..5000.0);
        let rate = rng.random_range(0.02..0.06);
        let scale = if priced { rng.random_range(10.0..100.0) } else { 1.0 };
        ScoreDistribution::Beta { alpha: 1.0 + rate * shown, beta: 1.0 + (1.0 - rate) * shown, scale }
    };
    (0..count).map(arm).collect()
}

fn probabilities(criterion: &mut Criterion) {
    for count in [5, 20, 100] {
        let families =
            [("linear", linear_arms(count)), ("beta", beta_arms(count, false)), ("priced", beta_arms(count, true))];
        for (name, arms) in families {
            let curves: Vec<ScoreCurve> = arms.iter().map(ScoreCurve::of).collect();
            let mut remaining = vec![true; count];
            criterion.bench_function(&format!("serving/{name}/{count}"), |bencher| {
                bencher.iter(|| ThompsonGrid::new(arms.iter().copied().zip(&curves)).pmf(black_box(&remaining)));
            });
            let mut grid = ThompsonGrid::new(arms.iter().copied().zip(&curves));
            grid.pmf(&remaining);
            remaining[0] = false;
            criterion.bench_function(&format!("next slot/{name}/{count}"), |bencher| {
                bencher.iter(|| grid.pmf(black_box(&remaining)));
            });
            criterion.bench_function(&format!("curve/{name}/{count}"), |bencher| {
                bencher.iter(|| arms.iter().map(ScoreCurve::of).collect::<Vec<_>>());
            });
        }
        let arms = linear_arms(count);
        criterion.bench_function(&format!("reference/linear/{count}"), |bencher| {
            bencher.iter(|| thompson_pmf_reference(black_box(&arms)));
        });
    }
}

fn scoring(criterion: &mut Criterion) {
    const FEATURES: usize = 32;
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut features = || -> Vec<f64> { (0..FEATURES).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let mut moments = Moments::new(FEATURES);
    for _ in 0..500 {
        let x = features();
        moments.observe(&x, x[0] - 0.5 * x[1], 1.0);
    }
    let prior = LinearPrior { precision: 0.25, a: 6.0, b: 6.0 };
    let derive = || LinearPosterior::derive::<f64>(prior, &moments).expect("moments of real features");
    let posterior = derive();
    let arms = LinearArms::new(&[&posterior; 20]);
    let all: Vec<usize> = (0..20).collect();
    let x = features();
    criterion.bench_function("score/20 arms of 32 features", |bencher| {
        bencher.iter(|| arms.scores(&FeatureTerms::new(black_box(&x)), &all));
    });
    criterion.bench_function("derive/32 features", |bencher| bencher.iter(derive));
    criterion.bench_function("observe/32 features", |bencher| {
        let mut moments = moments.clone();
        bencher.iter(|| moments.observe(black_box(&x), 1.0, 1.0));
    });
}

criterion_group!(benches, probabilities, scoring);
criterion_main!(benches);
