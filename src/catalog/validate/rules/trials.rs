//! The tests that stand beside rules: cases that a rule is tried on whenever the catalog is checked.

use super::super::{
    findings::{Findings, RESOURCE},
    periods,
};
use super::{is_about, is_in_scope};
use crate::{
    catalog::{path::Path, problem::quoted, suggest::did_you_mean},
    engine::{
        catalog::{Catalog, Market, Offer, Placement},
        context::AttributeValue,
        instant::Instant,
        rules::{EvaluationError, Facts, Rule},
        terms::{Remainder, remainder},
        user::UserState,
    },
    proto,
};
use prost_types::{Timestamp, value::Kind};
use std::{collections::BTreeMap, sync::Arc};

/// Most tests of one rule.
const TESTS_MAX: usize = 64;
/// Most placements that one message names.
const PLACEMENTS_SHOWN_MAX: usize = 5;
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

/// A placement where the rule is about the test's offer.
struct Subject<'a> {
    placement: &'a Placement,
    arm: usize,
    rule: &'a Rule,
}

/// What a test states besides attributes.
struct Stated<'a> {
    user: UserState,
    market: &'a Market,
    now: Instant,
}

fn run_one(path: &Path, (rule, test): (&proto::Rule, &proto::RuleTest), catalog: &Catalog, findings: &mut Findings) {
    let path_of_verdict = path.field("expect");
    let expected = match proto::RuleVerdict::try_from(test.expect) {
        Ok(proto::RuleVerdict::Allowed) => true,
        Ok(proto::RuleVerdict::Excluded) => false,
        Ok(proto::RuleVerdict::Unspecified) => {
            return findings.refuse(&path_of_verdict, "is missing, must be ALLOWED or EXCLUDED");
        }
        Err(_) => return findings.refuse_number(&path_of_verdict, test.expect),
    };
    let subjects = subjects(&path.field("offer"), (rule, test), catalog, findings);
    let Some(Subject { placement, arm, .. }) = subjects.first() else { return };
    let Some(stated) = stated(path, &placement.arms[*arm].offer, test, catalog, findings) else { return };
    let takers = takers(&path.field("user"), &subjects, test, findings);
    // By what the rule says, the placements where it says so.
    let mut disagreeing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (subject, attributes) in &takers {
        let verdict = subject.verdict(attributes, &test.platform, &stated);
        if verdict != Ok(expected) {
            disagreeing.entry(said(verdict)).or_default().push(&subject.placement.id);
        }
    }
    let name = if test.name.is_empty() { String::new() } else { format!(" ({})", test.name) };
    let wanted = if expected { "ALLOWED" } else { "EXCLUDED" };
    for (said, placements) in disagreeing {
        let places = if takers.len() == 1 { String::new() } else { shown(&placements) };
        findings.refuse(&path_of_verdict, format!("is {wanted} for {:?}{name}, but {said}{places}", test.offer));
    }
}

fn said(verdict: Result<bool, EvaluationError>) -> String {
    match verdict {
        Ok(true) => "the rule allows it".to_owned(),
        Ok(false) => "the rule excludes it".to_owned(),
        Err(error) => format!("the rule has no value, which excludes it: {error}"),
    }
}

/// ` at placements "a", "b"`.
fn shown(placements: &[&str]) -> String {
    let shown: Vec<_> = placements.iter().take(PLACEMENTS_SHOWN_MAX).map(|id| quoted(id)).collect();
    let more = if placements.len() > shown.len() { ", and so on" } else { "" };
    let plural = if placements.len() > 1 { "s" } else { "" };
    format!(" at placement{plural} {}{more}", shown.join(", "))
}

impl Subject<'_> {
    /// Whether the rule allows the offer there; an error excludes it as well.
    fn verdict(
        &self,
        attributes: &[AttributeValue],
        platform: &str,
        Stated { user, market, now }: &Stated<'_>,
    ) -> Result<bool, EvaluationError> {
        let local = market.clock.show(*now);
        let facts = Facts { attributes, user, market: &market.id, platform, now: *now, local };
        match remainder(self.rule, &self.placement.arms[self.arm], Some(market)) {
            Some(Remainder::Holds) => Ok(true),
            Some(Remainder::If(condition)) => condition.holds(&facts),
            Some(Remainder::Never(_)) | None => Ok(false),
        }
    }
}

/// The placements where the rule is about the test's offer.
fn subjects<'a>(
    path: &Path,
    (rule, test): (&proto::Rule, &proto::RuleTest),
    catalog: &'a Catalog,
    findings: &mut Findings,
) -> Vec<Subject<'a>> {
    if !catalog.offers.contains_key(test.offer.as_str()) {
        let known = catalog.offers.keys().map(|id| &**id);
        findings.refuse_unknown(path, &test.offer, "offer of this catalog", known);
        return Vec::new();
    }
    let scope = rule.scope.clone().unwrap_or_default();
    let placements = catalog.placements.values().filter(|placement| is_in_scope(placement, &scope));
    let subject = |placement: &'a Arc<Placement>| {
        let arm = placement.arm_index(&test.offer).filter(|&arm| is_about(placement, arm, &scope))?;
        let compiled = placement.rules.iter().find(|compiled| *compiled.id == rule.id)?;
        Some(Subject { placement, arm, rule: compiled })
    };
    let found: Vec<_> = placements.filter_map(subject).collect();
    if found.is_empty() {
        findings.refuse(path, format!("is {:?}, which the rule is not about at any placement", test.offer));
    }
    found
}

