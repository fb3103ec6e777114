//! People in control of a gate that waits: a change of severity, passing it on, breaking the glass.

use harmony_incidents::{
    Answer, Command, Refusal, WorkflowType,
    command::{Attested, Decision, DecisionInput, DecisionPayload},
    log::{ApprovalEscalated, ApprovalReplanned, Authority, Severity, payload::Kind},
    policy::{GateKind, Manual},
};
use jiff::SignedDuration;

use crate::world::{World, decision, status, workflow};

const WHY: &str = "both approvers are on the same plane";

fn severity(to: Severity) -> Command {
    Command::ChangeSeverity { to, reason: "worse".to_owned() }
}

fn last(world: &World) -> Kind {
    world.sealed.last().unwrap().record.payload.clone().unwrap().kind.unwrap()
}

fn replanned(world: &World) -> ApprovalReplanned {
    let Kind::ApprovalReplanned(record) = last(world) else { panic!("not planned again") };
    record
}

#[test]
fn change_of_severity_gives_a_waiting_gate_the_levels_of_the_new_one_from_now_on() {
    let ids =
        |world: &World| world.gate().levels.iter().map(|level| level.timeout_ms / 60_000).collect::<Vec<_>>();
    for (from, to, minutes) in [
        (Severity::P3, Severity::P1, vec![5, 10, 15]),
        (Severity::P3, Severity::P2, vec![15, 30, 45]),
        (Severity::P1, Severity::P4, vec![60]),
        (Severity::P2, Severity::P3, vec![30]),
    ] {
        let mut world = World::waiting(from);
        world.pass(SignedDuration::from_mins(3));
        let records = world.sealed.len();
        assert_eq!(world.say("manager", &severity(to)).unwrap(), Answer::Recorded);
        assert_eq!(world.sealed.len(), records + 2, "the change and the plan, in one transaction");
        let record = replanned(&world);
        assert_eq!((record.level, record.severity(), &record.levels), (1, to, &world.gate().levels));
        assert_eq!(ids(&world), minutes);
        let due = world.now.as_microsecond() + minutes[0] * 60_000_000;
        assert_eq!((world.gate().due_us, world.gate().plans), (due, 1));
        assert_eq!(world.gate().status, "pending");
        assert_eq!(world.wake, [workflow(WorkflowType::Remediate)]);
    }
}

#[test]
fn planning_again_takes_an_escalation_back_and_skips_who_cannot_decide() {
    let mut world = World::waiting(Severity::P1);
    world.reach_deadline();
    world.expire();
    assert!(world.head.state.escalated && world.gate().was_escalated);
    world.say("manager", &severity(Severity::P2)).unwrap();
    assert_eq!(
        (world.gate().level, world.gate().was_escalated, world.head.state.escalated),
        (1, false, false)
    );
    // A timer of the old plan learns that it is not time yet.
    let Answer::Escalated { gate } = world.expire() else { panic!() };
    assert_eq!((gate.level, gate.deadline.as_microsecond()), (1, world.gate().due_us));

    world.policy.urgent.get_mut("P1").unwrap()[0].roles = vec![harmony_incidents::Role::Approver];
    world.directory = harmony_incidents::Directory::parse(
        "[[principal]]\nid = \"manager\"\n[principal.roles]\ndefault = [\"incident-manager\"]\n",
    )
    .unwrap();
    world.say("manager", &severity(Severity::P1)).unwrap();
    let record = replanned(&world);
    assert_eq!((record.level, record.skipped_levels), (2, vec![1]));
    assert_eq!(world.gate().plans, 2);
}

#[test]
fn p1_planned_again_has_only_its_first_level_while_the_flag_is_off() {
    let mut world = World::waiting(Severity::P2);
    world.auto_escalate_p1 = false;
    world.say("manager", &severity(Severity::P1)).unwrap();
    assert_eq!(world.gate().levels.len(), 1);
}

#[test]
fn only_gates_that_wait_are_planned_again() {
    let mut world = World::waiting(Severity::P2);
    let input = decision(world.gate(), "commander", Decision::Approved, world.now);
    world.decide(input);
    world.ask(WorkflowType::CloseOut, GateKind::CloseOut, "approval");
    world.say("manager", &severity(Severity::P1)).unwrap();
    assert_eq!(world.wake, [workflow(WorkflowType::CloseOut)]);
    assert!(replanned(&world).gate_id.starts_with("incident.close-out"));
}

fn pass_on(world: &World) -> Command {
    Command::Escalate { gate_id: world.gate().gate_id.clone(), reason: "nobody answers".to_owned() }
}

fn escalated(world: &World) -> ApprovalEscalated {
    let Kind::ApprovalEscalated(record) = last(world) else { panic!("not escalated") };
    record
}

#[test]
fn gate_is_passed_on_level_by_level_and_no_further() {
    let mut world = World::waiting(Severity::P1);
    for (level, minutes) in [(2, 10), (3, 15)] {
        world.pass(SignedDuration::from_mins(1));
        let command = pass_on(&world);
        assert_eq!(world.say("oncall", &command).unwrap(), Answer::Recorded);
        let record = escalated(&world);
        assert_eq!((record.to_level, record.by.as_str()), (level, "oncall"));
        assert_eq!(world.gate().due_us, world.now.as_microsecond() + minutes * 60_000_000);
        assert!(world.gate().was_escalated && world.head.state.escalated);
        assert_eq!(world.gate().escalated_by, "oncall");
        assert_eq!(world.wake, [workflow(WorkflowType::Remediate)]);
    }
    let records = world.sealed.len();
    let refused = world.say("oncall", &pass_on(&world)).unwrap_err();
    assert!(refused.to_string().starts_with("level 3 is the last"), "{refused}");
    assert_eq!(world.sealed.len(), records);
}

