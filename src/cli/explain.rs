//! `offer-ranker explain`: why a decision came out as it did.

use super::{
    client::{ClientError, TargetArgs},
    rank::print_answer,
};
use crate::proto::{ExplainDecisionRequest, insight_service_client::InsightServiceClient, shown::to_json};
use std::io::Write;

/// Explain a logged decision
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The decision, by the id that Rank returned
    decision_id: String,
    /// Print the answer as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Asks and prints.
///
/// # Errors
/// When the server is not there, or does not know the decision.
pub async fn run(args: Args, out: &mut impl Write) -> Result<(), ClientError> {
    let mut client = InsightServiceClient::new(args.target.connect().await?);
    let request = ExplainDecisionRequest { decision_id: args.decision_id };
    let answer = client.explain_decision(request).await.map_err(ClientError::refused("ExplainDecision"))?.into_inner();
    if args.json {
        writeln!(out, "{:#}", to_json("ExplainDecisionResponse", &answer))?;
        return Ok(());
    }
    print_answer(&answer.decision.unwrap_or_default(), out)
}
