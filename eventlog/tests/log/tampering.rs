//! Hands on the store itself: whatever they change is found, with incident and seq, and nothing panics on the way.

use harmony_eventlog::{
    Filter, Finding, LogError, export,
    export::Expected,
    open::{self, Access, Address},
};
use harmony_incidents::{Command, OrgId, command::Attested, log::State, record::SaltKey};

use crate::stores::{Backend, Beside, Damage, sql_stories, stories};
use crate::world::{World, begin, decision, gate_request, id, named, status};

stories! {
    untouched_log_is_verified,
    hands_on_the_store_are_found,
    flipped_bits_are_found_in_every_record_hash_and_text,
    damage_is_told_in_one_line_by_whoever_reads,
    bytes_moved_between_a_salt_and_its_text_are_found,
}

mod with_the_salt_key {
    use super::*;

    sql_stories! {
        salts_that_the_key_does_not_give_are_found,
    }

    async fn salts_that_the_key_does_not_give_are_found(on: Backend) {
        let world = World::told(on).await;
        let address = Address::parse(&world.store.url()).unwrap();
        for (key, problem) in [
            (None, None),
            (Some(crate::world::salt()), None),
            (
                Some(SaltKey::parse(&"a5".repeat(32)).unwrap()),
                Some("the salt of title is not the one that the salt key gives"),
            ),
        ] {
            let log = open::open(&address, Access::Audit(key), 1).await.unwrap();
            let report = log.verify(&OrgId::default()).await.unwrap();
            assert_eq!(report.findings.first().map(|one| one.problem.as_str()), problem);
        }
    }
}

async fn findings(world: &World) -> Vec<Finding> {
    let report = world.log.verify(&OrgId::default()).await.unwrap();
    assert_eq!(report.verified, report.findings.is_empty());
    report.findings
}

async fn untouched_log_is_verified(on: Backend) {
    let world = World::told(on).await;
    world.say(named(1), "gate", gate_request(1)).await.unwrap();
    let input = Box::new(decision(&world.gate(1).await, "one", Attested::Yes, begin()));
    world.say(named(1), "decide", Command::Decide { input }).await.unwrap();
    world.say(named(1), "resolve", status(State::Resolved)).await.unwrap();
    let report = world.log.verify(&OrgId::default()).await.unwrap();
    assert_eq!((report.incidents, report.records, report.verified), (2, 10, true));
    assert!(report.redacted.is_empty());
}

/// The first bit, the last, and one between that differs from place to place.
fn flips(bytes: &[u8], place: usize) -> Vec<Vec<u8>> {
    let bits = bytes.len() * 8;
    let flipped = |bit: usize| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    };
    [0, bits - 1, place * 137 % bits].map(flipped).to_vec()
}

/// Each damage of a record is found there, and gone when it is undone.
async fn found_and_mended<'b>(
    world: &World,
    (number, seq): (u64, u64),
    bytes: &'b [u8],
    flipped: &'b [Vec<u8>],
    damage: impl Fn(&'b [u8]) -> Damage<'b>,
) {
    for changed in flipped {
        world.damage(damage(changed)).await;
        let findings = findings(world).await;
        let told = findings.first().map(|one| (one.incident.clone(), one.seq));
        assert_eq!(told, Some((id(number).to_string(), seq)), "{:?}", damage(changed));
        world.damage(damage(bytes)).await;
    }
    world.verified().await;
}

async fn flipped_bits_are_found_in_every_record_hash_and_text(on: Backend) {
    let world = World::told(on).await;
    for number in [1, 2] {
        for row in world.log.rows(&OrgId::default(), &id(number), 0, 100).await.unwrap() {
            let seq = row.seq;
            let place = (number, seq);
            let which = usize::try_from(number * 7 + seq).unwrap();
            let (canonical, hash) = (flips(&row.canonical, which), flips(&row.hash, which));
            let damage = |bytes| Damage::Canonical { number, seq, bytes };
            found_and_mended(&world, place, &row.canonical, &canonical, damage).await;
            let damage = |bytes| Damage::Hash { number, seq, bytes };
            found_and_mended(&world, place, &row.hash, &hash, damage).await;
            for (field, (commitment, salt, text)) in &row.texts {
                for (what, bytes) in [
                    (Beside::Commitment, commitment.as_slice()),
                    (Beside::Salt, salt),
                    (Beside::Text, text.as_bytes()),
                ] {
                    let flipped = flips(bytes, which);
                    let damage = |bytes| Damage::Beside { number, seq, field, what, bytes };
                    found_and_mended(&world, place, bytes, &flipped, damage).await;
                }
            }
        }
    }
}

