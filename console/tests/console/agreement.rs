//! What the description allows is taken, and what it forbids is refused: parameters, cursors and bodies.

use axum::{
    body::Body,
    http::{Request, header},
};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::world::World;

async fn document(world: &World) -> Value {
    world.send(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.ok(200)
}

/// A validator that looks at formats, too.
fn validator(schema: &Value) -> Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap()
}

/// A body's schema, with all that it refers to.
fn of_body(document: &Value, name: &str) -> Validator {
    let reference = format!("#/components/schemas/{name}");
    validator(&json!({ "$ref": reference, "components": document["components"] }))
}

/// A value of a query string as its schema means it.
fn meant(schema: &Value, text: &str) -> Value {
    match schema["type"].as_str().unwrap_or_default() {
        "array" => json!([text]),
        "boolean" | "integer" => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        _ => text.into(),
    }
}

#[tokio::test]
async fn query_takes_what_it_is_described_to_take() {
    let world = World::new().await;
    let document = document(&world).await;
    let id = world.declared("P2").await;
    // Words are described as they are written, and taken in upper and lower case.
    let values = [
        "",
        "null",
        "nonsense",
        "!",
        "true",
        "yes",
        "0",
        "1",
        "-1",
        "201",
        "9223372036854775808",
        "P1",
        "critical",
        "OPEN",
        "MITIGATED",
        "DEFERRED",
        "RUNBOOK_CELL_STARTED",
        "newest",
        "rel-1",
        "INC-2026-0001",
        "2026-01-31",
        "2026-02-30",
        "2026-01-31T10:42:00Z",
        "UDIgSU5DLTIwMjYtMDA0Mg",
    ];
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        // Files and streams.
        if path.contains("/output") || path.ends_with("/stream") {
            continue;
        }
        let parameters: Vec<&Value> = item["get"]["parameters"].as_array().into_iter().flatten().collect();
        let path = path.replace("/api/orgs/{org}/", "").replace("{id}", &id);
        for parameter in parameters.iter().filter(|one| one["in"] == "query") {
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            let described = validator(schema);
            for text in values {
                let wanted = if path == "runs" && name != "releaseId" { "&releaseId=rel-1" } else { "" };
                let reply = world.get("admin", &format!("{path}?{name}={text}{wanted}")).await;
                let is_taken = match reply.status {
                    200 | 404 => true,
                    400 | 422 => {
                        assert!(reply.text.contains(name), "{path}?{name}={text}: {}", reply.text);
                        false
                    }
                    other => panic!("{path}?{name}={text}: {other}"),
                };
                assert_eq!(is_taken, described.is_valid(&meant(schema, text)), "{path}?{name}={text}");
                asked += 1;
            }
        }
    }
    assert!(asked > 1_000, "{asked}");
}

#[tokio::test]
async fn cursor_of_an_answer_is_one_that_is_described() {
    let world = World::new().await;
    let document = document(&world).await;
    for id in ["env-a", "env-b"] {
        world.post("deployer", "environments", json!({ "id": id, "name": id })).await.ok(201);
    }
    for id in ["svc-a", "svc-b"] {
        let environments = json!([{ "id": "env-a" }]);
        let service = json!({ "id": id, "name": id, "adapters": { "deployments": ["external"] }, "environments": environments });
        world.post("deployer", "services", service).await.ok(201);
    }
    for id in ["rel-a", "rel.b"] {
        let release = json!({ "id": id, "serviceId": "svc-a", "envId": "env-a", "sha": "9f3b7de" });
        world.post("deployer", "releases", release).await.ok(201);
        world.declared("P2").await;
        let candidate = json!({ "candidateId": id, "source": "s", "title": "t", "severity": "critical" });
        world.post("operator", "candidates", candidate).await.ok(201);
    }
    let mut followed = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut parameters = item["get"]["parameters"].as_array().into_iter().flatten();
        let Some(cursor) = parameters.find(|one| one["name"] == "cursor") else { continue };
        let path = path.replace("/api/orgs/{org}/", "");
        let list = match path.as_str() {
            "audit" => "events",
            other => other,
        };
        let first = world.get("admin", &format!("{path}?limit=1")).await.ok(200);
        let next = first["nextCursor"].as_str().unwrap_or_else(|| panic!("{path}: {first}"));
        assert!(validator(&cursor["schema"]).is_valid(&next.into()), "{path}: {next}");
        let second = world.get("admin", &format!("{path}?limit=1&cursor={next}")).await.ok(200);
        assert_eq!(second[list].as_array().unwrap().len(), 1, "{path}: {second}");
        assert_ne!(second[list], first[list], "{path}");
        followed += 1;
    }
    assert_eq!(followed, 6);
}

