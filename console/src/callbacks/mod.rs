//! What others send to us: verified over the raw bytes before anything is read.

pub(crate) mod alerts;
pub(crate) mod pagerduty;
pub(crate) mod seen;
mod signed;
pub(crate) mod slack;
