//! What bounds, bands and groups came to at a placement, as its log tells.

use super::{Result, Service, ServiceError, log_source::LogSource as _, validate};
use crate::{
    engine::{
        bounds::parity::Cohort,
        decide::{Decision, SlotDraw},
        fairness::{exposure, ndkl, shares, skew},
        group::Group,
        instant::Instant,
    },
    log::{
        decision_id::DecisionId,
        record::{DecisionRecord, LedgerRecord, LogRecord},
    },
    store::LogId,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What the log of a placement tells of fairness. Repeats of leases are no decisions of their own, and left out.
#[derive(Clone, Debug, Default)]
pub struct FairnessReport {
    /// Decisions by group.
    pub groups: BTreeMap<Group, u64>,
    /// Decisions of the policy whose lead had to give something up.
    pub relaxed: u64,
    /// Sets and bands by id.
    pub benefits: BTreeMap<Arc<str>, Benefit>,
    /// By protected attribute and value; without a value: those of whom none was said.
    pub cohorts: BTreeMap<(Arc<str>, Arc<str>), CohortReport>,
    /// By offer id.
    pub offers: BTreeMap<Arc<str>, OfferReport>,
    /// Expected value of leads in major units of the reward currency, on average: by the policy, and after bounds.
    pub value: Averages,
    /// NDKL of slates from the shares that the policy's leads have, averaged over slates.
    pub ndkl: f64,
    /// The lowest and the highest skew of the first slots from the same shares: of the lead alone, of two slots, and so on.
    pub skews: Vec<[(Arc<str>, f64); 2]>,
}

/// Sums of what was before bounds and after.
#[derive(Clone, Copy, Debug, Default)]
pub struct Averages {
    /// Terms.
    pub count: u64,
    /// Sum before bounds.
    pub before: f64,
    /// Sum after them.
    pub after: f64,
}

/// What one set or band came to in leads of the policy.
#[derive(Clone, Debug, Default)]
pub struct Benefit {
    /// Totals of its arms.
    pub totals: Averages,
    /// Leads that drew one of its arms.
    pub drawn: u64,
    /// Decisions that gave it up.
    pub relaxed: u64,
    /// Decisions in which it moved the total by more than rounding.
    pub moved: u64,
    /// The same by cohort: totals, and leads that drew one of its arms.
    pub cohorts: BTreeMap<(Arc<str>, Arc<str>), (Averages, u64)>,
}

/// What one cohort was offered and paid, by currency: prices of leads in minor units.
#[derive(Clone, Debug, Default)]
pub struct CohortReport {
    /// Decisions of the policy.
    pub decisions: u64,
    /// Leads with a price, and the sum of those prices.
    pub offered: BTreeMap<&'static str, (u64, i64)>,
    /// The same of leads that were taken: with a positive total of a metric that counts in favour of the reward.
    pub paid: BTreeMap<&'static str, (u64, i64)>,
}

/// How often one offer led, and how good it is.
#[derive(Clone, Debug, Default)]
pub struct OfferReport {
    /// Decisions of the policy in which it was eligible.
    pub eligible: u64,
    /// Sum of its probabilities to lead: before bounds and after.
    pub lead: Averages,
    /// Leads it took.
    pub drawn: u64,
    /// Its share of all attention that slates gave, from 0 to 1.
    pub attention: f64,
    /// Sum of its expected values, in major units of the reward currency.
    pub merit: f64,
}

/// What is kept of a decision until its outcomes are read.
struct Open {
    cohorts: Vec<(Arc<str>, Arc<str>)>,
    currency: &'static str,
    amount_minor: i64,
}

/// The fold.
struct Fold<'a> {
    report: FairnessReport,
    /// Names of cohorts by what logs call them.
    names: &'a BTreeMap<Cohort, (Arc<str>, Arc<str>)>,
    since: Instant,
    /// Metrics that count in favour of the placement's reward.
    favourable: BTreeSet<Arc<str>>,
    open: BTreeMap<DecisionId, Open>,
    slates: Vec<Vec<Arc<str>>>,
}

