//! Takes secrets out of what a cell prints.
//!
//! Known forms of each secret are found in bytes, overlapping ones too, and
//! every run of bytes that any of them covers becomes one `***`. The forms: the
//! value, the value without blanks around it, each of its lines of at least
//! 8 bytes, its JSON and percent encoding, and its base64 (both alphabets, with
//! and without a final newline, wrapped at 64 or 76 columns, and embedded in
//! something longer at any alignment, as in `user:password`).
//!
//! The caller gives a window of a longer stream. [`Masker::window`] drops what
//! may be the end of a secret that begins before the window and, while more is
//! still to come, what may be the beginning of one that is not complete yet.
//!
//! A cell that sets out to leak a secret can (it may reverse it); this is
//! against accidents.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use secrecy::{ExposeSecret as _, SecretString};

/// What stands in the place of a secret.
const MASK: &[u8] = b"***";

/// Shorter lines and pieces of a secret are too common to be masked alone.
const PIECE_BYTES: usize = 8;

/// Shorter base64 from the middle of a longer text would match by accident.
const EMBEDDED_BYTES: usize = 6;

/// Whether a window reaches the end of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// Nothing: what stands at the end is complete.
    Nothing,
    /// The stream may go on.
    More,
}

/// Finds the secrets of one run.
pub(super) struct Masker {
    /// Invariant: no form is empty; each stands under its first byte.
    by_first_byte: BTreeMap<u8, Vec<Vec<u8>>>,
    /// Whether a form begins with this byte: most bytes of a stream are passed by one look here.
    begins: [bool; 256],
    /// Length of the longest form, 0 without secrets.
    longest_bytes: usize,
}

impl Masker {
    pub(super) fn new(secrets: &BTreeMap<String, SecretString>) -> Self {
        let mut forms = BTreeSet::new();
        for secret in secrets.values() {
            add_forms(secret.expose_secret(), &mut forms);
        }
        let longest_bytes = forms.iter().map(Vec::len).max().unwrap_or(0);
        let mut by_first_byte: BTreeMap<u8, Vec<Vec<u8>>> = BTreeMap::new();
        let mut begins = [false; 256];
        for form in forms {
            begins[usize::from(form[0])] = true;
            by_first_byte.entry(form[0]).or_default().push(form);
        }
        Self { by_first_byte, begins, longest_bytes }
    }

    /// How many bytes at the start of a cut window can be lost to the mask.
    pub(super) fn margin_bytes(&self) -> usize {
        self.longest_bytes.saturating_sub(1)
    }

    /// Whether any form of any secret stands in it.
    pub(super) fn finds_in(&self, text: &str) -> bool {
        !self.covered(text.as_bytes()).is_empty()
    }

    /// A piece of a stream with every secret replaced. `cut_before` says that
    /// the stream has bytes before it.
    pub(super) fn window(&self, bytes: &[u8], cut_before: bool, follows: Follows) -> Vec<u8> {
        let mut covered = self.covered(bytes);
        let start = if cut_before { self.margin_bytes().min(bytes.len()) } else { 0 };
        let partial = self.partial_from(bytes);
        let end = match follows {
            Follows::More => partial,
            Follows::Nothing => {
                // The writer may have been killed in the middle of a secret.
                if bytes.len() - partial >= PIECE_BYTES {
                    merge(&mut covered, partial, bytes.len());
                }
                bytes.len()
            }
        };
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = start;
        for (from, to) in covered {
            if to <= at || from >= end {
                continue;
            }
            if from > at {
                out.extend_from_slice(&bytes[at..from]);
            }
            out.extend_from_slice(MASK);
            at = to;
        }
        if at < end {
            out.extend_from_slice(&bytes[at..end]);
        }
        out
    }

    /// The runs of bytes that belong to a secret, in order, none touching another
    /// by more than its edge.
    fn covered(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let mut runs = Vec::new();
        if self.by_first_byte.is_empty() {
            return runs;
        }
        for (at, first) in bytes.iter().enumerate() {
            if !self.begins[usize::from(*first)] {
                continue;
            }
            let Some(forms) = self.by_first_byte.get(first) else {
                continue;
            };
            let matching = forms.iter().filter(|form| bytes[at..].starts_with(form));
            if let Some(length) = matching.map(Vec::len).max() {
                merge(&mut runs, at, at + length);
            }
        }
        runs
    }

    /// Where the longest unfinished form at the end begins; the length of the
    /// window if there is none.
    fn partial_from(&self, bytes: &[u8]) -> usize {
        let first = bytes.len().saturating_sub(self.margin_bytes());
        let unfinished = |at: &usize| {
            let rest = &bytes[*at..];
            if !self.begins[usize::from(rest[0])] {
                return false;
            }
            let forms = self.by_first_byte.get(&bytes[*at]);
            forms.is_some_and(|forms| {
                let mut longer = forms.iter().filter(|form| form.len() > rest.len());
                longer.any(|form| form.starts_with(rest))
            })
        };
        (first..bytes.len()).find(unfinished).unwrap_or(bytes.len())
    }
}

