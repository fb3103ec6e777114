//! Candidates, in one partition an organisation, and the attempts log.
//!
//! | item | `sk` |
//! |---|---|
//! | candidate | `c\|<id>` |
//! | when it came, for lists | `t\|<microseconds>\|<id>` |
//! | promotion of a key | `p\|<key's hash>\|<microseconds>\|<id>` |
//! | guard of a key | `k\|<key's hash>` |
//!
//! Whoever promotes a candidate that has a key raises the key's guard from what it was when the promotions of the key
//! were read: of two at once one collides and looks again.

use harmony_incidents::{OrgId, promotion::CandidateId};
use jiff::{SignedDuration, Timestamp};

use super::{
    DynamoLog,
    item::{Collisions, Expression, Item, Key, Transaction, broken, item, n, number, s, text, text_if},
    outbox::{moment, outbox_key, outbox_row},
    tables::{key_hash, of_incident},
};
use crate::{
    candidates::{
        ATTEMPTS_KEPT_DAYS, CandidateChange, CandidateFilter, CandidateStatus, Changed, PromotionAttempt,
        StoredCandidate, differing,
    },
    store::{LogError, OutboxItem},
};

impl DynamoLog {
    pub(super) async fn submit(
        &self,
        org: &OrgId,
        candidate: &StoredCandidate,
        follow: &[OutboxItem],
    ) -> Result<StoredCandidate, LogError> {
        let place = || format!("candidate {}", candidate.id());
        let table = &self.tables.incidents;
        let key = candidate_key(org, candidate.id());
        let mut collisions = Collisions::none();
        loop {
            if let Some(known) = self.get(table, key.item()).await? {
                let fields = differing(candidate, text(&known, "fingerprint", place)?)?;
                if !fields.is_empty() {
                    return Err(LogError::KeyConflict { fields });
                }
                return stored(&known, candidate.id());
            }
            let mut writing = Transaction::default();
            let mut row = key.item();
            row.extend(item([
                ("fingerprint", s(json(&candidate.fingerprint()))),
                ("received_at_us", n(candidate.received_at.as_microsecond())),
            ]));
            row.extend(item(changing(candidate)));
            writing.insert(table, row)?;
            let received = moment(candidate.received_at.as_microsecond());
            writing.insert(table, below(org, format!("t|{received}|{}", candidate.id())).item())?;
            for (place, outbox) in follow.iter().enumerate() {
                let key = outbox_key(org, None, outbox.kind, &outbox.name);
                if self.get(table, key.item()).await?.is_none() {
                    let row = outbox_row(&key, None, org, outbox, candidate.received_at, place);
                    writing.insert(table, row)?;
                }
            }
            if writing.commit(&self.client).await? {
                return Ok(candidate.clone());
            }
            collisions.pause().await?;
        }
    }

    pub(super) async fn one_candidate(
        &self,
        org: &OrgId,
        id: &CandidateId,
    ) -> Result<Option<StoredCandidate>, LogError> {
        let row = self.get(&self.tables.incidents, candidate_key(org, id).item()).await?;
        row.map(|row| stored(&row, id)).transpose()
    }

