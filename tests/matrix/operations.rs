//! The operations with an effect: what each needs to be there, what it is called with, and how its effects are counted.

use std::{path::Path, sync::Arc};

use harmony_blueprints::contracts::{Scope, capability};
use harmony_capabilities::{
    error::Attempt,
    pagerduty::{self, PagerDuty},
    slack::{self, MessageRef, Slack},
    statuspage::{self, Statuspage},
};
use harmony_eventlog::{Append, SharedLog, SqliteLog, Target};
use harmony_incidents::{
    Command, Context, Directory, IncidentId, OrgId, RuleSet, WorkflowId, WorkflowType,
    judge::{judge, payload},
    log::{
        ActionItemAdded, Authority, Cause, IncidentCreated, Payload, PostMortemRendered, Severity, Text,
        payload::Kind,
    },
    record::SaltKey,
};
use harmony_sandbox::Sandbox;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use uuid::Uuid;

const DIRECTORY: &str = r#"
[[principal]]
id = "operator"
slack_user_id = "U0OPERATOR"
[principal.roles]
default = ["sre-oncall"]

[[principal]]
id = "commander"
slack_user_id = "U0COMMANDER"
[principal.roles]
default = ["incident-commander"]
"#;
const STEP: &str = "step";

/// With the paths of the vendors' APIs.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct BaseUrls {
    pub(crate) slack: String,
    pub(crate) pagerduty: String,
    pub(crate) statuspage: String,
    pub(crate) confluence: String,
    pub(crate) jira: String,
    pub(crate) github: String,
}

/// One operation with an effect.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    /// As the table names it.
    pub(crate) name: &'static str,
    pub(crate) activity: &'static str,
    pub(crate) capability: &'static str,
    pub(crate) vendor: &'static str,
    /// Method and part of the path of the request that has the effect.
    pub(crate) call: (&'static str, &'static str),
    /// Whether the vendor itself tells two of it apart, or setting it twice is one effect.
    pub(crate) keyed: bool,
    /// How often the rules are asked for before the record.
    pub(crate) rules_asked: u32,
    /// How often the vendor shows the effect.
    pub(crate) effects: fn(&Value) -> usize,
}

