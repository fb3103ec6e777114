//! Checking a log again: every byte, every link of every chain, every folded state, every text.
//!
//! Store-independent: it is given the rows of one incident in order and says what is wrong with them, naming incident
//! and seq. Text that was taken out on record is "redacted"; every other mismatch is tampering.

use std::collections::BTreeMap;

use harmony_incidents::{
    IncidentId, OrgId,
    log::{Record, payload::Kind},
    record::{self, ChainHead},
};
use harmony_protos::texts;
use serde::Serialize;

/// One stored row, as it is.
#[derive(Debug, Clone)]
pub struct Row {
    /// Place.
    pub seq: u64,
    /// As stored.
    pub canonical: Vec<u8>,
    /// As stored.
    pub hash: Vec<u8>,
    /// Texts beside it: field → (commitment, salt, text).
    pub texts: BTreeMap<String, (Vec<u8>, Vec<u8>, String)>,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Incident.
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
    /// Incident.
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
    /// Records looked at.
    pub records: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What was taken out on record.
    pub redacted: Vec<Redacted>,
}

impl Report {
    /// Adds a finding.
    pub fn find(&mut self, incident: &IncidentId, seq: u64, problem: impl Into<String>) {
        self.findings.push(Finding { incident: incident.to_string(), seq, problem: problem.into() });
    }
}

/// Checks that no incident was taken out as a whole: numbers are gap-free per year. Given in order of year and number.
pub fn check_numbers(report: &mut Report, incidents: &[IncidentId]) {
    let mut last = (0, 0);
    for (year, number) in incidents.iter().map(IncidentId::parts) {
        let expected = if last.0 == year { last.1 + 1 } else { 1 };
        if number != expected {
            let missing = IncidentId::new(year, expected);
            let follows = IncidentId::new(year, number);
            report.find(&missing, 1, format!("{missing} is missing: {follows} follows"));
        }
        last = (year, number);
    }
}

/// Checks one incident's rows in order of seq; gives the head where the chain holds to its end.
pub fn check_incident(
    report: &mut Report,
    org: &OrgId,
    incident: &IncidentId,
    rows: &[Row],
) -> Option<ChainHead> {
    let mut chain = Chain::begin(report, org, incident);
    for row in rows {
        chain.row(report, row);
    }
    chain.end(report)
}

/// One incident's rows as they are read, in order of seq. What it remembers grows with what is missing, not with what
/// is there.
#[derive(Debug)]
pub struct Chain {
    org: OrgId,
    incident: IncidentId,
    /// `None` once it broke: what follows then cannot be judged.
    head: Option<ChainHead>,
    missing: Vec<(u64, String)>,
    redacted: Vec<(u64, String)>,
}

impl Chain {
    /// An incident before its first row.
    pub fn begin(report: &mut Report, org: &OrgId, incident: &IncidentId) -> Self {
        report.incidents += 1;
        Self {
            org: org.clone(),
            incident: incident.clone(),
            head: Some(ChainHead::default()),
            missing: Vec::new(),
            redacted: Vec::new(),
        }
    }

    /// Whose rows these are.
    pub fn incident(&self) -> &IncidentId {
        &self.incident
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
        let expected = head.state.seq + 1;
        if row.seq != expected {
            let problem = format!("record {expected} is missing: {} follows", row.seq);
            return report.find(&self.incident, expected, problem);
        }
        let (record, next) = match record::check(&self.org, &self.incident, head, &row.canonical, &row.hash) {
            Ok(checked) => checked,
            Err(error) => return report.find(&self.incident, row.seq, error.to_string()),
        };
        self.head = Some(next);
        check_texts(report, &self.incident, row, &record, &mut self.missing);
        if let Some(Kind::RecordRedacted(p)) = record.payload.as_ref().and_then(|p| p.kind.as_ref()) {
            self.redacted.push((p.seq, p.field.clone()));
        }
    }

    /// Tells what was redacted from what was taken; gives the head where the chain holds to its end.
    pub fn end(self, report: &mut Report) -> Option<ChainHead> {
        let head = self.head?;
        let incident = &self.incident;
        for (seq, field) in self.missing {
            if self.redacted.iter().any(|(at, what)| *at == seq && (what.is_empty() || *what == field)) {
                report.redacted.push(Redacted { incident: incident.to_string(), seq, field });
            } else {
                report.find(
                    incident,
                    seq,
                    format!("the text of {field} is missing and no record says it was taken out"),
                );
            }
        }
        Some(head)
    }
}

fn check_texts(
    report: &mut Report,
    incident: &IncidentId,
    row: &Row,
    record: &Record,
    missing: &mut Vec<(u64, String)>,
) {
    let mut payload = record.payload.clone().unwrap_or_default();
    let mut known = 0;
    for field in texts(&mut payload) {
        match row.texts.get(&field.name) {
            None => missing.push((row.seq, field.name)),
            Some((stored, salt, text)) => {
                known += 1;
                let commitment = record::commitment(salt, text);
                if stored != &field.text.commitment || field.text.commitment != commitment {
                    let error = record::ChainError::Text { field: field.name };
                    report.find(incident, row.seq, error.to_string());
                }
            }
        }
    }
    if known < row.texts.len() {
        report.find(incident, row.seq, "a text stands beside it that it never committed to");
    }
}
