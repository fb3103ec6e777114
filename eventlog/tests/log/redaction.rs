//! Text that was taken out: on record it is redacted, without a record it was tampered with.

use std::collections::BTreeMap;

use harmony_eventlog::{
    Append, Report,
    verify::{Redacted, Row, check_stream},
};
use harmony_incidents::{
    Answer, Judged, OrgId,
    judge::payload,
    log::{IncidentCreated, IncidentNoteAdded, Payload, RecordRedacted, Severity, Text, payload::Kind},
    record::{self, ChainHead},
};

use crate::stores::{Backend, Damage, stories};
use crate::world::{World, begin, context, id, named, note, salt};

stories! {
    redacted_text_reads_as_redacted_everywhere,
}

fn redaction(seq: u64, field: &str) -> Payload {
    let reason = Some(Text::plain("a customer's name"));
    payload(Kind::RecordRedacted(RecordRedacted { seq, field: field.to_owned(), reason }))
}

/// A declaration with title and summary, a note, and a record that says what was taken out.
fn rows(redacted: Option<Payload>) -> Vec<Row> {
    let created = IncidentCreated {
        title: Some(Text::plain("Disk full")),
        summary: Some(Text::plain("of node 7")),
        severity: Severity::P1.into(),
        ..IncidentCreated::default()
    };
    let noted = IncidentNoteAdded { note: Some(Text::plain("Ms Miller called")) };
    let mut payloads = vec![payload(Kind::IncidentCreated(created)), payload(Kind::IncidentNoteAdded(noted))];
    payloads.extend(redacted);
    let (sealed, _) = record::append(
        &OrgId::default(),
        &id(1),
        &<ChainHead>::default(),
        "key",
        &context(begin()),
        payloads,
        &salt(),
    );
    sealed
        .into_iter()
        .map(|one| Row {
            seq: one.record.seq,
            canonical: one.canonical,
            hash: one.hash.to_vec(),
            texts: one
                .texts
                .into_iter()
                .map(|text| (text.field, (text.commitment.to_vec(), text.salt.to_vec(), text.text)))
                .collect::<BTreeMap<_, _>>(),
        })
        .collect()
}

fn checked(rows: &[Row]) -> Report {
    let mut report = Report::default();
    check_stream(&mut report, &OrgId::default(), &id(1), rows);
    report
}

fn findings(rows: &[Row]) -> Vec<(u64, String)> {
    checked(rows).findings.into_iter().map(|finding| (finding.seq, finding.problem)).collect()
}

#[test]
fn text_taken_out_on_record_is_redacted() {
    for (field, text) in [("note", "note"), ("", "note")] {
        let mut rows = rows(Some(redaction(2, field)));
        rows[1].texts.remove(text);
        let report = checked(&rows);
        assert_eq!(report.findings, []);
        let expected = Redacted { incident: id(1).to_string(), seq: 2, field: "note".to_owned() };
        assert_eq!(report.redacted, [expected]);
    }
}

#[test]
fn text_taken_out_without_a_record_naming_it_is_found() {
    let cases = [None, Some(redaction(2, "title")), Some(redaction(1, "note")), Some(redaction(3, "note"))];
    for redacted in cases {
        let mut rows = rows(redacted);
        rows[1].texts.clear();
        let expected = "the text of note is missing and no record says it was taken out";
        assert_eq!(findings(&rows), [(2, expected.to_owned())]);
    }
}

#[test]
fn text_changed_is_found_even_where_a_record_says_it_was_taken_out() {
    for redacted in [None, Some(redaction(2, "note"))] {
        let mut rows = rows(redacted);
        rows[1].texts.get_mut("note").unwrap().2 = "Ms Smith called".to_owned();
        assert_eq!(findings(&rows), [(2, "the text of note is not the one that was recorded".to_owned())]);
    }
}

#[test]
fn every_bit_of_a_texts_commitment_and_salt_is_guarded() {
    let rows = rows(None);
    for bit in 0..256 {
        for salted in [false, true] {
            let mut changed = rows.clone();
            let (commitment, salt, _) = changed[0].texts.get_mut("summary").unwrap();
            let bytes = if salted { salt } else { commitment };
            bytes[bit / 8] ^= 1 << (bit % 8);
            let expected = "the text of summary is not the one that was recorded";
            assert_eq!(findings(&changed), [(1, expected.to_owned())], "bit {bit}");
        }
    }
}

#[test]
fn text_that_was_never_committed_to_is_found() {
    let mut rows = rows(None);
    let beside = rows[0].texts["title"].clone();
    rows[1].texts.insert("title".to_owned(), beside);
    assert_eq!(findings(&rows), [(2, "a text stands beside it that it never committed to".to_owned())]);
}

#[test]
fn rows_deleted_swapped_or_doubled_are_found_where_it_was_done() {
    let rows = rows(Some(redaction(2, "note")));
    let check = |change: fn(&mut Vec<Row>), seq: u64| {
        let mut changed = rows.clone();
        change(&mut changed);
        let report = checked(&changed);
        assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
        assert_eq!((report.findings[0].seq, report.findings[0].incident.as_str()), (seq, "INC-2026-0001"));
    };
    check(|rows| drop(rows.remove(0)), 1);
    check(|rows| drop(rows.remove(1)), 2);
    check(|rows| rows.swap(0, 1), 1);
    check(|rows| rows.swap(1, 2), 2);
    check(|rows| rows.insert(2, rows[1].clone()), 3);
    check(|rows| rows[1].seq = 7, 2);
}

async fn redacted_text_reads_as_redacted_everywhere(on: Backend) {
    let world = World::told(on).await;
    let command = note("stands for the redaction");
    let judged = || Judged {
        payloads: vec![redaction(1, "title"), redaction(3, "note")],
        answer: Answer::Recorded,
        identity: None,
        wake: Vec::new(),
        actor: None,
        step: None,
    };
    world
        .log
        .append(Append {
            org: &OrgId::default(),
            target: named(1),
            key: "redact",
            command: &command,
            context: &context(begin()),
            expected_seq: None,
            run_id: None,
            judge: &|_| Ok(judged()),
            follow: &|_| Vec::new(),
        })
        .await
        .unwrap();
    world.damage(Damage::NoText { number: 1, seq: 1, field: "title" }).await;
    world.damage(Damage::NoText { number: 1, seq: 3, field: "note" }).await;

    let report = world.log.verify(&OrgId::default()).await.unwrap();
    assert!(report.verified, "{:?}", report.findings);
    let redacted: Vec<(u64, &str)> =
        report.redacted.iter().map(|one| (one.seq, one.field.as_str())).collect();
    assert_eq!(redacted, [(1, "title"), (3, "note")]);

    let state = world.log.state(&OrgId::default(), &id(1)).await.unwrap().unwrap();
    assert_eq!(state.title.unwrap().shown(), "[redacted]");
    let records = world.log.records(&OrgId::default(), &id(1), 2, 2).await.unwrap();
    let shown: Vec<String> = records
        .into_iter()
        .map(|entry| match entry.record.payload.unwrap().kind.unwrap() {
            Kind::IncidentNoteAdded(p) => p.note.unwrap().shown().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shown, ["[redacted]", "disk still full"]);
}
