//! Probabilities of being highest, evaluated exactly: what the serving path is held to.
//!
//! Adaptive Gauss-Legendre quadrature: a panel is accepted when it agrees with its halves and when its parts add up
//! to the growth of a known total. Good to 1e-11; some milliseconds for a few arms, a second for a hundred.

use super::{
    axis::{Point, Reach, Segment, segments},
    distribution::ScoreDistribution,
};
use crate::engine::math::{
    beta::{self, Tails},
    normal,
    quadrature::GaussLegendre,
    student_t,
};
use std::sync::LazyLock;

/// Probability beyond each end of an arm's reach.
const BEYOND: f64 = 1e-17;
/// The logit that ends a segment for densities that are finite there: e^-40 of its width.
const EDGE: f64 = 40.0;
/// Largest difference between a panel and its halves, and between its sum and the known total's growth: some of it
/// for every panel, some for the rounding of scores that scale with the growth.
const PANEL_ERROR: f64 = 1e-13;
const GROWTH_ERROR: f64 = 1e-11;
/// Growth of the total that need not be resolved at all.
const NEGLIGIBLE: f64 = 1e-16;
/// Panels whose total grows more are halved before they are evaluated.
const WORTH_TRYING: f64 = 0.5;
/// Ends halving where rounding keeps halves from agreeing; a hundred arms of very different scales need a few hundred.
const PANELS_MAX: usize = 20_000;

static RULE: LazyLock<GaussLegendre<16>> = LazyLock::new(GaussLegendre::new);

/// P(a has the highest draw) for each of the given arms, all eligible; sums to 1.
#[must_use]
pub fn thompson_pmf_reference(arms: &[ScoreDistribution]) -> Vec<f64> {
    if arms.len() < 2 {
        return vec![1.0; arms.len()];
    }
    let mut probabilities = integrate(
        arms,
        arms.len(),
        |cdf| cdf.iter().product(),
        |cdf, density, out| {
            let mut prefix = 1.0;
            for (slot, below) in out.iter_mut().zip(cdf) {
                *slot = prefix;
                prefix *= below;
            }
            let mut suffix = 1.0;
            for ((slot, below), density) in out.iter_mut().zip(cdf).zip(density).rev() {
                *slot *= density * suffix;
                suffix *= below;
            }
        },
    );
    let sum: f64 = probabilities.iter().sum();
    debug_assert!((sum - 1.0).abs() < 1e-9, "highest draws have probability {sum}");
    for probability in &mut probabilities {
        *probability /= sum;
    }
    probabilities
}

/// Integrals over scores s of `terms` functions of the arms' F(s) and f(s), all non-negative.
///
/// `total` is a function of the F(s), not decreasing in s, whose growth is the integral of the terms' sum: it says
/// where something happens at all. `integrand` gets the cdfs and the densities and writes the terms.
#[must_use]
pub fn integrate(
    arms: &[ScoreDistribution],
    terms: usize,
    total: impl Fn(&[f64]) -> f64,
    integrand: impl Fn(&[f64], &[f64], &mut [f64]),
) -> Vec<f64> {
    let mut quadrature = Quadrature { arms, total, integrand, sums: vec![0.0; terms], panels: 0 };
    for segment in &cut(arms) {
        let ends = [segment.from, segment.to];
        let totals = ends.map(|coordinate| quadrature.total_at(segment, coordinate));
        quadrature.refine(segment, ends, totals, None);
    }
    quadrature.sums
}

fn cut(arms: &[ScoreDistribution]) -> Vec<Segment> {
    let mut cuts = Vec::new();
    let reaches: Vec<Reach> = arms
        .iter()
        .map(|arm| match *arm {
            ScoreDistribution::Beta { alpha, beta, scale } => {
                cuts.extend([0.0, scale]);
                let low = Tails { lower: BEYOND, upper: 1.0 };
                Reach::Logits {
                    scale,
                    low: beta::logit_quantile(alpha, beta, low),
                    high: beta::logit_quantile(alpha, beta, low.swapped()),
                }
            }
            ScoreDistribution::StudentT { degrees_of_freedom, location, scale } => {
                let reach = -scale * student_t::quantile(degrees_of_freedom, BEYOND);
                Reach::Scores { low: location - reach, high: location + reach }
            }
            ScoreDistribution::Normal { mean, standard_deviation } => {
                let reach = -standard_deviation * normal::quantile(BEYOND);
                Reach::Scores { low: mean - reach, high: mean + reach }
            }
        })
        .collect();
    segments(&reaches, cuts, EDGE)
}

/// F and the density by the coordinate at a point.
fn evaluate(arm: &ScoreDistribution, point: &Point) -> (f64, f64) {
    match *arm {
        ScoreDistribution::Beta { alpha, beta, scale } => {
            let (below, above) = point.distances(scale);
            let (x, y) = (below / scale, above / scale);
            if x <= 0.0 || y <= 0.0 {
                return (if x <= 0.0 { 0.0 } else { 1.0 }, 0.0);
            }
            let density = beta::logit_density(alpha, beta, x, y);
            let by_logit = if point.own_logit(scale).is_some() { 1.0 } else { point.stretch / (x * y * scale) };
            (beta::tails(alpha, beta, x, y).lower, density * by_logit)
        }
        _ => (arm.cdf(point.score), arm.pdf(point.score) * point.stretch),
    }
}

struct Quadrature<'a, T, I> {
    arms: &'a [ScoreDistribution],
    total: T,
    integrand: I,
    sums: Vec<f64>,
    panels: usize,
}

