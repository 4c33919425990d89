//! A logged decision's slate, with what both policies would have drawn it from.
//!
//! Slot by slot the candidate is asked what it would have drawn below what was drawn. What stands in a slot whatever is in
//! the others is summed up over all slates that there could have been; where those are too many, it is not told. Nothing
//! stands in a slot where the slate had ended.

use super::{Slate, possible::Possible, pseudo_inverse, untold::Untold};
use crate::{
    engine::{beliefs::Beliefs, decide::Decision, odds::Odds},
    log::{identity::Identity, record::DecisionRecord},
    replay::target::Arms,
};
use std::sync::Arc;

/// A slate, and what its slots were and would have been drawn from.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnSlate {
    /// The slate; its rewards are not modelled yet.
    pub slate: Slate,
    /// By slot.
    pub choices: Vec<Choice>,
}

/// One slot of a slate; arms by number.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What it showed; `None`: nothing, because the slate had ended.
    pub arm: Option<usize>,
    /// What the candidate would have shown there below what was shown, with probabilities above 0: nothing where its
    /// slate had ended. `None`: it could not have come there.
    pub target: Option<Vec<(usize, f64)>>,
}

/// The slate of a decision; `earned` is each slot's reward, and slots without one earned nothing. `logged` are the odds
/// it was drawn by, where a record tells them whatever stands above.
#[must_use]
pub fn slate(
    (record, identity): (&DecisionRecord, &Identity),
    earned: &[f64],
    logged: Result<&Odds<'_, impl Beliefs>, Untold>,
    candidate: &Odds<'_, impl Beliefs>,
    arms: &mut Arms,
) -> DrawnSlate {
    let slots = record.slots_requested as usize;
    let below = below(&record.decision, candidate, slots);
    let cascade = cascade(&record.decision, candidate, &below);
    let (marginal, pseudo_inverse) = match weights(&record.decision, logged, candidate, slots) {
        Ok((marginal, pseudo_inverse)) => (Ok(marginal), Ok(pseudo_inverse)),
        Err(untold) => (Err(untold), Err(untold)),
    };
    let slate = Slate {
        cluster: identity.cluster(),
        rewards: (0..slots).map(|slot| earned.get(slot).copied().unwrap_or(0.0)).collect(),
        joint: cascade.last().copied().unwrap_or(1.0),
        marginal,
        cascade: Ok(cascade),
        pseudo_inverse,
        model: Err(Untold::NoModel),
    };
    let choice = |(slot, below): (usize, Option<Vec<f64>>)| Choice {
        arm: drawn(&record.decision, slot).map(|offer_id| arms.number(offer_id)),
        target: below.map(|below| {
            let possible = candidate.arms().iter().zip(below).filter(|(_, probability)| *probability > 0.0);
            possible.map(|(arm, probability)| (arms.number(&arm.offer_id), probability)).collect()
        }),
    };
    DrawnSlate { slate, choices: below.into_iter().enumerate().map(choice).collect() }
}

/// What a slot showed.
fn drawn(decision: &Decision, slot: usize) -> Option<&Arc<str>> {
    decision.slots.get(slot).map(|slot| &decision.drawn(slot).offer_id)
}

fn place(odds: &Odds<'_, impl Beliefs>, offer_id: &Arc<str>) -> Option<usize> {
    odds.arms().binary_search_by(|arm| arm.offer_id.cmp(offer_id)).ok()
}

/// What the candidate draws each slot from below what was drawn; `None` below what it cannot show at all.
fn below(decision: &Decision, candidate: &Odds<'_, impl Beliefs>, slots: usize) -> Vec<Option<Vec<f64>>> {
    let mut above = Some(Vec::new());
    let mut distributions = Vec::with_capacity(slots);
    for slot in 0..slots {
        distributions.push(above.as_deref().map(|above| candidate.below(above)));
        if let Some(offer_id) = drawn(decision, slot) {
            above = above.zip(place(candidate, offer_id)).map(|(mut above, arm)| {
                above.push(arm);
                above
            });
        }
    }
    distributions
}

/// How much likelier the candidate shows the slots from the first to each one.
fn cascade(decision: &Decision, candidate: &Odds<'_, impl Beliefs>, below: &[Option<Vec<f64>>]) -> Vec<f64> {
    let ratio = |(slot, below): (usize, &Option<Vec<f64>>)| {
        let Some(below) = below else { return 0.0 };
        // The log shows nothing below what it drew, for sure.
        let Some(draw) = decision.slots.get(slot) else { return f64::from(u8::from(below.is_empty())) };
        let arm = place(candidate, &decision.drawn(draw).offer_id);
        arm.and_then(|arm| below.get(arm)).map_or(0.0, |probability| probability / draw.propensity())
    };
    let ratios = below.iter().enumerate().map(ratio);
    ratios
        .scan(1.0, |weight, ratio| {
            *weight *= ratio;
            Some(*weight)
        })
        .collect()
}

/// Each slot's own weight, and the pseudo-inverse's.
fn weights(
    decision: &Decision,
    logged: Result<&Odds<'_, impl Beliefs>, Untold>,
    candidate: &Odds<'_, impl Beliefs>,
    slots: usize,
) -> Result<(Vec<f64>, f64), Untold> {
    let odds = logged?;
    let (logging, target) = (Possible::of(odds, slots)?, Possible::of(candidate, slots)?);
    // Of the logging policy's items.
    let mut wanted = vec![0.0; logging.items()];
    for (arm, place) in odds.arms().iter().enumerate().map(|(arm, logged)| (arm, place(candidate, &logged.offer_id))) {
        let Some(place) = place else { continue };
        (0..slots).for_each(|slot| wanted[logging.item(slot, arm)] = target.alone(target.item(slot, place)));
    }
    let (mut marginal, mut items) = (Vec::with_capacity(slots), Vec::with_capacity(slots));
    for slot in 0..slots {
        let (wanted, possible) = match drawn(decision, slot) {
            None => (target.nothing(slot), logging.nothing(slot)),
            Some(offer_id) => {
                let item = logging.item(slot, place(odds, offer_id).ok_or(Untold::Differs)?);
                items.push(item);
                (wanted[item], logging.alone(item))
            }
        };
        if possible <= 0.0 {
            return Err(Untold::Differs);
        }
        marginal.push(wanted / possible);
    }
    Ok((marginal, pseudo_inverse::weight(&logging, &wanted, &items)))
}
