//! What people record while they lead an incident, and follow-ups across incidents.

use serde_json::{Value, json};

use crate::{pages::Visitor, world::World};

async fn opened(world: &World) -> String {
    let body = json!({ "title": "Checkout fails", "severity": "P2", "serviceName": "checkout" });
    let made = world.post("operator", "incidents", body).await.ok(201);
    let id = made["incidentId"].as_str().unwrap().to_owned();
    world.post("oncall", &format!("incidents/{id}/status"), json!({ "state": "OPEN" })).await.ok(200);
    id
}

#[tokio::test]
async fn times_are_said_and_corrected() {
    let world = World::new().await;
    let id = opened(&world).await;
    let times = format!("incidents/{id}/times");
    let first = json!({ "moment": "impactStarted", "at": "2026-01-31T10:42:00Z" });
    world.post("oncall", &times, first.clone()).await.ok(200);
    assert_eq!(world.post("oncall", &times, first).await.ok(200)["answer"], "unchanged");
    let again = json!({ "moment": "impact-started", "at": "2026-01-31T10:40:00+00:00" });
    assert!(world.post("oncall", &times, again.clone()).await.problem(422).contains("needs a reason"));
    let mut corrected = again;
    corrected["reason"] = json!("as the graphs say");
    world.post("oncall", &times, corrected).await.ok(200);
    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!(shown["times"]["impactStarted"]["at"], "2026-01-31T10:40:00Z", "{shown}");
    assert_eq!(shown["times"]["impactStarted"]["by"], "oncall");
    for (body, expected) in [
        (json!({ "moment": "impact", "at": "2026-01-31T10:42:00Z" }), "no moment"),
        (json!({ "moment": "detected", "at": "10:42" }), "a time with its zone"),
        (json!({ "moment": "detected", "at": "2999-01-31T10:42:00Z" }), "in the past"),
    ] {
        let detail = world.post("oncall", &times, body).await.problem(422);
        assert!(detail.contains(expected), "{detail}");
    }
    world.post("viewer", &times, json!({})).await.problem(403);
}

#[tokio::test]
async fn update_begins_as_a_template_and_its_record_says_which() {
    let world = World::new().await;
    let id = opened(&world).await;
    let path = format!("incidents/{id}/update-templates");
    let found = world.get("oncall", &path).await.ok(200);
    let drafts: Vec<(&str, bool, &str)> = found["templates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap();
            (text("name"), one["public"] == true, text("message"))
        })
        .collect();
    let internal = format!("{id}: Checkout fails. nobody yet leads.");
    assert_eq!(
        drafts,
        [
            ("public-investigating", true, "A problem with checkout."),
            ("investigating", false, internal.as_str()),
        ],
        "the most specific first"
    );
    world.get("viewer", &path).await.problem(403);

    let update = format!("incidents/{id}/update");
    let body = json!({ "message": internal, "template": "investigating" });
    world.post("oncall", &update, body).await.ok(200);
    let events = world.get("viewer", &format!("incidents/{id}/events")).await.ok(200);
    let last = events["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last["payload"]["template"], "investigating@3", "{last}");
    for (body, expected) in [
        (json!({ "template": "investigating" }), "send the text"),
        (json!({ "message": "x", "template": "nothing" }), "use public-investigating, investigating"),
    ] {
        let detail = world.post("oncall", &update, body).await.problem(422);
        assert!(detail.contains(expected), "{detail}");
    }
    let page = Visitor::new(&world, "oncall").await.page(&format!("/orgs/default/incidents/{id}")).await;
    assert!(page.contains("data-text=\"A problem with checkout.\" data-public"), "{page}");
}

