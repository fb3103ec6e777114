//! `harmony catalog apply`: services and environments from files.
//!
//! Everything is read and checked before anything is written, so a file with a mistake in it changes nothing. What is as
//! it is described already is not written again; environments come first, because services refer to them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Subcommand};
use harmony_catalog::{
    descriptions::Description,
    entity::{Environment, Service, is_production_by_name},
};
use serde_json::{Value, json};

use crate::{
    api::Api,
    config::Config,
    failure::{Exit, Failure},
    output::{self, words},
    terminal::{Span, Tone, span},
};

const APPLY_EXAMPLES: &str = "Examples:
  harmony catalog apply catalog.toml --dry-run
  harmony catalog apply catalog-info.yaml
  harmony catalog apply services/

A directory: its .toml, .yaml and .yml files, and every catalog.toml and catalog-info.yaml below it.";

/// How deep a directory is searched.
const DEPTH: usize = 8;
/// What of a service a file describes.
const SERVICE_FIELDS: [&str; 8] =
    ["name", "repo", "adapters", "environments", "dependsOn", "owner", "targets", "labels"];
/// What of an environment a file describes.
const ENVIRONMENT_FIELDS: [&str; 6] = ["name", "region", "cluster", "policyRefs", "production", "labels"];

/// `harmony catalog …`
#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// Write the services and environments that files describe: our TOML, or Backstage's catalog-info.yaml
    #[command(after_help = APPLY_EXAMPLES)]
    Apply(ApplyArgs),
}

/// Options of `apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// File, or a directory of them
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// One service or environment, and what is to be done about it.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    /// `service` or `environment`.
    kind: &'static str,
    id: String,
    /// As it is sent.
    body: Value,
    plan: Plan,
}

/// What a description means for what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    Create,
    /// With the fields that differ.
    Change(Vec<&'static str>),
    Leave,
}

/// Carries out the command.
pub(crate) async fn run(config: &Config, command: &CatalogCommand, json: bool) -> anyhow::Result<ExitCode> {
    let CatalogCommand::Apply(args) = command;
    let description = read(&args.path)?;
    let api = Api::open(config, None)?;
    let steps = plan(&api, &description).await?;
    for step in &steps {
        if !args.dry_run {
            carry_out(&api, step).await?;
        }
        if !json {
            output::spans(&line(step, args.dry_run));
        }
    }
    if json {
        output::json(&answer(&steps, &description.notes, args.dry_run));
    } else {
        description.notes.iter().for_each(|note| output::say(&format!("note: {note}")));
        output::say(&summary(&steps, args.dry_run));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes what a file describes, and says of what how many were written; for `dev`.
pub(crate) async fn apply_file(api: &Api, path: &Path) -> anyhow::Result<usize> {
    let steps = plan(api, &read(path)?).await?;
    for step in &steps {
        carry_out(api, step).await?;
    }
    Ok(steps.iter().filter(|step| step.plan != Plan::Leave).count())
}

/// Reads a file, or the files of a directory.
fn read(path: &Path) -> anyhow::Result<Description> {
    let unreadable = |path: &Path, error: &std::io::Error| {
        Failure::usage(
            format!("{} cannot be read: {error}", path.display()),
            "name a file that describes services and environments, or a directory of them",
        )
    };
    let files = if path.is_dir() {
        let mut files = BTreeSet::new();
        collect(path, 0, &mut files).map_err(|error| unreadable(path, &error))?;
        files
    } else {
        BTreeSet::from([path.to_owned()])
    };
    if files.is_empty() {
        let what = format!("{} holds no file that describes services", path.display());
        return Err(Failure::usage(what, "name it catalog.toml or catalog-info.yaml").into());
    }
    let wrong = |error: harmony_catalog::descriptions::DescriptionError| {
        Failure::usage(error.to_string(), "correct it; docs/descriptions.md lists what a file may say")
    };
    let mut described = Vec::with_capacity(files.len());
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
        let name = file.display().to_string();
        described.push((name.clone(), Description::parse(&name, &text).map_err(wrong)?));
    }
    Ok(Description::merged(described).map_err(wrong)?)
}

/// The files of a directory, and those below it that have the name of a catalog's. What is hidden is passed over.
fn collect(directory: &Path, depth: usize, files: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        // A link to a directory may lead back up.
        let kind = entry.file_type()?;
        if name.starts_with('.') {
            continue;
        }
        if kind.is_dir() && depth < DEPTH {
            collect(&path, depth + 1, files)?;
            continue;
        }
        let has_its_name = ["catalog.toml", "catalog-info.yaml", "catalog-info.yml"].contains(&name.as_str());
        let has_its_form =
            path.extension().is_some_and(|one| ["toml", "yaml", "yml"].iter().any(|end| one == *end));
        if path.is_file() && (has_its_name || (depth == 0 && has_its_form)) {
            files.insert(path);
        }
    }
    Ok(())
}

