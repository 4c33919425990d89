//! The catalog: changed as a whole, never by accident, and nothing learned is lost on the way.

use crate::common::{
    DAY_S, HOUR_S, SNAPSHOT_MAX_AGE_MS, TestServer, at_s, attributes, conversion, number, offer_mut, placement_mut,
    reason, request, revenue, shop, slate, upsell, violated_fields,
};
use offer_ranker::{
    log::decision_id::DecisionId,
    proto::{self, ApplyCatalogRequest, Catalog, FeedbackCode, Metric, MetricKind, PlacementState, RankRequest},
    service::{Service, Settings, catalog::Application, refresh::LEARNED_AHEAD, validate::RankCommand},
};
use rusqlite::Connection;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tonic::Code;

/// The catalog with a text changed, so that it is another one.
fn relabelled(label: &str) -> Catalog {
    let mut catalog = shop();
    offer_mut(&mut catalog, "monthly").display.insert("headline".to_owned(), label.to_owned());
    catalog
}

fn without(placement: &str, mut catalog: Catalog) -> Catalog {
    catalog.placements.retain(|declared| declared.id != placement);
    catalog
}

async fn model_id(server: &TestServer, placement: &str) -> String {
    server.placement(placement).await.posterior_version.expect("every placement has a version").model_id
}

fn placement_number(decision_id: &str) -> u16 {
    decision_id.parse::<DecisionId>().expect("an id of this service").log().placement
}

#[tokio::test]
async fn the_seed_is_revision_one_and_comes_back_as_it_was() {
    let server = TestServer::start().await;
    let served = server.served_catalog().await;
    assert_eq!(served.catalog, Some(shop()));
    assert_eq!((served.revision, served.applied_at, served.reason.as_str()), (1, at_s(0), "the test's"));
    assert_eq!(server.try_get_catalog(1).await.unwrap(), served);
}

#[tokio::test]
async fn an_applied_catalog_serves_at_once_and_earlier_revisions_stay_readable() {
    let server = TestServer::start().await;
    let first = server.served_catalog().await;
    server.clock.advance_s(60);
    let request = ApplyCatalogRequest {
        catalog: Some(relabelled("new")),
        etag: first.etag.clone(),
        reason: "a new headline".to_owned(),
        ..Default::default()
    };
    let applied = server.try_apply(request).await.unwrap();
    assert_eq!((applied.revision, applied.catalog), (2, Some(relabelled("new"))));
    let served = server.served_catalog().await;
    assert_eq!((served.revision, &served.etag), (2, &applied.etag));
    assert_eq!((served.applied_at, served.reason.as_str()), (at_s(60), "a new headline"));
    assert_eq!(server.try_get_catalog(1).await.unwrap(), first);
    let answer = server.rank(RankRequest { market: "DE".to_owned(), ..crate::common::request("banner", "anna") }).await;
    assert_eq!((answer.catalog_revision, answer.offers[0].display["headline"].as_str()), (2, "new"));
    let status = server.try_get_catalog(3).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "REVISION_NOT_FOUND"));
}

