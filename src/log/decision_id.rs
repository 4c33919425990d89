//! The id of a decision: opaque to clients, a route to us.
//!
//! 20 bytes, written as 32 letters and digits: version (1), placement number (2), partition (2), time in
//! milliseconds (6), random (8), check (1). Any report can be routed by the id alone, whatever the catalog says by
//! then, and a mistyped id is told from an unknown one. The version also tells a decision that is logged, or will be,
//! from one that never is: reports on the latter need no look-up.

use crate::{
    engine::instant::Instant,
    store::{DecisionKey, LogId},
};
use data_encoding::{Encoding, Specification};
use std::{fmt, str::FromStr, sync::LazyLock};

/// Version of ids of decisions that are logged.
const LOGGED: u8 = 1;
/// Version of ids of decisions that never are.
const NOT_LOGGED: u8 = 2;

/// RFC 4648's "extended hex" in lower case: ids sort like their bytes.
static ENCODING: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789abcdefghijklmnopqrstuv");
    specification.encoding().expect("invariant: 32 distinct symbols make a base-32 encoding")
});

/// Identifies a decision and where it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecisionId(DecisionKey);

/// Not an id that this service gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a decision id that this service gave out")]
pub struct DecisionIdError;

impl DecisionId {
    /// The id of a decision made at `decided_at`; times before 1970 count as 1970.
    #[must_use]
    pub fn new(log: LogId, decided_at: Instant, random: u64) -> Self {
        Self::of_version(LOGGED, log, decided_at, random)
    }

    /// The id of an answer that is not logged: the same but for its mark.
    #[must_use]
    pub fn not_logged(log: LogId, decided_at: Instant, random: u64) -> Self {
        Self::of_version(NOT_LOGGED, log, decided_at, random)
    }

    fn of_version(version: u8, log: LogId, decided_at: Instant, random: u64) -> Self {
        let mut key = [0; 20];
        key[0] = version;
        key[1..3].copy_from_slice(&log.placement.to_be_bytes());
        key[3..5].copy_from_slice(&log.partition.to_be_bytes());
        key[5..11].copy_from_slice(&decided_at.as_ms().max(0).to_be_bytes()[2..]);
        key[11..19].copy_from_slice(&random.to_be_bytes());
        key[19] = check(&key[..19]);
        Self(key)
    }

    /// From bytes as stored.
    ///
    /// # Errors
    /// Where they cannot be an id.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecisionIdError> {
        let key: DecisionKey = bytes.try_into().map_err(|_| DecisionIdError)?;
        let known = matches!(key[0], LOGGED | NOT_LOGGED);
        if known && key[19] == check(&key[..19]) { Ok(Self(key)) } else { Err(DecisionIdError) }
    }

    /// Whether the decision is logged, or will be.
    #[must_use]
    pub fn is_logged(&self) -> bool {
        self.0[0] == LOGGED
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &DecisionKey {
        &self.0
    }

    /// The log that the decision stands in.
    #[must_use]
    pub fn log(&self) -> LogId {
        let number = |at: usize| u16::from_be_bytes([self.0[at], self.0[at + 1]]);
        LogId { placement: number(1), partition: number(3) }
    }

    /// When the decision was made.
    #[must_use]
    pub fn decided_at(&self) -> Instant {
        let mut ms = [0; 8];
        ms[2..].copy_from_slice(&self.0[5..11]);
        Instant::from_ms(i64::from_be_bytes(ms))
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ENCODING.encode(&self.0))
    }
}

impl FromStr for DecisionId {
    type Err = DecisionIdError;

    fn from_str(text: &str) -> Result<Self, DecisionIdError> {
        Self::from_bytes(&ENCODING.decode(text.as_bytes()).map_err(|_| DecisionIdError)?)
    }
}

/// CRC-8 with polynomial x^8 + x^2 + x + 1: finds every single mistyped letter.
fn check(bytes: &[u8]) -> u8 {
    let step = |crc: u8, _| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x07 };
    bytes.iter().fold(0xff, |crc, byte| (0..8).fold(crc ^ byte, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId { placement: 515, partition: 63 };

    #[test]
    fn an_id_survives_its_text_and_tells_its_log_and_time() {
        let id = DecisionId::new(LOG, Instant::from_ms(1_795_000_000_123), u64::MAX);
        let read: DecisionId = id.to_string().parse().unwrap();
        assert_eq!((read, read.log(), read.decided_at()), (id, LOG, Instant::from_ms(1_795_000_000_123)));
        assert_eq!(id.to_string().len(), 32);
    }

    #[test]
    fn an_id_tells_whether_its_decision_is_logged() {
        let at = Instant::from_ms(7);
        let ids = [DecisionId::new(LOG, at, 42), DecisionId::not_logged(LOG, at, 42)];
        let read = ids.map(|id| id.to_string().parse::<DecisionId>().unwrap());
        assert_eq!(read.map(|id| id.is_logged()), [true, false]);
        assert!(read.iter().all(|id| (id.log(), id.decided_at()) == (LOG, at)));
    }

    #[test]
    fn every_single_mistyped_letter_is_noticed() {
        let text = DecisionId::new(LOG, Instant::from_ms(1), 42).to_string();
        for position in 0..text.len() {
            let mut typed = text.clone().into_bytes();
            typed[position] = if typed[position] == b'7' { b'8' } else { b'7' };
            let typed = String::from_utf8(typed).unwrap();
            assert!(typed == text || typed.parse::<DecisionId>().is_err(), "{typed}");
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "x", "ö", &"0".repeat(32), &"0".repeat(1000)] {
            assert_eq!(text.parse::<DecisionId>(), Err(DecisionIdError), "{text}");
        }
    }
}
