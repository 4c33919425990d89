//! YAML text to a tree that keeps the place of every node.
//!
//! Built from parser events, with a stack of its own: nothing recurses on what a stranger wrote, duplicate keys stay
//! visible, and plain scalars keep their text, so that whoever knows the wanted type decides what they mean.

use super::scalar::{Meaning, meaning};
use crate::catalog::problem::{Location, Problem};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};

/// Deepest nesting of lists and mappings; catalogs need half of it.
const DEPTH_MAX: usize = 24;

/// One value of the file.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it starts.
    pub(super) location: Location,
    /// What it is.
    pub(super) content: Content,
    /// What is refused about it, whatever it is.
    pub(super) refusal: Option<&'static str>,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Content {
    /// A single value.
    Scalar {
        /// As written, quotes and escapes resolved.
        text: String,
        /// Whether it stands without quotes and may thus mean a number, a boolean or null.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// Keys and values in the order of the file.
    Mapping(Vec<(Node, Node)>),
}

/// A list or mapping that is being read.
struct Open {
    node: Node,
    /// The key whose value comes next.
    key: Option<Node>,
}

/// Reads a file of exactly one document.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    while let Some((event, location)) = next(&mut parser)? {
        let done = match event {
            Event::DocumentStart(_) if root.is_some() => {
                let reason = "a second document starts here: a catalog is one document, remove what separates them";
                return Err(Problem::of_file(Some(location), reason));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let content = Content::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                Some(Node { location, content, refusal: refusal(anchor, tag.as_deref()) })
            }
            Event::Alias(_) => {
                let content = Content::Scalar { text: "*".to_owned(), plain: false };
                Some(Node { location, content, refusal: Some("is an alias, which is not supported: write it out") })
            }
            Event::SequenceStart(anchor, tag) => {
                push(&mut open, location, Content::List(Vec::new()), refusal(anchor, tag.as_deref()))?;
                None
            }
            Event::MappingStart(anchor, tag) => {
                push(&mut open, location, Content::Mapping(Vec::new()), refusal(anchor, tag.as_deref()))?;
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|closed| closed.node),
            _ => None,
        };
        if let Some(node) = done {
            match open.last_mut() {
                Some(parent) => parent.add(node),
                None => root = Some(node),
            }
        }
    }
    let reason = "is empty: a catalog needs at least reward_currency, offers and placements";
    root.filter(|root| !root.is_null()).ok_or_else(|| Problem::of_file(None, reason))
}

fn next<'input>(parser: &mut Parser<'input, StrInput<'input>>) -> Result<Option<(Event<'input>, Location)>, Problem> {
    match parser.next_event() {
        None => Ok(None),
        Some(Ok((event, span))) => Ok(Some((event, location(&span.start)))),
        Some(Err(error)) => {
            let description = format!("is not YAML from here on: {}", error.info());
            Err(Problem::of_file(Some(location(error.marker())), description))
        }
    }
}

fn location(marker: &Marker) -> Location {
    Location { line: marker.line(), column: marker.col() + 1 }
}

/// Anchors and tags would let a short file mean a long one, or a value mean something else than it looks like.
fn refusal(anchor: usize, tag: Option<&Tag>) -> Option<&'static str> {
    if tag.is_some() {
        Some("has a tag, which is not supported: remove it; quotes make a string of any value")
    } else if anchor > 0 {
        Some("has an anchor, which is not supported: remove it, and write out what refers to it")
    } else {
        None
    }
}

fn push(
    open: &mut Vec<Open>,
    location: Location,
    content: Content,
    refusal: Option<&'static str>,
) -> Result<(), Problem> {
    if open.len() == DEPTH_MAX {
        let description = format!("is nested deeper than {DEPTH_MAX} levels, which no catalog needs");
        return Err(Problem::of_file(Some(location), description));
    }
    open.push(Open { node: Node { location, content, refusal }, key: None });
    Ok(())
}

impl Open {
    fn add(&mut self, node: Node) {
        match (&mut self.node.content, self.key.take()) {
            (Content::List(entries), _) => entries.push(node),
            (Content::Mapping(entries), Some(key)) => entries.push((key, node)),
            (Content::Mapping(_), None) => self.key = Some(node),
            // Only lists and mappings are ever opened.
            (Content::Scalar { .. }, _) => {}
        }
    }
}

impl Node {
    /// Whether it is `null` or simply nothing.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true } if meaning(text) == Meaning::Null)
    }

    /// The text of a key or quoted string; `None` for lists and mappings.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            Content::List(_) | Content::Mapping(_) => None,
        }
    }

    /// Where to point for this node as a value of `key`: at what is wrong itself where it is a single value, at the
    /// key where it is a whole block.
    pub(super) fn location_under(&self, key: &Self) -> Location {
        if self.text().is_some_and(|text| !text.is_empty()) { self.location } else { key.location }
    }
}
