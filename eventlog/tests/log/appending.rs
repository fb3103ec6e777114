//! Numbers without gaps, keys that never expire, and what is refused without a trace.

use std::collections::BTreeSet;

use harmony_eventlog::{LogError, Target};
use harmony_incidents::{
    Answer, Command, OrgId,
    command::Attested,
    log::{Severity, State, payload::Kind},
};
use jiff::SignedDuration;
use tokio::task::JoinSet;

use crate::stores::{Backend, Damage, Rows, stories};
use crate::world::{
    Ask, World, ask, begin, decision, declaration, gate_request, id, named, new, note, say, status,
};

stories! {
    declarations_are_numbered_per_organisation_and_year,
    hundred_declarations_with_one_key_make_one_incident,
    hundred_declarations_with_different_keys_make_consecutive_numbers,
    appends_to_one_incident_from_two_processes_form_one_chain,
    repeated_key_gets_the_first_answer_and_records,
    answer_without_a_record_is_remembered_too,
    key_used_for_another_request_names_the_fields_and_no_values,
    same_request_at_a_later_time_is_the_same_request,
    who_acted_on_an_older_state_is_told_where_it_is,
    unknown_incident_is_said_to_be_unknown,
    refused_command_leaves_no_row_and_no_gap,
    texts_come_back_in_states_and_records,
    state_with_more_texts_than_one_query_takes_comes_back_whole,
    same_appends_give_the_same_bytes_whenever_they_are_stored,
}

async fn declarations_are_numbered_per_organisation_and_year(on: Backend) {
    let world = World::new(on).await;
    let acme: OrgId = "acme".parse().unwrap();
    for (org, year, expected) in [
        (OrgId::default(), 2026, "INC-2026-0001"),
        (OrgId::default(), 2026, "INC-2026-0002"),
        (acme.clone(), 2026, "INC-2026-0001"),
        (OrgId::default(), 2027, "INC-2027-0001"),
        (OrgId::default(), 2026, "INC-2026-0003"),
        (acme, 2026, "INC-2026-0002"),
    ] {
        let key = format!("{org}-{expected}");
        let asked = ask(Target::New { year }, &key, declaration("Disk full", Severity::P2));
        let appended = say(&world.log, Ask { org, ..asked }).await.unwrap();
        assert_eq!(appended.stream.as_str(), expected);
        assert_eq!((appended.records.len(), appended.repeated, appended.same_run), (1, false, true));
    }
}

/// 100 declarations at once, by several tasks on two logs that share the file.
async fn storm(world: &World, key: impl Fn(u32) -> String) -> (BTreeSet<u64>, usize) {
    let logs = [world.other().await, world.other().await];
    let mut tasks = JoinSet::new();
    for number in 0..100_u32 {
        let log = logs[usize::from(number % 2 == 0)].clone();
        let asked = ask(new(), &key(number), declaration("Disk full", Severity::P2));
        tasks.spawn(async move { say(&log, asked).await.unwrap() });
    }
    let all = tasks.join_all().await;
    let first = all.iter().filter(|appended| !appended.repeated).count();
    (all.iter().map(|appended| appended.incident().unwrap().parts().1).collect(), first)
}

async fn hundred_declarations_with_one_key_make_one_incident(on: Backend) {
    let world = World::new(on).await;
    let (numbers, first) = storm(&world, |_| "one".to_owned()).await;
    assert_eq!(numbers, BTreeSet::from([1]));
    assert_eq!(first, 1);
    assert_eq!((world.count(Rows::Records).await, world.count(Rows::Incidents).await), (1, 1));
    world.verified().await;
}

async fn hundred_declarations_with_different_keys_make_consecutive_numbers(on: Backend) {
    let world = World::new(on).await;
    let (numbers, first) = storm(&world, |number| format!("key-{number}")).await;
    assert_eq!(numbers, (1..=100).collect());
    assert_eq!(first, 100);
    world.verified().await;
}

async fn appends_to_one_incident_from_two_processes_form_one_chain(on: Backend) {
    let world = World::told(on).await;
    let logs = [world.other().await, world.other().await];
    let mut tasks = JoinSet::new();
    for number in 0..60_usize {
        let log = logs[number % 2].clone();
        tasks.spawn(async move {
            let asked = ask(named(1), &format!("storm-{number}"), note("disk full"));
            say(&log, asked).await.unwrap().records[0].record.seq
        });
    }
    let seqs: BTreeSet<u64> = tasks.join_all().await.into_iter().collect();
    assert_eq!(seqs, (5..=64).collect());
    world.verified().await;
}

