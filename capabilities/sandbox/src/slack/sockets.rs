//! Socket Mode: `apps.connections.open` hands out an address with a ticket that is good once, and whoever connects
//! there gets what the workspace would otherwise post. Several connections are one app: an envelope goes to one of
//! them. `POST /_sandbox/slack/sockets {disconnect: true}` asks every connection to make room for a new one, as Slack
//! does from time to time, and closes those that are still there when it is asked again; `{repeat: true}` sends the
//! last envelope again. Both answer `{connected}`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response as Accepted};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::call::Call;
use crate::stand_in;

use super::Slack;
use super::answer::{Outcome, Refusal};
use super::people::APP_ID;

/// The sockets of the app.
#[derive(Clone)]
pub(crate) struct Sockets(Arc<Shared>);

struct Shared {
    origin: String,
    connections: Mutex<Connections>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Connections {
    serial: u64,
    /// Handed out, and not used yet.
    tickets: BTreeSet<String>,
    /// By number, the newest last.
    open: BTreeMap<u64, Connection>,
    /// Who waits for which envelope.
    waiting: BTreeMap<String, oneshot::Sender<Value>>,
    last: Option<Value>,
}

struct Connection {
    send: mpsc::UnboundedSender<Message>,
    /// It was asked to make room.
    is_leaving: bool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Sockets {
    /// Binds a free port on loopback and accepts sockets there.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let origin = format!("ws://{}", listener.local_addr()?);
        let shared = Arc::new_cyclic(|weak: &std::sync::Weak<Shared>| {
            let weak = weak.clone();
            let accepting = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let Some(shared) = weak.upgrade() else { return };
                    tokio::spawn(async move { Sockets(shared).serve(stream).await });
                }
            });
            Shared { origin, connections: Mutex::default(), accepting }
        });
        Ok(Self(shared))
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `apps.connections.open`: for the app's own token alone.
    pub(super) fn open(&self, call: &Call) -> Outcome {
        let token = call.header(header::AUTHORIZATION.as_str()).and_then(|value| value.split_once(' '));
        match token {
            None => return Err(Refusal::new("not_authed")),
            Some((_, token)) if !token.trim().starts_with("xapp-") => {
                return Err(Refusal::new("not_allowed_token_type"));
            }
            Some(_) => {}
        }
        let mut connections = self.lock();
        connections.serial += 1;
        let ticket = format!("{:016x}{:08x}", crate::clock::epoch_micros(), connections.serial);
        connections.tickets.insert(ticket.clone());
        Ok(json!({"url": format!("{}/link/?ticket={ticket}&app_id={APP_ID}", self.0.origin)}))
    }

    /// Sends an envelope over the newest connection; `None` where there is none.
    pub(super) fn send(&self, kind: &str, payload: Value) -> Option<oneshot::Receiver<Value>> {
        let mut connections = self.lock();
        connections.serial += 1;
        let id = format!("envelope-{}", connections.serial);
        let envelope = json!({
            "envelope_id": id,
            "type": kind,
            "payload": payload,
            "accepts_response_payload": true,
        });
        let connection = connections.open.values().rev().find(|connection| !connection.send.is_closed())?;
        connection.send.send(Message::text(envelope.to_string())).ok()?;
        let (acknowledge, acknowledged) = oneshot::channel();
        connections.waiting.insert(id, acknowledge);
        connections.last = Some(envelope);
        Some(acknowledged)
    }

    #[expect(
        clippy::result_large_err,
        reason = "what the handshake's callback returns is the library's to say"
    )]
    async fn serve(self, stream: TcpStream) {
        let ticket = |request: &Request, response: Accepted| {
            let query = request.uri().query().unwrap_or_default();
            let ticket = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "ticket");
            let is_good = ticket.is_some_and(|(_, ticket)| self.lock().tickets.remove(&*ticket));
            if is_good { Ok(response) } else { Err(refusal()) }
        };
        let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, ticket).await else { return };
        let (mut sink, mut source) = socket.split();
        let (send, mut outgoing) = mpsc::unbounded_channel();
        let number = {
            let mut connections = self.lock();
            connections.serial += 1;
            let number = connections.serial;
            let hello = json!({
                "type": "hello",
                "num_connections": connections.open.len() + 1,
                "connection_info": {"app_id": APP_ID},
                "debug_info": {"host": "sandbox", "approximate_connection_time": 3600},
            });
            drop(send.send(Message::text(hello.to_string())));
            connections.open.insert(number, Connection { send, is_leaving: false });
            number
        };
        loop {
            tokio::select! {
                message = outgoing.recv() => match message {
                    Some(message) => {
                        let is_end = message.is_close();
                        if sink.send(message).await.is_err() || is_end {
                            break;
                        }
                    }
                    None => break,
                },
                message = source.next() => match message {
                    Some(Ok(Message::Text(text))) => self.acknowledged(&text),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    Some(Ok(_)) => {}
                },
            }
        }
        self.lock().open.remove(&number);
    }

    fn acknowledged(&self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let id = message["envelope_id"].as_str().unwrap_or_default();
        if let Some(waiting) = self.lock().waiting.remove(id) {
            drop(waiting.send(message["payload"].clone()));
        }
    }
}

fn refusal() -> ErrorResponse {
    let mut response = ErrorResponse::new(Some("invalid_ticket".to_owned()));
    *response.status_mut() = tungstenite::http::StatusCode::FORBIDDEN;
    response
}

#[derive(Debug, Deserialize)]
struct Order {
    #[serde(default)]
    disconnect: bool,
    #[serde(default)]
    repeat: bool,
}

pub(super) fn routes(slack: Arc<Slack>) -> Router {
    Router::new().route("/_sandbox/slack/sockets", post(order)).with_state(slack)
}

async fn order(State(slack): State<Arc<Slack>>, body: String) -> Response {
    let Ok(order) = serde_json::from_str::<Order>(&body) else {
        return super::click::refused(StatusCode::BAD_REQUEST, "an order is {disconnect?, repeat?}");
    };
    let mut connections = slack.sockets.lock();
    if order.disconnect {
        for connection in connections.open.values_mut() {
            let message = if connection.is_leaving {
                Message::Close(None)
            } else {
                Message::text(json!({"type": "disconnect", "reason": "refresh_requested"}).to_string())
            };
            connection.is_leaving = true;
            drop(connection.send.send(message));
        }
    }
    if order.repeat
        && let Some(envelope) = &connections.last
        && let Some(connection) = connections.open.values().next_back()
    {
        drop(connection.send.send(Message::text(envelope.to_string())));
    }
    stand_in::json(StatusCode::OK, json!({"connected": connections.open.len()}))
}
