//! Rules by cron: they begin when the expression says, and last for a time.
//!
//! Five fields: minute, hour, day of the month, month, day of the week, in the zone of the policy. Where both days are
//! restricted, either suffices, as in every cron. A time that the clock skips begins when it would have come without
//! the change; a time that it shows twice begins both times. The duration is time that passes, not time by the clock.

use jiff::{
    SignedDuration, Span, Timestamp,
    civil::Date,
    tz::{AmbiguousOffset, TimeZone},
};
use serde::{Deserialize, Deserializer, de};

use super::clock::DAYS;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Most beginnings in a day, of all rules of a file. More often is a way to say always.
pub(super) const STARTS: u32 = 48;

/// Longest duration: a month. Dates say what is longer.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 31);

/// When, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CronRule {
    start: Cron,
    duration: SignedDuration,
}

/// A cron expression: one bit a value that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// From Sunday = 0.
    weekdays: u64,
    /// Whether a day matches by its number or by its weekday; it matches by both where one of them is `*`.
    either_day: bool,
}

impl CronRule {
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        (self.duration < SignedDuration::from_mins(1) || self.duration > LONGEST)
            .then_some(("duration", "a time from \"1m\" to 31 days, such as \"8h\""))
    }

    pub(super) fn starts_a_day(&self) -> u32 {
        self.start.minutes.count_ones() * self.start.hours.count_ones()
    }

    /// When it began last, not after this instant, if it still lasts.
    fn began(&self, zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
        let earliest = zone.to_datetime(at.checked_sub(self.duration).ok()?).date().yesterday().ok()?;
        let mut day = zone.to_datetime(at).date().tomorrow().ok()?;
        let mut last = None;
        while day >= earliest {
            let here = self.start.on(zone, day).filter(|start| *start <= at).max();
            // A clock that is put back over midnight shows a part of the day before again.
            if last.is_some() {
                last = last.max(here);
                break;
            }
            last = here;
            day = day.yesterday().ok()?;
        }
        last.filter(|start| self.ends(*start).is_some_and(|end| end > at))
    }

    fn ends(&self, start: Timestamp) -> Option<Timestamp> {
        start.checked_add(self.duration).ok()
    }

    pub(super) fn covers(&self, zone: &TimeZone, at: Timestamp) -> bool {
        self.began(zone, at).is_some()
    }

    /// An instant after this one until which nothing changes.
    pub(super) fn next_change(
        &self,
        zone: &TimeZone,
        after: Timestamp,
        horizon: Timestamp,
    ) -> Option<Timestamp> {
        if let Some(start) = self.began(zone, after) {
            return self.ends(start);
        }
        let last = zone.to_datetime(horizon).date();
        let mut day = zone.to_datetime(after).date().yesterday().ok()?;
        let mut next: Option<Timestamp> = None;
        while day <= last {
            let here = self.start.on(zone, day).filter(|start| *start > after).min();
            if next.is_some() {
                return next.min(here.or(next));
            }
            next = here;
            day = day.tomorrow().ok()?;
        }
        next
    }
}

impl Cron {
    /// Every instant at which it begins on a day.
    fn on(&self, zone: &TimeZone, day: Date) -> impl Iterator<Item = Timestamp> {
        let by_number = has(self.days, day.day().unsigned_abs());
        let by_weekday = has(self.weekdays, day.weekday().to_sunday_zero_offset().unsigned_abs());
        let matches = if self.either_day { by_number || by_weekday } else { by_number && by_weekday };
        let matches = matches && has(self.months, day.month().unsigned_abs());
        let (hours, minutes) = if matches { (self.hours, self.minutes) } else { (0, 0) };
        let times = bits(hours).flat_map(move |hour| bits(minutes).map(move |minute| (hour, minute)));
        times.flat_map(move |(hour, minute)| {
            let span = Span::new().hours(hour).minutes(minute);
            let shown = day.at(0, 0, 0, 0).checked_add(span).ok();
            let offsets = shown.map(|shown| match zone.to_ambiguous_timestamp(shown).offset() {
                AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
                AmbiguousOffset::Gap { before, .. } => [Some(before), None],
                AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
            });
            let offsets = offsets.into_iter().flatten().flatten();
            offsets.filter_map(move |offset| offset.to_timestamp(shown?).ok())
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!(
                "{text:?} has {} fields; cron has five: minute hour day month weekday, such as \"0 9 * * 1-5\"",
                fields.len()
            ));
        };
        let mut sunday_first = ["sun"; 7];
        sunday_first[1..].copy_from_slice(&DAYS[..6]);
        let (days_set, weekdays_set) = (days != "*", weekdays != "*");
        let mut weekdays = field("weekday", weekdays, 0..=7, 0, &sunday_first)?;
        if has(weekdays, 7) {
            weekdays = (weekdays | 1) & !(1 << 7);
        }
        let cron = Self {
            minutes: field("minute", minutes, 0..=59, 0, &[])?,
            hours: field("hour", hours, 0..=23, 0, &[])?,
            days: field("day", days, 1..=31, 1, &[])?,
            months: field("month", months, 1..=12, 1, &MONTHS)?,
            weekdays,
            either_day: days_set && weekdays_set,
        };
        Ok(cron)
    }
}

