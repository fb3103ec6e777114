//! The whole log of an organisation as JSON Lines, and verifying such a file without the store.
//!
//! The first line is `{format, org}`. Then comes every record of every stream, incidents by year and number, then
//! environments and services by id, records by seq: `{incident, seq, hash (hex), canonical (base64), texts?}`, with
//! `subject` (`svc/<id>`, `env/<id>`) in the place of `incident` where it is none's, where `texts` holds, by field, the text and its
//! salt (hex) as long as they are there. Whoever has a key ends it with `{checkpoint}`, a signed note over the last
//! records of this very file, without which nobody sees that its end was cut off; nothing may follow it. Rows are written
//! as they are stored: damage is exported too, so that it is found at the other end. Characters that would steer a
//! terminal, or reorder what it shows, stand there as JSON escapes.
//!
//! Whoever exports, over the API or from the database itself, writes the same bytes. Neither writing nor verifying
//! needs more memory than a page of records, or one line.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    io::{self, BufRead, Read as _},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use harmony_incidents::{OrgId, StreamId, record, record::Folded as _};
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::Value;

use crate::{
    checkpoint::{Against, Checkpoint, CheckpointError, CheckpointKey, StreamHead, VerifierKey},
    store::{LogError, SharedLog},
    verify::{Chain, Finding, Report, Row, check_numbers},
};

/// What the first line says of the rest.
pub const FORMAT: &str = "harmony-log/1";
/// Records read at a time.
const PAGE: u32 = 200;
/// No line is longer: SQLite takes no value of more than 1 GB, and the largest that Harmony writes, a rendered page,
/// stays far below this.
const LINE_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    org: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordLine {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    incident: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    subject: String,
    seq: u64,
    hash: String,
    canonical: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "each_once")]
    texts: BTreeMap<String, Beside>,
}

/// A text that stands beside its record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beside {
    text: String,
    salt: String,
}

/// The last line, where there is a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointLine {
    checkpoint: String,
}

/// An export under way.
pub struct Export {
    log: SharedLog,
    org: OrgId,
    header_written: bool,
    waiting: VecDeque<StreamId>,
    /// Stream in hand, and the last seq that was written.
    at: Option<(StreamId, u64)>,
    /// Taken when the checkpoint is written.
    key: Option<CheckpointKey>,
    /// Last record written of each stream.
    heads: Vec<StreamHead>,
}

impl Export {
    /// Everything that is on record now. What is appended while it runs may be in it or not.
    pub async fn begin(log: SharedLog, org: OrgId, key: Option<CheckpointKey>) -> Result<Self, LogError> {
        let waiting = log.streams(&org).await?.into();
        Ok(Self { log, org, header_written: false, waiting, at: None, key, heads: Vec::new() })
    }

    /// Leaves these streams out, and out of the checkpoint at its end.
    #[must_use]
    pub fn without(mut self, hidden: &BTreeSet<StreamId>) -> Self {
        self.waiting.retain(|stream| !hidden.contains(stream));
        self
    }

    /// Keeps these streams alone, and their heads in the checkpoint at its end.
    #[must_use]
    pub fn only(mut self, wanted: &BTreeSet<StreamId>) -> Self {
        self.waiting.retain(|stream| wanted.contains(stream));
        self
    }

    /// Keeps the incidents that were declared in this time alone: not before `since`, and before `until`. Each is there
    /// whole, whenever it went on.
    pub async fn declared(
        mut self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Self, LogError> {
        if since.is_none() && until.is_none() {
            return Ok(self);
        }
        let mut kept = VecDeque::new();
        for stream in std::mem::take(&mut self.waiting) {
            let Some(incident) = stream.incident() else { continue };
            let Some(state) = self.log.state(&self.org, &incident).await? else { continue };
            let at = state.created_at_us;
            if since.is_none_or(|since| at >= since.as_microsecond())
                && until.is_none_or(|until| at < until.as_microsecond())
            {
                kept.push_back(stream);
            }
        }
        self.waiting = kept;
        Ok(self)
    }

    /// The next whole lines, each with its line end; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<String>, LogError> {
        if !self.header_written {
            self.header_written = true;
            let header = Header { format: FORMAT.to_owned(), org: self.org.to_string() };
            return Ok(Some(line(&header)));
        }
        loop {
            let (stream, after) = match self.at.take() {
                Some(at) => at,
                None => match self.waiting.pop_front() {
                    Some(stream) => (stream, 0),
                    None => return Ok(self.checkpoint()),
                },
            };
            let rows = self.log.rows(&self.org, &stream, after, PAGE).await?;
            let Some(last) = rows.last() else { continue };
            let seq = last.seq;
            self.written(&stream, last);
            let lines = rows.into_iter().map(|row| record_line(&stream, row)).collect();
            self.at = Some((stream, seq));
            return Ok(Some(lines));
        }
    }

