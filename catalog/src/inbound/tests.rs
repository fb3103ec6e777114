//! The vendors' own examples and what they mean, repeated and shuffled; what is malformed; CDEvents against their
//! schemas.

use std::{collections::BTreeMap, fmt::Write};

use harmony_incidents::log::ReleaseStatus;
use jsonschema::{Registry, Validator};
use proptest::{
    prelude::{Strategy, any},
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

use super::{
    cdevents::{self, Envelope},
    github::{DeployWorkflows, GitHubHeaders},
    *,
};

/// A line a report, for snapshots.
fn shown(reading: &Reading) -> String {
    let reports = match reading {
        Reading::Ignored { why } => return format!("ignored: {why}"),
        Reading::Reports(reports) => reports,
    };
    let mut lines = String::new();
    for one in reports {
        let ServiceHint { repo, name } = &one.service;
        let _ = write!(
            lines,
            "{:?} {:?} {} {repo} {name} -> {:?} sha {:?} version {:?} at {} #{} {:?} ({})",
            one.kind,
            one.status,
            one.subject,
            one.environment,
            one.sha,
            one.version,
            one.at,
            one.sequence,
            one.summary,
            one.url
        );
        lines.push('\n');
    }
    lines.trim_end().to_owned()
}

fn reports(reading: Reading) -> Vec<ChangeReport> {
    match reading {
        Reading::Reports(reports) => reports,
        Reading::Ignored { why } => panic!("ignored: {why}"),
    }
}

/// Every subject with the newest that was heard of it, however it came.
fn settled<'a>(reports: impl IntoIterator<Item = &'a ChangeReport>) -> BTreeMap<String, ChangeReport> {
    let mut newest = BTreeMap::<String, ChangeReport>::new();
    for report in reports {
        match newest.get(&report.subject) {
            Some(known) if !report.is_newer_than(known) => {}
            _ => {
                newest.insert(report.subject.clone(), report.clone());
            }
        }
    }
    newest
}

/// Each delivery twice, in twenty orders: one state.
fn in_any_order_the_same(reports: &[ChangeReport]) {
    let expected = settled(reports);
    let twice: Vec<ChangeReport> = reports.iter().chain(reports).cloned().collect();
    let keys = proptest::collection::vec(any::<u64>(), twice.len());
    let mut runner = TestRunner::new(Config { cases: 20, ..Config::default() });
    let shuffled = keys.prop_map(move |keys| {
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|index| keys[*index]);
        order.into_iter().map(|index| twice[index].clone()).collect::<Vec<_>>()
    });
    runner
        .run(&shuffled, |order| {
            assert_eq!(settled(&order), expected);
            Ok(())
        })
        .unwrap();
}

mod github_webhooks {
    use super::*;

    const EXAMPLES: &str = include_str!("fixtures/octokit.json");

    #[test]
    fn workflows_are_read_from_a_setting() {
        assert_eq!(" test.yml=production, Manually triggered workflow = staging,".parse(), Ok(workflows()));
        assert_eq!("".parse(), Ok(DeployWorkflows::default()));
        for wrong in ["deploy.yml", "=prod", "deploy.yml="] {
            assert!(wrong.parse::<DeployWorkflows>().is_err(), "{wrong}");
        }
    }

    fn workflows() -> DeployWorkflows {
        let named = [("test.yml", "production"), ("Manually triggered workflow", "staging")];
        DeployWorkflows(
            named.map(|(workflow, environment)| (workflow.to_owned(), environment.to_owned())).into(),
        )
    }

    fn read(event: &str, delivery: &str, payload: &Value) -> Result<Reading, DeliveryError> {
        let body = serde_json::to_vec(payload).unwrap();
        super::github::read(GitHubHeaders { event, delivery }, &workflows(), &body)
    }

    fn examples() -> Vec<(String, Value)> {
        let all: Vec<Value> = serde_json::from_str(EXAMPLES).unwrap();
        all.into_iter()
            .map(|one| (one["event"].as_str().unwrap().to_owned(), one["payload"].clone()))
            .collect()
    }

