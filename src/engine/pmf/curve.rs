//! Tables of score distributions: a cdf costs a few multiplications instead of an incomplete beta function.
//!
//! A curve depends on the shape alone (degrees of freedom; alpha and beta), not on location and scale, so it is made
//! once per snapshot and arm. It is a piecewise cubic in standardised z (for Betas: in the standardised logit), with
//! thirty-two pieces while |z| + 1 doubles, found from the bits of |z| + 1 without search. Cubics through values and
//! slopes whose slopes are at most three times the secant are monotone (Fritsch and Carlson, 1980).

use super::{axis::Reach, distribution::ScoreDistribution};
use crate::engine::math::{beta, normal, quadrature::GaussLegendre, student_t};
use std::sync::LazyLock;

/// Pieces per doubling are 2 to this: the cdf is then off by less than 1e-7.
const PIECES_LOG2: u32 = 5;
/// How far to shift a double's bits to keep exponent and piece.
const PIECE_SHIFT: u32 = 52 - PIECES_LOG2;
/// The bits of 1.0, shifted so.
const FIRST_PIECE: u64 = 1023 << PIECES_LOG2;
/// Probability beyond the table's end, treated as nought.
const BEYOND: f64 = 1e-10;
/// Most pieces on one side: |z| up to 2^512.
const PIECES_MAX: usize = 1 << 14;
/// A spread in logits beyond which a Beta is flat with steep edges, and is tabulated by its edges instead.
const LOGIT_SPREAD_MAX: f64 = 2.0;

static PIECE_RULE: LazyLock<GaussLegendre<3>> = LazyLock::new(GaussLegendre::new);

/// The standardised cdf of one shape.
#[derive(Clone, Debug)]
pub struct ScoreCurve {
    /// z = (t - centre) / spread, where t is a logit for Betas and the standardised score otherwise.
    centre: f64,
    inverse_spread: f64,
    /// Outward tail probabilities below and above z = 0; symmetric curves have one table for both.
    below: Vec<Cubic>,
    above: Option<Vec<Cubic>>,
}

/// A tail probability on one piece, by powers of the distance from the piece's inner end.
#[derive(Clone, Copy, Debug)]
struct Cubic([f64; 4]);

impl ScoreCurve {
    /// The curve of a distribution's shape; location and scale do not matter.
    #[must_use]
    pub fn of(distribution: &ScoreDistribution) -> Self {
        match *distribution {
            ScoreDistribution::Beta { alpha, beta, .. } => Self::beta(alpha, beta),
            ScoreDistribution::StudentT { degrees_of_freedom: df, .. } => {
                // Beyond z the density falls at least like z^-(df + 1) does there.
                let density = student_t::density(df);
                Self::symmetric(density, |z, density| density * (df / z + z) / df)
            }
            ScoreDistribution::Normal { .. } => Self::symmetric(normal::pdf, |z, density| density / z),
        }
    }

    fn symmetric(density: impl Fn(f64) -> f64, tail_bound: impl Fn(f64, f64) -> f64) -> Self {
        let table = Table::new(density, tail_bound);
        let mass = 2.0 * table.mass();
        Self { centre: 0.0, inverse_spread: 1.0, below: table.cubics(mass), above: None }
    }

    fn beta(alpha: f64, beta: f64) -> Self {
        let centre = libm::log(alpha / beta);
        // The curvature of the log-density at its mode is the harmonic sum of the shapes.
        let spread = libm::sqrt(1.0 / alpha + 1.0 / beta).min(LOGIT_SPREAD_MAX);
        // Of the density only the exponent changes along the curve.
        let peak = spread * beta::logit_density_at_mode(alpha, beta);
        let side = |sign: f64| {
            let point = move |z: f64| beta::logit_to_point(centre + sign * spread * z);
            let density = move |z: f64| {
                let (x, y) = point(z);
                peak * libm::exp(-beta::logit_deviance(alpha, beta, x, y))
            };
            // Log-concave: beyond z it falls at least at the rate it has there.
            let tail_bound = move |z: f64, density: f64| {
                let (x, y) = point(z);
                density / (spread * (beta * x - alpha * y).abs())
            };
            Table::new(density, tail_bound)
        };
        let (below, above) = (side(-1.0), side(1.0));
        let mass = below.mass() + above.mass();
        Self { centre, inverse_spread: 1.0 / spread, below: below.cubics(mass), above: Some(above.cubics(mass)) }
    }

