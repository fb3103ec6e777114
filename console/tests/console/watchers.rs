//! Many watchers beside many writers, over real connections; and those who do not read. What they cost the writers is
//! measured by `cargo bench -p harmony-console`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use harmony_console::{Capacity, Timeouts};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{stream::Watcher, world::World};

const WATCHERS: usize = 100;
const WRITERS: usize = 10;
/// Notes of each writer.
const NOTES: usize = 10;

async fn serve(world: &World, write: Duration) -> SocketAddr {
    world.listen(Capacity::default(), Timeouts { write, ..Timeouts::default() }).await
}

async fn watch(address: SocketAddr, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /api/orgs/default/incidents/{id}/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer token-viewer\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_watcher_hears_everything_beside_many_writers() {
    let world = Arc::new(World::new().await);
    let address = serve(&world, Duration::from_secs(30)).await;
    let mut ids = Vec::new();
    for _ in 0..WRITERS {
        ids.push(world.declared("P3").await);
    }
    let mut watching = JoinSet::new();
    for watcher in 0..WATCHERS {
        let mut stream = watch(address, &ids[watcher % ids.len()]).await;
        watching.spawn(async move {
            let (mut text, mut seen) = (Vec::new(), 0);
            let mut buffer = vec![0; 16 * 1024];
            while seen < 1 + NOTES {
                let read = stream.read(&mut buffer).await.unwrap();
                assert!(read > 0, "a watcher was dropped");
                text.extend_from_slice(&buffer[..read]);
                seen = String::from_utf8_lossy(&text).matches("\nevent: record\n").count();
            }
            seen
        });
    }
    let mut writing = JoinSet::new();
    for (writer, id) in ids.into_iter().enumerate() {
        let world = world.clone();
        writing.spawn(async move {
            for note in 0..NOTES {
                let body = json!({ "note": format!("writer {writer} note {note}") });
                world.post("oncall", &format!("incidents/{id}/notes"), body).await.ok(200);
            }
        });
    }
    writing.join_all().await;
    let heard = tokio::time::timeout(Duration::from_secs(60), watching.join_all()).await;
    let heard = heard.expect("every watcher hears everything");
    assert_eq!(heard, vec![1 + NOTES; WATCHERS]);
}

/// Records that are written while somebody does not read: more than wait for anybody.
const WRITTEN: u64 = 70;

#[tokio::test]
async fn watcher_who_falls_behind_is_dropped_and_comes_back_to_what_it_missed() {
    let world = World::new().await;
    let id = world.declared("P3").await;
    // Both know the first record already: from now on they are told, and the store is not read for them.
    let slow = Watcher::new(&world, &id, Some("1")).await;
    let mut reader = Watcher::new(&world, &id, Some("1")).await;
    // Longer than a batch gets: each record is one of its own.
    let note = "x".repeat(65_500);
    for seq in 2..=WRITTEN + 1 {
        world.post("oncall", &format!("incidents/{id}/notes"), json!({ "note": note })).await.ok(200);
        assert_eq!(reader.next().await.0, seq, "who reads misses nothing");
    }
    assert_eq!(slow.rest().await, 0, "nothing was kept for who did not read");
    let mut back = Watcher::new(&world, &id, Some("1")).await;
    for seq in 2..=WRITTEN + 1 {
        assert_eq!(back.next().await.0, seq);
    }
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
