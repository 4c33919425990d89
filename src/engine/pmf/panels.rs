//! Probabilities of being highest for any arms whatever: by panels that are split until they are accurate.
//!
//! The probability that all draws are below s never decreases; a panel between two scores matters by its growth, and
//! that growth is the sum of the arms' parts. So a panel is pruned where it does not grow, split where it grows too
//! much, and accepted when the parts by eight-node quadrature add up to its growth. Cdfs and densities at nodes and
//! ends are kept: the probabilities among the arms that remain after a draw reuse them, and split where they must.
//! What is computed depends on arms and mask alone, not on what was asked before.

use super::{
    axis::{Point, Segment, segments},
    curve::ScoreCurve,
    distribution::ScoreDistribution,
};
use crate::engine::math::quadrature::GaussLegendre;
use std::sync::LazyLock;

const LANES: usize = 8;
/// Largest difference between a panel's parts and its growth: a fiftieth of what anybody could tell from a log.
const PANEL_ERROR: f64 = 1e-5;
/// Growth that is not worth an evaluation.
const NEGLIGIBLE: f64 = 1e-6;
/// Panels that grow more are split before they are evaluated.
const WORTH_TRYING: f64 = 0.8;
/// Bisections of one segment in a row; 60 of them leave nothing of a double.
const DEPTH_MAX: u32 = 60;
/// Most evaluated panels; 100 arms of very different scales need some 60.
const PANELS_MAX: usize = 400;
/// The logit that ends a segment for densities that are finite there: e^-21 = 1e-9 of its width.
const EDGE: f64 = 21.0;
/// A Beta whose second shape is below this may be steep at its largest score, which then is a cut.
const STEEP_BELOW: f64 = 4.0;

static RULE: LazyLock<GaussLegendre<LANES>> = LazyLock::new(GaussLegendre::new);

/// One request's arms on the panels that their probabilities need, refined as masks ask for it.
#[derive(Debug)]
pub(super) struct Panels<'a> {
    arms: Vec<(ScoreDistribution, &'a ScoreCurve)>,
    segments: Vec<Segment>,
    panels: Vec<Panel>,
    /// Number of panels that start as whole segments, first in `panels`.
    roots: usize,
    /// Cdfs at panels' ends: one row of arms for each end.
    ends: Vec<f64>,
    /// Cdfs and weighted densities at nodes: one row of arms for each evaluated panel.
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    cdf: [f64; LANES],
    /// Density times quadrature weight.
    density: [f64; LANES],
}

#[derive(Clone, Copy, Debug)]
struct Panel {
    segment: usize,
    from: f64,
    to: f64,
    depth: u32,
    /// Rows of `ends`.
    start: usize,
    end: usize,
    /// Row of `nodes`, once evaluated.
    row: Option<usize>,
    /// The left half, once split; the right one follows it.
    halves: Option<usize>,
}

