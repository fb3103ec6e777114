//! Somebody is in the middle of something while the incident moves on: what they typed stays, what they look at stays open,
//! and they are told what is over.

use serde_json::json;

use super::driver::Driver;
use crate::world::{POLICY, World};

#[tokio::test]
async fn page_moves_on_around_what_somebody_is_typing() {
    let Some(driver) = Driver::start("the page that moves on while somebody types") else { return };
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Checkout answers 500", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    let console = world.line()["console"].as_str().unwrap();
    let browser = driver.browser().await;
    browser.open(&format!("{console}/sign-in")).await;
    browser.fill("input[type=password], input[name=token]", world.line()["token"].as_str().unwrap()).await;
    browser.click("form button").await;
    browser.says("Approvals").await;
    let incident = format!("{console}/orgs/default/incidents/{id}");

    // A list follows by itself, and the keyboard leads through it.
    let incidents = format!("{console}/orgs/default/incidents");
    browser.open(&incidents).await;
    browser.script("window.untouched = true").await;
    let body = json!({ "title": "Search is down", "severity": "P1" });
    world.post("incidents", body).await;
    browser.says("Search is down").await;
    assert_eq!(browser.script("return window.untouched").await, true, "the list followed by itself");
    let key = |key: &str| {
        format!("document.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}', bubbles: true }}));")
    };
    browser.script(&key("?")).await;
    let opened = browser.script("return document.getElementById('keys').open").await;
    assert_eq!(opened, true, "? shows the keys");
    browser.script("document.getElementById('keys').close()").await;
    // The palette finds a page by a part of its name, an incident by its number, and an action of the page.
    let palette =
        "document.dispatchEvent(new KeyboardEvent('keydown', { key: 'k', ctrlKey: true, bubbles: true }));";
    browser.script(palette).await;
    browser.fill("#wanted", "insi").await;
    browser.until("one choice", "return document.querySelectorAll('#found button').length === 1").await;
    browser.click("#found button").await;
    browser.until("Insights", "return location.pathname.endsWith('/insights')").await;
    browser.script(palette).await;
    browser.fill("#wanted", "1").await;
    browser.click("#found button").await;
    browser.until("the incident", &format!("return location.pathname.endsWith('/{id}')")).await;
    browser.script(palette).await;
    browser.fill("#wanted", "assign").await;
    browser.click("#found button").await;
    browser.until("the form", "return document.activeElement?.name === 'role'").await;
    browser.open(&incidents).await;
    browser.script(&format!("{0}{0}", key("j"))).await;
    let second = "return [...document.querySelectorAll('[data-row]')].findIndex((one) => one.classList.contains('at'))";
    assert_eq!(browser.script(second).await, 1, "j goes down the list");
    browser.script(&key("o")).await;
    browser.until("o to open the row", "return location.pathname.includes('/incidents/INC-')").await;

    // What was typed is there after a reload.
    browser.open(&incident).await;
    browser.fill("[data-key=act-note] textarea", "not sent yet").await;
    browser.open(&incidents).await;
    browser.open(&incident).await;
    let kept = browser.script("return document.querySelector('[data-key=act-note] textarea').value").await;
    assert_eq!(kept, "not sent yet");
    browser.script("localStorage.clear()").await;

    // A gate that is decided elsewhere while a reason is typed: the words stay, the buttons go, and it says so.
    browser.open(&incident).await;
    browser.fill(".gate input[name=reason]", "my words").await;
    browser.fill("[data-key=act-note] textarea", "a note").await;
    browser.script("document.querySelector('[data-key=act-update]').open = true").await;
    let reject = json!({ "decision": "rejected", "reason": "too risky", "digest": gate["digest"] });
    let (status, answer) = world.decide(&gate, reject).await;
    assert!(status == 200 || status == 202, "{answer}");
    browser
        .until(
            "the gate to be told as over",
            "return !!document.querySelector('.gate .said')?.innerText.includes('by Olivia Operator')",
        )
        .await;
    let left = browser
        .script("return [document.querySelectorAll('.gate button').length, document.querySelector('.gate input[name=reason]').value]")
        .await;
    assert_eq!(left, json!([0, "my words"]));
    // Stop comes when there is something to stop, though a field is in use; what was open stays open, by its name.
    world.completed(&id, "remediate").await;
    browser
        .until("stop to go", "return !document.querySelector('[data-key=act-stop-the-remediation]')")
        .await;
    world.remediate(&id).await;
    browser
        .until("stop to be offered", "return !!document.querySelector('[data-key=act-stop-the-remediation]')")
        .await;
    let parts = browser
        .script("return ['act-stop-the-remediation', 'act-note', 'act-update'].map(one => document.querySelector(`[data-key=${one}]`).open)")
        .await;
    assert_eq!(parts, json!([false, true, true]));
    assert_eq!(
        browser.script("return document.querySelector('[data-key=act-note] textarea').value").await,
        "a note"
    );
    // The top of the page leads to it, wherever it stands.
    browser.click("a[href='#stop']").await;
    browser
        .until(
            "stop to be opened",
            "const at = document.querySelector('#stop button').getBoundingClientRect(); \
             return at.height > 0 && at.top >= 0 && at.bottom <= window.innerHeight",
        )
        .await;

    // One section is written; what was typed into another is still there.
    browser.open(&format!("{incident}/review")).await;
    let typed = "for (const name of ['impact', 'summary']) {\
        const field = document.querySelector(`textarea[data-draft=${name}]`);\
        field.value = `text of ${name}`;\
        field.dispatchEvent(new Event('input', { bubbles: true }));\
        if (name === 'summary') field.form.querySelector('button').click();\
      }";
    browser.script(typed).await;
    browser.says("On record.").await;
    let kept = browser.script("return document.querySelector('textarea[data-draft=impact]').value").await;
    assert_eq!(kept, "text of impact");

    // The session ends in another tab.
    browser.script("localStorage.clear()").await;
    browser.open(&incident).await;
    let over = "const csrf = document.querySelector('input[name=csrf]').value;\
        return (await fetch('/sign-out', {method: 'POST', redirect: 'manual', body: new URLSearchParams({csrf})})).type;";
    browser.promise(over).await;
    world.post(&format!("incidents/{id}/notes"), json!({ "note": "meanwhile" })).await;
    browser.says("Your session has ended").await;
    browser.close().await;
}
