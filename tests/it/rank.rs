//! Ranking: what an answer says, and that it is what was stored.

use crate::common::{
    DAY_S, START_MS, TestServer, attributes, boolean, conversion, number, placement_mut, reason, request, shop, slate,
    text, upsell, violated_fields,
};
use offer_ranker::proto::{
    self, ExclusionReason, Flag, Group, Money, RankRequest, RankResponse, policy::Selection, score_distribution::Kind,
};
use std::collections::{BTreeMap, BTreeSet};
use tonic::Code;

/// Sums of at most 256 probabilities, each rounded to 2^-53 of itself, in whatever order: 256 * 2^-53 < 1e-12.
const SUM_TOLERANCE: f64 = 1e-12;

fn exclusions(response: &RankResponse) -> BTreeMap<&str, ExclusionReason> {
    response.exclusions.iter().map(|exclusion| (exclusion.offer_id.as_str(), exclusion.reason())).collect()
}

fn money(currency_code: &str, amount_minor: i64) -> Option<Money> {
    Some(Money { currency_code: currency_code.to_owned(), amount_minor })
}

#[tokio::test]
async fn offers_are_distinct_eligible_and_numbered_from_one() {
    let server = TestServer::start().await;
    let eligible = BTreeSet::from(["none", "monthly", "yearly", "trial"]);
    for user in 0..40 {
        let answer = server.rank(request("paywall", &format!("user-{user}"))).await;
        let offers = slate(&answer);
        let distinct: BTreeSet<_> = offers.iter().copied().collect();
        assert_eq!(distinct.len(), offers.len(), "{offers:?}");
        assert!(distinct.is_subset(&eligible), "{offers:?}");
        assert!(answer.offers.iter().map(|offer| offer.slot).eq(1..=offers.len() as u32), "{answer:?}");
        let ends = offers.iter().position(|offer_id| *offer_id == "none");
        // Without `none` all three slots are filled, with it the slate ends there.
        assert_eq!(offers.len(), ends.map_or(3, |position| (position + 1).min(3)), "{offers:?}");
        assert!(answer.offers.iter().all(|offer| offer.propensity > 0.0 && offer.propensity <= 1.0), "{answer:?}");
        assert_eq!((answer.group(), answer.flags.as_slice()), (Group::Decisioning, &[][..]));
        assert_eq!(answer.decided_at, crate::common::at_s(0));
        assert!(answer.tail.is_empty() && answer.explanation.is_none(), "both only come when asked for");
    }
}

#[tokio::test]
async fn every_exclusion_has_its_reason() {
    let server = TestServer::start().await;
    let asked = ["christmas", "german", "monthly", "nobody-knows", "resting", "spring", "trial"];
    let request = RankRequest {
        platform: "ios".to_owned(),
        candidate_offer_ids: asked.map(str::to_owned).to_vec(),
        ..request("paywall", "anna")
    };
    let answer = server.rank(request).await;
    assert_eq!(slate(&answer), ["monthly"]);
    assert_eq!(
        exclusions(&answer),
        BTreeMap::from([
            ("christmas", ExclusionReason::Ended),
            ("german", ExclusionReason::NoPriceInMarket),
            ("nobody-knows", ExclusionReason::UnknownOffer),
            ("resting", ExclusionReason::Paused),
            ("spring", ExclusionReason::NotStarted),
            ("trial", ExclusionReason::Platform),
        ])
    );
}

#[tokio::test]
async fn an_offer_of_another_placement_is_unknown_here() {
    let server = TestServer::start().await;
    let candidates = vec!["german".to_owned(), "yearly".to_owned()];
    let answer = server.rank(RankRequest { candidate_offer_ids: candidates, ..request("banner", "anna") }).await;
    assert_eq!(exclusions(&answer), BTreeMap::from([("german", ExclusionReason::UnknownOffer)]));
}

#[tokio::test]
async fn validity_is_half_open_to_the_millisecond() {
    let mut catalog = shop();
    for offer in &mut catalog.offers {
        let at = |ms: i64| Some(prost_types::Timestamp { seconds: (START_MS + ms) / 1000, nanos: 0 });
        offer.validity = match offer.id.as_str() {
            "monthly" => Some(proto::Validity { starts_at: at(1000), ..Default::default() }),
            "yearly" => Some(proto::Validity { ends_at: at(1000), ..Default::default() }),
            _ => continue,
        };
    }
    let server = TestServer::start_with(catalog).await;
    let candidates = vec!["monthly".to_owned(), "yearly".to_owned()];
    let request = RankRequest { candidate_offer_ids: candidates, ..request("banner", "anna") };
    let before = server.rank(request.clone()).await;
    assert_eq!(slate(&before), ["yearly"]);
    assert_eq!(exclusions(&before), BTreeMap::from([("monthly", ExclusionReason::NotStarted)]));
    server.clock.advance_s(1);
    let after = server.rank(request).await;
    assert_eq!(slate(&after), ["monthly"]);
    assert_eq!(exclusions(&after), BTreeMap::from([("yearly", ExclusionReason::Ended)]));
}

