//! `harmony log …`: what is on record, and whether it can be believed.
//!
//! `verify`, `replay` and `export` work on the database itself where `DATABASE_URL` names one or no API answers: an
//! auditor needs nothing but the file and the salt key. `verify --file` needs the export and the key that verifies its
//! signature, and nothing else.

use std::{
    collections::BTreeSet,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use harmony_eventlog::{
    Checkpoint, CheckpointKey, Export, Report, VerifierKey, export, export::Expected, redaction,
    replay::replay,
};
use harmony_incidents::{IncidentId, StreamId};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    api::Api,
    commands::{
        incident::given,
        incident_args::{KeyArgs, incident_id},
        records, show,
    },
    config::Config,
    failure::{Exit, Failure},
    keys, moments,
    output::{self, words},
};

/// What can be done with the log.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Show an incident's records
    Show(ShowArgs),
    /// Check every byte, link, state and text
    Verify(VerifyArgs),
    /// Fold every incident again and compare each state
    Replay,
    /// Write everything, or some incidents, as JSON Lines
    Export(ExportArgs),
    /// Sign where every incident ends; keep it elsewhere
    Checkpoint(CheckpointArgs),
    /// Take a record's text out of the log for good; that it was there stays on record
    Redact(RedactArgs),
}

/// Options of `show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    id: String,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Verify this export; needs --verifier-key
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Hold the log against this checkpoint, which was kept elsewhere
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Who signed the checkpoints, as NAME+HASH+KEY: `harmony log checkpoint --print-key` prints it where the log is
    /// kept [default: the data directory's key; none for --file]
    #[arg(long, value_name = "K")]
    verifier_key: Option<String>,
    /// Check only the chain of --file and believe any signature: whoever wrote the file could have rewritten or cut it
    #[arg(long, requires = "file", conflicts_with_all = ["verifier_key", "checkpoint"])]
    unsigned: bool,
}

/// Options of `export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Only this incident, such as INC-2026-0042, or 42 for this year's; repeat for more
    #[arg(long = "incident", value_name = "ID", value_parser = incident_id)]
    incidents: Vec<String>,
    /// Only incidents declared at this time or later: 2026-11-29, which begins in UTC, or 2026-11-29T10:42:00Z
    #[arg(long, value_name = "WHEN", value_parser = moments::since_day)]
    since: Option<Timestamp>,
    /// Only incidents declared before this time, or up to the end of this day
    #[arg(long, value_name = "WHEN", value_parser = moments::until_day)]
    until: Option<Timestamp>,
}

/// Options of `checkpoint`.
#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    /// Sign with this key: 64 hex digits [default: the data directory's, made once]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print what verifies the signatures, and nothing else
    #[arg(long)]
    print_key: bool,
}

/// Options of `redact`.
#[derive(Debug, Args)]
pub(crate) struct RedactArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    id: String,
    /// The record
    seq: u64,
    /// Only this text of it, such as note or title [default: all]
    #[arg(long)]
    field: Option<String>,
    /// Why; it stays on record, so repeat nothing of the text
    #[arg(long)]
    reason: String,
    /// Do not ask; needed where nobody can be asked
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    key: KeyArgs,
}

