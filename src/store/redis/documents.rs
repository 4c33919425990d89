//! Documents: read with plain commands, replaced by a script that compares versions.

use super::{
    RedisStore,
    keys::Keys,
    replies,
    scripts::{self, Call, number},
};
use crate::store::{ChangeOutcome, DocumentChange, DocumentKey, LogId, Result, StoredDocument, check_document};
use std::{collections::BTreeMap, fmt};

/// For how long Redis keeps a document beyond its lifetime: clocks of instances and of Redis differ.
const DOCUMENT_SLACK_MS: i64 = 10 * 60 * 1000;

/// The longest lifetime that Redis is told, a hundred years: it adds it to its own clock.
const LIFETIME_MAX_MS: i64 = 100 * 366 * 24 * 60 * 60 * 1000;

/// Documents of one slot of a Cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Log(LogId),
    User([u8; 16]),
}

impl RedisStore {
    pub(super) async fn read_documents(&self, keys: &[DocumentKey]) -> Result<Vec<Option<StoredDocument>>> {
        let mut slots = BTreeMap::<Slot, Vec<usize>>::new();
        for (place, key) in keys.iter().enumerate() {
            slots.entry(slot(key)).or_default().push(place);
        }
        let get = |&place: &usize| Call::plain("GET", &[&name(&self.keys, &keys[place])]);
        let groups = slots.values().map(|places| places.iter().map(get).collect()).collect();
        let mut found = vec![None; keys.len()];
        for (places, values) in slots.values().zip(self.link.call_groups(groups).await?) {
            for (&place, value) in places.iter().zip(values) {
                found[place] = replies::document(value, Told(&keys[place]))?;
            }
        }
        Ok(found)
    }

    pub(super) async fn write_documents(&self, changes: Vec<DocumentChange>) -> Result<Vec<ChangeOutcome>> {
        self.writing()?;
        changes.iter().try_for_each(check_document)?;
        let mut slots = BTreeMap::<Slot, Vec<usize>>::new();
        for (place, change) in changes.iter().enumerate() {
            slots.entry(slot(&change.key)).or_default().push(place);
        }
        let call = |&place: &usize| {
            let change = &changes[place];
            Call::script(&scripts::DOCUMENT, vec![name(&self.keys, &change.key)], arguments(change).to_vec())
        };
        let groups = slots.values().map(|places| places.iter().map(call).collect()).collect();
        let mut outcomes = vec![ChangeOutcome::Moved; changes.len()];
        for (places, values) in slots.values().zip(self.link.call_groups(groups).await?) {
            for (&place, value) in places.iter().zip(values) {
                if replies::number(value, Told(&changes[place].key))? == 1 {
                    outcomes[place] = ChangeOutcome::Changed;
                }
            }
        }
        Ok(outcomes)
    }
}

/// The key that Redis knows a document by.
pub(super) fn name(keys: &Keys, key: &DocumentKey) -> Vec<u8> {
    match key {
        DocumentKey::Unit { log, unit } => keys.unit(*log, unit),
        DocumentKey::User(user) => keys.user(user),
    }
}

/// Versions before and after, content and lifetime, as scripts take them.
pub(super) fn arguments(change: &DocumentChange) -> [Vec<u8>; 4] {
    let lifetime = change.expires_at.as_ms().saturating_sub(change.changed_at.as_ms()).max(0);
    let version = change.content.as_ref().map(|_| change.version.to_be_bytes().to_vec());
    [
        change.from_version.map(|version| version.to_be_bytes().to_vec()).unwrap_or_default(),
        version.unwrap_or_default(),
        change.content.clone().unwrap_or_default(),
        number(lifetime.min(LIFETIME_MAX_MS) + DOCUMENT_SLACK_MS),
    ]
}

fn slot(key: &DocumentKey) -> Slot {
    match key {
        DocumentKey::Unit { log, .. } => Slot::Log(*log),
        DocumentKey::User(user) => Slot::User(*user),
    }
}

/// A document for people.
struct Told<'a>(&'a DocumentKey);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DocumentKey::Unit { log, .. } => {
                write!(f, "the document of a unit of placement {} partition {}", log.placement, log.partition)
            }
            DocumentKey::User(_) => f.write_str("the document of a user"),
        }
    }
}
