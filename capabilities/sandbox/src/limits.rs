//! Whether a client that was told to wait did wait: the answer to `GET /_sandbox/limits`.
//!
//! A call that comes within the `Retry-After` that a vendor gave for calls of its kind is counted as too early, but for
//! those that may have been under way when the refusal was sent.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A call that was sent before the refusal was read comes within this time.
const UNDER_WAY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Counts {
    /// When the last refusal was sent for calls of a kind, and until when they were asked to wait.
    refused: BTreeMap<String, (Instant, Instant)>,
    limited: u64,
    too_early: u64,
}

/// The limits of one stand-in.
#[derive(Debug, Default)]
pub(crate) struct Limits(Mutex<Counts>);

impl Limits {
    /// A call of this kind came in.
    pub(crate) fn came(&self, kind: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_early = |(sent, until): &(Instant, Instant)| now > *sent + UNDER_WAY && now < *until;
        if counts.refused.get(kind).is_some_and(is_early) {
            counts.too_early += 1;
        }
    }

    /// Calls of this kind were asked to wait.
    pub(crate) fn refused(&self, kind: &str, retry_after_seconds: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let until = now + Duration::from_secs(retry_after_seconds);
        counts.limited += 1;
        counts.refused.insert(kind.to_owned(), (now, until));
    }

    pub(crate) fn to_json(&self) -> Value {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "limited": counts.limited, "tooEarly": counts.too_early })
    }
}
