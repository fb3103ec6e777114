//! What can be asked for in words, in Slack: read from a line or from a form, carried out by the API's own handlers
//! with the person's own rights, answered in a sentence.
//!
//! Nothing is decided here: gates are decided by their buttons.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::to_bytes,
    response::{IntoResponse, Response},
};
use harmony_eventlog::{
    Filter, Sort, StreamState,
    catalog::{CatalogFilter, CatalogKind},
};
use harmony_incidents::{
    Directory, IncidentId, LinkName, OrgId, Principal, Right, RuleSet, log::IncidentState, machine,
    stakeholders::Topic, status::link,
};
use serde_json::{Value, json};

use super::tell::Person;
use crate::{
    App, acts, approvals, auth::Caller, blueprints, call::Call, catalog::changes, error::ApiError, facts,
    follow_ups, incidents, leading, responders, resume, review, status, subscriptions, views,
};

/// What `/incident help` says.
pub(super) const HELP: &str = "\
/incident (a form to declare an incident)
/incident declare P2 Checkout fails
/incident status INC-2026-0001
/incident status INC-2026-0001 resolved Rolled back
/incident note INC-2026-0001 Error rate is falling
/incident update INC-2026-0001 We are rolling back (--public before it: on the status page, too)
/incident severity INC-2026-0001 P1 All regions now
/incident assign INC-2026-0001 commander @somebody (or communications, operations, scribe)
/incident release INC-2026-0001 commander @somebody
/incident escalate INC-2026-0001 We need somebody who knows the database
/incident time INC-2026-0001 impact-started 2026-01-31T10:42:00Z As the graphs say
/incident changes INC-2026-0001 (what changed before it)
/incident who INC-2026-0001 (who has which part, and who may decide)
/incident relate INC-2026-0002 caused-by INC-2026-0001 Same deployment
/incident remediate INC-2026-0001 rollback-deployment.md SERVICE=checkout 2.4.1 is bad (it runs once approved)
/incident approve INC-2026-0001 (where what waits is shown, with its buttons)
/incident reject INC-2026-0001 Not in business hours
/incident stop INC-2026-0001 Wrong service
/incident resume INC-2026-0001 (a run that was lost)
/incident verify INC-2026-0001
/incident close-out INC-2026-0001 Rolled back to 2.4.0
/incident cancel INC-2026-0001 A test
/incident review INC-2026-0001 impact Nobody could pay for 12 minutes
/incident follow-up INC-2026-0001 @somebody Alert on the pool's size
/incident publish INC-2026-0001 All of it is known (the review)
/incident close INC-2026-0001
/incident list
/incident unsubscribe (what this channel follows)
In an incident's own channel its id can be left out. With roles in more than one organisation, begin with --org NAME.";

/// An order that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    Help,
    Declare {
        severity: String,
        title: String,
        service: String,
    },
    Show,
    Status {
        word: String,
        text: String,
    },
    Note {
        text: String,
    },
    Update {
        text: String,
        public: bool,
    },
    Remediate {
        runbook: String,
        inputs: BTreeMap<String, String>,
        reason: String,
    },
    /// Where what waits is decided: never by a line, which shows nothing of what it would approve.
    Approve,
    Reject {
        reason: String,
    },
    Stop {
        reason: String,
    },
    Resume,
    Changes,
    Who,
    Review {
        section: String,
        text: String,
    },
    FollowUp {
        owner: String,
        action: String,
    },
    Verify,
    CloseOut {
        summary: String,
    },
    Cancel {
        reason: String,
    },
    Publish {
        reason: String,
    },
    List,
    /// Ends what this channel follows.
    Unsubscribe,
    Severity {
        to: String,
        reason: String,
    },
    Escalate {
        reason: String,
    },
    Time {
        moment: String,
        at: String,
        reason: String,
    },
    Relate {
        relation: String,
        other: String,
        reason: String,
    },
    Responder {
        part: String,
        who: String,
        release: bool,
    },
    Close,
}

/// A line, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) org: Option<String>,
    pub(super) incident: Option<IncidentId>,
    pub(super) order: Order,
}

/// The inputs (`NAME=value`) that stand first, and what follows them.
pub(super) fn inputs(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut inputs = BTreeMap::new();
    let mut rest = text;
    loop {
        let (first, after) = word(rest);
        match first.split_once('=') {
            Some((name, value)) if is_variable(name) => {
                inputs.insert(name.to_owned(), value.to_owned());
                rest = after;
            }
            _ => return (inputs, rest),
        }
    }
}

