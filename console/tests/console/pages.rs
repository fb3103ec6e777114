//! The pages: who gets in, what is offered to whom, and what a form that was not meant comes to.

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use serde_json::json;

use crate::world::{DIGEST, Reply, World, encoded};

const HOST: &str = "localhost:8088";
const ORIGIN: &str = "http://localhost:8088";

/// Somebody at a browser.
pub(crate) struct Visitor<'a> {
    world: &'a World,
    cookie: String,
}

impl<'a> Visitor<'a> {
    /// Signs in with a token.
    pub(crate) async fn new(world: &'a World, who: &str) -> Self {
        let reply = send_form(world, "/sign-in", "", ORIGIN, &format!("token=token-{who}&next=/")).await;
        assert_eq!(reply.status, 303, "{}", reply.text);
        let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
        Self { world, cookie }
    }

    pub(crate) async fn open(&self, path: &str) -> Reply {
        let request = Request::get(path).header(header::HOST, HOST).header(header::COOKIE, &self.cookie);
        self.world.send(request.body(Body::empty()).unwrap()).await
    }

    /// A page that must be there.
    pub(crate) async fn page(&self, path: &str) -> String {
        let reply = self.open(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        reply.text
    }

    pub(crate) async fn csrf(&self) -> String {
        let page = self.page("/orgs/default/log").await;
        page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    /// Sends a form as the page would.
    pub(crate) async fn form(&self, path: &str, fields: &str) -> Reply {
        let fields = format!("csrf={}&{fields}", self.csrf().await);
        send_form(self.world, path, &self.cookie, ORIGIN, &fields).await
    }
}

async fn send_form(world: &World, path: &str, cookie: &str, origin: &str, fields: &str) -> Reply {
    let mut request = Request::post(path)
        .header(header::HOST, HOST)
        .header(header::COOKIE, cookie)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if !origin.is_empty() {
        request = request.header(header::ORIGIN, origin);
    }
    world.send(request.body(Body::from(fields.to_owned())).unwrap()).await
}

#[tokio::test]
async fn token_signs_in_and_signing_out_ends_the_session() {
    let world = World::new().await;
    let wrong = send_form(&world, "/sign-in", "", ORIGIN, "token=nobodys").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.text.contains("Nobody in the directory has this token"));
    let foreign = send_form(&world, "/sign-in", "", "https://evil.example", "token=token-viewer").await;
    assert_eq!(foreign.status, 403, "a foreign page signs nobody in");

    let viewer = Visitor::new(&world, "viewer").await;
    assert!(viewer.page("/orgs/default/incidents").await.contains("No incidents yet"));
    let out = viewer.form("/sign-out", "").await;
    assert_eq!(out.status, 303);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    // The cookie itself is worth nothing any more.
    let after = viewer.open("/orgs/default/incidents").await;
    assert_eq!(after.status, 401);
    assert!(
        after.text.contains("name=\"token\"") && after.text.contains("value=\"/orgs/default/incidents\"")
    );
}

#[tokio::test]
async fn form_of_an_old_page_keeps_its_text_and_says_what_changed() {
    let world = World::new().await;
    let id = world.opened("P3").await;
    let oncall = Visitor::new(&world, "oncall").await;
    let page = format!("/orgs/default/incidents/{id}");
    assert!(oncall.page(&page).await.contains("<input type=\"hidden\" name=\"seq\" value=\"2\">"));
    let note = json!({ "note": "Still <b>failing" });
    world.post("operator", &format!("incidents/{id}/notes"), note).await.ok(200);
    let close_out =
        "key=k1&seq=2&resolutionType=FALSE_POSITIVE&resolutionSummary=An+alarm%0Aof+%3Ci%3E+the+past";
    let kept = oncall.form(&format!("{page}/do/close-out"), close_out).await;
    assert_eq!(kept.status, 412, "{}", kept.text);
    for part in [
        "The incident changed since you loaded it",
        ">operator<",
        "An alarm\nof &#60;i&#62; the past</textarea>",
        "name=\"resolutionType\" value=\"FALSE_POSITIVE\"",
        "name=\"key\" value=\"k1\"",
        "name=\"seq\" value=\"3\"",
        &format!("action=\"{page}/do/close-out\""),
    ] {
        assert!(kept.text.contains(part), "{part} in {}", kept.text);
    }
    assert!(!kept.text.contains("<b>") && !kept.text.contains("<i>"));
    let sent = oncall.form(&format!("{page}/do/close-out"), &close_out.replace("seq=2", "seq=3")).await;
    assert_eq!(sent.status, 303, "{}", sent.text);
    // A note adds; it depends on nothing that was seen.
    let shown = oncall.page(&page).await;
    let notes = shown.split("do/notes\">").nth(1).unwrap().split("</form>").next().unwrap();
    assert!(!notes.contains("name=\"seq\""), "{notes}");
}

#[tokio::test]
async fn wrong_tokens_keep_nobody_out_who_has_a_good_one() {
    let world = World::new().await;
    let mut refused = 0;
    for _ in 0..200 {
        let wrong = send_form(&world, "/sign-in", "", ORIGIN, "token=nobodys").await;
        refused += usize::from(wrong.status == 429);
        if refused == 10 {
            break;
        }
    }
    assert_eq!(refused, 10, "who guesses is slowed down");
    let good = send_form(&world, "/sign-in", "", ORIGIN, "token=token-viewer&next=/").await;
    assert_eq!(good.status, 303, "{}", good.text);
}

#[tokio::test]
async fn sign_in_code_is_for_who_has_a_token_and_works_once() {
    let world = World::new().await;
    let ask = async |token: &str| {
        let request = Request::post("/sign-in/code").header(header::AUTHORIZATION, format!("Bearer {token}"));
        world.send(request.body(Body::empty()).unwrap()).await
    };
    ask("wrong").await.problem(401);
    let link = ask("token-operator").await.ok(201)["path"].as_str().unwrap().to_owned();
    let open = async || {
        let request = Request::get(&link).header(header::HOST, HOST);
        world.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(open().await.status, 303);
    assert_eq!(open().await.status, 401);
}

#[tokio::test]
async fn page_without_or_with_a_forged_session_asks_to_sign_in() {
    let world = World::new().await;
    let id = world.declared("P2").await;
    for cookie in ["", "harmony_session=", "harmony_session=e30.00", "harmony_session=x"] {
        let request = Request::get(format!("/orgs/default/incidents/{id}"))
            .header(header::HOST, HOST)
            .header(header::COOKIE, cookie);
        assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 401, "{cookie:?}");
        let path = format!("/orgs/default/incidents/{id}/do/notes");
        let sent = send_form(&world, &path, cookie, ORIGIN, "note=x").await;
        assert_eq!(sent.status, 401, "{cookie:?}");
    }
}

#[tokio::test]
async fn form_that_is_not_ours_changes_nothing() {
    let world = World::new().await;
    let id = world.declared("P2").await;
    let operator = Visitor::new(&world, "operator").await;
    let csrf = operator.csrf().await;
    let other = Visitor::new(&world, "oncall").await.csrf().await;
    let path = format!("/orgs/default/incidents/{id}/do/notes");
    for (origin, fields) in [
        (ORIGIN, "note=x".to_owned()),
        (ORIGIN, "csrf=&note=x".to_owned()),
        (ORIGIN, format!("csrf={other}&note=x")),
        ("https://evil.example", format!("csrf={csrf}&note=x")),
        ("null", format!("csrf={csrf}&note=x")),
        ("", format!("csrf={csrf}&note=x")),
    ] {
        let reply = send_form(&world, &path, &operator.cookie, origin, &fields).await;
        assert_eq!(reply.status, 403, "{origin} {fields}");
    }
    // A session reads the API, as a page's script does, and writes nothing there.
    let reading = Request::get("/api/orgs/default/incidents")
        .header(header::HOST, HOST)
        .header(header::COOKIE, &operator.cookie);
    world.send(reading.body(Body::empty()).unwrap()).await.ok(200);
    let writing = Request::post(format!("/api/orgs/default/incidents/{id}/notes"))
        .header(header::HOST, HOST)
        .header(header::COOKIE, &operator.cookie);
    world.send(writing.body(Body::from("{\"note\":\"x\"}")).unwrap()).await.problem(401);
    assert_eq!(world.get("viewer", &format!("incidents/{id}")).await.ok(200)["notes"], 0);
    assert_eq!(operator.form(&path, "note=seen").await.status, 303);
    assert_eq!(world.get("viewer", &format!("incidents/{id}")).await.ok(200)["notes"], 1);
}

#[tokio::test]
async fn form_that_is_sent_twice_happens_once() {
    let world = World::new().await;
    let id = world.declared("P2").await;
    let operator = Visitor::new(&world, "operator").await;
    let path = format!("/orgs/default/incidents/{id}/do/notes");
    for _ in 0..2 {
        assert_eq!(operator.form(&path, "key=once&note=seen").await.status, 303);
    }
    assert_eq!(operator.form(&path, "key=once&note=another").await.status, 409);
    assert_eq!(world.get("viewer", &format!("incidents/{id}")).await.ok(200)["notes"], 1);
}

#[tokio::test]
async fn what_people_write_never_becomes_markup() {
    let world = World::new().await;
    let hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let body = json!({ "title": hostile, "severity": "P1", "summary": hostile, "serviceName": hostile });
    let id =
        world.post("operator", "incidents", body).await.ok(201)["incidentId"].as_str().unwrap().to_owned();
    for (path, body) in [
        ("notes", json!({ "note": hostile })),
        ("tags", json!({ "tag": hostile })),
        ("review", json!({ "section": "summary", "text": hostile })),
        ("review", json!({ "action": hostile, "owner": hostile })),
        ("tickets", json!({ "system": hostile, "ticket": hostile, "url": "https://a.example/?\"><script>" })),
    ] {
        world.post("operator", &format!("incidents/{id}/{path}"), body).await.ok(200);
    }
    let alert = json!({
        "candidateId": "a1", "title": hostile, "severity": hostile, "source": hostile, "summary": hostile,
        "signals": [{ "signalId": hostile, "source": hostile }],
    });
    world.post("operator", "candidates", alert).await.ok(201);
    let admin = Visitor::new(&world, "admin").await;
    for path in [
        "candidates".to_owned(),
        "candidates/a1".to_owned(),
        "incidents".to_owned(),
        "incidents?searchQuery=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned(),
        format!("incidents/{id}"),
        format!("incidents/{id}?show=people"),
        format!("incidents/{id}/review"),
        format!("incidents/{id}/records/1"),
        "approvals".to_owned(),
    ] {
        let page = admin.page(&format!("/orgs/default/{path}")).await;
        assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "{path}: {page}");
        // The one script is our own file.
        assert_eq!(page.matches("<script").count(), 1, "{path}");
        assert!(!page.contains(" style=") && !page.contains("onclick"), "{path}");
    }
    let policy = admin.open("/orgs/default/incidents").await.header("content-security-policy").to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn only_who_may_is_offered_a_decision_and_forging_it_is_refused() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let gate = world.gated(&id).await;
    for (who, approves, rejects) in [
        ("viewer", false, false),
        ("operator", false, false),
        ("oncall", true, true),
        ("commander", true, true),
        ("approver", true, true),
    ] {
        let visitor = Visitor::new(&world, who).await;
        let page = visitor.page(&format!("/orgs/default/approvals/{}", encoded(&gate))).await;
        assert_eq!(page.contains("value=\"approved\" data-confirm=\"Approve"), approves, "{who}");
        assert_eq!(page.contains("value=\"rejected\""), rejects, "{who}");
        assert!(page.contains(DIGEST), "{who} sees what is digested");
    }
    let viewer = Visitor::new(&world, "viewer").await;
    let path = format!("/orgs/default/approvals/{}", encoded(&gate));
    let fields = format!("decision=approved&digest={DIGEST}");
    let reply = viewer.form(&path, &fields).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert!(reply.text.contains("missing-role"));
    let incident = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!(incident["gate"]["status"], "pending");
    // Nor is anything else done that is not theirs to do.
    for action in ["severity", "close-out", "cancel", "remediate", "stop", "sign-off", "review"] {
        let reply = viewer.form(&format!("/orgs/default/incidents/{id}/do/{action}"), "reason=x").await;
        assert_eq!(reply.status, 403, "{action}: {}", reply.text);
    }
}

