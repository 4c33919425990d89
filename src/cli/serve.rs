//! `offer-ranker serve`: the service, until it is told to stop.

use super::{
    operations::{Operations, OperationsArgs},
    outage::OutageArgs,
    store::{StoreAddress, StoreArgs},
};
use crate::{
    catalog::{self, Problems},
    clock::{Clock as _, SystemClock, random_bytes},
    grpc::{
        server::{self, ServerSettings},
        web::Origins,
    },
    meters::AlreadyInstalled,
    service::{self, Service, ServiceError, Settings, backlog, refresh, spooling},
    store::{Store as _, StoreError, metered::Metered},
};
use prost::Message as _;
use std::{
    io::{self, Write},
    net::SocketAddr,
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What there is to tell the store at the end has at least this time, though calls in flight took all of --drain-ms.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Rank offers and learn, until SIGTERM or Ctrl-C
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Catalog file that seeds an empty store; a store that has a catalog keeps it
    #[arg(long, env = "OFFER_RANKER_CATALOG", value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "OFFER_RANKER_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    listen: SocketAddr,
    /// Origins of pages that may rank and report over gRPC-web, such as `https://shop.example`, separated by commas,
    /// or `*` for all; without any, gRPC-web is off
    #[arg(long, env = "OFFER_RANKER_GRPC_WEB_ORIGINS", value_name = "ORIGINS")]
    grpc_web_origins: Option<Origins>,
    #[command(flatten)]
    store: StoreArgs,
    /// When a Rank is answered: after its log record is durable, or before
    #[arg(long, env = "OFFER_RANKER_DECISION_LOG", value_name = "MODE", default_value = "durable")]
    decision_log: DecisionLog,
    /// With --decision-log async: decisions that may be answered and not logged; the next ones wait for their records
    #[arg(long, env = "OFFER_RANKER_DECISION_BACKLOG", value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    decision_backlog: u32,
    #[command(flatten)]
    outage: OutageArgs,
    /// Threads that answer calls; default: one for each core
    #[arg(long, env = "OFFER_RANKER_THREADS", value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// How often new outcomes are learned from, in milliseconds
    #[arg(long, env = "OFFER_RANKER_REFRESH_MS", value_name = "MS", default_value_t = 200,
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    refresh_ms: u64,
    /// Age from which answers are flagged stale and the server is not ready, in milliseconds
    #[arg(long, env = "OFFER_RANKER_SNAPSHOT_MAX_AGE_MS", value_name = "MS", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    snapshot_max_age_ms: u64,
    /// How long calls in flight may take to finish when the server is told to stop, in milliseconds
    #[arg(long, env = "OFFER_RANKER_DRAIN_MS", value_name = "MS", default_value_t = 10_000)]
    drain_ms: u64,
    /// For how many days it can be told whom a decision was made for, and what their attributes were; then it is destroyed
    #[arg(long, env = "OFFER_RANKER_IDENTITIES_DAYS", value_name = "DAYS", default_value_t = 400,
          value_parser = clap::value_parser!(u32).range(1..=36_500))]
    identities_days: u32,
    #[command(flatten)]
    operations: OperationsArgs,
}

/// When a Rank is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DecisionLog {
    /// After its log record is durable
    Durable,
    /// Before: a kill loses the decisions that were not logged or spooled yet, at most --decision-backlog of them
    Async,
}

