//! The estimators of one slot: each is what a row contributes.
//!
//! With weight w, reward r, and a reward model's q for the logged arm and d for the target policy, every estimator but
//! two is the mean of `u (r - q) + d`, where u is the weight, kept small or whole; without a model q = d = 0. Replay
//! averages rewards where the target is sure of the logged arm (Li, Chu, Langford and Wang, 2011); the direct method
//! averages d. Self-normalised ones divide by the mean weight instead of trusting it to be 1 (Swaminathan and Joachims,
//! 2015). Doubly robust: Dudik, Langford and Li (2011); SWITCH: Wang, Agarwal and Dudik (2017); optimistic shrinkage:
//! Su, Dimakopoulou, Krishnamurthy and Dudik (2020); sub-Gaussian: Metelli, Russo and Restelli (2021).

use super::row::Row;
use std::fmt;

/// How an estimator uses the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weighting {
    /// w = 1 where the target draws the logged arm for sure, else 0.
    Match,
    /// Not at all.
    Ignored,
    /// As they are.
    Full,
    /// min(w, lambda), lambda in [0, inf).
    Clipped(f64),
    /// w up to lambda, lambda in [0, inf), 0 beyond.
    Switched(f64),
    /// lambda w / (w^2 + lambda), lambda in [0, inf); 0 where w is.
    Optimistic(f64),
    /// w / (1 - lambda + lambda w), lambda in [0, 1]; 0 where w is.
    SubGaussian(f64),
}

/// One estimator of the target policy's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimator {
    /// How it uses the weights.
    pub weighting: Weighting,
    /// Whether it starts from a reward model and corrects it.
    pub model: bool,
    /// Whether it divides by the mean of the weights that it uses.
    pub normalised: bool,
}

/// What a row contributes to an estimator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contribution {
    /// The weight that was used, u.
    pub weight: f64,
    /// The weighted part, u (r - q).
    pub weighted: f64,
    /// The part that no weight touches, d.
    pub baseline: f64,
}

impl Weighting {
    /// The weight that is used in place of `weight`.
    #[must_use]
    pub fn of(self, weight: f64) -> f64 {
        match self {
            Self::Full => weight,
            Self::Match | Self::Ignored => 0.0,
            Self::Clipped(lambda) => weight.min(lambda),
            Self::Switched(lambda) => {
                if weight <= lambda {
                    weight
                } else {
                    0.0
                }
            }
            Self::Optimistic(_) | Self::SubGaussian(_) if weight <= 0.0 => 0.0,
            Self::Optimistic(lambda) => lambda * weight / (weight * weight + lambda),
            Self::SubGaussian(lambda) => weight / (1.0 - lambda + lambda * weight),
        }
    }

    const fn lambda(self) -> Option<f64> {
        match self {
            Self::Match | Self::Ignored | Self::Full => None,
            Self::Clipped(lambda) | Self::Switched(lambda) | Self::Optimistic(lambda) | Self::SubGaussian(lambda) => {
                Some(lambda)
            }
        }
    }
}

impl Estimator {
    /// Mean reward where the target draws the logged arm for sure: 0 where it never does.
    pub const REPLAY: Self = Self { weighting: Weighting::Match, model: false, normalised: true };
    /// Inverse propensity scores.
    pub const IPS: Self = Self { weighting: Weighting::Full, model: false, normalised: false };
    /// Self-normalised inverse propensity scores.
    pub const SNIPS: Self = Self { weighting: Weighting::Full, model: false, normalised: true };
    /// Direct method: the reward model alone.
    pub const DM: Self = Self { weighting: Weighting::Ignored, model: true, normalised: false };
    /// Doubly robust.
    pub const DR: Self = Self { weighting: Weighting::Full, model: true, normalised: false };
    /// Self-normalised doubly robust.
    pub const SNDR: Self = Self { weighting: Weighting::Full, model: true, normalised: true };

    /// Every family that [`Grids::estimators`] gives estimators of.
    pub const FAMILIES: [&str; 12] =
        ["replay", "ips", "snips", "dm", "dr", "sndr", "ips_clip", "dr_clip", "switch_dr", "dros", "sg_ips", "sg_dr"];

    /// With some weighting, neither normalised nor replay.
    #[must_use]
    pub const fn weighted(weighting: Weighting, model: bool) -> Self {
        Self { weighting, model, normalised: false }
    }

