//! Carries the outbox out: starts, stops, wake-ups, checkpoints and messages to stakeholders that follow a command. One
//! file for each kind of follow-up.
//!
//! Each item is claimed for a while, carried out under an id of its own (workflow id, update id, request id), and marked
//! done; a crash in between repeats it harmlessly. While Temporal is away items wait.

mod cancel;
pub(crate) mod checkpoint;
mod decision;
pub(crate) mod event;
mod kept;
pub(crate) mod notice;
mod output;
mod start;
pub(crate) mod wake;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use harmony_eventlog::{Append, LogError, OutboxItem, Pending, SharedLog, Target};
use harmony_incidents::{
    Command, Context, RulesSource, StreamId,
    follow_up::FollowUp,
    judge,
    log::{Authority, Cause},
};
use serde_json::Value;
use temporalio_client::{Client, errors::WorkflowInteractionError};
use temporalio_common::{data_converters::RawValue, protos::temporal::api::common::v1::Payload};
use tokio_util::sync::CancellationToken;

use crate::services::Services;
use checkpoint::Checkpoints;
use event::CandidateEvents;
use notice::Notices;
use output::EditPace;

/// How often an idle dispatcher looks.
const IDLE: Duration = Duration::from_millis(150);
/// How long a claimed item is ours.
const LEASE: Duration = Duration::from_secs(20);
/// How long the update may take before the wake-up goes in as a signal, which lasts.
const UPDATE_PATIENCE: Duration = Duration::from_secs(5);
/// A workflow task whose worker died is given to the next after this long.
const TASK_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest wait between two tries of one item.
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);
/// Items carried out side by side: a slow one must not hold the others up.
const BATCH: u32 = 16;

/// Where an item cannot be marked.
const UNWRITABLE: &str = "the outbox cannot be written; the item will be repeated";

/// Whether an item is done.
pub type Carried = Result<(), Undone>;

/// Why an item is not done.
#[derive(Debug)]
pub enum Undone {
    /// All is well, and it is not its time yet.
    Waits {
        /// How long it waits.
        wait: Duration,
        /// What it waits for.
        why: String,
    },
    /// It failed, and is tried again, after a longer wait each time.
    Failed(anyhow::Error),
    /// No try would help: nothing is done about it any more.
    GivenUp(String),
}

impl Undone {
    fn waits(wait: Duration, why: impl Into<String>) -> Self {
        Self::Waits { wait, why: why.into() }
    }

    fn failed(why: impl Into<String>) -> Self {
        Self::Failed(anyhow::Error::msg(why.into()))
    }
}

impl From<anyhow::Error> for Undone {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<LogError> for Undone {
    fn from(error: LogError) -> Self {
        Self::Failed(error.into())
    }
}

/// An item that was claimed, and what it asks for.
struct Item {
    pending: Pending,
    follow_up: FollowUp,
}

/// Items that may be carried out side by side; those of a queue one after the other. What one recipient is told of one
/// incident is a queue: whoever hears that it is resolved has heard what came before. So are the changes of what an incident's
/// channel shows, and apart from them what its cells print.
fn queues(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut queues = Vec::new();
    let mut told = BTreeMap::<_, Vec<(u64, Item)>>::new();
    for item in items {
        let (seq, to) = match &item.follow_up {
            FollowUp::Notice(notice) => (notice.seq, notice.subscription.clone()),
            FollowUp::Kept(kept) => (kept.seq, None),
            FollowUp::Output(output) => (output.seq, None),
            FollowUp::Start(_)
            | FollowUp::Decision(_)
            | FollowUp::Cancel(_)
            | FollowUp::Wake(_)
            | FollowUp::Checkpoint(_)
            | FollowUp::Event(_) => {
                queues.push(vec![item]);
                continue;
            }
        };
        let Pending { org, stream, item: OutboxItem { kind, .. }, .. } = &item.pending;
        told.entry((kind.name(), org.clone(), stream.clone(), to)).or_default().push((seq, item));
    }
    for mut queue in told.into_values() {
        queue.sort_by_key(|(seq, _)| *seq);
        queues.push(queue.into_iter().map(|(_, item)| item).collect());
    }
    queues
}

/// See the module.
#[derive(Clone)]
pub struct Dispatcher {
    log: SharedLog,
    client: Client,
    rules: Arc<dyn RulesSource>,
    checkpoints: Option<Arc<Checkpoints>>,
    events: Arc<CandidateEvents>,
    notices: Arc<Notices>,
    services: Arc<Services>,
    edit_pace: Arc<EditPace>,
}

impl Dispatcher {
    /// A dispatcher on this log and this client. Checkpoints are made where there is somewhere to keep them.
    pub fn new(
        log: SharedLog,
        client: Client,
        rules: Arc<dyn RulesSource>,
        checkpoints: Option<Arc<Checkpoints>>,
        events: CandidateEvents,
        notices: Notices,
        services: Arc<Services>,
    ) -> Self {
        Self {
            log,
            client,
            rules,
            checkpoints,
            events: Arc::new(events),
            notices: Arc::new(notices),
            services,
            edit_pace: Arc::default(),
        }
    }

