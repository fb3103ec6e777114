//! Servers that the connectors are tested against.
//!
//! [`Script`] answers each request with the next reply of a list, keeps what it received, and
//! checks it against the vendor's description ([`contract`]). It speaks just enough HTTP/1.1, so
//! that it can also hang up in the middle.

pub(crate) mod contract;
mod lost_answers;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a script does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Reads the request and hangs up.
    HangUp,
}

impl Reply {
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self::Answer {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_string(),
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::text(status, "<html>no JSON here</html>")
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self::Answer {
            status,
            headers: vec![("content-type", "text/html".to_owned())],
            body: body.to_owned(),
        }
    }

    pub(crate) fn with(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Answer { status, mut headers, body } => {
                headers.push((name, value.to_owned()));
                Self::Answer { status, headers, body }
            }
            Self::HangUp => Self::HangUp,
        }
    }
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// Method and path.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(crate) fn parse_query(query: &str) -> Vec<(String, String)> {
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }
}

/// A server that answers by a script.
pub(crate) struct Script {
    pub(crate) origin: String,
    received: Arc<Mutex<Vec<Received>>>,
    left: Arc<Mutex<VecDeque<Reply>>>,
    server: JoinHandle<()>,
}

impl Script {
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
        let server = tokio::spawn({
            let (received, left) = (Arc::clone(&received), Arc::clone(&left));
            async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let Some(request) = read(&mut stream).await else {
                        continue;
                    };
                    received.lock().unwrap().push(request);
                    let reply = left.lock().unwrap().pop_front();
                    answer(stream, reply.unwrap_or(Reply::status(501))).await;
                }
            }
        });
        Self { origin, received, left, server }
    }

    /// What was received, all of it as `vendor` describes. Nothing of the script is left.
    pub(crate) fn finish(self, vendor: &str) -> Vec<Received> {
        self.server.abort();
        assert_eq!(self.left.lock().unwrap().len(), 0, "replies are left");
        let received = std::mem::take(&mut *self.received.lock().unwrap());
        let contract = contract::Contract::load(vendor);
        for request in &received {
            contract.check(request);
        }
        received
    }

    /// What was received, of which nothing is described.
    pub(crate) fn received(self) -> Vec<Received> {
        self.server.abort();
        std::mem::take(&mut *self.received.lock().unwrap())
    }

    /// Method and path of what was received, as [`Script::finish`].
    pub(crate) fn lines(self, vendor: &str) -> Vec<String> {
        let received = self.finish(vendor);
        received.iter().map(Received::line).collect()
    }
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_len = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_len].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    while bytes.len() < head_len + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Received {
        method,
        path: path.to_owned(),
        query: Received::parse_query(query),
        headers,
        body: serde_json::from_slice(&bytes[head_len + 4..]).unwrap_or_default(),
    })
}

async fn answer(mut stream: TcpStream, reply: Reply) {
    let Reply::Answer { status, headers, body } = reply else {
        return;
    };
    let length = body.len();
    let mut head = format!("HTTP/1.1 {status} Scripted\r\nconnection: close\r\n");
    for (name, value) in &headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {length}\r\n\r\n"));
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
    let _ = stream.shutdown().await;
}
