//! Reading an interaction: clicks on our buttons, forms that were sent, shortcuts. Others are nobody's business here.

use futures_util::future::try_join_all;
use harmony_incidents::{GateId, IncidentId, OrgId, ReleaseId, command::Decision, ids::NAMESPACE};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    DECLARE_BUTTON, PATIENCE, Said, forms,
    orders::{Asker, Line, Order, carry_out},
    reason,
    tell::{Person, said_within},
    work::{Click, Safe, Wish, work},
};
use crate::{App, error::ApiError};

/// The shortcut that makes a note of a message.
pub(super) const NOTE_OF_MESSAGE: &str = "message-note";

/// What of an interaction matters.
#[derive(Deserialize)]
pub(super) struct Interaction {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    pub(super) trigger_id: String,
    /// Of a shortcut.
    #[serde(default)]
    pub(super) callback_id: String,
    #[serde(default)]
    response_url: Option<String>,
    #[serde(default)]
    user: Option<User>,
    /// Where a message is that something is done with.
    #[serde(default)]
    channel: Option<Channel>,
    #[serde(default)]
    message: Option<Message>,
    #[serde(default)]
    actions: Vec<Action>,
    /// Of a form.
    #[serde(default)]
    pub(super) view: Option<View>,
}

#[derive(Deserialize)]
struct User {
    id: String,
}

#[derive(Deserialize)]
struct Channel {
    id: String,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    text: String,
    /// Who wrote it; of an app, none.
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
struct Action {
    #[serde(default)]
    action_id: String,
    #[serde(default)]
    action_ts: String,
    #[serde(default)]
    value: Option<String>,
}

/// A form that was filled in.
#[derive(Deserialize)]
pub(super) struct View {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) callback_id: String,
    #[serde(default)]
    pub(super) private_metadata: String,
    #[serde(default)]
    state: serde_json::Value,
}

impl View {
    /// What stands in a field; its block and its action have one name.
    pub(super) fn field(&self, name: &str) -> &str {
        let input = &self.state["values"][name][name];
        let chosen = &input["selected_option"]["value"];
        input["value"].as_str().or_else(|| chosen.as_str()).unwrap_or_default().trim()
    }
}

/// Value of an Approve or Reject button.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GateButton {
    org: OrgId,
    workflow_id: String,
    gate_id: String,
    digest: String,
}

/// Value of a Sign-off button.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignOffButton {
    org: OrgId,
    incident_id: IncidentId,
    digest: String,
}

/// Value of a button of an incident's messages.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IncidentButton {
    org: OrgId,
    incident_id: IncidentId,
}

/// Value of a button that is about no incident yet.
#[derive(Deserialize)]
struct OrgButton {
    org: OrgId,
}

/// Value of a button that says that a duty is done.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DutyButton {
    org: OrgId,
    incident_id: IncidentId,
    role: String,
    duty: String,
}

/// Value of a Roll-back button.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RollBackButton {
    org: OrgId,
    incident_id: IncidentId,
    release_id: ReleaseId,
}

/// Reads an interaction.
pub(super) fn parse(payload: &str) -> Result<Interaction, ApiError> {
    serde_json::from_str(payload).map_err(|error| ApiError::Malformed(format!("payload: {error}")))
}

/// Takes an interaction, however it came.
pub(super) async fn take(app: &App, payload: &str) -> Result<Said, ApiError> {
    let interaction = parse(payload)?;
    match interaction.kind.as_str() {
        "block_actions" => {
            clicked(app, clicks(&interaction)?).await?;
            Ok(None)
        }
        "view_submission" => {
            let user = interaction.user()?;
            let Some(view) = interaction.view else {
                return Err(ApiError::Malformed("payload: a submission has a `view`".to_owned()));
            };
            match reason::of_form(&view.callback_id) {
                Some(question) => reason::submitted(app, user, question, &view).await,
                None => forms::submitted(app, user, &view).await,
            }
        }
        "shortcut" => {
            if let Some(form) = forms::of_shortcut(&interaction.callback_id) {
                // Slack shows by itself that nothing opened; there is no address to tell the person by.
                let _ = forms::open(app, &interaction.user()?, &interaction.trigger_id, form, None).await;
            }
            Ok(None)
        }
        "message_action" if interaction.callback_id == NOTE_OF_MESSAGE => noted(app, &interaction).await,
        _ => Ok(None),
    }
}

