//! The catalog's invariants, tried at every door that could break one: the API, GraphQL, the pages' forms, and what
//! others tell about deployments.

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};

use crate::{
    deploys::{github, post},
    pages::Visitor,
    world::{Reply, World},
};

const REPO: &str = "https://github.com/example/shop";
const SHA: &str = "f95f852bd8fca8fcc58a9a2d6c842781e32a215e";
const OTHER_SHA: &str = "0a5f852bd8fca8fcc58a9a2d6c842781e32a2150";

fn environment(id: &str, name: &str) -> Value {
    json!({ "id": id, "name": name, "region": "eu-central-1", "cluster": name, "policyRefs": [] })
}

fn service(id: &str, repo: &str) -> Value {
    json!({
        "id": id, "name": id.trim_start_matches("svc-"), "repo": repo, "adapters": { "deployments": ["external"] },
        "environments": [{ "id": "env-staging", "name": "staging" }, { "id": "env-prod", "name": "prod" }],
    })
}

async fn filled() -> World {
    let world = World::new().await;
    for (id, name) in [("env-staging", "staging"), ("env-prod", "prod")] {
        world.post("deployer", "environments", environment(id, name)).await.ok(201);
    }
    for (id, repo) in [("svc-shop", "github.com/example/shop"), ("svc-search", "github.com/example/search")] {
        world.post("deployer", "services", service(id, repo)).await.ok(201);
    }
    world
}

async fn told(world: &World, id: &str, env: &str, sha: &str, status: &str) -> Reply {
    let body = json!({ "id": id, "serviceId": "svc-shop", "envId": env, "sha": sha, "status": status });
    world.post("deployer", "releases", body).await
}

async fn changed(world: &World, id: &str, status: &str) -> Reply {
    world.post("deployer", &format!("releases/{id}/status"), json!({ "status": status })).await
}

/// The error of a mutation that must not succeed.
async fn mutation_refused(world: &World, field: &str) -> String {
    let query = format!("mutation {{ {field} {{ release {{ id }} }} }}");
    let request = Request::post("/graphql")
        .header(header::AUTHORIZATION, "Bearer token-deployer")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(json!({ "query": query }).to_string()));
    let answer = world.send(request.unwrap()).await.ok(200);
    assert_eq!(answer["data"], Value::Null, "{answer}");
    assert!(answer["errors"][0]["extensions"]["code"].is_string(), "{answer}");
    answer["errors"][0]["message"].as_str().unwrap().to_owned()
}

fn create(service: &str, env: &str) -> String {
    format!("deployCreate(serviceId: \"{service}\", envId: \"{env}\", sha: \"{SHA}\", version: \"1\")")
}

fn promote(release: &str, env: &str) -> String {
    format!("deployPromote(releaseId: \"{release}\", toEnvId: \"{env}\")")
}

/// What a form's page says that refuses it.
async fn form_refused(world: &World, path: &str, fields: &str) -> String {
    let reply = Visitor::new(world, "deployer").await.form(path, fields).await;
    assert!((400..500).contains(&reply.status), "{path} {fields}: {} {}", reply.status, reply.text);
    reply.text
}

/// A deployment as GitHub tells of it, under a delivery id made of what it says.
async fn delivered(world: &World, id: u64, environment: &str, sha: &str, state: Option<&str>) -> Value {
    let mut body = json!({
        "action": "created",
        "deployment": {"id": id, "sha": sha, "ref": "v1", "task": "deploy", "payload": {},
                       "environment": environment, "created_at": "2026-11-29T10:00:00Z"},
        "repository": {"html_url": REPO}
    });
    let mut event = "deployment";
    if let Some(state) = state {
        event = "deployment_status";
        body["deployment_status"] = json!({"id": id, "state": state, "created_at": "2026-11-29T10:00:01Z"});
    }
    let delivery = format!("{id}-{environment}-{sha}-{state:?}");
    github(world, event, &delivery, &body).await
}

fn ignored(answer: &Value, why: &str) {
    assert_eq!(answer["recorded"], 0, "{answer}");
    assert!(answer["ignored"][0].as_str().unwrap().contains(why), "{why} in {answer}");
}

async fn releases(world: &World) -> Vec<Value> {
    let listed = world.get("viewer", "releases?limit=200").await.ok(200);
    listed["releases"].as_array().unwrap().clone()
}

