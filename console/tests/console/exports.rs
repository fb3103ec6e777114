//! Follow-ups that are exported to a tracker, and what the tracker tells of their issues.
//!
//! No worker runs here: [`exported`] puts on record what the activity does once the issue is there. That it does is proved
//! by the matrix of faults, and the whole way by a story.

use std::time::Duration;

use harmony_blueprints::contracts::{Tracker, issue_step, ticket_key};
use harmony_eventlog::Begin;
use harmony_incidents::{
    Command, IncidentId, OrgId, StreamId, WorkflowType,
    ids::{EffectScope, effect_key},
    judge::payload,
    log::{FollowUpChanged, payload::Kind},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    deploys::{github, post, signature},
    pages::Visitor,
    world::{Reply, World},
};

async fn follow_up(world: &World, incident: &str) -> String {
    let body = json!({ "incidentId": incident, "action": "Add an alert", "owner": "oncall" });
    world.post("oncall", "follow-ups", body).await.ok(201)["id"].as_str().unwrap().to_owned()
}

async fn shown(world: &World, id: &str) -> Value {
    world.get("admin", &format!("follow-ups/{id}")).await.ok(200)
}

fn parts(id: &str) -> (StreamId, u64) {
    let (incident, seq) = id.rsplit_once('-').unwrap();
    let incident: IncidentId = incident.parse().unwrap();
    (incident.into(), seq.parse().unwrap())
}

/// What the activity leaves before it asks the tracker for the issue: the key that stands in it.
async fn intent(world: &World, id: &str, tracker: Tracker) -> String {
    let (stream, seq) = parts(id);
    let resource = format!("follow-up/{seq}/{}", tracker.name());
    let key = effect_key(&OrgId::default(), &stream, &EffectScope::Incident { resource: &resource });
    let step = issue_step(seq);
    let begun = world
        .log
        .begin_effect(
            &OrgId::default(),
            &(&stream).into(),
            &key.to_string(),
            &step,
            "run/1/1",
            Duration::ZERO,
        )
        .await;
    assert!(matches!(begun.unwrap(), Begin::Fresh));
    format!("harmony-{key}")
}

/// What the activity does once the issue is there.
async fn ticketed(world: &World, id: &str, tracker: Tracker, ticket: &str, ticket_id: &str) {
    let (stream, seq) = parts(id);
    let changed = FollowUpChanged {
        follow_up: seq,
        system: tracker.name().to_owned(),
        ticket: ticket.to_owned(),
        ticket_id: ticket_id.to_owned(),
        url: format!("https://tracker.example/{ticket_id}"),
        ..FollowUpChanged::default()
    };
    let command = Command::Record { payload: payload(Kind::FollowUpChanged(changed)) };
    world.append(stream.as_str(), &format!("ticket/{id}"), WorkflowType::Act, command).await;
    let key = ticket_key(tracker, ticket_id);
    let org = OrgId::default();
    world
        .log
        .begin_effect(&org, &(&stream).into(), &key, &issue_step(seq), &key, Duration::ZERO)
        .await
        .unwrap();
    world.log.complete_effect(&org, &key, &json!({})).await.unwrap();
}

/// A follow-up with an issue in a tracker.
async fn exported(world: &World, incident: &str, tracker: Tracker, number: u64) -> String {
    let id = follow_up(world, incident).await;
    world.post("oncall", &format!("follow-ups/{id}"), json!({ "to": tracker.name() })).await.ok(202);
    intent(world, &id, tracker).await;
    let ticket = match tracker {
        Tracker::Github => format!("acme/shop#{number}"),
        Tracker::Jira => format!("OPS-{number}"),
    };
    ticketed(world, &id, tracker, &ticket, &number.to_string()).await;
    id
}

/// How an issue is at its tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Open,
    Done,
    NotPlanned,
    Deleted,
}

fn jira_event(number: u64, word: Word, at: Timestamp, labels: &[String]) -> Value {
    let event = if word == Word::Deleted { "jira:issue_deleted" } else { "jira:issue_updated" };
    let category = if word == Word::Done { "done" } else { "indeterminate" };
    let time = at.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string();
    json!({
        "timestamp": at.as_millisecond(), "webhookEvent": event,
        "issue": { "id": number.to_string(), "key": format!("OPS-{number}"), "fields": {
            "status": { "name": "x", "statusCategory": { "key": category } },
            "updated": time, "statuscategorychangedate": time, "labels": labels,
        } },
    })
}

