//! Catalogs that are applied through one of several instances.

use crate::{
    instance::{Client, LOOK, PARTITIONS, PLACEMENT, SHOP, committed, learner, shown, start, start_all},
    load::Load,
    redis::{DEADLINE, standalone_url},
};
use offer_ranker::{catalog, proto};
use std::time::Instant;
use tokio::task::JoinSet;

/// What a changed model is watched for after it serves.
const LOOKS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_changed_through_a_follower_serves_everywhere_and_nowhere_before_it_has_learned_the_log() {
    let store = standalone_url();
    let leader = start(&store, SHOP, &[]);
    let mut load = Load::begin(3, [&leader.client]);
    load.go_on_for(300).await;
    committed(&store, &leader.client).await;
    let tokens = || (0..PARTITIONS).map(|partition| learner(&store, partition).0).collect::<Vec<_>>();
    let led = tokens();

    let followers = start_all::<2>(&store, SHOP);
    let clients = [&leader.client, &followers[0].client, &followers[1].client];
    clients[1..].iter().for_each(|client| load.join(client));
    load.go_on_for(200).await;
    let logged = load.ranked();
    assert_eq!(tokens(), led, "the first instance leads in every log");

    let mut watching = JoinSet::new();
    for client in clients {
        watching.spawn(watch(client.clone(), logged));
    }
    let changed = SHOP.replace("beta: {}", "linear: { precision: 4, a: 1, b: 1 }");
    let changed = catalog::check("changed.yaml", &changed).unwrap().declared;
    let request = proto::ApplyCatalogRequest { catalog: Some(changed.clone()), ..Default::default() };
    let applied = clients[1].catalog().apply_catalog(request).await.unwrap().into_inner();
    assert_eq!(applied.revision, 2);
    let models = watching.join_all().await;
    assert!(models.iter().all(|model| *model == models[0]), "{models:?}");
    for client in clients {
        let served = client.catalog().get_catalog(proto::GetCatalogRequest { revision: 0 }).await.unwrap().into_inner();
        assert_eq!(served.catalog.as_ref(), Some(&changed));
    }

    load.go_on_for(100).await;
    load.end().await.assert_counted_once(&store, clients).await;
}

/// Looks at what an instance serves until it has served the second revision for a while; the model's id.
async fn watch(client: Client, logged: u64) -> String {
    let begun = Instant::now();
    let (mut looks, mut model_id) = (0, String::new());
    while looks < LOOKS {
        let seen = client.look().await;
        assert_eq!(seen.placement, PLACEMENT);
        if seen.catalog_revision == 2 {
            assert!(shown(&seen) >= logged, "serves {} of {logged} decisions", shown(&seen));
            model_id = seen.posterior_version.unwrap().model_id;
            looks += 1;
        }
        assert!(begun.elapsed() < DEADLINE, "the second revision does not serve");
        tokio::time::sleep(LOOK).await;
    }
    model_id
}
