//! Where the log goes besides the store: webhooks, an event bus, a directory of checkpoints.
//!
//! `HARMONY_WEBHOOKS` lists `NAME=ADDRESS`, `HARMONY_WEBHOOK_SECRETS` lists `NAME=whsec_…`, both separated by blanks; a
//! name may have several secrets while one is replaced. Nothing is sent unsigned, and nothing to an address that no
//! vendor could have.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use harmony_capabilities::address;
use harmony_eventlog::{
    SinkName,
    fanout::{Sink, Webhook, WebhookSecret},
};
use secrecy::SecretString;
use url::Url;

use crate::{
    config::bad,
    failure::{Failure, Failures},
    settings::Settings,
};

/// The bus is a sink of this name.
const EVENT_BUS: &str = "eventbridge";
const WEBHOOKS: &str = "HARMONY_WEBHOOKS";
const SECRETS: &str = "HARMONY_WEBHOOK_SECRETS";
const BUS: &str = "HARMONY_EVENTBRIDGE_BUS";

/// What was set, checked.
#[derive(Clone, Default)]
pub(crate) struct FanOutSettings {
    webhooks: Vec<WebhookSettings>,
    bus: Option<Bus>,
    /// Where checkpoints are kept.
    pub(crate) checkpoints: Option<PathBuf>,
}

#[derive(Clone)]
struct WebhookSettings {
    name: SinkName,
    url: Url,
    secrets: Vec<WebhookSecret>,
}

#[cfg(feature = "eventbridge")]
type Bus = harmony_eventlog::fanout::BusName;
/// There is none in this build.
#[cfg(not(feature = "eventbridge"))]
type Bus = std::convert::Infallible;

impl FanOutSettings {
    /// Checks what was collected.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Failures> {
        let mut wrong = Vec::new();
        let mut secrets = BTreeMap::<SinkName, Vec<WebhookSecret>>::new();
        // Names whose secret was given, as far as it is one.
        let mut signed = BTreeSet::new();
        for (name, text) in named(settings, SECRETS, "whsec_…", &mut wrong) {
            signed.insert(name.clone());
            match WebhookSecret::parse(&SecretString::from(text)) {
                Ok(secret) => secrets.entry(name).or_default().push(secret),
                Err(error) => wrong.push(bad(SECRETS, &format!("{name}: {error}"))),
            }
        }
        let unsigned_entry = !wrong.is_empty();
        let mut webhooks = Vec::new();
        let mut names = BTreeSet::new();
        for (name, address) in named(settings, WEBHOOKS, "https://…", &mut wrong) {
            if name.as_str() == EVENT_BUS || !names.insert(name.clone()) {
                wrong.push(bad(WEBHOOKS, &format!("{name} is taken; give each webhook a name of its own")));
                continue;
            }
            if !signed.contains(&name) && !unsigned_entry {
                let problem = format!("webhook {name} has no secret: nothing is sent unsigned");
                wrong.push(bad(SECRETS, &problem));
            }
            // The address may hold a token: it is not repeated.
            match address::check(&address) {
                Ok(url) => {
                    let secrets = secrets.remove(&name).unwrap_or_default();
                    webhooks.push(WebhookSettings { name, url, secrets });
                }
                Err(error) => wrong.push(bad(WEBHOOKS, &format!("{name}: {error}"))),
            }
        }
        // Where an entry could not be read, nobody knows whose secret this is.
        let is_whole = wrong.is_empty();
        if let Some(name) = signed.iter().find(|name| is_whole && !names.contains(name)) {
            wrong.push(bad(SECRETS, &format!("there is no webhook {name} in {WEBHOOKS}")));
        }
        let bus = settings.get(BUS).map(bus).transpose();
        let bus = bus.map_err(|failure| wrong.push(failure)).ok().flatten();
        let checkpoints = settings.get("HARMONY_CHECKPOINT_DIR").map(PathBuf::from);
        Failures::none(wrong).map(|()| Self { webhooks, bus, checkpoints })
    }

    /// The sinks' names, under which the log keeps what waits for them.
    pub(crate) fn names(&self) -> Vec<SinkName> {
        let bus = self.bus.as_ref().and_then(|_| EVENT_BUS.parse().ok());
        self.webhooks.iter().map(|webhook| webhook.name.clone()).chain(bus).collect()
    }

    /// What `config check` says.
    pub(crate) fn told(&self) -> String {
        let host = |webhook: &WebhookSettings| {
            let host = webhook.url.host_str().unwrap_or_default();
            let more = if webhook.secrets.len() > 1 {
                format!(", {} secrets", webhook.secrets.len())
            } else {
                String::new()
            };
            format!("{} (webhook at {host}{more})", webhook.name)
        };
        let bus = self.bus.as_ref().map(|bus| format!("{EVENT_BUS} (bus {bus})"));
        let all: Vec<String> = self.webhooks.iter().map(host).chain(bus).collect();
        if all.is_empty() { "none: records stay here".to_owned() } else { all.join(", ") }
    }

    /// The sinks themselves.
    pub(crate) async fn sinks(&self) -> anyhow::Result<Vec<Arc<dyn Sink>>> {
        let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
        for webhook in &self.webhooks {
            let client = address::client_to(&webhook.url)?;
            let made =
                Webhook::new(webhook.name.clone(), client, webhook.url.clone(), webhook.secrets.clone());
            sinks.extend(made.map(|sink| Arc::new(sink) as Arc<dyn Sink>));
        }
        #[cfg(feature = "eventbridge")]
        if let Some(bus) = &self.bus {
            let bus = harmony_eventlog::fanout::EventBridge::new(EVENT_BUS.parse()?, bus.clone()).await;
            sinks.push(Arc::new(bus));
        }
        Ok(sinks)
    }
}

