//! An adapter whose name is valid and that this installation cannot use: every question is answered so.

use async_trait::async_trait;

use super::{Adapter, AdapterName, Applied, Deployment, DeploymentError, Plan, Progress, Target};

#[derive(Debug)]
pub(super) struct Absent {
    name: AdapterName,
}

impl Absent {
    pub(super) fn new(name: AdapterName) -> Self {
        Self { name }
    }
}

#[async_trait]
impl Adapter for Absent {
    fn name(&self) -> AdapterName {
        self.name
    }

    async fn plan(&self, _: &Target, _: &Deployment) -> Result<Plan, DeploymentError> {
        Err(DeploymentError::not_configured(self.name))
    }

    async fn apply(&self, _: &Target, _: &Deployment, _: &Plan) -> Result<Applied, DeploymentError> {
        Err(DeploymentError::not_configured(self.name))
    }

    async fn status(&self, _: &Target, _: &Deployment) -> Result<Progress, DeploymentError> {
        Err(DeploymentError::not_configured(self.name))
    }
}
