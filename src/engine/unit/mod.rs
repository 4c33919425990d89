//! What is kept of a unit at a placement, and what follows from it: limits, leases, prices that hold.
//!
//! Everything here is pure: a [`state::UnitState`] is read before deciding, deciding looks at it, and what it becomes
//! is computed from the decision ([`lease::after`]) or from what was reported on one ([`state::UnitState::settle`]). Who stores
//! it, and in which step, is the service's business. Two states of one person merge ([`state::UnitState::merge`]):
//! commutative, associative, and the same again changes nothing.

pub mod lease;
pub mod limits;
pub mod links;
pub mod rules;
pub mod settle;
pub mod state;
