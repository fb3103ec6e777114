//! What people write for the review, and its sign-off.

use axum::response::Response;
use harmony_incidents::{
    Command, Context, Right,
    fold::SIGN_OFF,
    judge::payload,
    log::{ActionItemAdded, ReviewSectionWritten, Text, payload::Kind},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    call::{Call, line},
    error::ApiError,
    submit::submit,
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReviewBody {
    #[serde(default)]
    section: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    due: Option<String>,
}

/// `POST …/review`: a section, or an action item.
pub(crate) async fn write(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    let kind = match call.body()? {
        ReviewBody { section: Some(section), text: Some(text), action: None, owner: None, due: None } => {
            Kind::ReviewSectionWritten(ReviewSectionWritten { section, text: Some(Text::plain(text)) })
        }
        ReviewBody { section: None, text: None, action: Some(action), owner, due } => {
            let due = due.unwrap_or_default();
            if !due.is_empty() && due.parse::<jiff::civil::Date>().is_err() {
                return Err(ApiError::Invalid(format!("due {due:?}: a day such as 2026-01-31")));
            }
            Kind::ActionItemAdded(ActionItemAdded {
                action: Some(Text::plain(action)),
                owner: line("owner", &owner.unwrap_or_default())?,
                due,
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignOffBody {
    digest: String,
}

/// `POST …/sign-off`: this page was read and accepted.
pub(crate) async fn sign_off(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::SignOff).await?;
    let SignOffBody { digest } = call.body()?;
    let context = as_sign_off(call.context(Some(&state)));
    submit(&call, &incident, &Command::SignOff { digest }, &context).await
}

/// The cause's step tells a sign-off from a plain close, in the fold too.
pub(crate) fn as_sign_off(mut context: Context) -> Context {
    context.cause.step = SIGN_OFF.to_owned();
    context
}
