//! Many watchers beside many writers, over real connections; and one who does not read.
//!
//! A small round here; the whole one (1,000 watchers, 50 writers) under `HARMONY_TEST_SCALE=full`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use harmony_console::Patient;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::world::World;

/// Watchers, writers, notes of each writer.
fn scale() -> (usize, usize, usize) {
    if std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full") {
        (1_000, 50, 20)
    } else {
        (100, 10, 10)
    }
}

async fn serve(world: &World, patience: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = world.router.clone();
    tokio::spawn(axum::serve(Patient::with(listener, patience), router).into_future());
    address
}

async fn watch(address: SocketAddr, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /api/orgs/default/incidents/{id}/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer token-viewer\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Writes notes through the router; how long each took, sorted.
async fn write(world: &Arc<World>, ids: &[String], writers: usize, notes: usize) -> Vec<Duration> {
    let mut writing = JoinSet::new();
    for writer in 0..writers {
        let (world, id) = (world.clone(), ids[writer % ids.len()].clone());
        writing.spawn(async move {
            let mut took = Vec::with_capacity(notes);
            for note in 0..notes {
                let began = Instant::now();
                let body = json!({ "note": format!("writer {writer} note {note}") });
                world.post("oncall", &format!("incidents/{id}/notes"), body).await.ok(200);
                took.push(began.elapsed());
            }
            took
        });
    }
    let mut all: Vec<Duration> = writing.join_all().await.concat();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_are_not_slowed_by_watchers_and_every_watcher_hears_everything() {
    let (watchers, writers, notes) = scale();
    let world = Arc::new(World::new().await);
    let address = serve(&world, Duration::from_secs(30)).await;
    let mut ids = Vec::new();
    for _ in 0..writers {
        ids.push(world.declared("P3").await);
    }
    let alone = write(&world, &ids, writers, notes).await;
    let heard = Arc::new(AtomicUsize::new(0));
    let connected = Arc::new(AtomicUsize::new(0));
    let expected = 1 + 2 * notes;
    let mut watching = JoinSet::new();
    for watcher in 0..watchers {
        let (id, heard, connected) = (ids[watcher % ids.len()].clone(), heard.clone(), connected.clone());
        watching.spawn(async move {
            let mut stream = watch(address, &id).await;
            let (mut text, mut seen) = (Vec::new(), 0);
            let mut buffer = vec![0; 16 * 1024];
            while seen < expected {
                let read = stream.read(&mut buffer).await.unwrap();
                assert!(read > 0, "a watcher was dropped");
                if text.is_empty() {
                    connected.fetch_add(1, Ordering::SeqCst);
                }
                text.extend_from_slice(&buffer[..read]);
                seen = String::from_utf8_lossy(&text).matches("\nevent: record\n").count();
            }
            heard.fetch_add(1, Ordering::SeqCst);
        });
    }
    while connected.load(Ordering::SeqCst) < watchers {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let beside = write(&world, &ids, writers, notes).await;
    tokio::time::timeout(Duration::from_secs(60), watching.join_all())
        .await
        .expect("every watcher hears everything");
    assert_eq!(heard.load(Ordering::SeqCst), watchers);
    let p99 = |all: &[Duration]| all[all.len() * 99 / 100 - usize::from(all.len() < 100)];
    println!(
        "{watchers} watchers, {writers} writers: p99 {:?} alone, {:?} beside; median {:?} and {:?}",
        p99(&alone),
        p99(&beside),
        alone[alone.len() / 2],
        beside[beside.len() / 2]
    );
    // Below this the scheduler of a loaded machine decides, not the watchers.
    let noise = Duration::from_millis(250);
    assert!(p99(&beside) <= p99(&alone) * 2 + noise, "{:?} and {:?}", p99(&alone), p99(&beside));
}

#[tokio::test]
async fn watcher_who_does_not_read_is_dropped() {
    let world = World::new().await;
    let address = serve(&world, Duration::from_millis(300)).await;
    let id = world.declared("P3").await;
    let mut idle = watch(address, &id).await;
    let mut reader = watch(address, &id).await;
    // More than the kernel's buffers of one connection hold.
    let note = "x".repeat(60_000);
    let reading = tokio::spawn(async move {
        let (mut buffer, mut seen) = (vec![0; 64 * 1024], 0);
        while seen < 200 * 60_000 {
            let read = reader.read(&mut buffer).await.unwrap();
            assert!(read > 0, "who reads is not dropped");
            seen += read;
        }
    });
    for _ in 0..200 {
        world.post("oncall", &format!("incidents/{id}/notes"), json!({ "note": note })).await.ok(200);
    }
    reading.await.unwrap();
    // The idle one's connection was cut: what is left in its buffers comes, then its end.
    let mut buffer = vec![0; 64 * 1024];
    let mut left = 0;
    let ended = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            match idle.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => left += read,
            }
        }
    });
    ended.await.expect("the connection ends");
    assert!(left < 200 * 60_000, "{left} bytes were kept for who did not read");
}

/// A page of the list and of a long incident, at the server.
#[tokio::test]
async fn pages_render_in_time_with_many_incidents_and_records() {
    let full = std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full");
    let (incidents, records) = if full { (10_000, 2_000) } else { (200, 300) };
    let world = World::new().await;
    for _ in 0..incidents {
        world.declared("P3").await;
    }
    let id = world.opened("P2").await;
    for note in 0..records {
        world
            .post("oncall", &format!("incidents/{id}/notes"), json!({ "note": format!("note {note}") }))
            .await
            .ok(200);
    }
    let cookie = world.session("viewer").await;
    for path in [
        "incidents".to_owned(),
        "incidents?searchQuery=Checkout".to_owned(),
        format!("incidents/{id}"),
        format!("incidents/{id}?show=state"),
        format!("incidents/{id}?at=100"),
        format!("incidents/{id}/review"),
        "approvals".to_owned(),
        "insights".to_owned(),
    ] {
        let mut took = Vec::new();
        for _ in 0..5 {
            let began = Instant::now();
            let reply = world.open(&cookie, &format!("/orgs/default/{path}")).await;
            took.push(began.elapsed());
            assert_eq!(reply.status, 200, "{path}");
            assert!(
                reply.text.len() < 200_000,
                "{path} is a page, not everything: {} bytes",
                reply.text.len()
            );
        }
        took.sort_unstable();
        println!(
            "{path}: {:?} at best, {:?} at worst, with {incidents} incidents and {records} records",
            took[0], took[4]
        );
    }
}
