//! What is asked of a server before it is trusted with a log: its version, and that it forgets nothing by itself.
//!
//! All of it stands in `INFO`, which needs fewer rights than `CONFIG GET`.

use std::collections::BTreeMap;

/// The oldest Redis: the first with streams that count by themselves and scripts with flags.
const REDIS_MIN: (u32, u32) = (7, 0);
/// The oldest Valkey: the first under that name.
const VALKEY_MIN: (u32, u32) = (7, 2);

/// What is to be said of a server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Why it cannot be used, and what to change; empty: it can.
    pub(super) refusals: Vec<String>,
    /// What may be lost as it is set up, and what to change.
    pub(super) warnings: Vec<String>,
}

/// Judges what `INFO` says of one server.
pub(super) fn judge(info: &str) -> Findings {
    let fields: BTreeMap<&str, &str> = info.lines().filter_map(|line| line.trim().split_once(':')).collect();
    let mut findings = Findings::default();
    let Findings { refusals, warnings } = &mut findings;
    refusals.extend(version_refusal(&fields));

    let policy = fields.get("maxmemory_policy").copied();
    match (fields.get("maxmemory").copied(), policy) {
        (Some("0"), Some("noeviction")) => warnings.push(
            "maxmemory is 0: it takes memory until the system stops it, where with a limit only writes would fail; \
             CONFIG SET maxmemory BYTES"
                .to_owned(),
        ),
        (Some("0"), Some(policy)) => warnings.push(format!(
            "maxmemory-policy is {policy}, which will evict parts of the log as soon as maxmemory is set; \
             CONFIG SET maxmemory-policy noeviction, then maxmemory"
        )),
        (Some(_), Some("noeviction")) => {}
        (Some(limit), Some(policy)) => refusals.push(format!(
            "maxmemory-policy is {policy}: with maxmemory {limit} it evicts parts of the log when memory is full; \
             CONFIG SET maxmemory-policy noeviction"
        )),
        _ => warnings.push("INFO tells nothing of maxmemory, so eviction could not be ruled out".to_owned()),
    }
    match fields.get("aof_enabled").copied() {
        Some("1") => {}
        Some(_) => warnings.push(
            "appendonly is no: when it stops, everything since its last snapshot is lost, acknowledged or not; \
             CONFIG SET appendonly yes"
                .to_owned(),
        ),
        None => warnings.push("INFO tells nothing of persistence, so it could not be checked".to_owned()),
    }
    findings
}

fn version_refusal(fields: &BTreeMap<&str, &str>) -> Option<String> {
    let (name, version, (major, minor)) = match (fields.get("valkey_version"), fields.get("redis_version")) {
        (Some(version), _) => ("Valkey", *version, VALKEY_MIN),
        (None, Some(version)) => ("Redis", *version, REDIS_MIN),
        (None, None) => return Some("it does not tell its version; is it a Redis?".to_owned()),
    };
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (found < (major, minor)).then(|| format!("it is {name} {version}; {name} {major}.{minor} or later is needed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory:1000000\r\n\
                        maxmemory_policy:noeviction\r\n# Persistence\r\naof_enabled:1\r\n";

    #[test]
    fn a_server_that_forgets_nothing_is_taken_without_a_word() {
        assert_eq!(judge(GOOD), Findings::default());
        let valkey = GOOD.replace("redis_version:7.0.15", "redis_version:7.2.4\r\nvalkey_version:8.1.0");
        assert_eq!(judge(&valkey), Findings::default());
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_to_change() {
        for (good, bad, says) in [
            ("redis_version:7.0.15", "redis_version:6.2.14", "Redis 6.2.14; Redis 7.0 or later"),
            ("redis_version:7.0.15", "redis_version:7.2.4\r\nvalkey_version:7.0.0", "Valkey 7.2 or later"),
            ("redis_version:7.0.15", "other:1", "does not tell its version"),
            ("noeviction", "allkeys-lru", "CONFIG SET maxmemory-policy noeviction"),
        ] {
            let Findings { refusals, warnings } = judge(&GOOD.replace(good, bad));
            assert!(refusals.len() == 1 && refusals[0].contains(says) && warnings.is_empty(), "{refusals:?}");
        }
    }

    #[test]
    fn what_may_be_lost_is_warned_of() {
        for (good, bad, says) in [
            ("maxmemory:1000000", "maxmemory:0", "maxmemory is 0"),
            (
                "maxmemory:1000000\r\nmaxmemory_policy:noeviction",
                "maxmemory:0\r\nmaxmemory_policy:volatile-ttl",
                "evict",
            ),
            ("aof_enabled:1", "aof_enabled:0", "CONFIG SET appendonly yes"),
            ("aof_enabled:1", "", "could not be checked"),
            ("maxmemory:1000000", "", "could not be ruled out"),
        ] {
            let Findings { refusals, warnings } = judge(&GOOD.replace(good, bad));
            assert!(warnings.len() == 1 && warnings[0].contains(says) && refusals.is_empty(), "{bad}: {warnings:?}");
        }
    }
}
