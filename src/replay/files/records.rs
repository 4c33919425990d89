//! Records of CSV text, split into fields and read as numbers on a thread of their own: most of the work of estimating
//! from files is there, and several files are read side by side.
//!
//! Fields are separated by commas and may be quoted, as RFC 4180 has it; empty lines are no records.

use super::blocks::Blocks;
use sonic_number::ParserNumber;
use std::{
    io::{self, Read},
    mem,
    ops::Range,
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread,
};

/// Batches that may wait.
const WAITING: usize = 4;

/// Records in the order of the text, one of them at hand.
pub(super) struct Records {
    batches: Receiver<io::Result<Batch>>,
    /// Takes batches back whose memory can be used again.
    used: Sender<Batch>,
    batch: Batch,
    /// The number in the batch of the record that comes next.
    next: usize,
}

/// The records of a block; the last batch of a text has none.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    records: Vec<Record>,
    /// Where each field ends in the text, where commas do not tell.
    ends: Vec<usize>,
    /// What each field is as a number; NaN: none.
    numbers: Vec<f64>,
}

/// A record's place in its batch.
struct Record {
    /// The line that it begins in, from 1.
    line: u64,
    /// Where it is in the text.
    place: Range<usize>,
    fields: Range<usize>,
}

impl Records {
    /// Begins to read so many bytes at a time; no record is at hand before [`Self::next`].
    pub(super) fn of(content: impl Read + Send + 'static, bytes: usize) -> Self {
        let (sender, batches) = sync_channel(WAITING);
        let (used, reusable) = channel();
        // It ends with the text, or at the next batch when nobody wants any more.
        thread::spawn(move || read(Blocks::of(content, bytes), &sender, &reusable));
        Self { batches, used, batch: Batch::default(), next: 0 }
    }

    /// Moves to the next record; `false` at the end.
    ///
    /// # Errors
    /// Where the text cannot be read.
    pub(super) fn next(&mut self) -> io::Result<bool> {
        if self.next == self.batch.records.len() {
            let lost = || Err(io::Error::other("what reads it has failed"));
            let batch = self.batches.recv().unwrap_or_else(|_| lost())?;
            // After the last batch nobody wants it.
            self.used.send(mem::replace(&mut self.batch, batch)).unwrap_or_default();
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
        self.place(index).map_or(&[], |place| self.batch.text[place].trim_ascii())
    }

    /// Every field as text.
    pub(super) fn texts(&self) -> Vec<&[u8]> {
        let Some(record) = self.at_hand() else { return Vec::new() };
        if self.batch.ends.is_empty() {
            let parts = self.batch.text[record.place.clone()].split(|&byte| byte == b',');
            return parts.map(<[u8]>::trim_ascii).collect();
        }
        (0..record.fields.len()).map(|index| self.text(index)).collect()
    }

    /// Every field as a number; NaN where it is none.
    pub(super) fn numbers(&self) -> &[f64] {
        self.at_hand().map_or(&[], |record| &self.batch.numbers[record.fields.clone()])
    }

    /// How many characters of the record stand before a field, quotation marks not counted.
    pub(super) fn before(&self, index: usize) -> usize {
        self.at_hand().zip(self.place(index)).map_or(0, |(record, place)| place.start - record.place.start)
    }

    fn at_hand(&self) -> Option<&Record> {
        self.batch.records.get(self.next.checked_sub(1)?)
    }

    /// Where a field is in the text.
    fn place(&self, index: usize) -> Option<Range<usize>> {
        let Record { place, fields, .. } = self.at_hand()?;
        if self.batch.ends.is_empty() {
            let mut parts = self.batch.text[place.clone()].split(|&byte| byte == b',');
            let start = place.start + parts.by_ref().take(index).map(|part| part.len() + 1).sum::<usize>();
            return parts.next().map(|part| start..start + part.len());
        }
        let ends = &self.batch.ends[fields.clone()];
        let start = if index == 0 { place.start } else { ends.get(index - 1)? + 1 };
        Some(start..*ends.get(index)?)
    }
}

/// Sends everything, and an empty batch or an error at the end.
fn read(mut blocks: Blocks<impl Read>, batches: &SyncSender<io::Result<Batch>>, reusable: &Receiver<Batch>) {
    let mut line = 1;
    loop {
        let mut batch = reusable.try_recv().unwrap_or_default();
        let place = |error: io::Error| io::Error::new(error.kind(), format!("in line {line} or after it: {error}"));
        let ended = blocks.read(&mut batch.text).map_err(place).and_then(|quoted| {
            let ended = batch.text.is_empty();
            batch.split(quoted, &mut line)?;
            Ok(ended)
        });
        let last = !matches!(ended, Ok(false));
        // Of empty lines there are no records.
        let told = last || !batch.records.is_empty();
        if told && batches.send(ended.map(|_| batch)).is_err() || last {
            return;
        }
    }
}

impl Batch {
    /// Finds the records of its text, in which there may be quotation marks where it is `quoted`; `line` is the number of the
    /// line that comes next.
    fn split(&mut self, quoted: bool, line: &mut u64) -> io::Result<()> {
        self.records.clear();
        self.ends.clear();
        self.numbers.clear();
        if quoted {
            let text = mem::take(&mut self.text);
            self.take_quoted(&text, line)?;
        } else {
            self.take(line);
        }
        Ok(())
    }

