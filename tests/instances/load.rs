//! Users who rank and report through any of the instances that serve, again and again until they are answered, and an
//! account of what was acknowledged.

use crate::{
    instance::{Client, LOOK, audit, audited, conversion, offsets, request, shown},
    redis::DEADLINE,
};
use offer_ranker::{proto::FeedbackCode, store::redis::RedisUrl};
use rand::{RngExt as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

/// Users at the same time.
const USERS: u64 = 6;
/// Why a report has to be repeated although the store may be back.
const SPOOLED: &str = "its decision is spooled";
/// How many of the decisions convert.
const CONVERSION_RATE: f64 = 0.4;

/// An instance that calls are sent to.
struct Member {
    client: Client,
    /// Whether it is being killed: then any call on it may fail.
    dying: AtomicBool,
}

/// What users know of the instances, and what they saw.
#[derive(Default)]
struct Town {
    members: Mutex<Vec<Arc<Member>>>,
    /// Whether the store is away: then any call may be refused as unavailable.
    store_away: AtomicBool,
    /// Calls that were to be repeated.
    repeated: AtomicU64,
    ranked: AtomicU64,
    closing: AtomicBool,
}

/// What was acknowledged.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Account {
    /// Decisions.
    pub(crate) ranks: u64,
    /// Outcomes by offer.
    pub(crate) outcomes: BTreeMap<String, u64>,
}

/// A load that goes on until it is ended.
pub(crate) struct Load {
    town: Arc<Town>,
    users: JoinSet<Account>,
}