#[tokio::test]
async fn nothing_that_is_approved_can_hide_or_pass_for_something_else() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let padding = "p".repeat(4_000);
    let covers = json!({
        "cells": [], "verification": [], "executor": "local",
        "env": { "A_PADDING": padding, "B": "one\ntwo\u{200b}", "Z_TARGET": "prod\u{202e}" },
        "runbook": { "path": "a.md", "sha256": "ab", "text": "echo \u{202e}" },
        "secretEnv": ["DB_PASSWORD"],
    });
    let gate = world.gated_covering(&id, &covers.to_string()).await;
    let oncall = Visitor::new(&world, "oncall").await;
    let page = oncall.page(&format!("/orgs/default/approvals/{}", encoded(&gate))).await;
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is not in {page}"));
    assert!(place("DB_PASSWORD") < place("env A_PADDING"));
    let deciders = page.split("may be approved by ").nth(1).unwrap().split('<').next().unwrap();
    assert!(deciders.contains("commander") && !deciders.contains("viewer"), "{deciders}");
    let short = ["&#34;one\\ntwo\\u200b&#34;", "&#34;prod\\u202e&#34;", "echo &#60;U+202E&#62;"];
    short.iter().for_each(|text| assert!(place(text) > 0));
    assert!(!page.contains(['\u{200b}', '\u{202e}']));
    // The long one is there by its digest, and whole behind a click.
    place("(4000 characters, SHA-256 ");
    place(&format!("<pre class=\"code\" tabindex=\"0\">{padding}</pre>"));
}

