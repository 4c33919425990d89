//! Posteriors from sufficient statistics.

pub mod beta;
pub mod linear;
pub mod moments;