fn github_event(number: u64, word: Word, at: Timestamp, body: &str) -> Value {
    let (action, state, reason) = match word {
        Word::Open => ("reopened", "open", json!("reopened")),
        Word::Done => ("closed", "closed", json!("completed")),
        Word::NotPlanned => ("closed", "closed", json!("not_planned")),
        Word::Deleted => ("deleted", "open", Value::Null),
    };
    json!({
        "action": action,
        "issue": {
            "id": number, "number": number, "state": state, "state_reason": reason, "body": body,
            "updated_at": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "labels": [{ "name": "harmony" }],
        },
        "repository": { "full_name": "acme/shop" },
    })
}

async fn jira(world: &World, delivery: &str, body: &Value) -> Reply {
    let body = body.to_string();
    let signature = signature("new-jira-secret", &body);
    let headers = [("X-Atlassian-Webhook-Identifier", delivery), ("X-Hub-Signature", signature.as_str())];
    post(world, "/webhooks/jira", &headers, &body).await
}

fn at(seconds: i64) -> Timestamp {
    "2026-03-01T02:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

#[tokio::test]
async fn export_starts_one_act_and_then_answers_with_the_ticket() {
    let world = World::new().await;
    let incident = world.opened("P2").await;
    let id = follow_up(&world, &incident).await;
    let path = format!("follow-ups/{id}");
    world.outbox().await;
    let to = json!({ "to": "jira" });
    let asked = world.post_with_key("operator", &path, "once", to.clone()).await.ok(202);
    assert_eq!((&asked["exportingTo"], &asked["state"]), (&json!("jira"), &json!("open")), "{asked}");
    assert_eq!(world.post_with_key("operator", &path, "once", to.clone()).await.ok(202), asked);
    let [item] = &world.outbox().await[..] else { panic!("one act") };
    assert_eq!(item.item.payload["workflowId"], asked["workflowId"]);
    let seq = parts(&id).1;
    assert_eq!(
        item.item.payload["input"]["act"],
        json!({ "kind": "export", "followUp": seq, "tracker": "jira" }),
        "nothing of the incident's texts"
    );
    ticketed(&world, &id, Tracker::Jira, "OPS-7", "10042").await;
    let again = world.post("operator", &path, to).await.ok(200);
    assert_eq!((&again["system"], &again["ticket"]), (&json!("jira"), &json!("OPS-7")));
    assert!(again["exportingTo"].is_null() && world.outbox().await.is_empty(), "{again}");
    let elsewhere = world.post("operator", &path, json!({ "to": "github" })).await.problem(409);
    assert!(elsewhere.contains("tracked in one place"), "{elsewhere}");
}

#[tokio::test]
async fn what_may_not_leave_is_refused_with_the_reason() {
    let world = World::new().await;
    let incident = world.opened("P2").await;
    let id = follow_up(&world, &incident).await;
    let path = format!("follow-ups/{id}");
    for (who, body, status, expected) in [
        ("viewer", json!({ "to": "jira" }), 403, ""),
        ("oncall", json!({ "to": "trello" }), 422, "use jira or github"),
        ("oncall", json!({ "to": "jira", "owner": "operator" }), 422, "nothing else"),
        ("oncall", json!({ "to": "jira", "comment": "x" }), 422, "nothing else"),
    ] {
        let detail = world.post(who, &path, body.clone()).await.problem(status);
        assert!(detail.contains(expected), "{body}: {detail}");
    }
    // Who owns one says what became of it, and sends it nowhere.
    let owned = json!({ "incidentId": incident, "action": "Mine", "owner": "viewer" });
    let owned = world.post("oncall", "follow-ups", owned).await.ok(201)["id"].as_str().unwrap().to_owned();
    world.post("viewer", &format!("follow-ups/{owned}"), json!({ "to": "jira" })).await.problem(403);
    world.post("oncall", &path, json!({ "state": "done" })).await.ok(200);
    let done = world.post("oncall", &path, json!({ "to": "jira" })).await.problem(409);
    assert!(done.contains("open it again"), "{done}");

    let private = json!({ "title": "Keys are public", "severity": "P2", "privateTo": ["oncall"] });
    let drill = json!({ "title": "Practice", "severity": "P2", "drill": true });
    for (body, expected) in [(private, "private"), (drill, "drill")] {
        let incident = world.post("oncall", "incidents", body).await.ok(201);
        let id = follow_up(&world, incident["incidentId"].as_str().unwrap()).await;
        world.outbox().await;
        let detail =
            world.post("oncall", &format!("follow-ups/{id}"), json!({ "to": "github" })).await.problem(409);
        assert!(detail.contains(expected), "{detail}");
        assert!(world.outbox().await.is_empty());
        // By hand it can be linked all the same.
        let linked = json!({ "system": "jira", "ticket": "SEC-1" });
        world.post("oncall", &format!("follow-ups/{id}"), linked).await.ok(200);
    }
}

#[tokio::test]
async fn forged_webhooks_are_refused() {
    let world = World::new().await;
    let incident = world.opened("P2").await;
    let id = exported(&world, &incident, Tracker::Jira, 7).await;
    let body = jira_event(7, Word::Done, at(10), &[]).to_string();
    for forged in [
        String::new(),
        "sha256=".to_owned(),
        signature("another secret", &body),
        signature("new-jira-secret", "{}"),
        signature("new-jira-secret", &body).replace("sha256=", ""),
        signature("new-jira-secret", &body).replace("sha256=", "sha1="),
        signature("github-secret", &body),
    ] {
        let headers = [("X-Atlassian-Webhook-Identifier", "1"), ("X-Hub-Signature", forged.as_str())];
        post(&world, "/webhooks/jira", &headers, &body).await.problem(401);
    }
    // GitHub's signature of a delivery about an issue is checked as of every other.
    let issue = github_event(7, Word::Done, at(10), "").to_string();
    let forged = signature("new-jira-secret", &issue);
    let headers =
        [("X-GitHub-Event", "issues"), ("X-GitHub-Delivery", "1"), ("X-Hub-Signature-256", forged.as_str())];
    post(&world, "/webhooks/github", &headers, &issue).await.problem(401);
    assert_eq!(shown(&world, &id).await["state"], "open");
    // While a secret is replaced both are good.
    let old = signature("old-jira-secret", &body);
    let headers = [("X-Atlassian-Webhook-Identifier", "1"), ("X-Hub-Signature", old.as_str())];
    assert_eq!(post(&world, "/webhooks/jira", &headers, &body).await.ok(200)["taken"], "recorded");
    let unnamed = [("X-Hub-Signature", old.as_str())];
    assert!(post(&world, "/webhooks/jira", &unnamed, &body).await.problem(422).contains("delivery's id"));
    let unreadable = jira(&world, "2", &json!({ "webhookEvent": "jira:issue_updated" })).await;
    assert!(unreadable.problem(422).contains("the issue has no"));
}

#[tokio::test]
async fn tracker_moves_its_own_follow_up_and_nothing_else() {
    let world = World::new().await;
    let incident = world.opened("P2").await;
    let id = exported(&world, &incident, Tracker::Github, 7).await;
    let by_hand = follow_up(&world, &incident).await;
    let linked = json!({ "system": "github", "ticket": "acme/shop#8" });
    world.post("oncall", &format!("follow-ups/{by_hand}"), linked).await.ok(200);

    let dropped = github_event(7, Word::NotPlanned, at(10), "");
    assert_eq!(github(&world, "issues", "a", &dropped).await["taken"], "recorded");
    let now = shown(&world, &id).await;
    assert_eq!(
        (&now["state"], &now["ticketState"], &now["lastComment"]),
        (&json!("dropped"), &json!("dropped"), &json!("closed in GitHub as not planned"))
    );
    assert_eq!(github(&world, "issues", "a", &dropped).await["taken"], "recorded", "the first answer");
    assert_eq!(github(&world, "issues", "b", &dropped).await["taken"], "unchanged");
    assert_eq!(shown(&world, &id).await["comments"], 1);
    let events = world.get("viewer", &format!("incidents/{incident}/events")).await.ok(200);
    let last = events["events"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["actor"], &last["authority"]), (&json!("github"), &json!("AUTO_ENGINE")), "{last}");
    assert_eq!(last["payload"]["ticketState"], "dropped");

    // Others' issues, one that was linked by hand, an issue of the same number at the other tracker, an event of another kind.
    for (delivery, event) in
        [("c", github_event(99, Word::Done, at(20), "")), ("d", github_event(8, Word::Done, at(20), ""))]
    {
        assert_eq!(github(&world, "issues", delivery, &event).await["taken"], "ignored");
    }
    assert_eq!(jira(&world, "e", &jira_event(7, Word::Done, at(20), &[])).await.ok(200)["taken"], "ignored");
    let mut labeled = github_event(7, Word::Done, at(20), "");
    labeled["action"] = json!("labeled");
    assert_eq!(github(&world, "issues", "f", &labeled).await["taken"], "ignored");
    assert_eq!(shown(&world, &by_hand).await["state"], "open");

    // People have the last word until the tracker has another one.
    let reopened = json!({ "state": "open", "reason": "we need it after all" });
    world.post("oncall", &format!("follow-ups/{id}"), reopened).await.ok(200);
    assert_eq!(github(&world, "issues", "g", &dropped).await["taken"], "unchanged");
    assert_eq!(shown(&world, &id).await["state"], "open");
    github(&world, "issues", "h", &github_event(7, Word::Done, at(30), "")).await;
    assert_eq!(shown(&world, &id).await["state"], "done");

    // Linked to another ticket by hand, it is the tracker's no more.
    let other = json!({ "system": "github", "ticket": "acme/shop#12" });
    world.post("oncall", &format!("follow-ups/{id}"), other).await.ok(200);
    assert_eq!(
        github(&world, "issues", "i", &github_event(7, Word::Open, at(40), "")).await["taken"],
        "unchanged"
    );
    assert_eq!(shown(&world, &id).await["state"], "done");
}