    /// Where the table ends below and above, as t.
    pub(super) fn reach(&self, distribution: &ScoreDistribution) -> Reach {
        let [low, high] = [-end_of(&self.below), end_of(self.above.as_ref().unwrap_or(&self.below))];
        match *distribution {
            ScoreDistribution::Beta { scale, .. } => Reach::Logits {
                scale,
                low: self.centre + low / self.inverse_spread,
                high: self.centre + high / self.inverse_spread,
            },
            ScoreDistribution::StudentT { location, scale, .. }
            | ScoreDistribution::Normal { mean: location, standard_deviation: scale } => {
                Reach::Scores { low: location + scale * low, high: location + scale * high }
            }
        }
    }

    /// Centre and spread of a distribution of this shape: of logits for Betas, of scores otherwise.
    pub(super) fn hub(&self, distribution: &ScoreDistribution) -> (f64, f64) {
        match *distribution {
            ScoreDistribution::Beta { .. } => (self.centre, 1.0 / self.inverse_spread),
            ScoreDistribution::StudentT { location, scale, .. } => (location, scale),
            ScoreDistribution::Normal { mean, standard_deviation } => (mean, standard_deviation),
        }
    }

    /// The cdf and its slope at t: a logit for Betas, the standardised score otherwise.
    #[inline]
    pub(super) fn at(&self, t: f64) -> (f64, f64) {
        let (cdf, slope) = self.standard((t - self.centre) * self.inverse_spread);
        (cdf, slope * self.inverse_spread)
    }

    /// The cdf and its slope by z.
    #[inline]
    pub(super) fn standard(&self, z: f64) -> (f64, f64) {
        let ([cdf], [slope]) = self.standards([z]);
        (cdf, slope)
    }

    /// Cdfs and their slopes by several z: what is computed is the same for each by itself, and quicker together.
    #[inline]
    pub(super) fn standards<const N: usize>(&self, zs: [f64; N]) -> ([f64; N], [f64; N]) {
        let (mut pieces, mut along) = ([0; N], [0.0; N]);
        for lane in 0..N {
            let position = zs[lane].abs() + 1.0;
            let start = position.to_bits() >> PIECE_SHIFT;
            pieces[lane] = (start - FIRST_PIECE) as usize;
            along[lane] = position - f64::from_bits(start << PIECE_SHIFT);
        }
        let (below, above) = (&self.below[..], self.above.as_deref().unwrap_or(&self.below));
        // By powers, so that all lanes go through the polynomials at once.
        let mut cubics = [[0.0; N]; 4];
        for lane in 0..N {
            let table = if zs[lane] < 0.0 { below } else { above };
            match table.get(pieces[lane]) {
                Some(Cubic(cubic)) => (0..4).for_each(|power| cubics[power][lane] = cubic[power]),
                // Nothing is left of the tail, and infinities are nowhere along a piece.
                None => along[lane] = 0.0,
            }
        }
        let [value, slope, square, cube] = &cubics;
        let (mut cdfs, mut slopes) = ([0.0; N], [0.0; N]);
        for lane in 0..N {
            let (along, square, cube) = (along[lane], square[lane], cube[lane]);
            let tail = value[lane] + along * (slope[lane] + along * (square + along * cube));
            let fall = -(slope[lane] + along * (2.0 * square + along * (3.0 * cube)));
            cdfs[lane] = if zs[lane] < 0.0 { tail } else { 1.0 - tail };
            slopes[lane] = fall.max(0.0);
        }
        (cdfs, slopes)
    }
}

/// The |z| where a piece starts.
fn piece_start(piece: usize) -> f64 {
    f64::from_bits((FIRST_PIECE + piece as u64) << PIECE_SHIFT) - 1.0
}

