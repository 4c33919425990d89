//! What is known of users across placements: learned, told, passed on at login, forgotten.

use crate::common::{
    DAY_S, TestServer, at_s, catalog_of, conversion, placement_mut, request, revenue, shop, slate, violated_fields,
};
use offer_ranker::{
    engine::unit::links::Links,
    log::record::LogRecord,
    proto::{
        self, Catalog, CoolDown, ExclusionReason, FeedbackCode, Flag, FrequencyCap, History, Outcome, RankRequest,
        RankResponse, UserFacts,
    },
};
use tonic::Code;

/// `shop.yaml` with a history, and at `banner` a lease and a cap.
pub(crate) fn keeping() -> Catalog {
    let mut catalog = shop();
    catalog.history = Some(History {
        trial_started_metrics: vec!["conversion".to_owned()],
        subscribed_metrics: vec!["revenue".to_owned()],
        churned_metrics: vec!["mood".to_owned()],
        kept_s: None,
    });
    let banner = placement_mut(&mut catalog, "banner");
    banner.lease_s = Some(600);
    banner.lease_ends_on = vec!["conversion".to_owned()];
    catalog
}

pub(crate) async fn start() -> TestServer {
    TestServer::start_with(keeping()).await
}

pub(crate) fn reason_of(response: &RankResponse, offer: &str) -> Option<ExclusionReason> {
    response.exclusions.iter().find(|exclusion| exclusion.offer_id == offer).map(proto::Exclusion::reason)
}

/// A request for the trial alone, or nothing, at another placement than outcomes are reported on.
pub(crate) fn trial_elsewhere(user: &str) -> RankRequest {
    let candidates = ["trial", "none"].map(str::to_owned).to_vec();
    RankRequest { candidate_offer_ids: candidates, ..request("paywall", user) }
}

pub(crate) fn trial_at_banner(user: &str) -> RankRequest {
    RankRequest { candidate_offer_ids: vec!["trial".to_owned()], ..request("banner", user) }
}

pub(crate) fn facts(user: &str) -> UserFacts {
    UserFacts { user_id: user.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_trial_that_was_used_at_one_placement_is_used_everywhere() {
    let server = start().await;
    let answer = server.rank(trial_at_banner("anna")).await;
    assert_eq!(reason_of(&server.rank(trial_elsewhere("anna")).await, "trial"), None);
    assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::Recorded);
    let next = server.rank(trial_elsewhere("anna")).await;
    assert_eq!(reason_of(&next, "trial"), Some(ExclusionReason::TrialUsed));
    // Whatever the caller believes: either knows of it.
    let believes = RankRequest { trial_used: Some(false), ..trial_elsewhere("anna") };
    assert_eq!(reason_of(&server.rank(believes).await, "trial"), Some(ExclusionReason::TrialUsed));
    assert_eq!(reason_of(&server.rank(trial_elsewhere("berta")).await, "trial"), None);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_conversion_of_what_is_no_trial_says_nothing_of_trials() {
    let server = start().await;
    let answer = server.rank(request("banner", "anna")).await;
    assert_eq!(answer.offers[0].offer_id, "yearly");
    server.report(conversion("o1", &answer)).await;
    assert_eq!(reason_of(&server.rank(trial_elsewhere("anna")).await, "trial"), None);
}

#[tokio::test]
async fn the_plan_of_the_latest_subscription_is_known_until_it_ends() {
    let server = start().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.report(revenue("o1", &answer, 99.0, "SEK")).await;
    let subscribed = server.rank(request("quiet", "anna")).await;
    assert_eq!(reason_of(&subscribed, "monthly"), Some(ExclusionReason::CurrentPlan));
    // What the caller states is of today.
    let stated = RankRequest { current_plan: Some(String::new()), ..request("quiet", "anna") };
    assert_eq!(reason_of(&server.rank(stated).await, "monthly"), None);
    server.clock.advance_s(60);
    server.report(Outcome { metric: "mood".to_owned(), ..conversion("o2", &answer) }).await;
    assert_eq!(reason_of(&server.rank(request("quiet", "anna")).await, "monthly"), None);
}

#[tokio::test]
async fn what_is_told_of_users_merges_and_every_mistake_is_named() {
    let server = start().await;
    let subscribed = UserFacts { plan: "standard".to_owned(), subscribed_at: at_s(-500), ..facts("anna") };
    let lapsed = UserFacts { lapsed_at: at_s(-900), ..facts("anna") };
    let tried = UserFacts { trial_used_at: at_s(-1000), ..facts("berta") };
    for users in [vec![subscribed.clone(), tried.clone()], vec![lapsed.clone()], vec![tried, subscribed, lapsed]] {
        server.try_tell(users).await.expect("valid facts are kept");
    }
    let anna = server.rank(request("quiet", "anna")).await;
    assert_eq!(reason_of(&anna, "monthly"), Some(ExclusionReason::CurrentPlan), "the older end is not the later fact");
    assert_eq!(reason_of(&server.rank(trial_elsewhere("berta")).await, "trial"), Some(ExclusionReason::TrialUsed));

    let bad = vec![
        facts(""),
        UserFacts { plan: "standard".to_owned(), ..facts("carla") },
        UserFacts { subscribed_at: at_s(0), ..facts("carla") },
        UserFacts { lapsed_at: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }), ..facts("carla") },
    ];
    let refused = server.try_tell(bad).await.expect_err("nothing of it is kept");
    let fields = ["users[0].user_id", "users[1].subscribed_at", "users[2].plan", "users[3].lapsed_at"];
    assert_eq!(
        (refused.code(), violated_fields(&refused)),
        (Code::InvalidArgument, fields.map(str::to_owned).to_vec())
    );
}

