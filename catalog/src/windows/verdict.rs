//! What the policies of an environment say about one release at one instant.

use harmony_incidents::policy::LevelRule;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{EnvironmentPolicy, Mode, PolicyKind, ReleaseAction, ReleaseQuestion, RollbackException};

/// What whoever wants to release does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NextStep {
    /// Go on.
    Proceed,
    /// Ask people: every gate of the verdict has to be approved.
    Gate,
    /// Wait until `nextOpen`, and ask the policies again then.
    Wait,
    /// Give up.
    Refuse,
}

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
    /// When every policy lets releases through; none where that is so already, or is not within two years.
    pub next_open: Option<Timestamp>,
    /// What follows.
    pub next_step: NextStep,
    /// What closes it does, at its strictest; none where it is open.
    pub mode: Option<Mode>,
    /// Why a rollback gets a gate although the environment is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excepted: Option<RollbackException>,
    /// Who is asked, where the next step is a gate. All of them have to approve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<PolicyGate>,
    /// What each policy says, by reference.
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
}

impl ReleaseVerdict {
    pub(super) fn of(
        policies: &[&EnvironmentPolicy],
        unknown: Vec<(String, String)>,
        next_open: Option<Timestamp>,
        question: ReleaseQuestion<'_>,
    ) -> Self {
        let ReleaseQuestion { action, at, rollback, .. } = question;
        let closed: Vec<&EnvironmentPolicy> =
            policies.iter().copied().filter(|policy| !policy.is_open(at)).collect();
        let open = closed.is_empty() && unknown.is_empty();
        // A freeze beats a window, as `PolicyKind` orders them.
        let strictest = closed.iter().copied().max_by_key(|policy| (policy.mode, policy.reference.kind()));
        let mode = if unknown.is_empty() { strictest.map(|policy| policy.mode) } else { Some(Mode::Refuse) };
        // What a policy that is not there would ask, nobody knows, so nothing is an exception to it.
        let claim = rollback.filter(|_| unknown.is_empty() && mode.is_some_and(|mode| mode != Mode::Gate));
        let claimed = claim.map(|claim| claim.exception());
        let (excepted, not_excepted) = match claimed {
            Some(Ok(exception)) => (Some(exception), None),
            Some(Err(problem)) => (None, Some(problem)),
            None => (None, None),
        };
        let asks = |policy: &&EnvironmentPolicy| {
            policy.reference.kind() == PolicyKind::Approval
                || (!policy.is_open(at) && (excepted.is_some() || policy.mode == Mode::Gate))
        };
        let asking: Vec<&EnvironmentPolicy> = policies.iter().copied().filter(asks).collect();
        let next_step = match mode {
            Some(Mode::Refuse) if excepted.is_none() => NextStep::Refuse,
            Some(Mode::Wait) if excepted.is_none() => NextStep::Wait,
            _ if asking.is_empty() => NextStep::Proceed,
            _ => NextStep::Gate,
        };
        let by = match (unknown.first(), strictest) {
            (Some((reference, _)), _) => Some(reference.clone()),
            (None, Some(policy)) => Some(policy.reference.to_string()),
            (None, None) => asking.first().map(|policy| policy.reference.to_string()),
        };
        let mut reason = match (unknown.first(), strictest) {
            (Some((reference, problem)), _) => format!("{reference:?}: {problem}"),
            (None, Some(policy)) => closed_reason(policy, next_open),
            (None, None) => match &by {
                Some(approval) => format!("{approval} asks for an approval"),
                None => "no policy closes the environment".to_owned(),
            },
        };
        if let Some(RollbackException { incident, severity, responder }) = &excepted {
            reason.push_str(&format!(
                "; a rollback for {incident} ({severity}) by its responder {responder} is excepted and needs an approval"
            ));
        }
        if let Some(problem) = not_excepted {
            reason.push_str(&format!("; {problem}"));
        }
        let gates = if next_step == NextStep::Gate { gates(&asking) } else { vec![] };
        Self {
            open,
            reason,
            by,
            next_open: next_open.filter(|_| !open),
            next_step,
            mode,
            excepted,
            gates,
            policies: each(policies, unknown, at),
            action,
            at,
        }
    }
}

fn closed_reason(policy: &EnvironmentPolicy, next_open: Option<Timestamp>) -> String {
    let because = match policy.reference.kind() {
        PolicyKind::Freeze => format!("{} is in force", policy.reference),
        PolicyKind::ChangeWindow | PolicyKind::Approval => format!("outside {}", policy.reference),
    };
    match next_open {
        Some(at) => format!("{because}; the environment opens {}", policy.shown(at)),
        None => format!("{because}; the environment does not open within two years"),
    }
}

fn each(
    policies: &[&EnvironmentPolicy],
    unknown: Vec<(String, String)>,
    at: Timestamp,
) -> Vec<PolicyVerdict> {
    let known = policies.iter().map(|policy| {
        let open = policy.is_open(at);
        let reason = match (policy.reference.kind(), open) {
            (PolicyKind::Approval, _) => "asks for an approval",
            (PolicyKind::ChangeWindow, true) => "inside the window",
            (PolicyKind::ChangeWindow, false) => "outside the window",
            (PolicyKind::Freeze, true) => "not in force",
            (PolicyKind::Freeze, false) => "in force",
        };
        PolicyVerdict {
            reference: policy.reference.to_string(),
            version: Some(policy.version),
            open,
            mode: policy.mode,
            reason: reason.to_owned(),
        }
    });
    let unknown = unknown.into_iter().map(|(reference, reason)| PolicyVerdict {
        reference,
        version: None,
        open: false,
        mode: Mode::Refuse,
        reason,
    });
    known.chain(unknown).collect()
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
