//! What stakeholders are told, carried out of the outbox: first one item for each recipient of a change, then each until
//! it has arrived or is given up, so that one mail server that is down makes nobody else hear twice.
//!
//! | killed | what the next worker does |
//! |---|---|
//! | while it makes the items | makes them again: their names are the same, so each is there once |
//! | before or while it sends one | sends it, once more at most, with the same `Message-ID`; in Slack it looks for it first |
//! | after it was sent | nothing: the item is done |
//!
//! Everything is asked again when a message is sent: whether the subscription is still there, whether its recipient may
//! still be told of the incident, and where they are reached. What a message says of the incident is how it is by then.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context as _;
use harmony_blueprints::contracts::capability::SLACK;
use harmony_capabilities::{
    error::{Attempt, CallError, Fate},
    mail::{Letter, Mail},
    slack::{Message, Slack, escape},
};
use harmony_eventlog::{LogError, OutboxItem, Pending, SharedLog};
use harmony_incidents::{
    IncidentId, OrgId, RuleSet, RulesSource,
    attestation::{AttestationKeys, UnsubscribeClaim},
    follow_up::{self, FollowUp},
    ids::NAMESPACE,
    log::{IncidentState, payload::Kind},
    stakeholders::{
        Change, DeliveryProblem, EmailAddress, Notice, Recipient, Subscription, change, may_reach, notice,
    },
    story::Names,
};
use jiff::{SignedDuration, Timestamp};
use url::Url;
use uuid::Uuid;

use crate::{
    channel::below,
    flags::{Flags, capability_flag},
    people,
};

use super::{Carried, Undone};

/// How long a message is tried for.
const TRIED_FOR: SignedDuration = SignedDuration::from_hours(24);
/// Longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// Longest text of a message in Slack, which cuts off what is behind 4,000 characters.
const SLACK_CHARS: usize = 3_000;

/// What it takes to tell stakeholders.
pub struct Notices {
    /// The log, with the subscriptions.
    pub log: SharedLog,
    /// Who is told: names and addresses are looked up when a message is sent.
    pub rules: Arc<dyn RulesSource>,
    /// Whether Slack is switched on.
    pub flags: Arc<dyn Flags>,
    /// Signs links to unsubscribe.
    pub keys: AttestationKeys,
    /// The relay, where there is one.
    pub mail: Option<Mail>,
    /// Slack, where it is configured.
    pub slack: Option<Slack>,
    /// Where people reach the console; without it a message has no links.
    pub console: Option<Url>,
}

/// A change of an incident, read back from the log.
struct Known {
    state: IncidentState,
    change: Change,
    kind: Kind,
    actor: String,
    at: Timestamp,
}

impl Notices {
    /// Carries one item out.
    pub async fn carry(&self, pending: &Pending, notice: &follow_up::Notice) -> Carried {
        let incident = pending.stream.as_ref().and_then(harmony_incidents::StreamId::incident);
        let incident = incident.context("a notice is about an incident")?;
        let seq = notice.seq;
        let Some(known) = self.known(&pending.org, &incident, seq).await? else { return Ok(()) };
        match &notice.subscription {
            None => self.address(pending, &incident, seq, &known).await,
            Some(id) => self.deliver(pending, id, &incident, &known).await,
        }
    }

    /// One item for each recipient; somebody who is reached by several subscriptions hears once.
    async fn address(&self, pending: &Pending, incident: &IncidentId, seq: u64, known: &Known) -> Carried {
        let rules = self.rules.current();
        let mut reached = BTreeSet::new();
        for one in self.log.subscriptions(&pending.org).await? {
            let concerns = one.subject.covers(&known.state, known.change) && may_reach(&known.state, &one.to);
            if !concerns || !reached.insert(place(&rules, &pending.org, &one.to)) {
                continue;
            }
            let name = format!("{incident}/{seq}/{}", one.id);
            let notice = follow_up::Notice { seq, subscription: Some(one.id.to_string()) };
            let item = OutboxItem::new(name, &FollowUp::Notice(notice));
            self.log.enqueue(&pending.org, pending.stream.as_ref(), &item).await?;
        }
        Ok(())
    }

