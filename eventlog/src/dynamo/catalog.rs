//! The catalog: the lists of services, environments, releases and runs.
//!
//! Heads lie where an incident's do. What a service's stream says of a release or a run lies beside its head; what finds
//! it otherwise holds its place and nothing that changes, so that an append writes few items.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | entry of a list | `<org>\|services`, `<org>\|environments` | `<id>` |
//! | release | `<org>\|svc/<id>` | `release\|<created>\|<release>` |
//! | run | `<org>\|svc/<id>` | `run\|<release>\|<started>\|<run>` |
//! | place of a release, by id | `<org>\|release\|<release>` | `place` |
//! | the same by time, of all services | `<org>\|releases` | `created\|<created>\|<release>` |
//! | the same by its last change | `<org>\|releases` | `changed\|<changed>\|<release>` |
//! | the same by environment | `<org>\|env/<id>` | `release\|<created>\|<release>` |
//! | place of a run, by id | `<org>\|run\|<run>` | `place` |
//!
//! The place by id is written on condition that there is none: no two services have a release or a run of one id.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use aws_sdk_dynamodb::types::AttributeValue;
use harmony_incidents::{
    OrgId, ReleaseId, RunId, ServiceId, StreamId, Subject,
    log::{ReleaseState, RunState},
};
use jiff::Timestamp;
use prost::Message as _;

use super::{
    DynamoLog,
    item::{Collisions, Item, Key, Transaction, b, bytes, item, n, number, s, text, text_if},
    outbox::moment,
    query::{LAST, Span},
    tables::{of_incident, partition},
};
use crate::{
    append,
    catalog::{
        CatalogFilter, CatalogKind, CatalogProjection, CatalogRows, ReleaseFilter, ReleaseRow, RunFilter,
        RunRow, StoredRelease, StoredRun, kind_and_id, taken,
    },
    store::LogError,
    stream::StreamState,
};

/// How releases and runs of a service begin, and the releases of an environment.
const RELEASE: &str = "release|";
const RUN: &str = "run|";
/// How the list of all releases begins, by when they were created and by when they last changed.
const CREATED: &str = "created|";
const CHANGED: &str = "changed|";

impl DynamoLog {
    pub(super) async fn read_catalog(
        &self,
        org: &OrgId,
        filter: &CatalogFilter,
    ) -> Result<Vec<StreamState>, LogError> {
        let wanted = filter.limit as usize;
        let fits = |row: &Item| is_listed(row, filter);
        let mut rows = if filter.ids.is_empty() {
            let first = filter.after.clone().unwrap_or_else(|| "0".to_owned());
            let span = Span {
                pk: list(org, filter.kind.name()),
                first,
                last: LAST.to_string(),
                newest_first: false,
            };
            self.in_span(&span, wanted, &fits).await?
        } else {
            let ids: BTreeSet<&String> = filter.ids.iter().collect();
            let keys = ids.into_iter().map(|id| entry_key(org, filter.kind.name(), id).item()).collect();
            let mut rows = self.get_many(&self.tables.incidents, keys).await?;
            rows.retain(fits);
            rows.sort_unstable_by(|one, other| text_if(one, "sk").cmp(&text_if(other, "sk")));
            rows
        };
        rows.truncate(wanted);
        let place = || "the catalog".to_owned();
        let streams = rows.iter().map(|row| append::stream_id(text(row, "incident", place)?));
        let streams = streams.collect::<Result<Vec<_>, _>>()?;
        let heads = self.heads(org, &streams).await?;
        self.states(org, &heads).await
    }

