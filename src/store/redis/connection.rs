//! The way to the servers: one connection to a standalone Redis, or a client of a Cluster, which has one to each node.
//!
//! Many callers share a connection; their pipelines follow each other on it. A connection that fails, or that leads
//! to a server that was demoted to a replica, is dropped, and the next call makes a new one: the name is resolved
//! again. A pipeline whose connection turns out to be gone is sent once more, and a Cluster's client sends again what
//! a node did not answer: so nothing goes over this link that may not arrive twice.

use super::{
    address::RedisUrl,
    errors::{open_error, store_error},
    nodes::{Nodes, Patience},
    scripts::{self, Call, is_unknown_script},
};
use crate::store::{Result, StoreError};
use redis::{
    AsyncConnectionConfig, Client, Pipeline, RedisError, RedisResult, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, timeout},
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a server may take to answer a pipeline.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(4);

/// For how long a failure to connect answers those who waited for it, so that each of them does not wait for its own.
const FAILURE_SHARED: Duration = Duration::from_millis(100);

/// The way to a standalone server or a Cluster.
pub(super) struct Link {
    route: Route,
    closed: AtomicBool,
}

enum Route {
    One(Box<One>),
    Cluster(Box<Nodes>),
}

/// A standalone server.
struct One {
    client: Client,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// Counts connections, so that a caller drops the one that failed it and not a newer one.
    generation: u64,
    connection: Option<MultiplexedConnection>,
    failure: Option<(Instant, RedisError)>,
}

impl Link {
    /// Connects; to a Cluster where the server says that it belongs to one. Returns what `INFO` says, of each primary
    /// by its address; `None` where this user may not ask.
    pub(super) async fn open(url: &RedisUrl) -> Result<(Self, Option<BTreeMap<String, String>>)> {
        let failed = |error: RedisError| open_error(&url.to_string(), &error);
        let (info, certificates) = (url.connection_info()?, url.certificates()?);
        let client = match &certificates {
            Some(certificates) => Client::build_with_tls(info.clone(), certificates.clone()),
            None => Client::open(info.clone()),
        };
        let one = One { client: client.map_err(failed)?, current: Mutex::default() };
        let said = match one.send(scripts::pipeline([&Call::plain("INFO", &[])])).await.map_err(failed)?.pop() {
            Some(Value::ServerError(error)) if error.code() == "NOPERM" => None,
            Some(Value::ServerError(error)) => return Err(failed(error.into())),
            said => Some(redis::from_redis_value::<String>(said.unwrap_or_default()).map_err(|e| failed(e.into()))?),
        };
        let link = |route| Self { route, closed: AtomicBool::new(false) };
        if said.as_ref().is_none_or(|said| !said.lines().any(|line| line.trim() == "cluster_enabled:1")) {
            let address = info.addr().to_string();
            return Ok((link(Route::One(Box::new(one))), said.map(|said| BTreeMap::from([(address, said)]))));
        }
        let patience = Patience { connect: CONNECT_TIMEOUT, response: RESPONSE_TIMEOUT };
        let (nodes, said) = Nodes::open(info, certificates, &patience).await.map_err(failed)?;
        Ok((link(Route::Cluster(Box::new(nodes))), Some(said)))
    }

