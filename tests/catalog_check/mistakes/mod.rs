//! One mistake at a time in an otherwise valid catalog.

mod bounding;
mod deciding;
mod eligibility;
mod keeping;
mod placing;
mod reading;
mod ruling;
mod selling;

use super::{example, patched, problems, valid};
use offer_ranker::{
    catalog::{Problem, Problems, Severity},
    engine::instant::Instant,
};

/// One mistake: what to replace by what, the field that is reported, a piece of the reported line, and a piece of the
/// description.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str);

fn assert_cases(cases: &[Case], found: impl Fn(&str) -> Vec<Problem>) {
    let mut failures = Vec::new();
    for &(from, to, field, line, description) in cases {
        let text = patched(from, to);
        let found = found(&text);
        let line_of = |problem: &Problem| problem.location.and_then(|at| text.lines().nth(at.line - 1)).unwrap_or("");
        let expected = found.iter().any(|problem| {
            problem.field == field && line_of(problem).contains(line) && problem.description.contains(description)
        });
        // One mistake is one problem: what only follows from it is noise.
        if !expected || found.len() != 1 {
            let shown = Problems { file: "a.yaml".to_owned(), problems: found };
            failures.push(format!("{from:?} -> {to:?}\n  expected {field}: ...{description}...\n  found {shown}"));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn what_cannot_be_read_is_reported_at_its_line() {
    assert_cases(reading::FIELDS, problems);
    assert_cases(reading::TYPES, problems);
}

#[test]
fn money_that_does_not_add_up_is_refused() {
    assert_cases(selling::MONEY, problems);
}

#[test]
fn offers_that_make_no_sense_are_refused() {
    assert_cases(selling::OFFERS, problems);
}

#[test]
fn what_keeps_offers_from_users_is_checked() {
    assert_cases(eligibility::MARKETS_AND_PLANS, problems);
    assert_cases(eligibility::WINDOWS_AND_GROUPS, problems);
    assert_cases(ruling::RULES, problems);
}

#[test]
fn placements_that_cannot_work_are_refused() {
    assert_cases(placing::PLACEMENTS, problems);
    assert_cases(placing::CONTEXT, problems);
}

#[test]
fn what_cannot_be_kept_of_units_is_refused() {
    assert_cases(keeping::UNITS, problems);
}

#[test]
fn policies_and_rewards_that_do_not_fit_are_refused() {
    assert_cases(deciding::POLICIES_AND_REWARDS, problems);
}

#[test]
fn what_is_allowed_but_odd_is_a_warning() {
    for cases in [deciding::ODDITIES, eligibility::HIDDEN, eligibility::PLATFORMS, bounding::KEPT_NOWHERE] {
        assert_cases(cases, |text| {
            let warnings = valid(text).warnings.problems;
            assert!(warnings.iter().all(|warning| warning.severity == Severity::Warning));
            warnings
        });
    }
}

/// 2026-11-01T00:00:00Z.
const NOVEMBER: Instant = Instant::from_ms(1_793_491_200_000);

#[test]
fn what_nobody_sees_any_more_is_a_warning() {
    assert_cases(eligibility::ENDED, |text| valid(text).warnings_at(NOVEMBER).problems);
}

#[test]
fn what_is_seen_in_one_market_or_yet_to_come_or_paused_has_not_ended() {
    assert_eq!(example().warnings_at(NOVEMBER).to_string(), "");
    let campaign = "validity: { starts_at: 2026-11-27T00:00:00+01:00, ends_at: 2026-12-01T00:00:00+01:00 }";
    let local = valid(&patched(campaign, "validity: { ends_at_local: 2026-11-01T00:00 }"));
    let warned = |after_s: u64| local.warnings_at(NOVEMBER.plus_s(after_s)).problems.len();
    assert_eq!([0, 4 * 3600 - 1, 4 * 3600].map(warned), [0, 0, 1], "clocks of New York are four hours behind");
    let paused = patched("paused: true", "paused: true\n    validity: { ends_at: 2020-01-01T00:00:00Z }");
    assert_eq!(valid(&paused).warnings_at(NOVEMBER).to_string(), "");
}

#[test]
fn what_is_never_shown_at_all_is_warned_of_once() {
    let never = "expression: platform == \"ios\"\n    scope: { offers: [trial-30-days-card] }\n";
    let tests = "    tests:\n      - { offer: trial-30-days-card, user: { device_class: tv }, expect: EXCLUDED }\n      - { offer: trial-30-days-card, user: { device_class: desktop }, expect: ALLOWED }\n";
    let rule =
        format!("expression: user.device_class != \"tv\"\n    scope: {{ offers: [trial-30-days-card] }}\n{tests}");
    let web = "platforms: [web]\n";
    let text =
        patched(&rule, never).replacen(web, "platforms: [web]\n    validity: { ends_at: 2020-01-01T00:00:00Z }\n", 1);
    let warnings = valid(&text).warnings_at(NOVEMBER).problems;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_platform_that_resembles_no_other_may_be_named_once() {
    let text = patched("platforms: [web, android]", "platforms: [web, android, fridge]");
    assert_eq!(valid(&text).warnings.to_string(), "");
}

#[test]
fn comparing_by_value_needs_a_value_for_every_arm() {
    let found = problems(&patched("objective: REWARD", "objective: VALUE"));
    let fields: Vec<_> = found.iter().map(|problem| problem.field.as_str()).collect();
    // The trials declare what they are worth, the others have a price above 0; `none` has neither.
    assert_eq!(fields, ["offers[0].value"]);
    assert!(found[0].description.contains("\"paywall\" compares offers by VALUE"), "{found:?}");
    let with_value = patched("kind: NONE", "kind: NONE\n    value: { currency_code: EUR, amount_minor: 300 }");
    assert_eq!(problems(&with_value.replacen("objective: REWARD", "objective: VALUE", 1)), []);
    let without_value = patched("    value: { currency_code: EUR, amount_minor: 900 }\n", "");
    let found = problems(&without_value.replacen("objective: REWARD", "objective: VALUE", 1));
    assert_eq!(found[1].field, "offers[1].value", "a free trial is worth nothing by its price");
}

#[test]
fn weights_that_sum_to_one_in_decimals_fit_a_beta_posterior() {
    let metrics = "metrics:\n  - { id: a, kind: COUNT }\n  - { id: b, kind: COUNT }\n  - { id: c, kind: COUNT }\n";
    let term = |metric, weight| format!("- {{ metric: {metric}, indicator: true, weight: {weight} }}");
    // In this order they sum to 1.0000000000000002.
    let terms = [term("a", 0.33), term("b", 0.56), term("c", 0.11)].join("\n        ");
    let text = patched("metrics:\n", metrics).replacen("- { metric: revenue, indicator: true }", &terms, 1);
    assert_eq!(valid(&text).catalog.placements["checkout_upsell"].reward.max, 1.0);
}

#[test]
fn a_reward_in_money_is_worth_itself() {
    let text = patched("objective: REWARD", "objective: VALUE").replacen(
        "metric: conversion, indicator: true",
        "metric: revenue",
        1,
    );
    assert_eq!(problems(&text), []);
}

#[test]
fn two_ways_to_show_nothing_are_refused() {
    let two = "  - id: none\n    kind: NONE\n  - { id: nothing, kind: NONE }\n";
    let text =
        patched("  - id: none\n    kind: NONE\n", two).replacen("      - none\n", "      - none\n      - nothing\n", 1);
    let found = problems(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].field, "placements[0].offers[1]");
    assert!(found[0].description.contains("there is one way to show nothing"));
}

#[test]
fn too_many_attributes_or_features_are_refused() {
    let attribute = |index: usize| format!("- {{ name: x{index}, boolean: {{}} }}");
    let list = |entries: Vec<String>| format!("attributes:\n        {}\n", entries.join("\n        "));
    let many = patched("attributes:\n", &list((0..60).map(attribute).collect()));
    assert!(problems(&many)[0].description.contains("has 67 entries, must have at most 64"));
    let words = (0..128).map(|index| format!("w{index}")).collect::<Vec<_>>().join(", ");
    let category = |name: &str| format!("- {{ name: {name}, category: {{ values: [{words}] }} }}");
    let found = problems(&patched("attributes:\n", &list(vec![category("a"), category("b")])));
    assert_eq!((found.len(), found[0].field.as_str()), (1, "placements[0].context"));
    assert!(found[0].description.contains("makes 271 features (1 intercept, 270 of attributes"), "{found:?}");
}

#[test]
fn bounds_and_groups_that_cannot_be_kept_are_refused() {
    assert_cases(bounding::BOUNDS_AND_GROUPS, problems);
}