    pub(super) async fn read_releases(
        &self,
        org: &OrgId,
        filter: &ReleaseFilter,
    ) -> Result<Vec<StoredRelease>, LogError> {
        let wanted = filter.limit as usize;
        let fits = |row: &Item| is_asked_for(row, filter);
        let mut rows = Vec::new();
        if filter.ids.is_empty() {
            for span in release_spans(org, filter) {
                // Those that changed are not in the order of the list: all of them are looked at.
                let most = if filter.since.is_some() { usize::MAX } else { wanted };
                rows.extend(self.in_span(&span, most, &fits).await?);
            }
        } else {
            let ids: BTreeSet<&ReleaseId> = filter.ids.iter().collect();
            let keys = ids.into_iter().map(|id| release_place(org, id.as_str()).item()).collect();
            rows = self.documents(org, self.get_many(&self.tables.incidents, keys).await?).await?;
            rows.retain(fits);
        }
        rows.sort_by_cached_key(|row| Reverse(release_order(row)));
        rows.truncate(wanted);
        let mut rows = self.documents(org, rows).await?;
        rows.sort_by_cached_key(|row| Reverse(release_order(row)));
        let releases = rows.iter().map(|row| {
            let (service, document) = of_service(row)?;
            let corrupt = |_| LogError::Corrupt { place: service.to_string() };
            Ok(StoredRelease { release: ReleaseState::decode(document).map_err(corrupt)?, service })
        });
        self.filled(org, releases.collect::<Result<_, LogError>>()?).await
    }

    pub(super) async fn read_runs(
        &self,
        org: &OrgId,
        filter: &RunFilter,
    ) -> Result<Vec<StoredRun>, LogError> {
        let table = &self.tables.incidents;
        let place = |row: &Item| text(row, "incident", || "a release".to_owned()).map(str::to_owned);
        let mut rows = Vec::new();
        if !filter.ids.is_empty() {
            let ids: BTreeSet<&RunId> = filter.ids.iter().collect();
            let keys = ids.into_iter().map(|id| run_place(org, id.as_str()).item()).collect();
            rows = self.documents(org, self.get_many(table, keys).await?).await?;
        } else if !filter.releases.is_empty() {
            let releases: BTreeSet<&ReleaseId> = filter.releases.iter().collect();
            let keys = releases.into_iter().map(|id| release_place(org, id.as_str()).item()).collect();
            for row in self.get_many(table, keys).await? {
                let release = text(&row, "release_id", || "a release".to_owned())?;
                let pk = partition(org, &append::stream_id(&place(&row)?)?);
                rows.extend(self.below(&pk, &format!("{RUN}{release}|")).await?);
            }
        } else {
            for row in self.below(&list(org, CatalogKind::Service.name()), "").await? {
                rows.extend(self.below(&partition(org, &append::stream_id(&place(&row)?)?), RUN).await?);
            }
        }
        let is_of = |row: &Item| {
            let release = text_if(row, "release_id").unwrap_or_default();
            filter.releases.is_empty() || filter.releases.iter().any(|one| one.as_str() == release)
        };
        rows.retain(is_of);
        rows.sort_by_cached_key(run_order);
        rows.truncate(filter.limit as usize);
        let runs = rows.iter().map(|row| {
            let (service, document) = of_service(row)?;
            let corrupt = |_| LogError::Corrupt { place: service.to_string() };
            Ok(StoredRun { run: RunState::decode(document).map_err(corrupt)?, service })
        });
        self.filled(org, runs.collect::<Result<_, LogError>>()?).await
    }

