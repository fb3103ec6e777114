//! A quorum: several people must approve; one may reject, and broken glass waits for nobody.

use harmony_incidents::{
    Answer, Command, GateStatus, Policy, Role, WorkflowType,
    command::{Decision, Verdict},
    log::{Severity, payload::Kind},
    policy::GateKind,
};

use crate::world::{World, decision};

fn waiting(severity: Severity, quorum: u32) -> World {
    let mut world = World::open(severity);
    world.policy.quorum.insert(GateKind::Remediate, quorum);
    world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval");
    assert_eq!(world.gate().quorum, quorum);
    world
}

fn say(world: &mut World, who: &str, what: Decision) -> Verdict {
    let input = decision(&world.gate().clone(), who, what, world.now);
    let Answer::Judged { verdict } = world.decide(input) else { panic!("not judged") };
    verdict
}

fn approve(world: &mut World, who: &str) -> Verdict {
    say(world, who, Decision::Approved)
}

#[test]
fn each_approval_is_on_record_and_the_last_one_settles() {
    let mut world = waiting(Severity::P2, 3);
    for (who, so_far, status) in
        [("oncall", 1, "pending"), ("commander", 2, "pending"), ("manager", 3, "approved")]
    {
        let verdict = approve(&mut world, who);
        assert_eq!((verdict.accepted, verdict.status.name()), (true, status), "{who}");
        assert_eq!(verdict.approvals.len(), so_far);
        assert_eq!(verdict.settled.is_some(), status == "approved");
        let payload = world.sealed.last().unwrap().record.payload.clone().unwrap();
        let Some(Kind::ApprovalDecided(record)) = payload.kind else { panic!("not on record") };
        assert_eq!((record.approver.as_str(), record.quorum), (who, 3));
        assert_eq!(usize::try_from(record.approvals).unwrap(), so_far);
    }
    assert_eq!(world.gate().approvals, ["oncall", "commander", "manager"]);
    let Answer::Settled { settled } = world.expire() else { panic!("not settled") };
    assert_eq!(settled.by, "oncall, commander, manager");
    let word = approve(&mut world, "admin").refused_because.unwrap();
    assert!(word.starts_with("duplicate"), "{word}");
}

#[test]
fn same_person_counts_once_and_the_requester_not_at_all() {
    let mut world = waiting(Severity::P2, 2);
    assert!(approve(&mut world, "oncall").accepted);
    let again = approve(&mut world, "oncall").refused_because.unwrap();
    assert!(again.starts_with("duplicate") && again.contains("somebody else"), "{again}");
    let own = approve(&mut world, "operator").refused_because.unwrap();
    assert!(own.starts_with("four-eyes"), "{own}");
    assert_eq!((world.gate().status.as_str(), world.gate().approvals.len()), ("pending", 1));
}

#[test]
fn one_rejection_rejects_also_after_an_approval_and_by_who_approved() {
    for who in ["commander", "oncall"] {
        let mut world = waiting(Severity::P2, 2);
        approve(&mut world, "oncall");
        assert_eq!(say(&mut world, who, Decision::Rejected).status, GateStatus::Rejected);
        assert_eq!(world.gate().status, "rejected");
    }
}

#[test]
fn silence_after_some_approvals_approves_nothing() {
    let mut world = waiting(Severity::P3, 2);
    approve(&mut world, "oncall");
    world.reach_deadline();
    assert_eq!(world.expire(), Answer::TimedOut { level: 1 });
}

#[test]
fn approvals_of_those_who_may_still_decide_go_with_the_gate_to_another_level() {
    // Level 2 is the manager's: a commander may not decide there, an admin may.
    let mut world = waiting(Severity::P1, 4);
    world.policy.four_eyes = false;
    approve(&mut world, "commander");
    approve(&mut world, "admin");
    world.reach_deadline();
    assert_eq!(world.expire(), Answer::TimedOut { level: 1 }, "nobody could make four of three");

    let mut world = waiting(Severity::P1, 2);
    approve(&mut world, "commander");
    world.reach_deadline();
    let Answer::Escalated { gate } = world.expire() else { panic!("not escalated") };
    assert_eq!((gate.level, gate.approvals.len()), (2, 0));
    assert_eq!(gate.approvals, world.gate().approvals);
    approve(&mut world, "admin");
    // A change of severity takes it back to level 1, where an admin may decide as well.
    let command = Command::ChangeSeverity { to: Severity::P2, reason: String::new() };
    world.say("manager", &command).unwrap();
    assert_eq!((world.gate().level, world.gate().approvals.as_slice()), (1, &["admin".to_owned()][..]));
    assert_eq!(approve(&mut world, "oncall").status, GateStatus::Approved);
}

#[test]
fn level_that_too_few_can_fill_is_skipped_on_record() {
    let mut world = World::open(Severity::P1);
    world.policy.quorum.insert(GateKind::Remediate, 2);
    world.policy.urgent.get_mut("P1").unwrap()[0].roles = vec![Role::Approver];
    world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval");
    assert_eq!(world.gate().level, 2, "one approver is no quorum of two");
    let payload = world.sealed.last().unwrap().record.payload.clone().unwrap();
    let Some(Kind::ApprovalRequested(record)) = payload.kind else { panic!("not on record") };
    assert_eq!(record.skipped_levels, [1]);
}

#[test]
fn broken_glass_needs_no_quorum() {
    let mut world = waiting(Severity::P1, 3);
    approve(&mut world, "commander");
    let mut input = decision(&world.gate().clone(), "commander", Decision::Approved, world.now);
    let payload = input.payload.as_mut().unwrap();
    payload.break_glass = true;
    payload.justification = Some("both approvers are on the same plane".to_owned());
    let Answer::Judged { verdict } = world.decide(input) else { panic!("not judged") };
    assert_eq!((verdict.status.name(), world.gate().break_glass), ("approved", true));
    assert_eq!(verdict.settled.unwrap().by, "commander");
}

#[test]
fn quorum_of_one_is_none() {
    let policy = Policy::parse("[quorum]\nremediate = 1\nclose-out = 2\n").unwrap();
    assert_eq!(policy.quorum(GateKind::Remediate), 0);
    assert_eq!(policy.quorum(GateKind::CloseOut), 2);
    assert_eq!(policy.quorum(GateKind::PublishReview), 0);
}
