//! The line of scores, cut where densities may be infinite, each piece with a coordinate in which they are not.
//!
//! Beta densities may be infinite at 0 and at their scale. Between two cuts the coordinate is v with
//! score = left + (right - left) / (1 + e^-v), in which a Beta density is analytic with exponential tails; on
//! unbounded pieces it is the score itself.

use crate::engine::math::beta::logit_to_point;

/// The scores among which nearly all of an arm's probability is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reach {
    /// From one score to another.
    Scores { low: f64, high: f64 },
    /// From one logit to another of score / scale.
    Logits { scale: f64, low: f64, high: f64 },
}

/// A piece of the axis and the part of it that matters, as coordinates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    left: f64,
    right: f64,
    pub(super) from: f64,
    pub(super) to: f64,
}

/// A point of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Point {
    pub(super) score: f64,
    /// The slope of the score by the coordinate.
    pub(super) stretch: f64,
    /// The coordinate, and the scale for which it is the logit of score / scale; 0 where it is none's.
    logit: f64,
    logit_scale: f64,
    /// A score above this one, and how far above: keeps the digits that a difference would lose.
    anchor: f64,
    above: f64,
}

/// Cuts the axis at `cuts` and keeps the segments that some arm reaches; `edge` is the logit that counts as the end
/// of a segment for arms that reach beyond it.
pub(super) fn segments(reaches: &[Reach], mut cuts: Vec<f64>, edge: f64) -> Vec<Segment> {
    cuts.extend([f64::NEG_INFINITY, f64::INFINITY]);
    cuts.sort_by(f64::total_cmp);
    cuts.dedup();
    let pieces = cuts.windows(2).map(|ends| Segment { left: ends[0], right: ends[1], from: 0.0, to: 0.0 });
    let reached = pieces.filter_map(|piece| {
        let extents = reaches.iter().filter_map(|reach| piece.extent(reach, edge));
        let (from, to) = extents.reduce(|(from, to), (low, high)| (from.min(low), to.max(high)))?;
        (from < to).then_some(Segment { from, to, ..piece })
    });
    reached.collect()
}

impl Segment {
    fn is_bounded(&self) -> bool {
        self.left.is_finite() && self.right.is_finite()
    }

    fn extent(&self, reach: &Reach, edge: f64) -> Option<(f64, f64)> {
        let &Self { left, right, .. } = self;
        let (low, high) = match *reach {
            Reach::Logits { scale, low, high } if left == 0.0 && right == scale => return Some((low, high)),
            Reach::Logits { scale, low, high } => (scale * logit_to_point(low).0, scale * logit_to_point(high).0),
            Reach::Scores { low, high } => (low, high),
        };
        if high <= left || low >= right {
            return None;
        }
        if !self.is_bounded() {
            return Some((low.max(left), high.min(right)));
        }
        let logit = |score: f64| libm::log((score - left) / (right - score));
        let mut from = if low > left { logit(low) } else { -edge };
        let mut to = if high < right { logit(high) } else { edge };
        // Towards an end that is the arm's own, its logit differs from the segment's by a constant.
        if let Reach::Logits { scale, low, high } = *reach {
            if left == 0.0 {
                from = from.min(low + libm::log(scale / right));
            }
            if right == scale {
                to = to.max(high + libm::log((right - left) / scale));
            }
        }
        Some((from, to))
    }

    pub(super) fn point(&self, coordinate: f64) -> Point {
        if !self.is_bounded() {
            let score = coordinate;
            return Point { score, stretch: 1.0, anchor: score, ..Point::default() };
        }
        let width = self.right - self.left;
        let (x, y) = logit_to_point(coordinate);
        Point {
            score: self.left + width * x,
            stretch: width * x * y,
            logit: coordinate,
            logit_scale: if self.left == 0.0 { self.right } else { 0.0 },
            anchor: self.right,
            above: width * y,
        }
    }
}

impl Point {
    /// The logit of score / scale, where it is the coordinate itself.
    pub(super) fn own_logit(&self, scale: f64) -> Option<f64> {
        (self.logit_scale == scale).then_some(self.logit)
    }

    /// How far the score is above 0 and below `scale`; negative outside.
    #[inline]
    pub(super) fn distances(&self, scale: f64) -> (f64, f64) {
        (self.score, (scale - self.anchor) + self.above)
    }
}
