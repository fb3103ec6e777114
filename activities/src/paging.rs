//! Steps with an outward effect: the paging incident of an incident, and the pages of a gate's levels.

use harmony_blueprints::contracts::{ExternalRef, PagingDraft, Scope, StepReply, capability};
use harmony_capabilities::pagerduty::IncidentDraft;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{
    channel::{incident_key, step_key},
    effects::{KeyedBy, made},
    services::Services,
};

const NOT_CONFIGURED: &str = "PagerDuty is not configured";

impl Services {
    pub(crate) async fn open_paging(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        draft: &PagingDraft,
    ) -> Result<StepReply, ActivityError> {
        let Some(paging) = &self.paging else {
            return self.skipped(scope, capability::PAGERDUTY, NOT_CONFIGURED).await;
        };
        let (resource, link) = match &draft.page {
            Some(level) => (format!("page/{level}"), "pagerdutyPageId"),
            None => ("pagerduty-incident".to_owned(), "pagerdutyIncidentId"),
        };
        let key = incident_key(scope, &resource);
        let wanted = IncidentDraft {
            key,
            title: draft.title.clone(),
            service_id: paging.service_id.clone(),
            high_urgency: draft.page.is_some() || matches!(draft.severity.as_str(), "P1" | "P2"),
            details: draft.details.clone(),
            escalation_policy_id: None,
        };
        self.perform(ctx, scope, capability::PAGERDUTY, key, KeyedBy::Vendor, async |_| {
            let incident = paging.pagerduty.ensure_incident(&wanted).await?;
            Ok(made(&incident.id, &[(link, &incident.id)], &incident.html_url))
        })
        .await
    }

    pub(crate) async fn resolve_paging(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        incident: &ExternalRef,
    ) -> Result<StepReply, ActivityError> {
        let Some(paging) = &self.paging else {
            return self.skipped(scope, capability::PAGERDUTY, NOT_CONFIGURED).await;
        };
        self.perform(ctx, scope, capability::PAGERDUTY, step_key(scope), KeyedBy::Vendor, async |_| {
            let resolved = paging.pagerduty.resolve(&incident.id).await?;
            Ok(made(&resolved.id, &[], &resolved.html_url))
        })
        .await
    }
}
