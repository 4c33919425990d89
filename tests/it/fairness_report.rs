//! Reports on fairness, as operators meet them: what they tell of decisions that a server made.

use crate::{
    common::{TestServer, at_s, catalog_of, conversion, placement_mut, request, shop, violated_fields},
    fairness::{TOTAL_TOLERANCE, fair, grouped, of_gender},
};
use offer_ranker::{
    engine::catalog::Period,
    grpc::fairness::report,
    proto::{
        AveragePrice, BoundKind, BoundReport, Catalog, FeedbackCode, GetFairnessReportRequest,
        GetFairnessReportResponse, Group, Groups, OfferExposure, Outcome, RankRequest,
    },
    service::fairness::fairness,
};
use tonic::{Code, Status};

async fn try_report(
    server: &TestServer,
    request: GetFairnessReportRequest,
) -> Result<GetFairnessReportResponse, Status> {
    Ok(server.insight.clone().get_fairness_report(request).await?.into_inner())
}

async fn report_on(server: &TestServer, placement: &str) -> GetFairnessReportResponse {
    let request = GetFairnessReportRequest { placement: placement.to_owned(), ..GetFairnessReportRequest::default() };
    try_report(server, request).await.expect("it has a log")
}

#[tokio::test]
async fn the_report_tells_groups_cohorts_gaps_prices_and_what_bounds_cost() {
    let mut catalog = fair();
    placement_mut(&mut catalog, "paywall").groups = Some(Groups { uniform: 0.2, ..Groups::default() });
    let server = TestServer::start_with(catalog).await;
    let mut paid = 0;
    for user in 0..60 {
        let answer = server.rank(of_gender(&format!("user-{user}"), if user % 3 == 0 { "f" } else { "m" })).await;
        let lead = &answer.offers[0].offer_id;
        if answer.group() == Group::Decisioning && lead == "monthly" {
            paid += 1;
            assert_eq!(server.report(conversion(&format!("o-{user}"), &answer)).await, FeedbackCode::Recorded);
        } else {
            // What the reward does not count is no purchase.
            let mood = Outcome { metric: "mood".to_owned(), ..conversion(&format!("o-{user}"), &answer) };
            assert_eq!(server.report(mood).await, FeedbackCode::Recorded);
        }
    }
    let report = report_on(&server, "paywall").await;
    let decisions = |group: Group| {
        report.groups.iter().filter(|count| count.group() == group).map(|count| count.decisions).sum::<u64>()
    };
    let decided = decisions(Group::Decisioning);
    assert_eq!(decided + decisions(Group::Uniform), 60);
    let ids: Vec<_> = report.benefits.iter().map(|benefit| benefit.id.as_str()).collect();
    assert_eq!(ids, ["discounts", "nothing", "plans"]);
    for benefit in &report.benefits {
        assert_eq!(benefit.decisions, decided);
        assert_eq!(benefit.cohorts.iter().map(|cohort| cohort.decisions).sum::<u64>(), decided);
        let [gap] = &benefit.gaps[..] else { panic!("one attribute: {benefit:?}") };
        // Nobody differs but by name: the probabilities of the first sixty users are all but the same.
        assert!(gap.after < 0.1 && gap.low <= gap.high, "{gap:?}");
    }
    assert!((report.benefits[0].after - 0.3).abs() <= 0.05 + TOTAL_TOLERANCE, "{report:?}");
    assert!(report.benefits[1].after <= 0.1 + TOTAL_TOLERANCE && report.benefits[1].moved == decided);
    let values: Vec<_> = report.cohorts.iter().map(|cohort| cohort.value.as_str()).collect();
    assert_eq!(values, ["f", "m"]);
    let prices: Vec<_> = report.cohorts.iter().flat_map(|cohort| &cohort.paid).collect();
    let is_full = |of: &&AveragePrice| of.price.as_ref().is_some_and(|price| price.amount_minor == 11_900);
    assert!(prices.iter().all(is_full), "{prices:?}");
    assert_eq!(prices.iter().map(|of| of.leads).sum::<u64>(), paid);
    assert_eq!(report.offers.iter().map(|offer| offer.drawn).sum::<u64>(), decided);
    assert!(report.value.is_finite() && report.ndkl >= 0.0);
    let attention: f64 = report.offers.iter().map(|offer| offer.attention).sum();
    // A few additions of numbers below 1.
    assert!((attention - 1.0).abs() < 1e-12, "{attention}");
    // Leads are what offers took of them, and every decision's probabilities sum to 1.
    let skew = |offer: &OfferExposure| (offer.drawn as f64 / (offer.before * offer.eligible as f64)).ln();
    let skews: Vec<f64> = report.offers.iter().map(skew).collect();
    let (lowest, highest) = (skews.iter().copied().reduce(f64::min), skews.iter().copied().reduce(f64::max));
    let of_leads = &report.skews[0];
    assert_eq!(of_leads.slots, 1);
    assert!((of_leads.lowest - lowest.unwrap()).abs() < 1e-9 || lowest == Some(of_leads.lowest), "{of_leads:?}");
    assert!((of_leads.highest - highest.unwrap()).abs() < 1e-9, "{of_leads:?}");
    let request = GetFairnessReportRequest { placement: "nowhere".to_owned(), ..GetFairnessReportRequest::default() };
    let refusal = server.insight.clone().get_fairness_report(request).await.expect_err("there is no such placement");
    assert_eq!(refusal.code(), Code::NotFound);
}

