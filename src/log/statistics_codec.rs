//! Statistics to bytes and back, to the last bit.

use super::DecodeError;
use crate::{
    engine::{
        bounds::parity::{BandStatistics, Cohort, CohortStatistics},
        instant::Instant,
        learn::{ArmStatistics, PartitionStatistics},
        math::double_double::Dd,
        posterior::moments::Moments,
    },
    proto,
    store::StoredStatistics,
};
use prost::Message as _;
use std::sync::Arc;

const WHAT: &str = "row of statistics";

/// What the arms of a partition share, as it is stored.
#[must_use]
pub fn encode_shared(statistics: &PartitionStatistics) -> Vec<u8> {
    let cohort = |(cohort, found): (&Cohort, &CohortStatistics)| proto::CohortStatisticsRow {
        attribute: cohort.attribute.to_string(),
        value_key: cohort.value_key,
        bins: found.bins.clone(),
        after: found.after,
        decisions: found.seen,
    };
    let band = |(id, band): (&Arc<str>, &BandStatistics)| {
        let cohorts = band.cohorts.iter().map(cohort).collect();
        (id.to_string(), proto::BandStatisticsRow { weight: band.weight, before: band.before, cohorts })
    };
    let latest_decided_at_ms = statistics.latest_decided_at.map(Instant::as_ms);
    proto::StatisticsRow { latest_decided_at_ms, bands: statistics.bands.iter().map(band).collect() }.encode_to_vec()
}

/// One arm's statistics as they are stored.
#[must_use]
pub fn encode_arm(arm: &ArmStatistics) -> Vec<u8> {
    let exact = |sum: &Dd| {
        let (high, low) = sum.parts();
        proto::ExactSum { high, low }
    };
    proto::ArmStatisticsRow {
        shown: arm.shown,
        totals: arm.totals.iter().map(|(metric, sum)| (metric.clone(), exact(sum))).collect(),
        landmark: arm.landmark,
        features: arm.moments.features() as u32,
        moments: arm.moments.to_parts(),
    }
    .encode_to_vec()
}

/// What is stored of an arm whose statistics a rebuild took back: rows are replaced, never removed. Any arm's own row
/// has moments, so none is as empty as this.
pub const NO_ARM: Vec<u8> = Vec::new();

/// A partition's statistics from what is stored of them.
///
/// # Errors
/// Where the bytes were not written by [`encode_shared`] and [`encode_arm`] for `features` features, or a number is
/// not finite.
pub fn decode(stored: &StoredStatistics, features: usize) -> Result<PartitionStatistics, DecodeError> {
    let encoding = |source| DecodeError::Encoding { what: WHAT, source };
    let shared = proto::StatisticsRow::decode(stored.shared.as_slice()).map_err(encoding)?;
    let mut statistics = PartitionStatistics {
        latest_decided_at: shared.latest_decided_at_ms.map(Instant::from_ms),
        bands: shared.bands.into_iter().map(decode_band).collect::<Result<_, _>>()?,
        ..PartitionStatistics::default()
    };
    for (offer_id, bytes) in stored.arms.iter().filter(|(_, bytes)| *bytes != NO_ARM) {
        let row = proto::ArmStatisticsRow::decode(bytes.as_slice()).map_err(encoding)?;
        statistics.arms.insert(offer_id.as_str().into(), decode_arm(row, features)?);
    }
    Ok(statistics)
}

fn decode_band((id, row): (String, proto::BandStatisticsRow)) -> Result<(Arc<str>, BandStatistics), DecodeError> {
    let cohort = |row: proto::CohortStatisticsRow| {
        let cohort = Cohort { attribute: row.attribute.into(), value_key: row.value_key };
        (cohort, CohortStatistics { bins: row.bins, after: row.after, seen: row.decisions })
    };
    let cohorts = row.cohorts.into_iter().map(cohort).collect();
    let band = BandStatistics { weight: row.weight, before: row.before, cohorts };
    if band.is_valid() { Ok((id.into(), band)) } else { Err(DecodeError::Field { what: WHAT, field: "bands" }) }
}

fn decode_arm(row: proto::ArmStatisticsRow, features: usize) -> Result<ArmStatistics, DecodeError> {
    let missing = |field| DecodeError::Field { what: WHAT, field };
    let moments = Moments::from_parts(features, &row.moments).map_err(|_| missing("moments"))?;
    let total = |(metric, sum): (String, proto::ExactSum)| {
        let finite = sum.high.is_finite() && sum.low.is_finite();
        finite.then(|| (metric, Dd::from_parts(sum.high, sum.low))).ok_or_else(|| missing("totals"))
    };
    Ok(ArmStatistics {
        shown: row.shown,
        totals: row.totals.into_iter().map(total).collect::<Result<_, _>>()?,
        moments,
        landmark: row.landmark,
    })
}
