//! What follows a command: written with it, claimed by one, carried out once.

use std::{collections::BTreeSet, time::Duration};

use harmony_eventlog::{LogError, OutboxItem, OutboxKind, Pending};
use harmony_incidents::{
    Answer, Command, GateStatus, OrgId,
    command::{Attested, DecisionPayload},
    log::{Severity, State},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::stores::{Backend, Damage, stories};
use crate::world::{
    Ask, World, ask, begin, decision, declaration, gate_request, id, named, new, say, status,
};

stories! {
    what_follows_is_written_with_the_command_and_only_then,
    claimed_items_are_nobody_elses_until_the_lease_ends,
    many_dispatchers_claim_each_item_once,
    done_is_for_good_and_later_is_not_now,
    what_waits_for_a_cell_to_end_is_claimed_and_not_counted,
    second_item_of_a_name_is_the_first_per_kind_and_organisation,
    item_that_cannot_be_read_holds_nobody_up,
    resolving_wakes_the_workflow_whose_gate_it_cancels,
    decision_wakes_the_run_that_waits_for_it_unless_it_handed_it_in,
    decision_that_stands_is_found_by_the_timeout_that_comes_later,
    decision_that_was_judged_gets_its_first_verdict_whatever_was_sent_with_it,
}

const LEASE: Duration = Duration::from_secs(60);

fn start(name: &str) -> OutboxItem {
    OutboxItem { kind: OutboxKind::Start, name: name.to_owned(), payload: json!({ "workflow": name }) }
}

fn names(claimed: &[Pending]) -> Vec<&str> {
    claimed.iter().map(|pending| pending.item.name.as_str()).collect()
}

async fn claim(world: &World) -> Vec<Pending> {
    world.log.claim(10, LEASE).await.unwrap()
}

async fn what_follows_is_written_with_the_command_and_only_then(on: Backend) {
    let world = World::new(on).await;
    let declared = |key, title, item| Ask {
        follow: vec![start(item)],
        ..ask(new(), key, declaration(title, Severity::P1))
    };
    say(&world.log, declared("d1", "Disk full", "one")).await.unwrap();
    say(&world.log, declared("d1", "Disk full", "one again")).await.unwrap();
    say(&world.log, declared("d2", "", "two")).await.unwrap_err();
    say(&world.log, declared("d1", "Other", "three")).await.unwrap_err();
    let claimed = claim(&world).await;
    assert_eq!(names(&claimed), ["one"]);
    let one = &claimed[0];
    assert_eq!(
        (one.org.clone(), one.stream.clone(), one.attempts),
        (OrgId::default(), Some(id(1).into()), 1)
    );
    assert_eq!(one.item, start("one"));
}

async fn claimed_items_are_nobody_elses_until_the_lease_ends(on: Backend) {
    let world = World::told(on).await;
    for name in ["one", "two", "three"] {
        world.log.enqueue(&OrgId::default(), Some(&id(1)), &start(name)).await.unwrap();
    }
    let other = world.other().await;
    assert_eq!(names(&world.log.claim(2, LEASE).await.unwrap()), ["one", "two"]);
    let third = other.claim(2, Duration::ZERO).await.unwrap();
    assert_eq!(names(&third), ["three"]);
    // A lease that has ended is as if nobody had claimed it, but for the count.
    let again = other.claim(2, LEASE).await.unwrap();
    assert_eq!((names(&again), again[0].attempts), (vec!["three"], 2));
    assert!(claim(&world).await.is_empty());
    assert_eq!(world.log.backlog().await.unwrap().0, 3);
}

async fn many_dispatchers_claim_each_item_once(on: Backend) {
    let world = World::told(on).await;
    for number in 0..40 {
        world.log.enqueue(&OrgId::default(), Some(&id(1)), &start(&number.to_string())).await.unwrap();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let log = world.other().await;
        tasks.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claimed = log.claim(3, LEASE).await.unwrap();
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(claimed.into_iter().map(|pending| pending.id));
            }
        });
    }
    let all = tasks.join_all().await.concat();
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (40, 40));
}