#[tokio::test]
async fn a_fact_of_a_time_to_come_is_refused() {
    let server = start().await;
    let told = |ahead_s: i64| UserFacts {
        trial_used_at: at_s(ahead_s),
        plan: "standard".to_owned(),
        subscribed_at: at_s(ahead_s),
        lapsed_at: at_s(ahead_s),
        ..facts("anna")
    };
    let refused = server.try_tell(vec![facts("berta"), told(301)]).await.expect_err("nothing of it is kept");
    let fields = ["users[1].trial_used_at", "users[1].subscribed_at", "users[1].lapsed_at"];
    assert_eq!(
        (refused.code(), violated_fields(&refused)),
        (Code::InvalidArgument, fields.map(str::to_owned).to_vec())
    );
    assert!(refused.message().contains("2027-01-15T08:05:01Z"), "{}", refused.message());
    assert_eq!(reason_of(&server.rank(trial_elsewhere("anna")).await, "trial"), None);
    server.try_tell(vec![told(300)]).await.expect("clocks may differ by so much");
    assert_eq!(reason_of(&server.rank(trial_elsewhere("anna")).await, "trial"), Some(ExclusionReason::TrialUsed));
}

#[tokio::test]
async fn without_a_history_nothing_is_told_and_nothing_known() {
    let server = TestServer::start().await;
    let refused = server.try_tell(vec![facts("anna")]).await.expect_err("the catalog keeps none");
    assert_eq!(violated_fields(&refused), ["users"]);
    let answer = server.rank(trial_at_banner("anna")).await;
    server.report(conversion("o1", &answer)).await;
    assert_eq!(reason_of(&server.rank(trial_elsewhere("anna")).await, "trial"), None);
}

