//! Decision records to bytes and back.

use super::{
    DecodeError,
    columns::{decode_arms, decode_slots, encode_arms, encode_slots},
    decision_id::DecisionId,
    record::{DecisionRecord, Flag},
    unit_codec,
};
use crate::{
    engine::{
        context::AttributeValue,
        decide::Decision,
        instant::Instant,
        unit::state::{UnitState, UnitView},
        user::UserState,
    },
    proto,
};
use std::sync::Arc;

const WHAT: &str = "decision record";

pub(super) fn missing(field: &'static str) -> DecodeError {
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
        attributes: record.attributes.iter().map(|(name, value)| encode_attribute(name, value)).collect(),
        group: proto::Group::Decisioning.into(),
        posterior_version: Some((&record.version).into()),
        arms: Some(encode_arms(&decision.arms)),
        exclusions: decision.exclusions.iter().map(Into::into).collect(),
        slots: encode_slots(&decision.slots),
        tail: decision.tail.iter().map(|&arm| arm as u32).collect(),
        flags: record.flags.iter().map(|&flag| proto::Flag::from(flag).into()).collect(),
        snapshot_age_ms: record.snapshot_age_ms,
        candidates: record.candidates.iter().map(ToString::to_string).collect(),
        slots_requested: record.slots_requested,
        include_tail: record.include_tail,
        shown_assumed: record.shown_assumed,
        user_state: Some(encode_user(&record.user)),
        root_decision_id: decision.root.map(Vec::from).unwrap_or_default(),
        lease_until_ms: decision.lease_until.map(Instant::as_ms),
        personalised: decision.personalised,
        neutral_context: decision.neutral_context,
    }
}

pub(super) fn decode_decision(record: proto::DecisionRecord) -> Result<DecisionRecord, DecodeError> {
    let flag = |flag: &i32| {
        proto::Flag::try_from(*flag).ok().and_then(|flag| Flag::try_from(flag).ok()).ok_or_else(|| missing("flags"))
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
        user: decode_user(record.user_state.ok_or_else(|| missing("user_state"))?)?,
        attributes: record.attributes.into_iter().map(decode_attribute).collect::<Result<_, _>>()?,
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

fn encode_user(user: &UserState) -> proto::UserStateRecord {
    proto::UserStateRecord {
        trial_used: user.trial_used,
        current_plan: user.current_plan.as_deref().unwrap_or_default().to_owned(),
        lapsed_at_ms: user.lapsed_at.map(Instant::as_ms),
        unit_state: (user.unit.state != UnitState::default()).then(|| unit_codec::row(&user.unit.state)),
        limits: proto::LimitsMode::from(user.unit.limits).into(),
    }
}

fn decode_user(user: proto::UserStateRecord) -> Result<UserState, DecodeError> {
    let limits = proto::LimitsMode::try_from(user.limits).map_err(|_| missing("user_state.limits"))?;
    let state = user.unit_state.map(unit_codec::state).transpose()?.unwrap_or_default();
    Ok(UserState {
        unit: UnitView { state, limits: limits.into() },
        trial_used: user.trial_used,
        current_plan: (!user.current_plan.is_empty()).then(|| user.current_plan.into()),
        lapsed_at: user.lapsed_at_ms.map(Instant::from_ms),
    })
}

fn encode_attribute(name: &str, value: &AttributeValue) -> proto::AttributeRecord {
    use proto::attribute_record::Value;
    let value = match value {
        AttributeValue::Number(number) => Value::Number(*number),
        AttributeValue::Category(word) => Value::Category(word.to_string()),
        AttributeValue::Boolean(truth) => Value::Boolean(*truth),
    };
    proto::AttributeRecord { name: name.to_owned(), value: Some(value) }
}

fn decode_attribute(record: proto::AttributeRecord) -> Result<(Arc<str>, AttributeValue), DecodeError> {
    use proto::attribute_record::Value;
    let value = match record.value.ok_or_else(|| missing("attributes"))? {
        Value::Number(number) => AttributeValue::Number(number),
        Value::Category(word) => AttributeValue::Category(word.into()),
        Value::Boolean(truth) => AttributeValue::Boolean(truth),
    };
    Ok((record.name.into(), value))
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
        }
    }
}
