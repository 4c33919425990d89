//! What evaluation needs to know of one slot that was drawn.

/// One drawn slot of a log, seen from a target policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Whose outcome it is, as a hash or a number: rows of one user are not independent of each other.
    pub cluster: u64,
    /// When it was, as the number of its day; `None`: not told, and nothing is checked by the day.
    pub day: Option<u32>,
    /// The logged arm, numbered from 0.
    pub arm: usize,
    /// The slot, numbered from 0.
    pub position: usize,
    /// The probability with which the logging policy drew the arm, in (0, 1].
    pub propensity: f64,
    /// The target policy's probability of the logged arm, in [0, 1].
    pub target: f64,
    /// The target's probability, in [0, 1], on arms that the logging policy could not draw here.
    pub unsupported: f64,
    /// The largest weight that this row could have had, whichever arm was drawn; infinite: not known.
    pub weight_max: f64,
    /// What the slot earned.
    pub outcome: Outcome,
    /// What a reward model says, if there is one.
    pub model: Option<Prediction>,
}

/// What is known of a row's reward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The window is closed, and this is the reward.
    Reward(f64),
    /// The window is open: the reward so far, which may still change.
    Immature(f64),
    /// Nothing was ever reported that says what it earned.
    Missing,
}

/// A reward model's word on a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The expected reward of the logged arm.
    pub logged: f64,
    /// The expected reward under the target policy, over all arms.
    pub target: f64,
}

impl Row {
    /// The importance weight: how much likelier the target is to draw the logged arm than the logging policy was.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.target / self.propensity
    }

    /// The reward, if one is known at all.
    #[must_use]
    pub const fn reward(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Reward(reward) | Outcome::Immature(reward) => Some(reward),
            Outcome::Missing => None,
        }
    }
}
