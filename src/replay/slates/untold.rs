//! Why a slate does not tell what an estimator needs, and what would.

use std::fmt;

/// Something that is not known of a slate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untold {
    /// A file leaves it out.
    NotInFile {
        /// Which keys of a round.
        keys: &'static str,
    },
    /// Too many slates could have been shown in its place.
    TooManySlates {
        /// How many.
        slates: usize,
        /// How many are gone through at most.
        most: usize,
    },
    /// The engine that made the decision is not this one.
    OtherEngine {
        /// Its version.
        version: u32,
    },
    /// Slots have scores of their own, of which records have those below what was drawn alone, and the log does not say what
    /// had been learned either.
    ScoresOfSlots {
        /// Why.
        reason: &'static str,
    },
    /// The decision does not come out of its record again.
    Differs,
    /// The catalog that the decision was made from is not there, or this release refuses it.
    NoCatalog,
    /// Rewards were not modelled.
    NoModel,
    /// They could not be: all users are in one fold.
    TooFewUsers,
}

impl Untold {
    /// What would help.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::NotInFile { .. } => "tell it in every round",
            Self::TooManySlates { .. } => {
                "fewer candidates or slots; or an estimator that needs no marginal probabilities: sips, rips, cascade_dr"
            }
            Self::OtherEngine { .. } | Self::ScoresOfSlots { .. } | Self::Differs | Self::NoCatalog => {
                "decisions that this release verifies (replay verify); or sips, rips, cascade_dr, which need the logged \
                 propensities alone"
            }
            Self::NoModel => "--model ridge or arm_mean",
            Self::TooFewUsers => "a log of more users",
        }
    }
}

impl fmt::Display for Untold {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInFile { keys } => write!(out, "the file does not tell {keys}"),
            Self::TooManySlates { slates, most } => write!(
                out,
                "the probability of an offer in a slot is a sum over {slates} slates that there could have been, of which at \
                 most {most} are gone through"
            ),
            Self::OtherEngine { version } => {
                write!(out, "the decision was made by version {version} of the engine, whose other draws are not known")
            }
            Self::ScoresOfSlots { reason } => {
                write!(out, "slots have scores of their own, which cannot be made again: {reason}")
            }
            Self::Differs => out.write_str("what the decision showed cannot come of what its record tells"),
            Self::NoCatalog => out.write_str("the catalog that the decision was made from cannot be read"),
            Self::NoModel => out.write_str("rewards are not modelled"),
            Self::TooFewUsers => out.write_str("too few users to model rewards"),
        }
    }
}
