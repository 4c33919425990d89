//! What operators want of `serve`: a port with metrics and probes, and a warning before the server goes.

use super::serve::ServeError;
#[cfg(feature = "otlp")]
use super::traces::Traces;
use crate::{
    grpc::server,
    meters,
    ops::{self, probes::Probes},
};
use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic_health::server::HealthReporter;

/// Flags of `serve` for operators.
#[derive(Clone, Debug, clap::Args)]
pub struct OperationsArgs {
    /// Address for metrics and probes (/metrics, /livez, /readyz); without it there are none. Keep it inside: nobody
    /// is asked who they are
    #[arg(long, env = "OFFER_RANKER_METRICS_LISTEN", value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// How long the server goes on taking new calls after it was told to stop and turned unready, in milliseconds:
    /// the time that load balancers take to notice
    #[arg(long, env = "OFFER_RANKER_DRAIN_DELAY_MS", value_name = "MS", default_value_t = 0)]
    drain_delay_ms: u64,
    /// Collector that takes traces of calls over OTLP/gRPC, such as http://127.0.0.1:4317; without it there are none
    #[cfg(feature = "otlp")]
    #[arg(long, env = "OFFER_RANKER_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
}

/// The operators' port, if there is one, and what it is told.
pub(super) struct Operations {
    probes: Arc<Probes>,
    drain_delay: Duration,
    address: Option<SocketAddr>,
    tasks: TaskTracker,
    stop: CancellationToken,
    #[cfg(feature = "otlp")]
    traces: Option<Traces>,
}

impl Operations {
    /// Opens the port. To be called first: what is measured before goes nowhere, and probes want to hear that the
    /// server is starting.
    pub(super) async fn start(args: &OperationsArgs) -> Result<Self, ServeError> {
        let mut operations = Self {
            probes: Arc::default(),
            drain_delay: Duration::from_millis(args.drain_delay_ms),
            address: None,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            #[cfg(feature = "otlp")]
            traces: args.otlp_endpoint.as_deref().map(Traces::start).transpose()?,
        };
        if let Some(address) = args.metrics_listen {
            let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen {
                flag: "--metrics-listen",
                address,
                source,
            })?;
            operations.address = Some(listener.local_addr()?);
            let registry = meters::install()?;
            let answering = ops::run(listener, registry, operations.probes.clone(), operations.stop.clone());
            operations.tasks.spawn(async {
                if let Err(error) = answering.await {
                    tracing::error!(error.message = %error, "metrics and probes are gone");
                }
            });
        }
        operations.tasks.close();
        Ok(operations)
    }

    /// Whether anybody may ask for what is measured.
    pub(super) fn measures(&self) -> bool {
        self.address.is_some()
    }

    /// What probes are told.
    pub(super) fn probes(&self) -> &Probes {
        &self.probes
    }

    /// Says where the port is.
    pub(super) fn announce(&self, out: &mut impl Write) -> io::Result<()> {
        match self.address {
            Some(address) => writeln!(out, "  metrics http://{address}/metrics"),
            None => Ok(()),
        }
    }

    /// Turns unready and gives load balancers time to notice.
    pub(super) async fn drain(&self, health: &HealthReporter) {
        self.probes.drain();
        server::report_health(health, false).await;
        tokio::time::sleep(self.drain_delay).await;
    }

    /// Closes the port; with traces, sends the last of them.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
        #[cfg(feature = "otlp")]
        if let Some(traces) = self.traces {
            traces.finish().await;
        }
    }
}
