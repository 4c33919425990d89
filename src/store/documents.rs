//! Documents: what a store keeps about one unit at one placement, or about one user, and replaces as a whole.
//!
//! A document's content is opaque. Its version is chosen by whoever writes it, at random, so that a document that went
//! and came back is never taken for the one that was read.

use super::LogId;
use crate::engine::instant::Instant;

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocumentKey {
    /// A unit at a placement. It stands beside the log that the unit's decisions go to, so that one step can append a
    /// decision and replace it.
    Unit {
        /// The log of the unit's partition.
        log: LogId,
        /// Keyed hash of the unit's id.
        unit: [u8; 16],
    },
    /// A user, across placements, by the keyed hash of the user's id.
    User([u8; 16]),
}

/// A document as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDocument {
    /// Changes whenever the content does.
    pub version: u64,
    /// What was written.
    pub content: Vec<u8>,
}

/// A new content of a document, valid only in place of the version that it was computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentChange {
    /// Which document.
    pub key: DocumentKey,
    /// The version that this was computed from; `None`: there was no document.
    pub from_version: Option<u64>,
    /// The version of the new content: random, of 64 bits.
    pub version: u64,
    /// The new content; `None`: there is to be no document.
    pub content: Option<Vec<u8>>,
    /// When it changes, by the caller's clock.
    pub changed_at: Instant,
    /// From when on it may go by itself.
    pub expires_at: Instant,
}

/// What became of a document's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// The new content stands, written now or by the same change before.
    Changed,
    /// Somebody else changed the document first; nothing was written.
    Moved,
}

impl DocumentChange {
    /// Whether it may be made where this version stands.
    pub(super) fn fits(&self, stored: Option<u64>) -> bool {
        stored == self.from_version || self.was_made(stored)
    }

    /// Whether what stands is what it leads to.
    pub(super) fn was_made(&self, stored: Option<u64>) -> bool {
        stored == self.content.as_ref().map(|_| self.version)
    }
}
