//! Releases that do not come up, in the words of whoever stopped them.

use std::time::{Duration, Instant};

use harmony_capabilities::deployments::k8s::Settings;
use http::Method;
use serde_json::{Value, json};

use crate::world::{CLUSTER, HARMONY, Site, World, image, release};

/// Who gives trouble this long.
fn patient_for(world: &World, patience: Duration) -> Site<'_> {
    let kubeconfig = Some(world.plane.kubeconfig(CLUSTER, HARMONY));
    world.site_with(Settings { kubeconfig, patience, ..Settings::default() })
}

#[tokio::test]
async fn image_that_cannot_be_pulled_is_trouble_first_and_a_failure_later() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({})).await;
    let patient = world.harmony();
    let bad = release("rel-1", "missing");
    patient.deploy(&bad).await;
    let words = "ImagePullBackOff: Back-off pulling image \"checkout:missing\": manifest unknown";
    patient.running_with(&bad, words).await;
    // The Deployment counts its pods a moment after they are there.
    let detail = patient.running_with(&bad, "1 of 2 replicas are updated; pod checkout-").await;
    assert!(detail.contains(words), "{detail}");
    let reason = patient_for(&world, Duration::from_secs(1)).failed(&bad).await;
    assert!(reason.contains(", container app: ") && reason.contains(words), "{reason}");
    assert!(reason.ends_with("(1 of 2 replicas are updated)"), "{reason}");
    // The release before still serves.
    let ready = |pod: &&Value| pod["status"]["phase"] == "Running";
    assert_eq!(world.pods().await.iter().filter(ready).count(), 2);
}

#[tokio::test]
async fn name_that_is_no_image_fails_at_once() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({})).await;
    let mut site = world.harmony();
    site.target.image = Some("checkout/{sha}:Wrong".to_owned());
    let bad = release("rel-1", "");
    site.deploy(&bad).await;
    let reason = site.failed(&bad).await;
    assert!(
        reason.contains("InvalidImageName: couldn't parse image name \"checkout/4f2c1d0:Wrong\""),
        "{reason}"
    );
}

#[tokio::test]
async fn container_that_crashes_is_told_with_its_exit_code() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({})).await;
    let site = patient_for(&world, Duration::from_secs(1));
    let bad = release("rel-1", "crashes");
    site.deploy(&bad).await;
    let reason = site.failed(&bad).await;
    let words = "CrashLoopBackOff: back-off 10s restarting failed container: exit code 3, Error";
    assert!(reason.contains(words), "{reason}");
}

#[tokio::test]
async fn deadline_is_kubernetes_own_and_the_way_back_is_not_judged_by_it() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({ "progressDeadlineSeconds": 3 })).await;
    let site = world.harmony();
    let good = release("rel-1", "1.0.0");
    site.deploy(&good).await;
    site.active(&good).await;
    let bad = release("rel-2", "unready");
    site.deploy(&bad).await;
    site.running_with(&bad, "1 of 2 replicas are updated").await;
    // As the kubelet tells it.
    let pods = world.pods().await;
    let pod = pods.iter().find(|pod| pod["spec"]["containers"][0]["image"] == "checkout:unready").unwrap();
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": "unhealthy", "namespace": world.namespace },
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "namespace": world.namespace,
            "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
        },
        "type": "Warning",
        "reason": "Unhealthy",
        "message": "Readiness probe failed: HTTP probe failed with statuscode: 503",
    });
    let events = format!("/api/v1/namespaces/{}/events", world.namespace);
    world.ask(Method::POST, &events, event).await.unwrap();
    let probe = "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503";
    let reason = site.failed(&bad).await;
    assert!(reason.starts_with("ProgressDeadlineExceeded: ReplicaSet \"checkout-"), "{reason}");
    assert!(
        reason.contains("has timed out progressing.; pod checkout-") && reason.ends_with(probe),
        "{reason}"
    );

    // The condition is still there when the release before is deployed again, and is not about it.
    let back = release("rel-3", "1.0.0");
    site.deploy(&back).await;
    assert_eq!(site.active(&back).await, "2 of 2 replicas run checkout:1.0.0 (revision 3)");
}

#[tokio::test]
async fn quota_is_told_in_the_api_servers_words() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({})).await;
    let site = patient_for(&world, Duration::from_secs(1));
    let first = release("rel-1", "1.0.0");
    site.deploy(&first).await;
    site.active(&first).await;
    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", world.namespace);
    world.apply(&quotas, "pods", "v1", "ResourceQuota", json!({ "spec": { "hard": { "pods": "2" } } })).await;
    // There is no controller of quotas here to count what is used.
    let status = json!({ "status": { "hard": { "pods": "2" }, "used": { "pods": "2" } } });
    let status = world.whole("v1", "ResourceQuota", "pods", status);
    world.patch(&format!("{quotas}/pods/status"), "quota", &status).await;
    let second = release("rel-2", "1.1.0");
    // The API server's own cache of quotas is some seconds old.
    site.deploy(&second).await;
    let reason = site.failed(&second).await;
    let words = "FailedCreate: pods \"checkout-";
    assert!(
        reason.contains(words)
            && reason.contains(
                "is forbidden: exceeded quota: pods, requested: pods=1, used: pods=2, limited: pods=2"
            ),
        "{reason}"
    );
}

#[tokio::test]
async fn admission_that_denies_the_change_is_told_in_its_own_words() {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({})).await;
    let api = "admissionregistration.k8s.io/v1";
    let name = format!("no-latest-{}", world.namespace);
    let policy = json!({ "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": { "resourceRules": [{
            "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
            "resources": ["deployments"],
        }] },
        "validations": [{
            "expression": "object.spec.template.spec.containers.all(c, !c.image.endsWith(':latest'))",
            "message": "images must be pinned",
        }],
    } });
    world
        .apply(
            &format!("/apis/{api}/validatingadmissionpolicies"),
            &name,
            api,
            "ValidatingAdmissionPolicy",
            policy,
        )
        .await;
    let binding = json!({ "spec": {
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": world.namespace } } },
    } });
    let bindings = format!("/apis/{api}/validatingadmissionpolicybindings");
    world.apply(&bindings, &name, api, "ValidatingAdmissionPolicyBinding", binding).await;
    let site = world.harmony();
    // A policy is enforced a moment after it was made.
    let began = Instant::now();
    let error = loop {
        match site.plan(&release("rel-1", "latest")).await {
            Err(error) => break error.to_string(),
            Ok(_) => assert!(began.elapsed() < Duration::from_secs(60), "the policy denies nothing"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(
        error.starts_with("Kubernetes refused deployments.apply (dry run): 422 deployments.apps"),
        "{error}"
    );
    assert!(error.contains("denied request: images must be pinned"), "{error}");
    assert_eq!(image(&world.now().await), "checkout:1.0.0");
}
