//! What may be shown where, validated: the engine never meets a catalog that breaks its own rules.
//!
//! Built once per revision by `crate::catalog::validate` and then immutable. Arms are kept sorted by offer id, the
//! canonical order of everything that depends on order, so that the order of a file changes nothing.

use super::{
    bounds::Bounds,
    context::ContextSchema,
    group::Groups,
    history::HistoryRules,
    local_time::LocalClock,
    posterior::{beta::BetaPrior, linear::LinearPrior},
    rules::Rule,
    terms::TermsByMarket,
    unit::rules::UnitRules,
};
use iso_currency::Currency;
use std::{collections::BTreeMap, sync::Arc};

pub use super::offer::{LapseWindow, Money, Offer, OfferKind, Period, Price};

/// Most arms of one placement.
pub const ARMS_MAX: usize = 256;
/// Most slots of one placement.
pub const SLOTS_MAX: u32 = 10;
/// Most partitions of one placement's log.
pub const PARTITIONS_MAX: u32 = 64;
/// Longest revision window: 400 days in seconds.
pub const REVISION_WINDOW_MAX_S: u64 = 400 * 24 * 60 * 60;

/// A whole catalog at one revision.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// The currency of rewards and expected values.
    pub reward_currency: Currency,
    /// Worth of one major unit of a currency in major units of the reward currency; holds the reward currency too.
    pub rates: BTreeMap<String, f64>,
    /// Markets by id.
    pub markets: BTreeMap<Arc<str>, Market>,
    /// The market of requests that name none.
    pub default_market: Option<Arc<str>>,
    /// Subscription plans by id; empty where none are declared, and offers may name any.
    pub plans: BTreeMap<Arc<str>, Plan>,
    /// Metrics by id.
    pub metrics: BTreeMap<Arc<str>, MetricKind>,
    /// Offers by id.
    pub offers: BTreeMap<Arc<str>, Arc<Offer>>,
    /// Placements by id.
    pub placements: BTreeMap<Arc<str>, Arc<Placement>>,
    /// What is kept of users across placements; `None`: nothing.
    pub history: Option<HistoryRules>,
}

/// A country or region with its own prices.
#[derive(Clone, Debug)]
pub struct Market {
    /// Id such as `SE`.
    pub id: Arc<str>,
    /// The currency of every price in it.
    pub currency: Currency,
    /// What its clocks show; UTC where it declares no time zone.
    pub clock: LocalClock,
    /// The largest share of a list price that an offer may save, from 0 to 1; `None`: any.
    pub discount_max: Option<f64>,
    /// Whether prices and their order may depend on what is known of the user.
    pub personalised_pricing: PersonalisedPricing,
    /// Which text discloses that they do; empty unless it must be disclosed.
    pub disclosure_text_key: String,
}

/// What the law of a market says of prices that depend on what is known of the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PersonalisedPricing {
    /// They may.
    #[default]
    Allowed,
    /// They may, where the user is told.
    Disclose,
    /// Offers of one plan at different prices are chosen among without looking at the user.
    Forbidden,
}

/// Something that users subscribe to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Id, as offers name it.
    pub id: Arc<str>,
    /// Smallest price by market id; trials may go below.
    pub floors: BTreeMap<Arc<str>, Money>,
}

/// What a metric's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Finite, 0 or more.
    Count,
    /// With a currency, converted to the reward currency.
    Money,
    /// Any finite number.
    Number,
}

impl MetricKind {
    /// As catalogs write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "COUNT",
            Self::Money => "MONEY",
            Self::Number => "NUMBER",
        }
    }
}

/// A surface where offers are shown.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Id such as `paywall`.
    pub id: Arc<str>,
    /// What it chooses from, sorted by offer id.
    pub arms: Vec<Arm>,
    /// How many offers it shows, from 1 to [`SLOTS_MAX`].
    pub slots: u32,
    /// What is known of user and moment.
    pub context: ContextSchema,
    /// How probabilities are made.
    pub policy: Policy,
    /// What is learned.
    pub reward: Reward,
    /// How long windows stay open.
    pub windows: WindowLengths,
    /// Whether slots count as shown before anybody says so.
    pub exposure_assumed: bool,
    /// How many partitions its log has, from 1 to [`PARTITIONS_MAX`].
    pub partitions: u32,
    /// What is learned when.
    pub learning: Learning,
    /// What is kept of units.
    pub unit_rules: UnitRules,
    /// What probabilities keep to, beside floors and caps of arms.
    pub bounds: Bounds,
    /// Who is measured against whom.
    pub groups: Groups,
    /// What is counted by and decides nothing.
    pub protected: Vec<ProtectedAttribute>,
    /// What must hold for its offers to be shown, in the order of the catalog.
    pub rules: Vec<Rule>,
    /// What is settled about its arms in each market.
    pub terms: TermsByMarket,
}

/// An offer as a choice of one placement's policy.
#[derive(Clone, Debug)]
pub struct Arm {
    /// What is shown.
    pub offer: Arc<Offer>,
    /// Smallest probability while eligible, from 0 to 1.
    pub floor: f64,
    /// Largest probability, from `floor` to 1.
    pub cap: f64,
    /// The sets that it is in, as [`Bounds`] numbers them.
    pub sets: u64,
    /// Where a Beta posterior starts from.
    pub beta_prior: BetaPrior,
    /// The number of its exclusion group in the placement, from 1; 0: none.
    pub exclusion_group: u32,
}