    fn written(&mut self, stream: &StreamId, last: &Row) {
        if self.heads.last().is_some_and(|head| head.stream == *stream) {
            self.heads.pop();
        }
        match last.hash.as_slice().try_into() {
            Ok(hash) => self.heads.push(StreamHead { stream: stream.clone(), seq: last.seq, hash }),
            // What is damaged is not vouched for.
            Err(_) => self.key = None,
        }
    }

    fn checkpoint(&mut self) -> Option<String> {
        let key = self.key.take()?;
        let checkpoint = Checkpoint::new(self.org.clone(), std::mem::take(&mut self.heads));
        Some(line(&CheckpointLine { checkpoint: key.sign(&checkpoint) }))
    }
}

fn record_line(stream: &StreamId, row: Row) -> String {
    let beside = |(_, salt, text): (Vec<u8>, Vec<u8>, String)| Beside { text, salt: hex::encode(salt) };
    let (incident, subject) = match stream.incident() {
        Some(incident) => (incident.to_string(), String::new()),
        None => (String::new(), stream.to_string()),
    };
    line(&RecordLine {
        incident,
        subject,
        seq: row.seq,
        hash: hex::encode(&row.hash),
        canonical: STANDARD.encode(&row.canonical),
        texts: row.texts.into_iter().map(|(field, text)| (field, beside(text))).collect(),
    })
}

/// JSON that a terminal shows as it is: control characters, those that change the direction of writing and those without
/// a width are written as escapes, which changes no value. Outside its strings JSON has none of them.
pub fn escaped(json: &str) -> Cow<'_, str> {
    let steers = |character: char| {
        matches!(character,
            '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if !json.contains(steers) {
        return Cow::Borrowed(json);
    }
    let mut written = String::with_capacity(json.len() + 8);
    for character in json.chars() {
        if steers(character) {
            written.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            written.push(character);
        }
    }
    Cow::Owned(written)
}

fn line<T: Serialize>(value: &T) -> String {
    let mut line = escaped(&serde_json::to_string(value).unwrap_or_default()).into_owned();
    line.push('\n');
    line
}

/// Why a file could not be looked at. Whatever is wrong with its records is a finding instead.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The first line is not the header of an export.
    #[error("line 1 is not the header of an export: {0}")]
    NoExport(String),
    /// A line without an end.
    #[error("line {0} is longer than any line of an export")]
    TooLong(u64),
    /// It could not be read.
    #[error("line {line} cannot be read")]
    Unreadable {
        /// From 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// The checkpoint within it is not to be believed.
    #[error("line {line} is a checkpoint that is refused: {error}")]
    Checkpoint {
        /// From 1.
        line: u64,
        /// Why.
        error: CheckpointError,
    },
}

/// What an export is held against, beyond itself.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// A checkpoint that was kept elsewhere, opened with its key.
    pub checkpoint: Option<Checkpoint>,
    /// Who must have signed the checkpoint within the file. Without it that checkpoint is compared, whoever signed it.
    pub verifier: Option<VerifierKey>,
}

/// What an export was found to be.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Organisation.
    pub org: OrgId,
    /// What is wrong, if anything.
    pub report: Report,
    /// Whether it ends with a checkpoint; without one, and without another, a cut end is not seen.
    pub has_checkpoint: bool,
}

/// Verifies an export; nothing else is needed. Findings about a line name it.
pub fn verify(mut input: impl BufRead, expected: Expected) -> Result<Verified, ExportError> {
    let mut buffer = Vec::new();
    next_line(&mut input, &mut buffer, 1)?;
    let org = header(&buffer)?;
    let mut reader = Reader {
        org,
        line: 1,
        report: Report::default(),
        chain: None,
        streams: Vec::new(),
        heads: BTreeMap::new(),
        against: expected.checkpoint.as_ref().map(Against::new),
        verifier: expected.verifier,
        checkpoint: None,
        was_continued: false,
    };
    while next_line(&mut input, &mut buffer, reader.line + 1)? {
        reader.take(&buffer)?;
    }
    Ok(reader.end())
}

/// Reads one line into the buffer; whether there was one.
fn next_line(input: &mut impl BufRead, buffer: &mut Vec<u8>, line: u64) -> Result<bool, ExportError> {
    buffer.clear();
    let read = input
        .by_ref()
        .take(LINE_LIMIT_BYTES)
        .read_until(b'\n', buffer)
        .map_err(|source| ExportError::Unreadable { line, source })?;
    if read as u64 == LINE_LIMIT_BYTES {
        return Err(ExportError::TooLong(line));
    }
    Ok(read > 0)
}

