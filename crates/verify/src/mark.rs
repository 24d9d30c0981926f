//! Marks: what others did to the cluster meanwhile, told in lines of a file as `TIME TEXT`.
//!
//! TIME is RFC 3339 (`2026-01-31T12:00:00.5Z`) or milliseconds since 1970.

use std::time::Duration;

use serde::Serialize;

use crate::outage::as_millis;

/// Something that happened from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Counted from the start of the run.
    #[serde(rename = "at_ms", serialize_with = "as_millis")]
    pub at: Duration,
    pub text: String,
}

/// A line that is no mark.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line:?} is no mark: expected a time (RFC 3339, or milliseconds since 1970) and a text")]
pub struct MarkError {
    pub line: String,
}

const TEXT_CHARS_MAX: usize = 200;

impl Mark {
    /// From a line; `None` if it is empty or was before the start of the run, in milliseconds since 1970.
    pub fn parse(line: &str, started_ms: i64) -> Result<Option<Mark>, MarkError> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(None);
        }
        let (time, text) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let at = time.parse().ok().or_else(|| rfc3339(time));
        let at: i64 = at.ok_or_else(|| MarkError {
            line: line.chars().take(TEXT_CHARS_MAX).collect(),
        })?;
        let since = at.saturating_sub(started_ms);
        Ok(u64::try_from(since).ok().map(|since| Mark {
            at: Duration::from_millis(since),
            text: text.trim().chars().take(TEXT_CHARS_MAX).collect(),
        }))
    }
}

/// Milliseconds since 1970.
fn rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let mut date = date.splitn(3, '-').map(digits);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, zone_minutes) = zone(time)?;
    let mut clock = clock.splitn(3, ':');
    let (hour, minute) = (digits(clock.next()?)?, digits(clock.next()?)?);
    let seconds = clock.next()?;
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let thousandths = format!("{:0<3}", digits(fraction).and(fraction.get(..fraction.len().min(3)))?);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60;
    if !in_range || year > 9999 {
        return None;
    }
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - zone_minutes;
    Some((minutes * 60 + digits(second)?) * 1000 + digits(&thousandths)?)
}

/// The time of day, and by how many minutes the zone is ahead.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let sign_at = time.rfind(['+', '-'])?;
    let (hours, minutes) = time[sign_at + 1..].split_once(':')?;
    let minutes = digits(hours)? * 60 + digits(minutes)?;
    let sign = if time[sign_at..].starts_with('-') { -1 } else { 1 };
    Some((&time[..sign_at], sign * minutes))
}

fn digits(text: &str) -> Option<i64> {
    let all = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok())?
}

/// Days of the Gregorian calendar; years begin in March, so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day; the way back.
pub(crate) fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let (day, month) = (
        day_of_year - (153 * month_from_march + 2) / 5 + 1,
        (month_from_march + 2) % 12 + 1,
    );
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_time_are_understood() {
        // `date -u -d @1772366400`: 2026-03-01T12:00:00Z.
        let noon = 1_772_366_400_000;
        for (time, after) in [
            ("1772366400250", 250),
            ("2026-03-01T12:00:00Z", 0),
            ("2026-03-01t12:00:01.5z", 1500),
            ("2026-03-01T12:00:00.123456789Z", 123),
            ("2026-03-01T14:00:00+02:00", 0),
            ("2026-03-01T08:30:02-03:30", 2000),
        ] {
            let mark = Mark::parse(&format!("{time} kill -9 node 1\n"), noon).unwrap().unwrap();
            assert_eq!(
                (mark.at, mark.text.as_str()),
                (Duration::from_millis(after), "kill -9 node 1")
            );
        }
        assert_eq!(rfc3339("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(rfc3339("2024-02-29T23:59:59Z"), Some(1_709_251_199_000));
    }

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        for days in (-800_000..800_000).step_by(97).chain([0, 59, 60, 11_016, 20_512]) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_since_1970(year, month, day), days);
        }
        assert_eq!(date_of(11_016), (2000, 2, 29));
    }

    #[test]
    fn what_was_before_is_left_out_and_what_is_no_time_is_refused() {
        assert_eq!(Mark::parse("1000 early", 2000), Ok(None));
        assert_eq!(Mark::parse("   ", 2000), Ok(None));
        for line in [
            "kill",
            "2026-03-01 kill",
            "2026-13-01T00:00:00Z x",
            "2026-03-01T12:00:00 x",
            "2026-03-01T12:00Z x",
        ] {
            assert!(Mark::parse(line, 0).is_err(), "{line}");
        }
    }
}
