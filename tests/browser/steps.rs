//! A runbook with an input, a manual step, a checkpoint and three cells, walked at each door: in the console, on Slack's
//! page, on the command line. What each approver saw is what ran.

use serde_json::Value;

use super::{
    driver::{Browser, Driver},
    in_slack::{COMMANDER, OPERATOR, Page},
};
use crate::{
    runbook_steps::{WALK, gate_at},
    world::{POLICY, World},
};

#[tokio::test]
async fn runbook_with_an_input_a_manual_step_and_a_checkpoint_is_walked_at_every_door() {
    let Some(driver) = Driver::start("the walk of a runbook's steps") else { return };
    let world = World::start(POLICY).await;
    std::fs::write(world.dir.path().join("runbooks/walk.md"), WALK).unwrap();
    let (id, _) = world.initiated("Checkout is slow", "P2").await;
    in_the_console(&world, &driver, &id).await;
    ran(&world, &id, 1, "3").await;
    on_slacks_page(&world, &driver, &id).await;
    ran(&world, &id, 2, "4").await;
    on_the_command_line(&world, &id).await;
    ran(&world, &id, 3, "5").await;
    world.verified().await;
}

/// This attempt ran with this input, and each of its gates was decided by whom it asked.
async fn ran(world: &World, id: &str, attempt: u64, count: &str) {
    let records = world
        .until(&format!("attempt {attempt} to complete"), async || {
            let records = world.records(id).await;
            let ended = |one: &&Value| {
                one["kind"] == "BLUEPRINT_COMPLETED"
                    && one["payload"]["blueprint"] == "remediate"
                    && one["payload"]["attempt"] == attempt
            };
            let is_over = records.iter().any(|one| ended(&one));
            is_over.then_some(records)
        })
        .await;
    let of_attempt = |kind: &str| {
        let fits = |one: &&Value| {
            let gate = one["payload"]["gateId"].as_str().unwrap_or_default();
            one["kind"] == kind
                && (one["payload"]["attempt"] == attempt || gate.contains(&format!("#{attempt}/")))
        };
        records.iter().filter(fits).map(|one| one["payload"].clone()).collect::<Vec<_>>()
    };
    let printed: Vec<String> = of_attempt("RUNBOOK_CELL_FINISHED")
        .iter()
        .map(|one| one["stdout"].as_str().unwrap_or_default().trim().to_owned())
        .collect();
    assert_eq!(
        printed,
        [
            format!("checkout has {count}"),
            String::new(),
            format!("scaling checkout to {count}"),
            "checkout is well".to_owned()
        ]
    );
    let decided: Vec<(String, String)> = of_attempt("APPROVAL_DECIDED")
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            (text("approver"), text("reason"))
        })
        .collect();
    let by: Vec<&str> = decided.iter().map(|(who, _)| who.as_str()).collect();
    assert_eq!(by, ["commander", "operator", "commander"], "attempt {attempt}: {decided:?}");
    assert_eq!(decided[1].1, "They gave us ten minutes", "attempt {attempt}");
}

fn token_of<'a>(world: &'a World, who: &str) -> &'a str {
    world.text(&if who == "operator" { "/token".to_owned() } else { format!("/tokens/{who}") })
}

async fn in_the_console(world: &World, driver: &Driver, id: &str) {
    let console = world.line()["console"].as_str().unwrap();
    let page = format!("{console}/orgs/default/incidents/{id}");
    let [operator, commander] = [driver.browser().await, driver.browser().await];
    for (browser, who) in [(&operator, "operator"), (&commander, "commander")] {
        browser.open(console).await;
        let token = token_of(world, who);
        browser.fill("input[name=token]", token).await;
        browser.click("button.primary").await;
        browser.says("Checkout is slow").await;
    }
    operator.open(&format!("{page}/remediate?runbook=walk.md")).await;
    operator.fill("input[name='input.COUNT']", "3").await;
    operator.fill("main form[method=post] input[name=reason]", "Too few replicas").await;
    operator.click("main form[method=post] button.primary").await;
    let decide = async |browser: &Browser<'_>, step: &str, seen: &[&str], note: Option<&str>| {
        gate_at(world, id, step).await;
        browser.open(&page).await;
        for text in seen {
            browser.says(text).await;
        }
        if let Some(note) = note {
            browser.fill("form.decide input[name=reason]", note).await;
        }
        browser.click_and_confirm("form.decide button.approve").await;
    };
    decide(&commander, "#1/approve", &["Run walk.md", "scaling $SERVICE to $COUNT", "COUNT"], None).await;
    let note = Some("They gave us ten minutes");
    decide(&operator, "#1/manual/remediation/call", &["Call the bank, and ask for a window."], note).await;
    decide(&commander, "#1/checkpoint/remediation/scale", &["checkout has 3"], None).await;
    operator.close().await;
    commander.close().await;
}

async fn on_slacks_page(world: &World, driver: &Driver, id: &str) {
    let browser = driver.browser().await;
    let slack = world.line()["sandbox"]["slack"].as_str().unwrap();
    let page = Page { browser: &browser, slack };
    page.press(OPERATOR, "lead-remediate").await;
    let proposed = [("runbook", "walk.md"), ("inputs", "COUNT=4"), ("why", "Still too few")];
    page.fill(&proposed, "The remediation is proposed").await;
    page.asks(COMMANDER, &["scaling $SERVICE to $COUNT", "COUNT"]).await;
    page.press(COMMANDER, "approve").await;
    gate_at(world, id, "#2/manual/remediation/call").await;
    page.asks(OPERATOR, &["Press Done once it is done"]).await;
    page.press(OPERATOR, "approve").await;
    browser.until("the form", "return document.querySelector('form.modal') !== null").await;
    browser.fill("form.modal [name=reason]", "They gave us ten minutes").await;
    browser.click("form.modal button.primary").await;
    gate_at(world, id, "#2/checkpoint/remediation/scale").await;
    page.asks(COMMANDER, &["| checkout has 4", "So far, call confirmed"]).await;
    page.press(COMMANDER, "approve").await;
    browser.close().await;
}

async fn on_the_command_line(world: &World, id: &str) {
    let run = |who: &str, line: &[&str]| {
        let token = token_of(world, who);
        world.harmony_with(line, &[("HARMONY_TOKEN", token)])
    };
    let by = |who: &str, line: &[&str]| {
        let done = run(who, line);
        assert!(done.status.success(), "{line:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let line =
        ["incident", "remediate", id, "--runbook", "walk.md", "--set", "COUNT=5", "--reason", "Once more"];
    by("operator", &line);
    gate_at(world, id, "#3/approve").await;
    let shown = by("commander", &["approval", "approve", id, "--yes"]);
    assert!(shown.contains("scaling $SERVICE to $COUNT") && shown.contains("env.COUNT: \"5\""), "{shown}");
    gate_at(world, id, "#3/manual/remediation/call").await;
    let silent = run("operator", &["approval", "approve", id, "--yes"]);
    assert_eq!(silent.status.code(), Some(2), "{}", String::from_utf8_lossy(&silent.stderr));
    let note = ["approval", "approve", id, "--yes", "--reason", "They gave us ten minutes"];
    let shown = by("operator", &note);
    assert!(shown.contains("Call the bank, and ask for a window."), "{shown}");
    gate_at(world, id, "#3/checkpoint/remediation/scale").await;
    let shown = by("commander", &["approval", "approve", id, "--yes", "--wait"]);
    assert!(shown.contains("checkout has 5"), "{shown}");
}
