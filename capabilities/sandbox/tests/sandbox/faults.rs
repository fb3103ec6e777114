use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Vendor, World, answer_of, check};

const INCIDENTS: &str = "/pages/page1/incidents";

fn draft() -> Value {
    json!({"incident": {"name": "Checkout is slow"}})
}

fn order(times: u32, fault: Value) -> Value {
    json!({"match": {"method": "POST", "path": "/incidents"}, "times": times, "fault": fault})
}

async fn incidents(world: &World) -> usize {
    let state = world.state(Vendor::Statuspage).await;
    state["incidents"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_status_replaces_the_work_as_often_as_ordered() {
    let world = World::start().await;
    let fault = json!({"match": {"path": "/incidents"}, "times": 2, "fault": "status", "status": 404});
    assert_eq!(world.order(Vendor::Statuspage, fault).await.status, 201);
    for expected in [404, 404, 201] {
        let answer = world.post(Vendor::Statuspage, INCIDENTS, draft()).await;
        assert_eq!(answer.status, expected);
    }
    assert_eq!(incidents(&world).await, 1);
}

#[tokio::test]
async fn drop_before_loses_the_request() {
    let world = World::start().await;
    world.order(Vendor::Statuspage, order(1, json!("drop-before"))).await;
    let request = world.request(Vendor::Statuspage, Method::POST, INCIDENTS);
    let error = request.json(&draft()).send().await.unwrap_err();
    assert!(!error.is_timeout() && !error.is_status(), "{error:?}");
    assert_eq!(incidents(&world).await, 0);
    assert_eq!(world.requests(Vendor::Statuspage).await.len(), 1);
    assert_eq!(world.post(Vendor::Statuspage, INCIDENTS, draft()).await.status, 201);
}

#[tokio::test]
async fn drop_after_leaves_the_effect_and_loses_the_answer() {
    let world = World::start().await;
    // On a connection that was used before, too.
    world.get(Vendor::Statuspage, INCIDENTS).await;
    world.order(Vendor::Statuspage, order(1, json!({"drop-after": {}}))).await;
    let request = world.request(Vendor::Statuspage, Method::POST, INCIDENTS);
    let error = request.json(&draft()).send().await.unwrap_err();
    assert!(!error.is_timeout() && !error.is_status(), "{error:?}");
    assert_eq!(incidents(&world).await, 1);
    let requests = world.requests(Vendor::Statuspage).await;
    assert_eq!(requests.len(), 2, "the client sent the request once");
}

#[tokio::test]
async fn delay_holds_back_the_answer_and_delay_work_the_work() {
    let world = World::start().await;
    for fault in ["delay", "delay-work"] {
        let before = incidents(&world).await;
        let order = order(1, json!({fault: {"delayMs": 1500}}));
        world.order(Vendor::Statuspage, order).await;
        let request =
            world.request(Vendor::Statuspage, Method::POST, INCIDENTS).timeout(Duration::from_millis(400));
        assert!(request.json(&draft()).send().await.unwrap_err().is_timeout());
        let early = incidents(&world).await - before;
        assert_eq!(early, usize::from(fault == "delay"), "{fault}");
        let started = Instant::now();
        while incidents(&world).await == before {
            assert!(started.elapsed() < Duration::from_secs(10), "{fault}");
            tokio::task::yield_now().await;
        }
    }
    let order = order(1, json!({"kind": "delay", "delayMs": 50}));
    world.order(Vendor::Statuspage, order).await;
    let started = Instant::now();
    assert_eq!(world.post(Vendor::Statuspage, INCIDENTS, draft()).await.status, 201);
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn each_vendor_limits_in_its_own_words() {
    let world = World::start().await;
    for (vendor, path, status, told) in [
        (Vendor::Slack, "/auth.test", 429, json!({"ok": false, "error": "ratelimited"})),
        (
            Vendor::PagerDuty,
            "/incidents",
            429,
            json!({"error": {"message": "Rate Limit Exceeded", "code": 2020}}),
        ),
        (Vendor::Statuspage, INCIDENTS, 420, json!({"error": "rate limit exceeded"})),
        (
            Vendor::Confluence,
            "/pages",
            429,
            json!({"errors": [{
                "status": 429, "code": "RATE_LIMITED", "title": "Rate limit exceeded", "detail": null,
            }]}),
        ),
    ] {
        let fault = json!({"times": 1, "match": {}, "fault": {"rate-limit": {"retryAfterS": 7}}});
        assert_eq!(world.order(vendor, fault).await.status, 201);
        let response = world.request(vendor, Method::GET, path).send().await.unwrap();
        assert_eq!(response.headers()["retry-after"], "7", "{vendor:?}");
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.json::<Value>().await.unwrap(), told);
        let answer = answer_of(world.request(vendor, Method::GET, path)).await;
        check(vendor, &Method::GET, path, &answer);
        assert_eq!(answer.status, 200, "{vendor:?}");
    }
}

#[tokio::test]
async fn a_fault_waits_for_the_request_it_is_meant_for() {
    let world = World::start().await;
    let fault = json!({
        "match": {"method": "get", "path": "page=2"}, "times": 1, "fault": {"status": {"status": 503}},
    });
    world.order(Vendor::Statuspage, fault).await;
    assert_eq!(world.post(Vendor::Statuspage, INCIDENTS, draft()).await.status, 201);
    assert_eq!(world.get(Vendor::Statuspage, INCIDENTS).await.status, 200);
    assert_eq!(world.get(Vendor::PagerDuty, "/incidents").await.status, 200);
    let faults = world.inspect(Vendor::Statuspage, "faults").await;
    assert_eq!(faults["faults"][0]["times"], 1);
    let second_page = format!("{INCIDENTS}?page=2");
    let request = world.request(Vendor::Statuspage, Method::GET, &second_page);
    assert_eq!(answer_of(request).await.status, 503);
    assert_eq!(world.get(Vendor::Statuspage, &second_page).await.status, 200);
}

#[tokio::test]
async fn cleared_faults_hit_nobody() {
    let world = World::start().await;
    world.order(Vendor::Statuspage, order(9, json!({"status": 500}))).await;
    let url = format!("{}/_sandbox/faults", world.origin(Vendor::Statuspage));
    assert_eq!(answer_of(world.http.delete(url)).await.status, 204);
    assert_eq!(world.post(Vendor::Statuspage, INCIDENTS, draft()).await.status, 201);
}

#[tokio::test]
async fn malformed_orders_are_refused_with_the_reason() {
    let world = World::start().await;
    for (order, reason) in [
        (json!([]), "a fault is an object"),
        (json!({"match": {}}), "fault is one of"),
        (json!({"fault": "explode"}), "there is no fault explode"),
        (json!({"fault": "status"}), "needs status"),
        (json!({"fault": {"status": {"status": 42}}}), "42 is not a status"),
        (json!({"fault": {"delay": {"delayMs": "long"}}}), "needs delayMs"),
        (json!({"fault": {"delay": {"delayMs": 3_600_000}}}), "at most"),
        (json!({"fault": {"rate-limit": {}}}), "needs retryAfterS"),
        (json!({"fault": "drop-after", "times": 0}), "times is"),
        (json!({"fault": "drop-after", "match": {"host": "x"}}), "not host"),
        (json!({"fault": "drop-after", "match": {"path": 1}}), "match.path is a text"),
    ] {
        let answer = world.order(Vendor::Slack, order.clone()).await;
        assert_eq!(answer.status, 400, "{order}");
        let error = answer.body["error"].as_str().unwrap();
        assert!(error.contains(reason), "{order}: {error}");
    }
}

#[tokio::test]
async fn a_fault_leaves_the_first_alone_where_it_is_told_to() {
    let world = World::start().await;
    let fault =
        json!({"match": {"method": "POST"}, "after": 1, "times": 1, "fault": "status", "status": 404});
    assert_eq!(world.order(Vendor::Statuspage, fault).await.status, 201);
    for expected in [201, 404, 201] {
        assert_eq!(world.post(Vendor::Statuspage, INCIDENTS, draft()).await.status, expected);
    }
    let bad = json!({"after": -1, "fault": "drop-before"});
    assert_eq!(world.order(Vendor::Statuspage, bad).await.status, 400);
}