pub(crate) fn all() -> Vec<Operation> {
    let slack = |activity, call, keyed, rules_asked, effects| Operation {
        name: activity,
        activity,
        capability: capability::SLACK,
        vendor: "slack",
        call: ("POST", call),
        keyed,
        rules_asked,
        effects,
    };
    let paging = |activity, call, keyed, effects| Operation {
        name: activity,
        activity,
        capability: capability::PAGERDUTY,
        vendor: "pagerduty",
        call,
        keyed,
        rules_asked: 0,
        effects,
    };
    let public = |activity, method, keyed, effects| Operation {
        name: activity,
        activity,
        capability: capability::STATUSPAGE,
        vendor: "statuspage",
        call: (method, "/incidents"),
        keyed,
        rules_asked: 0,
        effects,
    };
    let issue = |name, capability, vendor, path| Operation {
        name,
        activity: "issue.open",
        capability,
        vendor,
        call: ("POST", path),
        keyed: false,
        // For the name of the follow-up's owner.
        rules_asked: 1,
        effects: |state| count(&state["issues"], |_| true),
    };
    vec![
        slack("channel.open", "conversations.create", true, 1, |state| count(&state["channels"], |_| true)),
        slack("channel.post", "chat.postMessage", false, 1, |state| {
            count(&state["messages"], |one| one["text"] == "It begins")
        }),
        slack("channel.settle", "chat.update", true, 0, |state| {
            count(&state["messages"], |one| one["text"] == "Settled")
        }),
        slack("channel.topic", "conversations.setTopic", true, 0, |state| {
            count(&state["channels"], |one| one["topic"].as_str().unwrap_or_default().contains(" P1 "))
        }),
        slack("channel.invite", "conversations.invite", true, 1, |state| {
            count(&state["channels"][0]["members"], |one| one == "U0COMMANDER")
        }),
        slack("channel.archive", "conversations.archive", true, 0, |state| {
            count(&state["channels"], |one| one["is_archived"] == true)
        }),
        paging("paging.open", ("POST", "/incidents"), true, |state| {
            count(&state["incidents"], |one| one["title"] == "Logins fail")
        }),
        paging("paging.urgency", ("PUT", "/incidents"), true, |state| {
            count(&state["incidents"], |one| one["urgency"] == "high")
        }),
        paging("paging.note", ("POST", "/notes"), false, |state| count(&state["notes"], |_| true)),
        paging("paging.resolve", ("PUT", "/incidents"), true, |state| {
            count(&state["incidents"], |one| one["status"] == "resolved")
        }),
        public("public.open", "POST", false, |state| {
            count(&state["incidents"], |one| one["name"] == "Logins fail")
        }),
        public("public.update", "PATCH", false, |state| {
            count(&state["incidents"][0]["incident_updates"], |one| one["body"] == "Better.")
        }),
        public("public.impact", "PATCH", true, |state| {
            count(&state["incidents"], |one| one["impact"] == "critical")
        }),
        public("public.resolve", "PATCH", false, |state| {
            count(&state["incidents"][0]["incident_updates"], |one| one["status"] == "resolved")
        }),
        issue("export to github", capability::GITHUB, "github", "/issues"),
        issue("export to jira", capability::JIRA, "jira", "/issue"),
        Operation {
            name: "review.publish",
            activity: "review.publish",
            capability: capability::CONFLUENCE,
            vendor: "confluence",
            call: ("POST", "/pages"),
            keyed: true,
            rules_asked: 0,
            effects: |state| count(&state["pages"], |_| true),
        },
    ]
}

fn count(list: &Value, wanted: impl Fn(&Value) -> bool) -> usize {
    list.as_array().map_or(0, |list| list.iter().filter(|one| wanted(one)).count())
}

impl Operation {
    /// Makes what must be there before, and gives the arguments.
    pub(crate) async fn prepare(self, scene: &Scene) -> Value {
        match self.activity {
            "channel.open" => json!({ "title": "Logins fail", "severity": "P1" }),
            "channel.post" => json!({
                "channel": scene.channel().await, "headline": "It begins", "lines": ["at 09:00"],
                "output": null, "pin": true, "ask": null,
            }),
            "channel.settle" => {
                let MessageRef { channel, ts } = scene.message().await;
                json!({ "channel": channel, "ts": ts, "headline": "Settled", "lines": [] })
            }
            "channel.topic" => {
                json!({ "channel": scene.channel().await, "title": "Logins fail", "severity": "P1" })
            }
            "channel.invite" => json!({ "channel": scene.channel().await, "principals": ["commander"] }),
            "channel.archive" => json!({ "channel": scene.channel().await }),
            "paging.open" => {
                json!({ "title": "Logins fail", "details": "", "severity": "P1", "page": null })
            }
            "paging.urgency" => json!({ "id": scene.paging().await, "severity": "P1" }),
            "paging.note" => json!({ "id": scene.paging().await, "text": "It spreads." }),
            "paging.resolve" => json!({ "incident": { "id": scene.paging().await } }),
            "public.open" => json!({ "title": "Logins fail", "message": "We look.", "components": [] }),
            "public.update" => {
                json!({ "id": scene.public().await, "status": "monitoring", "message": "Better." })
            }
            "public.impact" => json!({ "id": scene.public().await, "severity": "P1" }),
            "public.resolve" => json!({ "id": scene.public().await, "message": "It is over." }),
            "issue.open" => json!({ "tracker": self.vendor, "followUp": scene.follow_up().await }),
            "review.publish" => scene.rendered().await,
            other => panic!("nothing is known of {other}"),
        }
    }
}

