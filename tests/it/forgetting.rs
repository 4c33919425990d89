//! Forgetting users: what is kept goes, the log stays, and nobody can tell any more whom its decisions were made for.

use crate::{
    common::{TestServer, at_s, attributes, conversion, number, placement_mut, request, revenue, shop, text, upsell},
    users::{facts, keeping, reason_of, start, trial_at_banner, trial_elsewhere},
};
use offer_ranker::{
    engine::context::AttributeValue,
    log::{
        identity::{Identity, Seals},
        record::{DecisionRecord, LogRecord},
    },
    proto::{self, ExclusionReason, FeedbackCode, RankRequest, RankResponse, UserFacts},
};
use std::{fs, sync::Arc};

/// The records of decisions, with the identities that can still be told.
async fn decisions(server: &TestServer) -> Vec<Arc<DecisionRecord>> {
    let mut opened = Vec::new();
    for (_, record) in server.records().await {
        if let LogRecord::Decision(record) = record {
            opened.push(server.opened(&record).await);
        }
    }
    opened
}

fn identity<'a>(records: &'a [Arc<DecisionRecord>], of: &RankResponse) -> Option<&'a Identity> {
    let record = records.iter().find(|record| record.id.to_string() == of.decision_id).expect("it is logged");
    record.identity.as_ref()
}

async fn erased(server: &TestServer) -> u64 {
    let report = server.audit().await;
    assert!(report.equal, "{:#?}", report.partitions);
    report.partitions.iter().map(|partition| partition.erased).sum()
}

#[tokio::test]
async fn what_was_decided_for_whom_can_be_told_until_the_user_is_forgotten() {
    let server = start().await;
    let [annas, bertas] =
        [server.rank(upsell("anna")).await, server.rank(RankRequest { unit_id: "x".into(), ..upsell("berta") }).await];
    let records = decisions(&server).await;
    let [anna, berta] = [&annas, &bertas].map(|answer| identity(&records, answer).expect("nobody was forgotten"));
    assert_eq!(anna.attributes, [("age".into(), AttributeValue::Number(40.0))]);
    assert_ne!((anna.user_key, anna.unit_key), (berta.user_key, berta.unit_key));
    let before = server.decision(&annas.decision_id).await;

    server.forget("anna").await;
    let records = decisions(&server).await;
    assert_eq!((identity(&records, &annas), identity(&records, &bertas).is_some()), (None, true));
    assert_eq!(erased(&server).await, 1);
    assert_eq!(server.decision(&annas.decision_id).await, before, "the decision itself stands");
    // A new decision is one of a new user.
    let again = server.rank(upsell("anna")).await;
    server.clock.advance_s(1);
    let again_later = server.rank(upsell("anna")).await;
    let records = decisions(&server).await;
    assert_eq!(identity(&records, &again), None, "it was made in the moment of forgetting");
    assert!(identity(&records, &again_later).is_some());
}

#[tokio::test]
async fn what_was_sealed_opens_for_its_own_decision_salt_and_store_alone() {
    let server = TestServer::start().await;
    server.rank(upsell("anna")).await;
    server.rank(upsell("anna")).await;
    let records = decisions(&server).await;
    let [Some(one), Some(other)] = [0, 1].map(|index| records[index].identity.clone()) else { panic!("both are open") };
    let seals = Seals::new(&server.store.identity().hash_key);
    assert_eq!(seals.open(&records[0].id, &one.salt, &records[0].sealed_identity).expect("it opens"), one);
    let mut changed = records[0].sealed_identity.clone();
    changed[7] ^= 1;
    let none: [u8; 32] = [0; 32];
    for (what, seals, salt, id, sealed) in [
        ("salt", &seals, &other.salt, &records[0].id, &records[0].sealed_identity),
        ("decision", &seals, &one.salt, &records[1].id, &records[0].sealed_identity),
        ("store", &Seals::new(&none), &one.salt, &records[0].id, &records[0].sealed_identity),
        ("text", &seals, &one.salt, &records[0].id, &changed),
    ] {
        assert!(seals.open(id, salt, sealed).is_err(), "another {what}");
    }
}

