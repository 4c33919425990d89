//! Frequency caps and cool-downs: how often a unit is offered something, and for how long not after a refusal.

use crate::common::{TestServer, conversion, offer_mut, placement_mut, request, shop, slate};
use offer_ranker::proto::{
    self, Catalog, CoolDown, ExclusionReason, FeedbackCode, Flag, FrequencyCap, Outcome, PersonalisedPricing,
    RankRequest, RankResponse,
};
use tokio::task::JoinSet;

const WINDOW_S: u32 = 600;

/// Offers by id, at most so often in [`WINDOW_S`].
fn cap(offers: &[&str], max: u32) -> FrequencyCap {
    let offers = offers.iter().map(|&offer| offer.to_owned()).collect();
    FrequencyCap { offers, max, window_s: WINDOW_S.into(), ..Default::default() }
}

/// `shop.yaml` with caps at a placement.
fn capped(placement: &str, caps: Vec<FrequencyCap>) -> Catalog {
    let mut catalog = shop();
    placement_mut(&mut catalog, placement).frequency_caps = caps;
    catalog
}

fn reason_of(response: &RankResponse, offer: &str) -> Option<ExclusionReason> {
    response.exclusions.iter().find(|exclusion| exclusion.offer_id == offer).map(proto::Exclusion::reason)
}

