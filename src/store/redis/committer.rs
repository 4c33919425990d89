//! Group commit: what waits for one log goes to Redis in one pipeline.
//!
//! Every log has at most one pipeline under way. A call that finds its log idle is sent at once and alone; those that
//! come meanwhile gather and are sent together when the answer is there. So pipelines grow with the load and cost
//! nothing without it. Logs do not wait for each other, nor for a place: each has its own. Within a log, calls are
//! applied in the order they came.
//!
//! A call is answered after Redis has answered it. A caller that has gone away changes nothing: its call is made.

use super::{connection::Link, scripts::Call};
use crate::{
    meters::QueueMeter,
    store::{LogId, Result, StoreError},
};
use redis::Value;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::{Id, JoinSet},
};
use tokio_util::task::TaskTracker;

/// How many callers may wait for one log; later ones wait for a place. A node of a Cluster that does not answer fills
/// the lanes of its own logs and no others.
const LANE_MAX: usize = 4096;

/// How many calls a pipeline has at most, which bounds how long the first of them waits for the last.
const GROUP_CALLS: usize = 256;

/// From how many bytes on a pipeline takes nothing more.
const GROUP_BYTES: usize = 8 << 20;

/// The handle; without it the task finishes what is queued and ends.
pub(super) struct Committer {
    queue: Mutex<Option<mpsc::UnboundedSender<Job>>>,
    /// The places of each log's lane, which bound the queue as well.
    places: Mutex<HashMap<LogId, Arc<Semaphore>>>,
    tasks: TaskTracker,
}

/// A caller's calls on one log.
struct Job {
    log: LogId,
    calls: Vec<Call>,
    caller: oneshot::Sender<Result<Vec<Value>>>,
    /// Given back when it is sent.
    _place: OwnedSemaphorePermit,
}

/// Answers that are on their way.
pub(super) struct Answers(oneshot::Receiver<Result<Vec<Value>>>);

impl Answers {
    /// Waits for them: one for each call, errors of servers included.
    pub(super) async fn values(self) -> Result<Vec<Value>> {
        self.0.await.map_err(|_| stopped())?
    }
}

/// Jobs that wait while their log's pipeline is under way; a log without one has no lane.
type Lanes = BTreeMap<LogId, VecDeque<Job>>;

impl Committer {
    /// Starts the task.
    pub(super) fn start(link: Arc<Link>) -> Self {
        let (queue, jobs) = mpsc::unbounded_channel();
        let tasks = TaskTracker::new();
        tasks.spawn(
            Grouping {
                link,
                lanes: Lanes::new(),
                longest: 0,
                meter: QueueMeter::new("redis_committer", LANE_MAX),
                flying: JoinSet::new(),
                logs: HashMap::new(),
            }
            .run(jobs),
        );
        Self { queue: Mutex::new(Some(queue)), places: Mutex::default(), tasks }
    }

    /// Queues calls on one log; they are made whether or not anybody waits for their answers.
    pub(super) async fn submit(&self, log: LogId, calls: Vec<Call>) -> Result<Answers> {
        let (caller, answers) = oneshot::channel();
        let place = self.places(log).acquire_owned().await.map_err(|_| stopped())?;
        let queue = self.queue().clone().ok_or_else(stopped)?;
        queue.send(Job { log, calls, caller, _place: place }).map_err(|_| stopped())?;
        Ok(Answers(answers))
    }

    /// Queues calls on one log and waits for their answers.
    pub(super) async fn commit(&self, log: LogId, calls: Vec<Call>) -> Result<Vec<Value>> {
        self.submit(log, calls).await?.values().await
    }

    /// Finishes what is queued.
    pub(super) async fn close(&self) {
        drop(self.queue().take());
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn places(&self, log: LogId) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry(log).or_insert_with(|| Arc::new(Semaphore::new(LANE_MAX))).clone()
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Option<mpsc::UnboundedSender<Job>>> {
        // Nothing that holds it can panic midway.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stopped() -> StoreError {
    let reason = "its committer has stopped, because the store was closed; restart the server";
    StoreError::Unavailable { reason: reason.to_owned() }
}

/// The task.
struct Grouping {
    link: Arc<Link>,
    lanes: Lanes,
    /// Jobs in the longest lane.
    longest: usize,
    meter: QueueMeter,
    flying: JoinSet<()>,
    /// Which log a pipeline under way is of.
    logs: HashMap<Id, LogId>,
}

impl Grouping {
    async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut open = true;
        while open || !self.flying.is_empty() {
            tokio::select! {
                job = jobs.recv(), if open => match job {
                    Some(job) => self.take(job),
                    None => open = false,
                },
                Some(landed) = self.flying.join_next_with_id(), if !self.flying.is_empty() => {
                    // Also of a pipeline whose task panicked: its callers see that nobody answers them.
                    let id = landed.map_or_else(|error| error.id(), |(id, ())| id);
                    if let Some(log) = self.logs.remove(&id) {
                        self.go_on(log);
                    }
                }
            }
        }
    }

    fn take(&mut self, job: Job) {
        match self.lanes.get_mut(&job.log) {
            Some(lane) => {
                lane.push_back(job);
                if lane.len() > self.longest {
                    self.longest = lane.len();
                    self.meter.set(self.longest);
                }
            }
            None => {
                self.lanes.insert(job.log, VecDeque::new());
                self.launch(job.log, vec![job]);
            }
        }
    }

    /// Sends what has gathered for a log whose pipeline was answered.
    fn go_on(&mut self, log: LogId) {
        let Some(lane) = self.lanes.get_mut(&log) else { return };
        let (mut group, mut calls, mut bytes) = (Vec::new(), 0, 0);
        while calls < GROUP_CALLS
            && bytes < GROUP_BYTES
            && let Some(job) = lane.pop_front()
        {
            calls += job.calls.len();
            bytes += job.calls.iter().map(Call::bytes).sum::<usize>();
            group.push(job);
        }
        self.longest = self.lanes.values().map(VecDeque::len).max().unwrap_or(0);
        self.meter.set(self.longest);
        if group.is_empty() {
            self.lanes.remove(&log);
        } else {
            self.launch(log, group);
        }
    }

    fn launch(&mut self, log: LogId, group: Vec<Job>) {
        let link = Arc::clone(&self.link);
        let handle = self.flying.spawn(async move { fly(&link, group).await });
        self.logs.insert(handle.id(), log);
    }
}

/// Sends a group and answers its callers.
async fn fly(link: &Link, group: Vec<Job>) {
    let (mut calls, mut callers) = (Vec::new(), Vec::new());
    for job in group {
        callers.push((job.calls.len(), job.caller));
        calls.extend(job.calls);
    }
    let mut answers = link.call(&calls).await.map(Vec::into_iter);
    for (count, caller) in callers {
        let answer = match &mut answers {
            Ok(values) => Ok(values.take(count).collect()),
            Err(error) => Err(error.clone()),
        };
        // A caller that has gone needs no answer.
        let _ = caller.send(answer);
    }
}
