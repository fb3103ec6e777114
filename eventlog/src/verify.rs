//! Checking a log again: every byte, every link of every chain, every folded state, every text.
//!
//! Store-independent: it is given the rows of one stream in order and says what is wrong with them, naming stream and
//! seq. Text that was taken out on record is "redacted"; every other mismatch is tampering.

use std::collections::BTreeMap;

use async_trait::async_trait;
use harmony_incidents::{
    IncidentId, OrgId, StreamId,
    log::{Payload, payload::Kind},
    record::{self, ChainError, Folded as _, Hash, SaltKey},
};
use harmony_protos::texts;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    append::Projection,
    catalog::CatalogRows,
    store::LogError,
    stream::{self, ChainHead},
};

/// Rows read at a time.
const PAGE: u32 = 500;
/// Pieces that are read ahead of the check.
const AHEAD: usize = 8;

/// One stored row, as it is.
#[derive(Debug, Clone)]
pub struct Row {
    /// Place.
    pub seq: u64,
    /// As stored.
    pub canonical: Vec<u8>,
    /// As stored.
    pub hash: Vec<u8>,
    /// Texts beside it.
    pub texts: Texts,
}

/// Texts of one record: field → (commitment, salt, text).
pub type Texts = BTreeMap<String, (Vec<u8>, Vec<u8>, String)>;

/// Some rows of one stream with the texts beside them, as they were read: whoever checks them takes them apart, so
/// that the next can be read meanwhile.
pub(crate) struct Page {
    /// The seq of the last row, where others may follow.
    pub(crate) next: Option<u64>,
    /// Takes it apart; [`LogError::Corrupt`] where a column is not what it should be.
    pub(crate) open: Box<dyn FnOnce() -> Result<Opened, LogError> + Send>,
}

/// A page that was taken apart.
#[derive(Debug)]
pub(crate) struct Opened {
    /// In order of seq.
    pub(crate) rows: Vec<Row>,
    /// Where texts stand, as far as these rows go, that belong to no record.
    pub(crate) strays: Vec<u64>,
}

impl Opened {
    /// Puts each text beside its row; what is left belongs to none.
    pub(crate) fn of(mut rows: Vec<Row>, mut texts: BTreeMap<u64, Texts>) -> Self {
        for row in &mut rows {
            row.texts = texts.remove(&row.seq).unwrap_or_default();
        }
        Self { rows, strays: texts.into_keys().collect() }
    }
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The stream: an incident's id, or `svc/…` and `env/…`.
    pub incident: String,
    /// Seq of the first record it concerns.
    pub seq: u64,
    /// What.
    pub problem: String,
}

/// A text that was taken out on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redacted {
    /// The stream, as in a finding.
    pub incident: String,
    /// Record.
    pub seq: u64,
    /// Field.
    pub field: String,
}

/// What verifying found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether nothing is wrong.
    pub verified: bool,
    /// Incidents looked at.
    pub incidents: u64,
    /// Services and environments looked at.
    #[serde(skip_serializing_if = "is_zero")]
    pub catalog: u64,
    /// Records looked at.
    pub records: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What was taken out on record.
    pub redacted: Vec<Redacted>,
}

impl Report {
    /// What it says to somebody who may not know of these streams, which had so many records each.
    #[must_use]
    pub fn without(mut self, hidden: &BTreeMap<StreamId, u64>) -> Self {
        let hides = |stream: &str| hidden.keys().any(|one| one.as_str() == stream);
        self.incidents = self.incidents.saturating_sub(hidden.len() as u64);
        self.records = self.records.saturating_sub(hidden.values().sum());
        self.findings.retain(|finding| !hides(&finding.incident));
        self.redacted.retain(|one| !hides(&one.incident));
        self.verified = self.findings.is_empty();
        self
    }

