//! Hands on the file itself: whatever they change is found, with incident and seq, and nothing panics on the way.

use harmony_eventlog::{EventLog, Filter, Finding, LogError};
use harmony_incidents::{Command, OrgId, command::Attested, log::State};
use sqlx::Row as _;

use crate::world::{World, begin, decision, gate_request, id, named, status};

async fn findings(world: &World) -> Vec<Finding> {
    let report = world.log.verify(&OrgId::default()).await.unwrap();
    assert_eq!(report.verified, report.findings.is_empty());
    report.findings
}

#[tokio::test]
async fn untouched_log_is_verified() {
    let world = World::told().await;
    world.say(named(1), "gate", gate_request(1)).await.unwrap();
    let input = Box::new(decision(&world.gate(1).await, "one", Attested::Yes, begin()));
    world.say(named(1), "decide", Command::Decide { input }).await.unwrap();
    world.say(named(1), "resolve", status(State::Resolved)).await.unwrap();
    let report = world.log.verify(&OrgId::default()).await.unwrap();
    assert_eq!((report.incidents, report.records, report.verified), (2, 10, true));
    assert!(report.redacted.is_empty());
}

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
            "INSERT INTO events SELECT org, incident, 5, x'00', kind, canonical, hash, stored_at_us FROM events
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
        let world = World::told().await;
        world.sql(statement).await;
        let findings = findings(&world).await;
        let found = findings
            .iter()
            .any(|one| one.incident == incident && one.seq == seq && one.problem.contains(problem));
        assert!(found, "{statement}\n{findings:?}");
        // Readers may refuse what they meet; they never fall over it.
        for number in [1, 2] {
            drop(world.log.state(&OrgId::default(), &id(number)).await);
            drop(world.log.records(&OrgId::default(), &id(number), 0, 100).await);
        }
        drop(world.log.list(&OrgId::default(), &Filter { limit: 9, ..Filter::default() }).await);
    }
}

#[tokio::test]
async fn flipped_bits_are_found_in_every_record_hash_and_text() {
    let world = World::told().await;
    let mut connection = world.connection().await;
    for (table, column) in [
        ("events", "canonical"),
        ("events", "hash"),
        ("texts", "commitment"),
        ("texts", "salt"),
        ("texts", "text"),
    ] {
        let query = format!("SELECT rowid, incident, seq, CAST({column} AS BLOB) AS bytes FROM {table}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap();
        assert!(rows.len() >= 4);
        let kind = if column == "text" { "TEXT" } else { "BLOB" };
        let update = format!("UPDATE {table} SET {column} = CAST(? AS {kind}) WHERE rowid = ?");
        for row in rows {
            let (row_id, incident, seq) =
                (row.get::<i64, _>("rowid"), row.get::<String, _>("incident"), row.get::<i64, _>("seq"));
            let bytes: Vec<u8> = row.get("bytes");
            // The first, the last, and one between that differs from row to row.
            let bits = bytes.len() * 8;
            for bit in [0, bits - 1, usize::try_from(row_id * 137).unwrap() % bits] {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                for (bytes, clean) in [(&changed, false), (&bytes, true)] {
                    sqlx::query(sqlx::AssertSqlSafe(update.clone()))
                        .bind(bytes)
                        .bind(row_id)
                        .execute(&mut connection)
                        .await
                        .unwrap();
                    let findings = findings(&world).await;
                    assert_eq!(findings.is_empty(), clean, "{table}.{column} {incident} {seq} bit {bit}");
                    assert!(
                        clean
                            || (findings[0].incident == incident
                                && findings[0].seq == u64::try_from(seq).unwrap()),
                        "{findings:?}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn damage_is_told_in_one_line_by_whoever_reads() {
    let world = World::told().await;
    world.sql("UPDATE events SET canonical = x'ff' WHERE incident = 'INC-2026-0001' AND seq = 3").await;
    world.sql("UPDATE incidents SET state = x'ff' WHERE number = 2").await;
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
    world.sql("UPDATE idempotency SET answer = 5 WHERE key = 'n1'").await;
    let error = world.say(named(1), "n1", crate::world::note("disk full")).await.unwrap_err();
    assert!(matches!(error, LogError::Corrupt { .. }), "{error:?}");
}
