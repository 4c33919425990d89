//! What Redis and its driver say, in the words of [`StoreError`].

use crate::store::{Result, StoreError};
use redis::{ErrorKind, RedisError};

/// What a failed call of a running store means, with what to do about it.
pub(super) fn store_error(error: &RedisError) -> StoreError {
    let unavailable = |advice: &str| StoreError::Unavailable { reason: format!("{}; {advice}", said(error)) };
    match error.code() {
        Some("WRONGTYPE" | "CORRUPT") => corrupt(said(error)),
        Some("LOADING") => unavailable("it is reading its data after a start and will answer when it has"),
        Some("READONLY") => unavailable("it is a replica now; its new primary is looked for with the next call"),
        Some("MISCONF") => unavailable("it cannot save to its disk: look at its log, and free space there"),
        Some("OOM") => unavailable("its memory is full: raise maxmemory, or see docs/redis.md for what takes it"),
        Some("NOREPLICAS") => unavailable("fewer replicas are connected than min-replicas-to-write asks for"),
        Some("CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK") => {
            unavailable("the cluster is moving slots or has lost a node; see redis-cli --cluster check")
        }
        Some("NOPERM") => StoreError::Refused {
            reason: format!("{}; docs/redis.md has the ACL rule that its user needs", said(error)),
        },
        Some("NOAUTH" | "WRONGPASS") => unavailable("its password has changed: start again with the new one"),
        _ if matches!(error.kind(), ErrorKind::UnexpectedReturnType | ErrorKind::Parse) => corrupt(said(error)),
        _ if error.is_timeout() => unavailable("it did not answer in time: is it overloaded, or cut off?"),
        _ if error.is_io_error() || error.kind() == ErrorKind::ClusterConnectionNotFound => {
            unavailable("the connection is lost and is made again with the next call")
        }
        _ => StoreError::Unavailable { reason: said(error) },
    }
}

/// Why a store could not be opened. What may pass by itself stays what it is.
pub(super) fn open_error(location: &str, error: &RedisError) -> StoreError {
    let open = |reason: String| StoreError::Open { location: location.to_owned(), reason };
    match error.code() {
        Some("NOPERM") => open(format!("{}; docs/redis.md has the ACL rule that its user needs", said(error))),
        Some("NOAUTH" | "WRONGPASS") => open("user or password are wrong, or missing from the address".to_owned()),
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            open("user or password are wrong, or missing from the address".to_owned())
        }
        _ if error.is_io_error() => {
            open(format!("{}; is Redis running there, and is TLS (rediss://) right for it?", said(error)))
        }
        _ => open(said(error)),
    }
}

/// What is stored under a key and cannot be.
pub(super) fn corrupt(reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt { reason: reason.into() }
}

/// An error with everything that caused it, on one line.
fn said(error: &RedisError) -> String {
    error.to_string().replace(['\r', '\n'], " ")
}

/// An answer, or the server's error in its place.
pub(super) fn answer(value: redis::Value) -> Result<redis::Value> {
    match value {
        redis::Value::ServerError(error) => Err(store_error(&RedisError::from(error))),
        value => Ok(value),
    }
}
