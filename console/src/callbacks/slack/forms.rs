//! Forms: the same orders as the typed command, filled in. A shortcut or a button opens one; sent, it becomes the line
//! that somebody could have typed.
//!
//! A global shortcut comes from no channel, so its form asks for the incident; a button's form carries it.

use harmony_capabilities::slack::blocks::{self, Block, Input};
use harmony_incidents::{IncidentId, OrgId};
use serde::Deserialize;
use serde_json::json;

use super::{
    PATIENCE, Said,
    interaction::View,
    orders::{Asker, Line, Order, carry_out, inputs},
    reason::notice,
    tell::{Person, said_within},
};
use crate::{App, error::ApiError};

/// What a shortcut, a button or `/incident` alone opens.
#[derive(Debug)]
pub(super) struct Form {
    /// What Slack calls it when it comes back; of a shortcut, what the manifest calls that.
    pub(super) name: &'static str,
    title: &'static str,
    fields: &'static [Field],
}

const fn form(name: &'static str, title: &'static str, fields: &'static [Field]) -> Form {
    Form { name, title, fields }
}

/// Declares an incident: the shortcut's, and the one that `/incident` alone opens.
pub(super) const DECLARE: &Form =
    &form("incident-declare", "Declare an incident", &[Field::Severity, Field::Title, Field::Service]);

/// What the manifest calls the shortcuts.
const SHORTCUTS: [&Form; 5] = [
    &form("incident-close", "Close an incident", &[Field::Incident]),
    DECLARE,
    &form("incident-note", "Add a note", &[Field::Incident, Field::Text]),
    &form("incident-severity", "Change the severity", &[Field::Incident, Field::Severity, Field::Reason]),
    &form("incident-status", "Status of an incident", &[Field::Incident, Field::State, Field::Reason]),
];

/// What the buttons of an incident's first message open.
const BUTTONS: [&Form; 4] = [
    &form("lead-close-out", "Close out", &[Field::Summary]),
    &form("lead-remediate", "Run a runbook", &[Field::Runbook, Field::Inputs, Field::Why]),
    &form("lead-severity", "Change the severity", &[Field::Severity, Field::Reason]),
    &form("lead-update", "Send an update", &[Field::Message, Field::Whom]),
];

/// Slack's limit for a choice.
const CHOICES: u32 = 100;
/// Where Slack's own limits leave room.
const LINE: Input<'_> = Input::Text { multiline: false, limit: 255 };
const TEXT: Input<'_> = Input::Text { multiline: true, limit: 3_000 };
/// What each severity means, as docs/severity.md says it in full.
const SEVERITIES: [(&str, &str); 4] = [
    ("P1", "P1, critical: a core function is down or data is lost"),
    ("P2", "P2, high: a core function is impaired, or many cannot work"),
    ("P3", "P3, medium: something fails for some; there is a way around"),
    ("P4", "P4, low: hardly anybody notices"),
];
/// Who hears of an update.
const WHOM: [(&str, &str); 2] =
    [("channel", "The incident's channel"), ("public", "The channel, and the public status page")];
const STATES: [(&str, &str); 3] =
    [("INVESTIGATING", "INVESTIGATING"), ("MITIGATED", "MITIGATED"), ("RESOLVED", "RESOLVED")];

/// A field of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Incident,
    Inputs,
    Message,
    Reason,
    Runbook,
    Service,
    Severity,
    State,
    Summary,
    Text,
    Title,
    Whom,
    Why,
}

/// What can be chosen here, by value and label.
struct Choices {
    runbooks: Vec<(String, String)>,
    services: Vec<(String, String)>,
}

