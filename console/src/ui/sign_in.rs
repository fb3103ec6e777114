//! Signing in with a token or a code, and out again.

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
use crate::{auth, error::ApiError};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    assets: &'static str,
    next: &'a str,
    /// Why the last try did not work.
    problem: &'a str,
}

fn page_with(status: StatusCode, next: &str, problem: &str) -> Response {
    match (SignIn { assets: assets::version(), next, problem }).render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "the sign-in page does not render");
            ApiError::Internal.into_response()
        }
    }
}

/// The page for somebody who wanted to go somewhere and is not, or no longer, signed in.
pub(super) fn asked(next: &str) -> Response {
    page_with(StatusCode::UNAUTHORIZED, local(next), "")
}

/// `GET /`: the first organisation of who is signed in.
pub(crate) async fn home(State(site): State<Pages>, headers: HeaderMap) -> Response {
    let Ok(session) = visit::session(&site, &headers, "/") else {
        return page_with(StatusCode::OK, "/", "");
    };
    let rules = site.app.doors.rules.current();
    let org = rules.directory.get(&session.principal).and_then(|principal| {
        let orgs = &principal.roles;
        let default = harmony_incidents::OrgId::default();
        if orgs.contains_key(&default) { Some(default) } else { orgs.keys().next().cloned() }
    });
    match org {
        Some(org) => Redirect::to(&format!("/orgs/{org}/incidents")).into_response(),
        None => page_with(StatusCode::FORBIDDEN, "/", "You have no role in any organisation."),
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
        return page_with(StatusCode::OK, local(&field("next").unwrap_or_default()), "");
    };
    // Somebody else's code must not change who is signed in.
    if visit::session(&site, &headers, "/").is_ok() {
        return Redirect::to("/").into_response();
    }
    match site.app.sessions.take_code(&code) {
        Some(principal) => opened(&site, &headers, &principal, "/"),
        None => page_with(
            StatusCode::UNAUTHORIZED,
            "/",
            "This link was used already, or its ten minutes are over. Sign in with a token, or ask for a new link.",
        ),
    }
}

/// `POST /sign-in`: with a token.
pub(crate) async fn submit(State(site): State<Pages>, headers: HeaderMap, body: Bytes) -> Response {
    if !is_same_origin(&headers) {
        return page_with(StatusCode::FORBIDDEN, "/", "This form was not sent from this page.");
    }
    let next = field(&body, "next").unwrap_or_default();
    let next = local(&next);
    let token = field(&body, "token").unwrap_or_default();
    if !site.app.limits.may_sign_in() {
        return page_with(StatusCode::TOO_MANY_REQUESTS, next, "Too many tries: wait a moment.");
    }
    let rules = site.app.doors.rules.current();
    match rules.directory.by_token(token.trim()) {
        Some(principal) => opened(&site, &headers, &principal.id, next),
        None => page_with(StatusCode::UNAUTHORIZED, next, "Nobody in the directory has this token."),
    }
}

fn opened(site: &Pages, headers: &HeaderMap, principal: &str, next: &str) -> Response {
    let rules = site.app.doors.rules.current();
    let Some(principal) = rules.directory.get(principal) else {
        return page_with(StatusCode::UNAUTHORIZED, next, "You are not in the directory any more.");
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
    tracing::info!(target: "harmony::audit", actor = session.principal, action = "sign-out", "signed out");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// What a form gets that does not come from one of our pages.
pub(super) fn forged() -> ApiError {
    ApiError::Forbidden("this form was not sent from a page of this console".to_owned())
}

fn field(form: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(form).find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// An address of this site, else its front page: a sign-in leads nowhere else.
fn local(next: &str) -> &str {
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
