//! `offer-ranker health`: asks a running server whether it serves, for whoever has nothing else to ask with.

use super::client::{ClientError, TargetArgs};
use std::io::Write;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// Ask a running server whether it serves; fails where it does not
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: TargetArgs,
}

/// Asks once.
///
/// # Errors
/// Where nobody answers, and where the answer is anything but yes.
pub async fn run(args: Args, out: &mut impl Write) -> Result<(), ClientError> {
    let mut health = HealthClient::new(args.target.connect().await?);
    let answer = health.check(HealthCheckRequest::default()).await.map_err(ClientError::refused("Check"))?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(writeln!(out, "serving")?),
        status => Err(ClientError::usage(format!("the server says {}", status.as_str_name()))),
    }
}
