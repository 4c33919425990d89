//! Student's t distribution for any degrees of freedom above 0.
//!
//! The tails come from the incomplete beta function: 2 P(T > t) = I_x(n/2, 1/2) with x = n / (n + t^2) (DLMF 8.17),
//! whose point is known from both ends, so that 1e9 degrees of freedom lose nothing.

use super::{
    beta::{self, Tails},
    gamma::{LN_SQRT_TWO_PI, excess_over_log, stirling_error},
};

/// Density at t with `df` degrees of freedom.
#[must_use]
pub fn pdf(df: f64, t: f64) -> f64 {
    density(df)(t)
}

/// The density with `df` degrees of freedom as a function, for many arguments.
pub fn density(df: f64) -> impl Fn(f64) -> f64 {
    let half = 0.5 * df;
    // Gamma(h + 1/2) / (Gamma(h) sqrt(2 h pi)) with the large parts of both log-gammas cancelled on paper.
    let ln_norm =
        stirling_error(half + 0.5) - stirling_error(half) - half * excess_over_log(0.5 / half) - LN_SQRT_TWO_PI;
    let inverse_root = 1.0 / libm::sqrt(df);
    move |t| libm::exp(ln_norm - (half + 0.5) * ln_one_plus_square(t * inverse_root))
}

fn ln_one_plus_square(r: f64) -> f64 {
    // Beyond 1e8 the 1 no longer counts, and the square of a larger number might overflow.
    if r.abs() > 1e8 { 2.0 * libm::log(r.abs()) } else { libm::log1p(r * r) }
}

/// Probabilities below and above t.
#[must_use]
pub fn tails(df: f64, t: f64) -> Tails {
    let ratio = t.abs() / libm::sqrt(df);
    let (x, y) = if ratio > 1.0 {
        let inverse = 1.0 / ratio;
        let square = inverse * inverse;
        (square / (1.0 + square), 1.0 / (1.0 + square))
    } else {
        let square = ratio * ratio;
        (1.0 / (1.0 + square), square / (1.0 + square))
    };
    let both = beta::tails(0.5 * df, 0.5, x, y);
    let outer = 0.5 * both.lower;
    let tails = Tails { lower: 0.5 + 0.5 * both.upper, upper: outer };
    if t < 0.0 { tails.swapped() } else { tails }
}

/// Probability below t.
#[must_use]
pub fn cdf(df: f64, t: f64) -> f64 {
    tails(df, t).lower
}

/// Probability above t; keeps its relative accuracy in the upper tail.
#[must_use]
pub fn sf(df: f64, t: f64) -> f64 {
    tails(df, t).upper
}

/// The t below which a draw falls with probability p in [0, 1]; infinite at the ends.
#[must_use]
pub fn quantile(df: f64, p: f64) -> f64 {
    if p > 0.5 {
        return -quantile(df, 1.0 - p);
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    // 1 - 2 p is exact for p >= 1/4, where it is the smaller tail.
    let (x, y) = beta::quantile(0.5 * df, 0.5, Tails { lower: 2.0 * p, upper: 1.0 - 2.0 * p });
    if y <= 0.0 { 0.0 } else { -libm::sqrt(df * (y / x)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::math::normal;
    use proptest::prelude::*;
    use statrs::distribution::{Continuous, ContinuousCDF, StudentsT};

    #[test]
    fn agrees_with_statrs_where_statrs_is_good() {
        for df in [0.7, 1.0, 2.5, 8.0, 54.0, 300.0] {
            let reference = StudentsT::new(0.0, 1.0, df).unwrap();
            for step in -40..=40 {
                let t = f64::from(step) * 0.25;
                assert!((pdf(df, t) / reference.pdf(t) - 1.0).abs() < 1e-12, "{df} {t}");
                assert!((cdf(df, t) - reference.cdf(t)).abs() < 1e-12, "{df} {t}");
            }
        }
    }

    #[test]
    fn a_thousand_million_degrees_of_freedom_are_normal_to_the_first_correction() {
        let df = 1e9;
        for step in -60..=60 {
            let z = f64::from(step) * 0.1;
            // Cornish-Fisher: the cdf is Phi(z) - phi(z) (z^3 + z) / (4 df) + O(1 / df^2).
            let expected = normal::cdf(z) - normal::pdf(z) * (z * z * z + z) / (4.0 * df);
            assert!((cdf(df, z) / expected - 1.0).abs() < 1e-13, "{z}: {} {expected}", cdf(df, z));
            assert!((pdf(df, z) / normal::pdf(z) - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn one_and_two_degrees_of_freedom_have_closed_forms() {
        for t in [1e-9, 0.1, 1.0, 30.0, 1e5, 1e150] {
            let cauchy = libm::atan(1.0 / t) / core::f64::consts::PI;
            assert!((sf(1.0, t) / cauchy - 1.0).abs() < 1e-13, "{t}");
            let root = libm::sqrt(2.0 + t.min(1e100) * t.min(1e100));
            let two = 1.0 / (root * (root + t.min(1e100)));
            assert!((sf(2.0, t.min(1e100)) / two - 1.0).abs() < 1e-13, "{t}");
        }
    }

    proptest! {
        #[test]
        fn quantile_undoes_cdf(ln_df in -1.0..20.0_f64, p in 1e-12..0.5_f64) {
            let df = libm::exp(ln_df);
            let t = quantile(df, p);
            // The quantile is rounded to its last places; the cdf multiplies that by t pdf / cdf.
            let sensitivity = (t * pdf(df, t) / p).abs();
            prop_assert!((cdf(df, t) / p - 1.0).abs() < 1e-13 * (1.0 + sensitivity));
        }
    }
}
