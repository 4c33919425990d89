//! A server in a process of its own, and what operators ask of it.

use offer_ranker::proto::{
    Outcome, RankRequest, RankResponse, RecordOutcomesRequest, feedback_service_client::FeedbackServiceClient,
    ranking_service_client::RankingServiceClient,
};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// How long anything may take that a machine under load still does: far beyond what it should.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A running server, killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    pub(crate) operators: String,
    log: PathBuf,
    _directory: TempDir,
}

impl Server {
    /// Serves the example catalog with these further arguments of the whole program and of `serve`.
    pub(crate) fn start(global: &[&str], serve: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_offer-ranker"))
            .args(global)
            .args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--store"])
            .arg(format!("embedded:{}", directory.path().join("store.db").display()))
            .arg("--catalog")
            .arg(root().join("examples/paywall.yaml"))
            .args(serve)
            // A machine that is busy with tests is no store that is away.
            .env("OFFER_RANKER_APPEND_TIMEOUT_MS", "60000")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut address, mut operators) = (None, None);
        for line in lines.map_while(Result::ok) {
            if let Some((_, found)) = line.split_once(" listens on ") {
                address = Some(found.to_owned());
            }
            if let Some(found) = line.trim().strip_prefix("metrics http://") {
                operators = found.strip_suffix("/metrics").map(str::to_owned);
            }
            // The last line that it prints: before that nobody may close the pipe.
            if line.ends_with("RankingService/Rank") {
                break;
            }
        }
        let said = || std::fs::read_to_string(&log).unwrap();
        let (Some(address), Some(operators)) = (address, operators) else { panic!("did not start: {}", said()) };
        Self { child, address, operators, log, _directory: directory }
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Asks the operators' port; status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.operators).expect("the operators' port is open");
        let address = &self.operators;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a head has a status");
        (status, body.to_owned())
    }

    /// Tells the server to stop, as an init system does.
    pub(crate) fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits until the server has ended by itself; whether it succeeded.
    pub(crate) fn ended(&mut self) -> bool {
        poll("the server ends", || self.child.try_wait().unwrap()).success()
    }

    /// Whether the server still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::new(format!("http://{}", self.address)).unwrap().connect().await.expect("the server answers")
    }

    pub(crate) async fn rank(&self, request: RankRequest) -> Result<RankResponse, tonic::Status> {
        Ok(RankingServiceClient::new(self.channel().await).rank(request).await?.into_inner())
    }

    pub(crate) async fn report(&self, outcomes: Vec<Outcome>) {
        let request = RecordOutcomesRequest { outcomes };
        FeedbackServiceClient::new(self.channel().await).record_outcomes(request).await.expect("outcomes are judged");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Harmless where it has ended: the id is not reused before it was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until there is something to see.
pub(crate) fn poll<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(LOOK);
    }
}

/// A request at the example's paywall.
pub(crate) fn request(user_id: &str) -> RankRequest {
    RankRequest {
        placement: "paywall".to_owned(),
        user_id: user_id.to_owned(),
        market: "SE".to_owned(),
        platform: "ios".to_owned(),
        ..Default::default()
    }
}

/// A conversion reported on a decision.
pub(crate) fn conversion(outcome_id: &str, decision_id: &str) -> Outcome {
    Outcome {
        outcome_id: outcome_id.to_owned(),
        decision_id: decision_id.to_owned(),
        metric: "conversion".to_owned(),
        value: 1.0,
        ..Default::default()
    }
}
