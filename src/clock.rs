//! The only door to the wall clock and to entropy. Everything behind it takes `now` and seeds as arguments.

use crate::engine::instant::Instant;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells time and draws entropy.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Instant;
    /// 64 bits that nobody can foresee.
    fn random(&self) -> u64;
}

/// The machine's clock and the operating system's entropy.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Instant {
        // A clock before 1970 is as wrong as one that stands at 1970.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Instant::from_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that draws entropy")]
    fn random(&self) -> u64 {
        rand::rng().next_u64()
    }
}

/// A clock that stands still until it is told otherwise, with numbers from a seed: for tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    now_ms: AtomicI64,
    random: Mutex<ChaCha12Rng>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Instant, seed: u64) -> Self {
        Self { now_ms: AtomicI64::new(now.as_ms()), random: Mutex::new(ChaCha12Rng::seed_from_u64(seed)) }
    }

    /// Moves the time forward.
    pub fn advance_s(&self, seconds: u32) {
        self.now_ms.fetch_add(i64::from(seconds) * 1000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant::from_ms(self.now_ms.load(Ordering::SeqCst))
    }

    fn random(&self) -> u64 {
        // A panic elsewhere cannot leave a generator half-stepped.
        self.random.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }
}

/// Fills an array with entropy.
#[must_use]
pub fn random_bytes<const LENGTH: usize>(clock: &dyn Clock) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&clock.random().to_le_bytes()[..chunk.len()]));
    bytes
}
