//! Storage of the incident event log: one trait, one file a store.
//!
//! An append is one transaction: idempotency key, judging against the head, records, projections, outbox. It is durable
//! before it is acknowledged. The same key with the same command gets the first answer again; with another command it
//! is refused. What must follow a command lies in the outbox until it was carried out. The effects ledger lives in the
//! same store, so that an effect's intent and its record cannot drift apart.
//!
//! Every row and every query carries the organisation; there is none without.

mod append;
#[cfg(any(feature = "dynamodb", feature = "eventbridge"))]
mod aws;
#[cfg(feature = "dynamodb")]
mod dynamo;
mod entry;
mod sql;
mod store;
mod stream;

pub mod candidates;
pub mod catalog;
pub mod checkpoint;
pub mod export;
pub mod fanout;
pub mod history;
pub mod live_output;
pub mod open;
pub mod postgres;
pub mod rebuild;
pub mod redaction;
pub mod replay;
pub mod sqlite;
pub mod subscriptions;
pub mod verify;

pub use append::{Done, Job, JobJudge, Onward, Request, StreamTarget};
pub use candidates::{
    AttemptStatus, CandidateChange, CandidateFilter, CandidateStatus, Changed, Dismissal, PromotionAttempt,
    StoredCandidate,
};
pub use catalog::{CatalogAppend, CatalogAppended};
pub use checkpoint::{Checkpoint, CheckpointKey, StreamHead, VerifierKey};
#[cfg(feature = "dynamodb")]
pub use dynamo::DynamoLog;
pub use export::Export;
pub use fanout::SinkName;
pub use live_output::{LiveOutput, StoredOutput};
pub use open::{Access, Address};
pub use postgres::PostgresLog;
pub use sqlite::SqliteLog;
pub use store::{
    Append, Appended, Begin, Candidates, Cause, EffectResult, EffectSubject, Entry, EventLog, Fanout, Filter,
    Follow, Judge, KnownEffect, Ledger, Log, LogError, Outbox, OutboxId, OutboxItem, OutboxKind, Outputs,
    Pending, Place, SharedLog, Sort, Subscriptions, Target, outcome,
};
pub use stream::StreamState;
pub use subscriptions::Subscribed;
pub use verify::{Finding, Report};
