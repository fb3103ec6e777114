//! Where a setting comes from: flag, environment, `harmony.toml`, default, in this order.
//!
//! The file holds the same names as the environment, in upper or lower case. It is strict: an unknown name is an
//! error that names it, so that a typing mistake does not silently leave a default in force. An empty value counts as
//! not set.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// The file, unless `HARMONY_CONFIG` names another.
pub(crate) const FILE: &str = "harmony.toml";

/// Every setting there is. The second word tells whether its value is a secret.
pub(crate) const KEYS: &[(&str, Kind)] = &[
    ("CONFLUENCE_API_TOKEN", Kind::Secret),
    ("CONFLUENCE_BASE_URL", Kind::Open),
    ("CONFLUENCE_EMAIL", Kind::Open),
    ("CONFLUENCE_SPACE_KEY", Kind::Open),
    ("DATABASE_URL", Kind::Secret),
    ("FLAGD_HOST", Kind::Open),
    ("FLAGD_OFFLINE_FLAG_SOURCE_PATH", Kind::Open),
    ("FLAGD_PORT", Kind::Open),
    ("FLAGD_SERVER_CERT_PATH", Kind::Open),
    ("FLAGD_TLS", Kind::Open),
    ("GITHUB_BASE_URL", Kind::Open),
    ("GITHUB_REPOSITORY", Kind::Open),
    ("GITHUB_TOKEN", Kind::Secret),
    ("HARMONY_ACCESS_POLICIES", Kind::Open),
    ("HARMONY_ALERTMANAGER_SECRET", Kind::Secret),
    ("HARMONY_API", Kind::Open),
    ("HARMONY_ARGOCD_SECRET", Kind::Secret),
    ("HARMONY_ATTESTATION_KEY", Kind::Secret),
    ("HARMONY_BUILD_ID", Kind::Open),
    ("HARMONY_CHANGES_KEY", Kind::Secret),
    ("HARMONY_CHECKPOINT_DIR", Kind::Open),
    ("HARMONY_CHECKPOINT_KEY", Kind::Secret),
    ("HARMONY_CONSOLE_URL", Kind::Open),
    ("HARMONY_DATABASE_POOL", Kind::Open),
    ("HARMONY_DATA_DIR", Kind::Open),
    ("HARMONY_DEPLOYMENT", Kind::Open),
    ("HARMONY_DEPLOY_WORKFLOWS", Kind::Open),
    ("HARMONY_DIRECTORY", Kind::Open),
    ("HARMONY_ENVIRONMENT_POLICIES", Kind::Open),
    ("HARMONY_EVENTBRIDGE_BUS", Kind::Open),
    ("HARMONY_EVENTS_SECRET", Kind::Secret),
    ("HARMONY_GITHUB_SECRET", Kind::Secret),
    ("HARMONY_GITLAB_SECRET", Kind::Secret),
    ("HARMONY_GRAFANA_SECRET", Kind::Secret),
    ("HARMONY_HTTP_ADDR", Kind::Open),
    ("HARMONY_KUBECONFIG", Kind::Open),
    ("HARMONY_KUBERNETES_CLUSTER", Kind::Open),
    ("HARMONY_LOG", Kind::Open),
    ("HARMONY_LOG_FORMAT", Kind::Open),
    ("HARMONY_MAIL_FROM", Kind::Open),
    ("HARMONY_METRICS_ADDR", Kind::Open),
    ("HARMONY_OIDC_AUDIENCE", Kind::Open),
    ("HARMONY_OIDC_CLIENT_ID", Kind::Open),
    ("HARMONY_OIDC_CLIENT_SECRET", Kind::Secret),
    ("HARMONY_OIDC_ISSUER", Kind::Open),
    ("HARMONY_OIDC_PRINCIPAL_CLAIM", Kind::Open),
    ("HARMONY_OIDC_ROLES_CLAIM", Kind::Open),
    ("HARMONY_OIDC_SCOPES", Kind::Open),
    ("HARMONY_ORG", Kind::Open),
    ("HARMONY_OUTPUTS", Kind::Open),
    ("HARMONY_POLICY", Kind::Open),
    ("HARMONY_PROMOTION_POLICIES", Kind::Open),
    ("HARMONY_REQUESTS_PER_SECOND", Kind::Open),
    ("HARMONY_REQUEST_TIMEOUT", Kind::Open),
    ("HARMONY_REVIEW_TEMPLATE", Kind::Open),
    ("HARMONY_RUNBOOKS", Kind::Open),
    ("HARMONY_RUNBOOK_CLUSTER", Kind::Open),
    ("HARMONY_RUNBOOK_LANDLOCK", Kind::Open),
    ("HARMONY_RUNBOOK_NAMESPACE", Kind::Open),
    ("HARMONY_RUNBOOK_SECRETS", Kind::Open),
    ("HARMONY_SALT_KEY", Kind::Secret),
    ("HARMONY_SESSION_KEY", Kind::Secret),
    ("HARMONY_SMTP_CA_PATH", Kind::Open),
    ("HARMONY_SMTP_PASSWORD", Kind::Secret),
    ("HARMONY_SMTP_URL", Kind::Secret),
    ("HARMONY_TEMPORAL_CLI", Kind::Open),
    ("HARMONY_TEMPORAL_COMPRESSION", Kind::Open),
    ("HARMONY_TEMPORAL_UI", Kind::Open),
    ("HARMONY_TICKET_KEY", Kind::Secret),
    ("HARMONY_TICKET_PUBLIC_KEY", Kind::Open),
    ("HARMONY_TOKEN", Kind::Secret),
    ("HARMONY_UPDATE_TEMPLATES", Kind::Open),
    ("HARMONY_WEBHOOKS", Kind::Secret),
    ("HARMONY_WEBHOOK_SECRETS", Kind::Secret),
    ("JIRA_API_TOKEN", Kind::Secret),
    ("JIRA_BASE_URL", Kind::Open),
    ("JIRA_EMAIL", Kind::Open),
    ("JIRA_ISSUE_TYPE", Kind::Open),
    ("JIRA_PROJECT_KEY", Kind::Open),
    ("JIRA_WEBHOOK_SECRET", Kind::Secret),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", Kind::Open),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", Kind::Open),
    ("PAGERDUTY_API_KEY", Kind::Secret),
    ("PAGERDUTY_BASE_URL", Kind::Open),
    ("PAGERDUTY_FROM", Kind::Open),
    ("PAGERDUTY_SERVICE_ID", Kind::Open),
    ("PAGERDUTY_WEBHOOK_SECRET", Kind::Secret),
    ("SLACK_APP_TOKEN", Kind::Secret),
    ("SLACK_BASE_URL", Kind::Open),
    ("SLACK_BOT_TOKEN", Kind::Secret),
    ("SLACK_SIGNING_SECRET", Kind::Secret),
    ("STATUSPAGE_API_KEY", Kind::Secret),
    ("STATUSPAGE_BASE_URL", Kind::Open),
    ("STATUSPAGE_PAGE_ID", Kind::Open),
    ("TEMPORAL_ADDRESS", Kind::Open),
    ("TEMPORAL_API_KEY", Kind::Secret),
    ("TEMPORAL_NAMESPACE", Kind::Open),
    ("TEMPORAL_TLS", Kind::Open),
    ("TEMPORAL_TLS_CLIENT_CERT_PATH", Kind::Open),
    ("TEMPORAL_TLS_CLIENT_KEY_PATH", Kind::Open),
    ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", Kind::Open),
    ("TEMPORAL_TLS_SERVER_NAME", Kind::Open),
];

