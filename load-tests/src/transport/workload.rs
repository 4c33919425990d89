//! What is sent: requests of a known shape, and the catalog that answers them.

use bytes::{BufMut as _, Bytes, BytesMut};
use offer_ranker::proto::{Outcome, RankRequest, RecordOutcomesRequest};
use prost::Message;
use prost_types::{Value, value::Kind};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::fmt::Write as _;

/// Attributes of the placement by kind: with the intercept they make 32 features.
const NUMBERS: usize = 14;
const BOOLEANS: usize = 3;
const CATEGORIES: [usize; 3] = [5, 5, 4];
/// Different Ranks that are sent in turn.
const RANKS: usize = 1024;
/// Bytes before a message on the wire: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The method that ranks.
pub(crate) const RANK: &str = "/offer_ranker.v1.RankingService/Rank";
/// The method that takes outcomes.
pub(crate) const RECORD_OUTCOMES: &str = "/offer_ranker.v1.FeedbackService/RecordOutcomes";

/// What beliefs a placement has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posterior {
    /// Context-free.
    Beta,
    /// Linear in 32 features.
    Linear,
}

/// A catalog with one placement of 3 slots and this many offers.
pub(crate) fn catalog(candidates: usize, posterior: Posterior) -> String {
    let mut yaml = String::from(
        "reward_currency: SEK\nmarkets: [{ id: SE, currency_code: SEK }]\nmetrics: [{ id: conversion, kind: COUNT }]\noffers:\n",
    );
    let mut line = |text: String| {
        yaml.push_str(&text);
        yaml.push('\n');
    };
    for index in 0..candidates {
        line(format!(
            "  - {{ id: offer-{index:03}, kind: DISCOUNT, plan: standard, display: {{ headline: \"Offer {index}\" }}, \
             prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: {} }}, \
             list_price: {{ currency_code: SEK, amount_minor: 12900 }} }} }} }}",
            5000 + 50 * index
        ));
    }
    let ids = (0..candidates).map(|index| format!("offer-{index:03}")).collect::<Vec<_>>().join(", ");
    line(format!("placements:\n  - id: paywall\n    slots: 3\n    offers: [{ids}]\n    context:\n      attributes:"));
    for index in 0..NUMBERS {
        line(format!("        - {{ name: number_{index}, number: {{ min: -1, max: 1 }} }}"));
    }
    for index in 0..BOOLEANS {
        line(format!("        - {{ name: boolean_{index}, boolean: {{}} }}"));
    }
    for (index, words) in CATEGORIES.iter().enumerate() {
        let words = (0..*words).map(|word| format!("word-{word}")).collect::<Vec<_>>().join(", ");
        line(format!("        - {{ name: category_{index}, category: {{ values: [{words}] }} }}"));
    }
    let posterior = match posterior {
        Posterior::Beta => "beta: {}",
        Posterior::Linear => "linear: { precision: 4, a: 1, b: 0.1 }",
    };
    line(format!(
        "    policy: {{ thompson: {{}}, {posterior} }}\n    reward: {{ terms: [{{ metric: conversion, indicator: true }}] }}\n    \
         bounds: {{ floor: 0.001 }}"
    ));
    yaml
}

/// A Rank of the `n`-th user; users of the same number are alike.
pub(crate) fn rank(n: u64) -> RankRequest {
    let mut rng = ChaCha8Rng::seed_from_u64(n);
    let value = |kind| Value { kind: Some(kind) };
    let mut attributes = std::collections::BTreeMap::new();
    for index in 0..NUMBERS {
        attributes.insert(format!("number_{index}"), value(Kind::NumberValue(rng.random_range(-1.0..1.0))));
    }
    for index in 0..BOOLEANS {
        attributes.insert(format!("boolean_{index}"), value(Kind::BoolValue(rng.random())));
    }
    for (index, &words) in CATEGORIES.iter().enumerate() {
        let word = format!("word-{}", rng.random_range(0..words));
        attributes.insert(format!("category_{index}"), value(Kind::StringValue(word)));
    }
    RankRequest {
        placement: "paywall".to_owned(),
        user_id: format!("user-{n}"),
        market: "SE".to_owned(),
        platform: "web".to_owned(),
        attributes,
        ..RankRequest::default()
    }
}

/// A message as it goes over the wire.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(length as u32);
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

/// The message in what came over the wire.
pub(crate) fn unframed<M: Message + Default>(bytes: &[u8]) -> anyhow::Result<M> {
    Ok(M::decode(bytes.get(PREFIX_BYTES..).unwrap_or_default())?)
}

/// Requests without end.
#[derive(Debug)]
pub(crate) struct Traffic {
    ranks: Vec<Bytes>,
    /// Decisions that outcomes are reported on.
    decisions: Vec<String>,
    kind: TrafficKind,
    sent: u64,
    /// Makes outcome ids of this traffic its own.
    series: String,
}

/// Which requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrafficKind {
    /// Ranks only.
    Rank,
    /// Batches of this many outcomes.
    Outcomes(usize),
    /// Ten Ranks, then one outcome.
    Mixed,
}

impl Traffic {
    /// Traffic on a server that knows these decisions, under a name that none before had.
    pub(crate) fn new(kind: TrafficKind, decisions: Vec<String>, series: String) -> Self {
        Self { ranks: (0..RANKS as u64).map(|n| framed(&rank(n))).collect(), decisions, kind, sent: 0, series }
    }

    /// One Rank over and over.
    pub(crate) fn of_one(rank: Bytes) -> Self {
        Self { ranks: vec![rank], decisions: Vec::new(), kind: TrafficKind::Rank, sent: 0, series: String::new() }
    }

    /// The next request: its method and what is sent.
    pub(crate) fn next(&mut self) -> (&'static str, Bytes) {
        self.sent += 1;
        let outcomes = match self.kind {
            TrafficKind::Rank => 0,
            TrafficKind::Outcomes(batch) => batch,
            TrafficKind::Mixed => usize::from(self.sent.is_multiple_of(11)),
        };
        if outcomes == 0 {
            return (RANK, self.ranks[self.sent as usize % self.ranks.len()].clone());
        }
        (RECORD_OUTCOMES, framed(&RecordOutcomesRequest { outcomes: (0..outcomes).map(|n| self.outcome(n)).collect() }))
    }

    fn outcome(&self, position: usize) -> Outcome {
        let number = self.sent as usize * 1000 + position;
        let mut outcome_id = String::new();
        write!(outcome_id, "{}-{number}", self.series).expect("invariant: writing to a string does not fail");
        Outcome {
            outcome_id,
            decision_id: self.decisions[(self.sent as usize * 101 + position) % self.decisions.len()].clone(),
            metric: "conversion".to_owned(),
            value: 1.0,
            ..Outcome::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogs_are_valid_and_have_32_features() {
        for posterior in [Posterior::Beta, Posterior::Linear] {
            for candidates in [5, 20, 100] {
                let loaded = offer_ranker::catalog::check("catalog.yaml", &catalog(candidates, posterior));
                let placement =
                    loaded.unwrap_or_else(|problems| panic!("{problems}")).catalog.placements["paywall"].clone();
                assert_eq!(placement.arms.len(), candidates);
                assert_eq!((placement.context.attributes.len(), placement.context.feature_count()), (20, 32));
            }
        }
    }
}
