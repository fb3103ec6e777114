//! Sessions that hold no more, as a browser that kept the cookie sees it.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::world::{SESSION_KEY, World};

fn mac(purpose: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SESSION_KEY.repeat(32).as_bytes()).unwrap();
    for part in ["harmony-console", purpose, text] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    hex::encode(mac.finalize().into_bytes())
}

/// The viewer's cookie and form token, signed as the console signs them, ending so many seconds from now.
fn session(ends_in_s: i64, token: &str) -> (String, String) {
    let id = Uuid::new_v4();
    let claims = json!({
        "principal": "viewer",
        "id": id,
        "expires": Timestamp::now().as_second() + ends_in_s,
        "token": mac("token", &hex::encode(Sha256::digest(token))),
    });
    let body = URL_SAFE_NO_PAD.encode(claims.to_string());
    (format!("harmony_session={body}.{}", mac("session", &body)), mac("csrf", &id.to_string()))
}

#[tokio::test]
async fn expired_session_opens_nothing_and_changes_nothing() {
    let world = World::new().await;
    let id = world.declared("P2").await;
    // One that holds shows that this is how sessions are made.
    for (ends_in_s, token, status, form_status) in [
        (600, "token-viewer", 200, 303),
        (-1, "token-viewer", 401, 401),
        (0, "token-viewer", 401, 401),
        (600, "the token before", 401, 401),
    ] {
        let (cookie, csrf) = session(ends_in_s, token);
        let ask = |method: Method, path: String, body: String| {
            Request::builder()
                .method(method)
                .uri(path)
                .header(header::HOST, "localhost")
                .header(header::ORIGIN, "http://localhost")
                .header(header::COOKIE, &cookie)
                .body(Body::from(body))
                .unwrap()
        };
        for path in ["orgs/default/incidents", "orgs/default/insights", "api/orgs/default/incidents"] {
            let reply = world.send(ask(Method::GET, format!("/{path}"), String::new())).await;
            assert_eq!(reply.status, status, "{path}: {ends_in_s}");
        }
        let note = format!("/orgs/default/incidents/{id}/do/notes");
        let reply = world.send(ask(Method::POST, note, format!("csrf={csrf}&note=seen"))).await;
        assert_eq!(reply.status, form_status, "{ends_in_s}: {}", reply.text);
    }
    assert_eq!(world.get("viewer", &format!("incidents/{id}")).await.ok(200)["notes"], 1);
}

#[tokio::test]
async fn stream_ends_with_the_session_that_opened_it() {
    let world = World::new().await;
    let id = world.declared("P2").await;
    let streams =
        ["audit".to_owned(), format!("incidents/{id}/stream"), format!("incidents/{id}/output/stream")];
    let open = async |cookie: &str, path: &str| {
        let request = Request::get(format!("/api/orgs/default/{path}"))
            .header(header::HOST, "localhost")
            .header(header::ACCEPT, "text/event-stream")
            .header(header::COOKIE, cookie);
        let reply = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        reply.text
    };
    for is_signed_out in [false, true] {
        let (cookie, csrf) = session(if is_signed_out { 600 } else { 6 }, "token-viewer");
        let end = async {
            if is_signed_out {
                let request = Request::post("/sign-out")
                    .header(header::HOST, "localhost")
                    .header(header::ORIGIN, "http://localhost")
                    .header(header::COOKIE, &cookie)
                    .body(Body::from(format!("csrf={csrf}")));
                assert_eq!(world.send(request.unwrap()).await.status, 303);
            } else {
                tokio::time::sleep(Duration::from_secs(7)).await;
            }
            let note = json!({ "note": format!("not for who left {is_signed_out}") });
            world.post("operator", &format!("incidents/{id}/notes"), note).await.ok(200);
        };
        let read = join_all(streams.iter().map(|path| open(&cookie, path)));
        let both = async { tokio::join!(read, end).0 };
        let texts = tokio::time::timeout(Duration::from_secs(60), both).await.expect("every stream ends");
        for (path, text) in streams.iter().zip(texts) {
            assert!(text.ends_with("event: over\ndata: {}\n\n"), "{path}: {text}");
            assert!(!text.contains(&format!("not for who left {is_signed_out}")), "{path}: {text}");
        }
    }
}
