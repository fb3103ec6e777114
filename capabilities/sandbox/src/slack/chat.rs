//! `chat.*`: messages of the bot.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::clock;

use super::answer::{Outcome, Refusal};
use super::memory::{Channel, Message, SlackMemory, Text};
use super::people::{self, BOT_USER_ID};
use super::{Arguments, flag, text};

pub(super) fn post_message(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let message = Message {
        metadata: arguments.get("metadata").cloned(),
        is_broadcast: flag(arguments, "reply_broadcast"),
        ..compose(memory, arguments)?
    };
    let answer = json!({
        "channel": message.channel,
        "ts": message.ts,
        "message": message.view(true),
    });
    memory.messages.push(message);
    Ok(answer)
}

pub(super) fn post_ephemeral(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let user = text(arguments, "user").to_owned();
    let composed = compose(memory, arguments)?;
    if !memory.channel(&composed.channel)?.members.contains(&user) {
        return Err(Refusal::new("user_not_in_channel"));
    }
    let answer = json!({"message_ts": composed.ts});
    memory.messages.push(Message { ephemeral_for: Some(user), ..composed });
    Ok(answer)
}

/// What is not given stays; an empty list takes the blocks away, an empty object the metadata.
pub(super) fn update(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let channel = memory.channel(text(arguments, "channel"))?;
    if channel.is_archived {
        return Err(Refusal::new("is_inactive"));
    }
    let channel_id = channel.id.clone();
    let blocks = arguments.contains_key("blocks").then(|| blocks_of(memory, arguments));
    let edited_ts = memory.next_ts();
    let message = memory
        .message_mut(&channel_id, text(arguments, "ts"))
        .filter(|message| message.ephemeral_for.is_none())
        .ok_or_else(|| Refusal::new("message_not_found"))?;
    if let Some(blocks) = blocks {
        message.blocks = blocks;
    }
    if let Some(Value::Array(attachments)) = arguments.get("attachments") {
        message.attachments.clone_from(attachments);
    }
    if let Some(metadata) = arguments.get("metadata") {
        let is_empty = metadata.as_object().is_some_and(serde_json::Map::is_empty);
        message.metadata = Some(metadata.clone()).filter(|_| !is_empty);
    }
    if arguments.contains_key("text") {
        text(arguments, "text").clone_into(&mut message.text);
    }
    message.edited = Some(edited_ts);
    Ok(json!({
        "channel": message.channel,
        "ts": message.ts,
        "text": message.text,
        "message": message.view(true),
    }))
}

/// A message that is not stored yet.
fn compose(memory: &mut SlackMemory, arguments: &Arguments) -> Result<Message, Refusal> {
    let channel = destination(memory, text(arguments, "channel"))?;
    let thread_ts = arguments.get("thread_ts").and_then(Value::as_str).map(str::to_owned);
    let markdown = text(arguments, "markdown_text");
    if !markdown.is_empty() && (arguments.contains_key("text") || arguments.contains_key("blocks")) {
        return Err(Refusal::new("markdown_text_conflict"));
    }
    let text = match text(arguments, "text") {
        "" => markdown,
        given => given,
    };
    Ok(Message {
        channel,
        text: text.to_owned(),
        blocks: blocks_of(memory, arguments),
        attachments: array(arguments, "attachments"),
        thread_ts,
        ts: memory.next_ts(),
        ..Message::default()
    })
}

/// The id of a channel to write to; a person's id opens the conversation with them.
fn destination(memory: &mut SlackMemory, to: &str) -> Result<String, Refusal> {
    if people::is_user_id(to) && people::exists(to) {
        return Ok(direct_conversation(memory, to));
    }
    let id = memory.channel(to)?.id.clone();
    memory.open_channel_mut(&id)?;
    Ok(id)
}

fn direct_conversation(memory: &mut SlackMemory, user: &str) -> String {
    let with_user = |channel: &&Channel| channel.is_im && channel.members.contains(user);
    if let Some(known) = memory.channels.iter().find(with_user) {
        return known.id.clone();
    }
    let id = format!("D{:010}", memory.next_serial());
    memory.channels.push(Channel {
        id: id.clone(),
        name: people::display_name(user),
        topic: Text::default(),
        purpose: Text::default(),
        creator: BOT_USER_ID.to_owned(),
        created: clock::epoch_seconds(),
        is_archived: false,
        is_private: true,
        is_im: true,
        members: BTreeSet::from([BOT_USER_ID.to_owned(), user.to_owned()]),
    });
    id
}

/// The blocks, with the ids Slack gives to blocks and buttons that came without one.
pub(super) fn blocks_of(memory: &mut SlackMemory, arguments: &Arguments) -> Vec<Value> {
    let mut blocks = array(arguments, "blocks");
    for block in &mut blocks {
        give_id(memory, block, "block_id");
        if let Some(elements) = block.get_mut("elements").and_then(Value::as_array_mut) {
            for element in elements.iter_mut().filter(|element| element["type"] == "button") {
                give_id(memory, element, "action_id");
            }
        }
        if let Some(accessory) = block.get_mut("accessory").filter(|it| it["type"] == "button") {
            give_id(memory, accessory, "action_id");
        }
    }
    blocks
}

fn give_id(memory: &mut SlackMemory, value: &mut Value, name: &str) {
    if value.is_object() && value[name].is_null() {
        value[name] = json!(format!("{:05X}", memory.next_serial()));
    }
}

fn array(arguments: &Arguments, name: &str) -> Vec<Value> {
    match arguments.get(name) {
        Some(Value::Array(items)) => items.clone(),
        _ => Vec::new(),
    }
}
