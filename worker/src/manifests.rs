//! Holds `deploy/` against the program: every setting, command, port, path, flag and metric that the manifests, the compose
//! file and the systemd units name is one that there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use harmony_activities::capability_flag;
use harmony_blueprints::contracts::capability;
use harmony_console::health::PATHS;
use harmony_telemetry::metrics;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    cli::{Cli, Command},
    commands::serve,
    flags::AUTO_ESCALATE_P1,
    run_worker,
    settings::{KEYS, Kind, Settings},
};

/// Read by a library or the shell, not by Harmony's settings.
const OTHERS: [&str; 1] = ["TMPDIR"];
/// The runbook pool may prove to Temporal who it is, and holds no other secret.
const RUNBOOK_SECRETS: [&str; 1] = ["TEMPORAL_API_KEY"];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/k8s")
}

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|one| one == ending) {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every document of every manifest, with where it stands.
fn documents() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    files(&deploy(), "yaml", &mut found);
    let mut all = Vec::new();
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        for document in serde_norway::Deserializer::from_str(&text) {
            let value =
                Value::deserialize(document).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            all.push((path.strip_prefix(deploy()).unwrap().display().to_string(), value));
        }
    }
    assert!(all.len() > 30, "{} documents", all.len());
    all
}

fn array<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn word<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What runs Harmony: where it stands, the pod, and its only container.
fn pods() -> Vec<(String, Value, Value)> {
    let mut pods = Vec::new();
    for (_, document) in documents() {
        let found = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec"]
            .into_iter()
            .find_map(|pointer| document.pointer(pointer));
        let Some(pod) = found else { continue };
        let ours: Vec<&Value> =
            array(pod, "/containers").filter(|container| container["image"] == "harmony").collect();
        let name = word(&document, "/metadata/name").to_owned();
        assert!(ours.len() <= 1, "{name}");
        pods.extend(ours.into_iter().map(|container| (name.clone(), pod.clone(), container.clone())));
    }
    assert_eq!(
        pods.iter().map(|(name, ..)| name.as_str()).collect::<BTreeSet<_>>(),
        BTreeSet::from([
            "harmony-console",
            "harmony-db-migrate",
            "harmony-log-verify",
            "harmony-runbooks",
            "harmony-temporal-setup",
            "harmony-worker"
        ])
    );
    pods
}

fn kind(name: &str) -> Option<Kind> {
    KEYS.iter().find(|(key, _)| *key == name).map(|(_, kind)| *kind)
}

fn config_map(name: &str) -> BTreeMap<String, String> {
    let (_, found) = documents()
        .into_iter()
        .find(|(_, one)| one["kind"] == "ConfigMap" && word(one, "/metadata/name") == name)
        .unwrap();
    serde_json::from_value(found["data"].clone()).unwrap()
}

#[test]
fn every_command_is_one_that_can_be_typed() {
    for (name, _, container) in pods() {
        let arguments = array(&container, "/args").map(|one| one.as_str().unwrap());
        let line: Vec<&str> = std::iter::once("harmony").chain(arguments).collect();
        if let Err(error) = Cli::try_parse_from(&line) {
            panic!("{name}: {}: {error}", line.join(" "));
        }
    }
}

#[test]
fn every_setting_is_one_that_there_is_and_no_secret_stands_in_the_open() {
    let config = config_map("harmony-config");
    for name in config.keys() {
        assert_eq!(kind(name), Some(Kind::Open), "ConfigMap harmony-config: {name}");
    }
    for (pod, _, container) in pods() {
        for variable in array(&container, "/env") {
            let name = word(variable, "/name");
            assert!(kind(name).is_some() || OTHERS.contains(&name), "{pod}: there is no setting {name}");
            if let Some(key) = variable.pointer("/valueFrom/secretKeyRef/key") {
                assert_eq!(key, name, "{pod}: the secret's key is the setting's name");
            } else {
                assert_ne!(kind(name), Some(Kind::Secret), "{pod}: {name} comes from no Secret");
            }
            if let Some(key) = variable.pointer("/valueFrom/configMapKeyRef/key") {
                assert_eq!(key, name, "{pod}");
                assert!(config.contains_key(name), "{pod}: harmony-config has no {name}");
            }
        }
    }
    let mut patched = 0;
    for (place, document) in documents() {
        for patch in array(&document, "/patches") {
            let on_config = word(patch, "/target/name") == "harmony-config";
            for line in word(patch, "/patch").lines().filter(|_| on_config) {
                if let Some(name) = line.trim().strip_prefix("path: /data/") {
                    assert_eq!(kind(name), Some(Kind::Open), "{place}: {name}");
                    patched += 1;
                }
            }
        }
        for secret in array(&document, "/spec/data").filter(|_| document["kind"] == "ExternalSecret") {
            assert!(kind(word(secret, "/secretKey")).is_some(), "{place}: {secret}");
        }
        for generated in array(&document, "/secretGenerator") {
            for literal in array(generated, "/literals") {
                let name = literal.as_str().unwrap().split('=').next().unwrap();
                assert_eq!(kind(name), Some(Kind::Secret), "{place}: {name}");
            }
        }
    }
    assert!(patched >= 4, "{patched} settings are patched in");
}

