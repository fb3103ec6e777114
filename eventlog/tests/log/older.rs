//! What earlier releases wrote stays true: a stored export of the last release whose records are of fold 1 (the walk of
//! `harmony demo`, with its checkpoint) verifies with its key, and folds to the states that it has on record.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use harmony_eventlog::{
    VerifierKey,
    export::{self, Expected},
};
use harmony_incidents::{
    fold,
    log::{IncidentState, Record},
    record,
};
use prost::Message as _;
use serde_json::Value;

const EXPORT: &str = include_str!("fixtures/fold-1.jsonl");
const KEY: &str = include_str!("fixtures/fold-1.key");

#[test]
fn export_of_the_release_before_verifies_with_its_key() {
    let verifier = VerifierKey::parse(KEY.trim()).unwrap();
    let expected = Expected { checkpoint: None, verifier: Some(verifier) };
    let verified = export::verify(EXPORT.as_bytes(), expected).unwrap();
    assert!(verified.has_checkpoint && verified.report.verified, "{:?}", verified.report);
    assert_eq!((verified.report.incidents, verified.report.records), (1, 54));
}

#[test]
fn records_of_the_release_before_fold_to_the_states_they_have_on_record() {
    let mut state = IncidentState::default();
    let mut kinds = 0;
    for line in EXPORT.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(canonical) = line["canonical"].as_str() else { continue };
        let record = Record::decode(STANDARD.decode(canonical).unwrap().as_slice()).unwrap();
        assert_eq!(record.fold_version, 1);
        state = fold::fold(state, &record);
        assert_eq!(
            hex::encode(record::state_hash(&state)),
            hex::encode(&record.state_hash_after),
            "{}",
            record.seq
        );
        kinds += 1;
    }
    assert_eq!((kinds, state.seq), (54, 54));
}
