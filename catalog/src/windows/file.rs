//! One policy file: TOML, versioned, strict. An error names the file, the line and the key.

use std::{collections::BTreeSet, fmt};

use harmony_incidents::{
    policy::{LevelRule, levels_problem},
    zone::zone,
};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, de};
use toml::Spanned;

use super::{
    clock::{self, Dates, Weekly},
    cron::{CronRule, STARTS},
    reference::{PolicyKind, PolicyRef},
};

/// Most rules of one kind in a file.
const RULES: usize = 16;

/// What happens to a release that comes while a policy closes its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// People are asked.
    Gate,
    /// It waits until the environment is open.
    Wait,
    /// It is refused.
    Refuse,
}

impl Mode {
    /// The word in files and in Cedar's context.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Wait => "wait",
            Self::Refuse => "refuse",
        }
    }
}

/// What somebody wants to do to an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseAction {
    /// Deploy a release.
    Deploy,
    /// Promote a release from another environment.
    Promote,
}

impl ReleaseAction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Deploy, Self::Promote];

    /// The word in files, and the action's name in Cedar.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Promote => "promote",
        }
    }
}

/// One version of one policy of environments.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentPolicy {
    /// How environments name it.
    pub reference: PolicyRef,
    /// From 1, growing. The highest counts.
    pub version: u32,
    /// For people.
    pub description: String,
    /// What happens while it closes an environment; [`Mode::Gate`] of an approval.
    pub mode: Mode,
    /// Invariant: not empty. What it is about.
    actions: BTreeSet<ReleaseAction>,
    /// Who is asked, where this policy asks; empty where it leaves that to the installation's policy.
    pub levels: Vec<LevelRule>,
    /// Invariant: each was checked. None for an approval.
    rules: Vec<Rule>,
    zone: TimeZone,
}

/// What is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyFileError {
    /// As it was given.
    pub file: String,
    /// From 1, where the place is known.
    pub line: Option<usize>,
    /// Such as `weekly[0].from`; empty where the file as a whole is wrong.
    pub key: String,
    /// What is wrong, and what would do.
    pub problem: String,
}

impl fmt::Display for PolicyFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(formatter, ": {}", self.key)?;
        }
        write!(formatter, ": {}", self.problem)
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: Spanned<PolicyKind>,
    name: Spanned<String>,
    version: Spanned<u32>,
    #[serde(default)]
    description: String,
    mode: Option<Spanned<Mode>>,
    zone: Option<Zone>,
    actions: Option<Spanned<BTreeSet<ReleaseAction>>>,
    #[serde(default)]
    weekly: Vec<Spanned<Weekly>>,
    #[serde(default)]
    dates: Vec<Spanned<Dates>>,
    #[serde(default)]
    cron: Vec<Spanned<CronRule>>,
    levels: Option<Spanned<Vec<LevelRule>>>,
}

struct Zone(TimeZone);

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        zone(&name).map(Self).map_err(de::Error::custom)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    Weekly(Weekly),
    Dates(Dates),
    Cron(CronRule),
}

impl EnvironmentPolicy {
    /// Reads a policy file. The file's name is for the error.
    pub fn parse(file: &str, text: &str) -> Result<Self, PolicyFileError> {
        let line_at = |offset: usize| text.get(..offset).map(|before| before.matches('\n').count() + 1);
        let wrong = |offset: Option<usize>, key: &str, problem: String| PolicyFileError {
            file: file.to_owned(),
            line: offset.and_then(line_at),
            key: key.to_owned(),
            problem,
        };
        let start = |error: &toml::de::Error| error.span().map(|span| span.start);
        let document = toml::Deserializer::parse(text)
            .map_err(|error| wrong(start(&error), "", error.message().to_owned()))?;
        let read: File = serde_path_to_error::deserialize(document).map_err(|error| {
            let key = toml_key(error.path());
            wrong(start(error.inner()), &key, error.inner().message().to_owned())
        })?;
        read.checked().map_err(|Problem { offset, key, problem }| wrong(offset, &key, problem))
    }

    /// Whether it has something to say about this.
    pub fn is_about(&self, action: ReleaseAction) -> bool {
        self.actions.contains(&action)
    }

    /// Whether it lets releases through at an instant. An approval always does, through its gate.
    pub fn is_open(&self, at: Timestamp) -> bool {
        match self.reference.kind() {
            PolicyKind::Approval => true,
            PolicyKind::ChangeWindow => self.covers(at),
            PolicyKind::Freeze => !self.covers(at),
        }
    }

    fn covers(&self, at: Timestamp) -> bool {
        let shown = self.zone.to_datetime(at);
        self.rules.iter().any(|rule| match rule {
            Rule::Weekly(rule) => rule.covers(shown),
            Rule::Dates(rule) => rule.covers(shown),
            Rule::Cron(rule) => rule.covers(&self.zone, at),
        })
    }

    /// An instant after this one until which nothing changes; none where nothing changes before the horizon.
    pub(super) fn next_change(&self, after: Timestamp, horizon: Timestamp) -> Option<Timestamp> {
        let zone = &self.zone;
        let today = zone.to_datetime(after).date();
        let of_rules = self.rules.iter().filter_map(|rule| match rule {
            Rule::Weekly(rule) => clock::next_shown(zone, after, rule.boundaries(today)),
            Rule::Dates(rule) => clock::next_shown(zone, after, rule.boundaries(today)),
            Rule::Cron(rule) => rule.next_change(zone, after, horizon),
        });
        // A clock that is put forward or back enters and leaves rules without showing where they begin or end.
        let put_forward_or_back = zone.following(after).next().map(|transition| transition.timestamp());
        let by_clock = self.rules.iter().any(|rule| !matches!(rule, Rule::Cron(_)));
        of_rules.chain(put_forward_or_back.filter(|_| by_clock)).filter(|change| *change <= horizon).min()
    }