#[test]
fn spans_get_out_to_the_port_that_they_are_sent_to() {
    let (_, component) =
        documents().into_iter().find(|(place, _)| place == "components/otlp/kustomization.yaml").unwrap();
    let patch = word(&component, "/patches/0/patch");
    let endpoint = patch.lines().find_map(|line| line.trim().strip_prefix("value: http://")).unwrap();
    let port: u64 = endpoint.split([':', ' ']).nth(1).unwrap().parse().unwrap();
    let (_, policy) =
        documents().into_iter().find(|(_, one)| word(one, "/metadata/name") == "harmony-otlp").unwrap();
    assert_eq!(policy.pointer("/spec/egress/0/ports/0/port"), Some(&Value::from(port)));
    let namespace =
        word(&policy, "/spec/egress/0/to/0/namespaceSelector/matchLabels/kubernetes.io~1metadata.name");
    assert!(endpoint.contains(&format!(".{namespace}.svc")), "{endpoint}");
}

#[test]
fn every_secret_of_the_console_can_come_from_outside() {
    let mut given = BTreeSet::new();
    for (_, document) in documents().into_iter().filter(|(_, one)| one["kind"] == "ExternalSecret") {
        let secret = word(&document, "/spec/target/name").to_owned();
        let keys = array(&document, "/spec/data").map(|row| word(row, "/secretKey").to_owned());
        given.extend(keys.map(|key| (secret.clone(), key)));
    }
    for (pod, _, container) in pods() {
        for reference in array(&container, "/env").filter_map(|one| one.pointer("/valueFrom/secretKeyRef")) {
            let named = (word(reference, "/name").to_owned(), word(reference, "/key").to_owned());
            assert!(given.contains(&named), "{pod}: {named:?}");
        }
    }
}

#[test]
fn the_runbook_pool_holds_no_secret_and_no_token() {
    let (_, pod, container) = pods().into_iter().find(|(name, ..)| name == "harmony-runbooks").unwrap();
    assert!(container["envFrom"].is_null(), "what it knows is listed");
    for variable in array(&container, "/env") {
        let name = word(variable, "/name");
        let known = kind(name) != Some(Kind::Secret) || RUNBOOK_SECRETS.contains(&name);
        assert!(known, "{name}");
        let vendor = ["CONFLUENCE", "GITHUB", "JIRA", "PAGERDUTY", "SLACK", "STATUSPAGE"]
            .iter()
            .any(|one| name.starts_with(one));
        assert!(!vendor, "{name}");
    }
    for other in pods().into_iter().filter(|(name, ..)| name != "harmony-runbooks") {
        assert_ne!(other.1["serviceAccountName"], pod["serviceAccountName"]);
        assert!(!other.1["volumes"].to_string().contains("harmony-runbook-secrets"), "{}", other.0);
    }
    // Its only ways out besides DNS are Temporal, with the component outputs the console's own port, and where its cells are
    // Jobs the API server.
    let mut ways = BTreeMap::new();
    for (_, policy) in documents().into_iter().filter(|(_, one)| one["kind"] == "NetworkPolicy") {
        let selects = policy["spec"]["podSelector"].to_string().contains("harmony-runbooks");
        if selects && policy["spec"]["policyTypes"].to_string().contains("Egress") {
            ways.insert(word(&policy, "/metadata/name").to_owned(), policy["spec"]["egress"].clone());
        }
    }
    assert_eq!(
        ways.keys().collect::<Vec<_>>(),
        ["harmony-output", "harmony-runbooks-kubernetes-api", "harmony-temporal"]
    );
    let console = serde_json::json!([{
        "to": [{ "podSelector": { "matchLabels": { "app.kubernetes.io/name": "harmony-console" } } }],
        "ports": [{ "protocol": "TCP", "port": 8088 }],
    }]);
    assert_eq!(ways["harmony-output"], console);
}

