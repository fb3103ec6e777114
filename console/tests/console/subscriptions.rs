//! Subscriptions: who may make, see and end which, and the link that ends one without signing in.

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use harmony_capabilities::slack::SlackReplies;
use harmony_incidents::{
    OrgId,
    attestation::{AttestationKeys, UnsubscribeClaim},
    stakeholders::{DeliveryProblem, Subscription},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    pages::Visitor,
    world::{Reply, World},
};

async fn add(world: &World, who: &str, body: Value) -> Reply {
    world.post(who, "subscriptions", body).await
}

async fn listed(world: &World, who: &str, query: &str) -> Vec<Value> {
    let reply = world.get(who, &format!("subscriptions{query}")).await.ok(200);
    reply["subscriptions"].as_array().unwrap().clone()
}

async fn stored(world: &World) -> Vec<Subscription> {
    world.log.subscriptions(&OrgId::default()).await.unwrap()
}

/// A private incident that `oncall` alone is named on, beside whoever hid it.
async fn private(world: &World) -> String {
    let body = json!({ "title": "Breach", "severity": "P1", "privateTo": ["oncall"] });
    world.post("commander", "incidents", body).await.ok(201)["incidentId"].as_str().unwrap().to_owned()
}

/// With Slack configured; nothing is sent to it.
async fn with_slack() -> World {
    World::with_replies(Some(SlackReplies::new("http://127.0.0.1:1/api", "xoxb-test".into()).unwrap())).await
}

#[tokio::test]
async fn somebody_follows_and_stops_following() {
    let world = World::new().await;
    let id = world.declared("P1").await;
    for subject in [format!("incident:{id}"), "service:checkout".into(), "severity:P1".into(), "all".into()] {
        let made = add(&world, "viewer", json!({ "subject": subject })).await.ok(201);
        assert_eq!((&made["subject"], &made["person"]), (&json!(subject), &json!("viewer")));
        assert!(made.get("email").is_none(), "the directory's address is looked up when it is needed");
        let again = add(&world, "viewer", json!({ "subject": subject })).await.ok(200);
        assert_eq!(again, made, "one for each pair");
    }
    let mine = listed(&world, "viewer", "").await;
    assert_eq!(mine.len(), 4);
    let one = mine[0]["id"].as_str().unwrap();
    world.post("viewer", &format!("subscriptions/{one}/remove"), json!({})).await.ok(200);
    world.post("viewer", &format!("subscriptions/{one}/remove"), json!({})).await.problem(404);
    assert_eq!(listed(&world, "viewer", "?mine=true").await.len(), 3);
}

