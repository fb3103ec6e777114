//! What the API shows of an incident, a gate and a record. Their own types: each field here is a promise for years,
//! whatever the log's own types become.

use std::collections::BTreeMap;

use harmony_eventlog::Entry;
use harmony_incidents::{
    GateStatus, HasStatus, RunStatus, StreamId, Subject, WorkflowId, approvals, clock,
    command::GateView,
    leading,
    log::{
        ActionState, Authority, BlueprintState, GateState, IncidentState, Link, SignalState,
        SloViolationState, Text,
    },
    promotion::is_link,
    record, sentence,
    times::{self, Moment},
    words,
};
use harmony_protos::kind_name;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{auth::Caller, follow_ups::FollowUp};

/// A text as people may read it, empty where there is none.
pub(crate) fn text(text: Option<&Text>) -> String {
    text.map(|text| text.shown().to_owned()).unwrap_or_default()
}

/// An incident in a list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    incident_id: String,
    title: String,
    severity: &'static str,
    state: &'static str,
    phase: &'static str,
    status: &'static str,
    escalated: bool,
    service_name: String,
    environment: String,
    project_id: String,
    declared_by: String,
    /// Who commands; empty where nobody does.
    commander: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    /// When people are to be told again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_update_due: Option<Timestamp>,
    /// Whether it is practice.
    drill: bool,
    /// Whether only some people see that it exists.
    private: bool,
    seq: u64,
}

/// An incident, flat.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Incident {
    #[serde(flatten)]
    summary: Summary,
    #[serde(rename = "summary", skip_serializing_if = "String::is_empty")]
    description: String,
    org_id: String,
    detected_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    primary_signal_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    runbook_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_id: String,
    /// What it is called elsewhere: at the vendors, in tickets.
    external_refs: Vec<Value>,
    public_title: String,
    public_message: String,
    impacted_services: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    public_components: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    cost_center: String,
    correlation_keys: Vec<String>,
    tags: Vec<String>,
    links: BTreeMap<String, String>,
    responders: Vec<Value>,
    signals: Vec<Value>,
    actions: Vec<Value>,
    slo_violations: Vec<Value>,
    tickets: Vec<Value>,
    notes: u32,
    blueprints: BTreeMap<String, Blueprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<Gate>,
    sections: Vec<Value>,
    action_items: Vec<FollowUpView>,
    /// How often people were told, and how often they should have been and were not.
    updates: Updates,
    /// When its moments were, as they are held to be now.
    times: BTreeMap<&'static str, Value>,
    /// Moments that cannot both be right.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contradictions: Vec<String>,
    relations: Vec<Value>,
    /// Who sees it beside organisation admins, where it is private.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    private_to: Vec<String>,
    /// How far help was called; 0 where it was not.
    escalation_level: u32,
    /// How soon the response must have come so far.
    objectives: Vec<Value>,
    /// What the roles of its responders are there for.
    duties: Vec<Value>,
    /// Where people meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    call_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    review: Option<Review>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    acknowledged_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    mitigated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<Timestamp>,
}

/// A follow-up, with the record that added it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FollowUpView {
    #[serde(flatten)]
    follow_up: FollowUp,
    seq: u64,
}

/// How people were told.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Updates {
    count: u32,
    overdue: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_due: Option<Timestamp>,
}

/// The last attempt of a blueprint.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Blueprint {
    attempt: u32,
    status: String,
    /// Whether its run is gone without an end.
    orphaned: bool,
    workflow_id: String,
    starter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    steps: Vec<Step>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    name: String,
    capability: String,
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    external_ref: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Review {
    published: bool,
    url: String,
    digest: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    signed_off_by: String,
}

/// A gate and how it stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Gate {
    pub(crate) gate_id: String,
    /// Of a gate of an incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) incident_id: Option<String>,
    /// Of a gate of a release: its service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_id: Option<String>,
    /// Of a gate of a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) release_id: Option<String>,
    workflow_id: String,
    pub(crate) blueprint: String,
    attempt: u32,
    status: String,
    pub(crate) digest: String,
    pub(crate) action: String,
    pub(crate) request_reason: String,
    pub(crate) required_roles: Vec<String>,
    pub(crate) level: u32,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) requested_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) deadline: Timestamp,
    pub(crate) requester: String,
    escalated: bool,
    refusals: u32,
    /// How many must approve.
    pub(crate) quorum: u32,
    /// Who has approved so far, where several must.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) approvals: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    decided_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Timestamp>,
}

