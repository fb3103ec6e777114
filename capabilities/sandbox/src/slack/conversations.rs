//! `conversations.*`: channels and what was said in them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::clock;

use super::answer::{Outcome, Refusal};
use super::memory::{Channel, Message, SlackMemory, Text};
use super::people::{self, BOT_USER_ID};
use super::{Arguments, flag, limit, text};

pub(super) fn create(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let name = text(arguments, "name");
    let channel = found(memory, name, BOT_USER_ID, flag(arguments, "is_private"))?;
    Ok(json!({"channel": channel.view()}))
}

/// A new channel with its creator in it; also for channels that people made.
pub(super) fn found(
    memory: &mut SlackMemory,
    name: &str,
    creator: &str,
    is_private: bool,
) -> Result<Channel, Refusal> {
    if memory.channels.iter().any(|channel| channel.name == name) {
        return Err(Refusal::new("name_taken"));
    }
    let channel = Channel {
        id: format!("C{:010}", memory.next_serial()),
        name: name.to_owned(),
        topic: Text::default(),
        purpose: Text::default(),
        creator: creator.to_owned(),
        created: clock::epoch_seconds(),
        is_archived: false,
        is_private,
        is_im: false,
        members: BTreeSet::from([creator.to_owned()]),
    };
    memory.channels.push(channel.clone());
    Ok(channel)
}

pub(super) fn list(memory: &SlackMemory, arguments: &Arguments) -> Outcome {
    let types = match text(arguments, "types") {
        "" => "public_channel",
        given => given,
    };
    let asked = |channel: &&Channel| {
        let kind = match (channel.is_im, channel.is_private) {
            (true, _) => return false,
            (false, true) => "private_channel",
            (false, false) => "public_channel",
        };
        types.split(',').any(|asked| asked == kind)
            && !(channel.is_archived && flag(arguments, "exclude_archived"))
    };
    let channels: Vec<Value> = memory
        .channels
        .iter()
        .filter(asked)
        .map(|channel| {
            let mut view = channel.view();
            view["num_members"] = json!(channel.members.len());
            view
        })
        .collect();
    let (page, next) = page_of(channels, arguments)?;
    Ok(json!({"channels": page, "response_metadata": {"next_cursor": next}}))
}

pub(super) fn info(memory: &SlackMemory, arguments: &Arguments) -> Outcome {
    let channel = by_id(memory, arguments)?;
    let mut view = channel.view();
    if flag(arguments, "include_num_members") {
        view["num_members"] = json!(channel.members.len());
    }
    Ok(json!({"channel": view}))
}

/// Newest first, without what only one person sees and without replies in threads.
pub(super) fn history(memory: &SlackMemory, arguments: &Arguments) -> Outcome {
    let channel = by_id(memory, arguments)?;
    if !channel.members.contains(BOT_USER_ID) {
        return Err(Refusal::new("not_in_channel"));
    }
    let with_metadata = flag(arguments, "include_all_metadata");
    let asked = |message: &&Message| {
        let is_reply = message.thread_ts.as_ref().is_some_and(|thread| *thread != message.ts);
        message.channel == channel.id
            && message.ephemeral_for.is_none()
            && (!is_reply || message.is_broadcast)
            && in_range(&message.ts, arguments)
    };
    let messages: Vec<Value> =
        memory.messages.iter().rev().filter(asked).map(|message| message.view(with_metadata)).collect();
    let pins =
        memory.messages.iter().filter(|message| message.channel == channel.id && message.pinned).count();
    let (page, next) = page_of(messages, arguments)?;
    let mut answer = json!({
        "messages": page,
        "has_more": !next.is_empty(),
        "pin_count": pins,
        "channel_actions_count": 0,
        "channel_actions_ts": null,
    });
    if !next.is_empty() {
        answer["response_metadata"] = json!({"next_cursor": next});
    }
    Ok(answer)
}

/// A message and what stands below it, the oldest first.
pub(super) fn replies(memory: &SlackMemory, arguments: &Arguments) -> Outcome {
    let channel = by_id(memory, arguments)?;
    if !channel.members.contains(BOT_USER_ID) {
        return Err(Refusal::new("not_in_channel"));
    }
    let with_metadata = flag(arguments, "include_all_metadata");
    let ts = text(arguments, "ts");
    let of_thread = |message: &&Message| {
        message.channel == channel.id
            && message.ephemeral_for.is_none()
            && (message.ts == ts || message.thread_ts.as_deref() == Some(ts))
    };
    if !memory.messages.iter().any(|message| message.channel == channel.id && message.ts == ts) {
        return Err(Refusal::new("thread_not_found"));
    }
    let messages: Vec<Value> = memory
        .messages
        .iter()
        .filter(of_thread)
        .filter(|message| message.ts == ts || in_range(&message.ts, arguments))
        .map(|message| message.view(with_metadata))
        .collect();
    let (page, next) = page_of(messages, arguments)?;
    let mut answer = json!({"messages": page, "has_more": !next.is_empty()});
    if !next.is_empty() {
        answer["response_metadata"] = json!({"next_cursor": next});
    }
    Ok(answer)
}

