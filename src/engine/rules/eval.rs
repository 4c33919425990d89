//! From an expression and what is known to a value.

use super::expr::{Arithmetic, Comparison, Expr, NowPart, SubscriptionFact, TextTest, Value, Variable};
use crate::engine::{context::AttributeValue, instant::Instant, local_time::LocalTime, user::UserState};
use std::cmp::Ordering;

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;
/// 2^53, and 2^63: whole doubles are exact up to the one, and whole numbers end at the other.
const INTEGER_BOUND: f64 = 9_223_372_036_854_775_808.0;

/// Everything that a rule may ask of a request. What it may ask of an offer stands in the rule already, see
/// [`Expr::reduce`].
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// In the order of the context schema.
    pub attributes: &'a [AttributeValue],
    /// What is known of the subscription.
    pub user: &'a UserState,
    /// The market's id; empty for none.
    pub market: &'a str,
    /// As requested.
    pub platform: &'a str,
    /// When.
    pub now: Instant,
    /// The same on the market's clocks.
    pub local: LocalTime,
}

/// Why an expression has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// A whole number beyond 64 bits.
    #[error("a whole number leaves the range of 64 bits")]
    Overflow,
    /// A question which of two is larger, where one is no number, such as 0.0 / 0.0.
    #[error("something is compared with what is no number")]
    NotANumber,
    /// Division of a whole number by 0.
    #[error("a whole number is divided by 0")]
    DivisionByZero,
    /// An expression that its builder did not check.
    #[error("an operand has a type that its operator does not take")]
    Type,
}

/// A value on its way, borrowed from where it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen<'a> {
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(&'a str),
    List(&'a [Value]),
}

type Result<T> = std::result::Result<T, EvaluationError>;

impl Expr {
    /// Whether the expression holds.
    ///
    /// # Errors
    /// Where a whole number overflows or is divided by 0, and where that decides the answer.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool> {
        self.boolean(facts)
    }

    /// The value of an expression that mentions no variable.
    pub(super) fn constant(&self) -> Result<Value> {
        const NO_TIME: LocalTime = LocalTime { year: 1970, month: 1, day: 1, hour: 0, minute: 0, weekday: 4 };
        let nobody = UserState::default();
        let facts = Facts {
            attributes: &[],
            user: &nobody,
            market: "",
            platform: "",
            now: Instant::from_ms(0),
            local: NO_TIME,
        };
        Ok(match self.eval(&facts)? {
            Seen::Boolean(truth) => Value::Boolean(truth),
            Seen::Integer(number) => Value::Integer(number),
            Seen::Double(number) => Value::Double(number),
            Seen::Text(text) => Value::Text(text.into()),
            Seen::List(values) => Value::List(values.into()),
        })
    }

    fn eval<'a>(&'a self, facts: &Facts<'a>) -> Result<Seen<'a>> {
        Ok(match self {
            Self::Constant(value) => value.seen(),
            Self::Variable(variable) => variable.seen(facts)?,
            Self::Not(operand) => Seen::Boolean(!operand.boolean(facts)?),
            Self::All(operands) => Seen::Boolean(!any_is(operands, false, facts)?),
            Self::Any(operands) => Seen::Boolean(any_is(operands, true, facts)?),
            Self::Choose(operands) => {
                let [condition, yes, no] = &**operands;
                if condition.boolean(facts)? { yes.eval(facts)? } else { no.eval(facts)? }
            }
            Self::Compare(how, operands) => {
                let [a, b] = &**operands;
                Seen::Boolean(how.of(a.eval(facts)?, b.eval(facts)?)?)
            }
            Self::Compute(how, operands) => {
                let [a, b] = &**operands;
                how.of(a.eval(facts)?, b.eval(facts)?)?
            }
            Self::Negate(operand) => match operand.eval(facts)? {
                Seen::Integer(number) => Seen::Integer(number.checked_neg().ok_or(EvaluationError::Overflow)?),
                Seen::Double(number) => Seen::Double(-number),
                _ => return Err(EvaluationError::Type),
            },
            Self::In(operands) => {
                let [value, list] = &**operands;
                let (value, Seen::List(list)) = (value.eval(facts)?, list.eval(facts)?) else {
                    return Err(EvaluationError::Type);
                };
                Seen::Boolean(list.iter().any(|other| compare(value, other.seen()) == Some(Ordering::Equal)))
            }
            Self::Test(how, operands) => {
                let [text, other] = &**operands;
                let (Seen::Text(text), Seen::Text(other)) = (text.eval(facts)?, other.eval(facts)?) else {
                    return Err(EvaluationError::Type);
                };
                Seen::Boolean(match how {
                    TextTest::StartsWith => text.starts_with(other),
                    TextTest::EndsWith => text.ends_with(other),
                    TextTest::Contains => text.contains(other),
                })
            }
            Self::Size(operand) => match operand.eval(facts)? {
                Seen::Text(text) => Seen::Integer(text.chars().count() as i64),
                Seen::List(values) => Seen::Integer(values.len() as i64),
                _ => return Err(EvaluationError::Type),
            },
            Self::ToDouble(operand) => match operand.eval(facts)? {
                Seen::Integer(number) => Seen::Double(number as f64),
                number @ Seen::Double(_) => number,
                _ => return Err(EvaluationError::Type),
            },
            Self::ToInteger(operand) => match operand.eval(facts)? {
                // CEL leaves out the least whole number, although a double can be it.
                Seen::Double(number) if number.abs() < INTEGER_BOUND => Seen::Integer(number as i64),
                Seen::Double(_) => return Err(EvaluationError::Overflow),
                number @ Seen::Integer(_) => number,
                _ => return Err(EvaluationError::Type),
            },
        })
    }

    fn boolean(&self, facts: &Facts<'_>) -> Result<bool> {
        match self.eval(facts)? {
            Seen::Boolean(truth) => Ok(truth),
            _ => Err(EvaluationError::Type),
        }
    }
}