    #[test]
    fn octokits_examples_say_what_they_mean() {
        let lines: Vec<String> = examples()
            .iter()
            .map(|(event, payload)| {
                let reading = read(event, "72d3162e-cc78-11e3-81ab-4c9367dc0958", payload).unwrap();
                format!("{event} {}: {}", payload["action"].as_str().unwrap_or("-"), shown(&reading))
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn octokits_examples_end_in_one_state_repeated_and_shuffled() {
        let mut all = Vec::new();
        for (number, (event, payload)) in examples().iter().enumerate() {
            if let Reading::Reports(reports) = read(event, &format!("delivery-{number}"), payload).unwrap() {
                all.extend(reports);
            }
        }
        assert!(all.len() > 8, "{}", all.len());
        in_any_order_the_same(&all);
    }

    /// One deployment with the statuses that a workflow gives it, seconds apart and some in the same second.
    #[test]
    fn statuses_of_one_deployment_end_at_the_last_in_any_order() {
        let examples = examples();
        let (_, deployment) = &examples[0];
        let (_, template) = examples.iter().find(|(event, _)| event == "deployment_status").unwrap();
        let mut all = reports(read("deployment", "d-0", deployment).unwrap());
        let states = [
            ("queued", "2019-05-15T15:20:53Z"),
            ("in_progress", "2019-05-15T15:20:53Z"),
            ("success", "2019-05-15T15:20:55Z"),
        ];
        for (number, (state, at)) in states.iter().enumerate() {
            let mut payload = template.clone();
            payload["deployment_status"]["state"] = json!(state);
            payload["deployment_status"]["created_at"] = json!(at);
            payload["deployment_status"]["id"] = json!(100 + number);
            all.extend(reports(read("deployment_status", &format!("s-{number}"), &payload).unwrap()));
        }
        in_any_order_the_same(&all);
        let end = settled(&all);
        assert_eq!(end.len(), 1);
        assert_eq!(end.values().next().unwrap().status, ReleaseStatus::Active);
    }

    #[test]
    fn payload_of_the_deployment_names_service_and_version() {
        let (_, mut deployment) = examples()[0].clone();
        deployment["deployment"]["payload"] = json!({"service": "checkout", "version": "1.2.3"});
        let one = reports(read("deployment", "d", &deployment).unwrap()).remove(0);
        assert_eq!((one.service.name.as_str(), one.version.as_str()), ("checkout", "1.2.3"));
        deployment["deployment"]["payload"] = json!("{\"service\": \"search\"}");
        deployment["deployment"]["ref"] = json!("v2.0.0");
        deployment["deployment"]["task"] = json!("rollback");
        let one = reports(read("deployment", "d", &deployment).unwrap()).remove(0);
        assert_eq!((one.service.name.as_str(), one.version.as_str()), ("search", "v2.0.0"));
        assert_eq!(one.kind, ReportKind::RollBack);
    }

    #[test]
    fn malformed_deliveries_say_what_is_wrong() {
        let (_, deployment) = examples()[0].clone();
        let with = |path: &str, value: Value| {
            let mut payload = deployment.clone();
            *payload.pointer_mut(path).unwrap() = value;
            payload
        };
        let cases = [
            (json!({}), "missing field `deployment`"),
            (json!([]), "invalid length 0"),
            (with("/deployment/sha", json!(7)), "deployment.sha: invalid type: integer `7`"),
            (
                with("/deployment/sha", json!("main")),
                "deployment.sha: \"main\" is not 7 to 64 hexadecimal digits",
            ),
            (with("/deployment/environment", json!(" ")), "deployment.environment: is empty"),
            (with("/deployment/created_at", json!("yesterday")), "deployment.created_at: "),
        ];
        for (payload, expected) in cases {
            let error = read("deployment", "d", &payload).unwrap_err().to_string();
            assert!(error.starts_with(expected) || error.contains(expected), "{error}\nnot {expected}");
        }
        let headers =
            |event, delivery| super::github::read(GitHubHeaders { event, delivery }, &workflows(), b"{}");
        assert_eq!(headers("", "d").unwrap_err().to_string(), "X-GitHub-Event: missing");
        assert!(
            headers("deployment", "").unwrap_err().to_string().starts_with("X-GitHub-Delivery: expected")
        );
        assert_eq!(
            shown(&headers("ping", "d").unwrap()),
            "ignored: the event \"ping\" says nothing about deployments"
        );
        let trailing = super::github::read(
            GitHubHeaders { event: "deployment", delivery: "d" },
            &workflows(),
            format!("{deployment} {{}}").as_bytes(),
        );
        assert!(trailing.unwrap_err().to_string().contains("trailing characters"));
    }
}

mod gitlab_webhooks {
    use super::*;

    fn project() -> Value {
        json!({"id": 30, "name": "checkout", "web_url": "https://gitlab.example/shop/checkout",
               "path_with_namespace": "shop/checkout", "default_branch": "main"})
    }

    fn deployment(status: &str, at: &str) -> Value {
        json!({
            "object_kind": "deployment", "status": status, "status_changed_at": at, "deployment_id": 15,
            "deployable_id": 796, "deployable_url": "https://gitlab.example/shop/checkout/-/jobs/796",
            "environment": "staging", "environment_tier": "staging", "environment_slug": "staging",
            "environment_external_url": "https://staging.example", "project": project(), "ref": "v1.4.0",
            "short_sha": "279484c0", "user": {"id": 1, "name": "Ada"},
            "commit_url": "https://gitlab.example/shop/checkout/-/commit/279484c09fbe69ededfced8c1bb6e6d24616b468",
            "commit_title": "Add a field"
        })
    }

    fn pipeline() -> Value {
        let build = |id: u64, name: &str, status: &str, finished: Value, environment: Value| {
            json!({"id": id, "stage": "deploy", "name": name, "status": status,
                   "created_at": "2021-04-28 19:40:00 UTC", "started_at": "2021-04-28 19:45:00 UTC",
                   "finished_at": finished, "environment": environment})
        };
        json!({
            "object_kind": "pipeline",
            "object_attributes": {"id": 31, "ref": "main", "tag": false, "status": "running",
                                  "sha": "279484c09fbe69ededfced8c1bb6e6d24616b468",
                                  "created_at": "2021-04-28 19:40:00 UTC"},
            "project": project(),
            "builds": [
                build(794, "test", "success", json!("2021-04-28 19:44:00 UTC"), Value::Null),
                build(796, "deploy-staging", "success", json!("2021-04-28 19:49:59 UTC"),
                      json!({"name": "staging", "action": "start", "deployment_tier": "staging"})),
                build(797, "deploy-production", "manual", Value::Null,
                      json!({"name": "production", "action": "start"})),
                build(798, "stop-review", "manual", Value::Null, json!({"name": "review/1", "action": "stop"})),
                build(799, "stop-old-review", "success", json!("2021-04-28 19:46:00 UTC"),
                      json!({"name": "review/0", "action": "stop"})),
                build(800, "verify", "success", json!("2021-04-28 19:50:00 UTC"),
                      json!({"name": "staging", "action": "verify"})),
            ]
        })
    }

    fn release() -> Value {
        json!({
            "object_kind": "release", "id": 1, "created_at": "2020-11-02 12:55:12 UTC", "name": "v1.1",
            "released_at": "2020-11-02 12:55:12 UTC", "tag": "v1.1", "action": "create", "project": project(),
            "url": "https://gitlab.example/shop/checkout/-/releases/v1.1",
            "commit": {"id": "ee0a3fb31ac16e11b9dbb596ad16d4af654d08f8"}
        })
    }

    fn read(delivery: &str, payload: &Value) -> Result<Reading, DeliveryError> {
        super::gitlab::read(delivery, &serde_json::to_vec(payload).unwrap())
    }

    #[test]
    fn deployments_pipelines_and_releases_say_what_they_mean() {
        let all = [
            deployment("running", "2021-04-28 21:45:00 +0200"),
            deployment("success", "2021-04-28 21:50:00 +0200"),
            deployment("failed", "2021-04-28T19:50:00Z"),
            deployment("skipped", "2021-04-28T19:50:00Z"),
            pipeline(),
            release(),
            json!({"object_kind": "push"}),
        ];
        let lines: Vec<String> = all.iter().map(|one| shown(&read("uuid-1", one).unwrap())).collect();
        insta::assert_snapshot!(lines.join("\n\n"));
    }

    #[test]
    fn deployment_and_its_job_are_one_subject_in_any_order() {
        let deliveries = [
            pipeline(),
            deployment("created", "2021-04-28 19:40:01 UTC"),
            deployment("running", "2021-04-28 19:45:01 UTC"),
            deployment("success", "2021-04-28 19:50:00 UTC"),
            release(),
        ];
        let mut all = Vec::new();
        for (number, delivery) in deliveries.iter().enumerate() {
            all.extend(reports(read(&format!("uuid-{number}"), delivery).unwrap()));
        }
        in_any_order_the_same(&all);
        let end = settled(&all);
        let job = &end["gitlab.example/shop/checkout/-/jobs/796"];
        assert_eq!((job.status, job.delivery_id.as_str()), (ReleaseStatus::Active, "uuid-3"));
    }

    #[test]
    fn malformed_deliveries_say_what_is_wrong() {
        let mut without_ids = deployment("success", "2021-04-28 21:50:00 +0200");
        without_ids["deployable_id"] = Value::Null;
        without_ids["deployment_id"] = Value::Null;
        let mut without_sha = deployment("success", "2021-04-28 21:50:00 +0200");
        without_sha["commit_url"] = json!("");
        without_sha["short_sha"] = json!("zz");
        for (payload, expected) in [
            (json!({}), "missing field `object_kind`"),
            (deployment("success", "noon"), "status_changed_at: \"noon\" is no time of GitLab's"),
            (without_ids, "deployment_id: missing"),
            (without_sha, "short_sha: \"zz\" is not 7 to 64 hexadecimal digits"),
        ] {
            let error = read("u", &payload).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}\nnot {expected}");
        }
    }
}

mod argocd_notifications {
    use super::*;

    fn notification(phase: &str, health: &str, finished: &str) -> Value {
        json!({
            "app": "argocd/checkout-prod", "service": "checkout", "environment": "prod",
            "repoURL": "git@github.com:blackroad/checkout.git",
            "revision": "279484c09fbe69ededfced8c1bb6e6d24616b468", "phase": phase, "health": health,
            "startedAt": "2026-11-29T10:00:00Z", "finishedAt": finished,
            "message": "successfully synced (all tasks run)",
            "url": "https://argocd.example/applications/checkout-prod"
        })
    }

    fn read(payload: &Value) -> Result<Reading, DeliveryError> {
        super::argocd::read(&serde_json::to_vec(payload).unwrap())
    }

    #[test]
    fn phase_and_health_are_a_status() {
        let mut lines = Vec::new();
        for phase in ["Running", "Succeeded", "Failed", "Error", "Paused"] {
            for health in ["Healthy", "Progressing", "Degraded", "<no value>"] {
                let reading = read(&notification(phase, health, "<no value>")).unwrap();
                let status = match &reading {
                    Reading::Reports(reports) => format!("{:?}", reports[0].status),
                    Reading::Ignored { why } => why.clone(),
                };
                lines.push(format!("{phase} {health}: {status}"));
            }
        }
        insta::assert_snapshot!(lines.join("\n"), @r#"
        Running Healthy: Promoting
        Running Progressing: Promoting
        Running Degraded: Promoting
        Running <no value>: Promoting
        Succeeded Healthy: Active
        Succeeded Progressing: Promoting
        Succeeded Degraded: Failed
        Succeeded <no value>: Active
        Failed Healthy: Failed
        Failed Progressing: Failed
        Failed Degraded: Failed
        Failed <no value>: Failed
        Error Healthy: Failed
        Error Progressing: Failed
        Error Degraded: Failed
        Error <no value>: Failed
        Paused Healthy: Argo CD's phase "Paused" is not known
        Paused Progressing: Argo CD's phase "Paused" is not known
        Paused Degraded: Argo CD's phase "Paused" is not known
        Paused <no value>: Argo CD's phase "Paused" is not known
        "#);
    }

    #[test]
    fn notifications_of_one_sync_end_in_one_state() {
        let sent = [
            notification("Running", "Progressing", "<no value>"),
            notification("Succeeded", "Progressing", "2026-11-29T10:01:00Z"),
            notification("Succeeded", "Healthy", "2026-11-29T10:01:00Z"),
        ];
        let all: Vec<ChangeReport> = sent.iter().flat_map(|one| reports(read(one).unwrap())).collect();
        in_any_order_the_same(&all);
        let end = settled(&all);
        assert_eq!(end.len(), 1);
        let one = end.values().next().unwrap();
        assert_eq!(
            (one.status, one.service.repo.as_str()),
            (ReleaseStatus::Active, "github.com/blackroad/checkout")
        );
    }

    #[test]
    fn a_charts_revision_is_a_version() {
        let mut chart = notification("Succeeded", "Healthy", "2026-11-29T10:01:00Z");
        chart["revision"] = json!("1.4.2");
        chart["service"] = json!("");
        let one = reports(read(&chart).unwrap()).remove(0);
        assert_eq!((one.sha.as_str(), one.version.as_str()), ("", "1.4.2"));
        assert_eq!(one.service.name, "argocd/checkout-prod");
    }

    #[test]
    fn malformed_notifications_say_what_is_wrong() {
        let mut unknown = notification("Running", "", "");
        unknown["colour"] = json!("red");
        let mut nameless = notification("Running", "", "");
        nameless["environment"] = json!("<no value>");
        let mut timeless = notification("Running", "", "");
        timeless["startedAt"] = json!("<no value>");
        for (payload, expected) in [
            (unknown, "colour: unknown field `colour`"),
            (nameless, "environment: is empty"),
            (timeless, "startedAt: \"<no value>\" is no time"),
        ] {
            let error = read(&payload).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}\nnot {expected}");
        }
    }
}

mod change_events {
    use super::*;

    fn received() -> Timestamp {
        "2026-11-29T10:00:00Z".parse().unwrap()
    }

    fn event(details: Value) -> Value {
        json!({
            "routing_key": "0123456789abcdef0123456789abcdef",
            "payload": {"summary": "Deployed checkout", "timestamp": "2026-11-29T09:58:00.000Z",
                        "source": "ci.example", "custom_details": details},
            "links": [{"href": "javascript:alert(1)"}, {"href": "https://ci.example/42", "text": "Build"}]
        })
    }

    #[test]
    fn events_of_these_tests_are_pagerdutys() {
        let spec = include_str!("../../../capabilities/sandbox/specs/pagerduty-events-v2.json");
        let spec: Value = serde_json::from_str(spec).unwrap();
        let operation = &spec["paths"]["/v2/change/enqueue"]["post"];
        let mut schema = operation["requestBody"]["content"]["application/json"]["schema"].clone();
        schema["components"] = spec["components"].clone();
        let validator =
            jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
        let problems: Vec<String> =
            validator.iter_errors(&event(json!({"flag": "a"}))).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?}");
    }

    fn read(payload: &Value) -> Result<pagerduty::Enqueued, DeliveryError> {
        pagerduty::read(&serde_json::to_vec(payload).unwrap(), received())
    }

    #[test]
    fn event_with_environment_and_sha_is_a_deployment_and_any_other_a_change() {
        let deployment = read(&event(json!({
            "service": "checkout", "Environment": "prod", "commit": "279484C0", "version": "1.4.0",
            "repository": "https://github.com/blackroad/checkout", "status": "failed", "build": 42
        })))
        .unwrap();
        assert_eq!(deployment.routing_key, "0123456789abcdef0123456789abcdef");
        let flag = read(&event(json!({"flag": "new-checkout"}))).unwrap();
        insta::assert_snapshot!(
            [shown(&deployment.reading), shown(&flag.reading)].join("\n"),
            @r#"
        Deploy Failed pagerduty/checkout/prod/279484c0/1.4.0 github.com/blackroad/checkout checkout -> "prod" sha "279484c0" version "1.4.0" at 2026-11-29T09:58:00Z #0 "Deployed checkout" (https://ci.example/42)
        Change Active pagerduty/change-0a691381e693ecae99159066db644a28  ci.example -> "" sha "" version "" at 2026-11-29T09:58:00Z #0 "Deployed checkout" (https://ci.example/42)
        "#
        );
    }

    #[test]
    fn same_event_again_is_the_same_delivery_whenever_it_is_received() {
        let mut timeless = event(json!({}));
        timeless["payload"]["timestamp"] = Value::Null;
        let bytes = serde_json::to_vec(&timeless).unwrap();
        let id = |at: &str| {
            let read = pagerduty::read(&bytes, at.parse().unwrap()).unwrap();
            reports(read.reading).remove(0).delivery_id
        };
        assert_eq!(id("2026-11-29T10:00:00Z"), id("2026-11-29T11:00:00Z"));
        let other = reports(read(&event(json!({"flag": "b"}))).unwrap().reading).remove(0);
        assert_ne!(other.delivery_id, id("2026-11-29T10:00:00Z"));
    }

    #[test]
    fn malformed_events_say_what_is_wrong() {
        let mut long = event(json!({}));
        long["payload"]["summary"] = json!("a".repeat(1025));
        let mut keyless = event(json!({}));
        keyless.as_object_mut().unwrap().remove("routing_key");
        for (payload, expected) in [
            (long, "payload.summary: longer than 1024 characters"),
            (keyless, "missing field `routing_key`"),
            (event(json!("text")), "payload.custom_details: invalid type: string"),
        ] {
            let error = read(&payload).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}\nnot {expected}");
        }
    }
}

