//! Vowpal Wabbit's decision-service log (dsjson): one JSON object a line, each a choice with its probabilities and cost.
//!
//! Read of a line: `EventId`, which no other choice may have; `a`, the actions by number from 1, chosen first; `p`, their
//! probabilities; `_label_cost`, of which the reward is the negative; `Timestamp`; `c`, the context, whose `_multi` are the actions: each is named by its `i.id`,
//! its `_tag`, or its number, and those that follow another of the same name by that, `#` and their number. What else is in
//! `c` becomes attributes such as `Geo.country`; what begins with an underscore does not. Lines without a context, such as
//! rewards that came late, are no choices and are passed over, and so are choices that were never put into effect
//! (`_skipLearn`).

use super::{Choice, Result, instant, quoted};
use crate::{
    engine::context::AttributeValue,
    replay::files::{
        mistakes::{Mistakes, Place},
        table::Source,
    },
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io::{BufRead as _, BufReader},
    sync::Arc,
};

/// How far probabilities, which are written as single-precision numbers, may be from a sum of 1 and from each other.
const ROUNDING: f64 = 1e-4;

/// A line, as far as it is read.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "EventId")]
    event: Option<String>,
    #[serde(rename = "_label_cost")]
    cost: Option<f64>,
    #[serde(rename = "_label_probability")]
    label_probability: Option<f64>,
    #[serde(rename = "Timestamp")]
    timestamp: Option<String>,
    a: Option<Vec<usize>>,
    p: Option<Vec<f64>>,
    c: Option<Map<String, Value>>,
    /// The probability with which such lines were left out.
    pdrop: Option<f64>,
    #[serde(rename = "_outcomes")]
    outcomes: Option<Value>,
    /// Whether the choice was deferred and never put into effect.
    #[serde(rename = "_skipLearn")]
    skipped: Option<bool>,
}

/// Calls `take` with every choice, in the order of the file.
///
/// # Errors
/// Everything that is wrong with the file, after the choices that could be read.
pub fn read(source: Source, mut take: impl FnMut(Choice)) -> Result<()> {
    let mut mistakes = Mistakes::default();
    let Source { name, content } = source;
    // Where events are told first.
    let mut events = BTreeMap::new();
    for (line, text) in (1..).zip(BufReader::new(content).lines()) {
        let place = Place { line, column: 0 };
        let text = match text {
            Ok(text) if text.trim().is_empty() => continue,
            Ok(text) => text,
            Err(error) => {
                mistakes.add(&name, place, format_args!("cannot be read: {error}"));
                break;
            }
        };
        let read = match serde_json::from_str(&text) {
            Ok(read) => read,
            Err(error) => {
                let words = error.to_string();
                // The line of the text, which is one, is not that of the file.
                let words = words.split(" at line ").next().unwrap_or_default();
                let place = Place { line, column: error.column() };
                mistakes.add(&name, place, format_args!("is no JSON object of a choice: {words}"));
                continue;
            }
        };
        match choice(read, line, &mut events) {
            Ok(Some(choice)) => take(choice),
            Ok(None) => {}
            Err(words) => mistakes.add(&name, place, words),
        }
    }
    mistakes.into_result()
}

