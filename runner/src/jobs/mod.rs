//! Runs a cell as a Job of Kubernetes, API group `batch/v1`.
//!
//! - A Job's name follows from what the cell is (`manifest.rs`): made twice, it is one. A worker whose predecessor died
//!   finds the Job and goes on with it, whether it runs or has ended. So a cell is UNKNOWN only where the API server
//!   cannot be asked, or its Job is gone.
//! - What goes on is watched, once for all cells (`watched.rs`); a cell costs the API server a request that makes its Job
//!   and one that follows its log, and requests of one worker are [`GAP`] apart.
//! - What it exports comes back in the container's last message, 4096 bytes that are part of the pod's status: they are
//!   whole or not there, come with the watch, and outlive the log, which kubelets rotate and a cell can print anything
//!   into.
//! - Time up: Kubernetes ends it by the Job's deadline, whether a worker looks on or not. Stopped: the Job is deleted, and
//!   its pod gets SIGTERM and 5 s.
//! - A finished Job stays for [`JobRun::kept`], so that whoever comes later reads how it ended. Nobody starts it then.
//!
//! Vague in Kubernetes: a node that is cut off may go on with a pod that the API server has given up. Output is one stream,
//! since the log of a container does not keep the two apart. Rights it needs, in the namespace of the cells: `create`,
//! `delete`, `get` and `watch` on Jobs, `watch` on Pods, `get` on their log, `list` on Events.

mod client;
mod log;
mod manifest;
mod standing;
#[cfg(test)]
mod tests;
mod watched;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use self::client::{Api, Refused};
use self::log::Log;
use self::manifest::{GRACE, ORDER};
use self::standing::{Job, Pod, Standing, by_pod, standing};
use self::watched::{All, Watched};
use super::executor::{CellOutcome, CellRun, Ended, Executor, Progress, RunError, Stop};
use super::exports::{self, Exports};
use super::job::{JOB_EXECUTOR, JobRun};
use super::markdown::parse;
use super::mask::Masker;
use super::output::KeptStream;
use super::tail::cut_to_fit;
use harmony_capabilities::deployments::k8s::AccessError;
use harmony_capabilities::deployments::k8s::access::Access;

/// Between two requests of one worker: at most 15 a second.
const GAP: Duration = Duration::from_micros(66_667);
/// How long an image may be refused, or no pod be made, before the cell is given up: registries and quotas recover.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often times are looked at; what happens is heard of at once.
const TICK: Duration = Duration::from_secs(1);
/// How long the pod's own word may wait for the Job's.
const JOBS_WORD: Duration = Duration::from_secs(10);
/// How long the last of the log, and the pod's last word, are waited for once the Job has ended.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the request for the log may wait for its turn once the cell has ended.
const UNREAD: Duration = Duration::from_secs(30);
/// How long a watch may leave a Job out before the API server is asked about it.
const UNHEARD: Duration = Duration::from_secs(15);
/// How long a stopped cell may take to be gone: its grace, and what the controllers need.
const GONE: Duration = Duration::from_secs(GRACE.as_secs() + 15);

/// How the cluster is reached, and where in it cells run.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// What the cluster that this process runs in is called.
    pub in_cluster: Option<String>,
    /// A kubeconfig.
    pub kubeconfig: Option<PathBuf>,
    /// Which of these clusters; the only one where it is not said.
    pub cluster: Option<String>,
    /// The namespace of the cells, and of no other installation.
    pub namespace: String,
    /// The Secret there whose keys are the secrets that cells name.
    pub secret: String,
    /// How long what Kubernetes tries again may be refused.
    pub patience: Duration,
}

impl JobSettings {
    /// Cells in this namespace.
    pub fn new(namespace: &str) -> Self {
        Self {
            in_cluster: None,
            kubeconfig: None,
            cluster: None,
            namespace: namespace.to_owned(),
            secret: "harmony-runbook-secrets".to_owned(),
            patience: PATIENCE,
        }
    }
}

/// Why cells cannot run as Jobs.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// The kubeconfig is of no use.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Which cluster is not said, or it is not known.
    #[error("{0}")]
    Cluster(String),
}

/// See the module.
pub struct Jobs {
    api: Arc<Api>,
    watched: Arc<Watched>,
    secret: String,
    patience: Duration,
}

