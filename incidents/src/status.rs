//! The statuses of gates, runs and steps, and the names of links. Each word that the log, the wire and the pages know
//! stands here once; the folded states, which protobuf declares as strings, are read and written through [`HasStatus`].

use harmony_protos::log::{BlueprintState, GateState, IncidentState, StepState};

/// An enum whose every value is one word in the log, on the wire and on pages.
#[macro_export]
macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize,
        )]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// The word in the log, on the wire and on pages.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::words::UnknownWord;
            fn from_str(word: &str) -> Result<Self, $crate::words::UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::words::unknown($what, word, [$($word),+].join(", "))),
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.write_str(self.name())
            }
        }

        impl From<$name> for String {
            fn from(status: $name) -> Self {
                status.name().to_owned()
            }
        }
    };
}

vocabulary! {
    /// How an approval gate stands. In the log a gate is pending, or has ended in one of five ways; the other two words
    /// are what workflows and verdicts say of it.
    GateStatus, "gate status" {
        /// A decision is awaited.
        Pending = "pending",
        /// A decision is awaited above the first level. The log says `pending`.
        Escalated = "escalated",
        /// Enough people said yes.
        Approved = "approved",
        /// Somebody said no.
        Rejected = "rejected",
        /// Somebody said to go on without it.
        Skipped = "skipped",
        /// Nobody decided before the last level's deadline.
        Timeout = "timeout",
        /// The decision is not needed any more.
        Cancelled = "cancelled",
        /// There is no gate.
        None = "none",
    }
}

impl GateStatus {
    /// What a decision makes of its gate, where it is the last that is asked for.
    pub const fn decided(approved: bool) -> Self {
        if approved { Self::Approved } else { Self::Rejected }
    }
}

vocabulary! {
    /// How a run of a blueprint stands.
    RunStatus, "run status" {
        /// It goes on, as far as the log knows.
        Running = "RUNNING",
        /// It was lost and is being started again, as the same attempt.
        Resuming = "RESUMING",
        /// It is gone without an end.
        Orphaned = "ORPHANED",
        /// It did what was asked.
        Completed = "COMPLETED",
        /// Its gate was not approved.
        Rejected = "REJECTED",
        /// It was stopped.
        Cancelled = "CANCELLED",
        /// It was not legal, or not for this starter.
        Refused = "REFUSED",
        /// It was tried and did not work.
        Failed = "FAILED",
    }
}

impl RunStatus {
    /// Whether the attempt has a run, or is about to have one again.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Resuming)
    }
}

vocabulary! {
    /// How a step of a run stands. The log knows only how it ended.
    StepStatus, "step status" {
        /// It is under way.
        Running = "RUNNING",
        /// It was carried out.
        Succeeded = "SUCCEEDED",
        /// It was tried and did not work.
        Failed = "FAILED",
        /// It was left out.
        Skipped = "SKIPPED",
    }
}

vocabulary! {
    /// A thing of an incident at a vendor, as the step that made it names it on record.
    LinkName, "link" {
        /// Slack's id of the incident's channel.
        SlackChannel = "slackChannel",
        /// That channel's name, without `#`.
        SlackChannelName = "slackChannelName",
        /// `true` once it is archived.
        SlackChannelArchived = "slackChannelArchived",
        /// A message in it.
        SlackMessageTs = "slackMessageTs",
        /// The incident at PagerDuty.
        PagerdutyIncidentId = "pagerdutyIncidentId",
        /// The page about a gate; ends with its level.
        PagerdutyPageId = "pagerdutyPageId",
        /// A page that ends with the incident: about a raised severity, or a candidate.
        PagerdutySeverityPageId = "pagerdutySeverityPageId",
        /// The incident at Statuspage.
        StatuspageIncidentId = "statuspageIncidentId",
        /// How it stands there.
        StatuspageStatus = "statuspageStatus",
        /// The space of the published review.
        ConfluenceSpaceKey = "confluenceSpaceKey",
        /// The published review.
        ConfluencePageId = "confluencePageId",
        /// Its address.
        ConfluencePageUrl = "confluencePageUrl",
    }
}

/// The value of an incident's link.
pub fn link(state: &IncidentState, name: LinkName) -> Option<&str> {
    state.links.iter().find(|link| link.name == name.name()).map(|link| link.value.as_str())
}

/// A folded state whose field `status` holds the word of an enum.
pub trait HasStatus {
    /// The enum.
    type Status: Copy + PartialEq;

    /// The status; `None` for a word that this build does not know, which therefore counts as none of them.
    fn status(&self) -> Option<Self::Status>;

    /// Writes the status's word.
    fn set_status(&mut self, status: Self::Status);

    /// Whether this is its status.
    fn is(&self, status: Self::Status) -> bool {
        self.status() == Some(status)
    }
}

macro_rules! has_status {
    ($($state:ident: $status:ident),+) => {
        $(impl HasStatus for $state {
            type Status = $status;
            fn status(&self) -> Option<$status> {
                self.status.parse().ok()
            }
            fn set_status(&mut self, status: $status) {
                self.status = status.into();
            }
        })+
    };
}
has_status!(GateState: GateStatus, BlueprintState: RunStatus, StepState: StepStatus);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_another_build_is_none_of_the_statuses() {
        let mut gate = GateState { status: "paused".to_owned(), ..GateState::default() };
        assert_eq!(gate.status(), None);
        assert!(!gate.is(GateStatus::Pending) && !gate.is(GateStatus::Approved));
        gate.set_status(GateStatus::Timeout);
        assert_eq!((gate.status.as_str(), gate.status()), ("timeout", Some(GateStatus::Timeout)));
        assert_eq!(
            "paused".parse::<GateStatus>().unwrap_err().to_string(),
            "gate status \"paused\" is not known; use one of pending, escalated, approved, rejected, skipped, timeout, \
             cancelled, none"
        );
    }
}
