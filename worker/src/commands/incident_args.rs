//! What `harmony incident …` can be given.

#![expect(clippy::doc_markdown, reason = "these comments are what --help says, where a backtick would show")]

use clap::{Args, Subcommand};

use crate::commands::{
    incident_changes::LinkChangeArgs,
    leading::{
        ESCALATE_EXAMPLES, EscalateArgs, PRIVATE_EXAMPLES, PrivateArgs, RELATE_EXAMPLES, RelateArgs,
        TIME_EXAMPLES, TimeArgs,
    },
};

const DECLARE_EXAMPLES: &str = "Examples:
  harmony incident declare
  harmony incident declare \"Checkout is down\" --severity P1 --service checkout --wait
  id=$(harmony incident declare \"Disk full on db-3\" --severity P3)";
const LIST_EXAMPLES: &str = "Examples:
  harmony incident list --open
  harmony incident list --severity P1 --severity P2 --service checkout
  harmony incident list --json | jq -r '.incidents[].incidentId'";
const SHOW_EXAMPLES: &str = "Examples:
  harmony incident show 42
  harmony incident show INC-2026-0042 --follow";
const REMEDIATE_EXAMPLES: &str = "Examples:
  harmony incident remediate 42 --runbook rollback-deployment.md --verify postcheck --reason \"2.4.1 is bad\"
  harmony incident remediate 42 --runbook restart-service.md --set SERVICE=checkout --wait
  harmony incident remediate 42 --runbook restart-service.md --set SERVICE=checkout --dry-run
  harmony incident remediate 42 --as-dry-run 1 --reason \"the dry run looks right\"

Look at a runbook first: harmony runbook show PATH";
const LINK_CHANGE_EXAMPLES: &str = "Examples:
  harmony incident link-change 42 --release rel-123 --relation caused --reason \"Errors began with it\"
  harmony incident link-change 42 --release rel-124 --relation dismissed --reason \"Another region\"

What is suspected, and why: harmony incident changes ID";
const ASSIGN_EXAMPLES: &str = "Examples:
  harmony incident assign 42 commander oncall";

/// What can be done with incidents.
#[derive(Debug, Subcommand)]
pub(crate) enum IncidentCommand {
    /// Declare an incident; prints its id, and asks on a terminal for what is missing
    #[command(after_help = DECLARE_EXAMPLES)]
    Declare(DeclareArgs),
    /// List incidents, newest first
    #[command(visible_alias = "ls", after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Show one incident: who commands, what waits, what ran and what it printed
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Show what changed before it: releases that are suspected, and why
    Changes(IdArgs),
    /// Tell how it stands: in the channel, and with --public on the status page
    Update(UpdateArgs),
    /// Add a note
    Note(NoteArgs),
    /// Record something that was done
    Action(ActionArgs),
    /// Add a signal: what was seen, and what it has in common with others
    Signal(SignalArgs),
    /// Record that an objective was missed
    SloViolation(SloViolationArgs),
    /// Put a tag on it
    Tag(TagArgs),
    /// Take a tag off it again
    Untag(TagArgs),
    /// Link a ticket
    Ticket(TicketArgs),
    /// Say what a release has to do with it: it caused it, is related, or is not
    #[command(after_help = LINK_CHANGE_EXAMPLES)]
    LinkChange(LinkChangeArgs),
    /// Change the state: OPEN, MITIGATING, RESOLVED, … (or a status: INVESTIGATING, MITIGATED)
    Status(StatusArgs),
    /// Change the severity
    Severity(SeverityArgs),
    /// Call the next level for help with the incident itself
    #[command(after_help = ESCALATE_EXAMPLES)]
    Escalate(EscalateArgs),
    /// Say when a moment of the incident was, or correct it
    #[command(after_help = TIME_EXAMPLES)]
    Time(TimeArgs),
    /// Say what it has to do with another incident
    #[command(after_help = RELATE_EXAMPLES)]
    Relate(RelateArgs),
    /// Let only some people see that it exists
    #[command(after_help = PRIVATE_EXAMPLES)]
    Private(PrivateArgs),
    /// Assign a role: commander, communications, operations, scribe, or one of the policy
    #[command(after_help = ASSIGN_EXAMPLES)]
    Assign(ResponderArgs),
    /// Release somebody from a role
    Release(ResponderArgs),
    /// Propose a runbook; it runs once it is approved
    #[command(after_help = REMEDIATE_EXAMPLES)]
    Remediate(RemediateArgs),
    /// Confirm that the mitigation works
    Verify(OneArgs),
    /// Stop the remediation: cancels its gate or ends its cell
    Stop(StopArgs),
    /// Retry failed optional steps
    Retry(RetryArgs),
    /// Resume lost runs: those that were terminated, or whose namespace is gone
    Resume(ResumeArgs),
    /// Close the incident out as resolved
    CloseOut(CloseOutArgs),
    /// Cancel an incident declared by mistake
    Cancel(CancelArgs),
    /// Write a section of the review, add an action item, or print the rendered review
    Review(ReviewArgs),
    /// Propose the review for publishing
    PostMortem(PostMortemArgs),
    /// Sign off the published review; closes the incident
    SignOff(SignOffArgs),
    /// Close a resolved incident that needs no review
    Close(OneArgs),
}

/// What every command may be given.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The same key with the same command happens once [default: one per invocation]
    #[arg(long, value_name = "K")]
    pub(crate) idempotency_key: Option<String>,
}

