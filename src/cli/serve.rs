//! `offer-ranker serve`: the service, until it is told to stop.

use super::{
    operations::{Operations, OperationsArgs},
    store::{StoreAddress, StoreArgs},
};
use crate::{
    catalog::{self, Problems},
    clock::{SystemClock, random_bytes},
    grpc::server,
    meters::AlreadyInstalled,
    service::{self, Service, ServiceError, Settings, refresh},
    store::{StoreError, embedded::EmbeddedStore, metered::Metered},
};
use prost::Message as _;
use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Rank offers and learn, until SIGTERM or Ctrl-C
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Catalog file that seeds an empty store; a store that has a catalog keeps it
    #[arg(long, env = "OFFER_RANKER_CATALOG", value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "OFFER_RANKER_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    listen: SocketAddr,
    #[command(flatten)]
    store: StoreArgs,
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
    #[command(flatten)]
    operations: OperationsArgs,
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
    Serve(#[from] tonic::transport::Error),
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
    let StoreAddress::Embedded(path) = &args.store.store;
    let store = Arc::new(EmbeddedStore::open(path, random_bytes(&*clock))?);
    let settings = Settings { snapshot_max_age_ms: args.snapshot_max_age_ms };
    let declared = seed.map(|loaded| {
        loaded.warnings.to_string().lines().for_each(|warning| tracing::warn!("{warning}"));
        loaded.declared
    });
    let planted = declared.clone().map(|declared| (declared, "the first catalog file".to_owned()));
    let service = Arc::new(Service::open(Arc::new(Metered::new(store.clone())), clock, settings, planted).await?);
    warn_of_another_catalog(&service, &args, declared.as_ref());

    // Before anybody can know that the server is there: a signal that nobody waits for ends the process on the spot.
    let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let listener = TcpListener::bind(args.listen).await.map_err(|source| ServeError::Listen {
        flag: "--listen",
        address: args.listen,
        source,
    })?;
    operations.probes().started(service.clone());
    announce(&service, listener.local_addr()?, path, &operations, out)?;
    serve(&args, listener, service, &operations, signals).await?;
    store.close().await?;
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
) -> Result<(), ServeError> {
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
    if operations.measures() {
        tasks.spawn(service::meters::observe(service.clone(), stop.clone()));
    }
    tasks.close();
    let draining = health.clone();
    let told_to_stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // From here on it is not serving, however fresh the snapshot is.
        watching.cancel();
        tracing::info!(drain.deadline_ms = args.drain_ms, "told to stop; calls in flight may finish");
        operations.drain(&draining).await;
    };
    let served =
        server::run(listener, service.clone(), health, told_to_stop, Duration::from_millis(args.drain_ms)).await;
    stop.cancel();
    tasks.wait().await;
    service.finish().await;
    Ok(served?)
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
    store: &std::path::Path,
    operations: &Operations,
    out: &mut impl Write,
) -> io::Result<()> {
    let serving = service.serving();
    let placements = serving.placements.keys().map(|id| &**id).collect::<Vec<_>>().join(", ");
    writeln!(out, "offer-ranker {} listens on {address}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  catalog revision {}: {placements}", serving.stored.revision)?;
    writeln!(out, "  store {}", store.display())?;
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