    async fn deliver(&self, pending: &Pending, id: &str, incident: &IncidentId, known: &Known) -> Carried {
        let all = self.log.subscriptions(&pending.org).await?;
        let Some(subscription) = all.into_iter().find(|one| one.id.as_str() == id) else {
            return Ok(());
        };
        if !may_reach(&known.state, &subscription.to) {
            return Ok(());
        }
        let problem = match self.send(pending, &subscription, known).await {
            Sent::Arrived => None,
            Sent::LeftOut => return Ok(()),
            Sent::Impossible(why) => Some(why),
            Sent::Failed(error) => {
                let is_final = error.fate() == Fate::Rejected
                    || Timestamp::now().duration_since(pending.created_at) >= TRIED_FOR;
                if !is_final {
                    let asked = match error.fate() {
                        Fate::Limited { retry_after } => retry_after,
                        Fate::Rejected | Fate::Unauthorized | Fate::Unavailable | Fate::Unknown => None,
                    };
                    let wait = asked.unwrap_or_else(|| backoff(pending.attempts));
                    return Err(Undone::waits(wait, error.to_string()));
                }
                Some(error.to_string())
            }
        };
        if let Some(why) = &problem {
            tracing::warn!(
                incident.id = %incident,
                subscription.id = %subscription.id,
                attempts = pending.attempts,
                error = %why,
                "a message to a stakeholder was given up"
            );
        }
        let problem = problem.map(|reason| DeliveryProblem { at: now(), incident: incident.clone(), reason });
        if problem.is_some() || subscription.problem.is_some() {
            self.log.mark_subscription(&pending.org, &subscription, problem.as_ref()).await?;
        }
        Ok(())
    }

    async fn send(&self, pending: &Pending, subscription: &Subscription, known: &Known) -> Sent {
        let rules = self.rules.current();
        let key =
            Uuid::new_v5(&NAMESPACE, format!("notice/{}/{}", pending.org, pending.item.name).as_bytes());
        let told = notice(&known.state, known.change, &known.kind, &known.actor, &People(&rules));
        let link = self.incident_page(&pending.org, &known.state.incident);
        let unsubscribe = self.unsubscribe_page(&pending.org, subscription);
        match place(&rules, &pending.org, &subscription.to) {
            Place::Nowhere(why) => Sent::Impossible(why),
            Place::Address(to) => {
                let Some(mail) = &self.mail else {
                    return Sent::Impossible("e-mail is not configured: set HARMONY_SMTP_URL".to_owned());
                };
                let letter = Letter {
                    key,
                    at_s: u64::try_from(known.at.as_second()).unwrap_or_default(),
                    to,
                    text: letter_text(&told, subscription, link.as_ref(), unsubscribe.as_ref()),
                    subject: told.subject,
                    unsubscribe,
                };
                Sent::of(mail.send_letter(&letter).await)
            }
            Place::Channel(channel) => {
                let Some(slack) = &self.slack else {
                    return Sent::Impossible("Slack is not configured: set SLACK_BOT_TOKEN".to_owned());
                };
                if !self.flags.value(&capability_flag(SLACK), true).await.on {
                    return Sent::LeftOut;
                }
                let attempt = if pending.attempts > 1 { Attempt::Again } else { Attempt::First };
                let text = slack_text(&told, subscription, link.as_ref(), unsubscribe.as_ref());
                let message = Message { text, blocks: Vec::new() };
                Sent::of(slack.send_message(attempt, &key, &channel, &message).await.map(drop))
            }
        }
    }

    /// The change that a record is, and how its incident is now.
    async fn known(&self, org: &OrgId, incident: &IncidentId, seq: u64) -> Result<Option<Known>, LogError> {
        let Some(state) = self.log.state(org, incident).await? else { return Ok(None) };
        let entries = self.log.records(org, &incident.clone().into(), seq.saturating_sub(1), 1).await?;
        let Some(entry) = entries.into_iter().find(|entry| entry.record.seq == seq) else { return Ok(None) };
        let Some(kind) = entry.record.payload.and_then(|payload| payload.kind) else { return Ok(None) };
        let Some(change) = change(&kind) else { return Ok(None) };
        let at = Timestamp::from_microsecond(entry.record.occurred_at_us).unwrap_or(entry.stored_at);
        Ok(Some(Known { state, change, kind, actor: entry.record.actor, at }))
    }

