//! The Redis backend: standalone, or a Cluster of any size, for several instances of the service on one state.
//!
//! Everything of one log has one hash tag and so one slot: a step that must be atomic is one script there. What spans
//! logs, the list of them and the catalogs, is told by idempotent steps. Decisions and reports go through a
//! `committer`, which groups what waits for one log; reads go straight to the `connection`.
//!
//! Scripts count in doubles: offsets, sequences, tokens and times must stay below 2^53, which no log reaches.
//!
//! **Invariant:** every call that writes may arrive twice without harm, since neither a connection that is lost nor a
//! Cluster's client tells whether it arrived once.

mod address;
mod checks;
mod committer;
mod connection;
mod errors;
mod keys;
mod replies;
mod scripts;

use super::{
    AdvanceOutcome, AppendOutcome, CommitOutcome, DecisionAppend, DecisionKey, Leadership, LedgerAdvance, LogId,
    RequestMark, Result, StatisticsCommit, Store, StoreError, StoreIdentity, StoredCatalog, StoredDecision,
    StoredStatistics, check_append, check_changes,
};
use crate::engine::instant::Instant;
pub use address::{PREFIX_DEFAULT, RedisUrl, RedisUrlError};
use async_trait::async_trait;
use committer::Committer;
use connection::Link;
use keys::Keys;
use scripts::{Call, number};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

/// The version of everything that is stored. A release that changes it learns to migrate from the one before.
const LAYOUT_VERSION: u8 = 1;

/// For how long Redis keeps a mark beyond its lifetime: clocks of instances and of Redis differ.
const MARK_SLACK_MS: i64 = 10 * 60 * 1000;

/// Above this, doubles leave numbers out.
const NUMBER_MAX: u64 = 1 << 53;

/// Decisions that one script reads, which bounds for how long it holds up everybody else.
const DECISIONS_PER_CALL: usize = 100;

/// Records that one answer holds at most, and bytes from which on it takes no more.
const LOG_ANSWER_RECORDS: usize = 10_000;
const LOG_ANSWER_BYTES: usize = 8 << 20;

/// A store in Redis.
pub struct RedisStore {
    location: String,
    identity: StoreIdentity,
    keys: Keys,
    link: Arc<Link>,
    /// `None`: opened for reading.
    committer: Option<Committer>,
    /// Logs that this process has put into the set of logs.
    registered: RwLock<BTreeSet<LogId>>,
}

impl RedisStore {
    /// Connects, checks that the servers can be trusted with a log, and makes the store where there is none yet.
    ///
    /// `entropy` becomes the epoch (16 bytes) and the hash key (32 bytes) of a store that is made, and is not used
    /// otherwise. What may be lost as the servers are set up is logged as a warning.
    ///
    /// # Errors
    /// [`StoreError::Open`] where nobody answers, where user or password are wrong, where the servers are too old or
    /// would evict, and where a newer release wrote the store.
    pub async fn open(url: &RedisUrl, entropy: [u8; 48]) -> Result<Self> {
        let store = Self::connect(url, Some(entropy)).await?;
        let committer = Some(Committer::start(Arc::clone(&store.link)));
        Ok(Self { committer, ..store })
    }

    /// Connects for reading, whether or not anybody serves. What is read is of the moment it is read at: other than a
    /// file, Redis keeps no earlier state for its readers. Verbs that write are refused.
    ///
    /// # Errors
    /// [`StoreError::Open`] as for [`RedisStore::open`], and where there is no store.
    pub async fn open_read_only(url: &RedisUrl) -> Result<Self> {
        Self::connect(url, None).await
    }