#[tokio::test]
async fn what_is_told_before_the_ticket_is_on_record_counts() {
    let world = World::new().await;
    let incident = world.opened("P2").await;
    let id = follow_up(&world, &incident).await;
    world.post("oncall", &format!("follow-ups/{id}"), json!({ "to": "github" })).await.ok(202);
    let mark = intent(&world, &id, Tracker::Github).await;
    let body = format!("text\n\n<!-- {mark} -->\n");
    let mut strangers = github_event(666, Word::NotPlanned, at(5), &body);
    strangers["issue"]["labels"] = json!([]);
    assert_eq!(github(&world, "issues", "a", &strangers).await["taken"], "ignored");
    let closed = github_event(7, Word::Done, at(10), &body);
    assert_eq!(github(&world, "issues", "b", &closed).await["taken"], "recorded");
    assert_eq!(shown(&world, &id).await["state"], "done");
    ticketed(&world, &id, Tracker::Github, "acme/shop#7", "7").await;
    let now = shown(&world, &id).await;
    assert_eq!((&now["state"], &now["ticket"]), (&json!("done"), &json!("acme/shop#7")));
    // From then on the issue on record is the one that counts, whatever others copy.
    let copied = github_event(666, Word::Open, at(20), &body);
    assert_eq!(github(&world, "issues", "c", &copied).await["taken"], "unchanged");
    // The key of another effect is no follow-up's.
    let foreign = jira_event(9, Word::Done, at(20), &["harmony".to_owned(), mark]);
    assert_eq!(jira(&world, "d", &foreign).await.ok(200)["taken"], "unchanged");
    assert_eq!(shown(&world, &id).await["state"], "done");
}

