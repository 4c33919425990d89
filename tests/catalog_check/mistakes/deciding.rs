//! How it is decided: policies, rewards, and what is allowed but odd.

use super::Case;

pub(super) const POLICIES_AND_REWARDS: &[Case] = &[
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

pub(super) const ODDITIES: &[Case] = &[
    (
        "  - id: downgrade-to-basic\n    kind: PLAN_CHANGE\n",
        "  - id: spare\n    kind: STANDARD\n    plan: basic\n    prices: { SE: { price: { currency_code: SEK, amount_minor: 6900 } } }\n  \
         - id: downgrade-to-basic\n    kind: PLAN_CHANGE\n",
        "offers[12]",
        "spare",
        "no placement uses offer",
    ),
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