fn stated<'a>(
    path: &Path,
    offer: &Offer,
    test: &proto::RuleTest,
    catalog: &'a Catalog,
    findings: &mut Findings,
) -> Option<Stated<'a>> {
    let count = findings.count();
    let market = market(&path.field("market"), offer, test, catalog, findings);
    if !test.platform.is_empty() {
        findings.check_name(&path.field("platform"), &test.platform, &RESOURCE);
    }
    let plan = test.current_plan.as_str();
    if !plan.is_empty() && !catalog.plans.is_empty() && !catalog.plans.contains_key(plan) {
        let known = catalog.plans.keys().map(|id| &**id);
        findings.refuse_unknown(&path.field("current_plan"), plan, "plan of this catalog", known);
    }
    let mut instant =
        |name: &str, at: Option<Timestamp>| at.and_then(|at| periods::checked_instant(&path.field(name), at, findings));
    let lapsed_at = instant("lapsed_at", test.lapsed_at);
    let now = instant("now", test.now).unwrap_or(NOW_DEFAULT);
    let user = UserState {
        trial_used: test.trial_used,
        current_plan: (!plan.is_empty()).then(|| Arc::from(plan)),
        lapsed_at,
        ..UserState::default()
    };
    market.filter(|_| findings.count() == count).map(|market| Stated { user, market, now })
}

fn market<'a>(
    path: &Path,
    offer: &Offer,
    test: &proto::RuleTest,
    catalog: &'a Catalog,
    findings: &mut Findings,
) -> Option<&'a Market> {
    let id = Some(test.market.as_str()).filter(|id| !id.is_empty()).or(catalog.default_market.as_deref());
    match id.map(|id| (id, catalog.markets.get(id))) {
        None => findings.refuse(path, "is missing: the catalog has no default market"),
        Some((id, None)) => {
            findings.refuse_unknown(path, id, "market", catalog.markets.keys().map(|id| &**id));
        }
        Some((id, Some(_))) if !offer.prices.contains_key(id) => {
            findings.refuse(path, format!("is {id:?}, where {:?} has no price", offer.id));
        }
        Some((_, Some(market))) => return Some(market),
    }
    None
}

/// Where the test can be run: where the context takes its attributes, with all attributes as they are there. A rule reads
/// only what every placement in its scope has, so a test that states more is one of those placements that have it.
/// Where none takes them, what the first has against them is refused.
fn takers<'a>(
    path: &Path,
    subjects: &'a [Subject<'a>],
    test: &proto::RuleTest,
    findings: &mut Findings,
) -> Vec<(&'a Subject<'a>, Vec<AttributeValue>)> {
    let (mut takers, mut refused) = (Vec::new(), None);
    for subject in subjects {
        match attributes(path, subject.placement, test) {
            Ok(attributes) => takers.push((subject, attributes)),
            Err(mistakes) => drop(refused.get_or_insert(mistakes)),
        }
    }
    if takers.is_empty() {
        refused.into_iter().flatten().for_each(|(path, description)| findings.refuse(&path, description));
    }
    takers
}

/// The attributes of a test at a placement, or everything that is wrong with them there.
fn attributes(
    path: &Path,
    placement: &Placement,
    test: &proto::RuleTest,
) -> Result<Vec<AttributeValue>, Vec<(Path, String)>> {
    let mut mistakes = Vec::new();
    let schema = &placement.context;
    let names = || schema.attributes.iter().map(|attribute| &*attribute.name);
    for name in test.user.keys().filter(|name| !names().any(|known| known == **name)) {
        let hint = did_you_mean(name, names());
        mistakes.push((path.key(name), format!("is no attribute of placement {:?}{hint}", placement.id)));
    }
    let mut values = schema.neutral();
    for (attribute, value) in schema.attributes.iter().zip(&mut values) {
        let Some(given) = test.user.get(&*attribute.name) else { continue };
        let given = match &given.kind {
            Some(Kind::NumberValue(number)) => AttributeValue::Number(*number),
            Some(Kind::StringValue(text)) => AttributeValue::Category(Arc::from(text.as_str())),
            Some(Kind::BoolValue(truth)) => AttributeValue::Boolean(*truth),
            _ => {
                mistakes.push((path.key(&attribute.name), format!("must be {}", attribute.kind.noun())));
                continue;
            }
        };
        match attribute.check(given) {
            Ok((checked, _)) => *value = checked,
            Err(error) => mistakes.push((path.key(&attribute.name), error.to_string())),
        }
    }
    if mistakes.is_empty() { Ok(values) } else { Err(mistakes) }
}