/// The stand-ins and the log of one cell.
pub(crate) struct Scene {
    pub(crate) dir: TempDir,
    pub(crate) base_urls: BaseUrls,
    origins: BaseUrls,
    http: reqwest::Client,
    log: SharedLog,
}

pub(crate) fn rules() -> RuleSet {
    RuleSet { directory: Directory::parse(DIRECTORY).unwrap(), ..RuleSet::default() }
}

pub(crate) async fn open_log(dir: &Path) -> SharedLog {
    let salt = SaltKey::parse(&"5a".repeat(32)).unwrap();
    Arc::new(SqliteLog::open(&dir.join("harmony.db"), salt).await.unwrap())
}

fn incident() -> IncidentId {
    IncidentId::new(2026, 1)
}

fn at() -> Timestamp {
    "2026-03-01T02:00:00Z".parse().unwrap()
}

impl Scene {
    pub(crate) async fn new(sandbox: &Sandbox) -> Self {
        let dir = TempDir::new().unwrap();
        let log = open_log(dir.path()).await;
        let urls = |all: harmony_sandbox::Origins| BaseUrls {
            slack: all.slack,
            pagerduty: all.pagerduty,
            statuspage: all.statuspage,
            confluence: all.confluence,
            jira: all.jira,
            github: all.github,
        };
        let scene = Self {
            base_urls: urls(sandbox.base_urls()),
            origins: urls(sandbox.origins()),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            log,
            dir,
        };
        let created = IncidentCreated {
            title: Some(Text::plain("Logins fail")),
            severity: Severity::P1.into(),
            ..IncidentCreated::default()
        };
        let declare = Command::Declare { incident: created };
        scene.append("declare", Target::New { year: 2026 }, &declare).await;
        scene
    }

    async fn append(&self, key: &str, target: Target, command: &Command) {
        let context = Context {
            actor: "operator".to_owned(),
            authority: Authority::OnCallSre,
            cause: Cause::default(),
            occurred_at: at(),
        };
        let rules = rules();
        let append = Append {
            org: &OrgId::default(),
            target,
            key,
            command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &|head| judge(head, command, &context, rules.rules()),
            follow: &|_| Vec::new(),
        };
        self.log.append(append).await.unwrap();
    }

    /// Where the step stands.
    pub(crate) fn scope(&self) -> Scope {
        Scope {
            org: OrgId::default(),
            stream: incident().into(),
            workflow_id: WorkflowId::new(WorkflowType::Initiate, &OrgId::default(), &incident()),
            run_id: "run".to_owned(),
            blueprint: "initiate".to_owned(),
            attempt: 1,
            step: STEP.to_owned(),
            actor: "operator".to_owned(),
            authority: Authority::OnCallSre,
            occurred_at: at(),
        }
    }

    /// How many records say that the step succeeded, and their warnings.
    pub(crate) async fn records(&self) -> (usize, Vec<String>) {
        let entries = self.log.records(&OrgId::default(), &incident(), 0, 100).await.unwrap();
        let kinds = entries.into_iter().filter_map(|entry| entry.record.payload?.kind);
        let mut warnings = Vec::new();
        let mut records = 0;
        for kind in kinds {
            if let Kind::StepSucceeded(p) = kind
                && p.step == STEP
            {
                records += 1;
                warnings.extend(p.warnings.iter().map(|text| text.shown().to_owned()));
            }
        }
        (records, warnings)
    }

    /// The tickets on record, each as often as it was put there.
    pub(crate) async fn tickets(&self) -> Vec<String> {
        let entries = self.log.records(&OrgId::default(), &incident(), 0, 100).await.unwrap();
        let kinds = entries.into_iter().filter_map(|entry| entry.record.payload?.kind);
        let changes = kinds.filter_map(|kind| match kind {
            Kind::FollowUpChanged(p) => Some(p.ticket),
            _ => None,
        });
        changes.filter(|ticket| !ticket.is_empty()).collect()
    }

