//! An instance of the service in a process of its own, its clients, and what Redis says of who leads.

use crate::redis::{DEADLINE, wait_until};
use offer_ranker::{
    proto::{
        ArmState, FeedbackCode, GetDecisionRequest, GetPlacementRequest, GetPlacementResponse, Outcome, RankRequest,
        RankResponse, RecordOutcomesRequest, catalog_service_client::CatalogServiceClient,
        feedback_service_client::FeedbackServiceClient, ranking_service_client::RankingServiceClient,
    },
    store::{
        Store as _,
        redis::{RedisStore, RedisUrl},
    },
};
use redis::Commands as _;
use serde_json::Value;
use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// The placement of `shop.yaml`, and how many partitions its log has.
pub(crate) const PLACEMENT: &str = "paywall";
pub(crate) const PARTITIONS: u16 = 3;
/// The catalog that most tests serve.
pub(crate) const SHOP: &str = include_str!("shop.yaml");
/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// A running instance, killed when it is dropped.
pub(crate) struct Instance {
    child: Child,
    log: std::path::PathBuf,
    _directory: TempDir,
    pub(crate) client: Client,
}

/// What speaks to one instance.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
}

/// Starts instances with this catalog on one store, all at the same moment.
pub(crate) fn start_all<const N: usize>(store: &RedisUrl, catalog: &str) -> [Instance; N] {
    let starting: Vec<_> = (0..N).map(|_| Starting::new(store, catalog, &[])).collect();
    let running: Vec<_> = starting.into_iter().map(Starting::wait).collect();
    running.try_into().unwrap_or_else(|_| unreachable!("as many run as were started"))
}

/// Starts an instance with further arguments.
pub(crate) fn start(store: &RedisUrl, catalog: &str, arguments: &[&str]) -> Instance {
    Starting::new(store, catalog, arguments).wait()
}

/// A process that has not said yet where it listens.
struct Starting {
    child: Option<Child>,
    directory: TempDir,
}

impl Starting {
    fn new(store: &RedisUrl, catalog: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("catalog.yaml");
        File::create(&file).unwrap().write_all(catalog.as_bytes()).unwrap();
        let child = Command::new(binary())
            .args([
                "--log-filter",
                "warn",
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--store",
                &store.to_string(),
                "--catalog",
            ])
            .arg(file)
            .args(arguments)
            // A machine that is busy with tests is no store that is away.
            .env("OFFER_RANKER_APPEND_TIMEOUT_MS", "60000")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child: Some(child), directory }
    }

    /// Waits until it says where it listens.
    fn wait(mut self) -> Instance {
        let output = self.child.as_mut().and_then(|child| child.stdout.take()).expect("its output is piped");
        let mut address = None;
        // To the last line that it prints: before that nobody may close the pipe.
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some((_, found)) = line.split_once(" listens on ") {
                address = Some(found.to_owned());
            }
            if line.ends_with("RankingService/Rank") {
                break;
            }
        }
        let log = self.directory.path().join("log");
        let Some(address) = address else { panic!("did not start: {}", std::fs::read_to_string(log).unwrap()) };
        let channel = Endpoint::new(format!("http://{address}")).unwrap().connect_lazy();
        let child = self.child.take().expect("it was started");
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        Instance { child, log, _directory: directory, client: Client { channel } }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.child.as_mut().map(end);
    }
}

impl Instance {
    /// Kills it with signal 9 and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        end(&mut self.child);
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let child = &mut self.child;
        let mut status = None;
        wait_until("the instance stops", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{}", self.log());
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        end(&mut self.child);
        if std::thread::panicking() {
            eprint_log(&self.log);
        }
    }
}

impl Client {
    pub(crate) async fn rank(&self, request: RankRequest) -> Result<RankResponse, Status> {
        Ok(RankingServiceClient::new(self.channel.clone()).rank(request).await?.into_inner())
    }

    /// Whether a decision is stored.
    pub(crate) async fn knows(&self, decision_id: &str) -> bool {
        let request = GetDecisionRequest { decision_id: decision_id.to_owned() };
        RankingServiceClient::new(self.channel.clone()).get_decision(request).await.is_ok()
    }

    /// Reports one outcome.
    pub(crate) async fn report(&self, outcome: Outcome) -> Result<FeedbackCode, Status> {
        let request = RecordOutcomesRequest { outcomes: vec![outcome] };
        let answer = FeedbackServiceClient::new(self.channel.clone()).record_outcomes(request).await?;
        Ok(answer.into_inner().results[0].code())
    }

