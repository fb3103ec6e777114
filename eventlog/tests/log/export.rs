//! An export: all of the log as a file, verified with nothing else at hand.

use harmony_eventlog::{
    CheckpointKey, Finding, Report, export,
    export::{Expected, Verified},
};
use harmony_incidents::{OrgId, log::Severity};
use serde_json::Value;

use crate::stores::{Backend, Damage, stories};
use crate::world::{World, declaration, named, new, note};

stories! {
    what_is_exported_verifies_with_nothing_else,
    changed_files_are_found_where_they_were_changed,
    incidents_in_another_order_are_found,
    lines_that_are_no_records_are_found_and_named,
    a_file_cut_anywhere_is_read_to_its_end,
    damage_in_the_store_is_exported_and_found,
    what_would_steer_a_terminal_is_escaped_and_means_the_same,
}

fn verified(file: &str) -> Report {
    let verified = export::verify(file.as_bytes(), Expected::default()).unwrap();
    assert_eq!((verified.org, verified.has_checkpoint), (OrgId::default(), false));
    verified.report
}

/// The single finding about a file whose lines (from 0, the header) were changed.
fn finding(file: &str, change: impl FnOnce(&mut Vec<String>)) -> Finding {
    let mut lines: Vec<String> = file.lines().map(str::to_owned).collect();
    change(&mut lines);
    let mut report = verified(&lines.join("\n"));
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert!(!report.verified);
    report.findings.remove(0)
}

fn check(file: &str, change: impl FnOnce(&mut Vec<String>), incident: &str, seq: u64, problem: &str) {
    let found = finding(file, change);
    assert_eq!((found.incident.as_str(), found.seq), (incident, seq), "{found:?}");
    assert!(found.problem.contains(problem), "{found:?}");
}

async fn what_is_exported_verifies_with_nothing_else(on: Backend) {
    let world = World::told(on).await;
    for index in 0..450 {
        world.say(named(2), &format!("more{index}"), note(&format!("note {index}"))).await.unwrap();
    }
    let file = world.exported(None).await;
    assert!(
        file.starts_with(
            "{\"format\":\"harmony-log/1\",\"org\":\"default\"}\n{\"incident\":\"INC-2026-0001\""
        )
    );
    assert!(file.ends_with("\n"));
    let report = verified(&file);
    assert_eq!(report.findings, []);
    assert_eq!((report.verified, report.incidents, report.records), (true, 2, 456));
}

async fn changed_files_are_found_where_they_were_changed(on: Backend) {
    let file = World::told(on).await.exported(None).await;
    let (one, two) = ("INC-2026-0001", "INC-2026-0002");
    check(&file, |lines| drop(lines.remove(1)), one, 1, "record 1 is missing: 2 follows (line 2)");
    check(&file, |lines| drop(lines.remove(2)), one, 2, "record 2 is missing: 3 follows (line 3)");
    check(&file, |lines| lines.swap(2, 3), one, 2, "record 2 is missing: 3 follows (line 3)");
    check(&file, |lines| lines.insert(3, lines[2].clone()), one, 3, "(line 4)");
    check(&file, |lines| drop(lines.drain(1..5)), one, 1, "INC-2026-0001 is missing");
    check(&file, |lines| lines[3] = lines[3].replace("disk full", "disk fine"), one, 3, "the text of note");
    check(
        &file,
        |lines| lines[4] = lines[4].replace("\"seq\":4", "\"seq\":5"),
        one,
        4,
        "record 4 is missing",
    );
    check(&file, |lines| lines[5] = lines[5].replace("Search", "Sea"), two, 1, "the text of title");
}

async fn incidents_in_another_order_are_found(on: Backend) {
    let file = World::told(on).await.exported(None).await;
    let moved = |lines: &mut Vec<String>| lines[1..].rotate_left(4);
    check(&file, moved, "INC-2026-0001", 1, "stand after those of INC-2026-0002: the order was changed");
    let split = |lines: &mut Vec<String>| lines[4..].rotate_left(1);
    check(&file, split, "INC-2026-0001", 4, "stand after those of INC-2026-0002: the order was changed");
}

async fn lines_that_are_no_records_are_found_and_named(on: Backend) {
    let file = World::told(on).await.exported(None).await;
    for (damage, seq) in [
        ("", 3),
        ("not json", 3),
        ("[]", 3),
        ("{\"incident\":\"INC-2026-0001\",\"seq\":3}", 3),
        ("{\"incident\":\"INC-2026-0001\",\"seq\":3,\"hash\":\"zz\",\"canonical\":\"\"}", 3),
        ("{\"incident\":\"INC-2026-0001\",\"seq\":3,\"hash\":\"\",\"canonical\":\"*\"}", 3),
        ("{\"incident\":\"INC-2026-0001\",\"seq\":-3,\"hash\":\"\",\"canonical\":\"\"}", 3),
        ("\u{fffd}\u{0}", 3),
    ] {
        let put = |lines: &mut Vec<String>| lines[3] = damage.to_owned();
        check(&file, put, "INC-2026-0001", seq, "the line is no record of an export");
        assert!(finding(&file, put).problem.ends_with("(line 4)"));
    }
    let doubled = "\"texts\":{\"note\":{\"text\":\"x\",\"salt\":\"\"},\"note\"";
    let put = |lines: &mut Vec<String>| lines[3] = lines[3].replace("\"texts\":{\"note\"", doubled);
    check(&file, put, "INC-2026-0001", 3, "the text of note stands there twice");
}