    async fn connect(url: &RedisUrl, entropy: Option<[u8; 48]>) -> Result<Self> {
        let location = url.to_string();
        let refused = |reason: String| StoreError::Open { location: location.clone(), reason };
        let (link, said) = Link::open(url).await?;
        match said {
            None => tracing::warn!(store = %location, "its user may not ask INFO, so the server could not be checked"),
            Some(said) => {
                for (address, info) in said {
                    let findings = checks::judge(&info);
                    if !findings.refusals.is_empty() {
                        return Err(refused(format!("the server at {address}: {}", findings.refusals.join("; "))));
                    }
                    for warning in findings.warnings {
                        tracing::warn!(store = %location, server = %address, "{warning}");
                    }
                }
            }
        }
        let keys = Keys::new(url.prefix());
        let identity = identity(&link, &keys, entropy).await.map_err(|error| match error {
            StoreError::Refused { reason } => refused(reason),
            other => located(&location, other),
        })?;
        let registered = RwLock::default();
        Ok(Self { location, identity, keys, link: Arc::new(link), committer: None, registered })
    }

    /// The committer, which only a store has that was opened for writing.
    fn writing(&self) -> Result<&Committer> {
        self.committer.as_ref().ok_or_else(|| StoreError::Refused {
            reason: "it was opened read-only; only servers write to it".to_owned(),
        })
    }

    /// Calls a script that writes.
    async fn write(&self, call: Call) -> Result<redis::Value> {
        self.writing()?;
        self.link.call_one(call).await
    }

    /// Makes a log known before its first record, so that no record stands where nobody looks.
    async fn register(&self, log: LogId) -> Result<()> {
        if self.registered.read().unwrap_or_else(PoisonError::into_inner).contains(&log) {
            return Ok(());
        }
        let call = Call::plain("SADD", &[&self.keys.logs(), keys::member(log).as_bytes()]);
        replies::number(self.link.call_one(call).await?, "the set of logs")?;
        self.registered.write().unwrap_or_else(PoisonError::into_inner).insert(log);
        Ok(())
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

    fn append_call(&self, append: DecisionAppend) -> Result<Call> {
        let DecisionAppend { log, decision, record, ledger, closes_at, request } = append;
        let mut keys = vec![self.keys.log(log), self.keys.decision(log, &decision), self.keys.open(log)];
        let mut arguments = vec![decision.to_vec(), record, ledger, time("a closing time", closes_at)?];
        if let Some(mark) = request {
            keys.push(self.keys.request(log, &mark.key));
            arguments.extend(mark_arguments(&mark)?);
        }
        Ok(Call::script(&scripts::APPEND, keys, arguments))
    }

    fn advance_call(&self, change: LedgerAdvance) -> Call {
        let LedgerAdvance { log, decision, from_sequence, ledger, records, closed } = change;
        let keys = vec![self.keys.log(log), self.keys.decision(log, &decision), self.keys.open(log)];
        let mut arguments = vec![decision.to_vec(), number(from_sequence), number(u8::from(closed)), ledger];
        arguments.extend(records);
        Call::script(&scripts::ADVANCE, keys, arguments)
    }

    /// Says which store an error is about.
    fn at<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| located(&self.location, error))
    }
}

/// The facts of a store, made here where `entropy` is given and there are none. Refused where they cannot be used.
async fn identity(link: &Link, keys: &Keys, entropy: Option<[u8; 48]>) -> Result<StoreIdentity> {
    let key = keys.identity();
    if let Some(entropy) = entropy {
        let facts = [&[LAYOUT_VERSION][..], &entropy].concat();
        // Of several instances that start at once, the first one's facts stand for all.
        let call = Call::plain("SET", &[&key, &facts, b"NX"]);
        errors::answer(link.call_one(call).await?)?;
    }
    let found = replies::bytes(link.call_one(Call::plain("GET", &[&key])).await?, "the store's identity")?;
    let refused = |reason: String| StoreError::Refused { reason };
    let facts = found.ok_or_else(|| {
        refused("there is no store under this prefix; a server makes one when it first starts".to_owned())
    })?;
    match facts.first() {
        Some(&LAYOUT_VERSION) => {}
        Some(&newer) if newer > LAYOUT_VERSION => {
            let reason = format!(
                "its layout version is {newer}, written by a newer release; this one reads up to {LAYOUT_VERSION}: \
                 run that release or a later one"
            );
            return Err(refused(reason));
        }
        _ => return Err(refused("another program's data stands under this prefix; choose another prefix".to_owned())),
    }
    let (epoch, hash_key) = facts[1..].split_at_checked(16).unwrap_or_default();
    Ok(StoreIdentity {
        epoch: replies::fixed(epoch, "the store's epoch")?,
        hash_key: replies::fixed(hash_key, "the store's hash key")?,
    })
}

