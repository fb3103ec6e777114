//! What changed: services are described, a release becomes active, its service has an incident, and everybody can see
//! which release it was and why, in the catalog, at the incident and in the audit.

use serde_json::{Value, json};

use crate::world::{POLICY, World, refusal};

const SERVICES: &str = r#"
[[environments]]
id = "env-eu"
name = "production"
region = "eu-central-1"
cluster = "eu-1"

[[services]]
id = "svc-ledger"
name = "ledger"
repo = "github.com/example/ledger"
owner = "team-ledger"
[[services.targets]]
environment = "env-eu"
adapter = "external"
"#;

/// What a command prints, which must succeed.
fn printed(world: &World, arguments: &[&str]) -> String {
    let output = world.harmony(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same as JSON.
fn answered(world: &World, arguments: &[&str]) -> Value {
    let text = printed(world, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

#[tokio::test]
async fn the_release_before_an_incident_is_suspected_linked_and_on_record() {
    let world = World::start(POLICY).await;
    // There is something to look at from the first start on.
    let sample = answered(&world, &["service", "list"]);
    assert_eq!(sample["services"].as_array().unwrap().len(), 3, "{sample}");

    let file = world.dir.path().join("ledger.toml");
    std::fs::write(&file, SERVICES).unwrap();
    let file = file.to_str().unwrap();
    let would = answered(&world, &["catalog", "apply", file, "--dry-run"]);
    assert_eq!(would["services"], json!([{ "id": "svc-ledger", "outcome": "created", "changed": [] }]));
    let (code, said) = refusal(&world.harmony(&["service", "show", "svc-ledger"]));
    assert!(code == 4 && said.contains("harmony service list"), "a dry run writes nothing: {said}");
    printed(&world, &["catalog", "apply", file]);
    let again = answered(&world, &["catalog", "apply", file]);
    assert_eq!(again["environments"][0]["outcome"], "unchanged", "{again}");
    assert_eq!(again["services"][0]["outcome"], "unchanged", "{again}");

    let create = |sha: &str, version: &str| {
        let line = [
            "deploy",
            "create",
            "--service",
            "svc-ledger",
            "--env",
            "env-eu",
            "--sha",
            sha,
            "--version",
            version,
        ];
        printed(&world, &line).trim().to_owned()
    };
    let good = create("1111111", "1.0.0");
    printed(&world, &["deploy", "tell", &good, "Active"]);
    let bad = create("2222222", "1.1.0");
    printed(&world, &["deploy", "tell", &bad, "Promoting"]);
    printed(&world, &["deploy", "tell", &bad, "Active", "--reason", "3 of 3 replicas run it"]);
    let late = printed(&world, &["deploy", "tell", &bad, "Promoting"]);
    assert!(late.contains("Active already; nothing changed"), "{late}");
    let status = answered(&world, &["deploy", "status", "--service", "svc-ledger"]);
    assert_eq!(status["environments"][0]["release"]["id"], bad.as_str(), "{status}");
    let (code, said) = refusal(&world.harmony(&["deploy", "promote", "--release", &bad, "--to", "env-moon"]));
    assert!(code == 2 && said.contains("env-moon"), "{said}");

    let declare = [
        "incident",
        "declare",
        "Entries are lost",
        "--severity",
        "P2",
        "--service",
        "ledger",
        "--environment",
        "production",
        "--wait",
    ];
    let id = printed(&world, &declare).trim().to_owned();
    let changes = answered(&world, &["incident", "changes", &id]);
    let suspect = &changes["suspected"][0];
    assert_eq!(suspect["id"], bad.as_str(), "{changes}");
    let reason = suspect["reason"].as_str().unwrap();
    assert!(reason.starts_with("same service and environment, Active"), "{reason}");
    let shown = printed(&world, &["incident", "changes", &id]);
    assert!(shown.contains(&bad) && shown.contains(reason), "{shown}");
    let service = printed(&world, &["service", "show", "svc-ledger"]);
    assert!(service.contains("1 high") && service.contains(&id) && service.contains("1.1.0"), "{service}");

    let why = "Entries are lost since it";
    let link = ["incident", "link-change", &id, "--release", &bad, "--relation", "caused", "--reason", why];
    let linked = answered(&world, &link);
    assert_eq!(linked["changes"]["linked"][0]["relation"], "caused", "{linked}");
    let changes = answered(&world, &["incident", "changes", &id]);
    assert_eq!(changes["linked"][0]["reason"], why, "{changes}");
    let suspected: Vec<&Value> = changes["suspected"].as_array().unwrap().iter().collect();
    assert!(suspected.iter().all(|one| one["id"] != bad.as_str()), "{changes}");

    // The services' streams are verified like incidents', in place and far from here.
    world.verified().await;
    let export = printed(&world, &["log", "export"]);
    for stream in ["svc/svc-ledger", "env/env-eu", "svc/svc-checkout", &id] {
        assert!(export.contains(stream), "{stream}");
    }
    let exported = world.dir.path().join("export.jsonl");
    let key = printed(&world, &["log", "checkpoint", "--print-key"]).trim().to_owned();
    let verify = ["log", "verify", "--file", exported.to_str().unwrap(), "--verifier-key", &key];
    std::fs::write(&exported, &export).unwrap();
    let report = answered(&world, &verify);
    assert_eq!(report["verified"], true, "{report}");
    // Without one record of the service, it does not.
    let lines: Vec<&str> = export.lines().collect();
    let is_its_record = |line: &&str| line.contains("svc/svc-ledger") && line.contains("canonical");
    let last = lines.iter().rposition(is_its_record).unwrap();
    let cut: Vec<&str> =
        lines.iter().enumerate().filter(|(at, _)| *at != last).map(|(_, line)| *line).collect();
    std::fs::write(&exported, cut.join("\n")).unwrap();
    let (code, _) = refusal(&world.harmony(&verify));
    assert_eq!(code, 1);

    // One line an event, the last of them last; and the same in the file, each once.
    let tail = printed(&world, &["audit", "tail", "--json", "--since", "1h"]);
    let events: Vec<Value> = tail.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |action: &str, subject: &str| {
        events.iter().position(|one| one["action"] == action && one["subjectId"] == subject)
    };
    let story = [
        of("environment.write", "env-eu"),
        of("service.write", "svc-ledger"),
        of("deploy.create", &good),
        of("release.activate", &bad),
        of("incident.declare", &id),
    ];
    assert!(story.iter().all(Option::is_some) && story.is_sorted(), "{story:?}: {tail}");
    assert!(!tail.contains(why), "nothing that people wrote gets into the audit");
    let of_service = printed(
        &world,
        &["audit", "tail", "--subject", "svc/svc-ledger", "--actor", "operator", "--limit", "500"],
    );
    assert!(of_service.contains("service.write") && !of_service.contains("incident.declare"), "{of_service}");

    let audit = world.dir.path().join("audit/control-plane.log");
    let lines = world
        .until("every event in the audit file", async || {
            let text = std::fs::read_to_string(&audit).unwrap_or_default();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let has = |event: &&Value| lines.iter().any(|line| line.contains(&place(event)));
            events.iter().all(|event| has(&event)).then_some(lines)
        })
        .await;
    let places: Vec<String> = lines.iter().map(|line| place(&serde_json::from_str(line).unwrap())).collect();
    let once: std::collections::BTreeSet<&String> = places.iter().collect();
    assert_eq!(once.len(), places.len(), "{places:#?}");
}

/// Where an event stands, as its line says it.
fn place(event: &Value) -> String {
    format!("\"stream\":{},\"seq\":{}}}", event["stream"], event["seq"])
}
