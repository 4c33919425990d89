//! Slates from a JSON file that somebody else wrote.

use super::{Slate, SlotPrediction, product_weight, untold::Untold};
use crate::replay::files::{
    ROUNDING,
    mistakes::{Mistakes, Place},
};
use serde::Deserialize;

/// A file: its rounds, and how the logging policy draws slates. Other keys are not read.
#[derive(Debug, Deserialize)]
struct File {
    rounds: Vec<Round>,
    /// `product`: every slot by itself.
    #[serde(default)]
    behaviour: Option<String>,
}

/// A slate with probabilities under the logging policy (`pscore`) and the target (`eval`).
#[derive(Debug, Deserialize)]
struct Round {
    slate: Vec<usize>,
    reward: Vec<f64>,
    pscore_joint: f64,
    eval_pscore_joint: f64,
    pscore_cascade: Option<Vec<f64>>,
    eval_pscore_cascade: Option<Vec<f64>>,
    pscore_item_position: Option<Vec<f64>>,
    eval_pscore_item_position: Option<Vec<f64>>,
    /// By slot and item, given the slots above.
    eval_next_dist: Option<Vec<Vec<f64>>>,
    /// By slot and item.
    q_hat: Option<Vec<Vec<f64>>>,
    pi_weight: Option<f64>,
}

/// The slates of a file.
///
/// The pseudo-inverse's weight is computed where the logging policy draws every slot by itself, and else taken from the
/// file: it needs marginal probabilities of pairs, which a file does not tell.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(name: &str, text: &str) -> Result<Vec<Slate>, Mistakes> {
    let mut mistakes = Mistakes::default();
    let file: File = match serde_json::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            let place = Place { line: error.line() as u64, column: error.column() };
            mistakes.add(name, place, format_args!("is no file of slates: {error}"));
            return Err(mistakes);
        }
    };
    let product = file.behaviour.as_deref() == Some("product");
    if file.rounds.is_empty() {
        mistakes.add(name, WHOLE, "rounds: there are none");
    }
    let mut slates = Vec::with_capacity(file.rounds.len());
    let slots = file.rounds.first().map_or(0, |round| round.slate.len());
    for (index, round) in file.rounds.into_iter().enumerate() {
        let mut check = Check { file: name, index, slots, mistakes: &mut mistakes };
        slates.push(check.slate(round, product));
    }
    mistakes.into_result()?;
    Ok(slates)
}

const WHOLE: Place = Place { line: 0, column: 0 };

struct Check<'a> {
    file: &'a str,
    index: usize,
    slots: usize,
    mistakes: &'a mut Mistakes,
}

