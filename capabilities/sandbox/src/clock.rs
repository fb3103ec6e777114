//! The time in the vendors' spellings.

use jiff::Timestamp;

/// RFC 3339 with milliseconds, as Statuspage and Confluence write it.
pub(crate) fn now_millis() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// RFC 3339 with whole seconds, as PagerDuty writes it.
pub(crate) fn now_seconds() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Seconds since the epoch.
pub(crate) fn epoch_seconds() -> i64 {
    Timestamp::now().as_second()
}

/// Microseconds since the epoch.
pub(crate) fn epoch_micros() -> i64 {
    Timestamp::now().as_microsecond()
}
