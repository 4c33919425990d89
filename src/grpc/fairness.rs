//! Fairness reports as the wire has them.

use crate::{
    engine::{
        catalog::Money,
        fairness::{newcombe, wilson},
        group::Group,
    },
    proto,
    service::fairness::report::{
        Access, Benefit, BoundName, BoundReport, CohortName, CohortReport, FairnessReport, GroupDivision, OfferReport,
    },
};
use std::{collections::BTreeMap, sync::Arc};

/// The normal quantile of 95 % intervals.
const Z: f64 = 1.959_963_984_540_054;

/// A report on a placement.
#[must_use]
pub fn report(placement: &str, report: &FairnessReport) -> proto::GetFairnessReportResponse {
    let (value_by_policy, value) = report.value.means();
    let (reward_by_policy, reward) = report.reward.means();
    let cost = Money::from_major_units(report.reward_currency, report.value.before - report.value.after);
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
        bounds: report.bounds.iter().map(|(name, of)| bound(name, of, report.value.count)).collect(),
        reward_currency_code: report.reward_currency.code().to_owned(),
        cost: Some(cost.into()),
        reward_by_policy,
        reward,
        divisions: report.divisions.iter().map(division).collect(),
    }
}

fn bound(name: &BoundName, of: &BoundReport, decisions: u64) -> proto::BoundReport {
    let (kind, id) = match name {
        BoundName::Floors => (proto::BoundKind::Floors, ""),
        BoundName::Caps => (proto::BoundKind::Caps, ""),
        BoundName::Set(id) => (proto::BoundKind::Set, &**id),
        BoundName::Band(id) => (proto::BoundKind::Band, &**id),
    };
    let average = |sum: f64| sum / decisions.max(1) as f64;
    proto::BoundReport {
        kind: kind.into(),
        id: id.to_owned(),
        decisions: of.decisions,
        binding: of.binding,
        relaxed: of.relaxed,
        cost: average(of.cost.value),
        reward_cost: average(of.cost.reward),
    }
}

fn division(GroupDivision { groups, p_value }: &GroupDivision) -> proto::GroupDivision {
    let units = |&(group, units, share): &(Group, u64, f64)| proto::GroupUnits {
        group: proto::Group::from(group).into(),
        units,
        share,
    };
    proto::GroupDivision { groups: groups.iter().map(units).collect(), p_value: *p_value }
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
    let totals = of.everybody.totals;
    let (before, after) = totals.means();
    proto::BenefitReport {
        id: id.to_owned(),
        decisions: totals.count,
        before,
        after,
        relaxed: of.relaxed,
        moved: of.moved,
        cohorts: of.cohorts.iter().map(|(name, of)| rate(name, of)).collect(),
        gaps: gaps(&of.cohorts),
        access: of.cohorts.iter().map(|(name, of)| access(name, of)).collect(),
        access_gaps: access_gaps(&of.cohorts),
    }
}

fn rate((attribute, value): &CohortName, Access { totals, drawn, .. }: &Access) -> proto::CohortRate {
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

fn access((attribute, value): &CohortName, of: &Access) -> proto::CohortAccess {
    let (low, high) = wilson(of.totals.count as f64, of.decisions as f64, Z);
    proto::CohortAccess {
        attribute: attribute.to_string(),
        value: value.to_string(),
        decisions: of.decisions,
        eligible: of.eligible,
        feasible: of.totals.count,
        low,
        high,
    }
}

/// The two cohorts of an attribute that are furthest apart.
struct Ends<'a> {
    attribute: &'a str,
    lower: (&'a str, &'a Access),
    higher: (&'a str, &'a Access),
}

/// The ends of each attribute that has two cohorts with decisions that count, by what is compared.
fn ends<'a>(
    cohorts: &'a BTreeMap<CohortName, Access>,
    counted: impl Fn(&Access) -> u64,
    compared: impl Fn(&Access) -> f64,
) -> Vec<Ends<'a>> {
    let mut by_attribute: BTreeMap<&str, Vec<(&str, &Access)>> = BTreeMap::new();
    for ((attribute, value), access) in cohorts.iter().filter(|(_, access)| counted(access) > 0) {
        by_attribute.entry(attribute).or_default().push((value, access));
    }
    let ends = |(attribute, mut values): (&'a str, Vec<(&'a str, &'a Access)>)| {
        values.sort_by(|one, other| compared(one.1).total_cmp(&compared(other.1)));
        let (lower, higher) = (*values.first()?, *values.last().filter(|_| values.len() > 1)?);
        Some(Ends { attribute, lower, higher })
    };
    by_attribute.into_iter().filter_map(ends).collect()
}

/// The two cohorts of each attribute that are furthest apart in what was drawn from.
fn gaps(cohorts: &BTreeMap<CohortName, Access>) -> Vec<proto::CohortGap> {
    let gap = |Ends { attribute, lower, higher }: Ends<'_>| {
        let trials = |of: &Access| (of.drawn as f64, of.totals.count as f64);
        let (low, high) = newcombe(trials(higher.1), trials(lower.1), Z);
        let (more, less) = (higher.1.totals.means(), lower.1.totals.means());
        proto::CohortGap {
            attribute: attribute.to_owned(),
            higher: higher.0.to_owned(),
            lower: lower.0.to_owned(),
            before: more.0 - less.0,
            after: more.1 - less.1,
            low,
            high,
        }
    };
    ends(cohorts, |access| access.totals.count, |access| access.totals.means().1).into_iter().map(gap).collect()
}

/// The two cohorts of each attribute that are furthest apart in how often decisions count.
fn access_gaps(cohorts: &BTreeMap<CohortName, Access>) -> Vec<proto::AccessGap> {
    let trials = |of: &Access| (of.totals.count as f64, of.decisions as f64);
    let share = |of: &Access| of.totals.count as f64 / of.decisions.max(1) as f64;
    let gap = |Ends { attribute, lower, higher }: Ends<'_>| {
        let (low, high) = newcombe(trials(higher.1), trials(lower.1), Z);
        proto::AccessGap {
            attribute: attribute.to_owned(),
            higher: higher.0.to_owned(),
            lower: lower.0.to_owned(),
            gap: share(higher.1) - share(lower.1),
            low,
            high,
        }
    };
    ends(cohorts, |access| access.decisions, share).into_iter().map(gap).collect()
}

fn cohort((attribute, value): &CohortName, of: &CohortReport) -> proto::CohortReport {
    let means = |sums: &BTreeMap<&str, (u64, i64)>| {
        let mean = |(code, &(count, sum)): (&&str, &(u64, i64))| {
            let amount_minor = libm::round(sum as f64 / count as f64) as i64;
            let price = Some(proto::Money { currency_code: (*code).to_owned(), amount_minor });
            proto::AveragePrice { price, leads: count }
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
