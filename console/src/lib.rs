//! The console: Harmony's HTTP door. The API, the callbacks of Slack, and the pages.
//!
//! Every change goes through the log and is judged there; this crate looks up who asks and with what rights, turns
//! requests into commands and answers into JSON. It knows neither Temporal nor a vendor: what has to be started,
//! stopped or decided is written into the log's outbox, in the transaction that takes the request, and carried out by
//! somebody else. The one exception is `SlackReplies`, because a click wants its answer within seconds.
//!
//! One resource a file; what all of them share is in `call` (one authenticated request), `submit` (commands),
//! `starts` (blueprints), `decisions` (gates), `views` (what is shown) and `error` (what went wrong). The pages are in
//! `ui`, and change things only by the API's own routes.

mod acts;
mod approvals;
mod audit;
mod auth;
mod blueprints;
pub mod bodies;
mod call;
mod callbacks;
mod candidates;
mod catalog;
mod cursor;
mod decisions;
mod error;
mod facts;
mod follow_ups;
mod graphql;
pub mod health;
mod incidents;
mod json;
mod leading;
mod limits;
mod log;
mod mcp;
mod members;
mod observed;
pub mod oidc;
mod openapi;
mod outputs;
mod people;
mod query;
mod responders;
mod resume;
mod review;
mod server;
mod starts;
mod status;
mod streams;
mod submit;
mod subscriptions;
mod ui;
mod update_templates;
mod views;

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, header},
    middleware::{from_fn, from_fn_with_state, map_response},
    response::Response,
    routing::{get, post},
};
use harmony_blueprints::contracts::Tracker;
use harmony_capabilities::slack::{SlackReplies, SlackSockets};
use harmony_catalog::windows::EnvironmentPolicySource;
use harmony_eventlog::{CheckpointKey, OutboxItem, SharedLog};
use harmony_incidents::{OrgId, RulesSource, attestation::AttestationKeys};
use secrecy::SecretString;
use url::Url;

pub use callbacks::deploys::DeployWebhooks;
use callbacks::seen::Seen;
use error::ApiError;
use limits::Limits;
use oidc::Oidc;
pub use outputs::{OutputDoors, TicketKeys};
use streams::StreamHub;
use ui::{Site as PagesSite, session::Sessions};

pub use server::{Capacity, Timeouts, serve};
pub use update_templates::{UpdateTemplate, UpdateTemplateSource, UpdateTemplates};

/// Largest request body. A page of text fits many times; nothing that people send is larger.
const BODY_LIMIT_BYTES: usize = 256 * 1024;

/// What the console is connected to.
pub struct Doors {
    /// The log: the source of truth, and the outbox.
    pub log: SharedLog,
    /// Who there is and what may be done.
    pub rules: Arc<dyn RulesSource>,
    /// Signs starts and decisions that came through here.
    pub attestation: AttestationKeys,
    /// Signs checkpoints of the log; without it there are none.
    pub checkpoint_key: Option<CheckpointKey>,
    /// Without it Slack's callbacks are not there.
    pub slack_signing_secret: Option<SecretString>,
    /// Tells a person in Slack why a click changed nothing.
    pub slack_replies: Option<SlackReplies>,
    /// Brings Slack's requests where Slack cannot reach us.
    pub slack_sockets: Option<SlackSockets>,
    /// Whose webhooks are taken, and for which organisation.
    pub webhooks: Webhooks,
    /// Whose tokens are taken beside the directory's.
    pub oidc: Option<Oidc>,
    /// Where the output of cells comes from and is kept.
    pub outputs: OutputDoors,
    /// Knows the runbooks.
    pub runbooks: Arc<dyn Runbooks>,
    /// When releases may go out.
    pub environment_policies: Arc<dyn EnvironmentPolicySource>,
    /// The texts that updates begin as.
    pub update_templates: Arc<dyn UpdateTemplateSource>,
    /// The way to Temporal.
    pub temporal: Arc<dyn Temporal>,
    /// Confluence space of a post-mortem that names none.
    pub default_space: String,
    /// Where follow-ups can be exported to.
    pub trackers: Vec<Tracker>,
    /// What can be done outside Harmony.
    pub capabilities: Vec<Capability>,
    /// What the pages need to know about this installation.
    pub site: Site,
}

/// Something that Harmony can do outside itself.
pub struct Capability {
    /// As records name it.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// In one or two sentences.
    pub description: &'static str,
}

