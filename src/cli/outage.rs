//! What `serve` does while the store is away, as flags.

use crate::store::{
    StoreError,
    spool::{SPOOL_BYTES_MIN, Spool},
};
use std::{path::PathBuf, time::Duration};

/// How old a decision that is not stored may be before it counts as unknown, in seconds.
const NOT_YET_S: u32 = 60;
/// The same where decisions may wait in a spool.
const NOT_YET_SPOOLED_S: u32 = 60 * 60;

/// Flags of `serve` for when the store is away.
#[derive(Clone, Debug, clap::Args)]
pub struct OutageArgs {
    /// How long a Rank waits for the store before it is answered without it, in milliseconds: well below the deadline
    /// of its callers
    #[arg(long, env = "OFFER_RANKER_APPEND_TIMEOUT_MS", value_name = "MS", default_value_t = 250,
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    append_timeout_ms: u64,
    /// Folder where decisions are kept while the store is away, until it is back; every server needs one of its own,
    /// which it finds again after a restart. Without it, answers are not logged meanwhile
    #[arg(long, env = "OFFER_RANKER_SPOOL", value_name = "FOLDER")]
    spool: Option<PathBuf>,
    /// With --spool: the bytes that it has at most; when it is full, answers are not logged
    #[arg(long, env = "OFFER_RANKER_SPOOL_BYTES", value_name = "BYTES", default_value_t = 256 << 20,
          value_parser = clap::value_parser!(u64).range(SPOOL_BYTES_MIN..))]
    spool_bytes: u64,
    /// How old a decision that is not stored may be before reports on it are answered UNKNOWN_DECISION instead of
    /// NOT_YET, in seconds; default: 60, or an hour with --spool. Longer than outages and restarts of servers take,
    /// since nobody but the server that spooled a decision knows of it until then
    #[arg(long, env = "OFFER_RANKER_NOT_YET_S", value_name = "S",
          value_parser = clap::value_parser!(u32).range(1..=30 * 24 * 60 * 60))]
    not_yet_s: Option<u32>,
}

impl OutageArgs {
    /// How long a Rank waits for the store.
    pub(super) fn append_timeout(&self) -> Duration {
        Duration::from_millis(self.append_timeout_ms)
    }

    /// How old a decision that is not stored may be before it counts as unknown, in seconds.
    pub(super) fn not_yet_s(&self) -> u32 {
        self.not_yet_s.unwrap_or(if self.spool.is_some() { NOT_YET_SPOOLED_S } else { NOT_YET_S })
    }

    /// The spool, if there is to be one, for the store with this epoch.
    pub(super) fn open_spool(&self, epoch: [u8; 16]) -> Result<Option<Spool>, StoreError> {
        self.spool.as_deref().map(|folder| Spool::open(folder, self.spool_bytes, epoch)).transpose()
    }
}
