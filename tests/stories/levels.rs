//! Silence, level by level: what each severity does when nobody decides, in one world for all of them; and what it
//! does while no worker lives.

use serde_json::{Value, json};

use crate::world::{POLICY, World};

const LEVELS: &str = r#"
[urgent]
P1 = [
  { roles = ["sre-oncall"], within = "12s", page = true },
  { roles = ["incident-manager"], within = "12s", page = true },
  { roles = ["org-admin"], within = "12s", page = true },
]
P2 = [
  { roles = ["sre-oncall"], within = "12s" },
  { roles = ["incident-manager"], within = "12s", page = true },
  { roles = ["org-admin"], within = "12s", page = true },
]
P3 = [{ roles = ["sre-oncall"], within = "12s" }]
P4 = [{ roles = ["sre-oncall"], within = "12s" }]

# PagerDuty knows no service XGONE.
[paging.sre-oncall]
service = "XGONE"
[paging.incident-manager]
service = "PMANAGERS"
[paging.org-admin]
escalation_policy = "PADMINS"
"#;

/// The records of this kind about the remediation's gate.
fn about<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let ours = |one: &&Value| {
        let gate = one["payload"]["gateId"].as_str().unwrap_or_default();
        one["kind"] == kind && gate.starts_with("incident.remediate-")
    };
    records.iter().filter(ours).collect()
}

#[tokio::test]
async fn every_severity_walks_its_levels_in_silence_and_is_rejected() {
    let world = World::start(&format!("{POLICY}{LEVELS}")).await;
    let story = async |severity: &str| {
        let (id, _) = world.initiated(&format!("Nobody answers a {severity}"), severity).await;
        world.remediate(&id).await;
        let result = world.completed(&id, "remediate").await;
        (id, result)
    };
    let stories = tokio::join!(story("P1"), story("P2"), story("P3"), story("P4"));
    let pages = world.state("pagerduty").await["incidents"].clone();
    let messages = world.state("slack").await["messages"].clone();
    for (severity, (id, result), levels, paged) in
        [("P1", stories.0, 3, 3), ("P2", stories.1, 3, 2), ("P3", stories.2, 1, 0), ("P4", stories.3, 1, 0)]
    {
        assert_eq!(
            (&result["status"], &result["reason"]),
            (&json!("REJECTED"), &json!("timeout")),
            "{result}"
        );
        let records = world.records(&id).await;
        assert_eq!(about(&records, "APPROVAL_TIMED_OUT").len(), levels, "{id}");
        assert_eq!(about(&records, "APPROVAL_ESCALATED").len(), levels - 1, "{id}");
        assert!(about(&records, "APPROVAL_DECIDED").is_empty());
        let ours: Vec<&Value> = pages
            .as_array()
            .unwrap()
            .iter()
            .filter(|page| page["title"].as_str().unwrap().starts_with(&format!("{id}: approval needed")))
            .collect();
        assert_eq!(ours.len(), paged, "{id}: {pages}");
        assert!(ours.iter().all(|page| page["status"] == "resolved"), "a page ends with its level: {pages}");
        let places: Vec<[&str; 2]> = ours
            .iter()
            .map(|page| ["service", "escalation_policy"].map(|place| page[place]["id"].as_str().unwrap()))
            .collect();
        let named = [["PSANDBOX", "PPOLICY"], ["PMANAGERS", "PPOLICY"], ["PSANDBOX", "PADMINS"]];
        assert_eq!(places, named[levels - paged..][..paged], "each level is paged where the policy says");
        if severity == "P1" {
            let said = ours[0]["body"]["details"].as_str().unwrap();
            assert!(said.contains("PagerDuty refuses XGONE, which policy.toml names"), "{said}");
        }
        // One message asks, whatever the level; each level is reminded at most once.
        let channel = world.incident(&id).await["links"]["slackChannel"].clone();
        let said = |what: &str| {
            let here = messages.as_array().unwrap().iter().filter(|one| one["channel"] == channel);
            here.filter(|one| one["text"].as_str().unwrap_or_default().contains(what)).count()
        };
        assert_eq!(said("Nobody decided in time: not done: Run"), 1, "the message that asked: {messages}");
        let reminded = said("Still to be decided: Run");
        assert!((1..=levels).contains(&reminded), "{id} was reminded {reminded} times");
        let steps: Vec<&str> = records
            .iter()
            .filter_map(|one| {
                one["payload"]["step"].as_str().filter(|step| step.starts_with("approve/remind-"))
            })
            .collect();
        assert_eq!(steps.len(), reminded, "{steps:?}");
    }
    world.verified().await;
}

#[tokio::test]
async fn deadline_that_passes_while_no_worker_lives_is_handled_once_and_what_was_decided_in_time_counts() {
    let levels = "[urgent]\nP2 = [{ roles = [\"sre-oncall\"], within = \"25s\" }, { roles = [\"incident-manager\"], within = \"10m\" }]\n";
    let world = World::start(&format!("{POLICY}{levels}")).await;
    let ((silent, _), (decided, _)) =
        tokio::join!(world.initiated("Nobody decides", "P2"), world.initiated("Somebody decides", "P2"));
    tokio::join!(world.remediate(&silent), world.remediate(&decided));
    let (gate, other) = (world.gate(&silent).await, world.gate(&decided).await);
    world.asked(&other).await;
    // It hangs until both deadlines are over: nobody starts another in its place.
    world.freeze_between_writes("worker", &decided).await;
    let first: jiff::Timestamp = other["deadline"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now() < first, "this machine is too slow to decide in time");
    world.click(&other, "approve", "oncall").await;
    let due: jiff::Timestamp = gate["deadline"].as_str().unwrap().parse().unwrap();
    let last = due.max(first);
    world.until("both deadlines to pass", async || (jiff::Timestamp::now() > last).then_some(())).await;
    world.kill("worker");
    let result = world.completed(&decided, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "it was decided in time: {result}");
    let records = world.records(&decided).await;
    assert!(about(&records, "APPROVAL_TIMED_OUT").is_empty());
    assert_eq!(about(&records, "APPROVAL_DECIDED").len(), 1);

    let escalated = world
        .until("the escalation", async || {
            let gate = world.gate(&silent).await;
            (gate["level"] == 2).then_some(gate)
        })
        .await;
    let records = world.records(&silent).await;
    let (expired, passed_on) = (about(&records, "APPROVAL_TIMED_OUT"), about(&records, "APPROVAL_ESCALATED"));
    assert_eq!((expired.len(), passed_on.len()), (1, 1));
    let number = |value: &Value| value.as_str().unwrap().parse::<i64>().unwrap();
    let (should, was) = (number(&expired[0]["payload"]["dueUs"]), number(&expired[0]["payload"]["actualUs"]));
    assert_eq!(should, due.as_microsecond());
    assert!(was > should, "both times are on record: due {should}, handled {was}");
    // The next level has its whole time, from when it was handled.
    let deadline: jiff::Timestamp = escalated["deadline"].as_str().unwrap().parse().unwrap();
    assert_eq!(deadline.as_microsecond() - was, 600_000_000);
    world.post(&format!("incidents/{silent}/stop"), json!({})).await;
    world.completed(&silent, "remediate").await;
    world.verified().await;
}
