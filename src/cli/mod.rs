//! The subcommands. Those that talk to a running server go through the wire like any other client.

pub mod audit;
pub mod catalog;
pub mod client;
pub mod explain;
pub mod fairness;
pub mod health;
pub mod history;
pub mod log;
mod log_path;
pub mod operations;
pub mod outage;
mod progress;
pub mod rank;
pub mod replay;
pub mod serve;
pub mod simulate;
pub mod store;
#[cfg(feature = "otlp")]
mod traces;
pub mod user;
