//! What a command ends with when it does not succeed: one line of what, one line of what to do, and an exit code.
//!
//! Anything else that goes wrong is an `anyhow::Error` with its chain and ends with [`Exit::Failed`].

use std::process::ExitCode;

use crate::output;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Tried and did not work.
    Failed,
    /// Bad usage or input.
    Usage,
    /// Refused by policy.
    Refused,
    /// No such thing.
    NotFound,
}

impl Exit {
    /// The number that scripts see.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::NotFound => 4,
        }
    }

    /// What it is called in a problem document.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Failed => "Failed",
            Self::Usage => "Bad usage or input",
            Self::Refused => "Refused by policy",
            Self::NotFound => "Not found",
        }
    }

    /// What an HTTP status of the API means for a command.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            400 | 422 => Self::Usage,
            401 | 403 | 409 | 412 => Self::Refused,
            404 => Self::NotFound,
            _ => Self::Failed,
        }
    }
}

/// A failure that knows what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// One line.
    pub(crate) what: String,
    /// One line: what to do.
    pub(crate) hint: String,
}

impl Failure {
    /// It did not work.
    pub(crate) fn failed(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, what: what.into(), hint: hint.into() }
    }

    /// The configuration or the input is wrong.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, what: what.into(), hint: hint.into() }
    }

    /// There is no such thing.
    pub(crate) fn not_found(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::NotFound, what: what.into(), hint: hint.into() }
    }
}

impl From<anyhow::Error> for Failure {
    /// The failure that this error is, or one that shows its whole chain.
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(error) => Self::usage(format!("{error:#}"), "correct it and look again"),
        }
    }
}

/// Several failures that were found together; each is told by itself.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|one| one.what.as_str()).collect::<Vec<_>>().join("; "))]
pub(crate) struct Failures(Vec<Failure>);

impl From<Failure> for Failures {
    fn from(failure: Failure) -> Self {
        Self(vec![failure])
    }
}

impl From<anyhow::Error> for Failures {
    fn from(error: anyhow::Error) -> Self {
        Failure::from(error).into()
    }
}

impl From<Failures> for Vec<Failure> {
    fn from(failures: Failures) -> Self {
        failures.0
    }
}

impl Failures {
    /// Good where there is none.
    pub(crate) fn none(found: Vec<Failure>) -> Result<(), Self> {
        if found.is_empty() { Ok(()) } else { Err(Self(found)) }
    }

    /// Tells each.
    pub(crate) fn tell(found: &[Failure]) {
        for failure in found {
            output::problem(failure.exit, &failure.what, &failure.hint);
        }
    }
}

/// What an error comes from in the end, without everything that passed it on.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Prints an error once, with its whole chain, and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(Failures(all)) = error.downcast_ref::<Failures>() {
        Failures::tell(all);
        return ExitCode::from(all.first().map_or(Exit::Failed, |failure| failure.exit).code());
    }
    let failure = error.downcast_ref::<Failure>();
    let (exit, hint) = match failure {
        Some(failure) => (failure.exit, failure.hint.clone()),
        None => (Exit::Failed, "set HARMONY_LOG=debug and try again to see more".to_owned()),
    };
    output::problem(exit, &format!("{error:#}"), &hint);
    ExitCode::from(exit.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_the_api_become_exit_codes() {
        for (status, code) in
            [(400, 2), (422, 2), (401, 3), (403, 3), (409, 3), (404, 4), (429, 1), (500, 1), (503, 1)]
        {
            assert_eq!(Exit::of_status(status).code(), code, "{status}");
        }
    }

    #[test]
    fn a_failure_keeps_its_exit_code_behind_added_context() {
        let error = anyhow::Error::from(Failure::not_found("no INC-2026-0001", "list them"));
        let error = error.context("showing it");
        assert_eq!(error.downcast_ref::<Failure>().map(|failure| failure.exit), Some(Exit::NotFound));
    }
}
