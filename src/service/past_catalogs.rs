//! The catalogs that logged decisions were made from, each decoded once.

use super::{Result, assembly::Revision, log_source::LogSource};
use crate::engine::catalog::Catalog;
use std::{collections::BTreeMap, sync::Arc};

/// Catalog revisions of a source of logs.
pub struct PastCatalogs<'a, Source: ?Sized> {
    source: &'a Source,
    /// `None`: it is not there, or this release does not accept it any more.
    known: BTreeMap<u64, Option<Arc<Catalog>>>,
}

impl<'a, Source: LogSource + ?Sized> PastCatalogs<'a, Source> {
    /// None decoded yet.
    #[must_use]
    pub fn of(source: &'a Source) -> Self {
        Self { source, known: BTreeMap::new() }
    }

    /// A revision; `None` where it is not there, or where this release does not accept it any more.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub async fn at(&mut self, revision: u64) -> Result<Option<Arc<Catalog>>> {
        if let Some(known) = self.known.get(&revision) {
            return Ok(known.clone());
        }
        let stored = self.source.catalog(Some(revision)).await?;
        let catalog = stored.and_then(|stored| Revision::decode(stored).ok()).map(|revision| revision.catalog);
        self.known.insert(revision, catalog.clone());
        Ok(catalog)
    }
}
