//! What the connectors need: credentials and addresses of the vendors.
//!
//! A vendor is configured by all of its settings or by none: a part of them is half a configuration, which nobody
//! means, and every setting that is missing from it is named.

use harmony_capabilities::{
    address,
    github::Repository,
    mail::{MailError, MailSettings},
};
use secrecy::SecretString;

use crate::{config::bad, failure::Failure, settings::Settings};

const SLACK_BASE_URL: &str = "https://slack.com/api";
const PAGERDUTY_BASE_URL: &str = "https://api.pagerduty.com";
const GITHUB_BASE_URL: &str = "https://api.github.com";
/// The type of issue that every project of Jira's begins with.
const JIRA_ISSUE_TYPE: &str = "Task";
const STATUSPAGE_BASE_URL: &str = "https://api.statuspage.io/v1";

/// The vendors' settings; none where the credentials are not set.
#[derive(Clone, Default)]
pub(crate) struct Vendors {
    /// Channel and buttons.
    pub(crate) slack: Option<SlackSettings>,
    /// Paging.
    pub(crate) pagerduty: Option<PagerDutySettings>,
    /// Public status page.
    pub(crate) statuspage: Option<StatuspageSettings>,
    /// Review pages.
    pub(crate) confluence: Option<ConfluenceSettings>,
    /// Jira, where follow-ups become issues of one project.
    pub(crate) jira: Option<JiraSettings>,
    /// GitHub, where follow-ups become issues of one repository.
    pub(crate) github: Option<GitHubSettings>,
    /// Messages to stakeholders.
    pub(crate) mail: Option<MailSettings>,
}

/// Slack.
#[derive(Clone)]
pub(crate) struct SlackSettings {
    /// With the path of the API.
    pub(crate) base_url: String,
    /// `xoxb-…`
    pub(crate) bot_token: SecretString,
    /// `xapp-…`: Slack's requests come by Socket Mode.
    pub(crate) app_token: Option<SecretString>,
}

/// PagerDuty.
#[derive(Clone)]
pub(crate) struct PagerDutySettings {
    /// With the path of the API.
    pub(crate) base_url: String,
    /// REST key.
    pub(crate) api_key: SecretString,
    /// Address of the user on whose behalf incidents are made.
    pub(crate) from: String,
    /// Service that incidents belong to.
    pub(crate) service_id: String,
}

/// Statuspage.
#[derive(Clone)]
pub(crate) struct StatuspageSettings {
    /// With the path of the API.
    pub(crate) base_url: String,
    /// Key.
    pub(crate) api_key: SecretString,
    /// Page.
    pub(crate) page_id: String,
}

/// Confluence.
#[derive(Clone)]
pub(crate) struct ConfluenceSettings {
    /// With the path of the API.
    pub(crate) base_url: String,
    /// User.
    pub(crate) email: String,
    /// Token of that user.
    pub(crate) api_token: SecretString,
    /// Space of the reviews.
    pub(crate) space_key: String,
}

/// Jira.
#[derive(Clone)]
pub(crate) struct JiraSettings {
    /// Of the site.
    pub(crate) base_url: String,
    /// User.
    pub(crate) email: String,
    /// Token of that user.
    pub(crate) api_token: SecretString,
    /// Project of the issues.
    pub(crate) project_key: String,
    /// Their type.
    pub(crate) issue_type: String,
}

/// GitHub.
#[derive(Clone)]
pub(crate) struct GitHubSettings {
    /// Of the API.
    pub(crate) base_url: String,
    /// Token.
    pub(crate) token: SecretString,
    /// Repository of the issues.
    pub(crate) repository: Repository,
}