/// Whether one of the operands is `wanted`: what decides is looked for before an error is one, as CEL has it.
fn any_is(operands: &[Expr], wanted: bool, facts: &Facts<'_>) -> Result<bool> {
    let mut failed = None;
    for operand in operands {
        match operand.boolean(facts) {
            Ok(truth) if truth == wanted => return Ok(true),
            Ok(_) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(false), Err)
}

impl Value {
    fn seen(&self) -> Seen<'_> {
        match self {
            &Self::Boolean(truth) => Seen::Boolean(truth),
            &Self::Integer(number) => Seen::Integer(number),
            &Self::Double(number) => Seen::Double(number),
            Self::Text(text) => Seen::Text(text),
            Self::List(values) => Seen::List(values),
        }
    }
}

impl Variable {
    fn seen<'a>(self, facts: &Facts<'a>) -> Result<Seen<'a>> {
        let lapse_ms = || facts.user.lapse_ms(facts.now);
        Ok(match self {
            Self::User(index) => match facts.attributes.get(index) {
                Some(&AttributeValue::Number(number)) => Seen::Double(number),
                Some(AttributeValue::Category(word)) => Seen::Text(word),
                Some(&AttributeValue::Boolean(truth)) => Seen::Boolean(truth),
                None => return Err(EvaluationError::Type),
            },
            Self::Subscription(SubscriptionFact::TrialUsed) => Seen::Boolean(facts.user.trial_used),
            Self::Subscription(SubscriptionFact::CurrentPlan) => {
                Seen::Text(facts.user.current_plan.as_deref().unwrap_or_default())
            }
            Self::Subscription(SubscriptionFact::HasLapsed) => Seen::Boolean(lapse_ms().is_some()),
            Self::Subscription(SubscriptionFact::LapsedDays) => {
                Seen::Integer((lapse_ms().unwrap_or(0) / MS_PER_DAY) as i64)
            }
            Self::Market => Seen::Text(facts.market),
            Self::Platform => Seen::Text(facts.platform),
            Self::Now(part) => Seen::Integer(match part {
                NowPart::Year => facts.local.year,
                NowPart::Month => facts.local.month,
                NowPart::Day => facts.local.day,
                NowPart::Hour => facts.local.hour,
                NowPart::Minute => facts.local.minute,
                NowPart::Weekday => facts.local.weekday,
            }),
            // Replaced by its value before a request is looked at.
            Self::Offer(_) => return Err(EvaluationError::Type),
        })
    }
}

