//! Coverage on logs whose truth is known: rows of one user are alike, rewards are rare.

use crate::scene::{LOGGING, RATES, TARGET, assessed, draw, estimator, plan, rng, row, truth};
use offer_ranker::replay::{
    assessment::{Assessment, Plan},
    report::Report,
    row::Row,
};
use rand::RngExt as _;

const LOGS: u64 = 400;

/// Rewards of users who do the same every time: with probability `same` a row's reward is the user's own.
fn rows(users: u64, visits: u64, same: f64, factor: f64, seed: u64) -> Vec<Row> {
    let mut rng = rng(seed);
    let mut rows = Vec::new();
    for user in 0..users {
        let mood: f64 = rng.random();
        // Who comes more often is no different, but counts more.
        for _ in 0..rng.random_range(1..=2 * visits - 1) {
            let arm = draw(&LOGGING, &mut rng);
            let chance = if rng.random::<f64>() < same { mood } else { rng.random() };
            let reward = f64::from(u8::from(chance < factor * RATES[arm]));
            rows.push(Row { weight_max: 3.0, ..row(user, arm, LOGGING[arm], TARGET[arm], reward) });
        }
    }
    rows
}

/// How often intervals hold the truth, of `LOGS` reports.
fn coverage(value: f64, report: impl Fn(u64) -> Report, interval: impl Fn(&Report) -> [f64; 2]) -> f64 {
    let holds = |seed: u64| {
        let [lower, upper] = interval(&report(seed));
        u32::from(lower <= value && value <= upper)
    };
    f64::from((0..LOGS).map(holds).sum::<u32>()) / LOGS as f64
}

fn default_interval(name: &'static str) -> impl Fn(&Report) -> [f64; 2] {
    move |report| estimator(report, name).interval.unwrap()
}

/// 95 % less two points and two standard errors of the simulation: sqrt(.95 * .05 / 400) = .011.
const LEAST: f64 = 0.95 - 0.02 - 2.0 * 0.011;

#[test]
fn the_default_interval_covers_with_clusters() {
    let report = |seed| assessed(&rows(400, 4, 0.8, 1.0, seed), None, true);
    let covered = coverage(truth(&TARGET), report, default_interval("ips"));
    assert!(covered >= LEAST, "{covered}");
}

#[test]
fn without_clusters_it_would_not_cover() {
    let report = |seed| assessed(&rows(400, 4, 0.8, 1.0, seed), None, false);
    let covered = coverage(truth(&TARGET), report, default_interval("ips"));
    assert!(covered < LEAST, "{covered}");
}

#[test]
fn the_default_interval_covers_rare_rewards() {
    // 30 rewards in 2,000 rows.
    let factor = 0.05;
    let report = |seed| assessed(&rows(2_000, 1, 0.0, factor, seed), None, false);
    let covered = coverage(factor * truth(&TARGET), report, default_interval("ips"));
    assert!(covered >= LEAST, "{covered}");
}

#[test]
fn intervals_of_gains_cover() {
    let gain: f64 = truth(&TARGET) - truth(&LOGGING);
    let report = |seed| assessed(&rows(500, 1, 0.0, 1.0, seed), None, false);
    let covered = coverage(gain, report, |report| estimator(report, "ips").gain.unwrap().interval.unwrap());
    assert!(covered >= LEAST, "{covered}");
}

#[test]
fn the_bootstrap_agrees_with_the_delta_method_on_large_logs() {
    // A user's rows count alike in a replicate, so that users with several need to be clusters here as well.
    for (clustered, visits) in [(false, 1), (true, 4)] {
        let mut assessment = Assessment::new(Plan { clustered, replicates: 1_000, ..plan() });
        rows(2_000, visits, 0.8, 1.0, 1).iter().for_each(|row| assessment.observe(row, &Default::default()));
        let report = assessment.report(3.0, true);
        for name in ["ips", "snips"] {
            let intervals = &estimator(&report, name).intervals;
            let [normal, bootstrap] = ["normal", "bootstrap"].map(|kind| intervals[kind]);
            let width = normal[1] - normal[0];
            // Of a thousand replicates the 2.5 % points are known to 8 % of a standard error, a fiftieth of the width.
            for (normal, bootstrap) in normal.into_iter().zip(bootstrap) {
                assert!((normal - bootstrap).abs() < 0.08 * width, "{name}, {clustered}: {normal} {bootstrap}");
            }
        }
    }
}

#[test]
fn the_bootstrap_is_seeded() {
    let bootstrap = |seed| {
        let mut assessment = Assessment::new(Plan { replicates: 50, seed, ..plan() });
        rows(100, 1, 0.0, 1.0, 1).iter().for_each(|row| assessment.observe(row, &Default::default()));
        estimator(&assessment.report(3.0, true), "ips").intervals["bootstrap"]
    };
    assert_eq!(bootstrap(1), bootstrap(1));
    assert_ne!(bootstrap(1), bootstrap(2));
}

#[test]
fn a_confidence_sequence_holds_however_often_one_looks() {
    let value = truth(&TARGET);
    let holds = |seed: u64| {
        let mut assessment = Assessment::new(plan());
        rows(600, 1, 0.0, 1.0, seed).iter().enumerate().all(|(index, row)| {
            assessment.observe(row, &Default::default());
            if index % 50 != 49 {
                return true;
            }
            let [lower, upper] = estimator(&assessment.report(3.0, true), "ips").intervals["anytime"];
            lower <= value && value <= upper
        })
    };
    let held = (0..100).filter(|&seed| holds(seed)).count();
    // 95 of 100 less two standard errors of 2.2; it is known to hold far more often.
    assert!(held >= 91, "{held}");
}
