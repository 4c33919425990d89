//! Text in blocks of whole records, so that each can be split without the others.

use std::{
    io::{self, BufRead},
    mem,
};

/// Blocks in the order of the text, each about as long as what its buffer takes at a time, or as its longest record.
pub(super) struct Blocks<R> {
    content: R,
    /// What has been read of the next block.
    rest: Vec<u8>,
}

impl<R: BufRead> Blocks<R> {
    pub(super) const fn of(content: R) -> Self {
        Self { content, rest: Vec::new() }
    }

    /// The next block; empty at the end.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut block = mem::take(&mut self.rest);
        let mut quotes = Quotes::default();
        // A record that ended there would be in the block before.
        quotes.last_end(&block);
        loop {
            let more = match self.content.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                more => more?,
            };
            let (before, taken) = (block.len(), more.len());
            let ended = quotes.last_end(more);
            block.extend_from_slice(more);
            self.content.consume(taken);
            if let Some(end) = ended {
                self.rest = block.split_off(before + end);
            }
            if ended.is_some() || taken == 0 {
                return Ok(block);
            }
        }
    }
}

impl<R: BufRead> Iterator for Blocks<R> {
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
