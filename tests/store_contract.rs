//! The promises of `src/store/mod.rs`, one test each, kept by every backend.
//!
//! A new backend inherits the suite by implementing `fixtures::Backend` and adding one line at the foot of this file.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "common/store.rs"]
mod fixtures;
#[path = "common/store_model.rs"]
mod model;

use fixtures::{
    Backend, advance, append, arms, at, catalog, commit, document, key, log, mark, offset, record, salt, unit,
    whole_log,
};
use offer_ranker::store::{
    AdvanceOutcome::{Advanced, Conflict},
    AppendOutcome,
    ChangeOutcome::{Changed, Moved},
    CommitOutcome::{Committed, Fenced},
    DecisionAppend, DocumentChange, DocumentKey, Leadership, LogId, RECORD_BYTES_MAX, Store, StoreError,
    StoredDocument, StoredStatistics,
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::task::JoinSet;

/// Calls `verb` with 0 to 63 at once, and returns the answers.
async fn at_once<T, F>(store: &Arc<dyn Store>, verb: impl Fn(Arc<dyn Store>, u64) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let calls: JoinSet<T> = (0..64).map(|n| verb(Arc::clone(store), n)).collect();
    calls.join_all().await
}

/// The token of a holder who leads log 1/0 from `now` on, for 100 ms.
async fn lead(store: &dyn Store, holder: u8, now: i64) -> u64 {
    match store.lead(log(1, 0), [holder; 16], at(now), 100).await.unwrap() {
        Leadership::Leads { token } => token,
        follows @ Leadership::Follows { .. } => panic!("holder {holder} leads at {now}, not {follows:?}"),
    }
}

async fn identity_is_made_once(backend: &dyn Backend) {
    let first = backend.open().await.identity().clone();
    let again = backend.open().await.identity().clone();
    assert_eq!((first.epoch, first.hash_key), (again.epoch, again.hash_key));
}

async fn decision_is_stored_with_its_record_and_ledger(backend: &dyn Backend) {
    let store = backend.open().await;
    assert_eq!(offset(store.append_decision(append(log(1, 0), 5)).await.unwrap()), 0);
    let found = store.decisions(&[key(log(1, 0), 5)]).await.unwrap().remove(0).unwrap();
    assert_eq!((found.offset, found.sequence), (0, 0));
    assert_eq!((found.record.to_vec(), found.ledger), (record(5), b"ledger 5".to_vec()));
}

async fn decisions_come_in_the_order_asked_for_with_none_for_strangers(backend: &dyn Backend) {
    let store = backend.open().await;
    for n in 0..3 {
        store.append_decision(append(log(1, 0), n)).await.unwrap();
    }
    let asked = [2, 9, 0, 2].map(|n| key(log(1, 0), n));
    let found = store.decisions(&asked).await.unwrap();
    let records: Vec<_> = found.iter().map(|found| found.as_ref().map(|found| found.record.to_vec())).collect();
    assert_eq!(records, [Some(record(2)), None, Some(record(0)), Some(record(2))]);
    assert_eq!(store.decisions(&[]).await.unwrap(), []);
}

async fn same_append_again_is_answered_with_the_same_offset(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut marked = append(log(1, 0), 1);
    marked.request = Some(mark(1, 1, 0));
    for _ in 0..2 {
        assert_eq!(offset(store.append_decision(append(log(1, 0), 0)).await.unwrap()), 0);
        assert_eq!(offset(store.append_decision(marked.clone()).await.unwrap()), 1);
    }
    // Nor does it undo what has happened to the decision since.
    store.advance_ledgers(vec![advance(log(1, 0), 0, 0, &["a"])]).await.unwrap();
    assert_eq!(offset(store.append_decision(append(log(1, 0), 0)).await.unwrap()), 0);
    assert_eq!(store.decisions(&[key(log(1, 0), 0)]).await.unwrap()[0].as_ref().unwrap().sequence, 1);
    assert_eq!(whole_log(&*store, log(1, 0)).await.len(), 3);
}

async fn appends_together_are_each_told_their_own_outcome(backend: &dyn Backend) {
    let store = backend.open().await;
    let here = |n| append(log(1, 0), n);
    let marked = |n| DecisionAppend { request: Some(mark(1, 1, 0)), ..here(n) };
    let large = DecisionAppend { record: vec![0; RECORD_BYTES_MAX + 1], ..here(9) };
    assert_eq!(offset(store.append_decision(marked(4)).await.unwrap()), 0);
    let appends = [here(0), large, here(1), append(log(1, 1), 0), here(0), marked(2), here(3)];
    let mut first_offsets = None;
    for _ in 0..2 {
        let outcomes = store.append_decisions(appends.to_vec().into()).await;
        assert_eq!(outcomes.len(), appends.len());
        let of = |place: usize| offset(outcomes[place].clone().unwrap());
        let offsets = [0, 2, 6].map(of);
        assert_eq!(BTreeSet::from(offsets), BTreeSet::from([1, 2, 3]));
        assert_eq!((of(3), of(4)), (0, offsets[0]));
        assert!(matches!(&outcomes[1], Err(StoreError::Refused { .. })));
        let repeated = AppendOutcome::Repeated { decision: key(log(1, 0), 4), fingerprint: [1; 32] };
        assert_eq!(outcomes[5].clone().unwrap(), repeated);
        assert_eq!(*first_offsets.get_or_insert(offsets), offsets);
    }
    let logged: BTreeSet<_> = whole_log(&*store, log(1, 0)).await.into_iter().collect();
    assert_eq!(logged, [0, 1, 3, 4].map(record).into());
    assert_eq!(store.due(log(1, 0), at(1_000), 100).await.unwrap().len(), 4);
    assert_eq!(store.append_decisions(Vec::new().into()).await.len(), 0);
}

async fn one_request_is_answered_once_however_many_ask(backend: &dyn Backend) {
    let store = backend.open().await;
    let answers = at_once(&store, |store, n| async move {
        let mut append = append(log(1, 0), n);
        append.request = Some(mark(1, u8::try_from(n).unwrap(), 0));
        (n, store.append_decision(append).await.unwrap())
    })
    .await;
    let (appended, repeated): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(_, outcome)| matches!(outcome, AppendOutcome::Appended { .. }));
    let [(winner, AppendOutcome::Appended { offset: 0 })] = appended[..] else { panic!("one, at 0: {appended:?}") };
    let fingerprint = [u8::try_from(winner).unwrap(); 32];
    let expected = AppendOutcome::Repeated { decision: key(log(1, 0), winner), fingerprint };
    assert_eq!(repeated.len(), 63);
    assert!(repeated.iter().all(|(_, outcome)| *outcome == expected));
    assert_eq!(store.log_ends().await.unwrap(), [(log(1, 0), 1)]);
    let losers: Vec<_> = repeated.iter().map(|(n, _)| key(log(1, 0), *n)).collect();
    assert!(store.decisions(&losers).await.unwrap().iter().all(Option::is_none), "a repeated append wrote something");
    assert_eq!(store.due(log(1, 0), at(1_000), 100).await.unwrap(), [key(log(1, 0), winner)]);
}

