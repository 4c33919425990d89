//! Reward models, for what estimators correct: a mean for every arm, or a regression for every arm on features.
//!
//! Cross-fitted by cluster: what is said of a row comes from a model that saw nothing of its user, so that errors of
//! model and rewards are independent (Chernozhukov and others, 2018). Deterministic: the same rows in the same order
//! give the same models to the last bit.

mod logistic;
mod ridge;
mod scaling;

use scaling::Scaling;

/// What a model learns from: one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Example<'a> {
    /// Whose row it is.
    pub cluster: u64,
    /// The drawn arm, from 0.
    pub arm: usize,
    /// What was known before, as many numbers for every row; a constant is added by the model.
    pub features: &'a [f64],
    /// What it earned.
    pub reward: f64,
}

/// A kind of model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The mean reward of each arm, features ignored.
    ArmMean,
    /// A linear regression for each arm; the penalty, above 0, is on standardised weights, in rows.
    Ridge(f64),
    /// A logistic regression for each arm, of rewards in [0, 1]; the penalty as above.
    Logistic(f64),
}

/// Why there is no model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// Somebody's rows are alone, or there are none.
    #[error("all {rows} rows are in one fold: models need at least two clusters in different folds of {folds}")]
    OneFold {
        /// How many rows there are.
        rows: usize,
        /// How many folds were asked for.
        folds: u64,
    },
    /// A logistic regression was asked for what slates earn.
    #[error(
        "a logistic model is of rewards from 0 to 1, which what the rest of a slate earns is not; use ridge or arm_mean"
    )]
    NoSlates,
    /// A logistic regression was asked for rewards that are no shares.
    #[error("reward {reward} of row {row}: a logistic model needs rewards from 0 to 1; use ridge")]
    NoShare {
        /// The row, from 0.
        row: usize,
        /// Its reward.
        reward: f64,
    },
}

/// Models for every fold, each fitted on all others.
#[derive(Clone, Debug)]
pub struct CrossFitted {
    folds: Vec<Model>,
}

/// A model of every arm's reward.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// The mean reward of what it was fitted on.
    mean: f64,
    scaling: Scaling,
    arms: Vec<Arm>,
}

/// What is believed of one arm.
#[derive(Clone, Debug, PartialEq)]
enum Arm {
    Mean(f64),
    /// Weights on the constant and the standardised features, beside the mean of all.
    Linear(Vec<f64>),
    /// The same in logits.
    Logistic(Vec<f64>),
}

/// Fits a model of this kind for every fold of `folds`, at least 2.
///
/// # Errors
/// Where nothing is left to fit on, or the rewards are not of the kind.
pub fn cross_fit(kind: Kind, examples: &[Example<'_>], arms: usize, folds: u64) -> Result<CrossFitted, ModelError> {
    if let Kind::Logistic(_) = kind
        && let Some(row) = examples.iter().position(|example| !(0.0..=1.0).contains(&example.reward))
    {
        return Err(ModelError::NoShare { row, reward: examples[row].reward });
    }
    let clusters: Vec<u64> = examples.iter().map(|example| example.cluster).collect();
    let fit = |fold: u64| {
        let others: Vec<Example<'_>> = others(&clusters, fold, folds)?.into_iter().map(|row| examples[row]).collect();
        Ok(Model::fit(kind, &others, arms))
    };
    Ok(CrossFitted { folds: (0..folds).map(fit).collect::<Result<_, _>>()? })
}

/// The rows, by their clusters, that a fold's model is fitted on.
///
/// # Errors
/// Where there are none.
pub(super) fn others(clusters: &[u64], fold: u64, folds: u64) -> Result<Vec<usize>, ModelError> {
    let others: Vec<usize> = (0..clusters.len()).filter(|&row| fold_of(clusters[row], folds) != fold).collect();
    if others.is_empty() {
        return Err(ModelError::OneFold { rows: clusters.len(), folds });
    }
    Ok(others)
}

impl CrossFitted {
    /// The expected reward of an arm for a row of this cluster with these features.
    #[must_use]
    pub fn predict(&self, cluster: u64, features: &[f64], arm: usize) -> f64 {
        let fold = &self.folds[fold_of(cluster, self.folds.len() as u64) as usize];
        fold.predict(features, arm)
    }
}

/// The fold of a cluster, by the finaliser of Steele, Lea and Flood's SplitMix (2014): neighbours are strewn.
pub(super) fn fold_of(cluster: u64, folds: u64) -> u64 {
    let mut bits = cluster.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ (bits >> 31)) % folds.max(1)
}

impl Model {
    /// Fits one on at least one row.
    pub(super) fn fit(kind: Kind, examples: &[Example<'_>], arms: usize) -> Self {
        let mean = examples.iter().map(|example| example.reward).sum::<f64>() / examples.len() as f64;
        let scaling = Scaling::of(examples);
        let fit = |arm| {
            let own: Vec<&Example<'_>> = examples.iter().filter(|example| example.arm == arm).collect();
            match kind {
                Kind::ArmMean if own.is_empty() => Arm::Mean(mean),
                Kind::ArmMean => Arm::Mean(own.iter().map(|example| example.reward).sum::<f64>() / own.len() as f64),
                Kind::Ridge(penalty) => Arm::Linear(ridge::fit(&own, &scaling, mean, penalty)),
                Kind::Logistic(penalty) => Arm::Logistic(logistic::fit(&own, &scaling, mean, penalty)),
            }
        };
        let arms = (0..arms).map(fit).collect();
        Self { mean, scaling, arms }
    }

    /// The expected reward of an arm with these features.
    pub(super) fn predict(&self, features: &[f64], arm: usize) -> f64 {
        match self.arms.get(arm) {
            None => self.mean,
            Some(Arm::Mean(mean)) => *mean,
            Some(Arm::Linear(weights)) => self.mean + self.scaling.score(weights, features),
            Some(Arm::Logistic(weights)) => {
                logistic::sigmoid(logistic::offset(self.mean) + self.scaling.score(weights, features))
            }
        }
    }
}