fn is_variable(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Reads what follows `/incident`. The error says what would do.
pub(super) fn read(text: &str) -> Result<Line, String> {
    let mut rest = text.trim();
    let mut org = None;
    if word(rest).0 == "--org" {
        let (name, after) = word(word(rest).1);
        (org, rest) = (Some(name.to_owned()), after);
    }
    let (verb, mut rest) = word(rest);
    let mut incident = None;
    if let Ok(id) = word(rest).0.to_ascii_uppercase().parse::<IncidentId>() {
        (incident, rest) = (Some(id), word(rest).1);
    }
    let (first, after) = word(rest);
    let both = |what: &str| {
        if first.is_empty() || after.is_empty() {
            Err(format!("/incident {verb} wants {what}"))
        } else {
            Ok(())
        }
    };
    let order = match verb.to_ascii_lowercase().as_str() {
        "" | "help" => Order::Help,
        "declare" => {
            both("a severity and a title: /incident declare P2 Checkout fails")?;
            Order::Declare { severity: first.to_owned(), title: after.to_owned(), service: String::new() }
        }
        "status" if rest.is_empty() => Order::Show,
        "status" => Order::Status { word: first.to_owned(), text: after.to_owned() },
        "note" if rest.is_empty() => return Err("/incident note wants a text".to_owned()),
        "note" => Order::Note { text: rest.to_owned() },
        "update" => {
            let public = first == "--public";
            let text = if public { after } else { rest };
            if text.is_empty() {
                return Err("/incident update wants a message".to_owned());
            }
            Order::Update { text: text.to_owned(), public }
        }
        "remediate" if rest.is_empty() => {
            return Err("/incident remediate wants a runbook, such as rollback-deployment.md".to_owned());
        }
        "remediate" => {
            let (inputs, reason) = inputs(after);
            Order::Remediate { runbook: first.to_owned(), inputs, reason: reason.to_owned() }
        }
        "approve" => Order::Approve,
        "reject" if rest.is_empty() => return Err("/incident reject wants a reason".to_owned()),
        "reject" => Order::Reject { reason: rest.to_owned() },
        "resume" => Order::Resume,
        "changes" => Order::Changes,
        "who" => Order::Who,
        "review" => {
            both("a section and its text: /incident review impact Nobody could pay")?;
            Order::Review { section: first.to_ascii_lowercase(), text: after.to_owned() }
        }
        "follow-up" => {
            both("who does it, and what: /incident follow-up @somebody Alert on the pool's size")?;
            Order::FollowUp { owner: first.to_owned(), action: after.to_owned() }
        }
        "stop" => Order::Stop { reason: rest.to_owned() },
        "verify" => Order::Verify,
        "close-out" if rest.is_empty() => {
            return Err("/incident close-out wants what was done".to_owned());
        }
        "close-out" => Order::CloseOut { summary: rest.to_owned() },
        "cancel" if rest.is_empty() => return Err("/incident cancel wants a reason".to_owned()),
        "cancel" => Order::Cancel { reason: rest.to_owned() },
        "publish" => Order::Publish { reason: rest.to_owned() },
        "list" => Order::List,
        "unsubscribe" => Order::Unsubscribe,
        "severity" if rest.is_empty() => return Err("/incident severity wants P1, P2, P3 or P4".to_owned()),
        "severity" => Order::Severity { to: first.to_owned(), reason: after.to_owned() },
        "escalate" if rest.is_empty() => {
            return Err("/incident escalate wants what help is needed".to_owned());
        }
        "escalate" => Order::Escalate { reason: rest.to_owned() },
        "time" => {
            both("a moment and when it was: /incident time impact-started 2026-01-31T10:42:00Z")?;
            let (at, reason) = word(after);
            Order::Time { moment: first.to_owned(), at: at.to_owned(), reason: reason.to_owned() }
        }
        "relate" => {
            both("a relation and an incident: /incident relate duplicate-of INC-2026-0001")?;
            let (other, reason) = word(after);
            Order::Relate {
                relation: first.to_owned(),
                other: other.to_ascii_uppercase(),
                reason: reason.to_owned(),
            }
        }
        "assign" | "release" => {
            both("a part (commander, communications, operations, scribe) and a person")?;
            Order::Responder {
                part: first.to_ascii_lowercase(),
                who: word(after).0.to_owned(),
                release: verb.eq_ignore_ascii_case("release"),
            }
        }
        "close" => Order::Close,
        _ => return Err(format!("there is no /incident {verb}; there is:\n{HELP}")),
    };
    Ok(Line { org, incident, order })
}

/// The first word and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (first, rest.trim())
}

