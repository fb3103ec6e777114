//! What a vendor's stand-in has to be able to do. Everything else (recording, faults,
//! inspection, connections) is the same for all of them and lives in `server.rs`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::call::Call;
use crate::limits::Rate;

/// One vendor.
pub(crate) trait StandIn: Send + Sync + 'static {
    /// The vendor's name, for people.
    const NAME: &'static str;

    /// Does the work and answers, by the vendor's rules.
    fn answer(&self, call: &Call) -> Response;

    /// A page meant for people rather than an operation of the API; never recorded.
    fn page(&self, _call: &Call) -> Option<Response> {
        None
    }

    /// The key by which the sender would recognise this effect, where the request carries one.
    fn idempotency_key(&self, call: &Call) -> Option<String>;

    /// The answer to `GET /_sandbox/state`.
    fn state(&self) -> Value;

    /// The inside of the page at `/`, escaped, where [`StandIn::page`] has no page of its own for it.
    fn overview(&self) -> String {
        String::new()
    }

    /// A failure with this status, in the vendor's shape.
    fn failure(&self, status: StatusCode) -> Response;

    /// The vendor's refusal of a client that is too fast.
    fn rate_limited(&self, retry_after_seconds: u64) -> Response;

    /// What it remembers between two runs.
    fn memory(&self) -> &dyn Kept;

    /// What a limit is for: calls of the same kind share one. Most vendors count all calls together.
    fn limited_as(&self, _call: &Call) -> String {
        String::new()
    }

    /// How many calls of its kind the vendor takes; `None` where it names no number.
    fn rate(&self, call: &Call) -> Option<Rate>;

    /// Inspection routes only this vendor has.
    fn inspection(self: Arc<Self>) -> Router {
        Router::new()
    }
}

/// A stand-in's memory.
#[derive(Debug, Default)]
pub(crate) struct Memory<T>(Mutex<T>);

impl<T> Memory<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What can be written down and taken up again.
pub(crate) trait Kept {
    /// All of it, as JSON.
    fn written(&self) -> Result<String, serde_json::Error>;

    /// Goes on from what was written down.
    fn take_up(&self, text: &str) -> Result<(), serde_json::Error>;
}

impl<T: Serialize + DeserializeOwned> Kept for Memory<T> {
    fn written(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&*self.lock())
    }

    fn take_up(&self, text: &str) -> Result<(), serde_json::Error> {
        *self.lock() = serde_json::from_str(text)?;
        Ok(())
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: Value) -> Response {
    (status, axum::Json(body)).into_response()
}

/// The same answer with `Retry-After`.
pub(crate) fn with_retry_after(mut response: Response, retry_after_seconds: u64) -> Response {
    response.headers_mut().insert(axum::http::header::RETRY_AFTER, retry_after_seconds.into());
    response
}

/// The longest pause a fault may ask for.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(600);
