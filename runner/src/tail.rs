//! The last part of a stream of any length, in bounded memory.
//!
//! Bytes are kept raw and masked when they are looked at, so that a secret that
//! arrived in two reads is whole by then. More is kept than is shown: the
//! margin in which a secret could be cut at the front, and as much again as
//! masking may shorten the text.

use std::collections::VecDeque;

use super::TAIL_LIMIT_BYTES;
use super::mask::{Follows, Masker};

/// Longest line in a progress report, in characters.
const LINE_LIMIT_CHARS: usize = 200;

/// How far back a progress report looks for its line.
const LINE_WINDOW_BYTES: usize = 2 * 1024;

/// The end of one output stream.
#[derive(Debug)]
pub(super) struct Tail {
    /// Invariant: at most `capacity_bytes` long.
    kept: VecDeque<u8>,
    capacity_bytes: usize,
    total_bytes: u64,
}

impl Tail {
    pub(super) fn new(masker: &Masker) -> Self {
        Self {
            kept: VecDeque::new(),
            capacity_bytes: 2 * TAIL_LIMIT_BYTES + 2 * masker.margin_bytes(),
            total_bytes: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total_bytes += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.capacity_bytes)..];
        let room = self.capacity_bytes - bytes.len();
        let surplus = self.kept.len().saturating_sub(room);
        self.kept.drain(..surplus);
        self.kept.extend(bytes);
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The last line with something in it, masked, on one line, bounded. What
    /// may be an unfinished secret at its end is left out.
    pub(super) fn last_line(&self, masker: &Masker) -> String {
        let wanted = LINE_WINDOW_BYTES + masker.margin_bytes();
        let skipped = self.kept.len().saturating_sub(wanted);
        let bytes: Vec<u8> = self.kept.iter().skip(skipped).copied().collect();
        let cut_before = skipped > 0 || self.is_cut();
        let masked = masker.window(&bytes, cut_before, Follows::More);
        let text = String::from_utf8_lossy(&masked);
        let mut lines = text.lines().rev().map(plain);
        lines.find(|line| !line.is_empty()).unwrap_or_default()
    }

    /// All that is kept, masked. Longer than a tail may be: [`cut_to_fit`].
    pub(super) fn text(&self, masker: &Masker) -> String {
        let bytes: Vec<u8> = self.kept.iter().copied().collect();
        let masked = masker.window(&bytes, self.is_cut(), Follows::Nothing);
        // No text column of PostgreSQL takes a NUL.
        String::from_utf8_lossy(&masked).replace('\0', "\u{fffd}")
    }

    fn is_cut(&self) -> bool {
        self.total_bytes > self.kept.len() as u64
    }
}

/// Cuts the tails of both streams so that they fit `limit_bytes` together: half for each, and to one what the other leaves.
pub(super) fn cut_to_fit(
    stdout: (String, u64),
    stderr: (String, u64),
    limit_bytes: usize,
) -> (String, String) {
    let half = limit_bytes / 2;
    let for_stderr = half.max(limit_bytes.saturating_sub(stdout.0.len()));
    let stderr = cut(stderr.0, stderr.1, for_stderr);
    let for_stdout = limit_bytes.saturating_sub(stderr.len());
    (cut(stdout.0, stdout.1, for_stdout), stderr)
}

/// The end of `text`, marked if it is not the whole stream.
fn cut(text: String, stream_bytes: u64, limit_bytes: usize) -> String {
    let is_whole = text.len() <= limit_bytes && stream_bytes <= KEPT_WHOLE_BYTES;
    if is_whole {
        return text;
    }
    let room = limit_bytes.saturating_sub(mark(stream_bytes).len());
    let mut from = text.len().saturating_sub(room);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let kept = &text[from..];
    let cut_bytes = stream_bytes.saturating_sub(kept.len() as u64);
    format!("{}{kept}", mark(cut_bytes))
}

/// Streams up to this length are kept whole by every [`Tail`].
const KEPT_WHOLE_BYTES: u64 = 2 * TAIL_LIMIT_BYTES as u64;

fn mark(cut_bytes: u64) -> String {
    format!("… {cut_bytes} bytes cut\n")
}

/// One line without control characters, at most [`LINE_LIMIT_CHARS`] long.
fn plain(line: &str) -> String {
    let spaced = line.replace('\t', " ");
    let visible = spaced.trim().chars().filter(|c| !c.is_control());
    visible.take(LINE_LIMIT_CHARS).collect()
}