#[tokio::test]
async fn gaps_that_come_from_eligibility_stand_apart_from_those_of_rates() {
    let server = TestServer::start_with(fair()).await;
    // Of women every other one can be shown nothing but what is no discount, of men everybody can be shown anything.
    for user in 0..40 {
        let gender = if user < 20 { "f" } else { "m" };
        let candidates: &[&str] = if user < 20 && user % 2 == 0 { &["none", "monthly"] } else { &[] };
        let candidate_offer_ids = candidates.iter().map(|&id| id.to_owned()).collect();
        server.rank(RankRequest { candidate_offer_ids, ..of_gender(&format!("user-{user}"), gender) }).await;
    }
    let report = report_on(&server, "paywall").await;
    let discounts = report.benefits.iter().find(|benefit| benefit.id == "discounts").expect("the band is reported");
    let counts: Vec<_> =
        discounts.access.iter().map(|of| (&*of.value, of.decisions, of.eligible, of.feasible)).collect();
    assert_eq!(counts, [("f", 20, 10, 10), ("m", 20, 20, 20)]);
    let [gap] = &discounts.access_gaps[..] else { panic!("one attribute: {discounts:?}") };
    assert_eq!((&*gap.higher, &*gap.lower, gap.gap), ("m", "f", 0.5));
    assert!(0.2 < gap.low && gap.low < 0.5 && 0.5 < gap.high && gap.high < 0.8, "{gap:?}");
    // Where there is something to choose the band holds everybody alike.
    assert_eq!(discounts.decisions, 30);
    assert!(discounts.gaps[0].after < 0.1, "{discounts:?}");
    let plans = report.benefits.iter().find(|benefit| benefit.id == "plans").expect("the set is reported");
    assert_eq!((plans.decisions, plans.access_gaps[0].gap), (40, 0.0), "everybody can be shown a plan");
}

fn bound<'a>(report: &'a GetFairnessReportResponse, kind: BoundKind, id: &str) -> &'a BoundReport {
    report.bounds.iter().find(|bound| bound.kind() == kind && bound.id == id).expect("the bound is reported")
}

/// `shop.yaml` with these bounds at `banner`, whose fixed order leads with `yearly`.
fn bounded(bounds: &str) -> Catalog {
    let banner = format!("  - id: banner\n    bounds: {bounds}\n");
    catalog_of(&include_str!("shop.yaml").replacen("  - id: banner\n", &banner, 1))
}

#[tokio::test]
async fn what_one_bound_costs_by_itself_is_all_that_bounds_cost() {
    for (bounds, kind, id) in [
        ("{ floor: 0.1 }", BoundKind::Floors, ""),
        ("{ caps: { yearly: 0.6 } }", BoundKind::Caps, ""),
        ("{ sets: [{ id: cheap, offers: [monthly, trial], min: 0.4 }] }", BoundKind::Set, "cheap"),
        ("{ bands: [{ id: evenly, offers: [yearly], rate: 0.5, delta: 0.1 }] }", BoundKind::Band, "evenly"),
    ] {
        let server = TestServer::start_with(bounded(bounds)).await;
        for user in 0..5 {
            server.rank(request("banner", &format!("user-{user}"))).await;
        }
        let report = report_on(&server, "banner").await;
        let [only] = &report.bounds[..] else { panic!("{bounds}: {report:?}") };
        assert_eq!((only.kind(), &*only.id, only.decisions, only.binding, only.relaxed), (kind, id, 5, 5, 0));
        // The fixed order leads with the dearest offer, which every one of these bounds takes from.
        assert!(only.cost > 0.1, "{bounds}: {only:?}");
        // Projections are kept to 1e-13, and values are below 200.
        assert!((only.cost - (report.value_by_policy - report.value)).abs() < 1e-9, "{bounds}: {report:?}");
        assert!((only.reward_cost - (report.reward_by_policy - report.reward)).abs() < 1e-9, "{bounds}: {report:?}");
        let cost = report.cost.expect("what bounds cost is told in money");
        assert_eq!((&*cost.currency_code, &*report.reward_currency_code), ("EUR", "EUR"));
        assert_eq!(cost.amount_minor, (500.0 * only.cost).round() as i64);
    }
}

