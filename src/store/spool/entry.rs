//! One entry of a spool as bytes: a frame that tells whether it is whole, around a decision that waits for the store.
//!
//! A frame is a marker, the length of what it holds, the beginning of a SHA-256 over length and content, and the
//! content. The marker is where reading goes on after bytes that are no frame.

use crate::{
    engine::instant::Instant,
    store::{DecisionAppend, DecisionKey, LogId, OwnedSalt, RECORD_BYTES_MAX, RequestMark},
};
use sha2::{Digest as _, Sha256};

/// A decision that waits for the store, with everything that logging it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// The append that logs it. It changes no document: by the time that it is made, what a document was computed from
    /// is gone.
    pub append: DecisionAppend,
    /// The log in which its request is to be claimed before; `None`: its mark stands in the decision's own log, or it
    /// has none.
    pub claim_in: Option<LogId>,
}

/// Begins every frame.
const MARKER: [u8; 4] = *b"\xf0SpE";
/// Bytes of marker, length and checksum.
const HEAD_BYTES: usize = 16;
/// The largest content: a record and a ledger of the largest size, and what stands beside them.
const CONTENT_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX + 1024;
/// Version of the content.
const VERSION: u8 = 1;

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoFrame {
    /// They end before the frame does: its writing was cut off, unless its length is damaged.
    Incomplete,
    /// They are something else, or damaged.
    Damaged,
}

/// The frame of a decision.
pub(super) fn encode(spooled: &Spooled) -> Vec<u8> {
    let content = encode_content(spooled);
    let length = (content.len() as u32).to_le_bytes();
    [&MARKER[..], &length, &checksum(length, &content), &content].concat()
}

/// The content of the frame that bytes begin with, and how many bytes the frame has.
pub(super) fn unframe(bytes: &[u8]) -> Result<(&[u8], usize), NoFrame> {
    let marker = &bytes[..bytes.len().min(MARKER.len())];
    if *marker != MARKER[..marker.len()] {
        return Err(NoFrame::Damaged);
    }
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else { return Err(NoFrame::Incomplete) };
    let length = [head[4], head[5], head[6], head[7]];
    let content_bytes = u32::from_le_bytes(length) as usize;
    if content_bytes > CONTENT_BYTES_MAX {
        return Err(NoFrame::Damaged);
    }
    let content = rest.get(..content_bytes).ok_or(NoFrame::Incomplete)?;
    if checksum(length, content) != head[8..] {
        return Err(NoFrame::Damaged);
    }
    Ok((content, HEAD_BYTES + content_bytes))
}

/// Where the next whole frame begins, from 1 on.
pub(super) fn next_frame(bytes: &[u8]) -> Option<usize> {
    let marked = |&start: &usize| bytes[start..].starts_with(&MARKER);
    (1..bytes.len()).filter(marked).find(|&start| unframe(&bytes[start..]).is_ok())
}

fn checksum(length: [u8; 4], content: &[u8]) -> [u8; 8] {
    let digest = Sha256::new().chain_update(length).chain_update(content).finalize();
    digest[..8].try_into().expect("invariant: SHA-256 has 32 bytes")
}

fn encode_content(Spooled { append, claim_in }: &Spooled) -> Vec<u8> {
    let DecisionAppend { log, decision, record, ledger, closes_at, request, document: _, salt } = append;
    let mut bytes = Vec::with_capacity(record.len() + ledger.len() + 160);
    bytes.push(VERSION);
    bytes.extend(log_bytes(*log));
    bytes.extend(decision);
    bytes.extend(closes_at.as_ms().to_le_bytes());
    for part in [record, ledger] {
        bytes.extend((part.len() as u32).to_le_bytes());
        bytes.extend(part);
    }
    bytes.push(u8::from(request.is_some()));
    if let Some(RequestMark { key, fingerprint, marked_at, expires_at }) = request {
        bytes.extend(key);
        bytes.extend(fingerprint);
        bytes.extend(marked_at.as_ms().to_le_bytes());
        bytes.extend(expires_at.as_ms().to_le_bytes());
    }
    bytes.push(u8::from(claim_in.is_some()));
    bytes.extend(claim_in.map(log_bytes).into_iter().flatten());
    bytes.push(u8::from(salt.is_some()));
    if let Some(OwnedSalt { owner, salt, made_at, expires_at }) = salt {
        bytes.extend(owner);
        bytes.extend(salt);
        bytes.extend(made_at.as_ms().to_le_bytes());
        bytes.extend(expires_at.as_ms().to_le_bytes());
    }
    bytes
}

