//! Candidates at the door: handed in once, shown, promoted by who may.

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use harmony_incidents::{OrgId, log::Authority, promotion::AUTO_ACTOR};
use harmony_promotion::{self as promotion, Asker};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{pages::Visitor, world::World};

fn alert(id: &str, severity: &str) -> Value {
    json!({
        "candidateId": id, "policyId": "alerts", "source": "alertmanager", "title": "Checkout is slow",
        "severity": severity, "environment": "production", "correlationKey": id,
    })
}

/// What the workflow does first.
async fn decide(world: &World, id: &str) {
    let asker = Asker {
        actor: AUTO_ACTOR,
        authority: Authority::AutoEngine,
        justification: "",
        now: Timestamp::now(),
    };
    promotion::decide(world.log.as_ref(), &OrgId::default(), &id.parse().unwrap(), asker, &world.policies())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn candidate_is_handed_in_once_and_its_promotion_follows() {
    let world = World::new().await;
    let first = world.post("operator", "candidates", alert("am-1", "warning")).await.ok(201);
    assert_eq!(
        first,
        json!({ "candidateId": "am-1", "status": "RECEIVED", "workflowId": "candidate.promote-am-1" })
    );
    assert_eq!(world.post("oncall", "candidates", alert("am-1", "warning")).await.ok(201), first);
    let outbox = world.outbox().await;
    assert_eq!(outbox.len(), 1);
    assert_eq!(outbox[0].item.payload["workflowType"], "candidate.promote");
    let input = &outbox[0].item.payload["input"];
    assert_eq!((&input["candidateId"], &input["start"]["principalId"]), (&json!("am-1"), &json!(AUTO_ACTOR)));
    let detail = world.post("operator", "candidates", alert("am-1", "critical")).await.problem(409);
    assert!(detail.ends_with("these fields differ: severity"), "{detail}");

    // Without a name it has its request's.
    let mut nameless = alert("x", "warning");
    nameless["candidateId"] = Value::Null;
    let named =
        world.post_with_key("operator", "candidates", "vendor-event-7", nameless.clone()).await.ok(201);
    assert_eq!(named["candidateId"], "vendor-event-7");
    world.post_with_key("operator", "candidates", "vendor-event-7", nameless.clone()).await.ok(201);
    for _ in 0..2 {
        world.post("operator", "candidates", nameless.clone()).await.ok(201);
    }
    let all = world.get("viewer", "candidates").await.ok(200);
    assert_eq!(all["candidates"].as_array().unwrap().len(), 4, "two equal ones without a key are two");
}

#[tokio::test]
async fn malformed_candidate_names_its_field_and_leaves_nothing() {
    let world = World::new().await;
    for (member, value, expected) in [
        ("candidateId", json!("a:b"), "candidateId: "),
        ("title", json!(""), "title: must not be empty"),
        ("confidence", json!(7), "confidence: "),
        ("detectedAt", json!("soon"), "detectedAt: "),
        ("colour", json!("red"), "colour: unknown field `colour`"),
    ] {
        let mut candidate = alert("am-1", "warning");
        candidate[member] = value;
        let detail = world.post("operator", "candidates", candidate).await.problem(422);
        assert!(detail.starts_with(expected), "{detail}");
    }
    world.call("operator", Method::POST, "candidates", None, "{".to_owned()).await.problem(400);
    assert_eq!(world.get("viewer", "candidates").await.ok(200)["candidates"], json!([]));
    assert!(world.outbox().await.is_empty());
}

#[tokio::test]
async fn candidates_are_listed_by_status_in_pages() {
    let world = World::new().await;
    for id in ["a", "b", "c"] {
        world.post("operator", "candidates", alert(id, "critical")).await.ok(201);
    }
    decide(&world, "b").await;
    let ids = |listed: &Value| -> Vec<String> {
        let all = listed["candidates"].as_array().unwrap();
        all.iter().map(|one| one["candidateId"].as_str().unwrap().to_owned()).collect()
    };
    let page = world.get("viewer", "candidates?limit=2").await.ok(200);
    assert_eq!(ids(&page), ["c", "b"]);
    world.post("operator", "candidates", alert("late", "critical")).await.ok(201);
    let cursor = page["nextCursor"].as_str().unwrap();
    let rest = world.get("viewer", &format!("candidates?limit=2&cursor={cursor}")).await.ok(200);
    assert_eq!((ids(&rest), rest.get("nextCursor")), (vec!["a".to_owned()], None));
    assert_eq!(ids(&world.get("viewer", "candidates?status=deferred").await.ok(200)), ["b"]);
    for (query, status) in [("?status=x", 422), ("?cursor=x", 422), ("?limit=0", 422), ("?state=x", 400)] {
        world.get("viewer", &format!("candidates{query}")).await.problem(status);
    }
    let shown = world.get("viewer", "candidates/b").await.ok(200);
    assert_eq!(shown["decision"]["outcome"], "DEFER");
    assert_eq!(shown["decision"]["trace"][3]["verdict"], "stopped");
    world.get("viewer", "candidates/nobody").await.problem(404);
    world.get("viewer", "candidates/a%3Ab").await.problem(404);
}

#[tokio::test]
async fn person_promotes_within_their_own_limit() {
    let world = World::new().await;
    world.post("operator", "candidates", alert("p1", "critical")).await.ok(201);
    decide(&world, "p1").await;
    let promote = "candidates/p1/promote";
    world.post("viewer", promote, json!({})).await.problem(403);
    let detail = world.post("operator", promote, json!({})).await.problem(403);
    assert!(detail.contains("P1 needs ON_CALL_SRE at least, not HUMAN_OPERATOR"), "{detail}");
    let claimed = json!({ "emergencyOverride": true, "justification": "I cannot reach anybody at all" });
    world.post("operator", promote, claimed).await.problem(403);
    let short = json!({ "emergencyOverride": true, "justification": "now" });
    world.post("oncall", promote, short).await.problem(422);
    world.post("oncall", promote, json!({ "override": true })).await.problem(422);
    assert_eq!(world.get("viewer", "candidates/p1").await.ok(200)["status"], "DEFERRED");
    assert_eq!(world.get("viewer", "incidents").await.ok(200)["incidents"], json!([]));

    let made = world.post("oncall", promote, json!({})).await.ok(201);
    assert_eq!((&made["status"], &made["state"]), (&json!("PROMOTED"), &json!("OPEN")));
    let id = made["incidentId"].as_str().unwrap();
    assert_eq!(made["workflowId"], format!("incident.initiate-{id}"));
    assert_eq!(world.post("commander", promote, json!({})).await.ok(201)["incidentId"], id);
    let starts: Vec<String> = world
        .outbox()
        .await
        .iter()
        .filter_map(|pending| pending.item.payload["workflowId"].as_str().map(str::to_owned))
        .collect();
    let expected = ["incident.initiate", "incident.updates"].map(|kind| format!("{kind}-{id}"));
    assert_eq!(starts, [&["candidate.promote-p1".to_owned()][..], &expected].concat());

    // What is about the same trouble is no other incident, whoever asks.
    let mut same = alert("again", "critical");
    same["correlationKey"] = json!("p1");
    world.post("operator", "candidates", same).await.ok(201);
    let detail = world.post("oncall", "candidates/again/promote", json!({})).await.problem(409);
    assert!(detail.contains("candidate p1 became"), "{detail}");
    world.post("oncall", "candidates/nobody/promote", json!({})).await.problem(404);
}

#[tokio::test]
async fn dismissed_candidate_takes_along_what_waits_with_it_and_others_are_told() {
    let world = World::new().await;
    for (id, severity) in [("first", "critical"), ("second", "critical"), ("elsewhere", "critical")] {
        let mut candidate = alert(id, severity);
        if id != "elsewhere" {
            candidate["correlationKey"] = json!("checkout");
            candidate["dedupKey"] = json!(id);
        }
        world.post("operator", "candidates", candidate).await.ok(201);
        decide(&world, id).await;
    }
    let events = |outbox: &[harmony_eventlog::Pending]| -> Vec<Value> {
        let of = outbox.iter().filter(|one| one.item.kind == harmony_eventlog::OutboxKind::Event);
        of.map(|one| one.item.payload["event"].clone()).collect()
    };
    let told = events(&world.outbox().await);
    assert_eq!(told.len(), 3);
    assert_eq!(
        (&told[0]["eventType"], &told[0]["candidateId"]),
        (&json!("CandidateDeferred"), &json!("first"))
    );
    assert!(told[0]["decisionId"].as_str().unwrap().len() == 64 && told[0]["deferredAt"].is_string());
    let dismiss = "candidates/first/dismiss";
    world.post("viewer", dismiss, json!({ "reason": "a drill" })).await.problem(403);
    assert!(world.post("operator", dismiss, json!({ "reason": " " })).await.problem(422).contains("reason"));
    world.post("operator", "candidates/nobody/dismiss", json!({ "reason": "x" })).await.problem(404);
    let done = world.post("operator", dismiss, json!({ "reason": "a drill" })).await.ok(200);
    assert_eq!(
        done,
        json!({
            "candidateId": "first", "status": "DISMISSED", "answer": "recorded", "dismissedBy": "operator",
            "withIt": ["second"],
        })
    );
    let again = world.post("oncall", dismiss, json!({ "reason": "another" })).await.ok(200);
    assert_eq!((&again["answer"], &again["dismissedBy"]), (&json!("unchanged"), &json!("operator")));
    let outbox = world.outbox().await;
    let told = events(&outbox);
    assert_eq!(told.len(), 2);
    assert_eq!(told[0]["eventType"], "CandidateSuppressed");
    assert_eq!(told[0]["reason"], "dismissed by operator: a drill");
    // The run that ends its page follows, for each.
    assert_eq!(outbox.len(), 4);
    let shown = world.get("viewer", "candidates/second").await.ok(200);
    assert_eq!((&shown["status"], &shown["dismissed"]["reason"]), (&json!("DISMISSED"), &json!("a drill")));
    assert_eq!(world.get("viewer", "candidates/elsewhere").await.ok(200)["status"], "DEFERRED");
    // A machine that asks again changes nothing; a person may think better of it.
    let asker = Asker {
        actor: AUTO_ACTOR,
        authority: Authority::AutoEngine,
        justification: "",
        now: Timestamp::now(),
    };
    let (org, id) = (OrgId::default(), "first".parse().unwrap());
    let asked = promotion::decide(world.log.as_ref(), &org, &id, asker, &world.policies()).await.unwrap();
    assert!(matches!(asked, Some(promotion::Ruling::Refused(_))), "{asked:?}");
    let promoted = world.post("oncall", "candidates/first/promote", json!({})).await.ok(201);
    let told = events(&world.outbox().await);
    assert_eq!(
        (&told[0]["eventType"], &told[0]["incidentId"]),
        (&json!("IncidentCreated"), &promoted["incidentId"])
    );
    assert!(
        world.post("operator", dismiss, json!({ "reason": "x" })).await.problem(409).contains("PROMOTED")
    );
}

#[tokio::test]
async fn other_organisation_has_no_such_candidate() {
    let world = World::new().await;
    world.post("operator", "candidates", alert("am-1", "critical")).await.ok(201);
    // The viewer has no role there; the commander is a viewer.
    for (who, shown, promoted) in [("viewer", 404, 404), ("commander", 404, 403)] {
        for (method, path, status) in
            [(Method::GET, "candidates/am-1", shown), (Method::POST, "candidates/am-1/promote", promoted)]
        {
            let request = Request::builder()
                .method(method)
                .uri(format!("/api/orgs/acme/{path}"))
                .header(header::AUTHORIZATION, format!("Bearer token-{who}"));
            world.send(request.body(Body::empty()).unwrap()).await.problem(status);
        }
    }
    let request =
        Request::get("/api/orgs/acme/candidates").header(header::AUTHORIZATION, "Bearer token-commander");
    let theirs = world.send(request.body(Body::empty()).unwrap()).await.ok(200);
    assert_eq!(theirs["candidates"], json!([]));
}

#[tokio::test]
async fn incident_is_shown_as_it_was() {
    let world = World::new().await;
    let id = world.opened("P3").await;
    let signal = json!({ "source": "prometheus", "correlationKey": "5xx", "traceId": "abc" });
    world.post("operator", &format!("incidents/{id}/signals"), signal).await.ok(200);
    world.post("operator", &format!("incidents/{id}/tags"), json!({ "tag": "database" })).await.ok(200);
    let at = async |seq: u64| world.get("viewer", &format!("incidents/{id}/events?at={seq}")).await.ok(200);
    for (seq, state, keys, tags) in [
        (1, "PENDING", json!([]), json!([])),
        (2, "OPEN", json!([]), json!([])),
        (3, "OPEN", json!(["5xx"]), json!([])),
        (4, "OPEN", json!(["5xx"]), json!(["database"])),
    ] {
        let then = at(seq).await;
        let incident = &then["incident"];
        assert_eq!(
            (&incident["state"], &incident["correlationKeys"], &incident["tags"]),
            (&json!(state), &keys, &tags)
        );
        assert_eq!(incident["title"], "Checkout fails");
        assert_eq!(then["events"].as_array().unwrap().len(), usize::try_from(seq).unwrap());
    }
    assert_eq!(at(4).await["incident"], world.get("viewer", &format!("incidents/{id}")).await.ok(200));
    for query in ["?at=0", "?at=5", "?at=x"] {
        world.get("viewer", &format!("incidents/{id}/events{query}")).await.problem(422);
    }
    world.get("viewer", &format!("incidents/{id}/events?at=1&after=1")).await.problem(400);
    let found = world.get("viewer", "incidents?correlationKey=5xx").await.ok(200);
    assert_eq!(found["incidents"][0]["incidentId"], id.as_str());
    assert_eq!(world.get("viewer", "incidents?serviceName=nothing").await.ok(200)["incidents"], json!([]));
}

/// What is asked of the engine is logged for whoever looks into it; no decision waits for that.
#[tokio::test]
async fn attempt_that_cannot_be_logged_holds_no_decision_up() {
    let world = World::new().await;
    world.post("operator", "candidates", alert("am-1", "critical")).await.ok(201);
    let mut lock = world.locked_store().await;
    sqlx::query("DROP TABLE promotion_attempts").execute(&mut lock).await.unwrap();
    sqlx::query("COMMIT").execute(&mut lock).await.unwrap();
    decide(&world, "am-1").await;
    let candidate = world.get("viewer", "candidates/am-1").await.ok(200);
    assert_eq!(
        (&candidate["status"], &candidate["decision"]["outcome"]),
        (&json!("DEFERRED"), &json!("DEFER"))
    );
}

#[tokio::test]
async fn page_shows_how_a_candidate_was_decided_and_who_may_promotes_it() {
    let world = World::new().await;
    world.post("operator", "candidates", alert("am-1", "critical")).await.ok(201);
    let page = "/orgs/default/candidates/am-1";
    let viewer = Visitor::new(&world, "viewer").await;
    assert!(viewer.page(page).await.contains("Not yet"), "nobody has decided");
    decide(&world, "am-1").await;
    let shown = viewer.page(page).await;
    for words in ["DEFERRED", "duplicate", "staleness", "eligibility", "authority", "stopped", "AUTO_ENGINE"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains("/promote") && !shown.contains("/dismiss"), "a viewer is offered nothing");
    assert_eq!(viewer.form(&format!("{page}/dismiss"), "reason=x").await.status, 403);
    assert_eq!(viewer.form(&format!("{page}/promote"), "").await.status, 403);
    let operator = Visitor::new(&world, "operator").await;
    assert!(!operator.page(page).await.contains("EMERGENCY_OVERRIDE"), "nor a responder the override");
    assert_eq!(operator.form(&format!("{page}/dismiss"), "reason=").await.status, 422);
    assert_eq!(operator.form(&format!("{page}/dismiss"), "reason=It+was+a+drill").await.status, 303);
    let dismissed = operator.page(page).await;
    assert!(
        dismissed.contains("DISMISSED") && dismissed.contains("by operator: It was a drill"),
        "{dismissed}"
    );
    assert!(!dismissed.contains("/dismiss"), "it is dismissed already");
    let claimed = "emergencyOverride=true&justification=because I am in a great hurry";
    assert_eq!(operator.form(&format!("{page}/promote"), claimed).await.status, 403);
    let oncall = Visitor::new(&world, "oncall").await;
    let promoted = oncall.form(&format!("{page}/promote"), "").await;
    assert_eq!(promoted.status, 303, "{}", promoted.text);
    let incident = promoted.header("location").split('?').next().unwrap().to_owned();
    assert!(oncall.page(&incident).await.contains("Checkout is slow"));
    let after = oncall.page(page).await;
    assert!(
        after.contains("PROMOTED") && after.contains(&incident) && !after.contains("/promote"),
        "{after}"
    );
    assert!(oncall.page("/orgs/default/candidates?status=PROMOTED").await.contains("am-1"));
    assert!(
        oncall.page("/orgs/default/candidates?status=DEFERRED").await.contains("No candidate is like this")
    );
}

#[tokio::test]
async fn list_of_candidates_comes_in_pages() {
    let world = World::new().await;
    for number in 0..51 {
        world.post("operator", "candidates", alert(&format!("am-{number}"), "warning")).await.ok(201);
    }
    let viewer = Visitor::new(&world, "viewer").await;
    let first = viewer.page("/orgs/default/candidates?status=RECEIVED").await;
    assert_eq!(first.matches("class=\"strong\"").count(), 50);
    let next = first.split("href=\"?status").nth(1).unwrap().split('"').next().unwrap();
    let next = next.replace("&#38;", "&").replace("&amp;", "&");
    let second = viewer.page(&format!("/orgs/default/candidates?status{next}")).await;
    assert!(second.contains(">am-0<") && second.matches("class=\"strong\"").count() == 1, "{second}");
}
