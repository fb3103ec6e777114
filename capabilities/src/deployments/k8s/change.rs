//! The one change to a Deployment: what it is, how it is shown, and whether it is still the one that was planned.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::objects::{REVISION, RollingUpdate, Workload};
use super::{NAME, Place, RELEASE, is_name};
use crate::deployments::{Applied, Deployment, DeploymentError, FieldConflict, Plan, Target};

/// As long as a repository and a tag may be together.
const IMAGE_CHARS: usize = 384;
/// More of what the API server would change besides is counted, not listed.
const LISTED: usize = 10;

/// What a plan holds the apply to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Change {
    cluster: String,
    namespace: String,
    workload: String,
    /// Of the object, so that another one of the same name is not taken for it.
    uid: String,
    pub(super) container: String,
    from: Present,
    image: String,
    pub(super) release: String,
    sha: String,
    version: String,
    /// Field managers that lose the image to us.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) take_over_from: Vec<String>,
}

/// What runs there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Present {
    image: String,
    release: Option<String>,
}

impl Present {
    fn of(workload: &Workload, container: &str) -> Self {
        Self {
            image: workload.image(container).unwrap_or_default().to_owned(),
            release: workload.release().map(str::to_owned),
        }
    }
}

impl Change {
    pub(super) fn new(
        place: &Place,
        target: &Target,
        deployment: &Deployment,
        workload: &Workload,
    ) -> Result<Self, DeploymentError> {
        let wrong = |reason: String| DeploymentError::target(NAME, reason);
        if deployment.release_id.is_empty() {
            return Err(wrong("the release has no id".to_owned()));
        }
        if workload.spec.paused {
            return Err(wrong(format!(
                "the Deployment {} is paused; resume it first (kubectl rollout resume)",
                place.workload
            )));
        }
        let container = container(target, workload)?;
        let from = Present::of(workload, &container);
        let image = image(target.image.as_deref(), &from.image, deployment).map_err(wrong)?;
        Ok(Self {
            cluster: place.cluster.clone(),
            namespace: place.namespace.clone(),
            workload: place.workload.clone(),
            uid: workload.metadata.uid.clone(),
            container,
            from,
            image,
            release: deployment.release_id.clone(),
            sha: deployment.sha.clone(),
            version: deployment.version.clone(),
            take_over_from: Vec::new(),
        })
    }

    /// What a plan was made for, if it was for this place and this release.
    pub(super) fn of(plan: &Plan, place: &Place, deployment: &Deployment) -> Result<Self, DeploymentError> {
        let change = (plan.adapter == NAME).then(|| Self::deserialize(&plan.document).ok()).flatten();
        let Some(change) = change else {
            return Err(DeploymentError::Stale("it is no plan of this adapter".to_owned()));
        };
        let is_there = (&change.cluster, &change.namespace, &change.workload)
            == (&place.cluster, &place.namespace, &place.workload);
        let is_it = (&change.release, &change.sha, &change.version)
            == (&deployment.release_id, &deployment.sha, &deployment.version);
        if is_there && is_it {
            return Ok(change);
        }
        Err(DeploymentError::Stale(format!("it is for release {} to {}", change.release, change.reference())))
    }

    pub(super) fn take_from(&mut self, taken: &[FieldConflict]) {
        let owners: BTreeSet<&String> = taken.iter().map(|one| &one.owner).collect();
        self.take_over_from = owners.into_iter().cloned().collect();
    }

    /// Whether what the plan found is still there.
    pub(super) fn check(&self, workload: &Workload) -> Result<(), DeploymentError> {
        let now = Present::of(workload, &self.container);
        if workload.metadata.uid != self.uid {
            return Err(DeploymentError::Stale(format!("{} was made anew since", self.reference())));
        }
        if now == self.from {
            return Ok(());
        }
        let describe = |Present { image, release }: &Present| match release {
            Some(release) => format!("{image} as release {release}"),
            None => format!("{image} as no release"),
        };
        Err(DeploymentError::Stale(format!(
            "{} runs {} by now, and the plan begins with {}",
            self.reference(),
            describe(&now),
            describe(&self.from)
        )))
    }

