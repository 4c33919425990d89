//! Redis killed and started again under several instances.

use crate::{
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
async fn without_redis_only_answers_that_need_it_are_refused_and_with_it_everything_goes_on() {
    let mut server = Server::start(&DURABLE);
    let store = server.url("?prefix=outage");
    let instances = [&[][..], &[], &["--decision-log", "async"]].map(|arguments| start(&store, SHOP, arguments));
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
    // A call that succeeds has made its instance a connection.
    for (index, client) in clients.into_iter().enumerate() {
        let name = format!("back-{index}");
        let begun = Instant::now();
        while let Err(status) = client.rank(request(&name, &name)).await {
            assert!(begun.elapsed() < DEADLINE, "{status:?}");
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
    account.ranks += UNLOGGED + clients.len() as u64;
    account.assert_counted_once(&store, clients).await;
}
