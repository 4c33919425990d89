//! From beliefs to probabilities: one PMF over the arms that can still be drawn.
//!
//! Bounds are not applied here: epsilon is mixed in first, floors act on the mixture.

use super::{
    catalog::Selection,
    pmf::{curve::ScoreCurve, distribution::ScoreDistribution, serving::ThompsonGrid},
};

/// What a slot chooses from. All slices run over the decision's eligible arms.
#[derive(Debug)]
pub struct Choice<'a> {
    /// Index of each arm in its placement, ascending.
    pub placement_arms: &'a [usize],
    /// Belief about each arm's value.
    pub scores: &'a [ScoreDistribution],
    /// Which arms are not drawn yet; at least one.
    pub remaining: &'a [bool],
}

/// The scores of the eligible arms that remain, prepared for the selections that compare whole distributions; empty for
/// others.
pub fn grid<'a>(
    selection: &Selection,
    scores: &[ScoreDistribution],
    curves: impl Iterator<Item = &'a ScoreCurve>,
    remaining: &[bool],
) -> ThompsonGrid<'a> {
    match selection {
        Selection::Thompson => ThompsonGrid::among(scores.iter().copied().zip(curves), remaining),
        Selection::Uniform | Selection::Fixed(_) | Selection::EpsilonGreedy(_) | Selection::Merit(_) => {
            ThompsonGrid::new([])
        }
    }
}

/// The probability of every eligible arm: 0 for those already drawn, summing to 1.
///
/// `grid` holds the same scores, prepared by [`grid`] for the same selection while at least these arms remained.
#[must_use]
pub fn pmf(selection: &Selection, choice: &Choice<'_>, grid: &mut ThompsonGrid<'_>) -> Vec<f64> {
    match selection {
        Selection::Thompson => grid.pmf(choice.remaining),
        Selection::Uniform => share_evenly(choice.remaining),
        Selection::Fixed(order) => first_of(order, choice),
        Selection::EpsilonGreedy(epsilon) => epsilon_greedy(*epsilon, choice),
        Selection::Merit(steepness) => by_merit(*steepness, choice),
    }
}

fn share_evenly(among: &[bool]) -> Vec<f64> {
    let count = among.iter().filter(|&&member| member).count();
    among.iter().map(|&member| if member { 1.0 / count as f64 } else { 0.0 }).collect()
}

fn first_of(order: &[usize], choice: &Choice<'_>) -> Vec<f64> {
    let position = |placement_arm: &usize| choice.placement_arms.binary_search(placement_arm).ok();
    let first = order.iter().filter_map(position).find(|&arm| choice.remaining[arm]);
    (0..choice.remaining.len()).map(|arm| if Some(arm) == first { 1.0 } else { 0.0 }).collect()
}

fn epsilon_greedy(epsilon: f64, choice: &Choice<'_>) -> Vec<f64> {
    let means = || choice.scores.iter().map(ScoreDistribution::mean).zip(choice.remaining);
    let best = means().filter(|&(_, &remaining)| remaining).map(|(mean, _)| mean).max_by(f64::total_cmp);
    let leaders: Vec<bool> = means().map(|(mean, &remaining)| remaining && Some(mean) == best).collect();
    let mix = |(greedy, even): (f64, f64)| (1.0 - epsilon) * greedy + epsilon * even;
    share_evenly(&leaders).into_iter().zip(share_evenly(choice.remaining)).map(mix).collect()
}

/// Shares of exp(steepness * mean), from the best mean down so that none overflows.
fn by_merit(steepness: f64, choice: &Choice<'_>) -> Vec<f64> {
    let means = || choice.scores.iter().map(ScoreDistribution::mean).zip(choice.remaining);
    let remaining = means().filter(|&(_, &remaining)| remaining).map(|(mean, _)| mean);
    let best = remaining.fold(f64::NEG_INFINITY, f64::max);
    let merit = |(mean, &remaining): (f64, &bool)| {
        if remaining { libm::exp(steepness * (mean - best)) } else { 0.0 }
    };
    let merits: Vec<f64> = means().map(merit).collect();
    let sum: f64 = merits.iter().sum();
    merits.into_iter().map(|merit| merit / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(selection: &Selection, means: &[f64], remaining: &[bool]) -> Vec<f64> {
        let scores: Vec<_> =
            means.iter().map(|&mean| ScoreDistribution::Normal { mean, standard_deviation: 1.0 }).collect();
        let placement_arms: Vec<usize> = (0..means.len()).collect();
        let choice = Choice { placement_arms: &placement_arms, scores: &scores, remaining };
        pmf(selection, &choice, &mut ThompsonGrid::new([]))
    }

    #[test]
    fn arms_that_tie_for_best_share_evenly() {
        let p = choose(&Selection::EpsilonGreedy(0.3), &[2.0, 1.0, 2.0], &[true; 3]);
        assert_eq!(p, [0.35 + 0.3 / 3.0, 0.3 / 3.0, 0.35 + 0.3 / 3.0]);
    }

    #[test]
    fn greedy_looks_only_at_what_remains() {
        let p = choose(&Selection::EpsilonGreedy(0.0), &[3.0, 2.0, 1.0], &[false, true, true]);
        assert_eq!(p, [0.0, 1.0, 0.0]);
    }

    #[test]
    fn arms_are_shown_in_proportion_to_their_merit() {
        let p = choose(&Selection::Merit(libm::log(2.0)), &[1.0, 3.0, 2.0, 9.0], &[true, true, true, false]);
        // Better by 1 means twice as often; a few roundings of numbers below 1.
        for (p, expected) in p.iter().zip([1.0 / 7.0, 4.0 / 7.0, 2.0 / 7.0, 0.0]) {
            assert!((p - expected).abs() < 1e-15, "{p} {expected}");
        }
        assert_eq!(choose(&Selection::Merit(1e6), &[-1e300, 1e300], &[true; 2]), [0.0, 1.0]);
    }

    #[test]
    fn fixed_takes_the_first_of_its_order_that_remains() {
        let fixed = Selection::Fixed(vec![2, 0, 1]);
        assert_eq!(choose(&fixed, &[0.0; 3], &[true; 3]), [0.0, 0.0, 1.0]);
        assert_eq!(choose(&fixed, &[0.0; 3], &[true, true, false]), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn uniform_is_uniform_over_what_remains() {
        assert_eq!(choose(&Selection::Uniform, &[0.0; 3], &[true, false, true]), [0.5, 0.0, 0.5]);
    }
}
