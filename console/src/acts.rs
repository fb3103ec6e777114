//! Updates, and another try of what failed. Both are on record first; what they do outside follows as `incident.act`.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use harmony_blueprints::messages::{Act, StepRef};
use harmony_eventlog::Appended;
use harmony_incidents::{
    Command, HasStatus, Refusal, Right, StepStatus, WorkflowId,
    judge::payload,
    log::{IncidentPlaybookActionExecuted, IncidentState, IncidentUpdated, Text, payload::Kind},
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    call::{Call, line},
    error::ApiError,
    members,
    starts::away,
    submit::append_told,
    update_templates,
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateBody {
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    message: String,
    /// Whether the status page shows it too.
    #[serde(default)]
    public: bool,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    title: String,
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    summary: String,
    /// How long until the next update is due, such as `45m`; else as the policy has it.
    #[serde(default)]
    next: Option<String>,
    /// The template that the message began as.
    #[serde(default)]
    template: String,
}

/// `POST …/update`: a new title or summary, and a message for the channel and maybe the public.
pub(crate) async fn update(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    let body: UpdateBody = call.body()?;
    let message = body.message.trim().to_owned();
    let template = match body.template.as_str() {
        "" => String::new(),
        _ if message.is_empty() => {
            return Err(ApiError::Invalid(
                "message: send the text, as the template has it or changed".to_owned(),
            ));
        }
        name => {
            let source = call.app.doors.update_templates.as_ref();
            update_templates::named(source, &state, call.caller.rules(), name)?.reference
        }
    };
    if !message.is_empty() {
        call.require_on(Right::SlackWrite, &state).await?;
    }
    if body.public {
        call.require_on(Right::StatuspageWrite, &state).await?;
    }
    if message.is_empty() && body.public {
        return Err(ApiError::Invalid("message: say what the public shall read".to_owned()));
    }
    let title = line("title", &body.title)?;
    if message.is_empty() && title.is_empty() && body.summary.trim().is_empty() {
        return Err(ApiError::Invalid("an update has a message, a title or a summary".to_owned()));
    }
    let context = call.context(Some(&state));
    let next_update_due_us = match &body.next {
        None => 0,
        Some(_) if message.is_empty() => {
            return Err(ApiError::Invalid(
                "next: only a message is an update that another follows".to_owned(),
            ));
        }
        Some(next) => due_in(next, context.occurred_at)?,
    };
    let kind = Kind::IncidentUpdated(IncidentUpdated {
        title: Text::optional(title),
        summary: Text::optional(body.summary),
        message: Text::optional(&message),
        public: body.public,
        number: 0,
        next_update_due_us,
        template,
    });
    let command = Command::Record { payload: payload(kind) };
    let told = |_: &IncidentState| {
        (!message.is_empty()).then(|| Act::Update { message: message.clone(), public: body.public })
    };
    let appended = append_told(&call, &incident, &state, &command, &context, (&|_| None, &told)).await?;
    Ok(told_answer(&call, &appended, !message.is_empty()))
}

/// Longest time until the next update.
const LONGEST_NEXT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// When the next update is due, in microseconds since 1970.
fn due_in(next: &str, now: Timestamp) -> Result<i64, ApiError> {
    let time = next.trim().parse::<SignedDuration>().ok();
    let time = time.filter(|time| *time >= SignedDuration::from_secs(1) && *time <= LONGEST_NEXT);
    let due = time.and_then(|time| now.checked_add(time).ok());
    due.map(Timestamp::as_microsecond)
        .ok_or_else(|| ApiError::Invalid(format!("next {next:?}: a time from 1s to 7 days, such as 45m")))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryBody {
    /// `channel`, or `initiate/channel`; every failed step where there is none.
    #[serde(default)]
    step: Option<String>,
}

/// `POST …/retry`: failed optional steps, again under their own keys.
pub(crate) async fn retry(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    let RetryBody { step } = call.body()?;
    let steps = failed(&state, step.as_deref());
    if steps.is_empty() {
        let explanation = match step {
            Some(step) => {
                format!("there is no failed step {step:?}; `blueprints` of the incident shows them")
            }
            None => "no step has failed: there is nothing to try again".to_owned(),
        };
        return Err(Refusal::Illegal { explanation }.into());
    }
    let names: Vec<String> = steps.iter().map(|one| format!("{}/{}", one.blueprint, one.step)).collect();
    let kind = Kind::IncidentPlaybookActionExecuted(IncidentPlaybookActionExecuted {
        action_id: call.request.id.clone(),
        action: "retry".to_owned(),
        status: "REQUESTED".to_owned(),
        detail: Text::optional(names.join(", ")),
        ..IncidentPlaybookActionExecuted::default()
    });
    let command = Command::Record { payload: payload(kind) };
    let told = |_: &IncidentState| Some(Act::Retry { steps: steps.clone() });
    let context = call.context(Some(&state));
    let appended = append_told(&call, &incident, &state, &command, &context, (&|_| None, &told)).await?;
    Ok(told_answer(&call, &appended, true))
}

/// The failed steps of the blueprints' last attempts: all, or those of this name.
fn failed(state: &IncidentState, wanted: Option<&str>) -> Vec<StepRef> {
    let of = |blueprint: &str, step: &str| {
        wanted.is_none_or(|wanted| {
            let below = wanted.strip_prefix(blueprint).and_then(|rest| rest.strip_prefix('/'));
            wanted == step || below == Some(step)
        })
    };
    state
        .blueprints
        .iter()
        .flat_map(|run| run.steps.iter().map(move |step| (run, step)))
        .filter(|(run, step)| step.is(StepStatus::Failed) && of(&run.blueprint, &step.step))
        .map(|(run, step)| StepRef {
            blueprint: run.blueprint.clone(),
            attempt: run.attempt,
            step: step.step.clone(),
        })
        .collect()
}

/// `{incidentId, seq, answer, workflowId?}`: which record it is, and what tells of it.
fn told_answer(call: &Call, appended: &Appended, told: bool) -> Response {
    let seq = appended.records.first().map(|entry| entry.record.seq);
    let incident = appended.incident();
    let mut body = json!({ "incidentId": incident, "seq": seq, "answer": "recorded" });
    if let Some((seq, incident)) = seq.filter(|_| told).zip(incident) {
        body["workflowId"] = json!(WorkflowId::act(&call.caller.org, &incident, seq));
        if let Some(warning) = away(&call.app, "what it tells outside") {
            body["warning"] = json!(warning);
        }
    }
    Json(body).into_response()
}
