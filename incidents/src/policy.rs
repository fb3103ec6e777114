//! What has a gate, who may open it, how long each level has, and what is accepted past our own doors.
//!
//! The defaults are section 6 of the contract. A policy file replaces any part; the rest keeps its default. The file
//! is strict: an unknown field is an error.

use std::{collections::BTreeMap, time::Duration};

use harmony_protos::log::{self, Authority, Severity};
use jiff::{SignedDuration, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Objective,
    directory::{Principal, Role},
    job_policy::JobPolicy,
    zone::zone,
};

/// What to do with a signal or a start that did not come through our own doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manual {
    /// Judged by the directory all the same, and marked as not attested.
    Accept,
    /// Refused on record.
    #[default]
    Refuse,
}

/// One level of a gate in a policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelRule {
    /// Who may decide.
    pub roles: Vec<Role>,
    /// How long they have, such as `5m`.
    pub within: SignedDuration,
    /// Whether they are paged.
    #[serde(default)]
    pub page: bool,
}

impl LevelRule {
    /// The level as a gate's record has it.
    pub fn recorded(&self) -> log::Level {
        log::Level {
            roles: self.roles.iter().map(|role| role.name().to_owned()).collect(),
            timeout_ms: i64::try_from(self.within.as_millis()).unwrap_or(i64::MAX),
            page: self.page,
        }
    }
}

/// The places where a blueprint may wait for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// Running a runbook. Urgent.
    Remediate,
    /// The public status page at initiate. Urgent.
    StatusPage,
    /// A cell of which nobody knows whether it ran. Urgent.
    UnknownCell,
    /// A step of a runbook that a person does and confirms. Urgent.
    ManualStep,
    /// A cell that needs an approval of its own. Urgent.
    Checkpoint,
    /// Closing out. Routine.
    CloseOut,
    /// Archiving the channel. Routine.
    ArchiveChannel,
    /// Publishing the review. Routine.
    PublishReview,
}

impl GateKind {
    const ALL: [Self; 8] = [
        Self::Remediate,
        Self::StatusPage,
        Self::UnknownCell,
        Self::ManualStep,
        Self::Checkpoint,
        Self::CloseOut,
        Self::ArchiveChannel,
        Self::PublishReview,
    ];

