//! What served where decisions were made: the log folded again up to what each had learned.

use super::{Result, log_source::LogSource, refold::Refold};
use crate::{
    catalog::model_id,
    engine::{
        catalog::{Catalog, Placement},
        snapshot::{PlacementSnapshot, PosteriorVersion},
    },
    log::record::DecisionRecord,
    store::LogId,
};
use std::sync::Arc;

/// The snapshots of a placement's past, one at a time.
pub struct Served<'a, Source: ?Sized> {
    source: &'a Source,
    /// The placement's logs with their ends.
    logs: Vec<(LogId, u64)>,
    /// Of the last decision's model.
    refold: Option<(Arc<str>, Refold<'a, Source>)>,
    last: Option<Past>,
}

/// What decisions of one version were made by, or why there is no telling.
struct Past {
    version: PosteriorVersion,
    revision: u64,
    snapshot: std::result::Result<PlacementSnapshot, &'static str>,
}

impl<'a, Source: LogSource + ?Sized> Served<'a, Source> {
    /// Nothing folded yet of a placement's logs, each with its end.
    #[must_use]
    pub fn of(source: &'a Source, logs: &[(LogId, u64)]) -> Self {
        Self { source, logs: logs.to_vec(), refold: None, last: None }
    }

    /// What made a decision, of which these are the catalog and the placement; or why there is no telling. Fast where the
    /// last decision asked for was of the same version.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub async fn at(
        &mut self,
        made_from: (&Arc<Catalog>, &Arc<Placement>),
        record: &DecisionRecord,
    ) -> Result<std::result::Result<&PlacementSnapshot, &'static str>> {
        let (version, revision) = (&record.version, record.catalog_revision);
        let last = self.last.take().filter(|last| last.version == *version && last.revision == revision);
        let past = match last {
            Some(last) => last,
            None => {
                let snapshot = self.made(made_from, (version, revision)).await?;
                Past { version: version.clone(), revision, snapshot }
            }
        };
        Ok(self.last.insert(past).snapshot.as_ref().map_err(|reason| *reason))
    }

    async fn made(
        &mut self,
        (catalog, placement): (&Arc<Catalog>, &Arc<Placement>),
        (version, revision): (&PosteriorVersion, u64),
    ) -> Result<std::result::Result<PlacementSnapshot, &'static str>> {
        let PosteriorVersion { model_id: model, offsets } = version;
        if *model_id(placement, catalog.reward_currency) != **model {
            return Ok(Err("the model is not the one that this release makes of the catalog"));
        }
        let (_, folded) = match self.refold.take() {
            Some((of, folded)) if of == *model => self.refold.insert((of, folded)),
            _ => self.refold.insert((model.clone(), Refold::of(self.source, &self.logs))),
        };
        let Some(statistics) = folded.at(placement, offsets).await? else {
            return Ok(Err("the log does not reach what was learned"));
        };
        let catalog = (catalog.clone(), revision);
        let snapshot = PlacementSnapshot::build(catalog, placement.clone(), version.clone(), &statistics);
        Ok(snapshot.map_err(|_| "what the log teaches makes no posterior"))
    }
}
