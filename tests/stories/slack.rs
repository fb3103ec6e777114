//! Slack as a person uses it: a channel, a message in it, a button.

use serde_json::Value;

use crate::world::World;

/// The workspace of a world.
pub(crate) struct Slack<'a> {
    world: &'a World,
}

/// A channel by the beginning of its name.
pub(crate) struct Channel<'a> {
    world: &'a World,
    name: String,
}

/// A message that was found in a channel.
pub(crate) struct Message<'a> {
    world: &'a World,
    message: Value,
}

/// A button that somebody is about to click.
pub(crate) struct Click<'a> {
    world: &'a World,
    ts: String,
    action: String,
}

impl World {
    /// The workspace.
    pub(crate) fn slack(&self) -> Slack<'_> {
        Slack { world: self }
    }
}

impl<'a> Slack<'a> {
    /// The channel of an incident, or any other whose name begins like this.
    pub(crate) fn channel(&self, name: &str) -> Channel<'a> {
        Channel { world: self.world, name: name.to_lowercase() }
    }
}

impl<'a> Channel<'a> {
    async fn found(&self) -> Option<Value> {
        let channels = self.world.state("slack").await["channels"].clone();
        let mut all = channels.as_array().unwrap().iter();
        all.find(|channel| channel["name"].as_str().unwrap().starts_with(&self.name)).cloned()
    }

    /// Waits for a message that says this.
    pub(crate) async fn expect(&self, text: &str) -> Message<'a> {
        self.wait(text, |message| said(message).contains(text)).await
    }

    /// Waits for a message that says this and has buttons.
    pub(crate) async fn question(&self, text: &str) -> Message<'a> {
        self.wait(text, |message| said(message).contains(text) && buttons(message).next().is_some()).await
    }

    /// The pinned message is left out: it says how the incident is, and so what others say.
    async fn wait(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Message<'a> {
        let message = self
            .world
            .until(&format!("#{}… to say: {what}", self.name), async || {
                let channel = self.found().await?;
                let messages = self.world.state("slack").await["messages"].clone();
                let is_told = |one: &&Value| one["channel"] == channel["id"] && one["pinned"] != true;
                let mut of_channel = messages.as_array().unwrap().iter().filter(is_told);
                of_channel.find(|one| fits(one)).cloned()
            })
            .await;
        Message { world: self.world, message }
    }

    /// Waits until it is archived.
    pub(crate) async fn is_archived(&self) {
        self.world
            .until(&format!("#{}… to be archived", self.name), async || {
                self.found().await.filter(|channel| channel["is_archived"] == true).map(drop)
            })
            .await;
    }
}

/// Everything in a message that a person reads.
fn said(message: &Value) -> String {
    fn collect(value: &Value, texts: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                texts.extend(fields.get("text").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|field| collect(field, texts));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
            _ => {}
        }
    }
    let mut texts = Vec::new();
    collect(message, &mut texts);
    texts.join("\n")
}

fn buttons(message: &Value) -> impl Iterator<Item = &Value> {
    let blocks = message["blocks"].as_array().into_iter().flatten();
    let elements = blocks.filter_map(|block| block["elements"].as_array()).flatten();
    elements.filter(|element| element["type"] == "button")
}

impl<'a> Message<'a> {
    /// The button with this label.
    pub(crate) fn click(&self, label: &str) -> Click<'a> {
        let button = buttons(&self.message).find(|one| one["text"]["text"].as_str() == Some(label));
        let button = button.unwrap_or_else(|| panic!("no button {label} in {}", self.message));
        Click {
            world: self.world,
            ts: self.message["ts"].as_str().unwrap().to_owned(),
            action: button["action_id"].as_str().unwrap().to_owned(),
        }
    }

    /// The message has no button.
    pub(crate) fn offers_nothing(&self) {
        assert!(buttons(&self.message).next().is_none(), "it has buttons: {}", self.message);
    }

    /// The message also says this.
    pub(crate) fn says(&self, text: &str) -> &Self {
        let all = said(&self.message);
        assert!(all.contains(text), "it does not say {text:?}: {all}");
        self
    }
}

impl Click<'_> {
    /// Clicks as this user.
    pub(crate) async fn as_(self, user: &str) {
        self.world.click_on(&self.ts, &self.action, user).await;
    }
}
