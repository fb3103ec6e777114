//! The effects ledger. Every change is conditional on what was read, so that of two who begin at once one is first.

use std::time::Duration;

use harmony_incidents::OrgId;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    DynamoLog,
    item::{Collisions, Expression, Transaction, broken, item, met, n, number, s, text, text_if},
    tables::{effect_key, of_incident},
};
use crate::store::{Begin, EffectSubject, KnownEffect, LogError};

impl DynamoLog {
    pub(super) async fn begin(
        &self,
        org: &OrgId,
        subject: &EffectSubject,
        key: &str,
        operation: &str,
        owner: &str,
        lease: Duration,
    ) -> Result<Begin, LogError> {
        let mut collisions = Collisions::none();
        loop {
            if let Some(begun) = self.try_begin(org, subject, key, operation, owner, lease).await? {
                return Ok(begun);
            }
            collisions.pause().await?;
        }
    }

    /// One try: `None` where somebody else was faster.
    async fn try_begin(
        &self,
        org: &OrgId,
        subject: &EffectSubject,
        key: &str,
        operation: &str,
        owner: &str,
        lease: Duration,
    ) -> Result<Option<Begin>, LogError> {
        let place = || format!("effect {key}");
        let at = effect_key(org, key);
        let now = Timestamp::now().as_microsecond();
        let until = now.saturating_add(i64::try_from(lease.as_micros()).unwrap_or(i64::MAX));
        let Some(known) = self.get(&self.tables.incidents, at.item()).await? else {
            let mut writing = Transaction::default();
            let own = [
                ("incident", s(subject.to_string())),
                ("effect_key", s(key)),
                ("operation_name", s(operation)),
                ("holder", s(owner)),
                ("lease_until_us", n(until)),
            ];
            writing.insert(&self.tables.incidents, item(at.pairs().into_iter().chain(own)))?;
            // A redaction finds an incident's effects by this.
            if let EffectSubject::Stream(stream) = subject {
                let pointer = of_incident(org, stream, format!("effect|{key}"));
                writing.put(&self.tables.incidents, pointer.item())?;
            }
            return Ok(writing.commit(&self.client).await?.then_some(Begin::Fresh));
        };
        if let Some(outcome) = text_if(&known, "outcome") {
            let result = serde_json::from_str(outcome).map_err(|_| LogError::Corrupt { place: place() })?;
            return Ok(Some(Begin::Done(result)));
        }
        let leased: i64 = number(&known, "lease_until_us", place)?;
        let holder = text(&known, "holder", place)?;
        if leased > now && holder != owner {
            let left = u64::try_from(leased - now).unwrap_or_default();
            return Ok(Some(Begin::Busy(Duration::from_micros(left))));
        }
        let values =
            vec![(":owner", s(owner)), (":until", n(until)), (":holder", s(holder)), (":leased", n(leased))];
        let change = Expression::new("SET holder = :owner, lease_until_us = :until", values);
        let as_seen = "holder = :holder AND lease_until_us = :leased AND attribute_not_exists(outcome)";
        Ok(self.change(at.item(), change, as_seen).await?.then_some(Begin::Again))
    }

    pub(super) async fn known(&self, org: &OrgId, key: &str) -> Result<Option<KnownEffect>, LogError> {
        let place = || format!("effect {key}");
        let row = self.get(&self.tables.incidents, effect_key(org, key).item()).await?;
        row.map(|row| {
            KnownEffect::stored(key, text(&row, "incident", place)?, text(&row, "operation_name", place)?)
        })
        .transpose()
    }

    pub(super) async fn complete(&self, org: &OrgId, key: &str, result: &Value) -> Result<(), LogError> {
        let change = Expression::new("SET outcome = :outcome", vec![(":outcome", s(result.to_string()))]);
        self.change(effect_key(org, key).item(), change, "attribute_exists(pk)").await.map(drop)
    }

    pub(super) async fn forget(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.tables.incidents)
            .set_key(Some(effect_key(org, key).item()))
            .condition_expression("holder = :owner AND attribute_not_exists(outcome)")
            .expression_attribute_values(":owner", s(owner))
            .send()
            .await;
        met(deleted).map(drop)
    }

    pub(super) async fn release(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError> {
        let values = vec![(":none", n(0)), (":owner", s(owner))];
        let change = Expression::new("SET lease_until_us = :none", values);
        let own = "holder = :owner AND attribute_not_exists(outcome)";
        self.change(effect_key(org, key).item(), change, own).await.map(drop)
    }

    /// Changes one item of `<prefix>-incidents`; `false` where the condition does not hold.
    pub(super) async fn change(
        &self,
        key: super::item::Item,
        change: Expression,
        condition: &str,
    ) -> Result<bool, LogError> {
        let text = change.text.clone();
        let changed = self
            .client
            .update_item()
            .table_name(&self.tables.incidents)
            .set_key(Some(key))
            .update_expression(text)
            .condition_expression(condition)
            .set_expression_attribute_values(change.values())
            .send()
            .await;
        met(changed)
    }

    /// One item, as it is now.
    pub(super) async fn get(
        &self,
        table: &str,
        key: super::item::Item,
    ) -> Result<Option<super::item::Item>, LogError> {
        let found = self
            .client
            .get_item()
            .table_name(table)
            .set_key(Some(key))
            .consistent_read(true)
            .send()
            .await
            .map_err(broken)?;
        Ok(found.item)
    }
}
