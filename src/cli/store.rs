//! `--store`: where the state lives, as a flag of several subcommands.

use std::{path::PathBuf, str::FromStr};

/// A store by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// One file on this machine.
    Embedded(PathBuf),
}

/// Not the address of a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is no store, must be embedded:PATH, such as embedded:./data/offer-ranker.db")]
pub struct StoreAddressError {
    /// As given.
    given: String,
}

impl FromStr for StoreAddress {
    type Err = StoreAddressError;

    fn from_str(given: &str) -> Result<Self, StoreAddressError> {
        match given.strip_prefix("embedded:") {
            Some(path) if !path.is_empty() => Ok(Self::Embedded(path.into())),
            _ => Err(StoreAddressError { given: given.to_owned() }),
        }
    }
}

/// Where the state lives.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreArgs {
    /// Where the state lives: embedded:PATH is one file, created where there is none
    #[arg(long, env = "OFFER_RANKER_STORE", value_name = "ADDRESS", default_value = "embedded:./data/offer-ranker.db")]
    pub store: StoreAddress,
}
