//! The story: checkout fails after a deployment, and is rolled back.

use serde_json::{Value, json};

use super::{progress::Progress, slack::Slack, watcher::Watcher};
use crate::{api::Api, failure::Failure, output::words, supervisor::Installation};

/// Commander's user in the sandbox's Slack.
const COMMANDER: &str = "U0COMMANDER";

/// What is deployed where; both are in the sample catalog.
const SERVICE: &str = "svc-checkout";
const ENVIRONMENT: &str = "env-prod";

/// How the story ended.
pub(super) struct Told {
    pub(super) incident_id: String,
    pub(super) state: String,
    pub(super) phase: String,
    pub(super) records: u64,
    pub(super) post_mortem_url: String,
}

/// Tells it.
pub(super) async fn tell(installation: &Installation, progress: &Progress) -> anyhow::Result<Told> {
    let api = installation.api()?;
    let slack = Slack::new(&installation.sandbox_origins().slack)?;
    deploy(&api, progress).await?;
    let id = declare(&api, progress).await?;
    let mut stage =
        Stage { api: &api, slack: &slack, progress, watcher: Watcher::new(&api, progress, &id), id };
    stage.completed("initiate").await?;
    stage.link_suspect().await?;

    let plan = json!({ "runbook": "runbooks/rollback-deployment.md", "verify": ["postcheck"] });
    stage.start("remediate", &plan, "operator proposes to roll the deployment back").await?;
    stage.approve("remediate").await?;
    stage.completed("remediate").await?;

    let resolution = json!({
        "resolutionSummary": "Rolled the checkout deployment back to the release before; errors are gone.",
        "resolutionType": "FIXED",
    });
    stage.start("close-out", &resolution, "operator proposes to close it out").await?;
    stage.approve("close-out").await?;
    stage.completed("close-out").await?;

    stage.review().await?;
    stage.start("post-mortem", &json!({}), "operator proposes to publish the review").await?;
    stage.approve("post-mortem").await?;
    stage.completed("post-mortem").await?;
    stage.sign_off().await
}

/// The release that was fine, and the one that was not; their pipeline tells of both.
async fn deploy(api: &Api, progress: &Progress) -> anyhow::Result<()> {
    let now = jiff::Timestamp::now();
    for (sha, version, minutes_ago) in [("3c1f0aa", "2.4.0", 20 * 60), ("9f3b7de", "2.4.1", 6)] {
        let at = now.checked_sub(jiff::SignedDuration::from_mins(minutes_ago))?;
        let release = json!({
            "serviceId": SERVICE, "envId": ENVIRONMENT, "sha": sha, "version": version, "status": "Active", "at": at,
        });
        api.with_new_key().post(&["releases"], &release).await?;
    }
    progress.line("CI tells that checkout 2.4.1 is active in production");
    Ok(())
}

async fn declare(api: &Api, progress: &Progress) -> anyhow::Result<String> {
    let declaration = json!({
        "title": "Checkout answers with errors since the last deployment",
        "severity": "P1",
        "serviceName": "checkout",
        "environment": "production",
        "summary": "A third of all payments fail.",
        "impactedServices": ["Checkout"],
        "publicTitle": "Payments may fail",
    });
    let reply = api.with_new_key().post(&["incidents"], &declaration).await?;
    let id = words(&reply.body["incidentId"]);
    progress.line(&format!("operator declares {id}: {}", words(&declaration["title"])));
    Ok(id)
}

struct Stage<'a> {
    api: &'a Api,
    slack: &'a Slack,
    progress: &'a Progress,
    watcher: Watcher<'a>,
    id: String,
}

