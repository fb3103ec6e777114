//! Making the projections again, from the records and nothing else.
//!
//! What lists and readers are told is a projection; where it was damaged, the log makes it again. All of an
//! organisation's is made in one transaction, while nobody appends, and only from a log that verifies: projections of
//! damaged records would only hide the damage.

use async_trait::async_trait;
use harmony_incidents::{OrgId, StreamId, record::Folded as _};

use crate::{
    append::Projection,
    store::LogError,
    verify::{Audit, Chain, Report},
};

/// Rows read at a time.
const PAGE: u32 = 500;

/// What was made again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Streams looked at.
    pub streams: u64,
    /// Records folded.
    pub records: u64,
    /// Projections that were not what the records fold to, or stood for no record.
    pub mended: u64,
}

/// What rebuilding writes, in the transaction it reads in.
#[async_trait]
pub(crate) trait Projections: Audit {
    /// Takes a stream's projection away, whatever it is.
    async fn unproject(&mut self, org: &OrgId, stream: &str) -> Result<(), LogError>;

    /// Writes a stream's projection.
    async fn project(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        projection: &Projection,
    ) -> Result<(), LogError>;
}

/// Makes all projections of an organisation again. The store commits afterwards, or rolls back where this fails.
pub(crate) async fn rebuild<P: Projections>(store: &mut P, org: &OrgId) -> Result<Rebuilt, LogError> {
    let mut rebuilt = Rebuilt::default();
    let mut wrong = Vec::new();
    for id in store.traces(org).await? {
        let folded = match id.parse::<StreamId>() {
            Ok(stream) => {
                let projection = fold(store, org, &stream, &mut rebuilt.records).await?;
                rebuilt.streams += u64::from(projection.is_some());
                projection.map(|projection| (stream, projection))
            }
            Err(_) => None,
        };
        let is_right = match &folded {
            Some((stream, projection)) => match store.projection(org, stream).await {
                Ok(kept) => kept.as_ref() == Some(projection),
                Err(LogError::Corrupt { .. }) => false,
                Err(other) => return Err(other),
            },
            None => false,
        };
        if !is_right {
            wrong.push((id, folded));
        }
    }
    // All of the wrong ones go first: one may stand under another's number.
    for (id, _) in &wrong {
        store.unproject(org, id).await?;
    }
    for (stream, projection) in wrong.iter().filter_map(|(_, folded)| folded.as_ref()) {
        store.project(org, stream, projection).await?;
    }
    rebuilt.mended = u64::try_from(wrong.len()).unwrap_or(u64::MAX);
    Ok(rebuilt)
}

/// What a stream's records fold to; `None` where it has none.
async fn fold<P: Projections>(
    store: &mut P,
    org: &OrgId,
    stream: &StreamId,
    records: &mut u64,
) -> Result<Option<Projection>, LogError> {
    let mut report = Report::default();
    let mut chain = Chain::begin(&mut report, org, stream);
    let mut after = 0;
    loop {
        let page = store.page(org, stream, after, PAGE).await?;
        let rows = (page.open)()?.rows;
        for row in &rows {
            chain.row(&mut report, row);
        }
        match rows.last() {
            Some(last) if last.seq > after => after = last.seq,
            _ => break,
        }
    }
    *records += report.records;
    let folded = chain.end(&mut report);
    if let Some(finding) = report.findings.first() {
        let place = format!("{} seq {} ({})", finding.incident, finding.seq, finding.problem);
        return Err(LogError::Corrupt { place });
    }
    Ok(folded.filter(|folded| folded.head.state.seq() > 0).map(|folded| folded.projection(stream)))
}
