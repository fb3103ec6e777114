//! Taking a text out of the file for good.
//!
//! In the transaction that records the redaction, text and salt are deleted, and so is every copy that the store made
//! for itself: in answers kept with idempotency keys, in results of effects, in outbox items that were carried out.
//! An item that still has to be carried out is signed and cannot be changed; while one holds the text, the redaction is
//! refused. After the commit the file is rebuilt without its free space and the write-ahead log is emptied, because
//! both hold older pages. Writers wait for that as long as it takes: a redaction is rare, and a large file is slow.
//!
//! Fingerprints of commands stay: they are hashes. Backups, exports and what a vendor or Temporal was told are others'
//! to clean.

use std::collections::BTreeSet;

use harmony_incidents::{IncidentId, OrgId, Refusal, log::Record, record::redactable};
use prost::Message;
use serde_json::Value;
use sqlx::{Row as _, SqlitePool, SqliteTransaction};

use super::{column, signed};
use crate::store::LogError;

/// Whether a member of this name is free text.
type IsText<'a> = &'a (dyn Fn(&str) -> bool + Send + Sync);

/// What stands where a copy stood.
const REDACTED: &str = "[redacted]";
/// Answers are typed: only these of their members are free text.
const ANSWER_TEXTS: [&str; 4] = ["action", "reason", "refusedBecause", "requestReason"];
/// A shorter text is looked for as a whole value only: as a part it would be found in every id.
const PART_BYTES: usize = 8;

/// Deletes the texts and their copies; whether there was anything to delete.
pub(super) async fn take_out(
    tx: &mut SqliteTransaction<'_>,
    org: &OrgId,
    incident: &IncidentId,
    seq: u64,
    field: Option<&str>,
) -> Result<bool, LogError> {
    let place = || format!("{incident} seq {seq}");
    let canonical: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT canonical FROM events WHERE org = ? AND incident = ? AND seq = ?")
            .bind(org.as_str())
            .bind(incident.as_str())
            .bind(signed(seq))
            .fetch_optional(&mut **tx)
            .await
            .map_err(LogError::Unavailable)?;
    let record = canonical
        .and_then(|canonical| Record::decode(canonical.as_slice()).ok())
        .ok_or_else(|| LogError::Corrupt { place: place() })?;
    let rows = sqlx::query("SELECT field, text FROM texts WHERE org = ? AND incident = ? AND seq = ?")
        .bind(org.as_str())
        .bind(incident.as_str())
        .bind(signed(seq))
        .fetch_all(&mut **tx)
        .await
        .map_err(LogError::Unavailable)?;
    let mut standing = Vec::with_capacity(rows.len());
    for row in &rows {
        standing.push((column::<String>(row, "field", place)?, column::<String>(row, "text", place)?));
    }
    let names: BTreeSet<String> = standing.iter().map(|(name, _)| name.clone()).collect();
    let gone = redactable(&record, &names, field)?;
    for (name, text) in standing.iter().filter(|(name, _)| gone.contains(name)) {
        sqlx::query("DELETE FROM texts WHERE org = ? AND incident = ? AND seq = ? AND field = ?")
            .bind(org.as_str())
            .bind(incident.as_str())
            .bind(signed(seq))
            .bind(name)
            .execute(&mut **tx)
            .await
            .map_err(LogError::Unavailable)?;
        if !text.is_empty() {
            scrub_outbox(tx, org, incident, text).await?;
            scrub_kept(tx, org, incident, text).await?;
        }
    }
    Ok(!gone.is_empty())
}