impl Stage<'_> {
    async fn start(&mut self, blueprint: &str, body: &Value, said: &str) -> anyhow::Result<()> {
        self.progress.line(said);
        self.api.with_new_key().post(&["incidents", &self.id, blueprint], body).await?;
        Ok(())
    }

    /// The catalog names the release that may have caused it, and somebody says that it did.
    async fn link_suspect(&self) -> anyhow::Result<()> {
        let changes = self.api.get(&["incidents", &self.id, "changes"], &[]).await?;
        let suspect = &changes["suspected"][0];
        if suspect["version"] != "2.4.1" {
            let what = format!("the release before {} is not suspected: {changes}", self.id);
            return Err(Failure::failed(what, "`harmony demo --keep` leaves everything up for a look").into());
        }
        let (name, reason) = (words(&suspect["serviceName"]), words(&suspect["reason"]));
        self.progress.line(&format!("suspected: {name} 2.4.1, {reason}"));
        let link = json!({
            "releaseId": suspect["id"], "relation": "caused", "reason": "Payments fail since it.",
        });
        self.api.with_new_key().post(&["incidents", &self.id, "changes"], &link).await?;
        self.progress.line("operator links it as the cause");
        Ok(())
    }

    /// Waits for the blueprint's gate and clicks its button as commander.
    async fn approve(&mut self, blueprint: &str) -> anyhow::Result<()> {
        let gate = self
            .watcher
            .until(|incident| {
                still_possible(incident, blueprint)?;
                let gate = &incident["gate"];
                Ok((gate["blueprint"] == blueprint).then(|| words(&gate["gateId"])))
            })
            .await?;
        self.slack.click("approve", &gate, COMMANDER).await?;
        self.progress.line(&format!("commander clicks Approve in Slack: {blueprint}"));
        Ok(())
    }

    /// Waits until the blueprint has ended well.
    async fn completed(&mut self, blueprint: &str) -> anyhow::Result<()> {
        self.watcher
            .until(|incident| {
                still_possible(incident, blueprint)?;
                Ok((incident["blueprints"][blueprint]["status"] == "COMPLETED").then_some(()))
            })
            .await
    }

    /// What people know beyond the log.
    async fn review(&mut self) -> anyhow::Result<()> {
        self.progress.line("operator writes what people know");
        let sections = [
            ("summary", "A deployment of checkout broke a third of all payments. It was rolled back."),
            ("impact", "Payments failed for customers of checkout until the rollback was verified."),
            ("contributing-factors", "The release was not tried against the payment provider's new limits."),
        ];
        for (section, text) in sections {
            let body = json!({ "section": section, "text": text });
            self.api.with_new_key().post(&["incidents", &self.id, "review"], &body).await?;
        }
        let due = jiff::Zoned::now().date().checked_add(jiff::Span::new().days(14))?;
        let item = json!({ "action": "Test releases against the provider's limits", "owner": "oncall", "due": due.to_string() });
        self.api.with_new_key().post(&["incidents", &self.id, "review"], &item).await?;
        Ok(())
    }

    async fn sign_off(mut self) -> anyhow::Result<Told> {
        let digest = self
            .watcher
            .until(|incident| {
                let review = &incident["review"];
                Ok((review["published"] == true).then(|| words(&review["digest"])))
            })
            .await?;
        self.slack.click("sign-off", &digest, COMMANDER).await?;
        self.progress.line("commander reads the review and clicks Sign off in Slack");
        let incident = self
            .watcher
            .until(|incident| Ok((incident["state"] == "CLOSED").then(|| incident.clone())))
            .await?;
        Ok(Told {
            state: words(&incident["state"]),
            phase: words(&incident["phase"]),
            records: incident["seq"].as_u64().unwrap_or_default(),
            post_mortem_url: words(&incident["review"]["url"]),
            incident_id: self.id,
        })
    }
}

/// Fails as soon as a blueprint has ended otherwise than it should, or left something out.
fn still_possible(incident: &Value, blueprint: &str) -> anyhow::Result<()> {
    let found = &incident["blueprints"][blueprint];
    let status = words(&found["status"]);
    let hint = "`harmony demo --keep` leaves everything up for a look";
    if !["", "RUNNING", "COMPLETED"].contains(&status.as_str()) {
        let what = format!("{blueprint} ended {status}: {}", words(&found["reason"]));
        return Err(Failure::failed(what, hint).into());
    }
    let steps = found["steps"].as_array().map_or(&[][..], Vec::as_slice);
    if let Some(step) =
        steps.iter().find(|step| ["FAILED", "SKIPPED"].iter().any(|bad| step["status"] == *bad))
    {
        let what = format!(
            "{blueprint}: {} {}: {}",
            words(&step["name"]),
            words(&step["status"]),
            words(&step["error"])
        );
        return Err(Failure::failed(what, hint).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blueprint_that_ended_badly_ends_the_story() {
        let of = |status: &str, step: &str| json!({ "blueprints": { "initiate": { "status": status, "steps": [{ "name": "page", "status": step }] } } });
        assert!(still_possible(&json!({}), "initiate").is_ok());
        assert!(still_possible(&of("RUNNING", "SUCCEEDED"), "initiate").is_ok());
        assert!(still_possible(&of("REJECTED", "SUCCEEDED"), "initiate").is_err());
        assert!(still_possible(&of("COMPLETED", "SKIPPED"), "initiate").is_err());
    }
}
