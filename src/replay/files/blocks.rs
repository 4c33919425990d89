//! Text in blocks of whole records, so that each can be split without the others.

use std::io::{self, Read};

/// The longest record there may be, in bytes: of one that does not end all the rest of a file would be held.
const RECORD_MAX: usize = 16 << 20;

/// Blocks in the order of the text, each about as long as what is read at a time, or as its longest record.
pub(super) struct Blocks<R> {
    content: R,
    /// How much is read at a time, in bytes.
    bytes: usize,
    /// What has been read of the next block.
    rest: Vec<u8>,
}

impl<R: Read> Blocks<R> {
    pub(super) const fn of(content: R, bytes: usize) -> Self {
        Self { content, bytes, rest: Vec::new() }
    }

    /// Puts the next block where another one was, whose memory it takes over; empty at the end. `false` where it has no
    /// quotation mark.
    ///
    /// # Errors
    /// Where the text cannot be read, and where the block begins with a record that is too long.
    pub(super) fn read(&mut self, block: &mut Vec<u8>) -> io::Result<bool> {
        let mut filled = self.rest.len();
        block.resize(filled + self.bytes, 0);
        block[..filled].copy_from_slice(&self.rest);
        self.rest.clear();
        let mut quotes = Quotes::default();
        // A record that ended there would be in the block before.
        quotes.last_end(&block[..filled]);
        loop {
            let taken = match self.content.read(&mut block[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                taken => taken?,
            };
            let more = &block[filled..filled + taken];
            let ended = quotes.last_end(more);
            if let Some(end) = ended {
                self.rest.extend_from_slice(&more[end..]);
            }
            filled += ended.unwrap_or(taken);
            if ended.is_some() || taken == 0 {
                block.truncate(filled);
                return Ok(quotes.seen);
            }
            if filled > RECORD_MAX {
                let words = format!("a record is longer than {RECORD_MAX} bytes; is a quotation mark left open?");
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
            block.resize(filled + self.bytes, 0);
        }
    }
}

/// What quotation marks make of the text that follows. One that begins a field lasts to the next, and two within stand for
/// one (RFC 4180); others mean nothing.
struct Quotes {
    /// Whether there was any.
    seen: bool,
    open: bool,
    /// Whether a mark would open, or open again.
    may_open: bool,
}

impl Default for Quotes {
    /// Before a record.
    fn default() -> Self {
        Self { seen: false, open: false, may_open: true }
    }
}

impl Quotes {
    /// Where the last record ends that ends in the text that follows, its line feed included.
    fn last_end(&mut self, text: &[u8]) -> Option<usize> {
        if self.open || memchr::memchr(b'"', text).is_some() {
            self.seen = true;
            let later = |last, (place, &byte)| if self.ends(byte) { Some(place + 1) } else { last };
            return text.iter().enumerate().fold(None, later);
        }
        if let Some(&byte) = text.last() {
            self.ends(byte);
        }
        memchr::memrchr(b'\n', text).map(|place| place + 1)
    }

    /// Takes in a byte, and says whether a record ends with it.
    const fn ends(&mut self, byte: u8) -> bool {
        let ends = byte == b'\n' && !self.open;
        (self.open, self.may_open) = match (byte, self.open) {
            // Where another one follows at once, it goes on.
            (b'"', true) => (false, true),
            (b'"', false) => (self.may_open, false),
            (_, true) => (true, false),
            (_, false) => (false, byte == b',' || byte == b'\n'),
        };
        ends
    }
}