impl Field {
    /// Its block and its action.
    fn name(self) -> &'static str {
        match self {
            Self::Incident => "incident",
            Self::Inputs => "inputs",
            Self::Message => "message",
            Self::Reason => "reason",
            Self::Runbook => "runbook",
            Self::Service => "service",
            Self::Severity => "severity",
            Self::State => "state",
            Self::Summary => "summary",
            Self::Text => "text",
            Self::Title => "title",
            Self::Whom => "whom",
            Self::Why => "why",
        }
    }

    /// `None` where there is nothing to choose from, and nothing has to be.
    fn block(self, choices: &Choices) -> Option<Block> {
        let (runbooks, services);
        let (label, input, optional) = match self {
            Self::Incident => ("Incident, such as INC-2026-0001", LINE, false),
            Self::Inputs => ("What it is run with: NAME=value, a line each", TEXT, true),
            Self::Message => ("What is known, what is done, when there is more", TEXT, false),
            Self::Reason => ("Why, or how it was resolved", TEXT, true),
            Self::Runbook => {
                runbooks = pairs(&choices.runbooks);
                ("Runbook", if runbooks.is_empty() { LINE } else { Input::Choice(&runbooks) }, false)
            }
            Self::Service => {
                services = pairs(&choices.services);
                if services.is_empty() {
                    return None;
                }
                ("Which service is hit?", Input::Choice(&services), true)
            }
            Self::Severity => ("Severity", Input::Choice(&SEVERITIES), false),
            Self::State => ("New status; leave it empty to look", Input::Choice(&STATES), true),
            Self::Summary => ("What was wrong, and what was done?", TEXT, false),
            Self::Text => ("Note", TEXT, false),
            Self::Title => ("What is wrong?", LINE, false),
            Self::Whom => ("Who hears of it", Input::Choice(&WHOM), false),
            Self::Why => ("Why; whoever approves it reads this", TEXT, true),
        };
        Some(blocks::input(self.name(), label, input, optional).into())
    }
}

fn pairs(of: &[(String, String)]) -> Vec<(&str, &str)> {
    of.iter().map(|(value, label)| (value.as_str(), label.as_str())).collect()
}

/// What a button's form is about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct About {
    pub(super) org: OrgId,
    /// None where one is declared.
    #[serde(default)]
    pub(super) incident_id: Option<IncidentId>,
}

/// The form of this name that a shortcut opens. Others' shortcuts are nobody's business here.
pub(super) fn of_shortcut(name: &str) -> Option<&'static Form> {
    SHORTCUTS.into_iter().find(|form| form.name == name)
}

/// The form of this name that a button opens.
pub(super) fn of_button(name: &str) -> Option<&'static Form> {
    BUTTONS.into_iter().find(|form| form.name == name)
}

/// Opens a form for whoever asked; the error says that it did not open.
pub(super) async fn open(
    app: &App,
    user: &str,
    trigger_id: &str,
    form: &Form,
    about: Option<&About>,
) -> Result<(), &'static str> {
    let Some(replies) = &app.doors.slack_replies else {
        tracing::warn!(user, "a form needs SLACK_BOT_TOKEN to open");
        return Err("Harmony has no token to open a form with (SLACK_BOT_TOKEN).");
    };
    let opening = async {
        let view = view(app, user, form, about).await;
        replies.open_modal(trigger_id, view).await.map_err(|error| error.to_string())
    };
    let opened = tokio::time::timeout(PATIENCE, opening).await;
    opened.unwrap_or_else(|_| Err("not in time".to_owned())).map_err(|problem| {
        // Slack shows that nothing opened to whoever used a shortcut.
        tracing::warn!(user, form = form.name, problem, "a form did not open");
        "Slack did not open the form. Try again, or type /incident help."
    })
}

/// A form as this person is shown it.
async fn view(app: &App, user: &str, form: &Form, about: Option<&About>) -> blocks::View {
    let wants = |field: Field| form.fields.contains(&field);
    let choices = Choices {
        runbooks: if wants(Field::Runbook) { runbooks(app) } else { Vec::new() },
        services: if wants(Field::Service) { services(app, user).await } else { Vec::new() },
    };
    let fields = form.fields.iter().filter_map(|field| field.block(&choices));
    let named = about.and_then(|about| about.incident_id.as_ref());
    let named = named.map(|incident| blocks::plain_section(incident.as_str()));
    let carried = about.map(|about| json!({ "org": about.org, "incidentId": about.incident_id }));
    let shown = named.into_iter().chain(fields).collect();
    blocks::form(form.name, form.title, "Send", carried.as_ref(), shown)
}