#[tokio::test]
async fn related_incidents_say_so_at_both_and_what_is_back_brings_what_was_known() {
    let world = World::new().await;
    let first = opened(&world).await;
    let resolution =
        json!({ "state": "RESOLVED", "resolution": { "summary": "rolled back", "type": "FIXED" } });
    drop(world.post("oncall", &format!("incidents/{first}/status"), resolution).await);
    let back = world.post("operator", "incidents", json!({ "recurrenceOf": first })).await.ok(201);
    let back = back["incidentId"].as_str().unwrap().to_owned();
    let shown = world.get("viewer", &format!("incidents/{back}")).await.ok(200);
    assert_eq!(
        (&shown["title"], &shown["severity"], &shown["serviceName"]),
        (&json!("Checkout fails"), &json!("P2"), &json!("checkout"))
    );
    assert_eq!(shown["relations"][0]["relation"], "recurrence-of");
    let before = world.get("viewer", &format!("incidents/{first}")).await.ok(200);
    assert_eq!(
        (&before["relations"][0]["relation"], &before["relations"][0]["incidentId"]),
        (&json!("recurred-as"), &json!(back))
    );

    let relations = format!("incidents/{back}/relations");
    let other = opened(&world).await;
    let caused = json!({ "relation": "caused-by", "incidentId": other, "reason": "same deployment" });
    world.post("oncall", &relations, caused.clone()).await.ok(200);
    assert_eq!(
        world.get("viewer", &format!("incidents/{other}")).await.ok(200)["relations"][0]["relation"],
        "cause-of"
    );
    let mut removed = caused;
    removed["remove"] = json!(true);
    world.post("oncall", &relations, removed).await.ok(200);
    assert_eq!(world.get("viewer", &format!("incidents/{other}")).await.ok(200)["relations"], json!([]));
    for (body, status, expected) in [
        (json!({ "relation": "sibling", "incidentId": other }), 422, "no relation"),
        (json!({ "relation": "related", "incidentId": back }), 422, "itself"),
        (json!({ "relation": "related", "incidentId": "INC-2020-0001" }), 404, "INC-2020-0001"),
    ] {
        let detail = world.post("oncall", &relations, body).await.problem(status);
        assert!(detail.contains(expected), "{detail}");
    }
}

#[tokio::test]
async fn help_is_called_level_by_level() {
    let world = World::new().await;
    let id = opened(&world).await;
    let escalate = format!("incidents/{id}/escalate");
    assert!(world.post("oncall", &escalate, json!({})).await.problem(422).contains("what help"));
    let called = world.post("oncall", &escalate, json!({ "reason": "we are stuck" })).await.ok(200);
    assert_eq!(called["workflowId"].as_str().is_some(), called.get("workflowId").is_some());
    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!((&shown["escalated"], &shown["escalationLevel"]), (&json!(true), &json!(2)));
    let acts: Vec<Value> =
        world.outbox().await.into_iter().map(|one| one.item.payload["input"]["act"].clone()).collect();
    let act = acts.iter().find(|act| act["kind"] == "escalation" || act["escalation"].is_object());
    assert!(act.is_some(), "{acts:?}");
    world.post("oncall", &escalate, json!({ "reason": "still" })).await.ok(200);
    assert!(
        world
            .post("oncall", &escalate, json!({ "reason": "more" }))
            .await
            .problem(409)
            .contains("nobody stands above")
    );
    world.post("oncall", &escalate, json!({ "clear": true })).await.ok(200);
    assert_eq!(world.get("viewer", &format!("incidents/{id}")).await.ok(200)["escalated"], false);
}

#[tokio::test]
async fn duties_of_those_who_have_a_role_are_ticked() {
    let world = World::new().await;
    let id = opened(&world).await;
    world
        .post(
            "oncall",
            &format!("incidents/{id}/responders"),
            json!({ "role": "scribe", "principalId": "oncall" }),
        )
        .await
        .ok(200);
    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    let duty = shown["duties"][0].clone();
    assert_eq!((&duty["role"], &duty["done"]), (&json!("scribe"), &json!(false)));
    let tick = json!({ "role": "scribe", "duty": duty["duty"] });
    world.post("oncall", &format!("incidents/{id}/duties"), tick).await.ok(200);
    assert_eq!(world.get("viewer", &format!("incidents/{id}")).await.ok(200)["duties"][0]["done"], true);
    let unknown = json!({ "role": "scribe", "duty": "make coffee" });
    assert!(
        world
            .post("oncall", &format!("incidents/{id}/duties"), unknown)
            .await
            .problem(422)
            .contains("no duty")
    );
}

