//! An OpenID Connect issuer that really signs: two keys made for these tests, discovery, and an authorization endpoint
//! and a token endpoint that hold a client to what it must show. It counts how often its keys are fetched.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{
    Form, Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::form_urlencoded;

pub(crate) const RSA: &[u8] = include_bytes!("keys/rsa.pem");
pub(crate) const EC: &[u8] = include_bytes!("keys/ec.pem");
pub(crate) const STRANGER: &[u8] = include_bytes!("keys/stranger.pem");
pub(crate) const AUDIENCE: &str = "https://harmony.example.com";
pub(crate) const CLIENT: &str = "harmony console";
/// With what must be encoded before it goes into a header.
pub(crate) const SECRET: &str = "s3cret: & more";
pub(crate) const CALLBACK: &str = "http://localhost/sign-in/oidc/callback";

type Parameters = HashMap<String, String>;

/// What a code stands for.
struct Grant {
    nonce: String,
    challenge: String,
}

pub(crate) struct Issuer {
    pub(crate) origin: String,
    /// Whether the EC key is among the published ones.
    pub(crate) rotated: AtomicBool,
    pub(crate) fetched: AtomicUsize,
    pub(crate) away: AtomicBool,
    /// Claims that the next id token has instead of the right ones; null takes one away.
    pub(crate) instead: Mutex<Value>,
    /// Whether the next id token is signed with a key that is not the issuer's.
    pub(crate) forges: AtomicBool,
    grants: Mutex<HashMap<String, Grant>>,
}

async fn discovery(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    let origin = &issuer.origin;
    Json(json!({
        "issuer": origin,
        "jwks_uri": format!("{origin}/keys"),
        "authorization_endpoint": format!("{origin}/authorize?tenant=1"),
        "token_endpoint": format!("{origin}/token"),
        "authorization_response_iss_parameter_supported": true,
    }))
}

async fn keys(State(issuer): State<Arc<Issuer>>) -> Result<Json<Value>, StatusCode> {
    issuer.fetched.fetch_add(1, Ordering::SeqCst);
    if issuer.away.load(Ordering::SeqCst) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    // One of a kind that nobody knows must not make the others useless.
    let mut keys = vec![
        json!({ "kty": "LATTICE", "kid": "new", "use": "sig" }),
        public("rsa", &rsa(), Algorithm::RS256),
    ];
    if issuer.rotated.load(Ordering::SeqCst) {
        keys.push(public("ec", &EncodingKey::from_ec_pem(EC).unwrap(), Algorithm::ES256));
    }
    Ok(Json(json!({ "keys": keys })))
}

/// Whoever comes is signed in as alice.
async fn authorize(State(issuer): State<Arc<Issuer>>, Query(asked): Query<Parameters>) -> Response {
    let is = |name: &str, value: &str| asked.get(name).is_some_and(|given| given == value);
    let is_right = is("tenant", "1")
        && is("response_type", "code")
        && is("client_id", CLIENT)
        && is("redirect_uri", CALLBACK)
        && is("scope", "openid roles")
        && is("code_challenge_method", "S256");
    let given = |name: &str| asked.get(name).filter(|value| value.len() >= 43).cloned();
    let (Some(state), Some(nonce), Some(challenge), true) =
        (given("state"), given("nonce"), given("code_challenge"), is_right)
    else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut grants = issuer.grants.lock().unwrap();
    let code = format!("code-{}", grants.len());
    grants.insert(code.clone(), Grant { nonce, challenge });
    let mut answer = form_urlencoded::Serializer::new(String::new());
    answer.append_pair("code", &code).append_pair("state", &state).append_pair("iss", &issuer.origin);
    Redirect::to(&format!("{CALLBACK}?{}", answer.finish())).into_response()
}

async fn token(
    State(issuer): State<Arc<Issuer>>,
    headers: HeaderMap,
    Form(asked): Form<Parameters>,
) -> Response {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let expected = format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(CLIENT), encoded(SECRET))));
    if headers.get(header::AUTHORIZATION).is_none_or(|given| given != expected.as_str()) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid_client" }))).into_response();
    }
    let given = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    // A code is good for one try.
    let grant = issuer.grants.lock().unwrap().remove(given("code"));
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(given("code_verifier")));
    let is_right = given("grant_type") == "authorization_code" && given("redirect_uri") == CALLBACK;
    let Some(grant) = grant.filter(|grant| is_right && grant.challenge == challenge) else {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" }))).into_response();
    };
    let mut claims = claims(&issuer);
    claims["aud"] = json!(CLIENT);
    claims["nonce"] = json!(grant.nonce);
    for (name, value) in issuer.instead.lock().unwrap().take().as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let id_token = if issuer.forges.swap(false, Ordering::SeqCst) {
        signed("rsa", Algorithm::ES256, &EncodingKey::from_ec_pem(STRANGER).unwrap(), &claims)
    } else {
        signed("rsa", Algorithm::RS256, &rsa(), &claims)
    };
    Json(json!({ "access_token": "opaque", "token_type": "Bearer", "id_token": id_token })).into_response()
}

pub(crate) fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(RSA).unwrap()
}

pub(crate) fn public(kid: &str, key: &EncodingKey, algorithm: Algorithm) -> Value {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).unwrap();
    jwk.common.key_id = Some(kid.to_owned());
    serde_json::to_value(jwk).unwrap()
}

pub(crate) async fn issuer() -> Arc<Issuer> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = Arc::new(Issuer {
        origin: format!("http://{}", listener.local_addr().unwrap()),
        rotated: AtomicBool::new(false),
        fetched: AtomicUsize::new(0),
        away: AtomicBool::new(false),
        instead: Mutex::new(Value::Null),
        forges: AtomicBool::new(false),
        grants: Mutex::default(),
    });
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/authorize", get(authorize))
        .route("/keys", get(keys))
        .route("/token", post(token))
        .with_state(issuer.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    issuer
}

/// What is right for alice and the API.
pub(crate) fn claims(issuer: &Issuer) -> Value {
    let now = Timestamp::now().as_second();
    json!({
        "iss": issuer.origin,
        "aud": [AUDIENCE, "https://other.example.com"],
        "sub": "alice",
        "exp": now + 300,
        "nbf": now - 10,
        "realm": { "roles": ["incident-responder", "boss", 7, "acme:incident-viewer", "a b:org-admin"] },
    })
}

pub(crate) fn signed(kid: &str, algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    let header = Header { kid: (!kid.is_empty()).then(|| kid.to_owned()), ..Header::new(algorithm) };
    encode(&header, claims, key).unwrap()
}
