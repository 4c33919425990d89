//! The load: many calls over a few connections, as fast as answers come or at a steady rate.
//!
//! It speaks HTTP/2 itself and sends requests that are encoded beforehand, so that it costs less than what it measures.

use super::workload::Traffic;
use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use hdrhistogram::Histogram;
use http::{Request, Uri};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, task::JoinSet};

/// Bytes that the server may send ahead, by stream and by connection: more than there ever is.
const WINDOW_BYTES: u32 = 1 << 24;
/// Calls under way at a steady rate from which the server counts as overwhelmed.
const OUTSTANDING_MAX: u64 = 20_000;
/// Longest latency that is told apart, in microseconds: 60 s.
const LATENCY_MAX_US: u64 = 60_000_000;

/// Connections to one server.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    senders: Vec<SendRequest<Bytes>>,
    authority: String,
}

/// What came of load as fast as answers come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saturation {
    /// Calls answered.
    pub(crate) calls: u64,
    /// Calls that failed.
    pub(crate) failures: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

impl Saturation {
    /// Calls answered in a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64()
    }
}

impl Connections {
    /// Opens connections.
    pub(crate) async fn open(address: &str, count: usize) -> anyhow::Result<Self> {
        let mut senders = Vec::new();
        for _ in 0..count {
            let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
            stream.set_nodelay(true)?;
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
            let (sender, connection) = builder.handshake(stream).await?;
            // How it ended shows in the calls.
            let connection = async move { drop(connection.await) };
            #[expect(clippy::disallowed_methods, reason = "it ends with the process, and nobody waits for it")]
            drop(tokio::spawn(connection));
            senders.push(sender);
        }
        Ok(Self { senders, authority: address.to_owned() })
    }

    /// One call; what came back, where its status is OK.
    pub(crate) async fn call(&self, connection: usize, method: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let sender = self.senders[connection % self.senders.len()].clone();
        let uri = Uri::builder().scheme("http").authority(self.authority.as_str()).path_and_query(method).build()?;
        let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers").body(())?;
        let (response, mut stream) = sender.ready().await?.send_request(request, false)?;
        stream.send_data(body, true)?;
        let response = response.await?;
        let mut status = response.headers().get("grpc-status").cloned();
        let mut body = response.into_body();
        let mut received = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            received.extend_from_slice(&chunk);
        }
        if let Some(trailers) = body.trailers().await? {
            status = trailers.get("grpc-status").cloned().or(status);
        }
        if status.as_ref().is_none_or(|status| status != "0") {
            bail!("the server answered with status {status:?}");
        }
        Ok(received.freeze())
    }

    /// Keeps `in_flight` calls under way for this long.
    pub(crate) async fn saturate(
        &self,
        traffic: &Arc<Mutex<Traffic>>,
        in_flight: usize,
        length: Duration,
    ) -> anyhow::Result<Saturation> {
        let begun = Instant::now();
        let mut callers = JoinSet::new();
        for caller in 0..in_flight {
            let (connections, traffic) = (self.clone(), Arc::clone(traffic));
            callers.spawn(async move {
                let (mut calls, mut failures) = (0, 0);
                while begun.elapsed() < length {
                    let (method, body) = next(&traffic);
                    match connections.call(caller, method, body).await {
                        Ok(_) => calls += 1,
                        Err(_) => failures += 1,
                    }
                }
                (calls, failures)
            });
        }
        let counts = callers.join_all().await;
        let elapsed = begun.elapsed();
        let (calls, failures) = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        Ok(Saturation { calls, failures, elapsed })
    }

    /// Sends `per_second` calls a second for this long, whether or not answers come, and measures each from the moment
    /// at which it should have been sent: a server that stalls is charged for every call that had to wait (coordinated
    /// omission, G. Tene). Latencies are in microseconds.
    pub(crate) async fn pace(
        &self,
        traffic: &Arc<Mutex<Traffic>>,
        per_second: f64,
        length: Duration,
    ) -> anyhow::Result<Histogram<u64>> {
        let latencies = Arc::new(Mutex::new(Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?));
        let (outstanding, failures) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let calls = (per_second * length.as_secs_f64()) as u32;
        let begun = Instant::now();
        let mut callers = JoinSet::new();
        for number in 0..calls {
            let due = begun + Duration::from_secs_f64(f64::from(number) / per_second);
            // A timer wakes a millisecond late; this core has nothing else to do than to look at the clock.
            while Instant::now() < due {
                tokio::task::yield_now().await;
            }
            if outstanding.fetch_add(1, Ordering::Relaxed) > OUTSTANDING_MAX {
                bail!(
                    "{OUTSTANDING_MAX} calls were waiting at {per_second:.0} calls a second: the server is overwhelmed"
                );
            }
            let (connections, traffic) = (self.clone(), Arc::clone(traffic));
            let (latencies, outstanding, failures) =
                (Arc::clone(&latencies), Arc::clone(&outstanding), Arc::clone(&failures));
            callers.spawn(async move {
                let (method, body) = next(&traffic);
                let answer = connections.call(number as usize, method, body).await;
                let latency_us = (due.elapsed().as_micros() as u64).clamp(1, LATENCY_MAX_US);
                latencies.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(latency_us);
                failures.fetch_add(u64::from(answer.is_err()), Ordering::Relaxed);
                outstanding.fetch_sub(1, Ordering::Relaxed);
            });
            while callers.try_join_next().is_some() {}
        }
        callers.join_all().await;
        match failures.load(Ordering::Relaxed) {
            0 => Ok(latencies.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            failures => bail!("{failures} of {calls} calls failed at {per_second:.0} calls a second"),
        }
    }
}

fn next(traffic: &Mutex<Traffic>) -> (&'static str, Bytes) {
    traffic.lock().unwrap_or_else(PoisonError::into_inner).next()
}
