//! Redis killed and started again under several instances.

use crate::{
    away::{flags, spool_files},
    instance::{LOOK, SHOP, request, start},
    load::Load,
    redis::{DEADLINE, Server},
};
use std::time::Instant;

/// Every write is on the disk before it is acknowledged.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
/// Decisions of the asynchronous instance while there is no Redis.
const UNLOGGED: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_reports_alone_are_refused_and_with_it_everything_goes_on() {
    let mut server = Server::start(&DURABLE);
    let store = server.url("?prefix=outage");
    let spools = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let instances = [0, 1, 2].map(|index| {
        let mode = if index == 2 { "async" } else { "durable" };
        start(&store, SHOP, &["--spool", spools[index].path().to_str().unwrap(), "--decision-log", mode])
    });
    let clients = instances.each_ref().map(|instance| &instance.client);
    let mut load = Load::begin(6, clients);
    load.go_on_for(200).await;

    load.expect_store(true);
    server.kill();
    let refused = load.repeated();
    load.wait("calls are refused", |load| load.repeated() > refused + 10).await;
    let mut unlogged = Vec::new();
    for user in 0..UNLOGGED {
        let answer = clients[2].rank(request(&format!("unlogged-{user}"), "")).await;
        unlogged.push(answer.expect("answers that do not wait for the log need no store").decision_id);
    }
    server.start_again();
    // A log that takes a decision is back, and one of a user that does is the same for all of that user's.
    let mut back = 0;
    for client in clients {
        let begun = Instant::now();
        loop {
            let answer = client.rank(request(&format!("back-{back}"), &format!("back-{back}"))).await.unwrap();
            back += 1;
            if flags(&answer).is_empty() && spools.iter().all(|spool| spool_files(spool.path()) == 0) {
                break;
            }
            assert!(begun.elapsed() < DEADLINE, "they go on as if the store were away");
            tokio::time::sleep(LOOK).await;
        }
    }
    load.expect_store(false);
    load.go_on_for(200).await;

    for decision_id in &unlogged {
        let begun = Instant::now();
        while !clients[0].knows(decision_id).await {
            assert!(begun.elapsed() < DEADLINE, "{decision_id} was answered and is not logged");
            tokio::time::sleep(LOOK).await;
        }
    }
    let mut account = load.end().await;
    account.ranks += UNLOGGED + back;
    account.assert_counted_once(&store, clients).await;
}
