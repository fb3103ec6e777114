//! `harmony approval …`: look at a gate and decide.
//!
//! What is decided is what was shown: the digest that goes with the decision is the one of the gate that was printed.
//! On a terminal the command asks first; without one it decides nothing unless `--yes` was given.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use harmony_incidents::command::Decision;
use serde_json::{Value, json};

use crate::{
    api::Api,
    commands::{
        follow::{Awaited, Follower},
        incident::given,
        incident_args::{KeyArgs, WaitArgs, incident_id},
        show,
    },
    config::Config,
    failure::{Exit, Failure},
    output,
    people::People,
};

/// What can be done with gates.
#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalCommand {
    /// List the gates that wait for a decision
    #[command(visible_alias = "ls")]
    List,
    /// Show everything that a gate's digest covers, and what it comes to last
    Show(GateArgs),
    /// Approve
    Approve(ApproveArgs),
    /// Reject
    Reject(DecideArgs),
    /// Go on without a cell of which nobody knows whether it ran (approve runs it again, reject aborts)
    Skip(DecideArgs),
    /// Escalate to the next level now
    Escalate(EscalateArgs),
}

/// A gate.
#[derive(Debug, Args)]
pub(crate) struct GateArgs {
    /// Gate, or an incident or a release that has exactly one that waits
    gate: String,
    /// Show long values and the runbook's file whole
    #[arg(long)]
    full: bool,
}

/// Options of a decision.
#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// Gate, or an incident or a release that has exactly one that waits
    gate: String,
    /// Why, for the record; a rejection needs it
    #[arg(long)]
    reason: Option<String>,
    /// Show long values and the runbook's file whole
    #[arg(long)]
    full: bool,
    /// Decide without being asked first; required where there is no terminal
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of an approval.
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    decide: DecideArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// Approve as an emergency override: P1 and P2, sre-oncall or above, also by who asked for it
    #[arg(long, requires = "justification")]
    break_glass: bool,
    /// Why the glass must be broken, in 20 characters or more
    #[arg(long, requires = "break_glass")]
    justification: Option<String>,
}