/// What the pages need to know about this installation, and how fast one principal may ask.
pub struct Site {
    /// Signs sessions; the same in every replica. At least 32 bytes.
    pub session_key: SecretString,
    /// Address of the Temporal UI, where there is one.
    pub temporal_ui: Option<String>,
    /// Where people reach the console: what links in Slack begin with. Without it there are none.
    pub console: Option<Url>,
    /// What a Slack channel's id is put behind to make its address.
    pub slack_channels: String,
    /// Namespace of the workflows.
    pub temporal_namespace: String,
    /// Names that `/mcp` is asked for by, of a server that only this machine reaches; empty for any name. There another
    /// name comes from a page that had its own point here.
    pub hosts: Vec<String>,
    /// Whether a relay is configured, so that people can be told by e-mail.
    pub sends_mail: bool,
    /// Requests a second that one principal may make in the long run.
    pub requests_per_second: NonZeroU32,
}

/// Secrets of those who post to us; several while they are rotated. A sender without one is not listened to.
#[derive(Default)]
pub struct Webhooks {
    /// Whose incidents their candidates may become.
    pub org: OrgId,
    /// PagerDuty's webhook subscriptions.
    pub pagerduty: Vec<SecretString>,
    /// Alertmanager's receivers.
    pub alertmanager: Vec<SecretString>,
    /// Grafana's contact points.
    pub grafana: Vec<SecretString>,
    /// Jira's webhook, which tells of the issues of follow-ups.
    pub jira: Vec<SecretString>,
    /// Those who tell about deployments. GitHub's webhook tells of issues, too.
    pub deploys: DeployWebhooks,
}

/// Looks at a runbook before a remediation is started with it.
pub trait Runbooks: Send + Sync {
    /// Whether the runbook is there with these cells and takes these inputs, and if not, why.
    fn check(&self, asked: &AskedRunbook<'_>) -> Result<CheckedRunbook, String>;

    /// Paths of all runbooks, sorted.
    fn list(&self) -> Vec<String>;

    /// A runbook's bytes; the error says why it cannot be read.
    fn text(&self, path: &str) -> Result<String, String>;

    /// What a runbook's text has.
    fn contents(&self, text: &str) -> Result<Contents, String>;
}

/// A runbook that somebody wants to propose.
pub struct AskedRunbook<'a> {
    /// Relative to the runbook root.
    pub path: &'a str,
    /// In order; every named cell but those of `verify` where it is empty.
    pub cells: &'a [String],
    /// Cells that check.
    pub verify: &'a [String],
    /// Values of inputs; a variable of an input's name among `env` is one, too.
    pub inputs: &'a BTreeMap<String, String>,
    /// Other variables.
    pub env: &'a BTreeMap<String, String>,
    /// To see what it would do.
    pub dry_run: bool,
}

/// What would be run of a runbook that can be proposed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedRunbook {
    /// Inputs whose values the catalog must know.
    pub of_catalog: Vec<CatalogInput>,
    /// Name and value of each input.
    pub inputs: Vec<(String, String)>,
    /// In order: a cell's name, whether it checks, and whether it would be run.
    pub cells: Vec<(String, bool, bool)>,
}

/// An input whose value the catalog must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogInput {
    /// Its name.
    pub name: String,
    /// Of a service; else of a release.
    pub is_service: bool,
    /// The id.
    pub id: String,
}

/// What a runbook has, as the pages show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The first heading.
    pub title: String,
    /// In file order.
    pub cells: Vec<Cell>,
    /// As they are declared.
    pub inputs: Vec<InputField>,
    /// Why each cell that cannot run cannot.
    pub refused: Vec<String>,
    /// Whether a dry run would run any cell.
    pub runs_dry: bool,
}

/// An input of a runbook, as a form asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputField {
    /// The variable's name.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// What it takes, in words.
    pub takes: String,
    /// Of an enum.
    pub values: Vec<String>,
    /// Taken where nothing is given; may be empty.
    pub default: String,
    /// Whether there must be a value.
    pub required: bool,
    /// By name alone; nobody fills it in.
    pub secret: bool,
}

/// A named block of a runbook, as the pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Unique in its runbook.
    pub name: String,
    /// Its commands.
    pub source: String,
    /// Whether it may run again when nobody knows whether it ran.
    pub idempotent: bool,
    /// Its own time-out.
    pub timeout: Option<Duration>,
    /// Runs only when it is asked for by name.
    pub only_by_name: bool,
    /// A person does what it says and confirms it.
    pub manual: bool,
    /// Needs an approval of its own before it runs.
    pub approve: bool,
}

