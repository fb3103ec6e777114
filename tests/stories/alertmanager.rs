//! A real Alertmanager with its default route: a storm, alerts that flap, and one that comes back.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    server_process::left_out,
    world::{POLICY, World, cache, carry_out},
};

const RELEASE: &str = "v0.27.0";
const SECRET: &str = "the-secret-of-alertmanager";
/// Of a storm, and of them critical; each fires on [`MACHINES`].
const RULES: usize = 25;
const CRITICAL: usize = 5;
const MACHINES: usize = 10;
/// What makes the notification larger than a megabyte.
const DESCRIPTION_BYTES: usize = 4_500;

/// A process of its own, which ends with the story.
struct Alertmanager {
    child: Child,
    api: String,
    http: reqwest::Client,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Alertmanager {
    /// All alerts are one group, as where nobody said otherwise; only its times are shorter.
    async fn start(world: &World, program: &Path) -> Self {
        let home = world.dir.path().join("alertmanager");
        std::fs::create_dir(&home).unwrap();
        let config = json!({
            "route": { "receiver": "harmony", "group_wait": "1s", "group_interval": "1s", "repeat_interval": "1h" },
            "receivers": [{ "name": "harmony", "webhook_configs": [{
                "url": format!("{}/webhooks/alertmanager", world.text("/api")),
                "http_config": { "authorization": { "type": "Bearer", "credentials": SECRET } },
            }] }],
        });
        let file = home.join("alertmanager.yml");
        // YAML reads JSON.
        std::fs::write(&file, config.to_string()).unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = std::fs::File::create(home.join("log")).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", home.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let (api, http) = (format!("http://{address}"), reqwest::Client::new());
        let started = Self { child, api, http };
        world
            .until("Alertmanager to listen", async || {
                let ready = started.http.get(format!("{}/-/ready", started.api)).send().await;
                ready.is_ok_and(|answer| answer.status().is_success()).then_some(())
            })
            .await;
        started
    }

    /// What Prometheus tells of an alert: that it fires, or that it is over.
    async fn told(&self, alerts: &[Value]) {
        let request = self.http.post(format!("{}/api/v2/alerts", self.api)).json(alerts);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
}

fn alert(rule: usize, machine: usize, fires: bool) -> Value {
    let now = jiff::Timestamp::now();
    let ends = if fires { now + jiff::SignedDuration::from_hours(1) } else { now };
    let severity = if rule < CRITICAL { "critical" } else { "warning" };
    let mut alert = json!({
        "labels": {
            "alertname": format!("Rule{rule:02}"), "instance": format!("machine-{machine}"), "severity": severity,
            "service": format!("service-{}", rule % 4),
        },
        "annotations": {
            "summary": format!("Rule{rule:02} on machine-{machine}"), "description": "x".repeat(DESCRIPTION_BYTES),
        },
        "endsAt": ends.to_string(),
    });
    if fires {
        alert["startsAt"] = json!(now.to_string());
    }
    alert
}

async fn candidates(world: &World, severity: &str) -> Vec<Value> {
    let all = world.get("candidates?limit=200").await["candidates"].as_array().unwrap().clone();
    all.into_iter().filter(|one| one["severity"] == severity).collect()
}

/// Pages that ask for somebody to promote.
async fn asking(world: &World) -> Vec<Value> {
    let mut all = world.state("pagerduty").await["incidents"].as_array().unwrap().clone();
    all.retain(|page| page["title"].as_str().unwrap().contains("candidate waits"));
    all
}

/// Those that still ring.
async fn ringing(world: &World) -> usize {
    asking(world).await.iter().filter(|page| page["status"] == "triggered").count()
}

/// Waits until all that was handed in is decided, and whoever is to hear of it was paged.
async fn settled(world: &World, critical: usize) -> Vec<Value> {
    world
        .until(&format!("{critical} critical candidates to be decided"), async || {
            let found = candidates(world, "critical").await;
            let waits = |one: &Value| one["status"] == "RECEIVED";
            (found.len() == critical && !found.iter().any(waits)).then_some(found)
        })
        .await
}

#[tokio::test]
async fn every_critical_alert_of_a_storm_is_heard_once_and_what_returns_is_heard_again() {
    let program = match alertmanager() {
        Ok(program) => program,
        Err(why) => {
            left_out("the story of Alertmanager, which comes by `go install`", &why);
            return;
        }
    };
    let world = World::start_with(POLICY, &[("HARMONY_ALERTMANAGER_SECRET", SECRET)]).await;
    let source = Alertmanager::start(&world, &program).await;
    let storm: Vec<Value> =
        (0..RULES).flat_map(|rule| (0..MACHINES).map(move |machine| alert(rule, machine, true))).collect();
    assert!(json!(storm).to_string().len() > 1_000_000);
    source.told(&storm).await;

    // Nothing is lost: a rule is a candidate with all of its machines, whatever happens to the others of its group.
    let critical = settled(&world, CRITICAL).await;
    for one in &critical {
        assert_eq!(one["status"], "DEFERRED", "{one}");
        assert_eq!(one["signals"].as_array().unwrap().len(), MACHINES, "{one}");
    }
    let warnings = world
        .until("the other rules to be decided", async || {
            let found = candidates(&world, "warning").await;
            let all = found.iter().filter(|one| one["status"] == "PROMOTED").count() == RULES - CRITICAL;
            all.then_some(found)
        })
        .await;
    assert_eq!(warnings.len(), RULES - CRITICAL);
    for one in &critical {
        let id = one["candidateId"].as_str().unwrap();
        let result =
            world.temporal(&["workflow", "result", "-w", &format!("candidate.promote-{id}"), "-o", "json"]);
        let result = String::from_utf8_lossy(&result.stdout).into_owned();
        assert!(!result.contains("nobody was paged"), "{id}: {result}");
    }
    assert_eq!(ringing(&world).await, 1, "one group is one page");

    // They flap: nobody is woken again.
    for round in 0..3 {
        for fires in [false, true] {
            let flapping: Vec<Value> = (0..CRITICAL).map(|rule| alert(rule, round, fires)).collect();
            source.told(&flapping).await;
            // Longer than the group's interval: Alertmanager tells of each change.
            tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
        }
    }
    settled(&world, CRITICAL).await;
    assert_eq!(ringing(&world).await, 1, "what flaps is what waits already");

    // Somebody takes one up: the page becomes the incident's, and nothing else rings.
    let first = critical[0]["candidateId"].as_str().unwrap();
    let promoted = world.harmony(&["candidate", "promote", first, "--json"]);
    let line: Value = serde_json::from_slice(&promoted.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&promoted.stderr)));
    let id = line["incidentId"].as_str().unwrap();
    assert_eq!(world.completed(id, "initiate").await["status"], "COMPLETED");
    for one in candidates(&world, "critical").await {
        let status = one["status"].as_str().unwrap();
        assert!(["PROMOTED", "SUPPRESSED"].contains(&status), "{one}");
        assert_eq!(one["incidentId"], id, "{one}");
    }

