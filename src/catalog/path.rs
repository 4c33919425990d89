//! Field paths such as `offers[3].prices.SE.price.amount_minor`: one spelling for files, violations and warnings.

use std::fmt;

/// The path of a field, list entry or map entry, from the catalog down.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(String);

impl Path {
    /// The field `name` of the message here.
    pub(super) fn field(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The entry `index` of the list here, from 0.
    pub(super) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The entry `key` of the map here; keys that would be ambiguous stand in brackets and quotes.
    pub(super) fn key(&self, key: &str) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !key.is_empty() && key.bytes().all(plain) { self.field(key) } else { Self(format!("{}[{key:?}]", self.0)) }
    }

    /// The path as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `inner` is `outer` or lies within it.
pub(super) fn contains(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| outer.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The path of what holds this field or entry; empty for a field of the catalog itself.
pub(super) fn parent(path: &str) -> &str {
    // A quoted key may hold dots and brackets of its own; it is the last segment then, and starts at its `["`.
    let end = if path.ends_with("\"]") { path.rfind("[\"") } else { path.rfind(['.', '[']) };
    &path[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_like_the_file() {
        let price = Path::default().field("offers").index(3).field("prices").key("SE").field("price");
        assert_eq!(price.as_str(), "offers[3].prices.SE.price");
        assert_eq!(Path::default().field("rates").key("a.b").as_str(), "rates[\"a.b\"]");
        assert_eq!(Path::default().field("rates").key("").as_str(), "rates[\"\"]");
    }

    #[test]
    fn a_path_contains_itself_and_what_lies_within() {
        assert!(contains("offers[3]", "offers[3].id"));
        assert!(contains("offers[3]", "offers[3]"));
        assert!(contains("", "offers[3]"));
        assert!(!contains("offers[3]", "offers[30].id"));
        assert!(!contains("offers[3].id", "offers[3]"));
    }

    #[test]
    fn a_parent_is_one_segment_shorter() {
        for (path, expected) in [
            ("offers[3].prices.SE", "offers[3].prices"),
            ("offers[3]", "offers"),
            ("offers", ""),
            ("", ""),
            ("rates[\"a.b\"]", "rates"),
        ] {
            assert_eq!(parent(path), expected, "{path}");
        }
    }
}
