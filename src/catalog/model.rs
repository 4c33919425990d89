//! What a posterior belongs to, and what a catalog is known by.

use crate::{
    engine::{
        catalog::{LearningMode, Placement, PosteriorKind},
        context::{AttributeKind, ContextSchema, Scaling},
    },
    proto,
};
use iso_currency::Currency;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Identifies what a placement's statistics are statistics of; another id means that they must be folded anew.
///
/// Belongs in: the placement; the family of posteriors; the reward, with its unit and, where it is money, its
/// currency; what is learned when, and how fast it fades; and for linear posteriors the features, that is names,
/// bounds, scaling, words and defaults of the attributes (a default decides what decisions without the attribute
/// teach), and the slots where every slot is learned from.
///
/// Stays out: offers, because every arm has statistics of its own; priors, floors, selection and objective, because
/// they act on statistics without being in them; windows and exposure, because every decision keeps those it was
/// made under; rates, because outcomes are converted when they are reported; clipping, because logged values are
/// always folded within bounds; and the whole context of posteriors that are free of it.
#[must_use]
pub fn model_id(placement: &Placement, reward_currency: Currency) -> String {
    digest(canonical_text(placement, reward_currency).as_bytes())
}

/// Identifies the content of a catalog: equal catalogs have equal tags.
#[must_use]
pub fn etag(catalog: &proto::Catalog) -> String {
    // Fields encode by number and maps by key, so that equal messages encode to equal bytes.
    digest(&catalog.encode_to_vec())
}

/// Identifies how a schema encodes attributes: schemas with equal numbers have equal codes and features.
#[must_use]
pub fn schema_number(schema: &ContextSchema) -> u64 {
    let lines =
        schema.attributes.iter().map(|attribute| format!("{:?} {}\n", attribute.name, kind_text(&attribute.kind)));
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(lines.collect::<String>()));
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The first 16 bytes of SHA-256 in hexadecimal: short enough to read out, long enough never to collide by chance.
fn digest(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes)[..16])
}

/// One fact a line, words quoted, numbers as the shortest text that reads back to the same bits.
fn canonical_text(placement: &Placement, reward_currency: Currency) -> String {
    let mut text = String::from("offer-ranker model 1\n");
    let mut line = |fact: std::fmt::Arguments<'_>| {
        text.write_fmt(fact).expect("invariant: writing to a string cannot fail");
        text.push('\n');
    };
    line(format_args!("placement {:?}", placement.id));
    let reward = &placement.reward;
    line(format_args!("reward min {:?} max {:?} unit {:?}", reward.min, reward.max, reward.unit));
    for term in &reward.terms {
        let how = if term.indicator { "indicator" } else { "total" };
        line(format_args!("term {:?} {how} weight {:?}", term.metric, term.weight));
        if term.money {
            line(format_args!("in {}", reward_currency.code()));
        }
    }
    let learning = &placement.learning;
    let mode = match learning.mode {
        LearningMode::Immediate => "immediate",
        LearningMode::AtMaturity => "at maturity",
    };
    let slots = if learning.all_slots { "all" } else { "lead" };
    line(format_args!("learn {mode} slots {slots} half-life {:?} ms", learning.half_life_ms));
    match &placement.policy.posterior {
        PosteriorKind::Beta => line(format_args!("posterior beta")),
        PosteriorKind::Linear(_) => {
            line(format_args!("posterior linear, slot features {}", placement.slot_feature_count()));
            for attribute in &placement.context.attributes {
                let kind = kind_text(&attribute.kind);
                line(format_args!("attribute {:?} {kind} default {:?}", attribute.name, attribute.default));
            }
        }
    }
    text
}

fn kind_text(kind: &AttributeKind) -> String {
    match kind {
        AttributeKind::Number { min, max, scaling, .. } => {
            let scaling = match scaling {
                Scaling::Linear => "linear",
                Scaling::Log => "log",
            };
            format!("number {min:?} to {max:?} {scaling}")
        }
        AttributeKind::Category { values, unknown_bucket } => {
            let unknown = if *unknown_bucket { " and unknown" } else { "" };
            format!("category {values:?}{unknown}")
        }
        AttributeKind::Boolean => "boolean".to_owned(),
    }
}
