//! The pure core: no async, clock, entropy, environment, I/O, logging or wire formats.

pub mod beliefs;
pub mod bounds;
pub mod catalog;
pub mod context;
pub mod decide;
pub mod eligibility;
pub mod fallback;
pub mod history;
pub mod instant;
pub mod learn;
pub mod ledger;
pub mod local_time;
pub mod math;
pub mod objective;
pub mod offer;
pub mod pmf;
pub mod policy;
pub mod posterior;
pub mod rules;
pub mod slate;
pub mod snapshot;
pub mod standing;
pub mod terms;
pub mod unit;
pub mod user;
