//! The examples of RFC 0001, by REST and by GraphQL: what was written comes back the same, and what is made by runs,
//! incidents and the audit has the RFC's shape.

use axum::{
    body::Body,
    http::{Request, header},
};
use harmony_catalog::{
    Command, Facts, NewRelease,
    entity::LogEntry,
    judge_service,
    words::{RunOutcome, Source},
};
use harmony_eventlog::{CatalogAppend, StreamState};
use harmony_incidents::{
    Context, OrgId, Refusal, StreamId,
    log::{Authority, Cause, LogLevel, ReleaseStatus, RunKind},
};
use serde_json::{Value, json};

use crate::world::World;

fn environment() -> Value {
    json!({
        "id": "env-prod", "name": "prod", "region": "us-east-1", "cluster": "prod-cluster",
        "policyRefs": ["policy:change-window:weekday"],
    })
}

fn service() -> Value {
    json!({
        "id": "svc-demo", "name": "Demo Service", "repo": "github.com/blackroad/demo",
        "adapters": { "deployments": ["aws", "fly"] },
        "environments": [{ "id": "env-staging", "name": "staging" }, { "id": "env-prod", "name": "prod" }],
    })
}

fn release() -> Value {
    json!({
        "id": "rel-123", "serviceId": "svc-demo", "sha": "9f3b7de", "version": "2024.10.01",
        "envId": "env-staging", "status": "Active",
    })
}

fn run() -> Value {
    json!({
        "id": "run-456", "kind": "Deploy", "actor": "alice@blackroad.io",
        "startedAt": "2024-10-01T18:32:00Z", "finishedAt": "2024-10-01T18:36:12Z",
        "logs": [
            { "ts": "2024-10-01T18:32:05Z", "level": "info", "message": "Plan generated", "meta": { "steps": 4 } }
        ],
    })
}

fn audit_event() -> Value {
    json!({
        "ts": "2024-10-02T03:21:30Z", "actor": "alice@blackroad.io", "action": "deploy.create",
        "subjectType": "Release", "subjectId": "rel-789",
        "metadata": { "serviceId": "svc-demo", "envId": "env-prod" },
    })
}

async fn filled() -> World {
    let world = World::new().await;
    let staging = json!({ "id": "env-staging", "name": "staging", "region": "us-east-1", "cluster": "staging", "policyRefs": [] });
    world.post("deployer", "environments", staging).await.ok(201);
    world.post("deployer", "environments", environment()).await.ok(201);
    world.post("deployer", "services", service()).await.ok(201);
    world
}

/// What a run, or somebody at another door, appended then.
async fn appended(world: &World, at: &str, command: Command) {
    let context = Context {
        actor: "alice@blackroad.io".to_owned(),
        authority: Authority::HumanOperator,
        cause: Cause::default(),
        occurred_at: at.parse().unwrap(),
    };
    let judge = |state: &StreamState, facts: &Facts| match state {
        StreamState::Service(state) => judge_service(state, &command, &context, facts),
        _ => Err(Refusal::Invalid { explanation: "no service's stream".to_owned() }),
    };
    let stream: StreamId = "svc/svc-demo".parse().unwrap();
    let append = CatalogAppend {
        org: &OrgId::default(),
        stream: &stream,
        key: &format!("contract/{at}"),
        command: &command,
        context: &context,
        expected_seq: None,
        run_id: None,
        judge: &judge,
        follow: vec![],
    };
    world.log.append_catalog(append).await.unwrap();
}

async fn graphql(world: &World, query: &str) -> Value {
    let request = Request::post("/graphql")
        .header(header::AUTHORIZATION, "Bearer token-viewer")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(json!({ "query": query }).to_string()));
    let told = world.send(request.unwrap()).await.ok(200);
    assert_eq!(told["errors"], Value::Null, "{told}");
    told["data"].clone()
}

/// What of a value an example names, in the example's shape.
fn part(value: &Value, example: &Value) -> Value {
    match (value, example) {
        (Value::Object(value), Value::Object(example)) => {
            let named =
                example.iter().filter_map(|(name, one)| Some((name.clone(), part(value.get(name)?, one))));
            Value::Object(named.collect())
        }
        _ => value.clone(),
    }
}

