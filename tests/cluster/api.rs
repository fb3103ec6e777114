//! The API of both consoles, as an operator and a commander use it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// May do all but approve what they asked for.
pub(crate) const TOKEN: &str = "the-operators-token";
/// Decides.
pub(crate) const COMMANDERS_TOKEN: &str = "the-commanders-token";
/// How often something is looked for.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// Longest wait for a decision to count.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) origins: Vec<String>,
    pub(crate) http: reqwest::Client,
}

impl Api {
    /// Declares through one console or the other; a loaded one is asked again under the same key.
    pub(crate) async fn declare(&self, console: usize, title: &str, severity: &str) -> String {
        let url = format!("{}/incidents", self.origins[console]);
        let body = json!({ "title": title, "severity": severity });
        for _ in 0..20 {
            let asked = self.http.post(&url).bearer_auth(TOKEN).header("idempotency-key", title).json(&body);
            if let Ok(answer) = asked.send().await {
                let status = answer.status();
                let answer: Value = answer.json().await.unwrap();
                assert!(status == 201 || status.is_server_error(), "{answer}");
                if status == 201 {
                    return answer["incidentId"].as_str().unwrap().to_owned();
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("{title} was not taken");
    }

    async fn get(&self, path: &str) -> Value {
        let answer =
            self.http.get(format!("{}/{path}", self.origins[0])).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// As the console shows it.
    pub(crate) async fn incident(&self, id: &str) -> Value {
        self.get(&format!("incidents/{id}")).await
    }

    /// All of them; none has more than a page.
    pub(crate) async fn records(&self, id: &str) -> Vec<Value> {
        self.get(&format!("incidents/{id}/events?limit=200")).await["events"].as_array().unwrap().clone()
    }

    /// How many have been initiated.
    pub(crate) async fn ended(&self, ids: &[String]) -> usize {
        let mut ended = 0;
        for id in ids {
            let status = self.incident(id).await["blueprints"]["initiate"]["status"].clone();
            ended += usize::from(status.as_str().is_some_and(|status| status != "RUNNING"));
        }
        ended
    }

    /// How many have asked for a decision.
    pub(crate) async fn waiting(&self, ids: &[String]) -> usize {
        let mut waiting = 0;
        for id in ids {
            waiting += usize::from(self.incident(id).await["gate"].is_object());
        }
        waiting
    }

    /// The log verifies.
    pub(crate) async fn verified(&self) {
        let report = self.get("log/verify").await;
        assert_eq!(report["verified"], true, "{report}");
    }

    /// The commander approves what an incident waits for. Gives how long it took until that counted.
    pub(crate) async fn approve(&self, id: &str) -> Duration {
        let shown = self.incident(id).await["gate"].clone();
        let gate = shown["gateId"].as_str().unwrap();
        let mut url = reqwest::Url::parse(&format!("{}/approvals/", self.origins[1])).unwrap();
        url.path_segments_mut().unwrap().pop_if_empty().extend(gate.split('/'));
        let decided = Instant::now();
        let body = json!({ "decision": "approved", "digest": shown["digest"], "reason": "during a restart" });
        let answer = self.http.post(url).bearer_auth(COMMANDERS_TOKEN).json(&body).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{status} {}", answer.text().await.unwrap());
        while self.incident(id).await["gate"].is_object() {
            assert!(decided.elapsed() < PATIENCE, "the decision on {gate} does not count");
            tokio::time::sleep(LOOK).await;
        }
        decided.elapsed()
    }
}
