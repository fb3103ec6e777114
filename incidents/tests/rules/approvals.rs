//! Decisions: every kind of decider and payload against every state of the gate.

use harmony_incidents::{
    Answer, Command, GateStatus, WorkflowType,
    command::{Attested, Decision, DecisionInput, DecisionPayload, Verdict},
    log::{Authority, GateState, Severity, State, payload::Kind},
    policy::{GateKind, Manual},
};
use jiff::SignedDuration;

use crate::world::{World, decision, gate_request, status};

const STATES: [&str; 6] = ["none", "pending", "approved", "rejected", "timeout", "cancelled"];

/// A world whose remediation gate is in this state, and the gate as a decider saw it while it was pending.
fn world_with(state: &str) -> (World, GateState) {
    let mut world = World::waiting(Severity::P3);
    let seen = world.gate().clone();
    match state {
        "none" => world = World::open(Severity::P3),
        "pending" => {}
        "approved" | "rejected" => {
            let verdict = if state == "approved" { Decision::Approved } else { Decision::Rejected };
            let input = decision(&seen, "oncall", verdict, world.now);
            world.decide(input);
        }
        "timeout" => {
            world.reach_deadline();
            assert_eq!(world.expire(), Answer::TimedOut { level: 1 });
        }
        "cancelled" => {
            let cancel = Command::CancelGate { gate_id: seen.gate_id.clone(), reason: "stopped".to_owned() };
            world.say("operator", &cancel).unwrap();
        }
        other => panic!("no such state: {other}"),
    }
    if state != "none" {
        assert_eq!(world.gate().status, state);
    }
    (world, seen)
}

type Edit = fn(&mut DecisionInput, &GateState);

fn payload(input: &mut DecisionInput) -> &mut DecisionPayload {
    input.payload.as_mut().unwrap()
}

/// What differs from a commander's approval of what is asked.
const DECISIONS: [(&str, Edit); 13] = [
    ("approve", |_, _| {}),
    ("reject", |input, _| payload(input).decision = Decision::Rejected),
    ("no gate id", |input, _| payload(input).gate_id = None),
    ("no digest", |input, _| payload(input).digest = None),
    ("unknown", |input, _| payload(input).approver_id = "nobody".to_owned()),
    ("no role", |input, _| payload(input).approver_id = "viewer".to_owned()),
    ("approver role", |input, _| payload(input).approver_id = "approver".to_owned()),
    ("other org", |input, _| payload(input).approver_id = "stranger".to_owned()),
    ("requester", |input, _| payload(input).approver_id = "operator".to_owned()),
    ("other digest", |input, _| payload(input).digest = Some("08".repeat(32))),
    ("other gate", |input, _| {
        payload(input).gate_id = Some("incident.remediate-INC-2026-0001#1/other".to_owned());
    }),
    ("late", |input, gate| {
        input.decided_at = jiff::Timestamp::from_microsecond(gate.due_us + 1).unwrap();
    }),
    ("malformed", |input, _| input.payload = Err("missing field `decision`".to_owned())),
];

const ATTESTATIONS: [(&str, Attested, Manual); 4] = [
    ("attested", Attested::Yes, Manual::Refuse),
    ("by hand, taken", Attested::No, Manual::Accept),
    ("by hand, not taken", Attested::No, Manual::Refuse),
    ("forged", Attested::Forged, Manual::Accept),
];

fn verdict(answer: Answer) -> Verdict {
    let Answer::Judged { verdict } = answer else { panic!("not a verdict: {answer:?}") };
    verdict
}

fn cell(state: &str, attested: Attested, manual: Manual, edit: Edit) -> String {
    let (mut world, seen) = world_with(state);
    world.policy.manual_signals = manual;
    let mut input = decision(&seen, "commander", Decision::Approved, world.now);
    if state == "timeout" {
        // Made in time, and too late all the same: the log has settled it.
        input.decided_at = world.now.checked_sub(SignedDuration::from_secs(1)).unwrap();
    }
    input.attested = attested;
    edit(&mut input, &seen);
    let before = world.head.state.clone();
    let records = world.sealed.len();
    let verdict = verdict(world.decide(input));
    assert_eq!(world.sealed.len(), records + 1, "every verdict is one record");
    let Some(because) = verdict.refused_because else {
        assert!(verdict.accepted && verdict.settled.is_some());
        assert_eq!(world.gate().status, verdict.status.name());
        return verdict.status.into();
    };
    assert!(!verdict.accepted && verdict.settled.is_none());
    let mut after = world.head.state.clone();
    for gate in &mut after.gates {
        gate.refusals = 0;
    }
    after.refusal_tallies.clone_from(&before.refusal_tallies);
    after.seq = before.seq;
    assert_eq!(after, before, "a refusal changes nothing but its count");
    let (word, sentence) = because.split_once(": ").unwrap();
    assert!(!sentence.is_empty());
    let payload = world.sealed.last().unwrap().record.payload.clone().unwrap();
    let Some(Kind::ApprovalRefused(record)) = payload.kind else { panic!("not on record as refused") };
    assert_eq!(record.refused_because, word);
    assert_eq!(record.attested, attested == Attested::Yes);
    word.to_owned()
}

