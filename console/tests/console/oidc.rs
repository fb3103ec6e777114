//! Tokens of an OpenID Connect issuer: which are believed, what their claims give, and what is asked of the issuer.

use std::sync::atomic::Ordering;

use axum::{
    body::Body,
    http::{Request, header},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use harmony_console::oidc::{LOOKS, Oidc, OidcSettings};
use harmony_incidents::OrgId;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::{
    issuer::{AUDIENCE, EC, Issuer, RSA, STRANGER, claims, issuer, public, rsa, signed},
    world::{Reply, World},
};

async fn world(issuer: &Issuer) -> World {
    let settings = OidcSettings {
        issuer: issuer.origin.clone(),
        audiences: vec![AUDIENCE.to_owned()],
        principal_claim: "sub".to_owned(),
        roles_claim: "realm.roles".to_owned(),
        org: OrgId::default(),
        browser: None,
    };
    World::with(None, None, Some(Oidc::new(settings).unwrap())).await
}

async fn call(world: &World, token: &str, path: &str, body: Option<Value>) -> Reply {
    let request = if body.is_some() { Request::post(path) } else { Request::get(path) };
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    world.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn claims_give_an_id_and_the_roles_that_are_known() {
    let issuer = issuer().await;
    let world = world(&issuer).await;
    let id = world.declared("P2").await;
    let token = signed("rsa", Algorithm::RS256, &rsa(), &claims(&issuer));
    let note = json!({ "note": "seen" });
    call(&world, &token, &format!("/api/orgs/default/incidents/{id}/notes"), Some(note)).await.ok(200);
    call(&world, &token, "/api/orgs/acme/incidents", None).await.ok(200);
    call(&world, &token, "/api/orgs/other/incidents", None).await.problem(404);
    let severity = json!({ "severity": "P1" });
    let path = format!("/api/orgs/default/incidents/{id}/severity");
    let detail = call(&world, &token, &path, Some(severity)).await.problem(403);
    assert_eq!(detail, "this needs the role incident-commander at least; alice has incident-responder");
    // The workflow would look alice up in the directory and not find her: said before anything is declared.
    let declare = json!({ "title": "Checkout fails", "severity": "P3" });
    let detail = call(&world, &token, "/api/orgs/default/incidents", Some(declare)).await.problem(403);
    assert!(detail.contains("there is no alice"), "{detail}");
}

#[tokio::test]
async fn claims_add_to_what_the_directory_says_of_the_same_person() {
    let issuer = issuer().await;
    let world = world(&issuer).await;
    let mut viewer = claims(&issuer);
    viewer["sub"] = json!("viewer");
    let token = signed("rsa", Algorithm::PS256, &rsa(), &viewer);
    call(&world, &token, "/api/orgs/default/incidents", None).await.problem(401);
    let token = signed("rsa", Algorithm::RS256, &rsa(), &viewer);
    let declare = json!({ "title": "Checkout fails", "severity": "P3" });
    call(&world, &token, "/api/orgs/default/incidents", Some(declare)).await.ok(201);
    viewer["realm"] = json!({ "roles": ["boss"] });
    let token = signed("rsa", Algorithm::RS256, &rsa(), &viewer);
    call(&world, &token, "/api/orgs/default/incidents", None).await.ok(200);
    viewer["sub"] = json!("mallory");
    let token = signed("rsa", Algorithm::RS256, &rsa(), &viewer);
    call(&world, &token, "/api/orgs/default/incidents", None).await.problem(404);
}

/// The same claims under a header and a signature of the attacker's choice.
fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &[u8]| URL_SAFE_NO_PAD.encode(value);
    format!(
        "{}.{}.{}",
        part(header.to_string().as_bytes()),
        part(claims.to_string().as_bytes()),
        part(signature)
    )
}

#[tokio::test]
async fn token_that_is_not_the_issuers_for_us_and_now_is_refused() {
    let issuer = issuer().await;
    let world = world(&issuer).await;
    let now = Timestamp::now().as_second();
    let with = |name: &str, value: Value| {
        let mut claims = claims(&issuer);
        claims[name] = value;
        signed("rsa", Algorithm::RS256, &rsa(), &claims)
    };
    let without = |name: &str| {
        let mut claims = claims(&issuer);
        claims.as_object_mut().unwrap().remove(name);
        signed("rsa", Algorithm::RS256, &rsa(), &claims)
    };
    let published = public("rsa", &rsa(), Algorithm::RS256);
    let modulus = published["n"].as_str().unwrap().as_bytes().to_vec();
    let confused = EncodingKey::from_secret(&modulus);
    let stranger = EncodingKey::from_ec_pem(STRANGER).unwrap();
    let good = signed("rsa", Algorithm::RS256, &rsa(), &claims(&issuer));
    let mut bent = good.clone();
    // A claim of another token under the signature of this one.
    let other = with("sub", json!("admin"));
    bent = format!(
        "{}.{}.{}",
        bent.split('.').next().unwrap(),
        other.split('.').nth(1).unwrap(),
        bent.split('.').nth(2).unwrap()
    );
    let refused = [
        (forged(&json!({ "alg": "none", "typ": "JWT" }), &claims(&issuer), b""), "no JWT"),
        (forged(&json!({ "alg": "none", "kid": "rsa" }), &claims(&issuer), b"x"), "no JWT"),
        (signed("rsa", Algorithm::HS256, &confused, &claims(&issuer)), "algorithm is not taken"),
        (signed("rsa", Algorithm::HS512, &EncodingKey::from_secret(RSA), &claims(&issuer)), "algorithm"),
        (signed("rsa", Algorithm::ES256, &stranger, &claims(&issuer)), "key that is not the issuer's"),
        (signed("stranger", Algorithm::ES256, &stranger, &claims(&issuer)), "key that is not the issuer's"),
        (bent, "signature does not hold"),
        (with("aud", json!("https://other.example.com")), "for somebody else"),
        (without("aud"), "lacks one of"),
        (with("iss", json!("https://evil.example.com")), "of another issuer"),
        (without("iss"), "lacks one of"),
        (with("exp", json!(now - 60)), "not valid any more"),
        (without("exp"), "lacks one of"),
        (with("nbf", json!(now + 300)), "not valid yet"),
        (without("sub"), "name nobody"),
        (with("sub", json!("a\nb")), "name nobody"),
        (with("padding", json!("x".repeat(20_000))), "too long"),
        ("a.b.c".to_owned(), "no JWT"),
    ];
    for (token, expected) in refused {
        let detail = call(&world, &token, "/api/orgs/default/incidents", None).await.problem(401);
        assert!(detail.contains(expected), "{expected}: {detail}");
    }
    call(&world, &good, "/api/orgs/default/incidents", None).await.ok(200);
}

#[tokio::test]
async fn new_key_is_looked_for_and_nobody_can_make_us_look_often() {
    let issuer = issuer().await;
    let world = world(&issuer).await;
    let path = "/api/orgs/default/incidents";
    let old = signed("rsa", Algorithm::RS256, &rsa(), &claims(&issuer));
    call(&world, &old, path, None).await.ok(200);
    call(&world, &old, path, None).await.ok(200);
    assert_eq!(issuer.fetched.load(Ordering::SeqCst), 1);
    let key = EncodingKey::from_ec_pem(EC).unwrap();
    let new = signed("ec", Algorithm::ES256, &key, &claims(&issuer));
    call(&world, &new, path, None).await.problem(401);
    issuer.rotated.store(true, Ordering::SeqCst);
    call(&world, &new, path, None).await.ok(200);
    assert_eq!(issuer.fetched.load(Ordering::SeqCst), 3);
    let stranger = EncodingKey::from_ec_pem(STRANGER).unwrap();
    for number in 0..50 {
        let token = signed(&format!("k{number}"), Algorithm::ES256, &stranger, &claims(&issuer));
        call(&world, &token, path, None).await.problem(401);
    }
    assert_eq!(issuer.fetched.load(Ordering::SeqCst), LOOKS);
    // The keys that are known hold while the issuer is away.
    issuer.away.store(true, Ordering::SeqCst);
    call(&world, &new, path, None).await.ok(200);
    // A token without a key id is believed only where there is no choice.
    let unnamed = signed("", Algorithm::ES256, &key, &claims(&issuer));
    call(&world, &unnamed, path, None).await.ok(200);
}

#[tokio::test]
async fn issuer_that_does_not_answer_makes_the_door_say_so() {
    let issuer = issuer().await;
    issuer.away.store(true, Ordering::SeqCst);
    let world = world(&issuer).await;
    let token = signed("rsa", Algorithm::RS256, &rsa(), &claims(&issuer));
    let detail = call(&world, &token, "/api/orgs/default/incidents", None).await.problem(503);
    assert!(detail.contains("it answers 502"), "{detail}");
    // Tokens of the directory need no issuer.
    world.get("viewer", "incidents").await.ok(200);
}
