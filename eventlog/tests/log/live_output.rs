//! What cells print while they run: it is kept in order, bounded, and not for long; and it is no part of the log.

use harmony_eventlog::{LiveOutput, StoredOutput, live_output::KEPT_BYTES};
use harmony_incidents::{OrgId, StreamId};

use crate::stores::{Backend, sql_stories};
use crate::world::{World, id};

sql_stories! {
    reader_asks_for_what_came_after,
    of_a_long_output_the_end_is_kept,
    end_is_told_once_and_after_what_was_printed,
    last_pieces_of_a_step_are_read_without_the_others,
    streams_and_organisations_see_their_own_alone,
    many_writers_are_seen_in_one_order,
    what_is_forgotten_is_gone_and_the_log_never_had_it,
}

const STEP: &str = "remediation/rollback/1";

fn printed(from: u64, text: &str) -> LiveOutput {
    LiveOutput {
        step: STEP.to_owned(),
        cell: "rollback".to_owned(),
        attempt: 1,
        from_bytes: from,
        to_bytes: from + text.len() as u64,
        text: text.to_owned(),
        ended: false,
    }
}

fn org() -> OrgId {
    OrgId::default()
}

fn texts(found: &[StoredOutput]) -> Vec<&str> {
    found.iter().map(|one| one.output.text.as_str()).collect()
}

async fn reader_asks_for_what_came_after(on: Backend) {
    let world = World::told(on).await;
    let stream: StreamId = id(1).into();
    assert_eq!(world.log.output(&org(), &stream, 0, 10).await.unwrap(), []);
    world
        .log
        .write_output(&org(), &stream, &[printed(0, "one\n"), printed(4, "two\u{1b}[1m\n")])
        .await
        .unwrap();
    world.log.write_output(&org(), &stream, &[printed(12, "three\n")]).await.unwrap();
    let all = world.log.output(&org(), &stream, 0, 10).await.unwrap();
    assert_eq!(texts(&all), ["one\n", "two\u{1b}[1m\n", "three\n"]);
    assert!(all.windows(2).all(|pair| pair[0].number < pair[1].number));
    assert_eq!(all[0].output, printed(0, "one\n"));
    let rest = world.log.output(&org(), &stream, all[0].number, 1).await.unwrap();
    assert_eq!(texts(&rest), ["two\u{1b}[1m\n"]);
    assert_eq!(world.log.output(&org(), &stream, all[2].number, 10).await.unwrap(), []);
}

async fn of_a_long_output_the_end_is_kept(on: Backend) {
    let world = World::told(on).await;
    let stream: StreamId = id(1).into();
    let text = "x".repeat(64 * 1024);
    let mut from = 0;
    for _ in 0..20 {
        world.log.write_output(&org(), &stream, &[printed(from, &text)]).await.unwrap();
        from += text.len() as u64;
    }
    let kept = world.log.output(&org(), &stream, 0, 100).await.unwrap();
    let bytes: usize = kept.iter().map(|one| one.output.text.len()).sum();
    assert_eq!(bytes as u64, KEPT_BYTES);
    assert_eq!(kept.last().unwrap().output.to_bytes, from);
    // Another try of the cell, by another worker, has room of its own.
    world
        .log
        .write_output(&org(), &stream, &[LiveOutput { attempt: 2, ..printed(0, "again\n") }])
        .await
        .unwrap();
    assert_eq!(world.log.output(&org(), &stream, 0, 100).await.unwrap().len(), kept.len() + 1);
}

async fn end_is_told_once_and_after_what_was_printed(on: Backend) {
    let world = World::told(on).await;
    let stream: StreamId = id(1).into();
    world.log.end_output(&org(), &stream, STEP, "it exited with 0").await.unwrap();
    assert_eq!(world.log.output(&org(), &stream, 0, 10).await.unwrap(), [], "nobody saw it begin");
    world.log.write_output(&org(), &stream, &[printed(0, "one\n")]).await.unwrap();
    for _ in 0..2 {
        world.log.end_output(&org(), &stream, STEP, "its worker was lost").await.unwrap();
    }
    let found = world.log.output(&org(), &stream, 0, 10).await.unwrap();
    assert_eq!(texts(&found), ["one\n", "its worker was lost"]);
    let ends: Vec<bool> = found.iter().map(|one| one.output.ended).collect();
    assert_eq!(ends, [false, true]);
    assert_eq!((found[1].output.cell.as_str(), found[1].output.from_bytes), ("rollback", 4));
}

