//! The log-gamma function and what keeps differences of large log-gammas accurate.
//!
//! Formulas: Stirling's series with Bernoulli numbers (Abramowitz and Stegun, 1964, 6.1.41); splitting a density
//! into a deviance and Stirling errors (Loader, 2000).

/// The logarithm of the square root of 2 pi.
pub const LN_SQRT_TWO_PI: f64 = 0.918_938_533_204_672_8;

/// ln Gamma(x) for x > 0.
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    libm::lgamma_r(x).0
}

/// What Stirling's formula misses: ln Gamma(x) - ((x - 1/2) ln x - x + ln sqrt(2 pi)), for x > 0.
///
/// ln Gamma(1e9) is 2e10 and known to 4e-6 at best; in the errors, which are at most 1/(12 x), nothing is lost.
#[must_use]
pub fn stirling_error(x: f64) -> f64 {
    // From 10 on the first term left out, 3617 / (122400 x^15), is below 3e-17.
    if x < 10.0 {
        return ln_gamma(x) - ((x - 0.5) * libm::log(x) - x + LN_SQRT_TWO_PI);
    }
    const COEFFICIENTS: [f64; 7] =
        [1.0 / 156.0, -691.0 / 360_360.0, 1.0 / 1188.0, -1.0 / 1680.0, 1.0 / 1260.0, -1.0 / 360.0, 1.0 / 12.0];
    let inverse_square = 1.0 / (x * x);
    COEFFICIENTS.iter().fold(0.0, |sum, coefficient| sum * inverse_square + coefficient) / x
}

/// u - ln(1 + u) for u > -1, at least 0: accurate where both are nearly equal.
#[must_use]
pub fn excess_over_log(u: f64) -> f64 {
    if !(-0.5..=0.7).contains(&u) {
        return u - libm::log1p(u);
    }
    // With r = u / (2 + u): ln(1 + u) = 2 artanh r and 2 r = u - u r, so that u itself cancels on paper.
    let r = u / (2.0 + u);
    let square = r * r;
    let mut power = 1.0;
    let mut tail = 0.0;
    let mut odd = 3.0;
    // |r| is at most 1/3, so that each term is at most 1/9 of the one before.
    while power > 1e-17 {
        tail += power / odd;
        power *= square;
        odd += 2.0;
    }
    r * (u - 2.0 * square * tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of 40-digit arithmetic (mpmath): ln Gamma(x) minus Stirling's formula.
    #[test]
    fn stirling_error_agrees_with_forty_digit_arithmetic() {
        for (x, expected) in [
            (0.01, 1.434_007_953_703_184_2),
            (1.0, 0.081_061_466_795_327_26),
            (9.99, 0.008_338_896_797_734_33),
            (10.0, 0.008_330_563_433_362_87),
            (1e9, 8.333_333_333_333_333e-11),
        ] {
            let error: f64 = stirling_error(x) - expected;
            // Below 10 the parts are at most 25, whose last place is 3.6e-15.
            assert!(error.abs() < 1.5e-14, "{x}: {error:e}");
        }
    }

    #[test]
    fn excess_over_log_is_continuous_where_its_forms_meet_and_quadratic_at_nought() {
        for edge in [-0.5_f64, 0.7] {
            let direct = edge - libm::log1p(edge);
            assert!((excess_over_log(edge) / direct - 1.0).abs() < 1e-14);
        }
        for u in [1e-3, -1e-3, 1e-9, -1e-12] {
            let series = u * u * (0.5 - u * (1.0 / 3.0 - u * (0.25 - u * 0.2)));
            assert!((excess_over_log(u) / series - 1.0).abs() < 1e-12);
        }
    }
}
