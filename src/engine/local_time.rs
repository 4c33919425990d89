//! What a market's clocks show: tables of offsets that were made when the catalog was loaded, so that the engine needs
//! no time-zone database and decides the same wherever it runs.

use super::instant::Instant;

const MS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// The offsets of a market's clocks from UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalClock {
    offset_s: i32,
    changes: Vec<(Instant, i32)>,
}

/// A date and time of day as clocks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Year of the Gregorian calendar.
    pub year: i64,
    /// From 1 to 12.
    pub month: i64,
    /// Of the month, from 1.
    pub day: i64,
    /// From 0 to 23.
    pub hour: i64,
    /// From 0 to 59.
    pub minute: i64,
    /// Of the week: 1 is Monday, 7 is Sunday, as ISO 8601 counts.
    pub weekday: i64,
}

impl LocalClock {
    /// Clocks that are `offset_s` seconds ahead of UTC until the first of the changes, which ascend and each say what
    /// the offset is from their instant on.
    #[must_use]
    pub fn new(offset_s: i32, changes: Vec<(Instant, i32)>) -> Self {
        debug_assert!(changes.is_sorted_by_key(|&(instant, _)| instant));
        Self { offset_s, changes }
    }

    /// What the clocks show at an instant.
    #[must_use]
    pub fn show(&self, instant: Instant) -> LocalTime {
        let passed = self.changes.partition_point(|&(change, _)| change <= instant);
        let offset_s = passed.checked_sub(1).map_or(self.offset_s, |last| self.changes[last].1);
        let local_ms = instant.as_ms().saturating_add(i64::from(offset_s) * 1000);
        let days = local_ms.div_euclid(MS_PER_DAY);
        let minutes = local_ms.rem_euclid(MS_PER_DAY) / 60_000;
        let (year, month, day) = civil_date(days);
        // 1970-01-01 was a Thursday.
        let weekday = (days + 3).rem_euclid(7) + 1;
        LocalTime { year, month, day, hour: minutes / 60, minute: minutes % 60, weekday }
    }
}

/// Year, month and day of a number of days since 1970-01-01: counted from 1 March of year 0, so that the leap day ends
/// a year, in eras of 400 years, which all have 146,097 days.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Five months from March on have 153 days, again and again.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(clock: &LocalClock, s: i64) -> [i64; 6] {
        let LocalTime { year, month, day, hour, minute, weekday } = clock.show(Instant::from_ms(s * 1000));
        [year, month, day, hour, minute, weekday]
    }

    #[test]
    fn utc_is_read_off_by_the_calendar() {
        let utc = LocalClock::default();
        for (s, expected) in [
            (0, [1970, 1, 1, 0, 0, 4]),
            (-1, [1969, 12, 31, 23, 59, 3]),
            (951_782_399, [2000, 2, 28, 23, 59, 1]),
            (951_782_400, [2000, 2, 29, 0, 0, 2]),
            (951_868_800, [2000, 3, 1, 0, 0, 3]),
            (1_795_737_600, [2026, 11, 27, 0, 0, 5]),
            (4_107_542_400, [2100, 3, 1, 0, 0, 1]),
            (-62_135_596_800, [1, 1, 1, 0, 0, 1]),
        ] {
            assert_eq!(shown(&utc, s), expected, "{s}");
        }
    }

    #[test]
    fn an_offset_holds_from_its_instant_on() {
        let clock = LocalClock::new(3600, vec![(Instant::from_ms(86_400_000), 7200)]);
        assert_eq!(shown(&clock, 86_399), [1970, 1, 2, 0, 59, 5]);
        assert_eq!(shown(&clock, 86_400), [1970, 1, 2, 2, 0, 5]);
    }
}