#[tokio::test]
async fn what_is_written_comes_back_the_same_by_both() {
    let world = filled().await;
    world.post("deployer", "releases", release()).await.ok(201);
    for (path, expected) in [
        ("services/svc-demo", service()),
        ("environments/env-prod", environment()),
        ("releases/rel-123", release()),
    ] {
        assert_eq!(world.get("viewer", path).await.ok(200), expected, "{path}");
    }
    let data = graphql(
        &world,
        "{ service(id: \"svc-demo\") { id name repo adapters { deployments } environments { id name } }
           environments(first: 10) { edges { node { id name region cluster policyRefs } } }
           release(id: \"rel-123\") { id serviceId sha version envId status } }",
    )
    .await;
    assert_eq!(data["service"], service());
    assert_eq!(data["release"], release());
    let nodes = data["environments"]["edges"].as_array().unwrap();
    assert!(nodes.iter().any(|edge| edge["node"] == environment()), "{nodes:?}");
}

#[tokio::test]
async fn a_run_and_what_the_audit_says_have_the_shape_of_the_examples() {
    let world = filled().await;
    let draft = |id: &str, env: &str| Command::CreateRelease {
        release: Box::new(NewRelease {
            id: id.parse().unwrap(),
            env: env.parse().unwrap(),
            sha: "9f3b7de".to_owned(),
            version: "2024.10.01".to_owned(),
            promoted_from: None,
            rolls_back: None,
            source: Source::Api,
            url: String::new(),
            incident: None,
            status: ReleaseStatus::Draft,
            at: None,
        }),
    };
    appended(&world, "2024-10-01T18:31:00Z", draft("rel-123", "env-staging")).await;
    let started = Command::StartRun {
        run_id: "run-456".parse().unwrap(),
        kind: RunKind::Deploy,
        release: "rel-123".parse().unwrap(),
        env: "env-staging".parse().unwrap(),
        workflow_id: "release.deploy-rel-123".to_owned(),
        adapter: "fly".to_owned(),
        dry_run: false,
        attempt: 1,
    };
    appended(&world, "2024-10-01T18:32:00Z", started).await;
    let entry = LogEntry {
        ts: "2024-10-01T18:32:05Z".parse().unwrap(),
        level: LogLevel::Info,
        message: "Plan generated".to_owned(),
        meta: json!({ "steps": 4 }).as_object().cloned().unwrap(),
    };
    let run_id = "run-456".parse().unwrap();
    appended(&world, "2024-10-01T18:32:05Z", Command::LogRun { run_id, entry }).await;
    let finished = Command::FinishRun {
        run_id: "run-456".parse().unwrap(),
        outcome: RunOutcome::Cancelled,
        reason: String::new(),
    };
    appended(&world, "2024-10-01T18:36:12Z", finished).await;
    appended(&world, "2024-10-02T03:21:30Z", draft("rel-789", "env-prod")).await;

    let shown = world.get("viewer", "runs/run-456").await.ok(200);
    assert_eq!(part(&shown, &run()), run());
    let listed = world.get("viewer", "runs?releaseId=rel-123").await.ok(200);
    assert_eq!(part(&listed["runs"][0], &run()), run());
    let events = world.get("viewer", "audit?subject=rel-789").await.ok(200);
    assert_eq!(part(&events["events"][0], &audit_event()), audit_event());
    let data = graphql(
        &world,
        "{ workflowRuns(releaseId: \"rel-123\") { id kind actor startedAt finishedAt logs { ts level message meta } }
           auditTail(serviceId: \"svc-demo\") { ts actor action subjectType subjectId metadata } }",
    )
    .await;
    assert_eq!(data["workflowRuns"], json!([run()]));
    let tail = data["auditTail"].as_array().unwrap();
    let event = tail.iter().find(|one| one["subjectId"] == "rel-789").unwrap();
    assert_eq!(part(event, &audit_event()), audit_event());
}

#[tokio::test]
async fn an_incident_has_the_six_fields_of_the_example_and_its_words() {
    let world = filled().await;
    let body = json!({ "title": "Checkout fails", "severity": "P2", "serviceName": "svc-demo" });
    let id = world.post("operator", "incidents", body).await.ok(201)["incidentId"].clone();
    let query = "{ incidents(serviceId: \"svc-demo\") { id serviceId severity startedAt status link } }";
    let incident = graphql(&world, query).await["incidents"][0].clone();
    assert_eq!((&incident["id"], &incident["serviceId"]), (&id, &json!("svc-demo")));
    assert_eq!(incident["severity"], "high");
    for name in ["startedAt", "status", "link"] {
        assert!(incident[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {incident}");
    }
    let index = world.get("viewer", "services").await.ok(200);
    assert_eq!(index["services"][0]["openIncidents"]["high"], 1, "{index}");
}