fn has(set: u64, value: u8) -> bool {
    set & (1 << value) != 0
}

fn bits(set: u64) -> impl Iterator<Item = i64> {
    (0..64).filter(move |bit| set & (1 << bit) != 0)
}

/// One field: `*`, values, spans, steps, and lists of them. Names begin at `first`.
fn field(
    name: &str,
    text: &str,
    range: std::ops::RangeInclusive<u8>,
    first: u8,
    names: &[&str],
) -> Result<u64, String> {
    let (least, most) = (*range.start(), *range.end());
    let wrong = |part: &str| {
        format!("{part:?} is not a {name}: a number from {least} to {most}, a span, a list, */n or *")
    };
    let value = |word: &str| {
        let lower = word.to_ascii_lowercase();
        let named = names.iter().position(|known| *known == lower).and_then(|at| u8::try_from(at).ok());
        let number = || word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()));
        named.map(|at| at + first).or_else(number).filter(|value| range.contains(value))
    };
    let mut set = 0;
    for part in text.split(',') {
        let (span, step) = match part.split_once('/') {
            Some((span, step)) => (span, step.parse::<u8>().ok().filter(|step| (1..=most).contains(step))),
            None => (part, Some(1)),
        };
        let step = step.ok_or_else(|| wrong(part))?;
        let ends = match span.split_once('-') {
            Some((from, to)) => value(from).zip(value(to)),
            None if span == "*" => Some((least, most)),
            // A value with a step runs to the end, as `5/10`.
            None if part.contains('/') => value(span).map(|from| (from, most)),
            None => value(span).map(|only| (only, only)),
        };
        let (from, to) = ends.filter(|(from, to)| from <= to).ok_or_else(|| wrong(part))?;
        for value in (from..=to).step_by(usize::from(step)) {
            set |= 1 << value;
        }
    }
    Ok(set)
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_cron() {
        let values = |text: &str| {
            let cron = Cron::parse(text).unwrap();
            [cron.minutes, cron.hours, cron.days, cron.months, cron.weekdays]
                .map(|set| bits(set).collect::<Vec<_>>())
        };
        let all = |range: std::ops::RangeInclusive<i64>| range.collect::<Vec<_>>();
        assert_eq!(
            values("0,30 9-17/4 * jan,6 mon-fri"),
            [vec![0, 30], vec![9, 13, 17], all(1..=31), vec![1, 6], all(1..=5)]
        );
        assert_eq!(values("*/20 5/6 1,15 * 7")[..2], [vec![0, 20, 40], vec![5, 11, 17, 23]]);
        assert_eq!(values("0 0 * * 7")[4], [0], "Sunday is 0 and 7");
        assert_eq!(values("0 0 * * 5-7")[4], [0, 5, 6]);
        assert_eq!(values("0 0 * * *")[4], all(0..=6));
    }

    #[test]
    fn anything_else_names_its_field() {
        for (text, expected) in [
            ("0 9 * *", "\"0 9 * *\" has 4 fields"),
            ("@daily", "\"@daily\" has 1 fields"),
            ("60 9 * * *", "\"60\" is not a minute: a number from 0 to 59"),
            ("0 24 * * *", "\"24\" is not a hour"),
            ("0 9 0 * *", "\"0\" is not a day"),
            ("0 9 L * *", "\"L\" is not a day"),
            ("0 9 * 13 *", "\"13\" is not a month"),
            ("0 9 * * 8", "\"8\" is not a weekday"),
            ("0 9 * * fri-mon", "\"fri-mon\" is not a weekday"),
            ("*/0 9 * * *", "\"*/0\" is not a minute"),
            ("+1 9 * * *", "\"+1\" is not a minute"),
            ("1,, 9 * * *", "\"\" is not a minute"),
        ] {
            let error = Cron::parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
