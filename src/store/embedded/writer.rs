//! The thread that writes, and the queue before it.
//!
//! Group commit: whatever waits in the queue goes into one transaction, and all of it is acknowledged once that is on
//! the disk, or all of it gets the error. While one batch is being synced the next one gathers, so the more callers
//! there are the fewer syncs each of them costs. Within a batch every command has a savepoint of its own: one that
//! fails takes nobody else with it.

use super::writes::{LogEnds, Writing};
use crate::store::{Result, StoreError};
use rusqlite::{Connection, TransactionBehavior};
use std::thread::{self, JoinHandle};
use tokio::sync::{mpsc, oneshot};

/// How many commands may wait; later callers wait for a place.
const QUEUE_MAX: usize = 1024;

/// How many commands one transaction takes at most, which bounds how long the first of them waits for the last.
const BATCH_MAX: usize = 512;

/// The handle; dropping it lets the thread finish the queue, and waits for it.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Command(Box<dyn Command>),
    Close(oneshot::Sender<Result<()>>),
}

/// A verb with its arguments and the caller who waits for it, whatever the type of its result.
trait Command: Send {
    /// Does it inside the batch's transaction; `false` if it failed and is to be undone.
    fn run(&mut self, writing: &mut Writing<'_>) -> bool;
    /// Tells the caller how it went, now that the batch is on the disk or has failed.
    fn acknowledge(self: Box<Self>, batch: Result<(), &str>);
}

struct Verb<F, T> {
    work: Option<F>,
    outcome: Option<Result<T>>,
    caller: oneshot::Sender<Result<T>>,
}

impl<F, T> Command for Verb<F, T>
where
    F: FnOnce(&mut Writing<'_>) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, writing: &mut Writing<'_>) -> bool {
        let work = self.work.take().expect("invariant: a command runs once");
        self.outcome.insert(work(writing)).is_ok()
    }

    fn acknowledge(self: Box<Self>, batch: Result<(), &str>) {
        let answer = match (self.outcome, batch) {
            (Some(Err(own)), _) => Err(own),
            (Some(Ok(outcome)), Ok(())) => Ok(outcome),
            // Even a refusal counts for nothing here: it may have been refused for what is now undone.
            (_, Err(reason)) => Err(StoreError::Unavailable { reason: reason.to_owned() }),
            (None, Ok(())) => unreachable!("invariant: a batch is committed after all its commands ran"),
        };
        // A caller that has gone needs no answer.
        let _ = self.caller.send(answer);
    }
}

impl Writer {
    /// Starts the thread on a connection that is ready to write.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let thread =
            thread::Builder::new().name("store-writer".to_owned()).spawn(move || serve(connection, messages))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Queues `work` and waits until what it did is on the disk.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (caller, answer) = oneshot::channel();
        self.send(Message::Command(Box::new(Verb { work: Some(work), outcome: None, caller }))).await?;
        answer.await.map_err(|_| stopped())?
    }

    /// Finishes what is queued, folds the WAL into the file and closes the connection.
    pub(super) async fn close(&self) -> Result<()> {
        let (caller, answer) = oneshot::channel();
        match self.send(Message::Close(caller)).await {
            Ok(()) => answer.await.map_err(|_| stopped())?,
            // Closing twice is no error, nor is closing what has stopped by itself.
            Err(_) => Ok(()),
        }
    }

    async fn send(&self, message: Message) -> Result<()> {
        let queue = self.queue.as_ref().expect("invariant: the queue is taken only by drop");
        queue.send(message).await.map_err(|_| stopped())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer had panicked; what it had not acknowledged is undone");
        }
    }
}

fn stopped() -> StoreError {
    let reason = "its writer has stopped, because the store was closed or the writer panicked; restart the server";
    StoreError::Unavailable { reason: reason.to_owned() }
}

/// The thread: until the queue is closed and empty, or somebody asks to close.
fn serve(mut connection: Connection, mut messages: mpsc::Receiver<Message>) {
    let mut ends = LogEnds::new();
    let mut closing = None;
    while closing.is_none()
        && let Some(first) = messages.blocking_recv()
    {
        let batch;
        (batch, closing) = gather(first, &mut messages);
        commit(&mut connection, &mut ends, batch);
    }
    let result = finish(connection);
    match (closing, result) {
        (Some(caller), result) => drop(caller.send(result)),
        (None, Err(error)) => tracing::warn!(%error, "the store's last checkpoint failed; its WAL stays beside it"),
        (None, Ok(())) => {}
    }
}

/// What waits in the queue, up to a batch; and who asked to close after it.
fn gather(
    first: Message,
    messages: &mut mpsc::Receiver<Message>,
) -> (Vec<Box<dyn Command>>, Option<oneshot::Sender<Result<()>>>) {
    let mut batch = Vec::new();
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Command(command) => batch.push(command),
            Message::Close(caller) => return (batch, Some(caller)),
        }
        next = if batch.len() < BATCH_MAX { messages.try_recv().ok() } else { None };
    }
    (batch, None)
}

fn commit(connection: &mut Connection, ends: &mut LogEnds, mut batch: Vec<Box<dyn Command>>) {
    let result = run(connection, ends, &mut batch).map_err(|error| {
        // The cache may be ahead of what is stored now.
        ends.clear();
        format!("the batch was not committed: {error}")
    });
    for command in batch {
        command.acknowledge(result.as_ref().map(|()| ()).map_err(String::as_str));
    }
}

fn run(connection: &mut Connection, ends: &mut LogEnds, batch: &mut [Box<dyn Command>]) -> rusqlite::Result<()> {
    // Rolls back when dropped. Immediate: waits for the lock here, where waiting is possible, and not at a later write.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for command in batch {
        transaction.prepare_cached("SAVEPOINT command")?.execute([])?;
        if !command.run(&mut Writing { connection: &transaction, ends }) {
            // Where SQLite had to undo the whole transaction there is no savepoint any more, and the batch fails here.
            transaction.prepare_cached("ROLLBACK TO command")?.execute([])?;
            ends.clear();
        }
        transaction.prepare_cached("RELEASE command")?.execute([])?;
    }
    transaction.commit()
}

fn finish(connection: Connection) -> Result<()> {
    // Under a reader of another process this folds in what it can; the rest waits in the WAL for the next start.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error.into())
}