mod cd_events {
    use super::*;

    const BASE: &str = "https://cdevents.dev/0.6.0-draft/schema";

    macro_rules! fixture {
        ($name:literal) => {
            serde_json::from_str::<Value>(include_str!(concat!("fixtures/cdevents/", $name, ".json")))
                .unwrap()
        };
    }

    fn samples() -> Vec<Value> {
        vec![
            fixture!("conformance/service_deployed"),
            fixture!("conformance/service_upgraded"),
            fixture!("conformance/service_rolledback"),
            fixture!("conformance/service_removed"),
            fixture!("conformance/service_published"),
            fixture!("conformance/environment_created"),
            fixture!("conformance/environment_modified"),
            fixture!("conformance/environment_deleted"),
            fixture!("conformance/incident_detected"),
        ]
    }

    /// The schema of an event's type.
    pub(crate) fn validator(event_type: &str) -> Validator {
        let links = [
            ("embeddedlinksarray", fixture!("links/embeddedlinksarray")),
            ("embeddedlinkend", fixture!("links/embeddedlinkend")),
            ("embeddedlinkpath", fixture!("links/embeddedlinkpath")),
            ("embeddedlinkrelation", fixture!("links/embeddedlinkrelation")),
            ("domainid", fixture!("links/domainid")),
        ];
        let mut registry = Registry::new();
        for base in [BASE, "https://cdevents.dev/0.5.0/schema"] {
            for (name, schema) in &links {
                registry = registry.add(format!("{base}/links/{name}"), schema.clone()).unwrap();
            }
        }
        let registry = registry.prepare().unwrap();
        let words: Vec<&str> = event_type.split('.').collect();
        let schema = match (words[2], words[3]) {
            ("service", "deployed") => fixture!("servicedeployed"),
            ("service", "upgraded") => fixture!("serviceupgraded"),
            ("service", "rolledback") => fixture!("servicerolledback"),
            ("service", "removed") => fixture!("serviceremoved"),
            ("environment", "created") => fixture!("environmentcreated"),
            ("environment", "modified") => fixture!("environmentmodified"),
            ("environment", "deleted") => fixture!("environmentdeleted"),
            ("pipelinerun", "finished") => fixture!("pipelinerunfinished"),
            _ => panic!("no schema of {event_type} is kept"),
        };
        jsonschema::draft202012::options()
            .should_validate_formats(true)
            .with_registry(&registry)
            .build(&schema)
            .unwrap()
    }