    /// Whose clock it goes by.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// An instant as the clock in the policy's zone shows it.
    pub(super) fn shown(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
    }
}

/// Where something stands in a TOML file; empty where it is the file as a whole. `Spanned` adds a key of its own.
pub(crate) fn toml_key(path: &serde_path_to_error::Path) -> String {
    let key = path.to_string().replace(".$__serde_spanned_private_value", "");
    if key == "." { String::new() } else { key }
}

/// What is wrong, and where.
struct Problem {
    offset: Option<usize>,
    key: String,
    problem: String,
}

impl File {
    fn checked(self) -> Result<EnvironmentPolicy, Problem> {
        fn wrong<T>(offset: Option<usize>, key: &str, problem: &str) -> Result<T, Problem> {
            Err(Problem { offset, key: key.to_owned(), problem: problem.to_owned() })
        }
        let kind = self.kind.into_inner();
        let at = Some(self.name.span().start);
        let reference = PolicyRef::new(kind, self.name.get_ref())
            .or_else(|error| wrong(at, "name", &error.to_string()))?;
        if *self.version.get_ref() == 0 {
            return wrong(Some(self.version.span().start), "version", "a number from 1");
        }
        let actions = match self.actions {
            None => ReleaseAction::ALL.into_iter().collect(),
            Some(named) if named.get_ref().is_empty() => {
                return wrong(Some(named.span().start), "actions", "\"deploy\", \"promote\" or both");
            }
            Some(named) => named.into_inner(),
        };
        let levels_at = self.levels.as_ref().map(|levels| levels.span().start);
        let levels = self.levels.map(Spanned::into_inner);
        if let Some(problem) = levels.as_deref().and_then(levels_problem) {
            return wrong(levels_at, "levels", problem);
        }
        let mode_at = self.mode.as_ref().map(|mode| mode.span().start);
        let mode = self.mode.map(Spanned::into_inner);
        let starts: u32 = self.cron.iter().map(|rule| rule.get_ref().starts_a_day()).sum();
        if starts > STARTS {
            let at = self.cron.first().map(|rule| rule.span().start);
            return wrong(at, "cron", "begins more than 48 times a day; use fewer and longer ones");
        }
        let rules = [
            checked("weekly", self.weekly, Weekly::problem, Rule::Weekly)?,
            checked("dates", self.dates, Dates::problem, Rule::Dates)?,
            checked("cron", self.cron, CronRule::problem, Rule::Cron)?,
        ]
        .concat();
        match kind {
            PolicyKind::Approval => {
                if levels.is_none() {
                    return wrong(
                        None,
                        "levels",
                        "an approval says who is asked: [[levels]] with roles and within",
                    );
                }
                if !rules.is_empty() {
                    return wrong(
                        None,
                        "",
                        "an approval has no weekly, dates or cron: a window with mode \"gate\" has",
                    );
                }
                if mode.is_some_and(|mode| mode != Mode::Gate) {
                    return wrong(mode_at, "mode", "an approval always has a gate: leave it out");
                }
            }
            PolicyKind::ChangeWindow | PolicyKind::Freeze => {
                if rules.is_empty() {
                    return wrong(None, "", "says no time: add [[weekly]], [[dates]] or [[cron]]");
                }
                if self.zone.is_none() {
                    return wrong(
                        None,
                        "zone",
                        "missing: whose clock it is, such as \"Europe/Berlin\" or \"UTC\"",
                    );
                }
                if levels.is_some() && mode != Some(Mode::Gate) {
                    return wrong(levels_at, "levels", "nobody is asked unless mode is \"gate\"");
                }
            }
        }
        let default_mode = if kind == PolicyKind::Approval { Mode::Gate } else { Mode::Refuse };
        Ok(EnvironmentPolicy {
            reference,
            version: self.version.into_inner(),
            description: self.description,
            mode: mode.unwrap_or(default_mode),
            actions,
            levels: levels.unwrap_or_default(),
            rules,
            zone: self.zone.map_or(TimeZone::UTC, |zone| zone.0),
        })
    }
}

/// The rules of one kind, each checked.
fn checked<R>(
    name: &str,
    written: Vec<Spanned<R>>,
    problem: fn(&R) -> Option<(&'static str, &'static str)>,
    rule: fn(R) -> Rule,
) -> Result<Vec<Rule>, Problem> {
    if let Some(beyond) = written.get(RULES) {
        let problem = format!("more than {RULES} of them; make several policies");
        return Err(Problem { offset: Some(beyond.span().start), key: name.to_owned(), problem });
    }
    let one = |(index, written): (usize, Spanned<R>)| match problem(written.get_ref()) {
        None => Ok(rule(written.into_inner())),
        Some((key, problem)) => Err(Problem {
            offset: Some(written.span().start),
            key: format!("{name}[{index}].{key}"),
            problem: problem.to_owned(),
        }),
    };
    written.into_iter().enumerate().map(one).collect()
}
