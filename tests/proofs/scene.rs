//! Catalogs and learned snapshots for tests that call the engine directly.

use offer_ranker::{
    catalog,
    engine::{
        catalog::{Catalog, Placement},
        context::{AttributeKind, AttributeValue},
        decide::RankRequest,
        instant::Instant,
        learn::{Change, PartitionStatistics},
        ledger::{LedgerState, SlotState},
        snapshot::{PlacementSnapshot, PosteriorVersion},
    },
};
use rand::{RngExt as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeMap, sync::Arc};

/// When everything happens that happens at one moment: 2026-11-20T00:00:00Z.
pub(crate) const NOW: Instant = Instant::from_ms(1_795_132_800_000);

/// The only placement of a catalog file.
pub(crate) fn placement(yaml: &str) -> (Arc<Catalog>, Arc<Placement>) {
    let catalog = catalog::check("catalog.yaml", yaml).unwrap_or_else(|problems| panic!("{problems}")).catalog;
    let placement = catalog.placements.values().next().unwrap().clone();
    (Arc::new(catalog), placement)
}

/// What is served with these statistics of one partition.
pub(crate) fn snapshot(catalog: &Arc<Catalog>, learned: &PartitionStatistics) -> PlacementSnapshot {
    let placement = catalog.placements.values().next().unwrap().clone();
    let version = PosteriorVersion { model_id: "model".into(), offsets: vec![0] };
    PlacementSnapshot::build((catalog.clone(), 1), placement, version, std::slice::from_ref(learned)).unwrap()
}

/// A request for all slots and offers in Sweden.
pub(crate) fn request(placement: &Placement, attributes: Vec<AttributeValue>) -> RankRequest {
    RankRequest {
        market: Some("SE".into()),
        platform: "web".to_owned(),
        attributes,
        candidates: Vec::new(),
        slots: placement.slots,
        include_tail: false,
    }
}

/// Values that the placement's schema accepts.
pub(crate) fn attributes(placement: &Placement, rng: &mut ChaCha8Rng) -> Vec<AttributeValue> {
    let value = |kind: &AttributeKind, rng: &mut ChaCha8Rng| match kind {
        &AttributeKind::Number { min, max, .. } => AttributeValue::Number(rng.random_range(min..=max)),
        AttributeKind::Category { values, .. } => AttributeValue::Category(values.choose(rng).unwrap().clone()),
        AttributeKind::Boolean => AttributeValue::Boolean(rng.random()),
    };
    placement.context.attributes.iter().map(|attribute| value(&attribute.kind, rng)).collect()
}

/// What one slot adds up to that was shown, with one outcome of one metric.
pub(crate) fn shown(offer_id: &Arc<str>, metric: &str, value: f64) -> LedgerState {
    let slot =
        SlotState { offer_id: offer_id.clone(), shown: true, totals: BTreeMap::from([(metric.to_owned(), value)]) };
    LedgerState { slots: vec![slot], ..LedgerState::default() }
}

/// Statistics of arms that were shown `times` each on average, each arm with a rate of conversions of its own.
pub(crate) fn learned(placement: &Placement, times: u32, rng: &mut ChaCha8Rng) -> PartitionStatistics {
    let mut statistics = PartitionStatistics::default();
    for arm in &placement.arms {
        let rate: f64 = rng.random_range(0.1..0.5);
        for _ in 0..rng.random_range(times / 2..=times * 3 / 2) {
            let context = match placement.feature_count() {
                1 => vec![1.0],
                _ => placement.context.encode(&attributes(placement, rng)),
            };
            let after = shown(&arm.offer.id, "conversion", f64::from(u8::from(rng.random_bool(rate))));
            let change = Change { decided_at: NOW, before: None, after: &after, context: &context, holdout: false };
            statistics.fold(placement, &change);
        }
    }
    statistics
}
