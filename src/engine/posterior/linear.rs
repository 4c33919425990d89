//! Bayesian linear regression with a normal-inverse-gamma prior.
//!
//! With prior precision lambda I and mean 0 (DeGroot, 1970; Riquelme, Tucker and Snoek, 2018):
//! Lambda = lambda I + sum w x x', m = Lambda^-1 sum w x y, a = a0 + sum w / 2,
//! b = b0 + (sum w y^2 - m' Lambda m) / 2. The score x'theta of features x is Student-t with 2a degrees of freedom,
//! location x'm and squared scale (b / a) x' Lambda^-1 x. Precision and information vector are what is kept: an updated
//! covariance loses half its digits where they do not.

use super::moments::Moments;
use crate::engine::{
    math::{
        cholesky::{Cholesky, NotPositiveDefinite, packed_len, row_start},
        double_double::Dd,
        real::Real,
    },
    pmf::distribution::ScoreDistribution,
};

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

/// The posterior in the arithmetic it was solved in: exact enough to check the serving one against.
#[derive(Clone, Debug)]
pub struct LinearFit<R> {
    /// Factor of Lambda.
    pub factor: Cholesky<R>,
    /// m, d elements.
    pub mean: Vec<R>,
    /// Shape of the noise variance.
    pub a: f64,
    /// Scale of the noise variance, never below the prior's.
    pub b: f64,
}

/// The posterior as requests use it, in doubles.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearPosterior {
    mean: Vec<f64>,
    /// Lambda^-1, packed lower triangle.
    shape: Vec<f64>,
    a: f64,
    b: f64,
}

impl<R: Real> LinearFit<R> {
    /// Solves for the posterior.
    ///
    /// # Errors
    /// When Lambda has no factor: moments that are not finite, or, in doubles, condition numbers beyond 1e16.
    pub fn solve(prior: LinearPrior, moments: &Moments) -> Result<Self, NotPositiveDefinite> {
        let precision = posterior_precision(prior, moments);
        let factor = Cholesky::factor(moments.features(), precision.iter().map(|&sum| R::from_dd(sum)).collect())?;
        let information: Vec<R> = moments.xy().iter().map(|&sum| R::from_dd(sum)).collect();
        let mean = factor.solve(&information);
        let a = prior.a + 0.5 * moments.weight().to_f64();
        let residual = residual_form(moments, &precision, &mean);
        // A negative residual is rounding: the prior's b is the least there can be.
        let b = (Dd::from(prior.b) + residual * 0.5).to_f64().max(prior.b);
        Ok(Self { factor, mean, a: a.max(prior.a), b })
    }

    /// The score of d features, by a triangular solve.
    #[must_use]
    pub fn score(&self, x: &[f64]) -> ScoreDistribution {
        let features: Vec<R> = x.iter().map(|&feature| R::from_f64(feature)).collect();
        let location = self.mean.iter().zip(&features).fold(R::ZERO, |sum, (&m, &feature)| sum + m * feature);
        let half = self.factor.solve_lower(&features);
        let form = half.iter().fold(R::ZERO, |sum, &element| sum + element * element);
        student_t(self.a, self.b, location.to_f64(), form.to_f64())
    }

    /// The posterior for serving.
    #[must_use]
    pub fn to_posterior(&self) -> LinearPosterior {
        LinearPosterior {
            mean: self.mean.iter().map(|element| element.to_f64()).collect(),
            shape: self.factor.inverse().iter().map(|element| element.to_f64()).collect(),
            a: self.a,
            b: self.b,
        }
    }
}

/// Lambda, packed.
fn posterior_precision(prior: LinearPrior, moments: &Moments) -> Vec<Dd> {
    let mut precision = moments.xx().to_vec();
    for row in 0..moments.features() {
        let diagonal = &mut precision[row_start(row) + row];
        *diagonal = *diagonal + Dd::from(prior.precision);
    }
    precision
}

/// yy - 2 m'h + m' Lambda m with h = xy: what the posterior mean leaves unexplained.
///
/// At the exact mean this is yy - m'h, which cancels; as a quadratic form it is off only by the square of the mean's
/// error, and in pairs of doubles it keeps digits where rewards around 1e6 leave a residual around 1.
fn residual_form<R: Real>(moments: &Moments, precision: &[Dd], mean: &[R]) -> Dd {
    let mean: Vec<Dd> = mean.iter().map(|element| element.to_dd()).collect();
    let mut residual = moments.yy();
    for (row, &weight) in mean.iter().enumerate() {
        let elements = &precision[row_start(row)..row_start(row + 1)];
        let before = elements[..row].iter().zip(&mean).fold(Dd::ZERO, |sum, (&element, &other)| sum + element * other);
        // Off-diagonal elements count twice: 2 w before + w^2 diagonal - 2 w h.
        let inner = (before - moments.xy()[row]) * 2.0 + elements[row] * weight;
        residual = residual + weight * inner;
    }
    residual
}

pub(super) fn student_t(a: f64, b: f64, location: f64, form: f64) -> ScoreDistribution {
    // A positive definite form of nonzero features is positive; rounding and features all nought may say otherwise.
    let scale = libm::sqrt((b / a * form).max(f64::MIN_POSITIVE));
    ScoreDistribution::StudentT { degrees_of_freedom: 2.0 * a, location, scale }
}

