//! How close to bare transport: the service and an echo of the same messages, one after the other on the same core.

mod echo;
mod generator;
mod h2load;
mod redis;
mod report;
mod scenario;
mod workload;

pub(crate) use echo::{Args as EchoArgs, run as echo};

use crate::{
    output,
    server::{Launch, Server, server_beside_us},
};
use anyhow::Context as _;
use futures_util::future::try_join_all;
use generator::Connections;
use h2load::{H2load, SecondOpinion};
use offer_ranker::proto::RankResponse;
use prost::Message as _;
use redis::RedisServer;
use report::{Measured, Report, Round};
use scenario::{SCENARIOS, Scenario, Store};
use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};
use workload::{RANK, RECORD_OUTCOMES, Traffic, TrafficKind, catalog, framed, rank, unframed};

/// Users that are ranked, and partly report a conversion, before anything is measured.
const LEARNED: u64 = 3000;
/// Calls under way at a time while that is learned.
const LEARNING_IN_FLIGHT: u64 = 64;
/// The share of the service's throughput at which latencies are measured.
const HALF: f64 = 0.5;
/// Before each measurement, so that caches and connections are warm.
const WARM_UP: Duration = Duration::from_millis(300);

/// How close to bare transport the service comes
///
/// In each round, and for each scenario, the service and a tonic server that echoes the same messages are loaded one
/// after the other, by the same generator with the same requests: first as fast as answers come, for throughput and
/// CPU time, then at half the service's throughput, for latencies from the moment at which each call was due. Each
/// server runs on one core and the generator on another. Ratios are medians over the rounds.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server's executable; default: offer-ranker beside this one
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Only scenarios whose names contain this
    #[arg(long, value_name = "TEXT", default_value = "")]
    scenario: String,
    /// How often each scenario is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=101))]
    rounds: u32,
    /// How long each measurement takes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    measure_ms: u64,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    connections: u16,
    /// Calls under way at a time, over all connections
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// The Redis server's executable, for scenarios with Redis
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    redis_server: PathBuf,
    /// Confirm the generator: load the service of the first scenario with h2load as well, by this name or at this path,
    /// and print its throughput beside ours. Where there is no h2load this is skipped
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "h2load")]
    h2load: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// The two servers of a scenario, with connections to both.
struct Rivals {
    service: Server,
    service_connections: Connections,
    service_traffic: Arc<Mutex<Traffic>>,
    echo: Server,
    echo_connections: Connections,
    echo_traffic: Arc<Mutex<Traffic>>,
    // Dropped last: the service writes to it until its end.
    _redis: Option<RedisServer>,
}

/// Measures every scenario and prints the ratios.
///
/// # Errors
/// Where a server does not start, or calls fail.
pub(crate) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let pinned = pin_ourselves();
    // Looks at the network after every few steps: with the default, answers wait while calls are being sent.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(7).build()?;
    let report = runtime.block_on(measure(args, pinned))?;
    output::print(&report, args.json, out)
}

async fn measure(args: &Args, pinned: bool) -> anyhow::Result<Report> {
    let binary = args.server.clone().map_or_else(server_beside_us, Ok)?;
    let scenarios: Vec<&Scenario> =
        SCENARIOS.iter().filter(|scenario| scenario.name.contains(&args.scenario)).collect();
    let bar = output::progress_bar(scenarios.len() as u64 * u64::from(args.rounds), "rounds");
    let (mut measured, mut second_opinion) = (Vec::new(), None);
    for (index, scenario) in scenarios.into_iter().enumerate() {
        bar.set_message(scenario.name);
        let rivals = Rivals::start(args, &binary, scenario, pinned).await?;
        let mut rounds = Vec::new();
        for number in 0..args.rounds {
            rounds.push(rivals.round(args, number).await.with_context(|| scenario.name)?);
            bar.inc(1);
        }
        measured.push(Measured { scenario: scenario.name, rounds });
        if index == 0 {
            second_opinion = rivals.second_opinion(args).await.context("h2load")?;
        }
    }
    bar.finish_and_clear();
    Ok(Report { pinned, in_flight: args.in_flight, connections: args.connections, measured, second_opinion })
}

impl Rivals {
    async fn start(args: &Args, binary: &Path, scenario: &Scenario, pinned: bool) -> anyhow::Result<Self> {
        let redis = match scenario.store {
            Store::Embedded => None,
            Store::Redis => Some(RedisServer::start(&args.redis_server).await?),
        };
        let mut launch = Launch::new(binary, catalog(scenario.candidates, scenario.posterior));
        launch.command = on_server_core(pinned, &launch.command);
        launch.store = redis.as_ref().map(RedisServer::url);
        launch.arguments = scenario.arguments();
        let service = Server::start(&launch).await?;
        let service_connections = Connections::open(service.address(), usize::from(args.connections)).await?;
        let decisions = learn(&service_connections).await?;

        let folder = tempfile::tempdir()?;
        let answer = folder.path().join("answer");
        let request = framed(&rank(0));
        let answered: RankResponse = unframed(&service_connections.call(0, RANK, request).await?)?;
        fs::write(&answer, answered.encode_to_vec())?;
        let ourselves = env::current_exe()?.display().to_string();
        let command = [ourselves, "echo".to_owned(), "--answer".to_owned(), answer.display().to_string()];
        let echo = Server::start_other(&on_server_core(pinned, &command)).await?;
        let echo_connections = Connections::open(echo.address(), usize::from(args.connections)).await?;
        let traffic =
            |series: &str| Arc::new(Mutex::new(Traffic::new(scenario.traffic, decisions.clone(), series.to_owned())));
        Ok(Self {
            service,
            service_connections,
            service_traffic: traffic("measured"),
            echo,
            echo_connections,
            echo_traffic: traffic("echoed"),
            _redis: redis,
        })
    }