/// Puts a message on the record of the incident whose channel it is in, as a note of whoever asks.
async fn noted(app: &App, interaction: &Interaction) -> Result<Said, ApiError> {
    let user = interaction.user()?;
    let (Some(channel), Some(message)) = (&interaction.channel, &interaction.message) else {
        return Err(ApiError::Malformed("payload: a message has a `channel` and a `message`".to_owned()));
    };
    let who = match app.doors.rules.current().directory.by_slack_user(&message.user) {
        Some(principal) => principal.display_name().to_owned(),
        None if message.user.is_empty() => "an app".to_owned(),
        None => "somebody in Slack".to_owned(),
    };
    let person = Person { user: user.clone(), response_url: interaction.response_url.clone() };
    let asker = Asker {
        user,
        channel: channel.id.clone(),
        request: format!("message/{}", interaction.trigger_id),
        person: None,
    };
    let text = format!("{who} in Slack: {}", message.text.trim());
    let line = Line { org: None, incident: None, order: Order::Note { text } };
    let (worker, told) = (app.clone(), person.clone());
    let work = async move {
        let said = carry_out(&worker, &asker, line).await;
        told.tell(&worker, &said).await;
        None
    };
    // An answer to this kind of request is shown to nobody: the person is told by its address.
    said_within(app, &person, PATIENCE, work).await;
    Ok(None)
}

impl Interaction {
    fn user(&self) -> Result<String, ApiError> {
        let user = self.user.as_ref().map(|user| user.id.clone());
        user.ok_or_else(|| ApiError::Malformed("payload: an interaction has a `user`".to_owned()))
    }
}

/// The clicks on our buttons; others are nobody's business here.
pub(super) fn clicks(interaction: &Interaction) -> Result<Vec<Click>, ApiError> {
    let user = interaction.user()?;
    let mut clicks = Vec::new();
    for action in &interaction.actions {
        let Some((org, wish)) = wish(action)? else { continue };
        let name =
            format!("slack/{}/{}/{user}/{}", interaction.trigger_id, action.action_ts, action.action_id);
        clicks.push(Click {
            id: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
            person: Person { user: user.clone(), response_url: interaction.response_url.clone() },
            trigger_id: interaction.trigger_id.clone(),
            org,
            wish,
        });
    }
    Ok(clicks)
}

/// Carries clicks out. All are read before any is carried out.
async fn clicked(app: &App, clicks: Vec<Click>) -> Result<(), ApiError> {
    let mut safe = Vec::new();
    for click in clicks {
        let (tell, told) = Safe::new();
        safe.push(told);
        let app = app.clone();
        tokio::spawn(async move {
            if let Some(text) = work(&app, &click, tell).await {
                click.person.tell(&app, &text).await;
            }
        });
    }
    // What takes longer goes on, and tells the person itself.
    match tokio::time::timeout(PATIENCE, try_join_all(safe)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(not_stored()),
    }
}

/// Slack tells whoever clicked that it failed: what was not stored is not to be taken for done.
pub(super) fn not_stored() -> ApiError {
    ApiError::Unavailable("the store has not taken this click (yet)".to_owned())
}

fn wish(action: &Action) -> Result<Option<(OrgId, Wish)>, ApiError> {
    let malformed =
        |error: String| ApiError::Malformed(format!("payload: the value of {}: {error}", action.action_id));
    let value = action.value.as_deref().unwrap_or_default();
    let decision = match action.action_id.as_str() {
        "approve" => Decision::Approved,
        "reject" => Decision::Rejected,
        "skip" => Decision::Skipped,
        "sign-off" => {
            let SignOffButton { org, incident_id, digest } =
                serde_json::from_str(value).map_err(|error| malformed(error.to_string()))?;
            return Ok(Some((org, Wish::SignOff { incident: incident_id, digest })));
        }
        "roll-back" => {
            let RollBackButton { org, incident_id, release_id } =
                serde_json::from_str(value).map_err(|error| malformed(error.to_string()))?;
            return Ok(Some((org, Wish::RollBack { incident: incident_id, release: release_id })));
        }
        "lead-command" => {
            let IncidentButton { org, incident_id } =
                serde_json::from_str(value).map_err(|error| malformed(error.to_string()))?;
            return Ok(Some((org, Wish::Command { incident: incident_id })));
        }
        DECLARE_BUTTON => {
            let OrgButton { org } =
                serde_json::from_str(value).map_err(|error| malformed(error.to_string()))?;
            return Ok(Some((org, Wish::Fill { incident: None, form: forms::DECLARE })));
        }
        name if let Some(form) = forms::of_button(name) => {
            let IncidentButton { org, incident_id } =
                serde_json::from_str(value).map_err(|error| malformed(error.to_string()))?;
            return Ok(Some((org, Wish::Fill { incident: Some(incident_id), form })));
        }
        duty if duty.starts_with("duty-") => {
            let DutyButton { org, incident_id, role, duty } =
                serde_json::from_str(value).map_err(|error| malformed(error.to_string()))?;
            return Ok(Some((org, Wish::Duty { incident: incident_id, role, duty })));
        }
        _ => return Ok(None),
    };
    let (org, gate_id, digest) = gate(value).map_err(malformed)?;
    Ok(Some((org, Wish::Decide { decision, gate_id, digest, reason: None })))
}