#[tokio::test]
async fn decision_in_the_console_says_where_it_was_made() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let gate = world.gated(&id).await;
    world.outbox().await;
    let oncall = Visitor::new(&world, "oncall").await;
    let path = format!("/orgs/default/approvals/{}", encoded(&gate));
    let fields = format!("decision=approved&digest={DIGEST}&reason=go");
    let reply = oncall.form(&path, &fields).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (303, format!("/orgs/default/incidents/{id}?done=decided").as_str())
    );
    let [decided] = world.decisions(&id).await.try_into().unwrap();
    assert_eq!((&decided["source"], &decided["approver"]), (&json!("console"), &json!("oncall")));
    assert!(
        oncall
            .page(&format!("/orgs/default/incidents/{id}?done=decided"))
            .await
            .contains("Your decision is on record")
    );
}

#[tokio::test]
async fn addresses_that_lead_elsewhere_lead_nowhere() {
    let world = World::new().await;
    let id = world.declared("P2").await;
    let commander = Visitor::new(&world, "commander").await;
    let operator = Visitor::new(&world, "operator").await;
    for (visitor, path, status) in [
        (&operator, "/orgs/acme/incidents".to_owned(), 404),
        (&commander, "/orgs/acme/incidents".to_owned(), 200),
        (&commander, format!("/orgs/acme/incidents/{id}"), 404),
        (&operator, "/orgs/ACME!/incidents".to_owned(), 404),
        (&operator, "/orgs/default/incidents/INC-2020-0001".to_owned(), 404),
        (&operator, "/orgs/default/incidents/..%2F..%2Fetc%2Fpasswd".to_owned(), 400),
        (&operator, format!("/orgs/default/incidents/{id}?at=zero"), 422),
        (&operator, format!("/orgs/default/incidents/{id}/records/0"), 404),
        (&operator, format!("/orgs/default/incidents/{id}/records/99999999999999999999"), 404),
        (&operator, "/orgs/default/incidents?severity=P9".to_owned(), 422),
        (&operator, "/orgs/default/incidents?nonsense=1".to_owned(), 400),
        (&operator, "/orgs/default/approvals/nonsense".to_owned(), 404),
        (&operator, "/orgs/default/approvals?from=x".to_owned(), 422),
        (&operator, "/orgs/default/candidates/nonsense".to_owned(), 404),
        (&operator, "/orgs/default/candidates/..%2F..%2Fapprovals".to_owned(), 404),
        (&operator, "/orgs/default/candidates?status=WHAT".to_owned(), 422),
        (&operator, "/orgs/default/candidates?cursor=x".to_owned(), 422),
        (&operator, "/assets/x/..%2F..%2FCargo.toml".to_owned(), 404),
        (&operator, "/assets/x/console.css".to_owned(), 200),
    ] {
        assert_eq!(visitor.open(&path).await.status, status, "{path}");
    }
    let page =
        operator.page(&format!("/orgs/default/incidents/{id}/remediate?runbook=../../etc/passwd")).await;
    assert!(page.contains("there is no runbook"), "{page}");
    let action =
        operator.form(&format!("/orgs/default/incidents/{id}/do/..%2F..%2F..%2Flog%2Fverify"), "x=y").await;
    assert_eq!(action.status, 404);
}

