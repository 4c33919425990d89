//! Confidence sequences: intervals that hold at every number of rows at once, so that looking often does no harm.
//!
//! [`robust`] is the one that an evaluation reports, since it needs no bound on the weights. [`boundaries`] are curves
//! that a sum of centred terms stays under for ever (Howard, Ramdas, McAuliffe and Sekhon, 2021); [`predictable`] and
//! [`betting`] make sequences for bounded numbers of them and of bets (Waudby-Smith and Ramdas, 2024).

pub mod betting;
pub mod boundaries;
pub mod predictable;
pub mod robust;
mod root;
