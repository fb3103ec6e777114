//! `pins.add` and `views.open`.

use serde_json::json;

use crate::clock;

use super::answer::{Outcome, Refusal};
use super::memory::SlackMemory;
use super::people::{APP_ID, BOT_ID, TEAM_ID};
use super::{Arguments, text};

pub(super) fn add_pin(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let channel = text(arguments, "channel");
    memory.open_channel_mut(channel).map_err(|refusal| {
        // An archived channel takes no pins, and pins.add has no name for that but this one.
        match memory_is_archived(memory, channel) {
            true => Refusal::new("not_pinnable"),
            false => refusal,
        }
    })?;
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

fn memory_is_archived(memory: &SlackMemory, channel: &str) -> bool {
    memory.channel(channel).is_ok_and(|channel| channel.is_archived)
}

/// Opens a view; the trigger has to come from a click and is spent.
pub(super) fn open_view(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    memory.spend_trigger(text(arguments, "trigger_id"))?;
    let id = format!("V{:010}", memory.next_serial());
    let mut view = arguments.get("view").cloned().unwrap_or_default();
    view["id"] = json!(id);
    view["root_view_id"] = json!(id);
    view["previous_view_id"] = json!(null);
    view["team_id"] = json!(TEAM_ID);
    view["app_id"] = json!(APP_ID);
    view["bot_id"] = json!(BOT_ID);
    view["hash"] = json!(format!("{}.{id}", clock::epoch_seconds()));
    view["state"] = json!({"values": {}});
    memory.views.push(view.clone());
    Ok(json!({"view": view}))
}
