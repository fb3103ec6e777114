//! `POST /v2/enqueue`. The integration behind a routing key belongs to the service named
//! `P` and the key's first six letters. Events are accepted before they are looked at, so one
//! that changes nothing is a success too.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::call::Call;
use crate::spec::Spec;
use crate::stand_in;

use super::incidents::{self, PagerDutyMemory};

/// Largest event PagerDuty takes.
const LARGEST_EVENT_BYTES: usize = 512 * 1024;

/// Who is shown as having changed an incident by an event.
const SENDER: &str = "events@example.com";

pub(super) fn enqueue(memory: &mut PagerDutyMemory, spec: &Spec, origin: &str, call: &Call) -> Response {
    if call.body_bytes > LARGEST_EVENT_BYTES {
        return invalid(StatusCode::PAYLOAD_TOO_LARGE, &["Event is larger than 512 KB".to_owned()]);
    }
    let Some(event) = call.json() else {
        return invalid(StatusCode::BAD_REQUEST, &["Event is not JSON".to_owned()]);
    };
    let violations = spec.check_body("POST", "/enqueue", event);
    if !violations.is_empty() {
        let errors: Vec<String> = violations
            .iter()
            .map(|violation| match violation.keyword.as_str() {
                "required" | "minLength" => {
                    format!("'{}' is missing or blank", dotted(&violation.pointer))
                }
                _ => format!("'{}' {}", dotted(&violation.pointer), violation.message),
            })
            .collect();
        return invalid(StatusCode::BAD_REQUEST, &errors);
    }
    let key = process(memory, origin, event);
    stand_in::json(
        StatusCode::ACCEPTED,
        json!({"status": "success", "message": "Event processed", "dedup_key": key}),
    )
}

/// Opens, acknowledges or resolves; gives back the dedup key.
fn process(memory: &mut PagerDutyMemory, origin: &str, event: &Value) -> String {
    let routing_key = event["routing_key"].as_str().unwrap_or_default();
    let letters = routing_key.chars().take(6).collect::<String>();
    let service = format!("P{}", letters.to_uppercase());
    let key = event["dedup_key"].as_str().unwrap_or_default();
    let known = memory.open_with_key(&service, key).filter(|_| !key.is_empty());
    let status = match event["event_action"].as_str() {
        Some("acknowledge") => "acknowledged",
        Some("resolve") => "resolved",
        _ => "triggered",
    };
    match known {
        None if status == "triggered" => {
            let payload = &event["payload"];
            let is_high = matches!(payload["severity"].as_str(), Some("critical" | "error"));
            let mut draft = json!({
                "title": payload["summary"],
                "urgency": if is_high { "high" } else { "low" },
            });
            if !key.is_empty() {
                draft["incident_key"] = json!(key);
            }
            let incident = incidents::open(memory, origin, &service, &draft, SENDER);
            incident["incident_key"].as_str().unwrap_or_default().to_owned()
        }
        Some(index) if status != "triggered" => {
            // An open incident takes every status.
            let _ = incidents::set_status(&mut memory.incidents[index], status, SENDER);
            key.to_owned()
        }
        _ => key.to_owned(),
    }
}

fn invalid(status: StatusCode, errors: &[String]) -> Response {
    let body = json!({
        "status": "invalid event",
        "message": "Event object is invalid",
        "errors": errors,
    });
    stand_in::json(status, body)
}

fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}
