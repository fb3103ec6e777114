//! Messages: sent once, found again by the key in their metadata.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;
use slack_morphism::prelude::{
    SlackApiChatPostMessageRequest, SlackApiChatUpdateRequest, SlackApiPinsAddRequest, SlackMessageContent,
    SlackMessageMetadata,
};
use uuid::Uuid;

use super::blocks::{self, Block};
use super::web::{Done, Metadata, Page, is_refused_with};
use super::{Message, MessageRef, Slack};
use crate::error::{Attempt, CallError};

/// Marks a message as the effect of a step.
const EVENT_TYPE: &str = "harmony_effect";

#[derive(Debug, Deserialize)]
struct Posted {
    channel: String,
    ts: String,
}

#[derive(Debug, Deserialize)]
struct History {
    messages: Vec<Past>,
    #[serde(default)]
    response_metadata: Option<Metadata>,
}

#[derive(Debug, Deserialize)]
struct Past {
    ts: String,
    /// Other apps put anything there, so it is looked at only when it is ours.
    #[serde(default)]
    metadata: Option<Value>,
}

impl Page for History {
    type Item = Past;
    fn into_parts(self) -> (Vec<Past>, Option<Metadata>) {
        (self.messages, self.response_metadata)
    }
}

impl Slack {
    /// Posts a message. On [`Attempt::Again`] a message with this key is looked for first.
    pub async fn send_message(
        &self,
        attempt: Attempt,
        key: &Uuid,
        channel: &str,
        message: &Message,
    ) -> Result<MessageRef, CallError> {
        if attempt == Attempt::Again
            && let Some(sent) = self.find_message(channel, key).await?
        {
            return Ok(sent);
        }
        self.post(SlackApiChatPostMessageRequest::new(channel.into(), content(key, message))).await
    }

    async fn post(&self, request: SlackApiChatPostMessageRequest) -> Result<MessageRef, CallError> {
        let posted: Posted = self.web.act("chat.postMessage", &request).await?;
        Ok(MessageRef { channel: posted.channel, ts: posted.ts })
    }

    /// Posts replies below a message, one after the other. On [`Attempt::Again`] those with their keys there are left
    /// out; the first that fails ends it.
    pub async fn send_replies(
        &self,
        attempt: Attempt,
        below: &MessageRef,
        replies: &[(Uuid, Message)],
    ) -> Result<(), CallError> {
        let mut there = HashSet::new();
        if attempt == Attempt::Again && !replies.is_empty() {
            self.web
                .search::<History, ()>("conversations.replies", &thread_of(below), |past| {
                    there.extend(replies.iter().map(|(key, _)| *key).filter(|key| past.carries(key)));
                    None
                })
                .await?;
        }
        for (key, message) in replies.iter().filter(|(key, _)| !there.contains(key)) {
            self.send_reply(key, below, message).await?;
        }
        Ok(())
    }

    /// Posts one reply below a message.
    pub async fn send_reply(
        &self,
        key: &Uuid,
        below: &MessageRef,
        message: &Message,
    ) -> Result<MessageRef, CallError> {
        let request =
            SlackApiChatPostMessageRequest::new(below.channel.as_str().into(), content(key, message))
                .with_thread_ts(below.ts.as_str().into());
        self.post(request).await
    }

    /// The reply with this key below a message.
    pub async fn find_reply(&self, below: &MessageRef, key: &Uuid) -> Result<Option<MessageRef>, CallError> {
        let wanted = |past: Past| {
            past.carries(key).then(|| MessageRef { channel: below.channel.clone(), ts: past.ts })
        };
        self.web.search::<History, MessageRef>("conversations.replies", &thread_of(below), wanted).await
    }

    /// Replaces what a message says, blocks too; its key stays.
    pub async fn update_message(&self, message: &MessageRef, new: &Message) -> Result<(), CallError> {
        let content = SlackMessageContent::new().with_text(new.text.clone()).with_blocks(blocks_instead(new));
        let request = SlackApiChatUpdateRequest::new(
            message.channel.as_str().into(),
            content,
            message.ts.as_str().into(),
        );
        let _: Done = self.web.act("chat.update", &request).await?;
        Ok(())
    }

    /// Pins a message to its channel. A pinned message stays so.
    pub async fn pin(&self, message: &MessageRef) -> Result<(), CallError> {
        let request =
            SlackApiPinsAddRequest::new(message.channel.as_str().into(), message.ts.as_str().into());
        match self.web.act::<Done>("pins.add", &request).await {
            Err(error) if !is_refused_with(&error, "already_pinned") => Err(error),
            _ => Ok(()),
        }
    }

    /// The message with this key, the latest if there are several.
    pub async fn find_message(&self, channel: &str, key: &Uuid) -> Result<Option<MessageRef>, CallError> {
        let wanted =
            |past: Past| past.carries(key).then(|| MessageRef { channel: channel.to_owned(), ts: past.ts });
        self.web.search::<History, MessageRef>("conversations.history", &history_of(channel), wanted).await
    }

    /// How many messages carry this key: more than one means that a request was still under way
    /// when we looked.
    pub async fn count_messages(&self, channel: &str, key: &Uuid) -> Result<usize, CallError> {
        let mut count = 0;
        self.web
            .search::<History, ()>("conversations.history", &history_of(channel), |past| {
                count += usize::from(past.carries(key));
                None
            })
            .await?;
        Ok(count)
    }
}

impl Past {
    fn carries(&self, key: &Uuid) -> bool {
        let Some(metadata) = &self.metadata else {
            return false;
        };
        metadata["event_type"] == EVENT_TYPE
            && metadata["event_payload"]["key"]
                .as_str()
                .and_then(|text| text.parse().ok())
                .is_some_and(|found: Uuid| found == *key)
    }
}

/// What a message says, with its key.
fn content(key: &Uuid, message: &Message) -> SlackMessageContent {
    let ours = SlackMessageMetadata::new(EVENT_TYPE.to_owned())
        .with_event_payload(HashMap::from([("key".to_owned(), key.to_string())]));
    let content = SlackMessageContent::new().with_text(message.text.clone()).with_metadata(ours);
    if message.blocks.is_empty() { content } else { content.with_blocks(message.blocks.clone()) }
}

fn history_of(channel: &str) -> [(&str, &str); 3] {
    [("channel", channel), ("include_all_metadata", "true"), ("limit", "100")]
}

fn thread_of(above: &MessageRef) -> [(&str, &str); 4] {
    [
        ("channel", above.channel.as_str()),
        ("ts", &above.ts),
        ("include_all_metadata", "true"),
        ("limit", "100"),
    ]
}

/// An update without blocks keeps the old ones at Slack, buttons and all; so the text becomes a
/// block.
fn blocks_instead(message: &Message) -> Vec<Block> {
    if !message.blocks.is_empty() {
        return message.blocks.clone();
    }
    let text: String = message.text.chars().take(blocks::SECTION_CHARS).collect();
    vec![blocks::section(&text)]
}
