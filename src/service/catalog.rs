//! The catalog: the store is the truth, a file seeds an empty one, and what is applied serves once it is learned.

use super::{
    Result, Service, ServiceError, Settings, Violation,
    learner::Learner,
    pseudonym::Pseudonyms,
    serving::{ServedPlacement, Serving},
    validate,
};
use crate::{
    catalog::{self, Warning},
    clock::Clock,
    engine::{
        catalog::{Catalog, Placement},
        instant::Instant,
        learn::PartitionStatistics,
        snapshot::{PlacementSnapshot, PosteriorVersion},
    },
    log::DecodeError,
    proto,
    store::{LogId, Store, StoreError, StoredCatalog},
};
use arc_swap::ArcSwap;
use prost::Message as _;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

/// Longest reason for a change in bytes.
const REASON_BYTES_MAX: usize = 1000;
/// Decisions of one log closed in one refresh; the rest follow in the next.
const CLOSED_PER_REFRESH: usize = 1000;

/// A change to the catalog.
#[derive(Clone, Debug)]
pub struct Application {
    /// The whole catalog.
    pub catalog: proto::Catalog,
    /// The etag of what it replaces; empty: whatever serves.
    pub etag: String,
    /// Only check.
    pub validate_only: bool,
    /// Why.
    pub reason: String,
}

/// What became of a change to the catalog.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Number of the revision that serves.
    pub revision: u64,
    /// Identifies the content that was checked.
    pub etag: String,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Warning>,
}

/// The message and the engine's image of a stored catalog.
///
/// # Errors
/// Where it does not decode or no longer passes the checks it passed when it was stored.
pub fn decode(stored: &StoredCatalog) -> Result<(proto::Catalog, Catalog)> {
    let message = proto::Catalog::decode(stored.catalog.as_slice())
        .map_err(|source| DecodeError::Encoding { what: "catalog", source })?;
    let (engine, _) = catalog::validate(&message).map_err(|violations| ServiceError::Inconsistent {
        reason: format!("catalog revision {} is not valid: {}", stored.revision, super::list(&violations)),
    })?;
    Ok((message, engine))
}

