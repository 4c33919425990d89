//! One mistake at a time in an otherwise valid catalog.

use super::{patched, problems, valid};
use offer_ranker::catalog::{Problem, Problems, Severity};

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

const FIELDS: &[Case] = &[
    ("plan: standard\n", "plam: standard\n", "offers[1].plam", "plam", "did you mean \"plan\"?"),
    ("plan: standard\n", "colour: red\n    plan: standard\n", "offers[1].colour", "colour", "it has: id, kind"),
    ("default_market: SE", "default_marker: SE", "default_marker", "default_marker", "mean \"default_market\"?"),
    ("plan: premium\n", "plan: premium\n    plan: premium\n", "offers[2].plan", "plan", "is given twice; the first"),
    ("{ id: SE, c", "{ id: SE, currencyCode: SEK, c", "markets[0].currency_code", "SE,", "as currencyCode and as"),
    (
        "DE: { price: { currency_code: EUR, amount_minor: 0 }",
        "US: { price: { currency_code: EUR, amount_minor: 0 }",
        "offers[1].prices.US",
        "US: { price: { currency_code: EUR",
        "is given twice",
    ),
    (
        "      thompson: {}\n",
        "      thompson: {}\n      uniform: {}\n",
        "placements[0].policy.uniform",
        "uniform",
        "cannot stand beside thompson in line",
    ),
    (
        "boolean: { default: false }",
        "boolean: { default: false }\n          number: { min: 0, max: 1 }",
        "placements[0].context.attributes[3].number",
        "number",
        "at most one type of number, category, boolean",
    ),
    ("plan: standard\n", "plan: &plan standard\n", "offers[1].plan", "plan", "has an anchor"),
    ("plan: standard\n", "plan: !!str standard\n", "offers[1].plan", "plan", "has a tag"),
    ("plan: standard\n", "plan: standard\n    ? [a]\n    : b\n", "offers[1]", "? [a]", "is not a plain name"),
];

const TYPES: &[Case] = &[
    (
        "amount_minor: 900 }",
        "amount_minor: abc }",
        "offers[1].value.amount_minor",
        "value",
        "is \"abc\", must be a whole number",
    ),
    ("amount_minor: 900 }", "amount_minor: 9.5 }", "offers[1].value.amount_minor", "value", "is 9.5, must be a whole"),
    (
        "amount_minor: 900 }",
        "amount_minor: 9223372036854775808 }",
        "offers[1].value.amount_minor",
        "value",
        "must be from -9223372036854775808",
    ),
    ("slots: 3", "slots: -1", "placements[0].slots", "slots: -1", "is -1, must be from 0 to 4294967295"),
    ("slots: 3", "slots: 4294967296", "placements[0].slots", "slots", "is 4294967296, must be from 0 to"),
    ("slots: 3", "slots: [3]", "placements[0].slots", "slots", "is a list, must be a single value"),
    ("plan: standard\n", "plan: 42\n", "offers[1].plan", "plan: 42", "put it in quotes, \"42\""),
    ("plan: standard\n", "plan: true\n", "offers[1].plan", "plan: true", "is true, a boolean, must be a string"),
    ("plan: standard\n", "plan: { a: b }\n", "offers[1].plan", "plan", "is a mapping, must be a single value"),
    ("paused: true", "paused: yes", "offers[12].paused", "paused: yes", "is \"yes\", must be true or false"),
    ("paused: true", "paused: \"true\"", "offers[12].paused", "paused", "is \"true\", must be true or false"),
    ("paused: true", "paused: 1", "offers[12].paused", "paused", "is 1, must be true or false"),
    ("floor: 0.02", "floor: .nan", "placements[0].bounds.floor", "floor", "is .nan, must be a finite number"),
    ("floor: 0.02", "floor: -.inf", "placements[0].bounds.floor", "floor", "is -.inf, must be a finite number"),
    ("floor: 0.02", "floor: 1e999", "placements[0].bounds.floor", "floor", "is 1e999, must be a finite number"),
    ("floor: 0.02", "floor: 2%", "placements[0].bounds.floor", "floor", "is \"2%\", must be a number"),
    ("tags: [acquisition]", "tags: acquisition", "offers[1].tags", "tags", "is \"acquisition\", must be a list"),
    ("tags: [acquisition]", "tags: [7]", "offers[1].tags[0]", "tags", "is 7, a number, must be a string"),
    ("rates: { SEK: 0.0885, USD: 0.92 }", "rates: [1]", "rates", "rates", "is a list, must be a mapping"),
    ("thompson: {}", "thompson:", "placements[0].policy.thompson", "thompson", "{} for a message of defaults"),
    ("thompson: {}", "thompson: true", "placements[0].policy.thompson", "thompson", "is true, must be a mapping"),
    ("kind: TRIAL", "kind: ~", "offers[1].kind", "kind", "is empty"),
    ("kind: TRIAL", "kind: TRAIL", "offers[1].kind", "kind", "STANDARD, NONE (did you mean \"TRIAL\"?)"),
    ("kind: TRIAL", "kind: 1", "offers[1].kind", "kind", "is 1, must be one of: TRIAL"),
    (
        "starts_at: 2026-11-27T00:00:00+01:00",
        "starts_at: 2026-11-27",
        "offers[6].validity.starts_at",
        "starts_at",
        "must be an instant with its offset",
    ),
    (
        "starts_at: 2026-11-27T00:00:00+01:00",
        "starts_at: {}",
        "offers[6].validity.starts_at",
        "starts_at",
        "is a mapping, must be an instant",
    ),
];

