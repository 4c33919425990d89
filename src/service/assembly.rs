//! Assembles what is served from a catalog and the logs, placement by placement: what ails one is its own affair.

use super::{
    Result, ServiceError,
    catalog::decode,
    learner::Learner,
    meters::PlacementMeters,
    serving::{ServedPlacement, Serving},
};
use crate::{
    catalog,
    clock::Clock,
    engine::{
        catalog::{Catalog, Placement},
        learn::PartitionStatistics,
        snapshot::{PlacementSnapshot, PosteriorVersion},
    },
    store::{LogId, Store, StoredCatalog},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::OnceCell;

/// A catalog revision, decoded.
#[derive(Debug)]
pub struct Revision {
    /// As stored.
    pub stored: Arc<StoredCatalog>,
    /// Identifies its content.
    pub etag: String,
    /// The engine's image.
    pub catalog: Arc<Catalog>,
}

/// What lasting failures there are, so that each is said once and not with every refresh.
#[derive(Debug, Default)]
pub struct Failures(BTreeMap<String, String>);

/// What learning goes on from.
#[derive(Debug)]
pub struct Learning {
    /// Folds logs.
    pub learner: Learner,
    /// What fails.
    pub failures: Failures,
}

/// Everything needed to build what is served.
pub struct Assembly<'a> {
    /// Where the logs are.
    pub store: &'a dyn Store,
    /// Folds them.
    pub learner: &'a mut Learner,
    /// Is told what fails.
    pub failures: &'a mut Failures,
    /// What is served now; what has not changed is reused.
    pub earlier: Option<&'a Serving>,
    /// Numbers of placements with windows that cannot be closed.
    pub unclosed: BTreeSet<u16>,
    /// Whether a model that cannot be learned is refused, and not served from its prior.
    pub strict: bool,
}

/// A placement to be served.
struct Wanted<'a> {
    revision: &'a Revision,
    placement: &'a Arc<Placement>,
    number: u16,
    model_id: Arc<str>,
    /// Where each partition's log ends.
    ends: Vec<u64>,
    meters: Arc<PlacementMeters>,
}

impl Revision {
    /// Decodes a stored catalog.
    ///
    /// # Errors
    /// Where it does not decode or is not valid.
    pub fn decode(stored: StoredCatalog) -> Result<Self> {
        let (message, catalog) = decode(&stored)?;
        Ok(Self { stored: Arc::new(stored), etag: catalog::etag(&message), catalog: Arc::new(catalog) })
    }

    /// The revision that is served.
    #[must_use]
    pub fn of(serving: &Serving) -> Self {
        Self { stored: serving.stored.clone(), etag: serving.etag.clone(), catalog: serving.catalog.clone() }
    }
}

impl Learning {
    /// Nothing learned and nothing failing yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { learner: Learner::new(clock), failures: Failures::default() }
    }

    /// Prepares to build what is served, for `earlier` served now.
    pub fn assembly<'a>(
        &'a mut self,
        store: &'a dyn Store,
        earlier: Option<&'a Serving>,
        strict: bool,
    ) -> Assembly<'a> {
        let Self { learner, failures } = self;
        Assembly { store, learner, failures, earlier, unclosed: BTreeSet::new(), strict }
    }
}

impl Failures {
    /// Logs what fails, unless it failed the same way before.
    pub fn fails(&mut self, what: &str, error: &ServiceError) {
        let message = error.to_string();
        if self.0.get(what) != Some(&message) {
            tracing::error!(error.message = %message, "{what} fails; what was served before, or the prior, serves on");
            self.0.insert(what.to_owned(), message);
        }
    }

    /// Logs that what failed works again.
    pub fn works(&mut self, what: &str) {
        if self.0.remove(what).is_some() {
            tracing::info!("{what} works again");
        }
    }
}

