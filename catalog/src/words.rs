//! The catalog's words for the enums that the log declares, as JSON and people write them, and the small vocabularies
//! that the log keeps as text.
//!
//! A word is accepted in upper and lower case and rendered in one way.

use harmony_incidents::{
    log::{LogLevel, Relation, ReleaseStatus, RunKind, Severity},
    vocabulary,
    words::{self, UnknownWord, unknown},
};

/// What the ids of services begin with that are there for drills: their releases count in no figure.
pub const PRACTICE_PREFIX: &str = "drill-";

/// Reads and writes an enum of the log by its word: a function that parses it, and a module for `#[serde(with)]`.
macro_rules! wire_words {
    ($(#[$doc:meta])* $name:ident: $enum:ident, $what:literal, $word:path, [$($variant:ident),+]) => {
        $(#[$doc])*
        pub fn $name(word: &str) -> Result<$enum, UnknownWord> {
            let known = [$($enum::$variant),+];
            known
                .into_iter()
                .find(|one| $word(*one).eq_ignore_ascii_case(word))
                .ok_or_else(|| unknown($what, word, known.map($word).join(", ")))
        }

        pub(crate) mod $name {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            use super::$enum;
            pub(crate) fn serialize<S: Serializer>(value: &$enum, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($word(*value))
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$enum, D::Error> {
                super::$name(&String::deserialize(deserializer)?).map_err(Error::custom)
            }
        }
    };
}

wire_words! {
    /// The status of a release: `Draft`, `Promoting`, `Active` or `Failed`.
    release_status: ReleaseStatus, "release status", harmony_incidents::words::release_status,
    [Draft, Promoting, Active, Failed]
}
wire_words! {
    /// The kind of a run: `Deploy` or `Promote`.
    run_kind: RunKind, "kind of run", harmony_incidents::words::run_kind, [Deploy, Promote]
}
wire_words! {
    /// The level of a log line: `debug`, `info`, `warn` or `error`.
    log_level: LogLevel, "log level", harmony_incidents::words::log_level, [Debug, Info, Warn, Error]
}
wire_words! {
    /// How a release stands to an incident: `suspected`, `caused`, `related` or `dismissed`.
    relation: Relation, "relation", harmony_incidents::words::relation, [Suspected, Caused, Related, Dismissed]
}

/// A severity as the catalog writes it: `low`, `medium`, `high` or `critical`; every other word for one is accepted.
pub(crate) mod severity {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{Severity, words};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    pub(crate) fn serialize<S: Serializer>(value: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(words::severity_view(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Severity, D::Error> {
        words::severity(&String::deserialize(deserializer)?).map_err(Error::custom)
    }
}

vocabulary! {
    /// Which door told of a release.
    Source, "source" {
        /// Our own: the API, GraphQL, the console, the command line.
        Api = "api",
        /// GitHub's webhooks.
        Github = "github",
        /// GitLab's webhooks.
        Gitlab = "gitlab",
        /// Argo CD's notifications.
        Argocd = "argocd",
        /// CDEvents over CloudEvents.
        Cdevents = "cdevents",
        /// PagerDuty's change events.
        Pagerduty = "pagerduty",
    }
}

vocabulary! {
    /// How a run of a release ended.
    RunOutcome, "run outcome" {
        /// The release is active.
        Succeeded = "succeeded",
        /// It was tried and did not work.
        Failed = "failed",
        /// A policy or a gate said no before anything was changed.
        Refused = "refused",
        /// Somebody stopped it.
        Cancelled = "cancelled",
        /// A dry run: what would be done is known, and nothing was changed.
        Planned = "planned",
    }
}

vocabulary! {
    /// What an environment's policies said to a run, taken together.
    PolicyOutcome, "policy outcome" {
        /// It goes on.
        Proceed = "proceed",
        /// It goes on once a gate was approved.
        Gate = "gate",
        /// It waits until they open.
        Wait = "wait",
        /// It may not go on.
        Refuse = "refuse",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case_and_an_unknown_one_is_told_the_others() {
        assert_eq!(release_status("active"), Ok(ReleaseStatus::Active));
        assert_eq!(run_kind("Promote"), Ok(RunKind::Promote));
        assert_eq!(log_level("WARN"), Ok(LogLevel::Warn));
        assert_eq!(relation("caused"), Ok(Relation::Caused));
        assert_eq!(
            release_status("Live").unwrap_err().to_string(),
            "release status \"Live\" is not known; use one of Draft, Promoting, Active, Failed"
        );
        assert!(release_status("").is_err());
    }
}