impl Service {
    /// Folds the log of a placement, from `since` on.
    ///
    /// # Errors
    /// Where there is no such placement, and where the store is away.
    pub async fn fairness(&self, placement: &str, since: Instant) -> Result<FairnessReport> {
        if let Some(violation) = validate::placement_id(placement) {
            return Err(ServiceError::Invalid { violations: vec![violation] });
        }
        let served = self.serving().placement(placement)?.clone();
        let number = served.log(0).placement;
        let declared = &served.snapshot.placement;
        let values = declared
            .protected
            .iter()
            .flat_map(|attribute| attribute.values.iter().map(move |value| (attribute.name.clone(), value.clone())));
        let names = values
            .map(|(attribute, value)| {
                let value_key = self.pseudonyms.cohort(placement, &attribute, &value);
                (Cohort { attribute: attribute.clone(), value_key }, (attribute, value))
            })
            .collect();
        let report = FairnessReport::default();
        let favourable = declared.reward.terms.iter().filter(|term| term.weight > 0.0);
        let favourable = favourable.map(|term| term.metric.clone()).collect();
        let mut fold = Fold { report, names: &names, since, favourable, open: BTreeMap::new(), slates: Vec::new() };
        let ends = self.store.log_ends().await?;
        for (log, end) in ends.into_iter().filter(|(log, _)| log.placement == number) {
            self.fold_log(log, end, &mut fold).await?;
        }
        Ok(fold.finish())
    }