async fn done_is_for_good_and_later_is_not_now(on: Backend) {
    let world = World::told(on).await;
    for name in ["one", "two"] {
        world.log.enqueue(&OrgId::default(), Some(&id(1)), &start(name)).await.unwrap();
    }
    let claimed = world.log.claim(10, Duration::ZERO).await.unwrap();
    world.log.done(&claimed[0].id).await.unwrap();
    world.log.later(&claimed[1].id, LEASE, "no answer").await.unwrap();
    assert!(claim(&world).await.is_empty());
    let (waiting, age) = world.log.backlog().await.unwrap();
    assert!(waiting == 1 && age < LEASE);
    world.log.later(&claimed[1].id, Duration::ZERO, "no answer").await.unwrap();
    // Done stays done, whoever says "later" after it.
    world.log.later(&claimed[0].id, Duration::ZERO, "no answer").await.unwrap();
    assert_eq!(names(&claim(&world).await), ["two"]);
}

async fn what_waits_for_a_cell_to_end_is_claimed_and_not_counted(on: Backend) {
    let world = World::told(on).await;
    let item = OutboxItem { kind: OutboxKind::Output, ..start("one") };
    world.log.enqueue(&OrgId::default(), Some(&id(1)), &item).await.unwrap();
    assert_eq!(world.log.backlog().await.unwrap(), (0, Duration::ZERO));
    assert_eq!(names(&claim(&world).await), ["one"]);
    world.log.enqueue(&OrgId::default(), Some(&id(1)), &start("two")).await.unwrap();
    assert_eq!(world.log.backlog().await.unwrap().0, 1);
}

async fn second_item_of_a_name_is_the_first_per_kind_and_organisation(on: Backend) {
    let world = World::told(on).await;
    let acme: OrgId = "acme".parse().unwrap();
    let cancel = OutboxItem { kind: OutboxKind::Cancel, ..start("one") };
    let other = OutboxItem { payload: json!("other"), ..start("one") };
    for (org, item) in [
        (&OrgId::default(), start("one")),
        (&OrgId::default(), other),
        (&OrgId::default(), cancel),
        (&acme, start("one")),
    ] {
        world.log.enqueue(org, Some(&id(1)), &item).await.unwrap();
    }
    let claimed = claim(&world).await;
    let told: Vec<(String, OutboxKind)> =
        claimed.iter().map(|one| (one.org.to_string(), one.item.kind)).collect();
    let default = || "default".to_owned();
    let kinds = [
        (default(), OutboxKind::Start),
        (default(), OutboxKind::Cancel),
        ("acme".to_owned(), OutboxKind::Start),
    ];
    assert_eq!(told, kinds);
    assert_eq!(claimed[0].item, start("one"), "the first payload stands");
    world.log.done(&claimed[0].id).await.unwrap();
    world.log.enqueue(&OrgId::default(), Some(&id(1)), &start("one")).await.unwrap();
    assert_eq!(world.log.backlog().await.unwrap().0, 2, "what was done is not done again");
}

async fn item_that_cannot_be_read_holds_nobody_up(on: Backend) {
    let world = World::told(on).await;
    for name in ["one", "two"] {
        world.log.enqueue(&OrgId::default(), Some(&id(1)), &start(name)).await.unwrap();
    }
    world.damage(Damage::Kind { name: "one", kind: "of a newer version" }).await;
    assert_eq!(names(&claim(&world).await), ["two"]);
}

async fn resolving_wakes_the_workflow_whose_gate_it_cancels(on: Backend) {
    let world = World::told(on).await;
    world.say(named(1), "gate", gate_request(1)).await.unwrap();
    world.say(named(1), "s2", status(State::Resolved)).await.unwrap();
    let claimed = claim(&world).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].item.kind, OutboxKind::Wake);
    assert_eq!(claimed[0].item.payload, json!({ "workflowId": "incident.remediate-INC-2026-0001" }));
    assert_eq!(world.gate(1).await.status, "cancelled");
}

