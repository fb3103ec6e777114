//! What both SQL stores need: columns and pages of rows, numbers as SQL has them, and errors in one line.

pub(crate) mod candidates;
pub(crate) mod catalog;
pub(crate) mod effects;
pub(crate) mod lanes;
pub(crate) mod live_output;
pub(crate) mod outbox;
pub(crate) mod subscriptions;

use std::{collections::BTreeMap, time::Duration};

use harmony_incidents::StreamId;
use sqlx::{ColumnIndex, Decode, Type};

use crate::{
    entry,
    store::LogError,
    verify::{Opened, Page, Row, Texts},
};

/// A column of a row. A value of another type is damage, not a reason to panic: SQLite holds whatever was put there.
pub(crate) fn column<'r, R, T>(row: &'r R, name: &str, place: impl FnOnce() -> String) -> Result<T, LogError>
where
    R: sqlx::Row,
    for<'n> &'n str: ColumnIndex<R>,
    T: Decode<'r, R::Database> + Type<R::Database>,
{
    row.try_get(name).map_err(|_| LogError::Corrupt { place: place() })
}

/// A page of records (`seq`, `canonical`, `hash`) and the texts beside them (`seq`, and in bytes `field`, `commitment`,
/// `salt` and `text`), to be taken apart by whoever checks it.
pub(crate) fn page<R>(next: Option<i64>, stream: &StreamId, found: Vec<R>, beside: Vec<R>) -> Page
where
    R: sqlx::Row + 'static,
    for<'n> &'n str: ColumnIndex<R>,
    i64: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: for<'r> Decode<'r, R::Database> + Type<R::Database>,
{
    let stream = stream.to_string();
    let open = move || {
        let place = || stream.clone();
        let mut rows = Vec::with_capacity(found.len());
        for row in &found {
            rows.push(Row {
                seq: unsigned(column(row, "seq", place)?),
                canonical: column(row, "canonical", place)?,
                hash: column(row, "hash", place)?,
                texts: Texts::new(),
            });
        }
        let mut texts = BTreeMap::<u64, Texts>::new();
        for row in &beside {
            let text = (
                column(row, "commitment", place)?,
                column(row, "salt", place)?,
                entry::utf8(column(row, "text", place)?),
            );
            let fields = texts.entry(unsigned(column(row, "seq", place)?)).or_default();
            fields.insert(entry::utf8(column(row, "field", place)?), text);
        }
        Ok(Opened::of(rows, texts))
    };
    Page { next: next.map(unsigned), open: Box::new(open) }
}

pub(crate) fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        other => other.to_string(),
    }
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
