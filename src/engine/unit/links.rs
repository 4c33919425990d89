//! Which units go on from which: what a login leaves behind.
//!
//! Links are of one unit alone. They are not taken over by its heirs: two users of one device are not one person.

use super::state::UnitKey;
use crate::engine::instant::Instant;
use std::collections::BTreeMap;

/// How long it is kept that units belong to one person: 400 days in seconds, as long as anything can be reported.
pub const LINK_S: u64 = 400 * 24 * 60 * 60;

/// The units before and after one, each with the time of its link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Units that this one goes on from.
    pub origins: BTreeMap<UnitKey, Instant>,
    /// Units that go on from this one.
    pub heirs: BTreeMap<UnitKey, Instant>,
}

impl Links {
    /// Drops what means nothing any more at `now`.
    pub fn prune(&mut self, now: Instant) {
        for links in [&mut self.origins, &mut self.heirs] {
            links.retain(|_, since| since.plus_s(LINK_S) > now);
        }
    }

    /// When all of it will mean nothing; `None`: it means nothing at all.
    #[must_use]
    pub fn expires_at(&self) -> Option<Instant> {
        self.origins.values().chain(self.heirs.values()).map(|since| since.plus_s(LINK_S)).max()
    }
}