async fn a_file_cut_anywhere_is_read_to_its_end(on: Backend) {
    let file = World::told(on).await.exported(None).await;
    let header = file.find('\n').unwrap();
    for length in 0..file.len() {
        let cut = &file.as_bytes()[..length];
        let whole_line =
            length > 0 && (file.as_bytes()[length - 1] == b'\n' || file.as_bytes()[length] == b'\n');
        match export::verify(cut, Expected::default()) {
            Err(error) => {
                assert!(length < header && error.to_string().contains("line 1"), "{length}: {error}")
            }
            Ok(Verified { report, .. }) => {
                assert_eq!(report.verified, whole_line, "{length}: {:?}", report.findings)
            }
        }
    }
}

/// A bit that changes what JSON says makes a finding or an error. The bit between capitals and small letters is tried at
/// every byte, the others in turn; at full scale all of them.
#[tokio::test]
async fn every_byte_of_a_file_is_guarded() {
    let key = CheckpointKey::parse(&"9d".repeat(32)).unwrap();
    let expected = Expected { checkpoint: None, verifier: Some(key.verifier(&OrgId::default())) };
    let world = World::new(Backend::Sqlite).await;
    world.say(new(), "d", declaration("Checkout is down", Severity::P1)).await.unwrap();
    world.say(named(1), "n", note("disk full")).await.unwrap();
    let file = world.exported(Some(key)).await;
    let said = |line: &[u8]| serde_json::from_slice::<Value>(line).ok();
    let is_full = std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full");
    let mut changed = file.clone().into_bytes();
    let (mut start, mut tried) = (0, 0);
    for (at, line) in file.split_inclusive('\n').enumerate() {
        for place in 0..line.len() - 1 {
            for bit in (0..8).filter(|bit| is_full || [5, place % 8].contains(bit)) {
                changed[start + place] ^= 1 << bit;
                if said(&changed[start..start + line.len()]) != said(line.as_bytes()) {
                    tried += 1;
                    let found = export::verify(&changed[..], expected.clone());
                    let passed = found.is_ok_and(|found| found.report.verified);
                    assert!(!passed, "bit {bit} of byte {place} of line {}", at + 1);
                }
                changed[start + place] ^= 1 << bit;
            }
        }
        start += line.len();
    }
    assert!(tried > 2_000, "{tried}");
}

/// The first records of one that was kept, and its checkpoint.
#[test]
fn records_of_an_earlier_version_verify() {
    let file = include_str!("../../../fuzz/corpus/export/whole.jsonl");
    let report = export::verify(file.as_bytes(), Expected::default()).unwrap().report;
    let problems: Vec<&str> = report.findings.iter().map(|one| one.problem.as_str()).collect();
    assert_eq!((report.records, problems), (11, vec!["the file ends at record 11, its checkpoint at 54"]));
}

#[test]
fn what_is_no_export_is_refused() {
    for (file, why) in [
        ("", "line 1"),
        ("\n", "line 1"),
        ("{\"format\":\"harmony-log/2\",\"org\":\"default\"}\n", "harmony-log/2"),
        ("{\"format\":\"harmony-log/1\",\"org\":\"No Org\"}\n", "No Org"),
        ("{\"format\":\"harmony-log/1\"}\n", "org"),
    ] {
        let error = export::verify(file.as_bytes(), Expected::default()).unwrap_err().to_string();
        assert!(error.contains(why), "{file:?}: {error}");
    }
    let endless = std::io::BufReader::new(std::io::repeat(b'x'));
    let error = export::verify(endless, Expected::default()).unwrap_err().to_string();
    assert_eq!(error, "line 1 is longer than any line of an export");
}

async fn damage_in_the_store_is_exported_and_found(on: Backend) {
    let world = World::told(on).await;
    world.damage(Damage::NoProjection { number: 2 }).await;
    world.damage(Damage::Hash { number: 2, seq: 2, bytes: &[0] }).await;
    let report = verified(&world.exported(None).await);
    let found: Vec<_> = report.findings.iter().map(|one| (one.incident.as_str(), one.seq)).collect();
    assert_eq!(found, [("INC-2026-0002", 2)]);
}

async fn what_would_steer_a_terminal_is_escaped_and_means_the_same(on: Backend) {
    let world = World::told(on).await;
    let text = "a\u{85}b\u{9b}31mc\u{7f}d\u{202e}e\u{2066}f\u{2028}g\u{200d}h\u{feff}é";
    world.say(named(1), "n9", note(text)).await.unwrap();
    let file = world.exported(None).await;
    assert!(file.contains(r"a\u0085b\u009b31mc\u007fd\u202ee\u2066f\u2028g\u200dh\ufeffé"), "{file}");
    let line: serde_json::Value = serde_json::from_str(file.lines().nth(5).unwrap()).unwrap();
    assert_eq!(line["texts"]["note"]["text"], text);
    assert_eq!(verified(&file).findings, []);
}
