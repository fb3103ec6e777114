//! Why a decision on a gate does not count: the word that stands on record, the sentence beside it, and the HTTP status
//! that a door answers with. A new refusal is a variant here and the place that raises it.

use harmony_protos::log::GateState;

use crate::{
    authority::Denied,
    directory::Role,
    status::{GateStatus, HasStatus},
};

/// The word of a refusal. It stands before the colon in verdicts and by itself in records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusalReason {
    /// The attestation does not hold.
    Attestation,
    /// The glass may not be broken, or not so.
    BreakGlass,
    /// The gate was cancelled.
    Cancelled,
    /// The gate, or this person's part in it, was decided before.
    Duplicate,
    /// No gate is pending yet.
    Early,
    /// Too many were refused to record each.
    Flood,
    /// The gate's time was over.
    Late,
    /// It cannot be read, or contradicts itself.
    Malformed,
    /// It was sent straight to Temporal, which the policy refuses.
    Manual,
    /// The person has no role that this level takes.
    MissingRole,
    /// It is about something else than what is asked now.
    Stale,
    /// The directory does not know the person.
    UnknownApprover,
    /// A policy file forbids it, in a word of its own.
    Policy(String),
}

impl RefusalReason {
    /// The reason that a record's word, or the beginning of a verdict's text, names.
    pub fn of(text: &str) -> Self {
        match text.split_once(": ").map_or(text, |(word, _)| word) {
            "attestation" => Self::Attestation,
            "break-glass" => Self::BreakGlass,
            "cancelled" => Self::Cancelled,
            "duplicate" => Self::Duplicate,
            "early" => Self::Early,
            "flood" => Self::Flood,
            "late" => Self::Late,
            "malformed" => Self::Malformed,
            "manual" => Self::Manual,
            "missing-role" => Self::MissingRole,
            "stale" => Self::Stale,
            "unknown-approver" => Self::UnknownApprover,
            other => Self::Policy(other.to_owned()),
        }
    }

    /// The word.
    pub fn name(&self) -> &str {
        match self {
            Self::Attestation => "attestation",
            Self::BreakGlass => "break-glass",
            Self::Cancelled => "cancelled",
            Self::Duplicate => "duplicate",
            Self::Early => "early",
            Self::Flood => "flood",
            Self::Late => "late",
            Self::Malformed => "malformed",
            Self::Manual => "manual",
            Self::MissingRole => "missing-role",
            Self::Stale => "stale",
            Self::UnknownApprover => "unknown-approver",
            Self::Policy(word) => word,
        }
    }

    /// The HTTP status of a decision that is refused for it: 409 where the gate has moved on or is not there yet, 422
    /// where the decision itself is wrong, 403 where this person may not make it.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Cancelled | Self::Duplicate | Self::Early | Self::Late | Self::Stale => 409,
            Self::Malformed => 422,
            Self::Attestation
            | Self::BreakGlass
            | Self::Flood
            | Self::Manual
            | Self::MissingRole
            | Self::UnknownApprover
            | Self::Policy(_) => 403,
        }
    }
}

/// One refusal of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GateRefusal {
    Unreadable(String),
    ReasonTooLong,
    JustificationTooLong,
    NamesNoGate,
    JustificationWithoutGlass,
    Forged,
    SentByHand,
    UnknownApprover,
    NoGatePending,
    AnotherGatePending,
    GateNotPending,
    AnotherDigest,
    AfterDeadline,
    TimeOver,
    NotNeeded,
    NothingToSkip,
    NoteMissing,
    DecidedAlready { by: String, status: String },
    ApprovedAlready,
    LevelNeeds(String),
    GlassNeedsOnCall,
    GlassByHand,
    GlassToReject,
    GlassForbidden,
    GlassWithoutUrgency,
    GlassWithoutJustification,
    Forbidden { because: String, explanation: String },
}

impl GateRefusal {
    /// Why a gate that is no longer pending takes no decision.
    pub(crate) fn settled(gate: &GateState) -> Self {
        match gate.status() {
            Some(GateStatus::Timeout) => Self::TimeOver,
            Some(GateStatus::Cancelled) => Self::NotNeeded,
            Some(
                GateStatus::Pending
                | GateStatus::Escalated
                | GateStatus::Approved
                | GateStatus::Rejected
                | GateStatus::Skipped
                | GateStatus::None,
            )
            | None => Self::DecidedAlready { by: gate.decided_by.clone(), status: gate.status.clone() },
        }
    }

