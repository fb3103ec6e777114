//! The log for people: whether it verifies, a checkpoint to keep, and any single record.

use askama::Template;
use harmony_eventlog::Checkpoint;
use harmony_incidents::Right;
use serde_json::json;

use super::{
    Page, Trouble,
    form::Submission,
    html,
    incidents::Line,
    offers, timeline,
    visit::{Frame, Visit},
};
use crate::{error::ApiError, log::hidden, views};

/// Findings that a page shows; `harmony log verify` shows all.
const FINDINGS: usize = 100;

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    frame: Frame,
    verdict: Option<Verdict>,
    /// A signed note that was made just now.
    checkpoint: String,
    can_sign: bool,
    export: String,
}

struct Verdict {
    verified: bool,
    incidents: u64,
    records: u64,
    redacted: usize,
    elapsed_ms: u128,
    findings: Vec<(String, u64, String)>,
    more: usize,
}

/// `GET …/log`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let export = format!("/api/orgs/{}/log/export", visit.caller.org);
    let can_sign = visit.app.doors.checkpoint_key.is_some();
    let frame = visit.frame("log");
    html(&LogPage { frame, verdict: None, checkpoint: String::new(), can_sign, export })
}

/// `POST …/log`: verify now, or make a checkpoint.
pub(crate) async fn verify(form: Submission) -> Page {
    let frame = Frame { at: "log", ..form.frame.clone() };
    let framed = |error: ApiError| Trouble::Api(error, Some(Box::new(frame.clone())));
    form.caller.require(Right::Read, None).map_err(framed)?;
    let doors = &form.site.app.doors;
    let org = &form.caller.org;
    let mut page = LogPage {
        frame: frame.clone(),
        verdict: None,
        checkpoint: String::new(),
        can_sign: doors.checkpoint_key.is_some(),
        export: format!("/api/orgs/{org}/log/export"),
    };
    match (form.field("go"), &doors.checkpoint_key) {
        ("checkpoint", Some(key)) => {
            let checkpoint =
                Checkpoint::of(doors.log.as_ref(), org).await.map_err(|error| framed(error.into()))?;
            let hidden = hidden(&form.site.app, &form.caller).await.map_err(framed)?;
            let checkpoint = checkpoint.without(&hidden);
            page.checkpoint = key.sign(&checkpoint);
        }
        _ => {
            let began = std::time::Instant::now();
            let hidden = hidden(&form.site.app, &form.caller).await.map_err(framed)?;
            let report = doors.log.verify(org).await.map_err(|error| framed(error.into()))?.without(&hidden);
            let more = report.findings.len().saturating_sub(FINDINGS);
            let finding =
                |one: &harmony_eventlog::Finding| (one.incident.clone(), one.seq, one.problem.clone());
            page.verdict = Some(Verdict {
                verified: report.verified,
                incidents: report.incidents,
                records: report.records,
                redacted: report.redacted.len(),
                elapsed_ms: began.elapsed().as_millis(),
                findings: report.findings.iter().take(FINDINGS).map(finding).collect(),
                more,
            });
        }
    }
    html(&page)
}

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    frame: Frame,
    head: Line,
    address: String,
    seq: u64,
    last: u64,
    kind: String,
    facts: Vec<(&'static str, String)>,
    payload: String,
    /// Names of the texts that this reader may take out.
    texts: Vec<String>,
    /// The attempt whose dry run it planned, where the reader may propose that.
    dry_run: Option<u32>,
}

/// `GET …/incidents/{id}/records/{seq}`
pub(crate) async fn record(visit: Visit) -> Page {
    let (id, state) = visit.incident().await?;
    let text = visit.path("seq");
    let wanted: u64 = text.parse().ok().filter(|seq| (1..=state.seq).contains(seq)).ok_or_else(|| {
        visit.trouble(ApiError::NotFound(format!("{id} has the records 1 to {}, not {text:?}", state.seq)))
    })?;
    let org = &visit.caller.org;
    let entries = visit.app.doors.log.records(org, &id, wanted - 1, 1).await?;
    let Some(entry) = entries.first() else {
        return Err(visit.trouble(ApiError::NotFound(format!("{id} has no record {wanted}"))));
    };
    let event = json!(views::event(entry));
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let cause = &entry.record.cause.clone().unwrap_or_default();
    let facts = vec![
        ("Occurred", text("occurredAt")),
        ("Actor", text("actor")),
        ("Authority", text("authority")),
        ("Workflow", cause.workflow_id.clone()),
        ("Step", cause.step.clone()),
        ("Request", cause.request_id.clone()),
        ("Event id", text("eventId")),
        ("SHA-256", text("hash")),
        ("SHA-256 of the record before", text("prevHash")),
        ("SHA-256 of the state after", text("stateHashAfter")),
        ("Stored", text("storedAt")),
    ];
    let mut held = entry.record.payload.clone().unwrap_or_default();
    let texts = if visit.may(Right::Administer, Some(&state)) {
        let there = harmony_protos::texts(&mut held).into_iter().filter(|one| !one.text.text.is_empty());
        there.map(|one| one.name.to_string()).collect()
    } else {
        Vec::new()
    };
    let kind = entry.record.payload.as_ref().and_then(|payload| payload.kind.as_ref());
    let may_propose = offers::offers(&visit, &state).remediate;
    html(&RecordPage {
        dry_run: kind.and_then(timeline::dry_run).filter(|_| may_propose),
        texts,
        frame: visit.frame("incidents"),
        head: Line::of(&visit, &state),
        address: format!("/orgs/{org}/incidents/{id}"),
        seq: wanted,
        last: state.seq,
        kind: text("kind"),
        facts: facts.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        payload: serde_json::to_string_pretty(&event["payload"]).unwrap_or_default(),
    })
}
