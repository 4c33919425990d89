//! A YAML tree to a protobuf message, guided by the message's descriptor, which names every field there is.
//!
//! Reading never stops at a mistake: what cannot be read is left out of the message and noted, with its path and
//! place, and reading goes on beside it. Lists keep the indices that the file gives them.

use super::{
    characters, scalar,
    tree::{Content, Node},
};
use crate::catalog::{
    path::Path,
    problem::{Location, Locations, Problem, Severity, quoted},
    suggest::did_you_mean,
};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use prost_types::Timestamp;
use std::collections::{BTreeMap, HashMap};

const TIMESTAMP: &str = "google.protobuf.Timestamp";
/// A number, a text or a boolean, as it is written.
const VALUE: &str = "google.protobuf.Value";
/// The field whose mistakes are pointed at within it.
const EXPRESSION: &str = "offer_ranker.v1.Rule.expression";

/// The field that people tend to write in other units.
const AMOUNT: &str = "offer_ranker.v1.Money.amount_minor";

/// Reads messages and gathers what is wrong with them and where everything stands.
pub(super) struct Reader<'t> {
    text: &'t str,
    /// What is wrong so far.
    pub(super) problems: Vec<Problem>,
    /// Where everything stands so far.
    pub(super) locations: Locations,
}

/// A field as the file gave it.
struct Given<'a> {
    name: &'a str,
    location: Location,
}

