//! `harmony subscription …`: who is told of what becomes of incidents, without taking part.

use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    api::Api,
    commands::{
        incident::given,
        incident_args::{KeyArgs, incident_id},
        show::items,
    },
    config::Config,
    output::{self, words},
    people::People,
    terminal::{Span, Tone, span},
};

const ADD_EXAMPLES: &str = "Examples:
  harmony subscription add --severity P1
  harmony subscription add --incident 42 --email jo@example.com
  harmony subscription add --service checkout --channel C0123ABCD";

/// `harmony subscription …`
#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionCommand {
    /// List subscriptions: yours, and those of others where you may respond
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Subscribe yourself, somebody else, an address or a Slack channel
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// Unsubscribe
    Remove(RemoveArgs),
}

/// Options of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only yours
    #[arg(long)]
    mine: bool,
}

/// Options of `add`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("subject").required(true))]
#[command(group = ArgGroup::new("recipient"))]
pub(crate) struct AddArgs {
    /// What becomes of this incident, such as INC-2026-0042, or 42 for this year's
    #[arg(long, value_name = "ID", value_parser = incident_id, group = "subject")]
    incident: Option<String>,
    /// Incidents of this service
    #[arg(long, value_name = "NAME", group = "subject")]
    service: Option<String>,
    /// Incidents of this severity
    #[arg(long, value_name = "SEVERITY", group = "subject")]
    severity: Option<String>,
    /// Every incident
    #[arg(long, group = "subject")]
    all: bool,
    /// Tell somebody of the directory, by e-mail [default: you]
    #[arg(long, value_name = "ID", group = "recipient")]
    person: Option<String>,
    /// Tell this address
    #[arg(long, value_name = "ADDRESS", group = "recipient")]
    email: Option<String>,
    /// Tell this Slack channel, by its id
    #[arg(long, value_name = "ID", group = "recipient")]
    channel: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Such as sub-0123456789abcdef0123; `list` shows them
    id: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Carries out one command.
pub(crate) async fn run(
    config: &Config,
    command: &SubscriptionCommand,
    json: bool,
) -> anyhow::Result<ExitCode> {
    match command {
        SubscriptionCommand::List(args) => list(config, args, json).await?,
        SubscriptionCommand::Add(args) => {
            let body = given(json!({
                "subject": subject(args), "person": args.person, "email": args.email, "channel": args.channel,
            }));
            let api = Api::open(config, args.key.idempotency_key.clone())?;
            let reply = api.post(&["subscriptions"], &body).await?.body;
            if json {
                output::json(&reply);
            } else {
                table(std::slice::from_ref(&reply), &People::of(&api).await);
            }
        }
        SubscriptionCommand::Remove(args) => {
            let api = Api::open(config, args.key.idempotency_key.clone())?;
            let id = args.id.to_ascii_lowercase();
            let reply = api.post(&["subscriptions", &id, "remove"], &json!({})).await?.body;
            if json {
                output::json(&reply);
            } else {
                output::data(&format!("removed {}", words(&reply["id"])));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn subject(args: &AddArgs) -> String {
    let named = [("incident", &args.incident), ("service", &args.service), ("severity", &args.severity)];
    let named = named.into_iter().find_map(|(kind, name)| Some(format!("{kind}:{}", name.as_ref()?)));
    named.unwrap_or_else(|| "all".to_owned())
}

async fn list(config: &Config, args: &ListArgs, json: bool) -> anyhow::Result<()> {
    let query: Vec<(&str, String)> = args.mine.then(|| ("mine", "true".to_owned())).into_iter().collect();
    let api = Api::open(config, None)?;
    let body = api.get(&["subscriptions"], &query).await?;
    if json {
        output::json(&body);
        return Ok(());
    }
    let found = items(&body, "subscriptions");
    if found.is_empty() {
        output::say("no subscriptions");
        return Ok(());
    }
    table(found, &People::of(&api).await);
    Ok(())
}

fn table(found: &[Value], people: &People) {
    let row = |one: &Value| -> Vec<Span> {
        let told = match (&one["person"], &one["email"]) {
            (Value::String(person), _) => people.name(person).to_owned(),
            (_, Value::String(email)) => email.clone(),
            _ => format!("Slack {}", words(&one["channel"])),
        };
        let problem = &one["problem"];
        let problem = if problem.is_object() {
            span(Tone::Bad, format!("{}: {}", words(&problem["incidentId"]), words(&problem["reason"])))
        } else {
            Span::from(String::new())
        };
        vec![
            words(&one["id"]).into(),
            words(&one["subject"]).into(),
            told.into(),
            people.name(&words(&one["by"])).into(),
            problem,
        ]
    };
    let rows: Vec<Vec<Span>> = found.iter().map(row).collect();
    output::table(&["SUBSCRIPTION", "SUBJECT", "TELLS", "BY", "LAST PROBLEM"], &rows);
}
