//! The registry of deployment adapters: the names that a service may give, and what each takes for a region and a
//! cluster where an environment names none.
//!
//! A name is valid whether or not this installation can deploy with it: acting on one that is not configured is
//! answered where it is acted on. The first five names are the contract's; the last two are for releases that a CI
//! system deploys and tells of, and for those that a reviewed runbook deploys.

use std::{fmt, str::FromStr};

/// How a service is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Adapter {
    /// Amazon Web Services.
    Aws,
    /// Fly.io.
    Fly,
    /// Google Cloud.
    Gcp,
    /// Kubernetes: the image of a Deployment.
    K8s,
    /// Render.
    Render,
    /// Deployed by somebody else's pipeline, which tells of it.
    External,
    /// Deployed by a runbook.
    Runbook,
}

/// A name that is not in the registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("adapter {name:?} is not known; the registry has aws, fly, gcp, k8s, render, external and runbook")]
pub struct UnknownAdapter {
    name: String,
}

impl Adapter {
    /// The registry, in the order in which errors and pages list it.
    pub const ALL: [Self; 7] =
        [Self::Aws, Self::Fly, Self::Gcp, Self::K8s, Self::Render, Self::External, Self::Runbook];

    /// The name in a service's `adapters.deployments`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Fly => "fly",
            Self::Gcp => "gcp",
            Self::K8s => "k8s",
            Self::Render => "render",
            Self::External => "external",
            Self::Runbook => "runbook",
        }
    }

    /// The region that the platform's own tools take where none is given; `default` where the platform has no regions.
    pub const fn default_region(self) -> &'static str {
        match self {
            Self::Aws => "us-east-1",
            Self::Fly => "iad",
            Self::Gcp => "us-central1",
            Self::Render => "oregon",
            Self::K8s | Self::External | Self::Runbook => "default",
        }
    }

    /// The cluster that the platform's own tools take where none is given: ECS calls its first one `default`, kubeadm
    /// calls it `kubernetes`.
    pub const fn default_cluster(self) -> &'static str {
        match self {
            Self::K8s => "kubernetes",
            Self::Aws | Self::Fly | Self::Gcp | Self::Render | Self::External | Self::Runbook => "default",
        }
    }
}

impl FromStr for Adapter {
    type Err = UnknownAdapter;
    fn from_str(name: &str) -> Result<Self, UnknownAdapter> {
        Self::ALL
            .into_iter()
            .find(|adapter| adapter.name() == name)
            .ok_or_else(|| UnknownAdapter { name: name.chars().take(40).collect() })
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_they_are_written_and_an_unknown_one_is_told_the_registry() {
        for adapter in Adapter::ALL {
            assert_eq!(adapter.name().parse(), Ok(adapter));
        }
        for unknown in ["heroku", "AWS", ""] {
            assert_eq!(
                unknown.parse::<Adapter>().unwrap_err().to_string(),
                format!(
                    "adapter {unknown:?} is not known; the registry has aws, fly, gcp, k8s, render, external and runbook"
                )
            );
        }
    }
}