/// What is done to INC-2026-0001 and 2, where it is found, and what is said.
#[rustfmt::skip]
const HANDS: [(Damage<'_>, (u64, u64), &str); 11] = [
    (Damage::NoRecord { number: 1, seq: 1 }, (1, 1), "record 1 is missing"),
    (Damage::NoRecord { number: 1, seq: 2 }, (1, 2), "record 2 is missing"),
    (Damage::NoRecord { number: 1, seq: 4 }, (1, 4), "the log ends at 3, the projection was made from 4"),
    (Damage::Swapped { number: 1, from: 2, to: 3 }, (1, 2), "the record says it is default INC-2026-0001 seq 3"),
    (Damage::Canonical { number: 1, seq: 3, bytes: &[] }, (1, 3), "hash"),
    (Damage::Hash { number: 2, seq: 2, bytes: b"none" }, (2, 2), "hash"),
    (Damage::NoText { number: 2, seq: 2, field: "note" }, (2, 2), "the text of note is missing"),
    (Damage::Beside { number: 1, seq: 3, field: "note", what: Beside::Text, bytes: &[0xff] }, (1, 3), "the text of note is not"),
    (Damage::NoProjection { number: 2 }, (2, 2), "the incident has no projection"),
    (Damage::State { number: 1, bytes: &[0xff] }, (1, 4), "the projection is unreadable"),
    (Damage::State { number: 1, bytes: &[] }, (1, 4), "not what the log folds to"),
];

async fn hands_on_the_store_are_found(on: Backend) {
    for (damage, (number, seq), problem) in HANDS {
        let world = World::told(on).await;
        world.damage(damage).await;
        let findings = findings(&world).await;
        let place = (id(number).to_string(), seq);
        let found = findings
            .iter()
            .any(|one| (one.incident.clone(), one.seq) == place && one.problem.contains(problem));
        assert!(found, "{damage:?}\n{findings:?}");
        read_all(&world).await;
    }
}

/// Readers may refuse what they meet; they never fall over it.
pub(crate) async fn read_all(world: &World) {
    for number in [1, 2] {
        drop(world.log.state(&OrgId::default(), &id(number)).await);
        drop(world.log.records(&OrgId::default(), &id(number), 0, 100).await);
        drop(world.log.rows(&OrgId::default(), &id(number), 0, 100).await);
    }
    drop(world.log.list(&OrgId::default(), &Filter { limit: 9, ..Filter::default() }).await);
}

/// A salt and a text of the same bytes in the same order, so of the same hash, with the border moved.
fn moved(salt: &[u8], text: &str, by: isize) -> Option<(Vec<u8>, String)> {
    let whole = [salt, text.as_bytes()].concat();
    let (salt, text) = whole.split_at(salt.len().checked_add_signed(by)?);
    Some((salt.to_vec(), String::from_utf8(text.to_vec()).ok()?))
}

async fn bytes_moved_between_a_salt_and_its_text_are_found(on: Backend) {
    let world = World::told(on).await;
    let (mut into_salts, mut into_texts) = (0, 0);
    for number in [1, 2] {
        for row in world.log.rows(&OrgId::default(), &id(number), 0, 100).await.unwrap() {
            let seq = row.seq;
            for (field, (_, salt, text)) in &row.texts {
                for by in [1, 5, isize::try_from(text.len()).unwrap(), -1] {
                    let Some((other_salt, other_text)) = moved(salt, text, by) else { continue };
                    *(if by > 0 { &mut into_salts } else { &mut into_texts }) += 1;
                    for (what, bytes) in
                        [(Beside::Salt, other_salt.as_slice()), (Beside::Text, other_text.as_bytes())]
                    {
                        world.damage(Damage::Beside { number, seq, field, what, bytes }).await;
                    }
                    let problem = format!("the text of {field} is not the one that was recorded");
                    let found = findings(&world).await;
                    let expected = Finding { incident: id(number).to_string(), seq, problem };
                    assert_eq!(found, [expected], "by {by}");
                    let file = world.exported(None).await;
                    let report = export::verify(file.as_bytes(), Expected::default()).unwrap().report;
                    assert_eq!(report.findings.len(), 1, "in the export, by {by}");
                    let read = world.log.records(&OrgId::default(), &id(number), seq - 1, 1).await;
                    assert!(matches!(read, Err(LogError::Corrupt { .. })), "nobody is shown it: {read:?}");
                    for (what, bytes) in [(Beside::Salt, salt.as_slice()), (Beside::Text, text.as_bytes())] {
                        world.damage(Damage::Beside { number, seq, field, what, bytes }).await;
                    }
                }
            }
        }
    }
    assert!(into_salts >= 18 && into_texts >= 1, "{into_salts} and {into_texts}");
    world.verified().await;
}

async fn damage_is_told_in_one_line_by_whoever_reads(on: Backend) {
    let world = World::told(on).await;
    world.damage(Damage::Canonical { number: 1, seq: 3, bytes: &[0xff] }).await;
    world.damage(Damage::State { number: 2, bytes: &[0xff] }).await;
    let error = world.log.records(&OrgId::default(), &id(1), 0, 100).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store holds something unreadable for INC-2026-0001 seq 3: run `harmony log verify`"
    );
    let error = world.log.state(&OrgId::default(), &id(2)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store holds something unreadable for INC-2026-0002: run `harmony log verify`"
    );
    let refused = world.say(named(2), "n9", crate::world::note("x")).await;
    assert!(matches!(refused, Err(LogError::Corrupt { .. })), "nothing is appended to damage: {refused:?}");
    world.damage(Damage::Answer { key: "n1", answer: "no answer" }).await;
    let error = world.say(named(1), "n1", crate::world::note("disk full")).await.unwrap_err();
    assert!(matches!(error, LogError::Corrupt { .. }), "{error:?}");
}