impl Service {
    /// Opens a service on a store. `seed` becomes revision 1 of a store without a catalog; a store that has one
    /// keeps it.
    ///
    /// # Errors
    /// Where there is no catalog at all, the seed is not valid, or the store is away.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        seed: Option<(proto::Catalog, String)>,
    ) -> Result<Self> {
        let now = clock.now();
        let stored = match (store.catalog(None).await?, seed) {
            (Some(stored), _) => stored,
            (None, Some((catalog, reason))) => plant(&*store, catalog, reason, now).await?,
            (None, None) => return Err(ServiceError::NoCatalog),
        };
        let mut learner = Learner::default();
        let serving = serve(&*store, &mut learner, stored, None).await?;
        let service = Self {
            pseudonyms: Pseudonyms::new(&store.identity().hash_key),
            store,
            clock,
            settings,
            refreshed_at_ms: AtomicI64::new(now.as_ms()),
            learner: tokio::sync::Mutex::new(learner),
            catalogs: Mutex::new(BTreeMap::new()),
            serving: ArcSwap::from_pointee(serving),
        };
        let serving = service.serving();
        service.keep_catalog(serving.stored.revision, &serving.catalog);
        Ok(service)
    }

    /// A catalog by revision, or the one that serves.
    ///
    /// # Errors
    /// Where there is no such revision.
    pub async fn stored_catalog(&self, revision: u64) -> Result<Arc<StoredCatalog>> {
        let serving = self.serving();
        if revision == 0 || revision == serving.stored.revision {
            return Ok(serving.stored.clone());
        }
        let stored = self.store.catalog(Some(revision)).await?;
        stored.map(Arc::new).ok_or(ServiceError::RevisionNotFound { revision, newest: serving.stored.revision })
    }

    /// Checks a catalog and, unless only that is asked for, makes it the one that serves.
    ///
    /// # Errors
    /// All mistakes at once; an etag that is no longer current.
    pub async fn apply_catalog(&self, application: Application) -> Result<Applied> {
        let mut violations = Vec::new();
        validate::length("reason", &application.reason, 0, REASON_BYTES_MAX, &mut violations);
        let warnings = match catalog::validate(&application.catalog) {
            Ok((_, warnings)) if violations.is_empty() => warnings,
            checked => {
                violations.extend(checked.err().unwrap_or_default());
                return Err(ServiceError::Invalid { violations });
            }
        };
        let etag = catalog::etag(&application.catalog);
        let mut learner = self.learner.lock().await;
        let serving = self.serving();
        self.check_reward_currency(&application.catalog, &serving).await?;
        let mismatch = || ServiceError::EtagMismatch { given: application.etag.clone(), current: serving.etag.clone() };
        if !application.etag.is_empty() && application.etag != serving.etag {
            return Err(mismatch());
        }
        if application.validate_only || etag == serving.etag {
            return Ok(Applied { revision: serving.stored.revision, etag, warnings });
        }
        let stored = StoredCatalog {
            revision: serving.stored.revision + 1,
            applied_at: self.clock.now(),
            reason: application.reason.clone(),
            placement_numbers: number_placements(&serving.stored.placement_numbers, &application.catalog)?,
            catalog: application.catalog.encode_to_vec(),
        };
        if !self.store.append_catalog(stored.clone()).await? {
            return Err(mismatch());
        }
        // A new model is folded from the start of its log before it serves.
        self.swap(serve(&*self.store, &mut learner, stored, None).await?);
        Ok(Applied { revision: self.serving().stored.revision, etag, warnings })
    }

    /// Money in the log was converted to the reward currency of its time: totals in two currencies have no sum.
    async fn check_reward_currency(&self, catalog: &proto::Catalog, serving: &Serving) -> Result<()> {
        let logged = serving.catalog.reward_currency.code();
        if catalog.reward_currency == logged || self.store.log_ends().await?.is_empty() {
            return Ok(());
        }
        let description = format!(
            "is \"{}\", must stay \"{logged}\": that is what the log counts money in, and what was learned from it",
            catalog.reward_currency
        );
        Err(ServiceError::Invalid { violations: vec![Violation::new("reward_currency", description)] })
    }

    /// Closes what is due, folds what is new, and swaps what is served.
    ///
    /// # Errors
    /// Where the store is away or holds what cannot be; what was served goes on being served.
    pub async fn refresh(&self) -> Result<()> {
        let mut learner = self.learner.lock().await;
        let now = self.clock.now();
        for (log, _) in self.store.log_ends().await? {
            self.close_due(log, CLOSED_PER_REFRESH).await?;
        }
        let serving = self.serving();
        let fresh = serve(&*self.store, &mut learner, (*serving.stored).clone(), Some(&serving)).await?;
        self.swap(fresh);
        self.refreshed_at_ms.store(now.as_ms(), Ordering::Relaxed);
        Ok(())
    }

    fn swap(&self, serving: Serving) {
        self.keep_catalog(serving.stored.revision, &serving.catalog);
        self.serving.store(Arc::new(serving));
    }
}

async fn plant(store: &dyn Store, catalog: proto::Catalog, reason: String, now: Instant) -> Result<StoredCatalog> {
    catalog::validate(&catalog).map_err(|violations| ServiceError::Invalid { violations })?;
    let stored = StoredCatalog {
        revision: 1,
        applied_at: now,
        reason,
        placement_numbers: number_placements(&[], &catalog)?,
        catalog: catalog.encode_to_vec(),
    };
    store.append_catalog(stored.clone()).await?;
    // Somebody else may have planted one at the same moment; the store's word counts.
    Ok(store.catalog(None).await?.unwrap_or(stored))
}

