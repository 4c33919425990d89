//! Forgetting users: what is kept of them goes, and whom their decisions were made for can be told no more.
//!
//! The log itself stays as it is. Salts go first, and documents, which tell from whom a user went on, last: where this stops
//! in between, it finds all of it again.

use super::{
    Result, Service, ServiceError,
    pseudonym::partition_of,
    units::{self, REPORT_RACES_MAX},
    users::{self, races_lost},
    validate::{USER_ID_BYTES_MAX, length},
};
use crate::{
    engine::{catalog::PARTITIONS_MAX, unit::state::UnitKey},
    store::{DocumentChange, DocumentKey, LogId, StoredDocument},
};
use std::collections::BTreeSet;

/// What was forgotten of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Documents that were removed.
    pub documents: u32,
    /// Decisions of which can be told no more whom they were made for.
    pub decisions: u64,
}

impl Service {
    /// Forgets a user, the user's unit and those that they go on from, at every placement there ever was.
    ///
    /// # Errors
    /// Where the id is wrong; and where the store is away: then it may be asked again.
    pub async fn forget_user(&self, user_id: &str) -> Result<Forgotten> {
        let mut violations = Vec::new();
        length("user_id", user_id, 1, USER_ID_BYTES_MAX, &mut violations);
        if !violations.is_empty() {
            return Err(ServiceError::Invalid { violations });
        }
        let users = self.goes_on_from(self.pseudonyms.user(user_id)).await?;
        let logs = self.every_log().await?;
        let mut decisions = 0;
        for user in &users {
            decisions += self.store.destroy_salts(&logs, *user, self.clock.now()).await?;
        }
        let mut pending: BTreeSet<_> = users.into_iter().map(DocumentKey::User).collect();
        pending.extend(everywhere(&self.every_placement(), self.pseudonyms.unit(user_id)));
        Ok(Forgotten { documents: self.remove_documents(pending).await?, decisions })
    }

    /// A user and those that the user goes on from.
    async fn goes_on_from(&self, user: [u8; 16]) -> Result<BTreeSet<[u8; 16]>> {
        let (mut found, mut pending) = (BTreeSet::new(), BTreeSet::from([user]));
        while !pending.is_empty() {
            let keys: Vec<_> = pending.iter().copied().map(DocumentKey::User).collect();
            found.append(&mut pending);
            for document in self.store.documents(&keys).await? {
                pending.extend(users::decode(document)?.links.origins.into_keys());
            }
            pending.retain(|user| !found.contains(user));
        }
        Ok(found)
    }

    /// The numbers of the placements there ever were.
    fn every_placement(&self) -> Vec<u16> {
        self.serving().stored.placement_numbers.iter().map(|(_, number)| *number).collect()
    }

    /// The logs that have records, and those that may have some before this is done.
    async fn every_log(&self) -> Result<Vec<LogId>> {
        let mut logs: BTreeSet<_> = self.store.log_ends().await?.into_iter().map(|(log, _)| log).collect();
        for served in self.serving().placements.values() {
            logs.extend((0..served.snapshot.placement.partitions as u16).map(|partition| served.log(partition)));
        }
        Ok(logs.into_iter().collect())
    }

    /// Removes documents, and those of units that these go on from; returns how many there were.
    async fn remove_documents(&self, mut pending: BTreeSet<DocumentKey>) -> Result<u32> {
        let placements = self.every_placement();
        let mut removed = BTreeSet::new();
        for _ in 0..REPORT_RACES_MAX {
            let documents: Vec<_> = std::mem::take(&mut pending).into_iter().map(|key| (key, key)).collect();
            let mut origins = BTreeSet::new();
            let remove = |key, found: Option<StoredDocument>| {
                let Some(document) = found else { return Ok(None) };
                let from_version = Some(document.version);
                if matches!(key, DocumentKey::Unit { .. }) {
                    origins.extend(units::decode(Some(document))?.links.origins.into_keys());
                }
                removed.insert(key);
                let now = self.clock.now();
                Ok(Some(DocumentChange {
                    key,
                    from_version,
                    version: 0,
                    content: None,
                    changed_at: now,
                    expires_at: now,
                }))
            };
            let moved = self.change_once(&documents, remove).await?;
            removed.retain(|key| !moved.contains(key));
            pending.extend(moved);
            let of_origins = origins.into_iter().flat_map(|unit| everywhere(&placements, unit));
            pending.extend(of_origins.filter(|key| !removed.contains(key)));
            if pending.is_empty() {
                return Ok(removed.len() as u32);
            }
        }
        Err(races_lost())
    }
}

/// Where a unit's documents may stand: at every placement, whatever its number of partitions was.
fn everywhere(placements: &[u16], unit: UnitKey) -> BTreeSet<DocumentKey> {
    let partitions: BTreeSet<u16> = (1..=PARTITIONS_MAX).map(|count| partition_of(&unit, count)).collect();
    let at = |&placement: &u16| {
        let logs = partitions.iter().map(move |&partition| LogId { placement, partition });
        logs.map(move |log| DocumentKey::Unit { log, unit }).collect::<Vec<_>>()
    };
    placements.iter().flat_map(at).collect()
}
