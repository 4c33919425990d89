//! A service on an embedded store in a directory of its own, with a clock that stands still until it is told
//! otherwise, and users who do the same things whenever and however often the service refreshes.

use offer_ranker::{
    catalog,
    clock::ManualClock,
    engine::{context::AttributeValue, instant::Instant},
    proto,
    service::{
        Service, Settings,
        feedback::{FeedbackResult, Report, Subject},
        outcome_report::OutcomeReport,
        rank::Answer,
        validate::{GivenValue, RankCommand},
    },
    store::{LogId, Store as _, StoredStatistics, embedded::EmbeddedStore},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;

/// The only log.
pub(crate) const LOG: LogId = LogId { placement: 0, partition: 0 };

/// What is believed of arms.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Posterior {
    Beta,
    Linear,
}

/// When a service learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    RefreshAlways,
    RefreshAtTheEnd,
    RestartOften,
}

/// A placement `paywall` with two slots and three arms.
pub(crate) fn catalog(selection: &str, posterior: Posterior, learning: &str) -> String {
    let posterior = match posterior {
        Posterior::Beta => "beta: {}",
        Posterior::Linear => "linear: { precision: 1, a: 2, b: 0.4 }",
    };
    format!(
        "
reward_currency: SEK
markets: [{{ id: SE, currency_code: SEK }}]
default_market: SE
metrics: [{{ id: conversion, kind: COUNT }}, {{ id: revenue, kind: MONEY }}]
offers:
  - {{ id: annual, kind: STANDARD, plan: a, prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: 9 }} }} }} }}
  - {{ id: monthly, kind: STANDARD, plan: m, prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: 9 }} }} }} }}
  - {{ id: trial, kind: TRIAL, plan: t, prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: 9 }} }} }} }}
placements:
  - id: paywall
    slots: 2
    offers: [annual, monthly, trial]
    context:
      attributes:
        - {{ name: tenure, number: {{ min: 0, max: 10, default: 0 }} }}
        - {{ name: channel, category: {{ values: [organic, paid], default: organic }} }}
    policy:
      {selection}
      {posterior}
    reward: {{ terms: [{{ metric: conversion, indicator: true }}] }}
    attribution_window_s: 3600
    grace_s: 600
    revision_window_s: 90000
    partitions: 1
    learning: {learning}
"
    )
}

/// A service and everything around it.
pub(crate) struct House {
    directory: TempDir,
    clock: Arc<ManualClock>,
    catalog: proto::Catalog,
    store: Option<Arc<EmbeddedStore>>,
    service: Option<Service>,
    /// What users do.
    users: ChaCha8Rng,
    /// When restarts happen: apart from the users, so that they do the same with other restarts.
    restarts: ChaCha8Rng,
}

impl House {
    pub(crate) async fn open(yaml: &str) -> Self {
        let loaded = catalog::check("catalog.yaml", yaml).unwrap_or_else(|problems| panic!("{problems}"));
        let mut house = Self {
            directory: TempDir::new().unwrap(),
            clock: Arc::new(ManualClock::new(Instant::from_ms(1_795_132_800_000), 1)),
            catalog: loaded.declared,
            store: None,
            service: None,
            users: ChaCha8Rng::seed_from_u64(2),
            restarts: ChaCha8Rng::seed_from_u64(3),
        };
        house.reopen().await;
        house
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("store.db")
    }

    pub(crate) fn service(&self) -> &Service {
        self.service.as_ref().unwrap()
    }

    /// Starts the service again on the same file.
    pub(crate) async fn reopen(&mut self) {
        self.close().await;
        // The same keys for every house, so that the same users get the same names.
        let store = Arc::new(EmbeddedStore::open(self.path(), [7; 48]).unwrap());
        let settings = Settings {
            snapshot_max_age_ms: 10_000,
            backlog_max: 0,
            append_timeout: Duration::from_secs(60),
            not_yet_s: 60,
            identities_s: 400 * 86_400,
        };
        let seed = Some((self.catalog.clone(), "the first".to_owned()));
        self.service = Some(Service::open(store.clone(), self.clock.clone(), settings, seed).await.unwrap());
        self.store = Some(store);
    }

