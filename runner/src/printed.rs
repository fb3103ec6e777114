//! What a running cell prints, for whoever follows it: live pieces, and at the end the whole.
//!
//! The runner pushes what both streams print, in the order in which it is read and masked already. Whoever follows takes
//! a [`Piece`] now and then. Memory and pieces are bounded whatever the cell prints: of a flood between two takes the
//! beginning and the end are kept, and the piece says how much is missing; of more than [`WHOLE_LIMIT_BYTES`] the whole
//! has the beginning and the end, and says so, too.
//!
//! Escapes and control characters are left as they are, as in the recorded output: they are made visible where they are
//! shown. A piece that is not text says so instead of its bytes.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use tempfile::SpooledTempFile;

/// The most that the whole has.
pub const WHOLE_LIMIT_BYTES: usize = 10 * 1024 * 1024;

/// Of output beyond the limit: how much of its end is kept.
const WHOLE_END_BYTES: usize = 64 * 1024;

/// The line between the beginning and the end; longer than it ever is.
const WHOLE_MARK_BYTES: usize = 64;

/// How much of the beginning is kept.
const WHOLE_BEGINNING_BYTES: usize = WHOLE_LIMIT_BYTES - WHOLE_END_BYTES - WHOLE_MARK_BYTES;

/// The whole is kept in memory up to this size, and in a file without a name beyond it.
const IN_MEMORY_BYTES: usize = 64 * 1024;

/// The most that one piece has of the beginning, and of the end, of what was printed since the last.
const HALF_PIECE_BYTES: usize = 32 * 1024;

/// A piece is shown as binary where more than one in so many of its characters is not text.
const TEXT_SHARE: usize = 10;

/// What a cell prints. Clones are the same.
#[derive(Clone)]
pub struct Printed(Arc<Mutex<Kept>>);

/// What was printed since the last piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in all that was printed, in bytes of text.
    pub from_bytes: u64,
    /// Where the next one begins; further than `text` is long where something was left out.
    pub to_bytes: u64,
    /// Masked; at most 64 KiB and a line that says what was left out.
    pub text: String,
}

/// All that a cell printed, masked, at most [`WHOLE_LIMIT_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Both streams, as they came.
    pub bytes: Vec<u8>,
    /// Of these bytes, in hex.
    pub sha256: String,
}

struct Kept {
    piece: PieceSoFar,
    beginning: SpooledTempFile,
    beginning_bytes: usize,
    /// Invariant: at most [`WHOLE_END_BYTES`] long, and empty while the beginning has room.
    end: VecDeque<u8>,
    /// Bytes that were neither kept in the beginning nor in the end.
    left_out: u64,
    /// The disk was full: there is no whole.
    broken: bool,
}

#[derive(Default)]
struct PieceSoFar {
    from_bytes: u64,
    to_bytes: u64,
    /// Invariant: each at most [`HALF_PIECE_BYTES`] long.
    first: String,
    last: String,
    left_out: u64,
}

impl Default for Printed {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Kept {
            piece: PieceSoFar::default(),
            beginning: SpooledTempFile::new(IN_MEMORY_BYTES),
            beginning_bytes: 0,
            end: VecDeque::new(),
            left_out: 0,
            broken: false,
        })))
    }
}

impl Printed {
    /// What was printed since this was asked last; `None` where that is nothing.
    pub fn take(&self) -> Option<Piece> {
        self.kept().piece.take()
    }

    /// All of it, once the cell has ended; `None` where it printed nothing. An error means that this machine could not keep
    /// it.
    pub fn whole(&self) -> io::Result<Option<Whole>> {
        self.kept().whole()
    }

