//! What the workspace holds: channels, messages, views, and the tickets handed out with a
//! click (`trigger_id`, `response_url`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock;

use super::answer::Refusal;
use super::people::{APP_ID, BOT_ID, BOT_USER_ID, TEAM_ID};

/// A trigger can be used for 3 s.
const TRIGGER_SECONDS: i64 = 3;

/// The workspace.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct SlackMemory {
    pub(super) channels: Vec<Channel>,
    pub(super) messages: Vec<Message>,
    pub(super) views: Vec<View>,
    /// What each person's Home tab shows, by their id.
    pub(super) homes: BTreeMap<String, Value>,
    pub(super) response_urls: BTreeMap<String, ResponseUrl>,
    triggers: BTreeMap<String, Trigger>,
    /// Invariant: no message has a later one.
    last_ts_micros: i64,
    serial: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Channel {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) topic: Text,
    pub(super) purpose: Text,
    pub(super) creator: String,
    pub(super) created: i64,
    pub(super) is_archived: bool,
    pub(super) is_private: bool,
    /// A conversation between the bot and one person; never listed.
    pub(super) is_im: bool,
    pub(super) members: BTreeSet<String>,
}

/// A topic or purpose and who set it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) creator: String,
    pub(super) last_set: i64,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Message {
    pub(super) channel: String,
    pub(super) ts: String,
    pub(super) text: String,
    pub(super) blocks: Vec<Value>,
    pub(super) attachments: Vec<Value>,
    pub(super) metadata: Option<Value>,
    pub(super) thread_ts: Option<String>,
    pub(super) is_broadcast: bool,
    pub(super) edited: Option<String>,
    pub(super) pinned: bool,
    pub(super) ephemeral_for: Option<String>,
}

/// An address at which the app may answer a click.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct ResponseUrl {
    pub(super) message_ts: String,
    pub(super) channel: String,
    pub(super) user: String,
    pub(super) uses: u8,
    pub(super) issued: i64,
}

/// A form that was opened for somebody.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct View {
    /// As the API shows it.
    pub(super) view: Value,
    /// Who sees it.
    pub(super) user: String,
    /// What opened it.
    pub(super) trigger_id: String,
    /// Until it is sent and taken, or replaced by a note.
    pub(super) is_open: bool,
    /// What the app said is wrong with it.
    pub(super) errors: Value,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Trigger {
    user: String,
    issued: i64,
    used: bool,
}

impl SlackMemory {
    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A time stamp no message has yet.
    pub(super) fn next_ts(&mut self) -> String {
        self.last_ts_micros = clock::epoch_micros().max(self.last_ts_micros + 1);
        let (seconds, micros) = (self.last_ts_micros / 1_000_000, self.last_ts_micros % 1_000_000);
        format!("{seconds}.{micros:06}")
    }

    /// A channel by id, or by name with or without `#`, as `chat.postMessage` takes it.
    pub(super) fn channel(&self, id_or_name: &str) -> Result<&Channel, Refusal> {
        let name = id_or_name.trim_start_matches('#');
        self.channels
            .iter()
            .find(|channel| channel.id == id_or_name || (!channel.is_im && channel.name == name))
            .ok_or_else(|| Refusal::new("channel_not_found"))
    }

    pub(super) fn channel_mut(&mut self, id: &str) -> Result<&mut Channel, Refusal> {
        self.channels
            .iter_mut()
            .find(|channel| channel.id == id)
            .ok_or_else(|| Refusal::new("channel_not_found"))
    }

    /// A channel in which the bot may change something.
    pub(super) fn open_channel_mut(&mut self, id: &str) -> Result<&mut Channel, Refusal> {
        let channel = self.channel_mut(id)?;
        if channel.is_archived {
            return Err(Refusal::new("is_archived"));
        }
        if !channel.members.contains(BOT_USER_ID) {
            return Err(Refusal::new("not_in_channel"));
        }
        Ok(channel)
    }

    pub(super) fn message_mut(&mut self, channel: &str, ts: &str) -> Option<&mut Message> {
        self.messages.iter_mut().find(|message| message.channel == channel && message.ts == ts)
    }

    pub(super) fn issue_trigger(&mut self, user: &str) -> String {
        let serial = self.next_serial();
        let id = format!("{}.{serial}.{serial:032x}", clock::epoch_micros());
        let trigger = Trigger { user: user.to_owned(), issued: clock::epoch_seconds(), used: false };
        self.triggers.insert(id.clone(), trigger);
        id
    }

    /// An address at which the app may answer this person.
    pub(super) fn issue_response_url(
        &mut self,
        origin: &str,
        channel: &str,
        message_ts: &str,
        user: &str,
    ) -> String {
        let serial = self.next_serial();
        let token = format!("{:016x}{serial:08x}", clock::epoch_micros());
        let issued = ResponseUrl {
            message_ts: message_ts.to_owned(),
            channel: channel.to_owned(),
            user: user.to_owned(),
            uses: 0,
            issued: clock::epoch_seconds(),
        };
        self.response_urls.insert(token.clone(), issued);
        format!("{origin}/actions/{TEAM_ID}/{serial}/{token}")
    }

