//! Descriptions of services and environments in files, for `harmony catalog apply`: our own TOML, and Backstage's
//! `catalog-info.yaml`.
//!
//! Pure: whoever applies has read the files. What comes out are the catalog's own shapes, which are written by the same
//! commands as anybody else's; so a description is checked twice, here with the file, the place and the key, and by the
//! judge. What Backstage describes and the catalog has no shape for is left out, and said so ([`Description::notes`]).

mod backstage;
#[cfg(test)]
mod tests;
mod toml_file;

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use crate::{
    Adapter,
    entity::{Environment, Service},
};

/// Longest file.
const FILE_BYTES: usize = 1024 * 1024;

/// What files describe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// To be written first: services refer to them.
    pub environments: Vec<Environment>,
    /// To be written after them.
    pub services: Vec<Service>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// What is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DescriptionError {
    /// As it was given.
    pub file: String,
    /// From 1, where the place is known.
    pub line: Option<usize>,
    /// Which document of the file, from 1, where a file may have several.
    pub document: Option<usize>,
    /// Such as `services[0].targets[1].adapter`; empty where the file as a whole is wrong.
    pub key: String,
    /// What is wrong, and what would do.
    pub problem: String,
}

impl fmt::Display for DescriptionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if let Some(document) = self.document {
            write!(formatter, ": document {document}")?;
        }
        if !self.key.is_empty() {
            write!(formatter, ": {}", self.key)?;
        }
        write!(formatter, ": {}", self.problem)
    }
}

impl Description {
    /// Reads a file: Backstage's form where its name ends in `.yaml` or `.yml`, else ours.
    pub fn parse(file: &str, text: &str) -> Result<Self, DescriptionError> {
        if text.len() > FILE_BYTES {
            let problem = format!("longer than {FILE_BYTES} bytes");
            return Err(DescriptionError {
                file: file.to_owned(),
                line: None,
                document: None,
                key: String::new(),
                problem,
            });
        }
        let extension = file.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        if matches!(extension.as_str(), "yaml" | "yml") {
            backstage::parse(file, text)
        } else {
            toml_file::parse(file, text)
        }
    }

    /// Several files together, each with its name. Nothing may be described twice.
    pub fn merged(files: impl IntoIterator<Item = (String, Self)>) -> Result<Self, DescriptionError> {
        let mut all = Self::default();
        let mut described = BTreeMap::<String, String>::new();
        for (file, Self { environments, services, notes }) in files {
            let ids = environments.iter().map(|one| format!("environment {}", one.id));
            for id in ids.chain(services.iter().map(|one| format!("service {}", one.id))) {
                if let Some(other) = described.insert(id.clone(), file.clone()) {
                    let problem = format!("{id} is described in {other}, too");
                    return Err(DescriptionError {
                        file,
                        line: None,
                        document: None,
                        key: String::new(),
                        problem,
                    });
                }
            }
            all.environments.extend(environments);
            all.services.extend(services);
            all.notes.extend(notes);
        }
        Ok(all)
    }
}

/// An adapter of the registry, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AdapterName(Adapter);

impl<'de> Deserialize<'de> for AdapterName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Adapter::from_str(&String::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

/// The names of adapters in the order in which they are first named, each once.
fn adapter_names(adapters: impl IntoIterator<Item = Adapter>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for adapter in adapters {
        if !names.iter().any(|name| name == adapter.name()) {
            names.push(adapter.name().to_owned());
        }
    }
    names
}