#[test]
fn every_decision_against_every_state_of_the_gate() {
    let row = |name: &str, cells: [String; 6]| {
        let cells = cells.map(|cell| format!("{cell:<17}")).concat();
        format!("{name:<16}{cells}").trim_end().to_owned()
    };
    let mut table = vec![row("", STATES.map(str::to_owned))];
    for (attestation, attested, manual) in ATTESTATIONS {
        table.push(format!("{attestation}:"));
        for (name, edit) in DECISIONS {
            table.push(row(&format!("  {name}"), STATES.map(|state| cell(state, attested, manual, edit))));
        }
    }
    insta::assert_snapshot!("decisions", table.join("\n"));
}

#[test]
fn roles_in_the_payload_are_never_believed() {
    let (mut world, gate) = world_with("pending");
    let mut input = decision(&gate, "viewer", Decision::Approved, world.now);
    payload(&mut input).approver_roles = Some(vec!["org-admin".to_owned(), "incident-commander".to_owned()]);
    assert!(verdict(world.decide(input)).refused_because.unwrap().starts_with("missing-role"));
}

/// One of the directory with each role, and whether it is a gate role.
const DIRECTORY_ROLES: [(&str, bool); 7] = [
    ("viewer", false),
    ("responder", false),
    ("oncall", true),
    ("commander", true),
    ("manager", true),
    ("admin", true),
    ("approver", false),
];

/// Assigns a commander; a record may claim what it likes about itself.
fn assign(world: &mut World, by: &str, who: &str, claimed: bool) -> bool {
    let assigned = harmony_incidents::log::ResponderAssigned {
        role: "commander".to_owned(),
        principal: who.to_owned(),
        empowered: claimed,
    };
    let payload = harmony_incidents::judge::payload(Kind::ResponderAssigned(assigned));
    world.say(by, &Command::Record { payload }).unwrap();
    world.head.state.responders[0].empowered
}

#[test]
fn assignment_gives_a_commanders_rights_only_when_somebody_else_with_a_gate_role_makes_it() {
    for (by, has_a_gate_role) in DIRECTORY_ROLES {
        for who in ["viewer", "responder", by] {
            let (mut world, gate) = world_with("pending");
            let empowered = assign(&mut world, by, who, true);
            assert_eq!(empowered, has_a_gate_role && who != by, "{by} assigns {who}");
            if who == "viewer" {
                let input = decision(&gate, who, Decision::Approved, world.now);
                assert_eq!(verdict(world.decide(input)).accepted, empowered, "{by} assigns {who}");
            }
        }
    }
}

#[test]
fn who_was_assigned_commander_may_decide_for_this_incident() {
    let (mut world, gate) = world_with("pending");
    assign(&mut world, "oncall", "viewer", false);
    let input = decision(&gate, "viewer", Decision::Approved, world.now);
    assert!(verdict(world.decide(input)).accepted);
    let payload = world.sealed.last().unwrap().record.payload.clone().unwrap();
    let Some(Kind::ApprovalDecided(record)) = payload.kind else { panic!("not decided") };
    assert_eq!(record.acted_as, "incident-commander");
}

#[test]
fn requester_may_reject_and_approves_only_where_four_eyes_is_lifted() {
    let (mut world, gate) = world_with("pending");
    let input = decision(&gate, "operator", Decision::Rejected, world.now);
    assert_eq!(verdict(world.decide(input)).status, GateStatus::Rejected);

    let mut world = World::open(Severity::P3);
    world.policy.four_eyes = false;
    world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval");
    let input = decision(world.gate(), "operator", Decision::Approved, world.now);
    assert_eq!(verdict(world.decide(input)).status, GateStatus::Approved);
}

#[test]
fn decision_made_at_the_deadline_itself_is_in_time() {
    let (mut world, gate) = world_with("pending");
    world.reach_deadline();
    let input = decision(&gate, "commander", Decision::Approved, world.now);
    world.pass(SignedDuration::from_hours(2));
    assert!(verdict(world.decide(input)).accepted, "late in coming, made in time");
}