/// Holds what is described against what there is.
async fn plan(api: &Api, description: &Description) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for environment in &description.environments {
        let current = found(api, "environments", environment.id.as_str()).await?;
        steps.push(environment_step(environment, current.as_ref())?);
    }
    let described: BTreeSet<&str> = description.environments.iter().map(|one| one.id.as_str()).collect();
    let mut known = BTreeSet::new();
    for service in &description.services {
        let current = found(api, "services", service.id.as_str()).await?;
        for one in &service.environments {
            let id = one.id.as_str();
            if described.contains(id) || known.contains(id) {
                continue;
            }
            if found(api, "environments", id).await?.is_none() {
                let what = format!("service {}: environment {id} does not exist", service.id);
                return Err(Failure::usage(what, "describe it in the same file, or in one before").into());
            }
            known.insert(id);
        }
        steps.push(service_step(service, current.as_ref())?);
    }
    Ok(steps)
}

/// What there is of this id.
async fn found(api: &Api, collection: &str, id: &str) -> anyhow::Result<Option<Value>> {
    match api.get(&[collection, id], &[]).await {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.downcast_ref::<Failure>() {
            Some(failure) if failure.exit == Exit::NotFound => Ok(None),
            _ => Err(error),
        },
    }
}

fn environment_step(environment: &Environment, current: Option<&Value>) -> anyhow::Result<Step> {
    let mut wanted = environment.clone();
    // As the catalog writes it: only where it is not what the name says.
    wanted.production = wanted.production.filter(|given| *given != is_production_by_name(&wanted.name));
    let body = serde_json::to_value(environment).context("an environment cannot be written")?;
    let mut wanted = serde_json::to_value(wanted).context("an environment cannot be written")?;
    if let Some(current) = current {
        for place in ["region", "cluster"] {
            // Left out, and filled in when it was written.
            if wanted[place] == "" && current[format!("{place}Defaulted")] == true {
                wanted[place] = current[place].clone();
            }
        }
    }
    let plan = compared(current, &wanted, &ENVIRONMENT_FIELDS);
    Ok(Step { kind: "environment", id: environment.id.to_string(), body, plan })
}

fn service_step(service: &Service, current: Option<&Value>) -> anyhow::Result<Step> {
    let body = serde_json::to_value(service).context("a service cannot be written")?;
    let mut wanted = service.clone();
    // In the order in which the catalog keeps them.
    wanted.targets.sort_by(|a, b| (&a.env_id, &a.adapter).cmp(&(&b.env_id, &b.adapter)));
    let mut wanted = serde_json::to_value(wanted).context("a service cannot be written")?;
    let mut current = current.cloned();
    // The names beside the ids are the environments' own.
    for one in [Some(&mut wanted), current.as_mut()].into_iter().flatten() {
        for environment in one["environments"].as_array_mut().into_iter().flatten() {
            *environment = environment["id"].take();
        }
    }
    let plan = compared(current.as_ref(), &wanted, &SERVICE_FIELDS);
    Ok(Step { kind: "service", id: service.id.to_string(), body, plan })
}

