//! `POST /webhooks/jira`, and the event `issues` at `POST /webhooks/github`: what becomes of the issues that follow-ups were
//! exported to.
//!
//! Both sign the raw body with HMAC-SHA256, and nothing is read before that is checked. An issue that no follow-up became
//! changes nothing. Of one that is ours the state is taken, as of the time that the tracker gives for it, and the judge lets
//! the latest count: a delivery that comes late, twice or out of order changes nothing. Whatever else such a delivery says
//! is left alone, and it acts in nobody's name but the tracker's.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use harmony_blueprints::contracts::{Tracker, issue_of_step, ticket_key};
use harmony_capabilities::tracker::{LABEL, MARK};
use harmony_eventlog::{Append, EffectSubject, LogError, Target};
use harmony_incidents::{
    Command, Context, IncidentId, OrgId,
    judge::{judge, payload},
    leading::TicketWord,
    log::{Authority, Cause, FollowUpChanged, Text, payload::Kind},
};
use jiff::{Timestamp, fmt::strtime};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::signed;
use crate::{App, error::ApiError};

/// What a tracker tells of an issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    tracker: Tracker,
    /// The tracker's own id.
    id: String,
    word: TicketWord,
    /// When the issue came to this, by the tracker's clock.
    at: Timestamp,
    /// Why, where the tracker says more than that.
    reason: &'static str,
    /// Our key, where the issue carries one.
    mark: Option<Uuid>,
}

/// What a delivery says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    Issue(Told),
    /// Nothing about the state of an issue.
    Other,
}