    /// Loads both, in turn, the other first in every other round.
    async fn round(&self, args: &Args, number: u32) -> anyhow::Result<Round> {
        let length = Duration::from_millis(args.measure_ms);
        let in_flight = usize::from(args.in_flight);
        let service = (&self.service, &self.service_connections, &self.service_traffic);
        let echo = (&self.echo, &self.echo_connections, &self.echo_traffic);
        let (service_load, echo_load) = if number.is_multiple_of(2) {
            let service = saturate(service, in_flight, length).await?;
            (service, saturate(echo, in_flight, length).await?)
        } else {
            let echo = saturate(echo, in_flight, length).await?;
            (saturate(service, in_flight, length).await?, echo)
        };
        let rate = service_load.per_second * HALF;
        let service_latency = self.service_connections.pace(&self.service_traffic, rate, length).await?;
        let echo_latency = self.echo_connections.pace(&self.echo_traffic, rate, length).await?;
        Ok(Round::new((service_load, &service_latency), (echo_load, &echo_latency)))
    }

    /// What h2load says of the service, if it is to be asked, beside what we say of it; by turns.
    async fn second_opinion(&self, args: &Args) -> anyhow::Result<Option<SecondOpinion>> {
        let Some(program) = args.h2load.clone() else { return Ok(None) };
        let length = Duration::from_millis(args.measure_ms);
        let (connections, in_flight) = (args.connections, args.in_flight);
        let h2load = H2load { program, connections, in_flight, length };
        if let Some(why) = h2load.missing().await? {
            return Ok(Some(SecondOpinion::Missing(why)));
        }
        let folder = tempfile::tempdir()?;
        let body = framed(&rank(0));
        let traffic = Arc::new(Mutex::new(Traffic::of_one(body.clone())));
        let mut rounds = Vec::new();
        for _ in 0..args.rounds {
            let service = (&self.service, &self.service_connections, &traffic);
            let ours = saturate(service, usize::from(in_flight), length).await?;
            let theirs = h2load.load(self.service.address(), RANK, &body, folder.path()).await?;
            rounds.push([ours.per_second, theirs]);
        }
        Ok(Some(SecondOpinion::Rounds(rounds)))
    }
}

/// Load as fast as answers come, and what it cost the server.
async fn saturate(
    (server, connections, traffic): (&Server, &Connections, &Arc<Mutex<Traffic>>),
    in_flight: usize,
    length: Duration,
) -> anyhow::Result<report::Load> {
    connections.saturate(traffic, in_flight, WARM_UP).await?;
    let before = cpu_ticks(server);
    let saturation = connections.saturate(traffic, in_flight, length).await?;
    let ticks = cpu_ticks(server).zip(before).map(|(after, before)| after - before);
    if saturation.failures > 0 {
        anyhow::bail!("{} of {} calls failed", saturation.failures, saturation.calls + saturation.failures);
    }
    // The kernel counts in hundredths of a second on every platform that has /proc.
    let cpu_us = ticks.map(|ticks| ticks as f64 * 10_000.0 / saturation.calls as f64);
    Ok(report::Load { per_second: saturation.per_second(), cpu_us })
}

/// CPU time that a process has used, in hundredths of a second; `None` where the system does not tell.
fn cpu_ticks(server: &Server) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.process_id()?)).ok()?;
    // After the name in parentheses: user time is field 14 of the line, system time 15.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Ranks some users, a third of whom convert; returns their decisions.
async fn learn(connections: &Connections) -> anyhow::Result<Vec<String>> {
    let mut decisions = Vec::new();
    for first in (0..LEARNED).step_by(LEARNING_IN_FLIGHT as usize) {
        let users = first..LEARNED.min(first + LEARNING_IN_FLIGHT);
        let calls = users.map(|n| connections.call(n as usize, RANK, framed(&rank(n))));
        for answer in try_join_all(calls).await? {
            decisions.push(unframed::<RankResponse>(&answer)?.decision_id);
        }
    }
    // Every third user: a batch of one outcome for every third request.
    let third: Vec<String> = decisions.iter().step_by(3).cloned().collect();
    let mut traffic = Traffic::new(TrafficKind::Outcomes(1), third.clone(), "learned".to_owned());
    for _ in &third {
        let (method, body) = traffic.next();
        debug_assert_eq!(method, RECORD_OUTCOMES);
        connections.call(0, method, body).await?;
    }
    Ok(decisions)
}

/// The core that servers run on; the generator has the other.
const SERVER_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";

/// Moves this process to a core of its own; `false` where that cannot be.
fn pin_ourselves() -> bool {
    let process_id = std::process::id().to_string();
    let pin =
        Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", GENERATOR_CORE, &process_id]).output();
    pin.is_ok_and(|output| output.status.success())
}

fn on_server_core(pinned: bool, command: &[String]) -> Vec<String> {
    let pin: &[&str] = if pinned { &["taskset", "--cpu-list", SERVER_CORE] } else { &[] };
    pin.iter().map(|word| (*word).to_owned()).chain(command.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
    }
}