    /// Spends a trigger, and tells whose it was; each opens one view.
    pub(super) fn spend_trigger(&mut self, id: &str) -> Result<String, Refusal> {
        let trigger = self.triggers.get_mut(id).ok_or_else(|| Refusal::new("invalid_trigger_id"))?;
        if trigger.used {
            return Err(Refusal::new("exchanged_trigger_id"));
        }
        if clock::epoch_seconds() - trigger.issued > TRIGGER_SECONDS {
            return Err(Refusal::new("expired_trigger_id"));
        }
        trigger.used = true;
        Ok(trigger.user.clone())
    }

    /// The form that this trigger opened, while it is open.
    pub(super) fn form_of(&self, trigger_id: &Value) -> Option<Value> {
        let found = self.views.iter().find(|form| form.is_open && *trigger_id == *form.trigger_id);
        found.map(|form| form.view.clone())
    }

    /// Puts a form away that is not sent.
    pub(super) fn close_view(&mut self, id: &str) {
        for form in self.views.iter_mut().filter(|form| form.view["id"] == id) {
            form.is_open = false;
        }
    }

    /// What a form turned into, where that is a note; empty for one that is open or was just taken.
    pub(super) fn note_of(&self, id: &str) -> String {
        let found = self.views.iter().find(|form| form.view["id"] == id && !form.is_open);
        let note = found.filter(|form| form.view.get("submit").is_none());
        note.and_then(|form| form.view["blocks"][0]["text"]["text"].as_str()).unwrap_or_default().to_owned()
    }

    pub(super) fn to_json(&self) -> Value {
        let channels = self.channels.iter().filter(|channel| !channel.is_im);
        json!({
            "channels": channels.map(Channel::summary).collect::<Vec<_>>(),
            "messages": self.messages.iter().map(Message::summary).collect::<Vec<_>>(),
            "views": self.views.iter().map(View::summary).collect::<Vec<_>>(),
            "homes": self.homes,
        })
    }
}

impl View {
    fn summary(&self) -> Value {
        let mut summary = self.view.clone();
        summary["user"] = json!(self.user);
        summary["open"] = json!(self.is_open);
        summary["errors"] = self.errors.clone();
        summary
    }
}

impl Channel {
    fn summary(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "topic": self.topic.value,
            "purpose": self.purpose.value,
            "is_archived": self.is_archived,
            "is_private": self.is_private,
            "members": self.members,
        })
    }

    /// As the API shows it.
    pub(super) fn view(&self) -> Value {
        let text =
            |text: &Text| json!({"value": text.value, "creator": text.creator, "last_set": text.last_set});
        json!({
            "id": self.id,
            "name": self.name,
            "name_normalized": self.name,
            "created": self.created,
            "creator": self.creator,
            "is_archived": self.is_archived,
            "is_channel": !self.is_private,
            "is_group": self.is_private,
            "is_im": false,
            "is_mpim": false,
            "is_private": self.is_private,
            "is_general": false,
            "is_shared": false,
            "is_org_shared": false,
            "is_ext_shared": false,
            "is_pending_ext_shared": false,
            "is_member": self.members.contains(BOT_USER_ID),
            "pending_shared": [],
            "previous_names": [],
            "priority": 0,
            "unlinked": 0,
            "topic": text(&self.topic),
            "purpose": text(&self.purpose),
        })
    }
}

impl Message {
    fn summary(&self) -> Value {
        let mut summary = json!({
            "channel": self.channel,
            "ts": self.ts,
            "text": self.text,
            "blocks": self.blocks,
            "metadata": self.metadata,
            "user": BOT_USER_ID,
            "pinned": self.pinned,
        });
        if let Some(ts) = &self.edited {
            summary["edited"] = json!({"user": BOT_USER_ID, "ts": ts});
        }
        if let Some(user) = &self.ephemeral_for {
            summary["ephemeralFor"] = json!(user);
        }
        if let Some(ts) = &self.thread_ts {
            summary["thread_ts"] = json!(ts);
        }
        summary
    }

    /// As the API shows it. Metadata is left out unless it is asked for.
    pub(super) fn view(&self, with_metadata: bool) -> Value {
        let mut view = json!({
            "type": "message",
            "ts": self.ts,
            "text": self.text,
            "user": BOT_USER_ID,
            "bot_id": BOT_ID,
            "app_id": APP_ID,
            "team": TEAM_ID,
        });
        if !self.blocks.is_empty() {
            view["blocks"] = json!(self.blocks);
        }
        if !self.attachments.is_empty() {
            view["attachments"] = json!(self.attachments);
        }
        if let Some(metadata) = self.metadata.as_ref().filter(|_| with_metadata) {
            view["metadata"] = metadata.clone();
        }
        if let Some(ts) = &self.thread_ts {
            view["thread_ts"] = json!(ts);
        }
        if let Some(ts) = &self.edited {
            view["edited"] = json!({"user": BOT_USER_ID, "ts": ts});
        }
        if self.pinned {
            view["pinned_to"] = json!([self.channel]);
        }
        view
    }
}
