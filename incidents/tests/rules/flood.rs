//! A flood of decisions that are refused: some on record one by one, the rest as a count, and the gate goes on.

use harmony_incidents::{
    Answer, Command,
    approvals::REFUSALS_A_MINUTE,
    command::{Decision, Verdict},
    log::{ApprovalRefused, Severity, payload::Kind},
};
use jiff::{SignedDuration, Timestamp};

use crate::world::{World, decision};

/// A viewer approves, which is refused; whoever hands it in counts what is not recorded.
fn refuse(world: &mut World) -> Verdict {
    let gate = world.gate().clone();
    let mut input = decision(&gate, "viewer", Decision::Approved, world.now);
    input.counted = true;
    let Answer::Judged { verdict } = world.decide(input) else { panic!("not judged") };
    assert!(!verdict.accepted && verdict.refused_because.is_some(), "everybody is told: {verdict:?}");
    verdict
}

fn last(world: &World) -> ApprovalRefused {
    let payload = world.sealed.last().unwrap().record.payload.clone().unwrap();
    let Some(Kind::ApprovalRefused(record)) = payload.kind else { panic!("not a refusal") };
    record
}

fn count(world: &mut World, minute: Timestamp, number: u32) {
    let gate_id = world.gate().gate_id.clone();
    let command = Command::CountRefusals { gate_id, minute, not_recorded: number };
    assert_eq!(world.say("operator", &command).unwrap(), Answer::Counted { not_recorded: number });
}

#[test]
fn above_twenty_refusals_a_minute_there_is_one_record_with_the_count() {
    let mut world = World::waiting(Severity::P2);
    let (begin, records) = (world.now, world.sealed.len());
    let mut counted = 0;
    for _ in 0..500 {
        counted += u32::from(refuse(&mut world).counted_from.is_some());
        world.pass(SignedDuration::from_millis(100));
    }
    let limit = usize::try_from(REFUSALS_A_MINUTE).unwrap();
    assert_eq!((counted, world.sealed.len() - records), (480, limit));
    count(&mut world, begin, counted);
    assert_eq!((world.sealed.len() - records, world.gate().refusals), (limit + 1, 500));
    let record = last(&world);
    assert_eq!((record.refused_because.as_str(), record.count), ("flood", 480));
    let told = &world.sealed.last().unwrap().texts[0].text;
    assert!(told.starts_with("480 more decisions were refused"), "{told}");

    // The next minute begins anew, and who may decide is heard in the middle of it all.
    world.now = begin + SignedDuration::from_mins(1);
    assert_eq!(refuse(&mut world).counted_from, None);
    assert_eq!(last(&world).minute_us, world.now.as_microsecond());
    let input = decision(&world.gate().clone(), "commander", Decision::Approved, world.now);
    let Answer::Judged { verdict } = world.decide(input) else { panic!("not judged") };
    assert!(verdict.accepted);
}

#[test]
fn each_gate_has_a_minute_of_its_own_and_so_has_what_is_about_none() {
    let mut world = World::waiting(Severity::P2);
    for _ in 0..REFUSALS_A_MINUTE {
        assert_eq!(refuse(&mut world).counted_from, None);
    }
    assert_eq!(refuse(&mut world).counted_from, Some(world.now));
    let mut input = decision(&world.gate().clone(), "commander", Decision::Approved, world.now);
    input.payload.as_mut().unwrap().gate_id = Some("incident.remediate-INC-2026-0001#9/approval".to_owned());
    input.counted = true;
    let Answer::Judged { verdict } = world.decide(input) else { panic!("not judged") };
    assert_eq!((verdict.gate_id, verdict.counted_from), (None, None));
}

#[test]
fn without_somebody_who_counts_every_refusal_is_recorded() {
    let mut world = World::waiting(Severity::P2);
    let records = world.sealed.len();
    for _ in 0..30 {
        let input = decision(&world.gate().clone(), "viewer", Decision::Approved, world.now);
        world.decide(input);
    }
    assert_eq!(world.sealed.len() - records, 30);
}

#[test]
fn there_is_no_count_of_nothing() {
    let mut world = World::waiting(Severity::P2);
    let command =
        Command::CountRefusals { gate_id: String::new(), minute: Timestamp::UNIX_EPOCH, not_recorded: 0 };
    assert!(world.say("operator", &command).is_err());
}
