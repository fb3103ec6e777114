//! A runbook cell runs as a Job while its worker is killed before and after it makes the Job, while the cell runs, and
//! when it has ended and nothing of that is on record: each time one Job, one record of its start and its end, and no gate
//! that asks whether it ran. What was approved is what runs, whatever the file says by then.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{Method, Request, Response},
};
use kube::Client;
use serde_json::{Value, json};

use crate::{
    CLUSTER, Cluster, Hold,
    control_plane::{ADMIN, CELL_LOG, ControlPlane, END, NODE, left_out},
    world::{POLICY, World},
};

const NAMESPACE: &str = "cells";
const POLICY_OF_JOBS: &str =
    "[runbook_jobs]\nimages = [\"registry.example.com/cells\"]\nmax_memory_mib = 128\n";

/// Where the worker is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The request that makes the Job has left it, and has not arrived.
    BeforeJob,
    /// The Job is there, and the answer is still on the way.
    AfterJob,
    /// The cell runs.
    WhileItRuns,
    /// The cell has ended, and nobody has heard of it.
    BeforeRecord,
}

#[derive(Clone)]
struct Between {
    client: Client,
    hold: Hold<Moment>,
}

async fn pass(State(between): State<Between>, request: Request<Body>) -> Response<Body> {
    let makes = request.method() == Method::POST;
    if makes && between.hold.is_now(Moment::BeforeJob) {
        return between.hold.held().await;
    }
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    for name in ["host", "authorization"] {
        parts.headers.remove(name);
    }
    let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let answer = between.client.send(request).await.unwrap();
    if makes && answer.status().is_success() && between.hold.is_now(Moment::AfterJob) {
        return between.hold.held().await;
    }
    answer.map(Body::new)
}

fn image(tag: &str) -> String {
    format!("registry.example.com/cells:{tag}@sha256:{}", "0123456789abcdef".repeat(4))
}

fn runbook(image: &str) -> String {
    format!(
        "---\nexecutor: kubernetes\nimage: {image}\nresources: {{ cpu: 100m, memory: 64Mi }}\ndeadline: 2m\ninputs:\n  \
         - name: SERVICE\n    default: checkout\n---\n# Roll back\n\n```bash {{ name=rollback }}\necho rolling back\n```\n"
    )
}

/// What stands between the worker and its namespace, and who sees to the pods.
struct Site {
    cluster: Arc<Cluster>,
    between: Between,
    _plane: ControlPlane,
    kubeconfig: PathBuf,
}

impl Site {
    async fn start() -> Option<Self> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let plane = match ControlPlane::start(&[]).await {
            Ok(plane) => plane,
            Err(why) => {
                left_out("killed runbook cells on Kubernetes", &why);
                return None;
            }
        };
        let cluster = Arc::new(Cluster(plane.admin().await.unwrap()));
        cluster.with_namespace(NAMESPACE).await;
        let between = Between { client: plane.admin().await.unwrap(), hold: Hold::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(between.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        tokio::spawn(schedule(Arc::clone(&cluster)));
        let kubeconfig = plane.kubeconfig_to(CLUSTER, &url, "", ADMIN);
        Some(Self { cluster, between, _plane: plane, kubeconfig })
    }

    async fn world(&self) -> World {
        let kubeconfig = self.kubeconfig.display().to_string();
        let settings =
            [("HARMONY_KUBECONFIG", kubeconfig.as_str()), ("HARMONY_RUNBOOK_NAMESPACE", NAMESPACE)];
        World::start_with(&format!("{POLICY}{POLICY_OF_JOBS}"), &settings).await
    }

    async fn jobs(&self) -> Vec<Value> {
        let path = format!("/apis/batch/v1/namespaces/{NAMESPACE}/jobs");
        self.cluster.ask(Method::GET, &path, Value::Null).await["items"].as_array().unwrap().clone()
    }

    /// The Jobs of an incident's cells.
    async fn jobs_of(&self, incident: &str) -> Vec<Value> {
        let is_its = |job: &Value| job["metadata"]["labels"]["harmony.dev/subject"] == incident;
        self.jobs().await.into_iter().filter(is_its).collect()
    }

    /// The pod of an incident's cell, once its commands run.
    async fn running(&self, world: &World, incident: &str) -> String {
        let path =
            format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=harmony.dev%2Fsubject%3D{incident}");
        world
            .until("the cell to run", async || {
                let pods = self.cluster.ask(Method::GET, &path, Value::Null).await;
                let pod = &pods["items"][0];
                (pod["status"]["phase"] == "Running")
                    .then(|| pod["metadata"]["name"].as_str().unwrap().to_owned())
            })
            .await
    }

    /// Ends the commands of a pod.
    async fn end(&self, pod: &str, code: &str) {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}?fieldManager=test&force=true");
        let body = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "annotations": { END: code } } });
        self.cluster.ask(Method::PATCH, &path, body).await;
    }
}

