//! What is known of user and moment, and the features that models see of it.
//!
//! The feature vector is: intercept (1); then the attributes in the schema's order: a number is one feature scaled
//! to [-1, 1]; a category is one feature per word, and one more where there is a bucket for unknown words; a
//! boolean is one feature, 0 or 1. Where every slot is learned from, one feature follows for each slot but the first.

use std::sync::Arc;

/// Most attributes of one schema.
pub const ATTRIBUTES_MAX: usize = 64;
/// Most features that a schema may encode to, the intercept and slot features included.
pub const FEATURES_MAX: usize = 256;
/// Most words of one category.
pub const CATEGORY_VALUES_MAX: usize = 128;

/// The attributes of a placement, in the order of their features.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContextSchema {
    /// In the order of the catalog, which is the order of the features.
    pub attributes: Vec<Attribute>,
}

/// One thing that is known of user or moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Name such as `tenure_days`.
    pub name: Arc<str>,
    /// What its values are.
    pub kind: AttributeKind,
    /// Stands in when a request lacks it; `None`: required.
    pub default: Option<AttributeValue>,
}

/// What an attribute's values are.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeKind {
    /// A number from `min` to `max`, `min < max`, both finite.
    Number {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
        /// How it is scaled to [-1, 1].
        scaling: Scaling,
        /// Whether values outside the bounds are clipped; otherwise they are refused.
        clip: bool,
    },
    /// One of several words.
    Category {
        /// The words, at least one, no two equal.
        values: Vec<Arc<str>>,
        /// Whether other words are accepted, all as one.
        unknown_bucket: bool,
    },
    /// Yes or no.
    Boolean,
}

/// How a number is scaled to [-1, 1].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// 2 (x - min) / (max - min) - 1.
    Linear,
    /// 2 ln(1 + x - min) / ln(1 + max - min) - 1.
    Log,
}

/// A validated value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// Finite and within its bounds.
    Number(f64),
    /// A known word, or any word where there is a bucket for unknown ones.
    Category(Arc<str>),
    /// Yes or no.
    Boolean(bool),
}

/// Why a value was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AttributeError {
    /// A value of another type.
    #[error("is {actual}, must be {expected}")]
    Type {
        /// What it must be, such as `a number`.
        expected: &'static str,
        /// What it is.
        actual: &'static str,
    },
    /// NaN or an infinity.
    #[error("is {value}, must be a finite number")]
    NotFinite {
        /// As given.
        value: f64,
    },
    /// Outside the bounds of an attribute that does not clip.
    #[error("is {value}, must be from {min} to {max}")]
    OutOfBounds {
        /// As given.
        value: f64,
        /// Smallest accepted.
        min: f64,
        /// Largest accepted.
        max: f64,
    },
    /// Not a known word.
    #[error("is \"{value}\", must be one of: {accepted}")]
    UnknownWord {
        /// As given.
        value: String,
        /// The words, separated by commas.
        accepted: String,
    },
}

impl Attribute {
    /// Checks a value against the attribute; the flag says whether it was clipped.
    ///
    /// # Errors
    /// Says what the value is and what is accepted.
    pub fn check(&self, value: AttributeValue) -> Result<(AttributeValue, bool), AttributeError> {
        match (&self.kind, value) {
            (&AttributeKind::Number { min, max, clip, .. }, AttributeValue::Number(number)) => {
                if !number.is_finite() {
                    return Err(AttributeError::NotFinite { value: number });
                }
                let clipped = number.clamp(min, max);
                let outside = clipped.total_cmp(&number).is_ne() && !(min..=max).contains(&number);
                if outside && !clip {
                    return Err(AttributeError::OutOfBounds { value: number, min, max });
                }
                Ok((AttributeValue::Number(clipped), outside))
            }
            (AttributeKind::Category { values, unknown_bucket }, AttributeValue::Category(word)) => {
                if !unknown_bucket && !values.contains(&word) {
                    let accepted = values.join(", ");
                    return Err(AttributeError::UnknownWord { value: word.to_string(), accepted });
                }
                Ok((AttributeValue::Category(word), false))
            }
            (AttributeKind::Boolean, AttributeValue::Boolean(truth)) => Ok((AttributeValue::Boolean(truth), false)),
            (kind, value) => Err(AttributeError::Type { expected: kind.noun(), actual: value.noun() }),
        }
    }
}

