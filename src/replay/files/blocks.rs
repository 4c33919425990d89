//! Text in blocks of whole records, so that each can be split without the others.

use std::io::{self, Read};

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

    /// The next block; empty at the end.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut block = Vec::with_capacity(self.rest.len() + self.bytes);
        block.append(&mut self.rest);
        let mut quotes = Quotes::default();
        // A record that ended there would be in the block before.
        quotes.last_end(&block);
        loop {
            let before = block.len();
            // Reserved exactly, so that the reader is not asked whether there is more than fits.
            block.reserve_exact(self.bytes);
            let taken = self.content.by_ref().take(self.bytes as u64).read_to_end(&mut block)?;
            let ended = quotes.last_end(&block[before..]);
            if let Some(end) = ended {
                self.rest.extend_from_slice(&block[before + end..]);
                block.truncate(before + end);
            }
            if ended.is_some() || taken == 0 {
                return Ok(block);
            }
        }
    }
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().map(|block| Some(block).filter(|block| !block.is_empty())).transpose()
    }
}

/// What quotation marks make of the text that follows. One that begins a field lasts to the next, and two within stand for
/// one (RFC 4180); others mean nothing.
struct Quotes {
    open: bool,
    /// Whether a mark would open, or open again.
    may_open: bool,
}

impl Default for Quotes {
    /// Before a record.
    fn default() -> Self {
        Self { open: false, may_open: true }
    }
}

impl Quotes {
    /// Where the last record ends that ends in the text that follows, its line feed included.
    fn last_end(&mut self, text: &[u8]) -> Option<usize> {
        if self.open || memchr::memchr(b'"', text).is_some() {
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