/// An attribute that is only counted by: its values are cohorts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedAttribute {
    /// Its name.
    pub name: Arc<str>,
    /// What requests may say, sorted.
    pub values: Vec<Arc<str>>,
}

/// How probabilities are made: a rule from beliefs to probabilities, and the beliefs.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The rule.
    pub selection: Selection,
    /// The belief.
    pub posterior: PosteriorKind,
    /// What arms are compared by.
    pub objective: Objective,
}

/// A rule from beliefs to probabilities.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// The probability of having the highest draw (Thompson, 1933).
    Thompson,
    /// The same for every eligible arm.
    Uniform,
    /// The first eligible arm; holds every arm index of the placement, first choice first.
    Fixed(Vec<usize>),
    /// The arms with the highest mean share 1 - epsilon evenly; all eligible arms share epsilon evenly.
    EpsilonGreedy(f64),
    /// Exposure in proportion to merit, exp(steepness * mean) (Wang et al., 2021).
    Merit(f64),
}

/// A family of beliefs. Beta priors stand with the arms.
#[derive(Clone, Debug, PartialEq)]
pub enum PosteriorKind {
    /// Context-free, for rewards in [0, 1].
    Beta,
    /// Linear in the features.
    Linear(LinearPrior),
}

/// What arms are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// The reward itself.
    Reward,
    /// The reward times what one unit of it is worth for the offer.
    Value,
}

/// A weighted sum of a slot's outcome totals, clipped, and divided by a unit inside the posterior.
#[derive(Clone, Debug, PartialEq)]
pub struct Reward {
    /// What is summed, sorted by metric, each metric once.
    pub terms: Vec<RewardTerm>,
    /// Smallest reward; minus infinity where none is declared, at least 0 for a Beta posterior.
    pub min: f64,
    /// Largest reward; plus infinity where none is declared, at most 1 for a Beta posterior.
    pub max: f64,
    /// The reward that counts as 1 inside the posterior, above 0.
    pub unit: f64,
}

/// One metric's part of a reward.
#[derive(Clone, Debug, PartialEq)]
pub struct RewardTerm {
    /// Metric id.
    pub metric: Arc<str>,
    /// Factor, finite.
    pub weight: f64,
    /// Any positive total counts as 1.
    pub indicator: bool,
    /// Whether it is an amount of money, so that the reward is in the reward currency: the metric is money, and the
    /// term no indicator. Either all terms of a reward are or none.
    pub money: bool,
}

/// How long the windows of a decision stay open, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLengths {
    /// Outcomes that occur within this count.
    pub attribution_s: u64,
    /// How much longer they are accepted.
    pub grace_s: u64,
    /// How long revisions are accepted: at least the two above together.
    pub revision_s: u64,
}

/// What is learned when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learning {
    /// At once, or when windows close.
    pub mode: LearningMode,
    /// Whether every slot is learned from, with the slot as a feature of linear posteriors; otherwise the lead only.
    pub all_slots: bool,
    /// Age at which a decision counts half; `None`: never.
    pub half_life_ms: Option<u64>,
}

/// When a decision is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearningMode {
    /// A shown slot counts as unrewarded at once and is corrected by its outcomes.
    Immediate,
    /// Once, when the windows close.
    AtMaturity,
}

impl Catalog {
    /// What `money` is worth in major units of the reward currency, or `None` where no rate is declared.
    #[must_use]
    pub fn in_reward_currency(&self, money: Money) -> Option<f64> {
        let rate = self.rates.get(money.currency.code())?;
        Some(money.in_major_units() * rate)
    }
}

impl Placement {
    /// The index of an offer among the arms, or `None` where the placement does not use it.
    #[must_use]
    pub fn arm_index(&self, offer_id: &str) -> Option<usize> {
        self.arms.binary_search_by(|arm| (*arm.offer.id).cmp(offer_id)).ok()
    }

    /// Whether probabilities depend on the attributes of a request.
    #[must_use]
    pub fn policy_looks_at_users(&self) -> bool {
        let contextual = self.policy.posterior != PosteriorKind::Beta && !self.context.attributes.is_empty();
        contextual && !matches!(self.policy.selection, Selection::Uniform | Selection::Fixed(_))
    }

    /// Whether anything of a user's subscription decides about what may be shown.
    #[must_use]
    pub fn looks_at_users(&self) -> bool {
        self.arms.iter().any(|arm| arm.offer.kind != OfferKind::None)
    }

    /// How many features the posterior sees: 1 where it is context-free.
    #[must_use]
    pub fn feature_count(&self) -> usize {
        match self.policy.posterior {
            PosteriorKind::Beta => 1,
            PosteriorKind::Linear(_) => self.context.feature_count() + self.slot_feature_count(),
        }
    }

    /// How many features say which slot it is: one for each slot but the first, where a contextual posterior learns
    /// from all slots.
    #[must_use]
    pub fn slot_feature_count(&self) -> usize {
        let contextual = self.policy.posterior != PosteriorKind::Beta;
        if self.learning.all_slots && contextual { self.slots as usize - 1 } else { 0 }
    }
}