fn header(line: &[u8]) -> Result<OrgId, ExportError> {
    let no_export = |error: &dyn fmt::Display| ExportError::NoExport(error.to_string());
    let header: Header = serde_json::from_slice(line).map_err(|error| no_export(&error))?;
    if header.format != FORMAT {
        return Err(no_export(&format!("its format is {:?}, this version knows {FORMAT:?}", header.format)));
    }
    header.org.parse().map_err(|error| no_export(&error))
}

/// What is known of a file after its lines so far.
struct Reader {
    org: OrgId,
    /// Line in hand, from 1.
    line: u64,
    report: Report,
    chain: Option<Chain>,
    /// Streams so far, in the file's order.
    streams: Vec<StreamId>,
    /// Where they end; `None` for a chain that broke.
    heads: BTreeMap<StreamId, Option<StreamHead>>,
    /// The checkpoint from elsewhere.
    against: Option<Against>,
    verifier: Option<VerifierKey>,
    /// The checkpoint within the file.
    checkpoint: Option<Checkpoint>,
    /// Whether something follows it.
    was_continued: bool,
}

impl Reader {
    fn take(&mut self, line: &[u8]) -> Result<(), ExportError> {
        self.line += 1;
        self.follows_checkpoint();
        if let Ok(CheckpointLine { checkpoint }) = serde_json::from_slice(line) {
            self.checkpoint = Some(self.opened(&checkpoint)?);
            self.leave();
            return Ok(());
        }
        let known = self.report.findings.len();
        match parsed(line) {
            Ok((stream, row)) => {
                self.enter(&stream, row.seq);
                if let Some(against) = &mut self.against {
                    against.row(&mut self.report, &stream, row.seq, &row.hash);
                }
                if let Some(chain) = &mut self.chain {
                    chain.row(&mut self.report, &row);
                }
            }
            Err(problem) => self.unreadable(line, &problem),
        }
        for finding in &mut self.report.findings[known..] {
            finding.problem = format!("{} (line {})", finding.problem, self.line);
        }
        Ok(())
    }

    /// Told once: what follows is looked at all the same.
    fn follows_checkpoint(&mut self) {
        if self.checkpoint.is_some() && !std::mem::replace(&mut self.was_continued, true) {
            let problem = format!("the checkpoint is not the last line of the file (line {})", self.line);
            self.report.findings.push(Finding { incident: "?".to_owned(), seq: 1, problem });
        }
    }

    fn opened(&self, note: &str) -> Result<Checkpoint, ExportError> {
        let opened = match &self.verifier {
            Some(verifier) => verifier.open(note),
            None => Checkpoint::unverified(note),
        };
        opened.map_err(|error| ExportError::Checkpoint { line: self.line, error })
    }

    /// Goes on with this stream. One that was left does not come again, and none comes before an earlier one.
    fn enter(&mut self, stream: &StreamId, seq: u64) {
        if self.chain.as_ref().is_some_and(|chain| chain.stream() == stream) {
            return;
        }
        self.leave();
        let last = self.streams.last().filter(|last| *last >= stream);
        let problem =
            last.map(|last| format!("its records stand after those of {last}: the order was changed"));
        let mut chain = Chain::begin(&mut self.report, &self.org, stream);
        if let Some(problem) = problem {
            self.report.find(stream, seq, problem);
            chain.break_off();
        }
        self.chain = Some(chain);
        self.streams.push(stream.clone());
    }

    fn leave(&mut self) {
        let Some(chain) = self.chain.take() else { return };
        let stream = chain.stream().clone();
        let folded = chain.end(&mut self.report);
        let head = folded.map(|folded| StreamHead {
            stream: stream.clone(),
            seq: folded.head.state.seq(),
            hash: folded.head.hash,
        });
        if let (Some(against), Some(head)) = (&mut self.against, &head) {
            against.end(&mut self.report, &stream, head.seq);
        }
        self.heads.insert(stream, head);
    }

