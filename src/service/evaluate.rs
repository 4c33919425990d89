//! Evaluating a candidate on a log: for every logged decision, what the candidate would have drawn from, and what the
//! lead that was shown earned.
//!
//! Rows are the leads of decisions that drew their own offers (roots of leases) and whose windows have closed. What the
//! candidate believes where a decision was made is what its model learns from the log up to what the decision itself had
//! learned: that looks back only, so no row's weight knows its own reward, and it is how the candidate would have stood
//! had it been learning beside what served. Or it is the candidate's priors, for a policy that stays as it is.

use super::{
    Result, ServiceError, contexts::values, log_source::LogSource, past_catalogs::PastCatalogs, refold::Refold,
};
use crate::{
    catalog::model_id,
    engine::{
        catalog::{Catalog, Placement, Reward},
        group::Group,
        learn::PartitionStatistics,
        ledger::LedgerState,
        snapshot::{PlacementSnapshot, PosteriorVersion},
    },
    log::record::{DecisionRecord, LogRecord},
    replay::target::{Arms, Drawn, lead_probabilities, row},
    store::LogId,
};
use std::{collections::BTreeMap, sync::Arc};

/// What a candidate believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Belief {
    /// What its model learns from the log before each decision.
    Log,
    /// Its priors.
    Prior,
}

/// Whose definition of the reward counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardBy {
    /// The candidate's.
    Candidate,
    /// That of the catalog which made the decision.
    Logged,
}

/// A candidate to evaluate.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its catalog.
    pub catalog: Arc<Catalog>,
    /// The placement, there and in the log.
    pub placement: Arc<Placement>,
    /// What it believes.
    pub belief: Belief,
    /// Whose definition of the reward counts.
    pub reward: RewardBy,
}

/// What became of a log's decisions.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Evaluated {
    /// Decisions of the placement.
    pub decisions: u64,
    /// Rows that they made.
    pub rows: u64,
    /// Those that made none, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
    /// The most slots that one of the rows' decisions filled.
    pub slots_max: usize,
}

/// What decisions earned, by partition and offset: the reward as far as is known, and whether it is final.
type Rewards = BTreeMap<(u16, u64), (f64, bool)>;

struct Evaluation<'a, Source: ?Sized> {
    source: &'a Source,
    candidate: &'a Candidate,
    catalogs: PastCatalogs<'a, Source>,
    refold: Refold<'a, Source>,
    /// The candidate where the last decision was made.
    snapshot: Option<PlacementSnapshot>,
    arms: Arms,
    /// Numbers of the models that served.
    groups: BTreeMap<(Group, Arc<str>), u32>,
    evaluated: Evaluated,
}

/// Evaluates a candidate: `take` gets every row, in the order of the log, partition by partition; `progress` is told of
/// records read.
///
/// # Errors
/// Where the log has no such placement, and where it cannot be read.
pub async fn evaluate<Source: LogSource + ?Sized>(
    source: &Source,
    candidate: &Candidate,
    mut take: impl FnMut(&Drawn),
    mut progress: impl FnMut(u64),
) -> Result<Evaluated> {
    let logs = logs_of(source, &candidate.placement.id).await?;
    let mut evaluation = Evaluation {
        source,
        candidate,
        catalogs: PastCatalogs::of(source),
        refold: Refold::of(source, &logs),
        snapshot: None,
        arms: Arms::default(),
        groups: BTreeMap::new(),
        evaluated: Evaluated::default(),
    };
    for (log, end) in logs {
        let rewards = evaluation.rewards((log, end), &mut progress).await?;
        evaluation.rows((log, end), &rewards, (&mut take, &mut progress)).await?;
    }
    Ok(evaluation.evaluated)
}

/// The logs of a placement, with their ends.
async fn logs_of<Source: LogSource + ?Sized>(source: &Source, placement: &str) -> Result<Vec<(LogId, u64)>> {
    let newest = source.catalog(None).await?.ok_or(ServiceError::NoCatalog)?;
    let number = super::assembly::number_of(&newest, placement).ok_or_else(|| ServiceError::PlacementNotFound {
        placement: placement.to_owned(),
        known: newest.placement_numbers.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", "),
    })?;
    Ok(source.log_ends().await?.into_iter().filter(|(log, _)| log.placement == number).collect())
}

