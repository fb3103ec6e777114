//! Runbook cells as Jobs, with the rights of the role that is shipped and no more, in a namespace that enforces the
//! `restricted` pod security. There is no scheduler: a task of the test gives pods to the node, and kwok does with them
//! what the tag of their image says. The script of the cell itself is tested where it is written.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use harmony_runner::{
    CellOutcome, CellRun, Ended, Executor as _, JobRun, JobSettings, JobSpec, Jobs, OutcomeLimits, Printed,
    Progress, RunError, Stop,
};
use http::Method;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    control_plane::{CELL_LOG, END, NODE},
    counted::Counted,
    world::{CELLS, CLUSTER, World},
};

/// The role that is shipped.
const ROLE: &str = "../deploy/k8s/cells/role.yaml";
/// Until something has happened that surely will, on a busy machine.
const PATIENT: Duration = Duration::from_secs(90);

/// A namespace for cells, and whoever gives their pods to the node.
struct Cells {
    world: World,
    scheduler: JoinHandle<()>,
}

impl Drop for Cells {
    fn drop(&mut self) {
        self.scheduler.abort();
    }
}

impl Cells {
    async fn new() -> Option<Self> {
        let world = World::new().await?;
        let namespace = world.namespace.clone();
        let labels =
            json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
        world.apply("/api/v1/namespaces", &namespace, "v1", "Namespace", labels).await;
        let text = std::fs::read_to_string(ROLE)
            .unwrap()
            .replace("namespace: harmony-cells", &format!("namespace: {namespace}"));
        let role = text.split("\n---\n").next().unwrap();
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/harmony-cells");
        world.apply_text(&path, "kubectl", role).await.unwrap();
        world.bind(CELLS, "Role", "harmony-cells").await;
        let admin = world.plane.admin().await.unwrap();
        let scheduler = tokio::spawn(async move {
            let unscheduled =
                format!("/api/v1/namespaces/{namespace}/pods?fieldSelector=spec.nodeName%3D&limit=500");
            loop {
                let list = crate::world::ask_as(&admin, Method::GET, &unscheduled, Value::Null)
                    .await
                    .unwrap_or_default();
                for pod in list["items"].as_array().into_iter().flatten() {
                    let name = pod["metadata"]["name"].as_str().unwrap();
                    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
                    let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
                        "target": { "kind": "Node", "name": NODE } });
                    // It may be gone already.
                    drop(crate::world::ask_as(&admin, Method::POST, &path, binding).await);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Some(Self { world, scheduler })
    }

    /// A worker's executor.
    fn jobs(&self) -> Jobs {
        self.jobs_at(self.world.plane.kubeconfig(CLUSTER, CELLS))
    }

    fn jobs_at(&self, kubeconfig: std::path::PathBuf) -> Jobs {
        Jobs::new(JobSettings {
            kubeconfig: Some(kubeconfig),
            patience: Duration::from_secs(15),
            ..JobSettings::new(&self.world.namespace)
        })
        .unwrap()
    }

    async fn list(&self, what: &str) -> Vec<Value> {
        let group = if what == "jobs" { "/apis/batch/v1" } else { "/api/v1" };
        let path = format!("{group}/namespaces/{}/{what}", self.world.namespace);
        self.world.ask(Method::GET, &path, Value::Null).await.unwrap()["items"].as_array().unwrap().clone()
    }

    /// The one pod, once its commands run.
    async fn running_pod(&self) -> Value {
        let began = Instant::now();
        loop {
            let pods = self.list("pods").await;
            if let [pod] = pods.as_slice()
                && pod["status"]["phase"] == "Running"
            {
                return pod.clone();
            }
            assert!(began.elapsed() < PATIENT, "no pod runs: {pods:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends the commands of the one pod that runs.
    async fn end_with(&self, code: i32) {
        let pod = self.running_pod().await;
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}",
            self.world.namespace,
            pod["metadata"]["name"].as_str().unwrap()
        );
        let body = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "annotations": { END: code.to_string() } } });
        self.world.patch(&path, "test", &body).await;
    }
}