impl Check<'_> {
    fn slate(&mut self, round: Round, product: bool) -> Slate {
        self.lengths("slate", round.slate.len());
        self.lengths("reward", round.reward.len());
        self.numbers("reward", &round.reward, "a finite number", f64::is_finite);
        for (name, cascade, joint) in [
            ("pscore_cascade", &round.pscore_cascade, round.pscore_joint),
            ("eval_pscore_cascade", &round.eval_pscore_cascade, round.eval_pscore_joint),
        ] {
            self.cascade(name, cascade.as_deref().unwrap_or_default(), joint);
        }
        let joint = self.ratios("pscore_joint", Some(&[round.pscore_joint]), Some(&[round.eval_pscore_joint]));
        let cascade =
            self.ratios("pscore_cascade", round.pscore_cascade.as_deref(), round.eval_pscore_cascade.as_deref());
        let marginal = self.ratios(
            "pscore_item_position",
            round.pscore_item_position.as_deref(),
            round.eval_pscore_item_position.as_deref(),
        );
        for (name, ratios) in [("pscore_cascade", &cascade), ("pscore_item_position", &marginal)] {
            ratios.iter().for_each(|ratios| self.lengths(name, ratios.len()));
        }
        let own = marginal.as_deref().filter(|_| product).map(product_weight);
        let model = match (&round.eval_next_dist, &round.q_hat) {
            (Some(next), Some(estimates)) => self.model(&round.slate, next, estimates),
            _ => None,
        };
        let untold = |keys| Untold::NotInFile { keys };
        Slate {
            cluster: self.index as u64,
            joint: joint.and_then(|joint| joint.first().copied()).unwrap_or(0.0),
            cascade: cascade.ok_or(untold("pscore_cascade and eval_pscore_cascade")),
            marginal: marginal.ok_or(untold("pscore_item_position and eval_pscore_item_position")),
            pseudo_inverse: own.or(round.pi_weight).ok_or(untold("pi_weight")),
            model: model.ok_or(untold("eval_next_dist and q_hat")),
            rewards: round.reward,
        }
    }

    /// Probabilities of all slots down to one: each is at most the one before, and the last is the whole slate's.
    fn cascade(&mut self, name: &str, cascade: &[f64], joint: f64) {
        let risen = cascade.windows(2).position(|pair| pair[1] > pair[0] + ROUNDING);
        if let Some(slot) = risen.map(|slot| slot + 1) {
            let (before, own) = (cascade[slot - 1], cascade[slot]);
            let words =
                format_args!("is {own}, must be at most the {before} before it: it is of all slots down to its own");
            self.mistake(&format!("{name}[{slot}]"), words);
        }
        if let Some(last) = cascade.last().filter(|last| (**last - joint).abs() > CASCADE_TOLERANCE) {
            let of = name.trim_end_matches("cascade");
            self.mistake(name, format_args!("ends with {last}, must end with {of}joint, which is {joint}"));
        }
    }

    /// Target over logging probabilities; `None` where one is not told.
    fn ratios(&mut self, name: &str, logged: Option<&[f64]>, target: Option<&[f64]>) -> Option<Vec<f64>> {
        let (logged, target) = (logged?, target?);
        self.numbers(name, logged, "a probability above 0, up to 1", |p| p > 0.0 && p <= 1.0 + ROUNDING);
        self.numbers(&format!("eval_{name}"), target, "a probability from 0 to 1", |p| {
            (0.0..=1.0 + ROUNDING).contains(&p)
        });
        if logged.len() != target.len() {
            self.mistake(name, format_args!("has {} numbers, eval_{name} has {}", logged.len(), target.len()));
        }
        Some(target.iter().zip(logged).map(|(target, logged)| target / logged).collect())
    }

    fn model(&mut self, slate: &[usize], next: &[Vec<f64>], estimates: &[Vec<f64>]) -> Option<Vec<SlotPrediction>> {
        self.lengths("eval_next_dist", next.len());
        self.lengths("q_hat", estimates.len());
        let mut slots = Vec::with_capacity(slate.len());
        for ((&item, next), estimates) in slate.iter().zip(next).zip(estimates) {
            self.numbers("eval_next_dist", next, "a probability from 0 to 1", |p| (0.0..=1.0 + ROUNDING).contains(&p));
            self.numbers("q_hat", estimates, "a finite number", f64::is_finite);
            let Some(&logged) = estimates.get(item).filter(|_| next.len() == estimates.len()) else {
                let words =
                    format_args!("has {} items, eval_next_dist {}, and {item} was shown", estimates.len(), next.len());
                self.mistake("q_hat", words);
                return None;
            };
            let target = next.iter().zip(estimates).map(|(p, q)| p * q).sum();
            slots.push(SlotPrediction { logged, target });
        }
        Some(slots)
    }

    fn lengths(&mut self, name: &str, length: usize) {
        if length != self.slots || length == 0 {
            self.mistake(name, format_args!("has {length} slots, must have {}", self.slots.max(1)));
        }
    }

    fn numbers(&mut self, name: &str, numbers: &[f64], must: &str, accepts: impl Fn(f64) -> bool) {
        for (slot, &number) in numbers.iter().enumerate().filter(|(_, number)| !accepts(**number)) {
            self.mistake(&format!("{name}[{slot}]"), format_args!("is {number}, must be {must}"));
        }
    }

    fn mistake(&mut self, name: &str, words: impl std::fmt::Display) {
        self.mistakes.add(self.file, WHOLE, format_args!("rounds[{}].{name}: {words}", self.index));
    }
}

/// Probabilities are written with six digits, too.
const CASCADE_TOLERANCE: f64 = 1e-6;
