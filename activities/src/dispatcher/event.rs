//! What others are told of candidates, carried out of the outbox: first one item a sink, then each until its sink has
//! taken it, so that one that is down makes nobody else hear twice.

use std::sync::Arc;

use anyhow::Context as _;
use harmony_eventlog::{
    OutboxItem, OutboxKind, Pending, SharedLog,
    fanout::{CloudEvent, Sink},
};
use harmony_incidents::promotion::OrchestrationEvent;

/// See the module.
pub struct CandidateEvents {
    log: SharedLog,
    sinks: Vec<Arc<dyn Sink>>,
}

impl CandidateEvents {
    /// For these sinks; where there is none, nobody is told.
    pub fn new(log: SharedLog, sinks: Vec<Arc<dyn Sink>>) -> Self {
        Self { log, sinks }
    }

    pub(crate) async fn carry(&self, pending: &Pending) -> anyhow::Result<()> {
        let OutboxItem { name, payload, .. } = &pending.item;
        match payload["sink"].as_str() {
            None => {
                for sink in &self.sinks {
                    let mut payload = payload.clone();
                    payload["sink"] = sink.name().as_str().into();
                    payload["name"] = name.as_str().into();
                    let name = format!("{}/{name}", sink.name());
                    let item = OutboxItem { kind: OutboxKind::Event, name, payload };
                    self.log.enqueue(&pending.org, None, &item).await?;
                }
                Ok(())
            }
            Some(sink) => self.send(pending, sink).await,
        }
    }

    async fn send(&self, pending: &Pending, sink: &str) -> anyhow::Result<()> {
        let Some(sink) = self.sinks.iter().find(|one| one.name().as_str() == sink) else {
            tracing::warn!(sink, "an event of a candidate is for a sink that is not configured any more");
            return Ok(());
        };
        let payload = &pending.item.payload;
        let event: OrchestrationEvent =
            serde_json::from_value(payload["event"].clone()).context("the event is unreadable")?;
        let name = payload["name"].as_str().context("the event has no name")?;
        let event = CloudEvent::of_candidate(&pending.org, name, &event);
        match sink.send(&[event]).await.pop() {
            Some(outcome) => Ok(outcome?),
            None => anyhow::bail!("the sink did not say what became of it"),
        }
    }
}