    /// Adds a finding.
    pub fn find(&mut self, stream: &StreamId, seq: u64, problem: impl Into<String>) {
        self.findings.push(Finding { incident: stream.to_string(), seq, problem: problem.into() });
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What verifying reads of a store, all of it as it was at one moment. Whatever was put into a row is handed out as it
/// is: damage is to be found, not to stop the search for it.
#[async_trait]
pub(crate) trait Audit: Send {
    /// Every id that a row of this organisation names, as it is written there.
    async fn traces(&mut self, org: &OrgId) -> Result<Vec<String>, LogError>;

    /// What stands after `after`: at most so many rows, in order of seq. A page of fewer is the last.
    async fn page(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Page, LogError>;

    /// What readers are told; [`LogError::Corrupt`] where a column is not what it should be.
    async fn projection(&mut self, org: &OrgId, stream: &StreamId) -> Result<Option<Projection>, LogError>;
}

/// Checks every record of an organisation: bytes, chain, state, texts, projections, and the salts of texts where their
/// key is known. What was read is checked on a thread of its own while the next is read.
pub(crate) async fn log<A: Audit>(
    store: &mut A,
    org: &OrgId,
    salt_key: Option<&SaltKey>,
) -> Result<Report, LogError> {
    let (pieces, read) = mpsc::channel(AHEAD);
    let checked = tokio::task::spawn_blocking({
        let (org, salt_key) = (org.clone(), salt_key.cloned());
        move || check(&org, salt_key.as_ref(), read)
    });
    let traces = store.traces(org).await?;
    // Nobody takes them only where the check has stopped, which is told below.
    drop(pieces.send(Piece::Traces(traces.clone())).await);
    for stream in in_order(&traces) {
        read_stream(store, org, stream, &pieces).await?;
    }
    drop(pieces);
    checked.await.map_err(|error| LogError::Unavailable(format!("verifying stopped: {error}").into()))?
}

/// What is read, in order.
enum Piece {
    /// Ids as they are written in rows; the first piece.
    Traces(Vec<String>),
    /// A stream begins.
    Stream(StreamId),
    /// Its next rows.
    Page(Page),
    /// It ends; what readers are told of it.
    End(Kept),
}

/// What readers are told of a stream.
enum Kept {
    Nothing,
    Unreadable,
    Projection(Box<Projection>),
}

fn in_order(traces: &[String]) -> Vec<StreamId> {
    let mut streams: Vec<StreamId> = traces.iter().filter_map(|id| id.parse().ok()).collect();
    streams.sort_unstable();
    streams
}

async fn read_stream<A: Audit>(
    store: &mut A,
    org: &OrgId,
    stream: StreamId,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), LogError> {
    drop(pieces.send(Piece::Stream(stream.clone())).await);
    let mut after = 0;
    loop {
        let page = store.page(org, &stream, after, PAGE).await?;
        let last = page.next.filter(|last| *last > after);
        drop(pieces.send(Piece::Page(page)).await);
        let Some(last) = last else { break };
        after = last;
    }
    let kept = match store.projection(org, &stream).await {
        Ok(Some(projection)) => Kept::Projection(Box::new(projection)),
        Ok(None) => Kept::Nothing,
        Err(LogError::Corrupt { .. }) => Kept::Unreadable,
        Err(other) => return Err(other),
    };
    drop(pieces.send(Piece::End(kept)).await);
    Ok(())
}

/// Checks pieces until there are no more.
fn check(
    org: &OrgId,
    salt_key: Option<&SaltKey>,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<Report, LogError> {
    let mut report = Report::default();
    let mut under_way = None;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Traces(traces) => {
                for id in &traces {
                    if let Err(error) = id.parse::<StreamId>() {
                        let problem = error.to_string();
                        report.findings.push(Finding { incident: id.clone(), seq: 1, problem });
                    }
                }
                check_numbers(&mut report, &in_order(&traces));
            }
            Piece::Stream(stream) => {
                under_way = Some(Chain::begin(&mut report, org, &stream).salted_by(salt_key));
            }
            Piece::Page(page) => {
                let Some(chain) = &mut under_way else { continue };
                let Opened { rows, strays } = (page.open)()?;
                for seq in strays {
                    report.find(&chain.stream, seq, "a text stands where there is no record");
                }
                rows.iter().for_each(|row| chain.row(&mut report, row));
            }
            Piece::End(kept) => {
                let Some(chain) = under_way.take() else { continue };
                let stream = chain.stream().clone();
                if let Some(folded) = chain.end(&mut report) {
                    check_projection(&mut report, &stream, folded, kept);
                }
            }
        }
    }
    report.verified = report.findings.is_empty();
    Ok(report)
}

/// Holds what lists and readers are told against what the log folds to.
fn check_projection(report: &mut Report, stream: &StreamId, found: WholeChain, kept: Kept) {
    let (seq, hash) = (found.head.state.seq(), found.head.hash);
    let kept = match kept {
        Kept::Projection(kept) => kept,
        Kept::Nothing => return report.find(stream, seq, format!("the {} has no projection", stream.kind())),
        Kept::Unreadable => return report.find(stream, seq, "the projection is unreadable"),
    };
    let expected = found.projection(stream);
    match kept.head(stream) {
        None => report.find(stream, seq, "the projection is unreadable"),
        Some(head) if head.hash != hash => {
            let problem = format!("the log ends at {seq}, the projection was made from {}", head.state.seq());
            report.find(stream, seq + 1, problem);
        }
        Some(_) if *kept != expected => {
            report.find(stream, seq, "the projection is not what the log folds to");
        }
        Some(_) => {}
    }
}

/// Checks that no incident was taken out as a whole: numbers are gap-free per year. Given in order of year and number.
pub fn check_numbers(report: &mut Report, streams: &[StreamId]) {
    let mut last = (0, 0);
    for (year, number) in streams.iter().filter_map(StreamId::incident).map(|incident| incident.parts()) {
        let expected = if last.0 == year { last.1 + 1 } else { 1 };
        if number != expected {
            let missing = IncidentId::new(year, expected);
            let follows = IncidentId::new(year, number);
            report.find(&missing, 1, format!("{missing} is missing: {follows} follows"));
        }
        last = (year, number);
    }
}

/// Checks one stream's rows in order of seq; gives what they fold to where the chain holds to its end.
pub fn check_stream(report: &mut Report, org: &OrgId, stream: &StreamId, rows: &[Row]) -> Option<WholeChain> {
    let mut chain = Chain::begin(report, org, stream);
    for row in rows {
        chain.row(report, row);
    }
    chain.end(report)
}

/// One stream's rows as they are read, in order of seq. What it remembers grows with what is missing, not with what
/// is there.
#[derive(Debug)]
pub struct Chain {
    org: OrgId,
    stream: StreamId,
    /// `None` once it broke: what follows then cannot be judged.
    head: Option<ChainHead>,
    rows: CatalogRows,
    missing: Vec<(u64, String)>,
    redacted: Vec<(u64, String)>,
    salt_key: Option<SaltKey>,
}

/// What a whole chain folds to.
#[derive(Debug)]
pub struct WholeChain {
    /// Its end.
    pub head: ChainHead,
    /// The releases and runs on the way.
    rows: CatalogRows,
}

impl WholeChain {
    /// What lists and readers are to be told.
    pub(crate) fn projection(self, stream: &StreamId) -> Projection {
        Projection::of(stream, &self.head, self.rows)
    }
}

impl Chain {
    /// A stream before its first row.
    pub fn begin(report: &mut Report, org: &OrgId, stream: &StreamId) -> Self {
        *if stream.incident().is_some() { &mut report.incidents } else { &mut report.catalog } += 1;
        Self {
            org: org.clone(),
            stream: stream.clone(),
            head: Some(stream::genesis(stream)),
            rows: CatalogRows::default(),
            missing: Vec::new(),
            redacted: Vec::new(),
            salt_key: None,
        }
    }

    /// Compares salts with those that this key gives, too.
    #[must_use]
    pub fn salted_by(mut self, key: Option<&SaltKey>) -> Self {
        self.salt_key = key.cloned();
        self
    }

    /// Whose rows these are.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Where it stands; `None` once it broke.
    pub fn head(&self) -> Option<&ChainHead> {
        self.head.as_ref()
    }

    /// Gives it up: a row of it cannot be read.
    pub fn break_off(&mut self) {
        self.head = None;
    }

    /// Checks the next row. After the first break there is nothing left to check it against.
    pub fn row(&mut self, report: &mut Report, row: &Row) {
        let Some(head) = self.head.take() else { return };
        report.records += 1;
        let expected = head.state.seq() + 1;
        if row.seq != expected {
            let problem = format!("record {expected} is missing: {} follows", row.seq);
            return report.find(&self.stream, expected, problem);
        }
        let (mut record, next) = match record::check(&self.org, &self.stream, head, &row.canonical, &row.hash)
        {
            Ok(checked) => checked,
            Err(error) => return report.find(&self.stream, row.seq, error.to_string()),
        };
        self.rows.touch(&record, &next.state);
        self.head = Some(next);
        let event = std::mem::take(&mut record.event_id);
        let payload = record.payload.get_or_insert_default();
        let expected = |field: &str| self.salt_key.as_ref().map(|key| key.salt(&event, field));
        check_texts(report, &self.stream, row, payload, &expected, &mut self.missing);
        if let Some(Kind::RecordRedacted(p)) = &payload.kind {
            self.redacted.push((p.seq, p.field.clone()));
        }
    }

    /// Tells what was redacted from what was taken; gives what it folds to where it holds to its end.
    pub fn end(self, report: &mut Report) -> Option<WholeChain> {
        let head = self.head?;
        let stream = &self.stream;
        for (seq, field) in self.missing {
            if self.redacted.iter().any(|(at, what)| *at == seq && (what.is_empty() || *what == field)) {
                report.redacted.push(Redacted { incident: stream.to_string(), seq, field });
            } else {
                report.find(
                    stream,
                    seq,
                    format!("the text of {field} is missing and no record says it was taken out"),
                );
            }
        }
        Some(WholeChain { head, rows: self.rows })
    }
}

fn check_texts(
    report: &mut Report,
    stream: &StreamId,
    row: &Row,
    payload: &mut Payload,
    expected_salt: &dyn Fn(&str) -> Option<Hash>,
    missing: &mut Vec<(u64, String)>,
) {
    let mut known = 0;
    for field in texts(payload) {
        match row.texts.get(&field.name) {
            None => missing.push((row.seq, field.name)),
            Some((stored, salt, text)) => {
                known += 1;
                let error = if stored != &field.text.commitment
                    || !record::is_committed(&field.text.commitment, salt, text)
                {
                    ChainError::Text { field: field.name }
                } else if expected_salt(&field.name).is_some_and(|expected| expected != salt.as_slice()) {
                    ChainError::Salt { field: field.name }
                } else {
                    continue;
                };
                report.find(stream, row.seq, error.to_string());
            }
        }
    }
    if known < row.texts.len() {
        report.find(stream, row.seq, "a text stands beside it that it never committed to");
    }
}
