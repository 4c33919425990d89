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
    logit_density_at_mode(a, b) * libm::exp(-logit_deviance(a, b, x, y))
}

/// The largest value of [`logit_density`], at x = a / (a + b).
#[must_use]
pub fn logit_density_at_mode(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let stirling = stirling_error(sum) - stirling_error(a) - stirling_error(b);
    // sqrt(ab / (2 pi (a + b))), in an order that neither overflows nor underflows.
    libm::sqrt(a / sum * b) * libm::exp(stirling - LN_SQRT_TWO_PI)
}

/// By how much the logarithm of [`logit_density`] is below its largest value, for x, y above 0.
#[must_use]
pub fn logit_deviance(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let sum = a + b;
    let lambda = distance_from_mean(a, b, x, y);
    a * excess(-lambda / a, x * (sum / a)) + b * excess(lambda / b, y * (sum / b))
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
    let (mut above, mut below, mut fraction) = (1.0, 0.0, 1.0);
    // For a < 5 and x up to the mean it ends after some 20 terms, whatever b is; the bound only ends bad input.
    for term in 1..2_000 {
        let m = f64::from(term / 2);
        let coefficient = if term % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        below = 1.0 / away_from_nought(1.0 + coefficient * below);
        above = away_from_nought(1.0 + coefficient / above);
        fraction *= above * below;
        if (above * below - 1.0).abs() < 1e-16 {
            break;
        }
    }
    1.0 / fraction
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
/// Written so that of the large parts, linear and quadratic, only their difference is computed: with e^w - 1 as long
/// as the moved point stays in the upper half of [0, 1], with 1 - e^-w in the lower half.
fn fall(a: f64, b: f64, x: f64, y: f64, slope: f64, w: f64) -> f64 {
    let shrunk = libm::exp(-w);
    if y < x * shrunk {
        let r = libm::expm1(w);
        -slope * r - b * excess_over_log(r) + (a + b) * excess_over_log(y * r)
    } else {
        let q = -libm::expm1(-w);
        -slope * q - a * excess(-q, shrunk) + (a + b) * excess(-x * q, y + x * shrunk)
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
    logit_to_point(logit_quantile(a, b, tails))
}

/// The logit ln(x / y) of [`quantile`], which knows no smallest double; infinite at the ends.
#[must_use]
pub fn logit_quantile(a: f64, b: f64, tails: Tails) -> f64 {
    if tails.lower > tails.upper {
        -smaller_logit_quantile(b, a, tails.upper)
    } else {
        smaller_logit_quantile(a, b, tails.lower)
    }
}

/// (x, y) with ln(x / y) = v and x + y = 1.
#[must_use]
pub fn logit_to_point(v: f64) -> (f64, f64) {
    let odds = libm::exp(-v.abs());
    let (small, large) = (odds / (1.0 + odds), 1.0 / (1.0 + odds));
    if v < 0.0 { (small, large) } else { (large, small) }
}

/// The logit below which a draw falls with probability p in [0, 1/2].
fn smaller_logit_quantile(a: f64, b: f64, p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let target = libm::log(p);
    let leading = (target + libm::log(a) + ln_beta(a, b)) / a;
    // The probability below is x^a / (a B) (1 + O(x)), x = e^v: out here that is all of it, whatever doubles can hold.
    if leading < -40.0 && leading < libm::log(a / b) - 40.0 {
        return leading;
    }
    // The logarithm of the probability below is concave in the logit: Newton's method lands left of the root from
    // anywhere and then climbs to it. The mode is a point whose probability is no underflow, to come back to.
    let mode = libm::log(a / b);
    let spread = libm::sqrt(1.0 / a + 1.0 / b);
    let mut v = mode + spread * super::normal::quantile(p);
    for iteration in 0..100 {
        let (x, y) = logit_to_point(v);
        let (below, density) = (tails(a, b, x, y).lower, logit_density(a, b, x, y));
        if below <= 0.0 {
            v = 0.5 * (v + mode);
            continue;
        }
        let step = (target - libm::log(below)) * below / density;
        v += step;
        // Where the climb ends in rounding, steps are as small as this or downwards.
        if step.abs() <= 1e-15 * spread.min(1.0) || (iteration > 3 && step <= 1e-13 * spread.min(1.0)) {
            break;
        }
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use statrs::function::beta::{beta_reg, ln_beta as statrs_ln_beta};

    /// Of 60-digit integration (mpmath): a, b, x, and the smaller of the probabilities below and above x.
    const REFERENCE: [(f64, f64, f64, f64); 27] = [
        (0.01, 0.01, 4.419_481_707_985_847e-16, 0.351_151_176_981_716_9),
        (0.01, 5.0, 2.709_043_690_852_562_2e-14, 0.252_957_658_544_442_13),
        (0.3, 0.3, 1.069_674_777_599_202e-09, 0.001_129_293_931_060_641_7),
        (0.3, 0.3, 0.999_567_703_594_990_3, 0.054_299_557_167_910_01),
        (0.5, 0.5, 0.689_974_481_127_612_5, 0.375_941_548_339_233_9),
        (0.5, 5.0e8, 6.542_510_912_857_035e-10, 0.418_596_891_340_259_96),
        (1.0, 1.0, 0.028_317_918_542_645_697, 0.028_317_918_542_645_697),
        (1.0, 1.0e6, 3.354_612_859_424_851_3e-10, 0.000_335_405_025_152_838_1),
        (1.0, 1.0e6, 2.008_516_362_960_729_5e-05, 1.892_503_390_245_926e-9),
        (2.5, 0.7, 0.859_828_273_535_290_9, 0.464_255_230_707_266_7),
        (3.0, 7.0, 0.258_396_879_164_594_3, 0.422_848_651_901_310_55),
        (4.9, 1.0e5, 1.583_768_001_694_994e-05, 0.025_939_068_597_525_49),
        (5.0, 5.0, 0.006_307_776_693_430_871, 1.231_965_795_100_065e-9),
        (5.0, 5.0, 0.869_593_185_868_438_1, 0.003_007_080_566_586_093),
        (12.0, 88.0, 0.133_618_262_040_736_49, 0.314_612_482_749_776_1),
        (5.0, 1.0e9, 4.372_232_853_508_931_6e-09, 0.443_485_649_185_979_1),
        (30.0, 0.5, 0.975_072_970_416_584_8, 0.220_358_318_089_310_3),
        (1000.0, 0.5, 0.999_236_270_095_742_5, 0.216_463_758_928_681_08),
        (5.0e8, 0.5, 0.999_999_998_471_534_9, 0.216_342_947_194_105_5),
        (1.0e5, 1.0e5, 0.497_204_944_143_229_8, 0.006_209_834_219_167_402),
        (1.0e9, 1.0e9, 0.499_910_557_281_854_1, 6.220_961_702_653_913e-16),
        (1.0e9, 1.0e9, 0.500_033_541_019_612_2, 0.001_349_898_038_283_525_6),
        (1.0e9, 3.3, 0.999_999_999_367_150_9, 0.015_459_429_593_275_545),
        (1.0e6, 1.0e9, 0.000_999_400_479_521_123, 0.344_445_892_870_933_3),
        (200.0, 30000.0, 0.006_483_957_946_514_417, 0.391_438_381_031_342_43),
        (10000.0, 0.02, 0.999_999_881_788_855_2, 0.116_279_746_656_436_05),
        (17.3, 2.2, 0.863_834_892_951_682_3, 0.312_421_081_328_638_16),
    ];

    #[test]
    fn smaller_tail_agrees_with_sixty_digit_integration() {
        for (a, b, x, smaller) in REFERENCE {
            let tails = tails(a, b, x, 1.0 - x);
            let error = (tails.lower.min(tails.upper) / smaller - 1.0).abs();
            assert!(error < 1e-13, "I_{x}({a}, {b}): {tails:?}, must be {smaller}: {error:e}");
        }
    }

    #[test]
    fn ends_are_certain() {
        assert_eq!(tails(0.3, 4.0, 0.0, 1.0), Tails { lower: 0.0, upper: 1.0 });
        assert_eq!(tails(0.3, 4.0, 1.0, 0.0), Tails { lower: 1.0, upper: 0.0 });
        assert_eq!(quantile(2.0, 3.0, Tails { lower: 0.0, upper: 1.0 }), (0.0, 1.0));
        assert_eq!(quantile(2.0, 3.0, Tails { lower: 1.0, upper: 0.0 }), (1.0, 0.0));
    }

    proptest! {
        #[test]
        fn agrees_with_statrs_for_moderate_shapes(a in 0.05..60.0_f64, b in 0.05..60.0_f64, x in 0.001..0.999_f64) {
            // statrs states 1e-12 or so of its own.
            prop_assert!((tails(a, b, x, 1.0 - x).lower - beta_reg(a, b, x)).abs() < 1e-11);
            prop_assert!((ln_beta(a, b) - statrs_ln_beta(a, b)).abs() < 1e-9);
        }

        #[test]
        fn quantile_undoes_tails(ln_a in -4.6..20.7_f64, ln_b in -4.6..20.7_f64, ln_p in -25.0..-0.7_f64, upper: bool) {
            let (a, b, p) = (libm::exp(ln_a), libm::exp(ln_b), libm::exp(ln_p));
            let wanted = Tails { lower: p, upper: 1.0 - p };
            let wanted = if upper { wanted.swapped() } else { wanted };
            let (x, y) = quantile(a, b, wanted);
            let found = tails(a, b, x, y);
            // Below the smallest normal double digits are lost, and then there is nothing to compare.
            if x >= f64::MIN_POSITIVE && y >= f64::MIN_POSITIVE {
                let found = if upper { found.upper } else { found.lower };
                // The logit is rounded to its last places: each costs density / p of relative error.
                let sensitivity = logit_density(a, b, x, y) / p * (1.0 + libm::log(x / y).abs());
                prop_assert!((found / p - 1.0).abs() < 1e-12 + 1e-15 * sensitivity, "{} {} {} {}", a, b, p, found);
            }
        }
    }
}
