//! Bounds, bands, groups and protected attributes as clients and operators meet them, and explanations of all that.

use crate::common::{TestServer, catalog_of, conversion, placement_mut, request, shop, violated_fields};
use offer_ranker::proto::{
    Band, Catalog, ExplainDecisionRequest, FeedbackCode, Flag, Group, Groups, ProtectedAttribute, RankRequest,
    RankResponse, SetBound,
};
use std::{collections::BTreeMap, fs};
use tonic::Code;

/// What rounding and the projection's residual may leave of a total.
pub(crate) const TOTAL_TOLERANCE: f64 = 1e-12;

fn set(id: &str, offers: &[&str], min: Option<f64>, max: Option<f64>) -> SetBound {
    let offers = offers.iter().map(|&offer| offer.to_owned()).collect();
    SetBound { id: id.to_owned(), offers, min, max, ..SetBound::default() }
}

/// `shop.yaml` with bounds on sets at `paywall`, a band, and gender protected.
pub(crate) fn fair() -> Catalog {
    let mut catalog = shop();
    let paywall = placement_mut(&mut catalog, "paywall");
    let bounds = paywall.bounds.get_or_insert_default();
    bounds.sets =
        vec![set("nothing", &["none"], None, Some(0.1)), set("plans", &["monthly", "yearly"], Some(0.7), None)];
    bounds.bands = vec![Band {
        id: "discounts".to_owned(),
        offers: vec!["yearly".to_owned()],
        rate: Some(0.3),
        delta: Some(0.05),
        ..Band::default()
    }];
    let values = ["f", "m"].map(str::to_owned).to_vec();
    paywall.protected_attributes = vec![ProtectedAttribute { name: "gender".to_owned(), values }];
    catalog
}

pub(crate) fn of_gender(user: &str, gender: &str) -> RankRequest {
    let protected_attributes = BTreeMap::from([("gender".to_owned(), gender.to_owned())]);
    RankRequest { protected_attributes, explain: true, ..request("paywall", user) }
}

fn total(answer: &RankResponse, offers: &[&str]) -> f64 {
    let lead = &answer.explanation.as_ref().expect("an explanation was asked for").slots[0];
    lead.arms.iter().filter(|arm| offers.contains(&arm.offer_id.as_str())).map(|arm| arm.probability).sum()
}

#[tokio::test]
async fn sets_and_bands_hold_and_the_explanation_says_what_they_did() {
    let server = TestServer::start_with(fair()).await;
    let answer = server.rank(of_gender("anna", "f")).await;
    assert!(total(&answer, &["none"]) <= 0.1 + TOTAL_TOLERANCE, "{answer:?}");
    assert!(total(&answer, &["monthly", "yearly"]) >= 0.7 - TOTAL_TOLERANCE, "{answer:?}");
    let explanation = answer.explanation.as_ref().expect("an explanation was asked for");
    let [band] = &explanation.bands[..] else { panic!("one band, feasible: {explanation:?}") };
    assert_eq!((band.band.as_str(), band.rate, band.delta), ("discounts", 0.3, 0.05));
    assert!((band.after - total(&answer, &["yearly"])).abs() < TOTAL_TOLERANCE);
    assert!((0.25 - TOTAL_TOLERANCE..=0.35 + TOTAL_TOLERANCE).contains(&band.after), "{band:?}");
    let sets: Vec<_> = explanation.slots[0].sets.iter().map(|set| (set.set.as_str(), set.min, set.max)).collect();
    assert_eq!(sets, [("nothing", 0.0, 0.1), ("plans", 0.7, 1.0)]);
    let none = explanation.slots[0].arms.iter().find(|arm| arm.offer_id == "none").expect("none is eligible");
    // Four arms that nothing is known of: a quarter each before bounds.
    assert!(none.policy_probability > 0.2 && none.held_by == ["nothing"], "{none:?}");
    assert!(explanation.slots[1..].iter().all(|slot| slot.sets.is_empty()), "sets of the lead act there alone");
    assert!(!explanation.bounds_exempt, "the holdout alone is exempt");
}

#[tokio::test]
async fn what_a_user_may_be_shown_can_cost_a_bound_and_the_answer_says_so() {
    let server = TestServer::start_with(fair()).await;
    let all = server.rank(of_gender("anna", "f")).await;
    assert!(!all.flags().any(|flag| flag == Flag::BoundsRelaxed), "{all:?}");
    let candidate_offer_ids = ["none", "trial"].map(str::to_owned).to_vec();
    let few = server.rank(RankRequest { candidate_offer_ids, ..of_gender("berta", "f") }).await;
    assert!(few.flags().any(|flag| flag == Flag::BoundsRelaxed), "there is no plan to show: {few:?}");
    let explanation = few.explanation.as_ref().expect("an explanation was asked for");
    assert_eq!(explanation.slots[0].relaxed, ["plans"]);
    assert!(total(&few, &["none"]) <= 0.1 + TOTAL_TOLERANCE, "what could be kept is kept: {few:?}");
    assert!(explanation.bands.is_empty(), "nobody can be shown a discount here");
}

