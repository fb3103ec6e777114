//! `harmony drill …`: practice. A drill is an incident that says so in every message, pages nobody, never touches the
//! public page, and stays out of the figures.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use harmony_catalog::words::PRACTICE_PREFIX;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::Api,
    commands::{
        incident::{given, wait_until_open},
        incident_args::KeyArgs,
        show,
    },
    config::Config,
    failure::Failure,
    output,
    people::People,
};

const START_EXAMPLES: &str = "Examples:
  harmony drill start \"Checkout is down\" --severity P1 --service checkout
  harmony drill start --scenario drills/database.toml

A scenario is a TOML file:
  title = \"Checkout is down\"
  severity = \"P1\"
  service = \"checkout\"
  [release]                # of a service of its own, drill-checkout: suspected, and can be rolled back
  version = \"2.4.1\"
  before = \"2.4.0\"
  [[step]]
  after = \"30s\"
  signal = \"Error rate 12 %\"
  source = \"prometheus\"
  [[step]]
  after = \"1m\"
  note = \"A customer calls: orders are charged twice\"";

const PRACTICE_ENVIRONMENT: &str = "drill";

/// `harmony drill …`
#[derive(Debug, Subcommand)]
pub(crate) enum DrillCommand {
    /// Start a drill; with a scenario, play it until its last step
    #[command(after_help = START_EXAMPLES)]
    Start(StartArgs),
    /// List drills, newest first
    #[command(visible_alias = "ls")]
    List(ListArgs),
}

/// Options of `start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// What is supposed to be wrong, in one line
    #[arg(required_unless_present = "scenario")]
    title: Option<String>,
    /// P1..P4 [default: P2]
    #[arg(long)]
    severity: Option<String>,
    /// Service that it is about
    #[arg(long)]
    service: Option<String>,
    /// File that says what happens when
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

/// What happens in a drill.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    #[serde(default)]
    title: String,
    severity: Option<String>,
    service: Option<String>,
    release: Option<Release>,
    #[serde(default)]
    step: Vec<Step>,
}

/// A release that went out right before: what there is to find, and to roll back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    version: String,
    /// What ran before it.
    before: String,
}

impl Release {
    /// Puts both releases into the catalog, in an environment and a service that are there for practice alone; gives the
    /// service.
    async fn tell(&self, config: &Config, service: &str) -> anyhow::Result<String> {
        let practice = format!("{PRACTICE_PREFIX}{service}");
        let environment = json!({ "id": PRACTICE_ENVIRONMENT, "name": PRACTICE_ENVIRONMENT });
        let described = json!({
            "id": practice, "name": practice, "adapters": { "deployments": ["external"] },
            "environments": [environment],
        });
        // Each is a request of its own.
        Api::open(config, None)?.post(&["environments"], &environment).await?;
        Api::open(config, None)?.post(&["services"], &described).await?;
        for version in [&self.before, &self.version] {
            let release = json!({
                "serviceId": practice, "envId": PRACTICE_ENVIRONMENT, "version": version,
                "sha": uuid::Uuid::now_v7().simple().to_string(), "status": "Active",
            });
            Api::open(config, None)?.post(&["releases"], &release).await?;
        }
        Ok(practice)
    }
}

/// Something that is seen or said, so long after what came before.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default)]
    after: jiff::SignedDuration,
    /// What an alert says.
    signal: Option<String>,
    /// Who saw it.
    source: Option<String>,
    /// What somebody says.
    note: Option<String>,
}

