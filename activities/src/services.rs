//! What the activities work with. Made once by whoever wires the worker.

use std::{path::PathBuf, sync::Arc};

use harmony_blueprints::contracts::Scope;
use harmony_capabilities::{
    confluence::Confluence, deployments::Adapters, github::GitHub, jira::Jira, pagerduty::PagerDuty,
    slack::Slack, statuspage::Statuspage,
};
use harmony_catalog::{judge::flow_of, windows::EnvironmentPolicySource};
use harmony_eventlog::{LogError, SharedLog, StreamState};
use harmony_incidents::{
    OrgId, RulesSource, StreamId, Subject,
    attestation::AttestationKeys,
    log::IncidentState,
    ticket::{TicketKey, TicketVerifier},
};
use harmony_runner::{Confinement, Executor, RunbookRoot};
use temporalio_sdk::activities::ActivityError;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{effects::EffectTiming, failure, flags::Flags, outputs::OutputSink, review::ReviewTemplate};

/// For the workers of the incidents queue. A vendor that is not configured is `None`: its steps are skipped, on record.
pub struct Services {
    /// The log.
    pub log: SharedLog,
    /// Directory and policy.
    pub rules: Arc<dyn RulesSource>,
    /// Which capabilities are switched on.
    pub flags: Arc<dyn Flags>,
    /// Keys of our own doors.
    pub attestation: AttestationKeys,
    /// Signs the tickets that cells need.
    pub tickets: TicketKey,
    /// Channel and buttons.
    pub slack: Option<Slack>,
    /// Paging.
    pub paging: Option<PagingService>,
    /// Public page.
    pub statuspage: Option<Statuspage>,
    /// Reviews.
    pub confluence: Option<ReviewSpace>,
    /// GitHub, where follow-ups become issues of one repository.
    pub jira: Option<Jira>,
    /// Jira, where follow-ups become issues of one project.
    pub github: Option<GitHub>,
    /// Where people reach the console: what links in messages begin with. Without it there are none.
    pub console: Option<Url>,
    /// How long a lost request is waited for.
    pub timing: EffectTiming,
    /// Where runbooks are proposed from.
    pub runbooks: RunbookRoot,
    /// What releases are deployed with.
    pub adapters: Adapters,
    /// When releases may go out.
    pub environment_policies: Arc<dyn EnvironmentPolicySource>,
    /// What reviews look like.
    pub review_template: ReviewTemplate,
}

/// PagerDuty and the service that incidents are opened on.
pub struct PagingService {
    /// The connector.
    pub pagerduty: PagerDuty,
    /// Service id.
    pub service_id: String,
}

/// Confluence and the space that reviews go to unless told otherwise.
pub struct ReviewSpace {
    /// The connector.
    pub confluence: Confluence,
    /// Space key.
    pub space_key: String,
}

impl Services {
    /// Where the incident stands, or the blueprints and gates of a service's runs. What is not there stands at the
    /// beginning.
    pub(crate) async fn state(&self, scope: &Scope) -> Result<IncidentState, ActivityError> {
        self.state_of(&scope.org, &scope.stream).await.map_err(|error| failure::log(&error))
    }

    /// As [`Self::state`], of a stream.
    pub(crate) async fn state_of(&self, org: &OrgId, stream: &StreamId) -> Result<IncidentState, LogError> {
        match stream.subject() {
            Subject::Incident(incident) => Ok(self.log.state(org, &incident).await?.unwrap_or_default()),
            Subject::Service(_) | Subject::Environment(_) => {
                let found = self.log.catalog_state(org, stream).await?;
                Ok(found.and_then(StreamState::service).map(|service| flow_of(&service)).unwrap_or_default())
            }
        }
    }
}

/// For the workers of the runbook queue: no database, vendor or attestation secret.
pub struct RunbookServices {
    /// Where cells work.
    pub runbooks: RunbookRoot,
    /// Verifies the tickets that cells come with.
    pub tickets: TicketVerifier,
    /// Folder with one file a secret, mounted into this pool alone.
    pub secrets: Option<PathBuf>,
    /// What the kernel keeps cells from, where it does.
    pub confinement: Option<Confinement>,
    /// Variables of the worker that cells may see.
    pub allow_env: Vec<String>,
    /// Takes what cells print while they run; without one nobody sees it before they have ended.
    pub outputs: Option<Arc<dyn OutputSink>>,
    /// What runs cells elsewhere than on this machine.
    pub executors: Vec<Arc<dyn Executor>>,
    /// Completes when this worker ends: cells that can go on without it do.
    pub stopping: CancellationToken,
}
