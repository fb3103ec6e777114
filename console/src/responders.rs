//! Who has which part in an incident. Whoever is assigned commander by somebody else who holds a gate role holds that
//! role for this incident; who takes command is commander without a commander's rights.

use axum::response::Response;
use harmony_blueprints::messages::Act;
use harmony_incidents::{
    Answer, Command, Head, Right,
    clock::COMMANDER,
    hand_over::hand_over,
    judge::payload,
    leading::duties_left,
    log::{IncidentState, ResponderAssigned, ResponderReleased, payload::Kind},
    machine,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{call::Call, error::ApiError, submit::submit_told};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ResponderBody {
    role: String,
    principal_id: String,
    #[serde(default)]
    release: bool,
}

/// `POST …/responders`
pub(crate) async fn change(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    let ResponderBody { role, principal_id, release } = call.body()?;
    let parts = &call.caller.rules().policy.duties;
    // Somebody with a role that the policy has no more may still be released.
    if !release && !parts.contains_key(&role) {
        let known: Vec<&str> = parts.keys().map(String::as_str).collect();
        return Err(ApiError::Invalid(format!(
            "role {role:?} is not known; use one of {}",
            known.join(", ")
        )));
    }
    let is_member = call
        .caller
        .rules()
        .directory
        .get(&principal_id)
        .is_some_and(|principal| !principal.roles(&call.caller.org, None).is_empty());
    // Somebody who left may still be released.
    if !release && !is_member {
        return Err(ApiError::Invalid(format!(
            "principalId {principal_id:?}: nobody of this id has a role in {}",
            call.caller.org
        )));
    }
    let (part, holder) = (role.clone(), principal_id.clone());
    let (given_role, given_to) = (role.clone(), principal_id.clone());
    let context = call.context(Some(&state));
    let kind = if release {
        Kind::ResponderReleased(ResponderReleased { role, principal: principal_id })
    } else {
        // Whether it gives a commander's rights is for the judge to say.
        Kind::ResponderAssigned(ResponderAssigned { role, principal: principal_id, empowered: false })
    };
    let command = Command::Record { payload: payload(kind) };
    let known = |head: Head<'_>| {
        let held = head.state.responders.iter().find(|one| one.role == part && one.principal == holder);
        let unchanged = match held {
            None => release,
            // Who took command is given a commander's rights by being assigned again, by somebody who may.
            Some(held) => !release && (held.empowered || part != COMMANDER),
        };
        unchanged.then_some(Answer::Unchanged)
    };
    let told = |head: &IncidentState| {
        let rules = call.caller.rules();
        let goes_on = !release && !machine::is_over(head.state());
        let situation = if goes_on && given_role == COMMANDER {
            hand_over(head, rules.policy, rules.directory, context.occurred_at)
        } else {
            Vec::new()
        };
        let duties = if goes_on { duties_left(head, rules.policy, &given_role) } else { Vec::new() };
        Some(Act::Assignment {
            role: given_role.clone(),
            principal: given_to.clone(),
            released: release,
            situation,
            duties,
        })
    };
    submit_told(&call, &incident, &state, &command, &context, (&known, &told)).await
}