async fn mark_counts_until_it_expires_and_is_then_replaced(backend: &dyn Backend) {
    let store = backend.open().await;
    let marked = |n, body, marked_at| {
        let mut append = append(log(1, 0), n);
        append.request = Some(mark(1, body, marked_at));
        store.append_decision(append)
    };
    let told_of = |n, body| AppendOutcome::Repeated { decision: key(log(1, 0), n), fingerprint: [body; 32] };
    assert_eq!(offset(marked(0, 10, 0).await.unwrap()), 0);
    assert_eq!(marked(1, 11, 99).await.unwrap(), told_of(0, 10));
    assert_eq!(offset(marked(2, 12, 100).await.unwrap()), 1);
    assert_eq!(marked(3, 13, 199).await.unwrap(), told_of(2, 12));
}

async fn an_answered_request_is_found_while_its_mark_stands(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut append = append(log(1, 0), 7);
    let request = mark(1, 10, 0);
    append.request = Some(request.clone());
    let logs = [log(1, 0), log(1, 1)];
    assert_eq!(store.answered(&logs, request.key, at(0)).await.unwrap(), None);
    store.append_decision(append).await.unwrap();
    let told = AppendOutcome::Repeated { decision: key(log(1, 0), 7), fingerprint: [10; 32] };
    for looked_in in [&logs[..], &[logs[1], logs[0]], &logs[..1]] {
        assert_eq!(store.answered(looked_in, request.key, at(99)).await.unwrap(), Some(told.clone()));
    }
    assert_eq!(store.answered(&logs, request.key, at(100)).await.unwrap(), None, "it expired");
    assert_eq!(store.answered(&logs, mark(2, 10, 0).key, at(0)).await.unwrap(), None, "another request");
    for elsewhere in [&logs[1..], &[]] {
        assert_eq!(store.answered(elsewhere, request.key, at(99)).await.unwrap(), None, "a mark is its log's");
    }
}

async fn a_mark_counts_in_its_log_alone(backend: &dyn Backend) {
    let store = backend.open().await;
    for partition in 0..3 {
        let mut append = append(log(1, partition), 0);
        append.request = Some(mark(1, 1, 0));
        assert_eq!(offset(store.append_decision(append).await.unwrap()), 0);
    }
}

async fn a_claim_stands_for_the_first_body_until_it_expires(backend: &dyn Backend) {
    let store = backend.open().await;
    let home = log(1, 0);
    let claim = async |body, marked_at| store.claim_request(home, &mark(1, body, marked_at)).await.unwrap()[0];
    assert_eq!([claim(10, 0).await, claim(11, 1).await, claim(10, 99).await], [10, 10, 10]);
    // It is no answer, holds off another body, and leads to the answer of its own.
    assert_eq!(store.answered(&[home], [1; 32], at(1)).await.unwrap(), None);
    let marked = |n, body, marked_at| {
        let mut append = append(home, n);
        append.request = Some(mark(1, body, marked_at));
        store.append_decision(append)
    };
    assert_eq!(marked(0, 11, 1).await.unwrap(), AppendOutcome::Claimed { fingerprint: [10; 32] });
    assert_eq!(store.log_ends().await.unwrap(), []);
    assert_eq!(offset(marked(1, 10, 50).await.unwrap()), 0);
    let told = AppendOutcome::Repeated { decision: key(home, 1), fingerprint: [10; 32] };
    assert_eq!(marked(2, 11, 60).await.unwrap(), told);
    // A mark stands like a claim, and both make room when they expire; other logs have their own.
    assert_eq!([claim(11, 149).await, claim(11, 150).await, claim(12, 249).await], [10, 11, 11]);
    assert_eq!(store.claim_request(log(1, 1), &mark(1, 12, 160)).await.unwrap(), [12; 32]);
}

async fn of_many_claims_at_once_one_stands(backend: &dyn Backend) {
    let store = backend.open().await;
    let stands = at_once(&store, |store, n| async move {
        store.claim_request(log(1, 0), &mark(1, u8::try_from(n).unwrap(), 0)).await.unwrap()
    })
    .await;
    assert_eq!(stands.into_iter().collect::<BTreeSet<_>>().len(), 1);
}

async fn different_requests_do_not_meet(backend: &dyn Backend) {
    let store = backend.open().await;
    for n in 0..3 {
        let mut append = append(log(1, 0), n);
        append.request = Some(mark(u8::try_from(n).unwrap(), 0, 0));
        assert_eq!(offset(store.append_decision(append).await.unwrap()), n);
    }
}

async fn forgetting_leaves_what_has_not_expired(backend: &dyn Backend) {
    let store = backend.open().await;
    for n in 0..10 {
        let mut append = append(log(1, 0), n);
        append.request = Some(mark(u8::try_from(n).unwrap(), 0, i64::try_from(n).unwrap() * 10));
        store.append_decision(append).await.unwrap();
    }
    store.claim_request(log(1, 0), &mark(100, 1, 21)).await.unwrap();
    for _ in 0..2 {
        store.forget_expired(at(120)).await.unwrap();
    }
    for n in 0..10 {
        let answered = store.answered(&[log(1, 0)], [n; 32], at(120)).await.unwrap();
        assert_eq!(answered.is_some(), n > 2, "request {n} stands until {}", 100 + u32::from(n) * 10);
    }
    assert_eq!(store.claim_request(log(1, 0), &mark(100, 2, 120)).await.unwrap(), [1; 32]);
    assert_eq!(store.claim_request(log(1, 0), &mark(100, 2, 121)).await.unwrap(), [2; 32]);
}

