//! `harmony incident time|relate|private|escalate`: what people record while they lead an incident.

use clap::{Args, builder::PossibleValuesParser};
use jiff::{Timestamp, civil, tz::TimeZone};
use serde_json::{Value, json};

use crate::commands::{
    incident::given,
    incident_args::{CommandArgs, incident_id},
};

/// Examples of `time`.
pub(super) const TIME_EXAMPLES: &str = "Examples:
  harmony incident time 42 impact-started 10:42
  harmony incident time 42 detected 2026-11-29T09:58:00Z --reason \"The pager was silent until then\"";
/// Examples of `relate`.
pub(super) const RELATE_EXAMPLES: &str = "Examples:
  harmony incident relate 42 duplicate-of 41
  harmony incident relate 42 caused-by 40 --reason \"Same deployment\"
  harmony incident relate 42 related 39 --remove

It is back: harmony incident declare --recurrence-of 41";
/// Examples of `private`.
pub(super) const PRIVATE_EXAMPLES: &str = "Examples:
  harmony incident private 42 --to oncall --to manager --reason \"Security: details are not public\"
  harmony incident private 42 --off --reason \"Fixed and announced\"";
/// Examples of `escalate`.
pub(super) const ESCALATE_EXAMPLES: &str = "Examples:
  harmony incident escalate 42 --reason \"We need somebody who knows the database\"
  harmony incident escalate 42 --clear";

/// Options of `time`.
#[derive(Debug, Args)]
pub(crate) struct TimeArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// Which moment of the incident
    #[arg(value_parser = PossibleValuesParser::new(["impact-started", "detected", "acknowledged", "mitigated", "resolved"]))]
    moment: String,
    /// When it was: 10:42 (the last one, in your time zone), or 2026-11-29T10:42:00Z
    #[arg(value_name = "WHEN", value_parser = moment_of_day)]
    at: Timestamp,
    /// Why, where it is corrected
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

impl TimeArgs {
    pub(super) fn body(&self) -> Value {
        given(json!({ "moment": self.moment, "at": self.at, "reason": self.reason }))
    }
}

/// Options of `relate`.
#[derive(Debug, Args)]
pub(crate) struct RelateArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// What it is to the other one
    #[arg(value_parser = PossibleValuesParser::new(["duplicate-of", "caused-by", "recurrence-of", "related", "duplicated-by", "cause-of", "recurred-as"]))]
    relation: String,
    /// The other incident
    #[arg(value_parser = incident_id)]
    other: String,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// It is so no longer
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

impl RelateArgs {
    pub(super) fn body(&self) -> Value {
        given(json!({
            "relation": self.relation, "incidentId": self.other, "reason": self.reason, "remove": self.remove,
        }))
    }
}

/// Options of `private`.
#[derive(Debug, Args)]
pub(crate) struct PrivateArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// Id of somebody who sees it, beside organisation admins and you; repeat for more
    #[arg(long = "to", value_name = "PRINCIPAL", conflicts_with = "off")]
    to: Vec<String>,
    /// Everybody sees it again
    #[arg(long)]
    off: bool,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

impl PrivateArgs {
    pub(super) fn body(&self) -> Value {
        given(json!({ "private": !self.off, "principals": self.to, "reason": self.reason }))
    }
}

/// Options of `escalate`.
#[derive(Debug, Args)]
pub(crate) struct EscalateArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// What help is needed, for whoever is called
    #[arg(long, required_unless_present = "clear")]
    reason: Option<String>,
    /// Help is needed no longer
    #[arg(long)]
    clear: bool,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

impl EscalateArgs {
    pub(super) fn body(&self) -> Value {
        given(json!({ "reason": self.reason, "clear": self.clear }))
    }
}

/// A moment exactly, or a time of day: the last one that has passed, where the reader is.
fn moment_of_day(text: &str) -> Result<Timestamp, String> {
    last_before(text, Timestamp::now(), TimeZone::system())
}

fn last_before(text: &str, now: Timestamp, zone: TimeZone) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let wrong = || "not a time: expected 10:42, or 2026-11-29T10:42:00Z".to_owned();
    let clock: civil::Time = text.parse().map_err(|_| wrong())?;
    let today = now.to_zoned(zone.clone()).date();
    let on = |date: civil::Date| date.to_datetime(clock).to_zoned(zone.clone()).map(|at| at.timestamp());
    let at = on(today).map_err(|_| wrong())?;
    if at <= now {
        return Ok(at);
    }
    today.yesterday().and_then(on).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_day_is_the_last_one_that_has_passed() {
        let now: Timestamp = "2026-11-29T10:00:00Z".parse().unwrap();
        let read = |text: &str| last_before(text, now, TimeZone::UTC).map(|at| at.to_string());
        assert_eq!(read("09:58").unwrap(), "2026-11-29T09:58:00Z");
        assert_eq!(read("10:42").unwrap(), "2026-11-28T10:42:00Z");
        assert_eq!(read("2026-01-31T10:42:00+01:00").unwrap(), "2026-01-31T09:42:00Z");
        for wrong in ["", "25:00", "noon", "10:4x"] {
            assert!(read(wrong).unwrap_err().contains("expected 10:42"), "{wrong}");
        }
    }
}
