//! Answers of servers to Rust's types; names the key where an answer cannot be what was written.

use super::errors::{answer, corrupt};
use crate::{
    engine::instant::Instant,
    store::{
        AppendOutcome, DecisionKey, LogId, Result, StoreError, StoredCatalog, StoredDecision, StoredDocument,
        StoredStatistics,
    },
};
use data_encoding::HEXLOWER;
use redis::Value;
use std::{collections::BTreeMap, fmt::Display, sync::Arc};

/// The version that stands before every packed value.
const PACKED_VERSION: u8 = 1;

/// Bytes before the ledger: version, offset, sequence, closed, closing time.
const DECISION_HEAD: usize = 22;

/// Bytes before a document's content: the packed version, the document's own.
const DOCUMENT_HEAD: usize = 9;

/// Version, expiry and fingerprint of a mark; a decision follows unless it is a claim.
const CLAIM_BYTES: usize = 41;
const MARK_BYTES: usize = CLAIM_BYTES + 20;

/// Bytes, or `None` for nil.
pub(super) fn bytes(value: Value, what: impl Display) -> Result<Option<Vec<u8>>> {
    match answer(value)? {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) => Ok(Some(text.into_bytes())),
        other => Err(unexpected(&other, what)),
    }
}

/// A number.
pub(super) fn number(value: Value, what: impl Display) -> Result<i64> {
    match answer(value)? {
        Value::Int(number) => Ok(number),
        other => Err(unexpected(&other, what)),
    }
}

/// A number that is never negative.
pub(super) fn count(value: Value, what: impl Display) -> Result<u64> {
    let number = number(value, &what)?;
    u64::try_from(number).map_err(|_| corrupt(format!("{what}: the number {number}")))
}

/// A list; nil counts as empty.
pub(super) fn list(value: Value, what: impl Display) -> Result<Vec<Value>> {
    match answer(value)? {
        Value::Array(values) | Value::Set(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        other => Err(unexpected(&other, what)),
    }
}

/// A hash as fields and values.
pub(super) fn fields(value: Value, what: impl Display) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let pairs = match answer(value)? {
        Value::Map(pairs) => pairs,
        other => {
            let mut flat = list(other, &what)?.into_iter();
            std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
        }
    };
    let text = |value| bytes(value, &what)?.ok_or_else(|| corrupt(format!("{what}: a field without a value")));
    pairs.into_iter().map(|(field, value)| Ok((text(field)?, text(value)?))).collect()
}

/// What became of an append.
pub(super) fn append_outcome(value: Value) -> Result<AppendOutcome> {
    let what = "the append of a decision";
    match answer(value)? {
        Value::Int(-1) => Ok(AppendOutcome::DocumentMoved),
        offset @ Value::Int(_) => Ok(AppendOutcome::Appended { offset: count(offset, what)? }),
        Value::BulkString(bytes) if bytes.len() == 52 => {
            let (decision, fingerprint) = bytes.split_at(20);
            Ok(AppendOutcome::Repeated { decision: fixed(decision, what)?, fingerprint: fixed(fingerprint, what)? })
        }
        Value::BulkString(bytes) => Ok(AppendOutcome::Claimed { fingerprint: fixed(&bytes, what)? }),
        other => Err(unexpected(&other, what)),
    }
}

/// What became of each of as many appends as one call made.
pub(super) fn append_outcomes(value: Value, count: usize) -> Result<Vec<Result<AppendOutcome>>> {
    let what = "the append of decisions";
    let outcomes = match value {
        Value::Array(offsets) => {
            let appended = |offset| Ok(AppendOutcome::Appended { offset: self::count(offset, what)? });
            offsets.into_iter().map(appended).collect::<Vec<_>>()
        }
        of_one => vec![Ok(append_outcome(of_one)?)],
    };
    let answered = outcomes.len();
    if answered == count { Ok(outcomes) } else { Err(corrupt(format!("{what}: {answered} answers to {count}"))) }
}

/// A decision and its record, as the script answers them.
pub(super) fn decision(value: Value, key: &DecisionKey) -> Result<Option<StoredDecision>> {
    let what = || format!("decision {}", HEXLOWER.encode(key));
    let mut parts = list(value, what())?.into_iter();
    let (Some(packed), Some(record), Some(salt)) = (parts.next(), parts.next(), parts.next()) else { return Ok(None) };
    let packed = bytes(packed, what())?.unwrap_or_default();
    if packed.len() < DECISION_HEAD || packed[0] != PACKED_VERSION {
        return Err(corrupt(format!("{}: {} bytes that this release did not write", what(), packed.len())));
    }
    let offset = u64::from_be_bytes(fixed(&packed[1..9], what())?);
    let sequence = u32::from_be_bytes(fixed(&packed[9..13], what())?);
    let record = bytes(record, what())?
        .ok_or_else(|| corrupt(format!("{}: its record at offset {offset} is missing", what())))?;
    let salt = bytes(salt, what())?.map(|salt| fixed(&salt, what())).transpose()?;
    Ok(Some(StoredDecision { offset, record: record.into(), sequence, ledger: packed[DECISION_HEAD..].to_vec(), salt }))
}