    /// Lets go of the servers; calls that come later are unavailable.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Route::One(one) = &self.route {
            one.current.lock().await.connection = None;
        }
    }

    /// Sends calls whose keys are all in one slot, as one pipeline; answers in their order, errors of servers included.
    pub(super) async fn call(&self, calls: &[Call]) -> Result<Vec<Value>> {
        let mut values = self.send(scripts::pipeline(calls)).await?;
        let unknown: Vec<_> = (0..values.len()).filter(|&index| is_unknown_script(&values[index])).collect();
        if !unknown.is_empty() {
            let again = self.send(scripts::pipeline_in_full(unknown.iter().map(|&index| &calls[index]))).await?;
            unknown.into_iter().zip(again).for_each(|(index, value)| values[index] = value);
        }
        Ok(values)
    }

    /// Sends one call.
    pub(super) async fn call_one(&self, call: Call) -> Result<Value> {
        Ok(self.call(&[call]).await?.pop().unwrap_or_default())
    }

    /// Sends groups of calls, each group with its keys in one slot: one after the other in one pipeline to a standalone
    /// server, at once to the nodes of a Cluster. Answers are in the order of the groups.
    pub(super) async fn call_groups(self: &Arc<Self>, groups: Vec<Vec<Call>>) -> Result<Vec<Vec<Value>>> {
        if matches!(self.route, Route::One(_)) || groups.len() < 2 {
            let lengths: Vec<_> = groups.iter().map(Vec::len).collect();
            let calls: Vec<_> = groups.into_iter().flatten().collect();
            if calls.is_empty() {
                return Ok(vec![Vec::new(); lengths.len()]);
            }
            let mut values = self.call(&calls).await?.into_iter();
            return Ok(lengths.into_iter().map(|length| values.by_ref().take(length).collect()).collect());
        }
        let mut answers = vec![Vec::new(); groups.len()];
        let mut asking = JoinSet::new();
        for (index, calls) in groups.into_iter().enumerate() {
            let link = Arc::clone(self);
            asking.spawn(async move { (index, link.call(&calls).await) });
        }
        while let Some(asked) = asking.join_next().await {
            let (index, values) = asked.map_err(|_| closed())?;
            answers[index] = values?;
        }
        Ok(answers)
    }

    async fn send(&self, pipeline: Pipeline) -> Result<Vec<Value>> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(closed());
        }
        let count = pipeline.len();
        let answer = match &self.route {
            Route::One(one) => one.send(pipeline).await,
            Route::Cluster(nodes) => nodes.send(&pipeline).await,
        };
        let values = answer.map_err(|error| store_error(&error))?;
        if values.len() == count {
            return Ok(values);
        }
        let reason = format!("{} answers to {count} calls; is a proxy between this server and Redis?", values.len());
        Err(StoreError::Unavailable { reason })
    }
}

impl One {
    async fn send(&self, pipeline: Pipeline) -> RedisResult<Vec<Value>> {
        let mut again = true;
        loop {
            let (generation, mut connection) = self.connection().await?;
            let answer = connection.req_packed_commands(&pipeline, 0, pipeline.len()).await;
            let keep = answer.as_ref().is_ok_and(|values| !values.iter().any(is_demoted));
            if !keep {
                self.forget(generation).await;
            }
            match answer {
                Err(error) if error.is_connection_dropped() && std::mem::take(&mut again) => {}
                answer => return answer,
            }
        }
    }

    /// The connection that is there, or a new one. Callers wait for one attempt together.
    async fn connection(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok((current.generation, connection.clone()));
        }
        if let Some((at, error)) = &current.failure
            && at.elapsed() < FAILURE_SHARED
        {
            return Err(error.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        // The driver's own limit leaves out the handshake, and a server that hangs accepts connections.
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let connected = timeout(CONNECT_TIMEOUT * 2, connecting).await.unwrap_or_else(|_| {
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "connecting took too long").into())
        });
        match connected {
            Ok(connection) => {
                current.generation += 1;
                current.connection = Some(connection.clone());
                current.failure = None;
                Ok((current.generation, connection))
            }
            Err(error) => {
                current.failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn forget(&self, generation: u64) {
        let mut current = self.current.lock().await;
        if current.generation == generation {
            current.connection = None;
        }
    }
}

/// Whether a server says that it is not the primary any more.
fn is_demoted(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == "READONLY")
}

fn closed() -> StoreError {
    let reason = "it was closed, because the server is stopping; restart the server";
    StoreError::Unavailable { reason: reason.to_owned() }
}
