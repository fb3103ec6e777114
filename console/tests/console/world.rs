//! One console with its own log: a directory of people, a shelf with one runbook, a Temporal that can be away.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use harmony_blueprints::contracts::Tracker;
use harmony_capabilities::slack::{SlackReplies, SlackSockets};
use harmony_catalog::windows::{EnvironmentPolicies, EnvironmentPolicy};
use harmony_console::{
    AskedRunbook, Capacity, CatalogInput, Cell, CheckedRunbook, Contents, DeployWebhooks, Doors, InputField,
    OutputDoors, Routers, Runbooks, Site, Temporal, Timeouts, UpdateTemplate, UpdateTemplateSource,
    UpdateTemplates, Webhooks, oidc::Oidc, routers, serve,
};
use harmony_eventlog::{Append, Appended, CheckpointKey, OutboxItem, Pending, SharedLog, SqliteLog, Target};
use harmony_incidents::{
    Command, Context, Directory, IncidentId, OrgId, RuleSet, RulesSource, WorkflowId, WorkflowType,
    attestation::AttestationKeys,
    command::{Answer, GateRequest, ResolutionInput},
    judge,
    judge::payload,
    log::{Authority, Cause, Link, ResolutionType, State, StepSucceeded, payload::Kind},
    policy::GateKind,
    promotion::{Policies, PromotionPolicy},
    record::SaltKey,
    ticket::{TicketKey, TicketVerifier},
};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch};
use tower::ServiceExt;

pub(crate) const SIGNING_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
/// Thirty-two times this.
pub(crate) const SESSION_KEY: &str = "44";
pub(crate) const DIGEST: &str = "abababababababababababababababababababababababababababababababab";

/// Id, roles in `default`, Slack user. The token is `token-<id>`.
const PEOPLE: [(&str, &str, &str); 8] = [
    ("viewer", "incident-viewer", "U0VIEWER"),
    ("operator", "incident-responder", "U0OPERATOR"),
    ("oncall", "sre-oncall", "U0ONCALL"),
    ("commander", "incident-commander", "U0COMMANDER"),
    ("manager", "incident-manager", "U0MANAGER"),
    ("admin", "org-admin", "U0ADMIN"),
    ("approver", "incident-approver", "U0APPROVER"),
    ("deployer", "deployer", "U0DEPLOYER"),
];

struct Fixed(Arc<RuleSet>);

impl RulesSource for Fixed {
    fn current(&self) -> Arc<RuleSet> {
        self.0.clone()
    }
}

/// What the tickets of cells are signed with.
pub(crate) fn ticket_key() -> TicketKey {
    TicketKey::parse(&"44".repeat(32)).unwrap()
}

struct Shelf;

impl Runbooks for Shelf {
    fn check(&self, asked: &AskedRunbook<'_>) -> Result<CheckedRunbook, String> {
        let AskedRunbook { path, cells, verify, inputs, dry_run, .. } = asked;
        if *path != "rollback.md" {
            return Err(format!("there is no runbook {path}"));
        }
        let known = |cell: &&String| ["rollback", "postcheck"].contains(&cell.as_str());
        if let Some(cell) = cells.iter().chain(*verify).find(|cell| !known(cell)) {
            return Err(format!("{path} has no cell {cell}"));
        }
        let of_catalog = |(name, id): (&String, &String)| match name.as_str() {
            "SERVICE" | "RELEASE" => {
                Ok(CatalogInput { name: name.clone(), is_service: name == "SERVICE", id: id.clone() })
            }
            _ => Err(format!("input {name}: not declared; the runbook has SERVICE, RELEASE")),
        };
        Ok(CheckedRunbook {
            of_catalog: inputs.iter().map(of_catalog).collect::<Result<_, _>>()?,
            inputs: inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            cells: vec![("rollback".to_owned(), false, !dry_run), ("postcheck".to_owned(), true, true)],
        })
    }

    fn list(&self) -> Vec<String> {
        vec!["rollback.md".to_owned()]
    }

    fn text(&self, path: &str) -> Result<String, String> {
        if path == "rollback.md" {
            Ok("# Roll back\n".to_owned())
        } else {
            Err(format!("there is no runbook {path}"))
        }
    }

    fn contents(&self, _: &str) -> Result<Contents, String> {
        let cell = |name: &str| Cell {
            name: name.to_owned(),
            source: format!("echo {name}"),
            idempotent: name == "postcheck",
            timeout: None,
            only_by_name: false,
            manual: false,
            approve: false,
        };
        let input = InputField {
            name: "SERVICE".to_owned(),
            description: "What is rolled back".to_owned(),
            takes: "the id of a service".to_owned(),
            values: Vec::new(),
            default: "checkout".to_owned(),
            required: true,
            secret: false,
        };
        Ok(Contents {
            title: "Roll back".to_owned(),
            cells: vec![cell("rollback"), cell("postcheck")],
            inputs: vec![input],
            refused: Vec::new(),
            runs_dry: true,
        })
    }
}

