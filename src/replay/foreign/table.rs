//! A plain table with a row for each choice, and a mapping that says which column is what.

use super::{
    Choice, Result, instant,
    mapping::{Kind, Mapping},
    quoted,
};
use crate::{
    engine::context::AttributeValue,
    replay::files::{
        mistakes::Mistakes,
        table::{Opening, Source, Table},
    },
};
use std::{collections::BTreeMap, sync::Arc};

/// Calls `take` with every choice, in the order of the table: CSV with a header, plain or gzipped.
///
/// # Errors
/// Everything that is wrong with the table, after the choices that could be read.
pub fn read(source: Source, mapping: &Mapping, mut take: impl FnMut(Choice)) -> Result<()> {
    let mut mistakes = Mistakes::default();
    if let Some(mut table) = Table::open(Opening::of(source), &mut mistakes)
        && let Some(columns) = Columns::of(&table, mapping, &mut mistakes)
    {
        while table.next(&mut mistakes) {
            if let Some(choice) = columns.choice(&table, &mut mistakes) {
                take(choice);
            }
        }
    }
    mistakes.into_result()
}

/// Where everything is.
struct Columns {
    actions: Arc<[Arc<str>]>,
    places: BTreeMap<Arc<str>, usize>,
    action: usize,
    reward: usize,
    propensity: Option<usize>,
    user: Option<usize>,
    time: Option<usize>,
    position: Option<usize>,
    context: Vec<(Arc<str>, usize, Kind)>,
}

impl Columns {
    /// `None` where a column is not there, which is a mistake.
    fn of(table: &Table, mapping: &Mapping, mistakes: &mut Mistakes) -> Option<Self> {
        let before = mistakes.count();
        let mut require = |name: &String| table.require(name, mistakes);
        let (action, reward) = (require(&mapping.action), require(&mapping.reward));
        let [propensity, user, time, position] = [&mapping.propensity, &mapping.user, &mapping.time, &mapping.position]
            .map(|name| name.as_ref().and_then(&mut require));
        let context =
            mapping.context.iter().filter_map(|(name, kind)| Some((name.as_str().into(), require(name)?, *kind)));
        let context = context.collect();
        if mistakes.count() > before {
            return None;
        }
        let actions: Arc<[Arc<str>]> = mapping.actions.iter().map(|id| id.as_str().into()).collect();
        let places = actions.iter().cloned().zip(0..).collect();
        Some(Self { actions, places, action: action?, reward: reward?, propensity, user, time, position, context })
    }

    fn choice(&self, table: &Table, mistakes: &mut Mistakes) -> Option<Choice> {
        let before = mistakes.count();
        let chosen = table.text(self.action);
        let action = std::str::from_utf8(chosen).ok().and_then(|id| self.places.get(id)).copied();
        if action.is_none() {
            let words = format_args!("is {}, which is not among the actions of the mapping", quoted(chosen));
            table.mistake(self.action, words, mistakes);
        }
        let reward = match table.text(self.reward) {
            b"" => None,
            _ => table.checked(self.reward, "a finite number, or nothing", f64::is_finite, mistakes),
        };
        let is_probability = |number: f64| number > 0.0 && number <= 1.0;
        let propensity =
            self.propensity.and_then(|at| table.checked(at, "a probability above 0", is_probability, mistakes));
        let is_position = |number: f64| (1.0..=1e4).contains(&number) && number.fract() == 0.0;
        let position = self.position.and_then(|at| table.checked(at, "a position from 1", is_position, mistakes));
        let time = self.time.map(|at| (at, instant(table.text(at))));
        if let Some((at, None)) = time {
            let words = format_args!("is {}, must be a time such as 2027-01-15T08:00:00Z", quoted(table.text(at)));
            table.mistake(at, words, mistakes);
        }
        let context = self.context.iter().filter_map(|column| value(table, column, mistakes)).collect();
        let choice = Choice {
            context,
            actions: self.actions.clone(),
            action: action?,
            propensity,
            probabilities: None,
            reward,
            position: position.map_or(0, |position| position as usize - 1),
            at: time.and_then(|(_, at)| at),
            user: self
                .user
                .map(|at| table.text(at))
                .filter(|text| !text.is_empty())
                .map(|text| String::from_utf8_lossy(text).into_owned()),
        };
        (mistakes.count() == before).then_some(choice)
    }
}

fn value(
    table: &Table,
    (name, at, kind): &(Arc<str>, usize, Kind),
    mistakes: &mut Mistakes,
) -> Option<(Arc<str>, AttributeValue)> {
    let text = table.text(*at);
    let value = match kind {
        Kind::Number => AttributeValue::Number(table.checked(*at, "a finite number", f64::is_finite, mistakes)?),
        Kind::Category => AttributeValue::Category(String::from_utf8_lossy(text).as_ref().into()),
        Kind::Boolean => match text {
            b"true" | b"1" => AttributeValue::Boolean(true),
            b"false" | b"0" => AttributeValue::Boolean(false),
            _ => {
                table.mistake(*at, format_args!("is {}, must be true or false, 1 or 0", quoted(text)), mistakes);
                return None;
            }
        },
    };
    Some((name.clone(), value))
}