#[tokio::test]
async fn outcomes_of_the_forgotten_are_learned_and_reach_nobody() {
    let server = start().await;
    let trial = server.rank(trial_at_banner("anna")).await;
    let other = server.rank(request("banner", "anna")).await;
    server.report(revenue("o1", &other, 5.0, "SEK")).await;
    assert_eq!(reason_of(&server.rank(request("quiet", "anna")).await, "monthly"), Some(ExclusionReason::CurrentPlan));
    server.forget("anna").await;
    server.clock.advance_s(1);
    assert_eq!(server.report(conversion("o2", &trial)).await, FeedbackCode::Recorded);
    let revised = proto::Outcome { revises_outcome_id: "o1".to_owned(), ..revenue("o3", &other, 7.0, "SEK") };
    assert_eq!(server.report(revised).await, FeedbackCode::Revised);
    server.refresh().await;
    assert!(server.arm("banner", "trial").await.shown > 0);
    assert_eq!(reason_of(&server.rank(trial_elsewhere("anna")).await, "trial"), None, "what comes late tells nothing");
    assert_eq!(reason_of(&server.rank(request("quiet", "anna")).await, "monthly"), None);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn what_was_learned_of_the_forgotten_can_be_learned_again_under_another_schema() {
    let server = TestServer::start().await;
    for (user, age) in [("anna", 90.0), ("berta", 20.0), ("cleo", 55.5)] {
        let answer = server.rank(RankRequest { attributes: attributes([("age", number(age))]), ..upsell(user) }).await;
        server.expose(&answer.decision_id, &[1, 2]).await;
        server.report(revenue("o1", &answer, age, "SEK")).await;
    }
    server.clock.advance_s(86_400);
    server.assert_audit_equal().await;
    let learned = async || server.placement("upsell").await.arms;
    let before = learned().await;
    for user in ["anna", "berta"] {
        server.forget(user).await;
    }
    assert_eq!((erased(&server).await, learned().await), (2, before.clone()));
    let mut wider = shop();
    let context = placement_mut(&mut wider, "upsell").context.as_mut().expect("a context");
    let number = proto::NumberAttribute { max: 120.0, ..Default::default() };
    context.attributes[0].r#type = Some(proto::attribute::Type::Number(number));
    server.apply(wider).await;
    server.assert_audit_equal().await;
    let shown = |arms: &[proto::ArmState]| arms.iter().map(|arm| arm.shown).collect::<Vec<_>>();
    assert_eq!(shown(&learned().await), shown(&before), "the forgotten teach under the new schema too");
    server.apply(shop()).await;
    assert_eq!(learned().await, before, "and under the old one what they did");
}

#[tokio::test]
async fn a_decision_that_is_logged_after_its_user_was_forgotten_is_nobodys() {
    let server = TestServer::start_answering_first(10).await;
    let waiting = server.rank(request("banner", "anna")).await;
    let other = server.rank(request("banner", "berta")).await;
    server.forget("anna").await;
    server.service.log_backlog().await.expect("the store is there");
    let records = decisions(&server).await;
    assert_eq!((identity(&records, &waiting), identity(&records, &other).is_some()), (None, true));
}

#[tokio::test]
async fn forgetting_a_user_follows_the_devices() {
    let server = start().await;
    let on_device = server.rank(trial_at_banner("device")).await;
    server.link("device", "anna").await;
    let bertas = RankRequest { unit_id: "device".to_owned(), ..request("banner", "berta") };
    let bertas = server.rank(bertas).await;
    server.forget("anna").await;
    let records = decisions(&server).await;
    assert_eq!(identity(&records, &on_device), None, "it was hers");
    assert!(identity(&records, &bertas).is_some(), "somebody else's on the same device");
    server.report(conversion("o1", &on_device)).await;
    assert_eq!(reason_of(&server.rank(trial_elsewhere("device")).await, "trial"), None);
}

#[tokio::test]
async fn a_forgotten_user_begins_anew() {
    let server = start().await;
    let device = RankRequest { unit_id: "device".to_owned(), ..trial_at_banner("device") };
    let root = server.rank(device).await;
    server.link("device", "anna").await;
    assert!(!server.rank(trial_at_banner("anna")).await.root_decision_id.is_empty());
    server.report(conversion("o1", &root)).await;
    server.try_tell(vec![UserFacts { trial_used_at: at_s(-1), ..facts("anna") }]).await.expect("valid facts are kept");
    let other = server.rank(request("banner", "berta")).await;
    assert_eq!(
        server.forget("anna").await,
        4,
        "the history and the unit of the user and of the device she goes on from"
    );
    assert_eq!(server.forget("anna").await, 0);
    assert!(server.rank(trial_at_banner("anna")).await.root_decision_id.is_empty());
    assert_eq!(reason_of(&server.rank(trial_elsewhere("anna")).await, "trial"), None);
    assert_eq!(server.rank(request("banner", "berta")).await.root_decision_id, other.decision_id);
    // What was learned stays learned, and the log adds up.
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn no_id_and_no_word_that_the_catalog_does_not_have_is_written_in_the_clear() {
    const CANARIES: [&str; 6] = [
        "canary-user-5d1f",
        "canary-unit-77ab",
        "canary-request-90ce",
        "canary-told-1c2e",
        "canary-channel-5be0",
        "canary-plan-3fd1",
    ];
    let [user, unit, asked, told, channel, plan] = CANARIES;
    let server = TestServer::start_on_file().await;
    server.apply(keeping()).await;
    let rank = RankRequest { unit_id: unit.to_owned(), request_id: asked.to_owned(), ..request("banner", user) };
    let answer = server.rank(rank).await;
    let subscriber = RankRequest { current_plan: Some(plan.to_owned()), ..request("banner", user) };
    server.rank(RankRequest { unit_id: unit.to_owned(), ..subscriber }).await;
    server.rank(RankRequest { attributes: attributes([("channel", text(channel))]), ..request("paywall", user) }).await;
    server.report(conversion("o1", &answer)).await;
    server.expose(&answer.decision_id, &[1]).await;
    server.link(unit, user).await;
    server.try_tell(vec![UserFacts { trial_used_at: at_s(-1), ..facts(told) }]).await.expect("valid facts are kept");
    server.refresh().await;
    let folder = server.place.file().parent().expect("the file is in a folder").to_owned();
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    let holds =
        |text: &str| files.iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()));
    assert!(holds("yearly"), "what was offered stands in the file");
    for canary in CANARIES {
        assert!(!holds(canary), "{canary} stands in the store's files");
    }
}
