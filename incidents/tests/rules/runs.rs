//! Runs that are lost: marked on record, started again as the same attempt, and never taken for another.

use harmony_incidents::{
    Answer, Command, Refusal, WorkflowType,
    log::{BlueprintCompleted, BlueprintState, Severity, State, payload::Kind},
    policy::GateKind,
};

use crate::world::{World, status, workflow};

const INPUT: &str = r#"{"context":{"incident_id":"INC-2026-0001"}}"#;

fn start(world: &mut World, refuse: Option<&str>) -> Answer {
    start_as(world, true, refuse)
}

fn start_as(world: &mut World, attested: bool, refuse: Option<&str>) -> Answer {
    let kind = WorkflowType::Remediate;
    let command = Command::StartBlueprint {
        workflow_id: workflow(kind),
        starter: "operator".to_owned(),
        attested,
        target: None,
        refuse: refuse.map(str::to_owned),
        input_text: INPUT.to_owned(),
    };
    let context = world.workflow_context(kind, "operator");
    world.say_as(&context, &command).unwrap()
}

fn lose(world: &mut World, attempt: u32) -> Answer {
    let workflow_id = workflow(WorkflowType::Remediate);
    let command = Command::MarkOrphaned { workflow_id, attempt, reason: "terminated".to_owned() };
    world.say("operator", &command).unwrap()
}

fn resume(world: &mut World, who: &str, attempt: u32) -> Result<Answer, Refusal> {
    let workflow_id = workflow(WorkflowType::Remediate);
    world.say(who, &Command::ResumeBlueprint { workflow_id, attempt })
}

fn run(world: &World) -> &BlueprintState {
    world.head.state.blueprints.iter().find(|one| one.blueprint == "remediate").unwrap()
}

fn started(world: &mut World) {
    let answer = start(world, None);
    assert!(matches!(answer, Answer::Started { attempt: 1, .. }), "{answer:?}");
    world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval");
}

#[test]
fn lost_run_is_resumed_as_the_same_attempt_at_the_same_gate() {
    let mut world = World::open(Severity::P2);
    started(&mut world);
    let gate = world.gate().clone();
    let begun = &world.sealed[usize::try_from(run(&world).started_seq).unwrap() - 1];
    assert_eq!(begun.texts[0].text, INPUT, "what it was started with is on record");
    for round in 1..=2 {
        assert_eq!(lose(&mut world, 1), Answer::Recorded);
        assert_eq!(run(&world).status, "ORPHANED");
        assert_eq!(lose(&mut world, 1), Answer::Unchanged, "once");
        assert_eq!(resume(&mut world, "operator", 1).unwrap(), Answer::Recorded);
        assert_eq!((run(&world).status.as_str(), run(&world).resumed), ("RESUMING", round));
        let Answer::Started { attempt, .. } = start(&mut world, None) else { panic!("not started") };
        assert_eq!((attempt, run(&world).status.as_str()), (1, "RUNNING"));
        assert_eq!(world.gate(), &gate, "the gate is where it was");
    }
    // A run that is no resumption is another attempt, and nobody is asked about the old one any more.
    let Answer::Started { attempt, .. } = start(&mut world, None) else { panic!("not started") };
    assert_eq!((attempt, world.gate().status.as_str()), (2, "cancelled"));
    assert_eq!(lose(&mut world, 1), Answer::Unchanged, "the attempt before is over");
}

#[test]
fn what_has_ended_is_not_lost_and_what_is_not_lost_is_not_resumed() {
    let mut world = World::open(Severity::P2);
    let explanation = |refused: Result<Answer, Refusal>| refused.unwrap_err().to_string();
    assert!(explanation(resume(&mut world, "operator", 1)).contains("no attempt 1"));
    started(&mut world);
    assert!(explanation(resume(&mut world, "operator", 1)).contains("it is RUNNING"));
    lose(&mut world, 1);
    assert!(matches!(resume(&mut world, "viewer", 1), Err(Refusal::Authority { .. })));
    assert!(explanation(resume(&mut world, "operator", 2)).contains("no attempt 2"));
    let ended = Kind::BlueprintCompleted(BlueprintCompleted {
        blueprint: "remediate".to_owned(),
        attempt: 1,
        status: "COMPLETED".to_owned(),
        ..BlueprintCompleted::default()
    });
    let command = Command::Record { payload: harmony_incidents::judge::payload(ended) };
    world.say("operator", &command).unwrap();
    assert_eq!(lose(&mut world, 1), Answer::Unchanged);
    assert!(explanation(resume(&mut world, "operator", 1)).contains("it is COMPLETED"));
}

#[test]
fn resumed_run_goes_on_where_a_new_one_would_not_be_legal_and_is_refused_where_the_policy_says_so() {
    let mut world = World::open(Severity::P2);
    started(&mut world);
    lose(&mut world, 1);
    world.say("oncall", &status(State::Resolved)).unwrap();
    resume(&mut world, "operator", 1).unwrap();
    let mut by_hand = world.clone();
    assert!(matches!(start(&mut world, None), Answer::Started { attempt: 1, .. }));
    assert_eq!(world.gate().status, "cancelled", "its gate was cancelled with the incident");
    let answer = start(&mut by_hand, Some("not accepted here"));
    assert!(matches!(answer, Answer::Refused { attempt: 1, .. }), "{answer:?}");
    assert_eq!(run(&by_hand).status, "REFUSED");
}

#[test]
fn start_by_hand_never_takes_the_place_of_an_attempt_that_is_open() {
    let mut world = World::open(Severity::P2);
    started(&mut world);
    lose(&mut world, 1);
    // Refused by the policy: what was lost can still be resumed.
    let before = run(&world).clone();
    let refused = start_as(&mut world, false, Some("not accepted here"));
    assert!(matches!(refused, Answer::Refused { attempt: 2, .. }), "{refused:?}");
    assert_eq!(run(&world), &before);
    assert_eq!(resume(&mut world, "operator", 1).unwrap(), Answer::Recorded);
    // Accepted by the policy, and still not the run that is resumed. Each one is on record.
    for _ in 0..2 {
        let seq = world.head.state.seq;
        let refused = start_as(&mut world, false, None);
        let Answer::Refused { attempt: 2, reason } = &refused else { panic!("{refused:?}") };
        assert!(reason.contains("does not take its place"), "{reason}");
        assert_eq!((run(&world).status.as_str(), run(&world).attempt), ("RESUMING", 1));
        assert_eq!(world.head.state.seq, seq + 1);
        let Some(Kind::BlueprintCompleted(record)) =
            world.sealed.last().and_then(|sealed| sealed.record.payload.as_ref()?.kind.clone())
        else {
            panic!("not on record")
        };
        assert_eq!((record.status.as_str(), record.attempt), ("REFUSED", 2));
    }
    let Answer::Started { attempt, .. } = start(&mut world, None) else { panic!("not started") };
    assert_eq!((attempt, run(&world).status.as_str()), (1, "RUNNING"), "the one that was asked for is");
}
