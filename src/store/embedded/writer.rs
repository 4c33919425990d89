//! The thread that writes, and the queue before it.
//!
//! Group commit: whatever waits in the queue goes into one transaction, and all of it is acknowledged once that is on
//! the disk, or all of it gets the error. While one batch is being synced the next one gathers, so the more callers
//! there are the fewer syncs each of them costs. Within a batch every command has a savepoint of its own: one that
//! fails takes nobody else with it.

use super::writes::{LogEnds, Writing};
use crate::{
    meters::QueueMeter,
    store::{Result, StoreError},
};
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
    meter: QueueMeter,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Command(Box<dyn Command>),
    Close(Closing),
}

/// Who asked to close, and waits for it.
type Closing = oneshot::Sender<Result<()>>;

/// A verb with its arguments and the caller who waits for it, whatever the type of its result.
trait Command: Send {
    /// Does it inside the batch's transaction; `false` if it failed and is to be undone.
    fn run(&mut self, writing: &mut Writing<'_>) -> bool;
    /// Tells the caller how it went, now that the batch is on the disk, or why the batch is not.
    fn acknowledge(self: Box<Self>, failure: Option<&str>);
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

    fn acknowledge(self: Box<Self>, failure: Option<&str>) {
        let answer = match (self.outcome, failure) {
            (Some(Err(own)), _) => Err(own),
            // Even a conflict counts for nothing here: it may have been one with what is now undone.
            (_, Some(reason)) => Err(StoreError::Unavailable { reason: reason.to_owned() }),
            (outcome, None) => outcome.expect("invariant: a batch is committed after all its commands ran"),
        };
        // A caller that has gone needs no answer.
        let _ = self.caller.send(answer);
    }
}

impl Writer {
    /// Starts the thread on a connection that is ready to write.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let meter = QueueMeter::new("store_writer", QUEUE_MAX);
        let emptied = meter.clone();
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || serve(connection, messages, &emptied))?;
        Ok(Self { queue: Some(queue), meter, thread: Some(thread) })
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
        queue.send(message).await.map_err(|_| stopped())?;
        self.meter.set(QUEUE_MAX - queue.capacity());
        Ok(())
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
fn serve(mut connection: Connection, mut messages: mpsc::Receiver<Message>, meter: &QueueMeter) {
    let mut ends = LogEnds::new();
    let mut closing = None;
    while closing.is_none()
        && let Some(first) = messages.blocking_recv()
    {
        let batch;
        (batch, closing) = gather(first, &mut messages);
        meter.set(messages.len());
        commit(&mut connection, &mut ends, batch);
    }
    let result = finish(connection);
    match (closing, result) {
        (Some(caller), result) => drop(caller.send(result)),
        (None, Err(error)) => {
            tracing::warn!(error.message = %error, "the store's last checkpoint failed; its WAL stays beside it")
        }
        (None, Ok(())) => {}
    }
}

/// What waits in the queue, up to a batch; and who asked to close after it.
fn gather(first: Message, messages: &mut mpsc::Receiver<Message>) -> (Vec<Box<dyn Command>>, Option<Closing>) {
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
    let failure = run(connection, ends, &mut batch).err().map(|error| {
        // The cache may be ahead of what is stored now.
        ends.clear();
        format!("the batch was not committed: {error}")
    });
    for command in batch {
        command.acknowledge(failure.as_deref());
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc as blocking;
    use tokio::task::JoinSet;

    /// A writer on a database in memory, in which a row of `child` without its `parent` lets the commit fail, but not
    /// the insert.
    fn writer() -> Writer {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE parent (id INTEGER PRIMARY KEY);
                 CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER NOT NULL
                     REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
                 INSERT INTO parent VALUES (1);",
            )
            .unwrap();
        Writer::start(connection).unwrap()
    }

    fn insert(writing: &Writing<'_>, id: i64, parent: i64) -> Result<()> {
        writing.connection.execute("INSERT INTO child VALUES (?1, ?2)", (id, parent))?;
        Ok(())
    }

    async fn children(writer: &Writer) -> Vec<i64> {
        let all = |writing: &mut Writing<'_>| {
            let mut statement = writing.connection.prepare("SELECT id FROM child ORDER BY id")?;
            Ok(statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<_>>>()?)
        };
        writer.write(all).await.unwrap()
    }

