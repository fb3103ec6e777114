//! The schema of the incident event log and what is generated from it: prost types, their proto3 JSON mapping, and
//! the walk over free text that sealing and redaction need. Nothing else lives here.
//!
//! Everything hashed is an encoding of these types, so the schema only ever grows. JSON is the proto3 mapping, with
//! one exception: a [`log::Text`] reads and writes as a plain string (`null` once it was redacted).

#![forbid(unsafe_code)]

mod names;
mod text;

/// Package `harmony.log.v1`.
#[allow(clippy::all, unreachable_pub, missing_docs, clippy::doc_markdown, clippy::large_enum_variant)]
pub mod log {
    include!(concat!(env!("OUT_DIR"), "/harmony.log.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/harmony.log.v1.serde.rs"));
}

pub use names::{every_kind, kind_name};
pub use text::{TextField, service_texts, state_texts, texts};

/// Version of the record layout that this build writes.
pub const SCHEMA_VERSION: u32 = 1;