fn log_bytes(log: LogId) -> [u8; 4] {
    let ([a, b], [c, d]) = (log.placement.to_le_bytes(), log.partition.to_le_bytes());
    [a, b, c, d]
}

/// The decision in a frame's content; `None` where this release did not write it.
pub(super) fn decode(content: &[u8]) -> Option<Spooled> {
    let mut rest = content;
    let [version] = take(&mut rest)?;
    if version != VERSION {
        return None;
    }
    let log = take_log(&mut rest)?;
    let decision: DecisionKey = take(&mut rest)?;
    let closes_at = take_instant(&mut rest)?;
    let (record, ledger) = (take_part(&mut rest)?, take_part(&mut rest)?);
    let request = match take(&mut rest)? {
        [0] => None,
        [1] => Some(RequestMark {
            key: take(&mut rest)?,
            fingerprint: take(&mut rest)?,
            marked_at: take_instant(&mut rest)?,
            expires_at: take_instant(&mut rest)?,
        }),
        _ => return None,
    };
    let claim_in = match take(&mut rest)? {
        [0] => None,
        [1] => Some(take_log(&mut rest)?),
        _ => return None,
    };
    let salt = match take(&mut rest)? {
        [0] => None,
        [1] => Some(OwnedSalt {
            owner: take(&mut rest)?,
            salt: take(&mut rest)?,
            made_at: take_instant(&mut rest)?,
            expires_at: take_instant(&mut rest)?,
        }),
        _ => return None,
    };
    let append = DecisionAppend { log, decision, record, ledger, closes_at, request, document: None, salt };
    rest.is_empty().then_some(Spooled { append, claim_in })
}

fn take<const LENGTH: usize>(rest: &mut &[u8]) -> Option<[u8; LENGTH]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

fn take_log(rest: &mut &[u8]) -> Option<LogId> {
    let (placement, partition) = (u16::from_le_bytes(take(rest)?), u16::from_le_bytes(take(rest)?));
    Some(LogId { placement, partition })
}

fn take_instant(rest: &mut &[u8]) -> Option<Instant> {
    Some(Instant::from_ms(i64::from_le_bytes(take(rest)?)))
}

fn take_part(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken.to_vec())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A decision that differs from those with other numbers; odd ones have a mark, every third a claim.
    pub(in crate::store::spool) fn spooled(number: u8) -> Spooled {
        let log = LogId { placement: 7, partition: u16::from(number % 2) };
        let request = (number % 2 == 1).then(|| RequestMark {
            key: [number; 32],
            fingerprint: [number ^ 0xff; 32],
            marked_at: Instant::from_ms(5),
            expires_at: Instant::from_ms(500),
        });
        let (record, ledger) = (vec![number; usize::from(number) * 3], vec![number; 4]);
        let closes_at = Instant::from_ms(i64::from(number) - 100);
        let (made_at, expires_at) = (Instant::from_ms(7), Instant::from_ms(700));
        let owned = OwnedSalt { owner: [number; 16], salt: [number ^ 0xff; 16], made_at, expires_at };
        let salt = (number % 5 < 3).then_some(owned);
        let decision = [number; 20];
        let append = DecisionAppend { log, decision, record, ledger, closes_at, request, document: None, salt };
        Spooled { append, claim_in: number.is_multiple_of(3).then_some(LogId { placement: 7, partition: 9 }) }
    }

    #[test]
    fn a_frame_gives_back_what_it_was_made_of() {
        for number in 0..12 {
            let frame = encode(&spooled(number));
            let (content, length) = unframe(&frame).unwrap();
            assert_eq!((length, decode(content)), (frame.len(), Some(spooled(number))));
        }
    }

    #[test]
    fn a_frame_that_was_cut_off_anywhere_is_incomplete() {
        let frame = encode(&spooled(3));
        for length in 0..frame.len() {
            assert_eq!(unframe(&frame[..length]), Err(NoFrame::Incomplete), "{length}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let frame = encode(&spooled(3));
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unframe(&flipped).is_err(), "{bit}");
        }
    }

    #[test]
    fn content_with_something_after_it_or_of_another_version_is_not_decoded() {
        let content = encode_content(&spooled(3));
        assert_eq!(decode(&[&content[..], &[0]].concat()), None);
        assert_eq!(decode(&[&[VERSION + 1], &content[1..]].concat()), None);
        assert!((0..content.len()).all(|length| decode(&content[..length]).is_none()));
    }
}
