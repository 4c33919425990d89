//! Whether calls should be sent here, and why not.

use crate::service::{Service, meters::Staleness};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

/// What probes are told, from before the service has started until after it has stopped.
#[derive(Default)]
pub struct Probes {
    service: OnceLock<Arc<Service>>,
    draining: AtomicBool,
}

/// Why calls should not be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// The log is being learned, or the store opened.
    #[error("starting")]
    Starting,
    /// Told to stop.
    #[error("draining")]
    Draining,
    /// What is served is too old.
    #[error("stale: what is served is {} ms old, at most {} ms are allowed", .0.age_ms, .0.max_age_ms)]
    Stale(Staleness),
}

impl Probes {
    /// The service has started and its port is open.
    pub fn started(&self, service: Arc<Service>) {
        // A service starts once.
        let _ = self.service.set(service);
    }

    /// The server was told to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether calls should be sent here.
    ///
    /// # Errors
    /// Why not.
    pub fn readiness(&self) -> Result<(), Unready> {
        let service = self.service.get().ok_or(Unready::Starting)?;
        if self.draining.load(Ordering::Relaxed) {
            return Err(Unready::Draining);
        }
        service.staleness().map_or(Ok(()), |staleness| Err(Unready::Stale(staleness)))
    }

    /// Tells the gauges what serves, where something does.
    pub(super) fn tell_snapshot(&self) {
        if let Some(service) = self.service.get() {
            service.tell_snapshot();
        }
    }
}
