//! Documents are replaced only on top of what they were read as: whoever loses that race reads again.

use super::{Result, Service};
use crate::store::{ChangeOutcome, DocumentChange, DocumentKey, StoredDocument};

impl Service {
    /// Reads documents, asks `change` what becomes of each, and replaces those that change; returns the ones that somebody
    /// else replaced in between, of which nothing was written. Each document comes with what the caller calls it.
    pub(super) async fn change_once<T: Copy>(
        &self,
        documents: &[(T, DocumentKey)],
        mut change: impl FnMut(T, Option<StoredDocument>) -> Result<Option<DocumentChange>>,
    ) -> Result<Vec<T>> {
        let keys: Vec<_> = documents.iter().map(|(_, key)| *key).collect();
        let found = self.store.documents(&keys).await?;
        let (mut changing, mut changes) = (Vec::new(), Vec::new());
        for (&(name, _), found) in documents.iter().zip(found) {
            if let Some(change) = change(name, found)? {
                changing.push(name);
                changes.push(change);
            }
        }
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = self.store.change_documents(changes).await?;
        let moved = changing.into_iter().zip(outcomes).filter(|(_, outcome)| *outcome == ChangeOutcome::Moved);
        Ok(moved.map(|(name, _)| name).collect())
    }
}
