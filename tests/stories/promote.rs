//! A candidate is handed in: it becomes an incident, waits for a person, or nothing; once, whoever dies meanwhile.

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::world::{POLICY, World, refusal};

fn alert(id: &str, severity: &str) -> Value {
    json!({
        "candidateId": id,
        "policyId": "alerts",
        "source": "alertmanager",
        "title": "Checkout error rate above 5%",
        "severity": severity,
        "serviceName": "checkout",
        "environment": "production",
        "correlationKey": "checkout-5xx",
    })
}

async fn decided(world: &World, id: &str) -> Value {
    let decided = world
        .until(&format!("a decision about candidate {id}"), async || {
            let candidate = world.get(&format!("candidates/{id}")).await;
            (candidate["status"] != "RECEIVED").then_some(candidate)
        })
        .await;
    world.keep_history(&format!("candidate.promote-{id}")).await;
    decided
}

/// The incident that a candidate became, once it is there.
async fn incident_of(world: &World, id: &str) -> String {
    world
        .until(&format!("the incident of candidate {id}"), async || {
            let candidate = world.get(&format!("candidates/{id}")).await;
            candidate["incidentId"].as_str().map(str::to_owned)
        })
        .await
}

async fn incidents(world: &World) -> usize {
    world.get("incidents?limit=200").await["incidents"].as_array().unwrap().len()
}

#[tokio::test]
async fn automatic_promotion_ends_in_an_initiated_incident() {
    let world = World::start(POLICY).await;
    let file = world.dir.path().join("candidate.json");
    let candidate = json!({
        "candidateId": "pd-Q2X", "policyId": "pagerduty", "source": "pagerduty", "title": "Payments are refused",
        "severity": "P1", "serviceName": "payments", "correlationKey": "payments-refused",
    });
    std::fs::write(&file, candidate.to_string()).unwrap();
    let submit = || world.harmony(&["candidate", "submit", file.to_str().unwrap(), "--json"]);
    let submitted = submit();
    let line: Value = serde_json::from_slice(&submitted.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&submitted.stderr)));
    assert_eq!(line["workflowId"], "candidate.promote-pd-Q2X");

    let id = incident_of(&world, "pd-Q2X").await;
    // Whatever AUTO_ENGINE started tells the public only after somebody approved it.
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "initiate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(result["warnings"], json!([]));
    let records = world.records(&id).await;
    let first: Vec<(&str, &str, &str)> = records[..4]
        .iter()
        .map(|record| {
            let text = |name: &str| record[name].as_str().unwrap();
            (text("kind"), text("actor"), text("authority"))
        })
        .collect();
    let engine = ("opx-candidate-processor", "AUTO_ENGINE");
    assert_eq!(
        first,
        ["INCIDENT_CREATED", "CANDIDATE_DECIDED", "INCIDENT_STATUS_CHANGED", "BLUEPRINT_STARTED"]
            .map(|kind| (kind, engine.0, engine.1))
    );
    assert_eq!(records[2]["payload"]["justification"], "Auto-promotion from correlation");

    // The same candidate again is the same decision and the same incident; a duplicate makes none.
    let before = world.get("candidates/pd-Q2X").await;
    assert!(submit().status.success());
    assert_eq!(world.get("candidates/pd-Q2X").await, before);
    let mut duplicate = candidate.clone();
    duplicate["candidateId"] = json!("pd-Q3Y");
    world.post("candidates", duplicate).await;
    let suppressed = decided(&world, "pd-Q3Y").await;
    assert_eq!((&suppressed["status"], &suppressed["incidentId"]), (&json!("SUPPRESSED"), &json!(id)));
    assert_eq!(incidents(&world).await, 1);
    let shown = world.harmony(&["candidate", "show", "pd-Q3Y"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("duplicate") && shown.contains("stopped"), "{shown}");
    world.verified().await;
}

