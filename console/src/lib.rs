//! The console: Harmony's HTTP door. The API, the callbacks of Slack, and where the pages will be.
//!
//! Every change goes through the log and is judged there; this crate looks up who asks and with what rights, turns
//! requests into commands and answers into JSON. It knows neither Temporal nor a vendor: what has to be started,
//! stopped or decided is written into the log's outbox, in the transaction that takes the request, and carried out by
//! somebody else. The one exception is `SlackReplies`, because a click wants its answer within seconds.
//!
//! One resource a file; what all of them share is in `call` (one authenticated request), `submit` (commands),
//! `starts` (blueprints), `decisions` (gates), `views` (what is shown) and `error` (what went wrong).

mod acts;
mod approvals;
mod auth;
mod blueprints;
mod call;
mod callbacks;
mod candidates;
mod decisions;
mod error;
mod facts;
mod health;
mod incidents;
mod log;
mod observed;
pub mod oidc;
mod query;
mod responders;
mod review;
mod starts;
mod status;
mod submit;
mod views;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, header},
    middleware::{from_fn, map_response},
    response::Response,
    routing::{get, post},
};
use harmony_capabilities::slack::{SlackReplies, SlackSockets};
use harmony_eventlog::{CheckpointKey, SharedLog};
use harmony_incidents::{OrgId, RulesSource, attestation::AttestationKeys};
use secrecy::SecretString;

pub use observed::standing;

use callbacks::seen::Seen;
use error::ApiError;
use oidc::Oidc;

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
    /// Knows the runbooks.
    pub runbooks: Arc<dyn Runbooks>,
    /// Knows whether Temporal answers.
    pub temporal: Arc<dyn TemporalHealth>,
    /// Confluence space of a post-mortem that names none.
    pub default_space: String,
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
}

/// Looks at a runbook before a remediation is started with it.
pub trait Runbooks: Send + Sync {
    /// Whether the runbook is there with these cells, and if not, why. `path` is relative to the runbook root; no
    /// `cells` means every named cell but those of `verify`.
    fn check(&self, path: &str, cells: &[String], verify: &[String]) -> Result<(), String>;
}

/// Knows whether Temporal answers. Asked with every declaration, so the implementor caches.
pub trait TemporalHealth: Send + Sync {
    /// The error is the address that does not answer.
    fn reachable(&self) -> Result<(), String>;
}

/// What handlers share.
pub(crate) struct Shell {
    pub(crate) doors: Doors,
    /// Signatures of Slack's requests that were taken already.
    pub(crate) seen: Seen,
}

pub(crate) type App = Arc<Shell>;

/// Every route of the console. Listens at Slack's sockets from now on, where there are any.
pub fn router(doors: Doors) -> Router {
    let app: App = Arc::new(Shell { doors, seen: Seen::default() });
    if let Some(sockets) = &app.doors.slack_sockets {
        tokio::spawn(callbacks::slack::socket::listen(app.clone(), sockets.clone()));
    }
    Router::new()
        .route("/", get(health::home))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/slack/commands", post(callbacks::slack::commands))
        .route("/slack/events", post(callbacks::slack::events))
        .route("/metrics", get(observed::metrics))
        .route("/slack/interactions", post(callbacks::slack::interactions))
        .route("/webhooks/alertmanager", post(callbacks::alerts::alertmanager))
        .route("/webhooks/grafana", post(callbacks::alerts::grafana))
        .route("/webhooks/pagerduty", post(callbacks::pagerduty::take))
        .nest("/api/orgs/{org}", organisation())
        .fallback(async || ApiError::NotFound("there is nothing at this address".to_owned()))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(map_response(guarded))
        .layer(from_fn(observed::observe))
        .with_state(app)
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
        .route("/incidents/{id}/events", get(log::events))
        .route("/incidents/{id}/notes", post(facts::note))
        .route("/incidents/{id}/post-mortem", post(blueprints::post_mortem))
        .route("/incidents/{id}/redact", post(log::redact))
        .route("/incidents/{id}/remediate", post(blueprints::remediate))
        .route("/incidents/{id}/responders", post(responders::change))
        .route("/incidents/{id}/retry", post(acts::retry))
        .route("/incidents/{id}/review", post(review::write))
        .route("/incidents/{id}/severity", post(status::severity))
        .route("/incidents/{id}/sign-off", post(review::sign_off))
        .route("/incidents/{id}/signals", post(facts::signal))
        .route("/incidents/{id}/slo-violations", post(facts::slo_violation))
        .route("/incidents/{id}/status", post(status::change))
        .route("/incidents/{id}/stop", post(blueprints::stop))
        .route("/incidents/{id}/tags", post(facts::tag))
        .route("/incidents/{id}/tickets", post(facts::ticket))
        .route("/incidents/{id}/update", post(acts::update))
        .route("/incidents/{id}/verify", post(status::verify))
        .route("/candidates", get(candidates::list).post(candidates::submit))
        .route("/candidates/{id}", get(candidates::show))
        .route("/candidates/{id}/promote", post(candidates::promote))
        .route("/approvals", get(approvals::list))
        // A gate id holds `#` and `/`: sent percent-encoded it is one segment, otherwise several.
        .route("/approvals/{*gate}", get(approvals::show).post(approvals::decide))
        .route("/log/checkpoint", get(log::checkpoint))
        .route("/log/export", get(log::export))
        .route("/log/replay", get(log::replayed))
        .route("/log/verify", get(log::verify))
}
