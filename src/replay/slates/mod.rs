//! Several slots together: what a policy would have earned with its whole slate.
//!
//! Every estimator but one weighs each slot's reward and sums up; they differ in the weight.
//!
//! - Standard: the whole slate's (Precup, Sutton and Singh, 2000), right whatever rewards depend on.
//! - Reward interaction: that of the slots from the first to this one, where no reward depends on what is below it
//!   (McInerney and others, 2020).
//! - Independent: that of the item in its slot alone, where rewards do not depend on each other (Li and others, 2018).
//! - Pseudo-inverse: one weight for the sum, where slots add up (Swaminathan and others, 2017).
//!
//! Self-normalised, each slot's weights are divided by their mean. Cascade-DR corrects a model of what slates earn from
//! each slot on by what the slots up to it earned (Kiyohara and others, 2022).

pub mod drawn;
pub mod file;
pub mod modelled;
pub mod possible;
pub mod pseudo_inverse;
pub mod report;
pub mod untold;

use crate::engine::math::double_double::Dd;
use untold::Untold;

/// A slate that was shown, and what the target policy says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Slate {
    /// Whose it is: slates of one user are not independent of each other.
    pub cluster: u64,
    /// What each slot earned.
    pub rewards: Vec<f64>,
    /// How much likelier the target shows this slate.
    pub joint: f64,
    /// How much likelier it shows the slots from the first to each one.
    pub cascade: Result<Vec<f64>, Untold>,
    /// How much likelier it shows each item in its slot, whatever is in the others.
    pub marginal: Result<Vec<f64>, Untold>,
    /// The pseudo-inverse's weight, which may be negative.
    pub pseudo_inverse: Result<f64, Untold>,
    /// A reward model's word on each slot.
    pub model: Result<Vec<SlotPrediction>, Untold>,
}

/// A reward model's word on what the target earns from a slot on, below what was shown above it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlotPrediction {
    /// Expected where the slot shows what it showed.
    pub logged: f64,
    /// Expected under the target's choice for the slot.
    pub target: f64,
}

/// Which weights are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weights {
    /// The whole slate's.
    Standard,
    /// Each slot's own.
    Independent,
    /// Of the slots from the first to this one.
    Interaction,
    /// The pseudo-inverse's.
    PseudoInverse,
}

impl Weights {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Independent, Self::Interaction, Self::PseudoInverse];

    /// The weight of each slot.
    ///
    /// # Errors
    /// Why the slate does not tell them.
    pub fn of(self, slate: &Slate) -> Result<Vec<f64>, Untold> {
        match self {
            Self::Standard => Ok(vec![slate.joint; slate.rewards.len()]),
            Self::Independent => slate.marginal.clone(),
            Self::Interaction => slate.cascade.clone(),
            Self::PseudoInverse => Ok(vec![slate.pseudo_inverse?; slate.rewards.len()]),
        }
    }

    /// The estimator's name, plain and self-normalised.
    #[must_use]
    pub const fn names(self) -> [&'static str; 2] {
        match self {
            Self::Standard => ["sips", "snsips"],
            Self::Independent => ["iips", "sniips"],
            Self::Interaction => ["rips", "snrips"],
            Self::PseudoInverse => ["pi", "wpi_self_normalised"],
        }
    }
}

/// The pseudo-inverse's weight where the logging policy draws every slot by itself: 1 - L + the sum of the L ratios.
#[must_use]
pub fn product_weight(marginal: &[f64]) -> f64 {
    1.0 - marginal.len() as f64 + marginal.iter().sum::<f64>()
}

/// What a slate contributes to cascade-DR.
///
/// # Errors
/// Why the slate does not tell: there is no model, or no weights of slots.
pub fn cascade_dr(slate: &Slate) -> Result<f64, Untold> {
    let (cascade, model) = match (&slate.cascade, &slate.model) {
        (Ok(cascade), Ok(model)) => (cascade, model),
        (Err(untold), _) | (_, Err(untold)) => return Err(*untold),
    };
    let mut above = 1.0;
    let mut sum = Dd::ZERO;
    for ((&weight, prediction), reward) in cascade.iter().zip(model).zip(&slate.rewards) {
        sum = sum + Dd::product(weight, reward - prediction.logged) + Dd::product(above, prediction.target);
        above = weight;
    }
    Ok(sum.to_f64())
}