/// Who asks, from where.
pub(super) struct Asker {
    /// Slack user id.
    pub(super) user: String,
    /// Slack channel id; empty where there is none.
    pub(super) channel: String,
    /// The same for every time that Slack sends it.
    pub(super) request: String,
    /// Where they are told what comes of it later; none where Slack gave no address.
    pub(super) person: Option<Person>,
}

/// Carries an order out; says what came of it.
pub(super) async fn carry_out(app: &App, asker: &Asker, line: Line) -> String {
    if line.order == Order::Help {
        return HELP.to_owned();
    }
    attempt(app, asker, line)
        .await
        .unwrap_or_else(|error| format!("Nothing was changed: {}", error.for_people()))
}

async fn attempt(app: &App, asker: &Asker, line: Line) -> Result<String, ApiError> {
    let rules = app.doors.rules.current();
    let caller = caller(&rules, asker, line.org.as_deref())?;
    let call = |path: &[(&str, &str)], body: Value| {
        Call::by_door(app.clone(), caller.clone(), format!("slack/{}", asker.request), path, &body)
    };
    if let Order::Declare { severity, title, service } = &line.order {
        let mut body = json!({ "title": title, "severity": severity, "detectedBy": "slack" });
        if !service.is_empty() {
            body["serviceName"] = json!(service);
        }
        let declared = answered(incidents::declare(call(&[], body)).await).await?;
        let warning = declared["warning"].as_str().map(|text| format!(" ({text})")).unwrap_or_default();
        let incident = shown(&declared["incidentId"]);
        if let (Some(person), Ok(id)) = (&asker.person, incident.parse()) {
            tokio::spawn(tell_channel(app.clone(), caller.org.clone(), id, person.clone()));
        }
        return Ok(format!("{incident} is declared.{warning}"));
    }
    if line.order == Order::List {
        caller.require(Right::Read, None)?;
        return listed(app, &caller).await;
    }
    if line.order == Order::Unsubscribe {
        return unsubscribed(app, &caller, &asker.channel, &call).await;
    }
    let incident = match line.incident {
        Some(incident) => incident,
        None => of_channel(app, &caller, &asker.channel).await?,
    };
    let on = |body: Value| call(&[("id", incident.as_str())], body);
    let (response, done) = match line.order {
        Order::Help | Order::Declare { .. } | Order::List | Order::Unsubscribe => {
            return Ok(HELP.to_owned());
        }
        Order::Show | Order::Who | Order::Approve => {
            let found = answered(incidents::show(on(Value::Null)).await).await?;
            return Ok(match line.order {
                Order::Who => people(&rules, &found),
                Order::Approve => waits(&found),
                _ => described(&rules, &found),
            });
        }
        Order::Changes => {
            let changes = answered(changes::list(on(Value::Null)).await).await?;
            return Ok(changed(incident.as_str(), &changes));
        }
        Order::Reject { reason } => {
            let found = answered(incidents::show(on(Value::Null)).await).await?;
            let gate = &found["gate"];
            let (Some(id), Some(action)) = (gate["gateId"].as_str(), gate["action"].as_str()) else {
                return Ok(format!("Nothing waits for a decision at {incident}."));
            };
            let body = json!({ "decision": "rejected", "digest": gate["digest"], "reason": reason });
            answered(approvals::decide(call(&[("gate", id)], body)).await).await?;
            return Ok(format!("Rejected: {action}"));
        }
        Order::Resume => {
            (resume::resume(on(json!({}))).await, "What was lost is started again, at the same place.")
        }
        Order::Review { section, text } => {
            let body = json!({ "section": section, "text": text });
            (review::write(on(body)).await, "That is in the review. ")
        }
        Order::FollowUp { owner, action } => {
            let owner = named(&rules, &owner).unwrap_or_else(|_| owner.trim_start_matches('@').to_owned());
            let body = json!({ "incidentId": incident, "owner": owner, "action": action });
            let added = answered(follow_ups::add(call(&[], body)).await).await?;
            let owner = person(&rules.directory, &owner);
            return Ok(format!("{} is {owner}'s: {action}", shown(&added["id"])));
        }
        Order::Status { word, text } => (status::change(on(status_body(&word, &text))).await, ""),
        Order::Note { text } => (facts::note(on(json!({ "note": text }))).await, "The note is on record. "),
        Order::Update { text, public } => (
            acts::update(on(json!({ "message": text, "public": public }))).await,
            "The update is on its way.",
        ),
        Order::Remediate { runbook, inputs, reason } => {
            let body = json!({ "runbook": runbook, "inputs": inputs, "reason": reason });
            (
                blueprints::remediate(on(body)).await,
                "The remediation is proposed: it runs once it is approved.",
            )
        }
        Order::Stop { reason } => {
            (blueprints::stop(on(json!({ "reason": reason }))).await, "The remediation is told to stop.")
        }
        Order::Verify => (status::verify(on(json!({}))).await, ""),
        Order::CloseOut { summary } => (
            blueprints::close_out(on(json!({ "resolutionSummary": summary }))).await,
            "The close-out is started.",
        ),
        Order::Cancel { reason } => {
            (blueprints::cancel(on(json!({ "reason": reason }))).await, "The cancellation is started.")
        }
        Order::Publish { reason } => (
            blueprints::post_mortem(on(json!({ "reason": reason }))).await,
            "The review is proposed for publishing.",
        ),
        Order::Severity { to, reason } => (
            status::severity(on(json!({ "severity": to, "reason": reason }))).await,
            "The severity is changed. ",
        ),
        Order::Escalate { reason } => {
            (leading::escalate(on(json!({ "reason": reason }))).await, "The next level is called. ")
        }
        Order::Time { moment, at, reason } => (
            leading::time(on(json!({ "moment": moment, "at": at, "reason": reason }))).await,
            "The time is on record. ",
        ),
        Order::Relate { relation, other, reason } => {
            let body = json!({ "relation": relation, "incidentId": other, "reason": reason });
            (leading::relate(on(body)).await, "Both say so. ")
        }
        Order::Responder { part, who, release } => {
            let principal = named(&rules, &who)?;
            let body = json!({ "role": part, "principalId": principal, "release": release });
            (responders::change(on(body)).await, if release { "Released. " } else { "Assigned. " })
        }
        Order::Close => (status::close(on(json!({}))).await, ""),
    };
    let answer = answered(response).await?;
    if let Some(roles) = answer["gate"]["requiredRoles"].as_array() {
        let roles: Vec<_> = roles.iter().filter_map(Value::as_str).collect();
        return Ok(format!(
            "The close-out of {incident} has begun and waits for approval by {}.",
            roles.join(" or ")
        ));
    }
    let warning = answer["warning"].as_str().map(|text| format!(" ({text})")).unwrap_or_default();
    // What only starts something has changed no state yet.
    if !answer["state"].is_string() {
        return Ok(format!("{incident}: {}{warning}", done.trim_end()));
    }
    let unchanged = answer["answer"] == "unchanged";
    let done = if unchanged { "Nothing changed: it was that way already. " } else { done };
    Ok(format!("{done}{incident} is {} ({}).", shown(&answer["state"]), shown(&answer["phase"])))
}

