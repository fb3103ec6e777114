//! `/incident …` and the shortcuts: the API's own handlers with the person's own rights, over HTTP and by socket.

use axum::{body::Body, http::Request};
use harmony_capabilities::slack::signature;
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{
    workspace::{By, Workspace},
    world::{Reply, SIGNING_SECRET, World},
};

#[tokio::test]
async fn incident_is_run_by_typing() {
    for by in [By::Http, By::Socket] {
        let workspace = Workspace::new(by).await;
        let says = async |user: &str, text: &str| workspace.types(user, text, "").await;
        assert_eq!(says("U0OPERATOR", "declare P2 Checkout <b> fails").await, "INC-2026-0001 is declared.");
        assert_eq!(
            says("U0VIEWER", "status inc-2026-0001").await,
            "INC-2026-0001: P2 is PENDING (created), Checkout &lt;b&gt; fails"
        );
        assert_eq!(
            says("U0VIEWER", "note INC-2026-0001 It falls").await,
            "The note is on record. INC-2026-0001 is PENDING (created)."
        );
        assert_eq!(says("U0ONCALL", "status INC-2026-0001 open").await, "INC-2026-0001 is OPEN (triaging).");
        assert_eq!(
            says("U0ONCALL", "status INC-2026-0001 open").await,
            "Nothing changed: it was that way already. INC-2026-0001 is OPEN (triaging)."
        );
        assert_eq!(
            says("U0ONCALL", "status INC-2026-0001 resolved Rolled back").await,
            "The close-out of INC-2026-0001 has begun and waits for approval by incident-commander or sre-oncall or incident-manager or incident-approver."
        );
        assert_eq!(
            says("U0OPERATOR", "severity INC-2026-0001 P1").await,
            "Nothing was changed: this needs the role incident-commander at least; operator has incident-responder"
        );
        assert_eq!(
            says("U0MANAGER", "severity INC-2026-0001 P3 Fewer").await,
            "The severity is changed. INC-2026-0001 is OPEN (triaging)."
        );
        assert_eq!(
            says("U0OPERATOR", "assign INC-2026-0001 commander <@U0VIEWER|vera>").await,
            "Assigned. INC-2026-0001 is OPEN (triaging)."
        );
        assert_eq!(
            says("U0ONCALL", "status INC-2026-0001 resolved Rolled back").await,
            "INC-2026-0001 is RESOLVED (resolved)."
        );
        assert_eq!(says("U0ONCALL", "close INC-2026-0001").await, "INC-2026-0001 is CLOSED (closed).");
        let shown = workspace.world.get("viewer", "incidents/INC-2026-0001").await.ok(200);
        assert_eq!((&shown["severity"], &shown["state"]), (&json!("P3"), &json!("CLOSED")));
        assert_eq!(shown["responders"][0]["principalId"], "viewer");
    }
}

#[tokio::test]
async fn incident_is_led_by_typing() {
    let workspace = Workspace::new(By::Http).await;
    let says = async |user: &str, text: &str| workspace.types(user, text, "").await;
    assert_eq!(says("U0VIEWER", "list").await, "No incident is open.");
    says("U0OPERATOR", "declare P2 Checkout fails").await;
    says("U0ONCALL", "status INC-2026-0001 open").await;
    says("U0OPERATOR", "assign INC-2026-0001 commander operator").await;
    assert_eq!(says("U0VIEWER", "list").await, "INC-2026-0001: P2 OPEN, operator commands: Checkout fails");
    assert!(says("U0VIEWER", "status INC-2026-0001").await.contains("Commander: operator"));
    assert!(says("U0OPERATOR", "update --public We know it").await.contains("name the incident"));
    assert_eq!(
        says("U0OPERATOR", "update INC-2026-0001 We are rolling back").await,
        "INC-2026-0001: The update is on its way."
    );
    assert!(
        says("U0OPERATOR", "remediate INC-2026-0001 none.md").await.contains("there is no runbook none.md")
    );
    assert_eq!(
        says("U0OPERATOR", "remediate INC-2026-0001 rollback.md 2.4.1 is bad").await,
        "INC-2026-0001: The remediation is proposed: it runs once it is approved."
    );
    assert!(says("U0OPERATOR", "stop INC-2026-0001").await.contains("nothing is running"));
    assert!(says("U0VIEWER", "close-out INC-2026-0001 done").await.contains("this needs the role"));
    let begun = says("U0ONCALL", "close-out INC-2026-0001 Rolled back").await;
    assert!(
        begun.starts_with("The close-out of INC-2026-0001 has begun and waits for approval by"),
        "{begun}"
    );
    let started = workspace.world.outbox().await;
    let names: Vec<&str> = started.iter().map(|item| item.item.name.as_str()).collect();
    for expected in ["incident.remediate-INC-2026-0001", "incident.close-out-INC-2026-0001"] {
        assert!(names.iter().any(|name| name.starts_with(expected)), "{names:?}");
    }
}

