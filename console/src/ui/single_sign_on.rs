//! Signing in at the configured issuer: off to it, and back.
//!
//! What a sign-in is bound to is derived from an id in a signed cookie, so that nothing is kept here, and any replica may
//! take the browser back. The cookie goes with the first answer, whatever it is: a sign-in is tried once.

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Redirect, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::{
    Pages,
    session::{Sessions, cookie, host},
    sign_in::{Wish, field, local},
};
use crate::{
    limits::Peer,
    oidc::{BrowserSettings, Oidc, OidcError, Proofs},
};

/// How long people may take at the issuer.
const LIFETIME_S: i64 = 10 * 60;
/// What the cookie is for.
const PURPOSE: &str = "sign_in";
/// Longest code that is taken back; issuers' have some hundred characters, Microsoft's some thousand.
const CODE_BYTES: usize = 8 * 1024;

/// A sign-in that was begun.
#[derive(Serialize, Deserialize)]
struct Begun {
    id: Uuid,
    next: String,
    /// Seconds since 1970.
    expires: i64,
}

impl Begun {
    fn proofs(&self, sessions: &Sessions) -> Proofs {
        let of = |purpose| sessions.mac(purpose, &self.id.to_string());
        Proofs { state: of("oidc-state"), nonce: of("oidc-nonce"), verifier: of("oidc-verifier") }
    }
}

/// The issuer that signs people in, and how.
fn issuer(site: &Pages) -> Option<(&Oidc, &BrowserSettings)> {
    let oidc = site.app.doors.oidc.as_ref()?;
    Some((oidc, oidc.settings().browser.as_ref()?))
}

fn not_here(site: &Pages) -> Response {
    Wish::new(&site.app, "/").page(StatusCode::NOT_FOUND, "People sign in with a token here.")
}

/// `GET /sign-in/oidc`: off to the issuer.
pub(crate) async fn begin(
    State(site): State<Pages>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some((oidc, browser)) = issuer(&site) else { return not_here(&site) };
    let next = field(query.unwrap_or_default().as_bytes(), "next").unwrap_or_default();
    let expires = Timestamp::now().as_second() + LIFETIME_S;
    let begun = Begun { id: Uuid::new_v4(), next: local(&next).to_owned(), expires };
    let sessions = &site.app.sessions;
    match oidc.authorization(browser, &begun.proofs(sessions)).await {
        Ok(url) => {
            let value = sessions.sealed(PURPOSE, &begun);
            let kept = cookie(PURPOSE, host(&headers), &value, LIFETIME_S);
            ([(header::SET_COOKIE, kept)], Redirect::to(url.as_str())).into_response()
        }
        Err(error) => failed(&site, &begun.next, &error),
    }
}

/// `GET /sign-in/oidc/callback`: back from the issuer.
pub(crate) async fn finish(
    State(site): State<Pages>,
    peer: Peer,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let answer = answered(&site, peer, query.unwrap_or_default().as_bytes(), &headers).await;
    let gone = cookie(PURPOSE, host(&headers), "", 0);
    match answer {
        Ok((session, next)) => {
            let cookies = AppendHeaders([(header::SET_COOKIE, gone), (header::SET_COOKIE, session)]);
            (cookies, Redirect::to(&next)).into_response()
        }
        Err(refused) => (AppendHeaders([(header::SET_COOKIE, gone)]), refused).into_response(),
    }
}

/// The cookie of a session, and where to go; else the page that says why not.
async fn answered(
    site: &Pages,
    peer: Peer,
    query: &[u8],
    headers: &HeaderMap,
) -> Result<(HeaderValue, String), Response> {
    let (oidc, browser) = issuer(site).ok_or_else(|| not_here(site))?;
    let sessions = &site.app.sessions;
    let now_s = Timestamp::now().as_second();
    let again = |status, problem: &str| Wish::new(&site.app, "/").page(status, problem);
    if !site.app.limits.may_try(peer) {
        return Err(again(StatusCode::TOO_MANY_REQUESTS, "Too many tries: wait a moment."));
    }
    // Only the browser that began it may end it: nobody is signed in as somebody else by a link.
    let begun = sessions.unsealed::<Begun>(PURPOSE, headers).filter(|begun| begun.expires > now_s);
    let state = field(query, "state").unwrap_or_default();
    let Some((begun, proofs)) = begun
        .map(|begun| (begun.proofs(sessions), begun))
        .filter(|(proofs, _)| bool::from(proofs.state.as_bytes().ct_eq(state.as_bytes())))
        .map(|(proofs, begun)| (begun, proofs))
    else {
        let problem =
            "This sign-in was not begun in this browser, or more than ten minutes ago. Begin again.";
        return Err(again(StatusCode::BAD_REQUEST, problem));
    };
    let wish = Wish::new(&site.app, &begun.next);
    let code = field(query, "code").filter(|code| !code.is_empty() && code.len() <= CODE_BYTES);
    let Some(code) = code.filter(|_| field(query, "error").is_none()) else {
        return Err(wish.page(StatusCode::UNAUTHORIZED, "The issuer did not sign you in."));
    };
    let issuer = field(query, "iss");
    let claimed = oidc
        .redeem(browser, &code, issuer.as_deref(), &proofs)
        .await
        .map_err(|error| failed(site, &begun.next, &error))?;
    let session = sessions.open_claimed(&claimed, host(headers), now_s).ok_or_else(|| {
        let problem = "The issuer gives you more roles than a session holds: ask for fewer in its claims.";
        wish.page(StatusCode::FORBIDDEN, problem)
    })?;
    tracing::info!(target: "harmony::audit", actor = claimed.id, action = "sign-in", "signed in at the issuer");
    Ok((session, begun.next))
}

fn failed(site: &Pages, next: &str, error: &OidcError) -> Response {
    tracing::warn!(%error, "nobody was signed in at the issuer");
    let (status, problem) = match error {
        OidcError::Refused(reason) => {
            (StatusCode::UNAUTHORIZED, format!("You were not signed in: {reason}."))
        }
        OidcError::Unavailable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The issuer does not answer as it should. Sign in with a token, or try again.".to_owned(),
        ),
    };
    Wish::new(&site.app, next).page(status, &problem)
}
