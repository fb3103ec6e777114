//! Faults on order: `POST /_sandbox/faults` with
//! `{match: {method?, path?}, times, after?, fault}`.
//!
//! A fault waits until a vendor request matches it, leaves the first `after` of them alone, hits
//! `times` of the next, and is gone. The oldest one that is due wins; a request is hit by one fault
//! at most. `path` is a part of the
//! path or of its query. How the kind and its number may be written is left to the sender:
//! `"fault": "status", "status": 503` beside each other, `{"status": {"status": 503}}` or
//! `{"kind": "status", "status": 503}`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::stand_in::LONGEST_DELAY;

/// What goes wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum FaultKind {
    /// This status instead of the work.
    Status(StatusCode),
    /// The connection is cut instead of the work.
    DropBefore,
    /// The work is done and the connection cut instead of the answer.
    DropAfter,
    /// The work is done and the answer held back.
    Delay(Duration),
    /// The work is held back.
    DelayWork(Duration),
    /// The vendor's refusal for too many requests, with its `Retry-After` in seconds.
    RateLimit(u64),
}

/// One order.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    method: Option<String>,
    path: Option<String>,
    /// Matching requests that it still leaves alone.
    after: u64,
    /// Invariant: at least 1; a fault that is used up is removed.
    times: u64,
    kind: FaultKind,
    /// The order as it came, shown on `GET /_sandbox/faults`.
    order: Value,
}

/// The orders of one stand-in.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.lock().push(fault);
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// The fault that hits this call, counted down.
    pub(crate) fn take(&self, call: &Call) -> Option<FaultKind> {
        let mut faults = self.lock();
        let index = faults.iter().position(|fault| fault.hits(call) && fault.after == 0);
        for fault in faults.iter_mut().filter(|fault| fault.hits(call)) {
            fault.after = fault.after.saturating_sub(1);
        }
        let index = index?;
        let fault = &mut faults[index];
        let kind = fault.kind.clone();
        fault.times -= 1;
        if fault.times == 0 {
            faults.remove(index);
        }
        Some(kind)
    }

    pub(crate) fn to_json(&self) -> Value {
        let left = |fault: &Fault| {
            let mut order = fault.order.clone();
            order["times"] = json!(fault.times);
            order
        };
        self.lock().iter().map(left).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    /// Reads an order; the error says what is wrong with it.
    pub(crate) fn parse(order: &Value) -> Result<Self, String> {
        let fields = order.as_object().ok_or("a fault is an object {match, times, fault}")?;
        let (method, path) = parse_match(fields.get("match"))?;
        let times = match fields.get("times") {
            None => 1,
            Some(value) => {
                value.as_u64().filter(|times| *times > 0).ok_or("times is a whole number of at least 1")?
            }
        };
        let after = match fields.get("after") {
            None => 0,
            Some(value) => value.as_u64().ok_or("after is a whole number")?,
        };
        let kind = parse_kind(fields)?;
        Ok(Self { method, path, after, times, kind, order: order.clone() })
    }

    fn hits(&self, call: &Call) -> bool {
        let method =
            self.method.as_ref().is_none_or(|method| call.method.as_str().eq_ignore_ascii_case(method));
        let path = self.path.as_ref().is_none_or(|part| {
            let query = call.raw_query.as_deref().unwrap_or_default();
            format!("{}?{query}", call.path).contains(part.as_str())
        });
        method && path
    }
}

fn parse_match(value: Option<&Value>) -> Result<(Option<String>, Option<String>), String> {
    let fields = match value {
        None | Some(Value::Null) => return Ok((None, None)),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err("match is an object {method?, path?}".to_owned()),
    };
    if let Some(unknown) = fields.keys().find(|key| !matches!(key.as_str(), "method" | "path")) {
        return Err(format!("match has method and path, not {unknown}"));
    }
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("match.{name} is a text")),
    };
    Ok((text("method")?, text("path")?))
}

const KINDS: [&str; 6] = ["status", "drop-before", "drop-after", "delay", "delay-work", "rate-limit"];

fn parse_kind(order: &Map<String, Value>) -> Result<FaultKind, String> {
    let known = || format!("fault is one of {}", KINDS.join(", "));
    let (name, argument) = match order.get("fault") {
        Some(Value::String(name)) => (name.clone(), Value::Object(order.clone())),
        Some(Value::Object(inner)) => nested_kind(inner).ok_or_else(known)?,
        Some(_) | None => return Err(known()),
    };
    let number = |key: &str| {
        argument
            .get(key)
            .or(Some(&argument).filter(|argument| argument.is_number()))
            .or_else(|| order.get(key))
            .and_then(Value::as_u64)
            .ok_or_else(|| format!("the fault {name} needs {key}, a whole number"))
    };
    let delay = || {
        let delay = Duration::from_millis(number("delayMs")?);
        if delay > LONGEST_DELAY {
            return Err(format!("delayMs is at most {}", LONGEST_DELAY.as_millis()));
        }
        Ok(delay)
    };
    match name.as_str() {
        "status" => {
            let code = number("status")?;
            let status = u16::try_from(code).ok().filter(|code| (200..600).contains(code));
            status
                .and_then(|code| StatusCode::from_u16(code).ok())
                .map(FaultKind::Status)
                .ok_or_else(|| format!("{code} is not a status from 200 to 599"))
        }
        "drop-before" => Ok(FaultKind::DropBefore),
        "drop-after" => Ok(FaultKind::DropAfter),
        "delay" => Ok(FaultKind::Delay(delay()?)),
        "delay-work" => Ok(FaultKind::DelayWork(delay()?)),
        "rate-limit" => Ok(FaultKind::RateLimit(number("retryAfterS")?)),
        other => Err(format!("there is no fault {other}; {}", known())),
    }
}

/// `{"kind": name, …}` or `{name: {…}}`.
fn nested_kind(inner: &Map<String, Value>) -> Option<(String, Value)> {
    if let Some(name) = ["kind", "type"].iter().find_map(|key| inner.get(*key)) {
        return Some((name.as_str()?.to_owned(), Value::Object(inner.clone())));
    }
    let (name, argument) = inner.iter().next().filter(|_| inner.len() == 1)?;
    Some((name.clone(), argument.clone()))
}
