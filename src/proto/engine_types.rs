//! Conversions between the wire format and engine types where one is the other's plain image; the log and the
//! services share them.

use super as proto;
use crate::engine::{
    catalog::Money,
    eligibility::{Exclusion, ExclusionReason},
    instant::Instant,
    pmf::distribution::ScoreDistribution,
    snapshot::PosteriorVersion,
};
use iso_currency::Currency;

impl From<Money> for proto::Money {
    fn from(money: Money) -> Self {
        Self { currency_code: money.currency.code().to_owned(), amount_minor: money.amount_minor }
    }
}

/// `None` where the currency is not in ISO 4217.
impl TryFrom<&proto::Money> for Money {
    type Error = ();

    fn try_from(money: &proto::Money) -> Result<Self, ()> {
        let currency = Currency::from_code(&money.currency_code).ok_or(())?;
        Ok(Self { currency, amount_minor: money.amount_minor })
    }
}

impl From<&Exclusion> for proto::Exclusion {
    fn from(exclusion: &Exclusion) -> Self {
        let reason: proto::ExclusionReason = exclusion.reason.into();
        let rule_id = exclusion.rule.as_deref().unwrap_or_default().to_owned();
        Self { offer_id: exclusion.offer_id.to_string(), reason: reason.into(), rule_id }
    }
}

impl TryFrom<&proto::Exclusion> for Exclusion {
    type Error = ();

    fn try_from(exclusion: &proto::Exclusion) -> Result<Self, ()> {
        let reason = match exclusion.reason() {
            proto::ExclusionReason::Unspecified => return Err(()),
            proto::ExclusionReason::UnknownOffer => ExclusionReason::UnknownOffer,
            proto::ExclusionReason::Paused => ExclusionReason::Paused,
            proto::ExclusionReason::NotStarted => ExclusionReason::NotStarted,
            proto::ExclusionReason::Ended => ExclusionReason::Ended,
            proto::ExclusionReason::NoPriceInMarket => ExclusionReason::NoPriceInMarket,
            proto::ExclusionReason::Platform => ExclusionReason::Platform,
            proto::ExclusionReason::TrialUsed => ExclusionReason::TrialUsed,
            proto::ExclusionReason::CurrentPlan => ExclusionReason::CurrentPlan,
            proto::ExclusionReason::Capped => ExclusionReason::Capped,
            proto::ExclusionReason::CoolingDown => ExclusionReason::CoolingDown,
            proto::ExclusionReason::LimitUnchecked => ExclusionReason::LimitUnchecked,
            proto::ExclusionReason::PriceHeld => ExclusionReason::PriceHeld,
            proto::ExclusionReason::DiscountTooDeep => ExclusionReason::DiscountTooDeep,
            proto::ExclusionReason::BelowFloor => ExclusionReason::BelowFloor,
            proto::ExclusionReason::NotLapsed => ExclusionReason::NotLapsed,
            proto::ExclusionReason::LapseTooShort => ExclusionReason::LapseTooShort,
            proto::ExclusionReason::LapseTooLong => ExclusionReason::LapseTooLong,
            proto::ExclusionReason::Rule => ExclusionReason::Rule,
            proto::ExclusionReason::LegalRule => ExclusionReason::LegalRule,
            proto::ExclusionReason::RuleError => ExclusionReason::RuleError,
        };
        let rule = (!exclusion.rule_id.is_empty()).then(|| exclusion.rule_id.as_str().into());
        Ok(Self { offer_id: exclusion.offer_id.as_str().into(), reason, rule })
    }
}

