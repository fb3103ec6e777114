//! Steps with an outward effect: the public incident.

use harmony_blueprints::contracts::{
    PublicDraft, PublicRemark, PublicResolution, PublicStatus, Scope, SeverityOf, StepReply, capability,
};
use harmony_capabilities::{
    error::{Attempt, CallError},
    statuspage::{Impact, Incident, IncidentDraft, IncidentStatus, Statuspage, Update},
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
        let key = incident_key(scope, "statuspage-incident");
        let draft = IncidentDraft {
            name: draft.title.clone(),
            body: draft.message.clone(),
            status: IncidentStatus::Investigating,
            impact: None,
            component_ids: draft.components.clone(),
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
        self.say(ctx, scope, &remark.id, Update { status, body: remark.message.clone() }).await
    }

    pub(crate) async fn resolve_public(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        resolution: &PublicResolution,
    ) -> Result<StepReply, ActivityError> {
        let update = Update { status: IncidentStatus::Resolved, body: resolution.message.clone() };
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
        let impact = match change.severity.as_str() {
            "P1" => Impact::Critical,
            "P2" => Impact::Major,
            "P3" => Impact::Minor,
            _ => Impact::None,
        };
        // Setting it to the same twice is one effect.
        self.perform(ctx, scope, capability::STATUSPAGE, step_key(scope), async || {
            Ok(reply(&statuspage.set_impact(&change.id, impact).await?))
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
        let key = step_key(scope);
        let saying = Saying { statuspage, key, id, update };
        self.perform_unkeyed(ctx, scope, capability::STATUSPAGE, key, &saying).await
    }
}

fn reply(incident: &Incident) -> StepReply {
    made(&incident.id, &[], &incident.shortlink)
}

struct Creation<'a> {
    statuspage: &'a Statuspage,
    key: Uuid,
    draft: IncidentDraft,
}

impl Creation<'_> {
    fn reply(incident: &Incident) -> StepReply {
        made(&incident.id, &[(LinkName::StatuspageIncidentId, &incident.id)], &incident.shortlink)
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

impl Unkeyed for Saying<'_> {
    async fn find(&self) -> Result<Option<StepReply>, CallError> {
        Ok(self.statuspage.find_update(self.id, &self.update).await?.as_ref().map(reply))
    }

    async fn send(&self) -> Result<StepReply, CallError> {
        let update = self.statuspage.update_incident(Attempt::First, &self.key, self.id, &self.update);
        Ok(reply(&update.await?))
    }

    async fn count(&self) -> Result<usize, CallError> {
        self.statuspage.count_updates(self.id, &self.update).await
    }
}