impl Jobs {
    /// Reads the kubeconfig, if one is set, and connects to nothing.
    pub fn new(settings: JobSettings) -> Result<Self, JobsError> {
        let JobSettings { in_cluster, kubeconfig, cluster, namespace, secret, patience } = settings;
        let access = Access::new(in_cluster, kubeconfig)?;
        let known = access.clusters();
        let cluster = match (cluster, known.as_slice()) {
            (Some(named), known) if known.contains(&named.as_str()) => named,
            (Some(named), known) => {
                let known = known.join(", ");
                return Err(JobsError::Cluster(format!(
                    "{named:?} is not one of the clusters that are known ({known})"
                )));
            }
            (None, [only]) => (*only).to_owned(),
            (None, []) => return Err(JobsError::Cluster("no cluster is known".to_owned())),
            (None, several) => {
                return Err(JobsError::Cluster(format!(
                    "several clusters are known, name one: {}",
                    several.join(", ")
                )));
            }
        };
        let api = Arc::new(Api::new(access, cluster, namespace, GAP));
        Ok(Self { watched: Watched::new(Arc::clone(&api)), api, secret, patience })
    }

    /// How long after a cell's time Kubernetes may take to say how it ended: a Job's time begins when the controllers
    /// have heard of it.
    fn late(&self) -> Duration {
        self.patience * 3 / 2
    }

    /// Where cells run, for people.
    pub fn place(&self) -> String {
        format!("namespace {} of {}", self.api.namespace, self.api.cluster)
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("place", &self.place()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Executor for Jobs {
    fn name(&self) -> &'static str {
        JOB_EXECUTOR
    }

    async fn run(
        &self,
        run: CellRun,
        progress: watch::Sender<Progress>,
        stop: BoxFuture<'_, Stop>,
    ) -> Result<CellOutcome, RunError> {
        let cell = parse(&run.snapshot)?.named(&run.cell)?.clone();
        let Some(job) = run.job.clone() else {
            let problem = "its runbook does not say how it runs as a Job".to_owned();
            return Ok(CellOutcome::without_a_start(Ended::CouldNotStart(problem)));
        };
        let allowed = cell.timeout.map_or(run.timeout, |own| own.min(run.timeout));
        if allowed.is_zero() {
            return Ok(CellOutcome::without_a_start(Ended::TimedOut));
        }
        let manifest = match manifest::manifest(&run, &job, &cell.source, allowed, &self.secret) {
            Ok(manifest) => manifest,
            Err(problem) => return Ok(CellOutcome::without_a_start(Ended::CouldNotStart(problem))),
        };
        let masker = Masker::new(&run.secrets);
        let mut one = One {
            jobs: self,
            name: manifest::name(&job),
            order: manifest::order(&run, &job, &cell.source, allowed),
            memory_mib: job.spec.memory_mib,
            all: self.watched.follow(),
            output: KeptStream::new(&masker),
            log: None,
            masker: &masker,
            run: &run,
            progress,
            began: Instant::now(),
            notes: Vec::new(),
        };
        one.go(&manifest, &job, allowed, stop).await
    }
}

/// One cell that is run.
struct One<'a> {
    jobs: &'a Jobs,
    name: String,
    order: String,
    memory_mib: u64,
    all: watch::Receiver<All>,
    output: KeptStream,
    log: Option<Log>,
    masker: &'a Masker,
    run: &'a CellRun,
    progress: watch::Sender<Progress>,
    began: Instant,
    /// What its watchers should know, a line each.
    notes: Vec<String>,
}

/// How making the Job went.
enum Made {
    /// It is there.
    There,
    /// Nothing of it runs.
    Not(Ended),
}

impl One<'_> {
    async fn go(
        &mut self,
        manifest: &Value,
        job: &JobRun,
        allowed: Duration,
        mut stop: BoxFuture<'_, Stop>,
    ) -> Result<CellOutcome, RunError> {
        match self.make(manifest, job, allowed, &mut stop).await? {
            Made::There => {}
            Made::Not(ended) => return Ok(CellOutcome::without_a_start(ended)),
        }
        self.report(true);
        let ended = self.attend(allowed, &mut stop).await?;
        self.drain().await;
        Ok(self.outcome(ended))
    }

