//! The learner folds logs into statistics and commits them with the offset they reach.

use super::{Result, ServiceError, contexts::Lessons, leadership::Leases, leads::LeadMeters};
use crate::{
    clock::Clock,
    engine::{catalog::Placement, learn::PartitionStatistics},
    log::{outline::LogOutline, statistics_codec},
    store::{CommitOutcome, LogId, StatisticsCommit, Store},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Records folded between two commits.
const BATCH: usize = 1000;

/// What has been learned, and who may commit it.
#[derive(Debug)]
pub struct Learner {
    /// Which logs this instance learns from.
    pub leases: Leases,
    learned: BTreeMap<(Arc<str>, LogId), Learned>,
    /// Models that are learned before they serve.
    pub prepared: BTreeSet<Arc<str>>,
}

/// Statistics of one model in one log.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// The statistics.
    pub statistics: PartitionStatistics,
    /// How many records of the log are folded in.
    pub offset: u64,
    /// Whether they were folded here and not committed, because another instance leads.
    ahead: bool,
    /// The token under which they are what is committed; `None`: another instance may have committed since.
    token: Option<u64>,
}

/// One model's learning from one log.
#[derive(Clone, Copy)]
struct Lecture<'a> {
    store: &'a dyn Store,
    placement: &'a Placement,
    model_id: &'a str,
    log: LogId,
    /// Where the log ends, as far as is known.
    end: u64,
    /// Whether the model is learned before it serves: then nobody else may be learning it yet.
    prepared: bool,
    /// Told of decisions that were committed as learned.
    leads: Option<&'a LeadMeters>,
}

impl Learner {
    /// A learner that has learned nothing yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { leases: Leases::new(clock), learned: BTreeMap::new(), prepared: BTreeSet::new() }
    }

    /// What a model has learned from a log: all of it where this instance leads, which folds and commits; otherwise
    /// what the leader has committed. A model that is new here, or prepared, is complete in any case: what the leader has
    /// not committed yet is folded here, too. What is committed here of a model that serves is told to `leads`.
    ///
    /// # Errors
    /// Where the store is away, or holds what cannot be; what was committed stands.
    pub async fn learn(
        &mut self,
        store: &dyn Store,
        (placement, model_id): (&Placement, &Arc<str>),
        (log, end): (LogId, u64),
        leads: Option<&LeadMeters>,
    ) -> Result<&Learned> {
        let prepared = self.prepared.contains(model_id);
        let leads = leads.filter(|_| !prepared);
        let lecture = Lecture { store, placement, model_id, log, end, prepared, leads };
        let token = self.leases.token(store, log).await?;
        let key = (model_id.clone(), log);
        // On failure the half-folded state is dropped, and the next call loads what was committed last.
        let kept = self.learned.remove(&key);
        let learned = match token {
            Some(token) => lecture.lead(kept, token, &mut self.leases).await.inspect_err(|_| self.leases.doubt(log))?,
            None => lecture.follow(kept).await?,
        };
        Ok(self.learned.entry(key).or_insert(learned))
    }

    /// Whether this instance leads in a log of a placement and has learned more there than is committed: it did so while
    /// another one led.
    #[must_use]
    pub fn owes(&self, model_id: &Arc<str>, placement: u16) -> bool {
        self.learned.iter().any(|((learned_by, log), learned)| {
            learned.ahead && log.placement == placement && learned_by == model_id && self.leases.leads(*log)
        })
    }

    /// Forgets what is kept in memory of models that are not asked for any more, nor prepared.
    pub fn retain(&mut self, asked_for: impl Fn(&str, LogId) -> bool) {
        let Self { learned, prepared, .. } = self;
        learned.retain(|(model_id, log), _| prepared.contains(model_id) || asked_for(model_id, *log));
    }
}

