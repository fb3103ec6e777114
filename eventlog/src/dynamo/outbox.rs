//! The outbox and the lanes of the sinks.
//!
//! What waits stands in the index `by-due` under its queue. A claim reads there and then moves the item's own `due_at`,
//! on condition that it still is what was read: of two dispatchers one gets it. A decision that is written raises the
//! version of its incident's head, so that no append that did not see it can commit.

use std::{str::FromStr, time::Duration};

use aws_sdk_dynamodb::types::{ReturnValue, Select};
use harmony_incidents::{OrgId, StreamId};
use jiff::Timestamp;

use super::{
    DynamoLog,
    candidates::candidates,
    item::{
        Collisions, Expression, Item, Key, Transaction, broken, is_unmet, item, n, number, s, text, text_if,
    },
    tables::{BY_DUE, of_incident, partition},
};
use crate::{
    append::Plan,
    fanout::{Lane, LaneBacklog, SinkName},
    store::{LogError, OutboxId, OutboxItem, OutboxKind, Pending},
};

/// The queue of what follows a command.
const COMMANDS: &str = "commands";

impl DynamoLog {
    pub(super) async fn put_outbox(
        &self,
        org: &OrgId,
        stream: Option<&StreamId>,
        item: &OutboxItem,
    ) -> Result<(), LogError> {
        let mut collisions = Collisions::none();
        while !self.try_put(org, stream, item).await? {
            collisions.pause().await?;
        }
        Ok(())
    }

    /// One try: `false` where somebody else was faster.
    async fn try_put(
        &self,
        org: &OrgId,
        stream: Option<&StreamId>,
        item: &OutboxItem,
    ) -> Result<bool, LogError> {
        let key = outbox_key(org, stream, item.kind, &item.name);
        if self.get(&self.tables.incidents, key.item()).await?.is_some() {
            return Ok(true);
        }
        let mut writing = Transaction::default();
        writing.insert(&self.tables.incidents, outbox_row(&key, stream, org, item, Timestamp::now(), 0))?;
        writing.commit(&self.client).await
    }

    pub(super) async fn claim_items(&self, limit: u32, lease: Duration) -> Result<Vec<Pending>, LogError> {
        let mut claimed = Vec::new();
        for row in self.claim_due(COMMANDS, limit, lease).await? {
            // An item that cannot be read waits for its next turn and holds nobody up.
            match pending(&row) {
                Ok(item) => claimed.push((text_if(&row, "written").unwrap_or_default().to_owned(), item)),
                Err(error) => tracing::error!(%error, "an outbox item is skipped"),
            }
        }
        claimed.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(claimed.into_iter().map(|(_, item)| item).collect())
    }

    /// Takes what is due in a queue, each item for this long.
    async fn claim_due(&self, queue: &str, limit: u32, lease: Duration) -> Result<Vec<Item>, LogError> {
        let now = Timestamp::now();
        let mut taken = Vec::new();
        let mut after = None;
        while taken.len() < limit as usize {
            let page = self
                .client
                .query()
                .table_name(&self.tables.incidents)
                .index_name(BY_DUE)
                .key_condition_expression("work_queue = :queue AND due_at < :after")
                .expression_attribute_values(":queue", s(queue))
                .expression_attribute_values(":after", s(moment(now.as_microsecond() + 1)))
                .limit(i32::try_from(limit).unwrap_or(i32::MAX))
                .set_exclusive_start_key(after)
                .send()
                .await
                .map_err(broken)?;
            for row in page.items() {
                if taken.len() < limit as usize
                    && let Some(row) = self.take(row, now, lease).await?
                {
                    taken.push(row);
                }
            }
            after = page.last_evaluated_key;
            if after.is_none() {
                break;
            }
        }
        Ok(taken)
    }

