//! The expressions themselves. Whoever builds one answers for its types: every operand is of the type that its
//! operator takes, which the checker in `crate::catalog` sees to.

use std::sync::Arc;

/// A value that stands in an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Yes or no.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any finite number.
    Double(f64),
    /// Text.
    Text(Arc<str>),
    /// Values of one type, none of them a list.
    List(Arc<[Value]>),
}

/// Something that is known where a rule is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// An attribute of the request, by its place in the context schema.
    User(usize),
    /// What is known of the user's subscription.
    Subscription(SubscriptionFact),
    /// The market's id; empty where the request has none.
    Market,
    /// The platform; empty where the request names none.
    Platform,
    /// The time of the decision on the market's clocks.
    Now(NowPart),
    /// What the offer is and costs.
    Offer(OfferFact),
}

/// What is known of the user's subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionFact {
    /// Boolean: whether a trial was ever used.
    TrialUsed,
    /// Text: the plan that the user has; empty for none.
    CurrentPlan,
    /// Boolean: whether a subscription has ended and none has followed.
    HasLapsed,
    /// Whole number: whole days of 24 hours since it ended; 0 where none has.
    LapsedDays,
}

/// A part of the time, a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NowPart {
    /// Such as 2026.
    Year,
    /// From 1 to 12.
    Month,
    /// Of the month, from 1.
    Day,
    /// From 0 to 23.
    Hour,
    /// From 0 to 59.
    Minute,
    /// From 1, Monday, to 7, Sunday.
    Weekday,
}

/// What an offer is and costs in the market of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferFact {
    /// Text: its id.
    Id,
    /// Text: its kind, such as `DISCOUNT`.
    Kind,
    /// Text: the plan that it sells.
    Plan,
    /// List of texts: its tags.
    Tags,
    /// Text: its exclusion group; empty for none.
    ExclusionGroup,
    /// Double: what the user pays, in major units of the market's currency.
    Price,
    /// Double: the undiscounted price, likewise.
    ListPrice,
    /// Double: the share of the list price that is saved, from 0 to 1.
    Discount,
}

/// How two values are compared. A whole number and a double compare by what they are worth, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Both are the same.
    Equal,
    /// They are not.
    NotEqual,
    /// The first is smaller; texts compare by their characters, `false` is smaller than `true`.
    Less,
    /// Smaller or the same.
    LessOrEqual,
    /// The first is larger.
    Greater,
    /// Larger or the same.
    GreaterOrEqual,
}

/// What is computed of two numbers of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Their sum.
    Add,
    /// Their difference.
    Subtract,
    /// Their product.
    Multiply,
    /// Their quotient; of whole numbers, toward 0.
    Divide,
    /// The rest of that division, of whole numbers only.
    Remainder,
}

/// What can be asked of a text and another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextTest {
    /// Whether the other is its beginning.
    StartsWith,
    /// Whether the other is its end.
    EndsWith,
    /// Whether the other occurs in it.
    Contains,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A value.
    Constant(Value),
    /// Something known.
    Variable(Variable),
    /// Whether a boolean is false.
    Not(Box<Expr>),
    /// Whether all are true: false as soon as one is, whatever becomes of the others.
    All(Vec<Expr>),
    /// Whether one is true: true as soon as one is, whatever becomes of the others.
    Any(Vec<Expr>),
    /// The second where the first is true, the third where it is false.
    Choose(Box<[Expr; 3]>),
    /// Whether two values compare like that.
    Compare(Comparison, Box<[Expr; 2]>),
    /// What two numbers make.
    Compute(Arithmetic, Box<[Expr; 2]>),
    /// A number with its sign changed.
    Negate(Box<Expr>),
    /// Whether a list holds a value.
    In(Box<[Expr; 2]>),
    /// Whether a text has another one in it like that.
    Test(TextTest, Box<[Expr; 2]>),
    /// How many characters a text has, or how many entries a list.
    Size(Box<Expr>),
    /// A whole number as a double.
    ToDouble(Box<Expr>),
    /// A double as a whole number, toward 0.
    ToInteger(Box<Expr>),
}

impl Expr {
    /// What is always true.
    pub const TRUE: Self = Self::Constant(Value::Boolean(true));

    /// Whether any variable in it is one of these.
    pub fn mentions(&self, is_wanted: &impl Fn(Variable) -> bool) -> bool {
        if let Self::Variable(variable) = self {
            return is_wanted(*variable);
        }
        self.operands().iter().any(|operand| operand.mentions(is_wanted))
    }

    /// What it is made of.
    #[must_use]
    pub fn operands(&self) -> &[Expr] {
        match self {
            Self::Constant(_) | Self::Variable(_) => &[],
            Self::All(operands) | Self::Any(operands) => operands,
            Self::Choose(operands) => &operands[..],
            Self::Compare(_, operands) | Self::Compute(_, operands) | Self::In(operands) | Self::Test(_, operands) => {
                &operands[..]
            }
            Self::Not(operand)
            | Self::Negate(operand)
            | Self::Size(operand)
            | Self::ToDouble(operand)
            | Self::ToInteger(operand) => std::slice::from_ref(operand),
        }
    }
}

impl Variable {
    /// Whether it is a fact about the person: an attribute, or the subscription.
    #[must_use]
    pub fn is_personal(self) -> bool {
        matches!(self, Self::User(_) | Self::Subscription(_))
    }
}