/// A cell whose pod does what this tag says.
fn cell(tag: &str) -> CellRun {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let image = format!("registry.example.com/cells:{tag}@sha256:{}", "0123456789abcdef".repeat(4));
    CellRun {
        snapshot: "```bash { name=rollback }\necho rolling back\n```\n".to_owned(),
        cell: "rollback".to_owned(),
        env: BTreeMap::from([("SERVICE".to_owned(), "checkout".to_owned())]),
        carried: BTreeMap::new(),
        secrets: BTreeMap::new(),
        workdir: std::path::PathBuf::new(),
        timeout: Duration::from_secs(120),
        limits: OutcomeLimits::default(),
        printed: None,
        job: Some(JobRun {
            spec: JobSpec { image, service_account: None, cpu_millis: 100, memory_mib: 64, deadline: None },
            subject: "INC-2026-0042".to_owned(),
            run: format!("{}/remediation/rollback/1", COUNT.fetch_add(1, Ordering::Relaxed)),
            scope: "default incident.remediate-INC-2026-0042".to_owned(),
            kept: Duration::from_secs(3_600),
            may_start: true,
        }),
    }
}

async fn run_until(
    jobs: &Jobs,
    run: CellRun,
    stop: impl Future<Output = Stop> + Send,
) -> Result<CellOutcome, RunError> {
    let (progress, _followed) = watch::channel(Progress::default());
    jobs.run(run, progress, Box::pin(stop)).await
}

async fn run(jobs: &Jobs, run: CellRun) -> Result<CellOutcome, RunError> {
    run_until(jobs, run, std::future::pending()).await
}

#[tokio::test]
async fn cell_runs_as_one_job_and_hands_on_what_it_exports_and_printed() {
    let Some(cells) = Cells::new().await else { return };
    let printed = Printed::default();
    let outcome =
        run(&cells.jobs(), CellRun { printed: Some(printed.clone()), ..cell("done") }).await.unwrap();
    assert_eq!(outcome.ended, Ended::Exited(0), "{outcome:?}");
    assert_eq!(json!(outcome.exported), json!({ "VERSION": "1.4" }));
    assert_eq!(outcome.stdout_tail, CELL_LOG, "{outcome:?}");
    assert_eq!(printed.whole().unwrap().unwrap().bytes, CELL_LOG.as_bytes());
    let jobs = cells.list("jobs").await;
    assert_eq!(jobs.len(), 1);
    let pod = &cells.list("pods").await[0]["spec"];
    assert_eq!(pod["containers"][0]["image"], cell("done").job.unwrap().spec.image);
    assert_eq!(pod["automountServiceAccountToken"], false);
}

