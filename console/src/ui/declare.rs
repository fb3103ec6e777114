//! Declaring an incident, with a look at what will happen before it does.

use askama::Template;
use axum::http::StatusCode;
use harmony_incidents::{
    IncidentId, Policy, Right,
    log::{Authority, IncidentState, Severity, Text},
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
use crate::{
    error::ApiError,
    leading::{LATEST, SimilarIncident, like},
    views::text,
};

#[derive(Template)]
#[template(path = "declare.html")]
struct DeclarePage {
    frame: Frame,
    given: Given,
    preview: Option<Preview>,
    /// Digest of what the preview is of, empty without one.
    previewed: String,
    /// Incidents like it, once it is previewed.
    alike: Vec<SimilarIncident>,
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
    /// The incident that is back.
    recurrence_of: String,
    private_to: String,
    /// Whether it is practice.
    drill: bool,
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
            recurrence_of: text("recurrenceOf"),
            private_to: text("privateTo"),
            drill: form.field("drill") == "true",
        }
    }
}

impl Given {
    /// As far as it says what is wrong, for comparing it.
    fn state(&self) -> IncidentState {
        IncidentState {
            title: Text::optional(&self.title),
            summary: Text::optional(&self.summary),
            service_name: self.service.clone(),
            impacted_services: self.affected.split(',').map(|one| one.trim().to_owned()).collect(),
            drill: self.drill,
            ..IncidentState::default()
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
    let given = match visit.query.one("recurrenceOf") {
        None => Given { severity: "P2".to_owned(), ..Given::default() },
        Some(id) => known_of(&visit, id).await?,
    };
    html(&DeclarePage {
        frame: visit.frame("declare"),
        given,
        preview: None,
        alike: Vec::new(),
        previewed: String::new(),
        changed: false,
        key: Uuid::now_v7(),
    })
}

/// What was known of an incident that is back.
async fn known_of(visit: &Visit, id: &str) -> Result<Given, super::Trouble> {
    let unknown = || visit.trouble(ApiError::NotFound(format!("there is no incident {id}")));
    let incident: IncidentId = id.parse().map_err(|_| unknown())?;
    let found = visit.app.doors.log.state(&visit.caller.org, &incident).await?;
    let before = found.filter(|state| visit.caller.sees(state)).ok_or_else(unknown)?;
    Ok(Given {
        title: text(before.title.as_ref()),
        severity: before.severity().as_str_name().to_owned(),
        service: before.service_name.clone(),
        environment: before.environment.clone(),
        affected: before.impacted_services.join(", "),
        public_title: text(before.public_title.as_ref()),
        public_components: before.public_components.join(", "),
        recurrence_of: before.incident.clone(),
        private_to: if before.private { before.private_to.join(", ") } else { String::new() },
        ..Given::default()
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
    let alike = if preview.is_some() {
        let asked = like(&form.site.app, &form.caller, &given.state(), LATEST).await;
        asked.map_err(|error| super::Trouble::Api(error, Some(Box::new(form.frame.clone()))))?
    } else {
        Vec::new()
    };
    let previewed = if preview.is_some() { digest } else { String::new() };
    html(&DeclarePage { frame, given, preview, alike, previewed, changed, key })
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