    // It ends, and one of them fires again: a new candidate, and somebody is paged about it.
    let over: Vec<Value> = (0..CRITICAL)
        .flat_map(|rule| (0..MACHINES).map(move |machine| alert(rule, machine, false)))
        .collect();
    source.told(&over).await;
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    let (status, answer) = world
        .api(Method::POST, &format!("incidents/{id}/cancel"), Some(json!({ "reason": "it was a test" })))
        .await;
    assert!(status < 300, "{answer}");
    let gate = world.gate(id).await;
    world.click(&gate, "approve", "commander").await;
    world
        .until("the incident to be over", async || {
            let state = world.incident(id).await["state"].clone();
            ["CANCELLED", "CLOSED", "RESOLVED"].iter().any(|over| state == *over).then_some(())
        })
        .await;
    let paged = asking(&world).await.len();
    source.told(&[alert(0, 0, true)]).await;
    let again = settled(&world, CRITICAL + 1).await;
    let waiting: Vec<&Value> = again.iter().filter(|one| one["status"] == "DEFERRED").collect();
    let [returned] = waiting.as_slice() else { panic!("one alert came back: {again:#?}") };
    assert!(returned["title"].as_str().unwrap().starts_with("Rule00"), "{returned}");
    world
        .until("the page of what came back", async || (asking(&world).await.len() == paged + 1).then_some(()))
        .await;
    world.verified().await;
}

/// Built once, by Go, into the cache.
fn alertmanager() -> Result<PathBuf, String> {
    let home = cache(&format!("alertmanager-{RELEASE}"))?;
    let program = home.join("alertmanager");
    if !program.is_file() {
        let module = format!("github.com/prometheus/alertmanager/cmd/alertmanager@{RELEASE}");
        carry_out(Command::new("go").args(["install", &module]).env("GOBIN", &home))?;
    }
    Ok(program)
}