#[tokio::test]
async fn the_operators_explanation_is_that_of_the_answer_and_get_decision_shows_no_beliefs() {
    let server = TestServer::start_with(fair()).await;
    let answer = server.rank(of_gender("anna", "f")).await;
    let decision_id = answer.decision_id.clone();
    assert_eq!(server.explained(&decision_id).await.as_ref(), Some(&answer));
    let stored = server.decision(&decision_id).await.decision.expect("a stored decision has its answer");
    assert_eq!(stored, RankResponse { explanation: None, ..answer });
    let unknown = ExplainDecisionRequest { decision_id: "nonsense".to_owned() };
    let refusal = server.insight.clone().explain_decision(unknown).await.expect_err("there is no such decision");
    assert_eq!(refusal.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_tells_what_each_bound_made_of_a_decision() {
    let server = TestServer::start_with(fair()).await;
    let answer = server.rank(of_gender("anna", "f")).await;
    let explain = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_offer-ranker"));
        command.args(["explain", &answer.decision_id, "--target", &server.address]).args(more);
        let output = command.output().expect("the program runs");
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
    };
    let (succeeds, told) = explain(&[]);
    assert!(succeeds, "{told}");
    let lead = &answer.explanation.as_ref().expect("an explanation was asked for").slots[0];
    for arm in &lead.arms {
        let cells = [format!("{:.4}", arm.policy_probability), format!("{:.4}", arm.probability)];
        let is_row = |line: &str| {
            line.trim_start_matches(['|', ' ']).starts_with(&arm.offer_id)
                && cells.iter().chain(&arm.held_by).all(|cell| line.contains(cell.as_str()))
        };
        assert!(told.lines().any(is_row), "{arm:?}: {told}");
    }
    for words in ["set       nothing from 0 to 0.1: ", "set       plans from 0.7 to 1: ", "from stream 1 of seed "] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(told.contains("band      discounts within 0.0500 of 0.3000: "), "{told}");
    let (succeeds, told) = explain(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&told).expect("one JSON object");
    assert!(succeeds && json["decision"]["decision_id"] == answer.decision_id, "{told}");
}

#[tokio::test]
async fn a_rule_that_excludes_is_quoted() {
    let text = include_str!("shop.yaml").to_owned()
        + "\nrules: [{ id: no-trials, expression: 'platform != \"web\"', scope: { offers: [trial] } }]\n";
    let server = TestServer::start_with(catalog_of(&text)).await;
    let answer = server.rank(RankRequest { explain: true, ..request("banner", "anna") }).await;
    let rules = answer.explanation.expect("an explanation was asked for").rules;
    assert_eq!(rules, BTreeMap::from([("no-trials".to_owned(), "platform != \"web\"".to_owned())]));
}

#[tokio::test]
async fn protected_attributes_are_checked_and_never_written_in_the_clear() {
    const CANARIES: [&str; 2] = ["canary-gender-a1", "canary-gender-b2"];
    let server = TestServer::start_on_file().await;
    let mut catalog = fair();
    let paywall = placement_mut(&mut catalog, "paywall");
    paywall.protected_attributes[0].values = CANARIES.map(str::to_owned).to_vec();
    // The catalog declares what may be said, and is stored as declared: only what follows it is looked at.
    server.apply(catalog).await;
    let folder = server.place.file().parent().expect("the file is in a folder").to_owned();
    let occurrences = |text: &str| -> usize {
        let files = fs::read_dir(&folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
        files.map(|bytes| bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()).sum()
    };
    let before = CANARIES.map(occurrences);
    let answer = server.rank(of_gender("anna", CANARIES[0])).await;
    server.report(conversion("o1", &answer)).await;
    server.refresh().await;
    assert_eq!(CANARIES.map(occurrences), before);
    let refused = server.try_rank(of_gender("anna", "x")).await.expect_err("x is not declared");
    assert_eq!(violated_fields(&refused), ["protected_attributes.gender"]);
    assert!(!refused.message().contains("\"x\""), "what was said is not repeated: {refused:?}");
    let protected_attributes = BTreeMap::from([("age".to_owned(), "30".to_owned())]);
    let unknown = RankRequest { protected_attributes, ..request("paywall", "anna") };
    let refused = server.try_rank(unknown).await.expect_err("age is not declared");
    assert_eq!(violated_fields(&refused), ["protected_attributes.age"]);
}

#[tokio::test]
async fn what_is_protected_changes_no_decision() {
    let [one, other] = [TestServer::start_with(fair()).await, TestServer::start_with(fair()).await];
    for user in 0..20 {
        let user = format!("user-{user}");
        let slates = [one.rank(of_gender(&user, "f")).await, other.rank(of_gender(&user, "m")).await];
        // Both servers' clocks give the same seeds.
        assert_eq!(slates[0].offers, slates[1].offers);
    }
}

/// `shop.yaml` with groups at `banner`.
pub(crate) fn grouped(uniform: f64, holdout: f64) -> Catalog {
    let mut catalog = shop();
    let holdout_order = if holdout > 0.0 { vec!["yearly".to_owned()] } else { Vec::new() };
    placement_mut(&mut catalog, "banner").groups =
        Some(Groups { uniform, holdout, holdout_order, ..Groups::default() });
    catalog
}

async fn groups(server: &TestServer) -> Vec<Group> {
    let mut groups = Vec::new();
    for user in 0..60 {
        groups.push(server.rank(request("banner", &format!("user-{user}"))).await.group());
    }
    groups
}

#[tokio::test]
async fn units_are_shared_out_and_changed_shares_move_none_that_need_not() {
    let server = TestServer::start_with(grouped(0.3, 0.3)).await;
    let before = groups(&server).await;
    for group in [Group::Decisioning, Group::Uniform, Group::Holdout] {
        // 60 units, 0.3 each: none of a group would be a chance of 5e-10, and their ids are fixed.
        assert!(before.contains(&group), "{before:?}");
    }
    server.apply(grouped(0.3, 0.1)).await;
    for change in before.iter().zip(groups(&server).await) {
        assert!(*change.0 == change.1 || change == (&Group::Holdout, Group::Decisioning), "{change:?}");
    }
}

#[tokio::test]
async fn the_holdout_is_shown_its_order_and_teaches_nothing() {
    let server = TestServer::start_with(grouped(0.0, 1.0)).await;
    let shown_before = server.arm("banner", "yearly").await.shown;
    let answer = server.rank(RankRequest { explain: true, ..request("banner", "anna") }).await;
    assert_eq!(answer.group(), Group::Holdout);
    assert_eq!((answer.offers[0].offer_id.as_str(), answer.offers[0].propensity), ("yearly", 1.0));
    let explanation = answer.explanation.as_ref().expect("an explanation was asked for");
    assert!(explanation.slots.iter().flat_map(|slot| &slot.arms).all(|arm| arm.held_by.is_empty()));
    assert!(explanation.bounds_exempt, "{explanation:?}");
    assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::Recorded);
    server.refresh().await;
    assert_eq!(server.arm("banner", "yearly").await.shown, shown_before, "nothing is learned from the holdout");
    let totals = server.decision(&answer.decision_id).await.slots[0].totals.clone();
    assert_eq!(totals.get("conversion"), Some(&1.0), "but counted");
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_login_changes_no_group() {
    let server = TestServer::start_with(grouped(0.3, 0.3)).await;
    let mut flipped = 0;
    for pair in 0..20 {
        let (device, user) = (format!("device-{pair}"), format!("user-{pair}"));
        let on_device = server.rank(RankRequest { unit_id: device.clone(), ..request("banner", &user) }).await.group();
        flipped += usize::from(server.rank(request("banner", &user)).await.group() != on_device);
        server.link(&device, &user).await;
        assert_eq!(server.rank(request("banner", &user)).await.group(), on_device, "pair {pair}");
        // And on to whom this one becomes.
        let account = format!("account-{pair}");
        server.link(&user, &account).await;
        assert_eq!(server.rank(request("banner", &account)).await.group(), on_device, "pair {pair}");
    }
    assert!(flipped > 0, "of twenty pairs some must differ for the link to matter");
}

#[tokio::test]
async fn the_uniform_group_is_uniform_under_the_same_bounds() {
    let mut catalog = fair();
    placement_mut(&mut catalog, "paywall").groups = Some(Groups { uniform: 1.0, ..Groups::default() });
    let server = TestServer::start_with(catalog).await;
    let answer = server.rank(of_gender("anna", "f")).await;
    assert_eq!(answer.group(), Group::Uniform);
    let lead = &answer.explanation.as_ref().expect("an explanation was asked for").slots[0];
    assert!(lead.arms.iter().all(|arm| arm.policy_probability == 0.25), "{lead:?}");
    assert!(total(&answer, &["monthly", "yearly"]) >= 0.7 - TOTAL_TOLERANCE);
}
