//! What Rank reads: one immutable set of snapshots, swapped as a whole.

use super::{Result, Service, ServiceError, meters::PlacementMeters, placement::Standings};
use crate::{
    engine::{catalog::Catalog, instant::Instant, learn::PartitionStatistics, snapshot::PlacementSnapshot},
    store::{LogId, StoredCatalog},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};
use tokio::sync::OnceCell;

/// A catalog revision with everything learned about its placements.
#[derive(Debug)]
pub struct Serving {
    /// As stored.
    pub stored: Arc<StoredCatalog>,
    /// Identifies the content of the catalog.
    pub etag: String,
    /// The catalog.
    pub catalog: Arc<Catalog>,
    /// By placement id.
    pub placements: BTreeMap<Arc<str>, Arc<ServedPlacement>>,
    /// Placements that do not learn: what they serve is the last that they learned, or their prior.
    pub failing: BTreeSet<Arc<str>>,
}

/// A placement as it is served.
#[derive(Debug)]
pub struct ServedPlacement {
    /// The number that its decision ids carry.
    pub number: u16,
    /// What deciding reads.
    pub snapshot: PlacementSnapshot,
    /// Identifies how its context schema encodes attributes.
    pub schema: u64,
    /// The statistics behind the snapshot, by partition.
    pub statistics: Vec<PartitionStatistics>,
    /// How its arms stand, once somebody has asked.
    pub standings: OnceCell<Arc<Standings>>,
    /// What is counted here.
    pub meters: Arc<PlacementMeters>,
}

impl ServedPlacement {
    /// The log of one of its partitions.
    #[must_use]
    pub fn log(&self, partition: u16) -> LogId {
        LogId { placement: self.number, partition }
    }
}

impl Serving {
    /// Whether a placement with this log is served by this model.
    #[must_use]
    pub fn has_model(&self, model_id: &str, log: LogId) -> bool {
        self.placement_of(log).is_some_and(|served| *served.snapshot.version.model_id == *model_id)
    }

    /// The placement that a log belongs to; `None` where it has left the catalog.
    #[must_use]
    pub fn placement_of(&self, log: LogId) -> Option<&Arc<ServedPlacement>> {
        self.placements.values().find(|served| served.number == log.placement)
    }

    /// A placement by id.
    ///
    /// # Errors
    /// Where there is none, with the ones that there are.
    pub fn placement(&self, placement: &str) -> Result<&Arc<ServedPlacement>> {
        self.placements.get(placement).ok_or_else(|| ServiceError::PlacementNotFound {
            placement: placement.to_owned(),
            known: self.placements.keys().map(|id| &**id).collect::<Vec<_>>().join(", "),
        })
    }
}

impl Service {
    /// What is served now.
    #[must_use]
    pub fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// Milliseconds since what is served was known to be current.
    #[must_use]
    pub fn snapshot_age_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.as_ms().saturating_sub(self.refreshed_at_ms.load(Ordering::Relaxed))).unwrap_or(0)
    }

    /// Whether what is served is older than the limit.
    #[must_use]
    pub fn is_stale(&self, now: Instant) -> bool {
        self.snapshot_age_ms(now) > self.settings.snapshot_max_age_ms
    }
}