/// Organisation, gate and digest of a button, or of the form that a button opened.
pub(super) fn gate(value: &str) -> Result<(OrgId, String, String), String> {
    let GateButton { org, workflow_id, gate_id, digest } =
        serde_json::from_str(value).map_err(|error| error.to_string())?;
    if GateId::workflow_of(&gate_id).is_none_or(|workflow| workflow.as_str() != workflow_id) {
        return Err("the gate is not this workflow's".to_owned());
    }
    Ok((org, gate_id, digest))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use slack_morphism::prelude::SlackInteractionEvent;

    use super::*;

    /// What Slack sends with everything, in its documentation's form.
    fn sent(kind: &str, more: &Value) -> String {
        let mut all = json!({
            "type": kind,
            "team": { "id": "T0HARMONY", "domain": "harmony" },
            "user": { "id": "U0COMMANDER", "username": "chris", "name": "chris", "team_id": "T0HARMONY" },
            "api_app_id": "A0HARMONY",
            "token": "not looked at",
            "trigger_id": "13345224609.738474920.8088930838d88f008e0",
            "is_enterprise_install": false,
            "enterprise": null,
        });
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        all.to_string()
    }

    fn view() -> Value {
        json!({
            "id": "VNHU13V36", "team_id": "T0HARMONY", "type": "modal", "callback_id": "reject",
            "title": { "type": "plain_text", "text": "Reject", "emoji": true },
            "blocks": [], "private_metadata": "{\"org\":\"default\"}", "hash": "1569362015.55b5e41b",
            "clear_on_close": false, "notify_on_close": false, "external_id": "", "app_id": "A0HARMONY",
            "root_view_id": "VNHU13V36", "previous_view_id": null, "bot_id": "BB00BBB",
            "state": { "values": {
                "reason": { "reason": { "type": "plain_text_input", "value": " too risky " } },
                "severity": { "severity": { "type": "static_select", "selected_option": {
                    "text": { "type": "plain_text", "text": "P1" }, "value": "P1",
                } } },
            } },
        })
    }

    #[test]
    fn what_is_acted_on_is_what_slacks_own_models_read() {
        let clicked = sent(
            "block_actions",
            &json!({
                "container": { "type": "message", "message_ts": "1548261231.000200", "channel_id": "CBR2V3XEX",
                    "is_ephemeral": false },
                "channel": { "id": "CBR2V3XEX", "name": "inc-2026-0001" },
                "message": { "type": "message", "ts": "1548261231.000200", "text": "Roll back?", "blocks": [] },
                "response_url": "https://hooks.slack.com/actions/AABA1ABCD/1232321423432/D09sSasdasdAS9091209",
                "actions": [{ "type": "button", "action_id": "approve", "block_id": "decide",
                    "text": { "type": "plain_text", "text": "Approve" }, "value": "{}",
                    "style": "primary", "action_ts": "1548426417.840180" }],
            }),
        );
        let ours = parse(&clicked).unwrap();
        let SlackInteractionEvent::BlockActions(theirs) = serde_json::from_str(&clicked).unwrap() else {
            panic!("a click")
        };
        assert_eq!(ours.user().unwrap(), theirs.user.unwrap().id.0);
        assert_eq!(ours.trigger_id, theirs.trigger_id.0);
        assert_eq!(ours.response_url.unwrap(), theirs.response_url.unwrap().0.as_str());
        let (action, their) = (&ours.actions[0], &theirs.actions.unwrap()[0]);
        assert_eq!(action.action_id, their.action_id.0);
        assert_eq!(action.value, their.value);
        assert_eq!(action.action_ts, their.action_ts.as_ref().unwrap().0);

        let submitted = sent("view_submission", &json!({ "view": view(), "response_urls": [] }));
        let ours = parse(&submitted).unwrap();
        let SlackInteractionEvent::ViewSubmission(theirs) = serde_json::from_str(&submitted).unwrap() else {
            panic!("a form")
        };
        assert_eq!(ours.user().unwrap(), theirs.user.id.0);
        let view = ours.view.unwrap();
        assert_eq!(view.id, theirs.view.state_params.id.0);
        assert_eq!((view.field("reason"), view.field("severity")), ("too risky", "P1"));
        let slack_morphism::prelude::SlackView::Modal(modal) = theirs.view.view else { panic!("a modal") };
        assert_eq!(view.callback_id, modal.callback_id.unwrap().0);
        assert_eq!(view.private_metadata, modal.private_metadata.unwrap());

        let asked =
            sent("shortcut", &json!({ "callback_id": "incident-declare", "action_ts": "1581106241.371594" }));
        let ours = parse(&asked).unwrap();
        let SlackInteractionEvent::Shortcut(theirs) = serde_json::from_str(&asked).unwrap() else {
            panic!("a shortcut")
        };
        assert_eq!(ours.callback_id, theirs.callback_id.0);
        assert_eq!(ours.trigger_id, theirs.trigger_id.0);
    }
}
