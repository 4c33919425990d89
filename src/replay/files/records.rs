//! Records of CSV text, split into fields and read as numbers on a thread of their own: most of the work of estimating
//! from files is there, and several files are read side by side.
//!
//! Fields are separated by commas and may be quoted, as RFC 4180 has it; empty lines are no records.

use std::{
    io::{self, BufRead, BufReader, Read},
    ops::Range,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

/// Records that are handed over together: few enough to stay in the processor's cache.
const BATCH: usize = 128;
/// Batches that may wait.
const WAITING: usize = 2;
/// Read from the file at a time.
const BUFFER: usize = 1 << 16;

/// Records in the order of the text, one of them at hand.
pub(super) struct Records {
    batches: Receiver<io::Result<Batch>>,
    batch: Batch,
    /// The number in the batch of the record that comes next.
    next: usize,
}

/// Records in a row; the last batch of a text is empty.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    records: Vec<Record>,
    fields: Vec<Field>,
}

/// A record's place in its batch.
struct Record {
    /// The line that it begins in, from 1.
    line: u64,
    /// Where it begins in the text.
    start: usize,
    fields: Range<usize>,
}

/// A field's place in the text of its batch, and what it is as a number.
struct Field {
    start: usize,
    end: usize,
    /// NaN: none.
    number: f64,
}

impl Records {
    /// Begins to read; no record is at hand before [`Self::next`].
    pub(super) fn of(content: impl Read + Send + 'static) -> Self {
        let (sender, batches) = sync_channel(WAITING);
        // It ends with the text, or at the next batch when nobody wants any more.
        thread::spawn(move || read(BufReader::with_capacity(BUFFER, content), &sender));
        Self { batches, batch: Batch::default(), next: 0 }
    }

    /// Moves to the next record; `false` at the end.
    ///
    /// # Errors
    /// Where the text cannot be read.
    pub(super) fn next(&mut self) -> io::Result<bool> {
        if self.next == self.batch.records.len() {
            let lost = || Err(io::Error::other("what reads it has failed"));
            self.batch = self.batches.recv().unwrap_or_else(|_| lost())?;
            self.next = 0;
        }
        let more = self.next < self.batch.records.len();
        self.next += usize::from(more);
        Ok(more)
    }

    /// How many fields the record has; 0 before the first.
    pub(super) fn fields(&self) -> usize {
        self.at_hand().map_or(0, |record| record.fields.len())
    }

    /// The line that the record begins in, from 1.
    pub(super) fn line(&self) -> u64 {
        self.at_hand().map_or(1, |record| record.line)
    }

    /// A field without the blanks around it; empty where there is none.
    pub(super) fn text(&self, index: usize) -> &[u8] {
        self.field(index).map_or(&[], |field| self.batch.text[field.start..field.end].trim_ascii())
    }

    /// A field as a number; `None` where it is none.
    pub(super) fn number(&self, index: usize) -> Option<f64> {
        self.field(index).map(|field| field.number).filter(|number| !number.is_nan())
    }

    /// How many characters of the record stand before a field, quotation marks not counted.
    pub(super) fn before(&self, index: usize) -> usize {
        self.at_hand().zip(self.field(index)).map_or(0, |(record, field)| field.start - record.start)
    }

    fn at_hand(&self) -> Option<&Record> {
        self.batch.records.get(self.next.checked_sub(1)?)
    }

    fn field(&self, index: usize) -> Option<&Field> {
        self.batch.fields[self.at_hand()?.fields.clone()].get(index)
    }
}

/// Sends everything, and an empty batch or an error at the end.
fn read(mut lines: impl BufRead, batches: &SyncSender<io::Result<Batch>>) {
    let mut line = 1;
    let mut batch = Batch::default();
    loop {
        let filled = (0..BATCH).try_for_each(|_| batch.take(&mut lines, &mut line));
        let ended = filled.is_err() || batch.records.is_empty();
        let next = batch.like();
        if batches.send(filled.map(|()| batch)).is_err() || ended {
            return;
        }
        batch = next;
    }
}

impl Batch {
    /// An empty one with room for as much.
    fn like(&self) -> Self {
        Self {
            text: Vec::with_capacity(self.text.len()),
            records: Vec::with_capacity(self.records.len()),
            fields: Vec::with_capacity(self.fields.len()),
        }
    }

    /// Takes the next record, if there is one; `line` is the number of the line that comes next.
    fn take(&mut self, lines: &mut impl BufRead, line: &mut u64) -> io::Result<()> {
        let start = self.text.len();
        let mut first = *line;
        while self.text.len() == start {
            first = *line;
            if lines.read_until(b'\n', &mut self.text)? == 0 {
                return Ok(());
            }
            *line += 1;
            self.end_line(start);
        }
        let field = self.fields.len();
        if memchr::memchr(b'"', &self.text[start..]).is_some() {
            self.take_quoted(lines, line, start)?;
        } else {
            self.split(start);
        }
        self.records.push(Record { line: first, start, fields: field..self.fields.len() });
        Ok(())
    }

