//! `redis://[user[:password]@]host[:port][/db][?prefix=..][&tls_ca=..]`: where a Redis is, and how to reach it.
//!
//! **Invariant:** the password is in nothing that is printed: not in `Display`, not in `Debug`, not in an error.

use super::errors::open_error;
use crate::store::{Result, StoreError};
use redis::{IntoConnectionInfo as _, TlsCertificates};
use std::{fmt, fs, path::PathBuf, str::FromStr};

/// The prefix of all keys where the address names none. Its number is the version of their layout.
pub const PREFIX_DEFAULT: &str = "or1";

/// Longest prefix.
const PREFIX_BYTES_MAX: usize = 32;

/// The address of a Redis server, or of any node of a Cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// With the password, without what is ours.
    target: String,
    /// Without the password.
    shown: String,
    prefix: String,
    tls_ca: Option<PathBuf>,
}

/// Not the address of a Redis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; an address is redis://[user:password@]host[:port][/db][?prefix=NAME], rediss:// for TLS")]
pub struct RedisUrlError {
    /// What is wrong with it; never the address itself, which may hold a password.
    reason: String,
}

impl RedisUrl {
    /// What all keys begin with: `a-z`, `0-9`, `-` and `_`, at most 32 of them.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How to connect.
    pub(super) fn connection_info(&self) -> Result<redis::ConnectionInfo> {
        self.target.as_str().into_connection_info().map_err(|error| open_error(&self.shown, &error))
    }

    /// The certificate authority that signs the server's certificate, where it is not one of the system's.
    pub(super) fn certificates(&self) -> Result<Option<TlsCertificates>> {
        let Some(path) = &self.tls_ca else { return Ok(None) };
        let root_cert = fs::read(path).map_err(|error| StoreError::Open {
            location: self.shown.clone(),
            reason: format!("tls_ca {} cannot be read: {error}", path.display()),
        })?;
        Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) }))
    }
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(given: &str) -> Result<Self, RedisUrlError> {
        let wrong = |reason: &str| RedisUrlError { reason: reason.to_owned() };
        let mut url = redis::parse_redis_url(given).ok_or_else(|| wrong("it is no address of a Redis"))?;
        if !matches!(url.scheme(), "redis" | "rediss") {
            return Err(wrong("its scheme is neither redis nor rediss"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("it names no host"));
        }
        if url.fragment().is_some() {
            return Err(wrong("it has a part after #, which means nothing here; write # as %23 in a password"));
        }
        if url.query().is_some_and(|query| query.contains('@')) {
            // The rest of a password, which no message may show.
            return Err(wrong("it has an @ after ?; write ? as %3F in a password"));
        }
        let mut prefix = PREFIX_DEFAULT.to_owned();
        let mut tls_ca = None;
        for (name, value) in url.query_pairs() {
            match &*name {
                "prefix" if is_prefix(&value) => prefix = value.into_owned(),
                "prefix" => {
                    return Err(wrong(&format!("its prefix {value:?} is not 1 to 32 of a-z, 0-9, - and _")));
                }
                "tls_ca" if url.scheme() == "rediss" && !value.is_empty() => tls_ca = Some(value.as_ref().into()),
                "tls_ca" => return Err(wrong("tls_ca is the path of a PEM file, and goes with rediss://")),
                _ => return Err(wrong(&format!("it sets {name:?}, but only prefix and tls_ca can be set"))),
            }
        }
        let mut public = url.clone();
        // Neither can fail where there is a host.
        if url.password().is_some() {
            let _ = public.set_password(None);
        }
        url.set_query(None);
        url.as_str().into_connection_info().map_err(|_| wrong("its database is not a number"))?;
        Ok(Self { target: url.into(), shown: public.into(), prefix, tls_ca })
    }
}

fn is_prefix(text: &str) -> bool {
    let fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    (1..=PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(fit)
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_shown() {
        let url: RedisUrl = "redis://anna:s3cret%23@host:7000/2?prefix=shop-a".parse().unwrap();
        assert_eq!(url.to_string(), "redis://anna@host:7000/2?prefix=shop-a");
        assert_eq!(format!("{url:?}"), "RedisUrl(redis://anna@host:7000/2?prefix=shop-a)");
        assert_eq!(url.prefix(), "shop-a");
        assert_eq!(url.connection_info().unwrap().redis_settings().password(), Some("s3cret#"));
        let nameless: RedisUrl = "redis://:s3cret@host".parse().unwrap();
        assert!(!nameless.to_string().contains("s3cret"));
        assert_eq!(nameless.prefix(), PREFIX_DEFAULT);
    }

    #[test]
    fn what_is_no_address_is_refused_by_reason_without_its_password() {
        for (given, says) in [
            ("", "no address"),
            ("redis//s3cret", "no address"),
            ("http://s3cret@host", "no address"),
            ("valkey://:s3cret@host", "neither redis nor rediss"),
            ("redis://:s3cret@host/x", "not a number"),
            ("redis://:s3cret@host#insecure", "after #"),
            ("redis://:s3cret@host?prefix=", "prefix \"\""),
            ("redis://:s3cret@host?prefix={x}", "prefix \"{x}\""),
            ("redis://:s3cret@host?protocol=resp3", "\"protocol\""),
            ("redis://:s3cret@host?tls_ca=/ca.pem", "goes with rediss"),
            ("redis://anna:12?s3cret@host", "write ? as %3F"),
        ] {
            let error = given.parse::<RedisUrl>().unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("s3cret"), "{given}: {error}");
        }
    }
}
