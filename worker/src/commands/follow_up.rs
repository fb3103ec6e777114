//! `harmony follow-up …`: what is left to be done after incidents, by whom and until when.

use std::process::ExitCode;

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use serde_json::{Value, json};

use crate::{
    api::Api,
    commands::{
        follow::{Awaited, Follower},
        incident::given,
        incident_args::{KeyArgs, WaitArgs, incident_id},
        show::items,
    },
    config::Config,
    output::{self, words},
    people::People,
    terminal::{Span, Tone, span},
};

const LIST_EXAMPLES: &str = "Examples:
  harmony follow-up list
  harmony follow-up list --overdue --owner oncall
  harmony follow-up list --state done --json | jq -r '.followUps[].id'";
const ADD_EXAMPLES: &str = "Examples:
  harmony follow-up add 42 \"Alert on queue length\" --owner oncall --due 2026-12-31 --priority high";

const EXPORT_EXAMPLES: &str = "Examples:
  harmony follow-up export INC-2026-0042-17 --to jira --wait
  harmony follow-up export INC-2026-0042-17 --system jira --ticket OPS-7 --url https://example.atlassian.net/browse/OPS-7";

/// `harmony follow-up …`
#[derive(Debug, Subcommand)]
pub(crate) enum FollowUpCommand {
    /// List follow-ups, what is due next first; those that are open where nothing else is asked for
    #[command(visible_alias = "ls", after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Add one to an incident
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// Hand one over, or change its day or priority
    Assign(AssignArgs),
    /// Say that one is done
    Done(CommentArgs),
    /// Open one again
    Reopen(ReasonArgs),
    /// Drop one: it will not be done
    Drop(ReasonArgs),
    /// Make an issue of one in Jira or GitHub, or say where it is tracked already
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),
}

/// Options of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only these; repeat for more [default: open]
    #[arg(long, value_parser = PossibleValuesParser::new(["open", "done", "dropped", "all"]))]
    state: Vec<String>,
    /// Only of this owner; repeat for more
    #[arg(long)]
    owner: Vec<String>,
    /// Only those whose day is over
    #[arg(long)]
    overdue: bool,
    /// Only of this incident
    #[arg(long, value_parser = incident_id)]
    incident: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

/// Options of `add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    incident: String,
    /// What has to be done
    action: String,
    /// Who does it: somebody of the directory, or a team
    #[arg(long)]
    owner: String,
    /// Until which day, such as 2026-12-31
    #[arg(long)]
    due: Option<String>,
    /// How urgent it is
    #[arg(long, value_parser = PossibleValuesParser::new(["high", "medium", "low"]))]
    priority: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `assign`.
