//! The verbs that read, as scripts that write nothing and plain commands.

use super::{
    NUMBER_MAX, RedisStore, by_log, errors, keys, of, replies,
    scripts::{self, Call, number},
};
use crate::{
    engine::instant::Instant,
    store::{AppendOutcome, DecisionKey, LogId, Result, StoredCatalog, StoredDecision, StoredStatistics},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
};

/// Decisions that one script reads, which bounds for how long it holds up everybody else.
const DECISIONS_PER_CALL: usize = 100;

/// Records that one answer holds at most, and bytes from which on it takes no more.
const LOG_ANSWER_RECORDS: usize = 10_000;
const LOG_ANSWER_BYTES: usize = 8 << 20;

impl RedisStore {
    pub(super) async fn read_catalog(&self, revision: Option<u64>) -> Result<Option<StoredCatalog>> {
        let revision = match revision {
            Some(revision) => revision,
            None => {
                let newest = self.link.call_one(Call::plain("GET", &[&self.keys.newest_catalog()])).await?;
                let Some(newest) = replies::bytes(newest, "the newest catalog")? else { return Ok(None) };
                let newest = std::str::from_utf8(&newest).ok().and_then(|text| text.parse().ok());
                newest.ok_or_else(|| errors::corrupt("the newest catalog: its revision is no number"))?
            }
        };
        // Revisions do not change, so this is of the same moment.
        let value = self.link.call_one(Call::plain("HGETALL", &[&self.keys.catalog(revision)])).await?;
        replies::catalog(value, revision)
    }

    pub(super) async fn read_answered(
        &self,
        logs: &[LogId],
        key: [u8; 32],
        now: Instant,
    ) -> Result<Option<AppendOutcome>> {
        let calls = logs.iter().map(|log| vec![Call::plain("GET", &[&self.keys.request(*log, &key)])]).collect();
        for values in self.link.call_groups(calls).await? {
            for value in values {
                if let Some(answered) = replies::answered(value, &key, now)? {
                    return Ok(Some(answered));
                }
            }
        }
        Ok(None)
    }

    pub(super) async fn read_decisions(&self, decisions: &[DecisionKey]) -> Result<Vec<Option<StoredDecision>>> {
        let mut found = vec![None; decisions.len()];
        let (mut asked, mut groups) = (Vec::new(), Vec::new());
        for (log, mine) in by_log(decisions, |key| keys::log_of(key)) {
            let calls = mine.chunks(DECISIONS_PER_CALL).map(|chunk| {
                let mut keys = vec![self.keys.log(log)];
                let of = self.keys.decisions(log);
                keys.extend(chunk.iter().flat_map(|(_, key)| [of(key), self.keys.salts(log, key)]));
                Call::script(&scripts::DECISIONS, keys, chunk.iter().map(|(_, key)| key.to_vec()).collect())
            });
            groups.push(calls.collect());
            asked.push(mine);
        }
        for (mine, values) in asked.into_iter().zip(self.link.call_groups(groups).await?) {
            let mut answers = Vec::with_capacity(mine.len());
            for value in values {
                answers.extend(replies::list(value, "decisions")?);
            }
            for ((place, key), value) in mine.into_iter().zip(answers) {
                found[place] = replies::decision(value, key)?;
            }
        }
        Ok(found)
    }

    pub(super) async fn read_due(&self, log: LogId, now: Instant, limit: usize) -> Result<Vec<DecisionKey>> {
        let limit = number(i64::try_from(limit).unwrap_or(i64::MAX));
        let arguments: [&[u8]; 7] =
            [&self.keys.open(log), b"-inf", &number(now.as_ms()), b"BYSCORE", b"LIMIT", b"0", &limit];
        let what = of("open decisions", log);
        let due = replies::list(self.link.call_one(Call::plain("ZRANGE", &arguments)).await?, &what)?;
        let key = |value| replies::fixed(&replies::bytes(value, &what)?.unwrap_or_default(), &what);
        due.into_iter().map(key).collect()
    }

    pub(super) async fn read_records(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        // No log reaches beyond what scripts can count.
        if offset >= NUMBER_MAX {
            return Ok(Vec::new());
        }
        let arguments = vec![number(offset + 1), number(limit.min(LOG_ANSWER_RECORDS)), number(LOG_ANSWER_BYTES)];
        let call = Call::script(&scripts::READ_LOG, vec![self.keys.log(log)], arguments);
        replies::records(self.link.call_one(call).await?, log, offset)
    }

    pub(super) async fn read_log_ends(&self) -> Result<Vec<(LogId, u64)>> {
        let logs = self.logs().await?;
        let ask = |log: &LogId| vec![Call::script(&scripts::LOG_END, vec![self.keys.log(*log)], Vec::new())];
        let answers = self.link.call_groups(logs.iter().map(ask).collect()).await?;
        let mut ends = Vec::new();
        for (log, values) in logs.into_iter().zip(answers) {
            for value in values {
                // A log that was registered but whose first append failed has no records.
                if value != redis::Value::Nil {
                    ends.push((log, replies::count(value, of("the log", log))?));
                }
            }
        }
        Ok(ends)
    }

    /// Every log that was registered, here or elsewhere. What this process has registered and a failover has lost is
    /// registered again.
    async fn logs(&self) -> Result<BTreeSet<LogId>> {
        let members = self.link.call_one(Call::plain("SMEMBERS", &[&self.keys.logs()])).await?;
        let mut logs = BTreeSet::new();
        for member in replies::list(members, "the set of logs")? {
            let member = replies::bytes(member, "the set of logs")?.unwrap_or_default();
            let log = keys::parse_member(&member).ok_or_else(|| {
                errors::corrupt(format!("the set of logs: member {:?}", String::from_utf8_lossy(&member)))
            })?;
            logs.insert(log);
        }
        let lost: Vec<_> = {
            let mut registered = self.registered.write().unwrap_or_else(PoisonError::into_inner);
            let lost = registered.difference(&logs).copied().collect();
            registered.retain(|log| logs.contains(log));
            lost
        };
        for log in lost {
            self.register(log).await?;
            logs.insert(log);
        }
        Ok(logs)
    }

    pub(super) async fn read_statistics(&self, model_id: &str, log: LogId) -> Result<StoredStatistics> {
        let call = Call::plain("HGETALL", &[&self.keys.statistics(log, model_id)]);
        let value = self.link.call_one(call).await?;
        replies::statistics(value, of(&format!("statistics of model {model_id}"), log))
    }
}
