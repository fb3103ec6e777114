//! `harmony capability list|show`: what Harmony can do outside itself, and whether this installation can.
//!
//! Reads this process' settings and the data directory, and connects to nothing. Names of settings are shown, values
//! never.

use std::process::ExitCode;

use clap::Subcommand;
use harmony_capabilities::{
    address::Address,
    descriptor::{self, Descriptor},
};
use serde_json::{Value, json};

use crate::{
    config::Config,
    failure::{Exit, Failure},
    output,
};

/// What can be asked about capabilities.
#[derive(Debug, Subcommand)]
pub(crate) enum CapabilityCommand {
    /// List them, and whether each is configured
    List,
    /// Show one capability's descriptor
    Show {
        /// Such as golden.connectors.pagerduty
        id: String,
    },
}

/// How a capability stands in this installation.
struct Standing {
    /// Names of the settings that are set.
    set: Vec<String>,
    /// Names of those that it cannot work without and that are not set.
    missing: Vec<String>,
    /// The sandbox answers in the vendor's place.
    stand_in: bool,
}

/// Carries out one command.
pub(crate) fn run(config: &Config, command: &CapabilityCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        CapabilityCommand::List => list(config, json),
        CapabilityCommand::Show { id } => show(config, id, json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(config: &Config, json: bool) {
    let all = descriptor::all();
    if json {
        let all: Vec<Value> = all.iter().map(|one| summary(one, &standing(config, one))).collect();
        output::json(&json!({ "capabilities": all }));
        return;
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            let standing = standing(config, one);
            vec![one.metadata.id.to_owned(), one.metadata.version.to_owned(), standing.words()]
        })
        .collect();
    output::table(&["CAPABILITY", "VERSION", "STANDS"], &rows);
}

fn show(config: &Config, id: &str, json: bool) -> anyhow::Result<()> {
    let one = descriptor::find(id).ok_or_else(|| Failure {
        exit: Exit::NotFound,
        what: format!("there is no capability {id:?}"),
        hint: "harmony capability list names them".to_owned(),
    })?;
    let standing = standing(config, &one);
    if json {
        let mut shown = serde_json::to_value(&one)?;
        shown["standing"] = standing.as_json();
        output::json(&shown);
        return Ok(());
    }
    output::data(&format!("{}  {}", one.metadata.id, one.metadata.version));
    output::data(one.metadata.description);
    output::data(&format!("stands      {}", standing.words()));
    let operations: Vec<&str> = operations(&one);
    output::data(&format!("operations  {}", operations.join(", ")));
    let settings = one.all_settings();
    if !settings.is_empty() {
        output::data(&format!("settings    {}", settings.join(", ")));
    }
    if !one.security.required_scopes.is_empty() {
        output::data(&format!("scopes      {}", one.security.required_scopes.join(", ")));
    }
    output::data("schemas and examples: --json");
    Ok(())
}

/// The operations that the input's schema knows.
fn operations(one: &Descriptor) -> Vec<&str> {
    let forms = one.schemas.input["oneOf"].as_array();
    forms.into_iter().flatten().filter_map(|form| form["properties"]["operation"]["const"].as_str()).collect()
}

fn summary(one: &Descriptor, standing: &Standing) -> Value {
    let mut summary = json!({
        "id": one.metadata.id,
        "version": one.metadata.version,
        "name": one.metadata.name,
        "description": one.metadata.description,
        "domain": one.metadata.domain,
        "operations": operations(one),
    });
    if let (Some(summary), Value::Object(standing)) = (summary.as_object_mut(), standing.as_json()) {
        summary.extend(standing);
    }
    summary
}

fn standing(config: &Config, one: &Descriptor) -> Standing {
    let is_set = |name: &String| config.settings.get(name).is_some();
    let (set, _): (Vec<String>, Vec<String>) = one.all_settings().into_iter().partition(is_set);
    let missing: Vec<String> = one.required_settings().into_iter().filter(|name| !is_set(name)).collect();
    let is_vendor = !one.security.allow_outbound.is_empty();
    // `dev` writes this file while it runs, and stands in for every vendor without credentials.
    let in_dev = config.in_data_dir("dev.json").is_file();
    let on_loopback = set
        .iter()
        .filter(|name| name.ends_with("_BASE_URL"))
        .filter_map(|name| Address::parse(config.settings.get(name)?).ok())
        .any(|address| address.is_loopback());
    let stand_in = is_vendor && if missing.is_empty() { on_loopback } else { in_dev };
    Standing { set, missing, stand_in }
}

impl Standing {
    fn is_configured(&self) -> bool {
        self.missing.is_empty()
    }

    fn words(&self) -> String {
        match (self.is_configured(), self.stand_in) {
            (_, true) => "the sandbox stands in".to_owned(),
            (true, false) => "configured".to_owned(),
            (false, false) => format!("not configured: set {}", self.missing.join(", ")),
        }
    }

    fn as_json(&self) -> Value {
        json!({
            "configured": self.is_configured(),
            "standIn": self.stand_in,
            "settings": self.set,
            "missing": self.missing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{KEYS, Kind, Settings};

    fn config(pairs: &'static [(&'static str, &'static str)]) -> Config {
        let given =
            |key: &str| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
        Config::new(Settings::collect(&|_| None, &given, None)).unwrap()
    }

    #[test]
    fn every_setting_of_a_descriptor_is_one_of_ours_and_secret_where_it_says_so() {
        let names = |schema: &Value| -> Vec<String> {
            let properties = schema["properties"].as_object();
            properties.into_iter().flat_map(|names| names.keys().cloned()).collect()
        };
        for one in descriptor::all() {
            for (schema, kind) in [(&one.schemas.config, Kind::Open), (&one.schemas.secrets, Kind::Secret)] {
                for name in names(schema) {
                    assert!(KEYS.contains(&(name.as_str(), kind)), "{name} of {}", one.metadata.id);
                }
            }
        }
    }

    #[test]
    fn standing_tells_what_is_missing_and_whether_the_sandbox_stands_in() {
        let slack = descriptor::find("golden.integrations.slack-interactive").unwrap();
        let bare = standing(&config(&[("HARMONY_DATA_DIR", "/nonexistent")]), &slack);
        assert_eq!(bare.words(), "not configured: set SLACK_BOT_TOKEN");
        let real = standing(&config(&[("SLACK_BOT_TOKEN", "xoxb-1")]), &slack);
        assert_eq!(real.words(), "configured");
        assert!(!real.as_json().to_string().contains("xoxb-1"));
        let local = config(&[("SLACK_BOT_TOKEN", "x"), ("SLACK_BASE_URL", "http://127.0.0.1:1/api")]);
        assert_eq!(standing(&local, &slack).words(), "the sandbox stands in");
        let timeline = descriptor::find("golden.transformers.incident-timeline").unwrap();
        assert_eq!(standing(&config(&[]), &timeline).words(), "configured");
    }

    #[test]
    fn operations_are_read_from_the_schema() {
        let slack = descriptor::find("golden.integrations.slack-interactive").unwrap();
        assert!(operations(&slack).contains(&"channel.post"));
    }
}