#[tokio::test]
async fn a_request_without_platform_gets_only_offers_for_all_platforms() {
    let server = TestServer::start().await;
    let answer = server.rank(RankRequest { platform: String::new(), ..request("banner", "anna") }).await;
    assert_eq!(exclusions(&answer), BTreeMap::from([("trial", ExclusionReason::Platform)]));
}

#[tokio::test]
async fn nothing_eligible_is_an_answer_with_reasons() {
    let server = TestServer::start().await;
    let candidates = vec!["resting".to_owned(), "spring".to_owned()];
    let request = RankRequest { candidate_offer_ids: candidates, explain: true, ..request("paywall", "anna") };
    let answer = server.rank(request).await;
    assert!(answer.offers.is_empty(), "{answer:?}");
    assert_eq!(
        exclusions(&answer),
        BTreeMap::from([("resting", ExclusionReason::Paused), ("spring", ExclusionReason::NotStarted)])
    );
    assert_eq!(server.explained(&answer.decision_id).await, Some(answer.clone()));
    let whole = proto::Outcome {
        outcome_id: "o1".to_owned(),
        decision_id: answer.decision_id,
        metric: "conversion".to_owned(),
        value: 1.0,
        ..Default::default()
    };
    assert_eq!(server.report(whole).await, proto::FeedbackCode::Recorded, "what users do unprompted counts, too");
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn candidates_limit_the_choice() {
    let server = TestServer::start().await;
    let candidates = vec!["trial".to_owned(), "monthly".to_owned()];
    let answer = server.rank(RankRequest { candidate_offer_ids: candidates, ..request("banner", "anna") }).await;
    assert_eq!(slate(&answer), ["monthly", "trial"], "the policy's order, not the request's");
    assert!(answer.exclusions.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn fewer_slots_than_the_placement_has_may_be_asked_for() {
    let server = TestServer::start().await;
    let ask = |slots| RankRequest { slots, ..request("banner", "anna") };
    assert_eq!(slate(&server.rank(ask(Some(2))).await), ["yearly", "monthly"]);
    assert_eq!(slate(&server.rank(ask(None)).await), ["yearly", "monthly", "trial"]);
    for slots in [0, 4, u32::MAX] {
        let status = server.try_rank(ask(Some(slots))).await.unwrap_err();
        assert_eq!((status.code(), violated_fields(&status)), (Code::InvalidArgument, vec!["slots".to_owned()]));
    }
}

#[tokio::test]
async fn showing_nothing_ends_the_slate_and_leaves_no_tail() {
    let server = TestServer::start().await;
    let answer = server.rank(RankRequest { include_tail: true, ..request("quiet", "anna") }).await;
    assert_eq!(slate(&answer), ["monthly", "none"]);
    assert!(answer.tail.is_empty(), "{answer:?}");
    assert_eq!((answer.offers[1].price.clone(), answer.offers[1].list_price.clone()), (None, None));
}

#[tokio::test]
async fn the_tail_is_the_eligible_rest_by_falling_expected_value() {
    let server = TestServer::start().await;
    let ask = RankRequest { slots: Some(1), include_tail: true, ..request("banner", "anna") };
    let answer = server.rank(ask).await;
    assert_eq!(slate(&answer), ["yearly"]);
    // All arms have the same prior mean, so value goes by worth: 119 SEK is 14.88 EUR, the trial is worth 9 EUR.
    assert_eq!(answer.tail.iter().map(|offer| offer.offer_id.as_str()).collect::<Vec<_>>(), ["monthly", "trial"]);
    assert!(answer.tail.iter().all(|offer| offer.slot == 0 && offer.propensity == 0.0), "{answer:?}");
    let minor =
        |offer: &proto::RankedOffer| offer.expected_value.as_ref().expect("every offer has a value").amount_minor;
    assert!(answer.tail.windows(2).all(|pair| minor(&pair[0]) >= minor(&pair[1])), "{answer:?}");
}

#[tokio::test]
async fn prices_are_those_of_the_market() {
    let server = TestServer::start().await;
    for (market, price, list_price) in [
        ("SE", money("SEK", 99_000), money("SEK", 142_800)),
        ("", money("SEK", 99_000), money("SEK", 142_800)),
        ("US", money("USD", 9_900), money("USD", 14_388)),
    ] {
        let answer = server.rank(RankRequest { market: market.to_owned(), ..request("banner", "anna") }).await;
        let yearly = &answer.offers[0];
        assert_eq!((&yearly.price, &yearly.list_price), (&price, &list_price), "market {market:?}");
        let headline = yearly.display.get("headline").map(String::as_str);
        assert_eq!((yearly.display.len(), headline), (2, Some("Twelve months, pay for ten")));
    }
    let answer = server.rank(RankRequest { market: "DE".to_owned(), ..request("banner", "anna") }).await;
    assert_eq!(slate(&answer), ["monthly", "none"], "neither yearly nor trial is sold in DE");
    let monthly = &answer.offers[0];
    assert_eq!((&monthly.price, &monthly.list_price), (&money("EUR", 1_099), &money("EUR", 1_099)));
}

#[tokio::test]
async fn expected_value_is_expected_reward_times_worth_in_the_reward_currency() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    // Yearly: 990 SEK at 0.125. Trial: declared. Both in cents.
    for (offer, worth_minor) in [(&answer.offers[0], 12_375.0), (&answer.offers[2], 900.0)] {
        let expected = (offer.expected_reward * worth_minor).round() as i64;
        assert_eq!(offer.expected_value, money("EUR", expected), "{offer:?}");
    }
}

#[tokio::test]
async fn explained_probabilities_sum_to_one_and_the_drawn_one_is_the_propensity() {
    let server = TestServer::start().await;
    for user in 0..20 {
        let ask = RankRequest { explain: true, ..request("paywall", &format!("user-{user}")) };
        let answer = server.rank(ask).await;
        let explanation = answer.explanation.as_ref().expect("an explanation was asked for");
        assert_eq!(explanation.slots.len(), answer.offers.len());
        for (slot, offer) in explanation.slots.iter().zip(&answer.offers) {
            assert_eq!(slot.slot, offer.slot);
            let sum: f64 = slot.arms.iter().map(|arm| arm.probability).sum();
            assert!((sum - 1.0).abs() <= SUM_TOLERANCE, "{sum}");
            assert!((0.0..1.0).contains(&slot.uniform), "{slot:?}");
            // A floor of 0.02 for every eligible arm; one rounding in normalising.
            assert!(slot.arms.iter().all(|arm| arm.probability >= 0.02 - SUM_TOLERANCE), "{slot:?}");
            let drawn =
                slot.arms.iter().find(|arm| arm.offer_id == offer.offer_id).expect("the drawn arm is explained");
            assert_eq!(drawn.probability.to_bits(), offer.propensity.to_bits());
            // The draw is the inverse of the cumulated probabilities: it can be checked by hand.
            let below: f64 =
                slot.arms.iter().take_while(|arm| arm.offer_id != offer.offer_id).map(|arm| arm.probability).sum();
            assert!(below <= slot.uniform + SUM_TOLERANCE, "{slot:?}");
            assert!(slot.uniform < below + drawn.probability + SUM_TOLERANCE, "{slot:?}");
            let above = answer.offers.iter().take(slot.slot as usize - 1);
            assert_eq!(slot.arms.len(), 4 - above.count(), "what was drawn above cannot be drawn again");
            assert!(slot.arms.iter().all(|arm| matches!(arm.score.and_then(|score| score.kind), Some(Kind::Beta(_)))));
        }
    }
}

#[tokio::test]
async fn a_fixed_order_without_floors_is_certain() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    assert!(answer.offers.iter().all(|offer| offer.propensity == 1.0), "{answer:?}");
}

#[tokio::test]
async fn different_decisions_draw_differently() {
    let mut catalog = shop();
    placement_mut(&mut catalog, "paywall").policy =
        Some(proto::Policy { selection: Some(Selection::Uniform(proto::UniformSelection {})), ..Default::default() });
    let server = TestServer::start_with(catalog).await;
    let mut leads = BTreeSet::new();
    for _ in 0..60 {
        leads.insert(server.rank(request("paywall", "anna")).await.offers[0].offer_id.clone());
    }
    // Each of 4 offers leads with probability 1/4: one is missing after 60 draws with probability below 4 * 0.75^60,
    // 1.3e-7, and the seed is fixed.
    assert_eq!(leads.len(), 4, "{leads:?}");
}

#[tokio::test]
async fn features_are_encoded_as_documented_with_defaults_for_what_is_missing() {
    let server = TestServer::start().await;
    let features = |answer: &RankResponse| {
        let explanation = answer.explanation.clone().expect("an explanation was asked for");
        explanation.features.into_iter().map(|feature| (feature.name, feature.value)).collect::<Vec<_>>()
    };
    let named = |values: [f64; 9]| {
        let names = [
            "intercept",
            "tenure_days",
            "local_hour",
            "channel=organic",
            "channel=email",
            "channel=(unknown)",
            "device=phone",
            "device=desktop",
            "is_returning",
        ];
        names.map(str::to_owned).into_iter().zip(values).collect::<Vec<_>>()
    };
    let defaults = server.rank(RankRequest { explain: true, ..request("paywall", "anna") }).await;
    let noon = 2.0 * (12.0 / 23.0) - 1.0;
    assert_eq!(features(&defaults), named([1.0, -1.0, noon, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]));
    let given = attributes([
        ("tenure_days", number(3650.0)),
        ("local_hour", number(23.0)),
        ("channel", text("carrier pigeon")),
        ("device", text("desktop")),
        ("is_returning", boolean(true)),
    ]);
    let said = server.rank(RankRequest { explain: true, attributes: given, ..request("paywall", "anna") }).await;
    assert_eq!(features(&said), named([1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0]));
    assert!(said.flags.is_empty(), "bounds themselves are not clipped: {said:?}");
}

#[tokio::test]
async fn a_clipped_attribute_is_flagged_and_one_that_does_not_clip_is_refused() {
    let server = TestServer::start().await;
    let ask = |name: &str, value| RankRequest {
        attributes: attributes([(name, number(value))]),
        explain: true,
        ..request("paywall", "anna")
    };
    let clipped = server.rank(ask("tenure_days", 1e9)).await;
    assert_eq!(clipped.flags, [i32::from(Flag::AttributeClipped)]);
    let explanation = clipped.explanation.clone().expect("an explanation was asked for");
    assert_eq!(explanation.features[1].value, 1.0, "the nearest bound stands in");
    assert_eq!(server.explained(&clipped.decision_id).await, Some(clipped), "the flag is of that moment");
    let status = server.try_rank(ask("local_hour", 24.0)).await.unwrap_err();
    assert_eq!(violated_fields(&status), ["attributes.local_hour"]);
    assert!(status.message().contains("must be from 0 to 23"), "{}", status.message());
}

#[tokio::test]
async fn a_required_attribute_that_is_missing_is_named() {
    let server = TestServer::start().await;
    let status = server.try_rank(request("upsell", "anna")).await.unwrap_err();
    assert_eq!((status.code(), violated_fields(&status)), (Code::InvalidArgument, vec!["attributes.age".to_owned()]));
    assert!(!server.rank(upsell("anna")).await.offers.is_empty());
}

#[tokio::test]
async fn a_stored_decision_is_the_answer_as_it_was_given() {
    let server = TestServer::start().await;
    let ask = RankRequest {
        explain: true,
        include_tail: true,
        market: "US".to_owned(),
        attributes: attributes([("age", number(1.0 / 3.0))]),
        ..request("upsell", "anna")
    };
    for request in [ask, RankRequest { explain: true, include_tail: true, ..request("paywall", "berta") }] {
        let answer = server.rank(request).await;
        let stored = server.decision(&answer.decision_id).await;
        assert_eq!(server.explained(&answer.decision_id).await.as_ref(), Some(&answer));
        assert!(!stored.closed && stored.totals.is_empty());
        let slots: Vec<_> = stored.slots.iter().map(|slot| (slot.slot, slot.offer_id.clone())).collect();
        let expected: Vec<_> = answer.offers.iter().map(|offer| (offer.slot, offer.offer_id.clone())).collect();
        assert_eq!(slots, expected);
        // A later catalog changes nothing about it.
        let mut catalog = shop();
        catalog.offers.iter_mut().for_each(|offer| offer.display.clear());
        catalog.rates.insert("USD".to_owned(), 4.0);
        server.apply(catalog).await;
        server.clock.advance_s(DAY_S);
        assert_eq!(server.explained(&answer.decision_id).await, Some(answer));
    }
}

#[tokio::test]
async fn a_decision_that_was_never_made_is_not_found() {
    let server = TestServer::start().await;
    let other = TestServer::start_with({
        let mut catalog = shop();
        placement_mut(&mut catalog, "banner").partitions = Some(1);
        catalog
    })
    .await;
    server.clock.advance_s(1);
    let foreign = server.rank(request("banner", "anna")).await.decision_id;
    let status = other.try_decision("").await.unwrap_err();
    assert_eq!((status.code(), violated_fields(&status)), (Code::InvalidArgument, vec!["decision_id".to_owned()]));
    for decision_id in ["nonsense", &"0".repeat(32), foreign.as_str(), &"x".repeat(100_000), "a\0b{c}\u{202e}"] {
        let status = other.try_decision(decision_id).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "DECISION_NOT_FOUND"));
        assert!(status.message().len() < 1000, "{}", status.message().len());
        assert!(!status.message().contains(['\0', '\u{202e}']), "{:?}", status.message());
    }
}

