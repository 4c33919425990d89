//! The nodes of a Cluster, behind a client that finds a slot's primary and sends again what a node did not answer.
//!
//! While such a client learns anew who owns which slot, it moves nothing else on, which can leave it waiting for itself
//! when a node comes back at that moment (redis 1.8.1; issue 2418 of the driver is one of the ways): every call on it
//! times out from then on, to any node. So a client on which a call timed out and none was answered meanwhile is
//! replaced. A node that is silent alone has neighbours that answer, and leaves the client where it is.

use redis::{
    ConnectionAddr, ConnectionInfo, Pipeline, RedisError, RedisResult, TlsCertificates, Value,
    aio::ConnectionLike as _,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Mutex, time::timeout};

/// How long an attempt of the client may take with all that it sends again.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the client sends something again, waiting longer each time.
const RETRIES: u32 = 6;

/// The nodes of a Cluster.
pub(super) struct Nodes {
    client: ClusterClient,
    current: RwLock<Arc<Current>>,
    /// Held while a client is made that takes the current one's place.
    replacing: Mutex<()>,
}

/// A client in use.
struct Current {
    connection: ClusterConnection,
    /// Calls that came to an end other than by timing out.
    answered: AtomicU64,
}

impl Current {
    fn of(connection: ClusterConnection) -> Arc<Self> {
        Arc::new(Self { connection, answered: AtomicU64::new(0) })
    }
}

/// How long a node may take to let a client connect, and to answer it.
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) response: Duration,
}

impl Nodes {
    /// Connects by way of any node. Returns what `INFO` says of each primary, by its address.
    pub(super) async fn open(
        any: ConnectionInfo,
        certificates: Option<TlsCertificates>,
        patience: &Patience,
    ) -> RedisResult<(Self, BTreeMap<String, String>)> {
        let client = |nodes: Vec<ConnectionInfo>| {
            let builder = ClusterClientBuilder::new(nodes)
                .retries(RETRIES)
                .connection_timeout(patience.connect)
                .response_timeout(patience.response)
                .overall_response_timeout(Some(CALL_TIMEOUT));
            certificates.iter().fold(builder, |builder, known| builder.certs(known.clone())).build()
        };
        let mut connection = client(vec![any.clone()])?.get_async_connection().await?;
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let said = connection.route_command(redis::cmd("INFO"), everywhere).await?;
        let said: BTreeMap<String, String> = redis::from_redis_value(said)?;
        // A later client must not depend on one node, which may be the dead one.
        let others = said.keys().filter_map(|address| at(&any, address));
        let client = client([any.clone()].into_iter().chain(others).collect())?;
        let current = RwLock::new(Current::of(connection));
        Ok((Self { client, current, replacing: Mutex::default() }, said))
    }

    /// Sends a pipeline whose keys are all in one slot.
    pub(super) async fn send(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let current = self.current();
        let answered = current.answered.load(Ordering::Relaxed);
        let answer = current.connection.clone().req_packed_commands(pipeline, 0, pipeline.len()).await;
        if !answer.as_ref().is_err_and(RedisError::is_timeout) {
            current.answered.fetch_add(1, Ordering::Relaxed);
        } else if current.answered.load(Ordering::Relaxed) == answered {
            self.replace(&current).await;
        }
        answer
    }

    /// Puts a new client in this one's place, unless that was done or is being done.
    async fn replace(&self, silent: &Arc<Current>) {
        let Ok(_alone) = self.replacing.try_lock() else { return };
        if !Arc::ptr_eq(&self.current(), silent) {
            return;
        }
        match timeout(CALL_TIMEOUT, self.client.get_async_connection()).await {
            Ok(Ok(connection)) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current::of(connection);
                tracing::warn!("no node answered, so the client of the Cluster was replaced");
            }
            Ok(Err(error)) => tracing::debug!(error.message = %error, "no node lets a new client connect"),
            Err(_) => tracing::debug!("no node lets a new client connect in time"),
        }
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The node at `host:port`, to be reached as this one is; `None` where that is no address.
fn at(known: &ConnectionInfo, address: &str) -> Option<ConnectionInfo> {
    let (host, port) = address.rsplit_once(':')?;
    let (host, port) = (host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?);
    let addr = match known.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    Some(known.clone().set_addr(addr))
}