#[test]
fn whole_and_live_output_have_what_they_need() {
    let (_, component) =
        documents().into_iter().find(|(place, _)| place == "components/outputs/kustomization.yaml").unwrap();
    let mut given = BTreeMap::new();
    for patch in array(&component, "/patches") {
        let lines = Value::deserialize(serde_norway::Deserializer::from_str(word(patch, "/patch"))).unwrap();
        for operation in lines.as_array().unwrap().iter().filter(|one| word(one, "/path").ends_with("/env/-"))
        {
            let setting = word(operation, "/value/name").to_owned();
            assert_eq!(kind(&setting), Some(Kind::Open), "{setting}");
            given.insert(
                setting,
                (word(patch, "/target/name").to_owned(), word(operation, "/value/value").to_owned()),
            );
        }
    }
    let (pool, address) = &given["HARMONY_API"];
    assert_eq!(pool, "harmony-runbooks");
    let service = address.strip_prefix("http://").unwrap();
    let services = documents().into_iter().filter(|(_, one)| one["kind"] == "Service");
    let ports: Vec<Value> = services
        .filter(|(_, one)| word(one, "/metadata/name") == service)
        .map(|(_, one)| one["spec"]["ports"].clone())
        .collect();
    assert_eq!(ports.len(), 1, "{address} names a Service");
    assert!(array(&ports[0], "").any(|port| port["port"] == 80), "{address}: {}", ports[0]);
    let (console, folder) = &given["HARMONY_OUTPUTS"];
    assert_eq!(console, "harmony-console");
    assert!(component.to_string().contains(&format!("mountPath: {folder}\\n")), "{folder} is on the volume");
}

#[test]
fn cells_as_jobs_reach_dns_alone_and_their_pool_may_do_no_more_than_it_does() {
    let of_cells = |one: &Value| word(one, "/metadata/namespace") == "harmony-cells";
    let documents: Vec<Value> = documents().into_iter().map(|(_, one)| one).filter(of_cells).collect();
    let policies: Vec<&Value> = documents.iter().filter(|one| one["kind"] == "NetworkPolicy").collect();
    let names: BTreeSet<&str> = policies.iter().map(|one| word(one, "/metadata/name")).collect();
    assert_eq!(names, BTreeSet::from(["harmony-cells-deny-all", "harmony-cells-dns"]));
    for policy in policies {
        assert_eq!(policy["spec"]["podSelector"], serde_json::json!({}), "of all cells");
        let ports = array(policy, "/spec/egress").flat_map(|rule| array(rule, "/ports"));
        let ports: Vec<&Value> = ports.map(|port| &port["port"]).collect();
        assert!(ports.iter().all(|port| **port == 53), "{policy}");
    }
    let role = documents.iter().find(|one| one["kind"] == "Role").unwrap();
    let mut rights = BTreeSet::new();
    for rule in array(role, "/rules") {
        for resource in array(rule, "/resources") {
            let verbs = array(rule, "/verbs").map(|verb| verb.as_str().unwrap());
            rights.extend(verbs.map(|verb| format!("{verb} {}", resource.as_str().unwrap())));
        }
    }
    let expected =
        ["create jobs", "delete jobs", "get jobs", "get pods/log", "list events", "watch jobs", "watch pods"];
    assert_eq!(
        rights,
        BTreeSet::from(expected.map(str::to_owned)),
        "what the executor asks of the API server, and nothing else"
    );
}

#[test]
fn role_for_deployments_makes_deletes_and_executes_nothing() {
    let roles: Vec<Value> = documents()
        .into_iter()
        .map(|(_, one)| one)
        .filter(|one| one["kind"] == "ClusterRole" && word(one, "/metadata/name") == "harmony-deployments")
        .collect();
    assert_eq!(roles.len(), 1);
    let mut rights = BTreeSet::new();
    for rule in array(&roles[0], "/rules") {
        for resource in array(rule, "/resources") {
            rights.extend(
                array(rule, "/verbs").map(|verb| (resource.as_str().unwrap(), verb.as_str().unwrap())),
            );
        }
    }
    let expected = [
        ("deployments", "get"),
        ("deployments", "patch"),
        ("events", "list"),
        ("pods", "list"),
        ("replicasets", "list"),
    ];
    assert_eq!(
        rights,
        BTreeSet::from(expected),
        "what the adapter k8s asks of the API server, and nothing else"
    );
}

