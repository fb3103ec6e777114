//! The beginning of a run: whose it is, whether they may, and which attempt it is.
//!
//! What cannot be put on an incident's record (no such incident, nobody of that id, a forged attestation) ends the run
//! with a final failure that names the field; everything else ends REFUSED, on record.

use harmony_blueprints::{
    contracts::{BeginReply, BeginRequest, Brief, Scope},
    revision,
};
use harmony_eventlog::LogError;
use harmony_incidents::{
    Answer, Command, IncidentId, OrgId, Principal, Right, StreamId, Subject, WorkflowId, WorkflowType,
    approvals::missing_for_review,
    attestation::StartClaim,
    ids::IdError,
    log::{Authority, IncidentState},
    policy::Manual,
    promotion::AUTO_ACTOR,
};
use jiff::SignedDuration;
use temporalio_sdk::activities::ActivityError;

use crate::{admission::start_key, failure, services::Services};

impl Services {
    pub(crate) async fn begin(&self, request: BeginRequest) -> Result<BeginReply, ActivityError> {
        let (workflow_id, org, stream) = self.identity(&request).await?;
        let rules = self.rules.current();
        let starter = rules.directory.get(&request.initiator_id);
        let attested = self.is_attested(&request, &org, &workflow_id)?;
        // Nobody in person: only a promotion starts in this name, and only our own door says that one did.
        let by_promotion = attested && request.initiator_id == AUTO_ACTOR;
        if starter.is_none() && !by_promotion {
            return Err(failure::last(
                "InvalidInput",
                format!(
                    "input.context.initiator_id: nobody of the id {:?} is in the directory",
                    shorten(&request.initiator_id)
                ),
            ));
        }
        let kind = workflow_id.kind_and_org().map(|(kind, _)| kind);
        let blueprint = workflow_id.blueprint();
        let known = match stream.subject() {
            Subject::Incident(incident) => {
                self.log.state(&org, &incident).await.map_err(|error| failure::log(&error))?
            }
            Subject::Service(_) | Subject::Environment(_) => {
                Some(self.state_of(&org, &stream).await.map_err(|error| failure::log(&error))?)
            }
        };
        // A commander is one of an incident; a release is asked about the roles of the organisation alone.
        let assigned = known.as_ref().filter(|_| stream.incident().is_some());
        let mut scope = Scope {
            org: org.clone(),
            stream,
            run_id: request.run_id.clone(),
            blueprint,
            attempt: 0,
            step: "start".to_owned(),
            actor: request.initiator_id.clone(),
            authority: starter
                .map_or(Authority::AutoEngine, |starter| rules.access.authority(starter, &org, assigned)),
            occurred_at: request.occurred_at,
            workflow_id,
        };
        if known.is_none() {
            self.declare(&request, &scope).await?;
        }
        // Whoever may propose a runbook for an incident may propose to take back what caused it.
        let rolled_back_for = self.rolled_back_for(&scope).await?;
        let (rights, assigned) = match &rolled_back_for {
            Some(incident) => (&[Right::OperationsExecute][..], Some(incident)),
            None => (rights_to_start(kind), assigned),
        };
        let missing = |starter: &Principal| {
            let rights = rights.iter();
            rights.copied().find(|right| !rules.access.may(starter, *right, &org, assigned))
        };
        let refuse = if !attested && rules.policy.manual_starts == Manual::Refuse {
            Some("workflows started straight at Temporal are not accepted here".to_owned())
        } else {
            // Who is nobody in person starts what a promotion decided: that was checked above.
            starter.and_then(missing).map(|right| rules.access.needs(right))
        };
        let command = Command::StartBlueprint {
            workflow_id: scope.workflow_id.clone(),
            starter: request.initiator_id.clone(),
            attested,
            target: request.target,
            refuse,
            input_text: request.input_text.clone(),
        };
        let key = start_key(&scope.workflow_id, &request.run_id);
        let appended = self
            .append(&scope, &key, &command, Some(&request.run_id))
            .await
            .map_err(|error| failure::log(&error))?;
        let (attempt, refused) = match appended.answer {
            Answer::Started { attempt, .. } => (attempt, None),
            Answer::Refused { attempt, reason } => (attempt, Some(reason)),
            other => {
                return Err(failure::last("LogAnswer", format!("the log answered a start with {other:?}")));
            }
        };
        scope.attempt = attempt;
        let state = self.state(&scope).await?;
        Ok(BeginReply {
            scope,
            refused,
            incident: brief(&state),
            patience_ms: milliseconds(rules.policy.step_patience),
            missing_for_review: missing_for_review(&state, rules.rules()),
            revision: revision::LATEST,
        })
    }