/// There is no scheduler: every pod goes to the one node.
async fn schedule(cluster: Arc<Cluster>) {
    loop {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?fieldSelector=spec.nodeName%3D");
        let pods = cluster.ask(Method::GET, &path, Value::Null).await;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
                "target": { "kind": "Node", "name": NODE } });
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}/binding");
            cluster.ask(Method::POST, &path, binding).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn cell_whose_worker_is_killed_at_any_point_is_one_job_one_record_and_no_gate() {
    let Some(site) = Site::start().await else { return };
    let world = site.world().await;
    std::fs::write(world.dir.path().join("runbooks/job.md"), runbook(&image("runs"))).unwrap();
    for moment in [Moment::BeforeJob, Moment::AfterJob, Moment::WhileItRuns, Moment::BeforeRecord] {
        let (id, _) = world.initiated(&format!("Killed {moment:?}"), "P2").await;
        *site.between.hold.next.lock().unwrap() = Some(moment);
        world.post(&format!("incidents/{id}/remediate"), json!({ "runbook": "job.md" })).await;
        let gate = world.gate(&id).await;
        world.click(&gate, "approve", "commander").await;
        match moment {
            Moment::BeforeJob | Moment::AfterJob => {
                let held = tokio::time::timeout(Duration::from_secs(120), site.between.hold.held.notified());
                held.await.unwrap_or_else(|_| panic!("{moment:?}: nobody made a Job"));
                world.kill("worker");
                let pod = site.running(&world, &id).await;
                site.end(&pod, "0").await;
            }
            Moment::WhileItRuns => {
                let pod = site.running(&world, &id).await;
                world.kill("worker");
                site.end(&pod, "0").await;
            }
            Moment::BeforeRecord => {
                let pod = site.running(&world, &id).await;
                world.freeze_between_writes("worker", &id).await;
                site.end(&pod, "0").await;
                world
                    .until("the Job to be complete", async || {
                        let jobs = site.jobs_of(&id).await;
                        (jobs[0]["status"]["succeeded"] == 1).then_some(())
                    })
                    .await;
                world.kill("worker");
            }
        }
        let result = world.completed(&id, "remediate").await;
        assert_eq!(result["status"], "COMPLETED", "{moment:?}: {result}");
        assert_eq!(site.jobs_of(&id).await.len(), 1, "{moment:?}");
        let records = world.records(&id).await;
        let count = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
        let counts =
            ["RUNBOOK_CELL_STARTED", "RUNBOOK_CELL_FINISHED", "RUNBOOK_CELL_UNKNOWN", "APPROVAL_REQUESTED"]
                .map(count);
        assert_eq!(counts, [1, 1, 0, 1], "{moment:?}");
        let finished = records.iter().find(|record| record["kind"] == "RUNBOOK_CELL_FINISHED").unwrap();
        let told = (&finished["payload"]["ended"], &finished["payload"]["stdout"]);
        assert_eq!(told, (&json!("exited"), &json!(CELL_LOG)), "{moment:?}: {finished}");
    }
    world.verified().await;
}