/// Leads whoever declared an incident to its channel, once there is one.
async fn tell_channel(app: App, org: OrgId, incident: IncidentId, person: Person) {
    for _ in 0..CHANNEL_LOOKS {
        tokio::time::sleep(CHANNEL_LOOK).await;
        // A store that is away is asked again.
        let Ok(Some(state)) = app.doors.log.state(&org, &incident).await else { continue };
        if let Some(channel) = link(&state, LinkName::SlackChannel) {
            return person.lead(&app, &format!("{incident} is worked on in <#{channel}>.")).await;
        }
    }
}

/// The words of the machine and those of the view that are not also the machine's, as on the command line.
fn status_body(word: &str, text: &str) -> Value {
    let view = ["INVESTIGATING", "MITIGATED"].contains(&word.to_ascii_uppercase().as_str());
    let mut body = json!({ if view { "status" } else { "state" }: word });
    if text.is_empty() {
        return body;
    }
    if word.eq_ignore_ascii_case("RESOLVED") {
        body["resolutionSummary"] = json!(text);
    } else {
        body["reason"] = json!(text);
    }
    body
}

/// The person in the organisation that they mean.
fn caller(rules: &std::sync::Arc<RuleSet>, asker: &Asker, org: Option<&str>) -> Result<Caller, ApiError> {
    let principal = rules
        .directory
        .by_slack_user(&asker.user)
        .ok_or_else(|| ApiError::Forbidden("nobody in the directory has this Slack account".to_owned()))?;
    let unknown =
        |org: &str| ApiError::NotFound(format!("there is no organisation {org:?} that you have a role in"));
    let org: OrgId = match org {
        Some(org) => org.parse().map_err(|_| unknown(org))?,
        None => {
            let mut own = principal.roles.iter().filter(|(_, roles)| !roles.is_empty()).map(|(org, _)| org);
            match (own.next(), own.next()) {
                (Some(only), None) => only.clone(),
                (None, _) => {
                    return Err(ApiError::Forbidden("you have no role in any organisation".to_owned()));
                }
                (Some(_), Some(_)) => {
                    return Err(ApiError::Invalid(
                        "you have roles in more than one organisation: begin with --org NAME".to_owned(),
                    ));
                }
            }
        }
    };
    Caller::of(principal.clone(), org.clone(), rules.clone()).ok_or_else(|| unknown(org.as_str()))
}