/// A record of the log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    seq: u64,
    event_id: String,
    kind: &'static str,
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Timestamp,
    actor: String,
    authority: &'static str,
    /// A sentence about it.
    description: String,
    cause: Value,
    payload: Value,
    hash: String,
    prev_hash: String,
    state_hash_after: String,
    #[schema(value_type = String, format = DateTime)]
    stored_at: Timestamp,
}

/// Who commands an incident; empty where nobody does.
pub(crate) fn commander(state: &IncidentState) -> &str {
    let commander = state.responders.iter().find(|one| one.role == "commander");
    commander.map_or("", |one| one.principal.as_str())
}

/// An incident for a list.
pub(crate) fn summary(state: &IncidentState) -> Summary {
    Summary {
        incident_id: state.incident.clone(),
        title: text(state.title.as_ref()),
        severity: state.severity().as_str_name(),
        state: state.state().as_str_name(),
        phase: words::phase_name(state.phase()),
        status: words::status(state.state(), state.phase()),
        escalated: state.escalated,
        service_name: state.service_name.clone(),
        environment: state.environment.clone(),
        project_id: state.project_id.clone(),
        declared_by: state.declared_by.clone(),
        commander: commander(state).to_owned(),
        created_at: moment(state.created_at_us),
        next_update_due: next_update(state),
        drill: state.drill,
        private: state.private,
        seq: state.seq,
    }
}

/// An incident with everything about it but its records, and the links that its reader sees.
pub(crate) fn incident(state: &IncidentState, caller: &Caller) -> Incident {
    let links = || state.links.iter().filter(|link| caller.may_see(&link.name, state));
    Incident {
        summary: summary(state),
        description: text(state.summary.as_ref()),
        org_id: state.org.clone(),
        detected_by: state.detected_by.clone(),
        primary_signal_id: primary_signal(state),
        runbook_path: state.runbook_path.clone(),
        trace_id: state.trace_id.clone(),
        external_refs: external_refs(links(), state),
        public_title: text(state.public_title.as_ref()),
        public_message: text(state.public_message.as_ref()),
        impacted_services: state.impacted_services.clone(),
        public_components: state.public_components.clone(),
        cost_center: state.cost_center.clone(),
        correlation_keys: state.correlation_keys.clone(),
        tags: state.tags.clone(),
        links: links().map(|link| (link.name.clone(), link.value.clone())).collect(),
        responders: list(&state.responders, |one| json!({"role": one.role, "principalId": one.principal})),
        signals: list(&state.signals, signal),
        actions: list(&state.actions, action),
        slo_violations: list(&state.slo_violations, slo_violation),
        tickets: list(
            &state.tickets,
            |one| json!({"system": one.system, "ticket": one.ticket, "url": one.url}),
        ),
        notes: state.notes,
        blueprints: state.blueprints.iter().map(|one| (one.blueprint.clone(), blueprint(one))).collect(),
        gate: pending(state).map(|one| gate(state, one)),
        sections: list(&state.sections, |one| {
            json!({
                "section": one.section,
                "text": text(one.text.as_ref()),
                "author": one.author,
                "seq": one.seq,
            })
        }),
        action_items: FollowUp::of_incident(state, caller.rules().policy)
            .into_iter()
            .zip(&state.action_items)
            .map(|(follow_up, item)| FollowUpView { follow_up, seq: item.seq })
            .collect(),
        updates: Updates {
            count: state.updates,
            overdue: state.updates_overdue,
            last_at: moment(state.last_update_us),
            next_due: next_update(state),
        },
        times: times(state),
        contradictions: times::contradictions(state),
        relations: list(&state.relations, |one| {
            spare(json!({
                "relation": one.relation,
                "incidentId": one.incident,
                "reason": text(one.reason.as_ref()),
                "by": one.by,
            }))
        }),
        private_to: state.private_to.clone(),
        escalation_level: state.escalation_level,
        objectives: clock::objectives(state, caller.rules().policy)
            .map(|one| objective(state, &one))
            .collect(),
        duties: leading::duties(state, caller.rules().policy)
            .map(|one| {
                json!({ "role": one.role, "principalId": one.principal, "duty": one.duty, "done": one.done })
            })
            .collect(),
        call_url: caller.rules().policy.call_of(&state.incident),
        review: state.review.as_ref().map(|review| Review {
            published: review.published,
            url: review.url.clone(),
            digest: hex::encode(&review.digest),
            signed_off_by: review.signed_off_by.clone(),
        }),
        resolution: state.resolution.as_ref().map(|one| {
            json!({
                "summary": text(one.summary.as_ref()),
                "type": one.r#type().as_str_name(),
                "resolvedBy": one.resolved_by,
            })
        }),
        acknowledged_at: moment(state.acknowledged_at_us),
        mitigated_at: moment(state.mitigated_at_us),
        resolved_at: moment(state.resolved_at_us),
        closed_at: moment(state.closed_at_us),
    }
}