async fn scrub_outbox(
    tx: &mut SqliteTransaction<'_>,
    org: &OrgId,
    incident: &IncidentId,
    text: &str,
) -> Result<(), LogError> {
    let waiting: Vec<String> = sqlx::query_scalar(
        "SELECT payload FROM outbox WHERE org = ? AND incident = ? AND done_at_us IS NULL",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
    .fetch_all(&mut **tx)
    .await
    .map_err(LogError::Unavailable)?;
    if waiting.iter().any(|payload| scrubbed(payload, text, &|_| true).is_some()) {
        return Err(LogError::Refused(Refusal::Illegal {
            explanation:
                "something that was not yet handed to Temporal holds this text: redact it when that is done"
                    .to_owned(),
        }));
    }
    // Nobody reads what was carried out; its name alone keeps it from being carried out again.
    sqlx::query(
        "UPDATE outbox SET payload = 'null', last_error = NULL WHERE org = ? AND incident = ? AND done_at_us IS NOT NULL",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
    .execute(&mut **tx)
    .await
    .map(drop)
    .map_err(LogError::Unavailable)
}

/// Answers and results: they are given again to whoever asks again, so they stay, without the text.
async fn scrub_kept(
    tx: &mut SqliteTransaction<'_>,
    org: &OrgId,
    incident: &IncidentId,
    text: &str,
) -> Result<(), LogError> {
    let answer_text = |name: &str| ANSWER_TEXTS.contains(&name);
    let kept: [(&'static str, &'static str, IsText<'_>); 2] = [
        (
            "SELECT key, answer AS kept FROM idempotency WHERE org = ? AND incident = ?",
            "UPDATE idempotency SET answer = ? WHERE org = ? AND key = ?",
            &answer_text,
        ),
        (
            "SELECT key, result AS kept FROM effects WHERE org = ? AND incident = ? AND result IS NOT NULL",
            "UPDATE effects SET result = ? WHERE org = ? AND key = ?",
            &|_| true,
        ),
    ];
    for (select, update, is_text) in kept {
        let rows = sqlx::query(select)
            .bind(org.as_str())
            .bind(incident.as_str())
            .fetch_all(&mut **tx)
            .await
            .map_err(LogError::Unavailable)?;
        for row in &rows {
            let place = || incident.to_string();
            let (key, old): (String, String) = (column(row, "key", place)?, column(row, "kept", place)?);
            let Some(new) = scrubbed(&old, text, is_text) else { continue };
            sqlx::query(update)
                .bind(new)
                .bind(org.as_str())
                .bind(key)
                .execute(&mut **tx)
                .await
                .map_err(LogError::Unavailable)?;
        }
    }
    Ok(())
}

/// The document without the text; `None` where it does not hold it.
fn scrubbed(document: &str, text: &str, is_text: IsText<'_>) -> Option<String> {
    let mut value: Value = serde_json::from_str(document).ok()?;
    scrub(&mut value, "", text, is_text).then(|| value.to_string())
}

fn scrub(value: &mut Value, name: &str, text: &str, is_text: IsText<'_>) -> bool {
    match value {
        Value::String(held) if is_text(name) => {
            let trimmed = text.trim();
            if held.trim() == trimmed {
                *held = REDACTED.to_owned();
                return true;
            }
            let holds = trimmed.len() >= PART_BYTES && held.contains(trimmed);
            if holds {
                *held = held.replace(trimmed, REDACTED);
            }
            holds
        }
        // All of them, not only up to the first that holds it.
        Value::Array(items) => {
            items.iter_mut().filter_map(|item| scrub(item, name, text, is_text).then_some(())).count() > 0
        }
        Value::Object(members) => {
            let found = members
                .iter_mut()
                .filter_map(|(name, inner)| scrub(inner, name, text, is_text).then_some(()));
            found.count() > 0
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Rebuilds the file without what was deleted, and empties the write-ahead log. Where a reader holds on to older pages
/// for too long, the redaction stands and this fails: asked again under the same key, it is tried again.
pub(super) async fn purge(writer: &SqlitePool) -> Result<(), LogError> {
    let mut connection = writer.acquire().await.map_err(LogError::Unavailable)?;
    sqlx::query("VACUUM").execute(&mut *connection).await.map_err(LogError::Unavailable)?;
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(&mut *connection)
        .await
        .map_err(LogError::Unavailable)?;
    let busy: i64 = row.try_get(0).map_err(LogError::Unavailable)?;
    if busy == 0 {
        return Ok(());
    }
    let held = "a reader still holds older pages, which have the text that was redacted";
    tracing::warn!("{held}");
    Err(LogError::Unavailable(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::WouldBlock, held))))
}
