//! `harmony environment …`: where services run, and which policies say when something may be released there.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::{
    api::Api,
    commands::{
        catalog_view::{CatalogListArgs, RetireArgs, fact, more, retire},
        release,
        show::items,
    },
    config::Config,
    output::{self, words},
    people::People,
    terminal::{Span, Tone, span},
};

/// `harmony environment …`
#[derive(Debug, Subcommand)]
pub(crate) enum EnvironmentCommand {
    /// List environments
    #[command(visible_alias = "ls")]
    List(CatalogListArgs),
    /// Show one environment: where it is, its policies and its last releases
    Show(ShowArgs),
    /// Retire an environment: nothing new happens in it, and its id stays taken
    Retire(RetireArgs),
}

/// An environment.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Such as env-prod
    id: String,
}

/// Carries out one command.
pub(crate) async fn run(
    config: &Config,
    command: &EnvironmentCommand,
    json: bool,
) -> anyhow::Result<ExitCode> {
    match command {
        EnvironmentCommand::List(args) => {
            let body = Api::open(config, None)?.get(&["environments"], &args.query()).await?;
            if json { output::json(&body) } else { list(&body) }
        }
        EnvironmentCommand::Show(args) => {
            let api = Api::open(config, None)?;
            let environment = api.get(&["environments", &args.id], &[]).await?;
            if json {
                output::json(&environment);
            } else {
                show_one(&api, &environment).await?;
            }
        }
        EnvironmentCommand::Retire(args) => retire(config, "environment", args, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(body: &Value) {
    let row = |one: &Value| -> Vec<Span> {
        let mut name = words(&one["name"]);
        if one["retired"] == true {
            name.push_str(" (retired)");
        }
        vec![
            span(Tone::Strong, words(&one["id"])),
            name.into(),
            place(one, "region").into(),
            place(one, "cluster").into(),
            words(&one["policyRefs"]).into(),
        ]
    };
    let rows: Vec<Vec<Span>> = items(body, "environments").iter().map(row).collect();
    if rows.is_empty() {
        output::say("no environments; describe some in a file: harmony catalog apply FILE");
        return;
    }
    output::table(&["ENVIRONMENT", "NAME", "REGION", "CLUSTER", "POLICIES"], &rows);
    more(body);
}

async fn show_one(api: &Api, environment: &Value) -> anyhow::Result<()> {
    lines(environment).iter().for_each(|line| output::spans(line));
    let query = [("envId", words(&environment["id"])), ("limit", "5".to_owned())];
    let (releases, people) = tokio::join!(api.get(&["releases"], &query), People::of(api));
    let releases = releases?;
    if !items(&releases, "releases").is_empty() {
        output::data("");
        output::spans(&[span(Tone::Strong, "last releases")]);
        release::table(&releases, &people);
    }
    Ok(())
}

fn lines(environment: &Value) -> Vec<Vec<Span>> {
    let mut first = vec![
        span(Tone::Strong, words(&environment["id"])),
        "  ".into(),
        span(Tone::Strong, words(&environment["name"])),
    ];
    if environment["retired"] == true {
        first.push(span(Tone::Warn, "  retired"));
    }
    let mut lines = vec![first];
    for (label, value) in [
        ("region", place(environment, "region")),
        ("cluster", place(environment, "cluster")),
        ("policies", words(&environment["policyRefs"])),
    ] {
        if !value.is_empty() {
            lines.push(fact(label, value));
        }
    }
    lines
}

/// The region or the cluster, and whether it was left out and filled in.
fn place(environment: &Value, name: &str) -> String {
    let place = words(&environment[name]);
    let is_default = environment[format!("{name}Defaulted")] == true;
    if is_default { format!("{place} (by default)") } else { place }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_filled_in_is_said_to_be() {
        let environment = json!({
            "id": "env-staging", "name": "staging", "region": "default", "regionDefaulted": true, "cluster": "c1",
            "policyRefs": ["policy:change-window:weekday", "policy:freeze:year-end"], "retired": true
        });
        let text = |line: &Vec<Span>| line.iter().map(|span| span.text.as_str()).collect::<String>();
        assert_eq!(
            lines(&environment).iter().map(text).collect::<Vec<_>>(),
            [
                "env-staging  staging  retired",
                "region         default (by default)",
                "cluster        c1",
                "policies       policy:change-window:weekday, policy:freeze:year-end",
            ]
        );
    }
}
