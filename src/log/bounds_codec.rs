//! What bounds, bands, groups and cohorts leave in a decision's record.

use super::record::DecisionRecord;
use crate::{
    engine::{
        bounds::{BandEffect, BandInForce, TotalBound, parity::Cohort},
        group::Group,
    },
    proto::{self, fields::Fields},
};

/// Writes the fields of a `DecisionRecord` that are about them.
pub(super) fn write(fields: &mut Fields<'_>, record: &DecisionRecord) {
    for total in &record.totals {
        fields.message(40, |fields| {
            fields.bytes(1, total.id.as_bytes());
            fields.double(2, total.min);
            fields.double(3, total.max);
            fields.truth(4, total.every_slot);
        });
    }
    for effect in &record.decision.bands {
        fields.message(41, |fields| {
            fields.bytes(1, effect.id.as_bytes());
            fields.number(2, effect.index as u64);
            fields.double(3, effect.in_force.rate);
            fields.double(4, effect.in_force.delta);
            fields.double(5, effect.before);
            fields.double(6, effect.after);
        });
    }
    for cohort in &record.cohorts {
        fields.message(42, |fields| {
            fields.bytes(1, cohort.attribute.as_bytes());
            fields.fixed(2, cohort.value_key);
        });
    }
}

impl From<proto::SetBoundRecord> for TotalBound {
    fn from(record: proto::SetBoundRecord) -> Self {
        let proto::SetBoundRecord { id, min, max, every_slot } = record;
        Self { id: id.into(), min, max, every_slot }
    }
}

impl From<&proto::BandRecord> for BandEffect {
    fn from(record: &proto::BandRecord) -> Self {
        Self {
            id: record.id.as_str().into(),
            index: record.index as usize,
            in_force: BandInForce { rate: record.rate, delta: record.delta },
            before: record.before,
            after: record.after,
        }
    }
}

impl From<proto::CohortRecord> for Cohort {
    fn from(record: proto::CohortRecord) -> Self {
        Self { attribute: record.attribute.into(), value_key: record.value_key }
    }
}

impl From<Group> for proto::Group {
    fn from(group: Group) -> Self {
        match group {
            Group::Decisioning => Self::Decisioning,
            Group::Uniform => Self::Uniform,
            Group::Holdout => Self::Holdout,
        }
    }
}

impl TryFrom<proto::Group> for Group {
    type Error = ();

    fn try_from(group: proto::Group) -> Result<Self, ()> {
        match group {
            proto::Group::Unspecified => Err(()),
            proto::Group::Decisioning => Ok(Self::Decisioning),
            proto::Group::Uniform => Ok(Self::Uniform),
            proto::Group::Holdout => Ok(Self::Holdout),
        }
    }
}
