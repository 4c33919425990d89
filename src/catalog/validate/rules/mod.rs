//! Rules: what they are about, what they say, and whether they say what their tests want.

mod check;
mod law;
mod names;
mod slips;
mod syntax;
mod trials;
mod types;

pub(super) use law::check_law;
pub(super) use trials::run;

use super::{
    findings::{Findings, RESOURCE, Seen},
    offers::Offers,
};
use crate::{
    catalog::path::Path,
    engine::{
        catalog::{OfferKind, Placement},
        rules::Rule,
    },
    proto,
};
use names::{Scope, Vocabulary};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use syntax::Mistake;

/// Most rules of one catalog.
const RULES_MAX: usize = 256;

/// Checks all rules and gives each placement those that are about its offers.
pub(super) fn attach(
    catalog: &proto::Catalog,
    offers: &Offers<'_>,
    placements: &mut BTreeMap<Arc<str>, Placement>,
    findings: &mut Findings,
) {
    let path = Path::default().field("rules");
    findings.check_count(&path, catalog.rules.len(), RULES_MAX);
    let vocabulary = vocabulary(catalog, offers);
    let mut seen = Seen::new();
    for (index, declared) in catalog.rules.iter().take(RULES_MAX).enumerate() {
        let path = path.index(index);
        findings.check_id(&path.field("id"), &declared.id, &RESOURCE, &mut seen);
        let scope = declared.scope.clone().unwrap_or_default();
        check_scope(&path.field("scope"), &scope, offers, placements, findings);
        attach_one(&path.field("expression"), (declared, &scope), &vocabulary, placements, findings);
    }
}

fn attach_one(
    path: &Path,
    (declared, scope): (&proto::Rule, &proto::RuleScope),
    vocabulary: &Vocabulary,
    placements: &mut BTreeMap<Arc<str>, Placement>,
    findings: &mut Findings,
) {
    let mut refuse = |mistakes: Vec<Mistake>| {
        let distinct: BTreeSet<Mistake> = mistakes.into_iter().collect();
        distinct.into_iter().for_each(|Mistake { at, description }| findings.refuse_within(path, at, description));
    };
    let parsed = match syntax::parse(&declared.expression) {
        Ok(parsed) => parsed,
        Err(mistakes) => return refuse(mistakes),
    };
    let id: Arc<str> = Arc::from(declared.id.as_str());
    for placement in placements.values_mut().filter(|placement| is_in_scope(placement, scope)) {
        let arms: Vec<usize> = (0..placement.arms.len()).filter(|&arm| is_about(placement, arm, scope)).collect();
        if arms.is_empty() {
            continue;
        }
        let place = Scope { placement: &placement.id, schema: &placement.context, vocabulary };
        match check::check(&parsed, place) {
            Ok(condition) => {
                placement.rules.push(Rule {
                    id: Arc::clone(&id),
                    legal: declared.legal,
                    arms,
                    text: declared.expression.clone(),
                    condition,
                });
            }
            // What is wrong at one placement is mostly wrong at all.
            Err(mistakes) => return refuse(mistakes),
        }
    }
}

/// Whether a rule is for a placement at all.
fn is_in_scope(placement: &Placement, scope: &proto::RuleScope) -> bool {
    scope.placements.is_empty() || scope.placements.iter().any(|id| **id == *placement.id)
}

/// Whether a rule is about an arm of a placement that it is for.
fn is_about(placement: &Placement, arm: usize, scope: &proto::RuleScope) -> bool {
    let offer = &placement.arms[arm].offer;
    let all = scope.offers.is_empty() && scope.tags.is_empty();
    let named =
        scope.offers.iter().any(|id| **id == *offer.id) || scope.tags.iter().any(|tag| offer.tags.contains(tag));
    offer.kind != OfferKind::None && (all || named)
}

fn check_scope(
    path: &Path,
    scope: &proto::RuleScope,
    offers: &Offers<'_>,
    placements: &BTreeMap<Arc<str>, Placement>,
    findings: &mut Findings,
) {
    let mut seen = Seen::new();
    for (index, id) in scope.offers.iter().enumerate() {
        let path = path.field("offers").index(index);
        findings.check_distinct(&path, id, &mut seen);
        match offers.get(id.as_str()) {
            None => findings.refuse_unknown(&path, id, "offer of this catalog", offers.keys().copied()),
            Some(draft) if draft.offer.kind == OfferKind::None => {
                findings.refuse(&path, format!("is {id:?}, of kind NONE: showing nothing needs no permission"));
            }
            Some(_) => {}
        }
    }
    let tags: BTreeSet<&str> = offers.values().flat_map(|draft| &draft.declared.tags).map(String::as_str).collect();
    let mut seen = Seen::new();
    for (index, tag) in scope.tags.iter().enumerate() {
        let path = path.field("tags").index(index);
        findings.check_distinct(&path, tag, &mut seen);
        if !tags.contains(tag.as_str()) {
            findings.refuse_unknown(&path, tag, "tag of an offer", tags.iter().copied());
        }
    }
    let mut seen = Seen::new();
    for (index, id) in scope.placements.iter().enumerate() {
        let path = path.field("placements").index(index);
        findings.check_distinct(&path, id, &mut seen);
        if !placements.contains_key(id.as_str()) {
            findings.refuse_unknown(&path, id, "placement of this catalog", placements.keys().map(|id| &**id));
        }
    }
}

/// What the texts that rules compare with can be.
fn vocabulary(catalog: &proto::Catalog, offers: &Offers<'_>) -> Vocabulary {
    let declared = || offers.values().map(|draft| draft.declared);
    let owned = |texts: &mut dyn Iterator<Item = &str>| {
        texts.filter(|text| !text.is_empty()).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let plans = declared().map(|offer| offer.plan.as_str()).chain(catalog.plans.iter().map(|plan| plan.id.as_str()));
    let kinds = [
        OfferKind::Trial,
        OfferKind::Discount,
        OfferKind::WinBack,
        OfferKind::PlanChange,
        OfferKind::Standard,
        OfferKind::None,
    ];
    Vocabulary {
        markets: owned(&mut catalog.markets.iter().map(|market| market.id.as_str())),
        offers: owned(&mut declared().map(|offer| offer.id.as_str())),
        plans: owned(&mut plans.into_iter()),
        tags: owned(&mut declared().flat_map(|offer| &offer.tags).map(String::as_str)),
        groups: owned(&mut declared().map(|offer| offer.exclusion_group.as_str())),
        kinds: kinds.into_iter().map(|kind| kind.name().to_owned()).collect(),
        plans_are_declared: !catalog.plans.is_empty(),
    }
}
