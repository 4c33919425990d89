//! What is wrong with files, all of it at once, as far as anybody wants to read.

use std::fmt;

/// Mistakes that are kept; the rest is counted.
const SHOWN_MAX: usize = 50;

/// Mistakes of any number of files; as an error, there is at least one.
#[derive(Debug, Default, thiserror::Error)]
pub struct Mistakes {
    count: usize,
    shown: Vec<String>,
}

/// Where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1; 0: the file as a whole.
    pub line: u64,
    /// In characters from 1, with quotation marks left out; 0: the line as a whole.
    pub column: usize,
}

impl Mistakes {
    /// Notes one.
    pub fn add(&mut self, file: &str, place: Place, words: impl fmt::Display) {
        self.count += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(match place {
                Place { line: 0, .. } => format!("{file}: {words}"),
                Place { line, column: 0 } => format!("{file}:{line}: {words}"),
                Place { line, column } => format!("{file}:{line}:{column}: {words}"),
            });
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Nothing, or all of them.
    ///
    /// # Errors
    /// Where there is at least one.
    pub fn into_result(self) -> Result<(), Self> {
        if self.count == 0 { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.count == 1 { "mistake" } else { "mistakes" };
        write!(out, "{} {noun}, nothing was estimated\n{}", self.count, self.shown.join("\n"))?;
        match self.count - self.shown.len() {
            0 => Ok(()),
            more => write!(out, "\nand {more} more"),
        }
    }
}
