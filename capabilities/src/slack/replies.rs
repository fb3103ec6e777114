//! The answers that go straight back to a person who clicked, typed or looked in Slack.
//!
//! A modal must be opened within 3 s of the click (the `trigger_id` expires), so these are called
//! by the console itself and not through an activity. They have no key: each answers one request
//! once, and one that gets lost is not repeated. A Home tab that is shown again is the same tab.

use secrecy::SecretString;
use serde_json::json;
use slack_morphism::prelude::{
    SlackApiChatPostEphemeralRequest, SlackApiViewsOpenRequest, SlackApiViewsPublishRequest,
    SlackMessageContent,
};

use super::blocks::View;
use super::web::{Done, Web};
use crate::address::{self, AddressError};
use crate::error::{CallError, Fate};
use crate::transport::Operation;

/// The host of Slack's `response_url`.
const HOOKS: &str = "hooks.slack.com";
const RESPOND: Operation = Operation::acts("response_url");

/// Immediate answers to a person in Slack.
#[derive(Clone, Debug)]
pub struct SlackReplies {
    web: Web,
}

impl SlackReplies {
    /// Answers with this bot token. The base URL includes the path, as `https://slack.com/api`.
    pub fn new(base_url: &str, bot_token: SecretString) -> Result<Self, AddressError> {
        let web = Web::new(base_url, bot_token)?;
        Ok(Self { web })
    }

    /// Shows a text in a channel to one person alone.
    pub async fn ephemeral(&self, channel: &str, user: &str, text: &str) -> Result<(), CallError> {
        let content = SlackMessageContent::new().with_text(text.to_owned());
        let body = SlackApiChatPostEphemeralRequest::new(channel.into(), user.into(), content);
        let _: Done = self.web.act("chat.postEphemeral", &body).await?;
        Ok(())
    }

    /// Answers a command or a click, visible to whoever made it. The address came with the
    /// request: only Slack's own, or one at the host of the base URL, is called, and it never
    /// gets our token.
    pub async fn respond(&self, response_url: &str, text: &str) -> Result<(), CallError> {
        let transport = &self.web.transport;
        let refuse = |message: &str| transport.error(RESPOND, Fate::Rejected, None, message);
        let url = address::check(response_url).map_err(|error: AddressError| refuse(&error.to_string()))?;
        let is_hook = url.scheme() == "https"
            && url.host_str() == Some(HOOKS)
            && url.port_or_known_default() == Some(443);
        if !is_hook && !transport.address.same_origin(&url) {
            return Err(refuse("the address is not Slack's"));
        }
        let body = json!({
            "response_type": "ephemeral",
            "replace_original": false,
            "text": text,
        });
        let request = transport.http.post(url).json(&body);
        let answer = transport.send(RESPOND, request).await?;
        if answer.status.is_success() { Ok(()) } else { Err(transport.refusal(RESPOND, &answer, None)) }
    }

    /// Opens a modal for whoever clicked.
    pub async fn open_modal(&self, trigger_id: &str, view: View) -> Result<(), CallError> {
        let body = SlackApiViewsOpenRequest::new(trigger_id.into(), view);
        let _: Done = self.web.act("views.open", &body).await?;
        Ok(())
    }

    /// Shows somebody their Home tab, in the place of what it was.
    pub async fn publish_home(&self, user: &str, view: View) -> Result<(), CallError> {
        let body = SlackApiViewsPublishRequest::new(user.into(), view);
        let _: Done = self.web.act("views.publish", &body).await?;
        Ok(())
    }
}
