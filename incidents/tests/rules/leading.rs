//! The update clock, and what people record while they lead: times, relations, privacy, the call for help, follow-ups,
//! duties.

use harmony_incidents::{
    Answer, Command, Context, Refusal, WorkflowType,
    clock::{Alarm, Due, Objective, due},
    hand_over::hand_over,
    judge::payload,
    leading::{FollowUpState, Relation, TicketWord, is_visible, overdue_week},
    log::{
        ActionItem, ActionItemAdded, Authority, Cause, DutyTicked, FollowUpChanged, IncidentEscalated,
        IncidentPrivacyChanged, IncidentRelated, IncidentTimeSet, IncidentUpdated, ResponderAssigned,
        Severity, State, Text, payload::Kind,
    },
    policy::Policy,
    times::{Moment, contradictions},
};
use jiff::{SignedDuration, Timestamp};

use crate::world::{World, status};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn record(kind: Kind) -> Command {
    Command::Record { payload: payload(kind) }
}

fn tell(message: &str) -> Command {
    record(Kind::IncidentUpdated(IncidentUpdated {
        message: Some(Text::plain(message)),
        ..IncidentUpdated::default()
    }))
}

fn command() -> Command {
    let commander = ResponderAssigned {
        role: "commander".to_owned(),
        principal: "commander".to_owned(),
        ..ResponderAssigned::default()
    };
    record(Kind::ResponderAssigned(commander))
}

/// Minutes after the declaration.
fn minutes(world: &World, at: Timestamp) -> i64 {
    (at.as_microsecond() - world.head.state.created_at_us) / 60_000_000
}

fn next(world: &World) -> Due {
    due(&world.head.state, &world.policy)[0]
}

/// Waits for what is due first, and records it.
fn ring(world: &mut World) -> Kind {
    let next = next(world);
    world.now = world.now.max(next.at);
    let context = world.workflow_context(WorkflowType::Updates, "operator");
    assert_eq!(world.say_as(&context, &Command::Alarm { due: next }).unwrap(), Answer::Recorded);
    last(world)
}

fn last(world: &World) -> Kind {
    world.sealed.last().unwrap().record.payload.clone().unwrap().kind.unwrap()
}

fn explained(refused: Result<Answer, Refusal>) -> String {
    refused.unwrap_err().to_string()
}

#[test]
fn updates_are_due_as_the_policy_has_it_and_from_the_last_one() {
    for (severity, cadence) in
        [(Severity::P1, Some(20)), (Severity::P2, Some(30)), (Severity::P3, Some(120)), (Severity::P4, None)]
    {
        let mut world = World::open(severity);
        world.say("operator", &command()).unwrap();
        let first = due(&world.head.state, &world.policy).first().map(|due| minutes(&world, due.at));
        assert_eq!(first, cadence, "{severity:?}");
        world.pass(MINUTE * 7);
        world.say("operator", &tell("We roll it back.")).unwrap();
        let second = due(&world.head.state, &world.policy).first().map(|due| minutes(&world, due.at));
        assert_eq!(second, cadence.map(|minutes| minutes + 7), "{severity:?}");
        assert_eq!(world.head.state.updates, 1);
    }
}

#[test]
fn reminder_then_overdue_then_the_next_reminder_a_cadence_after_the_first() {
    let mut world = World::open(Severity::P1);
    world.say("operator", &command()).unwrap();
    let Kind::UpdateReminded(reminded) = ring(&mut world) else { panic!("no reminder") };
    assert_eq!((reminded.missed, reminded.due_us), (0, reminded.actual_us));
    assert_eq!((next(&world).alarm, minutes(&world, next(&world).at)), (Alarm::Overdue, 25));
    let Kind::UpdateOverdue(overdue) = ring(&mut world) else { panic!("not overdue") };
    assert_eq!(overdue.due_us, reminded.due_us);
    assert_eq!(world.head.state.updates_overdue, 1);
    assert_eq!((next(&world).alarm, minutes(&world, next(&world).at)), (Alarm::Update, 40));
    world.say("operator", &tell("It is better.")).unwrap();
    assert_eq!((next(&world).alarm, minutes(&world, next(&world).at)), (Alarm::Update, 45));
}

