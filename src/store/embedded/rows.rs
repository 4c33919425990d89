//! Between Rust's types and what a row holds; names table and key where a row cannot be what was written.

use crate::store::{LogId, Result, StoreError};
use data_encoding::HEXLOWER;
use rusqlite::{Error, ErrorCode};
use std::fmt::Display;

/// Sorts SQLite's errors into those that may pass and those that will not.
impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let lasting = match &error {
            Error::SqliteFailure(failure, _) => matches!(
                failure.code,
                ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::ConstraintViolation
                    | ErrorCode::TypeMismatch
            ),
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..)
            | Error::SqlInputError { .. } => true,
            _ => false,
        };
        let reason = error.to_string();
        if lasting { Self::Corrupt { reason } } else { Self::Unavailable { reason } }
    }
}

/// What is wrong with the row of `table` under `key`.
pub(super) fn corrupt(table: &str, key: impl Display, found: impl Display) -> StoreError {
    StoreError::Corrupt { reason: format!("table {table}, key {key}: {found}") }
}

/// Bytes that can only have one length.
pub(super) fn fixed<const N: usize>(bytes: &[u8], table: &str, key: impl Display) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| corrupt(table, key, format!("{} bytes where there are always {N}", bytes.len())))
}

/// A number of the type that was written.
pub(super) fn number<T: TryFrom<i64>>(value: i64, table: &str, key: impl Display) -> Result<T> {
    T::try_from(value).map_err(|_| corrupt(table, key, format!("the number {value}, which was never written")))
}

/// A number as SQLite keeps it: with a sign.
pub(super) fn signed(what: &str, value: u64) -> Result<i64> {
    i64::try_from(value)
        .map_err(|_| StoreError::Refused { reason: format!("{what} {value}; at most {} is accepted", i64::MAX) })
}

/// A limit as SQLite takes it; what is beyond its numbers is no limit.
pub(super) fn limit(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A decision's id for people.
pub(super) fn hex(key: &[u8]) -> String {
    HEXLOWER.encode(key)
}

/// A log's name for people.
pub(super) fn name(log: LogId) -> String {
    format!("placement {} partition {}", log.placement, log.partition)
}
