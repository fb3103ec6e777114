//! Whatever is asked in whatever order: the table holds, nothing settled is undone, and the log alone gives the state.

use harmony_incidents::{
    Command, OrgId, WorkflowType,
    command::{Attested, Decision},
    judge::payload,
    log::{
        GateState, IncidentNoteAdded, IncidentState, Phase, PostMortemPublished, ResponderAssigned, Severity,
        State, Text, payload::Kind,
    },
    machine::phase_fits,
    policy::{GateKind, Manual},
    record::{self, ChainHead},
};
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::world::{DIGEST, World, decision, declaration, gate_request, incident, status, workflow};

/// Section 4 of the contract, written down a second time.
const TABLE: [(State, State); 11] = [
    (State::Unspecified, State::Pending),
    (State::Pending, State::Open),
    (State::Pending, State::Cancelled),
    (State::Open, State::Cancelled),
    (State::Open, State::Mitigating),
    (State::Open, State::Resolved),
    (State::Mitigating, State::Resolved),
    (State::Resolved, State::Closed),
    (State::Resolved, State::Archived),
    (State::Closed, State::Archived),
    (State::Cancelled, State::Archived),
];

const ACTORS: [&str; 7] = ["operator", "commander", "oncall", "manager", "admin", "viewer", "nobody"];
const GATES: [(WorkflowType, GateKind, &str); 4] = [
    (WorkflowType::Remediate, GateKind::Remediate, "approval"),
    (WorkflowType::Remediate, GateKind::UnknownCell, "unknown-cell"),
    (WorkflowType::CloseOut, GateKind::CloseOut, "approval"),
    (WorkflowType::PostMortem, GateKind::PublishReview, "publish"),
];

#[derive(Debug, Clone)]
enum Step {
    Declare(i32),
    Status(i32),
    Phase(i32),
    Severity(i32),
    Start(usize),
    Open(usize),
    Decide { gate: usize, approved: bool, attested: u8, named: bool },
    Expire(usize),
    CancelGate(usize),
    Note(String),
    Assign(usize),
    Publish,
    SignOff(bool),
    Close,
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..5).prop_map(Step::Declare),
        6 => (0..8).prop_map(Step::Status),
        2 => (1..9).prop_map(Step::Phase),
        1 => (0..5).prop_map(Step::Severity),
        3 => (0..4_usize).prop_map(Step::Start),
        5 => (0..4_usize).prop_map(Step::Open),
        6 => (0..4_usize, any::<bool>(), 0..4_u8, any::<bool>())
            .prop_map(|(gate, approved, attested, named)| Step::Decide { gate, approved, attested, named }),
        4 => (0..4_usize).prop_map(Step::Expire),
        1 => (0..4_usize).prop_map(Step::CancelGate),
        2 => "[a-zäß ]{0,12}".prop_map(Step::Note),
        1 => (0..7_usize).prop_map(Step::Assign),
        1 => Just(Step::Publish),
        2 => any::<bool>().prop_map(Step::SignOff),
        1 => Just(Step::Close),
        3 => (1..20_000_i64).prop_map(Step::Wait),
    ]
}

fn story() -> impl Strategy<Value = Vec<(usize, Step)>> {
    prop::collection::vec((0..ACTORS.len(), step()), 1..60).prop_map(|mut steps| {
        // Most stories begin as stories do, so that what comes after is reached.
        steps.insert(0, (0, Step::Declare(1)));
        steps.insert(1, (0, Step::Status(State::Open as i32)));
        steps
    })
}

fn gate_at(state: &IncidentState, index: usize) -> Option<&GateState> {
    state.gates.get(index % state.gates.len().max(1))
}

fn command(world: &World, actor: &str, step: &Step) -> Option<Command> {
    let state = &world.head.state;
    Some(match step {
        Step::Declare(severity) => declaration("Checkout is down", Severity::try_from(*severity).unwrap()),
        Step::Status(to) => status(State::try_from(*to).unwrap()),
        Step::Phase(phase) => Command::EnterPhase { phase: Phase::try_from(*phase).unwrap() },
        Step::Severity(to) => {
            Command::ChangeSeverity { to: Severity::try_from(*to).unwrap(), reason: String::new() }
        }
        Step::Start(kind) => Command::StartBlueprint {
            workflow_id: workflow(WorkflowType::BLUEPRINTS[*kind]),
            starter: actor.to_owned(),
            attested: true,
            target: None,
            refuse: None,
            input_text: String::new(),
        },
        Step::Open(index) => {
            let (kind, gate, step) = GATES[*index];
            Command::OpenGate { request: Box::new(gate_request(kind, gate, step)) }
        }
        Step::Decide { gate, approved, attested, named } => {
            let gate = gate_at(state, *gate)?;
            let verdict = if *approved { Decision::Approved } else { Decision::Rejected };
            let mut input = decision(gate, actor, verdict, world.now);
            if !named {
                let payload = input.payload.as_mut().unwrap();
                (payload.gate_id, payload.digest) = (None, None);
            }
            input.attested =
                [Attested::Yes, Attested::Yes, Attested::No, Attested::Forged][usize::from(*attested)];
            Command::Decide { input: Box::new(input) }
        }
        Step::Expire(gate) => {
            let gate = gate_at(state, *gate)?;
            Command::ExpireLevel { gate_id: gate.gate_id.clone(), level: gate.level }
        }
        Step::CancelGate(gate) => {
            let gate_id = gate_at(state, *gate)?.gate_id.clone();
            Command::CancelGate { gate_id, reason: "stopped".to_owned() }
        }
        Step::Note(note) => {
            let note = IncidentNoteAdded { note: Some(Text::plain(note)) };
            Command::Record { payload: payload(Kind::IncidentNoteAdded(note)) }
        }
        Step::Assign(who) => {
            let assigned = ResponderAssigned {
                role: "commander".to_owned(),
                principal: ACTORS[*who].to_owned(),
                empowered: false,
            };
            Command::Record { payload: payload(Kind::ResponderAssigned(assigned)) }
        }
        Step::Publish => {
            let page = PostMortemPublished { digest: DIGEST.to_vec(), ..PostMortemPublished::default() };
            Command::Record { payload: payload(Kind::PostMortemPublished(page)) }
        }
        Step::SignOff(right) => {
            Command::SignOff { digest: if *right { hex::encode(DIGEST) } else { "08".repeat(32) } }
        }
        Step::Close => Command::Close,
        Step::Wait(_) => return None,
    })
}

