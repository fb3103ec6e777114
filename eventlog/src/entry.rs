//! Records as readers get them: decoded, each text where it stood, "redacted" where it was taken out.

use std::collections::BTreeMap;

use harmony_incidents::{
    log::{IncidentState, Record, Text},
    record::{SealedRecord, is_committed},
};
use harmony_protos::{state_texts, texts};
use jiff::Timestamp;
use prost::Message;

use crate::store::{Entry, LogError};

/// A record as it was just sealed.
pub(crate) fn unsealed(one: SealedRecord, stored_at: Timestamp) -> Entry {
    let SealedRecord { mut record, canonical, hash, texts: beside } = one;
    if let Some(payload) = record.payload.as_mut() {
        for (field, sealed) in texts(payload).into_iter().zip(beside) {
            field.text.text = sealed.text;
        }
    }
    Entry { record, canonical, hash: hash.to_vec(), stored_at }
}

/// A text as it stands beside its record: salt and text.
pub(crate) type Salted = (Vec<u8>, String);

/// A record as it is stored, with the texts that stand beside it, by field. A text that is not the one committed to is
/// damage, and shown to nobody.
pub(crate) fn stored(
    place: impl Fn() -> String,
    canonical: Vec<u8>,
    hash: Vec<u8>,
    stored_at_us: i64,
    mut beside: BTreeMap<String, Salted>,
) -> Result<Entry, LogError> {
    let corrupt = || LogError::Corrupt { place: place() };
    let mut record = Record::decode(canonical.as_slice()).map_err(|_| corrupt())?;
    if let Some(payload) = record.payload.as_mut() {
        for field in texts(payload) {
            match beside.remove(&field.name) {
                Some((salt, text)) if is_committed(&field.text.commitment, &salt, &text) => {
                    field.text.text = text;
                }
                Some(_) => return Err(corrupt()),
                None => field.text.redacted = true,
            }
        }
    }
    let stored_at = Timestamp::from_microsecond(stored_at_us).map_err(|_| corrupt())?;
    Ok(Entry { record, canonical, hash, stored_at })
}

/// Something with texts that stand beside the records of a stream.
pub(crate) trait Described {
    /// The stream, as it is written in rows.
    fn stream(&self) -> String;

    /// Its texts: commitments, to be filled in.
    fn texts(&mut self) -> Vec<&mut Text>;
}

impl Described for IncidentState {
    fn stream(&self) -> String {
        self.incident.clone()
    }

    fn texts(&mut self) -> Vec<&mut Text> {
        state_texts(self)
    }
}

/// The commitments of a state's texts, each once.
pub(crate) fn commitments<D: Described>(state: &mut D) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = state.texts().iter().map(|text| text.commitment.clone()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Fills a state's texts in, by commitment.
pub(crate) fn fill<D: Described>(state: &mut D, known: &BTreeMap<Vec<u8>, String>) {
    for text in state.texts() {
        match known.get(&text.commitment) {
            Some(found) => text.text.clone_from(found),
            None => text.redacted = true,
        }
    }
}

/// States whose texts are being looked for.
pub(crate) struct Filling<D> {
    states: Vec<D>,
    known: BTreeMap<String, BTreeMap<Vec<u8>, String>>,
}

impl<D: Described> Filling<D> {
    pub(crate) fn of(states: Vec<D>) -> Self {
        Self { states, known: BTreeMap::new() }
    }

    /// What is to be looked for: stream and commitment.
    pub(crate) fn wanted(&mut self) -> Vec<(String, Vec<u8>)> {
        let each = self.states.iter_mut().map(|state| {
            let stream = state.stream();
            commitments(state).into_iter().map(move |one| (stream.clone(), one))
        });
        each.flatten().collect()
    }

    /// A text that was found; damage where it is not the one committed to.
    pub(crate) fn know(
        &mut self,
        stream: String,
        commitment: Vec<u8>,
        (salt, text): Salted,
    ) -> Result<(), LogError> {
        if !is_committed(&commitment, &salt, &text) {
            return Err(LogError::Corrupt { place: stream });
        }
        self.known.entry(stream).or_default().insert(commitment, text);
        Ok(())
    }

    /// What was not found was taken out.
    pub(crate) fn filled(mut self) -> Vec<D> {
        let none = BTreeMap::new();
        for state in &mut self.states {
            fill(state, self.known.get(&state.stream()).unwrap_or(&none));
        }
        self.states
    }
}

/// A text as it is stored. Bytes that are no text match no commitment.
pub(crate) fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| format!("{error}: {:?}", error.as_bytes()))
}