/// The way to Temporal.
pub trait Temporal: Send + Sync {
    /// Whether it answers; the error is the address that does not. Asked with every declaration, so the implementor
    /// caches.
    fn reachable(&self) -> Result<(), String>;

    /// Sends a wake-up on that is in the outbox, so that nobody waits until somebody looks there. Does not block, and need
    /// not arrive.
    fn send_ahead(&self, wake: &OutboxItem);
}

/// What handlers share.
pub(crate) struct Shell {
    pub(crate) doors: Doors,
    /// Signatures of Slack's requests that were taken already.
    pub(crate) seen: Seen,
    /// Who is signed in at the pages.
    pub(crate) sessions: Sessions,
    pub(crate) limits: Limits,
    /// Everybody who watches an incident.
    pub(crate) streams: Arc<StreamHub>,
    /// Refused decisions that are on record only as a number.
    pub(crate) uncounted: decisions::Uncounted,
    /// Figures that were counted for the pages.
    pub(crate) counted: ui::insights::Counted,
}

impl Shell {
    /// Whether a session goes on.
    pub(crate) fn holds(&self, session: &ui::Session) -> bool {
        let rules = self.doors.rules.current();
        self.sessions.holds(session, &rules.directory, jiff::Timestamp::now().as_second())
    }
}

pub(crate) type App = Arc<Shell>;

/// What the console serves, each on a listener of its own.
pub struct Routers {
    /// Every route of the API, the callbacks and the pages.
    pub public: Router,
    /// [`health`]: for probes and scrapes.
    pub health: Router,
}

/// The console. Listens at Slack's sockets from now on, where there are any.
pub fn routers(doors: Doors) -> Routers {
    let app: App = Arc::new(Shell {
        sessions: Sessions::new(doors.site.session_key.clone()),
        limits: Limits::new(doors.site.requests_per_second),
        streams: StreamHub::new(doors.log.clone()),
        uncounted: decisions::Uncounted::default(),
        counted: ui::insights::Counted::default(),
        doors,
        seen: Seen::default(),
    });
    if let Some(sockets) = &app.doors.slack_sockets {
        tokio::spawn(callbacks::slack::socket::listen(app.clone(), sockets.clone()));
    }
    let api = api().layer(from_fn_with_state(app.clone(), audit::audited)).with_state(app.clone());
    let site = Arc::new(PagesSite { app: app.clone(), api: api.clone() });
    let pages = ui::routes(site.clone());
    let own = Router::new()
        .route("/openapi.json", get(openapi::openapi))
        .route("/slack/commands", post(callbacks::slack::commands))
        .route("/slack/events", post(callbacks::slack::events))
        .route("/slack/interactions", post(callbacks::slack::interactions))
        .with_state(app.clone());
    let health = health::routes(app.clone());
    let public = Router::new()
        .merge(own)
        .merge(callbacks::webhooks().with_state(app.clone()))
        .merge(outputs::routes().with_state(app.clone()))
        .merge(pages)
        .merge(graphql::routes(app.clone(), site))
        .merge(mcp::routes(app, api.clone()))
        .merge(api)
        .fallback(ui::nothing_here)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(map_response(guarded))
        .layer(from_fn(observed::observe))
        .layer(from_fn(audit::identified));
    Routers { public, health }
}

/// The API's description, as `/openapi.json` answers it.
pub fn description() -> &'static serde_json::Value {
    openapi::document()
}

/// The API, as clients and the pages' forms reach it.
fn api() -> Router<App> {
    Router::new().nest("/api/orgs/{org}", organisation())
}

/// Nothing here may be kept by a cache, guessed to be another type, or shown inside another site.
async fn guarded(mut response: Response) -> Response {
    const GUARDS: [(HeaderName, HeaderValue); 3] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ];
    for (name, value) in GUARDS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

