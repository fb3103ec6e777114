//! Shortcuts: the same orders as the typed command, by forms.
//!
//! A shortcut opens a form of its fields; the form, sent, becomes the line that somebody could have typed. A shortcut
//! comes from no channel, so the form asks for the incident.

use harmony_capabilities::slack::{
    SlackReplies,
    blocks::{self, Block, Input},
};
use harmony_incidents::IncidentId;
use serde_json::json;

use super::{
    PATIENCE, Said,
    interaction::{Interaction, View},
    orders::{Asker, Line, Order, carry_out},
    reject::notice,
    tell::{Person, said_within},
};
use crate::{App, error::ApiError};

/// What the manifest calls them, each with its title and its fields.
pub(super) const SHORTCUTS: [(&str, &str, &[Field]); 5] = [
    ("incident-close", "Close an incident", &[Field::Incident]),
    ("incident-declare", "Declare an incident", &[Field::Severity, Field::Title]),
    ("incident-note", "Add a note", &[Field::Incident, Field::Text]),
    ("incident-severity", "Change the severity", &[Field::Incident, Field::Severity, Field::Reason]),
    ("incident-status", "Status of an incident", &[Field::Incident, Field::State, Field::Reason]),
];

/// Where Slack's own limits leave room.
const LINE: Input<'_> = Input::Text { multiline: false, limit: 255 };
const TEXT: Input<'_> = Input::Text { multiline: true, limit: 3_000 };

/// A field of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Incident,
    Reason,
    Severity,
    State,
    Text,
    Title,
}

impl Field {
    /// Its block and its action.
    fn name(self) -> &'static str {
        match self {
            Self::Incident => "incident",
            Self::Reason => "reason",
            Self::Severity => "severity",
            Self::State => "state",
            Self::Text => "text",
            Self::Title => "title",
        }
    }

    fn block(self) -> Block {
        let (label, input, optional) = match self {
            Self::Incident => ("Incident, such as INC-2026-0001", LINE, false),
            Self::Reason => ("Why, or how it was resolved", TEXT, true),
            Self::Severity => ("Severity", Input::Choice(&["P1", "P2", "P3", "P4"]), false),
            Self::State => (
                "New status; leave it empty to look",
                Input::Choice(&["INVESTIGATING", "MITIGATED", "RESOLVED"]),
                true,
            ),
            Self::Text => ("Note", TEXT, false),
            Self::Title => ("What is wrong?", LINE, false),
        };
        blocks::input(self.name(), label, input, optional).into()
    }
}

/// Opens the form of a shortcut. Others' shortcuts are nobody's business here.
pub(super) async fn open(app: &App, user: String, interaction: &Interaction) -> Result<Said, ApiError> {
    let Some((name, title, fields)) = SHORTCUTS.iter().find(|(name, _, _)| *name == interaction.callback_id)
    else {
        return Ok(None);
    };
    let Some(replies) = &app.doors.slack_replies else {
        tracing::warn!(user, "a shortcut needs SLACK_BOT_TOKEN to open its form");
        return Ok(None);
    };
    let showing = show(replies, &user, &interaction.trigger_id, name, title, fields);
    if tokio::time::timeout(PATIENCE, showing).await.is_err() {
        tracing::warn!(user, "Slack did not open the form of a shortcut in time");
    }
    Ok(None)
}

async fn show(
    replies: &SlackReplies,
    user: &str,
    trigger_id: &str,
    name: &str,
    title: &str,
    fields: &[Field],
) {
    let fields = fields.iter().map(|field| field.block()).collect();
    let form = blocks::form(name, title, "Send", None, fields);
    if let Err(error) = replies.open_modal(trigger_id, form).await {
        // There is no address to tell the person by; Slack shows that nothing opened.
        tracing::warn!(user, %error, "the form of a shortcut did not open");
    }
}

/// The form came back.
pub(super) async fn submitted(app: &App, user: String, view: &View) -> Result<Said, ApiError> {
    let line = match order(view) {
        Ok(Some(line)) => line,
        Ok(None) => return Ok(None),
        Err((field, problem)) => {
            return Ok(Some(json!({ "response_action": "errors", "errors": { field.name(): problem } })));
        }
    };
    let person = Person { user: user.clone(), response_url: None };
    let asker = Asker { user, channel: String::new(), request: format!("view/{}", view.id) };
    let worker = app.clone();
    let work = async move { Some(carry_out(&worker, &asker, line).await) };
    let said = said_within(app, &person, PATIENCE, work).await.flatten();
    let text = said.as_deref().unwrap_or("It is being done. Look with /incident status.");
    Ok(Some(json!({ "response_action": "update", "view": notice(text) })))
}

/// What a form asks for; `None` for somebody else's form.
pub(super) fn order(view: &View) -> Result<Option<Line>, (Field, String)> {
    let Some((name, _, fields)) = SHORTCUTS.iter().find(|(name, _, _)| *name == view.callback_id) else {
        return Ok(None);
    };
    let text = |field: Field| view.field(field.name()).to_owned();
    let incident = if fields.contains(&Field::Incident) {
        let id: Result<IncidentId, _> = text(Field::Incident).to_ascii_uppercase().parse();
        Some(id.map_err(|_| (Field::Incident, "An id such as INC-2026-0001.".to_owned()))?)
    } else {
        None
    };
    let order = match *name {
        "incident-close" => Order::Close,
        "incident-declare" => Order::Declare { severity: text(Field::Severity), title: text(Field::Title) },
        "incident-note" => Order::Note { text: text(Field::Text) },
        "incident-severity" => Order::Severity { to: text(Field::Severity), reason: text(Field::Reason) },
        _ if text(Field::State).is_empty() => Order::Show,
        _ => Order::Status { word: text(Field::State), text: text(Field::Reason) },
    };
    Ok(Some(Line { org: None, incident, order }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_names_these_shortcuts_and_no_other() {
        let manifest = include_str!("../../../../deploy/slack-app.yaml");
        let mut named: Vec<&str> =
            manifest.lines().filter_map(|line| line.trim().strip_prefix("callback_id: ")).collect();
        named.sort_unstable();
        assert_eq!(named, SHORTCUTS.map(|(name, _, _)| name));
    }
}
