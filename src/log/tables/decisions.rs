//! Rows of the table of decisions.

use super::{Entry, Hex};
use crate::{
    engine::{
        bounds::{BandEffect, TotalBound, parity::Cohort},
        context::AttributeValue,
        decide::{Decision, EligibleArm, SlotArm, SlotDraw},
        eligibility::Exclusion,
        pmf::distribution::ScoreDistribution,
    },
    log::record::{DecisionRecord, Flag},
    proto::{self, shown::short_name},
};
use data_encoding::HEXLOWER;
use serde::Serialize;

/// A decision.
#[derive(Debug, Serialize)]
pub struct DecisionRow<'a> {
    offset: u64,
    partition: u16,
    decision_id: String,
    root_decision_id: Option<String>,
    decided_at_ms: i64,
    attribution_ends_at_ms: Option<i64>,
    closes_at_ms: Option<i64>,
    revisions_end_at_ms: Option<i64>,
    lease_until_ms: Option<i64>,
    catalog_revision: u64,
    engine_version: u32,
    model_id: &'a str,
    posterior_offsets: &'a [u64],
    snapshot_age_ms: u64,
    /// In decimal digits: it has more of them than a double, and one bit more than a signed number.
    seed: String,
    user_key: Option<Hex<'a>>,
    unit_key: Option<Hex<'a>>,
    market: Option<&'a str>,
    platform: &'a str,
    attributes: Vec<AttributeCell<'a>>,
    trial_used: Option<bool>,
    current_plan: Option<&'a str>,
    lapsed_at_ms: Option<i64>,
    candidates: Vec<&'a str>,
    slots_requested: u32,
    include_tail: bool,
    shown_assumed: bool,
    personalised: bool,
    neutral_context: bool,
    flags: Vec<&'static str>,
    group: &'static str,
    cohorts: Vec<CohortCell<'a>>,
    sets: Vec<SetCell<'a>>,
    bands: Vec<BandCell<'a>>,
    arms: Vec<ArmCell<'a>>,
    exclusions: Vec<ExclusionCell<'a>>,
    slots: Vec<SlotCell<'a>>,
    tail: Vec<&'a str>,
    /// Encoded, in hexadecimal digits.
    identity: Option<String>,
    record: Hex<'a>,
}

#[derive(Debug, Default, Serialize)]
struct AttributeCell<'a> {
    name: &'a str,
    number: Option<f64>,
    category: Option<&'a str>,
    boolean: Option<bool>,
}

#[derive(Debug, Serialize)]
struct CohortCell<'a> {
    attribute: &'a str,
    /// In hexadecimal digits.
    value_key: String,
}

#[derive(Debug, Serialize)]
struct SetCell<'a> {
    id: &'a str,
    min: f64,
    max: f64,
    every_slot: bool,
}

#[derive(Debug, Serialize)]
struct BandCell<'a> {
    id: &'a str,
    rate: f64,
    delta: f64,
    before: f64,
    after: f64,
}

#[derive(Debug, Serialize)]
struct ArmCell<'a> {
    offer_id: &'a str,
    ends_slate: bool,
    floor: f64,
    cap: f64,
    sets: Vec<&'a str>,
    exclusion_group: u32,
    currency: Option<&'static str>,
    amount_minor: Option<i64>,
    list_amount_minor: Option<i64>,
    expected_reward: f64,
    worth: f64,
}

#[derive(Debug, Serialize)]
struct ExclusionCell<'a> {
    offer_id: &'a str,
    reason: &'static str,
    rule_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct SlotCell<'a> {
    slot: u32,
    offer_id: &'a str,
    propensity: f64,
    uniform: f64,
    relaxed: Vec<&'a str>,
    relaxed_caps: bool,
    arms: Vec<SlotArmCell<'a>>,
}

#[derive(Debug, Default, Serialize)]
struct SlotArmCell<'a> {
    offer_id: &'a str,
    score_kind: &'static str,
    alpha: Option<f64>,
    beta: Option<f64>,
    degrees_of_freedom: Option<f64>,
    location: Option<f64>,
    scale: f64,
    policy_probability: f64,
    probability: f64,
}

impl<'a> DecisionRow<'a> {
    pub(super) fn of(entry: &Entry<'a>, record: &'a DecisionRecord) -> Self {
        let decision = &record.decision;
        let identity = record.identity.as_ref();
        let user = identity.map(|identity| &identity.user);
        let attributes = identity.map(|identity| &identity.attributes[..]).unwrap_or_default();
        let offer = |&arm: &usize| &*decision.arms[arm].offer_id;
        Self {
            offset: entry.offset,
            partition: record.id.log().partition,
            decision_id: record.id.to_string(),
            root_decision_id: record.root().map(|root| root.to_string()),
            decided_at_ms: record.decided_at.as_ms(),
            attribution_ends_at_ms: entry.windows.map(|windows| windows.attribution_ends_at.as_ms()),
            closes_at_ms: entry.windows.map(|windows| windows.closes_at.as_ms()),
            revisions_end_at_ms: entry.windows.map(|windows| windows.revisions_end_at.as_ms()),
            lease_until_ms: decision.lease_until.map(|until| until.as_ms()),
            catalog_revision: record.catalog_revision,
            engine_version: record.engine_version,
            model_id: &record.version.model_id,
            posterior_offsets: &record.version.offsets,
            snapshot_age_ms: record.snapshot_age_ms,
            seed: record.seed.to_string(),
            user_key: identity.map(|identity| Hex(&identity.user_key)),
            unit_key: identity.map(|identity| Hex(&identity.unit_key)),
            market: record.market.as_deref(),
            platform: &record.platform,
            attributes: attributes.iter().map(|(name, value)| AttributeCell::of(name, value)).collect(),
            trial_used: user.map(|user| user.trial_used),
            current_plan: user.and_then(|user| user.current_plan.as_deref()),
            lapsed_at_ms: user.and_then(|user| user.lapsed_at).map(|at| at.as_ms()),
            candidates: record.candidates.iter().map(|offer_id| &**offer_id).collect(),
            slots_requested: record.slots_requested,
            include_tail: record.include_tail,
            shown_assumed: record.shown_assumed,
            personalised: decision.personalised,
            neutral_context: decision.neutral_context,
            flags: record.flags.iter().map(|&flag| flag_name(flag)).collect(),
            group: short_name(proto::Group::from(record.group).as_str_name(), "GROUP_"),
            cohorts: record.cohorts.iter().map(CohortCell::of).collect(),
            sets: record.totals.iter().map(SetCell::of).collect(),
            bands: decision.bands.iter().map(BandCell::of).collect(),
            arms: decision.arms.iter().map(|arm| ArmCell::of(arm, record)).collect(),
            exclusions: decision.exclusions.iter().map(ExclusionCell::of).collect(),
            slots: (1..).zip(&decision.slots).map(|(slot, draw)| SlotCell::of(slot, draw, record)).collect(),
            tail: decision.tail.iter().map(offer).collect(),
            identity: identity.map(|identity| HEXLOWER.encode(&identity.encode())),
            record: Hex(entry.bytes),
        }
    }
}

