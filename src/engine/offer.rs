//! An offer: what can be shown, what it costs where, and when.

use super::instant::Instant;
use iso_currency::Currency;
use std::{collections::BTreeMap, sync::Arc};

/// What sort of offer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferKind {
    /// A period free of charge, or nearly.
    Trial,
    /// A lower price for a while.
    Discount,
    /// For those who left.
    WinBack,
    /// A nudge from one plan to another.
    PlanChange,
    /// A plan at its list price.
    Standard,
    /// Showing nothing; drawn in a slot it ends the slate.
    None,
}

/// Something that can be shown.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Id such as `annual-25-off`.
    pub id: Arc<str>,
    /// What sort of offer it is.
    pub kind: OfferKind,
    /// The plan it sells; empty only for [`OfferKind::None`].
    pub plan: String,
    /// Prices by market id.
    pub prices: BTreeMap<Arc<str>, Price>,
    /// When it may be shown, where its market says nothing else.
    pub period: Period,
    /// When it may be shown, by market id, where that is declared by the markets' own clocks.
    pub local_periods: BTreeMap<Arc<str>, Period>,
    /// How long ago the user must have left; `None`: it is for others as well. Every win-back has one.
    pub lapse: Option<LapseWindow>,
    /// Whether it is also for users who have its plan.
    pub to_subscribers: bool,
    /// Offers of one group are never in one slate; `None`: it goes with any other.
    pub exclusion_group: Option<Arc<str>>,
    /// Labels for rules and reports.
    pub tags: Vec<String>,
    /// Where it may be shown; empty: everywhere.
    pub platforms: Vec<String>,
    /// Passed to the client verbatim.
    pub display: BTreeMap<String, String>,
    /// What one unit of a reward that is not money is worth; `None`: the price in the request's market.
    pub value: Option<Money>,
    /// Not to be shown for now.
    pub paused: bool,
}

/// A half-open interval of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// First instant of it; `None`: since ever.
    pub starts_at: Option<Instant>,
    /// First instant after it; `None`: for ever.
    pub ends_at: Option<Instant>,
}

/// How long ago a user must have left to be won back, in days of 24 hours, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LapseWindow {
    /// At least so long.
    pub min_days: u32,
    /// At most so long; `None`: however long.
    pub max_days: Option<u32>,
}

/// An amount in minor units of its currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// ISO 4217.
    pub currency: Currency,
    /// Whole minor units.
    pub amount_minor: i64,
}

/// What an offer costs in one market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// What the user pays.
    pub price: Money,
    /// The undiscounted price, not below `price`, in the same currency.
    pub list_price: Money,
}

impl OfferKind {
    /// As catalogs write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trial => "TRIAL",
            Self::Discount => "DISCOUNT",
            Self::WinBack => "WIN_BACK",
            Self::PlanChange => "PLAN_CHANGE",
            Self::Standard => "STANDARD",
            Self::None => "NONE",
        }
    }
}

impl Offer {
    /// When it may be shown in a market.
    #[must_use]
    pub fn period(&self, market: Option<&str>) -> Period {
        let local = market.and_then(|market| self.local_periods.get(market));
        local.copied().unwrap_or(self.period)
    }
}

impl Price {
    /// The share of the list price that is saved, from 0 to 1.
    #[must_use]
    pub fn discount(&self) -> f64 {
        let (price, list_price) = (self.price.amount_minor as f64, self.list_price.amount_minor as f64);
        if list_price > 0.0 { 1.0 - price / list_price } else { 0.0 }
    }
}

impl Money {
    /// The amount in major units: 99.00 for 9900 SEK öre, 900 for 900 JPY.
    #[must_use]
    pub fn in_major_units(self) -> f64 {
        self.amount_minor as f64 / minor_units_per_major(self.currency)
    }

    /// The nearest amount of minor units, saturating.
    #[must_use]
    pub fn from_major_units(currency: Currency, amount: f64) -> Self {
        Self { currency, amount_minor: libm::round(amount * minor_units_per_major(currency)) as i64 }
    }
}

fn minor_units_per_major(currency: Currency) -> f64 {
    // ISO 4217 gives no exponent to a few codes such as gold; they count in whole units.
    f64::from(10_u32.pow(u32::from(currency.exponent().unwrap_or(0))))
}
