//! The catalog's pages: what they show, to whom they offer what, and that they follow what happens.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::{Request, header},
};
use futures_util::StreamExt as _;
use harmony_catalog::{Command, Facts, judge_service};
use harmony_eventlog::{CatalogAppend, StreamState};
use harmony_incidents::{
    Context, OrgId, StreamId,
    log::{Authority, Cause},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{pages::Visitor, world::World};

async fn filled() -> World {
    let world = World::new().await;
    let environment = |id: &str, name: &str, refs: Value| json!({ "id": id, "name": name, "region": "eu-central-1", "cluster": name, "policyRefs": refs });
    let prod = environment("env-prod", "prod", json!(["policy:change-window:weekday", "policy:freeze:moon"]));
    world.post("deployer", "environments", prod).await.ok(201);
    world.post("deployer", "environments", environment("env-staging", "staging", json!([]))).await.ok(201);
    for (id, name, depends_on) in
        [("svc-db", "Database", json!([])), ("svc-shop", "Shop <b>", json!(["svc-db"]))]
    {
        let service = json!({
            "id": id, "name": name, "repo": "github.com/acme/shop", "adapters": { "deployments": ["external"] },
            "environments": [{ "id": "env-staging", "name": "staging" }, { "id": "env-prod", "name": "prod" }],
            "dependsOn": depends_on, "owner": "team-shop",
        });
        world.post("deployer", "services", service).await.ok(201);
    }
    world
}

async fn released(world: &World, id: &str, env: &str, status: &str) {
    let body = json!({
        "id": id, "serviceId": "svc-shop", "envId": env, "sha": format!("sha-of-{id}"), "version": format!("v-{id}"),
        "status": status,
    });
    world.post("deployer", "releases", body).await.ok(201);
}

async fn declared(world: &World) -> String {
    let body = json!({ "title": "Checkout fails", "severity": "P1", "serviceName": "svc-shop", "environment": "prod" });
    world.post("operator", "incidents", body).await.ok(201)["incidentId"].as_str().unwrap().to_owned()
}

/// Appends to the service's stream as a run does.
async fn by_run(world: &World, key: &str, command: Value) {
    let command: Command = serde_json::from_value(command).unwrap();
    let context = Context {
        actor: "deployer".to_owned(),
        authority: Authority::HumanOperator,
        cause: Cause::default(),
        occurred_at: Timestamp::now(),
    };
    let stream: StreamId = "svc/svc-shop".parse().unwrap();
    let judge = |state: &StreamState, facts: &Facts| {
        let StreamState::Service(state) = state else { panic!("{stream} is a service's") };
        judge_service(state, &command, &context, facts)
    };
    let append = CatalogAppend {
        org: &OrgId::default(),
        stream: &stream,
        key,
        command: &command,
        context: &context,
        expected_seq: None,
        run_id: None,
        judge: &judge,
        follow: Vec::new(),
    };
    world.log.append_catalog(append).await.unwrap();
}

#[tokio::test]
async fn index_shows_releases_incidents_and_what_was_done_last() {
    let world = filled().await;
    released(&world, "rel-1", "env-prod", "Active").await;
    let id = declared(&world).await;
    let viewer = Visitor::new(&world, "viewer").await;
    let page = viewer.page("/orgs/default/services").await;
    for part in [
        "Shop &#60;b&#62;",
        "href=\"/orgs/default/services/svc-shop\"",
        "href=\"/orgs/default/releases/rel-1\">v-rel-1</a>",
        "class=\"sev sev-P1\"",
        "<code>deploy.create</code> <small>by deployer",
        "nothing yet in staging",
        "aria-current=\"page\" data-go=\"s\">Services",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("<b>"), "a name is text");
    let found = viewer.page("/orgs/default/services?searchQuery=data").await;
    assert!(found.contains("svc-db") && !found.contains("svc-shop"), "{found}");
    assert_eq!(viewer.open("/orgs/default/services?serach=data").await.status, 400);
    // What its link leads to.
    assert!(viewer.page("/orgs/default/incidents?serviceName=svc-shop").await.contains(&id));
}

#[tokio::test]
async fn service_shows_its_matrix_and_releases_page_by_page() {
    let world = filled().await;
    for number in 1..=23 {
        released(&world, &format!("rel-{number}"), "env-prod", "Active").await;
    }
    released(&world, "rel-next", "env-prod", "Promoting").await;
    declared(&world).await;
    let viewer = Visitor::new(&world, "viewer").await;
    let page = viewer.page("/orgs/default/services/svc-shop").await;
    let matrix = page.split("id=\"live-matrix\"").nth(1).unwrap().split("</table>").next().unwrap();
    assert!(matrix.contains(">v-rel-23</a>") && matrix.contains(">v-rel-next</a>"), "{matrix}");
    assert!(matrix.contains("Promoting") && matrix.contains("nothing"), "{matrix}");
    for part in [
        "superseded",
        "Checkout fails",
        "href=\"/orgs/default/services/svc-db\">Database</a>",
        "data-stream=\"/api/orgs/default/audit?subject=svc/svc-shop\"",
        "href=\"https://github.com/acme/shop\"",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains(">v-rel-4</a>"));
    let older = page.split("class=\"button\" href=\"").find(|part| part.contains("Older releases")).unwrap();
    let older = older.split('"').next().unwrap().replace("&#38;", "&").replace("#releases-title", "");
    let page = viewer.page(&format!("/orgs/default/services/svc-shop{older}")).await;
    let releases = page.split("id=\"live-releases\"").nth(1).unwrap();
    assert!(releases.contains(">v-rel-4</a>") && !releases.contains(">v-rel-5</a>"), "{releases}");
    assert_eq!(viewer.open("/orgs/default/services/svc-moon").await.status, 404);
}

#[tokio::test]
async fn release_tells_its_runs_in_time_with_policies_and_offers_what_its_reader_may() {
    let world = filled().await;
    released(&world, "rel-1", "env-staging", "Draft").await;
    let run = json!({
        "type": "startRun", "runId": "run-1", "kind": "Deploy", "release": "rel-1", "env": "env-staging",
        "workflowId": "release.deploy-rel-1", "adapter": "external", "attempt": 1,
    });
    by_run(&world, "start", run).await;
    by_run(
        &world,
        "policies",
        json!({
            "type": "judgePolicies", "runId": "run-1", "outcome": "wait",
            "verdicts": [{ "ref": "policy:change-window:weekday", "mode": "wait", "reason": "outside the window" }],
        }),
    )
    .await;
    for (key, level, message) in [("log-1", "info", "image <shop> pulled"), ("log-2", "error", "2 of 3 pods")]
    {
        let entry = json!({
            "ts": Timestamp::now(), "level": level, "message": message, "meta": { "pod": "shop-1" },
        });
        by_run(&world, key, json!({ "type": "logRun", "runId": "run-1", "entry": entry })).await;
    }
    let open = json!({ "type": "judgePolicies", "runId": "run-1", "outcome": "proceed", "verdicts": [] });
    by_run(&world, "policies-2", open).await;
    let promoting =
        json!({ "type": "changeRelease", "release": "rel-1", "to": "Promoting", "runId": "run-1" });
    by_run(&world, "promoting", promoting).await;
    let active = json!({ "type": "changeRelease", "release": "rel-1", "to": "Active", "runId": "run-1" });
    by_run(&world, "active", active).await;
    by_run(&world, "finish", json!({ "type": "finishRun", "runId": "run-1", "outcome": "succeeded" })).await;

    let viewer = Visitor::new(&world, "viewer").await;
    let page = viewer.page("/orgs/default/releases/rel-1").await;
    let story = page.split("id=\"live-story\"").nth(1).unwrap().split("</section>").next().unwrap();
    let mut place = 0;
    for part in [
        "it waits until it opens",
        "<code>policy:change-window:weekday</code> <span class=\"state warm\">closed</span> outside the window",
        "image &#60;shop&#62; pulled <small>pod=shop-1",
        "<span class=\"level hot\">error</span> 2 of 3 pods",
        "Active",
    ] {
        let found = story[place..].find(part).unwrap_or_else(|| panic!("{part} in this order in {story}"));
        place += found;
    }
    assert!(page.contains("succeeded") && !page.contains("action=\"/orgs/default/releases"), "{page}");

    let deployer = Visitor::new(&world, "deployer").await;
    let page = deployer.page("/orgs/default/releases/rel-1").await;
    let offer = page.split("do/promote").nth(1).unwrap().split("</form>").next().unwrap();
    assert!(offer.contains("value=\"env-prod\"") && !offer.contains("value=\"env-staging\""), "{offer}");
    let promote = "/orgs/default/releases/rel-1/do/promote";
    let refused = viewer.form(promote, "key=p&toEnvId=env-prod").await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    for _ in 0..2 {
        let sent = deployer.form(promote, "key=p&toEnvId=env-prod").await;
        assert_eq!(sent.status, 303, "{}", sent.text);
    }
    let promoted = world.get("viewer", "releases?serviceId=svc-shop&envId=env-prod").await.ok(200);
    assert_eq!(promoted["releases"].as_array().unwrap().len(), 1, "a form that is sent twice happens once");
    assert_eq!(promoted["releases"][0]["promotedFrom"], "rel-1");
    assert_eq!(deployer.form("/orgs/default/releases/rel-1/do/status", "status=Failed").await.status, 404);
    assert_eq!(viewer.open("/orgs/default/releases/rel-moon").await.status, 404);
}

#[tokio::test]
async fn environments_show_their_week_and_what_closes_them() {
    let world = filled().await;
    let viewer = Visitor::new(&world, "viewer").await;
    let page = viewer.page("/orgs/default/environments").await;
    let card = |id: &str| {
        let card = page.split(&format!("id=\"{id}\"")).nth(1).unwrap();
        card.split("</section>").next().unwrap().to_owned()
    };
    let prod = card("env-prod");
    for part in [
        "CLOSED",
        "no policy file has kind",
        "by the clock of Europe/Berlin",
        "no such policy file: releases are refused",
        "Monday to Thursday 09:00 to 17:00",
        "class=\"now\"",
    ] {
        assert!(prod.contains(part), "{part} in {prod}");
    }
    let staging = card("env-staging");
    assert!(staging.contains("OPEN") && staging.contains("none: always open"), "{staging}");
    assert_eq!(staging.matches("open all day").count(), 7, "in words: {staging}");
}

#[tokio::test]
async fn audit_is_filtered_and_paged() {
    let world = filled().await;
    for number in 0..60 {
        released(&world, &format!("rel-{number}"), "env-staging", "Active").await;
    }
    let viewer = Visitor::new(&world, "viewer").await;
    let first = viewer.page("/orgs/default/audit?action=deploy").await;
    assert_eq!(first.matches("<code>deploy.create</code>").count(), 50);
    assert!(first.contains("data-stream=\"/api/orgs/default/audit?action=deploy\""), "{first}");
    let next = first.split("class=\"button\" href=\"").find(|part| part.contains("Older")).unwrap();
    let next = next.split('"').next().unwrap().replace("&#38;", "&");
    let second = viewer.page(&format!("/orgs/default/audit{next}")).await;
    assert_eq!(second.matches("<code>deploy.create</code>").count(), 10);
    assert!(!second.contains("data-stream"), "a page of the past follows nothing");
    for (filter, count) in [
        ("subject=rel-7", 1),
        ("subject=svc-shop&action=service", 1),
        ("subject=svc/svc-db", 1),
        ("subject=env-prod", 1),
        ("actor=viewer", 0),
        ("since=2999-01-01", 0),
        ("since=2020-01-01&action=environment.write", 2),
    ] {
        let page = viewer.page(&format!("/orgs/default/audit?{filter}")).await;
        assert_eq!(page.matches("<tr data-row>").count(), count, "{filter}: {page}");
    }
    assert_eq!(viewer.open("/orgs/default/audit?since=yesterday").await.status, 422);
}

#[tokio::test]
async fn what_changed_stands_beside_the_incident_and_is_linked_there() {
    let world = filled().await;
    released(&world, "rel-0", "env-prod", "Active").await;
    released(&world, "rel-1", "env-prod", "Active").await;
    let id = declared(&world).await;
    let incident = format!("/orgs/default/incidents/{id}");
    let viewer = Visitor::new(&world, "viewer").await;
    let page = viewer.page(&incident).await;
    let panel = page.split("id=\"live-changes\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(
        panel.contains("suspected") && panel.contains("same service and environment, Active "),
        "{panel}"
    );
    assert!(panel.contains("active before it: <a href=\"/orgs/default/releases/rel-0\""), "{panel}");
    assert!(!panel.contains("<form"), "who may not respond is offered nothing");
    let marks = page.matches("row t-release").count();
    assert_eq!(marks, 2, "both stand on the timeline: {page}");
    let band = page.split("class=\"band\"").nth(1).unwrap().split("</dl>").next().unwrap();
    assert!(band.contains("v-rel-1"), "{band}");

    let oncall = Visitor::new(&world, "oncall").await;
    let link = format!("{incident}/do/changes");
    let sent = oncall.form(&link, "releaseId=rel-1&relation=caused&reason=errors+began+with+it").await;
    assert_eq!(sent.status, 303, "{}", sent.text);
    let sent = oncall.form(&link, "releaseId=rel-0&relation=dismissed").await;
    assert_eq!(sent.status, 303, "{}", sent.text);
    let page = oncall.page(&incident).await;
    let panel = page.split("id=\"live-changes\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(panel.contains("errors began with it") && panel.contains(">caused<"), "{panel}");
    assert!(panel.contains(">dismissed<") && !panel.contains(">suspected<"), "{panel}");
    assert_eq!(page.matches("row t-release").count(), 1, "what is dismissed is no mark");
    // Rolling back proposes what was active before, for this incident, once.
    world.post("oncall", &format!("incidents/{id}/status"), json!({ "state": "OPEN" })).await.ok(200);
    let page = oncall.page(&incident).await;
    assert!(page.contains("action=\"/orgs/default/releases/rel-1/do/rollback\""), "{page}");
    let back = format!("key=back&incidentId={id}&reason=errors");
    for _ in 0..2 {
        let sent = oncall.form("/orgs/default/releases/rel-1/do/rollback", &back).await;
        assert_eq!(sent.status, 303, "{}", sent.text);
    }
    let releases = world.get("viewer", "releases?serviceId=svc-shop").await.ok(200);
    let made: Vec<_> = releases["releases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["rollsBack"] == "rel-1" && one["incident"] == id.as_str())
        .collect();
    assert_eq!(made.len(), 1, "{releases}");
    assert_eq!(made[0]["sha"], "sha-of-rel-0");
    let refused = viewer.form("/orgs/default/releases/rel-1/do/rollback", "reason=errors").await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    let release = oncall.page("/orgs/default/releases/rel-1").await;
    assert!(release.contains("caused: errors began with it"), "{release}");
    // A look back shows what was then, and offers nothing.
    let then = oncall.page(&format!("{incident}?at=1")).await;
    let panel = then.split("id=\"live-changes\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(panel.contains(">suspected<") && !panel.contains("<form"), "{panel}");
}

#[tokio::test]
async fn figures_tell_how_often_a_change_fails() {
    let world = filled().await;
    released(&world, "rel-0", "env-prod", "Active").await;
    released(&world, "rel-1", "env-prod", "Failed").await;
    released(&world, "rel-2", "env-prod", "Active").await;
    let viewer = Visitor::new(&world, "viewer").await;
    let counted = async {
        loop {
            let page = viewer.page("/orgs/default/insights").await;
            if page.contains("Changes by service") {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let page = tokio::time::timeout(Duration::from_secs(30), counted).await.unwrap();
    assert!(page.contains("33 %") && page.contains("Shop &#60;b&#62;"), "{page}");
}

/// What comes at the address of the audit.
struct Follower {
    body: BodyDataStream,
    text: String,
}

impl Follower {
    async fn new(world: &World, query: &str, last: Option<&str>) -> Self {
        let mut request = Request::get(format!("/api/orgs/default/audit{query}"))
            .header(header::AUTHORIZATION, "Bearer token-viewer")
            .header(header::ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        let mut follower = Self { body: response.into_body().into_data_stream(), text: String::new() };
        // It listens once it has greeted and looked once.
        follower.more().await;
        follower
    }

    async fn more(&mut self) {
        let more = tokio::time::timeout(Duration::from_secs(30), self.body.next()).await.expect("an event");
        self.text.push_str(std::str::from_utf8(&more.unwrap().unwrap()).unwrap());
    }

    async fn next(&mut self) -> (String, Value) {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                if let (Some(id), Some(data)) = (line("id: "), line("data: ")) {
                    assert_eq!(line("event: "), Some("audit"));
                    return (id.to_owned(), serde_json::from_str(data).unwrap());
                }
                continue;
            }
            self.more().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_is_followed_by_filter_each_event_once_and_on_from_the_last() {
    let world = std::sync::Arc::new(filled().await);
    let follow = |query: &'static str, last: Option<String>| {
        let world = world.clone();
        tokio::spawn(async move {
            let mut follower = Follower::new(&world, query, last.as_deref()).await;
            let (first_id, first) = follower.next().await;
            let (_, second) = follower.next().await;
            (first_id, first["subjectId"].clone(), second["subjectId"].clone())
        })
    };
    let everything = follow("?action=deploy", None);
    let of_one = follow("?subject=svc/svc-shop&action=deploy.create", None);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for id in ["rel-1", "rel-2", "rel-3"] {
        released(&world, id, "env-staging", "Active").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for following in [everything, of_one] {
        let (id, first, second) = following.await.unwrap();
        assert_eq!((&first, &second), (&json!("rel-1"), &json!("rel-2")));
        // Whoever comes back with the id of the first misses nothing and hears nothing twice.
        let (_, first, second) = follow("?action=deploy", Some(id)).await.unwrap();
        assert_eq!((&first, &second), (&json!("rel-2"), &json!("rel-3")));
    }
    let request = Request::get("/api/orgs/default/audit")
        .header(header::AUTHORIZATION, "Bearer token-viewer")
        .header(header::ACCEPT, "text/event-stream")
        .header("Last-Event-ID", "seven");
    world.send(request.body(Body::empty()).unwrap()).await.problem(422);
}

#[tokio::test]
async fn explorer_of_graphql_runs_what_its_reader_may() {
    let world = filled().await;
    let browser = |request: axum::http::request::Builder| {
        let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        request.header(header::ACCEPT, accept).body(Body::empty()).unwrap()
    };
    let page = world.send(browser(Request::get("/graphql"))).await;
    assert_eq!((page.status, page.content_type.as_str()), (200, "text/html; charset=utf-8"));
    assert!(page.text.contains("<textarea name=\"query\"") && page.text.contains("/graphql/schema.graphql"));
    assert!(
        page.text.contains("Sign in to run it") && !page.text.contains("://"),
        "nothing comes from elsewhere"
    );
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));

    let viewer = Visitor::new(&world, "viewer").await;
    let run = "/orgs/default/graphql";
    let query = "query=query+One%28%24id%3A+ID%21%29+%7B+service%28id%3A+%24id%29+%7B+name+%7D+%7D";
    let answer = viewer.form(run, &format!("{query}&variables=%7B%22id%22%3A+%22svc-shop%22%7D")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.text.contains("&#34;name&#34;: &#34;Shop &#60;b&#62;&#34;"), "{}", answer.text);
    let wrong = viewer.form(run, &format!("{query}&variables=%5B%5D")).await;
    assert!(wrong.text.contains("variables: an object"), "{}", wrong.text);
    let mutation = "query=mutation+%7B+deployCreate%28serviceId%3A+%22svc-shop%22%2C+envId%3A+%22env-prod%22%2C+sha%3A+%22a%22%2C+version%3A+%221%22%29+%7B+release+%7B+id+%7D+%7D+%7D";
    let refused = viewer.form(run, mutation).await;
    assert!(refused.text.contains("urn:harmony:problem:forbidden"), "{}", refused.text);
    assert_eq!(world.get("viewer", "releases?serviceId=svc-shop").await.ok(200)["releases"], json!([]));
    let deployer = Visitor::new(&world, "deployer").await;
    let made = deployer.form(run, mutation).await;
    assert!(made.text.contains("&#34;release&#34;"), "{}", made.text);
    assert_eq!(
        world.get("viewer", "releases?serviceId=svc-shop").await.ok(200)["releases"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