#[tokio::test]
async fn a_login_in_the_middle_changes_neither_offers_nor_prices_nor_counts() {
    let mut catalog = keeping();
    let cap = FrequencyCap { offers: vec!["yearly".to_owned()], max: 1, window_s: 86_400, ..Default::default() };
    placement_mut(&mut catalog, "quiet").frequency_caps = vec![cap];
    let server = TestServer::start_with(catalog).await;
    let on_device = |placement| RankRequest { unit_id: "device".to_owned(), ..request(placement, "device") };
    let only_yearly = |asked: RankRequest| RankRequest { candidate_offer_ids: vec!["yearly".to_owned()], ..asked };
    let root = server.rank(on_device("banner")).await;
    assert_eq!(slate(&server.rank(only_yearly(on_device("quiet"))).await), ["yearly"]);
    for _ in 0..3 {
        server.link("device", "anna").await;
        let repeat = server.rank(request("banner", "anna")).await;
        assert_eq!((&repeat.root_decision_id, repeat.lease_until), (&root.decision_id, root.lease_until));
        assert_eq!(slate(&repeat), slate(&root));
        let capped = server.rank(only_yearly(request("quiet", "anna"))).await;
        assert_eq!(reason_of(&capped, "yearly"), Some(ExclusionReason::Capped));
    }
    // What is reported on any of them concerns both.
    assert_eq!(server.report(conversion("o1", &root)).await, FeedbackCode::Recorded);
    assert!(server.rank(request("banner", "anna")).await.root_decision_id.is_empty(), "it was taken");
    assert!(server.rank(on_device("banner")).await.root_decision_id.is_empty());
    assert_eq!(server.arm("banner", "yearly").await.shown, 0, "nothing is learned before a refresh");
    server.assert_audit_equal().await;
    // Another user on the same device goes on from what the device has by then.
    server.link("device", "berta").await;
    let berta = server.rank(request("banner", "berta")).await;
    assert!(!berta.root_decision_id.is_empty());
}

#[tokio::test]
async fn a_login_raises_no_price_of_a_plan() {
    for device_first in [true, false] {
        let server = start().await;
        let asked = |user: &str, offers: &[&str]| RankRequest {
            candidate_offer_ids: offers.iter().map(|&offer| offer.to_owned()).collect(),
            ..request("banner", user)
        };
        // One plan at two prices: the device is told the higher one, the user the lower one.
        let mut told = [("device", "yearly"), ("anna", "monthly")];
        if !device_first {
            told.reverse();
        }
        for (user, offer) in told {
            server.clock.advance_s(1);
            assert_eq!(slate(&server.rank(asked(user, &[offer])).await), [offer]);
        }
        server.link("device", "anna").await;
        let next = server.rank(asked("anna", &["yearly", "monthly"])).await;
        assert_eq!(slate(&next), ["monthly"], "{next:?}");
        assert_eq!(reason_of(&next, "yearly"), Some(ExclusionReason::PriceHeld));
        // Whatever ends the lease: the conversion of the offer that stands.
        server.report(Outcome { offer_id: "monthly".to_owned(), ..conversion("o1", &next) }).await;
        assert_eq!(slate(&server.rank(asked("anna", &["yearly", "monthly"])).await), ["monthly"]);
        server.assert_audit_equal().await;
    }
}