#[tokio::test]
async fn an_offer_is_offered_as_often_as_its_cap_allows_in_any_window() {
    let server = TestServer::start_with(capped("banner", vec![cap(&["yearly"], 2)])).await;
    let rank = || server.rank(request("banner", "anna"));
    assert_eq!(slate(&rank().await)[0], "yearly");
    server.clock.advance_s(WINDOW_S / 2);
    assert_eq!(slate(&rank().await)[0], "yearly");
    let third = rank().await;
    assert_eq!(slate(&third), ["monthly", "trial", "none"]);
    assert_eq!(reason_of(&third, "yearly"), Some(ExclusionReason::Capped));
    // Others are counted for themselves, and so are other placements.
    assert_eq!(slate(&server.rank(request("banner", "berta")).await)[0], "yearly");
    server.clock.advance_s(WINDOW_S / 2);
    assert_eq!(slate(&rank().await)[0], "yearly", "the first has left the window");
    assert_eq!(slate(&rank().await)[0], "monthly", "the second has not");
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn offers_of_one_cap_count_together_and_a_decision_counts_once() {
    let mut catalog = capped("banner", vec![FrequencyCap { tags: vec!["pushy".to_owned()], ..cap(&[], 2) }]);
    for offer in ["yearly", "monthly"] {
        offer_mut(&mut catalog, offer).tags = vec!["pushy".to_owned()];
    }
    let server = TestServer::start_with(catalog).await;
    let one = |offer: &str| RankRequest {
        candidate_offer_ids: vec![offer.to_owned(), "none".to_owned()],
        ..request("banner", "anna")
    };
    assert_eq!(slate(&server.rank(request("banner", "anna")).await), ["yearly", "monthly", "trial"]);
    assert_eq!(slate(&server.rank(one("monthly")).await), ["monthly", "none"]);
    let third = server.rank(request("banner", "anna")).await;
    assert_eq!(slate(&third), ["trial", "none"]);
    assert_eq!(reason_of(&third, "monthly"), Some(ExclusionReason::Capped));
}

#[tokio::test]
async fn what_was_not_shown_is_not_counted() {
    let server = TestServer::start_with(capped("banner", vec![cap(&["yearly"], 1), cap(&["monthly"], 1)])).await;
    let rank = || server.rank(request("banner", "anna"));
    let first = rank().await;
    assert_eq!(slate(&rank().await), ["trial", "none"]);
    // A report again, and one that adds a slot, come to what was shown in all.
    for (slots, expected) in [
        (&[][..], &["yearly", "monthly", "trial"][..]),
        (&[], &["yearly", "monthly", "trial"]),
        (&[2], &["yearly", "trial", "none"]),
        (&[1], &["trial", "none"]),
    ] {
        server.expose(&first.decision_id, slots).await;
        let next = rank().await;
        assert_eq!(slate(&next), expected, "after {slots:?}");
        // Which is not to be counted itself.
        server.expose(&next.decision_id, &[]).await;
    }
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_counted_once() {
    let server = TestServer::start_with(capped("banner", vec![cap(&["yearly"], 2)])).await;
    let first = RankRequest { request_id: "r1".to_owned(), ..request("banner", "anna") };
    let answer = server.rank(first.clone()).await;
    for _ in 0..5 {
        assert_eq!(server.rank(first.clone()).await, answer);
    }
    assert_eq!(slate(&server.rank(request("banner", "anna")).await)[0], "yearly");
    assert_eq!(slate(&server.rank(request("banner", "anna")).await)[0], "monthly");
}

#[tokio::test]
async fn sixty_four_requests_at_once_never_exceed_a_cap() {
    const MAX: usize = 3;
    let offers = ["monthly", "yearly", "trial"];
    let caps = offers.iter().map(|&offer| cap(&[offer], MAX as u32)).collect();
    let server = TestServer::start_with(capped("paywall", caps)).await;
    for round in 0..3 {
        let user = format!("user-{round}");
        let mut calls = JoinSet::new();
        for _ in 0..64 {
            let (ranking, asked) = (server.ranking.clone(), request("paywall", &user));
            calls.spawn(async move { ranking.clone().rank(asked).await.unwrap().into_inner() });
        }
        let answers = calls.join_all().await;
        for offer in offers {
            let offered = answers.iter().filter(|answer| slate(answer).contains(&offer)).count();
            assert!(offered <= MAX, "{offer} was offered {offered} times");
        }
        let counted = answers.iter().filter(|answer| offers.iter().any(|offer| slate(answer).contains(offer))).count();
        assert!(counted > 0, "somebody is offered something");
        // What could not be counted was not offered, and says so.
        let unchecked = |answer: &&RankResponse| {
            offers.iter().any(|offer| reason_of(answer, offer) == Some(ExclusionReason::LimitUnchecked))
        };
        for answer in answers.iter().filter(unchecked) {
            assert_eq!(slate(answer), ["none"]);
        }
    }
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn answering_first_does_not_outrun_a_cap() {
    let server = TestServer::start_answering_first(100).await;
    server.apply(capped("banner", vec![cap(&["yearly"], 1)])).await;
    let slates = [server.rank(request("banner", "anna")).await, server.rank(request("banner", "anna")).await];
    assert_eq!(slates.map(|answer| answer.offers[0].offer_id.clone()), ["yearly", "monthly"]);
}

#[tokio::test]
async fn a_refused_offer_cools_down_from_the_latest_refusal() {
    let mut catalog = shop();
    catalog.metrics.push(proto::Metric {
        id: "refusal".to_owned(),
        kind: proto::MetricKind::Count.into(),
        ..Default::default()
    });
    placement_mut(&mut catalog, "banner").cool_downs = vec![CoolDown {
        metric: "refusal".to_owned(),
        offers: vec!["yearly".to_owned(), "trial".to_owned()],
        for_s: WINDOW_S.into(),
        ..Default::default()
    }];
    let server = TestServer::start_with(catalog).await;
    let rank = || server.rank(request("banner", "anna"));
    let refusal =
        |id: &str, decision: &RankResponse| Outcome { metric: "refusal".to_owned(), ..conversion(id, decision) };
    let first = rank().await;
    let second = rank().await;
    assert_eq!(server.report(refusal("o1", &first)).await, FeedbackCode::Recorded);
    let cooling = rank().await;
    assert_eq!(slate(&cooling), ["monthly", "none"]);
    for offer in ["yearly", "trial"] {
        assert_eq!(reason_of(&cooling, offer), Some(ExclusionReason::CoolingDown));
    }
    assert_eq!(slate(&server.rank(request("banner", "berta")).await)[0], "yearly");
    // A refusal of something else changes nothing, a later one counts from its own time.
    server.report(refusal("o2", &cooling)).await;
    server.clock.advance_s(WINDOW_S / 2);
    server.report(refusal("o1", &second)).await;
    server.clock.advance_s(WINDOW_S / 2);
    assert_eq!(slate(&rank().await)[0], "monthly", "the second refusal counts");
    // Taken back, it counts no more.
    let revision = Outcome { value: 0.0, revises_outcome_id: "o1".to_owned(), ..refusal("o3", &second) };
    assert_eq!(server.report(revision).await, FeedbackCode::Revised);
    assert_eq!(slate(&rank().await)[0], "yearly");
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn what_a_cap_or_a_refusal_keeps_from_one_user_is_disclosed_where_the_law_wants_it() {
    let mut catalog = capped("banner", vec![cap(&["yearly"], 1)]);
    catalog.markets[0].personalised_pricing = PersonalisedPricing::Disclose.into();
    catalog.markets[0].disclosure_text_key = "pricing.told".to_owned();
    placement_mut(&mut catalog, "banner").cool_downs = vec![CoolDown {
        metric: "mood".to_owned(),
        offers: vec!["monthly".to_owned()],
        for_s: WINDOW_S.into(),
        ..Default::default()
    }];
    let server = TestServer::start_with(catalog).await;
    // Nothing of which eligibility looks at the user otherwise, as it does for trials.
    let asked = |user: &str, offers: &[&str]| RankRequest {
        candidate_offer_ids: offers.iter().map(|&offer| offer.to_owned()).collect(),
        ..request("banner", user)
    };
    let told = |answer: &RankResponse| answer.flags().any(|flag| flag == Flag::PersonalisedPrices);
    let first = server.rank(asked("anna", &["monthly", "yearly"])).await;
    assert_eq!((slate(&first), told(&first)), (vec!["yearly", "monthly"], false), "everybody is shown the same");
    let second = server.rank(asked("anna", &["monthly", "yearly"])).await;
    assert_eq!((reason_of(&second, "yearly"), told(&second)), (Some(ExclusionReason::Capped), true));

    let of_berta = server.rank(asked("berta", &["monthly", "none"])).await;
    assert!(!told(&of_berta));
    let refusal = Outcome { metric: "mood".to_owned(), ..conversion("o1", &of_berta) };
    assert_eq!(server.report(refusal).await, FeedbackCode::Recorded);
    let cooling = server.rank(asked("berta", &["monthly", "none"])).await;
    assert_eq!((reason_of(&cooling, "monthly"), told(&cooling)), (Some(ExclusionReason::CoolingDown), true));
}

#[tokio::test]
async fn a_refusal_that_is_taken_back_leaves_an_earlier_one_standing() {
    let mut catalog = shop();
    placement_mut(&mut catalog, "banner").cool_downs = vec![CoolDown {
        metric: "mood".to_owned(),
        offers: vec!["yearly".to_owned()],
        for_s: WINDOW_S.into(),
        ..Default::default()
    }];
    let server = TestServer::start_with(catalog).await;
    let rank = || server.rank(request("banner", "anna"));
    let refusal = |id: &str, decision: &RankResponse| Outcome { metric: "mood".to_owned(), ..conversion(id, decision) };
    let (first, second) = (rank().await, rank().await);
    server.report(refusal("o1", &first)).await;
    server.clock.advance_s(WINDOW_S / 2);
    server.report(refusal("o1", &second)).await;
    let revision = Outcome { value: 0.0, revises_outcome_id: "o1".to_owned(), ..refusal("o2", &second) };
    assert_eq!(server.report(revision).await, FeedbackCode::Revised);
    assert_eq!(reason_of(&rank().await, "yearly"), Some(ExclusionReason::CoolingDown), "the first still counts");
    server.clock.advance_s(WINDOW_S / 2);
    assert_eq!(slate(&rank().await)[0], "yearly", "from its own time");
}
