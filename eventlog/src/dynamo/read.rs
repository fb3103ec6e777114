//! Reading: states, records, lists. Every read is a consistent one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use aws_sdk_dynamodb::types::AttributeValue;
use harmony_incidents::{Answer, IncidentId, OrgId, StreamId, log::IncidentState};
use harmony_protos::{log::Record, texts};
use prost::Message;

use super::{
    DynamoLog,
    item::{Collisions, Expression, Item, b, broken, bytes, n, number, s, text, text_if},
    query::BATCH,
    tables::{answer_key, head_key, key_hash, of_incident, part_key, partition},
};
use crate::{
    append::{self, key_line},
    checkpoint::StreamHead,
    entry::{self, Described, Filling, Salted},
    store::{Entry, Filter, LogError, Sort},
    stream::{ChainHead, StreamState},
    verify::Row,
};

/// Texts of an incident by seq and field: commitment, salt, text.
pub(super) type Beside = BTreeMap<u64, BTreeMap<String, (Vec<u8>, Vec<u8>, String)>>;

/// The head that an item holds.
pub(super) fn head_of(row: &Item, stream: &StreamId) -> Result<ChainHead, LogError> {
    let place = || stream.to_string();
    append::head(stream, bytes(row, "head_hash", place)?, bytes(row, "folded", place)?)
        .ok_or_else(|| LogError::Corrupt { place: place() })
}

impl DynamoLog {
    /// Where a stream stands, its texts filled in.
    pub(super) async fn read_state(
        &self,
        org: &OrgId,
        stream: &StreamId,
    ) -> Result<Option<StreamState>, LogError> {
        let Some(row) = self.whole_head(org, stream).await? else { return Ok(None) };
        let mut states = self.filled(org, vec![head_of(&row, stream)?.state]).await?;
        Ok(states.pop())
    }

    /// Fills texts in, all of them with as few calls as there can be.
    pub(super) async fn filled<D: Described>(&self, org: &OrgId, states: Vec<D>) -> Result<Vec<D>, LogError> {
        let mut filling = Filling::of(states);
        let mut wanted = Vec::new();
        for (stream, commitment) in filling.wanted().into_iter().collect::<BTreeSet<_>>() {
            wanted.push(text_key(org, &append::stream_id(&stream)?, &commitment));
        }
        let own = format!("{org}|");
        for row in self.get_many(&self.tables.incidents, wanted).await? {
            let Some(stream) = text_if(&row, "pk").and_then(|pk| pk.strip_prefix(&own)) else { continue };
            let place = || stream.to_owned();
            let (commitment, salt) = (bytes(&row, "commitment", place)?, bytes(&row, "salt", place)?);
            let salted = (salt.to_vec(), text(&row, "words", place)?.to_owned());
            filling.know(stream.to_owned(), commitment.to_vec(), salted)?;
        }
        Ok(filling.filled())
    }

