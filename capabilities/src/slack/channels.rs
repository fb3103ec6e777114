//! Channels: made once, found again by their marker.

use serde::Deserialize;
use serde_json::json;
use slack_morphism::prelude::{
    SlackApiConversationsArchiveRequest, SlackApiConversationsCreateRequest,
    SlackApiConversationsSetPurposeRequest, SlackApiConversationsSetTopicRequest,
};

use super::web::{Done, Metadata, Page, is_refused_with};
use super::{Channel, ChannelDraft, Slack};
use crate::error::CallError;

/// Slack's limit for a channel's name.
const NAME_CHARS: usize = 80;
/// Names tried before giving up: the name, then `-2` to `-20`.
const NAMES: usize = 20;
/// Slack's limit for one invitation.
const INVITED_AT_ONCE: usize = 100;

#[derive(Debug, Deserialize)]
struct Created {
    channel: Found,
}

#[derive(Debug, Deserialize)]
struct Channels {
    channels: Vec<Found>,
    #[serde(default)]
    response_metadata: Option<Metadata>,
}

#[derive(Clone, Debug, Deserialize)]
struct Found {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    creator: Option<String>,
    #[serde(default)]
    purpose: Option<Text>,
    #[serde(default)]
    topic: Option<Text>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Text {
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
struct Me {
    #[serde(default)]
    user_id: Option<String>,
}

impl Page for Channels {
    type Item = Found;
    fn into_parts(self) -> (Vec<Found>, Option<Metadata>) {
        (self.channels, self.response_metadata)
    }
}

impl Slack {
    /// Makes the channel, or finds the one made before. Where the name is taken, a channel with
    /// our marker in purpose or topic is adopted, archived or not; so is one that this bot made
    /// and that says nothing yet, since we crashed before it did. Else the name gets a suffix.
    pub async fn ensure_channel(&self, draft: &ChannelDraft) -> Result<Channel, CallError> {
        let first = match self.create_channel(&candidate(&draft.name, 1), draft.private).await {
            Ok(created) => return self.mark(created, draft).await,
            Err(error) if is_refused_with(&error, "name_taken") => error,
            Err(error) => return Err(error),
        };
        let taken = self.channels_like(draft).await?;
        if let Some(ours) = taken.iter().find(|found| found.carries(&draft.marker)) {
            return Ok(ours.clone().into());
        }
        if taken.iter().any(Found::is_unmarked)
            && let Some(me) = self.web.test::<Me>().await?.user_id
            && let Some(orphan) = taken.iter().find(|found| found.is_unmarked_of(&me))
        {
            return self.mark(orphan.clone(), draft).await;
        }
        for number in 2..=NAMES {
            let name = candidate(&draft.name, number);
            if taken.iter().any(|found| found.name == name) {
                continue;
            }
            match self.create_channel(&name, draft.private).await {
                Ok(created) => return self.mark(created, draft).await,
                Err(error) if is_refused_with(&error, "name_taken") => {}
                Err(error) => return Err(error),
            }
        }
        Err(first)
    }

    /// Invites people. Whoever is there already, stays.
    pub async fn invite(&self, channel: &str, users: &[String]) -> Result<(), CallError> {
        for group in users.chunks(INVITED_AT_ONCE) {
            match self.invite_group(channel, group).await {
                // Slack then invites none of the group.
                Err(error) if is_present(&error) && group.len() > 1 => {
                    for user in group {
                        settled(self.invite_group(channel, std::slice::from_ref(user)).await)?;
                    }
                }
                outcome => settled(outcome)?,
            }
        }
        Ok(())
    }

    /// Sets the topic: up to 250 characters.
    pub async fn set_topic(&self, channel: &str, topic: &str) -> Result<(), CallError> {
        let request = SlackApiConversationsSetTopicRequest::new(channel.into(), topic.to_owned());
        let _: Done = self.web.act("conversations.setTopic", &request).await?;
        Ok(())
    }

    /// Archives the channel. An archived channel stays so.
    pub async fn archive(&self, channel: &str) -> Result<(), CallError> {
        let request = SlackApiConversationsArchiveRequest::new(channel.into());
        match self.web.act::<Done>("conversations.archive", &request).await {
            Err(error) if !is_refused_with(&error, "already_archived") => Err(error),
            _ => Ok(()),
        }
    }

    async fn create_channel(&self, name: &str, private: bool) -> Result<Found, CallError> {
        let mut request = SlackApiConversationsCreateRequest::new(name.to_owned());
        request.is_private = private.then_some(true);
        let created: Created = self.web.act("conversations.create", &request).await?;
        Ok(created.channel)
    }

    /// All channels, archived ones too, whose name is a candidate.
    async fn channels_like(&self, draft: &ChannelDraft) -> Result<Vec<Found>, CallError> {
        let names: Vec<String> = (1..=NAMES).map(|number| candidate(&draft.name, number)).collect();
        let types = if draft.private { "private_channel" } else { "public_channel" };
        let arguments = [("exclude_archived", "false"), ("limit", "500"), ("types", types)];
        let mut found = Vec::new();
        self.web
            .search::<Channels, ()>("conversations.list", &arguments, |channel| {
                if names.contains(&channel.name) {
                    found.push(channel);
                }
                None
            })
            .await?;
        Ok(found)
    }

    async fn mark(&self, channel: Found, draft: &ChannelDraft) -> Result<Channel, CallError> {
        if !channel.carries(&draft.marker) {
            let purpose = format!("Harmony: {}", draft.marker);
            let id = channel.id.as_str().into();
            let request = SlackApiConversationsSetPurposeRequest::new(id, purpose);
            let _: Done = self.web.act("conversations.setPurpose", &request).await?;
        }
        Ok(channel.into())
    }

    async fn invite_group(&self, channel: &str, users: &[String]) -> Result<(), CallError> {
        // The model in `slack-morphism` sends a list; Slack documents a string.
        let request = json!({ "channel": channel, "users": users.join(",") });
        let _: Done = self.web.act("conversations.invite", &request).await?;
        Ok(())
    }
}

impl Found {
    fn texts(&self) -> impl Iterator<Item = &str> {
        [&self.purpose, &self.topic].into_iter().flatten().map(|text| text.value.as_str())
    }

    fn carries(&self, marker: &str) -> bool {
        self.texts().any(|text| contains_word(text, marker))
    }

    fn is_unmarked(&self) -> bool {
        self.texts().all(str::is_empty)
    }

    fn is_unmarked_of(&self, creator: &str) -> bool {
        self.is_unmarked() && self.creator.as_deref() == Some(creator)
    }
}

impl From<Found> for Channel {
    fn from(found: Found) -> Self {
        Self { id: found.id, name: found.name }
    }
}

/// The n-th name to try: the name itself, then with `-2`, `-3`, cut so that it fits.
fn candidate(name: &str, number: usize) -> String {
    let suffix = match number {
        1 => String::new(),
        more => format!("-{more}"),
    };
    let stem: String = name.chars().take(NAME_CHARS - suffix.len()).collect();
    format!("{stem}{suffix}")
}

/// Whether the marker stands there as a word of its own: `INC-2026-0001` is not in
/// `INC-2026-00012`.
fn contains_word(text: &str, marker: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    !marker.is_empty()
        && text.match_indices(marker).any(|(start, _)| {
            let before = text[..start].chars().next_back();
            let after = text[start + marker.len()..].chars().next();
            !before.is_some_and(is_part) && !after.is_some_and(is_part)
        })
}

fn is_present(error: &CallError) -> bool {
    is_refused_with(error, "already_in_channel") || is_refused_with(error, "cant_invite_self")
}

fn settled(outcome: Result<(), CallError>) -> Result<(), CallError> {
    match outcome {
        Err(error) if is_present(&error) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffix_fits_into_the_name() {
        assert_eq!(candidate("inc-1", 1), "inc-1");
        assert_eq!(candidate("inc-1", 2), "inc-1-2");
        let long = "x".repeat(90);
        assert_eq!(candidate(&long, 1).len(), 80);
        assert_eq!(candidate(&long, 12).len(), 80);
        assert!(candidate(&long, 12).ends_with("x-12"));
    }

    #[test]
    fn marker_is_a_word_of_its_own() {
        let has = |text| contains_word(text, "INC-2026-0001");
        assert!(has("Harmony: INC-2026-0001"));
        assert!(has("INC-2026-0001, P1"));
        assert!(!has("INC-2026-00012"));
        assert!(!has("OPS-INC-2026-0001"));
        assert!(has("INC-2026-00012 follows INC-2026-0001"));
        assert!(!contains_word("anything", ""));
    }
}
