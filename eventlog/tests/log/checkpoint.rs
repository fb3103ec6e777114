//! Checkpoints: a log that was cut or replaced does not fit one that was kept elsewhere.

use harmony_eventlog::{
    Checkpoint, CheckpointKey, Report, VerifierKey,
    checkpoint::CheckpointError,
    export::{self, Expected, ExportError},
};
use harmony_incidents::{OrgId, log::Severity};

use crate::stores::{Backend, Damage, stories};
use crate::world::{World, declaration, named, new, note};

stories! {
    a_checkpoint_names_where_every_incident_ends,
    what_was_appended_since_fits_an_older_checkpoint,
    cut_replaced_and_missing_incidents_are_found,
    a_note_that_was_touched_is_refused,
    an_export_with_a_checkpoint_shows_that_its_end_was_cut,
    the_checkpoint_of_an_export_is_its_last_line,
}

fn key() -> CheckpointKey {
    CheckpointKey::parse("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap()
}

fn verifier() -> VerifierKey {
    key().verifier(&OrgId::default())
}

async fn taken(world: &World) -> String {
    key().sign(&Checkpoint::of(world.log.as_ref(), &OrgId::default()).await.unwrap())
}

/// What holding the store and its export against a note says; both say the same.
async fn held(world: &World, note: &str) -> Vec<(String, u64, String)> {
    let checkpoint = verifier().open(note).unwrap();
    let mut stored = Report::default();
    checkpoint.check(world.log.as_ref(), &mut stored).await.unwrap();
    let expected = Expected { checkpoint: Some(checkpoint), verifier: None };
    let exported = export::verify(world.exported(None).await.as_bytes(), expected).unwrap().report;
    for finding in &stored.findings {
        let place = (&finding.incident, finding.seq);
        assert!(exported.findings.iter().any(|one| (&one.incident, one.seq) == place), "{exported:?}");
    }
    assert_eq!(stored.verified, exported.verified);
    stored.findings.into_iter().map(|one| (one.incident, one.seq, one.problem)).collect()
}

async fn a_checkpoint_names_where_every_incident_ends(on: Backend) {
    let world = World::told(on).await;
    let signed = taken(&world).await;
    let lines: Vec<&str> = signed.lines().collect();
    let head = world.log.chain_head(&OrgId::default(), &crate::world::id(1)).await.unwrap().unwrap();
    assert_eq!(lines[0], "harmony-log/default");
    assert_eq!(lines[1], "2");
    assert_eq!(lines[3], format!("INC-2026-0001 4 {}", hex::encode(head.hash)));
    assert!(lines[4].starts_with("INC-2026-0002 2 "));
    assert_eq!(lines[5], "");
    assert!(lines[6].starts_with("— harmony-log/default "));
    assert_eq!(lines.len(), 7);
    assert_eq!(signed, taken(&world).await);
    assert_eq!(held(&world, &signed).await, []);
}

async fn what_was_appended_since_fits_an_older_checkpoint(on: Backend) {
    let world = World::told(on).await;
    let signed = taken(&world).await;
    world.say(named(1), "later", note("later")).await.unwrap();
    world.say(new(), "d3", declaration("Mail is late", Severity::P4)).await.unwrap();
    assert_eq!(held(&world, &signed).await, []);
}

async fn cut_replaced_and_missing_incidents_are_found(on: Backend) {
    let world = World::told(on).await;
    let signed = taken(&world).await;
    world.damage(Damage::NoRecord { number: 1, seq: 4 }).await;
    let cut = "the log ends at record 3; the checkpoint has it up to 4";
    assert_eq!(held(&world, &signed).await, [("INC-2026-0001".to_owned(), 4, cut.to_owned())]);

    let replaced = World::new(on).await;
    for (key, command) in
        [("d1", declaration("Other", Severity::P1)), ("d2", declaration("Other", Severity::P1))]
    {
        replaced.say(new(), key, command).await.unwrap();
    }
    replaced.say(named(2), "n", note("other")).await.unwrap();
    let found = held(&replaced, &signed).await;
    let other = "the record is not the one that the checkpoint was made over";
    assert_eq!(found[1], ("INC-2026-0002".to_owned(), 2, other.to_owned()));
    assert_eq!((found.len(), found[0].1), (2, 2));

    let empty = World::new(on).await;
    let found = held(&empty, &signed).await;
    assert_eq!(found[0].2, "the incident is missing; the checkpoint has it up to record 4");
    assert_eq!(found.iter().map(|one| one.1).collect::<Vec<_>>(), [1, 1]);
}

async fn a_note_that_was_touched_is_refused(on: Backend) {
    let signed = taken(&World::told(on).await).await;
    for (place, character) in signed.char_indices() {
        let other = if character == 'A' { 'B' } else { 'A' };
        let mut touched = signed.clone();
        touched.replace_range(place..place + character.len_utf8(), &other.to_string());
        assert!(verifier().open(&touched).is_err(), "{touched}");
    }
    for length in (0..signed.len() - 1).filter(|length| signed.is_char_boundary(*length)) {
        assert!(verifier().open(&signed[..length]).is_err(), "{length}");
    }
    let other = CheckpointKey::parse(&"11".repeat(32)).unwrap().verifier(&OrgId::default());
    assert!(matches!(other.open(&signed), Err(CheckpointError::Unsigned(_))));
    let elsewhere = key().verifier(&"acme".parse().unwrap());
    assert!(matches!(elsewhere.open(&signed), Err(CheckpointError::Unsigned(_))));
}

#[test]
fn keys_are_read_back_as_they_are_written() {
    let text = verifier().to_string();
    assert!(text.starts_with("harmony-log/default+"), "{text}");
    assert!(text.ends_with("AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"), "{text}");
    assert_eq!(VerifierKey::parse(&text).unwrap(), verifier());
    for bad in ["", "a+b", "harmony-log/default+00000000+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"] {
        assert!(VerifierKey::parse(bad).is_err(), "{bad}");
    }
    assert!(CheckpointKey::parse("abc").is_err());
}

async fn an_export_with_a_checkpoint_shows_that_its_end_was_cut(on: Backend) {
    let world = World::told(on).await;
    let file = world.exported(Some(key())).await;
    let lines: Vec<&str> = file.lines().collect();
    let verify = |lines: Vec<&str>, verifier: Option<VerifierKey>| {
        export::verify(lines.join("\n").as_bytes(), Expected { checkpoint: None, verifier })
    };
    let whole = verify(lines.clone(), Some(verifier())).unwrap();
    assert!(whole.has_checkpoint && whole.report.verified, "{:?}", whole.report);

    let mut cut = lines.clone();
    cut.remove(6);
    for by in [None, Some(verifier())] {
        let findings = verify(cut.clone(), by).unwrap().report.findings;
        assert_eq!((findings[0].incident.as_str(), findings[0].seq), ("INC-2026-0002", 2));
        assert_eq!(findings[0].problem, "the file ends at record 1, its checkpoint at 2");
    }
    let unsigned = verify(lines[..7].to_vec(), Some(verifier())).unwrap().report;
    assert_eq!(unsigned.findings[0].problem, "the file does not end with a checkpoint");
    assert!(verify(lines[..7].to_vec(), None).unwrap().report.verified);

    let other = CheckpointKey::parse(&"11".repeat(32)).unwrap();
    let forged = world.exported(Some(other)).await;
    let refused = verify(forged.lines().collect(), Some(verifier()));
    assert!(matches!(refused, Err(ExportError::Checkpoint { line: 8, .. })), "{refused:?}");
}

async fn the_checkpoint_of_an_export_is_its_last_line(on: Backend) {
    let file = World::told(on).await.exported(Some(key())).await;
    let lines: Vec<&str> = file.lines().collect();
    let checkpoint = lines.len() - 1;
    let first = [&lines[..1], &lines[checkpoint..], &lines[1..checkpoint]].concat();
    let between = [&lines[..3], &lines[checkpoint..], &lines[3..checkpoint]].concat();
    let twice = [&lines[..], &lines[checkpoint..]].concat();
    for (changed, line) in [(first, 3), (between, 5), (twice, 9)] {
        for verifier in [None, Some(verifier())] {
            let expected = Expected { checkpoint: None, verifier };
            let report = export::verify(changed.join("\n").as_bytes(), expected).unwrap().report;
            let problem = format!("the checkpoint is not the last line of the file (line {line})");
            assert!(report.findings.iter().any(|one| one.problem == problem), "{:?}", report.findings);
        }
    }
}