    /// What a placement has learned, as this instance serves it.
    pub(crate) async fn look_at(&self, placement: &str) -> GetPlacementResponse {
        let request = GetPlacementRequest { placement: placement.to_owned() };
        self.catalog().get_placement(request).await.expect("the placement is served").into_inner()
    }

    /// The same of the placement of `shop.yaml`.
    pub(crate) async fn look(&self) -> GetPlacementResponse {
        self.look_at(PLACEMENT).await
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel.clone())
    }

    pub(crate) fn feedback(&self) -> FeedbackServiceClient<Channel> {
        FeedbackServiceClient::new(self.channel.clone())
    }

    /// Waits until this instance serves what all logs of a placement teach up to where they end now.
    pub(crate) async fn learned_at(&self, placement: &str) -> GetPlacementResponse {
        let ends = offsets(&self.look_at(placement).await).1;
        let begun = Instant::now();
        loop {
            let seen = self.look_at(placement).await;
            if offsets(&seen).0.iter().zip(&ends).all(|(offset, end)| offset >= end) {
                return seen;
            }
            assert!(begun.elapsed() < DEADLINE, "is at {:?} and does not reach {ends:?}", offsets(&seen).0);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The same of the placement of `shop.yaml`.
    pub(crate) async fn learned(&self) -> GetPlacementResponse {
        self.learned_at(PLACEMENT).await
    }
}

/// The executable.
fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_offer-ranker"))
}

/// Harmless where it has ended: the id is not reused before it was waited for.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// What an instance logged, where its test fails.
#[expect(clippy::print_stderr, reason = "nobody else tells why a process misbehaved")]
fn eprint_log(log: &Path) {
    eprintln!("an instance logged:\n{}", std::fs::read_to_string(log).unwrap_or_default());
}

/// How far each partition is learned, and how far its log reaches.
pub(crate) fn offsets(seen: &GetPlacementResponse) -> (Vec<u64>, Vec<u64>) {
    let of = |positions: &[offer_ranker::proto::PartitionOffset]| positions.iter().map(|at| at.offset).collect();
    (of(&seen.posterior_version.as_ref().unwrap().offsets), of(&seen.log_ends))
}

/// Slots learned from, of all arms together.
pub(crate) fn shown(seen: &GetPlacementResponse) -> u64 {
    seen.arms.iter().map(|arm: &ArmState| arm.shown).sum()
}

/// A user's request at the placement of `shop.yaml`, under a request id.
pub(crate) fn request(user_id: &str, request_id: &str) -> RankRequest {
    RankRequest {
        placement: PLACEMENT.to_owned(),
        user_id: user_id.to_owned(),
        platform: "web".to_owned(),
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

/// One conversion of a decision.
pub(crate) fn conversion(outcome_id: &str, decision_id: &str) -> Outcome {
    Outcome {
        outcome_id: outcome_id.to_owned(),
        decision_id: decision_id.to_owned(),
        metric: "conversion".to_owned(),
        value: 1.0,
        ..Default::default()
    }
}

/// Who leads in a partition of the first placement: the token, and the holder of the lease.
pub(crate) fn learner(store: &RedisUrl, partition: u16) -> (u64, Option<Vec<u8>>) {
    let address = store.to_string();
    let (server, prefix) = address.split_once("/?prefix=").expect("a test's store has a prefix");
    let mut connection = redis::Client::open(server).unwrap().get_connection().unwrap();
    let key = format!("{prefix}:{{0:{partition}}}:learner");
    let (token, holder): (Option<u64>, _) = connection.hmget(key, &["token", "holder"]).unwrap();
    (token.expect("somebody has led"), holder)
}

/// Waits until some leader has committed what every log teaches the model of `shop.yaml` up to where it ends now. What
/// an instance serves says less: one that follows may fold ahead of its leader.
pub(crate) async fn committed(store: &RedisUrl, client: &Client) {
    let model_id = client.look().await.posterior_version.unwrap().model_id;
    let store = RedisStore::open_read_only(store).await.unwrap();
    let begun = Instant::now();
    for (log, end) in store.log_ends().await.unwrap() {
        while store.statistics(&model_id, log).await.unwrap().offset < end {
            assert!(begun.elapsed() < DEADLINE, "nobody learns from {log:?}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The report of `offer-ranker audit`, which finds everything equal.
pub(crate) fn audit(store: &RedisUrl) -> Value {
    let output = Command::new(binary()).args(["audit", "--json", "--store", &store.to_string()]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && report["equal"] == true, "{report:#}");
    report
}

/// The sum of a count of an audit over all partitions.
pub(crate) fn audited(report: &Value, count: &str) -> u64 {
    report["partitions"].as_array().unwrap().iter().map(|partition| partition[count].as_u64().unwrap()).sum()
}
