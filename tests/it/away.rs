//! A store that is away: valid requests are answered all the same, and say so.
//!
//! A store that was closed answers like one that is away, for good; one that comes back is a matter of `tests/instances`.

use crate::common::{
    TestServer, attributes, catalog_of, conversion, number, placement_mut, reason, request, shop, slate, upsell,
};
use offer_ranker::{
    proto::{Catalog, ExclusionReason, FeedbackCode, Flag, FrequencyCap, RankRequest, RankResponse, WhenStateUnknown},
    store::spool::SPOOL_BYTES_MIN,
};
use std::{path::Path, time::Duration};
use tokio::time::Instant;
use tonic::Code;

async fn start_without_store() -> TestServer {
    let server = TestServer::start().await;
    server.store.close().await.expect("a store can be closed");
    server
}

/// A server whose store goes away, with a spool in this folder.
async fn start_spooling(folder: &Path) -> TestServer {
    let server = TestServer::start_with_spool(folder).await;
    server.store.close().await.expect("a store can be closed");
    server
}

fn flags(answer: &RankResponse) -> Vec<Flag> {
    answer.flags().collect()
}

#[tokio::test]
async fn without_store_and_spool_a_fixed_policy_keeps_its_order_and_nothing_is_logged() {
    let server = start_without_store().await;
    let answer = server.rank(RankRequest { include_tail: true, ..request("banner", "anna") }).await;
    assert_eq!(slate(&answer), ["yearly", "monthly", "trial"]);
    assert_eq!(flags(&answer), [Flag::NotLogged]);
    assert!(answer.offers.iter().all(|offer| offer.propensity == 1.0 && offer.price.is_some()));
    assert_eq!(
        slate(&server.rank(request("quiet", "anna")).await),
        ["monthly", "none"],
        "showing nothing ends the slate"
    );
}

#[tokio::test]
async fn without_store_and_spool_other_policies_go_by_expected_value() {
    let server = TestServer::start().await;
    // In Germany two offers may be shown, and the dearer one is worth more; showing nothing is worth nothing.
    let german = || RankRequest { market: "DE".to_owned(), include_tail: true, ..request("paywall", "anna") };
    let drawn = server.rank(german()).await;
    server.store.close().await.expect("a store can be closed");
    let first = server.rank(german()).await;
    assert_eq!(slate(&first), ["german", "monthly", "none"]);
    assert_eq!(first.exclusions, drawn.exclusions);
    assert!(first.exclusions.iter().any(|left_out| left_out.reason() == ExclusionReason::Paused));
    for user in 0..50 {
        let again = server.rank(RankRequest { user_id: format!("user-{user}"), ..german() }).await;
        assert_eq!((again.offers, again.tail), (first.offers.clone(), first.tail.clone()));
    }
    let two = server.rank(RankRequest { slots: Some(1), ..german() }).await;
    assert_eq!((slate(&two), two.tail[0].offer_id.as_str(), two.tail.len()), (vec!["german"], "monthly", 1));
    let none = server.rank(RankRequest { candidate_offer_ids: vec!["resting".to_owned()], ..german() }).await;
    assert_eq!((none.offers.len(), none.exclusions.len(), flags(&none)), (0, 1, vec![Flag::NotLogged]));
}

#[tokio::test]
async fn arms_of_equal_value_stand_by_their_ids_and_showing_nothing_after_them() {
    let server = TestServer::start_with(catalog_of(EVEN)).await;
    server.store.close().await.expect("a store can be closed");
    assert_eq!(slate(&server.rank(request("even", "anna")).await), ["apple", "pear", "none"]);
}

/// Three arms of which nobody knows anything, and which are worth the same.
const EVEN: &str = "
reward_currency: EUR
markets: [{ id: DE, currency_code: EUR }]
default_market: DE
metrics: [{ id: revenue, kind: MONEY }]
offers:
  - { id: none, kind: NONE }
  - { id: pear, kind: STANDARD, plan: fruit, prices: { DE: { price: { currency_code: EUR, amount_minor: 99 } } } }
  - { id: apple, kind: STANDARD, plan: fruit, prices: { DE: { price: { currency_code: EUR, amount_minor: 49 } } } }
placements:
  - id: even
    slots: 3
    offers: [pear, none, apple]
    policy: { thompson: {}, linear: {} }
    reward: { terms: [{ metric: revenue }] }
";

#[tokio::test]
async fn reports_on_what_was_not_logged_are_told_so_and_not_kept() {
    let server = start_without_store().await;
    let answer = server.rank(request("banner", "anna")).await;
    assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::NotLogged);
    assert_eq!(server.expose(&answer.decision_id, &[1]).await, FeedbackCode::NotLogged);
    let refused = server.try_decision(&answer.decision_id).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "DECISION_NOT_LOGGED"));
}

#[tokio::test]
async fn a_request_id_does_not_keep_a_request_from_being_answered() {
    let server = start_without_store().await;
    let named =
        || RankRequest { request_id: "r1".to_owned(), unit_id: "device-7".to_owned(), ..request("banner", "anna") };
    let (first, again) = (server.rank(named()).await, server.rank(named()).await);
    assert_eq!(slate(&first), slate(&again));
    assert_eq!(flags(&again), [Flag::NotLogged]);
    let wrong = server.try_rank(RankRequest { slots: Some(99), ..request("banner", "anna") }).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument, "wrong requests are wrong without a store, too");
}