    /// Takes what was printed: masked bytes, and the text that they complete.
    pub(super) fn push(&self, bytes: &[u8], text: &str) {
        let mut kept = self.kept();
        kept.piece.push(text);
        kept.push(bytes);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printed").finish_non_exhaustive()
    }
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        let room = (WHOLE_BEGINNING_BYTES - self.beginning_bytes).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        if !first.is_empty() && !self.broken {
            self.broken = self.beginning.write_all(first).is_err();
        }
        self.beginning_bytes += first.len();
        let unseen = rest.len().saturating_sub(WHOLE_END_BYTES);
        let rest = &rest[unseen..];
        let surplus = (self.end.len() + rest.len()).saturating_sub(WHOLE_END_BYTES);
        self.end.drain(..surplus);
        self.end.extend(rest);
        self.left_out += (unseen + surplus) as u64;
    }

    fn whole(&mut self) -> io::Result<Option<Whole>> {
        if self.broken {
            return Err(io::Error::other("the temporary directory could not keep what the cell printed"));
        }
        if self.beginning_bytes == 0 {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(self.beginning_bytes + self.end.len() + WHOLE_MARK_BYTES);
        self.beginning.seek(SeekFrom::Start(0))?;
        self.beginning.read_to_end(&mut bytes)?;
        if self.left_out > 0 {
            bytes.extend_from_slice(left_out(self.left_out).as_bytes());
        }
        bytes.extend(&self.end);
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok(Some(Whole { bytes, sha256 }))
    }
}

impl PieceSoFar {
    fn push(&mut self, text: &str) {
        self.to_bytes += text.len() as u64;
        let room = if self.last.is_empty() { HALF_PIECE_BYTES - self.first.len() } else { 0 };
        let (first, rest) = text.split_at(text.floor_char_boundary(room));
        self.first.push_str(first);
        let unseen = rest.ceil_char_boundary(rest.len().saturating_sub(HALF_PIECE_BYTES));
        let rest = &rest[unseen..];
        let surplus = (self.last.len() + rest.len()).saturating_sub(HALF_PIECE_BYTES).min(self.last.len());
        let surplus = self.last.ceil_char_boundary(surplus);
        self.last.drain(..surplus);
        self.last.push_str(rest);
        self.left_out += (unseen + surplus) as u64;
    }

    fn take(&mut self) -> Option<Piece> {
        if self.to_bytes == self.from_bytes {
            return None;
        }
        let Self { from_bytes, to_bytes, first, last, left_out: missing } = std::mem::replace(
            self,
            Self { from_bytes: self.to_bytes, to_bytes: self.to_bytes, ..Self::default() },
        );
        let mark = if missing > 0 { left_out(missing) } else { String::new() };
        let text = format!("{first}{mark}{last}");
        let text = if is_text(&text) {
            text
        } else {
            format!("… {} bytes that are not text\n", to_bytes - from_bytes)
        };
        Some(Piece { from_bytes, to_bytes, text })
    }
}

/// The line that stands for what is missing.
fn left_out(bytes: u64) -> String {
    format!("\n… {bytes} bytes left out\n")
}

fn is_text(text: &str) -> bool {
    let strange =
        |c: &char| *c == char::REPLACEMENT_CHARACTER || (c.is_control() && !"\n\r\t\u{8}\u{1b}".contains(*c));
    let (all, odd) = text.chars().fold((0, 0), |(all, odd), c| (all + 1, odd + usize::from(strange(&c))));
    odd * TEXT_SHARE <= all
}

/// Bytes of a stream as text: a character that a read cut in two waits for its rest, and what is no UTF-8 becomes U+FFFD.
#[derive(Default)]
pub(super) struct Utf8Stream {
    /// Invariant: the beginning of one character, at most 3 bytes.
    pending: Vec<u8>,
}

impl Utf8Stream {
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        let joined;
        let bytes = if self.pending.is_empty() {
            bytes
        } else {
            joined = [std::mem::take(&mut self.pending).as_slice(), bytes].concat();
            joined.as_slice()
        };
        let cut = unfinished_from(bytes);
        self.pending = bytes[cut..].to_vec();
        plain(&bytes[..cut])
    }

    pub(super) fn finish(&mut self) -> String {
        plain(&std::mem::take(&mut self.pending))
    }
}