async fn offsets_are_contiguous_in_every_log(backend: &dyn Backend) {
    let store = backend.open().await;
    // Two placements and two partitions, whose numbers do not fit into one byte.
    let logs = [log(1, 0), log(1, 300), log(65_535, 0), log(2, 65_535)];
    let answers = at_once(&store, |store, n| async move {
        let log = logs[usize::try_from(n % 4).unwrap()];
        (log, n, offset(store.append_decision(append(log, n)).await.unwrap()))
    })
    .await;
    assert_eq!(
        store.log_ends().await.unwrap(),
        [(log(1, 0), 16), (log(1, 300), 16), (log(2, 65_535), 16), (log(65_535, 0), 16)]
    );
    for log in logs {
        let mine: Vec<_> = answers.iter().filter(|(of, ..)| *of == log).collect();
        assert_eq!(mine.iter().map(|(.., offset)| *offset).collect::<BTreeSet<_>>(), (0..16).collect());
        let records = whole_log(&*store, log).await;
        for (_, n, offset) in mine {
            assert_eq!(records[usize::try_from(*offset).unwrap()], record(*n));
        }
    }
}

async fn read_log_pages_and_ends_empty(backend: &dyn Backend) {
    let store = backend.open().await;
    for n in 0..5 {
        store.append_decision(append(log(1, 1), n)).await.unwrap();
    }
    let page = async |offset, limit| -> Vec<Vec<u8>> {
        store.read_log(log(1, 1), offset, limit).await.unwrap().iter().map(|record| record.to_vec()).collect()
    };
    assert_eq!(page(0, 2).await, [record(0), record(1)]);
    assert_eq!(page(3, 10).await, [record(3), record(4)]);
    assert_eq!(page(4, usize::MAX).await, [record(4)]);
    for (offset, limit) in [(5, 10), (6, 10), (u64::MAX, 10), (0, 0)] {
        assert!(page(offset, limit).await.is_empty(), "from {offset}, at most {limit}");
    }
    assert!(store.read_log(log(1, 0), 0, 10).await.unwrap().is_empty(), "a log that has no records");
}

async fn advance_writes_ledger_and_records_together(backend: &dyn Backend) {
    let store = backend.open().await;
    store.append_decision(append(log(1, 0), 0)).await.unwrap();
    let change = advance(log(1, 0), 0, 0, &["a", "b"]);
    assert_eq!(store.advance_ledgers(vec![change.clone()]).await.unwrap(), [Advanced]);
    let found = store.decisions(&[key(log(1, 0), 0)]).await.unwrap().remove(0).unwrap();
    assert_eq!((found.offset, found.sequence, found.ledger), (0, 2, b"ledger 0 after a, b".to_vec()));
    assert_eq!(whole_log(&*store, log(1, 0)).await, [record(0), b"a".to_vec(), b"b".to_vec()]);
    // Sent again it comes too late, and writes nothing twice.
    assert_eq!(store.advance_ledgers(vec![change]).await.unwrap(), [Conflict]);
    assert_eq!(store.log_ends().await.unwrap(), [(log(1, 0), 3)]);
}

async fn one_of_many_changes_from_one_sequence_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    store.append_decision(append(log(1, 0), 0)).await.unwrap();
    let answers = at_once(&store, |store, n| async move {
        let step = format!("step {n}");
        (step.clone(), store.advance_ledgers(vec![advance(log(1, 0), 0, 0, &[&step])]).await.unwrap())
    })
    .await;
    let winners: Vec<_> = answers.iter().filter(|(_, outcome)| *outcome == [Advanced]).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(whole_log(&*store, log(1, 0)).await, [record(0), winners[0].0.clone().into_bytes()]);
}

