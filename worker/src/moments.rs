//! How the command line says when: on a terminal how long ago, in the reader's own time; in a pipe exactly, in UTC.

use jiff::{Span, Timestamp, Unit, civil::Date, tz::TimeZone};
use serde_json::Value;

use crate::terminal;

/// A moment of the API's JSON.
pub(crate) fn parsed(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// A moment that somebody typed: exactly, or how long ago, such as `24h` or `7d`.
pub(crate) fn since(text: &str) -> Result<Timestamp, String> {
    since_before(text, Timestamp::now())
}

fn since_before(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong = || "not a time: expected 2026-11-29T08:00:00Z, or how long ago: 30m, 24h, 7d".to_owned();
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago: Span = text.parse().map_err(|_| wrong())?;
    if ago.is_negative() {
        return Err(wrong());
    }
    let at = now.to_zoned(TimeZone::UTC).checked_sub(ago).map_err(|_| wrong())?;
    Ok(at.timestamp())
}

/// A time that somebody typed, or a day in UTC, which stands for where it begins.
pub(crate) fn since_day(text: &str) -> Result<Timestamp, String> {
    day_or_time(text, false)
}

/// As [`since_day`], but a day stands for where it ends.
pub(crate) fn until_day(text: &str) -> Result<Timestamp, String> {
    day_or_time(text, true)
}

fn day_or_time(text: &str, is_end: bool) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let expected = || "expected 2026-11-29, or a time with its zone, such as 2026-11-29T10:42:00Z".to_owned();
    let day: Date = text.parse().map_err(|_| expected())?;
    let day = if is_end { day.tomorrow().unwrap_or(day) } else { day };
    Ok(day.to_zoned(TimeZone::UTC).map_err(|_| expected())?.timestamp())
}

/// `4m ago` on a terminal, `2026-11-29T00:12:53Z` elsewhere; empty where there is no moment.
pub(crate) fn ago(value: &Value) -> String {
    let Some(at) = parsed(value) else { return String::new() };
    if terminal::screen().width.is_some() { relative(at, Timestamp::now()) } else { exact(at) }
}

/// The clock and how long ago, `14:03:22 (4m ago)`; exactly in a pipe.
pub(crate) fn clock_and_ago(value: &Value) -> String {
    let Some(at) = parsed(value) else { return String::new() };
    if terminal::screen().width.is_none() {
        return exact(at);
    }
    let now = Timestamp::now();
    format!("{} ({})", clock(at, now, TimeZone::system()), relative(at, now))
}

/// The clock on a terminal, `14:03:22`, with the date where that is not today; exactly in a pipe.
pub(crate) fn local(at: Timestamp) -> String {
    if terminal::screen().width.is_none() {
        return exact(at);
    }
    clock(at, Timestamp::now(), TimeZone::system())
}

/// `4m ago`, `in 3m`, `now`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.duration_since(now).as_secs();
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", span(seconds)),
        _ => format!("{} ago", span(-seconds)),
    }
}

/// The two largest units at most: `42s`, `12m`, `3h 20m`, `5d 4h`.
pub(crate) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, 0) => format!("{hours}h"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, 0, _) => format!("{days}d"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

fn clock(at: Timestamp, now: Timestamp, zone: TimeZone) -> String {
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone));
    let format = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    at.strftime(format).to_string()
}

fn exact(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn moments_are_told_from_now_on_and_back() {
        for (second, expected) in [
            (0, "now"),
            (-42, "42s ago"),
            (-720, "12m ago"),
            (-12_000, "3h 20m ago"),
            (-446_400, "5d 4h ago"),
            (180, "in 3m"),
        ] {
            assert_eq!(relative(at(1_000_000 + second), at(1_000_000)), expected);
        }
    }

    #[test]
    fn a_moment_is_typed_exactly_or_as_how_long_ago() {
        let now: Timestamp = "2026-11-29T08:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-29T07:00:00Z", "2026-11-29T07:00:00Z"),
            ("90m", "2026-11-29T06:30:00Z"),
            ("24h", "2026-11-28T08:00:00Z"),
            ("7d", "2026-11-22T08:00:00Z"),
        ] {
            assert_eq!(since_before(text, now).map(|at| at.to_string()), Ok(expected.to_owned()));
        }
        for wrong in ["yesterday", "", "-3h", "9999999y"] {
            assert!(since_before(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_clock_is_the_readers_own_and_has_a_date_only_on_another_day() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let moment: Timestamp = "2026-11-29T00:12:53.826776Z".parse().unwrap();
        let later: Timestamp = "2026-11-30T08:00:00Z".parse().unwrap();
        assert_eq!(clock(moment, moment, zone.clone()), "02:12:53");
        assert_eq!(clock(moment, later, zone), "2026-11-29 02:12:53");
        assert_eq!(exact(moment), "2026-11-29T00:12:54Z");
    }
}