    /// Takes one item, unless somebody else did since the index was written.
    async fn take(&self, row: &Item, now: Timestamp, lease: Duration) -> Result<Option<Item>, LogError> {
        let (Some(pk), Some(sk), Some(due)) =
            (text_if(row, "pk"), text_if(row, "sk"), text_if(row, "due_at"))
        else {
            return Ok(None);
        };
        let until = later_by(now, lease);
        let taken = self
            .client
            .update_item()
            .table_name(&self.tables.incidents)
            .set_key(Some(Key { pk: pk.to_owned(), sk: sk.to_owned() }.item()))
            .update_expression("SET due_at = :until, attempts = attempts + :one")
            .condition_expression("due_at = :due")
            .expression_attribute_values(
                ":until",
                s(due_at(until, text_if(row, "written").unwrap_or_default())),
            )
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":due", s(due))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match taken {
            Ok(taken) => Ok(taken.attributes),
            Err(error) if is_unmet(&error) => Ok(None),
            Err(error) => Err(broken(error)),
        }
    }

    pub(super) async fn item_done(&self, id: &OutboxId) -> Result<(), LogError> {
        let Some(key) = key_of(id) else { return Ok(()) };
        let values = vec![(":now", n(Timestamp::now().as_microsecond()))];
        // Nobody reads what was carried out; its name alone keeps it from being carried out again.
        let change =
            Expression::new("SET done_at_us = :now REMOVE work_queue, due_at, payload, last_error", values);
        let open = "attribute_exists(pk) AND attribute_not_exists(done_at_us)";
        self.change(key.item(), change, open).await.map(drop)
    }

    pub(super) async fn item_later(
        &self,
        id: &OutboxId,
        delay: Duration,
        error: &str,
    ) -> Result<(), LogError> {
        let Some(key) = key_of(id) else { return Ok(()) };
        let Some(row) = self.get(&self.tables.incidents, key.item()).await? else { return Ok(()) };
        let due = due_at(later_by(Timestamp::now(), delay), text_if(&row, "written").unwrap_or_default());
        let values = vec![(":due", s(due)), (":error", s(error))];
        let change = Expression::new("SET due_at = :due, last_error = :error", values);
        let open = "attribute_exists(pk) AND attribute_not_exists(done_at_us)";
        self.change(key.item(), change, open).await.map(drop)
    }

    pub(super) async fn waiting(&self) -> Result<(u64, Duration), LogError> {
        let mut rows = self.queued(COMMANDS).await?;
        // What shows a running cell waits for its end, and holds nothing up.
        rows.retain(|row| text_if(row, "item_kind") != Some(OutboxKind::Output.name()));
        let created = rows.iter().filter_map(|row| number::<i64>(row, "created_at_us", String::new).ok());
        let now = Timestamp::now().as_microsecond();
        let oldest = created.min().map_or(0, |oldest| u64::try_from(now - oldest).unwrap_or_default());
        Ok((rows.len() as u64, Duration::from_micros(oldest)))
    }

    /// Everything in a queue, due or not.
    async fn queued(&self, queue: &str) -> Result<Vec<Item>, LogError> {
        let mut rows = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.tables.incidents)
                .index_name(BY_DUE)
                .select(Select::AllAttributes)
                .key_condition_expression("work_queue = :queue")
                .expression_attribute_values(":queue", s(queue))
                .set_exclusive_start_key(after)
                .send()
                .await
                .map_err(broken)?;
            rows.extend(page.items.unwrap_or_default());
            after = page.last_evaluated_key;
            if after.is_none() {
                return Ok(rows);
            }
        }
    }

    pub(super) async fn claim_waiting_lanes(
        &self,
        sink: &SinkName,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Lane>, LogError> {
        let rows = self.claim_due(&lane_queue(sink), limit, lease).await?;
        let readable =
            |row: &Item| lane(row).inspect_err(|error| tracing::error!(%error, "a lane is skipped"));
        Ok(rows.iter().filter_map(|row| readable(row).ok()).collect())
    }

    pub(super) async fn lane_settled(
        &self,
        lane: &Lane,
        sent: u64,
        failed: Option<(Duration, &str)>,
    ) -> Result<(), LogError> {
        let key = lane_key(&lane.org, &lane.stream, &lane.sink);
        let now = Timestamp::now();
        let next = sent + 1;
        let due = due_at(later_by(now, failed.map_or(Duration::ZERO, |(wait, _)| wait)), "");
        let mut values = vec![
            (":first", n(lane.first)),
            (":next", n(next)),
            (":due", s(due)),
            (":error", s(failed.map_or("", |(_, why)| why))),
        ];
        let mut sets = "SET next_seq = :next, due_at = :due, last_error = :error".to_owned();
        if next > lane.first {
            sets.push_str(", attempts = :none, since_us = :now");
            values.extend([(":none", n(0)), (":now", n(now.as_microsecond()))]);
        }
        // Ours only while nobody else got further: a lease may have ended.
        let more = "next_seq = :first AND last_seq >= :next";
        if self.change(key.item(), Expression::new(sets, values), more).await? {
            return Ok(());
        }
        let values = vec![(":first", n(lane.first)), (":next", n(next)), (":none", n(0))];
        let change = Expression::new(
            "SET next_seq = :next, attempts = :none REMOVE work_queue, due_at, since_us, last_error",
            values,
        );
        self.change(key.item(), change, "next_seq = :first AND last_seq < :next").await.map(drop)
    }

    pub(super) async fn waiting_lanes(&self, sink: &SinkName) -> Result<LaneBacklog, LogError> {
        let now = Timestamp::now();
        let mut backlog = LaneBacklog::default();
        for lane in self.queued(&lane_queue(sink)).await?.iter().filter_map(|row| lane(row).ok()) {
            backlog.lanes += 1;
            backlog.records += lane.last - lane.first + 1;
            let age = Duration::try_from(now.duration_since(lane.since)).unwrap_or_default();
            backlog.oldest = backlog.oldest.max(age);
        }
        Ok(backlog)
    }

    /// Writes into a transaction how far the log goes for every sink.
    pub(super) fn extend_lanes(
        &self,
        writing: &mut Transaction,
        org: &OrgId,
        plan: &Plan,
    ) -> Result<(), LogError> {
        if plan.sealed.is_empty() {
            return Ok(());
        }
        let (stream, now) = (&plan.stream, plan.stored_at);
        for sink in &plan.sinks {
            let values = vec![
                (":org", s(org.as_str())),
                (":incident", s(stream.as_str())),
                (":sink", s(sink.as_str())),
                (":queue", s(lane_queue(sink))),
                (":first", n(plan.key.first_seq)),
                (":last", n(plan.key.last_seq)),
                (":due", s(due_at(now, ""))),
                (":now", n(now.as_microsecond())),
                (":none", n(0)),
            ];
            let change = Expression::new(
                "SET org = :org, incident = :incident, sink_name = :sink, work_queue = :queue, last_seq = :last, next_seq = if_not_exists(next_seq, :first), due_at = if_not_exists(due_at, :due), since_us = if_not_exists(since_us, :now), attempts = if_not_exists(attempts, :none)",
                values,
            );
            writing.update(&self.tables.incidents, lane_key(org, stream, sink).item(), change, None)?;
        }
        Ok(())
    }
}