impl ExportArgs {
    /// As the API is asked.
    fn query(&self) -> Vec<(&'static str, String)> {
        let ids = self.incidents.iter().map(|id| ("incidentId", id.clone()));
        let times = [("since", self.since), ("until", self.until)];
        ids.chain(times.into_iter().filter_map(|(name, at)| Some((name, at?.to_string())))).collect()
    }
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &LogCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        LogCommand::Show(args) => show_records(config, &args.id, json).await?,
        LogCommand::Verify(args) => {
            if args.file.is_some() && args.verifier_key.is_none() && !args.unsigned {
                return Err(unverifiable().into());
            }
            let expected = expected(config, args)?;
            let report = match &args.file {
                Some(path) => {
                    let mut report = json!(verify_file(path, expected)?);
                    report["signatureChecked"] = json!(!args.unsigned);
                    report
                }
                None => match api(config).await? {
                    Some(api) if expected.checkpoint.is_some() => {
                        json!(verify_exported(&api, expected).await?)
                    }
                    Some(api) => api.get(&["log", "verify"], &[]).await?,
                    None => json!(verify_stored(config, &expected).await?),
                },
            };
            return Ok(tell(&report, "verified", json));
        }
        LogCommand::Replay => {
            let report = match api(config).await? {
                Some(api) => api.get(&["log", "replay"], &[]).await?,
                None => json!(replay_stored(config).await?),
            };
            return Ok(tell(&report, "replayed", json));
        }
        LogCommand::Export(args) => match api(config).await? {
            Some(api) => output::json_lines(&api.get_text(&["log", "export"], &args.query()).await?),
            None => export(config, args).await?,
        },
        LogCommand::Checkpoint(args) => checkpoint(config, args).await?,
        LogCommand::Redact(args) => redact(config, args, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks the log in the database itself.
pub(crate) async fn verify(config: &Config) -> anyhow::Result<Report> {
    verify_stored(config, &Expected::default()).await
}

/// The API, unless the database was named or no API answers.
async fn api(config: &Config) -> anyhow::Result<Option<Api>> {
    if config.names_database() || config.api_origin()?.is_none() {
        return Ok(None);
    }
    let api = Api::open(config, None)?;
    let answers = match url::Url::parse(&api.origin())?.socket_addrs(|| None) {
        Ok(addresses) => {
            let connecting = tokio::net::TcpStream::connect(addresses.as_slice());
            matches!(tokio::time::timeout(std::time::Duration::from_secs(2), connecting).await, Ok(Ok(_)))
        }
        Err(_) => false,
    };
    if !answers && let Some(path) = config.database()?.path().filter(|path| !path.is_file()) {
        return Err(Failure::failed(
            format!("no API answers at {}, and there is no database at {}", api.origin(), path.display()),
            "start `harmony serve`, or set DATABASE_URL=sqlite://PATH",
        )
        .into());
    }
    Ok(answers.then_some(api))
}

fn tell(report: &Value, done: &str, json: bool) -> ExitCode {
    let findings = show::items(report, "findings");
    let good = report["verified"].as_bool().unwrap_or(findings.is_empty());
    if json {
        output::json(report);
    } else {
        if report["signatureChecked"] == false {
            output::data(
                "only the chain was checked, no signature: whoever wrote the file could have rewritten or cut it",
            );
        }
        for finding in findings {
            output::data(&format!(
                "{} record {}: {}",
                words(&finding["incident"]),
                words(&finding["seq"]),
                words(&finding["problem"])
            ));
        }
        for text in report["redacted"].as_array().unwrap_or(&Vec::new()) {
            output::data(&format!(
                "{} record {}: {} was redacted, on record",
                words(&text["incident"]),
                words(&text["seq"]),
                words(&text["field"])
            ));
        }
        output::data(&format!(
            "{}: {} incidents, {} records, {} findings",
            if good { done } else { "NOT verified" },
            words(&report["incidents"]),
            words(&report["records"]),
            findings.len()
        ));
    }
    if good {
        return ExitCode::SUCCESS;
    }
    output::problem(
        Exit::Failed,
        "the log is not what was written",
        "keep the file as it is; compare it with a backup and with the checkpoints kept elsewhere",
    );
    ExitCode::from(Exit::Failed.code())
}

async fn show_records(config: &Config, id: &str, json: bool) -> anyhow::Result<()> {
    let api = Api::open(config, None)?;
    let events = records::all(&api, id).await?;
    if json {
        output::json(&json!({ "events": events }));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|event| {
            let at = moments::parsed(&event["occurredAt"]).map(moments::local).unwrap_or_default();
            let mut row = vec![words(&event["seq"]), at];
            row.extend(["kind", "actor", "description"].map(|name| words(&event[name])));
            row
        })
        .collect();
    output::table(&["SEQ", "WHEN", "KIND", "ACTOR", "WHAT"], &rows);
    Ok(())
}

/// Folds the log in the database itself.
async fn replay_stored(config: &Config) -> anyhow::Result<Report> {
    let log = config.open_existing_log().await?;
    Ok(replay(log.as_ref(), &config.org).await.map_err(|error| unreadable(config, &error))?)
}

async fn export(config: &Config, args: &ExportArgs) -> anyhow::Result<()> {
    let log = config.open_existing_log().await?;
    let broken = |error| unreadable(config, &error);
    let key = config.known_checkpoint_key()?;
    let mut export = Export::begin(log.clone(), config.org.clone(), key).await.map_err(broken)?;
    let mut named = BTreeSet::new();
    for id in &args.incidents {
        let id: IncidentId = id.parse()?;
        if log.state(&config.org, &id).await.map_err(broken)?.is_none() {
            return Err(Failure {
                exit: Exit::NotFound,
                what: format!("incident {id} does not exist"),
                hint: "check the id; `harmony incident list` shows the incidents".to_owned(),
            }
            .into());
        }
        named.insert(StreamId::from(id));
    }
    if !named.is_empty() {
        export = export.only(&named);
    }
    let mut export = export.declared(args.since, args.until).await.map_err(broken)?;
    while let Some(lines) = export.next().await.map_err(broken)? {
        output::json_lines(&lines);
    }
    Ok(())
}

/// A file says nothing of who wrote it but by its signature.
fn unverifiable() -> Failure {
    Failure::usage(
        "an export is verified by its signature, and no key was given",
        "give --verifier-key; `harmony log checkpoint --print-key` prints it where the log is kept. --unsigned checks the chain alone",
    )
}

/// Verifies an exported file; neither a database nor an API is asked.
fn verify_file(path: &Path, expected: Expected) -> anyhow::Result<Report> {
    let hint = "it takes what `harmony log export` writes";
    let file = File::open(path)
        .map_err(|error| Failure::failed(format!("cannot open {}: {error}", path.display()), hint))?;
    let verified = export::verify(BufReader::new(file), expected).map_err(|error| {
        let why = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
        Failure::failed(format!("{}: {error}{why}", path.display()), hint)
    })?;
    if !verified.has_checkpoint && verified.report.verified {
        output::say("the file has no checkpoint: were its end cut off, this would not show");
    }
    Ok(verified.report)
}

/// Verifies what the API exports against a checkpoint.
async fn verify_exported(api: &Api, expected: Expected) -> anyhow::Result<Report> {
    let exported = api.get_text(&["log", "export"], &[]).await?;
    let verified = export::verify(exported.as_bytes(), expected)
        .map_err(|error| Failure::failed(error.to_string(), "compare the database with a backup"))?;
    Ok(verified.report)
}

/// Verifies the database, and holds it against a checkpoint.
async fn verify_stored(config: &Config, expected: &Expected) -> anyhow::Result<Report> {
    let log = config.open_existing_log().await?;
    let mut report = log.verify(&config.org).await.map_err(|error| unreadable(config, &error))?;
    if let Some(checkpoint) = &expected.checkpoint {
        checkpoint.check(log.as_ref(), &mut report).await.map_err(|error| unreadable(config, &error))?;
    }
    Ok(report)
}

/// What the log is to be held against. Without a verifier key it is our own key that must have signed.
fn expected(config: &Config, args: &VerifyArgs) -> anyhow::Result<Expected> {
    let verifier = match &args.verifier_key {
        Some(text) => {
            let hint = "`harmony log checkpoint --print-key` tells it";
            Some(VerifierKey::parse(text).map_err(|error| Failure::usage(error.to_string(), hint))?)
        }
        None => None,
    };
    let Some(path) = &args.checkpoint else { return Ok(Expected { checkpoint: None, verifier }) };
    let note = std::fs::read_to_string(path).map_err(|error| {
        Failure::failed(format!("cannot read {}: {error}", path.display()), "name a file with a checkpoint")
    })?;
    let by = match &verifier {
        Some(verifier) => verifier.clone(),
        None => {
            let own = config.known_checkpoint_key()?.ok_or_else(|| {
                Failure::usage(
                    "nobody is known who could have signed the checkpoint",
                    "set HARMONY_CHECKPOINT_KEY, or give --verifier-key, which `harmony log checkpoint --print-key` tells",
                )
            })?;
            own.verifier(&config.org)
        }
    };
    let checkpoint = by.open(&note).map_err(|error| {
        let hint = "use the checkpoint as it was made, and the key that signed it";
        Failure::failed(format!("{}: {error}", path.display()), hint)
    })?;
    if args.file.is_none() && checkpoint.org != config.org {
        let what = format!("the checkpoint is of {}, the log of {}", checkpoint.org, config.org);
        return Err(Failure::usage(what, "name the organisation with --org").into());
    }
    Ok(Expected { checkpoint: Some(checkpoint), verifier })
}

/// The key that signs checkpoints: from this file, or the installation's own.
fn checkpoint_key(config: &Config, file: Option<&Path>) -> anyhow::Result<CheckpointKey> {
    let Some(path) = file else { return config.checkpoint_key() };
    let key = keys::read(path)?.ok_or_else(|| {
        Failure::usage(format!("{} holds no key", path.display()), "a signing key is 64 hex digits")
    })?;
    let key = CheckpointKey::parse(key.expose_secret());
    Ok(key.map_err(|error| Failure::usage(error.to_string(), "write 64 hex digits, or delete the file"))?)
}

async fn checkpoint(config: &Config, args: &CheckpointArgs) -> anyhow::Result<()> {
    let file = args.key.as_deref();
    if args.print_key {
        output::data(&checkpoint_key(config, file)?.verifier(&config.org).to_string());
        return Ok(());
    }
    let api = if file.is_some() { None } else { api(config).await? };
    let note = match api {
        Some(api) => api.get_text(&["log", "checkpoint"], &[]).await?,
        None => {
            let log = config.open_existing_log().await?;
            let made = Checkpoint::of(log.as_ref(), &config.org).await;
            checkpoint_key(config, file)?.sign(&made.map_err(|error| unreadable(config, &error))?)
        }
    };
    output::raw(&note);
    Ok(())
}

async fn redact(config: &Config, args: &RedactArgs, json: bool) -> anyhow::Result<()> {
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let events = records::all(&api, &args.id).await?;
    let going = Going::of(&events, args);
    if !args.yes {
        going.show();
        if !output::is_interactive() {
            return Err(Failure::usage(
                "a text is taken out for good, and nobody can be asked here",
                "look at what goes, then add --yes",
            )
            .into());
        }
        if !output::confirm("Take it out of the log for good?") {
            return Err(Failure::failed("nothing was taken out", "answer y to take it out").into());
        }
    }
    let body = given(json!({ "seq": args.seq, "field": args.field, "reason": args.reason }));
    let reply = api.post(&["incidents", &args.id, "redact"], &body).await?.body;
    let place = format!("{} record {}", args.id, args.seq);
    let is_redacted = reply["answer"] == "recorded";
    let (copies, outside) =
        (going.copies(), if is_redacted { outside(&events, args.seq) } else { Vec::new() });
    if json {
        let mut reply = reply;
        reply["copies"] = json!(
            going
                .copies
                .iter()
                .map(|(seq, _, field)| json!({ "seq": seq, "field": field }))
                .collect::<Vec<_>>()
        );
        reply["outside"] = json!(outside);
        output::json(&reply);
    } else if is_redacted {
        output::data(&format!("{place}: redacted, on record up to {}", words(&reply["seq"])));
        for copy in copies {
            output::data(&format!("with it    {copy}"));
        }
        for place in outside {
            output::data(&format!("look at    {place}"));
        }
        output::say(
            "what went outside stays there until somebody removes it there; so do backups and earlier exports",
        );
    } else {
        output::data(&format!("{place}: was redacted before"));
    }
    Ok(())
}

/// What a redaction takes, as the API shows it now.
struct Going {
    /// Field and text.
    texts: Vec<(String, String)>,
    /// Other texts that hold a copy: record, its kind, field.
    copies: Vec<(u64, String, String)>,
}

impl Going {
    fn of(events: &[Value], args: &RedactArgs) -> Self {
        let texts_of = |event: &Value| redaction::texts_of(&words(&event["kind"]), &event["payload"]);
        let is_asked_for = |field: &str| args.field.as_deref().is_none_or(|asked| asked == field);
        let mut texts = Vec::new();
        for event in events.iter().filter(|event| event["seq"] == args.seq) {
            texts.extend(texts_of(event).into_iter().filter(|(field, _)| is_asked_for(field)));
        }
        let mut copies = Vec::new();
        for event in events {
            let seq = event["seq"].as_u64().unwrap_or_default();
            for (field, text) in texts_of(event) {
                let is_other = seq != args.seq || !is_asked_for(&field);
                if is_other && texts.iter().any(|(_, one)| redaction::holds(&text, one)) {
                    copies.push((seq, words(&event["kind"]), field));
                }
            }
        }
        Self { texts, copies }
    }

    fn copies(&self) -> Vec<String> {
        self.copies.iter().map(|(seq, kind, field)| format!("record {seq}, {field} of {kind}")).collect()
    }

    fn show(&self) {
        for (field, text) in &self.texts {
            output::say(&format!("{field}: {text}"));
        }
        for copy in self.copies() {
            output::say(&format!("with it goes {copy}, which holds it"));
        }
    }
}

/// Where an incident's texts went from this record on, outside the log: to be looked at by somebody who may remove it
/// there.
fn outside(events: &[Value], seq: u64) -> Vec<String> {
    let mut places = BTreeSet::new();
    for event in events {
        let payload = &event["payload"];
        match event["kind"].as_str() {
            Some("STEP_SUCCEEDED") if event["seq"].as_u64() >= Some(seq) => {
                let links = payload["links"].as_array().into_iter().flatten();
                let link = links.filter_map(|link| link["url"].as_str()).find(|url| !url.is_empty());
                let reference = words(&payload["externalRef"]);
                let place = match link {
                    Some(url) if reference.is_empty() => url.to_owned(),
                    Some(url) => format!("{reference} ({url})"),
                    None => reference,
                };
                let vendor = match payload["capability"].as_str().and_then(|id| id.rsplit('.').next()) {
                    Some("slack-interactive") => "Slack message",
                    Some("statuspage") => "Statuspage",
                    Some("confluence") => "Confluence page",
                    Some("pagerduty") => "PagerDuty",
                    _ => continue,
                };
                if !place.is_empty() {
                    places.insert(format!("{vendor} {place}"));
                }
            }
            Some("FOLLOW_UP_CHANGED") if event["seq"].as_u64() >= Some(seq) => {
                let (ticket, url) = (words(&payload["ticket"]), words(&payload["url"]));
                if payload["ticketId"].is_string() && !ticket.is_empty() {
                    places.insert(format!("issue {ticket} ({url})"));
                }
            }
            Some("BLUEPRINT_STARTED") => {
                places.insert(format!("Temporal history of {}", words(&payload["workflowId"])));
            }
            _ => {}
        }
    }
    places.into_iter().collect()
}

fn unreadable(config: &Config, error: &harmony_eventlog::LogError) -> Failure {
    let place = config.database().map(|address| address.to_string()).unwrap_or_default();
    Failure::failed(
        format!("the log at {place} cannot be read: {error}"),
        "keep it as it is, and compare it with a backup",
    )
}
