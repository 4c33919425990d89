//! Several instances on one state: real processes of the real executable over a real Redis.
//!
//! Every test has a store to itself and ends what it starts, however it ends. Loads are seeded; how far one gets, and
//! what strikes it where, depends on the machine, but no outcome of a test does. Nobody sleeps but between two looks.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod away;
mod catalog;
mod cluster;
mod crash;
mod failing;
mod handover;
mod hedging;
mod hillstrom;
mod instance;
mod kept;
mod learning;
mod load;
mod outage;
mod privacy;
#[path = "../common/redis.rs"]
mod redis;