fn located(location: &str, error: StoreError) -> StoreError {
    let at = |reason: String| format!("{location}: {reason}");
    match error {
        StoreError::Unavailable { reason } => StoreError::Unavailable { reason: at(reason) },
        StoreError::Corrupt { reason } => StoreError::Corrupt { reason: at(reason) },
        StoreError::Refused { reason } => StoreError::Refused { reason: at(reason) },
        open @ StoreError::Open { .. } => open,
    }
}

/// A time as an argument.
fn time(what: &str, at: Instant) -> Result<Vec<u8>> {
    if at.as_ms().unsigned_abs() < NUMBER_MAX {
        return Ok(number(at.as_ms()));
    }
    Err(StoreError::Refused { reason: format!("{what} of {} ms; sizes below {NUMBER_MAX} are accepted", at.as_ms()) })
}

/// Fingerprint, times and lifetime of a mark.
fn mark_arguments(mark: &RequestMark) -> Result<[Vec<u8>; 4]> {
    let (marked_at, expires_at) = (time("a mark", mark.marked_at)?, time("a mark's end", mark.expires_at)?);
    let lifetime = (mark.expires_at.as_ms() - mark.marked_at.as_ms()).max(0) + MARK_SLACK_MS;
    Ok([mark.fingerprint.to_vec(), marked_at, expires_at, number(lifetime)])
}

/// What of `log`, for messages.
fn of(what: &str, log: LogId) -> String {
    format!("{what} of placement {} partition {}", log.placement, log.partition)
}

/// Items by log, with their places in the order they came.
fn by_log<T>(items: impl IntoIterator<Item = T>, log: impl Fn(&T) -> LogId) -> BTreeMap<LogId, Vec<(usize, T)>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for (place, item) in items.into_iter().enumerate() {
        groups.entry(log(&item)).or_default().push((place, item));
    }
    groups
}

#[async_trait]
impl Store for RedisStore {
    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    async fn catalog(&self, revision: Option<u64>) -> Result<Option<StoredCatalog>> {
        self.at(self.read_catalog(revision).await)
    }

    async fn append_catalog(&self, catalog: StoredCatalog) -> Result<bool> {
        self.at(self.write_catalog(catalog).await)
    }

    async fn append_decision(&self, append: DecisionAppend) -> Result<AppendOutcome> {
        self.at(self.write_decision(append).await)
    }

    async fn claim_request(&self, log: LogId, mark: &RequestMark) -> Result<[u8; 32]> {
        self.at(self.write_claim(log, mark).await)
    }

    async fn answered(&self, logs: &[LogId], key: [u8; 32], now: Instant) -> Result<Option<AppendOutcome>> {
        self.at(self.read_answered(logs, key, now).await)
    }

    async fn decisions(&self, decisions: &[DecisionKey]) -> Result<Vec<Option<StoredDecision>>> {
        self.at(self.read_decisions(decisions).await)
    }

    async fn advance_ledgers(&self, changes: Vec<LedgerAdvance>) -> Result<Vec<AdvanceOutcome>> {
        self.at(self.write_ledgers(changes).await)
    }

    async fn due(&self, log: LogId, now: Instant, limit: usize) -> Result<Vec<DecisionKey>> {
        self.at(self.read_due(log, now, limit).await)
    }

    async fn read_log(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        self.at(self.read_records(log, offset, limit).await)
    }

    async fn log_ends(&self) -> Result<Vec<(LogId, u64)>> {
        self.at(self.read_log_ends().await)
    }