/// Where the character begins that the end of these bytes cuts; their length where it cuts none.
fn unfinished_from(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    (from..bytes.len())
        .find(|at| {
            std::str::from_utf8(&bytes[*at..])
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .unwrap_or(bytes.len())
}

/// No text column of PostgreSQL takes a NUL.
fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(printed: &Printed, bytes: &[u8]) {
        printed.push(bytes, &plain(bytes));
    }

    #[test]
    fn pieces_follow_each_other_and_the_whole_has_all_of_them() {
        let printed = Printed::default();
        assert_eq!((printed.take(), printed.whole().unwrap()), (None, None));
        print(&printed, b"one\n");
        print(&printed, b"two\n");
        let first = printed.take().unwrap();
        assert_eq!((first.from_bytes, first.to_bytes, first.text.as_str()), (0, 8, "one\ntwo\n"));
        assert_eq!(printed.take(), None);
        print(&printed, b"three\n");
        assert_eq!(printed.take().unwrap().from_bytes, 8);
        let whole = printed.whole().unwrap().unwrap();
        assert_eq!(whole.bytes, b"one\ntwo\nthree\n");
        assert_eq!(whole.sha256, hex::encode(Sha256::digest(b"one\ntwo\nthree\n")));
    }

    #[test]
    fn of_a_flood_the_beginning_and_the_end_are_kept_and_what_is_missing_is_said() {
        let printed = Printed::default();
        let line = "0123456789abcde\n".repeat(4096);
        for _ in 0..400 {
            print(&printed, line.as_bytes());
        }
        print(&printed, "the end\n".as_bytes());
        let all = 400 * line.len() as u64 + 8;
        let piece = printed.take().unwrap();
        assert!(piece.text.len() <= 2 * HALF_PIECE_BYTES + 64, "{}", piece.text.len());
        let missing = format!("\n… {} bytes left out\n", all - 2 * HALF_PIECE_BYTES as u64);
        assert!(piece.text.contains(&missing) && piece.text.ends_with("the end\n"));
        assert_eq!((piece.from_bytes, piece.to_bytes), (0, all));
        let whole = printed.whole().unwrap().unwrap().bytes;
        assert!(whole.len() <= WHOLE_LIMIT_BYTES && whole.len() > WHOLE_LIMIT_BYTES - WHOLE_MARK_BYTES);
        let kept = (WHOLE_BEGINNING_BYTES + WHOLE_END_BYTES) as u64;
        let missing = format!("\n… {} bytes left out\n", all - kept);
        assert_eq!(&whole[WHOLE_BEGINNING_BYTES..][..missing.len()], missing.as_bytes());
        assert!(whole.starts_with(b"0123") && whole.ends_with(b"the end\n"));
        print(&printed, b"more\n");
        assert_eq!(printed.take().unwrap().from_bytes, all);
    }

    #[test]
    fn character_that_was_cut_is_whole_in_the_next_piece_and_binary_is_told_as_such() {
        let mut stream = Utf8Stream::default();
        let text = "naïve – 🦀\n".as_bytes();
        let mut out = String::new();
        for byte in text {
            out.push_str(&stream.push(&[*byte]));
        }
        assert_eq!((out.as_str(), stream.finish().as_str()), ("naïve – 🦀\n", ""));
        assert_eq!(stream.push(b"a\xf0\x9f"), "a");
        assert_eq!(stream.finish(), "\u{fffd}");
        assert_eq!(stream.push(b"\xff\xfeb\0"), "\u{fffd}\u{fffd}b\u{fffd}");

        let printed = Printed::default();
        let binary: Vec<u8> = (0..=255).cycle().take(4096).collect();
        print(&printed, &binary);
        let text = printed.take().unwrap().text;
        assert!(text.starts_with("… ") && text.ends_with(" bytes that are not text\n"), "{text}");
        assert_eq!(printed.whole().unwrap().unwrap().bytes, binary);
        print(&printed, b"\x1b[31mred\x1b[0m\n");
        assert_eq!(printed.take().unwrap().text, "\x1b[31mred\x1b[0m\n");
    }

    #[test]
    fn characters_are_never_cut_by_a_limit() {
        let printed = Printed::default();
        for _ in 0..3 * HALF_PIECE_BYTES {
            printed.push(b"", "é€");
        }
        let text = printed.take().unwrap().text;
        assert!(text.len() <= 2 * HALF_PIECE_BYTES + 64 && !text.contains('\u{fffd}'));
    }
}
