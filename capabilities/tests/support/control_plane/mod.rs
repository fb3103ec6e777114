//! A real Kubernetes control plane that a test starts: etcd, kube-apiserver, kube-controller-manager, and kwok, which
//! plays the kubelets. `build`, beside this file, builds them once into the cache.
//!
//! They listen on this machine alone, on ports that were free, and end with the process that started them, however that
//! ends: a shell holds each, and kills it when a pipe closes. Pods do not run: kwok moves them through their phases, and
//! what an image's tag says decides how ([`ENDINGS`]). There is one node, [`NODE`], and no scheduler: pods name it.

#![allow(dead_code, reason = "not every test that includes this file asks for everything")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use http::Request;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// The node that pods name.
pub(crate) const NODE: &str = "node-0";
/// Who may everything.
pub(crate) const ADMIN: &str = "admin";
/// How long a program may take until it listens, on a machine that has other things to do.
const START: Duration = Duration::from_secs(120);
/// Controllers that a rollout, a job and the end of a namespace need.
const CONTROLLERS: &str = "deployment,replicaset,job,cronjob,endpointslice,garbagecollector,namespace,ttl-after-finished,serviceaccount";

/// What becomes of a container, by the end of its image's name, as the kubelet would tell it.
pub(crate) const ENDINGS: [(&str, &str); 4] = [
    (
        ":missing",
        "{waiting: {reason: ImagePullBackOff, message: 'Back-off pulling image \"IMAGE\": manifest unknown'}}",
    ),
    (":Wrong", "{waiting: {reason: InvalidImageName, message: 'couldn''t parse image name \"IMAGE\"'}}"),
    (
        ":crashes",
        "{waiting: {reason: CrashLoopBackOff, message: back-off 10s restarting failed container}}, \
         lastState: {terminated: {exitCode: 3, reason: Error, startedAt: NOW, finishedAt: NOW}}",
    ),
    (":unready", "{running: {startedAt: NOW}}"),
];

/// What becomes of the pod of a runbook cell, by the tag of its image, as the kubelet would tell it; one whose image is
/// `…:runs@…` goes on until the annotation [`END`] says with which exit code it ends.
const CELLS: [(&str, &str); 7] = [
    (
        "done",
        "phase: Succeeded\ncontainerStatuses: [STATE {terminated: {exitCode: 0, reason: Completed, message: \"harmony-exports/1\\nVERSION=1.4\\n.\", startedAt: NOW, finishedAt: NOW}}}]",
    ),
    (
        "fails",
        "phase: Failed\ncontainerStatuses: [STATE {terminated: {exitCode: 3, reason: Error, startedAt: NOW, finishedAt: NOW}}}]",
    ),
    (
        "greedy",
        "phase: Failed\ncontainerStatuses: [STATE {terminated: {exitCode: 137, reason: OOMKilled, startedAt: NOW, finishedAt: NOW}}}]",
    ),
    ("evicted", "phase: Failed\nreason: Evicted\nmessage: \"The node was low on resource: memory.\""),
    (
        "unpulled",
        "phase: Pending\ncontainerStatuses: [STATE {waiting: {reason: ErrImagePull, message: \"manifest unknown\"}}}]",
    ),
    (
        "misnamed",
        "phase: Pending\ncontainerStatuses: [STATE {waiting: {reason: InvalidImageName, message: \"couldn't parse image name\"}}}]",
    ),
    ("runs", "phase: Running\ncontainerStatuses: [STATE {running: {startedAt: NOW}}}]"),
];

/// Ends the pod of a cell that runs, with this exit code.
pub(crate) const END: &str = "test.harmony.dev/end";

/// What every cell prints, as its kubelet has it.
pub(crate) const CELL_LOG: &str = "rolling back\nrolled back\n";

/// Says aloud that a test is left out because a tool is missing. On CI (`CI` is set) a missing tool is a failure.
#[expect(clippy::print_stderr, reason = "whoever runs the tests must see what was not tested")]
pub(crate) fn left_out(what: &str, why: &str) {
    assert!(env::var_os("CI").is_none(), "{what} cannot be left out on CI: {why}");
    eprintln!("SKIPPED: {what}: {why}");
}

/// See the module.
pub(crate) struct ControlPlane {
    home: PathBuf,
    port: u16,
    _programs: Vec<Kept>,
}

/// A program that ends with us.
struct Kept(Child);

