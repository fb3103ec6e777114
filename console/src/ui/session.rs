//! Sessions of the console: who is signed in, in a signed cookie, and the tokens that go with it.
//!
//! A session names a principal; rights are looked up for every request. It ends when it expires, when its principal's
//! token is changed or taken away, and when somebody signs out: what was signed out is remembered here until it would
//! have expired. Signed cookies are the same for every replica that has the key, and outlive a restart. One that began at
//! an OpenID Connect issuer holds the roles of its claims beside the name, and ends earlier: nobody asks the issuer again
//! meanwhile.
//!
//! A sign-in code is for those who have a token in a terminal and want a browser: it works once, for ten minutes, and
//! only in the process that made it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderValue, header};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use harmony_incidents::{Directory, OrgId, Principal, Role};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::auth::{claimed, known_as};

/// How long a session lasts: a long shift.
const LIFETIME_S: i64 = 12 * 60 * 60;
/// How long one lasts that began at an issuer: as long as a role that was taken away there may still count here.
const CLAIMED_LIFETIME_S: i64 = 4 * 60 * 60;
/// Longest cookie; browsers drop those of more than 4096 bytes.
const COOKIE_BYTES: usize = 4_000;
/// How long a sign-in code waits to be used.
const CODE_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Codes that may wait at the same time; they come from people with a token.
const CODES: usize = 1_000;
/// Sign-outs that are remembered; beyond it those that expire first are forgotten.
const SIGN_OUTS: usize = 100_000;

/// What the session's cookie is for.
const SESSION: &str = "session";

/// What the cookie says.
#[derive(Serialize, Deserialize)]
struct Claims {
    principal: String,
    id: Uuid,
    /// Seconds since 1970.
    expires: i64,
    /// Changes with the principal's token.
    #[serde(default)]
    token: String,
    /// What an issuer's claims gave; absent where the directory's token was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    roles: Option<BTreeMap<OrgId, Vec<Role>>>,
}

/// A session that holds.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Who is signed in, with all roles.
    pub(crate) principal: Principal,
    /// What every form carries.
    pub(crate) csrf: String,
    id: Uuid,
    expires: i64,
    /// What the principal's token must still be; `None` where an issuer signed them in.
    token: Option<String>,
}

/// Makes and checks sessions.
pub(crate) struct Sessions {
    key: SecretString,
    /// Hash of a code, whose it is, and when it was made.
    codes: Mutex<HashMap<[u8; 32], (String, Instant)>>,
    /// Session ids that were signed out, and when they would have expired.
    ended: Mutex<HashMap<Uuid, i64>>,
}

impl Sessions {
    /// Sessions signed with this key.
    pub(crate) fn new(key: SecretString) -> Self {
        Self { key, codes: Mutex::default(), ended: Mutex::default() }
    }

    /// Signs somebody in: the value of `Set-Cookie`.
    pub(crate) fn open(&self, principal: &Principal, host: &str, now_s: i64) -> HeaderValue {
        let claims = Claims {
            principal: principal.id.clone(),
            id: Uuid::new_v4(),
            expires: now_s + LIFETIME_S,
            token: self.token_mark(principal),
            roles: None,
        };
        cookie(SESSION, host, &self.sealed(SESSION, &claims), LIFETIME_S)
    }

    /// Signs in whom an issuer's claims speak of; `None` where they give more roles than a cookie holds.
    pub(crate) fn open_claimed(&self, claimed: &Principal, host: &str, now_s: i64) -> Option<HeaderValue> {
        let claims = Claims {
            principal: claimed.id.clone(),
            id: Uuid::new_v4(),
            expires: now_s + CLAIMED_LIFETIME_S,
            token: String::new(),
            roles: Some(claimed.roles.clone()),
        };
        let value = self.sealed(SESSION, &claims);
        (value.len() <= COOKIE_BYTES).then(|| cookie(SESSION, host, &value, CLAIMED_LIFETIME_S))
    }

