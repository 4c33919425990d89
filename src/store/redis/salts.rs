//! Salts: they stand in hashes that expire, and a list per owner and log names the decisions that have one.

use super::{
    RedisStore,
    keys::Keys,
    of, replies,
    scripts::{self, Call, number},
    writes::time,
};
use crate::{
    engine::instant::Instant,
    store::{DecisionKey, FORGOTTEN_MS, LogId, OwnedSalt, Result},
};

/// Decisions that one script reads or changes, which bounds for how long it holds up everybody else.
const SALTS_PER_CALL: usize = 256;

/// The longest lifetime that Redis is told, a hundred years: it adds it to its own clock.
const LIFETIME_MAX_MS: i64 = 100 * 366 * 24 * 60 * 60 * 1000;

/// For how long Redis keeps a salt beyond its lifetime: clocks of instances and of Redis differ.
const SALT_SLACK_MS: i64 = 10 * 60 * 1000;

/// The owner whose keys stand where there is no salt: nothing is ever kept under them.
const NOBODY: [u8; 16] = [0; 16];

impl RedisStore {
    pub(super) async fn write_no_salts(&self, logs: &[LogId], owner: &[u8; 16], now: Instant) -> Result<u64> {
        self.writing()?;
        let mut destroyed = 0;
        let mut left = logs.to_vec();
        while !left.is_empty() {
            let ask = |&log: &LogId| self.forget_call(log, owner, now).map(|call| vec![call]);
            let answers = self.link.call_groups(left.iter().map(ask).collect::<Result<_>>()?).await?;
            let mut again = Vec::new();
            for (log, values) in std::mem::take(&mut left).into_iter().zip(answers) {
                let what = of("decisions of an owner", log);
                let mut ids = Vec::new();
                for value in values {
                    ids.extend(replies::list(value, &what)?);
                }
                let id = |id| replies::fixed(&replies::bytes(id, &what)?.unwrap_or_default(), &what);
                let ids = ids.into_iter().map(id).collect::<Result<Vec<DecisionKey>>>()?;
                if !ids.is_empty() {
                    destroyed += replies::count(self.write(self.destroy_call(log, owner, &ids)).await?, &what)?;
                }
                if ids.len() == SALTS_PER_CALL {
                    again.push(log);
                }
            }
            left = again;
        }
        Ok(destroyed)
    }

    fn forget_call(&self, log: LogId, owner: &[u8; 16], now: Instant) -> Result<Call> {
        let keys = vec![self.keys.owned(log, owner), self.keys.forgotten(log)];
        let now = time("a time of forgetting", now)?;
        let arguments = vec![owner.to_vec(), now, number(FORGOTTEN_MS), number(SALTS_PER_CALL)];
        Ok(Call::script(&scripts::FORGET, keys, arguments))
    }

    fn destroy_call(&self, log: LogId, owner: &[u8; 16], ids: &[DecisionKey]) -> Call {
        let mut keys = vec![self.keys.owned(log, owner)];
        keys.extend(ids.iter().map(|id| self.keys.salts(log, id)));
        Call::script(&scripts::DESTROY, keys, ids.iter().map(|id| id.to_vec()).collect())
    }
}

/// The keys that a decision's salt concerns: where it stands, and its owner's decisions.
pub(super) fn keys(keys: &Keys, log: LogId, decision: &DecisionKey, salt: Option<&OwnedSalt>) -> [Vec<u8>; 2] {
    let owner = salt.map_or(&NOBODY, |salt| &salt.owner);
    [keys.salts(log, decision), keys.owned(log, owner)]
}

/// Salt, time of the decision and lifetime, as scripts take them.
pub(super) fn arguments(salt: Option<&OwnedSalt>) -> Result<[Vec<u8>; 3]> {
    let Some(salt) = salt else { return Ok([Vec::new(), number(0), number(1)]) };
    let lifetime = salt.expires_at.as_ms().saturating_sub(salt.made_at.as_ms()).clamp(0, LIFETIME_MAX_MS);
    Ok([salt.salt.to_vec(), time("a decision's time", salt.made_at)?, number(lifetime + SALT_SLACK_MS)])
}