    pub(super) async fn list_candidates(
        &self,
        org: &OrgId,
        filter: &CandidateFilter,
    ) -> Result<Vec<StoredCandidate>, LogError> {
        let mut order = Vec::new();
        for row in self.below(&candidates(org), "t|").await? {
            let place = || "the candidates".to_owned();
            let mut parts = text(&row, "sk", place)?.splitn(3, '|').skip(1);
            let corrupt = || LogError::Corrupt { place: place() };
            let at: i64 = parts.next().and_then(|at| at.parse().ok()).ok_or_else(corrupt)?;
            let id: CandidateId = parts.next().and_then(|id| id.parse().ok()).ok_or_else(corrupt)?;
            order.push((at, id));
        }
        order.sort_by(|one, other| (other.0, other.1.as_str()).cmp(&(one.0, one.1.as_str())));
        if let Some((at, id)) = &filter.after {
            let place = (at.as_microsecond(), id.as_str());
            order.retain(|(at, id)| (*at, id.as_str()) < place);
        }
        let mut listed = Vec::new();
        for some in order.chunks(100) {
            if listed.len() >= filter.limit as usize {
                break;
            }
            let keys = some.iter().map(|(_, id)| candidate_key(org, id).item()).collect();
            let mut rows = self.get_many(&self.tables.incidents, keys).await?;
            for (_, id) in some {
                let sk = candidate_key(org, id).sk;
                let Some(place) = rows.iter().position(|row| text_if(row, "sk") == Some(sk.as_str())) else {
                    continue;
                };
                let found = stored(&rows.swap_remove(place), id)?;
                let fits = filter.statuses.is_empty() || filter.statuses.contains(&found.status);
                let same =
                    filter.dedup_key.as_deref().is_none_or(|key| found.candidate.dedup_key() == Some(key));
                let correlation = found.candidate.correlation_key.as_deref();
                let related =
                    filter.correlation_key.is_none() || filter.correlation_key.as_deref() == correlation;
                if fits && same && related {
                    listed.push(found);
                }
            }
        }
        listed.truncate(filter.limit as usize);
        Ok(listed)
    }

    pub(super) async fn change_one(
        &self,
        org: &OrgId,
        change: &CandidateChange<'_>,
    ) -> Result<Changed, LogError> {
        let mut collisions = Collisions::none();
        loop {
            if let Some(changed) = self.try_change(org, change).await? {
                return Ok(changed);
            }
            collisions.pause().await?;
        }
    }

