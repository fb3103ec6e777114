//! Where a report belongs in this catalog: which service, which environment, and the release that it tells of.
//!
//! Pure: what is known of the catalog is handed in. A release's id is made from what the vendor calls the deployment and
//! from its environment, which a status of GitHub's may change, so every report of one deployment to one environment is
//! about one release, whichever comes first; the judge of the service's stream keeps
//! a status that lies behind from changing anything.

use harmony_incidents::{EnvironmentId, ReleaseId, ServiceId, record};

use super::{ChangeReport, ReportKind, line};
use crate::{
    command::NewRelease,
    entity::{Environment, Service},
};

/// What is known of the catalog.
#[derive(Debug, Clone, Copy)]
pub struct KnownCatalog<'a> {
    /// Services, retired ones left out.
    pub services: &'a [Service],
    /// Environments, retired ones left out.
    pub environments: &'a [Environment],
}

/// What a report means here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// A release of a service, new or known.
    Release {
        /// Whose.
        service: ServiceId,
        /// As it is told of.
        release: Box<NewRelease>,
        /// Whether it takes back the one that is active there.
        is_rollback: bool,
    },
    /// A service is in an environment no more.
    Removal {
        /// Which service.
        service: ServiceId,
        /// Which environment.
        environment: EnvironmentId,
    },
    /// An environment that is to be written.
    Environment(Box<Environment>),
    /// An environment that is to be retired.
    EnvironmentGone(EnvironmentId),
    /// Nothing of this catalog.
    Nowhere {
        /// Why, in a sentence that says what to do about it.
        why: String,
    },
}

/// Where a report belongs.
pub fn place(report: &ChangeReport, known: KnownCatalog<'_>) -> Placed {
    match placed(report, known) {
        Ok(placed) => placed,
        Err(why) => Placed::Nowhere { why },
    }
}

fn placed(report: &ChangeReport, known: KnownCatalog<'_>) -> Result<Placed, String> {
    match report.kind {
        ReportKind::Deploy | ReportKind::RollBack => {
            let service = known.service(report)?;
            let environment = known.environment(service, &report.environment)?;
            let is_rollback = report.kind == ReportKind::RollBack;
            let release = Box::new(release(report, environment)?);
            Ok(Placed::Release { service: service.id.clone(), release, is_rollback })
        }
        ReportKind::Remove => {
            let service = known.service(report)?;
            let environment = known.environment(service, &report.environment)?.id.clone();
            Ok(Placed::Removal { service: service.id.clone(), environment })
        }
        ReportKind::EnvironmentCreated | ReportKind::EnvironmentModified => {
            let id: EnvironmentId = report
                .environment
                .parse()
                .map_err(|error| format!("no environment is made of it: {error}"))?;
            let mut environment =
                known.environments.iter().find(|one| one.id == id).cloned().unwrap_or_else(|| Environment {
                    name: id.to_string(),
                    id,
                    region: String::new(),
                    cluster: String::new(),
                    policy_refs: vec![],
                    production: None,
                    region_defaulted: false,
                    cluster_defaulted: false,
                    labels: Default::default(),
                    retired: false,
                });
            if !report.summary.is_empty() {
                environment.name.clone_from(&report.summary);
            }
            Ok(Placed::Environment(Box::new(environment)))
        }
        ReportKind::EnvironmentDeleted => {
            let known = known.environments.iter().find(|one| one.id.as_str() == report.environment);
            let known =
                known.ok_or_else(|| format!("environment {:?} is not in the catalog", report.environment))?;
            Ok(Placed::EnvironmentGone(known.id.clone()))
        }
        ReportKind::Publish => Err("a version that is published is in no environment by that".to_owned()),
        ReportKind::Change => {
            Err("a change that names no environment and no artifact is no release".to_owned())
        }
    }
}