/// Tells a story and calls `each` with the state before and after every command.
fn tell(steps: &[(usize, Step)], each: impl Fn(&IncidentState, &IncidentState)) -> World {
    let mut world = World::empty();
    world.policy.manual_signals = Manual::Accept;
    for (actor, step) in steps {
        let actor = ACTORS[*actor];
        if let Step::Wait(seconds) = step {
            world.pass(SignedDuration::from_secs(*seconds));
        }
        let Some(command) = command(&world, actor, step) else { continue };
        let context = match step {
            Step::Start(kind) => world.workflow_context(WorkflowType::BLUEPRINTS[*kind], actor),
            Step::Open(index) => world.workflow_context(GATES[*index].0, actor),
            _ => world.context(actor),
        };
        let before = world.head.state.clone();
        let refused = world.say_as(&context, &command).is_err();
        assert!(!refused || world.head.state == before, "a refusal leaves nothing behind");
        each(&before, &world.head.state);
    }
    world
}

fn table_holds(before: &IncidentState, after: &IncidentState) {
    let (from, to) = (before.state(), after.state());
    assert!(from == to || TABLE.contains(&(from, to)), "{from:?} became {to:?}");
    if from == State::Resolved {
        assert!(matches!(to, State::Resolved | State::Closed | State::Archived), "RESOLVED became {to:?}");
    }
    if !matches!(to, State::Unspecified | State::Cancelled | State::Archived) {
        assert!(phase_fits(to, after.phase()), "{:?} stands beside {to:?}", after.phase());
    }
    if matches!(from, State::Unspecified) && to == State::Unspecified {
        assert_eq!(after.seq, 0);
    }
}

fn gates_hold(before: &IncidentState, after: &IncidentState) {
    for old in &before.gates {
        let new = after.gates.iter().find(|gate| gate.gate_id == old.gate_id).expect("no gate is forgotten");
        if old.status != "pending" {
            let count_apart = GateState { refusals: old.refusals, ..new.clone() };
            assert_eq!(&count_apart, old, "what was settled stays settled");
        }
        // Only a change of severity takes a gate back to its first level and its clock to the start.
        let same_clock = new.level >= old.level && (new.due_us == old.due_us || new.level > old.level);
        assert!(same_clock || new.plans > old.plans);
        if new.status == "approved" && new.four_eyes && !new.break_glass {
            assert_ne!(new.decided_by, new.requester);
        }
    }
    if matches!(after.state(), State::Resolved | State::Cancelled) && before.state() != after.state() {
        let open = |gate: &&GateState| gate.status == "pending" && gate.blueprint != "post-mortem";
        assert_eq!(after.gates.iter().filter(open).count(), 0);
    }
}

fn bytes(world: &World) -> Vec<&[u8]> {
    world.sealed.iter().map(|one| one.canonical.as_slice()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_story_leaves_the_table_or_undoes_what_was_settled(steps in story()) {
        tell(&steps, |before, after| {
            table_holds(before, after);
            gates_hold(before, after);
        });
    }

    #[test]
    fn folding_the_records_gives_the_heads_state_and_the_same_story_the_same_bytes(steps in story()) {
        let world = tell(&steps, |_, _| {});
        let mut head = ChainHead::default();
        for one in &world.sealed {
            let (record, next) =
                record::check(&OrgId::default(), &incident(), head, &one.canonical, &one.hash).unwrap();
            prop_assert_eq!(&record, &one.record);
            head = next;
        }
        prop_assert_eq!(&head, &world.head);
        prop_assert_eq!(record::state_hash(&head.state), record::state_hash(&world.head.state));
        let again = tell(&steps, |_, _| {});
        prop_assert_eq!(bytes(&world), bytes(&again));
    }
}
