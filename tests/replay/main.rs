//! Evaluation of other policies: on logs whose truth is known, on real ones, and as the command line does it.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod clusters;
mod command;
mod dsjson;
mod estimates;
mod files;
mod foreign;
mod gate;
mod models;
mod obd;
mod others;
mod scene;
mod slates;
