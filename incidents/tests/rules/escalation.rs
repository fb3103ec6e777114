//! What silence leads to: every level of every severity, and what stops the clock.

use harmony_incidents::{
    Answer, Directory, GateStatus, WorkflowType,
    command::{Decision, GateView},
    log::{Severity, payload::Kind},
    policy::GateKind,
};
use jiff::SignedDuration;

use crate::world::{World, decision};

fn escalated(answer: Answer) -> GateView {
    let Answer::Escalated { gate } = answer else { panic!("not escalated: {answer:?}") };
    gate
}

fn show(gate: &GateView) -> String {
    format!(
        "level {} {}m {}{}",
        gate.level,
        gate.timeout_ms / 60_000,
        gate.required_roles.join("+"),
        if gate.page { " page" } else { "" }
    )
}

/// Lets every level pass in silence.
fn story(world: &mut World, answer: Answer) -> String {
    let Answer::GateOpened { gate } = answer else { panic!("not opened: {answer:?}") };
    let mut lines = vec![show(&gate)];
    loop {
        assert_eq!(world.gate().status, "pending");
        world.reach_deadline();
        world.now = world.now.checked_sub(SignedDuration::from_micros(1)).unwrap();
        let records = world.sealed.len();
        let level = world.gate().level;
        assert_eq!(escalated(world.expire()).level, level);
        assert_eq!(world.sealed.len(), records, "nothing happens before the deadline");
        world.reach_deadline();
        match world.expire() {
            Answer::Escalated { gate } => {
                assert!(world.head.state.escalated);
                assert_eq!(gate.deadline.as_microsecond(), world.gate().due_us);
                lines.push(show(&gate));
            }
            Answer::TimedOut { level } => {
                assert_eq!(world.gate().status, "timeout");
                assert!(!world.head.state.escalated);
                lines.push(format!("timed out at {level}"));
                return lines.join(" -> ");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn silence_walks_every_level_and_never_approves() {
    let severities = [Severity::P1, Severity::P2, Severity::P3, Severity::P4];
    let mut lines = Vec::new();
    for severity in severities {
        for (kind, gate) in [
            (WorkflowType::Remediate, GateKind::Remediate),
            (WorkflowType::CloseOut, GateKind::CloseOut),
            (WorkflowType::PostMortem, GateKind::PublishReview),
        ] {
            let mut world = World::open(severity);
            let answer = world.ask(kind, gate, "approval");
            if answer == Answer::NoGate {
                continue;
            }
            let told = story(&mut world, answer);
            lines.push(format!("{} {gate:?}: {told}", severity.as_str_name()));
        }
    }
    insta::assert_snapshot!("silence", lines.join("\n"));
}

#[test]
fn p1_stays_at_its_first_level_while_the_flag_is_off() {
    let mut world = World::open(Severity::P1);
    world.auto_escalate_p1 = false;
    let answer = world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval");
    let told = story(&mut world, answer);
    assert_eq!(told, "level 1 5m incident-commander+sre-oncall+incident-approver page -> timed out at 1");
    let mut world = World::open(Severity::P2);
    world.auto_escalate_p1 = false;
    let answer = world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval");
    assert!(story(&mut world, answer).ends_with("timed out at 3"), "the flag is about P1 alone");
}

/// Only these roles exist, each held by one principal of that name.
fn only(people: &[(&str, &str)]) -> Directory {
    let file: Vec<String> = people
        .iter()
        .map(|(id, role)| {
            format!("[[principal]]\nid = \"{id}\"\n[principal.roles]\ndefault = [\"{role}\"]\n")
        })
        .collect();
    Directory::parse(&file.concat()).unwrap()
}

#[test]
fn level_that_only_the_requester_can_fill_is_skipped_on_record() {
    let mut world = World::open(Severity::P1);
    world.directory = only(&[("oncall", "sre-oncall"), ("operator", "incident-manager")]);
    world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval");
    assert_eq!(world.gate().level, 1);
    // Nobody but the requester is a manager, and nobody at all is an admin.
    world.reach_deadline();
    assert_eq!(world.expire(), Answer::TimedOut { level: 1 });

    let mut world = World::open(Severity::P1);
    world.directory =
        only(&[("oncall", "sre-oncall"), ("operator", "incident-manager"), ("admin", "org-admin")]);
    world.policy.urgent.get_mut("P1").unwrap()[1].roles = vec![harmony_incidents::Role::Approver];
    world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval");
    world.reach_deadline();
    let gate = escalated(world.expire());
    assert_eq!(gate.level, 3);
    let payload = world.sealed.last().unwrap().record.payload.clone().unwrap();
    let Some(Kind::ApprovalEscalated(record)) = payload.kind else { panic!("not on record") };
    assert_eq!((record.from_level, record.to_level, record.skipped_levels), (1, 3, vec![2]));
}

#[test]
fn first_level_is_skipped_at_once_when_nobody_but_the_requester_fills_it() {
    let mut world = World::open(Severity::P1);
    world.directory = only(&[("operator", "sre-oncall"), ("approver", "incident-approver")]);
    world.policy.urgent.get_mut("P1").unwrap()[0].roles = vec![harmony_incidents::Role::OnCall];
    world.policy.urgent.get_mut("P1").unwrap()[1].roles = vec![harmony_incidents::Role::Approver];
    let Answer::GateOpened { gate } = world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval")
    else {
        panic!("not opened")
    };
    assert_eq!((gate.level, gate.timeout_ms), (2, 600_000));
    let payload = world.sealed.last().unwrap().record.payload.clone().unwrap();
    let Some(Kind::ApprovalRequested(record)) = payload.kind else { panic!("not on record") };
    assert_eq!(record.skipped_levels, [1]);
    let input = decision(world.gate(), "approver", Decision::Approved, world.now);
    let Answer::Judged { verdict } = world.decide(input) else { panic!() };
    assert!(verdict.accepted);
}

#[test]
fn gate_that_nobody_can_fill_waits_at_its_last_level_and_times_out() {
    let mut world = World::open(Severity::P1);
    world.directory = only(&[("operator", "org-admin")]);
    world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval");
    assert_eq!(world.gate().level, 3);
    world.reach_deadline();
    assert_eq!(world.expire(), Answer::TimedOut { level: 3 });
}

#[test]
fn timer_of_a_level_that_has_passed_learns_where_the_gate_is() {
    let mut world = World::waiting(Severity::P1);
    world.reach_deadline();
    let first = escalated(world.expire());
    let records = world.sealed.len();
    let context = world.workflow_context(WorkflowType::Remediate, "operator");
    let command = harmony_incidents::Command::ExpireLevel { gate_id: world.gate().gate_id.clone(), level: 1 };
    assert_eq!(escalated(world.say_as(&context, &command).unwrap()), first);
    assert_eq!(world.sealed.len(), records);
}

#[test]
fn timeout_after_a_decision_learns_the_decision() {
    let mut world = World::waiting(Severity::P1);
    let input = decision(world.gate(), "commander", Decision::Rejected, world.now);
    world.decide(input);
    world.pass(SignedDuration::from_hours(1));
    let Answer::Settled { settled } = world.expire() else { panic!("timed out over a decision") };
    assert_eq!((settled.status, settled.by.as_str()), (GateStatus::Rejected, "commander"));
}

#[test]
fn approvers_of_a_level_that_has_passed_may_not_decide_the_next() {
    let mut world = World::waiting(Severity::P1);
    world.reach_deadline();
    escalated(world.expire());
    for (approver, accepted) in [("oncall", false), ("commander", false), ("manager", true)] {
        let mut world = world.clone();
        let input = decision(world.gate(), approver, Decision::Approved, world.now);
        let Answer::Judged { verdict } = world.decide(input) else { panic!() };
        assert_eq!(verdict.accepted, accepted, "{approver}: {verdict:?}");
    }
}

#[test]
fn deadline_that_passed_unwatched_records_when_it_was_due_and_when_it_was_handled() {
    let mut world = World::waiting(Severity::P4);
    let due = world.gate().due_us;
    world.reach_deadline();
    world.pass(SignedDuration::from_hours(7));
    assert_eq!(world.expire(), Answer::TimedOut { level: 1 });
    let payload = world.sealed.last().unwrap().record.payload.clone().unwrap();
    let Some(Kind::ApprovalTimedOut(record)) = payload.kind else { panic!("not on record") };
    assert_eq!((record.due_us, record.actual_us), (due, world.now.as_microsecond()));
}
