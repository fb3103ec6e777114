//! A P1 walked by hand: declared, remediated, approved in Slack, closed out, reviewed and signed off.

use serde_json::{Value, json};

use super::{
    driver::{Browser, Driver},
    pictures::{decides_in_the_first_screen, fits_a_phone, take},
};
use crate::world::{POLICY, World};

/// The console of a world, on the screen of whoever declares and of who decides.
struct Walk<'a> {
    world: &'a World,
    browser: &'a Browser<'a>,
    /// Who may approve what the other asks for.
    commander: &'a Browser<'a>,
    console: String,
    incident: String,
    /// Whether both hold a phone; else pages are looked at in every size on the way.
    on_a_phone: bool,
}

#[tokio::test]
async fn incident_is_walked_in_the_browser_from_declaration_to_sign_off() {
    let Some(driver) = Driver::start("the browser's story") else { return };
    let world = World::start(POLICY).await;
    let (browser, commander) = (driver.browser().await, driver.browser().await);
    let mut walk = Walk::new(&world, &browser, &commander, false);

    walk.sign_in().await;
    walk.declare().await;
    walk.propose().await;
    walk.requester_and_viewer_may_not_approve(&driver).await;
    walk.approve_and_see_the_output_appear().await;
    walk.close_out().await;
    walk.review().await;
    walk.promote().await;
    walk.look_around().await;
    browser.close().await;
    commander.close().await;
}

#[tokio::test]
async fn incident_is_walked_on_two_phones_from_declaration_to_sign_off() {
    let Some(driver) = Driver::start("the browser's story") else { return };
    let world = World::start(POLICY).await;
    let (browser, commander) = (driver.browser().await, driver.browser().await);
    for phone in [&browser, &commander] {
        phone.look_like(390, 844, "light").await;
    }
    let mut walk = Walk::new(&world, &browser, &commander, true);

    walk.sign_in().await;
    walk.declare().await;
    walk.propose().await;
    walk.approve_and_see_the_output_appear().await;
    walk.close_out().await;
    walk.review().await;
    browser.close().await;
    commander.close().await;
}

impl<'a> Walk<'a> {
    fn new(world: &'a World, browser: &'a Browser<'a>, commander: &'a Browser<'a>, on_a_phone: bool) -> Self {
        let console = world.line()["console"].as_str().unwrap().to_owned();
        Self { world, browser, commander, console, incident: String::new(), on_a_phone }
    }

    async fn open(&self, path: &str) {
        self.browser.open(&format!("{}/orgs/default/{path}", self.console)).await;
    }

    /// A picture of the page, which is held to fit a phone.
    async fn look(&self, name: &str) {
        if !self.on_a_phone {
            take(self.browser, name).await;
            fits_a_phone(self.browser, name).await;
        }
    }

    /// Approves what waits, as the commander, on the incident's page.
    async fn approve(&self) {
        let commander = self.commander;
        commander.open(&format!("{}/orgs/default/incidents/{}", self.console, self.incident)).await;
        commander.until("Approve to be offered", "return !!document.querySelector('button.approve')").await;
        commander.click_and_confirm("button.approve").await;
        commander.until("the decision to be taken", "return !document.querySelector('button.approve')").await;
    }

    async fn sign_in(&self) {
        let browser = self.browser;
        browser.open(&self.console).await;
        browser.says("Access token").await;
        self.look("sign-in").await;
        // As `harmony dev` does: a link that works once.
        let answer: Value = reqwest::Client::new()
            .post(format!("{}/sign-in/code", self.console))
            .bearer_auth(self.world.line()["token"].as_str().unwrap())
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let link = format!("{}{}", self.console, answer["path"].as_str().unwrap());
        browser.open(&link).await;
        browser.says("No incidents yet").await;
        self.commander.open(&self.console).await;
        self.commander.fill("input[name=token]", self.world.text("/tokens/commander")).await;
        self.commander.click("button.primary").await;
        self.commander.says("No incidents yet").await;
    }