#[test]
fn times_that_passed_while_nobody_could_tell_are_told_once_with_both_times() {
    let mut world = World::open(Severity::P1);
    world.say("operator", &command()).unwrap();
    // Two more times pass: after 40 and 60 minutes.
    world.pass(MINUTE * 63);
    let Kind::UpdateReminded(reminded) = ring(&mut world) else { panic!("no reminder") };
    assert_eq!(reminded.missed, 2);
    assert_eq!((reminded.actual_us - reminded.due_us) / 60_000_000, 43);
    let Kind::UpdateOverdue(_) = ring(&mut world) else { panic!("not overdue") };
    assert_eq!(minutes(&world, next(&world).at), 80, "the next time that has not passed");
}

#[test]
fn alarm_that_is_not_due_any_more_or_not_yet_records_nothing() {
    let mut world = World::open(Severity::P1);
    world.say("operator", &command()).unwrap();
    let waited = next(&world);
    let context = world.workflow_context(WorkflowType::Updates, "operator");
    let early = world.say_as(&context, &Command::Alarm { due: waited }).unwrap();
    world.pass(MINUTE * 20);
    world.say("operator", &tell("We know more.")).unwrap();
    let context = world.workflow_context(WorkflowType::Updates, "operator");
    let late = world.say_as(&context, &Command::Alarm { due: waited }).unwrap();
    assert_eq!((early, late), (Answer::Unchanged, Answer::Unchanged));
}

#[test]
fn somebody_may_say_when_the_next_update_comes() {
    let mut world = World::open(Severity::P2);
    world.say("operator", &command()).unwrap();
    let in_45 = world.now.checked_add(MINUTE * 45).unwrap().as_microsecond();
    let updated = |next_update_due_us| {
        record(Kind::IncidentUpdated(IncidentUpdated {
            message: Some(Text::plain("We wait for the vendor.")),
            next_update_due_us,
            number: 77,
            ..IncidentUpdated::default()
        }))
    };
    world.say("operator", &updated(in_45)).unwrap();
    assert_eq!((next(&world).at.as_microsecond(), world.head.state.updates), (in_45, 1));
    let past = world.now.as_microsecond();
    assert!(explained(world.say("operator", &updated(past))).contains("in the future"));
}

#[test]
fn change_of_severity_changes_the_cadence_and_wakes_the_clock() {
    let mut world = World::open(Severity::P3);
    world.say("operator", &command()).unwrap();
    let start = Command::StartBlueprint {
        workflow_id: crate::world::workflow(WorkflowType::Updates),
        starter: "operator".to_owned(),
        attested: true,
        target: None,
        refuse: None,
        input_text: String::new(),
    };
    let context = world.workflow_context(WorkflowType::Updates, "operator");
    world.say_as(&context, &start).unwrap();
    let raised = Command::ChangeSeverity { to: Severity::P1, reason: "worse".to_owned() };
    world.say("manager", &raised).unwrap();
    assert_eq!(minutes(&world, next(&world).at), 20);
    assert_eq!(world.wake, [crate::world::workflow(WorkflowType::Updates)]);
    world.say("oncall", &status(State::Resolved)).unwrap();
    assert_eq!(world.wake, [crate::world::workflow(WorkflowType::Updates)]);
    assert_eq!(due(&world.head.state, &world.policy), []);
}

#[test]
fn nobody_commands_a_p1_one_reminder_and_one_page() {
    let mut world = World::open(Severity::P1);
    assert_eq!((next(&world).alarm, minutes(&world, next(&world).at)), (Alarm::Commander, 5));
    assert!(matches!(ring(&mut world), Kind::CommanderMissing(missing) if !missing.paged));
    assert_eq!((next(&world).alarm, minutes(&world, next(&world).at)), (Alarm::CommanderPage, 10));
    assert!(matches!(ring(&mut world), Kind::CommanderMissing(missing) if missing.paged));
    assert!(due(&world.head.state, &world.policy).iter().all(|due| due.alarm == Alarm::Update));
    world
        .say_as(
            &world.workflow_context(WorkflowType::Updates, "operator"),
            &Command::StartBlueprint {
                workflow_id: crate::world::workflow(WorkflowType::Updates),
                starter: "operator".to_owned(),
                attested: true,
                target: None,
                refuse: None,
                input_text: String::new(),
            },
        )
        .unwrap();
    world.say("operator", &command()).unwrap();
    assert_eq!(world.wake, [crate::world::workflow(WorkflowType::Updates)], "its page ends at once");
    let minor = World::open(Severity::P3);
    assert_eq!(next(&minor).alarm, Alarm::Update);
}

