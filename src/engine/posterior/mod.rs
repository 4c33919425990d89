//! Posteriors from sufficient statistics.
//!
//! What is stored is [`moments::Moments`]; a posterior is derived from a prior and moments, and never updated.

pub mod beta;
pub mod linear;
pub mod linear_arms;
pub mod moments;