impl<'a> Panels<'a> {
    /// The panels of a request's eligible arms, none evaluated yet.
    pub(super) fn new(arms: Vec<(ScoreDistribution, &'a ScoreCurve)>) -> Self {
        let reaches: Vec<_> = arms.iter().map(|(distribution, curve)| curve.reach(distribution)).collect();
        let segments = segments(&reaches, cuts(&arms), EDGE);
        let roots = segments.len();
        let mut grid = Self { arms, segments, panels: Vec::new(), roots, ends: Vec::new(), nodes: Vec::new() };
        for (segment, &Segment { from, to, .. }) in grid.segments.clone().iter().enumerate() {
            let [start, end] = [from, to].map(|coordinate| grid.add_end(segment, coordinate));
            grid.panels.push(Panel { segment, from, to, depth: 0, start, end, row: None, halves: None });
        }
        grid
    }

    /// P(a has the highest draw among the active arms) for each of them, at least two: finite and not negative, summing
    /// to 1.
    pub(super) fn pmf(&mut self, active: &[usize]) -> Vec<f64> {
        let mut parts = vec![0.0; active.len()];
        let mut sums = parts.clone();
        let mut prefixes = vec![[1.0; LANES]; active.len()];
        // Depth first from left to right: the order of summation is the order of scores.
        let mut pending: Vec<usize> = (0..self.roots).rev().collect();
        while let Some(panel) = pending.pop() {
            let [before, after] = self.totals(panel, active);
            let growth = after - before;
            // Growth that is not a number has no parts either.
            if growth.is_nan() || growth <= NEGLIGIBLE {
                continue;
            }
            let divisible = self.is_divisible(panel);
            if growth <= WORTH_TRYING || !divisible {
                let row = self.evaluated(panel);
                let nodes = &self.nodes[row * self.arms.len()..];
                let [sum, moment] = accumulate(nodes, active, &mut prefixes, &mut parts);
                // Two integrals that are known exactly, h and h (H - before): errors in one may cancel by chance.
                let missed = (moment - before * sum) / growth - 0.5 * growth;
                let resolved = (sum - growth).abs().max(missed.abs()) <= PANEL_ERROR;
                if !resolved && !divisible {
                    self.share_out(panel, active, &mut parts);
                }
                if resolved || !divisible {
                    rescale(&mut parts, growth);
                    sums.iter_mut().zip(&parts).for_each(|(sum, part)| *sum += part);
                    continue;
                }
            }
            let left = self.split(panel);
            pending.extend([left + 1, left]);
        }
        self.finish(active, sums)
    }

    /// The probability that all active arms' draws are below the panel's start, and below its end.
    fn totals(&self, panel: usize, active: &[usize]) -> [f64; 2] {
        let Panel { start, end, .. } = self.panels[panel];
        [start, end].map(|row| {
            let cdfs = &self.ends[row * self.arms.len()..];
            active.iter().fold(1.0, |product, &arm| product * cdfs[arm])
        })
    }

    fn is_divisible(&self, panel: usize) -> bool {
        let Panel { from, to, depth, .. } = self.panels[panel];
        let middle = from + 0.5 * (to - from);
        depth < DEPTH_MAX && from < middle && middle < to && self.nodes.len() < PANELS_MAX * self.arms.len()
    }

    fn split(&mut self, panel: usize) -> usize {
        let Panel { segment, from, to, depth, start, end, halves, .. } = self.panels[panel];
        if let Some(left) = halves {
            return left;
        }
        let middle = from + 0.5 * (to - from);
        let between = self.add_end(segment, middle);
        let left = self.panels.len();
        let half = Panel { segment, from, to: middle, depth: depth + 1, start, end: between, row: None, halves: None };
        self.panels.extend([half, Panel { from: middle, to, start: between, end, ..half }]);
        self.panels[panel].halves = Some(left);
        left
    }

    fn add_end(&mut self, segment: usize, coordinate: f64) -> usize {
        let row = self.ends.len() / self.arms.len();
        let point = self.segments[segment].point(coordinate);
        self.ends.extend(self.arms.iter().map(|arm| evaluate(arm, &point).0));
        row
    }

    /// The row of a panel's nodes, evaluated if it was not.
    fn evaluated(&mut self, panel: usize) -> usize {
        let Panel { segment, from, to, row, .. } = self.panels[panel];
        if let Some(row) = row {
            return row;
        }
        let row = self.nodes.len() / self.arms.len();
        let mut points = [(Point::default(), 0.0); LANES];
        for (point, (coordinate, weight)) in points.iter_mut().zip(RULE.on(from, to)) {
            *point = (self.segments[segment].point(coordinate), weight);
        }
        self.nodes.extend(self.arms.iter().map(|arm| {
            let mut node = Node { cdf: [0.0; LANES], density: [0.0; LANES] };
            for (lane, (point, weight)) in points.iter().enumerate() {
                let (cdf, density) = evaluate(arm, point);
                (node.cdf[lane], node.density[lane]) = (cdf, density * weight);
            }
            node
        }));
        self.panels[panel].row = Some(row);
        row
    }

    /// Parts of a panel that cannot be resolved, such as arms without any spread: each arm's own growth times the
    /// others' average.
    fn share_out(&self, panel: usize, active: &[usize], parts: &mut [f64]) {
        let Panel { start, end, .. } = self.panels[panel];
        let [before, after] = [start, end].map(|row| &self.ends[row * self.arms.len()..]);
        for (part, &arm) in parts.iter_mut().zip(active) {
            let others = active.iter().filter(|&&other| other != arm);
            *part =
                others.fold(after[arm] - before[arm], |product, &other| product * 0.5 * (before[other] + after[other]));
        }
    }

    fn finish(&self, active: &[usize], mut sums: Vec<f64>) -> Vec<f64> {
        let total: f64 = sums.iter().sum();
        if total > 0.0 && total.is_finite() {
            sums.iter_mut().for_each(|sum| *sum /= total);
            return sums;
        }
        // Scores so far apart that doubles cannot tell: the highest mean wins, ties share.
        let means = || active.iter().map(|&arm| self.arms[arm].0.mean());
        let best = means().max_by(f64::total_cmp);
        let wins: Vec<bool> = means().map(|mean| best.is_some_and(|best| mean >= best)).collect();
        let winners = wins.iter().filter(|&&wins| wins).count();
        let share =
            |wins| if winners == 0 { 1.0 / active.len() as f64 } else { f64::from(u8::from(wins)) / winners as f64 };
        wins.into_iter().map(share).collect()
    }
}

/// Where densities may be infinite or steep: at 0 and at some Betas' largest scores.
fn cuts(arms: &[(ScoreDistribution, &ScoreCurve)]) -> Vec<f64> {
    let mut cuts = Vec::new();
    let mut largest = None;
    for (distribution, _) in arms {
        if let ScoreDistribution::Beta { beta, scale, .. } = *distribution {
            largest = Some(largest.map_or(scale, |largest: f64| largest.max(scale)));
            cuts.extend((beta < STEEP_BELOW).then_some(scale));
        }
    }
    if let Some(largest) = largest {
        cuts.extend([0.0, largest]);
    }
    cuts
}

/// F and the density by the coordinate at a point.
#[inline]
fn evaluate(&(distribution, curve): &(ScoreDistribution, &ScoreCurve), point: &Point) -> (f64, f64) {
    match distribution {
        ScoreDistribution::Beta { scale, .. } => {
            if let Some(logit) = point.own_logit(scale) {
                return curve.at(logit);
            }
            let (below, above) = point.distances(scale);
            if below <= 0.0 || above <= 0.0 {
                return (if below <= 0.0 { 0.0 } else { 1.0 }, 0.0);
            }
            let (cdf, slope) = curve.at(libm::log(below / above));
            (cdf, slope * point.stretch * (scale / (below * above)))
        }
        ScoreDistribution::StudentT { location, scale, .. }
        | ScoreDistribution::Normal { mean: location, standard_deviation: scale } => {
            let (cdf, slope) = curve.at((point.score - location) / scale);
            (cdf, slope / scale * point.stretch)
        }
    }
}

/// Writes each active arm's integral over a panel, by prefix and suffix products of the others; returns the integrals
/// of h and h H, where H is the product of all cdfs and h the sum of the integrands, which is H's slope.
fn accumulate(nodes: &[Node], active: &[usize], prefixes: &mut [[f64; LANES]], parts: &mut [f64]) -> [f64; 2] {
    let mut product = [1.0; LANES];
    for (prefix, &arm) in prefixes.iter_mut().zip(active) {
        *prefix = product;
        product.iter_mut().zip(&nodes[arm].cdf).for_each(|(product, below)| *product *= below);
    }
    let mut suffix = [1.0; LANES];
    let mut slope = [0.0; LANES];
    for ((prefix, &arm), part) in prefixes.iter().zip(active).zip(parts).rev() {
        let node = &nodes[arm];
        let mut terms = [0.0; LANES];
        for lane in 0..LANES {
            terms[lane] = node.density[lane] * prefix[lane] * suffix[lane];
            suffix[lane] *= node.cdf[lane];
            slope[lane] += terms[lane];
        }
        *part = lane_sum(terms);
    }
    let moment: [f64; LANES] = core::array::from_fn(|lane| slope[lane] * product[lane]);
    [lane_sum(slope), lane_sum(moment)]
}

fn lane_sum([a, b, c, d, e, f, g, h]: [f64; LANES]) -> f64 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// Makes parts add up to what is known exactly.
fn rescale(parts: &mut [f64], growth: f64) {
    let sum: f64 = parts.iter().sum();
    let factor = if sum > 0.0 { growth / sum } else { 0.0 };
    for part in parts {
        *part *= factor;
    }
}
