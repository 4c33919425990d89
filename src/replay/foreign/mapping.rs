//! The file that says which column of a plain table is what, in YAML.
//!
//! ```yaml
//! action: offer            # column of what was chosen
//! actions: [a, b, none]    # everything that could be
//! reward: paid             # column of what it earned; an empty field: not told
//! propensity: p            # column of the probability; without it propensities are estimated
//! user: customer           # column of whose it was; rows of one user are not independent
//! time: shown_at           # column of when: RFC 3339
//! position: slot           # column of the position, from 1
//! context:                 # columns of what was known
//!   age: number
//!   channel: category
//!   returning: boolean
//! ```

use serde::Deserialize;
use std::{collections::BTreeMap, str::FromStr};

/// Which column of a plain table is what.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// What was chosen.
    pub action: String,
    /// Everything that could be.
    pub actions: Vec<String>,
    /// What it earned.
    pub reward: String,
    /// The probability with which it was chosen; `None`: not told.
    pub propensity: Option<String>,
    /// Whose it was.
    pub user: Option<String>,
    /// When.
    pub time: Option<String>,
    /// In which position, from 1.
    pub position: Option<String>,
    /// What was known, by column.
    #[serde(default)]
    pub context: BTreeMap<String, Kind>,
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Finite numbers.
    Number,
    /// Words.
    Category,
    /// true or false, 1 or 0.
    Boolean,
}

/// Not a mapping.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct MappingError {
    /// What is wrong, with its line, and what is accepted.
    reason: String,
}

impl FromStr for Mapping {
    type Err = MappingError;

    fn from_str(text: &str) -> Result<Self, MappingError> {
        let wrong = |reason: String| MappingError { reason };
        let mapping: Self = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let mut actions = mapping.actions.clone();
        actions.sort();
        actions.dedup();
        if actions.len() != mapping.actions.len() || actions.is_empty() {
            return Err(wrong("actions: must name at least one action, and none twice".to_owned()));
        }
        Ok(mapping)
    }
}
