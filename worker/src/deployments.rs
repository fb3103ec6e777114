//! Where releases are deployed to from here: the adapters, as far as settings and build have them.

use harmony_capabilities::deployments::Adapters;

use crate::{
    config::{Config, bad},
    failure::Failure,
};

const CLUSTER: &str = "HARMONY_KUBERNETES_CLUSTER";
const KUBECONFIG: &str = "HARMONY_KUBECONFIG";

/// Every adapter; those that are not configured say so when they are asked.
#[cfg(feature = "kubernetes")]
pub(crate) fn adapters(config: &Config) -> Result<Adapters, Failure> {
    let k8s = kubernetes(config)?.map(std::sync::Arc::new);
    Ok(k8s.into_iter().fold(Adapters::default(), |adapters, k8s| adapters.with(k8s)))
}

/// What `config check` says.
#[cfg(feature = "kubernetes")]
pub(crate) fn told(config: &Config) -> Result<String, Failure> {
    let clusters = kubernetes(config)?.map(|k8s| k8s.clusters().join(", "));
    Ok(clusters.map_or_else(nothing, |clusters| format!("external, runbook, k8s ({clusters})")))
}

#[cfg(feature = "kubernetes")]
fn kubernetes(config: &Config) -> Result<Option<harmony_capabilities::deployments::k8s::K8s>, Failure> {
    use harmony_capabilities::deployments::k8s::{AccessError, K8s, Settings};
    let in_cluster = config.settings.get(CLUSTER).map(str::to_owned);
    let kubeconfig = config.settings.get(KUBECONFIG).map(std::path::PathBuf::from);
    if in_cluster.is_none() && kubeconfig.is_none() {
        return Ok(None);
    }
    let made = K8s::new(Settings { in_cluster, kubeconfig, ..Settings::default() });
    made.map(Some).map_err(|error| {
        let key = if matches!(error, AccessError::Twice(_)) { CLUSTER } else { KUBECONFIG };
        bad(key, &error.to_string())
    })
}

#[cfg(not(feature = "kubernetes"))]
pub(crate) fn adapters(config: &Config) -> Result<Adapters, Failure> {
    told(config).map(|_| Adapters::default())
}

#[cfg(not(feature = "kubernetes"))]
pub(crate) fn told(config: &Config) -> Result<String, Failure> {
    match [CLUSTER, KUBECONFIG].into_iter().find(|key| config.settings.get(key).is_some()) {
        Some(key) => {
            Err(bad(key, "this build has no Kubernetes: build it with the feature kubernetes, or unset it"))
        }
        None => Ok(nothing()),
    }
}

fn nothing() -> String {
    "external, runbook; k8s is not configured".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn found(key: &str, value: &str) -> Result<String, String> {
        let environment = |name: &str| (name == key).then(|| value.to_owned());
        let config = Config::new(Settings::collect(&|_| None, &environment, None)).unwrap();
        assert_eq!(adapters(&config).is_ok(), told(&config).is_ok());
        told(&config).map_err(|failure| failure.what)
    }

    #[test]
    fn nothing_set_is_nothing_configured() {
        assert_eq!(found("", ""), Ok("external, runbook; k8s is not configured".to_owned()));
    }

    #[test]
    #[cfg(feature = "kubernetes")]
    fn clusters_are_named_and_a_kubeconfig_that_is_not_there_is_wrong() {
        assert_eq!(found(CLUSTER, "prod"), Ok("external, runbook, k8s (prod)".to_owned()));
        let missing = found(KUBECONFIG, "/nowhere/config").unwrap_err();
        assert_eq!(
            missing,
            "HARMONY_KUBECONFIG: the kubeconfig /nowhere/config cannot be read: entity not found"
        );
    }

    #[test]
    #[cfg(not(feature = "kubernetes"))]
    fn build_without_kubernetes_says_so_instead_of_deploying_nowhere() {
        let refused = found(CLUSTER, "prod").unwrap_err();
        assert!(refused.starts_with("HARMONY_KUBERNETES_CLUSTER: this build has no Kubernetes"), "{refused}");
    }
}
