//! A console whose Slack is the sandbox: what people do there arrives here, signed or by socket, and what they are told
//! is there to be read.

use std::{sync::Arc, time::Duration};

use harmony_capabilities::slack::{SlackReplies, SlackSockets};
use harmony_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};

use crate::world::{SIGNING_SECRET, World};

/// How Slack's requests come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Http,
    Socket,
}

/// A console and its workspace.
pub(crate) struct Workspace {
    pub(crate) world: Arc<World>,
    sandbox: Sandbox,
    http: reqwest::Client,
}

impl Workspace {
    pub(crate) async fn new(by: By) -> Self {
        let options = SandboxOptions::on_free_ports(SIGNING_SECRET.into());
        let sandbox = Sandbox::start(options).await.unwrap();
        let api = sandbox.base_urls().slack;
        let replies = SlackReplies::new(&api, "xoxb-test".into()).unwrap();
        let sockets = (by == By::Socket).then(|| SlackSockets::new(&api, "xapp-test".into()).unwrap());
        let world = Arc::new(World::with(Some(replies), sockets, None).await);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let workspace = Self { world, sandbox, http };
        match by {
            By::Http => {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                workspace.sandbox.set_harmony_url(&format!("http://{}", listener.local_addr().unwrap()));
                let router = workspace.world.router.clone();
                tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
            }
            // Both of them.
            By::Socket => workspace.until(json!({}), |answer| answer["connected"] == 2).await,
        }
        workspace
    }

    /// What the sandbox answers to something that a person does.
    pub(crate) async fn does(&self, what: &str, body: Value) -> Value {
        let url = format!("{}/_sandbox/slack/{what}", self.sandbox.origins().slack);
        self.http.post(url).json(&body).send().await.unwrap().json().await.unwrap()
    }

    /// The same, which has to be delivered and taken.
    pub(crate) async fn did(&self, what: &str, body: Value) -> Value {
        let outcome = self.does(what, body).await;
        assert_eq!((&outcome["delivered"], &outcome["status"]), (&json!(true), &json!(200)), "{outcome}");
        assert_eq!(outcome["problem"], Value::Null, "{outcome}");
        outcome
    }

    /// Types a command; what it is answered with.
    pub(crate) async fn types(&self, user: &str, text: &str, channel: &str) -> String {
        let typed = json!({ "userId": user, "text": text, "channelId": channel });
        let outcome = self.did("command", typed).await;
        let said: Value = serde_json::from_str(outcome["body"].as_str().unwrap()).unwrap();
        assert_eq!(said["response_type"], "ephemeral");
        said["text"].as_str().unwrap().to_owned()
    }

    /// Waits until the sockets are as they should be.
    pub(crate) async fn until(&self, order: Value, done: impl Fn(&Value) -> bool) {
        for _ in 0..1_000 {
            if done(&self.does("sockets", order.clone()).await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the sockets are not as they should be");
    }

    pub(crate) async fn state(&self) -> Value {
        let url = format!("{}/_sandbox/state", self.sandbox.origins().slack);
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    async fn api(&self, method: &str, body: Value) -> Value {
        let url = format!("{}/{method}", self.sandbox.base_urls().slack);
        let answer = self.http.post(url).bearer_auth("xoxb-test").json(&body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
        answer
    }

    /// A channel, made by the bot.
    pub(crate) async fn channel(&self, name: &str) -> String {
        let made = self.api("conversations.create", json!({ "name": name })).await;
        made["channel"]["id"].as_str().unwrap().to_owned()
    }

    /// A message with these buttons; its timestamp.
    pub(crate) async fn message(&self, channel: &str, actions: &[&str], value: &Value) -> String {
        let buttons: Vec<Value> = actions
            .iter()
            .map(|action| {
                json!({
                    "type": "button",
                    "action_id": action,
                    "text": { "type": "plain_text", "text": action },
                    "value": value.to_string(),
                })
            })
            .collect();
        let blocks = json!([{ "type": "actions", "block_id": "decide", "elements": buttons }]);
        let body = json!({ "channel": channel, "text": "Run rollback.md", "blocks": blocks });
        self.api("chat.postMessage", body).await["ts"].as_str().unwrap().to_owned()
    }

    /// Sends a form of the page for people; the page that it leads to.
    pub(crate) async fn sends(&self, what: &str, fields: &[(&str, &str)]) -> String {
        let origin = self.sandbox.origins().slack;
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let sent = self.http.post(format!("{origin}/_sandbox/slack/{what}")).header("origin", &origin);
        let answer =
            sent.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{what} {fields:?}");
        answer.text().await.unwrap()
    }

    /// The form that is open for this person, once it is.
    pub(crate) async fn form(&self, user: &str) -> Value {
        for _ in 0..1_000 {
            let state = self.state().await;
            let views = state["views"].as_array().unwrap();
            if let Some(view) = views.iter().rev().find(|view| view["user"] == user && view["open"] == true) {
                return view.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no form is open for {user}");
    }

    /// Looks at App Home as this person; what is there once it was published.
    pub(crate) async fn home(&self, user: &str) -> Value {
        let before = self.state().await["homes"][user]["hash"].clone();
        self.did("home", json!({ "userId": user })).await;
        for _ in 0..1_000 {
            let home = self.state().await["homes"][user].clone();
            if home["hash"] != before {
                return home;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nothing is published for {user}");
    }

    /// What this person was told, once they are.
    pub(crate) async fn told(&self, user: &str) -> String {
        for _ in 0..1_000 {
            let state = self.state().await;
            let messages = state["messages"].as_array().unwrap();
            if let Some(told) = messages.iter().rev().find(|message| message["ephemeralFor"] == user) {
                return told["text"].as_str().unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{user} was told nothing");
    }
}