    /// Takes a text without quotation marks.
    fn take(&mut self, line: &mut u64) {
        let text = mem::take(&mut self.text);
        // Enough for fields of 16 characters, as most have that are probabilities.
        self.numbers.reserve(text.len() / 16);
        let mut at = 0;
        while at < text.len() {
            let end = if line_end(&text, at) == 0 { self.take_record(&text, at, *line) } else { at };
            at = end + line_end(&text, end).max(1);
            *line += 1;
        }
        self.text = text;
    }

    /// Takes a record, and says where it ends.
    fn take_record(&mut self, text: &[u8], start: usize, line: u64) -> usize {
        let (first, mut from) = (self.numbers.len(), start);
        loop {
            let (number, end) = field(text, from);
            self.numbers.push(number);
            if text.get(end) != Some(&b',') {
                self.records.push(Record { line, place: start..end, fields: first..self.numbers.len() });
                return end;
            }
            from = end + 1;
        }
    }

    /// Takes a text with quotation marks, in which lines may end, without them.
    fn take_quoted(&mut self, quoted: &[u8], line: &mut u64) -> io::Result<()> {
        let mut reader = tolerant().from_reader(quoted);
        let mut record = csv::ByteRecord::new();
        let mut from = 0;
        while reader.read_byte_record(&mut record)? {
            let to = reader.position().byte() as usize;
            let empty = quoted[from..to].iter().take_while(|&&byte| byte == b'\n').count() as u64;
            // The other half of an empty line's end.
            if record.len() > 1 || &record[0] != b"\r" {
                self.take_fields(&record, *line + empty);
            }
            *line += line_feeds(&quoted[from..to]);
            from = to;
        }
        *line += line_feeds(&quoted[from..]);
        Ok(())
    }