    /// What these places point to; what is there already stays as it is.
    async fn documents(&self, org: &OrgId, rows: Vec<Item>) -> Result<Vec<Item>, LogError> {
        let (mut found, places): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.contains_key("document"));
        let keys = places.iter().map(|row| {
            let stream = append::stream_id(text(row, "incident", || "a place".to_owned())?)?;
            Ok(of_incident(org, &stream, text(row, "lies_at", || stream.to_string())?).item())
        });
        let keys = keys.collect::<Result<Vec<_>, LogError>>()?;
        found.extend(self.get_many(&self.tables.incidents, keys).await?);
        Ok(found)
    }

    /// Whose release it is.
    pub(super) async fn owner(
        &self,
        org: &OrgId,
        release: &ReleaseId,
    ) -> Result<Option<ServiceId>, LogError> {
        let row = self.get(&self.tables.incidents, release_place(org, release.as_str()).item()).await?;
        row.map(|row| service_of(&row)).transpose()
    }

    /// Writes into a transaction what lists are told of a stream. It is conditional on the stream's head.
    pub(super) async fn extend_catalog(
        &self,
        writing: &mut Transaction,
        org: &OrgId,
        stream: &StreamId,
        projection: &CatalogProjection,
    ) -> Result<(), LogError> {
        let table = &self.tables.incidents;
        writing.put(table, entry(org, stream, projection))?;
        let keys = projection.rows.releases.iter().map(|(id, row)| release_key(org, stream, id, row).item());
        let keys =
            keys.chain(projection.rows.runs.iter().map(|(id, row)| run_key(org, stream, id, row).item()));
        let known = self.get_many(table, keys.collect()).await?;
        let known = |key: &Key| known.iter().find(|row| text_if(row, "sk") == Some(&key.sk));
        for (id, release) in &projection.rows.releases {
            let key = release_key(org, stream, id, release);
            writing.put(table, release_item(org, stream, id, release))?;
            let [place, changed, rest @ ..] = release_places(org, stream, id, release);
            match known(&key) {
                None => {
                    writing.insert(table, place)?;
                    writing.put(table, changed)?;
                    for row in rest {
                        writing.put(table, row)?;
                    }
                }
                Some(old) => {
                    let before = number(old, "changed_at_us", || format!("release {id}"))?;
                    if before != release.changed_at_us {
                        writing.delete(table, changed_key(org, id, before).item())?;
                        writing.put(table, changed)?;
                    }
                }
            }
        }
        for (id, run) in &projection.rows.runs {
            writing.put(table, run_item(org, stream, id, run))?;
            if known(&run_key(org, stream, id, run)).is_none() {
                let key = run_place(org, id);
                if self.get(table, key.item()).await?.is_some() {
                    return Err(taken("run", id));
                }
                writing.insert(table, run_place_item(org, stream, id, run))?;
            }
        }
        Ok(())
    }

    /// A head and what lists are told of its stream, as both were at one moment.
    pub(super) async fn projected(
        &self,
        org: &OrgId,
        stream: &StreamId,
    ) -> Result<(Option<Item>, Option<CatalogListed>), LogError> {
        let mut collisions = Collisions::none();
        loop {
            let head = self.whole_head(org, stream).await?;
            if stream.incident().is_some() {
                return Ok((head, None));
            }
            let listed = match self.listed(org, stream).await {
                Err(LogError::Corrupt { .. }) => None,
                listed => Some(listed?),
            };
            let version = |head: &Option<Item>| head.as_ref().and_then(|row| row.get("version").cloned());
            let after = self.whole_head(org, stream).await?;
            if version(&head) == version(&after) {
                return Ok((head, listed));
            }
            collisions.pause().await?;
        }
    }

    /// Everything that lists have of a stream, be it right or not.
    pub(super) async fn listings(&self, org: &OrgId, stream: &StreamId) -> Result<Vec<Item>, LogError> {
        let (kind, id) = kind_and_id(stream);
        let table = &self.tables.incidents;
        let mut rows: Vec<Item> =
            self.get(table, entry_key(org, kind, &id).item()).await?.into_iter().collect();
        if matches!(stream.subject(), Subject::Service(_)) {
            let own = partition(org, stream);
            let mut places = BTreeSet::new();
            for row in self.below(&own, RELEASE).await?.into_iter().chain(self.below(&own, RUN).await?) {
                let sk = text_if(&row, "sk").unwrap_or_default();
                let id = sk.rsplit('|').next().unwrap_or_default();
                let by_id = if sk.starts_with(RELEASE) { release_place(org, id) } else { run_place(org, id) };
                places.insert((by_id.pk, by_id.sk));
                if let Some(environment) = text_if(&row, "environment_name") {
                    places.insert((format!("{org}|env/{environment}"), sk.to_owned()));
                }
                rows.push(row);
            }
            let places = places.into_iter().map(|(pk, sk)| Key { pk, sk }.item()).collect();
            rows.extend(self.get_many(table, places).await?);
            rows.extend(self.below(&list(org, "release"), "").await?);
            rows.retain(|row| text_if(row, "incident") == Some(stream.as_str()));
        }
        Ok(rows)
    }

    /// What lists are told of a stream: [`LogError::Corrupt`] where it cannot be read.
    async fn listed(&self, org: &OrgId, stream: &StreamId) -> Result<CatalogListed, LogError> {
        let place = || stream.to_string();
        let (kind, id) = kind_and_id(stream);
        let row = self.get(&self.tables.incidents, entry_key(org, kind, &id).item()).await?;
        let row = row.ok_or_else(|| LogError::Corrupt { place: place() })?;
        let mut rows = CatalogRows::default();
        if matches!(stream.subject(), Subject::Service(_)) {
            for row in self.below(&partition(org, stream), RELEASE).await? {
                let release = ReleaseRow {
                    environment: text(&row, "environment_name", place)?.to_owned(),
                    created_at_us: number(&row, "created_at_us", place)?,
                    changed_at_us: number(&row, "changed_at_us", place)?,
                    document: bytes(&row, "document", place)?.to_vec(),
                };
                rows.releases.insert(text(&row, "release_id", place)?.to_owned(), release);
            }
            for row in self.below(&partition(org, stream), RUN).await? {
                let run = RunRow {
                    release: text(&row, "release_id", place)?.to_owned(),
                    started_at_us: number(&row, "started_at_us", place)?,
                    document: bytes(&row, "document", place)?.to_vec(),
                };
                rows.runs.insert(text(&row, "run_id", place)?.to_owned(), run);
            }
        }
        Ok(CatalogListed {
            name: text(&row, "shown_name", place)?.to_owned(),
            retired: number::<u8>(&row, "retired", place)? == 1,
            running: number::<u8>(&row, "running", place)? == 1,
            rows,
        })
    }

    /// Whether each of these is found by its id and in every list. One that changed since it was read is left to the next
    /// time: it stands elsewhere by now.
    pub(super) async fn is_found(
        &self,
        org: &OrgId,
        stream: &StreamId,
        listed: &CatalogListed,
    ) -> Result<bool, LogError> {
        let table = &self.tables.incidents;
        let CatalogRows { releases, runs } = &listed.rows;
        let of_releases = releases.iter().flat_map(|(id, row)| release_places(org, stream, id, row));
        let of_runs = runs.iter().map(|(id, row)| run_place_item(org, stream, id, row));
        let places: Vec<Item> = of_releases.chain(of_runs).collect();
        let found = self.get_many(table, places.iter().map(key_of).collect()).await?;
        let found: BTreeMap<_, _> = found.iter().map(|row| (place_of(row), row)).collect();
        let wrong = places.iter().filter(|place| found.get(&place_of(place)) != Some(place));
        let wrong: BTreeSet<Option<&str>> = wrong.map(|place| text_if(place, "release_id")).collect();
        for id in wrong {
            let Some((id, release)) = id.and_then(|id| releases.get_key_value(id)) else { return Ok(false) };
            let now = self.get(table, release_key(org, stream, id, release).item()).await?;
            let changed = now.map(|row| number(&row, "changed_at_us", || stream.to_string())).transpose()?;
            if changed == Some(release.changed_at_us) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What lists are told of a stream of the catalog.
#[derive(Debug)]
pub(super) struct CatalogListed {
    name: String,
    retired: bool,
    running: bool,
    rows: CatalogRows,
}

impl CatalogListed {
    /// With the head that it was read with.
    pub(super) fn with(self, stream: &StreamId, head: &Item) -> Result<CatalogProjection, LogError> {
        let place = || stream.to_string();
        let (kind, id) = kind_and_id(stream);
        Ok(CatalogProjection {
            kind,
            id,
            name: self.name,
            retired: self.retired,
            running: self.running,
            seq: number(head, "seq", place)?,
            head_hash: bytes(head, "head_hash", place)?.to_vec(),
            state: bytes(head, "folded", place)?.to_vec(),
            rows: self.rows,
        })
    }
}

/// Everything that lists are to have of a stream.
pub(super) fn made_of(org: &OrgId, stream: &StreamId, projection: &CatalogProjection) -> Vec<Item> {
    let mut made = vec![entry(org, stream, projection)];
    for (id, release) in &projection.rows.releases {
        made.push(release_item(org, stream, id, release));
        made.extend(release_places(org, stream, id, release));
    }
    for (id, run) in &projection.rows.runs {
        made.extend([run_item(org, stream, id, run), run_place_item(org, stream, id, run)]);
    }
    made
}

fn is_listed(row: &Item, filter: &CatalogFilter) -> bool {
    let is = |name: &str| number::<u8>(row, name, String::new).is_ok_and(|word| word == 1);
    let (id, name) = (text_if(row, "sk").unwrap_or_default(), text_if(row, "shown_name").unwrap_or_default());
    let found = |search: &String| {
        let search = search.to_lowercase();
        [id, name].iter().any(|text| text.to_lowercase().contains(&search))
    };
    (filter.retired || !is("retired"))
        && (!filter.running || is("running"))
        && filter.search.as_ref().is_none_or(found)
        && filter.after.as_ref().is_none_or(|after| id > after.as_str())
}

fn is_asked_for(row: &Item, filter: &ReleaseFilter) -> bool {
    let stream = text_if(row, "incident").unwrap_or_default();
    let is_of = |service: &ServiceId| StreamId::from(service.clone()).as_str() == stream;
    let changed = |since: Timestamp| {
        let changed = number::<i64>(row, "changed_at_us", String::new);
        changed.is_ok_and(|changed| changed >= since.as_microsecond())
    };
    (filter.services.is_empty() || filter.services.iter().any(is_of))
        && filter
            .environment
            .as_ref()
            .is_none_or(|one| text_if(row, "environment_name") == Some(one.as_str()))
        && filter.since.is_none_or(changed)
        && filter
            .before
            .as_ref()
            .is_none_or(|(at, id)| release_order(row) < (at.as_microsecond(), id.to_string()))
}

/// Where the releases are that a filter may ask for, the last created first in each part.
fn release_spans(org: &OrgId, filter: &ReleaseFilter) -> Vec<Span> {
    let last = |prefix: &str| match &filter.before {
        Some((at, id)) => format!("{prefix}{}|{id}", moment(at.as_microsecond())),
        None => format!("{prefix}{LAST}"),
    };
    let span = |pk: String, prefix: &str| Span {
        pk,
        first: prefix.to_owned(),
        last: last(prefix),
        newest_first: true,
    };
    let services: BTreeSet<&ServiceId> = filter.services.iter().collect();
    match (filter.since, &filter.environment) {
        (Some(since), _) => vec![Span {
            pk: list(org, "release"),
            first: format!("{CHANGED}{}", moment(since.as_microsecond())),
            last: format!("{CHANGED}{LAST}"),
            newest_first: true,
        }],
        (None, _) if !services.is_empty() => {
            let streams = services.into_iter().map(|id| StreamId::from(id.clone()));
            streams.map(|stream| span(partition(org, &stream), RELEASE)).collect()
        }
        (None, Some(environment)) => vec![span(partition(org, &environment.clone().into()), RELEASE)],
        (None, None) => vec![span(list(org, "release"), CREATED)],
    }
}

/// By when it was created, then by id.
fn release_order(row: &Item) -> (i64, String) {
    let created = number(row, "created_at_us", String::new).unwrap_or_default();
    (created, text_if(row, "release_id").unwrap_or_default().to_owned())
}

/// By release, then by when it began, then by id.
fn run_order(row: &Item) -> (String, i64, String) {
    let id = |name: &str| text_if(row, name).unwrap_or_default().to_owned();
    (id("release_id"), number(row, "started_at_us", String::new).unwrap_or_default(), id("run_id"))
}

fn service_of(row: &Item) -> Result<ServiceId, LogError> {
    let stream = append::stream_id(text(row, "incident", || "a release".to_owned())?)?;
    match stream.subject() {
        Subject::Service(service) => Ok(service),
        Subject::Incident(_) | Subject::Environment(_) => {
            Err(LogError::Corrupt { place: stream.to_string() })
        }
    }
}

/// Whose row it is, and its document.
fn of_service(row: &Item) -> Result<(ServiceId, &[u8]), LogError> {
    let service = service_of(row)?;
    let document = bytes(row, "document", || service.to_string())?;
    Ok((service, document))
}

/// Where all services, environments or releases of an organisation are listed.
fn list(org: &OrgId, kind: &str) -> String {
    format!("{org}|{kind}s")
}

fn entry_key(org: &OrgId, kind: &str, id: &str) -> Key {
    Key { pk: list(org, kind), sk: id.to_owned() }
}

/// A stream in the list of its kind.
fn entry(org: &OrgId, stream: &StreamId, projection: &CatalogProjection) -> Item {
    with(
        entry_key(org, projection.kind, &projection.id),
        [
            ("incident", s(stream.as_str())),
            ("shown_name", s(&projection.name)),
            ("retired", n(u8::from(projection.retired))),
            ("running", n(u8::from(projection.running))),
        ],
    )
}

fn release_key(org: &OrgId, stream: &StreamId, id: &str, release: &ReleaseRow) -> Key {
    of_incident(org, stream, format!("{RELEASE}{}|{id}", moment(release.created_at_us)))
}

fn release_item(org: &OrgId, stream: &StreamId, id: &str, release: &ReleaseRow) -> Item {
    with(
        release_key(org, stream, id, release),
        [
            ("incident", s(stream.as_str())),
            ("release_id", s(id)),
            ("environment_name", s(&release.environment)),
            ("created_at_us", n(release.created_at_us)),
            ("changed_at_us", n(release.changed_at_us)),
            ("document", b(release.document.clone())),
        ],
    )
}

/// What finds a release: by its id, by its last change, by when it was created, and the same in its environment.
fn release_places(org: &OrgId, stream: &StreamId, id: &str, release: &ReleaseRow) -> [Item; 4] {
    let lies_at = release_key(org, stream, id, release).sk;
    let created = moment(release.created_at_us);
    let environment = format!("{org}|env/{}", release.environment);
    let place = |key: Key| {
        with(
            key,
            [
                ("incident", s(stream.as_str())),
                ("lies_at", s(&lies_at)),
                ("release_id", s(id)),
                ("environment_name", s(&release.environment)),
                ("created_at_us", n(release.created_at_us)),
            ],
        )
    };
    let mut changed = place(changed_key(org, id, release.changed_at_us));
    changed.extend(item([("changed_at_us", n(release.changed_at_us))]));
    [
        place(release_place(org, id)),
        changed,
        place(Key { pk: list(org, "release"), sk: format!("{CREATED}{created}|{id}") }),
        place(Key { pk: environment, sk: format!("{RELEASE}{created}|{id}") }),
    ]
}

fn release_place(org: &OrgId, id: &str) -> Key {
    Key { pk: format!("{org}|release|{id}"), sk: "place".to_owned() }
}

fn changed_key(org: &OrgId, id: &str, changed_at_us: i64) -> Key {
    Key { pk: list(org, "release"), sk: format!("{CHANGED}{}|{id}", moment(changed_at_us)) }
}

fn run_key(org: &OrgId, stream: &StreamId, id: &str, run: &RunRow) -> Key {
    of_incident(org, stream, format!("{RUN}{}|{}|{id}", run.release, moment(run.started_at_us)))
}

fn run_item(org: &OrgId, stream: &StreamId, id: &str, run: &RunRow) -> Item {
    with(
        run_key(org, stream, id, run),
        [
            ("incident", s(stream.as_str())),
            ("run_id", s(id)),
            ("release_id", s(&run.release)),
            ("started_at_us", n(run.started_at_us)),
            ("document", b(run.document.clone())),
        ],
    )
}

/// What finds a run by its id.
fn run_place(org: &OrgId, id: &str) -> Key {
    Key { pk: format!("{org}|run|{id}"), sk: "place".to_owned() }
}

fn run_place_item(org: &OrgId, stream: &StreamId, id: &str, run: &RunRow) -> Item {
    let lies_at = run_key(org, stream, id, run).sk;
    with(run_place(org, id), [("incident", s(stream.as_str())), ("lies_at", s(lies_at))])
}

fn with<const N: usize>(key: Key, rest: [(&'static str, AttributeValue); N]) -> Item {
    item(key.pairs().into_iter().chain(rest))
}

/// Where an item lies.
pub(super) fn place_of(row: &Item) -> (Option<&str>, Option<&str>) {
    (text_if(row, "pk"), text_if(row, "sk"))
}

/// The key of an item alone.
pub(super) fn key_of(row: &Item) -> Item {
    row.iter()
        .filter(|(name, _)| ["pk", "sk"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
