//! The long proofs: what must hold of everything the service draws, learns and remembers.
//!
//! A seeded tenth of each runs by default, which takes half a minute; everything runs with
//!
//! ```sh
//! OFFER_RANKER_PROOFS=all cargo test --test proofs
//! ```
//!
//! Seeds are fixed: a proof that passes once passes always, and one that fails is never tried again until it passes.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod archive;
mod audit;
mod bounds;
mod crash;
mod draws;
mod eligibility;
mod fairness;
mod house;
mod learning;
mod limits;
mod mushroom;
#[path = "../common/ports.rs"]
mod ports;
mod rules;
mod scale;
mod scene;
mod slates;
