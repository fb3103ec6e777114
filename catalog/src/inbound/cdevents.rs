//! CDEvents over CloudEvents: `service.*` and `environment.*`.
//!
//! Structured (`application/cloudevents+json`: the event is `data` of the body) or binary (the attributes are `ce-`
//! headers, the event is the body). The receiver has checked who sends. `id` is the delivery's, unique for its `source`.
//!
//! `service.deployed` and `upgraded` are deployments that are done, `rolledback` one that takes another back. What the
//! event's own fields cannot say may stand in `customData`: `sha`, `version`, `repo`, `url`.

use harmony_incidents::log::ReleaseStatus;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    ChangeReport, DeliveryError, Reading, ReportKind, ServiceHint, delivery_id, is_sha, json, line, link,
    named, purl, repo, text,
};
use crate::words::Source;

/// How the event came.
#[derive(Debug, Clone, Copy)]
pub enum Envelope<'a> {
    /// In the body.
    Structured,
    /// Beside the body, in its headers.
    Binary {
        /// `ce-id`.
        id: &'a str,
        /// `ce-source`.
        source: &'a str,
        /// `ce-type`.
        event_type: &'a str,
        /// `ce-specversion`.
        specversion: &'a str,
    },
}

/// How the event came, by its content type and its headers.
pub fn envelope<'a>(content_type: &str, header: impl Fn(&str) -> &'a str) -> Envelope<'a> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/cloudevents+json") {
        return Envelope::Structured;
    }
    Envelope::Binary {
        id: header("ce-id"),
        source: header("ce-source"),
        event_type: header("ce-type"),
        specversion: header("ce-specversion"),
    }
}

#[derive(Deserialize)]
struct CloudEvent {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    event_type: String,
    data: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CdEvent {
    context: Context,
    subject: Subject,
    #[serde(default)]
    custom_data: Value,
}

#[derive(Deserialize)]
struct Context {
    id: String,
    source: String,
    #[serde(rename = "type")]
    event_type: String,
    timestamp: Timestamp,
}

#[derive(Deserialize)]
struct Subject {
    id: String,
    #[serde(default)]
    content: Content,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    #[serde(default)]
    environment: Option<Reference>,
    #[serde(default, deserialize_with = "text")]
    artifact_id: String,
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    uri: String,
    /// As `uri` was called before version 0.3 of the event.
    #[serde(default, deserialize_with = "text")]
    url: String,
}

#[derive(Deserialize)]
struct Reference {
    id: String,
}

/// Reads one event.
pub fn read(envelope: Envelope<'_>, body: &[u8]) -> Result<Reading, DeliveryError> {
    let (id, source, event_type, event): (String, String, String, CdEvent) = match envelope {
        Envelope::Structured => {
            let CloudEvent { specversion, id, source, event_type, data } = json(body)?;
            version_1("specversion", &specversion)?;
            if !is_ours(&event_type) {
                return Ok(not_ours(&event_type));
            }
            let event = serde_path_to_error::deserialize(data).map_err(|error| {
                DeliveryError::new(&format!("data.{}", error.path()), error.inner().to_string())
            })?;
            (id, source, event_type, event)
        }
        Envelope::Binary { id, source, event_type, specversion } => {
            version_1("ce-specversion", specversion)?;
            if !is_ours(event_type) {
                return Ok(not_ours(event_type));
            }
            (id.to_owned(), source.to_owned(), event_type.to_owned(), json(body)?)
        }
    };
    for (place, outside, inside) in [
        ("context.id", &id, &event.context.id),
        ("context.source", &source, &event.context.source),
        ("context.type", &event_type, &event.context.event_type),
    ] {
        if outside != inside {
            let problem = format!("{:?} is not what the CloudEvent says: {:?}", line(inside), line(outside));
            return Err(DeliveryError::new(place, problem));
        }
    }
    let id = delivery_id("id", &id)?;
    let source = delivery_id("source", &source)?;
    report(&id, &source, &event)
}

fn version_1(place: &str, specversion: &str) -> Result<(), DeliveryError> {
    if specversion == "1.0" {
        return Ok(());
    }
    Err(DeliveryError::new(
        place,
        format!("{:?}: only version 1.0 of CloudEvents is read", line(specversion)),
    ))
}

fn is_ours(event_type: &str) -> bool {
    predicate(event_type).is_some()
}

fn not_ours(event_type: &str) -> Reading {
    Reading::ignored(format!("the event {:?} says nothing about deployments", line(event_type)))
}

/// What happens, and whether to a service or to an environment, in whatever version of the event.
fn predicate(event_type: &str) -> Option<ReportKind> {
    let mut words = event_type.strip_prefix("dev.cdevents.")?.splitn(3, '.');
    match (words.next()?, words.next()?) {
        ("service", "deployed" | "upgraded") => Some(ReportKind::Deploy),
        ("service", "rolledback") => Some(ReportKind::RollBack),
        ("service", "removed") => Some(ReportKind::Remove),
        ("environment", "created") => Some(ReportKind::EnvironmentCreated),
        ("environment", "modified") => Some(ReportKind::EnvironmentModified),
        ("environment", "deleted") => Some(ReportKind::EnvironmentDeleted),
        _ => None,
    }
}

fn report(id: &str, source: &str, event: &CdEvent) -> Result<Reading, DeliveryError> {
    let CdEvent { context, subject, custom_data } = event;
    let Some(kind) = predicate(&context.event_type) else { return Ok(not_ours(&context.event_type)) };
    let custom = |key: &str| custom_data.get(key).and_then(Value::as_str).map(line).unwrap_or_default();
    let subject_id = named("subject.id", &subject.id)?;
    let is_environment = matches!(
        kind,
        ReportKind::EnvironmentCreated | ReportKind::EnvironmentModified | ReportKind::EnvironmentDeleted
    );
    let mut artifact = purl::read(&subject.content.artifact_id);
    let given_sha = custom("sha").to_ascii_lowercase();
    if is_sha(&given_sha) {
        artifact.sha = given_sha;
    }
    let or = |given: String, read: String| if given.is_empty() { read } else { given };
    let (service, environment) = if is_environment {
        (ServiceHint::default(), subject_id.clone())
    } else {
        let environment = subject.content.environment.as_ref().map(|one| one.id.as_str());
        let needed = kind != ReportKind::Remove;
        if needed && subject.content.artifact_id.trim().is_empty() {
            return Err(DeliveryError::new(
                "subject.content.artifactId",
                "missing: which artifact is there now",
            ));
        }
        let environment = environment.ok_or_else(|| {
            DeliveryError::new("subject.content.environment", "missing: where the service is")
        })?;
        let hint = ServiceHint { repo: or(repo(&custom("repo")), artifact.repo), name: subject_id.clone() };
        (hint, named("subject.content.environment.id", environment)?)
    };
    let address = [&subject.content.uri, &subject.content.url].map(|address| link(address));
    let address = address.into_iter().find(|address| !address.is_empty()).unwrap_or_default();
    Ok(Reading::one(ChangeReport {
        source: Source::Cdevents,
        // An id is unique only for its source.
        delivery_id: format!("{source}#{id}"),
        subject: if is_environment {
            format!("cdevents/environments/{subject_id}")
        } else {
            format!("cdevents/{subject_id}/{environment}/{source}#{id}")
        },
        kind,
        status: ReleaseStatus::Active,
        at: context.timestamp,
        sequence: 0,
        service,
        environment,
        sha: artifact.sha,
        version: or(custom("version"), artifact.version),
        url: or(link(&custom("url")), address),
        // What people call an environment.
        summary: line(&subject.content.name),
    }))
}
