//! What may be offered to whom: markets' clocks and law, plans, windows, groups.

use super::Case;

pub(super) const MARKETS_AND_PLANS: &[Case] = &[
    (
        "time_zone: Europe/Stockholm",
        "time_zone: Europe/Stokholm",
        "markets[0].time_zone",
        "id: SE",
        "must be a time zone of the IANA database such as \"Europe/Stockholm\" (did you mean \"Europe/Stockholm\"?)",
    ),
    (
        "time_zone: Europe/Stockholm",
        "time_zone: CET+1",
        "markets[0].time_zone",
        "id: SE",
        "is \"CET+1\", must be a time",
    ),
    ("discount_max: 0.7", "discount_max: 70", "markets[0].discount_max", "id: SE", "is 70, must be from 0 to 1"),
    ("discount_max: 0.7", "discount_max: -0.1", "markets[0].discount_max", "id: SE", "is -0.1, must be from 0 to 1"),
    ("discount_max: 0.7", "discount_max: .nan", "markets[0].discount_max", "id: SE", "must be a finite number"),
    (
        "personalised_pricing: FORBIDDEN",
        "personalised_pricing: FORBIDEN",
        "markets[2].personalised_pricing",
        "id: DE",
        "must be one of: ALLOWED, DISCLOSE, FORBIDDEN (did you mean \"FORBIDDEN\"?)",
    ),
    (
        ", disclosure_text_key: pricing.algorithmic",
        "",
        "markets[1].disclosure_text_key",
        "id: US",
        "is missing: say which text",
    ),
    (
        "personalised_pricing: DISCLOSE, disc",
        "disc",
        "markets[1].disclosure_text_key",
        "id: US",
        "must be absent: nothing is disclosed unless",
    ),
    (
        "disclosure_text_key: pricing.algorithmic",
        "disclosure_text_key: \"a\\tb\"",
        "markets[1].disclosure_text_key",
        "id: US",
        "must not hold control characters",
    ),
    (
        "  - id: basic\n",
        "  - id: \"\"\n  - id: basic\n",
        "plans[0].id",
        "id: \"\"",
        "has 0 bytes, must have from 1 to 128",
    ),
    (
        "  - id: family\n",
        "  - id: basic\n  - id: family\n",
        "plans[4].id",
        "basic",
        "\"basic\", which plans[0].id is already",
    ),
    (
        "      SE: { currency_code: SEK, amount_minor: 4500 }",
        "      SEE: { currency_code: SEK, amount_minor: 4500 }",
        "plans[1].floors.SEE",
        "SEE",
        "which is no market (did you mean \"SE\"?)",
    ),
    (
        "      SE: { currency_code: SEK, amount_minor: 4500 }",
        "      SE: { currency_code: EUR, amount_minor: 4500 }",
        "plans[1].floors.SE.currency_code",
        "SE:",
        "is \"EUR\", must be \"SEK\", the currency of market SE",
    ),
    (
        "      SE: { currency_code: SEK, amount_minor: 4500 }",
        "      SE: { currency_code: SEK, amount_minor: -1 }",
        "plans[1].floors.SE.amount_minor",
        "SE:",
        "is -1, must be from 0",
    ),
    (
        "kind: TRIAL\n    plan: standard",
        "kind: TRIAL\n    plan: standart",
        "offers[1].plan",
        "standart",
        "is \"standart\", which is no plan of this catalog (did you mean \"standard\"?)",
    ),
];

