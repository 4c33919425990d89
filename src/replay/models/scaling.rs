//! Features on one scale, so that a penalty means the same for each.

use super::Example;

/// Means and standard deviations of features.
#[derive(Clone, Debug)]
pub(super) struct Scaling {
    features: Vec<(f64, f64)>,
}

impl Scaling {
    /// Of at least one row.
    pub(super) fn of(examples: &[Example<'_>]) -> Self {
        let n = examples.len() as f64;
        let count = examples.first().map_or(0, |example| example.features.len());
        let moments = |index: usize| {
            let mean = examples.iter().map(|example| example.features[index]).sum::<f64>() / n;
            let square = |example: &Example<'_>| (example.features[index] - mean) * (example.features[index] - mean);
            let deviation = libm::sqrt(examples.iter().map(square).sum::<f64>() / n);
            // What never varies says nothing: any scale will do.
            (mean, if deviation > 0.0 { deviation } else { 1.0 })
        };
        Self { features: (0..count).map(moments).collect() }
    }

    /// How many features there are, beside the constant.
    pub(super) fn features(&self) -> usize {
        self.features.len()
    }

    /// A constant and the standardised features.
    pub(super) fn row(&self, features: &[f64]) -> Vec<f64> {
        let scaled = features.iter().zip(&self.features).map(|(value, (mean, deviation))| (value - mean) / deviation);
        std::iter::once(1.0).chain(scaled).collect()
    }

    /// The weighted sum of [`Scaling::row`].
    pub(super) fn score(&self, weights: &[f64], features: &[f64]) -> f64 {
        self.row(features).iter().zip(weights).map(|(value, weight)| value * weight).sum()
    }
}
