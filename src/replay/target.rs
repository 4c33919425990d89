//! What a candidate policy would have drawn a logged decision's lead from, and the row that this makes.
//!
//! The engine that serves says so, by the candidate's catalog: who is eligible, scores, PMF, bounds. Nothing is drawn, so
//! the probabilities are exact. The rest of the slate is not looked at: what is estimated is what the candidate's lead
//! would earn above the logging policy's rest.

use super::row::{Outcome, Row};
use crate::{
    engine::{
        context::AttributeValue,
        decide::{RankRequest, SlotDraw, decide},
        snapshot::PlacementSnapshot,
        user::UserState,
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
}

impl Arms {
    fn number(&mut self, offer_id: &Arc<str>) -> usize {
        let next = self.0.len();
        *self.0.entry(offer_id.clone()).or_insert(next)
    }
}

/// What the candidate would have drawn the lead from where this decision was made; empty where it had nothing to show.
/// `attributes` are those of the decision by the candidate's schema.
#[must_use]
pub fn lead_probabilities(
    candidate: &PlacementSnapshot,
    (record, identity): (&DecisionRecord, &Identity),
    attributes: Vec<AttributeValue>,
) -> Vec<(Arc<str>, f64)> {
    let known = |market: &&Arc<str>| candidate.catalog.markets.contains_key(&***market);
    let request = RankRequest {
        market: record.market.as_ref().filter(known).cloned(),
        platform: record.platform.clone(),
        attributes,
        candidates: record.candidates.clone(),
        slots: 1,
        include_tail: false,
    };
    // A lease that was not answered again does not stand for the candidate either.
    let mut user: UserState = identity.user.clone();
    user.unit.state.lease = None;
    // Probabilities come before the draw: the seed does not touch them.
    let decision = decide(candidate, &request, &user, record.decided_at, 0);
    let probability = |slot: &SlotDraw| -> Vec<_> {
        slot.arms.iter().map(|arm| (decision.arms[arm.arm].offer_id.clone(), arm.probability)).collect()
    };
    decision.slots.first().map(probability).unwrap_or_default()
}

/// The row of a decision's lead slot; `None` where nothing was drawn. `reward` is what it earned.
#[must_use]
pub fn row(
    (record, identity): (&DecisionRecord, &Identity),
    (target, reward): (&[(Arc<str>, f64)], f64),
    (arms, group): (&mut Arms, u32),
) -> Option<Drawn> {
    const MS_PER_DAY: i64 = 24 * 60 * 60 * 1000;
    let decision = &record.decision;
    let lead = decision.slots.first()?;
    let mut numbered: Vec<(usize, f64, f64)> = Vec::with_capacity(lead.arms.len());
    for arm in &lead.arms {
        let offer_id = &decision.arms[arm.arm].offer_id;
        let wanted = target.iter().find(|(id, _)| id == offer_id).map_or(0.0, |(_, probability)| *probability);
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
        by_number[arm] = *probability;
    }
    let [a, b, c, d, e, f, g, h, ..] = identity.user_key;
    let row = Row {
        cluster: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        day: u32::try_from(record.decided_at.as_ms().div_euclid(MS_PER_DAY)).ok(),
        group,
        arm,
        position: 0,
        propensity,
        target: wanted,
        unsupported,
        weight_max,
        outcome: Outcome::Reward(reward),
        model: None,
    };
    Some(Drawn { row, logged, target: by_number })
}
