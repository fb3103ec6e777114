//! Rules by the clock on the wall of a named zone: days of the week, and dates.
//!
//! A rule holds while that clock shows a time inside it. So where the clock is put forward, the times that it skips
//! are in no rule; where it is put back, the hour that it shows twice counts both times.

use std::fmt;

use jiff::{
    Span, Timestamp,
    civil::{Date, DateTime, Time, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Minutes of a day by the clock.
const DAY: u16 = 24 * 60;

/// A time of day from `00:00` to `24:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimeOfDay(u16);

impl TimeOfDay {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix(":00").filter(|rest| rest.contains(':')).unwrap_or(text);
        let (hour, minute) = text.split_once(':')?;
        let number = |text: &str, most: u16| {
            let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number: &u16| is_number && *number <= most)
        };
        let minutes = number(hour, 24)? * 60 + number(minute, 59)?;
        (minutes <= DAY).then_some(Self(minutes))
    }

    /// This time on a day; 24:00 is the first time of the next.
    fn on(self, day: Date) -> Option<DateTime> {
        let minutes = i64::from(self.0 % DAY);
        let day = if self.0 == DAY { day.tomorrow().ok()? } else { day };
        day.at(0, 0, 0, 0).checked_add(Span::new().minutes(minutes)).ok()
    }
}

/// Days of the week, one or a span of them: `mon`, `mon-fri`, `sat-mon`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Days {
    /// From Monday = 0.
    first: u8,
    last: u8,
}

/// The names of the days, from Monday.
pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Days {
    fn parse(text: &str) -> Option<Self> {
        let day =
            |name: &str| DAYS.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok());
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(Self { first: day(first)?, last: day(last)? })
    }

    fn has(self, day: Weekday) -> bool {
        let day = day.to_monday_zero_offset().unsigned_abs();
        if self.first <= self.last {
            (self.first..=self.last).contains(&day)
        } else {
            day >= self.first || day <= self.last
        }
    }
}

/// The same hours on days of the week. Hours that end before they begin end on the next day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Weekly {
    pub(super) days: Vec<Days>,
    pub(super) from: TimeOfDay,
    pub(super) to: TimeOfDay,
}

impl Weekly {
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        if self.days.is_empty() {
            return Some(("days", "name one day at least, such as \"mon-fri\""));
        }
        (self.from.0 % DAY == self.to.0 % DAY && self.to.0 != DAY || self.from.0 == DAY)
            .then_some(("to", "the same time as `from`; a whole day is 00:00 to 24:00"))
    }

    pub(super) fn covers(&self, shown: DateTime) -> bool {
        let minute = minute_of(shown.time());
        let began_on = |day: Date| self.days.iter().any(|days| days.has(day.weekday()));
        let today = shown.date();
        if self.from < self.to {
            return began_on(today) && (self.from.0..self.to.0).contains(&minute);
        }
        let yesterday = || today.yesterday().is_ok_and(began_on);
        (minute >= self.from.0 && began_on(today)) || (minute < self.to.0 && yesterday())
    }

    /// Times at which it may begin or end, from the day before this one on, day by day.
    pub(super) fn boundaries(&self, today: Date) -> impl Iterator<Item = DateTime> {
        // A day of the week comes again after seven days; hours that it is in may have begun the day before.
        let days = (-1..=8).filter_map(move |offset| today.checked_add(Span::new().days(offset)).ok());
        days.flat_map(|day| [self.from.on(day), self.to.on(day)].into_iter().flatten())
    }
}

/// Dates, or times on dates, from one to another: of one year, or of every year.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dates {
    from: DateBound,
    to: DateBound,
}

/// Where dates begin or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DateBound {
    /// The whole day.
    Day(Date),
    /// A time on a day.
    At(DateTime),
    /// The whole day, every year: its month and day.
    EveryYear(i8, i8),
}

impl DateBound {
    fn parse(text: &str) -> Option<Self> {
        if let Some((month, day)) = text.split_once('-')
            && text.len() == 5
        {
            let (month, day) = (month.parse().ok()?, day.parse().ok()?);
            // A leap year has every day that a year can have.
            return Date::new(2024, month, day).ok().map(|_| Self::EveryYear(month, day));
        }
        let is_whole_day = text.len() == "2026-12-20".len();
        let at = || text.parse().ok().filter(|at: &DateTime| at.second() == 0 && at.subsec_nanosecond() == 0);
        if is_whole_day { text.parse().ok().map(Self::Day) } else { at().map(Self::At) }
    }

