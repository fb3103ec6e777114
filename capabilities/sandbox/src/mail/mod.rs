//! A mail server (RFC 5321) that delivers to nobody: what it takes is shown at `/` and in `GET /_sandbox/state`.
//!
//! It speaks SMTP on a port of its own, in the clear, since it listens on loopback alone. It keeps the order of commands
//! and the limits of the standard; any recipient exists.

mod session;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::{io, net::SocketAddr};

use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::call::Call;
use crate::limits::Rate;
use crate::overview::escaped;
use crate::stand_in::{self, Kept, Memory, StandIn};

/// A message as it was handed in.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Letter {
    from: String,
    to: Vec<String>,
    message_id: String,
    subject: String,
    list_unsubscribe: String,
    /// Headers and text, as they came.
    raw: String,
}

impl Letter {
    fn of(from: &str, to: &[String], raw: String) -> Self {
        let header = |name: &str| {
            let mut value = String::new();
            let mut within = false;
            for line in raw.split("\r\n").take_while(|line| !line.is_empty()) {
                if line.starts_with([' ', '\t']) {
                    if within {
                        value.push_str(line);
                    }
                    continue;
                }
                let (known, text) = line.split_once(':').unwrap_or((line, ""));
                within = known.eq_ignore_ascii_case(name);
                if within {
                    value = text.trim().to_owned();
                }
            }
            value
        };
        Self {
            from: from.to_owned(),
            to: to.to_vec(),
            message_id: header("Message-ID"),
            subject: header("Subject"),
            list_unsubscribe: header("List-Unsubscribe"),
            raw,
        }
    }
}

/// What was taken, shared between SMTP and HTTP.
pub(crate) type Letters = Arc<Memory<Vec<Letter>>>;

/// The HTTP side of the mail stand-in.
pub(crate) struct Mail(Letters);

/// The SMTP side. Dropping it closes the port and every connection.
#[derive(Debug)]
pub(crate) struct SmtpServer {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Listens for mail; what it takes is shown by the other half.
pub(crate) async fn start(port: u16) -> io::Result<(SmtpServer, Mail)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("127.0.0.1:{port}: {error}")))?;
    let address = listener.local_addr()?;
    let letters = Letters::default();
    let taken = Arc::clone(&letters);
    let accepting = tokio::spawn(async move {
        let mut sessions = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let letters = Arc::clone(&taken);
            sessions.spawn(async move {
                if let Err(error) = session::hold(stream, &letters).await {
                    tracing::debug!(%error, "a mail session ended early");
                }
            });
            while sessions.try_join_next().is_some() {}
        }
    });
    Ok((SmtpServer { address, accepting }, Mail(letters)))
}

impl StandIn for Mail {
    const NAME: &'static str = "Mail";

    fn answer(&self, _call: &Call) -> Response {
        self.failure(StatusCode::NOT_FOUND)
    }

    fn memory(&self) -> &dyn Kept {
        &*self.0
    }

    fn idempotency_key(&self, _call: &Call) -> Option<String> {
        None
    }

    fn state(&self) -> Value {
        json!({ "messages": *self.0.lock() })
    }

    fn overview(&self) -> String {
        let letters = self.0.lock();
        if letters.is_empty() {
            return "<p class=\"muted\">No mail yet.</p>".to_owned();
        }
        let letter = |letter: &Letter| {
            format!(
                "<article><span class=\"tag\">to {}</span><b>{}</b><pre>{}</pre></article>",
                escaped(&letter.to.join(", ")),
                escaped(&letter.subject),
                escaped(&letter.raw)
            )
        };
        letters.iter().rev().map(letter).collect()
    }

    fn failure(&self, status: StatusCode) -> Response {
        stand_in::json(status, json!({ "error": status.canonical_reason().unwrap_or_default() }))
    }

    fn rate_limited(&self, retry_after_seconds: u64) -> Response {
        stand_in::with_retry_after(self.failure(StatusCode::TOO_MANY_REQUESTS), retry_after_seconds)
    }

    fn rate(&self, _call: &Call) -> Option<Rate> {
        None
    }
}