#[test]
fn what_a_payload_claims_goes_on_record_shortened() {
    let (mut world, gate) = world_with("pending");
    world.policy.manual_signals = Manual::Accept;
    let mut input = decision(&gate, "viewer", Decision::Approved, world.now);
    input.attested = Attested::No;
    input.payload = Err("x".repeat(100_000));
    let refused = verdict(world.decide(input)).refused_because.unwrap();
    assert!(refused.len() < 1_100, "{}", refused.len());

    let mut input = decision(&gate, "commander", Decision::Approved, world.now);
    payload(&mut input).reason = Some("x".repeat(70_000));
    assert!(verdict(world.decide(input)).refused_because.unwrap().starts_with("malformed"));

    let mut input = decision(&gate, "commander", Decision::Approved, world.now);
    payload(&mut input).source = Some("s".repeat(5_000));
    payload(&mut input).decision_id = Some("i".repeat(5_000));
    assert!(verdict(world.decide(input)).accepted);
    assert!(world.sealed.last().unwrap().canonical.len() < 1_000);
}

#[test]
fn decision_by_hand_after_the_last_gate_ended_is_told_how_it_ended() {
    for (state, word) in
        [("timeout", "late"), ("cancelled", "cancelled"), ("approved", "duplicate"), ("none", "early")]
    {
        let (mut world, gate) = world_with(state);
        world.policy.manual_signals = Manual::Accept;
        let mut input = decision(&gate, "commander", Decision::Approved, world.now);
        input.attested = Attested::No;
        payload(&mut input).gate_id = None;
        payload(&mut input).digest = None;
        let refused = verdict(world.decide(input)).refused_because.unwrap();
        assert!(refused.starts_with(word), "{state}: {refused}");
    }
}

#[test]
fn decision_reaches_no_gate_of_another_attempt_or_workflow() {
    let (world, gate) = world_with("pending");
    for (workflow_id, attempt) in [
        (crate::world::workflow(WorkflowType::Remediate), 2),
        (crate::world::workflow(WorkflowType::CloseOut), 1),
    ] {
        let mut world = world.clone();
        let mut input = decision(&gate, "commander", Decision::Approved, world.now);
        (input.workflow_id, input.attempt) = (workflow_id, attempt);
        assert!(verdict(world.decide(input)).refused_because.unwrap().starts_with("stale"));
        assert_eq!(world.gate().status, "pending");
    }
}

#[test]
fn cancelling_settles_a_pending_gate_once() {
    let (mut world, gate) = world_with("pending");
    let cancel = Command::CancelGate { gate_id: gate.gate_id.clone(), reason: "stopped".to_owned() };
    let first = world.say("operator", &cancel).unwrap();
    let Answer::Settled { settled } = first else { panic!("{first:?}") };
    assert_eq!((settled.status, settled.reason.as_deref()), (GateStatus::Cancelled, Some("stopped")));
    let records = world.sealed.len();
    world.say("operator", &cancel).unwrap();
    let unknown = Command::CancelGate { gate_id: "other".to_owned(), reason: "stopped".to_owned() };
    let Answer::Settled { settled } = world.say("operator", &unknown).unwrap() else { panic!() };
    assert_eq!(settled.reason.as_deref(), Some("the gate is not known"));
    assert_eq!(world.sealed.len(), records);

    let (mut world, gate) = world_with("approved");
    let cancel = Command::CancelGate { gate_id: gate.gate_id, reason: "stopped".to_owned() };
    let Answer::Settled { settled } = world.say("operator", &cancel).unwrap() else { panic!() };
    assert_eq!((settled.status, settled.by.as_str()), (GateStatus::Approved, "oncall"));
}

#[test]
fn urgent_gate_is_not_opened_once_the_incident_is_over() {
    for to in [State::Resolved, State::Cancelled] {
        let mut world = World::open(Severity::P3);
        world.say("admin", &status(to)).unwrap();
        let records = world.sealed.len();
        for kind in [GateKind::Remediate, GateKind::StatusPage, GateKind::UnknownCell] {
            let answer = world.ask(WorkflowType::Remediate, kind, "approval");
            let Answer::Settled { settled } = answer else { panic!("{kind:?}: {answer:?}") };
            assert_eq!(settled.status, GateStatus::Cancelled);
            assert_eq!(settled.reason.unwrap(), format!("the incident is {}", to.as_str_name()));
        }
        assert_eq!(world.sealed.len(), records, "nothing is asked of anybody");
    }
    let mut world = World::open(Severity::P3);
    world.say("admin", &status(State::Resolved)).unwrap();
    let answer = world.ask(WorkflowType::PostMortem, GateKind::PublishReview, "publish");
    assert!(matches!(answer, Answer::GateOpened { .. }), "the review comes after: {answer:?}");
}

