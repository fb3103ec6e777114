//! Hands that do not give up: what a person or a program does whose console dies under them. A command that was not
//! answered is sent again under its own key; a click that did not arrive is clicked again.

use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::world::World;

/// Longest wait for an answer; a process is back within seconds.
const PATIENCE: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Clone)]
pub(crate) struct Hands {
    http: Client,
    api: String,
    token: String,
    slack: String,
}

/// A click, as it was answered.
pub(crate) enum Clicked {
    /// Harmony took it, and the form that it opened.
    Taken,
    /// It did not arrive, or Harmony was not there to take it.
    Lost,
    /// There is no message with this button.
    NoMessage,
}

impl Hands {
    pub(crate) fn new(world: &World) -> Self {
        let text = |pointer: &str| world.line().pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        Self {
            http: Client::builder().timeout(Duration::from_secs(20)).build().unwrap(),
            api: format!("{}/api/orgs/default", text("/api")),
            token: text("/token"),
            slack: text("/sandbox/slack"),
        }
    }

    /// A request, until somebody answers it.
    async fn ask(&self, method: Method, path: &str, key: Option<&str>, body: Option<&Value>) -> (u16, Value) {
        let began = Instant::now();
        loop {
            let mut request = self.http.request(method.clone(), format!("{}/{path}", self.api));
            request = request.bearer_auth(&self.token);
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let problem = match request.send().await {
                Ok(answer) => {
                    let status = answer.status();
                    if !status.is_server_error() && status.as_u16() != 429 {
                        // A connection may be cut in the middle of an answer, too.
                        if let Ok(body) = answer.json().await {
                            return (status.as_u16(), body);
                        }
                    }
                    status.to_string()
                }
                Err(error) => error.to_string(),
            };
            assert!(began.elapsed() < PATIENCE, "{method} {path}: nobody answers: {problem}");
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, None, None).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// A command under a key of its own; gives the status with the answer.
    pub(crate) async fn send(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        self.ask(Method::POST, path, Some(key), Some(body)).await
    }

    pub(crate) async fn incident(&self, id: &str) -> Value {
        self.get(&format!("incidents/{id}")).await
    }

    /// Every record of an incident.
    pub(crate) async fn records(&self, id: &str) -> Vec<Value> {
        self.get(&format!("incidents/{id}/events?limit=1000")).await["events"].as_array().unwrap().clone()
    }

    /// Every incident there is.
    pub(crate) async fn incidents(&self) -> Vec<String> {
        let mut ids = Vec::new();
        let mut page = self.get("incidents?limit=100").await;
        loop {
            let found = page["incidents"].as_array().unwrap();
            ids.extend(found.iter().map(|one| one["incidentId"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["nextCursor"].as_str() else { return ids };
            page = self.get(&format!("incidents?limit=100&cursor={cursor}")).await;
        }
    }

    /// Clicks a button of the message that asks for this gate, once.
    pub(crate) async fn click(&self, gate_id: &str, action: &str, user: &str) -> Clicked {
        let Some(ts) = self.message(gate_id, action).await else { return Clicked::NoMessage };
        let click = json!({ "messageTs": ts, "actionId": action, "userId": user });
        let sent = self.http.post(format!("{}/_sandbox/slack/click", self.slack)).json(&click).send().await;
        let Ok(answer) = sent else { return Clicked::Lost };
        let outcome: Value = answer.json().await.unwrap_or_default();
        let taken = |outcome: &Value| outcome["delivered"] == true && outcome["status"] == 200;
        match (taken(&outcome), outcome.get("form")) {
            // Slack did not open the form, or there was nothing to reject any more: nothing was decided.
            (true, None) if action == "reject" => Clicked::Lost,
            (true, None) => Clicked::Taken,
            (true, Some(form)) if taken(form) => Clicked::Taken,
            // The message was settled between the look and the click.
            _ if outcome.get("error").is_some() => Clicked::NoMessage,
            _ => Clicked::Lost,
        }
    }

    async fn message(&self, gate_id: &str, action: &str) -> Option<String> {
        let state = self.http.get(format!("{}/_sandbox/state", self.slack)).send().await.ok()?;
        let state: Value = state.json().await.ok()?;
        let button = format!("\"{action}\"");
        state["messages"].as_array()?.iter().rev().find_map(|message| {
            let blocks = message["blocks"].to_string();
            (blocks.contains(&format!("{gate_id}\\\"")) && blocks.contains(&button))
                .then(|| message["ts"].as_str().map(str::to_owned))?
        })
    }
}
