//! The chain: whatever is done to stored bytes is found, at the record where it was done.

use harmony_incidents::{
    Command, OrgId,
    command::Decision,
    judge::payload,
    log::{IncidentNoteAdded, Record, Severity, State, Text, payload::Kind},
    record::{self, ChainError, ChainHead, GENESIS, SealedRecord},
};
use proptest::prelude::*;
use prost::Message;

use crate::world::{World, decision, incident, salt, status};

/// Where the chain breaks, and how; `None` where it holds to its end.
fn first_break(rows: &[(Vec<u8>, Vec<u8>)]) -> Option<(u64, ChainError)> {
    first_break_after(ChainHead::default(), rows)
}

fn first_break_after(mut head: ChainHead, rows: &[(Vec<u8>, Vec<u8>)]) -> Option<(u64, ChainError)> {
    for (canonical, hash) in rows {
        let seq = head.state.seq + 1;
        match record::check(&OrgId::default(), &incident(), head, canonical, hash) {
            Ok((_, next)) => head = next,
            Err(error) => return Some((seq, error)),
        }
    }
    None
}

fn rows(sealed: &[SealedRecord]) -> Vec<(Vec<u8>, Vec<u8>)> {
    sealed.iter().map(|one| (one.canonical.clone(), one.hash.to_vec())).collect()
}

fn story() -> World {
    let mut world = World::waiting(Severity::P1);
    let input = decision(world.gate(), "commander", Decision::Approved, world.now);
    world.decide(input);
    world.say("oncall", &status(State::Mitigating)).unwrap();
    let note = IncidentNoteAdded { note: Some(Text::plain("disk full")) };
    world.say("oncall", &Command::Record { payload: payload(Kind::IncidentNoteAdded(note)) }).unwrap();
    world.say("oncall", &status(State::Resolved)).unwrap();
    world
}

#[test]
fn untouched_chain_holds() {
    let world = story();
    assert_eq!(world.sealed.len(), 8);
    assert_eq!(first_break(&rows(&world.sealed)), None);
    assert_eq!(world.sealed[0].record.prev_hash, GENESIS);
}

/// Calls `each` for every record: the head before it, its seq, and the rows from it on.
fn each_record(each: impl Fn(&ChainHead, u64, &[(Vec<u8>, Vec<u8>)])) {
    let rows = rows(&story().sealed);
    let mut head = ChainHead::default();
    for (place, (canonical, hash)) in rows.iter().enumerate() {
        each(&head, head.state.seq + 1, &rows[place..]);
        head = record::check(&OrgId::default(), &incident(), head, canonical, hash).unwrap().1;
    }
}

