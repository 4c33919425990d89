//! A candidate catalog as the target of a foreign log: what it would choose, by its priors, for a user of whom nothing but
//! the log's attributes is known.

use super::{Result, ServiceError, contexts::values};
use crate::{
    catalog::model_id,
    engine::{
        catalog::{Catalog, Placement},
        decide::RankRequest,
        instant::Instant,
        odds::Odds,
        snapshot::{PlacementSnapshot, PosteriorVersion},
        user::UserState,
    },
    replay::foreign::{Choice, rows::Target},
};
use std::sync::Arc;

/// A placement of a catalog that has learned nothing.
pub struct Beginner(PlacementSnapshot);

impl Beginner {
    /// Of a placement of this catalog.
    ///
    /// # Errors
    /// Where its priors make no posterior.
    pub fn of(catalog: Arc<Catalog>, placement: Arc<Placement>) -> Result<Self> {
        let model_id = model_id(&placement, catalog.reward_currency).into();
        let version = PosteriorVersion { model_id, offsets: Vec::new() };
        let built = PlacementSnapshot::build((catalog, 0), placement, version, &[]);
        built.map(Self).map_err(|error| ServiceError::Inconsistent {
            reason: format!("the candidate's priors make no posterior: {error}"),
        })
    }
}

impl Target for Beginner {
    /// Of the offers among the actions, in the catalog's default market; `None` where an attribute is missing that the
    /// placement requires.
    fn probabilities(&self, choice: &Choice) -> Option<Vec<(Arc<str>, f64)>> {
        let Self(snapshot) = self;
        let offered = |action: &&Arc<str>| snapshot.placement.arm_index(action).is_some();
        let request = RankRequest {
            market: snapshot.catalog.default_market.clone(),
            platform: String::new(),
            attributes: values(&snapshot.placement.context, &choice.context)?,
            candidates: choice.actions.iter().filter(offered).cloned().collect(),
            slots: 1,
            include_tail: false,
        };
        let now = choice.at.unwrap_or(Instant::from_ms(0));
        let odds = Odds::of((&snapshot.catalog, &snapshot.placement, snapshot), &request, &UserState::default(), now);
        Some(odds.arms().iter().map(|arm| arm.offer_id.clone()).zip(odds.below(&[])).collect())
    }
}