    fn structured(event: &Value) -> Value {
        json!({
            "specversion": "1.0", "id": event["context"]["id"], "source": event["context"]["source"],
            "type": event["context"]["type"], "time": event["context"]["timestamp"],
            "datacontenttype": "application/json", "data": event
        })
    }

    fn read(event: &Value) -> Result<Reading, DeliveryError> {
        cdevents::read(Envelope::Structured, &serde_json::to_vec(&structured(event)).unwrap())
    }

    #[test]
    fn conformance_samples_are_valid_and_say_what_they_mean() {
        let mut lines = Vec::new();
        for event in samples() {
            let event_type = event["context"]["type"].as_str().unwrap();
            if !event_type.contains("published") && !event_type.contains("incident") {
                let problems: Vec<String> =
                    validator(event_type).iter_errors(&event).map(|error| error.to_string()).collect();
                assert!(problems.is_empty(), "{event_type}: {problems:?}");
            }
            lines.push(format!("{event_type}: {}", shown(&read(&event).unwrap())));
        }
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn binary_and_structured_say_the_same() {
        for event in samples() {
            let headers = json!({
                "ce-id": event["context"]["id"], "ce-source": event["context"]["source"],
                "ce-type": event["context"]["type"], "ce-specversion": "1.0"
            });
            let envelope = cdevents::envelope("application/json; charset=utf-8", |name| {
                headers[name].as_str().unwrap_or_default()
            });
            let binary = cdevents::read(envelope, &serde_json::to_vec(&event).unwrap());
            assert_eq!(binary, read(&event));
            let envelope = cdevents::envelope("application/cloudevents+json; charset=utf-8", |_| "");
            assert!(matches!(envelope, Envelope::Structured));
        }
    }

    #[test]
    fn custom_data_says_what_the_event_cannot() {
        let mut event = samples().remove(0);
        event["customData"] = json!({"sha": "9f3b7de", "version": "2024.10.01", "repo": "github.com/blackroad/demo",
                                     "url": "https://ci.example/1"});
        let one = reports(read(&event).unwrap()).remove(0);
        assert_eq!((one.sha.as_str(), one.version.as_str()), ("9f3b7de", "2024.10.01"));
        assert_eq!(
            (one.service.repo.as_str(), one.url.as_str()),
            ("github.com/blackroad/demo", "https://ci.example/1")
        );
    }

    #[test]
    fn repeated_and_shuffled_events_end_in_one_state() {
        let all: Vec<ChangeReport> = samples()
            .iter()
            .filter_map(|event| match read(event).unwrap() {
                Reading::Reports(reports) => Some(reports),
                Reading::Ignored { .. } => None,
            })
            .flatten()
            .collect();
        assert_eq!(all.len(), 7);
        in_any_order_the_same(&all);
    }

    #[test]
    fn malformed_events_say_what_is_wrong() {
        let event = samples().remove(0);
        let with = |path: &str, value: Value| {
            let mut changed = structured(&event);
            *changed.pointer_mut(path).unwrap() = value;
            changed
        };
        let mut without_environment = structured(&event);
        without_environment["data"]["subject"]["content"].as_object_mut().unwrap().remove("environment");
        for (body, expected) in [
            (json!({}), "missing field `specversion`"),
            (with("/specversion", json!("0.3")), "specversion: \"0.3\": only version 1.0"),
            (with("/id", json!("other")), "context.id: \"271069a8-fc18-44f1-b38f-9d70a1695819\" is not what"),
            (with("/data/context/timestamp", json!("soon")), "data.context.timestamp: "),
            (with("/data/subject/content/artifactId", json!("")), "subject.content.artifactId: missing"),
            (without_environment, "subject.content.environment: missing"),
        ] {
            let error = cdevents::read(Envelope::Structured, &serde_json::to_vec(&body).unwrap());
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}\nnot {expected}");
        }
    }