    /// The word in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Remediate => "remediate",
            Self::StatusPage => "status-page",
            Self::UnknownCell => "unknown-cell",
            Self::ManualStep => "manual-step",
            Self::Checkpoint => "checkpoint",
            Self::CloseOut => "close-out",
            Self::ArchiveChannel => "archive-channel",
            Self::PublishReview => "publish-review",
        }
    }

    /// Whether it is about running a runbook or telling the public: answered within minutes, and pointless once the
    /// incident is over.
    pub fn is_urgent(self) -> bool {
        match self {
            Self::Remediate | Self::StatusPage | Self::UnknownCell | Self::ManualStep | Self::Checkpoint => {
                true
            }
            Self::CloseOut | Self::ArchiveChannel | Self::PublishReview => false,
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where pages for a role go; what is not named is as the service is set up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageTarget {
    /// PagerDuty's id of the service; without it `PAGERDUTY_SERVICE_ID`.
    pub service: Option<String>,
    /// PagerDuty's id of the escalation policy; without it the service's own.
    pub escalation_policy: Option<String>,
}

/// Levels by severity (`P1`..`P4`).
pub type LevelTable = BTreeMap<String, Vec<LevelRule>>;

/// A time by severity in a policy file, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Within(Option<SignedDuration>);

impl TryFrom<String> for Within {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let time: SignedDuration =
            text.parse().map_err(|_| format!("{text:?} is no time such as \"20m\", and not \"none\""))?;
        let fits = time > SignedDuration::ZERO && time <= LONGEST_LEVEL;
        fits.then_some(Self(Some(time))).ok_or_else(|| format!("{text:?} is not above 0 and below a year"))
    }
}

impl From<Within> for String {
    fn from(within: Within) -> Self {
        within.0.map_or_else(|| "none".to_owned(), |time| format!("{time:#}"))
    }
}

/// Times by severity (`P1`..`P4`).
pub type Times = BTreeMap<String, Within>;

/// The whole policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Decisions sent straight to Temporal.
    pub manual_signals: Manual,
    /// Workflows started straight at Temporal.
    pub manual_starts: Manual,
    /// Whether a requester may not approve their own remediation.
    pub four_eyes: bool,
    /// Whether a P1 or P2 gate may be approved under `EMERGENCY_OVERRIDE`.
    pub break_glass: bool,
    /// How many must approve a gate of this kind; one where it is not named. One rejection rejects all the same.
    pub quorum: BTreeMap<GateKind, u32>,
    /// Whether those who may decide are reminded once a level, at half its time.
    pub remind: bool,
    /// Who pays for the incidents of a service, by its name.
    pub cost_centers: BTreeMap<String, String>,
    /// Where pages go for a role; a role that is not named is paged where incidents are.
    pub paging: BTreeMap<Role, PageTarget>,
    /// How long a step with an outward effect is tried before it becomes a warning.
    pub step_patience: SignedDuration,
    /// Severities whose review must be written and signed off before the incident closes.
    pub review_required: Vec<String>,
    /// Severities whose close-out has a gate.
    pub close_out_gate: Vec<String>,
    /// Severities whose public status page has a gate at initiate (whatever `AUTO_ENGINE` started always has one).
    pub status_page_gate: Vec<String>,
    /// How often people are told how an incident goes on, by severity; `none` asks for no updates.
    pub updates: Times,
    /// How long after the reminder an update is overdue.
    pub update_grace: SignedDuration,
    /// How soon somebody must command an incident, by severity: then the on-call is reminded, and after as long again paged.
    pub command: Times,
    /// How soon a response must have come so far, by severity; none is set where it is not named.
    pub objectives: BTreeMap<String, BTreeMap<Objective, SignedDuration>>,
    /// The roles of responders, each with its duties.
    pub duties: BTreeMap<String, Vec<String>>,
    /// Where people meet to talk about an incident; `{incident}` stands for its id.
    pub call_url: String,
    /// Slack channel in which owners are reminded of follow-ups that are overdue; without one, in the incident's own.
    pub follow_ups_channel: String,
    /// Which runbook cells may run as Jobs; none where nothing is listed.
    pub runbook_jobs: JobPolicy,
    /// The time zone of reviews and updates, such as `Europe/Berlin`.
    pub zone: String,
    /// Levels of urgent gates.
    pub urgent: LevelTable,
    /// Levels of the close-out gate.
    pub close_out: LevelTable,
    /// Levels of the gates on the review and on archiving.
    pub review: LevelTable,
}

const FIRST: [Role; 2] = [Role::Commander, Role::OnCall];

/// A level of these roles, and of those whose only part is to approve.
fn level(roles: &[Role], minutes: i64, page: bool) -> LevelRule {
    let roles = roles.iter().copied().chain([Role::Approver]).collect();
    LevelRule { roles, within: SignedDuration::from_mins(minutes), page }
}

fn ladder(minutes: [i64; 3], page_first: bool) -> Vec<LevelRule> {
    vec![
        level(&FIRST, minutes[0], page_first),
        level(&[Role::Manager], minutes[1], true),
        level(&[Role::Admin], minutes[2], true),
    ]
}

fn table(rows: [Vec<LevelRule>; 4]) -> LevelTable {
    ["P1", "P2", "P3", "P4"].map(str::to_owned).into_iter().zip(rows).collect()
}

fn times(minutes: [Option<i64>; 4]) -> Times {
    let within = |minutes: Option<i64>| Within(minutes.map(SignedDuration::from_mins));
    ["P1", "P2", "P3", "P4"].map(str::to_owned).into_iter().zip(minutes.map(within)).collect()
}

/// What each role of a responder is there for.
fn duties() -> BTreeMap<String, Vec<String>> {
    [
        (
            "commander",
            &[
                "Say in the channel that you command",
                "Agree on severity and impact",
                "Give out communications and operations",
                "Keep the next step and its owner clear",
            ][..],
        ),
        (
            "communications",
            &[
                "Tell the channel and the public at every update that is due",
                "Answer those who ask from outside",
            ],
        ),
        (
            "operations",
            &["Find out what changed", "Propose the remediation and carry it out", "Verify that it helped"],
        ),
        ("scribe", &["Note decisions and findings as they come", "Collect follow-ups"]),
    ]
    .into_iter()
    .map(|(role, duties)| (role.to_owned(), duties.iter().map(|duty| (*duty).to_owned()).collect()))
    .collect()
}