    async fn fold_log(&self, log: LogId, end: u64, fold: &mut Fold<'_>) -> Result<()> {
        let mut offset = 0;
        while offset < end {
            let records = self.store.read_before(log, offset, end).await?;
            offset += records.len() as u64;
            for bytes in &records {
                match LogRecord::decode(bytes)? {
                    LogRecord::Decision(record) => fold.decision(&record),
                    LogRecord::Ledger(entry) => fold.ledger(&entry),
                }
            }
            // A long log leaves room for others between its batches.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

impl Fold<'_> {
    fn decision(&mut self, record: &DecisionRecord) {
        let decision = &record.decision;
        let Some(lead) = decision.slots.first().filter(|_| decision.root.is_none() && record.decided_at >= self.since)
        else {
            return;
        };
        *self.report.groups.entry(record.group).or_default() += 1;
        if record.group != Group::Decisioning {
            return;
        }
        let unsaid = || Arc::<str>::from("");
        let cohorts: Vec<(Arc<str>, Arc<str>)> = record
            .cohorts
            .iter()
            .map(|cohort| self.names.get(cohort).cloned().unwrap_or_else(|| (cohort.attribute.clone(), unsaid())))
            .collect();
        self.report.relaxed += u64::from(!lead.relaxed.is_nothing());
        self.benefits(record, lead, &cohorts);
        self.offers(decision, lead);
        self.prices(record, lead, cohorts);
        let shown = decision.slots.iter().map(|slot| decision.drawn(slot).offer_id.clone());
        self.slates.push(shown.collect());
    }

    fn benefits(&mut self, record: &DecisionRecord, lead: &SlotDraw, cohorts: &[(Arc<str>, Arc<str>)]) {
        let decision = &record.decision;
        let totals = record.totals.len();
        let sets = record.totals.iter().enumerate().map(|(set, total)| (set, &total.id, None));
        let bands = decision.bands.iter().map(|effect| (totals + effect.index, &effect.id, Some(effect.before)));
        for (set, id, before) in sets.chain(bands) {
            let after = decision.total(lead, set, |arm| arm.probability);
            let before = before.unwrap_or_else(|| decision.total(lead, set, |arm| arm.policy_probability));
            let drawn = decision.drawn(lead).sets >> set & 1 == 1;
            let benefit = self.report.benefits.entry(id.clone()).or_default();
            benefit.totals.add(before, after);
            benefit.drawn += u64::from(drawn);
            benefit.relaxed += lead.relaxed.sets >> set & 1;
            benefit.moved += u64::from((before - after).abs() > 1e-9);
            for cohort in cohorts {
                let (averages, count) = benefit.cohorts.entry(cohort.clone()).or_default();
                averages.add(before, after);
                *count += u64::from(drawn);
            }
        }
    }

    fn offers(&mut self, decision: &Decision, lead: &SlotDraw) {
        let (mut by_policy, mut after) = (0.0, 0.0);
        for (index, arm) in lead.arms.iter().enumerate() {
            let eligible = &decision.arms[arm.arm];
            let value = eligible.expected_value();
            by_policy += arm.policy_probability * value;
            after += arm.probability * value;
            let offer = self.report.offers.entry(eligible.offer_id.clone()).or_default();
            offer.eligible += 1;
            offer.lead.add(arm.policy_probability, arm.probability);
            offer.drawn += u64::from(index == lead.drawn);
            offer.merit += value;
        }
        self.report.value.add(by_policy, after);
    }

    fn prices(&mut self, record: &DecisionRecord, lead: &SlotDraw, cohorts: Vec<(Arc<str>, Arc<str>)>) {
        let price = record.decision.drawn(lead).price;
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
            self.open.insert(record.id, Open { cohorts, currency, amount_minor });
        }
    }

    /// A lead counts as paid for while a metric that counts in favour of the reward adds up to more than 0 on it.
    fn ledger(&mut self, entry: &LedgerRecord) {
        let Some(open) = self.open.get(&entry.decision) else { return };
        let is_paid = |state: &crate::engine::ledger::LedgerState| {
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

    fn finish(self) -> FairnessReport {
        let Self { mut report, slates, .. } = self;
        let leads: f64 = report.offers.values().map(|offer| offer.lead.before).sum();
        let wanted: BTreeMap<Arc<str>, f64> = report
            .offers
            .iter()
            .filter(|(_, offer)| offer.lead.before > 0.0)
            .map(|(id, offer)| (id.clone(), offer.lead.before / leads))
            .collect();
        let distances: Vec<f64> = slates.iter().filter_map(|slate| ndkl(slate, &wanted)).collect();
        report.ndkl = if distances.is_empty() { 0.0 } else { distances.iter().sum::<f64>() / distances.len() as f64 };
        let slots = slates.iter().map(Vec::len).max().unwrap_or(0);
        report.skews = (1..=slots).filter_map(|slots| skews(&slates, slots, &wanted)).collect();
        share_attention(&slates, &mut report.offers);
        report
    }
}

/// The lowest and the highest skew of the first `slots` of all slates together.
fn skews(slates: &[Vec<Arc<str>>], slots: usize, wanted: &BTreeMap<Arc<str>, f64>) -> Option<[(Arc<str>, f64); 2]> {
    let shares = shares(slates.iter().flat_map(|slate| slate.iter().take(slots).cloned()));
    let skews = wanted.keys().filter_map(|id| Some((id.clone(), skew(&shares, id, wanted)?)));
    let mut skews: Vec<(Arc<str>, f64)> = skews.collect();
    skews.sort_by(|one, other| one.1.total_cmp(&other.1));
    Some([skews.first()?.clone(), skews.last()?.clone()])
}

fn share_attention(slates: &[Vec<Arc<str>>], offers: &mut BTreeMap<Arc<str>, OfferReport>) {
    let mut given = 0.0;
    for (id, attention) in slates.iter().flat_map(|slate| exposure(slate)) {
        given += attention;
        offers.entry(id).or_default().attention += attention;
    }
    offers.values_mut().filter(|offer| offer.attention > 0.0).for_each(|offer| offer.attention /= given);
}

impl Averages {
    fn add(&mut self, before: f64, after: f64) {
        self.count += 1;
        self.before += before;
        self.after += after;
    }

    /// The average before bounds and the one after; 0 where there is nothing to average.
    #[must_use]
    pub fn means(&self) -> (f64, f64) {
        let count = self.count.max(1) as f64;
        (self.before / count, self.after / count)
    }
}
