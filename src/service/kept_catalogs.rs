//! Decoded catalogs of earlier revisions: decisions made under them are read and reported on for months.

use crate::engine::catalog::Catalog;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Catalogs kept decoded.
const KEPT_MAX: usize = 32;

/// The catalogs that were asked for last, by revision.
#[derive(Debug, Default)]
pub(super) struct KeptCatalogs(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_revision: BTreeMap<u64, (Arc<Catalog>, u64)>,
    /// Counts uses: the smallest number is the longest unused.
    uses: u64,
}

impl KeptCatalogs {
    /// A catalog, if it is kept.
    pub(super) fn get(&self, revision: u64) -> Option<Arc<Catalog>> {
        let mut kept = self.lock();
        kept.uses += 1;
        let uses = kept.uses;
        let (catalog, used) = kept.by_revision.get_mut(&revision)?;
        *used = uses;
        Some(catalog.clone())
    }

    /// Keeps a catalog, and lets go of those that were not asked for the longest.
    pub(super) fn keep(&self, revision: u64, catalog: &Arc<Catalog>) {
        let mut kept = self.lock();
        kept.uses += 1;
        let uses = kept.uses;
        kept.by_revision.insert(revision, (catalog.clone(), uses));
        while kept.by_revision.len() > KEPT_MAX {
            let unused = kept.by_revision.iter().min_by_key(|(_, (_, used))| *used).map(|(&revision, _)| revision);
            unused.and_then(|revision| kept.by_revision.remove(&revision));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic elsewhere cannot leave a map of immutable catalogs in a bad state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn a_revision_in_use_outlives_newer_ones_that_are_not() {
        let text = include_str!("../../examples/paywall.yaml");
        let engine = Arc::new(catalog::check("paywall.yaml", text).expect("the example is valid").catalog);
        let kept = KeptCatalogs::default();
        for revision in 1..=100 {
            kept.keep(revision, &engine);
            assert!(kept.get(1).is_some());
        }
        assert!(kept.get(2).is_none());
        assert!(kept.get(100).is_some());
    }
}
