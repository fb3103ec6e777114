//! `POST /webhooks/pagerduty`: webhooks v3.
//!
//! Signed over the raw bytes (`v1=`, any of several signatures by any of several secrets). There is no timestamp, so
//! what comes again is known by its event id: PagerDuty repeats for 48 h. It drops what is answered with a 4xx, and
//! disables the subscription after three; so what is genuine and not understood is said in the log and taken.
//!
//! An incident that was triggered at PagerDuty becomes a candidate, unless it is one of ours. What happens at PagerDuty
//! to a linked incident is put on record and changes no state: whether it is over is for people here to say.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use harmony_eventlog::{Append, Filter, Target};
use harmony_incidents::{
    Command, Context, IncidentId, OrgId,
    fold::PAGERDUTY_SIGNAL,
    ids::{EffectScope, effect_key},
    judge,
    judge::payload,
    log::{Authority, Cause, IncidentSignalIngested, IncidentState, Text, payload::Kind},
    promotion::{Candidate, CandidateError},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::signed;
use crate::{App, candidates, error::ApiError, incidents::every};

/// Who hands its candidates in, and puts its signals on record.
const ACTOR: &str = "pagerduty";
/// The policy that decides about its candidates.
const POLICY: &str = "pagerduty";

#[derive(Deserialize)]
struct Delivery {
    event: Event,
}

#[derive(Deserialize)]
pub(crate) struct Event {
    id: String,
    event_type: String,
    occurred_at: Timestamp,
    data: Data,
}

/// What of a PagerDuty incident matters; other resources have less.
#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    id: String,
    #[serde(default)]
    incident_key: Option<String>,
    #[serde(default)]
    title: String,
    #[serde(default)]
    urgency: Option<String>,
    #[serde(default)]
    priority: Option<Reference>,
    #[serde(default)]
    service: Option<Reference>,
    #[serde(default)]
    created_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(default)]
    summary: Option<String>,
}

/// Takes one event.
pub(crate) async fn take(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = body?;
    let webhooks = &app.doors.webhooks;
    if webhooks.pagerduty.is_empty() {
        return Err(ApiError::NotFound("PagerDuty's webhooks are not configured here".to_owned()));
    }
    let header = signed::text(&headers, "x-pagerduty-signature");
    let signatures = header.split(',').filter_map(|one| one.trim().strip_prefix("v1="));
    if !signed::is_signed(&webhooks.pagerduty, signatures, &body) {
        return Err(ApiError::Unauthorized(
            "this is not signed by PagerDuty with a secret that is known here",
        ));
    }
    let event = match read(&body) {
        Ok(event) => event,
        Err(error) => {
            tracing::warn!(%error, "a webhook of PagerDuty was not understood");
            return Ok(answer("not understood"));
        }
    };
    let org = &webhooks.org;
    if !event.event_type.starts_with("incident.") || event.data.id.is_empty() {
        return Ok(answer("ignored"));
    }
    match linked(&app, org, &event.data).await? {
        Some(incident) => record(&app, org, incident, &event).await,
        None if event.event_type == "incident.triggered" => submit(&app, org, event).await,
        None => Ok(answer("ignored")),
    }
}

/// Reads a delivery.
pub(crate) fn read(body: &[u8]) -> Result<Event, serde_json::Error> {
    serde_json::from_slice::<Delivery>(body).map(|delivery| delivery.event)
}

fn answer(taken: &str) -> Response {
    Json(json!({ "taken": taken })).into_response()
}

/// The live incident that this is, here: by what is on record, or by the key that we gave it, which is there first.
async fn linked(app: &App, org: &OrgId, data: &Data) -> Result<Option<IncidentId>, ApiError> {
    let live = ["PENDING", "OPEN", "MITIGATING", "RESOLVED"].map(str::to_owned).to_vec();
    let key = data.incident_key.as_deref().unwrap_or_default();
    let found =
        every(app, org, Filter { states: live, ..Filter::default() }).await?.into_iter().find_map(|state| {
            let incident: IncidentId = state.incident.parse().ok()?;
            let names = ["pagerdutyIncidentId", "pagerdutyPageId"];
            let by_link =
                state.links.iter().any(|link| names.contains(&link.name.as_str()) && link.value == data.id);
            (by_link || own_keys(org, &incident, &state).any(|own| own == key)).then_some(incident)
        });
    Ok(found)
}