    mod out {
        use super::*;
        use crate::outbound::{ReleaseEvent, ReleaseEventKind};

        fn event(kind: ReleaseEventKind) -> ReleaseEvent<'static> {
            ReleaseEvent {
                id: "default/svc/svc-demo/12",
                source: "/orgs/default/services/svc-demo",
                at: "2026-11-29T10:00:00Z".parse().unwrap(),
                kind,
                release: "rel-123",
                run: Some("run-456"),
                service: "svc-demo",
                repo: "github.com/blackroad/demo",
                environment: "env-prod",
                sha: "9f3b7de",
                version: "2024.10.01",
                reason: "",
            }
        }

        #[test]
        fn events_are_valid_and_read_again_as_what_happened() {
            for (kind, expected) in [
                (ReleaseEventKind::Deployed, Some(ReportKind::Deploy)),
                (ReleaseEventKind::Upgraded, Some(ReportKind::Deploy)),
                (ReleaseEventKind::RolledBack, Some(ReportKind::RollBack)),
                (ReleaseEventKind::Failed, None),
            ] {
                let sent = event(kind).cloud_event();
                let event_type = sent["type"].as_str().unwrap();
                let problems: Vec<String> =
                    validator(event_type).iter_errors(&sent["data"]).map(|error| error.to_string()).collect();
                assert!(problems.is_empty(), "{event_type}: {problems:?}");
                let read = cdevents::read(Envelope::Structured, sent.to_string().as_bytes()).unwrap();
                let Some(expected) = expected else {
                    assert!(matches!(read, Reading::Ignored { .. }));
                    continue;
                };
                let one = reports(read).remove(0);
                assert_eq!((one.kind, one.environment.as_str()), (expected, "env-prod"));
                assert_eq!((one.sha.as_str(), one.version.as_str()), ("9f3b7de", "2024.10.01"));
                assert_eq!(
                    (one.service.name.as_str(), one.service.repo.as_str()),
                    ("svc-demo", "github.com/blackroad/demo")
                );
            }
        }

