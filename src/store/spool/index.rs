//! What a spool holds and where, in memory: found by decision, by request and in the order of its coming.

use super::entry::Spooled;
use crate::store::{DecisionKey, LogId, RequestMark};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Range,
};

/// Where an entry begins: the number of its segment, and the byte there. Later ones are greater.
pub type Place = (u64, u64);

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    order: BTreeMap<Place, DecisionKey>,
    decisions: HashMap<DecisionKey, Waiting>,
    marks: HashMap<[u8; 32], Marked>,
    segments: BTreeMap<u64, Segment>,
    /// What could not be read when it was asked for.
    unreadable: HashSet<DecisionKey>,
}

#[derive(Debug)]
struct Waiting {
    place: Place,
    end: u64,
    log: LogId,
    request: Option<[u8; 32]>,
}

#[derive(Debug)]
struct Marked {
    mark: RequestMark,
    decision: DecisionKey,
}

#[derive(Debug, Default)]
struct Segment {
    bytes: u64,
    waiting: usize,
}

impl Index {
    /// Notes that a segment has so many bytes.
    pub(super) fn grow(&mut self, number: u64, bytes: u64) {
        self.segments.entry(number).or_default().bytes = bytes;
    }

    /// Notes an entry of a segment.
    pub(super) fn add(&mut self, number: u64, bytes: Range<u64>, spooled: &Spooled) {
        let (decision, place) = (spooled.append.decision, (number, bytes.start));
        if self.holds(&decision) {
            return;
        }
        self.order.insert(place, decision);
        self.segments.entry(number).or_default().waiting += 1;
        if let Some(mark) = &spooled.append.request {
            self.marks.insert(mark.key, Marked { mark: mark.clone(), decision });
        }
        let request = spooled.append.request.as_ref().map(|mark| mark.key);
        self.decisions.insert(decision, Waiting { place, end: bytes.end, log: spooled.append.log, request });
    }

    /// Forgets a decision that waits no more.
    pub(super) fn remove(&mut self, decision: &DecisionKey) {
        let Some(waiting) = self.decisions.remove(decision) else { return };
        self.order.remove(&waiting.place);
        self.unreadable.remove(decision);
        if let Some(segment) = self.segments.get_mut(&waiting.place.0) {
            segment.waiting -= 1;
        }
        if let Some(request) = waiting.request
            && self.marks.get(&request).is_some_and(|marked| marked.decision == *decision)
        {
            self.marks.remove(&request);
        }
    }

    /// Notes that a decision cannot be read; whether that is news.
    pub(super) fn note_unreadable(&mut self, decision: &DecisionKey) -> bool {
        self.unreadable.insert(*decision)
    }

    /// Whether a decision waits.
    pub(super) fn holds(&self, decision: &DecisionKey) -> bool {
        self.decisions.contains_key(decision)
    }

    /// The decision that answered a request before, and the fingerprint of the body that it answered.
    pub(super) fn answered(&self, mark: &RequestMark) -> Option<(DecisionKey, [u8; 32])> {
        let marked = self.marks.get(&mark.key).filter(|marked| marked.mark.expires_at > mark.marked_at)?;
        Some((marked.decision, marked.mark.fingerprint))
    }

    /// Where a decision stands.
    pub(super) fn find(&self, decision: &DecisionKey) -> Option<(u64, Range<u64>)> {
        self.decisions.get(decision).map(|waiting| (waiting.place.0, waiting.place.1..waiting.end))
    }

    /// At most `limit` decisions in the order of their coming, after a place and not of these logs.
    pub(super) fn after(
        &self,
        after: Option<Place>,
        limit: usize,
        except: &BTreeSet<LogId>,
    ) -> Vec<(Place, DecisionKey)> {
        let start = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let wanted = |(_, decision): &(&Place, &DecisionKey)| {
            self.decisions.get(*decision).is_some_and(|waiting| !except.contains(&waiting.log))
        };
        let range = self.order.range((start, std::ops::Bound::Unbounded));
        range.filter(wanted).take(limit).map(|(&place, &decision)| (place, decision)).collect()
    }

    /// The segments of which nothing waits.
    pub(super) fn finished(&self) -> Vec<u64> {
        self.segments.iter().filter(|(_, segment)| segment.waiting == 0).map(|(&number, _)| number).collect()
    }

    /// Forgets a segment.
    pub(super) fn forget(&mut self, number: u64) {
        self.segments.remove(&number);
    }

    /// How many decisions wait.
    pub(super) fn len(&self) -> usize {
        self.decisions.len()
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }
}
