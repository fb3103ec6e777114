//! What the four connectors have in common: send one request, read a bounded answer, and say what
//! became of it.
//!
//! A call either reads or acts. Whatever goes wrong with a read can be tried again
//! (`Unavailable`); with an effect it depends on how far it got: no connection means that nothing
//! happened, everything after that leaves it open (`Unknown`), and so does every 5xx.
//! The vendors add their own reading of the error body and their own limits. Whoever asks for fewer calls gets none
//! until the time they gave is over: the calls are refused here.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::fmt::rfc2822::DateTimeParser;
use opentelemetry::{
    Context, KeyValue, global,
    trace::{FutureExt, SpanKind, Status, TraceContextExt, Tracer},
};
use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::address::{self, Address, AddressError};
use crate::error::{CallError, Fate};

/// The longest answer that is read: some ten times the longest page of a list seen.
pub const ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// Whether a call changes something at the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    None,
    Some,
}

impl Effect {
    /// The fate of a call that got lost after it may have been sent.
    pub(crate) fn when_lost(self) -> Fate {
        match self {
            Self::None => Fate::Unavailable,
            Self::Some => Fate::Unknown,
        }
    }
}

/// One operation of a vendor, as it appears in errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) effect: Effect,
}

impl Operation {
    pub(crate) const fn reads(name: &'static str) -> Self {
        Self { name, effect: Effect::None }
    }

    pub(crate) const fn acts(name: &'static str) -> Self {
        Self { name, effect: Effect::Some }
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Nobody is left alone for longer, whatever they ask: most limits count by the minute, and a wrong answer must not
/// silence a channel for the rest of an incident. Who still limits then, says so again.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// What a vendor's limits count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// All calls.
    Together,
    /// Those of each operation.
    EachOperation,
}

/// Until when a vendor asked to be left alone: one refusal holds all calls back that count together.
#[derive(Clone, Debug)]
struct HoldOff {
    counted: Counted,
    until: Arc<Mutex<BTreeMap<&'static str, Instant>>>,
}

impl HoldOff {
    fn new(counted: Counted) -> Self {
        Self { counted, until: Arc::default() }
    }

    fn left(&self, operation: Operation) -> Option<Duration> {
        let held = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = held.get(self.place(operation))?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    fn hold(&self, operation: Operation, wait: Duration) {
        let mut held = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(self.place(operation), Instant::now() + wait.min(LONGEST_WAIT));
    }

    fn place(&self, operation: Operation) -> &'static str {
        match self.counted {
            Counted::Together => "",
            Counted::EachOperation => operation.name,
        }
    }
}

/// The connection to one vendor.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) vendor: &'static str,
    pub(crate) http: Client,
    pub(crate) address: Address,
    /// Taken out of every message.
    secret: SecretString,
    hold_off: HoldOff,
}

impl Transport {
    pub(crate) fn new(
        vendor: &'static str,
        base_url: &str,
        secret: SecretString,
    ) -> Result<Self, AddressError> {
        let address = Address::parse(base_url)?;
        let http = address::client(&address)?;
        Ok(Self { vendor, http, address, secret, hold_off: HoldOff::new(Counted::Together) })
    }

    /// The same for a vendor whose limits count otherwise.
    pub(crate) fn counted(self, counted: Counted) -> Self {
        Self { hold_off: HoldOff::new(counted), ..self }
    }

    /// The same with another time limit for a request.
    pub(crate) fn with_limit(self, limit: Duration) -> Result<Self, AddressError> {
        Ok(Self { http: address::client_with(&self.address, limit)?, ..self })
    }

    pub(crate) fn secret(&self) -> &str {
        self.secret.expose_secret()
    }

