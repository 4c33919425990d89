//! What a placement keeps of units, as its catalog declares it.

use crate::engine::instant::Instant;
use std::sync::Arc;

/// Most frequency caps of one placement.
pub const CAPS_MAX: usize = 32;
/// Most cool-downs of one placement.
pub const COOL_DOWNS_MAX: usize = 32;
/// Largest number of decisions that a cap allows in its window: each of them is kept until the window has passed, so
/// that a unit is kept at most this many times as many offerings as there are caps.
pub const CAP_DECISIONS_MAX: u32 = 100;
/// Longest window of a cap, cool-down or lease: 400 days in seconds.
pub const WINDOW_MAX_S: u64 = 400 * 24 * 60 * 60;

/// What a placement keeps of units.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitRules {
    /// How often offers are offered at most.
    pub caps: Vec<FrequencyCap>,
    /// What is not offered for a while after a refusal.
    pub cool_downs: Vec<CoolDown>,
    /// How long a decision stands; `None`: every request is decided anew.
    pub lease: Option<LeaseRule>,
    /// What happens to offers under a cap or cool-down where what is kept of the unit cannot be read.
    pub when_unknown: WhenUnknown,
}

/// At most `max` decisions that offer any of these offers to one unit, in any window of this length.
#[derive(Clone, Debug, PartialEq)]
pub struct FrequencyCap {
    /// Offers that count together, sorted by id.
    pub offers: Vec<Arc<str>>,
    /// Decisions, from 1 to [`CAP_DECISIONS_MAX`].
    pub max: u32,
    /// Length of the window in seconds.
    pub window_s: u64,
}

/// None of these offers for a while after one of them was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct CoolDown {
    /// The metric whose positive total on an offer is a refusal.
    pub metric: Arc<str>,
    /// Offers that are refused together, sorted by id.
    pub offers: Vec<Arc<str>>,
    /// For how long, in seconds from the refusal.
    pub for_s: u64,
}

/// How long a decision stands for its unit.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseRule {
    /// For how long, in seconds from the decision; 0: no decision does any more, and what was promised before holds.
    pub lease_s: u64,
    /// Metrics whose positive total on the decision ends the lease, sorted.
    pub ends_on: Vec<Arc<str>>,
}

/// What happens to offers under a cap or cool-down where what is kept of the unit cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnknown {
    /// They are not offered.
    #[default]
    Skip,
    /// They are offered as if nothing were kept.
    Ignore,
}

impl UnitRules {
    /// Whether the placement keeps anything of units.
    #[must_use]
    pub fn keep_anything(&self) -> bool {
        !self.caps.is_empty() || !self.cool_downs.is_empty() || self.lease.is_some()
    }

    /// Whether a total of this metric means anything here.
    #[must_use]
    pub fn look_at(&self, metric: &str) -> bool {
        let mut of_leases = self.lease.iter().flat_map(|lease| &lease.ends_on);
        of_leases.any(|id| **id == *metric) || self.cool_downs.iter().any(|cool_down| *cool_down.metric == *metric)
    }

    /// Whether any cap counts decisions that offer this.
    #[must_use]
    pub fn is_capped(&self, offer_id: &str) -> bool {
        self.caps.iter().any(|cap| cap.covers(offer_id))
    }

    /// Until when an offer that was offered then counts under some cap; `None`: under none.
    #[must_use]
    pub fn counted_until(&self, offer_id: &str, at: Instant) -> Option<Instant> {
        self.caps.iter().filter(|cap| cap.covers(offer_id)).map(|cap| at.plus_s(cap.window_s)).max()
    }

    /// The longest cool-down after this metric, in seconds; 0 without one.
    #[must_use]
    pub fn longest_cool_down_s(&self, metric: &str) -> u64 {
        let of_metric = self.cool_downs.iter().filter(|cool_down| *cool_down.metric == *metric);
        of_metric.map(|cool_down| cool_down.for_s).max().unwrap_or(0)
    }
}

impl FrequencyCap {
    /// Whether it counts decisions that offer this.
    #[must_use]
    pub fn covers(&self, offer_id: &str) -> bool {
        covers(&self.offers, offer_id)
    }
}

impl CoolDown {
    /// Whether it is about this offer.
    #[must_use]
    pub fn covers(&self, offer_id: &str) -> bool {
        covers(&self.offers, offer_id)
    }
}

fn covers(sorted: &[Arc<str>], offer_id: &str) -> bool {
    sorted.binary_search_by(|id| (**id).cmp(offer_id)).is_ok()
}
