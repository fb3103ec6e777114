//! A week of an environment as a picture: when it is open, by the clock of its policies.

use harmony_catalog::windows::{EnvironmentPolicies, Hours, ReleaseAction};
use jiff::{Span, Timestamp, Zoned, civil::Weekday, tz::TimeZone};

/// Units of the picture: a day is so wide, and so high.
pub(super) const WIDTH: f64 = 720.0;
pub(super) const ROW: f64 = 22.0;
/// Where the days' names stand.
pub(super) const MARGIN: f64 = 84.0;

/// A week, from Monday.
pub(super) struct Week {
    /// Whose clock it goes by.
    pub(super) zone: String,
    pub(super) days: Vec<Day>,
    /// Where the clock stands: the place in the picture and the time.
    pub(super) now: (f64, f64),
    pub(super) now_text: String,
    pub(super) hours: Vec<(f64, String)>,
    pub(super) height: f64,
}

pub(super) struct Day {
    pub(super) name: String,
    pub(super) y: f64,
    /// Where its name stands.
    pub(super) text_y: f64,
    /// When it is open, in words.
    pub(super) open: String,
    pub(super) parts: Vec<Part>,
}

/// A part of a day in which nothing changes.
pub(super) struct Part {
    pub(super) x: f64,
    pub(super) width: f64,
    pub(super) class: &'static str,
    pub(super) title: String,
}

/// The week of an instant.
pub(super) fn of(policies: &EnvironmentPolicies, refs: &[String], now: Timestamp) -> Week {
    let zone = policies.zone(refs);
    let here = now.to_zoned(zone.clone());
    let back = i64::from(here.weekday().since(Weekday::Monday));
    let monday = here.date().checked_sub(Span::new().days(back)).unwrap_or(here.date());
    let midnights: Vec<Zoned> = (0..=7)
        .filter_map(|day| monday.checked_add(Span::new().days(day)).ok()?.to_zoned(zone.clone()).ok())
        .collect();
    let mut days = Vec::new();
    for (index, pair) in midnights.windows(2).enumerate() {
        let [from, to] = pair else { continue };
        let hours = policies.hours(refs, ReleaseAction::Deploy, from.timestamp(), to.timestamp());
        let y = index as f64 * ROW;
        days.push(Day {
            name: from.strftime("%a %d").to_string(),
            y,
            text_y: y + ROW * 0.68,
            open: open_hours(&hours, &zone),
            parts: hours.iter().map(|one| part(one, &zone, to.timestamp())).collect(),
        });
    }
    let height = days.len() as f64 * ROW;
    Week {
        zone: zone.iana_name().unwrap_or("UTC").to_owned(),
        now: (x_of(minutes(&here)), back as f64 * ROW),
        now_text: here.strftime("%a %H:%M").to_string(),
        hours: (0..=24).step_by(6).map(|hour| (x_of(f64::from(hour) * 60.0), format!("{hour:02}"))).collect(),
        days,
        height,
    }
}

/// Minutes of the day by the clock.
fn minutes(at: &Zoned) -> f64 {
    f64::from(at.hour()) * 60.0 + f64::from(at.minute())
}

fn x_of(minutes: f64) -> f64 {
    rounded(MARGIN + minutes / 1_440.0 * WIDTH)
}

fn rounded(units: f64) -> f64 {
    (units * 10.0).round() / 10.0
}

fn clock(at: Timestamp, zone: &TimeZone) -> Zoned {
    at.to_zoned(zone.clone())
}

