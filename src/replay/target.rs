//! What a candidate policy would have drawn a logged decision's lead from, and the row that this makes.
//!
//! The engine that serves says so, by the candidate's catalog: who is eligible, scores, PMF, bounds. Nothing is drawn, so
//! the probabilities are exact. A row does not look at the rest of the slate: what it estimates is what the candidate's
//! lead would earn above the logging policy's rest.

use super::{
    day,
    models::{Example, Kind, ModelError, cross_fit},
    row::{Outcome, Prediction, Row},
    slates::drawn::DrawnSlate,
};
use crate::{
    engine::{
        beliefs::Beliefs, context::AttributeValue, decide::RankRequest, group::Group, odds::Odds,
        snapshot::PlacementSnapshot, user::UserState,
    },
    log::{identity::Identity, record::DecisionRecord},
};
use std::{collections::BTreeMap, sync::Arc};

/// Offers by the number that rows have them under, in the order in which they first came.
#[derive(Clone, Debug, Default)]
pub struct Arms(BTreeMap<Arc<str>, usize>);

/// A row with the distributions that it was drawn from and would have been, by number of arm.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The row.
    pub row: Row,
    /// Of the logging policy; 0 for arms that could not be drawn.
    pub logged: Vec<f64>,
    /// Of the candidate.
    pub target: Vec<f64>,
    /// What the candidate knew: the decision's attributes, encoded by its schema.
    pub features: Vec<f64>,
    /// The whole slate, where that is asked for.
    pub slate: Option<Box<DrawnSlate>>,
}

impl Drawn {
    /// What a model learns from it; `None` where the reward is not known.
    fn example(&self) -> Option<Example<'_>> {
        let Self { row, features, .. } = self;
        row.reward().map(|reward| Example { cluster: row.cluster, arm: row.arm, features, reward })
    }
}

impl Arms {
    pub(super) fn number(&mut self, offer_id: &Arc<str>) -> usize {
        let next = self.0.len();
        *self.0.entry(offer_id.clone()).or_insert(next)
    }
}

/// The candidate where this decision was made, before its draws. `attributes` are those of the decision by the candidate's
/// schema. It decides for everybody itself, whatever group the unit was in, and no lease stands for it.
#[must_use]
pub fn odds<'a>(
    candidate: &'a PlacementSnapshot,
    (record, identity): (&DecisionRecord, &Identity),
    attributes: Vec<AttributeValue>,
) -> Odds<'a, PlacementSnapshot> {
    let known = |market: &&Arc<str>| candidate.catalog.markets.contains_key(&***market);
    let request = RankRequest {
        market: record.market.as_ref().filter(known).cloned(),
        platform: record.platform.clone(),
        attributes,
        candidates: record.candidates.clone(),
        slots: record.slots_requested,
        include_tail: false,
    };
    let user = UserState { group: Group::Decisioning, ..identity.user.clone() };
    Odds::of((&candidate.catalog, &candidate.placement, candidate), &request, &user, record.decided_at)
}

/// The row of a decision's lead slot; `None` where nothing was drawn. `earned` is each slot's reward.
#[must_use]
pub fn row(
    (record, identity): (&DecisionRecord, &Identity),
    candidate: &Odds<'_, impl Beliefs>,
    earned: &[f64],
    arms: &mut Arms,
) -> Option<Drawn> {
    let decision = &record.decision;
    let lead = decision.slots.first()?;
    let target: Vec<(&Arc<str>, f64)> =
        candidate.arms().iter().map(|arm| &arm.offer_id).zip(candidate.below(&[])).collect();
    let mut numbered: Vec<(usize, f64, f64)> = Vec::with_capacity(lead.arms.len());
    for arm in &lead.arms {
        let offer_id = &decision.arms[arm.arm].offer_id;
        let wanted = target.iter().find(|(id, _)| *id == offer_id).map_or(0.0, |(_, probability)| *probability);
        numbered.push((arms.number(offer_id), arm.probability, wanted));
    }
    let possible =
        |id: &Arc<str>| lead.arms.iter().any(|arm| arm.probability > 0.0 && decision.arms[arm.arm].offer_id == *id);
    let unsupported = target.iter().filter(|(id, _)| !possible(id)).map(|(_, probability)| probability).sum();
    let weights = numbered.iter().filter(|(_, logged, _)| *logged > 0.0).map(|(_, logged, target)| target / logged);
    let weight_max = weights.fold(0.0, f64::max);
    let (arm, propensity, wanted) = numbered[lead.drawn];
    let mut logged = vec![0.0; arms.0.len()];
    numbered.iter().for_each(|&(arm, probability, _)| logged[arm] = probability);
    let mut by_number = vec![0.0; arms.0.len()];
    for (id, probability) in target {
        let arm = arms.number(id);
        by_number.resize(by_number.len().max(arm + 1), 0.0);
        by_number[arm] = probability;
    }
    let row = Row {
        cluster: identity.cluster(),
        day: day::of(record.decided_at),
        arm,
        position: 0,
        propensity,
        target: wanted,
        unsupported,
        weight_max,
        outcome: Outcome::Reward(earned.first().copied().unwrap_or(0.0)),
        model: None,
    };
    Some(Drawn { row, logged, target: by_number, features: candidate.context().to_vec(), slate: None })
}

/// How many clusters of rows are learned from apart, so that what is said of a row comes from others.
pub(super) const FOLDS: u64 = 5;

/// Gives every row a reward model's word, fitted on the rows of other users.
///
/// # Errors
/// Where there are too few users, or rewards are not of the kind.
pub fn fit(kind: Kind, drawn: &mut [Drawn]) -> Result<(), ModelError> {
    let arms = drawn.iter().map(|drawn| drawn.target.len().max(drawn.logged.len())).max().unwrap_or(0);
    let examples: Vec<Example<'_>> = drawn.iter().filter_map(Drawn::example).collect();
    let fitted = cross_fit(kind, &examples, arms, FOLDS)?;
    for Drawn { row, target, features, .. } in drawn {
        let said = |arm| fitted.predict(row.cluster, features, arm);
        let of_target = target.iter().enumerate().map(|(arm, probability)| probability * said(arm)).sum();
        row.model = Some(Prediction { logged: said(row.arm), target: of_target });
    }
    Ok(())
}