#[tokio::test]
async fn deleted_issue_drops_its_follow_up_and_is_not_made_again() {
    let world = World::new().await;
    let incident = world.opened("P2").await;
    let id = exported(&world, &incident, Tracker::Jira, 7).await;
    jira(&world, "a", &jira_event(7, Word::Deleted, at(10), &[])).await.ok(200);
    let now = shown(&world, &id).await;
    assert_eq!((&now["state"], &now["ticketState"]), (&json!("dropped"), &json!("deleted")));
    let again = world.post("oncall", &format!("follow-ups/{id}"), json!({ "to": "jira" })).await.problem(409);
    assert!(again.contains("was deleted in jira"), "{again}");
    let verified = world.get("admin", "log/verify").await.ok(200);
    assert_eq!(verified["verified"], true, "{verified}");
}

#[tokio::test]
async fn page_offers_the_trackers_for_what_may_leave_and_shows_the_ticket() {
    let world = World::new().await;
    let incident = world.opened("P2").await;
    let id = follow_up(&world, &incident).await;
    let session = Visitor::new(&world, "oncall").await;
    let list = "/orgs/default/follow-ups";
    let page = session.page(list).await;
    assert!(page.contains("Export to Jira") && page.contains("Export to GitHub"), "{page}");
    let sent = session.form(&format!("{list}/{id}"), "to=github").await;
    assert_eq!(sent.status, 303, "{}", sent.text);
    let page = session.page(list).await;
    assert!(page.contains("on its way to github") && !page.contains("Export to Jira"), "{page}");
    ticketed(&world, &id, Tracker::Github, "acme/shop#7", "7").await;
    for path in [list.to_owned(), format!("/orgs/default/incidents/{incident}")] {
        let page = session.page(&path).await;
        assert!(page.contains("href=\"https://tracker.example/7\""), "{path}: {page}");
        assert!(page.contains("acme/shop#7") && !page.contains("Export to"), "{path}: {page}");
    }
    let private = json!({ "title": "Keys are public", "severity": "P2", "privateTo": ["oncall"] });
    let private = world.post("oncall", "incidents", private).await.ok(201);
    follow_up(&world, private["incidentId"].as_str().unwrap()).await;
    assert!(!session.page(list).await.contains("Export to"), "nothing that would be refused");
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % most as u64).unwrap()
    }
}

