//! Socket Mode: Slack's requests over a connection that we opened, for sites without a public address.
//!
//! The same handlers as over HTTP. Who may speak is settled by the connection, which was opened with the app's token;
//! an envelope that Slack sends twice is taken once.

use std::time::Instant;

use harmony_capabilities::slack::{Envelope, SlackSockets};
use serde_json::Value;

use super::{Said, command, home, interaction};
use crate::{App, error::ApiError};

/// Listens until the process ends. Reconnects by itself.
pub(crate) async fn listen(app: App, sockets: SlackSockets) {
    sockets
        .serve(move |envelope| {
            let app = app.clone();
            async move { take(&app, envelope).await }
        })
        .await;
}

/// What the envelope's acknowledgement carries.
async fn take(app: &App, envelope: Envelope) -> Option<Value> {
    if !app.seen.is_new(&format!("envelope/{}", envelope.id), Instant::now()) {
        return None;
    }
    let kind = envelope.kind.clone();
    let said: Result<Said, ApiError> = match kind.as_str() {
        "interactive" => interaction::take(app, &envelope.payload.to_string()).await,
        "slash_commands" => command::take(app, envelope.payload).await,
        "events_api" => home::take(app, envelope.payload),
        _ => Ok(None),
    };
    said.unwrap_or_else(|error| {
        tracing::warn!(kind, problem = error.for_people(), "an envelope from Slack was not understood");
        None
    })
}