/// The features of one request that are not nought, and their products x_i x_j, shared by all arms: each location and
/// each quadratic form is then one weighted sum. With one-hot features that is two thirds fewer terms.
///
/// Sums run over the terms in ascending order, one after the other, with a separate multiplication and addition, so
/// that a single arm and many side by side give the same bits on any machine.
#[derive(Clone, Debug)]
pub struct FeatureTerms {
    /// Places in a vector of d elements, and features.
    pub(super) singles: Vec<(usize, f64)>,
    /// Places in a packed lower triangle of d rows, and products; those off the diagonal are doubled, standing for both
    /// triangles.
    pub(super) pairs: Vec<(usize, f64)>,
}

impl FeatureTerms {
    /// Of d features.
    #[must_use]
    pub fn new(x: &[f64]) -> Self {
        let singles: Vec<(usize, f64)> = x.iter().copied().enumerate().filter(|&(_, feature)| feature != 0.0).collect();
        let mut pairs = Vec::with_capacity(packed_len(singles.len()));
        for (rank, &(row, feature)) in singles.iter().enumerate() {
            let start = row_start(row);
            pairs.extend(singles[..rank].iter().map(|&(column, other)| (start + column, 2.0 * feature * other)));
            pairs.push((start + row, feature * feature));
        }
        Self { singles, pairs }
    }
}

impl LinearPosterior {
    /// The posterior of a prior and moments, solved in the arithmetic `R`: doubles for serving.
    ///
    /// # Errors
    /// As [`LinearFit::solve`].
    pub fn derive<R: Real>(prior: LinearPrior, moments: &Moments) -> Result<Self, NotPositiveDefinite> {
        Ok(LinearFit::<R>::solve(prior, moments)?.to_posterior())
    }

    /// m, d elements, in units of the scaled reward.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Lambda^-1, packed lower triangle; times b / a it is the squared scale of the weights.
    #[must_use]
    pub fn shape(&self) -> &[f64] {
        &self.shape
    }

    /// Degrees of freedom of every score: 2 a.
    #[must_use]
    pub fn degrees_of_freedom(&self) -> f64 {
        2.0 * self.a
    }

    /// Shape and scale of the noise variance.
    #[must_use]
    pub const fn noise(&self) -> (f64, f64) {
        (self.a, self.b)
    }

    /// The score of d features.
    #[must_use]
    pub fn score(&self, x: &[f64]) -> ScoreDistribution {
        self.score_with(&FeatureTerms::new(x))
    }

    /// The score of features whose terms are at hand.
    #[must_use]
    pub fn score_with(&self, terms: &FeatureTerms) -> ScoreDistribution {
        let sum = |elements: &[f64], terms: &[(usize, f64)]| {
            terms.iter().fold(0.0, |sum, &(place, factor)| sum + elements[place] * factor)
        };
        student_t(self.a, self.b, sum(&self.mean, &terms.singles), sum(&self.shape, &terms.pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const PRIOR: LinearPrior = LinearPrior { precision: 0.25, a: 6.0, b: 6.0 };

    fn observed(features: usize, rows: usize, offset: f64) -> (Moments, Vec<f64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut moments = Moments::new(features);
        let mut x = vec![1.0; features];
        for _ in 0..rows {
            x[1..].fill_with(|| rng.random_range(-1.0..1.0));
            let y = offset + x.iter().sum::<f64>() + rng.random_range(-0.5..0.5);
            moments.observe(&x, y, 1.0);
        }
        (moments, x)
    }

    fn parts(score: ScoreDistribution) -> (f64, f64, f64) {
        let ScoreDistribution::StudentT { degrees_of_freedom, location, scale } = score else { panic!("{score:?}") };
        (degrees_of_freedom, location, scale)
    }

    #[test]
    fn without_data_the_posterior_is_the_prior() {
        let posterior = LinearPosterior::derive::<f64>(PRIOR, &Moments::new(2)).unwrap();
        let (df, location, scale) = parts(posterior.score(&[1.0, 1.0]));
        assert_eq!((df, location), (12.0, 0.0));
        assert!((scale - libm::sqrt(8.0)).abs() < 1e-14);
    }

    #[test]
    fn serving_scores_agree_with_the_triangular_solve_in_pairs_of_doubles() {
        for features in [1, 2, 7, 32, 45] {
            let (moments, x) = observed(features, 300, 0.0);
            let serving = parts(LinearPosterior::derive::<f64>(PRIOR, &moments).unwrap().score(&x));
            let exact = parts(LinearFit::<Dd>::solve(PRIOR, &moments).unwrap().score(&x));
            assert!((serving.1 - exact.1).abs() < 1e-12);
            assert!((serving.2 / exact.2 - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn rewards_around_a_million_leave_an_accurate_residual() {
        // With an intercept and hardly any prior precision an offset of the rewards changes the weights only.
        let prior = LinearPrior { precision: 1e-24, ..PRIOR };
        let scale_of = |offset| LinearPosterior::derive::<f64>(prior, &observed(4, 200, offset).0).unwrap().noise().1;
        // Rewards of 1e6 are themselves rounded to 1e-10, which moves residuals around 0.3 by as much.
        assert!((scale_of(1e6) / scale_of(0.0) - 1.0).abs() < 1e-8);
    }

    #[test]
    fn scale_stays_positive_for_features_all_nought() {
        let (moments, _) = observed(3, 10, 0.0);
        let (_, _, scale) = parts(LinearPosterior::derive::<f64>(PRIOR, &moments).unwrap().score(&[0.0; 3]));
        assert!(scale > 0.0);
    }

    #[test]
    fn poisoned_moments_are_refused() {
        let mut moments = Moments::new(2);
        moments.observe(&[1.0, f64::NAN], 1.0, 1.0);
        assert!(LinearPosterior::derive::<f64>(PRIOR, &moments).is_err());
    }
}
