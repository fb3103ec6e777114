//! PostgreSQL and a full Temporal server on it, each in folders and on ports of its own.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;

const SERVER: &str = "go.temporal.io/server";
const VERSION: &str = "v1.32.0";
const START: Duration = Duration::from_secs(120);

/// A process that is killed with whoever holds it.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ports that are free now, in a row, none given twice. They are below 32,768: outgoing connections take none of those,
/// and Temporal keeps its members' ports in 16 bits with a sign on PostgreSQL.
pub(crate) fn ports<const N: usize>() -> [u16; N] {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let wide = u16::try_from(N).unwrap();
    // Where another run of this test does not begin, too.
    let begin = || AtomicU16::new(20_000 + u16::try_from(std::process::id() % 1_000).unwrap() * 10);
    for _ in 0..500 {
        let first = NEXT.get_or_init(begin).fetch_add(wide, Ordering::Relaxed);
        let found: [u16; N] = std::array::from_fn(|index| first + u16::try_from(index).unwrap());
        if found.iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return found;
        }
    }
    panic!("no {N} free ports in a row");
}

pub(crate) fn await_port(port: u16, what: &str) {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < START, "{what} does not listen on {port}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn run(what: &str, command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {said}{}", String::from_utf8_lossy(&output.stdout));
}

/// A PostgreSQL with the databases `harmony`, `temporal` and `temporal_visibility`.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    _process: Process,
    _home: TempDir,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let home = TempDir::with_prefix("harmony-pg").unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let data = home.path().join("data");
        let [port] = ports();
        run(
            "initdb",
            own("initdb").arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "--no-sync"]),
        );
        let log = fs::File::create(home.path().join("log")).unwrap();
        let child = own("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-k", "", "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "max_connections=400"])
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let process = Process(child);
        await_port(port, "PostgreSQL");
        let began = Instant::now();
        for name in ["harmony", "temporal", "temporal_visibility"] {
            loop {
                let made = own("createdb")
                    .args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string(), name])
                    .output()
                    .unwrap();
                if made.status.success() {
                    break;
                }
                let said = String::from_utf8_lossy(&made.stderr).into_owned();
                assert!(began.elapsed() < START, "createdb {name}: {said}");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        Self { port, _process: process, _home: home }
    }
}

/// What a cluster needs and is not on this machine.
pub(crate) fn missing() -> Option<&'static str> {
    ["go", "initdb", "postgres", "createdb"].into_iter().find(|tool| found(tool).is_none())
}

/// On the path, or where Debian keeps PostgreSQL's own.
fn found(tool: &str) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders.iter().map(|folder| folder.join(tool)).find(|path| path.is_file())
}

/// A tool of PostgreSQL. It refuses to run as root: root runs it as `postgres`.
fn own(tool: &str) -> Command {
    let found = found(tool).unwrap_or_else(|| panic!("PostgreSQL's {tool} is not here: install postgresql"));
    let mut command;
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if is_root {
        command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(found);
    } else {
        command = Command::new(found);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/");
    command
}

/// A Temporal server: history, matching, frontend and worker in one process, on PostgreSQL.
pub(crate) struct Temporal {
    pub(crate) address: String,
    _process: Process,
    _home: TempDir,
}

impl Temporal {
    pub(crate) fn start(postgres: &Postgres) -> Self {
        let bin = built();
        let schema = module().join("schema/postgresql/v12");
        for (database, folder) in [("temporal", "temporal"), ("temporal_visibility", "visibility")] {
            let tool = || {
                let mut tool = Command::new(bin.join("sql"));
                tool.args(["--plugin", "postgres12", "--ep", "127.0.0.1", "-p", &postgres.port.to_string()])
                    .args(["-u", "postgres", "--pw", "unused", "--db", database]);
                tool
            };
            run("setup-schema", tool().args(["setup-schema", "-v", "0.0"]));
            run(
                "update-schema",
                tool().args(["update-schema", "-d"]).arg(schema.join(folder).join("versioned")),
            );
        }
        let home = TempDir::new().unwrap();
        let services = ["frontend", "matching", "history", "worker"];
        let free: [u16; 8] = ports();
        let mut text = persistence(postgres.port);
        text.push_str("services:\n");
        for (index, service) in services.into_iter().enumerate() {
            text.push_str(&format!(
                "  {service}:\n    rpc:\n      grpcPort: {}\n      membershipPort: {}\n      bindOnLocalHost: true\n",
                free[index * 2],
                free[index * 2 + 1]
            ));
        }
        let address = format!("127.0.0.1:{}", free[0]);
        text.push_str(&format!(
            "clusterMetadata:\n  enableGlobalNamespace: false\n  failoverVersionIncrement: 10\n  masterClusterName: active\n  currentClusterName: active\n  clusterInformation:\n    active:\n      enabled: true\n      initialFailoverVersion: 1\n      rpcName: frontend\n      rpcAddress: \"{address}\"\npublicClient:\n  hostPort: \"{address}\"\n"
        ));
        fs::create_dir(home.path().join("config")).unwrap();
        fs::write(home.path().join("config/cluster.yaml"), text).unwrap();
        let log = fs::File::create(home.path().join("log")).unwrap();
        let child = Command::new(bin.join("server"))
            .arg("--root")
            .arg(home.path())
            .args(["--config", "config", "--env", "cluster", "start"])
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let process = Process(child);
        await_port(free[0], "Temporal's frontend");
        Self { address, _process: process, _home: home }
    }
}

fn persistence(port: u16) -> String {
    let store = |name: &str, database: &str| {
        format!(
            "    {name}:\n      sql:\n        pluginName: postgres12\n        databaseName: {database}\n        connectAddr: \"127.0.0.1:{port}\"\n        connectProtocol: tcp\n        user: postgres\n        password: unused\n        maxConns: 40\n        maxIdleConns: 40\n"
        )
    };
    format!(
        "log:\n  stdout: true\n  level: error\npersistence:\n  defaultStore: default\n  visibilityStore: visibility\n  numHistoryShards: 4\n  datastores:\n{}{}global:\n  membership:\n    maxJoinDuration: 30s\n    broadcastAddress: \"127.0.0.1\"\n",
        store("default", "temporal"),
        store("visibility", "temporal_visibility")
    )
}

/// The server and its schema tool, built once into the cache.
fn built() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"), PathBuf::from);
    let bin = cache.join("harmony").join(format!("temporal-server-{VERSION}"));
    if !bin.join("server").is_file() || !bin.join("sql").is_file() {
        eprintln!("building {SERVER}@{VERSION} with Go, once");
        fs::create_dir_all(&bin).unwrap();
        let packages = ["server", "tools/sql"].map(|one| format!("{SERVER}/cmd/{one}@{VERSION}"));
        run(
            "go install",
            Command::new("go").arg("install").args(packages).env("GOBIN", &bin).current_dir("/"),
        );
    }
    bin
}

/// Where the module's own files are: its schema is among them.
fn module() -> PathBuf {
    let output = Command::new("go")
        .args(["mod", "download", "-json", &format!("{SERVER}@{VERSION}")])
        .current_dir("/")
        .output()
        .unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    PathBuf::from(found["Dir"].as_str().unwrap_or_else(|| panic!("{found}")))
}