#[tokio::test]
async fn a_subscription_that_ends_after_every_window_is_over_all_the_same() {
    let server = start().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.report(revenue("o1", &answer, 99.0, "SEK")).await;
    server.clock.advance_s(30 * DAY_S);
    server.refresh().await;
    let quiet = || server.rank(request("quiet", "anna"));
    assert_eq!(reason_of(&quiet().await, "monthly"), Some(ExclusionReason::CurrentPlan));
    let ended = Outcome { metric: "mood".to_owned(), ..conversion("o2", &answer) };
    // Nothing is learned of offers any more; what it says of the user is true.
    assert_eq!(server.report(ended).await, FeedbackCode::Late);
    assert_eq!(reason_of(&quiet().await, "monthly"), None);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn what_one_user_of_a_device_reports_does_not_reach_another() {
    let mut catalog = keeping();
    let cool_down = |offers: &[&str]| CoolDown {
        metric: "mood".to_owned(),
        offers: offers.iter().map(|&offer| offer.to_owned()).collect(),
        for_s: 86_400,
        ..Default::default()
    };
    placement_mut(&mut catalog, "quiet").cool_downs = vec![cool_down(&["monthly"]), cool_down(&["yearly"])];
    let server = TestServer::start_with(catalog).await;
    let device = server.rank(request("quiet", "device")).await;
    server.report(Outcome { metric: "mood".to_owned(), ..conversion("o1", &device) }).await;
    for user in ["anna", "berta"] {
        server.link("device", user).await;
    }
    let only_yearly = |user: &str| RankRequest {
        candidate_offer_ids: vec!["yearly".to_owned(), "monthly".to_owned()],
        ..request("quiet", user)
    };
    let berta = server.rank(only_yearly("berta")).await;
    assert_eq!(reason_of(&berta, "monthly"), Some(ExclusionReason::CoolingDown), "both go on from the device");
    server.report(Outcome { metric: "mood".to_owned(), ..conversion("o2", &berta) }).await;
    assert_eq!(reason_of(&server.rank(only_yearly("berta")).await, "yearly"), Some(ExclusionReason::CoolingDown));
    assert_eq!(slate(&server.rank(only_yearly("anna")).await), ["yearly"], "she refused nothing");
}

#[tokio::test]
async fn links_outlast_decisions_and_stay_out_of_the_log() {
    let mut catalog = keeping();
    let offers = vec!["yearly".to_owned()];
    let cool_down = CoolDown { metric: "mood".to_owned(), offers, for_s: 86_400, ..Default::default() };
    placement_mut(&mut catalog, "banner").cool_downs = vec![cool_down];
    let server = TestServer::start_with(catalog).await;
    server.link("device", "anna").await;
    let device = server.rank(request("banner", "device")).await;
    assert!(device.lease_until.is_some(), "a document replaces the one with the link");
    server.report(Outcome { metric: "mood".to_owned(), ..conversion("o1", &device) }).await;
    let anna = server.rank(request("banner", "anna")).await;
    assert_eq!(reason_of(&anna, "yearly"), Some(ExclusionReason::CoolingDown), "the heir is still known");
    for (_, record) in server.records().await {
        let LogRecord::Decision(record) = record else { continue };
        let record = server.opened(&record).await;
        let identity = record.identity.as_ref().expect("nobody was forgotten");
        assert_eq!(identity.user.unit.state.links, Links::default());
    }
}

#[tokio::test]
async fn a_device_that_nothing_is_kept_of_yet_is_linked_all_the_same() {
    let mut catalog = keeping();
    let offers = vec!["monthly".to_owned()];
    let cool_down = CoolDown { metric: "mood".to_owned(), offers, for_s: 86_400, ..Default::default() };
    placement_mut(&mut catalog, "quiet").cool_downs = vec![cool_down];
    let server = TestServer::start_with(catalog).await;
    server.link("device", "anna").await;
    let device = server.rank(request("quiet", "device")).await;
    server.report(Outcome { metric: "mood".to_owned(), ..conversion("o1", &device) }).await;
    let anna = server.rank(request("quiet", "anna")).await;
    assert_eq!(reason_of(&anna, "monthly"), Some(ExclusionReason::CoolingDown));
}

#[tokio::test]
async fn what_is_known_of_a_device_becomes_known_of_its_user() {
    let server = start().await;
    let answer = server.rank(trial_at_banner("device")).await;
    server.report(conversion("o1", &answer)).await;
    server.link("device", "anna").await;
    assert_eq!(reason_of(&server.rank(trial_elsewhere("anna")).await, "trial"), Some(ExclusionReason::TrialUsed));
    server.link("anna", "anna").await;
}

#[tokio::test]
async fn what_happens_on_a_device_after_a_login_is_known_of_its_user_and_of_the_users_users() {
    let server = start().await;
    let answer = server.rank(trial_at_banner("device")).await;
    server.link("device", "anna").await;
    server.link("anna", "anna-by-mail").await;
    // Going round in a circle, facts come to an end.
    server.link("anna-by-mail", "device").await;
    assert_eq!(reason_of(&server.rank(trial_elsewhere("anna")).await, "trial"), None);
    assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::Recorded);
    for user in ["device", "anna", "anna-by-mail"] {
        assert_eq!(reason_of(&server.rank(trial_elsewhere(user)).await, "trial"), Some(ExclusionReason::TrialUsed));
    }
    // What is told of the device is told of them too; what is told of another user is not.
    let lapsed = UserFacts { plan: "standard".to_owned(), subscribed_at: at_s(-5), ..facts("device") };
    server.try_tell(vec![lapsed]).await.expect("valid facts are kept");
    assert_eq!(reason_of(&server.rank(request("quiet", "anna")).await, "monthly"), Some(ExclusionReason::CurrentPlan));
    assert_eq!(reason_of(&server.rank(trial_elsewhere("berta")).await, "trial"), None);
}

