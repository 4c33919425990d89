//! The regularised incomplete beta function and its inverse, for shapes from 0.01 to 1e9.
//!
//! Everything is relative to the density in logits v = ln(x / y), y = 1 - x: x^a y^b / B(a, b), which is analytic and
//! log-concave for all shapes. Its value comes from deviances and Stirling errors (Loader, 2000). The tail beyond x is
//! that value times a continued fraction (DLMF 8.17.22) where the shape on its side is small, and times an integral of
//! the density's ratio elsewhere, whose cost does not grow with the shapes. Points are given by x and y, so that
//! neither end loses digits.

use super::{
    double_double::Dd,
    gamma::{LN_SQRT_TWO_PI, excess_over_log, ln_gamma, stirling_error},
    quadrature::GaussLegendre,
};
use std::sync::LazyLock;

/// From this shape on, a tail is integrated. There its range in logits is at most ten times pi, the distance of the
/// density's poles from the real line, and 32 nodes resolve it; below, the continued fraction is short.
const INTEGRATED_FROM: f64 = 5.0;
/// The integrated tail ends where the density has fallen by exp(-39), 1e-17.
const TAIL_DEPTH: f64 = 39.0;

static TAIL_RULE: LazyLock<GaussLegendre<32>> = LazyLock::new(GaussLegendre::new);

/// Probabilities on both sides of a point; they sum to 1, and the smaller one keeps its relative accuracy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tails {
    /// Probability below.
    pub lower: f64,
    /// Probability above.
    pub upper: f64,
}

impl Tails {
    /// The tails of the mirrored distribution.
    #[must_use]
    pub const fn swapped(self) -> Self {
        Self { lower: self.upper, upper: self.lower }
    }

    const fn from_lower(lower: f64) -> Self {
        Self { lower, upper: 1.0 - lower }
    }
}

/// ln B(a, b) for a, b > 0.
#[must_use]
pub fn ln_beta(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if large < 10.0 {
        return ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    }
    // ln Gamma(large) - ln Gamma(large + small), the large parts cancelled on paper.
    let ratio = small / large;
    let difference = small - (large + small - 0.5) * libm::log1p(ratio) - small * libm::log(large)
        + stirling_error(large)
        - stirling_error(large + small);
    ln_gamma(small) + difference
}

/// x^a y^b / B(a, b): the density of the logit of a Beta(a, b) draw, at the point x = 1 - y.
#[must_use]
pub fn logit_density(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 || y <= 0.0 {
        return 0.0;
    }
    let sum = a + b;
    let lambda = distance_from_mean(a, b, x, y);
    let deviance = a * excess(-lambda / a, x * (sum / a)) + b * excess(lambda / b, y * (sum / b));
    let stirling = stirling_error(sum) - stirling_error(a) - stirling_error(b);
    // sqrt(ab / (2 pi (a + b))), in an order that neither overflows nor underflows.
    libm::sqrt(a / sum * b) * libm::exp(stirling - deviance - LN_SQRT_TWO_PI)
}

/// u - ln(1 + u), given 1 + u too, which is known better where u is near -1.
fn excess(u: f64, one_plus: f64) -> f64 {
    if u < -0.5 { u - libm::log(one_plus) } else { excess_over_log(u) }
}

/// a - (a + b) x = a y - b x, from the smaller of x and y, which is the one known without error.
fn distance_from_mean(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let sum = Dd::sum(a, b);
    if x <= y { (Dd::from(a) - sum * x).to_f64() } else { (sum * y - Dd::from(b)).to_f64() }
}

/// Probabilities below and above the point x = 1 - y of a Beta(a, b) draw, for a, b > 0 and x, y in [0, 1].
#[must_use]
pub fn tails(a: f64, b: f64, x: f64, y: f64) -> Tails {
    if x <= 0.0 {
        return Tails::from_lower(0.0);
    }
    if y <= 0.0 {
        return Tails::from_lower(1.0);
    }
    if distance_from_mean(a, b, x, y) < 0.0 {
        return Tails::from_lower(lower_tail(b, a, y, x)).swapped();
    }
    Tails::from_lower(lower_tail(a, b, x, y))
}

/// The probability below x, which is not above the mean.
fn lower_tail(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let density = logit_density(a, b, x, y);
    if density <= 0.0 {
        return 0.0;
    }
    let ratio = if a < INTEGRATED_FROM { continued_fraction(a, b, x) / a } else { tail_integral(a, b, x, y) };
    (density * ratio).min(1.0)
}

/// DLMF 8.17.22 by Lentz's method as modified by Thompson and Barnett (1986).
fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_nought = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut numerator, mut denominator) = (1.0, 0.0);
    let mut fraction = 1.0;
    // For a < 5 and x up to the mean it ends after some 20 terms, whatever b is; the bound only ends bad input.
    for term in 0..2_000 {
        let m = f64::from(term / 2);
        let coefficient = if term == 0 {
            1.0
        } else if term % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        denominator = 1.0 / away_from_nought(1.0 + coefficient * denominator);
        numerator = away_from_nought(1.0 + coefficient / numerator);
        let factor = numerator * denominator;
        if term > 0 {
            fraction *= factor;
            if (factor - 1.0).abs() < 1e-16 {
                break;
            }
        } else {
            (numerator, fraction) = (1.0, denominator);
        }
    }
    fraction
}

