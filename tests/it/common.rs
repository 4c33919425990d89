//! A server, its clients, and words for what tests ask of them.

use crate::redis;
use offer_ranker::{
    catalog,
    cli::store::StoreAddress,
    clock::{ManualClock, random_bytes},
    engine::instant::Instant,
    grpc::{
        server::{self, ServerSettings},
        web::Origins,
    },
    log::{
        identity::Seals,
        record::{DecisionRecord, LogRecord},
    },
    proto::{
        self, ArmState, FeedbackCode, GetDecisionResponse, GetPlacementResponse, Outcome, RankRequest, RankResponse,
        catalog_service_client::CatalogServiceClient, feedback_service_client::FeedbackServiceClient,
        insight_service_client::InsightServiceClient, ranking_service_client::RankingServiceClient,
        user_service_client::UserServiceClient,
    },
    service::{
        Service, Settings,
        audit::{AuditReport, audit},
    },
    store::{
        LogId, Store,
        spool::{SPOOL_BYTES_MIN, Spool},
    },
};
use std::{num::NonZeroUsize, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_health::server::HealthReporter;
use tonic_types::StatusExt as _;

/// Where every test's clock starts: 2027-01-15T08:00:00Z.
pub(crate) const START_MS: i64 = 1_800_000_000_000;
/// Seconds of an hour and of a day.
pub(crate) const HOUR_S: u32 = 3600;
pub(crate) const DAY_S: u32 = 24 * HOUR_S;
/// More than one, so that calls of one test meet on different threads.
const SERVING_THREADS: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");
/// Age from which a snapshot is stale, in milliseconds; a refresh makes it fresh.
pub(crate) const SNAPSHOT_MAX_AGE_MS: u64 = 10_000;

/// Where a store is that a test has to itself: a file, or a prefix in the Redis that OFFER_RANKER_TEST_STORE asks for.
pub(crate) struct Place {
    pub(crate) address: StoreAddress,
    _directory: Option<TempDir>,
}

impl Place {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "tests have no command line of their own")]
        let chosen = std::env::var("OFFER_RANKER_TEST_STORE");
        match chosen.as_deref() {
            Err(_) | Ok("" | "embedded") => Self::embedded(),
            Ok("redis") => Self { address: StoreAddress::Redis(redis::standalone_url()), _directory: None },
            Ok("cluster") => Self { address: StoreAddress::Redis(redis::cluster_url()), _directory: None },
            Ok(other) => panic!("OFFER_RANKER_TEST_STORE is {other:?}, must be embedded, redis or cluster"),
        }
    }

    fn embedded() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        Self { address: StoreAddress::Embedded(directory.path().join("store.db")), _directory: Some(directory) }
    }

    /// The store's file.
    pub(crate) fn file(&self) -> &Path {
        match &self.address {
            StoreAddress::Embedded(path) => path,
            StoreAddress::Redis(url) => panic!("{url} is no file; start_on_file"),
        }
    }
}

/// A running server on a store of its own, with clients connected to it.
pub(crate) struct TestServer {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) service: Arc<Service>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) place: Place,
    pub(crate) ranking: RankingServiceClient<Channel>,
    pub(crate) feedback: FeedbackServiceClient<Channel>,
    pub(crate) catalog: CatalogServiceClient<Channel>,
    pub(crate) users: UserServiceClient<Channel>,
    pub(crate) insight: InsightServiceClient<Channel>,
    pub(crate) address: String,
    stop: CancellationToken,
    serving: JoinSet<()>,
}

/// How a test's server differs from others.
#[derive(Default)]
struct Manner<'a> {
    web: Option<Origins>,
    backlog_max: usize,
    /// Where decisions wait while the store is away.
    spool: Option<&'a Path>,
}

/// The catalog of `shop.yaml`.
pub(crate) fn shop() -> proto::Catalog {
    catalog_of(include_str!("shop.yaml"))
}

/// A catalog from the text of its file.
pub(crate) fn catalog_of(text: &str) -> proto::Catalog {
    catalog::check("test.yaml", text).unwrap_or_else(|problems| panic!("{problems}")).declared
}

/// The placement of a catalog, to change it.
pub(crate) fn placement_mut<'a>(catalog: &'a mut proto::Catalog, id: &str) -> &'a mut proto::Placement {
    catalog.placements.iter_mut().find(|placement| placement.id == id).expect("the catalog has this placement")
}

/// The offer of a catalog, to change it.
pub(crate) fn offer_mut<'a>(catalog: &'a mut proto::Catalog, id: &str) -> &'a mut proto::Offer {
    catalog.offers.iter_mut().find(|offer| offer.id == id).expect("the catalog has this offer")
}

