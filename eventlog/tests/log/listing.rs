//! Lists: what they filter, in which order, and that no organisation sees another's rows.

use harmony_eventlog::{Filter, Place, Sort, Target};
use harmony_incidents::{
    Command, IncidentId, OrgId,
    command::Attested,
    judge::payload,
    log::{IncidentCreated, IncidentSignalIngested, Phase, Severity, State, Text, payload::Kind},
};

use crate::stores::{Backend, Damage, stories};
use crate::world::{
    Ask, World, ask, begin, decision, declaration, gate_request, id, named, new, note, say, status,
};

stories! {
    newest_come_first_and_filters_narrow,
    numbers_beyond_four_digits_keep_their_order,
    organisations_never_see_each_others_rows,
    every_filter_narrows_by_its_own_word,
    incident_is_listed_as_waiting_while_a_gate_of_it_waits,
    pages_of_every_order_survive_what_is_declared_meanwhile,
}

async fn listed(world: &World, filter: Filter) -> Vec<String> {
    let states = world.log.list(&OrgId::default(), &filter).await.unwrap();
    states.into_iter().map(|state| state.incident).collect()
}

fn all() -> Filter {
    Filter { limit: 100, ..Filter::default() }
}

fn behind(incident: IncidentId) -> Option<Place> {
    Some(Place { incident, severity: String::new() })
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

async fn newest_come_first_and_filters_narrow(on: Backend) {
    let world = World::told(on).await;
    let last_year = Target::New { year: 2025 };
    world.say(last_year, "old", declaration("Überlast im Lager", Severity::P1)).await.unwrap();
    let every = ["INC-2026-0002", "INC-2026-0001", "INC-2025-0001"];
    let checks = [
        (all(), every.to_vec()),
        (Filter { states: words(&["PENDING"]), ..all() }, vec![every[0], every[2]]),
        (Filter { states: words(&["OPEN", "CLOSED"]), ..all() }, vec![every[1]]),
        (Filter { severities: words(&["P1", "P2"]), ..all() }, vec![every[1], every[2]]),
        (Filter { states: words(&["PENDING"]), severities: words(&["P1"]), ..all() }, vec![every[2]]),
        (Filter { search: words(&["CHECKOUT"]), ..all() }, vec![every[1]]),
        (Filter { search: words(&["Überlast"]), ..all() }, vec![every[2]]),
        (Filter { search: words(&["im lager", "last"]), ..all() }, vec![every[2]]),
        (Filter { search: words(&["100%_"]), ..all() }, vec![]),
        (Filter { search: words(&["disk full"]), ..all() }, vec![]),
        (Filter { limit: 2, ..Filter::default() }, every[..2].to_vec()),
        (Filter { after: behind(id(2)), ..all() }, every[1..].to_vec()),
        (Filter { after: behind(IncidentId::new(2025, 1)), ..all() }, vec![]),
        (Filter::default(), vec![]),
    ];
    for (filter, expected) in checks {
        assert_eq!(listed(&world, filter.clone()).await, expected, "{filter:?}");
    }
    world.say(named(2), "s2", status(State::Cancelled)).await.unwrap();
    assert_eq!(listed(&world, Filter { states: words(&["CANCELLED"]), ..all() }).await, [every[0]]);
}

async fn numbers_beyond_four_digits_keep_their_order(on: Backend) {
    let world = World::new(on).await;
    world.say(new(), "d1", declaration("Disk full", Severity::P4)).await.unwrap();
    world.damage(Damage::Renumbered { from: 1, to: 9_999 }).await;
    world.say(new(), "d2", declaration("Disk full", Severity::P4)).await.unwrap();
    // The state of what was INC-2026-0001 still says so; the row stands for INC-2026-9999.
    for (before, expected) in
        [(10_001, vec!["INC-2026-10000", "INC-2026-0001"]), (10_000, vec!["INC-2026-0001"]), (9_999, vec![])]
    {
        assert_eq!(listed(&world, Filter { after: behind(id(before)), ..all() }).await, expected);
    }
}

async fn organisations_never_see_each_others_rows(on: Backend) {
    let world = World::told(on).await;
    let acme: OrgId = "acme".parse().unwrap();
    let declared = ask(new(), "d1", declaration("Acme is down", Severity::P4));
    say(&world.log, Ask { org: acme.clone(), ..declared }).await.unwrap();

    let listed = world.log.list(&acme, &all()).await.unwrap();
    let titles: Vec<String> =
        listed.into_iter().map(|state| state.title.unwrap().shown().to_owned()).collect();
    assert_eq!(titles, ["Acme is down"]);
    let search = Filter { search: words(&["checkout"]), ..all() };
    assert!(world.log.list(&acme, &search).await.unwrap().is_empty());
    assert_eq!(world.log.records(&acme, &id(1), 0, 100).await.unwrap().len(), 1);
    assert_eq!(world.log.state(&acme, &id(2)).await.unwrap(), None);
    let theirs = Ask { org: acme.clone(), ..ask(named(2), "n", note("x")) };
    let error = say(&world.log, theirs).await.unwrap_err();
    assert_eq!(error.to_string(), "incident INC-2026-0002 does not exist");
    let report = world.log.verify(&acme).await.unwrap();
    assert_eq!((report.incidents, report.records, report.verified), (1, 1, true));
    assert_eq!(world.log.verify(&OrgId::default()).await.unwrap().records, 6);

    // Damage of one is not the other's.
    world.store.damage(&acme, Damage::Hash { number: 1, seq: 1, bytes: &[0] }).await;
    assert!(!world.log.verify(&acme).await.unwrap().verified);
    world.verified().await;
}

async fn incident_is_listed_as_waiting_while_a_gate_of_it_waits(on: Backend) {
    let world = World::told(on).await;
    let waiting = Filter { waiting: true, ..all() };
    assert!(listed(&world, waiting.clone()).await.is_empty());
    world.say(named(1), "gate", gate_request(1)).await.unwrap();
    assert_eq!(listed(&world, waiting.clone()).await, ["INC-2026-0001"]);
    assert!(listed(&world, Filter { states: words(&["PENDING"]), ..waiting.clone() }).await.is_empty());
    world.verified().await;
    let input = decision(&world.gate(1).await, "one", Attested::Yes, begin());
    world.say(named(1), "decision/one", Command::Decide { input: Box::new(input) }).await.unwrap();
    assert!(listed(&world, waiting).await.is_empty());
    world.verified().await;
}

fn placed(title: &str, service: &str, environment: &str, project: &str, key: &str) -> Command {
    let incident = IncidentCreated {
        title: Some(Text::plain(title)),
        severity: Severity::P2.into(),
        service_name: service.to_owned(),
        environment: environment.to_owned(),
        project_id: project.to_owned(),
        initial_correlation_key: key.to_owned(),
        ..IncidentCreated::default()
    };
    Command::Declare { incident }
}

fn signal(key: &str) -> Command {
    let signal = IncidentSignalIngested {
        source: "prometheus".to_owned(),
        correlation_key: key.to_owned(),
        ..IncidentSignalIngested::default()
    };
    Command::Record { payload: payload(Kind::IncidentSignalIngested(signal)) }
}

async fn every_filter_narrows_by_its_own_word(on: Backend) {
    let world = World::new(on).await;
    world.say(new(), "d1", placed("One", "checkout", "production", "shop", "5xx")).await.unwrap();
    world.say(new(), "d2", placed("Two", "search", "production", "shop", "")).await.unwrap();
    world.say(new(), "d3", placed("Three", "search", "staging", "lab", "5xx-search")).await.unwrap();
    world.say(named(2), "g2", signal("latency")).await.unwrap();
    world.say(named(1), "s1", status(State::Open)).await.unwrap();
    world.say(named(1), "s2", status(State::Mitigating)).await.unwrap();
    for phase in [Phase::Verifying, Phase::Verified] {
        let key = format!("{phase:?}");
        world.say(named(1), &key, Command::EnterPhase { phase }).await.unwrap();
    }
    let (one, two, three) = ("INC-2026-0001", "INC-2026-0002", "INC-2026-0003");
    for (filter, expected) in [
        (Filter { services: words(&["search"]), ..all() }, vec![three, two]),
        (Filter { services: words(&["search"]), limit: 1, ..Filter::default() }, vec![three]),
        (Filter { services: words(&["sear"]), ..all() }, vec![]),
        (Filter { environments: words(&["production"]), ..all() }, vec![two, one]),
        (Filter { environments: words(&["production", "staging"]), ..all() }, vec![three, two, one]),
        (Filter { projects: words(&["lab"]), ..all() }, vec![three]),
        (Filter { projects: words(&["shop"]), services: words(&["search"]), ..all() }, vec![two]),
        (Filter { statuses: words(&["MITIGATED"]), ..all() }, vec![one]),
        (Filter { statuses: words(&["OPEN"]), ..all() }, vec![three, two]),
        (Filter { statuses: words(&["INVESTIGATING"]), ..all() }, vec![]),
        // A key is found by its whole self, not as the beginning of another.
        (Filter { correlation_keys: words(&["5xx"]), ..all() }, vec![one]),
        (Filter { correlation_keys: words(&["latency"]), ..all() }, vec![two]),
        (Filter { correlation_keys: words(&["latency", "5xx-search"]), ..all() }, vec![three, two]),
        (Filter { correlation_keys: words(&["xx"]), ..all() }, vec![]),
        (Filter { search: words(&["t", "o"]), ..all() }, vec![two]),
        (Filter { sort: Sort::OldestFirst, ..all() }, vec![one, two, three]),
    ] {
        assert_eq!(listed(&world, filter.clone()).await, expected, "{filter:?}");
    }
    world.verified().await;
}

async fn pages_of_every_order_survive_what_is_declared_meanwhile(on: Backend) {
    let severities = [Severity::P3, Severity::P1, Severity::P2, Severity::P1, Severity::P3, Severity::P4];
    for (sort, expected) in [
        (Sort::NewestFirst, [6, 5, 4, 3, 2, 1]),
        (Sort::OldestFirst, [1, 2, 3, 4, 5, 6]),
        (Sort::MostSevereFirst, [4, 2, 3, 5, 1, 6]),
    ] {
        let world = World::new(on).await;
        for (index, severity) in severities.into_iter().enumerate() {
            world.say(new(), &format!("d{index}"), declaration("Disk full", severity)).await.unwrap();
        }
        let mut seen = Vec::new();
        let mut filter = Filter { sort, limit: 2, ..Filter::default() };
        for page in 0..3 {
            let states = world.log.list(&OrgId::default(), &filter).await.unwrap();
            filter.after = Place::of(states.last().unwrap());
            seen.extend(states.into_iter().map(|state| state.incident));
            // It stands before what was seen, or behind everything.
            world.say(new(), &format!("m{page}"), declaration("Meanwhile", Severity::P1)).await.unwrap();
        }
        assert_eq!(seen, expected.map(|number| id(number).to_string()), "{sort:?}");
    }
}