#[tokio::test]
async fn whoever_declares_is_led_to_the_channel_once_there_is_one() {
    let workspace = Workspace::new(By::Http).await;
    let said = workspace.types("U0OPERATOR", "declare P2 Checkout fails", "").await;
    assert_eq!(said, "INC-2026-0001 is declared.");
    let channel = workspace.channel("inc-2026-0001").await;
    workspace.world.linked("INC-2026-0001", "slackChannel", &channel).await;
    for _ in 0..200 {
        if workspace.told("U0OPERATOR").await == format!("INC-2026-0001 is worked on in <#{channel}>.") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("nobody led anybody: {}", workspace.told("U0OPERATOR").await);
}

#[tokio::test]
async fn channel_ends_what_it_follows_by_typing() {
    let workspace = Workspace::new(By::Http).await;
    let world = &workspace.world;
    let channel = workspace.channel("status").await;
    for (subject, place) in
        [("severity:P1", channel.as_str()), ("service:checkout", &channel), ("all", "C0OTHER")]
    {
        let body = json!({ "subject": subject, "channel": place });
        world.post("operator", "subscriptions", body).await.ok(201);
    }
    let says = async |user: &str| workspace.types(user, "unsubscribe", &channel).await;
    assert!(says("U0VIEWER").await.starts_with("This channel follows nothing that you may end."));
    assert_eq!(says("U0ONCALL").await, "This channel no longer follows incidents of checkout, P1 incidents.");
    assert!(says("U0ONCALL").await.starts_with("This channel follows nothing that you may end."));
    let left = world.get("operator", "subscriptions").await.ok(200);
    assert_eq!(left["subscriptions"].as_array().unwrap().len(), 1, "{left}");
    assert_eq!(left["subscriptions"][0]["channel"], "C0OTHER");
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let workspace = Workspace::new(By::Http).await;
    for (user, text, expected) in [
        ("U0STRANGER", "declare P2 Checkout fails", "nobody in the directory has this Slack account"),
        ("U0VIEWER", "declare P2 Checkout fails", "this needs the role incident-responder at least"),
        ("U0OPERATOR", "declare P9 Checkout fails", "severity"),
        ("U0OPERATOR", "status INC-2026-0009", "INC-2026-0009"),
        ("U0OPERATOR", "note It falls", "name the incident, such as INC-2026-0001"),
        ("U0OPERATOR", "launch", "there is no /incident launch"),
        ("U0OPERATOR", "help", "/incident declare P2"),
        (
            "U0OPERATOR",
            "--org acme declare P2 x",
            "there is no organisation \"acme\" that you have a role in",
        ),
        ("U0COMMANDER", "declare P2 Checkout fails", "roles in more than one organisation"),
        (
            "U0COMMANDER",
            "--org acme declare P2 Checkout fails",
            "this needs the role incident-responder at least",
        ),
    ] {
        let said = workspace.types(user, text, "").await;
        assert!(said.contains(expected), "{text}: {said}");
    }
    let incidents = workspace.world.get("viewer", "incidents").await.ok(200);
    assert_eq!(incidents["incidents"], json!([]));
}

#[tokio::test]
async fn shortcut_asks_in_a_form() {
    let workspace = Workspace::new(By::Http).await;
    workspace.did("shortcut", json!({ "callbackId": "incident-declare", "userId": "U0OPERATOR" })).await;
    let filled = json!({ "severity": "P2", "title": "Checkout fails" });
    let outcome = workspace.did("submit", json!({ "userId": "U0OPERATOR", "values": filled })).await;
    let said: Value = serde_json::from_str(outcome["body"].as_str().unwrap()).unwrap();
    assert_eq!(said["view"]["blocks"][0]["text"]["text"], "INC-2026-0001 is declared.");
    for (name, values, expected) in [
        (
            "incident-note",
            json!({ "incident": "inc-2026-0001", "text": "It falls" }),
            "The note is on record.",
        ),
        ("incident-status", json!({ "incident": "INC-2026-0001" }), "INC-2026-0001: P2 is PENDING"),
        ("incident-severity", json!({ "incident": "INC-2026-0001", "severity": "P1" }), "incident-commander"),
        ("incident-close", json!({ "incident": "INC-2026-0001" }), "Nothing was changed"),
    ] {
        workspace.did("shortcut", json!({ "callbackId": name, "userId": "U0OPERATOR" })).await;
        let outcome = workspace.did("submit", json!({ "userId": "U0OPERATOR", "values": values })).await;
        assert!(outcome["body"].as_str().unwrap().contains(expected), "{name}: {outcome}");
    }
    workspace.did("shortcut", json!({ "callbackId": "incident-close", "userId": "U0OPERATOR" })).await;
    let wrong = json!({ "userId": "U0OPERATOR", "values": { "incident": "the one" } });
    let outcome = workspace.did("submit", wrong).await;
    let said: Value = serde_json::from_str(outcome["body"].as_str().unwrap()).unwrap();
    assert_eq!(said["errors"]["incident"], "An id such as INC-2026-0001.");
}

#[tokio::test]
async fn incident_without_a_word_opens_the_form_with_the_services_of_the_catalog() {
    for by in [By::Http, By::Socket] {
        let workspace = Workspace::new(by).await;
        let service = json!({ "id": "svc-checkout", "name": "Checkout" });
        workspace.world.post("deployer", "services", service).await.ok(201);
        let outcome = workspace.did("command", json!({ "userId": "U0OPERATOR", "text": " " })).await;
        assert_eq!(outcome["body"], "", "the form is the answer");
        let form = workspace.form("U0OPERATOR").await;
        assert!(
            form["blocks"][0]["element"]["options"][0]["text"]["text"]
                .as_str()
                .unwrap()
                .starts_with("P1, critical")
        );
        assert_eq!(form["blocks"][2]["element"]["options"][0]["text"]["text"], "Checkout");
        let filled = json!({ "severity": "P2", "title": "Checkout fails", "service": "svc-checkout" });
        let outcome = workspace.did("submit", json!({ "userId": "U0OPERATOR", "values": filled })).await;
        assert!(outcome["body"].as_str().unwrap().contains("INC-2026-0001 is declared."), "{outcome}");
        let shown = workspace.world.get("viewer", "incidents/INC-2026-0001").await.ok(200);
        assert_eq!((&shown["serviceName"], &shown["severity"]), (&json!("svc-checkout"), &json!("P2")));
    }
    // Nothing to choose from, nothing asked; nobody we know, nobody's services.
    let workspace = Workspace::new(By::Http).await;
    workspace.did("command", json!({ "userId": "U0STRANGER", "text": "" })).await;
    assert_eq!(workspace.form("U0STRANGER").await["blocks"].as_array().unwrap().len(), 2);
    let filled = json!({ "severity": "P2", "title": "Checkout fails" });
    let outcome = workspace.did("submit", json!({ "userId": "U0STRANGER", "values": filled })).await;
    assert!(
        outcome["body"].as_str().unwrap().contains("nobody in the directory has this Slack account"),
        "{outcome}"
    );
}

#[tokio::test]
async fn who_does_what_and_what_waits_is_told_and_rejected_by_typing() {
    let workspace = Workspace::new(By::Http).await;
    let world = &workspace.world;
    let id = world.opened("P1").await;
    let says = async |user: &str, text: &str| workspace.types(user, text, "").await;
    assert_eq!(
        says("U0VIEWER", &format!("who {id}")).await,
        "Nobody commands: /incident assign commander @somebody"
    );
    assert_eq!(
        says("U0VIEWER", &format!("approve {id}")).await,
        format!("Nothing waits for a decision at {id}.")
    );
    assert_eq!(
        says("U0ONCALL", &format!("reject {id} no")).await,
        format!("Nothing waits for a decision at {id}.")
    );
    assert!(
        says("U0VIEWER", &format!("changes {id}"))
            .await
            .starts_with("Nothing that the catalog knows changed")
    );
    assert!(says("U0ONCALL", &format!("resume {id}")).await.contains("Nothing was changed"));
    world.gated(&id).await;
    says("U0ONCALL", &format!("assign {id} commander commander")).await;
    says("U0ONCALL", &format!("assign {id} scribe <@U0VIEWER>")).await;
    let who = says("U0VIEWER", &format!("who {id}")).await;
    let expected = [
        "Commander: commander",
        "scribe: viewer",
        "Waits for incident-commander or sre-oncall or incident-approver: Run",
    ];
    assert!(expected.iter().all(|part| who.contains(part)), "{who}");
    // A line shows nothing of what it would approve, so it approves nothing.
    let said = says("U0COMMANDER", &format!("--org default approve {id} yes")).await;
    assert!(said.starts_with("Run rollback.md\nIt is approved where all of it is shown"), "{said}");
    assert!(world.decisions(&id).await.is_empty());
    let refused = says("U0VIEWER", &format!("reject {id} I may not")).await;
    assert!(refused.contains("missing-role"), "{refused}");
    assert_eq!(says("U0ONCALL", &format!("reject {id} Not now")).await, "Rejected: Run rollback.md");
    let decided = world.decisions(&id).await;
    let last = decided.last().unwrap();
    assert_eq!((&last["approver"], &last["reason"]), (&json!("oncall"), &json!("Not now")));
    let said = says("U0OPERATOR", &format!("review {id} impact Nobody could pay")).await;
    assert!(said.starts_with("That is in the review."), "{said}");
    let said = says("U0OPERATOR", &format!("follow-up {id} <@U0VIEWER> Alert on the pool")).await;
    assert!(
        said.ends_with("-1 is viewer's: Alert on the pool")
            || said.contains(" is viewer's: Alert on the pool"),
        "{said}"
    );
    let listed = world.get("viewer", "follow-ups").await.ok(200);
    assert_eq!(listed["followUps"][0]["action"], "Alert on the pool");
}

#[tokio::test]
async fn incident_is_led_by_the_buttons_of_its_first_message() {
    let workspace = Workspace::new(By::Http).await;
    let world = &workspace.world;
    let id = world.opened("P2").await;
    let channel = workspace.channel("inc-2026-0001").await;
    let value = json!({ "org": "default", "incidentId": id });
    let service = json!({ "id": "svc-checkout", "name": "Checkout" });
    world.post("deployer", "services", service).await.ok(201);
    let all = ["lead-command", "lead-update", "lead-remediate", "lead-severity", "lead-close-out"];
    let ts = workspace.message(&channel, &all, &value).await;
    let click = async |user: &str, action: &str, values: Value| {
        let click = json!({ "messageTs": ts, "actionId": action, "userId": user, "values": values });
        workspace.did("click", click).await
    };
    click("U0ONCALL", "lead-command", json!({})).await;
    assert_eq!(workspace.told("U0ONCALL").await, format!("You command {id}."));
    assert_eq!(world.get("viewer", &format!("incidents/{id}")).await.ok(200)["commander"], "oncall");
    click("U0VIEWER", "lead-command", json!({})).await;
    assert!(workspace.told("U0VIEWER").await.contains("This did not count"), "a viewer commands nothing");
    let said = |outcome: &Value| outcome["form"]["body"].as_str().unwrap_or_default().to_owned();
    let sent =
        click("U0ONCALL", "lead-update", json!({ "message": "We are rolling back", "whom": "channel" }))
            .await;
    assert!(said(&sent).contains("The update is on its way."), "{sent}");
    let changed =
        click("U0MANAGER", "lead-severity", json!({ "severity": "P1", "reason": "All regions" })).await;
    assert!(said(&changed).contains("The severity is changed."), "{changed}");
    let wrong = json!({ "runbook": "rollback.md", "inputs": "SERVICE checkout" });
    let wrong = click("U0OPERATOR", "lead-remediate", wrong).await;
    assert!(said(&wrong).contains("Each line is NAME=value"), "{wrong}");
    let values = json!({ "runbook": "rollback.md", "inputs": "SERVICE=svc-checkout", "why": "2.4.1 is bad" });
    let proposed = click("U0OPERATOR", "lead-remediate", values).await;
    assert!(said(&proposed).contains("The remediation is proposed"), "{proposed}");
    let refused = click("U0VIEWER", "lead-close-out", json!({ "summary": "Done" })).await;
    assert!(said(&refused).contains("this needs the role"), "{refused}");
    let begun = click("U0ONCALL", "lead-close-out", json!({ "summary": "Rolled back" })).await;
    assert!(said(&begun).contains("has begun and waits for approval by"), "{begun}");
}

#[tokio::test]
async fn incident_is_declared_and_led_on_slacks_page() {
    let workspace = Workspace::new(By::Http).await;
    let world = &workspace.world;
    let user = ("userId", "U0OPERATOR");
    let page = workspace.sends("type", &[user, ("text", "/incident"), ("channelId", "")]).await;
    assert!(page.contains("<h2>Declare an incident</h2>") && page.contains("P1, critical"), "{page}");
    let view = workspace.form("U0OPERATOR").await["id"].as_str().unwrap().to_owned();
    let view = ("viewId", view.as_str());
    let page =
        workspace.sends("fill", &[user, view, ("severity", "P2"), ("title", "Checkout <b> fails")]).await;
    assert!(page.contains("INC-2026-0001 is declared."), "{page}");
    assert!(!page.contains("<form class=\"modal\""), "the form is gone");
    let page = workspace.sends("type", &[user, ("text", "list"), ("channelId", "")]).await;
    assert!(page.contains("Outside of any channel") && page.contains("Checkout &lt;b&gt; fails"), "{page}");
    let channel = workspace.channel("inc-2026-0001").await;
    world.linked("INC-2026-0001", "slackChannel", &channel).await;
    let value = json!({ "org": "default", "incidentId": "INC-2026-0001" });
    let ts = workspace.message(&channel, &["lead-severity"], &value).await;
    let press = [("userId", "U0MANAGER"), ("messageTs", ts.as_str()), ("actionId", "lead-severity")];
    assert!(workspace.sends("press", &press).await.contains("<h2>Change the severity</h2>"));
    let form = workspace.form("U0MANAGER").await;
    let user = ("userId", "U0MANAGER");
    let view = ("viewId", form["id"].as_str().unwrap());
    let page = workspace.sends("fill", &[user, view, ("close", "1")]).await;
    assert!(!page.contains("<form class=\"modal\""), "put away");
    let shown = world.get("viewer", "incidents/INC-2026-0001").await.ok(200);
    assert_eq!(shown["severity"], "P2");
    // In the incident's channel its id is left out.
    let typed = [user, ("text", "severity P1 All of it"), ("channelId", channel.as_str())];
    assert!(workspace.sends("type", &typed).await.contains("The severity is changed."));
}

#[tokio::test]
async fn message_becomes_a_note_of_its_channels_incident() {
    let workspace = Workspace::new(By::Http).await;
    let world = &workspace.world;
    let id = world.opened("P2").await;
    let elsewhere = workspace.channel("random").await;
    let ts = workspace.message(&elsewhere, &["open"], &json!({})).await;
    let note = async |user: &str, ts: &str| {
        workspace
            .did("shortcut", json!({ "callbackId": "message-note", "userId": user, "messageTs": ts }))
            .await;
        workspace.told(user).await
    };
    assert!(note("U0OPERATOR", &ts).await.contains("this is no incident's channel"));
    let channel = workspace.channel("inc-2026-0001").await;
    world.linked(&id, "slackChannel", &channel).await;
    let ts = workspace.message(&channel, &["open"], &json!({})).await;
    assert!(note("U0VIEWER", &ts).await.contains("The note is on record."));
    let events = world.get("viewer", &format!("incidents/{id}/events")).await.ok(200);
    let notes: Vec<&Value> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["kind"] == "INCIDENT_NOTE_ADDED")
        .collect();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0]["actor"], "viewer");
    assert!(notes[0]["payload"]["note"].to_string().contains("in Slack: Run rollback.md"), "{}", notes[0]);
}

