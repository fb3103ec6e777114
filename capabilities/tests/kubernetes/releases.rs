//! A release that goes well, once and twice.

use harmony_capabilities::deployments::{DeploymentError, Progress, k8s::RELEASE};
use serde_json::json;

use crate::world::{World, image, release};

#[tokio::test]
async fn first_release_takes_the_image_over_rolls_out_and_becomes_active() {
    let Some(world) = World::new().await else { return };
    world.workload("registry/checkout:1.0.0", json!({})).await;
    let site = world.harmony();
    let first = release("rel-1", "1.1.0");
    let plan = site.plan(&first).await.unwrap();
    assert_eq!(
        plan.steps,
        [
            format!("cluster prod, namespace {}, Deployment checkout", world.namespace),
            "image of app: registry/checkout:1.0.0 → registry/checkout:1.1.0".to_owned(),
            "annotation harmony.dev/release: none → rel-1".to_owned(),
            "takes the image over from platform-team".to_owned(),
            "replaces 2 replicas, at most 25% of them missing and 25% more at a time; Kubernetes gives up after 600 s \
             without progress"
                .to_owned(),
        ]
    );
    let applied = site.apply(&first, &plan).await.unwrap();
    assert!(!applied.adopted);
    assert_eq!(applied.reference, format!("prod/{}/checkout#2", world.namespace));
    let detail = site.active(&first).await;
    assert_eq!(detail, "2 of 2 replicas run registry/checkout:1.1.0 (revision 2)");
    let now = world.now().await;
    assert_eq!(now["metadata"]["annotations"][RELEASE], "rel-1");
    assert_eq!(image(&now), "registry/checkout:1.1.0");
    // What else the platform's people set is theirs still.
    assert_eq!(now["spec"]["replicas"], 2);
    assert_eq!(now["spec"]["template"]["metadata"]["labels"]["app"], "checkout");

    // From now on nothing has to be taken from anybody.
    let second = release("rel-2", "1.2.0");
    let plan = site.plan(&second).await.unwrap();
    assert_eq!(plan.steps[1], "image of app: registry/checkout:1.1.0 → registry/checkout:1.2.0");
    assert!(plan.steps.iter().all(|step| !step.contains("takes")), "{:?}", plan.steps);
    site.apply(&second, &plan).await.unwrap();
    site.active(&second).await;
    let Progress::Failed { reason } = site.status(&first).await else { panic!("rel-1 is over") };
    assert_eq!(reason, "the Deployment carries release rel-2 by now");
}

#[tokio::test]
async fn second_apply_finds_the_first() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({})).await;
    let site = world.harmony();
    let first = release("rel-1", "1.1.0");
    let plan = site.plan(&first).await.unwrap();
    assert!(!site.apply(&first, &plan).await.unwrap().adopted);
    let after = world.now().await;
    // While it rolls out, and when it is done.
    for _ in 0..2 {
        let again = site.apply(&first, &plan).await.unwrap();
        assert!(again.adopted);
        assert_eq!(again.reference, format!("prod/{}/checkout#2", world.namespace));
        site.active(&first).await;
    }
    let now = world.now().await;
    assert_eq!(now["metadata"]["generation"], after["metadata"]["generation"]);
    assert_eq!(world.replica_sets().await.len(), 2);
}

#[tokio::test]
async fn plan_changes_nothing() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({ "replicas": 0 })).await;
    let site = world.harmony();
    // Until the controller has nothing more to write.
    let mut before = world.now().await;
    while before["status"]["observedGeneration"] != 1 {
        before = world.now().await;
    }
    let plan = site.plan(&release("rel-1", "1.1.0")).await.unwrap();
    assert_eq!(plan.document["image"], "checkout:1.1.0");
    assert_eq!(world.now().await["spec"], before["spec"]);
    assert_eq!(world.now().await["metadata"], before["metadata"]);
    // The same question has the same answer.
    assert_eq!(site.plan(&release("rel-1", "1.1.0")).await.unwrap().digest(), plan.digest());
}

#[tokio::test]
async fn same_image_under_another_release_replaces_no_pod() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({})).await;
    let site = world.harmony();
    let first = release("rel-1", "1.0.0");
    let plan = site.plan(&first).await.unwrap();
    assert_eq!(plan.steps[1], "image of app stays checkout:1.0.0: no pod is replaced");
    site.apply(&first, &plan).await.unwrap();
    site.active(&first).await;
    assert_eq!(world.replica_sets().await.len(), 1);
}

#[tokio::test]
async fn plan_for_something_that_changed_since_is_stale() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({ "replicas": 0 })).await;
    let site = world.harmony();
    let (first, second) = (release("rel-1", "1.1.0"), release("rel-2", "1.2.0"));
    let plan = site.plan(&first).await.unwrap();

    let error = site.apply(&second, &plan).await.unwrap_err();
    let place = format!("prod/{}/checkout", world.namespace);
    assert_eq!(
        error.to_string(),
        format!("the plan no longer holds: it is for release rel-1 to {place}; plan again")
    );

    site.deploy(&second).await;
    let error = site.apply(&first, &plan).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the plan no longer holds: {place} runs checkout:1.2.0 as release rel-2 by now, and the plan begins with \
             checkout:1.0.0 as no release; plan again"
        )
    );

    // Another object of the same name is not what was planned for, and one that is gone is not made.
    let plan = site.plan(&first).await.unwrap();
    let path = format!("{}/checkout", world.workloads());
    world.ask(http::Method::DELETE, &path, serde_json::Value::Null).await.unwrap();
    let error = site.apply(&first, &plan).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Kubernetes refused deployments.get: 404 deployments.apps "checkout" not found"#
    );
    let Progress::Failed { reason } = site.status(&first).await else { panic!("nothing is there") };
    assert_eq!(reason, r#"deployments.apps "checkout" not found"#);
    world.workload("checkout:1.2.0", json!({ "replicas": 0 })).await;
    let error = site.apply(&first, &plan).await.unwrap_err();
    assert!(matches!(&error, DeploymentError::Stale(why) if why.ends_with("was made anew since")), "{error}");
}

#[tokio::test]
async fn one_container_of_several_is_named() {
    let Some(world) = World::new().await else { return };
    let containers =
        json!([{ "name": "app", "image": "checkout:1.0.0" }, { "name": "proxy", "image": "proxy:7" }]);
    let template = json!({
        "metadata": { "labels": { "app": "checkout" } },
        "spec": { "nodeName": "node-0", "containers": containers },
    });
    world.workload("-", json!({ "template": template })).await;
    let mut site = world.harmony();
    let first = release("rel-1", "1.1.0");
    let error = site.plan(&first).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "k8s cannot deploy there: the Deployment checkout has several containers; name one of app, proxy"
    );
    site.target.container = Some("app".to_owned());
    site.target.image = Some("other/checkout:{sha}".to_owned());
    site.deploy(&first).await;
    assert_eq!(site.active(&first).await, "2 of 2 replicas run other/checkout:4f2c1d0 (revision 2)");
    assert_eq!(world.now().await["spec"]["template"]["spec"]["containers"][1]["image"], "proxy:7");
}

#[tokio::test]
async fn paused_deployment_is_refused_until_it_is_resumed() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({ "paused": true })).await;
    let site = world.harmony();
    let error = site.plan(&release("rel-1", "1.1.0")).await.unwrap_err().to_string();
    assert!(
        error.ends_with("the Deployment checkout is paused; resume it first (kubectl rollout resume)"),
        "{error}"
    );
}
