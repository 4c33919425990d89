//! The tests that stand beside rules: cases that a rule is tried on whenever the catalog is checked.

use super::super::findings::Findings;
use super::{is_about, is_in_scope};
use crate::{
    catalog::{path::Path, suggest::did_you_mean},
    engine::{
        catalog::{Catalog, Market, Placement},
        context::AttributeValue,
        instant::Instant,
        rules::{Facts, Rule},
        terms::{Remainder, remainder},
        user::UserState,
    },
    proto::{self, engine_types::instant},
};
use prost_types::value::Kind;
use std::sync::Arc;

/// Most tests of one rule.
const TESTS_MAX: usize = 64;
/// 2026-01-01T00:00:00Z, a Thursday.
const NOW_DEFAULT: Instant = Instant::from_ms(1_767_225_600_000);

/// Runs the tests of all rules.
pub(in super::super) fn run(declared: &proto::Catalog, catalog: &Catalog, findings: &mut Findings) {
    for (index, rule) in declared.rules.iter().enumerate() {
        let path = Path::default().field("rules").index(index).field("tests");
        findings.check_count(&path, rule.tests.len(), TESTS_MAX);
        for (index, test) in rule.tests.iter().take(TESTS_MAX).enumerate() {
            run_one(&path.index(index), (rule, test), catalog, findings);
        }
    }
}

fn run_one(path: &Path, (rule, test): (&proto::Rule, &proto::RuleTest), catalog: &Catalog, findings: &mut Findings) {
    let expected = match proto::RuleVerdict::try_from(test.expect) {
        Ok(proto::RuleVerdict::Allowed) => true,
        Ok(proto::RuleVerdict::Excluded) => false,
        Ok(proto::RuleVerdict::Unspecified) => {
            return findings.refuse(&path.field("expect"), "is missing, must be ALLOWED or EXCLUDED");
        }
        Err(_) => return findings.refuse_number(&path.field("expect"), test.expect),
    };
    let Some((placement, arm, compiled)) = subject(path, (rule, test), catalog, findings) else { return };
    let Some(market) = market(path, (placement, arm), test, catalog, findings) else { return };
    let Some(attributes) = attributes(&path.field("user"), placement, test, findings) else { return };
    let now = match &test.now {
        None => NOW_DEFAULT,
        Some(at) => match instant(at) {
            Some(now) => now,
            None => return findings.refuse(&path.field("now"), "is no instant"),
        },
    };
    let user = UserState {
        trial_used: test.trial_used,
        current_plan: (!test.current_plan.is_empty()).then(|| Arc::from(test.current_plan.as_str())),
        lapsed_at: test.lapsed_at.as_ref().and_then(instant),
        ..UserState::default()
    };
    let facts = Facts {
        attributes: &attributes,
        user: &user,
        market: &market.id,
        platform: &test.platform,
        now,
        local: market.clock.show(now),
    };
    let verdict = match remainder(compiled, &placement.arms[arm], Some(market)) {
        Some(Remainder::Holds) => Ok(true),
        Some(Remainder::If(condition)) => condition.holds(&facts),
        Some(Remainder::Never(_)) | None => Ok(false),
    };
    if verdict != Ok(expected) {
        let name = if test.name.is_empty() { String::new() } else { format!(" ({})", test.name) };
        let wanted = if expected { "ALLOWED" } else { "EXCLUDED" };
        let said = match verdict {
            Ok(true) => "the rule allows it".to_owned(),
            Ok(false) => "the rule excludes it".to_owned(),
            Err(error) => format!("the rule has no value, which excludes it: {error}"),
        };
        findings.refuse(&path.field("expect"), format!("is {wanted} for {:?}{name}, but {said}", test.offer));
    }
}

/// The first placement where the rule is about the test's offer.
fn subject<'a>(
    path: &Path,
    (rule, test): (&proto::Rule, &proto::RuleTest),
    catalog: &'a Catalog,
    findings: &mut Findings,
) -> Option<(&'a Placement, usize, &'a Rule)> {
    let path = path.field("offer");
    if !catalog.offers.contains_key(test.offer.as_str()) {
        let known = catalog.offers.keys().map(|id| &**id);
        findings.refuse_unknown(&path, &test.offer, "offer of this catalog", known);
        return None;
    }
    let scope = rule.scope.clone().unwrap_or_default();
    let found = catalog.placements.values().filter(|placement| is_in_scope(placement, &scope)).find_map(|placement| {
        let arm = placement.arm_index(&test.offer).filter(|&arm| is_about(placement, arm, &scope))?;
        let compiled = placement.rules.iter().find(|compiled| *compiled.id == rule.id)?;
        Some((&**placement, arm, compiled))
    });
    if found.is_none() {
        findings.refuse(&path, format!("is {:?}, which the rule is not about at any placement", test.offer));
    }
    found
}

fn market<'a>(
    path: &Path,
    (placement, arm): (&Placement, usize),
    test: &proto::RuleTest,
    catalog: &'a Catalog,
    findings: &mut Findings,
) -> Option<&'a Market> {
    let path = path.field("market");
    let id = Some(test.market.as_str()).filter(|id| !id.is_empty()).or(catalog.default_market.as_deref());
    let offer = &placement.arms[arm].offer;
    match id.map(|id| (id, catalog.markets.get(id))) {
        None => findings.refuse(&path, "is missing: the catalog has no default market"),
        Some((id, None)) => {
            findings.refuse_unknown(&path, id, "market", catalog.markets.keys().map(|id| &**id));
        }
        Some((id, Some(_))) if !offer.prices.contains_key(id) => {
            findings.refuse(&path, format!("is {id:?}, where {:?} has no price", offer.id));
        }
        Some((_, Some(market))) => return Some(market),
    }
    None
}

fn attributes(
    path: &Path,
    placement: &Placement,
    test: &proto::RuleTest,
    findings: &mut Findings,
) -> Option<Vec<AttributeValue>> {
    let count = findings.count();
    let schema = &placement.context;
    let names = || schema.attributes.iter().map(|attribute| &*attribute.name);
    for name in test.user.keys().filter(|name| !names().any(|known| known == **name)) {
        let hint = did_you_mean(name, names());
        let description = format!("is no attribute of placement {:?}{hint}", placement.id);
        findings.refuse(&path.key(name), description);
    }
    let mut values = schema.neutral();
    for (attribute, value) in schema.attributes.iter().zip(&mut values) {
        let Some(given) = test.user.get(&*attribute.name) else { continue };
        let given = match &given.kind {
            Some(Kind::NumberValue(number)) => AttributeValue::Number(*number),
            Some(Kind::StringValue(text)) => AttributeValue::Category(Arc::from(text.as_str())),
            Some(Kind::BoolValue(truth)) => AttributeValue::Boolean(*truth),
            _ => {
                findings.refuse(&path.key(&attribute.name), format!("must be {}", attribute.kind.noun()));
                continue;
            }
        };
        match attribute.check(given) {
            Ok((checked, _)) => *value = checked,
            Err(error) => findings.refuse(&path.key(&attribute.name), error.to_string()),
        }
    }
    (findings.count() == count).then_some(values)
}
