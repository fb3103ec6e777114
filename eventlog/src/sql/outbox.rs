//! The outbox, asked in the same words of SQLite and PostgreSQL: what follows a command, claimed by one dispatcher at a time.

/// Makes the module of one store. The last argument passes over rows that somebody else is claiming.
macro_rules! outbox_queries {
    ($connection:ty, $row:ty, $unlocked:literal) => {
        use std::{str::FromStr as _, time::Duration};

        use harmony_incidents::{OrgId, StreamId};
        use jiff::Timestamp;
        use sqlx::Row as _;

        use super::{column, unavailable};
        use crate::{
            append::stream_id,
            sql::{micros, unsigned},
            store::{LogError, OutboxId, OutboxItem, OutboxKind, Pending},
        };

        pub(super) async fn insert(
            connection: &mut $connection,
            org: &OrgId,
            stream: Option<&StreamId>,
            item: &OutboxItem,
            now: Timestamp,
        ) -> Result<(), LogError> {
            sqlx::query(
                "INSERT INTO outbox (org, incident, kind, name, payload, created_at_us, due_at_us) VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (org, kind, name) DO NOTHING",
            )
            .bind(org.as_str())
            .bind(stream.map_or("", StreamId::as_str))
            .bind(item.kind.name())
            .bind(&item.name)
            .bind(item.payload.to_string())
            .bind(now.as_microsecond())
            .execute(connection)
            .await
            .map(drop)
            .map_err(unavailable)
        }

        pub(super) async fn claim(connection: &mut $connection, limit: u32, lease: Duration) -> Result<Vec<Pending>, LogError> {
            let now = Timestamp::now().as_microsecond();
            let rows = sqlx::query(concat!(
                "UPDATE outbox SET due_at_us = $2, attempts = attempts + 1 WHERE id IN (SELECT id FROM outbox WHERE done_at_us IS NULL AND due_at_us <= $1 ORDER BY id LIMIT $3",
                $unlocked,
                ") RETURNING id, org, incident, kind, name, payload, attempts, created_at_us",
            ))
            .bind(now)
            .bind(now.saturating_add(micros(lease)))
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await
            .map_err(unavailable)?;
            // An item that cannot be read waits for its next turn and holds nobody up.
            let readable =
                |row| pending(row).inspect_err(|error| tracing::error!(%error, "an outbox item is skipped"));
            let mut claimed: Vec<(i64, Pending)> = rows.iter().filter_map(|row| readable(row).ok()).collect();
            claimed.sort_by_key(|(id, _)| *id);
            Ok(claimed.into_iter().map(|(_, pending)| pending).collect())
        }

        pub(super) async fn done(connection: &mut $connection, id: &OutboxId) -> Result<(), LogError> {
            sqlx::query("UPDATE outbox SET done_at_us = $1 WHERE id = $2 AND done_at_us IS NULL")
                .bind(Timestamp::now().as_microsecond())
                .bind(row_id(id)?)
                .execute(connection)
                .await
                .map(drop)
                .map_err(unavailable)
        }

        pub(super) async fn later(
            connection: &mut $connection,
            id: &OutboxId,
            delay: Duration,
            error: &str,
        ) -> Result<(), LogError> {
            sqlx::query("UPDATE outbox SET due_at_us = $1, last_error = $2 WHERE id = $3")
                .bind(Timestamp::now().as_microsecond().saturating_add(micros(delay)))
                // What somebody else answered may hold what TEXT does not.
                .bind(error.replace('\0', ""))
                .bind(row_id(id)?)
                .execute(connection)
                .await
                .map(drop)
                .map_err(unavailable)
        }

        pub(super) async fn backlog(connection: &mut $connection) -> Result<(u64, Duration), LogError> {
            // What shows a running cell waits for its end, and holds nothing up.
            let row = sqlx::query(
                "SELECT COUNT(*) AS n, MIN(created_at_us) AS oldest FROM outbox WHERE done_at_us IS NULL AND kind <> 'output'",
            )
            .fetch_one(connection)
            .await
            .map_err(unavailable)?;
            let oldest: Option<i64> = row.get("oldest");
            let age = oldest.map_or(0, |oldest| Timestamp::now().as_microsecond() - oldest);
            Ok((unsigned(row.get("n")), Duration::from_micros(unsigned(age))))
        }

        fn row_id(id: &OutboxId) -> Result<i64, LogError> {
            id.0.parse().map_err(|_| LogError::Corrupt { place: format!("outbox {id}") })
        }

        /// Reads a claimed row: its place in the order of claiming, and the item.
        fn pending(row: &$row) -> Result<(i64, Pending), LogError> {
            let id: i64 = column(row, "id", || "the outbox".to_owned())?;
            let place = || format!("outbox {id}");
            let corrupt = || LogError::Corrupt { place: place() };
            let attempts: i64 = column(row, "attempts", place)?;
            let pending = Pending {
                id: OutboxId(id.to_string()),
                org: OrgId::from_str(column(row, "org", place)?).map_err(|_| corrupt())?,
                stream: match column(row, "incident", place)? {
                    "" => None,
                    stream => Some(stream_id(stream)?),
                },
                item: OutboxItem {
                    kind: OutboxKind::from_name(column(row, "kind", place)?).ok_or_else(corrupt)?,
                    name: column(row, "name", place)?,
                    payload: serde_json::from_str(column(row, "payload", place)?).map_err(|_| corrupt())?,
                },
                attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
                created_at: Timestamp::from_microsecond(column(row, "created_at_us", place)?)
                    .map_err(|_| corrupt())?,
            };
            Ok((id, pending))
        }
    };
}
pub(crate) use outbox_queries;