    fn starts(self) -> Option<DateTime> {
        match self {
            Self::Day(day) => Some(day.at(0, 0, 0, 0)),
            Self::At(at) => Some(at),
            Self::EveryYear(..) => None,
        }
    }

    fn ends(self) -> Option<DateTime> {
        match self {
            Self::Day(day) => Some(day.tomorrow().ok()?.at(0, 0, 0, 0)),
            Self::At(at) => Some(at),
            Self::EveryYear(..) => None,
        }
    }
}

impl Dates {
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        match (self.from, self.to) {
            (DateBound::EveryYear(..), DateBound::EveryYear(..)) => None,
            (DateBound::EveryYear(..), _) | (_, DateBound::EveryYear(..)) => {
                Some(("to", "with a year where `from` has one, and without where it has none"))
            }
            (from, to) if from.starts() >= to.ends() => Some(("to", "before `from`")),
            _ => None,
        }
    }

    pub(super) fn covers(&self, shown: DateTime) -> bool {
        if let (DateBound::EveryYear(month, day), DateBound::EveryYear(last_month, last_day)) =
            (self.from, self.to)
        {
            let (today, first, last) = ((shown.month(), shown.day()), (month, day), (last_month, last_day));
            return if first <= last {
                (first..=last).contains(&today)
            } else {
                today >= first || today <= last
            };
        }
        self.from.starts().is_some_and(|from| from <= shown) && self.to.ends().is_some_and(|to| shown < to)
    }

    /// Times at which they may begin or end, in no order.
    pub(super) fn boundaries(&self, today: Date) -> Vec<DateTime> {
        let years = [today.year() - 1, today.year(), today.year() + 1, today.year() + 2];
        let each_year = |bound: DateBound, is_end: bool| {
            let DateBound::EveryYear(month, day) = bound else { return vec![] };
            let whole = |year: i16| {
                // 29 February of another year is not there; it is passed at the beginning of March.
                let day = Date::new(year, month, day).or_else(|_| Date::new(year, 3, 1)).ok()?;
                let bound = DateBound::Day(day);
                if is_end { bound.ends() } else { bound.starts() }
            };
            years.into_iter().filter_map(whole).collect()
        };
        let mut all: Vec<DateTime> = self.from.starts().into_iter().chain(self.to.ends()).collect();
        all.extend(each_year(self.from, false));
        all.extend(each_year(self.to, true));
        all
    }
}

fn minute_of(time: Time) -> u16 {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

/// Every instant at which the clock in a zone shows a time: none where it skips it, two where it shows it twice.
pub(super) fn instants(zone: &TimeZone, shown: DateTime) -> impl Iterator<Item = Timestamp> {
    let offsets = match zone.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
        AmbiguousOffset::Gap { .. } => [None, None],
        AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
    };
    offsets.into_iter().flatten().filter_map(move |offset| offset.to_timestamp(shown).ok())
}

/// The first of the instants after this one at which the clock shows one of these times.
pub(super) fn next_shown(
    zone: &TimeZone,
    after: Timestamp,
    times: impl IntoIterator<Item = DateTime>,
) -> Option<Timestamp> {
    times.into_iter().flat_map(|shown| instants(zone, shown)).filter(|instant| *instant > after).min()
}

/// Reads a value that stands in the file as a string, or bare where TOML has a form for it (`09:00`, `2026-12-20`).
fn from_text<'de, D, T>(
    deserializer: D,
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    struct Text<T>(&'static str, fn(&str) -> Option<T>);

    impl<'de, T> Visitor<'de> for Text<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).ok_or_else(|| E::custom(format_args!("{text:?} is not {}", self.0)))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            let bare = toml::value::Datetime::deserialize(MapAccessDeserializer::new(map))?;
            self.visit_str(&bare.to_string())
        }
    }

    deserializer.deserialize_any(Text(expected, parse))
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a time of day from \"00:00\" to \"24:00\"", Self::parse)
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a day or days, such as \"sat\" or \"mon-fri\"", Self::parse)
    }
}

impl<'de> Deserialize<'de> for DateBound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a date, such as \"2026-12-20\", \"2026-12-20T18:00\" or, every year, \"12-20\"";
        from_text(deserializer, expected, Self::parse)
    }
}