/// The keys of everything that this incident has, or may have, at PagerDuty: itself, and the pages of its gates.
fn own_keys(org: &OrgId, incident: &IncidentId, state: &IncidentState) -> impl Iterator<Item = String> {
    let mut resources = vec!["pagerduty-incident".to_owned()];
    for gate in &state.gates {
        let levels = 1..=gate.levels.len();
        let stages = levels.clone().map(|level| level.to_string());
        let planned =
            (1..=gate.plans).flat_map(|plan| levels.clone().map(move |level| format!("{plan}-{level}")));
        let stages = stages.chain(planned).chain(["break-glass".to_owned()]);
        resources.extend(stages.map(|stage| format!("page/{}/{stage}", gate.gate_id)));
    }
    let (org, incident) = (org.clone(), incident.clone());
    resources.into_iter().map(move |resource| {
        effect_key(&org, &incident, &EffectScope::Incident { resource: &resource }).to_string()
    })
}

/// Puts on record what happened at PagerDuty, once.
async fn record(app: &App, org: &OrgId, incident: IncidentId, event: &Event) -> Result<Response, ApiError> {
    let rules = app.doors.rules.current();
    let context = Context {
        actor: ACTOR.to_owned(),
        authority: Authority::AutoEngine,
        cause: Cause { request_id: event.id.clone(), ..Cause::default() },
        // Their clock may be ahead of ours.
        occurred_at: event.occurred_at.min(Timestamp::now()),
    };
    let signal = IncidentSignalIngested {
        signal_id: signed::one_line(&event.id),
        source: format!("{PAGERDUTY_SIGNAL}{}", signed::one_line(&event.event_type)),
        correlation_key: String::new(),
        trace_id: String::new(),
        summary: Text::optional(signed::one_line(&event.data.title)),
    };
    let command = Command::Record { payload: payload(Kind::IncidentSignalIngested(signal)) };
    app.doors
        .log
        .append(Append {
            org,
            target: Target::Named(incident),
            key: &format!("webhook/pagerduty/{}", event.id),
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &|head| judge(head, &command, &context, rules.rules()),
            follow: &|_| vec![],
        })
        .await?;
    Ok(answer("recorded"))
}

/// Hands the incident in as a candidate.
async fn submit(app: &App, org: &OrgId, event: Event) -> Result<Response, ApiError> {
    match candidate(event) {
        Ok(candidate) => {
            candidates::take(&app.doors, org, candidate, ACTOR).await?;
            Ok(answer("candidate"))
        }
        Err(error) => {
            tracing::warn!(%error, "an incident of PagerDuty makes no candidate");
            Ok(answer("not understood"))
        }
    }
}

/// The candidate that an incident at PagerDuty is.
pub(crate) fn candidate(event: Event) -> Result<Candidate, CandidateError> {
    let Data { id, title, urgency, priority, service, created_at, .. } = event.data;
    let named =
        |reference: Option<Reference>| reference.and_then(|one| one.summary).filter(|one| !one.is_empty());
    let title = signed::one_line(&title);
    Candidate::parse(json!({
        "candidateId": format!("pagerduty-{}", event.id),
        "policyId": POLICY,
        "source": "pagerduty",
        "title": if title.is_empty() { format!("PagerDuty incident {id}") } else { title },
        "severity": signed::one_line(&named(priority).or(urgency).unwrap_or_else(|| "unknown".to_owned())),
        "serviceName": signed::one_line(&named(service).unwrap_or_default()),
        "dedupKey": signed::one_line(&id),
        "detectedAt": created_at.unwrap_or(event.occurred_at),
        "pagerdutyIncidentId": signed::one_line(&id),
        "signals": [{ "signalId": signed::one_line(&event.id), "source": "pagerduty" }],
    }))
}
