//! What rules may read, of which type, and which words it can be.

use super::types::{Element, Type};
use crate::{
    catalog::suggest::did_you_mean,
    engine::{
        context::{AttributeKind, ContextSchema},
        rules::{NowPart, OfferFact, SubscriptionFact, Variable},
    },
};
use std::collections::BTreeSet;

/// The words that a text can be; `None`: any.
pub(super) type Words = Option<BTreeSet<String>>;

/// What is known where a rule is asked.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// The placement.
    pub(super) placement: &'a str,
    /// Its attributes.
    pub(super) schema: &'a ContextSchema,
    /// What texts of the catalog can be.
    pub(super) vocabulary: &'a Vocabulary,
}

/// What texts of the catalog can be.
#[derive(Default)]
pub(super) struct Vocabulary {
    pub(super) markets: BTreeSet<String>,
    pub(super) offers: BTreeSet<String>,
    pub(super) plans: BTreeSet<String>,
    pub(super) tags: BTreeSet<String>,
    pub(super) groups: BTreeSet<String>,
    pub(super) kinds: BTreeSet<String>,
    /// Whether users can only have plans of the catalog.
    pub(super) plans_are_declared: bool,
}

/// Something that a rule may read.
pub(super) struct Known {
    pub(super) variable: Variable,
    pub(super) r#type: Type,
    pub(super) words: Words,
}

const SUBSCRIPTION: [(&str, SubscriptionFact, Type); 4] = [
    ("trial_used", SubscriptionFact::TrialUsed, Type::Boolean),
    ("current_plan", SubscriptionFact::CurrentPlan, Type::Text),
    ("has_lapsed", SubscriptionFact::HasLapsed, Type::Boolean),
    ("lapsed_days", SubscriptionFact::LapsedDays, Type::Integer),
];
const NOW: [(&str, NowPart); 6] = [
    ("year", NowPart::Year),
    ("month", NowPart::Month),
    ("day", NowPart::Day),
    ("hour", NowPart::Hour),
    ("minute", NowPart::Minute),
    ("weekday", NowPart::Weekday),
];
const OFFER: [(&str, OfferFact, Type); 8] = [
    ("id", OfferFact::Id, Type::Text),
    ("kind", OfferFact::Kind, Type::Text),
    ("plan", OfferFact::Plan, Type::Text),
    ("tags", OfferFact::Tags, Type::List(Element::Text)),
    ("exclusion_group", OfferFact::ExclusionGroup, Type::Text),
    ("price", OfferFact::Price, Type::Double),
    ("list_price", OfferFact::ListPrice, Type::Double),
    ("discount", OfferFact::Discount, Type::Double),
];
const TEXTS: [&str; 2] = ["market", "platform"];
const WHOLES: [&str; 4] = ["user", "subscription", "offer", "now"];

impl Scope<'_> {
    /// A name that stands alone.
    pub(super) fn name(&self, name: &str) -> Result<Known, String> {
        match name {
            "market" => {
                let words = Some(with_none(&self.vocabulary.markets));
                Ok(Known { variable: Variable::Market, r#type: Type::Text, words })
            }
            "platform" => Ok(Known { variable: Variable::Platform, r#type: Type::Text, words: None }),
            whole if WHOLES.contains(&whole) => {
                let parts = self.parts(whole);
                let example = parts.first().map_or_else(String::new, |part| format!(", such as {whole}.{part}"));
                Err(format!("reads {whole} as a whole: name one of its fields{example}"))
            }
            _ => Err(self.unknown(name)),
        }
    }

    /// A field of something.
    pub(super) fn field(&self, whole: &str, field: &str) -> Result<Known, String> {
        let vocabulary = self.vocabulary;
        let known = match whole {
            "user" => self.attribute(field),
            "subscription" => SUBSCRIPTION.into_iter().find(|(name, ..)| *name == field).map(|(_, fact, r#type)| {
                let closed = fact == SubscriptionFact::CurrentPlan && vocabulary.plans_are_declared;
                let words = closed.then(|| with_none(&vocabulary.plans));
                Known { variable: Variable::Subscription(fact), r#type, words }
            }),
            "now" => NOW.into_iter().find(|(name, _)| *name == field).map(|(_, part)| Known {
                variable: Variable::Now(part),
                r#type: Type::Integer,
                words: None,
            }),
            "offer" => OFFER.into_iter().find(|(name, ..)| *name == field).map(|(_, fact, r#type)| {
                let words = match fact {
                    OfferFact::Id => Some(vocabulary.offers.clone()),
                    OfferFact::Kind => Some(vocabulary.kinds.clone()),
                    OfferFact::Plan => Some(vocabulary.plans.clone()),
                    OfferFact::Tags => Some(vocabulary.tags.clone()),
                    OfferFact::ExclusionGroup => Some(with_none(&vocabulary.groups)),
                    _ => None,
                };
                Known { variable: Variable::Offer(fact), r#type, words }
            }),
            text if TEXTS.contains(&text) => return Err(format!("asks for a field of {text}, which is a text")),
            _ => return Err(self.unknown(whole)),
        };
        known.ok_or_else(|| {
            let parts = self.parts(whole);
            let mut hint = did_you_mean(field, parts.iter().map(String::as_str));
            if hint.is_empty() && !parts.is_empty() {
                hint = format!("; it has: {}", parts.join(", "));
            }
            if whole == "user" {
                let placement = self.placement;
                return format!("reads user.{field}, which is no attribute of placement {placement:?}{hint}");
            }
            format!("reads {whole}.{field}, but {whole} has no such field{hint}")
        })
    }

    fn attribute(&self, name: &str) -> Option<Known> {
        let index = self.schema.attributes.iter().position(|attribute| *attribute.name == *name)?;
        let (r#type, words) = match &self.schema.attributes[index].kind {
            AttributeKind::Number { .. } => (Type::Double, None),
            AttributeKind::Boolean => (Type::Boolean, None),
            AttributeKind::Category { values, unknown_bucket } => {
                let closed = !unknown_bucket;
                (Type::Text, closed.then(|| values.iter().map(ToString::to_string).collect()))
            }
        };
        Some(Known { variable: Variable::User(index), r#type, words })
    }

    fn parts(&self, whole: &str) -> Vec<String> {
        match whole {
            "user" => self.schema.attributes.iter().map(|attribute| attribute.name.to_string()).collect(),
            "subscription" => SUBSCRIPTION.iter().map(|(name, ..)| (*name).to_owned()).collect(),
            "now" => NOW.iter().map(|(name, _)| (*name).to_owned()).collect(),
            "offer" => OFFER.iter().map(|(name, ..)| (*name).to_owned()).collect(),
            _ => Vec::new(),
        }
    }

    fn unknown(&self, name: &str) -> String {
        // Whoever leaves out what it belongs to knows its name.
        let owner = WHOLES.into_iter().find(|whole| self.parts(whole).iter().any(|part| part == name));
        let hint = match owner {
            Some(whole) => format!(" (did you mean \"{whole}.{name}\"?)"),
            None => did_you_mean(name, WHOLES.into_iter().chain(TEXTS)),
        };
        let known = if hint.is_empty() { "; there are: user, subscription, offer, now, market, platform" } else { "" };
        format!("reads {name}, which is not known{hint}{known}")
    }
}

/// Words, and the empty text that stands for none of them.
fn with_none(words: &BTreeSet<String>) -> BTreeSet<String> {
    words.iter().cloned().chain([String::new()]).collect()
}
