//! Rounds, target probabilities and reward estimates from files that somebody else wrote: CSV, plain or gzipped.
//!
//! Everything is read once, side by side, and nothing is kept of a row.

mod blocks;
mod grid;
mod lanes;
pub mod mistakes;
mod records;
mod rounds;
pub mod table;

use super::{
    evaluation::Range,
    row::{Prediction, Row},
};
use grid::{Grid, Meaning};
use mistakes::{Mistakes, Place};
use rounds::{Limits, Rounds};
use table::{Opening, Source};

/// What rounding may add to a probability of 1, and take from a floor, in parts of it.
pub const ROUNDING: f64 = 1e-9;

/// What is evaluated.
pub struct Sources {
    /// What was drawn and earned: columns t, action, reward, pscore, and position unless all are 0. A reward that is left
    /// empty is missing.
    pub rounds: Source,
    /// The target's probabilities.
    pub target: Source,
    /// A reward model's estimates.
    pub rewards: Option<Source>,
    /// The column of the rounds that says whose outcome a row is; `None`: all are of somebody else.
    pub cluster: Option<String>,
    /// The column of the rounds that says the day.
    pub day: Option<String>,
    /// The smallest probability with which the logging policy drew any arm; `None`: not told.
    pub floor: Option<f64>,
    /// What rewards can be; `None`: not told.
    pub reward: Option<Range>,
}

/// Hands over every row, with the target's probability of every arm; returns a bound on the weights.
///
/// Where no floor is told, the bound is the target's largest probability over the smallest propensity of any round: what
/// the design must have allowed at least, and more than the largest weight of the sample.
///
/// # Errors
/// Everything that is wrong with the files; rows that were handed over before count for nothing then.
pub fn read(sources: Sources, mut each: impl FnMut(&Row, &[f64])) -> Result<f64, Mistakes> {
    let mut mistakes = Mistakes::default();
    let [rounds, target] = [sources.rounds, sources.target].map(Opening::of);
    let rewards = sources.rewards.map(Opening::of);
    let rounds = Rounds::open(rounds, sources.cluster.as_deref(), sources.day.as_deref(), &mut mistakes);
    let target = Grid::open(target, Meaning::Probabilities, &mut mistakes);
    let rewards = rewards.map(|rewards| Grid::open(rewards, Meaning::Rewards, &mut mistakes));
    let (Some(mut rounds), Some(mut target)) = (rounds, target) else { return Err(mistakes) };
    let Some(mut rewards) = rewards.map_or(Some(None), |grid| grid.map(Some)) else { return Err(mistakes) };
    if let Some(rewards) = &rewards
        && rewards.arms() != target.arms()
    {
        let words = format_args!("has {} arms, {} has {}", rewards.arms(), target.name(), target.arms());
        mistakes.add(rewards.name(), Place { line: 0, column: 0 }, words);
        return Err(mistakes);
    }
    let limits = Limits { floor: sources.floor, reward: sources.reward };
    let (mut largest, mut smallest) = (0.0_f64, f64::INFINITY);
    while let Some(round) = rounds.next(target.arms(), limits, &mut mistakes) {
        let probabilities = target.of_round(round.t, round.position, &mut mistakes);
        let estimates = rewards.as_mut().map(|grid| grid.of_round(round.t, round.position, &mut mistakes));
        let (Some(drawn), Some(probabilities)) = (round.drawn, probabilities) else { continue };
        let model = match estimates {
            None => None,
            Some(None) => continue,
            Some(Some(estimates)) => Some(prediction(drawn.arm, probabilities, estimates)),
        };
        largest = lanes::fold(probabilities, largest, |most, p| if p > most { p } else { most });
        smallest = smallest.min(drawn.propensity);
        let row = Row { target: probabilities[drawn.arm], model, ..drawn };
        if mistakes.count() == 0 {
            each(&row, probabilities);
        }
    }
    target.finish(&mut mistakes);
    rewards.iter_mut().for_each(|grid| grid.finish(&mut mistakes));
    if smallest.is_infinite() && mistakes.count() == 0 {
        mistakes.add(&rounds.name(), Place { line: 0, column: 0 }, "has no rounds");
    }
    mistakes.into_result()?;
    Ok(largest / sources.floor.unwrap_or(smallest))
}

/// What a model's estimates come to for the drawn arm and for the target.
fn prediction(drawn: usize, target: &[f64], estimates: &[f64]) -> Prediction {
    Prediction { logged: estimates[drawn], target: lanes::dot(target, estimates) }
}
