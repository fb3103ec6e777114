//! Every event against every state of a gate: what is answered, how the gate stands then, how many records it took.

use harmony_incidents::{
    Answer, Command, Refusal, WorkflowType,
    command::{Decision, DecisionInput},
    log::{Severity, State},
    policy::GateKind,
};
use jiff::SignedDuration;

use crate::world::{World, decision, status};

/// How a gate comes to stand so; all of them are a P2's, whose remediation needs two approvals where it says so.
const STATES: [&str; 9] = [
    "pending",
    "reminded half",
    "one of two",
    "escalated",
    "last level",
    "approved",
    "rejected",
    "timed out",
    "cancelled",
];

fn scene(state: &str) -> World {
    let mut world = World::open(Severity::P2);
    if state == "one of two" {
        world.policy.quorum.insert(GateKind::Remediate, 2);
    }
    world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval");
    let say = |world: &mut World, what: Decision| {
        let input = decided(world, "oncall", what);
        world.decide(input);
    };
    let levels = |world: &mut World, number: u32| {
        for _ in 0..number {
            world.reach_deadline();
            world.expire();
        }
    };
    match state {
        "pending" => {}
        "reminded half" => world.pass(SignedDuration::from_mins(8)),
        "one of two" | "approved" => say(&mut world, Decision::Approved),
        "rejected" => say(&mut world, Decision::Rejected),
        "escalated" => levels(&mut world, 1),
        "last level" => levels(&mut world, 2),
        "timed out" => levels(&mut world, 3),
        "cancelled" => {
            let gate_id = world.gate().gate_id.clone();
            world.say("operator", &Command::CancelGate { gate_id, reason: "stopped".to_owned() }).unwrap();
        }
        other => panic!("no such state: {other}"),
    }
    world
}

fn decided(world: &World, who: &str, what: Decision) -> DecisionInput {
    decision(&world.gate().clone(), who, what, world.now)
}

type Event = fn(&mut World) -> Result<Answer, Refusal>;

fn decide(world: &mut World, input: DecisionInput) -> Result<Answer, Refusal> {
    Ok(world.decide(input))
}

fn gate_id(world: &World) -> String {
    world.gate().gate_id.clone()
}

fn severity(world: &mut World, to: Severity) -> Result<Answer, Refusal> {
    world.say("manager", &Command::ChangeSeverity { to, reason: String::new() })
}

const EVENTS: [(&str, Event); 20] = [
    ("asked again", |world| Ok(world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval"))),
    ("on-call approves", |world| decide(world, decided(world, "oncall", Decision::Approved))),
    ("commander approves", |world| decide(world, decided(world, "commander", Decision::Approved))),
    ("commander rejects", |world| decide(world, decided(world, "commander", Decision::Rejected))),
    ("manager approves", |world| decide(world, decided(world, "manager", Decision::Approved))),
    ("admin approves", |world| decide(world, decided(world, "admin", Decision::Approved))),
    ("requester approves", |world| decide(world, decided(world, "operator", Decision::Approved))),
    ("requester rejects", |world| decide(world, decided(world, "operator", Decision::Rejected))),
    ("viewer approves", |world| decide(world, decided(world, "viewer", Decision::Approved))),
    ("malformed", |world| {
        let mut input = decided(world, "admin", Decision::Approved);
        input.payload = Err("expected one JSON object".to_owned());
        decide(world, input)
    }),
    ("glass is broken", |world| {
        let mut input = decided(world, "operator", Decision::Approved);
        let payload = input.payload.as_mut().unwrap();
        payload.break_glass = true;
        payload.justification = Some("both approvers are on the same plane".to_owned());
        decide(world, input)
    }),
    ("approved too late", |world| {
        let mut input = decided(world, "admin", Decision::Approved);
        input.decided_at = jiff::Timestamp::from_microsecond(world.gate().due_us + 1).unwrap();
        decide(world, input)
    }),
    ("timer too early", |world| Ok(world.expire())),
    ("time is over", |world| {
        world.reach_deadline();
        Ok(world.expire())
    }),
    ("time of level 1 is over", |world| {
        world.reach_deadline();
        let command = Command::ExpireLevel { gate_id: gate_id(world), level: 1 };
        world.say("operator", &command)
    }),
    ("passed on", |world| {
        let command = Command::Escalate { gate_id: gate_id(world), reason: String::new() };
        world.say("oncall", &command)
    }),
    ("stopped", |world| {
        let command = Command::CancelGate { gate_id: gate_id(world), reason: "stopped".to_owned() };
        world.say("operator", &command)
    }),
    ("severity becomes P1", |world| severity(world, Severity::P1)),
    ("severity becomes P4", |world| severity(world, Severity::P4)),
    ("incident is resolved", |world| world.say("oncall", &status(State::Resolved))),
];

/// What came of it, in few words.
fn cell(state: &str, event: Event) -> String {
    let mut world = scene(state);
    let before = world.sealed.len();
    // An early timer is one that fires before anything is due.
    let answer = match event(&mut world) {
        Ok(Answer::Judged { verdict }) => match &verdict.refused_because {
            Some(because) => because.split_once(':').unwrap().0.to_owned(),
            None => "taken".to_owned(),
        },
        Ok(Answer::Settled { .. }) => "settled".to_owned(),
        Ok(Answer::Escalated { .. }) if world.sealed.len() == before => "not yet".to_owned(),
        Ok(Answer::Escalated { .. }) => "next level".to_owned(),
        Ok(Answer::TimedOut { .. }) => "timed out".to_owned(),
        Ok(Answer::GateOpened { .. }) => "stands".to_owned(),
        Ok(Answer::Recorded) => "recorded".to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(_) => "not legal".to_owned(),
    };
    let gate = world.gate();
    let votes =
        if gate.quorum > 1 { format!(" {}/{}", gate.approvals.len(), gate.quorum) } else { String::new() };
    format!("{answer} > {} L{}{votes} +{}", gate.status, gate.level, world.sealed.len() - before)
}

#[test]
fn every_event_against_every_state_of_the_gate() {
    let mut table = Vec::new();
    for state in STATES {
        table.push(format!("{state}:"));
        for (name, event) in EVENTS {
            table.push(format!("  {name:<24}{}", cell(state, event)));
        }
    }
    insta::assert_snapshot!("matrix", table.join("\n"));
}