/// The choice of a line; `None` where it is none.
fn choice(line: Line, number: u64, events: &mut BTreeMap<String, u64>) -> std::result::Result<Option<Choice>, String> {
    let Some(context) = line.c.filter(|_| line.skipped != Some(true)) else { return Ok(None) };
    if let Some(event) = line.event {
        match events.entry(event) {
            Entry::Vacant(first) => _ = first.insert(number),
            Entry::Occupied(first) => {
                let (event, first) = (quoted(first.key().as_bytes()), first.get());
                return Err(format!(
                    "has the EventId {event} of line {first}, must have its own: it would count twice"
                ));
            }
        }
    }
    if line.outcomes.is_some() || context.contains_key("_slots") {
        return Err("is of several slots, and only choices of one are read".to_owned());
    }
    if line.pdrop.is_some_and(|dropped| dropped != 0.0) {
        return Err(
            "tells that lines like it were left out (pdrop), which is not made up for: only 0 is read".to_owned()
        );
    }
    let actions = actions(&context)?;
    let (ranked, probabilities) = (line.a.unwrap_or_default(), line.p.unwrap_or_default());
    let pmf = by_action(&ranked, &probabilities, actions.len())?;
    let action = ranked[0] - 1;
    let propensity = pmf[action];
    if propensity <= 0.0 {
        return Err(format!("chose action {} with probability {propensity}, must be above 0", action + 1));
    }
    match line.label_probability {
        Some(label) if (label - propensity).abs() > ROUNDING => {
            return Err(format!("chose with probability {propensity} by p, and {label} by _label_probability"));
        }
        _ => {}
    }
    let at = match &line.timestamp {
        None => None,
        Some(text) => {
            let at = instant(text.as_bytes());
            Some(at.ok_or_else(|| format!("has the Timestamp {}, must be as in RFC 3339", quoted(text.as_bytes())))?)
        }
    };
    let mut attributes = Vec::new();
    flatten("", &context, &mut attributes);
    Ok(Some(Choice {
        context: attributes,
        actions,
        action,
        propensity: Some(propensity),
        probabilities: Some(pmf),
        // Not -0: a cost of nothing earns nothing.
        reward: line.cost.map(|cost| 0.0 - cost),
        position: 0,
        at,
        user: None,
    }))
}

fn actions(context: &Map<String, Value>) -> std::result::Result<Arc<[Arc<str>]>, String> {
    let Some(Value::Array(listed)) = context.get("_multi") else {
        return Err("has no list of actions c._multi".to_owned());
    };
    let name = |(number, action): (usize, &Value)| -> Arc<str> {
        let id = action.pointer("/i/id").or_else(|| action.get("_tag"));
        match id {
            Some(Value::String(id)) => id.as_str().into(),
            Some(Value::Number(id)) => id.to_string().into(),
            _ => number.to_string().into(),
        }
    };
    let mut known = BTreeSet::new();
    let unique = |(number, action): (usize, &Value)| {
        let name = name((number, action));
        // Of several actions of one name, those after the first are told apart by their number.
        let own = if known.contains(&name) { format!("{name}#{number}").into() } else { name };
        known.insert(own.clone());
        own
    };
    Ok((1..).zip(listed).map(unique).collect())
}

/// Probabilities by action, from those in the order of `ranked`, which numbers each action once.
fn by_action(ranked: &[usize], probabilities: &[f64], count: usize) -> std::result::Result<Vec<f64>, String> {
    let every: BTreeSet<usize> = ranked.iter().copied().collect();
    if ranked.len() != count || count == 0 || !every.iter().copied().eq(1..=count) {
        return Err(format!("has {count} actions, and a list of actions (a) that does not name each of them once"));
    }
    if probabilities.len() != count {
        return Err(format!(
            "has {count} actions and {} probabilities (p), must have one for each",
            probabilities.len()
        ));
    }
    if let Some(p) = probabilities.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(format!("has the probability {p} (p), must be from 0 to 1"));
    }
    let sum: f64 = probabilities.iter().sum();
    if (sum - 1.0).abs() > ROUNDING {
        return Err(format!("has probabilities (p) that sum to {sum}, must sum to 1 within {ROUNDING}"));
    }
    let mut pmf = vec![0.0; count];
    ranked.iter().zip(probabilities).for_each(|(action, &p)| pmf[action - 1] = p);
    Ok(pmf)
}

/// Values by their path; a list's objects stand as if they were one.
fn flatten(path: &str, object: &Map<String, Value>, into: &mut Vec<(Arc<str>, AttributeValue)>) {
    for (name, value) in object.iter().filter(|(name, _)| !name.starts_with('_')) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Object(inner) => flatten(&path, inner, into),
            Value::Array(values) => {
                values.iter().filter_map(Value::as_object).for_each(|inner| flatten(&path, inner, into))
            }
            Value::Number(number) => {
                into.extend(number.as_f64().map(|number| (path.as_str().into(), AttributeValue::Number(number))));
            }
            Value::String(word) => into.push((path.into(), AttributeValue::Category(word.as_str().into()))),
            Value::Bool(truth) => into.push((path.into(), AttributeValue::Boolean(*truth))),
            Value::Null => {}
        }
    }
}