    /// Something of ours that a browser keeps and cannot change; `purpose` keeps it from standing for something else.
    pub(super) fn sealed(&self, purpose: &str, content: &impl Serialize) -> String {
        // Structs of texts and numbers always become JSON.
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(content).unwrap_or_default());
        format!("{body}.{}", self.mac(purpose, &body))
    }

    /// What a cookie of a request holds, if it is ours.
    pub(super) fn unsealed<T: DeserializeOwned>(&self, purpose: &str, headers: &HeaderMap) -> Option<T> {
        let name = cookie_name(purpose, host(headers));
        let value = cookies(headers).find(|(known, _)| *known == name)?.1;
        let (body, mac) = value.split_once('.')?;
        if !bool::from(self.mac(purpose, body).as_bytes().ct_eq(mac.as_bytes())) {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    }

    /// The session of a request, if it has one that holds.
    pub(crate) fn read(&self, headers: &HeaderMap, directory: &Directory, now_s: i64) -> Option<Session> {
        let claims: Claims = self.unsealed(SESSION, headers)?;
        let (principal, token) = match claims.roles {
            Some(roles) => (known_as(directory, claimed(claims.principal, roles)), None),
            None => (directory.get(&claims.principal)?.clone(), Some(claims.token)),
        };
        let session = Session {
            principal,
            csrf: self.mac("csrf", &claims.id.to_string()),
            id: claims.id,
            expires: claims.expires,
            token,
        };
        self.holds(&session, directory, now_s).then_some(session)
    }

    /// Whether a session goes on: it is not over, was not signed out here, and its principal's token is still the one
    /// that was shown.
    pub(crate) fn holds(&self, session: &Session, directory: &Directory, now_s: i64) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&session.id);
        let is_known = session.token.as_ref().is_none_or(|token| {
            directory.get(&session.principal.id).is_some_and(|listed| *token == self.token_mark(listed))
        });
        session.expires > now_s && !ended && is_known
    }

    /// Signs out: the value of `Set-Cookie` that takes the cookie away.
    pub(crate) fn close(&self, session: &Session, host: &str, now_s: i64) -> HeaderValue {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|_, expires| *expires > now_s);
        if ended.len() >= SIGN_OUTS
            && let Some(first) = ended.iter().min_by_key(|(_, expires)| **expires).map(|(id, _)| *id)
        {
            ended.remove(&first);
        }
        ended.insert(session.id, session.expires);
        cookie(SESSION, host, "", 0)
    }

    /// A code that signs this principal in once.
    pub(crate) fn new_code(&self, principal: &str) -> Option<String> {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|_, (_, made)| made.elapsed() < CODE_LIFETIME);
        if codes.len() >= CODES {
            return None;
        }
        let code = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        codes.insert(digest(&code), (principal.to_owned(), Instant::now()));
        Some(code)
    }

    /// Whose code this is. It works once.
    pub(crate) fn take_code(&self, code: &str) -> Option<String> {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let (principal, made) = codes.remove(&digest(code))?;
        (made.elapsed() < CODE_LIFETIME).then_some(principal)
    }

    fn token_mark(&self, principal: &Principal) -> String {
        self.mac("token", principal.token_sha256.as_deref().unwrap_or_default())
    }

    pub(super) fn mac(&self, purpose: &str, text: &str) -> String {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose_secret().as_bytes())
            .expect("HMAC takes keys of every length");
        for part in ["harmony-console", purpose, text] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        hex::encode(mac.finalize().into_bytes())
    }
}

impl Session {
    /// Whether a form carries this session's token.
    pub(crate) fn has_csrf(&self, given: &str) -> bool {
        bool::from(self.csrf.as_bytes().ct_eq(given.as_bytes()))
    }
}

/// Whether a request that changes something comes from our own pages. Browsers say where a form was sent from; a
/// request that says nothing is refused.
pub(crate) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match text(header::ORIGIN) {
        Some(origin) => origin
            .split_once("://")
            .is_some_and(|(_, from)| !host(headers).is_empty() && from.eq_ignore_ascii_case(host(headers))),
        None => text(header::HeaderName::from_static("sec-fetch-site")) == Some("same-origin"),
    }
}