/// The principal that a mention or an id means.
fn named(rules: &RuleSet, who: &str) -> Result<String, ApiError> {
    let mentioned = who.strip_prefix("<@").and_then(|rest| rest.split(['|', '>']).next());
    let found = match mentioned {
        Some(user) => rules.directory.by_slack_user(user),
        None => rules.directory.get(who.trim_start_matches('@')),
    };
    found
        .map(|principal| principal.id.clone())
        .ok_or_else(|| ApiError::Invalid(format!("nobody in the directory is {who}")))
}

/// The live incident whose channel this is.
async fn of_channel(app: &App, caller: &Caller, channel: &str) -> Result<IncidentId, ApiError> {
    let org = &caller.org;
    let live = machine::live_words();
    let live = Filter { states: live, visible_to: caller.sees_only(), ..Filter::default() };
    let incidents = if channel.is_empty() { vec![] } else { incidents::every(app, org, live).await? };
    incidents
        .iter()
        .find(|state| link(state, LinkName::SlackChannel) == Some(channel))
        .and_then(|state| state.incident.parse().ok())
        .ok_or_else(|| {
            ApiError::Invalid(
                "name the incident, such as INC-2026-0001: this is no incident's channel".to_owned(),
            )
        })
}

/// What the catalog has for people to choose from, by id and name; none where that is more than `most`.
pub(super) async fn services(app: &App, asker: &Asker, most: u32) -> Result<Vec<(String, String)>, ApiError> {
    let rules = app.doors.rules.current();
    let caller = caller(&rules, asker, None)?;
    caller.require(Right::Read, None)?;
    let filter = CatalogFilter {
        kind: CatalogKind::Service,
        ids: Vec::new(),
        search: None,
        retired: false,
        running: false,
        after: None,
        limit: most + 1,
    };
    let found = app.doors.log.catalog(&caller.org, &filter).await?;
    let named: Vec<_> =
        found.into_iter().filter_map(StreamState::service).map(|one| (one.id, one.name)).collect();
    Ok(if named.len() > most as usize { Vec::new() } else { named })
}

/// How often, and how many times, the channel of a new incident is looked for: a minute, as long as initiation may wait for
/// Slack before it goes on without.
const CHANNEL_LOOK: Duration = Duration::from_millis(500);
const CHANNEL_LOOKS: u32 = 120;
/// How many incidents a list in Slack has; the console has all of them.
const LISTED: usize = 15;

/// What is not over, the most severe first.
async fn listed(app: &App, caller: &Caller) -> Result<String, ApiError> {
    let org = &caller.org;
    let live = Filter {
        states: machine::live_words(),
        visible_to: caller.sees_only(),
        sort: Sort::MostSevereFirst,
        ..Filter::default()
    };
    let found = incidents::every(app, org, live).await?;
    if found.is_empty() {
        return Ok("No incident is open.".to_owned());
    }
    let line = |state: &IncidentState| {
        let commander = match views::commander(state) {
            "" => "nobody commands".to_owned(),
            commander => format!("{} commands", person(caller.rules().directory, commander)),
        };
        format!(
            "{}: {} {}, {commander}: {}",
            state.incident,
            state.severity().as_str_name(),
            state.state().as_str_name(),
            views::text(state.title.as_ref())
        )
    };
    let mut lines: Vec<String> = found.iter().take(LISTED).map(line).collect();
    if found.len() > LISTED {
        lines.push(format!("and {} more", found.len() - LISTED));
    }
    Ok(lines.join("\n"))
}

