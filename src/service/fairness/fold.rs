//! One record of the log after the other, into a report.

use super::report::{CohortName, FairnessReport, GroupDivision};
use crate::{
    engine::{
        bounds::parity::Cohort,
        catalog::Placement,
        decide::Decision,
        fairness::{Slates, skew},
        group::Group,
        ledger::LedgerState,
    },
    log::record::{DecisionRecord, LedgerRecord},
    replay::support::groups::{Divided, p_value},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The fold.
pub(super) struct Fold {
    pub(super) report: FairnessReport,
    /// Metrics that count in favour of the placement's reward.
    pub(super) favourable: BTreeSet<Arc<str>>,
    pub(super) divided: Divided,
    slates: Slates<Arc<str>>,
    /// Leads with a price, by their decision's offset in the log that is read.
    open: BTreeMap<u64, Open>,
}

/// What is kept of a decision until its outcomes are read.
struct Open {
    cohorts: Vec<CohortName>,
    currency: &'static str,
    amount_minor: i64,
}

impl Fold {
    pub(super) fn new(report: FairnessReport, favourable: BTreeSet<Arc<str>>) -> Self {
        Self { report, favourable, divided: Divided::default(), slates: Slates::default(), open: BTreeMap::new() }
    }

    /// Outcomes stand in the log of their decision.
    pub(super) fn begin_log(&mut self) {
        self.open.clear();
    }

    /// Takes in a decision; `placement` is what it was made by, where that is known.
    pub(super) fn decision(
        &mut self,
        (offset, record): (u64, &DecisionRecord),
        placement: Option<&Placement>,
        names: &BTreeMap<Cohort, CohortName>,
    ) {
        if let (Some(identity), Some(placement)) = (&record.identity, placement) {
            self.divided.count(&placement.groups, &identity.unit_key, record.group);
        }
        let decision = &record.decision;
        let Some(lead) = record.bounded_slots().next().filter(|_| decision.root.is_none()) else { return };
        *self.report.groups.entry(record.group).or_default() += 1;
        if record.group != Group::Decisioning {
            return;
        }
        let unnamed = |cohort: &Cohort| (cohort.attribute.clone(), Arc::from(""));
        let name = |cohort: &Cohort| names.get(cohort).cloned().unwrap_or_else(|| unnamed(cohort));
        let cohorts: Vec<CohortName> = record.cohorts.iter().map(name).collect();
        self.report.take_bounds(record, &lead, &cohorts, placement);
        self.offers(decision);
        self.prices((offset, decision), cohorts);
        let shown = decision.slots.iter().map(|slot| decision.drawn(slot).offer_id.clone());
        self.slates.add(&shown.collect::<Vec<_>>());
    }

    fn offers(&mut self, decision: &Decision) {
        let lead = &decision.slots[0];
        for (index, arm) in lead.arms.iter().enumerate() {
            let eligible = &decision.arms[arm.arm];
            let offer = self.report.offers.entry(eligible.offer_id.clone()).or_default();
            offer.eligible += 1;
            offer.lead.add(arm.policy_probability, arm.probability);
            offer.drawn += u64::from(index == lead.drawn);
            offer.merit += eligible.expected_value();
        }
    }

    fn prices(&mut self, (offset, decision): (u64, &Decision), cohorts: Vec<CohortName>) {
        let price = decision.drawn(&decision.slots[0]).price;
        for cohort in &cohorts {
            let report = self.report.cohorts.entry(cohort.clone()).or_default();
            report.decisions += 1;
            if let Some(price) = price {
                let (count, sum) = report.offered.entry(price.price.currency.code()).or_default();
                (*count, *sum) = (*count + 1, *sum + price.price.amount_minor);
            }
        }
        if let (Some(price), false) = (price, cohorts.is_empty()) {
            let (currency, amount_minor) = (price.price.currency.code(), price.price.amount_minor);
            self.open.insert(offset, Open { cohorts, currency, amount_minor });
        }
    }

    /// A lead counts as paid for while a metric that counts in favour of the reward adds up to more than 0 on it.
    pub(super) fn ledger(&mut self, entry: &LedgerRecord) {
        let Some(open) = self.open.get(&entry.decision_offset) else { return };
        let is_paid = |state: &LedgerState| {
            let in_favour = |(metric, total): (&String, &f64)| *total > 0.0 && self.favourable.contains(&**metric);
            state.slots.first().is_some_and(|lead| lead.totals.iter().any(in_favour))
        };
        let change = i64::from(is_paid(&entry.after)) - i64::from(is_paid(&entry.before));
        for cohort in open.cohorts.iter().filter(|_| change != 0) {
            let paid = &mut self.report.cohorts.entry(cohort.clone()).or_default().paid;
            let (count, sum) = paid.entry(open.currency).or_default();
            *count = count.saturating_add_signed(change);
            *sum += change * open.amount_minor;
        }
    }

    pub(super) fn finish(self) -> FairnessReport {
        let Self { mut report, slates, divided, .. } = self;
        let leads: f64 = report.offers.values().map(|offer| offer.lead.before).sum();
        let wanted: BTreeMap<Arc<str>, f64> = report
            .offers
            .iter()
            .filter(|(_, offer)| offer.lead.before > 0.0)
            .map(|(id, offer)| (id.clone(), offer.lead.before / leads))
            .collect();
        report.ndkl = slates.ndkl(&wanted).unwrap_or(0.0);
        report.skews = (1..=slates.longest()).filter_map(|slots| skews(&slates.shares(slots), &wanted)).collect();
        for (id, attention) in slates.attention() {
            report.offers.entry(id).or_default().attention = attention;
        }
        let division = |groups: Vec<(Group, u64, f64)>| {
            let p_value = p_value(&groups.iter().map(|&(_, units, share)| (units, share)).collect());
            GroupDivision { groups, p_value }
        };
        report.divisions = divided.by_group().into_iter().map(division).collect();
        report
    }
}

/// The lowest and the highest skew of shares.
fn skews(shares: &BTreeMap<Arc<str>, f64>, wanted: &BTreeMap<Arc<str>, f64>) -> Option<[(Arc<str>, f64); 2]> {
    let skews = wanted.keys().filter_map(|id| Some((id.clone(), skew(shares, id, wanted)?)));
    let mut skews: Vec<(Arc<str>, f64)> = skews.collect();
    skews.sort_by(|one, other| one.1.total_cmp(&other.1));
    Some([skews.first()?.clone(), skews.last()?.clone()])
}
