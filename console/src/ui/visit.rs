//! A look at a page by somebody who is signed in.

use std::collections::HashMap;

use axum::{
    extract::{FromRequestParts, Path, Request},
    http::{HeaderMap, Method, request::Parts},
    middleware::Next,
    response::Response,
};
use harmony_eventlog::LogError;
use harmony_incidents::{IncidentId, OrgId, Right, Role, ids::IdError, log::IncidentState};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{Pages, Trouble, approvals, assets, session::Session, sign_in};
use crate::{App, approvals::waiting, auth::Caller, call::Call, error::ApiError, query::Query};

/// Who looks, in which organisation, at what.
pub(crate) struct Visit {
    pub(crate) app: App,
    pub(crate) caller: Caller,
    pub(crate) query: Query,
    pub(crate) now: Timestamp,
    session: Session,
    path: HashMap<String, String>,
    /// What has a gate that waits, where they may read gates: the navigation counts it, and one page shows it.
    pub(crate) waits: Result<Vec<IncidentState>, ApiError>,
    waiting: usize,
}

/// What stands around every page.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) org: String,
    /// Every organisation of this person.
    pub(crate) orgs: Vec<String>,
    /// Who is signed in.
    pub(crate) who: String,
    pub(crate) roles: String,
    pub(crate) csrf: String,
    /// The part of the navigation that this page belongs to.
    pub(crate) at: &'static str,
    pub(crate) assets: &'static str,
    /// Whether this person may declare.
    pub(crate) may_declare: bool,
    /// One line about what was just done.
    pub(crate) said: &'static str,
    /// How many gates wait for this person.
    pub(crate) waiting: usize,
}

/// The whole address of a request: nested routes see a shortened one, and people come back to the whole.
#[derive(Clone)]
pub(crate) struct Whole(String);

/// Keeps the whole address.
pub(crate) async fn keep_whole(mut request: Request, next: Next) -> Response {
    let whole = Whole(request.uri().to_string());
    request.extensions_mut().insert(whole);
    next.run(request).await
}

/// The whole address that a request was sent to.
pub(crate) fn whole(parts: &Parts) -> &str {
    parts.extensions.get::<Whole>().map_or("/", |whole| whole.0.as_str())
}

/// The session of a request, or the wish to sign in and come back.
pub(crate) fn session(site: &Pages, headers: &HeaderMap, next: &str) -> Result<Session, Trouble> {
    let rules = site.app.doors.rules.current();
    site.app
        .sessions
        .read(headers, &rules.directory, Timestamp::now().as_second())
        .ok_or_else(|| Trouble::SignIn(sign_in::Wish::new(&site.app, next)))
}

impl FromRequestParts<Pages> for Visit {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, site: &Pages) -> Result<Self, Trouble> {
        let next = if parts.method == Method::GET { whole(parts) } else { "/" };
        let session = session(site, &parts.headers, next)?;
        let Path(path) = Path::<HashMap<String, String>>::from_request_parts(parts, site)
            .await
            .map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
        let org = path.get("org").map(String::as_str).unwrap_or_default();
        let caller = Caller::signed_in(&site.app, session.principal.clone(), org)?;
        let query = Query::of_page(parts.uri.query().unwrap_or_default());
        // A store that does not answer is told by the page itself.
        let waits = match caller.require(Right::ReadGates, None) {
            Ok(()) => waiting(&site.app, &caller).await,
            Err(_) => Ok(Vec::new()),
        };
        let waiting = waits.as_deref().map_or(0, |states| approvals::waiting_for(states, &caller));
        Ok(Self {
            app: site.app.clone(),
            caller,
            query,
            now: Timestamp::now(),
            session,
            path,
            waits,
            waiting,
        })
    }
}

impl Visit {
    /// A part of the path, decoded.
    pub(crate) fn path(&self, name: &str) -> &str {
        self.path.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The incident of the path, for who may read it.
    pub(crate) async fn incident(&self) -> Result<(IncidentId, IncidentState), Trouble> {
        let text = self.path("id");
        let id: IncidentId =
            text.parse().map_err(|error: IdError| self.trouble(ApiError::Malformed(error.to_string())))?;
        let found = self.app.doors.log.state(&self.caller.org, &id).await?;
        let found = found.filter(|state| self.caller.sees(state));
        let state = found.ok_or_else(|| self.trouble(LogError::UnknownIncident(id.clone()).into()))?;
        self.require(Right::Read, Some(&state))?;
        Ok((id, state))
    }

    /// A request to the API by whoever looks.
    pub(crate) fn call(&self) -> Call {
        let request = Uuid::now_v7().to_string();
        Call::by_door(self.app.clone(), self.caller.clone(), request, &[], &Value::Null)
    }

    /// What somebody is called.
    pub(crate) fn name(&self, id: &str) -> String {
        self.caller.rules().directory.name(id).to_owned()
    }

    /// Refuses who has not this right.
    pub(crate) fn require(&self, right: Right, state: Option<&IncidentState>) -> Result<(), Trouble> {
        self.caller.require(right, state).map_err(|error| self.trouble(error))
    }

    /// Whether they have this right.
    pub(crate) fn may(&self, right: Right, state: Option<&IncidentState>) -> bool {
        self.caller.require(right, state).is_ok()
    }

    /// Trouble inside the frame of who is signed in.
    pub(crate) fn trouble(&self, error: ApiError) -> Trouble {
        Trouble::Api(error, Some(Box::new(self.frame(""))))
    }

    /// What stands around the page.
    pub(crate) fn frame(&self, at: &'static str) -> Frame {
        Frame { waiting: self.waiting, ..frame(&self.caller, &self.session.csrf, at, self.query.one("done")) }
    }
}

/// The frame of a caller.
pub(crate) fn frame(caller: &Caller, csrf: &str, at: &'static str, done: Option<&str>) -> Frame {
    let principal = &caller.principal;
    let roles = principal.roles(&caller.org, None);
    let highest = Role::highest(&roles);
    Frame {
        org: caller.org.to_string(),
        orgs: principal.roles.keys().map(OrgId::to_string).collect(),
        who: principal.display_name().to_owned(),
        roles: highest.map(|role| role.name().to_owned()).unwrap_or_default(),
        csrf: csrf.to_owned(),
        at,
        assets: assets::version(),
        may_declare: caller.require(Right::Respond, None).is_ok(),
        said: said(done.unwrap_or_default()),
        waiting: 0,
    }
}

/// What a page says after a form: fixed sentences, so that nobody puts words into our mouth by a link.
fn said(done: &str) -> &'static str {
    match done {
        "declared" => "Declared. Everyone who needs to know is being told now.",
        "decided" => "Your decision is on record.",
        "decided-away" => {
            "Your decision counts. Temporal is not reachable: it is carried out when it is back."
        }
        "escalated" => "Escalated: the next level decides now.",
        "started" => "Started. Its steps appear below as they run.",
        "stopping" => "Told to stop.",
        "recorded" => "On record.",
        "unchanged" => "Nothing changed: it was like this already.",
        _ => "",
    }
}