async fn repeated_key_gets_the_first_answer_and_records(on: Backend) {
    let world = World::new(on).await;
    let declared = || ask(new(), "d1", declaration("Disk full", Severity::P2));
    let first = say(&world.log, Ask { run_id: Some("run-1"), ..declared() }).await.unwrap();
    world.say(named(1), "n1", note("more")).await.unwrap();

    let again = say(&world.log, Ask { run_id: Some("run-1"), ..declared() }).await.unwrap();
    assert_eq!(again.records, first.records);
    assert_eq!(again.answer, first.answer);
    assert!(again.repeated && again.same_run);

    let other_run = say(&world.log, Ask { run_id: Some("run-2"), ..declared() }).await.unwrap();
    assert!(other_run.repeated && !other_run.same_run);
    let no_run = say(&world.log, declared()).await.unwrap();
    assert!(no_run.repeated && !no_run.same_run);
    // Asking for it by name is the same request, at whatever seq the incident is by now.
    let by_name = Ask { target: named(1), expected_seq: Some(0), run_id: Some("run-1"), ..declared() };
    assert_eq!(say(&world.log, by_name).await.unwrap().records, first.records);
    assert_eq!(world.log.records(&OrgId::default(), &id(1), 0, 1).await.unwrap(), first.records);
    let answer = world.log.answer(&OrgId::default(), "d1").await.unwrap();
    assert_eq!(answer, Some(Answer::Recorded));
    assert_eq!(world.log.answer(&"acme".parse().unwrap(), "d1").await.unwrap(), None);
    assert_eq!(world.count(Rows::Records).await, 2);
}

async fn answer_without_a_record_is_remembered_too(on: Backend) {
    let world = World::told(on).await;
    let first = world.say(named(1), "again", status(State::Open)).await.unwrap();
    assert_eq!((first.answer, first.records.len(), first.repeated), (Answer::Unchanged, 0, false));
    world.say(named(1), "s2", status(State::Mitigating)).await.unwrap();
    let again = world.say(named(1), "again", status(State::Open)).await.unwrap();
    assert_eq!((again.answer, again.records.len(), again.repeated), (Answer::Unchanged, 0, true));
}

async fn key_used_for_another_request_names_the_fields_and_no_values(on: Backend) {
    let world = World::told(on).await;
    let conflict = |command, target| {
        let world = &world;
        async move {
            match world.say(target, "d1", command).await {
                Err(error @ LogError::KeyConflict { .. }) => {
                    let text = error.to_string();
                    assert!(!text.contains("Checkout") && !text.contains("Search"), "{text}");
                    let LogError::KeyConflict { fields } = error else { unreachable!() };
                    fields
                }
                other => panic!("no conflict: {other:?}"),
            }
        }
    };
    let fields = conflict(declaration("Search is down", Severity::P1), new()).await;
    assert_eq!(fields, ["incident.title"]);
    let fields = conflict(declaration("Checkout is down", Severity::P2), new()).await;
    assert_eq!(fields, ["incident.severity"]);
    let fields = conflict(declaration("Checkout is down", Severity::P1), named(2)).await;
    assert_eq!(fields, ["incident"]);
    let fields = conflict(note("x"), named(1)).await;
    assert!(fields.contains(&"type".to_owned()), "{fields:?}");
    assert_eq!(world.count(Rows::Records).await, 6);
}

async fn same_request_at_a_later_time_is_the_same_request(on: Backend) {
    let world = World::told(on).await;
    let later = begin().checked_add(SignedDuration::from_hours(1)).unwrap();
    let again = say(&world.log, Ask { at: later, ..ask(named(1), "n1", note("disk full")) }).await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.records[0].record.occurred_at_us, begin().as_microsecond());

    world.say(named(1), "gate", gate_request(1)).await.unwrap();
    let gate = world.gate(1).await;
    let repeated = Ask { at: later, ..ask(named(1), "gate", gate_request(1)) };
    let Answer::GateOpened { gate: view } = say(&world.log, repeated).await.unwrap().answer else {
        panic!("not opened")
    };
    assert_eq!(view.deadline.as_microsecond(), gate.due_us, "a gate keeps its first due time");
    assert_eq!(view, harmony_incidents::approvals::view(&gate), "and is answered as it is stored");

    let mut input = decision(&gate, "one", Attested::Yes, begin());
    let decide = |input| Command::Decide { input: Box::new(input) };
    let first = world.say(named(1), "decision/one", decide(input.clone())).await.unwrap();
    input.decided_at = later;
    let again = say(&world.log, Ask { at: later, ..ask(named(1), "decision/one", decide(input)) });
    let again = again.await.unwrap();
    assert_eq!((again.answer, again.records), (first.answer, first.records));
}

