//! The audit over all streams: who did what when, the latest first.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use harmony_catalog::entity::AuditEvent;
use harmony_eventlog::catalog::{AuditFilter, AuditPlace};
use harmony_incidents::StreamId;
use jiff::Timestamp;
use serde_json::json;

use super::{cursor, cursor_parts, may_read, named};
use crate::{call::Call, error::ApiError};

/// Records of one read.
const PAGE: u32 = 200;
/// Records that one request looks through: a filter that fits few events ends early, and says where to go on.
const LOOKED_THROUGH: usize = 5_000;

/// Which events to show.
#[derive(Default)]
pub(crate) struct Wanted {
    /// Only of these streams; all where there is none.
    pub(crate) streams: Vec<StreamId>,
    /// Only about this: its id, or the id of its stream's subject.
    pub(crate) subject: Option<String>,
    /// Only by this actor.
    pub(crate) actor: Option<String>,
    /// Only this action, or those below it: `release` is `release.create` and the like, too.
    pub(crate) action: Option<String>,
    /// Only from this time on.
    pub(crate) since: Option<Timestamp>,
    /// Where the page before ended.
    pub(crate) beyond: Option<AuditPlace>,
    /// At most this many.
    pub(crate) limit: usize,
}

/// `GET …/audit`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["subject", "actor", "action", "since", "limit", "cursor"])?;
    may_read(&call)?;
    let subject = call.query.one("subject");
    let beyond = match call.query.one("cursor") {
        None => None,
        Some(text) => {
            let [ts, stream, seq] = cursor_parts(text)?;
            let number = |name, text: &str| named::<u64>(name, text);
            Some(AuditPlace { ts_us: named("cursor", &ts)?, stream, seq: number("cursor", &seq)? })
        }
    };
    let wanted = Wanted {
        // A stream's name is found through its index; another id among the events.
        streams: subject.and_then(|text| text.parse().ok()).into_iter().collect(),
        subject: subject.filter(|text| text.parse::<StreamId>().is_err()).map(str::to_owned),
        actor: call.query.one("actor").map(str::to_owned),
        action: call.query.one("action").map(str::to_owned),
        since: call.query.one("since").map(|text| named("since", text)).transpose()?,
        beyond,
        limit: usize::try_from(call.query.limit(50, 200)?).unwrap_or(usize::MAX),
    };
    let (events, next) = events(&call, wanted).await?;
    let mut body = json!({ "events": events });
    if let Some(AuditPlace { ts_us, stream, seq }) = next {
        body["nextCursor"] = json!(cursor(&[&ts_us.to_string(), &stream, &seq.to_string()]));
    }
    Ok(Json(body).into_response())
}

/// The events, the latest first, and where to go on.
pub(crate) async fn events(
    call: &Call,
    wanted: Wanted,
) -> Result<(Vec<AuditEvent>, Option<AuditPlace>), ApiError> {
    let mut filter = AuditFilter {
        streams: wanted.streams,
        actor: wanted.actor,
        since: wanted.since,
        beyond: wanted.beyond,
        newest_first: true,
        limit: PAGE,
        ..AuditFilter::default()
    };
    let fits = |event: &AuditEvent| {
        let action = wanted.action.as_deref();
        wanted.subject.as_ref().is_none_or(|id| event.subject_id == *id)
            && action.is_none_or(|one| {
                event.action.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
    };
    let mut found = Vec::new();
    let mut looked_through = 0;
    loop {
        let entries = call.app.doors.log.audit(&call.caller.org, &filter).await?;
        for entry in &entries {
            let place = AuditPlace {
                ts_us: entry.record.occurred_at_us,
                stream: harmony_incidents::record::stream_of(&entry.record).to_owned(),
                seq: entry.record.seq,
            };
            if let Some(event) = harmony_catalog::audit::event(&entry.record).filter(&fits) {
                if found.len() == wanted.limit {
                    return Ok((found, filter.beyond));
                }
                found.push(event);
            }
            filter.beyond = Some(place);
        }
        looked_through += entries.len();
        if entries.len() < usize::try_from(PAGE).unwrap_or_default() {
            return Ok((found, None));
        }
        if looked_through >= LOOKED_THROUGH {
            return Ok((found, filter.beyond));
        }
    }
}
