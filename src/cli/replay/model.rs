//! Which reward model is asked for.

use crate::replay::models::{Kind, ModelError};

/// A reward model, cross-fitted by user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Model {
    /// None: the estimators that need one are left out, and nothing is kept of a row.
    None,
    /// The mean reward of each offer.
    ArmMean,
    /// A linear regression for each offer.
    Ridge,
    /// A logistic regression for each offer, of rewards from 0 to 1.
    Logistic,
}

/// Whether a model was fitted: where all users are in one fold there is none, and the gate says what the log lacks.
pub(super) fn is_fitted(fitted: Result<(), ModelError>) -> Result<bool, ModelError> {
    match fitted {
        Ok(()) => Ok(true),
        Err(ModelError::OneFold { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Model {
    /// The penalty on weights, in rows.
    const PENALTY: f64 = 10.0;

    pub(super) const fn kind(self) -> Option<Kind> {
        match self {
            Self::None => None,
            Self::ArmMean => Some(Kind::ArmMean),
            Self::Ridge => Some(Kind::Ridge(Self::PENALTY)),
            Self::Logistic => Some(Kind::Logistic(Self::PENALTY)),
        }
    }
}
