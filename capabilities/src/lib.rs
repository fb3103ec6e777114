//! The connectors: typed operations at the vendors an incident is worked with, and at the platforms that releases are
//! deployed to.
//!
//! One folder a vendor. A connector speaks one API, knows its limits and oddities, and says of
//! every failure whether the effect may have happened ([`error::Fate`]). It knows no incident and
//! no Temporal: keys, texts and ids come in, small values go out. Retries, timers and records are
//! the caller's; nothing here sleeps, repeats a call or looks at a clock.

pub mod address;
pub mod confluence;
pub mod deployments;
pub mod descriptor;
pub mod error;
pub mod github;
pub mod jira;
pub mod mail;
pub mod pagerduty;
pub mod slack;
pub mod statuspage;
pub mod tracker;

#[cfg(test)]
mod testing;
pub mod transport;
