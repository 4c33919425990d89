//! Confidence sequences for the mean of numbers in [0, 1] from bets against it: a mean is out once somebody who bet on
//! the numbers being larger, or smaller, than it has made 1 / alpha of one (Waudby-Smith and Ramdas, 2024).

use super::predictable::bets;
use crate::replay::intervals::Interval;

/// Of what would be lost if the next number were the worst, at most this is bet.
const STAKE_MAX: f64 = 0.5;

/// What is left, after each number, of 1 that half was bet each way against the mean `mean`.
#[must_use]
pub fn hedged_capital(numbers: &[f64], mean: f64, alpha: f64) -> Vec<f64> {
    let bets = bets(numbers, alpha / 2.0);
    capital(numbers, &bets, mean).collect()
}

/// The sequence over a grid of `breaks` steps, each end one step wider than the grid says.
#[must_use]
pub fn sequence(numbers: &[f64], alpha: f64, breaks: u32) -> Vec<Interval> {
    let bets = bets(numbers, alpha / 2.0);
    let step = 1.0 / f64::from(breaks);
    let nowhere = Interval { lower: f64::INFINITY, upper: f64::NEG_INFINITY };
    let mut intervals = vec![nowhere; numbers.len()];
    for place in 0..=breaks {
        let mean = f64::from(place) * step;
        let kept = capital(numbers, &bets, mean).map(|capital| capital <= 1.0 / alpha);
        for (interval, _) in intervals.iter_mut().zip(kept).filter(|(_, kept)| *kept) {
            interval.lower = interval.lower.min(mean);
            interval.upper = interval.upper.max(mean);
        }
    }
    let widened = |interval: &Interval| match interval.lower <= interval.upper {
        true => Interval { lower: (interval.lower - step).max(0.0), upper: (interval.upper + step).min(1.0) },
        false => Interval { lower: 0.0, upper: 1.0 },
    };
    intervals.iter().map(widened).collect()
}

/// What all intervals so far have in common, for each of them.
#[must_use]
pub fn intersections(intervals: &[Interval]) -> Vec<Interval> {
    let mut common = Interval { lower: f64::NEG_INFINITY, upper: f64::INFINITY };
    let next = |interval: &Interval| {
        common = Interval { lower: common.lower.max(interval.lower), upper: common.upper.min(interval.upper) };
        common
    };
    intervals.iter().map(next).collect()
}

fn capital<'a>(numbers: &'a [f64], bets: &'a [f64], mean: f64) -> impl Iterator<Item = f64> + 'a {
    let (mut up, mut down) = (1.0, 1.0);
    numbers.iter().zip(bets).map(move |(number, bet)| {
        up *= 1.0 + bet.min(STAKE_MAX / mean) * (number - mean);
        down *= 1.0 - bet.min(STAKE_MAX / (1.0 - mean)) * (number - mean);
        0.5 * f64::max(up, down)
    })
}
