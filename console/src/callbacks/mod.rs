//! What others send to us: verified over the raw bytes before anything is read.

pub(crate) mod seen;
pub(crate) mod slack;
