//! What Harmony tells about itself: traces by OTLP and metrics for Prometheus.
//!
//! An incident is one trace: its id stands in the log and in every workflow's context, and the ids of the spans that
//! several processes must agree on (a workflow's, its start's, a gate's) are derived from what is on record, never
//! drawn. A span is sent when what it tells of has ended, by whoever put the end on record; workflow code makes none.
//! Nothing here holds text that people wrote, bodies, or query strings.
//!
//! Without a collector no provider is installed and every span is a no-op; metrics are counters in memory.

pub mod metrics;
mod otlp;
mod trace;

pub use opentelemetry::{
    Context, KeyValue,
    trace::{FutureExt, SpanId, SpanKind, TraceId},
};
pub use otlp::{ExporterError, Exporting, Protocol, start};
pub use trace::{Parent, Span, add, current, derived, failed, is_on, trace_id};