/// Ends what a channel follows, as far as the person may.
async fn unsubscribed(
    app: &App,
    caller: &Caller,
    channel: &str,
    call: &impl Fn(&[(&str, &str)], Value) -> Call,
) -> Result<String, ApiError> {
    caller.require(Right::Read, None)?;
    let mut ended = Vec::new();
    for one in subscriptions::all(app, caller, false).await? {
        if channel.is_empty() || one.channel.as_deref() != Some(channel) {
            continue;
        }
        answered(subscriptions::remove(call(&[("id", &one.id)], json!({}))).await).await?;
        ended.push(one.subject.parse().map_or(one.subject, |topic: Topic| topic.words()));
    }
    if ended.is_empty() {
        return Ok(
            "This channel follows nothing that you may end. Each message to it has a link that ends what it \
                   came by."
                .to_owned(),
        );
    }
    Ok(format!("This channel no longer follows {}.", ended.join(", ")))
}

/// The body of one of our own answers, or why it was refused.
pub(super) async fn answered(response: Result<Response, ApiError>) -> Result<Value, ApiError> {
    let body = response?.into_response().into_body();
    // Our own answers are small.
    let body = to_bytes(body, usize::MAX).await.map_err(|_| ApiError::Internal)?;
    serde_json::from_slice(&body).map_err(|_| ApiError::Internal)
}

fn described(rules: &RuleSet, incident: &Value) -> String {
    let mut text = format!(
        "{}: {} is {} ({}), {}",
        shown(&incident["incidentId"]),
        shown(&incident["severity"]),
        shown(&incident["state"]),
        shown(&incident["phase"]),
        shown(&incident["title"]),
    );
    if let Some(commander) = incident["commander"].as_str().filter(|commander| !commander.is_empty()) {
        text.push_str(&format!("\nCommander: {}", person(&rules.directory, commander)));
    }
    if let Some(action) = incident["gate"]["action"].as_str() {
        text.push_str(&format!("\nAn approval waits: {action}"));
    }
    text
}

/// A person by name, and by id where the directory has none.
pub(super) fn person(directory: &Directory, id: &str) -> String {
    directory.get(id).map_or(id, Principal::display_name).to_owned()
}

/// Who has which part, and who may decide what waits.
fn people(rules: &RuleSet, incident: &Value) -> String {
    let mut lines = vec![match incident["commander"].as_str().filter(|commander| !commander.is_empty()) {
        Some(commander) => format!("Commander: {}", person(&rules.directory, commander)),
        None => "Nobody commands: /incident assign commander @somebody".to_owned(),
    }];
    for one in incident["responders"].as_array().into_iter().flatten() {
        let (role, principal) = (shown(&one["role"]), shown(&one["principalId"]));
        if role != "commander" {
            lines.push(format!("{role}: {}", person(&rules.directory, principal)));
        }
    }
    if let Some(action) = incident["gate"]["action"].as_str() {
        let roles = incident["gate"]["requiredRoles"].as_array().into_iter().flatten();
        let roles: Vec<&str> = roles.filter_map(Value::as_str).collect();
        lines.push(format!("Waits for {}: {action}", roles.join(" or ")));
    }
    lines.join("\n")
}

/// Where what waits is decided.
fn waits(incident: &Value) -> String {
    match incident["gate"]["action"].as_str() {
        Some(action) => format!(
            "{action}\nIt is approved where all of it is shown: at its message in the incident's channel, or on the \
             console's page Approvals."
        ),
        None => format!("Nothing waits for a decision at {}.", shown(&incident["incidentId"])),
    }
}

