//! What deciding reads: a catalog and everything believed about its arms, immutable once built.

use super::{
    bounds::BandInForce,
    catalog::{Catalog, PersonalisedPricing, Placement, PosteriorKind},
    learn::{PartitionStatistics, pooled_moments},
    math::cholesky::NotPositiveDefinite,
    pmf::{curve::ScoreCurve, distribution::ScoreDistribution},
    posterior::{
        beta::BetaPosterior,
        linear::{FeatureTerms, LinearPosterior},
        linear_arms::LinearArms,
    },
};
use std::sync::Arc;

/// A placement with what is believed of its arms.
#[derive(Clone, Debug)]
pub struct PlacementSnapshot {
    /// The catalog that it belongs to.
    pub catalog: Arc<Catalog>,
    /// Number of that catalog's revision.
    pub catalog_revision: u64,
    /// The placement.
    pub placement: Arc<Placement>,
    /// The learned state behind `beliefs`.
    pub version: PosteriorVersion,
    /// One for each arm, in the placement's order.
    pub beliefs: Vec<Belief>,
    /// How the placement's bands act, in their order.
    pub bands: Vec<BandInForce>,
    /// The linear ones of them once more, laid out for scoring.
    linear: LinearArms,
}

/// Identifies learned state exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PosteriorVersion {
    /// What the posterior belongs to.
    pub model_id: Arc<str>,
    /// How many records of each partition's log are folded in, by partition.
    pub offsets: Vec<u64>,
}

/// What is believed of one arm.
#[derive(Clone, Debug)]
pub struct Belief {
    /// The posterior of its reward, in units of the reward's `unit`.
    pub posterior: Posterior,
    curve: ScoreCurve,
}

/// A posterior of either family.
#[derive(Clone, Debug)]
pub enum Posterior {
    /// Context-free.
    Beta(BetaPosterior),
    /// Linear in the features.
    Linear(Box<LinearPosterior>),
}

/// Encoded features, prepared for scoring many arms.
#[derive(Clone, Debug)]
pub struct Features {
    values: Vec<f64>,
    terms: FeatureTerms,
}

impl PlacementSnapshot {
    /// Builds the beliefs of a placement from the statistics of its partitions, in partition order.
    ///
    /// # Errors
    /// Where statistics cannot be a posterior's, such as a matrix that is not positive definite; the caller keeps
    /// what it served before.
    pub fn build(
        (catalog, catalog_revision): (Arc<Catalog>, u64),
        placement: Arc<Placement>,
        version: PosteriorVersion,
        partitions: &[PartitionStatistics],
    ) -> Result<Self, NotPositiveDefinite> {
        let mut beliefs = Vec::with_capacity(placement.arms.len());
        for arm in &placement.arms {
            let moments = pooled_moments(&placement, partitions, &arm.offer.id);
            beliefs.push(match &placement.policy.posterior {
                PosteriorKind::Beta => Belief::beta(BetaPosterior::derive(arm.beta_prior, &moments)),
                PosteriorKind::Linear(prior) => Belief::linear(LinearPosterior::derive::<f64>(*prior, &moments)?),
            });
        }
        let linear = beliefs.iter().filter_map(|belief| match &belief.posterior {
            Posterior::Beta(_) => None,
            Posterior::Linear(posterior) => Some(&**posterior),
        });
        let linear = LinearArms::new(&linear.collect::<Vec<_>>());
        let bands = placement.bounds.bands.iter().map(|band| band.in_force(partitions)).collect();
        Ok(Self { catalog, catalog_revision, placement, version, beliefs, bands, linear })
    }

    /// The distributions of some arms' mean rewards for these features, in units of the reward's `unit`; `arms` are
    /// indices, ascending.
    #[must_use]
    pub fn scores_for(&self, features: &Features, arms: &[usize]) -> Vec<ScoreDistribution> {
        match self.placement.policy.posterior {
            PosteriorKind::Beta => arms.iter().map(|&arm| self.beliefs[arm].score(features)).collect(),
            PosteriorKind::Linear(_) => self.linear.scores(&features.terms, arms),
        }
    }

    /// Whether the market's law wants users to be told that prices depend on what is known of them.
    #[must_use]
    pub fn must_disclose(&self, market: Option<&str>) -> bool {
        let market = market.and_then(|market| self.catalog.markets.get(market));
        market.is_some_and(|market| market.personalised_pricing == PersonalisedPricing::Disclose)
    }
}

impl Belief {
    fn beta(posterior: BetaPosterior) -> Self {
        let BetaPosterior { alpha, beta } = posterior;
        let curve = ScoreCurve::of(&ScoreDistribution::Beta { alpha, beta, scale: 1.0 });
        Self { posterior: Posterior::Beta(posterior), curve }
    }

    fn linear(posterior: LinearPosterior) -> Self {
        let degrees_of_freedom = posterior.degrees_of_freedom();
        let curve = ScoreCurve::of(&ScoreDistribution::StudentT { degrees_of_freedom, location: 0.0, scale: 1.0 });
        Self { posterior: Posterior::Linear(Box::new(posterior)), curve }
    }

    /// The distribution of the arm's mean reward for these features, in units of the reward's `unit`.
    #[must_use]
    pub fn score(&self, features: &Features) -> ScoreDistribution {
        match &self.posterior {
            &Posterior::Beta(BetaPosterior { alpha, beta }) => ScoreDistribution::Beta { alpha, beta, scale: 1.0 },
            Posterior::Linear(posterior) => posterior.score_with(&features.terms),
        }
    }

    /// The shape of the arm's scores, prepared for fast evaluation.
    #[must_use]
    pub fn curve(&self) -> &ScoreCurve {
        &self.curve
    }
}

impl Features {
    /// Prepares an encoded vector.
    #[must_use]
    pub fn new(values: Vec<f64>) -> Self {
        Self { terms: FeatureTerms::new(&values), values }
    }

    /// The features of a slot, from 1: the context's, and where every slot is learned from, which slot it is.
    #[must_use]
    pub fn of_slot(placement: &Placement, context: &[f64], slot: u32) -> Self {
        let mut values = Vec::with_capacity(context.len() + placement.slot_feature_count());
        values.extend_from_slice(context);
        let slots = 2..2 + placement.slot_feature_count() as u32;
        values.extend(slots.map(|other| f64::from(u8::from(slot == other))));
        Self::new(values)
    }

    /// The encoded vector.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}