#[tokio::test]
async fn a_change_to_what_has_changed_since_is_aborted() {
    let server = TestServer::start().await;
    let etag = server.served_catalog().await.etag;
    let change = |label: &str| ApplyCatalogRequest {
        catalog: Some(relabelled(label)),
        etag: etag.clone(),
        ..Default::default()
    };
    server.try_apply(change("first")).await.unwrap();
    let status = server.try_apply(change("second")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    assert_eq!(server.served_catalog().await.catalog, Some(relabelled("first")));
}

#[tokio::test]
async fn the_same_content_is_no_new_revision() {
    let server = TestServer::start().await;
    let again = server.apply(shop()).await;
    assert_eq!((again.revision, again.etag), (1, server.served_catalog().await.etag));
    assert_eq!(server.apply(relabelled("new")).await.revision, 2);
    assert_eq!(server.apply(shop()).await.revision, 3, "going back is a change");
}

#[tokio::test]
async fn checking_changes_nothing() {
    let server = TestServer::start().await;
    let before = server.served_catalog().await;
    let check = |catalog| ApplyCatalogRequest { catalog: Some(catalog), validate_only: true, ..Default::default() };
    let checked = server.try_apply(check(relabelled("new"))).await.unwrap();
    assert_eq!(checked.revision, 1, "the one that serves");
    assert_ne!(checked.etag, before.etag);
    assert!(checked.warnings.iter().any(|warning| warning.field == "metrics[2]"), "{:?}", checked.warnings);
    let mut bad = shop();
    bad.default_market = "XX".to_owned();
    assert_eq!(violated_fields(&server.try_apply(check(bad)).await.unwrap_err()), ["default_market"]);
    assert_eq!(server.served_catalog().await, before);
}

#[tokio::test]
async fn an_offer_whose_time_is_over_is_a_warning_when_a_catalog_is_applied() {
    let server = TestServer::start().await;
    let warned = |warnings: &[proto::CatalogWarning], id: &str| {
        let path = format!("offers[{}]", shop().offers.iter().position(|offer| offer.id == id).expect("an offer"));
        warnings.iter().find(|warning| warning.field == path).map(|warning| warning.description.clone())
    };
    let applied = server.apply(relabelled("new")).await;
    let said = warned(&applied.warnings, "christmas").expect("it ended weeks ago");
    assert!(said.contains("in market SE its validity was over at 2026-12-27T00:00:00Z"), "{said}");
    assert_eq!(warned(&applied.warnings, "spring"), None, "it is yet to come");
    server.clock.advance_s(90 * DAY_S);
    let applied = server.apply(relabelled("newer")).await;
    assert!(warned(&applied.warnings, "spring").is_some());
}

#[tokio::test]
async fn everything_wrong_with_a_catalog_is_said_by_field_path_and_the_old_one_serves() {
    let server = TestServer::start().await;
    let mut bad = shop();
    bad.rates.remove("USD");
    bad.offers[1].id = "Monthly Plan".to_owned();
    bad.offers[2].prices.get_mut("SE").expect("a price").price.as_mut().expect("an amount").amount_minor = -1;
    placement_mut(&mut bad, "banner").slots = Some(11);
    placement_mut(&mut bad, "upsell").reward = None;
    let status = server.try_apply(ApplyCatalogRequest { catalog: Some(bad), ..Default::default() }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let fields: BTreeSet<String> = violated_fields(&status).into_iter().collect();
    for field in [
        "rates.USD",
        "offers[1].id",
        "offers[2].prices.SE.price.amount_minor",
        "placements[2].slots",
        "placements[1].reward",
    ] {
        assert!(fields.contains(field), "{field} in {fields:?}");
    }
    assert_eq!(server.served_catalog().await.revision, 1);
    assert_eq!(server.rank(request("banner", "anna")).await.catalog_revision, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_the_same_time_become_one_revision_each() {
    let server = TestServer::start().await;
    let mut calls = JoinSet::new();
    for index in 0..8 {
        let mut client = server.catalog.clone();
        let request = ApplyCatalogRequest { catalog: Some(relabelled(&format!("{index}"))), ..Default::default() };
        calls.spawn(async move { client.apply_catalog(request).await.expect("it is applied").into_inner().revision });
    }
    let revisions: BTreeSet<u64> = calls.join_all().await.into_iter().collect();
    assert_eq!(revisions, (2..10).collect());
    assert_eq!(server.served_catalog().await.revision, 9);
}

#[tokio::test]
async fn a_new_model_has_learned_the_whole_log_before_it_serves() {
    let server = TestServer::start().await;
    for user in 0..5 {
        let answer = server.rank(request("banner", &format!("user-{user}"))).await;
        server.report(conversion("c", &answer)).await;
        server.report(revenue("r", &answer, 8.0, "EUR")).await;
    }
    let old = model_id(&server, "banner").await;
    let mut catalog = shop();
    let banner = placement_mut(&mut catalog, "banner");
    banner.reward.as_mut().expect("a reward").terms[0].metric = "revenue".to_owned();
    server.apply(catalog).await;
    assert_ne!(model_id(&server, "banner").await, old);
    let placement = server.placement("banner").await;
    assert_eq!(placement.posterior_version.map(|version| version.offsets), Some(placement.log_ends));
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals["conversion"], arm.outcome_totals["revenue"]), (5, 5.0, 40.0));
    server.assert_audit_equal().await;

    server.rank(request("banner", "anna")).await;
    server.apply(shop()).await;
    assert_eq!(model_id(&server, "banner").await, old);
    assert_eq!(server.arm("banner", "yearly").await.shown, 6, "the old model catches up before it serves again");
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn priors_floors_and_texts_change_nothing_about_what_was_learned() {
    let server = TestServer::start().await;
    server.rank(request("paywall", "anna")).await;
    server.refresh().await;
    let before = model_id(&server, "paywall").await;
    let mut catalog = relabelled("new");
    let paywall = placement_mut(&mut catalog, "paywall");
    paywall.bounds = Some(proto::Bounds { floor: 0.01, ..Default::default() });
    paywall.policy = Some(proto::Policy {
        posterior: Some(proto::policy::Posterior::Beta(proto::BetaPosterior {
            prior: Some(proto::BetaPrior { alpha: 1.0, beta: 9.0 }),
            ..Default::default()
        })),
        ..Default::default()
    });
    server.apply(catalog).await;
    assert_eq!(model_id(&server, "paywall").await, before);
    let shown: u64 = server.placement("paywall").await.arms.iter().map(|arm| arm.shown).sum();
    assert_eq!(shown, 1);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn outcomes_of_an_offer_that_left_are_recorded_and_learned_when_it_comes_back() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    assert_eq!(slate(&answer), ["yearly", "monthly", "trial"]);
    server.refresh().await;
    let mut catalog = shop();
    catalog.offers.retain(|offer| offer.id != "yearly");
    for placement in &mut catalog.placements {
        placement.offers.retain(|offer_id| offer_id != "yearly");
        if let Some(proto::policy::Selection::Fixed(fixed)) =
            placement.policy.as_mut().and_then(|policy| policy.selection.as_mut())
        {
            fixed.order.retain(|offer_id| offer_id != "yearly");
        }
        placement.slots = placement.slots.map(|slots| slots.min(placement.offers.len() as u32));
    }
    server.apply(catalog).await;
    assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::Recorded);
    assert_eq!(server.decision(&answer.decision_id).await.slots[0].totals["conversion"], 1.0);
    server.refresh().await;
    assert_eq!(slate(&server.rank(request("banner", "berta")).await), ["monthly", "trial", "none"]);
    server.assert_audit_equal().await;
    server.apply(shop()).await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals["conversion"]), (1, 1.0));
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn outcomes_of_a_placement_that_left_are_recorded_and_learned_when_it_comes_back() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.apply(without("banner", shop())).await;
    assert_eq!(server.try_rank(request("banner", "anna")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::Recorded);
    assert_eq!(server.decision(&answer.decision_id).await.decision.expect("it is stored").offers, answer.offers);
    server.refresh().await;
    server.apply(shop()).await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals["conversion"]), (1, 1.0));
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_placement_keeps_its_number_for_ever_and_no_other_gets_it() {
    let server = TestServer::start().await;
    let ranked = |server: &TestServer, placement: &str| {
        let needs_age = ["upsell", "sidebar"].contains(&placement);
        let attributes = if needs_age { upsell("anna").attributes } else { attributes([]) };
        let request = RankRequest { attributes, ..request(placement, "anna") };
        let ranking = server.ranking.clone();
        async move { placement_number(&{ ranking }.rank(request).await.unwrap().into_inner().decision_id) }
    };
    let mut first = Vec::new();
    for placement in ["paywall", "upsell", "banner", "quiet"] {
        first.push(ranked(&server, placement).await);
    }
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 4);
    let mut renamed = shop();
    placement_mut(&mut renamed, "upsell").id = "sidebar".to_owned();
    renamed.placements.reverse();
    server.apply(renamed).await;
    assert!(!first.contains(&ranked(&server, "sidebar").await));
    let server = server.restart(None).await;
    server.apply(shop()).await;
    let mut again = Vec::new();
    for placement in ["paywall", "upsell", "banner", "quiet"] {
        again.push(ranked(&server, placement).await);
    }
    assert_eq!(again, first);
}