    /// Carries items out until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let claimed = match self.log.claim(BATCH, LEASE).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::warn!(error = %error, "the outbox cannot be read");
                    Vec::new()
                }
            };
            let idle = claimed.is_empty();
            for queue in queues(self.read(claimed).await) {
                let dispatcher = self.clone();
                tasks.spawn(async move { dispatcher.handle_all(queue).await });
            }
            while tasks.try_join_next().is_some() {}
            let wait = if idle { IDLE } else { Duration::ZERO };
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        // What is under way ends or is repeated by the next dispatcher.
        let drained = async { while tasks.join_next().await.is_some() {} };
        drop(tokio::time::timeout(Duration::from_secs(2), drained).await);
    }

    /// What the claimed items ask for. One that this release cannot read, maybe of a newer one, waits for who can.
    async fn read(&self, claimed: Vec<Pending>) -> Vec<Item> {
        let mut items = Vec::new();
        for pending in claimed {
            match pending.item.follow_up() {
                Ok(follow_up) => items.push(Item { pending, follow_up }),
                Err(error) => {
                    let error = anyhow::Error::from(error).context("this release cannot read it");
                    self.put_off(&pending, Undone::Failed(error)).await;
                }
            }
        }
        items
    }

    /// One after the other; what follows one that has to wait waits as long.
    async fn handle_all(&self, queue: Vec<Item>) {
        let (began, mut held) = (Instant::now(), None);
        for item in queue {
            // What is not begun while it is ours is begun once it is so again.
            if began.elapsed() > LEASE / 2 {
                held = held.or(Some(IDLE));
            }
            held = match held {
                None => self.handle(&item).await,
                Some(wait) => {
                    let waits = Undone::waits(wait, "what came before it is not told yet");
                    self.put_off(&item.pending, waits).await
                }
            };
        }
    }

    /// Carries one out; how long it waits where it has to be tried again.
    async fn handle(&self, Item { pending, follow_up }: &Item) -> Option<Duration> {
        let carried = match follow_up {
            FollowUp::Start(start) => self.start(pending, start).await,
            FollowUp::Decision(decision) => self.decide(pending, decision).await,
            FollowUp::Cancel(cancel) => self.cancel(pending, cancel).await,
            FollowUp::Wake(wake) => self.wake(pending, wake).await,
            FollowUp::Checkpoint(checkpoint) => match &self.checkpoints {
                Some(checkpoints) => checkpoints.carry(pending, checkpoint).await,
                None => Ok(()),
            },
            FollowUp::Event(event) => self.events.carry(pending, event).await,
            FollowUp::Notice(notice) => self.notices.carry(pending, notice).await,
            FollowUp::Kept(kept) => self.services.keep(pending, kept).await,
            FollowUp::Output(output) => self.services.show_output(pending, output, &self.edit_pace).await,
        };
        match carried {
            Ok(()) => self.done(pending).await,
            Err(undone) => self.put_off(pending, undone).await,
        }
    }

    /// Appends what became of an item, under a key of its own.
    async fn append(
        &self,
        pending: &Pending,
        stream: &StreamId,
        key: &str,
        actor: &str,
        command: &Command,
    ) -> Result<(), LogError> {
        let context = Context {
            actor: actor.to_owned(),
            authority: Authority::None,
            cause: Cause { request_id: pending.item.name.clone(), ..Cause::default() },
            occurred_at: pending.created_at,
        };
        let rules = self.rules.current();
        let append = Append {
            org: &pending.org,
            target: Target::Named(stream.clone()),
            key: &format!("{key}/{}", pending.item.name),
            command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &|head| judge(head, command, &context, rules.rules()),
            follow: &|_| Vec::new(),
        };
        self.log.append(append).await.map(drop)
    }

    async fn done(&self, pending: &Pending) -> Option<Duration> {
        if let Err(error) = self.log.done(&pending.id).await {
            tracing::warn!(error = %error, "{UNWRITABLE}");
        }
        None
    }

    /// How long it waits for its next try, where there is one.
    async fn put_off(&self, pending: &Pending, undone: Undone) -> Option<Duration> {
        let incident = pending.stream.as_ref().map_or("", StreamId::as_str);
        let (kind, attempts) = (pending.item.kind.name(), pending.attempts);
        let (wait, why) = match undone {
            Undone::Waits { wait, why } => (wait, why),
            Undone::Failed(error) => {
                let shown = format!("{error:#}");
                tracing::warn!(incident.id = incident, kind, attempts, error = shown, "an outbox item waits");
                (backoff(attempts), error.to_string())
            }
            Undone::GivenUp(why) => {
                tracing::warn!(
                    incident.id = incident,
                    kind,
                    attempts,
                    error = why,
                    "an outbox item is given up"
                );
                return self.done(pending).await;
            }
        };
        if let Err(error) = self.log.later(&pending.id, wait, &why).await {
            tracing::warn!(error = %error, "{UNWRITABLE}");
        }
        Some(wait)
    }
}

