//! Promotion: which candidates become incidents, and why.
//!
//! A candidate is a suspicion that a machine or a person hands in ([`Candidate`]). Whether it becomes an incident is
//! decided by one pure function ([`evaluate`]) from the candidate, a versioned policy ([`PromotionPolicy`]), the
//! authority of whoever asks, the time, and the few facts that were looked up ([`Facts`]). The decision's id is a hash
//! of these inputs, and the incident's identity a hash of that id: the same decision never makes two incidents.
//!
//! Looking facts up, keeping candidates and carrying decisions out is others' work.

mod candidate;
mod engine;
mod events;
mod policy;

pub use candidate::{Candidate, CandidateError, CandidateId, CandidateSignal, is_link};
pub use engine::{
    Decision, Facts, Outcome, Question, Reason, Step, TraceStep, Verdict, evaluate, identity,
    parse_workflow_id, workflow_id,
};
pub use events::OrchestrationEvent;
pub use policy::{
    Deferral, Eligibility, Policies, PromotionPolicy, PromotionPolicyError, SeverityRule, known_severity,
};

use harmony_protos::log::{Authority, IncidentCreated, Text};

/// Name of the workflow that promotes.
pub const WORKFLOW_TYPE: &str = "candidate.promote";
/// Who acts where no person does. No principal of a directory may have this id.
pub const AUTO_ACTOR: &str = "opx-candidate-processor";
/// Why an incident was opened by nobody in person.
pub const AUTO_JUSTIFICATION: &str = "Auto-promotion from correlation";

/// The incident that a promoted candidate becomes.
pub fn incident(candidate: &Candidate, decision: &Decision) -> IncidentCreated {
    let text = |text: &Option<String>| text.as_deref().and_then(Text::optional);
    IncidentCreated {
        title: Some(Text::plain(candidate.title.trim())),
        severity: decision.severity.into(),
        service_name: candidate.service_name.clone(),
        environment: candidate.environment.clone(),
        project_id: candidate.project_id.clone(),
        detected_by: candidate.source.clone(),
        summary: text(&candidate.summary),
        initial_correlation_key: candidate.correlation_key.clone().unwrap_or_default(),
        impacted_services: candidate.impacted_services.clone(),
        public_title: None,
        public_message: None,
        trace_id: candidate.trace_id.clone().unwrap_or_default(),
        cost_center: String::new(),
        decision_id: decision.decision_id.clone(),
        ..IncidentCreated::default()
    }
}

/// Whether this authority is that of a person.
pub(crate) fn is_person(authority: Authority) -> bool {
    authority >= Authority::HumanOperator
}
