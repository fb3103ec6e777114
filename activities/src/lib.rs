//! Binds capabilities and the log to the activity names that the blueprints declare: idempotency keys, the effects
//! ledger, recording, retryable and final errors, heartbeats; carries the outbox out, and finds runs that were lost.
//!
//! An activity that has an effect records it before it returns. One function (`effects::perform`) does so for all:
//! what is on record answers, what the ledger knows is adopted, what may have happened is looked for.

mod admission;
mod approvals;
mod begin;
mod candidate;
mod channel;
mod clock;
mod dispatcher;
mod effects;
mod failure;
mod flags;
mod issues;
mod journal;
mod outputs;
mod paging;
mod people;
mod public;
mod recall;
mod reconciler;
mod release;
mod reminders;
mod review;
mod runbook;
mod services;
mod trace;

pub use admission::Admission;
pub use channel::ConnectorActivities;
pub use dispatcher::{
    Carried, Dispatcher, Undone, checkpoint::Checkpoints, event::CandidateEvents, notice::Notices,
    wake::send_ahead,
};
pub use effects::EffectTiming;
pub use flags::{DefaultFlags, FlagSource, FlagValue, Flags, capability_flag};
pub use journal::LogActivities;
pub use outputs::{CellPiece, OutputSink};
pub use reconciler::Reconciler;
pub use release::ReleaseActivities;
pub use reminders::Reminders;
pub use review::ReviewTemplate;
pub use runbook::RunbookActivities;
pub use services::{PagingService, ReviewSpace, RunbookServices, Services};
pub use trace::Traced;
