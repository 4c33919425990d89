//! Where decisions wait on this machine's disk while the store is away: a folder of bounded size.
//!
//! What is kept here survives a kill -9 and a power cut: it is on the disk before anybody is told. The spool knows
//! nothing of stores but what an append is; whoever owns it offers what waits to the store, in the order of its coming,
//! and says what is done. Offering something twice is harmless, because appends are.

use super::{DecisionKey, LogId, RequestMark, Result, StoreError};
use crate::{lock, meters};
use metrics::Gauge;
use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};
use tokio::sync::{mpsc, oneshot};

mod entry;
mod index;
mod segment;
mod writer;

pub use entry::Spooled;
use index::Index;
pub use index::Place;
use segment::Folder;
use writer::{Entry, Job, Writer};

/// The smallest spool, in bytes: some hundred decisions.
pub const SPOOL_BYTES_MIN: u64 = 1 << 20;
/// Sizes of segments: an eighth of the spool, within these bounds. Space comes back by whole segments.
const SEGMENT_BYTES: (u64, u64) = (1 << 16, 8 << 20);
/// How many callers may wait for the writer; later ones wait for a place.
const QUEUE_MAX: usize = 1024;

/// The handle; dropping it lets the writer finish what is queued, and waits for it.
pub struct Spool {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Held as long as the spool is open: a folder has one owner.
    _lock: File,
}

/// What became of a decision that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is on the disk.
    Kept,
    /// Its request is answered by a decision that waits here already; nothing was written.
    Repeated {
        /// The decision that answers it.
        decision: DecisionKey,
        /// Digest of the body that it answers.
        fingerprint: [u8; 32],
    },
    /// There is no room for it; nothing was written.
    Full,
}

/// A decision that waits, and where.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its place in the order of coming.
    pub place: Place,
    /// Its id.
    pub decision: DecisionKey,
    /// What was kept; `None`: it waits no more, because it is done or damaged, or cannot be read, which was logged.
    pub spooled: Option<Spooled>,
}

/// What the handle and the thread share.
struct Shared {
    folder: Folder,
    index: Mutex<Index>,
    bytes_max: u64,
    segment_bytes: u64,
    /// Decisions and bytes.
    gauges: [Gauge; 2],
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        // Nothing that holds it can panic midway.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        let index = self.index();
        self.gauges[0].set(index.len() as f64);
        self.gauges[1].set(index.bytes() as f64);
    }
}

impl Spool {
    /// Opens a spool for the store with this epoch, and makes its folder where there is none. What an earlier process
    /// left in it waits on. What is damaged, or meant for another store, is set aside and logged as an error; it never
    /// keeps a spool from opening.
    ///
    /// # Errors
    /// Where the folder cannot be made, read or written to, or is another process's.
    pub fn open(path: &Path, bytes_max: u64, epoch: [u8; 16]) -> Result<Self> {
        let failed = |reason: String| StoreError::Open { location: format!("the spool {}", path.display()), reason };
        let refused =
            |error: std::io::Error| failed(format!("{error}; it must be a folder that this user may write to"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refused)?;
        let mut options = File::options();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(path.join("lock"));
        let lock = lock.map_err(refused)?;
        lock::take(&lock).map_err(|error| match error {
            TryLockError::WouldBlock => {
                failed("it is in use by another process; every server needs a spool of its own".to_owned())
            }
            TryLockError::Error(error) => {
                failed(format!("it cannot be locked: {error}; put it on a local file system"))
            }
        })?;
        let folder = Folder { path: path.to_owned(), epoch };
        let numbers = folder.segments().map_err(refused)?;
        let mut index = Index::default();
        for &number in &numbers {
            let Some(entries) = folder.recover(number).map_err(refused)? else { continue };
            index.grow(number, entries.last().map_or(segment::HEAD_BYTES, |(bytes, _)| bytes.end));
            entries.iter().for_each(|(bytes, spooled)| index.add(number, bytes.clone(), spooled));
        }
        let segment_bytes = (bytes_max / 8).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1);
        meters::SPOOL_CAPACITY.gauge(&[]).set(bytes_max as f64);
        // Told from the start: what is counted from 0 has a rate.
        for result in ["logged", "superseded", "refused", "damaged"] {
            meters::SPOOL_OFFERED.counter(&[result]).increment(0);
        }
        let gauges = [meters::SPOOL_DECISIONS.gauge(&[]), meters::SPOOL_BYTES.gauge(&[])];
        let shared = Arc::new(Shared { folder, index: Mutex::new(index), bytes_max, segment_bytes, gauges });
        shared.tell();
        let next = numbers.last().map_or(0, |last| last + 1);
        let writer = Writer { shared: shared.clone(), next, active: None, refused: None };
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let thread = thread::Builder::new().name("spool-writer".to_owned()).spawn(move || writer.run(jobs));
        let thread = Some(thread.map_err(refused)?);
        // What was damaged as a whole holds nothing.
        let _ = queue.try_send(Job::Tidy);
        Ok(Self { shared, queue: Some(queue), thread, _lock: lock })
    }

