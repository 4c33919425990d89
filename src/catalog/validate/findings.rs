//! Gathers what is wrong, so that everything is reported at once.

use crate::catalog::{
    path::Path,
    problem::{PROBLEMS_MAX, Violation, quoted},
    suggest::did_you_mean,
};
use std::{collections::BTreeMap, fmt};

/// What is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    violations: Vec<Violation>,
}

/// The ids that were given so far in one list, and where.
pub(super) type Seen<'a> = BTreeMap<&'a str, Path>;

impl Findings {
    /// Notes what is wrong with a field, as a sentence that the field path begins.
    pub(super) fn refuse(&mut self, path: &Path, description: impl Into<String>) {
        self.violations.push(Violation::new(&path.to_string(), description));
    }

    /// Notes what is wrong at a character of a text; for those who see no file, the description says where.
    pub(super) fn refuse_within(&mut self, path: &Path, at: usize, description: impl fmt::Display) {
        let description = format!("{description} (character {})", at + 1);
        self.violations.push(Violation { within: Some(at), ..Violation::new(path.as_str(), description) });
    }

    /// What is wrong, in the order of the checks.
    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }

    /// How much is wrong so far.
    pub(super) fn count(&self) -> usize {
        self.violations.len()
    }

    /// Checks that an id is well formed and not given before.
    pub(super) fn check_id<'a>(&mut self, path: &Path, id: &'a str, naming: &Naming, seen: &mut Seen<'a>) {
        self.check_name(path, id, naming);
        self.check_distinct(path, id, seen);
    }

    /// Checks that a name is well formed.
    pub(super) fn check_name(&mut self, path: &Path, name: &str, naming: &Naming) {
        if name.is_empty() {
            self.refuse(path, format!("is missing, must be {}", naming.rule));
        } else if !(naming.accepts)(name) {
            self.refuse(path, format!("is {}, must be {}", quoted(name), naming.rule));
        }
    }

    /// Checks that a value was not given before in its list.
    pub(super) fn check_distinct<'a>(&mut self, path: &Path, value: &'a str, seen: &mut Seen<'a>) {
        match seen.get(value) {
            // Missing ids are refused for what they are.
            _ if value.is_empty() => {}
            Some(first) => self.refuse(path, format!("is {}, which {first} is already", quoted(value))),
            None => drop(seen.insert(value, path.clone())),
        }
    }

    /// Checks that a list or map is not longer than it may be.
    pub(super) fn check_count(&mut self, path: &Path, count: usize, count_max: usize) {
        if count > count_max {
            self.refuse(path, format!("has {count} entries, must have at most {count_max}"));
        }
    }

    /// Checks that a number is finite and within inclusive bounds.
    pub(super) fn check_range<T: PartialOrd + fmt::Display>(&mut self, path: &Path, value: T, min: T, max: T) -> bool {
        // Written so that NaN, which compares with nothing, is refused.
        let accepted = min <= value && value <= max;
        if !accepted {
            self.refuse(path, format!("is {value}, must be from {min} to {max}"));
        }
        accepted
    }

    /// Checks that free text is there, printable and not too long.
    pub(super) fn check_text(&mut self, path: &Path, text: &str, bytes_max: usize) {
        if text.is_empty() || text.len() > bytes_max {
            self.refuse(path, format!("has {} bytes, must have from 1 to {bytes_max}", text.len()));
        } else if text.contains(char::is_control) {
            self.refuse(path, format!("is {}, must not hold control characters", quoted(text)));
        }
    }

    /// Notes a reference to something that the catalog does not have.
    pub(super) fn refuse_unknown<'a>(
        &mut self,
        path: &Path,
        id: &str,
        noun: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) {
        /// Most ids that a message lists.
        const LISTED_MAX: usize = 12;
        // Beyond the limit nobody reads it, and looking for something similar is not free.
        let read = self.violations.len() < PROBLEMS_MAX;
        let mut accepted = if read { did_you_mean(id, known.clone()) } else { String::new() };
        if accepted.is_empty() && (1..=LISTED_MAX).contains(&known.clone().take(LISTED_MAX + 1).count()) {
            accepted = format!("; there are: {}", known.collect::<Vec<_>>().join(", "));
        }
        let description = format!("is {}, which is no {noun}{accepted}", quoted(id));
        self.violations.push(Violation { dangling: true, ..Violation::new(&path.to_string(), description) });
    }

    /// Notes an enum number that this version has no name for.
    pub(super) fn refuse_number(&mut self, path: &Path, number: i32) {
        self.refuse(path, format!("is {number}, which this version of the server does not know"));
    }
}

/// How things of one sort are named.
pub(super) struct Naming {
    accepts: fn(&str) -> bool,
    rule: &'static str,
}

impl Naming {
    /// What a name must be.
    pub(super) fn rule(&self) -> &'static str {
        self.rule
    }

    /// Whether a name follows the rule.
    pub(super) fn accepts(&self, name: &str) -> bool {
        (self.accepts)(name)
    }
}

/// Ids of offers, placements and metrics, tags and platforms.
pub(super) const RESOURCE: Naming = Naming {
    accepts: |id| {
        let inner = |byte: u8| is_lower_alphanumeric(byte) || byte == b'-' || byte == b'_';
        is_shaped(id, 64, is_lower_alphanumeric, inner, is_lower_alphanumeric)
    },
    rule: "1 to 64 of a-z, 0-9, \"-\" and \"_\", with a letter or digit at both ends",
};

/// Ids of markets.
pub(super) const MARKET: Naming = Naming {
    accepts: |id| {
        let end = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        is_shaped(id, 16, end, |byte| end(byte) || byte == b'-' || byte == b'_', end)
    },
    rule: "1 to 16 of A-Z, 0-9, \"-\" and \"_\", with a letter or digit at both ends",
};

/// Names of attributes.
pub(super) const ATTRIBUTE: Naming = Naming {
    accepts: |name| {
        let inner = |byte: u8| is_lower_alphanumeric(byte) || byte == b'_';
        is_shaped(name, 64, |byte| byte.is_ascii_lowercase(), inner, inner)
    },
    rule: "1 to 64 of a-z, 0-9 and \"_\", with a letter first",
};

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_shaped(
    id: &str,
    len_max: usize,
    first: impl Fn(u8) -> bool,
    inner: impl Fn(u8) -> bool,
    last: impl Fn(u8) -> bool,
) -> bool {
    let ends = id.bytes().next().is_some_and(first) && id.bytes().last().is_some_and(last);
    ends && id.len() <= len_max && id.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rules() {
        let long = "a".repeat(65);
        for (naming, name, expected) in [
            (&RESOURCE, "a", true),
            (&RESOURCE, "annual-25_off", true),
            (&RESOURCE, "-annual", false),
            (&RESOURCE, "annual-", false),
            (&RESOURCE, "Annual", false),
            (&RESOURCE, "annual off", false),
            (&RESOURCE, "räntefri", false),
            (&RESOURCE, &long[..64], true),
            (&RESOURCE, &long, false),
            (&MARKET, "SE", true),
            (&MARKET, "US-CA", true),
            (&MARKET, "se", false),
            (&MARKET, "ABCDEFGHIJKLMNOPQ", false),
            (&ATTRIBUTE, "tenure_days", true),
            (&ATTRIBUTE, "x_", true),
            (&ATTRIBUTE, "7_days", false),
            (&ATTRIBUTE, "tenure-days", false),
        ] {
            assert_eq!((naming.accepts)(name), expected, "{name}");
        }
    }
}
