//! The handle by which an environment names a policy: `policy:<kind>:<name>`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest name of a policy.
const NAME_CHARS: usize = 64;

/// What a policy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// Releases go out inside it, and not outside it.
    ChangeWindow,
    /// Releases do not go out while it lasts.
    Freeze,
    /// Releases go out once people approve.
    Approval,
}

impl PolicyKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::ChangeWindow, Self::Freeze, Self::Approval];

    /// The word in a reference and in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChangeWindow => "change-window",
            Self::Freeze => "freeze",
            Self::Approval => "approval",
        }
    }
}

/// Names a policy file, whatever its version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PolicyRef {
    kind: PolicyKind,
    /// Invariant: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    name: String,
}

/// Text that is no reference to a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefError {
    /// Not of the form.
    #[error("expected policy:<kind>:<name>, such as policy:change-window:weekday")]
    Form,
    /// No such kind.
    #[error("{0:?} is no kind of policy: change-window, freeze or approval")]
    Kind(String),
    /// A name that no file can have.
    #[error("a policy's name is 1 to {NAME_CHARS} of A-Z a-z 0-9 . _ -")]
    Name,
}

impl PolicyRef {
    /// The reference to a policy of this kind and name.
    pub fn new(kind: PolicyKind, name: &str) -> Result<Self, PolicyRefError> {
        let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > NAME_CHARS || !name.bytes().all(is_ours) {
            return Err(PolicyRefError::Name);
        }
        Ok(Self { kind, name: name.to_owned() })
    }

    /// What the policy does.
    pub fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// Its name among those of its kind.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for PolicyRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "policy:{}:{}", self.kind.name(), self.name)
    }
}

impl FromStr for PolicyRef {
    type Err = PolicyRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("policy:").ok_or(PolicyRefError::Form)?;
        let (kind, name) = rest.split_once(':').ok_or(PolicyRefError::Form)?;
        let known = PolicyKind::ALL.into_iter().find(|known| known.name() == kind);
        Self::new(known.ok_or_else(|| PolicyRefError::Kind(kind.to_owned()))?, name)
    }
}

impl TryFrom<String> for PolicyRef {
    type Error = PolicyRefError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PolicyRef> for String {
    fn from(reference: PolicyRef) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_reads_as_it_is_written() {
        for text in ["policy:change-window:weekday", "policy:freeze:year-end", "policy:approval:a.b_C-9"] {
            assert_eq!(text.parse::<PolicyRef>().unwrap().to_string(), text);
            assert_eq!(serde_json::to_value(text.parse::<PolicyRef>().unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn anything_else_says_what_is_expected() {
        let long = format!("policy:freeze:{}", "a".repeat(65));
        for (text, expected) in [
            ("", PolicyRefError::Form),
            ("weekday", PolicyRefError::Form),
            ("policy:freeze", PolicyRefError::Form),
            ("Policy:freeze:a", PolicyRefError::Form),
            ("policy:thaw:a", PolicyRefError::Kind("thaw".to_owned())),
            ("policy:freeze:", PolicyRefError::Name),
            ("policy:freeze:a:b", PolicyRefError::Name),
            ("policy:freeze:../a", PolicyRefError::Name),
            (long.as_str(), PolicyRefError::Name),
        ] {
            assert_eq!(text.parse::<PolicyRef>(), Err(expected), "{text:?}");
        }
    }
}
