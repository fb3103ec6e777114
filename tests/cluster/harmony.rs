//! Three workers, two consoles and the vendors' stand-ins, on one database and one Temporal.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::servers::{Postgres, Process, Temporal, await_port, ports};

const HARMONY: &str = env!("CARGO_BIN_EXE_harmony-under-test");
const TOKEN: &str = "the-operators-token";
/// One level, long enough for a hundred gates to be opened on a loaded machine.
const POLICY: &str = "[[urgent.P3]]\nroles = [\"incident-commander\"]\nwithin = \"4m\"\n";

/// See the module. Fields are dropped in this order: processes before what they use.
pub(crate) struct Cluster {
    workers: Vec<Option<Process>>,
    _consoles: Vec<Process>,
    apis: Vec<String>,
    _vendors: Process,
    vendor_port: u16,
    environment: Vec<(String, String)>,
    http: reqwest::Client,
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
        let vendor_port = four_in_a_row();
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
        let mut apis = Vec::new();
        for number in 0..2 {
            let name = format!("serve-{number}");
            let [port] = ports();
            let address = format!("127.0.0.1:{port}");
            consoles.push(spawn(home.path(), &name, &["serve", "--http", &address], &environment));
            await_port(port, &name);
            apis.push(format!("http://{address}/api/orgs/default"));
        }
        let mut cluster = Self {
            workers: vec![None, None, None],
            _consoles: consoles,
            apis,
            _vendors: vendors,
            vendor_port,
            environment,
            http: reqwest::Client::new(),
            home,
            _temporal: temporal,
            _postgres: postgres,
        };
        for number in 0..3 {
            cluster.start_worker(number);
        }
        cluster
    }

    fn start_worker(&mut self, number: usize) {
        let name = format!("worker-{number}");
        self.workers[number] = Some(spawn(self.home.path(), &name, &["worker"], &self.environment));
    }

    /// SIGKILL, and another at once in its place.
    pub(crate) fn kill_worker(&mut self, number: usize) {
        self.workers[number] = None;
        self.start_worker(number);
    }

    /// SIGTERM; once it has ended another takes its place.
    pub(crate) async fn restart_worker(&mut self, number: usize) {
        if let Some(mut process) = self.workers[number].take() {
            kill(Pid::from_raw(i32::try_from(process.0.id()).unwrap()), Signal::SIGTERM).unwrap();
            let mut waited = Duration::ZERO;
            while process.0.try_wait().unwrap().is_none() {
                assert!(waited < Duration::from_secs(30), "worker {number} does not stop");
                tokio::time::sleep(Duration::from_millis(100)).await;
                waited += Duration::from_millis(100);
            }
        }
        self.start_worker(number);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// Declares through one console or the other; a loaded one is asked again under the same key.
    pub(crate) async fn declare(&self, console: usize, title: &str, severity: &str) -> String {
        let url = format!("{}/incidents", self.apis[console]);
        let body = json!({ "title": title, "severity": severity });
        for _ in 0..20 {
            let asked = self.http.post(&url).bearer_auth(TOKEN).header("idempotency-key", title).json(&body);
            if let Ok(answer) = asked.send().await {
                let status = answer.status();
                let answer: Value = answer.json().await.unwrap();
                assert!(status == 201 || status.is_server_error(), "{answer}");
                if status == 201 {
                    return answer["incidentId"].as_str().unwrap().to_owned();
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("{title} was not taken");
    }

    async fn get(&self, path: &str) -> Value {
        let answer =
            self.http.get(format!("{}/{path}", self.apis[0])).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    pub(crate) async fn incident(&self, id: &str) -> Value {
        self.get(&format!("incidents/{id}")).await
    }

    pub(crate) async fn records(&self, id: &str) -> Vec<Value> {
        self.get(&format!("incidents/{id}/events?limit=200")).await["events"].as_array().unwrap().clone()
    }

    /// How many have been initiated.
    pub(crate) async fn ended(&self, ids: &[String]) -> usize {
        let mut ended = 0;
        for id in ids {
            let status = self.incident(id).await["blueprints"]["initiate"]["status"].clone();
            ended += usize::from(status.as_str().is_some_and(|status| status != "RUNNING"));
        }
        ended
    }

    /// How many have asked for a decision.
    pub(crate) async fn waiting(&self, ids: &[String]) -> usize {
        let mut waiting = 0;
        for id in ids {
            waiting += usize::from(self.incident(id).await["gate"].is_object());
        }
        waiting
    }

    pub(crate) async fn sandbox(&self, vendor: &str) -> Value {
        let place = ["slack", "pagerduty", "statuspage", "confluence"].iter().position(|one| *one == vendor);
        let port = self.vendor_port + u16::try_from(place.unwrap()).unwrap();
        let url = format!("http://127.0.0.1:{port}/_sandbox/state");
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn verified(&self) {
        let report = self.get("log/verify").await;
        assert_eq!(report["verified"], true, "{report}");
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
    let hash = Sha256::digest(TOKEN.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let directory = format!("[[principal]]\nid = \"operator\"\ntoken_sha256 = \"{hash}\"\n{roles}\n");
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

/// A port whose three neighbours are free, too.
fn four_in_a_row() -> u16 {
    for _ in 0..100 {
        let [first] = ports();
        let free = (1..4).all(|offset| {
            first
                .checked_add(offset)
                .is_some_and(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
        });
        if free {
            return first;
        }
    }
    panic!("no four free ports in a row");
}
