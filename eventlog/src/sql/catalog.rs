//! The catalog's tables, asked in the same words of SQLite and PostgreSQL.

/// Makes the module of one store: its connection, its database, and how it fills texts in.
macro_rules! catalog_queries {
    ($connection:ty, $database:ty) => {
        use harmony_incidents::{
            OrgId, ReleaseId, ServiceId, StreamId, Subject,
            log::{Record, ReleaseState, RunState},
        };
        use prost::Message as _;
        use sqlx::QueryBuilder;

        use super::{column, read, unavailable};
        use crate::{
            append,
            catalog::{
                AuditFilter, AuditPlace, CatalogFilter, CatalogProjection, CatalogRows, ReleaseFilter, ReleaseRow,
                RunFilter, RunRow, StoredRelease, StoredRun, taken,
            },
            sql::{signed, unsigned},
            store::LogError,
            stream::{ChainHead, StreamState},
        };

        pub(super) async fn head(
            connection: &mut $connection,
            org: &OrgId,
            stream: &StreamId,
        ) -> Result<Option<ChainHead>, LogError> {
            let place = || stream.to_string();
            let row = sqlx::query("SELECT head_hash, state FROM catalog WHERE org = $1 AND stream = $2")
                .bind(org.as_str())
                .bind(stream.as_str())
                .fetch_optional(connection)
                .await
                .map_err(unavailable)?;
            let Some(row) = row else { return Ok(None) };
            let head =
                append::head(stream, column(&row, "head_hash", place)?, column(&row, "state", place)?);
            head.map(Some).ok_or_else(|| LogError::Corrupt { place: place() })
        }

        pub(super) async fn state(
            connection: &mut $connection,
            org: &OrgId,
            stream: &StreamId,
        ) -> Result<Option<StreamState>, LogError> {
            let Some(head) = head(connection, org, stream).await? else { return Ok(None) };
            Ok(read::filled(connection, org, vec![head.state]).await?.pop())
        }

        pub(super) async fn states(
            connection: &mut $connection,
            org: &OrgId,
            filter: &CatalogFilter,
        ) -> Result<Vec<StreamState>, LogError> {
            let mut query = QueryBuilder::<$database>::new("SELECT stream, state FROM catalog WHERE org = ");
            query.push_bind(org.as_str());
            // What runs has an index of its own, which SQLite takes only where nothing else invites it.
            query.push(if filter.running { " AND kind || '' = " } else { " AND kind = " });
            query.push_bind(filter.kind.name());
            if !filter.ids.is_empty() {
                query.push(" AND id IN (");
                let mut list = query.separated(", ");
                for id in &filter.ids {
                    list.push_bind(id.as_str());
                }
                query.push(")");
            }
            if !filter.retired {
                query.push(" AND NOT retired");
            }
            if filter.running {
                query.push(" AND running");
            }
            if let Some(search) = &filter.search {
                let pattern = format!("%{}%", escaped(&search.to_lowercase()));
                query.push(" AND (lower(name) LIKE ").push_bind(pattern.clone()).push(" ESCAPE '!'");
                query.push(" OR lower(id) LIKE ").push_bind(pattern).push(" ESCAPE '!')");
            }
            if let Some(after) = &filter.after {
                query.push(" AND id > ").push_bind(after.as_str());
            }
            query.push(" ORDER BY id LIMIT ").push_bind(i64::from(filter.limit));
            let mut states = Vec::new();
            for row in &query.build().fetch_all(&mut *connection).await.map_err(unavailable)? {
                let stream = append::stream_id(column(row, "stream", String::new)?)?;
                let corrupt = || LogError::Corrupt { place: stream.to_string() };
                let state: &[u8] = column(row, "state", || stream.to_string())?;
                states.push(StreamState::decode(&stream, state).ok_or_else(corrupt)?);
            }
            read::filled(connection, org, states).await
        }

        pub(super) async fn releases(
            connection: &mut $connection,
            org: &OrgId,
            filter: &ReleaseFilter,
        ) -> Result<Vec<StoredRelease>, LogError> {
            let mut query =
                QueryBuilder::<$database>::new("SELECT id, stream, document FROM releases WHERE org = ");
            query.push_bind(org.as_str());
            if !filter.ids.is_empty() {
                query.push(" AND id IN (");
                let mut list = query.separated(", ");
                for id in &filter.ids {
                    list.push_bind(id.as_str());
                }
                query.push(")");
            }
            if !filter.services.is_empty() {
                query.push(" AND stream IN (");
                let mut list = query.separated(", ");
                for service in &filter.services {
                    list.push_bind(StreamId::from(service.clone()).to_string());
                }
                query.push(")");
            }
            if let Some(environment) = &filter.environment {
                query.push(" AND environment = ").push_bind(environment.as_str());
            }
            if let Some(since) = filter.since {
                query.push(" AND changed_at_us >= ").push_bind(since.as_microsecond());
            }
            if let Some((at, id)) = &filter.before {
                query.push(" AND (created_at_us, id) < (").push_bind(at.as_microsecond());
                query.push(", ").push_bind(id.as_str()).push(")");
            }
            query.push(" ORDER BY created_at_us DESC, id DESC LIMIT ").push_bind(i64::from(filter.limit));
            let mut releases = Vec::new();
            for row in &query.build().fetch_all(&mut *connection).await.map_err(unavailable)? {
                let (service, document) = of_service(row)?;
                let release = ReleaseState::decode(document)
                    .map_err(|_| LogError::Corrupt { place: service.to_string() })?;
                releases.push(StoredRelease { service, release });
            }
            read::filled(connection, org, releases).await
        }

        pub(super) async fn runs(
            connection: &mut $connection,
            org: &OrgId,
            filter: &RunFilter,
        ) -> Result<Vec<StoredRun>, LogError> {
            let mut query = QueryBuilder::<$database>::new("SELECT id, stream, document FROM runs WHERE org = ");
            query.push_bind(org.as_str());
            if !filter.releases.is_empty() {
                query.push(" AND release_id IN (");
                let mut list = query.separated(", ");
                for release in &filter.releases {
                    list.push_bind(release.as_str());
                }
                query.push(")");
            }
            if !filter.ids.is_empty() {
                query.push(" AND id IN (");
                let mut list = query.separated(", ");
                for id in &filter.ids {
                    list.push_bind(id.as_str());
                }
                query.push(")");
            }
            query.push(" ORDER BY release_id, started_at_us, id LIMIT ").push_bind(i64::from(filter.limit));
            let mut runs = Vec::new();
            for row in &query.build().fetch_all(&mut *connection).await.map_err(unavailable)? {
                let (service, document) = of_service(row)?;
                let run =
                    RunState::decode(document).map_err(|_| LogError::Corrupt { place: service.to_string() })?;
                runs.push(StoredRun { service, run });
            }
            read::filled(connection, org, runs).await
        }

        /// Whose row it is, and its document.
        fn of_service(row: &<$database as sqlx::Database>::Row) -> Result<(ServiceId, &[u8]), LogError> {
            let id: String = column(row, "id", String::new)?;
            let stream = append::stream_id(column(row, "stream", || id.clone())?)?;
            let Subject::Service(service) = stream.subject() else {
                return Err(LogError::Corrupt { place: id });
            };
            Ok((service, column(row, "document", || id.clone())?))
        }

        /// Whose release it is.
        pub(super) async fn owner(
            connection: &mut $connection,
            org: &OrgId,
            release: &ReleaseId,
        ) -> Result<Option<ServiceId>, LogError> {
            let filter = ReleaseFilter { ids: vec![release.clone()], limit: 1, ..ReleaseFilter::default() };
            Ok(releases(connection, org, &filter).await?.pop().map(|found| found.service))
        }

        pub(super) async fn audit(
            connection: &mut $connection,
            org: &OrgId,
            filter: &AuditFilter,
        ) -> Result<Vec<Record>, LogError> {
            let order = |time: &str| {
                if filter.newest_first {
                    format!(" ORDER BY {time} DESC, incident DESC, seq DESC LIMIT {}", filter.limit)
                } else {
                    format!(" ORDER BY {time}, incident, seq LIMIT {}", filter.limit)
                }
            };
            // What an index gives leads, and only what it gives is looked up: both stores keep the order of this join.
            let mut query = QueryBuilder::<$database>::new(
                "SELECT found.incident, found.seq, canonical FROM (",
            );
            if filter.streams.is_empty() && filter.kinds.len() > 1 {
                // Of several kinds each gives its first, from its own part of the index.
                for (number, kind) in filter.kinds.iter().enumerate() {
                    query.push(if number == 0 { "SELECT * FROM (" } else { " UNION ALL SELECT * FROM (" });
                    places(&mut query, org, filter, &[kind]);
                    query.push(order("occurred")).push(") AS one");
                }
            } else {
                places(&mut query, org, filter, &filter.kinds);
            }
            query.push(order("occurred")).push(") AS found CROSS JOIN events WHERE events.org = ").push_bind(org.as_str());
            query.push(" AND events.incident = found.incident AND events.seq = found.seq");
            query.push(if filter.newest_first {
                " ORDER BY found.occurred DESC, found.incident DESC, found.seq DESC"
            } else {
                " ORDER BY found.occurred, found.incident, found.seq"
            });
            let rows = query.build().fetch_all(&mut *connection).await.map_err(unavailable)?;
            let record = |row| {
                let stream: String = column(row, "incident", String::new)?;
                let seq: i64 = column(row, "seq", || stream.clone())?;
                let place = || format!("{stream} seq {seq}");
                let canonical: &[u8] = column(row, "canonical", place)?;
                Record::decode(canonical).map_err(|_| LogError::Corrupt { place: place() })
            };
            rows.iter().map(record).collect()
        }

        /// Where the records stand that a filter wants, in no order.
        ///
        /// One index answers each question, the one that leaves the least to read: that of the streams, else that of the
        /// kinds, else that of the actor, else that of time. SQLite, which keeps no figures of what is in a table, is kept
        /// from the others by expressions, and by a column that they do not have.
        fn places(
            query: &mut QueryBuilder<$database>,
            org: &OrgId,
            filter: &AuditFilter,
            kinds: &[&'static str],
        ) {
            let by_stream = !filter.streams.is_empty();
            let by_kind = !by_stream && !kinds.is_empty();
            let time = if by_stream { "occurred_at_us + 0" } else { "occurred_at_us" };
            query.push(format!("SELECT {time} AS occurred, incident, seq"));
            query.push(if by_stream { ", stored_at_us" } else { "" });
            query.push(" FROM events WHERE org = ").push_bind(org.as_str().to_owned());
            if !filter.streams.is_empty() {
                query.push(" AND incident IN (");
                let mut list = query.separated(", ");
                for stream in &filter.streams {
                    list.push_bind(stream.as_str().to_owned());
                }
                query.push(")");
            }
            if !kinds.is_empty() {
                query.push(if by_stream { " AND kind || '' IN (" } else { " AND kind IN (" });
                let mut list = query.separated(", ");
                for kind in kinds {
                    list.push_bind(*kind);
                }
                query.push(")");
            }
            if let Some(actor) = &filter.actor {
                query.push(if by_stream || by_kind { " AND actor || '' = " } else { " AND actor = " });
                query.push_bind(actor.clone());
            }
            if let Some(since) = filter.since {
                query.push(format!(" AND {time} >= ")).push_bind(since.as_microsecond());
            }
            if let Some(principal) = &filter.visible_to {
                query.push(" AND incident NOT IN (SELECT incident FROM incidents WHERE org = ");
                query.push_bind(org.as_str().to_owned());
                query.push(" AND visible_to <> '' AND replace(visible_to, ");
                query.push_bind(append::key_line(&[principal])).push(", '') = visible_to)");
            }
            if let Some(AuditPlace { ts_us, stream, seq }) = &filter.beyond {
                let beyond = if filter.newest_first { '<' } else { '>' };
                query.push(format!(" AND ({time}, incident, seq) {beyond} ("));
                query.push_bind(*ts_us).push(", ").push_bind(stream.clone());
                query.push(", ").push_bind(signed(*seq)).push(")");
            }
        }

        pub(super) async fn write(
            connection: &mut $connection,
            org: &OrgId,
            stream: &StreamId,
            projection: &CatalogProjection,
            now_us: i64,
        ) -> Result<(), LogError> {
            sqlx::query("INSERT INTO catalog (org, stream, kind, id, name, retired, running, seq, head_hash, state, updated_at_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (org, stream) DO UPDATE SET name = excluded.name, retired = excluded.retired, running = excluded.running, seq = excluded.seq, head_hash = excluded.head_hash, state = excluded.state, updated_at_us = excluded.updated_at_us")
                .bind(org.as_str())
                .bind(stream.as_str())
                .bind(projection.kind)
                .bind(projection.id.as_str())
                .bind(projection.name.as_str())
                .bind(projection.retired)
                .bind(projection.running)
                .bind(signed(projection.seq))
                .bind(projection.head_hash.as_slice())
                .bind(projection.state.as_slice())
                .bind(now_us)
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
            for (id, row) in &projection.rows.releases {
                let written = sqlx::query("INSERT INTO releases (org, id, stream, environment, created_at_us, changed_at_us, document) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (org, id) DO UPDATE SET changed_at_us = excluded.changed_at_us, document = excluded.document WHERE releases.stream = excluded.stream")
                    .bind(org.as_str())
                    .bind(id.as_str())
                    .bind(stream.as_str())
                    .bind(row.environment.as_str())
                    .bind(row.created_at_us)
                    .bind(row.changed_at_us)
                    .bind(row.document.as_slice())
                    .execute(&mut *connection)
                    .await
                    .map_err(unavailable)?;
                if written.rows_affected() == 0 {
                    return Err(taken("release", id));
                }
            }
            for (id, row) in &projection.rows.runs {
                let written = sqlx::query("INSERT INTO runs (org, id, stream, release_id, started_at_us, document) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (org, id) DO UPDATE SET document = excluded.document WHERE runs.stream = excluded.stream")
                    .bind(org.as_str())
                    .bind(id.as_str())
                    .bind(stream.as_str())
                    .bind(row.release.as_str())
                    .bind(row.started_at_us)
                    .bind(row.document.as_slice())
                    .execute(&mut *connection)
                    .await
                    .map_err(unavailable)?;
                if written.rows_affected() == 0 {
                    return Err(taken("run", id));
                }
            }
            Ok(())
        }

        /// Takes what readers are told of a stream away.
        pub(super) async fn erase(
            connection: &mut $connection,
            org: &OrgId,
            stream: &str,
        ) -> Result<(), LogError> {
            for table in [
                "DELETE FROM catalog WHERE org = $1 AND stream = $2",
                "DELETE FROM releases WHERE org = $1 AND stream = $2",
                "DELETE FROM runs WHERE org = $1 AND stream = $2",
            ] {
                sqlx::query(table)
                    .bind(org.as_str())
                    .bind(stream)
                    .execute(&mut *connection)
                    .await
                    .map_err(unavailable)?;
            }
            Ok(())
        }

        /// All that readers are told of a stream.
        pub(super) async fn projection(
            connection: &mut $connection,
            org: &OrgId,
            stream: &StreamId,
        ) -> Result<Option<CatalogProjection>, LogError> {
            let place = || stream.to_string();
            let row = sqlx::query("SELECT kind, id, name, retired, running, seq, head_hash, state FROM catalog WHERE org = $1 AND stream = $2")
                .bind(org.as_str())
                .bind(stream.as_str())
                .fetch_optional(&mut *connection)
                .await
                .map_err(unavailable)?;
            let Some(row) = row else { return Ok(None) };
            let kind: String = column(&row, "kind", place)?;
            let mut rows = CatalogRows::default();
            let found = sqlx::query("SELECT id, environment, created_at_us, changed_at_us, document FROM releases WHERE org = $1 AND stream = $2")
                .bind(org.as_str())
                .bind(stream.as_str())
                .fetch_all(&mut *connection)
                .await
                .map_err(unavailable)?;
            for row in &found {
                let release = ReleaseRow {
                    environment: column(row, "environment", place)?,
                    created_at_us: column(row, "created_at_us", place)?,
                    changed_at_us: column(row, "changed_at_us", place)?,
                    document: column(row, "document", place)?,
                };
                rows.releases.insert(column(row, "id", place)?, release);
            }
            let found = sqlx::query("SELECT id, release_id, started_at_us, document FROM runs WHERE org = $1 AND stream = $2")
                .bind(org.as_str())
                .bind(stream.as_str())
                .fetch_all(&mut *connection)
                .await
                .map_err(unavailable)?;
            for row in &found {
                let run = RunRow {
                    release: column(row, "release_id", place)?,
                    started_at_us: column(row, "started_at_us", place)?,
                    document: column(row, "document", place)?,
                };
                rows.runs.insert(column(row, "id", place)?, run);
            }
            Ok(Some(CatalogProjection {
                kind: if kind == "service" { "service" } else { "environment" },
                id: column(&row, "id", place)?,
                name: column(&row, "name", place)?,
                retired: column(&row, "retired", place)?,
                running: column(&row, "running", place)?,
                seq: unsigned(column(&row, "seq", place)?),
                head_hash: column(&row, "head_hash", place)?,
                state: column(&row, "state", place)?,
                rows,
            }))
        }

        /// A part of a pattern that stands for itself.
        fn escaped(part: &str) -> String {
            part.replace('!', "!!").replace('%', "!%").replace('_', "!_")
        }
    };
}

pub(crate) use catalog_queries;
