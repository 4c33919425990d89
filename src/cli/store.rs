//! `--store`: where the state lives, as a flag of several subcommands.

use crate::store::{
    Store, StoreError,
    embedded::EmbeddedStore,
    redis::{RedisStore, RedisUrl},
};
use clap::{builder::TypedValueParser, error::ErrorKind};
use std::{ffi::OsStr, fmt, path::PathBuf, str::FromStr, sync::Arc};

/// A store by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// One file on this machine.
    Embedded(PathBuf),
    /// A Redis server or a Cluster.
    Redis(RedisUrl),
}

impl StoreAddress {
    /// Opens the store for serving, and makes it where there is none; `entropy` becomes what a new store is known by.
    ///
    /// # Errors
    /// Where it is not there, is not usable, or is in use.
    pub async fn open(&self, entropy: [u8; 48]) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::Embedded(path) => Arc::new(EmbeddedStore::open(path, entropy)?),
            Self::Redis(url) => Arc::new(RedisStore::open(url, entropy).await?),
        })
    }

    /// Opens the store for reading, also while a server serves it.
    ///
    /// # Errors
    /// Where it is not there, or is not usable.
    pub async fn open_read_only(&self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::Embedded(path) => Arc::new(EmbeddedStore::open_read_only(path)?),
            Self::Redis(url) => Arc::new(RedisStore::open_read_only(url).await?),
        })
    }
}

/// As it may be printed: without a password.
impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(path) => path.display().fmt(f),
            Self::Redis(url) => url.fmt(f),
        }
    }
}

/// Not the address of a store. What was given is not in it where it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StoreAddressError {
    /// What is wrong, and what is accepted.
    reason: String,
}

impl FromStr for StoreAddress {
    type Err = StoreAddressError;

    fn from_str(given: &str) -> Result<Self, StoreAddressError> {
        let wrong = |reason| Err(StoreAddressError { reason });
        match given.split_once(':') {
            Some(("embedded", path)) if !path.is_empty() => Ok(Self::Embedded(path.into())),
            Some(("redis" | "rediss", _)) => {
                given.parse().map(Self::Redis).or_else(|error| wrong(format!("this is no Redis: {error}")))
            }
            // It has the shape of an address with a password.
            _ if given.contains('@') => wrong("this is no store, must be embedded:PATH or redis://HOST".to_owned()),
            _ => wrong(format!(
                "\"{given}\" is no store, must be embedded:PATH, such as embedded:./data/offer-ranker.db, or \
                 redis://HOST, such as redis://127.0.0.1:6379"
            )),
        }
    }
}

/// Parses the flag. Other than clap's own, it does not repeat what was given, which may hold a password.
#[derive(Clone, Copy, Debug)]
struct StoreAddressParser;

impl TypedValueParser for StoreAddressParser {
    type Value = StoreAddress;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _argument: Option<&clap::Arg>,
        given: &OsStr,
    ) -> Result<StoreAddress, clap::Error> {
        let parsed = given.to_str().map(StoreAddress::from_str).unwrap_or_else(|| {
            Err(StoreAddressError { reason: "this is no store, because it is not UTF-8".to_owned() })
        });
        let refused = |error| clap::Error::raw(ErrorKind::ValueValidation, format!("--store: {error}\n"));
        parsed.map_err(|error| refused(error).with_cmd(command))
    }
}

/// Where the state lives.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreArgs {
    /// Where the state lives: embedded:PATH is one file, created where there is none;
    /// `redis://[user:password@]host[:port][/db][?prefix=NAME]` is a Redis or Valkey server, or any node of a Cluster
    /// (rediss:// for TLS)
    #[arg(
        long,
        env = "OFFER_RANKER_STORE",
        hide_env_values = true,
        value_parser = StoreAddressParser,
        value_name = "ADDRESS",
        default_value = "embedded:./data/offer-ranker.db"
    )]
    pub store: StoreAddress,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_told_by_their_scheme() {
        assert_eq!("embedded:a:b.db".parse(), Ok(StoreAddress::Embedded("a:b.db".into())));
        let redis: StoreAddress = "rediss://u:s3cret@host:1".parse().unwrap();
        assert_eq!(redis.to_string(), "rediss://u@host:1");
        for given in ["", "embedded:", "sqlite:x", "redis", "redis:x", "redsi://u:s3cret@host", "redis://:s3cret@h/x"] {
            let error = given.parse::<StoreAddress>().unwrap_err().to_string();
            assert!(error.contains("redis://") && !error.contains("s3cret"), "{given}: {error}");
        }
    }
}
