//! Who is in the workspace: six people and the bot.

use serde_json::{Value, json};

use crate::clock;

use super::answer::{Outcome, Refusal};
use super::{Arguments, text};

pub(super) const TEAM_ID: &str = "T0SANDBOX1";
pub(super) const TEAM_NAME: &str = "Harmony sandbox";
pub(super) const TEAM_DOMAIN: &str = "harmony-sandbox";
pub(super) const APP_ID: &str = "A0HARMONY1";
pub(super) const BOT_ID: &str = "B0HARMONY1";
pub(super) const BOT_USER_ID: &str = "U00HARMONY";
pub(super) const BOT_NAME: &str = "harmony";

/// Name and id of each person.
const PEOPLE: [(&str, &str); 6] = [
    ("operator", "U00OPERATOR"),
    ("admin", "U0000ADMIN"),
    ("commander", "U0COMMANDER"),
    ("oncall", "U0000ONCALL"),
    ("manager", "U000MANAGER"),
    ("viewer", "U0000VIEWER"),
];

/// Someone who clicks.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) id: String,
    pub(super) name: String,
}

/// Finds a person by id or name. An id that only looks right is taken as a stranger's.
pub(super) fn find(id_or_name: &str) -> Option<Person> {
    let known = PEOPLE.iter().find(|(name, id)| *name == id_or_name || *id == id_or_name);
    if let Some((name, id)) = known {
        return Some(Person { id: (*id).to_owned(), name: (*name).to_owned() });
    }
    is_user_id(id_or_name).then(|| Person { id: id_or_name.to_owned(), name: id_or_name.to_lowercase() })
}

/// The six people.
pub(super) fn everybody() -> impl Iterator<Item = Person> {
    PEOPLE.iter().map(|(name, id)| Person { id: (*id).to_owned(), name: (*name).to_owned() })
}

/// Whether this id belongs to somebody here.
pub(super) fn exists(id: &str) -> bool {
    id == BOT_USER_ID || PEOPLE.iter().any(|(_, known)| *known == id)
}

/// What to call somebody on a page for people.
pub(super) fn display_name(id: &str) -> String {
    if id == BOT_USER_ID {
        return BOT_NAME.to_owned();
    }
    find(id).map_or_else(|| id.to_owned(), |person| person.name)
}

pub(super) fn is_user_id(text: &str) -> bool {
    text.len() >= 3
        && text.starts_with(['U', 'W'])
        && text.chars().all(|character| character.is_ascii_uppercase() || character.is_ascii_digit())
}

pub(super) fn auth_test(origin: &str) -> Value {
    json!({
        "url": format!("{origin}/"),
        "team": TEAM_NAME,
        "team_id": TEAM_ID,
        "user": BOT_NAME,
        "user_id": BOT_USER_ID,
        "bot_id": BOT_ID,
        "is_enterprise_install": false,
    })
}

pub(super) fn info(arguments: &Arguments) -> Outcome {
    let id = text(arguments, "user");
    if id == BOT_USER_ID {
        return Ok(json!({"user": user(BOT_USER_ID, BOT_NAME, true)}));
    }
    let known = PEOPLE.iter().find(|(_, known)| *known == id);
    let (name, id) = known.ok_or_else(|| Refusal::new("user_not_found"))?;
    Ok(json!({"user": user(id, name, false)}))
}

/// People's addresses are `<name>@` any domain, so that a directory need not know the sandbox.
pub(super) fn lookup_by_email(arguments: &Arguments) -> Outcome {
    let email = text(arguments, "email");
    let local = email.split('@').next().unwrap_or_default();
    let known = PEOPLE.iter().find(|(name, _)| *name == local);
    let (name, id) = known.ok_or_else(|| Refusal::new("users_not_found"))?;
    let mut found = user(id, name, false);
    found["profile"]["email"] = json!(email);
    Ok(json!({"user": found}))
}

fn user(id: &str, name: &str, is_bot: bool) -> Value {
    json!({
        "id": id,
        "team_id": TEAM_ID,
        "name": name,
        "real_name": name,
        "deleted": false,
        "tz": "Etc/UTC",
        "tz_label": "Coordinated Universal Time",
        "tz_offset": 0,
        "is_admin": name == "admin",
        "is_owner": false,
        "is_primary_owner": false,
        "is_restricted": false,
        "is_ultra_restricted": false,
        "is_bot": is_bot,
        "is_app_user": false,
        "updated": clock::epoch_seconds(),
        "profile": {
            "avatar_hash": "g0000000000",
            "display_name": name,
            "display_name_normalized": name,
            "real_name": name,
            "real_name_normalized": name,
            "email": format!("{name}@example.com"),
            "status_text": "",
            "status_emoji": "",
            "team": TEAM_ID,
        },
    })
}