async fn changes_of_one_call_stand_each_by_itself_in_order(backend: &dyn Backend) {
    let store = backend.open().await;
    for n in 0..2 {
        store.append_decision(append(log(1, 0), n)).await.unwrap();
    }
    let changes = vec![
        advance(log(1, 0), 0, 0, &["a"]),
        advance(log(1, 0), 7, 0, &["no such decision"]),
        advance(log(1, 0), 1, 3, &["a sequence that is not there yet"]),
        advance(log(1, 0), 0, 1, &["b"]),
        advance(log(1, 0), 0, 1, &["too late"]),
        advance(log(1, 0), 1, 0, &["c"]),
    ];
    let outcomes = store.advance_ledgers(changes).await.unwrap();
    assert_eq!(outcomes, [Advanced, Conflict, Conflict, Advanced, Conflict, Advanced]);
    let records = whole_log(&*store, log(1, 0)).await;
    assert_eq!(records[2..], [b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
    assert_eq!(store.advance_ledgers(vec![]).await.unwrap(), []);
}

async fn change_in_another_log_is_a_conflict(backend: &dyn Backend) {
    let store = backend.open().await;
    store.append_decision(append(log(1, 0), 0)).await.unwrap();
    let mut change = advance(log(1, 0), 0, 0, &["astray"]);
    change.log = log(1, 1);
    assert_eq!(store.advance_ledgers(vec![change]).await.unwrap(), [Conflict]);
    assert_eq!(store.log_ends().await.unwrap(), [(log(1, 0), 1)]);
}

async fn due_are_the_open_decisions_whose_windows_are_over(backend: &dyn Backend) {
    let store = backend.open().await;
    // Two with one closing time, in the wrong order of ids; one in another log; one before 1970.
    for (n, closes_at) in [(0, 30), (2, 20), (1, 20), (3, 40), (4, -10)] {
        let mut append = append(log(1, 0), n);
        append.closes_at = at(closes_at);
        store.append_decision(append).await.unwrap();
    }
    store.append_decision(append(log(1, 1), 0)).await.unwrap();
    let due = async |now, limit| store.due(log(1, 0), at(now), limit).await.unwrap();
    let keys = |numbers: &[u64]| numbers.iter().map(|n| key(log(1, 0), *n)).collect::<Vec<_>>();
    assert_eq!(due(30, 10).await, keys(&[4, 1, 2, 0]));
    assert_eq!(due(29, 10).await, keys(&[4, 1, 2]));
    assert_eq!(due(1_000, 2).await, keys(&[4, 1]));
    assert_eq!(due(1_000, 0).await, keys(&[]));
    assert_eq!(due(-11, 10).await, keys(&[]));

    let mut closing = advance(log(1, 0), 1, 0, &["closed"]);
    closing.closed = true;
    store.advance_ledgers(vec![closing, advance(log(1, 0), 4, 0, &["an outcome"])]).await.unwrap();
    assert_eq!(due(1_000, 10).await, keys(&[4, 2, 0, 3]));
    // A revision after closing leaves it closed.
    let mut revision = advance(log(1, 0), 1, 1, &["revised"]);
    revision.closed = true;
    assert_eq!(store.advance_ledgers(vec![revision]).await.unwrap(), [Advanced]);
    assert_eq!(due(1_000, 10).await, keys(&[4, 2, 0, 3]));
}

async fn statistics_are_replaced_arm_by_arm(backend: &dyn Backend) {
    let store = backend.open().await;
    assert_eq!(store.statistics("m", log(1, 0)).await.unwrap(), StoredStatistics::default());
    let first = commit(log(1, 0), 3, (0, 10), &[("b", "b1"), ("a", "a1"), ("a\0", "nul"), ("é", "accent")]);
    assert_eq!(store.commit_statistics(first).await.unwrap(), Committed);
    let second = commit(log(1, 0), 3, (10, 12), &[("b", "b2"), ("c", "c2")]);
    assert_eq!(store.commit_statistics(second).await.unwrap(), Committed);
    let expected = StoredStatistics {
        offset: 12,
        token: 3,
        shared: b"shared at 12".to_vec(),
        arms: arms(&[("a", "a1"), ("a\0", "nul"), ("b", "b2"), ("c", "c2"), ("é", "accent")]),
    };
    assert_eq!(store.statistics("m", log(1, 0)).await.unwrap(), expected);
}

async fn statistics_of_models_and_logs_do_not_mix(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut other = commit(log(1, 0), 0, (0, 5), &[("a", "of another model")]);
    other.model_id = "n".to_owned();
    for commit in [
        commit(log(1, 0), 0, (0, 10), &[("a", "1 0")]),
        commit(log(1, 1), 0, (0, 20), &[("a", "1 1")]),
        commit(log(2, 0), 0, (0, 30), &[("a", "2 0")]),
        other,
    ] {
        assert_eq!(store.commit_statistics(commit).await.unwrap(), Committed);
    }
    let found = store.statistics("m", log(1, 1)).await.unwrap();
    assert_eq!((found.offset, found.arms), (20, arms(&[("a", "1 1")])));
    assert_eq!(store.statistics("n", log(1, 0)).await.unwrap().offset, 5);
}

async fn commit_from_another_offset_is_fenced(backend: &dyn Backend) {
    let store = backend.open().await;
    for from in [1, u64::MAX] {
        assert_eq!(store.commit_statistics(commit(log(1, 0), 0, (from, from), &[])).await.unwrap(), Fenced);
    }
    let first = commit(log(1, 0), 0, (0, 10), &[("a", "once")]);
    assert_eq!(store.commit_statistics(first.clone()).await.unwrap(), Committed);
    let mut otherwise = first.clone();
    otherwise.arms = arms(&[("a", "otherwise")]);
    assert_eq!(store.commit_statistics(otherwise).await.unwrap(), Fenced);
    let wrong = commit(log(1, 0), 0, (9, 11), &[("a", "wrong"), ("b", "wrong")]);
    assert_eq!(store.commit_statistics(wrong).await.unwrap(), Fenced);
    let found = store.statistics("m", log(1, 0)).await.unwrap();
    assert_eq!((found.offset, found.arms), (10, arms(&[("a", "once")])));
}

async fn same_commit_again_is_committed_until_a_younger_learner_leads(backend: &dyn Backend) {
    let store = backend.open().await;
    let first = commit(log(1, 0), 1, (0, 10), &[("a", "once"), ("b", "once")]);
    let second = commit(log(1, 0), 1, (10, 12), &[("a", "twice")]);
    for commit in [&first, &first, &second, &second] {
        assert_eq!(store.commit_statistics(commit.clone()).await.unwrap(), Committed);
    }
    assert_eq!(store.commit_statistics(first).await.unwrap(), Fenced, "it is not what is stored any more");
    let found = store.statistics("m", log(1, 0)).await.unwrap();
    assert_eq!((found.offset, found.arms), (12, arms(&[("a", "twice"), ("b", "once")])));
    let mut of_another = second.clone();
    of_another.token = 2;
    assert_eq!(store.commit_statistics(of_another).await.unwrap(), Fenced, "another learner's is not the same");
    lead(&*store, 1, 0).await;
    assert_eq!(store.commit_statistics(second).await.unwrap(), Fenced);
}

async fn one_of_many_commits_from_one_offset_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    let answers = at_once(&store, |store, n| async move {
        let content = n.to_string();
        (n, store.commit_statistics(commit(log(1, 0), 1, (0, n + 1), &[("a", &content)])).await.unwrap())
    })
    .await;
    let winners: Vec<_> = answers.iter().filter(|(_, outcome)| *outcome == Committed).collect();
    assert_eq!(winners.len(), 1);
    let found = store.statistics("m", log(1, 0)).await.unwrap();
    let winner = winners[0].0;
    assert_eq!((found.offset, found.arms), (winner + 1, arms(&[("a", &winner.to_string())])));
}

async fn leading_fences_every_earlier_learner(backend: &dyn Backend) {
    let store = backend.open().await;
    let old = lead(&*store, 1, 0).await;
    assert!(old > 0, "a learner that never led has token 0");
    let young = lead(&*store, 2, 100).await;
    assert!(young > old);
    assert_eq!(store.commit_statistics(commit(log(1, 0), old, (0, 10), &[])).await.unwrap(), Fenced);
    assert_eq!(store.commit_statistics(commit(log(1, 0), young, (0, 10), &[])).await.unwrap(), Committed);
    // The fence is the log's: it holds for models that the younger learner has never written.
    let mut other = commit(log(1, 0), old, (0, 10), &[]);
    other.model_id = "n".to_owned();
    assert_eq!(store.commit_statistics(other).await.unwrap(), Fenced);
    // And another log's learner is somebody else.
    assert_eq!(store.commit_statistics(commit(log(1, 1), old, (0, 10), &[])).await.unwrap(), Committed);
}

async fn a_token_is_above_every_one_that_wrote(backend: &dyn Backend) {
    let store = backend.open().await;
    assert_eq!(store.commit_statistics(commit(log(1, 0), 41, (0, 1), &[])).await.unwrap(), Committed);
    assert_eq!(store.commit_statistics(commit(log(1, 0), 40, (1, 2), &[])).await.unwrap(), Fenced);
    let led = lead(&*store, 1, 0).await;
    assert!(led > 41);
    // Somebody who writes with a token above the leader's has ended that lease.
    assert_eq!(store.commit_statistics(commit(log(1, 0), led + 7, (1, 2), &[])).await.unwrap(), Committed);
    assert!(lead(&*store, 1, 1).await > led + 7);
}

async fn a_lease_is_held_until_it_is_taken_or_resigned(backend: &dyn Backend) {
    let store = backend.open().await;
    let ask = async |holder, now| store.lead(log(1, 0), [holder; 16], at(now), 100).await.unwrap();
    let first = lead(&*store, 1, 0).await;
    assert_eq!(ask(2, 99).await, Leadership::Follows { until: at(100) });
    assert_eq!(ask(1, 50).await, Leadership::Leads { token: first });
    assert_eq!(ask(2, 149).await, Leadership::Follows { until: at(150) });
    assert_eq!(ask(1, 900).await, Leadership::Leads { token: first }, "it expired, but nobody took it");
    let second = lead(&*store, 2, 1_000).await;
    assert!(second > first);
    assert_eq!(ask(1, 1_001).await, Leadership::Follows { until: at(1_100) });
    // Only the holder resigns, once or twice.
    store.resign(log(1, 0), [1; 16]).await.unwrap();
    assert_eq!(ask(3, 1_002).await, Leadership::Follows { until: at(1_100) });
    for _ in 0..2 {
        store.resign(log(1, 0), [2; 16]).await.unwrap();
    }
    assert!(lead(&*store, 1, 1_003).await > second);
    // Every log has its own lease.
    let elsewhere = store.lead(log(1, 1), [2; 16], at(1_003), 100).await.unwrap();
    assert!(matches!(elsewhere, Leadership::Leads { .. }), "{elsewhere:?}");
}

async fn one_of_many_holders_leads(backend: &dyn Backend) {
    let store = backend.open().await;
    let answers = at_once(&store, |store, n| async move {
        store.lead(log(1, 0), [u8::try_from(n).unwrap(); 16], at(0), 100).await.unwrap()
    })
    .await;
    let leading = answers.iter().filter(|answer| matches!(answer, Leadership::Leads { .. })).count();
    assert_eq!((leading, answers.len()), (1, 64));
    // When its lease has ended, one after the other takes it, each with a token of its own.
    let tokens = at_once(&store, |store, n| async move {
        store.lead(log(1, 0), [u8::try_from(n).unwrap(); 16], at(200), 0).await.unwrap()
    })
    .await;
    let tokens: BTreeSet<_> = tokens
        .into_iter()
        .map(|answer| match answer {
            Leadership::Leads { token } => token,
            follows @ Leadership::Follows { .. } => panic!("the lease had ended: {follows:?}"),
        })
        .collect();
    assert_eq!(tokens.len(), 64);
}

/// What a document is expected to be at a version.
fn stands(version: u64) -> Option<StoredDocument> {
    Some(StoredDocument { version, content: format!("document at {version}").into_bytes() })
}

async fn a_document_is_replaced_in_place_of_what_was_read(backend: &dyn Backend) {
    let store = backend.open().await;
    for key in [unit(log(1, 0), 1), DocumentKey::User([1; 16])] {
        let change = async |from, to| store.change_documents(vec![document(key, from, to)]).await.unwrap();
        let read = async || store.documents(&[key]).await.unwrap().remove(0);
        assert_eq!(read().await, None);
        assert_eq!(change(Some(7), 8).await, [Moved], "nothing stands");
        // Versions are any 64 bits.
        for (from, to) in [(None, u64::MAX), (Some(u64::MAX), 0), (Some(0), 1 << 63)] {
            assert_eq!(change(from, to).await, [Changed]);
            assert_eq!(change(from, to).await, [Changed], "the same again");
            assert_eq!(read().await, stands(to));
        }
        assert_eq!([change(None, 9).await, change(Some(0), 9).await], [[Moved], [Moved]]);
        assert_eq!(read().await, stands(1 << 63));
        let removal = |from| DocumentChange { content: None, ..document(key, Some(from), 0) };
        for (from, outcome) in [(9, Moved), (1 << 63, Changed), (1 << 63, Changed)] {
            assert_eq!(store.change_documents(vec![removal(from)]).await.unwrap(), [outcome]);
        }
        assert_eq!(read().await, None);
    }
}

async fn documents_do_not_mix(backend: &dyn Backend) {
    let store = backend.open().await;
    let user = DocumentKey::User([1; 16]);
    let keys = [unit(log(1, 0), 1), unit(log(1, 0), 2), unit(log(1, 300), 1), unit(log(300, 1), 1), user];
    let changes = (0..).zip(keys).map(|(version, key)| document(key, None, version)).collect();
    assert_eq!(store.change_documents(changes).await.unwrap(), [Changed; 5]);
    let asked = [keys[4], unit(log(2, 0), 1), keys[0], keys[3], keys[2], keys[1], keys[0]];
    let expected = [stands(4), None, stands(0), stands(3), stands(2), stands(1), stands(0)];
    assert_eq!(store.documents(&asked).await.unwrap(), expected);
    assert_eq!(store.documents(&[]).await.unwrap(), []);
    assert_eq!(store.change_documents(vec![]).await.unwrap(), []);
    assert_eq!(store.log_ends().await.unwrap(), [], "a document is no record");
}

async fn one_of_many_changes_of_a_document_stands(backend: &dyn Backend) {
    let store = backend.open().await;
    let key = DocumentKey::User([1; 16]);
    let answers =
        at_once(
            &store,
            |store, n| async move { (n, store.change_documents(vec![document(key, None, n)]).await.unwrap()) },
        )
        .await;
    let winners: Vec<_> = answers.iter().filter(|(_, outcome)| *outcome == [Changed]).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(store.documents(&[key]).await.unwrap(), [stands(winners[0].0)]);
}

async fn a_decision_and_its_document_stand_or_fall_together(backend: &dyn Backend) {
    let store = backend.open().await;
    let key_of_unit = unit(log(1, 0), 1);
    let with = |n, from, to| {
        let mut append = append(log(1, 0), n);
        append.request = Some(mark(u8::try_from(n).unwrap(), 1, 0));
        append.document = Some(document(key_of_unit, from, to));
        append
    };
    assert_eq!(offset(store.append_decision(with(0, None, 1)).await.unwrap()), 0);
    assert_eq!(offset(store.append_decision(with(1, Some(1), 2)).await.unwrap()), 1);
    // From an older version nothing is written: no record, no decision, no mark, no document.
    for from in [None, Some(1), Some(9)] {
        assert_eq!(store.append_decision(with(2, from, 3)).await.unwrap(), AppendOutcome::DocumentMoved);
    }
    assert_eq!(store.documents(&[key_of_unit]).await.unwrap(), [stands(2)]);
    assert_eq!(store.log_ends().await.unwrap(), [(log(1, 0), 2)]);
    assert_eq!(store.decisions(&[key(log(1, 0), 2)]).await.unwrap(), [None]);
    assert_eq!(store.due(log(1, 0), at(1_000), 10).await.unwrap(), [key(log(1, 0), 0), key(log(1, 0), 1)]);
    assert_eq!(store.answered(&[log(1, 0)], [2; 32], at(0)).await.unwrap(), None);
    // An append that was made is made, whatever became of the document since; a repeated request is told first.
    store.change_documents(vec![document(key_of_unit, Some(2), 5)]).await.unwrap();
    assert_eq!(offset(store.append_decision(with(1, Some(1), 2)).await.unwrap()), 1);
    let mut repeated = with(3, None, 9);
    repeated.request = Some(mark(1, 1, 0));
    let told = AppendOutcome::Repeated { decision: key(log(1, 0), 1), fingerprint: [1; 32] };
    assert_eq!(store.append_decision(repeated).await.unwrap(), told);
    assert_eq!(store.documents(&[key_of_unit]).await.unwrap(), [stands(5)]);
}

async fn of_many_decisions_from_one_document_one_is_appended(backend: &dyn Backend) {
    let store = backend.open().await;
    let answers = at_once(&store, |store, n| async move {
        let mut append = append(log(1, 0), n);
        append.document = Some(document(unit(log(1, 0), 1), None, n));
        (n, store.append_decision(append).await.unwrap())
    })
    .await;
    let winners: Vec<_> = answers.iter().filter(|(_, outcome)| *outcome != AppendOutcome::DocumentMoved).collect();
    let [(winner, AppendOutcome::Appended { offset: 0 })] = winners[..] else { panic!("one, at 0: {winners:?}") };
    assert_eq!(store.documents(&[unit(log(1, 0), 1)]).await.unwrap(), [stands(*winner)]);
    assert_eq!(whole_log(&*store, log(1, 0)).await, [record(*winner)]);
}

async fn a_document_is_there_until_it_expires(backend: &dyn Backend) {
    let store = backend.open().await;
    let changes = (0..10).map(|n| {
        let (changed_at, expires_at) = (at(0), at(100 + i64::from(n)));
        DocumentChange { changed_at, expires_at, ..document(unit(log(1, 0), n), None, n.into()) }
    });
    store.change_documents(changes.collect()).await.unwrap();
    for _ in 0..2 {
        store.forget_expired(at(104)).await.unwrap();
    }
    let keys: Vec<_> = (5..10).map(|n| unit(log(1, 0), n)).collect();
    assert_eq!(store.documents(&keys).await.unwrap(), (5..10).map(stands).collect::<Vec<_>>());
}

async fn a_document_that_belongs_elsewhere_is_refused_with_its_decision(backend: &dyn Backend) {
    let store = backend.open().await;
    let here = unit(log(1, 0), 1);
    let removal = DocumentChange { content: None, ..document(here, None, 1) };
    let large = DocumentChange { content: Some(vec![0; RECORD_BYTES_MAX + 1]), ..document(here, None, 1) };
    let elsewhere = document(unit(log(1, 1), 1), None, 1);
    for change in [elsewhere, document(DocumentKey::User([1; 16]), None, 1), removal, large.clone()] {
        let mut append = append(log(1, 0), 0);
        append.document = Some(change);
        assert!(matches!(store.append_decision(append).await, Err(StoreError::Refused { .. })));
    }
    assert!(matches!(store.change_documents(vec![large]).await, Err(StoreError::Refused { .. })));
    assert_eq!(store.log_ends().await.unwrap(), []);
}

async fn catalogs_are_numbered_without_gaps(backend: &dyn Backend) {
    let store = backend.open().await;
    assert_eq!(store.catalog(None).await.unwrap(), None);
    for (revision, accepted) in
        [(0, false), (2, false), (u64::MAX, false), (1, true), (1, true), (3, false), (2, true), (1, true)]
    {
        let outcome = store.append_catalog(catalog(revision, &format!("reason {revision}"))).await.unwrap();
        assert_eq!(outcome, accepted, "revision {revision}");
    }
    assert!(!store.append_catalog(catalog(2, "another reason")).await.unwrap(), "another one under the same number");
    assert_eq!(store.catalog(None).await.unwrap(), Some(catalog(2, "reason 2")));
    assert_eq!(store.catalog(Some(1)).await.unwrap(), Some(catalog(1, "reason 1")));
    for absent in [0, 3, u64::MAX] {
        assert_eq!(store.catalog(Some(absent)).await.unwrap(), None);
    }
}

async fn one_of_many_catalogs_with_one_revision_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    let answers =
        at_once(
            &store,
            |store, n| async move { (n, store.append_catalog(catalog(1, &format!("by {n}"))).await.unwrap()) },
        )
        .await;
    let winners: Vec<_> = answers.iter().filter(|(_, accepted)| *accepted).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(store.catalog(None).await.unwrap(), Some(catalog(1, &format!("by {}", winners[0].0))));
}

