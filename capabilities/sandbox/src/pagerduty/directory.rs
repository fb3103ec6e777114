//! Who and what is in the account: one escalation policy with two levels, its people, and any
//! service one asks for whose id is of PagerDuty's own form.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::answer::Refusal;
use crate::call::Call;
use crate::clock;

const POLICY_ID: &str = "PPOLICY";
const POLICY_NAME: &str = "Sandbox escalation";

/// Name and id of the people on call, one a level.
const LEVELS: [(&str, &str); 2] = [("oncall", "PONCALL"), ("manager", "PMANAGER")];

/// PagerDuty's ids of services begin with a P; a test that wants one that is not there names another.
pub(super) fn is_service(id: &str) -> bool {
    id.starts_with('P')
}

pub(super) fn service_reference(origin: &str, id: &str) -> Value {
    reference(origin, "services", "service_reference", id, id)
}

pub(super) fn policy_reference(origin: &str) -> Value {
    reference(origin, "escalation_policies", "escalation_policy_reference", POLICY_ID, POLICY_NAME)
}

pub(super) fn user_reference(origin: &str, name: &str) -> Value {
    let id = format!("P{}", name.to_uppercase());
    reference(origin, "users", "user_reference", &id, name)
}

/// The user with an e-mail address, whoever it is.
pub(super) fn user_reference_of(origin: &str, email: &str) -> Value {
    let local = email.split('@').next().unwrap_or_default();
    let name: String = local.chars().filter(char::is_ascii_alphanumeric).collect();
    user_reference(origin, &name)
}

fn reference(origin: &str, collection: &str, kind: &str, id: &str, summary: &str) -> Value {
    let mut reference = json!({"id": id, "type": kind, "summary": summary});
    if !origin.is_empty() {
        reference["self"] = json!(format!("{origin}/{collection}/{id}"));
        reference["html_url"] = json!(format!("{origin}/{collection}/{id}"));
    }
    reference
}

pub(super) fn service(origin: &str, id: &str) -> Result<(StatusCode, Value), Refusal> {
    if !is_service(id) {
        return Err(Refusal::not_found());
    }
    let mut service = service_reference(origin, id);
    service["type"] = json!("service");
    service["name"] = json!(id);
    service["status"] = json!("active");
    service["created_at"] = json!(clock::now_seconds());
    service["escalation_policy"] = policy_reference(origin);
    Ok((StatusCode::OK, json!({"service": service})))
}

pub(super) fn escalation_policies(origin: &str) -> (StatusCode, Value) {
    let rules = LEVELS.map(|(name, _)| {
        json!({
            "id": format!("PRULE{}", name.to_uppercase()),
            "escalation_delay_in_minutes": 15,
            "targets": [user_reference(origin, name)],
        })
    });
    let mut policy = policy_reference(origin);
    policy["type"] = json!("escalation_policy");
    policy["name"] = json!(POLICY_NAME);
    policy["num_loops"] = json!(0);
    policy["escalation_rules"] = json!(rules);
    let answer = json!({
        "escalation_policies": [policy],
        "limit": 25,
        "offset": 0,
        "more": false,
        "total": null,
    });
    (StatusCode::OK, answer)
}

/// Both levels, under whichever policies are asked for.
pub(super) fn on_calls(origin: &str, call: &Call) -> (StatusCode, Value) {
    let asked = call.query_values("escalation_policy_ids[]");
    let policies: Vec<Value> = if asked.is_empty() {
        vec![policy_reference(origin)]
    } else {
        let referenced =
            |id: &&str| reference(origin, "escalation_policies", "escalation_policy_reference", id, id);
        asked.iter().map(referenced).collect()
    };
    let users = call.query_values("user_ids[]");
    let with_users = call.query_values("include[]").contains(&"users");
    let mut on_calls = Vec::new();
    for policy in &policies {
        for (index, (name, id)) in LEVELS.iter().enumerate() {
            if !users.is_empty() && !users.contains(id) {
                continue;
            }
            let person = if with_users { user(origin, name) } else { user_reference(origin, name) };
            on_calls.push(json!({
                "escalation_policy": policy,
                "escalation_level": index + 1,
                "user": person,
                "schedule": null,
                "start": null,
                "end": null,
            }));
        }
    }
    let answer = json!({
        "oncalls": on_calls,
        "limit": 25,
        "offset": 0,
        "more": false,
        "total": null,
    });
    (StatusCode::OK, answer)
}

pub(super) fn me(origin: &str) -> (StatusCode, Value) {
    (StatusCode::OK, json!({"user": user(origin, "operator")}))
}

fn user(origin: &str, name: &str) -> Value {
    let mut user = user_reference(origin, name);
    user["type"] = json!("user");
    user["name"] = json!(name);
    user["email"] = json!(format!("{name}@example.com"));
    user["time_zone"] = json!("Etc/UTC");
    user["role"] = json!("user");
    user
}
