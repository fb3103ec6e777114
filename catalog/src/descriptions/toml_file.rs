//! Our own form: `[[environments]]` and `[[services]]`, with `[[services.targets]]`.

use std::collections::{BTreeMap, BTreeSet};

use harmony_incidents::{EnvironmentId, ServiceId};
use serde::Deserialize;
use toml::Spanned;

use super::{AdapterName, Description, DescriptionError, adapter_names};
use crate::entity::{Adapters, Environment, EnvironmentRef, Service, Target};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    environments: Vec<Spanned<EnvironmentTable>>,
    #[serde(default)]
    services: Vec<Spanned<ServiceTable>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EnvironmentTable {
    id: EnvironmentId,
    name: String,
    #[serde(default)]
    region: String,
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    policy_refs: Vec<String>,
    #[serde(default)]
    production: Option<bool>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceTable {
    id: ServiceId,
    name: String,
    #[serde(default)]
    repo: String,
    #[serde(default)]
    owner: String,
    /// Those of the targets, where nothing stands here.
    #[serde(default)]
    adapters: Vec<AdapterName>,
    /// Those of the targets, too.
    #[serde(default)]
    environments: Vec<EnvironmentId>,
    #[serde(default)]
    depends_on: Vec<ServiceId>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    targets: Vec<TargetTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetTable {
    environment: EnvironmentId,
    adapter: AdapterName,
    #[serde(default)]
    settings: BTreeMap<String, String>,
}

pub(super) fn parse(file: &str, text: &str) -> Result<Description, DescriptionError> {
    let line_at = |offset: usize| text.get(..offset).map(|before| before.matches('\n').count() + 1);
    let wrong = |offset: Option<usize>, key: &str, problem: &str| DescriptionError {
        file: file.to_owned(),
        line: offset.and_then(line_at),
        document: None,
        key: key.to_owned(),
        problem: problem.to_owned(),
    };
    let start = |error: &toml::de::Error| error.span().map(|span| span.start);
    let document =
        toml::Deserializer::parse(text).map_err(|error| wrong(start(&error), "", error.message()))?;
    let read: File = serde_path_to_error::deserialize(document).map_err(|error| {
        let key = crate::windows::toml_key(error.path());
        wrong(start(error.inner()), &key, error.inner().message())
    })?;
    let mut seen = BTreeSet::new();
    for (index, environment) in read.environments.iter().enumerate() {
        if !seen.insert(environment.get_ref().id.to_string()) {
            let at = Some(environment.span().start);
            return Err(wrong(at, &format!("environments[{index}].id"), "described twice in this file"));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, service) in read.services.iter().enumerate() {
        let at = Some(service.span().start);
        let key = |name: &str| format!("services[{index}].{name}");
        let table = service.get_ref();
        if !seen.insert(table.id.to_string()) {
            return Err(wrong(at, &key("id"), "described twice in this file"));
        }
        if table.depends_on.contains(&table.id) {
            return Err(wrong(at, &key("dependsOn"), "names the service itself"));
        }
        for (number, target) in table.targets.iter().enumerate() {
            let of_target = |name: &str| key(&format!("targets[{number}].{name}"));
            if !table.environments.is_empty() && !table.environments.contains(&target.environment) {
                return Err(wrong(at, &of_target("environment"), "not among the service's environments"));
            }
            if table.targets[..number].iter().any(|other| other.environment == target.environment) {
                return Err(wrong(at, &of_target("environment"), "has a target already"));
            }
            if !table.adapters.is_empty() && !table.adapters.contains(&target.adapter) {
                return Err(wrong(at, &of_target("adapter"), "not among the service's adapters"));
            }
        }
    }
    Ok(Description {
        environments: read.environments.into_iter().map(|table| environment(table.into_inner())).collect(),
        services: read.services.into_iter().map(|table| service(table.into_inner())).collect(),
        notes: vec![],
    })
}

fn environment(table: EnvironmentTable) -> Environment {
    let EnvironmentTable { id, name, region, cluster, policy_refs, production, labels } = table;
    Environment {
        id,
        name,
        region,
        cluster,
        policy_refs,
        production,
        region_defaulted: false,
        cluster_defaulted: false,
        labels,
        retired: false,
    }
}

fn service(table: ServiceTable) -> Service {
    let ServiceTable { id, name, repo, owner, adapters, mut environments, depends_on, labels, targets } =
        table;
    let named = adapters.into_iter().map(|adapter| adapter.0);
    let adapters = adapter_names(named.chain(targets.iter().map(|target| target.adapter.0)));
    if environments.is_empty() {
        environments = targets.iter().map(|target| target.environment.clone()).collect();
    }
    let targets = targets.into_iter().map(|target| Target {
        env_id: target.environment,
        adapter: target.adapter.0.name().to_owned(),
        settings: target.settings,
    });
    Service {
        id,
        name,
        repo: crate::inbound::repo(&repo),
        adapters: Adapters { deployments: adapters },
        environments: environments.into_iter().map(|id| EnvironmentRef { id, name: String::new() }).collect(),
        depends_on,
        owner,
        targets: targets.collect(),
        labels,
        retired: false,
    }
}