fn flag_name(flag: Flag) -> &'static str {
    short_name(proto::Flag::from(flag).as_str_name(), "FLAG_")
}

impl<'a> AttributeCell<'a> {
    fn of(name: &'a str, value: &'a AttributeValue) -> Self {
        let cell = Self { name, ..Self::default() };
        match value {
            AttributeValue::Number(number) => Self { number: Some(*number), ..cell },
            AttributeValue::Category(word) => Self { category: Some(word), ..cell },
            AttributeValue::Boolean(truth) => Self { boolean: Some(*truth), ..cell },
        }
    }
}

/// The ids of sets and bands by their bits. A band that the user could not be held to has no name in the record.
fn names(sets: u64, record: &DecisionRecord) -> Vec<&str> {
    let totals = record.totals.iter().enumerate().map(|(bit, total)| (bit, &*total.id));
    let bands = record.decision.bands.iter().map(|band| (record.totals.len() + band.index, &*band.id));
    totals.chain(bands).filter(|(bit, _)| sets >> bit & 1 == 1).map(|(_, id)| id).collect()
}

impl<'a> CohortCell<'a> {
    fn of(cohort: &'a Cohort) -> Self {
        Self { attribute: &cohort.attribute, value_key: format!("{:016x}", cohort.value_key) }
    }
}

impl<'a> SetCell<'a> {
    fn of(total: &'a TotalBound) -> Self {
        Self { id: &total.id, min: total.min, max: total.max, every_slot: total.every_slot }
    }
}

impl<'a> BandCell<'a> {
    fn of(effect: &'a BandEffect) -> Self {
        let BandEffect { ref id, in_force, before, after, .. } = *effect;
        Self { id, rate: in_force.rate, delta: in_force.delta, before, after }
    }
}

impl<'a> ArmCell<'a> {
    fn of(arm: &'a EligibleArm, record: &'a DecisionRecord) -> Self {
        Self {
            offer_id: &arm.offer_id,
            ends_slate: arm.ends_slate,
            floor: arm.floor,
            cap: arm.cap,
            sets: names(arm.sets, record),
            exclusion_group: arm.exclusion_group,
            currency: arm.price.map(|price| price.price.currency.code()),
            amount_minor: arm.price.map(|price| price.price.amount_minor),
            list_amount_minor: arm.price.map(|price| price.list_price.amount_minor),
            expected_reward: arm.expected_reward,
            worth: arm.worth,
        }
    }
}

impl<'a> ExclusionCell<'a> {
    fn of(exclusion: &'a Exclusion) -> Self {
        let reason = proto::ExclusionReason::from(exclusion.reason).as_str_name();
        Self {
            offer_id: &exclusion.offer_id,
            reason: short_name(reason, "EXCLUSION_REASON_"),
            rule_id: exclusion.rule.as_deref(),
        }
    }
}

impl<'a> SlotCell<'a> {
    fn of(slot: u32, draw: &SlotDraw, record: &'a DecisionRecord) -> Self {
        let Decision { arms, .. } = &record.decision;
        Self {
            slot,
            offer_id: &record.decision.drawn(draw).offer_id,
            propensity: draw.propensity(),
            uniform: draw.uniform,
            relaxed: names(draw.relaxed.sets, record),
            relaxed_caps: draw.relaxed.caps,
            arms: draw.arms.iter().map(|arm| SlotArmCell::of(arm, &arms[arm.arm].offer_id)).collect(),
        }
    }
}

impl<'a> SlotArmCell<'a> {
    fn of(arm: &SlotArm, offer_id: &'a str) -> Self {
        let SlotArm { policy_probability, probability, .. } = *arm;
        let cell = Self { offer_id, policy_probability, probability, ..Self::default() };
        match arm.score {
            ScoreDistribution::Beta { alpha, beta, scale } => {
                Self { score_kind: "BETA", alpha: Some(alpha), beta: Some(beta), scale, ..cell }
            }
            ScoreDistribution::StudentT { degrees_of_freedom, location, scale } => Self {
                score_kind: "STUDENT_T",
                degrees_of_freedom: Some(degrees_of_freedom),
                location: Some(location),
                scale,
                ..cell
            },
            ScoreDistribution::Normal { mean, standard_deviation } => {
                Self { score_kind: "NORMAL", location: Some(mean), scale: standard_deviation, ..cell }
            }
        }
    }
}
