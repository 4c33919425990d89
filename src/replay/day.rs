//! Days by number, so that they have an order: dates by the days since 1970-01-01.

use crate::engine::instant::Instant;
use jiff::civil::{Date, date};

const MS_PER_DAY: i64 = 24 * 60 * 60 * 1000;
const FIRST: Date = date(1970, 1, 1);
/// Numbers that are dates of when there are logs, 1980 to 2099; others are shown as they are.
const DATES: std::ops::RangeInclusive<u32> = 3_652..=47_481;

/// The number of the day of an instant; `None` before the first.
#[must_use]
pub fn of(at: Instant) -> Option<u32> {
    u32::try_from(at.as_ms().div_euclid(MS_PER_DAY)).ok()
}

/// The number of a day that is written as a number, or begins with a date such as `2027-01-15`.
#[must_use]
pub fn number(label: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(label).ok()?;
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let date: Date = text.get(..10)?.parse().ok()?;
    u32::try_from((date - FIRST).get_days()).ok()
}

/// A day for people.
#[must_use]
pub fn named(day: u32) -> String {
    if !DATES.contains(&day) {
        return day.to_string();
    }
    let date = FIRST.saturating_add(jiff::Span::new().days(i64::from(day)));
    format!("{day} ({date})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_numbered_and_named_in_their_order() {
        assert_eq!(
            ["1970-01-01", "2027-01-15", "2027-01-15T08:00:00Z", "7"].map(|day| number(day.as_bytes())),
            [Some(0), Some(20_833), Some(20_833), Some(7),]
        );
        assert_eq!(["mon", "2027-02-30", "1969-12-31", ""].map(|day| number(day.as_bytes())), [None; 4]);
        assert_eq!([named(20_833), named(7), named(20_270_115)], ["20833 (2027-01-15)", "7", "20270115"]);
        assert_eq!([named(3_652), named(47_481)], ["3652 (1980-01-01)", "47481 (2099-12-31)"]);
    }
}