#[derive(Debug, Args)]
pub(crate) struct AssignArgs {
    /// Such as INC-2026-0042-17
    id: String,
    /// Who does it from now on
    #[arg(long, required_unless_present_any = ["due", "priority"])]
    owner: Option<String>,
    /// Until which day, such as 2026-12-31
    #[arg(long)]
    due: Option<String>,
    /// How urgent it is
    #[arg(long, value_parser = PossibleValuesParser::new(["high", "medium", "low"]))]
    priority: Option<String>,
    /// What there is to say about it
    #[arg(long)]
    comment: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `done`.
#[derive(Debug, Args)]
pub(crate) struct CommentArgs {
    /// Such as INC-2026-0042-17
    id: String,
    /// What there is to say about it
    #[arg(long)]
    comment: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `reopen` and `drop`.
#[derive(Debug, Args)]
pub(crate) struct ReasonArgs {
    /// Such as INC-2026-0042-17
    id: String,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Such as INC-2026-0042-17
    id: String,
    /// Make an issue of it there, once; what becomes of the issue is followed
    #[arg(long, value_parser = PossibleValuesParser::new(["jira", "github"]), conflicts_with_all = ["system", "ticket", "url"])]
    to: Option<String>,
    /// Where it is tracked already, such as jira or github; nothing is made there
    #[arg(long, required_unless_present = "to")]
    system: Option<String>,
    /// Its name there
    #[arg(long, required_unless_present = "to")]
    ticket: Option<String>,
    /// Where people open it
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &FollowUpCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        FollowUpCommand::List(args) => list(config, args, json).await?,
        FollowUpCommand::Add(args) => {
            let body = given(json!({
                "incidentId": args.incident, "action": args.action, "owner": args.owner, "due": args.due,
                "priority": args.priority,
            }));
            let api = Api::open(config, args.key.idempotency_key.clone())?;
            let reply = api.post(&["follow-ups"], &body).await?.body;
            told(&api, &reply, json).await;
        }
        FollowUpCommand::Assign(args) => {
            let body = json!({
                "owner": args.owner, "due": args.due, "priority": args.priority, "comment": args.comment,
            });
            change(config, &args.id, &args.key, body, json).await?;
        }
        FollowUpCommand::Done(args) => {
            let body = json!({ "state": "done", "comment": args.comment });
            change(config, &args.id, &args.key, body, json).await?;
        }
        FollowUpCommand::Reopen(args) => {
            let body = json!({ "state": "open", "comment": args.reason });
            change(config, &args.id, &args.key, body, json).await?;
        }
        FollowUpCommand::Drop(args) => {
            let body = json!({ "state": "dropped", "comment": args.reason });
            change(config, &args.id, &args.key, body, json).await?;
        }
        FollowUpCommand::Export(args) => return export(config, args, json).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn export(config: &Config, args: &ExportArgs, json: bool) -> anyhow::Result<ExitCode> {
    let Some(to) = &args.to else {
        let body = json!({ "system": args.system, "ticket": args.ticket, "url": args.url });
        change(config, &args.id, &args.key, body, json).await?;
        return Ok(ExitCode::SUCCESS);
    };
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let id = args.id.to_ascii_uppercase();
    let reply = api.post(&["follow-ups", &id], &json!({ "to": to })).await?.body;
    if let Some(warning) = reply["warning"].as_str() {
        output::say(warning);
    }
    let (Some(workflow_id), true) = (reply["workflowId"].as_str(), args.wait.wait) else {
        told(&api, &reply, json).await;
        return Ok(ExitCode::SUCCESS);
    };
    let awaited = Awaited { workflow_id: workflow_id.to_owned(), attempt: 0, stops: false };
    let incident = words(&reply["incidentId"]);
    let before = workflow_id.rsplit('-').next().and_then(|seq| seq.parse().ok()).unwrap_or_default();
    let ended = Follower::after(&api, &incident, before, json).await?.until_ended(&[awaited]).await?;
    told(&api, &api.get(&["follow-ups", &id], &[]).await?, json).await;
    Ok(ended)
}

async fn change(config: &Config, id: &str, key: &KeyArgs, body: Value, json: bool) -> anyhow::Result<()> {
    let api = Api::open(config, key.idempotency_key.clone())?;
    let reply = api.post(&["follow-ups", &id.to_ascii_uppercase()], &given(body)).await?.body;
    told(&api, &reply, json).await;
    Ok(())
}

async fn told(api: &Api, follow_up: &Value, json: bool) {
    if json {
        output::json(follow_up);
    } else {
        table(std::slice::from_ref(follow_up), &People::of(api).await);
    }
}

async fn list(config: &Config, args: &ListArgs, json: bool) -> anyhow::Result<()> {
    let states: Vec<String> = match args.state.as_slice() {
        [] => vec!["open".to_owned()],
        some if some.iter().any(|one| one == "all") => vec![],
        some => some.to_vec(),
    };
    let mut query: Vec<(&str, String)> = states.into_iter().map(|state| ("state", state)).collect();
    query.extend(args.owner.iter().map(|owner| ("owner", owner.clone())));
    query.extend(args.overdue.then(|| ("overdue", "true".to_owned())));
    query.extend(args.incident.iter().map(|id| ("incidentId", id.clone())));
    query.extend(args.limit.map(|limit| ("limit", limit.to_string())));
    let api = Api::open(config, None)?;
    let body = api.get(&["follow-ups"], &query).await?;
    if json {
        output::json(&body);
        return Ok(());
    }
    let found = items(&body, "followUps");
    if found.is_empty() {
        output::say("no follow-ups");
        return Ok(());
    }
    table(found, &People::of(&api).await);
    let total = body["total"].as_u64().unwrap_or_default();
    if total > found.len() as u64 {
        output::say(&format!("{} of {total}; --limit shows more", found.len()));
    }
    Ok(())
}

fn table(found: &[Value], people: &People) {
    let row = |one: &Value| -> Vec<Span> {
        let (state, due) = (words(&one["state"]), words(&one["due"]));
        let tone = match state.as_str() {
            "done" => Tone::Good,
            "dropped" => Tone::Faint,
            _ => Tone::Plain,
        };
        let due = if one["overdue"] == true { span(Tone::Bad, format!("{due} overdue")) } else { due.into() };
        vec![
            words(&one["id"]).into(),
            span(tone, state),
            due,
            words(&one["priority"]).into(),
            people.name(&words(&one["owner"])).into(),
            words(&one["action"]).into(),
            ticket(one).into(),
        ]
    };
    let rows: Vec<Vec<Span>> = found.iter().map(row).collect();
    output::table(&["FOLLOW-UP", "STATE", "DUE", "PRIORITY", "OWNER", "ACTION", "TICKET"], &rows);
}

/// Where it is tracked, or will be.
fn ticket(one: &Value) -> String {
    match (one["ticket"].as_str(), one["exportingTo"].as_str()) {
        (Some(ticket), _) => format!("{} {ticket}", words(&one["system"])).trim().to_owned(),
        (None, Some(tracker)) => format!("on its way to {tracker}"),
        (None, None) => String::new(),
    }
}
