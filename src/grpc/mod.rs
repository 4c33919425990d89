//! The door: gRPC in, use cases behind, one table from errors to statuses. Nothing is decided here.

pub mod convert;
mod explanation;
pub mod fairness;
pub mod meter;
mod rank_answer;
mod rank_codec;
mod ranking;
pub mod server;
pub mod status;
#[cfg(feature = "otlp")]
mod trace;
pub mod web;
mod workers;
