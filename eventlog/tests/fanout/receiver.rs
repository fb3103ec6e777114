//! A receiver of webhooks: verifies what it is sent with nothing of the sender's code, and answers as it was told to.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::{net::TcpListener, sync::Notify};

/// How the next requests are answered; 200 once there is nothing left.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mood {
    Status(u16),
    RetryAfter(u16, u32),
    Slow(Duration),
    /// 200, while the connection is cut before the answer is out.
    Lost,
}

#[derive(Default)]
struct Inner {
    taken: Vec<Value>,
    tries: Vec<(Value, jiff::Timestamp)>,
    moods: VecDeque<Mood>,
    /// Answers 503 to whatever is about one of these.
    closed_to: Vec<String>,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

struct Shared {
    /// Base64, without the prefix.
    secret: Mutex<String>,
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    pub(crate) async fn start(secret: &str) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), secret).await
    }

    pub(crate) async fn start_at(address: SocketAddr, secret: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            secret: Mutex::new(secret.to_owned()),
            inner: Mutex::default(),
            changed: Notify::new(),
        });
        let router = Router::new().route("/hook", post(receive)).with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, serving }
    }

    pub(crate) fn answer(&self, moods: &[Mood]) {
        self.shared.inner.lock().unwrap().moods.extend(moods);
    }

    pub(crate) fn close_to(&self, incidents: &[&str]) {
        self.shared.inner.lock().unwrap().closed_to = incidents.iter().map(|&one| one.to_owned()).collect();
    }

    pub(crate) fn expect_secret(&self, secret: &str) {
        secret.clone_into(&mut self.shared.secret.lock().unwrap());
    }

    /// Events that were taken, in the order in which they came.
    pub(crate) fn taken(&self) -> Vec<Value> {
        self.shared.inner.lock().unwrap().taken.clone()
    }

    /// Every request that was signed as it should be, and when it came.
    pub(crate) fn tries(&self) -> Vec<(Value, jiff::Timestamp)> {
        self.shared.inner.lock().unwrap().tries.clone()
    }

    /// Waits until what was taken is as wished.
    pub(crate) async fn until(&self, wished: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                let taken = self.taken();
                if wished(&taken) {
                    return taken;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(90), waiting).await {
            Ok(taken) => taken,
            Err(_) => panic!("this is all that came: {:#?}", self.tries()),
        }
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!(text("content-type"), "application/cloudevents+json; charset=utf-8");
    let second: i64 = text("webhook-timestamp").parse().unwrap();
    let age = jiff::Timestamp::now().as_second() - second;
    let key = STANDARD.decode(shared.secret.lock().unwrap().as_bytes()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(text("webhook-id").as_bytes());
    mac.update(b".");
    mac.update(text("webhook-timestamp").as_bytes());
    mac.update(b".");
    mac.update(&body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    // Somebody's clock may be off by this much, says the scheme.
    let signed = text("webhook-signature").split(' ').any(|one| one == expected) && age.abs() <= 300;
    if !signed {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event["id"], text("webhook-id"), "a repetition is known by its id");
    let mood = {
        let mut inner = shared.inner.lock().unwrap();
        inner.tries.push((event.clone(), jiff::Timestamp::now()));
        let subject = event["subject"].as_str().unwrap_or_default();
        if inner.closed_to.iter().any(|one| one == subject) {
            Some(Mood::Status(503))
        } else {
            inner.moods.pop_front()
        }
    };
    let refused = match mood {
        None => None,
        Some(Mood::Status(status)) => Some(StatusCode::from_u16(status).unwrap().into_response()),
        Some(Mood::RetryAfter(status, seconds)) => {
            let status = StatusCode::from_u16(status).unwrap();
            Some((status, [("retry-after", seconds.to_string())]).into_response())
        }
        Some(Mood::Slow(wait)) => {
            tokio::time::sleep(wait).await;
            None
        }
        Some(Mood::Lost) => {
            shared.inner.lock().unwrap().taken.push(event.clone());
            // A body that breaks off: the sender hears no end of it.
            let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
            let answer = Response::builder().status(500).body(axum::body::Body::from_stream(broken));
            Some(answer.unwrap())
        }
    };
    if let Some(refused) = refused {
        shared.changed.notify_waiters();
        return refused;
    }
    shared.inner.lock().unwrap().taken.push(event);
    shared.changed.notify_waiters();
    StatusCode::NO_CONTENT.into_response()
}
