//! Subscriptions, in one partition an organisation.
//!
//! | item | `sk` |
//! |---|---|
//! | subscription | `s\|<id>` |
//! | guard | `guard` |
//!
//! Whoever adds one raises the guard from what it was when they were counted: of two at once one collides and counts
//! again.

use harmony_incidents::{
    OrgId,
    stakeholders::{DeliveryProblem, MOST_SUBSCRIPTIONS, Subscription, SubscriptionId},
};

use super::{
    DynamoLog,
    item::{Collisions, Expression, Key, Transaction, item, n, number, s, text},
};
use crate::{
    store::LogError,
    subscriptions::{Subscribed, json, marked, read},
};

impl DynamoLog {
    pub(super) async fn add_subscription(
        &self,
        org: &OrgId,
        subscription: &Subscription,
    ) -> Result<Subscribed, LogError> {
        let table = &self.tables.incidents;
        let guard = Key { pk: partition(org), sk: "guard".to_owned() };
        let mut collisions = Collisions::none();
        loop {
            let row = self.get(table, guard.item()).await?;
            let place = || "the subscriptions".to_owned();
            let version = row.map_or(Ok(0), |row| number::<u64>(&row, "version", place))?;
            let all = self.all_subscriptions(org).await?;
            let count = all.len();
            if let Some(known) = all.into_iter().find(|one| one.id == subscription.id) {
                return Ok(Subscribed::Known(known));
            }
            if count >= MOST_SUBSCRIPTIONS {
                return Ok(Subscribed::Full);
            }
            let mut writing = Transaction::default();
            let raise = Expression::new(
                "SET version = :next",
                vec![(":seen", n(version)), (":next", n(version + 1))],
            );
            let as_seen = "attribute_not_exists(pk) OR version = :seen";
            writing.update(table, guard.item(), raise, Some(as_seen))?;
            let mut row = subscription_key(org, &subscription.id).item();
            row.extend(item([("document", s(json(subscription)))]));
            writing.insert(table, row)?;
            if writing.commit(&self.client).await? {
                return Ok(Subscribed::Stored(subscription.clone()));
            }
            collisions.pause().await?;
        }
    }

    pub(super) async fn all_subscriptions(&self, org: &OrgId) -> Result<Vec<Subscription>, LogError> {
        let rows = self.below(&partition(org), "s|").await?;
        rows.iter()
            .map(|row| {
                let id = text(row, "sk", || "the subscriptions".to_owned())?;
                read(text(row, "document", || format!("subscription {id}"))?, id)
            })
            .collect()
    }

    pub(super) async fn remove_subscription(
        &self,
        org: &OrgId,
        id: &SubscriptionId,
    ) -> Result<bool, LogError> {
        let table = &self.tables.incidents;
        let key = subscription_key(org, id);
        if self.get(table, key.item()).await?.is_none() {
            return Ok(false);
        }
        let mut writing = Transaction::default();
        writing.delete(table, key.item())?;
        writing.commit(&self.client).await
    }

    pub(super) async fn mark_one(
        &self,
        org: &OrgId,
        delivered: &Subscription,
        problem: Option<&DeliveryProblem>,
    ) -> Result<(), LogError> {
        let table = &self.tables.incidents;
        let key = subscription_key(org, &delivered.id);
        let Some(row) = self.get(table, key.item()).await? else { return Ok(()) };
        let was = text(&row, "document", || format!("subscription {}", delivered.id))?;
        let Some(marked) = marked(read(was, delivered.id.as_str())?, delivered, problem) else {
            return Ok(());
        };
        let as_read = Expression::new("document = :read", vec![(":read", s(was))]);
        let mut row = key.item();
        row.extend(item([("document", s(json(&marked)))]));
        let mut writing = Transaction::default();
        writing.replace(table, row, as_read)?;
        // Somebody who changed it meanwhile knows more.
        writing.commit(&self.client).await.map(drop)
    }
}

fn partition(org: &OrgId) -> String {
    format!("{org}|subscriptions")
}

fn subscription_key(org: &OrgId, id: &SubscriptionId) -> Key {
    Key { pk: partition(org), sk: format!("s|{id}") }
}