impl Default for Policy {
    fn default() -> Self {
        const HOUR: i64 = 60;
        const DAY: i64 = 24 * HOUR;
        let managers = [Role::Manager, Role::Admin];
        let two = |first: i64, second: i64| {
            vec![
                level(&[Role::Commander, Role::OnCall, Role::Manager], first, false),
                level(&managers, second, false),
            ]
        };
        let one = |minutes: i64| vec![level(&[Role::Commander, Role::OnCall, Role::Manager], minutes, false)];
        Self {
            manual_signals: Manual::Refuse,
            manual_starts: Manual::Refuse,
            four_eyes: true,
            break_glass: true,
            quorum: BTreeMap::new(),
            remind: true,
            cost_centers: BTreeMap::new(),
            paging: BTreeMap::new(),
            step_patience: SignedDuration::from_mins(2),
            review_required: vec!["P1".to_owned(), "P2".to_owned()],
            close_out_gate: vec!["P1".to_owned(), "P2".to_owned()],
            status_page_gate: vec!["P3".to_owned(), "P4".to_owned()],
            updates: times([Some(20), Some(30), Some(120), None]),
            update_grace: SignedDuration::from_mins(5),
            command: times([Some(5), Some(5), None, None]),
            objectives: BTreeMap::new(),
            duties: duties(),
            call_url: String::new(),
            follow_ups_channel: String::new(),
            runbook_jobs: JobPolicy::default(),
            zone: "UTC".to_owned(),
            urgent: table([
                ladder([5, 10, 15], true),
                ladder([15, 30, 45], false),
                vec![level(&FIRST, 30, false)],
                vec![level(&FIRST, 60, false)],
            ]),
            close_out: table([
                two(4 * HOUR, 8 * HOUR),
                two(4 * HOUR, 8 * HOUR),
                two(4 * HOUR, 8 * HOUR),
                two(4 * HOUR, 8 * HOUR),
            ]),
            review: table([two(3 * DAY, 5 * DAY), two(3 * DAY, 5 * DAY), one(7 * DAY), one(7 * DAY)]),
        }
    }
}

