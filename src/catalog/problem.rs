//! What is wrong or odd in a catalog, where, and how to say it to the person who wrote it.

use super::path;
use std::{collections::BTreeMap, fmt};

/// Most problems that one check reports; the last one says how many more there are.
pub const PROBLEMS_MAX: usize = 200;

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Line from 1.
    pub line: usize,
    /// Column from 1, in characters.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Where the fields of a catalog stand in the file that it was read from, by field path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locations {
    fields: BTreeMap<String, Location>,
    characters: BTreeMap<String, Vec<Location>>,
}

impl Locations {
    /// Notes where a field stands.
    pub(super) fn insert(&mut self, field: &str, location: Location) {
        self.fields.insert(field.to_owned(), location);
    }

    /// Notes where each character of a field stands, and where it ends.
    pub(super) fn insert_characters(&mut self, field: &str, places: Vec<Location>) {
        self.characters.insert(field.to_owned(), places);
    }

    /// Whether exactly this field stands in the file.
    #[must_use]
    pub fn contains(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// Where a field stands; for one that is not in the file, where the nearest thing around it does.
    #[must_use]
    pub fn find(&self, field: &str) -> Option<Location> {
        let mut field = field;
        loop {
            match self.fields.get(field) {
                Some(&location) => return Some(location),
                None if field.is_empty() => return None,
                None => field = path::parent(field),
            }
        }
    }

    /// Where a character of a field stands, the last one where there are fewer.
    #[must_use]
    pub fn find_character(&self, field: &str, at: usize) -> Option<Location> {
        let places = self.characters.get(field)?;
        places.get(at).or(places.last()).copied()
    }
}

/// A rule that a catalog breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Field path, such as `offers[3].validity.ends_at`.
    pub field: String,
    /// What is wrong, what is accepted, and what to do; continues the field path as a sentence.
    pub description: String,
    /// Whether it is a reference to something that the catalog lacks: where a part of a file could not be read, that
    /// part may be what it refers to.
    pub dangling: bool,
    /// Characters from the beginning of the field's text to what is wrong; `None`: all of it is.
    pub within: Option<usize>,
}

impl Violation {
    /// A rule broken at a field.
    #[must_use]
    pub fn new(field: &str, description: impl Into<String>) -> Self {
        Self { field: field.to_owned(), description: description.into(), dangling: false, within: None }
    }
}

/// Something in a catalog that is allowed but probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Field path, such as `offers[3]`.
    pub field: String,
    /// What is odd about it; continues the field path as a sentence.
    pub description: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The catalog cannot be used.
    Error,
    /// The catalog can be used, but probably says what nobody meant.
    Warning,
}

/// A violation or warning with its place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is; `None` where it is of the file as a whole.
    pub location: Option<Location>,
    /// How bad it is.
    pub severity: Severity,
    /// Field path; empty for what lies outside every field.
    pub field: String,
    /// What is wrong, what is accepted, and what to do.
    pub description: String,
}

impl Problem {
    /// A problem outside every field, such as in the syntax of the file.
    pub(super) fn of_file(location: Option<Location>, description: impl Into<String>) -> Self {
        Self { location, severity: Severity::Error, field: String::new(), description: description.into() }
    }

    /// A violation, found in the file.
    pub(super) fn from_violation(violation: Violation, locations: &Locations) -> Self {
        let Violation { field, description, within, .. } = violation;
        let location = within.and_then(|at| locations.find_character(&field, at)).or_else(|| locations.find(&field));
        Self { location, severity: Severity::Error, field, description }
    }

    /// A warning, found in the file.
    pub(super) fn from_warning(warning: Warning, locations: &Locations) -> Self {
        let Warning { field, description } = warning;
        Self { location: locations.find(&field), severity: Severity::Warning, field, description }
    }
}

/// Everything that a check of one file found, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// The file, as the person named it.
    pub file: String,
    /// At most [`PROBLEMS_MAX`] of each severity, and a last one that counts the rest.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Problems of a file, put in the order of the file.
    pub(super) fn new(file: &str, mut problems: Vec<Problem>) -> Self {
        // What has no place goes last: it is the count of what was left out, or stands alone.
        problems.sort_by_key(|problem| problem.location.map_or((1, None), |location| (0, Some(location))));
        Self { file: file.to_owned(), problems }
    }

    /// Whether there is nothing to report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Problems {
    /// One line for each problem: `paywall.yaml:41:9: offers[3].plan: is missing ...`, as compilers write them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { location, severity, field, description }) in self.problems.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:", self.file)?;
            if let Some(location) = location {
                write!(f, "{location}:")?;
            }
            if *severity == Severity::Warning {
                write!(f, " warning:")?;
            }
            if !field.is_empty() {
                write!(f, " {field}:")?;
            }
            write!(f, " {description}")?;
        }
        Ok(())
    }
}

/// Text as it may stand in a message: in quotes, control characters escaped, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let ellipsis = if shown.len() < text.len() { "..." } else { "" };
    format!("{shown:?}{ellipsis}")
}

/// Cuts a list of findings to [`PROBLEMS_MAX`] and says how many were left out.
pub(super) fn left_out<T>(findings: &mut Vec<T>) -> Option<String> {
    let more = findings.len().checked_sub(PROBLEMS_MAX).filter(|&more| more > 0)?;
    findings.truncate(PROBLEMS_MAX);
    Some(format!("and {more} more: correct these first"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_not_in_the_file_is_found_at_what_is_around_it() {
        let mut locations = Locations::default();
        locations.insert("offers[3]", Location { line: 7, column: 5 });
        assert_eq!(locations.find("offers[3].validity.ends_at"), Some(Location { line: 7, column: 5 }));
        assert_eq!(locations.find("rates.SEK"), None);
    }

    #[test]
    fn problems_read_like_a_compilers() {
        let at = |line, column| Some(Location { line, column });
        let problem = |location, severity, field: &str| Problem {
            location,
            severity,
            field: field.to_owned(),
            description: "is odd".to_owned(),
        };
        let problems = Problems::new(
            "a.yaml",
            vec![
                problem(None, Severity::Error, ""),
                problem(at(9, 1), Severity::Warning, "markets[1]"),
                problem(at(2, 3), Severity::Error, "offers[0].id"),
            ],
        );
        let expected = "a.yaml:2:3: offers[0].id: is odd\na.yaml:9:1: warning: markets[1]: is odd\na.yaml: is odd";
        assert_eq!(problems.to_string(), expected);
    }

    #[test]
    fn long_and_strange_text_is_shown_short_and_escaped() {
        assert_eq!(quoted("a\0b"), "\"a\\0b\"");
        assert_eq!(quoted(&"x".repeat(500)).len(), 85);
    }
}
