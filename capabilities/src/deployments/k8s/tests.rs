//! What needs no API server: how a rollout is judged, and which clusters may be talked to.

use std::time::Duration;

use serde_json::{Value, json};

use super::objects::{List, Pod, Workload};
use super::rollout::{Look, Standing, standing};
use super::*;
use crate::deployments::Progress;

const NOW: &str = "2026-03-01T12:00:00Z";

/// Three replicas of release `rel-2`, all of them done, with what a case says otherwise.
fn workload(change: impl FnOnce(&mut Value)) -> Workload {
    let image = json!({ "f:image": {} });
    let containers = json!({ "k:{\"name\":\"app\"}": image });
    let mut object = json!({
        "metadata": {
            "name": "checkout",
            "uid": "1",
            "generation": 4,
            "annotations": { RELEASE: "rel-2", "deployment.kubernetes.io/revision": "7" },
            "managedFields": [{
                "manager": FIELD_MANAGER,
                "operation": "Apply",
                "time": "2026-03-01T11:55:00Z",
                "fieldsV1": { "f:spec": { "f:template": { "f:spec": { "f:containers": containers } } } },
            }],
        },
        "spec": {
            "replicas": 3,
            "template": { "spec": { "containers": [{ "name": "app", "image": "checkout:2" }] } },
        },
        "status": {
            "observedGeneration": 4, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "conditions": [],
        },
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn pod(waiting: Value, since: &str) -> Pod {
    let state = json!({ "name": "app", "state": { "waiting": waiting } });
    let ready = json!({ "type": "Ready", "status": "False", "lastTransitionTime": since });
    let status = json!({ "conditions": [ready], "containerStatuses": [state] });
    serde_json::from_value(json!({ "metadata": { "name": "checkout-x" }, "status": status })).unwrap()
}

fn judge(workload: &Workload, look: &Look) -> Progress {
    match standing(workload, "rel-2", "app") {
        Standing::Settled(progress) => progress,
        Standing::Open(open) => open.judge(look, NOW.parse().unwrap(), Duration::from_secs(120)),
    }
}

fn check(change: impl FnOnce(&mut Value), look: &Look, expected: &str) {
    let found = match judge(&workload(change), look) {
        Progress::Running { detail } => format!("running: {detail}"),
        Progress::Active { detail } => format!("active: {detail}"),
        Progress::Failed { reason } => format!("failed: {reason}"),
    };
    assert_eq!(found, expected);
}

#[test]
fn deployment_alone_settles_what_it_can() {
    let none = Look::default();
    check(|_| {}, &none, "active: 3 of 3 replicas run checkout:2 (revision 7)");
    let other = |one: &mut Value| one["metadata"]["annotations"][RELEASE] = "rel-9".into();
    check(other, &none, "failed: the Deployment carries release rel-9 by now");
    let without = |one: &mut Value| one["metadata"]["annotations"] = json!({});
    check(without, &none, "failed: the Deployment carries no release; rel-2 was taken off it");
    let taken = |one: &mut Value| one["metadata"]["managedFields"][0]["manager"] = "kubectl-set".into();
    check(taken, &none, "failed: the image of app was changed to checkout:2 by kubectl-set");
    let unseen = |one: &mut Value| one["status"]["observedGeneration"] = 3.into();
    check(unseen, &none, "running: the Deployment's controller has not seen the change yet");
    let paused = |one: &mut Value| one["spec"]["paused"] = true.into();
    check(
        paused,
        &none,
        "running: the Deployment is paused: nothing is rolled out until somebody resumes it",
    );
    check(
        |one| one["status"] = json!({ "observedGeneration": 4 }),
        &none,
        "running: 0 of 3 replicas are updated",
    );
    let old = |one: &mut Value| one["status"]["replicas"] = 4.into();
    check(old, &none, "running: replicas of the release before that are still there: 1");
    let late = |one: &mut Value| one["status"]["availableReplicas"] = 1.into();
    check(late, &none, "running: 1 of 3 updated replicas are available");
}

#[test]
fn trouble_is_told_at_once_and_fails_when_it_lasts() {
    let late = |one: &mut Value| one["status"]["availableReplicas"] = 1.into();
    let look = |waiting: Value, since: &str| Look { pods: vec![pod(waiting, since)], ..Look::default() };
    let pull = json!({ "reason": "ImagePullBackOff", "message": "no such tag" });
    let words = "pod checkout-x, container app: ImagePullBackOff: no such tag";
    let counts = "1 of 3 updated replicas are available";
    check(late, &look(pull.clone(), "2026-03-01T11:58:30Z"), &format!("running: {counts}; {words}"));
    check(late, &look(pull, "2026-03-01T11:58:00Z"), &format!("failed: {words} ({counts})"));
    let name = json!({ "reason": "InvalidImageName" });
    let words = "pod checkout-x, container app: InvalidImageName";
    check(late, &look(name, NOW), &format!("failed: {words} ({counts})"));
    let creating = json!({ "reason": "ContainerCreating" });
    check(late, &look(creating, "2026-03-01T11:00:00Z"), &format!("running: {counts}"));
}

#[test]
fn deadline_counts_if_it_is_of_this_rollout() {
    let deadline = |updated: &'static str| {
        move |one: &mut Value| {
            one["status"]["availableReplicas"] = 1.into();
            one["status"]["conditions"] = json!([{
                "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                "message": "timed out", "lastUpdateTime": updated,
            }]);
        }
    };
    let words = "failed: ProgressDeadlineExceeded: timed out";
    check(deadline("2026-03-01T11:59:00Z"), &Look::default(), words);
    let before = "running: 1 of 3 updated replicas are available";
    check(deadline("2026-03-01T11:54:59Z"), &Look::default(), before);
}

#[test]
fn selector_is_written_as_a_list_takes_it() {
    let selector: objects::Selector = serde_json::from_value(json!({
        "matchLabels": { "app": "checkout", "tier": "web" },
        "matchExpressions": [
            { "key": "a", "operator": "In", "values": ["1", "2"] },
            { "key": "b", "operator": "NotIn", "values": ["3"] },
            { "key": "c", "operator": "Exists" },
            { "key": "d", "operator": "DoesNotExist" },
        ],
    }))
    .unwrap();
    assert_eq!(selector.to_string(), "app=checkout,tier=web,a in (1,2),b notin (3),c,!d");
}

#[test]
fn values_of_variables_are_not_kept() {
    let list: List<Pod> = serde_json::from_value(json!({ "items": [{
        "metadata": { "name": "checkout-x" },
        "spec": { "containers": [{ "name": "app", "env": [{ "name": "TOKEN", "value": "hush" }] }] },
    }] }))
    .unwrap();
    assert!(!format!("{list:?}").contains("hush"));
}

#[test]
fn place_is_made_of_names() {
    let target = |namespace: &str, workload: &str| Target {
        service: "checkout".to_owned(),
        cluster: "prod".to_owned(),
        namespace: Some(namespace.to_owned()),
        workload: Some(workload.to_owned()),
        ..Target::default()
    };
    assert!(Place::of(&target("shop", "check.out-2")).is_ok());
    for (namespace, workload) in [
        ("", "a"),
        ("Shop", "a"),
        ("a.b", "a"),
        ("../x", "a"),
        ("a", "a/b"),
        ("a", "-a"),
        ("a", "a..b"),
        ("a", "a?b"),
    ] {
        let error = Place::of(&target(namespace, workload)).unwrap_err().to_string();
        assert!(error.contains("is no name of a"), "{error}");
    }
    let unnamed = Target { namespace: None, ..target("", "a") };
    assert!(Place::of(&unnamed).unwrap_err().to_string().contains("has no namespace"));
    let nowhere = Target { cluster: String::new(), ..target("shop", "a") };
    assert!(Place::of(&nowhere).unwrap_err().to_string().contains("has no cluster"));
}

fn kubeconfig(cluster: &str, user: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "{{\"clusters\":[{{\"name\":\"prod\",\"cluster\":{{{cluster}}}}}],\
         \"users\":[{{\"name\":\"me\",\"user\":{{{user}}}}}],\
         \"contexts\":[{{\"name\":\"prod\",\"context\":{{\"cluster\":\"prod\",\"user\":\"me\"}}}}]}}"
    );
    std::fs::write(file.path(), text).unwrap();
    file
}

async fn refused(cluster: &str, user: &str) -> String {
    let file = kubeconfig(cluster, user);
    let settings = Settings { kubeconfig: Some(file.path().to_owned()), ..Settings::default() };
    let k8s = K8s::new(settings).unwrap();
    assert_eq!(k8s.clusters(), ["prod"]);
    let target = Target {
        service: "checkout".to_owned(),
        cluster: "prod".to_owned(),
        namespace: Some("shop".to_owned()),
        ..Target::default()
    };
    let error = k8s.status(&target, &Deployment::default()).await.unwrap_err();
    let shown = format!("{error} {error:?} {k8s:?}");
    assert!(!shown.contains("hush"), "{shown}");
    error.to_string()
}

#[tokio::test]
async fn credentials_go_to_nobody_who_cannot_prove_who_they_are() {
    let token = r#""token":"hush""#;
    for (cluster, why) in [
        (r#""server":"http://k8s.example.com""#, "http://k8s.example.com is not https"),
        (r#""server":"https://169.254.169.254""#, "169.254.169.254 is not an address of a vendor"),
        (
            r#""server":"https://k8s.example.com","insecure-skip-tls-verify":true"#,
            "insecure-skip-tls-verify is for this machine alone",
        ),
        (
            r#""server":"https://k8s.example.com","proxy-url":"http://hush:hush@proxy""#,
            "proxy-url is not supported",
        ),
        (r#""certificate-authority-data":"hush!""#, "its cluster has no address"),
        (
            r#""server":"https://k8s.example.com","certificate-authority-data":"hush!""#,
            "the certificate authority cannot be read",
        ),
    ] {
        let error = refused(cluster, token).await;
        assert!(error.starts_with("the adapter k8s is not configured: ") && error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn what_a_credential_program_prints_is_not_passed_on() {
    let exec = r#""exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"sh","args":["-c","echo hush; echo hush >&2; exit 1"]}"#;
    let error = refused(r#""server":"https://127.0.0.1:1""#, exec).await;
    assert_eq!(
        error,
        "the adapter k8s is not configured: cluster \"prod\": its credential program ended with exit status: 1"
    );
}

#[tokio::test]
async fn api_server_that_is_away_did_nothing() {
    let error = refused(r#""server":"https://127.0.0.1:1""#, r#""token":"hush""#).await;
    assert!(error.starts_with("Kubernetes did not carry out deployments.get: "), "{error}");
}

#[test]
fn kubeconfig_that_is_none_is_named_and_not_quoted() {
    let settings =
        |path: &std::path::Path| Settings { kubeconfig: Some(path.to_owned()), ..Settings::default() };
    let error = K8s::new(settings("/nowhere/config".as_ref())).unwrap_err().to_string();
    assert_eq!(error, "the kubeconfig /nowhere/config cannot be read: entity not found");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "users: [{name: me, user: {token: hush, token: hush}}").unwrap();
    let error = K8s::new(settings(file.path())).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    assert!(error.to_string().ends_with("is no kubeconfig"), "{error}");
    let file = kubeconfig(r#""server":"https://127.0.0.1:1""#, "");
    let twice = Settings { in_cluster: Some("prod".to_owned()), ..settings(file.path()) };
    let error = K8s::new(twice).unwrap_err().to_string();
    assert_eq!(
        error,
        "the cluster \"prod\" is both the one this process runs in and a context of the kubeconfig"
    );
}