#[tokio::test]
async fn follow_ups_are_listed_across_incidents_and_change_on_record() {
    let world = World::new().await;
    let (one, two) = (opened(&world).await, opened(&world).await);
    let add = |incident: &str, action: &str, owner: &str, due: &str| json!({ "incidentId": incident, "action": action, "owner": owner, "due": due, "priority": "high" });
    let late =
        world.post("oncall", "follow-ups", add(&one, "Add an alert", "viewer", "2020-01-31")).await.ok(201);
    world.post("oncall", "follow-ups", add(&two, "Write a runbook", "team-db", "2999-01-31")).await.ok(201);
    let id = late["id"].as_str().unwrap();
    assert_eq!((&late["state"], &late["overdue"]), (&json!("open"), &json!(true)));
    let listed = world.get("viewer", "follow-ups").await.ok(200);
    assert_eq!((listed["total"].as_u64(), &listed["followUps"][0]["id"]), (Some(2), &json!(id)));
    assert_eq!(world.get("viewer", "follow-ups?overdue=true").await.ok(200)["total"], 1);
    assert_eq!(world.get("viewer", "follow-ups?owner=team-db").await.ok(200)["total"], 1);
    assert_eq!(world.get("viewer", &format!("follow-ups?incidentId={two}")).await.ok(200)["total"], 1);
    let path = format!("follow-ups/{id}");
    // Whoever owns it says what became of it.
    let done = world.post("viewer", &path, json!({ "state": "done" })).await.ok(200);
    assert_eq!((&done["state"], &done["overdue"]), (&json!("done"), &json!(false)));
    assert!(
        world.post("oncall", &path, json!({ "state": "open" })).await.problem(422).contains("needs a reason")
    );
    let open = world
        .post("oncall", &path, json!({ "state": "open", "reason": "it never fires", "owner": "oncall" }))
        .await
        .ok(200);
    assert_eq!(
        (&open["owner"], &open["comments"], &open["lastComment"]),
        (&json!("oncall"), &json!(1), &json!("it never fires"))
    );
    world.post("viewer", &path, json!({ "state": "done" })).await.problem(403);
    let linked = json!({ "system": "jira", "ticket": "OPS-7", "url": "https://jira.example/OPS-7" });
    assert_eq!(world.post("oncall", &path, linked).await.ok(200)["ticket"], "OPS-7");
    assert_eq!(world.get("viewer", "follow-ups?state=done").await.ok(200)["total"], 0);
    for (method_path, body, status, expected) in [
        ("follow-ups", add("INC-2020-0001", "x", "y", ""), 404, "INC-2020-0001"),
        ("follow-ups", add(&one, "x", "", ""), 422, "owner"),
        ("follow-ups", add(&one, " ", "y", ""), 422, "action"),
        ("follow-ups", add(&one, "x", "y", "soon"), 422, "a day such as"),
        ("follow-ups/INC-1", json!({}), 400, "is no follow-up"),
        (path.as_str(), json!({ "url": "javascript:alert(1)" }), 422, "https://"),
        (path.as_str(), json!({ "priority": "urgent" }), 422, "high, medium, low"),
        (path.as_str(), json!({ "state": "finished" }), 422, "open, done or dropped"),
    ] {
        let detail = world.post("oncall", method_path, body).await.problem(status);
        assert!(detail.contains(expected), "{detail}");
    }
    world.get("viewer", &format!("follow-ups/{one}-999")).await.problem(404);
}

