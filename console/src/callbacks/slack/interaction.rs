//! Reading an interaction: clicks on our buttons, forms that were sent, shortcuts. Others are nobody's business here.

use futures_util::future::try_join_all;
use harmony_incidents::{GateId, IncidentId, OrgId, ReleaseId, command::Decision, ids::NAMESPACE};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    PATIENCE, Said, reject, shortcut,
    tell::Person,
    work::{Click, Safe, Wish, work},
};
use crate::{App, error::ApiError};

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
            if view.callback_id == reject::FORM {
                reject::submitted(app, user, &view).await
            } else {
                shortcut::submitted(app, user, &view).await
            }
        }
        "shortcut" => shortcut::open(app, interaction.user()?, &interaction).await,
        _ => Ok(None),
    }
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
    let id = gate_id.parse::<GateId>().ok();
    if id.as_ref().and_then(GateId::parts).is_none_or(|(workflow, ..)| workflow.as_str() != workflow_id) {
        return Err("the gate is not this workflow's".to_owned());
    }
    Ok((org, gate_id, digest))
}
