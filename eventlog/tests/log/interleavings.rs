//! Commands that come at once, in a thousand orders: no order leads to a state that the table forbids, and none undoes
//! RESOLVED. What is asked in the same order gives the same bytes, in every store and every time.

use std::collections::BTreeSet;

use harmony_eventlog::LogError;
use harmony_incidents::{
    Command, OrgId,
    log::{Record, Severity, State, payload::Kind},
    machine,
};
use prost::Message as _;
use tokio::task::JoinSet;

use crate::{
    stores::{Backend, stories},
    world::{Ask, World, ask, context, declaration, exported, id, named, new, note, say, status, tell},
};

stories! {
    no_order_of_commands_leads_where_the_table_forbids,
    same_appends_give_the_same_export_in_every_store,
}

/// Interleavings in all, over the rounds below. The rules are the same wherever they are kept, so that a store that is
/// slower to set up is asked for fewer, unless the scale is full.
fn interleavings(on: Backend) -> u64 {
    let is_full = std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full");
    if is_full || on == Backend::Sqlite { 1_000 } else { 200 }
}

/// Incidents that are worked on side by side in one round.
const SIDE_BY_SIDE: u64 = 50;

/// A generator that gives the same orders every time (splitmix64).
struct Orders(u64);

impl Orders {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.next()).unwrap_or(usize::MAX) % (last + 1);
            items.swap(last, other);
        }
    }
}

/// What several people may want of one incident at the same time.
fn wanted() -> Vec<Command> {
    let severity = |to| Command::ChangeSeverity { to, reason: "worse".to_owned() };
    vec![
        status(State::Open),
        status(State::Mitigating),
        status(State::Resolved),
        status(State::Resolved),
        status(State::Closed),
        status(State::Cancelled),
        status(State::Archived),
        status(State::Open),
        severity(Severity::P1),
        note("meanwhile"),
    ]
}

async fn no_order_of_commands_leads_where_the_table_forbids(on: Backend) {
    let mut orders = Orders(7);
    let mut endings = BTreeSet::new();
    for round in 0..interleavings(on) / SIDE_BY_SIDE {
        let world = World::new(on).await;
        let mut tasks = JoinSet::new();
        for number in 1..=SIDE_BY_SIDE {
            let key = format!("{round}-{number}");
            world.say(new(), &key, declaration("Storm", Severity::P3)).await.unwrap();
        }
        for number in 1..=SIDE_BY_SIDE {
            let mut commands = wanted();
            orders.shuffle(&mut commands);
            // Two ask at once, each in an order of their own.
            let second = commands.split_off(commands.len() / 2);
            for (half, commands) in [commands, second].into_iter().enumerate() {
                let log = world.log.clone();
                tasks.spawn(async move {
                    for (index, command) in commands.into_iter().enumerate() {
                        let key = format!("{round}-{number}-{half}-{index}");
                        match say(&log, ask(named(number), &key, command)).await {
                            Ok(_) | Err(LogError::Refused(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
        }
        tasks.join_all().await;
        for number in 1..=SIDE_BY_SIDE {
            endings.insert(walked(&world, number).await);
        }
        world.verified().await;
    }
    assert!(endings.len() >= 4, "the orders led to different ends: {endings:?}");
}

/// Walks an incident's records along the table; gives the state it ends in.
async fn walked(world: &World, number: u64) -> String {
    let mut state = State::Unspecified;
    let mut was_resolved = false;
    for row in world.log.rows(&OrgId::default(), &id(number), 0, 100).await.unwrap() {
        let record = Record::decode(row.canonical.as_slice()).unwrap();
        let to = match record.payload.unwrap().kind.unwrap() {
            Kind::IncidentCreated(_) => State::Pending,
            Kind::IncidentStatusChanged(changed) => changed.to(),
            _ => continue,
        };
        let authority = context(crate::world::begin()).authority;
        let allowed = machine::transition(state, to, authority, false);
        assert!(matches!(allowed, Ok(Some(_))), "incident {number}: {state:?} → {to:?}: {allowed:?}");
        was_resolved |= to == State::Resolved;
        assert!(!was_resolved || matches!(to, State::Resolved | State::Closed | State::Archived));
        state = to;
    }
    let told = world.log.state(&OrgId::default(), &id(number)).await.unwrap().unwrap();
    assert_eq!(told.state(), state);
    state.as_str_name().to_owned()
}

/// Declarations, changes, texts, gates, refusals and a redaction, one after the other.
async fn story(log: &harmony_eventlog::SharedLog) {
    tell(log).await;
    let mut asks: Vec<Ask> = Vec::new();
    for number in 0..120_u64 {
        let key = format!("more-{number}");
        let target = named(number % 2 + 1);
        asks.push(match number % 6 {
            0 => ask(new(), &key, declaration(&format!("Incident {number} ü"), Severity::P2)),
            1 => ask(target, &key, note(&"long ".repeat(200))),
            2 => ask(target, &key, note("a\0b\n\"quoted\" 💥")),
            // Refused, and without a trace.
            3 => ask(target, &key, status(State::Closed)),
            // Asked for twice.
            4 => ask(named(1), "n1", note("disk full")),
            _ => ask(target, &key, note(&format!("note {number}"))),
        });
    }
    asks.push(ask(named(1), "gate", crate::world::gate_request(1)));
    asks.push(ask(named(1), "resolve", status(State::Resolved)));
    let redact = Command::Redact { seq: 3, field: None, reason: "a name".to_owned() };
    asks.push(ask(named(2), "redact", redact));
    for asked in asks {
        match say(log, asked).await {
            Ok(_) | Err(LogError::Refused(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn same_appends_give_the_same_export_in_every_store(on: Backend) {
    let one = World::new(on).await;
    story(&one.log).await;
    let export = one.exported(None).await;
    assert!(export.lines().count() > 90);
    // A second run in a fresh store, and a run in the default one.
    for other in [on, Backend::Sqlite] {
        let again = World::new(other).await;
        story(&again.log).await;
        assert!(
            export == exported(again.other().await, None).await,
            "{other:?} gives other bytes than {on:?}"
        );
    }
}
