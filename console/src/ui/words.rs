//! How the pages say moments, spans and severities.

use harmony_incidents::{RunStatus, StepStatus, log::State};
use jiff::Timestamp;

/// `2026-11-21 13:22:05`, UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `13:22:05`, UTC.
pub(crate) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// A moment of the log; `None` for "not recorded".
pub(crate) fn recorded(at_us: i64) -> Option<Timestamp> {
    (at_us != 0).then(|| Timestamp::from_microsecond(at_us).ok()).flatten()
}

/// `4 s`, `12 min`, `3 h 20 min`, `5 d 4 h`.
pub(crate) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// A length within a drawing: a tenth of a unit is all that can be seen.
pub(crate) fn rounded(units: f64) -> f64 {
    (units * 10.0).round() / 10.0
}

/// How long ago.
pub(crate) fn age(since_us: i64, now: Timestamp) -> String {
    span((now.as_microsecond() - since_us) / 1_000_000)
}

/// `4:59` until then, or how long it is over.
pub(crate) fn left(until: Timestamp, now: Timestamp) -> String {
    let seconds = (until.as_microsecond() - now.as_microsecond()) / 1_000_000;
    if seconds < 0 {
        return "time is over".to_owned();
    }
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{rest:02}") } else { format!("{minutes}:{rest:02}") }
}

/// Which colour a state has.
pub(crate) fn state_class(state: State) -> &'static str {
    match state {
        State::Unspecified | State::Pending => "new",
        State::Open => "hot",
        State::Mitigating => "warm",
        State::Resolved => "good",
        State::Closed | State::Cancelled | State::Archived => "calm",
    }
}

/// Which colour a run has.
pub(crate) fn run_class(status: Option<RunStatus>) -> &'static str {
    match status {
        Some(RunStatus::Completed) => "good",
        Some(RunStatus::Running) => "warm",
        Some(RunStatus::Failed | RunStatus::Refused | RunStatus::Orphaned) => "hot",
        Some(RunStatus::Resuming | RunStatus::Rejected | RunStatus::Cancelled) | None => "calm",
    }
}

/// Which colour a step has.
pub(crate) fn step_class(status: Option<StepStatus>) -> &'static str {
    match status {
        Some(StepStatus::Succeeded) => "good",
        Some(StepStatus::Running) => "warm",
        Some(StepStatus::Failed) => "hot",
        Some(StepStatus::Skipped) | None => "calm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short_and_never_negative() {
        for (seconds, expected) in [
            (-5, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (7_200, "2 h"),
            (12_000, "3 h 20 min"),
            (86_400, "1 d"),
            (446_400, "5 d 4 h"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn time_that_is_left_is_told_to_the_second() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(left(at(299), at(0)), "4:59");
        assert_eq!(left(at(3_700), at(0)), "1:01:40");
        assert_eq!(left(at(0), at(1)), "time is over");
    }
}