/// All runbooks; none where they are too many to choose from, so that one is typed.
fn runbooks(app: &App) -> Vec<(String, String)> {
    let all = app.doors.runbooks.list();
    if all.len() > CHOICES as usize {
        Vec::new()
    } else {
        all.into_iter().map(|path| (path.clone(), path)).collect()
    }
}

/// All services that this person may name; none where they are too many.
async fn services(app: &App, user: &str) -> Vec<(String, String)> {
    let asker = Asker { user: user.to_owned(), channel: String::new(), request: String::new(), person: None };
    match super::orders::services(app, &asker, CHOICES).await {
        Ok(services) => services,
        Err(error) => {
            tracing::debug!(user, problem = error.for_people(), "no services to choose from");
            Vec::new()
        }
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
    let asker = Asker { user, channel: String::new(), request: format!("view/{}", view.id), person: None };
    let worker = app.clone();
    let work = async move { Some(carry_out(&worker, &asker, line).await) };
    let said = said_within(app, &person, PATIENCE, work).await.flatten();
    let text = said.as_deref().unwrap_or("It is being done. Look with /incident status.");
    Ok(Some(json!({ "response_action": "update", "view": notice(text) })))
}

/// What a form asks for; `None` for somebody else's form.
pub(super) fn order(view: &View) -> Result<Option<Line>, (Field, String)> {
    let Some(form) = of_shortcut(&view.callback_id).or_else(|| of_button(&view.callback_id)) else {
        return Ok(None);
    };
    let text = |field: Field| view.field(field.name()).to_owned();
    // What travelled is checked like everything that comes back: only the rights of whoever sends it count.
    let about: Option<About> = serde_json::from_str(&view.private_metadata).ok();
    let incident = if form.fields.contains(&Field::Incident) {
        let id: Result<IncidentId, _> = text(Field::Incident).to_ascii_uppercase().parse();
        Some(id.map_err(|_| (Field::Incident, "An id such as INC-2026-0001.".to_owned()))?)
    } else {
        about.as_ref().and_then(|about| about.incident_id.clone())
    };
    let order = match form.name {
        "incident-close" => Order::Close,
        "incident-declare" => Order::Declare {
            severity: text(Field::Severity),
            title: text(Field::Title),
            service: text(Field::Service),
        },
        "incident-note" => Order::Note { text: text(Field::Text) },
        "incident-severity" | "lead-severity" => {
            Order::Severity { to: text(Field::Severity), reason: text(Field::Reason) }
        }
        "lead-close-out" => Order::CloseOut { summary: text(Field::Summary) },
        "lead-remediate" => {
            let given = text(Field::Inputs);
            let (given, rest) = inputs(&given);
            if !rest.is_empty() {
                return Err((Field::Inputs, "Each line is NAME=value, without a space.".to_owned()));
            }
            Order::Remediate { runbook: text(Field::Runbook), inputs: given, reason: text(Field::Why) }
        }
        "lead-update" => Order::Update { text: text(Field::Message), public: text(Field::Whom) == "public" },
        _ if text(Field::State).is_empty() => Order::Show,
        _ => Order::Status { word: text(Field::State), text: text(Field::Reason) },
    };
    Ok(Some(Line { org: about.map(|about| about.org.to_string()), incident, order }))
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
        let mut known: Vec<&str> = SHORTCUTS.iter().map(|form| form.name).collect();
        known.push(super::super::interaction::NOTE_OF_MESSAGE);
        known.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn severities_and_states_are_words_that_are_known() {
        for (word, label) in SEVERITIES {
            assert!(harmony_incidents::words::severity(word).is_ok());
            assert!(label.starts_with(word) && label.chars().count() <= blocks::OPTION_CHARS, "{label}");
        }
        for (word, _) in STATES {
            let known = harmony_incidents::words::status_word(word);
            assert!(known.is_ok() || harmony_incidents::words::state(word).is_ok(), "{word}");
        }
    }
}