/// For commands that start something.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Follow what it starts until that has ended; the exit code tells how
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Options of `show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// Stay, and show each record as it is made, until the incident is over
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Print all that this cell printed when it ran last, up to 10 MiB, and nothing else
    #[arg(long, value_name = "CELL", conflicts_with = "follow")]
    pub(super) output: Option<String>,
}

/// What every command on an incident may be given.
#[derive(Debug, Args)]
pub(crate) struct CommandArgs {
    #[command(flatten)]
    pub(crate) once: KeyArgs,
    /// Only if this is still the incident's last record, as "seq" of `incident show --json` says
    #[arg(long, value_name = "SEQ")]
    pub(crate) if_match: Option<u64>,
}

/// An incident to look at.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
}

/// An incident, and nothing else.
#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `declare`.
#[derive(Debug, Args)]
pub(crate) struct DeclareArgs {
    /// What is wrong, in one line
    #[arg(conflicts_with = "title_flag")]
    pub(super) title: Option<String>,
    /// The same
    #[arg(long = "title", id = "title_flag", value_name = "TITLE")]
    pub(super) title_flag: Option<String>,
    /// P1..P4, SEV1..SEV4, or critical, high, medium, low
    #[arg(long)]
    pub(super) severity: Option<String>,
    /// Wait until the incident is open, at most a minute
    #[arg(long)]
    pub(super) wait: bool,
    /// Service that it was seen at
    #[arg(long)]
    pub(super) service: Option<String>,
    /// Such as production
    #[arg(long)]
    pub(super) environment: Option<String>,
    /// Longer description
    #[arg(long)]
    pub(super) summary: Option<String>,
    /// Service that suffers from it; repeat for more
    #[arg(long = "impacted-service", value_name = "SERVICE")]
    pub(super) impacted_services: Vec<String>,
    /// Title on the public status page
    #[arg(long)]
    pub(super) public_title: Option<String>,
    /// First message on the public status page
    #[arg(long)]
    pub(super) public_message: Option<String>,
    /// Id of a component of the status page; repeat for more
    #[arg(long = "public-component", value_name = "ID")]
    pub(super) public_components: Vec<String>,
    /// The incident that is back: what is not given is taken from it
    #[arg(long, value_name = "ID", value_parser = incident_id)]
    pub(super) recurrence_of: Option<String>,
    /// Id of somebody who sees it, beside organisation admins and you: nobody else does; repeat for more
    #[arg(long = "private-to", value_name = "PRINCIPAL")]
    pub(super) private_to: Vec<String>,
    /// When people began to be harmed, such as 2026-11-29T10:42:00Z
    #[arg(long, value_name = "WHEN")]
    pub(super) impact_started: Option<String>,
    /// Who pays for it [default: of the service, in the policy, else yours in the directory]
    #[arg(long)]
    pub(super) cost_center: Option<String>,
    #[command(flatten)]
    pub(super) key: KeyArgs,
}

/// Options of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those that are not over
    #[arg(long)]
    pub(super) open: bool,
    /// Only these; repeat for more
    #[arg(long)]
    pub(super) status: Vec<String>,
    /// Only these states; repeat for more
    #[arg(long)]
    pub(super) state: Vec<String>,
    /// Only these; repeat for more
    #[arg(long)]
    pub(super) severity: Vec<String>,
    /// Part of the title; repeat for more, all of which must be there
    #[arg(long, value_name = "TEXT")]
    pub(super) search: Vec<String>,
    /// Only of these services; repeat for more
    #[arg(long)]
    pub(super) service: Vec<String>,
    /// Only of these environments; repeat for more
    #[arg(long)]
    pub(super) environment: Vec<String>,
    /// Only of these projects; repeat for more
    #[arg(long)]
    pub(super) project: Vec<String>,
    /// Only with one of these correlation keys; repeat for more
    #[arg(long)]
    pub(super) correlation_key: Vec<String>,
    /// Only what this W3C trace led to
    #[arg(long, value_name = "TRACE_ID")]
    pub(super) trace: Option<String>,
    /// -createdAt (newest first, the default), createdAt or severity
    #[arg(long, allow_hyphen_values = true)]
    pub(super) sort: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u32>,
    /// Where the last listing ended
    #[arg(long)]
    pub(super) cursor: Option<String>,
}

/// Options of `update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// What is said
    #[arg(long, required_unless_present_any = ["title", "summary", "template", "templates"])]
    pub(super) message: Option<String>,
    /// Send the text of this template, or note that the message began as it
    #[arg(long, value_name = "NAME")]
    pub(super) template: Option<String>,
    /// List the templates for this incident, with their texts, and send nothing
    #[arg(long, conflicts_with_all = ["message", "template", "public", "next", "title", "summary", "wait"])]
    pub(super) templates: bool,
    /// The status page shows it too
    #[arg(long)]
    pub(super) public: bool,
    /// How long until the next update is due, such as 45m [default: as the policy has it]
    #[arg(long, value_name = "T")]
    pub(super) next: Option<String>,
    /// A better title
    #[arg(long)]
    pub(super) title: Option<String>,
    /// A better summary
    #[arg(long)]
    pub(super) summary: Option<String>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `retry`.
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// Such as channel, or initiate/channel [default: every failed step]
    pub(super) step: Option<String>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `note`.
