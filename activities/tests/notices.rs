//! Messages to stakeholders, from the command to the mail server and to Slack: a real store, the stand-ins over their own
//! protocols, and a worker that may be killed at any point.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use std::{path::Path, sync::Arc, time::Duration};

use harmony_activities::{Carried, DefaultFlags, Notices, Undone};
use harmony_capabilities::{
    mail::{Mail, MailSettings},
    slack::{ChannelDraft, Slack},
};
use harmony_eventlog::{Append, Onward, Pending, SharedLog, SqliteLog, Target};
use harmony_incidents::{
    Command, Context, Directory, IncidentId, OrgId, RuleSet, RulesSource,
    attestation::{AttestationKeys, UnsubscribeClaim},
    command::ResolutionInput,
    follow_up::FollowUp,
    judge,
    judge::payload,
    log::{
        Authority, Cause, IncidentCreated, IncidentNoteAdded, IncidentPrivacyChanged, IncidentUpdated,
        ResolutionType, Severity, State, Text, payload::Kind,
    },
    record::SaltKey,
    stakeholders::Subscription,
};
use harmony_sandbox::{Sandbox, SandboxOptions};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::TempDir;
use url::Url;

const LEASE: Duration = Duration::from_secs(60);

struct Fixed(Arc<RuleSet>);

impl RulesSource for Fixed {
    fn current(&self) -> Arc<RuleSet> {
        self.0.clone()
    }
}

/// Carries one item out.
async fn carried(notices: &Notices, pending: &Pending) -> Carried {
    let FollowUp::Notice(notice) = pending.item.follow_up().unwrap() else { panic!("{pending:?}") };
    notices.carry(pending, &notice).await
}

struct World {
    log: SharedLog,
    rules: Arc<RuleSet>,
    sandbox: Sandbox,
    notices: Notices,
    slack: Slack,
    keys: AttestationKeys,
    _dir: TempDir,
}

async fn open(path: &Path) -> SharedLog {
    let log = SqliteLog::open(path, SaltKey::parse(&"22".repeat(32)).unwrap()).await.unwrap();
    Arc::new(log.fanning_out(Onward { sinks: Vec::new(), notices: true }))
}