impl Vendors {
    /// Those that are configured whole, and what is missing or wrong in the others.
    pub(crate) fn new(settings: &Settings) -> (Self, Vec<Failure>) {
        let mut given = Given { settings, wrong: Vec::new() };
        let slack = given.all(&["SLACK_BOT_TOKEN"], &["SLACK_APP_TOKEN"]).then(|| SlackSettings {
            base_url: given.address("SLACK_BASE_URL", SLACK_BASE_URL),
            bot_token: given.secret("SLACK_BOT_TOKEN"),
            app_token: settings.get("SLACK_APP_TOKEN").map(SecretString::from),
        });
        let pagerduty = ["PAGERDUTY_API_KEY", "PAGERDUTY_FROM", "PAGERDUTY_SERVICE_ID"];
        let pagerduty = given.all(&pagerduty, &[]).then(|| PagerDutySettings {
            base_url: given.address("PAGERDUTY_BASE_URL", PAGERDUTY_BASE_URL),
            api_key: given.secret("PAGERDUTY_API_KEY"),
            from: given.text("PAGERDUTY_FROM"),
            service_id: given.text("PAGERDUTY_SERVICE_ID"),
        });
        let statuspage = ["STATUSPAGE_API_KEY", "STATUSPAGE_PAGE_ID"];
        let statuspage = given.all(&statuspage, &[]).then(|| StatuspageSettings {
            base_url: given.address("STATUSPAGE_BASE_URL", STATUSPAGE_BASE_URL),
            api_key: given.secret("STATUSPAGE_API_KEY"),
            page_id: given.text("STATUSPAGE_PAGE_ID"),
        });
        let confluence = given.confluence().then(|| ConfluenceSettings {
            base_url: given.address("CONFLUENCE_BASE_URL", ""),
            email: given.text("CONFLUENCE_EMAIL"),
            api_token: given.secret("CONFLUENCE_API_TOKEN"),
            space_key: given.text("CONFLUENCE_SPACE_KEY"),
        });
        let jira = given.jira().then(|| JiraSettings {
            base_url: given.address("JIRA_BASE_URL", ""),
            email: given.text("JIRA_EMAIL"),
            api_token: given.secret("JIRA_API_TOKEN"),
            project_key: given.text("JIRA_PROJECT_KEY"),
            issue_type: settings.get("JIRA_ISSUE_TYPE").unwrap_or(JIRA_ISSUE_TYPE).to_owned(),
        });
        let repository = given.repository();
        let token = settings.get("GITHUB_TOKEN").is_some();
        let github = if token {
            given.all(&["GITHUB_REPOSITORY"], &["GITHUB_TOKEN"]).then_some(repository)
        } else {
            None
        };
        let github = github.flatten().map(|repository| GitHubSettings {
            base_url: given.address("GITHUB_BASE_URL", GITHUB_BASE_URL),
            token: given.secret("GITHUB_TOKEN"),
            repository,
        });
        let relay = ["HARMONY_SMTP_URL", "HARMONY_MAIL_FROM"];
        let beside = ["HARMONY_SMTP_PASSWORD", "HARMONY_SMTP_CA_PATH"];
        let mail = if given.all(&relay, &beside) { given.mail() } else { None };
        (Self { slack, pagerduty, statuspage, confluence, jira, github, mail }, given.wrong)
    }
}

/// The settings, and what was found to be wrong with them.
struct Given<'a> {
    settings: &'a Settings,
    wrong: Vec<Failure>,
}

