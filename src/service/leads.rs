//! What leads come to, measured as they are learned from: how evenly a policy spreads them over offers, and whether as
//! many are drawn as logged probabilities promise.
//!
//! Whoever learns from a log reads every decision anyway, off the path of Rank, and one instance at a time learns from a
//! log: so each decision is counted once, however many instances answer.

use crate::{
    engine::{catalog::Placement, fairness::entropy, group::Group},
    log::outline::{DecisionOutline, LogOutline},
    meters,
};
use metrics::{Counter, Histogram};
use std::{collections::BTreeMap, sync::Arc};

/// What one placement's leads are counted by.
#[derive(Debug)]
pub struct LeadMeters {
    entropy: Histogram,
    /// Of each offer: leads drawn, and millionths of leads expected.
    offers: BTreeMap<Arc<str>, (Counter, Counter)>,
}

impl LeadMeters {
    /// The meters of a placement; the same wherever they are asked for.
    #[must_use]
    pub fn of(placement: &Placement) -> Self {
        let counters = |offer: &Arc<str>| {
            let labels = [&*placement.id, offer];
            (meters::LEADS.counter(&labels), meters::LEADS_EXPECTED.counter(&labels))
        };
        let offers = placement.arms.iter().map(|arm| (arm.offer.id.clone(), counters(&arm.offer.id)));
        Self { entropy: meters::LEAD_ENTROPY.histogram(&[&placement.id]), offers: offers.collect() }
    }

    /// Counts the decisions among records that were just learned from. Nothing is drawn for the holdout, nor where a
    /// lease is repeated.
    pub fn observe(&self, records: &[LogOutline]) {
        let decisions = records.iter().filter_map(|record| match record {
            LogOutline::Decision(decision) => Some(decision),
            LogOutline::Ledger(_) => None,
        });
        decisions.filter(|decision| decision.group != Group::Holdout).for_each(|decision| self.count(decision));
    }

    fn count(&self, decision: &DecisionOutline) {
        let Some(lead) = decision.offers.first() else { return };
        if decision.group == Group::Decisioning {
            self.entropy.record(entropy(decision.lead.iter().map(|(_, probability)| *probability)));
        }
        for (offer_id, probability) in &decision.lead {
            let Some((drawn, expected)) = self.offers.get(offer_id) else { continue };
            // Roundings to millionths go either way, and are lost in what chance does to the count.
            expected.increment((probability * 1e6).round() as u64);
            drawn.increment(u64::from(offer_id == lead));
        }
    }
}
