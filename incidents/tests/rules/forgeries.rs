//! Decisions that nobody made, or nobody may make: with real attestations, none of a hundred thousand is accepted.

use std::sync::LazyLock;

use harmony_incidents::{
    Answer, Command, OrgId, WorkflowType,
    attestation::{AttestationKeys, DecisionClaim},
    command::{Attested, Decision, DecisionInput, DecisionPayload},
    log::{GateState, Severity},
    policy::GateKind,
};
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::world::{World, decision, gate_request};

static OURS: LazyLock<AttestationKeys> = LazyLock::new(|| AttestationKeys::parse(&"11".repeat(32)).unwrap());
static THEIRS: LazyLock<AttestationKeys> =
    LazyLock::new(|| AttestationKeys::parse(&"22".repeat(32)).unwrap());

/// A remediation that waits for the second time; its first attempt's gate was approved by the decision given, the
/// second would be by the other.
static SCENE: LazyLock<(World, GateState, DecisionPayload, DecisionPayload)> = LazyLock::new(|| {
    let mut world = World::waiting(Severity::P2);
    let first = world.gate().clone();
    let approved = attested(&OURS, "default", &first, "commander", &world);
    assert!(accepts(&world, &first, approved.clone()), "the genuine one is accepted");
    let input = input(&world, &first, approved.clone());
    let Answer::Judged { verdict } = world.decide(input) else { panic!("not judged") };
    assert!(verdict.accepted);
    let request = harmony_incidents::command::GateRequest {
        attempt: 2,
        ..gate_request(WorkflowType::Remediate, GateKind::Remediate, "approval")
    };
    let context = world.workflow_context(WorkflowType::Remediate, "operator");
    world.say_as(&context, &Command::OpenGate { request: Box::new(request) }).unwrap();
    let second = world.head.state.gates.iter().find(|gate| gate.attempt == 2).unwrap().clone();
    let genuine = attested(&OURS, "default", &second, "commander", &world);
    (world, second, approved, genuine)
});

fn sign(keys: &AttestationKeys, org: &str, workflow_id: &str, payload: &mut DecisionPayload) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let attestation = keys.attest_decision(&DecisionClaim {
        org,
        workflow_id,
        gate_id: &text(&payload.gate_id),
        digest: &text(&payload.digest),
        decision: payload.decision.name(),
        approver_id: &payload.approver_id,
        decision_id: &text(&payload.decision_id),
        timestamp: &text(&payload.timestamp),
        reason: &text(&payload.reason),
        source: &text(&payload.source),
        break_glass: payload.break_glass,
        justification: &text(&payload.justification),
    });
    payload.attestation = Some(attestation);
}

fn attested(
    keys: &AttestationKeys,
    org: &str,
    gate: &GateState,
    who: &str,
    world: &World,
) -> DecisionPayload {
    let mut payload = decision(gate, who, Decision::Approved, world.now).payload.unwrap();
    sign(keys, org, &gate.workflow_id, &mut payload);
    payload
}

/// As it reaches the judge: what its attestation is and when it was made are found out here, not claimed.
fn input(world: &World, gate: &GateState, payload: DecisionPayload) -> DecisionInput {
    let attested = OURS.judge(OrgId::default().as_str(), &gate.workflow_id, &payload);
    let decided_at = payload.timestamp.as_deref().and_then(|text| text.parse().ok()).unwrap_or(world.now);
    DecisionInput {
        workflow_id: gate.workflow_id.parse().unwrap(),
        attempt: gate.attempt,
        payload: Ok(payload),
        attested,
        decided_at,
        counted: false,
    }
}

fn accepts(world: &World, gate: &GateState, payload: DecisionPayload) -> bool {
    let command = Command::Decide { input: Box::new(input(world, gate, payload)) };
    let context = world.workflow_context(WorkflowType::Remediate, "operator");
    let judged = world.judge(&context, &command).unwrap();
    let Answer::Judged { verdict } = judged.answer else { panic!("not judged: {:?}", judged.answer) };
    assert_eq!(judged.payloads.len(), 1, "every verdict is one record");
    verdict.accepted
}

#[derive(Debug, Clone)]
enum Forgery {
    /// A field was changed after it was attested.
    Changed(u8, String),
    /// Attested by somebody else's key.
    OtherKey,
    /// An attestation out of nothing.
    Invented(Vec<u8>),
    /// None at all, where the policy wants one.
    ByHand,
    /// Attested by our door, and made this many seconds after the deadline.
    Expired(i64),
    /// Attested for another incident of the year, and brought here.
    OtherIncident(u64),
    /// Attested for another organisation.
    OtherOrg(String),
    /// Attested for another gate of this workflow.
    OtherGate(u32, String),
    /// Attested over another digest.
    OtherDigest([u8; 32]),
    /// The one that approved the first attempt, again.
    Replayed,
    /// Attested, by who may not decide here.
    Nobody(u8),
}

