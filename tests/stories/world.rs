//! A world: `harmony dev` in a data directory of its own, and hands to work it with.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    pty::{OpenptyResult, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use temporalio_client::{Client, ClientOptions, ConnectionOptions, UntypedWorkflow};

/// Longest wait for anything; a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(100);

/// Policy of most stories: doors by hand are open, effects are given up soon.
pub(crate) const POLICY: &str =
    "manual_signals = \"accept\"\nmanual_starts = \"accept\"\nstep_patience = \"90s\"\n";

/// See the module.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    child: Child,
    line: Value,
    http: reqwest::Client,
}

/// The program under test: `harmony` under another name, built with the tests.
pub(crate) const HARMONY: &str = env!("CARGO_BIN_EXE_harmony-under-test");

impl World {
    /// A world with this policy.
    pub(crate) async fn start(policy: &str) -> Self {
        Self::start_with(policy, &[]).await
    }

    /// A world with this policy, whose processes have these variables; `{dir}` in a value is its data directory.
    pub(crate) async fn start_with(policy: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_program(Path::new(HARMONY), policy, environment).await
    }

    /// The same of another program.
    pub(crate) async fn start_program(program: &Path, policy: &str, environment: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let home = dir.path().display().to_string();
        let environment = environment.iter().map(|(name, value)| (name, value.replace("{dir}", &home)));
        std::fs::write(dir.path().join("policy.toml"), policy).unwrap();
        drop(rustls::crypto::ring::default_provider().install_default());
        let errors = std::fs::File::create(dir.path().join("dev.log")).unwrap();
        let mut child = Command::new(program)
            .args(["dev", "--json", "--http", "127.0.0.1:0", "--data-dir"])
            .arg(dir.path())
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let Ok(line) = serde_json::from_str(&first) else {
            drop(child.wait());
            let log = std::fs::read_to_string(dir.path().join("dev.log")).unwrap_or_default();
            panic!("dev does not start\n{first}\n{log}");
        };
        Self { dir, child, line, http: reqwest::Client::new() }
    }

