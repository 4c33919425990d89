//! A number for every arm: a target policy's probabilities, or a reward model's estimates.
//!
//! Told from the header: with a column `t`, one row for each round at its logged position, in the order of the rounds,
//! with columns a0, a1, ..; without, one row for each `action` and `position`, the same in every round, and one more
//! column with the number.

use super::{
    ROUNDING, lanes,
    mistakes::{Mistakes, Place},
    table::{Opening, Table},
};
use std::collections::BTreeMap;

/// What the numbers of a grid must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Probabilities that sum to 1 in every round.
    Probabilities,
    /// Any finite numbers.
    Rewards,
}

/// How far a sum of probabilities may be from 1: tables are written with six digits, too.
const SUM_TOLERANCE: f64 = 1e-6;

/// A grid that is read round by round.
pub(super) enum Grid {
    ContextFree(BTreeMap<usize, Vec<f64>>, String),
    PerRound(Box<PerRound>),
}

pub(super) struct PerRound {
    table: Table,
    round: usize,
    position: Option<usize>,
    /// Of arm 0; the others follow.
    arms: Vec<usize>,
    /// Whether the columns of arms follow each other, as they mostly do; else numbers are put in the order of the arms.
    side_by_side: bool,
    values: Vec<f64>,
    meaning: Meaning,
    ended: bool,
}

impl Grid {
    pub(super) fn open(opening: Opening, meaning: Meaning, mistakes: &mut Mistakes) -> Option<Self> {
        let table = Table::open(opening, mistakes)?;
        if let Some(round) = table.column("t") {
            let arms: Vec<usize> = (0..).map_while(|arm| table.column(&format!("a{arm}"))).collect();
            if arms.is_empty() {
                table.require("a0", mistakes)?;
            }
            let position = table.column("position");
            let side_by_side = arms.windows(2).all(|pair| pair[1] == pair[0] + 1);
            let values = Vec::with_capacity(arms.len());
            let per_round = PerRound { table, round, position, arms, side_by_side, values, meaning, ended: false };
            return Some(Self::PerRound(Box::new(per_round)));
        }
        context_free(table, meaning, mistakes)
    }

    /// How many arms it has.
    pub(super) fn arms(&self) -> usize {
        match self {
            Self::ContextFree(slots, _) => slots.values().map(Vec::len).max().unwrap_or(0),
            Self::PerRound(grid) => grid.arms.len(),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::ContextFree(_, name) => name,
            Self::PerRound(grid) => &grid.table.name,
        }
    }

    /// The numbers of a round by arm, which must be asked for in the order of the rounds; `None` after a mistake.
    pub(super) fn of_round(&mut self, t: f64, position: Option<usize>, mistakes: &mut Mistakes) -> Option<&[f64]> {
        match self {
            Self::ContextFree(slots, name) => {
                let position = position?;
                let values = slots.get(&position);
                if values.is_none() {
                    let words = format_args!("has no rows for position {position}, which the rounds have");
                    mistakes.add(name, Place { line: 0, column: 0 }, words);
                    // Once is enough.
                    slots.insert(position, Vec::new());
                }
                values_of(slots, position)
            }
            Self::PerRound(grid) => grid.next(t, position, mistakes),
        }
    }

    /// Notes rounds that are in the grid alone.
    pub(super) fn finish(&mut self, mistakes: &mut Mistakes) {
        if let Self::PerRound(grid) = self
            && !grid.ended
            && grid.table.next(mistakes)
        {
            let words = "goes on after the last of the rounds: there must be one row for each round, in the same order";
            mistakes.add(&grid.table.name, Place { line: grid.table.line(), column: 0 }, words);
        }
    }
}

fn values_of(slots: &BTreeMap<usize, Vec<f64>>, position: usize) -> Option<&[f64]> {
    slots.get(&position).map(Vec::as_slice).filter(|values| !values.is_empty())
}

