//! Every page is held to WCAG 2.2 AA by axe-core, on a desktop and a phone, in light and dark, with everything on it opened;
//! and to the width of the smallest phone, with the longest titles in every direction of writing.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};

use super::{
    driver::{Browser, Driver},
    pictures::decides_in_the_first_screen,
};
use crate::{
    server_process::left_out,
    world::{POLICY, World, cache, carry_out},
};

/// The rules are pinned: a new release of theirs must not fail an old commit.
const AXE: &str = "4.14.1";
const MODES: [(u32, u32, &str); 4] =
    [(1_440, 900, "light"), (1_440, 900, "dark"), (390, 844, "light"), (390, 844, "dark")];
/// CSS pixels of the narrowest screen that WCAG 2.2 has in mind, in 1.4.10.
const NARROWEST: u32 = 320;
/// Characters of the longest title.
const TITLE: usize = 255;

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
    let Some(driver) = Driver::start("the check of every page by axe-core") else { return };
    let rules = std::fs::read_to_string(axe).unwrap();
    let world = World::start(POLICY).await;
    let console = world.line()["console"].as_str().unwrap().to_owned();
    let browser = driver.browser().await;

    // What the pages show: an incident whose runbook ran, with a review begun; one whose gate is open; a candidate.
    let unbroken = format!("🛒🔥\u{202E}{}", "W".repeat(TITLE - 3));
    let (ended, _) = world.initiated(&unbroken, "P1").await;
    world.remediate(&ended).await;
    let gate = world.gate(&ended).await;
    let approve = json!({ "decision": "approved", "digest": gate["digest"] });
    let (status, answer) = world.decide_as("commander", &gate, approve).await;
    assert!(status < 300, "{answer}");
    world.completed(&ended, "remediate").await;
    let section = json!({ "section": "impact", "text": "Every fourth payment failed" });
    world.post(&format!("incidents/{ended}/review"), section).await;
    let from_the_right: String = "תשלומים👩🏽‍🚒שגיאה".chars().cycle().take(TITLE).collect();
    let (waiting, _) = world.initiated(&from_the_right, "P2").await;
    let cell =
        |name: &str| format!("```sh {{ name={name} }}\n{}```\n", "echo one line of many\n".repeat(1_000));
    std::fs::write(world.dir.path().join("runbooks/long.md"), cell("one") + &cell("two")).unwrap();
    world.post(&format!("incidents/{waiting}/remediate"), json!({ "runbook": "long.md" })).await;
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
            "capabilities",
            "candidates/alert-1",
            "environments",
            "follow-ups",
            "incidents",
            "incidents/new",
            "insights",
            "log",
            "people",
            "runbooks",
            "services",
            "services/svc-checkout",
            "subscriptions",
            "nowhere",
        ]
        .map(at),
    );
    let approval = at(&format!("approvals/{gate}"));
    pages.push(approval.clone());
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
    for page in [&approval, &at(&format!("incidents/{waiting}"))] {
        browser.open(page).await;
        decides_in_the_first_screen(&browser, page, &[(1_440, 900), (390, 844)]).await;
    }
    browser.close().await;
}

/// What is wrong with a page, in each mode.
async fn broken(browser: &Browser<'_>, page: &str, rules: &str) -> Vec<String> {
    browser.open(page).await;
    let mut found = Vec::new();
    browser.look_like(NARROWEST, 700, "light").await;
    let width = browser.script("return document.documentElement.scrollWidth").await;
    if width != NARROWEST {
        found.push(format!("{page} is {width} pixels wide on a screen of {NARROWEST}"));
    }
    for (width, height, theme) in MODES {
        browser.look_like(width, height, theme).await;
        // A menu would lie over what is below it.
        let open = "document.querySelectorAll('details:not(.menu)').forEach(one => { one.open = true; })";
        browser.script(open).await;
        let told = violations(browser, rules).await;
        let told = told.as_array().unwrap_or_else(|| panic!("axe-core says nothing about {page}: {told}"));
        found.extend(
            told.iter().map(|one| format!("{page} {width} {theme}: {}", one.as_str().unwrap_or_default())),
        );
    }
    found
}

/// What the rules find in the page as it is shown, as a list; else what went wrong.
async fn violations(browser: &Browser<'_>, rules: &str) -> Value {
    let mut told = Value::Null;
    for _ in 0..3 {
        // A page may have come anew, without them, also in between.
        if browser.script("return typeof axe === 'undefined'").await == true {
            browser.script(rules).await;
        }
        told = browser.promise(RUN).await;
        if told.is_array() {
            break;
        }
    }
    told
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