pub(super) const WINDOWS_AND_GROUPS: &[Case] = &[
    (
        "lapse: { min_days: 30, max_days: 730 }",
        "lapse: { min_days: 730, max_days: 30 }",
        "offers[7].lapse.max_days",
        "lapse",
        "is 30, must be from 730",
    ),
    (
        "lapse: { min_days: 30, max_days: 730 }",
        "lapse: { min_days: 4000 }",
        "offers[7].lapse.min_days",
        "lapse",
        "is 4000, must be from 0 to 3650",
    ),
    (
        "lapse: { min_days: 30, max_days: 730 }",
        "lapse: { minimum_days: 30 }",
        "offers[7].lapse.minimum_days",
        "lapse",
        "is no field of LapseWindow (did you mean \"min_days\"?)",
    ),
    (
        "    to_subscribers: true",
        "    lapse: { min_days: 30 }\n    to_subscribers: true",
        "offers[13].lapse",
        "lapse",
        "must be absent: only offers of kind WIN_BACK",
    ),
    (
        "exclusion_group: trials",
        "exclusion_group: trials\n    to_subscribers: true",
        "offers[1].to_subscribers",
        "to_subscribers",
        "must be absent: only offers of kind DISCOUNT",
    ),
    (
        "exclusion_group: trials",
        "exclusion_group: Trials!",
        "offers[1].exclusion_group",
        "Trials!",
        "must be 1 to 64 of a-z",
    ),
    (
        "kind: NONE\n",
        "kind: NONE\n    exclusion_group: trials\n",
        "offers[0].exclusion_group",
        "trials",
        "must be absent: an offer of kind NONE ends the slate",
    ),
    (
        "starts_at_local: 2025-08-15T00:00",
        "starts_at_local: 2025-08-15",
        "offers[4].validity.starts_at_local",
        "validity",
        "must be a time on the market's clocks such as \"2026-11-27T00:00\", without an offset",
    ),
    (
        "starts_at_local: 2025-08-15T00:00",
        "starts_at_local: 2025-08-15T00:00+02:00",
        "offers[4].validity.starts_at_local",
        "validity",
        "without an offset",
    ),
    (
        "starts_at_local: 2025-08-15T00:00",
        "starts_at_local: 2025-02-30T00:00",
        "offers[4].validity.starts_at_local",
        "validity",
        "is \"2025-02-30T00:00\", must be a time",
    ),
    (
        "starts_at_local: 2025-08-15T00:00",
        "starts_at_local: 2025-08-15T00:00, starts_at: 2025-08-15T00:00:00Z",
        "offers[4].validity.starts_at_local",
        "validity",
        "cannot stand beside starts_at: give one of them",
    ),
    (
        "starts_at_local: 2025-08-15T00:00",
        "starts_at_local: 2025-08-15T00:00, ends_at_local: 2025-08-15T00:00",
        "offers[4].validity.ends_at_local",
        "validity",
        "is 2025-08-15T00:00, must be after starts_at_local, 2025-08-15T00:00 in market DE",
    ),
    (
        "starts_at_local: 2025-08-15T00:00",
        "starts_at_local: 2025-08-15T00:00, ends_at: 2025-08-14T22:00:00Z",
        "offers[4].validity.ends_at",
        "validity",
        "must be after starts_at_local, 2025-08-15T00:00 in market",
    ),
    (
        "time_zone: Europe/Stockholm, ",
        "",
        "offers[4].validity.starts_at_local",
        "validity",
        "needs the clocks of market SE: declare its time_zone",
    ),
    (
        "kind: NONE\n",
        "kind: NONE\n    validity: { starts_at_local: 2025-08-15T00:00 }\n",
        "offers[0].validity.starts_at_local",
        "validity",
        "must be absent: an offer of kind NONE belongs to no market",
    ),
];

/// Allowed, but hardly meant.
pub(super) const HIDDEN: &[Case] = &[
    (
        "amount_minor: 4700 }, list_price",
        "amount_minor: 3500 }, list_price",
        "offers[7].prices.SE.price",
        "SE:",
        "saves 70.6 % of the list price, but market SE allows 70 %: not shown there",
    ),
    (
        "amount_minor: 4700 }, list_price",
        "amount_minor: 4400 }, list_price",
        "offers[7].prices.SE.price",
        "SE:",
        "is 4400, below 4500, the floor of plan \"standard\" in market SE: not shown there",
    ),
    (
        "    scope: { offers: [trial-30-days-card] }\n    tests:\n      - { offer: trial-30-days-card, user: { device_class: tv }, expect: EXCLUDED }\n      - { offer: trial-30-days-card, user: { device_class: desktop }, expect: ALLOWED }\n",
        "    scope: { offers: [trial-30-days-card], placements: [checkout_upsell] }\n",
        "rules[1]",
        "no-cards-on-tv",
        "is about no offer of any placement",
    ),
    (
        "expression: subscription.current_plan != \"family\"\n    scope: { offers: [upgrade-to-premium] }\n    tests:\n      - { offer: upgrade-to-premium, current_plan: family, expect: EXCLUDED }\n      - { offer: upgrade-to-premium, current_plan: standard, expect: ALLOWED }\n",
        "expression: offer.plan == \"family\"\n    scope: { offers: [upgrade-to-premium] }\n",
        "offers[10]",
        "upgrade-to-premium",
        "can never be shown: in market DE rule \"family-is-more-than-premium\" never holds for it, in market SE",
    ),
    (
        "expression: user.device_class != \"tv\"\n    scope: { offers: [trial-30-days-card] }\n    tests:\n      - { offer: trial-30-days-card, user: { device_class: tv }, expect: EXCLUDED }\n      - { offer: trial-30-days-card, user: { device_class: desktop }, expect: ALLOWED }\n",
        "expression: platform == \"ios\"\n    scope: { offers: [trial-30-days-card] }\n",
        "offers[2]",
        "trial-30-days-card",
        "can never be shown: in market SE rule \"no-cards-on-tv\" never holds for it on its platforms",
    ),
];

