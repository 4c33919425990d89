//! Rows of foreign choices under a target policy, with propensities that are fitted where the log does not tell them.

use super::{Choice, encoding::Encoding};
use crate::replay::{
    day,
    models::{Example, Kind, ModelError, cross_fit},
    row::{Outcome, Row},
    target::{Drawn, FOLDS},
};
use std::{collections::BTreeMap, sync::Arc};

/// The penalty on weights of the propensity model, in rows.
const PENALTY: f64 = 10.0;
/// Fitted propensities are not smaller than this before they are made to sum to 1.
const FITTED_MIN: f64 = 1e-3;
/// What a log's choices come to.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Those of which the target could say what it would have chosen.
    pub drawn: Vec<Drawn>,
    /// Choices of which it could not.
    pub left_out: u64,
    /// Whether propensities were fitted, because the log does not tell all of them.
    pub estimated: bool,
    /// A bound on the weights: the target's largest probability over the smallest propensity.
    pub weight_max: f64,
}

/// The target's probabilities of the actions of a choice and of others, by name; `None` where it cannot say.
pub trait Target {
    /// As said above; they sum to 1.
    fn probabilities(&self, choice: &Choice) -> Option<Vec<(Arc<str>, f64)>>;
}

/// Actions by number, over all choices.
#[derive(Default)]
struct Numbers(BTreeMap<Arc<str>, usize>);

impl Numbers {
    fn of(&mut self, action: &Arc<str>) -> usize {
        let next = self.0.len();
        *self.0.entry(action.clone()).or_insert(next)
    }
}

/// The rows of choices. `floor` is the smallest probability that the logging policy gave to any action, where it is known.
///
/// # Errors
/// Where propensities have to be fitted, and there is too little to fit them on.
pub fn rows(choices: &[Choice], target: &impl Target, floor: Option<f64>) -> Result<Rows, ModelError> {
    let mut numbers = Numbers::default();
    let actions: Vec<Vec<usize>> =
        choices.iter().map(|choice| choice.actions.iter().map(|action| numbers.of(action)).collect()).collect();
    let encoding = Encoding::of(choices);
    let features: Vec<Vec<f64>> = choices.iter().map(|choice| encoding.features(choice)).collect();
    let clusters = clusters(choices);
    let estimated = choices.iter().any(|choice| choice.propensity.is_none());
    let fitted = match estimated {
        true => Some(fitted(choices, (&actions, &features, &clusters), numbers.0.len())?),
        false => None,
    };
    let mut rows = Rows { drawn: Vec::with_capacity(choices.len()), left_out: 0, estimated, weight_max: 0.0 };
    let (mut largest, mut smallest) = (0.0_f64, 1.0_f64);
    for (index, (choice, features)) in choices.iter().zip(features).enumerate() {
        let Some(wanted) = target.probabilities(choice) else {
            rows.left_out += 1;
            continue;
        };
        let logged = match (&fitted, &choice.probabilities) {
            (Some(fitted), _) => fitted[index].clone(),
            (None, Some(told)) => spread(&actions[index], told, numbers.0.len()),
            (None, None) => Vec::new(),
        };
        let arm = actions[index][choice.action];
        let propensity = choice.propensity.filter(|_| !estimated).unwrap_or_else(|| logged[arm]);
        let drawn = drawn((choice, clusters[index]), (wanted, logged), (arm, propensity), &mut numbers);
        largest = drawn.target.iter().copied().fold(largest, f64::max);
        smallest = smallest.min(propensity);
        rows.drawn.push(Drawn { features, ..drawn });
    }
    rows.weight_max = largest / floor.unwrap_or(smallest);
    Ok(rows)
}

fn drawn(
    (choice, cluster): (&Choice, u64),
    (wanted, logged): (Vec<(Arc<str>, f64)>, Vec<f64>),
    (arm, propensity): (usize, f64),
    numbers: &mut Numbers,
) -> Drawn {
    let mut target = vec![0.0; numbers.0.len()];
    let mut unsupported = 0.0;
    for (action, probability) in wanted {
        let number = numbers.of(&action);
        target.resize(target.len().max(number + 1), 0.0);
        target[number] += probability;
        let possible = choice.actions.contains(&action) && logged.get(number).is_none_or(|logged| *logged > 0.0);
        unsupported += if possible { 0.0 } else { probability };
    }
    let row = Row {
        cluster,
        day: choice.at.and_then(day::of),
        arm,
        position: choice.position,
        propensity,
        target: target[arm],
        unsupported,
        weight_max: 0.0,
        outcome: choice.reward.map_or(Outcome::Missing, Outcome::Reward),
        model: None,
    };
    Drawn { row, logged, target, features: Vec::new(), slate: None }
}

/// Users by the number of their first choice; a choice whose user is not told is of somebody else.
fn clusters(choices: &[Choice]) -> Vec<u64> {
    let mut firsts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut clusters = Vec::with_capacity(choices.len());
    for (index, choice) in (0..).zip(choices) {
        clusters.push(choice.user.as_deref().map_or(index, |user| *firsts.entry(user).or_insert(index)));
    }
    clusters
}

/// Probabilities of some actions, by number of all.
fn spread(actions: &[usize], probabilities: &[f64], count: usize) -> Vec<f64> {
    let mut by_number = vec![0.0; count];
    actions.iter().zip(probabilities).for_each(|(&action, &probability)| by_number[action] = probability);
    by_number
}

/// The probability of every action of every choice, by number: logistic regressions of each action against the others,
/// made to sum to 1, fitted on the choices of other users.
fn fitted(
    choices: &[Choice],
    (actions, features, clusters): (&[Vec<usize>], &[Vec<f64>], &[u64]),
    count: usize,
) -> Result<Vec<Vec<f64>>, ModelError> {
    let of_action = |action: usize| {
        let possible = |index: &usize| actions[*index].contains(&action);
        let example = |index: usize| {
            let chosen = actions[index][choices[index].action] == action;
            let reward = f64::from(u8::from(chosen));
            Example { cluster: clusters[index], arm: 0, features: &features[index], reward }
        };
        let examples: Vec<Example<'_>> = (0..choices.len()).filter(possible).map(example).collect();
        let model = cross_fit(Kind::Logistic(PENALTY), &examples, 1, FOLDS)?;
        let probability = |index: usize| match possible(&index) {
            true => model.predict(clusters[index], &features[index], 0).max(FITTED_MIN),
            false => 0.0,
        };
        Ok((0..choices.len()).map(probability).collect())
    };
    let by_action: Vec<Vec<f64>> = (0..count).map(of_action).collect::<Result<_, _>>()?;
    let of_choice = |index: usize| {
        let sum: f64 = by_action.iter().map(|probabilities| probabilities[index]).sum();
        by_action.iter().map(|probabilities| probabilities[index] / sum).collect()
    };
    Ok((0..choices.len()).map(of_choice).collect())
}
