//! Which hyper-parameter to use: SLOPE (Su, Srinath and Krishnamurthy, 2020).
//!
//! Estimators are ordered from the least biased and most varying to the opposite. The last one is taken whose interval,
//! with room for what its bias may be, still meets those of all before it: further on, bias would show.

use super::{
    estimators::{Estimator, Weighting},
    intervals::Interval,
};

/// An estimator and what it says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which.
    pub estimator: Estimator,
    /// Its value.
    pub value: f64,
    /// An interval for its own expectation.
    pub interval: Interval,
}

/// The candidate to use, of one family, in any order; `None` of none.
#[must_use]
pub fn choose(candidates: &[Candidate]) -> Option<Candidate> {
    let mut ordered = candidates.to_vec();
    ordered.sort_by(|a, b| bias_rank(&a.estimator).total_cmp(&bias_rank(&b.estimator)));
    let half = |candidate: &Candidate| candidate.interval.width() / 2.0;
    // Monotonicity is an assumption of the method: an estimator with more bias is given no wider an interval.
    let mut widths = Vec::with_capacity(ordered.len());
    for candidate in &ordered {
        let before = widths.last().copied().unwrap_or(f64::INFINITY);
        widths.push(half(candidate).min(before));
    }
    let agrees = |later: usize| {
        (0..later).all(|earlier| {
            let apart = (ordered[later].value - ordered[earlier].value).abs();
            apart <= widths[earlier] + (libm::sqrt(6.0) - 1.0) * widths[later]
        })
    };
    let last = (0..ordered.len()).take_while(|&index| agrees(index)).last()?;
    ordered.get(last).copied()
}

/// Grows with the bias: the less weight is kept, the more there is.
fn bias_rank(estimator: &Estimator) -> f64 {
    match estimator.weighting {
        Weighting::Clipped(lambda) | Weighting::Switched(lambda) | Weighting::Optimistic(lambda) => -lambda,
        Weighting::SubGaussian(lambda) => lambda,
        Weighting::Match | Weighting::Ignored | Weighting::Full => f64::NEG_INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(lambda: f64, value: f64, half: f64) -> Candidate {
        let estimator = Estimator::weighted(Weighting::Clipped(lambda), false);
        Candidate { estimator, value, interval: Interval { lower: value - half, upper: value + half } }
    }

    fn chosen(candidates: &[Candidate]) -> Option<f64> {
        choose(candidates).and_then(|chosen| chosen.estimator.lambda())
    }

    #[test]
    fn the_narrowest_interval_that_agrees_with_all_wider_ones_is_chosen() {
        let agreeing = [candidate(1.0, 0.9, 0.1), candidate(10.0, 1.0, 1.0), candidate(5.0, 1.1, 0.4)];
        assert_eq!(chosen(&agreeing), Some(1.0));
        let biased = [candidate(1.0, 0.2, 0.1), candidate(10.0, 1.0, 0.5), candidate(5.0, 1.1, 0.4)];
        assert_eq!(chosen(&biased), Some(5.0));
    }

    #[test]
    fn one_is_chosen_and_of_none_none() {
        assert_eq!(chosen(&[candidate(2.0, 1.0, 0.1)]), Some(2.0));
        assert_eq!(chosen(&[]), None);
    }
}
