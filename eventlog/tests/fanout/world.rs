//! A log in a file with sinks, and somebody who carries it to them.

use std::sync::Arc;

use harmony_eventlog::{
    Append, Appended, Onward, SharedLog, SinkName, SqliteLog, Target,
    fanout::{FanOut, Sink, Webhook, WebhookSecret},
};
use harmony_incidents::{
    Command, Context, IncidentId, OrgId, RuleSet, judge,
    judge::payload,
    log::{Authority, Cause, IncidentCreated, IncidentNoteAdded, Severity, Text, payload::Kind},
    record::SaltKey,
};
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Base64 of 24 bytes.
pub(crate) const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const NEXT_SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

pub(crate) struct World {
    pub(crate) log: SharedLog,
    directory: TempDir,
}

/// Somebody who carries; stops, as if killed, when dropped.
pub(crate) struct Carrier {
    running: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Carrier {
    pub(crate) async fn stopped(mut self) {
        self.stop.cancel();
        (&mut self.running).await.unwrap();
    }
}

pub(crate) fn sink(name: &str) -> SinkName {
    name.parse().unwrap()
}

pub(crate) fn id(number: u64) -> IncidentId {
    IncidentId::new(2026, number)
}

pub(crate) fn secret(base64: &str) -> WebhookSecret {
    WebhookSecret::parse(&SecretString::from(format!("whsec_{base64}"))).unwrap()
}

/// A webhook at `/hook` of this address, signed with these.
pub(crate) fn webhook(name: &str, at: std::net::SocketAddr, secrets: &[&str]) -> Arc<dyn Sink> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let url = format!("http://{at}/hook").parse().unwrap();
    let secrets = secrets.iter().map(|one| secret(one)).collect();
    Arc::new(Webhook::new(sink(name), client, url, secrets).unwrap())
}

impl World {
    pub(crate) async fn new(sinks: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let salt = SaltKey::parse(&"5a".repeat(32)).unwrap();
        let log = SqliteLog::open(&directory.path().join("harmony.db"), salt).await.unwrap();
        let log =
            log.fanning_out(Onward { sinks: sinks.iter().map(|name| sink(name)).collect(), notices: false });
        Self { log: Arc::new(log), directory }
    }

    pub(crate) fn carry(&self, sinks: Vec<Arc<dyn Sink>>) -> Carrier {
        assert!(self.directory.path().exists());
        let stop = CancellationToken::new();
        let running = tokio::spawn(FanOut::new(self.log.clone(), sinks).run(stop.clone()));
        Carrier { running, stop }
    }

    pub(crate) async fn declare(&self, key: &str) -> IncidentId {
        let incident = IncidentCreated {
            title: Some(Text::plain(key)),
            severity: Severity::P1.into(),
            ..IncidentCreated::default()
        };
        self.say(Target::New { year: 2026 }, key, Command::Declare { incident }).await.incident().unwrap()
    }

    pub(crate) async fn note(&self, number: u64, text: &str) {
        let note = IncidentNoteAdded { note: Some(Text::plain(text)) };
        let command = Command::Record { payload: payload(Kind::IncidentNoteAdded(note)) };
        self.say(Target::Named(id(number).into()), text, command).await;
    }

    pub(crate) async fn say(&self, target: Target, key: &str, command: Command) -> Appended {
        let rules = RuleSet::default();
        let context = Context {
            actor: "oncall".to_owned(),
            authority: Authority::OnCallSre,
            cause: Cause::default(),
            occurred_at: "2026-03-01T02:00:00.000001Z".parse().unwrap(),
        };
        self.log
            .append(Append {
                org: &OrgId::default(),
                target,
                key,
                command: &command,
                context: &context,
                expected_seq: None,
                run_id: None,
                judge: &|head| judge(head, &command, &context, rules.rules()),
                follow: &|_| Vec::new(),
            })
            .await
            .unwrap()
    }

    /// Waits until nothing waits for a sink any more: what was taken is marked afterwards.
    pub(crate) async fn settled(&self, name: &str) {
        let waiting = async {
            while self.log.lane_backlog(&sink(name)).await.unwrap().records > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(90), waiting).await.unwrap();
    }
}

/// Seqs of an incident's events, in order of arrival.
pub(crate) fn seqs(events: &[Value], number: u64) -> Vec<u64> {
    let own = events.iter().filter(|event| event["subject"] == id(number).as_str());
    own.map(|event| event["data"]["seq"].as_u64().unwrap()).collect()
}

/// Without repetitions: each seq where it came first.
pub(crate) fn firsts(seqs: &[u64]) -> Vec<u64> {
    let mut firsts: Vec<u64> = Vec::new();
    for seq in seqs {
        if !firsts.contains(seq) {
            firsts.push(*seq);
        }
    }
    firsts
}
