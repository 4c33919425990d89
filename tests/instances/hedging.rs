//! Hedged calls: one request, sent to two instances at once.

use crate::{
    instance::{SHOP, audit, audited, conversion, request, shown, start_all},
    redis::standalone_url,
};
use offer_ranker::proto::FeedbackCode;

const PAIRS: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hedged_pair_on_two_instances_is_one_decision_that_either_takes_outcomes_of() {
    let store = standalone_url();
    let instances = start_all::<2>(&store, SHOP);
    let [one, other] = instances.each_ref().map(|instance| &instance.client);
    for pair in 0..PAIRS {
        let name = pair.to_string();
        let asked = request(&name, &name);
        let (here, there) = tokio::join!(one.rank(asked.clone()), other.rank(asked));
        let (here, there) = (here.unwrap(), there.unwrap());
        assert_eq!(here.decision_id, there.decision_id, "pair {pair}");
        assert_eq!(here.offers, there.offers);
        // Told at once by the two, as a hedged report is, and once more.
        let outcome = conversion(&name, &here.decision_id);
        let (first, second) = tokio::join!(one.report(outcome.clone()), other.report(outcome.clone()));
        let mut codes = [first.unwrap(), second.unwrap()];
        codes.sort();
        assert_eq!(codes, [FeedbackCode::Recorded, FeedbackCode::Duplicate]);
        let again = if pair % 2 == 0 { one } else { other };
        assert_eq!(again.report(outcome).await.unwrap(), FeedbackCode::Duplicate);
    }
    for client in [one, other] {
        assert_eq!(shown(&client.learned().await), PAIRS);
    }
    let report = audit(&store);
    assert_eq!((audited(&report, "decisions"), audited(&report, "ledger_changes")), (PAIRS, PAIRS));
}
