//! What the workflows of a release call: the run on record, the policies of its environment, the adapters, and how it
//! stands.
//!
//! An adapter is asked to apply only what the log says may go out: the release is Promoting by this very run, and where
//! a gate of the attempt asked, the plan is the one that it covers.

use std::{sync::Arc, time::Duration};

use harmony_blueprints::contracts::{
    self as contracts, Applied, ApplyOrder, Asked, CarriedOutBy, DeploymentPlan, Effect, IncidentBrief,
    JudgeRelease, PolicyReply, ReleaseBrief, ReleaseOrder, ReleaseRef, ReleaseRequest, ReleaseStanding,
    Scope, Standing, StartReply, StartRequest,
};
use harmony_capabilities::deployments::{
    Adapter, AdapterName, Deployment, DeploymentError, Plan, Progress, Target,
};
use harmony_catalog::{
    Command,
    entity::LogEntry,
    views,
    windows::{ReleaseAction, ReleaseQuestion, ReleaseVerdict, RollbackClaim},
    words::{PolicyOutcome, RunOutcome},
};
use harmony_eventlog::{LogError, StreamState, catalog::ReleaseFilter};
use harmony_incidents::{
    Answer, EnvironmentId, GateStatus, HasStatus, IncidentId, OrgId, Refusal, ReleaseId, ServiceId,
    WorkflowType,
    authority::Denied,
    ids::NAMESPACE,
    log::{
        EnvironmentState, IncidentState, LogLevel, ReleaseState, ReleaseStatus, RunKind, RunState,
        ServiceState, payload::Kind,
    },
    record::occurred_at,
};
use serde_json::Map;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use uuid::Uuid;

use crate::{effects::with_heartbeat, failure, services::Services};

/// How long one look at an applied release goes on before the workflow hears that it is still under way.
const FOLLOWED: Duration = Duration::from_mins(5);
/// Between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// Lines about its progress that one look records.
const LINES: usize = 20;
/// Longest line of a run's log that is made here.
const LINE_CHARS: usize = 2_000;

/// What the workflows of a release call.
pub struct ReleaseActivities(pub Arc<Services>);

#[activities]
impl ReleaseActivities {
    /// Puts the run on record.
    #[activity(definition = contracts::ReleaseStart)]
    pub async fn start(
        self: Arc<Self>,
        _ctx: ActivityContext,
        request: StartRequest,
    ) -> Result<StartReply, ActivityError> {
        self.0.start_release(&request).await
    }

    /// Asks the environment's policies.
    #[activity(definition = contracts::ReleaseJudge)]
    pub async fn judge(
        self: Arc<Self>,
        _ctx: ActivityContext,
        request: JudgeRelease,
    ) -> Result<PolicyReply, ActivityError> {
        self.0.judge_release(&request).await
    }

    /// Appends a command of the catalog.
    #[activity(definition = contracts::ReleaseAppend)]
    pub async fn append(
        self: Arc<Self>,
        _ctx: ActivityContext,
        request: ReleaseRequest,
    ) -> Result<Result<Answer, Refusal>, ActivityError> {
        let ReleaseRequest { scope, command } = request;
        if !matches!(
            command,
            Command::ChangeRelease { run_id: Some(_), .. }
                | Command::LogRun { .. }
                | Command::FinishRun { .. }
        ) {
            return Err(failure::last("NotAStep", "a release's run does not append this kind of command"));
        }
        match self.0.append_to_catalog(&scope, &scope.key(), &command, Some(&scope.run_id)).await {
            Ok(appended) => Ok(Ok(appended.answer)),
            Err(LogError::Refused(refusal)) => Ok(Err(refusal)),
            Err(error) => Err(failure::log(&error)),
        }
    }

    /// Reads how a release stands.
    #[activity(definition = contracts::ReleaseLook)]
    pub async fn look(
        self: Arc<Self>,
        _ctx: ActivityContext,
        request: ReleaseRef,
    ) -> Result<ReleaseStanding, ActivityError> {
        let (_, release) = self.0.release_of(&request.scope.org, &request.release_id).await?;
        let reason = release.reason.as_ref().map(|reason| reason.shown().to_owned()).unwrap_or_default();
        Ok(ReleaseStanding { status: release.status(), reason })
    }