    /// Sends a request and reads its answer, unless the vendor asked to be left alone.
    pub(crate) async fn send(
        &self,
        operation: Operation,
        request: RequestBuilder,
    ) -> Result<Answer, CallError> {
        if let Some(left) = self.hold_off.left(operation) {
            let fate = Fate::Limited { retry_after: Some(left) };
            let message = "not sent, since an earlier call was answered so";
            return Err(CallError::new(self.vendor, operation.name, fate, None, message));
        }
        let copy = request.try_clone();
        let endpoint = || {
            let request = copy?.build().ok()?;
            Some(Endpoint {
                method: request.method().to_string(),
                host: request.url().host_str().unwrap_or_default().to_owned(),
                port: request.url().port_or_known_default(),
            })
        };
        traced(self.vendor, operation, endpoint, self.exchange(operation, request)).await
    }

    async fn exchange(&self, operation: Operation, request: RequestBuilder) -> Result<Answer, CallError> {
        let mut response = request.send().await.map_err(|error| self.lost(operation, None, error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| self.lost(operation, Some(status), error))?
        {
            if body.len() + chunk.len() > ANSWER_BYTES {
                let fate = operation.effect.when_lost();
                let message = format!("the answer is longer than {ANSWER_BYTES} bytes");
                return Err(self.error(operation, fate, Some(status), &message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers: response.headers().clone(), body })
    }

    /// Sends a request and reads its answer; `words` finds in a refusal what the vendor says of it.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        request: RequestBuilder,
        words: fn(&Value) -> Option<String>,
    ) -> Result<T, CallError> {
        let answer = self.send(operation, request).await?;
        if answer.status.is_success() {
            return self.json(operation, &answer);
        }
        let message = serde_json::from_slice(&answer.body).ok().and_then(|body| words(&body));
        Err(self.refusal(operation, &answer, message))
    }

    /// Reads the JSON of a successful answer. One that cannot be read leaves open what happened.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        operation: Operation,
        answer: &Answer,
    ) -> Result<T, CallError> {
        serde_json::from_slice(&answer.body).map_err(|error| {
            // serde_json quotes the offending value only in "invalid type" and its like; the
            // place is enough to find it and never repeats what stood there.
            let message = format!(
                "the answer is not what was agreed (line {}, column {})",
                error.line(),
                error.column()
            );
            let fate = operation.effect.when_lost();
            self.error(operation, fate, Some(answer.status), &message)
        })
    }

    /// The error for an answer that is no success, with what the vendor says about it.
    pub(crate) fn refusal(
        &self,
        operation: Operation,
        answer: &Answer,
        message: Option<String>,
    ) -> CallError {
        let status = answer.status;
        let fate = match status.as_u16() {
            401 | 403 => Fate::Unauthorized,
            // 420 is Statuspage's.
            420 | 429 => Fate::Limited { retry_after: retry_after(&answer.headers) },
            // The vendor gave up before it had the request, or declined to process it early.
            408 | 425 => Fate::Unavailable,
            300..=499 => Fate::Rejected,
            _ => operation.effect.when_lost(),
        };
        let message = message.unwrap_or_else(|| {
            if status.is_redirection() {
                "the answer is a redirect, which is not followed".to_owned()
            } else {
                status.canonical_reason().unwrap_or("no reason given").to_owned()
            }
        });
        self.error(operation, fate, Some(status), &message)
    }

    /// An error of this vendor. Credentials are taken out of the message, and what limits is remembered.
    pub(crate) fn error(
        &self,
        operation: Operation,
        fate: Fate,
        status: Option<StatusCode>,
        message: &str,
    ) -> CallError {
        if let Fate::Limited { retry_after: Some(wait) } = fate {
            self.hold_off.hold(operation, wait);
        }
        let secret = self.secret();
        let message =
            if secret.is_empty() { message.to_owned() } else { message.replace(secret, "[secret]") };
        CallError::new(self.vendor, operation.name, fate, status.map(|status| status.as_u16()), message)
    }

    fn lost(&self, operation: Operation, status: Option<StatusCode>, error: reqwest::Error) -> CallError {
        let fate = if error.is_connect() {
            Fate::Unavailable
        } else if error.is_builder() {
            Fate::Rejected
        } else {
            operation.effect.when_lost()
        };
        self.error(operation, fate, status, &chain(&error.without_url()))
    }
}

/// Where a call goes, as far as a span tells it: never a path, query or body.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

/// Makes a call as a span of whatever is open here; where nothing is, nobody asks for the endpoint.
pub(crate) async fn traced(
    vendor: &'static str,
    operation: Operation,
    endpoint: impl FnOnce() -> Option<Endpoint>,
    call: impl Future<Output = Result<Answer, CallError>>,
) -> Result<Answer, CallError> {
    let span = span(vendor, operation, endpoint);
    let sent = call.with_context(span.clone()).await;
    let status = match &sent {
        Ok(answer) => Some(answer.status.as_u16()),
        Err(error) => error.status(),
    };
    if let Some(status) = status {
        span.span().set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
    }
    if status.is_none_or(|status| status >= 400) {
        span.span().set_status(Status::error(if status.is_some() { "refused" } else { "no answer" }));
    }
    sent
}

fn span(vendor: &'static str, operation: Operation, endpoint: impl FnOnce() -> Option<Endpoint>) -> Context {
    let here = Context::current();
    if !here.span().span_context().is_valid() {
        return here;
    }
    let Some(Endpoint { method, host, port }) = endpoint() else { return here };
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("server.address", host),
        KeyValue::new("harmony.vendor", vendor),
        KeyValue::new("harmony.operation", operation.name),
    ];
    attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
    let tracer = global::tracer("harmony");
    let span = tracer
        .span_builder(format!("{vendor} {}", operation.name))
        .with_kind(SpanKind::Client)
        .with_attributes(attributes)
        .start_with_context(&tracer, &here);
    here.with_span(span)
}

