//! The tables of candidates and of the attempts at them, asked in the same words of SQLite and PostgreSQL: rows that change
//! by compare-and-set, and a log that drops its oldest lines.

/// Makes the module of one store. The last argument is the correlation key of a document, as the store's index has it.
macro_rules! candidate_queries {
    ($connection:ty, $database:ty, $correlation_key:literal) => {
        use harmony_incidents::{OrgId, promotion::CandidateId};
        use jiff::Timestamp;
        use sqlx::QueryBuilder;

        use super::{column, outbox, unavailable};
        use crate::{
            candidates::{
                AttemptRow, CandidateChange, CandidateFilter, Changed, PromotionAttempt, StoredCandidate,
                differing,
            },
            sql::signed,
            store::{LogError, OutboxItem},
        };

        pub(super) async fn submit(
            connection: &mut $connection,
            org: &OrgId,
            candidate: &StoredCandidate,
            follow: &[OutboxItem],
        ) -> Result<StoredCandidate, LogError> {
            let written = sqlx::query(
                "INSERT INTO candidates (org, candidate, version, status, dedup_key, incident, received_at_us, decided_at_us, fingerprint, document) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (org, candidate) DO NOTHING",
            )
            .bind(org.as_str())
            .bind(candidate.id().as_str())
            .bind(signed(candidate.version))
            .bind(candidate.status.name())
            .bind(candidate.candidate.dedup_key())
            .bind(candidate.incident.as_ref().map(|incident| incident.as_str()))
            .bind(candidate.received_at.as_microsecond())
            .bind(candidate.decided_at.map(Timestamp::as_microsecond))
            .bind(json(&candidate.fingerprint()))
            .bind(json(candidate))
            .execute(&mut *connection)
            .await
            .map_err(unavailable)?;
            if written.rows_affected() == 0 {
                return known(connection, org, candidate).await;
            }
            for item in follow {
                outbox::insert(connection, org, None, item, candidate.received_at).await?;
            }
            Ok(candidate.clone())
        }

        /// The candidate that came under this id before, if it is the same one.
        async fn known(
            connection: &mut $connection,
            org: &OrgId,
            candidate: &StoredCandidate,
        ) -> Result<StoredCandidate, LogError> {
            let known: String =
                sqlx::query_scalar("SELECT fingerprint FROM candidates WHERE org = $1 AND candidate = $2")
                    .bind(org.as_str())
                    .bind(candidate.id().as_str())
                    .fetch_one(&mut *connection)
                    .await
                    .map_err(unavailable)?;
            let fields = differing(candidate, &known)?;
            if !fields.is_empty() {
                return Err(LogError::KeyConflict { fields });
            }
            get(connection, org, candidate.id())
                .await?
                .ok_or_else(|| LogError::Corrupt { place: format!("candidate {}", candidate.id()) })
        }

        pub(super) async fn get(
            connection: &mut $connection,
            org: &OrgId,
            id: &CandidateId,
        ) -> Result<Option<StoredCandidate>, LogError> {
            let document: Option<String> =
                sqlx::query_scalar("SELECT document FROM candidates WHERE org = $1 AND candidate = $2")
                    .bind(org.as_str())
                    .bind(id.as_str())
                    .fetch_optional(connection)
                    .await
                    .map_err(unavailable)?;
            document.as_deref().map(|document| stored(document, id.as_str())).transpose()
        }

        pub(super) async fn list(
            connection: &mut $connection,
            org: &OrgId,
            filter: &CandidateFilter,
        ) -> Result<Vec<StoredCandidate>, LogError> {
            let mut query = QueryBuilder::<$database>::new("SELECT candidate, document FROM candidates WHERE org = ");
            query.push_bind(org.as_str());
            if !filter.statuses.is_empty() {
                query.push(" AND status IN (");
                let mut list = query.separated(", ");
                for status in &filter.statuses {
                    list.push_bind(status.name());
                }
                query.push(")");
            }
            if let Some(key) = &filter.dedup_key {
                query.push(" AND dedup_key = ").push_bind(key);
            }
            if let Some(key) = &filter.correlation_key {
                query.push(concat!(" AND ", $correlation_key, " = ")).push_bind(key);
            }
            if let Some((received_at, id)) = &filter.after {
                query.push(" AND (received_at_us, candidate) < (");
                query.push_bind(received_at.as_microsecond()).push(", ").push_bind(id.as_str()).push(")");
            }
            query.push(" ORDER BY received_at_us DESC, candidate DESC LIMIT ").push_bind(i64::from(filter.limit));
            let rows = query.build().fetch_all(connection).await.map_err(unavailable)?;
            rows.iter()
                .map(|row| {
                    let id: &str = column(row, "candidate", || "the candidates".to_owned())?;
                    stored(column(row, "document", || format!("candidate {id}"))?, id)
                })
                .collect()
        }

        /// Compares and sets. Nobody else promotes a candidate of this key meanwhile.
        pub(super) async fn change(
            connection: &mut $connection,
            org: &OrgId,
            change: CandidateChange<'_>,
        ) -> Result<Changed, LogError> {
            let candidate = change.candidate;
            if let (Some(key), Some(since)) = (candidate.candidate.dedup_key(), change.alone_since) {
                let other: Option<String> = sqlx::query_scalar(
                    "SELECT candidate FROM candidates WHERE org = $1 AND dedup_key = $2 AND status = 'PROMOTED' AND candidate <> $3 AND decided_at_us >= $4 ORDER BY decided_at_us LIMIT 1",
                )
                .bind(org.as_str())
                .bind(key)
                .bind(candidate.id().as_str())
                .bind(since.as_microsecond())
                .fetch_optional(&mut *connection)
                .await
                .map_err(unavailable)?;
                if let Some(other) = other {
                    let corrupt = |_| LogError::Corrupt { place: format!("candidate {other:?}") };
                    return Ok(Changed::Duplicate(other.parse().map_err(corrupt)?));
                }
            }
            let changed = sqlx::query(
                "UPDATE candidates SET version = $1, status = $2, incident = $3, decided_at_us = $4, document = $5 WHERE org = $6 AND candidate = $7 AND version = $8",
            )
            .bind(signed(candidate.version))
            .bind(candidate.status.name())
            .bind(candidate.incident.as_ref().map(|incident| incident.as_str()))
            .bind(candidate.decided_at.map(Timestamp::as_microsecond))
            .bind(json(candidate))
            .bind(org.as_str())
            .bind(candidate.id().as_str())
            .bind(signed(candidate.version.saturating_sub(1)))
            .execute(&mut *connection)
            .await
            .map_err(unavailable)?
            .rows_affected();
            if changed == 1 {
                for item in change.follow {
                    outbox::insert(connection, org, None, item, Timestamp::now()).await?;
                }
                return Ok(Changed::Stored);
            }
            let stands = get(connection, org, candidate.id()).await?;
            let missing = || LogError::Corrupt { place: format!("candidate {}", candidate.id()) };
            Ok(Changed::Stale(Box::new(stands.ok_or_else(missing)?)))
        }

        pub(super) async fn attempt(
            connection: &mut $connection,
            org: &OrgId,
            attempt: &PromotionAttempt,
        ) -> Result<(), LogError> {
            sqlx::query("DELETE FROM promotion_attempts WHERE org = $1 AND at_us < $2")
                .bind(org.as_str())
                .bind(attempt.oldest_kept().as_microsecond())
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
            sqlx::query(
                "INSERT INTO promotion_attempts (org, candidate, actor, authority, outcome, decision_id, at_us, document) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(org.as_str())
            .bind(attempt.candidate_id.as_str())
            .bind(&attempt.authority_id)
            .bind(&attempt.authority_type)
            .bind(attempt.outcome())
            .bind(&attempt.decision_id)
            .bind(attempt.started_at.as_microsecond())
            .bind(json(attempt))
            .execute(connection)
            .await
            .map(drop)
            .map_err(unavailable)
        }

        pub(super) async fn attempts(
            connection: &mut $connection,
            org: &OrgId,
            id: &CandidateId,
        ) -> Result<Vec<PromotionAttempt>, LogError> {
            let rows = sqlx::query(
                "SELECT actor, authority, outcome, decision_id, at_us, document FROM promotion_attempts WHERE org = $1 AND candidate = $2 ORDER BY at_us, id",
            )
            .bind(org.as_str())
            .bind(id.as_str())
            .fetch_all(connection)
            .await
            .map_err(unavailable)?;
            let place = || format!("an attempt of candidate {id}");
            rows.iter()
                .map(|row| {
                    let document: Option<&str> = column(row, "document", place)?;
                    let attempt = AttemptRow {
                        document,
                        actor: column(row, "actor", place)?,
                        authority: column(row, "authority", place)?,
                        outcome: column(row, "outcome", place)?,
                        decision_id: column(row, "decision_id", place)?,
                        at_us: column(row, "at_us", place)?,
                    };
                    attempt.read(id)
                })
                .collect()
        }

        fn stored(document: &str, id: &str) -> Result<StoredCandidate, LogError> {
            serde_json::from_str(document).map_err(|_| LogError::Corrupt { place: format!("candidate {id}") })
        }

        fn json<T: serde::Serialize>(value: &T) -> String {
            // Serialising our own types cannot fail: keys are strings.
            serde_json::to_string(value).unwrap_or_default()
        }
    };
}
pub(crate) use candidate_queries;
