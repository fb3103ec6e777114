//! Lists: what they filter, in which order, and that no organisation sees another's rows.

use harmony_eventlog::{Filter, Target};
use harmony_incidents::{
    IncidentId, OrgId,
    log::{Severity, State},
};

use crate::stores::{Backend, Damage, stories};
use crate::world::{Ask, World, ask, declaration, id, named, new, note, say, status};

stories! {
    newest_come_first_and_filters_narrow,
    numbers_beyond_four_digits_keep_their_order,
    organisations_never_see_each_others_rows,
}

async fn listed(world: &World, filter: Filter) -> Vec<String> {
    let states = world.log.list(&OrgId::default(), &filter).await.unwrap();
    states.into_iter().map(|state| state.incident).collect()
}

fn all() -> Filter {
    Filter { limit: 100, ..Filter::default() }
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
        (Filter { search: Some("CHECKOUT".to_owned()), ..all() }, vec![every[1]]),
        (Filter { search: Some("Überlast".to_owned()), ..all() }, vec![every[2]]),
        (Filter { search: Some("im lager".to_owned()), ..all() }, vec![every[2]]),
        (Filter { search: Some("100%_".to_owned()), ..all() }, vec![]),
        (Filter { search: Some("disk full".to_owned()), ..all() }, vec![]),
        (Filter { limit: 2, ..Filter::default() }, every[..2].to_vec()),
        (Filter { before: Some(id(2)), ..all() }, every[1..].to_vec()),
        (Filter { before: Some(IncidentId::new(2025, 1)), ..all() }, vec![]),
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
        assert_eq!(listed(&world, Filter { before: Some(id(before)), ..all() }).await, expected);
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
    let search = Filter { search: Some("checkout".to_owned()), ..all() };
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