#[tokio::test]
async fn oversized_and_malformed_forms_are_refused() {
    let world = World::new().await;
    let id = world.declared("P2").await;
    let operator = Visitor::new(&world, "operator").await;
    let path = format!("/orgs/default/incidents/{id}/do/notes");
    assert_eq!(operator.form(&path, &format!("note={}", "x".repeat(300_000))).await.status, 413);
    assert_eq!(operator.form(&path, "").await.status, 422);
    assert_eq!(operator.form(&path, "note=x&surprise=y").await.status, 422);
    let raw = Request::builder()
        .method(Method::POST)
        .uri(&path)
        .header(header::HOST, HOST)
        .header(header::ORIGIN, ORIGIN)
        .header(header::COOKIE, &operator.cookie)
        .body(Body::from(vec![0xff, 0xfe, b'=', 0xff, b'&', b'%', b'Z']))
        .unwrap();
    assert_eq!(world.send(raw).await.status, 403);
}

#[tokio::test]
async fn declaration_shows_what_will_happen_before_it_does() {
    let world = World::new().await;
    let operator = Visitor::new(&world, "operator").await;
    let fields = "title=Checkout+fails&severity=P1&impactedServices=Checkout";
    let preview = operator.form("/orgs/default/incidents", &format!("{fields}&go=preview")).await;
    assert_eq!(preview.status, 200);
    for expected in [
        "What will happen",
        "We are investigating an issue with Checkout",
        "incident-commander or sre-oncall or incident-approver within 5 min",
    ] {
        assert!(preview.text.contains(expected), "{expected}: {}", preview.text);
    }
    assert_eq!(world.get("viewer", "incidents").await.ok(200)["incidents"], json!([]));
    // What differs from the preview is previewed again, and nothing is declared.
    let previewed = |page: &str| {
        let (_, rest) = page.split_once("name=\"previewed\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let was = previewed(&preview.text);
    for form in
        [format!("{fields}&go=declare"), format!("{}&go=declare&previewed={was}", fields.replace("P1", "P2"))]
    {
        let again = operator.form("/orgs/default/incidents", &form).await;
        assert_eq!(again.status, 200);
        assert!(again.text.contains("You changed the incident after the preview"), "{}", again.text);
        assert_ne!(previewed(&again.text), "");
    }
    assert_eq!(world.get("viewer", "incidents").await.ok(200)["incidents"], json!([]));
    let bar = |page: &str| page.contains("<a class=\"button danger\"");
    assert!(!bar(&preview.text), "the link to an empty form would lose what was typed");
    assert!(bar(&operator.page("/orgs/default/incidents").await));
    let form = format!("{fields}&go=declare&key=k&previewed={was}");
    let declared = operator.form("/orgs/default/incidents", &form).await;
    assert_eq!(declared.status, 303, "{}", declared.text);
    let page = operator.page(declared.header("location")).await;
    assert!(page.contains("Checkout fails") && page.contains("declared a P1"), "{page}");
    let viewer = Visitor::new(&world, "viewer").await;
    assert_eq!(viewer.open("/orgs/default/incidents/new").await.status, 403);
    assert_eq!(viewer.form("/orgs/default/incidents", &format!("{fields}&go=declare")).await.status, 403);
}

#[tokio::test]
async fn incident_is_shown_as_it_was() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let viewer = Visitor::new(&world, "viewer").await;
    let now = viewer.page(&format!("/orgs/default/incidents/{id}")).await;
    assert!(now.contains(">OPEN<") && now.contains("data-stream=\"/api/orgs/default/incidents/"));
    let then = viewer.page(&format!("/orgs/default/incidents/{id}?at=1")).await;
    assert!(then.contains(">PENDING<") && then.contains("as it was after record 1"), "{then}");
    assert!(!then.contains("/do/"), "nothing is done in the past");
    let log = viewer.form("/orgs/default/log", "go=verify").await;
    assert!(log.status == 200 && log.text.contains("<b>Verified.</b>"), "{}", log.text);
    let note = viewer.form("/orgs/default/log", "go=checkpoint").await;
    assert!(note.text.contains("default"), "{}", note.text);
    let insights = loop {
        let page = viewer.page("/orgs/default/insights").await;
        // Where counting takes long, the page says so and asks again.
        if !page.contains("http-equiv=\"refresh\"") {
            break page;
        }
    };
    assert!(insights.contains("1 incident, 1 open"), "{insights}");
    let explorer = viewer.page("/explorer").await;
    assert!(
        explorer.contains("/api/orgs/{org}/incidents")
            && explorer.contains("href=\"/orgs/default/candidates\"")
    );
    let curl = "curl -H &#34;Authorization: Bearer $HARMONY_TOKEN&#34; -X POST -H &#34;Content-Type: application/json&#34; --data @body.json &#39;https://harmony.example/below/api/";
    assert!(explorer.contains(curl), "{explorer}");
}

#[tokio::test]
async fn what_the_api_does_to_an_incident_has_its_place_on_the_page() {
    let world = World::new().await;
    let id = world.opened("P3").await;
    let admin = Visitor::new(&world, "admin").await;
    let address = format!("/orgs/default/incidents/{id}");
    let done = async |action: &str, fields: &str| {
        let reply = admin.form(&format!("{address}/do/{action}"), fields).await;
        assert_eq!(reply.status, 303, "{action}: {}", reply.text);
        admin.page(&address).await
    };
    let remove = "aria-label=\"Remove the tag payments\"";
    assert!(done("tags", "tag=payments").await.contains(remove));
    assert!(!done("tags", "tag=payments&remove=true").await.contains(remove));
    let ticket = "<a href=\"https://jira.example.com/OPS-7\" rel=\"noopener\">OPS-7</a>";
    let fields = "system=jira&ticket=OPS-7&url=https%3A%2F%2Fjira.example.com%2FOPS-7";
    assert!(done("tickets", fields).await.contains(ticket));
    let release = "aria-label=\"Release oncall from commander\"";
    assert!(done("responders", "role=commander&principalId=oncall").await.contains(release));
    assert!(!done("responders", "role=commander&principalId=oncall&release=true").await.contains(release));
    let signal = json!({ "signalId": "s-1", "source": "prometheus", "summary": "p99 <2 s", "serviceName": "checkout" });
    world.post("operator", &format!("incidents/{id}/signals"), signal).await.ok(200);
    let shown = admin.page(&address).await;
    assert!(shown.contains("<b>prometheus</b>") && shown.contains("p99 &#60;2 s"), "{shown}");

    assert!(done("update", "title=Checkout+is+slow").await.contains(">Checkout is slow</h1>"));

    // A text is taken out where its record is shown, by who may.
    let note = json!({ "note": "the password is SWORDFISH" });
    let seq = world.post("operator", &format!("incidents/{id}/notes"), note).await.ok(200)["seq"].clone();
    let record = format!("{address}/records/{seq}");
    assert!(!Visitor::new(&world, "viewer").await.page(&record).await.contains("Take it out"));
    let page = admin.page(&record).await;
    assert!(
        page.contains("SWORDFISH") && page.contains("<option>note</option>") && page.contains("Take it out")
    );
    let fields = format!("to=record&record={seq}&field=note&reason=a+secret");
    let reply = admin.form(&format!("{address}/do/redact"), &fields).await;
    assert_eq!((reply.status, reply.header("location")), (303, format!("{record}?done=recorded").as_str()));
    let page = admin.page(&record).await;
    assert!(!page.contains("SWORDFISH") && !page.contains("Take it out"), "{page}");

    let archive = "data-key=\"act-archive\"";
    assert!(!admin.page(&address).await.contains(archive));
    world.resolved(&id).await;
    assert!(admin.page(&address).await.contains(archive));
    assert!(done("status", "state=ARCHIVED").await.contains(">ARCHIVED<"));
}

#[tokio::test]
async fn people_and_capabilities_have_a_page() {
    let world = World::new().await;
    let viewer = Visitor::new(&world, "viewer").await;
    let people = viewer.page("/orgs/default/people").await;
    assert!(people.contains("<code>oncall</code>") && people.contains("sre-oncall"), "{people}");
    assert!(!people.contains("token-"), "nothing that lets anybody in");
    let found = loop {
        let page = viewer.page("/orgs/default/capabilities").await;
        if !page.contains("still being counted") {
            break page;
        }
    };
    assert!(found.contains("golden.connectors.slack") && found.contains("not used"), "{found}");
}

#[tokio::test]
async fn insights_are_of_the_incidents_that_are_asked_for() {
    let world = World::new().await;
    for (severity, service) in [("P1", "checkout"), ("P1", "search"), ("P2", "search")] {
        let body = json!({ "title": "Fails", "severity": severity, "serviceName": service });
        world.post("operator", "incidents", body).await.ok(201);
    }
    let month = jiff::Timestamp::now().strftime("%Y-%m").to_string();
    let viewer = Visitor::new(&world, "viewer").await;
    for (query, counted, csv) in [
        ("", 3, vec!["P1,2,2", "P2,1,1"]),
        ("serviceName=search", 2, vec!["P1,1,1", "P2,1,1"]),
        ("serviceName=search&severity=P2", 1, vec!["P2,1,1"]),
        ("since=2026-01-01&severity=P1", 2, vec!["P1,2,2"]),
        ("since=2999-01-01", 0, vec![]),
        ("until=2026-01-01", 0, vec![]),
    ] {
        let figures = world.get("viewer", &format!("insights?{query}")).await.ok(200);
        assert_eq!(figures["incidents"], counted, "{query}");
        let lines = csv.iter().map(|line| format!("{month},{line}\r\n")).collect::<String>();
        let file = viewer.open(&format!("/orgs/default/insights.csv?figure=incidents&{query}")).await;
        assert_eq!(file.text, format!("month,severity,incidents,open\r\n{lines}"), "{query}");
        assert_eq!(file.header("content-disposition"), "attachment; filename=\"harmony-incidents.csv\"");
        let page = viewer.page(&format!("/orgs/default/insights?{query}")).await;
        assert!(page.contains(&format!("{counted} incident")), "{query}: {page}");
        // Each plot leads to its own CSV, with the same filters.
        let filters =
            if query.is_empty() { String::new() } else { format!("&amp;{}", query.replace('&', "&#38;")) };
        let link = format!("insights.csv?figure=incidents{filters}\"");
        assert_eq!(page.contains(&link), counted > 0, "{query}: {page}");
    }
    for wrong in ["severity=P5", "since=yesterday", "until=2026-02-30", "service=search"] {
        let reply = world.get("viewer", &format!("insights?{wrong}")).await;
        assert!(matches!(reply.status, 400 | 422), "{wrong}: {}", reply.text);
    }
    assert_eq!(viewer.open("/orgs/default/insights.csv?figure=moods").await.status, 422);
    assert_eq!(viewer.open("/orgs/default/insights?since=yesterday").await.status, 422);
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for _ in 0..51 {
        ids.push(world.declared("P3").await);
    }
    let oncall = Visitor::new(&world, "oncall").await;
    let address = |page: &str, path: &str, label: &str| {
        let link = page.split("href=\"").find(|link| link.contains(label)).expect("a link to the next page");
        let link = link.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
        format!("/orgs/default/{path}{link}")
    };
    let lines = |page: &str| page.matches("class=\"strong\"").count();
    let first = oncall.page("/orgs/default/incidents?severity=P3").await;
    let second = oncall.page(&address(&first, "incidents", ">Older<")).await;
    assert_eq!((lines(&first), lines(&second)), (50, 1));
    assert!(second.contains(&ids[0]) && !second.contains(">Older<"));

    for id in &ids[..21] {
        world.post("oncall", &format!("incidents/{id}/status"), json!({ "state": "OPEN" })).await.ok(200);
        world.gated(id).await;
    }
    let gates = |page: &str| page.matches("<section class=\"gate\"").count();
    let first = oncall.page("/orgs/default/approvals").await;
    let second = oncall.page(&address(&first, "approvals", ">Later<")).await;
    assert_eq!((gates(&first), gates(&second)), (20, 1));
    assert!(first.contains("id=\"live-count\">21</span>") && !second.contains(">Later<"));
    let viewer = Visitor::new(&world, "viewer").await;
    let others = viewer.page("/orgs/default/approvals").await;
    assert_eq!((gates(&others), lines(&others)), (0, 20), "for others it is a list");

    for number in 0..60 {
        let note = json!({ "note": format!("note {number}") });
        world.post("oncall", &format!("incidents/{}/notes", ids[30]), note).await.ok(200);
    }
    let rows = |page: &str| page.matches("<li class=\"row").count();
    let path = format!("incidents/{}", ids[30]);
    let first = viewer.page(&format!("/orgs/default/{path}")).await;
    let second = viewer.page(&address(&first, &path, "before=")).await;
    assert_eq!((rows(&first), rows(&second)), (50, 11));
}