#[tokio::test]
async fn nothing_refers_to_what_is_not_there() {
    let world = filled().await;
    let mut wrong = service("svc-shop", "github.com/example/shop");
    wrong["adapters"] = json!({ "deployments": ["heroku"] });
    assert!(world.post("deployer", "services", wrong).await.problem(422).contains("heroku"));
    let mut wrong = service("svc-shop", "github.com/example/shop");
    wrong["environments"] = json!([{ "id": "env-moon", "name": "moon" }]);
    assert!(world.post("deployer", "services", wrong).await.problem(422).contains("env-moon"));
    let mut wrong = service("svc-shop", "github.com/example/shop");
    wrong["targets"] = json!([{ "envId": "env-moon", "adapter": "external", "settings": {} }]);
    assert!(world.post("deployer", "services", wrong).await.problem(422).contains("env-moon"));

    assert!(told(&world, "rel-1", "env-moon", SHA, "Draft").await.problem(422).contains("env-moon"));
    let body = json!({ "serviceId": "svc-moon", "envId": "env-prod", "sha": SHA });
    assert!(world.post("deployer", "releases", body).await.problem(404).contains("svc-moon"));
    assert!(mutation_refused(&world, &create("svc-shop", "env-moon")).await.contains("env-moon"));
    assert!(mutation_refused(&world, &create("svc-moon", "env-prod")).await.contains("svc-moon"));
    assert!(mutation_refused(&world, &promote("rel-moon", "env-prod")).await.contains("rel-moon"));
    ignored(&delivered(&world, 1, "moon", SHA, None).await, "has no environment \"moon\"");
    assert_eq!(releases(&world).await, Vec::<Value>::new());

    told(&world, "rel-1", "env-staging", SHA, "Active").await.ok(201);
    let moon = json!({ "envId": "env-moon" });
    assert!(world.post("deployer", "releases/rel-1/promote", moon).await.problem(422).contains("env-moon"));
    assert!(mutation_refused(&world, &promote("rel-1", "env-moon")).await.contains("env-moon"));
    let page =
        form_refused(&world, "/orgs/default/releases/rel-1/do/promote", "key=a&toEnvId=env-moon").await;
    assert!(page.contains("env-moon"), "{page}");
    assert_eq!(releases(&world).await.len(), 1);
}

#[tokio::test]
async fn production_says_where_it_is() {
    let world = filled().await;
    for (field, name) in [("region", "prod"), ("cluster", "Production")] {
        let mut bare = environment("env-live", name);
        bare[field] = json!("");
        assert!(world.post("deployer", "environments", bare).await.problem(422).contains(field));
    }
    let mut bare = environment("env-staging", "staging");
    bare["production"] = json!(true);
    bare["region"] = json!("");
    assert!(world.post("deployer", "environments", bare).await.problem(422).contains("region"));
    let event_type = "dev.cdevents.environment.created.0.3.0";
    let event = json!({
        "context": {"specversion": "0.5.0", "id": "e-1", "source": "/ci", "type": event_type,
                    "timestamp": "2026-11-29T12:00:00Z"},
        "subject": {"id": "env-live", "content": {"name": "production"}}
    });
    let headers = [
        ("Authorization", "Bearer events-secret"),
        ("ce-id", "e-1"),
        ("ce-source", "/ci"),
        ("ce-type", event_type),
        ("ce-specversion", "1.0"),
    ];
    ignored(&post(&world, "/events", &headers, &event.to_string()).await.ok(200), "region");
    world.get("viewer", "environments/env-live").await.problem(404);
}

#[tokio::test]
async fn release_keeps_its_sha_its_environment_and_its_service() {
    let world = filled().await;
    told(&world, "rel-1", "env-staging", SHA, "Draft").await.ok(201);
    assert!(told(&world, "rel-1", "env-staging", OTHER_SHA, "Draft").await.problem(409).contains("sha"));
    assert!(told(&world, "rel-1", "env-prod", SHA, "Draft").await.problem(409).contains("env-staging"));
    let elsewhere = json!({ "id": "rel-1", "serviceId": "svc-search", "envId": "env-staging", "sha": SHA });
    assert!(world.post("deployer", "releases", elsewhere).await.problem(409).contains("svc-shop"));
    assert_eq!(delivered(&world, 7, "prod", SHA, None).await["recorded"], 1);
    ignored(&delivered(&world, 7, "prod", OTHER_SHA, Some("success")).await, "its sha never changes");
    for one in releases(&world).await {
        assert_eq!((&one["sha"], &one["status"]), (&json!(SHA), &json!("Draft")), "{one}");
    }
}