fn forgery() -> impl Strategy<Value = Forgery> {
    // What a door attested takes the policies to refuse, which are slow: there are fewer of it.
    prop_oneof![
        30 => (0..10_u8, "[ -~]{0,12}").prop_map(|(field, text)| Forgery::Changed(field, text)),
        6 => Just(Forgery::OtherKey),
        12 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Forgery::Invented),
        6 => Just(Forgery::ByHand),
        1 => (1..1_000_000_i64).prop_map(Forgery::Expired),
        12 => (2..10_000_u64).prop_map(Forgery::OtherIncident),
        12 => "[a-z]{1,8}".prop_filter("ours", |org| org != "default").prop_map(Forgery::OtherOrg),
        8 => (0..9_u32, "[a-z-]{1,10}").prop_map(|(attempt, step)| Forgery::OtherGate(attempt, step)),
        8 => any::<[u8; 32]>().prop_map(Forgery::OtherDigest),
        6 => Just(Forgery::Replayed),
        1 => (0..5_u8).prop_map(Forgery::Nobody),
    ]
}

/// The decision; `None` where the forgery changed nothing.
fn forged(forgery: &Forgery) -> Option<DecisionPayload> {
    let (world, gate, approved, genuine) = &*SCENE;
    let mut payload = genuine.clone();
    match forgery {
        Forgery::Changed(field, text) => {
            let text = Some(text.clone());
            match field {
                0 => payload.decision = Decision::Rejected,
                1 => payload.approver_id = "oncall".to_owned(),
                2 => payload.approver_id = text?,
                3 => payload.gate_id = text,
                4 => payload.digest = text,
                5 => payload.reason = text.filter(|text| !text.is_empty()),
                6 => payload.timestamp = Some((world.now - SignedDuration::from_secs(1)).to_string()),
                7 => payload.decision_id = text,
                8 => payload.source = text,
                _ => {
                    payload.break_glass = true;
                    payload.justification = Some("both approvers are on the same plane".to_owned());
                }
            }
        }
        Forgery::OtherKey => sign(&THEIRS, "default", &gate.workflow_id, &mut payload),
        Forgery::Invented(bytes) => payload.attestation = Some(hex::encode(bytes)),
        Forgery::ByHand => payload.attestation = None,
        Forgery::Expired(seconds) => {
            let due = jiff::Timestamp::from_microsecond(gate.due_us).unwrap();
            payload.timestamp = Some((due + SignedDuration::from_secs(*seconds)).to_string());
            sign(&OURS, "default", &gate.workflow_id, &mut payload);
        }
        Forgery::OtherIncident(number) => {
            let workflow = format!("incident.remediate-INC-2026-{number:04}");
            sign(&OURS, "default", &workflow, &mut payload);
        }
        Forgery::OtherOrg(org) => sign(&OURS, org, &gate.workflow_id, &mut payload),
        Forgery::OtherGate(attempt, step) => {
            payload.gate_id = Some(format!("{}#{attempt}/{step}", gate.workflow_id));
            sign(&OURS, "default", &gate.workflow_id, &mut payload);
        }
        Forgery::OtherDigest(digest) => {
            payload.digest = Some(hex::encode(digest));
            sign(&OURS, "default", &gate.workflow_id, &mut payload);
        }
        Forgery::Replayed => payload = approved.clone(),
        Forgery::Nobody(who) => {
            let who = ["operator", "viewer", "responder", "stranger", "nobody"][usize::from(*who)];
            payload = attested(&OURS, "default", gate, who, world);
        }
    }
    (payload != *genuine).then_some(payload)
}

#[test]
fn none_of_a_hundred_thousand_forgeries_is_accepted() {
    let (world, gate, _, genuine) = &*SCENE;
    assert!(accepts(world, gate, genuine.clone()));
    let config = ProptestConfig { cases: 100_000, failure_persistence: None, ..ProptestConfig::default() };
    let told = proptest::test_runner::TestRunner::new(config).run(&forgery(), |forgery| {
        if let Some(payload) = forged(&forgery) {
            prop_assert!(!accepts(world, gate, payload), "{forgery:?} was accepted");
        }
        Ok(())
    });
    told.unwrap();
}

#[test]
fn while_two_keys_are_valid_decisions_of_both_are_accepted_and_of_no_third() {
    let (world, gate, ..) = &*SCENE;
    let (old, new) = ("11".repeat(32), "22".repeat(32));
    let both = AttestationKeys::parse(&format!("{new},{old}")).unwrap();
    let third = AttestationKeys::parse(&"33".repeat(32)).unwrap();
    for (keys, holds) in [(&*OURS, true), (&*THEIRS, true), (&both, true), (&third, false)] {
        let payload = attested(keys, "default", gate, "commander", world);
        let attested = both.judge("default", &gate.workflow_id, &payload);
        assert_eq!(attested == harmony_incidents::command::Attested::Yes, holds);
    }
}

/// A document may claim what it likes: only the code that verified an attestation says that it holds.
#[test]
fn no_document_says_of_itself_that_it_is_attested() {
    let (world, gate, _, genuine) = &*SCENE;
    let input = input(world, gate, genuine.clone());
    assert_eq!(input.attested, Attested::Yes);
    let written = serde_json::to_value(Command::Decide { input: Box::new(input) }).unwrap();
    assert_eq!(written["input"]["attested"], "yes");
    let Ok(Command::Decide { input }) = serde_json::from_value(written) else { panic!("not read") };
    assert_eq!(input.attested, Attested::No);
    let started = Command::StartBlueprint {
        workflow_id: gate.workflow_id.parse().unwrap(),
        starter: "operator".to_owned(),
        attested: true,
        target: None,
        refuse: None,
        input_text: String::new(),
    };
    let Ok(Command::StartBlueprint { attested, .. }) =
        serde_json::from_value(serde_json::to_value(started).unwrap())
    else {
        panic!("not read")
    };
    assert!(!attested);
}
