//! Arms and slots of a decision, column by column: a record of twenty arms and three slots has hundreds of numbers, and
//! a message for each of them would double its size and multiply the time to write and read it.

use super::{DecodeError, codec::missing};
use crate::{
    engine::{
        catalog::{Money, Price},
        decide::{EligibleArm, SlotArm, SlotDraw},
        pmf::distribution::ScoreDistribution,
    },
    proto::{self, ScoreKind},
};
use iso_currency::Currency;

pub(super) fn encode_arms(arms: &[EligibleArm]) -> proto::ArmColumns {
    let mut currencies: Vec<Currency> = Vec::new();
    let mut currency_of = |arm: &EligibleArm| {
        let Some(price) = arm.price else { return 0 };
        let known = currencies.iter().position(|&currency| currency == price.price.currency);
        let position = known.unwrap_or_else(|| {
            currencies.push(price.price.currency);
            currencies.len() - 1
        });
        position as u32 + 1
    };
    let positions = arms.iter().map(&mut currency_of).collect();
    proto::ArmColumns {
        offer_ids: arms.iter().map(|arm| arm.offer_id.to_string()).collect(),
        floors: arms.iter().map(|arm| arm.floor).collect(),
        currencies: positions,
        currency_codes: currencies.into_iter().map(|currency| currency.code().to_owned()).collect(),
        amounts_minor: arms.iter().map(|arm| arm.price.map_or(0, |price| price.price.amount_minor)).collect(),
        list_amounts_minor: arms.iter().map(|arm| arm.price.map_or(0, |price| price.list_price.amount_minor)).collect(),
        expected_rewards: arms.iter().map(|arm| arm.expected_reward).collect(),
        worths: arms.iter().map(|arm| arm.worth).collect(),
        end_slates: arms.iter().map(|arm| arm.ends_slate).collect(),
        exclusion_groups: encode_groups(arms),
    }
}

/// Nothing where no arm has a group, as in most catalogs.
fn encode_groups(arms: &[EligibleArm]) -> Vec<u32> {
    let grouped = arms.iter().any(|arm| arm.exclusion_group > 0);
    if grouped { arms.iter().map(|arm| arm.exclusion_group).collect() } else { Vec::new() }
}

pub(super) fn decode_arms(columns: &proto::ArmColumns) -> Result<Vec<EligibleArm>, DecodeError> {
    let count = columns.offer_ids.len();
    let lengths = [
        columns.floors.len(),
        columns.currencies.len(),
        columns.amounts_minor.len(),
        columns.list_amounts_minor.len(),
        columns.expected_rewards.len(),
        columns.worths.len(),
        columns.end_slates.len(),
    ];
    if lengths.iter().any(|&length| length != count) {
        return Err(missing("arms"));
    }
    let groups = &columns.exclusion_groups;
    if !groups.is_empty() && groups.len() != count {
        return Err(missing("arms.exclusion_groups"));
    }
    let currencies: Vec<Currency> = columns
        .currency_codes
        .iter()
        .map(|code| Currency::from_code(code).ok_or_else(|| missing("arms.currency_codes")))
        .collect::<Result<_, _>>()?;
    let price = |arm: usize| {
        let Some(position) = (columns.currencies[arm] as usize).checked_sub(1) else { return Ok(None) };
        let currency = *currencies.get(position).ok_or_else(|| missing("arms.currencies"))?;
        let money = |amount_minor| Money { currency, amount_minor };
        Ok(Some(Price { price: money(columns.amounts_minor[arm]), list_price: money(columns.list_amounts_minor[arm]) }))
    };
    let arm = |arm: usize| {
        Ok(EligibleArm {
            offer_id: columns.offer_ids[arm].as_str().into(),
            ends_slate: columns.end_slates[arm],
            floor: columns.floors[arm],
            exclusion_group: groups.get(arm).copied().unwrap_or(0),
            price: price(arm)?,
            expected_reward: columns.expected_rewards[arm],
            worth: columns.worths[arm],
        })
    };
    (0..count).map(arm).collect()
}

pub(super) fn encode_slots(slots: &[SlotDraw]) -> Vec<proto::SlotRecord> {
    let above = std::iter::once(None).chain(slots.iter().map(Some));
    slots.iter().zip(above).map(|(slot, above)| encode_slot(slot, above)).collect()
}