impl Lecture<'_> {
    /// Folds and commits to the end of the log; where another instance takes over meanwhile, folds on without
    /// committing, so that what is learned here is complete in any case.
    async fn lead(self, kept: Option<Learned>, token: u64, leases: &mut Leases) -> Result<Learned> {
        // What is known from before this lease need not be what the one before has left.
        let mut learned = match kept.filter(|kept| kept.token == Some(token)) {
            Some(learned) => learned,
            None => Learned { token: Some(token), ..self.load().await? },
        };
        if learned.offset > self.end && !self.reaches(learned.offset).await? {
            match self.rebuild(token).await? {
                Some(rebuilt) => learned = rebuilt,
                None => return self.give_way(leases).await,
            }
        }
        while learned.offset < self.end {
            // A long log takes longer than a lease lasts.
            let leads = leases.token(self.store, self.log).await? == Some(token);
            match if leads { self.advance(learned, token).await? } else { None } {
                Some(advanced) => learned = advanced,
                None => return self.give_way(leases).await,
            }
        }
        Ok(learned)
    }

    /// Goes on as one who follows.
    async fn give_way(self, leases: &mut Leases) -> Result<Learned> {
        leases.doubt(self.log);
        self.fold_ahead(self.load().await?).await
    }

    /// Takes what the leader has committed, unless what is known here reaches further.
    async fn follow(self, kept: Option<Learned>) -> Result<Learned> {
        let Some(kept) = kept else { return self.fold_ahead(self.load().await?).await };
        if kept.offset >= self.end && (kept.offset == self.end || self.reaches(kept.offset).await?) {
            return Ok(kept);
        }
        let stored = self.load().await?;
        match (stored.offset >= kept.offset, kept.ahead) {
            (true, _) if self.prepared => self.fold_ahead(stored).await,
            (true, _) => Ok(stored),
            (false, true) if kept.offset <= self.end => self.fold_ahead(kept).await,
            // The leader has taken back what a log that lost its tail had taught.
            (false, _) => self.fold_ahead(stored).await,
        }
    }

    async fn fold_ahead(self, mut learned: Learned) -> Result<Learned> {
        while learned.offset < self.end {
            let records = self.read(learned.offset).await?;
            self.fold(&mut learned, &records).await?;
            learned.ahead = true;
        }
        Ok(learned)
    }

    /// What is committed.
    async fn load(self) -> Result<Learned> {
        let stored = self.store.statistics(self.model_id, self.log).await?;
        let statistics = statistics_codec::decode(&stored, self.placement.feature_count())?;
        Ok(Learned { statistics, offset: stored.offset, ahead: false, token: None })
    }

    /// Whether the log holds the record before this offset. The end that a caller knows may be older than what another
    /// learner has folded since, so only the log itself can say that it has lost something.
    async fn reaches(self, offset: u64) -> Result<bool> {
        Ok(offset == 0 || !self.store.read_log(self.log, offset - 1, 1).await?.is_empty())
    }

    /// Takes back what a model has learned from a log that lost its tail: which of it the lost records taught cannot
    /// be told, so the log is folded again from its start.
    async fn rebuild(self, token: u64) -> Result<Option<Learned>> {
        let stored = self.store.statistics(self.model_id, self.log).await?;
        tracing::warn!(
            model.id = self.model_id,
            log.placement = self.log.placement,
            log.partition = self.log.partition,
            log.offset = stored.offset,
            "the log ends before what was learned from it; it is learned again from the start"
        );
        let learned = Learned { token: Some(token), ..Learned::default() };
        // A commit keeps the arms that it is not given.
        let arms = stored.arms.into_iter().map(|(arm, _)| (arm, statistics_codec::NO_ARM)).collect();
        let committed = self.commit(&learned, (stored.offset, token), arms).await?;
        Ok(committed.then_some(learned))
    }

    /// Folds and commits one batch; `None` where another learner has taken over.
    async fn advance(self, mut learned: Learned, token: u64) -> Result<Option<Learned>> {
        let from_offset = learned.offset;
        let records = self.read(from_offset).await?;
        let changed = self.fold(&mut learned, &records).await?;
        let arms = changed.into_iter().filter_map(|offer_id| {
            let arm = learned.statistics.arms.get(&offer_id)?;
            Some((offer_id.to_string(), statistics_codec::encode_arm(arm)))
        });
        let committed = self.commit(&learned, (from_offset, token), arms.collect()).await?;
        if let (true, Some(leads)) = (committed, self.leads) {
            leads.observe(&records);
        }
        Ok(committed.then_some(learned))
    }

    /// The records of one batch.
    async fn read(self, from_offset: u64) -> Result<Vec<LogOutline>> {
        let log = self.log;
        let records = self.store.read_log(log, from_offset, BATCH).await?;
        if records.is_empty() {
            let reason = format!("{log:?} ends at {from_offset}, before the end that the store tells");
            return Err(ServiceError::Inconsistent { reason });
        }
        Ok(LogOutline::decode_all(&records)?)
    }

    /// Folds one batch; returns the offers whose statistics changed.
    async fn fold(self, learned: &mut Learned, records: &[LogOutline]) -> Result<BTreeSet<Arc<str>>> {
        let Self { store, placement, model_id, log, .. } = self;
        let from_offset = learned.offset;
        let lessons = Lessons::of(store, placement, (log, from_offset), records).await?;
        let changed = lessons.fold(&mut learned.statistics);
        learned.offset += records.len() as u64;
        if !learned.statistics.is_finite() {
            // Without the offset reached: it moves with the log, and what fails the same way is said once.
            let reason = format!("statistics of model {model_id} in {log:?} are not finite after offset {from_offset}");
            return Err(ServiceError::Inconsistent { reason });
        }
        Ok(changed)
    }

    /// Commits; `false` where another learner has taken over.
    async fn commit(
        self,
        learned: &Learned,
        (from_offset, token): (u64, u64),
        arms: Vec<(String, Vec<u8>)>,
    ) -> Result<bool> {
        let (model_id, log) = (self.model_id, self.log);
        let shared = statistics_codec::encode_shared(&learned.statistics);
        let offset = learned.offset;
        let commit = StatisticsCommit { model_id: model_id.to_owned(), log, from_offset, offset, token, shared, arms };
        Ok(self.store.commit_statistics(commit).await? == CommitOutcome::Committed)
    }
}
