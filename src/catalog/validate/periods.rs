//! When an offer may be shown: by instants, or by the clocks of the markets that it is sold in.

use super::{
    findings::Findings,
    markets::{MarketDraft, Markets, Zone},
};
use crate::{
    catalog::{path::Path, zone},
    engine::{catalog::Period, instant::Instant},
    proto,
};
use jiff::civil::DateTime;
use prost_types::Timestamp;
use std::{collections::BTreeMap, sync::Arc};

/// When an offer may be shown: in general, and by market id where clocks are asked.
pub(super) type Periods = (Period, BTreeMap<Arc<str>, Period>);

/// One end of a validity, as declared.
enum End {
    Open,
    At(Instant),
    Local(DateTime),
}

/// Checks when an offer may be shown.
pub(super) fn periods(path: &Path, offer: &proto::Offer, markets: &Markets<'_>, findings: &mut Findings) -> Periods {
    let Some(validity) = &offer.validity else { return Periods::default() };
    let count = findings.count();
    let starts = end(path, "starts_at", (validity.starts_at, &validity.starts_at_local), findings);
    let ends = end(path, "ends_at", (validity.ends_at, &validity.ends_at_local), findings);
    let global = |end: &End| if let End::At(instant) = end { Some(*instant) } else { None };
    let general = Period { starts_at: global(&starts), ends_at: global(&ends) };
    let is_local = |end: &End| matches!(end, End::Local(_));
    let mut by_market = BTreeMap::new();
    if is_local(&starts) || is_local(&ends) {
        let path = path.field(if is_local(&starts) { "starts_at_local" } else { "ends_at_local" });
        if offer.kind() == proto::OfferKind::None {
            findings.refuse(&path, "must be absent: an offer of kind NONE belongs to no market and its clocks");
        }
        for id in offer.prices.keys() {
            let Some(draft) = markets.get(id.as_str()) else { continue };
            by_market.extend(in_market(&path, (id, draft), (&starts, &ends), findings));
        }
    }
    let all = std::iter::once((None, &general)).chain(by_market.iter().map(|(id, period)| (Some(id), period)));
    let turned = |(_, period): &(_, &Period)| period.starts_at.zip(period.ends_at).is_some_and(|(s, e)| s >= e);
    // What could not be read is refused for what it is.
    if findings.count() == count
        && let Some((market, _)) = all.into_iter().find(turned)
    {
        let name = if is_local(&ends) { "ends_at_local" } else { "ends_at" };
        let start = if is_local(&starts) { "starts_at_local" } else { "starts_at" };
        findings.refuse(&path.field(name), turned_description(validity, start, market));
    }
    (general, by_market)
}

fn turned_description(validity: &proto::Validity, start: &str, market: Option<&Arc<str>>) -> String {
    let shown = |instant: Option<Timestamp>, local: &str| match instant {
        Some(instant) => instant.to_string(),
        None => local.to_owned(),
    };
    let ends = shown(validity.ends_at, &validity.ends_at_local);
    let starts = shown(validity.starts_at, &validity.starts_at_local);
    let place = market.map_or_else(String::new, |market| format!(" in market {market}"));
    format!("is {ends}, must be after {start}, {starts}{place}")
}

fn end(path: &Path, name: &str, (instant, local): (Option<Timestamp>, &str), findings: &mut Findings) -> End {
    let local_path = path.field(&format!("{name}_local"));
    match (instant, local) {
        (None, "") => End::Open,
        (Some(timestamp), "") => checked_instant(&path.field(name), timestamp, findings).map_or(End::Open, End::At),
        (Some(_), _) => {
            findings.refuse(&local_path, format!("cannot stand beside {name}: give one of them"));
            End::Open
        }
        (None, local) => match zone::wall_time(local) {
            Ok(wall) => End::Local(wall),
            Err(description) => {
                findings.refuse(&local_path, description);
                End::Open
            }
        },
    }
}

fn in_market(
    path: &Path,
    (id, draft): (&str, &MarketDraft),
    (starts, ends): (&End, &End),
    findings: &mut Findings,
) -> Option<(Arc<str>, Period)> {
    let zone = match &draft.zone {
        Zone::Known(zone) => zone,
        Zone::Refused => return None,
        Zone::Undeclared => {
            findings.refuse(path, format!("needs the clocks of market {id}: declare its time_zone"));
            return None;
        }
    };
    let resolve = |end: &End| match end {
        End::Open => None,
        End::At(instant) => Some(*instant),
        End::Local(wall) => zone::reached(zone, *wall),
    };
    Some((Arc::from(id), Period { starts_at: resolve(starts), ends_at: resolve(ends) }))
}

/// Checks that a timestamp is an instant.
pub(super) fn checked_instant(path: &Path, timestamp: Timestamp, findings: &mut Findings) -> Option<Instant> {
    // From year 1 to 9999, as the definition of Timestamp has it.
    const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let Timestamp { seconds, nanos } = timestamp;
    if !SECONDS.contains(&seconds) || !(0..=999_999_999).contains(&nanos) {
        let description = format!("is {seconds} s and {nanos} ns, must be an instant in the years 1 to 9999");
        findings.refuse(path, description);
        return None;
    }
    Some(Instant::from_ms(seconds * 1000 + i64::from(nanos / 1_000_000)))
}