    pub(super) async fn read_records(
        &self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, LogError> {
        let rows = self.event_rows(org, stream, after, limit).await?;
        let mut wanted = BTreeSet::new();
        for row in &rows {
            let place = || stream.to_string();
            let decoded = Record::decode(bytes(row, "canonical", place)?);
            if let Some(mut payload) = decoded.ok().and_then(|record| record.payload) {
                wanted.extend(texts(&mut payload).into_iter().map(|field| field.text.commitment.clone()));
            }
        }
        let wanted = wanted.iter().map(|commitment| text_key(org, stream, commitment)).collect();
        let mut beside = BTreeMap::<u64, BTreeMap<String, Salted>>::new();
        for row in self.get_many(&self.tables.incidents, wanted).await? {
            let place = || stream.to_string();
            let fields = beside.entry(number(&row, "at_seq", place)?).or_default();
            let salted = (bytes(&row, "salt", place)?.to_vec(), text(&row, "words", place)?.to_owned());
            fields.insert(text(&row, "field_name", place)?.to_owned(), salted);
        }
        rows.iter()
            .map(|row| {
                let seq: u64 = number(row, "seq", || stream.to_string())?;
                let place = || format!("{stream} seq {seq}");
                entry::stored(
                    place,
                    bytes(row, "canonical", place)?.to_vec(),
                    bytes(row, "record_hash", place)?.to_vec(),
                    number(row, "stored_at_us", place)?,
                    beside.remove(&seq).unwrap_or_default(),
                )
            })
            .collect()
    }

    pub(super) async fn read_rows(
        &self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Row>, LogError> {
        let found = self.event_rows(org, stream, after, limit).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut beside = self.beside(org, stream).await?;
        found.iter().map(|row| raw(row, stream, &mut beside)).collect()
    }

    /// Every text of an incident that there is.
    pub(super) async fn beside(&self, org: &OrgId, stream: &StreamId) -> Result<Beside, LogError> {
        let mut beside = Beside::new();
        for row in self.below(&partition(org, stream), "text|").await? {
            let place = || stream.to_string();
            let words = match row.get("words") {
                Some(AttributeValue::S(text)) => text.clone(),
                // Bytes that are no text match no commitment.
                other => format!("{other:?}"),
            };
            let one =
                (bytes(&row, "commitment", place)?.to_vec(), bytes(&row, "salt", place)?.to_vec(), words);
            let fields = beside.entry(number(&row, "at_seq", place)?).or_default();
            fields.insert(text(&row, "field_name", place)?.to_owned(), one);
        }
        Ok(beside)
    }

    /// Records as they lie in their table.
    pub(super) async fn event_rows(
        &self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Item>, LogError> {
        let wanted = limit as usize;
        let mut rows: Vec<Item> = Vec::new();
        let mut start = None;
        while rows.len() < wanted {
            let left = i32::try_from(wanted - rows.len()).unwrap_or(i32::MAX);
            let page = self
                .client
                .query()
                .table_name(&self.tables.events)
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND seq > :after")
                .expression_attribute_values(":pk", s(partition(org, stream)))
                .expression_attribute_values(":after", n(after))
                .limit(left)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(broken)?;
            rows.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(rows)
    }

    pub(super) async fn read_chain_head(
        &self,
        org: &OrgId,
        stream: &StreamId,
    ) -> Result<Option<StreamHead>, LogError> {
        let last = self
            .client
            .query()
            .table_name(&self.tables.events)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(partition(org, stream)))
            .scan_index_forward(false)
            .limit(1)
            .send()
            .await
            .map_err(broken)?;
        last.items()
            .first()
            .map(|row| {
                let place = || stream.to_string();
                let hash = bytes(row, "record_hash", place)?;
                Ok(StreamHead {
                    stream: stream.clone(),
                    seq: number(row, "seq", place)?,
                    hash: hash.try_into().map_err(|_| LogError::Corrupt { place: place() })?,
                })
            })
            .transpose()
    }

    /// A head with all of its state, where that takes more than one item.
    pub(super) async fn whole_head(&self, org: &OrgId, stream: &StreamId) -> Result<Option<Item>, LogError> {
        let mut collisions = Collisions::none();
        loop {
            let Some(mut row) = self.get(&self.tables.incidents, head_key(org, stream).item()).await? else {
                return Ok(None);
            };
            let parts: usize = number(&row, "parts", || stream.to_string())?;
            if parts <= 1 {
                return Ok(Some(row));
            }
            let keys = (1..parts).map(|place| part_key(org, stream, place).item()).collect();
            let mut rest = self.get_many(&self.tables.incidents, keys).await?;
            // A part of another version: somebody appended between the two reads.
            if rest.len() == parts - 1 && rest.iter().all(|part| part.get("version") == row.get("version")) {
                rest.sort_by(|one, other| text_if(one, "sk").cmp(&text_if(other, "sk")));
                let place = || stream.to_string();
                let mut folded = bytes(&row, "folded", place)?.to_vec();
                for part in &rest {
                    folded.extend_from_slice(bytes(part, "folded", place)?);
                }
                row.insert("folded".to_owned(), b(folded));
                return Ok(Some(row));
            }
            collisions.pause().await?;
        }
    }

    pub(super) async fn read_list(
        &self,
        org: &OrgId,
        filter: &Filter,
    ) -> Result<Vec<IncidentState>, LogError> {
        let limit = filter.limit as usize;
        let mut waiting = self.numbered(org, filter).await?.into_iter().peekable();
        let mut listed: Vec<IncidentState> = Vec::new();
        if filter.sort == Sort::MostSevereFirst {
            // Severity is in the heads alone: all of them are read before the first is known.
            let all: Vec<StreamId> = waiting.collect();
            let mut found = Vec::new();
            for some in all.chunks(BATCH) {
                found.extend(self.fitting(org, filter, some).await?);
            }
            let severity = |row: &Item| text_if(row, "severity").unwrap_or_default().to_owned();
            let newest = |stream: &StreamId| Reverse(stream.incident().map(|incident| incident.parts()));
            found.sort_by_cached_key(|(stream, row)| (severity(row), newest(stream)));
            if let Some(after) = &filter.after {
                let place = (after.severity.clone(), newest(&after.incident));
                found.retain(|(stream, row)| (severity(row), newest(stream)) > place);
            }
            for some in found.chunks(BATCH) {
                if listed.len() >= limit {
                    break;
                }
                listed.extend(self.shown(org, filter, some).await?);
            }
        } else {
            while listed.len() < limit && waiting.peek().is_some() {
                let some: Vec<StreamId> = waiting.by_ref().take(BATCH).collect();
                let found = self.fitting(org, filter, &some).await?;
                listed.extend(self.shown(org, filter, &found).await?);
            }
        }
        listed.truncate(limit);
        Ok(listed)
    }

    /// The heads among these that fit all but the search, in the order given.
    async fn fitting(
        &self,
        org: &OrgId,
        filter: &Filter,
        some: &[StreamId],
    ) -> Result<Vec<(StreamId, Item)>, LogError> {
        let mut found = self.heads(org, some).await?;
        found.retain(|(_, row)| fits(row, filter));
        Ok(found)
    }

    /// The heads that there are among these, in the order given.
    pub(super) async fn heads(
        &self,
        org: &OrgId,
        some: &[StreamId],
    ) -> Result<Vec<(StreamId, Item)>, LogError> {
        let keys = some.iter().map(|stream| head_key(org, stream).item()).collect();
        let mut by_place: BTreeMap<String, Item> = BTreeMap::new();
        for row in self.get_many(&self.tables.incidents, keys).await? {
            by_place.insert(text(&row, "pk", || "a head".to_owned())?.to_owned(), row);
        }
        let head = |stream: &StreamId| Some((stream.clone(), by_place.remove(&partition(org, stream))?));
        Ok(some.iter().filter_map(head).collect())
    }

    /// The states of these heads, with their texts, that the search finds.
    async fn shown(
        &self,
        org: &OrgId,
        filter: &Filter,
        found: &[(StreamId, Item)],
    ) -> Result<Vec<IncidentState>, LogError> {
        let states = self.states(org, found).await?.into_iter().filter_map(StreamState::incident);
        Ok(states.filter(|state| is_found(state, filter)).collect())
    }

    /// The states of these heads, with their texts.
    pub(super) async fn states(
        &self,
        org: &OrgId,
        found: &[(StreamId, Item)],
    ) -> Result<Vec<StreamState>, LogError> {
        let mut states = Vec::with_capacity(found.len());
        for (stream, row) in found {
            let is_whole = number::<usize>(row, "parts", || stream.to_string())? <= 1;
            let whole = if is_whole { None } else { self.whole_head(org, stream).await? };
            states.push(head_of(whole.as_ref().unwrap_or(row), stream)?.state);
        }
        self.filled(org, states).await
    }

    /// Ids of incidents in the order asked for (newest first where severity decides), those behind the place asked for.
    /// The numbers of a year are gap-free, so the incidents are known without an index.
    async fn numbered(&self, org: &OrgId, filter: &Filter) -> Result<Vec<StreamId>, LogError> {
        let mut all = Vec::new();
        for row in self.below(&format!("{org}|numbers"), "").await? {
            let place = || format!("{org}|numbers");
            let year: i16 =
                text(&row, "sk", place)?.parse().map_err(|_| LogError::Corrupt { place: place() })?;
            let last: u64 = number(&row, "last_number", place)?;
            all.extend((1..=last).map(|number| (year, number)));
        }
        all.sort_unstable();
        if filter.sort != Sort::OldestFirst {
            all.reverse();
        }
        let after = filter.after.as_ref().map(|place| place.incident.parts());
        let behind = |parts: &(i16, u64)| match (filter.sort, after) {
            (Sort::NewestFirst, Some(after)) => *parts < after,
            (Sort::OldestFirst, Some(after)) => *parts > after,
            (Sort::MostSevereFirst, _) | (_, None) => true,
        };
        Ok(all
            .into_iter()
            .filter(behind)
            .map(|(year, number)| IncidentId::new(year, number).into())
            .collect())
    }

    pub(super) async fn read_answer(&self, org: &OrgId, key: &str) -> Result<Option<Answer>, LogError> {
        let row = self.get(&self.tables.idempotency, answer_key(org, &key_hash(key))).await?;
        let place = || format!("key {key}");
        row.map(|row| {
            let answer = text(&row, "answer", place)?;
            serde_json::from_str(answer).map_err(|_| LogError::Corrupt { place: place() })
        })
        .transpose()
    }

    /// Every id of an incident that a record, a text or a head names. Reads both tables to their end.
    pub(super) async fn traced(&self, org: &OrgId) -> Result<Vec<String>, LogError> {
        let own = format!("{org}|");
        let mut found = BTreeSet::new();
        for (table, only) in [
            (&self.tables.events, None),
            (&self.tables.incidents, Some("(sk = :head OR begins_with(sk, :texts))")),
        ] {
            let mut filter = Expression::new("begins_with(pk, :org)", vec![(":org", s(&own))]);
            if let Some(only) = only {
                filter.text = format!("{} AND {only}", filter.text);
                filter.values.extend([(":head", s("head")), (":texts", s("text|"))]);
            }
            let mut start = None;
            loop {
                let page = self
                    .client
                    .scan()
                    .table_name(table)
                    .consistent_read(true)
                    .projection_expression("pk")
                    .filter_expression(&filter.text)
                    .set_expression_attribute_values(filter.clone().values())
                    .set_exclusive_start_key(start)
                    .send()
                    .await
                    .map_err(broken)?;
                let ids = page.items().iter().filter_map(|row| text_if(row, "pk")?.strip_prefix(&own));
                found.extend(ids.map(str::to_owned));
                start = page.last_evaluated_key;
                if start.is_none() {
                    break;
                }
            }
        }
        Ok(found.into_iter().collect())
    }
}

/// A record as it is stored, with the texts beside it.
pub(super) fn raw(row: &Item, stream: &StreamId, beside: &mut Beside) -> Result<Row, LogError> {
    let place = || stream.to_string();
    let seq = number(row, "seq", place)?;
    Ok(Row {
        seq,
        canonical: bytes(row, "canonical", place)?.to_vec(),
        hash: bytes(row, "record_hash", place)?.to_vec(),
        texts: beside.remove(&seq).unwrap_or_default(),
    })
}

/// Where a text lies.
pub(super) fn text_key(org: &OrgId, stream: &StreamId, commitment: &[u8]) -> Item {
    of_incident(org, stream, format!("text|{}", hex::encode(commitment))).item()
}

fn fits(row: &Item, filter: &Filter) -> bool {
    let one_of = |(name, words): (&str, &Vec<String>)| {
        words.is_empty() || text_if(row, name).is_some_and(|word| words.iter().any(|one| one == word))
    };
    let keys = text_if(row, "correlation_keys").unwrap_or_default();
    let has_key = |key: &String| keys.contains(&key_line(&[key]));
    [
        ("state_word", &filter.states),
        ("status_word", &filter.statuses),
        ("severity", &filter.severities),
        ("service_name", &filter.services),
        ("environment_name", &filter.environments),
        ("project_name", &filter.projects),
    ]
    .into_iter()
    .all(one_of)
        && (filter.correlation_keys.is_empty() || filter.correlation_keys.iter().any(has_key))
        && (!filter.waiting || waits(row) != Some(false))
        && filter.visible_to.as_ref().is_none_or(|principal| sees(row, principal))
        && filter.hidden_from.as_ref().is_none_or(|principal| !sees(row, principal))
        && filter.drill.is_none_or(|drill| is_drill(row) == drill)
}

/// Whether this principal may see the incident of a row; rows from before incidents could be private are everybody's.
pub(super) fn sees(row: &Item, principal: &str) -> bool {
    let named = text_if(row, "visible_to").unwrap_or_default();
    named.is_empty() || named.contains(&key_line(&[principal]))
}

fn is_drill(row: &Item) -> bool {
    number::<u8>(row, "drill", String::new).is_ok_and(|drill| drill == 1)
}

/// Whether a gate waits; `None` where the row is older than the question.
pub(super) fn waits(row: &Item) -> Option<bool> {
    number::<u8>(row, "waiting", String::new).ok().map(|waiting| waiting == 1)
}

fn is_found(state: &IncidentState, filter: &Filter) -> bool {
    let title = state.title.as_ref().filter(|title| !title.redacted);
    let title = title.map(|title| title.text.to_lowercase()).unwrap_or_default();
    filter.search.iter().all(|search| title.contains(&search.to_lowercase()))
        && (!filter.waiting || append::is_waiting(state))
}
