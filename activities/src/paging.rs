//! Steps with an outward effect: the paging incident of an incident, and the pages of a gate's levels.

use harmony_blueprints::contracts::{
    PagingDraft, PagingRef, PagingRemark, Scope, SeverityOf, StepReply, capability,
};
use harmony_capabilities::{
    error::{Attempt, CallError},
    pagerduty::{Incident, IncidentDraft, PagerDuty},
};
use harmony_incidents::{LinkName, policy::PageTarget};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use uuid::Uuid;

use crate::{
    channel::{incident_key, step_key},
    effects::{Unkeyed, made, nothing_to_do},
    people::named,
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
        if let Some(reason) = self.kept_inside(scope, false).await? {
            return self.skipped(scope, capability::PAGERDUTY, reason).await;
        }
        let (resource, link) = match &draft.page {
            // Resolved with the incident; the pages of a gate end with their level.
            Some(about) if about.starts_with("severity/") => {
                (page_resource(about), LinkName::PagerdutySeverityPageId)
            }
            Some(level) => (page_resource(level), LinkName::PagerdutyPageId),
            None => ("pagerduty-incident".to_owned(), LinkName::PagerdutyIncidentId),
        };
        let key = incident_key(scope, &resource);
        let rules = self.rules.current();
        let usual = IncidentDraft {
            key,
            title: named(&rules.directory, &draft.title),
            service_id: paging.service_id.clone(),
            high_urgency: draft.page.is_some() || is_urgent(&draft.severity),
            details: named(&rules.directory, &draft.details),
            escalation_policy_id: None,
        };
        let target = rules.policy.page_target(&draft.roles);
        self.perform(ctx, scope, capability::PAGERDUTY, key, async || {
            let incident = match &draft.link {
                Some(id) => paging.pagerduty.get(id).await?,
                None => open_at(&paging.pagerduty, target, &usual).await?,
            };
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
        self.perform(ctx, scope, capability::PAGERDUTY, step_key(scope), async || {
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

impl Services {
    pub(crate) async fn set_urgency(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        change: &SeverityOf,
    ) -> Result<StepReply, ActivityError> {
        let Some(paging) = &self.paging else {
            return self.skipped(scope, capability::PAGERDUTY, NOT_CONFIGURED).await;
        };
        // Setting it to the same twice is one effect.
        self.perform(ctx, scope, capability::PAGERDUTY, step_key(scope), async || {
            let changed = paging.pagerduty.set_urgency(&change.id, is_urgent(&change.severity)).await?;
            Ok(made(&changed.id, &[], &changed.html_url))
        })
        .await
    }

    pub(crate) async fn add_note(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        remark: &PagingRemark,
    ) -> Result<StepReply, ActivityError> {
        let Some(paging) = &self.paging else {
            return self.skipped(scope, capability::PAGERDUTY, NOT_CONFIGURED).await;
        };
        let key = step_key(scope);
        let text = named(&self.rules.current().directory, &remark.text);
        let note = Note { pagerduty: &paging.pagerduty, key, id: &remark.id, text };
        self.perform_unkeyed(ctx, scope, capability::PAGERDUTY, key, &note).await
    }
}

struct Note<'a> {
    pagerduty: &'a PagerDuty,
    key: Uuid,
    id: &'a str,
    text: String,
}

impl Unkeyed for Note<'_> {
    async fn find(&self) -> Result<Option<StepReply>, CallError> {
        Ok((self.count().await? > 0).then(|| made(self.id, &[], "")))
    }

    async fn send(&self) -> Result<StepReply, CallError> {
        self.pagerduty.add_note(Attempt::First, &self.key, self.id, &self.text).await?;
        Ok(made(self.id, &[], ""))
    }

    async fn count(&self) -> Result<usize, CallError> {
        self.pagerduty.count_notes(&self.key, self.id).await
    }
}

/// Opens the incident where the policy says, or as usual where PagerDuty knows no such place: a page that reaches the
/// wrong people at night is better than none. Either way there is one: the key is the same.
async fn open_at(
    pagerduty: &PagerDuty,
    target: Option<&PageTarget>,
    usual: &IncidentDraft,
) -> Result<Incident, CallError> {
    let Some(target) = target else { return pagerduty.ensure_incident(usual).await };
    let wanted = IncidentDraft {
        service_id: target.service.clone().unwrap_or_else(|| usual.service_id.clone()),
        escalation_policy_id: target.escalation_policy.clone(),
        ..usual.clone()
    };
    match pagerduty.ensure_incident(&wanted).await {
        Err(error) if matches!(error.status(), Some(400 | 404)) => {
            let places = [&target.service, &target.escalation_policy];
            let named: Vec<&str> = places.into_iter().flatten().map(String::as_str).collect();
            tracing::warn!(policy = %named.join(", "), %error, "PagerDuty refuses where the policy pages this role: paged as usual");
            let details = format!(
                "{}\nPaged here because PagerDuty refuses {}, which policy.toml names: {error}",
                usual.details,
                named.join(", "),
            );
            pagerduty.ensure_incident(&IncidentDraft { details, ..usual.clone() }).await
        }
        other => other,
    }
}

/// P1 and P2 wake people; the rest waits for the morning, as the service is set up.
fn is_urgent(severity: &str) -> bool {
    matches!(severity, "P1" | "P2")
}

/// The page of one level of one gate.
fn page_resource(level: &str) -> String {
    format!("page/{level}")
}