impl PerRound {
    fn next(&mut self, t: f64, position: Option<usize>, mistakes: &mut Mistakes) -> Option<&[f64]> {
        if self.ended {
            return None;
        }
        if !self.table.next(mistakes) {
            self.ended = true;
            let words = format_args!("ends before round {t}: there must be one row for each round, in the same order");
            mistakes.add(&self.table.name, Place { line: 0, column: 0 }, words);
            return None;
        }
        let table = &self.table;
        // What is wrong with the rounds has been said there.
        let agrees = |column: usize, expected: Option<f64>, mistakes: &mut Mistakes| {
            expected.is_none_or(|expected| {
                let own = table.number(column);
                if own != Some(expected) {
                    table.mistake(column, format_args!("must be {expected}, as the rounds have it here"), mistakes);
                }
                own == Some(expected)
            })
        };
        let same_round = agrees(self.round, (!t.is_nan()).then_some(t), mistakes);
        let position = position.map(|position| position as f64);
        let same_position = self.position.is_none_or(|column| agrees(column, position, mistakes));
        let numbers = table.numbers();
        let values = match self.arms[..] {
            [first, .., last] if self.side_by_side => &numbers[first..=last],
            _ => {
                self.values.clear();
                self.values.extend(self.arms.iter().map(|&column| numbers[column]));
                &self.values[..]
            }
        };
        let fine = values.iter().fold(true, |fine, &value| fine & self.meaning.accepts(value));
        if !fine {
            for &column in &self.arms {
                self.meaning.read(table, column, mistakes);
            }
        }
        let whole = same_round && same_position && fine;
        (whole && self.meaning.sums_up(values, &table.name, table.line(), mistakes)).then_some(values)
    }
}

impl Meaning {
    fn accepts(self, value: f64) -> bool {
        match self {
            Self::Probabilities => (0.0..=1.0 + ROUNDING).contains(&value),
            Self::Rewards => value.is_finite(),
        }
    }

    fn read(self, table: &Table, column: usize, mistakes: &mut Mistakes) -> Option<f64> {
        let must = match self {
            Self::Probabilities => "a probability from 0 to 1",
            Self::Rewards => "a finite number",
        };
        table.checked(column, must, |value| self.accepts(value), mistakes)
    }

    fn sums_up(self, values: &[f64], name: &str, line: u64, mistakes: &mut Mistakes) -> bool {
        if self == Self::Rewards {
            return true;
        }
        let sum = lanes::fold(values, 0.0, |sum, p| sum + p);
        let fine = (sum - 1.0).abs() <= SUM_TOLERANCE;
        if !fine {
            mistakes.add(name, Place { line, column: 0 }, format_args!("probabilities sum to {sum}, must sum to 1"));
        }
        fine
    }
}

fn context_free(mut table: Table, meaning: Meaning, mistakes: &mut Mistakes) -> Option<Grid> {
    let action = table.require("action", mistakes)?;
    let position = table.column("position");
    let value = (0..table.columns.len()).filter(|column| *column != action && Some(*column) != position);
    let [value] = value.collect::<Vec<_>>()[..] else {
        let words = "must have a column t, or one column beside action and position";
        mistakes.add(&table.name, Place { line: 1, column: 0 }, words);
        return None;
    };
    let mut slots: BTreeMap<usize, BTreeMap<usize, f64>> = BTreeMap::new();
    while table.next(mistakes) {
        let arm = table.index(action, mistakes);
        let slot = position.map_or(Some(0), |position| table.index(position, mistakes));
        let number = meaning.read(&table, value, mistakes);
        let (Some(arm), Some(slot), Some(number)) = (arm, slot, number) else { continue };
        if slots.entry(slot).or_default().insert(arm, number).is_some() {
            table.mistake(action, format_args!("arm {arm} of position {slot} is given twice"), mistakes);
        }
    }
    let arms = slots.values().filter_map(|arms| arms.last_key_value()).map(|(&last, _)| last + 1).max().unwrap_or(0);
    let whole = Place { line: 0, column: 0 };
    let mut dense = BTreeMap::new();
    for (slot, numbers) in slots {
        for arm in (0..arms).filter(|arm| !numbers.contains_key(arm)) {
            mistakes.add(&table.name, whole, format_args!("has no row for arm {arm} of position {slot}"));
        }
        // Rows go on to be checked, so every arm has its place.
        let whole = numbers.len() == arms;
        let numbers: Vec<f64> = (0..arms).map(|arm| numbers.get(&arm).copied().unwrap_or(0.0)).collect();
        if whole && !meaning.sums_up(&numbers, &format!("{}: position {slot}", table.name), 0, mistakes) {
            continue;
        }
        dense.insert(slot, numbers);
    }
    Some(Grid::ContextFree(dense, table.name))
}
