//! What may be offered to whom, through the door: every "no" has its reason in the answer and stays in the log.

use crate::common::{START_MS, TestServer, request, shop, slate};
use offer_ranker::proto::{Catalog, ExclusionReason, RankRequest, RankResponse};

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
