//! Secrets of webhooks, so that alerts can be tried without setting anything: one a sender, made once, in the data
//! directory. A secret that is set counts, and none is made where its policy is not there.

use secrecy::ExposeSecret;

use crate::{config::Config, keys, promotion_policies};

/// Setting, file in `<data-dir>/webhook-secrets`, the policy that it needs.
const SENDERS: [(&str, &str, &str); 3] = [
    ("HARMONY_ALERTMANAGER_SECRET", "alertmanager", "alerts"),
    ("HARMONY_GRAFANA_SECRET", "grafana", "alerts"),
    ("PAGERDUTY_WEBHOOK_SECRET", "pagerduty", "pagerduty"),
];

/// The folder of the secrets.
pub(super) const FOLDER: &str = "webhook-secrets";

/// Settings for the children.
pub(super) fn environment(config: &Config) -> anyhow::Result<Vec<(String, String)>> {
    // What is wrong with the policies was told before anything started.
    let policies = promotion_policies::read(&config.promotion_policies_path()).unwrap_or_default();
    let mut pairs = Vec::new();
    for (setting, name, policy) in SENDERS {
        if config.settings.get(setting).is_some() || policies.get(policy, None).is_none() {
            continue;
        }
        keys::private_dir(&config.in_data_dir(FOLDER))?;
        let path = config.in_data_dir(FOLDER).join(name);
        let secret = keys::read_or_make(&path, keys::random_hex)?;
        pairs.push((setting.to_owned(), secret.expose_secret().to_owned()));
    }
    Ok(pairs)
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
        assert_eq!(environment(&config(None)).unwrap(), []);
        sample::write_missing(&config(None)).unwrap();
        let made = environment(&config(None)).unwrap();
        assert_eq!(made.len(), 3);
        assert!(made.iter().all(|(_, secret)| secret.len() == 64));
        assert_eq!(environment(&config(None)).unwrap(), made);
        let own = config(Some(("HARMONY_GRAFANA_SECRET", "of-our-own-making")));
        assert!(environment(&own).unwrap().iter().all(|(setting, _)| setting != "HARMONY_GRAFANA_SECRET"));
    }
}
