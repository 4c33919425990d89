//! Where the characters of a scalar stand in the file: a mistake in an expression is pointed at where it was written,
//! however the expression is quoted or folded.

use crate::catalog::problem::Location;
use std::{iter::Peekable, str::Chars};

/// The place of every character of a scalar's value, and that of its end; `start` is where the scalar starts.
pub(super) fn places(source: &str, start: Location, value: &str) -> Vec<Location> {
    let mut written = Written::at(source, start);
    let style = written.peek().unwrap_or('\0');
    match style {
        '"' | '\'' => {
            written.next();
        }
        // A block starts on the line after its indicator.
        '|' | '>' => while written.next().is_some_and(|character| character != '\n') {},
        _ => {}
    }
    let mut places: Vec<_> = value.chars().map(|character| written.find(character, style)).collect();
    places.push(written.place);
    places
}

/// What is written in the file from some place on.
struct Written<'a> {
    rest: Peekable<Chars<'a>>,
    place: Location,
}

impl<'a> Written<'a> {
    fn at(source: &'a str, place: Location) -> Self {
        let line = source.split_inclusive('\n').nth(place.line - 1);
        let before: usize = source.split_inclusive('\n').take(place.line - 1).map(str::len).sum();
        let into = line.and_then(|line| line.char_indices().nth(place.column - 1)).map_or(0, |(index, _)| index);
        Self { rest: source[before + into..].chars().peekable(), place }
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.rest.next()?;
        if character == '\n' {
            self.place = Location { line: self.place.line + 1, column: 1 };
        } else {
            self.place.column += 1;
        }
        Some(character)
    }

    /// The place where a character of the value is written; goes on behind it.
    fn find(&mut self, character: char, style: char) -> Location {
        if character.is_whitespace() {
            let place = self.place;
            // A line break may stand for a space, and indentation for nothing.
            let broke = self.next_if(|next| next == '\n') || (self.next_if(char::is_whitespace) && self.broken());
            while broke && self.next_if(char::is_whitespace) {}
            return place;
        }
        while self.next_if(char::is_whitespace) {}
        let place = self.place;
        let first = self.next();
        if style == '"' && first == Some('\\') {
            let digits = match self.next() {
                Some('x') => 2,
                Some('u') => 4,
                Some('U') => 8,
                _ => 0,
            };
            for _ in 0..digits {
                self.next();
            }
        }
        if style == '\'' && character == '\'' {
            self.next();
        }
        place
    }

    /// Whether nothing but white space is left on the line.
    fn broken(&mut self) -> bool {
        let mut ahead = self.rest.clone().take_while(|character| character.is_whitespace());
        ahead.any(|character| character == '\n')
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        let is_wanted = self.peek().is_some_and(wanted);
        if is_wanted {
            self.next();
        }
        is_wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(source: &str, column: usize, value: &str, wanted: char) -> (usize, usize) {
        let index = value.chars().position(|character| character == wanted).unwrap();
        let Location { line, column } = places(source, Location { line: 1, column }, value)[index];
        (line, column)
    }

    #[test]
    fn every_style_of_a_scalar_is_found_again() {
        for (source, value, expected) in [
            ("x: ab > @", "ab > @", (1, 9)),
            ("x: 'it''s @'", "it's @", (1, 11)),
            ("x: \"a\\u00f6 \\\"b\\\" @\"", "aö \"b\" @", (1, 19)),
            ("x: >-\n   ab &&\n   @ > 1\n", "ab && @ > 1", (3, 4)),
            ("x: |\n   ab &&\n   ö @\n", "ab &&\nö @\n", (3, 6)),
            ("x: ab\n   @", "ab @", (2, 4)),
            ("x: ö  @", "ö  @", (1, 7)),
        ] {
            assert_eq!(place_of(source, 4, value, '@'), expected, "{source:?}");
        }
    }
}