#[test]
fn every_single_bit_of_every_record_and_hash_is_guarded() {
    each_record(|head, seq, rows| {
        let broken = Some((seq, ChainError::Hash));
        for bit in 0..rows[0].0.len() * 8 {
            let mut changed = rows[0].clone();
            changed.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(first_break_after(head.clone(), &[changed]), broken, "seq {seq}, bit {bit}");
        }
        for bit in 0..256 {
            let mut changed = rows[0].clone();
            changed.1[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(first_break_after(head.clone(), &[changed]), broken, "hash of {seq}, bit {bit}");
        }
    });
}

#[test]
fn bit_flipped_and_hash_made_anew_breaks_at_that_record_or_the_next() {
    each_record(|head, seq, rows| {
        let [first, second, ..] = rows else { return };
        for bit in 0..first.0.len() * 8 {
            let mut canonical = first.0.clone();
            canonical[bit / 8] ^= 1 << (bit % 8);
            let hash = record::hash(&canonical).to_vec();
            let (found, _) =
                first_break_after(head.clone(), &[(canonical, hash), second.clone()]).expect("found");
            assert!(found == seq || found == seq + 1, "seq {seq}, bit {bit}: {found}");
        }
    });
}

#[test]
fn bytes_that_no_record_encodes_to_are_found_with_their_hash_made_anew() {
    each_record(|head, seq, rows| {
        let canonical = &rows[0].0;
        assert_eq!(canonical[..2], [0x08, 0x01], "the schema version comes first");
        let unknown_field = [canonical.as_slice(), &[0xf8, 0x07, 0x01]].concat();
        let long_number = [&[0x08, 0x81, 0x00], &canonical[2..]].concat();
        let said_twice = [&[0x08, 0x01], canonical.as_slice()].concat();
        for changed in [unknown_field, long_number, said_twice] {
            assert!(Record::decode(changed.as_slice()).is_ok(), "readers would take it");
            let hash = record::hash(&changed).to_vec();
            let found = first_break_after(head.clone(), &[(changed, hash)]);
            assert_eq!(found, Some((seq, ChainError::NotCanonical)));
        }
    });
}

#[test]
fn record_deleted_swapped_or_doubled_breaks_where_it_was_done() {
    let rows = rows(&story().sealed);
    for place in 0..rows.len() {
        let seq = place as u64 + 1;
        if seq < rows.len() as u64 {
            let mut changed = rows.clone();
            changed.remove(place);
            assert_eq!(first_break(&changed).unwrap().0, seq, "deleted");
            for other in place + 1..rows.len() {
                let mut changed = rows.clone();
                changed.swap(place, other);
                let (found, error) = first_break(&changed).unwrap();
                assert_eq!(found, seq, "swapped");
                assert!(matches!(error, ChainError::Misplaced { .. }), "{error}");
            }
        }
        let mut changed = rows.clone();
        changed.insert(place, rows[place].clone());
        assert_eq!(first_break(&changed).unwrap().0, seq + 1, "doubled");
    }
}

#[test]
fn record_of_another_incident_or_organisation_is_out_of_place() {
    let world = story();
    let first = &world.sealed[0];
    let elsewhere = harmony_incidents::IncidentId::new(2026, 2);
    for (org, incident) in [(OrgId::default(), elsewhere), ("acme".parse().unwrap(), incident())] {
        let error = record::check(&org, &incident, <ChainHead>::default(), &first.canonical, &first.hash);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the record says it is default INC-2026-0001 seq 1",
            "{org} {incident}"
        );
    }
}

#[test]
fn record_of_a_newer_version_is_said_to_be_newer() {
    let world = story();
    let mut record = world.sealed[0].record.clone();
    record.fold_version += 1;
    let canonical = record.encode_to_vec();
    let hash = record::hash(&canonical);
    let error =
        record::check(&OrgId::default(), &incident(), <ChainHead>::default(), &canonical, &hash).unwrap_err();
    assert_eq!(error, ChainError::Newer { schema: 1, fold: 3 });
}

#[test]
fn no_text_gets_into_the_canonical_bytes() {
    let world = story();
    for (text, field) in [("Checkout is down", "title"), ("disk full", "note"), ("rolled back", "summary")] {
        let one = world
            .sealed
            .iter()
            .find(|one| one.texts.iter().any(|sealed| sealed.text == text))
            .expect("sealed beside its record");
        let sealed = one.texts.iter().find(|sealed| sealed.field == field).unwrap();
        assert_eq!(sealed.commitment, record::commitment(&sealed.salt, text));
        for other in &world.sealed {
            assert!(!other.canonical.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_notes_have_different_commitments(note in "\\PC{1,40}") {
        let mut world = World::open(Severity::P1);
        let context = world.context("oncall");
        let kind = || payload(Kind::IncidentNoteAdded(IncidentNoteAdded { note: Some(Text::plain(&note)) }));
        world.append(&context, "one", vec![kind(), kind()]);
        world.append(&context, "two", vec![kind()]);
        let mut commitments: Vec<_> =
            world.sealed.iter().rev().take(3).map(|one| one.texts[0].commitment).collect();
        commitments.sort_unstable();
        commitments.dedup();
        prop_assert_eq!(commitments.len(), 3);
        let other = harmony_incidents::record::SaltKey::parse(&"a5".repeat(32)).unwrap();
        let with = |key| {
            let head = <ChainHead>::default();
            record::append(&OrgId::default(), &incident(), &head, "k", &context, vec![kind()], key).0
        };
        let (ours, theirs) = (with(&salt()), with(&other));
        prop_assert_ne!(ours[0].texts[0].commitment, theirs[0].texts[0].commitment);
    }
}