impl<'t> Reader<'t> {
    /// Reads from the text of a file.
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new(), locations: Locations::default() }
    }

    /// Reads a message from a mapping.
    pub(super) fn message(&mut self, node: &Node, descriptor: &MessageDescriptor, path: &Path) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        if !self.accept(node, node.location, path) {
            return message;
        }
        let Content::Mapping(entries) = &node.content else {
            self.note(path, node.location, format!("is {}, must be a mapping", describe(node)));
            return message;
        };
        let mut given = BTreeMap::new();
        for (key, value) in entries {
            let Some(field) = self.field(key, descriptor, path) else { continue };
            let location = value.location_under(key);
            let path = path.field(field.name());
            if !self.first(&field, key, &path, &mut given) {
                continue;
            }
            self.locations.insert(path.as_str(), location);
            if let Content::Scalar { text, .. } = &value.content
                && field.full_name() == EXPRESSION
            {
                self.locations.insert_characters(path.as_str(), characters::places(self.text, value.location, text));
            }
            if let Some(value) = self.value(value, location, &field, &path) {
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, key: &Node, descriptor: &MessageDescriptor, path: &Path) -> Option<FieldDescriptor> {
        let Some(name) = key.text().filter(|_| key.refusal.is_none()) else {
            let reason = key.refusal.unwrap_or("is not a plain name");
            self.note(path, key.location, format!("has a key that {reason}"));
            return None;
        };
        let found = descriptor.get_field_by_name(name).or_else(|| descriptor.get_field_by_json_name(name));
        if found.is_none() {
            let fields: Vec<_> = descriptor.fields().collect();
            let names = || fields.iter().map(FieldDescriptor::name);
            let mut suggestion = did_you_mean(name, names());
            if suggestion.is_empty() {
                suggestion = format!("; it has: {}", names().collect::<Vec<_>>().join(", "));
            }
            let description = format!("is no field of {}{suggestion}", descriptor.name());
            self.note(&path.key(name), key.location, description);
        }
        found
    }

    /// Whether a field may be set: neither it nor a rival of its oneof was given before.
    fn first<'a>(
        &mut self,
        field: &FieldDescriptor,
        key: &'a Node,
        path: &Path,
        given: &mut BTreeMap<u32, Given<'a>>,
    ) -> bool {
        let name = key.text().unwrap_or_default();
        if let Some(earlier) = given.get(&field.number()) {
            let as_other_name =
                if earlier.name == name { String::new() } else { format!(", as {} and as {name}", earlier.name) };
            let description = format!("is given twice{as_other_name}; the first is in line {}", earlier.location.line);
            self.note(path, key.location, description);
            return false;
        }
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        let rival = oneof.as_ref().and_then(|oneof| oneof.fields().find_map(|rival| given.get(&rival.number())));
        let allowed = match (&oneof, rival) {
            (Some(oneof), Some(rival)) => {
                let names: Vec<_> = oneof.fields().map(|field| field.name().to_owned()).collect();
                let description = format!(
                    "cannot stand beside {} in line {}: at most one {} of {} may be given",
                    rival.name,
                    rival.location.line,
                    oneof.name(),
                    names.join(", ")
                );
                self.note(path, key.location, description);
                false
            }
            _ => true,
        };
        given.insert(field.number(), Given { name, location: key.location });
        allowed
    }

    fn value(&mut self, node: &Node, location: Location, field: &FieldDescriptor, path: &Path) -> Option<Value> {
        if !self.accept(node, location, path) {
            return None;
        }
        match (&node.content, field.is_map(), field.is_list()) {
            (Content::Mapping(entries), true, _) => Some(Value::Map(self.map(entries, field, path))),
            (Content::List(entries), _, true) => Some(Value::List(self.list(entries, &field.kind(), path))),
            (_, true, _) => self.refuse(path, location, format!("is {}, must be a mapping", describe(node))),
            (_, _, true) => self.refuse(path, location, format!("is {}, must be a list", describe(node))),
            (Content::Scalar { text, plain }, ..) if field.full_name() == AMOUNT => {
                match scalar::read(text, *plain, &field.kind()) {
                    Ok(amount) => Some(amount),
                    Err(description) => {
                        let unit = "it counts minor units of the currency: 8300 for 83.00 kr, 83 for 83 yen";
                        self.refuse(path, location, format!("{description}; {unit}"))
                    }
                }
            }
            _ => self.single(node, location, &field.kind(), path),
        }
    }

    fn map(&mut self, entries: &[(Node, Node)], field: &FieldDescriptor, path: &Path) -> HashMap<MapKey, Value> {
        let Kind::Message(entry) = field.kind() else { return HashMap::new() };
        let kind = entry.map_entry_value_field().kind();
        let mut given: BTreeMap<&str, Location> = BTreeMap::new();
        let mut map = HashMap::new();
        for (key, value) in entries {
            let Some(name) = key.text().filter(|_| key.refusal.is_none()) else {
                let reason = key.refusal.unwrap_or("is not a plain name");
                self.note(path, key.location, format!("has a key that {reason}"));
                continue;
            };
            let path = path.key(name);
            if let Some(earlier) = given.get(name) {
                self.note(&path, key.location, format!("is given twice; the first is in line {}", earlier.line));
                continue;
            }
            given.insert(name, key.location);
            let location = value.location_under(key);
            self.locations.insert(path.as_str(), location);
            if self.accept(value, location, &path)
                && let Some(value) = self.single(value, location, &kind, &path)
            {
                map.insert(MapKey::String(name.to_owned()), value);
            }
        }
        map
    }

    fn list(&mut self, entries: &[Node], kind: &Kind, path: &Path) -> Vec<Value> {
        let read = |(index, entry): (usize, &Node)| {
            let path = path.index(index);
            self.locations.insert(path.as_str(), entry.location);
            let accepted = self.accept(entry, entry.location, &path);
            let value = accepted.then(|| self.single(entry, entry.location, kind, &path)).flatten();
            // The place of a refused entry stays taken, so that those after it keep their index.
            value.unwrap_or_else(|| Value::default_value(kind))
        };
        entries.iter().enumerate().map(read).collect()
    }

    fn single(&mut self, node: &Node, location: Location, kind: &Kind, path: &Path) -> Option<Value> {
        match (kind, &node.content) {
            (Kind::Message(descriptor), content) if descriptor.full_name() == TIMESTAMP => {
                let Content::Scalar { text, .. } = content else {
                    let description = format!("is {}, must be an instant such as 2026-11-27T00:00:00Z", describe(node));
                    return self.refuse(path, location, description);
                };
                match scalar::timestamp(text) {
                    Ok(timestamp) => Some(Value::Message(instant(timestamp, descriptor))),
                    Err(description) => self.refuse(path, location, description),
                }
            }
            (Kind::Message(descriptor), content) if descriptor.full_name() == VALUE => {
                let Content::Scalar { text, plain } = content else {
                    return self.refuse(path, location, format!("is {}, must be a single value", describe(node)));
                };
                Some(Value::Message(any_value(scalar::any(text, *plain), descriptor)))
            }
            (Kind::Message(descriptor), Content::Mapping(_)) => {
                Some(Value::Message(self.message(node, descriptor, path)))
            }
            (_, Content::Scalar { text, plain }) => match scalar::read(text, *plain, kind) {
                Ok(value) => Some(value),
                Err(description) => self.refuse(path, location, description),
            },
            (Kind::Message(_), Content::List(_)) => {
                self.refuse(path, location, "is a list, must be a mapping".to_owned())
            }
            _ => self.refuse(path, location, format!("is {}, must be a single value", describe(node))),
        }
    }

    /// Whether a node may stand anywhere at all; notes why not.
    fn accept(&mut self, node: &Node, location: Location, path: &Path) -> bool {
        let empty = "is empty: give it a value ({} for a message of defaults, \"\" for an empty string) or remove it";
        let refusal = node.refusal.or(node.is_null().then_some(empty));
        if let Some(refusal) = refusal {
            self.note(path, location, refusal.to_owned());
        }
        refusal.is_none()
    }

    fn refuse(&mut self, path: &Path, location: Location, description: String) -> Option<Value> {
        self.note(path, location, description);
        None
    }

    fn note(&mut self, path: &Path, location: Location, description: String) {
        let field = path.to_string();
        self.problems.push(Problem { location: Some(location), severity: Severity::Error, field, description });
    }
}

fn instant(timestamp: Timestamp, descriptor: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    message.set_field_by_name("seconds", Value::I64(timestamp.seconds));
    message.set_field_by_name("nanos", Value::I32(timestamp.nanos));
    message
}

fn any_value(value: Value, descriptor: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    let field = match value {
        Value::Bool(_) => "bool_value",
        Value::F64(_) => "number_value",
        _ => "string_value",
    };
    message.set_field_by_name(field, value);
    message
}

fn describe(node: &Node) -> String {
    match &node.content {
        Content::Scalar { text, plain: true } => scalar::shown(text, true),
        Content::Scalar { text, plain: false } => quoted(text),
        Content::List(_) => "a list".to_owned(),
        Content::Mapping(_) => "a mapping".to_owned(),
    }
}