const MONEY: &[Case] = &[
    ("reward_currency: EUR", "reward_currency: eur", "reward_currency", "eur", "is \"eur\", must be \"EUR\""),
    ("reward_currency: EUR", "reward_currency: EURO", "reward_currency", "EURO", "must be an ISO 4217 code"),
    ("reward_currency: EUR", "reward_currency: XAU", "reward_currency", "XAU", "no minor units"),
    ("reward_currency: EUR\n", "\n", "reward_currency", "", "is missing, must be an ISO 4217 code"),
    ("SEK: 0.0885", "SEK: 0", "rates.SEK", "rates", "is 0, must be from 0.000000001"),
    ("SEK: 0.0885", "SEK: -1", "rates.SEK", "rates", "is -1, must be from"),
    ("SEK: 0.0885, ", "", "rates.SEK", "rates", "is missing, but market \"SE\" needs it"),
    ("SEK: 0.0885", "SEK: 0.0885, EUR: 2", "rates.EUR", "rates", "must be 1 or absent"),
    ("USD: 0.92", "USD: 0.92, XYZ: 1", "rates.XYZ", "rates", "is \"XYZ\", must be an ISO 4217 code"),
    ("amount_minor: 900 }", "amount_minor: 0 }", "offers[1].value.amount_minor", "value", "is 0, must be from 1"),
    (
        "value: { currency_code: EUR, amount_minor: 900 }",
        "value: { currency_code: GBP, amount_minor: 900 }",
        "rates.GBP",
        "rates",
        "is missing, but offers[1].value needs it",
    ),
    (
        "value: { currency_code: EUR, amount_minor: 900 }",
        "value: { amount_minor: 900 }",
        "offers[1].value.currency_code",
        "value",
        "is missing",
    ),
    (
        "  - { id: US,",
        "  - { id: us-1, currency_code: USD }\n  - { id: US,",
        "markets[1].id",
        "us-1",
        "is \"us-1\", must be 1 to 16 of A-Z",
    ),
    (
        "  - { id: US,",
        "  - { id: SE, currency_code: SEK }\n  - { id: US,",
        "markets[1].id",
        "SE",
        "is \"SE\", which markets[0].id is already",
    ),
    ("default_market: SE", "default_market: NO", "default_market", "NO", "which is no market; there are: DE, SE, US"),
    (
        "DE: { price: { currency_code: EUR",
        "DE: { price: { currency_code: SEK",
        "offers[1].prices.DE.price.currency_code",
        "DE:",
        "is \"SEK\", must be \"EUR\", the currency of market DE",
    ),
    (
        "SE: { price: { currency_code: SEK, amount_minor: 0 }",
        "SEE: { price: { currency_code: SEK, amount_minor: 0 }",
        "offers[1].prices.SEE",
        "SEE:",
        "is \"SEE\", which is no market (did you mean \"SE\"?)",
    ),
    (
        "amount_minor: 8900 }",
        "amount_minor: -1 }",
        "offers[3].prices.SE.price.amount_minor",
        "SE:",
        "is -1, must be from 0",
    ),
    (
        "amount_minor: 8900 }",
        "amount_minor: 89000 }",
        "offers[3].prices.SE.list_price.amount_minor",
        "SE:",
        "is 11900, must not be below the price, 89000",
    ),
    (
        "{ price: { currency_code: SEK, amount_minor: 19900 } }",
        "{ }",
        "offers[11].prices.SE.price",
        "SE:",
        "is missing: say what the user pays",
    ),
];

