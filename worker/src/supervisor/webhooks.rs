//! Secrets of webhooks, so that alerts and the stand-ins of the trackers can be tried without setting anything: one a
//! sender, made once, in the data directory. A secret that is set counts, and none is made where its policy is not there.

use secrecy::{ExposeSecret, SecretString};

use crate::{config::Config, keys, promotion_policies};

/// Setting, file in `<data-dir>/webhook-secrets`, the policy that it needs, if any.
const SENDERS: [(&str, &str, Option<&str>); 5] = [
    ("HARMONY_ALERTMANAGER_SECRET", "alertmanager", Some("alerts")),
    (GITHUB, "github", None),
    ("HARMONY_GRAFANA_SECRET", "grafana", Some("alerts")),
    (JIRA, "jira", None),
    ("PAGERDUTY_WEBHOOK_SECRET", "pagerduty", Some("pagerduty")),
];
/// Of the trackers, whose stand-ins sign with it.
pub(super) const GITHUB: &str = "HARMONY_GITHUB_SECRET";
pub(super) const JIRA: &str = "JIRA_WEBHOOK_SECRET";

/// The folder of the secrets.
pub(super) const FOLDER: &str = "webhook-secrets";

/// Settings for the children.
pub(super) fn environment(config: &Config) -> anyhow::Result<Vec<(String, String)>> {
    // What is wrong with the policies was told before anything started.
    let policies = promotion_policies::read(&config.promotion_policies_path()).unwrap_or_default();
    let mut pairs = Vec::new();
    for (setting, name, policy) in SENDERS {
        let has_its_policy = policy.is_none_or(|policy| policies.get(policy, None).is_some());
        if config.settings.get(setting).is_none() && has_its_policy {
            pairs.push((setting.to_owned(), made(config, name)?.expose_secret().to_owned()));
        }
    }
    Ok(pairs)
}

/// What a tracker's stand-in signs with: the first secret that Harmony takes from it.
pub(super) fn secret(config: &Config, setting: &str) -> anyhow::Result<SecretString> {
    let given = config.settings.get(setting).and_then(|given| given.split(',').map(str::trim).next());
    if let Some(given) = given {
        return Ok(SecretString::from(given));
    }
    let name = SENDERS.iter().find(|(known, _, _)| *known == setting).map_or(setting, |(_, name, _)| *name);
    made(config, name)
}

fn made(config: &Config, name: &str) -> anyhow::Result<SecretString> {
    keys::private_dir(&config.in_data_dir(FOLDER))?;
    keys::read_or_make(&config.in_data_dir(FOLDER).join(name), keys::random_hex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sample, settings::Settings};

    #[test]
    fn secrets_are_made_once_for_the_policies_that_are_there() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("data").display().to_string();
        let config = |more: Option<(&'static str, &'static str)>| {
            let dir = dir.clone();
            let given = move |key: &str| match key {
                "HARMONY_DATA_DIR" => Some(dir.clone()),
                key => more.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()),
            };
            Config::new(Settings::collect(&given, &|_| None, None)).unwrap()
        };
        let names =
            |pairs: Vec<(String, String)>| pairs.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(environment(&config(None)).unwrap()), [GITHUB, JIRA]);
        sample::write_missing(&config(None)).unwrap();
        let made = environment(&config(None)).unwrap();
        assert_eq!(made.len(), 5);
        assert!(made.iter().all(|(_, secret)| secret.len() == 64));
        assert_eq!(environment(&config(None)).unwrap(), made);
        let known = made.iter().find(|(setting, _)| setting == JIRA).unwrap();
        assert_eq!(secret(&config(None), JIRA).unwrap().expose_secret(), known.1);
        let two = config(Some((JIRA, "the-first-of-two, the-second-of-two")));
        assert_eq!(secret(&two, JIRA).unwrap().expose_secret(), "the-first-of-two");
        let own = config(Some(("HARMONY_GRAFANA_SECRET", "of-our-own-making")));
        assert!(environment(&own).unwrap().iter().all(|(setting, _)| setting != "HARMONY_GRAFANA_SECRET"));
    }
}
