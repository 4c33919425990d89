//! The verbs that write, as SQL inside the transaction of a batch.
//!
//! Each verb looks first and writes afterwards: one that is refused has written nothing. One that fails midway is
//! undone by the savepoint it runs in.

use super::{
    reads,
    rows::{corrupt, hex, name, number, signed},
};
use crate::{
    engine::instant::Instant,
    store::{
        AdvanceOutcome, AppendOutcome, CommitOutcome, DecisionAppend, DecisionKey, LedgerAdvance, LogId, Result,
        StatisticsCommit, StoreError, StoredCatalog,
    },
};
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;

/// How many request marks one command forgets at most.
pub(super) const FORGET_MAX: u64 = 4096;

/// The length of every log that was written to, so that an append need not look for its end.
pub(super) type LogEnds = BTreeMap<LogId, u64>;

/// A transaction under way.
pub(super) struct Writing<'a> {
    pub(super) connection: &'a Connection,
    pub(super) ends: &'a mut LogEnds,
}

impl Writing<'_> {
    pub(super) fn append_catalog(&mut self, catalog: &StoredCatalog) -> Result<bool> {
        let newest: i64 = self
            .connection
            .prepare_cached("SELECT ifnull(max(revision), 0) FROM catalogs")?
            .query_row([], |row| row.get(0))?;
        // Compared as what a caller may send, so that no revision is too large to be refused quietly.
        if Some(catalog.revision) != number::<u64>(newest, "catalogs", newest)?.checked_add(1) {
            return Ok(false);
        }
        let revision = signed("catalog revision", catalog.revision)?;
        self.connection
            .prepare_cached("INSERT INTO catalogs (revision, applied_at, reason, catalog) VALUES (?1, ?2, ?3, ?4)")?
            .execute((revision, catalog.applied_at.as_ms(), &catalog.reason, &catalog.catalog))?;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO catalog_placements (revision, ordinal, name, number) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for (ordinal, (placement, number)) in (0_i64..).zip(&catalog.placement_numbers) {
            insert.execute((revision, ordinal, placement, number))?;
        }
        Ok(true)
    }

    pub(super) fn append_decision(&mut self, append: &DecisionAppend) -> Result<AppendOutcome> {
        // Before the mark: the same append sent again is not a repeated request but the one that was answered.
        if let Some(offset) = self.offset_of(&append.decision, append.log)? {
            return Ok(AppendOutcome::Appended { offset });
        }
        if let Some(mark) = &append.request
            && let Some(repeated) = reads::answered(self.connection, &mark.key, mark.marked_at)?
        {
            return Ok(repeated);
        }
        let offset = self.append_record(append.log, &append.record)?;
        self.connection
            .prepare_cached(
                "INSERT INTO decisions (id, placement, partition, offset, sequence, closes_at, closed, ledger)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, ?6)",
            )?
            .execute((
                append.decision.as_slice(),
                append.log.placement,
                append.log.partition,
                signed("offset", offset)?,
                append.closes_at.as_ms(),
                &append.ledger,
            ))?;
        if let Some(mark) = &append.request {
            // Replaces only a mark that has expired: one that stands was found above.
            self.connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO requests (key, decision, fingerprint, expires_at) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((
                    mark.key.as_slice(),
                    append.decision.as_slice(),
                    mark.fingerprint.as_slice(),
                    mark.expires_at.as_ms(),
                ))?;
        }
        Ok(AppendOutcome::Appended { offset })
    }

    pub(super) fn advance_ledger(&mut self, change: &LedgerAdvance) -> Result<AdvanceOutcome> {
        let steps = u32::try_from(change.records.len()).ok();
        let Some(sequence) = steps.and_then(|steps| change.from_sequence.checked_add(steps)) else {
            let reason = format!(
                "{} more changes of decision {} after {}; a ledger holds at most {}",
                change.records.len(),
                hex(&change.decision),
                change.from_sequence,
                u32::MAX
            );
            return Err(StoreError::Refused { reason });
        };
        // Compares and writes in one statement; the log in the condition keeps a change out of another log.
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE decisions SET sequence = ?1, ledger = ?2, closed = ?3
                 WHERE id = ?4 AND sequence = ?5 AND placement = ?6 AND partition = ?7",
            )?
            .execute((
                sequence,
                &change.ledger,
                change.closed,
                change.decision.as_slice(),
                change.from_sequence,
                change.log.placement,
                change.log.partition,
            ))?;
        if changed == 0 {
            return Ok(AdvanceOutcome::Conflict);
        }
        for record in &change.records {
            self.append_record(change.log, record)?;
        }
        Ok(AdvanceOutcome::Advanced)
    }

    pub(super) fn commit_statistics(&mut self, commit: &StatisticsCommit) -> Result<CommitOutcome> {
        let log = commit.log;
        let stored: Option<i64> = self
            .connection
            .prepare_cached("SELECT offset FROM statistics WHERE model = ?1 AND placement = ?2 AND partition = ?3")?
            .query_row((&commit.model_id, log.placement, log.partition), |row| row.get(0))
            .optional()?;
        let stored = stored.map_or(Ok(0), |offset| number(offset, "statistics", name(log)))?;
        if commit.token < self.learner(log)? || commit.from_offset != stored {
            return Ok(CommitOutcome::Fenced);
        }
        self.set_learner(log, commit.token)?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO statistics (model, placement, partition, offset, token, shared)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((
                &commit.model_id,
                log.placement,
                log.partition,
                signed("offset", commit.offset)?,
                signed("token", commit.token)?,
                &commit.shared,
            ))?;
        let mut replace = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO statistics_arms (model, placement, partition, arm, statistics)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (arm, statistics) in &commit.arms {
            replace.execute((&commit.model_id, log.placement, log.partition, arm, statistics))?;
        }
        Ok(CommitOutcome::Committed)
    }

    pub(super) fn take_over(&mut self, log: LogId) -> Result<u64> {
        // A stored token has a sign's room left above it.
        let token = self.learner(log)? + 1;
        self.set_learner(log, token)?;
        Ok(token)
    }

    /// Forgets expired marks, at most [`FORGET_MAX`] of them.
    pub(super) fn forget_some_requests(&mut self, now: Instant) -> Result<u64> {
        let forgotten = self
            .connection
            .prepare_cached(
                "DELETE FROM requests
                 WHERE key IN (SELECT key FROM requests WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
            )?
            .execute((now.as_ms(), signed("limit", FORGET_MAX)?))?;
        Ok(forgotten as u64)
    }

    /// Where a decision stands, if it is stored.
    fn offset_of(&self, decision: &DecisionKey, log: LogId) -> Result<Option<u64>> {
        let found: Option<(i64, i64, i64)> = self
            .connection
            .prepare_cached("SELECT placement, partition, offset FROM decisions WHERE id = ?1")?
            .query_row([decision.as_slice()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((placement, partition, offset)) = found else { return Ok(None) };
        if (placement, partition) != (log.placement.into(), log.partition.into()) {
            let found = format!("it stands in placement {placement} partition {partition}, not in {}", name(log));
            return Err(corrupt("decisions", hex(decision), found));
        }
        number(offset, "decisions", hex(decision)).map(Some)
    }

    fn append_record(&mut self, log: LogId, record: &[u8]) -> Result<u64> {
        let offset = match self.ends.get(&log) {
            Some(end) => *end,
            None => reads::log_end(self.connection, log)?,
        };
        self.connection
            .prepare_cached("INSERT INTO log (placement, partition, offset, record) VALUES (?1, ?2, ?3, ?4)")?
            .execute((log.placement, log.partition, signed("offset", offset)?, record))?;
        self.ends.insert(log, offset + 1);
        Ok(offset)
    }

    /// The newest token of a log's learners; 0 where there was none.
    fn learner(&self, log: LogId) -> Result<u64> {
        let token: Option<i64> = self
            .connection
            .prepare_cached("SELECT token FROM learners WHERE placement = ?1 AND partition = ?2")?
            .query_row((log.placement, log.partition), |row| row.get(0))
            .optional()?;
        token.map_or(Ok(0), |token| number(token, "learners", name(log)))
    }

    fn set_learner(&self, log: LogId, token: u64) -> Result<()> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO learners (placement, partition, token) VALUES (?1, ?2, ?3)")?
            .execute((log.placement, log.partition, signed("token", token)?))?;
        Ok(())
    }
}
