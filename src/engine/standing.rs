//! How the arms of a placement stand: posterior means, intervals, and who leads.

use super::{
    catalog::Arm,
    objective,
    pmf::{distribution::ScoreDistribution, serving::ThompsonGrid},
    snapshot::{Belief, Features, PlacementSnapshot},
};
use std::sync::Arc;

/// How one arm stands, over the contexts asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArmStanding {
    /// Posterior mean of the mean reward, in the reward's own unit.
    pub mean: f64,
    /// Lower end of its central 95 % credible interval.
    pub lower: f64,
    /// Upper end of its central 95 % credible interval.
    pub upper: f64,
    /// Probability of having the highest value of all the placement's arms, averaged over the contexts.
    pub probability_of_leading: f64,
}

/// A moment to look at: encoded features, without slot features, and the market that prices come from.
#[derive(Clone, Debug)]
pub struct Moment {
    /// As encoded by the placement's schema.
    pub context: Vec<f64>,
    /// A market of the catalog.
    pub market: Option<Arc<str>>,
}

/// How the arms stand in the lead slot, in the placement's order; `moments` is not empty.
///
/// A linear model's reward averaged over contexts is its reward at the average context, so means and intervals are
/// exact; probabilities of leading are averaged.
#[must_use]
pub fn standing(snapshot: &PlacementSnapshot, moments: &[Moment]) -> Vec<ArmStanding> {
    let average = Features::of_slot(&snapshot.placement, &average_context(moments), 1);
    let leading = leading(snapshot, moments);
    let unit = snapshot.placement.reward.unit;
    let arm = |(belief, probability_of_leading): (&Belief, f64)| {
        let score = belief.score(&average);
        ArmStanding {
            mean: score.mean() * unit,
            lower: score.quantile(0.025) * unit,
            upper: score.quantile(0.975) * unit,
            probability_of_leading,
        }
    };
    snapshot.beliefs.iter().zip(leading).map(arm).collect()
}

fn average_context(moments: &[Moment]) -> Vec<f64> {
    let mut sum = vec![0.0; moments.first().map_or(0, |moment| moment.context.len())];
    for moment in moments {
        sum.iter_mut().zip(&moment.context).for_each(|(sum, value)| *sum += value);
    }
    sum.into_iter().map(|sum| sum / moments.len() as f64).collect()
}

fn leading(snapshot: &PlacementSnapshot, moments: &[Moment]) -> Vec<f64> {
    let mut sum = vec![0.0; snapshot.beliefs.len()];
    for moment in moments {
        let features = Features::of_slot(&snapshot.placement, &moment.context, 1);
        let (scores, comparable) = scores(snapshot, &features, moment.market.as_deref());
        if comparable.contains(&true) {
            let curves = snapshot.beliefs.iter().map(Belief::curve);
            let mut grid = ThompsonGrid::new(scores.into_iter().zip(curves));
            sum.iter_mut().zip(grid.pmf(&comparable)).for_each(|(sum, probability)| *sum += probability);
        }
    }
    sum.into_iter().map(|sum| sum / moments.len() as f64).collect()
}

/// Every arm's score in units of the objective, and whether it has one: an arm that is worth nothing in this market
/// cannot lead by value.
fn scores(
    snapshot: &PlacementSnapshot,
    features: &Features,
    market: Option<&str>,
) -> (Vec<ScoreDistribution>, Vec<bool>) {
    let score = |(belief, arm): (&Belief, &Arm)| {
        let price = objective::price(&arm.offer, market);
        let worth = objective::worth(&snapshot.catalog, &snapshot.placement, &arm.offer, price);
        let scale = objective::score_scale(&snapshot.placement, worth);
        let comparable = scale > 0.0;
        (belief.score(features).scaled_by(if comparable { scale } else { 1.0 }), comparable)
    };
    snapshot.beliefs.iter().zip(&snapshot.placement.arms).map(score).unzip()
}
