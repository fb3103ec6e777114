//! Services and environments as somebody writes them: what they name exists, production says where it is, and what is
//! retired stays as it is.

use harmony_incidents::{
    Judged, ServiceId,
    judge::invalid,
    log::{
        EnvironmentRetired, EnvironmentState, EnvironmentWritten, ServiceRetired, ServiceState,
        ServiceWritten, Text, payload::Kind,
    },
};

use super::{
    ADDRESS_LIMIT_CHARS, Facts, LIST_LIMIT, NAME_LIMIT_CHARS, adapter, few, illegal, known, line,
    not_retired, once, open_environment, pairs, recorded, required,
};
use crate::{
    adapters::Adapter,
    command::Refusal,
    entity::{Environment, Service},
};

pub(super) fn write_service(
    state: &ServiceState,
    service: &Service,
    facts: &Facts,
) -> Result<Judged, Refusal> {
    if !state.id.is_empty() && state.id != service.id.as_str() {
        return Err(invalid(&format!("this is service {}, and its id never changes", state.id)));
    }
    not_retired(state)?;
    if service.retired {
        return Err(invalid("a service is retired by its own command, not by writing it"));
    }
    required("the service's name", &service.name, NAME_LIMIT_CHARS)?;
    line("the repository", &service.repo, ADDRESS_LIMIT_CHARS)?;
    line("the owner", &service.owner, NAME_LIMIT_CHARS)?;
    for name in &service.adapters.deployments {
        adapter(name)?;
    }
    once("adapter", service.adapters.deployments.iter().map(String::as_str))?;
    few("environments", &service.environments, LIST_LIMIT)?;
    once("environment", service.environments.iter().map(|one| one.id.as_str()))?;
    few("dependencies", &service.depends_on, LIST_LIMIT)?;
    once("dependency", service.depends_on.iter().map(ServiceId::as_str))?;
    if service.depends_on.contains(&service.id) {
        return Err(invalid(&format!("{} cannot depend on itself", service.id)));
    }
    few("targets", &service.targets, LIST_LIMIT)?;
    once("the target for", service.targets.iter().map(|one| one.env_id.as_str()))?;
    for target in &service.targets {
        adapter(&target.adapter)?;
        if !service.adapters.deployments.contains(&target.adapter) {
            return Err(invalid(&format!(
                "the target for {} uses {}, which adapters.deployments does not name",
                target.env_id, target.adapter
            )));
        }
        if !service.environments.iter().any(|one| one.id == target.env_id) {
            return Err(invalid(&format!(
                "there is a target for {}, which environments does not name",
                target.env_id
            )));
        }
    }
    let mut written = service.written();
    for target in &written.targets {
        pairs("settings of a target", &target.settings)?;
    }
    pairs("labels", &written.labels)?;
    // The name beside the id is the environment's own.
    for (one, reference) in written.environments.iter_mut().zip(&service.environments) {
        let held = state.environments.iter().any(|held| held.id == one.id);
        let environment =
            if held { known(facts, &reference.id)? } else { open_environment(facts, &reference.id)? };
        one.name.clone_from(&environment.name);
    }
    if state.seq > 0 && written == as_written(state) {
        return Ok(Judged::unchanged());
    }
    Ok(recorded(Kind::ServiceWritten(written)))
}

fn as_written(state: &ServiceState) -> ServiceWritten {
    ServiceWritten {
        name: state.name.clone(),
        repo: state.repo.clone(),
        deployments: state.deployments.clone(),
        environments: state.environments.clone(),
        depends_on: state.depends_on.clone(),
        owner: state.owner.clone(),
        targets: state.targets.clone(),
        labels: state.labels.clone(),
    }
}

pub(super) fn retire_service(state: &ServiceState, reason: &str) -> Result<Judged, Refusal> {
    if state.retired {
        return Ok(Judged::unchanged());
    }
    if let Some(run) = state.runs.iter().find(|run| run.finished_at_us == 0) {
        return Err(illegal(format!("run {} of {} goes on: stop it first", run.run_id, run.release_id)));
    }
    Ok(recorded(Kind::ServiceRetired(ServiceRetired { reason: Text::optional(reason) })))
}

pub(super) fn retire_environment(state: &EnvironmentState, reason: &str) -> Judged {
    if state.retired {
        return Judged::unchanged();
    }
    recorded(Kind::EnvironmentRetired(EnvironmentRetired { reason: Text::optional(reason) }))
}

pub(super) fn write_environment(
    state: &EnvironmentState,
    environment: &Environment,
    defaults: Option<&str>,
) -> Result<Judged, Refusal> {
    if !state.id.is_empty() && state.id != environment.id.as_str() {
        return Err(invalid(&format!("this is environment {}, and its id never changes", state.id)));
    }
    if state.retired {
        return Err(illegal(format!("environment {} is retired: nothing new happens in it", state.id)));
    }
    if environment.retired {
        return Err(invalid("an environment is retired by its own command, not by writing it"));
    }
    required("the environment's name", &environment.name, NAME_LIMIT_CHARS)?;
    few("policies", &environment.policy_refs, LIST_LIMIT)?;
    once("policy", environment.policy_refs.iter().map(String::as_str))?;
    for reference in &environment.policy_refs {
        required("a policy's name", reference, NAME_LIMIT_CHARS)?;
    }
    let mut written = environment.written();
    pairs("labels", &written.labels)?;
    let adapter = adapter(defaults.unwrap_or(Adapter::External.name()))?;
    // A default that stands already stays, unless somebody names an adapter.
    let standing = |defaulted: bool, held: &str, native: &str| {
        if defaulted && defaults.is_none() { held.to_owned() } else { native.to_owned() }
    };
    let native = adapter.default_region();
    (written.region, written.region_defaulted) = given(&environment.region, environment.region_defaulted)
        .unwrap_or_else(|| (standing(state.region_defaulted, &state.region, native), true));
    let native = adapter.default_cluster();
    (written.cluster, written.cluster_defaulted) = given(&environment.cluster, environment.cluster_defaulted)
        .unwrap_or_else(|| (standing(state.cluster_defaulted, &state.cluster, native), true));
    let missing: Vec<&str> = [("region", written.region_defaulted), ("cluster", written.cluster_defaulted)]
        .into_iter()
        .filter_map(|(field, defaulted)| defaulted.then_some(field))
        .collect();
    if written.production && !missing.is_empty() {
        return Err(invalid(&format!(
            "environment {} is production: say its {} (or production = false)",
            environment.id,
            missing.join(" and ")
        )));
    }
    line("the region", &written.region, NAME_LIMIT_CHARS)?;
    line("the cluster", &written.cluster, NAME_LIMIT_CHARS)?;
    let as_written = EnvironmentWritten {
        name: state.name.clone(),
        region: state.region.clone(),
        cluster: state.cluster.clone(),
        policy_refs: state.policy_refs.clone(),
        production: state.production,
        region_defaulted: state.region_defaulted,
        cluster_defaulted: state.cluster_defaulted,
        labels: state.labels.clone(),
    };
    if state.seq > 0 && written == as_written {
        return Ok(Judged::unchanged());
    }
    Ok(recorded(Kind::EnvironmentWritten(written)))
}

/// What somebody gave: a document that was read and is sent again repeats a default, marked as one.
fn given(text: &str, defaulted: bool) -> Option<(String, bool)> {
    (!defaulted && !text.trim().is_empty()).then(|| (text.to_owned(), false))
}