        #[test]
        fn whole_event_of_a_failure() {
            let sent = ReleaseEvent { reason: "ProgressDeadlineExceeded", ..event(ReleaseEventKind::Failed) };
            insta::assert_json_snapshot!(sent.cloud_event());
        }
    }
}

mod small_readers {
    use super::*;

    #[test]
    fn repositories_have_one_name() {
        for address in [
            "https://github.com/blackroad/demo",
            "https://github.com/blackroad/demo.git",
            "https://user:secret@GitHub.com/blackroad/demo/",
            "git@github.com:blackroad/demo.git",
            "ssh://git@github.com/blackroad/demo",
            "github.com/blackroad/demo",
        ] {
            assert_eq!(repo(address), "github.com/blackroad/demo", "{address}");
        }
        assert_eq!(repo("https://gitlab.example:8443/a/b/c"), "gitlab.example:8443/a/b/c");
        assert_eq!(repo(""), "");
    }

    #[test]
    fn versions_are_tags_and_not_branches_or_commits() {
        for (reference, expected) in [
            ("v1.2.3", "v1.2.3"),
            ("refs/tags/2024.10.01", "2024.10.01"),
            ("main", ""),
            ("feature/v2", ""),
            ("279484c09fbe69ededfced8c1bb6e6d24616b468", ""),
            ("", ""),
        ] {
            assert_eq!(version(reference), expected, "{reference}");
        }
    }

    #[test]
    fn what_is_shown_is_one_line_and_what_is_followed_is_a_web_address() {
        assert_eq!(line("pay\u{202e}ments\n\u{200b}fail "), "payments fail");
        assert_eq!(line(&"ä".repeat(300)).chars().count(), LINE_CHARS);
        assert_eq!(link("https://ci.example/1"), "https://ci.example/1");
        assert_eq!(link("javascript:alert(1)"), "");
        assert_eq!(link("https://a b"), "");
    }
}