    pub(crate) async fn close(&mut self) {
        self.service = None;
        if let Some(store) = self.store.take() {
            store.close().await.unwrap();
        }
    }

    pub(crate) async fn refresh(&self) {
        self.service().refresh().await.unwrap();
    }

    /// What is stored of the only model.
    pub(crate) async fn statistics(&self) -> StoredStatistics {
        let serving = self.service().serving();
        let model_id = &serving.placements["paywall"].snapshot.version.model_id;
        self.store.as_ref().unwrap().statistics(model_id, LOG).await.unwrap()
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.users.random_bool(probability)
    }

    pub(crate) async fn rank(&mut self, user: usize) -> Answer {
        let mut attributes = BTreeMap::new();
        let mut give = |name: &str, value| attributes.insert(name.to_owned(), GivenValue::Value(value));
        give("tenure", AttributeValue::Number(self.users.random_range(0.0..10.0)));
        if self.users.random_bool(0.5) {
            give("channel", AttributeValue::Category("paid".into()));
        }
        let command = RankCommand {
            placement: "paywall".to_owned(),
            user_id: format!("user-{user}"),
            attributes: attributes.into_iter().collect(),
            platform: "web".to_owned(),
            ..RankCommand::default()
        };
        self.service().rank(command).await.unwrap()
    }

    pub(crate) async fn convert(&mut self, decision_id: &str, offer_id: &str) {
        let outcome = outcome("taken", offer_id, 1.0, String::new());
        self.report(decision_id, Subject::Outcome(outcome)).await;
    }

    async fn report(&self, decision_id: &str, subject: Subject) -> FeedbackResult {
        let report = Report { decision_id: decision_id.to_owned(), subject };
        self.service().record(&[report]).await.unwrap().remove(0)
    }

    /// Users come, report, correct themselves and say what they saw; then windows close, and some revise even then.
    pub(crate) async fn live(&mut self, habit: Habit, steps: usize) {
        let mut answers = Vec::new();
        for step in 0..steps {
            self.clock.advance_s(self.users.random_range(0..20));
            if answers.is_empty() || self.users.random_bool(0.4) {
                answers.push(self.rank(step).await);
            } else {
                self.say_something(&answers).await;
            }
            match habit {
                Habit::RefreshAlways => self.refresh().await,
                Habit::RestartOften if self.restarts.random_bool(0.1) => self.reopen().await,
                Habit::RestartOften | Habit::RefreshAtTheEnd => {}
            }
        }
        self.clock.advance_s(10_000);
        self.refresh().await;
        for _ in 0..steps / 4 {
            self.say_something(&answers).await;
        }
        self.refresh().await;
    }

    async fn say_something(&mut self, answers: &[Answer]) {
        let decision = &answers[self.users.random_range(0..answers.len())].record;
        let slots = decision.decision.slots.len();
        let subject = if self.users.random_bool(0.2) {
            Subject::Exposure((1..=slots as u32).filter(|_| self.users.random_bool(0.5)).collect())
        } else {
            let slot = self.users.random_range(0..=slots);
            let offer_id = match slot {
                0 => String::new(),
                _ => decision.decision.drawn(&decision.decision.slots[slot - 1]).offer_id.to_string(),
            };
            let revises = match self.users.random_bool(0.4) {
                true => format!("outcome-{}", self.users.random_range(0..4)),
                false => String::new(),
            };
            let id = format!("outcome-{}", self.users.random_range(0..4));
            Subject::Outcome(outcome(&id, &offer_id, f64::from(self.users.random_range(0..2_u8)), revises))
        };
        self.report(&decision.id.to_string(), subject).await;
    }
}

fn outcome(outcome_id: &str, offer_id: &str, value: f64, revises_outcome_id: String) -> OutcomeReport {
    OutcomeReport {
        outcome_id: outcome_id.to_owned(),
        offer_id: offer_id.to_owned(),
        metric: "conversion".to_owned(),
        value,
        currency: String::new(),
        occurred_at: Ok(None),
        revises_outcome_id,
    }
}
