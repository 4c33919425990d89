//! The pure core: no async, clock, entropy, environment, I/O, logging or wire formats.

pub mod catalog;
pub mod context;
pub mod instant;
pub mod math;
pub mod pmf;
pub mod posterior;
