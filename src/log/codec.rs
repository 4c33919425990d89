//! Decision records to bytes and back.

use super::{
    DecodeError, bounds_codec,
    columns::{decode_arms, decode_slots, write_arms, write_slots},
    decision_id::DecisionId,
    record::{DecisionRecord, Flag},
};
use crate::{
    engine::{
        bounds::{BandEffect, TotalBound, parity::Cohort},
        decide::Decision,
        group::Group,
        instant::Instant,
    },
    proto::{self, fields::Fields},
};

const WHAT: &str = "decision record";

pub(super) fn missing(field: &'static str) -> DecodeError {
    DecodeError::Field { what: WHAT, field }
}

/// Writes a `DecisionRecord`.
pub(super) fn write_decision(fields: &mut Fields<'_>, record: &DecisionRecord) {
    let decision = &record.decision;
    fields.bytes(1, record.id.as_bytes());
    fields.bytes(2, record.placement.as_bytes());
    fields.number(3, record.catalog_revision);
    fields.number(4, record.engine_version.into());
    fields.signed(5, record.decided_at.as_ms());
    fields.fixed(6, record.seed);
    fields.bytes(7, &record.sealed_identity);
    fields.fixed(8, record.schema);
    fields.bytes(9, record.market.as_deref().unwrap_or_default().as_bytes());
    fields.bytes(10, record.platform.as_bytes());
    fields.doubles(11, record.attribute_codes.iter().copied());
    fields.number(12, proto::Group::from(record.group) as u64);
    fields.message(13, |fields| fields.version(&record.version));
    fields.message(14, |fields| write_arms(fields, &decision.arms));
    for exclusion in &decision.exclusions {
        let reason = proto::ExclusionReason::from(exclusion.reason);
        fields.message(15, |fields| {
            fields.bytes(1, exclusion.offer_id.as_bytes());
            fields.number(2, reason as u64);
            fields.bytes(3, exclusion.rule.as_deref().unwrap_or_default().as_bytes());
        });
    }
    write_slots(fields, 16, &decision.slots, decision.arms.len());
    fields.numbers(17, decision.tail.iter().map(|&arm| arm as u64));
    fields.numbers(18, record.flags.iter().map(|&flag| proto::Flag::from(flag) as u64));
    fields.number(19, record.snapshot_age_ms);
    record.candidates.iter().for_each(|offer_id| fields.element(20, offer_id.as_bytes()));
    fields.number(21, record.slots_requested.into());
    fields.truth(22, record.include_tail);
    fields.truth(23, record.shown_assumed);
    fields.truth(25, decision.personalised);
    fields.truth(26, decision.neutral_context);
    fields.bytes(30, decision.root.as_ref().map_or(&[], |root| &root[..]));
    if let Some(lease_until) = decision.lease_until {
        fields.chosen_signed(31, lease_until.as_ms());
    }
    bounds_codec::write(fields, record);
}

pub(super) fn decode_decision(record: proto::DecisionRecord) -> Result<DecisionRecord, DecodeError> {
    let flag = |flag: &i32| {
        proto::Flag::try_from(*flag).ok().and_then(|flag| Flag::try_from(flag).ok()).ok_or_else(|| missing("flags"))
    };
    let decision = decode_outcome_of_deciding(&record)?;
    let group = proto::Group::try_from(record.group).ok().and_then(|group| Group::try_from(group).ok());
    Ok(DecisionRecord {
        id: DecisionId::from_bytes(&record.decision_id).map_err(|_| missing("decision_id"))?,
        placement: record.placement.as_str().into(),
        catalog_revision: record.catalog_revision,
        engine_version: record.engine_version,
        decided_at: Instant::from_ms(record.decided_at_ms),
        seed: record.seed,
        identity: None,
        sealed_identity: record.sealed_identity,
        market: (!record.market.is_empty()).then(|| record.market.as_str().into()),
        platform: record.platform,
        attribute_codes: record.attribute_codes,
        schema: record.schema,
        group: group.ok_or_else(|| missing("group"))?,
        candidates: record.candidates.iter().map(|offer_id| offer_id.as_str().into()).collect(),
        slots_requested: record.slots_requested,
        include_tail: record.include_tail,
        shown_assumed: record.shown_assumed,
        version: record.posterior_version.ok_or_else(|| missing("posterior_version"))?.into(),
        decision,
        totals: record.set_bounds.into_iter().map(TotalBound::from).collect(),
        cohorts: record.cohorts.into_iter().map(Cohort::from).collect(),
        flags: record.flags.iter().map(flag).collect::<Result<_, _>>()?,
        snapshot_age_ms: record.snapshot_age_ms,
    })
}

fn decode_outcome_of_deciding(record: &proto::DecisionRecord) -> Result<Decision, DecodeError> {
    let arms = decode_arms(record.arms.as_ref().ok_or_else(|| missing("arms"))?)?;
    let exclusion = |exclusion: &proto::Exclusion| exclusion.try_into().map_err(|()| missing("exclusions"));
    let index = |&arm: &u32| Some(arm as usize).filter(|&arm| arm < arms.len()).ok_or_else(|| missing("tail"));
    Ok(Decision {
        exclusions: record.exclusions.iter().map(exclusion).collect::<Result<_, _>>()?,
        slots: decode_slots(&record.slots, arms.len())?,
        tail: record.tail.iter().map(index).collect::<Result<_, _>>()?,
        root: match record.root_decision_id.as_slice() {
            [] => None,
            root => Some(*DecisionId::from_bytes(root).map_err(|_| missing("root_decision_id"))?.as_bytes()),
        },
        lease_until: record.lease_until_ms.map(Instant::from_ms),
        personalised: record.personalised,
        neutral_context: record.neutral_context,
        bands: record.bands.iter().map(BandEffect::from).collect(),
        arms,
    })
}

impl From<Flag> for proto::Flag {
    fn from(flag: Flag) -> Self {
        match flag {
            Flag::Stale => Self::Stale,
            Flag::AttributeClipped => Self::AttributeClipped,
            Flag::Degraded => Self::Degraded,
            Flag::NotLogged => Self::NotLogged,
            Flag::Leased => Self::Leased,
            Flag::StateUnknown => Self::StateUnknown,
            Flag::PersonalisedPrices => Self::PersonalisedPrices,
            Flag::NeutralContext => Self::NeutralContext,
            Flag::BoundsRelaxed => Self::BoundsRelaxed,
        }
    }
}

impl TryFrom<proto::Flag> for Flag {
    type Error = ();

    fn try_from(flag: proto::Flag) -> Result<Self, ()> {
        match flag {
            proto::Flag::Unspecified => Err(()),
            proto::Flag::Stale => Ok(Self::Stale),
            proto::Flag::AttributeClipped => Ok(Self::AttributeClipped),
            proto::Flag::Degraded => Ok(Self::Degraded),
            proto::Flag::NotLogged => Ok(Self::NotLogged),
            proto::Flag::Leased => Ok(Self::Leased),
            proto::Flag::StateUnknown => Ok(Self::StateUnknown),
            proto::Flag::PersonalisedPrices => Ok(Self::PersonalisedPrices),
            proto::Flag::NeutralContext => Ok(Self::NeutralContext),
            proto::Flag::BoundsRelaxed => Ok(Self::BoundsRelaxed),
        }
    }
}
