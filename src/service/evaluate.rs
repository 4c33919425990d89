//! Evaluating a candidate on a log: for every logged decision, what the candidate would have drawn from, and what was
//! earned by what was shown, in the lead or in all slots.
//!
//! Rows are those of decisions that drew their own offers (roots of leases) and whose windows have closed. What the
//! candidate believes where a decision was made is what its model learns from the log up to what the decision itself had
//! learned: that looks back only, so no row's weight knows its own reward, and it is how the candidate would have stood
//! had it been learning beside what served. Or it is the candidate's priors, for a policy that stays as it is.

use super::{
    Result, ServiceError,
    contexts::values,
    earned::{Earned, earned},
    log_source::{LogSource, record_at},
    past_catalogs::PastCatalogs,
    refold::Refold,
    served::Served,
};
use crate::{
    catalog::model_id,
    engine::{
        catalog::{Catalog, Placement},
        group::Group,
        learn::PartitionStatistics,
        odds::Odds,
        snapshot::{PlacementSnapshot, PosteriorVersion},
    },
    log::{
        identity::Identity,
        record::{DecisionRecord, LogRecord},
    },
    replay::{
        redecide::{Curves, Logged, Told, odds_by_snapshot},
        slates::{
            drawn::{DrawnSlate, slate},
            untold::Untold,
        },
        support::groups::{Divided, Division},
        target::{Arms, Drawn, odds, row},
    },
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

/// Which slots' reward is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Slots {
    /// The lead's.
    Lead,
    /// That of all slots together.
    All,
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
    /// Which slots' reward is estimated.
    pub slots: Slots,
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
    /// Units by the group that they were in, for each division of units that catalogs declared: in the whole log, and where
    /// it has several, under each revision of the catalog alone.
    #[serde(skip)]
    pub divisions: Vec<Division>,
}

impl Evaluated {
    /// Decisions that made no row because their windows were open.
    #[must_use]
    pub fn open_windows(&self) -> u64 {
        self.left_out.get(OPEN).copied().unwrap_or(0)
    }
}

/// Why a decision that is too young makes no row.
const OPEN: &str = "its windows have not closed";

