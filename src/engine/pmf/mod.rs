//! Score distributions and the probability of each being highest.
pub mod distribution;
pub mod serving;
