//! The engine: whether a candidate becomes an incident, step by step.
//!
//! Pure. The order is that of section 8 of the contract: duplicate, staleness, eligibility, authority, deferral. The
//! first three suppress, the last two defer; both of these are asked, so that a decision tells whether nothing but
//! authority was missing. Staleness and deferral are rules for machines: a person who promotes knows what they do.
//!
//! The time is an input, and what counts of it (stale or not) is one of the facts that a decision's id is made of; so
//! the same candidate under the same policy with the same facts gives the same id whenever it is asked.

use harmony_protos::log::{Authority, Severity};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    WORKFLOW_TYPE,
    candidate::{Candidate, CandidateId},
    is_person,
    policy::{Policies, PromotionPolicy, usual_authority},
};
use crate::{
    command::Refusal,
    ids::{IncidentId, OrgId},
    judge::JUSTIFICATION_CHARS,
    words,
};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// About whom.
    pub candidate: &'a Candidate,
    /// By which rules.
    pub policies: &'a Policies,
    /// With what authority; from the directory, never from an input.
    pub authority: Authority,
    /// Of an `EMERGENCY_OVERRIDE`.
    pub justification: &'a str,
    /// When the trouble was seen.
    pub seen_at: Timestamp,
    /// The time of asking.
    pub now: Timestamp,
    /// What was looked up.
    pub facts: &'a Facts,
}

/// What was looked up for a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// The incident that is about this already: open with the same correlation key, or of an earlier candidate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// The candidate of the same key that was promoted within the policy's window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateId>,
}

/// What becomes of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// An incident.
    Promote,
    /// Nothing, until a person promotes it.
    Defer,
    /// Nothing.
    Suppress,
}

impl Outcome {
    /// The word in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Promote => "PROMOTE",
            Self::Defer => "DEFER",
            Self::Suppress => "SUPPRESS",
        }
    }
}

/// A step of the evaluation, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Is it known already?
    Duplicate,
    /// Was it seen too long ago?
    Staleness,
    /// Has it what the policy asks?
    Eligibility,
    /// May who asks open an incident of this severity?
    Authority,
    /// Does the policy want a person to look first?
    Deferral,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Go on.
    Passed,
    /// This decides.
    Stopped,
    /// Not a question for who asks.
    Waived,
}

/// One line of a decision's trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceStep {
    /// Which step.
    pub step: Step,
    /// How it went.
    pub verdict: Verdict,
    /// Why, in words.
    pub because: String,
}

/// Why a candidate is not promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Reason {
    /// It is known already.
    Duplicate,
    /// It was seen too long ago.
    Stale,
    /// It has not what the policy asks.
    Ineligible,
    /// Who asks may not open an incident of this severity.
    Authority,
    /// The policy wants a person to look first.
    Deferral,
}

/// What was decided, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// SHA-256 over the inputs, in hex.
    pub decision_id: String,
    /// What becomes of the candidate.
    pub outcome: Outcome,
    /// What stood in the way; empty for a promotion.
    pub reasons: Vec<Reason>,
    /// In words.
    pub because: String,
    /// The incident's severity, mapped.
    pub severity: Severity,
    /// Policy that decided; empty for an override without one.
    pub policy_id: String,
    /// Its version; 0 for an override without one.
    pub policy_version: u32,
    /// With what authority it was asked.
    pub authority: Authority,
    /// What was looked up.
    pub facts: Facts,
    /// Every step that was asked, in order.
    pub trace: Vec<TraceStep>,
}

impl Decision {
    /// Whether somebody with more authority would have opened the incident.
    pub fn lacks_only_authority(&self) -> bool {
        self.reasons == [Reason::Authority]
    }
}

/// Everything that a decision's id is made of. Its fields are hashed in this order; a new field goes to the end and
/// is left out where it is empty.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inputs<'a> {
    candidate: &'a Candidate,
    policy: Option<&'a PromotionPolicy>,
    authority: Authority,
    justification: &'a str,
    is_stale: bool,
    facts: &'a Facts,
}