#[tokio::test]
async fn status_goes_forward_only() {
    let world = filled().await;
    told(&world, "rel-1", "env-prod", SHA, "Active").await.ok(201);
    delivered(&world, 7, "staging", SHA, Some("success")).await;
    for status in ["Draft", "Promoting", "Failed"] {
        changed(&world, "rel-1", status).await;
        told(&world, "rel-1", "env-prod", SHA, status).await;
    }
    for state in ["queued", "in_progress", "failure"] {
        delivered(&world, 7, "staging", SHA, Some(state)).await;
    }
    for one in releases(&world).await {
        assert_eq!(one["status"], "Active", "{one}");
    }
    // Active is the end: no run takes it out again.
    for action in ["deploy", "promote"] {
        let body = if action == "promote" { json!({ "envId": "env-prod" }) } else { json!({}) };
        let reply = world.post("deployer", &format!("releases/rel-1/{action}"), body).await;
        assert!((400..500).contains(&reply.status), "{action}: {}", reply.text);
    }
    mutation_refused(&world, &promote("rel-1", "env-prod")).await;
    form_refused(&world, "/orgs/default/releases/rel-1/do/promote", "key=a&toEnvId=env-prod").await;
    form_refused(&world, "/orgs/default/releases/rel-1/do/deploy", "key=b").await;
    assert_eq!(releases(&world).await.len(), 2);
}

#[tokio::test]
async fn one_release_at_a_time_is_promoting_in_an_environment() {
    let world = filled().await;
    told(&world, "rel-1", "env-prod", SHA, "Promoting").await.ok(201);
    told(&world, "rel-2", "env-prod", OTHER_SHA, "Draft").await.ok(201);
    let refused = told(&world, "rel-3", "env-prod", SHA, "Promoting").await.problem(409);
    assert!(refused.contains("rel-1"), "{refused}");
    // What is told of outside waits until the environment is free.
    changed(&world, "rel-2", "Promoting").await;
    delivered(&world, 7, "prod", OTHER_SHA, Some("in_progress")).await;
    let promoting = async || {
        let all = releases(&world).await;
        let ids = all.into_iter().filter(|one| one["status"] == "Promoting");
        ids.map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(promoting().await, ["rel-1"]);
    for _ in 0..3 {
        let now = promoting().await;
        assert_eq!(now.len(), 1, "{now:?}");
        changed(&world, &now[0], "Failed").await.ok(200);
    }
    assert_eq!(promoting().await, Vec::<String>::new());
    assert_eq!(releases(&world).await.len(), 3);
}

#[tokio::test]
async fn nothing_new_happens_to_what_is_retired() {
    let world = filled().await;
    told(&world, "rel-1", "env-staging", SHA, "Active").await.ok(201);
    world.post("deployer", "environments/env-prod/retire", json!({ "reason": "moved" })).await.ok(200);
    let retired = "env-prod is retired";
    assert!(told(&world, "rel-2", "env-prod", SHA, "Draft").await.problem(409).contains(retired));
    assert!(
        world
            .post("deployer", "environments", environment("env-prod", "prod"))
            .await
            .problem(409)
            .contains(retired)
    );
    assert!(mutation_refused(&world, &create("svc-shop", "env-prod")).await.contains(retired));
    assert!(mutation_refused(&world, &promote("rel-1", "env-prod")).await.contains(retired));
    form_refused(&world, "/orgs/default/releases/rel-1/do/promote", "key=a&toEnvId=env-prod").await;
    assert_eq!(delivered(&world, 7, "prod", SHA, Some("success")).await["recorded"], 0);

    world.post("deployer", "services/svc-shop/retire", json!({ "reason": "replaced" })).await.ok(200);
    let retired = "svc-shop is retired";
    assert!(told(&world, "rel-3", "env-staging", SHA, "Draft").await.problem(409).contains(retired));
    assert!(
        world
            .post("deployer", "services", service("svc-shop", "github.com/example/shop"))
            .await
            .problem(409)
            .contains(retired)
    );
    assert!(mutation_refused(&world, &create("svc-shop", "env-staging")).await.contains(retired));
    assert_eq!(delivered(&world, 8, "staging", SHA, Some("success")).await["recorded"], 0);
    assert_eq!(releases(&world).await.len(), 1, "what it had stays");
    assert!(world.get("viewer", "log/verify").await.ok(200)["verified"].as_bool().unwrap());
}
