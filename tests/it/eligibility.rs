//! What may be offered to whom, through the door: every "no" has its reason in the answer and stays in the log.

use crate::common::{START_MS, TestServer, attributes, boolean, request, shop, slate};
use offer_ranker::proto::{
    Catalog, ExclusionReason, Flag, PersonalisedPricing, RankRequest, RankResponse, Rule, RuleScope,
};

/// The shop, whose `monthly` sells another plan than everything else.
fn shop_of_two_plans() -> Catalog {
    let mut catalog = shop();
    for offer in &mut catalog.offers {
        if offer.id == "monthly" {
            offer.plan = "premium".to_owned();
        }
    }
    catalog
}

fn ask(candidates: &[&str]) -> RankRequest {
    let candidate_offer_ids = candidates.iter().map(ToString::to_string).collect();
    RankRequest { candidate_offer_ids, ..request("banner", "anna") }
}

fn excluded(answer: &RankResponse) -> Vec<(&str, ExclusionReason)> {
    answer.exclusions.iter().map(|exclusion| (exclusion.offer_id.as_str(), exclusion.reason())).collect()
}

#[tokio::test]
async fn a_trial_is_offered_once_in_a_lifetime() {
    let server = TestServer::start().await;
    for (trial_used, expected) in [(None, "trial"), (Some(false), "trial")] {
        let answer = server.rank(RankRequest { trial_used, ..ask(&["trial"]) }).await;
        assert_eq!(slate(&answer), [expected]);
    }
    let answer = server.rank(RankRequest { trial_used: Some(true), ..ask(&["monthly", "trial"]) }).await;
    assert_eq!(slate(&answer), ["monthly"]);
    assert_eq!(excluded(&answer), [("trial", ExclusionReason::TrialUsed)]);
    assert_eq!(
        server.decision(&answer.decision_id).await.decision.map(|stored| stored.exclusions),
        Some(answer.exclusions)
    );
}

#[tokio::test]
async fn nobody_is_offered_the_plan_that_they_have() {
    let server = TestServer::start_with(shop_of_two_plans()).await;
    let candidates = ["monthly", "yearly"];
    for (current_plan, expected) in [(None, 2), (Some(""), 2), (Some("of another time"), 2), (Some("premium"), 1)] {
        let current_plan = current_plan.map(str::to_owned);
        let answer = server.rank(RankRequest { current_plan, slots: Some(2), ..ask(&candidates) }).await;
        assert_eq!(answer.offers.len(), expected, "{answer:?}");
    }
    let answer = server.rank(RankRequest { current_plan: Some("premium".to_owned()), ..ask(&candidates) }).await;
    assert_eq!(excluded(&answer), [("monthly", ExclusionReason::CurrentPlan)]);
}

#[tokio::test]
async fn what_is_known_of_the_user_is_part_of_a_request() {
    let server = TestServer::start().await;
    let lapsed_at = |seconds: i64| Some(prost_types::Timestamp { seconds: START_MS / 1000 - seconds, nanos: 0 });
    let named = RankRequest { request_id: "r1".to_owned(), lapsed_at: lapsed_at(60), ..ask(&["monthly"]) };
    let first = server.rank(named.clone()).await;
    assert_eq!(server.rank(named.clone()).await.decision_id, first.decision_id);
    for other in [
        RankRequest { lapsed_at: lapsed_at(61), ..named.clone() },
        RankRequest { trial_used: Some(false), ..named.clone() },
        RankRequest { current_plan: Some("standard".to_owned()), ..named },
    ] {
        server.try_rank(other).await.expect_err("another body under the same id");
    }
}

