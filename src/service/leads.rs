//! What leads come to, measured as they are learned from: how evenly a policy spreads them over offers, and whether as
//! many are drawn as logged probabilities promise.
//!
//! Whoever learns from a log reads every decision anyway, off the path of Rank, and one instance at a time learns from a
//! log: so each decision is counted once, however many instances answer.

use crate::{
    engine::{catalog::Placement, fairness::entropy, group::Group},
    log::outline::{Lead, LogOutline},
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
        let mut tally = Tally::default();
        for record in records {
            let LogOutline::Decision(decision) = record else { continue };
            let (Some(drawn), Group::Decisioning | Group::Uniform) = (decision.offers.first(), decision.group) else {
                continue;
            };
            if decision.group == Group::Decisioning {
                self.entropy.record(entropy(decision.lead.probabilities.iter().copied()));
            }
            if !Arc::ptr_eq(&tally.offers, &decision.lead.offers) {
                self.add(&tally);
                tally = Tally::among(&decision.lead.offers);
            }
            tally.count(&decision.lead, drawn);
        }
        self.add(&tally);
    }

    fn add(&self, tally: &Tally) {
        for (offer_id, (times, probability)) in tally.offers.iter().zip(&tally.leads) {
            let Some((drawn, expected)) = self.offers.get(offer_id) else { continue };
            // Roundings to millionths go either way, and are lost in what chance does to the count.
            expected.increment((probability * 1e6).round() as u64);
            drawn.increment(*times);
        }
    }
}

/// Leads drawn from the same offers.
#[derive(Default)]
struct Tally {
    offers: Arc<[Arc<str>]>,
    /// Of each offer: how often it was drawn, and how often it was expected to be.
    leads: Vec<(u64, f64)>,
}

impl Tally {
    fn among(offers: &Arc<[Arc<str>]>) -> Self {
        Self { offers: offers.clone(), leads: vec![(0, 0.0); offers.len()] }
    }

    fn count(&mut self, lead: &Lead, drawn: &Arc<str>) {
        for ((times, expected), (offer_id, probability)) in
            self.leads.iter_mut().zip(lead.offers.iter().zip(&lead.probabilities))
        {
            *times += u64::from(offer_id == drawn);
            *expected += probability;
        }
    }
}