    /// Why the policies do not let somebody decide at a level of these roles.
    pub(crate) fn denied(denied: Denied, break_glass: bool, roles: &[String]) -> Self {
        match denied {
            Denied::Forbidden { because, explanation } => Self::Forbidden { because, explanation },
            Denied::NotPermitted if break_glass => Self::GlassNeedsOnCall,
            Denied::NotPermitted => Self::LevelNeeds(roles.join(" or ")),
        }
    }

    pub(crate) fn reason(&self) -> RefusalReason {
        match self {
            Self::Unreadable(_)
            | Self::ReasonTooLong
            | Self::JustificationTooLong
            | Self::NamesNoGate
            | Self::NothingToSkip
            | Self::NoteMissing
            | Self::JustificationWithoutGlass => RefusalReason::Malformed,
            Self::Forged => RefusalReason::Attestation,
            Self::SentByHand => RefusalReason::Manual,
            Self::UnknownApprover => RefusalReason::UnknownApprover,
            Self::NoGatePending => RefusalReason::Early,
            Self::AnotherGatePending | Self::GateNotPending | Self::AnotherDigest => RefusalReason::Stale,
            Self::AfterDeadline | Self::TimeOver => RefusalReason::Late,
            Self::NotNeeded => RefusalReason::Cancelled,
            Self::DecidedAlready { .. } | Self::ApprovedAlready => RefusalReason::Duplicate,
            Self::LevelNeeds(_) | Self::GlassNeedsOnCall => RefusalReason::MissingRole,
            Self::GlassByHand
            | Self::GlassToReject
            | Self::GlassForbidden
            | Self::GlassWithoutUrgency
            | Self::GlassWithoutJustification => RefusalReason::BreakGlass,
            Self::Forbidden { because, .. } => RefusalReason::of(because),
        }
    }

    pub(crate) fn explanation(&self) -> String {
        match self {
            Self::Unreadable(problem) => return problem.clone(),
            Self::LevelNeeds(roles) => return format!("this level needs {roles}"),
            Self::DecidedAlready { by, status } => return format!("decided already by {by} ({status})"),
            Self::GlassNeedsOnCall => return format!("breaking the glass needs {}", Role::OnCall.name()),
            Self::Forbidden { explanation, .. } => return explanation.clone(),
            Self::ReasonTooLong => "its reason has more than 64 KiB",
            Self::JustificationTooLong => "its justification has more than 64 KiB",
            Self::NamesNoGate => "an attested decision names its gate and digest",
            Self::JustificationWithoutGlass => {
                "only breaking the glass takes a justification; give a reason"
            }
            Self::Forged => "its attestation does not hold for this decision",
            Self::SentByHand => {
                "decisions sent straight to Temporal are not accepted here: use the console, Slack or harmony approval"
            }
            Self::UnknownApprover => "nobody of this id is in the directory",
            Self::NoGatePending => "no gate is pending",
            Self::AnotherGatePending => "another gate is pending now",
            Self::GateNotPending => "this gate is not pending",
            Self::AnotherDigest => "the digest is not that of what is asked now",
            Self::AfterDeadline => "it was decided after the deadline",
            Self::TimeOver => "its time is over",
            Self::NotNeeded => "nobody needs to decide this any more",
            Self::NothingToSkip => {
                "only a cell of which nobody knows whether it ran can be skipped; approve or reject this"
            }
            Self::NoteMissing => "a manual step is confirmed with a note: give a reason that says what was done",
            Self::ApprovedAlready => "they have approved it already: somebody else must, too",
            Self::GlassByHand => "the glass is broken only through the console's API and harmony approval",
            Self::GlassToReject => "only an approval breaks the glass",
            Self::GlassForbidden => "the policy forbids it",
            Self::GlassWithoutUrgency => "only a P1 or P2 allows it",
            Self::GlassWithoutJustification => "it needs a justification of at least 20 characters",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_of_a_verdict_decides_the_status() {
        for (text, status) in [
            ("stale: another gate is pending now", 409),
            ("late: its time is over", 409),
            ("malformed: not JSON", 422),
            ("missing-role: this level needs sre-oncall", 403),
            ("four-eyes: who asked for it may not approve it", 403),
            ("office-hours: a policy of the installation", 403),
        ] {
            let reason = RefusalReason::of(text);
            assert_eq!(reason.http_status(), status, "{text}");
            assert!(text.starts_with(&format!("{}: ", reason.name())), "{text}");
        }
    }
}