    /// Makes the Job, or finds it.
    async fn make(
        &mut self,
        manifest: &Value,
        job: &JobRun,
        allowed: Duration,
        stop: &mut BoxFuture<'_, Stop>,
    ) -> Result<Made, RunError> {
        let mut wait = Duration::from_millis(500);
        loop {
            // A request that is under way is never dropped: it might arrive behind the deletion of its Job.
            let answer = if job.may_start {
                self.jobs.api.ask::<Job>(Method::POST, &self.jobs.api.jobs(), Some(manifest)).await
            } else {
                Err(Refused::Exists)
            };
            let problem = match answer {
                Ok(made) => {
                    self.jobs.watched.learn(made);
                    return Ok(Made::There);
                }
                Err(Refused::Exists) => match self.look().await {
                    Ok(found) if found.metadata.annotations.get(ORDER) == Some(&self.order) => {
                        self.jobs.watched.learn(found);
                        return Ok(Made::There);
                    }
                    Ok(_) => {
                        let (name, place) = (&self.name, self.jobs.place());
                        let problem = format!(
                            "the Job {name} in {place} is there already and does something else: every installation of \
                             Harmony needs a namespace of its own for its cells"
                        );
                        return Ok(Made::Not(Ended::CouldNotStart(problem)));
                    }
                    Err(Refused::NotFound) if !job.may_start => {
                        return Err(RunError::Unknown(format!(
                            "its Job {} is not there any more",
                            self.name
                        )));
                    }
                    Err(refused) => refused.to_string(),
                },
                Err(Refused::NotFound) => {
                    let problem = format!("there is no {}", self.jobs.place());
                    return Ok(Made::Not(Ended::CouldNotStart(problem)));
                }
                Err(Refused::Final(words)) => {
                    return Ok(Made::Not(Ended::CouldNotStart(format!(
                        "Kubernetes refused its Job: {words}"
                    ))));
                }
                Err(Refused::Lost(words)) => words,
            };
            if self.began.elapsed() > allowed.saturating_add(self.jobs.late()) {
                return Err(RunError::Unknown(format!("Kubernetes cannot be asked: {problem}")));
            }
            tokio::select! {
                how = &mut *stop => return match how {
                    Stop::Leave => Err(RunError::Left),
                    Stop::End => self.end().await.map(Made::Not),
                },
                () = sleep(wait) => wait = (wait * 2).min(Duration::from_secs(5)),
            }
        }
    }

    async fn look(&self) -> Result<Job, Refused> {
        self.jobs.api.ask(Method::GET, &format!("{}/{}", self.jobs.api.jobs(), self.name), None).await
    }

    /// Follows it until it has ended or has been ended.
    async fn attend(&mut self, allowed: Duration, stop: &mut BoxFuture<'_, Stop>) -> Result<Ended, RunError> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Since when it is refused what it waits for, is over by its pod's word alone, and is not heard of.
        let (mut refused, mut over, mut unheard) = (None::<Instant>, None::<Instant>, None::<Instant>);
        loop {
            let now = self.standing();
            let (seen, is_current) = {
                let all = self.all.borrow();
                (all.cell(&self.name), all.is_current(&self.name))
            };
            if seen.deleted && !matches!(now, Standing::Ended(_)) {
                return Ok(Ended::Killed("its Job was deleted by somebody else".to_owned()));
            }
            match now {
                Standing::Ended(ended) => return Ok(ended),
                Standing::Hopeless(words) => {
                    return self.give_up(format!("its image is refused: {words}")).await;
                }
                Standing::Refused(words) if since(&mut refused) >= self.jobs.patience => {
                    return self.give_up(format!("its image or its start is refused: {words}")).await;
                }
                Standing::NoPod if since(&mut refused) >= self.jobs.patience => {
                    // The controllers may have much to do; what they were refused is an event.
                    refused = None;
                    if let Some(words) = self.events().await {
                        return self.give_up(format!("Kubernetes makes no pod for it: {words}")).await;
                    }
                }
                Standing::Ending if since(&mut over) >= JOBS_WORD => {
                    if let Some(ended) = seen.pod.as_ref().and_then(|pod| by_pod(pod, self.memory_mib)) {
                        return Ok(ended);
                    }
                }
                Standing::Refused(_) | Standing::NoPod | Standing::Ending => {}
                Standing::Waits(_) | Standing::Runs => refused = None,
            }
            self.follow_log(seen.pod.as_ref());
            if is_current {
                unheard = None;
            } else if since(&mut unheard) >= UNHEARD {
                unheard = None;
                match self.look().await {
                    Ok(job) => self.jobs.watched.learn(job),
                    Err(Refused::NotFound) => {
                        return Ok(Ended::Killed("its Job was deleted by somebody else".to_owned()));
                    }
                    Err(_) => {}
                }
            }
            if self.began.elapsed() > allowed.saturating_add(self.jobs.late()) {
                return self.overdue().await;
            }
            tokio::select! {
                biased;
                how = &mut *stop => match how {
                    Stop::Leave => return Err(RunError::Left),
                    Stop::End => return self.end().await,
                },
                bytes = next(&mut self.log) => self.take(bytes),
                changed = self.all.changed() => {
                    if changed.is_err() {
                        return Err(RunError::Unknown("nobody watches the cells any more".to_owned()));
                    }
                }
                _ = ticks.tick() => {}
            }
        }
    }

