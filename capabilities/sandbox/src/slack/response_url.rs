//! The address a click hands out, at which the app may answer 5 times within 30 minutes: by
//! default only for the person who clicked, with `response_type: in_channel` for everyone,
//! with `replace_original` or `delete_original` in the message's place.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::call::Call;
use crate::clock;
use crate::stand_in;

use super::chat;
use super::memory::{Message, ResponseUrl, SlackMemory};
use super::{Arguments, flag, text};

const USES: u8 = 5;
const VALID_SECONDS: i64 = 30 * 60;

pub(super) fn answer(memory: &mut SlackMemory, token: &str, call: &Call) -> Response {
    match respond(memory, token, call) {
        Ok(()) => stand_in::json(StatusCode::OK, json!({"ok": true})),
        Err((status, error)) => stand_in::json(status, json!({"ok": false, "error": error})),
    }
}

fn respond(memory: &mut SlackMemory, token: &str, call: &Call) -> Result<(), (StatusCode, &'static str)> {
    let issued = memory.response_urls.get_mut(token).ok_or((StatusCode::NOT_FOUND, "invalid_url"))?;
    if clock::epoch_seconds() - issued.issued > VALID_SECONDS {
        return Err((StatusCode::NOT_FOUND, "expired_url"));
    }
    if issued.uses >= USES {
        return Err((StatusCode::NOT_FOUND, "used_url"));
    }
    let arguments =
        call.json().and_then(Value::as_object).ok_or((StatusCode::BAD_REQUEST, "invalid_payload"))?;
    let says_nothing = !arguments.contains_key("text") && !arguments.contains_key("blocks");
    if says_nothing && !flag(arguments, "delete_original") {
        return Err((StatusCode::BAD_REQUEST, "no_text"));
    }
    issued.uses += 1;
    let issued = issued.clone();
    apply(memory, &issued, arguments);
    Ok(())
}

fn apply(memory: &mut SlackMemory, issued: &ResponseUrl, arguments: &Arguments) {
    if flag(arguments, "delete_original") {
        memory.messages.retain(|message| message.ts != issued.message_ts);
        return;
    }
    let blocks = chat::blocks_of(memory, arguments);
    let ts = memory.next_ts();
    if flag(arguments, "replace_original") {
        if let Some(message) = memory.message_mut(&issued.channel, &issued.message_ts) {
            text(arguments, "text").clone_into(&mut message.text);
            message.blocks = blocks;
            message.edited = Some(ts);
        }
        return;
    }
    let for_all = text(arguments, "response_type") == "in_channel";
    memory.messages.push(Message {
        channel: issued.channel.clone(),
        ts,
        text: text(arguments, "text").to_owned(),
        blocks,
        ephemeral_for: (!for_all).then(|| issued.user.clone()),
        ..Message::default()
    });
}
