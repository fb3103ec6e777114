//! An append as one `TransactWriteItems`: what was read on the way is what it is conditional on.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use harmony_incidents::{
    EnvironmentId, OrgId, ReleaseId, ServiceId, StreamId, log::EnvironmentState, promotion::CandidateId,
    record::SealedRecord,
};
use harmony_protos::kind_name;

use super::{
    DynamoLog,
    candidates::candidate_key,
    item::{Expression, Item, Transaction as Writing, b, bytes, item, n, number, s, text, text_if},
    outbox::{outbox_key, outbox_row},
    read::{head_of, text_key},
    tables::{
        PART_BYTES, answer_key, answer_pk, effect_key, head_key, key_hash, number_key, of_incident, part_key,
        partition,
    },
};
use crate::{
    append::{Found, IncidentProjection, Job, KeyRow, Plan, Projection, StreamTarget, Transaction},
    redaction::{Copies, Erasure, Standing},
    store::{Entry, LogError},
};

/// One try of an append.
pub(super) struct Tx<'a> {
    log: &'a DynamoLog,
    /// Of the head that was judged against; `None` where there is none.
    version: Option<u64>,
    /// Heads of other streams that the judge was told of, and their versions; `None` where there was none.
    relied_on: Vec<(StreamId, Option<u64>)>,
    /// The last number of the year, where one is allocated.
    last_number: Option<u64>,
    /// Commitments of the texts that a redaction may take, by record and field.
    commitments: BTreeMap<(u64, String), Vec<u8>>,
    pub(super) writing: Writing,
}

impl<'a> Tx<'a> {
    /// One that writes over a head of this version; `None` where there is none.
    pub(super) fn over(log: &'a DynamoLog, version: Option<u64>) -> Self {
        Self { version, ..Self::new(log) }
    }

    pub(super) fn new(log: &'a DynamoLog) -> Self {
        Self {
            log,
            version: None,
            relied_on: Vec::new(),
            last_number: None,
            commitments: BTreeMap::new(),
            writing: Writing::default(),
        }
    }

    /// Whether it was written; `false` where something is not any more what was read.
    pub(super) async fn commit(self) -> Result<bool, LogError> {
        self.writing.commit(&self.log.client).await
    }

    fn erase(&mut self, org: &OrgId, stream: &StreamId, erasure: &Erasure) -> Result<(), LogError> {
        let tables = &self.log.tables;
        for place in &erasure.texts {
            if let Some(commitment) = self.commitments.get(place) {
                self.writing.delete(&tables.incidents, text_key(org, stream, commitment))?;
            }
        }
        for (key, answer) in &erasure.answers {
            let change = Expression::new("SET answer = :answer", vec![(":answer", s(answer))]);
            let place = answer_key(org, &key_hash(key));
            self.writing.update(&tables.idempotency, place, change, Some("attribute_exists(pk)"))?;
        }
        for (key, result) in &erasure.results {
            let change = Expression::new("SET outcome = :outcome", vec![(":outcome", s(result))]);
            let place = effect_key(org, key).item();
            self.writing.update(&tables.incidents, place, change, Some("attribute_exists(pk)"))?;
        }
        for (id, document) in &erasure.candidates {
            let Ok(id) = id.parse::<CandidateId>() else { continue };
            let change = Expression::new("SET document = :document", vec![(":document", s(document))]);
            let place = candidate_key(org, &id).item();
            self.writing.update(&tables.incidents, place, change, Some("attribute_exists(pk)"))?;
        }
        Ok(())
    }

    fn record(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        one: &SealedRecord,
        stored_at_us: i64,
    ) -> Result<(), LogError> {
        let tables = &self.log.tables;
        let kind =
            one.record.payload.as_ref().and_then(|payload| payload.kind.as_ref()).map_or("", kind_name);
        let row = item([
            ("pk", s(partition(org, stream))),
            ("seq", n(one.record.seq)),
            ("event_id", b(one.record.event_id.clone())),
            ("record_kind", s(kind)),
            ("canonical", b(one.canonical.clone())),
            ("record_hash", b(one.hash.to_vec())),
            ("stored_at_us", n(stored_at_us)),
        ]);
        self.writing.insert(&tables.events, row)?;
        for text in &one.texts {
            let mut row = text_key(org, stream, &text.commitment);
            row.extend(item([
                ("at_seq", n(one.record.seq)),
                ("field_name", s(&text.field)),
                ("commitment", b(text.commitment.to_vec())),
                ("salt", b(text.salt.to_vec())),
                ("words", s(&text.text)),
            ]));
            self.writing.insert(&tables.incidents, row)?;
        }
        Ok(())
    }

