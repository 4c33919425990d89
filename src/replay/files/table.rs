//! CSV tables, plain or gzipped, row by row.

use super::mistakes::{Mistakes, Place};
use csv::ByteRecord;
use flate2::read::MultiGzDecoder;
use std::io::{self, BufRead as _, BufReader, Read};

/// A file by the name that mistakes are reported under.
pub struct Source<'a> {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub content: Box<dyn Read + 'a>,
}

/// A table whose header has been read.
pub(in crate::replay) struct Table<'a> {
    pub(in crate::replay) name: String,
    pub(in crate::replay) columns: Vec<String>,
    reader: csv::Reader<Box<dyn Read + 'a>>,
    record: ByteRecord,
}

impl<'a> Table<'a> {
    /// Reads the header; `None` where there is none, which is a mistake.
    pub(in crate::replay) fn open(source: Source<'a>, mistakes: &mut Mistakes) -> Option<Self> {
        let Source { name, content } = source;
        let whole = Place { line: 0, column: 0 };
        let content = unzipped(content).map_err(|error| mistakes.add(&name, whole, unreadable(&error))).ok()?;
        let mut reader = csv::Reader::from_reader(content);
        let columns = match reader.headers() {
            Ok(header) => header.iter().map(|name| name.trim().to_owned()).collect(),
            Err(error) => {
                mistakes.add(&name, whole, format_args!("cannot be read: {error}"));
                return None;
            }
        };
        Some(Self { name, columns, reader, record: ByteRecord::new() })
    }

    /// Where a column is.
    pub(in crate::replay) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// Where a column is that must be there.
    pub(in crate::replay) fn require(&self, name: &str, mistakes: &mut Mistakes) -> Option<usize> {
        let found = self.column(name);
        if found.is_none() {
            let words = format_args!("there is no column \"{name}\", only {}", self.columns.join(", "));
            mistakes.add(&self.name, Place { line: 1, column: 0 }, words);
        }
        found
    }

    /// Moves to the next row; false at the end. What cannot be read is a mistake and ends the table, but for rows with too
    /// many or too few fields, which are skipped.
    pub(in crate::replay) fn next(&mut self, mistakes: &mut Mistakes) -> bool {
        loop {
            match self.reader.read_byte_record(&mut self.record) {
                Ok(more) => return more,
                Err(error) => {
                    let line = error.position().map_or(0, csv::Position::line);
                    let uneven = matches!(error.kind(), csv::ErrorKind::UnequalLengths { .. });
                    let words = match error.kind() {
                        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                            format!("has {len} fields, the header has {expected_len}")
                        }
                        _ => format!("cannot be read: {error}"),
                    };
                    mistakes.add(&self.name, Place { line, column: 0 }, words);
                    if !uneven {
                        return false;
                    }
                }
            }
        }
    }

    /// The text of a field of the row.
    pub(in crate::replay) fn text(&self, column: usize) -> &[u8] {
        self.record.get(column).unwrap_or_default().trim_ascii()
    }

    /// A field of the row as a number, whatever it is; `None` if it is none.
    pub(in crate::replay) fn number(&self, column: usize) -> Option<f64> {
        std::str::from_utf8(self.text(column)).ok()?.parse().ok()
    }

    /// A field as a number that `accepts`; else a mistake that says what `must` be there.
    pub(in crate::replay) fn checked(
        &self,
        column: usize,
        must: &str,
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
        let accepts = |number: f64| number.fract() == 0.0 && (0.0..=INDEX_MAX).contains(&number);
        let must = format!("a whole number from 0 to {INDEX_MAX}");
        Some(self.checked(column, &must, accepts, mistakes)? as usize)
    }

    /// Notes what is wrong with a field.
    pub(in crate::replay) fn mistake(&self, column: usize, words: impl std::fmt::Display, mistakes: &mut Mistakes) {
        let place =
            Place { line: self.line(), column: self.record.range(column).map_or(0, |at| at.start + column + 1) };
        let name = self.columns.get(column).map_or("", String::as_str);
        mistakes.add(&self.name, place, format_args!("{name}: {words}"));
    }

    /// The line of the row.
    pub(in crate::replay) fn line(&self) -> u64 {
        self.record.position().map_or(1, csv::Position::line)
    }

    fn shown(&self, column: usize) -> String {
        String::from_utf8_lossy(self.text(column)).chars().take(40).collect()
    }
}

/// Arms and slots are counted in tables of that many.
const INDEX_MAX: f64 = 9_999.0;

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

/// The content, unpacked if it is gzipped, whatever the file is called.
fn unzipped<'a>(content: Box<dyn Read + 'a>) -> io::Result<Box<dyn Read + 'a>> {
    let mut content = BufReader::with_capacity(1 << 16, content);
    let zipped = content.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if zipped { Box::new(MultiGzDecoder::new(content)) } else { Box::new(content) })
}