    /// Says what would be done.
    #[activity(definition = contracts::ReleasePlan)]
    pub async fn plan(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<ReleaseOrder>,
    ) -> Result<DeploymentPlan, ActivityError> {
        let order = effect.args;
        let adapter = self.0.adapter(&order)?;
        let planned = with_heartbeat(&ctx, adapter.plan(&target(&order)?, &deployment(&order))).await;
        let Plan { steps, document, .. } = planned.map_err(|error| deployment_failed(&error))?;
        Ok(DeploymentPlan { steps, document })
    }

    /// Does what was planned.
    #[activity(definition = contracts::ReleaseApply)]
    pub async fn apply(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<ApplyOrder>,
    ) -> Result<Applied, ActivityError> {
        let Effect { scope, args: ApplyOrder { order, plan } } = effect;
        self.0.may_apply(&scope, &order, &plan).await?;
        let adapter = self.0.adapter(&order)?;
        let plan = Plan { adapter: adapter.name(), steps: plan.steps, document: plan.document };
        let applied = with_heartbeat(&ctx, adapter.apply(&target(&order)?, &deployment(&order), &plan)).await;
        let applied = applied.map_err(|error| deployment_failed(&error))?;
        let detail = if applied.reference.is_empty() {
            applied.detail
        } else {
            format!("{}: {}", applied.reference, applied.detail)
        };
        Ok(Applied { adopted: applied.adopted, detail })
    }

    /// Follows an applied release.
    #[activity(definition = contracts::ReleaseFollow)]
    pub async fn follow(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<ReleaseOrder>,
    ) -> Result<Standing, ActivityError> {
        let Effect { scope, args: order } = effect;
        let stopped = ctx.cancelled();
        tokio::select! {
            standing = with_heartbeat(&ctx, self.0.follow_release(&scope, &order)) => standing,
            () = stopped => Ok(Standing::Running),
        }
    }
}

impl Services {
    /// The service in whose stream a release stands.
    pub(crate) async fn service_of(
        &self,
        org: &OrgId,
        release: &ReleaseId,
    ) -> Result<ServiceId, ActivityError> {
        Ok(self.release_of(org, release).await?.0)
    }

    async fn release_of(
        &self,
        org: &OrgId,
        release: &ReleaseId,
    ) -> Result<(ServiceId, ReleaseState), ActivityError> {
        let filter = ReleaseFilter { ids: vec![release.clone()], limit: 1, ..ReleaseFilter::default() };
        let found = self.log.releases(org, &filter).await.map_err(|error| failure::log(&error))?;
        let found = found.into_iter().next().ok_or_else(|| {
            failure::last("InvalidInput", format!("there is no release {release}: create it first"))
        })?;
        Ok((found.service, found.release))
    }

    async fn service_state(&self, scope: &Scope) -> Result<ServiceState, ActivityError> {
        let found = self.log.catalog_state(&scope.org, &scope.stream).await;
        found
            .map_err(|error| failure::log(&error))?
            .and_then(StreamState::service)
            .ok_or_else(|| failure::last("LogRefused", format!("{} is not in the catalog", scope.stream)))
    }

    async fn environment_state(&self, org: &OrgId, id: &str) -> Result<EnvironmentState, ActivityError> {
        let missing = || failure::last("LogRefused", format!("environment {id:?} is not in the catalog"));
        let environment: EnvironmentId = id.parse().map_err(|_| missing())?;
        let found = self.log.catalog_state(org, &environment.into()).await;
        found.map_err(|error| failure::log(&error))?.and_then(StreamState::environment).ok_or_else(missing)
    }

