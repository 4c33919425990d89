//! Told to stop, the instance that leads hands over.

use crate::{
    instance::{PARTITIONS, SHOP, committed, learner, start, start_all},
    load::Load,
    redis::standalone_url,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_gives_up_its_leases_and_others_learn_on() {
    let store = standalone_url();
    let holders = || (0..PARTITIONS).map(|partition| learner(&store, partition).1).collect::<Vec<_>>();
    let leader = start(&store, SHOP, &[]);
    let mut load = Load::begin(5, [&leader.client]);
    load.go_on_for(100).await;
    leader.client.learned().await;
    let leading = holders();
    assert!(leading.iter().all(|holder| holder.is_some() && *holder == leading[0]), "one instance leads everywhere");

    let others = start_all::<2>(&store, SHOP);
    others.iter().for_each(|other| load.join(&other.client));
    load.go_on_for(100).await;
    assert_eq!(holders(), leading);
    // What balances the load sends it nothing more; calls in flight are answered.
    load.leave(0);
    leader.stop();
    // It is gone, and so are its leases: either given up, or somebody else's by now.
    assert!(holders().into_iter().all(|holder| holder != leading[0]), "a lease outlived its holder");

    load.go_on_for(100).await;
    committed(&store, &others[0].client).await;
    for other in &others {
        other.client.learned().await;
        let log = other.log();
        assert!(!log.contains(" ERROR "), "taking over is no failure: {log}");
    }
    assert!(holders().iter().all(Option::is_some), "somebody leads in every log");
    assert_eq!(load.repeated(), 0);
    load.end().await.assert_counted_once(&store, others.iter().map(|other| &other.client)).await;
}