/// Decides about a candidate. Refused is only a question that no policy can answer.
pub fn evaluate(question: Question<'_>) -> Result<Decision, Refusal> {
    let Question { candidate, authority, justification, facts, .. } = question;
    let overriding = authority == Authority::EmergencyOverride;
    if overriding && justification.trim().chars().count() < JUSTIFICATION_CHARS {
        return Err(invalid("an emergency override needs a justification of at least 20 characters"));
    }
    let policy = match policy(question) {
        Ok(policy) => Some(policy),
        Err(_) if overriding => None,
        Err(refusal) => return Err(refusal),
    };
    let age = question.now.duration_since(question.seen_at);
    let is_stale = policy.is_some_and(|policy| age > policy.staleness);
    let severity = match policy {
        Some(policy) => policy.severity(&candidate.severity),
        None => words::severity(&candidate.severity).unwrap_or(Severity::P3),
    };
    let inputs = Inputs { candidate, policy, authority, justification, is_stale, facts };
    let mut trace = Trace::default();
    match policy {
        Some(policy) if !overriding => {
            run(&mut trace, question, policy, severity, is_stale);
        }
        _ => trace.waive(Step::Authority, format!("emergency override: {}", justification.trim())),
    }
    let Trace { steps, reasons } = trace;
    let outcome = match reasons.first() {
        None => Outcome::Promote,
        Some(Reason::Duplicate | Reason::Stale | Reason::Ineligible) => Outcome::Suppress,
        Some(Reason::Authority | Reason::Deferral) => Outcome::Defer,
    };
    let stopped: Vec<&str> = steps
        .iter()
        .filter(|step| step.verdict == Verdict::Stopped)
        .map(|step| step.because.as_str())
        .collect();
    Ok(Decision {
        decision_id: decision_id(&inputs),
        outcome,
        because: if stopped.is_empty() { "nothing stands against it".to_owned() } else { stopped.join("; ") },
        reasons,
        severity,
        policy_id: policy.map(|policy| policy.id.clone()).unwrap_or_default(),
        policy_version: policy.map_or(0, |policy| policy.version),
        authority,
        facts: facts.clone(),
        trace: steps,
    })
}

fn policy<'a>(question: Question<'a>) -> Result<&'a PromotionPolicy, Refusal> {
    let Some(id) = &question.candidate.policy_id else {
        return Err(invalid(
            "the candidate names no policy: nothing decides about it but an emergency override",
        ));
    };
    let version = question.candidate.policy_version;
    question.policies.get(id, version).ok_or_else(|| {
        let named = version.map_or(id.clone(), |version| format!("{id} {version}"));
        let known = question.policies.names().join(", ");
        invalid(&format!(
            "there is no policy {named}; there are: {}",
            if known.is_empty() { "none" } else { &known }
        ))
    })
}

#[derive(Default)]
struct Trace {
    steps: Vec<TraceStep>,
    reasons: Vec<Reason>,
}

impl Trace {
    fn add(&mut self, step: Step, verdict: Verdict, because: impl Into<String>) {
        self.steps.push(TraceStep { step, verdict, because: because.into() });
    }

    fn waive(&mut self, step: Step, because: impl Into<String>) {
        self.add(step, Verdict::Waived, because);
    }

    /// Notes the step; whether it was passed.
    fn ask(&mut self, step: Step, reason: Reason, against: Option<String>, otherwise: &str) -> bool {
        match against {
            Some(because) => {
                self.add(step, Verdict::Stopped, because);
                self.reasons.push(reason);
                false
            }
            None => {
                self.add(step, Verdict::Passed, otherwise);
                true
            }
        }
    }
}

fn run(
    trace: &mut Trace,
    question: Question<'_>,
    policy: &PromotionPolicy,
    severity: Severity,
    is_stale: bool,
) {
    let candidate = question.candidate;
    let person = is_person(question.authority);
    if !trace.ask(Step::Duplicate, Reason::Duplicate, duplicate(question.facts), "it is not known yet") {
        return;
    }
    if person && is_stale {
        trace.waive(Step::Staleness, "a person promotes it, old as it is");
    } else {
        let stale = is_stale.then(|| format!("it was seen longer ago than {:#}", policy.staleness));
        if !trace.ask(Step::Staleness, Reason::Stale, stale, "it was seen lately") {
            return;
        }
    }
    let missing = ineligible(candidate, policy, severity);
    if !trace.ask(Step::Eligibility, Reason::Ineligible, missing, "it has what the policy asks") {
        return;
    }
    let least = policy.least_authority(severity);
    let short = (question.authority < least).then(|| {
        format!(
            "{} needs {} at least, not {}",
            severity.as_str_name(),
            words::authority_name(least),
            words::authority_name(question.authority)
        )
    });
    let enough = if least == usual_authority(severity) {
        "the authority suffices"
    } else {
        "the policy's severityOverrides lets this authority open it"
    };
    trace.ask(Step::Authority, Reason::Authority, short, enough);
    match deferred(candidate, policy, severity) {
        Some(_) if person => trace.waive(Step::Deferral, "a person looked at it"),
        against => {
            trace.ask(Step::Deferral, Reason::Deferral, against, "the policy asks for nobody");
        }
    }
}

