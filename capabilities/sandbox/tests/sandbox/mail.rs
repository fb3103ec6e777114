//! The mail stand-in: what it takes is shown, and the order and limits of SMTP hold.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::world::World;

struct Client {
    reader: BufReader<tokio::net::tcp::OwnedReadHalf>,
    writer: tokio::net::tcp::OwnedWriteHalf,
}

impl Client {
    async fn connect(world: &World) -> Self {
        let address = world.sandbox.base_urls().mail;
        let stream = TcpStream::connect(address.strip_prefix("smtp://").unwrap()).await.unwrap();
        let (reader, writer) = stream.into_split();
        let mut client = Self { reader: BufReader::new(reader), writer };
        assert_eq!(client.answer().await, 220);
        client
    }

    async fn answer(&mut self) -> u16 {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).await.unwrap();
            if line.as_bytes().get(3) == Some(&b' ') {
                return line[..3].parse().unwrap();
            }
        }
    }

    async fn say(&mut self, line: &str) -> u16 {
        self.writer.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.answer().await
    }
}

#[tokio::test]
async fn mail_is_taken_in_order_and_shown() {
    let world = World::start().await;
    let mut client = Client::connect(&world).await;
    for (line, expected) in [
        ("MAIL FROM:<a@example.com>", 503),
        ("EHLO here", 250),
        ("RCPT TO:<b@example.com>", 503),
        ("DATA", 503),
        ("MAIL FROM:<a@example.com>", 250),
        ("DATA", 503),
        ("RCPT TO:<nobody>", 553),
        ("RCPT TO:<b@example.com>", 250),
        ("VRFY b", 500),
        ("DATA", 354),
        ("Subject: one\r\n two\r\nMessage-ID: <1@a>\r\n\r\n..dotted <b>\r\n.", 250),
        ("NOOP", 250),
        ("QUIT", 221),
    ] {
        assert_eq!(client.say(line).await, expected, "{line}");
    }
    let origin = world.sandbox.origins().mail;
    let state: serde_json::Value =
        world.http.get(format!("{origin}/_sandbox/state")).send().await.unwrap().json().await.unwrap();
    let message = &state["messages"][0];
    assert_eq!(
        (message["subject"].as_str(), message["messageId"].as_str()),
        (Some("one two"), Some("<1@a>"))
    );
    assert_eq!(
        (message["from"].as_str(), message["to"][0].as_str()),
        (Some("a@example.com"), Some("b@example.com"))
    );
    assert!(message["raw"].as_str().unwrap().ends_with("\r\n.dotted <b>\r\n"), "{message}");
    let page = world.http.get(origin).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("one two") && page.contains("&lt;b&gt;"), "{page}");
}

#[tokio::test]
async fn message_without_end_is_not_taken_and_one_that_is_too_large_is_refused() {
    let world = World::start().await;
    let mut client = Client::connect(&world).await;
    let begin = async |client: &mut Client| {
        for line in ["EHLO here", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>"] {
            assert_eq!(client.say(line).await, 250);
        }
        assert_eq!(client.say("DATA").await, 354);
    };
    begin(&mut client).await;
    let large = format!("{}.", format!("{}\r\n", "x".repeat(998)).repeat(1_100));
    assert_eq!(client.say(&large).await, 552);
    begin(&mut client).await;
    client.writer.write_all(b"Subject: half\r\n").await.unwrap();
    drop(client);
    let origin = world.sandbox.origins().mail;
    let state: serde_json::Value =
        world.http.get(format!("{origin}/_sandbox/state")).send().await.unwrap().json().await.unwrap();
    assert_eq!(state["messages"], serde_json::json!([]));
}
