//! Asking again after a failure that another attempt may not meet: the server is down, restarting or overloaded.
//!
//! Only calls that carry an id of their own come here, since a lost answer does not mean that nothing was done.

use crate::cli::client::ClientError;
use std::{
    error::Error as _,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};
use tonic::{Code, Status};

/// First pause; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause: a server that comes back should not wait for its clients.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Repeats calls for a while, and counts how often it had to.
#[derive(Debug)]
pub(super) struct Retry {
    limit: Duration,
    retries: AtomicU64,
}

impl Retry {
    /// Gives up on a call `limit_s` seconds after its first attempt.
    pub(super) fn for_seconds(limit_s: u64) -> Self {
        Self { limit: Duration::from_secs(limit_s), retries: AtomicU64::new(0) }
    }

    /// How many attempts followed a failed one.
    pub(super) fn count(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Attempts a call until it succeeds, is refused, or has been tried for too long.
    pub(super) async fn call<T, F>(&self, call: &'static str, mut attempt: impl FnMut() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let begun = Instant::now();
        let mut pause = PAUSE_FIRST;
        loop {
            let status = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(status) => Box::new(status),
            };
            if !is_transient(&status) {
                return Err(ClientError::Refused { call, status });
            }
            if begun.elapsed() + pause > self.limit {
                return Err(ClientError::Exhausted { call, limit_s: self.limit.as_secs(), status });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether the same call may succeed later.
fn is_transient(status: &Status) -> bool {
    // A status that the server sent has no source; one with a source was made here, of a broken connection, and
    // carries whichever code the transport thought of.
    let broken_connection = status.source().is_some();
    let code = status.code();
    broken_connection
        || matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn attempt(limit_s: u64, answers: Vec<Result<u32, Status>>) -> (Result<u32, ClientError>, u64) {
        let retry = Retry::for_seconds(limit_s);
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or_else(|| Err(Status::unavailable("away")));
        let result = retry.call("Rank", || std::future::ready(next())).await;
        (result, retry.count())
    }

    #[tokio::test]
    async fn a_server_that_comes_back_is_asked_again() {
        let broken = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        let (result, retries) = attempt(5, vec![Err(Status::unavailable("away")), Err(broken), Ok(7)]).await;
        assert_eq!(result.unwrap(), 7);
        assert_eq!(retries, 2);
    }

    #[tokio::test]
    async fn a_refusal_is_final() {
        let (result, retries) = attempt(5, vec![Err(Status::invalid_argument("wrong")), Ok(7)]).await;
        assert!(matches!(result, Err(ClientError::Refused { .. })));
        assert_eq!(retries, 0);
    }

    #[tokio::test]
    async fn patience_ends() {
        let (result, _) = attempt(0, vec![]).await;
        assert!(matches!(result, Err(ClientError::Exhausted { limit_s: 0, .. })));
    }
}
