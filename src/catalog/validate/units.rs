//! What a placement keeps of units: frequency caps, cool-downs and the lease.

use super::{
    findings::{Findings, Seen},
    offers::Offers,
    placements::ArmIds,
    reward::{Metrics, check_metric, check_metrics},
};
use crate::{
    catalog::path::Path,
    engine::{
        catalog::{Offer, OfferKind, Reward},
        unit::rules::{
            CAP_DECISIONS_MAX, CAPS_MAX, COOL_DOWNS_MAX, CoolDown, FrequencyCap, LeaseRule, UnitRules, WINDOW_MAX_S,
            WhenUnknown,
        },
    },
    proto,
};
use std::{collections::BTreeSet, sync::Arc};

/// What the rules of a placement refer to.
pub(super) struct Surroundings<'a> {
    /// The placement's offers.
    pub(super) arm_ids: &'a ArmIds<'a>,
    /// The catalog's offers.
    pub(super) offers: &'a Offers<'a>,
    /// The catalog's metrics.
    pub(super) metrics: &'a Metrics<'a>,
}

/// Checks what a placement keeps of units.
pub(super) fn rules(
    path: &Path,
    declared: &proto::Placement,
    surroundings: &Surroundings<'_>,
    reward: Option<&Reward>,
    attribution_s: u64,
    findings: &mut Findings,
) -> UnitRules {
    let caps_path = path.field("frequency_caps");
    findings.check_count(&caps_path, declared.frequency_caps.len(), CAPS_MAX);
    let cap = |(index, cap): (usize, &proto::FrequencyCap)| {
        let path = caps_path.index(index);
        findings.check_range(&path.field("max"), cap.max, 1, CAP_DECISIONS_MAX);
        findings.check_range(&path.field("window_s"), cap.window_s, 1, WINDOW_MAX_S);
        let offers = held_back(&path, (&cap.offers, &cap.tags), surroundings, findings);
        FrequencyCap { offers, max: cap.max, window_s: cap.window_s }
    };
    let caps = declared.frequency_caps.iter().enumerate().map(cap).collect();
    let cool_downs_path = path.field("cool_downs");
    findings.check_count(&cool_downs_path, declared.cool_downs.len(), COOL_DOWNS_MAX);
    let cool_down = |(index, cool_down): (usize, &proto::CoolDown)| {
        let path = cool_downs_path.index(index);
        check_metric(&path.field("metric"), &cool_down.metric, surroundings.metrics, findings);
        findings.check_range(&path.field("for_s"), cool_down.for_s, 1, WINDOW_MAX_S);
        let offers = held_back(&path, (&cool_down.offers, &cool_down.tags), surroundings, findings);
        CoolDown { metric: Arc::from(cool_down.metric.as_str()), offers, for_s: cool_down.for_s }
    };
    let cool_downs = declared.cool_downs.iter().enumerate().map(cool_down).collect();
    let lease = lease(path, declared, surroundings, reward, attribution_s, findings);
    let when_unknown = when_unknown(&path.field("when_state_unknown"), declared.when_state_unknown, findings);
    UnitRules { caps, cool_downs, lease, when_unknown }
}

/// The offers that a cap or cool-down names, sorted.
fn held_back(
    path: &Path,
    named: (&[String], &[String]),
    surroundings: &Surroundings<'_>,
    findings: &mut Findings,
) -> Vec<Arc<str>> {
    offers(path, named, surroundings, false, findings).into_iter().map(Arc::from).collect()
}

/// The offers that ids and tags name; those of kind NONE only where they may be.
pub(super) fn offers<'a>(
    path: &Path,
    (ids, tags): (&'a [String], &'a [String]),
    surroundings: &Surroundings<'a>,
    with_none: bool,
    findings: &mut Findings,
) -> BTreeSet<&'a str> {
    let Surroundings { arm_ids, offers, .. } = *surroundings;
    if ids.is_empty() && tags.is_empty() {
        findings.refuse(&path.field("offers"), "is missing, and so are tags: say which offers of the placement");
    }
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let mut seen = Seen::new();
    for (index, id) in ids.iter().enumerate() {
        let path = path.field("offers").index(index);
        findings.check_distinct(&path, id, &mut seen);
        arm_ids.check(&path, id, findings);
        if !with_none && offers.get(id.as_str()).is_some_and(|draft| draft.offer.kind == OfferKind::None) {
            findings.refuse(&path, format!("is {id:?}, of kind NONE: showing nothing is never held back"));
        }
        named.insert(id);
    }
    let mut seen = Seen::new();
    let shown = || arm_ids.sorted().iter().filter_map(|&id| offers.get(id)).map(|draft| &draft.offer);
    for (index, tag) in tags.iter().enumerate() {
        let path = path.field("tags").index(index);
        findings.check_distinct(&path, tag, &mut seen);
        let named_by = |offer: &&Arc<Offer>| offer.tags.contains(tag) && (with_none || offer.kind != OfferKind::None);
        let tagged = shown().filter(named_by);
        named.extend(tagged.map(|offer| &*offer.id));
        if !shown().any(|offer| offer.tags.contains(tag)) {
            let known: BTreeSet<&str> = shown().flat_map(|offer| &offer.tags).map(String::as_str).collect();
            findings.refuse_unknown(&path, tag, "tag of this placement's offers", known.iter().copied());
        }
    }
    named
}

fn lease(
    path: &Path,
    declared: &proto::Placement,
    surroundings: &Surroundings<'_>,
    reward: Option<&Reward>,
    attribution_s: u64,
    findings: &mut Findings,
) -> Option<LeaseRule> {
    let ends_path = path.field("lease_ends_on");
    let mut ends_on = check_metrics(&ends_path, &declared.lease_ends_on, surroundings.metrics, findings);
    let Some(lease_s) = declared.lease_s else {
        if !declared.lease_ends_on.is_empty() {
            findings.refuse(&ends_path, "is set, but the placement has no lease to end: set lease_s as well");
        }
        return None;
    };
    let lease_path = path.field("lease_s");
    if findings.check_range(&lease_path, lease_s, 0, WINDOW_MAX_S) && lease_s > attribution_s {
        let description = format!(
            "is {lease_s}, must be at most attribution_window_s, {attribution_s}: what happens on a repeat is credited \
             to the decision that drew the offers"
        );
        findings.refuse(&lease_path, description);
    }
    if ends_on.is_empty() {
        let favourable = reward.into_iter().flat_map(|reward| &reward.terms).filter(|term| term.weight > 0.0);
        ends_on = favourable.map(|term| term.metric.clone()).collect();
    }
    Some(LeaseRule { lease_s, ends_on: ends_on.into_iter().collect() })
}

fn when_unknown(path: &Path, number: i32, findings: &mut Findings) -> WhenUnknown {
    match proto::WhenStateUnknown::try_from(number) {
        Ok(proto::WhenStateUnknown::Unspecified | proto::WhenStateUnknown::Skip) => WhenUnknown::Skip,
        Ok(proto::WhenStateUnknown::Ignore) => WhenUnknown::Ignore,
        Err(_) => {
            findings.refuse_number(path, number);
            WhenUnknown::Skip
        }
    }
}