    async fn declare(&mut self) {
        let browser = self.browser;
        browser.click("a[href$='/incidents/new']").await;
        browser.fill("input[name=title]", "Checkout answers with errors").await;
        browser.fill("input[name=serviceName]", "checkout").await;
        browser.fill("input[name=impactedServices]", "Checkout").await;
        browser
            .fill("textarea[name=summary]", "A third of all payments fail. <script>alert(1)</script>")
            .await;
        browser.script("document.querySelector('input[value=P1]').checked = true").await;
        browser.click("button[value=preview]").await;
        browser.says("What will happen").await;
        browser.says("incident-commander or sre-oncall or incident-approver within 5 min").await;
        self.look("declare").await;
        browser.click("button[value=declare]").await;
        browser.says("Declared.").await;
        let address = browser.address().await;
        self.incident = address.split("/incidents/").nth(1).unwrap().split('?').next().unwrap().to_owned();
        // Told by the stream alone: this page is not loaded again.
        browser.script("window.untouched = true").await;
        browser.until("initiate to complete", "return [...document.querySelectorAll('.run')].some(one => one.innerText.includes('COMPLETED'))").await;
        assert_eq!(browser.script("return window.untouched").await, true, "the page followed by itself");
    }

    async fn propose(&self) {
        let browser = self.browser;
        browser.click("a[href$='/remediate']").await;
        browser
            .script("document.querySelector('select[name=runbook]').value = 'rollback-deployment.md'")
            .await;
        browser.click("form.filters button").await;
        browser.says("show-history").await;
        let state = self.world.dir.path().join("sample");
        browser.fill("textarea[name=env]", &format!("SAMPLE_STATE={}", state.display())).await;
        browser.fill("main form[method=post] input[name=reason]", "The errors began with this release").await;
        self.look("remediate").await;
        browser.click("main form[method=post] button.primary").await;
        browser.says("Waits for incident-commander or sre-oncall").await;
        browser.says("The errors began with this release").await;
    }

    async fn requester_and_viewer_may_not_approve(&self, driver: &Driver) {
        let browser = self.browser;
        assert!(!browser.has("button.approve").await, "who asked for it is offered no Approve");
        browser.says("who asked for it may not approve it").await;
        self.look("incident-gate").await;
        decides_in_the_first_screen(browser, "incident", &[(1_440, 900), (390, 844)]).await;
        self.open("approvals").await;
        browser.says("Run rollback-deployment.md").await;
        self.look("approvals").await;
        let gate = browser.script("return document.querySelector('form.decide').action").await;
        browser.open(gate.as_str().unwrap()).await;
        browser.says("Digest of all of this").await;
        self.look("approval").await;
        decides_in_the_first_screen(browser, "approval", &[(1_440, 900), (390, 844)]).await;

        let viewer = driver.browser().await;
        viewer.open(&format!("{}/orgs/default/incidents/{}", self.console, self.incident)).await;
        viewer.fill("input[name=token]", self.world.text("/tokens/viewer")).await;
        viewer.click("button.primary").await;
        viewer.says("this level needs incident-commander or sre-oncall").await;
        for button in ["button.approve", "button.reject", "a[href$='/remediate']", "button.danger"] {
            assert!(!viewer.has(button).await, "a viewer is offered {button}");
        }
        let forged = "const csrf = document.querySelector('input[name=csrf]').value;\
            const digest = document.querySelector('.digest code').innerText;\
            const gate = (await (await fetch('/api/orgs/default/approvals')).json()).approvals[0].gateId;\
            const send = (fields) => fetch('/orgs/default/approvals/' + encodeURIComponent(gate), {method: 'POST', redirect: 'manual', body: new URLSearchParams(fields)});\
            return [(await send({csrf, digest, decision: 'approved'})).status, (await send({digest, decision: 'approved'})).status];";
        assert_eq!(viewer.promise(forged).await, serde_json::json!([403, 403]));
        viewer.close().await;
    }

    async fn approve_and_see_the_output_appear(&self) {
        let browser = self.browser;
        self.open(&format!("incidents/{}", self.incident)).await;
        browser.says("Waits for incident-commander").await;
        browser.script("window.untouched = true").await;
        if !self.on_a_phone {
            self.look_at_slack().await;
        }
        self.approve().await;
        browser.says("deployment checkout (sample)").await;
        browser.until("the remediation to complete", "return [...document.querySelectorAll('.run')].some(one => one.innerText.toLowerCase().includes('remediate') && one.innerText.includes('COMPLETED'))").await;
        assert_eq!(browser.script("return window.untouched").await, true, "the output appeared by itself");
        if !self.on_a_phone {
            take(browser, "incident-output").await;
        }
        assert_eq!(browser.script("return document.querySelectorAll('main script').length").await, 0);
    }

    /// The question as it stands in the sandbox's Slack.
    async fn look_at_slack(&self) {
        let slack = self.world.line()["sandbox"]["slack"].as_str().unwrap();
        let tab = self.browser.new_tab().await;
        self.browser.open(&format!("{slack}/?as=U0COMMANDER")).await;
        self.browser
            .until(
                "the question in Slack",
                "location.reload(); return !!document.querySelector('button[value=approve]')",
            )
            .await;
        take(self.browser, "slack").await;
        self.browser.back_to(&tab).await;
    }

