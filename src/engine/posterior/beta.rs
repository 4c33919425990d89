//! Beta posterior of a reward in [0, 1].
//!
//! The conjugate of Bernoulli rewards; a fractional reward r counts as r successes and 1 - r failures.

use super::moments::Moments;
use crate::engine::{
    math::{
        beta::{self, Tails},
        double_double::Dd,
    },
    pmf::distribution::ScoreDistribution,
};

/// Beta(alpha, beta), both above 0 and finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BetaPrior {
    /// First shape parameter.
    pub alpha: f64,
    /// Second shape parameter.
    pub beta: f64,
}

/// Beta(alpha, beta) after data; neither is below the prior's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BetaPosterior {
    /// First shape parameter.
    pub alpha: f64,
    /// Second shape parameter.
    pub beta: f64,
}

impl BetaPosterior {
    /// From moments of the single feature 1: alpha + sum w y, beta + sum w (1 - y).
    #[must_use]
    pub fn derive(prior: BetaPrior, moments: &Moments) -> Self {
        debug_assert_eq!(moments.features(), 1);
        let successes = moments.xy()[0];
        let failures = moments.weight() - successes;
        // Rewards are in [0, 1], so neither sum is negative but by rounding.
        let grown = |shape: f64, sum: Dd| (Dd::from(shape) + sum).to_f64().max(shape);
        Self { alpha: grown(prior.alpha, successes), beta: grown(prior.beta, failures) }
    }

    /// alpha / (alpha + beta).
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }

    /// alpha beta / ((alpha + beta)^2 (alpha + beta + 1)).
    #[must_use]
    pub fn variance(&self) -> f64 {
        let sum = self.alpha + self.beta;
        (self.alpha / sum) * (self.beta / sum) / (sum + 1.0)
    }

    /// The success probability that a draw falls below with probability p in [0, 1].
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        beta::quantile(self.alpha, self.beta, Tails { lower: p, upper: 1.0 - p }).0
    }

    /// The distribution of the score, in units of the scaled reward.
    #[must_use]
    pub const fn score(&self) -> ScoreDistribution {
        ScoreDistribution::Beta { alpha: self.alpha, beta: self.beta, scale: 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractional_rewards_count_on_both_sides() {
        let mut moments = Moments::new(1);
        moments.observe(&[1.0], 0.25, 2.0);
        moments.observe(&[1.0], 1.0, 1.0);
        let posterior = BetaPosterior::derive(BetaPrior { alpha: 1.0, beta: 3.0 }, &moments);
        assert_eq!(posterior, BetaPosterior { alpha: 2.5, beta: 4.5 });
        assert!((posterior.mean() - 2.5 / 7.0).abs() < 1e-16);
    }

    #[test]
    fn taking_everything_back_gives_the_prior_and_never_less() {
        let prior = BetaPrior { alpha: 0.1, beta: 0.2 };
        let mut moments = Moments::new(1);
        moments.observe(&[1.0], 0.3, 1.0);
        moments.observe(&[1.0], 0.7, 1.0);
        moments.forget(&[1.0], 0.3, 1.0);
        moments.forget(&[1.0], 0.7, 1.0);
        assert_eq!(BetaPosterior::derive(prior, &moments), BetaPosterior { alpha: 0.1, beta: 0.2 });
    }

    #[test]
    fn quantiles_of_the_arcsine_law_have_a_closed_form() {
        let arcsine = BetaPosterior { alpha: 0.5, beta: 0.5 };
        for p in [0.01, 0.3, 0.5, 0.9] {
            let sine = libm::sin(core::f64::consts::FRAC_PI_2 * p);
            assert!((arcsine.quantile(p) - sine * sine).abs() < 1e-14);
        }
        assert!((arcsine.variance() - 0.125).abs() < 1e-16);
    }
}
