//! Slack, Web API (2026): the incident's channel and what is said in it.
//!
//! Limits: about one message a second and channel; lists and channels 20 to 50 calls a minute. A
//! refusal is a 429 with `Retry-After`, everything else 200 with `ok: false`.
//!
//! How a repeated call is recognised. A channel carries a marker in its purpose; a message its key
//! in its metadata (`harmony_effect`, read back with `include_all_metadata`), a reply in a thread, too. Topic, invitation,
//! pin and archive come out the same however often they are called.
//!
//! Vague at Slack: whether a private channel holds a name that is taken (it does not show in the
//! list), so a name can be taken by nobody we see; and `internal_error`, after which some of the
//! work may be done.
//!
//! [`Slack`] is for activities. [`SlackReplies`] is for the console, which has 3 s to answer a
//! click; [`signature`] is for whoever receives one, [`SlackSockets`] for whoever has no address to
//! receive one at.

pub mod blocks;
mod channels;
mod messages;
mod replies;
pub mod signature;
mod sockets;
mod web;

#[cfg(test)]
mod tests;

use std::time::Duration;

use secrecy::SecretString;

pub use replies::SlackReplies;
pub use sockets::{Envelope, SlackSockets};

use crate::{address::AddressError, error::CallError};
use web::Web;

/// A bot in a workspace.
#[derive(Clone, Debug)]
pub struct Slack {
    web: Web,
}

/// The channel that is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelDraft {
    /// Up to 80 lower case letters, digits, `-` and `_`. Taken by somebody else, it gets `-2`,
    /// `-3` and so on.
    pub name: String,
    /// What makes the channel ours: the incident id, say. Stands in the purpose.
    pub marker: String,
    /// Whether only who is invited sees it.
    pub private: bool,
}

/// A channel that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// `C…`
    pub id: String,
    /// Without `#`.
    pub name: String,
}

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Shown where blocks are not: notifications, screen readers. In Slack's mark-up, so what
    /// comes from people goes through [`escape`] first.
    pub text: String,
    /// May be empty.
    pub blocks: Vec<blocks::Block>,
}

/// Where a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRef {
    /// `C…`
    pub channel: String,
    /// Slack's timestamp, which is the message's id in its channel.
    pub ts: String,
}

impl Slack {
    /// Acts with this bot token. The base URL includes the path, as `https://slack.com/api`.
    pub fn new(base_url: &str, bot_token: SecretString) -> Result<Self, AddressError> {
        let web = Web::new(base_url, bot_token)?;
        Ok(Self { web })
    }

    /// The same with another time limit for a request than [`crate::address::REQUEST_TIMEOUT`].
    pub fn with_limit(self, limit: Duration) -> Result<Self, AddressError> {
        Ok(Self { web: Web { transport: self.web.transport.with_limit(limit)? } })
    }

    /// The scopes that the token has, where Slack says them; that it is taken, in any case.
    pub async fn granted_scopes(&self) -> Result<Option<Vec<String>>, CallError> {
        self.web.scopes().await
    }
}

/// Text for Slack's mark-up that is shown as it stands: it cannot mention anybody (`<!channel>`),
/// forge a link or start an entity.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => escaped.push(other),
        }
    }
    escaped
}
