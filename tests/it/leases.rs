//! A decision stands for its unit for a while: the same offers, at the same prices or lower ones.

use crate::common::{
    START_MS, TestServer, attributes, conversion, number, offer_mut, placement_mut, request, shop, slate,
};
use offer_ranker::{
    engine::{
        instant::Instant,
        unit::state::{Limits, UnitKey},
    },
    log::record::LogRecord,
    proto::{
        self, Catalog, ExclusionReason, FeedbackCode, Flag, Outcome, PersonalisedPricing, RankRequest, RankResponse,
    },
    store::{DocumentChange, DocumentKey, LogId, Store},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::task::JoinSet;

/// How long decisions of the tests' catalogs stand.
const LEASE_S: u32 = 600;

/// `shop.yaml` with leases at `paywall` and `banner`.
fn leasing() -> Catalog {
    let mut catalog = shop();
    for placement in ["paywall", "banner"] {
        placement_mut(&mut catalog, placement).lease_s = Some(LEASE_S.into());
    }
    catalog
}

/// The same, with an offer's price in Sweden.
fn priced(offer: &str, amount_minor: i64) -> Catalog {
    let mut catalog = leasing();
    let price = offer_mut(&mut catalog, offer).prices.get_mut("SE").expect("the offer is sold in Sweden");
    price.price.as_mut().expect("a price").amount_minor = amount_minor;
    price.list_price = None;
    catalog
}

async fn start() -> TestServer {
    TestServer::start_with(leasing()).await
}

fn is_leased(response: &RankResponse) -> bool {
    let flagged = response.flags().any(|flag| flag == Flag::Leased);
    assert_eq!(flagged, !response.root_decision_id.is_empty(), "a repeat names its root: {response:?}");
    flagged
}

/// Offers with their prices in minor units.
fn prices(response: &RankResponse) -> Vec<(&str, i64)> {
    let price = |offer: &'_ proto::RankedOffer| offer.price.as_ref().map_or(0, |price| price.amount_minor);
    response.offers.iter().map(|offer| (offer.offer_id.as_str(), price(offer))).collect()
}

fn reason_of(response: &RankResponse, offer: &str) -> Option<ExclusionReason> {
    response.exclusions.iter().find(|exclusion| exclusion.offer_id == offer).map(proto::Exclusion::reason)
}

fn german(user: &str) -> RankRequest {
    RankRequest { market: "DE".to_owned(), ..request("banner", user) }
}

#[tokio::test]
async fn a_decision_stands_until_its_lease_runs_out() {
    let server = start().await;
    let root = server.rank(request("paywall", "anna")).await;
    assert!(!is_leased(&root));
    let until = root.lease_until.expect("a decision tells until when it stands");
    assert_eq!(until.seconds - root.decided_at.unwrap().seconds, i64::from(LEASE_S));
    let mut ids = vec![root.decision_id.clone()];
    for _ in 0..10 {
        server.clock.advance_s(LEASE_S / 10 - 1);
        let repeat = server.rank(request("paywall", "anna")).await;
        assert!(is_leased(&repeat));
        assert_eq!((&repeat.root_decision_id, repeat.lease_until), (&root.decision_id, Some(until)));
        assert_eq!(prices(&repeat), prices(&root));
        assert!(repeat.offers.iter().all(|offer| offer.propensity.total_cmp(&1.0).is_eq()), "nothing was drawn");
        ids.push(repeat.decision_id);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 11, "every answer has an id of its own");
    server.clock.advance_s(10);
    let next = server.rank(request("paywall", "anna")).await;
    assert!(!is_leased(&next) && next.lease_until != Some(until));
    assert!(!is_leased(&server.rank(request("paywall", "berta")).await), "a lease is one unit's");
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_price_that_falls_falls_at_once_and_one_that_rises_waits() {
    let server = start().await;
    let root = server.rank(request("banner", "anna")).await;
    assert_eq!(prices(&root), [("yearly", 99_000), ("monthly", 11_900), ("trial", 0)]);
    let mut repeats = Vec::new();
    for (catalog_price, leased) in [(12_900, 11_900), (10_900, 10_900), (11_500, 10_900), (9_900, 9_900)] {
        server.apply(priced("monthly", catalog_price)).await;
        let repeat = server.rank(request("banner", "anna")).await;
        assert!(is_leased(&repeat));
        assert_eq!(prices(&repeat), [("yearly", 99_000), ("monthly", leased), ("trial", 0)], "at {catalog_price}");
        repeats.push((repeat, leased));
    }
    // What a checkout is about to charge is what that answer said, whatever was answered since.
    for (repeat, leased) in repeats {
        let decision = server.decision(&repeat.decision_id).await.decision.expect("a decision");
        assert_eq!(prices(&decision)[1], ("monthly", leased));
        assert_eq!(decision.lease_until, root.lease_until);
        assert_eq!(decision.root_decision_id, root.decision_id);
    }
    server.clock.advance_s(LEASE_S);
    server.apply(priced("monthly", 12_900)).await;
    let next = server.rank(request("banner", "anna")).await;
    assert_eq!(prices(&next)[1], ("monthly", 12_900), "a price holds while its lease lasts");
}

#[tokio::test]
async fn an_offer_that_may_not_be_shown_any_more_is_dropped_and_the_others_stand() {
    let server = start().await;
    let root = server.rank(request("banner", "anna")).await;
    let mut catalog = leasing();
    let ends_at = Some(prost_types::Timestamp { seconds: 0, nanos: 0 });
    offer_mut(&mut catalog, "yearly").validity = Some(proto::Validity { ends_at, ..Default::default() });
    server.apply(catalog).await;
    let repeat = server.rank(request("banner", "anna")).await;
    assert!(is_leased(&repeat));
    assert_eq!(slate(&repeat), ["monthly", "trial"]);
    assert_eq!(reason_of(&repeat, "yearly"), Some(ExclusionReason::Ended));
    // The slots of the repeat are its own; what is reported on them belongs to the same offers of the root.
    assert_eq!(server.expose(&root.decision_id, &[1]).await, FeedbackCode::Recorded);
    assert_eq!(server.expose(&repeat.decision_id, &[1]).await, FeedbackCode::Recorded);
    assert_eq!(server.expose(&repeat.decision_id, &[3]).await, FeedbackCode::Invalid);
    let whole = Outcome { offer_id: String::new(), ..conversion("o1", &repeat) };
    assert_eq!(server.report(whole).await, FeedbackCode::Recorded);
    let slots = server.decision(&root.decision_id).await.slots;
    let told: Vec<_> = slots.iter().map(|slot| (slot.offer_id.as_str(), slot.shown, slot.totals.len())).collect();
    assert_eq!(told, [("yearly", true, 0), ("monthly", true, 1), ("trial", false, 0)]);
    let of_repeat = server.decision(&repeat.decision_id).await.slots;
    assert_eq!(of_repeat.iter().map(|slot| slot.offer_id.as_str()).collect::<Vec<_>>(), ["monthly", "trial"]);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_lease_of_which_nothing_may_be_shown_is_drawn_again() {
    let server = start().await;
    let asked = RankRequest { candidate_offer_ids: vec!["yearly".to_owned()], ..request("banner", "anna") };
    assert_eq!(slate(&server.rank(asked).await), ["yearly"]);
    let others = vec!["monthly".to_owned(), "none".to_owned()];
    let next = server.rank(RankRequest { candidate_offer_ids: others, ..request("banner", "anna") }).await;
    assert!(!is_leased(&next));
    assert_eq!(slate(&next), ["monthly", "none"]);
    assert!(is_leased(&server.rank(request("banner", "anna")).await), "the new decision stands");
}

#[tokio::test]
async fn a_unit_whose_lease_has_run_out_may_be_shown_nothing() {
    let server = start().await;
    server.rank(request("banner", "anna")).await;
    server.clock.advance_s(LEASE_S);
    let candidate_offer_ids = vec!["christmas".to_owned()];
    let nothing = server.rank(RankRequest { candidate_offer_ids, ..request("banner", "anna") }).await;
    assert_eq!((slate(&nothing), nothing.lease_until), (vec![], None));
}

#[tokio::test]
async fn a_taken_offer_ends_the_lease_and_its_price_still_holds() {
    let server = start().await;
    let root = server.rank(request("banner", "anna")).await;
    let repeat = server.rank(request("banner", "anna")).await;
    assert_eq!(server.report(conversion("o1", &repeat)).await, FeedbackCode::Recorded);
    let mut catalog = priced("monthly", 12_900);
    offer_mut(&mut catalog, "yearly").prices.get_mut("SE").unwrap().price.as_mut().unwrap().amount_minor = 98_000;
    server.apply(catalog).await;
    let next = server.rank(request("banner", "anna")).await;
    assert!(!is_leased(&next));
    assert_eq!(prices(&next), [("yearly", 98_000), ("monthly", 11_900), ("trial", 0)]);
    // A conversion that is taken back puts the later lease out of nothing: only the decision it was reported on ended.
    let refund = Outcome { revises_outcome_id: "o1".to_owned(), value: 0.0, ..conversion("o2", &root) };
    assert_eq!(server.report(refund).await, FeedbackCode::Revised);
    let repeat = server.rank(request("banner", "anna")).await;
    assert_eq!((is_leased(&repeat), repeat.root_decision_id), (true, next.decision_id));
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_conversion_that_is_taken_back_lets_the_lease_stand_again() {
    let server = start().await;
    let root = server.rank(request("banner", "anna")).await;
    server.report(conversion("o1", &root)).await;
    let refund = Outcome { revises_outcome_id: "o1".to_owned(), value: 0.0, ..conversion("o2", &root) };
    server.report(refund).await;
    assert_eq!(server.rank(request("banner", "anna")).await.root_decision_id, root.decision_id);
}

#[tokio::test]
async fn another_market_and_a_paused_offer_end_the_lease() {
    let server = start().await;
    server.rank(request("banner", "anna")).await;
    let abroad = server.rank(german("anna")).await;
    assert!(!is_leased(&abroad));
    assert!(is_leased(&server.rank(german("anna")).await));
    // Back home the lease is gone, but what was told there still holds.
    server.apply(priced("monthly", 12_900)).await;
    let home = server.rank(request("banner", "anna")).await;
    assert!(!is_leased(&home));
    assert_eq!(prices(&home)[1], ("monthly", 11_900));

    let mut catalog = priced("monthly", 12_900);
    offer_mut(&mut catalog, "yearly").paused = true;
    server.apply(catalog).await;
    let paused = server.rank(request("banner", "anna")).await;
    assert!(!is_leased(&paused));
    assert_eq!(prices(&paused), [("monthly", 11_900), ("trial", 0), ("none", 0)]);
    assert_eq!(reason_of(&paused, "yearly"), Some(ExclusionReason::Paused));
}

#[tokio::test]
async fn an_offer_that_the_placement_does_not_use_any_more_ends_the_lease() {
    let server = start().await;
    server.rank(request("banner", "anna")).await;
    let mut catalog = priced("monthly", 12_900);
    let banner = placement_mut(&mut catalog, "banner");
    banner.offers.retain(|offer| offer != "yearly");
    let selection = banner.policy.as_mut().and_then(|policy| policy.selection.as_mut());
    let Some(proto::policy::Selection::Fixed(fixed)) = selection else { panic!("the order is fixed") };
    fixed.order.retain(|offer| offer != "yearly");
    server.apply(catalog).await;
    let next = server.rank(request("banner", "anna")).await;
    assert!(!is_leased(&next));
    assert_eq!(prices(&next), [("monthly", 11_900), ("trial", 0), ("none", 0)], "what was told still holds");
}

#[tokio::test]
async fn leases_that_are_given_up_are_kept_for_as_long_as_they_were_promised_or_warned_of() {
    let server = start().await;
    server.rank(request("banner", "anna")).await;
    // No more leases, and what was promised holds.
    let mut catalog = priced("monthly", 12_900);
    placement_mut(&mut catalog, "banner").lease_s = Some(0);
    server.apply(catalog.clone()).await;
    let repeat = server.rank(request("banner", "anna")).await;
    assert!(is_leased(&repeat));
    assert_eq!(prices(&repeat)[1], ("monthly", 11_900));
    let of_berta = server.rank(request("banner", "berta")).await;
    assert_eq!((prices(&of_berta)[1], of_berta.lease_until), (("monthly", 12_900), None));
    server.clock.advance_s(LEASE_S);
    assert_eq!(prices(&server.rank(request("banner", "anna")).await)[1], ("monthly", 12_900));

    // Without the setting nothing is promised, whatever else is kept of units.
    server.apply(priced("monthly", 12_900)).await;
    server.rank(request("banner", "carla")).await;
    let mut catalog = priced("monthly", 13_900);
    let banner = placement_mut(&mut catalog, "banner");
    banner.lease_s = None;
    banner.frequency_caps =
        vec![proto::FrequencyCap { offers: vec!["trial".to_owned()], max: 9, window_s: 60, ..Default::default() }];
    let request_ = proto::ApplyCatalogRequest { catalog: Some(catalog), ..Default::default() };
    let warnings = server.try_apply(request_).await.expect("it is valid").warnings;
    let told = warnings.iter().find(|warning| warning.field == "placements[2].lease_s").expect("a warning");
    assert!(told.description.contains("with lease_s: 0 for 600 seconds"), "{told:?}");
    let next = server.rank(request("banner", "carla")).await;
    assert_eq!((is_leased(&next), prices(&next)[1]), (false, ("monthly", 13_900)));
}

#[tokio::test]
async fn a_legal_rule_ends_the_lease_whatever_else_keeps_the_offer_out() {
    for candidates in [&["yearly", "monthly", "trial", "none"][..], &["monthly", "trial"]] {
        let server = start().await;
        server.rank(request("banner", "anna")).await;
        let mut catalog = leasing();
        let rule = |id: &str, legal| proto::Rule {
            id: id.to_owned(),
            expression: "market != \"SE\"".to_owned(),
            scope: Some(proto::RuleScope { offers: vec!["yearly".to_owned()], ..Default::default() }),
            legal,
            ..Default::default()
        };
        catalog.rules = vec![rule("of-ours", false), rule("of-the-law", true)];
        server.apply(catalog).await;
        let asked = RankRequest {
            candidate_offer_ids: candidates.iter().map(|&offer| offer.to_owned()).collect(),
            ..request("banner", "anna")
        };
        assert!(!is_leased(&server.rank(asked).await), "{candidates:?}");
    }
}

#[tokio::test]
async fn a_legal_rule_ends_the_lease_and_another_rule_drops_the_offer() {
    for (legal, reason, stands) in [(true, ExclusionReason::LegalRule, false), (false, ExclusionReason::Rule, true)] {
        let server = start().await;
        server.rank(request("banner", "anna")).await;
        let mut catalog = leasing();
        catalog.rules = vec![proto::Rule {
            id: "not-in-sweden".to_owned(),
            expression: "market != \"SE\"".to_owned(),
            scope: Some(proto::RuleScope { offers: vec!["yearly".to_owned()], ..Default::default() }),
            legal,
            ..Default::default()
        }];
        server.apply(catalog).await;
        let next = server.rank(request("banner", "anna")).await;
        assert_eq!((is_leased(&next), reason_of(&next, "yearly")), (stands, Some(reason)));
        let expected: &[&str] = if stands { &["monthly", "trial"] } else { &["monthly", "trial", "none"] };
        assert_eq!(slate(&next), expected);
    }
}

#[tokio::test]
async fn a_plan_is_not_offered_dearer_than_it_was_told_while_the_lease_lasts() {
    let server = start().await;
    let asked = |offers: &[&str]| RankRequest {
        candidate_offer_ids: offers.iter().map(|&offer| offer.to_owned()).collect(),
        ..request("banner", "anna")
    };
    server.rank(asked(&["monthly", "trial"])).await;
    // Of the same plan and dearer than 119.00; the trial's price is not the plan's.
    let next = server.rank(asked(&["yearly", "none"])).await;
    assert_eq!((slate(&next), reason_of(&next, "yearly")), (vec!["none"], Some(ExclusionReason::PriceHeld)));
    server.clock.advance_s(LEASE_S);
    assert_eq!(slate(&server.rank(asked(&["yearly", "none"])).await), ["yearly", "none"]);
}

#[tokio::test]
async fn a_price_of_an_earlier_lease_does_not_come_back_above_what_was_told_since() {
    let with_prices = |yearly: i64, paused: &str| {
        let mut catalog = priced("yearly", yearly);
        if !paused.is_empty() {
            offer_mut(&mut catalog, paused).paused = true;
        }
        catalog
    };
    let server = TestServer::start_with(with_prices(10_000, "monthly")).await;
    assert_eq!(prices(&server.rank(request("banner", "anna")).await)[0], ("yearly", 10_000));
    server.clock.advance_s(LEASE_S / 2);
    let mut cheaper = priced("monthly", 8_000);
    offer_mut(&mut cheaper, "yearly").paused = true;
    server.apply(cheaper).await;
    assert_eq!(prices(&server.rank(request("banner", "anna")).await)[0], ("monthly", 8_000));
    server.apply(with_prices(10_000, "monthly")).await;
    let next = server.rank(request("banner", "anna")).await;
    assert!(!is_leased(&next));
    assert_eq!((slate(&next), reason_of(&next, "yearly")), (vec!["trial", "none"], Some(ExclusionReason::PriceHeld)));
}

#[tokio::test]
async fn of_two_leased_offers_that_exclude_each_other_by_now_the_upper_one_stands() {
    let server = start().await;
    let root = server.rank(request("banner", "anna")).await;
    let mut catalog = leasing();
    for offer in ["yearly", "monthly"] {
        offer_mut(&mut catalog, offer).exclusion_group = "paid".to_owned();
    }
    server.apply(catalog).await;
    let repeat = server.rank(request("banner", "anna")).await;
    assert_eq!((&repeat.root_decision_id, slate(&repeat)), (&root.decision_id, vec!["yearly", "trial"]));
}

#[tokio::test]
async fn prices_that_hold_for_a_user_are_disclosed_where_the_law_wants_it() {
    let told = |mut catalog: Catalog| {
        catalog.markets[0].personalised_pricing = PersonalisedPricing::Disclose.into();
        catalog.markets[0].disclosure_text_key = "pricing.told".to_owned();
        catalog
    };
    let discloses = |answer: &RankResponse| answer.flags().any(|flag| flag == Flag::PersonalisedPrices);
    let server = TestServer::start_with(told(leasing())).await;
    let asked = || RankRequest {
        candidate_offer_ids: ["monthly", "yearly"].map(str::to_owned).to_vec(),
        ..request("banner", "anna")
    };
    assert!(!discloses(&server.rank(asked()).await), "everybody is shown the same");
    server.apply(told(priced("monthly", 12_900))).await;
    let repeat = server.rank(asked()).await;
    assert_eq!(prices(&repeat)[1], ("monthly", 11_900));
    assert!(discloses(&repeat), "others are told 129.00");
    server.clock.advance_s(LEASE_S);
    assert!(!discloses(&server.rank(asked()).await));
}

#[tokio::test]
async fn what_was_chosen_for_a_user_is_disclosed_in_every_repeat() {
    let mut catalog = leasing();
    catalog.markets[0].personalised_pricing = PersonalisedPricing::Disclose.into();
    catalog.markets[0].disclosure_text_key = "pricing.told".to_owned();
    placement_mut(&mut catalog, "upsell").lease_s = Some(LEASE_S.into());
    let server = TestServer::start_with(catalog).await;
    let asked = |offers: &[&str]| RankRequest {
        candidate_offer_ids: offers.iter().map(|&offer| offer.to_owned()).collect(),
        attributes: attributes([("age", number(30.0))]),
        slots: Some(1),
        ..request("upsell", "anna")
    };
    let discloses = |answer: &RankResponse| answer.flags().any(|flag| flag == Flag::PersonalisedPrices);
    let root = server.rank(asked(&["monthly", "yearly"])).await;
    assert!(discloses(&root), "its policy looks at the user");
    // Of one candidate there is nothing to choose; it was chosen before.
    let repeat = server.rank(asked(&[&root.offers[0].offer_id])).await;
    assert!(is_leased(&repeat) && discloses(&repeat), "{repeat:?}");
}

#[tokio::test]
async fn what_is_reported_on_repeats_is_credited_to_the_root_and_learned_once() {
    let server = start().await;
    let root = server.rank(request("banner", "anna")).await;
    let mut repeats = Vec::new();
    for _ in 0..5 {
        repeats.push(server.rank(request("banner", "anna")).await);
    }
    assert_eq!(server.report(conversion("o1", &repeats[0])).await, FeedbackCode::Recorded);
    for other in [&repeats[1], &root] {
        assert_eq!(server.report(conversion("o1", other)).await, FeedbackCode::Duplicate);
    }
    let mixed = vec![conversion("o2", &root), conversion("o3", &repeats[2]), conversion("o2", &repeats[3])];
    let codes: Vec<_> = server.report_all(mixed).await.iter().map(proto::FeedbackResult::code).collect();
    assert_eq!(codes, [FeedbackCode::Recorded, FeedbackCode::Recorded, FeedbackCode::Duplicate]);
    // Nobody said that the root was not shown; that a repeat was not says nothing of the root.
    assert_eq!(server.expose(&repeats[0].decision_id, &[]).await, FeedbackCode::Duplicate);
    server.refresh().await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals["conversion"]), (1, 3.0));
    for decision in [&root, &repeats[4]] {
        let told = server.decision(&decision.decision_id).await;
        assert_eq!(told.slots[0].totals["conversion"], 3.0);
        assert!(told.slots[0].shown);
    }
    server.clock.advance_s(2 * 3600);
    server.refresh().await;
    assert_eq!(server.arm("banner", "yearly").await.shown, 1, "closing a repeat teaches nothing either");
    assert_eq!(server.report(conversion("o9", &repeats[0])).await, FeedbackCode::Late, "windows are the root's");
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn of_many_requests_at_once_one_is_drawn_and_the_others_repeat_it() {
    let server = start().await;
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let ranking = server.ranking.clone();
        calls.spawn(async move { ranking.clone().rank(request("paywall", "anna")).await.unwrap().into_inner() });
    }
    let answers = calls.join_all().await;
    let (repeats, roots): (Vec<_>, Vec<_>) = answers.into_iter().partition(is_leased);
    let [root] = &roots[..] else { panic!("one of 64 draws: {}", roots.len()) };
    assert!(repeats.iter().all(|repeat| repeat.root_decision_id == root.decision_id && slate(repeat) == slate(root)));
}

#[tokio::test]
async fn a_lease_outlives_the_server() {
    let server = start().await;
    let root = server.rank(request("paywall", "anna")).await;
    let server = server.restart(None).await;
    let repeat = server.rank(request("paywall", "anna")).await;
    assert_eq!((&repeat.root_decision_id, prices(&repeat)), (&root.decision_id, prices(&root)));
}

#[tokio::test]
async fn a_decision_without_a_lease_tells_of_none() {
    let server = TestServer::start().await;
    for _ in 0..2 {
        let answer = server.rank(request("banner", "anna")).await;
        assert!(!is_leased(&answer) && answer.lease_until.is_none());
    }
}

#[tokio::test]
async fn other_partitions_let_most_units_begin_anew_and_are_warned_of() {
    let server = start().await;
    let users: Vec<String> = (0..12).map(|user| format!("user-{user}")).collect();
    for user in &users {
        server.rank(request("banner", user)).await;
    }
    let mut catalog = leasing();
    for placement in ["banner", "quiet"] {
        placement_mut(&mut catalog, placement).partitions = Some(3);
    }
    let validate_only =
        proto::ApplyCatalogRequest { catalog: Some(catalog.clone()), validate_only: true, ..Default::default() };
    for applied in [server.try_apply(validate_only).await.expect("it is valid"), server.apply(catalog).await] {
        let fields: Vec<_> = applied.warnings.iter().map(|warning| warning.field.as_str()).collect();
        let warned: Vec<_> = fields.iter().filter(|field| field.ends_with("partitions")).collect();
        assert_eq!(warned.len(), 1, "what keeps nothing of units loses nothing: {fields:?}");
    }
    let mut stand = 0;
    for user in &users {
        stand += u32::from(is_leased(&server.rank(request("banner", user)).await));
    }
    assert!((1..12).contains(&stand), "a quarter of the units, or so, stays in its partition: {stand}");
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_price_that_holds_outlasts_a_floor_that_rises_above_it_and_not_a_legal_rule() {
    let server = start().await;
    let root = server.rank(request("banner", "anna")).await;
    assert_eq!(prices(&root)[1], ("monthly", 11_900));
    let mut dearer = priced("monthly", 12_900);
    let floor = proto::Money { currency_code: "SEK".to_owned(), amount_minor: 12_500 };
    dearer.plans = vec![proto::Plan {
        id: "standard".to_owned(),
        floors: [("SE".to_owned(), floor)].into(),
        ..Default::default()
    }];
    server.apply(dearer.clone()).await;
    let repeat = server.rank(request("banner", "anna")).await;
    assert!(is_leased(&repeat));
    assert_eq!(prices(&repeat)[1], ("monthly", 11_900), "it was within the bounds when it was told");
    assert_eq!(prices(&server.rank(request("banner", "berta")).await)[1], ("monthly", 12_900));
    let offers = vec!["monthly".to_owned()];
    let expression = "offer.price > 200.0".to_owned();
    let scope = Some(proto::RuleScope { offers, ..Default::default() });
    dearer.rules = vec![proto::Rule { id: "law".to_owned(), expression, legal: true, scope, ..Default::default() }];
    server.apply(dearer).await;
    let after = server.rank(request("banner", "anna")).await;
    assert!(!is_leased(&after));
    assert_eq!(reason_of(&after, "monthly"), Some(ExclusionReason::LegalRule));
}

#[tokio::test]
async fn a_repeat_has_no_more_slots_than_were_asked_for_and_than_its_root_has() {
    let server = start().await;
    let asking = |slots| RankRequest { slots: Some(slots), ..request("banner", "anna") };
    let root = server.rank(asking(2)).await;
    for (slots, shown) in [(1, 1), (2, 2), (3, 2)] {
        let repeat = server.rank(asking(slots)).await;
        assert!(is_leased(&repeat));
        assert_eq!(slate(&repeat), slate(&root)[..shown]);
    }
}

/// By decision id: whose decisions are logged, and how limits were held.
async fn units(server: &TestServer) -> BTreeMap<String, (LogId, UnitKey, Limits)> {
    let mut units = BTreeMap::new();
    for (log, record) in server.records().await {
        if let LogRecord::Decision(record) = record {
            let opened = server.opened(&record).await;
            let identity = opened.identity.as_ref().expect("nobody is forgotten");
            units.insert(record.id.to_string(), (log, identity.unit_key, identity.user.unit.limits));
        }
    }
    units
}

/// Replaces what is kept of a unit by the same, a hundred times: several of them together do so less often than a price
/// may lose its races.
async fn rival(store: Arc<dyn Store>, log: LogId, unit: UnitKey) {
    let (key, now) = (DocumentKey::Unit { log, unit }, Instant::from_ms(START_MS));
    for _ in 0..100 {
        let found = store.documents(&[key]).await.expect("the store is there").pop();
        let Some(found) = found.flatten() else { continue };
        let change = DocumentChange {
            key,
            from_version: Some(found.version),
            version: found.version.wrapping_add(1),
            content: Some(found.content),
            changed_at: now,
            expires_at: now.plus_s(LEASE_S.into()),
        };
        store.change_documents(vec![change]).await.expect("the store is there");
    }
}

#[tokio::test]
async fn a_price_that_was_told_after_lost_races_holds_like_any_other() {
    let server = start().await;
    // Far more than it takes until one loses as many races as may be lost.
    let users: Vec<_> = (0..400).map(|user| format!("user-{user}")).collect();
    let mut roots = Vec::new();
    for user in &users {
        roots.push(server.rank(request("banner", user)).await);
    }
    let kept = units(&server).await;
    server.apply(priced("monthly", 9_900)).await;
    let mut repeats: Vec<RankResponse> = Vec::new();
    let lost = async |repeats: &[RankResponse]| {
        let kept = units(&server).await;
        repeats.iter().filter(|repeat| kept[&repeat.decision_id].2 == Limits::Uncounted).count()
    };
    for (user, root) in users.iter().zip(&roots) {
        if repeats.len() % 40 == 39 && lost(&repeats).await > 0 {
            break;
        }
        let (log, unit, _) = kept[&root.decision_id];
        let rivals: JoinSet<()> = (0..4).map(|_| rival(server.store.clone(), log, unit)).collect();
        let repeat = server.rank(request("banner", user)).await;
        drop(rivals);
        assert_eq!(prices(&repeat)[1], ("monthly", 9_900));
        repeats.push(repeat);
    }
    let lost = lost(&repeats).await;
    assert!(lost > 0, "nobody has lost as many races as may be lost");
    server.apply(priced("monthly", 12_900)).await;
    for (user, _) in users.iter().zip(&repeats) {
        let repeat = server.rank(request("banner", user)).await;
        assert_eq!(prices(&repeat)[1], ("monthly", 9_900), "{user} was told 99.00; {lost} have lost");
    }
}