    /// One try: `None` where somebody else was faster.
    async fn try_change(
        &self,
        org: &OrgId,
        change: &CandidateChange<'_>,
    ) -> Result<Option<Changed>, LogError> {
        let new = change.candidate;
        let table = &self.tables.incidents;
        let key = new.candidate.dedup_key().map(key_hash);
        let mut writing = Transaction::default();
        let guard = match &key {
            Some(key) => {
                let guard = below(org, format!("k|{key}"));
                let row = self.get(table, guard.item()).await?;
                Some((guard, row.map_or(Ok(0), |row| number::<u64>(&row, "version", || "a key".to_owned()))?))
            }
            None => None,
        };
        if let (Some(key), Some(since)) = (&key, change.alone_since) {
            let since = moment(since.as_microsecond());
            for row in self.below(&candidates(org), &format!("p|{key}|")).await? {
                let mut parts = text_if(&row, "sk").unwrap_or_default().splitn(4, '|').skip(2);
                let (at, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                if at >= since.as_str() && id != new.id().as_str() {
                    let corrupt = |_| LogError::Corrupt { place: format!("candidate {id:?}") };
                    return Ok(Some(Changed::Duplicate(id.parse().map_err(corrupt)?)));
                }
            }
        }
        let old = self.one_candidate(org, new.id()).await?;
        let old = old.ok_or_else(|| LogError::Corrupt { place: format!("candidate {}", new.id()) })?;
        if old.version != new.version.saturating_sub(1) {
            return Ok(Some(Changed::Stale(Box::new(old))));
        }
        if let (Some(key), Some((guard, version))) = (&key, guard) {
            let (was, is) = (promotion_key(org, key, &old), promotion_key(org, key, new));
            if was != is {
                if let Some(was) = was {
                    writing.delete(table, was.item())?;
                }
                if let Some(is) = is {
                    writing.put(table, is.item())?;
                }
                let values = vec![(":seen", n(version)), (":next", n(version + 1))];
                let as_seen = "attribute_not_exists(pk) OR version = :seen";
                let raise = Expression::new("SET version = :next", values);
                writing.update(table, guard.item(), raise, Some(as_seen))?;
            }
        }
        if let Some(incident) = &new.incident {
            writing.put(table, of_incident(org, incident, format!("candidate|{}", new.id())).item())?;
        }
        let mut row = self.get(table, candidate_key(org, new.id()).item()).await?.unwrap_or_default();
        row.retain(|name, _| !["incident", "decided_at_us"].contains(&name.as_str()));
        row.extend(item(changing(new)));
        for (place, outbox) in change.follow.iter().enumerate() {
            let key = outbox_key(org, None, outbox.kind, &outbox.name);
            if self.get(table, key.item()).await?.is_none() {
                writing.insert(table, outbox_row(&key, None, org, outbox, Timestamp::now(), place))?;
            }
        }
        let as_read = Expression::new("version = :read", vec![(":read", n(old.version))]);
        writing.replace(table, row, as_read)?;
        Ok(writing.commit(&self.client).await?.then_some(Changed::Stored))
    }

    /// Expired lines are DynamoDB's to delete, by `ttl`.
    pub(super) async fn write_attempt(
        &self,
        org: &OrgId,
        attempt: &PromotionAttempt,
    ) -> Result<(), LogError> {
        let at = attempt.started_at;
        let expires = at + SignedDuration::from_hours(24 * ATTEMPTS_KEPT_DAYS);
        let sk = format!("{}|{}", moment(at.as_microsecond()), attempt.attempt_id);
        let mut row = Key { pk: attempts(org, &attempt.candidate_id), sk }.item();
        row.extend(item([("document", s(json(attempt))), ("ttl", n(expires.as_second()))]));
        let put = self.client.put_item().table_name(&self.tables.incidents).set_item(Some(row));
        put.send().await.map(drop).map_err(broken)
    }

    pub(super) async fn read_attempts(
        &self,
        org: &OrgId,
        id: &CandidateId,
    ) -> Result<Vec<PromotionAttempt>, LogError> {
        let place = || format!("an attempt of candidate {id}");
        let rows = self.below(&attempts(org, id), "").await?;
        rows.iter()
            .map(|row| {
                let document = text(row, "document", place)?;
                serde_json::from_str(document).map_err(|_| LogError::Corrupt { place: place() })
            })
            .collect()
    }
}

/// What a change writes anew.
fn changing(candidate: &StoredCandidate) -> Vec<(&'static str, aws_sdk_dynamodb::types::AttributeValue)> {
    let mut all = vec![
        ("version", n(candidate.version)),
        ("status_word", s(candidate.status.name())),
        ("document", s(json(candidate))),
    ];
    all.extend(candidate.incident.as_ref().map(|incident| ("incident", s(incident.as_str()))));
    all.extend(candidate.decided_at.map(|at| ("decided_at_us", n(at.as_microsecond()))));
    all
}

/// Where everything about candidates lies.
pub(super) fn candidates(org: &OrgId) -> String {
    format!("{org}|candidates")
}

/// A partition a candidate: nothing else is slowed down by them.
fn attempts(org: &OrgId, id: &CandidateId) -> String {
    format!("{org}|attempts|{id}")
}

fn below(org: &OrgId, sk: String) -> Key {
    Key { pk: candidates(org), sk }
}

/// Where a candidate lies.
pub(super) fn candidate_key(org: &OrgId, id: &CandidateId) -> Key {
    below(org, format!("c|{id}"))
}

/// The promotion that a candidate stands for, if it is promoted.
fn promotion_key(org: &OrgId, key: &str, candidate: &StoredCandidate) -> Option<Key> {
    let at = candidate.decided_at.filter(|_| candidate.status == CandidateStatus::Promoted)?;
    let at = moment(Timestamp::as_microsecond(at));
    Some(below(org, format!("p|{key}|{at}|{}", candidate.id())))
}

fn stored(row: &Item, id: &CandidateId) -> Result<StoredCandidate, LogError> {
    let place = || format!("candidate {id}");
    let document = text(row, "document", place)?;
    serde_json::from_str(document).map_err(|_| LogError::Corrupt { place: place() })
}

fn json<T: serde::Serialize>(value: &T) -> String {
    // Serialising our own types cannot fail: keys are strings.
    serde_json::to_string(value).unwrap_or_default()
}
