//! What the policies of an environment say about one release at one instant.

use harmony_incidents::{
    authority::{EnvironmentAsk, ReleaseRight},
    log,
    policy::LevelRule,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    EnvironmentPolicy, Mode, Named, PolicyKind, ReleaseAction, ReleaseQuestion, RollbackException, next_open,
};
use crate::words::PolicyOutcome;

/// The answer about an environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseVerdict {
    /// Whether no policy closes the environment.
    pub open: bool,
    /// Why, in a sentence.
    pub reason: String,
    /// The reference that decided; none where the environment is open and nobody has to be asked.
    pub by: Option<String>,
    /// When every policy lets releases through; none where that is so already, or is not within 400 days.
    pub next_open: Option<Timestamp>,
    /// What follows: go on, ask people (every gate of the verdict has to be approved), wait until `next_open` and ask
    /// the policies again then, or give up.
    pub outcome: PolicyOutcome,
    /// What closes it does, at its strictest; none where it is open.
    pub mode: Option<Mode>,
    /// Why a rollback gets a gate although the environment is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excepted: Option<RollbackException>,
    /// Who is asked, where the outcome is a gate. All of them have to approve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<PolicyGate>,
    /// What each policy says, in the order in which the environment names them.
    pub policies: Vec<PolicyVerdict>,
    /// What was asked for.
    pub action: ReleaseAction,
    /// When.
    pub at: Timestamp,
}

/// An approval that policies ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyGate {
    /// The references of the policies that ask for it.
    pub by: Vec<String>,
    /// Who may decide and how long they have; empty where the installation's own policy says.
    pub levels: Vec<LevelRule>,
}

/// The answer of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyVerdict {
    /// As the environment names it.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Which version; none where no file has it.
    pub version: Option<u32>,
    /// Whether it lets releases through.
    pub open: bool,
    /// What it does while it does not.
    pub mode: Mode,
    /// Why.
    pub reason: String,
    /// When it lets releases through; none where it does already, or does not within 400 days.
    pub next_open: Option<Timestamp>,
}

impl ReleaseVerdict {
    pub(super) fn of(named: &[Named<'_>], question: ReleaseQuestion<'_>) -> Self {
        let ReleaseQuestion { action, at, rollback, .. } = question;
        let policies: Vec<&EnvironmentPolicy> =
            named.iter().filter_map(|one| one.policy.as_ref().ok().copied()).collect();
        let unknown =
            named.iter().find_map(|one| one.policy.as_ref().err().map(|problem| (one.reference, problem)));
        let next_open = if unknown.is_none() { next_open(&policies, at) } else { None };
        // A freeze beats a window, as `PolicyKind` orders them.
        let closed = policies.iter().copied().filter(|policy| !policy.is_open(at));
        let strictest = closed.max_by_key(|policy| (policy.mode, policy.reference.kind()));
        let open = strictest.is_none() && unknown.is_none();
        let mode = if unknown.is_some() { Some(Mode::Refuse) } else { strictest.map(|policy| policy.mode) };
        // What a policy that is not there would ask, nobody knows, so nothing is an exception to it.
        let claim = rollback.filter(|_| unknown.is_none() && mode.is_some_and(|mode| mode != Mode::Gate));
        let (excepted, not_excepted) = match claim.map(|claim| claim.exception()) {
            Some(Ok(exception)) => (Some(exception), None),
            Some(Err(problem)) => (None, Some(problem)),
            None => (None, None),
        };
        let asks = |policy: &&EnvironmentPolicy| {
            policy.reference.kind() == PolicyKind::Approval
                || (!policy.is_open(at) && (excepted.is_some() || policy.mode == Mode::Gate))
        };
        let asking: Vec<&EnvironmentPolicy> = policies.iter().copied().filter(asks).collect();
        let outcome = match mode {
            Some(Mode::Refuse) if excepted.is_none() => PolicyOutcome::Refuse,
            Some(Mode::Wait) if excepted.is_none() => PolicyOutcome::Wait,
            _ if asking.is_empty() => PolicyOutcome::Proceed,
            _ => PolicyOutcome::Gate,
        };
        let (by, mut reason) = match (unknown, strictest, asking.first()) {
            (Some((reference, problem)), ..) => {
                (Some(reference.to_owned()), format!("{reference:?}: {problem}"))
            }
            (None, Some(policy), _) => (Some(policy.reference.to_string()), closed_reason(policy, next_open)),
            (None, None, Some(approval)) => {
                let reference = approval.reference.to_string();
                let reason = format!("{reference} asks for an approval");
                (Some(reference), reason)
            }
            (None, None, None) => (None, "no policy closes the environment".to_owned()),
        };
        if let Some(RollbackException { incident, severity, responder }) = &excepted {
            reason.push_str(&format!(
                "; a rollback for {incident} ({severity}) by its responder {responder} is excepted and needs an approval"
            ));
        }
        if let Some(problem) = not_excepted {
            reason.push_str(&format!("; {problem}"));
        }
        Self {
            open,
            reason,
            by,
            next_open: next_open.filter(|_| !open),
            outcome,
            mode,
            excepted,
            gates: if outcome == PolicyOutcome::Gate { gates(&asking) } else { vec![] },
            policies: named.iter().map(|one| PolicyVerdict::of(one, at)).collect(),
            action,
            at,
        }
    }

    /// The question for Cedar about this verdict. Both have to permit it: what is refused here stays refused under a
    /// policy file that says nothing about closed environments.
    pub fn request<'a>(&self, environment: &'a str, production: bool, rollback: bool) -> EnvironmentAsk<'a> {
        EnvironmentAsk {
            environment,
            right: match self.action {
                ReleaseAction::Deploy => ReleaseRight::Deploy,
                ReleaseAction::Promote => ReleaseRight::Promote,
            },
            production,
            open: self.open,
            mode: self.mode.map_or("none", Mode::name),
            excepted: self.excepted.is_some(),
            rollback,
        }
    }

    /// What each policy said, for the record.
    pub fn recorded(&self) -> Vec<log::PolicyVerdict> {
        let one = |verdict: &PolicyVerdict| log::PolicyVerdict {
            r#ref: verdict.reference.clone(),
            open: verdict.open,
            mode: verdict.mode.name().to_owned(),
            by: verdict.version.map(|version| format!("version {version}")).unwrap_or_default(),
            reason: log::Text::optional(&verdict.reason),
            next_open_us: verdict.next_open.map(Timestamp::as_microsecond).unwrap_or_default(),
        };
        self.policies.iter().map(one).collect()
    }
}