/// Whether a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Yes.
    Open,
    /// Never; only that it is set.
    Secret,
}

/// Which source won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// On the command line.
    Flag,
    /// In the environment.
    Environment,
    /// In `harmony.toml`.
    File,
}

impl Source {
    /// As `config check` says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => FILE,
        }
    }
}

/// All settings that somebody gave.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    /// Invariant: every key is one of [`KEYS`], every value is not empty.
    values: BTreeMap<&'static str, (String, Source)>,
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
    /// What is wrong with the file; what is right in it counts all the same.
    pub(crate) problems: Vec<Failure>,
}

impl Settings {
    /// Collects from the three sources. `flags` and `environment` answer for one name.
    pub(crate) fn collect(
        flags: &dyn Fn(&str) -> Option<String>,
        environment: &dyn Fn(&str) -> Option<String>,
        file: Option<(PathBuf, String)>,
    ) -> Self {
        let (path, (table, problems)) = match file {
            Some((path, text)) => (Some(path.clone()), parse(&path, &text)),
            None => (None, Default::default()),
        };
        let mut values = BTreeMap::new();
        for &(key, _) in KEYS {
            let given = |value: Option<String>, source| {
                value.filter(|value| !value.trim().is_empty()).map(|value| (value, source))
            };
            let found = given(flags(key), Source::Flag)
                .or_else(|| given(environment(key), Source::Environment))
                .or_else(|| given(table.get(key).cloned(), Source::File));
            if let Some(found) = found {
                values.insert(key, found);
            }
        }
        Self { values, file: path, problems }
    }