/// A workflow that has ended needs no telling.
fn unless_ended(outcome: Result<(), WorkflowInteractionError>) -> Carried {
    match outcome {
        Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
        Err(error) => Err(Undone::Failed(error.into())),
    }
}

/// One JSON argument, as the command line would send it.
fn raw(value: &Value) -> RawValue {
    let mut payload = Payload { data: value.to_string().into_bytes(), ..Payload::default() };
    payload.metadata.insert("encoding".to_owned(), b"json/plain".to_vec());
    RawValue { payloads: vec![payload] }
}

pub(crate) fn backoff(attempts: u32) -> Duration {
    (Duration::from_millis(250) * 2_u32.saturating_pow(attempts.min(10))).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use harmony_incidents::{
        OrgId,
        follow_up::{Notice, Start},
    };

    use super::*;

    fn item(follow_up: FollowUp, stream: &str, name: u64) -> Item {
        let pending = Pending {
            id: harmony_eventlog::OutboxId(format!("{stream}/{name}")),
            org: OrgId::default(),
            stream: Some(stream.parse().unwrap()),
            item: OutboxItem::new(name.to_string(), &follow_up),
            attempts: 1,
            created_at: jiff::Timestamp::UNIX_EPOCH,
        };
        Item { pending, follow_up }
    }

    fn notice(stream: &str, seq: u64, to: &str) -> Item {
        item(FollowUp::Notice(Notice { seq, subscription: Some(to.to_owned()) }), stream, seq)
    }

    fn start(stream: &str, name: u64) -> Item {
        item(FollowUp::Start(Start::new("incident.initiate", "any", 1, Value::Null)), stream, name)
    }

    #[test]
    fn what_one_recipient_is_told_of_one_incident_is_told_in_its_order_and_nothing_else_waits() {
        const ONE: &str = "INC-2026-0001";
        let queues = queues(vec![
            notice(ONE, 9, "jo"),
            start(ONE, 1),
            notice(ONE, 4, "jo"),
            notice(ONE, 4, "al"),
            notice("INC-2026-0002", 3, "jo"),
            start(ONE, 2),
        ]);
        let mut names: Vec<Vec<&str>> = queues
            .iter()
            .map(|queue| queue.iter().map(|one| one.pending.item.name.as_str()).collect())
            .collect();
        names.sort_unstable();
        assert_eq!(names, [vec!["1"], vec!["2"], vec!["3"], vec!["4"], vec!["4", "9"]]);
    }
}
