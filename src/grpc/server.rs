//! The gRPC server: its services over one [`Service`], health and reflection beside them.

use super::{
    convert, fairness,
    meter::MeterCalls,
    ranking::RankingDoor,
    web::{self, Origins},
    workers::{Connections, Served, Worker, deal},
};
use crate::{
    proto::{
        self, catalog_service_server::CatalogServiceServer, engine_types::timestamp,
        feedback_service_server::FeedbackServiceServer, insight_service_server::InsightServiceServer,
        user_service_server::UserServiceServer,
    },
    service::{
        Service, ServiceError, Violation,
        catalog::Application,
        feedback::{REPORTS_MAX, Report},
        forgetting::Forgotten,
    },
};
use std::{future::Future, io, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, transport::Server};
use tonic_health::server::HealthReporter;
use tower::util::option_layer;

/// Largest Rank in bytes.
pub const RANK_BYTES_MAX: usize = 1024 * 1024;
/// Largest batch of feedback, and largest catalog, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Concurrent calls of one connection.
const STREAMS_MAX: u32 = 1024;

/// Reports that are judged on the thread that took them; more of them would keep its other callers waiting.
const REPORTS_IN_PASSING: usize = 8;

/// Why a server could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The transport failed.
    #[error("the transport failed")]
    Transport(#[from] tonic::transport::Error),
    /// The system has no threads or files.
    #[error("the system refused a thread to serve on")]
    Thread(#[from] io::Error),
}

/// The door to a service. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    pub(super) service: Arc<Service>,
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Threads that answer.
    pub threads: NonZeroUsize,
    /// Origins of pages that may call over gRPC-web; without any, HTTP/1 is not spoken at all.
    pub web: Option<Origins>,
    /// How long calls in flight may take when it is told to stop.
    pub drain: Duration,
}

