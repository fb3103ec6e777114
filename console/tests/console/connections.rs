//! Clients that send slowly, or hold more connections than there is room for.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use harmony_console::{Capacity, Timeouts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::world::World;

/// Room for twelve connections, six of one address.
const FILES: usize = 16;
const PER_ADDRESS: usize = 6;

async fn connected(to: SocketAddr, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// What comes until the connection ends.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(Duration::from_secs(30), stream.read_to_end(&mut text)).await.expect("it ends");
    // Cut off or closed: both are an end.
    drop(read);
    String::from_utf8(text).unwrap()
}

async fn is_answered(to: SocketAddr, last: u8) -> bool {
    let mut stream = connected(to, last).await;
    send(&mut stream, "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    rest(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n")
}

#[tokio::test]
async fn slow_heads_and_bodies_are_given_up() {
    let world = World::new().await;
    let short = Duration::from_millis(300);
    let timeouts = Timeouts { head: short, body: short, ..Timeouts::default() };
    let address = world.listen(Capacity::default(), timeouts).await;
    let mut silent = connected(address, 1).await;
    let mut half = connected(address, 1).await;
    send(&mut half, "GET /openapi.json HTTP/1.1\r\nHost: loc").await;
    let mut bodyless = connected(address, 1).await;
    send(&mut bodyless, "POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ntoken=")
        .await;
    for stream in [&mut silent, &mut half, &mut bodyless] {
        let answer = rest(stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[tokio::test]
async fn half_sent_requests_lock_nobody_out() {
    let world = World::new().await;
    let address = world.listen(Capacity::for_open_files(FILES), Timeouts::default()).await;
    let mut held = Vec::new();
    for number in 0..4 * PER_ADDRESS {
        let mut half = connected(address, 1).await;
        let (method, more) =
            if number % 2 == 0 { ("GET", "") } else { ("POST", "Content-Length: 9\r\n\r\n{") };
        send(&mut half, &format!("{method} /sign-in HTTP/1.1\r\nHost: localhost\r\n{more}")).await;
        held.push(half);
    }
    assert!(is_answered(address, 1).await, "from the same address");
    assert!(is_answered(address, 2).await, "from another");
    for half in &mut held[..PER_ADDRESS] {
        rest(half).await;
    }
}

#[tokio::test]
async fn one_addresss_streams_leave_room_for_others() {
    let world = World::new().await;
    let id = world.declared("P3").await;
    let address = world.listen(Capacity::for_open_files(FILES), Timeouts::default()).await;
    let mut streams = Vec::new();
    for _ in 0..PER_ADDRESS {
        let mut stream = connected(address, 1).await;
        let path = format!("/api/orgs/default/incidents/{id}/stream");
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer token-viewer\r\n\r\n");
        send(&mut stream, &head).await;
        let mut first = [0; 15];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        streams.push(stream);
    }
    let refused = rest(&mut connected(address, 1).await).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(is_answered(address, 2).await);
    streams.pop();
    for _ in 0..100 {
        if is_answered(address, 1).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the place of a stream that ended stays taken");
}
