//! What no store takes, refused before it takes a place in a queue.

use super::{
    DecisionAppend, LedgerAdvance, Result, StoreError,
    documents::{DocumentChange, DocumentKey},
};
use data_encoding::HEXLOWER;

/// The largest record, ledger or document that a store takes; what is larger is refused.
pub const RECORD_BYTES_MAX: usize = 4 << 20;

fn check_size(what: &str, bytes: &[u8]) -> Result<()> {
    if bytes.len() > RECORD_BYTES_MAX {
        let reason = format!("a {what} of {} bytes; at most {RECORD_BYTES_MAX} are accepted", bytes.len());
        return Err(StoreError::Refused { reason });
    }
    Ok(())
}

/// Refuses an append beyond the limits.
pub(super) fn check_append(append: &DecisionAppend) -> Result<()> {
    check_size("record", &append.record)?;
    check_size("ledger", &append.ledger)?;
    let Some(change) = &append.document else { return Ok(()) };
    check_document(change)?;
    match change.key {
        DocumentKey::Unit { log, .. } if log == append.log && change.content.is_some() => Ok(()),
        _ => {
            let reason = format!(
                "a decision of placement {} partition {} with a document that is removed or stands elsewhere; only a new \
                 content for a unit's document beside the decision's own log is accepted",
                append.log.placement, append.log.partition
            );
            Err(StoreError::Refused { reason })
        }
    }
}

/// Refuses a document beyond the limits.
pub(super) fn check_document(change: &DocumentChange) -> Result<()> {
    check_size("document", change.content.as_deref().unwrap_or_default())
}

/// Refuses a call of which any change is beyond the limits.
pub(super) fn check_changes(changes: &[LedgerAdvance]) -> Result<()> {
    for change in changes {
        check_size("ledger", &change.ledger)?;
        change.records.iter().try_for_each(|record| check_size("record", record))?;
        if change.records.is_empty() {
            let reason = "a ledger's change without a record; every step of the sequence has one".to_owned();
            return Err(StoreError::Refused { reason });
        }
        sequence_after(change)?;
    }
    Ok(())
}

/// The sequence that a change leads to.
pub(super) fn sequence_after(change: &LedgerAdvance) -> Result<u32> {
    let steps = u32::try_from(change.records.len()).ok();
    steps.and_then(|steps| change.from_sequence.checked_add(steps)).ok_or_else(|| StoreError::Refused {
        reason: format!(
            "{} more changes of decision {} after {}; a ledger holds at most {}",
            change.records.len(),
            HEXLOWER.encode(&change.decision),
            change.from_sequence,
            u32::MAX
        ),
    })
}
