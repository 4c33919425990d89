//! Bare transport: a tonic server of the same messages that decides nothing and stores nothing.

use offer_ranker::proto::{
    self, FeedbackResult, RankResponse,
    feedback_service_server::{FeedbackService, FeedbackServiceServer},
    ranking_service_server::{RankingService, RankingServiceServer},
};
use prost::Message as _;
use std::{fs, io::Write as _, path::PathBuf, sync::Arc};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::Server};

/// Answer every Rank with one stored answer, and every outcome with RECORDED
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The answer to every Rank, an encoded RankResponse
    #[arg(long, value_name = "FILE")]
    answer: PathBuf,
}

#[derive(Clone)]
struct Echo {
    answer: Arc<RankResponse>,
}

/// Serves on one thread until it is killed.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let answer = Arc::new(RankResponse::decode(fs::read(&args.answer)?.as_slice())?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut out = std::io::stdout();
        writeln!(out, "echo listens on {}", listener.local_addr()?)?;
        out.flush()?;
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let echo = Echo { answer };
        Server::builder()
            .add_service(RankingServiceServer::new(echo.clone()))
            .add_service(FeedbackServiceServer::new(echo))
            .serve_with_incoming(incoming)
            .await?;
        Ok(())
    })
}

#[tonic::async_trait]
impl RankingService for Echo {
    async fn rank(&self, request: Request<proto::RankRequest>) -> Result<Response<RankResponse>, Status> {
        drop(request.into_inner());
        Ok(Response::new((*self.answer).clone()))
    }

    async fn get_decision(
        &self,
        _: Request<proto::GetDecisionRequest>,
    ) -> Result<Response<proto::GetDecisionResponse>, Status> {
        Err(Status::unimplemented("there are no decisions here"))
    }
}

#[tonic::async_trait]
impl FeedbackService for Echo {
    async fn record_outcomes(
        &self,
        request: Request<proto::RecordOutcomesRequest>,
    ) -> Result<Response<proto::RecordOutcomesResponse>, Status> {
        let result = FeedbackResult { code: proto::FeedbackCode::Recorded.into(), message: String::new() };
        let results = vec![result; request.into_inner().outcomes.len()];
        Ok(Response::new(proto::RecordOutcomesResponse { results }))
    }

    async fn record_exposures(
        &self,
        _: Request<proto::RecordExposuresRequest>,
    ) -> Result<Response<proto::RecordExposuresResponse>, Status> {
        Err(Status::unimplemented("there are no exposures here"))
    }
}