impl<'a> KnownCatalog<'a> {
    /// By the repository, and where several services have it, or the report names none, by the name or the id.
    fn service(&self, report: &ChangeReport) -> Result<&'a Service, String> {
        let hint = &report.service;
        let is_named = |service: &&Service| {
            !hint.name.is_empty()
                && (service.id.as_str() == hint.name || service.name.eq_ignore_ascii_case(&hint.name))
        };
        let of_repo: Vec<&Service> = self
            .services
            .iter()
            .filter(|service| {
                !hint.repo.is_empty() && super::repo(&service.repo).eq_ignore_ascii_case(&hint.repo)
            })
            .collect();
        if let [only] = of_repo[..] {
            return Ok(only);
        }
        let among: Vec<&Service> = if of_repo.is_empty() { self.services.iter().collect() } else { of_repo };
        let named: Vec<&Service> = among.iter().copied().filter(is_named).collect();
        let shown = [hint.repo.as_str(), hint.name.as_str()].into_iter().filter(|part| !part.is_empty());
        let shown = shown.collect::<Vec<_>>().join(" ");
        match (&named[..], among.len()) {
            ([only], _) => Ok(only),
            ([], 0) => Err(format!("{shown:?} is no service of the catalog, which has none yet")),
            ([], _) => Err(format!(
                "{shown:?} is no service of the catalog: give a service that repository, or name one of its services"
            )),
            (several, _) => {
                Err(format!("{shown:?} may be any of {} services: name one by its id", several.len()))
            }
        }
    }

    /// By its id or its name; `production` and `prod` are one where there is one production environment.
    fn environment(&self, service: &Service, name: &str) -> Result<&'a Environment, String> {
        let of_service =
            |one: &&Environment| service.environments.iter().any(|reference| reference.id == one.id);
        let is_it = |one: &&Environment| one.id.as_str() == name || one.name.eq_ignore_ascii_case(name);
        let here: Vec<&Environment> = self.environments.iter().filter(of_service).collect();
        if let Some(found) = here.iter().copied().find(is_it) {
            return Ok(found);
        }
        let production: Vec<&Environment> = here.iter().copied().filter(|one| one.is_production()).collect();
        if crate::entity::is_production_by_name(name)
            && let [only] = production[..]
        {
            return Ok(only);
        }
        let names: Vec<&str> = here.iter().map(|one| one.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(format!("service {} has no environment {:?}; it has {names}", service.id, line(name)))
    }
}

fn release(report: &ChangeReport, environment: &Environment) -> Result<NewRelease, String> {
    // A chart or a package has a version and no commit.
    let sha = if report.sha.is_empty() { &report.version } else { &report.sha };
    if sha.is_empty() || sha.contains(char::is_whitespace) {
        return Err("a release needs a sha, or a version of one word".to_owned());
    }
    let digest: String =
        record::hash(format!("{} {} {}", report.source, report.subject, environment.id).as_bytes())[..10]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
    let id = format!("rel-{}-{digest}", report.source);
    Ok(NewRelease {
        id: id.parse::<ReleaseId>().map_err(|error| error.to_string())?,
        env: environment.id.clone(),
        sha: sha.clone(),
        version: report.version.clone(),
        promoted_from: None,
        rolls_back: None,
        source: report.source,
        url: report.url.clone(),
        incident: None,
        status: report.status,
        at: Some(report.at),
    })
}

#[cfg(test)]
mod tests {
    use harmony_incidents::log::ReleaseStatus;

    use super::*;
    use crate::{descriptions::Description, inbound::ServiceHint, words::Source};

    const CATALOG: &str = r#"
        [[environments]]
        id = "env-staging"
        name = "staging"

        [[environments]]
        id = "env-prod"
        name = "prod"

        [[services]]
        id = "svc-checkout"
        name = "checkout"
        repo = "github.com/BlackRoad/checkout"
        environments = ["env-staging", "env-prod"]

        [[services]]
        id = "svc-search"
        name = "search"
        repo = "github.com/blackroad/mono"
        environments = ["env-staging"]

        [[services]]
        id = "svc-payments"
        name = "payments"
        repo = "github.com/blackroad/mono"
        environments = ["env-prod"]
    "#;

    fn report(repo: &str, name: &str, environment: &str) -> ChangeReport {
        ChangeReport {
            source: Source::Github,
            delivery_id: "d-1".to_owned(),
            subject: format!("{repo}/deployments/1"),
            kind: ReportKind::Deploy,
            status: ReleaseStatus::Active,
            at: "2026-11-29T10:00:00Z".parse().unwrap(),
            sequence: 1,
            service: ServiceHint { repo: repo.to_owned(), name: name.to_owned() },
            environment: environment.to_owned(),
            sha: "9f3b7de".to_owned(),
            version: "1.4.0".to_owned(),
            url: String::new(),
            summary: String::new(),
        }
    }

