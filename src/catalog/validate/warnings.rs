//! What a valid catalog says that its author probably did not mean.

use super::{kept, platforms, shown};
use crate::{
    catalog::{path::Path, problem::Warning},
    engine::catalog::{Catalog, OfferKind, Placement, Selection},
    proto,
};
use std::sync::Arc;

/// Smallest share that floors should leave to the policy.
const POLICY_SHARE_MIN: f64 = 0.1;

/// Looks at a catalog that passed every check.
pub(super) fn warnings(declared: &proto::Catalog, catalog: &Catalog) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |path: Path, description: String| {
        warnings.push(Warning { field: path.to_string(), description });
    };
    warn_of_unused(declared, catalog, &mut warn);
    platforms::warn_of_platforms(declared, catalog, &mut warn);
    for (index, placement) in declared.placements.iter().enumerate() {
        let path = Path::default().field("placements").index(index);
        if let Some(placement) = catalog.placements.get(placement.id.as_str()) {
            warn_of_placement(&path, placement, &mut warn);
        }
    }
    kept::warn_of_bounds(declared, catalog, &mut warn);
    shown::warn_of_hidden(declared, catalog, &mut warnings);
    warnings
}

fn warn_of_unused(declared: &proto::Catalog, catalog: &Catalog, warn: &mut impl FnMut(Path, String)) {
    let root = Path::default();
    for (index, market) in declared.markets.iter().enumerate() {
        let priced = catalog.offers.values().any(|offer| offer.prices.contains_key(market.id.as_str()));
        if !priced {
            let description = format!("no offer has a price in market {:?}: only offers of kind NONE show", market.id);
            warn(root.field("markets").index(index), description);
        }
    }
    for (index, metric) in declared.metrics.iter().enumerate() {
        let used = |placement: &Arc<Placement>| {
            let rules = &placement.unit_rules;
            placement.reward.terms.iter().any(|term| *term.metric == metric.id)
                || rules.cool_downs.iter().any(|cool_down| *cool_down.metric == metric.id)
                || rules.lease.iter().flat_map(|lease| &lease.ends_on).any(|id| **id == metric.id)
        };
        let known = catalog.history.as_ref().is_some_and(|history| history.look_at(&metric.id));
        if !known && !catalog.placements.values().any(used) {
            let description = format!("no reward uses metric {:?}: it is recorded, but not learned from", metric.id);
            warn(root.field("metrics").index(index), description);
        }
    }
    for (index, rule) in declared.rules.iter().enumerate() {
        if !catalog.placements.values().flat_map(|placement| &placement.rules).any(|known| *known.id == rule.id) {
            let description = format!("rule {:?} is about no offer of any placement: it excludes nothing", rule.id);
            warn(root.field("rules").index(index), description);
        }
    }
    for (index, offer) in declared.offers.iter().enumerate() {
        let used = catalog.placements.values().any(|placement| placement.arm_index(&offer.id).is_some());
        if !used {
            warn(root.field("offers").index(index), format!("no placement uses offer {:?}: it never shows", offer.id));
        }
    }
}

fn warn_of_placement(path: &Path, placement: &Placement, warn: &mut impl FnMut(Path, String)) {
    if !placement.arms.iter().any(|arm| arm.offer.kind == OfferKind::None) {
        let description = "has no offer of kind NONE: nobody will be able to tell what its offers add to showing \
            nothing";
        warn(path.field("offers"), description.to_owned());
    }
    let floors: f64 = placement.arms.iter().map(|arm| arm.floor).sum();
    let percent = |share: f64| libm::round(share * 1000.0) / 10.0;
    match &placement.policy.selection {
        Selection::Fixed(order) => {
            let first = order.first().map_or(0.0, |&index| placement.arms[index].floor);
            if floors > first {
                let moved = percent(floors - first);
                let description = format!("has floors, which take {moved} % from the first offer of the fixed order");
                warn(path.field("bounds"), description);
            }
        }
        // Floors and uniform shares want the same.
        Selection::Uniform => {}
        Selection::Thompson | Selection::EpsilonGreedy(_) | Selection::Merit(_) => {
            if 1.0 - floors < POLICY_SHARE_MIN {
                let (given, left) = (percent(floors), percent(1.0 - floors).max(0.0));
                let description =
                    format!("has floors that give away {given} %: only {left} % is left for the policy to decide");
                warn(path.field("bounds"), description);
            }
        }
    }
}
