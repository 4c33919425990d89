//! Files as a whole: the example, defaults, spellings, order, and what is no catalog at all.

use super::{EXAMPLE, EXAMPLE_PATH, example, patched, problems, valid};
use offer_ranker::{
    catalog::{self, PROBLEMS_MAX},
    engine::{
        catalog::{OfferKind, PosteriorKind, Selection},
        context::AttributeValue,
        posterior::linear::LinearPrior,
    },
    proto,
};
use prost_reflect::{DescriptorPool, DynamicMessage};
use std::{fs, path::Path};

#[test]
fn the_example_is_valid_and_nothing_in_it_is_odd() {
    let loaded = catalog::load(Path::new(EXAMPLE_PATH)).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.warnings.to_string(), "");
    let catalog = &loaded.catalog;
    assert_eq!(catalog.offers.len(), 14);
    assert_eq!(catalog.default_market.as_deref(), Some("SE"));
    let paywall = &catalog.placements["paywall"];
    assert_eq!((paywall.slots, paywall.feature_count()), (3, 15));
    let linear = PosteriorKind::Linear(LinearPrior { precision: 4.0, a: 1.0, b: 0.1 });
    assert_eq!((&paywall.policy.selection, &paywall.policy.posterior), (&Selection::Thompson, &linear));
    for placement in catalog.placements.values() {
        assert!(placement.arms.iter().any(|arm| arm.offer.kind == OfferKind::None), "{}", placement.id);
        assert!(placement.arms.is_sorted_by_key(|arm| arm.offer.id.clone()), "{}", placement.id);
    }
    let upsell = &catalog.placements["checkout_upsell"];
    let none = &upsell.arms[upsell.arm_index("none").unwrap()];
    assert_eq!((none.floor, none.beta_prior.beta, upsell.exposure_assumed), (0.1, 99.0, false));
}

#[test]
fn every_attribute_of_the_example_has_a_default_that_it_accepts() {
    for placement in example().catalog.placements.values() {
        let attributes = placement.context.attributes.iter();
        let check = |attribute: &offer_ranker::engine::context::Attribute| {
            let default = attribute.default.clone().unwrap_or_else(|| panic!("{} has none", attribute.name));
            attribute.check(default).unwrap().0
        };
        let defaults: Vec<AttributeValue> = attributes.map(check).collect();
        let features = placement.context.encode(&defaults);
        assert!(features.iter().all(|feature| feature.abs() <= 1.0), "{features:?}");
    }
}

#[test]
fn what_a_file_leaves_out_has_its_documented_default() {
    let loaded = valid(
        "{ reward_currency: EUR, metrics: [{ id: conversion, kind: COUNT }],
           offers: [{ id: none, kind: NONE }],
           placements: [{ id: p, offers: [none], reward: { terms: [{ metric: conversion, indicator: true }] } }] }",
    );
    let placement = &loaded.catalog.placements["p"];
    assert_eq!((placement.slots, placement.partitions, placement.exposure_assumed), (1, 4, true));
    let windows = placement.windows;
    assert_eq!((windows.attribution_s, windows.grace_s, windows.revision_s), (604_800, 86_400, 691_200));
    let policy = &placement.policy;
    assert_eq!((&policy.selection, &policy.posterior), (&Selection::Thompson, &PosteriorKind::Beta));
    let arm = &placement.arms[0];
    assert_eq!((arm.beta_prior.alpha, arm.beta_prior.beta, arm.floor), (1.0, 1.0, 0.0));
    let (reward, term) = (&placement.reward, &placement.reward.terms[0]);
    // A Beta posterior takes nothing else.
    assert_eq!((reward.unit, reward.min, reward.max), (1.0, 0.0, 1.0));
    assert_eq!((term.weight, term.money), (1.0, false));
    assert_eq!(loaded.catalog.rates["EUR"], 1.0);
}

#[test]
fn everything_is_reported_at_once_in_the_order_of_the_file() {
    let text = patched("default_market: SE", "default_market: XX")
        .replacen("plan: standard\n", "plan: 42\n", 1)
        .replacen("slots: 3", "slots: 30", 1)
        .replacen("floor: 0.02", "floor: 2", 1)
        .replacen("half_life_s: 15552000", "half_life_s: 1", 1);
    let fields = |text: &str| problems(text).into_iter().map(|problem| problem.field).collect::<Vec<_>>();
    let expected = [
        "default_market",
        "offers[1].plan",
        "placements[0].slots",
        "placements[0].bounds.floor",
        "placements[1].learning.half_life_s",
    ];
    assert_eq!(fields(&text), expected);
    // An unknown field of the catalog itself may be a misspelt list: what refers to something that is not there may
    // follow from that and is not said; everything else is.
    let expected = [
        "metric",
        "offers[1].plan",
        "placements[0].slots",
        "placements[0].bounds.floor",
        "placements[1].learning.half_life_s",
    ];
    assert_eq!(fields(&text.replacen("metrics:", "metric:", 1)), expected);
}

#[test]
fn a_flood_of_mistakes_is_cut_and_counted() {
    let offer = |index| format!("  - {{ id: o{index}, colour: red }}\n");
    let offers: String = (0..PROBLEMS_MAX + 50).map(offer).collect();
    let found = problems(&format!("reward_currency: EUR\noffers:\n{offers}"));
    assert!(found.len() <= 2 * PROBLEMS_MAX + 2, "{}", found.len());
    assert!(found.iter().any(|problem| problem.description.starts_with("and 50 more")), "{:?}", found.last());
}

