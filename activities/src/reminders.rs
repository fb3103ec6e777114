//! Reminds the owners of follow-ups whose day is over: on the day after, and every week from then on.
//!
//! Every worker looks every hour. The record of a reminder has a key of its own for each follow-up, day and week, so that
//! any number of workers record it once, and what tells of it follows from the outbox. What was missed while every
//! worker was down is told once.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use harmony_blueprints::{messages::Act, starts};
use harmony_eventlog::{Append, Filter, LogError, OutboxItem, Place, SharedLog, Target};
use harmony_incidents::{
    Command, IncidentId, OrgId, RulesSource, StreamId, WorkflowType,
    attestation::AttestationKeys,
    command::Context,
    follow_up::{FollowUp, Start},
    judge::{judge, payload},
    leading::overdue_week,
    log::{ActionItem, Authority, Cause, FollowUpReminded, IncidentState, Text, payload::Kind},
    promotion::AUTO_ACTOR,
};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::reconciler::organisations;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// Incidents of one read.
const PAGE: u32 = 200;

/// See the module.
pub struct Reminders {
    log: SharedLog,
    rules: Arc<dyn RulesSource>,
    attestation: AttestationKeys,
    /// Keys of what is on record already, so that nobody asks the log again every hour.
    recorded: BTreeSet<String>,
}

impl Reminders {
    /// Reminders on this log.
    pub fn new(log: SharedLog, rules: Arc<dyn RulesSource>, attestation: AttestationKeys) -> Self {
        Self { log, rules, attestation, recorded: BTreeSet::new() }
    }

    /// Looks now and every hour, until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(error = %error, "follow-ups that are overdue cannot be looked for");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    async fn look(&mut self) -> Result<(), LogError> {
        for org in organisations(self.rules.as_ref()) {
            let mut after = None;
            loop {
                let filter = Filter { drill: Some(false), limit: PAGE, after, ..Filter::default() };
                let page = self.log.list(&org, &filter).await?;
                let full = page.len() == usize::try_from(PAGE).unwrap_or(usize::MAX);
                after = page.last().and_then(Place::of);
                for state in &page {
                    self.remind(&org, state).await?;
                }
                if !full || after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn remind(&mut self, org: &OrgId, state: &IncidentState) -> Result<(), LogError> {
        let Ok(incident) = state.incident.parse::<IncidentId>() else { return Ok(()) };
        let now = Timestamp::now();
        let rules = self.rules.current();
        let zone = rules.policy.time_zone();
        for item in &state.action_items {
            let Some(week) = overdue_week(item, &zone, now) else { continue };
            let key = format!("{incident}/follow-up/{}/due/{}/week/{week}", item.seq, item.due);
            let known = format!("{org}/{key}");
            if !self.recorded.contains(&known) {
                self.record(org, (&incident, state), item, week, &key, now).await?;
                self.recorded.insert(known);
            }
        }
        Ok(())
    }

    async fn record(
        &self,
        org: &OrgId,
        (incident, state): (&IncidentId, &IncidentState),
        item: &ActionItem,
        week: u32,
        key: &str,
        now: Timestamp,
    ) -> Result<(), LogError> {
        let rules = self.rules.current();
        let reminded = FollowUpReminded { follow_up: item.seq, due: item.due.clone(), week };
        let command = Command::Record { payload: payload(Kind::FollowUpReminded(reminded)) };
        let context = Context {
            actor: AUTO_ACTOR.to_owned(),
            authority: Authority::AutoEngine,
            cause: Cause::default(),
            occurred_at: now,
        };
        let channel = &rules.policy.follow_ups_channel;
        let follow = |seq: u64, head: &IncidentState| {
            let act = Act::FollowUpReminder {
                follow_up: format!("{incident}-{}", item.seq),
                action: item.action.as_ref().map(Text::shown).unwrap_or_default().to_owned(),
                owner: item.owner.clone(),
                due: item.due.clone(),
                // What only some may see stays where only they are.
                channel: (!channel.is_empty() && !head.private).then(|| channel.clone()),
            };
            let who = (AUTO_ACTOR, now);
            let (workflow_id, input) = starts::act(&self.attestation, org, (incident, state), seq, who, &act);
            let name = format!("{workflow_id}#1/reminder");
            let start = Start::new(WorkflowType::Act.name(), workflow_id.as_str(), 1, input);
            OutboxItem::new(name, &FollowUp::Start(start))
        };
        let told: Mutex<Vec<OutboxItem>> = Mutex::default();
        self.log
            .append(Append {
                org,
                target: Target::Named(StreamId::from(incident.clone())),
                key,
                command: &command,
                context: &context,
                expected_seq: None,
                run_id: None,
                judge: &|head| {
                    let judged = judge(head, &command, &context, rules.rules())?;
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    // The store may judge more than once: the last time counts.
                    told.clear();
                    if !judged.payloads.is_empty() {
                        told.push(follow(head.state.seq + 1, head.state));
                    }
                    Ok(judged)
                },
                follow: &|_| std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner)),
            })
            .await
            .map(drop)
    }
}
