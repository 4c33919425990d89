//! Offers: what they sell, for how much, when and where.

use super::{
    findings::{Findings, RESOURCE, Seen},
    markets::Markets,
    money::{self, Currencies},
    periods,
};
use crate::{
    catalog::path::Path,
    engine::{
        catalog::{LapseWindow, Offer, OfferKind, Plan, Price},
        user::PLAN_BYTES_MAX,
    },
    proto,
};
use std::{collections::BTreeMap, sync::Arc};

/// Most offers of one catalog.
const OFFERS_MAX: usize = 10_000;
/// Most tags or platforms of one offer.
const LABELS_MAX: usize = 64;
/// Longest lapse that a win-back can ask for: ten years of 365 days.
const LAPSE_DAYS_MAX: u32 = 3650;
/// Most texts for the client.
const DISPLAY_ENTRIES_MAX: usize = 64;
/// Longest key of a text for the client, in bytes.
const DISPLAY_KEY_BYTES_MAX: usize = 64;
/// Longest text for the client, in bytes: they travel with every answer.
const DISPLAY_VALUE_BYTES_MAX: usize = 4 * 1024;

/// An offer as placements see it while they are checked.
pub(super) struct Draft<'a> {
    /// As declared.
    pub(super) declared: &'a proto::Offer,
    /// Where it is declared.
    pub(super) path: Path,
    /// As far as it could be made.
    pub(super) offer: Arc<Offer>,
}

/// Offers by id, the first one where an id is given twice.
pub(super) type Offers<'a> = BTreeMap<&'a str, Draft<'a>>;

/// Checks all offers.
pub(super) fn offers<'a>(
    catalog: &'a proto::Catalog,
    markets: &Markets<'_>,
    plans: &BTreeMap<&str, Plan>,
    currencies: &Currencies,
    findings: &mut Findings,
) -> Offers<'a> {
    let path = Path::default().field("offers");
    if catalog.offers.is_empty() {
        findings.refuse(&path, "is empty: a catalog needs at least one offer");
    }
    findings.check_count(&path, catalog.offers.len(), OFFERS_MAX);
    let mut seen = Seen::new();
    let mut offers = Offers::new();
    for (index, declared) in catalog.offers.iter().enumerate() {
        let path = path.index(index);
        findings.check_id(&path.field("id"), &declared.id, &RESOURCE, &mut seen);
        let readable = !declared.plan.is_empty() && !declared.plan.contains(char::is_control);
        if readable && !plans.is_empty() && !plans.contains_key(declared.plan.as_str()) {
            findings.refuse_unknown(&path.field("plan"), &declared.plan, "plan of this catalog", plans.keys().copied());
        }
        let offer = Arc::new(offer(declared, &path, markets, currencies, findings));
        offers.entry(&declared.id).or_insert(Draft { declared, path, offer });
    }
    offers
}

fn offer(
    declared: &proto::Offer,
    path: &Path,
    markets: &Markets<'_>,
    currencies: &Currencies,
    findings: &mut Findings,
) -> Offer {
    let kind = kind(&path.field("kind"), declared.kind, findings);
    check_what_it_sells(declared, kind, path, findings);
    check_labels(&path.field("tags"), &declared.tags, findings);
    check_labels(&path.field("platforms"), &declared.platforms, findings);
    check_display(&path.field("display"), &declared.display, findings);
    let (period, local_periods) = periods::periods(&path.field("validity"), declared, markets, findings);
    check_group(&path.field("exclusion_group"), declared, kind, findings);
    if declared.to_subscribers && kind.is_some_and(|kind| kind != OfferKind::Discount) {
        let description = "must be absent: only offers of kind DISCOUNT are for users who have their plan already";
        findings.refuse(&path.field("to_subscribers"), description);
    }
    let value = declared.value.as_ref();
    Offer {
        id: Arc::from(declared.id.as_str()),
        // Whatever stands in for a refused kind is never served.
        kind: kind.unwrap_or(OfferKind::Standard),
        plan: declared.plan.clone(),
        prices: prices(&path.field("prices"), &declared.prices, markets, findings),
        period,
        local_periods,
        lapse: lapse(&path.field("lapse"), declared, kind, findings),
        to_subscribers: declared.to_subscribers,
        exclusion_group: Some(declared.exclusion_group.as_str()).filter(|group| !group.is_empty()).map(Arc::from),
        tags: declared.tags.clone(),
        platforms: declared.platforms.clone(),
        display: declared.display.clone(),
        value: value.and_then(|value| money::worth(&path.field("value"), value, currencies, findings)),
        paused: declared.paused,
    }
}

fn kind(path: &Path, number: i32, findings: &mut Findings) -> Option<OfferKind> {
    match proto::OfferKind::try_from(number) {
        Ok(proto::OfferKind::Trial) => return Some(OfferKind::Trial),
        Ok(proto::OfferKind::Discount) => return Some(OfferKind::Discount),
        Ok(proto::OfferKind::WinBack) => return Some(OfferKind::WinBack),
        Ok(proto::OfferKind::PlanChange) => return Some(OfferKind::PlanChange),
        Ok(proto::OfferKind::Standard) => return Some(OfferKind::Standard),
        Ok(proto::OfferKind::None) => return Some(OfferKind::None),
        Ok(proto::OfferKind::Unspecified) => {
            let accepted = "TRIAL, DISCOUNT, WIN_BACK, PLAN_CHANGE, STANDARD, NONE";
            findings.refuse(path, format!("is missing, must be one of: {accepted}"));
        }
        Err(_) => findings.refuse_number(path, number),
    }
    None
}