    async fn close_out(&self) {
        let browser = self.browser;
        browser.fill("textarea[name=resolutionSummary]", "Rolled back to the release before").await;
        browser.click("form[action$='/close-out'] button").await;
        browser.says("Waits for").await;
        self.approve().await;
        browser
            .until(
                "the incident to be resolved",
                "return document.querySelector('.headline').innerText.includes('RESOLVED')",
            )
            .await;
    }

    async fn review(&self) {
        let browser = self.browser;
        let review = format!("incidents/{}/review", self.incident);
        for (section, text) in [
            ("summary", "A deployment broke a third of all payments. It was rolled back."),
            ("impact", "Payments failed for *eleven minutes*."),
            ("contributing-factors", "The release was not tried against the provider's limits."),
        ] {
            self.open(&review).await;
            let form = format!("form:has(input[value='{section}'])");
            browser.fill(&format!("{form} textarea"), text).await;
            let shown = text.replace('*', "");
            browser
                .until(
                    "the text as it will be shown",
                    &format!(
                        "const shown = document.querySelector(\"{form} .preview:not([hidden])\");
                         return shown && shown.innerText.trim() === \"{shown}\""
                    ),
                )
                .await;
            browser.click(&format!("{form} button")).await;
            browser.says("On record.").await;
        }
        browser.says("one action item").await;
        browser.fill("input[name=action]", "Test releases against the provider's limits").await;
        browser.fill("input[name=owner]", "oncall").await;
        browser.click("form:has(input[name=action]) button").await;
        browser.fill("form[action$='/post-mortem'] input[name=reason]", "All of it is known").await;
        browser.click("form[action$='/post-mortem'] button").await;
        browser.says("Started.").await;
        self.approve().await;
        loop {
            self.open(&review).await;
            if browser.has("form[action$='/sign-off']").await {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        self.look("review").await;
        browser.click_and_confirm("form[action$='/sign-off'] button").await;
        browser.says("signed off by Olivia Operator").await;
        assert_eq!(self.world.incident(&self.incident).await["state"], "CLOSED");
    }

    /// An alert that the policy leaves to a person, and the person.
    async fn promote(&self) {
        let browser = self.browser;
        for (id, severity) in [("am-search-1", "critical"), ("am-search-2", "info")] {
            let alert = json!({
                "candidateId": id, "policyId": "alerts", "source": "alertmanager", "severity": severity,
                "title": "Search answers slowly", "summary": "p99 of search is above 2 s in two regions.",
                "serviceName": "search", "environment": "production", "correlationKey": id,
                "signals": [{ "signalId": format!("{id}/p99"), "source": "prometheus", "summary": "p99 2.4 s" }],
            });
            self.world.post("candidates", alert).await;
            let is_decided = async || {
                let found = self.world.get(&format!("candidates/{id}")).await;
                (found["status"] != "RECEIVED").then_some(())
            };
            self.world.until("the candidate to be decided about", is_decided).await;
        }
        self.open("candidates").await;
        browser.says("DEFERRED").await;
        self.look("candidates").await;
        browser.click("a[href$='/candidates/am-search-1']").await;
        browser.says("How it was decided").await;
        self.look("candidate").await;
        browser.click_and_confirm("form[action$='/promote'] button.primary").await;
        browser.says("Declared.").await;
    }

    async fn look_around(&self) {
        let browser = self.browser;
        self.open("incidents/INC-2020-0001").await;
        browser.says("Not found").await;
        self.look("trouble").await;
        browser.open(&format!("{}/explorer", self.console)).await;
        take(browser, "explorer").await;
        self.open("log").await;
        browser.click("button[value=verify]").await;
        browser.says("Verified.").await;
        take(browser, "log").await;
        for (path, name, words) in [
            ("incidents".to_owned(), "incidents", "Checkout answers with errors"),
            (format!("incidents/{}?at=12", self.incident), "time-travel", "as it was after record 12"),
            (format!("incidents/{}/records/1", self.incident), "record", "INCIDENT_CREATED"),
            ("insights".to_owned(), "insights", "To detect"),
        ] {
            self.open(&path).await;
            browser.says(words).await;
            self.look(name).await;
        }
        for (vendor, name) in
            [("statuspage", "status-page"), ("confluence", "confluence"), ("pagerduty", "pagerduty")]
        {
            browser.open(self.world.line()["sandbox"][vendor].as_str().unwrap()).await;
            take(browser, name).await;
        }
    }
}