/// How long the vendor asks to wait. A date is taken relative to the answer's own date, since
/// there is no clock here.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Some(wait) = seconds(text) {
        return Some(wait);
    }
    let parser = DateTimeParser::new();
    let until = parser.parse_timestamp(text).ok()?;
    let sent = headers.get(DATE)?.to_str().ok()?;
    let sent = parser.parse_timestamp(sent.trim()).ok()?;
    Some(Duration::try_from(until.duration_since(sent)).unwrap_or(Duration::ZERO))
}

/// A number of seconds, fractions allowed. What would not fit 32 bits is no number of seconds.
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    let number: f64 = text.parse().ok()?;
    if !(0.0..=f64::from(u32::MAX)).contains(&number) {
        return None;
    }
    Duration::try_from_secs_f64(number).ok()
}

/// A header value that no log shows. What cannot stand in a header becomes an empty one, which the
/// vendor answers with 401.
pub(crate) fn sensitive(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// An error with everything that caused it.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &'static str)], expected: Option<u64>) {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        assert_eq!(retry_after(&headers), expected.map(Duration::from_millis), "{headers:?}");
    }

    #[test]
    fn wait_without_end_is_cut_short() {
        let held = HoldOff::new(Counted::Together);
        held.hold(Operation::acts("pins.add"), Duration::from_secs(u32::MAX.into()));
        let left = held.left(Operation::reads("pins.list")).unwrap();
        assert!(left <= LONGEST_WAIT && left > LONGEST_WAIT / 2, "{left:?}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        check(&[], None);
        check(&[("retry-after", "7")], Some(7_000));
        check(&[("retry-after", " 1.5 ")], Some(1_500));
        check(&[("retry-after", "-1")], None);
        check(&[("retry-after", "1e300")], None);
        check(&[("retry-after", "soon")], None);
        let until = ("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT");
        check(&[until], None);
        check(&[until, ("date", "Wed, 21 Oct 2026 07:28:00 GMT")], Some(30_000));
        check(&[until, ("date", "Wed, 21 Oct 2026 07:29:00 GMT")], Some(0));
    }
}
