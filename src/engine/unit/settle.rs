//! What reports on a decision change of what is kept of its unit.
//!
//! It follows from all that was reported on the decision, not from the last report: the same again, or in another order,
//! comes to the same.

use super::{
    rules::UnitRules,
    state::{DecisionBytes, Offering, UnitState},
};
use crate::engine::{instant::Instant, ledger::Ledger};

impl UnitState {
    /// Brings the state in line with the ledger of one of the unit's decisions.
    ///
    /// Once a client has said what was shown, only that counts under the caps. What was refused cools down from the
    /// latest refusal. The decision's lease ends when it was taken, and stands again where that was taken back.
    pub fn settle(&mut self, rules: &UnitRules, decision: DecisionBytes, ledger: &Ledger, now: Instant) {
        if ledger.exposed.is_some() {
            let shown = ledger.state().slots.into_iter().filter(|slot| slot.shown).map(|slot| slot.offer_id);
            let offers = shown.filter(|id| rules.is_capped(id)).collect();
            let offering = Offering { at: ledger.windows.decided_at, offers };
            if offering.offers.is_empty() {
                self.offered.remove(&decision);
            } else {
                self.offered.insert(decision, offering);
            }
        }
        for cool_down in &rules.cool_downs {
            for (slot, offer_id) in (1..).zip(&ledger.offers).filter(|(_, id)| cool_down.covers(id)) {
                let key = (cool_down.metric.clone(), offer_id.clone(), decision);
                match ledger.latest(&cool_down.metric, slot) {
                    Some(at) => drop(self.refusals.insert(key, at)),
                    None => drop(self.refusals.remove(&key)),
                }
            }
        }
        if let (Some(lease), Some(rule)) = (&mut self.lease, &rules.lease)
            && lease.root == decision
        {
            let slots = 1..=ledger.offers.len() as u32;
            lease.ended =
                rule.ends_on.iter().any(|metric| slots.clone().any(|slot| ledger.latest(metric, slot).is_some()));
        }
        self.prune(rules, now);
    }
}

impl Ledger {
    /// When an outcome of this metric on a slot, from 1, last occurred; `None` where its total is not above 0. What was
    /// reported on the decision as a whole belongs to its first slot.
    #[must_use]
    pub fn latest(&self, metric: &str, slot: u32) -> Option<Instant> {
        let of_slot = |outcome_slot: Option<u32>| outcome_slot.unwrap_or(1) == slot;
        let mut total = 0.0;
        let mut latest = None;
        for outcome in self.effective_outcomes().filter(|outcome| outcome.metric == metric && of_slot(outcome.slot)) {
            total += outcome.value;
            if outcome.value > 0.0 {
                latest = latest.max(Some(outcome.occurred_at));
            }
        }
        latest.filter(|_| total > 0.0)
    }
}