#[tokio::test]
async fn what_was_approved_runs_and_nothing_else_is_let_through() {
    let Some(site) = Site::start().await else { return };
    let world = site.world().await;
    let file = world.dir.path().join("runbooks/job.md");
    std::fs::write(&file, runbook(&image("done"))).unwrap();
    let (id, _) = world.initiated("Approved image", "P2").await;
    let path = format!("incidents/{id}/remediate");
    world.post(&path, json!({ "runbook": "job.md" })).await;
    let gate = world.gate(&id).await;
    let encoded = gate["gateId"].as_str().unwrap().replace('#', "%23").replace('/', "%2F");
    // Every door shows what the digest covers.
    let shown = world.get(&format!("approvals/{encoded}")).await;
    let covers: Value = match &shown["covers"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    };
    assert_eq!(covers["executor"], "harmony-kubernetes/1");
    let job = json!({ "image": image("done"), "cpuMillis": 100, "memoryMib": 64, "deadlineMs": 120_000 });
    assert_eq!(covers["job"], job, "{covers}");
    assert_eq!(covers["cells"][0]["timeoutMs"], 120_000, "{covers}");
    let command = world.harmony(&["approval", "show", gate["gateId"].as_str().unwrap()]);
    let command = String::from_utf8_lossy(&command.stdout).into_owned();
    assert!(command.contains(&format!("job.image: \"{}\"", image("done"))), "{command}");
    world.asked(&gate).await;
    let messages = world.state("slack").await["messages"].to_string();
    assert!(messages.contains(&image("done")), "{messages}");

    // Another image, and another value of an input, have other digests; a decision on one is none on the other.
    let (other, _) = world.initiated("Another image", "P2").await;
    std::fs::write(&file, runbook(&image("fails"))).unwrap();
    let body = json!({ "runbook": "job.md", "inputs": { "SERVICE": "payments" } });
    world.post(&format!("incidents/{other}/remediate"), body).await;
    let changed = world.gate(&other).await;
    assert_ne!(changed["digest"], gate["digest"]);
    let stale = json!({ "decision": "approved", "digest": gate["digest"] });
    let (status, refused) = world.decide_as("commander", &changed, stale).await;
    assert!(status >= 400, "{status} {refused}");
    assert!(refused["refusedBecause"].as_str().unwrap_or_default().contains("stale"), "{refused}");
    // The file has changed since; what was approved runs.
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let jobs = site.jobs_of(&id).await;
    assert_eq!(jobs[0]["spec"]["template"]["spec"]["containers"][0]["image"], image("done"));
    // How the other one ended is told as such.
    world.click(&changed, "approve", "commander").await;
    let result = world.completed(&other, "remediate").await;
    assert_eq!(result["status"], "FAILED", "{result}");
    assert_eq!(result["remediation"]["runbook"]["cells"][0]["exitCode"], 3, "{result}");

    // What the policy does not allow is not even asked about.
    for (text, expected) in [
        (
            runbook(
                "registry.example.com/others@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            ),
            "does not allow the image registry.example.com/others",
        ),
        (runbook(&image("done")).replace("64Mi", "1Gi"), "1024 MiB of memory"),
        (runbook(&image("done")).replace("deadline: 2m", "serviceAccount: admin"), "service account admin"),
        (runbook("registry.example.com/cells:latest"), "a tag may mean another image tomorrow"),
    ] {
        let (id, _) = world.initiated("Refused", "P2").await;
        std::fs::write(&file, text).unwrap();
        let (status, answer) = world
            .api(
                reqwest::Method::POST,
                &format!("incidents/{id}/remediate"),
                Some(json!({ "runbook": "job.md" })),
            )
            .await;
        let told = if status >= 300 { answer } else { world.completed(&id, "remediate").await };
        assert!(told.to_string().contains(expected), "{expected}: {told}");
    }
    assert_eq!(site.jobs().await.len(), 2);
    world.verified().await;
}