impl<T: Fn(&[f64]) -> f64, I: Fn(&[f64], &[f64], &mut [f64])> Quadrature<'_, T, I> {
    fn total_at(&self, segment: &Segment, coordinate: f64) -> f64 {
        let point = segment.point(coordinate);
        let cdfs: Vec<f64> = self.arms.iter().map(|arm| evaluate(arm, &point).0).collect();
        (self.total)(&cdfs)
    }

    /// Adds the integrals over a panel, whose estimate may be known, halving it until halves agree with the whole.
    fn refine(&mut self, segment: &Segment, ends: [f64; 2], totals: [f64; 2], whole: Option<Vec<f64>>) {
        let [from, to] = ends;
        let growth = totals[1] - totals[0];
        let middle = from + 0.5 * (to - from);
        if growth <= NEGLIGIBLE || middle <= from || middle >= to {
            return;
        }
        let mut estimates = [None, None];
        if growth <= WORTH_TRYING {
            self.panels += 1;
            let whole = whole.unwrap_or_else(|| self.estimate(segment, from, to));
            let [left, right] = [self.estimate(segment, from, middle), self.estimate(segment, middle, to)];
            let halves: Vec<f64> = left.iter().zip(&right).map(|(left, right)| left + right).collect();
            let apart = whole.iter().zip(&halves).map(|(whole, halves)| (whole - halves).abs()).fold(0.0, f64::max);
            let missed = (halves.iter().sum::<f64>() - growth).abs();
            if apart.max(missed) <= PANEL_ERROR + GROWTH_ERROR * growth || self.panels >= PANELS_MAX {
                self.sums.iter_mut().zip(&halves).for_each(|(sum, part)| *sum += part);
                return;
            }
            estimates = [Some(left), Some(right)];
        }
        let total = self.total_at(segment, middle);
        let [left, right] = estimates;
        self.refine(segment, [from, middle], [totals[0], total], left);
        self.refine(segment, [middle, to], [total, totals[1]], right);
    }

    fn estimate(&self, segment: &Segment, from: f64, to: f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.sums.len()];
        let mut terms = sums.clone();
        let (mut cdfs, mut densities) = (vec![0.0; self.arms.len()], vec![0.0; self.arms.len()]);
        for (coordinate, weight) in RULE.on(from, to) {
            let point = segment.point(coordinate);
            for ((arm, cdf), density) in self.arms.iter().zip(&mut cdfs).zip(&mut densities) {
                (*cdf, *density) = evaluate(arm, &point);
            }
            (self.integrand)(&cdfs, &densities, &mut terms);
            sums.iter_mut().zip(&terms).for_each(|(sum, term)| *sum += weight * term);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beta(alpha: f64, beta: f64) -> ScoreDistribution {
        ScoreDistribution::Beta { alpha, beta, scale: 1.0 }
    }

    fn normal(mean: f64, standard_deviation: f64) -> ScoreDistribution {
        ScoreDistribution::Normal { mean, standard_deviation }
    }

    #[test]
    fn two_normals_compare_by_the_normal_law_even_with_scales_ten_thousand_times_apart() {
        for (mean, sd) in [(0.0, 1.0), (0.3, 1e-4), (-2.0, 1e4), (1e4, 1e4)] {
            let pmf = thompson_pmf_reference(&[normal(0.5, 1.0), normal(mean, sd)]);
            let expected = crate::engine::math::normal::cdf((0.5 - mean) / (1.0 + sd * sd).sqrt());
            assert!((pmf[0] - expected).abs() < 1e-11, "{mean} {sd}: {} {expected}", pmf[0]);
        }
    }

    #[test]
    fn two_betas_with_whole_shapes_have_a_finite_sum() {
        // Of exact rational arithmetic: P(X > Y) for X ~ Beta(3, 7), Y ~ Beta(5, 6).
        let pmf = thompson_pmf_reference(&[beta(3.0, 7.0), beta(5.0, 6.0)]);
        assert!((pmf[0] - 0.219_933_317_456_537_3).abs() < 1e-12);
    }

    #[test]
    fn powers_of_uniforms_have_closed_forms_down_to_infinite_densities() {
        // Beta(k, 1) is highest with probability proportional to k: F = x^k.
        for shapes in [[0.01, 0.02, 0.05], [0.3, 1.0, 2.5], [1e-1, 1e3, 3.0]] {
            let arms = shapes.map(|alpha| beta(alpha, 1.0));
            let sum: f64 = shapes.iter().sum();
            for (probability, shape) in thompson_pmf_reference(&arms).iter().zip(shapes) {
                // With shapes this small all three draws are below the smallest double with probability 2e-25.
                assert!((probability - shape / sum).abs() < 1e-11, "{shapes:?}: {probability}");
            }
        }
    }

    #[test]
    fn uniforms_of_different_scales_have_closed_forms() {
        let scaled = |scale| ScoreDistribution::Beta { alpha: 1.0, beta: 1.0, scale };
        // The wider one is highest unless both are below the narrower scale and it is lower: 1 - 1 / (2 ratio).
        let pmf = thompson_pmf_reference(&[scaled(5.0), scaled(2.0)]);
        assert!((pmf[0] - 0.8).abs() < 1e-12);
        // With a normal far below nothing changes.
        let pmf = thompson_pmf_reference(&[scaled(5.0), normal(-1e3, 1.0), scaled(2.0)]);
        assert!((pmf[0] - 0.8).abs() < 1e-12 && pmf[1] < 1e-12);
    }

    #[test]
    fn equal_arms_share_evenly_and_one_arm_takes_all() {
        let pmf = thompson_pmf_reference(&[beta(1e8, 2e9); 100]);
        assert!(pmf.iter().all(|probability| (probability - 0.01).abs() < 1e-13));
        assert_eq!(thompson_pmf_reference(&[normal(0.0, 1.0)]), [1.0]);
    }
}