#[test]
fn every_pod_is_restricted() {
    for (name, pod, container) in pods() {
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]), "{name}");
        assert!(!container["resources"]["limits"]["memory"].is_null(), "{name}");
    }
}

#[test]
fn ports_and_probes_are_the_programs_own() {
    for (name, _, container) in pods() {
        let listens = |setting: &str| {
            let mut environment = array(&container, "/env");
            let found = environment.find(|one| word(one, "/name") == setting)?;
            word(found, "/value").rsplit(':').next().unwrap().parse::<u64>().ok()
        };
        let wanted: Vec<u64> =
            ["HARMONY_HTTP_ADDR", "HARMONY_METRICS_ADDR"].into_iter().filter_map(listens).collect();
        let Some(health) = listens("HARMONY_METRICS_ADDR") else {
            assert!(container["ports"].is_null() && container["readinessProbe"].is_null(), "{name}");
            continue;
        };
        let ports: Vec<&Value> = array(&container, "/ports").collect();
        let open: Vec<u64> = ports.iter().map(|port| port["containerPort"].as_u64().unwrap()).collect();
        assert_eq!(open, wanted, "{name}");
        let probed = ports.iter().find(|port| port["containerPort"] == health).unwrap();
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let asked = &container[probe]["httpGet"];
            assert_eq!(asked["port"], probed["name"], "{name} {probe}");
            assert!(PATHS.contains(&word(asked, "/path")), "{name} {probe}: {asked}");
        }
    }
    for (place, document) in documents() {
        for endpoint in
            array(&document, "/spec/endpoints").chain(array(&document, "/spec/podMetricsEndpoints"))
        {
            assert!(PATHS.contains(&word(endpoint, "/path")), "{place}");
            assert_eq!(endpoint["port"], "metrics", "{place}: never at the public port");
        }
    }
}

#[test]
fn pods_are_given_longer_to_stop_than_they_take() {
    for (name, pod, container) in pods() {
        let line: Vec<&str> = std::iter::once("harmony")
            .chain(array(&container, "/args").map(|one| one.as_str().unwrap()))
            .collect();
        let takes = match Cli::try_parse_from(&line).map(|cli| cli.command) {
            Ok(Command::Worker(_)) => run_worker::STOPPING,
            Ok(Command::Serve(_)) => serve::DRAIN,
            _ => continue,
        };
        let before =
            container.pointer("/lifecycle/preStop/sleep/seconds").and_then(Value::as_u64).unwrap_or(0);
        let given = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(Duration::from_secs(given) > takes + Duration::from_secs(before), "{name}");
    }
}

#[test]
fn every_flag_is_asked_by_somebody_and_has_its_default() {
    let flags: Value = serde_json::from_str(&config_map("harmony-flags")["flags.json"]).unwrap();
    let defined: BTreeSet<String> = flags["flags"].as_object().unwrap().keys().cloned().collect();
    let asked: BTreeSet<String> = [
        capability::CONFLUENCE,
        capability::GITHUB,
        capability::JIRA,
        capability::PAGERDUTY,
        capability::RUNBOOK,
        capability::SLACK,
        capability::STATUSPAGE,
        capability::TIMELINE,
    ]
    .into_iter()
    .map(capability_flag)
    .chain([AUTO_ESCALATE_P1.to_owned()])
    .collect();
    assert_eq!(defined, asked);
    for (name, flag) in flags["flags"].as_object().unwrap() {
        assert_eq!(flag["variants"][flag["defaultVariant"].as_str().unwrap()], true, "{name}");
    }
}

#[test]
fn dashboards_and_rules_use_only_metrics_that_are_exported() {
    let mut used = BTreeSet::new();
    for file in ["components/monitoring/dashboard.json", "components/monitoring/rules.yaml"] {
        let text = fs::read_to_string(deploy().join(file)).unwrap();
        let words = text.split(|one: char| !one.is_ascii_alphanumeric() && one != '_');
        used.extend(words.filter(|one| one.starts_with("harmony_")).map(str::to_owned));
    }
    for name in &used {
        let base = name.strip_suffix("_bucket").unwrap_or(name);
        assert!(metrics::NAMES.contains(&base), "nothing exports {name}");
    }
    assert!(used.len() >= 10, "{used:?}");
}

