//! Spans, and the ids that processes agree on without talking to each other.

use std::{
    cell::Cell,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use opentelemetry::{
    Context, InstrumentationScope, KeyValue, global,
    trace::{
        Link, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    },
};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use sha2::{Digest, Sha256};

/// The version of OpenTelemetry's semantic conventions that the names of attributes are of.
pub(crate) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Whose spans these are.
static SCOPE: LazyLock<InstrumentationScope> =
    LazyLock::new(|| InstrumentationScope::builder("harmony").with_schema_url(SCHEMA).build());
static ON: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The ids of the span that this thread is about to start; taken by [`Ids`] in the same call.
    static NEXT: Cell<(Option<TraceId>, Option<SpanId>)> = const { Cell::new((None, None)) };
}

/// Whether spans go anywhere.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

pub(crate) fn turn_on() {
    ON.store(true, Ordering::Relaxed);
}

/// A trace id from its 32 hex digits; `None` where it is none.
pub fn trace_id(text: &str) -> Option<TraceId> {
    (text.len() == 32).then(|| TraceId::from_hex(text).ok()).flatten().filter(|id| *id != TraceId::INVALID)
}

/// The span id of something that has a name on record: the first 8 bytes of the name's SHA-256.
pub fn derived(name: &str) -> SpanId {
    let digest = Sha256::digest(name.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    SpanId::from_bytes(bytes)
}

/// A span of somebody else: W3C `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// Its trace.
    pub trace: TraceId,
    /// The span itself.
    pub span: SpanId,
}

impl Parent {
    /// Reads version 00, and later ones as the recommendation says: by their first four fields.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let known = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !known || !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
            return None;
        }
        let span = SpanId::from_hex(span).ok().filter(|id| *id != SpanId::INVALID)?;
        Some(Self { trace: trace_id(trace)?, span })
    }

    fn context(self) -> SpanContext {
        SpanContext::new(self.trace, self.span, TraceFlags::SAMPLED, true, TraceState::NONE)
    }
}

impl std::fmt::Display for Parent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "00-{}-{}-01", self.trace, self.span)
    }
}

/// The span that is open here, if any.
pub fn current() -> Option<Parent> {
    let context = Context::current();
    let span = context.span();
    let known = span.span_context();
    known.is_valid().then(|| Parent { trace: known.trace_id(), span: known.span_id() })
}

/// A span to be started.
#[derive(Debug)]
pub struct Span {
    name: String,
    kind: SpanKind,
    trace: Option<TraceId>,
    id: Option<SpanId>,
    parent: Option<SpanId>,
    link: Option<Parent>,
    began: Option<SystemTime>,
    attributes: Vec<KeyValue>,
}

impl Span {
    /// A span of this kind, below whatever is open here.
    pub fn new(name: impl Into<String>, kind: SpanKind) -> Self {
        Self {
            name: name.into(),
            kind,
            trace: None,
            id: None,
            parent: None,
            link: None,
            began: None,
            attributes: Vec::new(),
        }
    }

    /// In this trace, below this span of it; at its top where there is none.
    #[must_use]
    pub fn within(mut self, trace: TraceId, parent: Option<SpanId>) -> Self {
        (self.trace, self.parent) = (Some(trace), parent);
        self
    }

    /// With an id that others derive, too.
    #[must_use]
    pub fn known_as(mut self, id: SpanId) -> Self {
        self.id = Some(id);
        self
    }

    /// What led to it in another trace.
    #[must_use]
    pub fn after(mut self, cause: Option<Parent>) -> Self {
        self.link = cause;
        self
    }

    /// When it began, where that was not now.
    #[must_use]
    pub fn began(mut self, at: SystemTime) -> Self {
        self.began = Some(at);
        self
    }

    /// One more thing to know of it.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<opentelemetry::Value>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Starts it. It ends when the last context that holds it is dropped, or by [`end`](Self::end).
    pub fn start(self) -> Context {
        let outside = match (self.trace, self.parent) {
            (None, _) => Context::current(),
            (Some(_), None) => Context::new(),
            (Some(trace), Some(span)) => {
                Context::new().with_remote_span_context(Parent { trace, span }.context())
            }
        };
        let tracer = global::tracer_with_scope(SCOPE.clone());
        let mut builder =
            tracer.span_builder(self.name).with_kind(self.kind).with_attributes(self.attributes);
        if let Some(began) = self.began {
            builder = builder.with_start_time(began);
        }
        if let Some(link) = self.link {
            builder = builder.with_links(vec![Link::with_context(link.context())]);
        }
        NEXT.set((self.trace, self.id));
        let span = tracer.build_with_context(builder, &outside);
        NEXT.set((None, None));
        outside.with_span(span)
    }

    /// Starts it and ends it at once, at this time: for what is known only when it is over.
    pub fn record(self, ended: SystemTime) {
        self.start().span().end_with_timestamp(ended);
    }
}

/// Says of an open span that it failed. `problem` is a word of ours, never what somebody else said.
pub fn failed(context: &Context, problem: &'static str) {
    context.span().set_status(Status::error(problem));
}

/// Says one more thing of an open span.
pub fn add(context: &Context, key: &'static str, value: impl Into<opentelemetry::Value>) {
    context.span().set_attribute(KeyValue::new(key, value));
}

/// Draws ids, but for those that a span brings along.
#[derive(Debug, Default)]
pub(crate) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        let (trace, span) = NEXT.get();
        NEXT.set((None, span));
        trace.unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        let (trace, span) = NEXT.get();
        NEXT.set((trace, None));
        span.unwrap_or_else(|| self.0.new_span_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_is_read_or_left() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for (header, known) in [
            (format!("00-{trace}-{span}-01"), true),
            (format!(" 00-{trace}-{span}-00 "), true),
            (format!("01-{trace}-{span}-01-more"), true),
            (format!("00-{trace}-{span}-01-more"), false),
            (format!("ff-{trace}-{span}-01"), false),
            (format!("00-{}-{span}-01", "0".repeat(32)), false),
            (format!("00-{trace}-{}-01", "0".repeat(16)), false),
            (format!("00-{}-{span}-01", trace.to_uppercase()), false),
            (format!("00-{trace}-{span}"), false),
            (format!("00-{trace}x-{span}-01"), false),
            ("é-é-é-é".to_owned(), false),
            (String::new(), false),
        ] {
            let found = Parent::parse(&header);
            assert_eq!(found.is_some(), known, "{header:?}");
            if let Some(found) = found {
                assert_eq!(Parent::parse(&found.to_string()), Some(found));
            }
        }
    }

    #[test]
    fn derived_ids_are_the_same_everywhere_and_differ_by_name() {
        let id = derived("incident.initiate-INC-2026-0001#1");
        assert_eq!(id, derived("incident.initiate-INC-2026-0001#1"));
        assert_ne!(id, derived("incident.initiate-INC-2026-0001#2"));
        assert_ne!(id, SpanId::INVALID);
    }
}