impl Step {
    /// Where it is posted, and what.
    fn request(&self) -> Result<(&'static str, Value), String> {
        match (&self.signal, &self.note) {
            (Some(signal), None) => {
                let source = self.source.as_deref().unwrap_or("drill");
                Ok(("signals", json!({ "source": source, "summary": signal })))
            }
            (None, Some(note)) => Ok(("notes", json!({ "note": note }))),
            _ => Err("a step has either a signal or a note".to_owned()),
        }
    }
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &DrillCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        DrillCommand::Start(args) => start(config, args, json).await?,
        DrillCommand::List(args) => list(config, args, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn start(config: &Config, args: &StartArgs, json: bool) -> anyhow::Result<()> {
    let scenario = match &args.scenario {
        None => Scenario::default(),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            read(&text).map_err(|problem| {
                let hint = "`harmony drill start --help` shows a scenario";
                Failure::usage(format!("{}: {problem}", path.display()), hint)
            })?
        }
    };
    let mut service = args.service.clone().or_else(|| scenario.service.clone());
    if let Some(release) = &scenario.release {
        let of = service.as_deref().unwrap_or("service");
        service = Some(release.tell(config, of).await?);
    }
    let title = args.title.clone().unwrap_or_else(|| scenario.title.clone());
    let severity = args.severity.clone().or_else(|| scenario.severity.clone());
    let body = given(json!({
        "title": title,
        "severity": severity.unwrap_or_else(|| "P2".to_owned()),
        "serviceName": service,
        "detectedBy": "drill",
        "drill": true,
    }));
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let reply = api.post(&["incidents"], &body).await?;
    let id = reply.body["incidentId"].as_str().context("the API answered without an incident id")?.to_owned();
    if json {
        output::json(&reply.body);
    } else {
        output::data(&id);
    }
    if scenario.step.is_empty() {
        return Ok(());
    }
    wait_until_open(&api, &id).await?;
    for step in &scenario.step {
        tokio::time::sleep(Duration::try_from(step.after).unwrap_or_default()).await;
        let (place, body) = step.request().map_err(anyhow::Error::msg)?;
        // Each is a request of its own.
        Api::open(config, None)?.post(&["incidents", &id, place], &body).await?;
        if !json {
            output::say(&format!(
                "{id}: {}",
                body["summary"].as_str().or(body["note"].as_str()).unwrap_or_default()
            ));
        }
    }
    Ok(())
}

/// A scenario, of which every step can be played.
fn read(text: &str) -> Result<Scenario, String> {
    let scenario: Scenario = toml::from_str(text).map_err(|error| error.to_string())?;
    for (place, step) in (1..).zip(&scenario.step) {
        step.request().map_err(|problem| format!("step {place}: {problem}"))?;
        if step.after.is_negative() {
            return Err(format!("step {place}: after is a time such as \"30s\""));
        }
    }
    if scenario.title.trim().is_empty() {
        return Err("it has no title".to_owned());
    }
    let versions = scenario.release.iter().flat_map(|release| [&release.version, &release.before]);
    if versions.into_iter().any(|version| version.trim().is_empty()) {
        return Err("release: version and before name what runs now and what ran before".to_owned());
    }
    Ok(scenario)
}

async fn list(config: &Config, args: &ListArgs, json: bool) -> anyhow::Result<()> {
    let mut query = vec![("drill", "true".to_owned())];
    query.extend(args.limit.map(|limit| ("limit", limit.to_string())));
    let api = Api::open(config, None)?;
    let body = api.get(&["incidents"], &query).await?;
    if json {
        output::json(&body);
    } else {
        show::incidents(&body, &Value::Null, &People::of(&api).await);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenario_is_read_whole_before_anything_happens() {
        let good = "title = \"x\"\n[[step]]\nafter = \"30s\"\nsignal = \"12 %\"\n[[step]]\nnote = \"a call\"";
        let read_good = read(good).unwrap();
        assert_eq!(read_good.step[0].request().unwrap().1["source"], "drill");
        assert_eq!(read_good.step[1].request().unwrap().0, "notes");
        for (bad, said) in [
            ("title = \"x\"\n[[step]]\nafter = \"1m\"", "step 1: a step has either"),
            ("title = \"x\"\n[[step]]\nnote = \"a\"\nsignal = \"b\"", "step 1: a step has either"),
            ("title = \"x\"\n[[step]]\nafter = \"-1m\"\nnote = \"a\"", "step 1: after"),
            ("title = \"x\"\n[release]\nversion = \"2\"", "missing field `before`"),
            ("title = \"x\"\n[release]\nversion = \"2\"\nbefore = \" \"", "release: version and before"),
            ("severity = \"P1\"", "no title"),
            ("title = \"x\"\nsurprise = 1", "unknown field `surprise`"),
        ] {
            let problem = read(bad).unwrap_err();
            assert!(problem.contains(said), "{bad}: {problem}");
        }
    }
}
