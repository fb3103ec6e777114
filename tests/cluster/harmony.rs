//! Three workers, two consoles and the vendors' stand-ins, on one database and one Temporal.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    api::{Api, COMMANDERS_TOKEN, LOOK, TOKEN},
    servers::{Postgres, Process, Temporal, await_port, ports},
};

const HARMONY: &str = env!("CARGO_BIN_EXE_harmony-under-test");
/// One level, long enough for a hundred gates to be opened on a loaded machine.
const POLICY: &str = "[[urgent.P3]]\nroles = [\"incident-commander\"]\nwithin = \"5m\"\n";
/// Longest wait for a worker that was told to stop, and for one to begin.
const STOP: Duration = Duration::from_secs(60);

/// See the module. Fields are dropped in this order: processes before what they use.
pub(crate) struct Cluster {
    workers: Vec<Option<Process>>,
    /// Where each worker serves its health.
    metrics: [u16; 3],
    _consoles: Vec<Process>,
    /// Both consoles.
    pub(crate) api: Api,
    _vendors: Process,
    vendor_port: u16,
    environment: Vec<(String, String)>,
    home: TempDir,
    _temporal: Temporal,
    _postgres: Postgres,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let home = TempDir::new().unwrap();
        let postgres = Postgres::start();
        let temporal = Temporal::start(&postgres);
        let [vendor_port, ..] = ports::<4>();
        let environment = environment(home.path(), &postgres, &temporal, vendor_port);
        let harmony = |arguments: &[&str]| {
            let output = Command::new(HARMONY).args(arguments).envs(environment.clone()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "harmony {}: {said}", arguments.join(" "));
        };
        harmony(&["db", "migrate"]);
        harmony(&["temporal", "setup"]);
        let sandbox = ["sandbox", "--port", &vendor_port.to_string(), "--signing-secret", "unused"];
        let vendors = spawn(home.path(), "sandbox", &sandbox, &environment);
        await_port(vendor_port, "the sandbox");
        let mut consoles = Vec::new();
        let mut origins = Vec::new();
        for number in 0..2 {
            let name = format!("serve-{number}");
            let [port] = ports();
            let address = format!("127.0.0.1:{port}");
            consoles.push(spawn(home.path(), &name, &["serve", "--http", &address], &environment));
            await_port(port, &name);
            origins.push(format!("http://{address}/api/orgs/default"));
        }
        let mut cluster = Self {
            workers: vec![None, None, None],
            metrics: ports(),
            _consoles: consoles,
            api: Api { origins, http: reqwest::Client::new() },
            _vendors: vendors,
            vendor_port,
            environment,
            home,
            _temporal: temporal,
            _postgres: postgres,
        };
        for number in 0..3 {
            cluster.start_worker(number);
        }
        for number in 0..3 {
            cluster.await_worker(number).await;
        }
        cluster
    }

    fn start_worker(&mut self, number: usize) {
        let name = format!("worker-{number}");
        let metrics = format!("127.0.0.1:{}", self.metrics[number]);
        let arguments = ["worker", "--metrics", &metrics];
        self.workers[number] = Some(spawn(self.home.path(), &name, &arguments, &self.environment));
    }

    /// SIGKILL, and another at once in its place.
    pub(crate) fn kill_worker(&mut self, number: usize) {
        self.workers[number] = None;
        self.start_worker(number);
    }

    /// SIGTERM; once it has ended another takes its place, which is waited for as a rolling update does.
    pub(crate) async fn restart_worker(&mut self, number: usize) {
        if let Some(mut process) = self.workers[number].take() {
            kill(Pid::from_raw(i32::try_from(process.0.id()).unwrap()), Signal::SIGTERM).unwrap();
            let told = Instant::now();
            while process.0.try_wait().unwrap().is_none() {
                assert!(told.elapsed() < STOP, "worker {number} does not stop");
                tokio::time::sleep(LOOK).await;
            }
        }
        self.start_worker(number);
        self.await_worker(number).await;
    }

    /// Until its `/readyz` says so.
    pub(crate) async fn await_worker(&self, number: usize) {
        let url = format!("http://127.0.0.1:{}/readyz", self.metrics[number]);
        let began = Instant::now();
        while !self.api.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(began.elapsed() < STOP, "worker {number} is not ready; {}", self.said(number));
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The end of a worker's log.
    fn said(&self, number: usize) -> String {
        let log =
            fs::read_to_string(self.home.path().join(format!("worker-{number}.log"))).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }

    /// What a stand-in holds.
    pub(crate) async fn sandbox(&self, vendor: &str) -> Value {
        let place = ["slack", "pagerduty", "statuspage", "confluence"].iter().position(|one| *one == vendor);
        let port = self.vendor_port + u16::try_from(place.unwrap()).unwrap();
        let url = format!("http://127.0.0.1:{port}/_sandbox/state");
        self.api.http.get(url).send().await.unwrap().json().await.unwrap()
    }
}

