//! Webhooks of PagerDuty, Alertmanager and Grafana, in the forms that they document.

use axum::{body::Body, http::Request};
use harmony_eventlog::EffectSubject;
use harmony_incidents::{
    IncidentId, OrgId,
    ids::{EffectScope, candidate_page_key, effect_key},
    promotion::CandidateId,
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    pages::Visitor,
    world::{Reply, World},
};

const TRIGGERED: &str = include_str!("fixtures/pagerduty-triggered.json");
const ALERTMANAGER: &str = include_str!("fixtures/alertmanager.json");
const GRAFANA: &str = include_str!("fixtures/grafana.json");

fn mac(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn post(world: &World, sender: &str, header: (&str, String), body: &str) -> Reply {
    let request = Request::post(format!("/webhooks/{sender}")).header(header.0, header.1);
    world.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn pagerduty(world: &World, body: &str) -> Reply {
    let signature = format!("v1={}", mac("new-pagerduty-secret", body));
    post(world, "pagerduty", ("X-PagerDuty-Signature", signature), body).await
}

/// An event about a PagerDuty incident.
fn event(id: &str, kind: &str, at: &str, data: &Value) -> String {
    let mut event: Value = serde_json::from_str(TRIGGERED).unwrap();
    event["event"]["id"] = json!(id);
    event["event"]["event_type"] = json!(kind);
    event["event"]["occurred_at"] = json!(at);
    for (name, value) in data.as_object().unwrap() {
        event["event"]["data"][name] = value.clone();
    }
    event.to_string()
}

async fn candidates(world: &World) -> Vec<Value> {
    world.get("viewer", "candidates").await.ok(200)["candidates"].as_array().unwrap().clone()
}

#[tokio::test]
async fn pagerduty_incident_becomes_a_candidate_once() {
    let world = World::new().await;
    let both =
        format!("v1={},v1={}", mac("a secret of theirs", TRIGGERED), mac("old-pagerduty-secret", TRIGGERED));
    let reply = post(&world, "pagerduty", ("X-PagerDuty-Signature", both), TRIGGERED).await;
    assert_eq!(reply.ok(200)["taken"], "candidate");
    assert_eq!(pagerduty(&world, TRIGGERED).await.ok(200)["taken"], "candidate");
    let found = candidates(&world).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let shown = world
        .get("viewer", &format!("candidates/{}", found[0]["candidateId"].as_str().unwrap()))
        .await
        .ok(200);
    let text = shown.to_string();
    for part in [
        "pagerduty-01BWE6Q5KZQW3ZTP4VSFZY5Q0K",
        "A little bump in the road",
        "\"P1\"",
        "API Service",
        "PGR0VU2",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn only_pagerdutys_own_webhooks_are_taken() {
    let world = World::new().await;
    for signature in [
        String::new(),
        mac("new-pagerduty-secret", TRIGGERED),
        format!("v0={}", mac("new-pagerduty-secret", TRIGGERED)),
        format!("v1={}", mac("another secret", TRIGGERED)),
        format!("v1={}", mac("new-pagerduty-secret", "{}")),
        "v1=".to_owned(),
        "v1=zz,v1=".to_owned(),
    ] {
        let reply = post(&world, "pagerduty", ("X-PagerDuty-Signature", signature), TRIGGERED).await;
        reply.problem(401);
    }
    // What is genuine and not for us is taken: three refusals in a row would end the subscription.
    let ping = r#"{"event":{"id":"01","event_type":"pagey.ping","resource_type":"pagey","occurred_at":"2026-03-01T02:00:00Z","data":{"message":"Hello from your friend Pagey!","type":"ping"}}}"#;
    assert_eq!(pagerduty(&world, ping).await.ok(200)["taken"], "ignored");
    for strange in ["{", "[]", r#"{"event":{}}"#] {
        assert_eq!(pagerduty(&world, strange).await.ok(200)["taken"], "not understood");
    }
    let unlinked = event("02", "incident.resolved", "2026-03-01T02:00:00Z", &json!({}));
    assert_eq!(pagerduty(&world, &unlinked).await.ok(200)["taken"], "ignored");
    assert!(candidates(&world).await.is_empty());
}

#[tokio::test]
async fn what_happens_at_pagerduty_to_a_linked_incident_is_recorded_and_changes_no_state() {
    let world = World::new().await;
    let id = world.declared("P2").await;
    world.linked(&id, "pagerdutyIncidentId", "PGR0VU2").await;
    let before = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    let acknowledged =
        event("03", "incident.acknowledged", "2026-03-01T02:00:00Z", &json!({ "status": "acknowledged" }));
    for _ in 0..2 {
        assert_eq!(pagerduty(&world, &acknowledged).await.ok(200)["taken"], "recorded");
    }
    let resolved = event("04", "incident.resolved", "2026-03-01T02:10:00Z", &json!({ "status": "resolved" }));
    assert_eq!(pagerduty(&world, &resolved).await.ok(200)["taken"], "recorded");
    let after = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!((&after["state"], &after["phase"]), (&before["state"], &before["phase"]));
    let sources: Vec<&str> = after["signals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|signal| signal["source"].as_str().unwrap())
        .collect();
    assert_eq!(sources, ["pagerduty/incident.acknowledged", "pagerduty/incident.resolved"]);
    let state = world.log.state(&OrgId::default(), &id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(
        state.acknowledged_at_us,
        "2026-03-01T02:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond()
    );
}

#[tokio::test]
async fn own_incidents_and_pages_come_back_as_no_candidates() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let incident: IncidentId = id.parse().unwrap();
    let org = OrgId::default();
    // As each effect writes its intent: before PagerDuty hears of it, and before a link is on record.
    for (number, resource) in
        ["pagerduty-incident", "page/gate#1/1", "page/gate#1/break-glass", "page/severity/act-7"]
            .into_iter()
            .enumerate()
    {
        let key = effect_key(&org, &incident, &EffectScope::Incident { resource }).to_string();
        intend(&world, &(&incident).into(), &key).await;
        let data = json!({ "id": format!("POWN{number}"), "incident_key": key });
        let own = event(&format!("own{number}"), "incident.triggered", "2026-03-01T02:00:00Z", &data);
        assert_eq!(pagerduty(&world, &own).await.ok(200)["taken"], "recorded", "{resource}");
    }
    let candidate: CandidateId = "alertmanager-ab-1".parse().unwrap();
    let key = candidate_page_key(&org, &candidate).to_string();
    intend(&world, &(&candidate).into(), &key).await;
    for (number, kind) in ["incident.triggered", "incident.acknowledged"].into_iter().enumerate() {
        let data = json!({ "id": "PPAGE", "incident_key": key });
        let own = event(&format!("page{number}"), kind, "2026-03-01T02:00:00Z", &data);
        assert_eq!(pagerduty(&world, &own).await.ok(200)["taken"], "ignored");
    }
    assert!(candidates(&world).await.is_empty());
    // A key that nobody here gave is somebody else's incident.
    let data = json!({ "id": "POTHER", "incident_key": "theirs" });
    let theirs = event("theirs", "incident.triggered", "2026-03-01T02:00:00Z", &data);
    assert_eq!(pagerduty(&world, &theirs).await.ok(200)["taken"], "candidate");
}

async fn intend(world: &World, subject: &EffectSubject, key: &str) {
    let lease = std::time::Duration::from_secs(60);
    world.log.begin_effect(&OrgId::default(), subject, key, "paging", "worker-1", lease).await.unwrap();
}

#[tokio::test]
async fn events_that_name_the_incident_they_belong_to_are_recorded_with_who_did_it() {
    let world = World::new().await;
    let id = world.declared("P2").await;
    world.linked(&id, "pagerdutySeverityPageId", "PGR0VU2").await;
    let incident = json!({ "id": "PGR0VU2", "type": "incident_reference", "summary": "A little bump" });
    let agent = json!({ "id": "PTUXL6G", "type": "user_reference", "summary": "Earline Greenholt" });
    for (number, (kind, data)) in [
        ("incident.annotated", json!({ "id": "PNOTE", "type": "incident_note", "content": "Rolled back" })),
        (
            "incident.responder.added",
            json!({ "type": "incident_responder", "message": "Please help", "user": agent }),
        ),
        (
            "incident.custom_field_values.updated",
            json!({ "type": "incident_field_values", "custom_fields": [] }),
        ),
        (
            "incident.workflow.started",
            json!({ "id": "PWF", "type": "incident_workflow_instance", "title": null }),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut data = data;
        data["incident"] = incident.clone();
        let body = json!({ "event": {
            "id": format!("named{number}"), "event_type": kind, "resource_type": "incident",
            "occurred_at": "2026-03-01T02:00:00Z", "agent": agent, "client": null, "data": data,
        } });
        assert_eq!(pagerduty(&world, &body.to_string()).await.ok(200)["taken"], "recorded", "{kind}");
    }
    let shown = world.get("viewer", &format!("incidents/{id}/events")).await.ok(200).to_string();
    for part in [
        "pagerduty/incident.annotated",
        "Rolled back (by Earline Greenholt)",
        "Please help (by Earline Greenholt)",
        "pagerduty/incident.workflow.started",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[tokio::test]
async fn alerts_that_fire_become_candidates_once() {
    let world = World::new().await;
    let bearer = ("Authorization", "Bearer alertmanager-secret".to_owned());
    let signed = ("X-Grafana-Alerting-Signature", mac("grafana-secret", GRAFANA));
    for _ in 0..2 {
        let reply = post(&world, "alertmanager", bearer.clone(), ALERTMANAGER).await.ok(200);
        assert_eq!(reply, json!({ "taken": 1, "refused": [] }));
        let reply = post(&world, "grafana", signed.clone(), GRAFANA).await.ok(200);
        assert_eq!(reply, json!({ "taken": 1, "refused": [] }));
    }
    // The same alert with other words is still the first one.
    let changed = ALERTMANAGER
        .replace("5% of requests", "7% of requests")
        .replace("//prometheus.example.com", "//prometheus-1.example.com");
    post(&world, "alertmanager", bearer, &changed).await.ok(200);
    let mut ids: Vec<String> = candidates(&world)
        .await
        .iter()
        .map(|candidate| candidate["candidateId"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    assert_eq!(
        ids,
        ["alertmanager-f5bd9eddc5e29f12-1772330400123000", "grafana-c6eadffa33fcdf37-1772351463157076"]
    );
    let shown = world.get("viewer", &format!("candidates/{}", ids[0])).await.ok(200).to_string();
    for part in
        ["Checkout answers 5% of requests", "critical", "checkout", "production", "For 10 minutes now."]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    // Where it is shown: of replicas, the one that told first.
    for (id, link) in [
        (&ids[0], "https://prometheus.example.com/graph"),
        (&ids[1], "https://play.grafana.org/alerting/1afz29v7z/edit"),
    ] {
        let candidate = world.get("viewer", &format!("candidates/{id}")).await.ok(200);
        assert_eq!(candidate["signals"][0]["link"], link);
        assert_eq!(candidate["correlationRuleId"], "one-alert-rule");
        let page = Visitor::new(&world, "viewer").await.page(&format!("/orgs/default/candidates/{id}")).await;
        assert!(page.contains(&format!("<a href=\"{link}\"")), "{page}");
    }
}

#[tokio::test]
async fn incident_is_linked_to_where_it_was_first_seen() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    let page = format!("/orgs/default/incidents/{id}");
    let viewer = Visitor::new(&world, "viewer").await;
    for link in ["javascript:alert(1)", "https://grafana.example.com/d/1", "https://grafana.example.com/d/2"]
    {
        let signal = json!({ "source": "grafana", "data": { "link": link } });
        world.post("operator", &format!("incidents/{id}/signals"), signal).await.ok(200);
    }
    let page = viewer.page(&page).await;
    assert!(page.contains("<span>First seen</span> <a href=\"https://grafana.example.com/d/1\""), "{page}");
    assert!(!page.contains("href=\"javascript"), "{page}");
}

#[tokio::test]
async fn an_alerts_address_is_one_of_the_web_or_left_out() {
    let world = World::new().await;
    let links = |panel: &str, rule: &str| {
        let named = GRAFANA.replace("\"panelURL\": \"\"", &format!("\"panelURL\": \"{panel}\""));
        named.replace("https://play.grafana.org/alerting/1afz29v7z/edit", rule)
    };
    for (index, (panel, rule, link)) in [
        (
            "https://grafana.example.com/d/1?viewPanel=2",
            "https://grafana.example.com/rule",
            "https://grafana.example.com/d/1?viewPanel=2",
        ),
        ("javascript:alert(1)", "https://grafana.example.com/rule", "https://grafana.example.com/rule"),
        ("javascript:alert(1)", "data:text/html,x", ""),
        ("https://", "//evil.example", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let body = links(panel, rule)
            .replace("c6eadffa33fcdf37", &format!("print{index}"))
            .replace("High memory", &format!("Rule {index}"));
        post(&world, "grafana", ("X-Grafana-Alerting-Signature", mac("grafana-secret", &body)), &body)
            .await
            .ok(200);
        let found = candidates(&world).await;
        let one = found
            .iter()
            .find(|one| one["candidateId"].as_str().unwrap().contains(&format!("print{index}")))
            .unwrap();
        assert_eq!(one["signals"][0]["link"].as_str().unwrap_or_default(), link, "{panel} {rule}");
    }
}

#[tokio::test]
async fn alerts_of_nobody_we_know_are_refused() {
    let world = World::new().await;
    for (sender, name, value) in [
        ("alertmanager", "Authorization", "Bearer grafana-secret".to_owned()),
        ("alertmanager", "Authorization", "Basic alertmanager-secret".to_owned()),
        ("alertmanager", "X-Harmony-Signature", mac("alertmanager-secret", ALERTMANAGER)),
        ("alertmanager", "X-Harmony-Signature", format!("sha256={}", mac("grafana-secret", ALERTMANAGER))),
        ("grafana", "X-Grafana-Alerting-Signature", mac("grafana-secret", "{}")),
        ("grafana", "Accept", "*/*".to_owned()),
    ] {
        post(&world, sender, (name, value), ALERTMANAGER).await.problem(401);
    }
    let signature = format!("sha256={}", mac("alertmanager-secret", ALERTMANAGER));
    post(&world, "alertmanager", ("X-Harmony-Signature", signature), ALERTMANAGER).await.ok(200);
    for strange in ["{", "{}", r#"{"alerts":[{"status":7}]}"#] {
        let bearer = ("Authorization", "Bearer alertmanager-secret".to_owned());
        post(&world, "alertmanager", bearer, strange).await.problem(422);
    }
}

/// A notification of alerts that fire, each `(alertname, instance, severity)`.
fn notification(alerts: &[(String, usize, &str)]) -> String {
    let alerts: Vec<Value> = alerts
        .iter()
        .map(|(name, instance, severity)| {
            json!({
                "status": "firing",
                "labels": { "alertname": name, "severity": severity, "instance": instance.to_string() },
                "annotations": { "description": "d".repeat(1_000) },
                "startsAt": "2026-03-01T02:00:00Z",
                "fingerprint": format!("{name}{instance}"),
            })
        })
        .collect();
    json!({ "version": "4", "groupKey": "{}:{}", "status": "firing", "alerts": alerts }).to_string()
}

async fn alertmanager(world: &World, body: &str) -> Value {
    let bearer = ("Authorization", "Bearer alertmanager-secret".to_owned());
    post(world, "alertmanager", bearer, body).await.ok(200)
}

#[tokio::test]
async fn every_alert_of_a_storm_is_taken_and_one_rule_is_one_candidate() {
    let world = World::new().await;
    // Well over the limit of other bodies, and over the alerts that one candidate is handed in with.
    let mut alerts: Vec<_> = (0..450).map(|number| ("InstanceDown".to_owned(), number, "critical")).collect();
    alerts.push(("SiteDown".to_owned(), 0, "critical"));
    alerts.push(("InstanceDown".to_owned(), 999, "warning"));
    let body = notification(&alerts);
    assert!(body.len() > 400_000);
    for _ in 0..2 {
        assert_eq!(alertmanager(&world, &body).await, json!({ "taken": 452, "refused": [] }));
    }
    let found = candidates(&world).await;
    assert_eq!(found.len(), 3, "a rule and a severity each");
    let signals = |one: &Value| one["signals"].as_array().unwrap().len();
    let mut counts: Vec<usize> = found.iter().map(signals).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 450]);
    let groups: std::collections::BTreeSet<&str> =
        found.iter().map(|one| one["correlationKey"].as_str().unwrap()).collect();
    assert_eq!(groups.len(), 1, "one group");
    // What is too much is told, and does not pass for taken.
    let storm: Vec<_> = (0..5_003).map(|number| ("Storm".to_owned(), number, "info")).collect();
    let mut storm: Value = serde_json::from_str(&notification(&storm)).unwrap();
    for alert in storm["alerts"].as_array_mut().unwrap() {
        alert["annotations"] = json!({});
    }
    let answer = alertmanager(&world, &storm.to_string()).await;
    assert_eq!(answer, json!({ "taken": 5_000, "refused": [], "notTaken": 3 }));
}

#[tokio::test]
async fn alert_without_status_or_start_takes_the_notifications() {
    let world = World::new().await;
    let body = json!({
        "status": "firing", "startsAt": "2026-03-01T02:00:00Z",
        "alerts": [{ "labels": { "alertname": "Down" } }, { "status": "resolved", "labels": { "alertname": "Up" } }],
    });
    assert_eq!(alertmanager(&world, &body.to_string()).await["taken"], 1);
    let found = candidates(&world).await;
    assert_eq!((found.len(), &found[0]["title"]), (1, &json!("Down")));
    assert_eq!(found[0]["detectedAt"], "2026-03-01T02:00:00Z");
}

#[tokio::test]
async fn grafana_may_sign_a_timestamp_and_put() {
    let world = World::new().await;
    let put = async |at: i64, signature: String| {
        let request = Request::put("/webhooks/grafana")
            .header("X-Grafana-Alerting-Signature", signature)
            .header("X-Grafana-Alerting-Timestamp", at.to_string());
        world.send(request.body(Body::from(GRAFANA)).unwrap()).await
    };
    let now = jiff::Timestamp::now().as_second();
    let over = |at: i64| mac("grafana-secret", &format!("{at}:{GRAFANA}"));
    put(now, mac("grafana-secret", GRAFANA)).await.problem(401);
    put(now - 600, over(now - 600)).await.problem(401);
    put(now, over(now - 1)).await.problem(401);
    assert_eq!(put(now, over(now)).await.ok(200)["taken"], 1);
}

#[tokio::test]
async fn refused_webhooks_are_counted_by_sender() {
    let world = World::new().await;
    let wrong = ("Authorization", "Bearer another".to_owned());
    post(&world, "grafana", wrong, GRAFANA).await.problem(401);
    let huge = " ".repeat(8 * 1024 * 1024 + 1);
    let bearer = ("Authorization", "Bearer alertmanager-secret".to_owned());
    let detail = post(&world, "alertmanager", bearer.clone(), &huge).await.problem(413);
    post(&world, "alertmanager", bearer, "{}").await.problem(422);
    assert!(!detail.is_empty());
    let metrics = harmony_telemetry::metrics::render();
    for (source, status) in [("grafana", 401), ("alertmanager", 413), ("alertmanager", 422)] {
        let series = format!("harmony_webhooks_refused_total{{source=\"{source}\",status=\"{status}\"}}");
        assert!(metrics.contains(&series), "{series} in {metrics}");
    }
}

#[tokio::test]
async fn priority_of_pagerduty_counts_where_its_name_means_something_and_else_the_urgency() {
    let world = World::new().await;
    for (number, (priority, expected)) in [
        (Some("SEV-1"), "SEV-1"),
        (Some("Sev 2"), "Sev 2"),
        (Some("P5"), "P5"),
        (Some("Blue"), "high"),
        (None, "high"),
    ]
    .into_iter()
    .enumerate()
    {
        let priority = priority.map_or(Value::Null, |name| json!({ "id": "P", "summary": name }));
        let data = json!({ "id": format!("PX{number}"), "priority": priority, "urgency": "high" });
        let body = event(&format!("prio{number}"), "incident.triggered", "2026-03-01T02:00:00Z", &data);
        assert_eq!(pagerduty(&world, &body).await.ok(200)["taken"], "candidate");
        let shown = world.get("viewer", &format!("candidates/pagerduty-prio{number}")).await.ok(200);
        assert_eq!(shown["severity"], expected);
    }
}
