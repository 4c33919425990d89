//! The types of expressions.

/// What an expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Boolean,
    Integer,
    Double,
    Text,
    List(Element),
}

/// What the entries of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Boolean,
    Integer,
    Double,
    Text,
}

impl Type {
    /// What to call it in a message.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Boolean => "a boolean",
            Self::Integer => "a whole number",
            Self::Double => "a double",
            Self::Text => "a text",
            Self::List(_) => "a list",
        }
    }

    /// Whether it is a number of either sort.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Double)
    }

    /// Whether values of both can be the same.
    pub(super) fn compares_with(self, other: Self) -> bool {
        self == other || (self.is_number() && other.is_number())
    }

    /// The type of a list of it.
    pub(super) fn list_of(self) -> Option<Self> {
        Some(Self::List(match self {
            Self::Boolean => Element::Boolean,
            Self::Integer => Element::Integer,
            Self::Double => Element::Double,
            Self::Text => Element::Text,
            Self::List(_) => return None,
        }))
    }
}

impl Element {
    /// The type of one entry.
    pub(super) fn one(self) -> Type {
        match self {
            Self::Boolean => Type::Boolean,
            Self::Integer => Type::Integer,
            Self::Double => Type::Double,
            Self::Text => Type::Text,
        }
    }
}