/// A member and values of it, as JSON.
type Change = (&'static str, &'static [&'static str]);
/// The name of a body, the path that it is sent to, and one that is taken with what is changed about it.
type Changed = (&'static str, &'static str, &'static str, &'static [Change]);

const BODIES: [Changed; 8] = [
    (
        "DeclareBody",
        "incidents",
        r#"{ "title": "Checkout fails", "severity": "P2" }"#,
        &[
            ("title", &[r#""""#, r#"" ""#, r#""a\u0007b""#, r#"" a\n""#, "null", "7"]),
            ("severity", &[r#""P1""#, r#""SEV3""#, r#""low""#, r#""P5""#, r#""""#, "null"]),
            ("serviceName", &[r#""""#, r#""checkout\n""#, r#""check\nout""#, "null"]),
            ("summary", &[r#""a\nb""#, "null"]),
            ("impactedServices", &[r#"["a", ""]"#, r#"["a\u0000b"]"#, "[7]"]),
            ("publicComponents", &[r#"["a"]"#, r#"[""]"#]),
            ("impactStartedAt", &[r#""2026-01-31T10:42:00Z""#, r#""2026-01-31""#, "null"]),
            ("recurrenceOf", &[r#""""#, r#""INC-1""#, "null"]),
            ("colour", &[r#""red""#]),
        ],
    ),
    (
        "CandidateBody",
        "candidates",
        r#"{ "source": "grafana", "title": "Checkout fails", "severity": "critical" }"#,
        &[
            ("candidateId", &["null", r#""""#, r#""a b""#, r#""a.b""#]),
            ("title", &[r#""""#, r#"" ""#, r#""a\nb""#, "null"]),
            ("policyId", &["null", r#""p""#, r#""""#]),
            ("policyVersion", &["null", "1", "-1"]),
            ("correlationRuleVersion", &["null", r#""2""#]),
            ("confidence", &["0.5", "2", "null"]),
            ("serviceName", &[r#""""#, "null"]),
            ("impactedServices", &["[]", r#"[""]"#, "null"]),
            (
                "signals",
                &[
                    r#"[{ "signalId": "1", "source": "s", "link": "https://example.com/1" }]"#,
                    r#"[{ "signalId": "1", "source": "s", "link": "http://" }]"#,
                    r#"[{ "signalId": "1", "source": "s", "link": null }]"#,
                    r#"[{ "signalId": "", "source": "s" }]"#,
                ],
            ),
        ],
    ),
    (
        "EnvironmentBody",
        "environments",
        r#"{ "id": "env-b", "name": "dev" }"#,
        &[
            ("id", &[r#""env-c""#, r#""""#, r#""-a""#]),
            ("name", &[r#""staging""#, r#""""#, r#"" ""#, r#""a\n""#]),
            ("region", &[r#""""#, r#""eu\u0000""#]),
            ("policyRefs", &["[]", r#"[""]"#, r#"["policy:freeze:a", "policy:freeze:a"]"#]),
            ("production", &["false", "null", "1"]),
            ("labels", &[r#"{ "tier": "1" }"#, r#"{ "": "1" }"#, r#"{ "tier": "a\nb" }"#]),
            ("colour", &[r#""red""#]),
        ],
    ),
    (
        "ServiceBody",
        "services",
        r#"{ "id": "svc-b", "name": "Shop" }"#,
        &[
            ("name", &[r#""Shop 2""#, r#""""#, "null"]),
            ("repo", &[r#""github.com/acme/shop""#, r#""a\tb""#]),
            (
                "adapters",
                &[
                    r#"{ "deployments": ["external"] }"#,
                    r#"{ "deployments": ["heroku"] }"#,
                    r#"{ "deployments": ["aws", "aws"] }"#,
                    r#"{ "others": [] }"#,
                ],
            ),
            (
                "environments",
                &[r#"[{ "id": "env-a" }]"#, r#"[{ "name": "a" }]"#, r#"[{ "id": "env-a", "x": 1 }]"#],
            ),
            ("dependsOn", &[r#"["svc-a"]"#, r#"["svc-a", "svc-a"]"#, r#"[""]"#]),
        ],
    ),
    (
        "ReleaseBody",
        "releases",
        r#"{ "serviceId": "svc-a", "envId": "env-a", "sha": "9f3b7de" }"#,
        &[
            ("sha", &[r#""9f3b7de""#, r#""""#, r#""a b""#]),
            ("version", &[r#""2.4.1""#, r#""a\nb""#, "null"]),
            ("status", &[r#""Draft""#, r#""""#, r#""Gone""#, "null"]),
            ("url", &[r#""https://example.com""#, r#""""#, r#""ftp://example.com""#]),
            ("id", &[r#""""#, "null"]),
            ("incident", &[r#""""#, "null"]),
            ("rollsBack", &[r#""""#, "null"]),
        ],
    ),
    (
        "FollowUpBody",
        "follow-ups",
        r#"{ "incidentId": "INCIDENT", "action": "Add an alert", "owner": "oncall" }"#,
        &[
            ("incidentId", &[r#""""#, r#""7""#]),
            ("action", &[r#""a\nb""#, r#""""#, r#"" ""#]),
            ("owner", &[r#""the payments team""#, r#""""#, r#""a\nb""#]),
            (
                "due",
                &[
                    r#""2026-01-31""#,
                    r#""2028-02-29""#,
                    r#""2026-02-29""#,
                    r#""20260131""#,
                    r#""""#,
                    r#""soon""#,
                ],
            ),
            ("priority", &[r#""high""#, r#""""#, r#""urgent""#]),
        ],
    ),
    (
        "FollowUpChangeBody",
        "follow-ups/FOLLOW-UP",
        r#"{ "comment": "Under way" }"#,
        &[
            ("state", &[r#""done""#, r#""""#, r#""gone""#]),
            ("due", &[r#""2026-01-31""#, r#""""#, r#""2026-01-31T10:42:00""#]),
            ("priority", &[r#""low""#, r#""""#, r#""urgent""#]),
        ],
    ),
    (
        "SubscribeBody",
        "subscriptions",
        r#"{ "subject": "all" }"#,
        &[(
            "subject",
            &[
                r#""severity:P1""#,
                r#""service:check out""#,
                r#""incident:INCIDENT""#,
                r#""""#,
                r#""service:""#,
                r#""severity:P9""#,
                r#""incident:7""#,
            ],
        )],
    ),
];

#[tokio::test]
async fn body_takes_what_it_is_described_to_take() {
    let world = World::new().await;
    let document = document(&world).await;
    world.post("deployer", "environments", json!({ "id": "env-a", "name": "dev" })).await.ok(201);
    let service = json!({
        "id": "svc-a", "name": "Search", "adapters": { "deployments": ["external"] }, "environments": [{ "id": "env-a" }],
    });
    world.post("deployer", "services", service).await.ok(201);
    let id = world.declared("P2").await;
    let added = json!({ "incidentId": id, "action": "Add an alert", "owner": "oncall" });
    let added = world.post("admin", "follow-ups", added).await.ok(201);
    let follow_up = added["id"].as_str().unwrap();
    for (name, path, smallest, changes) in BODIES {
        let described = of_body(&document, name);
        let path = path.replace("FOLLOW-UP", follow_up);
        let who =
            if ["environments", "services", "releases"].contains(&&*path) { "deployer" } else { "admin" };
        let read = |text: &str| serde_json::from_str::<Value>(&text.replace("INCIDENT", &id)).unwrap();
        let smallest = read(smallest);
        let mut bodies = vec![smallest.clone(), json!({})];
        for (member, values) in changes {
            for value in *values {
                let mut body = smallest.clone();
                body[*member] = read(value);
                bodies.push(body);
            }
        }
        let longest = changes.iter().filter(|(member, _)| *member == "title").map(|(member, _)| {
            let long = |count: usize| {
                let mut body = smallest.clone();
                body[*member] = "x".repeat(count).into();
                body
            };
            [long(255), long(256)]
        });
        bodies.extend(longest.flatten());
        for body in bodies {
            let reply = world.post(who, &path, body.clone()).await;
            let is_taken = match reply.status {
                200 | 201 => true,
                400 | 422 => false,
                other => panic!("{path} {body}: {other} {}", reply.text),
            };
            assert_eq!(is_taken, described.is_valid(&body), "{path} {body}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn decision_is_described_with_what_belongs_together() {
    let world = World::new().await;
    let described = of_body(&document(&world).await, "DecisionBody");
    let (approved, rejected) = ("approved", "rejected");
    for (body, fits) in [
        (json!({}), false),
        (json!({ "decision": approved }), true),
        (json!({ "decision": "later" }), false),
        (json!({ "decision": approved, "reason": null, "justification": " " }), true),
        (json!({ "decision": rejected }), false),
        (json!({ "decision": rejected, "reason": "\n" }), false),
        (json!({ "decision": rejected, "reason": "Not now" }), true),
        (json!({ "decision": approved, "breakGlass": true }), false),
        (json!({ "decision": approved, "breakGlass": true, "justification": "Nobody answers" }), true),
        (json!({ "decision": approved, "justification": "Nobody answers" }), false),
        (json!({ "escalate": true }), true),
        (json!({ "escalate": true, "reason": "Nobody answers" }), true),
        (json!({ "escalate": true, "decision": approved }), false),
        (json!({ "escalate": true, "breakGlass": true }), false),
        (json!({ "escalate": false }), false),
    ] {
        let mut body = body;
        if !body["decision"].is_null() && body["escalate"].is_null() {
            assert!(!described.is_valid(&body), "a decision names what it is about: {body}");
            body["digest"] = "9f3b7de".into();
        }
        assert_eq!(described.is_valid(&body), fits, "{body}");
        let reply = world.post("commander", "approvals/nothing", body.clone()).await;
        assert_eq!(reply.status, if fits { 404 } else { 422 }, "{body}: {}", reply.text);
    }
}

#[tokio::test]
async fn candidate_without_a_name_is_named_by_any_key() {
    let world = World::new().await;
    let candidate = json!({ "source": "grafana", "title": "Checkout fails", "severity": "critical" });
    for (key, named) in [("alert-7", Some("alert-7")), ("alert 7 (again)", None), ("a:b", None)] {
        let handed_in = async || world.post_with_key("operator", "candidates", key, candidate.clone()).await;
        let first = handed_in().await.ok(201);
        let id = first["candidateId"].as_str().unwrap().to_owned();
        assert!(named.is_none_or(|named| named == id), "{id}");
        assert_eq!(handed_in().await.ok(201)["candidateId"], first["candidateId"]);
        world.get("viewer", &format!("candidates/{id}")).await.ok(200);
    }
    assert_eq!(world.get("viewer", "candidates").await.ok(200)["candidates"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn headers_take_what_they_are_described_to_take() {
    let world = World::new().await;
    let document = document(&world).await;
    let id = world.declared("P2").await;
    let notes = &document["paths"]["/api/orgs/{org}/incidents/{id}/notes"]["post"]["parameters"];
    let header_of = |name: &str| {
        let found = notes.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
        validator(&found["schema"])
    };
    let long = "x".repeat(256);
    let cases: [(&str, &[&str]); 2] = [
        ("Idempotency-Key", &["a", "a b", "~!", "\u{7}", &long, &long[1..]]),
        (
            "If-Match",
            &["*", "\"2\"", "W/\"2\"", "2", "x", "\"2\", \"3\"", "\"-2\"", "\"1234567890123456789\""],
        ),
    ];
    for (name, values) in cases {
        let described = header_of(name);
        for value in values {
            let request = Request::post(format!("/api/orgs/default/incidents/{id}/notes"))
                .header(header::AUTHORIZATION, "Bearer token-viewer")
                .header(header::CONTENT_TYPE, "application/json")
                .header(name, *value)
                .body(Body::from(json!({ "note": "seen" }).to_string()));
            // What no header can hold is not sent.
            let Ok(request) = request else { continue };
            let status = world.send(request).await.status;
            assert_eq!(status != 400, described.is_valid(&(*value).into()), "{name}: {value}: {status}");
        }
    }
}