#[tokio::test]
async fn others_addresses_and_channels_are_for_responders() {
    let world = with_slack().await;
    for to in [
        json!({ "person": "oncall" }),
        json!({ "email": "jo@example.com" }),
        json!({ "channel": "C0123ABCD" }),
    ] {
        let mut body = to;
        body["subject"] = json!("severity:P1");
        add(&world, "viewer", body.clone()).await.problem(403);
        let made = add(&world, "operator", body).await.ok(201);
        assert_eq!(made["by"], "operator");
    }
    assert!(listed(&world, "viewer", "").await.is_empty(), "others' addresses are not shown");
    assert_eq!(listed(&world, "oncall", "?mine=true").await.len(), 1);
    let all = listed(&world, "oncall", "").await;
    assert_eq!(all.len(), 3);
    let channel = all.iter().find(|one| one["channel"] == "C0123ABCD").unwrap()["id"].as_str().unwrap();
    let remove = format!("subscriptions/{channel}/remove");
    world.post("viewer", &remove, json!({})).await.problem(404);
    world.post("oncall", &remove, json!({})).await.ok(200);
    add(&world, "approver", json!({ "subject": "all" })).await.problem(403);
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_to_do() {
    let world = World::new().await;
    let long = format!("{}@example.com", "x".repeat(65));
    for (body, status, expected) in [
        (json!({}), 422, "subject"),
        (json!({ "subject": "team:x" }), 422, "severity:P1"),
        (json!({ "subject": "severity:P7" }), 422, "severity:P1"),
        (json!({ "subject": "incident:INC-2026-9999" }), 404, "INC-2026-9999"),
        (json!({ "subject": "all", "email": "jo" }), 422, "not an e-mail address"),
        (json!({ "subject": "all", "email": "jo@example.com\r\nBcc: al@example.com" }), 422, "ASCII"),
        (json!({ "subject": "all", "email": "jö@example.com" }), 422, "ASCII"),
        (json!({ "subject": "all", "email": long }), 422, "1 to 64"),
        (json!({ "subject": "all", "channel": "#ops" }), 422, "C0123ABCD"),
        (json!({ "subject": "all", "person": "nobody" }), 422, "nobody in the directory"),
        (json!({ "subject": "all", "person": "oncall", "email": "jo@example.com" }), 422, "one of"),
        (json!({ "subject": "all", "team": "x" }), 422, "team"),
    ] {
        let detail = add(&world, "operator", body).await.problem(status);
        assert!(detail.contains(expected), "{detail}");
    }
    // No Slack here.
    let refused = add(&world, "operator", json!({ "subject": "all", "channel": "C0123ABCD" })).await;
    assert!(refused.json()["hint"].as_str().unwrap().contains("SLACK_BOT_TOKEN"), "{}", refused.text);
    assert!(stored(&world).await.is_empty());
}

#[tokio::test]
async fn private_incident_is_followed_by_whom_it_names_alone() {
    let world = with_slack().await;
    let id = private(&world).await;
    let subject = format!("incident:{id}");
    add(&world, "oncall", json!({ "subject": subject })).await.ok(201);
    // To everybody else it is not there.
    for who in ["viewer", "operator"] {
        let detail = add(&world, who, json!({ "subject": subject })).await.problem(404);
        assert_eq!(detail.replace(&id, "INC-2020-0001"), {
            add(&world, who, json!({ "subject": "incident:INC-2020-0001" })).await.problem(404)
        });
    }
    // Whoever sees it names nobody else by it, themselves neither where they are not named.
    for (who, to) in [
        ("admin", json!({})),
        ("oncall", json!({ "person": "viewer" })),
        ("oncall", json!({ "email": "jo@example.com" })),
        ("oncall", json!({ "channel": "C0123ABCD" })),
    ] {
        let mut body = to;
        body["subject"] = json!(subject);
        let detail = add(&world, who, body).await.problem(409);
        assert!(detail.contains("only the people it names"), "{detail}");
    }
    assert!(listed(&world, "operator", "").await.is_empty(), "nor that somebody follows it");
    let one = listed(&world, "oncall", "").await.remove(0);
    let remove = format!("subscriptions/{}/remove", one["id"].as_str().unwrap());
    world.post("operator", &remove, json!({})).await.problem(404);
    // What could not be sent of it is nobody else's to see.
    add(&world, "operator", json!({ "subject": "severity:P1", "person": "oncall" })).await.ok(201);
    let all = stored(&world).await;
    let by_severity = all.iter().find(|one| one.subject.to_string() == "severity:P1").unwrap();
    let problem =
        DeliveryProblem { at: Timestamp::now(), incident: id.parse().unwrap(), reason: "550".to_owned() };
    world.log.mark_subscription(&OrgId::default(), by_severity, Some(&problem)).await.unwrap();
    let shown = |who: &'static str| {
        let world = &world;
        async move {
            let found = listed(world, who, "").await;
            found.into_iter().find(|one| one["subject"] == "severity:P1").unwrap()["problem"].clone()
        }
    };
    assert_eq!(shown("oncall").await["incidentId"], json!(id));
    assert_eq!(shown("operator").await, Value::Null);
}

fn link(keys: &AttestationKeys, one: &Subscription) -> String {
    let at_us = one.at.as_microsecond();
    let claim = UnsubscribeClaim { org: "default", subscription: one.id.as_str(), at_us };
    format!("/unsubscribe/default/{}?at={at_us}&mac={}", one.id, keys.attest_unsubscribe(&claim))
}

async fn open(world: &World, method: Method, link: &str) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(link)
        // As a mail program posts it: no cookie, no origin of ours.
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    world.send(request.body(Body::from("List-Unsubscribe=One-Click")).unwrap()).await
}