/// The integral over w > 0 of the density at logit v - w relative to the one at v.
fn tail_integral(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let slope = distance_from_mean(a, b, x, y);
    let curvature = (a + b) * x * y;
    let width = tail_width(a, b, x, y, slope, curvature);
    TAIL_RULE.on(0.0, width).fold(0.0, |sum, (w, weight)| sum + weight * libm::exp(fall(a, b, x, y, slope, w)))
}

/// The logarithm of the density at logit v - w relative to the one at v; concave in w, 0 at 0.
///
/// Written so that of the large parts, linear and quadratic, only their difference is computed: with q = 1 - e^-w
/// below one half, with e^w - 1 above.
fn fall(a: f64, b: f64, x: f64, y: f64, slope: f64, w: f64) -> f64 {
    if x <= y {
        let q = -libm::expm1(-w);
        -slope * q - a * excess(-q, libm::exp(-w)) + (a + b) * excess_over_log(-x * q)
    } else {
        let r = libm::expm1(w);
        -slope * r - b * excess_over_log(r) + (a + b) * excess_over_log(y * r)
    }
}

/// The w at which the density has fallen by [`TAIL_DEPTH`], or a little more.
fn tail_width(a: f64, b: f64, x: f64, y: f64, slope: f64, curvature: f64) -> f64 {
    // A parabola first: 2 c / (s + sqrt(s^2 + 2 c k)) solves s w + k w^2 / 2 = c.
    let mut width = 2.0 * TAIL_DEPTH / (slope + libm::sqrt(slope * slope + 2.0 * TAIL_DEPTH * curvature));
    // The fall is concave, so Newton's method comes down to the root from its right and never passes it.
    for _ in 0..8 {
        let excess = fall(a, b, x, y, slope, width) + TAIL_DEPTH;
        let moved_odds = x / (x + y * libm::exp(width));
        let step = excess / (a - (a + b) * moved_odds);
        width += step;
        if step.abs() < 0.01 * width {
            break;
        }
    }
    width
}

/// The point x = 1 - y below which a Beta(a, b) draw falls with the given probabilities, as (x, y).
///
/// Both are given because one of them may be too close to 1 to tell; a point nearer to an end than the smallest
/// double is that end.
#[must_use]
pub fn quantile(a: f64, b: f64, tails: Tails) -> (f64, f64) {
    if tails.lower > tails.upper {
        let (y, x) = quantile(b, a, tails.swapped());
        return (x, y);
    }
    if tails.lower <= 0.0 {
        return (0.0, 1.0);
    }
    logit_to_point(logit_quantile(a, b, tails.lower))
}

/// (x, y) with ln(x / y) = v and x + y = 1.
#[must_use]
pub fn logit_to_point(v: f64) -> (f64, f64) {
    let odds = libm::exp(-v.abs());
    let (small, large) = (odds / (1.0 + odds), 1.0 / (1.0 + odds));
    if v < 0.0 { (small, large) } else { (large, small) }
}

/// The logit below which a draw falls with probability p in (0, 1/2].
fn logit_quantile(a: f64, b: f64, p: f64) -> f64 {
    let target = libm::log(p);
    // The logarithm of the probability below is concave in the logit and its slope is at most a: Newton's method
    // lands left of the root from anywhere and then climbs to it. The start is the leading term x^a / (a B), an upper
    // bound of the probability for b >= 1, or the normal approximation where that is further right.
    let leading = (target + libm::log(a) + ln_beta(a, b)) / a;
    let spread = libm::sqrt(1.0 / a + 1.0 / b);
    let normal = libm::log(a / b) + spread * super::normal::quantile(p);
    let mut v = if a < 1.0 { leading.min(normal) } else { leading.max(normal) };
    for _ in 0..100 {
        let (x, y) = logit_to_point(v);
        let (below, density) = (tails(a, b, x, y).lower, logit_density(a, b, x, y));
        if below <= 0.0 {
            // So far out that doubles end: the leading term is exact there.
            return v.max(leading);
        }
        let step = (target - libm::log(below)) * below / density;
        v += step;
        if step.abs() <= 4e-16 * v.abs().max(spread.min(1.0)) {
            break;
        }
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use statrs::function::beta::beta_reg;

    include!("beta_reference.in");

    #[test]
    fn smaller_tail_agrees_with_fifty_digit_arithmetic() {
        for (a, b, x, smaller) in REFERENCE {
            let tails = tails(a, b, x, 1.0 - x);
            let error = (tails.lower.min(tails.upper) / smaller - 1.0).abs();
            assert!(error < 2e-13, "I_{x}({a}, {b}): {tails:?}, must be {smaller}: {error:e}");
        }
    }
}