fn closed_reason(policy: &EnvironmentPolicy, next_open: Option<Timestamp>) -> String {
    let because = match policy.reference.kind() {
        PolicyKind::Freeze => format!("{} is in force", policy.reference),
        PolicyKind::ChangeWindow | PolicyKind::Approval => format!("outside {}", policy.reference),
    };
    match next_open {
        Some(at) => format!("{because}; the environment opens {}", policy.shown(at)),
        None => format!("{because}; the environment does not open within 400 days"),
    }
}

impl PolicyVerdict {
    fn of(named: &Named<'_>, at: Timestamp) -> Self {
        let reference = named.reference.to_owned();
        let policy = match &named.policy {
            Ok(policy) => *policy,
            Err(problem) => {
                let reason = problem.clone();
                return Self {
                    reference,
                    version: None,
                    open: false,
                    mode: Mode::Refuse,
                    reason,
                    next_open: None,
                };
            }
        };
        let open = policy.is_open(at);
        let reason = match (policy.reference.kind(), open) {
            (PolicyKind::Approval, _) => "asks for an approval",
            (PolicyKind::ChangeWindow, true) => "inside the window",
            (PolicyKind::ChangeWindow, false) => "outside the window",
            (PolicyKind::Freeze, true) => "not in force",
            (PolicyKind::Freeze, false) => "in force",
        };
        Self {
            reference,
            version: Some(policy.version),
            open,
            mode: policy.mode,
            reason: reason.to_owned(),
            next_open: if open { None } else { next_open(&[policy], at) },
        }
    }
}

/// One gate for all that leave the levels to the installation, or name the same.
fn gates(asking: &[&EnvironmentPolicy]) -> Vec<PolicyGate> {
    let mut gates: Vec<PolicyGate> = Vec::new();
    for policy in asking {
        let by = policy.reference.to_string();
        match gates.iter_mut().find(|gate| gate.levels == policy.levels) {
            Some(gate) => gate.by.push(by),
            None => gates.push(PolicyGate { by: vec![by], levels: policy.levels.clone() }),
        }
    }
    gates
}
