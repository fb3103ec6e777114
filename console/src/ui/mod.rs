//! The console's pages: HTML made on the server, for people.
//!
//! A page shows what the log says and what its reader may do. Every form goes through the API's own routes, as a
//! request by whoever is signed in: there is one way to do a thing, and the pages have no rights of their own. Nothing
//! needs JavaScript; with it, an open incident follows its log and dangerous buttons ask first. The policy below lets a
//! page load, run and submit nothing but our own.

mod approvals;
mod assets;
mod candidates;
mod capabilities;
mod catalog;
mod changed;
mod cover;
mod declare;
mod delivery;
mod explorer;
mod follow_ups;
mod form;
mod gate_card;
pub(crate) mod graphql;
mod incident;
mod incidents;
pub(crate) mod insights;
mod leading;
mod log;
mod markdown;
mod offers;
mod overview;
mod people;
mod review;
mod runbooks;
pub(crate) mod session;
mod sign_in;
mod single_sign_on;
mod subscriptions;
mod timeline;
mod visit;
mod words;

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{from_fn, map_response},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};

use crate::{App, error::ApiError};
use changed::ChangedPage;
use visit::{Frame, Visit};

pub(crate) use form::encoded;
pub(crate) use session::Session;

/// What the pages share: the console, and its API as the forms reach it.
pub(crate) struct Site {
    pub(crate) app: App,
    pub(crate) api: Router,
}

/// Shared by every page.
pub(crate) type Pages = Arc<Site>;

/// Scripts, styles, pictures and answers of our own alone; nothing inline; no frames; no `<base>`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Every page, and the addresses that their forms go to.
pub(crate) fn routes(site: Pages) -> Router {
    let org = Router::new()
        .route("/", get(home_of))
        .route("/approvals", get(approvals::page))
        .route("/approvals/{*gate}", get(approvals::one).post(form::decide))
        .route("/audit", get(catalog::audit::page))
        .route("/candidates", get(candidates::page))
        .route("/candidates/{id}", get(candidates::one))
        .route("/candidates/{id}/dismiss", post(candidates::dismiss))
        .route("/candidates/{id}/promote", post(candidates::promote))
        .route("/environments", get(catalog::environments::page))
        .route("/follow-ups", get(follow_ups::page))
        .route("/follow-ups/{id}", post(follow_ups::change))
        .route("/graphql", post(graphql::run))
        .route("/incidents", get(incidents::page).post(declare::submit))
        .route("/incidents/new", get(declare::page))
        .route("/incidents/{id}", get(incident::page))
        .route("/incidents/{id}/do/{action}", post(form::act))
        .route("/incidents/{id}/records/{seq}", get(log::record))
        .route("/incidents/{id}/remediate", get(incident::remediate))
        .route("/incidents/{id}/review", get(review::page))
        .route("/insights", get(insights::page))
        .route("/insights.csv", get(insights::csv))
        .route("/log", get(log::page).post(log::verify))
        .route("/people", get(people::page))
        .route("/preview", post(review::preview))
        .route("/capabilities", get(capabilities::page))
        .route("/releases/{id}", get(catalog::release::page))
        .route("/releases/{id}/do/{action}", post(catalog::release::act))
        .route("/runbooks", get(runbooks::page))
        .route("/services", get(catalog::services::page))
        .route("/services/{id}", get(catalog::service::page))
        .route("/subscriptions", get(subscriptions::page).post(subscriptions::add))
        .route("/subscriptions/{id}/remove", post(subscriptions::remove));
    Router::new()
        .route("/", get(sign_in::home))
        .route("/sign-in", get(sign_in::page).post(sign_in::submit))
        .route("/sign-in/code", post(sign_in::code))
        .route("/sign-in/oidc", get(single_sign_on::begin))
        .route("/sign-in/oidc/callback", get(single_sign_on::finish))
        .route("/sign-out", post(sign_in::out))
        .route("/explorer", get(explorer::page))
        .route("/unsubscribe/{org}/{id}", get(subscriptions::ask).post(subscriptions::end))
        .route("/assets/{version}/{name}", get(assets::asset))
        .nest("/orgs/{org}", org)
        .layer(from_fn(visit::keep_whole))
        .layer(map_response(guarded))
        .with_state(site)
}

async fn guarded(response: Response) -> Response {
    guarded_now(response)
}

/// A page that is served beside the others keeps to the same policy.
fn guarded_now(mut response: Response) -> Response {
    const GUARDS: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ];
    for (name, value) in GUARDS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// An address where nothing is: a page for a browser, a problem document for everybody else.
pub(crate) async fn nothing_here(headers: HeaderMap) -> Response {
    let error = ApiError::NotFound("there is nothing at this address".to_owned());
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepts.is_some_and(|accept| accept.contains("text/html")) {
        guarded(Trouble::from(error).into_response()).await
    } else {
        error.into_response()
    }
}

async fn home_of(visit: Visit) -> Redirect {
    Redirect::to(&format!("/orgs/{}/incidents", visit.caller.org))
}

/// What a handler of a page answers.
type Page = Result<Response, Trouble>;

/// A page that was rendered.
fn html(page: &impl Template) -> Page {
    Ok(Html(rendered(page)?).into_response())
}

fn rendered(page: &impl Template) -> Result<String, Trouble> {
    page.render().map_err(|error| {
        tracing::error!(%error, "a page does not render");
        Trouble::Api(ApiError::Internal, None)
    })
}

/// Why a page is not shown.
pub(crate) enum Trouble {
    /// Nobody is signed in, or not any more.
    SignIn(sign_in::Wish),
    /// What went wrong, and the frame of who is signed in, where that is known.
    Api(ApiError, Option<Box<Frame>>),
    /// A problem that the API answered with.
    Problem(Box<Problem>, Box<Frame>),
    /// A form was sent from a page that had become old.
    Changed(Box<ChangedPage>),
}

/// A problem as a person reads it.
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) title: String,
    pub(crate) detail: String,
    pub(crate) hint: String,
    /// Where to go on.
    pub(crate) back: String,
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        Self::Api(error, None)
    }
}

impl From<harmony_eventlog::LogError> for Trouble {
    fn from(error: harmony_eventlog::LogError) -> Self {
        Self::Api(error.into(), None)
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage<'a> {
    frame: Option<&'a Frame>,
    assets: &'static str,
    problem: &'a Problem,
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let (problem, frame) = match self {
            Self::SignIn(wish) => return wish.asked(),
            Self::Changed(page) => {
                let page = html(page.as_ref()).unwrap_or_else(Self::into_response);
                return (StatusCode::PRECONDITION_FAILED, page).into_response();
            }
            Self::Problem(problem, frame) => (*problem, Some(frame)),
            Self::Api(error, frame) => {
                let (status, title, detail, hint) = error.for_page();
                (Problem { status, title, detail, hint, back: "/".to_owned() }, frame)
            }
        };
        let page = TroublePage { frame: frame.as_deref(), assets: assets::version(), problem: &problem };
        match page.render() {
            Ok(text) => (problem.status, Html(text)).into_response(),
            Err(_) => (problem.status, problem.title).into_response(),
        }
    }
}
