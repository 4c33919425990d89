//! What is kept of units and users while Redis takes no writes, is gone, or has lost the node where users are kept.

use crate::{
    away::{DURABLE, SHOP, flags, folder},
    instance::{Client, LOOK, conversion, request, start},
    redis::{Cluster, DEADLINE, Server},
};
use offer_ranker::{
    catalog,
    proto::{ApplyCatalogRequest, ExclusionReason, FeedbackCode, Flag, RankRequest, RankResponse},
};
use std::time::Instant;

/// `away.yaml` with a lease of a day, where the family's plan costs this much.
fn leasing(amount_minor: u32) -> String {
    SHOP.replace("    partitions: 3\n", "    partitions: 3\n    lease_s: 86400\n")
        .replace("amount_minor: 1799 ", &format!("amount_minor: {amount_minor} "))
}

async fn apply(client: &Client, text: &str) {
    let catalog = Some(catalog::check("kept.yaml", text).unwrap().declared);
    client.catalog().apply_catalog(ApplyCatalogRequest { catalog, ..Default::default() }).await.unwrap();
}

/// Asks for one offer alone.
async fn rank(client: &Client, user: &str, offer: &str) -> RankResponse {
    let asked = RankRequest { candidate_offer_ids: vec![offer.to_owned()], ..request(user, "") };
    client.rank(asked).await.expect("a valid Rank is answered")
}

/// Asks until what is kept can be read and written again.
async fn back(client: &Client, user: &str) -> RankResponse {
    let begun = Instant::now();
    loop {
        let answer = rank(client, user, "family").await;
        if !flags(&answer).iter().any(|flag| [Flag::StateUnknown, Flag::Degraded].contains(flag)) {
            return answer;
        }
        assert!(begun.elapsed() < DEADLINE, "{answer:?}");
        tokio::time::sleep(LOOK).await;
    }
}

fn price(answer: &RankResponse) -> i64 {
    answer.offers[0].price.as_ref().expect("it has a price").amount_minor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_decided_while_nothing_can_be_written_is_kept_of_its_unit_afterwards() {
    let mut server = Server::start(&DURABLE);
    let folder = folder();
    let spool = folder.path().to_str().expect("a path that can be written down");
    let arguments = ["--spool", spool];
    let instance = start(&server.url("?prefix=kept"), &leasing(1799), &arguments);
    let client = &instance.client;
    let root = rank(client, "anna", "family").await;
    assert_eq!((flags(&root), price(&root)), (vec![], 1799));
    apply(client, &leasing(1499)).await;

    // Reads go on; writes are refused. One after the other: of a log that is known to be away nothing is read.
    let rank_unwritten = async |user| {
        assert!(server.command("CONFIG SET min-replicas-to-write 1").starts_with("+OK"));
        let answer = rank(client, user, "family").await;
        assert!(server.command("CONFIG SET min-replicas-to-write 0").starts_with("+OK"));
        back(client, user).await;
        answer
    };
    let repeat = rank_unwritten("anna").await;
    assert_eq!((&repeat.root_decision_id, price(&repeat)), (&root.decision_id, 1499));
    assert_eq!(flags(&repeat), [Flag::Leased, Flag::Degraded]);
    let drawn = rank_unwritten("berta").await;
    assert_eq!((flags(&drawn), price(&drawn)), (vec![Flag::Degraded], 1499));
    assert!(drawn.lease_until.is_some(), "what is kept of her was read, and is changed when this is logged");

    apply(client, &leasing(1999)).await;
    for (user, root) in [("anna", &root), ("berta", &drawn)] {
        let repeat = rank(client, user, "family").await;
        assert_eq!((&repeat.root_decision_id, price(&repeat)), (&root.decision_id, 1499), "of {user}");
        assert_eq!(flags(&repeat), [Flag::Leased]);
    }

    // Nothing can be read: nothing is promised, and what was promised before stands when it can be read again.
    server.kill();
    for user in ["anna", "carla"] {
        let answer = rank(client, user, "family").await;
        assert!(answer.lease_until.is_none() && answer.root_decision_id.is_empty(), "{answer:?}");
        assert_eq!(flags(&answer), [Flag::StateUnknown, Flag::Degraded]);
    }
    server.start_again();
    back(client, "anna").await;
    back(client, "carla").await;
    let repeat = rank(client, "anna", "family").await;
    assert_eq!((&repeat.root_decision_id, price(&repeat)), (&root.decision_id, 1499));
    assert_eq!(price(&rank(client, "carla", "family").await), 1999, "she was promised nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_that_keeps_users_withholds_trials_from_its_own_users_alone() {
    let mut cluster = Cluster::start_with(&[&DURABLE[..], &["--cluster-require-full-coverage", "no"]].concat());
    let trials = SHOP
        .replace("    partitions: 3\n", "    partitions: 1\n")
        .replace("  - { id: family, kind: STANDARD,", "  - { id: family, kind: TRIAL,")
        .replace("offers:\n", "history: { trial_started_metrics: [conversion] }\n\noffers:\n");
    let instance = start(&cluster.url("users"), &trials, &["--append-timeout-ms", "5000"]);
    let client = &instance.client;
    // Every store hashes users by a key of its own: that none of 60 is kept by one node of three has (2/3)^60 = 3e-11.
    let users: Vec<_> = (0..60).map(|user| format!("user-{user}")).collect();
    let had_trial = &users[0];
    let trial = rank(client, had_trial, "family").await;
    let reported = client.report(conversion("o1", &trial.decision_id)).await.unwrap();
    assert_eq!(reported, FeedbackCode::Recorded);

    // The node that has neither the log nor the catalogs, and is not the one whose address the instance was given.
    let owners = ["users:{0:0}:log", "users:{catalog}:newest", "users:{meta}:identity"].map(|key| cluster.owner(key));
    let dead = (1..3).find(|node| !owners.contains(node)).expect("a node that keeps users alone");
    let trial_used = |answer: &RankResponse| {
        answer.exclusions.first().is_some_and(|exclusion| exclusion.reason() == ExclusionReason::TrialUsed)
    };
    cluster.nodes_mut()[dead].kill();
    let mut withheld = 0;
    for user in &users {
        let answer = rank(client, user, "family").await;
        let unknown = flags(&answer).contains(&Flag::StateUnknown);
        assert!(!flags(&answer).contains(&Flag::Degraded), "its log is there: {answer:?}");
        assert!(client.knows(&answer.decision_id).await);
        assert_eq!(trial_used(&answer), unknown || user == had_trial, "{answer:?}");
        withheld += usize::from(unknown);
    }
    assert!((1..users.len()).contains(&withheld), "{withheld}: a third of all users are kept by a third of the nodes");
    cluster.nodes_mut()[dead].start_again();
    // Once the instance has found the node again, everybody is known.
    for user in &users {
        let answer = back(client, user).await;
        assert_eq!(trial_used(&answer), user == had_trial, "{answer:?}");
    }
}
