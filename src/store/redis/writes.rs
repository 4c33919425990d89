//! The verbs that write, as calls of scripts. Appends and reports go through the committer; what is rare goes straight.

use super::{
    NUMBER_MAX, RedisStore, by_log,
    committer::{Answers, Committer},
    documents, errors, keys, of, replies, salts,
    scripts::{self, Call, number},
};
use crate::{
    engine::instant::Instant,
    store::{
        AdvanceOutcome, AppendOutcome, CommitOutcome, DecisionAppend, Leadership, LedgerAdvance, LogId, RequestMark,
        Result, StatisticsCommit, StoreError, StoredCatalog, check_append, check_changes,
    },
};
use std::{collections::BTreeMap, sync::PoisonError};

/// For how long Redis keeps a mark beyond its lifetime: clocks of instances and of Redis differ.
const MARK_SLACK_MS: i64 = 10 * 60 * 1000;

/// Decisions that one script appends, which bounds for how long it holds up everybody else.
const APPENDS_PER_CALL: usize = 64;

impl RedisStore {
    /// The committer, which only a store has that was opened for writing.
    pub(super) fn writing(&self) -> Result<&Committer> {
        self.committer.as_ref().ok_or_else(|| StoreError::Refused {
            reason: "it was opened read-only; only servers write to it".to_owned(),
        })
    }

    /// Calls a script that writes.
    pub(super) async fn write(&self, call: Call) -> Result<redis::Value> {
        self.writing()?;
        self.link.call_one(call).await
    }

    /// Makes a log known before its first record, so that no record stands where nobody looks.
    pub(super) async fn register(&self, log: LogId) -> Result<()> {
        if self.registered.read().unwrap_or_else(PoisonError::into_inner).contains(&log) {
            return Ok(());
        }
        let call = Call::plain("SADD", &[&self.keys.logs(), keys::member(log).as_bytes()]);
        replies::number(self.link.call_one(call).await?, "the set of logs")?;
        self.registered.write().unwrap_or_else(PoisonError::into_inner).insert(log);
        Ok(())
    }

