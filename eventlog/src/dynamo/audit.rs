//! What verifying reads: one stream at a time, as it was at one moment.
//!
//! Head, records and texts are read one after the other; where the head's version is another afterwards, somebody
//! appended meanwhile, and they are read again.

use async_trait::async_trait;
use harmony_incidents::{OrgId, StreamId};

use super::{
    DynamoLog,
    catalog::CatalogListed,
    item::{Item, bytes, number, text, text_if},
    read::{raw, waits},
};
use crate::{
    append::{self, IncidentProjection, Projection},
    store::LogError,
    verify::{Audit, Opened, Page, Row},
};

/// How often an incident that is written to is read again, before its newest records are left to the next time.
const ROUNDS: u32 = 8;

/// Incidents as they were at one moment each.
pub(super) struct Snapshots<'a> {
    log: &'a DynamoLog,
    held: Option<Snapshot>,
}

struct Snapshot {
    org: OrgId,
    stream: StreamId,
    head: Option<Item>,
    /// What lists are told of a stream of the catalog; `None` where it cannot be read.
    listed: Option<CatalogListed>,
    rows: Vec<Row>,
    /// Where texts stand that belong to no record.
    strays: Vec<u64>,
}

impl<'a> Snapshots<'a> {
    pub(super) fn of(log: &'a DynamoLog) -> Self {
        Self { log, held: None }
    }

    /// Of the head of the stream that was read last; `None` where it has none.
    pub(super) fn version(&self) -> Option<u64> {
        let head = self.held.as_ref()?.head.as_ref()?;
        number(head, "version", String::new).ok()
    }

    async fn hold(&mut self, org: &OrgId, stream: &StreamId) -> Result<&Snapshot, LogError> {
        let is_held = self.held.as_ref().is_some_and(|held| held.org == *org && held.stream == *stream);
        if !is_held {
            self.held = None;
        }
        match self.held.take() {
            Some(held) => Ok(self.held.insert(held)),
            None => {
                let held = self.read(org, stream).await?;
                Ok(self.held.insert(held))
            }
        }
    }

    async fn read(&self, org: &OrgId, stream: &StreamId) -> Result<Snapshot, LogError> {
        let place = || stream.to_string();
        let version =
            |head: &Option<Item>| head.as_ref().and_then(|head| number::<u64>(head, "version", place).ok());
        let (mut head, mut listed) = self.log.projected(org, stream).await?;
        let mut round = 0;
        loop {
            round += 1;
            let mut found = self.log.event_rows(org, stream, 0, u32::MAX).await?;
            let mut beside = self.log.beside(org, stream).await?;
            let (after, listed_after) = self.log.projected(org, stream).await?;
            if version(&head) != version(&after) && round < ROUNDS {
                (head, listed) = (after, listed_after);
                continue;
            }
            if version(&head) != version(&after) {
                // Written to all the time: up to the head that was read first, nothing is missing.
                let last: u64 = head.as_ref().map_or(Ok(0), |head| number(head, "seq", place))?;
                found.retain(|row| number::<u64>(row, "seq", place).is_ok_and(|seq| seq <= last));
                beside.retain(|seq, _| *seq <= last);
            }
            if let Some(those) = &listed
                && !self.log.is_found(org, stream, those).await?
            {
                listed = None;
            }
            let rows = found.iter().map(|row| raw(row, stream, &mut beside)).collect::<Result<_, _>>()?;
            let strays = beside.into_keys().collect();
            return Ok(Snapshot { org: org.clone(), stream: stream.clone(), head, listed, rows, strays });
        }
    }
}

#[async_trait]
impl Audit for Snapshots<'_> {
    async fn traces(&mut self, org: &OrgId) -> Result<Vec<String>, LogError> {
        self.log.traced(org).await
    }

    async fn page(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Page, LogError> {
        let held = self.hold(org, stream).await?;
        let wanted = held.rows.iter().filter(|row| row.seq > after).take(limit as usize);
        let rows: Vec<Row> = wanted.cloned().collect();
        let strays = if after == 0 { held.strays.clone() } else { Vec::new() };
        let next = rows.last().map(|row| row.seq).filter(|_| rows.len() == limit as usize);
        Ok(Page { next, open: Box::new(move || Ok(Opened { rows, strays })) })
    }

    async fn projection(&mut self, org: &OrgId, stream: &StreamId) -> Result<Option<Projection>, LogError> {
        let place = || stream.to_string();
        self.hold(org, stream).await?;
        let Some(held) = &mut self.held else { return Ok(None) };
        let Some(row) = &held.head else { return Ok(None) };
        if stream.incident().is_none() {
            let listed = held.listed.take().ok_or_else(|| LogError::Corrupt { place: place() })?;
            return Ok(Some(Projection::Catalog(Box::new(listed.with(stream, row)?))));
        }
        Ok(Some(Projection::Incident(Box::new(IncidentProjection {
            year: number(row, "incident_year", place)?,
            number: number(row, "incident_number", place)?,
            seq: number(row, "seq", place)?,
            head_hash: bytes(row, "head_hash", place)?.to_vec(),
            state: bytes(row, "folded", place)?.to_vec(),
            state_word: text(row, "state_word", place)?.to_owned(),
            phase_word: text(row, "phase_word", place)?.to_owned(),
            severity: text(row, "severity", place)?.to_owned(),
            status_word: text(row, "status_word", place)?.to_owned(),
            service: text(row, "service_name", place)?.to_owned(),
            environment: text(row, "environment_name", place)?.to_owned(),
            project: text(row, "project_name", place)?.to_owned(),
            correlation_keys: text(row, "correlation_keys", place)?.to_owned(),
            waiting: match waits(row) {
                Some(waiting) => waiting,
                None => append::head(stream, bytes(row, "head_hash", place)?, bytes(row, "folded", place)?)
                    .and_then(|head| head.state.incident())
                    .is_some_and(|state| append::is_waiting(&state)),
            },
            visible_to: text_if(row, "visible_to").unwrap_or_default().to_owned(),
            drill: number::<u8>(row, "drill", place).is_ok_and(|drill| drill == 1),
        }))))
    }
}
