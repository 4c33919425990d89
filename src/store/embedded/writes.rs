//! The verbs that write, as SQL inside the transaction of a batch.
//!
//! Each verb looks first and writes afterwards: one that is refused has written nothing. One that fails midway is
//! undone by the savepoint it runs in.

use super::{
    documents, reads,
    rows::{corrupt, hex, name, number, signed},
    salts,
};
use crate::{
    engine::instant::Instant,
    store::{
        AdvanceOutcome, AppendOutcome, ChangeOutcome, CommitOutcome, DecisionAppend, DecisionKey, Leadership,
        LedgerAdvance, LogId, RequestMark, Result, StatisticsCommit, StoredCatalog, sequence_after,
    },
};
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;

/// How many request marks, documents or salts one command forgets at most.
pub(super) const FORGET_MAX: u64 = 4096;

/// The length of every log that was written to, so that an append need not look for its end.
pub(super) type LogEnds = BTreeMap<LogId, u64>;

/// Who learns from a log, and the newest token that was given out or wrote.
struct Lease {
    token: u64,
    holder: Option<Vec<u8>>,
    until: Instant,
}

impl Default for Lease {
    fn default() -> Self {
        Self { token: 0, holder: None, until: Instant::from_ms(0) }
    }
}

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
        if reads::catalog(self.connection, Some(catalog.revision))?.as_ref() == Some(catalog) {
            return Ok(true);
        }
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
        if let Some(mark) = &append.request {
            match reads::marked(self.connection, append.log, &mark.key, mark.marked_at)? {
                Some((Some(decision), fingerprint)) => return Ok(AppendOutcome::Repeated { decision, fingerprint }),
                Some((None, fingerprint)) if fingerprint != mark.fingerprint => {
                    return Ok(AppendOutcome::Claimed { fingerprint });
                }
                _ => {}
            }
        }
        if let Some(change) = &append.document
            && documents::change(self.connection, change)? == ChangeOutcome::Moved
        {
            return Ok(AppendOutcome::DocumentMoved);
        }
        let salt = salts::kept(self.connection, append.log, append.salt.as_ref())?;
        let offset = self.append_record(append.log, &append.record)?;
        self.connection
            .prepare_cached(
                "INSERT INTO decisions
                     (id, placement, partition, offset, sequence, closes_at, closed, ledger, salt, owner, salted_until)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, ?6, ?7, ?8, ?9)",
            )?
            .execute((
                append.decision.as_slice(),
                append.log.placement,
                append.log.partition,
                signed("offset", offset)?,
                append.closes_at.as_ms(),
                &append.ledger,
                salt.map(|salt| salt.salt),
                salt.map(|salt| salt.owner),
                salt.map(|salt| salt.expires_at.as_ms()),
            ))?;
        if let Some(mark) = &append.request {
            self.set_mark(append.log, mark, Some(&append.decision))?;
        }
        Ok(AppendOutcome::Appended { offset })
    }

    pub(super) fn claim_request(&mut self, log: LogId, mark: &RequestMark) -> Result<[u8; 32]> {
        if let Some((_, fingerprint)) = reads::marked(self.connection, log, &mark.key, mark.marked_at)? {
            return Ok(fingerprint);
        }
        self.set_mark(log, mark, None)?;
        Ok(mark.fingerprint)
    }

    pub(super) fn advance_ledger(&mut self, change: &LedgerAdvance) -> Result<AdvanceOutcome> {
        let sequence = sequence_after(change)?;
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
        let Lease { token: newest, .. } = self.lease(log)?;
        let stored = reads::statistics_head(self.connection, &commit.model_id, log)?.map_or(0, |(offset, _)| offset);
        if commit.token < newest {
            return Ok(CommitOutcome::Fenced);
        }
        if commit.from_offset != stored {
            let same = reads::statistics(self.connection, &commit.model_id, log)?.is_after(commit);
            return Ok(if same { CommitOutcome::Committed } else { CommitOutcome::Fenced });
        }
        if commit.token > newest {
            self.set_lease(log, &Lease { token: commit.token, ..Lease::default() })?;
        }
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

    pub(super) fn lead(&mut self, log: LogId, holder: &[u8; 16], now: Instant, lease_ms: u64) -> Result<Leadership> {
        let lease = self.lease(log)?;
        let mine = lease.holder.as_deref() == Some(holder);
        if lease.holder.is_some() && !mine && lease.until > now {
            return Ok(Leadership::Follows { until: lease.until });
        }
        let until = now.plus_ms(lease_ms);
        // A stored token has a sign's room left above it.
        let token = if mine { lease.token } else { lease.token + 1 };
        self.set_lease(log, &Lease { token, holder: Some(holder.to_vec()), until })?;
        Ok(Leadership::Leads { token })
    }

    pub(super) fn resign(&mut self, log: LogId, holder: &[u8; 16]) -> Result<()> {
        let lease = self.lease(log)?;
        if lease.holder.as_deref() == Some(holder) {
            self.set_lease(log, &Lease { token: lease.token, ..Lease::default() })?;
        }
        Ok(())
    }

    /// Forgets expired marks and claims, at most [`FORGET_MAX`] of them.
    pub(super) fn forget_some_requests(&mut self, now: Instant) -> Result<u64> {
        let forgotten = self
            .connection
            .prepare_cached(
                "DELETE FROM requests WHERE (placement, partition, key) IN (
                     SELECT placement, partition, key FROM requests
                     WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
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

    /// Writes what stands for a request; replaces only what has expired, and a claim of the same body.
    fn set_mark(&self, log: LogId, mark: &RequestMark, decision: Option<&DecisionKey>) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO requests (placement, partition, key, decision, fingerprint, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((
                log.placement,
                log.partition,
                mark.key.as_slice(),
                decision.map(DecisionKey::as_slice),
                mark.fingerprint.as_slice(),
                mark.expires_at.as_ms(),
            ))?;
        Ok(())
    }

    /// Who leads a log; token 0 and nobody where there was none.
    fn lease(&self, log: LogId) -> Result<Lease> {
        let found: Option<(i64, Option<Vec<u8>>, i64)> = self
            .connection
            .prepare_cached("SELECT token, holder, until FROM learners WHERE placement = ?1 AND partition = ?2")?
            .query_row((log.placement, log.partition), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((token, holder, until)) = found else { return Ok(Lease::default()) };
        Ok(Lease { token: number(token, "learners", name(log))?, holder, until: Instant::from_ms(until) })
    }

    fn set_lease(&self, log: LogId, lease: &Lease) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO learners (placement, partition, token, holder, until)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((
                log.placement,
                log.partition,
                signed("token", lease.token)?,
                &lease.holder,
                lease.until.as_ms(),
            ))?;
        Ok(())
    }
}
