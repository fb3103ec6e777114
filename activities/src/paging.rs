//! Steps with an outward effect: the paging incident of an incident, and the pages of a gate's levels.

use harmony_blueprints::contracts::{PagingDraft, PagingRef, Scope, StepReply, capability};
use harmony_capabilities::pagerduty::IncidentDraft;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{
    channel::{incident_key, step_key},
    effects::{KeyedBy, made, nothing_to_do},
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
            Some(level) => (page_resource(level), "pagerdutyPageId"),
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
        incident: &PagingRef,
    ) -> Result<StepReply, ActivityError> {
        let Some(paging) = &self.paging else {
            return self.skipped(scope, capability::PAGERDUTY, NOT_CONFIGURED).await;
        };
        self.perform(ctx, scope, capability::PAGERDUTY, step_key(scope), KeyedBy::Vendor, async |_| {
            let id = match incident {
                PagingRef::Incident { id } => id.clone(),
                PagingRef::Page { level } => {
                    let key = incident_key(scope, &page_resource(level));
                    match paging.pagerduty.find_incident(&key).await? {
                        Some(found) => found.id,
                        None => return Ok(nothing_to_do("nobody was paged")),
                    }
                }
            };
            let resolved = paging.pagerduty.resolve(&id).await?;
            Ok(made(&resolved.id, &[], &resolved.html_url))
        })
        .await
    }
}

/// The page of one level of one gate.
fn page_resource(level: &str) -> String {
    format!("page/{level}")
}
