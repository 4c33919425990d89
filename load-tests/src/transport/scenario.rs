//! What is measured: combinations of candidates, posterior, store, log and traffic.

use super::workload::{Posterior, TrafficKind};

/// One combination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) candidates: usize,
    pub(crate) posterior: Posterior,
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) traffic: TrafficKind,
}

/// Where the state lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Embedded,
    Redis,
}

/// Whether an answer waits for its log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    Durable,
    Async,
}

impl Scenario {
    const fn rank(name: &'static str, candidates: usize, posterior: Posterior, store: Store, log: Log) -> Self {
        Self { name, candidates, posterior, store, log, traffic: TrafficKind::Rank }
    }

    const fn other(name: &'static str, store: Store, log: Log, traffic: TrafficKind) -> Self {
        Self { name, candidates: 20, posterior: Posterior::Linear, store, log, traffic }
    }

    /// The server's arguments.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let log = match self.log {
            Log::Durable => "durable",
            Log::Async => "async",
        };
        ["--decision-log", log].map(str::to_owned).to_vec()
    }
}

/// The first is the one that counts: the usual placement, answered without waiting for the log.
pub(crate) const SCENARIOS: [Scenario; 16] = {
    use Log::{Async, Durable};
    use Posterior::{Beta, Linear};
    use Store::{Embedded, Redis};
    use TrafficKind::{Mixed, Outcomes};
    [
        Scenario::rank("rank, 20 linear, redis, async", 20, Linear, Redis, Async),
        Scenario::rank("rank, 20 linear, redis, durable", 20, Linear, Redis, Durable),
        Scenario::rank("rank, 20 linear, embedded, async", 20, Linear, Embedded, Async),
        Scenario::rank("rank, 20 linear, embedded, durable", 20, Linear, Embedded, Durable),
        Scenario::rank("rank, 5 linear, redis, async", 5, Linear, Redis, Async),
        Scenario::rank("rank, 100 linear, redis, async", 100, Linear, Redis, Async),
        Scenario::rank("rank, 5 beta, redis, async", 5, Beta, Redis, Async),
        Scenario::rank("rank, 20 beta, redis, async", 20, Beta, Redis, Async),
        Scenario::rank("rank, 100 beta, redis, async", 100, Beta, Redis, Async),
        Scenario::other("1 outcome, redis", Redis, Durable, Outcomes(1)),
        Scenario::other("100 outcomes, redis", Redis, Durable, Outcomes(100)),
        Scenario::other("1 outcome, embedded", Embedded, Durable, Outcomes(1)),
        Scenario::other("100 outcomes, embedded", Embedded, Durable, Outcomes(100)),
        Scenario::other("10 ranks to 1 outcome, redis, async", Redis, Async, Mixed),
        Scenario::other("10 ranks to 1 outcome, redis, durable", Redis, Durable, Mixed),
        Scenario::other("10 ranks to 1 outcome, embedded, durable", Embedded, Durable, Mixed),
    ]
};
