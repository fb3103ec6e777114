//! What somebody sees first who comes to the pages: what is open, who commands, what waits, what happened.

use axum::{
    body::Body,
    http::{Request, header},
};
use harmony_incidents::{
    Command, WorkflowType,
    judge::payload,
    log::{StepSucceeded, payload::Kind},
};
use serde_json::json;

use crate::{pages::Visitor, world::World};

/// Whether these stand in the page, in this order.
fn in_order(page: &str, texts: &[&str]) {
    let mut rest = page;
    for text in texts {
        let Some(place) = rest.find(text) else { panic!("{text:?} is not there, or too early, in {page}") };
        rest = &rest[place + text.len()..];
    }
}

#[tokio::test]
async fn incidents_that_are_open_come_first_and_a_view_finds_mine_and_nobodys() {
    let world = World::new().await;
    let over = world.opened("P3").await;
    let cancel = json!({ "state": "CANCELLED", "reason": "declared by mistake" });
    world.post("oncall", &format!("incidents/{over}/status"), cancel).await.ok(200);
    let mine = world.opened("P4").await;
    let assign = json!({ "role": "commander", "principalId": "commander" });
    world.post("commander", &format!("incidents/{mine}/responders"), assign).await.ok(200);
    let nobodys = world.opened("P1").await;

    let commander = Visitor::new(&world, "commander").await;
    let list = "/orgs/default/incidents";
    let page = commander.page(list).await;
    in_order(&page, &["Open <span class=\"count\">2<", &nobodys, &mine, "Resolved and closed", &over]);
    let page = commander.page(&format!("{list}?view=mine")).await;
    assert!(page.contains(&mine) && !page.contains(&nobodys) && !page.contains(&over), "{page}");
    let page = commander.page(&format!("{list}?view=unassigned")).await;
    assert!(!page.contains(&mine) && page.contains(&nobodys) && !page.contains(&over), "{page}");
    let page = commander.page(&format!("{list}?state=CANCELLED")).await;
    assert!(!page.contains(&mine) && page.contains(&over), "{page}");
    let page = commander.page(&format!("{list}?searchQuery=nothing")).await;
    assert!(page.contains("No incident matches."), "{page}");
    assert_eq!(commander.open(&format!("{list}?veiw=mine")).await.status, 400);
}

#[tokio::test]
async fn incident_page_says_who_commands_what_was_told_and_what_waits() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let path = format!("/orgs/default/incidents/{id}");
    let viewer = Visitor::new(&world, "viewer").await;
    in_order(
        &viewer.page(&path).await,
        &["Commander", "nobody", "Last update", "none yet", "Waits for", "nobody"],
    );
    assert!(!viewer.page(&path).await.contains("Take command"));

    let operator = Visitor::new(&world, "operator").await;
    assert!(operator.page(&path).await.contains("Take command"));
    let reply = operator.form(&format!("{path}/do/responders"), "role=commander&principalId=operator").await;
    assert_eq!(reply.status, 303, "{}", reply.text);
    let update = json!({ "message": "Rolling back", "public": true });
    world.post("operator", &format!("incidents/{id}/update"), update).await.ok(200);
    world.gated(&id).await;
    let page = operator.page(&path).await;
    let band = [
        "Commander",
        "operator",
        "Rolling back",
        "on the status page too",
        "Run rollback.md",
        "incident-commander",
    ];
    in_order(&page, &band);
    assert!(!page.contains("Take command"), "{page}");
}

#[tokio::test]
async fn navigation_says_how_much_waits_for_whom() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    world.gated(&id).await;
    for (who, waits) in [("oncall", true), ("operator", false), ("viewer", false)] {
        let page = Visitor::new(&world, who).await.page("/orgs/default/log").await;
        assert_eq!(page.contains("<title>(1) "), waits, "{who}: {page}");
        assert_eq!(page.contains("wait for you</span>"), waits, "{who}: {page}");
    }
}

#[tokio::test]
async fn timeline_tells_what_people_did_and_folds_what_harmony_did_for_it() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    world.gated(&id).await;
    let step = StepSucceeded {
        blueprint: "remediate".to_owned(),
        attempt: 1,
        step: "notice".to_owned(),
        ..StepSucceeded::default()
    };
    let record = Command::Record { payload: payload(Kind::StepSucceeded(step)) };
    world.append(&id, "notice", WorkflowType::Remediate, record).await;
    let viewer = Visitor::new(&world, "viewer").await;
    let path = format!("/orgs/default/incidents/{id}");
    let page = viewer.page(&path).await;
    in_order(
        &page,
        &[
            "<b title=\"operator\">Harmony</b> asked incident-commander or sre-oncall",
            " to decide: Run rollback.md",
            "<b title=\"operator\">operator</b> started the remediation",
            "<b title=\"oncall\">oncall</b> moved it from PENDING to OPEN",
            "<b title=\"operator\">operator</b> declared a P1: Checkout fails",
        ],
    );
    // What is not told by itself is folded under what it followed; every record is a click away.
    in_order(&page, &["1 step by Harmony</summary>", "told the channel of it", "started the remediation"]);
    assert!(!page.contains("STEP_SUCCEEDED"), "{page}");
    let page = viewer.page(&format!("{path}?show=all")).await;
    assert!(page.contains("STEP_SUCCEEDED") && !page.contains("by Harmony</summary>"), "{page}");
    let page = viewer.page(&format!("{path}?show=approvals")).await;
    assert!(page.contains("to decide: Run rollback.md") && !page.contains("declared a P1"), "{page}");
}

#[tokio::test]
async fn people_are_listed_without_what_lets_them_in() {
    let world = World::new().await;
    let reply = world.get("viewer", "people").await;
    let people = reply.ok(200)["people"].clone();
    assert_eq!(people[0]["principalId"], "viewer");
    assert_eq!(people[0]["roles"], json!(["incident-viewer"]));
    assert!(!reply.text.contains("token") && !reply.text.contains("sha256"), "{}", reply.text);
    assert_eq!(world.get("nobody", "people").await.status, 401);
}

#[tokio::test]
async fn address_without_anything_is_a_page_for_a_browser_alone() {
    let world = World::new().await;
    for (accept, kind) in [("text/html,*/*", "text/html"), ("*/*", "application/problem+json")] {
        let request = Request::get("/nonsense").header(header::ACCEPT, accept).body(Body::empty()).unwrap();
        let reply = world.send(request).await;
        assert_eq!(reply.status, 404);
        assert!(reply.content_type.starts_with(kind), "{}", reply.content_type);
        assert!(reply.text.contains("there is nothing at this address"), "{}", reply.text);
    }
}