#[test]
fn objectives_are_breached_once_and_not_when_they_were_met() {
    let mut world = World::open(Severity::P3);
    world.policy = Policy::parse("[objectives.P3]\nfirst-update = \"15m\"\nmitigate = \"1h\"").unwrap();
    assert_eq!(
        (next(&world).alarm, minutes(&world, next(&world).at)),
        (Alarm::Objective(Objective::FirstUpdate), 15)
    );
    let Kind::ObjectiveBreached(breached) = ring(&mut world) else { panic!("no breach") };
    assert_eq!((breached.objective.as_str(), breached.target_ms), ("first-update", 15 * 60_000));
    assert_eq!(next(&world).alarm, Alarm::Objective(Objective::Mitigate));
    world.say("operator", &tell("Late, but told.")).unwrap();
    assert_eq!(world.head.state.breaches.len(), 1);
    let mut met = World::open(Severity::P3);
    met.policy = world.policy;
    met.say("operator", &tell("In time.")).unwrap();
    assert_eq!(next(&met).alarm, Alarm::Objective(Objective::Mitigate));
}

fn time(moment: &str, at_us: i64, reason: &str) -> Command {
    record(Kind::IncidentTimeSet(IncidentTimeSet {
        moment: moment.to_owned(),
        at_us,
        reason: Text::optional(reason),
        before_us: 0,
    }))
}

#[test]
fn times_are_corrected_with_a_reason_and_contradictions_are_told() {
    let mut world = World::open(Severity::P2);
    let declared = world.now.as_microsecond();
    world.pass(MINUTE * 10);
    let before = declared - 600_000_000;
    assert_eq!(world.say("operator", &time("impact-started", before, "")).unwrap(), Answer::Recorded);
    assert_eq!(world.say("operator", &time("impact-started", before, "")).unwrap(), Answer::Unchanged);
    let again = explained(world.say("operator", &time("impact-started", before - 1, "")));
    assert!(again.contains("needs a reason"), "{again}");
    world.say("operator", &time("impact-started", declared, "as the graphs say")).unwrap();
    let Kind::IncidentTimeSet(set) = last(&world) else { panic!("nothing set") };
    assert_eq!(set.before_us, before);
    assert_eq!(Moment::ImpactStarted.at_us(&world.head.state), declared);
    assert_eq!(contradictions(&world.head.state), Vec::<String>::new());
    world.say("operator", &time("mitigated", before, "")).unwrap();
    assert!(contradictions(&world.head.state).contains(&"mitigated is before impact started".to_owned()));
    for (wrong, said) in [
        (time("impact", declared, "x"), "no moment"),
        (time("detected", 0, "x"), "in the past"),
        (time("detected", world.now.as_microsecond() + 1, "x"), "in the past"),
        (time("resolved", declared, "x"), "not resolved"),
    ] {
        let refused = explained(world.say("operator", &wrong));
        assert!(refused.contains(said), "{refused}");
    }
}

fn related(relation: &str, incident: &str, removed: bool) -> Command {
    record(Kind::IncidentRelated(IncidentRelated {
        relation: relation.to_owned(),
        incident: incident.to_owned(),
        reason: None,
        removed,
    }))
}

#[test]
fn relations_stand_once_and_can_be_taken_back() {
    let mut world = World::open(Severity::P2);
    let other = "INC-2026-0007";
    assert_eq!(world.say("operator", &related("duplicate-of", other, false)).unwrap(), Answer::Recorded);
    assert_eq!(world.say("operator", &related("duplicate-of", other, false)).unwrap(), Answer::Unchanged);
    assert_eq!(world.head.state.relations.len(), 1);
    assert_eq!(world.say("operator", &related("duplicate-of", other, true)).unwrap(), Answer::Recorded);
    assert_eq!(world.say("operator", &related("duplicate-of", other, true)).unwrap(), Answer::Unchanged);
    assert_eq!(world.head.state.relations, []);
    for (wrong, said) in [
        (related("sibling-of", other, false), "no relation"),
        (related("related", "INC-1", false), "INC-<year>"),
        (related("related", "INC-2026-0001", false), "itself"),
    ] {
        assert!(explained(world.say("operator", &wrong)).contains(said));
    }
    for relation in Relation::ALL {
        assert_eq!(relation.reverse().reverse(), relation);
        assert_eq!(relation.name().parse(), Ok(relation));
    }
}

