//! Until when reports on a decision are taken.

use crate::engine::{catalog::WindowLengths, instant::Instant};

/// When the windows of one decision end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// When the decision was made.
    pub decided_at: Instant,
    /// Outcomes that occur after this do not count.
    pub attribution_ends_at: Instant,
    /// Reports that arrive at or after this are late.
    pub closes_at: Instant,
    /// Revisions that arrive at or after this are late.
    pub revisions_end_at: Instant,
}

impl Windows {
    /// Those of a decision, by how long they stay open.
    #[must_use]
    pub fn of(lengths: WindowLengths, decided_at: Instant) -> Self {
        Self {
            decided_at,
            attribution_ends_at: decided_at.plus_s(lengths.attribution_s),
            closes_at: decided_at.plus_s(lengths.attribution_s).plus_s(lengths.grace_s),
            revisions_end_at: decided_at.plus_s(lengths.revision_s),
        }
    }
}