#[test]
fn a_history_of_metrics_that_do_not_exist_is_refused() {
    let text = include_str!("shop.yaml");
    let broken = format!("{text}\nhistory: {{ churned_metrics: [mod], kept_s: 5 }}\n");
    let problems = offer_ranker::catalog::check("a.yaml", &broken).expect_err("two mistakes").problems;
    let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["history.churned_metrics[0]", "history.kept_s"]);
    assert!(problems[0].description.contains("did you mean \"mood\"?"), "{problems:?}");
    catalog_of(text);
}

#[tokio::test]
async fn who_may_have_had_a_trial_is_offered_none() {
    let server = start().await;
    assert_eq!(reason_of(&server.rank(trial_elsewhere("anna")).await, "trial"), None);
    server.store.close().await.expect("a store can be closed");
    let stated = RankRequest { trial_used: Some(false), ..trial_elsewhere("anna") };
    for asked in [trial_elsewhere("anna"), stated] {
        let unknown = server.rank(asked).await;
        assert_eq!(reason_of(&unknown, "trial"), Some(ExclusionReason::TrialUsed));
        assert!(unknown.flags().any(|flag| flag == Flag::StateUnknown));
    }
    // Where no history is kept, what the request states is all there is.
    let without = TestServer::start().await;
    without.store.close().await.expect("a store can be closed");
    assert_eq!(reason_of(&without.rank(trial_elsewhere("anna")).await, "trial"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_base_is_imported_and_decides_at_once_and_a_file_with_a_mistake_changes_nothing() {
    let server = start().await;
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let import = |name: &str, text: String| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("the file can be written");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_offer-ranker"));
        command.args(["history", "import"]).arg(file).args(["--target", &server.address]);
        let output = command.output().expect("the program runs");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        (output.status.success(), said)
    };
    let header = "user_id,trial_used_at,plan,subscribed_at,lapsed_at";
    // More than one call takes.
    let others: String = (0..1200).map(|user| format!("user-{user},,,,\n")).collect();
    let of_anna = "anna,2026-01-01T10:00:00Z,,,\n";
    let mistakes = "berta,yesterday,,,\ncarla,9999-01-01T00:00:00Z,,,\n";
    let (done, said) = import("broken.csv", format!("{header}\n{of_anna}{mistakes}"));
    assert!(!done && said.contains("line 3: trial_used_at is \"yesterday\""), "{said}");
    assert!(said.contains("line 4: trial_used_at is 9999-01-01T00:00:00Z, must be at most "), "{said}");
    assert_eq!(reason_of(&server.rank(trial_elsewhere("anna")).await, "trial"), None);
    // Twice is as once.
    for _ in 0..2 {
        let (done, said) = import("users.csv", format!("{header}\n{others}{of_anna}"));
        assert!(done && said.contains("1201 users are imported"), "{said}");
    }
    assert_eq!(reason_of(&server.rank(trial_elsewhere("anna")).await, "trial"), Some(ExclusionReason::TrialUsed));
    assert_eq!(reason_of(&server.rank(trial_elsewhere("user-7")).await, "trial"), None);
}