#[test]
fn what_is_no_catalog_at_all_is_refused_with_a_reason() {
    let deep = "[".repeat(30);
    for (text, description) in [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("---\n", "is empty"),
        ("~", "is empty"),
        ("reward_currency: EUR\n---\nreward_currency: SEK\n", "a second document starts here"),
        ("- 1\n", "is a list, must be a mapping"),
        ("hello", "is \"hello\", must be a mapping"),
        ("offers: [", "is not YAML from here on"),
        ("offers:\n\t- id: none\n", "is not YAML from here on"),
        ("a: 'b", "is not YAML from here on"),
        ("offers: *offers\n", "is not YAML from here on"),
        (deep.as_str(), "nested deeper than 24 levels"),
    ] {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text:?}: {found:?}");
        assert!(found[0].description.contains(description), "{text:?}: {found:?}");
    }
}

#[test]
fn aliases_are_refused_where_they_stand() {
    let text = patched("plan: standard\n", "plan: &plan standard\n").replacen("plan: premium\n", "plan: *plan\n", 1);
    let found = problems(&text);
    let alias = found.iter().find(|problem| problem.description.contains("is an alias")).unwrap();
    assert_eq!(alias.field, "offers[2].plan");
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.yaml");
    let load = |path: &Path| catalog::load(path).unwrap_err().to_string();
    assert!(load(&path).contains("a.yaml: cannot be read: "));
    assert!(load(dir.path()).contains("cannot be read: "));
    fs::write(&path, b"reward_currency: EUR\ndefault_market: \xff\n").unwrap();
    let expected = "a.yaml:2:17: is not UTF-8 from here on: save the file as UTF-8";
    assert!(load(&path).ends_with(expected), "{}", load(&path));
    fs::write(&path, vec![b'#'; 4 * 1024 * 1024 + 1]).unwrap();
    assert!(load(&path).contains("is larger than 4194304 bytes"));
}

#[test]
fn the_command_warns_of_an_offer_whose_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.yaml");
    let check = |text: String| {
        fs::write(&path, text).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_offer-ranker"));
        let output = command.args(["catalog", "check"]).arg(&path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let campaign = "validity: { starts_at: 2026-11-27T00:00:00+01:00, ends_at: 2026-12-01T00:00:00+01:00 }";
    let warning =
        "warning: offers[6]: can never be shown again: in market DE its validity was over at 2020-12-01T00:00:00Z";
    let said = check(patched(campaign, "validity: { ends_at: 2020-12-01T00:00:00Z }"));
    assert!(said.contains(warning) && said.contains("is valid: 14 offers"), "{said}");
    assert!(!check(patched(campaign, "validity: {}")).contains("warning"));
}

#[test]
fn problems_are_shown_with_file_line_and_column() {
    let text = patched("DE: { price: { currency_code: EUR", "DE: { price: { currency_code: SEK");
    let at = text.lines().position(|line| line.contains("DE: { price: { currency_code: SEK")).unwrap() + 1;
    let expected = format!(
        "catalog.yaml:{at}:37: offers[1].prices.DE.price.currency_code: \
         is \"SEK\", must be \"EUR\", the currency of market DE"
    );
    assert_eq!(catalog::check("catalog.yaml", &text).unwrap_err().to_string(), expected);
}

#[test]
fn both_spellings_of_fields_and_of_enums_are_read() {
    let text = EXAMPLE
        .replace("currency_code", "currencyCode")
        .replace("attribution_window_s", "attributionWindowS")
        .replace("kind: TRIAL", "kind: OFFER_KIND_TRIAL")
        .replace("kind: DISCOUNT", "kind: discount")
        .replace("amount_minor: 11900 }", "amount_minor: \"11900\" }");
    assert_eq!(valid(&text).declared, example().declared);
}

#[test]
fn norway_is_a_market() {
    let text = patched("{ id: DE, currency_code: EUR", "{ id: NO, currency_code: EUR");
    let text = text.replace("DE: {", "NO: {").replace("market: DE", "market: NO").replace("\"DE\"", "\"NO\"");
    assert!(valid(&text).catalog.markets.contains_key("NO"));
}

#[test]
fn the_catalog_written_as_json_reads_back_as_the_same_catalog() {
    let declared = example().declared;
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let mut message = DynamicMessage::new(pool.get_message_by_name("offer_ranker.v1.Catalog").unwrap());
    message.transcode_from(&declared).unwrap();
    let read = valid(&serde_json::to_string_pretty(&message).unwrap()).declared;
    assert_eq!(read, declared);
    assert_eq!(catalog::etag(&read), catalog::etag(&declared));
}

#[test]
fn the_order_of_the_file_changes_nothing() {
    let loaded = example();
    let mut shuffled = loaded.declared.clone();
    shuffled.offers.reverse();
    shuffled.placements.reverse();
    shuffled.markets.reverse();
    shuffled.metrics.reverse();
    shuffled.placements.iter_mut().for_each(|placement| placement.offers.reverse());
    let (catalog, _) = catalog::validate(&shuffled).unwrap();
    assert_eq!(format!("{catalog:?}"), format!("{:?}", loaded.catalog));
    assert_ne!(catalog::etag(&shuffled), catalog::etag(&loaded.declared));
}

#[test]
fn a_fixed_order_is_followed_by_the_other_offers_as_the_placement_lists_them() {
    let text = patched("thompson: {}", "fixed: { order: [premium-monthly, none] }");
    let paywall = &valid(&text).catalog.placements["paywall"];
    let Selection::Fixed(order) = &paywall.policy.selection else { panic!("{:?}", paywall.policy.selection) };
    let ids: Vec<_> = order.iter().map(|&index| &*paywall.arms[index].offer.id).collect();
    let expected =
        ["premium-monthly", "none", "trial-7-days", "trial-30-days-card", "standard-25-off-3-months"].as_slice();
    assert_eq!((&ids[..5], ids.len()), (expected, paywall.arms.len()));
}
