//! Declaring an incident, with a look at what will happen before it does.

use askama::Template;
use axum::http::StatusCode;
use harmony_incidents::{
    Policy, Right,
    log::{Authority, Severity},
    policy::{GateKind, level_timeout},
    words as vocabulary,
};
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    Page,
    form::{Submission, see},
    html,
    visit::{Frame, Visit},
    words,
};

#[derive(Template)]
#[template(path = "declare.html")]
struct DeclarePage {
    frame: Frame,
    given: Given,
    preview: Option<Preview>,
    /// Digest of what the preview is of, empty without one.
    previewed: String,
    /// It is not what was previewed last.
    changed: bool,
    key: Uuid,
}

/// What was typed so far.
#[derive(Default)]
struct Given {
    title: String,
    severity: String,
    service: String,
    environment: String,
    affected: String,
    summary: String,
    public_title: String,
    public_message: String,
    public_components: String,
}

impl Given {
    fn of(form: &Submission) -> Self {
        let text = |name: &str| form.field(name).to_owned();
        Self {
            title: text("title"),
            severity: text("severity"),
            service: text("serviceName"),
            environment: text("environment"),
            affected: text("impactedServices"),
            summary: text("summary"),
            public_title: text("publicTitle"),
            public_message: text("publicMessage"),
            public_components: text("publicComponents"),
        }
    }
}

/// SHA-256 of everything that the form says, so that only what was previewed is declared.
fn digest(form: &Submission) -> String {
    hex::encode(Sha256::digest(form.json().to_string()))
}

/// What a declaration sets going, by the policy in force.
struct Preview {
    channel: String,
    paging: &'static str,
    public_title: String,
    public_message: String,
    /// Who has to approve the public page, empty where it goes out at once.
    public_gate: String,
    remediation: String,
    close_out: String,
    review: bool,
}

/// `GET …/incidents/new`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Respond, None)?;
    html(&DeclarePage {
        frame: visit.frame("declare"),
        given: Given { severity: "P2".to_owned(), ..Given::default() },
        preview: None,
        previewed: String::new(),
        changed: false,
        key: Uuid::now_v7(),
    })
}

/// `POST …/incidents`: a preview first, then the declaration.
pub(crate) async fn submit(form: Submission) -> Page {
    let list = format!("/orgs/{}/incidents", form.caller.org);
    let (wanted, digest) = (form.field("go"), digest(&form));
    let changed = wanted == "declare" && form.field("previewed") != digest;
    if wanted == "declare" && !changed {
        let (status, body) = form.send("incidents", &form.json(), &format!("{list}/new")).await?;
        debug_assert_eq!(status, StatusCode::CREATED);
        let id = body["incidentId"].as_str().unwrap_or_default();
        return Ok(see(&format!("{list}/{id}"), "declared"));
    }
    form.caller
        .require(Right::Respond, None)
        .map_err(|error| super::Trouble::Api(error, Some(Box::new(form.frame.clone()))))?;
    let given = Given::of(&form);
    let key = form.field("key").parse().unwrap_or_else(|_| Uuid::now_v7());
    let preview = vocabulary::severity(&given.severity).ok().filter(|_| wanted == "preview" || changed).map(
        |severity| {
            let authority = form.caller.authority(None);
            preview(&given, severity, authority, form.caller.rules().policy)
        },
    );
    let frame = Frame { at: "declare", ..form.frame.clone() };
    let previewed = if preview.is_some() { digest } else { String::new() };
    html(&DeclarePage { frame, given, preview, previewed, changed, key })
}

fn preview(given: &Given, severity: Severity, authority: Authority, policy: &Policy) -> Preview {
    let year = jiff::Timestamp::now().to_zoned(TimeZone::UTC).year();
    let services = match given.affected.as_str() {
        "" => "our services".to_owned(),
        affected => affected.to_owned(),
    };
    let default = format!("We are investigating an issue with {services}");
    let or = |text: &str, default: String| if text.is_empty() { default } else { text.to_owned() };
    let gate = |kind: GateKind| {
        if !policy.has_gate(kind, severity, authority) {
            return String::new();
        }
        let levels = policy.levels(kind, severity, true);
        let level = |level: &harmony_incidents::log::Level| {
            let seconds = i64::try_from(level_timeout(level).as_secs()).unwrap_or(i64::MAX);
            format!("{} within {}", level.roles.join(" or "), words::span(seconds))
        };
        levels.iter().map(level).collect::<Vec<_>>().join(", then ")
    };
    Preview {
        channel: format!("inc-{year}-…"),
        paging: match severity {
            Severity::P1 | Severity::P2 => "pages the service's on-call with high urgency.",
            _ => "opens an incident for the service.",
        },
        public_title: or(&given.public_title, default.clone()),
        public_message: or(&given.public_message, format!("{default}.")),
        public_gate: gate(GateKind::StatusPage),
        remediation: gate(GateKind::Remediate),
        close_out: gate(GateKind::CloseOut),
        review: policy.needs_review(severity),
    }
}