const OFFERS: &[Case] = &[
    (
        "  - id: downgrade-to-basic",
        "  - { id: none, kind: NONE }\n  - id: downgrade-to-basic",
        "offers[12].id",
        "none",
        "is \"none\", which offers[0].id is already",
    ),
    (
        "  - id: downgrade-to-basic",
        "  - { id: No ne, kind: NONE }\n  - id: downgrade-to-basic",
        "offers[12].id",
        "No ne",
        "is \"No ne\", must be 1 to 64 of a-z",
    ),
    ("kind: TRIAL", "paused: false", "offers[1].kind", "id: trial-7-days", "is missing, must be one of: TRIAL"),
    ("kind: TRIAL", "kind: OFFER_KIND_UNSPECIFIED", "offers[1].kind", "kind", "is missing"),
    ("kind: NONE", "kind: NONE\n    plan: standard", "offers[0].plan", "plan", "must be absent"),
    (
        "kind: NONE",
        "kind: NONE\n    prices: { SE: { price: { currency_code: SEK, amount_minor: 1 } } }",
        "offers[0].prices",
        "prices",
        "must be absent",
    ),
    ("plan: family\n", "paused: false\n", "offers[11].plan", "id: upgrade-to-family", "is missing: name the plan"),
    ("plan: family\n", "plan: \"fam\\nily\"\n", "offers[11].plan", "plan", "control characters"),
    (
        "ends_at: 2026-12-01",
        "ends_at: 2026-11-01",
        "offers[6].validity.ends_at",
        "ends_at",
        "is 2026-10-31T23:00:00Z, must be after starts_at, 2026-11-26T23:00:00Z",
    ),
    ("tags: [acquisition]", "tags: [New Users]", "offers[1].tags[0]", "New Users", "must be 1 to 64 of a-z"),
    (
        "platforms: [web, android]",
        "platforms: [web, web]",
        "offers[4].platforms[1]",
        "web",
        "which offers[4].platforms[0] is already",
    ),
    ("display: { headline: Seven", "display: { \"\": Seven", "offers[1].display[\"\"]", "display", "key of 0 bytes"),
];

const PLACEMENTS: &[Case] = &[
    ("id: checkout_upsell", "id: paywall", "placements[1].id", "paywall", "which placements[0].id is already"),
    (
        "- premium-monthly\n",
        "- premium-montly\n",
        "placements[0].offers[9]",
        "premium-montly",
        "which is no offer of this catalog (did you mean \"premium-monthly\"?)",
    ),
    ("- premium-monthly\n", "- none\n", "placements[0].offers[9]", "none", "which placements[0].offers[0] is already"),
    ("slots: 3", "slots: 0", "placements[0].slots", "slots", "is 0, must be from 1 to 10"),
    ("slots: 3", "slots: 11", "placements[0].slots", "slots", "is 11, must be from 1 to 10"),
    ("slots: 1\n", "slots: 6\n", "placements[1].slots", "slots", "is 6, must be at most 5"),
    ("slots: 3", "partitions: 65", "placements[0].partitions", "partitions", "is 65, must be from 1 to 64"),
    (
        "attribution_window_s: 604800",
        "attribution_window_s: 0",
        "placements[0].attribution_window_s",
        "attribution",
        "is 0, must be from 1 to 34560000",
    ),
    (
        "revision_window_s: 7776000",
        "revision_window_s: 100",
        "placements[0].revision_window_s",
        "revision",
        "is 100, must be at least attribution window and grace, 691200",
    ),
    (
        "revision_window_s: 7776000",
        "revision_window_s: 34560001",
        "placements[0].revision_window_s",
        "revision",
        "must be at most 34560000, 400 days",
    ),
    (
        "attribution_window_s: 86400",
        "attribution_window_s: 34560000",
        "placements[1].attribution_window_s",
        "attribution",
        "is 34646400 together with grace_s",
    ),
    (
        "half_life_s: 15552000",
        "half_life_s: 59",
        "placements[1].learning.half_life_s",
        "half_life_s",
        "is 59, must be from 60",
    ),
    ("floor: 0.02", "floor: 0.2", "placements[0].bounds", "bounds", "sum to 2 over 10 offers, must sum to at most 1"),
    ("floor: 0.02", "floor: -0.1", "placements[0].bounds.floor", "floor", "is -0.1, must be from 0 to 1"),
    (
        "floors: { none: 0.1 }",
        "floors: { non: 0.1 }",
        "placements[1].bounds.floors.non",
        "non",
        "which is no offer of this placement (did you mean \"none\"?)",
    ),
    ("floors: { none: 0.1 }", "floors: { none: 0.9 }", "placements[1].bounds", "bounds", "sum to 1.1 over 5 offers"),
];

