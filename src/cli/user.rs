//! `offer-ranker user`: what operators do with what is kept of one user.

use super::client::{ClientError, LONG_CALL_TIMEOUT, TargetArgs};
use crate::proto::{ForgetUserRequest, LinkUnitRequest, user_service_client::UserServiceClient};
use std::io::Write;

/// Forget what is kept of a user, or let one go on from a device
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Forget what is kept of a user, everywhere
    Forget {
        /// The user, as Rank names it
        user_id: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Let a user go on from a device, as a login does
    Link {
        /// The device, as Rank's unit_id named it
        unit_id: String,
        /// The user, as Rank names it
        user_id: String,
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// Forgets or links.
///
/// # Errors
/// What the server says.
pub async fn run(args: Args, out: &mut impl Write) -> Result<(), ClientError> {
    match args.command {
        Command::Forget { user_id, target } => {
            let mut client = UserServiceClient::new(target.connect_for(LONG_CALL_TIMEOUT).await?);
            let forgotten = client.forget_user(ForgetUserRequest { user_id }).await;
            let forgotten = forgotten.map_err(ClientError::refused("ForgetUser"))?.into_inner();
            let (documents, decisions) = (forgotten.documents, forgotten.decisions);
            writeln!(out, "{documents} documents were removed, {decisions} decisions are nobody's any more")?;
        }
        Command::Link { unit_id, user_id, target } => {
            let mut client = UserServiceClient::new(target.connect().await?);
            client.link_unit(LinkUnitRequest { unit_id, user_id }).await.map_err(ClientError::refused("LinkUnit"))?;
            writeln!(out, "the user goes on from the device")?;
        }
    }
    Ok(())
}
