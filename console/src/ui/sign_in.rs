//! Signing in with a token or a code, and out again. Where an issuer is configured for it, the page leads there, too.

use askama::Template;
use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use jiff::Timestamp;
use serde_json::json;
use url::form_urlencoded;

use super::{
    Page, Pages, Trouble, assets,
    session::{host, is_same_origin},
    visit,
};
use crate::{App, auth, error::ApiError, limits::Peer, oidc::Oidc};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    assets: &'static str,
    next: &'a str,
    /// Why the last try did not work.
    problem: &'a str,
    /// Host of the issuer that signs people in; empty where none does.
    issuer: &'a str,
    /// Where signing in there begins.
    begin: String,
}

/// Somebody who is not signed in wants to go somewhere.
pub(crate) struct Wish {
    next: String,
    issuer: String,
}

impl Wish {
    pub(super) fn new(app: &App, next: &str) -> Self {
        Self { next: local(next).to_owned(), issuer: issuer(app) }
    }

    /// The page that asks them to.
    pub(super) fn asked(&self) -> Response {
        self.page(StatusCode::UNAUTHORIZED, "")
    }

    /// The page, and why the last try did not work.
    pub(super) fn page(&self, status: StatusCode, problem: &str) -> Response {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let begin = format!("/sign-in/oidc?{}", query.append_pair("next", &self.next).finish());
        let page =
            SignIn { assets: assets::version(), next: &self.next, problem, issuer: &self.issuer, begin };
        match page.render() {
            Ok(text) => (status, Html(text)).into_response(),
            Err(error) => {
                tracing::error!(%error, "the sign-in page does not render");
                ApiError::Internal.into_response()
            }
        }
    }
}

/// Host of the issuer that signs people in; empty where none does.
fn issuer(app: &App) -> String {
    let settings = app.doors.oidc.as_ref().map(Oidc::settings).filter(|settings| settings.browser.is_some());
    let url = settings.and_then(|settings| url::Url::parse(&settings.issuer).ok());
    url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

fn page_with(site: &Pages, status: StatusCode, next: &str, problem: &str) -> Response {
    Wish::new(&site.app, next).page(status, problem)
}

/// `GET /`: the first organisation of who is signed in.
pub(crate) async fn home(State(site): State<Pages>, headers: HeaderMap) -> Response {
    let Ok(session) = visit::session(&site, &headers, "/") else {
        return page_with(&site, StatusCode::OK, "/", "");
    };
    let orgs = &session.principal.roles;
    let default = harmony_incidents::OrgId::default();
    let org = if orgs.contains_key(&default) { Some(default) } else { orgs.keys().next().cloned() };
    match org {
        Some(org) => Redirect::to(&format!("/orgs/{org}/incidents")).into_response(),
        None => page_with(&site, StatusCode::FORBIDDEN, "/", "You have no role in any organisation."),
    }
}

/// `GET /sign-in`: the form; with `?code=` a code is used up.
pub(crate) async fn page(
    State(site): State<Pages>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let field = |name: &str| field(query.as_bytes(), name);
    let Some(code) = field("code") else {
        return page_with(&site, StatusCode::OK, local(&field("next").unwrap_or_default()), "");
    };
    // Somebody else's code must not change who is signed in.
    if visit::session(&site, &headers, "/").is_ok() {
        return Redirect::to("/").into_response();
    }
    match site.app.sessions.take_code(&code) {
        Some(principal) => opened(&site, &headers, &principal, "/"),
        None => page_with(
            &site,
            StatusCode::UNAUTHORIZED,
            "/",
            "This link was used already, or its ten minutes are over. Sign in with a token, or ask for a new link.",
        ),
    }
}

/// `POST /sign-in`: with a token.
pub(crate) async fn submit(
    State(site): State<Pages>,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !is_same_origin(&headers) {
        return page_with(&site, StatusCode::FORBIDDEN, "/", "This form was not sent from this page.");
    }
    let next = field(&body, "next").unwrap_or_default();
    let next = local(&next);
    let token = field(&body, "token").unwrap_or_default();
    let rules = site.app.doors.rules.current();
    match rules.directory.by_token(token.trim()) {
        Some(principal) => opened(&site, &headers, &principal.id, next),
        None if !site.app.limits.may_try(peer) => {
            page_with(&site, StatusCode::TOO_MANY_REQUESTS, next, "Too many tries: wait a moment.")
        }
        None => page_with(&site, StatusCode::UNAUTHORIZED, next, "Nobody in the directory has this token."),
    }
}

fn opened(site: &Pages, headers: &HeaderMap, principal: &str, next: &str) -> Response {
    let rules = site.app.doors.rules.current();
    let Some(principal) = rules.directory.get(principal) else {
        return page_with(site, StatusCode::UNAUTHORIZED, next, "You are not in the directory any more.");
    };
    let cookie = site.app.sessions.open(principal, host(headers), Timestamp::now().as_second());
    tracing::info!(target: "harmony::audit", actor = principal.id, action = "sign-in", "signed in");
    ([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response()
}

/// `POST /sign-in/code`: whoever has a token gets a link for a browser.
pub(crate) async fn code(State(site): State<Pages>, headers: HeaderMap) -> Result<Response, ApiError> {
    let rules = site.app.doors.rules.current();
    let principal = rules
        .directory
        .by_token(auth::bearer(&headers)?)
        .ok_or(ApiError::Unauthorized("nobody in the directory has this token"))?;
    let code = site
        .app
        .sessions
        .new_code(&principal.id)
        .ok_or_else(|| ApiError::Unavailable("too many codes wait to be used".to_owned()))?;
    let body = json!({ "path": format!("/sign-in?code={code}") });
    Ok((StatusCode::CREATED, axum::Json(body)).into_response())
}

/// `POST /sign-out`
pub(crate) async fn out(State(site): State<Pages>, headers: HeaderMap, body: Bytes) -> Page {
    let session = visit::session(&site, &headers, "/")?;
    if !is_same_origin(&headers) || !session.has_csrf(&field(&body, "csrf").unwrap_or_default()) {
        return Err(Trouble::Api(forged(), None));
    }
    let cookie = site.app.sessions.close(&session, host(&headers), Timestamp::now().as_second());
    tracing::info!(target: "harmony::audit", actor = session.principal.id, action = "sign-out", "signed out");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// What a form gets that does not come from one of our pages.
pub(super) fn forged() -> ApiError {
    ApiError::Forbidden("this form was not sent from a page of this console".to_owned())
}

pub(super) fn field(form: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(form).find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// An address of this site, else its front page: a sign-in leads nowhere else.
pub(super) fn local(next: &str) -> &str {
    let is_local = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && next.bytes().all(|byte| byte.is_ascii_graphic());
    if is_local { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_in_leads_nowhere_else() {
        for next in ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "", "/a\nb", "/ä"]
        {
            assert_eq!(local(next), "/", "{next:?}");
        }
        assert_eq!(local("/orgs/default/incidents?state=OPEN"), "/orgs/default/incidents?state=OPEN");
    }
}