impl Given<'_> {
    /// Whether everything that is needed is there. Where any of it is, or what goes with it, each missing one is wrong.
    fn all(&mut self, needed: &[&str], with: &[&str]) -> bool {
        let mut named = needed.iter().chain(with);
        let Some(given) = named.find(|key| self.settings.get(key).is_some()) else { return false };
        let before = self.wrong.len();
        for missing in needed.iter().filter(|key| self.settings.get(key).is_none()) {
            self.wrong.push(bad(missing, &format!("{given} is set, this must be, too")));
        }
        self.wrong.len() == before
    }

    /// The space alone is not half a configuration: the console names it in forms, without credentials.
    fn confluence(&mut self) -> bool {
        let credentials = ["CONFLUENCE_API_TOKEN", "CONFLUENCE_BASE_URL", "CONFLUENCE_EMAIL"];
        if !credentials.iter().any(|key| self.settings.get(key).is_some()) {
            return false;
        }
        self.all(&[&credentials[..], &["CONFLUENCE_SPACE_KEY"]].concat(), &[])
    }

    fn mail(&mut self) -> Option<MailSettings> {
        let password = self.settings.get("HARMONY_SMTP_PASSWORD").map(SecretString::from);
        let parsed =
            MailSettings::parse(&self.text("HARMONY_SMTP_URL"), password, &self.text("HARMONY_MAIL_FROM"));
        parsed
            .map_err(|error| {
                let key = if matches!(error, MailError::Sender(_)) {
                    "HARMONY_MAIL_FROM"
                } else {
                    "HARMONY_SMTP_URL"
                };
                self.wrong.push(bad(key, &error.to_string()));
            })
            .ok()
    }

    /// The project alone is not half a configuration: by it the console knows that there is one.
    fn jira(&mut self) -> bool {
        let credentials = ["JIRA_API_TOKEN", "JIRA_BASE_URL", "JIRA_EMAIL"];
        if !credentials.iter().any(|key| self.settings.get(key).is_some()) {
            return false;
        }
        self.all(&[&credentials[..], &["JIRA_PROJECT_KEY"]].concat(), &[])
    }

    /// The repository that is named, wherever that is right.
    fn repository(&mut self) -> Option<Repository> {
        match self.settings.get("GITHUB_REPOSITORY")?.parse::<Repository>() {
            Ok(repository) => Some(repository),
            Err(error) => {
                self.wrong.push(bad("GITHUB_REPOSITORY", &error.to_string()));
                None
            }
        }
    }

    fn text(&self, key: &str) -> String {
        self.settings.get(key).unwrap_or_default().to_owned()
    }

    fn secret(&self, key: &str) -> SecretString {
        SecretString::from(self.text(key))
    }

    /// An address that a connector will take, or the vendor's own.
    fn address(&mut self, key: &str, own: &str) -> String {
        let Some(text) = self.settings.get(key) else { return own.to_owned() };
        if let Err(error) = address::check(text) {
            self.wrong.push(bad(key, &error.to_string()));
        }
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vendors(keys: &[(&str, &str)]) -> (Vendors, Vec<String>) {
        let environment =
            |key: &str| keys.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
        let (vendors, wrong) = Vendors::new(&Settings::collect(&|_| None, &environment, None));
        (vendors, wrong.into_iter().map(|failure| failure.what).collect())
    }

    #[test]
    fn half_a_vendor_names_every_missing_key() {
        for (given, missing) in [
            ("PAGERDUTY_API_KEY", &["PAGERDUTY_FROM", "PAGERDUTY_SERVICE_ID"][..]),
            ("PAGERDUTY_FROM", &["PAGERDUTY_API_KEY", "PAGERDUTY_SERVICE_ID"]),
            ("STATUSPAGE_API_KEY", &["STATUSPAGE_PAGE_ID"]),
            ("STATUSPAGE_PAGE_ID", &["STATUSPAGE_API_KEY"]),
            ("CONFLUENCE_API_TOKEN", &["CONFLUENCE_BASE_URL", "CONFLUENCE_EMAIL", "CONFLUENCE_SPACE_KEY"]),
            ("JIRA_EMAIL", &["JIRA_API_TOKEN", "JIRA_BASE_URL", "JIRA_PROJECT_KEY"]),
            ("GITHUB_TOKEN", &["GITHUB_REPOSITORY"]),
            ("SLACK_APP_TOKEN", &["SLACK_BOT_TOKEN"]),
            ("HARMONY_SMTP_URL", &["HARMONY_MAIL_FROM"]),
            ("HARMONY_SMTP_PASSWORD", &["HARMONY_SMTP_URL", "HARMONY_MAIL_FROM"]),
            // What is an override, or of use by itself.
            ("CONFLUENCE_SPACE_KEY", &[]),
            ("JIRA_PROJECT_KEY", &[]),
            ("JIRA_WEBHOOK_SECRET", &[]),
            ("PAGERDUTY_BASE_URL", &[]),
            ("SLACK_SIGNING_SECRET", &[]),
        ] {
            let (found, wrong) = vendors(&[(given, "https://vendor.example")]);
            let expected: Vec<String> =
                missing.iter().map(|key| format!("{key}: {given} is set, this must be, too")).collect();
            assert_eq!(wrong, expected);
            assert!(found.slack.is_none() && found.pagerduty.is_none());
            assert!(found.statuspage.is_none() && found.confluence.is_none() && found.mail.is_none());
            assert!(found.jira.is_none() && found.github.is_none());
        }
    }

    #[test]
    fn relay_that_is_none_names_its_key_and_not_its_password() {
        let from = ("HARMONY_MAIL_FROM", "harmony@example.com");
        let good = vendors(&[from, ("HARMONY_SMTP_URL", "smtp://jo:hunter2@mail.example.com")]);
        assert!(good.0.mail.is_some() && good.1.is_empty(), "{:?}", good.1);
        for (url, sender, key) in [
            ("mail.example.com", "harmony@example.com", "HARMONY_SMTP_URL"),
            ("http://jo:hunter2@mail.example.com", "harmony@example.com", "HARMONY_SMTP_URL"),
            ("smtp://169.254.169.254", "harmony@example.com", "HARMONY_SMTP_URL"),
            ("smtp://jo:hunter2@mail.example.com", "harmony", "HARMONY_MAIL_FROM"),
        ] {
            let (found, wrong) = vendors(&[("HARMONY_SMTP_URL", url), ("HARMONY_MAIL_FROM", sender)]);
            assert!(
                found.mail.is_none() && wrong.len() == 1 && wrong[0].starts_with(&format!("{key}: ")),
                "{wrong:?}"
            );
            assert!(!wrong[0].contains("hunter2"), "{wrong:?}");
        }
    }

    #[test]
    fn trackers_are_configured_whole() {
        let (found, wrong) = vendors(&[
            ("JIRA_API_TOKEN", "x"),
            ("JIRA_BASE_URL", "https://acme.atlassian.net"),
            ("JIRA_EMAIL", "bot@example.com"),
            ("JIRA_PROJECT_KEY", "OPS"),
            ("GITHUB_TOKEN", "x"),
            ("GITHUB_REPOSITORY", "acme/shop"),
        ]);
        assert_eq!((wrong, found.jira.unwrap().issue_type.as_str()), (vec![], "Task"));
        assert_eq!(found.github.unwrap().base_url, GITHUB_BASE_URL);
        let (alone, wrong) = vendors(&[("GITHUB_REPOSITORY", "acme/shop")]);
        assert!(alone.github.is_none() && wrong.is_empty(), "the console knows it without the token");
        let (_, wrong) =
            vendors(&[("GITHUB_REPOSITORY", "https://github.com/acme/shop"), ("GITHUB_TOKEN", "x")]);
        assert!(wrong.len() == 1 && wrong[0].contains("expected owner/name"), "{wrong:?}");
    }

    #[test]
    fn address_that_no_vendor_could_have_names_its_key() {
        let token = ("SLACK_BOT_TOKEN", "xoxb-1");
        assert_eq!(vendors(&[token]).0.slack.unwrap().base_url, SLACK_BASE_URL);
        for address in ["nowhere", "http://slack.example/api", "https://169.254.169.254/"] {
            let (_, wrong) = vendors(&[token, ("SLACK_BASE_URL", address)]);
            assert!(wrong.len() == 1 && wrong[0].starts_with("SLACK_BASE_URL: "), "{address}: {wrong:?}");
        }
    }
}
