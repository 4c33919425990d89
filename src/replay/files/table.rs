//! CSV tables, plain or gzipped, row by row.

use super::{
    mistakes::{Mistakes, Place},
    records::Records,
};
use flate2::read::MultiGzDecoder;
use std::{
    fmt,
    io::{self, Read},
};

/// A file by the name that mistakes are reported under.
pub struct Source {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub content: Box<dyn Read + Send>,
}

/// A file that is being read: several go on side by side, while the header of one is waited for.
pub(in crate::replay) struct Opening {
    name: String,
    records: io::Result<Records>,
}

impl Opening {
    /// Begins to read.
    pub(in crate::replay) fn of(source: Source) -> Self {
        let Source { name, content } = source;
        Self { name, records: unzipped(content).map(|content| Records::of(content, BLOCK)) }
    }
}

/// A table whose header has been read.
pub(in crate::replay) struct Table {
    pub(in crate::replay) name: String,
    pub(in crate::replay) columns: Vec<String>,
    records: Records,
}

impl Table {
    /// Waits for the header; `None` where there is none, which is a mistake.
    pub(in crate::replay) fn open(opening: Opening, mistakes: &mut Mistakes) -> Option<Self> {
        let Opening { name, records } = opening;
        match records.and_then(header) {
            Ok((columns, records)) => Some(Self { name, columns, records }),
            Err(error) => {
                mistakes.add(&name, Place { line: 0, column: 0 }, unreadable(&error));
                None
            }
        }
    }

    /// Where a column is.
    pub(in crate::replay) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// Where a column is that must be there.
    pub(in crate::replay) fn require(&self, name: &str, mistakes: &mut Mistakes) -> Option<usize> {
        let found = self.column(name);
        if found.is_none() {
            let shown = self.columns.iter().take(COLUMNS_SHOWN).map(|column| shortened(column));
            let shown = shown.collect::<Vec<_>>().join(", ");
            let more = match self.columns.len().saturating_sub(COLUMNS_SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let words = format_args!("there is no column \"{name}\", only {shown}{more}");
            mistakes.add(&self.name, Place { line: 1, column: 0 }, words);
        }
        found
    }

    /// Moves to the next row; false at the end. What cannot be read is a mistake and ends the table, but for rows with too
    /// many or too few fields, which are skipped.
    pub(in crate::replay) fn next(&mut self, mistakes: &mut Mistakes) -> bool {
        loop {
            match self.records.next() {
                Ok(false) => return false,
                Ok(true) if self.records.fields() == self.columns.len() => return true,
                Ok(true) => {
                    let (own, header) = (self.records.fields(), self.columns.len());
                    let words = format_args!("has {own} fields, the header has {header}");
                    mistakes.add(&self.name, Place { line: self.line(), column: 0 }, words);
                }
                Err(error) => {
                    mistakes.add(&self.name, Place { line: 0, column: 0 }, unreadable(&error));
                    return false;
                }
            }
        }
    }

    /// The text of a field of the row.
    pub(in crate::replay) fn text(&self, column: usize) -> &[u8] {
        self.records.text(column)
    }

    /// Every field of the row as a number, whatever it is; NaN if it is none.
    pub(in crate::replay) fn numbers(&self) -> &[f64] {
        self.records.numbers()
    }

    /// A field of the row as a number, whatever it is; `None` if it is none.
    pub(in crate::replay) fn number(&self, column: usize) -> Option<f64> {
        self.records.numbers().get(column).copied().filter(|number| !number.is_nan())
    }

    /// A field as a number that `accepts`; else a mistake that says what `must` be there.
    pub(in crate::replay) fn checked(
        &self,
        column: usize,
        must: impl fmt::Display,
        accepts: impl Fn(f64) -> bool,
        mistakes: &mut Mistakes,
    ) -> Option<f64> {
        let number = self.number(column).filter(|number| accepts(*number));
        if number.is_none() {
            self.mistake(column, format_args!("is {:?}, must be {must}", self.shown(column)), mistakes);
        }
        number
    }

    /// A field as a number from 0, such as of an arm.
    pub(in crate::replay) fn index(&self, column: usize, mistakes: &mut Mistakes) -> Option<usize> {
        let accepts =
            |number: f64| (0.0..=f64::from(INDEX_MAX)).contains(&number) && f64::from(number as u16) == number;
        let must = format_args!("a whole number from 0 to {INDEX_MAX}");
        Some(self.checked(column, must, accepts, mistakes)? as usize)
    }

    /// Notes what is wrong with a field.
    pub(in crate::replay) fn mistake(&self, column: usize, words: impl fmt::Display, mistakes: &mut Mistakes) {
        let place = Place { line: self.line(), column: self.records.before(column) + 1 };
        let name = self.columns.get(column).map_or("", String::as_str);
        mistakes.add(&self.name, place, format_args!("{name}: {words}"));
    }

    /// The line of the row.
    pub(in crate::replay) fn line(&self) -> u64 {
        self.records.line()
    }

    fn shown(&self, column: usize) -> String {
        shortened(&String::from_utf8_lossy(self.text(column)))
    }
}

/// Bytes that are read at a time, where there are as many, and split together: a reader of a plain file goes on for
/// milliseconds before another thread is woken.
const BLOCK: usize = 1 << 20;

/// Columns that are named where one is missed.
const COLUMNS_SHOWN: usize = 20;

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Arms and slots are counted in tables of that many.
const INDEX_MAX: u16 = 9_999;

/// The names of columns, and what follows them.
fn header(mut records: Records) -> io::Result<(Vec<String>, Records)> {
    records.next()?;
    let mut columns = Vec::with_capacity(records.fields());
    for text in records.texts() {
        let name = std::str::from_utf8(text).map_err(io::Error::other)?;
        if name.contains('\r') {
            return Err(io::Error::other("its lines end with a carriage return alone, must end with LF or CRLF"));
        }
        // Some programs begin a file with a byte order mark.
        columns.push(name.trim_start_matches('\u{feff}').to_owned());
    }
    Ok((columns, records))
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

/// The content, unpacked if it is gzipped, whatever the file is called.
fn unzipped(mut content: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::new();
    content.by_ref().take(2).read_to_end(&mut magic)?;
    let zipped = magic == [0x1f, 0x8b];
    let content = io::Cursor::new(magic).chain(content);
    Ok(if zipped { Box::new(MultiGzDecoder::new(content)) } else { Box::new(content) })
}