fn organisation() -> Router<App> {
    Router::new()
        .route("/incidents", get(incidents::list).post(incidents::declare))
        .route("/incidents/{id}", get(incidents::show))
        .route("/incidents/{id}/actions", post(facts::action))
        .route("/incidents/{id}/cancel", post(blueprints::cancel))
        .route("/incidents/{id}/close", post(status::close))
        .route("/incidents/{id}/close-out", post(blueprints::close_out))
        .route("/incidents/{id}/duties", post(leading::duty))
        .route("/incidents/{id}/escalate", post(leading::escalate))
        .route("/incidents/{id}/events", get(log::events))
        .route("/incidents/{id}/notes", post(facts::note))
        .route("/incidents/{id}/output", get(outputs::show))
        .route("/incidents/{id}/output/stream", get(streams::output))
        .route("/incidents/{id}/output/{seq}", get(outputs::file))
        .route("/incidents/{id}/post-mortem", post(blueprints::post_mortem))
        .route("/incidents/{id}/private", post(leading::private))
        .route("/incidents/{id}/propose-dry-run", post(blueprints::propose_dry_run))
        .route("/incidents/{id}/redact", post(log::redact))
        .route("/incidents/{id}/relations", post(leading::relate))
        .route("/incidents/{id}/remediate", post(blueprints::remediate))
        .route("/incidents/{id}/responders", post(responders::change))
        .route("/incidents/{id}/resume", post(resume::resume))
        .route("/incidents/{id}/retry", post(acts::retry))
        .route("/incidents/{id}/review", get(review::show).post(review::write))
        .route("/incidents/{id}/severity", post(status::severity))
        .route("/incidents/{id}/sign-off", post(review::sign_off))
        .route("/incidents/{id}/signals", post(facts::signal))
        .route("/incidents/{id}/similar", get(leading::similar_to))
        .route("/incidents/{id}/slo-violations", post(facts::slo_violation))
        .route("/incidents/{id}/status", post(status::change))
        .route("/incidents/{id}/stop", post(blueprints::stop))
        .route("/incidents/{id}/stream", get(streams::stream))
        .route("/incidents/{id}/tags", post(facts::tag))
        .route("/incidents/{id}/tickets", post(facts::ticket))
        .route("/incidents/{id}/times", post(leading::time))
        .route("/incidents/{id}/timeline", get(log::timeline).post(facts::record_line))
        .route("/incidents/{id}/update", post(acts::update))
        .route("/incidents/{id}/update-templates", get(update_templates::list))
        .route("/incidents/{id}/verify", post(status::verify))
        .route("/candidates", get(candidates::list).post(candidates::submit))
        .route("/candidates/{id}", get(candidates::show))
        .route("/candidates/{id}/attempts", get(candidates::attempts))
        .route("/candidates/{id}/dismiss", post(candidates::dismiss))
        .route("/candidates/{id}/promote", post(candidates::promote))
        .route("/approvals", get(approvals::list))
        // A gate id holds `#` and `/`: sent percent-encoded it is one segment, otherwise several.
        .route("/approvals/{*gate}", get(approvals::show).post(approvals::decide))
        .route("/audit", get(catalog::audit::list))
        .route("/environments", get(catalog::environments::list).post(catalog::environments::write))
        .route("/environments/{id}", get(catalog::environments::show))
        .route("/environments/{id}/retire", post(catalog::environments::retire))
        .route("/incidents/{id}/changes", get(catalog::changes::list).post(catalog::changes::link))
        .route("/follow-ups", get(follow_ups::list).post(follow_ups::add))
        .route("/follow-ups/{id}", get(follow_ups::show).post(follow_ups::change))
        .route("/insights", get(ui::insights::api))
        .route("/people", get(people::list))
        .route("/releases", get(catalog::releases::list).post(catalog::releases::create))
        .route("/releases/{id}", get(catalog::releases::show))
        .route("/releases/{id}/deploy", post(catalog::releases::start))
        .route("/releases/{id}/promote", post(catalog::releases::promote))
        .route("/releases/{id}/resume", post(resume::release))
        .route("/releases/{id}/rollback", post(catalog::releases::rollback))
        .route("/releases/{id}/status", post(catalog::releases::change))
        .route("/runs", get(catalog::releases::runs))
        .route("/runs/{id}", get(catalog::releases::run))
        .route("/services", get(catalog::services::list).post(catalog::services::write))
        .route("/services/{id}", get(catalog::services::show))
        .route("/services/{id}/retire", post(catalog::services::retire))
        .route("/subscriptions", get(subscriptions::list).post(subscriptions::add))
        .route("/subscriptions/{id}/remove", post(subscriptions::remove))
        .route("/log/checkpoint", get(log::checkpoint))
        .route("/log/export", get(log::export))
        .route("/log/replay", get(log::replayed))
        .route("/log/verify", get(log::verify))
}