#[tokio::test]
async fn candidate_that_lacks_only_authority_pages_and_a_person_promotes_it() {
    let world = World::start(POLICY).await;
    world.post("candidates", alert("am-1", "critical")).await;
    let deferred = decided(&world, "am-1").await;
    assert_eq!(deferred["status"], "DEFERRED", "{deferred}");
    assert_eq!(deferred["decision"]["reasons"], json!(["AUTHORITY"]));
    let asked = world
        .until("the page to go out", async || {
            let requests = world.requests("pagerduty").await;
            requests
                .iter()
                .find(|request| request["method"] == "POST")
                .map(|request| request["body"].to_string())
        })
        .await;
    assert!(asked.contains("harmony candidate promote am-1"), "{asked}");
    assert!(asked.contains("/orgs/default/candidates/am-1") && !asked.contains("/api/"), "{asked}");
    assert_eq!(incidents(&world).await, 0);
    let paged = world.state("pagerduty").await["incidents"][0]["id"].clone();
    // The run has ended: nobody waits in it for a person.
    let result = world.temporal(&["workflow", "result", "-w", "candidate.promote-am-1", "-o", "json"]);
    let result = String::from_utf8_lossy(&result.stdout).into_owned();
    assert!(result.contains("DEFER") && !result.contains("nobody was paged"), "{result}");

    let listed = world.harmony(&["candidate", "list", "--status", "deferred"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("am-1"));
    let promoted = world.harmony(&["candidate", "promote", "am-1", "--json"]);
    let line: Value = serde_json::from_slice(&promoted.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&promoted.stderr)));
    assert_eq!(line["state"], "OPEN");
    let id = line["incidentId"].as_str().unwrap();
    let result = world.completed(id, "initiate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    // Who was paged is not paged again: the page is the incident's own from now on.
    assert_eq!(result["correlation"]["pagerdutyIncidentId"], paged);
    assert_eq!(world.state("pagerduty").await["incidents"].as_array().unwrap().len(), 1);
    let records = world.records(id).await;
    assert_eq!((&records[0]["actor"], &records[0]["authority"]), (&json!("operator"), &json!("ON_CALL_SRE")));
    let again = world.harmony(&["candidate", "promote", "am-1", "--json"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains(id), "the same incident");
    assert_eq!(incidents(&world).await, 1);
    world.verified().await;
}

#[tokio::test]
async fn dismissed_candidate_ends_its_page_and_the_next_alert_pages_again() {
    let world = World::start(POLICY).await;
    let paged = async |world: &World, count: usize| {
        world
            .until(&format!("{count} pages"), async || {
                let pages = world.state("pagerduty").await["incidents"].as_array().unwrap().clone();
                (pages.len() == count).then_some(pages)
            })
            .await
    };
    world.post("candidates", alert("am-1", "critical")).await;
    assert_eq!(decided(&world, "am-1").await["status"], "DEFERRED");
    assert_eq!(paged(&world, 1).await[0]["status"], "triggered");
    let bare = world.harmony(&["candidate", "dismiss", "am-1"]);
    assert_eq!(bare.status.code(), Some(2), "a reason is required");
    let done = world.harmony(&["candidate", "dismiss", "am-1", "--reason", "load test"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(String::from_utf8_lossy(&done.stdout).contains("DISMISSED"));
    world
        .until("the page to end", async || {
            (world.state("pagerduty").await["incidents"][0]["status"] == "resolved").then_some(())
        })
        .await;
    let shown = world.get("candidates/am-1").await;
    assert_eq!(shown["dismissed"]["by"], "operator");
    assert_eq!(incidents(&world).await, 0);
    // What is seen again is news.
    world.post("candidates", alert("am-2", "critical")).await;
    assert_eq!(decided(&world, "am-2").await["status"], "DEFERRED");
    let pages = paged(&world, 2).await;
    assert!(pages.iter().any(|page| page["status"] == "triggered"), "{pages:?}");
}

#[tokio::test]
async fn worker_killed_in_the_middle_of_a_promotion_makes_one_incident() {
    let world = World::start(POLICY).await;
    world.post("candidates", alert("am-1", "warning")).await;
    world.kill("worker");
    // Handed in while nobody works: it is taken all the same.
    world.post("candidates", alert("am-2", "warning")).await;
    let id = incident_of(&world, "am-1").await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    assert_eq!(world.completed(&id, "initiate").await["status"], "COMPLETED");
    let mut statuses = Vec::new();
    for candidate in ["am-1", "am-2"] {
        let candidate = decided(&world, candidate).await;
        statuses.push(candidate["status"].as_str().unwrap().to_owned());
    }
    statuses.sort();
    assert_eq!(statuses, ["PROMOTED", "SUPPRESSED"]);
    assert_eq!(incidents(&world).await, 1);
    assert_eq!(world.state("slack").await["channels"].as_array().unwrap().len(), 1);
    assert_eq!(world.state("pagerduty").await["incidents"].as_array().unwrap().len(), 1);
    let created = world.kinds(&id).await.iter().filter(|kind| *kind == "INCIDENT_CREATED").count();
    assert_eq!(created, 1);
    world.verified().await;
}

#[tokio::test]
async fn candidate_without_a_policy_is_refused_until_somebody_overrides() {
    let world = World::start(POLICY).await;
    let candidate =
        json!({ "candidateId": "mail-1", "source": "mail", "title": "Nothing works", "severity": "P3" });
    world.post("candidates", candidate).await;
    let refused = decided(&world, "mail-1").await;
    assert_eq!(refused["status"], "REFUSED", "{refused}");
    assert!(refused["refusedBecause"].as_str().unwrap().starts_with("the candidate names no policy"));
    let result = world.temporal(&["workflow", "result", "-w", "candidate.promote-mail-1", "-o", "json"]);
    assert!(String::from_utf8_lossy(&result.stdout).contains("\"REFUSED\""));
    assert_eq!(incidents(&world).await, 0);

    let (code, why) = refusal(&world.harmony(&["candidate", "promote", "mail-1"]));
    assert_eq!(code, 2, "{why}");
    let override_ = |why: &str| {
        world.harmony(&["candidate", "promote", "mail-1", "--emergency-override", "--justification", why])
    };
    let (code, why) = refusal(&override_("because"));
    assert_eq!(code, 2, "{why}");
    assert!(why.contains("at least 20 characters"), "{why}");
    let promoted = override_("support has three customers on the line");
    assert!(promoted.status.success(), "{}", String::from_utf8_lossy(&promoted.stderr));
    let id = incident_of(&world, "mail-1").await;
    let records = world.records(&id).await;
    assert_eq!(records[0]["authority"], "EMERGENCY_OVERRIDE");
    assert_eq!(records[2]["payload"]["justification"], "support has three customers on the line");

    // Past our doors: the workflow id names the candidate, and the input must agree.
    let started = world.temporal(&[
        "workflow",
        "execute",
        "--type",
        "candidate.promote",
        "--task-queue",
        "harmony-incidents",
        "-w",
        "candidate.promote-nobody",
        "--input",
        "{\"candidateId\":\"somebody\"}",
    ]);
    let said =
        format!("{}{}", String::from_utf8_lossy(&started.stdout), String::from_utf8_lossy(&started.stderr));
    assert!(!started.status.success() && said.contains("input.candidateId"), "{said}");

    let broken = world.dir.path().join("broken.jsonl");
    std::fs::write(&broken, "{\"source\":\"a\",\"title\":\"b\",\"severity\":\"P3\"}\n{\"title\":7}\n")
        .unwrap();
    let (code, why) = refusal(&world.harmony(&["candidate", "submit", broken.to_str().unwrap()]));
    assert_eq!(code, 2);
    assert!(why.contains("line 2: title: invalid type"), "{why}");
    let (code, _) = refusal(&world.harmony(&["candidate", "show", "nobody"]));
    assert_eq!(code, 4);
    let (status, listed) = world.api(Method::GET, "candidates", None).await;
    assert_eq!((status, listed["candidates"].as_array().unwrap().len()), (200, 1), "nothing was handed in");
    world.verified().await;
}

const ALERTMANAGER: &str = "the-secret-of-alertmanager";
const PAGERDUTY: &str = "the-secret-of-pagerduty-webhooks";

/// An event about an incident at PagerDuty, as PagerDuty signs it.
async fn pagerduty_says(world: &World, event: &str, kind: &str, incident: &Value) -> Value {
    let mut data = incident.clone();
    data["title"] = json!("An incident");
    let body = json!({ "event": {
        "id": event, "event_type": kind, "resource_type": "incident", "occurred_at": jiff::Timestamp::now().to_string(),
        "data": data,
    } });
    let mut mac = Hmac::<Sha256>::new_from_slice(PAGERDUTY.as_bytes()).unwrap();
    mac.update(body.to_string().as_bytes());
    let signature = format!("v1={}", hex::encode(mac.finalize().into_bytes()));
    world.webhook("pagerduty", ("X-PagerDuty-Signature", signature), &body).await
}

#[tokio::test]
async fn alerts_of_a_group_become_one_page_and_one_incident_with_what_was_seen() {
    let secrets = [("HARMONY_ALERTMANAGER_SECRET", ALERTMANAGER), ("PAGERDUTY_WEBHOOK_SECRET", PAGERDUTY)];
    let world = World::start_with(POLICY, &secrets).await;
    let now = jiff::Timestamp::now().to_string();
    let alert = |name: &str, instance: usize| {
        json!({
            "status": "firing", "startsAt": now, "fingerprint": format!("{name}-{instance}"),
            "labels": { "alertname": name, "severity": "critical", "service": "checkout", "instance": instance.to_string() },
            "annotations": { "summary": format!("{name} on {instance}") },
            "generatorURL": format!("https://prometheus.example.com/graph?g0.expr={name}"),
        })
    };
    let notification = json!({
        "version": "4", "groupKey": "{}:{}", "status": "firing",
        "alerts": [alert("Down", 1), alert("Down", 2), alert("Down", 3), alert("Slow", 1)],
    });
    let bearer = || ("Authorization", format!("Bearer {ALERTMANAGER}"));
    for _ in 0..2 {
        assert_eq!(world.webhook("alertmanager", bearer(), &notification).await["taken"], 4);
    }
    let listed = world.get("candidates").await["candidates"].as_array().unwrap().clone();
    let mut ids: Vec<&str> = listed.iter().map(|one| one["candidateId"].as_str().unwrap()).collect();
    ids.sort_unstable();
    let [down, slow] = ids[..] else { panic!("a rule is a candidate: {listed:?}") };
    for id in [down, slow] {
        assert_eq!(decided(&world, id).await["status"], "DEFERRED");
        let result =
            world.temporal(&["workflow", "result", "-w", &format!("candidate.promote-{id}"), "-o", "json"]);
        let result = String::from_utf8_lossy(&result.stdout).into_owned();
        assert!(result.contains("DEFER") && !result.contains("nobody was paged"), "{result}");
    }
    let pages = world.state("pagerduty").await["incidents"].as_array().unwrap().clone();
    let [page] = pages.as_slice() else { panic!("one group is one page: {pages:?}") };
    // PagerDuty tells us of our own page: it is no candidate.
    assert_eq!(pagerduty_says(&world, "own-1", "incident.triggered", page).await["taken"], "ignored");

    let promoted = world.harmony(&["candidate", "promote", slow, "--json"]);
    let line: Value = serde_json::from_slice(&promoted.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&promoted.stderr)));
    let id = line["incidentId"].as_str().unwrap();
    assert_eq!(world.completed(id, "initiate").await["status"], "COMPLETED");
    let settled = world.get(&format!("candidates/{down}")).await;
    assert_eq!((&settled["status"], &settled["incidentId"]), (&json!("SUPPRESSED"), &json!(id)));
    let incident = world.incident(id).await;
    assert_eq!(incident["signals"].as_array().unwrap().len(), 4, "{}", incident["signals"]);
    let link = "https://prometheus.example.com/graph?g0.expr=Slow";
    assert_eq!(incident["signals"][0]["data"], json!({ "link": link }));
    let pages = world.state("pagerduty").await["incidents"].as_array().unwrap().clone();
    assert_eq!(pages.len(), 1, "the page is the incident's own now");
    assert_eq!(pagerduty_says(&world, "own-2", "incident.acknowledged", page).await["taken"], "recorded");
    assert_eq!(world.get("candidates").await["candidates"].as_array().unwrap().len(), 2);
    let attempts = world.harmony(&["candidate", "attempts", slow, "--json"]);
    let attempts: Value = serde_json::from_slice(&attempts.stdout).unwrap();
    let said: Vec<(&str, &str)> = attempts["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["decision"].as_str().unwrap(), one["incidentId"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(said, [("DEFER", ""), ("PROMOTE", id)]);
    world.verified().await;
}
