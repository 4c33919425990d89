//! Salts: what opens the identity that is sealed in a decision's record. A record stays as it was written; its salt stands
//! beside it and can be destroyed, for each owner by itself.

use crate::engine::instant::Instant;

/// For how long a store remembers, at least, that an owner was forgotten: a decision may be logged as long after it was
/// made. 30 days, in milliseconds.
pub const FORGOTTEN_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// A decision's salt, and who may have it destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedSalt {
    /// Keyed hash of the user's id.
    pub owner: [u8; 16],
    /// The salt; not all zero.
    pub salt: [u8; 16],
    /// When the decision was made.
    pub made_at: Instant,
    /// From when on it may go by itself.
    pub expires_at: Instant,
}