    /// The file's own checkpoint was made over the file's own last records.
    fn compare(&mut self, checkpoint: &Checkpoint) {
        let report = &mut self.report;
        if checkpoint.org != self.org {
            let problem = format!("the file is of {}, its checkpoint of {}", self.org, checkpoint.org);
            report.findings.push(Finding { incident: "?".to_owned(), seq: 1, problem });
            return;
        }
        for head in checkpoint.heads() {
            match self.heads.remove(&head.stream) {
                Some(None) => {}
                Some(Some(found)) if found == *head => {}
                Some(Some(found)) if found.seq < head.seq => {
                    let problem =
                        format!("the file ends at record {}, its checkpoint at {}", found.seq, head.seq);
                    report.find(&head.stream, found.seq + 1, problem);
                }
                Some(Some(found)) if found.seq > head.seq => {
                    report.find(&head.stream, head.seq + 1, "the file's checkpoint does not have it");
                }
                Some(Some(_)) => {
                    let problem = "the record is not the one that the file's checkpoint was made over";
                    report.find(&head.stream, head.seq, problem);
                }
                None => report.find(&head.stream, 1, "the file's checkpoint has it, the file has not"),
            }
        }
        for head in std::mem::take(&mut self.heads).into_values().flatten() {
            report.find(&head.stream, 1, "the file's checkpoint does not have it");
        }
    }

    /// Names the place as well as the line lets it; the chain it would have belonged to is given up.
    fn unreadable(&mut self, line: &[u8], problem: &str) {
        let value: Value = serde_json::from_slice(line).unwrap_or_default();
        if let Some(stream) = value["subject"]
            .as_str()
            .or_else(|| value["incident"].as_str())
            .and_then(|text| text.parse().ok())
        {
            self.enter(&stream, value["seq"].as_u64().unwrap_or(1));
        }
        let seq = self.chain.as_ref().and_then(Chain::head).map_or(1, |head| head.state.seq() + 1);
        let incident = match &mut self.chain {
            Some(chain) => {
                chain.break_off();
                chain.stream().to_string()
            }
            None => "?".to_owned(),
        };
        let seq = value["seq"].as_u64().unwrap_or(seq);
        let problem = format!("the line is no record of an export: {problem}");
        self.report.findings.push(Finding { incident, seq, problem });
    }

    fn end(mut self) -> Verified {
        self.leave();
        let checkpoint = self.checkpoint.take();
        match (&checkpoint, &self.verifier) {
            (Some(checkpoint), _) => self.compare(checkpoint),
            (None, Some(_)) => {
                let problem = "the file does not end with a checkpoint".to_owned();
                self.report.findings.push(Finding { incident: "?".to_owned(), seq: 1, problem });
            }
            (None, None) => {}
        }
        if let Some(against) = self.against.take() {
            against.finish(&mut self.report);
        }
        self.streams.sort_unstable();
        self.streams.dedup();
        check_numbers(&mut self.report, &self.streams);
        self.report.verified = self.report.findings.is_empty();
        Verified { org: self.org, report: self.report, has_checkpoint: checkpoint.is_some() }
    }
}

fn parsed(line: &[u8]) -> Result<(StreamId, Row), String> {
    let line: RecordLine = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let stream = match (line.incident.as_str(), line.subject.as_str()) {
        (incident, "") => incident,
        ("", subject) => subject,
        _ => return Err("it names an incident and a subject".to_owned()),
    };
    let stream = stream.parse().map_err(|error| format!("{error}"))?;
    let bytes = |name: &str, text: &str| lower_hex(text).map_err(|problem| format!("{name}: {problem}"));
    let mut texts = BTreeMap::new();
    for (field, Beside { text, salt }) in line.texts {
        let salt = bytes(&format!("the salt of {field}"), &salt)?;
        // The record's own commitment is what the text is held against.
        texts.insert(field, (record::commitment(&salt, &text).to_vec(), salt, text));
    }
    let canonical = STANDARD.decode(&line.canonical).map_err(|error| format!("canonical: {error}"))?;
    Ok((stream, Row { seq: line.seq, canonical, hash: bytes("hash", &line.hash)?, texts }))
}

/// Bytes in the one spelling that an export has: a digit in capitals would change the file and not what it says.
fn lower_hex(text: &str) -> Result<Vec<u8>, String> {
    let bytes = hex::decode(text).map_err(|error| error.to_string())?;
    if text.bytes().any(|digit| digit.is_ascii_uppercase()) {
        return Err("its digits are not in lower case".to_owned());
    }
    Ok(bytes)
}

/// A map that names no key twice: of two texts for one field, readers would believe different ones.
fn each_once<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Beside>, D::Error> {
    struct Once;
    impl<'de> Visitor<'de> for Once {
        type Value = BTreeMap<String, Beside>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("texts by field")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut texts = BTreeMap::new();
            while let Some((field, text)) = map.next_entry::<String, Beside>()? {
                if texts.insert(field.clone(), text).is_some() {
                    return Err(A::Error::custom(format!("the text of {field} stands there twice")));
                }
            }
            Ok(texts)
        }
    }
    deserializer.deserialize_map(Once)
}
