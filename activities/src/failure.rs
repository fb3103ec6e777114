//! One place where errors become Temporal's retryable or final failures.

use std::time::Duration;

use harmony_capabilities::error::{CallError, Fate};
use harmony_eventlog::LogError;
use temporalio_common::error::ApplicationFailure;
use temporalio_sdk::activities::ActivityError;

/// How long to wait before looking for an effect that may have happened: the request may still be under way.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// A failure that no retry mends.
pub(crate) fn last(kind: &str, message: impl Into<String>) -> ActivityError {
    let failure = ApplicationFailure::builder(anyhow::anyhow!(message.into()))
        .type_name(kind.to_owned())
        .non_retryable(true)
        .build();
    ActivityError::application(failure)
}

/// A failure that a retry may mend, after `delay` if given.
pub(crate) fn again(kind: &str, message: impl Into<String>, delay: Option<Duration>) -> ActivityError {
    let failure = ApplicationFailure::builder(anyhow::anyhow!(message.into()))
        .type_name(kind.to_owned())
        .maybe_next_retry_delay(delay)
        .build();
    ActivityError::application(failure)
}

/// The log's errors: only its absence is worth a retry.
pub(crate) fn log(error: &LogError) -> ActivityError {
    if error.is_transient() {
        again("LogUnavailable", error.to_string(), None)
    } else {
        last("LogRefused", error.to_string())
    }
}

/// A vendor's errors, in the vendor's own words.
pub(crate) fn call(error: &CallError) -> ActivityError {
    let message = error.to_string();
    match error.fate() {
        Fate::Rejected => last("VendorRefused", message),
        Fate::Unauthorized => last("VendorUnauthorized", message),
        Fate::Limited { retry_after } => again("VendorLimited", message, retry_after),
        Fate::Unavailable => again("VendorUnavailable", message, None),
        Fate::Unknown => again("VendorUnknown", message, Some(LOOK_AFTER)),
    }
}
