//! Which units go on from which: what a login leaves behind.
//!
//! Links are of one unit alone. They are not taken over by its heirs: two users of one device are not one person.

use super::state::UnitKey;
use crate::engine::instant::Instant;
use std::collections::BTreeMap;

/// How long it is kept that units belong to one person: 400 days in seconds, as long as anything can be reported.
pub const LINK_S: u64 = 400 * 24 * 60 * 60;

/// Most units before and most after one: the latest links are kept.
pub const LINKS_MAX: usize = 32;

/// The units before and after one, each with the time of its link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Units that this one goes on from.
    pub origins: BTreeMap<UnitKey, Instant>,
    /// Units that go on from this one.
    pub heirs: BTreeMap<UnitKey, Instant>,
    /// The unit that it went on from first, or the one that that went on from, and so on; and since when: whose group it
    /// is in, so that a login changes no group.
    pub first: Option<(UnitKey, Instant)>,
}

impl Links {
    /// Lets the unit of these links go on from another at `now`.
    pub fn go_on_from(&mut self, origin: UnitKey, of_origin: &Self, now: Instant) {
        self.origins.entry(origin).or_insert(now);
        self.first.get_or_insert((of_origin.first.map_or(origin, |(first, _)| first), now));
    }

    /// Drops what means nothing any more at `now`, and of too many links the oldest.
    pub fn prune(&mut self, now: Instant) {
        for links in [&mut self.origins, &mut self.heirs] {
            links.retain(|_, since| since.plus_s(LINK_S) > now);
            while links.len() > LINKS_MAX
                && let Some(oldest) = links.iter().min_by_key(|(_, since)| **since).map(|(unit, _)| *unit)
            {
                links.remove(&oldest);
            }
        }
        self.first = self.first.filter(|(_, since)| since.plus_s(LINK_S) > now);
    }

    /// When all of it will mean nothing; `None`: it means nothing at all.
    #[must_use]
    pub fn expires_at(&self) -> Option<Instant> {
        let first = self.first.iter().map(|(_, since)| since);
        self.origins.values().chain(self.heirs.values()).chain(first).map(|since| since.plus_s(LINK_S)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_links_the_latest_are_kept() {
        let links = (0..40_u8).map(|unit| ([unit; 16], Instant::from_ms(i64::from(unit)))).collect::<BTreeMap<_, _>>();
        let mut many = Links { origins: links.clone(), heirs: links, first: None };
        many.prune(Instant::from_ms(40));
        for kept in [&many.origins, &many.heirs] {
            assert_eq!(kept.keys().map(|unit| unit[0]).collect::<Vec<_>>(), (8..40).collect::<Vec<_>>());
        }
        many.prune(Instant::from_ms(20).plus_s(LINK_S));
        assert_eq!(many.heirs.keys().map(|unit| unit[0]).min(), Some(21), "a link is forgotten in time");
        many.prune(Instant::from_ms(39).plus_s(LINK_S));
        assert_eq!((&many, many.expires_at()), (&Links::default(), None));
    }
}
