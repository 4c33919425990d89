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