    /// Keeps a decision until it is [`Self::done`]: on the disk when this returns [`Put::Kept`], which it also does for
    /// one that waits already.
    ///
    /// # Errors
    /// Where the disk refuses; the decision is not kept.
    pub async fn put(&self, spooled: Spooled) -> Result<Put> {
        let frame = entry::encode(&spooled);
        let (caller, answer) = oneshot::channel();
        let queue = self.queue.as_ref().expect("invariant: the queue is taken only by drop");
        queue.send(Job::Put(Box::new(Entry { spooled, frame, caller }))).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Whether a decision waits here.
    #[must_use]
    pub fn holds(&self, decision: &DecisionKey) -> bool {
        self.shared.index().holds(decision)
    }

    /// The waiting decision that answers a request, with the fingerprint of the body that it answers; `None` where none
    /// does.
    #[must_use]
    pub fn answered(&self, mark: &RequestMark) -> Option<(DecisionKey, [u8; 32])> {
        self.shared.index().answered(mark)
    }

    /// How many decisions wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.index().len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A waiting decision, read from the disk; `None` where it does not wait any more.
    pub async fn read(self: &Arc<Self>, decision: DecisionKey) -> Option<Spooled> {
        let spool = self.clone();
        tokio::task::spawn_blocking(move || spool.load(&decision)).await.ok().flatten()
    }

    /// At most `limit` waiting decisions in the order of their coming, after a place and not of these logs.
    pub async fn waiting(
        self: &Arc<Self>,
        after: Option<Place>,
        limit: usize,
        except: &BTreeSet<LogId>,
    ) -> Vec<Waiting> {
        let places = self.shared.index().after(after, limit, except);
        let spool = self.clone();
        let load = move |(place, decision)| Waiting { place, decision, spooled: spool.load(&decision) };
        let loaded = tokio::task::spawn_blocking(move || places.into_iter().map(load).collect::<Vec<_>>()).await;
        loaded.unwrap_or_default()
    }

    /// Forgets decisions that are logged, or never will be.
    pub fn done<'a>(&self, decisions: impl IntoIterator<Item = &'a DecisionKey>) {
        let mut index = self.shared.index();
        decisions.into_iter().for_each(|decision| index.remove(decision));
        let finished = !index.finished().is_empty();
        drop(index);
        self.shared.tell();
        if finished && let Some(queue) = &self.queue {
            // Where the queue is full the writer is at work, and tidies after that.
            let _ = queue.try_send(Job::Tidy);
        }
    }

    /// Copies a decision that no store takes beside the spool, where somebody may look at it; returns where.
    pub fn set_aside(&self, decision: &DecisionKey) -> Option<PathBuf> {
        let (number, bytes) = self.shared.index().find(decision)?;
        let frame = entry::encode(&self.load(decision)?);
        self.shared.folder.keep_aside(number, bytes.start, &frame).ok()
    }

    /// A waiting decision. One that is damaged where it stands is set aside and waits no more, since nothing will mend
    /// it; one that the disk does not give stays, and is told of once.
    fn load(&self, decision: &DecisionKey) -> Option<Spooled> {
        let (number, bytes) = self.shared.index().find(decision)?;
        match self.shared.folder.read(number, bytes.clone()) {
            Ok(Ok(spooled)) => Some(spooled),
            // It may have been logged, and its segment removed, since it was found.
            _ if !self.holds(decision) => None,
            Ok(Err(damaged)) => {
                if let Err(error) = self.shared.folder.set_aside(number, bytes.start as usize, &damaged) {
                    self.tell_unreadable(decision, number, &error);
                } else {
                    meters::SPOOL_OFFERED.counter(&["damaged"]).increment(1);
                    self.done([decision]);
                }
                None
            }
            Err(error) => {
                self.tell_unreadable(decision, number, &error);
                None
            }
        }
    }

    fn tell_unreadable(&self, decision: &DecisionKey, number: u64, error: &std::io::Error) {
        if self.shared.index().note_unreadable(decision) {
            tracing::error!(spool.segment = number, error.message = %error, "a spooled decision cannot be read; it waits on");
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the spool's writer had panicked; what it had not acknowledged is not kept");
        }
    }
}

fn stopped() -> StoreError {
    let reason = "the spool's writer has stopped; restart the server";
    StoreError::Unavailable { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
