//! Deployed by a reviewed runbook. The adapter says which one and with which variables; the cells are carried out by
//! whoever carries out every runbook, one by one, behind the gate that shows them.

use async_trait::async_trait;
use serde_json::json;

use super::{
    Adapter, AdapterName, Applied, CarriedOutBy, Deployment, DeploymentError, Plan, Progress, Target,
};

#[derive(Debug)]
pub(super) struct Runbook;

#[async_trait]
impl Adapter for Runbook {
    fn name(&self) -> AdapterName {
        AdapterName::Runbook
    }

    fn carried_out_by(&self) -> CarriedOutBy {
        CarriedOutBy::Runbook
    }

    /// The document is `{runbook, env}`: the cells find the release in their environment.
    async fn plan(&self, target: &Target, deployment: &Deployment) -> Result<Plan, DeploymentError> {
        let runbook = target.runbook.as_deref().filter(|path| !path.is_empty()).ok_or_else(|| {
            DeploymentError::target(
                self.name(),
                format!("{} names no runbook for {}", target.service, target.environment),
            )
        })?;
        let env = [
            ("RELEASE_CLUSTER", &target.cluster),
            ("RELEASE_ENVIRONMENT", &target.environment),
            ("RELEASE_ID", &deployment.release_id),
            ("RELEASE_REGION", &target.region),
            ("RELEASE_SERVICE", &target.service),
            ("RELEASE_SHA", &deployment.sha),
            ("RELEASE_VERSION", &deployment.version),
        ];
        let mut steps = vec![format!("runs the cells of the runbook {runbook}")];
        steps.extend(env.iter().map(|(name, value)| format!("with {name}={value:?}")));
        let env: serde_json::Map<_, _> =
            env.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        Ok(Plan::new(self.name(), steps, json!({ "runbook": runbook, "env": env })))
    }

    async fn apply(&self, _: &Target, _: &Deployment, _: &Plan) -> Result<Applied, DeploymentError> {
        Err(DeploymentError::CarriedOutElsewhere(self.name()))
    }

    async fn status(&self, _: &Target, _: &Deployment) -> Result<Progress, DeploymentError> {
        Err(DeploymentError::CarriedOutElsewhere(self.name()))
    }
}