/// The host that a request was sent to, with its port.
pub(crate) fn host(headers: &HeaderMap) -> &str {
    headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

/// Only over HTTPS, but for this very machine, where there is none.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Browsers take a cookie whose name begins with `__Host-` only when it is secure and the host's own.
fn cookie_name(purpose: &str, host: &str) -> String {
    format!("{}harmony_{purpose}", if is_loopback(host) { "" } else { "__Host-" })
}

pub(super) fn cookie(purpose: &str, host: &str, value: &str, lifetime_s: i64) -> HeaderValue {
    let name = cookie_name(purpose, host);
    let secure = if is_loopback(host) { "" } else { "; Secure" };
    let text = format!("{name}={value}; Path=/; Max-Age={lifetime_s}; HttpOnly; SameSite=Lax{secure}");
    // Base64, hex and fixed words: nothing that a header cannot hold.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_800_000_000;

    fn directory(token: &str) -> Directory {
        let hash = hex::encode(Sha256::digest(token.as_bytes()));
        let file = format!(
            "[[principal]]\nid = \"olga\"\ntoken_sha256 = \"{hash}\"\nroles = {{ default = [\"incident-viewer\"] }}\n"
        );
        Directory::parse(&file).unwrap()
    }

    fn sessions() -> Sessions {
        Sessions::new("k".repeat(64).into())
    }

    fn request(host: &'static str, cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        headers.insert(header::COOKIE, HeaderValue::from_str(&format!("other=1; {pair}")).unwrap());
        headers
    }

    #[test]
    fn session_holds_until_it_expires_is_signed_out_or_its_token_changes() {
        let (sessions, directory) = (sessions(), directory("one"));
        let olga = directory.get("olga").unwrap();
        let cookie = sessions.open(olga, "127.0.0.1:8088", NOW_S);
        let headers = request("127.0.0.1:8088", &cookie);
        let session = sessions.read(&headers, &directory, NOW_S).unwrap();
        assert_eq!(session.principal.id, "olga");
        assert!(sessions.holds(&session, &directory, NOW_S + LIFETIME_S - 1));
        assert!(!sessions.holds(&session, &directory, NOW_S + LIFETIME_S));
        assert!(!sessions.holds(&session, &self::directory("two"), NOW_S));
        assert!(session.has_csrf(&session.csrf) && !session.has_csrf(""));
        assert!(sessions.read(&headers, &directory, NOW_S + LIFETIME_S).is_none());
        assert!(sessions.read(&headers, &self::directory("two"), NOW_S).is_none());
        assert!(sessions.read(&headers, &Directory::default(), NOW_S).is_none());
        assert!(Sessions::new("j".repeat(64).into()).read(&headers, &directory, NOW_S).is_none());
        sessions.close(&session, "127.0.0.1:8088", NOW_S);
        assert!(!sessions.holds(&session, &directory, NOW_S));
        assert!(sessions.read(&headers, &directory, NOW_S).is_none());
    }

    #[test]
    fn session_of_an_issuer_has_its_claims_and_the_directorys_roles_and_ends_early() {
        let (sessions, directory) = (sessions(), directory("one"));
        let acme: OrgId = "acme".parse().unwrap();
        let someone = claimed("olga".to_owned(), BTreeMap::from([(acme.clone(), vec![Role::OnCall])]));
        let headers = request("localhost", &sessions.open_claimed(&someone, "localhost", NOW_S).unwrap());
        let olga = sessions.read(&headers, &directory, NOW_S).unwrap().principal;
        assert_eq!(olga.roles(&acme, None), [Role::OnCall]);
        assert_eq!(olga.roles(&OrgId::default(), None), [Role::Viewer]);
        // Whoever is not in the directory has what the claims say.
        let stranger = sessions.read(&headers, &Directory::default(), NOW_S).unwrap().principal;
        assert_eq!(stranger.roles.len(), 1);
        assert!(sessions.read(&headers, &directory, NOW_S + CLAIMED_LIFETIME_S).is_none());
        let many = (0..500).map(|number| (format!("org-{number}").parse().unwrap(), vec![Role::Viewer]));
        let many = claimed("olga".to_owned(), many.collect());
        assert!(sessions.open_claimed(&many, "localhost", NOW_S).is_none());
    }

    #[test]
    fn changed_cookie_does_not_hold() {
        let (sessions, directory) = (sessions(), directory("one"));
        let cookie = sessions.open(directory.get("olga").unwrap(), "localhost", NOW_S);
        let text = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        let body = text.split_once('=').unwrap().1;
        for place in 0..body.len() {
            let mut changed = body.as_bytes().to_vec();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = format!("harmony_session={}", String::from_utf8(changed).unwrap());
            let headers = request("localhost", &HeaderValue::from_str(&changed).unwrap());
            assert!(sessions.read(&headers, &directory, NOW_S).is_none(), "{changed}");
        }
    }

    #[test]
    fn cookie_is_secure_everywhere_but_on_this_machine() {
        let (sessions, directory) = (sessions(), directory("one"));
        for (host, secure) in [
            ("127.0.0.1:8088", false),
            ("localhost", false),
            ("[::1]:80", false),
            ("harmony.example.com", true),
            ("127.0.0.1.example.com", true),
            ("", true),
        ] {
            let cookie = sessions.open(directory.get("olga").unwrap(), host, NOW_S);
            let text = cookie.to_str().unwrap();
            assert!(text.contains("HttpOnly; SameSite=Lax"), "{text}");
            assert_eq!(text.ends_with("; Secure"), secure, "{host}");
            assert_eq!(text.starts_with("__Host-"), secure, "{host}");
        }
    }

    #[test]
    fn code_works_once() {
        let sessions = sessions();
        let code = sessions.new_code("olga").unwrap();
        assert_eq!(sessions.take_code("another"), None);
        assert_eq!(sessions.take_code(&code), Some("olga".to_owned()));
        assert_eq!(sessions.take_code(&code), None);
    }

    #[test]
    fn only_our_own_pages_may_change_something() {
        for (origin, site, expected) in [
            (Some("http://localhost:80"), None, true),
            (Some("https://localhost:80"), None, true),
            (Some("https://evil.example"), Some("same-origin"), false),
            (Some("null"), None, false),
            (Some("localhost:80"), None, false),
            (None, Some("same-origin"), true),
            (None, Some("cross-site"), false),
            (None, None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:80"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            if let Some(site) = site {
                headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            }
            assert_eq!(is_same_origin(&headers), expected, "{origin:?} {site:?}");
        }
    }
}