#[tokio::test]
async fn envelope_that_comes_twice_is_one_request_and_a_new_socket_replaces_the_old() {
    let workspace = Workspace::new(By::Socket).await;
    let id = workspace.world.declared("P3").await;
    let notes = async || {
        let events = workspace.world.get("viewer", &format!("incidents/{id}/events")).await.ok(200);
        let events = events["events"].as_array().unwrap().clone();
        events.iter().filter(|event| event["kind"] == "INCIDENT_NOTE_ADDED").count()
    };
    workspace.types("U0VIEWER", &format!("note {id} one"), "").await;
    workspace.does("sockets", json!({ "repeat": true })).await;
    workspace.types("U0VIEWER", &format!("note {id} two"), "").await;
    assert_eq!(notes().await, 2);
    // Slack asks for fresh connections: they are there before the old ones go.
    workspace.does("sockets", json!({ "disconnect": true })).await;
    workspace.until(json!({}), |answer| answer["connected"] == 4).await;
    workspace.types("U0VIEWER", &format!("note {id} three"), "").await;
    assert_eq!(notes().await, 3);
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

async fn deliver(world: &World, path: &str, body: &str, offset: i64, secret: &str) -> Reply {
    let timestamp = (Timestamp::now().as_second() + offset).to_string();
    let signature = signature::sign(&secret.into(), &timestamp, body.as_bytes());
    let request = Request::post(path)
        .header("X-Slack-Request-Timestamp", timestamp)
        .header("X-Slack-Signature", signature);
    world.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn command_is_slacks_own_and_happens_once_by_its_trigger() {
    let world = World::new().await;
    let typed = |text: &str| {
        form(&[("command", "/incident"), ("text", text), ("user_id", "U0OPERATOR"), ("trigger_id", "1.2.x")])
    };
    let body = typed("declare P3 Checkout fails");
    deliver(&world, "/slack/commands", &body, 0, "another secret").await.problem(401);
    deliver(&world, "/slack/commands", &body, -301, SIGNING_SECRET).await.problem(401);
    // Another signature, the same trigger: the same declaration.
    for offset in [0, 1] {
        let reply = deliver(&world, "/slack/commands", &body, offset, SIGNING_SECRET).await.ok(200);
        assert_eq!(reply["text"], "INC-2026-0001 is declared.");
    }
    deliver(&world, "/slack/commands", &body, 1, SIGNING_SECRET).await.problem(401);
    let other = deliver(&world, "/slack/commands", &typed("declare P3 Login fails"), 2, SIGNING_SECRET).await;
    let text = other.ok(200)["text"].as_str().unwrap().to_owned();
    assert!(
        text.starts_with("Nothing was changed: this Idempotency-Key was used for another request"),
        "{text}"
    );
    deliver(&world, "/slack/commands", "text=help", 0, SIGNING_SECRET).await.problem(400);
    let check = deliver(&world, "/slack/commands", &form(&[("ssl_check", "1")]), 0, SIGNING_SECRET).await;
    assert_eq!((check.status, check.text.as_str()), (200, ""));
    // Slack does not sign this question.
    for path in ["/slack/commands", "/slack/interactions"] {
        let unsigned = async |body: String| {
            let request = Request::post(path).header("Content-Type", "application/x-www-form-urlencoded");
            world.send(request.body(Body::from(body)).unwrap()).await
        };
        let check = unsigned(form(&[("ssl_check", "1"), ("token", "x")])).await;
        assert_eq!((check.status, check.text.as_str()), (200, ""));
        unsigned(form(&[("ssl_check", "0")])).await.problem(401);
        unsigned(typed("declare P1 Checkout fails")).await.problem(401);
    }
    assert_eq!(world.get("viewer", "incidents").await.ok(200)["incidents"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn address_for_events_answers_slacks_question() {
    let world = World::new().await;
    let asked = json!({ "type": "url_verification", "challenge": "3eZbrw1aB", "token": "x" }).to_string();
    let reply = deliver(&world, "/slack/events", &asked, 0, SIGNING_SECRET).await.ok(200);
    assert_eq!(reply["challenge"], "3eZbrw1aB");
    deliver(&world, "/slack/events", &asked, 0, "another secret").await.problem(401);
    let other = deliver(&world, "/slack/events", r#"{"type":"event_callback"}"#, 0, SIGNING_SECRET).await;
    assert_eq!((other.status, other.text.as_str()), (200, ""));
    deliver(&world, "/slack/events", "{", 0, SIGNING_SECRET).await.problem(400);
}