/// What a mark answers at `now`; `None` for a claim, and for what has expired.
pub(super) fn answered(value: Value, key: &[u8; 32], now: Instant) -> Result<Option<AppendOutcome>> {
    let what = || format!("the mark of request {}", HEXLOWER.encode(key));
    let Some(mark) = bytes(value, what())? else { return Ok(None) };
    if !matches!(mark.len(), CLAIM_BYTES | MARK_BYTES) || mark[0] != PACKED_VERSION {
        return Err(corrupt(format!("{}: {} bytes that this release did not write", what(), mark.len())));
    }
    let expires_at = i64::from_be_bytes(fixed(&mark[1..9], what())?);
    if mark.len() == CLAIM_BYTES || expires_at <= now.as_ms() {
        return Ok(None);
    }
    let fingerprint = fixed(&mark[9..CLAIM_BYTES], what())?;
    Ok(Some(AppendOutcome::Repeated { decision: fixed(&mark[CLAIM_BYTES..], what())?, fingerprint }))
}

/// A document; `None` where there is none.
pub(super) fn document(value: Value, what: impl Display) -> Result<Option<StoredDocument>> {
    let Some(packed) = bytes(value, &what)? else { return Ok(None) };
    let Some((&[PACKED_VERSION, ref version @ ..], content)) = packed.split_first_chunk::<DOCUMENT_HEAD>() else {
        return Err(corrupt(format!("{what}: {} bytes that this release did not write", packed.len())));
    };
    Ok(Some(StoredDocument { version: u64::from_be_bytes(fixed(version, &what)?), content: content.to_vec() }))
}

/// Records of a log, which must be those from `offset` on.
pub(super) fn records(value: Value, log: LogId, offset: u64) -> Result<Vec<Arc<[u8]>>> {
    let what = format!("the log of placement {} partition {}", log.placement, log.partition);
    let mut flat = list(value, &what)?.into_iter();
    let mut records = Vec::with_capacity(flat.len() / 2);
    for expected in offset.. {
        let (Some(id), Some(record)) = (flat.next(), flat.next()) else { break };
        let id = bytes(id, &what)?.unwrap_or_default();
        if entry_offset(&id) != Some(expected) {
            let found = String::from_utf8_lossy(&id).into_owned();
            return Err(corrupt(format!("{what}: offset {expected} is missing before entry {found}")));
        }
        let record = bytes(record, &what)?;
        records.push(record.ok_or_else(|| corrupt(format!("{what}: no record at {expected}")))?.into());
    }
    Ok(records)
}

/// The offset of a stream's entry, whose id is `0-` and one more.
fn entry_offset(id: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(id.strip_prefix(b"0-")?).ok()?;
    number.parse::<u64>().ok()?.checked_sub(1)
}

/// The statistics of a model, arms in order.
pub(super) fn statistics(value: Value, what: impl Display) -> Result<StoredStatistics> {
    let mut fields = fields(value, &what)?;
    if fields.is_empty() {
        return Ok(StoredStatistics::default());
    }
    let offset = decimal(&mut fields, "offset", &what)?;
    let token = decimal(&mut fields, "token", &what)?;
    let shared = fields.remove(b"shared".as_slice()).ok_or_else(|| corrupt(format!("{what}: no field shared")))?;
    let arm = |(field, statistics): (Vec<u8>, Vec<u8>)| {
        let name = field.strip_prefix(b"arm:".as_slice()).and_then(|name| std::str::from_utf8(name).ok());
        let name = name.ok_or_else(|| corrupt(format!("{what}: a field that is no arm")))?;
        Ok((name.to_owned(), statistics))
    };
    Ok(StoredStatistics { offset, token, shared, arms: fields.into_iter().map(arm).collect::<Result<_>>()? })
}

/// A catalog revision; `None` where there is none.
pub(super) fn catalog(value: Value, revision: u64) -> Result<Option<StoredCatalog>> {
    let what = format!("catalog revision {revision}");
    let mut fields = fields(value, &what)?;
    if fields.is_empty() {
        return Ok(None);
    }
    let applied_at = decimal(&mut fields, "applied_at", &what)?;
    let mut field =
        |name: &str| fields.remove(name.as_bytes()).ok_or_else(|| corrupt(format!("{what}: no field {name}")));
    let (reason, catalog, placements) = (field("reason")?, field("catalog")?, field("placements")?);
    Ok(Some(StoredCatalog {
        revision,
        applied_at: Instant::from_ms(applied_at),
        reason: String::from_utf8(reason).map_err(|error| corrupt(format!("{what}: {error}")))?,
        catalog,
        placement_numbers: serde_json::from_slice(&placements).map_err(|error| corrupt(format!("{what}: {error}")))?,
    }))
}

/// Bytes that can only have one length.
pub(super) fn fixed<const N: usize>(bytes: &[u8], what: impl Display) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| corrupt(format!("{what}: {} bytes where there are always {N}", bytes.len())))
}

fn decimal<T: std::str::FromStr>(fields: &mut BTreeMap<Vec<u8>, Vec<u8>>, name: &str, what: impl Display) -> Result<T> {
    let text = fields.remove(name.as_bytes()).unwrap_or_default();
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| corrupt(format!("{what}: field {name} is no number")))
}

fn unexpected(value: &Value, what: impl Display) -> StoreError {
    let kind = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) => "a string",
        Value::Array(_) | Value::Set(_) => "a list",
        Value::Map(_) => "a map",
        _ => "something else",
    };
    corrupt(format!("{what}: {kind} where something else is always answered"))
}