#[tokio::test]
async fn the_store_is_the_truth_and_not_the_file() {
    let server = TestServer::start().await;
    server.apply(relabelled("applied")).await;
    let server = server.restart(Some(relabelled("another file"))).await;
    let served = server.served_catalog().await;
    assert_eq!((served.revision, served.catalog), (2, Some(relabelled("applied"))));
}

#[tokio::test]
async fn what_was_learned_survives_a_restart_to_the_last_bit() {
    let server = TestServer::start().await;
    for user in 0..10 {
        let answer = server.rank(upsell(&format!("user-{user}"))).await;
        server.expose(&answer.decision_id, &[1, 2]).await;
        server.report(revenue("r", &answer, 0.1 * f64::from(user), "SEK")).await;
    }
    server.clock.advance_s(HOUR_S + 600);
    server.refresh().await;
    let before = server.placement("upsell").await;
    assert_eq!(before.arms.iter().map(|arm| arm.shown).sum::<u64>(), 20);
    let server = server.restart(None).await;
    assert_eq!(server.placement("upsell").await, before);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn fewer_partitions_forget_nothing_and_more_take_new_decisions() {
    let server = TestServer::start().await;
    let rank_some = async |users: std::ops::Range<u32>| {
        for user in users {
            server.rank(request("banner", &format!("user-{user}"))).await;
        }
        server.refresh().await;
        server.arm("banner", "yearly").await.shown
    };
    assert_eq!(rank_some(0..16).await, 16);
    for (partitions, learned) in [(1, 32_u64), (8, 48)] {
        let mut catalog = shop();
        placement_mut(&mut catalog, "banner").partitions = Some(partitions);
        server.apply(catalog).await;
        assert_eq!(learned - 16, server.arm("banner", "yearly").await.shown);
        assert_eq!(rank_some(0..16).await, learned);
        server.assert_audit_equal().await;
    }
}

/// The catalog with rewards in another currency.
fn in_kronor() -> Catalog {
    let mut catalog = shop();
    catalog.reward_currency = "SEK".to_owned();
    catalog.rates = [("EUR".to_owned(), 8.0), ("USD".to_owned(), 4.0)].into();
    catalog
}

#[tokio::test]
async fn the_reward_currency_stands_once_money_may_have_been_logged_in_it() {
    let server = TestServer::start().await;
    assert_eq!(server.apply(in_kronor()).await.revision, 2, "nothing is logged yet");
    server.apply(shop()).await;
    server.rank(request("banner", "anna")).await;
    for validate_only in [true, false] {
        let request = ApplyCatalogRequest { catalog: Some(in_kronor()), validate_only, ..Default::default() };
        let status = server.try_apply(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(violated_fields(&status), ["reward_currency"]);
    }
    assert_eq!(server.served_catalog().await.revision, 3);
}

#[tokio::test]
async fn a_metric_keeps_its_kind_once_values_may_have_been_logged_although_it_was_gone_in_between() {
    let server = TestServer::start().await;
    let with_kind = |kind: MetricKind| {
        let mut catalog = shop();
        let metric = Metric { id: "late_fees".to_owned(), kind: kind.into(), description: String::new() };
        catalog.metrics.push(metric);
        catalog
    };
    assert_eq!(server.apply(with_kind(MetricKind::Number)).await.revision, 2);
    assert_eq!(server.apply(with_kind(MetricKind::Count)).await.revision, 3, "nothing is logged yet");
    server.rank(request("banner", "anna")).await;
    let refused = async || {
        let catalog = Some(with_kind(MetricKind::Money));
        let status = server.try_apply(ApplyCatalogRequest { catalog, ..Default::default() }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let position = shop().metrics.len();
        assert_eq!(violated_fields(&status), [format!("metrics[{position}].kind")]);
    };
    refused().await;
    server.apply(shop()).await;
    refused().await;
    assert_eq!(server.apply(with_kind(MetricKind::Count)).await.revision, 5);
}

#[tokio::test]
async fn an_attribute_that_comes_and_gets_a_default_leaves_the_audit_equal() {
    let server = TestServer::start().await;
    let shown = async || -> u64 { server.placement("upsell").await.arms.iter().map(|arm| arm.shown).sum() };
    let old = server.rank(upsell("anna")).await;
    server.expose(&old.decision_id, &[1]).await;
    server.clock.advance_s(DAY_S);
    server.refresh().await;
    assert_eq!(shown().await, 1);

    let with_tenure = |default| {
        let mut catalog = shop();
        let context = placement_mut(&mut catalog, "upsell").context.as_mut().expect("a context");
        let tenure = proto::NumberAttribute { max: 10.0, default, ..Default::default() };
        context
            .attributes
            .push(proto::Attribute { name: "tenure".to_owned(), r#type: Some(proto::attribute::Type::Number(tenure)) });
        catalog
    };
    server.apply(with_tenure(None)).await;
    assert_eq!(shown().await, 0, "a decision without a required attribute teaches this model nothing");
    let ask =
        RankRequest { attributes: attributes([("age", number(1.0)), ("tenure", number(2.0))]), ..upsell("berta") };
    let new = server.rank(ask).await;
    server.expose(&new.decision_id, &[1]).await;
    server.clock.advance_s(DAY_S);
    server.assert_audit_equal().await;
    assert_eq!(shown().await, 1);

    server.apply(with_tenure(Some(5.0))).await;
    server.assert_audit_equal().await;
    assert_eq!(shown().await, 2, "with a default it teaches what it can");
}

#[tokio::test]
async fn bounds_that_start_to_clip_leave_the_audit_equal() {
    let server = TestServer::start().await;
    let old = server.rank(RankRequest { attributes: attributes([("age", number(90.0))]), ..upsell("anna") }).await;
    server.expose(&old.decision_id, &[1]).await;
    server.clock.advance_s(DAY_S);
    server.refresh().await;
    for out_of_bounds in [proto::OutOfBounds::Reject, proto::OutOfBounds::Clip] {
        let mut catalog = shop();
        let age = &mut placement_mut(&mut catalog, "upsell").context.as_mut().expect("a context").attributes[0];
        let tighter = proto::NumberAttribute { max: 50.0, out_of_bounds: out_of_bounds.into(), ..Default::default() };
        age.r#type = Some(proto::attribute::Type::Number(tighter));
        server.apply(catalog).await;
        server.assert_audit_equal().await;
    }
}

/// Another instance on the server's store.
async fn another_instance(server: &TestServer) -> Arc<Service> {
    let settings = Settings {
        snapshot_max_age_ms: SNAPSHOT_MAX_AGE_MS,
        backlog_max: 0,
        append_timeout: Duration::from_secs(60),
        not_yet_s: 60,
        identities_s: 400 * 86_400,
    };
    let service = Service::open(server.store.clone(), server.clock.clone(), settings, None).await;
    Arc::new(service.expect("a second service opens on the store"))
}

fn application(catalog: Catalog) -> Application {
    Application { catalog, etag: String::new(), validate_only: false, reason: String::new() }
}

fn tamper(server: &TestServer, sql: &str) {
    let file = Connection::open(server.place.file()).expect("the file opens beside the server");
    file.execute_batch(sql).expect("the file can be changed");
}

#[tokio::test]
async fn a_change_whose_caller_went_away_is_brought_to_its_end() {
    let server = TestServer::start().await;
    server.rank(request("banner", "anna")).await;
    // Without a moment of time the call is begun and given up at once.
    let given_up = tokio::time::timeout(Duration::ZERO, server.service.apply_catalog(application(relabelled("new"))));
    assert!(given_up.await.is_err());
    while server.served_catalog().await.revision == 1 {}
    assert_eq!(server.served_catalog().await.catalog, Some(relabelled("new")));
    assert_eq!(server.apply(relabelled("newer")).await.revision, 3);
}

#[tokio::test]
async fn a_change_whose_model_cannot_be_learned_changes_nothing() {
    let server = TestServer::start_on_file().await;
    let number = placement_number(&server.rank(request("banner", "anna")).await.decision_id);
    server.refresh().await;
    tamper(&server, &format!("UPDATE log SET record = x'ff' WHERE placement = {number}"));
    let mut catalog = shop();
    placement_mut(&mut catalog, "banner").reward.as_mut().expect("a reward").terms[0].metric = "revenue".to_owned();
    let request = ApplyCatalogRequest { catalog: Some(catalog), ..Default::default() };
    assert_eq!(server.try_apply(request).await.unwrap_err().code(), Code::Internal);
    assert_eq!(server.served_catalog().await.revision, 1);
    assert_eq!(server.try_get_catalog(2).await.unwrap_err().code(), Code::NotFound, "nor is it stored");
    assert_eq!(server.apply(relabelled("new")).await.revision, 2);
}

#[tokio::test]
async fn what_another_instance_applied_serves_after_a_refresh() {
    let server = TestServer::start().await;
    let another = another_instance(&server).await;
    let applied = another.apply_catalog(application(relabelled("another's"))).await.unwrap();
    assert_eq!((applied.revision, server.served_catalog().await.revision), (2, 1));
    server.refresh().await;
    let served = server.served_catalog().await;
    assert_eq!((served.revision, served.catalog), (2, Some(relabelled("another's"))));
    assert_eq!(server.rank(request("banner", "anna")).await.catalog_revision, 2);
}

#[tokio::test]
async fn a_change_to_what_another_instance_has_changed_is_told_what_serves_there() {
    let server = TestServer::start().await;
    let first = server.served_catalog().await.etag;
    let another = another_instance(&server).await;
    let theirs = another.apply_catalog(application(relabelled("another's"))).await.unwrap().etag;
    let outdated = ApplyCatalogRequest { catalog: Some(relabelled("new")), etag: first, ..Default::default() };
    let status = server.try_apply(outdated).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    assert!(status.message().contains(&theirs), "{}", status.message());
    assert_eq!(server.served_catalog().await.etag, theirs);
    assert_eq!(server.apply(relabelled("new")).await.revision, 3);
}

#[tokio::test]
async fn a_placement_that_cannot_learn_leaves_the_others_learning() {
    let server = TestServer::start_on_file().await;
    let number = placement_number(&server.rank(request("banner", "anna")).await.decision_id);
    server.refresh().await;
    let unreadable = format!(
        "UPDATE statistics_arms SET statistics = x'ff' WHERE placement = {number};
         UPDATE statistics SET offset = offset + 1 WHERE placement = {number};"
    );
    tamper(&server, &unreadable);
    let shown = async |server: &TestServer, placement: &str| -> (u64, PlacementState) {
        let told = server.placement(placement).await;
        (told.arms.iter().map(|arm| arm.shown).sum(), told.state())
    };
    for round in 1..3 {
        server.rank(request("banner", "anna")).await;
        server.rank(request("paywall", "anna")).await;
        server.refresh().await;
        assert_eq!(shown(&server, "banner").await, (1, PlacementState::Stale), "the last that was learned serves");
        assert_eq!(shown(&server, "paywall").await, (round, PlacementState::Serving));
    }
    assert_eq!(server.apply(relabelled("new")).await.revision, 2, "nor does it stand in the way of a change");
    assert_eq!(shown(&server, "banner").await, (1, PlacementState::Stale));

    let server = server.restart(None).await;
    assert_eq!(shown(&server, "banner").await, (0, PlacementState::Stale), "after a restart its prior serves");
    assert_eq!(shown(&server, "paywall").await, (2, PlacementState::Serving));
    server.rank(request("banner", "anna")).await;
    server.refresh().await;
    assert_eq!(shown(&server, "banner").await, (0, PlacementState::Stale));

    tamper(&server, "DELETE FROM statistics; DELETE FROM statistics_arms;");
    let server = server.restart(None).await;
    assert_eq!(shown(&server, "banner").await, (4, PlacementState::Serving));
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_log_that_lost_its_tail_is_learned_again_from_the_start() {
    let server = TestServer::start_on_file().await;
    let mut number = 0;
    for user in 0..24 {
        number = placement_number(&server.rank(request("paywall", &format!("user-{user}"))).await.decision_id);
    }
    server.assert_audit_equal().await;
    let learned = |told: proto::GetPlacementResponse| -> (usize, u64) {
        let shown = told.arms.iter().map(|arm| arm.shown);
        (shown.clone().filter(|&shown| shown > 0).count(), shown.sum())
    };
    let (arms_before, shown) = learned(server.placement("paywall").await);
    assert_eq!(shown, 24);
    tamper(&server, &format!("DELETE FROM log WHERE placement = {number} AND (offset > 0 OR partition > 0)"));
    let server = server.restart(None).await;
    server.assert_audit_equal().await;
    let (arms, shown) = learned(server.placement("paywall").await);
    assert_eq!(shown, 1, "one decision is left");
    assert!(arms < arms_before, "some arms were taken back altogether");
}

#[tokio::test]
async fn what_another_instance_applied_is_learned_in_portions_between_which_refreshes_go_on() {
    let server = TestServer::start_answering_first(3 * LEARNED_AHEAD as usize).await;
    let command = || RankCommand {
        placement: "banner".to_owned(),
        user_id: "anna".to_owned(),
        platform: "web".to_owned(),
        ..Default::default()
    };
    for _ in 0..2 * LEARNED_AHEAD + 1 {
        server.service.rank(command()).await.expect("a valid request is answered");
    }
    server.service.log_backlog().await.expect("the store is there");
    // It leads from here on, so nobody else commits what the new model learns.
    server.refresh().await;
    let mut catalog = shop();
    placement_mut(&mut catalog, "banner").reward.as_mut().expect("a reward").terms[0].weight = Some(0.5);
    another_instance(&server).await.apply_catalog(application(catalog)).await.expect("it is applied");
    let mut served = Vec::new();
    for _ in 0..3 {
        server.clock.advance_s(1);
        server.refresh().await;
        let placement = server.placement("banner").await;
        served.push((placement.catalog_revision, placement.snapshot_age_ms));
    }
    assert_eq!(served, [(1, 0), (1, 0), (2, 0)]);
    server.assert_audit_equal().await;
}
