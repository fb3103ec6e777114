//! The command `/incident …`: read, carried out, answered to whoever typed it.

use serde::Deserialize;
use serde_json::{Value, json};

use harmony_capabilities::slack::escape;

use super::{
    PATIENCE, Said, forms,
    orders::{Asker, Line, carry_out, read},
    tell::{Person, said_within},
};
use crate::{App, error::ApiError};

/// Said where it takes longer than Slack waits.
const LATER: &str = "It is being done; what came of it follows.";

/// What of a command matters.
#[derive(Deserialize)]
pub(super) struct Typed {
    user_id: String,
    #[serde(default)]
    channel_id: String,
    #[serde(default)]
    text: String,
    trigger_id: String,
    #[serde(default)]
    response_url: Option<String>,
}

/// Takes a command, however it came. Without a word it opens the form to declare an incident.
pub(super) async fn take(app: &App, fields: Value) -> Result<Said, ApiError> {
    let (typed, line) = line(fields)?;
    if typed.text.trim().is_empty() && app.doors.slack_replies.is_some() {
        let opened = forms::open(app, &typed.user_id, &typed.trigger_id, forms::DECLARE, None).await;
        return Ok(opened.err().and_then(ephemeral));
    }
    let line = match line {
        Ok(line) => line,
        Err(problem) => return Ok(ephemeral(&problem)),
    };
    let person = Person { user: typed.user_id.clone(), response_url: typed.response_url };
    let asker = Asker {
        user: typed.user_id,
        channel: typed.channel_id,
        request: typed.trigger_id,
        person: Some(person.clone()),
    };
    let worker = app.clone();
    let work = async move { Some(carry_out(&worker, &asker, line).await) };
    let said = said_within(app, &person, PATIENCE, work).await.flatten();
    Ok(ephemeral(said.as_deref().unwrap_or(LATER)))
}

/// What was typed, and the order in it.
pub(super) fn line(fields: Value) -> Result<(Typed, Result<Line, String>), ApiError> {
    let typed: Typed = serde_json::from_value(fields)
        .map_err(|error| ApiError::Malformed(format!("the command: {error}")))?;
    let line = read(&typed.text);
    Ok((typed, line))
}

/// For whoever asked alone.
fn ephemeral(text: &str) -> Said {
    Some(json!({ "response_type": "ephemeral", "text": escape(text) }))
}