    fn standing(&self) -> Standing {
        let seen = self.all.borrow().cell(&self.name);
        standing(&seen.job.unwrap_or_default(), seen.pod.as_ref(), self.memory_mib)
    }

    /// Kubernetes has not said for long how it ended: it is asked once more, and told to end it.
    async fn overdue(&mut self) -> Result<Ended, RunError> {
        match self.look().await {
            Ok(job) if job.is_over() => {
                self.jobs.watched.learn(job);
                match self.standing() {
                    Standing::Ended(ended) => Ok(ended),
                    _ => Ok(Ended::TimedOut),
                }
            }
            Ok(_) => match self.end().await? {
                Ended::Cancelled => Ok(Ended::TimedOut),
                ended => Ok(ended),
            },
            Err(Refused::NotFound) => Ok(Ended::Killed("its Job was deleted by somebody else".to_owned())),
            Err(refused) => {
                Err(RunError::Unknown(format!("Kubernetes cannot be asked how it ended: {refused}")))
            }
        }
    }

    /// Deletes a Job that does not start.
    async fn give_up(&mut self, problem: String) -> Result<Ended, RunError> {
        Ok(match self.end().await? {
            // It may have started in the same instant.
            Ended::Cancelled if !self.pod().is_some_and(|pod| pod.has_started()) => {
                Ended::CouldNotStart(problem)
            }
            Ended::Cancelled => Ended::Killed(problem),
            ended => ended,
        })
    }

    fn pod(&self) -> Option<Pod> {
        self.all.borrow().cell(&self.name).pod
    }

    /// Deletes the Job and waits until nothing of it runs. It may have ended in the same instant; then that is what
    /// happened.
    async fn end(&mut self) -> Result<Ended, RunError> {
        let began = Instant::now();
        let path = format!("{}/{}", self.jobs.api.jobs(), self.name);
        let how = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground" });
        loop {
            if let Standing::Ended(ended) = self.standing() {
                return Ok(ended);
            }
            let problem = match self.jobs.api.ask::<Value>(Method::DELETE, &path, Some(&how)).await {
                Ok(_) => break,
                Err(Refused::NotFound) => return Ok(Ended::Cancelled),
                Err(refused) => refused.to_string(),
            };
            if began.elapsed() > GONE {
                return Err(RunError::Unknown(format!("Kubernetes cannot be told to end it: {problem}")));
            }
            sleep(TICK).await;
        }
        while began.elapsed() < GONE {
            let seen = self.all.borrow_and_update().cell(&self.name);
            if seen.deleted {
                return Ok(Ended::Cancelled);
            }
            tokio::select! {
                bytes = next(&mut self.log) => self.take(bytes),
                changed = self.all.changed() => drop(changed),
                () = sleep(TICK) => {}
            }
        }
        if matches!(self.look().await, Err(Refused::NotFound)) {
            return Ok(Ended::Cancelled);
        }
        self.notes.push("its Job was deleted, and its pod had not ended yet".to_owned());
        Ok(Ended::Cancelled)
    }

    /// Why a Job has no pod, in the controller's words.
    async fn events(&self) -> Option<String> {
        let path = format!(
            "/api/v1/namespaces/{}/events?limit=20&fieldSelector=involvedObject.name%3D{},type%3DWarning",
            self.jobs.api.namespace, self.name
        );
        let list: Value = self.jobs.api.ask(Method::GET, &path, None).await.unwrap_or_default();
        list["items"].as_array()?.last()?["message"].as_str().map(str::to_owned)
    }

    /// Reads the log as soon as there is one.
    fn follow_log(&mut self, pod: Option<&Pod>) {
        let Some(pod) = pod.filter(|pod| pod.has_started()) else { return };
        if self.log.is_none() {
            self.log = Some(Log::follow(Arc::clone(&self.jobs.api), pod.metadata.name.clone()));
        }
        if let (Some(log), true) = (&self.log, pod.is_over()) {
            log.over();
        }
    }

    fn take(&mut self, bytes: Option<Vec<u8>>) {
        if let Some(bytes) = bytes {
            self.output.push(&bytes, self.masker, self.run.printed.as_ref());
            self.report(false);
        }
    }

