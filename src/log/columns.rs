//! Arms and slots of a decision, column by column: a record of twenty arms and three slots has hundreds of numbers, and
//! a message for each of them would double its size and multiply the time to write and read it. A column whose entries are
//! all the same has one.

use super::{DecodeError, codec::missing};
use crate::{
    engine::{
        bounds::Relaxed,
        catalog::{Money, Price},
        decide::{EligibleArm, SlotArm, SlotDraw},
        pmf::distribution::ScoreDistribution,
    },
    proto::{self, ScoreKind, fields::Fields},
};
use iso_currency::Currency;

/// Writes an `ArmColumns`.
pub(super) fn write_arms(fields: &mut Fields<'_>, arms: &[EligibleArm]) {
    let mut currencies: Vec<Currency> = Vec::new();
    let mut currency_of = |arm: &EligibleArm| {
        let Some(price) = arm.price else { return 0 };
        let known = currencies.iter().position(|&currency| currency == price.price.currency);
        let position = known.unwrap_or_else(|| {
            currencies.push(price.price.currency);
            currencies.len() - 1
        });
        position as u64 + 1
    };
    let positions: Vec<u64> = arms.iter().map(&mut currency_of).collect();
    let amount = |of: fn(&Price) -> Money| {
        arms.iter().map(move |arm| arm.price.map_or(0, |price| of(&price).amount_minor.cast_unsigned()))
    };
    arms.iter().for_each(|arm| fields.element(1, arm.offer_id.as_bytes()));
    doubles(fields, 2, arms.iter().map(|arm| arm.floor));
    currencies.iter().for_each(|currency| fields.element(3, currency.code().as_bytes()));
    numbers(fields, 4, positions.into_iter());
    numbers(fields, 5, amount(|price| price.price));
    numbers(fields, 6, amount(|price| price.list_price));
    doubles(fields, 7, arms.iter().map(|arm| arm.expected_reward));
    doubles(fields, 8, arms.iter().map(|arm| arm.worth));
    numbers(fields, 9, arms.iter().map(|arm| arm.ends_slate.into()));
    // Nothing where no arm has a group, as in most catalogs.
    if arms.iter().any(|arm| arm.exclusion_group > 0) {
        numbers(fields, 10, arms.iter().map(|arm| arm.exclusion_group.into()));
    }
    if arms.iter().any(|arm| arm.cap < 1.0) {
        doubles(fields, 11, arms.iter().map(|arm| arm.cap));
    }
    if arms.iter().any(|arm| arm.sets != 0) {
        numbers(fields, 12, arms.iter().map(|arm| arm.sets));
    }
}

/// A column of doubles: one entry where all of them are the same.
fn doubles(fields: &mut Fields<'_>, tag: u32, values: impl ExactSizeIterator<Item = f64> + Clone) {
    let alike = values.clone().map(f64::to_bits).is_sorted_by(|value, next| value == next);
    fields.doubles(tag, values.take(if alike { 1 } else { usize::MAX }));
}

/// A column of numbers: one entry where all of them are the same.
fn numbers(fields: &mut Fields<'_>, tag: u32, values: impl ExactSizeIterator<Item = u64> + Clone) {
    let alike = values.clone().is_sorted_by(|value, next| value == next);
    fields.numbers(tag, values.take(if alike { 1 } else { usize::MAX }));
}

/// The entries of a column for so many arms.
struct Column<'a, T>(&'a [T]);

impl<'a, T: Copy> Column<'a, T> {
    fn of(entries: &'a [T], arms: usize, field: &'static str) -> Result<Self, DecodeError> {
        let fits = entries.len() == arms || (entries.len() == 1 && arms > 0);
        if fits { Ok(Self(entries)) } else { Err(missing(field)) }
    }

    /// The same of a column that is left out where it says nothing.
    fn of_some(entries: &'a [T], arms: usize, field: &'static str) -> Result<Option<Self>, DecodeError> {
        if entries.is_empty() { Ok(None) } else { Self::of(entries, arms, field).map(Some) }
    }

    fn at(&self, arm: usize) -> T {
        self.0[if self.0.len() == 1 { 0 } else { arm }]
    }
}

pub(super) fn decode_arms(columns: &proto::ArmColumns) -> Result<Vec<EligibleArm>, DecodeError> {
    let count = columns.offer_ids.len();
    let doubles = |entries| Column::of(entries, count, "arms");
    let (floors, expected_rewards, worths) =
        (doubles(&columns.floors)?, doubles(&columns.expected_rewards)?, doubles(&columns.worths)?);
    let amounts = Column::of(&columns.amounts_minor, count, "arms")?;
    let list_amounts = Column::of(&columns.list_amounts_minor, count, "arms")?;
    let positions = Column::of(&columns.currencies, count, "arms")?;
    let end_slates = Column::of(&columns.end_slates, count, "arms")?;
    let groups = Column::of_some(&columns.exclusion_groups, count, "arms.exclusion_groups")?;
    let caps = Column::of_some(&columns.caps, count, "arms.caps")?;
    let sets = Column::of_some(&columns.sets, count, "arms.sets")?;
    let currencies: Vec<Currency> = columns
        .currency_codes
        .iter()
        .map(|code| Currency::from_code(code).ok_or_else(|| missing("arms.currency_codes")))
        .collect::<Result<_, _>>()?;
    let price = |arm: usize| {
        let Some(position) = (positions.at(arm) as usize).checked_sub(1) else { return Ok(None) };
        let currency = *currencies.get(position).ok_or_else(|| missing("arms.currencies"))?;
        let money = |amount_minor| Money { currency, amount_minor };
        Ok(Some(Price { price: money(amounts.at(arm)), list_price: money(list_amounts.at(arm)) }))
    };
    let arm = |arm: usize| {
        Ok(EligibleArm {
            offer_id: columns.offer_ids[arm].as_str().into(),
            ends_slate: end_slates.at(arm),
            floor: floors.at(arm),
            cap: caps.as_ref().map_or(1.0, |caps| caps.at(arm)),
            sets: sets.as_ref().map_or(0, |sets| sets.at(arm)),
            exclusion_group: groups.as_ref().map_or(0, |groups| groups.at(arm)),
            price: price(arm)?,
            expected_reward: expected_rewards.at(arm),
            worth: worths.at(arm),
        })
    };
    (0..count).map(arm).collect()
}

