//! The server as operators meet it: the real executable, its second port, its log, its signals.

mod deploy;
mod drain;
mod logs;
mod metrics;
mod server;
#[cfg(feature = "otlp")]
mod traces;
