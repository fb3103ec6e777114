//! The domain of Harmony: what an incident is, who may do what to it, and what the log says about it.
//!
//! Pure: no I/O, no clock, no randomness. Time comes in with every command; a refusal is a value. The store calls
//! [`judge`] inside its transaction, so the rules hold whoever asks: a workflow, the API or the command line.

#![deny(clippy::iter_over_hash_type, clippy::wildcard_enum_match_arm)]

pub mod approvals;
pub mod attestation;
pub mod authority;
pub mod clock;
pub mod command;
pub mod directory;
pub mod fold;
pub mod follow_up;
pub mod hand_over;
pub mod ids;
pub mod job_policy;
pub mod judge;
pub mod kept;
pub mod leading;
pub mod machine;
pub mod policy;
pub mod promotion;
pub mod record;
pub mod runs;
pub mod sentence;
pub mod similar;
pub mod stakeholders;
pub mod status;
pub mod story;
pub mod ticket;
pub mod timeline;
pub mod times;
pub mod visible;
pub mod words;
pub mod zone;

pub use authority::{Access, Right};
pub use command::{Answer, Command, Context, Refusal};
pub use directory::{Directory, Principal, Role};
pub use ids::{
    EffectScope, EnvironmentId, GateId, IncidentId, OrgId, ReleaseId, RunId, ServiceId, StreamId, Subject,
    WorkflowId, WorkflowType,
};
pub use judge::{Head, Judged, RuleSet, Rules, RulesSource, judge};
pub use policy::Policy;
pub use status::{GateStatus, HasStatus, LinkName, RunStatus, StepStatus};

pub use harmony_protos::log;