#[test]
fn the_image_has_the_features_and_files_that_it_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("Dockerfile")).unwrap();
    let manifest: toml::Table = fs::read_to_string(root.join("worker/Cargo.toml")).unwrap().parse().unwrap();
    let toolchain: toml::Table =
        fs::read_to_string(root.join("rust-toolchain.toml")).unwrap().parse().unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    assert!(text.contains(&format!("FROM rust:{channel}-")), "the image is built with Rust {channel}");
    // What every build and test uses is the oldest Rust that we say will do: so it is tried.
    let workspace: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let oldest = workspace["workspace"]["package"]["rust-version"].as_str().unwrap();
    assert_eq!(channel.rsplit_once('.').unwrap().0, oldest, "rust-version and rust-toolchain.toml");
    let none = toml::Table::new();
    let features = manifest.get("features").and_then(toml::Value::as_table).unwrap_or(&none);
    if let Some(named) = text.split("--features ").nth(1).and_then(|rest| rest.split_whitespace().next()) {
        for feature in named.split(',') {
            assert!(features.contains_key(feature), "there is no feature {feature}");
        }
    }
    let mut copied = 0;
    for line in
        text.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from"))
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        for source in &words[..words.len() - 1] {
            assert!(root.join(source).exists(), "COPY {source}");
            copied += 1;
        }
    }
    assert!(copied > 0);
    for member in manifest_members(&root) {
        let top = member.split('/').next().unwrap().to_owned();
        assert!(
            text.lines().any(|line| line.starts_with("COPY ") && line.contains(&top)),
            "{member} is not copied"
        );
    }
    assert!(text.lines().any(|line| line.starts_with("USER 65532")), "it does not run as root");
    assert!(text.contains("ENTRYPOINT [\"/usr/local/bin/harmony\"]"));
    let runbooks = config_map("harmony-config")["HARMONY_RUNBOOKS"].clone();
    assert!(text.contains(&runbooks), "the image has its runbooks at {runbooks}");
}

fn manifest_members(root: &Path) -> Vec<String> {
    let workspace: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_setting_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let missing: Vec<&str> =
        KEYS.iter().map(|(key, _)| *key).filter(|key| !text.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/operations.md, Configure, lacks {}", missing.join(", "));
}

/// A service of the compose file that runs Harmony.
struct Service {
    name: String,
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    whole: Value,
}

fn compose() -> Vec<Service> {
    let text = fs::read_to_string(root().join("deploy/compose/compose.yaml")).unwrap();
    let mut file: serde_norway::Value = serde_norway::from_str(&text).unwrap();
    file.apply_merge().unwrap();
    let file = serde_json::to_value(file).unwrap();
    let services = file["services"].as_object().unwrap().iter();
    let ours = services.filter(|(_, one)| word(one, "/image").contains("HARMONY_IMAGE"));
    let mut services: Vec<Service> = ours
        .map(|(name, one)| Service {
            name: name.clone(),
            command: array(one, "/command").map(|part| part.as_str().unwrap().to_owned()).collect(),
            environment: serde_json::from_value(one["environment"].clone()).unwrap(),
            whole: one.clone(),
        })
        .collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<&str> = services.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["console", "migrate", "runbooks", "temporal-setup", "worker"]);
    services
}

#[test]
fn compose_file_runs_what_there_is_and_holds_no_secret() {
    for service in compose() {
        let name = &service.name;
        let line = std::iter::once("harmony").chain(service.command.iter().map(String::as_str));
        if let Err(error) = Cli::try_parse_from(line) {
            panic!("{name}: {error}");
        }
        for (setting, value) in &service.environment {
            let kind = kind(setting).unwrap_or_else(|| panic!("{name}: there is no setting {setting}"));
            assert!(kind == Kind::Open || value.contains("${"), "{name}: {setting} stands in the file");
        }
        assert_eq!(service.whole["read_only"], true, "{name}");
        assert_eq!(service.whole["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        for port in array(&service.whole, "/ports") {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} is open to others at {port}");
        }
    }
}

