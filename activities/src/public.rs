//! Steps with an outward effect: the public incident.

use harmony_blueprints::contracts::{PublicDraft, PublicResolution, Scope, StepReply, capability};
use harmony_capabilities::statuspage::{IncidentDraft, IncidentStatus, Update};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{
    channel::{incident_key, step_key},
    effects::{KeyedBy, made},
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
        let wanted = IncidentDraft {
            name: draft.title.clone(),
            body: draft.message.clone(),
            status: IncidentStatus::Investigating,
            impact: None,
            component_ids: draft.components.clone(),
        };
        self.perform(ctx, scope, capability::STATUSPAGE, key, KeyedBy::Us, async |attempt| {
            let incident = statuspage.create_incident(attempt, &key, &wanted).await?;
            Ok(made(&incident.id, &[("statuspageIncidentId", &incident.id)], &incident.shortlink))
        })
        .await
    }

    pub(crate) async fn resolve_public(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        resolution: &PublicResolution,
    ) -> Result<StepReply, ActivityError> {
        let Some(statuspage) = &self.statuspage else {
            return self.skipped(scope, capability::STATUSPAGE, NOT_CONFIGURED).await;
        };
        let key = step_key(scope);
        let update = Update { status: IncidentStatus::Resolved, body: resolution.message.clone() };
        self.perform(ctx, scope, capability::STATUSPAGE, key, KeyedBy::Us, async |attempt| {
            let incident = statuspage.update_incident(attempt, &key, &resolution.id, &update).await?;
            Ok(made(&incident.id, &[], &incident.shortlink))
        })
        .await
    }
}