impl AttributeKind {
    /// What to call a value of this kind in a message.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Number { .. } => "a number",
            Self::Category { .. } => "a string",
            Self::Boolean => "a boolean",
        }
    }

    fn feature_count(&self) -> usize {
        match self {
            Self::Number { .. } | Self::Boolean => 1,
            Self::Category { values, unknown_bucket } => values.len() + usize::from(*unknown_bucket),
        }
    }
}

impl AttributeValue {
    fn noun(&self) -> &'static str {
        match self {
            Self::Number(_) => "a number",
            Self::Category(_) => "a string",
            Self::Boolean(_) => "a boolean",
        }
    }
}

impl ContextSchema {
    /// Number of features, the intercept included, slot features not.
    #[must_use]
    pub fn feature_count(&self) -> usize {
        1 + self.attributes.iter().map(|attribute| attribute.kind.feature_count()).sum::<usize>()
    }

    /// Names of the features in order: `intercept`, `tenure_days`, `channel=email`, `channel=(unknown)`.
    #[must_use]
    pub fn feature_names(&self) -> Vec<String> {
        let mut names = vec!["intercept".to_owned()];
        for Attribute { name, kind, .. } in &self.attributes {
            match kind {
                AttributeKind::Number { .. } | AttributeKind::Boolean => names.push(name.to_string()),
                AttributeKind::Category { values, unknown_bucket } => {
                    names.extend(values.iter().map(|value| format!("{name}={value}")));
                    names.extend(unknown_bucket.then(|| format!("{name}=(unknown)")));
                }
            }
        }
        names
    }

    /// The attributes of nobody in particular: every attribute at its default, or else at the start of its range: the
    /// smallest number, the first word, no.
    #[must_use]
    pub fn neutral(&self) -> Vec<AttributeValue> {
        let value = |attribute: &Attribute| match (&attribute.default, &attribute.kind) {
            (Some(default), _) => default.clone(),
            (None, AttributeKind::Number { min, .. }) => AttributeValue::Number(*min),
            (None, AttributeKind::Category { values, .. }) => {
                AttributeValue::Category(values.first().cloned().unwrap_or_default())
            }
            (None, AttributeKind::Boolean) => AttributeValue::Boolean(false),
        };
        self.attributes.iter().map(value).collect()
    }

    /// Encodes checked values, one for each attribute in the schema's order.
    #[must_use]
    pub fn encode(&self, values: &[AttributeValue]) -> Vec<f64> {
        debug_assert_eq!(values.len(), self.attributes.len());
        let mut features = Vec::with_capacity(self.feature_count());
        features.push(1.0);
        for (attribute, value) in self.attributes.iter().zip(values) {
            match (&attribute.kind, value) {
                (&AttributeKind::Number { min, max, scaling, .. }, &AttributeValue::Number(number)) => {
                    features.push(scaling.apply(number, min, max));
                }
                (AttributeKind::Category { values, unknown_bucket }, AttributeValue::Category(word)) => {
                    let known = values.iter().position(|value| value == word);
                    features.extend((0..values.len()).map(|index| f64::from(u8::from(known == Some(index)))));
                    features.extend(unknown_bucket.then(|| f64::from(u8::from(known.is_none()))));
                }
                (_, &AttributeValue::Boolean(truth)) => features.push(f64::from(u8::from(truth))),
                // A value of another kind than declared cannot pass `Attribute::check`.
                (kind, _) => features.extend((0..kind.feature_count()).map(|_| 0.0)),
            }
        }
        features
    }
}

impl Scaling {
    fn apply(self, number: f64, min: f64, max: f64) -> f64 {
        let unit = match self {
            Self::Linear => (number - min) / (max - min),
            Self::Log => libm::log1p(number - min) / libm::log1p(max - min),
        };
        2.0 * unit - 1.0
    }
}
