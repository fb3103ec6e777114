//! Where runbook cells run as Kubernetes Jobs, as far as settings and build have it.

use std::sync::Arc;

use harmony_runner::Executor;

use crate::{
    config::{Config, bad},
    failure::Failure,
};

const NAMESPACE: &str = "HARMONY_RUNBOOK_NAMESPACE";
const CLUSTER: &str = "HARMONY_RUNBOOK_CLUSTER";

/// What runs cells elsewhere than on this machine.
pub(crate) fn executors(config: &Config) -> Result<Vec<Arc<dyn Executor>>, Failure> {
    #[cfg(feature = "kubernetes")]
    let jobs = jobs(config)?.map(|jobs| Arc::new(jobs) as Arc<dyn Executor>);
    #[cfg(not(feature = "kubernetes"))]
    let jobs = told(config).map(|_| None)?;
    Ok(jobs.into_iter().collect())
}

/// What `config check` says.
#[cfg(feature = "kubernetes")]
pub(crate) fn told(config: &Config) -> Result<String, Failure> {
    Ok(jobs(config)?.map_or_else(nothing, |jobs| jobs.place()))
}

#[cfg(feature = "kubernetes")]
fn jobs(config: &Config) -> Result<Option<harmony_runner::Jobs>, Failure> {
    use harmony_runner::{JobSettings, Jobs, JobsError};
    let setting = |key: &str| config.settings.get(key).map(str::to_owned);
    let cluster = setting(CLUSTER);
    let Some(namespace) = setting(NAMESPACE) else {
        return match cluster {
            Some(_) => {
                Err(bad(CLUSTER, "says nothing without HARMONY_RUNBOOK_NAMESPACE: set both, or unset it"))
            }
            None => Ok(None),
        };
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if namespace.is_empty() || namespace.len() > 63 || !namespace.bytes().all(plain) {
        return Err(bad(NAMESPACE, "expected the name of a Kubernetes namespace, such as harmony-cells"));
    }
    let kubeconfig = setting("HARMONY_KUBECONFIG").map(std::path::PathBuf::from);
    // In a pod the cluster goes without saying.
    let here = || kubeconfig.is_none().then(|| "this cluster".to_owned());
    let in_cluster = setting("HARMONY_KUBERNETES_CLUSTER").or_else(here);
    let made = Jobs::new(JobSettings { in_cluster, kubeconfig, cluster, ..JobSettings::new(&namespace) });
    made.map(Some).map_err(|error| match error {
        JobsError::Access(error) => bad("HARMONY_KUBECONFIG", &error.to_string()),
        JobsError::Cluster(problem) => bad(CLUSTER, &problem),
    })
}

#[cfg(not(feature = "kubernetes"))]
pub(crate) fn told(config: &Config) -> Result<String, Failure> {
    match [NAMESPACE, CLUSTER].into_iter().find(|key| config.settings.get(key).is_some()) {
        Some(key) => {
            Err(bad(key, "this build has no Kubernetes: build it with the feature kubernetes, or unset it"))
        }
        None => Ok(nothing()),
    }
}

fn nothing() -> String {
    "not configured: cells run on this pool".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn found(settings: &[(&str, &str)]) -> Result<String, String> {
        let environment =
            |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let config = Config::new(Settings::collect(&|_| None, &environment, None)).unwrap();
        assert_eq!(executors(&config).is_ok(), told(&config).is_ok());
        told(&config).map_err(|failure| failure.what)
    }

    #[test]
    fn nothing_set_is_nothing_configured() {
        assert_eq!(found(&[]), Ok("not configured: cells run on this pool".to_owned()));
    }

    #[test]
    #[cfg(feature = "kubernetes")]
    fn place_of_jobs_is_named_and_one_that_cannot_be_is_wrong() {
        assert_eq!(found(&[(NAMESPACE, "cells")]), Ok("namespace cells of this cluster".to_owned()));
        let both = [(NAMESPACE, "cells"), ("HARMONY_KUBERNETES_CLUSTER", "prod")];
        assert_eq!(found(&both), Ok("namespace cells of prod".to_owned()));
        for (settings, expected) in [
            (vec![(NAMESPACE, "Cells!")], "HARMONY_RUNBOOK_NAMESPACE: expected the name"),
            (vec![(CLUSTER, "prod")], "HARMONY_RUNBOOK_CLUSTER: says nothing without"),
            (
                vec![(NAMESPACE, "cells"), (CLUSTER, "prod")],
                "\"prod\" is not one of the clusters that are known",
            ),
            (
                vec![(NAMESPACE, "cells"), ("HARMONY_KUBECONFIG", "/nowhere/config")],
                "HARMONY_KUBECONFIG: the kubeconfig /nowhere/config cannot be read",
            ),
        ] {
            let problem = found(&settings).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    #[cfg(not(feature = "kubernetes"))]
    fn build_without_kubernetes_says_so_instead_of_running_cells_elsewhere() {
        let refused = found(&[(NAMESPACE, "cells")]).unwrap_err();
        assert!(refused.starts_with("HARMONY_RUNBOOK_NAMESPACE: this build has no Kubernetes"), "{refused}");
    }
}