/// What is wrong with a policy file.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not TOML, or not this form.
    #[error("the policy does not parse: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A table that could not be acted on.
    #[error("the policy's {table} for {severity}: {problem}")]
    Levels {
        /// Which table.
        table: &'static str,
        /// Which severity.
        severity: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A quorum that nobody means.
    #[error("the policy's quorum for {kind}: {given} is not a number from 1 to {LARGEST_QUORUM}")]
    Quorum {
        /// Which gate.
        kind: &'static str,
        /// As it stands there.
        given: u32,
    },
    /// A table by severity that could not be acted on.
    #[error("the policy's {table}: {problem}")]
    Table {
        /// Which table.
        table: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A page that would go nowhere.
    #[error("the policy's paging for {role}: {problem}")]
    Paging {
        /// Whose page.
        role: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Longest time of one level: a year. Longer is a typing mistake.
const LONGEST_LEVEL: SignedDuration = SignedDuration::from_hours(24 * 366);

/// More people than that do not decide an incident: it is a typing mistake.
const LARGEST_QUORUM: u32 = 10;

impl Policy {
    /// Reads a policy file and checks that every gate could be acted on.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let mut policy: Self = toml::from_str(text)?;
        let defaults = Self::default();
        let tables = [
            ("urgent", &mut policy.urgent, defaults.urgent),
            ("close_out", &mut policy.close_out, defaults.close_out),
            ("review", &mut policy.review, defaults.review),
        ];
        for (name, table, default) in tables {
            for (severity, levels) in table.iter() {
                let wrong =
                    |problem| PolicyError::Levels { table: name, severity: severity.clone(), problem };
                if !default.contains_key(severity) {
                    return Err(wrong("not a severity; use P1, P2, P3 or P4"));
                }
                if let Some(problem) = levels_problem(levels) {
                    return Err(wrong(problem));
                }
            }
            for (severity, levels) in default {
                table.entry(severity).or_insert(levels);
            }
        }
        for (name, table, default) in [
            ("updates", &mut policy.updates, defaults.updates),
            ("command", &mut policy.command, defaults.command),
        ] {
            severities(name, table.keys())?;
            for (severity, time) in default {
                table.entry(severity).or_insert(time);
            }
        }
        severities("objectives", policy.objectives.keys())?;
        policy.check_leading()?;
        for (role, duties) in defaults.duties {
            policy.duties.entry(role).or_insert(duties);
        }
        if let Some(problem) = policy.runbook_jobs.problem() {
            return Err(PolicyError::Table { table: "runbook_jobs", problem });
        }
        for (kind, given) in &policy.quorum {
            if !(1..=LARGEST_QUORUM).contains(given) {
                return Err(PolicyError::Quorum { kind: kind.name(), given: *given });
            }
        }
        for (role, target) in &policy.paging {
            let named = [&target.service, &target.escalation_policy];
            let wrong = |problem| Err(PolicyError::Paging { role: role.name(), problem });
            if named.iter().all(|id| id.is_none()) {
                return wrong("name a service, an escalation_policy, or both");
            }
            if named.into_iter().flatten().any(|id| !is_vendor_id(id)) {
                return wrong("PagerDuty's ids are letters and digits, such as \"PABC123\"");
            }
        }
        Ok(policy)
    }

    /// Times and duties that could not be acted on.
    fn check_leading(&self) -> Result<(), PolicyError> {
        let wrong = |table, problem: String| Err(PolicyError::Table { table, problem });
        if self.update_grace < SignedDuration::ZERO || self.update_grace > LONGEST_LEVEL {
            return wrong("update_grace", "a time from 0 to a year, such as \"5m\"".to_owned());
        }
        for (severity, targets) in &self.objectives {
            for (objective, target) in targets {
                if *target <= SignedDuration::ZERO || *target > LONGEST_LEVEL {
                    let problem = format!(
                        "{} of {severity} is above 0 and below a year, such as \"15m\"",
                        objective.name()
                    );
                    return wrong("objectives", problem);
                }
            }
        }
        for (role, duties) in &self.duties {
            let is_word = (1..=40).contains(&role.len())
                && role
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            if !is_word {
                return wrong("duties", format!("the role {role:?} is 1 to 40 of a-z, 0-9 and -"));
            }
            let is_line = |duty: &String| {
                !duty.trim().is_empty() && duty.chars().count() <= 200 && !duty.chars().any(char::is_control)
            };
            if let Some(duty) = duties.iter().find(|duty| !is_line(duty)) {
                return wrong("duties", format!("{role}: {duty:?} is one line of at most 200 characters"));
            }
        }
        let url = &self.call_url;
        let is_address =
            url.starts_with("https://") && !url.contains(|one: char| one.is_control() || one == ' ');
        if !url.is_empty() && !is_address {
            return wrong("call_url", "an address that begins with https://".to_owned());
        }
        if !self.follow_ups_channel.is_empty() && !is_vendor_id(&self.follow_ups_channel) {
            return wrong("follow_ups_channel", "Slack's id of a channel, such as \"C0123ABCD\"".to_owned());
        }
        zone(&self.zone).map_err(|error| PolicyError::Table { table: "zone", problem: error.to_string() })?;
        Ok(())
    }

    /// How often people are told how an incident of this severity goes on, if at all.
    pub fn cadence(&self, severity: Severity) -> Option<SignedDuration> {
        self.updates.get(severity.as_str_name()).and_then(|within| within.0)
    }

    /// How soon somebody must command an incident of this severity, if at all.
    pub fn commander_within(&self, severity: Severity) -> Option<SignedDuration> {
        self.command.get(severity.as_str_name()).and_then(|within| within.0)
    }

    /// The time zone in which people read when something was.
    pub fn time_zone(&self) -> TimeZone {
        zone(&self.zone).unwrap_or(TimeZone::UTC)
    }

    /// Where people meet about this incident.
    pub fn call_of(&self, incident: &str) -> Option<String> {
        (!self.call_url.is_empty()).then(|| self.call_url.replace("{incident}", incident))
    }

    /// Who pays for an incident of this service that this principal declares: the service's cost centre, else theirs.
    pub fn cost_center<'a>(&'a self, service: &str, principal: &'a Principal) -> &'a str {
        self.cost_centers.get(service).unwrap_or(&principal.cost_center)
    }

    /// Where a level with these roles is paged: the first of them, in the level's own order, that the policy names.
    pub fn page_target(&self, roles: &[String]) -> Option<&PageTarget> {
        let target = |role: &String| self.paging.iter().find(|(named, _)| named.name() == role);
        roles.iter().find_map(target).map(|(_, target)| target)
    }

    /// The levels of a gate; a P1 has only its first while the flag `incident.auto-escalate-p1` is off.
    pub fn levels(&self, kind: GateKind, severity: Severity, auto_escalate_p1: bool) -> Vec<log::Level> {
        let table = match kind {
            GateKind::Remediate
            | GateKind::StatusPage
            | GateKind::UnknownCell
            | GateKind::ManualStep
            | GateKind::Checkpoint => &self.urgent,
            GateKind::CloseOut => &self.close_out,
            GateKind::ArchiveChannel | GateKind::PublishReview => &self.review,
        };
        let empty = Vec::new();
        let rules = table.get(severity.as_str_name()).unwrap_or(&empty);
        let stay = severity == Severity::P1 && !auto_escalate_p1;
        let take = if stay { 1 } else { rules.len() };
        rules.iter().take(take).map(LevelRule::recorded).collect()
    }

    /// How many must approve a gate of this kind; 0 is one.
    pub fn quorum(&self, kind: GateKind) -> u32 {
        self.quorum.get(&kind).copied().filter(|quorum| *quorum > 1).unwrap_or_default()
    }

    /// Whether this step waits for a decision.
    pub fn has_gate(&self, kind: GateKind, severity: Severity, starter: Authority) -> bool {
        let named = |severities: &[String]| severities.iter().any(|one| one == severity.as_str_name());
        match kind {
            GateKind::Remediate
            | GateKind::UnknownCell
            | GateKind::ManualStep
            | GateKind::Checkpoint
            | GateKind::ArchiveChannel
            | GateKind::PublishReview => true,
            GateKind::StatusPage => starter <= Authority::AutoEngine || named(&self.status_page_gate),
            GateKind::CloseOut => named(&self.close_out_gate),
        }
    }

    /// Whether the incident's review must be signed off before it closes.
    pub fn needs_review(&self, severity: Severity) -> bool {
        self.review_required.iter().any(|one| one == severity.as_str_name())
    }
}

/// What is wrong with the levels of a gate, if anything.
pub fn levels_problem(levels: &[LevelRule]) -> Option<&'static str> {
    let is_in_range =
        |level: &LevelRule| level.within > SignedDuration::ZERO && level.within <= LONGEST_LEVEL;
    if levels.is_empty() {
        Some("needs one level at least")
    } else if levels.iter().any(|level| level.roles.is_empty()) {
        Some("every level names one role at least")
    } else if !levels.iter().all(is_in_range) {
        Some("every level has a time above 0 and below a year, such as \"5m\"")
    } else {
        None
    }
}

fn severities<'a>(table: &'static str, named: impl Iterator<Item = &'a String>) -> Result<(), PolicyError> {
    for severity in named {
        if !["P1", "P2", "P3", "P4"].contains(&severity.as_str()) {
            let problem = format!("{severity:?} is not a severity; use P1, P2, P3 or P4");
            return Err(PolicyError::Table { table, problem });
        }
    }
    Ok(())
}

