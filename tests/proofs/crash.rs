//! Killed at any moment, the server loses and doubles nothing that it acknowledged.
//!
//! The real binary is killed with signal 9, started again on the same file and port, and killed again, while
//! `offer-ranker simulate` sends users through it and repeats every call until it is answered. When to kill is decided
//! by progress of the log, by seed; some kills strike a server that is only just starting. Afterwards the simulation's
//! own account of what was acknowledged must be what the server has learned, number by number, and the audit must find
//! nothing. How far the log gets between two kills depends on the machine; no outcome of the test does.
//!
//! Not proved here: survival of power loss, since a killed process leaves what it wrote to the kernel.
//!
//! 5 kills by default, 50 where everything is asked for.

use crate::{ports::free_port, scale};
use offer_ranker::{
    proto::{GetPlacementRequest, GetPlacementResponse, catalog_service_client::CatalogServiceClient},
    store::{Store as _, embedded::EmbeddedStore},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::JoinHandle,
    time::Duration,
};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_offer-ranker");
/// Between two looks at the log.
const LOOK: Duration = Duration::from_millis(2);
/// Users of one simulation; another one starts where kills are left.
const USERS: u64 = 500;

/// A process that does not outlive the test.
struct Process(Child);

impl Process {
    fn spawn(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Kills it with signal 9 and waits until it is gone.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits until it ends by itself; what it printed, and whether it succeeded.
    fn finish(mut self) -> (String, bool) {
        let printed = std::io::read_to_string(self.0.stdout.take().unwrap()).unwrap();
        (printed, self.0.wait().unwrap().success())
    }

    /// Asks it to stop and waits until it does.
    fn terminate(self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.finish().1, "the server failed while stopping");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Harmless where it has ended: the id is not reused before it was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where everything is.
struct Site {
    _directory: TempDir,
    store: PathBuf,
    port: u16,
}

impl Site {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let store = directory.path().join("store.db");
        Self { _directory: directory, store, port: free_port() }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn address(&self) -> String {
        format!("embedded:{}", self.store.display())
    }

    fn start(&self) -> Process {
        let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/paywall.yaml");
        let listen = format!("127.0.0.1:{}", self.port);
        Process::spawn(
            Command::new(BINARY)
                .args(["--log-filter", "warn", "serve", "--listen", &listen, "--store", &self.address(), "--catalog"])
                .arg(catalog)
                // A machine that is busy with tests is no store that is away.
                .env("OFFER_RANKER_APPEND_TIMEOUT_MS", "60000"),
        )
    }

    /// Starts a server and waits until it says that it listens.
    fn serve(&self) -> Process {
        let mut server = self.start();
        let mut first = String::new();
        // The announcement fits into the pipe, so a server never waits for the rest to be read.
        let mut out = BufReader::new(server.0.stdout.as_mut().unwrap());
        out.read_line(&mut first).unwrap();
        assert!(first.contains("listens on"), "the server did not start: {first:?}");
        server
    }

    /// Records in all logs, as another process sees them.
    async fn records(&self) -> u64 {
        let store = EmbeddedStore::open_read_only(&self.store).unwrap();
        store.log_ends().await.unwrap().into_iter().map(|(_, end)| end).sum()
    }

    fn audit(&self) -> Value {
        let (printed, success) =
            Process::spawn(Command::new(BINARY).args(["audit", "--json", "--store", &self.address()])).finish();
        let report: Value = serde_json::from_str(&printed).unwrap();
        assert!(success && report["equal"] == true, "{printed}");
        report
    }

    /// What the server says once it has learned everything.
    async fn learned(&self) -> GetPlacementResponse {
        let mut client = CatalogServiceClient::connect(self.url()).await.unwrap();
        loop {
            let request = GetPlacementRequest { placement: "paywall".to_owned() };
            let answer = client.get_placement(request).await.unwrap().into_inner();
            if answer.posterior_version.as_ref().unwrap().offsets == answer.log_ends {
                return answer;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Simulations, one after the other, for as long as they are needed.
struct Simulations {
    url: String,
    running: Option<JoinHandle<(String, bool)>>,
    summaries: Vec<Value>,
}

impl Simulations {
    fn begin(&mut self) {
        let seed = (self.summaries.len() + 1).to_string();
        let users = USERS.to_string();
        let process = Process::spawn(Command::new(BINARY).args([
            "simulate",
            "--json",
            "--target",
            &self.url,
            "--users",
            &users,
            "--seed",
            &seed,
            "--retry-for-s",
            "600",
        ]));
        self.running = Some(std::thread::spawn(move || process.finish()));
    }

    /// Sees to it that somebody is simulating.
    fn keep_going(&mut self) {
        if self.running.as_ref().is_some_and(|running| running.is_finished()) {
            self.end();
            self.begin();
        }
    }

    fn end(&mut self) {
        let Some(running) = self.running.take() else { return };
        let (printed, success) = running.join().unwrap();
        assert!(success, "the simulation failed: {printed}");
        self.summaries.push(serde_json::from_str(&printed).unwrap());
    }

    /// The sum of a count over all simulations.
    fn count(&self, name: &str) -> u64 {
        self.summaries.iter().map(|summary| summary["counts"][name].as_u64().unwrap()).sum()
    }

    /// Acknowledged outcomes by offer: how many, and what they add up to. Each conversion counts 1.
    fn acknowledged(&self) -> BTreeMap<String, (u64, f64)> {
        let mut offers: BTreeMap<String, (u64, f64)> = BTreeMap::new();
        for (offer_id, metrics) in
            self.summaries.iter().flat_map(|summary| summary["acknowledged"].as_object().unwrap())
        {
            assert_eq!(metrics.as_object().unwrap().keys().collect::<Vec<_>>(), ["conversion"]);
            let total = offers.entry(offer_id.clone()).or_default();
            total.0 += metrics["conversion"]["count"].as_u64().unwrap();
            total.1 += metrics["conversion"]["sum"].as_f64().unwrap();
        }
        offers
    }
}

/// When the next kill strikes.
enum Moment {
    /// The process has just been started; it may not even have opened its file.
    Starting,
    /// It has just said that it listens; it has not learned what the one before it left.
    Listening,
    /// The log has grown by so many records.
    After(u64),
}

fn next_moment(rng: &mut ChaCha8Rng) -> Moment {
    match rng.random_range(0..10) {
        0 => Moment::Starting,
        1 => Moment::Listening,
        _ => Moment::After(rng.random_range(1..80)),
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let site = Site::new();
    let mut simulations = Simulations { url: site.url(), running: None, summaries: Vec::new() };
    let mut rng = ChaCha8Rng::seed_from_u64(50);
    let mut server = site.serve();
    simulations.begin();
    for _ in 0..scale::tenth_of(50) {
        let moment = next_moment(&mut rng);
        if let Moment::After(records) = moment {
            let enough = site.records().await + records;
            while site.records().await < enough {
                simulations.keep_going();
                tokio::time::sleep(LOOK).await;
            }
        }
        server.kill();
        server = match moment {
            Moment::Starting => {
                site.start().kill();
                site.serve()
            }
            Moment::Listening => {
                site.serve().kill();
                site.serve()
            }
            Moment::After(_) => site.serve(),
        };
    }
    simulations.end();

    let learned = site.learned().await;
    let told: BTreeMap<String, f64> = learned
        .arms
        .iter()
        .filter_map(|arm| Some((arm.offer_id.clone(), *arm.outcome_totals.get("conversion")?)))
        .filter(|(_, total)| *total > 0.0)
        .collect();
    let acknowledged = simulations.acknowledged();
    assert!(!acknowledged.is_empty());
    assert_eq!(told, acknowledged.iter().map(|(id, (_, sum))| (id.clone(), *sum)).collect());

    // Every outcome that was sent was acknowledged in the end, and stands in the log exactly once.
    let sent = simulations.count("outcomes_sent");
    assert_eq!(acknowledged.values().map(|(count, _)| count).sum::<u64>(), sent);
    // A lead slot was shown for every user who got an answer: no decision is lost, and none was made twice.
    let ranks = simulations.count("ranks");
    assert_eq!(simulations.count("nothing_eligible"), 0);
    assert_eq!(learned.arms.iter().map(|arm| arm.shown).sum::<u64>(), ranks);

    let retries = simulations.count("rank_retries") + simulations.count("report_retries");
    scale::tell(&format!("{ranks} decisions and {sent} outcomes, {retries} calls repeated"));

    let serving = site.audit();
    server.kill();
    let killed = site.audit();
    site.serve().terminate();
    let stopped = site.audit();
    for report in [serving, killed, stopped] {
        let partitions = report["partitions"].as_array().unwrap();
        let count = |name: &str| partitions.iter().map(|partition| partition[name].as_u64().unwrap()).sum::<u64>();
        assert_eq!((count("decisions"), count("ledger_changes")), (ranks, sent));
        assert_eq!(count("folded"), count("records"));
    }
}

#[test]
fn told_to_stop_as_soon_as_it_listens_a_server_stops_in_order() {
    let site = Site::new();
    for _ in 0..scale::tenth_of(100) {
        site.serve().terminate();
    }
    site.audit();
}