impl ControlPlane {
    /// Starts one for these users beside [`ADMIN`], or says why there is none. A user's token is their name and
    /// `-token`; what they may is for the test to grant.
    pub(crate) async fn start(users: &[&str]) -> Result<Self, String> {
        let programs = tokio::task::spawn_blocking(build).await.map_err(|error| error.to_string())??;
        let home = tempfile::Builder::new()
            .prefix("harmony-kubernetes-")
            .tempdir()
            .map_err(|error| error.to_string())?
            .keep();
        let at = |name: &str| home.join(name).display().to_string();
        let [etcd_port, peer_port, port, controllers_port, kubelet_port] = ports()?;

        let mut kept = vec![cleaner(&home)?];
        let mut run = |program: &str, arguments: &[String]| -> Result<(), String> {
            kept.push(keep(&programs.join(program), arguments, &home.join(format!("{program}.log")))?);
            Ok(())
        };
        let (etcd, peer) = (format!("http://127.0.0.1:{etcd_port}"), format!("http://127.0.0.1:{peer_port}"));
        run(
            "etcd",
            &options(&[
                ("data-dir", &at("etcd")),
                ("listen-client-urls", &etcd),
                ("advertise-client-urls", &etcd),
                ("listen-peer-urls", &peer),
                ("initial-advertise-peer-urls", &peer),
                ("initial-cluster", &format!("default={peer}")),
                ("unsafe-no-fsync", "true"),
            ]),
        )?;
        listens(etcd_port, "etcd", &home).await?;

        let key = Command::new("openssl").args(["genrsa", "-out", &at("sa.key"), "2048"]).output();
        if !key.as_ref().is_ok_and(|output| output.status.success()) {
            return Err("there is no openssl to make a key with".to_owned());
        }
        let tokens: String = users.iter().map(|user| format!("{user}-token,{user},{user}\n")).collect();
        let tokens = format!("{ADMIN}-token,{ADMIN},{ADMIN},\"system:masters\"\n{tokens}");
        write(&home.join("tokens.csv"), &tokens)?;
        run(
            "kube-apiserver",
            &options(&[
                ("etcd-servers", &etcd),
                ("bind-address", "127.0.0.1"),
                ("advertise-address", "127.0.0.1"),
                ("secure-port", &port.to_string()),
                ("cert-dir", &at("certificates")),
                ("service-account-key-file", &at("sa.key")),
                ("service-account-signing-key-file", &at("sa.key")),
                ("service-account-issuer", "https://kubernetes.default.svc"),
                ("service-cluster-ip-range", "10.96.0.0/16"),
                ("token-auth-file", &at("tokens.csv")),
                ("authorization-mode", "RBAC"),
                ("disable-admission-plugins", "ServiceAccount"),
                // The logs of pods are kwok's to serve, and nothing knows the names of nodes.
                ("kubelet-preferred-address-types", "InternalIP"),
            ]),
        )?;
        listens(port, "kube-apiserver", &home).await?;

        let mut plane = Self { home: home.clone(), port, _programs: Vec::new() };
        plane.is_ready().await?;
        let admin = plane.kubeconfig("controllers", ADMIN).display().to_string();
        run(
            "kube-controller-manager",
            &options(&[
                ("kubeconfig", &admin),
                ("authentication-kubeconfig", &admin),
                ("authorization-kubeconfig", &admin),
                ("leader-elect", "false"),
                ("bind-address", "127.0.0.1"),
                ("secure-port", &controllers_port.to_string()),
                ("cert-dir", &at("certificates-of-controllers")),
                ("service-account-private-key-file", &at("sa.key")),
                ("controllers", CONTROLLERS),
            ]),
        )?;
        let log: String =
            CELL_LOG.lines().map(|line| format!("2026-01-01T00:00:00.0Z stdout F {line}\n")).collect();
        write(&home.join("cell.log"), &log)?;
        let logs = format!(
            "apiVersion: kwok.x-k8s.io/v1alpha1\nkind: ClusterLogs\nmetadata:\n  name: cells\nspec:\n  logs:\n  - containers: [cell]\n    logsFile: {}\n",
            at("cell.log")
        );
        let stages = stages(&programs.join("stages"))?;
        write(&home.join("stages.yaml"), &format!("{stages}\n---\n{logs}"))?;
        let kubelet = format!("127.0.0.1:{kubelet_port}");
        run(
            "kwok",
            &options(&[
                ("kubeconfig", &admin),
                ("manage-all-nodes", "true"),
                ("node-ip", "127.0.0.1"),
                ("node-port", &kubelet_port.to_string()),
                ("server-address", &kubelet),
                ("config", &at("stages.yaml")),
            ]),
        )?;
        plane._programs = kept;
        Ok(plane)
    }

