//! What deciding asks about arms: answered by a snapshot when it serves, and by the record of a decision when that is
//! decided again. Everything else of a decision is computed in one way for both.

use super::{
    bounds::BandInForce,
    objective,
    pmf::{curve::ScoreCurve, distribution::ScoreDistribution},
    snapshot::{Features, PlacementSnapshot},
};

/// Beliefs about a placement's arms, which are named by their index in it.
pub trait Beliefs {
    /// The distributions of arms' values in a slot, from 1, for an encoded context: in units of which
    /// [`Beliefs::scale`] makes those that arms are compared by. `arms` are ascending; one for each is returned.
    fn scores(&self, slot: u32, arms: &[usize], context: &[f64]) -> Vec<ScoreDistribution>;

    /// The posterior mean of an arm's reward in the lead slot, in the reward's own unit, where `lead` is its score there.
    fn expected_reward(&self, arm: usize, lead: &ScoreDistribution) -> f64;

    /// The factor from [`Beliefs::scores`] to what arms are compared by, above 0, for an arm of which one unit of reward
    /// is worth this much.
    fn scale(&self, worth: f64) -> f64;

    /// The shape of an arm's scores, prepared for fast evaluation.
    fn curve(&self, arm: usize) -> &ScoreCurve;

    /// How one of the placement's bands acts, by its index.
    fn band(&self, band: usize) -> BandInForce;
}

impl Beliefs for PlacementSnapshot {
    fn scores(&self, slot: u32, arms: &[usize], context: &[f64]) -> Vec<ScoreDistribution> {
        self.scores_for(&Features::of_slot(&self.placement, context, slot), arms)
    }

    fn expected_reward(&self, _arm: usize, lead: &ScoreDistribution) -> f64 {
        lead.mean() * self.placement.reward.unit
    }

    fn scale(&self, worth: f64) -> f64 {
        objective::score_scale(&self.placement, worth)
    }

    fn curve(&self, arm: usize) -> &ScoreCurve {
        self.beliefs[arm].curve()
    }

    fn band(&self, band: usize) -> BandInForce {
        self.bands[band]
    }
}
