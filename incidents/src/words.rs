//! The vocabularies of section 4 of the contract: the machine's own words, and the views others use for the same
//! thing. Views are accepted as input; which word is rendered depends on the field.

use std::borrow::Cow;

use harmony_protos::log::{
    ActionKind, ActorType, Authority, LogLevel, Phase, Relation, ReleaseStatus, ResolutionType, RunKind,
    Severity, SignalType, State,
};

/// A word that is in none of the vocabularies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not known; use one of {known}")]
pub struct UnknownWord {
    what: &'static str,
    value: String,
    known: Cow<'static, str>,
}

/// A word that is none of `known`.
pub fn unknown(what: &'static str, value: &str, known: impl Into<Cow<'static, str>>) -> UnknownWord {
    UnknownWord { what, value: value.chars().take(40).collect(), known: known.into() }
}

/// `P1`, `SEV1` or `critical`; upper or lower case.
pub fn severity(word: &str) -> Result<Severity, UnknownWord> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "p1" | "sev1" | "critical" => Severity::P1,
        "p2" | "sev2" | "high" => Severity::P2,
        "p3" | "sev3" | "medium" => Severity::P3,
        "p4" | "sev4" | "low" => Severity::P4,
        _ => {
            return Err(unknown(
                "severity",
                word,
                "P1, P2, P3, P4 (or SEV1..SEV4, critical, high, medium, low)",
            ));
        }
    })
}

/// The state named by the machine's own word.
pub fn state(word: &str) -> Result<State, UnknownWord> {
    State::from_str_name(&word.to_ascii_uppercase()).filter(|state| *state != State::Unspecified).ok_or_else(
        || unknown("state", word, "PENDING, OPEN, MITIGATING, RESOLVED, CLOSED, CANCELLED, ARCHIVED"),
    )
}

/// The catalog's words of a severity: `critical`, `high`, `medium`, `low`.
pub fn severity_view(severity: Severity) -> &'static str {
    match severity {
        Severity::P1 => "critical",
        Severity::P2 => "high",
        Severity::P3 => "medium",
        Severity::P4 => "low",
        Severity::Unspecified => "",
    }
}

/// The word of a release's status.
pub fn release_status(status: ReleaseStatus) -> &'static str {
    match status {
        ReleaseStatus::Draft => "Draft",
        ReleaseStatus::Promoting => "Promoting",
        ReleaseStatus::Active => "Active",
        ReleaseStatus::Failed => "Failed",
        ReleaseStatus::Unspecified => "",
    }
}

/// The word of a run's kind.
pub fn run_kind(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Deploy => "Deploy",
        RunKind::Promote => "Promote",
        RunKind::Unspecified => "",
    }
}

/// The word of a log line's level.
pub fn log_level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info | LogLevel::Unspecified => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

/// The word of how a release stands to an incident.
pub fn relation(relation: Relation) -> &'static str {
    match relation {
        Relation::Suspected => "suspected",
        Relation::Caused => "caused",
        Relation::Related => "related",
        Relation::Dismissed => "dismissed",
        Relation::Unspecified => "",
    }
}

/// How an incident was resolved.
pub fn resolution_type(word: &str) -> Result<ResolutionType, UnknownWord> {
    ResolutionType::from_str_name(&word.to_ascii_uppercase())
        .filter(|kind| *kind != ResolutionType::ResolutionUnspecified)
        .ok_or_else(|| unknown("resolution type", word, "FIXED, FALSE_POSITIVE, DUPLICATE, WONT_FIX"))
}

/// What kind of signal it is.
pub fn signal_type(word: &str) -> Result<SignalType, UnknownWord> {
    SignalType::from_str_name(&word.to_ascii_uppercase())
        .filter(|kind| *kind != SignalType::Unspecified)
        .ok_or_else(|| {
            unknown("signal type", word, "ALERT, METRIC, LOG, TRACE, EVENT, DEPLOYMENT, ANOMALY, CUSTOM")
        })
}

