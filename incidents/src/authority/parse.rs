//! Reading a policy file: its syntax, then every word against the schema.

use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

/// What is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// It is not written in Cedar.
    #[error("line {line}: {problem}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What Cedar says.
        problem: String,
    },
    /// A policy speaks of what there is not, or can never apply.
    #[error("line {line}: {problem}")]
    Schema {
        /// Counted from 1.
        line: usize,
        /// What Cedar says.
        problem: String,
    },
    /// Nobody could do anything.
    #[error("there is no policy in it: nobody could do anything")]
    Empty,
    /// Our own schema does not parse.
    #[error("the schema of this program is broken: {0}")]
    Program(String),
}

/// The policies of a file.
pub(super) fn policies(text: &str) -> Result<PolicySet, AccessError> {
    let (schema, _) = Schema::from_cedarschema_str(include_str!("schema.cedarschema"))
        .map_err(|error| AccessError::Program(error.to_string()))?;
    let policies: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        let first = errors.iter().next();
        let line = first.map_or(1, |error| line(text, error));
        AccessError::Syntax { line, problem: errors.to_string() }
    })?;
    if policies.is_empty() {
        return Err(AccessError::Empty);
    }
    let found = Validator::new(schema).validate(&policies, ValidationMode::Strict);
    if let Some(error) = found.validation_errors().next() {
        return Err(AccessError::Schema { line: line(text, error), problem: error.to_string() });
    }
    // A policy that can never apply is a typing mistake, too.
    if let Some(warning) = found.validation_warnings().next() {
        return Err(AccessError::Schema { line: line(text, warning), problem: warning.to_string() });
    }
    Ok(policies)
}

/// The line that an error is about.
fn line(text: &str, error: &dyn Diagnostic) -> usize {
    let offset = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