impl TestServer {
    /// Serves `shop.yaml`.
    pub(crate) async fn start() -> Self {
        Self::start_with(shop()).await
    }

    /// Serves `shop.yaml` from a file, whatever store the other tests run on: for tests that look into the file.
    pub(crate) async fn start_on_file() -> Self {
        let clock = Arc::new(ManualClock::new(Instant::from_ms(START_MS), 7));
        Self::open(Place::embedded(), clock, Some(shop()), Manner::default()).await
    }

    /// Serves a catalog.
    pub(crate) async fn start_with(catalog: proto::Catalog) -> Self {
        let clock = Arc::new(ManualClock::new(Instant::from_ms(START_MS), 7));
        Self::open(Place::new(), clock, Some(catalog), Manner::default()).await
    }

    /// Serves `shop.yaml`, over gRPC-web too, to pages of these origins.
    pub(crate) async fn start_for_pages(origins: &str) -> Self {
        let clock = Arc::new(ManualClock::new(Instant::from_ms(START_MS), 7));
        let web = Some(origins.parse().expect("the test's origins are valid"));
        Self::open(Place::new(), clock, Some(shop()), Manner { web, ..Manner::default() }).await
    }

    /// Serves `shop.yaml` and answers up to `backlog_max` Ranks before they are logged; the test says when they are.
    pub(crate) async fn start_answering_first(backlog_max: usize) -> Self {
        let clock = Arc::new(ManualClock::new(Instant::from_ms(START_MS), 7));
        Self::open(Place::new(), clock, Some(shop()), Manner { backlog_max, ..Manner::default() }).await
    }

    /// Serves `shop.yaml`, with a spool in this folder.
    pub(crate) async fn start_with_spool(folder: &Path) -> Self {
        Self::start_answering_first_with_spool(0, folder).await
    }

    /// The same, and answers up to `backlog_max` Ranks before they are logged.
    pub(crate) async fn start_answering_first_with_spool(backlog_max: usize, folder: &Path) -> Self {
        let clock = Arc::new(ManualClock::new(Instant::from_ms(START_MS), 7));
        let manner = Manner { backlog_max, spool: Some(folder), ..Manner::default() };
        Self::open(Place::new(), clock, Some(shop()), manner).await
    }

    async fn open(place: Place, clock: Arc<ManualClock>, seed: Option<proto::Catalog>, manner: Manner<'_>) -> Self {
        let Manner { web, backlog_max, spool } = manner;
        let store = place.address.open(random_bytes(&*clock)).await.expect("the store opens");
        let settings = Settings {
            snapshot_max_age_ms: SNAPSHOT_MAX_AGE_MS,
            backlog_max,
            append_timeout: Duration::from_secs(60),
            not_yet_s: 60,
            identities_s: 400 * 86_400,
        };
        let seed = seed.map(|catalog| (catalog, "the test's".to_owned()));
        let service = Service::open(store.clone(), clock.clone(), settings, seed).await.expect("the service opens");
        let spool = spool.map(|folder| Spool::open(folder, SPOOL_BYTES_MIN, store.identity().epoch));
        let service = Arc::new(match spool.transpose().expect("the spool opens") {
            Some(spool) => service.with_spool(spool),
            None => service,
        });

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = format!("http://{}", listener.local_addr().expect("the listener has an address"));
        let health = HealthReporter::new();
        server::report_health(&health, true).await;
        let stop = CancellationToken::new();
        let told = stop.clone().cancelled_owned();
        let mut serving = JoinSet::new();
        let settings = ServerSettings { threads: SERVING_THREADS, web, drain: Duration::from_secs(10) };
        let served = server::run(listener, (service.clone(), health), settings, told);
        serving.spawn(async { served.await.expect("the server serves") });

        let channel = Endpoint::new(address.clone()).expect("an address").connect().await.expect("the server answers");
        Self {
            ranking: RankingServiceClient::new(channel.clone()),
            feedback: FeedbackServiceClient::new(channel.clone()),
            catalog: CatalogServiceClient::new(channel.clone()),
            users: UserServiceClient::new(channel.clone()),
            insight: InsightServiceClient::new(channel),
            clock,
            service,
            store,
            address,
            place,
            stop,
            serving,
        }
    }

    /// Stops, and starts again on the same store and clock with this catalog file, if any.
    pub(crate) async fn restart(self, seed: Option<proto::Catalog>) -> Self {
        let Self {
            clock, service, store, ranking, feedback, catalog, users, insight, place, stop, mut serving, ..
        } = self;
        drop((ranking, feedback, catalog, users, insight));
        stop.cancel();
        while let Some(served) = serving.join_next().await {
            served.expect("the server stopped in order");
        }
        service.finish().await;
        // The last of the store's owners: dropping it puts everything on the disk and gives up the file.
        drop((service, store));
        Self::open(place, clock, seed, Manner::default()).await
    }

