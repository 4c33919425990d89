//! What one instance is told, all of them learn.

use crate::{
    instance::{SHOP, conversion, offsets, request, start_all},
    redis::standalone_url,
};
use offer_ranker::proto::FeedbackCode;

const DECISIONS: u64 = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_instance_is_told_all_of_them_serve() {
    let store = standalone_url();
    let instances = start_all::<3>(&store, SHOP);
    let told = &instances[0].client;
    for decision in 0..DECISIONS {
        let name = decision.to_string();
        let ranked = told.rank(request(&name, "")).await.unwrap();
        if decision % 3 == 0 {
            let code = told.report(conversion(&name, &ranked.decision_id)).await.unwrap();
            assert_eq!(code, FeedbackCode::Recorded);
        }
    }
    let learned = told.learned().await;
    assert_eq!(offsets(&learned).1.iter().sum::<u64>(), DECISIONS + DECISIONS / 3);
    for other in &instances[1..] {
        let seen = other.client.learned().await;
        assert_eq!(seen.posterior_version, learned.posterior_version);
        // Means, intervals, totals, chances of leading: the same posterior to the last bit.
        assert_eq!(seen.arms, learned.arms);
    }
    assert!(
        learned
            .arms
            .iter()
            .any(|arm| arm.shown > 0 && arm.outcome_totals.get("conversion").is_some_and(|total| *total > 0.0))
    );
}