/// What changed before an incident: first what is suspected, the likeliest first.
fn changed(incident: &str, changes: &Value) -> String {
    let all =
        ["suspected", "linked"].into_iter().flat_map(|list| changes[list].as_array().into_iter().flatten());
    let line = |one: &Value| {
        let version =
            one["version"].as_str().filter(|version| !version.is_empty()).unwrap_or(shown(&one["sha"]));
        let reason = one["reason"].as_str().filter(|reason| !reason.is_empty());
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        format!(
            "{}: {} {version} in {}{reason}",
            shown(&one["relation"]),
            shown(&one["serviceName"]),
            shown(&one["environmentName"])
        )
    };
    let lines: Vec<String> = all.take(LISTED).map(line).collect();
    if lines.is_empty() {
        format!("Nothing that the catalog knows changed before {incident}.")
    } else {
        lines.join("\n")
    }
}

fn shown(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, incident: Option<&str>, order: Order) {
        let incident = incident.map(|id| id.parse().unwrap());
        assert_eq!(read(text), Ok(Line { org: None, incident, order }), "{text}");
    }

    #[test]
    fn lines_are_read_with_and_without_the_incident() {
        let own = |text: &str| text.to_owned();
        const ID: Option<&str> = Some("INC-2026-0001");
        check("", None, Order::Help);
        check(
            "  declare  P2   Checkout  fails ",
            None,
            Order::Declare { severity: own("P2"), title: own("Checkout  fails"), service: own("") },
        );
        check("status inc-2026-0001", ID, Order::Show);
        check("STATUS", None, Order::Show);
        check(
            "status INC-2026-0001 resolved Rolled back",
            ID,
            Order::Status { word: own("resolved"), text: own("Rolled back") },
        );
        check("note it falls", None, Order::Note { text: own("it falls") });
        check("severity INC-2026-0001 P1", ID, Order::Severity { to: own("P1"), reason: String::new() });
        check(
            "assign INC-2026-0001 Commander <@U1|ada> please",
            ID,
            Order::Responder { part: own("commander"), who: own("<@U1|ada>"), release: false },
        );
        check("close INC-2026-0001", ID, Order::Close);
        check("escalate stuck", None, Order::Escalate { reason: own("stuck") });
        check(
            "time INC-2026-0001 detected 2026-01-31T10:42:00Z the pager",
            Some("INC-2026-0001"),
            Order::Time {
                moment: own("detected"),
                at: own("2026-01-31T10:42:00Z"),
                reason: own("the pager"),
            },
        );
        check(
            "relate related inc-2026-0007",
            None,
            Order::Relate { relation: own("related"), other: own("INC-2026-0007"), reason: own("") },
        );
        check("update --public INC", None, Order::Update { text: own("INC"), public: true });
        check(
            "update INC-2026-0001 Rolling back",
            ID,
            Order::Update { text: own("Rolling back"), public: false },
        );
        check(
            "remediate rollback.md 2.4.1 is bad",
            None,
            Order::Remediate {
                runbook: own("rollback.md"),
                inputs: BTreeMap::new(),
                reason: own("2.4.1 is bad"),
            },
        );
        check("stop", None, Order::Stop { reason: String::new() });
        check("close-out rolled back", None, Order::CloseOut { summary: own("rolled back") });
        check("list", None, Order::List);
        check("unsubscribe", None, Order::Unsubscribe);
        check("who inc-2026-0001", ID, Order::Who);
        check("changes", None, Order::Changes);
        check("approve INC-2026-0001 now", ID, Order::Approve);
        check("reject INC-2026-0001 too risky", ID, Order::Reject { reason: own("too risky") });
        check(
            "review Impact Nobody could pay",
            None,
            Order::Review { section: own("impact"), text: own("Nobody could pay") },
        );
        check(
            "follow-up <@U1|ada> Alert on it",
            None,
            Order::FollowUp { owner: own("<@U1|ada>"), action: own("Alert on it") },
        );
        let line = read("--org acme close INC-2026-0001").unwrap();
        assert_eq!((line.org.as_deref(), line.order), (Some("acme"), Order::Close));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, expected) in [
            ("declare P2", "a severity and a title"),
            ("note INC-2026-0001", "wants a text"),
            ("severity", "wants P1, P2, P3 or P4"),
            ("update --public", "wants a message"),
            ("remediate INC-2026-0001", "wants a runbook"),
            ("close-out", "wants what was done"),
            ("assign INC-2026-0001 commander", "a part"),
            ("reject INC-2026-0001", "wants a reason"),
            ("review impact", "a section and its text"),
            ("follow-up @ada", "who does it, and what"),
            ("launch everything", "there is no /incident launch"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