    /// The head moves on, whatever the command gave: who read it before must judge again.
    pub(super) fn head(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        projection: Option<&Projection>,
        stored_at_us: i64,
    ) -> Result<(), LogError> {
        let key = head_key(org, stream).item();
        let version = self.version.unwrap_or_default() + 1;
        let mut sets = Vec::new();
        let mut values = Vec::new();
        if let Some(projection) = projection {
            let (seq, hash, state) = projection.end();
            let parts: Vec<&[u8]> = state.chunks(PART_BYTES).collect();
            for (place, part) in parts.iter().enumerate().skip(1) {
                let mut row = part_key(org, stream, place).item();
                row.extend(item([("folded", b(*part)), ("version", n(version))]));
                self.writing.put(&self.log.tables.incidents, row)?;
            }
            let own = match projection {
                Projection::Incident(projection) => words(projection),
                // The list of its kind has them.
                Projection::Catalog(_) => Vec::new(),
            };
            for (name, value, given) in own.into_iter().chain([
                ("seq", ":seq", n(seq)),
                ("head_hash", ":hash", b(hash)),
                ("folded", ":folded", b(parts.first().copied().unwrap_or_default())),
                ("parts", ":parts", n(parts.len())),
                ("updated_at_us", ":updated", n(stored_at_us)),
            ]) {
                sets.push(format!("{name} = {value}"));
                values.push((value, given));
            }
        } else if self.version.is_none() {
            return Ok(());
        }
        sets.push("version = :version".to_owned());
        values.push((":version", n(version)));
        let condition = match self.version {
            None => "attribute_not_exists(pk)",
            Some(version) => {
                values.push((":seen", n(version)));
                "version = :seen"
            }
        };
        let change = Expression::new(format!("SET {}", sets.join(", ")), values);
        self.writing.update(&self.log.tables.incidents, key, change, Some(condition))
    }

    /// What the judge was told of other streams holds when this is written.
    fn expect_as_read(&mut self, org: &OrgId) -> Result<(), LogError> {
        for (stream, version) in &self.relied_on {
            let expected = match version {
                Some(version) => Expression::new("version = :read", vec![(":read", n(version))]),
                None => Expression::new("attribute_not_exists(pk)", Vec::new()),
            };
            let key = head_key(org, stream).item();
            self.writing.expect(&self.log.tables.incidents, key, expected)?;
        }
        Ok(())
    }

    fn number(&mut self, org: &OrgId, stream: &StreamId) -> Result<(), LogError> {
        let (Some(last), Some(incident)) = (self.last_number, stream.incident()) else { return Ok(()) };
        let (year, number) = incident.parts();
        let mut values = vec![(":number", n(number))];
        let condition = if last == 0 {
            "attribute_not_exists(pk)"
        } else {
            values.push((":last", n(last)));
            "last_number = :last"
        };
        let change = Expression::new("SET last_number = :number", values);
        self.writing.update(&self.log.tables.incidents, number_key(org, year).item(), change, Some(condition))
    }

    /// What follows, but for what follows already under the same name.
    async fn outbox(&mut self, org: &OrgId, plan: &Plan) -> Result<(), LogError> {
        let table = &self.log.tables.incidents;
        let mut wanted = Vec::new();
        let mut names = BTreeSet::new();
        for outbox in &plan.outbox {
            let key = outbox_key(org, Some(&plan.stream), outbox.kind, &outbox.name);
            if names.insert(key.sk.clone()) {
                wanted.push((key, outbox));
            }
        }
        let keys = wanted.iter().map(|(key, _)| key.item()).collect();
        let there = self.log.get_many(table, keys).await?;
        let is_there = |sk: &str| there.iter().any(|row| text_if(row, "sk") == Some(sk));
        for (place, (key, outbox)) in wanted.into_iter().enumerate() {
            if !is_there(&key.sk) {
                let row = outbox_row(&key, Some(&plan.stream), org, outbox, plan.stored_at, place);
                self.writing.insert(table, row)?;
            }
        }
        Ok(())
    }

