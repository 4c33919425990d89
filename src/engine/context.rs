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

    /// A checked value as models see it.
    fn code(&self, value: &AttributeValue) -> f64 {
        match (self, value) {
            (&Self::Number { min, max, scaling, .. }, &AttributeValue::Number(number)) => {
                scaling.apply(number, min, max)
            }
            (Self::Category { values, .. }, AttributeValue::Category(word)) => {
                values.iter().position(|value| value == word).unwrap_or(values.len()) as f64
            }
            (_, &AttributeValue::Boolean(truth)) => f64::from(u8::from(truth)),
            // A value of another kind than declared cannot pass `Attribute::check`.
            _ => 0.0,
        }
    }

    /// The value that a code stands for.
    fn value(&self, code: f64) -> AttributeValue {
        match self {
            &Self::Number { min, max, scaling, .. } => AttributeValue::Number(scaling.undo(code, min, max)),
            Self::Category { values, .. } => {
                AttributeValue::Category(values.get(code as usize).cloned().unwrap_or_default())
            }
            Self::Boolean => AttributeValue::Boolean(code > 0.0),
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
        self.expand(self.attributes.iter().zip(values).map(|(attribute, value)| attribute.kind.code(value)))
    }

    /// Checked values as models see them and no more, one number for each attribute in the schema's order: a number as it
    /// is scaled, the place of a word, 0 or 1. Words that no category knows are all the same here.
    #[must_use]
    pub fn codes(&self, values: &[AttributeValue]) -> Vec<f64> {
        self.attributes.iter().zip(values).map(|(attribute, value)| attribute.kind.code(value)).collect()
    }

    /// The features of codes that this schema has made: to the last bit those of the values that they were made of.
    #[must_use]
    pub fn features(&self, codes: &[f64]) -> Vec<f64> {
        debug_assert_eq!(codes.len(), self.attributes.len());
        self.expand(codes.iter().copied())
    }

    /// The values that codes of this schema stand for, by name: numbers to within rounding, and an empty word for one that
    /// no category knows.
    #[must_use]
    pub fn values(&self, codes: &[f64]) -> Vec<(Arc<str>, AttributeValue)> {
        let named = |(attribute, &code): (&Attribute, &f64)| (attribute.name.clone(), attribute.kind.value(code));
        self.attributes.iter().zip(codes).map(named).collect()
    }

    fn expand(&self, codes: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut features = Vec::with_capacity(self.feature_count());
        features.push(1.0);
        for (attribute, code) in self.attributes.iter().zip(codes) {
            match &attribute.kind {
                AttributeKind::Category { .. } => {
                    let place = code as usize;
                    let count = attribute.kind.feature_count();
                    features.extend((0..count).map(|index| f64::from(u8::from(index == place))));
                }
                AttributeKind::Number { .. } | AttributeKind::Boolean => features.push(code),
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

    fn undo(self, scaled: f64, min: f64, max: f64) -> f64 {
        let unit = (scaled + 1.0) / 2.0;
        let number = match self {
            Self::Linear => min + unit * (max - min),
            Self::Log => min + libm::expm1(unit * libm::log1p(max - min)),
        };
        number.clamp(min, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    fn schema() -> ContextSchema {
        let number = |scaling| AttributeKind::Number { min: -3.0, max: 40.0, scaling, clip: true };
        let words = |unknown_bucket| {
            let values = ["ads", "email", "web"].map(Arc::from).to_vec();
            AttributeKind::Category { values, unknown_bucket }
        };
        let kinds = [number(Scaling::Linear), number(Scaling::Log), words(true), words(false), AttributeKind::Boolean];
        let named = |(place, kind)| Attribute { name: format!("a{place}").into(), kind, default: None };
        ContextSchema { attributes: kinds.into_iter().enumerate().map(named).collect() }
    }

    fn checked() -> impl Strategy<Value = Vec<AttributeValue>> {
        let word = |words: &'static str| words.prop_map(|word: String| AttributeValue::Category(word.into()));
        let number = || (-3.0..40.0_f64).prop_map(AttributeValue::Number);
        let truth = any::<bool>().prop_map(AttributeValue::Boolean);
        let values = (number(), number(), word("ads|email|web|x[a-z]{3}"), word("ads|email|web"), truth);
        values.prop_map(|(a, b, c, d, e)| vec![a, b, c, d, e])
    }

    proptest! {
        #[test]
        fn codes_lead_to_the_features_of_the_values_and_back_to_the_values(values in checked()) {
            let schema = schema();
            let codes = schema.codes(&values);
            let bits = |features: Vec<f64>| features.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            prop_assert_eq!(bits(schema.features(&codes)), bits(schema.encode(&values)));
            for (value, (_, read)) in values.iter().zip(schema.values(&codes)) {
                match (value, read) {
                    // A span of 43, and a few roundings of numbers that size.
                    (AttributeValue::Number(number), AttributeValue::Number(read)) => {
                        prop_assert!((number - read).abs() < 64.0 * 8.0 * f64::EPSILON, "{} {}", number, read);
                    }
                    (AttributeValue::Category(word), AttributeValue::Category(read)) => {
                        prop_assert_eq!(if word.starts_with('x') { "" } else { word }, &*read);
                    }
                    (value, read) => prop_assert_eq!(value, &read),
                }
            }
        }
    }
}