/// Numbers for placements that have none yet: the next ones, never one that was used.
fn number_placements(numbered: &[(String, u16)], catalog: &proto::Catalog) -> Result<Vec<(String, u16)>> {
    let mut numbers = numbered.to_vec();
    for placement in &catalog.placements {
        if numbers.iter().any(|(id, _)| *id == placement.id) {
            continue;
        }
        let next = u16::try_from(numbers.len()).map_err(|_| StoreError::Corrupt {
            reason: "65,536 placements have been numbered, the most that decision ids can tell apart".to_owned(),
        })?;
        numbers.push((placement.id.clone(), next));
    }
    Ok(numbers)
}

/// Learns what the logs hold and builds what is served, reusing of `earlier` what has not changed.
async fn serve(
    store: &dyn Store,
    learner: &mut Learner,
    stored: StoredCatalog,
    earlier: Option<&Serving>,
) -> Result<Serving> {
    let ends: BTreeMap<LogId, u64> = store.log_ends().await?.into_iter().collect();
    let (catalog, etag) = match earlier {
        Some(earlier) => (earlier.catalog.clone(), earlier.etag.clone()),
        None => {
            let (message, catalog) = decode(&stored)?;
            (Arc::new(catalog), catalog::etag(&message))
        }
    };
    let mut placements = BTreeMap::new();
    for (id, placement) in &catalog.placements {
        let number = stored.placement_numbers.iter().find(|(known, _)| **known == **id).map(|&(_, number)| number);
        let number = number.ok_or_else(|| ServiceError::Inconsistent {
            reason: format!("placement {id} of catalog revision {} has no number", stored.revision),
        })?;
        let before = earlier.and_then(|earlier| earlier.placements.get(id));
        let revised = (&catalog, stored.revision);
        let served = serve_placement(store, learner, revised, (placement, number), &ends, before).await?;
        placements.insert(id.clone(), served);
    }
    Ok(Serving { stored: Arc::new(stored), etag, catalog, placements })
}

async fn serve_placement(
    store: &dyn Store,
    learner: &mut Learner,
    (catalog, revision): (&Arc<Catalog>, u64),
    (placement, number): (&Arc<Placement>, u16),
    ends: &BTreeMap<LogId, u64>,
    before: Option<&Arc<ServedPlacement>>,
) -> Result<Arc<ServedPlacement>> {
    let model_id: Arc<str> = match before {
        Some(before) => before.snapshot.version.model_id.clone(),
        None => catalog::model_id(placement, catalog.reward_currency).into(),
    };
    let partitions = partition_count(placement, number, ends);
    let log = |partition| LogId { placement: number, partition };
    let end = |partition| ends.get(&log(partition)).copied().unwrap_or(0);
    let offsets: Vec<u64> = (0..partitions).map(end).collect();
    if let Some(before) = before.filter(|before| before.snapshot.version.offsets == offsets) {
        return Ok(before.clone());
    }
    let mut statistics: Vec<PartitionStatistics> = Vec::new();
    let mut folded = Vec::new();
    for partition in 0..partitions {
        let learned = learner.learn(store, (placement, &model_id), log(partition), end(partition)).await?;
        statistics.push(learned.statistics.clone());
        folded.push(learned.offset);
    }
    let version = PosteriorVersion { model_id, offsets: folded };
    let snapshot = PlacementSnapshot::build((catalog.clone(), revision), placement.clone(), version, &statistics)
        .map_err(|error| ServiceError::Inconsistent {
            reason: format!("the statistics of placement {} make no posterior: {error}", placement.id),
        })?;
    Ok(Arc::new(ServedPlacement { number, snapshot, statistics }))
}

/// The placement's partitions, and those that it once had and that still hold records.
fn partition_count(placement: &Placement, number: u16, ends: &BTreeMap<LogId, u64>) -> u16 {
    let logged = ends.keys().filter(|log| log.placement == number).map(|log| log.partition + 1).max().unwrap_or(0);
    logged.max(placement.partitions as u16)
}
