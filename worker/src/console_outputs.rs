//! Hands what cells print to the console: `HARMONY_API`, or the one that serves this data directory.
//!
//! The console is looked up for every request, since another one may serve by now. Where none is known, nothing is sent and
//! nothing is wrong: cells are then seen when they have ended.

use std::time::Duration;

use async_trait::async_trait;
use harmony_activities::{CellPiece, OutputSink};
use harmony_incidents::ticket::OutputTicket;
use reqwest::StatusCode;
use serde_json::{Value, json};
use url::Url;

use crate::{config::Config, failure::innermost};

/// How long the console may take for pieces; the next round waits.
const PIECES: Duration = Duration::from_secs(3);
/// How long it may take for a whole output, up to 10 MiB.
const WHOLE: Duration = Duration::from_secs(5);
/// How often a whole output is sent where the console does not answer: it may be about to start again.
const TRIES: u32 = 4;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(700);
/// Bytes of text in one request, well below what the console takes.
const REQUEST_BYTES: usize = 1024 * 1024;

/// See the module.
pub(crate) struct ConsoleOutputs {
    http: reqwest::Client,
    config: Config,
}

impl ConsoleOutputs {
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        let origin = config.api_origin().ok().flatten();
        let http =
            harmony_capabilities::address::builder(origin.as_ref().map_or("http://", |url| url.as_str()))
                .connect_timeout(Duration::from_secs(1))
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()?;
        Ok(Self { http, config: config.clone() })
    }

    fn address(&self, path: &str) -> Result<Option<Url>, String> {
        let Some(mut origin) = self.config.api_origin().map_err(|error| format!("{error:#}"))? else {
            return Ok(None);
        };
        origin.set_path(path);
        Ok(Some(origin))
    }
}

#[async_trait]
impl OutputSink for ConsoleOutputs {
    async fn pieces(&self, pieces: &[CellPiece]) -> Result<(), String> {
        let Some(address) = self.address("/runbook-output")? else { return Ok(()) };
        for pieces in in_requests(pieces) {
            let pieces: Vec<Value> = pieces.iter().map(piece).collect();
            let body = json!({ "pieces": pieces });
            let request = self.http.post(address.clone()).timeout(PIECES).json(&body);
            answered(request).await.map_err(|refused| refused.problem)?;
        }
        Ok(())
    }

    async fn whole(&self, ticket: &OutputTicket, bytes: Vec<u8>) -> Result<(), String> {
        let pass = hex::encode(serde_json::to_vec(ticket).unwrap_or_default());
        let bytes = axum::body::Bytes::from(bytes);
        let mut tries = 0;
        loop {
            tries += 1;
            let address = self.address("/runbook-output/whole")?;
            let address = address.ok_or("no console is known: set HARMONY_API to its address")?;
            let request = self.http.put(address).timeout(WHOLE).header("harmony-output-ticket", &pass);
            match answered(request.body(bytes.clone())).await {
                Ok(()) => return Ok(()),
                Err(refused) if refused.is_final || tries == TRIES => return Err(refused.problem),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

struct Refused {
    problem: String,
    /// Sent again, it would be refused again.
    is_final: bool,
}

async fn answered(request: reqwest::RequestBuilder) -> Result<(), Refused> {
    let answer = request.send().await.map_err(|error| Refused {
        problem: format!("the console does not answer: {}", innermost(&error)),
        is_final: false,
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let is_final = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
    Err(Refused { problem: format!("the console answered {status}"), is_final })
}

fn piece(one: &CellPiece) -> Value {
    let CellPiece { ticket, attempt, piece } = one;
    json!({
        "ticket": ticket, "attempt": attempt, "fromBytes": piece.from_bytes, "toBytes": piece.to_bytes, "text": piece.text,
    })
}

/// Pieces of at most [`REQUEST_BYTES`], or one that is longer.
fn in_requests(mut pieces: &[CellPiece]) -> Vec<&[CellPiece]> {
    let mut requests = Vec::new();
    while !pieces.is_empty() {
        let mut bytes = 0;
        let fit = pieces.iter().take_while(|one| {
            bytes += one.piece.text.len();
            bytes <= REQUEST_BYTES
        });
        let (now, later) = pieces.split_at(fit.count().max(1));
        requests.push(now);
        pieces = later;
    }
    requests
}
