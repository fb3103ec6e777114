//! `pins.add` and `views.open`.

use serde_json::json;

use crate::clock;

use super::answer::{Outcome, Refusal};
use super::memory::{SlackMemory, View};
use super::people::{APP_ID, BOT_ID, TEAM_ID};
use super::{Arguments, text};

pub(super) fn add_pin(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let channel = text(arguments, "channel");
    if memory.channel_mut(channel)?.is_archived {
        // The method has no other name for a channel that takes nothing more.
        return Err(Refusal::new("not_pinnable"));
    }
    memory.open_channel_mut(channel)?;
    let message = memory
        .message_mut(channel, text(arguments, "timestamp"))
        .filter(|message| message.ephemeral_for.is_none())
        .ok_or_else(|| Refusal::new("message_not_found"))?;
    if message.pinned {
        return Err(Refusal::new("already_pinned"));
    }
    message.pinned = true;
    Ok(json!({}))
}

/// Opens a view; the trigger has to come from a click and is spent.
pub(super) fn open_view(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let view = arguments.get("view").filter(|view| view.is_object());
    let mut view = view.cloned().ok_or_else(|| Refusal::new("invalid_arguments"))?;
    let trigger_id = text(arguments, "trigger_id").to_owned();
    let user = memory.spend_trigger(&trigger_id)?;
    let id = format!("V{:010}", memory.next_serial());
    view["id"] = json!(id);
    view["root_view_id"] = json!(id);
    view["previous_view_id"] = json!(null);
    view["team_id"] = json!(TEAM_ID);
    view["app_id"] = json!(APP_ID);
    view["bot_id"] = json!(BOT_ID);
    view["hash"] = json!(format!("{}.{id}", clock::epoch_seconds()));
    view["state"] = json!({"values": {}});
    memory.views.push(View { view: view.clone(), user, trigger_id, is_open: true, errors: json!(null) });
    Ok(json!({"view": view}))
}