impl From<ExclusionReason> for proto::ExclusionReason {
    fn from(reason: ExclusionReason) -> Self {
        match reason {
            ExclusionReason::UnknownOffer => Self::UnknownOffer,
            ExclusionReason::Paused => Self::Paused,
            ExclusionReason::NotStarted => Self::NotStarted,
            ExclusionReason::Ended => Self::Ended,
            ExclusionReason::NoPriceInMarket => Self::NoPriceInMarket,
            ExclusionReason::Platform => Self::Platform,
            ExclusionReason::TrialUsed => Self::TrialUsed,
            ExclusionReason::CurrentPlan => Self::CurrentPlan,
            ExclusionReason::Capped => Self::Capped,
            ExclusionReason::CoolingDown => Self::CoolingDown,
            ExclusionReason::LimitUnchecked => Self::LimitUnchecked,
            ExclusionReason::PriceHeld => Self::PriceHeld,
            ExclusionReason::DiscountTooDeep => Self::DiscountTooDeep,
            ExclusionReason::BelowFloor => Self::BelowFloor,
            ExclusionReason::NotLapsed => Self::NotLapsed,
            ExclusionReason::LapseTooShort => Self::LapseTooShort,
            ExclusionReason::LapseTooLong => Self::LapseTooLong,
            ExclusionReason::Rule => Self::Rule,
            ExclusionReason::LegalRule => Self::LegalRule,
            ExclusionReason::RuleError => Self::RuleError,
        }
    }
}

impl From<ScoreDistribution> for proto::ScoreDistribution {
    fn from(score: ScoreDistribution) -> Self {
        use proto::score_distribution::Kind;
        let kind = match score {
            ScoreDistribution::Beta { alpha, beta, scale } => Kind::Beta(proto::BetaScore { alpha, beta, scale }),
            ScoreDistribution::StudentT { degrees_of_freedom, location, scale } => {
                Kind::StudentT(proto::StudentTScore { degrees_of_freedom, location, scale })
            }
            ScoreDistribution::Normal { mean, standard_deviation } => {
                Kind::Normal(proto::NormalScore { mean, standard_deviation })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<&proto::ScoreDistribution> for ScoreDistribution {
    type Error = ();

    fn try_from(score: &proto::ScoreDistribution) -> Result<Self, ()> {
        use proto::score_distribution::Kind;
        match score.kind {
            Some(Kind::Beta(proto::BetaScore { alpha, beta, scale })) => Ok(Self::Beta { alpha, beta, scale }),
            Some(Kind::StudentT(proto::StudentTScore { degrees_of_freedom, location, scale })) => {
                Ok(Self::StudentT { degrees_of_freedom, location, scale })
            }
            Some(Kind::Normal(proto::NormalScore { mean, standard_deviation })) => {
                Ok(Self::Normal { mean, standard_deviation })
            }
            None => Err(()),
        }
    }
}

impl From<&PosteriorVersion> for proto::PosteriorVersion {
    fn from(version: &PosteriorVersion) -> Self {
        Self { model_id: version.model_id.to_string(), offsets: partition_offsets(&version.offsets) }
    }
}

/// Offsets by partition, as the wire has them.
pub(crate) fn partition_offsets(offsets: &[u64]) -> Vec<proto::PartitionOffset> {
    (0..).zip(offsets).map(|(partition, &offset)| proto::PartitionOffset { partition, offset }).collect()
}

impl From<proto::PosteriorVersion> for PosteriorVersion {
    fn from(version: proto::PosteriorVersion) -> Self {
        let offsets = version.offsets.iter().map(|partition| partition.offset).collect();
        Self { model_id: version.model_id.into(), offsets }
    }
}

/// An instant as the wire has it.
pub(crate) fn timestamp(instant: Instant) -> prost_types::Timestamp {
    let ms = instant.as_ms();
    prost_types::Timestamp { seconds: ms.div_euclid(1000), nanos: (ms.rem_euclid(1000) * 1_000_000) as i32 }
}

/// The millisecond that a timestamp of the wire falls into; `None` where it is out of range.
pub(crate) fn instant(timestamp: &prost_types::Timestamp) -> Option<Instant> {
    let nanos = (0..1_000_000_000).contains(&timestamp.nanos).then_some(timestamp.nanos)?;
    let ms = timestamp.seconds.checked_mul(1000)?.checked_add(i64::from(nanos / 1_000_000))?;
    Some(Instant::from_ms(ms))
}
