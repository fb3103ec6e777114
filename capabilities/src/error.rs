//! How a call to a vendor can fail.
//!
//! Every connector answers the same two questions about a failure: did it happen, and what next
//! ([`Fate`]). The activity that made the call turns the answer into Temporal's retryable or
//! final failure; nothing here retries or sleeps.
//!
//! The message holds the vendor's own words, cut short. A whole answer is never kept, and
//! whoever builds a [`CallError`] takes the credentials out first
//! (`transport::Transport::refusal` does).

use std::fmt;
use std::time::Duration;

/// The longest message that is kept: enough for every refusal seen, too short for a whole body.
const MESSAGE_CHARS: usize = 500;

/// What became of a call that failed, and what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The vendor refused; the same call will be refused again.
    Rejected,
    /// The vendor does not accept our credentials, or they may not do this.
    Unauthorized,
    /// Too many calls; nothing happened. Again after the time the vendor gave, if it gave one.
    Limited {
        /// The vendor's `Retry-After`, or its like.
        retry_after: Option<Duration>,
    },
    /// It surely did not happen: try again.
    Unavailable,
    /// It may have happened: look before trying again ([`Attempt::Again`]).
    Unknown,
}

/// A call that failed: whose, which, how, and in the vendor's words why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    vendor: &'static str,
    operation: &'static str,
    fate: Fate,
    status: Option<u16>,
    /// Invariant: at most [`MESSAGE_CHARS`] characters, none of them a control character.
    message: String,
}

impl CallError {
    /// A failure of `operation` (such as `incidents.create`) at `vendor` (such as `Statuspage`).
    /// `status` is the HTTP status, where there was an answer.
    #[must_use]
    pub fn new(
        vendor: &'static str,
        operation: &'static str,
        fate: Fate,
        status: Option<u16>,
        message: impl AsRef<str>,
    ) -> Self {
        Self { vendor, operation, fate, status, message: shorten(message.as_ref()) }
    }

    /// The vendor, as people call it.
    #[must_use]
    pub fn vendor(&self) -> &'static str {
        self.vendor
    }

    /// The operation, as the vendor calls it.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// Did it happen, and what next.
    #[must_use]
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// The same failure where a part of the effect is there already: the next try has to look first.
    #[must_use]
    pub fn after_a_part(self) -> Self {
        Self { fate: Fate::Unknown, ..self }
    }

    /// The HTTP status, where the vendor answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The vendor's own words, or the transport's where the vendor said nothing.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vendor, operation, .. } = self;
        match self.fate {
            Fate::Rejected => write!(f, "{vendor} refused {operation}:")?,
            Fate::Unauthorized => {
                write!(f, "{vendor} does not accept our credentials for {operation}:")?;
            }
            Fate::Limited { retry_after: Some(wait) } => {
                write!(f, "{vendor} asks to wait {} s before {operation}:", wait.as_secs_f64().ceil())?
            }
            Fate::Limited { retry_after: None } => {
                write!(f, "{vendor} asks for fewer calls of {operation}:")?;
            }
            Fate::Unavailable => write!(f, "{vendor} did not carry out {operation}:")?,
            Fate::Unknown => write!(f, "{vendor} may or may not have carried out {operation}:")?,
        }
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for CallError {}

/// Whether this call may be a repetition of one whose fate is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Nobody has tried this before: act at once.
    First,
    /// Somebody may have: look for the effect with this key before acting.
    Again,
}

fn shorten(message: &str) -> String {
    let clean = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = clean.clone().take(MESSAGE_CHARS).collect();
    if clean.count() > MESSAGE_CHARS {
        short.pop();
        short.push('…');
    }
    short.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_tells_vendor_operation_status_and_words() {
        let error = |fate| {
            CallError::new("Statuspage", "incidents.create", fate, Some(422), "name too long").to_string()
        };
        assert_eq!(error(Fate::Rejected), "Statuspage refused incidents.create: 422 name too long");
        assert_eq!(
            error(Fate::Limited { retry_after: Some(Duration::from_millis(1500)) }),
            "Statuspage asks to wait 2 s before incidents.create: 422 name too long"
        );
        assert_eq!(
            error(Fate::Unknown),
            "Statuspage may or may not have carried out incidents.create: 422 name too long"
        );
    }

    #[test]
    fn message_is_cut_and_has_no_control_characters() {
        let long = format!("first\nsecond {}", "ü".repeat(600));
        let error = CallError::new("Slack", "pins.add", Fate::Rejected, None, long);
        assert_eq!(error.message().chars().count(), 500);
        assert!(error.message().starts_with("first second ü"));
        assert!(error.message().ends_with('…'));
    }
}
