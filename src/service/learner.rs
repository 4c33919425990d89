//! The learner folds logs into statistics and commits them with the offset they reach.

use super::{Result, ServiceError, contexts::Lessons};
use crate::{
    clock::{Clock, SystemClock, random_bytes},
    engine::{catalog::Placement, learn::PartitionStatistics},
    log::{record::LogRecord, statistics_codec},
    store::{CommitOutcome, Leadership, LogId, StatisticsCommit, Store},
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Records folded between two commits.
const BATCH: usize = 1000;

/// How long leading lasts unless it is extended, in milliseconds. Not at all: whoever asks last leads, and its token
/// fences the one before.
const LEASE_MS: u64 = 0;

/// What has been learned, and the tokens that allow committing it.
pub struct Learner {
    clock: Arc<dyn Clock>,
    /// Tells this learner from all others.
    holder: [u8; 16],
    learned: BTreeMap<(Arc<str>, LogId), Learned>,
    tokens: BTreeMap<LogId, u64>,
}

/// Statistics of one model in one log, as committed.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// The statistics.
    pub statistics: PartitionStatistics,
    /// How many records of the log are folded in.
    pub offset: u64,
}

// By hand, because a clock is a trait object.
impl fmt::Debug for Learner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learner").field("holder", &self.holder).field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl Learner {
    /// A learner that has learned nothing yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        // Not from the service's clock: who learns must not change what is drawn next.
        let holder = random_bytes(&SystemClock);
        Self { clock, holder, learned: BTreeMap::new(), tokens: BTreeMap::new() }
    }

    /// Folds everything that a log holds into a model's statistics and commits them.
    ///
    /// # Errors
    /// Where the store is away, holds what cannot be, or another learner has taken over; what was committed stands.
    pub async fn learn(
        &mut self,
        store: &dyn Store,
        (placement, model_id): (&Placement, &Arc<str>),
        log: LogId,
        end: u64,
    ) -> Result<&Learned> {
        let key = (model_id.clone(), log);
        let mut learned = match self.learned.remove(&key) {
            Some(learned) => learned,
            None => load(store, placement, model_id, log).await?,
        };
        if learned.offset > end && !reaches(store, log, learned.offset).await? {
            let token = self.token(store, log).await?;
            learned = rebuild(store, model_id, (log, token)).await.inspect_err(|_| {
                self.tokens.remove(&log);
            })?;
        }
        while learned.offset < end {
            let token = self.token(store, log).await?;
            // On failure the half-folded state is dropped, and the next call loads what was committed last.
            learned = advance(store, (placement, model_id), (log, token), learned).await.inspect_err(|_| {
                self.tokens.remove(&log);
            })?;
        }
        Ok(self.learned.entry(key).or_insert(learned))
    }

    /// Forgets what is kept in memory of models that are not asked for any more; the store keeps all of it.
    pub fn retain(&mut self, asked_for: impl Fn(&str, LogId) -> bool) {
        self.learned.retain(|(model_id, log), _| asked_for(model_id, *log));
    }

    async fn token(&mut self, store: &dyn Store, log: LogId) -> Result<u64> {
        if let Some(&token) = self.tokens.get(&log) {
            return Ok(token);
        }
        match store.lead(log, self.holder, self.clock.now(), LEASE_MS).await? {
            Leadership::Leads { token } => Ok(*self.tokens.entry(log).or_insert(token)),
            Leadership::Follows { .. } => Err(taken_over("every model", log)),
        }
    }
}

/// Whether a log holds the record before this offset. The end that a caller knows may be older than what another
/// learner has folded since, so only the log itself can say that it has lost something.
async fn reaches(store: &dyn Store, log: LogId, offset: u64) -> Result<bool> {
    Ok(offset == 0 || !store.read_log(log, offset - 1, 1).await?.is_empty())
}

/// Takes back what a model has learned from a log that lost its tail: which of it the lost records taught cannot be
/// told, so the log is folded again from its start.
async fn rebuild(store: &dyn Store, model_id: &str, (log, token): (LogId, u64)) -> Result<Learned> {
    let stored = store.statistics(model_id, log).await?;
    tracing::warn!(
        model.id = model_id,
        log.placement = log.placement,
        log.partition = log.partition,
        log.offset = stored.offset,
        "the log ends before what was learned from it; it is learned again from the start"
    );
    let learned = Learned::default();
    let commit = StatisticsCommit {
        model_id: model_id.to_owned(),
        log,
        from_offset: stored.offset,
        offset: learned.offset,
        token,
        shared: statistics_codec::encode_shared(&learned.statistics),
        // A commit keeps the arms that it is not given.
        arms: stored.arms.into_iter().map(|(arm, _)| (arm, statistics_codec::NO_ARM)).collect(),
    };
    commit_to(store, commit).await?;
    Ok(learned)
}

async fn commit_to(store: &dyn Store, commit: StatisticsCommit) -> Result<()> {
    let (model_id, log) = (commit.model_id.clone(), commit.log);
    match store.commit_statistics(commit).await? {
        CommitOutcome::Committed => Ok(()),
        CommitOutcome::Fenced => Err(taken_over(&format!("model {model_id}"), log)),
    }
}

fn taken_over(what: &str, log: LogId) -> ServiceError {
    ServiceError::Inconsistent { reason: format!("another learner has taken over {what} in {log:?}") }
}

async fn load(store: &dyn Store, placement: &Placement, model_id: &str, log: LogId) -> Result<Learned> {
    let stored = store.statistics(model_id, log).await?;
    Ok(Learned { statistics: statistics_codec::decode(&stored, placement.feature_count())?, offset: stored.offset })
}

/// Folds and commits one batch.
async fn advance(
    store: &dyn Store,
    (placement, model_id): (&Placement, &str),
    (log, token): (LogId, u64),
    mut learned: Learned,
) -> Result<Learned> {
    let from_offset = learned.offset;
    let records = store.read_log(log, from_offset, BATCH).await?;
    if records.is_empty() {
        let reason = format!("{log:?} ends at {from_offset}, before the end that the store tells");
        return Err(ServiceError::Inconsistent { reason });
    }
    let records = records.iter().map(|bytes| LogRecord::decode(bytes)).collect::<Result<Vec<_>, _>>()?;
    let lessons = Lessons::of(store, placement, (log, from_offset), &records).await?;
    let changed = lessons.fold(&mut learned.statistics);
    learned.offset += records.len() as u64;
    if !learned.statistics.is_finite() {
        // Without the offset reached: it moves with the log, and what fails the same way is said once.
        let reason = format!("statistics of model {model_id} in {log:?} are not finite after offset {from_offset}");
        return Err(ServiceError::Inconsistent { reason });
    }
    let arms = changed.into_iter().filter_map(|offer_id| {
        let arm = learned.statistics.arms.get(&offer_id)?;
        Some((offer_id.to_string(), statistics_codec::encode_arm(arm)))
    });
    let commit = StatisticsCommit {
        model_id: model_id.to_owned(),
        log,
        from_offset,
        offset: learned.offset,
        token,
        shared: statistics_codec::encode_shared(&learned.statistics),
        arms: arms.collect(),
    };
    commit_to(store, commit).await?;
    Ok(learned)
}
