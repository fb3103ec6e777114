//! What goes on in the namespace of the cells: two watches, one of Jobs and one of pods, however many cells run.
//!
//! They are opened when the first cell is followed and closed some time after the last. A watch that ends goes on where it
//! ended; one that cannot begins anew with everything that is there, and what it does not tell of again is not believed
//! any more ([`Seen::is_current`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::client::{Api, Refused};
use super::manifest::{JOB, SELECTOR};
use super::standing::{Job, Meta, Pod};

/// How long a watch lasts before it is opened again. Kubernetes' own clients let theirs last 5 to 10 minutes.
const LASTS: Duration = Duration::from_secs(300);
/// Bookmarks come every minute; a watch that says nothing for so long is broken.
const SILENT: Duration = Duration::from_secs(150);
/// Between two tries to open one: 1 s at first, and twice as long each time up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long the watches go on when no cell is followed: the next cell of a runbook follows at once.
const LINGERS: Duration = Duration::from_secs(10);
/// The longest object that etcd takes is 1.5 MiB.
const LINE_BYTES: usize = 4 * 1024 * 1024;

/// What is known of the cells' Jobs and pods, by the name of the Job.
#[derive(Debug, Default)]
pub(super) struct All {
    cells: BTreeMap<String, Seen>,
    /// How often each watch began anew: of Jobs, and of pods.
    began: [u64; 2],
    /// Whether each watch is open.
    open: [bool; 2],
}

/// What is known of one.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) job: Option<Job>,
    pub(super) pod: Option<Pod>,
    /// It was there, and is not any more.
    pub(super) deleted: bool,
    /// As of which beginning of the watch of Jobs.
    began: u64,
}

impl All {
    pub(super) fn cell(&self, name: &str) -> Seen {
        self.cells.get(name).cloned().unwrap_or_default()
    }

    /// Whether the watches would have told by now if there were more to know of it.
    pub(super) fn is_current(&self, name: &str) -> bool {
        self.open == [true, true] && self.cells.get(name).is_some_and(|seen| seen.began == self.began[0])
    }
}

/// See the module.
pub(super) struct Watched {
    api: Arc<Api>,
    all: watch::Sender<All>,
    is_running: Mutex<bool>,
}

impl Watched {
    pub(super) fn new(api: Arc<Api>) -> Arc<Self> {
        Arc::new(Self { api, all: watch::channel(All::default()).0, is_running: Mutex::new(false) })
    }

    /// Follows what goes on, until it is dropped.
    pub(super) fn follow(self: &Arc<Self>) -> watch::Receiver<All> {
        let followed = self.all.subscribe();
        let mut is_running = self.is_running.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut is_running, true) {
            tokio::spawn(Arc::clone(self).run());
        }
        followed
    }

    /// What was asked of the API server about a Job in between.
    pub(super) fn learn(&self, job: Job) {
        self.all.send_modify(|all| {
            let began = all.began[0];
            let seen = all.cells.entry(job.metadata.name.clone()).or_default();
            (seen.began, seen.deleted) = (began, false);
            seen.job = Some(job);
        });
    }

    async fn run(self: Arc<Self>) {
        let (jobs, pods) = (self.api.jobs(), self.api.pods());
        loop {
            self.all.send_modify(|all| all.open = [false, false]);
            tokio::select! {
                () = self.keep::<Job>(0, &jobs) => {}
                () = self.keep::<Pod>(1, &pods) => {}
                () = self.nobody_follows() => {}
            }
            let mut is_running = self.is_running.lock().unwrap_or_else(PoisonError::into_inner);
            if self.all.receiver_count() == 0 {
                *is_running = false;
                self.all.send_modify(|all| *all = All { began: all.began, ..All::default() });
                return;
            }
        }
    }

    async fn nobody_follows(&self) {
        loop {
            self.all.closed().await;
            sleep(LINGERS).await;
            if self.all.receiver_count() == 0 {
                return;
            }
        }
    }

    /// Keeps one watch open.
    async fn keep<T: Watchable>(&self, which: usize, path: &str) {
        let mut version = None;
        let mut wait = Duration::from_secs(1);
        let mut said = String::new();
        loop {
            let anew = version.is_none();
            match self.open(path, version.as_deref()).await {
                Ok(body) => {
                    wait = Duration::from_secs(1);
                    said.clear();
                    self.all.send_modify(|all| {
                        all.open[which] = true;
                        all.began[which] += u64::from(anew);
                    });
                    let ended = self.read::<T>(body, &mut version).await;
                    self.all.send_modify(|all| all.open[which] = false);
                    if let Err(problem) = ended {
                        tracing::debug!(path, problem, "a watch of cells ended early");
                        version = None;
                    }
                }
                Err(refused) => {
                    version = None;
                    let problem = refused.to_string();
                    if problem != said {
                        tracing::warn!(path, problem, "cells cannot be watched");
                        said = problem;
                    }
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    async fn open(&self, path: &str, version: Option<&str>) -> Result<Body, Refused> {
        let from = version.map(|version| format!("&resourceVersion={version}")).unwrap_or_default();
        let seconds = LASTS.as_secs();
        let query = format!(
            "watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&labelSelector={SELECTOR}{from}"
        );
        self.api.watch(&format!("{path}?{query}")).await
    }

    /// Reads a watch to its end. An error says that it cannot go on where it ended.
    async fn read<T: Watchable>(&self, mut body: Body, version: &mut Option<String>) -> Result<(), String> {
        let mut line = Vec::new();
        loop {
            let frame = match timeout(SILENT, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                // It was cut; where it ended is known.
                Ok(Some(Err(_)) | None) => return Ok(()),
                Err(_) => return Err(format!("it said nothing for {} s", SILENT.as_secs())),
            };
            let Ok(data) = frame.into_data() else { continue };
            for part in data.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if line.len() > LINE_BYTES {
                    return Err("an object is too long".to_owned());
                }
                if line.ends_with(b"\n") {
                    *version = Some(self.take::<T>(&std::mem::take(&mut line))?);
                }
            }
        }
    }

    /// Takes one event, and gives the version that it brought.
    fn take<T: Watchable>(&self, line: &[u8]) -> Result<String, String> {
        let wrong = |error: serde_json::Error| format!("an event cannot be read (column {})", error.column());
        let Event { kind, object } = serde_json::from_slice(line).map_err(wrong)?;
        let version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        let Some(version) = version.filter(|_| kind != "ERROR") else {
            return Err("the API server ended it".to_owned());
        };
        if kind != "BOOKMARK" {
            let object: T = serde_json::from_value(object).map_err(wrong)?;
            self.all.send_modify(|all| object.put(all, kind == "DELETED"));
        }
        Ok(version)
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

/// What a watch tells of.
trait Watchable: DeserializeOwned {
    fn put(self, all: &mut All, deleted: bool);
}

impl Watchable for Job {
    fn put(self, all: &mut All, deleted: bool) {
        let began = all.began[0];
        let seen = all.cells.entry(self.metadata.name.clone()).or_default();
        (seen.began, seen.deleted) = (began, deleted);
        seen.job = Some(self);
    }
}

impl Watchable for Pod {
    /// What its pod said last is kept when it is gone.
    fn put(self, all: &mut All, _deleted: bool) {
        if let Some(name) = job_of(&self.metadata) {
            all.cells.entry(name).or_default().pod = Some(self);
        }
    }
}

fn job_of(pod: &Meta) -> Option<String> {
    pod.labels.get(JOB).cloned()
}