    /// A setting's value.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|(value, _)| value.as_str())
    }

    /// Where it came from.
    pub(crate) fn source(&self, key: &str) -> Option<Source> {
        self.values.get(key).map(|(_, source)| *source)
    }

    /// A failure that begins with a setting's name, with where that setting stands or was looked for.
    pub(crate) fn placed(&self, failure: Failure) -> Failure {
        let name = failure.what.split_once(": ").map(|(name, _)| name);
        let Some((key, _)) = KEYS.iter().find(|(key, _)| Some(*key) == name) else { return failure };
        let file = self.file.as_ref().map(|path| path.display().to_string());
        let place = match (self.source(key), file) {
            (Some(Source::Flag), _) => "given as a flag".to_owned(),
            (Some(Source::Environment), _) => "set in the environment".to_owned(),
            (Some(Source::File), file) => format!("set in {}", file.unwrap_or_default()),
            (None, Some(file)) => format!("looked for in the environment and in {file}"),
            (None, None) => format!("looked for in the environment; there is no {FILE} here"),
        };
        Failure { what: format!("{} ({place})", failure.what), ..failure }
    }
}

fn parse(path: &Path, text: &str) -> (BTreeMap<&'static str, String>, Vec<Failure>) {
    let name = path.display();
    let mut values = BTreeMap::new();
    let mut problems = Vec::new();
    let mut wrong = |what: String| {
        problems.push(Failure::usage(what, format!("correct {name}; its keys are those of the environment")));
    };
    let table = toml::from_str(text).unwrap_or_else(|error: toml::de::Error| {
        wrong(format!("{name} does not parse: {}", error.message()));
        toml::Table::new()
    });
    for (key, value) in table {
        let Some((known, _)) = KEYS.iter().find(|(known, _)| known.eq_ignore_ascii_case(&key)) else {
            wrong(format!("{name}: there is no setting {key}"));
            continue;
        };
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(truth) => truth.to_string(),
            _ => {
                wrong(format!("{name}: {key} is not a text, a number or a truth"));
                continue;
            }
        };
        if values.insert(*known, text).is_some() {
            wrong(format!("{name}: {known} is set twice"));
        }
    }
    (values, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(flag: &str, environment: &str, file: &str) -> Settings {
        let only = |value: &str| {
            let value = value.to_owned();
            move |key: &str| (key == "HARMONY_HTTP_ADDR").then(|| value.clone())
        };
        let file = (!file.is_empty()).then(|| (PathBuf::from("harmony.toml"), file.to_owned()));
        Settings::collect(&only(flag), &only(environment), file)
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file() {
        let file = "harmony_http_addr = \"file\"";
        for (flag, environment, expected) in [
            ("flag", "environment", Some(("flag", Source::Flag))),
            ("", "environment", Some(("environment", Source::Environment))),
            ("", " ", Some(("file", Source::File))),
        ] {
            let settings = collect(flag, environment, file);
            let found = settings.get("HARMONY_HTTP_ADDR").zip(settings.source("HARMONY_HTTP_ADDR"));
            assert_eq!(found, expected);
        }
        assert_eq!(collect("", "", "").get("HARMONY_HTTP_ADDR"), None);
    }

    #[test]
    fn the_file_is_strict() {
        for (file, expected) in [
            ("HARMONY_HTTP_ADR = \"x\"", "there is no setting HARMONY_HTTP_ADR"),
            ("FLAGD_PORT = [1]", "FLAGD_PORT is not a text"),
            ("FLAGD_PORT = 1\nflagd_port = 2", "FLAGD_PORT is set twice"),
            ("=", "does not parse"),
        ] {
            let [error] = &collect("", "", file).problems[..] else { panic!("{file}") };
            assert!(error.what.contains(expected), "{}", error.what);
            assert_eq!(error.exit.code(), 2);
        }
        let several = collect("", "", "A = 1\nFLAGD_PORT = []\nHARMONY_HTTP_ADDR = \"x\"");
        assert_eq!(several.problems.len(), 2, "each is named");
        assert_eq!(several.get("HARMONY_HTTP_ADDR"), Some("x"), "what is right counts");
    }

    #[test]
    fn failure_about_a_setting_says_where_that_stands_or_was_looked_for() {
        let file = "harmony_http_addr = \"file\"";
        for (key, given, expected) in [
            ("HARMONY_HTTP_ADDR", collect("x", "", ""), "given as a flag"),
            ("HARMONY_HTTP_ADDR", collect("", "x", file), "set in the environment"),
            ("HARMONY_HTTP_ADDR", collect("", "", file), "set in harmony.toml"),
            ("FLAGD_HOST", collect("", "", file), "looked for in the environment and in harmony.toml"),
            (
                "FLAGD_HOST",
                collect("", "", ""),
                "looked for in the environment; there is no harmony.toml here",
            ),
        ] {
            let placed = given.placed(Failure::usage(format!("{key}: it is wrong"), "correct it"));
            assert_eq!(placed.what, format!("{key}: it is wrong ({expected})"));
        }
        let other = Failure::usage("there are no runbooks: none", "make some");
        assert_eq!(collect("", "", "").placed(other.clone()), other);
    }

    #[test]
    fn keys_are_sorted_and_unique() {
        assert!(KEYS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