    fn take_fields(&mut self, record: &csv::ByteRecord, line: u64) {
        let (first, start) = (self.ends.len(), self.text.len());
        for (index, field) in record.iter().enumerate() {
            self.text.extend((index > 0).then_some(b','));
            self.text.extend_from_slice(field);
            self.ends.push(self.text.len());
            self.numbers.push(number(field));
        }
        self.records.push(Record { line, place: start..self.text.len(), fields: first..self.ends.len() });
    }
}

/// Reads records of any number of fields; a carriage return at their end is of their last field.
fn tolerant() -> csv::ReaderBuilder {
    let mut builder = csv::ReaderBuilder::new();
    builder.has_headers(false).flexible(true).terminator(csv::Terminator::Any(b'\n'));
    builder
}

/// The field that begins there, as a number, and where it ends.
fn field(text: &[u8], from: usize) -> (f64, usize) {
    // Most are numbers and nothing else, and end where these do.
    let rest = &text[from..];
    if let Some((number, length)) = leading_number(rest)
        && let Some(b',' | b'\n') = rest.get(length)
    {
        return (number, from + length);
    }
    let end = memchr::memchr2(b',', b'\n', &text[from..]).map_or(text.len(), |length| from + length);
    let ends_line = text.get(end) != Some(&b',');
    let end = if ends_line && text[from..end].ends_with(b"\r") { end - 1 } else { end };
    (number(&text[from..end]), end)
}

/// The number that a text begins with, if that is written as in JSON, and how long it is.
fn leading_number(text: &[u8]) -> Option<(f64, usize)> {
    let negative = text.first() == Some(&b'-');
    let mut length = usize::from(negative);
    let number = match sonic_number::parse_number(text, &mut length, negative).ok()? {
        ParserNumber::Unsigned(number) => number as f64,
        ParserNumber::Signed(number) => number as f64,
        ParserNumber::Float(number) => number,
    };
    // Of -0 the parser says 0.
    Some((if negative { -number.abs() } else { number }, length))
}

/// A field as a number; NaN where it is none.
fn number(field: &[u8]) -> f64 {
    let text = std::str::from_utf8(field.trim_ascii()).unwrap_or_default();
    text.parse().unwrap_or(f64::NAN)
}

/// How long the end of a line is there, LF or CRLF; 0: none.
fn line_end(text: &[u8], at: usize) -> usize {
    match text[at..] {
        [b'\n', ..] | [b'\r'] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    }
}

fn line_feeds(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Fields = Vec<(Vec<u8>, u64)>;

    /// Every record with its line and its fields, as text and as the bits of numbers, of a text that is read so many bytes
    /// at a time.
    fn records(text: &str, bytes: usize) -> Vec<(u64, Fields)> {
        let content = io::Cursor::new(text.as_bytes().to_vec());
        let mut records = Records::of(content, bytes);
        let mut all = Vec::new();
        while records.next().unwrap() {
            let numbers = records.numbers().iter().map(|number| number.to_bits());
            let texts = (0..records.fields()).map(|index| records.text(index).to_vec());
            all.push((records.line(), texts.zip(numbers).collect()));
        }
        all
    }

    proptest! {
        #[test]
        fn numbers_are_what_the_standard_library_reads(
            text in "-?(0|[1-9][0-9]{0,24}|[0-9]{1,3})([.][0-9]{1,30})?([eE][-+]?[0-9]{1,3})?", number in any::<f64>(),
        ) {
            for text in [text, number.to_string(), format!("{number:e}")] {
                let expected: f64 = text.parse().unwrap();
                for more in [",0.1234567890123456,7\n", "\n0.1234567890123456", "\n", ""] {
                    let (found, end) = field(format!("{text}{more}").as_bytes(), 0);
                    prop_assert_eq!((found.to_bits(), end), (expected.to_bits(), text.len()), "{}{}", text, more);
                }
            }
        }

        #[test]
        fn any_text_is_split_as_the_csv_crate_splits_it_however_much_is_read_at_a_time(
            text in "[a1.e,\"\r\n -]{0,200}", bytes in 1..60_usize,
        ) {
            let mut reader = tolerant().from_reader(text.as_bytes());
            let expected: Vec<Fields> = reader
                .byte_records()
                .map(Result::unwrap)
                .filter(|record| record.len() > 1 || &record[0] != b"\r")
                .map(|record| record.iter().map(|field| (field.trim_ascii().to_vec(), number(field).to_bits())).collect())
                .collect();
            let found: Vec<_> = records(&text, bytes).into_iter().map(|(_, fields)| fields).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn lines_are_counted_however_much_is_read_at_a_time(
            empty in prop::collection::vec((0..3_usize, any::<bool>(), any::<bool>()), 1..40), bytes in 1..60_usize,
        ) {
            let (mut text, mut expected, mut line) = (String::new(), Vec::new(), 1);
            for (lines, carriage_return, quoted) in empty {
                let end = if carriage_return { "\r\n" } else { "\n" };
                text += &end.repeat(lines);
                line += lines as u64;
                expected.push(line);
                text += if quoted { "\"two\nlines\",1" } else { "one,1" };
                text += end;
                line += 1 + u64::from(quoted);
            }
            let found: Vec<u64> = records(&text, bytes).into_iter().map(|(line, _)| line).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_stops_in_the_middle_is_no_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("unplugged"))
            }
        }
        let mut records = Records::of(io::Cursor::new(b"1,2\n3").chain(Broken), 100);
        let failed = loop {
            match records.next() {
                Ok(more) => assert!(more, "the end was told, and there was none"),
                Err(error) => break error,
            }
        };
        assert_eq!(failed.to_string(), "in line 2 or after it: unplugged");
    }

    #[test]
    fn a_record_that_does_not_end_is_told_and_not_held() {
        let endless = io::Cursor::new(b"1,2\n\"3,4").chain(io::repeat(b'\n'));
        let mut records = Records::of(endless, 1 << 20);
        assert!(records.next().unwrap());
        let failed = records.next().unwrap_err().to_string();
        assert!(failed.starts_with("in line 2 or after it: a record is longer than 16777216 bytes"), "{failed}");
    }

    #[test]
    fn a_reader_that_panics_is_no_end() {
        struct Panics;
        impl Read for Panics {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("on purpose, by a test")
            }
        }
        assert!(Records::of(Panics, 100).next().is_err());
    }

    #[test]
    fn fields_that_are_no_numbers_have_none() {
        let mut records = Records::of(io::Cursor::new(b" 0.1 ,1e3,x,,nan,-.5\n".to_vec()), 100);
        assert!(records.next().unwrap());
        let numbers: Vec<Option<f64>> =
            records.numbers().iter().map(|&number| Some(number).filter(|number| !number.is_nan())).collect();
        assert_eq!(numbers, [Some(0.1), Some(1e3), None, None, None, Some(-0.5)]);
    }
}
