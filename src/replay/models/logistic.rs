//! Logistic regression with a penalty, by Newton's method.

use super::{Example, ridge::Normal, scaling::Scaling};

/// Steps after which it has long converged: each doubles the digits.
const STEPS_MAX: usize = 30;
/// Logits are started from a mean this far from 0 and 1.
const MEAN_MIN: f64 = 1e-9;

/// 1 / (1 + e^-x).
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// The logit of a mean.
pub(super) fn offset(mean: f64) -> f64 {
    let mean = mean.clamp(MEAN_MIN, 1.0 - MEAN_MIN);
    libm::log(mean / (1.0 - mean))
}

/// Weights on the constant and the features, in logits beside that of `mean`.
pub(super) fn fit(examples: &[&Example<'_>], scaling: &Scaling, mean: f64, penalty: f64) -> Vec<f64> {
    let rows: Vec<(Vec<f64>, f64)> =
        examples.iter().map(|example| (scaling.row(example.features), example.reward)).collect();
    let offset = offset(mean);
    let logit = |row: &[f64], weights: &[f64]| offset + row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>();
    let loss = |weights: &[f64]| {
        let penalties: f64 = weights.iter().map(|weight| 0.5 * penalty * weight * weight).sum();
        rows.iter().map(|(row, reward)| softplus(logit(row, weights)) - reward * logit(row, weights)).sum::<f64>()
            + penalties
    };
    let mut weights = vec![0.0; 1 + scaling.features()];
    let mut best = loss(&weights);
    for _ in 0..STEPS_MAX {
        let mut normal = Normal::new(weights.len(), penalty);
        for (row, reward) in &rows {
            let share = sigmoid(logit(row, &weights));
            normal.add(row, share * (1.0 - share), reward - share);
        }
        normal.pull(&weights, penalty);
        let step = normal.solve();
        let Some((next, reached)) = descend(&weights, &step, best, loss) else { break };
        let done = best - reached <= 1e-12 * best.abs();
        (weights, best) = (next, reached);
        if done {
            break;
        }
    }
    weights
}

/// The first of ever shorter steps that gets lower; `None` where none does.
fn descend(weights: &[f64], step: &[f64], best: f64, loss: impl Fn(&[f64]) -> f64) -> Option<(Vec<f64>, f64)> {
    (0..20).find_map(|halvings| {
        let length = libm::ldexp(1.0, -halvings);
        let next: Vec<f64> = weights.iter().zip(step).map(|(weight, step)| weight + length * step).collect();
        let reached = loss(&next);
        (reached < best).then_some((next, reached))
    })
}

/// ln(1 + e^x).
fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}