const CONTEXT: &[Case] = &[
    ("name: tenure_days", "name: Tenure", "placements[0].context.attributes[0].name", "Tenure", "with a letter first"),
    ("name: tenure_days", "name: intercept", "placements[0].context.attributes[0].name", "intercept", "always 1"),
    (
        "name: sessions_last_7d",
        "name: tenure_days",
        "placements[0].context.attributes[1].name",
        "tenure_days",
        "which placements[0].context.attributes[0].name is already",
    ),
    (
        "          boolean: { default: false }\n",
        "",
        "placements[0].context.attributes[3]",
        "is_weekend",
        "has no type, must have one of: number, category, boolean",
    ),
    (
        "max: 23, default: 12",
        "max: 0, default: 0",
        "placements[0].context.attributes[2].number.max",
        "number",
        "is 0, must be above min, 0",
    ),
    (
        "max: 23, default: 12",
        "max: 1e16, default: 12",
        "placements[0].context.attributes[2].number.max",
        "number",
        "is 10000000000000000, must be from",
    ),
    (
        "max: 23, default: 12",
        "max: 23, default: 24",
        "placements[0].context.attributes[2].number.default",
        "number",
        "is 24, must be from 0 to 23",
    ),
    (
        "values: [phone, tablet",
        "values: [phone, phone",
        "placements[0].context.attributes[6].category.values[1]",
        "category",
        "is \"phone\", which",
    ),
    (
        "values: [phone, tablet",
        "values: [phone, \"\"",
        "placements[0].context.attributes[6].category.values[1]",
        "category",
        "has 0 bytes, must have from 1 to 64",
    ),
    (
        "values: [phone, tablet",
        "values: [phone, \"tab\\tlet\"",
        "placements[0].context.attributes[6].category.values[1]",
        "category",
        "control characters",
    ),
    (
        "values: [phone, tablet, desktop, tv], default: phone",
        "values: []",
        "placements[0].context.attributes[6].category.values",
        "category",
        "is empty: list the words",
    ),
    (
        "values: [organic, email",
        "values: [organic, (unknown)",
        "placements[0].context.attributes[5].category.values[1]",
        "category",
        "the name of the bucket",
    ),
    (
        "default: phone",
        "default: fridge",
        "placements[0].context.attributes[6].category.default",
        "category",
        "is \"fridge\", must be one of its values: \"phone\", \"tablet\", \"desktop\", \"tv\"",
    ),
];