    fn report(&self, first: bool) {
        let tail = self.output.tail();
        self.progress.send_if_modified(|last| {
            if last.output_bytes == tail.total_bytes() && !first {
                return false;
            }
            let last_line = tail.last_line(self.masker);
            *last = Progress { output_bytes: tail.total_bytes(), last_line, exists: true };
            true
        });
    }

    /// Takes what of the log, and of the pod, is still on its way.
    async fn drain(&mut self) {
        let until = Instant::now() + DRAIN;
        let last_word = |pod: &Pod| pod.is_over();
        while Instant::now() < until && !self.pod().is_some_and(|pod| last_word(&pod)) {
            tokio::select! {
                bytes = next(&mut self.log) => self.take(bytes),
                changed = self.all.changed() => drop(changed),
                () = tokio::time::sleep_until(until) => {}
            }
        }
        let pod = self.pod();
        self.follow_log(pod.as_ref());
        if let Some(log) = &self.log {
            log.over();
            let ended = Instant::now();
            let all = loop {
                let open_since = self.log.as_ref().and_then(Log::open_since);
                let until = open_since.map_or(ended + UNREAD, |since| since.max(ended) + DRAIN);
                if Instant::now() > until {
                    break false;
                }
                match tokio::time::timeout(TICK, next_of(&mut self.log)).await {
                    Ok(Some(bytes)) => self.take(Some(bytes)),
                    Ok(None) => break true,
                    Err(_) => {}
                }
            };
            if !all {
                self.notes.push("what it printed may not be whole: its log had no end yet".to_owned());
            } else if let Some(problem) = self.log.as_ref().and_then(Log::problem) {
                self.notes.push(format!("what it printed could not be read to its end: {problem}"));
            }
        }
        self.output.end(self.masker, self.run.printed.as_ref());
        self.report(false);
    }

    fn outcome(&mut self, ended: Ended) -> CellOutcome {
        let pod = self.pod();
        let limits = self.run.limits;
        let exports = match &ended {
            Ended::Exited(0) => {
                let given = self.run.env.iter().chain(&self.run.carried);
                let given: BTreeMap<&str, &str> =
                    given.map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let message = pod.as_ref().and_then(Pod::message);
                exports::of_message(message, &given, &self.run.secrets, self.masker, limits.exports_bytes)
            }
            _ => Exports::default(),
        };
        // Why it ended is on record with what it printed.
        match &ended {
            Ended::Killed(why) | Ended::CouldNotStart(why) => self.notes.insert(0, why.clone()),
            Ended::TimedOut => {
                let started = pod.as_ref().is_some_and(Pod::has_started);
                let waited = || never_started(standing(&Job::default(), pod.as_ref(), self.memory_mib));
                self.notes.splice(0..0, (!started).then(waited));
                self.notes.insert(0, "its time was over (DeadlineExceeded)".to_owned());
            }
            Ended::Exited(_) | Ended::Signalled(_) | Ended::Cancelled => {}
        }
        let mut notes = String::new();
        for note in self.notes.iter().chain(&exports.notes) {
            let _ = writeln!(notes, "[harmony] {note}");
        }
        let tail = self.output.tail();
        let notes_bytes = notes.len() as u64;
        let (stdout_tail, stderr_tail) =
            cut_to_fit((tail.text(self.masker), tail.total_bytes()), (notes, notes_bytes), limits.tail_bytes);
        CellOutcome {
            ended,
            stdout_tail,
            stderr_tail,
            output_bytes: tail.total_bytes(),
            duration: pod.and_then(|pod| pod.duration()).unwrap_or_else(|| self.began.elapsed()),
            exported: exports.variables,
        }
    }
}

/// How long it has been so.
fn since(first: &mut Option<Instant>) -> Duration {
    first.get_or_insert_with(Instant::now).elapsed()
}

fn never_started(standing: Standing) -> String {
    match standing {
        Standing::Waits(words) | Standing::Refused(words) if !words.is_empty() => {
            format!("it never started: {words}")
        }
        _ => "it never started".to_owned(),
    }
}

/// What the log has next; never where it has ended, or is not followed yet.
async fn next(log: &mut Option<Log>) -> Option<Vec<u8>> {
    match next_of(log).await {
        Some(bytes) => Some(bytes),
        None => std::future::pending().await,
    }
}

/// The same; `None` where it has ended.
async fn next_of(log: &mut Option<Log>) -> Option<Vec<u8>> {
    match log {
        Some(log) => log.next().await,
        None => None,
    }
}
