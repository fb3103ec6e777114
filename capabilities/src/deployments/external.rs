//! Deployed by somebody else's pipeline: Harmony records the release and waits to be told how it went.
//!
//! Nothing is sent anywhere. Whoever deploys says so at one of the doors for deployments (a webhook, the API), and the
//! release becomes Active or Failed by that.

use async_trait::async_trait;
use serde_json::json;

use super::{
    Adapter, AdapterName, Applied, CarriedOutBy, Deployment, DeploymentError, Plan, Progress, Target,
};

#[derive(Debug)]
pub(super) struct External;

#[async_trait]
impl Adapter for External {
    fn name(&self) -> AdapterName {
        AdapterName::External
    }

    fn carried_out_by(&self) -> CarriedOutBy {
        CarriedOutBy::Outside
    }

    async fn plan(&self, target: &Target, deployment: &Deployment) -> Result<Plan, DeploymentError> {
        let steps = vec![
            format!(
                "a pipeline outside Harmony deploys {} to {}",
                what(target, deployment),
                target.environment
            ),
            "Harmony changes nothing; it waits to be told how the deployment went".to_owned(),
        ];
        Ok(Plan::new(self.name(), steps, json!({ "target": target, "deployment": deployment })))
    }

    async fn apply(
        &self,
        target: &Target,
        deployment: &Deployment,
        _: &Plan,
    ) -> Result<Applied, DeploymentError> {
        Ok(Applied {
            adopted: false,
            reference: String::new(),
            detail: format!("waits for the pipeline that deploys {}", what(target, deployment)),
        })
    }

    async fn status(&self, target: &Target, deployment: &Deployment) -> Result<Progress, DeploymentError> {
        let detail = format!("waits to be told that {} was deployed", what(target, deployment));
        Ok(Progress::Running { detail })
    }
}

fn what(target: &Target, deployment: &Deployment) -> String {
    let Deployment { version, sha, .. } = deployment;
    if version.is_empty() {
        format!("{} at {sha}", target.service)
    } else {
        format!("{} {version}", target.service)
    }
}
