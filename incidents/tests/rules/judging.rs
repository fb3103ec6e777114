//! What a command needs, and what else it brings about.

use harmony_incidents::{
    Answer, Command, Context, Refusal, WorkflowType,
    command::{Decision, ResolutionInput},
    judge::payload,
    log::{
        Authority, IncidentCreated, IncidentNoteAdded, IncidentUpdated, PostMortemPublished, RecordRedacted,
        ResolutionType, RunbookCellStarted, RunbookDryRunPlanned, Severity, State, Text, payload::Kind,
    },
    policy::GateKind,
};

use crate::world::{DIGEST, World, decision, declaration, status, workflow};

fn refused(world: &mut World, actor: &str, command: &Command) -> String {
    let before = world.head.clone();
    let refusal = world.say(actor, command).unwrap_err();
    assert_eq!(world.head, before, "a refusal leaves nothing behind");
    refusal.to_string()
}

#[test]
fn declaration_needs_a_title_of_one_line_and_a_severity() {
    let long = "x".repeat(256);
    for (title, expected) in [
        ("", "an incident needs a title"),
        ("   \u{a0} ", "an incident needs a title"),
        (long.as_str(), "a title has at most 255 characters"),
        ("disk\u{7}full", "a title is one line without control characters"),
        ("disk full\n", "a title is one line without control characters"),
        ("\r\ndisk full", "a title is one line without control characters"),
    ] {
        let command = declaration(title, Severity::P1);
        assert_eq!(refused(&mut World::empty(), "operator", &command), expected, "{title:?}");
    }
    let command = declaration("Disk full", Severity::Unspecified);
    assert!(refused(&mut World::empty(), "operator", &command).contains("needs a severity"));
    // Characters are counted, not bytes.
    let command = declaration(&"ü".repeat(255), Severity::P4);
    assert_eq!(World::empty().say("operator", &command), Ok(Answer::Recorded));
}

#[test]
fn declaration_checks_its_public_title_and_the_length_of_its_texts() {
    let declared = |incident: IncidentCreated| Command::Declare { incident };
    let valid = IncidentCreated {
        title: Some(Text::plain("Disk full")),
        severity: Severity::P1.into(),
        ..IncidentCreated::default()
    };
    let public = declared(IncidentCreated { public_title: Some(Text::plain("a\nb")), ..valid.clone() });
    let expected = "a public title is one line without control characters";
    assert_eq!(refused(&mut World::empty(), "operator", &public), expected);
    let long = declared(IncidentCreated { summary: Some(Text::plain("x".repeat(65_537))), ..valid });
    assert_eq!(refused(&mut World::empty(), "operator", &long), "summary has more than 64 KiB");
}

#[test]
fn declaration_comes_first_and_once() {
    let again = declaration("Disk full", Severity::P1);
    let mut world = World::open(Severity::P1);
    assert_eq!(refused(&mut world, "operator", &again), "this incident exists already");
    let mut world = World::empty();
    assert_eq!(refused(&mut world, "operator", &status(State::Open)), "this incident does not exist");
}

#[test]
fn who_has_no_authority_declares_nothing() {
    let command = declaration("Disk full", Severity::P1);
    let mut world = World::empty();
    assert!(matches!(world.say("viewer", &command), Err(Refusal::Authority { .. })));
}

#[test]
fn updated_title_keeps_the_rules_of_a_title() {
    let mut world = World::open(Severity::P1);
    let long = "x".repeat(256);
    for title in ["", "a\tb", long.as_str()] {
        let update = IncidentUpdated { title: Some(Text::plain(title)), ..IncidentUpdated::default() };
        let command = Command::Record { payload: payload(Kind::IncidentUpdated(update)) };
        assert!(refused(&mut world, "operator", &command).contains("title"), "{title:?}");
    }
    let update = IncidentUpdated { message: Some(Text::plain("still down")), ..IncidentUpdated::default() };
    let command = Command::Record { payload: payload(Kind::IncidentUpdated(update)) };
    assert_eq!(world.say("operator", &command), Ok(Answer::Recorded));
}

