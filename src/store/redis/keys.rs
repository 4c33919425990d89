//! The keys: what they are called, and which of them share a slot.
//!
//! `PREFIX:{TAG}:...`. The tag in braces decides the slot of a Cluster, so everything that one step must see has one
//! tag: `P:Q` for a log, by placement number and partition, `u:USER` for a user, `catalog` for the catalogs, `meta` for
//! what a store is.
//! Ids, models and request keys are written as they are, as bytes. `docs/redis.md` lists every key.

use crate::store::{DecisionKey, LogId};
use data_encoding::HEXLOWER;

/// Decisions of how many milliseconds have their salts in one hash: few enough that Redis is not held up when it goes.
const SALTS_MS: u64 = 10 * 60 * 1000;

/// Makes keys that begin with one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    /// Keys with this prefix, which has no braces.
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// String: layout version, epoch and hash key.
    pub(super) fn identity(&self) -> Vec<u8> {
        self.tagged("meta", "identity", &[])
    }

    /// Set of `P:Q`: the logs that were ever written to.
    pub(super) fn logs(&self) -> Vec<u8> {
        self.tagged("meta", "logs", &[])
    }

    /// String: number of the newest catalog revision.
    pub(super) fn newest_catalog(&self) -> Vec<u8> {
        self.tagged("catalog", "newest", &[])
    }

    /// Hash: one catalog revision.
    pub(super) fn catalog(&self, revision: u64) -> Vec<u8> {
        self.tagged("catalog", "r:", revision.to_string().as_bytes())
    }

    /// Stream: the records.
    pub(super) fn log(&self, log: LogId) -> Vec<u8> {
        self.of_log(log, "log", &[])
    }

    /// Sorted set: ids of open decisions by closing time.
    pub(super) fn open(&self, log: LogId) -> Vec<u8> {
        self.of_log(log, "open", &[])
    }

    /// String: a decision's place in the log, and its ledger.
    pub(super) fn decision(&self, log: LogId, decision: &DecisionKey) -> Vec<u8> {
        self.of_log(log, "d:", decision)
    }

    /// The keys of many decisions of one log.
    pub(super) fn decisions(&self, log: LogId) -> impl Fn(&DecisionKey) -> Vec<u8> {
        let stem = self.of_log(log, "d:", &[]);
        move |decision| [&stem[..], decision].concat()
    }

    /// Hash with a TTL: the salts of the decisions of the same ten minutes, by id.
    pub(super) fn salts(&self, log: LogId, decision: &DecisionKey) -> Vec<u8> {
        let mut ms = [0; 8];
        ms[2..].copy_from_slice(&decision[5..11]);
        self.of_log(log, "salt:", (u64::from_be_bytes(ms) / SALTS_MS).to_string().as_bytes())
    }

    /// List with a TTL: ids of an owner's decisions whose salts are kept.
    pub(super) fn owned(&self, log: LogId, owner: &[u8; 16]) -> Vec<u8> {
        self.of_log(log, "own:", owner)
    }

    /// Sorted set with a TTL: owners by when they were forgotten, in milliseconds since 1970.
    pub(super) fn forgotten(&self, log: LogId) -> Vec<u8> {
        self.of_log(log, "gone", &[])
    }

    /// String with a TTL: the mark of a request, or a claim.
    pub(super) fn request(&self, log: LogId, key: &[u8; 32]) -> Vec<u8> {
        self.of_log(log, "req:", key)
    }

    /// Hash: statistics of a model.
    pub(super) fn statistics(&self, log: LogId, model_id: &str) -> Vec<u8> {
        self.of_log(log, "stats:", model_id.as_bytes())
    }

    /// Hash: who learns from the log.
    pub(super) fn learner(&self, log: LogId) -> Vec<u8> {
        self.of_log(log, "learner", &[])
    }

    /// String with a TTL: the document of a unit.
    pub(super) fn unit(&self, log: LogId, unit: &[u8; 16]) -> Vec<u8> {
        self.of_log(log, "unit:", unit)
    }

    /// String with a TTL: the document of a user, whose hash is written in hexadecimal, since a tag ends at a brace.
    pub(super) fn user(&self, user: &[u8; 16]) -> Vec<u8> {
        self.tagged(&format!("u:{}", HEXLOWER.encode(user)), "user", &[])
    }

    fn of_log(&self, log: LogId, name: &str, rest: &[u8]) -> Vec<u8> {
        self.tagged(&member(log), name, rest)
    }

    fn tagged(&self, tag: &str, name: &str, rest: &[u8]) -> Vec<u8> {
        let mut key = format!("{}:{{{tag}}}:{name}", self.prefix).into_bytes();
        key.extend_from_slice(rest);
        key
    }
}

/// The log that a decision's id belongs to.
pub(super) fn log_of(decision: &DecisionKey) -> LogId {
    let number = |at: usize| u16::from_be_bytes([decision[at], decision[at + 1]]);
    LogId { placement: number(1), partition: number(3) }
}

/// A log as the set of logs names it.
pub(super) fn member(log: LogId) -> String {
    format!("{}:{}", log.placement, log.partition)
}

/// The log that a member of the set of logs names.
pub(super) fn parse_member(member: &[u8]) -> Option<LogId> {
    let (placement, partition) = std::str::from_utf8(member).ok()?.split_once(':')?;
    Some(LogId { placement: placement.parse().ok()?, partition: partition.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId { placement: 515, partition: 63 };

    #[test]
    fn everything_of_a_log_has_its_tag_and_bytes_stay_bytes() {
        let keys = Keys::new("or1");
        assert_eq!(keys.log(LOG), b"or1:{515:63}:log");
        assert_eq!(keys.statistics(LOG, "m}{\0"), b"or1:{515:63}:stats:m}{\0");
        let decision: DecisionKey = std::array::from_fn(|i| i as u8 + 0x7b);
        assert_eq!(keys.decision(LOG, &decision)[..15], *b"or1:{515:63}:d:");
        assert_eq!(keys.decision(LOG, &decision)[15..], decision);
        assert_eq!(keys.catalog(7), b"or1:{catalog}:r:7");
        assert_eq!(keys.unit(LOG, b"}{89abcdef012345"), b"or1:{515:63}:unit:}{89abcdef012345");
        assert_eq!(keys.user(&[0x7d; 16]), b"or1:{u:7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d}:user");
    }

    #[test]
    fn logs_survive_their_names() {
        for log in [LOG, LogId { placement: 0, partition: 65_535 }] {
            assert_eq!(parse_member(member(log).as_bytes()), Some(log));
        }
        for text in ["", "1", "1:", ":1", "1:2:3", "65536:0", "-1:0"] {
            assert_eq!(parse_member(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_decision_tells_its_log() {
        let mut decision = [0; 20];
        decision[..5].copy_from_slice(&[1, 2, 3, 0, 63]);
        assert_eq!(log_of(&decision), LOG);
    }
}