/// Options of passing a gate on.
#[derive(Debug, Args)]
pub(crate) struct EscalateArgs {
    /// Gate, or an incident or a release that has exactly one that waits
    gate: String,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &ApprovalCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        ApprovalCommand::List => {
            let api = Api::open(config, None)?;
            let body = api.get(&["approvals"], &[]).await?;
            if json { output::json(&body) } else { show::gates(&body, &People::of(&api).await) }
        }
        ApprovalCommand::Show(args) => {
            let api = Api::open(config, None)?;
            let gate = find(&api, &args.gate).await?;
            if json { output::json(&gate) } else { show::gate(&gate, args.full, &People::of(&api).await) }
        }
        ApprovalCommand::Approve(args) => {
            let glass = args.justification.as_deref().filter(|_| args.break_glass);
            let taken = Taken { decision: Decision::Approved, glass, wait: args.wait.wait };
            return decide(config, &args.decide, taken, json).await;
        }
        ApprovalCommand::Reject(args) => {
            let taken = Taken { decision: Decision::Rejected, glass: None, wait: false };
            return decide(config, args, taken, json).await;
        }
        ApprovalCommand::Skip(args) => {
            let taken = Taken { decision: Decision::Skipped, glass: None, wait: false };
            return decide(config, args, taken, json).await;
        }
        ApprovalCommand::Escalate(args) => return escalate(config, args, json).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// The gate of this id, or the one that is pending for this incident or release.
async fn find(api: &Api, named: &str) -> anyhow::Result<Value> {
    let incident = incident_id(named);
    if incident.is_err() && named.contains('#') {
        return api.get(&["approvals", named], &[]).await;
    }
    let named = incident.as_deref().unwrap_or(named);
    let body = api.get(&["approvals"], &[]).await?;
    let gates: Vec<&str> = show::items(&body, "approvals")
        .iter()
        .filter(|gate| gate["incidentId"] == named || gate["releaseId"] == named)
        .filter_map(|gate| gate["gateId"].as_str())
        .collect();
    match gates.as_slice() {
        [gate] => api.get(&["approvals", gate], &[]).await,
        [] => Err(Failure::not_found(
            format!("no gate of {named} waits for a decision"),
            "list what does: harmony approval list",
        )
        .into()),
        several => Err(Failure::usage(
            format!("{} gates of {named} wait for a decision", several.len()),
            format!("name one: {}", several.join(" or ")),
        )
        .into()),
    }
}

async fn escalate(config: &Config, args: &EscalateArgs, json: bool) -> anyhow::Result<ExitCode> {
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let gate = find(&api, &args.gate).await?;
    let Some(id) = gate["gateId"].as_str() else {
        anyhow::bail!("the API showed a gate without its id");
    };
    let body = given(json!({ "escalate": true, "reason": args.reason }));
    let reply = api.post(&["approvals", id], &body).await?;
    if json {
        output::json(&reply.body);
    } else {
        let text = |name: &str| output::words(&reply.body[name]);
        output::data(&format!(
            "level {}: {} may decide until {}",
            text("level"),
            text("requiredRoles"),
            text("deadline")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// A decision as the command names it.
struct Taken<'a> {
    decision: Decision,
    /// With a justification the approval breaks the glass.
    glass: Option<&'a str>,
    /// Whether to follow what goes on with it.
    wait: bool,
}

async fn decide(
    config: &Config,
    args: &DecideArgs,
    Taken { decision, glass, wait }: Taken<'_>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let interactive = output::is_interactive();
    let reason = args.reason.clone().filter(|reason| !reason.trim().is_empty());
    may_decide(args.yes, interactive, decision, reason.is_some())?;
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let gate = find(&api, &args.gate).await?;
    let (Some(id), Some(digest)) = (gate["gateId"].as_str(), gate["digest"].as_str()) else {
        anyhow::bail!("the API showed a gate without its id or digest");
    };
    if !json {
        show::gate(&gate, args.full, &People::of(&api).await);
    }
    if !args.yes {
        let verb = match decision {
            Decision::Approved => "Approve",
            Decision::Rejected => "Reject",
            Decision::Skipped => "Go on without",
        };
        if !output::confirm(&format!("{verb} this?")) {
            return Err(Failure::failed(
                "not decided: nothing was sent",
                "run the command again when you have decided",
            )
            .into());
        }
    }
    let reason = match (reason, decision) {
        (None, Decision::Rejected) => Some(output::ask("Reason:").ok_or_else(no_reason)?),
        (reason, _) => reason,
    };
    let body = given(
        json!({ "decision": decision, "digest": digest, "reason": reason, "source": "cli", "justification": glass, "breakGlass": glass.map(|_| true) }),
    );
    // What goes on with the decision is followed from before it.
    let seen = match gate["incidentId"].as_str().filter(|_| wait) {
        Some(incident) => api.get(&["incidents", incident], &[]).await?["seq"].as_u64().unwrap_or_default(),
        None => 0,
    };
    let reply = api.post(&["approvals", id], &body).await?;
    if json {
        output::json(&reply.body);
    }
    verdict(&reply.body)?;
    if !json {
        output::data(&format!("{}: {}", decision.name(), output::words(&gate["action"])));
    }
    if let Some(warning) = reply.body["warning"].as_str() {
        output::say(&format!("warning: {warning}"));
    }
    match (gate["incidentId"].as_str(), gate["workflowId"].as_str()) {
        (Some(incident), Some(workflow)) if wait => {
            let attempt = gate["attempt"].as_u64().unwrap_or_default();
            let awaited = Awaited { workflow_id: workflow.to_owned(), attempt, stops: false };
            Follower::after(&api, incident, seen, json).await?.until_ended(&[awaited]).await
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Whether a decision can be made here: somebody is asked, or has said on the command line all that is needed.
fn may_decide(yes: bool, interactive: bool, decision: Decision, has_reason: bool) -> Result<(), Failure> {
    if !yes && !interactive {
        return Err(Failure::usage(
            "nothing was decided: there is no terminal to ask on",
            "look at the gate with `harmony approval show`, then pass --yes",
        ));
    }
    if decision == Decision::Rejected && !has_reason && !interactive {
        return Err(no_reason());
    }
    Ok(())
}

fn no_reason() -> Failure {
    Failure::usage("nothing was decided: a rejection needs a reason", "pass --reason TEXT")
}

/// What an answer that is no error document says of the decision.
fn verdict(body: &Value) -> Result<(), Failure> {
    if body["accepted"] == false {
        let because = output::words(&body["refusedBecause"]);
        return Err(Failure {
            exit: Exit::Refused,
            what: format!("the decision was refused: {because}"),
            hint: "look at the gate again: harmony approval list".to_owned(),
        });
    }
    if body["accepted"] != true {
        return Err(Failure::failed(
            "the answer does not say whether the decision counts",
            "look at the gate again: harmony approval list",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_accepted_decision_is_a_success() {
        let judged = |body| verdict(&body).map_err(|failure| failure.exit.code());
        assert_eq!(judged(json!({ "accepted": true, "status": "approved" })), Ok(()));
        assert_eq!(judged(json!({ "accepted": false, "refusedBecause": "role: no" })), Err(3));
        assert_eq!(judged(json!({ "decisionId": "1" })), Err(1));
    }
}