    fn placed(report: &ChangeReport) -> Placed {
        let described = Description::parse("catalog.toml", CATALOG).unwrap();
        place(report, KnownCatalog { services: &described.services, environments: &described.environments })
    }

    fn shown(report: &ChangeReport) -> String {
        match placed(report) {
            Placed::Release { service, release, is_rollback } => {
                format!("{service} in {}{}", release.env, if is_rollback { ", back" } else { "" })
            }
            Placed::Removal { service, environment } => format!("{service} out of {environment}"),
            Placed::Environment(environment) => format!("{} {}", environment.id, environment.name),
            Placed::EnvironmentGone(id) => format!("{id} gone"),
            Placed::Nowhere { why } => why,
        }
    }

    #[test]
    fn services_are_found_by_repository_and_by_name() {
        let mono = "github.com/blackroad/mono";
        for (repo, name, environment, expected) in [
            ("github.com/blackroad/checkout", "checkout", "prod", "svc-checkout in env-prod"),
            ("github.com/blackroad/checkout", "another", "env-staging", "svc-checkout in env-staging"),
            ("github.com/blackroad/checkout", "checkout", "production", "svc-checkout in env-prod"),
            (mono, "search", "staging", "svc-search in env-staging"),
            (mono, "svc-payments", "Production", "svc-payments in env-prod"),
            ("", "Payments", "prod", "svc-payments in env-prod"),
            ("github.com/blackroad/fork", "checkout", "prod", "svc-checkout in env-prod"),
            (
                mono,
                "mono",
                "staging",
                "\"github.com/blackroad/mono mono\" is no service of the catalog: give a service that repository, \
                 or name one of its services",
            ),
            (
                "",
                "",
                "prod",
                "\"\" is no service of the catalog: give a service that repository, or name one of its services",
            ),
            (mono, "search", "prod", "service svc-search has no environment \"prod\"; it has staging"),
        ] {
            assert_eq!(shown(&report(repo, name, environment)), expected, "{repo} {name} {environment}");
        }
    }

    #[test]
    fn every_report_of_a_deployment_is_about_one_release() {
        let id = |report: &ChangeReport| {
            let placed = placed(report);
            let Placed::Release { release, .. } = placed else { panic!("{placed:?}") };
            release.id
        };
        let first = report("github.com/blackroad/checkout", "checkout", "prod");
        let mut later = first.clone();
        later.delivery_id = "d-2".to_owned();
        later.status = ReleaseStatus::Failed;
        assert_eq!(id(&first), id(&later));
        assert_eq!(id(&first).as_str(), "rel-github-bde24ee1349320f38d69");
        later.subject.push('2');
        assert_ne!(id(&first), id(&later));
    }

    #[test]
    fn what_is_no_release_is_told_apart() {
        let mut report = report("github.com/blackroad/checkout", "checkout", "prod");
        let mut as_kind = |kind, environment: &str| {
            report.kind = kind;
            report.environment = environment.to_owned();
            shown(&report)
        };
        assert_eq!(as_kind(ReportKind::RollBack, "prod"), "svc-checkout in env-prod, back");
        assert_eq!(as_kind(ReportKind::Remove, "prod"), "svc-checkout out of env-prod");
        assert_eq!(as_kind(ReportKind::EnvironmentCreated, "env-new"), "env-new env-new");
        assert_eq!(as_kind(ReportKind::EnvironmentModified, "env-prod"), "env-prod prod");
        assert_eq!(as_kind(ReportKind::EnvironmentDeleted, "env-prod"), "env-prod gone");
        assert_eq!(
            as_kind(ReportKind::EnvironmentDeleted, "env-x"),
            "environment \"env-x\" is not in the catalog"
        );
        assert!(
            as_kind(ReportKind::EnvironmentCreated, "env x").starts_with("no environment is made of it: ")
        );
        assert!(as_kind(ReportKind::Publish, "").starts_with("a version that is published"));
        assert!(as_kind(ReportKind::Change, "").starts_with("a change that names no environment"));
    }

    #[test]
    fn artifact_without_a_commit_is_known_by_its_version() {
        let mut report = report("github.com/blackroad/checkout", "checkout", "prod");
        report.sha.clear();
        let Placed::Release { release, .. } = placed(&report) else { panic!("a release") };
        assert_eq!(release.sha, "1.4.0");
        report.version = "build 7".to_owned();
        assert_eq!(shown(&report), "a release needs a sha, or a version of one word");
    }
}