impl Assembly<'_> {
    /// Learns what the logs hold and builds what is served.
    ///
    /// # Errors
    /// Where the store is away, and of models that cannot be learned where this is strict.
    pub async fn build(mut self, revision: Revision) -> Result<Serving> {
        let ends: BTreeMap<LogId, u64> = self.store.log_ends().await?.into_iter().collect();
        let (mut placements, mut failing) = (BTreeMap::new(), BTreeSet::new());
        for (id, placement) in &revision.catalog.placements {
            let wanted = self.wanted(&revision, placement, &ends)?;
            let (served, learned) = self.serve(&wanted).await?;
            placements.insert(id.clone(), served);
            if !learned || self.unclosed.contains(&wanted.number) {
                failing.insert(id.clone());
            }
        }
        let Revision { stored, etag, catalog } = revision;
        Ok(Serving { stored, etag, catalog, placements, failing })
    }

    fn wanted<'b>(
        &self,
        revision: &'b Revision,
        placement: &'b Arc<Placement>,
        ends: &BTreeMap<LogId, u64>,
    ) -> Result<Wanted<'b>> {
        let id = &placement.id;
        let number = number_of(&revision.stored, id).ok_or_else(|| ServiceError::Inconsistent {
            reason: format!("placement {id} of catalog revision {} has no number", revision.stored.revision),
        })?;
        let before = self.before(id);
        // Finding counters costs more than counting, and snapshots come several times a second.
        let before = before.filter(|before| before.snapshot.catalog_revision == revision.stored.revision);
        let meters = before.map_or_else(|| Arc::new(PlacementMeters::of(placement)), |before| before.meters.clone());
        let model_id = match before {
            Some(before) => before.snapshot.version.model_id.clone(),
            None => catalog::model_id(placement, revision.catalog.reward_currency).into(),
        };
        let end = |partition| ends.get(&LogId { placement: number, partition }).copied().unwrap_or(0);
        let ends = (0..partition_count(placement, number, ends)).map(end).collect();
        Ok(Wanted { revision, placement, number, model_id, ends, meters })
    }

    fn before(&self, placement: &str) -> Option<&Arc<ServedPlacement>> {
        self.earlier.and_then(|earlier| earlier.placements.get(placement))
    }

    /// A placement as it is to be served, and whether that is all that could be learned.
    async fn serve(&mut self, wanted: &Wanted<'_>) -> Result<(Arc<ServedPlacement>, bool)> {
        if let Some(before) = self.unchanged(wanted) {
            return Ok((before.clone(), true));
        }
        let what = format!("learning of placement {}", wanted.placement.id);
        let logs = (0..wanted.ends.len() as u16).map(|partition| LogId { placement: wanted.number, partition });
        match self.learn(wanted).await {
            Ok(served) => {
                self.learner.leases.works(logs);
                self.failures.works(&what);
                Ok((served, true))
            }
            // What is the store's affair is everybody's.
            Err(error) if error.is_transient() => {
                let led = self.learner.leases.led();
                self.learner.leases.fails(led);
                Err(error)
            }
            Err(error) => {
                self.learner.leases.fails(logs);
                let Some(served) = self.fall_back(wanted) else { return Err(error) };
                self.failures.fails(&what, &error);
                Ok((served?, false))
            }
        }
    }

    /// What is served already and cannot be improved.
    fn unchanged(&self, wanted: &Wanted<'_>) -> Option<&Arc<ServedPlacement>> {
        let failed = self.earlier.is_some_and(|earlier| earlier.failing.contains(&wanted.placement.id));
        // Windows that cannot be closed are no reason to learn the same again.
        let retry = failed && !self.unclosed.contains(&wanted.number);
        // What was learned while another instance led is committed once this one does, though nothing is new.
        if self.learner.owes(&wanted.model_id, wanted.number) {
            return None;
        }
        self.before(&wanted.placement.id).filter(|before| {
            let PlacementSnapshot { catalog_revision, version, .. } = &before.snapshot;
            !retry && *catalog_revision == wanted.revision.stored.revision && version.offsets == wanted.ends
        })
    }

    async fn learn(&mut self, wanted: &Wanted<'_>) -> Result<Arc<ServedPlacement>> {
        let (mut statistics, mut offsets) = (Vec::new(), Vec::new());
        for (partition, &end) in (0..).zip(&wanted.ends) {
            let log = LogId { placement: wanted.number, partition };
            let model = (&**wanted.placement, &wanted.model_id);
            let learned = self.learner.learn(self.store, model, (log, end), Some(&wanted.meters.leads)).await?;
            statistics.push(learned.statistics.clone());
            offsets.push(learned.offset);
        }
        wanted.served(PosteriorVersion { model_id: wanted.model_id.clone(), offsets }, statistics)
    }

    /// What is served where learning failed: the last that was learned, or else the prior. `None` where it is refused.
    fn fall_back(&self, wanted: &Wanted<'_>) -> Option<Result<Arc<ServedPlacement>>> {
        let before =
            self.before(&wanted.placement.id).filter(|before| before.snapshot.version.model_id == wanted.model_id);
        match before {
            Some(before) if before.snapshot.catalog_revision == wanted.revision.stored.revision => {
                Some(Ok(before.clone()))
            }
            Some(before) => Some(wanted.served(before.snapshot.version.clone(), before.statistics.clone())),
            None if self.strict => None,
            None => {
                let offsets = vec![0; wanted.ends.len()];
                let statistics = vec![PartitionStatistics::default(); wanted.ends.len()];
                Some(wanted.served(PosteriorVersion { model_id: wanted.model_id.clone(), offsets }, statistics))
            }
        }
    }
}

impl Wanted<'_> {
    fn served(&self, version: PosteriorVersion, statistics: Vec<PartitionStatistics>) -> Result<Arc<ServedPlacement>> {
        let catalog = (self.revision.catalog.clone(), self.revision.stored.revision);
        let snapshot =
            PlacementSnapshot::build(catalog, self.placement.clone(), version, &statistics).map_err(|error| {
                ServiceError::Inconsistent {
                    reason: format!("the statistics of placement {} make no posterior: {error}", self.placement.id),
                }
            })?;
        let schema = catalog::schema_number(&self.placement.context);
        let (standings, meters) = (OnceCell::new(), self.meters.clone());
        Ok(Arc::new(ServedPlacement { number: self.number, snapshot, schema, statistics, standings, meters }))
    }
}

/// The number that a placement's decision ids carry.
#[must_use]
pub fn number_of(stored: &StoredCatalog, placement: &str) -> Option<u16> {
    stored.placement_numbers.iter().find(|(known, _)| known == placement).map(|&(_, number)| number)
}

/// The placement's partitions, and those that it once had and that still hold records.
fn partition_count(placement: &Placement, number: u16, ends: &BTreeMap<LogId, u64>) -> u16 {
    let logged = ends.keys().filter(|log| log.placement == number).map(|log| log.partition + 1).max().unwrap_or(0);
    logged.max(placement.partitions as u16)
}