fn duplicate(facts: &Facts) -> Option<String> {
    match (&facts.incident, &facts.candidate) {
        (None, None) => None,
        (Some(incident), None) => Some(format!("{incident} is about it")),
        (Some(incident), Some(candidate)) => Some(format!("candidate {candidate} became {incident}")),
        (None, Some(candidate)) => Some(format!("candidate {candidate} is being promoted")),
    }
}

fn is_one_of(list: &[String], word: &str) -> bool {
    list.iter().any(|one| one == word)
}

fn has_severity(list: &[String], severity: Severity) -> bool {
    list.iter().any(|word| words::severity(word) == Ok(severity))
}

/// What the candidate has not that the policy asks for.
fn ineligible(candidate: &Candidate, policy: &PromotionPolicy, severity: Severity) -> Option<String> {
    let asked = &policy.eligibility;
    for (what, list, word) in [
        ("source", &asked.sources, &candidate.source),
        ("environment", &asked.environments, &candidate.environment),
        ("service", &asked.services, &candidate.service_name),
    ] {
        if !list.is_empty() && !is_one_of(list, word) {
            return Some(format!("{what} {word:?} is none of {}", list.join(", ")));
        }
    }
    if !asked.severities.is_empty() && !has_severity(&asked.severities, severity) {
        let named = severity.as_str_name();
        return Some(format!("severity {named} is none of {}", asked.severities.join(", ")));
    }
    let signals = candidate.signals.len();
    if signals < asked.min_signals {
        return Some(format!("it has {signals} signals, not {} or more", asked.min_signals));
    }
    let sure = candidate.confidence.unwrap_or(0.0);
    (sure < asked.min_confidence)
        .then(|| format!("its confidence is {sure}, not {} or more", asked.min_confidence))
}

/// Why the policy wants a person to look first.
fn deferred(candidate: &Candidate, policy: &PromotionPolicy, severity: Severity) -> Option<String> {
    let asked = &policy.deferral;
    for (what, list, word) in [
        ("environment", &asked.environments, &candidate.environment),
        ("service", &asked.services, &candidate.service_name),
    ] {
        if is_one_of(list, word) {
            return Some(format!("a person looks first where the {what} is {word}"));
        }
    }
    if has_severity(&asked.severities, severity) {
        return Some(format!("a person looks first at {}", severity.as_str_name()));
    }
    let sure = candidate.confidence.unwrap_or(0.0);
    (sure < asked.below_confidence).then(|| {
        format!("a person looks first below a confidence of {}; it is {sure}", asked.below_confidence)
    })
}

fn decision_id(inputs: &Inputs<'_>) -> String {
    // Serialising our own types cannot fail: keys are strings, and confidences were checked to be finite.
    hex::encode(Sha256::digest(serde_json::to_vec(inputs).unwrap_or_default()))
}

/// The identity of the incident that a decision makes: SHA-256 of the decision's id, in hex.
pub fn identity(decision_id: &str) -> String {
    hex::encode(Sha256::digest(decision_id.as_bytes()))
}

/// The id of the workflow that promotes a candidate.
pub fn workflow_id(org: &OrgId, candidate: &CandidateId) -> String {
    if *org == OrgId::default() {
        format!("{WORKFLOW_TYPE}-{candidate}")
    } else {
        format!("{WORKFLOW_TYPE}-{org}:{candidate}")
    }
}

/// Which candidate of which organisation a workflow is about.
pub fn parse_workflow_id(id: &str) -> Option<(OrgId, CandidateId)> {
    let rest = id.strip_prefix(WORKFLOW_TYPE)?.strip_prefix('-')?;
    let (org, candidate) = match rest.split_once(':') {
        Some((org, candidate)) => (org.parse().ok()?, candidate.parse().ok()?),
        None => (OrgId::default(), rest.parse().ok()?),
    };
    (workflow_id(&org, &candidate) == id).then_some((org, candidate))
}

fn invalid(explanation: &str) -> Refusal {
    Refusal::Invalid { explanation: explanation.to_owned() }
}
