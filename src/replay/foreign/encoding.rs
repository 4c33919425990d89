//! What was known of foreign choices, as numbers: for reward and propensity models, which need no schema.
//!
//! Numbers as they are, truths as 0 and 1, of categories an indicator for each that is frequent, and one for each position
//! but the first. What is not told is 0.

use super::Choice;
use crate::engine::context::AttributeValue;
use std::{collections::BTreeMap, sync::Arc};

/// Indicators of one attribute: a category beyond the most frequent is like one that is not told.
const CATEGORIES_MAX: usize = 20;

/// An attribute, and which of its categories.
type Feature = (Arc<str>, Option<Arc<str>>);

/// Which feature stands where.
#[derive(Clone, Debug)]
pub(super) struct Encoding {
    places: BTreeMap<Feature, usize>,
    positions: usize,
}

impl Encoding {
    /// Of everything that stands in these choices.
    pub(super) fn of(choices: &[Choice]) -> Self {
        let mut counts: BTreeMap<Feature, u64> = BTreeMap::new();
        for (name, value) in choices.iter().flat_map(|choice| &choice.context) {
            *counts.entry(feature(name, value)).or_default() += 1;
        }
        let mut by_name: BTreeMap<Arc<str>, Vec<(u64, Feature)>> = BTreeMap::new();
        for (feature, count) in counts {
            by_name.entry(feature.0.clone()).or_default().push((count, feature));
        }
        let mut places = BTreeMap::new();
        for mut features in by_name.into_values() {
            // The most frequent first, those as frequent by name.
            features.sort_by(|(count, feature), (other, other_feature)| {
                other.cmp(count).then_with(|| feature.cmp(other_feature))
            });
            for (_, feature) in features.into_iter().take(CATEGORIES_MAX) {
                let next = places.len();
                places.insert(feature, next);
            }
        }
        Self { places, positions: choices.iter().map(|choice| choice.position).max().unwrap_or(0) }
    }

    /// Of one choice.
    pub(super) fn features(&self, choice: &Choice) -> Vec<f64> {
        let mut features = vec![0.0; self.places.len() + self.positions];
        for (name, value) in &choice.context {
            if let Some(&place) = self.places.get(&feature(name, value)) {
                features[place] = match value {
                    AttributeValue::Number(number) => *number,
                    AttributeValue::Boolean(truth) => f64::from(u8::from(*truth)),
                    AttributeValue::Category(_) => 1.0,
                };
            }
        }
        if let Some(place) = choice.position.checked_sub(1) {
            features[self.places.len() + place] = 1.0;
        }
        features
    }
}

fn feature(name: &Arc<str>, value: &AttributeValue) -> Feature {
    let category = match value {
        AttributeValue::Category(category) => Some(category.clone()),
        AttributeValue::Number(_) | AttributeValue::Boolean(_) => None,
    };
    (name.clone(), category)
}
