//! The door: gRPC in, use cases behind, one table from errors to statuses. Nothing is decided here.

pub mod convert;
pub mod server;
pub mod status;
pub mod web;
mod workers;
