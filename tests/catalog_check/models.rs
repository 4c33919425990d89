//! Model ids: what a posterior survives, and what makes it another one.

use super::{patched, valid};
use iso_currency::Currency;
use offer_ranker::catalog;

/// The model id of the paywall after a change to the example.
fn model(from: &str, to: &str) -> String {
    let catalog = valid(&patched(from, to)).catalog;
    let paywall = catalog.placements.values().find(|placement| placement.id.starts_with("paywall"));
    catalog::model_id(paywall.expect("every change leaves the paywall"), catalog.reward_currency)
}

#[test]
fn a_model_outlives_what_it_does_not_depend_on() {
    let before = model("slots: 3", "slots: 3");
    assert_eq!(before.len(), 32);
    for (from, to) in [
        ("      - none\n", ""),
        ("floor: 0.02", "floor: 0.01"),
        ("precision: 4", "precision: 1"),
        ("slots: 3", "slots: 2"),
        ("thompson: {}", "epsilon_greedy: { epsilon: 0.1 }"),
        ("amount_minor: 8900 }", "amount_minor: 8800 }"),
        ("SEK: 0.0885", "SEK: 0.1"),
        ("grace_s: 86400", "grace_s: 3600"),
        ("learning: { mode: IMMEDIATE }", "exposure: CONFIRMED"),
    ] {
        assert_eq!(model(from, to), before, "{from:?} -> {to:?}");
    }
}

#[test]
fn a_model_is_another_one_when_its_numbers_mean_something_else() {
    let mut models = vec![model("slots: 3", "slots: 3")];
    for (from, to) in [
        ("id: paywall", "id: paywall2"),
        ("name: local_hour", "name: hour"),
        ("max: 23, default: 12", "max: 24, default: 12"),
        ("max: 23, default: 12", "max: 23, default: 9"),
        ("number: { min: 0, max: 23", "number: { scaling: LOG, min: 0, max: 23"),
        ("values: [organic, email", "values: [email, organic"),
        ("unknown_bucket: true, ", ""),
        ("linear: { precision: 4, a: 1, b: 0.1 }", "beta: {}"),
        ("metric: conversion, indicator: true", "metric: conversion"),
        ("metric: conversion, indicator: true", "metric: conversion, indicator: true, weight: 0.5"),
        ("metric: conversion, indicator: true }", "metric: conversion, indicator: true }\n      unit: 2"),
        ("mode: IMMEDIATE", "mode: AT_MATURITY"),
        ("mode: IMMEDIATE", "mode: IMMEDIATE, slots: ALL"),
        ("mode: IMMEDIATE", "mode: IMMEDIATE, half_life_s: 60"),
    ] {
        let model = model(from, to);
        assert!(!models.contains(&model), "{from:?} -> {to:?}");
        models.push(model);
    }
}

#[test]
fn slots_matter_to_a_model_that_learns_from_all_of_them() {
    let of_slots = |slots: &str| {
        let text = patched("mode: IMMEDIATE", "slots: ALL").replacen("slots: 3", slots, 1);
        catalog::model_id(&valid(&text).catalog.placements["paywall"], Currency::EUR)
    };
    assert_ne!(of_slots("slots: 2"), of_slots("slots: 3"));
}

#[test]
fn a_model_in_money_is_another_one_in_another_currency() {
    let money = valid(&patched("metric: conversion, indicator: true", "metric: revenue")).catalog;
    let counted = valid(&patched("slots: 3", "slots: 3")).catalog;
    let ids = |catalog: &offer_ranker::engine::catalog::Catalog| {
        [Currency::EUR, Currency::SEK].map(|currency| catalog::model_id(&catalog.placements["paywall"], currency))
    };
    let [in_euros, in_kronor] = ids(&money);
    assert_ne!(in_euros, in_kronor);
    let [in_euros, in_kronor] = ids(&counted);
    assert_eq!(in_euros, in_kronor);
}
