//! The Open Bandit Dataset (Saito and others, 2021): a table of recommendations that logged their propensities.
//!
//! Two files: `item_context.csv`, whose item_id are what could be chosen, and the campaign's own, such as `men.csv`, with
//! the columns timestamp, item_id, position from 1, click, propensity_score and user_feature_0 and on, which are categories.
//! Affinities of user and item are not read.

use super::{Choice, Result, instant, quoted};
use crate::{
    engine::context::AttributeValue,
    replay::files::{
        mistakes::Mistakes,
        table::{Opening, Source, Table},
    },
};
use std::{collections::BTreeMap, sync::Arc};

/// What columns of user features begin with.
const USER_FEATURE: &str = "user_feature_";

/// Calls `take` with every choice of a campaign, in the order of the file.
///
/// # Errors
/// Everything that is wrong with the files, after the choices that could be read.
pub fn read(items: Source, campaign: Source, mut take: impl FnMut(Choice)) -> Result<()> {
    let mut mistakes = Mistakes::default();
    let actions = read_items(items, &mut mistakes);
    if let (Some(actions), Some(mut table)) = (actions, Table::open(Opening::of(campaign), &mut mistakes))
        && let Some(columns) = Columns::of(&table, &mut mistakes)
    {
        while table.next(&mut mistakes) {
            if let Some(choice) = columns.choice(&table, &actions, &mut mistakes) {
                take(choice);
            }
        }
    }
    mistakes.into_result()
}

/// What can be chosen, with the place of each.
struct Actions {
    ids: Arc<[Arc<str>]>,
    places: BTreeMap<Arc<str>, usize>,
}

fn read_items(source: Source, mistakes: &mut Mistakes) -> Option<Actions> {
    let mut table = Table::open(Opening::of(source), mistakes)?;
    let item = table.require("item_id", mistakes)?;
    let (mut ids, mut places) = (Vec::new(), BTreeMap::new());
    while table.next(mistakes) {
        let id: Arc<str> = String::from_utf8_lossy(table.text(item)).as_ref().into();
        if places.insert(id.clone(), ids.len()).is_some() {
            table.mistake(item, format_args!("is {}, which stands above already", quoted(table.text(item))), mistakes);
        } else {
            ids.push(id);
        }
    }
    Some(Actions { ids: ids.into(), places })
}

/// Where everything is.
struct Columns {
    timestamp: usize,
    item: usize,
    position: usize,
    click: usize,
    propensity: usize,
    features: Vec<(Arc<str>, usize)>,
}

impl Columns {
    fn of(table: &Table, mistakes: &mut Mistakes) -> Option<Self> {
        let mut require = |name: &str| table.require(name, mistakes);
        let (timestamp, item, position) = (require("timestamp"), require("item_id"), require("position"));
        let (click, propensity) = (require("click"), require("propensity_score"));
        let named = |(place, name): (usize, &String)| (name.as_str().into(), place);
        let is_feature = |(_, name): &(usize, &String)| name.starts_with(USER_FEATURE);
        let features = table.columns.iter().enumerate().filter(is_feature).map(named).collect();
        Some(Self {
            timestamp: timestamp?,
            item: item?,
            position: position?,
            click: click?,
            propensity: propensity?,
            features,
        })
    }

    fn choice(&self, table: &Table, actions: &Actions, mistakes: &mut Mistakes) -> Option<Choice> {
        let item = table.text(self.item);
        let action = std::str::from_utf8(item).ok().and_then(|id| actions.places.get(id)).copied();
        if action.is_none() {
            table.mistake(
                self.item,
                format_args!("is {}, which is no item of the items' file", quoted(item)),
                mistakes,
            );
        }
        let at = instant(table.text(self.timestamp));
        if at.is_none() {
            let words = format_args!(
                "is {}, must be a time such as 2019-11-24 00:03:13+00:00",
                quoted(table.text(self.timestamp))
            );
            table.mistake(self.timestamp, words, mistakes);
        }
        let position = table.checked(
            self.position,
            "a position from 1",
            |number| number >= 1.0 && number.fract() == 0.0,
            mistakes,
        );
        let click = table.checked(self.click, "a finite number", f64::is_finite, mistakes);
        let is_probability = |number: f64| number > 0.0 && number <= 1.0;
        let propensity = table.checked(self.propensity, "a probability above 0", is_probability, mistakes);
        let feature = |(name, place): &(Arc<str>, usize)| {
            let word: Arc<str> = String::from_utf8_lossy(table.text(*place)).as_ref().into();
            (name.clone(), AttributeValue::Category(word))
        };
        Some(Choice {
            context: self.features.iter().map(feature).collect(),
            actions: actions.ids.clone(),
            action: action?,
            propensity: Some(propensity?),
            probabilities: None,
            reward: Some(click?),
            position: position? as usize - 1,
            at: Some(at?),
            user: None,
        })
    }
}