/// What kind of action somebody took. Changes of status and severity are recorded by their own commands.
pub fn action_kind(word: &str) -> Result<ActionKind, UnknownWord> {
    ActionKind::from_str_name(&word.to_ascii_uppercase())
        .filter(|kind| {
            ![ActionKind::Unspecified, ActionKind::StatusChange, ActionKind::SeverityChange].contains(kind)
        })
        .ok_or_else(|| {
            unknown(
                "action kind",
                word,
                "NOTE, INVESTIGATION, PLAYBOOK_STEP, MITIGATION, ROLLBACK, COMMUNICATION, ESCALATION, OTHER",
            )
        })
}

/// The word of a signal's type; empty where it has none.
pub fn signal_type_name(kind: SignalType) -> &'static str {
    if kind == SignalType::Unspecified { "" } else { kind.as_str_name() }
}

/// The word of an action's kind; empty where it has none.
pub fn action_kind_name(kind: ActionKind) -> &'static str {
    if kind == ActionKind::Unspecified { "" } else { kind.as_str_name() }
}

/// The word of an actor's type; empty where the record was folded before there were any.
pub fn actor_type_name(kind: ActorType) -> &'static str {
    if kind == ActorType::Unspecified { "" } else { kind.as_str_name() }
}

/// The phase as people read it.
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Unspecified => "none",
        Phase::Created => "created",
        Phase::Triaging => "triaging",
        Phase::Remediating => "remediating",
        Phase::Verifying => "verifying",
        Phase::Verified => "verified",
        Phase::Resolved => "resolved",
        Phase::PostMortem => "post-mortem",
        Phase::Closed => "closed",
    }
}

/// The `status` view: OPEN, INVESTIGATING, MITIGATED, RESOLVED or CANCELLED.
pub fn status(state: State, phase: Phase) -> &'static str {
    match state {
        State::Unspecified | State::Pending => "OPEN",
        State::Open | State::Mitigating if phase == Phase::Verified => "MITIGATED",
        State::Open | State::Mitigating => "INVESTIGATING",
        State::Resolved | State::Closed | State::Archived => "RESOLVED",
        State::Cancelled => "CANCELLED",
    }
}

/// A word of the `status` view, in upper or lower case.
pub fn status_word(word: &str) -> Result<&'static str, UnknownWord> {
    const WORDS: [&str; 5] = ["OPEN", "INVESTIGATING", "MITIGATED", "RESOLVED", "CANCELLED"];
    WORDS.into_iter().find(|known| known.eq_ignore_ascii_case(word)).ok_or_else(|| {
        unknown(
            "status",
            word,
            "OPEN, INVESTIGATING, MITIGATED, RESOLVED, CANCELLED (`state` takes the machine's words)",
        )
    })
}

/// The state that somebody means who sets a `status` word of the view; the machine's words mean themselves.
pub fn state_meant(word: &str) -> Result<State, UnknownWord> {
    match word.to_ascii_uppercase().as_str() {
        "INVESTIGATING" => Ok(State::Open),
        "MITIGATED" => Ok(State::Mitigating),
        _ => state(word),
    }
}

/// The name of an authority in errors and records.
pub fn authority_name(authority: Authority) -> &'static str {
    match authority {
        Authority::None => "none",
        Authority::AutoEngine => "AUTO_ENGINE",
        Authority::HumanOperator => "HUMAN_OPERATOR",
        Authority::OnCallSre => "ON_CALL_SRE",
        Authority::EmergencyOverride => "EMERGENCY_OVERRIDE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_and_words_mean_the_same_severity() {
        for (word, expected) in
            [("P1", Severity::P1), ("sev2", Severity::P2), ("medium", Severity::P3), ("LOW", Severity::P4)]
        {
            assert_eq!(severity(word), Ok(expected));
        }
        let error = severity("P9").unwrap_err().to_string();
        assert_eq!(
            error,
            "severity \"P9\" is not known; use one of P1, P2, P3, P4 (or SEV1..SEV4, critical, high, medium, low)"
        );
    }
}
