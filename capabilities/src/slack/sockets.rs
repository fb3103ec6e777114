//! Socket Mode: Slack's requests over a connection that we opened, for sites without a public address.
//!
//! `apps.connections.open` (2026; app-level token with `connections:write`) gives an address that is good for one
//! connection. Slack sends envelopes over it, each to one of the app's connections and sometimes twice, and wants each
//! acknowledged by its id within 3 s. From time to time it asks for a fresh connection; the new one is opened before the
//! old one ends, so that nothing falls between them. Two are kept, since Slack may end one without a word.
//!
//! Who speaks is settled by the address, which only the holder of the token is given. It is Slack's own host or, where
//! the API is on this machine, this machine.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use url::Url;

use super::web::Web;
use crate::address::{self, AddressError};
use crate::error::CallError;

/// Slack allows ten; two are there while one is replaced.
const CONNECTIONS: usize = 2;
/// Slack waits 3 s for an acknowledgement; some of it is the way.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(2_800);
/// The first pause after a connection that failed; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A handshake that takes longer does not come.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Slack pings more often. After this a connection is asked whether it lives; after the same again it is given up.
const SILENCE: Duration = Duration::from_secs(45);
/// How long the old connection is still listened to once Slack asked for a new one: it says that it ends within 10 s.
const LEAVING: Duration = Duration::from_secs(30);
/// An interaction carries its message, which has at most 50 blocks of some 3 KB.
const MESSAGE_BYTES: usize = 1024 * 1024;

/// Something that Slack brings.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// The same when it is sent again.
    pub id: String,
    /// `interactive`, `slash_commands` or `events_api`.
    pub kind: String,
    /// What would be posted otherwise; of a command its fields.
    pub payload: Value,
}