    fn key(&mut self, job: &Job<'_>, plan: &Plan) -> Result<(), LogError> {
        let hash = key_hash(job.key);
        let mut row = item([
            ("pk", s(answer_pk(job.org, &hash))),
            ("key_text", s(job.key)),
            ("incident", s(&plan.key.stream)),
            ("fingerprint", s(&plan.key.fingerprint)),
            ("answer", s(&plan.key.answer)),
            ("first_seq", n(plan.key.first_seq)),
            ("last_seq", n(plan.key.last_seq)),
        ]);
        if let Some(run_id) = &plan.key.run_id {
            row.extend(item([("run_id", s(run_id))]));
        }
        self.writing.insert(&self.log.tables.idempotency, row)?;
        let mut pointer = of_incident(job.org, &plan.stream, format!("key|{hash}")).item();
        pointer.extend(item([("key_text", s(job.key))]));
        self.writing.insert(&self.log.tables.incidents, pointer)
    }

    /// Documents that lie elsewhere, by the key under which an incident points to them.
    async fn pointed(&self, org: &OrgId, stream: &StreamId, prefix: &str) -> Result<Vec<Item>, LogError> {
        let pointers = self.log.below(&partition(org, stream), prefix).await?;
        let rest = pointers.iter().filter_map(|row| text_if(row, "sk")?.strip_prefix(prefix));
        let tables = &self.log.tables;
        match prefix {
            "key|" => {
                let keys = rest.map(|hash| answer_key(org, hash)).collect();
                self.log.get_many(&tables.idempotency, keys).await
            }
            "effect|" => {
                let keys = rest.map(|key| effect_key(org, key).item()).collect();
                self.log.get_many(&tables.incidents, keys).await
            }
            _ => {
                let ids = rest.filter_map(|id| id.parse::<CandidateId>().ok());
                let keys = ids.map(|id| candidate_key(org, &id).item()).collect();
                self.log.get_many(&tables.incidents, keys).await
            }
        }
    }
}

