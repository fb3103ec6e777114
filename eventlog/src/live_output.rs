//! What cells print while they run, for whoever looks meanwhile. It is no part of the log: not hashed, not exported, and
//! gone some minutes after the cell's end is on record.
//!
//! Of one cell the last [`KEPT_BYTES`] are kept. A piece's number grows within its stream, so that a reader who has seen
//! one asks for what came after it.

use std::time::Duration;

use jiff::Timestamp;

/// The most that is kept of what one cell printed.
pub const KEPT_BYTES: u64 = 512 * 1024;

/// How long pieces are still there once their cell has ended: who looks at them sees the end first.
pub const KEPT_AFTER_END: Duration = Duration::from_mins(2);

/// How long pieces of a cell are kept whose end nobody told of. No cell prints nothing for so long and is still followed.
pub const KEPT_WITHOUT_END: Duration = Duration::from_hours(24);

/// Something that a cell printed, or that it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveOutput {
    /// Which run of which cell: attempt and step, such as `2/remediation/rollback/1`.
    pub step: String,
    /// The cell.
    pub cell: String,
    /// Which try of its activity, from 1: a worker that was lost may have printed before.
    pub attempt: u32,
    /// Where it begins in what this try printed, in bytes.
    pub from_bytes: u64,
    /// Where the next begins.
    pub to_bytes: u64,
    /// Masked. Of an end: how it ended, in words.
    pub text: String,
    /// Whether this is the end.
    pub ended: bool,
}

/// One of them, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOutput {
    /// Greater than those before it, within the stream.
    pub number: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// What was printed.
    pub output: LiveOutput,
}
