//! Hands on the SQLite file. It takes any value in any column, so there is more to find than in other stores.

use harmony_incidents::OrgId;

use crate::{
    stores::{
        Store as _,
        sqlite::{Sqlite, sql},
    },
    tampering::read_all,
    world::{World, tell},
};

#[tokio::test]
async fn hands_on_the_file_are_found() {
    const FIRST: &str = "INC-2026-0001";
    const SECOND: &str = "INC-2026-0002";
    let cases = [
        // Records.
        ("DELETE FROM events WHERE incident = 'INC-2026-0001' AND seq = 1", FIRST, 1, "record 1 is missing"),
        ("DELETE FROM events WHERE incident = 'INC-2026-0001' AND seq = 2", FIRST, 2, "record 2 is missing"),
        (
            "UPDATE events SET seq = 12 WHERE incident = 'INC-2026-0001' AND seq = 2;
             UPDATE events SET seq = 2 WHERE incident = 'INC-2026-0001' AND seq = 3;
             UPDATE events SET seq = 3 WHERE incident = 'INC-2026-0001' AND seq = 12",
            FIRST,
            2,
            "the record says it is default INC-2026-0001 seq 3",
        ),
        (
            "UPDATE events SET canonical = (SELECT canonical FROM events WHERE incident = 'INC-2026-0001' AND seq = 3),
               hash = (SELECT hash FROM events WHERE incident = 'INC-2026-0001' AND seq = 3)
             WHERE incident = 'INC-2026-0001' AND seq = 4",
            FIRST,
            4,
            "the record says it is default INC-2026-0001 seq 3",
        ),
        (
            "INSERT INTO events SELECT org, incident, 5, x'00', kind, canonical, hash, stored_at_us, occurred_at_us, actor FROM events
             WHERE incident = 'INC-2026-0001' AND seq = 4",
            FIRST,
            5,
            "the record says it is default INC-2026-0001 seq 4",
        ),
        (
            "UPDATE events SET incident = 'INC-2026-0002', seq = 3 WHERE incident = 'INC-2026-0001' AND seq = 4",
            SECOND,
            3,
            "the record says it is default INC-2026-0001 seq 4",
        ),
        ("UPDATE events SET canonical = 5 WHERE incident = 'INC-2026-0001' AND seq = 3", FIRST, 3, "hash"),
        ("UPDATE events SET canonical = x'' WHERE incident = 'INC-2026-0001' AND seq = 3", FIRST, 3, "hash"),
        ("UPDATE events SET hash = 'none' WHERE incident = 'INC-2026-0002' AND seq = 2", SECOND, 2, "hash"),
        ("UPDATE events SET seq = 'two' WHERE incident = 'INC-2026-0001' AND seq = 2", FIRST, 2, "record 2 is missing"),
        ("UPDATE events SET incident = 'x' WHERE incident = 'INC-2026-0002' AND seq = 2", "x", 1, "not valid"),
        // The tail, while the projection stays.
        (
            "DELETE FROM events WHERE incident = 'INC-2026-0001' AND seq = 4;
             DELETE FROM texts WHERE incident = 'INC-2026-0001' AND seq = 4",
            FIRST,
            4,
            "the log ends at 3, the projection was made from 4",
        ),
        (
            "DELETE FROM events WHERE incident = 'INC-2026-0002'; DELETE FROM texts WHERE incident = 'INC-2026-0002'",
            SECOND,
            1,
            "the log ends at 0, the projection was made from 2",
        ),
        // An incident as a whole.
        (
            "DELETE FROM events WHERE incident = 'INC-2026-0001'; DELETE FROM texts WHERE incident = 'INC-2026-0001';
             DELETE FROM incidents WHERE incident = 'INC-2026-0001'",
            FIRST,
            1,
            "INC-2026-0001 is missing: INC-2026-0002 follows",
        ),
        // Texts.
        ("UPDATE texts SET text = 'disk empty' WHERE text = 'disk full'", FIRST, 3, "the text of note is not"),
        ("UPDATE texts SET text = x'ff' WHERE text = 'disk full'", FIRST, 3, "the text of note is not"),
        ("UPDATE texts SET text = 7 WHERE text = 'disk full'", FIRST, 3, "the text of note is not"),
        ("UPDATE texts SET salt = x'00' WHERE text = 'disk full'", FIRST, 3, "the text of note is not"),
        ("UPDATE texts SET commitment = x'00' WHERE text = 'disk full'", FIRST, 3, "the text of note is not"),
        ("DELETE FROM texts WHERE text = 'only mornings'", SECOND, 2, "the text of note is missing"),
        ("UPDATE texts SET field = 'title' WHERE text = 'only mornings'", SECOND, 2, "it never committed to"),
        (
            "INSERT INTO texts SELECT org, incident, 99, field, commitment, salt, 'Nothing is down' FROM texts
             WHERE text = 'Checkout is down'",
            FIRST,
            99,
            "a text stands where there is no record",
        ),
        // The projection.
        ("UPDATE incidents SET state_word = 'CLOSED' WHERE number = 1", FIRST, 4, "not what the log folds to"),
        ("UPDATE incidents SET phase_word = 'closed' WHERE number = 1", FIRST, 4, "not what the log folds to"),
        ("UPDATE incidents SET severity = 'P4' WHERE number = 1", FIRST, 4, "not what the log folds to"),
        ("UPDATE incidents SET seq = 9 WHERE number = 1", FIRST, 4, "not what the log folds to"),
        ("UPDATE incidents SET number = 9 WHERE number = 2", SECOND, 2, "not what the log folds to"),
        (
            "UPDATE incidents SET state = (SELECT state FROM incidents WHERE number = 2) WHERE number = 1",
            FIRST,
            4,
            "not what the log folds to",
        ),
        ("UPDATE incidents SET state = x'ff' WHERE number = 1", FIRST, 4, "the projection is unreadable"),
        ("UPDATE incidents SET state = 3 WHERE number = 1", FIRST, 4, "the projection is unreadable"),
        ("UPDATE incidents SET head_hash = x'00' WHERE number = 1", FIRST, 4, "the projection is unreadable"),
        (
            "UPDATE incidents SET head_hash = (SELECT head_hash FROM incidents WHERE number = 2) WHERE number = 1",
            FIRST,
            5,
            "the log ends at 4",
        ),
        ("DELETE FROM incidents WHERE number = 2", SECOND, 2, "the incident has no projection"),
    ];
    for (statement, incident, seq, problem) in cases {
        let file = Sqlite::new().await;
        let path = file.path();
        let log = file.open().await;
        tell(&log).await;
        let world = World { log, store: Box::new(file) };
        sql(&path, statement).await;
        let report = world.log.verify(&OrgId::default()).await.unwrap();
        let found = report
            .findings
            .iter()
            .any(|one| one.incident == incident && one.seq == seq && one.problem.contains(problem));
        assert!(found && !report.verified, "{statement}\n{:?}", report.findings);
        read_all(&world).await;
    }
}
