//! Killed at any moment under load, an instance takes nothing with it but its connections.

use crate::{
    instance::{PARTITIONS, SHOP, committed, learner, start, start_all},
    load::Load,
    redis::{standalone_url, wait_until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_instance_may_be_killed_under_load_and_others_learn_on_from_its_logs() {
    let store = standalone_url();
    let mut instances = Vec::from(start_all::<3>(&store, SHOP));
    let mut load = Load::begin(4, instances.iter().map(|instance| &instance.client));
    load.go_on_for(200).await;
    committed(&store, &instances[0].client).await;
    let tokens = || (0..PARTITIONS).map(|partition| learner(&store, partition).0).collect::<Vec<_>>();
    let first_tokens = tokens();

    // Each of the first three in turn, with a new one in its place.
    for _ in 0..3 {
        load.expect_death(0);
        instances[0].kill();
        load.leave(0);
        instances.remove(0);
        // From here on the logs are as long as what the dead one has left, or longer.
        committed(&store, &instances[0].client).await;
        for survivor in &instances {
            survivor.client.learned().await;
            let log = survivor.log();
            assert!(!log.contains(" ERROR "), "taking over is no failure: {log}");
        }
        instances.push(start(&store, SHOP, &[]));
        load.join(&instances[2].client);
        load.go_on_for(100).await;
    }
    // Whoever led in a log at first is dead, and its leases end by themselves.
    wait_until("others lead in every log", || tokens().into_iter().zip(&first_tokens).all(|(now, then)| now > *then));
    let account = load.end().await;
    account.assert_counted_once(&store, instances.iter().map(|instance| &instance.client)).await;
}