#[test]
fn runbooks_of_the_compose_file_get_no_secret_and_reach_temporal_alone() {
    let services = compose();
    let runbooks = services.iter().find(|one| one.name == "runbooks").unwrap();
    for setting in runbooks.environment.keys() {
        assert_eq!(kind(setting), Some(Kind::Open), "{setting}");
    }
    assert_eq!(runbooks.whole["networks"], serde_json::json!(["temporal"]));
    for other in services.iter().filter(|one| one.name != "runbooks") {
        assert!(!other.whole.to_string().contains("runbook-secrets"), "{}", other.name);
    }
}

#[test]
fn compose_file_is_made_ready_once_with_keys_that_fit() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("deploy/compose");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir(home.path().join("policies")).unwrap();
    for policy in ["alerts.toml", "pagerduty.toml"] {
        fs::copy(root().join("policies").join(policy), home.path().join("policies").join(policy)).unwrap();
    }
    fs::copy(root().join("deploy/compose/init"), folder.join("init")).unwrap();
    let run = || std::process::Command::new(folder.join("init")).arg("ada").output().unwrap();
    let first = run();
    let stdout = String::from_utf8(first.stdout).unwrap();
    assert!(first.status.success(), "{stdout}{}", String::from_utf8_lossy(&first.stderr));

    let made = fs::read_to_string(folder.join(".env")).unwrap();
    let made: BTreeMap<&str, &str> = made.lines().filter_map(|line| line.split_once('=')).collect();
    let ticket = harmony_incidents::ticket::TicketKey::parse(made["HARMONY_TICKET_KEY"]).unwrap();
    assert_eq!(ticket.public(), made["HARMONY_TICKET_PUBLIC_KEY"]);
    // Everything that the services cannot do without is there.
    let mut required = BTreeSet::new();
    for service in compose() {
        required.extend(service.environment.into_values().filter_map(|value| {
            let (_, rest) = value.split_once("${")?;
            rest.split_once(":?").map(|(name, _)| name.to_owned())
        }));
    }
    assert!(required.len() >= 6, "{required:?}");
    for name in &required {
        assert!(made.contains_key(name.as_str()), "{name} is not made");
    }
    let directory = fs::read_to_string(folder.join("etc/directory.toml")).unwrap();
    let directory = harmony_incidents::Directory::parse(&directory).unwrap();
    let token = stdout.lines().find_map(|line| line.strip_prefix("the token of ada, shown once: ")).unwrap();
    assert!(directory.by_token(token).is_some_and(|one| one.id.as_str() == "ada"));

    let before = fs::read(folder.join(".env")).unwrap();
    let second = run();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("HARMONY_SALT_KEY can never be changed"));
    assert_eq!(fs::read(folder.join(".env")).unwrap(), before);
}

#[test]
fn systemd_units_run_what_there_is_and_their_settings_are_right() {
    let folder = root().join("deploy/systemd");
    let mut commands = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        if name.ends_with(".toml") {
            let settings = Settings::collect(&|_| None, &|_| None, Some((path, text.clone())));
            assert!(settings.problems.is_empty(), "{name}: {:?}", settings.problems);
            let is_secret =
                |(key, kind): &&(&str, Kind)| *kind == Kind::Secret && settings.get(key).is_some();
            let secrets: Vec<_> = KEYS.iter().filter(is_secret).map(|(key, _)| *key).collect();
            assert!(secrets.is_empty(), "{name} holds secrets: {secrets:?}");
        }
        for line in text.lines() {
            if let Some((_, command)) =
                line.strip_prefix("ExecStart=").and_then(|line| line.split_once("/usr/local/bin/harmony "))
            {
                let words = command.trim_end_matches('\'').split(' ');
                if let Err(error) = Cli::try_parse_from(std::iter::once("harmony").chain(words)) {
                    panic!("{name}: {error}");
                }
                commands.push(name.clone());
            }
            if let Some((setting, value)) =
                line.strip_prefix("Environment=").and_then(|line| line.split_once('='))
            {
                if setting == "HARMONY_CONFIG" {
                    let file = value.rsplit('/').next().unwrap();
                    assert!(folder.join(file).exists(), "{name}: there is no {file}");
                } else {
                    assert_eq!(kind(setting), Some(Kind::Open), "{name}: {setting}");
                }
            }
        }
    }
    commands.sort();
    assert_eq!(commands, ["harmony-console.service", "harmony-runbooks.service", "harmony-worker.service"]);
}