fn is_vendor_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The time of a level.
pub fn level_timeout(level: &log::Level) -> Duration {
    Duration::from_millis(u64::try_from(level.timeout_ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_contract() {
        let policy = Policy::default();
        let show = |kind, severity| {
            policy
                .levels(kind, severity, true)
                .iter()
                .map(|level| {
                    format!(
                        "{}m {}{}",
                        level.timeout_ms / 60_000,
                        level.roles.join("+"),
                        if level.page { " page" } else { "" }
                    )
                })
                .collect::<Vec<_>>()
                .join(" -> ")
        };
        let mut lines = Vec::new();
        for kind in [GateKind::Remediate, GateKind::CloseOut, GateKind::PublishReview] {
            for severity in [Severity::P1, Severity::P2, Severity::P3, Severity::P4] {
                lines.push(format!("{kind:?} {}: {}", severity.as_str_name(), show(kind, severity)));
            }
        }
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_services_cost_centre_beats_the_declarers() {
        let policy = Policy::parse("[cost_centers]\ncheckout = \"cc-shop\"\n").unwrap();
        let file = "[[principal]]\nid = \"ada\"\ncost_center = \"cc-sre\"\n";
        let directory = crate::Directory::parse(file).unwrap();
        let ada = directory.get("ada").unwrap();
        assert_eq!(policy.cost_center("checkout", ada), "cc-shop");
        assert_eq!(policy.cost_center("search", ada), "cc-sre");
    }

    #[test]
    fn a_file_replaces_only_what_it_names() {
        let policy = Policy::parse(
            "manual_signals = \"accept\"\n[[urgent.P1]]\nroles = [\"sre-oncall\"]\nwithin = \"2s\"\n",
        )
        .unwrap();
        assert_eq!(policy.manual_signals, Manual::Accept);
        assert_eq!(policy.levels(GateKind::Remediate, Severity::P1, true).len(), 1);
        assert_eq!(policy.urgent["P1"][0].within, SignedDuration::from_secs(2));
        assert_eq!(policy.urgent["P2"], Policy::default().urgent["P2"]);
    }

    #[test]
    fn a_level_is_paged_where_the_first_of_its_roles_is_named() {
        let policy = Policy::parse(
            "[paging.sre-oncall]\nservice = \"PONCALL\"\n[paging.incident-manager]\nescalation_policy = \"PLEADS\"\n",
        )
        .unwrap();
        let target = |roles: &[&str]| {
            let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            policy.page_target(&roles).cloned()
        };
        let on_call = PageTarget { service: Some("PONCALL".to_owned()), escalation_policy: None };
        let leads = PageTarget { service: None, escalation_policy: Some("PLEADS".to_owned()) };
        assert_eq!(target(&["incident-commander", "sre-oncall", "incident-manager"]), Some(on_call));
        assert_eq!(target(&["incident-manager", "sre-oncall"]), Some(leads));
        assert_eq!((target(&["org-admin"]), target(&[]), target(&["nobody"])), (None, None, None));
    }

    #[test]
    fn a_table_that_cannot_be_acted_on_is_an_error() {
        for (bad, expected) in [
            ("surprise = 1", "unknown field `surprise`"),
            ("[urgent]\nP1 = []", "needs one level at least"),
            ("[urgent]\nP7 = []", "not a severity"),
            ("[[urgent.P1]]\nroles = []\nwithin = \"5m\"", "one role at least"),
            ("[[urgent.P1]]\nroles = [\"sre-oncall\"]\nwithin = \"0s\"", "above 0"),
            ("[updates]\nP1 = \"soon\"", "no time such as"),
            ("[updates]\nP1 = \"0s\"", "above 0"),
            ("[updates]\nP5 = \"5m\"", "not a severity"),
            ("[command]\nhigh = \"5m\"", "not a severity"),
            ("[objectives.P1]\nmitigate = \"0s\"", "above 0"),
            ("[objectives.P1]\nsleep = \"1h\"", "unknown variant `sleep`"),
            ("[duties]\n\"War Lord\" = []", "1 to 40 of a-z"),
            ("[duties]\nscribe = [\"\"]", "one line"),
            ("follow_ups_channel = \"#ops\"", "Slack's id of a channel"),
            ("zone = \"Berlin\"", "zone: \"Berlin\" is not a time zone"),
            ("call_url = \"javascript:alert(1)\"", "https://"),
            ("[runbook_jobs]\nimages = [\"tools@sha256:00\"]", "is not a repository"),
            ("[runbook_jobs]\nimages = [\"/\"]", "is not a repository"),
            ("[runbook_jobs]\nmax_time = \"0s\"", "up to a week"),
            ("[runbook_jobs]\nprivileged = true", "unknown field `privileged`"),
            ("[quorum]\nremediate = 0", "from 1 to 10"),
            ("[quorum]\nremediate = 11", "from 1 to 10"),
            ("[quorum]\nremediation = 2", "unknown variant `remediation`"),
            ("[paging.sre-oncall]", "for sre-oncall: name a service"),
            ("[paging.sre-oncall]\nservice = \"\"", "letters and digits"),
            ("[paging.sre-oncall]\nservice = \"P1/../users\"", "letters and digits"),
            ("[paging.nobody]\nservice = \"P1\"", "unknown variant `nobody`"),
            ("[paging.sre-oncall]\nservice = \"P1\"\nteam = \"P2\"", "unknown field `team`"),
        ] {
            let error = Policy::parse(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }
}