/// Platforms that somebody else calls otherwise.
pub(super) const PLATFORMS: &[Case] = &[
    (
        "platforms: [web]",
        "platforms: [wbe]",
        "offers[2].platforms[0]",
        "wbe",
        "is \"wbe\", a platform that nothing else in the catalog names (did you mean \"web\"?)",
    ),
    (
        "expression: user.device_class != \"tv\"",
        "expression: user.device_class != \"tv\" && platform != \"andriod\"",
        "rules[1].expression",
        "andriod",
        "compares platform with \"andriod\", a platform that nothing else in the catalog names (did you mean \
         \"android\"?)",
    ),
    (
        "expression: user.device_class != \"tv\"",
        "expression: user.device_class != \"tv\" && (platform == \"\" || !(platform in [\"ios\", \"andriod\"]))",
        "rules[1].expression",
        "andriod",
        "compares platform with \"andriod\", a platform",
    ),
    (
        "expression: user.device_class != \"tv\"",
        "expression: user.device_class != \"tv\" && platform != \"Web\"",
        "rules[1].expression",
        "Web",
        "(did you mean \"web\"?)",
    ),
    (
        "expression: user.device_class != \"tv\"",
        "expression: user.device_class != \"tv\" && platform != \"Smart TV\"",
        "rules[1].expression",
        "Smart TV",
        "compares platform with \"Smart TV\", which no request can name: a platform is 1 to 64 of a-z",
    ),
    (
        "current_plan: family, expect: EXCLUDED",
        "current_plan: family, platform: wbe, expect: EXCLUDED",
        "rules[2].tests[0].platform",
        "wbe",
        "is \"wbe\", a platform that nothing else in the catalog names (did you mean \"web\"?)",
    ),
    // A rule and its tests are written by one hand: together they name it once.
    (
        "expression: subscription.current_plan != \"family\"\n    scope: { offers: [upgrade-to-premium] }\n    tests:\n      - {",
        "expression: subscription.current_plan != \"family\" && platform != \"ois\"\n    scope: { offers: [upgrade-to-premium] }\n    tests:\n      - { platform: ois,",
        "rules[2].expression",
        "ois",
        "compares platform with \"ois\", a platform that nothing else in the catalog names (did you mean \"ios\"?)",
    ),
];

/// Offers that nobody sees any more on 1 November 2026, at midnight in UTC.
pub(super) const ENDED: &[Case] = &[
    (
        "validity: { starts_at: 2026-11-27T00:00:00+01:00, ends_at: 2026-12-01T00:00:00+01:00 }",
        "validity: { starts_at: 2020-11-27T00:00:00+01:00, ends_at: 2020-12-01T00:00:00+01:00 }",
        "offers[6]",
        "black-friday-2026",
        "can never be shown again: in market DE its validity was over at 2020-11-30T23:00:00Z, in market SE its",
    ),
    (
        "starts_at_local: 2025-08-15T00:00",
        "starts_at_local: 2025-08-15T00:00, ends_at_local: 2026-11-01T00:00",
        "offers[4]",
        "student-half-price",
        "can never be shown again: in market DE its validity was over at 2026-10-31T23:00:00Z, in market SE its",
    ),
    (
        "kind: NONE\n",
        "kind: NONE\n    validity: { ends_at: 2026-11-01T00:00:00Z }\n",
        "offers[0]",
        "id: none",
        "can never be shown again: its validity was over at 2026-11-01T00:00:00Z; give it another validity",
    ),
    (
        "    lapse: { min_days: 30, max_days: 730 }\n",
        "    lapse: { min_days: 30, max_days: 730 }\n    validity: { ends_at: 2026-10-01T00:00:00Z }\n",
        "offers[7]",
        "win-back-60-off",
        "can never be shown again",
    ),
];