fn spawn(home: &Path, name: &str, arguments: &[&str], environment: &[(String, String)]) -> Process {
    let log =
        fs::OpenOptions::new().create(true).append(true).open(home.join(format!("{name}.log"))).unwrap();
    let mut child = Command::new(HARMONY)
        .args(arguments)
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    // What it prints is nobody's business here, but it must not wait for a reader.
    let said = child.stdout.take().unwrap();
    std::thread::spawn(move || BufReader::new(said).lines().for_each(drop));
    Process(child)
}

fn environment(home: &Path, postgres: &Postgres, temporal: &Temporal, vendors: u16) -> Vec<(String, String)> {
    let roles =
        "roles = { default = [\"incident-responder\", \"sre-oncall\", \"incident-manager\", \"org-admin\"] }";
    let hash =
        |token: &str| Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let principal = |id: &str, token: &str, roles: &str| {
        format!("[[principal]]\nid = \"{id}\"\ntoken_sha256 = \"{}\"\n{roles}\n", hash(token))
    };
    let commands = "roles = { default = [\"incident-commander\"] }";
    let directory = principal("operator", TOKEN, roles) + &principal("commander", COMMANDERS_TOKEN, commands);
    fs::write(home.join("directory.toml"), directory).unwrap();
    fs::write(home.join("policy.toml"), POLICY).unwrap();
    let runbooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runbooks");
    let at = |offset: u16, path: &str| format!("http://127.0.0.1:{}{path}", vendors + offset);
    [
        ("DATABASE_URL", format!("postgres://postgres@127.0.0.1:{}/harmony", postgres.port)),
        ("HARMONY_ATTESTATION_KEY", "11".repeat(32)),
        ("HARMONY_CHECKPOINT_KEY", "22".repeat(32)),
        ("HARMONY_DATA_DIR", home.display().to_string()),
        ("HARMONY_RUNBOOKS", runbooks.display().to_string()),
        ("HARMONY_SALT_KEY", "33".repeat(32)),
        ("PAGERDUTY_API_KEY", "sandbox".to_owned()),
        ("PAGERDUTY_BASE_URL", at(1, "")),
        ("PAGERDUTY_FROM", "operator@example.com".to_owned()),
        ("PAGERDUTY_SERVICE_ID", "PSANDBOX".to_owned()),
        ("SLACK_BASE_URL", at(0, "/api")),
        ("SLACK_BOT_TOKEN", "xoxb-sandbox".to_owned()),
        ("STATUSPAGE_API_KEY", "sandbox".to_owned()),
        ("STATUSPAGE_BASE_URL", at(2, "/v1")),
        ("STATUSPAGE_PAGE_ID", "sandboxpage1".to_owned()),
        ("TEMPORAL_ADDRESS", temporal.address.clone()),
        ("TEMPORAL_NAMESPACE", "harmony".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