#[cfg(feature = "eventbridge")]
fn bus(text: &str) -> Result<Bus, Failure> {
    text.parse().map_err(|error| bad(BUS, &format!("{error}")))
}

#[cfg(not(feature = "eventbridge"))]
fn bus(_: &str) -> Result<Bus, Failure> {
    Err(bad(BUS, "this build has no EventBridge: build it with the feature eventbridge, or unset it"))
}

/// `NAME=VALUE`, separated by blanks.
fn named(settings: &Settings, key: &str, value: &str, wrong: &mut Vec<Failure>) -> Vec<(SinkName, String)> {
    let entries = settings.get(key).unwrap_or_default().split_whitespace();
    let parse = |entry: &str| -> Result<(SinkName, String), Failure> {
        let pair = entry.split_once('=').filter(|(_, value)| !value.is_empty());
        // What stands there may be a secret without a name.
        let (name, value) = pair.ok_or_else(|| bad(key, &format!("an entry is not NAME={value}")))?;
        let name = name.parse().map_err(|error| bad(key, &format!("{error}")))?;
        Ok((name, value.to_owned()))
    };
    entries.filter_map(|entry| parse(entry).map_err(|failure| wrong.push(failure)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn settings(webhooks: &str, secrets: &str) -> Result<FanOutSettings, Failures> {
        let environment = |key: &str| match key {
            WEBHOOKS => Some(webhooks.to_owned()),
            SECRETS => Some(secrets.to_owned()),
            _ => None,
        };
        FanOutSettings::new(&Settings::collect(&|_| None, &environment, None))
    }

    #[test]
    fn webhooks_have_a_name_an_address_and_their_secrets() {
        let both = format!("audit={SECRET}  siem={SECRET}\naudit={SECRET}");
        let found =
            settings("audit=https://audit.example/hook?token=t siem=http://127.0.0.1:9/x", &both).unwrap();
        let names: Vec<String> = found.names().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["audit", "siem"]);
        assert_eq!(
            found.told(),
            "audit (webhook at audit.example, 2 secrets), siem (webhook at 127.0.0.1)",
            "a token in an address is not shown"
        );
        assert_eq!(settings("", "").unwrap().told(), "none: records stay here");
    }

    #[test]
    fn half_a_webhook_is_refused_and_no_secret_is_repeated() {
        let named = format!("audit={SECRET}");
        for (webhooks, secrets, key, part) in [
            ("https://audit.example", named.as_str(), WEBHOOKS, "an entry is not NAME=https://…"),
            ("audit.example", &named, WEBHOOKS, "an entry is not NAME=https://…"),
            ("Audit=https://audit.example", &named, WEBHOOKS, "no name of a sink"),
            ("audit=http://audit.example", &named, WEBHOOKS, "audit: "),
            ("audit=https://169.254.169.254/", &named, WEBHOOKS, "audit: "),
            ("audit=https://a.example audit=https://b.example", &named, WEBHOOKS, "audit is taken"),
            ("eventbridge=https://a.example", &named, WEBHOOKS, "eventbridge is taken"),
            ("audit=https://audit.example", "", SECRETS, "audit has no secret"),
            ("", &named, SECRETS, "there is no webhook audit"),
            ("audit=https://audit.example", SECRET, SECRETS, "an entry is not NAME=whsec_…"),
            ("audit=https://audit.example", "audit=whsec_c2hvcnQ=", SECRETS, "24 to 64 bytes"),
        ] {
            let wrong = settings(webhooks, secrets).err().unwrap_or_else(|| panic!("{webhooks} was taken"));
            let [failure] = &Vec::from(wrong)[..] else { panic!("{webhooks} {secrets}") };
            assert!(failure.what.starts_with(key) && failure.what.contains(part), "{}", failure.what);
            assert!(
                !failure.what.contains("MfKQ9r8") && !failure.what.contains("c2hvcnQ"),
                "{}",
                failure.what
            );
        }
        let several = settings("audit=http://audit.example siem=https://siem.example", &named).err().unwrap();
        let several: Vec<String> = Vec::from(several).into_iter().map(|failure| failure.what).collect();
        assert!(several.len() == 2 && several[1].contains("siem has no secret"), "{several:?}");
    }

    #[cfg(not(feature = "eventbridge"))]
    #[test]
    fn bus_without_its_feature_is_refused_by_name() {
        let environment = |key: &str| (key == BUS).then(|| "harmony".to_owned());
        let collected = Settings::collect(&|_| None, &environment, None);
        let said = FanOutSettings::new(&collected).err().unwrap().to_string();
        assert!(said.starts_with(BUS) && said.contains("feature eventbridge"), "{said}");
    }
}
