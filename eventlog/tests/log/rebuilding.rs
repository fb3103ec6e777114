//! Projections are made again from the records.

use harmony_eventlog::{LogError, rebuild::Rebuilt};
use harmony_incidents::{
    OrgId,
    log::{Severity, State},
};

use crate::{
    stores::{Backend, Damage, stories},
    world::{World, declaration, id, named, new, status},
};

stories! {
    damaged_projections_are_made_again,
    projections_are_not_made_from_a_damaged_log,
}

async fn rebuilt(world: &World) -> Result<Rebuilt, LogError> {
    world.store.rebuild(&OrgId::default()).await
}

async fn damaged_projections_are_made_again(on: Backend) {
    let world = World::told(on).await;
    let listed = world.log.list(&OrgId::default(), &all()).await.unwrap();
    let whole = Rebuilt { streams: 2, records: 6, mended: 0 };
    assert_eq!(rebuilt(&world).await.unwrap(), whole);
    for (damages, mended) in [
        (vec![Damage::NoProjection { number: 1 }, Damage::NoProjection { number: 2 }], 2),
        (vec![Damage::State { number: 1, bytes: &[0xff] }], 1),
        (vec![Damage::State { number: 2, bytes: &[] }], 1),
        // One stands where there is no record, the other has none.
        (vec![Damage::Renumbered { from: 2, to: 7 }], 2),
    ] {
        for damage in &damages {
            world.damage(*damage).await;
        }
        assert!(!world.log.verify(&OrgId::default()).await.unwrap().verified, "{damages:?}");
        assert_eq!(rebuilt(&world).await.unwrap(), Rebuilt { mended, ..whole }, "{damages:?}");
        world.verified().await;
        assert_eq!(world.log.list(&OrgId::default(), &all()).await.unwrap(), listed, "{damages:?}");
    }
    // The log goes on where it was.
    world.say(named(1), "s9", status(State::Mitigating)).await.unwrap();
    let next = world.say(new(), "d9", declaration("Search is slow", Severity::P3)).await.unwrap();
    assert_eq!(next.incident(), Some(id(3)));
    world.verified().await;
}

fn all() -> harmony_eventlog::Filter {
    harmony_eventlog::Filter { limit: 10, ..harmony_eventlog::Filter::default() }
}

async fn projections_are_not_made_from_a_damaged_log(on: Backend) {
    let world = World::told(on).await;
    world.damage(Damage::NoProjection { number: 2 }).await;
    world.damage(Damage::Hash { number: 1, seq: 3, bytes: &[0; 32] }).await;
    let error = rebuilt(&world).await.unwrap_err();
    assert!(matches!(error, LogError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("INC-2026-0001 seq 3"), "{error}");
    // Nothing was written of it.
    assert_eq!(world.log.state(&OrgId::default(), &id(2)).await.unwrap(), None);
}