#[derive(Debug, Args)]
pub(crate) struct NoteArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// The note
    pub(super) text: String,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `action`.
#[derive(Debug, Args)]
pub(crate) struct ActionArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// What was done, in one line
    pub(super) action: String,
    /// How it ended, such as EXECUTED or FAILED
    #[arg(long)]
    pub(super) status: Option<String>,
    /// Longer description
    #[arg(long)]
    pub(super) detail: Option<String>,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `signal`.
#[derive(Debug, Args)]
pub(crate) struct SignalArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// What saw it, such as prometheus
    #[arg(long)]
    pub(super) source: String,
    /// What it has in common with other signals of the same trouble
    #[arg(long)]
    pub(super) correlation_key: Option<String>,
    /// W3C trace id
    #[arg(long)]
    pub(super) trace_id: Option<String>,
    /// The signal's own name
    #[arg(long)]
    pub(super) signal_id: Option<String>,
    /// Short description
    #[arg(long)]
    pub(super) summary: Option<String>,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `slo-violation`.
#[derive(Debug, Args)]
pub(crate) struct SloViolationArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// Which objective
    pub(super) slo: String,
    /// What was promised, such as 99.9%
    #[arg(long)]
    pub(super) target: Option<String>,
    /// What was seen
    #[arg(long)]
    pub(super) observed: Option<String>,
    /// Longer description
    #[arg(long)]
    pub(super) detail: Option<String>,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `tag` and `untag`.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// Tag
    pub(super) tag: String,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `ticket`.
#[derive(Debug, Args)]
pub(crate) struct TicketArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// Where the ticket is, such as jira
    #[arg(long)]
    pub(super) system: String,
    /// Its name there
    pub(super) ticket: String,
    /// Where people open it
    #[arg(long)]
    pub(super) url: Option<String>,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// The state or status asked for
    pub(super) state: String,
    /// Why
    #[arg(long)]
    pub(super) reason: Option<String>,
    /// Claims EMERGENCY_OVERRIDE, in 20 characters at least
    #[arg(long)]
    pub(super) justification: Option<String>,
    /// What was done, for RESOLVED
    #[arg(long)]
    pub(super) summary: Option<String>,
    /// FIXED, FALSE_POSITIVE, DUPLICATE or WONT_FIX
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) kind: Option<String>,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `severity`.
#[derive(Debug, Args)]
pub(crate) struct SeverityArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// P1..P4
    pub(super) severity: String,
    /// Why
    #[arg(long)]
    pub(super) reason: Option<String>,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `assign` and `release`.
#[derive(Debug, Args)]
pub(crate) struct ResponderArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// commander, communications, operations, scribe, or one of the policy
    pub(super) role: String,
    /// Id in the directory
    pub(super) principal: String,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `remediate`.
