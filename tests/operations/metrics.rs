//! What is measured is told, by the names that are promised, and counts what happened.

use crate::server::{Server, conversion, poll, request};
use offer_ranker::{
    meters,
    proto::{ApplyCatalogRequest, GetCatalogRequest, RankRequest, catalog_service_client::CatalogServiceClient},
};
use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels, as in `name{label="value"}`.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
        (name.to_owned(), value.parse().expect("a value is a number"))
    };
    lines.map(sample).collect()
}

/// Metrics with their types, as the page declares them.
fn types(page: &str) -> BTreeMap<String, String> {
    let declared = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    declared.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

fn scrape(server: &Server) -> String {
    let (status, page) = server.get("/metrics");
    assert_eq!(status, 200);
    page
}

/// A little of everything.
async fn traffic(server: &Server) {
    let answer = server.rank(request("anna")).await.expect("a valid request is answered");
    server.report(vec![conversion("order-1", &answer.decision_id), conversion("order-2", "made-up")]).await;
    let refused = server.rank(RankRequest { placement: "nowhere".to_owned(), ..request("anna") }).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn every_metric_that_is_promised_is_told_and_no_other() {
    let spool = tempfile::tempdir().unwrap();
    let server = Server::start(&[], &["--spool", &spool.path().display().to_string()]);
    traffic(&server).await;
    // The state of learning is told after the store was asked for it.
    let lag = r#"offer_ranker_learner_lag_records{placement="paywall"}"#;
    let page = poll("the lag is told", || Some(scrape(&server)).filter(|page| page.contains(lag)));
    let told = types(&page);
    let promised = meters::ALL.map(|meter| (meter.name.to_owned(), format!("{:?}", meter.kind).to_lowercase()));
    assert_eq!(told, promised.into());
    for meter in meters::ALL {
        assert!(page.contains(&format!("# HELP {} {}", meter.name, meter.help)), "{}", meter.name);
    }
}

#[tokio::test]
async fn calls_decisions_and_reports_are_counted_by_what_became_of_them() {
    let server = Server::start(&[], &[]);
    let none = r#"offer_ranker_requests_total{method="RankingService/Rank",code="OK"} 0"#;
    poll("counting starts at 0", || scrape(&server).contains(none).then_some(()));
    traffic(&server).await;
    let counted = samples(&scrape(&server));
    for (sample, value) in [
        (r#"offer_ranker_requests_total{method="RankingService/Rank",code="OK"}"#, 1.0),
        (r#"offer_ranker_requests_total{method="RankingService/Rank",code="NOT_FOUND"}"#, 1.0),
        (r#"offer_ranker_requests_total{method="FeedbackService/RecordOutcomes",code="OK"}"#, 1.0),
        (r#"offer_ranker_request_duration_seconds_count{method="RankingService/Rank"}"#, 2.0),
        (r#"offer_ranker_requests_in_flight{method="RankingService/Rank"}"#, 0.0),
        (r#"offer_ranker_decisions_total{placement="paywall"}"#, 1.0),
        (r#"offer_ranker_exclusions_total{placement="paywall",reason="platform"}"#, 2.0),
        (r#"offer_ranker_outcomes_total{placement="paywall",code="recorded"}"#, 1.0),
        (r#"offer_ranker_outcomes_total{placement="",code="unknown_decision"}"#, 1.0),
        (r#"offer_ranker_store_operation_duration_seconds_count{operation="append_decision"}"#, 1.0),
        (r#"offer_ranker_store_errors_total{kind="unavailable"}"#, 0.0),
        (r#"offer_ranker_catalog_revision"#, 1.0),
        (r#"offer_ranker_queue_capacity{queue="store_writer"}"#, 1024.0),
        (r#"offer_ranker_ready"#, 1.0),
    ] {
        assert_eq!(counted.get(sample), Some(&value), "{sample}");
    }
}

#[tokio::test]
async fn leads_are_counted_beside_the_probabilities_that_were_logged_for_them() {
    let server = Server::start(&[], &[]);
    for user in 0..20 {
        server.rank(request(&format!("user-{user}"))).await.unwrap();
    }
    // A page may be read in the middle of a decision, with one of its numbers and without another.
    let (counted, expected) = poll("all is learned", || {
        let counted = samples(&scrape(&server));
        let sum = |name: &str| -> f64 {
            let of_paywall = format!(r#"{name}{{placement="paywall","#);
            counted.iter().filter(|(sample, _)| sample.starts_with(&of_paywall)).map(|(_, value)| value).sum()
        };
        let decisions = *counted.get(r#"offer_ranker_lead_entropy_nats_count{placement="paywall"}"#)?;
        let (leads, expected) = (sum("offer_ranker_leads_total"), sum("offer_ranker_leads_expected_millionths_total"));
        assert!(decisions <= 20.0 && leads <= 20.0, "{decisions} {leads}");
        (decisions == 20.0 && leads == 20.0 && expected > 19.5e6).then_some((counted, expected))
    });
    // Of each decision the probability of each of at most ten offers is rounded to a millionth.
    assert!((expected - 20e6).abs() <= 20.0 * 10.0 * 0.5, "{expected}");
    let entropy = counted[r#"offer_ranker_lead_entropy_nats_sum{placement="paywall"}"#];
    assert!(entropy > 0.0 && entropy < 20.0 * 10_f64.ln(), "{entropy}");
}

#[tokio::test]
async fn bands_tell_how_they_act_until_they_are_gone() {
    let server = Server::start(&[], &[]);
    let told = |what: &str| {
        let name = |metric: &str| format!(r#"{metric}{{placement="cancellation",band="reasons-to-stay"}}"#);
        poll(what, || {
            let counted = samples(&scrape(&server));
            Some((*counted.get(&name("offer_ranker_band_rate"))?, *counted.get(&name("offer_ranker_band_delta"))?))
        })
    };
    // Nothing has been decided that tells a rate. A number that is told for the first time is 0 for a moment.
    poll("the band is told of", || {
        Some(told("the band is told of")).filter(|(rate, delta)| rate.is_nan() && *delta == 1.0)
    });
    let mut catalogs = CatalogServiceClient::new(server.channel().await);
    for (declared, expected) in [(Some(0.3), Some((0.3, 0.05))), (None, None)] {
        let served = catalogs.get_catalog(GetCatalogRequest::default()).await.unwrap().into_inner();
        let mut catalog = served.catalog.expect("a catalog is served");
        let cancellation = catalog.placements.iter_mut().find(|placement| placement.id == "cancellation").unwrap();
        let bands = &mut cancellation.bounds.as_mut().unwrap().bands;
        bands[0].rate = declared;
        bands.truncate(usize::from(declared.is_some()));
        let request = ApplyCatalogRequest { catalog: Some(catalog), etag: served.etag, ..Default::default() };
        catalogs.apply_catalog(request).await.unwrap();
        let is_told = |found: (f64, f64)| expected.map_or(found.0.is_nan() && found.1.is_nan(), |one| one == found);
        poll("the change is told", || is_told(told("the band is told of")).then_some(()));
    }
}

#[tokio::test]
async fn a_repeated_answer_is_a_call_but_no_decision() {
    let server = Server::start(&[], &[]);
    for _ in 0..2 {
        server.rank(RankRequest { request_id: "visit-1".to_owned(), ..request("anna") }).await.unwrap();
    }
    let counted = samples(&scrape(&server));
    assert_eq!(counted[r#"offer_ranker_requests_total{method="RankingService/Rank",code="OK"}"#], 2.0);
    assert_eq!(counted[r#"offer_ranker_decisions_total{placement="paywall"}"#], 1.0);
}

#[tokio::test]
async fn what_clients_send_never_becomes_a_label() {
    let server = Server::start(&[], &[]);
    traffic(&server).await;
    let before: BTreeSet<String> = samples(&scrape(&server)).into_keys().collect();
    let strange = RankRequest { placement: "marked-placement".to_owned(), ..request("marked-user") };
    assert!(server.rank(strange).await.is_err());
    let candidates = vec!["marked-offer".to_owned()];
    server.rank(RankRequest { candidate_offer_ids: candidates, ..request("marked-user") }).await.unwrap();
    server.report(vec![conversion("marked-outcome", "marked-decision")]).await;
    let after: BTreeSet<String> = samples(&scrape(&server)).into_keys().collect();
    let new: Vec<_> = after.difference(&before).collect();
    assert!(!after.iter().any(|sample| sample.contains("marked")), "{new:?}");
}