#[tokio::test]
async fn link_unsubscribes_once_and_a_forged_one_never() {
    let world = World::new().await;
    add(&world, "viewer", json!({ "subject": "severity:P1" })).await.ok(201);
    add(&world, "oncall", json!({ "subject": "severity:P1" })).await.ok(201);
    let all = stored(&world).await;
    let (one, other) = (&all[0], &all[1]);
    let link_of_one = link(&world.keys, one);
    let foreign = AttestationKeys::parse(&"99".repeat(32)).unwrap();
    let mac = link_of_one.rsplit('=').next().unwrap();
    let at = one.at.as_microsecond();
    for forged in [
        link(&foreign, one),
        // One subscription's MAC for another, for another time, for another organisation; and none.
        format!("/unsubscribe/default/{}?at={at}&mac={mac}", other.id),
        format!("/unsubscribe/default/{}?at={}&mac={mac}", one.id, at + 1),
        format!("/unsubscribe/acme/{}?at={at}&mac={mac}", one.id),
        format!("/unsubscribe/default/{}?at={at}&mac={}", one.id, mac.to_uppercase()),
        format!("/unsubscribe/default/{}?at={at}", one.id),
        format!("/unsubscribe/default/{}", one.id),
        "/unsubscribe/default/x".to_owned(),
    ] {
        for method in [Method::GET, Method::POST] {
            let reply = open(&world, method, &forged).await;
            assert_eq!(reply.status, 404, "{forged}");
            assert!(!reply.text.contains("P1 incidents"), "it tells nothing: {}", reply.text);
        }
    }
    assert_eq!(stored(&world).await.len(), 2);
    // Mail scanners open links.
    let page = open(&world, Method::GET, &link_of_one).await;
    assert_eq!(page.status, 200);
    assert!(
        page.text.contains("P1 incidents") && page.text.contains("<form method=\"post\">"),
        "{}",
        page.text
    );
    assert!(page.header("content-security-policy").contains("form-action 'self'"));
    assert_eq!(stored(&world).await.len(), 2, "asking changes nothing");
    let done = open(&world, Method::POST, &link_of_one).await;
    assert!(done.status == 200 && done.text.contains("You are unsubscribed"), "{}", done.text);
    assert_eq!(stored(&world).await, std::slice::from_ref(other));
    for method in [Method::POST, Method::GET] {
        let again = open(&world, method, &link_of_one).await;
        assert!(again.status == 200 && again.text.contains("ended already"), "{}", again.text);
    }
    // Subscribed again, the old link is over.
    let who = if one.to.to_string() == "person:viewer" { "viewer" } else { "oncall" };
    add(&world, who, json!({ "subject": "severity:P1" })).await.ok(201);
    let again = open(&world, Method::POST, &link_of_one).await;
    assert!(again.text.contains("ended already"), "{}", again.text);
    assert_eq!(stored(&world).await.len(), 2);
}

#[tokio::test]
async fn pages_offer_what_the_api_does() {
    let world = World::new().await;
    let id = world.declared("P1").await;
    let viewer = Visitor::new(&world, "viewer").await;
    let incident = viewer.page(&format!("/orgs/default/incidents/{id}")).await;
    assert!(incident.contains(&format!("name=\"subject\" value=\"incident:{id}\"")), "a button on its page");
    let list = "/orgs/default/subscriptions";
    assert_eq!(viewer.form(list, &format!("subject=incident:{id}")).await.status, 303);
    assert_eq!(viewer.form(list, "service=checkout").await.status, 303);
    let page = viewer.page(list).await;
    assert!(page.contains(&id) && page.contains("incidents of checkout"), "{page}");
    assert!(!page.contains("name=\"email\""), "others are for responders");
    let operator = Visitor::new(&world, "operator").await;
    assert!(operator.page(list).await.contains("name=\"email\""));
    let one = stored(&world).await.remove(0);
    assert_eq!(viewer.form(&format!("{list}/{}/remove", one.id), "").await.status, 303);
    assert_eq!(stored(&world).await.len(), 1);
}
