//! Signing in by browser at an OpenID Connect issuer: what is asked of it, and what of its answers is believed.

use std::sync::atomic::Ordering;

use axum::{
    body::Body,
    http::{Request, header},
};
use harmony_console::oidc::{BrowserSettings, Oidc, OidcSettings};
use harmony_incidents::OrgId;
use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use crate::{
    issuer::{AUDIENCE, CALLBACK, CLIENT, Issuer, SECRET, issuer},
    world::{Reply, World},
};

async fn world(issuer: &Issuer, secret: &str) -> World {
    let settings = OidcSettings {
        issuer: issuer.origin.clone(),
        audiences: vec![AUDIENCE.to_owned()],
        principal_claim: "sub".to_owned(),
        roles_claim: "realm.roles".to_owned(),
        org: OrgId::default(),
        browser: Some(BrowserSettings {
            client_id: CLIENT.to_owned(),
            client_secret: Some(secret.into()),
            redirect_uri: CALLBACK.parse().unwrap(),
            scopes: "roles".to_owned(),
        }),
    };
    World::with(None, None, Some(Oidc::new(settings).unwrap())).await
}

/// A browser: its cookies alone.
#[derive(Default, Clone)]
struct Browser {
    cookies: Vec<(String, String)>,
}

impl Browser {
    async fn open(&mut self, world: &World, path: &str) -> Reply {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request =
            Request::get(path).header(header::HOST, "localhost").header(header::COOKIE, cookies.join("; "));
        let reply = world.send(request.body(Body::empty()).unwrap()).await;
        for set in reply.headers("set-cookie") {
            assert!(set.contains("HttpOnly; SameSite=Lax"), "{set}");
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        reply
    }

    /// Goes to the issuer and is sent back; the address that it is sent back to.
    async fn go(&mut self, world: &World, next: &str) -> String {
        let reply = self.open(world, &format!("/sign-in/oidc?next={next}")).await;
        assert_eq!(reply.status, 303, "{}", reply.text);
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let answer = client.get(reply.header("location")).send().await.unwrap();
        assert_eq!(answer.status(), 303, "the issuer was asked rightly");
        let back: Url = answer.headers()[header::LOCATION].to_str().unwrap().parse().unwrap();
        format!("{}?{}", back.path(), back.query().unwrap())
    }
}

#[tokio::test]
async fn issuer_signs_people_in_with_the_roles_of_its_claims() {
    let issuer = issuer().await;
    let world = world(&issuer, SECRET).await;
    let id = world.declared("P2").await;
    let mut alice = Browser::default();
    let page = format!("/orgs/default/incidents/{id}");
    let asked = alice.open(&world, &page).await;
    assert_eq!(asked.status, 401);
    assert!(asked.text.contains("Sign in with 127.0.0.1"), "{}", asked.text);
    let back = alice.go(&world, &page).await;
    let reply = alice.open(&world, &back).await;
    assert_eq!((reply.status, reply.header("location")), (303, page.as_str()), "{}", reply.text);
    let shown = alice.open(&world, &page).await;
    assert!(shown.status == 200 && shown.text.contains("incident-responder in default"), "{}", shown.text);
    assert_eq!(alice.open(&world, "/orgs/acme/incidents").await.status, 200);
    assert_eq!(alice.open(&world, "/orgs/other/incidents").await.status, 404);
    // What they may do is judged as ever: a note, and no run, which is judged by the directory.
    let csrf = shown.text.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    for (action, fields, status) in
        [("notes", "note=seen", 303), ("severity", "severity=P1", 403), ("close-out", "", 403)]
    {
        let request = Request::post(format!("{page}/do/{action}"))
            .header(header::HOST, "localhost")
            .header(header::ORIGIN, "http://localhost")
            .header(header::COOKIE, format!("harmony_session={}", alice.cookies[0].1))
            .body(Body::from(format!("csrf={csrf}&{fields}")));
        assert_eq!(world.send(request.unwrap()).await.status, status, "{action}");
    }
}

#[tokio::test]
async fn issuer_is_offered_only_where_people_sign_in_there() {
    let plain = World::new().await;
    let mut browser = Browser::default();
    assert!(!browser.open(&plain, "/").await.text.contains("/sign-in/oidc"));
    for path in ["/sign-in/oidc", "/sign-in/oidc/callback?code=x&state=y"] {
        assert_eq!(browser.open(&plain, path).await.status, 404, "{path}");
    }
    let issuer = issuer().await;
    let world = world(&issuer, SECRET).await;
    assert!(browser.open(&world, "/").await.text.contains("/sign-in/oidc?next=%2F"));
    // A sign-in leads nowhere else.
    let back = browser.go(&world, "//evil.example/").await;
    assert_eq!(browser.open(&world, &back).await.header("location"), "/");
}

#[tokio::test]
async fn answer_that_this_browser_did_not_ask_for_signs_nobody_in() {
    let issuer = issuer().await;
    let world = world(&issuer, SECRET).await;
    let mut alice = Browser::default();
    let back = alice.go(&world, "/").await;
    let state = back.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let mut mallory = Browser::default();
    let own = mallory.go(&world, "/").await;
    // Another's whole answer in a browser that began nothing, or something else.
    assert_eq!(Browser::default().open(&world, &back).await.status, 400);
    assert_eq!(mallory.clone().open(&world, &back).await.status, 400);
    for wrong in ["", "0", &state[1..]] {
        let path = back.replace(&state, wrong);
        assert_eq!(alice.clone().open(&world, &path).await.status, 400, "{wrong}");
    }
    let mut changed = alice.clone();
    changed.cookies[0].1.replace_range(3..4, "_");
    assert_eq!(changed.open(&world, &back).await.status, 400);
    // Another's code under one's own state: the issuer is shown the wrong verifier.
    let own_state = own.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let stolen = mallory.open(&world, &back.replace(&state, own_state)).await;
    assert_eq!(stolen.status, 401);
    assert!(stolen.text.contains("does not take the code"), "{}", stolen.text);
    for browser in [&alice, &mallory] {
        assert!(browser.cookies.iter().all(|(name, _)| name != "harmony_session"));
    }
}

#[tokio::test]
async fn answer_is_good_for_one_sign_in() {
    let issuer = issuer().await;
    let world = world(&issuer, SECRET).await;
    let mut alice = Browser::default();
    let back = alice.go(&world, "/").await;
    let before = alice.clone();
    assert_eq!(alice.open(&world, &back).await.status, 303);
    let names: Vec<&str> = alice.cookies.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["harmony_session"], "what the sign-in was bound to is gone");
    assert_eq!(alice.open(&world, &back).await.status, 400);
    // Somebody kept the cookie: the code is used up.
    assert_eq!(before.clone().open(&world, &back).await.status, 401);
}

