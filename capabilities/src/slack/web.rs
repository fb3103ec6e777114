//! One call of Slack's Web API.
//!
//! Slack answers refusals with 200 and `{"ok": false, "error": "<code>"}`; only the rate limit is
//! a 429. Requests are typed by `slack-morphism` where its models are what Slack documents; they
//! travel over our own transport, since the client in `slack-morphism` reads answers of any
//! length, takes an answer that is no JSON for an empty success, and puts whole bodies into its
//! errors.

use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::address::AddressError;
use crate::error::{CallError, Fate};
use crate::transport::{Answer, Counted, Effect, Operation, Transport};

const VENDOR: &str = "Slack";

/// The most pages that are read of one list; a cursor that never ends is Slack's fault.
const PAGES: usize = 200;

/// The Web API, as one bot sees it.
#[derive(Clone, Debug)]
pub(super) struct Web {
    pub(super) transport: Transport,
}

/// Answers that say nothing but that it worked.
#[derive(Debug, Deserialize)]
pub(super) struct Done {}

/// One page of a list.
pub(super) trait Page: DeserializeOwned {
    type Item;
    fn into_parts(self) -> (Vec<Self::Item>, Option<Metadata>);
}

#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Envelope {
    ok: bool,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    needed: Option<String>,
    #[serde(default)]
    response_metadata: Option<Hints>,
}

#[derive(Debug, Deserialize)]
struct Hints {
    #[serde(default)]
    messages: Vec<String>,
}

impl Web {
    pub(super) fn new(base_url: &str, bot_token: SecretString) -> Result<Self, AddressError> {
        let transport = Transport::new(VENDOR, base_url, bot_token)?.counted(Counted::EachOperation);
        Ok(Self { transport })
    }

    /// A call with an effect: a JSON body in a POST.
    pub(super) async fn act<T: DeserializeOwned>(
        &self,
        method: &'static str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, CallError> {
        let url = self.transport.address.resource(&[method]);
        let request = self
            .transport
            .http
            .post(url)
            // Without the charset Slack adds a warning to every answer.
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .json(body);
        self.call(Operation::acts(method), request).await
    }

    /// A call that only reads: arguments in the query, which is all that Slack takes there.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        method: &'static str,
        arguments: &[(&str, &str)],
    ) -> Result<T, CallError> {
        let url = self.transport.address.resource(&[method]);
        let request = self.transport.http.get(url).query(arguments);
        self.call(Operation::reads(method), request).await
    }

    /// Reads a list page by page until `wanted` finds what it looks for.
    pub(super) async fn search<P: Page, R>(
        &self,
        method: &'static str,
        arguments: &[(&str, &str)],
        mut wanted: impl FnMut(P::Item) -> Option<R>,
    ) -> Result<Option<R>, CallError> {
        let mut cursor = String::new();
        for _ in 0..PAGES {
            let mut arguments = arguments.to_vec();
            if !cursor.is_empty() {
                arguments.push(("cursor", &cursor));
            }
            let page: P = self.read(method, &arguments).await?;
            let (items, metadata) = page.into_parts();
            if let Some(found) = items.into_iter().find_map(&mut wanted) {
                return Ok(Some(found));
            }
            match metadata.and_then(|metadata| metadata.next_cursor) {
                Some(next) if !next.is_empty() => cursor = next,
                _ => return Ok(None),
            }
        }
        let operation = Operation::reads(method);
        let message = format!("the list does not end after {PAGES} pages");
        Err(self.transport.error(operation, Fate::Rejected, None, &message))
    }

    /// `auth.test` takes a POST but reads.
    pub(super) async fn test<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        let url = self.transport.address.resource(&["auth.test"]);
        let request = self.transport.http.post(url);
        self.call(Operation::reads("auth.test"), request).await
    }

    /// The scopes that this token has, where Slack says them: `auth.test` puts them into a header.
    pub(super) async fn scopes(&self) -> Result<Option<Vec<String>>, CallError> {
        let url = self.transport.address.resource(&["auth.test"]);
        let request = self.transport.http.post(url);
        let answer = self.answer(Operation::reads("auth.test"), request).await?;
        let header = answer.headers.get("x-oauth-scopes").and_then(|header| header.to_str().ok());
        Ok(header.map(|scopes| scopes.split(',').map(|scope| scope.trim().to_owned()).collect()))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        request: RequestBuilder,
    ) -> Result<T, CallError> {
        let answer = self.answer(operation, request).await?;
        self.transport.json(operation, &answer)
    }

    /// An answer that is no refusal.
    async fn answer(&self, operation: Operation, request: RequestBuilder) -> Result<Answer, CallError> {
        let request = request.bearer_auth(self.transport.secret());
        let answer = self.transport.send(operation, request).await?;
        if !answer.status.is_success() {
            let said = serde_json::from_slice::<Envelope>(&answer.body).ok();
            let message = said.and_then(|envelope| envelope.error);
            return Err(self.transport.refusal(operation, &answer, message));
        }
        let envelope: Envelope = self.transport.json(operation, &answer)?;
        if !envelope.ok {
            return Err(self.refused(operation, &answer, envelope));
        }
        Ok(answer)
    }

    fn refused(&self, operation: Operation, answer: &Answer, envelope: Envelope) -> CallError {
        let code = envelope.error.unwrap_or_else(|| "no error given".to_owned());
        let fate = fate(&code, operation.effect, answer);
        let mut message = code;
        if let Some(scope) = envelope.needed {
            message.push_str(&format!(" (needs {scope})"));
        }
        for hint in envelope.response_metadata.iter().flat_map(|h| &h.messages) {
            message.push_str("; ");
            message.push_str(hint);
        }
        self.transport.error(operation, fate, Some(answer.status), &message)
    }
}

/// Whether Slack refused with this code. The code is the first word of the message.
pub(super) fn is_refused_with(error: &CallError, code: &str) -> bool {
    error.fate() == Fate::Rejected
        && error.message().split([' ', ';']).next().is_some_and(|first| first == code)
}

fn fate(code: &str, effect: Effect, answer: &Answer) -> Fate {
    match code {
        "access_denied"
        | "accesslimited"
        | "account_inactive"
        | "ekm_access_denied"
        | "enterprise_is_restricted"
        | "invalid_auth"
        | "missing_scope"
        | "no_permission"
        | "not_allowed_token_type"
        | "not_authed"
        | "org_login_required"
        | "team_access_not_granted"
        | "token_expired"
        | "token_revoked"
        | "two_factor_setup_required" => Fate::Unauthorized,
        "rate_limited" | "ratelimited" => {
            Fate::Limited { retry_after: crate::transport::retry_after(&answer.headers) }
        }
        // Slack says of these two that some of the operation may have succeeded.
        "fatal_error" | "internal_error" => effect.when_lost(),
        // The body did not arrive whole, or the workspace is being moved: nothing happened.
        "request_timeout" | "team_added_to_org" => Fate::Unavailable,
        "service_unavailable" => effect.when_lost(),
        _ => Fate::Rejected,
    }
}