    /// What a stand-in holds.
    pub(crate) async fn state(&self, vendor: &str) -> Value {
        let answer = self.http.get(format!("{}/_sandbox/state", self.origin(vendor))).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// Orders a fault.
    pub(crate) async fn order(&self, vendor: &str, order: &Value) {
        let url = format!("{}/_sandbox/faults", self.origin(vendor));
        let answer = self.http.post(url).body(order.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{order}");
    }

    fn origin(&self, vendor: &str) -> &str {
        match vendor {
            "slack" => &self.origins.slack,
            "pagerduty" => &self.origins.pagerduty,
            "statuspage" => &self.origins.statuspage,
            "jira" => &self.origins.jira,
            "github" => &self.origins.github,
            _ => &self.origins.confluence,
        }
    }

    fn slack(&self) -> Slack {
        Slack::new(&self.base_urls.slack, "xoxb-sandbox".into()).unwrap()
    }

    async fn channel(&self) -> String {
        let draft = slack::ChannelDraft {
            name: "inc-2026-0001".to_owned(),
            marker: "INC-2026-0001".to_owned(),
            private: false,
        };
        self.slack().ensure_channel(&draft).await.unwrap().id
    }

    async fn message(&self) -> MessageRef {
        let channel = self.channel().await;
        let message = slack::Message { text: "Asks".to_owned(), blocks: Vec::new() };
        self.slack().send_message(Attempt::First, &Uuid::from_u128(1), &channel, &message).await.unwrap()
    }

    async fn paging(&self) -> String {
        let from = "operator@example.com".to_owned();
        let pagerduty = PagerDuty::new(&self.base_urls.pagerduty, "sandbox".into(), from).unwrap();
        let draft = pagerduty::IncidentDraft {
            key: Uuid::from_u128(1),
            title: "Made before".to_owned(),
            service_id: "PSANDBOX".to_owned(),
            high_urgency: false,
            details: String::new(),
            escalation_policy_id: None,
        };
        pagerduty.ensure_incident(&draft).await.unwrap().id
    }

    async fn public(&self) -> String {
        let statuspage =
            Statuspage::new(&self.base_urls.statuspage, "sandbox".into(), "sandboxpage1").unwrap();
        let draft = statuspage::IncidentDraft {
            name: "Made before".to_owned(),
            body: "We look.".to_owned(),
            status: statuspage::IncidentStatus::Investigating,
            impact: None,
            components: Vec::new(),
        };
        statuspage.create_incident(Attempt::First, &Uuid::from_u128(1), &draft).await.unwrap().id
    }

    /// A follow-up to export: the record that added it.
    async fn follow_up(&self) -> u64 {
        let added = Kind::ActionItemAdded(ActionItemAdded {
            action: Some(Text::plain("Alert on queue length")),
            owner: "operator".to_owned(),
            due: "2026-12-31".to_owned(),
            priority: "high".to_owned(),
        });
        let command = Command::Record { payload: payload(added) };
        self.append("add", Target::Named(incident().into()), &command).await;
        self.log.state(&OrgId::default(), &incident()).await.unwrap().unwrap().action_items[0].seq
    }

    /// A review that was rendered, and the draft that publishes it.
    async fn rendered(&self) -> Value {
        let page = json!({ "markdown": "# Review", "title": "INC-2026-0001: Logins fail" }).to_string();
        let digest = Sha256::digest(page.as_bytes()).to_vec();
        let rendered = Kind::PostMortemRendered(PostMortemRendered {
            attempt: 1,
            digest: digest.clone(),
            upto_seq: 1,
            page: Some(Text::plain(page)),
        });
        let rendered: Payload = payload(rendered);
        self.append("render", Target::Named(incident().into()), &Command::Record { payload: rendered }).await;
        json!({
            "digest": hex::encode(digest),
            "title": "INC-2026-0001: Logins fail",
            "target": { "spaceKey": "OPS", "labels": ["post-mortem"] },
        })
    }
}