    fn incident_page(&self, org: &OrgId, incident: &str) -> Option<Url> {
        Some(below(self.console.as_ref()?, &["orgs", org.as_str(), "incidents", incident]))
    }

    /// Where this one subscription is taken back without signing in.
    fn unsubscribe_page(&self, org: &OrgId, subscription: &Subscription) -> Option<Url> {
        let (id, at_us) = (subscription.id.as_str(), subscription.at.as_microsecond());
        let mut url = below(self.console.as_ref()?, &["unsubscribe", org.as_str(), id]);
        let mac =
            self.keys.attest_unsubscribe(&UnsubscribeClaim { org: org.as_str(), subscription: id, at_us });
        url.query_pairs_mut().append_pair("at", &at_us.to_string()).append_pair("mac", &mac);
        Some(url)
    }
}

/// How a try ended.
enum Sent {
    Arrived,
    /// Somebody switched it off.
    LeftOut,
    /// No try would help.
    Impossible(String),
    Failed(CallError),
}

impl Sent {
    fn of(outcome: Result<(), CallError>) -> Self {
        match outcome {
            Ok(()) => Self::Arrived,
            Err(error) => Self::Failed(error),
        }
    }
}

/// Where a recipient is reached now.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// In lower case: two that differ in nothing else are one.
    Address(String),
    Channel(String),
    Nowhere(String),
}

fn place(rules: &RuleSet, org: &OrgId, to: &Recipient) -> Place {
    match to {
        Recipient::Channel(channel) => Place::Channel(channel.as_str().to_owned()),
        Recipient::Email(address) => Place::Address(address.as_str().to_ascii_lowercase()),
        Recipient::Person(id) => {
            let known = rules.directory.get(id).filter(|person| !person.roles(org, None).is_empty());
            let Some(person) = known else {
                return Place::Nowhere(format!("{id} has no role in the directory any more"));
            };
            match person.email.as_deref().map(str::parse::<EmailAddress>) {
                Some(Ok(address)) => Place::Address(address.as_str().to_ascii_lowercase()),
                Some(Err(error)) => Place::Nowhere(format!("the directory's address of {id}: {error}")),
                None => Place::Nowhere(format!("the directory has no e-mail address of {id}")),
            }
        }
    }
}

struct People<'a>(&'a RuleSet);

impl Names for People<'_> {
    fn person(&self, id: &str) -> String {
        people::name(&self.0.directory, id)
    }

    fn gate(&self, _: &str) -> String {
        String::new()
    }
}

fn letter_text(
    told: &Notice,
    subscription: &Subscription,
    link: Option<&Url>,
    unsubscribe: Option<&Url>,
) -> String {
    let mut lines = told.lines.clone();
    if let Some(link) = link {
        lines.extend([String::new(), link.to_string()]);
    }
    lines.extend([
        String::new(),
        "-- ".to_owned(),
        format!("You get this because you follow {} in Harmony.", subscription.subject.words()),
    ]);
    lines.push(match unsubscribe {
        Some(unsubscribe) => format!("Unsubscribe: {unsubscribe}"),
        None => format!("Unsubscribe: harmony subscription remove {}", subscription.id),
    });
    lines.push(String::new());
    lines.join("\n")
}

fn slack_text(
    told: &Notice,
    subscription: &Subscription,
    link: Option<&Url>,
    unsubscribe: Option<&Url>,
) -> String {
    let mut text = format!("*{}*", escape(&told.subject));
    for line in told.lines.iter().filter(|line| !line.is_empty()) {
        text.push('\n');
        text.push_str(&escape(line));
    }
    let mut text: String = text.chars().take(SLACK_CHARS).collect();
    let unsubscribe = match unsubscribe {
        Some(unsubscribe) => format!("<{unsubscribe}|Unsubscribe this channel>"),
        None => format!("Unsubscribe: `harmony subscription remove {}`", subscription.id),
    };
    let link = link.map(|link| format!("<{link}|Open the incident> · ")).unwrap_or_default();
    text.push_str(&format!(
        "\n{link}This channel follows {} · {unsubscribe}",
        escape(&subscription.subject.words())
    ));
    text
}

/// An address below the console's.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

fn backoff(attempts: u32) -> Duration {
    (Duration::from_secs(1) * 2_u32.saturating_pow(attempts.min(10))).min(LONGEST_WAIT)
}
