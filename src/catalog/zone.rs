//! Time zones: from the names of the IANA database to the tables that the engine reads, and from what clocks show to
//! instants. The database is compiled in, so that every machine has the same.

use super::suggest::did_you_mean;
use crate::engine::{instant::Instant, local_time::LocalClock};
use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};
use std::sync::LazyLock;

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The years that clocks are tabulated for, from 1 January to 1 January; before and after, the nearest offset holds.
const YEARS: (i16, i16) = (2000, 2100);
/// Most changes of the clocks in those years: a few each year, where a year has a fast or a war.
const CHANGES_MAX: usize = 1_000;

/// Finds a time zone by name.
///
/// # Errors
/// Continues the field path as a sentence.
pub(super) fn find(name: &str) -> Result<TimeZone, String> {
    DATABASE.get(name).map_err(|_| {
        let names: Vec<_> = DATABASE.available().map(|name| name.to_string()).collect();
        let suggestion = did_you_mean(name, names.iter().map(String::as_str));
        format!(
            "is {}, must be a time zone of the IANA database such as \"Europe/Stockholm\"{suggestion}",
            super::problem::quoted(name)
        )
    })
}

/// The table of a zone's offsets.
pub(super) fn clock(zone: &TimeZone) -> LocalClock {
    let start_of = |year: i16| TimeZone::UTC.to_timestamp(DateTime::new(year, 1, 1, 0, 0, 0, 0).ok()?).ok();
    let (Some(first), Some(last)) = (start_of(YEARS.0), start_of(YEARS.1)) else { return LocalClock::default() };
    let changes = zone.following(first).take_while(|change| change.timestamp() < last).take(CHANGES_MAX);
    let changes = changes.map(|change| (instant(change.timestamp()), change.offset().seconds())).collect();
    LocalClock::new(zone.to_offset(first).seconds(), changes)
}

/// Reads what a clock shows, such as `2026-11-27T00:00` or `2026-11-27T00:00:30`.
///
/// # Errors
/// Continues the field path as a sentence.
pub(super) fn wall_time(text: &str) -> Result<DateTime, String> {
    let refused = || {
        let shown = super::problem::quoted(text);
        format!("is {shown}, must be a time on the market's clocks such as \"2026-11-27T00:00\", without an offset")
    };
    // The parser also takes dates alone, and leaves offsets aside.
    let shaped = matches!(text.len(), 16 | 19)
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    let parsed = shaped.then(|| text.parse::<DateTime>().ok()).flatten();
    parsed.filter(|wall| wall.year() >= 1).ok_or_else(refused)
}

/// The first instant at which the clocks of a zone have reached a time: where they are put forward past it, that of the
/// change; where they show it twice, the first.
pub(super) fn reached(zone: &TimeZone, wall: DateTime) -> Option<Instant> {
    let timestamp = match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall),
        AmbiguousOffset::Gap { after, .. } => {
            // By the later offset the time lies before the change that skips it.
            let skipped = after.to_timestamp(wall).ok()?;
            return zone.following(skipped).next().map(|change| instant(change.timestamp()));
        }
    };
    timestamp.ok().map(instant)
}

fn instant(timestamp: Timestamp) -> Instant {
    Instant::from_ms(timestamp.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached_in(zone: &str, wall: &str) -> String {
        let instant = reached(&find(zone).unwrap(), wall_time(wall).unwrap()).unwrap();
        Timestamp::from_millisecond(instant.as_ms()).unwrap().to_string()
    }

    #[test]
    fn a_time_is_reached_by_the_clocks_of_its_zone() {
        for (zone, wall, expected) in [
            ("Europe/Stockholm", "2026-11-27T00:00", "2026-11-26T23:00:00Z"),
            ("America/New_York", "2026-11-27T00:00", "2026-11-27T05:00:00Z"),
            ("Asia/Kolkata", "2026-07-01T12:30:15", "2026-07-01T07:00:15Z"),
            // In the night when clocks go from 2 to 3, half past two never comes: the change itself has passed it.
            ("Europe/Stockholm", "2026-03-29T02:30", "2026-03-29T01:00:00Z"),
            ("Europe/Stockholm", "2026-03-29T02:00", "2026-03-29T01:00:00Z"),
            ("Europe/Stockholm", "2026-03-29T03:00", "2026-03-29T01:00:00Z"),
            // In the night when they go from 3 back to 2, it comes twice.
            ("Europe/Stockholm", "2026-10-25T02:30", "2026-10-25T00:30:00Z"),
            // A whole day that Samoa never had.
            ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00:00Z"),
        ] {
            assert_eq!(reached_in(zone, wall), expected, "{zone} {wall}");
        }
    }

    #[test]
    fn a_table_shows_what_the_zone_does() {
        for name in ["Europe/Stockholm", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata"]
        {
            let zone = find(name).unwrap();
            let clock = clock(&zone);
            for hours in 0..24 * 365 * 4 {
                let at = Timestamp::from_second(1_735_689_600 + hours * 3600).unwrap();
                let expected = zone.to_datetime(at);
                let shown = clock.show(instant(at));
                let date = (i64::from(expected.year()), i64::from(expected.month()), i64::from(expected.day()));
                assert_eq!((shown.year, shown.month, shown.day), date, "{name} {at}");
                let time = (i64::from(expected.hour()), i64::from(expected.minute()));
                assert_eq!((shown.hour, shown.minute), time, "{name} {at}");
                assert_eq!(shown.weekday, i64::from(expected.weekday().to_monday_one_offset()), "{name} {at}");
            }
        }
    }

    #[test]
    fn a_wall_time_is_nothing_else() {
        for text in
            ["2026-11-27", "2026-11-27T00:00Z", "2026-11-27T00:00+01:00", "2026-02-30T00:00", "0000-01-01T00:00"]
        {
            assert!(wall_time(text).is_err(), "{text}");
        }
        assert!(find("Europe/Stokholm").is_err_and(|message| message.contains("did you mean \"Europe/Stockholm\"?")));
    }
}
