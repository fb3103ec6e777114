//! A P1 walked in Slack alone, on the page of its stand-in: declared, led, remediated, closed out, reviewed, signed off.

use std::time::Duration;

use serde_json::json;

use super::{
    driver::{Browser, Driver},
    pictures::{fits_a_phone, take},
};
use crate::world::{POLICY, World};

pub(super) const COMMANDER: &str = "U0COMMANDER";
const ONCALL: &str = "U0000ONCALL";
pub(super) const OPERATOR: &str = "U00OPERATOR";

/// Slack's page.
pub(super) struct Page<'a> {
    pub(super) browser: &'a Browser<'a>,
    pub(super) slack: &'a str,
}

impl Page<'_> {
    async fn open(&self, user: &str) {
        self.browser.open(&format!("{}/?as={user}", self.slack)).await;
    }

    /// Opens it again until there is such an element: it does not follow by itself.
    pub(super) async fn until(&self, user: &str, selector: &str) {
        for _ in 0..600 {
            self.open(user).await;
            if self.browser.has(selector).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("waited for {selector}\n{}", self.browser.text().await);
    }

    /// Opens it again until one question waits, and says all of this.
    pub(super) async fn asks(&self, user: &str, words: &[&str]) {
        for _ in 0..600 {
            self.open(user).await;
            let waiting = "return document.querySelectorAll('button[value=approve]').length";
            let text = self.browser.text().await;
            if self.browser.script(waiting).await == 1 && words.iter().all(|words| text.contains(words)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("waited for {words:?}\n{}", self.browser.text().await);
    }

    /// Presses a button of a message, once it is there.
    pub(super) async fn press(&self, user: &str, action: &str) {
        let button = format!("button[value=\"{action}\"]");
        self.until(user, &button).await;
        self.browser.click(&button).await;
        self.browser.says("Harmony took your click.").await;
    }

    /// Types a command in the newest channel, and reads what it is answered with.
    async fn types(&self, user: &str, text: &str, answer: &str) {
        self.open(user).await;
        self.browser.fill("form.prompt input[name=text]", text).await;
        self.browser.click("form.prompt button").await;
        if !self.hears(answer).await {
            // What follows comes as a message of its own.
            for _ in 0..600 {
                self.open(user).await;
                if self.browser.text().await.contains(answer) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("waited for {answer}\n{}", self.browser.text().await);
        }
    }

    /// Waits for an answer; whether it is this one, and not that what was asked for takes longer than Slack waits.
    async fn hears(&self, answer: &str) -> bool {
        let is_there = format!("document.body.innerText.includes({})", json!(answer));
        let script = format!("return {is_there} || document.body.innerText.includes('It is being done')");
        self.browser.until(answer, &script).await;
        self.browser.script(&format!("return {is_there}")).await == true
    }

    /// Fills in the form that is open, and sends it.
    pub(super) async fn fill(&self, values: &[(&str, &str)], answer: &str) {
        self.browser.until("the form", "return document.querySelector('form.modal') !== null").await;
        for (name, value) in values {
            let field = format!("form.modal [name=\"{name}\"]");
            let choose = format!(
                "const field = document.querySelector({}); if (field.tagName === 'SELECT') field.value = {}; \
                 return field.tagName === 'SELECT' && field.value !== ''",
                json!(field),
                json!(value)
            );
            if self.browser.script(&choose).await != true {
                self.browser.fill(&field, value).await;
            }
        }
        self.browser.click("form.modal button.primary").await;
        // What comes of one that takes long is seen later on.
        self.hears(answer).await;
    }
}

#[tokio::test]
async fn incident_is_walked_in_slack_alone_from_declaration_to_sign_off() {
    let Some(driver) = Driver::start("the walk in Slack") else { return };
    let world = World::start(POLICY).await;
    let browser = driver.browser().await;
    let slack = world.line()["sandbox"]["slack"].as_str().unwrap();
    let page = Page { browser: &browser, slack };

    page.types(OPERATOR, "/incident", "Declare an incident").await;
    let declared = [("severity", "P1"), ("title", "Checkout fails for everybody")];
    page.fill(&declared, "INC-2026-0001 is declared.").await;
    let id = "INC-2026-0001";
    page.press(ONCALL, "lead-command").await;
    page.types(ONCALL, "who", "Commander: Oskar Oncall").await;
    page.types(ONCALL, "/incident changes", "changed before").await;
    page.press(ONCALL, "lead-update").await;
    page.fill(&[("message", "We roll checkout back"), ("whom", "channel")], "The update is on its way.")
        .await;

    page.press(OPERATOR, "lead-remediate").await;
    take(&browser, "slack-form").await;
    let proposed = [("runbook", "rollback-deployment.md"), ("why", "2.4.1 is bad")];
    page.fill(&proposed, "The remediation is proposed").await;
    page.until(COMMANDER, "button[value=approve]").await;
    let asked = browser.text().await;
    for shown in ["Why: 2.4.1 is bad", "— rollback —", "echo \"$to\" >>\"$state/history\"", "Runbook SHA-256"]
    {
        assert!(asked.contains(shown), "{shown:?} is approved and not shown: {asked}");
    }
    fits_a_phone(&browser, "Slack's page").await;
    page.press(COMMANDER, "approve").await;
    assert_eq!(world.completed(id, "remediate").await["status"], "COMPLETED");

    page.press(ONCALL, "lead-close-out").await;
    page.fill(&[("summary", "Rolled back to 2.4.0")], "has begun and waits for approval").await;
    page.press(COMMANDER, "approve").await;
    assert_eq!(world.completed(id, "close-out").await["status"], "COMPLETED");

    page.types(OPERATOR, "review impact Nobody could pay for 12 minutes", "That is in the review.").await;
    page.types(OPERATOR, "follow-up @oncall Alert on the error rate", "Alert on the error rate").await;
    page.types(OPERATOR, "publish Too early", "cannot be proposed without section summary").await;
    page.types(OPERATOR, "review summary A release broke checkout", "That is in the review.").await;
    page.types(OPERATOR, "review contributing-factors No canary", "That is in the review.").await;
    page.types(OPERATOR, "publish All of it is known", "The review is proposed for publishing.").await;
    page.press(COMMANDER, "approve").await;
    assert_eq!(world.completed(id, "post-mortem").await["status"], "COMPLETED");
    page.press(COMMANDER, "sign-off").await;
    world
        .until("it to be closed", async || (world.incident(id).await["state"] == "CLOSED").then_some(()))
        .await;
    world.verified().await;
    browser.close().await;
}
