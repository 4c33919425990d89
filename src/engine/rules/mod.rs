//! Business rules: what must hold for an offer to be shown, as typed expressions.
//!
//! Catalogs write rules in CEL; `crate::catalog` parses and checks them and makes these expressions of them, so that
//! nothing here can meet an unknown name or a wrong type. What an offer and a market say is known before any request
//! comes: [`Expr::reduce`] puts it in and computes what can be, so that most of a rule is gone when it is asked.
//! Evaluation allocates nothing, reads no clock and ends: there are no loops.

mod eval;
mod expr;
mod reduce;

pub use eval::{EvaluationError, Facts};
pub use expr::{Arithmetic, Comparison, Expr, NowPart, OfferFact, SubscriptionFact, TextTest, Value, Variable};
pub use reduce::OfferFacts;

use super::eligibility::ExclusionReason;
use std::sync::Arc;

/// Something that must hold for offers to be shown at a placement.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Id such as `students-prove-it`.
    pub id: Arc<str>,
    /// Whether the law demands it.
    pub legal: bool,
    /// Which of the placement's arms it is about, ascending.
    pub arms: Vec<usize>,
    /// What must hold, as it is declared.
    pub text: String,
    /// What must hold: a boolean, with the placement's own attributes.
    pub condition: Expr,
}

impl Rule {
    /// Why an offer is excluded that it does not hold for.
    #[must_use]
    pub fn reason(&self) -> ExclusionReason {
        if self.legal { ExclusionReason::LegalRule } else { ExclusionReason::Rule }
    }
}