#[tokio::test]
async fn a_bound_binds_where_it_holds_the_solution_and_not_where_another_moved_its_offers() {
    let bounds = "{ floor: 0.01, sets: [{ id: cheap, offers: [monthly, trial], min: 0.4 }, \
                  { id: priced, offers: [monthly, trial, yearly], min: 0.5 }, { id: nothing, offers: [none], max: 0.9 }] }";
    let server = TestServer::start_with(bounded(bounds)).await;
    for user in 0..5 {
        server.rank(request("banner", &format!("user-{user}"))).await;
    }
    let only_none = vec!["none".to_owned()];
    server.rank(RankRequest { candidate_offer_ids: only_none, ..request("banner", "user-5") }).await;
    let report = report_on(&server, "banner").await;
    let counts = |kind, id| {
        let BoundReport { decisions, binding, relaxed, .. } = bound(&report, kind, id);
        (*decisions, *binding, *relaxed)
    };
    assert_eq!(counts(BoundKind::Set, "cheap"), (6, 5, 1));
    // Its offers lost to the floor of `none` what they lost, and one user could be shown none of them.
    assert_eq!(counts(BoundKind::Set, "priced"), (6, 0, 1));
    assert_eq!(bound(&report, BoundKind::Set, "priced").cost, 0.0);
    assert_eq!(counts(BoundKind::Set, "nothing"), (6, 0, 1));
    assert_eq!(counts(BoundKind::Floors, ""), (6, 5, 0));
    let priced = report.benefits.iter().find(|benefit| benefit.id == "priced").expect("the set is reported");
    assert!(priced.moved > 0, "its offers were moved all the same: {priced:?}");
}

#[tokio::test]
async fn units_are_compared_with_the_shares_of_their_groups() {
    let server = TestServer::start_with(grouped(0.25, 0.25)).await;
    for _ in 0..2 {
        for user in 0..200 {
            server.rank(request("banner", &format!("user-{user}"))).await;
        }
    }
    let report = report_on(&server, "banner").await;
    let [division] = &report.divisions[..] else { panic!("{report:?}") };
    let shares: Vec<_> = division.groups.iter().map(|of| (of.group(), of.share)).collect();
    assert_eq!(shares, [(Group::Decisioning, 0.5), (Group::Uniform, 0.25), (Group::Holdout, 0.25)]);
    let units: u64 = division.groups.iter().map(|of| of.units).sum();
    assert_eq!(units, 200, "whoever came twice counts once: {division:?}");
    let decisions: u64 = report.groups.iter().map(|of| of.decisions).sum();
    assert_eq!(decisions, 400);
    // Ids and key are fixed, so that this is as fixed.
    assert!(division.p_value.is_some_and(|p_value| p_value > 1e-3), "{division:?}");
    let undivided = TestServer::start_with(shop()).await;
    undivided.rank(request("banner", "anna")).await;
    assert!(report_on(&undivided, "banner").await.divisions.is_empty());
}

#[tokio::test]
async fn decisions_of_a_period_are_reported_alone() {
    let server = TestServer::start_with(fair()).await;
    for hour in 0..3_i64 {
        for user in 0..=hour {
            server.rank(of_gender(&format!("user-{hour}-{user}"), "f")).await;
        }
        server.clock.advance_s(3600);
    }
    let decisions = async |since, until| {
        let request = GetFairnessReportRequest { placement: "paywall".to_owned(), since, until };
        try_report(&server, request).await.map(|report| report.groups.iter().map(|of| of.decisions).sum::<u64>())
    };
    assert_eq!(decisions(None, None).await.ok(), Some(6));
    assert_eq!(decisions(at_s(3600), at_s(7200)).await.ok(), Some(2), "the end is no part of it");
    assert_eq!(decisions(None, at_s(3601)).await.ok(), Some(3));
    assert_eq!(decisions(at_s(3600), None).await.ok(), Some(5));
    let refused = decisions(at_s(3600), at_s(3600)).await.expect_err("nothing is in it");
    assert_eq!((refused.code(), violated_fields(&refused)), (Code::InvalidArgument, vec!["until".to_owned()]));
    assert!(refused.message().contains("must be after since"), "{refused:?}");
}

#[tokio::test]
async fn a_store_is_read_as_its_server_reads_it() {
    let server = TestServer::start_with(fair()).await;
    for user in 0..20 {
        server.rank(of_gender(&format!("user-{user}"), "f")).await;
    }
    let store = server.place.address.open_read_only().await.expect("the store can be read while it serves");
    let mut read = 0;
    let found = fairness(&*store, "paywall", Period::default(), |records| read += records).await;
    let found = report("paywall", &found.expect("it has a log"));
    assert_eq!((found, read), (report_on(&server, "paywall").await, 20));
    let refused =
        fairness(&*store, "nowhere", Period::default(), |_| {}).await.expect_err("there is no such placement");
    assert!(refused.to_string().contains("nowhere") && refused.to_string().contains("paywall"), "{refused}");
}

#[tokio::test]
async fn values_that_are_not_declared_any_more_keep_their_names() {
    let server = TestServer::start_with(fair()).await;
    server.rank(of_gender("anna", "f")).await;
    let mut catalog = fair();
    placement_mut(&mut catalog, "paywall").protected_attributes[0].values = ["m", "x"].map(str::to_owned).to_vec();
    server.apply(catalog).await;
    server.rank(of_gender("bo", "x")).await;
    let report = report_on(&server, "paywall").await;
    let values: Vec<_> = report.cohorts.iter().map(|cohort| &*cohort.value).collect();
    assert_eq!(values, ["f", "x"]);
}