async fn reader_never_sees_half_a_change(backend: &dyn Backend) {
    let store = backend.open().await;
    store.append_decision(append(log(1, 0), 0)).await.unwrap();
    let writer = Arc::clone(&store);
    let writing = async move {
        for sequence in 0..100 {
            let change = advance(log(1, 0), 0, sequence, &["step"]);
            assert_eq!(writer.advance_ledgers(vec![change]).await.unwrap(), [Advanced]);
            let commit = commit(log(1, 0), 0, (sequence.into(), u64::from(sequence) + 1), &[("a", "x")]);
            assert_eq!(writer.commit_statistics(commit).await.unwrap(), Committed);
        }
    };
    let reading = async {
        let mut seen = 0;
        while seen < 100 {
            let decision = store.decisions(&[key(log(1, 0), 0)]).await.unwrap().remove(0).unwrap();
            let end = store.log_ends().await.unwrap()[0].1;
            let statistics = store.statistics("m", log(1, 0)).await.unwrap();
            assert!(u64::from(decision.sequence) < end, "a ledger without its record");
            assert!(u64::from(decision.sequence) >= seen, "a change was taken back");
            assert!(
                statistics.offset == 0 || statistics.shared == format!("shared at {}", statistics.offset).as_bytes()
            );
            seen = decision.sequence.into();
        }
    };
    tokio::join!(writing, reading);
}