    async fn start_release(&self, request: &StartRequest) -> Result<StartReply, ActivityError> {
        let StartRequest { scope, dry_run } = request;
        let Some((kind, org, release_id)) = scope.workflow_id.release() else {
            return Err(failure::last("InvalidInput", "the workflow id names no release"));
        };
        let (service_id, release) = self.release_of(&org, &release_id).await?;
        let service = self.service_state(scope).await?;
        let environment = self.environment_state(&org, &release.environment_id).await?;
        let kind = match kind {
            WorkflowType::Promote => RunKind::Promote,
            _ => RunKind::Deploy,
        };
        if (kind == RunKind::Promote) == release.promoted_from.is_empty() {
            let other = if kind == RunKind::Promote { "release.deploy" } else { "release.promote" };
            return Ok(StartReply::Refused(format!("{release_id} goes out by {other}")));
        }
        let order = match self.order(scope, &service_id, &service, &release, &environment) {
            Ok(order) => order,
            Err(problem) => return Ok(StartReply::Refused(problem)),
        };
        self.end_lost_runs(scope, &service).await?;
        let command = Command::StartRun {
            run_id: order.run_id.clone(),
            kind,
            release: release_id.clone(),
            env: environment.id.parse().map_err(|_| failure::last("LogRefused", "environment"))?,
            workflow_id: scope.workflow_id.to_string(),
            adapter: order.adapter.clone(),
            dry_run: *dry_run,
            attempt: scope.attempt,
        };
        match self.append_to_catalog(scope, &scope.key(), &command, Some(&scope.run_id)).await {
            Ok(_) => {}
            Err(LogError::Refused(refusal)) => return Ok(StartReply::Refused(refusal.to_string())),
            Err(error) => return Err(failure::log(&error)),
        }
        Ok(StartReply::Started(Box::new(ReleaseBrief {
            run_id: order.run_id.clone(),
            title: format!("{} {}", service.name, views::label(&release.version, &release.sha)),
            environment: environment.name.clone(),
            rolls_back: release.rolls_back.clone(),
            incident: self.incident_brief(&org, &release).await?,
            asked: self.asked(scope).await?,
            order,
        })))
    }

    /// A run of an earlier attempt that has no end was lost: it would be in the way for ever.
    async fn end_lost_runs(&self, scope: &Scope, service: &ServiceState) -> Result<(), ActivityError> {
        let workflow_id = scope.workflow_id.as_str();
        for lost in service.runs.iter().filter(|one| {
            one.workflow_id == workflow_id && one.attempt < scope.attempt && one.finished_at_us == 0
        }) {
            let command = Command::FinishRun {
                run_id: lost.run_id.parse().map_err(|_| failure::last("LogRefused", "run"))?,
                outcome: RunOutcome::Cancelled,
                reason: "it was lost; another attempt goes on".to_owned(),
            };
            let key = format!("{}/lost/{}", scope.key(), lost.run_id);
            match self.append_to_catalog(scope, &key, &command, Some(&scope.run_id)).await {
                Ok(_) | Err(LogError::Refused(_)) => {}
                Err(error) => return Err(failure::log(&error)),
            }
        }
        Ok(())
    }

    /// What goes where, by the target that the catalog names for the environment; else by the service's only adapter.
    fn order(
        &self,
        scope: &Scope,
        service_id: &ServiceId,
        service: &ServiceState,
        release: &ReleaseState,
        environment: &EnvironmentState,
    ) -> Result<ReleaseOrder, String> {
        let target = service.targets.iter().find(|one| one.environment_id == environment.id);
        let adapter = match (target, service.deployments.as_slice()) {
            (Some(target), _) => target.adapter.clone(),
            (None, []) => AdapterName::External.as_str().to_owned(),
            (None, [only]) => only.clone(),
            (None, several) => {
                return Err(format!(
                    "{service_id} can be deployed by {}, and no target says by which to {}: name one in the catalog",
                    several.join(", "),
                    environment.id
                ));
            }
        };
        let name: AdapterName = adapter.parse().map_err(|error| format!("{error}"))?;
        let by = self.adapters.get(name).map_err(|error| error.to_string())?;
        use harmony_capabilities::deployments::CarriedOutBy as By;
        let run = format!("{}#{}", scope.workflow_id, scope.attempt);
        let run_id = format!("run-{}", &Uuid::new_v5(&NAMESPACE, run.as_bytes()).simple().to_string()[..12]);
        Ok(ReleaseOrder {
            run_id: run_id.parse().map_err(|error| format!("{error}"))?,
            release_id: release.release_id.parse().map_err(|error| format!("{error}"))?,
            sha: release.sha.clone(),
            version: release.version.clone(),
            service: service_id.to_string(),
            environment: environment.id.clone(),
            region: environment.region.clone(),
            cluster: environment.cluster.clone(),
            adapter,
            carried_out_by: match by.carried_out_by() {
                By::Adapter => CarriedOutBy::Adapter,
                By::Outside => CarriedOutBy::Outside,
                By::Runbook => CarriedOutBy::Runbook,
            },
            settings: target
                .map(|one| one.settings.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect())
                .unwrap_or_default(),
        })
    }

