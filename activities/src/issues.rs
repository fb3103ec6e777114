//! Steps with an outward effect: the issue that a follow-up becomes.
//!
//! What it says is read from the log when it is made: the action, the incident's id, who has it to do and until when. The
//! incident's own title and everything else stay here. Of an incident that is private, and of a drill, no issue is made.
//!
//! Once made it is on record as the follow-up's ticket, and the ledger holds under the tracker's own id whose it is, so that
//! what the tracker tells later finds its follow-up whatever people did to the issue.

use std::time::Duration;

use harmony_blueprints::contracts::{IssueDraft, Scope, StepReply, Tracker, issue_step, ticket_key};
use harmony_capabilities::{
    error::CallError,
    github::GitHub,
    jira::Jira,
    tracker::{self, Issue},
};
use harmony_eventlog::Begin;
use harmony_incidents::{
    judge::payload,
    leading::kept_from_trackers,
    log::{ActionItem, FollowUpChanged, Text, payload::Kind},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use uuid::Uuid;

use crate::{
    channel::{below, incident_key},
    effects::Unkeyed,
    failure,
    services::Services,
};

const NO_JIRA: &str = "Jira is not configured: set JIRA_BASE_URL, JIRA_EMAIL, JIRA_API_TOKEN and JIRA_PROJECT_KEY where `harmony worker` runs";
const NO_GITHUB: &str =
    "GitHub is not configured: set GITHUB_TOKEN and GITHUB_REPOSITORY where `harmony worker` runs";
const REDACTED: &str = "the text of the follow-up was redacted: there is nothing left to export";
/// The tracker's clock may be behind ours.
const CLOCKS: SignedDuration = SignedDuration::from_hours(24);

impl Services {
    pub(crate) async fn open_issue(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        draft: IssueDraft,
    ) -> Result<StepReply, ActivityError> {
        let IssueDraft { tracker, follow_up } = draft;
        let capability = tracker.capability();
        let connector = match tracker {
            Tracker::Github => self.github.as_ref().map(Connector::GitHub).ok_or(NO_GITHUB),
            Tracker::Jira => self.jira.as_ref().map(Connector::Jira).ok_or(NO_JIRA),
        };
        let connector = match connector {
            Ok(connector) => connector,
            Err(reason) => return self.skipped(scope, capability, reason).await,
        };
        let state = self.state(scope).await?;
        if let Some(reason) = kept_from_trackers(&state) {
            return self.skipped(scope, capability, reason).await;
        }
        let Some(item) = state.action_items.iter().find(|item| item.seq == follow_up) else {
            let message = format!("{} has no follow-up {follow_up}", scope.stream);
            return Err(failure::last("FollowUp", message));
        };
        if item.action.as_ref().is_none_or(|text| text.redacted) {
            return self.skipped(scope, capability, REDACTED).await;
        }
        let key = incident_key(scope, &format!("follow-up/{follow_up}/{}", tracker.name()));
        let making = Making {
            connector,
            key,
            draft: self.issue_of(scope, item),
            since: self.written(scope, follow_up).await?.saturating_sub(CLOCKS).unwrap_or(Timestamp::MIN),
        };
        let reply = self.perform_unkeyed(ctx, scope, capability, key, &making).await?;
        if reply.skipped.is_none() {
            self.keep_ticket(scope, draft, &reply).await?;
        }
        Ok(reply)
    }

    /// The text of the issue: all that leaves Harmony.
    fn issue_of(&self, scope: &Scope, item: &ActionItem) -> tracker::IssueDraft {
        let rules = self.rules.current();
        let owner = rules.directory.name(&item.owner);
        let incident = &scope.stream;
        let mut lines = vec![format!("Follow-up {incident}-{} of incident {incident}", item.seq)];
        for (name, value) in [("Owner", owner), ("Due", &item.due), ("Priority", &item.priority)] {
            if !value.is_empty() {
                lines.push(format!("{name}: {value}"));
            }
        }
        let page = ["orgs", scope.org.as_str(), "incidents", incident.as_str()];
        let link = self.console.as_ref().map(|console| below(console, &page).to_string());
        tracker::IssueDraft {
            action: item.action.as_ref().map(Text::shown).unwrap_or_default().to_owned(),
            lines,
            link: link.unwrap_or_default(),
        }
    }

    /// When the follow-up was added: no issue of it is older.
    async fn written(&self, scope: &Scope, follow_up: u64) -> Result<Timestamp, ActivityError> {
        let records = self
            .log
            .records(&scope.org, &scope.stream, follow_up.saturating_sub(1), 1)
            .await
            .map_err(|error| failure::log(&error))?;
        let occurred = records.first().map_or(0, |entry| entry.record.occurred_at_us);
        Ok(Timestamp::from_microsecond(occurred).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// Puts the ticket on record, and into the ledger whose it is.
    async fn keep_ticket(
        &self,
        scope: &Scope,
        draft: IssueDraft,
        reply: &StepReply,
    ) -> Result<(), ActivityError> {
        let system = draft.tracker.name();
        let changed = Kind::FollowUpChanged(FollowUpChanged {
            follow_up: draft.follow_up,
            system: system.to_owned(),
            ticket: reply.ticket.clone(),
            url: reply.url.clone(),
            ticket_id: reply.external_ref.clone(),
            ..FollowUpChanged::default()
        });
        self.record(scope, &format!("{}/ticket", scope.key()), payload(changed)).await?;
        let key = ticket_key(draft.tracker, &reply.external_ref);
        let step = issue_step(draft.follow_up);
        let stream = (&scope.stream).into();
        let begun = self.log.begin_effect(&scope.org, &stream, &key, &step, &key, Duration::ZERO).await;
        if matches!(begun.map_err(|error| failure::log(&error))?, Begin::Done(_)) {
            return Ok(());
        }
        let kept = json!({ "ticket": reply.ticket });
        self.log.complete_effect(&scope.org, &key, &kept).await.map_err(|error| failure::log(&error))
    }
}

/// Where the issue is made.
#[derive(Clone, Copy)]
enum Connector<'a> {
    GitHub(&'a GitHub),
    Jira(&'a Jira),
}

struct Making<'a> {
    connector: Connector<'a>,
    key: Uuid,
    draft: tracker::IssueDraft,
    since: Timestamp,
}

impl Unkeyed for Making<'_> {
    async fn find(&self) -> Result<Option<StepReply>, CallError> {
        let found = match self.connector {
            Connector::GitHub(github) => github.find_issue(&self.key, self.since).await?,
            Connector::Jira(jira) => jira.find_issue(&self.key).await?,
        };
        Ok(found.map(reply))
    }

    async fn send(&self) -> Result<StepReply, CallError> {
        let made = match self.connector {
            Connector::GitHub(github) => github.create_issue(&self.key, &self.draft).await?,
            Connector::Jira(jira) => jira.create_issue(&self.key, &self.draft).await?,
        };
        Ok(reply(made))
    }

    async fn count(&self) -> Result<usize, CallError> {
        match self.connector {
            Connector::GitHub(github) => github.count_issues(&self.key, self.since).await,
            Connector::Jira(jira) => jira.count_issues(&self.key).await,
        }
    }

    fn is_found_late(&self) -> bool {
        matches!(self.connector, Connector::Jira(_))
    }
}

fn reply(issue: Issue) -> StepReply {
    let unlabelled = || {
        format!(
            "{} has no label {}: whoever GITHUB_TOKEN belongs to may not set labels there, and without it a lost answer may lead to a second issue",
            issue.name,
            tracker::LABEL
        )
    };
    StepReply {
        warnings: if issue.findable { Vec::new() } else { vec![unlabelled()] },
        external_ref: issue.id,
        url: issue.url,
        ticket: issue.name,
        ..StepReply::default()
    }
}
