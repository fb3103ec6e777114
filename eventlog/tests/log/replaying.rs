//! Replaying tells where a fold went another way, and nothing else.

use harmony_eventlog::replay::replay;
use harmony_incidents::{OrgId, log::Record, record};
use prost::Message as _;

use crate::{
    stores::{Backend, Damage, stories},
    world::{World, id, named, note},
};

stories! {
    replaying_names_the_first_state_that_is_another,
}

async fn replaying_names_the_first_state_that_is_another(on: Backend) {
    let world = World::told(on).await;
    let org = OrgId::default();
    let report = replay(world.log.as_ref(), &org).await.unwrap();
    assert_eq!((report.verified, report.incidents, report.records), (true, 2, 6), "{:?}", report.findings);

    // Bytes and hash fit each other, and the state they lead to is another: only folding tells.
    let row = world.log.rows(&org, &id(1), 2, 1).await.unwrap().remove(0);
    let mut record = Record::decode(row.canonical.as_slice()).unwrap();
    record.state_hash_after = vec![7; 32];
    let bytes = record.encode_to_vec();
    world.damage(Damage::Canonical { number: 1, seq: 3, bytes: &bytes }).await;
    world.damage(Damage::Hash { number: 1, seq: 3, bytes: &record::hash(&bytes) }).await;
    let report = replay(world.log.as_ref(), &org).await.unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    let found = &report.findings[0];
    assert_eq!((found.incident.as_str(), found.seq), ("INC-2026-0001", 3));
    assert!(
        found.problem.starts_with("folding it gives state ") && found.problem.ends_with(&"07".repeat(32))
    );
    assert!(!report.verified);

    // What it does not look at it does not tell: hashes are for verifying.
    let world = World::told(on).await;
    world.damage(Damage::Hash { number: 1, seq: 4, bytes: &[1; 32] }).await;
    assert!(replay(world.log.as_ref(), &org).await.unwrap().verified);
    world.damage(Damage::NoRecord { number: 1, seq: 2 }).await;
    world.damage(Damage::Canonical { number: 2, seq: 2, bytes: &[0xff] }).await;
    let report = replay(world.log.as_ref(), &org).await.unwrap();
    let found: Vec<_> = report.findings.iter().map(|one| (one.seq, one.problem.as_str())).collect();
    assert_eq!(found, [(2, "record 3 follows record 1"), (2, "the bytes are not a record")]);
    assert!(world.say(named(1), "n9", note("goes on")).await.is_ok());
}
