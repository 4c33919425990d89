//! What becomes of a report.

/// What becomes of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// It is new, and in the ledger now.
    Recorded,
    /// It is new, names another outcome that it replaces, and is in the ledger now.
    Revised,
    /// The same was reported before.
    Duplicate,
    /// Its id was used for another report.
    Conflict,
    /// It occurred or arrived after its window.
    Late {
        /// Which window, and when it ended.
        reason: String,
    },
    /// It cannot be right.
    Invalid {
        /// What is wrong and what is accepted.
        reason: String,
    },
}

impl Judgement {
    /// Whether the ledger changed.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        matches!(self, Self::Recorded | Self::Revised)
    }

    /// Whether the ledger holds the report, by now or from before.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.is_change() || matches!(self, Self::Duplicate)
    }
}