#[test]
fn passing_on_is_refused_where_it_makes_no_sense() {
    let waiting = World::waiting(Severity::P1);
    let command = pass_on(&waiting);
    let told = |mut world: World, actor: &str| world.say(actor, &command).unwrap_err();

    assert!(matches!(told(waiting.clone(), "viewer"), Refusal::Authority { .. }));
    let mut one_level = World::waiting(Severity::P3);
    let refused = one_level.say("oncall", &pass_on(&one_level.clone())).unwrap_err().to_string();
    assert!(refused.starts_with("level 1 is the last"), "{refused}");
    let mut decided = waiting.clone();
    let input = decision(decided.gate(), "commander", Decision::Rejected, decided.now);
    decided.decide(input);
    assert!(told(decided, "oncall").to_string().contains("it is rejected"));
    assert!(told(World::open(Severity::P1), "oncall").to_string().contains("is not known"));
}

#[test]
fn escalation_by_time_names_nobody() {
    let mut world = World::waiting(Severity::P1);
    let command = pass_on(&world);
    world.say("oncall", &command).unwrap();
    world.reach_deadline();
    let Answer::Escalated { gate } = world.expire() else { panic!("not escalated") };
    assert_eq!((gate.level, gate.escalated_by.as_str()), (3, ""));
    assert_eq!(world.gate().escalated_by, "");
}

type Edit = fn(&mut DecisionInput, &mut World);

fn payload(input: &mut DecisionInput) -> &mut DecisionPayload {
    input.payload.as_mut().unwrap()
}

/// What differs from the requester, a manager, breaking the glass of a P1 gate.
const GLASS: [(&str, Edit, &str); 13] = [
    ("requester", |_, _| {}, "approved"),
    ("on-call", |input, _| payload(input).approver_id = "oncall".to_owned(), "approved"),
    ("viewer", |input, _| payload(input).approver_id = "viewer".to_owned(), "missing-role"),
    ("approver role", |input, _| payload(input).approver_id = "approver".to_owned(), "missing-role"),
    ("unknown", |input, _| payload(input).approver_id = "nobody".to_owned(), "unknown-approver"),
    ("by hand", |input, _| input.attested = Attested::No, "break-glass"),
    ("forged", |input, _| input.attested = Attested::Forged, "attestation"),
    ("rejection", |input, _| payload(input).decision = Decision::Rejected, "break-glass"),
    ("forbidden", |_, world| world.policy.break_glass = false, "break-glass"),
    ("short", |input, _| payload(input).justification = Some("urgent".to_owned()), "break-glass"),
    ("no justification", |input, _| payload(input).justification = None, "break-glass"),
    ("not claimed", |input, _| payload(input).break_glass = false, "malformed"),
    ("other digest", |input, _| payload(input).digest = Some("08".repeat(32)), "stale"),
];

fn breaking(severity: Severity) -> (World, DecisionInput) {
    let mut world = World::waiting(severity);
    world.policy.manual_signals = Manual::Accept;
    let mut input = decision(world.gate(), "operator", Decision::Approved, world.now);
    payload(&mut input).break_glass = true;
    payload(&mut input).justification = Some(WHY.to_owned());
    (world, input)
}

/// `approved`, or the word of the refusal.
fn judged(world: &mut World, input: DecisionInput) -> String {
    let Answer::Judged { verdict } = world.decide(input) else { panic!("not judged") };
    assert_eq!(world.gate().status == "approved", verdict.accepted);
    match verdict.refused_because {
        Some(because) => because.split_once(": ").unwrap().0.to_owned(),
        None => verdict.status.into(),
    }
}

#[test]
fn glass_is_broken_by_who_may_with_words_that_say_why() {
    for (name, edit, expected) in GLASS {
        let (mut world, mut input) = breaking(Severity::P1);
        edit(&mut input, &mut world);
        let word = judged(&mut world, input);
        assert_eq!(word, expected, "{name}");
    }
    for (severity, expected) in [
        (Severity::P1, "approved"),
        (Severity::P2, "approved"),
        (Severity::P3, "break-glass"),
        (Severity::P4, "break-glass"),
    ] {
        let (mut world, input) = breaking(severity);
        assert_eq!(judged(&mut world, input), expected, "{severity:?}");
    }
}

#[test]
fn broken_glass_is_on_record_with_its_authority_and_justification() {
    let (mut world, input) = breaking(Severity::P2);
    let Answer::Judged { verdict } = world.decide(input) else { panic!("not judged") };
    let settled = verdict.settled.unwrap();
    assert!(settled.break_glass && world.gate().break_glass);
    assert_eq!(settled.reason.as_deref(), Some(WHY));
    let Kind::ApprovalDecided(record) = last(&world) else { panic!("not decided") };
    assert_eq!(record.authority(), Authority::EmergencyOverride);
    let texts = &world.sealed.last().unwrap().texts;
    assert!(texts.iter().any(|text| text.field == "justification" && text.text == WHY), "{texts:?}");
    assert_eq!((record.break_glass, record.acted_as.as_str()), (true, "incident-manager"));
}

#[test]
fn broken_glass_does_not_open_what_is_over() {
    let (mut world, input) = breaking(Severity::P1);
    world.say("oncall", &status(harmony_incidents::log::State::Resolved)).unwrap();
    assert_eq!(judged(&mut world, input), "cancelled");

    let (mut world, mut input) = breaking(Severity::P1);
    world.reach_deadline();
    world.pass(SignedDuration::from_secs(1));
    input.decided_at = world.now;
    assert_eq!(judged(&mut world, input), "late");
}
