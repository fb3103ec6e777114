//! A P1 walked by hand: declared, remediated, approved in Slack, closed out, reviewed and signed off.

use serde_json::{Value, json};

use super::{
    driver::{Browser, Driver},
    pictures::{decides_in_the_first_screen, fits_a_phone, take},
};
use crate::{
    server_process::left_out,
    world::{POLICY, World},
};

/// The console of a world and the stand-ins' pages.
struct Walk<'a> {
    world: &'a World,
    browser: &'a Browser<'a>,
    console: String,
    incident: String,
}

#[tokio::test]
async fn incident_is_walked_in_the_browser_from_declaration_to_sign_off() {
    let Some(driver) = Driver::start() else {
        left_out(
            "the browser's story",
            "there is no Chromium and chromedriver here (apt-get install chromium chromium-driver)",
        );
        return;
    };
    let world = World::start(POLICY).await;
    let browser = driver.browser().await;
    let console = world.line()["console"].as_str().unwrap().to_owned();
    let mut walk = Walk { world: &world, browser: &browser, console, incident: String::new() };

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
}

impl Walk<'_> {
    async fn open(&self, path: &str) {
        self.browser.open(&format!("{}/orgs/default/{path}", self.console)).await;
    }

    /// Presses a button in the sandbox's Slack as the commander, in another tab.
    async fn press_in_slack(&self, action: &str, name: &str) {
        let slack = self.world.line()["sandbox"]["slack"].as_str().unwrap();
        let tab = self.browser.new_tab().await;
        let button = format!("button[value=\"{action}\"]");
        loop {
            self.browser.open(&format!("{slack}/?as=U0COMMANDER")).await;
            if self.browser.has(&button).await {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        take(self.browser, name).await;
        self.browser.click(&button).await;
        self.browser.says("Harmony took your click").await;
        self.browser.back_to(&tab).await;
    }

    async fn sign_in(&self) {
        let browser = self.browser;
        browser.open(&self.console).await;
        browser.says("Access token").await;
        take(browser, "sign-in").await;
        fits_a_phone(browser, "sign-in").await;
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
        take(browser, "declare").await;
        fits_a_phone(browser, "declare").await;
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
        take(browser, "remediate").await;
        fits_a_phone(browser, "remediate").await;
        browser.click("main form[method=post] button.primary").await;
        browser.says("Waits for incident-commander or sre-oncall").await;
        browser.says("The errors began with this release").await;
    }

    async fn requester_and_viewer_may_not_approve(&self, driver: &Driver) {
        let browser = self.browser;
        assert!(!browser.has("button.approve").await, "who asked for it is offered no Approve");
        browser.says("who asked for it may not approve it").await;
        take(browser, "incident-gate").await;
        fits_a_phone(browser, "incident").await;
        decides_in_the_first_screen(browser, "incident", &[(1_440, 900)]).await;
        self.open("approvals").await;
        browser.says("Run rollback-deployment.md").await;
        take(browser, "approvals").await;
        fits_a_phone(browser, "approvals").await;
        let gate = browser.script("return document.querySelector('form.decide').action").await;
        browser.open(gate.as_str().unwrap()).await;
        browser.says("Digest of all of this").await;
        take(browser, "approval").await;
        fits_a_phone(browser, "approval").await;
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
        self.press_in_slack("approve", "slack").await;
        browser.says("deployment checkout (sample)").await;
        browser.until("the remediation to complete", "return [...document.querySelectorAll('.run')].some(one => one.innerText.toLowerCase().includes('remediate') && one.innerText.includes('COMPLETED'))").await;
        assert_eq!(browser.script("return window.untouched").await, true, "the output appeared by itself");
        take(browser, "incident-output").await;
        assert_eq!(browser.script("return document.querySelectorAll('main script').length").await, 0);
    }

    async fn close_out(&self) {
        let browser = self.browser;
        browser.fill("textarea[name=resolutionSummary]", "Rolled back to the release before").await;
        browser.click("form[action$='/close-out'] button").await;
        browser.says("Waits for").await;
        self.press_in_slack("approve", "slack-close-out").await;
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
        self.press_in_slack("approve", "slack-review").await;
        loop {
            self.open(&review).await;
            if browser.has("form[action$='/sign-off']").await {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        take(browser, "review").await;
        fits_a_phone(browser, "review").await;
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
        take(browser, "candidates").await;
        fits_a_phone(browser, "candidates").await;
        browser.click("a[href$='/candidates/am-search-1']").await;
        browser.says("How it was decided").await;
        take(browser, "candidate").await;
        fits_a_phone(browser, "candidate").await;
        browser.click_and_confirm("form[action$='/promote'] button.primary").await;
        browser.says("Declared.").await;
    }

    async fn look_around(&self) {
        let browser = self.browser;
        self.open("incidents/INC-2020-0001").await;
        browser.says("Not found").await;
        take(browser, "trouble").await;
        fits_a_phone(browser, "trouble").await;
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
            ("insights".to_owned(), "insights", "Median to detect"),
        ] {
            self.open(&path).await;
            browser.says(words).await;
            take(browser, name).await;
            fits_a_phone(browser, name).await;
        }
        for (vendor, name) in
            [("statuspage", "status-page"), ("confluence", "confluence"), ("pagerduty", "pagerduty")]
        {
            browser.open(self.world.line()["sandbox"][vendor].as_str().unwrap()).await;
            take(browser, name).await;
        }
    }
}
