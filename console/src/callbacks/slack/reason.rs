//! A decision that needs words: a form asks why something is rejected, or what was done at a manual step. What the form is
//! about travels in its private metadata and is checked again when it comes back, like the value of a button; the gate's
//! digest is compared by the judge.

use harmony_capabilities::slack::{
    SlackReplies,
    blocks::{self, Input, View as Form},
};
use harmony_incidents::{GateId, command::Decision, ids::NAMESPACE};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    PATIENCE, Said,
    interaction::{View, gate, not_stored},
    tell::{Person, said_within},
    work::{Click, Safe, Wish, work},
};
use crate::{App, approvals::REASON_CHARS, decisions::Place, error::ApiError};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    decision: Decision,
    /// What Slack calls the form when it comes back.
    form: &'static str,
    /// Its title, and its button.
    title: &'static str,
    label: &'static str,
    hint: &'static str,
    /// What is said of a form without words.
    missing: &'static str,
    /// What does the same at the command line.
    command: &'static str,
}

const WHY_NOT: Question = Question {
    decision: Decision::Rejected,
    form: "reject",
    title: "Reject",
    label: "Why not?",
    hint: "It goes on record, and whoever asked reads it.",
    missing: "A rejection needs a reason.",
    command: "reject",
};

const WHAT_WAS_DONE: Question = Question {
    decision: Decision::Approved,
    form: "confirm",
    title: "Done",
    label: "What was done?",
    hint: "It goes on record as the note of this step.",
    missing: "A manual step is confirmed with a note on what was done.",
    command: "approve",
};

/// What a decision is asked for that came without words; nothing where it needs none.
pub(super) fn question(decision: Decision, needs_note: bool) -> Option<&'static Question> {
    match decision {
        Decision::Rejected => Some(&WHY_NOT),
        Decision::Approved if needs_note => Some(&WHAT_WAS_DONE),
        Decision::Approved | Decision::Skipped => None,
    }
}

/// The question whose form this is.
pub(super) fn of_form(name: &str) -> Option<&'static Question> {
    [&WHY_NOT, &WHAT_WAS_DONE].into_iter().find(|question| question.form == name)
}

/// The field of the words.
const REASON: &str = "reason";
/// What is shown of a text: a little less than Slack takes in a section.
const SECTION_CHARS: usize = blocks::SECTION_CHARS - 100;

/// Opens the form for whoever clicked; the error says what they can do instead.
pub(super) async fn ask(
    replies: &SlackReplies,
    click: &Click,
    question: &Question,
    place: &Place,
    gate_id: &str,
    digest: &str,
) -> Result<(), String> {
    let workflow_id = GateId::workflow_of(gate_id);
    let metadata = json!({
        "org": click.org,
        "workflowId": workflow_id,
        "gateId": gate_id,
        "digest": digest,
        "responseUrl": click.person.response_url,
    });
    let action = place.gate(gate_id).map(|gate| gate.action.clone()).unwrap_or_default();
    let form = form(question, &format!("{}: {action}", place.stream), &metadata);
    replies.open_modal(&click.trigger_id, form).await.map_err(|error| {
        tracing::warn!(user = click.person.user, %error, "the form for a decision did not open");
        format!(
            "Nothing was decided: Slack did not open the form. Click {} again, or type \
             harmony approval {} '{gate_id}' --reason …",
            question.title, question.command
        )
    })
}

fn form(question: &Question, about: &str, metadata: &Value) -> Form {
    let about: String = about.chars().take(SECTION_CHARS).collect();
    let text = Input::Text { multiline: true, limit: REASON_CHARS };
    let words = blocks::hinted(blocks::input(REASON, question.label, text, false), question.hint);
    let fields = vec![blocks::plain_section(&about), words];
    blocks::form(question.form, question.title, question.title, Some(metadata), fields)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseUrl {
    #[serde(default)]
    response_url: Option<String>,
}

/// The form came back: this is the decision.
pub(super) async fn submitted(
    app: &App,
    user: String,
    question: &Question,
    view: &View,
) -> Result<Said, ApiError> {
    let malformed = |error: String| ApiError::Malformed(format!("payload: private_metadata: {error}"));
    let (org, gate_id, digest) = gate(&view.private_metadata).map_err(malformed)?;
    let ResponseUrl { response_url } =
        serde_json::from_str(&view.private_metadata).map_err(|error| malformed(error.to_string()))?;
    let reason = view.field(REASON);
    let problem = match reason.chars().count() {
        0 => Some(question.missing.to_owned()),
        length if length > REASON_CHARS => Some(format!("At most {REASON_CHARS} characters.")),
        _ => None,
    };
    if let Some(problem) = problem {
        return Ok(Some(json!({ "response_action": "errors", "errors": { REASON: problem } })));
    }
    // One form is one decision, however often it is sent.
    let name = format!("slack/view/{}/{user}", view.id);
    let wish = Wish::Decide { decision: question.decision, gate_id, digest, reason: Some(reason.to_owned()) };
    let person = Person { user, response_url };
    let click = Click {
        id: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
        person: person.clone(),
        trigger_id: String::new(),
        org,
        wish,
    };
    let (tell, mut safe) = Safe::new();
    let worker = app.clone();
    let said = said_within(app, &person, PATIENCE, async move { work(&worker, &click, tell).await }).await;
    if said.is_none() && safe.try_recv().is_err() {
        return Err(not_stored());
    }
    Ok(said.flatten().map(|text| json!({ "response_action": "update", "view": notice(&text) })))
}

/// What the form turns into where the decision did not count.
pub(super) fn notice(text: &str) -> Form {
    let text: String = text.chars().take(SECTION_CHARS).collect();
    blocks::notice("Harmony", &text)
}