/// The shop, with a law for Sweden and rules about all offers.
fn ruled(law: PersonalisedPricing, rules: &[(&str, &str, bool)]) -> Catalog {
    let mut catalog = shop();
    catalog.markets[0].personalised_pricing = law.into();
    if law == PersonalisedPricing::Disclose {
        catalog.markets[0].disclosure_text_key = "pricing.told".to_owned();
    }
    let rule = |&(id, expression, legal): &(&str, &str, bool)| Rule {
        id: id.to_owned(),
        expression: expression.to_owned(),
        scope: Some(RuleScope { placements: vec!["paywall".to_owned()], ..RuleScope::default() }),
        legal,
        ..Rule::default()
    };
    catalog.rules = rules.iter().map(rule).collect();
    catalog
}

#[tokio::test]
async fn a_rule_that_does_not_hold_is_named_in_answer_and_log() {
    let catalog = ruled(
        PersonalisedPricing::Allowed,
        &[
            ("returning", "user.is_returning || offer.kind != \"TRIAL\"", false),
            ("law", "offer.price < 900.0", true),
            ("broken", "offer.id != \"monthly\" || 1 / subscription.lapsed_days > 0", false),
        ],
    );
    let server = TestServer::start_with(catalog).await;
    let candidates = ["monthly", "trial", "yearly"].map(str::to_owned).to_vec();
    let ask = RankRequest { candidate_offer_ids: candidates, explain: true, ..request("paywall", "anna") };
    let answer = server.rank(ask.clone()).await;
    let told: Vec<_> = answer
        .exclusions
        .iter()
        .map(|exclusion| (exclusion.offer_id.as_str(), exclusion.reason(), exclusion.rule_id.as_str()))
        .collect();
    let expected = [
        ("monthly", ExclusionReason::RuleError, "broken"),
        ("trial", ExclusionReason::Rule, "returning"),
        ("yearly", ExclusionReason::LegalRule, "law"),
    ];
    assert_eq!(told, expected);
    assert_eq!(server.explained(&answer.decision_id).await, Some(answer));
    let returning = RankRequest { attributes: attributes([("is_returning", boolean(true))]), ..ask };
    assert_eq!(slate(&server.rank(returning).await), ["trial"]);
}

#[tokio::test]
async fn personalised_prices_are_disclosed_where_the_law_wants_it() {
    let server = TestServer::start_with(ruled(PersonalisedPricing::Disclose, &[])).await;
    let answer = server.rank(RankRequest { explain: true, ..request("paywall", "anna") }).await;
    assert_eq!(
        (answer.flags.as_slice(), &*answer.disclosure_text_key),
        (&[Flag::PersonalisedPrices.into()][..], "pricing.told")
    );
    assert_eq!(server.explained(&answer.decision_id).await, Some(answer));
    let alone =
        server.rank(RankRequest { candidate_offer_ids: vec!["yearly".to_owned()], ..request("paywall", "anna") }).await;
    assert_eq!((alone.flags.as_slice(), &*alone.disclosure_text_key), (&[][..], ""), "nobody chose among prices");
}

#[tokio::test]
async fn where_personalised_prices_are_forbidden_nobody_is_looked_at() {
    let server = TestServer::start_with(ruled(PersonalisedPricing::Forbidden, &[])).await;
    let ask = |days: f64| RankRequest {
        attributes: attributes([("tenure_days", crate::common::number(days))]),
        explain: true,
        ..request("paywall", "anna")
    };
    let [new, old] = [server.rank(ask(0.0)).await, server.rank(ask(900.0)).await];
    for answer in [&new, &old] {
        assert_eq!(answer.flags, [i32::from(Flag::NeutralContext)]);
        assert_eq!(server.explained(&answer.decision_id).await.as_ref(), Some(answer));
    }
    let features = |answer: &RankResponse| answer.explanation.clone().map(|explanation| explanation.features);
    assert_eq!(features(&new), features(&old), "scores are those of nobody in particular");
    let one_price = RankRequest { candidate_offer_ids: vec!["monthly".to_owned(), "none".to_owned()], ..ask(900.0) };
    assert!(server.rank(one_price).await.flags.is_empty(), "one price of a plan may go to whom it suits");
}