    async fn statistics(&self, model_id: &str, log: LogId) -> Result<StoredStatistics> {
        let call = Call::plain("HGETALL", &[&self.keys.statistics(log, model_id)]);
        let value = self.at(self.link.call_one(call).await)?;
        self.at(replies::statistics(value, of(&format!("statistics of model {model_id}"), log)))
    }

    async fn commit_statistics(&self, commit: StatisticsCommit) -> Result<CommitOutcome> {
        self.at(self.write_statistics(commit).await)
    }

    async fn lead(&self, log: LogId, holder: [u8; 16], now: Instant, lease_ms: u64) -> Result<Leadership> {
        self.at(self.write_lease(log, holder, now, lease_ms).await)
    }

    async fn resign(&self, log: LogId, holder: [u8; 16]) -> Result<()> {
        let call = Call::script(&scripts::RESIGN, vec![self.keys.learner(log)], vec![holder.to_vec()]);
        let value = self.at(self.write(call).await)?;
        self.at(replies::number(value, of("the learner", log)))?;
        Ok(())
    }

    async fn forget_requests(&self, _now: Instant) -> Result<()> {
        // Every mark and claim has a TTL.
        self.at(self.writing())?;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        if let Some(committer) = &self.committer {
            committer.close().await;
        }
        self.link.close().await;
        Ok(())
    }
}

/// The verbs that write.
impl RedisStore {
    async fn write_catalog(&self, catalog: StoredCatalog) -> Result<bool> {
        let placements = serde_json::to_vec(&catalog.placement_numbers).map_err(|error| StoreError::Refused {
            reason: format!("placement numbers that cannot be written: {error}"),
        })?;
        let keys = vec![self.keys.newest_catalog(), self.keys.catalog(catalog.revision)];
        let arguments = vec![
            number(catalog.revision),
            number(catalog.applied_at.as_ms()),
            catalog.reason.into_bytes(),
            catalog.catalog,
            placements,
        ];
        let value = self.write(Call::script(&scripts::APPEND_CATALOG, keys, arguments)).await?;
        Ok(replies::number(value, "the catalogs")? == 1)
    }

    async fn write_decision(&self, append: DecisionAppend) -> Result<AppendOutcome> {
        check_append(&append)?;
        let committer = self.writing()?;
        let (log, decision) = (append.log, append.decision);
        let call = self.append_call(append)?;
        self.register(log).await?;
        let value = committer.commit(log, vec![call]).await?.pop().unwrap_or_default();
        replies::append_outcome(value, &decision)
    }

    async fn write_claim(&self, log: LogId, mark: &RequestMark) -> Result<[u8; 32]> {
        let call =
            Call::script(&scripts::CLAIM, vec![self.keys.request(log, &mark.key)], mark_arguments(mark)?.to_vec());
        let stands = replies::bytes(self.write(call).await?, "the claim of a request")?.unwrap_or_default();
        replies::fixed(&stands, "the claim of a request")
    }

    async fn write_ledgers(&self, changes: Vec<LedgerAdvance>) -> Result<Vec<AdvanceOutcome>> {
        check_changes(&changes)?;
        let committer = self.writing()?;
        let mut outcomes = vec![AdvanceOutcome::Conflict; changes.len()];
        // Each log's changes are queued in their order before any is waited for.
        let groups = by_log(changes, |change| change.log).into_iter().map(|(log, changes)| {
            let (places, changes): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
            let calls = changes.into_iter().map(|change| self.advance_call(change)).collect();
            (log, places, calls)
        });
        let mut waiting = Vec::new();
        for (log, places, calls) in groups {
            waiting.push((log, places, committer.submit(log, calls).await?));
        }
        for (log, places, answer) in waiting {
            for (place, value) in places.into_iter().zip(answer.values().await?) {
                if replies::number(value, of("a ledger", log))? == 1 {
                    outcomes[place] = AdvanceOutcome::Advanced;
                }
            }
        }
        Ok(outcomes)
    }