async fn who_acted_on_an_older_state_is_told_where_it_is(on: Backend) {
    let world = World::told(on).await;
    let asked = |key, expected| Ask { expected_seq: Some(expected), ..ask(named(1), key, note("x")) };
    let error = say(&world.log, asked("stale", 3)).await.unwrap_err();
    assert_eq!(error.to_string(), "the incident has changed: it is at seq 4, you saw 3; read it again");
    assert!(matches!(error, LogError::Stale { expected: 3, actual: 4 }) && !error.is_transient());
    // A refusal uses no key up.
    assert!(say(&world.log, asked("stale", 4)).await.is_ok());
}

async fn unknown_incident_is_said_to_be_unknown(on: Backend) {
    let world = World::told(on).await;
    let error = world.say(named(9), "n9", note("x")).await.unwrap_err();
    assert_eq!(error.to_string(), "incident INC-2026-0009 does not exist");
    let error = world.say(named(9), "d9", declaration("Disk full", Severity::P1)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "INC-2026-0009 does not exist, and the next number of its year is INC-2026-0003"
    );
    assert!(world.say(named(3), "d3", declaration("Disk full", Severity::P1)).await.is_ok());
    let error = world.say(named(3), "d4", declaration("Disk full", Severity::P1)).await.unwrap_err();
    assert_eq!(error.to_string(), "this incident exists already");
    assert_eq!(world.log.state(&OrgId::default(), &id(9)).await.unwrap(), None);
    assert!(world.log.records(&OrgId::default(), &id(9), 0, 10).await.unwrap().is_empty());
}

async fn refused_command_leaves_no_row_and_no_gap(on: Backend) {
    let world = World::told(on).await;
    let refused = world.say(new(), "bad", declaration("", Severity::P1)).await.unwrap_err();
    assert!(matches!(refused, LogError::Refused(_)));
    assert!(world.say(named(1), "bad2", status(State::Closed)).await.is_err());
    assert_eq!((world.count(Rows::Records).await, world.count(Rows::Keys).await), (6, 6));
    let next = world.say(new(), "good", declaration("Disk full", Severity::P1)).await.unwrap();
    assert_eq!(next.incident(), Some(id(3)));
}

async fn texts_come_back_in_states_and_records(on: Backend) {
    let world = World::told(on).await;
    let state = world.log.state(&OrgId::default(), &id(1)).await.unwrap().unwrap();
    assert_eq!(state.title.unwrap().shown(), "Checkout is down");
    let records = world.log.records(&OrgId::default(), &id(1), 2, 10).await.unwrap();
    let notes: Vec<String> = records
        .iter()
        .map(|entry| match entry.record.payload.clone().unwrap().kind.unwrap() {
            Kind::IncidentNoteAdded(p) => p.note.unwrap().shown().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(notes, ["disk full", "disk still full"]);
    let page = world.log.records(&OrgId::default(), &id(1), 1, 2).await.unwrap();
    assert_eq!(page.iter().map(|entry| entry.record.seq).collect::<Vec<_>>(), [2, 3]);
}

async fn state_with_more_texts_than_one_query_takes_comes_back_whole(on: Backend) {
    let world = World::new(on).await;
    world.say(new(), "d1", declaration("Storm", Severity::P1)).await.unwrap();
    let signals = 40_000_u32;
    // Put there directly: what matters is how many texts the state carries, not how they came.
    let mut state = world.log.state(&OrgId::default(), &id(1)).await.unwrap().unwrap();
    harmony_incidents::record::strip(&mut state);
    for number in 0..signals {
        let commitment = number.to_be_bytes().to_vec();
        let summary = harmony_incidents::log::Text { commitment, ..Default::default() };
        state
            .signals
            .push(harmony_incidents::log::SignalState { summary: Some(summary), ..Default::default() });
    }
    let bytes = prost::Message::encode_to_vec(&state);
    world.damage(Damage::State { number: 1, bytes: &bytes }).await;
    let state = world.log.state(&OrgId::default(), &id(1)).await.unwrap().unwrap();
    assert_eq!(state.title.unwrap().shown(), "Storm");
    assert_eq!(state.signals.len(), usize::try_from(signals).unwrap());
}

async fn same_appends_give_the_same_bytes_whenever_they_are_stored(on: Backend) {
    let (one, two) = (World::told(on).await, World::told(on).await);
    for number in [1, 2] {
        let bytes = async |world: &World| {
            let entries = world.log.records(&OrgId::default(), &id(number), 0, 100).await.unwrap();
            entries.into_iter().map(|entry| (entry.canonical, entry.hash)).collect::<Vec<_>>()
        };
        assert_eq!(bytes(&one).await, bytes(&two).await);
    }
}
