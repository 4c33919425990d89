//! Synthetic users: attributes drawn from a placement's context schema, and the features that their preferences
//! depend on.

use super::stream::stream;
use crate::proto::{Attribute, ContextSchema, NumberAttribute, Scaling, attribute};
use prost_types::{Value, value::Kind};
use rand::{Rng, RngExt as _, seq::IndexedRandom as _};
use std::collections::BTreeMap;

/// How often a user lacks an attribute that has a default.
const OMITTED: f64 = 0.1;
/// How often a category with a bucket for unknown words meets one.
const UNKNOWN: f64 = 0.05;
/// A word that no catalog is likely to list.
const UNKNOWN_WORD: &str = "something-else";

/// What is said of one user, and what is true of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct User {
    /// As sent with the request; some of those with a default are missing.
    pub(super) attributes: BTreeMap<String, Value>,
    /// The attributes as numbers, defaults included, in the schema's order.
    pub(super) features: Vec<f64>,
}

/// Draws a user; the same seed and index give the same one.
pub(super) fn user(schema: &ContextSchema, seed: u64, index: usize) -> User {
    let mut rng = stream(seed, &["user", &index.to_string()]);
    let mut attributes = BTreeMap::new();
    let mut features = Vec::new();
    for attribute in &schema.attributes {
        let drawn = draw(attribute, &mut rng);
        // The coin is tossed for every attribute, so that giving one a default leaves all other draws alone.
        let omitted = rng.random_bool(OMITTED);
        let kind = match default(attribute) {
            Some(default) if omitted => default,
            _ => {
                attributes.insert(attribute.name.clone(), Value { kind: Some(drawn.clone()) });
                drawn
            }
        };
        encode(attribute, &kind, &mut features);
    }
    User { attributes, features }
}

/// For each feature, the standard deviation that it roughly has over the population.
pub(super) fn feature_spreads(schema: &ContextSchema) -> Vec<f64> {
    let mut spreads = Vec::new();
    for attribute in &schema.attributes {
        match &attribute.r#type {
            // Of the uniform distribution on [-1, 1].
            Some(attribute::Type::Number(_)) => spreads.push(1.0 / 3_f64.sqrt()),
            Some(attribute::Type::Boolean(_)) => spreads.push(0.5),
            Some(attribute::Type::Category(category)) => {
                let words = category.values.len() + usize::from(category.unknown_bucket);
                let share = 1.0 / words as f64;
                spreads.extend(std::iter::repeat_n((share * (1.0 - share)).sqrt(), words));
            }
            None => {}
        }
    }
    spreads
}

fn draw(attribute: &Attribute, rng: &mut impl Rng) -> Kind {
    match &attribute.r#type {
        Some(attribute::Type::Number(number)) => Kind::NumberValue(draw_number(number, rng)),
        Some(attribute::Type::Boolean(_)) => Kind::BoolValue(rng.random()),
        Some(attribute::Type::Category(category)) => {
            let unknown = rng.random_bool(UNKNOWN) && category.unknown_bucket;
            let word = category.values.choose(rng).filter(|_| !unknown);
            Kind::StringValue(word.cloned().unwrap_or_else(|| UNKNOWN_WORD.to_owned()))
        }
        None => Kind::NullValue(0),
    }
}

/// Uniform after scaling: a logarithmic attribute gets many small values and few large ones, as it is meant for.
fn draw_number(number: &NumberAttribute, rng: &mut impl Rng) -> f64 {
    let unit: f64 = rng.random();
    let range = number.max - number.min;
    let above = match number.scaling() {
        Scaling::Log => (unit * range.ln_1p()).exp_m1(),
        Scaling::Linear | Scaling::Unspecified => unit * range,
    };
    // Whole numbers read better in logs, where the range has room for them.
    let value = if range >= 10.0 { (number.min + above).round() } else { number.min + above };
    value.clamp(number.min, number.max)
}

fn default(attribute: &Attribute) -> Option<Kind> {
    match attribute.r#type.as_ref()? {
        attribute::Type::Number(number) => number.default.map(Kind::NumberValue),
        attribute::Type::Category(category) => category.default.clone().map(Kind::StringValue),
        attribute::Type::Boolean(boolean) => boolean.default.map(Kind::BoolValue),
    }
}

fn encode(attribute: &Attribute, kind: &Kind, features: &mut Vec<f64>) {
    match (&attribute.r#type, kind) {
        (Some(attribute::Type::Number(number)), &Kind::NumberValue(value)) => {
            let range = number.max - number.min;
            let unit = match number.scaling() {
                Scaling::Log => (value - number.min).ln_1p() / range.ln_1p(),
                Scaling::Linear | Scaling::Unspecified => (value - number.min) / range,
            };
            features.push(2.0 * unit - 1.0);
        }
        (Some(attribute::Type::Category(category)), Kind::StringValue(word)) => {
            let known = category.values.iter().position(|value| value == word);
            features.extend((0..category.values.len()).map(|index| indicator(known == Some(index))));
            features.extend(category.unknown_bucket.then(|| indicator(known.is_none())));
        }
        (Some(attribute::Type::Boolean(_)), &Kind::BoolValue(truth)) => features.push(indicator(truth)),
        // Drawn values and checked defaults have their attribute's type.
        _ => {}
    }
}

fn indicator(truth: bool) -> f64 {
    if truth { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{BooleanAttribute, CategoryAttribute};

    fn schema() -> ContextSchema {
        let number = NumberAttribute {
            min: 0.0,
            max: 3650.0,
            scaling: Scaling::Log.into(),
            default: Some(0.0),
            ..Default::default()
        };
        let values = vec!["email".to_owned(), "search".to_owned()];
        let category = CategoryAttribute { values, unknown_bucket: true, default: Some("search".to_owned()) };
        let attribute = |name: &str, r#type| Attribute { name: name.to_owned(), r#type: Some(r#type) };
        ContextSchema {
            attributes: vec![
                attribute("tenure_days", attribute::Type::Number(number)),
                attribute("channel", attribute::Type::Category(category)),
                attribute("trial_used", attribute::Type::Boolean(BooleanAttribute { default: None })),
            ],
        }
    }

    #[test]
    fn a_user_depends_on_seed_and_index_only() {
        assert_eq!(user(&schema(), 1, 7), user(&schema(), 1, 7));
        assert_ne!(user(&schema(), 1, 7), user(&schema(), 1, 8));
        assert_ne!(user(&schema(), 1, 7), user(&schema(), 2, 7));
    }

    #[test]
    fn attributes_stay_in_bounds_and_defaults_stand_in() {
        let users: Vec<User> = (0..500).map(|index| user(&schema(), 1, index)).collect();
        for User { attributes, features } in &users {
            assert_eq!(features.len(), 5);
            assert_eq!(features.len(), feature_spreads(&schema()).len());
            assert!(features.iter().all(|feature| (-1.0..=1.0).contains(feature)), "{features:?}");
            assert_eq!(features[1] + features[2] + features[3], 1.0);
            assert!(attributes.contains_key("trial_used"), "an attribute without default is always sent");
            if !attributes.contains_key("channel") {
                assert_eq!(features[2], 1.0, "the default stands in");
            }
        }
        assert!(users.iter().any(|user| user.features[3] == 1.0), "unknown words occur");
        let omitted = users.iter().filter(|user| !user.attributes.contains_key("tenure_days")).count();
        // 500 coins of 0.1: 50 +- 5 standard deviations of 6.7.
        assert!((17..=83).contains(&omitted), "{omitted}");
    }
}