/// When people are to be told again, while it goes on.
fn next_update(state: &IncidentState) -> Option<Timestamp> {
    leading::next_update_us(state).and_then(moment)
}

/// Each moment that is known, with who said so where somebody did.
fn times(state: &IncidentState) -> BTreeMap<&'static str, Value> {
    let known = |one: Moment| {
        let said = state.times.iter().find(|said| said.moment == one.name());
        let shown = spare(json!({
            "at": one.at(state)?,
            "by": said.map(|said| &said.by),
            "saidAt": said.and_then(|said| moment(said.said_at_us)),
            "reason": said.map(|said| text(said.reason.as_ref())),
        }));
        Some((one.field(), shown))
    };
    Moment::ALL.into_iter().filter_map(known).collect()
}

fn objective(state: &IncidentState, one: &clock::Standing) -> Value {
    spare(json!({
        "objective": one.objective.name(),
        "within": format!("{:#}", one.target),
        "due": moment(one.due_us),
        "met": one.met,
        "metAt": one.objective.met_at_us(state).and_then(moment),
        "breached": one.breached_at_us.is_some(),
    }))
}

/// The signal that it was declared for, else the first one.
fn primary_signal(state: &IncidentState) -> String {
    if !state.primary_signal_id.is_empty() {
        return state.primary_signal_id.clone();
    }
    state.signals.first().map(|one| one.signal_id.clone()).unwrap_or_default()
}

fn external_refs<'a>(links: impl Iterator<Item = &'a Link>, state: &'a IncidentState) -> Vec<Value> {
    let links = links.map(|one| json!({"system": one.name, "ref": one.value, "url": one.url}));
    let tickets =
        state.tickets.iter().map(|one| json!({"system": one.system, "ref": one.ticket, "url": one.url}));
    links.chain(tickets).collect()
}

/// Members that say nothing are left out.
fn spare(mut view: Value) -> Value {
    if let Some(members) = view.as_object_mut() {
        members.retain(|_, value| !value.is_null() && *value != "");
    }
    view
}

/// The first signal whose source said where it is shown, and where that is.
pub(crate) fn source_of(state: &IncidentState) -> Option<(&SignalState, String)> {
    state.signals.iter().find_map(|one| {
        let data = one.data.as_ref().filter(|data| !data.redacted)?;
        let link = parsed(&data.text)["link"].as_str()?.to_owned();
        is_link(&link).then_some((one, link))
    })
}

fn signal(one: &SignalState) -> Value {
    let data =
        one.data.as_ref().map(|data| if data.redacted { json!(data.shown()) } else { parsed(&data.text) });
    spare(json!({
        "signalId": one.signal_id,
        "source": one.source,
        "signalType": words::signal_type_name(one.signal_type()),
        "correlationKey": one.correlation_key,
        "traceId": one.trace_id,
        "projectId": one.project_id,
        "serviceName": one.service_name,
        "environment": one.environment,
        "summary": text(one.summary.as_ref()),
        "data": data,
        "ts": moment(one.at_us),
    }))
}

fn action(one: &ActionState) -> Value {
    spare(json!({
        "actionId": one.action_id,
        "action": one.action,
        "actionKind": words::action_kind_name(one.action_kind()),
        "label": text(one.label.as_ref()),
        "details": text(one.detail.as_ref()),
        "status": one.status,
        "actorType": words::actor_type_name(one.actor_type()),
        "actorRef": one.actor_ref,
        "ts": moment(one.at_us),
    }))
}

fn slo_violation(one: &SloViolationState) -> Value {
    spare(json!({
        "sloId": one.slo,
        "slo": one.slo,
        "target": one.target,
        "observed": one.observed,
        "windowStart": moment(one.window_start_us),
        "windowEnd": moment(one.window_end_us),
        "errorBudgetConsumed": optional(&one.error_budget_consumed),
        "thresholdBreached": optional(&one.threshold_breached),
        "details": text(one.detail.as_ref()),
        "ts": moment(one.at_us),
    }))
}

