//! The bootstrap in one pass: every cluster counts in every replicate as often as a Poisson variable of mean 1 says
//! (Chamandy, Muralidharan, Najmi and Naidu, 2012).
//!
//! A cluster's counts come from the seed and the cluster alone, so that its rows need not come together. Percentiles of
//! few rewarded rows are too narrow: it is here for comparison.

use super::Interval;
use crate::replay::{estimators::Estimator, row::Row, support::quantile};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

/// Replicates of sums over rows.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    seed: u64,
    estimators: Vec<Estimator>,
    replicates: Vec<Replicate>,
}

/// What one replicate adds up.
#[derive(Clone, Debug)]
struct Replicate {
    rows: f64,
    weights: f64,
    baseline: f64,
    /// Of each estimator.
    weighted: Vec<f64>,
}

impl Bootstrap {
    /// No row yet.
    #[must_use]
    pub fn new(estimators: Vec<Estimator>, replicates: usize, seed: u64) -> Self {
        let empty = Replicate { rows: 0.0, weights: 0.0, baseline: 0.0, weighted: vec![0.0; estimators.len()] };
        Self { seed, replicates: vec![empty; replicates], estimators }
    }

    /// Takes in a row with a reward, and a model's word if any estimator asks for one.
    pub fn observe(&mut self, row: &Row) {
        if row.reward().is_none() {
            return;
        }
        let weighted: Vec<f64> = self
            .estimators
            .iter()
            .map(|estimator| estimator.contribution(row).map_or(0.0, |own| own.weighted))
            .collect();
        let baseline = row.model.map_or(0.0, |model| model.target);
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(row.cluster);
        for replicate in &mut self.replicates {
            let count = poisson(rng.next_u32());
            if count > 0.0 {
                replicate.rows += count;
                replicate.weights += count * row.weight();
                replicate.baseline += count * baseline;
                replicate.weighted.iter_mut().zip(&weighted).for_each(|(sum, weighted)| *sum += count * weighted);
            }
        }
    }

    /// The percentile interval of an estimator; `None` if it was not asked for, or undefined in some replicate.
    #[must_use]
    pub fn interval(&self, estimator: &Estimator, alpha: f64) -> Option<Interval> {
        let place = self.estimators.iter().position(|own| own == estimator)?;
        let value = |replicate: &Replicate| {
            let over = if estimator.normalised { replicate.weights } else { replicate.rows };
            let baseline = if estimator.model { replicate.baseline / replicate.rows } else { 0.0 };
            let value = replicate.weighted[place] / over + baseline;
            value.is_finite().then_some(value)
        };
        let mut values = self.replicates.iter().map(value).collect::<Option<Vec<f64>>>()?;
        values.sort_unstable_by(f64::total_cmp);
        Some(Interval { lower: quantile(&values, alpha / 2.0)?, upper: quantile(&values, 1.0 - alpha / 2.0)? })
    }
}

/// A Poisson variable of mean 1 by inversion of 32 random bits.
fn poisson(bits: u32) -> f64 {
    let mut left = f64::from(bits) / 4_294_967_296.0;
    let mut probability = core::f64::consts::E.recip();
    let mut count = 0.0;
    while left >= probability {
        left -= probability;
        count += 1.0;
        probability /= count;
        // Beyond this what is left of the probabilities is less than a bit.
        if count > 13.0 {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_mean_and_variance_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let counts: Vec<f64> = (0..100_000).map(|_| poisson(rng.next_u32())).collect();
        let mean = counts.iter().sum::<f64>() / 1e5;
        let variance = counts.iter().map(|count| (count - mean) * (count - mean)).sum::<f64>() / 1e5;
        // Five standard errors: of the mean sqrt(1 / n), of the variance sqrt((3 + 1 - 1 + ..) / n) with fourth moment 4.
        assert!((mean - 1.0).abs() < 5.0 * 0.003_2, "{mean}");
        assert!((variance - 1.0).abs() < 5.0 * 0.005_5, "{variance}");
    }
}