    async fn incident_state(
        &self,
        org: &OrgId,
        release: &ReleaseState,
    ) -> Result<Option<IncidentState>, ActivityError> {
        let Ok(incident) = release.incident.parse::<IncidentId>() else { return Ok(None) };
        self.log.state(org, &incident).await.map_err(|error| failure::log(&error))
    }

    /// The incident for which a release is rolled back, where the scope's workflow does that.
    pub(crate) async fn rolled_back_for(
        &self,
        scope: &Scope,
    ) -> Result<Option<IncidentState>, ActivityError> {
        let Some((_, org, release)) = scope.workflow_id.release() else { return Ok(None) };
        let (_, release) = self.release_of(&org, &release).await?;
        if release.rolls_back.is_empty() {
            return Ok(None);
        }
        self.incident_state(&org, &release).await
    }

    async fn incident_brief(
        &self,
        org: &OrgId,
        release: &ReleaseState,
    ) -> Result<Option<IncidentBrief>, ActivityError> {
        let state = self.incident_state(org, release).await?;
        Ok(state.map(|state| IncidentBrief {
            id: state.incident.clone(),
            severity: state.severity(),
            links: state.links.iter().map(|link| (link.name.clone(), link.value.clone())).collect(),
        }))
    }

    /// What a gate of this attempt covers, where one was opened.
    async fn asked(&self, scope: &Scope) -> Result<Option<Asked>, ActivityError> {
        let state = self.state(scope).await?;
        let ours = state
            .gates
            .iter()
            .find(|gate| gate.workflow_id == scope.workflow_id.as_str() && gate.attempt == scope.attempt);
        match ours {
            None => Ok(None),
            Some(gate) => {
                Ok(Some(Asked { covers: self.covers(scope, gate).await?, digest: hex::encode(&gate.digest) }))
            }
        }
    }

    /// What the environment's policies say at the step's time. Asked again it is what they said first.
    async fn judge_release(&self, request: &JudgeRelease) -> Result<PolicyReply, ActivityError> {
        let JudgeRelease { scope, run_id } = request;
        let verdict = self.verdict(scope, scope.occurred_at).await?;
        let command = Command::policies_judged(run_id.clone(), &verdict);
        let appended = self
            .append_to_catalog(scope, &scope.key(), &command, Some(&scope.run_id))
            .await
            .map_err(|error| failure::log(&error))?;
        if !appended.repeated {
            return Ok(reply(verdict));
        }
        let first = appended.records.first();
        let at = first.map_or(scope.occurred_at, |entry| occurred_at(&entry.record));
        let verdict = self.verdict(scope, at).await?;
        let said = first.and_then(|entry| match entry.record.payload.as_ref()?.kind.as_ref()? {
            Kind::RunPoliciesJudged(judged) => Some(judged.outcome.clone()),
            _ => None,
        });
        if said.as_deref() == Some(verdict.outcome.name()) {
            return Ok(reply(verdict));
        }
        // Somebody changed the files in between: what they say now is not what was shown.
        Ok(PolicyReply {
            outcome: PolicyOutcome::Refuse,
            reason: "the environment's policies were changed while they were asked: start it again"
                .to_owned(),
            by: None,
            next_open: None,
            excepted: false,
            gates: vec![],
        })
    }

