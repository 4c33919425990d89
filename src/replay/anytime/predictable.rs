//! Confidence sequences for the mean of numbers in [0, 1] from sums that only look back: predictable mixtures
//! (Waudby-Smith and Ramdas, 2024) and conjugate mixtures (Howard, Ramdas, McAuliffe and Sekhon, 2021).

use super::boundaries::{self, Tuning};
use crate::replay::intervals::Interval;

/// Bets on what is to come: the larger, the less the numbers so far varied.
///
/// sqrt(2 ln(1 / alpha) / (t ln(1 + t) sigma^2)) with the variance before t, as if one number of mean 1/2 and variance
/// 1/4 had come before all.
#[must_use]
pub fn bets(numbers: &[f64], alpha: f64) -> Vec<f64> {
    let (mut sum, mut squares, mut variance) = (0.5, 0.25, 0.25);
    let mut bets = Vec::with_capacity(numbers.len());
    for (index, &number) in numbers.iter().enumerate() {
        let t = index as f64 + 1.0;
        bets.push(libm::sqrt(2.0 * libm::log(1.0 / alpha) / (t * libm::log1p(t) * variance)));
        sum += number;
        let mean = (sum / (t + 1.0)).min(1.0);
        squares += (number - mean) * (number - mean);
        variance = squares / (t + 1.0);
    }
    bets
}

/// The sequence of Hoeffding's inequality.
#[must_use]
pub fn hoeffding(numbers: &[f64], alpha: f64) -> Vec<Interval> {
    let lower = |numbers: &[f64]| {
        let log = libm::log(2.0 / alpha);
        let bet = |t: f64| libm::sqrt(8.0 * log / (t * libm::log1p(t))).min(1.0);
        let terms = numbers.iter().enumerate().map(|(index, &number)| {
            let bet = bet(index as f64 + 1.0);
            (number, bet, bet * bet / 8.0)
        });
        lower_ends(terms, log)
    };
    two_sided(numbers, lower)
}

/// The sequence of the empirical Bernstein inequality.
#[must_use]
pub fn empirical_bernstein(numbers: &[f64], alpha: f64) -> Vec<Interval> {
    let lower = |numbers: &[f64]| {
        let (mut sum, mut mean) = (0.0, 0.0);
        let terms = numbers.iter().zip(bets(numbers, alpha / 2.0)).enumerate().map(|(index, (&number, bet))| {
            let bet = bet.min(0.5);
            let cost = (number - mean) * (number - mean) * (-libm::log1p(-bet) - bet);
            sum += number;
            mean = sum / (index as f64 + 1.0);
            (number, bet, cost)
        });
        lower_ends(terms, libm::log(2.0 / alpha))
    };
    two_sided(numbers, lower)
}

/// The sequence of Hoeffding's inequality under a normal mixture, tightest after `best` numbers.
#[must_use]
pub fn conjugate_hoeffding(numbers: &[f64], alpha: f64, best: f64) -> Vec<Interval> {
    let tuning = Tuning { variance: best / 4.0, alpha };
    let mut sum = 0.0;
    let interval = |(index, &number): (usize, &f64)| {
        let t = index as f64 + 1.0;
        sum += number;
        let half = boundaries::two_sided_normal(t / 4.0, alpha, tuning) / t;
        Interval { lower: (sum / t - half).max(0.0), upper: (sum / t + half).min(1.0) }
    };
    numbers.iter().enumerate().map(interval).collect()
}

/// The sequence of the empirical Bernstein inequality under a gamma-exponential mixture, tightest at the variance `best`.
///
/// A quarter of alpha on either side, as its authors' code has it.
#[must_use]
pub fn conjugate_empirical_bernstein(numbers: &[f64], alpha: f64, best: f64) -> Vec<Interval> {
    let alpha = alpha / 4.0;
    let lower = |numbers: &[f64]| {
        let (mut sum, mut mean, mut variance) = (0.0, 0.5, 0.0);
        let end = |(index, &number): (usize, &f64)| {
            let t = index as f64 + 1.0;
            variance += (number - mean) * (number - mean);
            sum += number;
            mean = sum / t;
            let bound = boundaries::gamma_exponential(variance, alpha, 1.0, Tuning { variance: best, alpha });
            (mean - bound / t).max(0.0)
        };
        numbers.iter().enumerate().map(end).collect()
    };
    two_sided(numbers, lower)
}

/// From `(number, bet, cost)`: (sum of bet number - ln - sum of costs) / sum of bets, at least 0.
fn lower_ends(terms: impl Iterator<Item = (f64, f64, f64)>, log: f64) -> Vec<f64> {
    let (mut won, mut bets, mut costs) = (0.0, 0.0, 0.0);
    terms
        .map(|(number, bet, cost)| {
            won += bet * number;
            bets += bet;
            costs += cost;
            ((won - log - costs) / bets).max(0.0)
        })
        .collect()
}

/// Lower ends of the numbers, and of what they lack to 1.
fn two_sided(numbers: &[f64], lower: impl Fn(&[f64]) -> Vec<f64>) -> Vec<Interval> {
    let mirrored: Vec<f64> = numbers.iter().map(|number| 1.0 - number).collect();
    let ends = lower(numbers).into_iter().zip(lower(&mirrored));
    ends.map(|(lower, mirrored)| Interval { lower, upper: 1.0 - mirrored }).collect()
}
