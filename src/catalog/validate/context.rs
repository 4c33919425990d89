//! Context schemas: attributes whose every accepted value encodes to finite features.

use super::findings::{ATTRIBUTE, Findings, Seen};
use crate::{
    catalog::{path::Path, problem::quoted},
    engine::context::{
        ATTRIBUTES_MAX, Attribute, AttributeKind, AttributeValue, CATEGORY_VALUES_MAX, ContextSchema, Scaling,
    },
    proto::{self, attribute::Type},
};
use std::sync::Arc;

/// Largest bound of a number, up or down: one apart from another, doubles still tell them.
const BOUND_MAX: f64 = 1e15;
/// Longest word of a category, in bytes.
const WORD_BYTES_MAX: usize = 64;
/// The names that features have without being attributes or words.
const INTERCEPT: &str = "intercept";
const UNKNOWN_WORD: &str = "(unknown)";

/// Checks the attributes of a placement.
pub(super) fn schema(path: &Path, declared: Option<&proto::ContextSchema>, findings: &mut Findings) -> ContextSchema {
    let Some(proto::ContextSchema { attributes }) = declared else { return ContextSchema::default() };
    let path = path.field("attributes");
    findings.check_count(&path, attributes.len(), ATTRIBUTES_MAX);
    let mut seen = Seen::new();
    let mut schema = ContextSchema::default();
    for (index, declared) in attributes.iter().enumerate() {
        let path = path.index(index);
        let name_path = path.field("name");
        findings.check_id(&name_path, &declared.name, &ATTRIBUTE, &mut seen);
        if declared.name == INTERCEPT {
            findings.refuse(&name_path, "is \"intercept\", the name of the feature that is always 1: choose another");
        }
        schema.attributes.extend(attribute(&path, declared, findings));
    }
    schema
}

fn attribute(path: &Path, declared: &proto::Attribute, findings: &mut Findings) -> Option<Attribute> {
    let (kind, default) = match &declared.r#type {
        Some(Type::Number(number)) => number_kind(&path.field("number"), number, findings)?,
        Some(Type::Category(category)) => category_kind(&path.field("category"), category, findings),
        Some(Type::Boolean(boolean)) => (AttributeKind::Boolean, boolean.default.map(AttributeValue::Boolean)),
        None => {
            findings.refuse(path, "has no type, must have one of: number, category, boolean");
            return None;
        }
    };
    Some(Attribute { name: Arc::from(declared.name.as_str()), kind, default })
}

fn number_kind(
    path: &Path,
    declared: &proto::NumberAttribute,
    findings: &mut Findings,
) -> Option<(AttributeKind, Option<AttributeValue>)> {
    let &proto::NumberAttribute { min, max, scaling, out_of_bounds, default } = declared;
    let scaling = match proto::Scaling::try_from(scaling) {
        Ok(proto::Scaling::Unspecified | proto::Scaling::Linear) => Some(Scaling::Linear),
        Ok(proto::Scaling::Log) => Some(Scaling::Log),
        Err(_) => {
            findings.refuse_number(&path.field("scaling"), scaling);
            None
        }
    };
    let clip = match proto::OutOfBounds::try_from(out_of_bounds) {
        Ok(proto::OutOfBounds::Unspecified | proto::OutOfBounds::Reject) => Some(false),
        Ok(proto::OutOfBounds::Clip) => Some(true),
        Err(_) => {
            findings.refuse_number(&path.field("out_of_bounds"), out_of_bounds);
            None
        }
    };
    let bounded = [("min", min), ("max", max)]
        .map(|(name, bound)| findings.check_range(&path.field(name), bound, -BOUND_MAX, BOUND_MAX));
    if bounded != [true, true] {
        return None;
    }
    if min >= max {
        findings.refuse(&path.field("max"), format!("is {max}, must be above min, {min}"));
        return None;
    }
    if let Some(default) = default {
        findings.check_range(&path.field("default"), default, min, max);
    }
    let kind = AttributeKind::Number { min, max, scaling: scaling?, clip: clip? };
    Some((kind, default.map(AttributeValue::Number)))
}

fn category_kind(
    path: &Path,
    declared: &proto::CategoryAttribute,
    findings: &mut Findings,
) -> (AttributeKind, Option<AttributeValue>) {
    let proto::CategoryAttribute { values, unknown_bucket, default } = declared;
    let values_path = path.field("values");
    if values.is_empty() {
        findings.refuse(&values_path, "is empty: list the words of the category");
    }
    findings.check_count(&values_path, values.len(), CATEGORY_VALUES_MAX);
    let mut seen = Seen::new();
    for (index, word) in values.iter().enumerate() {
        let path = values_path.index(index);
        findings.check_text(&path, word, WORD_BYTES_MAX);
        findings.check_distinct(&path, word, &mut seen);
        if word == UNKNOWN_WORD {
            findings.refuse(&path, "is \"(unknown)\", the name of the bucket for other words: choose another");
        }
    }
    if let Some(default) = default {
        let path = path.field("default");
        if values.contains(default) {
            // Known, and checked above.
        } else if *unknown_bucket {
            findings.check_text(&path, default, WORD_BYTES_MAX);
        } else {
            let accepted = values.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
            let description = format!("is {}, must be one of its values: {accepted}", quoted(default));
            findings.refuse(&path, description);
        }
    }
    let words = values.iter().map(|word| Arc::from(word.as_str())).collect();
    let default = default.as_ref().map(|word| AttributeValue::Category(Arc::from(word.as_str())));
    (AttributeKind::Category { values: words, unknown_bucket: *unknown_bucket }, default)
}
