//! What only a message can get wrong: a file cannot say it.

use super::example;
use offer_ranker::{catalog, proto};
use prost_types::Timestamp;

/// A change to the example, the field that is refused, and a piece of the description.
type Case = (fn(&mut proto::Catalog), &'static str, &'static str);

const UNKNOWN: &str = "is 99, which this version of the server does not know";

const CASES: &[Case] = &[
    (|catalog| catalog.offers[1].kind = 99, "offers[1].kind", UNKNOWN),
    (|catalog| catalog.metrics[0].kind = 99, "metrics[0].kind", UNKNOWN),
    (|catalog| catalog.placements[0].exposure = 99, "placements[0].exposure", UNKNOWN),
    (
        |catalog| catalog.placements[0].learning = Some(proto::Learning { mode: 99, ..Default::default() }),
        "placements[0].learning.mode",
        UNKNOWN,
    ),
    (
        |catalog| catalog.placements[0].learning = Some(proto::Learning { slots: 99, ..Default::default() }),
        "placements[0].learning.slots",
        UNKNOWN,
    ),
    (|catalog| catalog.rates.extend([("SEK".to_owned(), f64::NAN)]), "rates.SEK", "is NaN, must be from"),
    (|catalog| catalog.rates.extend([("SEK".to_owned(), f64::INFINITY)]), "rates.SEK", "is inf, must be from"),
    (
        |catalog| catalog.placements[0].bounds = Some(proto::Bounds { floor: f64::NAN, ..Default::default() }),
        "placements[0].bounds.floor",
        "is NaN, must be from 0 to 1",
    ),
    (
        |catalog| catalog.placements[0].reward.iter_mut().for_each(|reward| reward.max = Some(f64::NAN)),
        "placements[0].reward.max",
        "is NaN, must be from",
    ),
    (
        |catalog| {
            let ends_at = Some(Timestamp { seconds: i64::MAX, nanos: 0 });
            catalog.offers[1].validity = Some(proto::Validity { ends_at, ..Default::default() });
        },
        "offers[1].validity.ends_at",
        "must be an instant in the years 1 to 9999",
    ),
    (
        |catalog| {
            let starts_at = Some(Timestamp { seconds: 0, nanos: -1 });
            catalog.offers[1].validity = Some(proto::Validity { starts_at, ..Default::default() });
        },
        "offers[1].validity.starts_at",
        "is 0 s and -1 ns",
    ),
    (
        |catalog| catalog.rules[2].tests[0].lapsed_at = Some(Timestamp { seconds: 0, nanos: -1 }),
        "rules[2].tests[0].lapsed_at",
        "is 0 s and -1 ns, must be an instant in the years 1 to 9999",
    ),
    (
        |catalog| catalog.rules[2].tests[0].now = Some(Timestamp { seconds: i64::MAX, nanos: 0 }),
        "rules[2].tests[0].now",
        "must be an instant in the years 1 to 9999",
    ),
    (|catalog| catalog.placements[0].grace_s = Some(u64::MAX), "placements[0].grace_s", "must be from 0 to 34560000"),
    (|catalog| catalog.placements[0].offers.clear(), "placements[0].offers", "is empty: list the offers"),
    (|catalog| catalog.placements.clear(), "placements", "is empty: a catalog needs at least one placement"),
    (
        |catalog| catalog.offers[1].display.extend((0..64).map(|index| (format!("k{index}"), String::new()))),
        "offers[1].display",
        "has 66 entries, must have at most 64",
    ),
    (
        |catalog| catalog.offers[1].display.extend([("terms".to_owned(), "x".repeat(4097))]),
        "offers[1].display.terms",
        "has 4097 bytes, must have at most 4096",
    ),
    (
        |catalog| catalog.placements[0].offers.extend((0..256).map(|index| format!("x{index}"))),
        "placements[0].offers",
        "has 266 entries, must have at most 256",
    ),
    (
        |catalog| {
            let market = |index| proto::Market {
                id: format!("M{index}"),
                currency_code: "EUR".to_owned(),
                ..Default::default()
            };
            catalog.markets.extend((0..1000).map(market));
        },
        "markets",
        "has 1003 entries, must have at most 1000",
    ),
];

#[test]
fn messages_are_checked_like_files() {
    for &(change, field, description) in CASES {
        let mut declared = example().declared;
        change(&mut declared);
        let violations = catalog::validate(&declared).map(|_| ()).unwrap_err();
        let found = violations.iter().any(|found| found.field == field && found.description.contains(description));
        assert!(found, "{field}: {description}\n{violations:#?}");
    }
}

#[test]
fn where_no_plans_are_declared_a_rule_may_be_tried_on_any() {
    let mut declared = example().declared;
    declared.plans.clear();
    declared.rules[2].tests[1].current_plan = "of-old-times".to_owned();
    assert!(catalog::validate(&declared).is_ok());
}

#[test]
fn an_empty_message_is_told_all_that_it_lacks() {
    let violations = catalog::validate(&proto::Catalog::default()).map(|_| ()).unwrap_err();
    let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["reward_currency", "offers", "placements"]);
}