    /// What `dev --json` said.
    pub(crate) fn line(&self) -> &Value {
        &self.line
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.line
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer} in {}", self.line))
    }

    /// A request to the API as the operator.
    pub(crate) async fn api(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/api/orgs/default/{path}", self.text("/api"));
        let mut request = self.http.request(method, url).bearer_auth(self.text("/token"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.api(Method::GET, path, None).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// What somebody without an account posts; gives the answer, which must be a good one.
    pub(crate) async fn webhook(&self, sender: &str, header: (&str, String), body: &Value) -> Value {
        let url = format!("{}/webhooks/{sender}", self.text("/api"));
        let request = self.http.post(url).header(header.0, header.1).body(body.to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{sender}: {body}");
        answer.json().await.unwrap()
    }

    /// A command that must be taken.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.api(Method::POST, path, Some(body)).await;
        assert!((200..300).contains(&status), "POST {path}: {status} {answer}");
        answer
    }

    pub(crate) async fn incident(&self, id: &str) -> Value {
        self.get(&format!("incidents/{id}")).await
    }

    /// Declares, and waits until everybody was told.
    pub(crate) async fn initiated(&self, title: &str, severity: &str) -> (String, Value) {
        let made = self.post("incidents", json!({ "title": title, "severity": severity })).await;
        let id = made["incidentId"].as_str().unwrap().to_owned();
        let result = self.completed(&id, "initiate").await;
        (id, result)
    }

    /// Waits until an attempt of a blueprint has ended, and gives its result.
    pub(crate) async fn completed(&self, id: &str, blueprint: &str) -> Value {
        let ended = self
            .until(&format!("{blueprint} of {id} to end"), async || {
                let found = self.incident(id).await["blueprints"][blueprint].clone();
                let status = found["status"].as_str().unwrap_or_default().to_owned();
                (!status.is_empty() && status != "RUNNING").then_some(found)
            })
            .await;
        self.keep_history(ended["workflowId"].as_str().unwrap()).await;
        ended["result"].clone()
    }

    /// Keeps the history of a run that ended, where `HARMONY_RECORD_HISTORIES` names a folder for it.
    pub(crate) async fn keep_history(&self, workflow: &str) {
        let Some(folder) = std::env::var_os("HARMONY_RECORD_HISTORIES") else { return };
        let client = self.client().await;
        let handle = client.get_workflow_handle::<UntypedWorkflow>(workflow);
        // The record of the end stands before the run's own.
        drop(handle.get_result(Default::default()).await);
        let history = handle.fetch_history(Default::default()).to_json().await.unwrap();
        let story = std::thread::current().name().unwrap_or_default().rsplit("::").next().unwrap().to_owned();
        let kind = match workflow.split_once("-INC-") {
            Some((kind, _)) => kind,
            None => workflow.split('-').next().unwrap(),
        };
        std::fs::write(Path::new(&folder).join(format!("{kind}-{story}.json")), history).unwrap();
    }

    /// A client of its Temporal.
    pub(crate) async fn client(&self) -> Client {
        let target = url::Url::parse(&format!("http://{}", self.text("/temporal"))).unwrap();
        let options = ClientOptions::new(self.text("/namespace")).build();
        Client::connect(ConnectionOptions::new(target).build(), options).await.unwrap()
    }

    /// What the workflow of a remediation answers to `approvalState`.
    pub(crate) async fn approval_state(&self, id: &str) -> Value {
        let workflow = format!("incident.remediate-{id}");
        let answer =
            self.temporal_json(&["workflow", "query", "-w", &workflow, "--type", "approvalState"]).await;
        answer["queryResult"][0].clone()
    }

    /// Waits for the gate that is pending.
    pub(crate) async fn gate(&self, id: &str) -> Value {
        self.until(&format!("a gate of {id}"), async || {
            let gate = self.incident(id).await["gate"].clone();
            gate.is_object().then_some(gate)
        })
        .await
    }

    /// A decision by the operator's token.
    pub(crate) async fn decide(&self, gate: &Value, decision: Value) -> (u16, Value) {
        self.decide_as("operator", gate, decision).await
    }

    /// A decision by somebody's token.
    pub(crate) async fn decide_as(&self, who: &str, gate: &Value, decision: Value) -> (u16, Value) {
        let gate_id = gate["gateId"].as_str().unwrap().replace('#', "%23").replace('/', "%2F");
        let url = format!("{}/api/orgs/default/approvals/{gate_id}", self.text("/api"));
        let request = self.http.post(url).bearer_auth(self.text(&format!("/tokens/{who}")));
        let answer = request.json(&decision).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    /// Asks for a remediation with the sample runbook.
    pub(crate) async fn remediate(&self, id: &str) {
        let body = json!({ "runbook": "runbooks/rollback-deployment.md", "verify": ["postcheck"], "env": { "SAMPLE_STATE": self.dir.path().join("sample") } });
        self.post(&format!("incidents/{id}/remediate"), body).await;
    }

    /// Waits for the message that asks for this gate; gives its ts.
    pub(crate) async fn asked(&self, gate: &Value) -> String {
        let gate_id = gate["gateId"].as_str().unwrap();
        self.until(&format!("a message that asks for {gate_id}"), async || {
            let messages = self.state("slack").await["messages"].clone();
            messages.as_array().unwrap().iter().find_map(|message| {
                let buttons = message["blocks"].to_string();
                (buttons.contains(gate_id) && buttons.contains("\"approve\""))
                    .then(|| message["ts"].as_str().unwrap().to_owned())
            })
        })
        .await
    }

    /// Clicks a button of the message that asks for this gate, as Slack would send it.
    pub(crate) async fn click(&self, gate: &Value, action: &str, user: &str) -> Value {
        let ts = self.asked(gate).await;
        self.click_on(&ts, action, user).await
    }

    /// As [`Self::click`], on a message that was found before.
    pub(crate) async fn click_on(&self, ts: &str, action: &str, user: &str) -> Value {
        let click = json!({ "messageTs": ts, "actionId": action, "userId": user });
        let answer = self
            .http
            .post(format!("{}/_sandbox/slack/click", self.text("/sandbox/slack")))
            .json(&click)
            .send()
            .await
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["status"], 200, "click: {answer}");
        answer
    }

    /// What a stand-in holds.
    pub(crate) async fn state(&self, vendor: &str) -> Value {
        self.sandbox(vendor, "state").await
    }

    /// What a stand-in was asked.
    pub(crate) async fn requests(&self, vendor: &str) -> Vec<Value> {
        self.sandbox(vendor, "requests").await.as_array().unwrap().clone()
    }

    /// Whether a stand-in was left alone when it asked for it.
    pub(crate) async fn limits(&self, vendor: &str) -> Value {
        self.sandbox(vendor, "limits").await
    }

    /// Limits calls to the stand-ins as the vendors do, so many times as fast.
    pub(crate) async fn limit(&self, speed: u32) {
        for vendor in ["slack", "pagerduty", "statuspage", "confluence", "jira", "github"] {
            let origin = self.text(&format!("/sandbox/{vendor}"));
            let order = self.http.post(format!("{origin}/_sandbox/limits")).json(&json!({ "speed": speed }));
            assert_eq!(order.send().await.unwrap().status(), 200);
        }
    }

    async fn sandbox(&self, vendor: &str, what: &str) -> Value {
        let origin = self.text(&format!("/sandbox/{vendor}"));
        self.http.get(format!("{origin}/_sandbox/{what}")).send().await.unwrap().json().await.unwrap()
    }

    /// Makes a stand-in fail.
    pub(crate) async fn fault(&self, vendor: &str, fault: Value) {
        let origin = self.text(&format!("/sandbox/{vendor}"));
        let answer = self.http.post(format!("{origin}/_sandbox/faults")).json(&fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{fault}: {}", answer.status());
    }

    /// Ends every fault of a stand-in.
    pub(crate) async fn unfault(&self, vendor: &str) {
        let origin = self.text(&format!("/sandbox/{vendor}"));
        let answer = self.http.delete(format!("{origin}/_sandbox/faults")).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// Every record of an incident.
    pub(crate) async fn records(&self, id: &str) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let after = all.last().map_or(0, |record| record["seq"].as_u64().unwrap());
            let more = self.get(&format!("incidents/{id}/events?after={after}&limit=200")).await;
            let more = more["events"].as_array().unwrap();
            if more.is_empty() {
                return all;
            }
            all.extend(more.iter().cloned());
        }
    }

    /// The kinds of its records, in order.
    pub(crate) async fn kinds(&self, id: &str) -> Vec<String> {
        self.records(id).await.iter().map(|record| record["kind"].as_str().unwrap().to_owned()).collect()
    }

    /// The log verifies, and holds no record twice.
    pub(crate) async fn verified(&self) {
        let report = self.get("log/verify").await;
        assert_eq!(report["verified"], true, "{report}");
    }

    /// The command line, on this world's data directory.
    pub(crate) fn harmony(&self, arguments: &[&str]) -> Output {
        self.harmony_with(arguments, &[])
    }

    /// The same with these variables.
    pub(crate) fn harmony_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(HARMONY);
        command.args(arguments).arg("--data-dir").arg(self.dir.path());
        command.envs(environment.iter().copied()).output().unwrap()
    }

    /// The same on a terminal, where somebody answers this. Gives the exit code, and what the terminal showed.
    pub(crate) async fn harmony_answered(&self, arguments: &[&str], answer: &str) -> (Option<i32>, String) {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let mut command = Command::new(HARMONY);
        command.args(arguments).arg("--data-dir").arg(self.dir.path());
        command.stdin(slave.try_clone().unwrap()).stdout(Stdio::null()).stderr(slave);
        let mut child = command.spawn().unwrap();
        // Its ends of the terminal are its own alone: when it ends, reading ends.
        drop(command);
        let mut terminal = File::from(master);
        terminal.write_all(format!("{answer}\n").as_bytes()).unwrap();
        let shown = tokio::task::spawn_blocking(move || {
            let mut shown = Vec::new();
            // A terminal that nobody holds any more ends with an error.
            drop(terminal.read_to_end(&mut shown));
            String::from_utf8_lossy(&shown).into_owned()
        });
        let shown = shown.await.unwrap();
        (child.wait().unwrap().code(), shown)
    }

    /// The public Temporal command line.
    pub(crate) fn temporal(&self, arguments: &[&str]) -> Output {
        Command::new(temporal_cli())
            .args(arguments)
            .args(["--address", self.text("/temporal"), "--namespace", self.text("/namespace")])
            .output()
            .unwrap()
    }

    /// What the public Temporal command line answers, as JSON.
    pub(crate) async fn temporal_json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["-o", "json"]].concat();
        self.until(&format!("an answer to temporal {}", arguments.join(" ")), async || {
            serde_json::from_slice(&self.temporal(&arguments).stdout).ok()
        })
        .await
    }

    /// The memo `golden.context` of a run.
    pub(crate) async fn context(&self, workflow: &str) -> Value {
        let client = self.client().await;
        let handle = client.get_workflow_handle::<UntypedWorkflow>(workflow);
        let described = handle.describe(Default::default()).await.unwrap();
        let memo = described.raw_description.workflow_execution_info.unwrap().memo.unwrap();
        serde_json::from_slice(&memo.fields["golden.context"].data).unwrap()
    }

    /// The process of a part, as it is now.
    pub(crate) fn pid(&self, part: &str) -> i32 {
        let now = std::fs::read_to_string(self.dir.path().join("dev.json")).ok();
        let now = now.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let line = now.as_ref().unwrap_or(&self.line);
        let pid = line.pointer(&format!("/pids/{part}")).and_then(Value::as_i64).unwrap();
        i32::try_from(pid).unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(&self, part: &str) {
        kill(Pid::from_raw(self.pid(part)), Signal::SIGKILL).unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self, part: &str) {
        kill(Pid::from_raw(self.pid(part)), Signal::SIGTERM).unwrap();
    }

    /// Whether this process is there, and not only its exit code.
    pub(crate) fn is_running(&self, pid: i32) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    /// What the workers have logged, one after the other.
    pub(crate) fn worker_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("logs/worker.log")).unwrap()
    }

    /// Where the worker that was started last serves health and metrics. Its log must be JSON.
    pub(crate) fn worker_address(&self) -> String {
        let log = self.worker_log();
        let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut told = lines.filter(|line| line["message"] == "health and metrics");
        told.find_map(|line| line["address"].as_str().map(str::to_owned)).unwrap()
    }

    /// SIGSTOP: it is there, and does nothing; nobody starts another in its place.
    pub(crate) fn freeze(&self, part: &str) {
        kill(Pid::from_raw(self.pid(part)), Signal::SIGSTOP).unwrap();
    }

    /// The same between two writes: who hangs in the midst of one holds SQLite's lock, and nobody else writes.
    pub(crate) async fn freeze_between_writes(&self, part: &str, id: &str) {
        self.until("a moment between two writes", async || {
            self.freeze(part);
            let note = json!({ "note": "nobody holds the store" });
            let (status, _) = self.api(Method::POST, &format!("incidents/{id}/notes"), Some(note)).await;
            if status < 300 {
                return Some(());
            }
            self.thaw(part);
            None
        })
        .await;
    }

    /// What was frozen goes on.
    pub(crate) fn thaw(&self, part: &str) {
        kill(Pid::from_raw(self.pid(part)), Signal::SIGCONT).unwrap();
    }

    /// Waits for something, and says what it waited for when it does not come.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            if start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.dir.path().join("dev.log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                panic!("waited {PATIENCE:?} for {what}\n{}", tail.join("\n"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(15) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        let _ = kill(pid, Signal::SIGKILL);
        drop(self.child.wait());
    }
}

/// Where `harmony dev` finds it too.
pub(crate) fn temporal_cli() -> PathBuf {
    if let Some(named) = std::env::var_os("HARMONY_TEMPORAL_CLI") {
        return named.into();
    }
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|dir| dir.join("temporal")).find(|file| file.is_file())
    });
    on_path.unwrap_or_else(|| cache("bin/temporal-1.5.1").unwrap())
}

/// Where what is built or installed once is kept between runs.
pub(crate) fn cache(name: &str) -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Ok(cache.ok_or("HOME is not set")?.join("harmony").join(name))
}

/// Runs a program to its end; the last line that it says where it fails.
pub(crate) fn carry_out(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", said.lines().last().unwrap_or_default()))
}

/// What a command wrote to standard error, and its exit code.
pub(crate) fn refusal(output: &Output) -> (i32, String) {
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}
