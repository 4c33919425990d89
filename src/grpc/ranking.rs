//! The ranking service, routed by hand because Rank has a codec of its own.

use super::{
    convert,
    rank_codec::{RankAnswer, RankCall, RankCodec},
    server::{Door, RANK_BYTES_MAX},
    web::FromPage,
};
use crate::{
    proto::{self, ranking_service_server::SERVICE_NAME},
    service::{ServiceError, Violation},
};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService},
};
use tonic_prost::ProstCodec;
use tower_service::Service;

/// The door to ranking. Cheap to clone.
#[derive(Clone)]
pub(super) struct RankingDoor(pub(super) Door);

impl NamedService for RankingDoor {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for RankingDoor {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let door = self.0.clone();
        match request.uri().path() {
            "/offer_ranker.v1.RankingService/Rank" => Box::pin(async move {
                let rank = tower::service_fn(|request| rank(&door, request));
                let mut grpc = Grpc::new(RankCodec).apply_max_message_size_config(Some(RANK_BYTES_MAX), None);
                Ok(grpc.unary(rank, request).await)
            }),
            "/offer_ranker.v1.RankingService/GetDecision" => Box::pin(async move {
                let get_decision = tower::service_fn(|request| get_decision(&door, request));
                let codec = ProstCodec::<proto::GetDecisionResponse, proto::GetDecisionRequest>::default();
                let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(RANK_BYTES_MAX), None);
                Ok(grpc.unary(get_decision, request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("").into_http()) }),
        }
    }
}

/// Why a page is not shown scores.
const NOT_EXPLAINED: &str = "is true, must be absent over gRPC-web: pages are not shown beliefs and probabilities; ask \
    InsightService.ExplainDecision over gRPC, with the decision_id that Rank returns";

async fn rank(door: &Door, request: Request<RankCall>) -> Result<Response<RankAnswer>, Status> {
    let from_page = request.extensions().get::<FromPage>().is_some();
    let RankCall { command, explain } = request.into_inner();
    if explain && from_page {
        let violations = vec![Violation::new("explain", NOT_EXPLAINED)];
        return Err(ServiceError::Invalid { violations }.into());
    }
    let answer = door.service.rank(command).await?;
    Ok(Response::new(RankAnswer { answer, explain }))
}

async fn get_decision(
    door: &Door,
    request: Request<proto::GetDecisionRequest>,
) -> Result<Response<proto::GetDecisionResponse>, Status> {
    let stored = door.service.decision(&request.into_inner().decision_id).await?;
    Ok(Response::new(convert::decision_response(&stored)))
}