struct Evaluation<'a, Source: ?Sized> {
    source: &'a Source,
    candidate: &'a Candidate,
    catalogs: PastCatalogs<'a, Source>,
    refold: Refold<'a, Source>,
    served: Served<'a, Source>,
    /// The candidate where the last decision was made.
    snapshot: Option<PlacementSnapshot>,
    arms: Arms,
    curves: Curves,
    divided: Divided,
    /// The same by revision.
    by_revision: BTreeMap<u64, Divided>,
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
    mut take: impl FnMut(Drawn),
    mut progress: impl FnMut(u64),
) -> Result<Evaluated> {
    let logs = logs_of(source, &candidate.placement.id).await?;
    let mut evaluation = Evaluation {
        source,
        candidate,
        catalogs: PastCatalogs::of(source),
        refold: Refold::of(source, &logs),
        served: Served::of(source, &logs),
        snapshot: None,
        arms: Arms::default(),
        curves: Curves::default(),
        divided: Divided::default(),
        by_revision: BTreeMap::new(),
        evaluated: Evaluated::default(),
    };
    for (log, end) in logs {
        let earned = earned((source, &mut evaluation.catalogs), candidate, (log, end), &mut progress).await?;
        evaluation.rows((log, end), &earned, (&mut take, &mut progress)).await?;
    }
    Ok(Evaluated { divisions: evaluation.divisions(), ..evaluation.evaluated })
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
    async fn rows(
        &mut self,
        (log, end): (LogId, u64),
        earned: &BTreeMap<u64, Earned>,
        (take, progress): (&mut impl FnMut(Drawn), &mut impl FnMut(u64)),
    ) -> Result<()> {
        let mut offset = 0;
        while offset < end {
            let records = self.source.read_before(log, offset, end).await?;
            let mut decisions = Vec::new();
            for (offset, bytes) in (offset..).zip(&records) {
                if let LogRecord::Decision(record) = record_at(log, offset, bytes)? {
                    decisions.push((offset, record));
                }
            }
            self.source.open(log, &mut decisions).await?;
            for (offset, record) in &decisions {
                self.evaluated.decisions += 1;
                match self.drawn(record, earned.get(offset)).await? {
                    Ok(drawn) => {
                        self.evaluated.rows += 1;
                        self.evaluated.slots_max = self.evaluated.slots_max.max(record.decision.slots.len());
                        take(drawn);
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
    async fn drawn(&mut self, record: &DecisionRecord, earned: Option<&Earned>) -> Result<Result<Drawn, &'static str>> {
        let catalog = self.catalogs.at(record.catalog_revision).await?;
        let logged = catalog.as_ref().and_then(|catalog| Some((catalog, catalog.placements.get(&record.placement)?)));
        if let (Some(identity), Some((_, placement))) = (&record.identity, logged) {
            let of_revision = self.by_revision.entry(record.catalog_revision).or_default();
            for divided in [&mut self.divided, of_revision] {
                divided.count(&placement.groups, &identity.unit_key, record.group);
            }
        }
        if record.decision.root.is_some() {
            return Ok(Err("stands for an earlier decision, because its lease stood"));
        }
        if record.group == Group::Holdout {
            return Ok(Err("is of the holdout, which draws nothing"));
        }
        let Some(Earned { slots: earned, closed: true }) = earned else {
            return Ok(Err(OPEN));
        };
        let Some(identity) = &record.identity else {
            return Ok(Err("it cannot be told any more whom it was made for, and so who was eligible"));
        };
        let Some(attributes) = values(&self.candidate.placement.context, &identity.attributes) else {
            return Ok(Err("lacks an attribute that the candidate requires"));
        };
        self.candidate_at(&record.version).await?;
        let Some(snapshot) = &self.snapshot else { return Ok(Err("the log does not reach what had been learned")) };
        let all = logged.filter(|_| self.candidate.slots == Slots::All);
        let served = match all.filter(|(_, placement)| placement.slot_feature_count() > 0) {
            Some(made_from) => Some(self.served.at(made_from, record).await?),
            None => None,
        };
        let candidate = odds(snapshot, (record, identity), attributes);
        let Some(mut drawn) = row((record, identity), &candidate, earned, &mut self.arms) else {
            return Ok(Err("had nothing to show"));
        };
        if self.candidate.slots == Slots::All {
            let made_by = MadeBy { logged, served, curves: &mut self.curves };
            let slate = made_by.slate((record, identity), earned, &candidate, &mut self.arms);
            drawn.slate = Some(Box::new(slate));
        }
        Ok(Ok(drawn))
    }

    fn divisions(&self) -> Vec<Division> {
        let several = self.by_revision.iter().filter(|_| self.by_revision.len() > 1);
        let of_revision = several.map(|(revision, divided)| (format!("under revision {revision}"), divided));
        let all = std::iter::once(("of the log".to_owned(), &self.divided)).chain(of_revision);
        all.flat_map(|(of, divided)| divided.divisions(&of).collect::<Vec<_>>()).collect()
    }

    /// Makes the candidate as it stood at a version of what served, if that can be told.
    async fn candidate_at(&mut self, served: &PosteriorVersion) -> Result<()> {
        let Candidate { catalog, placement, belief, .. } = self.candidate;
        let offsets = match belief {
            Belief::Log => served.offsets.clone(),
            Belief::Prior => Vec::new(),
        };
        let current = self.snapshot.as_ref().is_some_and(|snapshot| snapshot.version.offsets == offsets);
        if !current {
            self.snapshot = match self.refold.at(placement, &offsets).await? {
                Some(statistics) => Some(build((catalog, placement), offsets, &statistics)?),
                None => None,
            };
        }
        Ok(())
    }
}

/// What is known of how a decision was made.
struct MadeBy<'a> {
    /// The catalog and the placement.
    logged: Option<(&'a Arc<Catalog>, &'a Arc<Placement>)>,
    /// Where slots have scores of their own, what had been learned, or why there is no telling.
    served: Option<std::result::Result<&'a PlacementSnapshot, &'static str>>,
    curves: &'a mut Curves,
}

impl MadeBy<'_> {
    fn slate(
        self,
        made_for: (&DecisionRecord, &Identity),
        earned: &[f64],
        candidate: &Odds<'_, PlacementSnapshot>,
        arms: &mut Arms,
    ) -> DrawnSlate {
        let (record, identity) = made_for;
        match self {
            Self { logged: None, .. } => {
                let untold = Err::<&Odds<'_, PlacementSnapshot>, _>(Untold::NoCatalog);
                slate(made_for, earned, untold, candidate, arms)
            }
            Self { logged: Some(_), served: Some(served), .. } => {
                let served = served.map_err(|reason| Untold::ScoresOfSlots { reason });
                let logging = served.and_then(|served| odds_by_snapshot(record, identity, served));
                slate(made_for, earned, logging.as_ref().map_err(|untold| *untold), candidate, arms)
            }
            Self { logged: Some((catalog, placement)), served: None, curves } => {
                let logged = Logged { record, catalog, placement };
                let told = Told::of(logged, curves);
                let logging = told.odds(logged, identity);
                slate(made_for, earned, logging.as_ref().map_err(|untold| *untold), candidate, arms)
            }
        }
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