    async fn verdict(&self, scope: &Scope, at: jiff::Timestamp) -> Result<ReleaseVerdict, ActivityError> {
        let Some((kind, org, release_id)) = scope.workflow_id.release() else {
            return Err(failure::last("InvalidInput", "the workflow id names no release"));
        };
        let (_, release) = self.release_of(&org, &release_id).await?;
        let environment = self.environment_state(&org, &release.environment_id).await?;
        let incident = self.incident_state(&org, &release).await?;
        let policies = self.environment_policies.current().map_err(|problem| {
            failure::again(
                "Policies",
                format!("the policies of environments cannot be read: {problem}"),
                None,
            )
        })?;
        let rollback = incident
            .as_ref()
            .filter(|_| !release.rolls_back.is_empty())
            .map(|incident| RollbackClaim { incident, actor: &scope.actor });
        let is_rollback = rollback.is_some();
        let mut verdict = policies.judge(ReleaseQuestion {
            refs: &environment.policy_refs,
            action: match kind {
                WorkflowType::Promote => ReleaseAction::Promote,
                _ => ReleaseAction::Deploy,
            },
            at,
            rollback,
        });
        if matches!(verdict.outcome, PolicyOutcome::Proceed | PolicyOutcome::Gate)
            && let Some(problem) = self.denied(scope, &verdict, &environment, is_rollback)
        {
            verdict.outcome = PolicyOutcome::Refuse;
            verdict.reason = problem;
            verdict.gates = vec![];
        }
        Ok(verdict)
    }

    /// Why the installation's own access policies do not let this person release there.
    fn denied(
        &self,
        scope: &Scope,
        verdict: &ReleaseVerdict,
        environment: &EnvironmentState,
        rollback: bool,
    ) -> Option<String> {
        let rules = self.rules.current();
        let Some(principal) = rules.directory.get(&scope.actor) else {
            return Some(format!("nobody of the id {:?} is in the directory", scope.actor));
        };
        let ask = verdict.request(&environment.id, environment.production, rollback);
        match rules.access.may_release(principal, &scope.org, ask) {
            Ok(()) => None,
            Err(Denied::Forbidden { explanation, .. }) => Some(explanation),
            Err(Denied::NotPermitted) => {
                Some(format!("no access policy lets {} release to {}", principal.id, environment.id))
            }
        }
    }

    fn adapter(&self, order: &ReleaseOrder) -> Result<&Arc<dyn Adapter>, ActivityError> {
        let name: AdapterName =
            order.adapter.parse().map_err(|error: harmony_capabilities::deployments::UnknownAdapter| {
                failure::last("DeploymentRefused", error.to_string())
            })?;
        self.adapters.get(name).map_err(|error| deployment_failed(&error))
    }

    /// Whether the log says that this run may change something now, and by this plan.
    async fn may_apply(
        &self,
        scope: &Scope,
        order: &ReleaseOrder,
        plan: &DeploymentPlan,
    ) -> Result<(), ActivityError> {
        let refused = |why: &str| Err(failure::last("NotApproved", format!("{}: {why}", order.release_id)));
        let service = self.service_state(scope).await?;
        // One run at a time moves a release, so the one that goes on is the one that made it Promoting, or follows it.
        let goes_on = |one: &RunState| {
            one.run_id == order.run_id.as_str()
                && one.release_id == order.release_id.as_str()
                && (one.workflow_id.as_str(), one.attempt) == (scope.workflow_id.as_str(), scope.attempt)
                && one.finished_at_us == 0
                && !one.dry_run
        };
        let is_ours = |one: &ReleaseState| {
            one.release_id == order.release_id.as_str()
                && one.status() == ReleaseStatus::Promoting
                && (&one.sha, &one.version, &one.environment_id)
                    == (&order.sha, &order.version, &order.environment)
        };
        if !service.runs.iter().any(goes_on) || !service.releases.iter().any(is_ours) {
            return refused("it is not being promoted by this run");
        }
        let state = self.state(scope).await?;
        for gate in &state.gates {
            if gate.workflow_id != scope.workflow_id.as_str() || gate.attempt != scope.attempt {
                continue;
            }
            if !gate.is(GateStatus::Approved) {
                return refused("its gate was not approved");
            }
            let covers = self.covers(scope, gate).await?;
            let covers: serde_json::Value =
                serde_json::from_str(&covers).map_err(|error| failure::last("Digest", error.to_string()))?;
            if covers["plan"] != serde_json::json!(plan) {
                return refused("what is to be applied is not what its gate covers");
            }
        }
        Ok(())
    }

