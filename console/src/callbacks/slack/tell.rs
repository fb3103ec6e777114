//! Telling a person in Slack something, for their eyes alone: in the answer while Slack waits for it, later by the
//! address that came with the request.

use std::{future::Future, time::Duration};

use harmony_capabilities::slack::escape;
use tokio::sync::oneshot;

use crate::App;

/// Who is told, and where.
#[derive(Clone)]
pub(super) struct Person {
    /// Slack user id.
    pub(super) user: String,
    /// Valid for 30 minutes and 5 answers.
    pub(super) response_url: Option<String>,
}

impl Person {
    /// Tells them, and nobody else.
    pub(super) async fn tell(&self, app: &App, text: &str) {
        self.lead(app, &escape(text)).await;
    }

    /// The same with a text of ours in Slack's mark-up, which may lead somewhere.
    pub(super) async fn lead(&self, app: &App, mark_up: &str) {
        let (Some(replies), Some(response_url)) = (&app.doors.slack_replies, &self.response_url) else {
            tracing::warn!(user = self.user, "somebody in Slack could not be told: there is no address");
            return;
        };
        if let Err(error) = replies.respond(response_url, mark_up).await {
            tracing::warn!(user = self.user, %error, "somebody in Slack could not be told");
        }
    }
}

/// Does work that goes on whatever happens to the request, and waits a little for what is to be said. `None`: it takes
/// longer, and the person is told by its end.
pub(super) async fn said_within(
    app: &App,
    person: &Person,
    patience: Duration,
    work: impl Future<Output = Option<String>> + Send + 'static,
) -> Option<Option<String>> {
    let (say, said) = oneshot::channel();
    let (app, person) = (app.clone(), person.clone());
    tokio::spawn(async move {
        // Given back where nobody waits any more.
        if let Err(Some(late)) = say.send(work.await) {
            person.tell(&app, &late).await;
        }
    });
    tokio::time::timeout(patience, said).await.ok()?.ok()
}
