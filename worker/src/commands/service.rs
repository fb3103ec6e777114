//! `harmony service …`: what the catalog knows of services, which release each environment has, and what is wrong.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::{
    api::Api,
    commands::{
        audit,
        catalog_view::{
            CatalogListArgs, RetireArgs, fact, more, open_incidents, release_cell, retire, service_line,
        },
        deploy, release,
        show::{self, items},
    },
    config::Config,
    moments,
    output::{self, words},
    people::People,
    terminal::{Span, Tone, span},
};

const LIST_EXAMPLES: &str = "Examples:
  harmony service list
  harmony service list --search checkout
  harmony service list --json | jq -r '.services[].id'";

/// Environments that have a column of their own in the list.
const COLUMNS: usize = 5;

/// `harmony service …`
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// List services: the latest release of each environment, open incidents, last activity
    #[command(visible_alias = "ls", after_help = LIST_EXAMPLES)]
    List(CatalogListArgs),
    /// Show one service: its environments, last releases, open incidents and who did what last
    Show(ShowArgs),
    /// Retire a service: nothing new happens to it, and its id stays taken
    Retire(RetireArgs),
}

/// A service.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Such as svc-checkout
    id: String,
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &ServiceCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        ServiceCommand::List(args) => {
            let body = Api::open(config, None)?.get(&["services"], &args.query()).await?;
            if json { output::json(&body) } else { list(&body) }
        }
        ServiceCommand::Show(args) => {
            let api = Api::open(config, None)?;
            if json {
                output::json(&api.get(&["services", &args.id], &[]).await?);
            } else {
                show_one(&api, &args.id).await?;
            }
        }
        ServiceCommand::Retire(args) => retire(config, "service", args, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(body: &Value) {
    let services = items(body, "services");
    if services.is_empty() {
        output::say("no services; describe some in a file: harmony catalog apply FILE");
        return;
    }
    let environments = environments(services);
    if let Some(others) = environments.get(COLUMNS..).filter(|others| !others.is_empty()) {
        let others: Vec<&str> = others.iter().map(|(_, name)| name.as_str()).collect();
        output::say(&format!("not shown: {}; harmony service show ID shows all", others.join(", ")));
    }
    let shown = &environments[..environments.len().min(COLUMNS)];
    let (head, rows) = index(services, shown);
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    output::table(&head, &rows);
    more(body);
}

/// Id and name of every environment of these services, in the order in which they name them.
fn environments(services: &[Value]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for one in services.iter().flat_map(|service| items(service, "environments")) {
        let id = words(&one["id"]);
        if !found.iter().any(|(known, _)| *known == id) {
            found.push((id, words(&one["name"])));
        }
    }
    found
}

/// Services against environments.
fn index(services: &[Value], environments: &[(String, String)]) -> (Vec<String>, Vec<Vec<Span>>) {
    let mut head = vec!["SERVICE".to_owned(), "NAME".to_owned()];
    head.extend(environments.iter().map(|(_, name)| name.to_uppercase()));
    head.extend(["OPEN INCIDENTS", "LAST ACTIVITY"].map(str::to_owned));
    let row = |service: &Value| {
        let has = |id: &str| items(service, "environments").iter().any(|one| one["id"] == id);
        let mut name = words(&service["name"]);
        if service["retired"] == true {
            name.push_str(" (retired)");
        }
        let mut row: Vec<Span> = vec![span(Tone::Strong, words(&service["id"])), name.into()];
        row.extend(environments.iter().map(|(id, _)| {
            if has(id) { release_cell(&service["latestReleases"][id.as_str()]) } else { "".into() }
        }));
        row.push(open_incidents(&service["openIncidents"]));
        row.push(span(Tone::Faint, moments::ago(&service["updatedAt"])));
        row
    };
    (head, services.iter().map(row).collect())
}

async fn show_one(api: &Api, id: &str) -> anyhow::Result<()> {
    let service = service_line(api, id).await?;
    head(&service).iter().for_each(|line| output::spans(line));
    output::data("");
    deploy::matrix(&service);

    let releases = [("serviceId", id.to_owned()), ("limit", "5".to_owned())];
    let mut open: Vec<(&str, String)> =
        ["PENDING", "OPEN", "MITIGATING"].map(|one| ("state", one.to_owned())).into();
    open.extend([words(&service["id"]), words(&service["name"])].map(|name| ("serviceName", name)));
    let last = [("subject", format!("svc/{id}")), ("limit", "5".to_owned())];
    let (releases, open, last, people) = tokio::join!(
        api.get(&["releases"], &releases),
        api.get(&["incidents"], &open),
        api.get(&["audit"], &last),
        People::of(api)
    );
    // What somebody may not see is left out; the rest is complete without.
    let (releases, open, last) = (releases?, open.unwrap_or_default(), last.unwrap_or_default());
    if !items(&releases, "releases").is_empty() {
        title("last releases");
        release::table(&releases, &people);
    }
    if !items(&open, "incidents").is_empty() {
        title("open incidents");
        show::incidents(&open, &Value::Null, &people);
    }
    if !items(&last, "events").is_empty() {
        title("last activity");
        items(&last, "events").iter().for_each(|event| output::spans(&audit::line(event, &people)));
    }
    Ok(())
}

fn title(text: &str) {
    output::data("");
    output::spans(&[span(Tone::Strong, text)]);
}

fn head(service: &Value) -> Vec<Vec<Span>> {
    let mut first = vec![
        span(Tone::Strong, words(&service["id"])),
        "  ".into(),
        span(Tone::Strong, words(&service["name"])),
    ];
    if service["retired"] == true {
        first.push(span(Tone::Warn, "  retired"));
    }
    let mut lines = vec![first];
    for (label, value) in [
        ("repository", &service["repo"]),
        ("owner", &service["owner"]),
        ("deployed by", &service["adapters"]["deployments"]),
        ("depends on", &service["dependsOn"]),
    ] {
        let value = words(value);
        if !value.is_empty() {
            lines.push(fact(label, value));
        }
    }
    lines.push(fact("incidents", open_incidents(&service["openIncidents"])));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_index_has_a_column_for_each_environment() {
        let services = [
            json!({
                "id": "svc-a", "name": "a", "updatedAt": "2026-01-01T00:00:00Z", "openIncidents": { "critical": 1 },
                "environments": [{ "id": "env-staging", "name": "staging" }, { "id": "env-prod", "name": "prod" }],
                "latestReleases": { "env-prod": { "id": "rel-1", "version": "2.4.1", "sha": "9f3b7de", "status": "Active" } }
            }),
            json!({
                "id": "svc-b", "name": "b", "updatedAt": "2026-01-01T00:00:00Z", "openIncidents": {}, "retired": true,
                "environments": [{ "id": "env-prod", "name": "prod" }], "latestReleases": {}
            }),
        ];
        let environments = environments(&services);
        let (head, rows) = index(&services, &environments);
        assert_eq!(head, ["SERVICE", "NAME", "STAGING", "PROD", "OPEN INCIDENTS", "LAST ACTIVITY"]);
        let text = |row: &[Span]| row.iter().map(|cell| cell.text.clone()).collect::<Vec<_>>();
        assert_eq!(text(&rows[0]), ["svc-a", "a", "–", "✓ 2.4.1", "1 critical", "2026-01-01T00:00:00Z"]);
        assert_eq!(text(&rows[1]), ["svc-b", "b (retired)", "", "–", "none", "2026-01-01T00:00:00Z"]);
        assert_eq!((rows[0][3].tone, rows[0][4].tone), (Tone::Good, Tone::Bad));
    }
}
