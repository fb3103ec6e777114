//! The runbooks, as the console asks about them.

use std::collections::BTreeMap;

use harmony_console::{AskedRunbook, CatalogInput, Cell, CheckedRunbook, Contents, InputField, Runbooks};
use harmony_runner::{InputKind, RunbookRoot};

/// The runbooks of one folder.
pub(crate) struct RunbookCatalog(pub(crate) RunbookRoot);

impl Runbooks for RunbookCatalog {
    fn check(&self, asked: &AskedRunbook<'_>) -> Result<CheckedRunbook, String> {
        let path = asked.path;
        let snapshot = self.0.load(path).map_err(|error| error.to_string())?;
        let in_file = |error: harmony_runner::ParseError| format!("{path}: {error}");
        let parsed = harmony_runner::parse(&snapshot.text).map_err(in_file)?;
        let cells = parsed.select(asked.cells, asked.verify).map_err(in_file)?;
        if cells.is_empty() {
            return Err(format!("{path}: there is no cell to run"));
        }
        let checks = match asked.verify {
            [] => Vec::new(),
            names => parsed.select(names, &[]).map_err(in_file)?,
        };
        let declared = |name: &String| parsed.inputs.iter().any(|input| input.name == *name);
        if asked.dry_run {
            if let Some(name) = asked.env.keys().chain(asked.inputs.keys()).find(|name| !declared(name)) {
                return Err(format!(
                    "{name}: a dry run takes the inputs that the runbook declares, and no other variables"
                ));
            }
            if !cells.iter().chain(&checks).any(|cell| parsed.runs_dry(cell)) {
                return Err(format!(
                    "{path}: a dry run would run nothing: mark cells that change nothing dryRun=true, or say dryRun: env \
                     in the front matter where every cell obeys HARMONY_DRY_RUN"
                ));
            }
        }
        let mut given: BTreeMap<String, String> = asked.env.clone();
        given.retain(|name, _| declared(name));
        given.extend(asked.inputs.clone());
        let inputs = parsed.inputs(&given)?.values;
        let runs = |cell: &harmony_runner::Cell| !asked.dry_run || parsed.runs_dry(cell);
        let of = |verifies: bool| move |cell: harmony_runner::Cell| (runs(&cell), cell.name, verifies);
        let planned = cells.into_iter().map(of(false)).chain(checks.into_iter().map(of(true)));
        Ok(CheckedRunbook {
            of_catalog: inputs
                .iter()
                .filter(|input| matches!(input.kind, "service" | "release"))
                .map(|input| CatalogInput {
                    name: input.name.clone(),
                    is_service: input.kind == "service",
                    id: input.value.clone(),
                })
                .collect(),
            cells: planned.map(|(runs, name, verifies)| (name, verifies, runs)).collect(),
            inputs: inputs.into_iter().map(|input| (input.name, input.value)).collect(),
        })
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
        let parsed = harmony_runner::parse(text).map_err(|error| error.to_string())?;
        let cell = |one: harmony_runner::Cell| Cell {
            name: one.name,
            source: one.source,
            idempotent: one.idempotent,
            timeout: one.timeout,
            only_by_name: one.exclude_from_run_all,
            manual: one.manual,
            approve: one.approve,
        };
        let input = |one: harmony_runner::Input| InputField {
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
            runs_dry: parsed.cells.iter().any(|cell| parsed.runs_dry(cell)),
            title: parsed.title.unwrap_or_default(),
            cells: parsed.cells.into_iter().map(cell).collect(),
            inputs: parsed.inputs.into_iter().map(input).collect(),
            refused: parsed.refused.iter().map(|one| one.problem.to_string()).collect(),
        })
    }
}
