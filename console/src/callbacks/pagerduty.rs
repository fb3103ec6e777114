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
use harmony_eventlog::{Append, EffectSubject, Filter, LogError, Target};
use harmony_incidents::{
    Command, Context, IncidentId, OrgId,
    fold::PAGERDUTY_SIGNAL,
    judge,
    judge::payload,
    log::{Authority, Cause, IncidentSignalIngested, Link, SignalType, Text, payload::Kind},
    machine,
    promotion::{Candidate, CandidateError, Policies, known_severity},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::signed;
use crate::{App, Doors, error::ApiError, incidents::every};

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
    /// Who did it; missing where PagerDuty did.
    #[serde(default)]
    agent: Option<Reference>,
    data: Data,
}

impl Event {
    /// The incident at PagerDuty that this is about; empty where it names none.
    fn incident(&self) -> &str {
        self.data.incident.as_ref().map_or(self.data.id.as_str(), |incident| incident.id.as_str())
    }

    /// What happened, in a line, and who did it.
    fn summary(&self) -> String {
        let texts = [&self.data.title, &self.data.content, &self.data.message];
        let said = texts.into_iter().flatten().find(|text| !text.trim().is_empty());
        let said = said.map(String::as_str).unwrap_or_default();
        let agent = self.agent.as_ref().and_then(|agent| agent.summary.as_deref()).unwrap_or_default();
        let line = if agent.trim().is_empty() { said.to_owned() } else { format!("{said} (by {agent})") };
        signed::one_line(&line)
    }
}

/// What of a PagerDuty incident matters. Notes, responders, tasks and the like have an id of their own, and name the
/// incident that they belong to.
#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    id: String,
    #[serde(default)]
    incident: Option<Reference>,
    /// Of a note.
    #[serde(default)]
    content: Option<String>,
    /// Of a status update, or of a request for responders.
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    incident_key: Option<String>,
    #[serde(default)]
    title: Option<String>,
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
    id: String,
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
        return Err(ApiError::NotConfigured {
            detail: "PagerDuty's webhooks are not configured here".to_owned(),
            hint: "set PAGERDUTY_WEBHOOK_SECRET where `harmony serve` runs, to the secret of the subscription",
        });
    }
    let header = signed::text(&headers, "x-pagerduty-signature");
    let signatures = header.split(',').filter_map(|one| one.trim().strip_prefix("v1="));
    if !signed::is_signed(&webhooks.pagerduty, signatures, &body) {
        return Err(ApiError::Unsigned {
            detail: "this is not signed by PagerDuty with a secret that is known here",
            hint: "PAGERDUTY_WEBHOOK_SECRET holds the secret of the subscription; two while it is replaced",
        });
    }
    let event = match read(&body) {
        Ok(event) => event,
        Err(error) => {
            tracing::warn!(%error, "a webhook of PagerDuty was not understood");
            return Ok(answer("not understood"));
        }
    };
    let org = &webhooks.org;
    if !event.event_type.starts_with("incident.") || event.incident().is_empty() {
        return Ok(answer("ignored"));
    }
    match origin(&app, org, &event).await? {
        Origin::Linked(incident) => record(&app, org, incident, &event).await,
        Origin::PageOfOurs => Ok(answer("ignored")),
        Origin::Elsewhere if event.event_type == "incident.triggered" => submit(&app, org, event).await,
        Origin::Elsewhere => Ok(answer("ignored")),
    }
}

/// Reads a delivery.
pub(crate) fn read(body: &[u8]) -> Result<Event, serde_json::Error> {
    serde_json::from_slice::<Delivery>(body).map(|delivery| delivery.event)
}

fn answer(taken: &str) -> Response {
    Json(json!({ "taken": taken })).into_response()
}

/// What an incident at PagerDuty is here.
enum Origin {
    /// An incident of ours has it: as its own, or as a page.
    Linked(IncidentId),
    /// It is our page about a candidate that is no incident yet, or about the gate of a release.
    PageOfOurs,
    /// Others triggered it.
    Elsewhere,
}

