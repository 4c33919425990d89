//! Warnings about bounds that what can be shown in a market, or on a platform there, leaves no way to keep.
//!
//! Serving gives up the least important of them in every decision there. That all of them hold where everything can be
//! shown is checked before.

use super::{
    bounds::{conflict, names},
    shown,
};
use crate::{
    catalog::path::Path,
    engine::catalog::{Catalog, Market, Placement},
    proto,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most markets that one warning names.
const MARKETS_SHOWN_MAX: usize = 5;

/// Warns of every placement's bounds that cannot all be kept in a market.
pub(super) fn warn_of_bounds(declared: &proto::Catalog, catalog: &Catalog, warn: &mut impl FnMut(Path, String)) {
    for (index, placement) in declared.placements.iter().enumerate() {
        let path = Path::default().field("placements").index(index).field("bounds");
        let Some(placement) = catalog.placements.get(placement.id.as_str()) else { continue };
        let mut conflicts = Conflicts { catalog, placement, known: BTreeMap::new(), found: BTreeMap::new() };
        let bounds = &placement.bounds;
        let capped = placement.arms.iter().any(|arm| arm.cap < 1.0);
        // Floors and one band hold wherever they hold at all.
        if capped || !bounds.totals.is_empty() || bounds.bands.len() > 1 {
            catalog.markets.values().for_each(|market| conflicts.look_at(market));
        }
        for (names, places) in conflicts.found {
            let shown: Vec<&str> = places.iter().take(MARKETS_SHOWN_MAX).map(String::as_str).collect();
            let more = if places.len() > shown.len() { ", and so on" } else { "" };
            let description = format!(
                "cannot all be kept in {}{more}, by what can be shown there: {names}; one of them is given up in every \
                 decision there, so loosen it, or show more offers there",
                shown.join(", ")
            );
            warn(path.clone(), description);
        }
    }
}

/// Bounds of one placement that contradict each other.
struct Conflicts<'a> {
    catalog: &'a Catalog,
    placement: &'a Placement,
    /// Their names, by the arms that can be shown.
    known: BTreeMap<Vec<usize>, Option<String>>,
    /// Where, by their names.
    found: BTreeMap<String, Vec<String>>,
}

impl Conflicts<'_> {
    fn look_at(&mut self, market: &Market) {
        let shown = self.shown(market, None);
        if let Some(names) = self.among(shown) {
            self.found.entry(names).or_default().push(format!("market {}", market.id));
            return;
        }
        for platform in self.platforms() {
            let shown = self.shown(market, Some(&platform));
            if let Some(names) = self.among(shown) {
                self.found.entry(names).or_default().push(format!("market {} on {platform}", market.id));
            }
        }
    }

    /// The platforms that offers of the placement name.
    fn platforms(&self) -> BTreeSet<String> {
        self.placement.arms.iter().flat_map(|arm| arm.offer.platforms.iter().cloned()).collect()
    }

    /// The arms that can be shown in a market, to somebody, at some time.
    fn shown(&self, market: &Market, platform: Option<&str>) -> Vec<usize> {
        let arms = 0..self.placement.arms.len();
        arms.filter(|&arm| shown::can_be_shown(self.catalog, (self.placement, arm), market, platform)).collect()
    }

    /// What contradicts each other among these arms. Where there is none, there is nothing to bound.
    fn among(&mut self, arms: Vec<usize>) -> Option<String> {
        if arms.is_empty() {
            return None;
        }
        if let Some(known) = self.known.get(&arms) {
            return known.clone();
        }
        let of = |&arm: &usize| {
            let arm = &self.placement.arms[arm];
            (arm.floor, arm.cap, arm.sets)
        };
        let bounds = &self.placement.bounds;
        let names =
            conflict(&arms.iter().map(of).collect::<Vec<_>>(), bounds).map(|found| names(&found, bounds).join(", "));
        self.known.insert(arms, names.clone());
        names
    }
}