    /// Queues `children` (ids and parents) behind a command that holds the thread until all of them wait: one batch.
    async fn in_one_batch(writer: &std::sync::Arc<Writer>, children: Vec<(i64, i64)>) -> Vec<(i64, Result<()>)> {
        let (release, held) = blocking::channel::<()>();
        let mut calls = JoinSet::new();
        let holder = std::sync::Arc::clone(writer);
        let (started, has_started) = oneshot::channel();
        calls.spawn(async move {
            let hold = move |_: &mut Writing<'_>| {
                started.send(()).unwrap();
                held.recv().unwrap();
                Ok(())
            };
            (0, holder.write(hold).await)
        });
        has_started.await.unwrap();
        for (id, parent) in children {
            let writer = std::sync::Arc::clone(writer);
            calls.spawn(async move { (id, writer.write(move |writing| insert(writing, id, parent)).await) });
        }
        // One thread runs these tests: when it comes back here every call has queued its command.
        tokio::task::yield_now().await;
        release.send(()).unwrap();
        let mut answers = calls.join_all().await;
        answers.retain(|(id, _)| *id != 0);
        answers.sort_by_key(|(id, _)| *id);
        answers
    }

    #[tokio::test]
    async fn failed_commit_fails_every_command_of_its_batch_and_no_other() {
        let writer = std::sync::Arc::new(writer());
        for (id, answer) in in_one_batch(&writer, vec![(1, 1), (2, 404), (3, 1)]).await {
            let error = answer.expect_err("the batch was not committed");
            assert!(error.is_transient() && error.to_string().contains("not committed"), "{id}: {error}");
        }
        assert_eq!(children(&writer).await, [0; 0]);
        assert!(in_one_batch(&writer, vec![(4, 1), (5, 1)]).await.iter().all(|(_, answer)| answer.is_ok()));
        assert_eq!(children(&writer).await, [4, 5]);
    }

    #[tokio::test]
    async fn failed_command_is_undone_alone() {
        let writer = std::sync::Arc::new(writer());
        writer.write(|writing| insert(writing, 2, 1)).await.unwrap();
        let answers = in_one_batch(&writer, vec![(1, 1), (2, 1), (3, 1)]).await;
        assert_eq!(answers.iter().map(|(_, answer)| answer.is_ok()).collect::<Vec<_>>(), [true, false, true]);
        let half = |writing: &mut Writing<'_>| insert(writing, 7, 1).and_then(|()| insert(writing, 7, 1));
        assert!(matches!(writer.write(half).await, Err(StoreError::Corrupt { .. })));
        assert_eq!(children(&writer).await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn panic_of_the_writer_is_an_error_for_callers_and_not_a_hang() {
        let writer = writer();
        let panics = |_: &mut Writing<'_>| -> Result<()> { panic!("of this test") };
        for error in [writer.write(panics).await.unwrap_err(), writer.write(|_| Ok(())).await.unwrap_err()] {
            assert!(matches!(&error, StoreError::Unavailable { reason } if reason.contains("stopped")), "{error}");
        }
        writer.close().await.unwrap();
    }

    #[tokio::test]
    async fn close_comes_after_what_was_queued_before_it() {
        let writer = std::sync::Arc::new(writer());
        let (release, held) = blocking::channel::<()>();
        let (first, second, closer) = (writer.clone(), writer.clone(), writer.clone());
        let mut calls = JoinSet::new();
        calls.spawn(async move { first.write(move |_| held.recv().map_err(|_| stopped())).await });
        calls.spawn(async move { second.write(|writing| insert(writing, 1, 1)).await });
        calls.spawn(async move { closer.close().await });
        tokio::task::yield_now().await;
        release.send(()).unwrap();
        assert!(calls.join_all().await.iter().all(Result::is_ok));
        assert!(writer.write(|_| Ok(())).await.is_err());
    }
}