    /// An attestation that is there must hold; a start without one was made by hand.
    fn is_attested(
        &self,
        request: &BeginRequest,
        org: &OrgId,
        workflow_id: &WorkflowId,
    ) -> Result<bool, ActivityError> {
        let Some(start) = &request.start else { return Ok(false) };
        let claim = StartClaim {
            org: org.as_str(),
            workflow_id: workflow_id.as_str(),
            principal_id: &start.principal_id,
            requested_at: &start.requested_at,
            input_digest: &request.input_digest,
        };
        if start.principal_id == request.initiator_id
            && self.attestation.start_holds(&claim, &start.attestation)
        {
            return Ok(true);
        }
        Err(failure::last("InvalidInput", "input.start.attestation: it does not hold for this input"))
    }

    /// A run of initiate that was started by hand may bring its own incident.
    async fn declare(&self, request: &BeginRequest, scope: &Scope) -> Result<(), ActivityError> {
        let Some(incident) = &request.declare else {
            return Err(failure::last(
                "InvalidInput",
                format!("input.context.incident_id: {} does not exist; declare it first", scope.stream),
            ));
        };
        let command = Command::Declare { incident: incident.clone() };
        let key = format!("{}/run/{}/declare", scope.workflow_id, request.run_id);
        match self.append(scope, &key, &command, Some(&request.run_id)).await {
            Ok(_) => Ok(()),
            Err(LogError::Refused(refusal)) => {
                Err(failure::last("InvalidInput", format!("input: {refusal}")))
            }
            Err(error) => Err(failure::log(&error)),
        }
    }
}

impl Services {
    /// The workflow, its organisation, and whose records it writes.
    async fn identity(&self, request: &BeginRequest) -> Result<(WorkflowId, OrgId, StreamId), ActivityError> {
        let workflow_id: WorkflowId = request
            .workflow_id
            .parse()
            .map_err(|error: IdError| failure::last("InvalidInput", error.to_string()))?;
        let Some((kind, org)) = workflow_id.kind_and_org() else {
            return Err(failure::last("InvalidInput", "the workflow id names neither incident nor release"));
        };
        if kind.name() != request.workflow_type {
            return Err(failure::last(
                "InvalidInput",
                format!(
                    "workflow id {workflow_id} is one of {}, not of {}",
                    kind.name(),
                    request.workflow_type
                ),
            ));
        }
        if let Some((_, _, release)) = workflow_id.release() {
            let service = self.service_of(&org, &release).await?;
            return Ok((workflow_id, org, service.into()));
        }
        let incident = incident_of(request, &workflow_id)?;
        Ok((workflow_id, org, incident.into()))
    }
}

/// The incident of a blueprint's workflow, which the input must not contradict.
fn incident_of(request: &BeginRequest, workflow_id: &WorkflowId) -> Result<IncidentId, ActivityError> {
    let Some((_, _, incident)) = workflow_id.parts() else {
        return Err(failure::last("InvalidInput", "the workflow id names no incident"));
    };
    if !request.incident_id.is_empty() && request.incident_id != incident.as_str() {
        return Err(failure::last(
            "InvalidInput",
            format!(
                "input.context.incident_id: {:?} is not the incident of workflow {workflow_id}",
                shorten(&request.incident_id)
            ),
        ));
    }
    Ok(incident)
}

/// What whoever starts a blueprint must have the right to.
fn rights_to_start(kind: Option<WorkflowType>) -> &'static [Right] {
    match kind {
        Some(WorkflowType::CloseOut) => &[Right::Resolve],
        Some(WorkflowType::PostMortem) => &[Right::Respond, Right::ConfluenceWrite],
        Some(WorkflowType::Remediate) => &[Right::Respond, Right::OperationsExecute],
        Some(WorkflowType::Deploy | WorkflowType::Promote) => &[Right::DeployExecute],
        Some(WorkflowType::Act | WorkflowType::Initiate | WorkflowType::Updates) | None => &[Right::Respond],
    }
}

/// What a blueprint needs to know of its incident.
fn brief(state: &IncidentState) -> Brief {
    let text = |text: &Option<harmony_incidents::log::Text>| {
        text.as_ref().map(|text| text.shown().to_owned()).unwrap_or_default()
    };
    Brief {
        trace_id: state.trace_id.clone(),
        title: text(&state.title),
        severity: state.severity(),
        state: state.state(),
        phase: state.phase(),
        public_title: text(&state.public_title),
        public_message: text(&state.public_message),
        impacted_services: state.impacted_services.clone(),
        public_components: state.public_components.clone(),
        links: state.links.iter().map(|link| (link.name.clone(), link.value.clone())).collect(),
    }
}

pub(crate) fn milliseconds(duration: SignedDuration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(0).max(1_000)
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The Slack users of principals, where they have one.
pub(crate) fn slack_users<'a>(principals: impl IntoIterator<Item = &'a Principal>) -> Vec<String> {
    principals.into_iter().filter_map(|principal| principal.slack_user_id.clone()).collect()
}
