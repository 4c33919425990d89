//! Logs whose truth is known.

use offer_ranker::replay::{
    assessment::{Assessment, Plan},
    estimators::Grids,
    evaluation::Range,
    report::{EstimatorReport, Report},
    row::{Outcome, Row},
    support::arms::Pmfs,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// How often each arm earns its reward of 1.
pub(crate) const RATES: [f64; 4] = [0.1, 0.3, 0.2, 0.6];
/// The target policy, whatever the context.
pub(crate) const TARGET: [f64; 4] = [0.2, 0.2, 0.3, 0.3];
/// A logging policy that prefers arms which the target does not.
pub(crate) const LOGGING: [f64; 4] = [0.5, 0.3, 0.1, 0.1];

/// A log of `n` rows of this logging policy, and what the target earns.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) rows: Vec<Row>,
    pub(crate) target: Vec<f64>,
}

/// What the target earns per row.
pub(crate) fn truth(target: &[f64]) -> f64 {
    target.iter().zip(RATES).map(|(p, rate)| p * rate).sum()
}

pub(crate) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// The first arm at which a uniform number falls below the cumulated probabilities.
pub(crate) fn draw(probabilities: &[f64], rng: &mut ChaCha8Rng) -> usize {
    let mut left: f64 = rng.random();
    for (arm, p) in probabilities.iter().enumerate() {
        left -= p;
        if left < 0.0 {
            return arm;
        }
    }
    probabilities.len() - 1
}

/// A row of one draw.
pub(crate) fn row(cluster: u64, arm: usize, propensity: f64, target: f64, reward: f64) -> Row {
    Row {
        cluster,
        day: None,
        arm,
        position: 0,
        propensity,
        target,
        unsupported: 0.0,
        weight_max: f64::INFINITY,
        outcome: Outcome::Reward(reward),
        model: None,
    }
}

impl Log {
    pub(crate) fn new(logging: &[f64], target: &[f64], n: u64, seed: u64) -> Self {
        let mut rng = rng(seed);
        let floor = logging.iter().copied().filter(|p| *p > 0.0).fold(1.0, f64::min);
        let weight_max = target.iter().copied().fold(0.0, f64::max) / floor;
        let one = |cluster| {
            let arm = draw(logging, &mut rng);
            let reward = f64::from(u8::from(rng.random::<f64>() < RATES[arm]));
            let unsupported = target.iter().zip(logging).filter(|(_, p)| **p <= 0.0).map(|(p, _)| p).sum();
            Row { weight_max, unsupported, ..row(cluster, arm, logging[arm], target[arm], reward) }
        };
        Self { rows: (0..n).map(one).collect(), target: target.to_vec() }
    }

    /// A healthy log.
    pub(crate) fn healthy(seed: u64) -> Self {
        Self::new(&LOGGING, &TARGET, 2_000, seed)
    }

    pub(crate) fn report(&self) -> Report {
        assessed(&self.rows, Some(&self.target), false)
    }
}

pub(crate) fn plan() -> Plan {
    Plan {
        grids: Grids::default(),
        families: Vec::new(),
        model: false,
        clustered: false,
        reward: Some(Range { min: 0.0, max: 1.0 }),
        alpha: 0.05,
        replicates: 0,
        seed: 1,
        fitted_propensities: false,
    }
}

pub(crate) fn assessed(rows: &[Row], target: Option<&[f64]>, clustered: bool) -> Report {
    let model = rows.iter().any(|row| row.model.is_some());
    let mut assessment = Assessment::new(Plan { clustered, model, ..plan() });
    rows.iter().for_each(|row| assessment.observe(row, &Pmfs { logged: None, target }));
    assessment.report(0.0, true)
}

pub(crate) fn estimator<'a>(report: &'a Report, name: &str) -> &'a EstimatorReport {
    let named = report.estimators.iter().flatten().find(|(own, _)| own == name);
    &named.unwrap_or_else(|| panic!("there is no {name}")).1
}