async fn decision_wakes_the_run_that_waits_for_it_unless_it_handed_it_in(on: Backend) {
    for (by, expected) in [("", 1), ("incident.remediate-INC-2026-0001", 0)] {
        let world = World::told(on).await;
        world.say(named(1), "gate", gate_request(1)).await.unwrap();
        let gate = world.gate(1).await;
        // One that is refused changes nothing, and wakes nobody.
        let late = Timestamp::from_microsecond(gate.due_us + 1).unwrap();
        let input = Box::new(decision(&gate, "late", Attested::Yes, late));
        world.say(named(1), "decision/late", Command::Decide { input }).await.unwrap();
        assert!(claim(&world).await.is_empty());
        let input = Box::new(decision(&gate, "mine", Attested::Yes, begin()));
        let decided = Ask { by, ..ask(named(1), "decision/mine", Command::Decide { input }) };
        let appended = say(&world.log, decided).await.unwrap();
        let woken: Vec<OutboxItem> = claim(&world).await.into_iter().map(|one| one.item).collect();
        assert_eq!((woken.len(), &appended.follow_ups), (expected, &woken), "by {by:?}");
    }
}

async fn decision_that_stands_is_found_by_the_timeout_that_comes_later(on: Backend) {
    let world = World::told(on).await;
    world.say(named(1), "gate", gate_request(1)).await.unwrap();
    let gate = world.gate(1).await;
    let due = Timestamp::from_microsecond(gate.due_us).unwrap();
    let after = due.checked_add(SignedDuration::from_mins(1)).unwrap();
    // Made in time, and handed in when the time was over already.
    let input = Box::new(decision(&gate, "mine", Attested::Yes, due));
    let decided = Ask { at: after, ..ask(named(1), "decision/mine", Command::Decide { input }) };
    let Answer::Judged { verdict } = say(&world.log, decided).await.unwrap().answer else { panic!() };
    assert!(verdict.accepted);
    let command = Command::ExpireLevel { gate_id: gate.gate_id.clone(), level: 1 };
    let expired = say(&world.log, Ask { at: after, ..ask(named(1), "e1", command) }).await.unwrap();
    let Answer::Settled { settled } = expired.answer else { panic!() };
    assert_eq!(settled.status, GateStatus::Approved);
}

async fn decision_that_was_judged_gets_its_first_verdict_whatever_was_sent_with_it(on: Backend) {
    let world = World::told(on).await;
    world.say(named(1), "gate", gate_request(1)).await.unwrap();
    let gate = world.gate(1).await;
    let decided = |change: &dyn Fn(&mut DecisionPayload)| {
        let mut input = decision(&gate, "mine", Attested::Yes, begin());
        change(input.payload.as_mut().unwrap());
        ask(named(1), "decision/mine", Command::Decide { input: Box::new(input) })
    };
    let first = say(&world.log, decided(&|_| {})).await.unwrap();
    let again = decided(&|payload| {
        payload.timestamp = Some("2026-03-01T02:10:00Z".to_owned());
        payload.attestation = Some("ab".to_owned());
        payload.approver_name = Some("Somebody".to_owned());
        payload.approver_roles = Some(vec!["org-admin".to_owned()]);
    });
    let again = say(&world.log, again).await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.answer, first.answer);
    for (field, change) in [
        (
            "input.payload.Ok.reason",
            &(|payload: &mut DecisionPayload| payload.reason = Some("other".to_owned()))
                as &dyn Fn(&mut DecisionPayload),
        ),
        ("input.payload.Ok.approverId", &|payload| payload.approver_id = "oncall".to_owned()),
    ] {
        let refused = say(&world.log, decided(change)).await.unwrap_err();
        assert!(matches!(&refused, LogError::KeyConflict { fields } if fields == &[field]), "{refused}");
    }
}