impl Load {
    /// Sends users to these instances.
    pub(crate) fn begin<'a>(seed: u64, clients: impl IntoIterator<Item = &'a Client>) -> Self {
        let town = Arc::new(Town::default());
        clients.into_iter().for_each(|client| town.join(client));
        let mut users = JoinSet::new();
        for user in 0..USERS {
            let town = town.clone();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(user);
            users.spawn(async move { town.visit(user, rng).await });
        }
        Self { town, users }
    }

    /// Sends calls to this one, too.
    pub(crate) fn join(&self, client: &Client) {
        self.town.join(client);
    }

    /// From now on calls on this one may fail; those on the others still may not.
    pub(crate) fn expect_death(&self, position: usize) {
        self.town.members.lock().unwrap()[position].dying.store(true, Ordering::SeqCst);
    }

    /// Sends no more calls to this one; those under way go on.
    pub(crate) fn leave(&self, position: usize) {
        self.town.members.lock().unwrap().remove(position);
    }

    /// Says whether calls may be refused because the store is away.
    pub(crate) fn expect_store(&self, away: bool) {
        self.town.store_away.store(away, Ordering::SeqCst);
    }

    /// Calls that had to be repeated so far.
    pub(crate) fn repeated(&self) -> u64 {
        self.town.repeated.load(Ordering::SeqCst)
    }

    /// Decisions acknowledged so far.
    pub(crate) fn ranked(&self) -> u64 {
        self.town.ranked.load(Ordering::SeqCst)
    }

    /// Waits for so many more decisions.
    pub(crate) async fn go_on_for(&mut self, decisions: u64) {
        let enough = self.ranked() + decisions;
        self.wait("users are answered", |load| load.ranked() >= enough).await;
    }

    /// Waits for something to be seen, and fails as soon as a user does.
    pub(crate) async fn wait(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            if let Some(left) = self.users.try_join_next() {
                panic!("a user left early: {left:?}");
            }
            assert!(begun.elapsed() < DEADLINE, "in vain: {what}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets everybody finish what they have begun.
    pub(crate) async fn end(self) -> Account {
        self.town.closing.store(true, Ordering::SeqCst);
        let mut account = Account::default();
        for user in self.users.join_all().await {
            account.ranks += user.ranks;
            user.outcomes.into_iter().for_each(|(offer, count)| *account.outcomes.entry(offer).or_default() += count);
        }
        account
    }
}

impl Town {
    fn join(&self, client: &Client) {
        let member = Member { client: client.clone(), dying: AtomicBool::new(false) };
        self.members.lock().unwrap().push(Arc::new(member));
    }

    /// One user after the other; what was acknowledged.
    async fn visit(&self, lane: u64, mut rng: ChaCha8Rng) -> Account {
        let mut account = Account::default();
        while !self.closing.load(Ordering::SeqCst) {
            let name = format!("{lane}-{}", account.ranks);
            let asked = request(&name, &name);
            let rank = |client: Client| {
                let asked = asked.clone();
                async move { client.rank(asked).await }
            };
            let (decision, _) = self.until_answered(&mut rng, rank).await;
            account.ranks += 1;
            self.ranked.fetch_add(1, Ordering::SeqCst);
            if rng.random_bool(CONVERSION_RATE) {
                let outcome = conversion(&name, &decision.decision_id);
                let report = |client: Client| {
                    let outcome = outcome.clone();
                    async move {
                        match client.report(outcome).await {
                            Ok(FeedbackCode::NotYet) => Err(Status::unavailable(SPOOLED)),
                            told => told,
                        }
                    }
                };
                let (code, tries) = self.until_answered(&mut rng, report).await;
                // What was not answered may have been recorded nevertheless.
                let repeated = code == FeedbackCode::Duplicate && tries > 1;
                assert!(code == FeedbackCode::Recorded || repeated, "{code:?} after {tries} tries");
                *account.outcomes.entry(decision.offers[0].offer_id.clone()).or_default() += 1;
            }
        }
        account
    }

    /// Makes a call on any member, and the same again where it failed as it may; the answer and the number of tries.
    async fn until_answered<T, F>(&self, rng: &mut ChaCha8Rng, call: impl Fn(Client) -> F) -> (T, u64)
    where
        F: Future<Output = Result<T, Status>>,
    {
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            let member = self.members.lock().unwrap().choose(rng).expect("somebody serves").clone();
            let store_was_away = self.store_away.load(Ordering::SeqCst);
            tries += 1;
            match call(member.client.clone()).await {
                Ok(answer) => return (answer, tries),
                Err(status) => {
                    let dying = member.dying.load(Ordering::SeqCst);
                    let away = store_was_away || self.store_away.load(Ordering::SeqCst);
                    let spooled = status.message() == SPOOLED;
                    assert!(dying || spooled || away && status.code() == Code::Unavailable, "{status:?}");
                    assert!(begun.elapsed() < DEADLINE, "never answered: {status:?}");
                    self.repeated.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }
}

impl Account {
    /// Holds what was acknowledged against what every one of these instances has learned, and against the audit.
    pub(crate) async fn assert_counted_once<'a>(
        &self,
        store: &RedisUrl,
        clients: impl IntoIterator<Item = &'a Client>,
    ) {
        for client in clients {
            let learned = client.learned().await;
            let (reached, ends) = offsets(&learned);
            assert_eq!(reached, ends, "nobody writes any more");
            let total = |arm: &offer_ranker::proto::ArmState| arm.outcome_totals.get("conversion").copied();
            let told: BTreeMap<_, _> =
                learned.arms.iter().filter_map(|arm| Some((arm.offer_id.clone(), total(arm)?))).collect();
            let acknowledged: BTreeMap<_, _> =
                self.outcomes.iter().map(|(offer, &count)| (offer.clone(), count as f64)).collect();
            assert_eq!(told, acknowledged);
            assert_eq!(shown(&learned), self.ranks);
        }
        let report = audit(store);
        assert_eq!(audited(&report, "decisions"), self.ranks);
        assert_eq!(audited(&report, "ledger_changes"), self.outcomes.values().sum::<u64>());
        assert_eq!(audited(&report, "folded"), audited(&report, "records"));
    }
}
