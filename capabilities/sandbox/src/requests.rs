//! What a stand-in received, in order: the answer to `GET /_sandbox/requests`.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

use crate::call::Call;

/// One vendor request as it came in. Headers are left out: they carry credentials.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceivedRequest {
    method: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    body: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
}

/// The requests of one stand-in.
#[derive(Debug, Default)]
pub(crate) struct RequestLog(Mutex<Vec<ReceivedRequest>>);

impl RequestLog {
    pub(crate) fn record(&self, call: &Call, idempotency_key: Option<String>) {
        let request = ReceivedRequest {
            method: call.method.to_string(),
            path: call.path.clone(),
            query: call.recorded_query(),
            body: call.body.recorded(),
            idempotency_key: idempotency_key.or_else(|| call.header("idempotency-key").map(str::to_owned)),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }

    pub(crate) fn to_json(&self) -> Value {
        let requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_value(&*requests).unwrap_or_default()
    }
}
