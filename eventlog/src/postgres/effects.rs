//! The ledger of outward effects.

use std::time::Duration;

use harmony_incidents::OrgId;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;

use super::{column, unavailable};
use crate::{
    sql::{micros, unsigned},
    store::{Begin, EffectSubject, KnownEffect, LogError},
};

pub(super) async fn begin(
    connection: &mut PgConnection,
    org: &OrgId,
    subject: &EffectSubject,
    key: &str,
    operation: &str,
    owner: &str,
    lease: Duration,
) -> Result<Begin, LogError> {
    let now = Timestamp::now().as_microsecond();
    let until = now.saturating_add(micros(lease));
    let row = loop {
        let written = sqlx::query(
            "INSERT INTO effects (org, key, incident, operation, owner, lease_until_us) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (org, key) DO NOTHING",
        )
        .bind(org.as_str())
        .bind(key)
        .bind(subject.to_string())
        .bind(operation)
        .bind(owner)
        .bind(until)
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
        if written.rows_affected() == 1 {
            return Ok(Begin::Fresh);
        }
        let known = sqlx::query(
            "SELECT result, owner, lease_until_us FROM effects WHERE org = $1 AND key = $2 FOR UPDATE",
        )
        .bind(org.as_str())
        .bind(key)
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
        // Whoever held it may have forgotten it in between.
        if let Some(row) = known {
            break row;
        }
    };
    let place = || format!("effect {key}");
    let result: Option<String> = column(&row, "result", place)?;
    if let Some(result) = result {
        let result = serde_json::from_str(&result).map_err(|_| LogError::Corrupt { place: place() })?;
        return Ok(Begin::Done(result));
    }
    let held_until: i64 = column(&row, "lease_until_us", place)?;
    let holder: String = column(&row, "owner", place)?;
    if held_until > now && holder != owner {
        return Ok(Begin::Busy(Duration::from_micros(unsigned(held_until - now))));
    }
    sqlx::query("UPDATE effects SET owner = $3, lease_until_us = $4 WHERE org = $1 AND key = $2")
        .bind(org.as_str())
        .bind(key)
        .bind(owner)
        .bind(until)
        .execute(connection)
        .await
        .map_err(unavailable)?;
    Ok(Begin::Again)
}

crate::sql::effects::effect_queries!(PgConnection);