/// Why a delivery cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the delivery is not what {0} sends: {1}")]
    Json(&'static str, #[source] serde_json::Error),
    #[error("{0} is missing from the delivery, or is no time")]
    Time(&'static str),
    #[error("the issue has no {0}")]
    Missing(&'static str),
}

/// `POST /webhooks/jira`
pub(crate) async fn jira(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = body?;
    let secrets = &app.doors.webhooks.jira;
    if secrets.is_empty() {
        return Err(ApiError::NotConfigured {
            detail: "Jira's webhooks are not configured here".to_owned(),
            hint: "set JIRA_WEBHOOK_SECRET where `harmony serve` runs, to the secret of the webhook",
        });
    }
    let signature = signed::text(&headers, "x-hub-signature").strip_prefix("sha256=");
    if !signed::is_signed(secrets, signature.into_iter(), &body) {
        return Err(ApiError::Unsigned {
            detail: "this is not signed by Jira with a secret that is known here",
            hint: "JIRA_WEBHOOK_SECRET holds the secret of the webhook; two while it is replaced",
        });
    }
    let delivery = signed::text(&headers, "x-atlassian-webhook-identifier");
    take(&app, delivery, read_jira(&body)).await
}

/// The event `issues` of GitHub, whose signature was checked.
pub(super) async fn github(app: &App, delivery: &str, body: &[u8]) -> Result<Response, ApiError> {
    take(app, delivery, read_github(body)).await
}

async fn take(app: &App, delivery: &str, reading: Result<Reading, ReadError>) -> Result<Response, ApiError> {
    if delivery.is_empty() {
        return Err(ApiError::Invalid("the header with the delivery's id is missing".to_owned()));
    }
    let told = match reading.map_err(|error| ApiError::Invalid(error.to_string()))? {
        Reading::Issue(told) => told,
        Reading::Other => return Ok(answer("ignored")),
    };
    let org = &app.doors.webhooks.org;
    let Some((incident, follow_up)) = place(app, org, &told).await? else { return Ok(answer("ignored")) };
    record(app, org, incident, follow_up, delivery, &told).await
}

fn answer(taken: &str) -> Response {
    Json(json!({ "taken": taken })).into_response()
}

/// The follow-up that became this issue. Where whoever made it has not put that on record yet, the key in it tells: the
/// ledger has had it since before the issue was asked for.
async fn place(app: &App, org: &OrgId, told: &Told) -> Result<Option<(IncidentId, u64)>, ApiError> {
    let log = &app.doors.log;
    let mut known = log.known_effect(org, &ticket_key(told.tracker, &told.id)).await?;
    if known.is_none()
        && let Some(mark) = told.mark
    {
        known = log.known_effect(org, &mark.to_string()).await?;
    }
    Ok(known.and_then(|effect| {
        let EffectSubject::Stream(stream) = effect.subject else { return None };
        Some((stream.incident()?, issue_of_step(&effect.step)?))
    }))
}

async fn record(
    app: &App,
    org: &OrgId,
    incident: IncidentId,
    follow_up: u64,
    delivery: &str,
    told: &Told,
) -> Result<Response, ApiError> {
    let system = told.tracker.name();
    let context = Context {
        actor: system.to_owned(),
        authority: Authority::AutoEngine,
        cause: Cause { request_id: signed::one_line(delivery), ..Cause::default() },
        // Their clock may be ahead of ours.
        occurred_at: told.at.min(Timestamp::now()),
    };
    let changed = FollowUpChanged {
        follow_up,
        system: system.to_owned(),
        ticket_id: told.id.clone(),
        ticket_state: told.word.name().to_owned(),
        ticket_updated_us: told.at.as_microsecond(),
        comment: Text::optional(told.comment()),
        ..FollowUpChanged::default()
    };
    let command = Command::Record { payload: payload(Kind::FollowUpChanged(changed)) };
    let rules = app.doors.rules.current();
    let appended = app
        .doors
        .log
        .append(Append {
            org,
            target: Target::Named(incident.clone().into()),
            key: &signed::delivery_key(&format!("{system}/issue"), delivery),
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &|head| judge(head, &command, &context, rules.rules()),
            follow: &|_| vec![],
        })
        .await;
    match appended {
        Ok(appended) if appended.records.is_empty() => Ok(answer("unchanged")),
        Ok(_) => Ok(answer("recorded")),
        Err(error @ (LogError::Refused(_) | LogError::KeyConflict { .. })) => {
            tracing::info!(%incident, follow_up, system, %error, "what a tracker tells is not recorded");
            Ok(answer("ignored"))
        }
        Err(error) => Err(error.into()),
    }
}

impl Told {
    fn comment(&self) -> String {
        let tracker = self.tracker.title();
        match self.word {
            TicketWord::Open => format!("opened again in {tracker}"),
            TicketWord::Deleted => format!("its issue was deleted in {tracker}"),
            TicketWord::Done | TicketWord::Dropped => format!("closed in {tracker}{}", self.reason),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JiraDelivery {
    #[serde(default)]
    webhook_event: String,
    /// Milliseconds.
    #[serde(default)]
    timestamp: Option<i64>,
    #[serde(default)]
    issue: Option<JiraIssue>,
}

#[derive(Deserialize)]
struct JiraIssue {
    id: String,
    #[serde(default)]
    fields: JiraFields,
}

#[derive(Default, Deserialize)]
struct JiraFields {
    #[serde(default)]
    status: Option<JiraStatus>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    updated: Option<String>,
    #[serde(default)]
    statuscategorychangedate: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JiraStatus {
    status_category: JiraCategory,
}

#[derive(Deserialize)]
struct JiraCategory {
    key: String,
}

/// A change of status is placed by when the category of the status changed last, which no other edit moves; where Jira does
/// not say that, by when the issue was changed last.
pub(crate) fn read_jira(body: &[u8]) -> Result<Reading, ReadError> {
    let delivery: JiraDelivery =
        serde_json::from_slice(body).map_err(|error| ReadError::Json("Jira", error))?;
    let deleted = match delivery.webhook_event.as_str() {
        "jira:issue_updated" => false,
        "jira:issue_deleted" => true,
        _ => return Ok(Reading::Other),
    };
    let JiraIssue { id, fields } = delivery.issue.ok_or(ReadError::Missing("id"))?;
    let word = match (deleted, fields.status) {
        (true, _) => TicketWord::Deleted,
        (false, Some(status)) if status.status_category.key == "done" => TicketWord::Done,
        (false, Some(_)) => TicketWord::Open,
        (false, None) => return Err(ReadError::Missing("status")),
    };
    let sent = || delivery.timestamp.and_then(|at| Timestamp::from_millisecond(at).ok());
    let moved = fields.statuscategorychangedate.filter(|_| !deleted).or(fields.updated);
    let at = moved.as_deref().map_or_else(sent, jira_time).ok_or(ReadError::Time("issue.fields.updated"))?;
    let mark = fields.labels.iter().find_map(|label| label.strip_prefix(MARK)?.parse().ok());
    told(Tracker::Jira, id, word, at, "", mark)
}

/// `2026-11-29T10:42:00.123+0000`: the offset has no colon.
fn jira_time(text: &str) -> Option<Timestamp> {
    let parsed = || strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text).ok()?.to_timestamp().ok();
    text.parse().ok().or_else(parsed)
}

#[derive(Deserialize)]
struct GitHubDelivery {
    action: String,
    issue: GitHubIssue,
}

#[derive(Deserialize)]
struct GitHubIssue {
    id: u64,
    state: String,
    #[serde(default)]
    state_reason: Option<String>,
    updated_at: Timestamp,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    labels: Vec<GitHubLabel>,
}

#[derive(Deserialize)]
struct GitHubLabel {
    #[serde(default)]
    name: String,
}

/// Only what closes, opens or deletes an issue says something about its state.
pub(crate) fn read_github(body: &[u8]) -> Result<Reading, ReadError> {
    let GitHubDelivery { action, issue } =
        serde_json::from_slice(body).map_err(|error| ReadError::Json("GitHub", error))?;
    let (word, reason) = match (action.as_str(), issue.state.as_str(), issue.state_reason.as_deref()) {
        ("deleted", _, _) => (TicketWord::Deleted, ""),
        ("closed" | "reopened", "closed", Some("not_planned")) => (TicketWord::Dropped, " as not planned"),
        ("closed" | "reopened", "closed", Some("duplicate")) => (TicketWord::Dropped, " as a duplicate"),
        ("closed" | "reopened", "closed", _) => (TicketWord::Done, ""),
        ("closed" | "reopened", _, _) => (TicketWord::Open, ""),
        _ => return Ok(Reading::Other),
    };
    // Anybody may write our line into an issue of a public repository; only who may triage sets labels.
    let labelled = issue.labels.iter().any(|label| label.name == LABEL);
    let marked =
        |line: &str| line.strip_prefix("<!-- ")?.strip_suffix(" -->")?.strip_prefix(MARK)?.parse().ok();
    let mark = issue.body.as_deref().filter(|_| labelled).and_then(|body| body.lines().find_map(marked));
    told(Tracker::Github, issue.id.to_string(), word, issue.updated_at, reason, mark)
}

fn told(
    tracker: Tracker,
    id: String,
    word: TicketWord,
    at: Timestamp,
    reason: &'static str,
    mark: Option<Uuid>,
) -> Result<Reading, ReadError> {
    let is_id = !id.is_empty() && id.len() <= 20 && id.bytes().all(|one| one.is_ascii_digit());
    if !is_id {
        return Err(ReadError::Missing("id that is a number"));
    }
    if at.as_microsecond() <= 0 {
        return Err(ReadError::Time("the time of the change"));
    }
    Ok(Reading::Issue(Told { tracker, id, word, at, reason, mark }))
}

/// The issue that a delivery tells of.
pub(crate) fn id_of(reading: Result<Reading, ReadError>) -> Option<String> {
    match reading {
        Ok(Reading::Issue(told)) => Some(told.id),
        Ok(Reading::Other) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const KEY: &str = "harmony-00000000-0000-0000-0000-000000000007";

    fn issue(reading: Result<Reading, ReadError>) -> Told {
        match reading.unwrap() {
            Reading::Issue(told) => told,
            Reading::Other => panic!("nothing about an issue"),
        }
    }

    fn jira(event: &str, category: &str) -> Value {
        json!({
            "timestamp": 1_792_567_999_000_i64, "webhookEvent": event,
            "issue": { "id": "10042", "key": "OPS-7", "fields": {
                "status": { "name": "x", "statusCategory": { "id": 3, "key": category } },
                "labels": ["harmony", KEY],
                "updated": "2026-10-21T07:28:40.250+0000",
                "statuscategorychangedate": "2026-10-21T09:28:30.125+0200",
            } },
        })
    }

    fn github(action: &str, state: &str, reason: Option<&str>) -> Value {
        json!({
            "action": action,
            "issue": {
                "id": 3_000_000_007_u64, "number": 7, "state": state, "state_reason": reason,
                "updated_at": "2026-10-21T07:28:30Z", "body": format!("text\r\n<!-- {KEY} -->\r\n"),
                "labels": [{ "name": "harmony" }],
            },
        })
    }

    #[test]
    fn jira_tells_by_the_category_of_the_status() {
        let read = |delivery: &Value| read_jira(delivery.to_string().as_bytes());
        for (category, word) in
            [("done", TicketWord::Done), ("new", TicketWord::Open), ("indeterminate", TicketWord::Open)]
        {
            let told = issue(read(&jira("jira:issue_updated", category)));
            assert_eq!((told.id.as_str(), told.word, told.mark), ("10042", word, Some(Uuid::from_u128(7))));
            assert_eq!(told.at.to_string(), "2026-10-21T07:28:30.125Z");
        }
        let mut older = jira("jira:issue_updated", "done");
        older["issue"]["fields"]["statuscategorychangedate"] = Value::Null;
        assert_eq!(issue(read(&older)).at.to_string(), "2026-10-21T07:28:40.25Z");
        older["issue"]["fields"]["updated"] = Value::Null;
        assert_eq!(issue(read(&older)).at.as_millisecond(), 1_792_567_999_000);
        let gone = issue(read(&jira("jira:issue_deleted", "new")));
        assert_eq!(
            (gone.word, gone.at.to_string().as_str()),
            (TicketWord::Deleted, "2026-10-21T07:28:40.25Z")
        );
        assert_eq!(read(&jira("jira:issue_created", "new")).unwrap(), Reading::Other);
        assert_eq!(read(&json!({ "webhookEvent": "comment_created" })).unwrap(), Reading::Other);
    }

    #[test]
    fn github_tells_by_state_and_reason() {
        let read = |delivery: &Value| read_github(delivery.to_string().as_bytes());
        for (action, state, reason, word) in [
            ("closed", "closed", Some("completed"), TicketWord::Done),
            ("closed", "closed", None, TicketWord::Done),
            ("closed", "closed", Some("not_planned"), TicketWord::Dropped),
            ("closed", "closed", Some("duplicate"), TicketWord::Dropped),
            ("reopened", "open", Some("reopened"), TicketWord::Open),
            ("deleted", "closed", None, TicketWord::Deleted),
        ] {
            let told = issue(read(&github(action, state, reason)));
            assert_eq!((told.id.as_str(), told.word), ("3000000007", word));
            assert_eq!(told.mark, Some(Uuid::from_u128(7)));
        }
        assert_eq!(read(&github("labeled", "open", None)).unwrap(), Reading::Other);
        let mut strangers = github("closed", "closed", None);
        strangers["issue"]["labels"] = json!([{ "name": "bug" }]);
        assert_eq!(issue(read(&strangers)).mark, None, "a line that anybody could write");
    }

    #[test]
    fn what_is_no_delivery_is_refused() {
        for (path, value) in [
            ("/issue/id", json!("../10042")),
            ("/issue/id", json!("")),
            ("/issue/fields/status", Value::Null),
            ("/issue/fields/statuscategorychangedate", json!("yesterday")),
            ("/issue", Value::Null),
        ] {
            let mut delivery = jira("jira:issue_updated", "done");
            *delivery.pointer_mut(path).unwrap() = value.clone();
            assert!(read_jira(delivery.to_string().as_bytes()).is_err(), "{path} {value}");
        }
        for path in ["/issue/id", "/issue/updated_at", "/issue"] {
            let mut delivery = github("closed", "closed", None);
            *delivery.pointer_mut(path).unwrap() = json!("no");
            assert!(read_github(delivery.to_string().as_bytes()).is_err(), "{path}");
        }
        assert!(read_jira(b"[").is_err() && read_github(b"{}").is_err());
    }
}
