//! The table of live output, asked in the same words of SQLite and PostgreSQL.

/// Makes the module of one store.
macro_rules! live_output_queries {
    ($connection:ty, $row:ty) => {
        use harmony_incidents::{OrgId, StreamId};
        use jiff::Timestamp;

        use super::{column, unavailable};
        use crate::{
            live_output::{KEPT_AFTER_END, KEPT_BYTES, KEPT_WITHOUT_END, LiveOutput, StoredOutput},
            sql::{micros, signed, unsigned},
            store::LogError,
        };

        /// Adds pieces, and drops what is too old and what a cell printed long before. Nobody else writes to this stream
        /// meanwhile.
        pub(super) async fn write(
            connection: &mut $connection,
            org: &OrgId,
            stream: &StreamId,
            pieces: &[LiveOutput],
        ) -> Result<(), LogError> {
            let now = Timestamp::now().as_microsecond();
            sqlx::query("DELETE FROM live_output WHERE org = $1 AND expires_at_us < $2")
                .bind(org.as_str())
                .bind(now)
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
            // Numbers grow with the clock: one that a reader has seen does not come again when all rows are gone.
            let last: i64 = sqlx::query_scalar(
                "SELECT COALESCE(MAX(number), 0) FROM live_output WHERE org = $1 AND stream = $2",
            )
            .bind(org.as_str())
            .bind(stream.as_str())
            .fetch_one(&mut *connection)
            .await
            .map_err(unavailable)?;
            for (number, piece) in ((last + 1).max(now)..).zip(pieces) {
                sqlx::query(
                    "INSERT INTO live_output (org, stream, number, step, cell, attempt, from_bytes, to_bytes, text, ended, at_us, expires_at_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                )
                .bind(org.as_str())
                .bind(stream.as_str())
                .bind(number)
                .bind(&piece.step)
                .bind(&piece.cell)
                .bind(i64::from(piece.attempt))
                .bind(signed(piece.from_bytes))
                .bind(signed(piece.to_bytes))
                .bind(&piece.text)
                .bind(piece.ended)
                .bind(now)
                .bind(now.saturating_add(micros(KEPT_WITHOUT_END)))
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
                sqlx::query(
                    "DELETE FROM live_output WHERE org = $1 AND stream = $2 AND step = $3 AND attempt = $4 AND to_bytes <= $5 AND NOT ended",
                )
                .bind(org.as_str())
                .bind(stream.as_str())
                .bind(&piece.step)
                .bind(i64::from(piece.attempt))
                .bind(signed(piece.to_bytes.saturating_sub(KEPT_BYTES)))
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
            }
            Ok(())
        }

        /// Says that a step has ended, where there is output of it that does not say so yet, and lets it go soon.
        pub(super) async fn end(
            connection: &mut $connection,
            org: &OrgId,
            stream: &StreamId,
            step: &str,
            how: &str,
        ) -> Result<(), LogError> {
            let last = sqlx::query(
                "SELECT cell, attempt, to_bytes, ended FROM live_output WHERE org = $1 AND stream = $2 AND step = $3 ORDER BY number DESC LIMIT 1",
            )
            .bind(org.as_str())
            .bind(stream.as_str())
            .bind(step)
            .fetch_optional(&mut *connection)
            .await
            .map_err(unavailable)?;
            let place = || format!("live output of {stream}");
            let Some(last) = last else { return Ok(()) };
            if column(&last, "ended", place)? {
                return Ok(());
            }
            let to_bytes = unsigned(column(&last, "to_bytes", place)?);
            let end = LiveOutput {
                step: step.to_owned(),
                cell: column(&last, "cell", place)?,
                attempt: attempt(column(&last, "attempt", place)?),
                from_bytes: to_bytes,
                to_bytes,
                text: how.to_owned(),
                ended: true,
            };
            write(connection, org, stream, &[end]).await?;
            sqlx::query(
                "UPDATE live_output SET expires_at_us = $1 WHERE org = $2 AND stream = $3 AND step = $4",
            )
            .bind(Timestamp::now().as_microsecond().saturating_add(micros(KEPT_AFTER_END)))
            .bind(org.as_str())
            .bind(stream.as_str())
            .bind(step)
            .execute(connection)
            .await
            .map(drop)
            .map_err(unavailable)
        }

        pub(super) async fn read(
            connection: &mut $connection,
            org: &OrgId,
            stream: &StreamId,
            after: u64,
            limit: u32,
        ) -> Result<Vec<StoredOutput>, LogError> {
            let rows = sqlx::query(
                "SELECT number, step, cell, attempt, from_bytes, to_bytes, text, ended, at_us FROM live_output WHERE org = $1 AND stream = $2 AND number > $3 AND expires_at_us >= $4 ORDER BY number LIMIT $5",
            )
            .bind(org.as_str())
            .bind(stream.as_str())
            .bind(signed(after))
            .bind(Timestamp::now().as_microsecond())
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await
            .map_err(unavailable)?;
            rows.iter().map(|row| stored(row, stream)).collect()
        }

        /// The last pieces of a step, oldest first.
        pub(super) async fn last(
            connection: &mut $connection,
            org: &OrgId,
            stream: &StreamId,
            step: &str,
            limit: u32,
        ) -> Result<Vec<StoredOutput>, LogError> {
            let rows = sqlx::query(
                "SELECT number, step, cell, attempt, from_bytes, to_bytes, text, ended, at_us FROM live_output WHERE org = $1 AND stream = $2 AND step = $3 AND expires_at_us >= $4 ORDER BY number DESC LIMIT $5",
            )
            .bind(org.as_str())
            .bind(stream.as_str())
            .bind(step)
            .bind(Timestamp::now().as_microsecond())
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await
            .map_err(unavailable)?;
            rows.iter().rev().map(|row| stored(row, stream)).collect()
        }

        fn stored(row: &$row, stream: &StreamId) -> Result<StoredOutput, LogError> {
            let place = || format!("live output of {stream}");
            Ok(StoredOutput {
                number: unsigned(column(row, "number", place)?),
                at: Timestamp::from_microsecond(column(row, "at_us", place)?)
                    .map_err(|_| LogError::Corrupt { place: place() })?,
                output: LiveOutput {
                    step: column(row, "step", place)?,
                    cell: column(row, "cell", place)?,
                    attempt: attempt(column(row, "attempt", place)?),
                    from_bytes: unsigned(column(row, "from_bytes", place)?),
                    to_bytes: unsigned(column(row, "to_bytes", place)?),
                    text: column(row, "text", place)?,
                    ended: column(row, "ended", place)?,
                },
            })
        }

        pub(super) async fn forget(
            connection: &mut $connection,
            org: &OrgId,
            stream: &StreamId,
        ) -> Result<(), LogError> {
            sqlx::query("DELETE FROM live_output WHERE org = $1 AND stream = $2")
                .bind(org.as_str())
                .bind(stream.as_str())
                .execute(connection)
                .await
                .map(drop)
                .map_err(unavailable)
        }

        fn attempt(number: i64) -> u32 {
            u32::try_from(number).unwrap_or_default()
        }
    };
}
pub(crate) use live_output_queries;