#[tokio::test]
async fn an_unknown_placement_is_not_found_and_the_known_ones_are_named() {
    let server = TestServer::start().await;
    let status = server.try_rank(request("sidebar", "anna")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "PLACEMENT_NOT_FOUND"));
    assert!(status.message().contains("banner, paywall, quiet, upsell"), "{}", status.message());
}

#[tokio::test]
async fn an_answer_names_the_catalog_and_the_learned_state_it_was_made_from() {
    let server = TestServer::start().await;
    let first = server.rank(request("banner", "anna")).await;
    let version = first.posterior_version.clone().expect("every answer names its learned state");
    assert_eq!(first.catalog_revision, 1);
    assert_eq!(version.offsets.len(), 4, "one for each partition");
    assert!(version.offsets.iter().all(|partition| partition.offset == 0), "{version:?}");
    server.report(conversion("o1", &first)).await;
    assert_eq!(
        server.rank(request("banner", "anna")).await.posterior_version,
        Some(version.clone()),
        "not learned yet"
    );

    server.refresh().await;
    let learned = server.rank(request("banner", "anna")).await.posterior_version.expect("every answer names it");
    assert_eq!(learned.model_id, version.model_id);
    // Two decisions and one outcome of one user, whose partition holds them all.
    assert_eq!(learned.offsets.iter().map(|partition| partition.offset).max(), Some(3));
    let placement = server.placement("banner").await;
    assert_eq!(placement.posterior_version, Some(learned.clone()));

    let mut catalog = shop();
    placement_mut(&mut catalog, "banner").learning =
        Some(proto::Learning { half_life_s: Some(3600), ..Default::default() });
    server.apply(catalog).await;
    let after = server.rank(request("banner", "anna")).await;
    let version = after.posterior_version.expect("every answer names it");
    assert_eq!(after.catalog_revision, 2);
    assert_ne!(version.model_id, learned.model_id, "what is learned otherwise is another model");
}

