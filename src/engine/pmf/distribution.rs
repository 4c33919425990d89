//! What is believed of an arm's score: the distributions that posteriors give.

use crate::engine::math::{
    beta::{self, Tails},
    normal, student_t,
};

/// The distribution of one arm's score; parameters finite, shapes and scales above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScoreDistribution {
    /// `scale` times a Beta(alpha, beta) draw: from 0 to `scale`.
    Beta {
        /// First shape parameter.
        alpha: f64,
        /// Second shape parameter.
        beta: f64,
        /// Largest score.
        scale: f64,
    },
    /// Student's t, moved and scaled.
    StudentT {
        /// Degrees of freedom.
        degrees_of_freedom: f64,
        /// Where its centre is.
        location: f64,
        /// Factor of the standard distribution; not its standard deviation.
        scale: f64,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        standard_deviation: f64,
    },
}

impl ScoreDistribution {
    /// The mean; for one degree of freedom and less, which have none, the centre.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Beta { alpha, beta, scale } => scale * (alpha / (alpha + beta)),
            Self::StudentT { location, .. } => location,
            Self::Normal { mean, .. } => mean,
        }
    }

    /// Probability of a score below `score`.
    #[must_use]
    pub fn cdf(&self, score: f64) -> f64 {
        match *self {
            Self::Beta { alpha, beta, scale } => beta::tails(alpha, beta, score / scale, (scale - score) / scale).lower,
            Self::StudentT { degrees_of_freedom, location, scale } => {
                student_t::cdf(degrees_of_freedom, (score - location) / scale)
            }
            Self::Normal { mean, standard_deviation } => normal::cdf((score - mean) / standard_deviation),
        }
    }

    /// Density at `score`; 0 outside and at the ends of a Beta's range, where it may be infinite.
    #[must_use]
    pub fn pdf(&self, score: f64) -> f64 {
        match *self {
            Self::Beta { alpha, beta, scale } => {
                let (x, y) = (score / scale, (scale - score) / scale);
                if x <= 0.0 || y <= 0.0 { 0.0 } else { beta::logit_density(alpha, beta, x, y) / (x * y * scale) }
            }
            Self::StudentT { degrees_of_freedom, location, scale } => {
                student_t::pdf(degrees_of_freedom, (score - location) / scale) / scale
            }
            Self::Normal { mean, standard_deviation } => {
                normal::pdf((score - mean) / standard_deviation) / standard_deviation
            }
        }
    }

    /// The score that a draw falls below with probability p in [0, 1].
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        match *self {
            Self::Beta { alpha, beta, scale } => {
                scale * beta::quantile(alpha, beta, Tails { lower: p, upper: 1.0 - p }).0
            }
            Self::StudentT { degrees_of_freedom, location, scale } => {
                location + scale * student_t::quantile(degrees_of_freedom, p)
            }
            Self::Normal { mean, standard_deviation } => mean + standard_deviation * normal::quantile(p),
        }
    }

    /// The distribution of `factor` times the score, `factor` above 0.
    #[must_use]
    pub fn scaled_by(self, factor: f64) -> Self {
        match self {
            Self::Beta { alpha, beta, scale } => Self::Beta { alpha, beta, scale: scale * factor },
            Self::StudentT { degrees_of_freedom, location, scale } => {
                Self::StudentT { degrees_of_freedom, location: location * factor, scale: scale * factor }
            }
            Self::Normal { mean, standard_deviation } => {
                Self::Normal { mean: mean * factor, standard_deviation: standard_deviation * factor }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::math::quadrature::GaussLegendre;

    const ALL: [ScoreDistribution; 3] = [
        ScoreDistribution::Beta { alpha: 3.0, beta: 7.5, scale: 20.0 },
        ScoreDistribution::StudentT { degrees_of_freedom: 9.0, location: -2.0, scale: 0.3 },
        ScoreDistribution::Normal { mean: 5.0, standard_deviation: 2.0 },
    ];

    #[test]
    fn density_is_the_slope_of_the_cdf_and_quantile_its_inverse() {
        let rule = GaussLegendre::<16>::new();
        for distribution in ALL {
            let (from, to) = (distribution.quantile(0.2), distribution.quantile(0.7));
            let between: f64 = rule.on(from, to).map(|(score, weight)| weight * distribution.pdf(score)).sum();
            assert!((between - 0.5).abs() < 1e-11, "{distribution:?}: {between}");
            assert!((distribution.cdf(to) - 0.7).abs() < 1e-13);
        }
    }

    #[test]
    fn scaling_moves_quantiles_and_mean_alike() {
        for distribution in ALL {
            let scaled = distribution.scaled_by(3.0);
            assert!((scaled.mean() - 3.0 * distribution.mean()).abs() < 1e-14);
            assert!((scaled.quantile(0.9) - 3.0 * distribution.quantile(0.9)).abs() < 1e-13);
        }
    }

    #[test]
    fn nothing_is_outside_a_betas_range() {
        let distribution = ALL[0];
        assert_eq!((distribution.cdf(-1.0), distribution.cdf(21.0)), (0.0, 1.0));
        assert_eq!((distribution.pdf(-1.0), distribution.pdf(21.0)), (0.0, 0.0));
    }
}
