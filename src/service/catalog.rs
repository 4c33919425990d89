//! The catalog: the store is the truth, a file seeds an empty one, and what is applied serves once it is learned.

use super::{
    Result, Service, ServiceError, Settings, Violation,
    assembly::{Learning, Revision},
    backlog::Backlog,
    kept_catalogs::KeptCatalogs,
    meters::ReportMeters,
    outage::Outages,
    pseudonym::Pseudonyms,
    refresh::{LEARNED_AHEAD, new_models},
    serving::Serving,
    validate,
};
use crate::{
    catalog::{self, Warning},
    clock::Clock,
    engine::{
        catalog::{Catalog, MetricKind},
        instant::Instant,
    },
    log::{DecodeError, identity::Seals},
    proto,
    store::{Store, StoreError, StoredCatalog},
};
use arc_swap::ArcSwap;
use prost::Message as _;
use std::sync::{Arc, atomic::AtomicI64};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Longest reason for a change in bytes.
const REASON_BYTES_MAX: usize = 1000;
/// How often a change is tried while other instances change the catalog too; the first attempt only learns ahead.
const APPLY_ATTEMPTS: usize = 6;

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

/// A stored catalog as the API shows it.
///
/// # Errors
/// Where it does not decode.
pub fn to_json(stored: &StoredCatalog) -> Result<serde_json::Value> {
    let message = proto::Catalog::decode(stored.catalog.as_slice())
        .map_err(|source| DecodeError::Encoding { what: "catalog", source })?;
    Ok(proto::shown::to_json("Catalog", &message))
}

impl Service {
    /// Opens a service on a store; what takes long will run on the runtime that this is called on. `seed` becomes
    /// revision 1 of a store without a catalog; a store that has one keeps it.
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
        let mut learning = Learning::new(clock.clone());
        let serving = learning.assembly(&*store, None, false).build(Revision::decode(stored)?).await?;
        let service = Self {
            pseudonyms: Pseudonyms::new(&store.identity().hash_key),
            seals: Seals::new(&store.identity().hash_key),
            store,
            clock,
            settings,
            refreshed_at_ms: AtomicI64::new(now.as_ms()),
            learning: tokio::sync::Mutex::new(learning),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            background: Handle::current(),
            catalogs: KeptCatalogs::default(),
            backlog: Backlog::new(settings.backlog_max),
            spool: None,
            outages: Outages::default(),
            stray_reports: ReportMeters::of(""),
            serving: ArcSwap::from_pointee(serving),
        };
        let serving = service.serving();
        service.catalogs.keep(serving.stored.revision, &serving.catalog);
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

    /// Checks a catalog and, unless only that is asked for, makes it the one that serves. What has begun is brought to
    /// its end although the caller goes away.
    ///
    /// # Errors
    /// All mistakes at once; an etag that is no longer current.
    pub async fn apply_catalog(self: &Arc<Self>, application: Application) -> Result<Applied> {
        let service = self.clone();
        self.in_background(async move { service.apply(application).await }).await
    }

    /// Cuts off what still runs for callers that went away, and waits until it is gone. Nothing is lost: a catalog
    /// that is not stored yet was never acknowledged, and one that is serves after the next start.
    pub async fn finish(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.learning.lock().await.learner.leases.resign(&*self.store).await {
            tracing::warn!(error.message = %error, "others learn on only when the leases of this instance end");
        }
    }

    async fn apply(&self, application: Application) -> Result<Applied> {
        let mut violations = Vec::new();
        validate::length("reason", &application.reason, 0, REASON_BYTES_MAX, &mut violations);
        match catalog::validate(&application.catalog) {
            Ok((engine, mut warnings)) if violations.is_empty() => {
                warnings.extend(catalog::ended(&application.catalog, &engine, self.clock.now()));
                let applied = self.apply_checked(application, &engine, warnings).await;
                self.learning.lock().await.learner.prepared.clear();
                applied
            }
            checked => {
                violations.extend(checked.err().unwrap_or_default());
                Err(ServiceError::Invalid { violations })
            }
        }
    }

    async fn apply_checked(
        &self,
        application: Application,
        engine: &Catalog,
        warnings: Vec<Warning>,
    ) -> Result<Applied> {
        let etag = catalog::etag(&application.catalog);
        let mut ahead = false;
        for _ in 0..APPLY_ATTEMPTS {
            let mut learning = self.learning.lock().await;
            self.catch_up(&mut learning).await?;
            let serving = self.serving();
            self.check_what_is_logged(&application.catalog, engine, &serving).await?;
            if !application.etag.is_empty() && application.etag != serving.etag {
                return Err(ServiceError::EtagMismatch { given: application.etag, current: serving.etag.clone() });
            }
            let mut warnings = warnings.clone();
            warnings.extend(forgotten_units(&application.catalog, engine, &serving));
            if application.validate_only || etag == serving.etag {
                return Ok(Applied { revision: serving.stored.revision, etag, warnings });
            }
            if !std::mem::replace(&mut ahead, true) {
                drop(learning);
                self.learn_ahead(engine, &serving).await?;
                continue;
            }
            let revision = Revision::decode(self.next_revision(&serving, &application)?)?;
            // A new model is folded from the start of its log before anybody, the store included, is told of it.
            let fresh = learning.assembly(&*self.store, Some(&serving), true).build(revision).await?;
            if self.store.append_catalog((*fresh.stored).clone()).await? {
                let revision = fresh.stored.revision;
                self.swap(fresh);
                return Ok(Applied { revision, etag, warnings });
            }
            // Another instance was first: its catalog is what this one would replace.
        }
        Err(StoreError::Unavailable { reason: "the catalog is being changed by others all the time".to_owned() }.into())
    }

