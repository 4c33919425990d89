//! Turns what a client said into what the engine decides on, or into everything that is wrong with it.

use super::{
    Result, ServiceError, Violation,
    serving::{ServedPlacement, Serving},
};
use crate::{
    catalog::is_resource_id,
    engine::{
        catalog::{ARMS_MAX, Placement},
        context::{Attribute, AttributeValue},
        decide::RankRequest,
        instant::Instant,
        user::{PLAN_BYTES_MAX, StatedUser},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

/// Longest user or unit id in bytes.
pub const USER_ID_BYTES_MAX: usize = 256;
/// Longest request or outcome id in bytes.
pub const CALLER_ID_BYTES_MAX: usize = 128;
/// Longest word given for a category in bytes, known or not: what falls into the bucket for unknown words is logged.
pub const WORD_BYTES_MAX: usize = 256;
/// Characters of what a client sent that a message quotes.
const QUOTED_CHARS_MAX: usize = 64;
/// Unknown attributes that are named one by one; the rest is counted.
const UNKNOWN_ATTRIBUTES_MAX: usize = 50;
/// Longest name of an offer, market, platform or metric in bytes.
pub const RESOURCE_ID_BYTES_MAX: usize = 64;

/// A Rank as the client asked for it.
#[derive(Clone, Debug, Default)]
pub struct RankCommand {
    /// Placement id.
    pub placement: String,
    /// User id.
    pub user_id: String,
    /// Unit id; empty: the user id.
    pub unit_id: String,
    /// Attributes by name.
    pub attributes: GivenAttributes,
    /// Market id; empty: the default.
    pub market: String,
    /// Platform.
    pub platform: String,
    /// Offers to choose from; empty: all.
    pub candidates: Vec<String>,
    /// Slots to fill; `None`: all.
    pub slots: Option<u32>,
    /// Request id; empty: none.
    pub request_id: String,
    /// Whether the eligible rest is wanted.
    pub include_tail: bool,
    /// Whether the user has used a trial; `None`: not stated.
    pub trial_used: Option<bool>,
    /// The plan that the user has, empty for none; `None`: not stated.
    pub current_plan: Option<String>,
    /// When the user's last subscription ended, or what is wrong with that; `None`: not stated.
    pub lapsed_at: Option<Result<Instant, String>>,
    /// Protected attributes by name; of a name that was given twice, the last value counts.
    pub protected: Vec<(String, String)>,
    /// Canonical bytes of everything that makes the request what it is; looked at only with a request id.
    pub body: Vec<u8>,
}

/// Attributes as a client gave them; of a name that was given twice, the last value.
#[derive(Clone, Debug, Default)]
pub struct GivenAttributes {
    /// All names, one after the other.
    names: String,
    /// Where each name stands, and its value; sorted by name, each name once. Quicker to fill and to look through than a
    /// map.
    entries: Vec<(Range<usize>, GivenValue)>,
}

impl<Name: AsRef<str>> FromIterator<(Name, GivenValue)> for GivenAttributes {
    fn from_iter<I: IntoIterator<Item = (Name, GivenValue)>>(attributes: I) -> Self {
        let mut names = String::new();
        let place = |(name, value): (Name, GivenValue)| {
            let start = names.len();
            names.push_str(name.as_ref());
            (start..names.len(), value)
        };
        let mut entries: Vec<_> = attributes.into_iter().map(place).collect();
        let name = |entry: &(Range<usize>, GivenValue)| &names.as_bytes()[entry.0.clone()];
        // As most clients send them.
        if !entries.is_sorted_by(|one, next| name(one) < name(next)) {
            entries.sort_by(|one, other| name(one).cmp(name(other)));
            entries.dedup_by(|later, kept| {
                let same = name(later) == name(kept);
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        Self { names, entries }
    }
}

impl GivenAttributes {
    /// The value under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&GivenValue> {
        let compared = |(place, _): &(Range<usize>, GivenValue)| self.names[place.clone()].cmp(name);
        self.entries.binary_search_by(compared).ok().map(|index| &self.entries[index].1)
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(place, _)| &self.names[place.clone()])
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A value of an attribute as a client gave it.
#[derive(Clone, Debug, PartialEq)]
pub enum GivenValue {
    /// Of a type that attributes can have.
    Value(AttributeValue),
    /// Of another type, by what to call it.
    Other(&'static str),
}

/// A validated Rank.
#[derive(Clone, Debug)]
pub struct ValidRank {
    /// What the engine decides on.
    pub request: RankRequest,
    /// What the caller states of the user.
    pub stated: StatedUser,
    /// Names and values of protected attributes, in the order of the placement.
    pub protected: Vec<(Arc<str>, Arc<str>)>,
    /// Whether an attribute was clipped to its bounds.
    pub clipped: bool,
}

/// Checks a Rank against what is served; returns the placement it asks for.
///
/// # Errors
/// All violations at once; an unknown placement where nothing else is wrong.
pub fn rank<'a>(command: &RankCommand, serving: &'a Serving) -> Result<(&'a Arc<ServedPlacement>, ValidRank)> {
    let mut violations = Vec::new();
    violations.extend(placement_id(&command.placement));
    check_ids(command, &mut violations);
    let market = market(command, serving, &mut violations);
    candidates(command, &mut violations);
    let stated = stated_user(command, &mut violations);
    let served = match serving.placement(&command.placement) {
        Err(unknown) if violations.is_empty() => return Err(unknown),
        // What else is wrong can be told without a placement.
        Err(_) => return Err(ServiceError::Invalid { violations }),
        Ok(served) => served,
    };
    let placement = &served.snapshot.placement;
    let (attributes, clipped) = attributes(command, placement, &mut violations);
    let protected = protected(command, placement, &mut violations);
    let slots = command.slots.unwrap_or(placement.slots);
    if slots == 0 || slots > placement.slots {
        let description = format!("is {slots}, must be from 1 to {}, the slots of the placement", placement.slots);
        violations.push(Violation::new("slots", description));
    }
    if !violations.is_empty() {
        return Err(ServiceError::Invalid { violations });
    }
    let request = RankRequest {
        market,
        platform: command.platform.clone(),
        attributes,
        candidates: command.candidates.iter().map(|offer_id| offer_id.as_str().into()).collect(),
        slots,
        include_tail: command.include_tail,
    };
    Ok((served, ValidRank { request, stated, protected, clipped }))
}

/// What is wrong with a text that cannot be a placement's id at all.
#[must_use]
pub fn placement_id(placement: &str) -> Option<Violation> {
    (!is_resource_id(placement)).then(|| Violation::new("placement", resource_id_rule(placement)))
}

fn check_ids(command: &RankCommand, violations: &mut Vec<Violation>) {
    length("user_id", &command.user_id, 1, USER_ID_BYTES_MAX, violations);
    length("unit_id", &command.unit_id, 0, USER_ID_BYTES_MAX, violations);
    length("request_id", &command.request_id, 0, CALLER_ID_BYTES_MAX, violations);
    if !command.platform.is_empty() && !is_resource_id(&command.platform) {
        violations.push(Violation::new("platform", resource_id_rule(&command.platform)));
    }
}

/// Notes a text whose length in bytes is outside its bounds.
pub fn length(field: &str, text: &str, min: usize, max: usize, violations: &mut Vec<Violation>) {
    if text.len() < min {
        violations.push(Violation::new(field, format!("is empty, must have {min} to {max} bytes")));
    } else if text.len() > max {
        violations.push(Violation::new(field, format!("has {} bytes, must have at most {max}", text.len())));
    }
}

/// As much of what a client sent as a message quotes.
#[must_use]
pub fn start_of(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

/// What is wrong with a text that cannot name an offer, placement, metric or platform. Quotes at most its first bytes, escaped.
#[must_use]
pub fn resource_id_rule(text: &str) -> String {
    let start = start_of(text);
    format!(
        "is {start:?}, must be 1 to {RESOURCE_ID_BYTES_MAX} characters of a-z, 0-9, \"-\" and \"_\", starting and ending with a letter or digit"
    )
}

fn attributes(
    command: &RankCommand,
    placement: &Placement,
    violations: &mut Vec<Violation>,
) -> (Vec<AttributeValue>, bool) {
    let schema = &placement.context.attributes;
    let mut clipped = false;
    let mut values = Vec::with_capacity(schema.len());
    let mut given = 0;
    for attribute in schema {
        let value = command.attributes.get(&attribute.name);
        given += usize::from(value.is_some());
        match attribute_value(attribute, value) {
            Ok((value, outside)) => {
                clipped |= outside;
                values.push(value);
            }
            Err(description) => violations.push(Violation::new(&format!("attributes.{}", attribute.name), description)),
        }
    }
    if given < command.attributes.len() {
        unknown_attributes(command, placement, violations);
    }
    (values, clipped)
}

fn protected(
    command: &RankCommand,
    placement: &Placement,
    violations: &mut Vec<Violation>,
) -> Vec<(Arc<str>, Arc<str>)> {
    let given: BTreeMap<&str, &str> = command.protected.iter().map(|(name, value)| (&**name, &**value)).collect();
    let mut known = Vec::new();
    let mut refuse = |name: &str, description| {
        let field = format!("protected_attributes.{}", start_of(name).escape_debug());
        violations.push(Violation::new(&field, description));
    };
    for (&name, &value) in given.iter().take(UNKNOWN_ATTRIBUTES_MAX) {
        let Some(attribute) = placement.protected.iter().find(|attribute| *attribute.name == *name) else {
            let accepted = placement.protected.iter().map(|attribute| &*attribute.name).collect::<Vec<_>>().join(", ");
            let has = if accepted.is_empty() { "none".to_owned() } else { accepted };
            refuse(name, format!("is no protected attribute of placement {}, which has: {has}", placement.id));
            continue;
        };
        match attribute.values.iter().find(|known| ***known == *value) {
            Some(value) => known.push((attribute.name.clone(), value.clone())),
            // What was given is not repeated: it may be what must not be logged.
            None => refuse(
                name,
                format!("has a value that is not declared, must be one of: {}", attribute.values.join(", ")),
            ),
        }
    }
    known
}

fn unknown_attributes(command: &RankCommand, placement: &Placement, violations: &mut Vec<Violation>) {
    let known: BTreeSet<&str> = placement.context.attributes.iter().map(|attribute| &*attribute.name).collect();
    let accepted = known.iter().copied().collect::<Vec<_>>().join(", ");
    let unknown = || command.attributes.names().filter(|name| !known.contains(name));
    let count = unknown().count();
    if count > UNKNOWN_ATTRIBUTES_MAX {
        let description = format!("holds {count} that placement {} does not know; some of them follow", placement.id);
        violations.push(Violation::new("attributes", description));
    }
    for name in unknown().take(UNKNOWN_ATTRIBUTES_MAX) {
        let start = start_of(name);
        let description = format!("is not an attribute of placement {}, which has: {accepted}", placement.id);
        violations.push(Violation::new(&format!("attributes.{}", start.escape_debug()), description));
    }
}

fn attribute_value(attribute: &Attribute, given: Option<&GivenValue>) -> Result<(AttributeValue, bool), String> {
    match (given, &attribute.default) {
        (Some(GivenValue::Value(AttributeValue::Category(word))), _) if word.len() > WORD_BYTES_MAX => {
            Err(format!("has {} bytes, must have at most {WORD_BYTES_MAX}", word.len()))
        }
        (Some(GivenValue::Value(value)), _) => attribute.check(value.clone()).map_err(|error| error.to_string()),
        (Some(GivenValue::Other(noun)), _) => Err(format!("is {noun}, must be {}", attribute.kind.noun())),
        (None, Some(default)) => Ok((default.clone(), false)),
        (None, None) => Err(format!("is missing, must be {}; it has no default", attribute.kind.noun())),
    }
}

fn stated_user(command: &RankCommand, violations: &mut Vec<Violation>) -> StatedUser {
    if let Some(plan) = &command.current_plan {
        length("current_plan", plan, 0, PLAN_BYTES_MAX, violations);
    }
    if let Some(Err(description)) = &command.lapsed_at {
        violations.push(Violation::new("lapsed_at", description.clone()));
    }
    StatedUser {
        trial_used: command.trial_used,
        current_plan: command.current_plan.as_deref().map(Arc::from),
        lapsed_at: command.lapsed_at.as_ref().and_then(|lapsed_at| lapsed_at.as_ref().ok().copied()),
    }
}

fn market(command: &RankCommand, serving: &Serving, violations: &mut Vec<Violation>) -> Option<Arc<str>> {
    let catalog = &serving.catalog;
    if command.market.is_empty() && (catalog.default_market.is_some() || catalog.markets.is_empty()) {
        return catalog.default_market.clone();
    }
    if let Some((id, _)) = catalog.markets.get_key_value(command.market.as_str()) {
        return Some(id.clone());
    }
    let start = start_of(&command.market);
    let accepted = catalog.markets.keys().map(|id| &**id).collect::<Vec<_>>().join(", ");
    violations.push(Violation::new("market", format!("is {start:?}, must be a market of the catalog: {accepted}")));
    None
}

fn candidates(command: &RankCommand, violations: &mut Vec<Violation>) {
    let count = command.candidates.len();
    if count > ARMS_MAX {
        violations
            .push(Violation::new("candidate_offer_ids", format!("has {count} entries, must have at most {ARMS_MAX}")));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, offer_id) in command.candidates.iter().enumerate() {
        let field = format!("candidate_offer_ids[{index}]");
        if !is_resource_id(offer_id) {
            violations.push(Violation::new(&field, resource_id_rule(offer_id)));
        } else if !seen.insert(offer_id) {
            violations.push(Violation::new(&field, format!("repeats \"{offer_id}\"; name every candidate once")));
        }
    }
}
