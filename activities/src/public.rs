//! Steps with an outward effect: the public incident.

use harmony_blueprints::contracts::{
    PublicDraft, PublicRemark, PublicResolution, PublicStatus, Scope, SeverityOf, StepReply, capability,
};
use harmony_capabilities::{
    error::{Attempt, CallError},
    statuspage::{ComponentStatus, Impact, Incident, IncidentDraft, IncidentStatus, Statuspage, Update},
};
use harmony_incidents::LinkName;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use uuid::Uuid;

use crate::{
    channel::{incident_key, step_key},
    effects::{Unkeyed, made},
    services::Services,
};

const NOT_CONFIGURED: &str = "Statuspage is not configured";

impl Services {
    pub(crate) async fn open_public(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        draft: &PublicDraft,
    ) -> Result<StepReply, ActivityError> {
        let Some(statuspage) = &self.statuspage else {
            return self.skipped(scope, capability::STATUSPAGE, NOT_CONFIGURED).await;
        };
        if let Some(reason) = self.kept_inside(scope, true).await? {
            return self.skipped(scope, capability::STATUSPAGE, reason).await;
        }
        let key = incident_key(scope, "statuspage-incident");
        let draft = IncidentDraft {
            name: draft.title.clone(),
            body: draft.message.clone(),
            status: IncidentStatus::Investigating,
            impact: (!draft.severity.is_empty()).then(|| impact(&draft.severity)),
            components: affected(&draft.components, &draft.severity),
        };
        let creation = Creation { statuspage, key, draft };
        self.perform_unkeyed(ctx, scope, capability::STATUSPAGE, key, &creation).await
    }

    pub(crate) async fn update_public(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        remark: &PublicRemark,
    ) -> Result<StepReply, ActivityError> {
        let status = match remark.status {
            PublicStatus::Investigating => IncidentStatus::Investigating,
            PublicStatus::Identified => IncidentStatus::Identified,
            PublicStatus::Monitoring => IncidentStatus::Monitoring,
        };
        let update = Update { status, body: remark.message.clone(), components: Vec::new() };
        self.say(ctx, scope, &remark.id, update).await
    }

    pub(crate) async fn resolve_public(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        resolution: &PublicResolution,
    ) -> Result<StepReply, ActivityError> {
        let operational = |id: &String| (id.clone(), ComponentStatus::Operational);
        let update = Update {
            status: IncidentStatus::Resolved,
            body: resolution.message.clone(),
            components: resolution.components.iter().map(operational).collect(),
        };
        self.say(ctx, scope, &resolution.id, update).await
    }

    pub(crate) async fn set_impact(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        change: &SeverityOf,
    ) -> Result<StepReply, ActivityError> {
        let Some(statuspage) = &self.statuspage else {
            return self.skipped(scope, capability::STATUSPAGE, NOT_CONFIGURED).await;
        };
        let impact = impact(&change.severity);
        let components = affected(&change.components, &change.severity);
        // Setting it to the same twice is one effect.
        self.perform(ctx, scope, capability::STATUSPAGE, step_key(scope), async || {
            Ok(reply(&statuspage.set_impact(&change.id, impact, &components).await?))
        })
        .await
    }

    async fn say(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        id: &str,
        update: Update,
    ) -> Result<StepReply, ActivityError> {
        let Some(statuspage) = &self.statuspage else {
            return self.skipped(scope, capability::STATUSPAGE, NOT_CONFIGURED).await;
        };
        if let Some(reason) = self.kept_inside(scope, true).await? {
            return self.skipped(scope, capability::STATUSPAGE, reason).await;
        }
        let key = step_key(scope);
        let saying = Saying { statuspage, key, id, update };
        self.perform_unkeyed(ctx, scope, capability::STATUSPAGE, key, &saying).await
    }
}

fn reply(incident: &Incident) -> StepReply {
    made(&incident.id, &[], &incident.shortlink)
}

/// How bad a severity is for the public.
fn impact(severity: &str) -> Impact {
    match severity {
        "P1" => Impact::Critical,
        "P2" => Impact::Major,
        "P3" => Impact::Minor,
        _ => Impact::None,
    }
}

/// How the components of an incident of this severity are.
fn affected(components: &[String], severity: &str) -> Vec<(String, ComponentStatus)> {
    let status = match severity {
        "P1" => ComponentStatus::MajorOutage,
        "P2" => ComponentStatus::PartialOutage,
        _ => ComponentStatus::DegradedPerformance,
    };
    components.iter().map(|id| (id.clone(), status)).collect()
}

struct Creation<'a> {
    statuspage: &'a Statuspage,
    key: Uuid,
    draft: IncidentDraft,
}

impl Creation<'_> {
    fn reply(incident: &Incident) -> StepReply {
        let status = IncidentStatus::Investigating.as_str();
        let links =
            [(LinkName::StatuspageIncidentId, incident.id.as_str()), (LinkName::StatuspageStatus, status)];
        made(&incident.id, &links, &incident.shortlink)
    }
}

impl Unkeyed for Creation<'_> {
    async fn find(&self) -> Result<Option<StepReply>, CallError> {
        Ok(self.statuspage.find_incident(&self.key).await?.as_ref().map(Self::reply))
    }

    async fn send(&self) -> Result<StepReply, CallError> {
        let created = self.statuspage.create_incident(Attempt::First, &self.key, &self.draft).await?;
        Ok(Self::reply(&created))
    }

    async fn count(&self) -> Result<usize, CallError> {
        self.statuspage.count_incidents(&self.key).await
    }
}

struct Saying<'a> {
    statuspage: &'a Statuspage,
    key: Uuid,
    id: &'a str,
    update: Update,
}

impl Saying<'_> {
    fn reply(&self, incident: &Incident) -> StepReply {
        made(&incident.id, &[(LinkName::StatuspageStatus, self.update.status.as_str())], &incident.shortlink)
    }
}

impl Unkeyed for Saying<'_> {
    async fn find(&self) -> Result<Option<StepReply>, CallError> {
        let found = self.statuspage.find_update(self.id, &self.update).await?;
        Ok(found.map(|incident| self.reply(&incident)))
    }

    async fn send(&self) -> Result<StepReply, CallError> {
        let update = self.statuspage.update_incident(Attempt::First, &self.key, self.id, &self.update);
        Ok(self.reply(&update.await?))
    }

    async fn count(&self) -> Result<usize, CallError> {
        self.statuspage.count_updates(self.id, &self.update).await
    }
}
