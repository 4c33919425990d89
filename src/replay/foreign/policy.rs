//! Policies for the actions of a foreign log that need no catalog.

use super::{Choice, rows::Target};
use crate::replay::files::{
    mistakes::{Mistakes, Place},
    table::{Opening, Source, Table},
};
use std::{collections::BTreeMap, sync::Arc};

/// How far a sum of probabilities may be from 1.
const SUM_TOLERANCE: f64 = 1e-6;

/// A policy that looks at nothing but the position.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// Everything that could be chosen is as likely.
    Uniform,
    /// One action, whether it could be chosen or not.
    Always(Arc<str>),
    /// Probabilities by action, the same in every position.
    Anywhere(Vec<(Arc<str>, f64)>),
    /// Probabilities by position, from 0, and action.
    ByPosition(BTreeMap<usize, Vec<(Arc<str>, f64)>>),
}

impl Target for Policy {
    fn probabilities(&self, choice: &Choice) -> Option<Vec<(Arc<str>, f64)>> {
        match self {
            Self::Uniform => {
                let share = 1.0 / choice.actions.len() as f64;
                Some(choice.actions.iter().map(|action| (action.clone(), share)).collect())
            }
            Self::Always(action) => Some(vec![(action.clone(), 1.0)]),
            Self::Anywhere(actions) => Some(actions.clone()),
            Self::ByPosition(positions) => positions.get(&choice.position).cloned(),
        }
    }
}

impl Policy {
    /// Reads a table with the columns `action`, `probability`, and `position` from 1, unless it is the same in all.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(source: Source) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::default();
        let mut positions: BTreeMap<usize, Vec<(Arc<str>, f64)>> = BTreeMap::new();
        let Some(mut table) = Table::open(Opening::of(source), &mut mistakes) else { return Err(mistakes) };
        let [action, probability] = ["action", "probability"].map(|name| table.require(name, &mut mistakes));
        let (Some(action), Some(probability)) = (action, probability) else { return Err(mistakes) };
        let position = table.column("position");
        while table.next(&mut mistakes) {
            let accepts = |p: f64| (0.0..=1.0).contains(&p);
            let share = table.checked(probability, "a probability from 0 to 1", accepts, &mut mistakes);
            let is_position = |number: f64| number >= 1.0 && number.fract() == 0.0;
            let place = match position {
                None => Some(1.0),
                Some(column) => table.checked(column, "a position from 1", is_position, &mut mistakes),
            };
            let (Some(share), Some(place)) = (share, place) else { continue };
            let id: Arc<str> = String::from_utf8_lossy(table.text(action)).as_ref().into();
            positions.entry(place as usize - 1).or_default().push((id, share));
        }
        if positions.is_empty() && mistakes.count() == 0 {
            mistakes.add(&table.name, Place { line: 0, column: 0 }, "has no rows");
        }
        for (place, actions) in &positions {
            let sum: f64 = actions.iter().map(|(_, share)| share).sum();
            if (sum - 1.0).abs() > SUM_TOLERANCE {
                let words = format_args!("probabilities of position {} sum to {sum}, must sum to 1", place + 1);
                mistakes.add(&table.name, Place { line: 0, column: 0 }, words);
            }
        }
        mistakes.into_result()?;
        Ok(match position {
            None => Self::Anywhere(positions.remove(&0).unwrap_or_default()),
            Some(_) => Self::ByPosition(positions),
        })
    }
}
