//! What others tell about deployments: who may, and what it leaves in the catalog.

use axum::{body::Body, http::Request};
use harmony_catalog::{Command, Facts, descriptions::Description, judge_environment, judge_service};
use harmony_eventlog::{
    CatalogAppend, StreamState,
    catalog::{ReleaseFilter, StoredRelease},
};
use harmony_incidents::{
    Context, OrgId, Refusal, StreamId,
    log::{Authority, Cause, ReleaseStatus},
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::world::{Reply, World};

const CATALOG: &str = r#"
    [[environments]]
    id = "env-prod"
    name = "prod"
    region = "eu-central-1"
    cluster = "prod-1"

    [[services]]
    id = "svc-checkout"
    name = "checkout"
    repo = "github.com/example/checkout"
    environments = ["env-prod"]
    adapters = ["external"]
"#;

async fn world() -> World {
    world_of(CATALOG).await
}

/// A console whose catalog is described so.
pub(crate) async fn world_of(catalog: &str) -> World {
    let world = World::new().await;
    let described = Description::parse("catalog.toml", catalog).unwrap();
    let environments = described.environments.into_iter().map(|one| {
        let stream = StreamId::from(one.id.clone());
        (stream, Command::WriteEnvironment { environment: Box::new(one), adapter: None })
    });
    let services = described
        .services
        .into_iter()
        .map(|one| (StreamId::from(one.id.clone()), Command::WriteService { service: Box::new(one) }));
    for (stream, command) in environments.chain(services) {
        let context = Context {
            actor: "ada".to_owned(),
            authority: Authority::HumanOperator,
            cause: Cause::default(),
            occurred_at: "2026-11-01T00:00:00Z".parse().unwrap(),
        };
        let judge = |state: &StreamState, facts: &Facts| match state {
            StreamState::Service(state) => judge_service(state, &command, &context, facts),
            StreamState::Environment(state) => judge_environment(state, &command, &context),
            StreamState::Incident(_) => Err(Refusal::Invalid { explanation: "an incident".to_owned() }),
        };
        let append = CatalogAppend {
            org: &OrgId::default(),
            stream: &stream,
            key: &format!("test/{stream}"),
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &judge,
            follow: vec![],
        };
        world.log.append_catalog(append).await.unwrap();
    }
    world
}

async fn releases(world: &World) -> Vec<StoredRelease> {
    let filter = ReleaseFilter { limit: 100, ..ReleaseFilter::default() };
    world.log.releases(&OrgId::default(), &filter).await.unwrap()
}

pub(crate) async fn post(world: &World, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

pub(crate) fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// Delivers as GitHub does; the answer.
pub(crate) async fn github(world: &World, event: &str, delivery: &str, body: &Value) -> Value {
    let body = body.to_string();
    let signature = signature("github-secret", &body);
    let headers = [
        ("X-GitHub-Event", event),
        ("X-GitHub-Delivery", delivery),
        ("X-Hub-Signature-256", signature.as_str()),
    ];
    post(world, "/webhooks/github", &headers, &body).await.ok(200)
}

fn deployment(id: u64) -> Value {
    json!({
        "action": "created",
        "deployment": {"id": id, "sha": "f95f852bd8fca8fcc58a9a2d6c842781e32a215e", "ref": "v1.4.0", "task": "deploy",
                       "payload": {}, "environment": "production", "created_at": "2026-11-29T10:00:00Z"},
        "repository": {"html_url": "https://github.com/example/checkout"}
    })
}

fn status(id: u64, number: u64, state: &str, at: &str) -> Value {
    let mut body = deployment(id);
    body["deployment_status"] = json!({"id": number, "state": state, "created_at": at});
    body
}

/// Every order of four things.
fn orders() -> Vec<[usize; 4]> {
    let mut all = Vec::new();
    for number in 0..256 {
        let order = [number & 3, (number >> 2) & 3, (number >> 4) & 3, (number >> 6) & 3];
        if (0..4).all(|one| order.contains(&one)) {
            all.push(order);
        }
    }
    all
}

#[tokio::test]
async fn deployment_of_github_is_one_release_however_its_deliveries_come() {
    let world = world().await;
    for (number, order) in orders().into_iter().enumerate() {
        let id = u64::try_from(number).unwrap() + 1;
        let deliveries = [
            ("deployment", deployment(id)),
            ("deployment_status", status(id, 1, "queued", "2026-11-29T10:00:00Z")),
            ("deployment_status", status(id, 2, "in_progress", "2026-11-29T10:00:01Z")),
            ("deployment_status", status(id, 3, "success", "2026-11-29T10:01:00Z")),
        ];
        for _twice in 0..2 {
            for one in order {
                let (event, body) = &deliveries[one];
                let answer = github(&world, event, &format!("delivery-{id}-{one}"), body).await;
                assert_eq!(answer, json!({"recorded": 1, "ignored": []}));
            }
        }
    }
    let releases = releases(&world).await;
    assert_eq!(releases.len(), 24);
    for StoredRelease { service, release } in releases {
        assert_eq!((service.as_str(), release.environment_id.as_str()), ("svc-checkout", "env-prod"));
        assert_eq!((release.status(), release.version.as_str()), (ReleaseStatus::Active, "v1.4.0"));
        assert_eq!(release.source, "github");
    }
}

#[tokio::test]
async fn forged_deliveries_are_refused_at_every_door() {
    let world = world().await;
    let body = deployment(1).to_string();
    let github_headers = |signature: String| {
        [
            ("X-GitHub-Event", "deployment".to_owned()),
            ("X-GitHub-Delivery", "1".to_owned()),
            ("X-Hub-Signature-256", signature),
        ]
    };
    for forged in [
        String::new(),
        "sha256=".to_owned(),
        signature("another", &body),
        signature("github-secret", "{}"),
        signature("github-secret", &body).replace("sha256=", ""),
    ] {
        let headers = github_headers(forged);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        post(&world, "/webhooks/github", &headers, &body).await.problem(401);
    }
    for path in ["/webhooks/gitlab", "/webhooks/argocd", "/events"] {
        for headers in [
            vec![],
            vec![("X-Gitlab-Token", "another")],
            vec![("Authorization", "Bearer another")],
            vec![("X-Harmony-Signature", "sha256=00")],
            vec![("X-Gitlab-Token", ""), ("Authorization", "Bearer ")],
        ] {
            post(&world, path, &headers, "{}").await.problem(401);
        }
    }
    let change = json!({"routing_key": "another", "payload": {"summary": "a"}}).to_string();
    post(&world, "/v2/change/enqueue", &[], &change).await.problem(401);
    assert!(releases(&world).await.is_empty());
}

#[tokio::test]
async fn malformed_deliveries_are_told_what_is_wrong_and_others_why_they_change_nothing() {
    let world = world().await;
    let mut wrong = deployment(1);
    wrong["deployment"]["sha"] = json!("main");
    let body = wrong.to_string();
    let sign = signature("github-secret", &body);
    let headers = [
        ("X-GitHub-Event", "deployment"),
        ("X-GitHub-Delivery", "1"),
        ("X-Hub-Signature-256", sign.as_str()),
    ];
    let detail = post(&world, "/webhooks/github", &headers, &body).await.problem(422);
    assert!(detail.contains("deployment.sha: \"main\" is not 7 to 64 hexadecimal digits"), "{detail}");
    let mut elsewhere = deployment(1);
    elsewhere["repository"]["html_url"] = json!("https://github.com/example/another");
    let answer = github(&world, "deployment", "2", &elsewhere).await;
    assert_eq!(answer["recorded"], 0);
    assert!(answer["ignored"][0].as_str().unwrap().contains("is no service of the catalog"), "{answer}");
    let answer = github(&world, "ping", "3", &json!({})).await;
    assert_eq!(answer["ignored"][0], "the event \"ping\" says nothing about deployments");
    assert!(releases(&world).await.is_empty());
}

#[tokio::test]
async fn gitlab_argo_cd_cdevents_and_change_events_tell_of_releases() {
    let world = world().await;
    let gitlab = json!({
        "object_kind": "deployment", "status": "success", "status_changed_at": "2026-11-29 10:00:00 UTC",
        "deployable_id": 796, "environment": "prod", "short_sha": "279484c0",
        "project": {"web_url": "https://github.com/example/checkout"}
    });
    let headers = [("X-Gitlab-Token", "gitlab-secret"), ("X-Gitlab-Event-UUID", "u-1")];
    post(&world, "/webhooks/gitlab", &headers, &gitlab.to_string()).await.ok(200);
    let argocd = json!({
        "app": "argocd/checkout", "service": "checkout", "environment": "env-prod", "revision": "1.5.0",
        "phase": "Failed", "startedAt": "2026-11-29T11:00:00Z"
    });
    let bearer = [("Authorization", "Bearer argocd-secret")];
    post(&world, "/webhooks/argocd", &bearer, &argocd.to_string()).await.ok(200);
    let event_type = "dev.cdevents.service.rolledback.0.3.0";
    let event = json!({
        "context": {"specversion": "0.5.0", "id": "e-1", "source": "/ci", "type": event_type,
                    "timestamp": "2026-11-29T12:00:00Z"},
        "subject": {"id": "svc-checkout", "content": {"environment": {"id": "env-prod"},
                    "artifactId": "pkg:github/example/checkout@9f3b7de9f3b7de9f3b7de9f3b7de9f3b7de9f3b7"}}
    });
    let binary = [
        ("Authorization", "Bearer events-secret"),
        ("Content-Type", "application/json"),
        ("ce-id", "e-1"),
        ("ce-source", "/ci"),
        ("ce-type", event_type),
        ("ce-specversion", "1.0"),
    ];
    post(&world, "/events", &binary, &event.to_string()).await.ok(200);
    // The same event in its other form is the same delivery.
    let structured =
        json!({"specversion": "1.0", "id": "e-1", "source": "/ci", "type": event_type, "data": event})
            .to_string();
    let sign = signature("events-secret", &structured);
    let headers = [("X-Harmony-Signature", sign.as_str()), ("Content-Type", "application/cloudevents+json")];
    post(&world, "/events", &headers, &structured).await.ok(200);
    let change = json!({
        "routing_key": "changes-secret",
        "payload": {"summary": "Deployed checkout", "timestamp": "2026-11-29T13:00:00Z",
                    "custom_details": {"service": "checkout", "environment": "prod", "version": "1.6.0"}}
    });
    post(&world, "/v2/change/enqueue", &[], &change.to_string()).await.ok(200);

    let found = releases(&world).await;
    let told = |source: &str| {
        let of_source: Vec<_> = found.iter().filter(|one| one.release.source == source).collect();
        assert_eq!(of_source.len(), 1, "{source}: {found:?}");
        of_source[0].release.clone()
    };
    assert_eq!(told("gitlab").status(), ReleaseStatus::Active);
    assert_eq!(told("argocd").status(), ReleaseStatus::Failed);
    assert_eq!(told("cdevents").rolls_back, told("gitlab").release_id);
    assert_eq!(told("pagerduty").version, "1.6.0");
}

#[tokio::test]
async fn environments_appear_and_go_by_events() {
    let world = world().await;
    let send = async |word: &str, id: &str, name: &str| {
        let event_type = format!("dev.cdevents.environment.{word}.0.3.0");
        let event = json!({
            "context": {"specversion": "0.5.0", "id": format!("{word}-{id}"), "source": "/ci", "type": event_type,
                        "timestamp": "2026-11-29T12:00:00Z"},
            "subject": {"id": id, "content": {"name": name}}
        });
        let id = format!("{word}-{id}");
        let headers = [
            ("Authorization", "Bearer events-secret"),
            ("ce-id", id.as_str()),
            ("ce-source", "/ci"),
            ("ce-type", event_type.as_str()),
            ("ce-specversion", "1.0"),
        ];
        post(&world, "/events", &headers, &event.to_string()).await.ok(200)
    };
    assert_eq!(send("created", "env-preview", "preview").await["recorded"], 1);
    assert_eq!(send("deleted", "env-preview", "preview").await["recorded"], 1);
    let stream: StreamId = "env/env-preview".parse().unwrap();
    let state = world.log.catalog_state(&OrgId::default(), &stream).await.unwrap().unwrap();
    let environment = state.environment().unwrap();
    assert_eq!((environment.name.as_str(), environment.retired), ("preview", true));
    // Production says where it is, which an event cannot.
    let answer = send("created", "env-live", "production").await;
    assert_eq!(answer["recorded"], 0);
    assert!(answer["ignored"][0].as_str().unwrap().contains("region"), "{answer}");
}