#[derive(Debug, Args)]
pub(crate) struct RemediateArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// Relative to the runbook root
    #[arg(long, value_name = "PATH", required_unless_present = "as_dry_run")]
    pub(super) runbook: Option<String>,
    /// Cell to run; repeat for more [default: every named cell but those of --verify]
    #[arg(long = "cell", value_name = "NAME")]
    pub(super) cells: Vec<String>,
    /// Cell that tells whether it worked; repeat for more
    #[arg(long = "verify", value_name = "NAME")]
    pub(super) verify: Vec<String>,
    /// Input of the runbook, never a secret; repeat for more
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    pub(super) inputs: Vec<(String, String)>,
    /// Variable for the cells that the runbook does not declare, never a secret; repeat for more
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = assignment)]
    pub(super) env: Vec<(String, String)>,
    /// Name of a secret that the runbook pool holds; repeat for more
    #[arg(long = "secret-env", value_name = "NAME")]
    pub(super) secret_env: Vec<String>,
    /// Time for one cell, such as 10m
    #[arg(long, value_name = "T")]
    pub(super) timeout: Option<String>,
    /// Directory to run in, relative to the runbook root
    #[arg(long, value_name = "DIR")]
    pub(super) workdir: Option<String>,
    /// Why, for those who decide on it
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Run only what the runbook says changes nothing, without a gate, and show what would be run
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Propose exactly what the dry run of this attempt showed, unless the runbook changed since
    #[arg(
        long,
        value_name = "ATTEMPT",
        value_parser = clap::value_parser!(u32).range(1..),
        conflicts_with_all = [
            "runbook", "cells", "verify", "inputs", "env", "secret_env", "timeout", "workdir", "dry_run",
        ]
    )]
    pub(super) as_dry_run: Option<u32>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `stop`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// Why
    #[arg(long)]
    pub(super) reason: Option<String>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `resume`.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// Only this blueprint: initiate, remediate, close-out or post-mortem [default: every one that was lost]
    #[arg(long)]
    pub(super) blueprint: Option<String>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `close-out`.
#[derive(Debug, Args)]
pub(crate) struct CloseOutArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// What was done
    #[arg(long)]
    pub(super) summary: String,
    /// FIXED, FALSE_POSITIVE, DUPLICATE or WONT_FIX [default: FIXED]
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) kind: Option<String>,
    /// Archive the channel, too, behind a gate of its own
    #[arg(long)]
    pub(super) archive_channel: bool,
    /// Why, for those who decide on it
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `cancel`.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// Why
    #[arg(long)]
    pub(super) reason: String,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `review`.
#[derive(Debug, Args)]
pub(crate) struct ReviewArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// summary, impact, contributing-factors, …
    #[arg(long, requires = "text", conflicts_with = "action", required_unless_present_any = ["action", "markdown"])]
    pub(super) section: Option<String>,
    /// What it says
    #[arg(long, requires = "section")]
    pub(super) text: Option<String>,
    /// What has to be done
    #[arg(long, requires = "owner")]
    pub(super) action: Option<String>,
    /// Who does it
    #[arg(long, requires = "action")]
    pub(super) owner: Option<String>,
    /// Until when, such as 2026-01-31
    #[arg(long, requires = "action")]
    pub(super) due: Option<String>,
    /// How urgent the action is: high, medium or low
    #[arg(long, requires = "action")]
    pub(super) priority: Option<String>,
    /// Print the published review, else the one rendered last, as Markdown
    #[arg(long, conflicts_with_all = ["section", "action"])]
    pub(super) markdown: bool,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `post-mortem`.
#[derive(Debug, Args)]
pub(crate) struct PostMortemArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// Title of the page
    #[arg(long)]
    pub(super) title: Option<String>,
    /// Confluence space [default: the configured one]
    #[arg(long, value_name = "KEY")]
    pub(super) space: Option<String>,
    /// Page above it
    #[arg(long, value_name = "ID")]
    pub(super) parent: Option<String>,
    /// Label; repeat for more
    #[arg(long = "label", value_name = "LABEL")]
    pub(super) labels: Vec<String>,
    /// Why, for those who decide on it
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// Options of `sign-off`.
#[derive(Debug, Args)]
pub(crate) struct SignOffArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    pub(super) id: String,
    /// SHA-256 of the page that was read; without it the command asks, and needs a terminal to do so
    #[arg(long)]
    pub(super) digest: Option<String>,
    #[command(flatten)]
    pub(super) key: CommandArgs,
}

/// An incident's id in any case, or its number alone, which is one of this year.
pub(crate) fn incident_id(text: &str) -> Result<String, String> {
    let id = match text.parse::<u64>() {
        Ok(number) => {
            let year = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year();
            format!("INC-{year}-{number:04}")
        }
        Err(_) => text.to_ascii_uppercase(),
    };
    match id.parse::<harmony_incidents::IncidentId>() {
        Ok(id) => Ok(id.to_string()),
        Err(_) => Err("not an incident: expected INC-2026-0042, or 42 for this year's".to_owned()),
    }
}

pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a variable is NAME=VALUE".to_owned()),
    }
}
