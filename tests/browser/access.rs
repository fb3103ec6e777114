//! Every page is held to WCAG 2.2 AA by axe-core, on a desktop and a phone, in light and dark, with everything on it opened.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};

use super::driver::{Browser, Driver};
use crate::{
    server_process::left_out,
    world::{POLICY, World, cache, carry_out},
};

/// The rules are pinned: a new release of theirs must not fail an old commit.
const AXE: &str = "4.14.1";
const MODES: [(u32, u32, &str); 4] =
    [(1_440, 900, "light"), (1_440, 900, "dark"), (390, 844, "light"), (390, 844, "dark")];

/// Runs the rules; gives each that is broken, where first, and why.
const RUN: &str = "\
    const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    const result = await axe.run(document, { runOnly: rules });
    return result.violations.map(one => `${one.id}: ${one.nodes[0].target}: ${one.nodes[0].failureSummary}`);";

#[tokio::test]
async fn every_page_is_for_everybody() {
    let axe = match axe() {
        Ok(axe) => axe,
        Err(why) => return left_out("the check of every page by axe-core, which needs npm", &why),
    };
    let Some(driver) = Driver::start() else {
        return left_out("the check of every page by axe-core", "there is no Chromium and chromedriver");
    };
    let rules = std::fs::read_to_string(axe).unwrap();
    let world = World::start(POLICY).await;
    let console = world.line()["console"].as_str().unwrap().to_owned();
    let browser = driver.browser().await;

    // What the pages show: an incident whose runbook ran, with a review begun; one whose gate is open; a candidate.
    let (ended, _) = world.initiated("Checkout answers 500", "P1").await;
    world.remediate(&ended).await;
    let gate = world.gate(&ended).await;
    let approve = json!({ "decision": "approved", "digest": gate["digest"] });
    let (status, answer) = world.decide_as("commander", &gate, approve).await;
    assert!(status < 300, "{answer}");
    world.completed(&ended, "remediate").await;
    let section = json!({ "section": "impact", "text": "Every fourth payment failed" });
    world.post(&format!("incidents/{ended}/review"), section).await;
    let (waiting, _) = world.initiated("Search is slow", "P2").await;
    world.remediate(&waiting).await;
    let gate = world.gate(&waiting).await;
    let candidate = json!({
        "candidateId": "alert-1", "policyId": "alerts", "source": "alertmanager", "severity": "critical",
        "title": "Checkout answers 500", "serviceName": "checkout", "environment": "production",
    });
    world.post("candidates", candidate).await;

    let at = |path: &str| format!("{console}/orgs/default/{path}");
    let gate = gate["gateId"].as_str().unwrap().replace('#', "%23");
    let mut pages =
        vec![format!("{console}/explorer"), format!("{console}/graphql"), format!("{console}/nowhere")];
    pages.extend(
        [
            "approvals",
            "audit",
            "candidates",
            "candidates/alert-1",
            "environments",
            "follow-ups",
            "incidents",
            "incidents/new",
            "insights",
            "log",
            "runbooks",
            "services",
            "services/svc-checkout",
            "subscriptions",
            "nowhere",
        ]
        .map(at),
    );
    pages.push(at(&format!("approvals/{gate}")));
    for (id, below) in
        [(&ended, &["", "?show=all", "?at=9", "/review", "/records/3"][..]), (&waiting, &["", "/remediate"])]
    {
        pages.extend(below.iter().map(|below| at(&format!("incidents/{id}{below}"))));
    }

    let mut found = broken(&browser, &format!("{console}/sign-in"), &rules).await;
    browser.look_like(1_440, 900, "light").await;
    browser.fill("input[type=password], input[name=token]", world.line()["token"].as_str().unwrap()).await;
    browser.click("form button").await;
    browser.says("Approvals").await;
    for page in &pages {
        found.extend(broken(&browser, page, &rules).await);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    browser.close().await;
}

/// What is wrong with a page, in each mode.
async fn broken(browser: &Browser<'_>, page: &str, rules: &str) -> Vec<String> {
    browser.open(page).await;
    let mut found = Vec::new();
    for (width, height, theme) in MODES {
        browser.look_like(width, height, theme).await;
        // A menu would lie over what is below it.
        let open = "document.querySelectorAll('details:not(.menu)').forEach(one => { one.open = true; })";
        browser.script(open).await;
        // A page may have come anew, without them.
        if browser.script("return typeof axe === 'undefined'").await == true {
            browser.script(rules).await;
        }
        let told: Value = browser.promise(RUN).await;
        let told = told.as_array().unwrap_or_else(|| panic!("axe-core says nothing about {page}: {told}"));
        found.extend(
            told.iter().map(|one| format!("{page} {width} {theme}: {}", one.as_str().unwrap_or_default())),
        );
    }
    found
}

/// axe-core's one file, installed once into the cache.
fn axe() -> Result<PathBuf, String> {
    let home = cache(&format!("axe-core-{AXE}"))?;
    let file = home.join("node_modules/axe-core/axe.min.js");
    if !file.is_file() {
        std::fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
        let mut install = Command::new("npm");
        install.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix"]);
        carry_out(install.arg(&home).arg(format!("axe-core@{AXE}")))?;
    }
    Ok(file)
}