    async fn write_statistics(&self, commit: StatisticsCommit) -> Result<CommitOutcome> {
        let StatisticsCommit { model_id, log, from_offset, offset, token, shared, arms } = commit;
        if token >= NUMBER_MAX {
            let reason = format!("a commit with token {token}; tokens below {NUMBER_MAX} are accepted");
            return Err(StoreError::Refused { reason });
        }
        let keys = vec![self.keys.statistics(log, &model_id), self.keys.learner(log)];
        let mut arguments = vec![number(from_offset), number(offset), number(token), shared];
        // Of an arm that is given twice, the last counts.
        for (arm, statistics) in arms.into_iter().collect::<BTreeMap<_, _>>() {
            arguments.extend([arm.into_bytes(), statistics]);
        }
        let value = self.write(Call::script(&scripts::COMMIT, keys, arguments)).await?;
        let committed = replies::number(value, of("statistics", log))? == 1;
        Ok(if committed { CommitOutcome::Committed } else { CommitOutcome::Fenced })
    }

    async fn write_lease(&self, log: LogId, holder: [u8; 16], now: Instant, lease_ms: u64) -> Result<Leadership> {
        let arguments =
            vec![holder.to_vec(), time("a lease's start", now)?, time("a lease's end", now.plus_ms(lease_ms))?];
        let call = Call::script(&scripts::LEAD, vec![self.keys.learner(log)], arguments);
        let what = of("the learner", log);
        let answer: [redis::Value; 2] = replies::list(self.write(call).await?, &what)?
            .try_into()
            .map_err(|_| errors::corrupt(format!("{what}: an answer that the script never gives")))?;
        let [leads, value] = answer;
        Ok(match replies::number(leads, &what)? {
            1 => Leadership::Leads { token: replies::count(value, &what)? },
            _ => Leadership::Follows { until: Instant::from_ms(replies::number(value, &what)?) },
        })
    }
}

/// The verbs that read.
impl RedisStore {
    async fn read_catalog(&self, revision: Option<u64>) -> Result<Option<StoredCatalog>> {
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

    async fn read_answered(&self, logs: &[LogId], key: [u8; 32], now: Instant) -> Result<Option<AppendOutcome>> {
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

    async fn read_decisions(&self, decisions: &[DecisionKey]) -> Result<Vec<Option<StoredDecision>>> {
        let mut found = vec![None; decisions.len()];
        let (mut asked, mut groups) = (Vec::new(), Vec::new());
        for (log, mine) in by_log(decisions, |key| keys::log_of(key)) {
            let calls = mine.chunks(DECISIONS_PER_CALL).map(|chunk| {
                let mut keys = vec![self.keys.log(log)];
                keys.extend(chunk.iter().map(|(_, key)| self.keys.decision(log, key)));
                Call::script(&scripts::DECISIONS, keys, Vec::new())
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

    async fn read_due(&self, log: LogId, now: Instant, limit: usize) -> Result<Vec<DecisionKey>> {
        let limit = number(i64::try_from(limit).unwrap_or(i64::MAX));
        let arguments: [&[u8]; 7] =
            [&self.keys.open(log), b"-inf", &number(now.as_ms()), b"BYSCORE", b"LIMIT", b"0", &limit];
        let what = of("open decisions", log);
        let due = replies::list(self.link.call_one(Call::plain("ZRANGE", &arguments)).await?, &what)?;
        let key = |value| replies::fixed(&replies::bytes(value, &what)?.unwrap_or_default(), &what);
        due.into_iter().map(key).collect()
    }

    async fn read_records(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        // No log reaches beyond what scripts can count.
        if offset >= NUMBER_MAX {
            return Ok(Vec::new());
        }
        let arguments = vec![number(offset + 1), number(limit.min(LOG_ANSWER_RECORDS)), number(LOG_ANSWER_BYTES)];
        let call = Call::script(&scripts::READ_LOG, vec![self.keys.log(log)], arguments);
        replies::records(self.link.call_one(call).await?, log, offset)
    }

    async fn read_log_ends(&self) -> Result<Vec<(LogId, u64)>> {
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
}
