//! What a fairness report tells.

use crate::engine::group::Group;
use iso_currency::Currency;
use std::{collections::BTreeMap, sync::Arc};

/// A protected attribute and one of its values; an empty value: one that no catalog declares that can be read.
pub type CohortName = (Arc<str>, Arc<str>);

/// What the log of a placement tells of fairness. Repeats of leases are no decisions of their own, and left out.
#[derive(Clone, Debug)]
pub struct FairnessReport {
    /// Decisions by group.
    pub groups: BTreeMap<Group, u64>,
    /// Units by group: one division for each declaration of shares.
    pub divisions: Vec<GroupDivision>,
    /// Decisions of the policy whose lead had to give something up.
    pub relaxed: u64,
    /// Every bound, and what it did to leads of the policy.
    pub bounds: BTreeMap<BoundName, BoundReport>,
    /// Sets and bands by id.
    pub benefits: BTreeMap<Arc<str>, Benefit>,
    /// By protected attribute and value.
    pub cohorts: BTreeMap<CohortName, CohortReport>,
    /// By offer id.
    pub offers: BTreeMap<Arc<str>, OfferReport>,
    /// What expected values are in.
    pub reward_currency: Currency,
    /// Expected value of leads in major units of the reward currency, on average: by the policy, and after bounds.
    pub value: Averages,
    /// Expected reward of leads in its own unit: by the policy, and after bounds.
    pub reward: Averages,
    /// NDKL of slates from the shares that the policy's leads have, averaged over slates.
    pub ndkl: f64,
    /// The lowest and the highest skew of the first slots from the same shares: of the lead alone, of two slots, and so on.
    pub skews: Vec<[(Arc<str>, f64); 2]>,
}

/// Units among groups by one declaration of shares.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupDivision {
    /// Units of each group, and the share that it should have.
    pub groups: Vec<(Group, u64, f64)>,
    /// How probable it is that chance alone makes units differ as much from their shares; `None`: there is nothing to
    /// compare.
    pub p_value: Option<f64>,
}

/// Sums of what was before bounds and after.
#[derive(Clone, Copy, Debug, Default)]
pub struct Averages {
    /// Terms.
    pub count: u64,
    /// Sum before bounds.
    pub before: f64,
    /// Sum after them.
    pub after: f64,
}

/// A bound, in the order of reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BoundName {
    /// The floors of all offers.
    Floors,
    /// The caps of all offers.
    Caps,
    /// A set, by id.
    Set(Arc<str>),
    /// A band, by id.
    Band(Arc<str>),
}

/// What one bound did to leads of the policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct BoundReport {
    /// Decisions that it was there for.
    pub decisions: u64,
    /// Those in which it held the solution: in which it alone makes a difference.
    pub binding: u64,
    /// Those that gave it up.
    pub relaxed: u64,
    /// Sum of what leads would have been expected to earn without it alone, less what they were.
    pub cost: Cost,
}

/// What something costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// In major units of the reward currency.
    pub value: f64,
    /// In the reward's own unit.
    pub reward: f64,
}

/// What one set or band came to in leads of the policy.
#[derive(Clone, Debug, Default)]
pub struct Benefit {
    /// Of everybody.
    pub everybody: Access,
    /// Decisions that gave it up.
    pub relaxed: u64,
    /// Decisions in which bounds, whichever, moved the total by more than rounding.
    pub moved: u64,
    /// By cohort.
    pub cohorts: BTreeMap<CohortName, Access>,
}

/// How somebody came by the offers of a set or band: first by what they may be shown, then by what is drawn from that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access {
    /// Decisions.
    pub decisions: u64,
    /// Those in which any of its offers was eligible.
    pub eligible: u64,
    /// Totals of its arms, of a set where any of its offers was eligible, of a band where others were as well.
    pub totals: Averages,
    /// Leads among these that drew one of its arms.
    pub drawn: u64,
}

/// What one cohort was offered and paid, by currency: prices of leads in minor units.
#[derive(Clone, Debug, Default)]
pub struct CohortReport {
    /// Decisions of the policy.
    pub decisions: u64,
    /// Leads with a price, and the sum of those prices.
    pub offered: BTreeMap<&'static str, (u64, i64)>,
    /// The same of leads that were taken: with a positive total of a metric that counts in favour of the reward.
    pub paid: BTreeMap<&'static str, (u64, i64)>,
}

/// How often one offer led, and how good it is.
#[derive(Clone, Debug, Default)]
pub struct OfferReport {
    /// Decisions of the policy in which it was eligible.
    pub eligible: u64,
    /// Sum of its probabilities to lead: before bounds and after.
    pub lead: Averages,
    /// Leads it took.
    pub drawn: u64,
    /// Its share of all attention that slates gave, from 0 to 1.
    pub attention: f64,
    /// Sum of its expected values, in major units of the reward currency.
    pub merit: f64,
}

impl FairnessReport {
    /// Of nothing.
    pub(super) fn new(reward_currency: Currency) -> Self {
        Self {
            groups: BTreeMap::new(),
            divisions: Vec::new(),
            relaxed: 0,
            bounds: BTreeMap::new(),
            benefits: BTreeMap::new(),
            cohorts: BTreeMap::new(),
            offers: BTreeMap::new(),
            reward_currency,
            value: Averages::default(),
            reward: Averages::default(),
            ndkl: 0.0,
            skews: Vec::new(),
        }
    }
}

impl Averages {
    pub(super) fn add(&mut self, before: f64, after: f64) {
        self.count += 1;
        self.before += before;
        self.after += after;
    }

    /// The average before bounds and the one after; 0 where there is nothing to average.
    #[must_use]
    pub fn means(&self) -> (f64, f64) {
        let count = self.count.max(1) as f64;
        (self.before / count, self.after / count)
    }
}