    async fn follow_release(&self, scope: &Scope, order: &ReleaseOrder) -> Result<Standing, ActivityError> {
        let adapter = self.adapter(order)?;
        let (target, deployment) = (target(order)?, deployment(order));
        let began = tokio::time::Instant::now();
        let mut said: Vec<String> = Vec::new();
        while began.elapsed() < FOLLOWED {
            let progress =
                adapter.status(&target, &deployment).await.map_err(|error| deployment_failed(&error))?;
            match progress {
                Progress::Active { detail } => return Ok(Standing::Active { detail }),
                Progress::Failed { reason } => return Ok(Standing::Failed { reason }),
                Progress::Running { detail } => {
                    if said.len() < LINES && !said.contains(&detail) {
                        self.progressed(scope, order, &detail).await?;
                        said.push(detail);
                    }
                }
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Ok(Standing::Running)
    }

    /// A line of the run's log, once.
    async fn progressed(
        &self,
        scope: &Scope,
        order: &ReleaseOrder,
        message: &str,
    ) -> Result<(), ActivityError> {
        let message: String = message.chars().take(LINE_CHARS).collect();
        let key = format!("{}/{}", scope.key(), Uuid::new_v5(&NAMESPACE, message.as_bytes()));
        let entry = LogEntry { ts: scope.occurred_at, level: LogLevel::Info, message, meta: Map::new() };
        let command = Command::LogRun { run_id: order.run_id.clone(), entry };
        match self.append_to_catalog(scope, &key, &command, None).await {
            // One line too many is no reason to stop.
            Ok(_) | Err(LogError::Refused(_)) => Ok(()),
            Err(error) => Err(failure::log(&error)),
        }
    }
}

fn reply(verdict: ReleaseVerdict) -> PolicyReply {
    PolicyReply {
        outcome: verdict.outcome,
        reason: verdict.reason,
        by: verdict.by,
        next_open: verdict.next_open,
        excepted: verdict.excepted.is_some(),
        gates: verdict.gates,
    }
}

fn target(order: &ReleaseOrder) -> Result<Target, ActivityError> {
    let name =
        order.adapter.parse().map_err(|error: harmony_capabilities::deployments::UnknownAdapter| {
            failure::last("DeploymentRefused", error.to_string())
        })?;
    let target = Target {
        service: order.service.clone(),
        environment: order.environment.clone(),
        region: order.region.clone(),
        cluster: order.cluster.clone(),
        ..Target::default()
    };
    target.with_settings(name, &order.settings).map_err(|error| deployment_failed(&error))
}

fn deployment(order: &ReleaseOrder) -> Deployment {
    Deployment {
        release_id: order.release_id.to_string(),
        sha: order.sha.clone(),
        version: order.version.clone(),
    }
}

/// What an adapter refused is final; what a platform did not answer is tried again, since a release that is there is
/// adopted.
fn deployment_failed(error: &DeploymentError) -> ActivityError {
    match error {
        DeploymentError::Call(call) => failure::call(call),
        DeploymentError::NotConfigured { .. }
        | DeploymentError::CarriedOutElsewhere(_)
        | DeploymentError::Target { .. }
        | DeploymentError::Stale(_)
        | DeploymentError::Conflict(_) => failure::last("DeploymentRefused", error.to_string()),
    }
}