    /// Takes the end of the line off, LF or CRLF.
    fn end_line(&mut self, start: usize) {
        for end in [b'\n', b'\r'] {
            if self.text[start..].last() == Some(&end) {
                self.text.pop();
            }
        }
    }

    fn split(&mut self, start: usize) {
        let mut from = start;
        let text = &self.text;
        let commas = memchr::memchr_iter(b',', &text[start..]).map(|comma| start + comma);
        for end in commas.chain([text.len()]) {
            self.fields.push(Field::of(text, from..end));
            from = end + 1;
        }
    }

    /// The same for a record with quotation marks, in which lines may end.
    fn take_quoted(&mut self, lines: &mut impl BufRead, line: &mut u64, start: usize) -> io::Result<()> {
        while is_open(&self.text[start..]) {
            self.text.push(b'\n');
            if lines.read_until(b'\n', &mut self.text)? == 0 {
                break;
            }
            *line += 1;
            self.end_line(start);
        }
        let record = self.text.split_off(start);
        let mut fields = csv::ByteRecord::new();
        csv::ReaderBuilder::new().has_headers(false).from_reader(&*record).read_byte_record(&mut fields)?;
        for (index, field) in fields.iter().enumerate() {
            self.text.extend((index > 0).then_some(b','));
            let from = self.text.len();
            self.text.extend_from_slice(field);
            self.fields.push(Field::of(&self.text, from..self.text.len()));
        }
        Ok(())
    }
}

impl Field {
    fn of(text: &[u8], place: Range<usize>) -> Self {
        let number = lexical_core::parse(text[place.clone()].trim_ascii()).unwrap_or(f64::NAN);
        Self { start: place.start, end: place.end, number }
    }
}

/// Whether a quotation mark that begins a field has no other that ends it; two within it stand for one.
fn is_open(record: &[u8]) -> bool {
    let (mut open, mut may_open) = (false, true);
    for &byte in record {
        (open, may_open) = match (byte, open) {
            // Where another one follows at once, it goes on.
            (b'"', true) => (false, true),
            (b'"', false) => (may_open, false),
            (_, true) => (true, false),
            (_, false) => (false, byte == b','),
        };
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every record with its line and its fields, as text.
    fn records(text: &str) -> Vec<(u64, Vec<Vec<u8>>)> {
        let mut records = Records::of(io::Cursor::new(text.as_bytes().to_vec()));
        let mut all = Vec::new();
        while records.next().unwrap() {
            all.push((records.line(), (0..records.fields()).map(|index| records.text(index).to_vec()).collect()));
        }
        all
    }

    proptest! {
        #[test]
        fn any_table_is_split_as_the_csv_crate_splits_it(
            rows in prop::collection::vec((prop::collection::vec("[a1,\"\n]{0,3}", 2..4), 0..3_usize, any::<bool>()), 0..300)
        ) {
            let mut text = String::new();
            for (fields, empty_lines, carriage_return) in rows {
                let quoted: Vec<String> = fields
                    .iter()
                    .map(|field| match field.contains([',', '"', '\n']) {
                        true => format!("\"{}\"", field.replace('"', "\"\"")),
                        false => format!("x{field}"),
                    })
                    .collect();
                let end = if carriage_return { "\r\n" } else { "\n" };
                text += &quoted.join(",");
                text += &end.repeat(1 + empty_lines);
            }
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let expected: Vec<Vec<Vec<u8>>> = reader
                .byte_records()
                .map(|record| record.unwrap().iter().map(|field| field.trim_ascii().to_vec()).collect())
                .collect();
            let found: Vec<Vec<Vec<u8>>> = records(&text).into_iter().map(|(_, fields)| fields).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn records_know_the_line_that_they_begin_in() {
        let text = "a,b\n\n\"two\nlines\",1\r\nlast,2";
        let lines: Vec<u64> = records(text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 3, 5]);
    }

    #[test]
    fn what_stops_in_the_middle_is_no_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("unplugged"))
            }
        }
        let mut records = Records::of(io::Cursor::new(b"1,2\n3").chain(Broken));
        let failed = loop {
            match records.next() {
                Ok(more) => assert!(more, "the end was told, and there was none"),
                Err(error) => break error,
            }
        };
        assert_eq!(failed.to_string(), "unplugged");
    }

    #[test]
    fn a_reader_that_panics_is_no_end() {
        struct Panics;
        impl Read for Panics {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("on purpose, by a test")
            }
        }
        assert!(Records::of(Panics).next().is_err());
    }

    #[test]
    fn fields_that_are_no_numbers_have_none() {
        let mut records = Records::of(io::Cursor::new(b" 0.1 ,1e3,x,,nan,-.5\n".to_vec()));
        assert!(records.next().unwrap());
        let numbers: Vec<Option<f64>> = (0..6).map(|index| records.number(index)).collect();
        assert_eq!(numbers, [Some(0.1), Some(1e3), None, None, None, Some(-0.5)]);
    }
}