/// What somebody who is not named is answered at every door about an incident: the same as about none.
#[tokio::test]
async fn who_is_not_named_learns_nothing_of_a_private_incident() {
    let world = World::new().await;
    let public = opened(&world).await;
    let body = json!({ "title": "Keys are in a public bucket", "severity": "P1", "serviceName": "vault", "privateTo": ["oncall"] });
    let id =
        world.post("operator", "incidents", body).await.ok(201)["incidentId"].as_str().unwrap().to_owned();
    world.post("oncall", &format!("incidents/{id}/status"), json!({ "state": "OPEN" })).await.ok(200);
    let item = json!({ "incidentId": id, "action": "Rotate them", "owner": "oncall" });
    let follow_up = world.post("oncall", "follow-ups", item).await.ok(201)["id"].as_str().unwrap().to_owned();
    // Who is named sees it, and so does an administrator.
    for somebody in ["operator", "oncall", "admin"] {
        let shown = world.get(somebody, &format!("incidents/{id}")).await.ok(200);
        assert_eq!(shown["private"], true, "{somebody}");
        assert_eq!(world.get(somebody, "incidents").await.ok(200)["incidents"].as_array().unwrap().len(), 2);
    }
    let absent = "INC-2020-0001";
    let same = |text: &str| text.replace(&id, "ID").replace(absent, "ID");
    for path in [
        "",
        "/events",
        "/timeline",
        "/changes",
        "/review",
        "/similar",
        "/stream",
        "/output",
        "/output/stream",
        "/output/1",
    ] {
        let reply = world.get("viewer", &format!("incidents/{id}{path}")).await;
        let none = world.get("viewer", &format!("incidents/{absent}{path}")).await;
        assert_eq!(same(&reply.problem(404)), same(&none.problem(404)), "{path}");
    }
    for path in [
        "actions",
        "cancel",
        "close",
        "close-out",
        "duties",
        "escalate",
        "notes",
        "post-mortem",
        "private",
        "redact",
        "relations",
        "remediate",
        "responders",
        "resume",
        "retry",
        "review",
        "severity",
        "sign-off",
        "signals",
        "slo-violations",
        "status",
        "stop",
        "tags",
        "tickets",
        "times",
        "timeline",
        "update",
        "verify",
    ] {
        let reply = world.post("commander", &format!("incidents/{id}/{path}"), json!({})).await;
        let none = world.post("commander", &format!("incidents/{absent}/{path}"), json!({})).await;
        assert_eq!(same(&reply.problem(404)), same(&none.problem(404)), "{path}");
    }
    world.get("viewer", &format!("follow-ups/{follow_up}")).await.problem(404);
    let relate = json!({ "relation": "related", "incidentId": id });
    let relations = format!("incidents/{public}/relations");
    world.post("commander", &relations, relate.clone()).await.problem(404);
    // What everybody sees does not name it, whoever asks.
    assert!(world.post("oncall", &relations, relate).await.problem(409).contains("is private"));
    let here = json!({ "relation": "caused-by", "incidentId": public });
    world.post("oncall", &format!("incidents/{id}/relations"), here).await.ok(200);
    for path in [
        "incidents",
        "incidents?serviceName=vault",
        "incidents?searchQuery=bucket",
        "incidents?severity=P1",
        "follow-ups",
        "candidates",
        "approvals",
        "audit",
        "log/export",
        "log/verify",
        "log/replay",
        "log/checkpoint",
        "services",
    ] {
        let reply = world.get("viewer", path).await;
        for secret in [id.as_str(), "bucket", "Rotate", "vault"] {
            assert!(!reply.text.contains(secret), "{path} tells {secret}: {}", reply.text);
        }
    }
    let verified = world.get("viewer", "log/verify").await.ok(200);
    assert_eq!((&verified["incidents"], &verified["verified"]), (&json!(1), &json!(true)), "{verified}");
    assert_eq!(world.get("admin", "log/verify").await.ok(200)["incidents"], 2);
    // Everybody sees it again once somebody says so.
    world.post("oncall", &format!("incidents/{id}/private"), json!({ "private": false })).await.ok(200);
    world.get("viewer", &format!("incidents/{id}")).await.ok(200);
}

/// Corrections by chance, each a record of its own: figures as they were known before them do not move.
#[tokio::test]
async fn figures_as_of_yesterday_are_yesterdays_whatever_is_corrected_today() {
    let world = World::new().await;
    // The same chance in every run: a linear congruential generator with the constants of Numerical Recipes.
    let mut seed = 19_u32;
    let mut below = |most: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) as usize % most
    };
    let mut incidents = Vec::new();
    for _ in 0..4 {
        let body = json!({
            "title": "Checkout fails", "severity": "P2", "impactStartedAt": "2026-01-31T10:00:00Z",
            "detectedAt": "2026-01-31T10:07:00Z",
        });
        let made = world.post("operator", "incidents", body).await.ok(201);
        incidents.push(made["incidentId"].as_str().unwrap().to_owned());
    }
    let without_time = |mut figures: Value| {
        figures.as_object_mut().unwrap().remove("countedAt");
        figures.as_object_mut().unwrap().remove("byService");
        figures
    };
    let moments = ["impact-started", "detected", "acknowledged", "mitigated"];
    for round in 0..12 {
        let then = jiff::Timestamp::now();
        let path = format!("insights?asOf={then}");
        let known = without_time(world.get("viewer", &path).await.ok(200));
        if round == 0 {
            assert_eq!(known["bySeverity"][1]["medianSecondsToDetect"], 420, "{known}");
        }
        for _ in 0..1 + below(3) {
            let id = &incidents[below(incidents.len())];
            let minute = below(60);
            let body = json!({
                "moment": moments[below(moments.len())],
                "at": format!("2026-01-31T09:{minute:02}:00Z"), "reason": "as the graphs say",
            });
            world.post("oncall", &format!("incidents/{id}/times"), body).await.ok(200);
        }
        assert_eq!(without_time(world.get("viewer", &path).await.ok(200)), known, "round {round}");
    }
    let now = world.get("viewer", &format!("insights?asOf={}", jiff::Timestamp::now())).await.ok(200);
    assert_ne!(now["bySeverity"][1]["medianSecondsToDetect"], 420, "{now}");
    assert!(
        world.get("viewer", "insights?asOf=yesterday").await.problem(422).contains("a time with its zone")
    );
    // One incident as it was known: before its first correction.
    let first = &incidents[0];
    let created = world.get("viewer", &format!("incidents/{first}")).await.ok(200)["createdAt"].clone();
    let shown =
        world.get("viewer", &format!("incidents/{first}?asOf={}", created.as_str().unwrap())).await.ok(200);
    assert_eq!(
        (&shown["seq"], &shown["times"]["detected"]["at"]),
        (&json!(1), &json!("2026-01-31T10:07:00Z"))
    );
    world.get("viewer", &format!("incidents/{first}?asOf=2020-01-31T10:00:00Z")).await.problem(404);
}

