//! Puts what is known before any request into an expression, and computes what then can be.

use super::expr::{Expr, OfferFact, Value, Variable};
use crate::engine::catalog::{Offer, Price};

/// What an offer is and costs in one market.
#[derive(Clone, Copy, Debug)]
pub struct OfferFacts<'a> {
    /// The offer.
    pub offer: &'a Offer,
    /// Its price there.
    pub price: Price,
}

impl OfferFacts<'_> {
    /// One fact, as rules see it.
    #[must_use]
    pub fn value(&self, fact: OfferFact) -> Value {
        let text = |text: &str| Value::Text(text.into());
        match fact {
            OfferFact::Id => Value::Text(self.offer.id.clone()),
            OfferFact::Kind => text(self.offer.kind.name()),
            OfferFact::Plan => text(&self.offer.plan),
            OfferFact::Tags => Value::List(self.offer.tags.iter().map(|tag| text(tag)).collect()),
            OfferFact::ExclusionGroup => text(self.offer.exclusion_group.as_deref().unwrap_or_default()),
            OfferFact::Price => Value::Double(self.price.price.in_major_units()),
            OfferFact::ListPrice => Value::Double(self.price.list_price.in_major_units()),
            OfferFact::Discount => Value::Double(self.price.discount()),
        }
    }
}

impl Expr {
    /// The same expression where some variables are known.
    ///
    /// What cannot be computed, such as a division by 0, stays as it is: it fails where it is asked, and only there.
    #[must_use]
    pub fn reduce(&self, known: &impl Fn(Variable) -> Option<Value>) -> Self {
        let reduce = |operand: &Expr| operand.reduce(known);
        let one = |operand: &Expr| Box::new(reduce(operand));
        let two = |operands: &[Expr; 2]| Box::new(operands.each_ref().map(reduce));
        let reduced = match self {
            Self::Constant(_) => return self.clone(),
            Self::Variable(variable) => {
                return known(*variable).map_or_else(|| self.clone(), Self::Constant);
            }
            Self::All(operands) => return join(operands.iter().map(reduce), true),
            Self::Any(operands) => return join(operands.iter().map(reduce), false),
            Self::Choose(operands) => {
                let [condition, yes, no] = operands.each_ref().map(reduce);
                match condition {
                    Self::Constant(Value::Boolean(true)) => return yes,
                    Self::Constant(Value::Boolean(false)) => return no,
                    condition => Self::Choose(Box::new([condition, yes, no])),
                }
            }
            Self::Not(operand) => Self::Not(one(operand)),
            Self::Compare(how, operands) => Self::Compare(*how, two(operands)),
            Self::Compute(how, operands) => Self::Compute(*how, two(operands)),
            Self::Negate(operand) => Self::Negate(one(operand)),
            Self::In(operands) => Self::In(two(operands)),
            Self::Test(how, operands) => Self::Test(*how, two(operands)),
            Self::Size(operand) => Self::Size(one(operand)),
            Self::ToDouble(operand) => Self::ToDouble(one(operand)),
            Self::ToInteger(operand) => Self::ToInteger(one(operand)),
        };
        if reduced.operands().iter().all(|operand| matches!(operand, Self::Constant(_))) {
            return reduced.constant().map_or(reduced, Self::Constant);
        }
        reduced
    }
}

/// `All` where `all`, else `Any`, of what is not decided yet.
fn join(operands: impl Iterator<Item = Expr>, all: bool) -> Expr {
    let mut open = Vec::new();
    for operand in operands {
        match operand {
            Expr::Constant(Value::Boolean(truth)) if truth == all => {}
            decided @ Expr::Constant(Value::Boolean(_)) => return decided,
            operand => open.push(operand),
        }
    }
    match open.len() {
        0 => Expr::Constant(Value::Boolean(all)),
        1 => open.swap_remove(0),
        _ if all => Expr::All(open),
        _ => Expr::Any(open),
    }
}
