//! The two output streams of a cell, read side by side.
//!
//! Both are read at once, so that a cell that floods one cannot be held up by
//! the other. Only the tails are kept; all of it goes by whoever follows the cell, masked.

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStderr, ChildStdout};

use super::mask::{MaskedStream, Masker};
use super::printed::{Printed, Utf8Stream};
use super::tail::Tail;

/// A pipe on Linux holds as much.
const READ_BYTES: usize = 64 * 1024;

/// Reads until both streams are closed.
pub(super) struct Output<'a> {
    masker: &'a Masker,
    printed: Option<&'a Printed>,
    stdout: Stream<ChildStdout>,
    stderr: Stream<ChildStderr>,
    /// Whether standard error was the last to say something.
    stderr_spoke_last: bool,
}

struct Stream<R> {
    /// `None` once it is closed.
    pipe: Option<R>,
    buffer: Vec<u8>,
    kept: KeptStream,
}

/// What is kept of one stream, and handed to whoever follows.
pub(super) struct KeptStream {
    tail: Tail,
    masked: MaskedStream,
    text: Utf8Stream,
}

impl KeptStream {
    pub(super) fn new(masker: &Masker) -> Self {
        Self { tail: Tail::new(masker), masked: MaskedStream::default(), text: Utf8Stream::default() }
    }

    #[cfg(feature = "kubernetes")]
    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Takes what was read.
    pub(super) fn push(&mut self, bytes: &[u8], masker: &Masker, printed: Option<&Printed>) {
        self.tail.push(bytes);
        if let Some(printed) = printed {
            let masked = self.masked.push(masker, bytes);
            printed.push(&masked, &self.text.push(&masked));
        }
    }

    /// Nothing more will come: whoever follows gets what was held back.
    pub(super) fn end(&mut self, masker: &Masker, printed: Option<&Printed>) {
        let Some(printed) = printed else { return };
        let masked = self.masked.finish(masker);
        let mut text = self.text.push(&masked);
        text.push_str(&self.text.finish());
        printed.push(&masked, &text);
    }
}

impl<'a> Output<'a> {
    pub(super) fn new(child: &mut Child, masker: &'a Masker, printed: Option<&'a Printed>) -> Self {
        Self {
            masker,
            printed,
            stdout: Stream::new(child.stdout.take(), masker),
            stderr: Stream::new(child.stderr.take(), masker),
            stderr_spoke_last: false,
        }
    }

    /// Reads once from whichever has something; waits for ever when both are
    /// closed. May be cancelled without losing a byte.
    pub(super) async fn read_some(&mut self) {
        if self.is_closed() {
            std::future::pending::<()>().await;
        }
        self.stderr_spoke_last = tokio::select! {
            () = self.stdout.read_once(self.masker, self.printed), if self.stdout.pipe.is_some() => false,
            () = self.stderr.read_once(self.masker, self.printed), if self.stderr.pipe.is_some() => true,
        };
    }

    /// Nothing is read any more: whoever follows gets what was held back.
    pub(super) fn end(&mut self) {
        self.stdout.kept.end(self.masker, self.printed);
        self.stderr.kept.end(self.masker, self.printed);
    }

    /// Reads until both are closed.
    pub(super) async fn read_to_end(&mut self) {
        while !self.is_closed() {
            self.read_some().await;
        }
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.stdout.kept.tail.total_bytes() + self.stderr.kept.tail.total_bytes()
    }

    /// Bytes of standard output and of standard error.
    pub(super) fn stream_bytes(&self) -> (u64, u64) {
        (self.stdout.kept.tail.total_bytes(), self.stderr.kept.tail.total_bytes())
    }

    /// The last line of the stream that spoke last.
    pub(super) fn last_line(&self) -> String {
        let tails = [&self.stdout.kept.tail, &self.stderr.kept.tail];
        tails[usize::from(self.stderr_spoke_last)].last_line(self.masker)
    }

    /// What is kept of standard output and of standard error, masked.
    pub(super) fn texts(&self) -> (String, String) {
        (self.stdout.kept.tail.text(self.masker), self.stderr.kept.tail.text(self.masker))
    }

    fn is_closed(&self) -> bool {
        self.stdout.pipe.is_none() && self.stderr.pipe.is_none()
    }
}

impl<R: AsyncRead + Unpin> Stream<R> {
    fn new(pipe: Option<R>, masker: &Masker) -> Self {
        Self { pipe, buffer: vec![0; READ_BYTES], kept: KeptStream::new(masker) }
    }

    /// An error on a pipe is its end: nothing more will come.
    async fn read_once(&mut self, masker: &Masker, printed: Option<&Printed>) {
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(&mut self.buffer).await {
            Ok(read_bytes) if read_bytes > 0 => {
                self.kept.push(&self.buffer[..read_bytes], masker, printed);
            }
            _ => {
                self.pipe = None;
                self.kept.end(masker, printed);
            }
        }
    }
}