#[test]
fn private_incident_is_seen_by_whom_it_names_and_by_admins() {
    let mut world = World::open(Severity::P2);
    let private = |principals: &[&str], private| {
        record(Kind::IncidentPrivacyChanged(IncidentPrivacyChanged {
            private,
            principals: principals.iter().map(|id| (*id).to_owned()).collect(),
            reason: None,
        }))
    };
    world.say("operator", &private(&["oncall", "oncall"], true)).unwrap();
    let state = &world.head.state;
    assert_eq!(state.private_to, ["oncall", "operator"], "whoever makes it private stays in");
    assert!(is_visible(state, "oncall", false) && is_visible(state, "admin", true));
    assert!(!is_visible(state, "viewer", false));
    assert!(explained(world.say("operator", &private(&["nobody"], true))).contains("in the directory"));
    world.say("operator", &private(&[], false)).unwrap();
    assert!(is_visible(&world.head.state, "viewer", false));
}

#[test]
fn incident_is_escalated_level_by_level_and_the_mark_stays_until_it_is_taken_away() {
    let mut world = World::waiting(Severity::P3);
    let call = |escalated| {
        record(Kind::IncidentEscalated(IncidentEscalated {
            escalated,
            reason: Text::optional("we are stuck"),
            ..IncidentEscalated::default()
        }))
    };
    world.say("operator", &call(true)).unwrap();
    let Kind::IncidentEscalated(second) = last(&world) else { panic!("not escalated") };
    assert_eq!((second.level, second.roles[0].as_str()), (2, "incident-manager"));
    world.say("operator", &call(true)).unwrap();
    assert!(explained(world.say("operator", &call(true))).contains("nobody stands above"));
    let gate = world.gate().clone();
    let input =
        crate::world::decision(&gate, "commander", harmony_incidents::command::Decision::Approved, world.now);
    world.decide(input);
    assert!(world.head.state.escalated, "a decision on a gate does not end the call for help");
    world.say("operator", &call(false)).unwrap();
    assert!(!world.head.state.escalated);
    assert_eq!(world.say("operator", &call(false)).unwrap(), Answer::Unchanged);
    world.say("oncall", &status(State::Resolved)).unwrap();
    assert!(explained(world.say("operator", &call(true))).contains("RESOLVED"));
}

fn changed(follow_up: u64, state: &str, comment: &str) -> Command {
    record(Kind::FollowUpChanged(FollowUpChanged {
        follow_up,
        state: state.to_owned(),
        comment: Text::optional(comment),
        ..FollowUpChanged::default()
    }))
}

#[test]
fn follow_ups_are_done_reopened_and_dropped_on_record() {
    let mut world = World::open(Severity::P2);
    let item = ActionItemAdded {
        action: Some(Text::plain("Add an alert")),
        owner: "oncall".to_owned(),
        priority: "high".to_owned(),
        ..ActionItemAdded::default()
    };
    world.say("operator", &record(Kind::ActionItemAdded(item))).unwrap();
    let seq = world.head.state.seq;
    let state = |world: &World| FollowUpState::of(&world.head.state.action_items[0]);
    assert_eq!(state(&world), FollowUpState::Open);
    world.say("oncall", &changed(seq, "done", "")).unwrap();
    assert_eq!(world.say("oncall", &changed(seq, "done", "")).unwrap(), Answer::Unchanged);
    assert!(explained(world.say("oncall", &changed(seq, "open", " "))).contains("needs a reason"));
    world.say("oncall", &changed(seq, "open", "it fires too late")).unwrap();
    assert_eq!((state(&world), world.head.state.action_items[0].settled_at_us), (FollowUpState::Open, 0));
    assert!(explained(world.say("oncall", &changed(seq, "dropped", ""))).contains("needs a reason"));
    world.say("oncall", &changed(seq, "dropped", "the service goes away")).unwrap();
    assert_eq!((state(&world), world.head.state.action_items[0].comments), (FollowUpState::Dropped, 2));
    assert!(explained(world.say("oncall", &changed(999, "done", ""))).contains("no follow-up 999"));
    assert!(explained(world.say("oncall", &changed(seq, "finished", ""))).contains("use open, done"));
}