fn check_what_it_sells(declared: &proto::Offer, kind: Option<OfferKind>, path: &Path, findings: &mut Findings) {
    let plan = path.field("plan");
    match kind {
        Some(OfferKind::None) => {
            if !declared.plan.is_empty() {
                findings.refuse(&plan, "must be absent: an offer of kind NONE shows and sells nothing");
            }
            if !declared.prices.is_empty() {
                findings.refuse(&path.field("prices"), "must be absent: an offer of kind NONE sells nothing");
            }
        }
        Some(_) => {
            if declared.plan.is_empty() {
                findings.refuse(&plan, "is missing: name the plan that the offer sells");
            } else {
                findings.check_text(&plan, &declared.plan, PLAN_BYTES_MAX);
            }
            if declared.prices.is_empty() {
                let description = "is empty: an offer can be shown only in markets where it has a price, give one";
                findings.refuse(&path.field("prices"), description);
            }
        }
        // What it must sell depends on the kind, which is refused.
        None => {}
    }
}

fn prices(
    path: &Path,
    declared: &BTreeMap<String, proto::Price>,
    markets: &Markets<'_>,
    findings: &mut Findings,
) -> BTreeMap<Arc<str>, Price> {
    let mut prices = BTreeMap::new();
    for (market, declared) in declared {
        let path = path.key(market);
        let Some(draft) = markets.get(market.as_str()) else {
            findings.refuse_unknown(&path, market, "market", markets.keys().copied());
            continue;
        };
        if let Some(price) = price(&path, declared, (market, draft.currency), findings) {
            prices.insert(Arc::from(market.as_str()), price);
        }
    }
    prices
}

fn price(
    path: &Path,
    declared: &proto::Price,
    market: (&str, Option<iso_currency::Currency>),
    findings: &mut Findings,
) -> Option<Price> {
    let Some(paid) = &declared.price else {
        findings.refuse(&path.field("price"), "is missing: say what the user pays");
        return None;
    };
    let price = money::amount_in(&path.field("price"), paid, market, findings);
    let list_path = path.field("list_price");
    let list_price = match &declared.list_price {
        Some(list_price) => money::amount_in(&list_path, list_price, market, findings),
        None => price,
    };
    let (price, list_price) = (price?, list_price?);
    if list_price.amount_minor < price.amount_minor {
        let (list, paid) = (list_price.amount_minor, price.amount_minor);
        let description = format!("is {list}, must not be below the price, {paid}: it is the undiscounted one");
        findings.refuse(&list_path.field("amount_minor"), description);
    }
    Some(Price { price, list_price })
}

fn lapse(
    path: &Path,
    declared: &proto::Offer,
    kind: Option<OfferKind>,
    findings: &mut Findings,
) -> Option<LapseWindow> {
    let anytime = LapseWindow { min_days: 0, max_days: None };
    let Some(proto::LapseWindow { min_days, max_days }) = declared.lapse else {
        return (kind == Some(OfferKind::WinBack)).then_some(anytime);
    };
    if kind.is_some_and(|kind| kind != OfferKind::WinBack) {
        findings.refuse(path, "must be absent: only offers of kind WIN_BACK are for those who left");
    }
    findings.check_range(&path.field("min_days"), min_days, 0, LAPSE_DAYS_MAX);
    if let Some(max_days) = max_days {
        findings.check_range(&path.field("max_days"), max_days, min_days, LAPSE_DAYS_MAX.max(min_days));
    }
    Some(LapseWindow { min_days, max_days })
}

fn check_group(path: &Path, declared: &proto::Offer, kind: Option<OfferKind>, findings: &mut Findings) {
    if declared.exclusion_group.is_empty() {
        return;
    }
    if kind == Some(OfferKind::None) {
        findings.refuse(path, "must be absent: an offer of kind NONE ends the slate, whatever is in it");
    }
    findings.check_name(path, &declared.exclusion_group, &RESOURCE);
}

fn check_labels(path: &Path, labels: &[String], findings: &mut Findings) {
    findings.check_count(path, labels.len(), LABELS_MAX);
    let mut seen = Seen::new();
    for (index, label) in labels.iter().enumerate() {
        findings.check_id(&path.index(index), label, &RESOURCE, &mut seen);
    }
}

fn check_display(path: &Path, display: &BTreeMap<String, String>, findings: &mut Findings) {
    findings.check_count(path, display.len(), DISPLAY_ENTRIES_MAX);
    for (key, value) in display {
        let path = path.key(key);
        if key.is_empty() || key.len() > DISPLAY_KEY_BYTES_MAX || key.contains(char::is_control) {
            let accepted = format!("1 to {DISPLAY_KEY_BYTES_MAX} bytes without control characters");
            findings.refuse(&path, format!("has a key of {} bytes, which must be {accepted}", key.len()));
        }
        if value.len() > DISPLAY_VALUE_BYTES_MAX {
            let description = format!("has {} bytes, must have at most {DISPLAY_VALUE_BYTES_MAX}", value.len());
            findings.refuse(&path, description);
        }
    }
}
