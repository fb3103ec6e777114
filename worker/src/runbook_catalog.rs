//! The runbooks, as the console asks about them.

use std::collections::BTreeMap;

use harmony_capabilities::runbook::{self, InputKind, RunbookRoot};
use harmony_console::{AskedRunbook, CatalogInput, Cell, Contents, InputField, Runbooks};

/// The runbooks of one folder.
pub(crate) struct RunbookCatalog(pub(crate) RunbookRoot);

impl Runbooks for RunbookCatalog {
    fn check(&self, asked: &AskedRunbook<'_>) -> Result<Vec<CatalogInput>, String> {
        let path = asked.path;
        let snapshot = self.0.load(path).map_err(|error| error.to_string())?;
        let parsed = runbook::parse(&snapshot.text).map_err(|error| format!("{path}: {error}"))?;
        let selected =
            parsed.select(asked.cells, asked.verify).map_err(|error| format!("{path}: {error}"))?;
        if selected.is_empty() {
            return Err(format!("{path}: there is no cell to run"));
        }
        let declared = |name: &String| parsed.inputs.iter().any(|input| input.name == *name);
        let mut given: BTreeMap<String, String> = asked.env.clone();
        given.retain(|name, _| declared(name));
        given.extend(asked.inputs.clone());
        let inputs = parsed.inputs(&given)?;
        let of_catalog =
            inputs.values.into_iter().filter(|input| matches!(input.kind, "service" | "release"));
        Ok(of_catalog
            .map(|input| CatalogInput {
                is_service: input.kind == "service",
                name: input.name,
                id: input.value,
            })
            .collect())
    }

    fn list(&self) -> Vec<String> {
        self.0.list().unwrap_or_else(|error| {
            tracing::warn!(
                error = format!("{:#}", anyhow::Error::from(error)),
                "the runbooks cannot be listed"
            );
            Vec::new()
        })
    }

    fn text(&self, path: &str) -> Result<String, String> {
        self.0.load(path).map(|snapshot| snapshot.text).map_err(|error| error.to_string())
    }

    fn contents(&self, text: &str) -> Result<Contents, String> {
        let parsed = runbook::parse(text).map_err(|error| error.to_string())?;
        let cell = |one: runbook::Cell| Cell {
            name: one.name,
            source: one.source,
            idempotent: one.idempotent,
            timeout: one.timeout,
            only_by_name: one.exclude_from_run_all,
            manual: one.manual,
            approve: one.approve,
        };
        let input = |one: runbook::Input| InputField {
            takes: one.takes(),
            values: match one.kind {
                InputKind::Enum { values } => values,
                _ => Vec::new(),
            },
            name: one.name,
            description: one.description,
            default: one.default.unwrap_or_default(),
            required: one.required,
            secret: one.secret,
        };
        Ok(Contents {
            title: parsed.title.unwrap_or_default(),
            cells: parsed.cells.into_iter().map(cell).collect(),
            inputs: parsed.inputs.into_iter().map(input).collect(),
            refused: parsed.refused.iter().map(|one| one.problem.to_string()).collect(),
        })
    }
}