#[tokio::test]
async fn what_kubernetes_did_to_a_cell_is_told_as_such() {
    let Some(cells) = Cells::new().await else { return };
    let jobs = cells.jobs();
    let killed = |words: &str| Ended::Killed(words.to_owned());
    let not_started = |words: &str| Ended::CouldNotStart(words.to_owned());
    let short = CellRun { timeout: Duration::from_secs(2), ..cell("runs") };
    let nowhere = CellRun { timeout: Duration::from_secs(3), ..cell("unknown-to-kwok") };
    let mut too_large = cell("done");
    let limits = json!({ "spec": { "limits": [{ "type": "Container", "max": { "cpu": "4" } }] } });
    let path = format!("/api/v1/namespaces/{}/limitranges", cells.world.namespace);
    cells.world.apply(&path, "cells", "v1", "LimitRange", limits).await;
    if let Some(job) = &mut too_large.job {
        job.spec.cpu_millis = 8_000;
    }
    let outcomes = tokio::join!(
        run(&jobs, cell("fails")),
        run(&jobs, cell("greedy")),
        run(&jobs, cell("evicted")),
        run(&jobs, cell("unpulled")),
        run(&jobs, cell("misnamed")),
        run(&jobs, short),
        run(&jobs, nowhere),
        run(&jobs, too_large),
    );
    let ended = |outcome: Result<CellOutcome, RunError>| {
        let outcome = outcome.unwrap();
        (outcome.ended, outcome.stderr_tail)
    };
    let (fails, greedy, evicted, unpulled, misnamed, short, nowhere, too_large) = outcomes;
    assert_eq!(ended(fails).0, Ended::Exited(3));
    let (how, told) = ended(greedy);
    assert_eq!(how, killed("out of memory: it may use 64 MiB (OOMKilled)"));
    // It is on record with what the cell printed.
    assert!(told.contains("[harmony] out of memory: it may use 64 MiB (OOMKilled)\n"), "{told}");
    assert_eq!(ended(evicted).0, killed("evicted from its node: The node was low on resource: memory."));
    assert_eq!(
        ended(unpulled).0,
        not_started("its image or its start is refused: ErrImagePull: manifest unknown")
    );
    assert_eq!(
        ended(misnamed).0,
        not_started("its image is refused: InvalidImageName: couldn't parse image name")
    );
    let (how, told) = ended(short);
    assert_eq!(how, Ended::TimedOut);
    assert!(told.contains("its time was over (DeadlineExceeded)"), "{told}");
    let (how, told) = ended(nowhere);
    assert_eq!(how, Ended::TimedOut);
    assert!(told.contains("[harmony] it never started"), "{told}");
    let (how, _) = ended(too_large);
    let Ended::CouldNotStart(words) = how else { panic!("{how:?}") };
    assert!(
        words.starts_with("Kubernetes makes no pod for it: ")
            && words.contains("maximum cpu usage per Container is 4"),
        "{words}"
    );
    // What was given up is not left behind.
    let left: Vec<String> = cells.list("jobs").await.iter().map(Value::to_string).collect();
    let given_up =
        |job: &&String| [":unpulled@", ":misnamed@", "8000m"].iter().any(|part| job.contains(part));
    assert_eq!(left.iter().filter(given_up).count(), 0, "{left:?}");
}

