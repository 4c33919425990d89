//! A few connections that read beside the writer, each verb in one transaction: of one state.

use crate::store::{Result, StoreError};
use rusqlite::Connection;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::{sync::Semaphore, task};

/// The connections, lent to one read each.
pub(super) struct Readers {
    // As many permits as connections: whoever holds one finds a connection.
    permits: Arc<Semaphore>,
    count: u32,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let count = u32::try_from(connections.len()).expect("invariant: there is a handful of readers");
        Self { permits: Arc::new(Semaphore::new(connections.len())), count, idle: Mutex::new(connections) }
    }

    /// Does `work` on a blocking thread, once a connection is free.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // The permit goes with the work: a caller that gives up does not make room before its connection is back.
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| closed())?;
        let lent = Lent::take(Arc::clone(self));
        let done = task::spawn_blocking(move || {
            let result = in_one_transaction(&lent, work);
            drop(lent);
            drop(permit);
            result
        });
        done.await.unwrap_or_else(|error| {
            Err(StoreError::Unavailable { reason: format!("a read was not finished: {error}") })
        })
    }

    /// Waits for the reads under way, lets in no others, and closes the connections.
    pub(super) async fn close(&self) {
        // An error says that it has been closed before.
        let Ok(_all) = self.permits.acquire_many(self.count).await else { return };
        self.permits.close();
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // Nothing under this lock can leave the list half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable { reason: "it has been closed".to_owned() }
}

fn in_one_transaction<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    // A view stands in its own transaction for as long as it is open.
    let own = connection.is_autocommit().then(|| connection.unchecked_transaction()).transpose()?;
    let result = work(connection);
    drop(own);
    result
}

/// A connection on loan; goes back even if the work panics.
struct Lent {
    connection: Option<Connection>,
    readers: Arc<Readers>,
}

impl Lent {
    fn take(readers: Arc<Readers>) -> Self {
        let connection = readers.lock().pop();
        Self { connection, readers }
    }
}

impl std::ops::Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("invariant: there are as many connections as permits")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.readers.lock().push(connection);
        }
    }
}