    /// Who may everything, as a client.
    pub(crate) async fn admin(&self) -> Result<Client, String> {
        let kubeconfig =
            Kubeconfig::read_from(self.kubeconfig(ADMIN, ADMIN)).map_err(|error| error.to_string())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        Client::try_from(config.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }

    /// The controllers give up on an API server that listens and is not ready yet.
    async fn is_ready(&self) -> Result<(), String> {
        let client = self.admin().await?;
        let began = Instant::now();
        loop {
            let question = Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
            match client.request_text(question).await {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > START => return Err(format!("the API server: {error}")),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// The address of the API server.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// A kubeconfig whose one context is called `cluster`.
    pub(crate) fn kubeconfig(&self, cluster: &str, user: &str) -> PathBuf {
        let certificates = self.home.join("certificates").join("apiserver.crt");
        self.kubeconfig_to(
            cluster,
            &self.url(),
            &format!("certificate-authority: {}", certificates.display()),
            user,
        )
    }

    /// The same for another address, with what more the cluster's entry says.
    pub(crate) fn kubeconfig_to(&self, cluster: &str, url: &str, more: &str, user: &str) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = self.home.join(format!("{}.kubeconfig", COUNT.fetch_add(1, Ordering::Relaxed)));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {cluster}\n\
             clusters:\n- name: {cluster}\n  cluster:\n    server: {url}\n    {more}\n\
             users:\n- name: {user}\n  user:\n    token: {user}-token\n\
             contexts:\n- name: {cluster}\n  context:\n    cluster: {cluster}\n    user: {user}\n"
        );
        write(&path, &text).unwrap();
        path
    }
}

/// The folder with the programs, built if it is not there.
fn build() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = root.join("capabilities/tests/support/control_plane/build");
    let mut building = Command::new(script)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| error.to_string())?;
    let said = BufReader::new(building.stdout.take().unwrap()).lines().map_while(Result::ok).last();
    let ended = building.wait().map_err(|error| error.to_string())?;
    said.filter(|_| ended.success())
        .map(PathBuf::from)
        .ok_or_else(|| "it cannot be built, see above".to_owned())
}

fn options(given: &[(&str, &str)]) -> Vec<String> {
    given.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

/// Runs a program until we end.
fn keep(program: &Path, arguments: &[String], log: &Path) -> Result<Kept, String> {
    let log = fs::File::create(log).map_err(|error| error.to_string())?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    let script = r#""$@" </dev/null & P=$!; cat >/dev/null; kill -KILL $P; wait $P 2>/dev/null"#;
    Command::new("sh")
        .args(["-c", script, "keeper"])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(errors))
        .spawn()
        .map(Kept)
        .map_err(|error| format!("{}: {error}", program.display()))
}