#[tokio::test]
async fn next_worker_adopts_a_cell_wherever_its_worker_was_lost() {
    let Some(cells) = Cells::new().await else { return };
    // Behind the request that made it, and while it runs: the first worker is gone, the second finds the Job.
    let lost = cell("runs");
    let first = tokio::spawn({
        let (jobs, lost) = (cells.jobs(), lost.clone());
        async move { run(&jobs, lost).await }
    });
    cells.running_pod().await;
    first.abort();
    let second = tokio::spawn({
        let (jobs, lost) = (cells.jobs(), lost.clone());
        async move { run(&jobs, lost).await }
    });
    cells.end_with(0).await;
    let outcome = second.await.unwrap().unwrap();
    assert_eq!((&outcome.ended, outcome.exported.len()), (&Ended::Exited(0), 1), "{outcome:?}");
    // Before the record: the Job has ended long ago, and a third worker reads how.
    let again =
        CellRun { job: lost.job.clone().map(|job| JobRun { may_start: false, ..job }), ..lost.clone() };
    assert_eq!(run(&cells.jobs(), again).await.unwrap().exported, outcome.exported);
    assert_eq!(cells.list("jobs").await.len(), 1);
    assert_eq!(cells.list("pods").await.len(), 1);
    // One that was started once, and is not there any more, is not started again.
    let mut gone = cell("done");
    gone.job = gone.job.map(|job| JobRun { may_start: false, ..job });
    let unknown = run(&cells.jobs(), gone).await.unwrap_err();
    assert!(
        matches!(&unknown, RunError::Unknown(why) if why.contains("is not there any more")),
        "{unknown:?}"
    );
    // A Job of this name that does something else is not ours.
    let other = CellRun { env: BTreeMap::new(), ..lost };
    let refused = run(&cells.jobs(), other).await.unwrap();
    assert!(
        matches!(&refused.ended, Ended::CouldNotStart(why) if why.contains("a namespace of its own")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn worker_that_ends_leaves_its_cell_and_one_that_is_stopped_ends_it() {
    let Some(cells) = Cells::new().await else { return };
    let jobs = cells.jobs();
    let one = cell("runs");
    let left = run_until(&jobs, one.clone(), async {
        cells.running_pod().await;
        Stop::Leave
    });
    assert_eq!(left.await, Err(RunError::Left));
    assert_eq!(cells.running_pod().await["metadata"]["deletionTimestamp"], Value::Null);
    let stopped = run_until(&jobs, one, async {
        cells.running_pod().await;
        Stop::End
    });
    assert_eq!(stopped.await.unwrap().ended, Ended::Cancelled);
    assert_eq!((cells.list("jobs").await.len(), cells.list("pods").await.len()), (0, 0));
    // Somebody who deletes a Job by hand ends the cell, too, and is told of.
    let deleted = tokio::spawn(async move { run(&jobs, cell("runs")).await });
    let pod = cells.running_pod().await;
    let job = pod["metadata"]["labels"]["harmony.dev/job"].as_str().unwrap();
    let path = format!(
        "/apis/batch/v1/namespaces/{}/jobs/{job}?propagationPolicy=Background",
        cells.world.namespace
    );
    cells.world.ask(Method::DELETE, &path, Value::Null).await.unwrap();
    let outcome = deleted.await.unwrap().unwrap();
    assert_eq!(
        outcome.ended,
        Ended::Killed("its Job was deleted by somebody else".to_owned()),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn refusals_are_told_and_an_api_server_that_is_away_is_waited_for() {
    let Some(cells) = Cells::new().await else { return };
    // Whoever has no rights there.
    let jobs = cells.jobs_at(cells.world.plane.kubeconfig(CLUSTER, crate::world::READER));
    let outcome = run(&jobs, cell("done")).await.unwrap();
    let Ended::CouldNotStart(words) = &outcome.ended else { panic!("{outcome:?}") };
    assert!(words.contains("cannot create resource \"jobs\""), "{words}");
    // A server that answers nothing until it is told to; then it loses the answer of the request that makes the Job.
    let between = Counted::start(cells.world.plane.admin().await.unwrap()).await;
    between.refuse(true);
    let (jobs, kubeconfig) = (&cells, cells.world.plane.kubeconfig_to(CLUSTER, &between.url, "", CELLS));
    let jobs = jobs.jobs_at(kubeconfig);
    let running = tokio::spawn(async move { run(&jobs, cell("done")).await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    between.lose_one_creation();
    between.refuse(false);
    let outcome = running.await.unwrap().unwrap();
    assert_eq!(outcome.ended, Ended::Exited(0), "{outcome:?}");
    assert_eq!(cells.list("jobs").await.len(), 1);
    assert_eq!(between.creations(), 2, "the second found the first");
    // One that stays away: nobody knows.
    between.refuse(true);
    let jobs = cells.jobs_at(cells.world.plane.kubeconfig_to(CLUSTER, &between.url, "", CELLS));
    let never = CellRun { timeout: Duration::from_millis(1), ..cell("done") };
    let unknown = run(&jobs, never).await.unwrap_err();
    assert!(
        matches!(&unknown, RunError::Unknown(why) if why.starts_with("Kubernetes cannot be asked")),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn two_hundred_cells_at_once_ask_the_api_server_less_than_twenty_times_a_second() {
    let Some(cells) = Cells::new().await else { return };
    let between = Counted::start(cells.world.plane.admin().await.unwrap()).await;
    let jobs =
        std::sync::Arc::new(cells.jobs_at(cells.world.plane.kubeconfig_to(CLUSTER, &between.url, "", CELLS)));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let jobs = std::sync::Arc::clone(&jobs);
        let one = CellRun { timeout: Duration::from_secs(600), ..cell("done") };
        running.spawn(async move { run(&jobs, one).await });
    }
    let mut done = 0;
    while let Some(outcome) = running.join_next().await {
        let outcome = outcome.unwrap().unwrap();
        assert_eq!(outcome.ended, Ended::Exited(0), "{outcome:?}");
        assert_eq!(outcome.exported.len(), 1, "{outcome:?}");
        assert_eq!(outcome.stdout_tail, CELL_LOG, "{outcome:?}");
        done += 1;
    }
    assert_eq!(done, 200);
    assert_eq!(cells.list("jobs").await.len(), 200);
    let (all, most) = between.requests();
    println!("200 cells: {all} requests, at most {most} in a second: {:?}", between.kinds());
    assert!(most < 20, "{most} requests in one second, of {all}");
}
