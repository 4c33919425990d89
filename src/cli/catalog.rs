//! `offer-ranker catalog`: check a file, apply it to a running server.

use super::client::{ClientError, LONG_CALL_TIMEOUT, TargetArgs};
use crate::{
    catalog::{self, Problems},
    clock::{Clock as _, SystemClock},
    proto::{ApplyCatalogRequest, catalog_service_client::CatalogServiceClient},
};
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// Check and apply catalog files
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say everything that is wrong with a catalog file, with lines
    Check {
        /// Catalog file
        file: PathBuf,
    },
    /// Make a catalog file the one that a running server serves
    Apply {
        /// Catalog file
        file: PathBuf,
        /// Why, for the history
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// Replace only the catalog with this etag; default: whatever serves
        #[arg(long, value_name = "ETAG", default_value = "")]
        etag: String,
        /// Let the server check the file, and change nothing
        #[arg(long)]
        validate_only: bool,
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// Why a catalog file could not be checked or applied.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file is not valid.
    #[error("{0}")]
    Invalid(Problems),
    /// The server did not take it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer could not be written.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
}

/// Checks or applies.
///
/// # Errors
/// Everything that is wrong with the file, or what the server says.
pub async fn run(args: Args, out: &mut impl Write) -> Result<(), CatalogError> {
    match args.command {
        Command::Check { file } => {
            let loaded = catalog::load(&file).map_err(CatalogError::Invalid)?;
            let warnings = loaded.warnings_at(SystemClock.now());
            if !warnings.is_empty() {
                writeln!(out, "{warnings}")?;
            }
            let (offers, placements) = (loaded.catalog.offers.len(), loaded.catalog.placements.len());
            writeln!(out, "{} is valid: {offers} offers, {placements} placements", file.display())?;
        }
        Command::Apply { file, reason, etag, validate_only, target } => {
            let loaded = catalog::load(&file).map_err(CatalogError::Invalid)?;
            let request = ApplyCatalogRequest { catalog: Some(loaded.declared), etag, validate_only, reason };
            let mut client = CatalogServiceClient::new(target.connect_for(LONG_CALL_TIMEOUT).await?);
            let applied =
                client.apply_catalog(request).await.map_err(ClientError::refused("ApplyCatalog"))?.into_inner();
            for warning in &applied.warnings {
                writeln!(out, "warning: {}: {}", warning.field, warning.description)?;
            }
            let verb = if validate_only { "is valid; serving stays" } else { "serves as" };
            writeln!(
                out,
                "{} {verb} revision {}, etag of the file {}",
                file.display(),
                applied.revision,
                applied.etag
            )?;
        }
    }
    Ok(())
}
