//! The lanes of the sinks, asked in the same words of SQLite and PostgreSQL: which records of which incident wait for whom.

/// Makes the module of one store. The last argument passes over rows that somebody else is claiming.
macro_rules! lane_queries {
    ($connection:ty, $row:ty, $unlocked:literal) => {
        use std::time::Duration;

        use harmony_incidents::OrgId;
        use jiff::Timestamp;
        use sqlx::Row as _;

        use super::{column, unavailable};
        use crate::{
            append::{Plan, stream_id},
            fanout::{Lane, LaneBacklog, SinkName},
            sql::{micros, signed, unsigned},
            store::LogError,
        };

        /// Writes how far the log of an incident goes, for every sink.
        pub(super) async fn extend(connection: &mut $connection, org: &OrgId, plan: &Plan) -> Result<(), LogError> {
            if plan.sealed.is_empty() {
                return Ok(());
            }
            for sink in &plan.sinks {
                sqlx::query(
                    "INSERT INTO lanes (org, incident, sink, next_seq, last_seq, since_us, due_at_us) VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (org, incident, sink) DO UPDATE SET last_seq = excluded.last_seq, since_us = CASE WHEN lanes.next_seq > lanes.last_seq THEN excluded.since_us ELSE lanes.since_us END, due_at_us = CASE WHEN lanes.next_seq > lanes.last_seq THEN excluded.due_at_us ELSE lanes.due_at_us END",
                )
                .bind(org.as_str())
                .bind(plan.stream.as_str())
                .bind(sink.as_str())
                .bind(signed(plan.key.first_seq))
                .bind(signed(plan.key.last_seq))
                .bind(plan.stored_at.as_microsecond())
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
            }
            Ok(())
        }

        pub(super) async fn claim(
            connection: &mut $connection,
            sink: &SinkName,
            limit: u32,
            lease: Duration,
        ) -> Result<Vec<Lane>, LogError> {
            let now = Timestamp::now().as_microsecond();
            let rows = sqlx::query(concat!(
                "UPDATE lanes SET due_at_us = $2, attempts = attempts + 1 WHERE (org, incident, sink) IN (SELECT org, incident, sink FROM lanes WHERE sink = $3 AND next_seq <= last_seq AND due_at_us <= $1 ORDER BY due_at_us LIMIT $4",
                $unlocked,
                ") RETURNING org, incident, next_seq, last_seq, attempts, since_us",
            ))
            .bind(now)
            .bind(now.saturating_add(micros(lease)))
            .bind(sink.as_str())
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await
            .map_err(unavailable)?;
            let readable = |row| lane(row, sink).inspect_err(|error| tracing::error!(%error, "a lane is skipped"));
            Ok(rows.iter().filter_map(|row| readable(row).ok()).collect())
        }

        pub(super) async fn settle(
            connection: &mut $connection,
            lane: &Lane,
            sent: u64,
            failed: Option<(Duration, &str)>,
        ) -> Result<(), LogError> {
            let now = Timestamp::now().as_microsecond();
            // Only while nobody else got further: a lease may have ended.
            sqlx::query(
                "UPDATE lanes SET next_seq = $1, due_at_us = $2, last_error = $3, attempts = CASE WHEN $1 > next_seq THEN 0 ELSE attempts END, since_us = CASE WHEN $1 > next_seq THEN $4 ELSE since_us END WHERE org = $5 AND incident = $6 AND sink = $7 AND next_seq = $8",
            )
            .bind(signed(sent + 1))
            .bind(now.saturating_add(failed.map_or(0, |(wait, _)| micros(wait))))
            // What somebody else answered may hold what TEXT does not.
            .bind(failed.map(|(_, why)| why.replace('\0', "")))
            .bind(now)
            .bind(lane.org.as_str())
            .bind(lane.stream.as_str())
            .bind(lane.sink.as_str())
            .bind(signed(lane.first))
            .execute(connection)
            .await
            .map(drop)
            .map_err(unavailable)
        }

        pub(super) async fn backlog(connection: &mut $connection, sink: &SinkName) -> Result<LaneBacklog, LogError> {
            let row = sqlx::query(
                "SELECT COUNT(*) AS lanes, CAST(COALESCE(SUM(last_seq - next_seq + 1), 0) AS BIGINT) AS records, MIN(since_us) AS since_us FROM lanes WHERE sink = $1 AND next_seq <= last_seq",
            )
            .bind(sink.as_str())
            .fetch_one(connection)
            .await
            .map_err(unavailable)?;
            let since: Option<i64> = row.get("since_us");
            let age = since.map_or(0, |since| Timestamp::now().as_microsecond() - since);
            Ok(LaneBacklog {
                lanes: unsigned(row.get("lanes")),
                records: unsigned(row.get("records")),
                oldest: Duration::from_micros(unsigned(age)),
            })
        }

        /// Reads a claimed row.
        fn lane(row: &$row, sink: &SinkName) -> Result<Lane, LogError> {
            let place = || format!("a lane of {sink}");
            let corrupt = || LogError::Corrupt { place: place() };
            let org: String = column(row, "org", place)?;
            let attempts: i64 = column(row, "attempts", place)?;
            Ok(Lane {
                sink: sink.clone(),
                org: org.parse().map_err(|_| corrupt())?,
                stream: stream_id(column(row, "incident", place)?)?,
                first: unsigned(column(row, "next_seq", place)?),
                last: unsigned(column(row, "last_seq", place)?),
                attempts: u32::try_from(attempts).map_err(|_| corrupt())?,
                since: Timestamp::from_microsecond(column(row, "since_us", place)?).map_err(|_| corrupt())?,
            })
        }
    };
}
pub(crate) use lane_queries;
