use serde_json::json;

use super::*;
use crate::error::Fate;

fn target() -> Target {
    Target {
        service: "checkout".to_owned(),
        environment: "prod-eu".to_owned(),
        region: "eu-central-1".to_owned(),
        cluster: "prod".to_owned(),
        ..Target::default()
    }
}

fn deployment() -> Deployment {
    Deployment { release_id: "rel-2".to_owned(), sha: "4f2c1d0".to_owned(), version: "1.2.3".to_owned() }
}

#[test]
fn every_name_is_read_as_it_is_written_and_no_other_is() {
    for name in AdapterName::ALL {
        assert_eq!(name.as_str().parse(), Ok(name));
        assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
        assert_eq!(Adapters::default().get(name).unwrap().name(), name);
    }
    assert!(AdapterName::ALL.is_sorted_by_key(|name| name.as_str()));
    for wrong in ["", "K8S", "kubernetes", "k8s "] {
        let error = wrong.parse::<AdapterName>().unwrap_err().to_string();
        assert!(error.contains(&format!("{wrong:?}")) && error.contains("k8s, render"), "{error}");
    }
}

#[tokio::test]
async fn adapters_that_are_not_configured_say_so_and_what_to_do() {
    let adapters = Adapters::default();
    for name in [AdapterName::Aws, AdapterName::Fly, AdapterName::Gcp, AdapterName::K8s, AdapterName::Render]
    {
        let adapter = adapters.get(name).unwrap();
        let plan = Plan { adapter: name, steps: Vec::new(), document: json!({}) };
        let errors = [
            adapter.plan(&target(), &deployment()).await.unwrap_err(),
            adapter.apply(&target(), &deployment(), &plan).await.unwrap_err(),
            adapter.status(&target(), &deployment()).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.fate(), Fate::Rejected);
            assert!(matches!(&error, DeploymentError::NotConfigured { adapter, .. } if *adapter == name));
            assert!(
                error.to_string().starts_with(&format!("the adapter {name} is not configured: ")),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn external_waits_for_somebody_else() {
    let adapters = Adapters::default();
    let external = adapters.get(AdapterName::External).unwrap();
    assert_eq!(external.carried_out_by(), CarriedOutBy::Outside);
    let plan = external.plan(&target(), &deployment()).await.unwrap();
    assert_eq!(plan.steps[0], "a pipeline outside Harmony deploys checkout 1.2.3 to prod-eu");
    let applied = external.apply(&target(), &deployment(), &plan).await.unwrap();
    assert_eq!(applied.detail, "waits for the pipeline that deploys checkout 1.2.3");
    let unnamed = Deployment { version: String::new(), ..deployment() };
    let Progress::Running { detail } = external.status(&target(), &unnamed).await.unwrap() else {
        panic!("nobody told it anything");
    };
    assert_eq!(detail, "waits to be told that checkout at 4f2c1d0 was deployed");
}

#[tokio::test]
async fn runbook_plans_and_leaves_the_rest_to_the_cells() {
    let adapters = Adapters::default();
    let runbook = adapters.get(AdapterName::Runbook).unwrap();
    assert_eq!(runbook.carried_out_by(), CarriedOutBy::Runbook);
    let error = runbook.plan(&target(), &deployment()).await.unwrap_err();
    assert_eq!(error.to_string(), "runbook cannot deploy there: checkout names no runbook for prod-eu");
    let target = Target { runbook: Some("deploy/checkout.md".to_owned()), ..target() };
    let release = Deployment { version: "1\n2".to_owned(), ..deployment() };
    let plan = runbook.plan(&target, &release).await.unwrap();
    assert_eq!(plan.document["runbook"], "deploy/checkout.md");
    assert_eq!(plan.document["env"]["RELEASE_ID"], "rel-2");
    assert!(plan.steps.iter().all(|step| !step.contains('\n')), "{:?}", plan.steps);
    let error = runbook.apply(&target, &release, &plan).await.unwrap_err();
    assert_eq!(error, DeploymentError::CarriedOutElsewhere(AdapterName::Runbook));
}

#[test]
fn digest_covers_steps_and_document_and_no_order() {
    let plan = |document| Plan { adapter: AdapterName::K8s, steps: vec!["one".to_owned()], document };
    let one = plan(json!({ "a": { "x": [1, {}, []], "y": "\"" }, "b": null }));
    let other_order = plan(json!({ "b": null, "a": { "y": "\"", "x": [1, {}, []] } }));
    assert_eq!(one.digest(), other_order.digest());
    assert_ne!(one.digest(), plan(json!({ "a": { "x": [{}, 1, []], "y": "\"" }, "b": null })).digest());
    assert_ne!(one.digest(), Plan { steps: vec!["two".to_owned()], ..one.clone() }.digest());
    assert_ne!(one.digest(), Plan { adapter: AdapterName::Runbook, ..one.clone() }.digest());
    let mut text = String::new();
    canonical(&one.document, &mut text);
    assert_eq!(text, r#"{"a":{"x":[1,{},[]],"y":"\""},"b":null}"#);
}

#[test]
fn settings_of_the_catalog_are_read_by_their_names() {
    let settings = [
        ("container", "app"),
        ("deployment", "shop"),
        ("image", "shop:{sha}"),
        ("namespace", "shop"),
        ("runbook", "deploy.md"),
        ("takeOverFrom", "kubectl, argocd-controller"),
    ];
    let settings = |more: &[(&str, &str)]| -> BTreeMap<String, String> {
        settings.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let read = target().with_settings(AdapterName::K8s, &settings(&[])).unwrap();
    assert_eq!(read.service, "checkout");
    assert_eq!(read.workload.as_deref(), Some("shop"));
    assert_eq!(read.image.as_deref(), Some("shop:{sha}"));
    assert_eq!(read.runbook.as_deref(), Some("deploy.md"));
    assert_eq!(read.take_over_from, ["kubectl", "argocd-controller"]);
    let error = target().with_settings(AdapterName::K8s, &settings(&[("replicas", "2")])).unwrap_err();
    assert!(error.to_string().contains("there is no setting \"replicas\" of a target"), "{error}");
}

#[test]
fn target_takes_no_field_that_nobody_knows() {
    let known = json!({ "service": "checkout", "environment": "prod", "takeOverFrom": ["kubectl"] });
    let target: Target = serde_json::from_value(known).unwrap();
    assert_eq!(target.take_over_from, ["kubectl"]);
    let unknown = json!({ "service": "checkout", "environment": "prod", "nameSpace": "shop" });
    assert!(serde_json::from_value::<Target>(unknown).unwrap_err().to_string().contains("nameSpace"));
}
