//! Backstage's `catalog-info.yaml`: a `Component` is a service. A file may hold several documents.
//!
//! | of a Component | becomes |
//! |---|---|
//! | `metadata.name`, with its namespace where that is not `default` | the id |
//! | `metadata.title`, else its name | the name |
//! | `github.com/project-slug`, `gitlab.com/project-slug`, `backstage.io/source-location` | the repository |
//! | `spec.owner` | the owner |
//! | `spec.dependsOn`, as far as it names Components | the dependencies |
//! | `spec.type`, `spec.lifecycle`, `spec.system`, `metadata.labels` | labels |
//! | the annotations `harmony.dev/environments` and `harmony.dev/adapters`, lists with commas | environments, adapters |
//!
//! Every other kind (API, Resource, System, Group, …) is no service and is left out with a note, as is a dependency on
//! one.

use std::collections::{BTreeMap, BTreeSet};

use harmony_incidents::{EnvironmentId, ServiceId, ids::IdError};
use serde::{Deserialize, de::DeserializeOwned};
use serde_norway::Value;

use super::{Description, DescriptionError, adapter_names};
use crate::{
    Adapter,
    entity::{Adapters, EnvironmentRef, Service},
    inbound::repo,
};

/// Which environments a service runs in.
const ENVIRONMENTS: &str = "harmony.dev/environments";
/// How it can be deployed.
const ADAPTERS: &str = "harmony.dev/adapters";

/// Any kind of entity, as far as each has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entity {
    api_version: String,
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    owner: String,
    #[serde(rename = "type")]
    component_type: String,
    #[serde(default)]
    lifecycle: Option<String>,
    #[serde(default)]
    system: Option<String>,
    #[serde(default)]
    depends_on: Vec<String>,
}

/// A reference to an entity: `[<kind>:][<namespace>/]<name>`.
struct EntityRef<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> EntityRef<'a> {
    fn of(text: &'a str, kind: &'a str, namespace: &'a str) -> Self {
        let (kind, rest) = text.split_once(':').unwrap_or((kind, text));
        let (namespace, name) = rest.split_once('/').unwrap_or((namespace, rest));
        Self { kind, namespace, name }
    }

    fn is(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind)
    }

    /// One word for it: of another namespace than the default with that before it.
    fn id(&self) -> String {
        if self.namespace.eq_ignore_ascii_case(DEFAULT_NAMESPACE) {
            self.name.to_owned()
        } else {
            format!("{}.{}", self.namespace, self.name)
        }
    }
}

const DEFAULT_NAMESPACE: &str = "default";

pub(super) fn parse(file: &str, text: &str) -> Result<Description, DescriptionError> {
    let mut described = Description::default();
    let mut seen = BTreeSet::new();
    for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let place = Place { file, document: index + 1 };
        let value = Value::deserialize(document).map_err(|error| {
            let line = error.location().map(|location| location.line());
            DescriptionError { line, ..place.wrong("", without_place(&error)) }
        })?;
        // Nothing stands between two lines of dashes.
        if value.is_null() {
            continue;
        }
        let entity: Entity = place.read("", value)?;
        if !entity.api_version.starts_with("backstage.io/") {
            let problem = format!("{:?}: expected backstage.io/v1alpha1", entity.api_version);
            return Err(place.wrong("apiVersion", problem));
        }
        if entity.kind != "Component" {
            let (kind, name) = (&entity.kind, &entity.metadata.name);
            described.notes.push(format!("{file}: document {}: {kind} {name} is no service", place.document));
            continue;
        }
        let (service, notes) = component(&place, entity)?;
        if !seen.insert(service.id.to_string()) {
            return Err(place.wrong("metadata.name", "described twice in this file"));
        }
        described.services.push(service);
        described.notes.extend(notes);
    }
    Ok(described)
}

/// Where something stands.
struct Place<'a> {
    file: &'a str,
    document: usize,
}