/// The app's connections.
#[derive(Clone, Debug)]
pub struct SlackSockets {
    web: Web,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

#[derive(Deserialize)]
struct Opened {
    url: String,
}

#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    envelope_id: String,
    #[serde(default)]
    payload: Value,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum SocketError {
    #[error("no address for a socket")]
    Open(#[source] CallError),
    #[error("the address for a socket is not Slack's")]
    Foreign,
    #[error("the socket did not open: {0}")]
    Connect(String),
}

impl SlackSockets {
    /// Connects with this app-level token (`xapp-…`). The base URL includes the path, as `https://slack.com/api`.
    pub fn new(base_url: &str, app_token: SecretString) -> Result<Self, AddressError> {
        Ok(Self { web: Web::new(base_url, app_token)? })
    }

    /// Whether the token may open a socket: asks for an address, and does not use it.
    pub async fn check(&self) -> Result<(), CallError> {
        self.address().await.map(drop)
    }

    /// Keeps connections open for as long as it is polled, and hands every envelope to `handle`, whose answer goes
    /// into the acknowledgement if it comes in time. What takes longer goes on.
    pub async fn serve<H, F>(self, handle: H)
    where
        H: Fn(Envelope) -> F + Send + Sync + 'static,
        F: Future<Output = Option<Value>> + Send + 'static,
    {
        let handle = Arc::new(handle);
        let keepers = (0..CONNECTIONS).map(|_| self.keep(&handle));
        futures_util::future::join_all(keepers).await;
    }

    /// Keeps one connection open.
    async fn keep<H, F>(&self, handle: &Arc<H>)
    where
        H: Fn(Envelope) -> F + Send + Sync + 'static,
        F: Future<Output = Option<Value>> + Send + 'static,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.connect().await {
                Ok(socket) => {
                    pause = FIRST_PAUSE;
                    let (leave, left) = oneshot::channel();
                    // On a task of its own: it is listened to while the next one opens.
                    tokio::spawn(listen(socket, handle.clone(), leave));
                    // Dropped where it ended without a word.
                    drop(left.await);
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "Slack cannot be reached by socket");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn connect(&self) -> Result<Socket, SocketError> {
        let opened = self.address().await.map_err(SocketError::Open)?;
        let url = self.checked(&opened.url).ok_or(SocketError::Foreign)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let connecting = tokio_tungstenite::connect_async_with_config(url.as_str(), Some(config), false);
        match timeout(CONNECT_WITHIN, connecting).await {
            Ok(Ok((socket, _))) => Ok(socket),
            // The error of a refused handshake would quote the address, and with it the ticket.
            Ok(Err(_)) => Err(SocketError::Connect("it was refused".to_owned())),
            Err(_) => Err(SocketError::Connect("it took too long".to_owned())),
        }
    }

    async fn address(&self) -> Result<Opened, CallError> {
        self.web.act("apps.connections.open", &json!({})).await
    }

    /// The address, if a socket may be opened there.
    fn checked(&self, url: &str) -> Option<Url> {
        let url = Url::parse(url).ok()?;
        let as_http = match url.scheme() {
            "wss" => format!("https{}", &url.as_str()[3..]),
            "ws" => format!("http{}", &url.as_str()[2..]),
            _ => return None,
        };
        // Plain only to this machine, nothing to a metadata service.
        let checked = address::check(&as_http).ok()?;
        let is_slack = url.scheme() == "wss"
            && url.host_str().is_some_and(|host| host == "slack.com" || host.ends_with(".slack.com"));
        let is_here = self.web.transport.address.is_loopback()
            && address::Address::parse(&checked.origin().ascii_serialization())
                .is_ok_and(|address| address.is_loopback());
        (is_slack || is_here).then_some(url)
    }
}

/// Reads until the connection ends. `leave` is told, or dropped, when another one is to be opened.
async fn listen<H, F>(socket: Socket, handle: Arc<H>, leave: oneshot::Sender<()>)
where
    H: Fn(Envelope) -> F + Send + Sync + 'static,
    F: Future<Output = Option<Value>> + Send + 'static,
{
    let (mut sink, mut source) = socket.split();
    let (send, mut outgoing) = mpsc::unbounded_channel::<Message>();
    let writer = tokio::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut leave = Some(leave);
    let mut is_silent = false;
    loop {
        let patience = if leave.is_some() { SILENCE } else { LEAVING };
        let text = match timeout(patience, source.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => break,
            Ok(Some(Ok(_))) => {
                is_silent = false;
                continue;
            }
            Err(_) if leave.is_some() && !is_silent => {
                is_silent = true;
                drop(send.send(Message::Ping(Vec::new().into())));
                continue;
            }
            Err(_) => break,
        };
        is_silent = false;
        let Ok(frame) = serde_json::from_str::<Frame>(&text) else { continue };
        match frame.kind.as_str() {
            "hello" => tracing::info!("Slack is connected by socket"),
            "disconnect" => {
                if let Some(leave) = leave.take() {
                    leave.send(()).ok();
                }
            }
            _ if frame.envelope_id.is_empty() => {}
            _ => {
                let Frame { kind, envelope_id: id, payload } = frame;
                tokio::spawn(acknowledge(Envelope { id, kind, payload }, handle.clone(), send.clone()));
            }
        }
    }
    writer.abort();
}

/// Handles one envelope and acknowledges it in time, whatever comes of it.
async fn acknowledge<H, F>(envelope: Envelope, handle: Arc<H>, send: mpsc::UnboundedSender<Message>)
where
    H: Fn(Envelope) -> F + Send + Sync + 'static,
    F: Future<Output = Option<Value>> + Send + 'static,
{
    let mut acknowledgement = json!({ "envelope_id": envelope.id });
    let handled = tokio::spawn(handle(envelope));
    if let Ok(Ok(Some(payload))) = timeout(ACKNOWLEDGE_WITHIN, handled).await {
        acknowledgement["payload"] = payload;
    }
    // Refused only where the connection ended: then Slack sends the envelope again.
    drop(send.send(Message::text(acknowledgement.to_string())));
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(source) => format!("{error}: {}", chain(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_opened_at_slack_alone() {
        let real = SlackSockets::new("https://slack.com/api", "xapp-1".into()).unwrap();
        let sandbox = SlackSockets::new("http://127.0.0.1:1/api", "xapp-1".into()).unwrap();
        for (url, at_slack, here) in [
            ("wss://wss-primary.slack.com/link/?ticket=1", true, true),
            ("ws://wss-primary.slack.com/link/", false, false),
            ("wss://slack.com.evil.example/link/", false, false),
            ("wss://evilslack.com/link/", false, false),
            ("ws://127.0.0.1:9/link/", false, true),
            ("wss://169.254.169.254/", false, false),
            ("https://slack.com/", false, false),
            ("nonsense", false, false),
        ] {
            assert_eq!(real.checked(url).is_some(), at_slack, "{url}");
            assert_eq!(sandbox.checked(url).is_some(), here, "{url}");
        }
    }
}
