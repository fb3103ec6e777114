//! `harmony audit tail`: who did what, over all incidents, services and environments, as it happens.
//!
//! The API gives events by when they happened, the latest first. A record may be written a little later than it happened
//! (a workflow's time, a webhook's), so whoever follows looks back a while each time and shows what is new.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    api::Api,
    commands::{catalog_view::metadata, show::items},
    config::Config,
    moments,
    output::{self, words},
    people::People,
    terminal::{Span, Tone, span},
};

const TAIL_EXAMPLES: &str = "Examples:
  harmony audit tail --follow
  harmony audit tail --subject svc/svc-checkout --since 24h
  harmony audit tail --action approval --json | jq -r .actor

A subject is what was done something to (rel-123, INC-2026-0042), or a stream: svc/ID, env/ID, an incident.
An action counts with what is below it: release is release.activate, too.";

/// How often to ask. A person does not notice.
const PAUSE: Duration = Duration::from_millis(500);
/// How much later than it happened an event may appear and still be seen by who follows.
const LATE: SignedDuration = SignedDuration::from_mins(10);
/// Events of one request.
const PAGE: u32 = 200;

/// `harmony audit …`
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Show the last events, the latest last; with --json one a line
    #[command(after_help = TAIL_EXAMPLES)]
    Tail(TailArgs),
}

/// Options of `tail`.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Stay, and show each event as it happens
    #[arg(long, short)]
    follow: bool,
    /// Only about this: a service, a release, an incident, or a stream such as svc/svc-checkout
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Only by this actor
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only this action, or those below it
    #[arg(long)]
    action: Option<String>,
    /// All since then, not only the last: 2026-11-29T08:00:00Z, or 24h
    #[arg(long, value_name = "WHEN", value_parser = moments::since)]
    since: Option<Timestamp>,
    /// At most this many, the last of them [default: 20, or all since --since]
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<usize>,
}

/// Where an event stands among all: what events are ordered by, and told from each other.
type Place = (Timestamp, String, u64);

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &AuditCommand, json: bool) -> anyhow::Result<ExitCode> {
    let AuditCommand::Tail(args) = command;
    let api = Api::open(config, None)?;
    let people = if json { People::default() } else { People::of(&api).await };
    let show = |event: &Value| {
        if json { output::json(event) } else { output::spans(&line(event, &people)) }
    };
    let wanted = args.limit.unwrap_or(if args.since.is_some() { usize::MAX } else { 20 });
    let begun = Timestamp::now();
    let mut seen = read(&api, args, args.since, wanted).await?;
    if seen.is_empty() && !args.follow && !json {
        output::say("no events");
    }
    seen.values().for_each(&show);
    // What was passed over before the first look stays so.
    let first = seen.keys().next().cloned();
    while args.follow && !output::has_no_reader() {
        tokio::time::sleep(PAUSE).await;
        let from = window(&seen, begun);
        let found = read(&api, args, Some(from), usize::MAX).await?;
        let is_new =
            |place: &Place| !seen.contains_key(place) && first.as_ref().is_none_or(|first| place > first);
        let new: BTreeMap<Place, Value> = found.into_iter().filter(|(place, _)| is_new(place)).collect();
        new.values().for_each(&show);
        seen.extend(new);
        seen.retain(|(at, ..), _| *at >= from);
    }
    Ok(ExitCode::SUCCESS)
}

/// From when on to look for what is new.
fn window(seen: &BTreeMap<Place, Value>, begun: Timestamp) -> Timestamp {
    let last = seen.keys().next_back().map_or(begun, |(at, ..)| *at);
    last.checked_sub(LATE).unwrap_or(last)
}

/// The last events since then, at most so many, in order.
async fn read(
    api: &Api,
    args: &TailArgs,
    since: Option<Timestamp>,
    wanted: usize,
) -> anyhow::Result<BTreeMap<Place, Value>> {
    let page = u32::try_from(wanted).unwrap_or(PAGE).clamp(1, PAGE);
    let mut query: Vec<(&str, String)> = vec![("limit", page.to_string())];
    for (name, value) in [("subject", &args.subject), ("actor", &args.actor), ("action", &args.action)] {
        query.extend(value.iter().map(|value| (name, value.clone())));
    }
    query.extend(since.iter().map(|at| ("since", at.to_string())));
    let mut found = BTreeMap::new();
    while found.len() < wanted {
        let body = api.get(&["audit"], &query).await?;
        for event in items(&body, "events") {
            if let Some(place) = place(event).filter(|_| found.len() < wanted) {
                found.insert(place, event.clone());
            }
        }
        let Some(cursor) = body["nextCursor"].as_str() else { break };
        query.retain(|(name, _)| *name != "cursor");
        query.push(("cursor", cursor.to_owned()));
    }
    Ok(found)
}

fn place(event: &Value) -> Option<Place> {
    Some((moments::parsed(&event["ts"])?, words(&event["stream"]), event["seq"].as_u64().unwrap_or_default()))
}

/// One event as people read it.
pub(super) fn line(event: &Value, people: &People) -> Vec<Span> {
    let (actor, action) = (words(&event["actor"]), words(&event["action"]));
    let at = moments::parsed(&event["ts"]).map(moments::local).unwrap_or_default();
    vec![
        span(Tone::Faint, format!("{at}  ")),
        format!("{:<18}", people.name(&actor)).into(),
        span(tone_of(&action), format!("{action:<20}")),
        words(&event["subjectId"]).into(),
        span(Tone::Faint, metadata(&event["metadata"])),
    ]
}

/// What somebody looks for in a list: refusals and failures, decisions, and the rest.
fn tone_of(action: &str) -> Tone {
    match action.rsplit('.').next().unwrap_or_default() {
        "fail" | "refuse" | "unknown" | "orphan" => Tone::Bad,
        "decide" | "activate" | "succeed" => Tone::Good,
        "request" | "escalate" | "time-out" => Tone::Warn,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(ts: &str, seq: u64) -> Value {
        json!({
            "ts": ts, "actor": "deployer", "action": "release.activate", "subjectType": "Release",
            "subjectId": "rel-1", "metadata": { "from": "Promoting", "serviceId": "svc-a" },
            "stream": "svc/svc-a", "seq": seq
        })
    }

    #[test]
    fn an_event_is_one_line_of_who_did_what_to_what() {
        let spans = line(&event("2026-01-01T00:00:00Z", 3), &People::default());
        let text: String = spans.iter().map(|span| span.text.as_str()).collect();
        assert_eq!(
            text,
            "2026-01-01T00:00:00Z  deployer          release.activate    rel-1  from=Promoting  serviceId=svc-a"
        );
        assert_eq!(tone_of("approval.refuse"), Tone::Bad);
    }

    #[test]
    fn who_follows_looks_back_for_what_was_written_late() {
        let begun: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(window(&BTreeMap::new(), begun).to_string(), "2025-12-31T23:50:00Z");
        let last = event("2026-01-01T00:30:00Z", 4);
        let seen = BTreeMap::from([(place(&last).unwrap(), last)]);
        assert_eq!(window(&seen, begun).to_string(), "2026-01-01T00:20:00Z");
    }
}