/// What a tracker tells of one issue over its life, in its own order, and how the issue is at the end.
fn life(dice: &mut Dice, tracker: Tracker, number: u64) -> (Vec<Value>, Word) {
    let (mut now, mut word) = (0, Word::Open);
    let mut told = Vec::new();
    for _ in 0..=dice.below(5) {
        now += 1 + i64::try_from(dice.below(90)).unwrap();
        word = match (word, dice.below(8)) {
            (_, 0) => Word::Deleted,
            (Word::Open, 1 | 2) if tracker == Tracker::Github => Word::NotPlanned,
            (Word::Open, _) => Word::Done,
            _ => Word::Open,
        };
        told.push(match tracker {
            Tracker::Github => github_event(number, word, at(now), ""),
            Tracker::Jira => jira_event(number, word, at(now), &[]),
        });
        if word == Word::Deleted {
            break;
        }
    }
    (told, word)
}

#[tokio::test]
async fn repeated_and_shuffled_webhooks_end_in_the_trackers_state() {
    let full = std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full");
    let follow_ups: u64 = if full { 1_000 } else { 120 };
    let world = World::new().await;
    let mut dice = Dice(0x6578_706F_7274);
    let mut incident = String::new();
    let (mut expected, mut deliveries) = (Vec::new(), Vec::new());
    for number in 1..=follow_ups {
        if number % 20 == 1 {
            incident = world.opened("P3").await;
        }
        let tracker = if number % 2 == 0 { Tracker::Github } else { Tracker::Jira };
        let id = exported(&world, &incident, tracker, number).await;
        let (told, word) = life(&mut dice, tracker, number);
        let was_done = told.len() > 1 && word == Word::Deleted && is_done(&told[told.len() - 2]);
        for (place, event) in told.into_iter().enumerate() {
            // Each comes one to three times: again under its own id, and as what is sent anew under another.
            for copy in 0..=dice.below(3) {
                deliveries.push((tracker, format!("{number}-{place}-{}", copy / 2), event.clone()));
            }
        }
        expected.push((id, word, was_done));
    }
    for place in (1..deliveries.len()).rev() {
        deliveries.swap(place, dice.below(place + 1));
    }
    for (tracker, delivery, event) in &deliveries {
        let answer = match tracker {
            Tracker::Github => github(&world, "issues", delivery, event).await,
            Tracker::Jira => jira(&world, delivery, event).await.ok(200),
        };
        assert_ne!(answer["taken"], "ignored", "{event}");
    }
    let mut ended = [0; 4];
    for (id, word, was_done) in expected {
        let now = shown(&world, &id).await;
        let state = match word {
            Word::Open => "open",
            Word::Done => "done",
            Word::NotPlanned => "dropped",
            // What was done before it was deleted was done.
            Word::Deleted if was_done => "done",
            Word::Deleted => "dropped",
        };
        assert_eq!(now["state"], state, "{word:?}: {now}");
        assert_eq!(now["ticketState"] == "deleted", word == Word::Deleted, "{now}");
        ended[word as usize] += 1;
    }
    assert!(ended.iter().all(|count| *count > 0), "every end occurs: {ended:?}");
    let verified = world.get("admin", "log/verify").await.ok(200);
    assert_eq!(verified["verified"], true, "{verified}");
}

fn is_done(event: &Value) -> bool {
    let category = &event["issue"]["fields"]["status"]["statusCategory"]["key"];
    *category == "done" || event["issue"]["state_reason"] == "completed"
}

#[tokio::test]
async fn text_of_an_open_ticket_is_told_as_it_is() {
    let world = World::new().await;
    let incident = world.opened("P2").await;
    let id = exported(&world, &incident, Tracker::Jira, 7).await;
    jira(&world, "a", &jira_event(7, Word::Done, at(10), &[])).await.ok(200);
    jira(&world, "b", &jira_event(7, Word::Open, at(20), &[])).await.ok(200);
    let now = shown(&world, &id).await;
    assert_eq!((&now["state"], &now["lastComment"]), (&json!("open"), &json!("opened again in Jira")));
    let timeline = world.get("viewer", &format!("incidents/{incident}/timeline")).await.ok(200).to_string();
    for told in ["export to jira", "ticket done", "opened again in Jira"] {
        assert!(timeline.contains(told), "{told} in {timeline}");
    }
}
