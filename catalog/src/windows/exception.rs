//! The exception for rollbacks: whoever responds to an open P1 or P2 may ask for one while the environment is closed.
//!
//! It opens nothing by itself. What would be refused, or would wait, gets a gate instead, and the record says why.

use harmony_incidents::{
    log::{IncidentState, Severity},
    machine, words,
};
use serde::{Deserialize, Serialize};

/// A rollback that names an incident.
#[derive(Debug, Clone, Copy)]
pub struct RollbackClaim<'a> {
    /// The incident that it names, as it is now.
    pub incident: &'a IncidentState,
    /// Who asks for the rollback.
    pub actor: &'a str,
}

/// Why a rollback is excepted from windows and freezes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RollbackException {
    /// The open incident.
    pub incident: String,
    /// P1 or P2.
    pub severity: String,
    /// The responder who asked.
    pub responder: String,
}

/// Why a rollback is not excepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotExcepted {
    /// The incident is resolved, closed or cancelled.
    #[error("{incident} is {state}: the exception for rollbacks needs an open incident")]
    Over {
        /// Which incident.
        incident: String,
        /// Its state.
        state: &'static str,
    },
    /// P3, P4.
    #[error("{incident} is {severity}: the exception for rollbacks needs a P1 or P2")]
    Minor {
        /// Which incident.
        incident: String,
        /// Its severity.
        severity: &'static str,
    },
    /// Somebody else.
    #[error("{actor} is no responder of {incident}: the exception for rollbacks needs one")]
    NoResponder {
        /// Who asked.
        actor: String,
        /// Which incident.
        incident: String,
    },
}

impl RollbackClaim<'_> {
    /// The exception, where this rollback has one.
    pub fn exception(&self) -> Result<RollbackException, NotExcepted> {
        let state = self.incident;
        let incident = state.incident.clone();
        if machine::is_over(state.state()) {
            return Err(NotExcepted::Over { incident, state: words::status(state.state(), state.phase()) });
        }
        let severity = state.severity();
        if !matches!(severity, Severity::P1 | Severity::P2) {
            return Err(NotExcepted::Minor { incident, severity: severity.as_str_name() });
        }
        if self.actor.is_empty() || !state.responders.iter().any(|one| one.principal == self.actor) {
            return Err(NotExcepted::NoResponder { actor: self.actor.to_owned(), incident });
        }
        Ok(RollbackException {
            incident,
            severity: severity.as_str_name().to_owned(),
            responder: self.actor.to_owned(),
        })
    }
}