#[tokio::test]
async fn with_a_spool_decisions_are_drawn_as_ever_and_wait_there() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_spooling(folder.path()).await;
    let mut leads = std::collections::BTreeSet::new();
    for user in 0..40 {
        let answer = server.rank(request("paywall", &format!("user-{user}"))).await;
        assert_eq!(flags(&answer), [Flag::Degraded]);
        assert!(answer.offers.iter().all(|offer| offer.propensity > 0.0 && offer.propensity < 1.0 || offer.slot > 1));
        leads.insert(answer.offers[0].offer_id.clone());
    }
    assert!(leads.len() > 1, "it explores: {leads:?}");
    assert_eq!(server.service.spooled(), 40);
}

#[tokio::test]
async fn reports_on_what_waits_in_the_spool_are_told_to_wait_and_checkout_can_look_at_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_spooling(folder.path()).await;
    let answer = server.rank(RankRequest { explain: true, ..upsell("anna") }).await;
    assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::NotYet);
    assert_eq!(server.expose(&answer.decision_id, &[1]).await, FeedbackCode::NotYet);
    let stored = server.decision(&answer.decision_id).await;
    assert!(!stored.closed);
    assert_eq!(server.explained(&answer.decision_id).await, Some(answer));
}

#[tokio::test]
async fn a_request_has_one_answer_from_the_spool_and_another_body_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_spooling(folder.path()).await;
    let named =
        || RankRequest { request_id: "r1".to_owned(), unit_id: "device-7".to_owned(), ..request("paywall", "anna") };
    let first = server.rank(named()).await;
    for _ in 0..20 {
        assert_eq!(server.rank(named()).await, first);
    }
    let other = server.try_rank(RankRequest { slots: Some(1), ..named() }).await.unwrap_err();
    assert_eq!((other.code(), reason(&other).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    assert_eq!(server.service.spooled(), 1);
}

#[tokio::test]
async fn with_a_full_spool_answers_are_in_the_fallback_order() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_spooling(folder.path()).await;
    let attributes = || attributes([("tenure_days", number(30.0))]);
    let mut spooled = 0;
    loop {
        let user_id = format!("user-{spooled}");
        let answer = server.rank(RankRequest { attributes: attributes(), ..request("paywall", &user_id) }).await;
        if flags(&answer) == [Flag::NotLogged] {
            break;
        }
        assert_eq!(flags(&answer), [Flag::Degraded]);
        spooled += 1;
        assert!(spooled * 100 < SPOOL_BYTES_MIN, "the spool never fills");
    }
    assert_eq!(server.service.spooled() as u64, spooled);
}

#[tokio::test]
async fn what_the_backlog_cannot_log_it_spools() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_answering_first_with_spool(100, folder.path()).await;
    server.store.close().await.expect("a store can be closed");
    let answer = server.rank(request("banner", "anna")).await;
    assert_eq!((server.service.unlogged(), server.service.spooled()), (1, 0));
    server.service.log_backlog().await.expect("the spool takes it");
    assert_eq!((server.service.unlogged(), server.service.spooled()), (0, 1));
    assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::NotYet);
    // From here on it is known that this log is away.
    assert_eq!(flags(&server.rank(request("banner", "anna")).await), [Flag::Degraded]);
    assert_eq!(server.service.log_rest(Instant::now() + Duration::from_secs(60)).await, 0, "nothing is left in memory");
    assert_eq!(server.service.spooled(), 2);
}

/// `banner` with a cap on `yearly` and a lease.
fn keeping(when: WhenStateUnknown) -> Catalog {
    let mut catalog = shop();
    let banner = placement_mut(&mut catalog, "banner");
    banner.lease_s = Some(600);
    banner.frequency_caps =
        vec![FrequencyCap { offers: vec!["yearly".to_owned()], max: 1, window_s: 600, ..Default::default() }];
    banner.when_state_unknown = when.into();
    catalog
}

#[tokio::test]
async fn what_is_capped_is_skipped_or_offered_as_the_catalog_says_and_no_lease_is_promised() {
    for (when, expected) in [
        (WhenStateUnknown::Skip, ["monthly", "trial", "none"]),
        (WhenStateUnknown::Ignore, ["yearly", "monthly", "trial"]),
    ] {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let server = TestServer::start_with_spool(folder.path()).await;
        server.apply(keeping(when)).await;
        let root = server.rank(request("banner", "anna")).await;
        assert_eq!(slate(&root), ["yearly", "monthly", "trial"]);
        server.store.close().await.expect("a store can be closed");
        // Of a unit that has a lease, too: nobody can tell.
        for user in ["anna", "berta"] {
            let answer = server.rank(request("banner", user)).await;
            assert_eq!(slate(&answer), expected);
            assert_eq!(flags(&answer), [Flag::StateUnknown, Flag::Degraded]);
            assert!(answer.lease_until.is_none() && answer.root_decision_id.is_empty());
        }
    }
}