fn directory() -> Directory {
    let person = |id: &str, role: &str, email: &str| {
        format!(
            "[[principal]]\nid = \"{id}\"\nname = \"Mx {id}\"\n{email}[principal.roles]\ndefault = [\"{role}\"]\n"
        )
    };
    let all = [
        person("viewer", "incident-viewer", "email = \"viewer@example.com\"\n"),
        person("oncall", "sre-oncall", "email = \"oncall@example.com\"\n"),
        person("admin", "org-admin", "email = \"admin@example.com\"\n"),
        person("mute", "incident-viewer", ""),
    ];
    Directory::parse(&all.concat()).unwrap()
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir.path().join("harmony.db")).await;
        let sandbox =
            Sandbox::start(SandboxOptions::on_free_ports("signing".to_owned().into())).await.unwrap();
        let rules = Arc::new(RuleSet { directory: directory(), ..RuleSet::default() });
        let keys = AttestationKeys::parse(&"11".repeat(32)).unwrap();
        let slack = Slack::new(&sandbox.base_urls().slack, "xoxb-sandbox".into()).unwrap();
        let settings =
            MailSettings::parse(&sandbox.base_urls().mail, None, "Harmony <harmony@example.com>").unwrap();
        let notices = Notices {
            log: log.clone(),
            rules: Arc::new(Fixed(rules.clone())),
            flags: Arc::new(DefaultFlags),
            keys: keys.clone(),
            mail: Some(Mail::new(&settings, None).unwrap()),
            slack: Some(slack.clone()),
            console: Some(Url::parse("https://harmony.example").unwrap()),
        };
        Self { log, rules, sandbox, notices, slack, keys, _dir: dir }
    }

    async fn subscribe(&self, subject: &str, to: &str) -> Subscription {
        let one =
            Subscription::new(subject.parse().unwrap(), to.parse().unwrap(), "oncall", Timestamp::now());
        self.log.subscribe(&OrgId::default(), &one).await.unwrap();
        one
    }

    async fn say(&self, target: Target, key: &str, command: Command) -> IncidentId {
        let context = Context {
            actor: "oncall".to_owned(),
            authority: Authority::OnCallSre,
            cause: Cause::default(),
            occurred_at: Timestamp::now(),
        };
        let appended = self
            .log
            .append(Append {
                org: &OrgId::default(),
                target,
                key,
                command: &command,
                context: &context,
                expected_seq: None,
                run_id: None,
                judge: &|head| judge(head, &command, &context, self.rules.rules()),
                follow: &|_| Vec::new(),
            })
            .await
            .unwrap();
        appended.incident().unwrap()
    }

    async fn declared(&self, change: impl FnOnce(&mut IncidentCreated)) -> IncidentId {
        let mut incident = IncidentCreated {
            title: Some(Text::plain("Checkout is down")),
            severity: Severity::P1.into(),
            service_name: "checkout".to_owned(),
            ..IncidentCreated::default()
        };
        change(&mut incident);
        self.say(
            Target::New { year: 2026 },
            &format!("declare-{}", Timestamp::now()),
            Command::Declare { incident },
        )
        .await
    }

    /// Update, note and resolution, in this order.
    async fn led(&self, id: &IncidentId) {
        let at = || Target::Named(id.clone().into());
        let record = |kind| Command::Record { payload: payload(kind) };
        let update = IncidentUpdated { message: Some(Text::plain("we roll back")), ..Default::default() };
        let note = IncidentNoteAdded { note: Some(Text::plain("for the team alone")) };
        self.say(at(), &format!("open-{id}"), moved(State::Open)).await;
        self.say(at(), &format!("update-{id}"), record(Kind::IncidentUpdated(update))).await;
        self.say(at(), &format!("note-{id}"), record(Kind::IncidentNoteAdded(note))).await;
        self.say(at(), &format!("resolve-{id}"), moved(State::Resolved)).await;
    }

    /// What a worker does with one claimed item.
    async fn carry(&self, pending: &Pending) {
        match carried(&self.notices, pending).await {
            Ok(()) => self.log.done(&pending.id).await.unwrap(),
            Err(Undone::Waits { wait, why }) => self.log.later(&pending.id, wait, &why).await.unwrap(),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Carries out what is there, and what follows from it.
    async fn worked(&self) {
        loop {
            for pending in &self.log.claim(16, LEASE).await.unwrap() {
                self.carry(pending).await;
            }
            if self.log.backlog().await.unwrap().0 == 0 {
                return;
            }
            // Slack takes a message a second.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Every turn ends with the worker's death: an item is carried out, and nobody marks it as done.
    async fn worked_by_workers_who_die(&self, deaths: usize) {
        for _ in 0..deaths {
            for pending in &self.log.claim(16, Duration::ZERO).await.unwrap() {
                carried(&self.notices, pending).await.unwrap();
            }
        }
    }

    async fn state(&self, origin: &str) -> Value {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        http.get(format!("{origin}/_sandbox/state")).send().await.unwrap().json().await.unwrap()
    }

    async fn mail(&self) -> Vec<Value> {
        self.state(&self.sandbox.origins().mail).await["messages"].as_array().unwrap().clone()
    }

    async fn said_in(&self, channel: &str) -> Vec<String> {
        let state = self.state(&self.sandbox.origins().slack).await;
        let messages = state["messages"].as_array().unwrap().iter();
        messages
            .filter(|one| one["channel"] == channel)
            .map(|one| one["text"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn moved(to: State) -> Command {
    Command::ChangeStatus {
        to,
        reason: "because".to_owned(),
        justification: String::new(),
        resolution: (to == State::Resolved).then(|| ResolutionInput {
            summary: "Rolled back".to_owned(),
            kind: ResolutionType::Fixed,
            resolved_by: "oncall".to_owned(),
        }),
    }
}

fn ends(mail: &[Value], to: &str) -> Vec<String> {
    let to_them = mail.iter().filter(|one| one["to"][0] == to);
    to_them.map(|one| one["subject"].as_str().unwrap().rsplit(": ").next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_change_that_matters_is_one_message_to_each() {
    let world = World::new().await;
    let channel = ChannelDraft { name: "status".to_owned(), marker: "status".to_owned(), private: false };
    let channel = world.slack.ensure_channel(&channel).await.unwrap().id;
    world.subscribe("severity:P1", "person:viewer").await;
    // Reached three ways, told once.
    world.subscribe("all", "email:Viewer@example.com").await;
    world.subscribe("service:checkout", "person:viewer").await;
    world.subscribe("service:checkout", &format!("slack:{channel}")).await;
    world.subscribe("service:search", "email:jo@example.com").await;
    let id = world.declared(|_| {}).await;
    world.led(&id).await;
    world.worked().await;
    let mail = world.mail().await;
    assert_eq!(ends(&mail, "viewer@example.com"), ["declared", "update", "resolved"]);
    assert_eq!(mail.len(), 3, "{mail:?}");
    let said = world.said_in(&channel).await;
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[1].contains("we roll back") && said[1].contains("|Unsubscribe this channel>"),
        "{}",
        said[1]
    );
    let raw = mail[2]["raw"].as_str().unwrap();
    assert!(raw.contains("Resolved by Mx oncall: Rolled back"), "{raw}");
    assert!(raw.contains(&format!("https://harmony.example/orgs/default/incidents/{id}")), "{raw}");
    assert!(!raw.contains("for the team alone"));
}

#[tokio::test]
async fn worker_that_is_killed_repeats_at_most_what_can_be_told_to_be_one() {
    let world = World::new().await;
    let channel = ChannelDraft { name: "status".to_owned(), marker: "status".to_owned(), private: false };
    let channel = world.slack.ensure_channel(&channel).await.unwrap().id;
    world.subscribe("severity:P1", "person:viewer").await;
    world.subscribe("severity:P1", &format!("slack:{channel}")).await;
    let id = world.declared(|_| {}).await;
    // Killed twice: while it made the items for the recipients, and after it had sent to both.
    world.worked_by_workers_who_die(2).await;
    world.worked().await;
    let mail = world.mail().await;
    let mut ids: Vec<&str> = mail.iter().map(|one| one["messageId"].as_str().unwrap()).collect();
    ids.dedup();
    assert_eq!((mail.len(), ids.len()), (2, 1), "once more, under the same id: {mail:?}");
    assert_eq!(mail[0]["raw"], mail[1]["raw"], "to the byte");
    assert_eq!(world.said_in(&channel).await.len(), 1, "in Slack it is found");
    world.led(&id).await;
    world.worked().await;
    assert_eq!(ends(&world.mail().await[2..], "viewer@example.com"), ["update", "resolved"]);
}

#[tokio::test]
async fn private_incident_reaches_only_whom_it_names() {
    let world = World::new().await;
    for to in ["person:viewer", "person:oncall", "person:admin", "email:jo@example.com"] {
        world.subscribe("all", to).await;
        world.subscribe("severity:P1", to).await;
    }
    let id = world
        .declared(|incident| {
            incident.private = true;
            incident.private_to = vec!["oncall".to_owned()];
        })
        .await;
    world.worked().await;
    let mail = world.mail().await;
    assert_eq!((mail.len(), mail[0]["to"][0].as_str()), (1, Some("oncall@example.com")), "{mail:?}");
    // One that is made private while a message waits is told to nobody any more.
    let other = world.declared(|_| {}).await;
    let claimed = world.log.claim(16, LEASE).await.unwrap();
    world.carry(&claimed[0]).await;
    let hide =
        IncidentPrivacyChanged { private: true, principals: vec!["oncall".to_owned()], ..Default::default() };
    world
        .say(
            Target::Named(other.into()),
            "hide",
            Command::Record { payload: payload(Kind::IncidentPrivacyChanged(hide)) },
        )
        .await;
    world.worked().await;
    let told: Vec<Value> = world.mail().await.iter().map(|one| one["to"][0].clone()).collect();
    assert_eq!(told, ["oncall@example.com", "oncall@example.com"], "{id}");
}

#[tokio::test]
async fn drill_reaches_nobody() {
    let world = World::new().await;
    world.subscribe("all", "person:viewer").await;
    let id = world.declared(|incident| incident.drill = true).await;
    world.led(&id).await;
    world.worked().await;
    assert!(world.mail().await.is_empty());
}

#[tokio::test]
async fn nothing_is_sent_to_whoever_unsubscribed_since() {
    let world = World::new().await;
    let one = world.subscribe("all", "person:viewer").await;
    world.declared(|_| {}).await;
    let claimed = world.log.claim(16, LEASE).await.unwrap();
    world.carry(&claimed[0]).await;
    world.log.unsubscribe(&OrgId::default(), &one.id).await.unwrap();
    world.worked().await;
    assert!(world.mail().await.is_empty());
}

#[tokio::test]
async fn link_in_a_message_is_one_that_the_console_takes() {
    let world = World::new().await;
    let one = world.subscribe("all", "email:jo@example.com").await;
    world.declared(|_| {}).await;
    world.worked().await;
    let mail = world.mail().await;
    let header = mail[0]["listUnsubscribe"].as_str().unwrap();
    let link = Url::parse(header.trim_matches(['<', '>'])).unwrap();
    assert_eq!(link.path(), format!("/unsubscribe/default/{}", one.id));
    let of = |name: &str| link.query_pairs().find(|(known, _)| known == name).unwrap().1.into_owned();
    let claim =
        UnsubscribeClaim { org: "default", subscription: one.id.as_str(), at_us: of("at").parse().unwrap() };
    assert!(world.keys.unsubscribe_holds(&claim, &of("mac")));
}

#[tokio::test]
async fn what_is_given_up_stands_at_the_subscription_until_a_message_arrives() {
    let world = World::new().await;
    world.subscribe("all", "person:mute").await;
    // Slack knows no such channel.
    world.subscribe("all", "slack:C0NOWHERE").await;
    world.declared(|_| {}).await;
    world.worked().await;
    let all = world.log.subscriptions(&OrgId::default()).await.unwrap();
    let why = |to: &str| {
        let one = all.iter().find(|one| one.to.to_string() == to).unwrap();
        one.problem.as_ref().unwrap().reason.clone()
    };
    assert_eq!(why("person:mute"), "the directory has no e-mail address of mute");
    assert!(why("slack:C0NOWHERE").contains("channel_not_found"), "{}", why("slack:C0NOWHERE"));
}

#[tokio::test]
async fn mail_that_nobody_takes_is_tried_for_a_day_and_is_forgotten_once_a_message_arrives() {
    let mut world = World::new().await;
    world.subscribe("all", "email:jo@example.com").await;
    let id = world.declared(|_| {}).await;
    // Nobody listens there.
    let away = MailSettings::parse("smtp://127.0.0.1:1", None, "Harmony <harmony@example.com>").unwrap();
    let relay = world.notices.mail.replace(Mail::new(&away, None).unwrap());
    let mut pending = world.log.claim(16, LEASE).await.unwrap().remove(0);
    world.carry(&pending).await;
    pending = world.log.claim(16, LEASE).await.unwrap().remove(0);
    let tried = |ago: SignedDuration| {
        let pending = Pending { created_at: Timestamp::now() - ago, ..pending.clone() };
        let notices = &world.notices;
        async move { carried(notices, &pending).await }
    };
    let minute = SignedDuration::from_mins(1);
    for ago in [SignedDuration::ZERO, SignedDuration::from_hours(24) - minute] {
        let outcome = tried(ago).await;
        assert!(matches!(outcome, Err(Undone::Waits { .. })), "{ago} after it was asked for");
    }
    assert!(world.log.subscriptions(&OrgId::default()).await.unwrap()[0].problem.is_none());
    assert!(tried(SignedDuration::from_hours(24)).await.is_ok());
    let problem = world.log.subscriptions(&OrgId::default()).await.unwrap()[0].problem.clone().unwrap();
    assert_eq!(problem.incident, id);
    world.log.done(&pending.id).await.unwrap();

    world.notices.mail = relay;
    world.declared(|_| {}).await;
    world.worked().await;
    assert!(!world.mail().await.is_empty());
    assert!(world.log.subscriptions(&OrgId::default()).await.unwrap()[0].problem.is_none());
}