/// Writes a `SlotRecord` for each slot.
pub(super) fn write_slots(fields: &mut Fields<'_>, tag: u32, slots: &[SlotDraw], arm_count: usize) {
    let mut rest: Vec<usize> = (0..arm_count).collect();
    let mut above = None;
    for slot in slots {
        fields.message(tag, |fields| write_slot(fields, slot, above, &rest));
        let drawn = slot.arms[slot.drawn].arm;
        rest.retain(|&arm| arm != drawn);
        above = Some(slot);
    }
}

fn write_slot(fields: &mut Fields<'_>, slot: &SlotDraw, above: Option<&SlotDraw>, rest: &[usize]) {
    let arms = &slot.arms;
    let are_the_rest = arms.iter().map(|arm| arm.arm).eq(rest.iter().copied());
    if !are_the_rest {
        fields.numbers(1, arms.iter().map(|arm| arm.arm as u64));
    }
    if !above.is_some_and(|above| scores_as_above(slot, above)) {
        fields.message(2, |fields| write_scores(fields, arms));
    }
    fields.doubles(3, arms.iter().map(|arm| arm.policy_probability));
    fields.doubles(4, arms.iter().map(|arm| arm.probability));
    fields.number(5, arms[slot.drawn].arm as u64);
    fields.double(6, slot.uniform);
    fields.number(7, slot.relaxed.sets);
    fields.truth(8, slot.relaxed.caps);
}

fn scores_as_above(slot: &SlotDraw, above: &SlotDraw) -> bool {
    // Both run over the decision's arms in ascending order, and what could be drawn above includes all of these.
    let mut higher = above.arms.iter();
    let is_same = |arm: &SlotArm, other: &SlotArm| bits(other.score) == bits(arm.score);
    slot.arms.iter().all(|arm| higher.find(|other| other.arm == arm.arm).is_some_and(|other| is_same(arm, other)))
}

fn write_scores(fields: &mut Fields<'_>, arms: &[SlotArm]) {
    let column = |which: usize| arms.iter().map(move |arm| parts(arm.score).1[which]);
    numbers(fields, 1, arms.iter().map(|arm| parts(arm.score).0 as u64));
    doubles(fields, 2, column(0));
    doubles(fields, 3, column(1));
    doubles(fields, 4, column(2));
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
    let mut above = Above { scores: vec![None; arm_count], rest: (0..arm_count).collect() };
    records.iter().map(|record| decode_slot(record, &mut above)).collect()
}

/// What a slot is told in terms of.
struct Above {
    /// Scores of the slot above by arm.
    scores: Vec<Option<ScoreDistribution>>,
    /// Arms not drawn above.
    rest: Vec<usize>,
}

/// `above` becomes what the next slot is told in terms of.
fn decode_slot(record: &proto::SlotRecord, above: &mut Above) -> Result<SlotDraw, DecodeError> {
    let arms: Vec<usize> = match &record.arms[..] {
        [] => above.rest.clone(),
        arms => arms.iter().map(|&arm| arm as usize).collect(),
    };
    let count = arms.len();
    if record.policy_probabilities.len() != count || record.probabilities.len() != count {
        return Err(missing("slots"));
    }
    if let Some(columns) = &record.scores {
        for (&arm, score) in arms.iter().zip(decode_scores(columns, count)?) {
            *above.scores.get_mut(arm).ok_or_else(|| missing("slots.arms"))? = Some(score);
        }
    }
    let drawn = arms.iter().position(|&arm| arm == record.drawn as usize).ok_or_else(|| missing("slots.drawn"))?;
    above.rest.retain(|&arm| arm != arms[drawn]);
    let slot_arm = |(position, arm): (usize, usize)| {
        Ok(SlotArm {
            arm,
            score: above.scores.get(arm).copied().flatten().ok_or_else(|| missing("slots.scores"))?,
            policy_probability: record.policy_probabilities[position],
            probability: record.probabilities[position],
        })
    };
    let arms = arms.into_iter().enumerate().map(slot_arm).collect::<Result<_, DecodeError>>()?;
    let relaxed = Relaxed { sets: record.relaxed_sets, caps: record.relaxed_caps };
    Ok(SlotDraw { arms, drawn, uniform: record.uniform, relaxed })
}

fn decode_scores(columns: &proto::ScoreColumns, count: usize) -> Result<Vec<ScoreDistribution>, DecodeError> {
    let column = |entries| Column::of(entries, count, "slots.scores");
    let (firsts, seconds, thirds) = (column(&columns.firsts)?, column(&columns.seconds)?, column(&columns.thirds)?);
    let kinds = Column::of(&columns.kinds, count, "slots.scores")?;
    let score = |arm: usize| {
        let (first, second, third) = (firsts.at(arm), seconds.at(arm), thirds.at(arm));
        match ScoreKind::try_from(kinds.at(arm)) {
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