const POLICIES_AND_REWARDS: &[Case] = &[
    (
        "thompson: {}",
        "epsilon_greedy: { epsilon: 1.5 }",
        "placements[0].policy.epsilon_greedy.epsilon",
        "epsilon",
        "is 1.5, must be from 0 to 1",
    ),
    (
        "thompson: {}",
        "fixed: { order: [none, upgrade-to-family] }",
        "placements[0].policy.fixed.order[1]",
        "order",
        "which is no offer of this placement",
    ),
    (
        "thompson: {}",
        "fixed: { order: [none, none] }",
        "placements[0].policy.fixed.order[1]",
        "order",
        "which placements[0].policy.fixed.order[0] is already",
    ),
    ("precision: 4", "precision: 0", "placements[0].policy.linear.precision", "linear", "is 0, must be from 0.000001"),
    ("b: 0.1", "b: 1e10", "placements[0].policy.linear.b", "linear", "is 10000000000, must be from"),
    (
        "alpha: 1, beta: 19",
        "alpha: -1, beta: 19",
        "placements[1].policy.beta.prior.alpha",
        "prior",
        "is -1, must be from 0.000001",
    ),
    (
        "none: { alpha: 1, beta: 99 }",
        "nothing: { alpha: 1, beta: 99 }",
        "placements[1].policy.beta.arm_priors.nothing",
        "nothing",
        "which is no offer of this placement",
    ),
    (
        "metric: conversion, indicator",
        "metric: conversoin, indicator",
        "placements[0].reward.terms[0].metric",
        "conversoin",
        "which is no metric (did you mean \"conversion\"?)",
    ),
    (
        "metric: conversion, indicator: true",
        "metric: conversion, weight: 0",
        "placements[0].reward.terms[0].weight",
        "weight",
        "is 0, which takes the metric out",
    ),
    (
        "- { metric: conversion, indicator: true }",
        "- { metric: conversion, indicator: true }\n        - { metric: conversion }",
        "placements[0].reward.terms[1].metric",
        "{ metric: conversion }",
        "which placements[0].reward.terms[0].metric is already",
    ),
    (
        "- { metric: conversion, indicator: true }",
        "- { metric: conversion, indicator: true }\n        - { metric: revenue }",
        "placements[0].reward.terms",
        "terms",
        "mixes money with what is not money",
    ),
    (
        "- { metric: conversion, indicator: true }",
        "- { metric: conversion }\n      min: 1\n      max: 1",
        "placements[0].reward.max",
        "max: 1",
        "is 1, must be above min, 1",
    ),
    (
        "- { metric: conversion, indicator: true }",
        "- { metric: conversion, indicator: true }\n      max: 0",
        "placements[0].reward",
        "reward",
        "is always 0, so that nothing can be learned",
    ),
    (
        "- { metric: conversion, indicator: true }",
        "- { metric: conversion, indicator: true }\n      unit: 0",
        "placements[0].reward.unit",
        "unit",
        "is 0, must be from 0.000001",
    ),
    (
        "- { metric: revenue, indicator: true }",
        "- { metric: revenue, indicator: true }\n      unit: 10",
        "placements[1].reward.unit",
        "unit",
        "is 10, must be 1 or absent: a Beta posterior",
    ),
    (
        "metric: revenue, indicator: true",
        "metric: revenue",
        "placements[1].reward",
        "reward",
        "goes from minus infinity to infinity",
    ),
    (
        "metric: revenue, indicator: true",
        "metric: revenue, indicator: true, weight: 2",
        "placements[1].reward",
        "reward",
        "goes from 0 to 2",
    ),
    (
        "    reward:\n      terms:\n        - { metric: conversion, indicator: true }\n",
        "",
        "placements[0].reward",
        "id: paywall",
        "is missing: say which metrics",
    ),
];

const ODDITIES: &[Case] = &[
    ("to-family, downgrade-to-basic]", "to-family]", "offers[12]", "downgrade-to-basic", "no placement uses offer"),
    (
        "  - { id: DE, c",
        "  - { id: FR, currency_code: EUR }\n  - { id: DE, c",
        "markets[2]",
        "FR",
        "no offer has a price in market \"FR\"",
    ),
    ("  - id: revenue", "  - { id: churn, kind: COUNT }\n  - id: revenue", "metrics[1]", "churn", "no reward uses"),
    ("floor: 0.02", "floor: 0.095", "placements[0].bounds", "bounds", "only 5 % is left"),
    (
        "thompson: {}",
        "fixed: { order: [premium-monthly] }",
        "placements[0].bounds",
        "bounds",
        "take 18 % from the first",
    ),
    ("      - none\n", "", "placements[0].offers", "offers", "has no offer of kind NONE"),
];

#[test]
fn what_cannot_be_read_is_reported_at_its_line() {
    assert_cases(FIELDS, problems);
    assert_cases(TYPES, problems);
}

#[test]
fn money_that_does_not_add_up_is_refused() {
    assert_cases(MONEY, problems);
}

#[test]
fn offers_that_make_no_sense_are_refused() {
    assert_cases(OFFERS, problems);
}

#[test]
fn placements_that_cannot_work_are_refused() {
    assert_cases(PLACEMENTS, problems);
    assert_cases(CONTEXT, problems);
}

#[test]
fn policies_and_rewards_that_do_not_fit_are_refused() {
    assert_cases(POLICIES_AND_REWARDS, problems);
}

#[test]
fn what_is_allowed_but_odd_is_a_warning() {
    assert_cases(ODDITIES, |text| {
        let warnings = valid(text).warnings.problems;
        assert!(warnings.iter().all(|warning| warning.severity == Severity::Warning));
        warnings
    });
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