#[test]
fn gate_is_opened_once_and_never_taken_back() {
    for state in ["pending", "approved", "rejected", "timeout", "cancelled"] {
        let (mut world, _) = world_with(state);
        let before = world.head.clone();
        match world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval") {
            Answer::GateOpened { gate } if state == "pending" => {
                assert_eq!(gate.deadline.as_microsecond(), world.gate().due_us);
            }
            Answer::Settled { settled } => assert_eq!(settled.status.name(), state),
            other => panic!("{state}: {other:?}"),
        }
        assert_eq!(world.head, before);
        let mut other = gate_request(WorkflowType::Remediate, GateKind::Remediate, "approval");
        other.digest = "08".repeat(32);
        let refused = world.say("operator", &Command::OpenGate { request: Box::new(other) }).unwrap_err();
        assert!(refused.to_string().ends_with("was opened for something else"), "{refused}");
    }
}

#[test]
fn gate_without_a_digest_is_refused() {
    let mut world = World::open(Severity::P3);
    for digest in ["", "xyz", "0707", &"07".repeat(31)] {
        let mut request = gate_request(WorkflowType::Remediate, GateKind::Remediate, "approval");
        request.digest = digest.to_owned();
        let refused = world.say("operator", &Command::OpenGate { request: Box::new(request) }).unwrap_err();
        assert!(refused.to_string().contains("64 hex digits"), "{refused}");
    }
    let mut request = gate_request(WorkflowType::Remediate, GateKind::Remediate, "approval");
    request.digest = "0A".repeat(32);
    let Answer::GateOpened { gate } =
        world.say("operator", &Command::OpenGate { request: Box::new(request) }).unwrap()
    else {
        panic!("not opened")
    };
    assert_eq!(gate.digest, "0a".repeat(32));
}

#[test]
fn approval_of_a_remediation_whose_incident_is_over_cancels_its_gate() {
    let (mut world, gate) = world_with("pending");
    // The remediation itself resolved it, so its own gate was left for it to settle.
    let context = world.workflow_context(WorkflowType::Remediate, "oncall");
    assert_eq!(context.authority, Authority::OnCallSre);
    world.say_as(&context, &status(State::Resolved)).unwrap();
    assert_eq!(world.gate().status, "pending");
    let input = decision(&gate, "commander", Decision::Approved, world.now);
    let Answer::Settled { settled } = world.decide(input) else { panic!("approved after the end") };
    assert_eq!(settled.status, GateStatus::Cancelled);
    assert_eq!(world.gate().status, "cancelled");
}

#[test]
fn unknown_cell_is_skipped_by_who_may_approve_and_nothing_else_is() {
    let (mut world, gate) = world_with("pending");
    let Answer::Judged { verdict } = world.decide(decision(&gate, "commander", Decision::Skipped, world.now))
    else {
        panic!("not judged")
    };
    let refused = verdict.refused_because.unwrap();
    assert!(refused.starts_with("malformed: only a cell of which nobody knows"), "{refused}");
    assert_eq!(world.gate().status, "pending");

    for (who, expected) in [("operator", "four-eyes"), ("viewer", "missing-role"), ("oncall", "")] {
        let mut world = World::open(Severity::P2);
        let answer = world.ask(WorkflowType::Remediate, GateKind::UnknownCell, "unknown/remediation/a");
        let Answer::GateOpened { gate: asked } = answer else { panic!("not opened") };
        assert!(asked.skippable);
        let input = decision(&world.gate().clone(), who, Decision::Skipped, world.now);
        let Answer::Judged { verdict } = world.decide(input) else { panic!("not judged") };
        let refused = verdict.refused_because.unwrap_or_default();
        assert!(
            refused.starts_with(expected) && refused.is_empty() == expected.is_empty(),
            "{who}: {refused}"
        );
        let status = if expected.is_empty() { GateStatus::Skipped } else { GateStatus::Pending };
        assert_eq!((verdict.status, world.gate().status.as_str()), (status, status.name()));
        assert_eq!(verdict.settled.is_some(), expected.is_empty());
    }
}

#[test]
fn policy_asks_for_no_close_out_gate_at_low_severity() {
    let mut world = World::open(Severity::P4);
    let answer = world.ask(WorkflowType::CloseOut, GateKind::CloseOut, "approval");
    assert_eq!(answer, Answer::NoGate);
}