    /// What a row contributes; `None` where it lacks what the estimator needs.
    #[must_use]
    pub fn contribution(&self, row: &Row) -> Option<Contribution> {
        let reward = row.reward()?;
        let (logged, baseline) = if self.model {
            let model = row.model?;
            (model.logged, model.target)
        } else {
            (0.0, 0.0)
        };
        let weight = match self.weighting {
            Weighting::Match => f64::from(u8::from(row.target >= 1.0)),
            weighting => weighting.of(row.weight()),
        };
        Some(Contribution { weight, weighted: weight * (reward - logged), baseline })
    }

    /// The name without lambda.
    #[must_use]
    pub const fn family(&self) -> &'static str {
        match (self.weighting, self.model, self.normalised) {
            (Weighting::Match, ..) => "replay",
            (Weighting::Ignored, ..) => "dm",
            (Weighting::Full, false, false) => "ips",
            (Weighting::Full, false, true) => "snips",
            (Weighting::Full, true, false) => "dr",
            (Weighting::Full, true, true) => "sndr",
            (Weighting::Clipped(_), false, _) => "ips_clip",
            (Weighting::Clipped(_), true, _) => "dr_clip",
            (Weighting::Switched(_), false, _) => "switch_ips",
            (Weighting::Switched(_), true, _) => "switch_dr",
            (Weighting::Optimistic(_), false, _) => "ips_os",
            (Weighting::Optimistic(_), true, _) => "dros",
            (Weighting::SubGaussian(_), false, _) => "sg_ips",
            (Weighting::SubGaussian(_), true, _) => "sg_dr",
        }
    }

    /// The hyper-parameter, where there is one.
    #[must_use]
    pub const fn lambda(&self) -> Option<f64> {
        self.weighting.lambda()
    }
}

/// The family, with lambda in brackets: `switch_dr[2.0]`.
impl fmt::Display for Estimator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.family())?;
        self.lambda().map_or(Ok(()), |lambda| write!(out, "[{lambda:?}]"))
    }
}

/// Which hyper-parameters are tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Grids {
    /// Of clipping and SWITCH, in [0, inf).
    pub caps: Vec<f64>,
    /// Of optimistic shrinkage, in [0, inf).
    pub optimistic: Vec<f64>,
    /// Of sub-Gaussian weights, in [0, 1].
    pub sub_gaussian: Vec<f64>,
}

impl Default for Grids {
    fn default() -> Self {
        Self {
            caps: vec![0.5, 1.0, 2.0, 5.0, 10.0, 50.0],
            optimistic: vec![0.0, 1.0, 10.0, 100.0, 1000.0],
            sub_gaussian: vec![0.0, 0.01, 0.1, 0.5, 1.0],
        }
    }
}

impl Grids {
    /// The same values for every family, as far as they are in its range.
    #[must_use]
    pub fn of(lambdas: &[f64]) -> Self {
        let mut distinct = Vec::with_capacity(lambdas.len());
        for lambda in lambdas {
            distinct.extend((!distinct.contains(lambda)).then_some(*lambda));
        }
        let sub_gaussian = distinct.iter().copied().filter(|lambda| *lambda <= 1.0).collect();
        Self { caps: distinct.clone(), optimistic: distinct, sub_gaussian }
    }

    /// Every estimator that rows can be put through: those that need a reward model only where there is one.
    #[must_use]
    pub fn estimators(&self, model: bool) -> Vec<Estimator> {
        let mut all = vec![Estimator::REPLAY, Estimator::IPS, Estimator::SNIPS];
        if model {
            all.extend([Estimator::DM, Estimator::DR, Estimator::SNDR]);
        }
        let mut tuned = |grid: &[f64], weighting: fn(f64) -> Weighting, without_model: bool| {
            for &lambda in grid {
                all.extend(without_model.then(|| Estimator::weighted(weighting(lambda), false)));
                all.extend(model.then(|| Estimator::weighted(weighting(lambda), true)));
            }
        };
        tuned(&self.caps, Weighting::Clipped, true);
        tuned(&self.caps, Weighting::Switched, false);
        tuned(&self.optimistic, Weighting::Optimistic, false);
        tuned(&self.sub_gaussian, Weighting::SubGaussian, true);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn families_are_those_of_the_estimators_there_are() {
        let families: BTreeSet<&str> = Grids::default().estimators(true).iter().map(Estimator::family).collect();
        assert_eq!(families, BTreeSet::from(Estimator::FAMILIES));
    }
}
