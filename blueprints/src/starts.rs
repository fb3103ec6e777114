//! What a start carries: the input of initiate as a declaration or a promotion gives it, and the attestation of one of
//! our doors over it. Whoever writes a start into the outbox makes it here.

use harmony_incidents::{
    IncidentId, LinkName, OrgId, WorkflowId, WorkflowType,
    attestation::{AttestationKeys, StartAttestation, StartClaim},
    follow_up::Start,
    log::{IncidentCreated, IncidentState, Text},
    status,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::messages::{Act, ActInput, GoldenContext, InitiateInput, input_digest};

/// The input with its `start`, signed. What the attestation covers is the whole input, so that nobody between here and
/// the workflow can change it.
pub fn attested(
    keys: &AttestationKeys,
    org: &OrgId,
    workflow_id: &str,
    principal_id: &str,
    at: Timestamp,
    mut input: Value,
) -> Value {
    let requested_at = at.to_string();
    let attestation = keys.attest_start(&StartClaim {
        org: org.as_str(),
        workflow_id,
        principal_id,
        requested_at: &requested_at,
        input_digest: &input_digest(input.clone()),
    });
    let start = StartAttestation { principal_id: principal_id.to_owned(), requested_at, attestation };
    input["start"] = json!(start);
    input
}

/// What every workflow of an incident carries, as its declaration gives it.
pub fn golden_context(incident: &IncidentId, created: &IncidentCreated, initiator: &str) -> GoldenContext {
    GoldenContext {
        trace_id: created.trace_id.clone(),
        initiator_id: initiator.to_owned(),
        cost_center: created.cost_center.clone(),
        incident_id: incident.to_string(),
        incident_severity: created.severity().as_str_name().to_owned(),
        incident_title: shown(created.title.as_ref()),
        impacted_services: created.impacted_services.clone(),
        ..GoldenContext::default()
    }
}

/// The input of initiate, without its `start`.
pub fn initiate(created: &IncidentCreated, golden: &GoldenContext) -> Value {
    let mut input = json!(InitiateInput {
        title: shown(created.title.as_ref()),
        severity: created.severity().as_str_name().to_owned(),
        public_title: created.public_title.as_ref().map(|text| text.text.clone()),
        public_message: created.public_message.as_ref().map(|text| text.text.clone()),
        public_components: created.public_components.clone(),
        impacted_services: created.impacted_services.clone(),
    });
    input["context"] = json!(golden);
    input
}

/// The start of the update clock of an incident that is being declared.
pub fn clock(
    keys: &AttestationKeys,
    org: &OrgId,
    incident: &IncidentId,
    created: &IncidentCreated,
    initiator: &str,
    at: Timestamp,
) -> Start {
    let kind = WorkflowType::Updates;
    let workflow_id = WorkflowId::new(kind, org, incident);
    let input = json!({ "context": golden_context(incident, created, initiator) });
    let input = attested(keys, org, workflow_id.as_str(), initiator, at, input);
    Start::new(kind.name(), workflow_id.as_str(), 1, input)
}

/// What every workflow of an incident carries, as the incident stands.
pub fn context_of(state: &IncidentState, initiator: &str) -> GoldenContext {
    let link = |name| status::link(state, name).unwrap_or_default().to_owned();
    GoldenContext {
        trace_id: state.trace_id.clone(),
        initiator_id: initiator.to_owned(),
        cost_center: state.cost_center.clone(),
        incident_id: state.incident.clone(),
        incident_severity: state.severity().as_str_name().to_owned(),
        incident_title: shown(state.title.as_ref()),
        incident_channel: link(LinkName::SlackChannel),
        pagerduty_incident_id: link(LinkName::PagerdutyIncidentId),
        statuspage_incident_id: link(LinkName::StatuspageIncidentId),
        impacted_services: state.impacted_services.clone(),
    }
}

/// The start of the act that follows the record `seq` of an incident: its workflow and the attested input.
pub fn act(
    keys: &AttestationKeys,
    org: &OrgId,
    (incident, state): (&IncidentId, &IncidentState),
    seq: u64,
    (initiator, at): (&str, Timestamp),
    act: &Act,
) -> (WorkflowId, Value) {
    let workflow_id = WorkflowId::act(org, incident, seq);
    let mut input = json!(ActInput { act: act.clone() });
    input["context"] = json!(context_of(state, initiator));
    let input = attested(keys, org, workflow_id.as_str(), initiator, at, input);
    (workflow_id, input)
}

/// The start of initiate for a promoted candidate. The incident at PagerDuty that it came from, or the page that asked
/// for the promotion, becomes the incident's own.
pub fn promoted(
    keys: &AttestationKeys,
    org: &OrgId,
    incident: &IncidentId,
    created: &IncidentCreated,
    initiator: &str,
    pagerduty_incident_id: &str,
    at: Timestamp,
) -> Start {
    let kind = WorkflowType::Initiate;
    let workflow_id = WorkflowId::new(kind, org, incident);
    let golden = GoldenContext {
        pagerduty_incident_id: pagerduty_incident_id.to_owned(),
        ..golden_context(incident, created, initiator)
    };
    let input = initiate(created, &golden);
    let input = attested(keys, org, workflow_id.as_str(), initiator, at, input);
    Start::new(kind.name(), workflow_id.as_str(), 1, input)
}

fn shown(text: Option<&Text>) -> String {
    text.map(|text| text.shown().to_owned()).unwrap_or_default()
}