struct NoTemporal(Arc<AtomicBool>);

impl Temporal for NoTemporal {
    fn reachable(&self) -> Result<(), String> {
        if self.0.load(Ordering::SeqCst) { Ok(()) } else { Err("127.0.0.1:7233".to_owned()) }
    }

    fn send_ahead(&self, _: &OutboxItem) {}
}

/// A console and everything behind it.
pub(crate) struct World {
    pub(crate) log: SharedLog,
    pub(crate) keys: AttestationKeys,
    pub(crate) router: Router,
    health: Router,
    /// Holds the store until the world ends.
    dir: TempDir,
    pub(crate) rules: Arc<RuleSet>,
    temporal: Arc<AtomicBool>,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) text: String,
    headers: HeaderMap,
}

impl Reply {
    /// A header of the answer, empty where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// All values of a header that may come several times.
    pub(crate) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).into_iter().map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{} {}", self.status, self.text))
    }

    /// A problem document with this status; its detail.
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.content_type, "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail", "hint"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        problem["detail"].as_str().unwrap().to_owned()
    }

    pub(crate) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_replies(None).await
    }

    pub(crate) async fn with_replies(slack_replies: Option<SlackReplies>) -> Self {
        Self::with(slack_replies, None, None).await
    }

    pub(crate) async fn with(
        slack_replies: Option<SlackReplies>,
        slack_sockets: Option<SlackSockets>,
        oidc: Option<Oidc>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let salt = SaltKey::parse(&"22".repeat(32)).unwrap();
        let log: SharedLog = Arc::new(SqliteLog::open(&dir.path().join("harmony.db"), salt).await.unwrap());
        let keys = AttestationKeys::parse(&"11".repeat(32)).unwrap();
        let temporal = Arc::new(AtomicBool::new(true));
        let rules = Arc::new(RuleSet {
            directory: directory(),
            auto_escalate_p1: true,
            promotion: Arc::new(policies()),
            ..RuleSet::default()
        });
        let Routers { public: router, health } = routers(Doors {
            log: log.clone(),
            rules: Arc::new(Fixed(rules.clone())),
            attestation: keys.clone(),
            checkpoint_key: Some(CheckpointKey::parse(&"33".repeat(32)).unwrap()),
            slack_signing_secret: Some(SIGNING_SECRET.into()),
            slack_replies,
            slack_sockets,
            webhooks: Webhooks {
                org: OrgId::default(),
                pagerduty: vec!["new-pagerduty-secret".into(), "old-pagerduty-secret".into()],
                alertmanager: vec!["alertmanager-secret".into()],
                grafana: vec!["grafana-secret".into()],
                jira: vec!["new-jira-secret".into(), "old-jira-secret".into()],
                deploys: DeployWebhooks {
                    github: vec!["github-secret".into()],
                    gitlab: vec!["gitlab-secret".into()],
                    argocd: vec!["argocd-secret".into()],
                    cdevents: vec!["events-secret".into()],
                    changes: vec!["changes-secret".into()],
                    workflows: "test.yml=production, Manually triggered workflow=staging".parse().unwrap(),
                },
            },
            oidc,
            outputs: OutputDoors {
                folder: dir.path().join("outputs"),
                tickets: Arc::new(|| Some(TicketVerifier::parse(&ticket_key().public()).unwrap())),
            },
            runbooks: Arc::new(Shelf),
            environment_policies: Arc::new(environment_policies()),
            update_templates: Arc::new(Templates),
            temporal: Arc::new(NoTemporal(temporal.clone())),
            capabilities: vec![harmony_console::Capability {
                id: "golden.connectors.slack",
                name: "Slack",
                description: "Channels and messages",
            }],
            default_space: "OPS".to_owned(),
            trackers: vec![Tracker::Github, Tracker::Jira],
            site: Site {
                session_key: SESSION_KEY.repeat(32).into(),
                console: Some("https://harmony.example/below/".parse().unwrap()),
                slack_channels: "https://slack.example/?channel=".to_owned(),
                temporal_ui: Some("http://temporal.example".to_owned()),
                temporal_namespace: "harmony".to_owned(),
                hosts: vec!["localhost".to_owned()],
                sends_mail: true,
                requests_per_second: NonZeroU32::new(10_000).unwrap(),
            },
        });
        Self { log, keys, router, health, dir, rules, temporal }
    }

    /// Serves on a free port, until the runtime ends.
    pub(crate) async fn listen(&self, capacity: Capacity, timeouts: Timeouts) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        tokio::spawn(async move {
            let (_running, stopping) = watch::channel(false);
            serve(listener, router, capacity, timeouts, stopping).await;
        });
        address
    }

    /// Nobody else writes to the store until this is closed.
    pub(crate) async fn locked_store(&self) -> SqliteConnection {
        let file = SqliteConnectOptions::new().filename(self.dir.path().join("harmony.db"));
        let mut lock = file.connect().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
        lock
    }

    pub(crate) fn policies(&self) -> Arc<Policies> {
        self.rules.promotion.clone()
    }

    pub(crate) fn temporal_is(&self, reachable: bool) {
        self.temporal.store(reachable, Ordering::SeqCst);
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        Self::sent(&self.router, request).await
    }

    /// From the listener that probes and scrapes are answered at.
    pub(crate) async fn probe(&self, path: &str) -> Reply {
        Self::sent(&self.health, Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn sent(router: &Router, request: Request<Body>) -> Reply {
        let response = router.clone().oneshot(request).await.unwrap();
        let status: StatusCode = response.status();
        let headers = response.headers().clone();
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Reply { status: status.as_u16(), content_type, text, headers }
    }

    /// A request by this person; the path is below `/api/orgs/default/`.
    pub(crate) async fn call(
        &self,
        who: &str,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: String,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/orgs/default/{path}"))
            .header(header::AUTHORIZATION, format!("Bearer token-{who}"));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Where the output of cells is kept.
    pub(crate) fn outputs(&self) -> std::path::PathBuf {
        self.dir.path().join("outputs")
    }

    pub(crate) async fn get(&self, who: &str, path: &str) -> Reply {
        self.call(who, Method::GET, path, None, String::new()).await
    }

    pub(crate) async fn post(&self, who: &str, path: &str, body: Value) -> Reply {
        self.call(who, Method::POST, path, None, body.to_string()).await
    }

    pub(crate) async fn post_with_key(&self, who: &str, path: &str, key: &str, body: Value) -> Reply {
        self.call(who, Method::POST, path, Some(key), body.to_string()).await
    }

    /// Declares an incident; its id.
    pub(crate) async fn declared(&self, severity: &str) -> String {
        let body = serde_json::json!({ "title": "Checkout fails", "severity": severity });
        let reply = self.post("operator", "incidents", body).await.ok(201);
        reply["incidentId"].as_str().unwrap().to_owned()
    }

    /// Declares an incident and opens it.
    pub(crate) async fn opened(&self, severity: &str) -> String {
        let id = self.declared(severity).await;
        self.post("oncall", &format!("incidents/{id}/status"), serde_json::json!({ "state": "OPEN" }))
            .await
            .ok(200);
        id
    }

    /// What lies in the outbox; it is marked as carried out.
    pub(crate) async fn outbox(&self) -> Vec<Pending> {
        let claimed = self.log.claim(100, std::time::Duration::from_secs(60)).await.unwrap();
        for item in &claimed {
            self.log.done(&item.id).await.unwrap();
        }
        claimed
    }

    /// Appends as a workflow would.
    pub(crate) async fn append(
        &self,
        id: &str,
        key: &str,
        blueprint: WorkflowType,
        command: Command,
    ) -> Appended {
        let incident: IncidentId = id.parse().unwrap();
        let org = OrgId::default();
        let workflow_id = WorkflowId::new(blueprint, &org, &incident);
        let context = Context {
            actor: "operator".to_owned(),
            authority: Authority::OnCallSre,
            cause: Cause {
                workflow_id: workflow_id.to_string(),
                blueprint: blueprint.blueprint().to_owned(),
                attempt: 1,
                ..Cause::default()
            },
            occurred_at: Timestamp::now(),
        };
        self.log
            .append(Append {
                org: &org,
                target: Target::Named(incident.into()),
                key,
                command: &command,
                context: &context,
                expected_seq: None,
                run_id: None,
                judge: &|head| judge(head, &command, &context, self.rules.rules()),
                follow: &|_| vec![],
            })
            .await
            .unwrap()
    }

    /// Links an incident as a step of its initiation does.
    pub(crate) async fn linked(&self, id: &str, name: &str, value: &str) {
        let link = Link { name: name.to_owned(), value: value.to_owned(), ..Link::default() };
        let made = StepSucceeded { step: name.to_owned(), links: vec![link], ..StepSucceeded::default() };
        let command = Command::Record { payload: payload(Kind::StepSucceeded(made)) };
        self.append(id, name, WorkflowType::Initiate, command).await;
    }

    /// Resolves an incident as its close-out does.
    pub(crate) async fn resolved(&self, id: &str) {
        let resolution = ResolutionInput {
            summary: "Rolled back".to_owned(),
            kind: ResolutionType::Fixed,
            resolved_by: "oncall".to_owned(),
        };
        let resolve = Command::ChangeStatus {
            to: State::Resolved,
            reason: String::new(),
            justification: String::new(),
            resolution: Some(resolution),
        };
        self.append(id, "resolved", WorkflowType::CloseOut, resolve).await;
    }

    /// A remediation that runs and waits at its gate; the gate's id.
    pub(crate) async fn gated(&self, id: &str) -> String {
        self.gated_covering(id, r#"{"path":"rollback.md"}"#).await
    }

    /// A gate whose digest covers this.
    pub(crate) async fn gated_covering(&self, id: &str, covers: &str) -> String {
        let incident: IncidentId = id.parse().unwrap();
        let kind = WorkflowType::Remediate;
        let workflow_id = WorkflowId::new(kind, &OrgId::default(), &incident);
        let start = Command::StartBlueprint {
            workflow_id: workflow_id.clone(),
            starter: "operator".to_owned(),
            attested: true,
            target: None,
            refuse: None,
            input_text: String::new(),
        };
        self.append(id, &format!("{workflow_id}/start"), kind, start).await;
        let request = GateRequest {
            workflow_id: workflow_id.clone(),
            attempt: 1,
            step: "approve".to_owned(),
            kind: GateKind::Remediate,
            action: "Run rollback.md".to_owned(),
            reason: "remediation".to_owned(),
            digest: DIGEST.to_owned(),
            covers: covers.to_owned(),
            requester: "operator".to_owned(),
            levels: vec![],
            severity: None,
        };
        let open = Command::OpenGate { request: Box::new(request) };
        let appended = self.append(id, &format!("{workflow_id}/gate"), kind, open).await;
        let Answer::GateOpened { gate } = appended.answer else { panic!("{:?}", appended.answer) };
        gate.gate_id
    }

    /// The decisions on an incident's gates that are on record, refused ones too, oldest first.
    pub(crate) async fn decisions(&self, id: &str) -> Vec<Value> {
        let events = self.get("viewer", &format!("incidents/{id}/events")).await.ok(200);
        let kinds = ["APPROVAL_DECIDED", "APPROVAL_REFUSED"];
        let mut found = events["events"].as_array().unwrap().clone();
        found.retain(|event| kinds.contains(&event["kind"].as_str().unwrap()));
        found.into_iter().map(|mut event| event["payload"].take()).collect()
    }
}

/// As a client has to write it in a path.
pub(crate) fn encoded(gate_id: &str) -> String {
    gate_id.replace('#', "%23").replace('/', "%2F")
}

fn policies() -> Policies {
    let alerts = include_str!("../../../policies/alerts.toml");
    Policies::new([PromotionPolicy::from_toml(alerts).unwrap()]).unwrap()
}

fn environment_policies() -> EnvironmentPolicies {
    let files = [
        ("weekday.toml", include_str!("../../../policies/environments/weekday.toml")),
        ("year-end.toml", include_str!("../../../policies/environments/year-end.toml")),
    ];
    let parsed = files.map(|(name, text)| EnvironmentPolicy::parse(name, text).unwrap());
    EnvironmentPolicies::new(parsed).unwrap()
}

fn directory() -> Directory {
    let mut file = String::new();
    for (id, role, slack) in PEOPLE {
        let hash: String =
            Sha256::digest(format!("token-{id}")).iter().map(|byte| format!("{byte:02x}")).collect();
        file.push_str(&format!(
            "[[principal]]\nid = \"{id}\"\nemail = \"{id}@example.com\"\nslack_user_id = \"{slack}\"\ntoken_sha256 = \"{hash}\"\n[principal.roles]\ndefault = [\"{role}\"]\n",
        ));
        if id == "commander" {
            file.push_str("acme = [\"incident-viewer\"]\n");
        }
    }
    Directory::parse(&file).unwrap()
}

/// Two templates: one for every incident, one for the public of the checkout's P2.
struct Templates;

impl UpdateTemplateSource for Templates {
    fn current(&self) -> Result<UpdateTemplates, String> {
        let all = "version = 3\ntitle = \"We look into it\"\nmessage = \"{{ incident }}: {{ title }}. {{ commander }} leads.\"";
        let public = "version = 1\ntitle = \"For the public\"\npublic = true\nseverities = [\"P2\"]\n\
                      services = [\"checkout\"]\nmessage = \"A problem with {{ services }}.\"";
        let parsed = [("investigating", all), ("public-investigating", public)]
            .map(|(name, source)| UpdateTemplate::parse(name, source).unwrap());
        Ok(UpdateTemplates::new(parsed.to_vec()))
    }
}
