//! The thread that writes a spool: whatever waits goes into one write and one sync, and is acknowledged after it.

use super::{Put, Shared, entry::Spooled, segment::HEAD_BYTES};
use crate::store::{DecisionKey, RequestMark, Result, StoreError};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write as _},
    ops::Range,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// How many entries one sync takes at most, which bounds how long the first of them waits for the last.
const BATCH_MAX: usize = 256;
/// After a failed write, so that a full disk is not asked again by every call.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the thread is asked.
pub(super) enum Job {
    /// To keep a decision.
    Put(Box<Entry>),
    /// To remove what nothing waits in.
    Tidy,
}

/// A decision to keep, its frame, and who waits for it.
pub(super) struct Entry {
    pub(super) spooled: Spooled,
    pub(super) frame: Vec<u8>,
    pub(super) caller: oneshot::Sender<Result<Put>>,
}

/// The thread's own.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    /// The number of the next segment.
    pub(super) next: u64,
    /// The segment that is being written.
    pub(super) active: Option<Active>,
    /// Until when nothing is written, because the disk refused.
    pub(super) refused: Option<(std::time::Instant, String)>,
}

/// A segment that is being written.
pub(super) struct Active {
    number: u64,
    file: File,
    bytes: u64,
}

/// A caller, and what it is told once the batch is on the disk.
struct Verdict {
    caller: oneshot::Sender<Result<Put>>,
    answer: Put,
    /// Whether the answer holds only if this batch is written.
    written: bool,
}

impl Writer {
    /// Runs until nobody can ask any more.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut puts = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next {
                if let Job::Put(entry) = job {
                    puts.push(*entry);
                }
                next = if puts.len() < BATCH_MAX { jobs.try_recv().ok() } else { None };
            }
            // Before, so that there is room for what comes; after, of segments that a failed write has left.
            self.tidy();
            self.put(puts);
            self.tidy();
        }
    }

    fn put(&mut self, puts: Vec<Entry>) {
        let (mut verdicts, mut buffer, mut added) = (Vec::new(), Vec::new(), Vec::new());
        // Of requests within this batch.
        let mut marks: HashMap<[u8; 32], (DecisionKey, RequestMark)> = HashMap::new();
        let room = self.room();
        for Entry { spooled, frame, caller } in puts {
            let mark = spooled.append.request.as_ref();
            let here = mark.and_then(|mark| marks.get(&mark.key));
            let here = here.map(|(decision, mark)| (*decision, mark.fingerprint));
            let index = self.shared.index();
            let (answer, written) = if index.holds(&spooled.append.decision) {
                (Put::Kept, false)
            } else if let Some((decision, fingerprint)) = mark.and_then(|mark| index.answered(mark)) {
                (Put::Repeated { decision, fingerprint }, false)
            } else if let Some((decision, fingerprint)) = here {
                (Put::Repeated { decision, fingerprint }, true)
            } else if (buffer.len() + frame.len()) as u64 > room {
                (Put::Full, false)
            } else {
                drop(index);
                marks.extend(mark.map(|mark| (mark.key, (spooled.append.decision, mark.clone()))));
                let start = buffer.len() as u64;
                buffer.extend(frame);
                added.push((start..buffer.len() as u64, spooled));
                (Put::Kept, true)
            };
            verdicts.push(Verdict { caller, answer, written });
        }
        let failure = if buffer.is_empty() { None } else { self.write(&buffer, &added).err() };
        for Verdict { caller, answer, written } in verdicts {
            let answer = match &failure {
                Some(error) if written => Err(error.clone()),
                _ => Ok(answer),
            };
            // A caller that has gone needs no answer.
            let _ = caller.send(answer);
        }
    }

    /// Bytes that may still be written.
    fn room(&self) -> u64 {
        let head = if self.active.is_some() { 0 } else { HEAD_BYTES };
        self.shared.bytes_max.saturating_sub(self.shared.index().bytes() + head)
    }

    /// Writes entries and notes them once they are on the disk.
    fn write(&mut self, buffer: &[u8], added: &[(Range<u64>, Spooled)]) -> Result<()> {
        if let Some((until, reason)) = &self.refused
            && std::time::Instant::now() < *until
        {
            return Err(StoreError::Unavailable { reason: reason.clone() });
        }
        let (number, start) = match self.append(buffer) {
            Ok(place) => place,
            Err(error) => {
                let reason = format!("the spool in {} takes nothing: {error}", self.shared.folder.path.display());
                if self.refused.is_none() {
                    tracing::error!(error.message = %reason, "decisions cannot be spooled");
                }
                self.refused = Some((std::time::Instant::now() + RETRY_AFTER, reason.clone()));
                return Err(StoreError::Unavailable { reason });
            }
        };
        if self.refused.take().is_some() {
            tracing::info!("decisions are spooled again");
        }
        let mut index = self.shared.index();
        index.grow(number, start + buffer.len() as u64);
        for (bytes, spooled) in added {
            index.add(number, start + bytes.start..start + bytes.end, spooled);
        }
        drop(index);
        self.shared.tell();
        Ok(())
    }

    /// Appends to the active segment and syncs; returns where that is.
    fn append(&mut self, buffer: &[u8]) -> io::Result<(u64, u64)> {
        let mut active = match self.active.take() {
            Some(active) if active.bytes < self.shared.segment_bytes => active,
            _ => {
                let number = self.next;
                self.next += 1;
                Active { number, file: self.shared.folder.create(number)?, bytes: HEAD_BYTES }
            }
        };
        let start = active.bytes;
        let written = active.file.write_all(buffer).and_then(|()| active.file.sync_data());
        if let Err(error) = written {
            // What is not acknowledged must not be logged after the next start. The segment is not written to again:
            // after a failed sync nobody knows what of it is on the disk.
            let _ = active.file.set_len(start).and_then(|()| active.file.sync_all());
            self.shared.index().grow(active.number, start);
            return Err(error);
        }
        active.bytes += buffer.len() as u64;
        let number = active.number;
        self.active = Some(active);
        Ok((number, start))
    }

    /// Removes segments of which nothing waits.
    fn tidy(&mut self) {
        let finished = self.shared.index().finished();
        for &number in &finished {
            if self.active.as_ref().is_some_and(|active| active.number == number) {
                self.active = None;
            }
            if let Err(error) = self.shared.folder.remove(number) {
                tracing::warn!(error.message = %error, spool.segment = number, "a segment of the spool stays behind");
            }
            self.shared.index().forget(number);
        }
        if !finished.is_empty() {
            self.shared.tell();
        }
    }
}