#[test]
fn resolving_needs_a_whole_resolution() {
    let whole = ResolutionInput {
        summary: "rolled back".to_owned(),
        kind: ResolutionType::Fixed,
        resolved_by: "oncall".to_owned(),
    };
    let parts = [
        None,
        Some(ResolutionInput { summary: " ".to_owned(), ..whole.clone() }),
        Some(ResolutionInput { kind: ResolutionType::ResolutionUnspecified, ..whole.clone() }),
        Some(ResolutionInput { resolved_by: String::new(), ..whole }),
    ];
    let mut world = World::open(Severity::P1);
    for resolution in parts {
        let command = Command::ChangeStatus {
            to: State::Resolved,
            reason: String::new(),
            justification: String::new(),
            resolution,
        };
        assert!(refused(&mut world, "oncall", &command).starts_with("resolving needs a resolution"));
    }
    world.say("oncall", &status(State::Resolved)).unwrap();
    let resolution = world.head.state.resolution.as_ref().unwrap();
    assert_eq!((resolution.r#type(), resolution.resolved_by.as_str()), (ResolutionType::Fixed, "oncall"));
    assert_eq!(world.say("oncall", &status(State::Resolved)), Ok(Answer::Unchanged));
}

#[test]
fn cancelling_needs_a_reason() {
    let mut world = World::open(Severity::P1);
    let command = Command::ChangeStatus {
        to: State::Cancelled,
        reason: " ".to_owned(),
        justification: String::new(),
        resolution: None,
    };
    assert_eq!(refused(&mut world, "operator", &command), "cancelling needs a reason");
    let Command::ChangeStatus { to, justification, resolution, .. } = command else { panic!() };
    let long = Command::ChangeStatus { to, reason: "x".repeat(65_537), justification, resolution };
    assert_eq!(refused(&mut world, "operator", &long), "reason has more than 64 KiB");
    world.say("operator", &status(State::Cancelled)).unwrap();
    assert_eq!(world.head.state.state(), State::Cancelled);
}

#[test]
fn emergency_override_needs_a_justification_of_twenty_characters() {
    for (justification, accepted) in [
        ("", false),
        ("nineteen characters", false),
        ("    x               ", false),
        ("twenty characters ok", true),
    ] {
        let mut world = World::open(Severity::P1);
        let context = Context { authority: Authority::EmergencyOverride, ..world.context("oncall") };
        let command = Command::ChangeStatus {
            to: State::Mitigating,
            reason: String::new(),
            justification: justification.to_owned(),
            resolution: None,
        };
        assert_eq!(world.say_as(&context, &command).is_ok(), accepted, "{justification:?}");
    }
}

fn published(world: &mut World) {
    world.say("oncall", &status(State::Resolved)).unwrap();
    let page = PostMortemPublished {
        attempt: 1,
        digest: DIGEST.to_vec(),
        page_id: "42".to_owned(),
        url: "https://wiki/42".to_owned(),
    };
    let command = Command::Record { payload: payload(Kind::PostMortemPublished(page)) };
    world.say("operator", &command).unwrap();
}

#[test]
fn sign_off_is_of_the_page_that_is_published() {
    let sign_off = |digest: String| Command::SignOff { digest };
    let mut world = World::open(Severity::P1);
    world.say("oncall", &status(State::Resolved)).unwrap();
    let right = hex::encode(DIGEST);
    assert!(refused(&mut world, "commander", &sign_off(right.clone())).contains("publish it first"));

    let mut world = World::open(Severity::P1);
    published(&mut world);
    for wrong in [String::new(), "08".repeat(32)] {
        assert!(refused(&mut world, "commander", &sign_off(wrong)).contains("published again"));
    }
    world.say("commander", &sign_off(right)).unwrap();
    let record = &world.sealed.last().unwrap().record;
    assert_eq!(record.cause.as_ref().unwrap().step, "sign-off", "what the records of sign-offs always said");
    assert_eq!(world.head.state.state(), State::Closed);
    assert_eq!(world.head.state.review.as_ref().unwrap().signed_off_by, "commander");
}

#[test]
fn closing_without_sign_off_is_refused_where_a_review_is_required() {
    for (severity, closes) in
        [(Severity::P1, false), (Severity::P2, false), (Severity::P3, true), (Severity::P4, true)]
    {
        let mut world = World::open(severity);
        world.say("oncall", &status(State::Resolved)).unwrap();
        let answer = world.say("commander", &Command::Close);
        assert_eq!(answer.is_ok(), closes, "{severity:?}");
        assert_eq!(world.head.state.state() == State::Closed, closes);
    }
}

/// Three gates: a remediation's, the close-out's and the review's.
fn three_gates() -> World {
    let mut world = World::open(Severity::P1);
    world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval");
    world.ask(WorkflowType::CloseOut, GateKind::CloseOut, "approval");
    world.ask(WorkflowType::PostMortem, GateKind::PublishReview, "publish");
    world
}

fn gates(world: &World) -> Vec<(&str, &str)> {
    world.head.state.gates.iter().map(|gate| (gate.blueprint.as_str(), gate.status.as_str())).collect()
}

#[test]
fn resolving_cancels_the_other_gates_but_not_the_reviews_nor_its_own() {
    let mut world = three_gates();
    let context = world.workflow_context(WorkflowType::CloseOut, "oncall");
    world.say_as(&context, &status(State::Resolved)).unwrap();
    assert_eq!(
        gates(&world),
        [("close-out", "pending"), ("post-mortem", "pending"), ("remediate", "cancelled")]
    );
    assert_eq!(world.wake, [workflow(WorkflowType::Remediate)]);

    for to in [State::Resolved, State::Cancelled] {
        let mut world = three_gates();
        world.say("oncall", &status(to)).unwrap();
        assert_eq!(
            gates(&world),
            [("close-out", "cancelled"), ("post-mortem", "pending"), ("remediate", "cancelled")]
        );
        let woken = [WorkflowType::CloseOut, WorkflowType::Remediate].map(workflow);
        assert_eq!(world.wake, woken);
    }
}

#[test]
fn closing_leaves_the_gate_on_archiving_the_channel_open() {
    let mut world = World::open(Severity::P3);
    world.say("oncall", &status(State::Resolved)).unwrap();
    world.ask(WorkflowType::CloseOut, GateKind::ArchiveChannel, "archive");
    world.say("commander", &Command::Close).unwrap();
    assert_eq!(gates(&world), [("close-out", "pending")]);
    assert!(world.wake.is_empty());
}

#[test]
fn severity_changes_only_while_something_can_be_done() {
    let change = |to| Command::ChangeSeverity { to, reason: String::new() };
    let mut world = World::open(Severity::P3);
    assert_eq!(world.say("manager", &change(Severity::P3)), Ok(Answer::Unchanged));
    assert!(refused(&mut world, "manager", &change(Severity::Unspecified)).contains("P1, P2, P3 or P4"));
    assert_eq!(world.say("manager", &change(Severity::P1)), Ok(Answer::Recorded));
    world.say("oncall", &status(State::Resolved)).unwrap();
    assert!(refused(&mut world, "manager", &change(Severity::P2)).contains("does not change"));
}

#[test]
fn records_that_have_a_command_of_their_own_are_not_taken_as_facts() {
    let mut world = World::open(Severity::P1);
    for kind in [
        Kind::RecordRedacted(RecordRedacted::default()),
        Kind::IncidentCreated(IncidentCreated::default()),
        Kind::ApprovalDecided(harmony_incidents::log::ApprovalDecided::default()),
        Kind::IncidentStatusChanged(harmony_incidents::log::IncidentStatusChanged::default()),
    ] {
        let command = Command::Record { payload: payload(kind) };
        assert!(refused(&mut world, "admin", &command).contains("only from its own command"));
    }
    let empty = Command::Record { payload: harmony_incidents::log::Payload::default() };
    assert_eq!(refused(&mut world, "admin", &empty), "there is nothing to record");
    let note = IncidentNoteAdded { note: Some(Text::plain("x".repeat(65_537))) };
    let command = Command::Record { payload: payload(Kind::IncidentNoteAdded(note)) };
    assert_eq!(refused(&mut world, "admin", &command), "note has more than 64 KiB");
}

#[test]
fn blueprint_that_may_not_start_is_refused_on_record_with_its_attempt() {
    let start = |kind| Command::StartBlueprint {
        workflow_id: workflow(kind),
        starter: "viewer".to_owned(),
        attested: true,
        target: None,
        refuse: None,
        input_text: String::new(),
    };
    let mut world = World::open(Severity::P1);
    for (actor, kind, expected) in [
        ("viewer", WorkflowType::Remediate, "OPEN to MITIGATING needs HUMAN_OPERATOR at least, not none"),
        (
            "oncall",
            WorkflowType::PostMortem,
            "incident.post-mortem needs an incident that is RESOLVED; it is OPEN",
        ),
    ] {
        let Ok(Answer::Refused { attempt: 1, reason }) = world.say(actor, &start(kind)) else {
            panic!("not refused")
        };
        assert_eq!(reason, expected);
    }
    let answer = world.say("oncall", &start(WorkflowType::Remediate));
    assert!(matches!(answer, Ok(Answer::Started { attempt: 2, severity: Severity::P1, .. })), "{answer:?}");
    let statuses: Vec<&str> =
        world.head.state.blueprints.iter().map(|blueprint| blueprint.status.as_str()).collect();
    assert_eq!(statuses, ["REFUSED", "RUNNING"]);
}

/// Starts a cell as a step of attempt `attempt` of the remediation.
fn start_cell(world: &mut World, attempt: u32, run: u32) -> Result<Answer, Refusal> {
    start_cell_to(world, "remediation", attempt, run)
}

fn start_cell_to(world: &mut World, purpose: &str, attempt: u32, run: u32) -> Result<Answer, Refusal> {
    let started = Kind::RunbookCellStarted(RunbookCellStarted {
        blueprint: "remediate".to_owned(),
        attempt,
        cell: "rollback".to_owned(),
        purpose: purpose.to_owned(),
        snapshot_sha256: "00".to_owned(),
        run,
    });
    let context = world.workflow_context(WorkflowType::Remediate, "operator");
    world.say_as(&context, &Command::Record { payload: payload(started) })
}

#[test]
fn cell_behind_a_checkpoint_starts_once_that_was_passed() {
    let mut world = World::waiting(Severity::P2);
    let gate = world.gate().clone();
    world.decide(decision(&gate, "commander", Decision::Approved, world.now));
    world.ask(WorkflowType::Remediate, GateKind::Checkpoint, "checkpoint/remediation/rollback");
    let refusal = start_cell(&mut world, 1, 1).unwrap_err().to_string();
    assert!(refusal.contains("checkpoint") && refusal.contains("is pending"), "{refusal}");
    let checkpoint = world.head.state.gates.iter().find(|gate| gate.kind == "checkpoint").unwrap().clone();
    let own = world.decide(decision(&checkpoint, "operator", Decision::Approved, world.now));
    assert!(format!("{own:?}").contains("four-eyes"), "{own:?}");
    world.decide(decision(&checkpoint, "commander", Decision::Approved, world.now));
    assert_eq!(start_cell(&mut world, 1, 1), Ok(Answer::Recorded));
}

#[test]
fn manual_step_is_confirmed_with_a_note_by_whoever_did_it() {
    let mut world = World::waiting(Severity::P2);
    let gate = world.gate().clone();
    world.decide(decision(&gate, "commander", Decision::Approved, world.now));
    world.ask(WorkflowType::Remediate, GateKind::ManualStep, "manual/remediation/call");
    let step = world.head.state.gates.iter().find(|gate| gate.kind == "manual-step").unwrap().clone();
    let mut input = decision(&step, "operator", Decision::Approved, world.now);
    let silent = world.decide(input.clone());
    assert!(
        format!("{silent:?}").contains("malformed: a manual step is confirmed with a note"),
        "{silent:?}"
    );
    input.payload.as_mut().unwrap().reason = Some("They gave us ten minutes".to_owned());
    let done = world.decide(input);
    assert!(format!("{done:?}").contains("accepted: true"), "{done:?}");
}

#[test]
fn dry_cell_starts_without_a_gate_and_only_where_a_dry_run_was_planned() {
    let mut world = World::open(Severity::P2);
    let begin = Command::StartBlueprint {
        workflow_id: workflow(WorkflowType::Remediate),
        starter: "operator".to_owned(),
        attested: true,
        target: None,
        refuse: None,
        input_text: String::new(),
    };
    let context = world.workflow_context(WorkflowType::Remediate, "operator");
    world.say_as(&context, &begin).unwrap();
    let refusal = start_cell_to(&mut world, "dry-run", 1, 1).unwrap_err().to_string();
    assert!(refusal.contains("no dry run was planned"), "{refusal}");
    let plan = |attempt: u32| {
        let planned = Kind::RunbookDryRunPlanned(RunbookDryRunPlanned {
            blueprint: "remediate".to_owned(),
            attempt,
            digest: vec![7; 32],
            cells: vec!["rollback".to_owned()],
            ..RunbookDryRunPlanned::default()
        });
        Command::Record { payload: payload(planned) }
    };
    let context = world.workflow_context(WorkflowType::Remediate, "operator");
    assert!(world.say_as(&context, &plan(2)).is_err(), "of a run that is not there");
    assert_eq!(world.say_as(&context, &plan(1)), Ok(Answer::Recorded));
    assert_eq!(start_cell_to(&mut world, "dry-run", 1, 1), Ok(Answer::Recorded));
    // It opens no way for the others.
    let refusal = start_cell(&mut world, 1, 1).unwrap_err().to_string();
    assert!(refusal.contains("nobody was asked"), "{refusal}");
    // Nor is a run that has asked for a gate a dry one.
    let mut world = World::waiting(Severity::P2);
    let context = world.workflow_context(WorkflowType::Remediate, "operator");
    assert!(world.say_as(&context, &plan(1)).is_err());
}

#[test]
fn cell_starts_only_behind_its_own_gate_and_while_its_incident_goes_on() {
    let refused = |world: &mut World, attempt: u32, run: u32, expected: &str| {
        let refusal = start_cell(world, attempt, run).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{expected}: {refusal}");
    };
    let mut world = World::open(Severity::P2);
    refused(&mut world, 1, 1, "nobody was asked");
    let mut world = World::waiting(Severity::P2);
    let gate = world.gate().clone();
    refused(&mut world, 1, 1, "is pending");
    world.decide(decision(&gate, "commander", Decision::Rejected, world.now));
    refused(&mut world, 1, 1, "is rejected");
    let mut world = World::waiting(Severity::P2);
    let gate = world.gate().clone();
    world.decide(decision(&gate, "commander", Decision::Approved, world.now));
    refused(&mut world, 2, 1, "nobody was asked");
    assert_eq!(start_cell(&mut world, 1, 1), Ok(Answer::Recorded));
    // Again only where somebody said so for this very cell.
    refused(&mut world, 1, 2, "nobody was asked");
    world.ask(WorkflowType::Remediate, GateKind::UnknownCell, "unknown/remediation/another");
    refused(&mut world, 1, 2, "nobody was asked");
    world.say("oncall", &status(State::Resolved)).unwrap();
    refused(&mut world, 1, 1, "is RESOLVED");
}