fn end_of(table: &[Cubic]) -> f64 {
    piece_start(table.len())
}

/// Tail probabilities and densities where pieces meet, from z = 0 outward.
struct Table {
    tails: Vec<f64>,
    densities: Vec<f64>,
}

impl Table {
    /// Integrates the density outward until the bound on what is left is negligible; sums from the far end, so that
    /// small tails keep their digits.
    fn new(density: impl Fn(f64) -> f64, tail_bound: impl Fn(f64, f64) -> f64) -> Self {
        let mut densities = vec![density(0.0)];
        let mut masses = Vec::new();
        let mut rest = f64::INFINITY;
        // A bound that is not a number ends it like one that is small: only bad shapes give one.
        while rest > BEYOND && masses.len() < PIECES_MAX {
            let [from, to] = [masses.len(), masses.len() + 1].map(piece_start);
            masses.push(PIECE_RULE.on(from, to).fold(0.0, |sum, (z, weight)| sum + weight * density(z)));
            let end = density(to);
            densities.push(end);
            rest = tail_bound(to, end);
        }
        let mut tails = vec![rest];
        for mass in masses.iter().rev() {
            rest += mass;
            tails.push(rest);
        }
        tails.reverse();
        Self { tails, densities }
    }

    /// Probability on this side of z = 0.
    fn mass(&self) -> f64 {
        self.tails[0]
    }

    /// The pieces, divided by the mass of both sides.
    fn cubics(&self, mass: f64) -> Vec<Cubic> {
        let pieces = self.tails.windows(2).zip(self.densities.windows(2)).enumerate();
        pieces
            .map(|(piece, (tails, densities))| {
                let width = piece_start(piece + 1) - piece_start(piece);
                let secant = (tails[1] - tails[0]) / width;
                let [inner, outer] = [densities[0], densities[1]].map(|density| (-density).max(3.0 * secant));
                let square = (3.0 * secant - 2.0 * inner - outer) / width;
                let cube = (inner + outer - 2.0 * secant) / (width * width);
                Cubic([tails[0], inner, square, cube].map(|coefficient| coefficient / mass))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst_cdf_error(distribution: ScoreDistribution) -> f64 {
        let curve = ScoreCurve::of(&distribution);
        let errors = (-4000..4000).map(|step| {
            let z = f64::from(step) * 0.00317;
            let t = curve.centre + z * z.abs() / curve.inverse_spread;
            let exact = match distribution {
                ScoreDistribution::Beta { alpha, beta, .. } => {
                    let (x, y) = beta::logit_to_point(t);
                    beta::tails(alpha, beta, x, y).lower
                }
                _ => distribution.cdf(t),
            };
            (curve.at(t).0 - exact).abs()
        });
        errors.fold(0.0, f64::max)
    }

    #[test]
    fn curves_are_within_a_ten_millionth_of_the_cdf() {
        let t = |degrees_of_freedom| ScoreDistribution::StudentT { degrees_of_freedom, location: 0.0, scale: 1.0 };
        let beta = |alpha, beta| ScoreDistribution::Beta { alpha, beta, scale: 1.0 };
        let normal = ScoreDistribution::Normal { mean: 0.0, standard_deviation: 1.0 };
        let shapes = [0.05, 0.3, 1.0, 2.0, 17.0, 1e3, 1e6, 1e9];
        let betas = shapes.iter().flat_map(|&a| shapes.iter().map(move |&b| beta(a, b)));
        for distribution in [0.5, 1.5, 3.0, 12.0, 1e3, 1e7].map(t).into_iter().chain([normal]).chain(betas) {
            let error = worst_cdf_error(distribution);
            assert!(error < 1e-7, "{distribution:?}: {error:e}");
        }
    }

    #[test]
    fn beyond_the_table_is_certainty_and_infinities_are_answered() {
        let curve = ScoreCurve::of(&ScoreDistribution::Normal { mean: 0.0, standard_deviation: 1.0 });
        for far in [1e3, 1e300, f64::INFINITY] {
            assert_eq!((curve.at(far), curve.at(-far)), ((1.0, 0.0), (0.0, 0.0)));
        }
    }
}