async fn last_pieces_of_a_step_are_read_without_the_others(on: Backend) {
    let world = World::told(on).await;
    let stream: StreamId = id(1).into();
    for number in 0..5 {
        world.log.write_output(&org(), &stream, &[printed(number, &number.to_string())]).await.unwrap();
        let other = LiveOutput { step: "remediation/postcheck/1".to_owned(), ..printed(number, "other") };
        world.log.write_output(&org(), &stream, &[other]).await.unwrap();
    }
    let last = world.log.last_output(&org(), &stream, STEP, 2).await.unwrap();
    assert_eq!(texts(&last), ["3", "4"]);
    assert_eq!(texts(&world.log.last_output(&org(), &stream, STEP, 9).await.unwrap()).len(), 5);
    assert_eq!(world.log.last_output(&org(), &id(2).into(), STEP, 9).await.unwrap(), []);
}

async fn streams_and_organisations_see_their_own_alone(on: Backend) {
    let world = World::told(on).await;
    let (one, two): (StreamId, StreamId) = (id(1).into(), id(2).into());
    let other: OrgId = "other".parse().unwrap();
    world.log.write_output(&org(), &one, &[printed(0, "one\n")]).await.unwrap();
    world.log.write_output(&org(), &two, &[printed(0, "two\n")]).await.unwrap();
    world.log.write_output(&other, &one, &[printed(0, "other\n")]).await.unwrap();
    for (org, stream, text) in [(&org(), &one, "one\n"), (&org(), &two, "two\n"), (&other, &one, "other\n")] {
        assert_eq!(texts(&world.log.output(org, stream, 0, 10).await.unwrap()), [text]);
    }
    world.log.forget_output(&org(), &one).await.unwrap();
    assert_eq!(world.log.output(&org(), &one, 0, 10).await.unwrap(), []);
    assert_eq!(texts(&world.log.output(&other, &one, 0, 10).await.unwrap()), ["other\n"]);
}

async fn many_writers_are_seen_in_one_order(on: Backend) {
    let world = World::told(on).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8_u32 {
        let log = world.log.clone();
        writers.spawn(async move {
            for from in 0..10 {
                let piece = LiveOutput { attempt: writer, ..printed(from, "x") };
                log.write_output(&org(), &id(1).into(), &[piece]).await.unwrap();
            }
        });
    }
    // Who reads along sees each of them once, whatever was written meanwhile.
    let (mut seen, mut after) = (Vec::new(), 0);
    while seen.len() < 80 {
        for one in world.log.output(&org(), &id(1).into(), after, 7).await.unwrap() {
            assert!(one.number > after);
            after = one.number;
            seen.push((one.output.attempt, one.output.from_bytes));
        }
        tokio::task::yield_now().await;
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 80);
}

async fn what_is_forgotten_is_gone_and_the_log_never_had_it(on: Backend) {
    let world = World::told(on).await;
    let rows = async || {
        let rows = world.log.rows(&org(), &id(1), 0, 100).await.unwrap();
        rows.into_iter().map(|row| row.canonical).collect::<Vec<_>>()
    };
    let before = rows().await;
    world.log.write_output(&org(), &id(1).into(), &[printed(0, "swordfish-swordfish\n")]).await.unwrap();
    assert_eq!(rows().await, before);
    assert!(world.log.verify(&org()).await.unwrap().verified);
    world.log.forget_output(&org(), &id(1).into()).await.unwrap();
    assert_eq!(world.log.output(&org(), &id(1).into(), 0, 10).await.unwrap(), []);
}