    /// What is applied. `version` makes the API server refuse it if anything of the object changed since.
    pub(super) fn patch(&self, version: Option<&str>) -> Value {
        let mut patch = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": self.workload,
                "namespace": self.namespace,
                // Without it an object that is gone would be made anew.
                "uid": self.uid,
                "annotations": { RELEASE: self.release },
            },
            "spec": { "template": { "spec": {
                "containers": [{ "name": self.container, "image": self.image }],
            } } },
        });
        if let Some(version) = version {
            patch["metadata"]["resourceVersion"] = version.into();
        }
        patch
    }

    pub(super) fn steps(&self, workload: &Workload) -> Vec<String> {
        let Self { namespace, workload: name, container, from, image, .. } = self;
        let mut steps = vec![format!("cluster {}, namespace {namespace}, Deployment {name}", self.cluster)];
        steps.push(if from.image == *image {
            format!("image of {container} stays {image}: no pod is replaced")
        } else {
            format!("image of {container}: {} → {image}", from.image)
        });
        let before = from.release.as_deref().unwrap_or("none");
        steps.push(format!("annotation {RELEASE}: {before} → {}", self.release));
        if !self.take_over_from.is_empty() {
            steps.push(format!("takes the image over from {}", self.take_over_from.join(", ")));
        }
        if from.image != *image {
            steps.push(rollout(workload));
        }
        steps
    }

    pub(super) fn applied(&self, workload: &Workload, adopted: bool) -> Applied {
        let reference = format!("{}#{}", self.reference(), workload.metadata.generation);
        let image = workload.image(&self.container).unwrap_or_default();
        let how = if adopted { "carried it already" } else { "carries it now" };
        let detail = format!("release {}: {} {how}, with the image {image}", self.release, self.reference());
        Applied { adopted, reference, detail }
    }

    fn reference(&self) -> String {
        format!("{}/{}/{}", self.cluster, self.namespace, self.workload)
    }
}

/// The container whose image is set.
pub(super) fn container(target: &Target, workload: &Workload) -> Result<String, DeploymentError> {
    let names: Vec<&str> =
        workload.spec.template.spec.containers.iter().map(|one| one.name.as_str()).collect();
    let name = &workload.metadata.name;
    match (&target.container, names.as_slice()) {
        (Some(wanted), _) if names.contains(&wanted.as_str()) && is_name(wanted, 63, false) => {
            Ok(wanted.clone())
        }
        (None, [only]) => Ok((*only).to_owned()),
        (Some(wanted), _) => Err(DeploymentError::target(
            NAME,
            format!("the Deployment {name} has no container {wanted:?}; it has {}", names.join(", ")),
        )),
        (None, _) => Err(DeploymentError::target(
            NAME,
            format!("the Deployment {name} has several containers; name one of {}", names.join(", ")),
        )),
    }
}

/// The image of a release: the template with version and sha in their places, or the present one with another tag.
fn image(template: Option<&str>, present: &str, deployment: &Deployment) -> Result<String, String> {
    let Deployment { sha, version, .. } = deployment;
    let template = match template {
        Some(template) if !template.contains("{version}") && !template.contains("{sha}") => {
            return Err(format!(
                "the image {template:?} is the same for every release: put {{version}} or {{sha}} in"
            ));
        }
        Some(template) => template.to_owned(),
        None => format!("{}:{{version}}", repository(present)?),
    };
    for (place, value, what) in [("{version}", version, "version"), ("{sha}", sha, "sha")] {
        if template.contains(place) && value.is_empty() {
            return Err(format!("the image {template:?} needs a {what}, and the release has none"));
        }
    }
    let image = template.replace("{version}", version).replace("{sha}", sha);
    let may_stand = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    if image.len() > IMAGE_CHARS || !image.chars().all(may_stand) {
        return Err(format!("{image:?} is no name of an image"));
    }
    Ok(image)
}

/// An image's name without its tag.
fn repository(image: &str) -> Result<&str, String> {
    if image.contains('@') {
        return Err(format!(
            "the present image {image} is pinned by digest: name an image with {{version}} or {{sha}}"
        ));
    }
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    Ok(image[last..].find(':').map_or(image, |colon| &image[..last + colon]))
}

fn rollout(workload: &Workload) -> String {
    let replicas = workload.spec.replicas.unwrap_or(1);
    let mut text = format!("replaces {replicas} replicas");
    if let Some(RollingUpdate { max_unavailable, max_surge }) = &workload.spec.strategy.rolling_update {
        let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let (missing, more) = (shown(max_unavailable), shown(max_surge));
        text.push_str(&format!(", at most {missing} of them missing and {more} more at a time"));
    } else if workload.spec.strategy.kind == "Recreate" {
        text.push_str(", all at once");
    }
    if let Some(seconds) = workload.spec.progress_deadline_seconds {
        text.push_str(&format!("; Kubernetes gives up after {seconds} s without progress"));
    }
    text
}