/// Serves until `shutdown` is done, then lets calls in flight finish; connections without a call are not waited for.
///
/// # Errors
/// Where the system has no threads, and where the transport fails.
pub async fn run(
    listener: TcpListener,
    (service, health): (Arc<Service>, HealthReporter),
    settings: ServerSettings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServerError> {
    let (stop, cut_off) = (CancellationToken::new(), CancellationToken::new());
    let calls = MeterCalls::new();
    let worker = |number| {
        let (door, health, calls) = (Door { service: service.clone() }, health.clone(), calls.clone());
        let (web, stop) = (settings.web.clone(), stop.clone());
        Worker::start(number, cut_off.clone(), move |connections| serve(door, health, calls, web, connections, stop))
    };
    let workers = (0..settings.threads.get()).map(worker).collect::<io::Result<Vec<_>>>()?;
    tokio::select! {
        () = deal(&listener, &workers) => {}
        () = shutdown => {}
    }
    report_health(&health, false).await;
    drop(listener);
    stop.cancel();
    let mut ended = std::pin::pin!(async {
        for worker in workers {
            worker.ended().await?;
        }
        Ok(())
    });
    // Neither clients that are silent nor calls that never end may hold the shutdown.
    tokio::select! {
        ended = &mut ended => return ended,
        () = tokio::time::sleep(settings.drain) => {}
        () = calls.quiet() => {}
    }
    cut_off.cancel();
    ended.await
}

/// What one thread does.
async fn serve(
    door: Door,
    health: HealthReporter,
    calls: MeterCalls,
    web: Option<Origins>,
    connections: Connections,
    stop: CancellationToken,
) -> Served {
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .accept_http1(web.is_some())
        .layer(option_layer(web.as_ref().map(web::layer)))
        .layer(calls)
        .add_service(tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(health),
        ))
        .add_service(reflection_v1())
        .add_service(reflection_v1alpha())
        .add_service(RankingDoor(door.clone()))
        .add_service(FeedbackServiceServer::new(door.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(UserServiceServer::new(door.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(InsightServiceServer::new(door.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(CatalogServiceServer::new(door).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .serve_with_incoming_shutdown(connections, stop.cancelled_owned())
        .await
}

/// The services whose health is reported; the empty name stands for the server.
const SERVICES: [&str; 6] = [
    "",
    "offer_ranker.v1.RankingService",
    "offer_ranker.v1.FeedbackService",
    "offer_ranker.v1.CatalogService",
    "offer_ranker.v1.UserService",
    "offer_ranker.v1.InsightService",
];

/// Reports every service as serving, or as not.
pub async fn report_health(health: &HealthReporter, serving: bool) {
    let status = if serving { tonic_health::ServingStatus::Serving } else { tonic_health::ServingStatus::NotServing };
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

fn reflection_v1()
-> tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection> {
    reflection().build_v1().expect("invariant: the descriptors were compiled by build.rs")
}

/// Older clients speak only this version.
fn reflection_v1alpha()
-> tonic_reflection::server::v1alpha::ServerReflectionServer<impl tonic_reflection::server::v1alpha::ServerReflection> {
    reflection().build_v1alpha().expect("invariant: the descriptors were compiled by build.rs")
}

#[tonic::async_trait]
impl proto::feedback_service_server::FeedbackService for Door {
    async fn record_outcomes(
        &self,
        request: Request<proto::RecordOutcomesRequest>,
    ) -> Result<Response<proto::RecordOutcomesResponse>, Status> {
        let outcomes = request.into_inner().outcomes;
        let results = self.record("outcomes", outcomes.into_iter().map(convert::outcome_report).collect()).await?;
        Ok(Response::new(proto::RecordOutcomesResponse { results }))
    }

    async fn record_exposures(
        &self,
        request: Request<proto::RecordExposuresRequest>,
    ) -> Result<Response<proto::RecordExposuresResponse>, Status> {
        let exposures = request.into_inner().exposures;
        let results = self.record("exposures", exposures.into_iter().map(convert::exposure_report).collect()).await?;
        Ok(Response::new(proto::RecordExposuresResponse { results }))
    }
}

impl Door {
    async fn record(&self, field: &str, reports: Vec<Report>) -> Result<Vec<proto::FeedbackResult>, ServiceError> {
        if reports.len() > REPORTS_MAX {
            let description = format!("has {} entries, must have at most {REPORTS_MAX}", reports.len());
            return Err(ServiceError::Invalid { violations: vec![Violation::new(field, description)] });
        }
        let results = if reports.len() > REPORTS_IN_PASSING {
            let service = self.service.clone();
            self.service.in_background(async move { service.record(&reports).await }).await?
        } else {
            self.service.record(&reports).await?
        };
        Ok(results.into_iter().map(convert::feedback_result).collect())
    }
}

#[tonic::async_trait]
impl proto::user_service_server::UserService for Door {
    async fn link_unit(
        &self,
        request: Request<proto::LinkUnitRequest>,
    ) -> Result<Response<proto::LinkUnitResponse>, Status> {
        let proto::LinkUnitRequest { unit_id, user_id } = request.into_inner();
        self.service.link_unit(&unit_id, &user_id).await?;
        Ok(Response::new(proto::LinkUnitResponse {}))
    }

    async fn record_history(
        &self,
        request: Request<proto::RecordHistoryRequest>,
    ) -> Result<Response<proto::RecordHistoryResponse>, Status> {
        let users: Vec<_> = request.into_inner().users.into_iter().map(convert::user_facts).collect();
        let service = self.service.clone();
        self.service.in_background(async move { service.record_history(&users).await }).await?;
        Ok(Response::new(proto::RecordHistoryResponse {}))
    }

    async fn forget_user(
        &self,
        request: Request<proto::ForgetUserRequest>,
    ) -> Result<Response<proto::ForgetUserResponse>, Status> {
        let (service, user_id) = (self.service.clone(), request.into_inner().user_id);
        let forgotten = self.service.in_background(async move { service.forget_user(&user_id).await }).await?;
        let Forgotten { documents, decisions } = forgotten;
        Ok(Response::new(proto::ForgetUserResponse { documents, decisions }))
    }
}

#[tonic::async_trait]
impl proto::insight_service_server::InsightService for Door {
    async fn explain_decision(
        &self,
        request: Request<proto::ExplainDecisionRequest>,
    ) -> Result<Response<proto::ExplainDecisionResponse>, Status> {
        let stored = self.service.decision(&request.into_inner().decision_id).await?;
        Ok(Response::new(convert::explained_decision(&stored)))
    }

    async fn get_fairness_report(
        &self,
        request: Request<proto::GetFairnessReportRequest>,
    ) -> Result<Response<proto::GetFairnessReportResponse>, Status> {
        let proto::GetFairnessReportRequest { placement, since, until } = request.into_inner();
        let period = convert::given_period(since, until)?;
        let (service, asked) = (self.service.clone(), placement.clone());
        // Long logs take their time: not on a thread that serves.
        let report = self.service.in_background(async move { service.fairness(&asked, period).await }).await?;
        Ok(Response::new(fairness::report(&placement, &report)))
    }
}

#[tonic::async_trait]
impl proto::catalog_service_server::CatalogService for Door {
    async fn get_catalog(
        &self,
        request: Request<proto::GetCatalogRequest>,
    ) -> Result<Response<proto::GetCatalogResponse>, Status> {
        let stored = self.service.stored_catalog(request.into_inner().revision).await?;
        let decoding = stored.clone();
        let (catalog, _) =
            self.service.in_background(async move { crate::service::catalog::decode(&decoding) }).await?;
        Ok(Response::new(proto::GetCatalogResponse {
            etag: crate::catalog::etag(&catalog),
            catalog: Some(catalog),
            revision: stored.revision,
            applied_at: Some(timestamp(stored.applied_at)),
            reason: stored.reason.clone(),
        }))
    }

    async fn apply_catalog(
        &self,
        request: Request<proto::ApplyCatalogRequest>,
    ) -> Result<Response<proto::ApplyCatalogResponse>, Status> {
        let proto::ApplyCatalogRequest { catalog, etag, validate_only, reason } = request.into_inner();
        let catalog = catalog.ok_or_else(|| ServiceError::Invalid {
            violations: vec![Violation::new("catalog", "is missing; send the whole catalog")],
        })?;
        let application = Application { catalog: catalog.clone(), etag, validate_only, reason };
        let applied = self.service.apply_catalog(application).await?;
        let warning = |warning: crate::catalog::Warning| proto::CatalogWarning {
            field: warning.field,
            description: warning.description,
        };
        Ok(Response::new(proto::ApplyCatalogResponse {
            catalog: Some(catalog),
            revision: applied.revision,
            etag: applied.etag,
            warnings: applied.warnings.into_iter().map(warning).collect(),
        }))
    }

    async fn get_placement(
        &self,
        request: Request<proto::GetPlacementRequest>,
    ) -> Result<Response<proto::GetPlacementResponse>, Status> {
        let report = self.service.placement(&request.into_inner().placement).await?;
        Ok(Response::new(convert::placement_response(report)))
    }
}