fn exported(world: &mut World) -> u64 {
    let item = ActionItemAdded {
        action: Some(Text::plain("Add an alert")),
        owner: "oncall".to_owned(),
        ..ActionItemAdded::default()
    };
    world.say("operator", &record(Kind::ActionItemAdded(item))).unwrap();
    let follow_up = world.head.state.seq;
    let to = FollowUpChanged { follow_up, export_to: "jira".to_owned(), ..FollowUpChanged::default() };
    world.say("operator", &record(Kind::FollowUpChanged(to))).unwrap();
    let made = FollowUpChanged {
        follow_up,
        system: "jira".to_owned(),
        ticket: "OPS-7".to_owned(),
        ticket_id: "10042".to_owned(),
        ..FollowUpChanged::default()
    };
    world.say("operator", &record(Kind::FollowUpChanged(made))).unwrap();
    follow_up
}

fn told(world: &mut World, follow_up: u64, word: TicketWord, at_us: i64) -> Answer {
    let changed = FollowUpChanged {
        follow_up,
        system: "jira".to_owned(),
        ticket_id: "10042".to_owned(),
        ticket_state: word.name().to_owned(),
        ticket_updated_us: at_us,
        comment: Text::optional("as Jira says"),
        ..FollowUpChanged::default()
    };
    let context = Context {
        actor: "jira".to_owned(),
        authority: Authority::AutoEngine,
        cause: Cause::default(),
        occurred_at: world.now,
    };
    world.say_as(&context, &record(Kind::FollowUpChanged(changed))).unwrap()
}

#[test]
fn every_order_of_what_a_tracker_tells_ends_in_one_state() {
    use TicketWord::{Deleted, Done, Dropped, Open};
    for (words, expected) in [
        ([(Done, 10), (Open, 20), (Dropped, 30), (Open, 40)], FollowUpState::Open),
        ([(Done, 10), (Open, 20), (Open, 25), (Done, 30)], FollowUpState::Done),
        ([(Done, 10), (Open, 20), (Done, 30), (Deleted, 5)], FollowUpState::Done),
        ([(Done, 10), (Open, 20), (Dropped, 20), (Deleted, 40)], FollowUpState::Dropped),
        ([(Open, 10), (Done, 10), (Open, 10), (Dropped, 9)], FollowUpState::Done),
    ] {
        for place in 0..24 {
            let mut left = words.to_vec();
            let mut world = World::open(Severity::P2);
            let follow_up = exported(&mut world);
            for choice in [place % 4, place / 4 % 3, place / 12 % 2, 0] {
                let (word, at_us) = left.remove(choice);
                told(&mut world, follow_up, word, at_us);
                assert_eq!(told(&mut world, follow_up, word, at_us), Answer::Unchanged, "it comes twice");
            }
            let item = &world.head.state.action_items[0];
            assert_eq!(FollowUpState::of(item), expected, "{words:?}, order {place}");
            assert_eq!((item.owner.as_str(), item.ticket.as_str()), ("oncall", "OPS-7"));
        }
    }
}

#[test]
fn nobody_but_the_tracker_speaks_for_it_and_it_says_nothing_else() {
    let mut world = World::open(Severity::P2);
    let follow_up = exported(&mut world);
    let word = FollowUpChanged {
        follow_up,
        system: "jira".to_owned(),
        ticket_id: "10042".to_owned(),
        ticket_state: "done".to_owned(),
        ticket_updated_us: 10,
        ..FollowUpChanged::default()
    };
    let by_hand = world.say("oncall", &record(Kind::FollowUpChanged(word.clone())));
    assert!(explained(by_hand).contains("only the tracker itself"));
    for more in [
        FollowUpChanged { owner: "viewer".to_owned(), ..word.clone() },
        FollowUpChanged { ticket: "OPS-8".to_owned(), ..word.clone() },
        FollowUpChanged { state: "done".to_owned(), ..word.clone() },
        FollowUpChanged { ticket_id: String::new(), ..word.clone() },
        FollowUpChanged { ticket_updated_us: 0, ..word.clone() },
    ] {
        let refused = world.say("jira", &record(Kind::FollowUpChanged(more)));
        assert!(explained(refused).contains("nothing else"));
    }
    let odd = FollowUpChanged { ticket_state: "finished".to_owned(), ..word };
    assert!(
        explained(world.say("jira", &record(Kind::FollowUpChanged(odd)))).contains("no state of a ticket")
    );
    assert_eq!(FollowUpState::of(&world.head.state.action_items[0]), FollowUpState::Open);
}

