//! The review: what people write for it, the page as it was rendered, and its sign-off.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use harmony_incidents::{
    Command, IncidentId, OrgId, Right,
    judge::payload,
    log::{ActionItemAdded, IncidentState, PostMortemRendered, ReviewSectionWritten, Text, payload::Kind},
};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    App,
    call::{Call, line},
    error::ApiError,
    follow_ups::day,
    members,
    submit::submit,
};

/// Records of one read.
const READ: u64 = 200;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReviewBody {
    #[serde(default)]
    #[schema(value_type = Option<members::Section>, inline)]
    section: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<members::LongText>, inline)]
    text: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<members::LongText>, inline)]
    action: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<members::Line>, inline)]
    owner: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<members::Day>, inline)]
    due: Option<String>,
    /// `high`, `medium` or `low`.
    #[serde(default)]
    #[schema(value_type = Option<members::Priority>, inline)]
    priority: Option<String>,
}

/// `POST …/review`: a section, or an action item.
pub(crate) async fn write(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    let kind = match call.body()? {
        ReviewBody {
            section: Some(section),
            text: Some(text),
            action: None,
            owner: None,
            due: None,
            priority: None,
        } => Kind::ReviewSectionWritten(ReviewSectionWritten { section, text: Some(Text::plain(text)) }),
        ReviewBody { section: None, text: None, action: Some(action), owner, due, priority } => {
            let due = day(&due.unwrap_or_default())?;
            Kind::ActionItemAdded(ActionItemAdded {
                action: Some(Text::plain(action)),
                owner: line("owner", &owner.unwrap_or_default())?,
                due,
                priority: priority.unwrap_or_default(),
            })
        }
        _ => {
            return Err(ApiError::Invalid(
                "a review takes `section` and `text`, or `action`, `owner` and maybe `due`".to_owned(),
            ));
        }
    };
    let command = Command::Record { payload: payload(kind) };
    submit(&call, &incident, &command, &call.context(Some(&state))).await
}

/// `GET …/review`: the page that is published, else the one that was rendered last, as Markdown.
pub(crate) async fn show(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    let (incident, state) = call.incident(Right::Read).await?;
    let page = rendered(&call.app, &call.caller.org, &incident, &state).await?;
    let (Some(review), Some((seq, page))) = (&state.review, page) else {
        return Err(ApiError::NotFound(format!("no review of {incident} has been rendered yet")));
    };
    let text = page.page.as_ref().map(Text::shown).unwrap_or_default();
    let covers: Value = serde_json::from_str(text).unwrap_or_default();
    let Some(markdown) = covers["markdown"].as_str() else {
        return Err(ApiError::NotFound(format!("the review of {incident} was redacted (record {seq})")));
    };
    let body = json!({
        "title": covers["title"],
        "markdown": markdown,
        "digest": hex::encode(&review.digest),
        "seq": seq,
        "uptoSeq": page.upto_seq,
        "published": review.published,
        "url": review.url,
    });
    Ok(Json(body).into_response())
}

/// The page that the review's digest names, with the seq of its record.
pub(crate) async fn rendered(
    app: &App,
    org: &OrgId,
    incident: &IncidentId,
    state: &IncidentState,
) -> Result<Option<(u64, PostMortemRendered)>, ApiError> {
    let Some(review) = &state.review else { return Ok(None) };
    let mut end = state.seq;
    while end > 0 {
        let begin = end.saturating_sub(READ);
        let limit = u32::try_from(end - begin).unwrap_or(u32::MAX);
        for entry in app.doors.log.records(org, incident, begin, limit).await?.into_iter().rev() {
            let seq = entry.record.seq;
            match entry.record.payload.and_then(|payload| payload.kind) {
                Some(Kind::PostMortemRendered(page)) if page.digest == review.digest => {
                    return Ok(Some((seq, page)));
                }
                _ => {}
            }
        }
        end = begin;
    }
    Ok(None)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignOffBody {
    digest: String,
}

/// `POST …/sign-off`: this page was read and accepted.
pub(crate) async fn sign_off(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::SignOff).await?;
    let SignOffBody { digest } = call.body()?;
    submit(&call, &incident, &Command::SignOff { digest }, &call.context(Some(&state))).await
}