fn encode_slot(slot: &SlotDraw, above: Option<&SlotDraw>) -> proto::SlotRecord {
    let arms = &slot.arms;
    let as_above = above.is_some_and(|above| {
        // Both run over the decision's arms in ascending order, and what could be drawn above includes all of these.
        let mut higher = above.arms.iter();
        let is_same = |arm: &SlotArm, other: &SlotArm| bits(other.score) == bits(arm.score);
        arms.iter().all(|arm| higher.find(|other| other.arm == arm.arm).is_some_and(|other| is_same(arm, other)))
    });
    proto::SlotRecord {
        arms: arms.iter().map(|arm| arm.arm as u32).collect(),
        scores: (!as_above).then(|| encode_scores(arms)),
        policy_probabilities: arms.iter().map(|arm| arm.policy_probability).collect(),
        probabilities: arms.iter().map(|arm| arm.probability).collect(),
        drawn: slot.drawn as u32,
        uniform: slot.uniform,
    }
}

fn encode_scores(arms: &[SlotArm]) -> proto::ScoreColumns {
    let numbers = |which: usize| arms.iter().map(|arm| parts(arm.score).1[which]).collect();
    proto::ScoreColumns {
        kinds: arms.iter().map(|arm| parts(arm.score).0.into()).collect(),
        firsts: numbers(0),
        seconds: numbers(1),
        thirds: numbers(2),
    }
}

fn parts(score: ScoreDistribution) -> (ScoreKind, [f64; 3]) {
    match score {
        ScoreDistribution::Beta { alpha, beta, scale } => (ScoreKind::Beta, [alpha, beta, scale]),
        ScoreDistribution::StudentT { degrees_of_freedom, location, scale } => {
            (ScoreKind::StudentT, [degrees_of_freedom, location, scale])
        }
        ScoreDistribution::Normal { mean, standard_deviation } => (ScoreKind::Normal, [mean, standard_deviation, 0.0]),
    }
}

/// Equal only where decoding gives the same double, the sign of a zero included.
fn bits(score: ScoreDistribution) -> (ScoreKind, [u64; 3]) {
    let (kind, numbers) = parts(score);
    (kind, numbers.map(f64::to_bits))
}

pub(super) fn decode_slots(records: &[proto::SlotRecord], arm_count: usize) -> Result<Vec<SlotDraw>, DecodeError> {
    let mut scores: Vec<Option<ScoreDistribution>> = vec![None; arm_count];
    records.iter().map(|record| decode_slot(record, &mut scores)).collect()
}

/// `scores` are those of the slot above by arm, and become this slot's.
fn decode_slot(record: &proto::SlotRecord, scores: &mut [Option<ScoreDistribution>]) -> Result<SlotDraw, DecodeError> {
    let count = record.arms.len();
    if record.policy_probabilities.len() != count || record.probabilities.len() != count {
        return Err(missing("slots"));
    }
    if let Some(columns) = &record.scores {
        for (&arm, score) in record.arms.iter().zip(decode_scores(columns, count)?) {
            *scores.get_mut(arm as usize).ok_or_else(|| missing("slots.arms"))? = Some(score);
        }
    }
    let slot_arm = |position: usize| {
        let arm = record.arms[position] as usize;
        Ok(SlotArm {
            arm,
            score: scores.get(arm).copied().flatten().ok_or_else(|| missing("slots.scores"))?,
            policy_probability: record.policy_probabilities[position],
            probability: record.probabilities[position],
        })
    };
    let arms = (0..count).map(slot_arm).collect::<Result<Vec<_>, DecodeError>>()?;
    let drawn = Some(record.drawn as usize).filter(|&drawn| drawn < count).ok_or_else(|| missing("slots.drawn"))?;
    Ok(SlotDraw { arms, drawn, uniform: record.uniform })
}

fn decode_scores(columns: &proto::ScoreColumns, count: usize) -> Result<Vec<ScoreDistribution>, DecodeError> {
    let proto::ScoreColumns { kinds, firsts, seconds, thirds } = columns;
    if [kinds.len(), firsts.len(), seconds.len(), thirds.len()].iter().any(|&length| length != count) {
        return Err(missing("slots.scores"));
    }
    let score = |arm: usize| {
        let (first, second, third) = (firsts[arm], seconds[arm], thirds[arm]);
        match ScoreKind::try_from(kinds[arm]) {
            Ok(ScoreKind::Beta) => Ok(ScoreDistribution::Beta { alpha: first, beta: second, scale: third }),
            Ok(ScoreKind::StudentT) => {
                Ok(ScoreDistribution::StudentT { degrees_of_freedom: first, location: second, scale: third })
            }
            Ok(ScoreKind::Normal) => Ok(ScoreDistribution::Normal { mean: first, standard_deviation: second }),
            Ok(ScoreKind::Unspecified) | Err(_) => Err(missing("slots.scores.kinds")),
        }
    };
    (0..count).map(score).collect()
}
