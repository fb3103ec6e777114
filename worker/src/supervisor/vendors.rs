//! What the children are told about vendors that the sandbox stands in for.

use harmony_sandbox::Origins;

use crate::vendor_settings::Vendors;

/// Settings of the stand-ins for the vendors without credentials, or for `all` of them.
pub(super) fn environment(vendors: &Vendors, all: bool, base_urls: &Origins) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut set = |given: &[(&str, &str)]| {
        pairs.extend(given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    };
    if all || vendors.slack.is_none() {
        set(&[("SLACK_BASE_URL", &base_urls.slack), ("SLACK_BOT_TOKEN", "xoxb-sandbox")]);
        // Slack's own sockets would bring clicks of somewhere else.
        set(&[("SLACK_APP_TOKEN", "")]);
    }
    if all || vendors.pagerduty.is_none() {
        set(&[
            ("PAGERDUTY_BASE_URL", &base_urls.pagerduty),
            ("PAGERDUTY_API_KEY", "sandbox"),
            ("PAGERDUTY_FROM", "operator@example.com"),
            ("PAGERDUTY_SERVICE_ID", "PSANDBOX"),
        ]);
    }
    if all || vendors.statuspage.is_none() {
        set(&[
            ("STATUSPAGE_BASE_URL", &base_urls.statuspage),
            ("STATUSPAGE_API_KEY", "sandbox"),
            ("STATUSPAGE_PAGE_ID", "sandboxpage1"),
        ]);
    }
    if all || vendors.confluence.is_none() {
        set(&[
            ("CONFLUENCE_BASE_URL", &base_urls.confluence),
            ("CONFLUENCE_EMAIL", "operator@example.com"),
            ("CONFLUENCE_API_TOKEN", "sandbox"),
            ("CONFLUENCE_SPACE_KEY", "OPS"),
        ]);
    }
    if all || vendors.jira.is_none() {
        set(&[
            ("JIRA_BASE_URL", &base_urls.jira),
            ("JIRA_EMAIL", "operator@example.com"),
            ("JIRA_API_TOKEN", "sandbox"),
            ("JIRA_PROJECT_KEY", "OPS"),
        ]);
    }
    if all || vendors.github.is_none() {
        set(&[
            ("GITHUB_BASE_URL", &base_urls.github),
            ("GITHUB_TOKEN", "sandbox"),
            ("GITHUB_REPOSITORY", "acme/shop"),
        ]);
    }
    if all || vendors.mail.is_none() {
        set(&[("HARMONY_SMTP_URL", &base_urls.mail), ("HARMONY_MAIL_FROM", "Harmony <harmony@example.com>")]);
        set(&[("HARMONY_SMTP_PASSWORD", ""), ("HARMONY_SMTP_CA_PATH", "")]);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::vendor_settings::SlackSettings;

    #[test]
    fn a_vendor_with_credentials_keeps_them_unless_all_are_replaced() {
        let url = |name: &str| format!("http://127.0.0.1/{name}");
        let urls = Origins {
            slack: url("slack"),
            pagerduty: url("pagerduty"),
            statuspage: url("statuspage"),
            confluence: url("confluence"),
            jira: url("jira"),
            github: url("github"),
            mail: "smtp://127.0.0.1:2525".to_owned(),
        };
        let slack = SlackSettings {
            base_url: "https://slack.com/api".to_owned(),
            bot_token: SecretString::from("x"),
            app_token: None,
        };
        let vendors = Vendors { slack: Some(slack), ..Vendors::default() };
        let names =
            |all| environment(&vendors, all, &urls).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert!(!names(false).contains(&"SLACK_BOT_TOKEN".to_owned()));
        assert!(names(false).contains(&"PAGERDUTY_SERVICE_ID".to_owned()));
        assert!(names(true).contains(&"SLACK_BOT_TOKEN".to_owned()));
    }
}