/// What of these fields differs. One that is left out is empty.
fn compared(current: Option<&Value>, wanted: &Value, fields: &[&'static str]) -> Plan {
    let Some(current) = current else { return Plan::Create };
    let mut differ: Vec<&'static str> =
        fields.iter().copied().filter(|field| current[*field] != wanted[*field]).collect();
    if current["retired"] == true {
        // Nothing new happens to it: the answer to writing it says so.
        differ.push("retired");
    }
    if differ.is_empty() { Plan::Leave } else { Plan::Change(differ) }
}

async fn carry_out(api: &Api, step: &Step) -> anyhow::Result<()> {
    if step.plan == Plan::Leave {
        return Ok(());
    }
    let collection = format!("{}s", step.kind);
    let posted = api.with_new_key().post(&[&collection], &step.body).await;
    let reply = posted.with_context(|| format!("{} {}", step.kind, step.id))?;
    for warning in super::show::items(&reply.body, "warnings") {
        output::say(&format!("warning: {} {}: {}", step.kind, step.id, words(warning)));
    }
    Ok(())
}

fn line(step: &Step, dry_run: bool) -> Vec<Span> {
    let (tone, what) = match (&step.plan, dry_run) {
        (Plan::Create, false) => (Tone::Good, "created".to_owned()),
        (Plan::Create, true) => (Tone::Good, "would be created".to_owned()),
        (Plan::Change(fields), false) => (Tone::Warn, format!("changed: {}", fields.join(", "))),
        (Plan::Change(fields), true) => (Tone::Warn, format!("would change: {}", fields.join(", "))),
        (Plan::Leave, _) => (Tone::Faint, "unchanged".to_owned()),
    };
    vec![
        format!("{:<11}  ", step.kind).into(),
        span(Tone::Strong, step.id.clone()),
        "  ".into(),
        span(tone, what),
    ]
}

fn summary(steps: &[Step], dry_run: bool) -> String {
    let count = |is: fn(&Plan) -> bool| steps.iter().filter(|step| is(&step.plan)).count();
    let created = count(|plan| *plan == Plan::Create);
    let unchanged = count(|plan| *plan == Plan::Leave);
    let changed = steps.len() - created - unchanged;
    let dry = if dry_run { "; nothing was written" } else { "" };
    format!("{created} new, {changed} changed, {unchanged} unchanged{dry}")
}

fn answer(steps: &[Step], notes: &[String], dry_run: bool) -> Value {
    let of = |kind: &str| -> Vec<Value> {
        let step = |step: &Step| {
            let (outcome, fields) = match &step.plan {
                Plan::Create => ("created", &[][..]),
                Plan::Change(fields) => ("changed", fields.as_slice()),
                Plan::Leave => ("unchanged", &[][..]),
            };
            json!({ "id": step.id, "outcome": outcome, "changed": fields })
        };
        steps.iter().filter(|one| one.kind == kind).map(step).collect()
    };
    json!({
        "dryRun": dry_run, "environments": of("environment"), "services": of("service"), "notes": notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [[environments]]
        id = "env-staging"
        name = "staging"

        [[environments]]
        id = "env-prod"
        name = "prod"
        region = "eu-central-1"
        cluster = "prod-1"
        production = true

        [[services]]
        id = "svc-a"
        name = "a"
        owner = "team-a"
        [[services.targets]]
        environment = "env-staging"
        adapter = "external"
        [[services.targets]]
        environment = "env-prod"
        adapter = "external"
    "#;

    /// As the API answers about what was written from [`FILE`].
    fn written() -> [Value; 3] {
        [
            json!({
                "id": "env-staging", "name": "staging", "region": "default", "cluster": "default",
                "policyRefs": [], "regionDefaulted": true, "clusterDefaulted": true
            }),
            json!({
                "id": "env-prod", "name": "prod", "region": "eu-central-1", "cluster": "prod-1", "policyRefs": []
            }),
            json!({
                "id": "svc-a", "name": "a", "repo": "", "adapters": { "deployments": ["external"] },
                "environments": [
                    { "id": "env-staging", "name": "staging" }, { "id": "env-prod", "name": "prod" }
                ],
                "owner": "team-a",
                "targets": [
                    { "envId": "env-prod", "adapter": "external" }, { "envId": "env-staging", "adapter": "external" }
                ]
            }),
        ]
    }

    fn steps(current: [Option<&Value>; 3]) -> Vec<Step> {
        let described = Description::parse("catalog.toml", FILE).unwrap();
        let [staging, prod, service] = current;
        vec![
            environment_step(&described.environments[0], staging).unwrap(),
            environment_step(&described.environments[1], prod).unwrap(),
            service_step(&described.services[0], service).unwrap(),
        ]
    }

    #[test]
    fn what_was_written_is_unchanged_and_what_differs_is_named() {
        let steps_of = |current: [Option<&Value>; 3]| {
            steps(current).into_iter().map(|step| step.plan).collect::<Vec<_>>()
        };
        assert_eq!(steps_of([None, None, None]), [Plan::Create, Plan::Create, Plan::Create]);
        let [staging, prod, service] = written();
        let all = [Some(&staging), Some(&prod), Some(&service)];
        assert_eq!(steps_of(all), [Plan::Leave, Plan::Leave, Plan::Leave]);

        let (mut moved, mut renamed, mut other) = (staging.clone(), prod.clone(), service.clone());
        moved["region"] = json!("eu-central-1");
        moved["regionDefaulted"] = json!(false);
        renamed["labels"] = json!({ "tier": "1" });
        other["owner"] = json!("team-b");
        other["dependsOn"] = json!(["svc-b"]);
        other["retired"] = json!(true);
        assert_eq!(
            steps_of([Some(&moved), Some(&renamed), Some(&other)]),
            [
                Plan::Change(vec!["region"]),
                Plan::Change(vec!["labels"]),
                Plan::Change(vec!["dependsOn", "owner", "retired"]),
            ]
        );
    }

    #[test]
    fn what_was_done_is_told_by_name() {
        let [staging, _, mut service] = written();
        service["owner"] = json!("team-b");
        let steps = steps([Some(&staging), None, Some(&service)]);
        let text = |line: Vec<Span>| line.into_iter().map(|span| span.text).collect::<String>();
        let told = |dry_run| steps.iter().map(|step| text(line(step, dry_run))).collect::<Vec<_>>();
        assert_eq!(
            told(false),
            [
                "environment  env-staging  unchanged",
                "environment  env-prod  created",
                "service      svc-a  changed: owner"
            ]
        );
        assert_eq!(told(true)[1], "environment  env-prod  would be created");
        assert_eq!(summary(&steps, true), "1 new, 1 changed, 1 unchanged; nothing was written");
        assert_eq!(
            answer(&steps, &[], false)["services"],
            json!([{ "id": "svc-a", "outcome": "changed", "changed": ["owner"] }])
        );
    }

    #[test]
    fn a_directory_gives_its_files_and_the_catalogs_below_it() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert!(read(home.path()).unwrap_err().to_string().contains("holds no file"));
        write("environments.toml", "[[environments]]\nid = \"env-a\"\nname = \"a\"\n");
        write("one/catalog.toml", "[[services]]\nid = \"svc-a\"\nname = \"a\"\n");
        write("one/Cargo.toml", "[package]\nname = \"a\"\n");
        write(".git/catalog.toml", "no TOML");
        write("README.md", "# Services");
        let described = read(home.path()).unwrap();
        assert_eq!((described.environments.len(), described.services.len()), (1, 1));

        write("two/catalog.toml", "[[services]]\nid = \"svc-a\"\nname = \"b\"\n");
        let twice = read(home.path()).unwrap_err();
        assert!(twice.to_string().contains("svc-a"), "{twice}");
        let missing = read(&home.path().join("none.toml")).unwrap_err();
        assert_eq!(missing.downcast_ref::<Failure>().unwrap().exit.code(), 2);
    }
}