    fn next_revision(&self, serving: &Serving, application: &Application) -> Result<StoredCatalog> {
        Ok(StoredCatalog {
            revision: serving.stored.revision + 1,
            applied_at: self.clock.now(),
            reason: application.reason.clone(),
            placement_numbers: number_placements(&serving.stored.placement_numbers, &application.catalog)?,
            catalog: application.catalog.encode_to_vec(),
        })
    }

    /// Folds most of what new models have to learn, letting refreshes through between portions: a long log must not
    /// make what is served grow stale.
    async fn learn_ahead(&self, catalog: &Catalog, serving: &Serving) -> Result<()> {
        let ends = self.store.log_ends().await?;
        for (placement, model_id, number) in new_models(catalog, serving) {
            for &(log, end) in ends.iter().filter(|(log, _)| log.placement == number) {
                let mut offset = 0;
                while offset < end {
                    let learner = &mut self.learning.lock().await.learner;
                    learner.prepared.insert(model_id.clone());
                    let portion = end.min(offset + LEARNED_AHEAD);
                    offset = learner.learn(&*self.store, (placement, &model_id), (log, portion), None).await?.offset;
                }
            }
        }
        Ok(())
    }

    /// The newest revision of the store, where that is not the one that serves.
    pub(super) async fn newer_revision(&self, serving: &Serving) -> Result<Option<Revision>> {
        // Revisions have no gaps: asking for the next one reads nothing where there is none.
        if self.store.catalog(Some(serving.stored.revision + 1)).await?.is_none() {
            return Ok(None);
        }
        self.store.catalog(None).await?.map(Revision::decode).transpose()
    }

    /// Serves what another instance has applied.
    async fn catch_up(&self, learning: &mut Learning) -> Result<()> {
        let serving = self.serving();
        if let Some(revision) = self.newer_revision(&serving).await? {
            let fresh = learning.assembly(&*self.store, Some(&serving), false).build(revision).await?;
            self.swap(fresh);
        }
        Ok(())
    }

    /// Refuses what would give numbers in the log another meaning: totals in two currencies or of two kinds have no sum.
    async fn check_what_is_logged(&self, catalog: &proto::Catalog, engine: &Catalog, serving: &Serving) -> Result<()> {
        let mut violations = Vec::new();
        let logged = serving.catalog.reward_currency.code();
        if catalog.reward_currency != logged {
            let description = format!(
                "is \"{}\", must stay \"{logged}\": that is what the log counts money in, and what was learned from it",
                catalog.reward_currency
            );
            violations.push(Violation::new("reward_currency", description));
        }
        for (index, metric) in catalog.metrics.iter().enumerate() {
            let (Some(kind), Some(logged)) =
                (engine.metrics.get(metric.id.as_str()), self.logged_kind(&metric.id, serving).await?)
            else {
                continue;
            };
            if *kind != logged {
                let description = format!(
                    "is {}, must stay {}: that is what values of {} in the log are; give another metric another id",
                    kind.name(),
                    logged.name(),
                    metric.id
                );
                violations.push(Violation::new(&format!("metrics[{index}].kind"), description));
            }
        }
        if violations.is_empty() || self.store.log_ends().await?.is_empty() {
            return Ok(());
        }
        Err(ServiceError::Invalid { violations })
    }

    /// What a metric was when a catalog last had it.
    async fn logged_kind(&self, metric: &str, serving: &Serving) -> Result<Option<MetricKind>> {
        if let Some(kind) = serving.catalog.metrics.get(metric) {
            return Ok(Some(*kind));
        }
        // Only for metrics that are added: rare enough to go through all earlier revisions.
        for revision in (1..serving.stored.revision).rev() {
            match self.catalog_at(revision).await {
                Ok(catalog) => match catalog.metrics.get(metric) {
                    Some(kind) => return Ok(Some(*kind)),
                    None => continue,
                },
                Err(error) if error.is_transient() => return Err(error),
                // A revision that cannot be read any more must not stand in the way of every later one.
                Err(_) => {}
            }
        }
        Ok(None)
    }

    pub(super) fn swap(&self, serving: Serving) {
        self.catalogs.keep(serving.stored.revision, &serving.catalog);
        self.serving.store(Arc::new(serving));
    }
}

/// Warns of placements that do not keep what they promised: whose units are looked for in other partitions from now on,
/// and which look at no lease any more.
fn forgotten_units<'a>(
    declared: &'a proto::Catalog,
    engine: &'a Catalog,
    serving: &'a Serving,
) -> impl Iterator<Item = Warning> + use<'a> {
    let both = |(index, placement): (usize, &proto::Placement)| {
        let after = engine.placements.get(placement.id.as_str())?;
        let before = &serving.placements.get(placement.id.as_str())?.snapshot.placement;
        Some((index, before, after))
    };
    (0..).zip(&declared.placements).filter_map(both).flat_map(|(index, before, after)| {
        let moves = before.partitions != after.partitions && before.unit_rules.keep_anything();
        let moves = moves.then(|| Warning {
            field: format!("placements[{index}].partitions"),
            description: format!(
                "was {} and is {}: most units go to another partition, where nothing is known of their leases, counts and \
                 cool-downs; they begin anew",
                before.partitions, after.partitions
            ),
        });
        let lease_s = before.unit_rules.lease.as_ref().map_or(0, |lease| lease.lease_s);
        let breaks = lease_s > 0 && after.unit_rules.lease.is_none();
        let breaks = breaks.then(|| Warning {
            field: format!("placements[{index}].lease_s"),
            description: format!(
                "was {lease_s} and is missing: prices that units were told rise at once; with lease_s: 0 for {lease_s} \
                 seconds there are no new leases, and those that stand are kept"
            ),
        });
        moves.into_iter().chain(breaks)
    })
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
