//! Behaviour through the door: a real server on a free port, real clients, a store of each test's own.
//!
//! The store is a file in a temporary directory; with OFFER_RANKER_TEST_STORE=redis or =cluster it is in a Redis that
//! the tests start.
//!
//! Nothing sleeps. Time stands still until a test moves it, and nothing is learned until a test says `refresh`.

mod audit;
mod away;
mod backlog;
mod caps;
mod catalog;
mod common;
mod door;
mod eligibility;
mod evaluate;
mod fairness;
mod fairness_report;
mod feedback;
mod forgetting;
mod leases;
mod log;
mod poison;
mod rank;
#[path = "../common/redis.rs"]
mod redis;
mod requests;
mod users;
mod verify;
mod web;
mod windows;