#[tokio::test]
async fn pages_show_what_whoever_leads_needs_and_take_what_they_record() {
    let world = World::new().await;
    let id = opened(&world).await;
    let session = Visitor::new(&world, "oncall").await;
    let page = session.page(&format!("/orgs/default/incidents/{id}")).await;
    for expected in
        ["the next is due in", "Call for help", "Say when it was", "Relate to another", "Make it private"]
    {
        assert!(page.contains(expected), "{expected}");
    }
    for (action, fields) in [
        ("times", "moment=impact-started&at=2026-01-31T10:42"),
        ("escalate", "reason=we+are+stuck"),
        ("private", "private=true&principals=oncall,+commander"),
    ] {
        let sent = session.form(&format!("/orgs/default/incidents/{id}/do/{action}"), fields).await;
        assert_eq!(sent.status, 303, "{action}: {}", sent.text);
    }
    let shown = world.get("oncall", &format!("incidents/{id}")).await.ok(200);
    assert_eq!(shown["times"]["impactStarted"]["at"], "2026-01-31T10:42:00Z", "{shown}");
    assert_eq!(
        (&shown["escalationLevel"], &shown["privateTo"]),
        (&json!(2), &json!(["commander", "oncall"]))
    );
    let page = session.page(&format!("/orgs/default/incidents/{id}")).await;
    for expected in ["PRIVATE", "ESCALATED", "2026-01-31 10:42", "No more help is needed"] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    let item = json!({ "incidentId": id, "action": "Add an alert", "owner": "oncall", "due": "2020-01-31" });
    let follow_up = world.post("oncall", "follow-ups", item).await.ok(201)["id"].as_str().unwrap().to_owned();
    assert!(session.page("/orgs/default/follow-ups?view=overdue").await.contains("Add an alert"));
    let sent = session.form(&format!("/orgs/default/follow-ups/{follow_up}"), "state=done").await;
    assert_eq!(sent.status, 303, "{}", sent.text);
    assert!(session.page("/orgs/default/follow-ups?view=done").await.contains("Add an alert"));
    let again = session.page(&format!("/orgs/default/incidents/new?recurrenceOf={id}")).await;
    assert!(again.contains("is back") && again.contains("Checkout fails"), "{again}");
    assert!(session.page("/orgs/default/insights").await.contains("Insights"));
}

#[tokio::test]
async fn incidents_alike_are_shown_with_what_they_have_in_common() {
    let world = World::new().await;
    let before = opened(&world).await;
    let hidden =
        json!({ "title": "Checkout fails", "severity": "P2", "serviceName": "checkout", "privateTo": [] });
    let hidden = world.post("operator", "incidents", hidden).await.ok(201)["incidentId"].clone();
    let now = json!({ "title": "Checkout fails again", "severity": "P1", "serviceName": "checkout" });
    let now =
        world.post("operator", "incidents", now).await.ok(201)["incidentId"].as_str().unwrap().to_owned();
    let found = world.get("viewer", &format!("incidents/{now}/similar")).await.ok(200);
    let similar = found["similar"].as_array().unwrap();
    assert_eq!(similar.len(), 1, "what is hidden is like nothing: {hidden} {found}");
    assert_eq!(
        (&similar[0]["incidentId"], &similar[0]["shared"][0]["what"]),
        (&json!(before), &json!("service checkout"))
    );
}