/// The salts of the first decisions of a log.
async fn salts(store: &dyn Store, of: LogId, count: u64) -> Vec<Option<[u8; 16]>> {
    let keys: Vec<_> = (0..count).map(|n| key(of, n)).collect();
    let found = store.decisions(&keys).await.unwrap();
    found.into_iter().map(|found| found.unwrap().salt).collect()
}

fn salted(of: LogId, n: u64, owner: u8, made_at: i64) -> DecisionAppend {
    DecisionAppend { salt: Some(salt(owner, made_at)), ..append(of, n) }
}

async fn a_salt_is_kept_until_its_owner_is_forgotten(backend: &dyn Backend) {
    let store = backend.open().await;
    let [here, there, elsewhere] = [log(1, 0), log(1, 1), log(2, 0)];
    for log in [here, there, elsewhere] {
        for (n, owner) in [(0, 1), (1, 2), (2, 1)] {
            store.append_decision(salted(log, n, owner, 0)).await.unwrap();
        }
    }
    store.advance_ledgers(vec![advance(here, 0, 0, &["a"]), advance(here, 1, 0, &["b"])]).await.unwrap();
    let [first, second] = [1, 2].map(|owner| Some(salt(owner, 0).salt));
    assert_eq!(salts(&*store, here, 3).await, [first, second, first], "a change of a ledger leaves them");
    assert_eq!(store.destroy_salts(&[here, there, log(9, 9)], [1; 16], at(5)).await.unwrap(), 4);
    for log in [here, there] {
        assert_eq!(salts(&*store, log, 3).await, [None, second, None]);
    }
    assert_eq!(salts(&*store, elsewhere, 3).await, [first, second, first]);
    assert_eq!(store.destroy_salts(&[here, there], [1; 16], at(5)).await.unwrap(), 0);
    assert_eq!(store.destroy_salts(&[], [2; 16], at(5)).await.unwrap(), 0);
    // Nothing else of the decisions has changed.
    let found = store.decisions(&[key(here, 0)]).await.unwrap().remove(0).unwrap();
    assert_eq!((found.sequence, found.ledger), (1, b"ledger 0 after a".to_vec()));
    assert_eq!(store.advance_ledgers(vec![advance(here, 0, 1, &["c"])]).await.unwrap(), [Advanced]);
    assert_eq!(salts(&*store, here, 1).await, [None], "nor does a change bring one back");
    assert_eq!(offset(store.append_decision(salted(here, 0, 1, 9)).await.unwrap()), 0);
    assert_eq!(salts(&*store, here, 1).await, [None], "nor the same append again");
}

