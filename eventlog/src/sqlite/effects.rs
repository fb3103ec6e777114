//! The ledger of outward effects.

use std::time::Duration;

use harmony_incidents::OrgId;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::SqliteConnection;

use super::{column, unavailable};
use crate::sql::{micros, unsigned};
use crate::store::{Begin, EffectSubject, KnownEffect, LogError};

pub(super) async fn begin(
    connection: &mut SqliteConnection,
    org: &OrgId,
    subject: &EffectSubject,
    key: &str,
    operation: &str,
    owner: &str,
    lease: Duration,
) -> Result<Begin, LogError> {
    let now = Timestamp::now().as_microsecond();
    let known = sqlx::query("SELECT result, owner, lease_until_us FROM effects WHERE org = ? AND key = ?")
        .bind(org.as_str())
        .bind(key)
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
    let begin = match known {
        None => Begin::Fresh,
        Some(row) => {
            let place = || format!("effect {key}");
            let result: Option<String> = column(&row, "result", place)?;
            if let Some(result) = result {
                let result =
                    serde_json::from_str(&result).map_err(|_| LogError::Corrupt { place: place() })?;
                return Ok(Begin::Done(result));
            }
            let until: i64 = column(&row, "lease_until_us", place)?;
            let holder: String = column(&row, "owner", place)?;
            if until > now && holder != owner {
                return Ok(Begin::Busy(Duration::from_micros(unsigned(until - now))));
            }
            Begin::Again
        }
    };
    sqlx::query(
        "INSERT INTO effects (org, key, incident, operation, owner, lease_until_us) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (org, key) DO UPDATE SET owner = excluded.owner, lease_until_us = excluded.lease_until_us",
    )
    .bind(org.as_str())
    .bind(key)
    .bind(subject.to_string())
    .bind(operation)
    .bind(owner)
    .bind(now.saturating_add(micros(lease)))
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(begin)
}

crate::sql::effects::effect_queries!(SqliteConnection);