/// Takes the folder away after the programs have ended.
fn cleaner(home: &Path) -> Result<Kept, String> {
    Command::new("sh")
        .args(["-c", r#"cat >/dev/null; sleep 1; rm -rf "$1""#, "cleaner"])
        .arg(home)
        .stdin(Stdio::piped())
        .spawn()
        .map(Kept)
        .map_err(|error| error.to_string())
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

/// Ports that are free now.
fn ports<const N: usize>() -> Result<[u16; N], String> {
    let free = || TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string());
    let held: Vec<TcpListener> = (0..N).map(|_| free()).collect::<Result<_, _>>()?;
    let ports: Vec<u16> = held.iter().filter_map(|one| Some(one.local_addr().ok()?.port())).collect();
    ports.try_into().map_err(|_| "a port has no number".to_owned())
}

async fn listens(port: u16, program: &str, home: &Path) -> Result<(), String> {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if began.elapsed() > START {
            let log = fs::read_to_string(home.join(format!("{program}.log"))).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(5).collect();
            return Err(format!("{program} does not listen: {}", end.join(" | ")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Kwok's own stages for nodes and pods, and one for each of [`ENDINGS`].
fn stages(folder: &Path) -> Result<String, String> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(|error| format!("{name}: {error}"));
    let mut all: Vec<String> = ["node-initialize.yaml", "node-heartbeat.yaml", "pod-delete.yaml"]
        .into_iter()
        .map(read)
        .collect::<Result<_, _>>()?;
    let other_ends = ENDINGS.map(|(end, _)| format!("endswith(\"{end}\")")).join(" or ");
    let ready = read("pod-ready.yaml")?;
    let selector = "    matchExpressions:\n";
    let no_cell = format!("    - key: '{IS_CELL}'\n      operator: 'DoesNotExist'\n");
    let ordinary = format!(
        "{selector}{no_cell}    - key: '.spec.containers.[] | select(.image | {other_ends}) | .name'\n      operator: 'DoesNotExist'\n"
    );
    let complete = read("pod-complete.yaml")?;
    if !ready.contains(selector) || !complete.contains(selector) {
        return Err("kwok's stages for pods that become ready or complete are others".to_owned());
    }
    all.push(ready.replacen(selector, &ordinary, 1));
    all.push(complete.replacen(selector, &format!("{selector}{no_cell}"), 1));
    all.extend(ENDINGS.iter().map(|(end, state)| ending(end, state)));
    all.extend(CELLS.iter().map(|(tag, status)| cell(tag, status)));
    all.push(cell_end());
    Ok(all.join("\n---\n"))
}

fn ending(end: &str, state: &str) -> String {
    let name = end.trim_start_matches(':').to_lowercase();
    let state = state.replace("IMAGE", "{{ .image }}").replace("NOW", "{{ $now | Quote }}");
    format!(
        r#"apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata:
  name: pod-{name}
spec:
  resourceRef:
    apiGroup: v1
    kind: Pod
  selector:
    matchExpressions:
    - key: '.metadata.deletionTimestamp'
      operator: 'DoesNotExist'
    - key: '.status.containerStatuses'
      operator: 'DoesNotExist'
    - key: '.spec.containers.[] | select(.image | endswith("{end}")) | .name'
      operator: 'Exists'
  next:
    statusTemplate: |
      {{{{ $now := Now }}}}
      phase: Pending
      startTime: {{{{ $now | Quote }}}}
      conditions:
      - {{lastTransitionTime: {{{{ $now | Quote }}}}, status: "True", type: Initialized}}
      - {{lastTransitionTime: {{{{ $now | Quote }}}}, status: "False", type: Ready, reason: ContainersNotReady}}
      - {{lastTransitionTime: {{{{ $now | Quote }}}}, status: "False", type: ContainersReady, reason: ContainersNotReady}}
      containerStatuses:
      {{{{ range .spec.containers }}}}
      - {{image: {{{{ .image | Quote }}}}, imageID: "", name: {{{{ .name | Quote }}}}, ready: false, restartCount: 0, state: {state}}}
      {{{{ end }}}}
"#
    )
}

/// Whether a pod is one of a runbook cell.
const IS_CELL: &str = ".metadata.labels[\"app.kubernetes.io/component\"] | select(. == \"cell\")";

/// What becomes of a cell's pod when its node has it.
fn cell(tag: &str, status: &str) -> String {
    stage(
        &format!("cell-{tag}"),
        &format!(
            "    - key: '.status.containerStatuses'\n      operator: 'DoesNotExist'\n    - key: '.status.phase'\n      operator: 'In'\n      values: ['Pending']\n    - key: '.spec.containers.[] | select(.image | contains(\":{tag}@\")) | .name'\n      operator: 'Exists'\n"
        ),
        status,
    )
}

/// The end of one that ran until it was told to end.
fn cell_end() -> String {
    let code = format!("{{{{ index .metadata.annotations \"{END}\" }}}}");
    stage(
        "cell-end",
        &format!(
            "    - key: '.status.phase'\n      operator: 'In'\n      values: ['Running']\n    - key: '.metadata.annotations[\"{END}\"]'\n      operator: 'Exists'\n"
        ),
        &format!(
            "phase: {{{{ if eq (index .metadata.annotations \"{END}\") \"0\" }}}}Succeeded{{{{ else }}}}Failed{{{{ end }}}}\ncontainerStatuses: [STATE {{terminated: {{exitCode: {code}, reason: Ended, message: \"harmony-exports/1\\nVERSION=1.4\\n.\", startedAt: NOW, finishedAt: NOW}}}}}}]"
        ),
    )
}

fn stage(name: &str, expressions: &str, status: &str) -> String {
    let state = "{image: {{ (index .spec.containers 0).image | Quote }}, imageID: \"\", name: cell, ready: false, restartCount: 0, state:";
    let status = status.replace("STATE", state).replace("NOW", "{{ Now | Quote }}");
    let status: String = status.lines().map(|line| format!("      {line}\n")).collect();
    format!(
        "apiVersion: kwok.x-k8s.io/v1alpha1\nkind: Stage\nmetadata:\n  name: {name}\nspec:\n  resourceRef:\n    apiGroup: v1\n    kind: Pod\n  selector:\n    matchExpressions:\n    - key: '.metadata.deletionTimestamp'\n      operator: 'DoesNotExist'\n    - key: '{IS_CELL}'\n      operator: 'Exists'\n{expressions}  next:\n    statusTemplate: |\n{status}"
    )
}