async fn a_decision_that_is_older_than_its_owners_end_keeps_no_salt(backend: &dyn Backend) {
    let store = backend.open().await;
    let here = log(1, 0);
    assert_eq!(store.destroy_salts(&[here], [1; 16], at(5)).await.unwrap(), 0);
    assert_eq!(store.destroy_salts(&[here], [1; 16], at(3)).await.unwrap(), 0, "the later time stands");
    let first = Some(salt(1, 0).salt);
    let made_at = [4, 5, 6];
    for (n, made_at) in (0..).zip(made_at) {
        store.append_decision(salted(here, n, 1, made_at)).await.unwrap();
    }
    let together: Vec<_> = (3..).zip(made_at).map(|(n, made_at)| salted(here, n, 1, made_at)).collect();
    for outcome in store.append_decisions(together.into()).await {
        outcome.unwrap();
    }
    store.append_decision(salted(here, 6, 2, 4)).await.unwrap();
    let second = Some(salt(2, 0).salt);
    assert_eq!(salts(&*store, here, 7).await, [None, None, first, None, None, first, second]);
}

async fn however_many_salts_an_owner_has_all_are_destroyed(backend: &dyn Backend) {
    let store = backend.open().await;
    let here = log(1, 0);
    let many: Vec<_> = (0..700).map(|n| salted(here, n, 1, 0)).collect();
    for outcome in store.append_decisions(many.into()).await {
        outcome.unwrap();
    }
    assert_eq!(store.destroy_salts(&[here], [1; 16], at(0)).await.unwrap(), 700);
    assert!(salts(&*store, here, 700).await.iter().all(Option::is_none));
}

async fn forgetting_and_appending_at_once_leave_no_salt_that_was_made_before(backend: &dyn Backend) {
    let store = backend.open().await;
    at_once(&store, |store, n| async move {
        if n % 8 == 0 {
            store.destroy_salts(&[log(1, 0)], [1; 16], at(5)).await.unwrap();
        }
        store.append_decision(salted(log(1, 0), n, 1, 5)).await.unwrap();
    })
    .await;
    assert!(salts(&*store, log(1, 0), 64).await.iter().all(Option::is_none));
}

async fn a_salt_is_there_until_it_expires(backend: &dyn Backend) {
    let store = backend.open().await;
    for n in 0..2 {
        store.append_decision(salted(log(1, 0), n, 1, 0)).await.unwrap();
    }
    store.forget_expired(at(999)).await.unwrap();
    assert_eq!(salts(&*store, log(1, 0), 2).await, [Some(salt(1, 0).salt); 2]);
    store.forget_expired(at(1_000)).await.unwrap();
    // Whether it is found after that is left open, and forgetting what may be gone is no error.
    store.destroy_salts(&[log(1, 0)], [1; 16], at(1_000)).await.unwrap();
}