fn part(hours: &Hours, zone: &TimeZone, midnight: Timestamp) -> Part {
    let begin = x_of(minutes(&clock(hours.from, zone)));
    let end = if hours.to == midnight { MARGIN + WIDTH } else { x_of(minutes(&clock(hours.to, zone))) };
    // Where the clock is put back, a part may end before it began.
    let (begin, end) = if begin <= end { (begin, end) } else { (end, begin) };
    let is_frozen = hours.closed_by.iter().any(|one| one.starts_with("policy:freeze:"));
    let class = match (hours.is_open(), is_frozen) {
        (true, _) => "open",
        (false, true) => "frozen",
        (false, false) => "shut",
    };
    let span = spoken(hours, zone, midnight);
    let title = if hours.is_open() {
        format!("{span} open")
    } else {
        format!("{span} closed by {}", hours.closed_by.join(", "))
    };
    Part { x: begin, width: rounded(end - begin), class, title }
}

fn spoken(hours: &Hours, zone: &TimeZone, midnight: Timestamp) -> String {
    let from = clock(hours.from, zone).strftime("%H:%M").to_string();
    let to = if hours.to == midnight {
        "24:00".to_owned()
    } else {
        clock(hours.to, zone).strftime("%H:%M").to_string()
    };
    format!("{from}–{to}")
}

fn open_hours(hours: &[Hours], zone: &TimeZone) -> String {
    let Some(midnight) = hours.last().map(|last| last.to) else { return String::new() };
    let open: Vec<String> =
        hours.iter().filter(|one| one.is_open()).map(|one| spoken(one, zone, midnight)).collect();
    match open.as_slice() {
        [] => "closed".to_owned(),
        [one] if one == "00:00–24:00" => "open all day".to_owned(),
        several => format!("open {}", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use harmony_catalog::windows::EnvironmentPolicy;

    use super::*;

    fn week(refs: &[&str], now: &str) -> Week {
        let text = include_str!("../../../../policies/environments/weekday.toml");
        let freeze = include_str!("../../../../policies/environments/year-end.toml");
        let parsed = [text, freeze].map(|text| EnvironmentPolicy::parse("test.toml", text).unwrap());
        let policies = EnvironmentPolicies::new(parsed).unwrap();
        let refs: Vec<String> = refs.iter().map(|one| (*one).to_owned()).collect();
        of(&policies, &refs, now.parse().unwrap())
    }

    #[test]
    fn week_is_told_by_the_clock_of_its_zone() {
        // A Wednesday, at 10:30 in Berlin.
        let week = week(&["policy:change-window:weekday"], "2026-11-25T09:30:00Z");
        assert_eq!(week.zone, "Europe/Berlin");
        assert_eq!(week.now_text, "Wed 10:30");
        let days: Vec<(&str, &str)> =
            week.days.iter().map(|day| (day.name.as_str(), day.open.as_str())).collect();
        assert_eq!(days[0], ("Mon 23", "open 09:00–17:00"));
        assert_eq!(days[4], ("Fri 27", "open 09:00–14:00"));
        assert_eq!(days[6], ("Sun 29", "closed"));
        assert_eq!(week.days[0].parts.len(), 3);
        let open = &week.days[0].parts[1];
        assert_eq!((open.class, open.x, open.width), ("open", MARGIN + WIDTH * 9.0 / 24.0, WIDTH / 3.0));
    }

    #[test]
    fn every_day_is_drawn_whole_also_where_the_clock_changes() {
        for now in ["2026-10-22T12:00:00Z", "2026-03-26T12:00:00Z", "2026-12-30T12:00:00Z"] {
            for refs in [&["policy:change-window:weekday", "policy:freeze:year-end"][..], &[]] {
                let week = week(refs, now);
                assert_eq!(week.days.len(), 7);
                for day in &week.days {
                    let width: f64 = day.parts.iter().map(|part| part.width).sum();
                    assert!((width - WIDTH).abs() < 0.5, "{} is {width} wide", day.name);
                }
            }
        }
        let frozen = week(&["policy:freeze:year-end"], "2026-12-30T12:00:00Z");
        assert_eq!(frozen.days[2].parts[0].class, "frozen");
        let free = week(&[], "2026-12-30T12:00:00Z");
        assert!(free.days.iter().all(|day| day.open == "open all day") && free.zone == "UTC");
    }
}