#[tokio::test]
async fn an_old_snapshot_is_flagged_stale_and_still_answers() {
    let server = TestServer::start().await;
    server.clock.advance_s(10);
    let fresh = server.rank(request("banner", "anna")).await;
    assert_eq!((fresh.snapshot_age_ms, fresh.flags.as_slice()), (10_000, &[][..]));
    server.clock.advance_s(1);
    let stale = server.rank(request("banner", "anna")).await;
    assert_eq!((stale.snapshot_age_ms, stale.flags.as_slice()), (11_000, &[i32::from(Flag::Stale)][..]));
    assert_eq!(server.placement("banner").await.state(), proto::PlacementState::Stale);
    server.refresh().await;
    assert_eq!(server.rank(request("banner", "anna")).await.flags, [0; 0]);
    assert_eq!(server.placement("banner").await.state(), proto::PlacementState::Serving);
}

#[tokio::test]
async fn a_user_stays_in_one_partition_and_the_unit_decides_which() {
    let server = TestServer::start().await;
    for user in 0..8 {
        let ask = RankRequest { unit_id: "device-1".to_owned(), ..request("banner", &format!("user-{user}")) };
        server.rank(ask).await;
    }
    let partitions: BTreeSet<_> = server.records().await.iter().map(|(log, _)| log.partition).collect();
    assert_eq!(partitions.len(), 1, "one device, one partition: {partitions:?}");
}

#[tokio::test]
async fn ids_of_users_and_units_are_never_stored_in_the_clear() {
    let server = TestServer::start_on_file().await;
    let ask = RankRequest {
        unit_id: "unit-in-the-clear".to_owned(),
        request_id: "request-in-the-clear".to_owned(),
        ..request("banner", "user-in-the-clear")
    };
    server.rank(ask).await;
    server.refresh().await;
    let path = server.place.file().to_owned();
    let wal = path.with_extension("db-wal");
    for file in [path, wal] {
        let bytes = std::fs::read(&file).expect("the store's files can be read");
        assert!(!bytes.windows(12).any(|window| window == b"in-the-clear"), "{}", file.display());
    }
}