pub(super) fn join(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let channel = memory.channel_mut(text(arguments, "channel"))?;
    if channel.is_archived {
        return Err(Refusal::new("is_archived"));
    }
    if channel.is_private || channel.is_im {
        return Err(Refusal::new("method_not_supported_for_channel_type"));
    }
    if channel.members.insert(BOT_USER_ID.to_owned()) {
        return Ok(json!({"channel": channel.view()}));
    }
    Ok(json!({
        "channel": channel.view(),
        "warning": "already_in_channel",
        "response_metadata": {"warnings": ["already_in_channel"]},
    }))
}

pub(super) fn invite(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let channel = memory.open_channel_mut(text(arguments, "channel"))?;
    let mut invited = Vec::new();
    let mut errors = Vec::new();
    for user in text(arguments, "users").split(',') {
        let refusal = if user == BOT_USER_ID {
            "cant_invite_self"
        } else if !people::exists(user) {
            "user_not_found"
        } else if channel.members.contains(user) {
            "already_in_channel"
        } else {
            invited.push(user.to_owned());
            continue;
        };
        errors.push((refusal, json!({"user": user, "ok": false, "error": refusal})));
    }
    let forced = flag(arguments, "force") && !invited.is_empty();
    if let Some((first, _)) = errors.first().filter(|_| !forced) {
        let first = *first;
        let errors = errors.into_iter().map(|(_, error)| error).collect();
        return Err(Refusal::with_errors(first, errors));
    }
    channel.members.extend(invited);
    let mut answer = json!({"channel": channel.view()});
    if !errors.is_empty() {
        answer["errors"] = errors.into_iter().map(|(_, error)| error).collect();
    }
    Ok(answer)
}

pub(super) fn set_topic(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let channel = memory.open_channel_mut(text(arguments, "channel"))?;
    channel.topic = text_by_bot(text(arguments, "topic"));
    Ok(json!({"channel": channel.view()}))
}

pub(super) fn set_purpose(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let channel = memory.open_channel_mut(text(arguments, "channel"))?;
    channel.purpose = text_by_bot(text(arguments, "purpose"));
    Ok(json!({"channel": channel.view()}))
}

pub(super) fn archive(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let channel = memory.channel_mut(text(arguments, "channel"))?;
    if channel.is_im {
        return Err(Refusal::new("method_not_supported_for_channel_type"));
    }
    if channel.is_archived {
        return Err(Refusal::new("already_archived"));
    }
    if !channel.members.contains(BOT_USER_ID) {
        return Err(Refusal::new("not_in_channel"));
    }
    channel.is_archived = true;
    Ok(json!({}))
}

fn text_by_bot(value: &str) -> Text {
    Text { value: value.to_owned(), creator: BOT_USER_ID.to_owned(), last_set: clock::epoch_seconds() }
}

fn by_id<'m>(memory: &'m SlackMemory, arguments: &Arguments) -> Result<&'m Channel, Refusal> {
    let id = text(arguments, "channel");
    memory.channels.iter().find(|channel| channel.id == id).ok_or_else(|| Refusal::new("channel_not_found"))
}

fn in_range(ts: &str, arguments: &Arguments) -> bool {
    let bound = |name: &str| arguments.get(name).map(super::text_of).map(|text| micros(&text));
    let inclusive = flag(arguments, "inclusive");
    let ts = micros(ts);
    bound("oldest").is_none_or(|oldest| ts > oldest || (inclusive && ts == oldest))
        && bound("latest").is_none_or(|latest| ts < latest || (inclusive && ts == latest))
}

/// `seconds.fraction` in microseconds.
fn micros(ts: &str) -> i64 {
    let (seconds, fraction) = ts.split_once('.').unwrap_or((ts, ""));
    let seconds: i64 = seconds.parse().unwrap_or_default();
    let fraction: i64 = format!("{fraction:0<6}").parse().unwrap_or_default();
    seconds.saturating_mul(1_000_000).saturating_add(fraction)
}

/// One page of a listing, and the cursor of the next. Cursors are opaque to clients.
fn page_of(items: Vec<Value>, arguments: &Arguments) -> Result<(Vec<Value>, String), Refusal> {
    let start: usize = match text(arguments, "cursor") {
        "" => 0,
        cursor => cursor
            .strip_prefix("next_")
            .and_then(|position| position.parse().ok())
            .ok_or_else(|| Refusal::new("invalid_cursor"))?,
    };
    let end = start.saturating_add(limit(arguments));
    let next = if end < items.len() { format!("next_{end}") } else { String::new() };
    let page = items.into_iter().skip(start).take(end - start).collect();
    Ok((page, next))
}