#[tokio::test]
async fn id_token_that_is_not_for_this_sign_in_is_refused() {
    let issuer = issuer().await;
    let world = world(&issuer, SECRET).await;
    let now = Timestamp::now().as_second();
    for (instead, because) in [
        (json!({ "nonce": "another" }), "belongs to another sign-in"),
        (json!({ "nonce": null }), "belongs to another sign-in"),
        (json!({ "aud": "another client" }), "for somebody else"),
        (json!({ "aud": AUDIENCE }), "for somebody else"),
        (json!({ "aud": [CLIENT, "another client"] }), "made for another client"),
        (json!({ "azp": "another client" }), "made for another client"),
        (json!({ "exp": now - 60 }), "not valid any more"),
        (json!({ "exp": null }), "lacks one of"),
        (json!({ "nbf": now + 300 }), "not valid yet"),
        (json!({ "iss": "https://evil.example.com" }), "of another issuer"),
        (json!({ "sub": "" }), "name nobody"),
    ] {
        refused(&issuer, &world, &instead, because).await;
    }
    issuer.forges.store(true, Ordering::SeqCst);
    refused(&issuer, &world, &Value::Null, "key that is not the issuer").await;
}

async fn refused(issuer: &Issuer, world: &World, instead: &Value, because: &str) {
    *issuer.instead.lock().unwrap() = instead.clone();
    let mut browser = Browser::default();
    let back = browser.go(world, "/").await;
    let reply = browser.open(world, &back).await;
    assert_eq!(reply.status, 401, "{instead}");
    assert!(reply.text.contains(because), "{instead}: {}", reply.text);
    assert!(browser.cookies.is_empty(), "{instead}: nobody is signed in, and nothing is left");
}

#[tokio::test]
async fn answer_of_another_issuer_or_of_none_signs_nobody_in() {
    let issuer = issuer().await;
    let world = world(&issuer, SECRET).await;
    for (from, to, status, because) in [
        (&issuer.origin[7..], "evil.example", 401, "came from another issuer"),
        ("&iss=", "&other=", 401, "does not say which issuer"),
        ("code=", "error=access_denied&code=", 401, "did not sign you in"),
        ("code=", "other=", 401, "did not sign you in"),
    ] {
        let mut browser = Browser::default();
        let back = browser.go(&world, "/").await.replace("%3A", ":").replace("%2F", "/");
        let reply = browser.open(&world, &back.replace(from, to)).await;
        assert_eq!(reply.status, status, "{from}: {}", reply.text);
        assert!(reply.text.contains(because), "{from}: {}", reply.text);
    }
}

#[tokio::test]
async fn issuer_that_cannot_be_asked_is_said_to_be_away() {
    let issuer = issuer().await;
    let stranger = world(&issuer, "another secret").await;
    let mut browser = Browser::default();
    let back = browser.go(&stranger, "/").await;
    let reply = browser.open(&stranger, &back).await;
    assert_eq!(reply.status, 503);
    assert!(!reply.text.contains("another secret") && reply.text.contains("name=\"token\""));
    let world = world(&issuer, SECRET).await;
    issuer.away.store(true, Ordering::SeqCst);
    let back = browser.go(&world, "/").await;
    assert_eq!(browser.open(&world, &back).await.status, 503, "its keys cannot be had");
}