async fn everything_is_still_there_when_opened_again(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut marked = append(log(1, 0), 0);
    marked.request = Some(mark(1, 1, 0));
    store.append_decision(marked).await.unwrap();
    store.append_decision(salted(log(1, 0), 1, 2, 0)).await.unwrap();
    store.destroy_salts(&[log(1, 0)], [1; 16], at(5)).await.unwrap();
    let mut closing = advance(log(1, 0), 0, 0, &["closed"]);
    closing.closed = true;
    store.advance_ledgers(vec![closing]).await.unwrap();
    let token = lead(&*store, 1, 0).await;
    store.commit_statistics(commit(log(1, 0), token, (0, 3), &[("a", "x")])).await.unwrap();
    store.append_catalog(catalog(1, "first")).await.unwrap();
    let keys = [unit(log(1, 0), 1), DocumentKey::User([1; 16])];
    store.change_documents(keys.map(|key| document(key, None, 4)).to_vec()).await.unwrap();
    drop(store);

    let store = backend.open().await;
    assert_eq!(whole_log(&*store, log(1, 0)).await, [record(0), record(1), b"closed".to_vec()]);
    let found = store.decisions(&[key(log(1, 0), 0)]).await.unwrap().remove(0).unwrap();
    assert_eq!((found.offset, found.sequence, found.ledger), (0, 1, b"ledger 0 after closed".to_vec()));
    assert_eq!(store.due(log(1, 0), at(1_000), 10).await.unwrap(), [key(log(1, 0), 1)]);
    let mut again = append(log(1, 0), 2);
    again.request = Some(mark(1, 2, 50));
    assert!(matches!(store.append_decision(again).await.unwrap(), AppendOutcome::Repeated { .. }));
    assert_eq!(offset(store.append_decision(salted(log(1, 0), 3, 1, 5)).await.unwrap()), 3);
    let asked = [1, 3].map(|n| key(log(1, 0), n));
    let kept: Vec<_> = store.decisions(&asked).await.unwrap().into_iter().map(|found| found.unwrap().salt).collect();
    assert_eq!(kept, [Some(salt(2, 0).salt), None]);
    assert_eq!(store.statistics("m", log(1, 0)).await.unwrap().offset, 3);
    assert_eq!(store.commit_statistics(commit(log(1, 0), token - 1, (3, 4), &[])).await.unwrap(), Fenced);
    assert_eq!(lead(&*store, 1, 50).await, token);
    assert!(lead(&*store, 2, 1_000).await > token);
    assert_eq!(store.documents(&keys).await.unwrap(), [stands(4), stands(4)]);
    assert_eq!(store.catalog(None).await.unwrap(), Some(catalog(1, "first")));
}

async fn what_cannot_be_stored_is_refused_and_nothing_written(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut large = append(log(1, 0), 0);
    large.record = vec![0; RECORD_BYTES_MAX + 1];
    let refused = store.append_decision(large.clone()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { reason } if reason.contains("4194305")), "{refused}");
    large.record.pop();
    assert_eq!(offset(store.append_decision(large).await.unwrap()), 0);

    // One bad change spoils its whole call before anything of it is written.
    let changes = vec![advance(log(1, 0), 0, 0, &["good"]), advance(log(1, 0), 0, 1, &[])];
    let refused = store.advance_ledgers(changes).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }) && !refused.is_transient(), "{refused}");
    assert_eq!(store.log_ends().await.unwrap(), [(log(1, 0), 1)]);
}

async fn large_records_are_read_in_answers_that_fit_into_memory(backend: &dyn Backend) {
    let store = backend.open().await;
    for n in 0..10 {
        let mut append = append(log(1, 0), n);
        append.record = vec![u8::try_from(n).unwrap(); RECORD_BYTES_MAX];
        store.append_decision(append).await.unwrap();
    }
    let first = store.read_log(log(1, 0), 0, 100).await.unwrap();
    assert!((1..10).contains(&first.len()), "{} records of 4 MiB in one answer", first.len());
    let records = whole_log(&*store, log(1, 0)).await;
    assert_eq!(records.iter().map(|record| record[0]).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
}

/// Runs every promise against a backend.
macro_rules! contract {
    ($backend:ident, $factory:expr) => {
        contract! { @against $backend, $factory,
            identity_is_made_once
            decision_is_stored_with_its_record_and_ledger
            decisions_come_in_the_order_asked_for_with_none_for_strangers
            same_append_again_is_answered_with_the_same_offset
            appends_together_are_each_told_their_own_outcome
            one_request_is_answered_once_however_many_ask
            mark_counts_until_it_expires_and_is_then_replaced
            an_answered_request_is_found_while_its_mark_stands
            different_requests_do_not_meet
            a_mark_counts_in_its_log_alone
            a_claim_stands_for_the_first_body_until_it_expires
            of_many_claims_at_once_one_stands
            forgetting_leaves_what_has_not_expired
            offsets_are_contiguous_in_every_log
            read_log_pages_and_ends_empty
            advance_writes_ledger_and_records_together
            one_of_many_changes_from_one_sequence_wins
            changes_of_one_call_stand_each_by_itself_in_order
            change_in_another_log_is_a_conflict
            due_are_the_open_decisions_whose_windows_are_over
            statistics_are_replaced_arm_by_arm
            statistics_of_models_and_logs_do_not_mix
            commit_from_another_offset_is_fenced
            same_commit_again_is_committed_until_a_younger_learner_leads
            one_of_many_commits_from_one_offset_wins
            leading_fences_every_earlier_learner
            a_token_is_above_every_one_that_wrote
            a_lease_is_held_until_it_is_taken_or_resigned
            one_of_many_holders_leads
            a_document_is_replaced_in_place_of_what_was_read
            documents_do_not_mix
            one_of_many_changes_of_a_document_stands
            a_decision_and_its_document_stand_or_fall_together
            of_many_decisions_from_one_document_one_is_appended
            a_document_is_there_until_it_expires
            a_document_that_belongs_elsewhere_is_refused_with_its_decision
            a_salt_is_kept_until_its_owner_is_forgotten
            a_decision_that_is_older_than_its_owners_end_keeps_no_salt
            however_many_salts_an_owner_has_all_are_destroyed
            forgetting_and_appending_at_once_leave_no_salt_that_was_made_before
            a_salt_is_there_until_it_expires
            catalogs_are_numbered_without_gaps
            one_of_many_catalogs_with_one_revision_wins
            reader_never_sees_half_a_change
            everything_is_still_there_when_opened_again
            what_cannot_be_stored_is_refused_and_nothing_written
            large_records_are_read_in_answers_that_fit_into_memory
        }
    };
    (@against $backend:ident, $factory:expr, $($promise:ident)*) => {
        mod $backend {
            use super::fixtures;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    super::$promise(&$factory).await;
                }
            )*

            #[test]
            fn random_verbs_agree_with_the_model() {
                super::model::agrees(|| Box::new($factory));
            }
        }
    };
}

contract!(embedded, fixtures::Embedded::new());
contract!(redis, fixtures::Redis::standalone());
contract!(cluster, fixtures::Redis::cluster());