/// What the API server would change besides the image and the annotation: by name, since a value may be anything.
pub(super) fn others(before: &Value, after: &Value, container: &str) -> Vec<String> {
    let mut changed = Vec::new();
    for path in [&["metadata", "annotations"][..], &["metadata", "labels"], &["spec"]] {
        let at = |object: &Value| {
            path.iter().fold(object.clone(), |value, name| value.get(name).cloned().unwrap_or_default())
        };
        differences(&at(before), &at(after), &path.join("."), &mut changed);
    }
    // The Deployment's own controller counts revisions, at whatever moment it comes to it.
    let ours = [
        format!("metadata.annotations[{RELEASE}]"),
        format!("metadata.annotations[{REVISION}]"),
        format!("spec.template.spec.containers[{container}].image"),
    ];
    changed.retain(|path| !ours.contains(path));
    let more = changed.len().saturating_sub(LISTED);
    changed.truncate(LISTED);
    let mut lines: Vec<String> =
        changed.into_iter().map(|path| format!("the API server also changes {path}")).collect();
    if more > 0 {
        lines.push(format!("the API server also changes {more} more fields"));
    }
    lines
}

fn differences(before: &Value, after: &Value, path: &str, changed: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(_) | Value::Null, Value::Object(_)) | (Value::Object(_), Value::Null) => {
            let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
            let (before, after) = (members(before), members(after));
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let nothing = Value::Null;
                let at = if name.contains(['.', '/']) {
                    format!("{path}[{name}]")
                } else {
                    format!("{path}.{name}")
                };
                differences(
                    before.get(name).unwrap_or(&nothing),
                    after.get(name).unwrap_or(&nothing),
                    &at,
                    changed,
                );
            }
        }
        (Value::Array(old), Value::Array(new)) if named(old) && named(new) => {
            let name = |item: &Value| item["name"].as_str().unwrap_or_default().to_owned();
            let names: BTreeSet<String> = old.iter().chain(new).map(name).collect();
            for wanted in names {
                let find = |items: &[Value]| items.iter().find(|item| name(item) == wanted).cloned();
                let (old, new) = (find(old).unwrap_or_default(), find(new).unwrap_or_default());
                differences(&old, &new, &format!("{path}[{wanted}]"), changed);
            }
        }
        (before, after) if before != after => changed.push(path.to_owned()),
        _ => {}
    }
}

/// Whether the items of a list are known by their names, as containers and variables are.
fn named(items: &[Value]) -> bool {
    items.iter().all(|item| item["name"].is_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: Option<&str>, present: &str, expected: Result<&str, &str>) {
        let deployment = Deployment {
            release_id: "rel-1".to_owned(),
            sha: "4f2c1d0".to_owned(),
            version: "1.2.3".to_owned(),
        };
        match (image(template, present, &deployment), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{template:?} {present}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn image_is_the_template_or_the_present_one_with_another_tag() {
        check(Some("registry/shop:{version}"), "", Ok("registry/shop:1.2.3"));
        check(Some("registry/shop:{version}-{sha}"), "", Ok("registry/shop:1.2.3-4f2c1d0"));
        check(Some("registry/shop:latest"), "", Err("the same for every release"));
        check(Some("registry/shop v:{sha}"), "", Err("no name of an image"));
        check(None, "shop", Ok("shop:1.2.3"));
        check(None, "registry:5000/shop", Ok("registry:5000/shop:1.2.3"));
        check(None, "registry:5000/shop:1.0", Ok("registry:5000/shop:1.2.3"));
        check(None, "registry/shop@sha256:00", Err("pinned by digest"));
        let unnamed = Deployment { sha: "4f2c1d0".to_owned(), ..Deployment::default() };
        assert!(image(None, "shop:1", &unnamed).unwrap_err().contains("needs a version"));
        assert_eq!(image(Some("shop:{sha}"), "shop:1", &unnamed).unwrap(), "shop:4f2c1d0");
    }

    #[test]
    fn other_differences_are_named_and_their_values_are_not() {
        let object = |image: &str, more: Value| {
            json!({
                "metadata": {
                    "annotations": { RELEASE: image, REVISION: image }, "labels": more["labels"], "generation": 3
                },
                "spec": { "template": { "spec": { "containers": [
                    { "name": "app", "image": image, "env": more["env"], "args": more["args"] },
                    { "name": "side", "image": "side" },
                ] } } },
            })
        };
        let before = object("a", json!({ "env": [{ "name": "A", "value": "1" }] }));
        let env = json!([{ "name": "A", "value": "1" }, { "name": "TOKEN", "value": "hush" }]);
        let after = object("b", json!({ "labels": { "x/y": "1" }, "env": env, "args": ["a"] }));
        assert_eq!(
            others(&before, &after, "app"),
            [
                "the API server also changes metadata.labels[x/y]",
                "the API server also changes spec.template.spec.containers[app].args",
                "the API server also changes spec.template.spec.containers[app].env[TOKEN].name",
                "the API server also changes spec.template.spec.containers[app].env[TOKEN].value",
            ]
        );
        assert_eq!(
            others(&before, &object("b", json!({ "env": [{ "name": "A", "value": "1" }] })), "app").len(),
            0
        );
        assert_eq!(others(&before, &after, "side").len(), 5);
    }
}
