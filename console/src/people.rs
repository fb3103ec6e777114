//! `GET …/people`: who there is, so that others can be named rather than spelt. Nothing that lets anybody in is shown.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use harmony_incidents::{Principal, Right, Role};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{auth::Caller, call::Call, error::ApiError};

/// Somebody of the directory with a role in the organisation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Person {
    principal_id: String,
    name: String,
    roles: Vec<&'static str>,
}

/// `GET …/people`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    call.caller.require(Right::Read, None)?;
    let person = |(one, roles): (&Principal, Vec<&'static str>)| Person {
        principal_id: one.id.clone(),
        name: one.name.clone(),
        roles,
    };
    let people: Vec<Person> = members(&call.caller).map(person).collect();
    Ok(Json(json!({ "people": people })).into_response())
}

/// Everybody of the directory with a role in the caller's organisation, and the names of their roles there.
pub(crate) fn members(caller: &Caller) -> impl Iterator<Item = (&Principal, Vec<&'static str>)> {
    caller.rules().directory.principals().iter().filter_map(|one| {
        let roles: Vec<&str> = one.roles(&caller.org, None).into_iter().map(Role::name).collect();
        (!roles.is_empty()).then_some((one, roles))
    })
}
