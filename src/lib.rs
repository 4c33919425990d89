//! Offer Ranker: ranks candidate offers for one user at one placement, and can prove afterwards what it did.

pub mod catalog;
pub mod cli;
pub mod clock;
pub mod engine;
pub mod grpc;
pub mod log;
pub mod proto;
pub mod service;
pub mod store;