/// Empty is null, a JSON scalar is itself, all else a string.
fn optional(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { parsed(text) }
}

fn list<T>(items: &[T], view: impl Fn(&T) -> Value) -> Vec<Value> {
    items.iter().map(view).collect()
}

fn blueprint(one: &BlueprintState) -> Blueprint {
    Blueprint {
        attempt: one.attempt,
        status: one.status.clone(),
        orphaned: one.is(RunStatus::Orphaned),
        workflow_id: one.workflow_id.clone(),
        starter: one.starter.clone(),
        result: one.result.as_ref().filter(|text| !text.text.is_empty()).map(|text| parsed(&text.text)),
        reason: one.reason.as_ref().map(|text| text.shown().to_owned()),
        steps: one
            .steps
            .iter()
            .map(|step| Step {
                name: step.step.clone(),
                capability: step.capability.clone(),
                status: step.status.clone(),
                external_ref: step.external_ref.clone(),
                error: step.error.as_ref().map(|text| text.shown().to_owned()),
            })
            .collect(),
    }
}

/// JSON text as JSON; what is none stays a string.
pub(crate) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// The gate that waits, the latest where several do.
fn pending(state: &IncidentState) -> Option<&GateState> {
    state
        .gates
        .iter()
        .filter(|gate| gate.is(GateStatus::Pending))
        .max_by_key(|gate| (gate.requested_at_us, gate.requested_seq))
}

/// A gate of an incident, or of a release.
pub(crate) fn gate(state: &IncidentState, one: &GateState) -> Gate {
    let GateView {
        gate_id,
        digest,
        action,
        request_reason,
        required_roles,
        level,
        requested_at,
        deadline,
        requester,
        quorum,
        approvals,
        ..
    } = approvals::view(one);
    let service = match state.incident.parse::<StreamId>().map(|stream| stream.subject()) {
        Ok(Subject::Service(id)) => Some(id.to_string()),
        Ok(Subject::Incident(_) | Subject::Environment(_)) | Err(_) => None,
    };
    Gate {
        gate_id,
        incident_id: service.is_none().then(|| state.incident.clone()),
        service_id: service,
        release_id: release_of(&one.workflow_id),
        workflow_id: one.workflow_id.clone(),
        blueprint: one.blueprint.clone(),
        attempt: one.attempt,
        status: one.status.clone(),
        digest,
        action,
        request_reason,
        required_roles,
        level,
        requested_at,
        deadline,
        requester,
        escalated: one.was_escalated,
        refusals: one.refusals,
        quorum: quorum.max(1),
        approvals,
        decided_by: one.decided_by.clone(),
        decided_at: moment(one.decided_at_us),
    }
}

/// The release that a workflow takes out, where it does.
pub(crate) fn release_of(workflow_id: &str) -> Option<String> {
    let workflow: WorkflowId = workflow_id.parse().ok()?;
    Some(workflow.release()?.2.to_string())
}

/// A record with its hash.
pub(crate) fn event(entry: &Entry) -> Event {
    let record = &entry.record;
    let payload = record.payload.as_ref();
    Event {
        seq: record.seq,
        event_id: Uuid::from_slice(&record.event_id).unwrap_or_default().to_string(),
        kind: payload.and_then(|payload| payload.kind.as_ref()).map_or("UNKNOWN", kind_name),
        occurred_at: record::occurred_at(record),
        actor: record.actor.clone(),
        authority: words::authority_name(Authority::try_from(record.authority).unwrap_or_default()),
        description: payload.and_then(|payload| payload.kind.as_ref()).map(sentence::of).unwrap_or_default(),
        cause: json!(record.cause),
        payload: inner(json!(payload)),
        hash: hex::encode(&entry.hash),
        prev_hash: hex::encode(&record.prev_hash),
        state_hash_after: hex::encode(&record.state_hash_after),
        stored_at: entry.stored_at,
    }
}

/// A payload's JSON names its kind around it; the event says the kind beside it.
fn inner(payload: Value) -> Value {
    match payload {
        Value::Object(object) => object.into_iter().next().map(|(_, value)| value).unwrap_or_default(),
        other => other,
    }
}

/// A moment of the log; 0 is "not recorded".
fn moment(microseconds: i64) -> Option<Timestamp> {
    (microseconds != 0).then(|| Timestamp::from_microsecond(microseconds).ok()).flatten()
}
