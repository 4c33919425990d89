//! Instances that are there and cannot do what they should: others do it instead, and they end when they are told to.

use crate::{
    away::flags,
    instance::{PARTITIONS, SHOP, committed, learner, request, start},
    redis::{DEADLINE, Server},
};
use offer_ranker::proto::Flag;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_learn_leaves_it_to_one_that_can() {
    let server = Server::start(&[]);
    let mut redis = server.connect();
    let rights = |changes: &[&str]| redis::cmd("ACL").arg("SETUSER").arg("blind").arg(changes).clone();
    rights(&["on", ">s3cret", "~*", "&*", "+@all"]).exec(&mut redis).unwrap();
    let store = server.url("?prefix=blind");
    let blind = format!("redis://blind:s3cret@127.0.0.1:{}/?prefix=blind", server.port).parse().unwrap();
    let [first, second] = [&blind, &store].map(|url| start(url, SHOP, &[]));
    // A decision in every log, with a leader for each.
    let mut users = 0;
    while second.client.look().await.log_ends.iter().filter(|end| end.offset > 0).count() < usize::from(PARTITIONS) {
        first.client.rank(request(&format!("user-{users}"), "")).await.unwrap();
        users += 1;
    }
    committed(&store, &second.client).await;
    let before: Vec<_> = (0..PARTITIONS).map(|partition| learner(&store, partition)).collect();

    // It may extend its leases, and read no log any more.
    rights(&["-xrange"]).exec(&mut redis).unwrap();
    for user in 0..50 {
        second.client.rank(request(&format!("later-{user}"), "")).await.unwrap();
    }
    committed(&store, &second.client).await;
    let after: Vec<_> = (0..PARTITIONS).map(|partition| learner(&store, partition)).collect();
    assert!(after.iter().zip(&before).all(|(after, before)| after.0 >= before.0));
    assert!(after.iter().all(|(_, holder)| *holder == after[0].1), "one of the two can learn: {after:?}");
    assert!(!second.log().contains(" ERROR "), "{}", second.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_silent_does_not_hold_a_server_that_is_told_to_stop() {
    let server = Server::start(&[]);
    let arguments = ["--decision-log", "async", "--append-timeout-ms", "100", "--drain-ms", "2000"];
    let instance = start(&server.url("?prefix=end"), SHOP, &arguments);
    // It leads in some logs, and has something to log.
    for user in 0..20 {
        instance.client.rank(request(&format!("user-{user}"), "")).await.unwrap();
    }
    committed(&server.url("?prefix=end"), &instance.client).await;
    server.signal("-STOP");
    let begun = Instant::now();
    while flags(&instance.client.rank(request("late", "")).await.unwrap()) != [Flag::Degraded] {
        assert!(begun.elapsed() < DEADLINE, "it does not notice");
    }
    let told = Instant::now();
    instance.stop();
    let took = told.elapsed();
    server.signal("-CONT");
    // A second wait for Redis, which ends after 4 s, would make it 10.
    assert!(took < Duration::from_secs(9), "{took:?}");
}