impl Place<'_> {
    fn wrong(&self, key: &str, problem: impl Into<String>) -> DescriptionError {
        DescriptionError {
            file: self.file.to_owned(),
            line: None,
            document: Some(self.document),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// Reads what stands under a key; the whole document under none.
    fn read<T: DeserializeOwned>(&self, key: &str, value: Value) -> Result<T, DescriptionError> {
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let parts = [key, path.as_str()].into_iter().filter(|part| !part.is_empty() && *part != ".");
            self.wrong(&parts.collect::<Vec<_>>().join("."), without_place(error.inner()))
        })
    }

    /// An id that stands under a key.
    fn id<T: std::str::FromStr<Err = IdError>>(&self, key: &str, text: &str) -> Result<T, DescriptionError> {
        text.parse().map_err(|error: IdError| self.wrong(key, error.to_string()))
    }
}

/// The problem without the line that the vendor's text ends with, which stands before it already.
fn without_place(error: &serde_norway::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(problem, _)| problem).to_owned()
}

fn component(place: &Place<'_>, entity: Entity) -> Result<(Service, Vec<String>), DescriptionError> {
    let Entity { metadata, spec, .. } = entity;
    let Component { owner, component_type, lifecycle, system, depends_on } = place.read("spec", spec)?;
    let Metadata { name, namespace, title, annotations, mut labels } = metadata;
    let namespace = namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let own = EntityRef { kind: "component", namespace, name: &name };
    let id: ServiceId = place.id("metadata.name", &own.id())?;
    let mut notes = Vec::new();
    let mut dependencies: Vec<ServiceId> = Vec::new();
    for (index, text) in depends_on.iter().enumerate() {
        let key = format!("spec.dependsOn[{index}]");
        let reference = EntityRef::of(text, "component", namespace);
        if !reference.is("component") {
            let (file, document) = (place.file, place.document);
            notes.push(format!("{file}: document {document}: {key}: {text} is no service"));
            continue;
        }
        let dependency: ServiceId = place.id(&key, &reference.id())?;
        if dependency == id {
            return Err(place.wrong(&key, "names the component itself"));
        }
        if !dependencies.contains(&dependency) {
            dependencies.push(dependency);
        }
    }
    let list = |name: &str| -> Vec<&str> {
        let text = annotations.get(name).map(String::as_str).unwrap_or_default();
        text.split(',').map(str::trim).filter(|one| !one.is_empty()).collect()
    };
    let key_of = |name: &str| format!("metadata.annotations[{name}]");
    let mut environments: Vec<EnvironmentRef> = Vec::new();
    for one in list(ENVIRONMENTS) {
        let id: EnvironmentId = place.id(&key_of(ENVIRONMENTS), one)?;
        environments.push(EnvironmentRef { id, name: String::new() });
    }
    let mut adapters = Vec::new();
    for one in list(ADAPTERS) {
        let adapter: Adapter = one.parse().map_err(|error: crate::adapters::UnknownAdapter| {
            place.wrong(&key_of(ADAPTERS), error.to_string())
        })?;
        adapters.push(adapter);
    }
    let of_spec = [("type", Some(component_type)), ("lifecycle", lifecycle), ("system", system)];
    for (label, value) in of_spec {
        if let Some(value) = value {
            labels.entry(label.to_owned()).or_insert(value);
        }
    }
    let service = Service {
        id,
        name: title.unwrap_or(name),
        repo: repository(&annotations),
        adapters: Adapters { deployments: adapter_names(adapters) },
        environments,
        depends_on: dependencies,
        owner: EntityRef::of(&owner, "group", DEFAULT_NAMESPACE).id(),
        targets: vec![],
        labels,
        retired: false,
    };
    Ok((service, notes))
}

/// Where the source is: by the annotation of its host, else by its location, which may name a folder in it.
fn repository(annotations: &BTreeMap<String, String>) -> String {
    for host in ["github.com", "gitlab.com"] {
        if let Some(slug) = annotations.get(&format!("{host}/project-slug")).filter(|slug| !slug.is_empty()) {
            return repo(&format!("{host}/{slug}"));
        }
    }
    let located = ["backstage.io/source-location", "backstage.io/managed-by-location"];
    let location = located.iter().find_map(|name| annotations.get(*name)?.strip_prefix("url:"));
    let address = repo(location.unwrap_or_default());
    // A folder of it stands behind `tree` or `blob`, at GitLab behind `-` as well.
    let whole = ["/-/", "/tree/", "/blob/"].iter().filter_map(|mark| address.find(mark)).min();
    whole.map_or(address.as_str(), |end| &address[..end]).to_owned()
}