/// Why the server could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The catalog file is not valid.
    #[error("{0}\nthe catalog is not valid; nothing was started")]
    Catalog(Problems),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service cannot start on what the store holds.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Nobody can listen there.
    #[error("cannot listen on {address}; is another server running? {flag} takes another address")]
    Listen {
        /// The flag that names the address.
        flag: &'static str,
        /// As given.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The server failed while serving.
    #[error("the server failed")]
    Serve(#[from] server::ServerError),
    /// Metrics cannot be gathered.
    #[error(transparent)]
    Metrics(#[from] AlreadyInstalled),
    /// Traces cannot be sent there.
    #[cfg(feature = "otlp")]
    #[error("--otlp-endpoint is no address of a collector, such as http://127.0.0.1:4317")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Signals or output failed.
    #[error("the system refused")]
    System(#[from] io::Error),
}

/// Serves until told to stop.
///
/// # Errors
/// Where it cannot start; everything that is wrong with a catalog file at once.
pub async fn run(args: Args, out: &mut impl Write) -> Result<(), ServeError> {
    let seed = args.catalog.as_deref().map(catalog::load).transpose().map_err(ServeError::Catalog)?;
    let operations = Operations::start(&args.operations).await?;
    let clock = Arc::new(SystemClock);
    let store = Arc::new(Metered::new(args.store.store.open(random_bytes(&*clock)).await?));
    let settings = Settings {
        snapshot_max_age_ms: args.snapshot_max_age_ms,
        backlog_max: match args.decision_log {
            DecisionLog::Durable => 0,
            DecisionLog::Async => args.decision_backlog as usize,
        },
        append_timeout: args.outage.append_timeout(),
        not_yet_s: args.outage.not_yet_s(),
        identities_s: u64::from(args.identities_days) * 86_400,
    };
    let now = clock.now();
    let declared = seed.map(|loaded| {
        loaded.warnings_at(now).to_string().lines().for_each(|warning| tracing::warn!("{warning}"));
        loaded.declared
    });
    let planted = declared.clone().map(|declared| (declared, "the first catalog file".to_owned()));
    let spool = args.outage.open_spool(store.identity().epoch)?;
    let service = Service::open(store.clone(), clock, settings, planted).await?;
    let service = Arc::new(match spool {
        Some(spool) => service.with_spool(spool),
        None => service,
    });
    warn_of_another_catalog(&service, &args, declared.as_ref());

    // Before anybody can know that the server is there: a signal that nobody waits for ends the process on the spot.
    let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let listener = TcpListener::bind(args.listen).await.map_err(|source| ServeError::Listen {
        flag: "--listen",
        address: args.listen,
        source,
    })?;
    operations.probes().started(service.clone());
    announce(&service, listener.local_addr()?, &args.store.store, &operations, out)?;
    let deadline = serve(&args, listener, service, &operations, signals).await?;
    match timeout_at(deadline, store.close()).await {
        Ok(closed) => closed?,
        // What it has not acknowledged, nobody was told of.
        Err(_) => tracing::warn!("the store does not answer; it is left as it is"),
    }
    operations.stop().await;
    tracing::info!("stopped");
    Ok(())
}

async fn serve(
    args: &Args,
    listener: TcpListener,
    service: Arc<Service>,
    operations: &Operations,
    [mut terminate, mut interrupt]: [Signal; 2],
) -> Result<Instant, ServeError> {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let health = tonic_health::server::HealthReporter::new();
    server::report_health(&health, true).await;
    let reporter = health.clone();
    let report = move |fresh| {
        let reporter = reporter.clone();
        async move { server::report_health(&reporter, fresh).await }
    };
    let period = Duration::from_millis(args.refresh_ms);
    let watching = stop.child_token();
    tasks.spawn(refresh::run(service.clone(), period, stop.clone()));
    tasks.spawn(refresh::watch(service.clone(), period, watching.clone(), report));
    tasks.spawn(backlog::run(service.clone(), stop.clone()));
    tasks.spawn(spooling::run(service.clone(), stop.clone()));
    if operations.measures() {
        tasks.spawn(service::meters::observe(service.clone(), stop.clone()));
    }
    tasks.close();
    let draining = health.clone();
    let drain = Duration::from_millis(args.drain_ms);
    // When everything has to be over.
    let mut deadline = Instant::now();
    let told_to_stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // From here on it is not serving, however fresh the snapshot is.
        watching.cancel();
        tracing::info!(drain.deadline_ms = args.drain_ms, "told to stop; calls in flight may finish");
        operations.drain(&draining).await;
        deadline = Instant::now() + drain;
    };
    let threads = args.threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let settings = ServerSettings { threads, web: args.grpc_web_origins.clone(), drain };
    let served = server::run(listener, (service.clone(), health), settings, told_to_stop).await;
    stop.cancel();
    served?;
    // Calls may have taken all of the time.
    deadline = deadline.max(Instant::now() + LAST_WORDS);
    let finish = async {
        tasks.wait().await;
        service.finish().await;
    };
    if timeout_at(deadline, finish).await.is_err() {
        tracing::warn!("the store does not answer; others learn on when the leases of this instance end");
    }
    let lost = service.log_rest(deadline).await;
    if lost > 0 {
        tracing::error!(decisions = lost, "the store was away to the end: these were answered and are not logged");
    }
    Ok(deadline.max(Instant::now() + LAST_WORDS))
}

/// The store is the truth; a file that says otherwise is worth a word.
fn warn_of_another_catalog(service: &Service, args: &Args, declared: Option<&crate::proto::Catalog>) {
    let (Some(declared), Some(file)) = (declared, &args.catalog) else { return };
    let serving = service.serving();
    if serving.stored.catalog != declared.encode_to_vec() {
        let file = file.display();
        tracing::warn!(
            "{file} differs from catalog revision {}, which the store holds and which serves; \
             to apply the file: offer-ranker catalog apply {file}",
            serving.stored.revision
        );
    }
}

fn announce(
    service: &Service,
    address: SocketAddr,
    store: &StoreAddress,
    operations: &Operations,
    out: &mut impl Write,
) -> io::Result<()> {
    let serving = service.serving();
    let placements = serving.placements.keys().map(|id| &**id).collect::<Vec<_>>().join(", ");
    writeln!(out, "offer-ranker {} listens on {address}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  catalog revision {}: {placements}", serving.stored.revision)?;
    writeln!(out, "  store {store}")?;
    operations.announce(out)?;
    if let Some(placement) = serving.placements.keys().next_back() {
        let market = serving.catalog.default_market.as_ref().or(serving.catalog.markets.keys().next());
        let market = market.map(|market| format!(r#","market":"{market}""#)).unwrap_or_default();
        let data = format!(r#"{{"placement":"{placement}","user_id":"user-1"{market},"platform":"web"}}"#);
        writeln!(out, "\nTry it:")?;
        writeln!(out, "  buf curl --protocol grpc --http2-prior-knowledge --data '{data}' \\")?;
        writeln!(out, "    http://{address}/offer_ranker.v1.RankingService/Rank")?;
    }
    out.flush()
}