    pub(super) async fn write_catalog(&self, catalog: StoredCatalog) -> Result<bool> {
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

    pub(super) async fn write_decision(&self, append: DecisionAppend) -> Result<AppendOutcome> {
        check_append(&append)?;
        let committer = self.writing()?;
        let log = append.log;
        let call = self.append_call(append)?;
        self.register(log).await?;
        let value = committer.commit(log, vec![call]).await?.pop().unwrap_or_default();
        replies::append_outcome(value)
    }

    pub(super) async fn write_decisions(&self, appends: &[DecisionAppend]) -> Vec<Result<AppendOutcome>> {
        let mut outcomes: Vec<Option<Result<AppendOutcome>>> =
            appends.iter().map(|append| check_append(append).err().map(Err)).collect();
        let fitting: Vec<usize> = (0..appends.len()).filter(|&place| outcomes[place].is_none()).collect();
        // Each log's appends are queued in their order before any is waited for.
        let mut waiting = Vec::new();
        for (log, places) in by_log(fitting, |&place| appends[place].log) {
            let calls = calls_of(places.into_iter().map(|(_, place)| place).collect(), appends);
            waiting.push((self.submit_appends(log, appends, &calls).await, calls));
        }
        for (submitted, calls) in waiting {
            let answered = match submitted {
                Ok(answers) => answers.values().await,
                Err(error) => Err(error),
            };
            let values = match answered {
                Ok(values) => values.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error); calls.len()],
            };
            for (places, value) in calls.into_iter().zip(values) {
                let answers = value.and_then(|value| replies::append_outcomes(value, places.len()));
                let answers = answers.unwrap_or_else(|error| vec![Err(error); places.len()]);
                places.into_iter().zip(answers).for_each(|(place, outcome)| outcomes[place] = Some(outcome));
            }
        }
        outcomes.into_iter().flatten().collect()
    }

    /// Queues the appends of one log, those of each call by their places.
    async fn submit_appends(&self, log: LogId, appends: &[DecisionAppend], calls: &[Vec<usize>]) -> Result<Answers> {
        let committer = self.writing()?;
        self.register(log).await?;
        let call = |places: &Vec<usize>| match places[..] {
            [place] if !is_plain(&appends[place]) => self.append_call(appends[place].clone()),
            _ => self.append_many_call(log, places.iter().map(|&place| &appends[place])),
        };
        committer.submit(log, calls.iter().map(call).collect::<Result<_>>()?).await
    }

    pub(super) async fn write_claim(&self, log: LogId, mark: &RequestMark) -> Result<[u8; 32]> {
        let call =
            Call::script(&scripts::CLAIM, vec![self.keys.request(log, &mark.key)], mark_arguments(mark)?.to_vec());
        let stands = replies::bytes(self.write(call).await?, "the claim of a request")?.unwrap_or_default();
        replies::fixed(&stands, "the claim of a request")
    }

    pub(super) async fn write_ledgers(&self, changes: Vec<LedgerAdvance>) -> Result<Vec<AdvanceOutcome>> {
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

    pub(super) async fn write_statistics(&self, commit: StatisticsCommit) -> Result<CommitOutcome> {
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

    pub(super) async fn write_resignation(&self, log: LogId, holder: [u8; 16]) -> Result<()> {
        let call = Call::script(&scripts::RESIGN, vec![self.keys.learner(log)], vec![holder.to_vec()]);
        replies::number(self.write(call).await?, of("the learner", log))?;
        Ok(())
    }

    pub(super) async fn write_lease(
        &self,
        log: LogId,
        holder: [u8; 16],
        now: Instant,
        lease_ms: u64,
    ) -> Result<Leadership> {
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

    fn append_call(&self, append: DecisionAppend) -> Result<Call> {
        let DecisionAppend { log, decision, record, ledger, closes_at, request, document, salt } = append;
        let mut keys = vec![self.keys.log(log), self.keys.decision(log, &decision), self.keys.open(log)];
        keys.push(self.keys.forgotten(log));
        keys.extend(salts::keys(&self.keys, log, &decision, salt.as_ref()));
        let mut arguments = vec![decision.to_vec(), record, ledger, time("a closing time", closes_at)?];
        keys.extend(request.as_ref().map(|mark| self.keys.request(log, &mark.key)));
        keys.extend(document.as_ref().map(|change| documents::name(&self.keys, &change.key)));
        arguments.extend(request.map_or_else(|| Ok(Default::default()), |mark| mark_arguments(&mark))?);
        arguments.extend(document.as_ref().map(documents::arguments).unwrap_or_default());
        arguments.extend(salts::arguments(salt.as_ref())?);
        Ok(Call::script(&scripts::APPEND, keys, arguments))
    }

    fn append_many_call<'a>(&self, log: LogId, appends: impl Iterator<Item = &'a DecisionAppend>) -> Result<Call> {
        let mut keys = vec![self.keys.log(log), self.keys.open(log), self.keys.forgotten(log)];
        let mut arguments = Vec::new();
        let key = self.keys.decisions(log);
        for append in appends {
            keys.push(key(&append.decision));
            keys.extend(salts::keys(&self.keys, log, &append.decision, append.salt.as_ref()));
            let closes_at = time("a closing time", append.closes_at)?;
            arguments.extend([append.decision.to_vec(), append.record.clone(), append.ledger.clone(), closes_at]);
            arguments.extend(salts::arguments(append.salt.as_ref())?);
        }
        Ok(Call::script(&scripts::APPEND_MANY, keys, arguments))
    }

    fn advance_call(&self, change: LedgerAdvance) -> Call {
        let LedgerAdvance { log, decision, from_sequence, ledger, records, closed } = change;
        let keys = vec![self.keys.log(log), self.keys.decision(log, &decision), self.keys.open(log)];
        let mut arguments = vec![decision.to_vec(), number(from_sequence), number(u8::from(closed)), ledger];
        arguments.extend(records);
        Call::script(&scripts::ADVANCE, keys, arguments)
    }
}

/// Whether an append is of nothing but its log.
fn is_plain(append: &DecisionAppend) -> bool {
    append.request.is_none() && append.document.is_none()
}

/// Appends of one log by the calls that make them: plain ones share one.
fn calls_of(places: Vec<usize>, appends: &[DecisionAppend]) -> Vec<Vec<usize>> {
    let plain = |place: &usize| is_plain(&appends[*place]);
    let runs = places.chunk_by(|one, next| plain(one) && plain(next));
    runs.flat_map(|run| run.chunks(APPENDS_PER_CALL)).map(<[usize]>::to_vec).collect()
}

/// A time as an argument.
pub(super) fn time(what: &str, at: Instant) -> Result<Vec<u8>> {
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