/// Where an outbox item lies.
pub(super) fn outbox_key(org: &OrgId, stream: Option<&StreamId>, kind: OutboxKind, name: &str) -> Key {
    let pk = stream.map_or_else(|| candidates(org), |stream| partition(org, stream));
    Key { pk, sk: format!("outbox|{}|{name}", kind.name()) }
}

/// An outbox item as it is stored; `place` tells those apart that one command wrote.
pub(super) fn outbox_row(
    key: &Key,
    stream: Option<&StreamId>,
    org: &OrgId,
    outbox: &OutboxItem,
    now: Timestamp,
    place: usize,
) -> Item {
    let written = format!("{}|{place:04}", moment(now.as_microsecond()));
    item(key.pairs().into_iter().chain([
        ("org", s(org.as_str())),
        ("incident", s(stream.map_or("", StreamId::as_str))),
        ("item_kind", s(outbox.kind.name())),
        ("item_name", s(&outbox.name)),
        ("payload", s(outbox.payload.to_string())),
        ("created_at_us", n(now.as_microsecond())),
        ("attempts", n(0)),
        ("work_queue", s(COMMANDS)),
        ("due_at", s(due_at(now, &written))),
        ("written", s(written)),
    ]))
}

fn pending(row: &Item) -> Result<Pending, LogError> {
    let place = || format!("outbox item {}", text_if(row, "sk").unwrap_or_default());
    let corrupt = || LogError::Corrupt { place: place() };
    let kind = OutboxKind::from_name(text(row, "item_kind", place)?).ok_or_else(corrupt)?;
    let created: i64 = number(row, "created_at_us", place)?;
    Ok(Pending {
        id: OutboxId(format!("{}\n{}", text(row, "pk", place)?, text(row, "sk", place)?)),
        org: OrgId::from_str(text(row, "org", place)?).map_err(|_| corrupt())?,
        stream: match text(row, "incident", place)? {
            "" => None,
            stream => Some(StreamId::from_str(stream).map_err(|_| corrupt())?),
        },
        item: OutboxItem {
            kind,
            name: text(row, "item_name", place)?.to_owned(),
            payload: serde_json::from_str(text(row, "payload", place)?).map_err(|_| corrupt())?,
        },
        attempts: number(row, "attempts", place)?,
        created_at: Timestamp::from_microsecond(created).map_err(|_| corrupt())?,
    })
}

fn key_of(id: &OutboxId) -> Option<Key> {
    let (pk, sk) = id.0.split_once('\n')?;
    Some(Key { pk: pk.to_owned(), sk: sk.to_owned() })
}

fn lane_key(org: &OrgId, stream: &StreamId, sink: &SinkName) -> Key {
    of_incident(org, stream, format!("lane|{sink}"))
}

fn lane_queue(sink: &SinkName) -> String {
    format!("sink|{sink}")
}

fn lane(row: &Item) -> Result<Lane, LogError> {
    let place = || format!("lane {}", text_if(row, "pk").unwrap_or_default());
    let corrupt = || LogError::Corrupt { place: place() };
    let since: i64 = number(row, "since_us", place)?;
    let lane = Lane {
        sink: text(row, "sink_name", place)?.parse().map_err(|_| corrupt())?,
        org: text(row, "org", place)?.parse().map_err(|_| corrupt())?,
        stream: text(row, "incident", place)?.parse().map_err(|_| corrupt())?,
        first: number(row, "next_seq", place)?,
        last: number(row, "last_seq", place)?,
        attempts: number(row, "attempts", place)?,
        since: Timestamp::from_microsecond(since).map_err(|_| corrupt())?,
    };
    if lane.first == 0 || lane.first > lane.last { Err(corrupt()) } else { Ok(lane) }
}

/// Microseconds as text that sorts like the number.
pub(super) fn moment(microseconds: i64) -> String {
    format!("{:020}", microseconds.max(0))
}

/// When something is due, and in which order what is due at once.
fn due_at(at: Timestamp, written: &str) -> String {
    format!("{}|{written}", moment(at.as_microsecond()))
}

fn later_by(now: Timestamp, wait: Duration) -> Timestamp {
    let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(now.as_microsecond().saturating_add(wait)).unwrap_or(Timestamp::MAX)
}
