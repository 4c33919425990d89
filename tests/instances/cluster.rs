//! Several instances over a Cluster of three: what they learn, what they lose with one of them, and with one of its nodes.

use crate::{
    away::{Crowd, DURABLE, assert_logged_once, flags, folder, wait_until_emptied},
    instance::{SHOP, committed, start, start_all},
    load::Load,
    redis::{Cluster, cluster_url},
};
use offer_ranker::proto::Flag;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_cluster_all_see_what_one_learns_and_a_killed_one_is_replaced() {
    let store = cluster_url();
    let mut instances = Vec::from(start_all::<3>(&store, SHOP));
    let mut load = Load::begin(8, instances.iter().map(|instance| &instance.client));
    load.go_on_for(200).await;
    committed(&store, &instances[0].client).await;
    // Each of the first three in turn, so that whoever led in a log is dead.
    for _ in 0..3 {
        load.expect_death(0);
        instances[0].kill();
        load.leave(0);
        instances.remove(0);
        committed(&store, &instances[0].client).await;
        instances.push(start(&store, SHOP, &[]));
        load.join(&instances[2].client);
        load.go_on_for(100).await;
    }
    load.end().await.assert_counted_once(&store, instances.iter().map(|instance| &instance.client)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_dead_degrades_its_own_logs_alone() {
    let mut cluster = Cluster::start_with(&[&DURABLE[..], &["--cluster-require-full-coverage", "no"]].concat());
    let store = cluster.url("node");
    let spool = folder();
    let spooling = ["--spool", spool.path().to_str().expect("a path that can be written down")];
    let instance = start(&store, crate::away::SHOP, &[&spooling[..], &["--append-timeout-ms", "300"]].concat());
    let crowd = Crowd::gather(&instance.client);
    crowd.go_on_for(100).await;
    let owner = cluster.owner("node:{0:1}:log");
    cluster.nodes_mut()[owner].kill();
    crowd.go_on_for(300).await;
    cluster.nodes_mut()[owner].start_again();
    crowd.go_on_for(100).await;
    let answers = crowd.leave().await;
    let degraded = answers.iter().filter(|answer| flags(answer) == [Flag::Degraded]).count();
    assert!(degraded > 0 && answers.iter().all(|answer| !flags(answer).contains(&Flag::NotLogged)), "{degraded}");
    assert_logged_once(&store, &instance.client, &answers).await;
    wait_until_emptied(spool.path());
}