    /// Tells the server to stop, as a signal would.
    pub(crate) fn tell_to_stop(&self) {
        self.stop.cancel();
    }

    /// Closes what is due and learns what is new.
    pub(crate) async fn refresh(&self) {
        self.service.refresh().await.expect("a refresh works on a healthy store");
    }

    pub(crate) async fn try_rank(&self, request: RankRequest) -> Result<RankResponse, Status> {
        Ok(self.ranking.clone().rank(request).await?.into_inner())
    }

    pub(crate) async fn rank(&self, request: RankRequest) -> RankResponse {
        self.try_rank(request).await.expect("a valid request is answered")
    }

    pub(crate) async fn try_decision(&self, decision_id: &str) -> Result<GetDecisionResponse, Status> {
        let request = proto::GetDecisionRequest { decision_id: decision_id.to_owned() };
        Ok(self.ranking.clone().get_decision(request).await?.into_inner())
    }

    pub(crate) async fn decision(&self, decision_id: &str) -> GetDecisionResponse {
        self.try_decision(decision_id).await.expect("the decision is stored")
    }

    /// A decision as operators have it explained.
    pub(crate) async fn explained(&self, decision_id: &str) -> Option<RankResponse> {
        let request = proto::ExplainDecisionRequest { decision_id: decision_id.to_owned() };
        self.insight
            .clone()
            .explain_decision(request)
            .await
            .expect("a stored decision is explained")
            .into_inner()
            .decision
    }

    /// Reports outcomes; their results in order.
    pub(crate) async fn report_all(&self, outcomes: Vec<Outcome>) -> Vec<proto::FeedbackResult> {
        let request = proto::RecordOutcomesRequest { outcomes };
        self.feedback.clone().record_outcomes(request).await.expect("a batch is judged").into_inner().results
    }

    /// Reports one outcome.
    pub(crate) async fn report(&self, outcome: Outcome) -> FeedbackCode {
        self.report_all(vec![outcome]).await[0].code()
    }

    /// Reports which slots were shown.
    pub(crate) async fn expose(&self, decision_id: &str, slots: &[u32]) -> FeedbackCode {
        let exposure = proto::Exposure { decision_id: decision_id.to_owned(), slots: slots.to_vec() };
        let request = proto::RecordExposuresRequest { exposures: vec![exposure] };
        self.feedback.clone().record_exposures(request).await.expect("a batch is judged").into_inner().results[0].code()
    }

    /// Lets a user go on from a device.
    pub(crate) async fn link(&self, unit_id: &str, user_id: &str) {
        let request = proto::LinkUnitRequest { unit_id: unit_id.to_owned(), user_id: user_id.to_owned() };
        self.users.clone().link_unit(request).await.expect("a valid link is made");
    }

    /// Tells facts of users.
    pub(crate) async fn try_tell(&self, users: Vec<proto::UserFacts>) -> Result<(), Status> {
        self.users.clone().record_history(proto::RecordHistoryRequest { users }).await.map(drop)
    }

    /// Forgets a user; how many documents were removed.
    pub(crate) async fn forget(&self, user_id: &str) -> u32 {
        let request = proto::ForgetUserRequest { user_id: user_id.to_owned() };
        self.users.clone().forget_user(request).await.expect("a user is forgotten").into_inner().documents
    }

    /// What a placement has learned.
    pub(crate) async fn placement(&self, placement: &str) -> GetPlacementResponse {
        let request = proto::GetPlacementRequest { placement: placement.to_owned() };
        self.catalog.clone().get_placement(request).await.expect("the placement exists").into_inner()
    }

    /// What is known of one arm.
    pub(crate) async fn arm(&self, placement: &str, offer_id: &str) -> ArmState {
        let arms = self.placement(placement).await.arms;
        arms.into_iter().find(|arm| arm.offer_id == offer_id).expect("the placement has this arm")
    }

    /// What a metric of an arm sums up to; 0 where nothing was reported.
    pub(crate) async fn total(&self, placement: &str, offer_id: &str, metric: &str) -> f64 {
        self.arm(placement, offer_id).await.outcome_totals.get(metric).copied().unwrap_or(0.0)
    }

    pub(crate) async fn try_apply(
        &self,
        request: proto::ApplyCatalogRequest,
    ) -> Result<proto::ApplyCatalogResponse, Status> {
        Ok(self.catalog.clone().apply_catalog(request).await?.into_inner())
    }

    /// Applies a catalog to whatever serves.
    pub(crate) async fn apply(&self, catalog: proto::Catalog) -> proto::ApplyCatalogResponse {
        let request = proto::ApplyCatalogRequest { catalog: Some(catalog), ..Default::default() };
        self.try_apply(request).await.expect("a valid catalog is applied")
    }

