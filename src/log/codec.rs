//! Decision records to bytes and back.

use super::{
    DecodeError,
    decision_id::DecisionId,
    record::{DecisionRecord, Flag},
};
use crate::{
    engine::{
        decide::{Decision, EligibleArm, SlotArm, SlotDraw},
        instant::Instant,
    },
    proto::{self, engine_types::price},
};

const WHAT: &str = "decision record";

fn missing(field: &'static str) -> DecodeError {
    DecodeError::Field { what: WHAT, field }
}

pub(super) fn encode_decision(record: &DecisionRecord) -> proto::DecisionRecord {
    let decision = &record.decision;
    proto::DecisionRecord {
        decision_id: record.id.as_bytes().to_vec(),
        placement: record.placement.to_string(),
        catalog_revision: record.catalog_revision,
        engine_version: record.engine_version,
        decided_at_ms: record.decided_at.as_ms(),
        seed: record.seed,
        user_key: record.user_key.to_vec(),
        unit_key: record.unit_key.to_vec(),
        market: record.market.as_deref().unwrap_or_default().to_owned(),
        platform: record.platform.clone(),
        attributes: record.attributes.iter().map(|(name, value)| (name.clone(), value.into())).collect(),
        group: proto::Group::Decisioning.into(),
        posterior_version: Some((&record.version).into()),
        arms: decision.arms.iter().map(encode_arm).collect(),
        exclusions: decision.exclusions.iter().map(Into::into).collect(),
        slots: decision.slots.iter().map(encode_slot).collect(),
        tail: decision.tail.iter().map(|&arm| arm as u32).collect(),
        flags: record.flags.iter().map(|&flag| proto::Flag::from(flag).into()).collect(),
        snapshot_age_ms: record.snapshot_age_ms,
        candidates: record.candidates.iter().map(ToString::to_string).collect(),
        slots_requested: record.slots_requested,
        include_tail: record.include_tail,
        shown_assumed: record.shown_assumed,
    }
}

fn encode_arm(arm: &EligibleArm) -> proto::ArmRecord {
    proto::ArmRecord {
        offer_id: arm.offer_id.to_string(),
        floor: arm.floor,
        price: arm.price.map(|price| price.price.into()),
        list_price: arm.price.map(|price| price.list_price.into()),
        expected_reward: arm.expected_reward,
        worth: arm.worth,
        ends_slate: arm.ends_slate,
    }
}

fn encode_slot(slot: &SlotDraw) -> proto::SlotRecord {
    let arm = |arm: &SlotArm| proto::SlotArmRecord {
        arm: arm.arm as u32,
        score: Some(arm.score.into()),
        policy_probability: arm.policy_probability,
        probability: arm.probability,
    };
    proto::SlotRecord { arms: slot.arms.iter().map(arm).collect(), drawn: slot.drawn as u32, uniform: slot.uniform }
}

pub(super) fn decode_decision(record: proto::DecisionRecord) -> Result<DecisionRecord, DecodeError> {
    let flag = |flag: &i32| {
        proto::Flag::try_from(*flag).ok().and_then(|flag| Flag::try_from(flag).ok()).ok_or_else(|| missing("flags"))
    };
    let attribute = |(name, value): (String, proto::AttributeValue)| {
        Ok((name, value.try_into().map_err(|()| missing("attributes"))?))
    };
    let decision = decode_outcome_of_deciding(&record)?;
    Ok(DecisionRecord {
        id: DecisionId::from_bytes(&record.decision_id).map_err(|_| missing("decision_id"))?,
        placement: record.placement.as_str().into(),
        catalog_revision: record.catalog_revision,
        engine_version: record.engine_version,
        decided_at: Instant::from_ms(record.decided_at_ms),
        seed: record.seed,
        user_key: record.user_key.as_slice().try_into().map_err(|_| missing("user_key"))?,
        unit_key: record.unit_key.as_slice().try_into().map_err(|_| missing("unit_key"))?,
        market: (!record.market.is_empty()).then(|| record.market.as_str().into()),
        platform: record.platform,
        attributes: record.attributes.into_iter().map(attribute).collect::<Result<_, _>>()?,
        candidates: record.candidates.iter().map(|offer_id| offer_id.as_str().into()).collect(),
        slots_requested: record.slots_requested,
        include_tail: record.include_tail,
        shown_assumed: record.shown_assumed,
        version: record.posterior_version.ok_or_else(|| missing("posterior_version"))?.into(),
        decision,
        flags: record.flags.iter().map(flag).collect::<Result<_, _>>()?,
        snapshot_age_ms: record.snapshot_age_ms,
    })
}

fn decode_outcome_of_deciding(record: &proto::DecisionRecord) -> Result<Decision, DecodeError> {
    let arms = record.arms.iter().map(decode_arm).collect::<Result<Vec<_>, _>>()?;
    let exclusion = |exclusion: &proto::Exclusion| exclusion.try_into().map_err(|()| missing("exclusions"));
    let index = |&arm: &u32| Some(arm as usize).filter(|&arm| arm < arms.len()).ok_or_else(|| missing("tail"));
    Ok(Decision {
        exclusions: record.exclusions.iter().map(exclusion).collect::<Result<_, _>>()?,
        slots: record.slots.iter().map(|slot| decode_slot(slot, arms.len())).collect::<Result<_, _>>()?,
        tail: record.tail.iter().map(index).collect::<Result<_, _>>()?,
        arms,
    })
}

fn decode_arm(arm: &proto::ArmRecord) -> Result<EligibleArm, DecodeError> {
    Ok(EligibleArm {
        offer_id: arm.offer_id.as_str().into(),
        ends_slate: arm.ends_slate,
        floor: arm.floor,
        price: price(arm.price.as_ref(), arm.list_price.as_ref()).map_err(|()| missing("price"))?,
        expected_reward: arm.expected_reward,
        worth: arm.worth,
    })
}

fn decode_slot(slot: &proto::SlotRecord, arm_count: usize) -> Result<SlotDraw, DecodeError> {
    let arm = |arm: &proto::SlotArmRecord| {
        let score = arm.score.as_ref().ok_or_else(|| missing("score"))?;
        Ok(SlotArm {
            arm: Some(arm.arm as usize).filter(|&arm| arm < arm_count).ok_or_else(|| missing("arm"))?,
            score: score.try_into().map_err(|()| missing("score"))?,
            policy_probability: arm.policy_probability,
            probability: arm.probability,
        })
    };
    let arms = slot.arms.iter().map(arm).collect::<Result<Vec<_>, DecodeError>>()?;
    let drawn = Some(slot.drawn as usize).filter(|&drawn| drawn < arms.len()).ok_or_else(|| missing("drawn"))?;
    Ok(SlotDraw { arms, drawn, uniform: slot.uniform })
}

impl From<Flag> for proto::Flag {
    fn from(flag: Flag) -> Self {
        match flag {
            Flag::Stale => Self::Stale,
            Flag::AttributeClipped => Self::AttributeClipped,
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
        }
    }
}
