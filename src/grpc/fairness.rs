//! Fairness reports as the wire has them.

use crate::{
    engine::fairness::{newcombe, wilson},
    proto,
    service::fairness::{Averages, Benefit, CohortReport, FairnessReport, OfferReport},
};
use std::{collections::BTreeMap, sync::Arc};

/// The normal quantile of 95 % intervals.
const Z: f64 = 1.959_963_984_540_054;

type CohortName = (Arc<str>, Arc<str>);

/// A report on a placement.
pub(super) fn report(placement: &str, report: &FairnessReport) -> proto::GetFairnessReportResponse {
    let (value_by_policy, value) = report.value.means();
    proto::GetFairnessReportResponse {
        placement: placement.to_owned(),
        groups: report
            .groups
            .iter()
            .map(|(&group, &decisions)| proto::GroupCount { group: proto::Group::from(group).into(), decisions })
            .collect(),
        relaxed: report.relaxed,
        benefits: report.benefits.iter().map(|(id, of)| benefit(id, of)).collect(),
        cohorts: report.cohorts.iter().map(|(name, of)| cohort(name, of)).collect(),
        offers: report.offers.iter().map(|(id, of)| offer(id, of)).collect(),
        value_by_policy,
        value,
        ndkl: report.ndkl,
        skews: (1..).zip(&report.skews).map(|(slots, of)| skew(slots, of)).collect(),
    }
}

fn skew(slots: u32, [lowest, highest]: &[(Arc<str>, f64); 2]) -> proto::SkewReport {
    proto::SkewReport {
        slots,
        lowest_offer_id: lowest.0.to_string(),
        lowest: lowest.1,
        highest_offer_id: highest.0.to_string(),
        highest: highest.1,
    }
}

fn benefit(id: &str, of: &Benefit) -> proto::BenefitReport {
    let (before, after) = of.totals.means();
    proto::BenefitReport {
        id: id.to_owned(),
        decisions: of.totals.count,
        before,
        after,
        relaxed: of.relaxed,
        moved: of.moved,
        cohorts: of.cohorts.iter().map(|(name, of)| rate(name, of)).collect(),
        gaps: gaps(&of.cohorts),
    }
}

fn rate((attribute, value): &CohortName, (totals, drawn): &(Averages, u64)) -> proto::CohortRate {
    let (before, after) = totals.means();
    let (low, high) = wilson(*drawn as f64, totals.count as f64, Z);
    proto::CohortRate {
        attribute: attribute.to_string(),
        value: value.to_string(),
        decisions: totals.count,
        before,
        after,
        drawn: *drawn,
        low,
        high,
    }
}

/// The two cohorts of each attribute that are furthest apart in what was drawn from.
fn gaps(cohorts: &BTreeMap<CohortName, (Averages, u64)>) -> Vec<proto::CohortGap> {
    let mut by_attribute: BTreeMap<&str, Vec<(&str, &Averages, u64)>> = BTreeMap::new();
    for ((attribute, value), (totals, drawn)) in cohorts {
        by_attribute.entry(attribute).or_default().push((value, totals, *drawn));
    }
    let gap = |(attribute, mut values): (&str, Vec<(&str, &Averages, u64)>)| {
        values.sort_by(|one, other| one.1.means().1.total_cmp(&other.1.means().1));
        let (lower, higher) = (values.first()?, values.last().filter(|_| values.len() > 1)?);
        let trials = |of: &(&str, &Averages, u64)| (of.2 as f64, of.1.count as f64);
        let (low, high) = newcombe(trials(higher), trials(lower), Z);
        Some(proto::CohortGap {
            attribute: attribute.to_owned(),
            higher: higher.0.to_owned(),
            lower: lower.0.to_owned(),
            before: higher.1.means().0 - lower.1.means().0,
            after: higher.1.means().1 - lower.1.means().1,
            low,
            high,
        })
    };
    by_attribute.into_iter().filter_map(gap).collect()
}

fn cohort((attribute, value): &CohortName, of: &CohortReport) -> proto::CohortReport {
    let means = |sums: &BTreeMap<&str, (u64, i64)>| {
        let mean = |(code, &(count, sum)): (&&str, &(u64, i64))| proto::Money {
            currency_code: (*code).to_owned(),
            amount_minor: libm::round(sum as f64 / count.max(1) as f64) as i64,
        };
        sums.iter().filter(|(_, (count, _))| *count > 0).map(mean).collect()
    };
    proto::CohortReport {
        attribute: attribute.to_string(),
        value: value.to_string(),
        decisions: of.decisions,
        offered: means(&of.offered),
        paid: means(&of.paid),
    }
}

fn offer(id: &str, of: &OfferReport) -> proto::OfferExposure {
    let (before, after) = of.lead.means();
    proto::OfferExposure {
        offer_id: id.to_owned(),
        eligible: of.eligible,
        before,
        after,
        drawn: of.drawn,
        attention: of.attention,
        merit: of.merit / of.eligible.max(1) as f64,
    }
}