#[test]
fn duties_of_the_policy_are_ticked() {
    let mut world = World::open(Severity::P2);
    let duty = world.policy.duties["scribe"][0].clone();
    let tick = |duty: &str, done| {
        record(Kind::DutyTicked(DutyTicked { role: "scribe".to_owned(), duty: duty.to_owned(), done }))
    };
    world.say("operator", &tick(&duty, true)).unwrap();
    assert_eq!(world.say("operator", &tick(&duty, true)).unwrap(), Answer::Unchanged);
    assert_eq!(world.head.state.duties_done, [format!("scribe/{duty}")]);
    world.say("operator", &tick(&duty, false)).unwrap();
    assert_eq!(world.head.state.duties_done, Vec::<String>::new());
    assert!(explained(world.say("operator", &tick("Make coffee", true))).contains("no duty"));
}

#[test]
fn whoever_takes_over_reads_how_it_stands() {
    let mut world = World::open(Severity::P1);
    world.say("oncall", &status(State::Open)).unwrap();
    let lines = |world: &World| hand_over(&world.head.state, &world.policy, &world.directory, world.now);
    world.pass(MINUTE * 10);
    let first = lines(&world);
    assert!(first[0].starts_with("P1 OPEN (triaging), declared 10m"), "{first:?}");
    assert!(first[0].ends_with("ago by operator"), "{first:?}");
    assert_eq!(first[1], "No update yet; the next is due 02:20 UTC");
    world.say("oncall", &tell("We look into it")).unwrap();
    world.say("operator", &command()).unwrap();
    let done = DutyTicked {
        role: "commander".to_owned(),
        duty: "Say in the channel that you command".to_owned(),
        done: true,
    };
    world.say("commander", &record(Kind::DutyTicked(done))).unwrap();
    let item = ActionItemAdded {
        action: Some(Text::plain("Alert earlier")),
        owner: "oncall".to_owned(),
        ..ActionItemAdded::default()
    };
    world.say("oncall", &record(Kind::ActionItemAdded(item))).unwrap();
    world.policy = Policy::parse("zone = \"Europe/Berlin\"").unwrap();
    world.pass(MINUTE * 25);
    let later = lines(&world);
    assert_eq!(later[1], "Last update 03:10 CET, 1 so far; the next was due 03:30 CET");
    let left = later.iter().find(|line| line.starts_with("Not ticked yet")).unwrap();
    assert!(!left.contains("Say in the channel") && left.contains("Agree on severity"), "{left}");
    assert_eq!(later.last().unwrap(), "Open follow-ups: 1");
}

#[test]
fn overdue_follow_ups_are_told_of_from_the_day_after_and_every_week() {
    let zone = harmony_incidents::zone::zone("America/New_York").unwrap();
    let item = ActionItem { due: "2026-03-07".to_owned(), ..ActionItem::default() };
    let week = |item: &ActionItem, at: &str| overdue_week(item, &zone, at.parse().unwrap());
    for (at, expected) in [
        ("2026-03-08T04:59:59Z", None),
        ("2026-03-08T05:00:00Z", Some(1)),
        ("2026-03-15T04:59:59Z", Some(1)),
        ("2026-03-15T05:00:00Z", Some(2)),
        ("2027-03-08T05:00:00Z", Some(53)),
    ] {
        assert_eq!(week(&item, at), expected, "{at}");
    }
    let later = "2026-04-01T00:00:00Z";
    for (state, due) in [("done", "2026-03-07"), ("dropped", "2026-03-07"), ("", ""), ("", "soon")] {
        let item = ActionItem { state: state.to_owned(), due: due.to_owned(), ..ActionItem::default() };
        assert_eq!(week(&item, later), None, "{state} {due}");
    }
}
