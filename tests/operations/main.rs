//! The server as operators meet it: the real executable, its second port, its log, its signals.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod deploy;
mod drain;
mod logs;
mod metrics;
mod server;
#[cfg(feature = "otlp")]
mod traces;
