//! Offer Ranker: ranks candidate offers for one user at one placement, and can prove afterwards what it did.

pub mod catalog;
pub mod cli;
pub mod engine;
pub mod proto;
pub mod store;