#[async_trait]
impl Transaction for Tx<'_> {
    async fn find(&mut self, job: &Job<'_>) -> Result<Found, LogError> {
        let tables = &self.log.tables;
        let key = self.log.get(&tables.idempotency, answer_key(job.org, &key_hash(job.key)));
        let StreamTarget::Named(stream) = &job.target else {
            let key = key.await?.map(|row| key_row(&row, job.key)).transpose()?;
            return Ok(Found { key, ..Found::default() });
        };
        let head = self.log.whole_head(job.org, stream);
        let (key, head) = futures_util::future::try_join(key, head).await?;
        if let Some(key) = key {
            return Ok(Found { key: Some(key_row(&key, job.key)?), ..Found::default() });
        }
        let Some(head) = head else { return Ok(Found::default()) };
        self.version = Some(number(&head, "version", || stream.to_string())?);
        Ok(Found { key: None, head: Some(head_of(&head, stream)?) })
    }

    async fn release_owner(
        &mut self,
        org: &OrgId,
        release: &ReleaseId,
    ) -> Result<Option<ServiceId>, LogError> {
        self.log.owner(org, release).await
    }

    async fn environment(
        &mut self,
        org: &OrgId,
        environment: &EnvironmentId,
    ) -> Result<Option<EnvironmentState>, LogError> {
        let stream = StreamId::from(environment.clone());
        let head = self.log.whole_head(org, &stream).await?;
        let place = || stream.to_string();
        let version = head.as_ref().map(|row| number(row, "version", place)).transpose()?;
        let state = head.as_ref().map(|row| head_of(row, &stream)).transpose()?;
        self.relied_on.push((stream, version));
        Ok(state.and_then(|head| head.state.environment()))
    }

    async fn last_number(&mut self, org: &OrgId, year: i16) -> Result<u64, LogError> {
        let row = self.log.get(&self.log.tables.incidents, number_key(org, year).item()).await?;
        let place = || format!("{org}|numbers");
        let last = row.map_or(Ok(0), |row| number(&row, "last_number", place))?;
        self.last_number = Some(last);
        Ok(last)
    }

    async fn entries(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, LogError> {
        self.log.read_records(org, stream, after, limit).await
    }

    async fn copies(&mut self, org: &OrgId, stream: &StreamId, seq: u64) -> Result<Copies, LogError> {
        let place = || format!("{stream} seq {seq}");
        let record = item([("pk", s(partition(org, stream))), ("seq", n(seq))]);
        let record = self.log.get(&self.log.tables.events, record).await?;
        let canonical = record.map(|row| bytes(&row, "canonical", place).map(<[u8]>::to_vec)).transpose()?;
        let mut texts = Vec::new();
        for (seq, beside) in self.log.beside(org, stream).await? {
            for (field, (commitment, _, text)) in beside {
                self.commitments.insert((seq, field.clone()), commitment);
                texts.push(Standing { seq, field, text });
            }
        }
        // What was carried out has no payload any more.
        let outbox = self.log.below(&partition(org, stream), "outbox|").await?;
        let waiting = outbox.iter().filter_map(|row| text_if(row, "payload")).map(str::to_owned).collect();
        let document = |row: &Item, key: &str, kept: &str| {
            Ok((text(row, key, place)?.to_owned(), text(row, kept, place)?.to_owned()))
        };
        let answers = self.pointed(org, stream, "key|").await?;
        let answers =
            answers.iter().map(|row| document(row, "key_text", "answer")).collect::<Result<_, LogError>>()?;
        let effects = self.pointed(org, stream, "effect|").await?;
        let results = effects
            .iter()
            .filter(|row| row.contains_key("outcome"))
            .map(|row| document(row, "effect_key", "outcome"))
            .collect::<Result<_, LogError>>()?;
        let found = self.pointed(org, stream, "candidate|").await?;
        let candidates = found
            .iter()
            .map(|row| {
                let (sk, kept) = document(row, "sk", "document")?;
                Ok((sk.trim_start_matches("c|").to_owned(), kept))
            })
            .collect::<Result<_, LogError>>()?;
        Ok(Copies { canonical, texts, waiting, answers, results, candidates })
    }

    async fn write(&mut self, job: &Job<'_>, plan: &Plan) -> Result<(), LogError> {
        let (org, stream) = (job.org, &plan.stream);
        let stored_at_us = plan.stored_at.as_microsecond();
        if let Some(erasure) = &plan.erasure {
            self.erase(org, stream, erasure)?;
        }
        for one in &plan.sealed {
            self.record(org, stream, one, stored_at_us)?;
        }
        self.head(org, stream, plan.projection.as_ref(), stored_at_us)?;
        self.expect_as_read(org)?;
        match &plan.projection {
            Some(Projection::Incident(_)) => self.number(org, stream)?,
            Some(Projection::Catalog(projection)) => {
                self.log.extend_catalog(&mut self.writing, org, stream, projection).await?;
            }
            None => {}
        }
        self.log.extend_audit(&mut self.writing, org, plan)?;
        self.log.extend_lanes(&mut self.writing, org, plan)?;
        self.outbox(org, plan).await?;
        if let Some(effect) = &job.effect {
            let change =
                Expression::new("SET outcome = :outcome", vec![(":outcome", s(effect.result.to_string()))]);
            let place = effect_key(org, effect.key).item();
            self.writing.update(&self.log.tables.incidents, place, change, Some("attribute_exists(pk)"))?;
        }
        self.key(job, plan)
    }
}

/// What lists are told of an incident, as its head holds it.
fn words(projection: &IncidentProjection) -> Vec<(&'static str, &'static str, AttributeValue)> {
    vec![
        ("incident_year", ":year", n(projection.year)),
        ("incident_number", ":number", n(projection.number)),
        ("state_word", ":state", s(&projection.state_word)),
        ("phase_word", ":phase", s(&projection.phase_word)),
        ("severity", ":severity", s(&projection.severity)),
        ("status_word", ":status", s(&projection.status_word)),
        ("service_name", ":service", s(&projection.service)),
        ("environment_name", ":environment", s(&projection.environment)),
        ("project_name", ":project", s(&projection.project)),
        ("correlation_keys", ":keys", s(&projection.correlation_keys)),
        ("waiting", ":waiting", n(u8::from(projection.waiting))),
        ("visible_to", ":visible", s(&projection.visible_to)),
        ("drill", ":drill", n(u8::from(projection.drill))),
    ]
}

fn key_row(row: &Item, key: &str) -> Result<KeyRow, LogError> {
    let place = || format!("key {key}");
    Ok(KeyRow {
        stream: text(row, "incident", place)?.to_owned(),
        fingerprint: text(row, "fingerprint", place)?.to_owned(),
        answer: text(row, "answer", place)?.to_owned(),
        first_seq: number(row, "first_seq", place)?,
        last_seq: number(row, "last_seq", place)?,
        run_id: text_if(row, "run_id").map(str::to_owned),
    })
}