/// A stream that is masked piece by piece, as it comes. What is given out never contains a part of a secret, however the
/// stream was cut; together the pieces are the stream with every secret replaced.
#[derive(Default)]
pub(super) struct MaskedStream {
    /// Invariant: what may be the beginning of a secret that is not complete yet, so shorter than the longest form.
    pending: Vec<u8>,
    /// How many bytes at the front of it belong to a secret that was replaced already.
    replaced: usize,
}

impl MaskedStream {
    /// What can be given out now that these bytes have come.
    pub(super) fn push(&mut self, masker: &Masker, bytes: &[u8]) -> Vec<u8> {
        if masker.longest_bytes == 0 {
            return bytes.to_vec();
        }
        self.pending.extend_from_slice(bytes);
        let end = masker.partial_from(&self.pending);
        self.give(masker, end, Vec::new())
    }

    /// The rest. What may be the beginning of a secret is treated as [`Masker::window`] treats it.
    pub(super) fn finish(&mut self, masker: &Masker) -> Vec<u8> {
        let (end, partial) = (self.pending.len(), masker.partial_from(&self.pending));
        let cut_off = if end - partial >= PIECE_BYTES { vec![(partial, end)] } else { Vec::new() };
        self.give(masker, end, cut_off)
    }

    fn give(&mut self, masker: &Masker, end: usize, more: Vec<(usize, usize)>) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.pending);
        let mut covered = masker.covered(&bytes);
        for (from, to) in more {
            merge(&mut covered, from, to);
        }
        // A secret that overlaps the one before it is replaced along with it.
        let mut at = std::mem::take(&mut self.replaced);
        let mut out = Vec::with_capacity(bytes.len());
        for (from, to) in covered {
            if from >= end {
                break;
            }
            if from < at {
                at = at.max(to);
                continue;
            }
            out.extend_from_slice(&bytes[at..from]);
            out.extend_from_slice(MASK);
            at = to;
        }
        if at < end {
            out.extend_from_slice(&bytes[at..end]);
            at = end;
        }
        self.replaced = at - end;
        self.pending = bytes[end..].to_vec();
        out
    }
}

/// Shows how many forms are known, never which.
impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forms: usize = self.by_first_byte.values().map(Vec::len).sum();
        f.debug_struct("Masker").field("forms", &forms).finish()
    }
}

/// Adds a run to sorted runs; it starts no earlier than the last one, or joins
/// those it overlaps.
fn merge(runs: &mut Vec<(usize, usize)>, mut from: usize, mut to: usize) {
    while let Some(&(last_from, last_to)) = runs.last() {
        if last_to <= from {
            break;
        }
        from = from.min(last_from);
        to = to.max(last_to);
        runs.pop();
    }
    runs.push((from, to));
}

fn add_forms(secret: &str, forms: &mut BTreeSet<Vec<u8>>) {
    let trimmed = secret.trim();
    if trimmed.is_empty() {
        return;
    }
    for value in [secret, trimmed] {
        forms.insert(value.as_bytes().to_vec());
        if let Ok(json) = serde_json::to_string(value) {
            forms.insert(json.trim_matches('"').as_bytes().to_vec());
        }
        forms.insert(percent_encoded(value).into_bytes());
        for with_newline in [value.to_owned(), format!("{value}\n")] {
            add_base64(with_newline.as_bytes(), forms);
        }
        add_embedded_base64(value.as_bytes(), forms);
    }
    let lines = secret.lines().map(str::trim);
    for line in lines.filter(|line| line.len() >= PIECE_BYTES) {
        forms.insert(line.as_bytes().to_vec());
    }
    forms.remove(&Vec::new());
}

/// The whole of it, and the lines that it is commonly wrapped into.
fn add_base64(value: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    for encoded in [STANDARD.encode(value), URL_SAFE.encode(value)] {
        for columns in [64, 76] {
            let lines = encoded.as_bytes().chunks(columns);
            forms.extend(lines.filter(|line| line.len() >= PIECE_BYTES).map(Vec::from));
        }
        forms.insert(encoded.trim_end_matches('=').as_bytes().to_vec());
        forms.insert(encoded.into_bytes());
    }
}

/// The characters that the value alone decides, with 0, 1 or 2 bytes before it
/// in its group of three and anything after it.
fn add_embedded_base64(value: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    for before in 0..3_usize {
        let mut padded = vec![0; before];
        padded.extend_from_slice(value);
        let from = (before * 8).div_ceil(6);
        let to = padded.len() * 8 / 6;
        for encoded in [STANDARD.encode(&padded), URL_SAFE.encode(&padded)] {
            let decided = &encoded.as_bytes()[from.min(to)..to];
            if decided.len() >= EMBEDDED_BYTES {
                forms.insert(decided.to_vec());
            }
        }
    }
}

fn percent_encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
