//! How a deployment can fail.

use serde::{Deserialize, Serialize};

use super::AdapterName;
use crate::error::{CallError, Fate};

/// A field that somebody else manages and that a deployment would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldConflict {
    /// The field manager, as the platform names it.
    pub owner: String,
    /// The field, as the platform names it.
    pub field: String,
}

/// Why an adapter did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeploymentError {
    /// This installation cannot deploy with it.
    #[error("the adapter {adapter} is not configured: {hint}")]
    NotConfigured {
        /// Which.
        adapter: AdapterName,
        /// What to do about it.
        hint: String,
    },
    /// The plan is for somebody else to carry out ([`super::Adapter::carried_out_by`]).
    #[error("the adapter {0} only plans: its runbook's cells are carried out one by one")]
    CarriedOutElsewhere(AdapterName),
    /// The target lacks something, or it cannot be deployed to as it is.
    #[error("{adapter} cannot deploy there: {reason}")]
    Target {
        /// Whose target.
        adapter: AdapterName,
        /// What is wrong, and what to do about it.
        reason: String,
    },
    /// What was planned is no longer what would happen. Nothing was changed: plan again.
    #[error("the plan no longer holds: {0}; plan again")]
    Stale(String),
    /// Somebody else manages what would be changed. It is not taken away from them.
    #[error("{}", conflict(.0))]
    Conflict(Vec<FieldConflict>),
    /// The platform refused or did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl DeploymentError {
    pub(super) fn not_configured(adapter: AdapterName) -> Self {
        let hint = match adapter {
            AdapterName::K8s if cfg!(feature = "kubernetes") => {
                "set HARMONY_KUBERNETES_CLUSTER in a pod of the cluster, or HARMONY_KUBECONFIG"
            }
            AdapterName::K8s => "this program was built without the cargo feature kubernetes",
            _ => "this version of Harmony does not deploy there; use external, k8s or runbook",
        };
        Self::NotConfigured { adapter, hint: hint.to_owned() }
    }

    pub(super) fn target(adapter: AdapterName, reason: impl Into<String>) -> Self {
        Self::Target { adapter, reason: reason.into() }
    }

    /// Did it happen, and what next. What is not the platform's answer is refused for good.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match self {
            Self::Call(error) => error.fate(),
            Self::NotConfigured { .. }
            | Self::CarriedOutElsewhere(_)
            | Self::Target { .. }
            | Self::Stale(_)
            | Self::Conflict(_) => Fate::Rejected,
        }
    }
}

fn conflict(fields: &[FieldConflict]) -> String {
    let owned: Vec<String> =
        fields.iter().map(|FieldConflict { owner, field }| format!("{field} belongs to {owner:?}")).collect();
    format!(
        "another field manager owns what would be changed: {}; have it let go of the field, or name it in takeOverFrom",
        owned.join(", ")
    )
}