    pub(crate) async fn try_get_catalog(&self, revision: u64) -> Result<proto::GetCatalogResponse, Status> {
        Ok(self.catalog.clone().get_catalog(proto::GetCatalogRequest { revision }).await?.into_inner())
    }

    /// The catalog that serves.
    pub(crate) async fn served_catalog(&self) -> proto::GetCatalogResponse {
        self.try_get_catalog(0).await.expect("a catalog serves")
    }

    /// Every record of every log, log by log.
    pub(crate) async fn records(&self) -> Vec<(LogId, LogRecord)> {
        let mut records = Vec::new();
        for (log, end) in self.store.log_ends().await.expect("the store tells its logs") {
            let mut offset = 0;
            while offset < end {
                let read = self.store.read_log(log, offset, 1000).await.expect("the log can be read");
                offset += read.len() as u64;
                records
                    .extend(read.iter().map(|bytes| (log, LogRecord::decode(bytes).expect("what was logged decodes"))));
            }
        }
        records
    }

    /// A decision's record with its identity, where that is not forgotten.
    pub(crate) async fn opened(&self, record: &Arc<DecisionRecord>) -> Arc<DecisionRecord> {
        let stored = self.store.decisions(&[*record.id.as_bytes()]).await.expect("the store is there").remove(0);
        let seals = Seals::new(&self.store.identity().hash_key);
        record.clone().opened(&seals, stored.expect("it is stored").salt.as_ref()).expect("what was sealed opens")
    }

    /// Audits the store as the command line does, beside the running server.
    pub(crate) async fn audit(&self) -> AuditReport {
        let store = self.place.address.open_read_only().await.expect("the store can be read while it serves");
        audit(&*store, |_| {}).await.expect("the audit can be made")
    }

    /// Learns everything there is and audits it.
    pub(crate) async fn assert_audit_equal(&self) {
        self.refresh().await;
        let report = self.audit().await;
        assert!(report.equal, "{:#?}", report.partitions);
        let unfolded = report.partitions.iter().any(|partition| partition.folded < partition.records);
        assert!(!unfolded, "everything is learned after a refresh: {:#?}", report.partitions);
    }
}

/// A request of a user at a placement, from the web.
pub(crate) fn request(placement: &str, user_id: &str) -> RankRequest {
    RankRequest {
        placement: placement.to_owned(),
        user_id: user_id.to_owned(),
        platform: "web".to_owned(),
        ..Default::default()
    }
}

/// A number as JSON has it.
pub(crate) fn number(value: f64) -> prost_types::Value {
    prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(value)) }
}

/// A string as JSON has it.
pub(crate) fn text(value: &str) -> prost_types::Value {
    prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(value.to_owned())) }
}

/// A boolean as JSON has it.
pub(crate) fn boolean(value: bool) -> prost_types::Value {
    prost_types::Value { kind: Some(prost_types::value::Kind::BoolValue(value)) }
}

/// Attributes by name.
pub(crate) fn attributes<const N: usize>(
    pairs: [(&str, prost_types::Value); N],
) -> std::collections::BTreeMap<String, prost_types::Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A request at `upsell`, which has an attribute without a default.
pub(crate) fn upsell(user_id: &str) -> RankRequest {
    RankRequest { attributes: attributes([("age", number(40.0))]), ..request("upsell", user_id) }
}

/// One conversion of a decision's lead offer.
pub(crate) fn conversion(outcome_id: &str, decision: &RankResponse) -> Outcome {
    Outcome {
        outcome_id: outcome_id.to_owned(),
        decision_id: decision.decision_id.clone(),
        offer_id: decision.offers[0].offer_id.clone(),
        metric: "conversion".to_owned(),
        value: 1.0,
        ..Default::default()
    }
}

/// Money earned by a decision's lead offer.
pub(crate) fn revenue(outcome_id: &str, decision: &RankResponse, value: f64, currency: &str) -> Outcome {
    Outcome { metric: "revenue".to_owned(), value, currency: currency.to_owned(), ..conversion(outcome_id, decision) }
}

/// An instant on the wire, in seconds after the start of the test.
pub(crate) fn at_s(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: START_MS / 1000 + seconds, nanos: 0 })
}

/// The offers of an answer by slot.
pub(crate) fn slate(response: &RankResponse) -> Vec<&str> {
    response.offers.iter().map(|offer| offer.offer_id.as_str()).collect()
}

/// The fields that a status complains of.
pub(crate) fn violated_fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
    details.into_iter().map(|violation| violation.field).collect()
}

/// The machine-readable reason of a status.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}
