//! A model of what slates earn from each slot on, for cascade-DR (Kiyohara and others, 2022).
//!
//! Fitted from the last slot to the first: a slot's model learns, arm by arm, what the slot earned and what the next one's
//! model expects of the candidate there, from what was known and which arms stand above. Cross-fitted by user from end to
//! end: what is said of a user comes from models that saw none of the user's rewards, in whichever slot.

use super::{SlotPrediction, drawn::Choice};
use crate::replay::{
    models::{Example, Kind, Model, ModelError, fold_of, others},
    target::{Drawn, FOLDS},
};

/// Whether rewards of slates are modelled by this kind.
///
/// # Errors
/// Where they are not.
pub fn accepts(kind: Kind) -> Result<(), ModelError> {
    match kind {
        Kind::Logistic(_) => Err(ModelError::NoSlates),
        Kind::ArmMean | Kind::Ridge(_) => Ok(()),
    }
}

/// Gives every slate's slots a model's word, fitted on the slates of other users.
///
/// # Errors
/// Where there are too few users, or slates are not modelled by this kind.
pub fn fit(kind: Kind, drawn: &mut [Drawn]) -> Result<(), ModelError> {
    accepts(kind)?;
    let clusters: Vec<u64> = drawn.iter().map(|drawn| drawn.row.cluster).collect();
    for fold in 0..FOLDS {
        let rows: Vec<&Drawn> = others(&clusters, fold, FOLDS)?.into_iter().map(|index| &drawn[index]).collect();
        let cascade = Cascade::fit(kind, &rows);
        for Drawn { features, slate, .. } in drawn.iter_mut().filter(|row| fold_of(row.row.cluster, FOLDS) == fold) {
            if let Some(slate) = slate {
                slate.slate.model = Ok(cascade.predictions(features, &slate.choices));
            }
        }
    }
    Ok(())
}

/// A model for every slot.
struct Cascade {
    kind: Kind,
    arms: usize,
    /// By slot; `None`: nothing was ever shown there.
    slots: Vec<Option<Model>>,
}

/// What a slot's model learns from one slate.
struct Learned {
    cluster: u64,
    arm: usize,
    known: Vec<f64>,
    /// From this slot on.
    reward: f64,
}

impl Learned {
    fn example(&self) -> Example<'_> {
        Example { cluster: self.cluster, arm: self.arm, features: &self.known, reward: self.reward }
    }
}

impl Cascade {
    fn fit(kind: Kind, rows: &[&Drawn]) -> Self {
        let choices = || rows.iter().filter_map(|row| row.slate.as_ref()).map(|slate| &slate.choices);
        let slots = choices().map(Vec::len).max().unwrap_or(0);
        let largest = choices().flatten().filter_map(|choice| choice.arm).max();
        let mut cascade =
            Self { kind, arms: largest.map_or(0, |largest| largest + 1), slots: (0..slots).map(|_| None).collect() };
        for slot in (0..slots).rev() {
            cascade.slots[slot] = cascade.fit_slot(rows, slot);
        }
        cascade
    }

    /// The model of a slot, given those of the slots below it.
    fn fit_slot(&self, rows: &[&Drawn], slot: usize) -> Option<Model> {
        let mut learned: Vec<Learned> = Vec::new();
        for Drawn { row, features, slate, .. } in rows {
            let Some(slate) = slate else { continue };
            let Some(arm) = slate.choices.get(slot).and_then(|choice| choice.arm) else { continue };
            let Some(rest) = self.expected(features, &slate.choices, slot + 1) else { continue };
            let known = self.known(features, &slate.choices[..slot]);
            learned.push(Learned { cluster: row.cluster, arm, known, reward: slate.slate.rewards[slot] + rest });
        }
        let examples: Vec<Example<'_>> = learned.iter().map(Learned::example).collect();
        (!examples.is_empty()).then(|| Model::fit(self.kind, &examples, self.arms))
    }

    fn predictions(&self, features: &[f64], choices: &[Choice]) -> Vec<SlotPrediction> {
        let prediction = |slot: usize| {
            let known = self.known(features, &choices[..slot]);
            SlotPrediction {
                logged: choices[slot].arm.map_or(0.0, |arm| self.predict(slot, &known, arm)),
                // Where the candidate could not have come the weight is nought.
                target: self.expected(features, choices, slot).unwrap_or(0.0),
            }
        };
        (0..choices.len()).map(prediction).collect()
    }

    /// What the candidate's choice for a slot is expected to earn from there on; nothing below the last. `None` where it
    /// could not have come there.
    fn expected(&self, features: &[f64], choices: &[Choice], slot: usize) -> Option<f64> {
        let Some(choice) = choices.get(slot) else { return Some(0.0) };
        let known = self.known(features, &choices[..slot]);
        let target = choice.target.as_ref()?;
        Some(target.iter().map(|&(arm, probability)| probability * self.predict(slot, &known, arm)).sum())
    }

    fn predict(&self, slot: usize, known: &[f64], arm: usize) -> f64 {
        let model = self.slots.get(slot).and_then(Option::as_ref);
        model.map_or(0.0, |model| model.predict(known, arm))
    }

    /// What a slot's model knows: the decision's features, and of every arm whether it is above.
    fn known(&self, features: &[f64], above: &[Choice]) -> Vec<f64> {
        match self.kind {
            Kind::ArmMean => Vec::new(),
            _ if above.is_empty() => features.to_vec(),
            _ => {
                let is_above = |arm| above.iter().any(|choice| choice.arm == Some(arm));
                features.iter().copied().chain((0..self.arms).map(|arm| f64::from(u8::from(is_above(arm))))).collect()
            }
        }
    }
}