impl<Source: LogSource + ?Sized> Evaluation<'_, Source> {
    /// What every decision of a log earned with its lead.
    async fn rewards(&mut self, (log, end): (LogId, u64), progress: &mut impl FnMut(u64)) -> Result<Rewards> {
        let mut rewards = Rewards::new();
        // By the catalog that made a decision, its revision; changes of a ledger do not tell it.
        let mut revisions: BTreeMap<u64, u64> = BTreeMap::new();
        let mut offset = 0;
        while offset < end {
            let records = self.source.read_before(log, offset, end).await?;
            for bytes in &records {
                let (place, revision, state) = match LogRecord::decode(bytes)? {
                    LogRecord::Decision(decision) => {
                        revisions.insert(offset, decision.catalog_revision);
                        (offset, decision.catalog_revision, decision.first_state())
                    }
                    LogRecord::Ledger(change) => {
                        let place = change.decision_offset;
                        (place, revisions.get(&place).copied().unwrap_or_default(), change.after)
                    }
                };
                let reward = self.reward_of(revision, &state).await?;
                rewards.insert((log.partition, place), (reward.unwrap_or_default(), state.closed));
                offset += 1;
            }
            progress(records.len() as u64);
        }
        Ok(rewards)
    }

    async fn reward_of(&mut self, revision: u64, state: &LedgerState) -> Result<Option<f64>> {
        let placement = &self.candidate.placement;
        let of = |reward: &Reward| reward.of_slot(state, 0);
        Ok(match self.candidate.reward {
            RewardBy::Candidate => of(&placement.reward),
            RewardBy::Logged => {
                let catalog = self.catalogs.at(revision).await?;
                let logged = catalog.as_ref().and_then(|catalog| catalog.placements.get(&placement.id));
                logged.and_then(|logged| of(&logged.reward))
            }
        })
    }

    async fn rows(
        &mut self,
        (log, end): (LogId, u64),
        rewards: &Rewards,
        (take, progress): (&mut impl FnMut(&Drawn), &mut impl FnMut(u64)),
    ) -> Result<()> {
        let mut offset = 0;
        while offset < end {
            let records = self.source.read_before(log, offset, end).await?;
            let mut decisions = Vec::new();
            for (offset, bytes) in (offset..).zip(&records) {
                if let LogRecord::Decision(record) = LogRecord::decode(bytes)? {
                    decisions.push((offset, record));
                }
            }
            self.source.open(log, &mut decisions).await?;
            for (offset, record) in &decisions {
                self.evaluated.decisions += 1;
                match self.drawn(record, rewards.get(&(log.partition, *offset))).await? {
                    Ok(drawn) => {
                        self.evaluated.rows += 1;
                        self.evaluated.slots_max = self.evaluated.slots_max.max(record.decision.slots.len());
                        take(&drawn);
                    }
                    Err(reason) => *self.evaluated.left_out.entry(reason).or_default() += 1,
                }
            }
            offset += records.len() as u64;
            progress(records.len() as u64);
        }
        Ok(())
    }

    /// The row of a decision, or why it makes none.
    async fn drawn(
        &mut self,
        record: &DecisionRecord,
        earned: Option<&(f64, bool)>,
    ) -> Result<Result<Drawn, &'static str>> {
        if record.decision.root.is_some() {
            return Ok(Err("stands for an earlier decision, because its lease stood"));
        }
        if record.group == Group::Holdout {
            return Ok(Err("is of the holdout, which draws nothing"));
        }
        let Some(&(reward, true)) = earned else { return Ok(Err("its windows have not closed")) };
        let Some(identity) = &record.identity else {
            return Ok(Err("it cannot be told any more whom it was made for, and so who was eligible"));
        };
        let Some(attributes) = values(&self.candidate.placement.context, &identity.attributes) else {
            return Ok(Err("lacks an attribute that the candidate requires"));
        };
        let Some(snapshot) = self.candidate_at(&record.version).await? else {
            return Ok(Err("the log does not reach what had been learned"));
        };
        let target = lead_probabilities(snapshot, (record, identity), attributes);
        let next = self.groups.len() as u32;
        let group = *self.groups.entry((record.group, record.version.model_id.clone())).or_insert(next);
        let drawn = row((record, identity), (&target, reward), (&mut self.arms, group));
        Ok(drawn.ok_or("had nothing to show"))
    }

    /// The candidate as it stood at a version of what served.
    async fn candidate_at(&mut self, served: &PosteriorVersion) -> Result<Option<&PlacementSnapshot>> {
        let Candidate { catalog, placement, belief, .. } = self.candidate;
        let offsets = match belief {
            Belief::Log => served.offsets.clone(),
            Belief::Prior => Vec::new(),
        };
        let current = self.snapshot.as_ref().is_some_and(|snapshot| snapshot.version.offsets == offsets);
        if !current {
            let Some(statistics) = self.refold.at(placement, &offsets).await? else { return Ok(None) };
            self.snapshot = Some(build((catalog, placement), offsets, &statistics)?);
        }
        Ok(self.snapshot.as_ref())
    }
}

fn build(
    (catalog, placement): (&Arc<Catalog>, &Arc<Placement>),
    offsets: Vec<u64>,
    statistics: &[PartitionStatistics],
) -> Result<PlacementSnapshot> {
    let model_id = model_id(placement, catalog.reward_currency).into();
    let version = PosteriorVersion { model_id, offsets };
    PlacementSnapshot::build((catalog.clone(), 0), placement.clone(), version, statistics).map_err(|error| {
        ServiceError::Inconsistent { reason: format!("what the log teaches the candidate makes no posterior: {error}") }
    })
}