impl Comparison {
    fn of(self, a: Seen<'_>, b: Seen<'_>) -> Result<bool> {
        let order = compare(a, b);
        // A rule must not hold because two things cannot be compared.
        let ordered = || order.ok_or(EvaluationError::NotANumber);
        Ok(match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::NotEqual => order != Some(Ordering::Equal),
            Self::Less => ordered()?.is_lt(),
            Self::LessOrEqual => ordered()?.is_le(),
            Self::Greater => ordered()?.is_gt(),
            Self::GreaterOrEqual => ordered()?.is_ge(),
        })
    }
}

/// How two values of one type, or two numbers, are ordered; `None` for others, and where a double is no number.
fn compare(a: Seen<'_>, b: Seen<'_>) -> Option<Ordering> {
    match (a, b) {
        (Seen::Boolean(a), Seen::Boolean(b)) => Some(a.cmp(&b)),
        (Seen::Integer(a), Seen::Integer(b)) => Some(a.cmp(&b)),
        (Seen::Double(a), Seen::Double(b)) => a.partial_cmp(&b),
        (Seen::Integer(a), Seen::Double(b)) => compare_across(a, b),
        (Seen::Double(a), Seen::Integer(b)) => compare_across(b, a).map(Ordering::reverse),
        (Seen::Text(a), Seen::Text(b)) => Some(a.cmp(b)),
        (Seen::List(a), Seen::List(b)) => {
            let same = a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| compare(a.seen(), b.seen()) == Some(Ordering::Equal));
            same.then_some(Ordering::Equal)
        }
        _ => None,
    }
}

/// Exactly, although not every whole number is a double.
fn compare_across(a: i64, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b >= INTEGER_BOUND {
        return Some(Ordering::Less);
    }
    if b < -INTEGER_BOUND {
        return Some(Ordering::Greater);
    }
    let whole = libm::trunc(b);
    Some(a.cmp(&(whole as i64)).then_with(|| 0.0_f64.total_cmp(&(b - whole))))
}

impl Arithmetic {
    fn of(self, a: Seen<'_>, b: Seen<'_>) -> Result<Seen<'static>> {
        match (a, b) {
            (Seen::Integer(_), Seen::Integer(0)) if matches!(self, Self::Divide | Self::Remainder) => {
                Err(EvaluationError::DivisionByZero)
            }
            (Seen::Integer(a), Seen::Integer(b)) => {
                let result = match self {
                    Self::Add => a.checked_add(b),
                    Self::Subtract => a.checked_sub(b),
                    Self::Multiply => a.checked_mul(b),
                    Self::Divide => a.checked_div(b),
                    Self::Remainder => a.checked_rem(b),
                };
                result.map(Seen::Integer).ok_or(EvaluationError::Overflow)
            }
            (Seen::Double(a), Seen::Double(b)) => match self {
                Self::Add => Ok(Seen::Double(a + b)),
                Self::Subtract => Ok(Seen::Double(a - b)),
                Self::Multiply => Ok(Seen::Double(a * b)),
                Self::Divide => Ok(Seen::Double(a / b)),
                Self::Remainder => Err(EvaluationError::Type),
            },
            _ => Err(EvaluationError::Type),
        }
    }
}
