//! Records as they are made.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::{Request, StatusCode, header},
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::World;

/// Somebody who watches.
pub(crate) struct Watcher {
    body: BodyDataStream,
    text: String,
}

impl Watcher {
    pub(crate) async fn new(world: &World, id: &str, last: Option<&str>) -> Self {
        let mut request = Request::get(format!("/api/orgs/default/incidents/{id}/stream"))
            .header(header::AUTHORIZATION, "Bearer token-viewer");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// How many events come until the answer ends.
    pub(crate) async fn rest(mut self) -> usize {
        let all = async {
            while let Some(more) = self.body.next().await {
                self.text.push_str(std::str::from_utf8(&more.unwrap()).unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.expect("it ends");
        self.text.matches("\nevent: record\n").count()
    }

    /// The next event: its id and its data.
    pub(crate) async fn next(&mut self) -> (u64, Value) {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                if let (Some(id), Some(data)) = (line("id: "), line("data: ")) {
                    assert_eq!(line("event: "), Some("record"));
                    return (id.parse().unwrap(), serde_json::from_str(data).unwrap());
                }
                continue;
            }
            let more =
                tokio::time::timeout(Duration::from_secs(30), self.body.next()).await.expect("an event");
            self.text.push_str(std::str::from_utf8(&more.unwrap().unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn watcher_hears_what_was_and_what_comes_once_and_in_order() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    let known = world.get("viewer", &format!("incidents/{id}")).await.ok(200)["seq"].as_u64().unwrap();
    let mut watcher = Watcher::new(&world, &id, None).await;
    for seq in 1..=known {
        assert_eq!(watcher.next().await.0, seq);
    }
    for round in 1..=3 {
        world
            .post("viewer", &format!("incidents/{id}/notes"), json!({ "note": format!("note {round}") }))
            .await
            .ok(200);
        let (seq, event) = watcher.next().await;
        assert_eq!((seq, &event["kind"]), (known + round, &json!("INCIDENT_NOTE_ADDED")));
        assert!(event["payload"]["note"].to_string().contains(&format!("note {round}")), "{event}");
    }
    // Written past this process's doors, as a worker does.
    world.gated(&id).await;
    assert_eq!(watcher.next().await.1["kind"], "BLUEPRINT_STARTED");
}

#[tokio::test]
async fn watcher_who_comes_back_misses_nothing() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    let mut watcher = Watcher::new(&world, &id, Some("1")).await;
    assert_eq!(watcher.next().await.0, 2);
    for bad in ["x", "-1", "99"] {
        let request = Request::get(format!("/api/orgs/default/incidents/{id}/stream"))
            .header(header::AUTHORIZATION, "Bearer token-viewer")
            .header("Last-Event-ID", bad);
        world.send(request.body(Body::empty()).unwrap()).await.problem(422);
    }
    let request = Request::get(format!("/api/orgs/default/incidents/{id}/stream"));
    world.send(request.body(Body::empty()).unwrap()).await.problem(401);
    world.get("approver", &format!("incidents/{id}/stream")).await.problem(403);
}