/// The key that we gave it is in the ledger before PagerDuty hears of it. Events about a note or a task carry no key,
/// and neither does what others triggered: there the links on record tell.
async fn origin(app: &App, org: &OrgId, event: &Event) -> Result<Origin, ApiError> {
    let log = &app.doors.log;
    if let Some(key) = event.data.incident_key.as_deref().filter(|key| !key.is_empty())
        && let Some(effect) = log.known_effect(org, key).await?
    {
        return Ok(match effect.subject {
            EffectSubject::Stream(stream) => stream.incident().map_or(Origin::PageOfOurs, Origin::Linked),
            EffectSubject::Candidate(candidate) => {
                let stored = log.candidate(org, &candidate).await?;
                stored.and_then(|one| one.incident).map_or(Origin::PageOfOurs, Origin::Linked)
            }
        });
    }
    let live = machine::live_words();
    let states = every(app, org, Filter { states: live, ..Filter::default() }).await?;
    let linked = states.into_iter().find(|state| {
        let is_it = |link: &Link| link.name.starts_with("pagerduty") && link.value == event.incident();
        state.links.iter().any(is_it)
    });
    Ok(linked.and_then(|state| state.incident.parse().ok()).map_or(Origin::Elsewhere, Origin::Linked))
}

/// Puts on record what happened at PagerDuty, once.
async fn record(app: &App, org: &OrgId, incident: IncidentId, event: &Event) -> Result<Response, ApiError> {
    let incident_id = incident.clone();
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
        summary: Text::optional(event.summary()),
        signal_type: SignalType::Event.into(),
        ..IncidentSignalIngested::default()
    };
    let command = Command::Record { payload: payload(Kind::IncidentSignalIngested(signal)) };
    let appended = app
        .doors
        .log
        .append(Append {
            org,
            target: Target::Named(incident.into()),
            key: &format!("webhook/pagerduty/{}", event.id),
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &|head| judge(head, &command, &context, rules.rules()),
            follow: &|_| vec![],
        })
        .await;
    match appended {
        Ok(_) => Ok(answer("recorded")),
        // An incident that has ended takes no signals.
        Err(LogError::Refused(refusal)) => {
            tracing::info!(%incident_id, %refusal, event = %event.event_type, "an event of PagerDuty is not recorded");
            Ok(answer("ignored"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Hands the incident in as a candidate.
async fn submit(app: &App, org: &OrgId, event: Event) -> Result<Response, ApiError> {
    let rules = app.doors.rules.current();
    match candidate(event, &rules.promotion) {
        Ok(candidate) => {
            let Doors { log, attestation, .. } = &app.doors;
            harmony_promotion::take(log.as_ref(), attestation, org, candidate, ACTOR).await?;
            Ok(answer("candidate"))
        }
        Err(error) => {
            tracing::warn!(%error, "an incident of PagerDuty makes no candidate");
            Ok(answer("not understood"))
        }
    }
}

/// The candidate that an incident at PagerDuty is. Its severity is the name of its priority where our policy, or
/// Harmony, knows what that means, else its urgency.
pub(crate) fn candidate(event: Event, policies: &Policies) -> Result<Candidate, CandidateError> {
    let Data { id, title, urgency, priority, service, created_at, .. } = event.data;
    let named =
        |reference: Option<Reference>| reference.and_then(|one| one.summary).filter(|one| !one.is_empty());
    let title = signed::one_line(&title.unwrap_or_default());
    let policy = policies.get(POLICY, None);
    let says_something = |word: &str| match policy {
        Some(policy) => policy.mapped(word).is_some(),
        None => known_severity(word).is_some(),
    };
    let priority = named(priority).map(|name| signed::one_line(&name));
    let telling = priority.clone().filter(|name| says_something(name));
    let severity = telling.or(urgency).or(priority).unwrap_or_else(|| "unknown".to_owned());
    Candidate::parse(json!({
        "candidateId": format!("pagerduty-{}", event.id),
        "policyId": POLICY,
        "source": "pagerduty",
        "title": if title.is_empty() { format!("PagerDuty incident {id}") } else { title },
        "severity": signed::one_line(&severity),
        "serviceName": signed::one_line(&named(service).unwrap_or_default()),
        "dedupKey": signed::one_line(&id),
        "detectedAt": created_at.unwrap_or(event.occurred_at),
        "pagerdutyIncidentId": signed::one_line(&id),
        "signals": [{ "signalId": signed::one_line(&event.id), "source": "pagerduty" }],
    }))
}
